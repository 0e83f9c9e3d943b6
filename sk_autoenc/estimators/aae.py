"""The adversarial autoencoder: its turns above, the estimator below."""

import math
import warnings
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
from sk_autoenc.architectures import MLP, Architecture
from sk_autoenc.base.autoencoder import BaseAutoencoder
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.generative import GenerativeAutoencoder, Resolved
from sk_autoenc.base.stored import LENGTHS, PRIORS, storable
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

#: Momentum makes players circle each other (Gidel et al. 2019, https://arxiv.org/abs/1807.04740), so there is less.
_ADAM_OPTIONS = {"betas": (0.5, 0.99)}

#: Draws that tell place and scale of the prior.
_N_READ = 10_000

#: Rows and draws that are compared for ``prior_mismatch_``, and from where on it is worth a warning.
_N_COMPARED, _MISMATCH = 2000, 0.5

#: A critic's loss, 2 log 2 for one that knows nothing, below which it has won.
_CRITIC_WINS = 0.4

#: A loss so near to 2 log 2 over a whole epoch is that of a critic without an opinion.
_SILENT = 1e-6


_PRIORS: dict[str, Callable[[], Any]] = {
    "normal": NormalPrior,
    "uniform": UniformPrior,
    "gaussian_mixture": GaussianMixturePrior.petals,
    "swiss_roll": SwissRollPrior,
}


def negative_log_likelihood(output: DrawnOutput, batch: Batch) -> dict[str, Tensor]:
    """Minus the log-probability of each row given its code; ``(batch,)``."""
    return {"reconstruction": -output.log_likelihood}


def adversarial_turns(
    module: AdversarialAutoencoder, batches: FreshBatches, state: GameState, *, n_critic: int
) -> Iterator[tuple[str, Tensor]]:
    r"""One round of an adversarial autoencoder (Makhzani et al. 2015).

    The autoencoder raises :math:`\log p(x|z)`; the critic learns to tell draws of the prior from codes,
    :math:`-\log D(z_p) - \log(1 - D(z))`, in ``n_critic`` steps, each on rows and draws of its own, the last on the
    rows that the encoder sees; the encoder learns to be taken for the prior, :math:`-\log D(z)`.
    """
    output = module(next(batches).x, state.generator)
    x = output.target
    yield "autoencoder", -output.log_likelihood.mean()
    for _ in range(n_critic - 1):
        with torch.no_grad():
            others = module.likelihood.target(next(batches.extra).x, state.generator)
            code = module.draw_code(others, state.generator)
        yield "critic", critic_loss(module, code, state.generator)
    code = module.draw_code(x, state.generator)
    yield "critic", critic_loss(module, code.detach(), state.generator)
    yield "encoder", F.softplus(-module.log_odds(code)).mean()


def critic_loss(module: AdversarialAutoencoder, code: Tensor, generator: torch.Generator) -> Tensor:
    r"""How badly the critic tells these codes from as many draws of the prior; :math:`2 \log 2` if it cannot."""
    drawn = module.prior.sample(len(code), generator).to(code.dtype)
    return (F.softplus(-module.log_odds(drawn)) + F.softplus(module.log_odds(code))).mean()


def _prior_has_density(estimator: "AAETransformer") -> bool:
    prior = getattr(estimator, "prior_", estimator.prior)
    if hasattr(_PRIORS[prior]() if isinstance(prior, str) and prior in _PRIORS else prior, "log_prob"):
        return True
    raise AttributeError(f"prior={prior!r} has no log_prob, which a score of codes needs.")


class PriorStart(Start):
    """Another start, and the place and scale of the prior, which codes take."""

    def __init__(self, start: Start, prior: Any, seed: int):
        self.start, self.prior, self.seed = start, prior, seed

    def set(self, module: Any, rows: Rows) -> None:
        self.start.set(module, rows)
        module.read_prior(self.prior.sample(_N_READ, make_generator(self.seed, "prior")))


