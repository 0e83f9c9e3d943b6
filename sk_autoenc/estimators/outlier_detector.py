"""Outliers by reconstruction: rows unlike the reconstructions and residuals of the training rows near them.

What a row's outlyingness is made of stands in ``outlyingness.py``, what makes the reconstructions in ``committees.py``.
"""

import math
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc.architectures import MLP
from sk_autoenc.base.autoencoder import BaseAutoencoder
from sk_autoenc.base.density import DensityAutoencoder
from sk_autoenc.likelihoods import Categorical, Tokens, as_likelihood
from sk_autoenc.outliers.base import CommitteeDetector, by_block
from sk_autoenc.outliers.ensembles import CloneCommittee, NetworkCommittee, Standardization, deal, is_of_categories
from sk_autoenc.outliers.scores import RULE_ROWS, CodeDistance, NeighborsAndRarity, SquaredResiduals
from sk_autoenc.outliers.stored import storable_detector
from sk_autoenc.training.randomness import draw_seed, make_generator

#: Everything but an exact ``contamination`` is learnt from this many rows at most: memory does not grow with the table.
MOST_ROWS = 32_768

#: Held-out rows that p-values of 0.05 take.
FEW_TO_CALIBRATE = 19

_RESIDUALS = ("auto", "neighbors", "robust", "squared", "log_likelihood", "latent")

#: By ``novelty``: rows that a member compares with, which neighbours count, the weight of residuals as a power of their
#: size, the weight of rare values, and the training. Contaminated rows want a coarse look and a short training.
_SETTINGS: dict[bool, dict[str, Any]] = {
    False: {"max_samples": 256, "ks": (8, 32), "power": 0.25, "rarity_weight": 0.8, "n_steps": 60},
    True: {"max_samples": 2048, "ks": (1, 5), "power": 0.33, "rarity_weight": 0.0, "n_steps": 100},
}

#: Rows that spreads of residuals come from: all members' reconstructions of more would fill the memory.
_SCALE_ROWS = 2048


