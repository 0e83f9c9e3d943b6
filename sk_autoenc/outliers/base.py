"""The methods of a fitted outlier detector: scores, decisions, p-values, and explanations by feature."""

from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sk_autoenc._compat import in_container_of
from sk_autoenc.base.tables import read_table
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.series import is_list_of_series, lengths_of, padded, trimmed
from sk_autoenc.data.sparse import DenseOnDemand
from sk_autoenc.data.tabular import Table, has_types
from sk_autoenc.data.validation import as_array, cast_within, check_range, flattened, keep_shape
from sk_autoenc.likelihoods.mixed import Mixed
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.outliers.conditionals import MAX_BINS, ConditionalSurprise
from sk_autoenc.outliers.ensembles import CloneEnsemble, NetworkEnsemble
from sk_autoenc.outliers.scores import CodeDistance, NeighborsAndHistogram, SquaredResiduals
from sk_autoenc.training.inference import map_blocks

#: The measures that are sums over features; log-likelihoods and distances of codes are not.
_ADDITIVE = {"neighbors": NeighborsAndHistogram, "robust": SquaredResiduals, "squared": SquaredResiduals}

#: Occlusion scores this many rows at once, each with one cell replaced by its median.
_OCCLUDED_AT_ONCE = 1024

#: Fitted state without a trailing underscore.
_PRIVATE_STATE = (
    *("_seed", "_medians", "_ensemble", "_measure", "_series_shape", "_may_be_empty"),
    *("_table_rows", "_conditionals"),
)


