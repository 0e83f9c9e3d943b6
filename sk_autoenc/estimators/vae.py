"""The variational autoencoder: ELBO and importance-weighted bound above, the estimator below."""

import math
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import warn
from sk_autoenc.architectures import Architecture
from sk_autoenc.base.density import DensityAutoencoder, kl_per_component, posterior_of
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.generative import Resolved
from sk_autoenc.base.stored import LENGTHS, storable
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.initialization.factor_analysis import LinearGaussianStart
from sk_autoenc.initialization.start import MeanStart, Start
from sk_autoenc.likelihoods import LIKELIHOODS, Likelihood
from sk_autoenc.nn.variational import Posterior, VariationalAutoencoder, VariationalOutput
from sk_autoenc.priors import GaussianMixturePrior, NormalPrior, UniformPrior, as_prior, fitted_mixture
from sk_autoenc.storage import array, flag, instance
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.plan import Phase, PhaseUpdate, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.schedules import SCHEDULES
from sk_autoenc.training.selection import NATS, RowLosses

#: Codes have collapsed if the KL divergence of all components together is below this, in nats.
_COLLAPSED = 0.25

#: For networks that start at a linear model; chosen by density, see benchmarks/README.md.
#: Free bits before the final phase: this many nats, divided equally among the components.
_FREE_BITS_BUDGET = 1.0

#: Number of codes drawn for each row in evaluation and in the final phase: this divided by the length of a code, ...
_DRAWS_TIMES_COMPONENTS = 16

#: ... at most this many.
_MOST_DRAWS = 8

#: Share of ``max_iter`` that is reserved for the final phase, and its length as a share of the best epoch.
_FINAL_SHARE, _SHARE_OF_BEST = 0.2, 0.25

#: Numbers of distributions to try in a fitted mixture prior, and the largest number of codes that it is fitted to.
_CLUSTERS, _MOST_CODES = (1, 2, 4, 8, 16), 10_000


def negative_elbo(
    output: VariationalOutput, batch: Batch, *, beta: float, free_bits: float, kl_weight: float | Tensor = 1.0
) -> dict[str, Tensor]:
    r"""Minus the evidence lower bound, in two terms (Kingma & Welling 2014).

    :math:`-\mathbb{E}_{q(z|x)}[\log p(x|z)] + \beta\, \mathrm{KL}(q(z|x) \| p(z))`. For the normal prior the KL has a
    closed form, summed over components. With ``free_bits``, the batch mean of a component is at least this.
    """
    if output.log_ratio is not None:
        kl = -output.log_ratio
    else:
        kl = output.posterior.kl_from_normal()  # (batch, n_components)
        kl = kl.mean(0).clamp_min(free_bits).sum() if free_bits else kl.sum(-1)
    weight = beta * kl_weight
    if isinstance(weight, Tensor) or weight != 1:  # a product with 1 takes 1 % of the step of a small network
        kl = weight * kl
    return {"reconstruction": -output.log_likelihood, "kl": kl}


def negative_importance_bound(
    output: VariationalOutput, batch: Batch, *, beta: float, kl_weight: float | Tensor = 1.0
) -> dict[str, Tensor]:
    r"""Minus the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016), in two terms of shape (batch,).

    :math:`-\log \frac1K \sum_k p(x|z_k) (p(z_k) / q(z_k|x))^\beta` with K draws per row. The first term is the mean of
    :math:`-\log p(x|z_k)` when one draw is picked by its weight; the second is the rest, for ``beta=1`` the divergence
    of draws and pick from what they approximate (Domke & Sheldon 2018).
    """
    assert output.log_ratio is not None
    log_weights = output.log_likelihood + beta * kl_weight * output.log_ratio
    bound = log_weights.logsumexp(0) - math.log(len(log_weights))
    with torch.no_grad():  # the sum of both terms is the bound, whose gradient is that of the second term alone
        weights = log_weights.softmax(0)
        reconstruction = -torch.where(weights > 0, weights * output.log_likelihood, 0.0).sum(0)  # not 0 * infinity
    return {"reconstruction": reconstruction, "kl": -bound - reconstruction}


