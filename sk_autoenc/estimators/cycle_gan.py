"""CycleGAN: rows of one domain as rows of another and back, learned without pairs; the turns are in ``base.cycle``."""

from functools import partial
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._compat import Interval, StrOptions, in_chosen_container
from sk_autoenc._messages import names_its_class
from sk_autoenc.architectures import Architecture, architecture_object, as_architecture
from sk_autoenc.base.cycle import (
    IdentityStart,
    cycle_errors,
    cycle_turns,
    energy_both_ways,
    held_out_both_ways,
    total_variance,
)
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.sampler import sample_quality
from sk_autoenc.base.stored_targets import storable_domains
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.splits import FEW_ROWS, MIN_ROWS, Split
from sk_autoenc.data.unpaired import Domain, TwoDomains, Unpaired, read_domain, warn_of_classes
from sk_autoenc.data.validation import as_array
from sk_autoenc.initialization.start import Start
from sk_autoenc.likelihoods import Gaussian
from sk_autoenc.losses import ADVERSARIAL_LOSSES
from sk_autoenc.metrics import energy_distance
from sk_autoenc.nn.cycle import CycleGan, Translator
from sk_autoenc.nn.gan import Critic
from sk_autoenc.training.adversarial import Game, Player
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import RowFigures

#: Steps of a fit with ``max_iter="auto"``; a code's length with ``n_components="auto"`` at most.
_STEPS, _MOST_COMPONENTS = 2000, 64

#: As in the paper's networks.
_ADAM_OPTIONS = {"betas": (0.5, 0.999)}


