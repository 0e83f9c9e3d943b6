"""ReconstructionOutlierDetector: its parameters and its ``fit``; members, measures and methods are in ``outliers/``."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.callback import CallbackSupportMixin
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc._messages import names_its_class, warn
from sk_autoenc.architectures import MLP
from sk_autoenc.base.autoencoder import BaseAutoencoder
from sk_autoenc.base.density import DensityAutoencoder
from sk_autoenc.data.indicators import TableScaling
from sk_autoenc.data.scaling import Scaling, fit_robust_scaling
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.outliers.base import EnsembleDetector
from sk_autoenc.outliers.batched_networks import step_blocks
from sk_autoenc.outliers.conditionals import ConditionalSurprise
from sk_autoenc.outliers.ensembles import CloneEnsemble, NetworkEnsemble, draw_without_replacement
from sk_autoenc.outliers.progress import Progress
from sk_autoenc.outliers.scores import N_REFERENCE_ROWS, CodeDistance, NeighborsAndHistogram, SquaredResiduals
from sk_autoenc.outliers.stored import storable_detector
from sk_autoenc.outliers.transformers import is_of_categories, last_step, with_categories_of, with_normal_priors
from sk_autoenc.training.imports import import_for_training
from sk_autoenc.training.inference import map_blocks
from sk_autoenc.training.parallel import agreed
from sk_autoenc.training.randomness import draw_seed, make_generator

#: At most this many rows are learnt from, so that memory does not grow with the table. Only an exact ``contamination``
#: takes the scores of all rows.
MAX_ROWS = 32_768

#: With fewer held-out rows no p-value is as low as 0.05.
MIN_CALIBRATION_ROWS = 19

_RESIDUALS = ("auto", "neighbors", "robust", "squared", "log_likelihood", "latent")

#: By ``novelty``: how many rows a member compares with, which neighbours count, the power of the typical residual, the
#: weight of the histogram score, and the training steps. With outliers among the training rows few rows and a short
#: training are better.
_SETTINGS: dict[bool, dict[str, Any]] = {
    False: {"max_samples": 256, "ks": (8, 32), "power": 0.25, "histogram_weight": 0.8, "n_steps": 60},
    True: {"max_samples": 2048, "ks": (1, 5), "power": 0.33, "histogram_weight": 0.0, "n_steps": 100},
}

#: The scales of residuals come from this many rows: all members' reconstructions of more would fill the memory.
_N_SCALE_ROWS = 2048


@storable_detector
class ReconstructionOutlierDetector(CallbackSupportMixin, EnsembleDetector):
    r"""Find unusual rows by many small autoencoders, trained together and briefly.

    It replaces :class:`~sklearn.ensemble.IsolationForest` and has the same methods. Rows are standardised robustly.
    Each member is a small network with training batches of its own; the rows of a batch with the highest errors are
    left out, so that outliers are not learnt [1]_. A member with reconstruction :math:`r` maps a row :math:`x` to the
    point

    .. math:: u(x) = \bigl(r,\ (x - r) / \sigma^{w}\bigr)

    where :math:`\sigma` is the typical size of a residual and :math:`w < 1`. The outlyingness :math:`a` is the squared
    distance from :math:`u(x)` to the points of nearby training rows, averaged over members. With ``novelty=False`` a
    histogram score :math:`b` counts, too: minus the log-frequency of the row's values in one histogram per feature
    [2]_. The outlyingness is then :math:`\sqrt{a^2 + b^2}`, with :math:`a` and :math:`b` each in units of its
    0.9-quantile and a weight of 0.8 for :math:`b`. It is high where one of the two is high. Both are sums over
    features, and :meth:`explain` returns each feature's part.

    Set ``novelty=True`` if the training rows are clean; the rows themselves do not show it.

    ===========  =========  ===============  =========================================
    ``novelty``  steps      rows per member  distance
    ===========  =========  ===============  =========================================
    False        60         at most 256      larger of the 8th and the 32nd nearest's
    True         100        at most 2048     larger of the nearest's and the 5th's
    ===========  =========  ===============  =========================================

    A distance to the k-th neighbour is in units of its median over training rows. A small group of similar outliers
    has few rows among 256, so the 32nd nearest is a usual row and far away.

    Parameters
    ----------
    autoencoder : transformer or None, default=None
        None: the small networks. Otherwise any transformer with ``inverse_transform``, such as an autoencoder, PCA,
        KernelPCA or a Pipeline. Clones of it are fitted on subsamples of the rows in their own units, and
        ``random_state`` seeds them. With ``novelty=False`` a VAE's ``prior="auto"`` becomes ``"normal"``, because a
        fitted prior would give groups of outliers a high density.
    n_estimators : int, default=8
        Number of networks or clones.
    max_samples : int, float or "auto", default="auto"
        Number of rows that each network compares with, or that each clone is fitted on; a float is a share of the rows.
        ``"auto"`` is 256 for networks, at most half of the rows, or 2048 with ``novelty=True``. For clones it is half
        of the rows, at least 256 and at most 4096.
    trim : float, default=0.1
        Share of the rows with the highest errors to leave out: of each batch for networks, of a second fit for clones.
    residual : {"auto", "neighbors", "robust", "squared", "log_likelihood", "latent"}, default="auto"
        The measure of outlyingness:

        - ``"neighbors"``: as above.
        - ``"robust"``: squared residuals, each feature's divided by its robust squared scale.
        - ``"squared"``: the squared error in the units of ``X``.
        - ``"log_likelihood"``: minus ``score_samples`` of the clones, in nats for a VAE.
        - ``"latent"``: the squared Mahalanobis distance of the code.
        - ``"auto"``: ``"log_likelihood"`` for models with a density, for categories (which have no distances) and for
          series of unequal lengths; else ``"neighbors"``.
    contamination : float or "auto", default="auto"
        Share of outliers among the training rows, in (0, 0.5]: exactly that share of them is labelled -1, up to ties.
        ``"auto"``: the threshold is the first quartile of the training scores minus 1.5 times the distance between the
        quartiles, of at most 512 training rows.
    novelty : bool, default=False
        Whether the training rows are clean. It sets how the networks are trained and what ``"neighbors"`` compares.
        Clones with another measure do not depend on it; set ``trim=0`` for them where rows are clean. With either
        value training rows and new rows can be scored.
    calibration_fraction : float or None, default=None
        Share of the rows to hold out of training for :meth:`predict_pvalue`. With n such rows no p-value is below
        1 / (n + 1); there is a warning if that is above 0.05. Held-out rows have no effect on the fit, except for the
        number of categories that an autoencoder counts.
    n_components : int or "auto", default="auto"
        Length of the networks' codes; ``"auto"`` is the root of the number of features, at most half of it.
    hidden_layer_sizes : sequence of int, default=(64,)
        Widths of the networks' encoder; the decoder mirrors them.
    n_steps : int or "auto", default="auto"
        Training steps of the networks; ``"auto"`` is 60, or 100 with ``novelty=True``.
    batch_size : int or "auto", default="auto"
        Rows per network and step; ``"auto"`` is a quarter of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.006
        Largest learning rate of the networks. The rate rises to it and falls again.
    random_state : int, RandomState instance or None, default=None
        Seeds all draws. An integer gives the same result at every ``fit``.
    n_jobs : int or None, default=None
        Number of clones that are fitted at the same time, as in joblib. Networks are one computation and ignore it.
    verbose : int, default=0
        Whether to print progress: a line with the loss after every tenth of the networks' steps, or a line for each
        clone that is fitted. The clones' own ``verbose`` is theirs.

    Attributes
    ----------
    offset_ : float
        Rows with a lower score are outliers.
    residual_ : str
        The measure, with ``"auto"`` resolved.
    max_samples_ : int
        The number of rows, with ``max_samples`` resolved.
    loss_curve_ : list of float
        Mean squared error per standardised feature after each training step, without the trimmed rows; networks only.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Sorted scores of the held-out rows, if ``calibration_fraction`` is set.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.
    input_shape_ : tuple of int
        Shape of one row.
    series_shape_ : tuple of int or None
        Channels and largest length of series of unequal lengths; None for all other rows.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Random trees with the same methods.
    sklearn.neighbors.LocalOutlierFactor : Distances to neighbours only; also has ``novelty``.

    Notes
    -----
    At most 32 768 rows, drawn at random, are learnt from. Scores are computed block by block, and a row's score does
    not depend on the other rows. The mean and the standard deviation of a feature are those of its values clipped to
    where most of them lie. Standardised values are clipped to ±50, so all values beyond have the same score. p-values
    are those of split conformal prediction [3]_.

    The networks read data frames with categories, strings, booleans and dates, and missing cells; with ``autoencoder``
    set, only numbers without missing cells. In rows of numbers a missing cell is read as the median. In data frames
    with other columns, a category counts as one column, whose missing cells lie at the mean. There ``"neighbors"``
    also adds how little the cells of a row go together:

    .. math:: \sum_{j \text{ observed}} \bigl(-\log p(x_j \mid x_{-j}) - m_j\bigr)

    where one network gives the probability of each cell given all others of its row, numbers in 20 bins, and
    :math:`m_j` is the mean of training rows. It and the distance each have the unit between their 0.1- and 0.9-quantile
    among training rows; the outlyingness is the root of the sum of their squares, with a weight of 2 for the former. A
    level that no training row has counts as one row in n + 1.

    Rows may be a sparse matrix. Only the rows that are learnt from become dense, and rows that are scored, some at a
    time.

    scikit-learn's callbacks (``set_callbacks``) see one task for each tenth of the networks' steps, or for each clone.
    If a callback stops the fit, the training of the networks ends; clones are all fitted.

    References
    ----------
    .. [1] Zhou, Paffenroth (2017). Anomaly detection with robust deep autoencoders. KDD.
    .. [2] Goldstein, Dengel (2012). Histogram-based outlier score (HBOS). KI.
    .. [3] Bates, Candès, Lei, Romano, Sesia (2023). Testing for outliers with conformal p-values. Annals of Statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc import ReconstructionOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[0, 2] = 8
    >>> detector = ReconstructionOutlierDetector(contamination=0.005, random_state=0)
    >>> np.flatnonzero(detector.fit_predict(X) == -1)
    array([0])
    >>> detector.explain(X)[0].argmax()
    np.int64(2)
    """

    _parameter_constraints: dict = {
        "autoencoder": "no_validation",
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
        ],
        "trim": [Interval(Real, 0, 1, closed="left")],
        "residual": [StrOptions(set(_RESIDUALS))],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "novelty": ["boolean"],
        "calibration_fraction": [None, Interval(Real, 0, 1, closed="neither")],
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "n_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        autoencoder=None,
        *,
        n_estimators=8,
        max_samples="auto",
        trim=0.1,
        residual="auto",
        contamination="auto",
        novelty=False,
        calibration_fraction=None,
        n_components="auto",
        hidden_layer_sizes=(64,),
        n_steps="auto",
        batch_size="auto",
        learning_rate=0.006,
        random_state=None,
        n_jobs=None,
        verbose=0,
    ):
        self.autoencoder = autoencoder
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.trim = trim
        self.residual = residual
        self.contamination = contamination
        self.novelty = novelty
        self.calibration_fraction = calibration_fraction
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self._allows_unequal_lengths
        tags.input_tags.allow_nan = self._allows_unequal_lengths or self.autoencoder is None
        return tags

    # -- fit

    @names_its_class
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn what is usual among the rows of ``X``.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, in any units, perhaps with missing cells. They may hold outliers, unless ``novelty=True``.
            Images and series may have axes of their own, which the autoencoders of this library read. With
            ``Recurrent(unequal_lengths=True)`` in ``autoencoder``, series may differ in length: as a list, or with NaN
            after their ends.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted detector.
        """
        before = dict(vars(self))
        self._forget()
        try:
            with cpu_by_default():
                self._fit(X, y)
        except BaseException as error:
            self._forget()
            if isinstance(error, KeyboardInterrupt):  # no fault of the data: the earlier model comes back
                self.__dict__.update(before)
            raise
        return self

    def _fit(self, X: Any, y: Any) -> None:
        self.residual_ = self._check_configuration()
        import_for_training()
        root, progress = self._begin_tasks(X, y)
        self._may_be_empty = is_of_categories(self.autoencoder)
        rows = self._validate(X, reset=True)
        self._seed = agreed(draw_seed(self.random_state))
        order = torch.randperm(len(rows), generator=make_generator(self._seed, "split")).numpy()
        n_held_out = self._n_held_out(len(rows))
        sample = rows[order[n_held_out : n_held_out + MAX_ROWS]]
        self._medians = self._medians_of_series(sample) if self._series_shape else _lower_medians(_first(sample))
        sample = self._filled(sample)
        scaling = None if self._series_shape else self._fit_scaling(sample)
        if self.autoencoder is None:
            assert scaling is not None  # series of unequal lengths come with an autoencoder
            self._ensemble: Any = self._fit_networks(sample, scaling, progress)
        else:
            self._ensemble = self._fit_clones(sample, scaling, with_categories_of(rows, self.autoencoder), progress)
        self._measure = self._fit_measure(sample)
        if self._table_rows is not None and self.residual_ == "neighbors":
            self._conditionals = self._fit_conditionals(sample)
        self.max_samples_ = self._n_own_rows(len(sample))
        self.offset_ = self._find_offset(rows, sample)
        if not np.isfinite(self.offset_):
            raise ValueError(
                f"offset_ must be finite, got {self.offset_}: too many training rows have no finite score with "
                f"residual={self.residual_!r} and autoencoder={self.autoencoder!r}. Perhaps codes lie outside a "
                "uniform prior, or values of X are so large that they overflow."
            )
        if n_held_out:
            self._calibrate(rows[order[:n_held_out]])
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)

    def _fit_scaling(self, sample: np.ndarray) -> Any:
        """What standardises rows; of a table, numbers and indicators of levels."""
        if self._table_rows is None:
            return fit_robust_scaling(sample)
        if self.autoencoder is not None or self.residual_ == "squared":
            name, allowed = (
                ("autoencoder", "None") if self.autoencoder is not None else ("residual", "auto, neighbors or robust")
            )
            raise ValueError(
                f"{name} must be {allowed} for data frames with columns that are no numbers, whose cells have no "
                f"differences, got {getattr(self, name)!r:.80}; encode these columns before, for instance by "
                "OneHotEncoder."
            )
        self._table_rows.fit(sample, np.arange(len(sample)))
        return TableScaling.fit(sample, [column.n_levels for column in self._table_rows.table.columns_])

    def _fit_conditionals(self, sample: np.ndarray) -> ConditionalSurprise:
        """How well cells of a row go together, in the units in which distances are."""
        assert self._table_rows is not None
        made = ConditionalSurprise.fit(self._table_rows, sample, make_generator(self._seed, "conditionals"))
        first = _first(sample)
        (distances,) = map_blocks(lambda block: [self._parts(block).sum(1)], first)
        made.calibrate(first, torch.from_numpy(distances))
        return made

    def _begin_tasks(self, X: Any, y: Any) -> tuple[Any, Progress]:
        """The context of ``fit`` for scikit-learn's callbacks, and the object that reports its parts."""
        n_steps = self._n_steps()
        parts = ("steps", len(step_blocks(n_steps))) if self.autoencoder is None else ("clone", self.n_estimators)
        root = self._init_callback_context(max_subtasks=parts[1])
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        return root, Progress(root, task_name=parts[0], verbose=bool(self.verbose), estimator=self, X=X, y=y)

    def _n_steps(self) -> int:
        return _SETTINGS[self.novelty]["n_steps"] if self.n_steps == "auto" else self.n_steps

    def _calibrate(self, held_out: np.ndarray) -> None:
        """Score the held-out rows, with which p-values compare."""
        self.calibration_scores_ = np.sort(self._score(held_out))
        if len(held_out) < MIN_CALIBRATION_ROWS:
            warn(
                f"calibration_fraction={self.calibration_fraction} holds out {len(held_out)} rows, so p-values are at "
                f"least {1 / (1 + len(held_out)):.3g}; a p-value of 0.05 needs {MIN_CALIBRATION_ROWS} held-out rows.",
            )

    def _check_configuration(self) -> str:
        """Refuse parameters that cannot be combined, and return the measure, with ``"auto"`` resolved."""
        transformer, residual = self.autoencoder, self.residual
        if transformer is None:
            try:
                MLP(self.hidden_layer_sizes).check()
            except ValueError as error:  # a parameter of the detector itself
                raise ValueError(str(error).removeprefix("MLP: ")) from None
            if residual == "log_likelihood":
                raise ValueError("residual='log_likelihood' needs an autoencoder with score_samples, got None.")
            return "neighbors" if residual == "auto" else residual
        if isinstance(transformer, type):
            name = transformer.__name__
            raise ValueError(f"autoencoder must be an estimator, got the class {name}; write autoencoder={name}().")
        for method in ("fit", "transform", "inverse_transform"):
            if not hasattr(transformer, method):
                raise ValueError(f"autoencoder must have {method}, which {type(transformer).__name__} does not have.")
        if residual == "log_likelihood" and not hasattr(transformer, "score_samples"):
            name = type(transformer).__name__
            raise ValueError(f"residual='log_likelihood' needs score_samples, which autoencoder={name} does not have.")
        if self._allows_unequal_lengths:
            return self._check_for_series(residual, hasattr(transformer, "score_samples"))
        if residual != "auto":
            return residual
        has_density = isinstance(last_step(transformer), DensityAutoencoder)
        return "log_likelihood" if has_density or is_of_categories(transformer) else "neighbors"

    def _check_for_series(self, residual: str, has_scores: bool) -> str:
        """The same for series of unequal lengths, whose cells cannot be compared across rows."""
        if residual not in ("auto", "log_likelihood", "latent"):
            raise ValueError(
                "residual must be 'auto', 'log_likelihood' or 'latent' for series of unequal lengths, whose cells "
                f"cannot be compared across rows, got {residual!r}."
            )
        if self.trim and not has_scores:
            raise ValueError(
                "trim must be 0 for series of unequal lengths if the autoencoder has no score_samples, as "
                f"{type(self.autoencoder).__name__} with these parameters, got {self.trim}."
            )
        return residual if residual != "auto" else "log_likelihood" if has_scores else "latent"

    def _medians_of_series(self, sample: np.ndarray) -> np.ndarray:
        """The lower median of each cell; if none of the first series is as long, that of the channel's cells."""
        assert self._series_shape is not None
        n_channels = self._series_shape[0]
        of_channels = _lower_medians(sample.reshape(len(sample), n_channels, -1).swapaxes(1, 2).reshape(-1, n_channels))
        of_cells = _lower_medians(_first(sample))
        return np.where(np.isnan(of_cells), np.repeat(of_channels, len(of_cells) // n_channels), of_cells)

    def _n_held_out(self, n_rows: int) -> int:
        if self.calibration_fraction is None:
            return 0
        n_held_out = round(self.calibration_fraction * n_rows)
        if not 0 < n_held_out < n_rows:
            raise ValueError(
                "calibration_fraction must hold out 1 row or more and leave 1 row or more, got "
                f"{self.calibration_fraction}, which is {n_held_out} of n_samples={n_rows} rows."
            )
        return n_held_out

    def _n_own_rows(self, n_rows: int) -> int:
        """Number of rows that a network compares with, or that a clone is fitted on."""
        if self.max_samples != "auto":
            wanted = self.max_samples if isinstance(self.max_samples, Integral) else int(self.max_samples * n_rows)
            return max(1, min(int(wanted), n_rows))
        if self.autoencoder is not None:
            return min(n_rows, max(256, n_rows // 2), 4096)
        most = n_rows if self.novelty else max(2, n_rows // 2)
        return min(_SETTINGS[self.novelty]["max_samples"], most, n_rows)

    def _fit_networks(self, sample: np.ndarray, scaling: Any, progress: Progress) -> NetworkEnsemble:
        n, d = len(sample), sample.shape[1] if self._table_rows is None else len(scaling.owner)
        code = max(1, min(d // 2, math.ceil(math.sqrt(d)))) if self.n_components == "auto" else self.n_components
        ensemble, self.loss_curve_ = NetworkEnsemble.fit(
            sample,
            scaling,
            n_members=self.n_estimators,
            sizes=[d, *self.hidden_layer_sizes, code],
            generators=(make_generator(self._seed, "initialization"), make_generator(self._seed, "shuffling")),
            n_steps=self._n_steps(),
            batch_size=min(512, max(32, n // 4), n) if self.batch_size == "auto" else min(self.batch_size, n),
            learning_rate=self.learning_rate,
            trim=self.trim,
            progress=progress,
        )
        if not ensemble.is_finite():
            raise ValueError(
                f"learning_rate must be smaller, because weights became infinite, got {self.learning_rate}."
            )
        return ensemble

    def _fit_clones(
        self, sample: np.ndarray, scaling: Scaling | None, transformer: Any, progress: Progress
    ) -> CloneEnsemble:
        generator, n_own = make_generator(self._seed, "shuffling"), self._n_own_rows(len(sample))
        return CloneEnsemble.fit(
            sample,
            scaling,
            transformer if self.novelty else with_normal_priors(transformer),
            subsamples=draw_without_replacement(len(sample), n_own, self.n_estimators, generator),
            seeds=torch.randint(2**31 - 1, (self.n_estimators,), generator=generator).tolist(),
            trim=self.trim,
            row_shape=self.input_shape_ if isinstance(self.autoencoder, BaseAutoencoder) else sample.shape[1:],
            n_jobs=self.n_jobs,
            progress=progress,
        )

    def _fit_measure(self, sample: np.ndarray) -> Any:
        """Fit the measure on as few rows as it needs: all members' reconstructions of more would fill the memory."""
        settings = _SETTINGS[self.novelty]
        size = self._n_own_rows(len(sample)) if self.autoencoder is None else settings["max_samples"]
        sample = sample[: max(2048, 4 * size)]
        if self.residual_ == "log_likelihood":
            return None
        if self.residual_ == "latent":
            return CodeDistance.fit([torch.from_numpy(codes) for codes in map_blocks(self._ensemble.encode, sample)])
        if self.residual_ == "neighbors":
            return self._fit_neighbors(sample, min(size, len(sample)))
        sample = sample[: _N_SCALE_ROWS if self.residual_ == "robust" else N_REFERENCE_ROWS]
        rows, reconstructions = self._ensemble.standardize(sample), self._reconstruct(sample)
        if _are_equal(_first(rows), reconstructions[:, :N_REFERENCE_ROWS], sample.dtype):
            warn(
                f"autoencoder={self.autoencoder!r} reconstructs training rows up to rounding errors, so "
                f"residual={self.residual!r} is a rounding error; use fewer components, or residual='neighbors' or "
                "'latent'.",
            )
        if self.residual_ == "robust":
            return SquaredResiduals.fit(rows, reconstructions)
        scale = torch.from_numpy(self._ensemble.scaling.scale)  # "squared" is in the units of X
        return SquaredResiduals((1 / scale).expand(self.n_estimators, 1, -1))

    def _fit_neighbors(self, sample: np.ndarray, size: int) -> NeighborsAndHistogram:
        settings, ensemble = _SETTINGS[self.novelty], self._ensemble
        generator = make_generator(self._seed, "noise")
        chosen = draw_without_replacement(len(sample), size, self.n_estimators, generator)
        return NeighborsAndHistogram.fit(
            ensemble.standardize(sample),
            chosen,
            ensemble.reconstruct_subsamples(sample, chosen),
            self._reconstruct(_first(sample)),
            ks=settings["ks"],
            power=settings["power"],
            histogram_weight=settings["histogram_weight"],
        )

    def _reconstruct(self, rows: np.ndarray) -> Tensor:
        """Standardised reconstructions by all members, block by block."""
        return torch.stack([torch.from_numpy(made) for made in map_blocks(self._ensemble.reconstruct, rows)])

    def _find_offset(self, X: np.ndarray, sample: np.ndarray) -> float:
        """The score below which rows are outliers."""
        if self.contamination == "auto":
            with np.errstate(invalid="ignore"):  # scores may be minus infinity
                first, third = np.quantile(self._score(_first(sample)), [0.25, 0.75])
                return float(first - 1.5 * (third - first))
        scores = np.sort(self._score(X))
        return float(scores[round(self.contamination * len(X))])


def _first(rows: Any) -> Any:
    """The rows that set units and the automatic threshold."""
    return rows[:N_REFERENCE_ROWS]


def _are_equal(rows: Tensor, reconstructions: Tensor, dtype: np.dtype) -> bool:
    """Whether reconstructions equal standardised rows up to the rounding of a dtype."""
    return bool((rows - reconstructions).abs().max() < max(1e-6, 1e3 * np.finfo(dtype).eps))


def _lower_medians(rows: np.ndarray) -> np.ndarray:
    """The lower median of each column without NaN. It occurs in the column, so that every likelihood accepts it."""
    n_present = (~np.isnan(rows)).sum(axis=0)
    return np.take_along_axis(np.sort(rows, axis=0), (n_present[None].clip(1) - 1) // 2, axis=0)[0]