def negative_bound(
    output: VariationalOutput, batch: Batch, *, beta: float, free_bits: float, kl_weight: float | Tensor = 1.0
) -> dict[str, Tensor]:
    """Minus the importance-weighted bound if there are several draws per row, else minus the ELBO."""
    if output.log_likelihood.ndim > 1:
        return negative_importance_bound(output, batch, beta=beta, kl_weight=kl_weight)
    return negative_elbo(output, batch, beta=beta, free_bits=free_bits, kl_weight=kl_weight)


@storable(
    linear_=flag,
    prior_=instance(NormalPrior, GaussianMixturePrior),
    kl_per_component_=array("f8", None, finite=False),
    optional=LENGTHS,
)
class VAETransformer(DensityAutoencoder):
    r"""Learn a density of rows with a few latent variables, to compress, score and generate rows.

    A code :math:`z` is drawn from a prior, and a decoder gives the distribution of rows with this code. An encoder
    gives the distribution of each row's code. After training a mixture of normal distributions is fitted to the codes.
    It becomes their prior if it explains them better than the standard normal.

    By default training starts at factor analysis or probabilistic PCA, whichever makes left-out rows more probable.
    With ``early_stopping`` this linear model is the result unless the network lowers the loss of held-out rows
    significantly.

    Training maximises, averaged over rows, the evidence lower bound [1]_

    .. math::
        \mathbb{E}_{q(z|x)}[\log p(x|z)] - \beta\, \mathrm{KL}(q(z|x) \,\|\, p(z))

    or, with ``n_importance_samples`` above 1, the tighter importance-weighted bound [2]_

    .. math::
        \mathbb{E}_{z_1 \dots z_K \sim q(z|x)} \log \frac1K \sum_k p(x|z_k) \Bigl(\frac{p(z_k)}{q(z_k|x)}\Bigr)^\beta .

    Sums run over features and components. Real-valued rows are centred before training. Each feature is divided by its
    standard deviation, or, if all features have one noise variance, all by the root of the mean variance. For other
    likelihoods only the encoder's input is centred and scaled. Scores are in the units of ``X``.

    With a likelihood of counts, or of values in [0, 1], ``X`` may be a sparse matrix; only batches become dense.

    Parameters
    ----------
    n_components : int, default=2
        Length of the code; may exceed the number of features.
    architecture : sequence of int or architecture object, default=(128, 64)
        Widths of the encoder's hidden layers, short for ``MLP(...)``; ``Convolutional(...)`` is for images and
        series, ``Recurrent(...)`` for series.
    likelihood : {"auto", "student_t", "gaussian", "bernoulli", ...} or Likelihood, default="auto"
        How rows with one code are distributed; also ``"categorical"``, ``"poisson"``, ``"multinomial"``. ``"auto"`` is
        ``"student_t"`` for arrays; a data frame of other columns than numbers, or with missing cells, has a likelihood
        for each column, and rows come back with its types. ``"student_t"`` learns how heavy the tails of the noise are,
        down to those of ``"gaussian"``. Objects have parameters, for example ``Gaussian("shared")`` or
        ``Bernoulli(binarize="dynamic")``.
    prior : {"auto", "normal", "gaussian_mixture"} or object with sample and log_prob, default="auto"
        How codes are distributed. ``"normal"``: by the standard normal distribution.
        ``"gaussian_mixture"``: training uses the standard normal. Then a mixture of up to 16 normal
        distributions is fitted to draws from the posteriors of up to 10 000 training rows (after ``partial_fit``, of
        the last chunk) [5]_. Akaike's corrected criterion chooses how many; it is one standard normal if no mixture
        explains codes better. ``sample``, ``score_samples`` and ``elbo`` use it.
        ``"auto"``: ``"gaussian_mixture"`` in ``fit``; ``partial_fit``, which has one chunk only, does not change the
        prior. An object, such as ``GaussianMixturePrior(...)``, is used in training; ``"auto"`` in ``init`` is then
        ``"random"``.
    beta : float, default=1.0
        Weight of the KL divergence in training [3]_; no score depends on it directly.
    n_warmup_epochs : int or "auto", default="auto"
        Epochs over which the weight of the KL divergence rises from 0 to ``beta``, so that codes are not given up
        before they explain anything. Held-out rows are evaluated at ``beta``, and early stopping waits until ``beta``
        is reached. ``"auto"``: see Notes.
    free_bits : float or "auto", default="auto"
        KL divergence in nats that each component may have at no cost in training, on average over a batch [4]_; keeps
        components from collapsing. Held-out rows are evaluated without it. ``"auto"``: see Notes.
    n_importance_samples : int or "auto", default="auto"
        Codes drawn for each row in a training step; above 1, training maximises the importance-weighted bound, and a
        step decodes each row so many times. ``"auto"``: see Notes. It may change with ``warm_start``: few codes first
        and many at the end take a fraction of the time of many throughout. Loss curves then jump, because the bound
        changes.
    n_score_samples : int, default=128
        Codes for each row in ``score_samples``, ``score`` and ``elbo``.
    init : {"auto", "pca", "random"}, default="auto"
        Where training starts. ``"pca"``: at probabilistic PCA or factor analysis, with a linear path beside the
        network. The linear model is the result if the network's gain on held-out rows is not significant. The first
        layer's weights of an ``MLP`` are multiplied by n / 600 for n rows, at least by 1 and at most by 4 (not with
        ``"relu"`` and ``"leaky_relu"``). ``"random"``: a plain network. ``"auto"`` is ``"pca"`` for real values with a
        prior given by name, else ``"random"``.
    max_iter : int or "auto", default="auto"
        Largest number of epochs. With ``early_stopping`` and a falling rate, the last fifth is for the final phase.
        ``"auto"`` is 125, or as many as 2500 steps make, if these are fewer: with ``batch_size="auto"``, beyond 10 240
        training rows.
    batch_size : int or "auto", default="auto"
        Rows per training step; ``"auto"`` is a twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.012
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps before the final phase, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps; its further options are set by ``net_params={"optimizer__...": ...}``.
    weight_decay : float, default=0.1
        Decay of the weights, as ``optimizer`` defines it; not applied to biases nor to the linear path.
    early_stopping : bool, default=True
        Whether rows are held out to find the epoch at which to stop, the one with their lowest mean loss. Below 600
        rows, four folds are held out, each from a network of its own, and the final network is trained on all rows,
        for one epoch if its gain over the linear model is not significant. Networks of an ``MLP`` train side by side,
        which takes about as long as two fits. Fewer than 40 rows are too few to evaluate a network. At the end there
        is a final phase, see Notes.
    validation_fraction : float, default=0.1
        Share of the rows held out when ``early_stopping``, from 600 rows on.
    n_iter_no_change : int, default=40
        Epochs without improvement after which early stopping ends training. (Folds run all epochs but those of
        the final phase.)
    tol : float, default=1e-4
        Improvement of the mean loss in nats that counts as one.
    warm_start : bool, default=False
        Whether ``fit`` continues the last fit, with its centre and scale, or starts again.
    callbacks : list of skorch callbacks or None, default=None
        Called by the net in training, those of the folds included, which then train one after the other; they are
        copied first. (scikit-learn's callbacks are set by ``set_callbacks``, and see all epochs, but models only of
        the final network.)
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net; anything else is refused.
    device : str, default="auto"
        Where to compute: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds initialization, split, shuffling and noise. An integer gives the same result at every ``fit``.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    prior_ : object
        The prior of codes that ``sample`` and ``score_samples`` use.
    kl_per_component_ : ndarray of shape (n_components,)
        KL divergence of each component's posterior from the prior of training, in nats, averaged over the training
        rows; from the normal distribution with the mean and variance of all codes, if the prior is an object other
        than a ``NormalPrior``. Components near 0 have collapsed. ``fit`` warns if all together are below 0.25.
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` is the torch module.
    n_iter_ : int
        Number of epochs trained, those of the final phase included.
    loss_curve_ : list of float
        Mean training loss of each epoch, those of the final phase included: minus the bound in nats, for the scaled
        rows, plus what ``free_bits`` add. It falls at once where the final phase begins with a fitted prior and several
        codes a row.
    validation_loss_curve_ : list of float
        Mean loss on the held-out rows after each epoch. Codes are drawn in the same way at every epoch, often more of
        them than in training, and without ``free_bits``, so the bound is tighter. Empty if no rows are held out. With
        folds, each row's loss comes from the network that did not see it. The final phase adds nothing.
    loss_curves_ : dict of str to list of float
        ``loss_curve_`` by term: ``"reconstruction"`` and ``"kl"``, with its weight. Of the importance-weighted bound
        the first is that of one draw picked by its weight, the second the rest.
    linear_ : bool
        Whether the linear model was kept as the result; the loss curves are those of the network that was dropped,
        after folds of its one epoch.
    reconstruction_err_ : float
        Squared reconstruction error of a training row, summed over features, averaged over the rows; of sequences of
        tokens, how many are not the most probable ones after those before them.
    n_features_in_ : int
        Number of features seen in ``fit``; of images, the number of cells.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.
    lengths_ : ndarray of int of shape (n_samples,)
        Number of timepoints of each training series, where these are real values of unequal lengths; those of the last
        chunk after ``partial_fit``.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    sklearn.decomposition.FactorAnalysis : The linear model with a noise variance for each feature.
    sklearn.decomposition.PCA : The linear model with one noise variance, and the same ``score``.
    sklearn.mixture.GaussianMixture : A density without codes.
    AutoencoderTransformer : Codes and reconstructions without a density.

    Notes
    -----
    **Final phase.** Early stopping goes back to the best epoch. If the network is kept, it is then trained a quarter as
    long again on all rows, held-out ones included, at rates that fall from half of ``learning_rate`` to zero. If
    training started at a linear model with ``beta=1``, this phase uses the fitted prior and several codes for each row.
    There is none without ``early_stopping``, with a constant rate, or with ``max_iter`` below 5. A further fit by
    ``warm_start`` or ``partial_fit`` has the objective from before this phase.

    **What "auto" means.** "Linear start" is training that starts at a linear model, with ``beta=1`` and without
    ``free_bits`` above 0.

    ========================  =====================================================  ===================================
    parameter                 when                                                   value
    ========================  =====================================================  ===================================
    ``n_warmup_epochs``       training starts at a linear model                      0
    ..                        it starts from random weights                          a tenth of ``max_iter``
    ..                        the same, with sequences of tokens                     half of ``max_iter``
    ``free_bits``             linear start, one code drawn for each row, and a       1 divided by ``n_components``
                              final phase to follow: until this phase
    ..                        else                                                   0
    ``n_importance_samples``  linear start: held-out rows and the final phase        16 divided by ``n_components``, at
                                                                                     most 8
    ..                        else                                                   1
    ========================  =====================================================  ===================================

    The bound of a linear model is tight, and the network is compared with it. Several codes for each row tighten the
    network's bound, the more so the fewer components a code has.

    References
    ----------
    .. [1] Kingma, Welling (2014). Auto-encoding variational Bayes. ICLR.
    .. [2] Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. ICLR.
    .. [3] Higgins et al. (2017). beta-VAE: Learning basic visual concepts with a constrained variational framework.
       ICLR.
    .. [4] Kingma et al. (2016). Improved variational inference with inverse autoregressive flow. NeurIPS.
    .. [5] Ghosh et al. (2020). From variational to deterministic autoencoders. ICLR (ex-post density estimation).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import VAETransformer
    >>> X = load_iris().data
    >>> vae = VAETransformer(n_components=2, max_iter=5, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> vae.score_samples(X[:3]).shape
    (3,)
    >>> vae.sample(5, random_state=0).shape
    (5, 4)
    """

    _parameter_constraints: dict = {
        **DensityAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS}), Likelihood],
        "prior": "no_validation",
        "beta": [Interval(Real, 0, None, closed="left")],
        "n_warmup_epochs": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "free_bits": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_score_samples": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"auto", "pca", "random"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    }

    _prior_names = ("auto", "normal", "gaussian_mixture")

    _most_epochs = 125

    # No score depends on the number of draws, and held-out rows are evaluated anew in every fit.
    _changeable_parameters = (*DensityAutoencoder._changeable_parameters, "n_importance_samples")

    def __init__(
        self,
        n_components=2,
        *,
        architecture=(128, 64),
        likelihood="auto",
        prior="auto",
        beta=1.0,
        n_warmup_epochs="auto",
        free_bits="auto",
        n_importance_samples="auto",
        n_score_samples=128,
        init="auto",
        max_iter="auto",
        batch_size="auto",
        learning_rate=0.012,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.1,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=40,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.likelihood = likelihood
        self.prior = prior
        self.beta = beta
        self.n_warmup_epochs = n_warmup_epochs
        self.free_bits = free_bits
        self.n_importance_samples = n_importance_samples
        self.n_score_samples = n_score_samples
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    _likelihood_of_arrays = "student_t"

    def _make_plan(self, request: FitRequest) -> Plan:
        prior = self._training_prior()
        resolved = self._resolve(request, prior=prior)
        n_draws = self._n_draws()
        asked_free_bits = 0.0 if self.free_bits == "auto" else self.free_bits
        if asked_free_bits and (prior is not None or n_draws > 1):
            raise ValueError(
                f"free_bits must be 0 unless the prior is given by name and n_importance_samples=1, because it needs "
                f"the KL of each component, got {self.free_bits}."
            )
        # The defaults for training on log p(x) itself were found for linear starts only.
        aims_at_density = resolved.is_linear and self.beta == 1 and not asked_free_bits
        n_evaluated = n_draws
        if aims_at_density and self.n_importance_samples == "auto":
            n_evaluated = max(1, min(_DRAWS_TIMES_COMPONENTS // self.n_components, _MOST_DRAWS))
        splits = self._splits(request)
        final = self._final_phase(request, n_evaluated if aims_at_density else None) if splits else None
        free_bits = asked_free_bits
        if self.free_bits == "auto" and n_draws == 1 and final is not None and aims_at_density:
            free_bits = _FREE_BITS_BUDGET / self.n_components
        return Plan(
            module=partial(self._make_module, resolved, prior),
            objective=partial(negative_bound, beta=self.beta, free_bits=0.0),
            start=self._make_start(resolved),
            data=resolved.data,
            splits=splits,
            selection=RowLosses(self.n_iter_no_change, self.tol, NATS),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(
                request,
                final=final,
                module_arguments={"n_draws": n_draws},
                loss_arguments={"free_bits": free_bits},
            ),
            optimizer=self._optimizer_options(),
            n_warmup_epochs=self._warmup_epochs(request, resolved),
            evaluation_arguments={"n_draws": n_evaluated},
            attributes={"prior_": prior or NormalPrior(n_components=self.n_components)} if request.is_first else {},
            is_batchable=prior is None and resolved.architecture.is_batchable and resolved.data.likelihood.is_batchable,
            verbose=self.verbose,
        )

    def _n_draws(self) -> int:
        """Codes drawn for each row in a training step."""
        return 1 if self.n_importance_samples == "auto" else self.n_importance_samples

    def _training_prior(self) -> Any:
        """The prior of codes in training; None is the standard normal."""
        if isinstance(self.prior, str):
            if self.prior not in self._prior_names:
                raise ValueError(
                    f"prior must be 'auto', 'normal', 'gaussian_mixture' or an object, got {self.prior!r}."
                )
            return None
        prior = as_prior(self.prior, self.n_components)
        if not hasattr(prior, "log_prob"):
            raise ValueError(f"prior must have log_prob for a density, got {self.prior!r}; AAETransformer needs none.")
        if isinstance(prior, UniformPrior):
            raise ValueError(
                f"prior must be positive wherever a normal posterior is, got {self.prior!r}; use AAETransformer for it."
            )
        return prior

    def _make_module(self, resolved: Resolved, prior: Any) -> VariationalAutoencoder:
        return VariationalAutoencoder(**self._make_parts(resolved, n_encoded=2 * self.n_components), prior=prior)

    def _make_start(self, resolved: Resolved) -> Start:
        architecture, data, is_linear = resolved
        if not is_linear:
            return MeanStart(data)
        return LinearGaussianStart(data, self.n_components, has_first_layer_gain=architecture.has_first_layer_gain)

    def _warmup_epochs(self, request: FitRequest, resolved: Resolved) -> int:
        if self.n_warmup_epochs != "auto":
            return self.n_warmup_epochs
        if resolved.is_linear:
            return 0
        # An autoregressive decoder first learns from earlier tokens alone, and from codes only late.
        return self._n_epochs(request) // (2 if resolved.data.likelihood.is_sequential else 10)

    def _final_phase(self, request: FitRequest, n_draws: int | None) -> Phase | None:
        """A last phase on all rows, with falling rates: at the best epoch the rate was still high.

        With ``n_draws`` its objective is a bound of log p(x), which ``score`` estimates, under a prior fitted to codes.
        """
        epochs = int(_FINAL_SHARE * self._n_epochs(request))
        if SCHEDULES[self.learning_rate_schedule] is None or not epochs:
            return None
        return Phase(
            epochs,
            "final",
            share_of_best=_SHARE_OF_BEST,
            module_arguments={"n_draws": n_draws or self._n_draws()},
            loss_arguments={} if self.free_bits == "auto" else {"free_bits": self.free_bits},
            prepare=partial(self._with_final_prior, request.seed) if n_draws else None,
        )

    def _with_final_prior(self, seed: int, net: ObjectiveNet, rows: Rows) -> PhaseUpdate:
        """The fitted prior, for the final phase and for scores that callbacks compute in it."""
        prior = self._fitted_prior(posterior_of(net, rows), seed)
        in_training = None if isinstance(prior, NormalPrior) else prior
        return PhaseUpdate({"prior": in_training}, {"prior_": prior})

    def _fitted_prior(self, posterior: Posterior, seed: int) -> Any:
        """The prior after training, for a prior given by name."""
        if self.prior == "normal":
            return NormalPrior(n_components=self.n_components)
        generator = make_generator(seed, "prior")
        chosen = torch.randperm(len(posterior.mean), generator=generator)[:_MOST_CODES]
        some = Posterior(*(part[chosen] for part in posterior))
        codes = some.at(torch.randn(some.mean.shape, dtype=torch.float32, generator=generator)).numpy()
        if (mixture := fitted_mixture(codes, _CLUSTERS, seed=seed)) is not None:
            return mixture
        if self.prior == "auto":
            return NormalPrior(n_components=self.n_components)
        return GaussianMixturePrior(np.zeros((1, self.n_components)))

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        self.linear_ = result.kept_start
        posterior, parameters = posterior_of(self.net_, rows), self._parameters
        by_name = isinstance(parameters.prior, str)
        self.kl_per_component_ = kl_per_component(posterior, NormalPrior() if by_name else parameters.prior)
        if self.kl_per_component_.sum() < _COLLAPSED:
            warn(
                "Codes have collapsed: they carry no information about rows (the KL of all components together is "
                f"{self.kl_per_component_.sum():.2g} nats, below {_COLLAPSED}). If rows have structure, "
                f"try {'free_bits=0.5, ' if by_name else ''}n_warmup_epochs, or a smaller beta than "
                f"{parameters.beta:g}.",
                ConvergenceWarning,
            )
        if parameters.prior == "gaussian_mixture" or (parameters.prior == "auto" and whole):
            self.prior_ = parameters._fitted_prior(posterior, self._seed)