@storable_domains(TwoDomains)
class CycleGANTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    r"""Translate rows of one domain to another and back, learned from rows of both without pairs.

    Two networks translate, :math:`F` from A to B and :math:`G` from B to A. A critic of each domain tells real rows
    from translated ones. Rows that go to the other domain and back must come back as they were, which ties a
    translation to its row [1]_. ``fit(X, y)`` takes rows of A as ``X`` and rows of B as ``y``: their numbers may
    differ, and so may their shapes.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of the code inside a translator. ``"auto"`` is the larger number of cells of a row, at most 64.
    architecture : sequence of int or architecture object, default=(64, 64)
        A translator has the encoder of this architecture for its input, and the decoder for its output. Widths are
        short for an :class:`MLP` with ``activation="leaky_relu"``; :class:`Convolutional` is for images and series.
    critic : sequence of int, architecture object or "auto", default="auto"
        Critics, and the classifier of the content, are encoders of this architecture; ``"auto"`` is ``architecture``.
    init : {"auto", "identity", "random"}, default="auto"
        Where translators start: at the identity, which needs domains of one shape, or at random weights. ``"auto"`` is
        the identity where shapes agree. From there a translation that turns the sign of cells is out of reach, since
        rows would not come back half-way: use ``"random"`` for it, as between images and their negatives.
    loss : str, default="least_squares"
        As in :class:`GANSampler`: ``"least_squares"``, ``"relativistic"``, ``"non_saturating"``, ``"minimax"``,
        ``"hinge"`` or ``"wasserstein"``.
    cycle_weight : float, default=10.0
        Weight :math:`\lambda` of the error of rows that went to the other domain and back: the mean over cells, in the
        network's units, of the absolute difference, squared where it is small.
    identity_weight : float or "auto", default="auto"
        Weight :math:`\mu` of the same error between rows of a domain and their translation to the same domain.
        ``"auto"`` is half of ``cycle_weight`` for images and series, and 0 for tables; it must be 0 for domains of
        different shapes.
    content_weight : float, default=1.0
        Weight of the content, if ``fit`` has classes: a classifier must say the same of a row and of its translation
        [2]_. Cycles alone may exchange classes.
    n_replayed : int, default=512
        Number of earlier translations that critics see again.
    ema : float, default=0.99
        Share that the running average of the translators keeps at each step; 0 uses the last weights.
    max_iter : int or "auto", default="auto"
        Number of epochs, each a pass over A; ``"auto"`` is as many as make 2000 steps.
    batch_size : int, default=64
        Rows of each domain per step.
    learning_rate : float, default=0.002
        Size of the steps.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rates of all players change over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adam"
        The optimizer of all players, with a first moment of 0.5.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=False
        Whether to stop, and return to the best weights, when translated held-out rows come no nearer to those of the
        other domain.
    validation_fraction : float, default=0.1
        Share of rows held out, from 600 rows of A on; with fewer, ``early_stopping`` holds them out in four folds.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        Improvement of the energy distance that counts.
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
        The trained skorch net; ``net_.module_`` holds translators, their averages, and critics.
    identity_ : bool
        Whether the identity was kept, because translated held-out rows were not nearer to those of the other domain by
        more than chance explains (2.5 standard errors).
    cycle_error_ : float
        Squared error of rows that went to the other domain and back, as a share of the domain's total variance; mean of
        both domains.
    translation_quality_ : dict of str to float
        Of rows of A as rows of B, against rows of B: ``"energy_distance"``, ``"precision"``, ``"recall"``,
        ``"density"`` and ``"coverage"``; of held-out rows, if there are any.
    n_components_ : int
        Length of the code inside a translator.
    output_shape_ : tuple of int
        Shape of a row of B.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player: ``"critics"``, ``"translators"`` and, with classes, ``"classifier"``.
    validation_loss_curve_ : list of float
        Energy distance of translated held-out rows to those of the other domain, mean of both ways.
    n_features_in_ : int
        Number of columns of A.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    input_shape_ : tuple of int
        Shape of a row of A.
    device_ : str
        The device in use.

    See Also
    --------
    ConditionalGANSampler : Draws rows of a class.

    Notes
    -----
    **Where it starts.** Domains of one shape start at the identity in the network's units. Of tables every column of
    either domain is standardised, so the start moves and scales columns until means and standard deviations agree.
    Images and series of both domains share one centre and one scale, so the start leaves them as they are. From 600
    rows on the start is kept unless the networks bring held-out rows nearer to those of the other domain, by more than
    chance explains.

    **What it cannot know.** Many translations give rows of B and come back to their row. Without classes nothing says
    which one is meant, other than the start.

    **In a pipeline** ``make_pipeline(scaler, CycleGANTransformer()).fit(X_a, X_b)`` scales A alone. In a search the
    number of rows of both must be the same, as scikit-learn splits them together.

    References
    ----------
    .. [1] Zhu, Park, Isola, Efros (2017). Unpaired image-to-image translation using cycle-consistent adversarial
       networks. ICCV.
    .. [2] Hoffman et al. (2018). CyCADA: cycle-consistent adversarial domain adaptation. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc import CycleGANTransformer
    >>> rng = np.random.default_rng(0)
    >>> X_a, X_b = rng.normal(size=(300, 2)), rng.normal([5.0, -3.0], [2.0, 0.5], size=(200, 2))
    >>> model = CycleGANTransformer(max_iter=3, random_state=0).fit(X_a, X_b)
    >>> model.transform(X_a).shape
    (300, 2)
    >>> bool(np.abs(model.transform(X_a).mean(axis=0) - [5.0, -3.0]).max() < 1)
    True
    """

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "architecture": ["array-like", Architecture],
        "critic": ["array-like", Architecture, StrOptions({"auto"})],
        "init": [StrOptions({"auto", "identity", "random"})],
        "loss": [StrOptions(set(ADVERSARIAL_LOSSES))],
        "cycle_weight": [Interval(Real, 0, None, closed="left")],
        "identity_weight": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "content_weight": [Interval(Real, 0, None, closed="left")],
        "n_replayed": [Interval(Integral, 0, None, closed="left")],
        "ema": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
    }

    n_components_: int
    output_shape_: tuple[int, ...]

    def __init__(
        self,
        n_components="auto",
        *,
        architecture=(64, 64),
        critic="auto",
        init="auto",
        loss="least_squares",
        cycle_weight=10.0,
        identity_weight="auto",
        content_weight=1.0,
        n_replayed=512,
        ema=0.99,
        max_iter="auto",
        batch_size=64,
        learning_rate=0.002,
        learning_rate_schedule="cosine",
        optimizer="adam",
        weight_decay=0.0,
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
        self.critic = critic
        self.init = init
        self.loss = loss
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight
        self.content_weight = content_weight
        self.n_replayed = n_replayed
        self.ema = ema
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

    # -- the hooks

    def _make_plan(self, request: FitRequest) -> Plan:
        if (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect on players that train in turns.")
        data = request.data or self._preprocessor(request)
        same = data.have_one_shape
        is_table = self._architecture("architecture").reads_columns
        self._check_combinations(request, data)
        n_components = self._n_latent(data)
        at_identity = self._starts_at_identity(data)
        identity_weight = self.identity_weight
        if identity_weight == "auto":
            identity_weight = self.cycle_weight / 2 if same and not is_table else 0.0
        turns = partial(
            cycle_turns,
            loss=ADVERSARIAL_LOSSES[self.loss],
            cycle_weight=self.cycle_weight,
            identity_weight=identity_weight,
            content_weight=self.content_weight,
            n_replayed=self.n_replayed,
            ema=self.ema,
        )
        players = ["critics", "translators", *(["classifier"] if data.n_classes else [])]
        return Plan(
            module=partial(self._make_module, data, n_components, at_identity),
            game=Game(turns, {name: Player((name,)) for name in players}, _ADAM_OPTIONS),
            start=IdentityStart() if at_identity else Start(),
            data=data,
            splits=self._splits(request),
            selection=RowFigures(self.n_iter_no_change, self.tol, energy_both_ways, stops=self.early_stopping),
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            attributes={"n_components_": n_components, "output_shape_": data.b.shape} if request.is_first else {},
            verbose=self.verbose,
        )

    def _preprocessor(self, request: FitRequest) -> TwoDomains:
        assert request.X is not None
        by_feature = self._architecture("architecture").reads_columns
        a, b = (
            SampledRows(Gaussian(), shape, rows.dtype.name, by_feature=by_feature, values="real")
            for rows, shape in ((request.X, request.shape), (request.y.rows, request.y.shape))
        )
        return TwoDomains(a, b, request.y.n_classes, request.y.columns)

    def _check_combinations(self, request: FitRequest, data: TwoDomains) -> None:
        y: Domain | None = request.y
        if y is not None and request.X is not None:
            for name, labels, rows in (("labels_a", y.labels_a, request.X), ("labels_b", y.labels_b, y.rows)):
                if labels is not None and len(labels) != len(rows):
                    raise ValueError(f"{name} must be one class for each of {len(rows)} rows, got {len(labels)}.")
        if y is not None and y.shape != data.b.shape:
            raise ValueError(f"y must have rows of shape {data.b.shape} as in the fit that goes on, got {y.shape}.")
        if y is not None and y.n_classes > data.n_classes:
            raise ValueError(
                f"labels_a and labels_b must hold {data.n_classes} classes at most, as in the fit that goes on, got "
                f"{y.n_classes}."
            )
        if data.have_one_shape:
            return
        if self.init == "identity":
            raise ValueError(
                f"init='identity' needs rows of one shape, got {data.a.shape} and {data.b.shape}; use init='random'."
            )
        if self.identity_weight not in ("auto", 0):
            raise ValueError(
                f"identity_weight must be 0 for rows of different shapes, here {data.a.shape} and {data.b.shape}, got "
                f"{self.identity_weight}."
            )
        if data.n_classes:
            raise ValueError(
                "labels_a and labels_b need rows of one shape, as one classifier reads both domains, got "
                f"{data.a.shape} and {data.b.shape}."
            )

    def _architecture(self, name: str) -> Architecture:
        """The architecture of translators or critics; widths are short for an MLP with leaky ReLUs."""
        value = self.architecture if name == "critic" and isinstance(self.critic, str) else getattr(self, name)
        architecture = as_architecture(value, activation="leaky_relu")
        architecture.check()
        if architecture.reads_sequences or architecture.code_activation != "identity":
            raise ValueError(
                f"{name} must be an MLP or Convolutional, with code_activation='identity', got {architecture!r}."
            )
        return architecture

    def _n_latent(self, data: TwoDomains) -> int:
        if not isinstance(self.n_components, str):
            return int(self.n_components)
        return min(max(data.a.n_features, data.b.n_features), _MOST_COMPONENTS)

    def _starts_at_identity(self, data: TwoDomains) -> bool:
        return self.init != "random" and data.have_one_shape

    def _make_module(self, data: TwoDomains, n_components: int, at_identity: bool) -> CycleGan:
        architecture, critic = self._architecture("architecture"), self._architecture("critic")
        of_domain = {name: architecture.bind(rows.shape) for name, rows in (("a", data.a), ("b", data.b))}
        sizes = {"a": data.a.n_features, "b": data.b.n_features}

        def translator(source: str, target: str) -> Translator:
            encoder = of_domain[source].make_encoder(sizes[source], n_components, linear_path=False)
            options = {"linear_path": False, "bounded": False}
            decoder = of_domain[target].make_decoder(n_components, sizes[target], **options)
            return Translator(encoder, decoder, sizes[target], has_identity=at_identity)

        def classify(rows: SampledRows, n_outputs: int) -> Any:
            return critic.bind(rows.shape).make_encoder(rows.n_features, n_outputs, linear_path=False)

        translators, averages = (
            {"forth": translator("a", "b"), "back": translator("b", "a")} for _ in ("learns", "follows")
        )
        critics = {"a": Critic(classify(data.a, 1)), "b": Critic(classify(data.b, 1))}
        classifier = classify(data.a, data.n_classes) if data.n_classes else None
        return CycleGan(translators, averages, critics, classifier)

    def _splits(self, request: FitRequest) -> tuple[Split, ...]:
        """Rows are held out for figures also without early stopping, where there are enough of both domains."""
        if request.X is None or request.is_chunk or len(request.y.rows) < MIN_ROWS:
            return ()
        if not self.early_stopping and len(request.X) < FEW_ROWS:
            return ()
        return self._make_splits(request)

    def _n_epochs(self, request: FitRequest) -> int:
        if not isinstance(self.max_iter, str):
            return self.max_iter
        splits = self._splits(request)
        n_rows = 1 if request.X is None else len(splits[0][0]) if splits else len(request.X)
        steps = max(1, n_rows // self._optimizer_options().rows_per_step(n_rows))
        return -(-_STEPS // steps)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        data = cast(Unpaired, rows if result.held_out is None else result.held_out)
        module = result.net.plain_module
        self.identity_ = result.kept_start
        (real, made), _ = held_out_both_ways(result.net, data)
        n = min(len(real), len(made))
        self.translation_quality_ = sample_quality(real[:n].double().numpy(), made[:n].double().numpy())
        self.cycle_error_ = float(
            np.mean([
                float(cycle_errors(module, some, forth_first=is_a).mean() / total_variance(some))
                for some, is_a in ((data.data[data.index], True), (data.other[data.other_index], False))
            ])
        )  # fmt: skip

    # -- public

    @names_its_class
    def fit(self, X, y, *, labels_a=None, labels_b=None):
        """Train on rows of both domains.

        Parameters
        ----------
        X : array-like of shape (n_a, n_features) or (n_a, ...)
            Rows of domain A, which may have more axes, such as images.
        y : array-like of shape (n_b, n_features_b) or (n_b, ...)
            Rows of domain B, of any number. One axis is one column; a warning comes if it holds integers,
            which look like classes.
        labels_a, labels_b : array-like of int of shape (n_a,) or (n_b,), default=None
            Class of each row of A or of B, from 0 on, or -1 where it is not known. A classifier learns by them, and
            translations must keep what it says.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, self._domain(y, labels_a, labels_b))

    @names_its_class
    def partial_fit(self, X, y, *, labels_a=None, labels_b=None):
        """Train for one epoch, at a constant rate; the first call sets scales and, by its classes, their number.

        Parameters
        ----------
        X : array-like of shape (n_a, n_features)
            A chunk of rows of A.
        y : array-like of shape (n_b, n_features_b)
            A chunk of rows of B.
        labels_a, labels_b : array-like of int of shape (n_a,) or (n_b,), default=None
            As for :meth:`fit`.

        Returns
        -------
        self : object
            The estimator, trained further.
        """
        return super().partial_fit(X, self._domain(y, labels_a, labels_b))

    def fit_transform(self, X, y, **fit_params):
        """Train, and translate the rows of A.

        Parameters
        ----------
        X : array-like of shape (n_a, n_features)
            Rows of A.
        y : array-like of shape (n_b, n_features_b)
            Rows of B.
        **fit_params : dict
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_a, n_features_b)
            Rows of A as rows of B.
        """
        return self.fit(X, y, **fit_params).transform(X)

    def transform(self, X):
        """Rows of A as rows of B.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows of A.

        Returns
        -------
        ndarray of shape (n_samples, n_features_b) or (n_samples, ...)
            Rows within the range of those of B that ``fit`` saw, in the dtype of ``X`` (float64 unless that is
            float32). A row does not depend on the other rows.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        made = map_rows(self.net_.module_.translate, rows, self.device_, self._data.a.prepare)
        return self._data.b.to_rows(made, rows.dtype)

    def inverse_transform(self, X):
        """Rows of B as rows of A.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_b) or (n_samples, ...)
            Rows of B.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, ...)
            Rows within the range of those of A that ``fit`` saw, in the dtype of ``X``; a data frame after
            ``set_output``.
        """
        check_is_fitted(self)
        found = read_domain(X, type(self).__name__)
        if found.rows.shape[1] != self._data.b.n_features:
            raise ValueError(
                f"X must have {self._data.b.n_features} columns, one for each of domain B, got {found.rows.shape[1]}."
            )
        made = map_rows(self.net_.module_.translate_back, found.rows, self.device_, self._data.b.prepare)
        return in_chosen_container(self, self._data.a.to_rows(made, found.rows.dtype), like=X)

    def score(self, X, y):
        """Minus the energy distance of translated rows of A to rows of B, for model selection; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_a, n_features)
            Rows of A.
        y : array-like of shape (n_b, n_features_b)
            Rows of B.

        Returns
        -------
        float
            0 at best, up to chance. It does not see whether a translation belongs to its row; see ``cycle_error_``.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        real = self._data.b.to_network(self._domain(y, None, None).rows)
        made = map_rows(self.net_.module_.translate, rows, self.device_, self._data.a.prepare)
        return -float(energy_distance(real, made).statistic)

    def set_params(self, **params):
        """Set parameters, those of the architecture as ``architecture__<name>`` also where it is a bare tuple.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        for owner in ("architecture", "critic"):
            nested = any(name.startswith(f"{owner}__") for name in params)
            value = getattr(self, owner)
            if nested and owner not in params and not isinstance(value, str):
                setattr(self, owner, architecture_object(value, activation="leaky_relu"))
        return super().set_params(**params)

    def _domain(self, y: Any, labels_a: Any, labels_b: Any) -> Domain:
        warn_of_classes(as_array(y))
        return read_domain(y, type(self).__name__, labels_a, labels_b)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of B, where they were strings, else names of the class with numbers.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored, as the columns of A are others.

        Returns
        -------
        ndarray of str of shape (n_features_b,)
            The names.
        """
        check_is_fitted(self)
        if self._data.columns is not None:
            return self._data.columns.copy()
        return super().get_feature_names_out(input_features)

    @property
    def _n_features_out(self) -> int:
        return self._data.b.n_features

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
