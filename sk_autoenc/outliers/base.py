"""What every outlier detector here can do: scores, decisions, p-values, and explanations by feature."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sk_autoenc._compat import in_container_of
from sk_autoenc.data.series import is_list_of_series, lengths_of, padded, trimmed
from sk_autoenc.data.validation import as_array, cast_within, check_range, flattened, keep_shape
from sk_autoenc.outliers.ensembles import CloneCommittee, NetworkCommittee
from sk_autoenc.outliers.scores import CodeDistance, NeighborsAndRarity, SquaredResiduals
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK

#: The measures that have parts by feature; log-likelihoods and distances of codes have none.
_ADDITIVE = {"neighbors": NeighborsAndRarity, "robust": SquaredResiduals, "squared": SquaredResiduals}

#: So many rows, each with one cell changed, are scored at once.
_OCCLUDED_AT_ONCE = 1024

#: Fitted state without a trailing underscore.
_PRIVATE_STATE = ("_seed", "_typical", "_committee", "_measure", "_series_shape", "_may_be_empty")


class CommitteeDetector(OutlierMixin, BaseEstimator):
    """An outlier detector with a committee that reconstructs rows, and a measure that says how unusual they are.

    ``fit`` sets both, ``residual_`` (the name of the measure), ``offset_``, and perhaps ``calibration_scores_``.
    """

    autoencoder: Any
    residual_: str
    input_shape_: tuple[int, ...]
    offset_: float
    calibration_scores_: np.ndarray
    _committee: Any
    _measure: Any
    _typical: np.ndarray  # a row of usual values, all of which were seen
    _series_shape: tuple[int, int] | None = None  # of rows that may end early, NaN after that: channels, longest length
    _may_be_empty: bool = False  # whether such rows may have no cell at all

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
            Minus the outlyingness, or the log-likelihood in nats, of series of unequal lengths for each cell; in the
            dtype of ``X`` (float64 unless that is float32). A row's score does not depend on the other rows of ``X``.
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
        """The share of normal rows that look at least as unusual: split conformal p-values.

        For a new row from the distribution of the training rows, ``P(p <= alpha) <= alpha``, whatever that
        distribution, over the draw of the row and of the held-out rows together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that took no part in ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + k) / (1 + n)``, with k of the n held-out rows scoring no higher than the row; float64.

        Raises
        ------
        ValueError
            If no rows were held out of ``fit``.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibration_scores_"):
            raise ValueError(
                "predict_pvalue needs rows that were held out of fit, but calibration_fraction was None; set it, "
                "to 0.2 for instance, and fit again."
            )
        scores = self._score(self._validate(X, reset=False))
        n_below = np.searchsorted(self.calibration_scores_, scores, side="right")
        return (1 + n_below) / (1 + len(self.calibration_scores_))

    def explain(self, X):
        r"""Which features make a row unusual: parts that add up to ``-score_samples(X)``.

        For the measures "robust" and "squared", and "neighbors" with ``novelty=True``, the outlyingness is a sum over
        features, and these are its terms. For "neighbors" with ``novelty=False`` it is :math:`\sqrt{a^2 + b^2}` of two
        such sums, and feature j has the part :math:`(a a_j + b b_j) / \sqrt{a^2 + b^2}`. For the others a feature's
        part is the change of the score when the feature takes its training median; what is left over is shared
        equally. Of a row that is impossible, those features have the part infinity whose median would make it possible,
        or else all of them. What follows the end of a series has no part, and an empty one has none.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows, in any form that ``fit`` takes.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features)
            The parts, higher is more unusual, in the dtype and the form of ``X``; a data frame with its names if ``X``
            is one, a list of arrays if ``X`` is a list of series of unequal lengths.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        if self.residual_ in _ADDITIVE:
            (parts,) = by_block(lambda block: [self._parts(block)], rows)
        else:
            parts = torch.from_numpy(self._parts_by_occlusion(rows))
        found = cast_within(parts.numpy(), rows.dtype)
        if self._series_shape is not None and is_list_of_series(X):
            shape = (*np.shape(next(iter(X)))[:-1], self._series_shape[-1])
            return trimmed(found.reshape(-1, *shape), np.array([np.shape(case)[-1] for case in X]))
        _, axes = flattened(as_array(X))
        return in_container_of(X, found.reshape(-1, *(axes or rows.shape[1:])))

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        if self._series_shape is not None or (reset and self._allows_unequal_lengths):
            return self._validate_series(X, reset=reset)
        if is_list_of_series(X) and len({np.shape(case) for case in X}) > 1:
            raise ValueError(
                "X has series of unequal lengths, which need an autoencoder with "
                f"architecture=Recurrent(unequal_lengths=True), got {self.autoencoder!r}."
            )
        X, shape = flattened(as_array(X))
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
        check_range(X, "X")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        return X

    @property
    def _allows_unequal_lengths(self) -> bool:
        """Whether the next fit takes series that may end early."""
        return getattr(getattr(self.autoencoder, "architecture", None), "unequal_lengths", False)

    def _validate_series(self, X: Any, *, reset: bool) -> np.ndarray:
        """Series that may end early as rows with NaN after their ends."""
        if is_list_of_series(X):
            X = padded(X, self.autoencoder.architecture.input_shape if reset else self._series_shape)
        X, shape = flattened(as_array(X))
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite="allow-nan")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        if self._series_shape is None:
            self._series_shape = self.autoencoder.architecture.fitted_to(self.input_shape_).input_shape
        lengths_of(X, self._series_shape[0], may_be_empty=self._may_be_empty)
        check_range(np.nan_to_num(X), "X")
        return X

    def _score(self, X: np.ndarray) -> np.ndarray:
        """Scores, float64 whatever the rows: decisions and ranks do not hang on the rounding of a cast."""
        (scores,) = by_block(lambda block: [self._score_block(block)], X)
        return scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).numpy()  # of clones not ours

    def _score_block(self, X: np.ndarray) -> Tensor:
        """Scores, ``(n,)``, float64."""
        if self.residual_ == "log_likelihood":
            return torch.from_numpy(self._committee.log_likelihood(X))
        if self.residual_ == "latent":
            return -self._measure.total(self._committee.encode(X))
        return -self._parts(X).sum(1)

    def _parts(self, X: np.ndarray) -> Tensor:
        """Outlyingness by feature, ``(n, n_features)``, float64."""
        return self._measure.parts(self._committee.standardize(X), self._committee.reconstruct(X))

    def _parts_by_occlusion(self, X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float64, copy=False)
        absent = np.isnan(X)  # what follows the end of a series has no part
        total, parts = -self._score(X), np.zeros(X.shape)
        cells = np.argwhere(~absent)
        with np.errstate(invalid="ignore"):  # outlyingness may be infinite
            for some in gen_batches(len(cells), _OCCLUDED_AT_ONCE):
                rows, columns = cells[some].T
                changed = X[rows]
                changed[np.arange(len(rows)), columns] = self._typical[columns]
                parts[rows, columns] = total[rows] + self._score(changed)
            impossible = np.isposinf(total)  # by features without which the row would be possible, or else by all
            parts[~impossible[:, None] & np.isinf(parts)] = 0.0  # a median that makes a row impossible says nothing
            shared = (total - parts.sum(1)) / (~absent).sum(1).clip(1)
            found = parts + shared[:, None]
        guilty = np.isposinf(parts[impossible])
        found[impossible] = np.where(guilty | ~guilty.any(1, keepdims=True), np.inf, 0.0)
        return np.where(absent, 0.0, found)

    # -- fitted state as plain arrays

    def _forget(self) -> None:
        """Drop all fitted state, so that a fit that fails leaves the estimator clearly unfitted."""
        for name in list(vars(self)):
            if name.endswith("_") or name in _PRIVATE_STATE:
                delattr(self, name)

    def __getstate__(self):
        state = super().__getstate__().copy()
        for name in ("_committee", "_measure"):
            if (fitted := state.get(name)) is not None:
                state[name] = {key: v.numpy().copy() if isinstance(v, Tensor) else v for key, v in fitted.state.items()}
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if not hasattr(self, "_committee"):
            return
        kind = NetworkCommittee if "weights" in self._committee else CloneCommittee
        self._committee = kind.from_state(self._committee)
        if self._measure is not None:
            arrays = {name: torch.from_numpy(np.array(value)) for name, value in self._measure.items()}
            self._measure = _ADDITIVE.get(self.residual_, CodeDistance).from_state(arrays)


def by_block(function: Callable[[np.ndarray], Any], X: np.ndarray) -> list[Tensor]:
    """``function`` of the rows, in blocks of few shapes, so that a row's result does not depend on the other rows.

    It gives some tensors with rows along the first axis. What a block lacks is filled up with its first row.
    """
    size = SMALL_BLOCK if len(X) < LARGE_BLOCK else LARGE_BLOCK
    found: list[Tensor] = []  # filled in place: a tensor kept per block would pin the heap between large ones
    for start in range(0, len(X), size):
        block = X[start : start + size]
        filler = np.repeat(block[:1], -len(block) % SMALL_BLOCK, axis=0)
        with torch.no_grad():
            parts = function(np.concatenate([block, filler]))
            found = found or [part.new_empty((len(X), *part.shape[1:])) for part in parts]
            for whole, part in zip(found, parts, strict=True):
                whole[start : start + size] = part[: len(block)]
    return found
