"""The adversarial autoencoder of rows, few of which have a class: its turns above, the estimator below."""

from collections.abc import Iterator
from functools import partial
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor

from sk_autoenc._compat import Interval
from sk_autoenc.architectures import Architecture, as_architecture
from sk_autoenc.base.class_generator import GenerativeClassifier, Resolved
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.stored_targets import storable_few_labels
from sk_autoenc.data.conditions import is_targets
from sk_autoenc.nn.class_codes import ClassAdversarialAutoencoder
from sk_autoenc.storage import array
from sk_autoenc.training.adversarial import FreshBatches, Game, GameState, Player
from sk_autoenc.training.plan import Plan

#: Momentum makes adversarial training oscillate (Gidel et al. 2019, https://arxiv.org/abs/1807.04740), so it is low.
_ADAM_OPTIONS = {"betas": (0.5, 0.99)}


def class_turns(
    module: ClassAdversarialAutoencoder,
    batches: FreshBatches,
    state: GameState,
    *,
    shares: Tensor,
    label_weight: float,
) -> Iterator[tuple[str, Tensor]]:
    r"""One round (Makhzani et al. 2015, section 5).

    The autoencoder maximises :math:`\log p(x | y, z)` with class probabilities :math:`y` and code :math:`z`. Two
    critics minimise :math:`-\log D(p) - \log(1 - D(q))`, one with indicators of classes that are drawn in their shares
    and :math:`q = y`, the other with these, standard normal draws beside them, and :math:`q = (y, z)`. The encoder
    minimises :math:`-\log D(q)` of both. Last it minimises the cross-entropy of the labels, times ``label_weight``.

    The paper's second critic reads the code alone. Codes may then follow their prior and tell the class all the same.
    """
    batch = next(batches)
    assert batch.y is not None
    x = module.likelihood.target(batch.x, state.generator)
    yield "autoencoder", -module(x, state.generator).mean()
    with torch.no_grad():
        log_odds, code = module.both(x)
        probabilities = log_odds.softmax(-1)
    yield "critics", critics_loss(module, probabilities, code, shares, state.generator)
    log_odds, code = module.both(x)
    of_class, of_code = module.critics(log_odds.softmax(-1), code)
    yield "encoder", (F.softplus(-of_class) + F.softplus(-of_code)).mean()
    indicators, is_known = batch.y[:, :-1], batch.y[:, -1]
    entropy = -(indicators * module.both(x)[0].log_softmax(-1)).sum(-1)
    yield "classifier", label_weight * (is_known * entropy).sum() / is_known.sum().clamp_min(1)


def critics_loss(
    module: ClassAdversarialAutoencoder, probabilities: Tensor, code: Tensor, shares: Tensor, generator: torch.Generator
) -> Tensor:
    """Cross-entropies of both critics, on these and on as many draws of the priors; useless critics have 4 log 2."""
    weights = shares.to(code.device)
    drawn = torch.multinomial(weights, len(code), replacement=True, generator=generator)
    classes = F.one_hot(drawn, probabilities.shape[1]).to(code.dtype)
    normal = torch.randn(code.shape, generator=generator, device=code.device, dtype=code.dtype)
    real, made = (torch.stack(module.critics(*pair)) for pair in ((classes, normal), (probabilities, code)))
    return (F.softplus(-real) + F.softplus(made)).sum(0).mean()