@storable_detector
class ReconstructionOutlierDetector(CommitteeDetector):
    r"""Find unusual rows by many small autoencoders, trained together and briefly.

    It takes the place of :class:`~sklearn.ensemble.IsolationForest`, with its methods and their meanings. Rows are
    standardised, wild values held back; each member is a small network trained on batches of its own, from which the
    rows that fit worst are left out, so that outliers are not learnt [1]_. A row :math:`x` with reconstruction
    :math:`r` stands at

    .. math:: u(x) = \bigl(r,\ (x - r) / \sigma^{w}\bigr)

    where :math:`\sigma` is the typical size of a residual. Its outlyingness is the squared distance :math:`a` from
    :math:`u(x)` to those of the training rows near it, averaged over members. With ``novelty=False`` the rarity
    :math:`b` of its values one by one counts, too (a histogram per feature [2]_): the outlyingness is then
    :math:`\sqrt{a^2 + b^2}`, each in units of its upper tail, b with a weight of 0.8; it is high where one of the
    two is. Both are sums over features, from which :meth:`explain` has each feature's part.

    Whether the training rows hold outliers has to be said, for it cannot be seen: with ``novelty=False`` each member
    compares with few rows and takes the farther of the 8th and the 32nd nearest, each in units of its median, so that
    similar outliers do not vouch for each other; with ``novelty=True`` it trains for longer, compares with many rows,
    and takes the farther of the nearest and the fifth.

    Parameters
    ----------
    autoencoder : transformer or None, default=None
        None: the small networks. Otherwise any transformer with ``inverse_transform``, such as an autoencoder, PCA,
        KernelPCA or a Pipeline; clones of it are fitted on subsamples of the rows as they are, and
        ``random_state`` seeds them. A VAE's ``prior="auto"`` is ``"normal"`` here unless ``novelty``: a fitted one
        would make room for groups of outliers.
    n_estimators : int, default=8
        Number of networks or clones.
    max_samples : int, float or "auto", default="auto"
        How many rows each network compares with, or each clone is fitted on; a float is a share of the rows. ``"auto"``
        is, for networks, 256 and at most half the rows, with ``novelty`` 2048; for clones, half the rows, at least 256
        and at most 4096.
    trim : float, default=0.1
        Share of the rows with the highest errors that is left out: of every batch, or, for clones, in a second fit.
    residual : {"auto", "neighbors", "robust", "squared", "log_likelihood", "latent"}, default="auto"
        What is measured. ``"neighbors"``: as above. ``"robust"``: squared residuals, each feature's divided by its
        robust spread. ``"squared"``: the squared error in the units of ``X``. ``"log_likelihood"``: minus
        ``score_samples`` of the clones, in nats for a VAE. ``"latent"``: the squared Mahalanobis distance of the code.
        ``"auto"`` is ``"log_likelihood"`` for models with a density or of categories, whose numbers have no distances,
        and for series of unequal lengths, else ``"neighbors"``.
    contamination : float or "auto", default="auto"
        Share of outliers among the training rows, in (0, 0.5]: exactly that share of them gets -1, up to ties.
        ``"auto"``: a row is an outlier if its score lies below the first quartile of the training scores (of 512 rows,
        where there are more) by 1.5 times the distance between the quartiles.
    novelty : bool, default=False
        Whether the training rows are clean. Both kinds of score work for any rows, old or new. It sets how the
        networks are trained, and what ``"neighbors"`` compares; clones by another measure stay what they are, and
        want ``trim=0`` where rows are clean.
    calibration_fraction : float or None, default=None
        Share of the rows to keep out of training, so that :meth:`predict_pvalue` can hold new rows against them. Of n
        such rows no p-value is below 1 / (n + 1), which a warning tells where that is above 0.05. Only the numbers of
        categories, where an autoencoder counts them, are those of all rows.
    n_components : int or "auto", default="auto"
        Length of the networks' codes; ``"auto"`` is the root of the number of features, at most half of them.
    hidden_layer_sizes : sequence of int, default=(64,)
        Widths of the networks' encoder; the decoder mirrors them.
    n_steps : int or "auto", default="auto"
        Training steps of the networks; ``"auto"`` is 60, with ``novelty`` 100.
    batch_size : int or "auto", default="auto"
        Rows per network and step; ``"auto"`` is a quarter of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.006
        Peak step size of the networks.
    random_state : int, RandomState instance or None, default=None
        Seeds everything that is drawn. An integer gives the same result at every ``fit``.
    n_jobs : int or None, default=None
        Clones fitted at the same time, as in joblib. Networks are one computation anyway.

    Attributes
    ----------
    offset_ : float
        Rows that score below it are outliers.
    residual_ : str
        What is measured, with ``"auto"`` resolved.
    max_samples_ : int
        The number of rows that ``max_samples`` stands for.
    loss_curve_ : list of float
        Mean squared error per standardised feature after each training step, without the trimmed rows; networks only.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Sorted scores of the rows kept out of training, where ``calibration_fraction`` is set.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.
    input_shape_ : tuple of int
        Shape of one row.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Random trees with the same methods.
    sklearn.neighbors.LocalOutlierFactor : Distances to neighbours alone; also has ``novelty``.

    Notes
    -----
    At most 32 768 rows, drawn at random, are learnt from; scores are computed block by block. A row's score does not
    depend on the rows that are scored with it. The networks see values up to 50 spreads from the centre, both of
    values held to where most lie; what lies beyond scores as if it lay there. p-values are those of split conformal
    prediction [3]_.

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allows_unequal_lengths
        return tags

    # -- fit

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn what is usual among the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, in any units. They may hold outliers, unless ``novelty=True``. Images and series may have
            axes of their own, which the autoencoders of this library see; series may differ in length, as a list or
            with NaN after their ends, if ``autoencoder`` has ``Recurrent(unequal_lengths=True)``.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted detector.
        """
        self._forget()
        try:
            self._fit(X)
        except BaseException:
            self._forget()
            raise
        return self

    def _fit(self, X: Any) -> None:
        self.residual_ = self._check_configuration()
        self._may_be_empty = is_of_categories(self.autoencoder)
        X = self._validate(X, reset=True)
        self._seed = draw_seed(self.random_state)
        order = torch.randperm(len(X), generator=make_generator(self._seed, "split")).numpy()
        n_held_out = self._n_held_out(len(X))
        sample = X[order[n_held_out : n_held_out + MOST_ROWS]]
        standardization = None if self._series_shape else Standardization.fit(sample)
        # A row that was seen, so that every likelihood accepts it: the lower median of each feature.
        some = sample[:RULE_ROWS]
        self._typical = _lower_medians(some) if self._series_shape is None else self._typical_steps(sample)
        if self.autoencoder is None:
            assert standardization is not None  # series of unequal lengths come with an autoencoder
            self._committee: Any = self._fit_networks(sample, standardization)
        else:
            self._committee = self._fit_clones(sample, standardization, _with_categories_of(X, self.autoencoder))
        self._measure = self._fit_measure(sample)
        self.max_samples_ = self._n_own_rows(len(sample))
        self.offset_ = self._find_offset(X, sample)
        if not np.isfinite(self.offset_):
            raise ValueError(
                f"offset_ would be {self.offset_}: too many training rows have no finite score by "
                f"residual={self.residual_!r} of autoencoder={self.autoencoder!r}; codes may lie outside a uniform "
                "prior, or X hold values of a size that overflows."
            )
        if n_held_out:
            self.calibration_scores_ = np.sort(self._score(X[order[:n_held_out]]))
            if n_held_out < FEW_TO_CALIBRATE:
                warnings.warn(
                    f"calibration_fraction={self.calibration_fraction} holds out {n_held_out} rows, so no p-value can "
                    f"be below {1 / (1 + n_held_out):.3g}; 0.05 takes {FEW_TO_CALIBRATE} rows.",
                    stacklevel=3,
                )

    def _check_configuration(self) -> str:
        """Refuse parameters that do not go together; returns the measure that ``residual`` stands for."""
        transformer, residual = self.autoencoder, self.residual
        if transformer is None:
            MLP(self.hidden_layer_sizes).check()
            if residual == "log_likelihood":
                raise ValueError("residual='log_likelihood' needs an autoencoder with score_samples, but got None.")
            return "neighbors" if residual == "auto" else residual
        if isinstance(transformer, type):
            name = transformer.__name__
            raise ValueError(f"autoencoder must be an estimator, got the class {name}; write autoencoder={name}().")
        for method in ("fit", "transform", "inverse_transform"):
            if not hasattr(transformer, method):
                raise ValueError(f"autoencoder must have {method}, which {type(transformer).__name__} has not.")
        if residual == "log_likelihood" and not hasattr(transformer, "score_samples"):
            name = type(transformer).__name__
            raise ValueError(f"residual='log_likelihood' needs score_samples, which autoencoder={name} has not.")
        if self._allows_unequal_lengths:
            return self._check_for_series(residual, hasattr(transformer, "score_samples"))
        last = transformer.steps[-1][1] if isinstance(transformer, Pipeline) else transformer
        if residual == "auto":
            return "log_likelihood" if isinstance(last, DensityAutoencoder) or is_of_categories(last) else "neighbors"
        return residual

    def _check_for_series(self, residual: str, has_scores: bool) -> str:
        """The same for series of unequal lengths, whose cells have no counterparts in other rows."""
        if residual not in ("auto", "log_likelihood", "latent"):
            raise ValueError(
                f"residual={residual!r} compares rows cell by cell, which series of unequal lengths do not allow; "
                "use 'log_likelihood' or 'latent'."
            )
        if self.trim and not has_scores:
            raise ValueError(
                f"trim={self.trim} goes by score_samples where series have unequal lengths, which "
                f"autoencoder={type(self.autoencoder).__name__} has not as it is set; use trim=0."
            )
        return residual if residual != "auto" else "log_likelihood" if has_scores else "latent"

    def _typical_steps(self, sample: np.ndarray) -> np.ndarray:
        """The lower median of each cell that some series reach, and later on that of all cells of the channel."""
        assert self._series_shape is not None
        n_channels = self._series_shape[0]
        everywhere = _lower_medians(sample.reshape(len(sample), n_channels, -1).swapaxes(1, 2).reshape(-1, n_channels))
        of_cells = _lower_medians(sample[:RULE_ROWS])
        return np.where(np.isnan(of_cells), np.repeat(everywhere, len(of_cells) // n_channels), of_cells)

    def _n_held_out(self, n_rows: int) -> int:
        if self.calibration_fraction is None:
            return 0
        n_held_out = round(self.calibration_fraction * n_rows)
        if not 0 < n_held_out < n_rows:
            raise ValueError(
                f"calibration_fraction={self.calibration_fraction} of n_samples={n_rows} is {n_held_out} rows; "
                "at least one must be held out, and one left to fit."
            )
        return n_held_out

    def _n_own_rows(self, n_rows: int) -> int:
        """How many rows a member compares with, or is fitted on where it is a clone."""
        if self.max_samples != "auto":
            wanted = self.max_samples if isinstance(self.max_samples, Integral) else int(self.max_samples * n_rows)
            return max(1, min(int(wanted), n_rows))
        if self.autoencoder is not None:
            return min(n_rows, max(256, n_rows // 2), 4096)
        most = n_rows if self.novelty else max(2, n_rows // 2)
        return min(_SETTINGS[self.novelty]["max_samples"], most, n_rows)

    def _fit_networks(self, sample: np.ndarray, standardization: Standardization) -> NetworkCommittee:
        n, d = sample.shape
        code = max(1, min(d // 2, math.ceil(math.sqrt(d)))) if self.n_components == "auto" else self.n_components
        committee, self.loss_curve_ = NetworkCommittee.fit(
            sample,
            standardization,
            n_members=self.n_estimators,
            sizes=[d, *self.hidden_layer_sizes, code],
            generators=(make_generator(self._seed, "initialization"), make_generator(self._seed, "shuffling")),
            n_steps=_SETTINGS[self.novelty]["n_steps"] if self.n_steps == "auto" else self.n_steps,
            batch_size=min(512, max(32, n // 4), n) if self.batch_size == "auto" else min(self.batch_size, n),
            learning_rate=self.learning_rate,
            trim=self.trim,
        )
        if not committee.is_finite():
            raise ValueError(f"learning_rate={self.learning_rate} made weights infinite; use a smaller one.")
        return committee

    def _fit_clones(self, sample: np.ndarray, standardization: Standardization | None, model: Any) -> CloneCommittee:
        generator = make_generator(self._seed, "shuffling")
        return CloneCommittee.fit(
            sample,
            standardization,
            model if self.novelty else _with_plain_priors(model),
            subsamples=deal(len(sample), self._n_own_rows(len(sample)), self.n_estimators, generator),
            seeds=torch.randint(2**31 - 1, (self.n_estimators,), generator=generator).tolist(),
            trim=self.trim,
            row_shape=self.input_shape_ if isinstance(self.autoencoder, BaseAutoencoder) else sample.shape[1:],
            n_jobs=self.n_jobs,
        )

    def _fit_measure(self, sample: np.ndarray) -> Any:
        settings = _SETTINGS[self.novelty]
        size = self._n_own_rows(len(sample)) if self.autoencoder is None else settings["max_samples"]
        reference = sample[: max(2048, 4 * size)]
        if self.residual_ == "log_likelihood":
            return None
        if self.residual_ == "latent":
            return CodeDistance.fit(by_block(self._committee.encode, reference))
        if self.residual_ == "neighbors":
            return self._fit_neighbors(reference, min(size, len(reference)))
        reference = reference[: _SCALE_ROWS if self.residual_ == "robust" else RULE_ROWS]
        rows = self._committee.standardize(reference)
        made = torch.stack(by_block(self._committee.reconstruct, reference))
        if _are_equal(rows[:RULE_ROWS], made[:, :RULE_ROWS], sample.dtype):
            warnings.warn(
                f"autoencoder={self.autoencoder!r} gives training rows back up to rounding, which then decides "
                f"residual={self.residual!r}; use fewer components, or residual='neighbors' or 'latent'.",
                stacklevel=4,
            )
        if self.residual_ == "robust":
            return SquaredResiduals.fit(rows, made)
        spread = torch.from_numpy(self._committee.standardization.spread)  # "squared" is in the units of X
        return SquaredResiduals((1 / spread).expand(self.n_estimators, 1, -1))

    def _fit_neighbors(self, reference: np.ndarray, size: int) -> NeighborsAndRarity:
        """No more reconstructions than are needed: all members' of all rows would fill the memory."""
        settings, committee = _SETTINGS[self.novelty], self._committee
        chosen = deal(len(reference), size, self.n_estimators, make_generator(self._seed, "noise"))
        return NeighborsAndRarity.fit(
            committee.standardize(reference),
            chosen,
            committee.reconstruct_own(reference, chosen),
            torch.stack(by_block(committee.reconstruct, reference[:RULE_ROWS])),
            ks=settings["ks"],
            power=settings["power"],
            rarity_weight=settings["rarity_weight"],
        )

    def _find_offset(self, X: np.ndarray, sample: np.ndarray) -> float:
        """The score below which rows are outliers."""
        if self.contamination == "auto":
            with np.errstate(invalid="ignore"):  # scores may be minus infinity
                first, third = np.quantile(self._score(sample[:RULE_ROWS]), [0.25, 0.75])
                return float(first - 1.5 * (third - first))
        scores = np.sort(self._score(X))
        return float(scores[round(self.contamination * len(X))])


def _are_equal(rows: Tensor, made: Tensor, dtype: np.dtype) -> bool:
    """Whether standardised rows are given back but for the rounding of a dtype."""
    return bool((rows - made).abs().max() < max(1e-6, 1e3 * np.finfo(dtype).eps))


def _lower_medians(rows: np.ndarray) -> np.ndarray:
    """The lower median of what is there in each column, NaN where nothing is."""
    n_there = (~np.isnan(rows)).sum(axis=0)
    return np.take_along_axis(np.sort(rows, axis=0), (n_there[None].clip(1) - 1) // 2, axis=0)[0]


def _with_categories_of(X: np.ndarray, transformer: Any) -> Any:
    """With the categories of all rows, where they are to be counted: a subsample may lack those that are rare."""
    if isinstance(transformer, Pipeline) or not is_of_categories(transformer):
        return transformer
    if as_likelihood(transformer.likelihood).n_categories is not None:
        return transformer
    likelihood = transformer._make_likelihood()
    likelihood.check(X)
    found = likelihood.fitted_to(X)
    n_categories = found.n_tokens if isinstance(found, Tokens) else found.n_categories
    return clone(transformer).set_params(likelihood=Categorical(n_categories))


def _with_plain_priors(transformer: Any) -> Any:
    """With ``prior="normal"`` where a VAE has ``"auto"``: one fitted to codes makes room for groups of outliers."""
    steps = {"": transformer} | {f"{name}__": value for name, value in transformer.get_params().items()}
    names = [f"{step}prior" for step, it in steps.items() if isinstance(it, DensityAutoencoder) and it.prior == "auto"]
    return clone(transformer).set_params(**dict.fromkeys(names, "normal")) if names else transformer