@storable(prior_=instance(*PRIORS), prior_mismatch_=number(finite=False), optional=LENGTHS)
class AAETransformer(GenerativeAutoencoder):
    r"""Learn codes of rows that are distributed like a prior of your choice, held to it by a critic.

    In turns [1]_, an encoder and a decoder learn to reconstruct rows, a critic learns to tell codes of rows from draws
    of the prior, and the encoder learns to deceive the critic. A prior need not have a density: any shape that can be
    sampled will do. Draws from it, decoded, are new rows.

    No density of rows exists. What ``score_samples`` gives is a plausibility: the log-probability of the row given its
    code plus the prior's log-density of that code.

    Sparse matrices are not accepted.

    Parameters
    ----------
    n_components : int, default=2
        Length of the code.
    architecture : sequence of int or architecture object, default=(128, 64)
        Encoder and decoder; widths of the encoder's hidden layers are short for :class:`MLP` with these.
        :class:`Convolutional` is for images and series, :class:`Recurrent` for series.
    likelihood : str or Likelihood, default="gaussian"
        What the decoder's output says about rows: a name or an object of the likelihoods. ``"gaussian"`` is short for
        ``Gaussian("shared")`` here: deterministic codes with a variance of each row would only learn rows by heart.
    critic : sequence of int or MLP, default=(128, 64)
        Hidden layers of the critic; widths are short for an :class:`MLP` with ``activation="leaky_relu"``, whose units
        do not fall silent while nothing tells codes from the prior.
    critic_learning_rate : float or None, default=None
        Rate of the critic; None is ``learning_rate``. Like that, it may change between fits that go on.
    n_critic : int, default=5
        Steps of the critic for each of the encoder. A critic that lags behind lets codes keep a shape that it could
        have told from the prior: five steps bring codes nearer to the prior than one, for about twice the time and at
        some cost of reconstruction.
    prior : {"normal", "uniform", "gaussian_mixture", "swiss_roll"} or object, default="normal"
        How codes are to be distributed: standard normal, uniform between -1 and 1, ten petals around the origin or a
        spiral, both in two dimensions; or an object of the priors, or any with ``sample(n, generator)``.
    encoder : {"deterministic", "gaussian"}, default="deterministic"
        Whether each row has one code, or a normal distribution of codes whose mean is its code.
    init : {"auto", "pca", "random"}, default="auto"
        ``"pca"`` starts at probabilistic PCA of the rows (whitened, shrunken codes), for real-valued likelihoods;
        ``"auto"`` where that is possible.
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
        How strongly weights are drawn to zero at each step, biases and linear paths excepted; the encoder takes two
        steps for each of the decoder.
    early_stopping : bool, default=False
        Whether to stop, and return to the best weights, when rows that are held out are not reconstructed any better.
        How well codes match the prior is not looked at, so leave it to ``max_iter`` where that is what matters.
    validation_fraction : float, default=0.1
        Share of rows held out, with ``early_stopping``, from 600 rows on; fewer are held out in four folds, by four
        further fits that run all ``max_iter`` epochs.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops, where there are no folds.
    tol : float, default=1e-4
        Improvement in nats per row that counts.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
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
        The prior that codes were held to.
    prior_mismatch_ : float
        How well codes of up to 2000 training rows can be told from draws of the prior by their nearest neighbours:
        ``2 * AUROC - 1``, 0 for equal distributions, 1 if all can be told apart; NaN for fewer than 10 rows.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player: ``"autoencoder"``, ``"critic"`` (:math:`2 \log 2` if it cannot tell codes from the
        prior) and ``"encoder"`` (then :math:`\log 2`).
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
    VAETransformer : Has a density of rows, and no game to balance.

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
        **BaseAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions(set(LIKELIHOODS)), Likelihood],
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
        likelihood="gaussian",
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
            raise ValueError("net_params: 'compile' would have no effect on players that train in turns.")
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
            callbacks=self.callbacks,
            verbose=self.verbose,
        )

    def _likelihood_for(self, architecture: Architecture) -> Likelihood:
        if self.likelihood == "gaussian":
            return Gaussian("shared", correlated=False)
        return super()._likelihood_for(architecture)

    def _critic_architecture(self) -> MLP:
        critic = self.critic if isinstance(self.critic, MLP) else MLP(tuple(self.critic), activation="leaky_relu")
        try:
            critic.check()
        except ValueError as error:
            raise ValueError(f"critic: {error}") from None
        if critic.code_activation != "identity":
            raise ValueError(
                f"critic: code_activation must be 'identity', since log-odds have any sign and size; got "
                f"{critic.code_activation!r}."
            )
        return critic

    def _make_module(self, resolved: Resolved, critic: MLP, prior: Any) -> AdversarialAutoencoder:
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
        # A linear model's codes are not held to the prior, so it is never kept.
        return LinearGaussianStart(resolved.data, self.n_components, has_first_layer_gain=False, is_model=False)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        self.prior_mismatch_, parameters = self._measure_mismatch(rows), self._parameters
        critic_loss = self.loss_curves_.get("critic", [math.inf])[-1]  # none if the first epoch was broken off
        if critic_loss < _CRITIC_WINS:
            problem = f"The critic has won: its loss is {critic_loss:.3g} (2 log 2 = 1.39 when codes match the prior)"
            remedy = (
                f"a smaller n_critic than {parameters.n_critic}, a lower critic_learning_rate, encoder='gaussian', or"
            )
        elif abs(critic_loss - 2 * math.log(2)) < _SILENT:
            problem = "The critic has fallen silent: it says the same of all codes"
            remedy = "a higher critic_learning_rate, a wider critic, activation='leaky_relu' if it has another, or"
        elif self.prior_mismatch_ > _MISMATCH:
            problem = f"Codes are not distributed like the prior: prior_mismatch_ is {self.prior_mismatch_:.3g}"
            remedy = f"a wider critic, a larger n_critic than {parameters.n_critic}, encoder='gaussian', or"
        else:
            return
        warnings.warn(
            f"{problem}, so samples will not look like rows. Try {remedy} a larger max_iter than "
            f"{parameters.max_iter}.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _measure_mismatch(self, rows: Rows) -> float:
        """How well nearest neighbours tell codes from draws of the prior: the Gini coefficient, 2 AUROC - 1."""
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
    def score_samples(self, X):
        """How plausible each row is: the log-probability of the row given its code, plus the code's under the prior.

        No density of rows exists in this model, so this is not one; rows that are unlike the training rows are
        reconstructed badly or have codes far from the prior, and score low. There only if the prior has ``log_prob``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p(x|z) + log p(z)`` in nats, for the units of ``X``, where ``z`` is the row's code; minus infinity
            where that lies outside a uniform prior.
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
