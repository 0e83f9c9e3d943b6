"""The adversarial autoencoder: its turns above, the estimator below."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import warn
from sk_autoenc.architectures import MLP, Architecture, checked_architecture
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.generative import GenerativeAutoencoder, Resolved
from sk_autoenc.base.stored import LENGTHS, PRIORS, storable
from sk_autoenc.base.streams import averaged_over_blocks, by_block
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.initialization.factor_analysis import LinearGaussianStart
from sk_autoenc.initialization.start import MeanStart, Start
from sk_autoenc.likelihoods import LIKELIHOODS, Gaussian, Likelihood
from sk_autoenc.metrics import classifier_two_sample_test
from sk_autoenc.nn.adversarial import AdversarialAutoencoder, DrawnOutput
from sk_autoenc.priors import GaussianMixturePrior, NormalPrior, SwissRollPrior, UniformPrior, as_prior
from sk_autoenc.storage import instance, number
from sk_autoenc.training.adversarial import FreshBatches, Game, GameState, Player
from sk_autoenc.training.inference import in_one_thread, map_rows
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import NATS, RowLosses

#: Momentum makes adversarial training oscillate (Gidel et al. 2019, https://arxiv.org/abs/1807.04740), so it is low.
_ADAM_OPTIONS = {"betas": (0.5, 0.99)}

#: Number of draws from which mean and standard deviation of the prior are computed.
_N_PRIOR_DRAWS = 10_000

#: Largest number of rows and draws that are compared for ``prior_mismatch_``, and the bound above which it warns.
_N_COMPARED, _MISMATCH = 2000, 0.5

#: A critic with a lower loss than this separates codes from the prior too well; a useless one has 2 log 2.
_CRITIC_WINS = 0.4

#: A critic whose mean loss of an epoch differs from 2 log 2 by less than this is constant.
_CONSTANT_CRITIC = 1e-6


_PRIORS: dict[str, Callable[[], Any]] = {
    "normal": NormalPrior,
    "uniform": UniformPrior,
    "gaussian_mixture": GaussianMixturePrior.pinwheel,
    "swiss_roll": SwissRollPrior,
}


def negative_log_likelihood(output: DrawnOutput, batch: Batch) -> dict[str, Tensor]:
    """Minus the log-probability of each row given its code; ``(batch,)``."""
    return {"reconstruction": -output.log_likelihood}


def adversarial_turns(
    module: AdversarialAutoencoder, batches: FreshBatches, state: GameState, *, n_critic: int
) -> Iterator[tuple[str, Tensor]]:
    r"""One round of an adversarial autoencoder (Makhzani et al. 2015).

    The autoencoder maximises :math:`\log p(x|z)`. The critic minimises :math:`-\log D(z_p) - \log(1 - D(z))`, where
    :math:`z_p` are draws of the prior, in ``n_critic`` steps. Each of them has its own rows and draws; the last one has
    the rows of the encoder. The encoder minimises :math:`-\log D(z)`, so that its codes look like draws of the prior.
    """
    output = module(next(batches).x, state.generator)
    x = output.target
    yield "autoencoder", -output.log_likelihood.mean()
    for _ in range(n_critic - 1):
        with torch.no_grad():
            extra = module.likelihood.target(next(batches.extra).x, state.generator)
            code = module.draw_code(extra, state.generator)
        yield "critic", critic_loss(module, code, state.generator)
    code = module.draw_code(x, state.generator)
    yield "critic", critic_loss(module, code.detach(), state.generator)
    yield "encoder", F.softplus(-module.log_odds(code)).mean()


def critic_loss(module: AdversarialAutoencoder, code: Tensor, generator: torch.Generator) -> Tensor:
    r"""Cross-entropy of the critic on these codes and as many draws of the prior; a useless critic has 2 log 2."""
    drawn = module.prior.sample(len(code), generator).to(code.dtype)
    return (F.softplus(-module.log_odds(drawn)) + F.softplus(module.log_odds(code))).mean()


def _prior_has_density(estimator: "AAETransformer") -> bool:
    prior = getattr(estimator, "prior_", estimator.prior)
    if hasattr(_PRIORS[prior]() if isinstance(prior, str) and prior in _PRIORS else prior, "log_prob"):
        return True
    raise AttributeError(f"prior must have log_prob for a score, got {prior!r}.")


class PriorStart(Start):
    """Another start, which also sets mean and standard deviation of the prior, to which codes are scaled."""

    def __init__(self, start: Start, prior: Any, seed: int):
        self.start, self.prior, self.seed = start, prior, seed

    def set(self, module: Any, rows: Rows) -> None:
        self.start.set(module, rows)
        module.set_prior_moments(self.prior.sample(_N_PRIOR_DRAWS, make_generator(self.seed, "prior")))


@storable(prior_=instance(*PRIORS), prior_mismatch_=number(finite=False), optional=LENGTHS)
class AAETransformer(GenerativeAutoencoder):
    r"""Learn codes of rows that are distributed like a prior of your choice, by adversarial training.

    Codes follow any prior that one can sample from. Reconstructions are less exact than an autoencoder's. New rows are
    decoded draws of the prior.

    Three networks take turns [1]_: encoder and decoder learn to reconstruct rows, a critic learns to distinguish codes
    of rows from draws of the prior, and the encoder learns to make them indistinguishable.

    This model has no density of rows. ``score_samples`` ranks rows by how plausible they are: it is the log-probability
    of the row given its code plus the prior's log-density of that code.

    Sparse matrices are not accepted.

    Parameters
    ----------
    n_components : int, default=2
        Length of the code.
    architecture : sequence of int or architecture object, default=(128, 64)
        Encoder and decoder; widths of the encoder's hidden layers are short for :class:`MLP` with these.
        :class:`Convolutional` is for images and series, :class:`Recurrent` for series.
    likelihood : str or Likelihood, default="auto"
        How rows with one code are distributed: a name or an object of the likelihoods. ``"auto"`` is ``"gaussian"`` for
        arrays; a data frame of other columns than numbers, or with missing cells, has a likelihood for each column, and
        rows come back with its types. ``"gaussian"`` is short for
        ``Gaussian("shared")`` here, because with a variance for each row a network with deterministic codes overfits.
    critic : sequence of int or MLP, default=(128, 64)
        Hidden layers of the critic; widths are short for an :class:`MLP` with ``activation="leaky_relu"``, whose
        gradients do not vanish while codes look like the prior.
    critic_learning_rate : float or None, default=None
        Learning rate of the critic; None is ``learning_rate``. Both may change when a fit is continued.
    n_critic : int, default=5
        Steps of the critic for each step of the encoder. Five steps bring codes nearer to the prior than one. They take
        about twice the time, and reconstructions are a little worse.
    prior : {"normal", "uniform", "gaussian_mixture", "swiss_roll"} or object, default="normal"
        How codes are to be distributed. ``"normal"``: standard normal. ``"uniform"``: between -1 and 1.
        ``"gaussian_mixture"``: a pinwheel of ten narrow normal distributions around the origin, in two dimensions.
        ``"swiss_roll"``: a spiral, in two dimensions. Or a prior of this library, or any object with
        ``sample(n, generator)``.
    encoder : {"deterministic", "gaussian"}, default="deterministic"
        Whether each row has one code, or a normal distribution of codes whose mean is its code.
    init : {"auto", "pca", "random"}, default="auto"
        ``"pca"``: training starts at probabilistic PCA of the rows (whitened, shrunken codes), for real-valued
        likelihoods. ``"random"``: at random weights. ``"auto"``: ``"pca"`` where that is possible, else ``"random"``.
    max_iter : int, default=200
        Number of epochs.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is a twentieth of them, at least 32 and at most 512.
    learning_rate : float, default=0.004
        Size of the steps of encoder and decoder.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rates of all players change over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        The optimizer of every player.
    weight_decay : float, default=0.01
        Decay of the weights at each step, as ``optimizer`` defines it; not applied to biases nor to linear paths. The
        encoder takes two steps for each step of the decoder.
    early_stopping : bool, default=False
        Whether to stop, and return to the best weights, when held-out rows are not reconstructed any better. This does
        not look at how well codes match the prior. If that is what matters, leave it off.
    validation_fraction : float, default=0.1
        Share of rows held out, with ``early_stopping``, from 600 rows on. Below 600 rows, four folds are held out in
        turn, by four further fits of ``max_iter`` epochs.
    n_iter_no_change : int, default=20
        Epochs without improvement after which training stops; not used with folds.
    tol : float, default=1e-4
        Improvement in nats per row that counts.
    warm_start : bool, default=False
        Whether ``fit`` continues the last fit or starts afresh.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch.
    net_params : dict or None, default=None
        More for the optimizers, as ``optimizer__<name>``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, draws and the order of rows; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : AdversarialNet
        The trained skorch net; ``net_.module_`` holds encoder, decoder and critic.
    prior_ : object
        The prior of codes.
    prior_mismatch_ : float
        How well nearest neighbours distinguish codes of up to 2000 training rows from draws of the prior:
        ``2 * AUROC - 1``. It is 0 for equal distributions, 1 if all codes are distinguished, and NaN for fewer than 10
        rows.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player: ``"autoencoder"``, ``"critic"`` (:math:`2 \log 2` if it cannot distinguish codes from
        the prior) and ``"encoder"`` (then :math:`\log 2`).
    validation_loss_curve_ : list of float
        Minus the log-probability of held-out rows given their code, with ``early_stopping``.
    reconstruction_err_ : float
        Squared reconstruction error of a training row, summed over features, averaged over the rows; of sequences of
        tokens, how many are not the most probable ones after those before them.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    lengths_ : ndarray of int of shape (n_samples,)
        Number of timepoints of each training series, where these are real values of unequal lengths; those of the last
        chunk after ``partial_fit``.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    VAETransformer : Has a density of rows, and no adversarial training.

    References
    ----------
    .. [1] Makhzani, Shlens, Jaitly, Goodfellow, Frey (2015). Adversarial autoencoders. arXiv:1511.05644.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import AAETransformer
    >>> X = load_digits().data
    >>> model = AAETransformer(n_components=8, max_iter=5, random_state=0).fit(X)
    >>> model.sample(3, random_state=0).shape
    (3, 64)
    """

    _parameter_constraints: dict = {
        **GenerativeAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS}), Likelihood],
        "critic": ["array-like", MLP],
        "critic_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "n_critic": [Interval(Integral, 1, None, closed="left")],
        "prior": "no_validation",
        "encoder": [StrOptions({"deterministic", "gaussian"})],
        "init": [StrOptions({"auto", "pca", "random"})],
    }

    _prior_names = tuple(sorted(_PRIORS))

    _changeable_parameters = (*GenerativeAutoencoder._changeable_parameters, "critic_learning_rate")

    def __init__(
        self,
        n_components=2,
        *,
        architecture=(128, 64),
        likelihood="auto",
        critic=(128, 64),
        critic_learning_rate=None,
        n_critic=5,
        prior="normal",
        encoder="deterministic",
        init="auto",
        max_iter=200,
        batch_size="auto",
        learning_rate=0.004,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.01,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=20,
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
        self.critic = critic
        self.critic_learning_rate = critic_learning_rate
        self.n_critic = n_critic
        self.prior = prior
        self.encoder = encoder
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

    def _make_plan(self, request: FitRequest) -> Plan:
        critic = self._critic_architecture()
        if isinstance(self.prior, str) and self.prior not in _PRIORS:
            raise ValueError(f"prior must be one of {sorted(_PRIORS)} or an object, got {self.prior!r}.")
        prior = as_prior(_PRIORS[self.prior]() if isinstance(self.prior, str) else self.prior, self.n_components)
        if (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect, because players train in turns.")
        resolved = self._resolve(request)
        return Plan(
            module=partial(self._make_module, resolved, critic, prior),
            objective=negative_log_likelihood,
            game=self._game(),
            start=PriorStart(self._make_start(resolved), prior, request.seed),
            data=resolved.data,
            splits=self._splits(request),
            selection=RowLosses(self.n_iter_no_change, self.tol, NATS),
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            attributes={"prior_": prior} if request.is_first else {},
            verbose=self.verbose,
        )

    def _likelihood_for(self, architecture: Architecture) -> Likelihood:
        if self._likelihood_name == "gaussian":
            return Gaussian("shared", correlated=False)
        return super()._likelihood_for(architecture)

    def _critic_architecture(self) -> Architecture:
        critic = checked_architecture(self.critic, "critic", activation="leaky_relu")
        if critic.code_activation != "identity":
            raise ValueError(
                "critic: code_activation must be 'identity', because log-odds are unbounded, got "
                f"{critic.code_activation!r}."
            )
        return critic

    def _make_module(self, resolved: Resolved, critic: Architecture, prior: Any) -> AdversarialAutoencoder:
        deterministic = self.encoder == "deterministic"
        return AdversarialAutoencoder(
            **self._make_parts(resolved, n_encoded=self.n_components * (1 if deterministic else 2)),
            prior=prior,
            n_components=self.n_components,
            critic=critic.make_encoder(self.n_components, 1, linear_path=False),
            deterministic=deterministic,
        )

    def _game(self) -> Game:
        critic_rate = 1.0 if self.critic_learning_rate is None else self.critic_learning_rate / self.learning_rate
        players = {
            "autoencoder": Player(("encoder", "decoder", "head")),
            "critic": Player(("critic",), critic_rate),
            "encoder": Player(("encoder",)),
        }
        return Game(partial(adversarial_turns, n_critic=self.n_critic), players, _ADAM_OPTIONS)

    def _make_start(self, resolved: Resolved) -> Start:
        if not resolved.is_linear:
            return MeanStart(resolved.data)
        # Codes of a linear model do not follow the prior, so the linear model is never the result.
        return LinearGaussianStart(resolved.data, self.n_components, has_first_layer_gain=False, is_model=False)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        self.prior_mismatch_, parameters = self._measure_mismatch(rows), self._parameters
        critic_loss = self.loss_curves_.get("critic", [math.inf])[-1]  # missing if the first epoch was interrupted
        if critic_loss < _CRITIC_WINS:
            problem = (
                f"The critic separates codes from the prior: its loss is {critic_loss:.3g}, far below 2 log 2 = 1.39"
            )
            remedy = (
                f"a smaller n_critic than {parameters.n_critic}, a lower critic_learning_rate, encoder='gaussian', or"
            )
        elif abs(critic_loss - 2 * math.log(2)) < _CONSTANT_CRITIC:
            problem = "The critic is constant: it returns the same log-odds for all codes"
            remedy = "a higher critic_learning_rate, a wider critic, activation='leaky_relu' if it has another, or"
        elif self.prior_mismatch_ > _MISMATCH:
            problem = f"Codes are not distributed like the prior: prior_mismatch_ is {self.prior_mismatch_:.3g}"
            remedy = f"a wider critic, a larger n_critic than {parameters.n_critic}, encoder='gaussian', or"
        else:
            return
        warn(
            f"{problem}. Samples will not look like rows. Try {remedy} a larger max_iter than {parameters.max_iter}.",
            ConvergenceWarning,
        )

    def _measure_mismatch(self, rows: Rows) -> float:
        """How well nearest neighbours distinguish codes from draws of the prior: the Gini coefficient, 2 AUROC - 1."""
        generator = make_generator(self._seed, "prior")
        chosen = torch.randperm(len(rows), generator=generator)[:_N_COMPARED]
        if len(chosen) < 10:
            return math.nan
        drawn = self.prior_.sample(len(chosen), generator).numpy()
        noise = make_generator(self._seed, "validation", self.device_)
        with torch.inference_mode():
            codes = self.net_.module_(rows[chosen], noise).code.cpu().numpy()
        neighbors = KNeighborsClassifier(max(1, math.isqrt(len(chosen)) // 2))
        found = classifier_two_sample_test(drawn, codes, classifier=neighbors, random_state=self._seed)
        return max(0.0, 2 * found.auroc - 1)

    # -- public

    @available_if(_prior_has_density)
    @by_block
    def score_samples(self, X):
        """Plausibility of each row: log-probability of the row given its code, plus log-density of the code.

        It is not a density of rows, which this model does not have. Rows unlike the training rows have low scores,
        because they are reconstructed badly or have codes far from the prior. This method exists only if the prior has
        ``log_prob``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p(x|z) + log p(z)`` in nats and in the units of ``X``, where ``z`` is the row's code; minus infinity
            for codes outside a uniform prior.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        self._data.likelihood.check_scored(X)
        module, prior = self.net_.module_, self.prior_

        def plausibility(x):
            code = module.encode(x)
            return module.log_likelihood(code, x).double() + prior.log_prob(code).double()

        found = map_rows(lambda x: in_one_thread(plausibility, x), X, self.device_, self._data.prepare)
        return (found - self._data.log_scale(X)).astype(X.dtype)

    @available_if(_prior_has_density)
    @averaged_over_blocks
    def score(self, X, y=None):
        """Mean of :meth:`score_samples`; it cannot compare models with other priors or other lengths of code.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
            The mean over rows; higher is better. With ``prior="uniform"`` one code outside makes it minus infinity.
        """
        return float(self.score_samples(X).mean())