class EnsembleDetector(OutlierMixin, BaseEstimator):
    """An outlier detector with an ensemble, which reconstructs rows, and a measure of how unusual a row is.

    ``fit`` sets ``_ensemble``, ``_measure``, ``_medians``, ``residual_`` (the name of the measure), ``offset_`` and,
    with held-out rows, ``calibration_scores_``.
    """

    autoencoder: Any
    residual_: str
    input_shape_: tuple[int, ...]
    offset_: float
    calibration_scores_: np.ndarray
    _ensemble: Any
    _measure: Any
    _medians: np.ndarray  # the lower median of each feature, a value that occurs in the training rows
    _series_shape: tuple[int, int] | None = None  # channels and longest length of series of unequal lengths
    _may_be_empty: bool = False  # whether such series may have length 0
    _table_rows: OutcomeRows | None = None  # of data frames with columns that are no numbers: what encodes them
    _conditionals: ConditionalSurprise | None = None  # and how well their cells go together, if that is measured

    @property
    def series_shape_(self) -> tuple[int, int] | None:
        """Channels and largest length of series of unequal lengths; None for all other rows."""
        return self._series_shape

    # -- rows in, scores out

    def score_samples(self, X):
        """How normal each row is; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in any form that ``fit`` takes.

        Returns
        -------
        ndarray of shape (n_samples,)
            Minus the outlyingness; for ``residual_="log_likelihood"`` the log-likelihood in nats, and for series of
            unequal lengths the log-likelihood per cell. float32 if ``X`` is float32, else float64. A row's score does
            not depend on the other rows of ``X``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return cast_within(self._score(X), X.dtype)

    def decision_function(self, X):
        """Scores shifted so that outliers are below zero.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in any form that ``fit`` takes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return cast_within(self._score(X) - self.offset_, X.dtype)

    def predict(self, X):
        """Which rows are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in any form that ``fit`` takes.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for an outlier, +1 for an inlier.
        """
        check_is_fitted(self)
        return np.where(self._score(self._validate(X, reset=False)) < self.offset_, -1, 1)

    def predict_pvalue(self, X):
        """Split conformal p-values: the share of normal rows that are at least as unusual.

        For a new row from the distribution of the training rows, ``P(p <= alpha) <= alpha`` for every distribution.
        The probability is over the new row and the held-out rows together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that took no part in ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + k) / (1 + n)``, where k of the n held-out rows have the row's score or a lower one; float64.

        Raises
        ------
        ValueError
            If no rows were held out of ``fit``.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibration_scores_"):
            raise ValueError(
                "calibration_fraction must be set in fit for predict_pvalue, which needs held-out rows, got None; "
                "set it, for instance to 0.2, and fit again."
            )
        scores = self._score(self._validate(X, reset=False))
        n_below = np.searchsorted(self.calibration_scores_, scores, side="right")
        return (1 + n_below) / (1 + len(self.calibration_scores_))

    def explain(self, X):
        r"""Each feature's part of the outlyingness; the parts of a row add up to ``-score_samples(X)``.

        ==========================================  ==========================================================
        measure                                     part of a feature
        ==========================================  ==========================================================
        "robust", "squared"                         its term of the sum
        "neighbors" with ``novelty=True``           its term of the sum
        "neighbors" with ``novelty=False``          :math:`(a a_j + b b_j) / \sqrt{a^2 + b^2}`, where the
                                                    outlyingness is :math:`\sqrt{a^2 + b^2}`, and :math:`a` and
                                                    :math:`b` are sums of :math:`a_j` and :math:`b_j`
        "log_likelihood", "latent"                  the change of the score when the feature takes its training
                                                    median; the rest of the score is shared equally
        ==========================================  ==========================================================

        A row with an infinite outlyingness has the part infinity where the median would make the outlyingness finite.
        If no single median does, all its parts are infinite. Cells after the end of a series have the part 0. So have
        missing cells of tables, whose own parts are shared equally by the observed cells of the row.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows, in any form that ``fit`` takes.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features)
            The parts, higher for a more unusual value, in the dtype of ``X``, or float64 if it has columns that are no
            numbers. For a data frame they are a data frame with the same names, for a list of series of unequal lengths
            a list of arrays.
        """
        check_is_fitted(self)
        rows = np.asarray(self._validate(X, reset=False))
        if self.residual_ in _ADDITIVE:
            (parts,) = map_blocks(lambda block: [self._parts(block)], self._filled(rows))
            parts = _of_observed(parts, np.isnan(rows))
        else:
            parts = self._parts_by_occlusion(rows)
        found = cast_within(parts, rows.dtype)
        if self._series_shape is not None and is_list_of_series(X):
            shape = (*np.shape(next(iter(X)))[:-1], self._series_shape[-1])
            return trimmed(found.reshape(-1, *shape), np.array([np.shape(case)[-1] for case in X]))
        axes = None if issparse(X) or self._table_rows is not None else flattened(as_array(X))[1]
        return in_container_of(X, found.reshape(-1, *(axes or rows.shape[1:])))

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        if self._series_shape is not None or (reset and self._allows_unequal_lengths):
            return self._validate_series(X, reset=reset)
        if has_types(X) if reset else self._table_rows is not None:
            return self._validate_table(X, reset=reset)
        if is_list_of_series(X) and len({np.shape(case) for case in X}) > 1:
            raise ValueError(
                "autoencoder must have architecture=Recurrent(unequal_lengths=True) for series of unequal lengths, got "
                f"{self.autoencoder!r}."
            )
        if issparse(X):
            return self._validate_sparse(X, reset=reset)
        X, shape = flattened(as_array(X))
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite="allow-nan")
        has_missing = bool(np.isnan(X.min()))
        if has_missing and self.autoencoder is not None:
            name = type(self).__name__
            raise ValueError(
                f"X contains NaN, and {name} with autoencoder={self.autoencoder!r} takes no missing values; put an "
                f"imputer before it, for instance make_pipeline(AutoencoderImputer(), {name}(...)), or use "
                "autoencoder=None."
            )
        check_range(np.nan_to_num(X) if has_missing else X, "X")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        return X

    def _validate_table(self, X: Any, *, reset: bool) -> np.ndarray:
        """Encoded rows, float64: NaN where a cell is missing, −1 for levels that ``fit`` did not see."""
        X = read_table(self, X, reset=reset)
        if reset:
            table = Table().fit(X)
            self.input_shape_ = (len(table.columns_),)
            self._table_rows = OutcomeRows(Mixed(), self.input_shape_, "float64", table=table, max_bins=MAX_BINS)
        assert self._table_rows is not None
        rows = self._table_rows.table.encode(X, unseen="kept")
        check_range(np.nan_to_num(rows), "X")
        return rows

    def _validate_sparse(self, X: Any, *, reset: bool) -> Any:
        """Rows of a sparse matrix, of which blocks alone become dense."""
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
        check_range(X, "X")
        keep_shape(self, X.shape[1:], X.shape[1:], reset=reset)
        return DenseOnDemand(X)

    @property
    def _allows_unequal_lengths(self) -> bool:
        """Whether the next fit takes series of unequal lengths."""
        return getattr(getattr(self.autoencoder, "architecture", None), "unequal_lengths", False)

    def _validate_series(self, X: Any, *, reset: bool) -> np.ndarray:
        """Series of unequal lengths as rows of one length, with NaN after their ends."""
        if is_list_of_series(X):
            X = padded(X, self.autoencoder.architecture.input_shape if reset else self._series_shape)
        X, shape = flattened(as_array(X))
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite="allow-nan")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        if self._series_shape is None:
            self._series_shape = self.autoencoder.architecture.bind(self.input_shape_).input_shape
        lengths_of(X, self._series_shape[0], may_be_empty=self._may_be_empty)
        check_range(np.nan_to_num(X), "X")
        return X

    def _score(self, X: np.ndarray) -> np.ndarray:
        """Scores in float64, so that decisions and ranks do not depend on the rounding of a cast.

        The ``score_samples`` of a clone may be NaN, which counts as the lowest score.
        """
        (scores,) = map_blocks(lambda block: [self._score_block(block)], self._filled(X))
        return np.where(np.isnan(scores), -np.inf, scores)

    def _filled(self, X: np.ndarray) -> np.ndarray:
        """Rows of numbers with the median in missing cells; series, and tables of other columns, as they are."""
        if self._series_shape is not None or self._table_rows is not None or not np.isnan(X.min(initial=0.0)):
            return X
        return np.where(np.isnan(X), np.nan_to_num(self._medians), X)

    def _score_block(self, X: np.ndarray) -> Tensor:
        """Scores, ``(n,)``, float64."""
        if self.residual_ == "log_likelihood":
            return torch.from_numpy(self._ensemble.log_likelihood(X))
        if self.residual_ == "latent":
            return -self._measure.total(self._ensemble.encode(X))
        return -self._parts(X).sum(1)

    def _parts(self, X: np.ndarray) -> Tensor:
        """Outlyingness by feature, ``(n, n_features)``, float64."""
        parts = self._measure.parts(self._ensemble.standardize(X), self._ensemble.reconstruct(X))
        if self._table_rows is None:
            return parts
        parts = self._ensemble.scaling.of_columns(parts)
        return parts if self._conditionals is None else self._conditionals.combined(parts, X)

    def _parts_by_occlusion(self, X: np.ndarray) -> np.ndarray:
        """The change of the score when a feature takes its median, and an equal share of the rest of the score."""
        X = X.astype(np.float64, copy=False)
        absent = np.isnan(X)  # after the end of a series
        total, parts = -self._score(X), np.zeros(X.shape)
        cells = np.argwhere(~absent)
        with np.errstate(invalid="ignore"):  # outlyingness may be infinite
            for some in gen_batches(len(cells), _OCCLUDED_AT_ONCE):
                rows, columns = cells[some].T
                changed = X[rows]
                changed[np.arange(len(rows)), columns] = self._medians[columns]
                parts[rows, columns] = total[rows] + self._score(changed)
            is_infinite = np.isposinf(total)
            # If a median makes a finite score infinite, the change is no part of the row's own score.
            parts[~is_infinite[:, None] & np.isinf(parts)] = 0.0
            shared = (total - parts.sum(1)) / (~absent).sum(1).clip(1)
            found = parts + shared[:, None]
        decides = np.isposinf(parts[is_infinite])  # the median would make the outlyingness finite
        found[is_infinite] = np.where(decides | ~decides.any(1, keepdims=True), np.inf, 0.0)
        return np.where(absent, 0.0, found)

    # -- fitted state as plain arrays

    def _forget(self) -> None:
        """Drop all fitted state, so that the estimator is unfitted if ``fit`` fails."""
        for name in list(vars(self)):
            if name.endswith("_") or name in _PRIVATE_STATE:
                delattr(self, name)

    def __getstate__(self):
        state = super().__getstate__().copy()
        for name in ("_ensemble", "_measure"):
            if (fitted := state.get(name)) is not None:
                state[name] = {key: v.numpy().copy() if isinstance(v, Tensor) else v for key, v in fitted.state.items()}
        if self._conditionals is not None:
            state["_conditionals"] = self._conditionals.state
        return state

    @cpu_by_default()
    def __setstate__(self, state):
        super().__setstate__(state)
        if not hasattr(self, "_ensemble"):
            return
        kind = NetworkEnsemble if "weights" in self._ensemble else CloneEnsemble
        self._ensemble = kind.from_state(self._ensemble)
        if self._measure is not None:
            arrays = {name: torch.from_numpy(np.array(value)) for name, value in self._measure.items()}
            self._measure = _ADDITIVE.get(self.residual_, CodeDistance).from_state(arrays)
        if self._conditionals is not None:
            assert self._table_rows is not None
            self._conditionals = ConditionalSurprise.from_state(self._table_rows, self._conditionals)


def _of_observed(parts: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Parts where those of a row's missing cells are shared equally by its observed ones, if it has some."""
    if not missing.any():
        return parts
    missing = missing & ~missing.all(axis=1, keepdims=True)
    to_share = np.where(missing, parts, 0.0).sum(axis=1, keepdims=True)
    return np.where(missing, 0.0, parts + to_share / (~missing).sum(axis=1, keepdims=True))