@storable_few_labels(classes_=is_targets, class_prior_=array("f8", None, above=0))
class AAEClassifier(GenerativeClassifier):
    r"""Classify rows of which few have labels by an autoencoder that divides them into class and code, and draw rows.

    ``y`` is -1 for rows without a label, as in :mod:`sklearn.semi_supervised`.

    The encoder gives each row probabilities of classes and a code; the decoder makes the row of both [1]_. A critic
    holds the probabilities to indicators of one class, so that they become certain. Another reads both, and holds codes
    to the standard normal distribution whatever the class, so that they say nothing about it. The cross-entropy of
    labels trains the probabilities, too.

    The result of :meth:`predict` is a baseline, a graph of nearest neighbours or a linear model of PCA codes, unless
    held-out labels say that the network is better: the mean Brier score must fall by more than its standard error.
    Samples and codes are those of the network in any case.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code.
    architecture : sequence of int or architecture object, default=(128, 64)
        Encoder and decoder; widths of hidden layers are short for :class:`MLP` with these. :class:`Convolutional` is
        for images and series.
    likelihood : str or Likelihood, default="gaussian"
        How rows of one class and code are distributed: a name or an object of the likelihoods.
    critic : sequence of int or MLP, default=(64, 64)
        Hidden layers of both critics; widths are short for an :class:`MLP` with ``activation="leaky_relu"``.
    label_weight : float, default=1.0
        Weight of the cross-entropy of labels.
    baseline : {"auto", "graph", "linear"}, default="auto"
        What is the result if the network is not better: a graph of nearest neighbours between PCA codes, a linear
        model of these codes, or for ``"auto"`` one of both, or their mean, as left-out labels choose.
    max_iter : int or "auto", default="auto"
        Number of epochs; ``"auto"`` is as many as make 1500 rounds, five at least.
    batch_size : int or "auto", default="auto"
        Rows per step; where few rows have labels, up to half as many rows with labels are added. ``"auto"`` is a
        twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.002
        Peak step size of all players.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps.
    weight_decay : float, default=0.01
        Decay of the weights.
    early_stopping : bool, default=True
        Whether labels are held out to compare the network with the baseline, as in :class:`PretrainedClassifier`. With
        fewer than 40 labels nothing can be compared, and the baseline is the result. False keeps the network.
    validation_fraction : float, default=0.25
        Share of the labels that is held out where these are no folds.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        Called in training.
    net_params : dict or None, default=None
        ``optimizer__*`` for the skorch net.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, held-out labels, the order of rows and draws.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : AdversarialNet
        The skorch net; ``net_.module_`` holds encoder, decoder, critics and baseline.
    classes_ : ndarray of shape (n_classes,)
        The classes.
    class_prior_ : ndarray of shape (n_classes,)
        How often ``sample`` draws each class: as often as it is among the labels, each counted once more.
    transduction_ : ndarray of shape (n_samples,)
        Class of each training row: that of ``y``, or the predicted one.
    is_baseline_ : bool
        Whether the baseline predicts.
    baseline_share_ : float
        Share of the graph in the baseline: 1 is the graph, 0 the linear model.
    n_components_ : int
        Length of a code.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player: ``"autoencoder"``, ``"critics"``, ``"encoder"`` and ``"classifier"``.
    validation_loss_curve_ : list of float
        Mean Brier score of held-out labels after each epoch.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    VAEClassifier : A bound of the density in place of critics.
    PretrainedClassifier : No samples; predicts better in general.

    References
    ----------
    .. [1] Makhzani, Shlens, Jaitly, Goodfellow, Frey (2015). Adversarial autoencoders. arXiv:1511.05644.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import AAEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    >>> model = AAEClassifier(2, architecture=(16,), max_iter=5, random_state=0).fit(X, few)
    >>> model.predict(X[:3]).shape, model.sample(5, random_state=0)[0].shape
    ((3,), (5, 4))
    """

    _parameter_constraints: dict = {
        **GenerativeClassifier._parameter_constraints,
        "critic": ["array-like", Architecture],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components=8,
        *,
        architecture=(128, 64),
        likelihood="gaussian",
        critic=(64, 64),
        label_weight=1.0,
        baseline="auto",
        max_iter="auto",
        batch_size="auto",
        learning_rate=0.002,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.01,
        early_stopping=True,
        validation_fraction=0.25,
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
        self.label_weight = label_weight
        self.baseline = baseline
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _make_plan(self, request: FitRequest) -> Plan:
        if (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect, because players train in turns.")
        resolved, critic = self._resolve(request), self._critic_architecture()
        shares = torch.from_numpy(self._shares(resolved)).float()
        players = {
            "autoencoder": Player(("encoder", "decoder", "head")),
            "critics": Player(("class_critic", "code_critic")),
            "encoder": Player(("encoder",)),
            "classifier": Player(("encoder",)),
        }
        turns = partial(class_turns, shares=shares, label_weight=self.label_weight)
        return Plan(
            module=partial(self._make_module, resolved, critic),
            game=Game(turns, players, _ADAM_OPTIONS),
            start=self._start(resolved.data),
            data=resolved.data,
            splits=resolved.splits,
            selection=self._selection(),
            keeps_start_unevaluated=self.early_stopping,
            phases=self._label_phases(request, resolved.splits),
            optimizer=self._optimizer_options(),
            verbose=self.verbose,
        )

    def _critic_architecture(self) -> Architecture:
        critic = as_architecture(self.critic, activation="leaky_relu")
        try:
            critic.check()
        except ValueError as error:
            raise ValueError(f"critic: {error}") from None
        if critic.code_activation != "identity" or not critic.reads_columns:
            raise ValueError(f"critic must be an MLP with code_activation='identity', got {self.critic!r}.")
        return critic

    def _make_module(self, resolved: Resolved, critic: Architecture) -> ClassAdversarialAutoencoder:
        n_classes = resolved.data.n_outputs
        n_encoded = n_classes + self.n_components
        return ClassAdversarialAutoencoder(
            resolved.architecture.make_encoder(self._n_inputs(resolved), n_encoded, linear_path=False),
            class_critic=critic.make_encoder(n_classes, 1, linear_path=False),
            code_critic=critic.make_encoder(n_encoded, 1, linear_path=False),
            **self._options(resolved),
        )
