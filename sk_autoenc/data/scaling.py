"""Centring and scaling of rows: one class, and a function for each way to fit it.

==========================  =====================================  =====================================================
function                    centre of each feature                 scale
==========================  =====================================  =====================================================
``fit_scaling``             mean                                   one for all: root of the mean variance
... with ``by_feature``     mean                                   standard deviation of each
``fit_sparse_scaling``      mean                                   one for all, as ``fit_scaling``
``fit_channel_scaling``     mean of its channel                    one for all
``fit_series_scaling``      mean of its channel, without NaN       one for all, or standard deviation of its channel
``fit_robust_scaling``      mean of values clipped to most others  standard deviation of the same values
==========================  =====================================  =====================================================
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches
from sklearn.utils.sparsefuncs import mean_variance_axis

from sk_autoenc.storage import array, by_state

_BLOCK = 4096

#: The robust moments clip a feature's values to its median ± this many times the width of the middle 90 % of values,
#: which is 23 standard deviations of normal values. The width comes from the first rows.
_N_WIDTHS, _QUANTILE_ROWS = 7.0, 1024


def _positive(value: Any, where: str) -> None:
    """A scale, or one for each feature."""
    array("f8", *(None,) * np.ndim(value), above=0.0)(np.asarray(value), where)


def _check_lengths(kind: type, plain: dict[str, Any]) -> None:
    """Refuse scales that are not one for each feature."""
    if np.ndim(plain["scale"]) and np.shape(plain["scale"]) != plain["center"].shape:
        raise ValueError(f"Scaling has {np.shape(plain['scale'])} scales for {plain['center'].shape} features.")


@by_state(
    {"center": array("f8", None), "scale": _positive},
    check=_check_lengths,
    take=lambda scaling: scaling._asdict(),
    make=lambda plain: Scaling(**plain),
)
class Scaling(NamedTuple):
    """``(x - center) / scale`` and back.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
        Centre of each feature, float64.
    scale : float or ndarray of shape (n_features,)
        One scale for all features, or one for each; never 0.
    """

    center: np.ndarray
    scale: float | np.ndarray

    def apply(self, X: np.ndarray, out: np.ndarray) -> None:
        """Write the scaled rows into ``out``, float32, computing in the dtype of ``X``."""
        with np.errstate(over="ignore"):
            inverse = np.asarray(1 / self.scale).astype(X.dtype)
        if not np.isfinite(inverse).all():  # the inverse of a very small scale overflows float32
            X, inverse = X.astype(np.float64), np.asarray(1 / self.scale)
        center = self.center.astype(X.dtype)
        try:
            with np.errstate(over="raise"):
                if out.dtype == X.dtype:
                    np.subtract(X, center, out=out)
                    np.multiply(out, inverse, out=out)
                else:
                    np.multiply(X - center, inverse, out=out, casting="same_kind")
        except FloatingPointError as error:
            raise ValueError(self._why_too_large(X, float(np.finfo(out.dtype).max))) from error

    def apply_clipped(self, X: np.ndarray, limit: float) -> np.ndarray:
        """Scaled values clipped to ±limit, float64. Every finite value is accepted."""
        with np.errstate(over="ignore"):
            return np.clip((X - self.center) / self.scale, -limit, limit)

    def _why_too_large(self, X: np.ndarray, largest: float) -> str:
        """The message for a value that overflows float32 when it is scaled, with the bound in the units of ``X``."""
        limits = np.broadcast_to(largest * np.minimum(self.scale, 1.0), X.shape[1])
        row, column = np.unravel_index(np.nanargmax(np.abs(X - self.center) / limits), X.shape)
        return (
            f"X must lie within ±{limits[column]:.6g} in column {column}, because the network computes in float32 in "
            f"units of the training rows' scale, got {X[row, column]:.6g}."
        )

    def undo(self, X: np.ndarray) -> np.ndarray:
        """Scaled rows in the original units, in the dtype of ``X``."""
        return X * np.asarray(self.scale).astype(X.dtype) + self.center.astype(X.dtype)


def fit_scaling(X: np.ndarray, chosen: np.ndarray, *, by_feature: bool = False) -> Scaling:
    """Centre and scale of the chosen rows, in float64 and block by block, so that no copy of ``X`` is made."""
    blocks = [chosen[block] for block in gen_batches(len(chosen), _BLOCK)]
    guess = sum(X[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(chosen)
    # Rounding may have moved the mean a little, so the moments around it also correct the mean.
    shift = np.asarray(sum((X[block] - guess).sum(axis=0) for block in blocks) / len(chosen))
    variance = sum(np.square(X[block] - guess).sum(axis=0) for block in blocks) / len(chosen) - shift**2
    return scaling_of(guess + shift, variance, X.dtype, by_feature=by_feature)


def scaling_of(mean: np.ndarray, variance: np.ndarray, dtype: np.dtype, *, by_feature: bool = False) -> Scaling:
    """Centre and scale of rows of this dtype with these moments."""
    return Scaling(mean, _one_scale_or_each(_above_rounding(variance, mean, dtype), each=by_feature))


def fit_sparse_scaling(X: Any, chosen: np.ndarray) -> Scaling:
    """The same for a sparse matrix, with one scale for all features; cells without an entry are zeros."""
    mean, variance = mean_variance_axis(X[chosen].astype(np.float64), axis=0)
    return Scaling(mean, _one_scale_or_each(_above_rounding(variance, mean, X.dtype), each=False))


def fit_channel_scaling(X: np.ndarray, chosen: np.ndarray, channels: np.ndarray) -> Scaling:
    """A centre for each channel and one scale for all; ``channels`` is that of each feature."""
    by_feature = fit_scaling(X, chosen).center
    center = (np.bincount(channels, weights=by_feature) / np.bincount(channels))[channels]
    blocks = [chosen[block] for block in gen_batches(len(chosen), _BLOCK)]
    variance = np.asarray(sum(np.square(X[block] - center).sum(axis=0) for block in blocks) / len(chosen))
    return Scaling(center, _one_scale_or_each(_above_rounding(variance, center, X.dtype), each=False))


def fit_series_scaling(X: np.ndarray, chosen: np.ndarray, n_channels: int, *, by_channel: bool = False) -> Scaling:
    """A centre for each channel, and one scale for all channels or one for each; NaN are skipped."""
    values = X[chosen].reshape(len(chosen), n_channels, -1)
    center = np.asarray(np.nanmean(values, axis=(0, 2), dtype=np.float64))
    variance = np.asarray(np.nanmean(np.square(values - center[:, None]), axis=(0, 2), dtype=np.float64))
    scale = _one_scale_or_each(_above_rounding(variance, center, X.dtype), each=by_channel)
    n_timepoints = values.shape[2]
    return Scaling(np.repeat(center, n_timepoints), np.repeat(scale, n_timepoints) if by_channel else scale)


def fit_robust_scaling(X: np.ndarray) -> Scaling:
    """Mean and standard deviation of each feature, over values clipped so that extreme values have little effect.

    A constant feature has its absolute value as its scale, or 1 if it is 0. Rows must come in random order.
    """
    low, high = _usual_range(X[:_QUANTILE_ROWS].astype(np.float64))

    def clipped():
        return (np.clip(X[block], low, high) for block in gen_batches(len(X), _BLOCK))

    guess = sum(block.sum(axis=0) for block in clipped()) / len(X)
    center = guess + sum((block - guess).sum(axis=0) for block in clipped()) / len(X)  # corrects rounding
    variance = sum(np.square(block - center).sum(axis=0) for block in clipped()) / len(X)
    variance = _above_rounding(variance, center, X.dtype)
    return Scaling(center, np.where(variance > 0, np.sqrt(variance), np.where(center == 0, 1.0, np.abs(center))))


def _above_rounding(variance: np.ndarray, center: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Variances, with 0 for those that are no larger than rounding errors: such a column is constant."""
    rounding = 4 * np.finfo(dtype).eps * np.abs(center)
    return np.where(variance > rounding**2, variance, 0.0)


def _one_scale_or_each(variance: np.ndarray, *, each: bool) -> float | np.ndarray:
    """The root of the mean variance, or 1 for 0. ``each``: the root of each variance; where it is 0, the former."""
    scale = float(np.sqrt(variance.mean())) or 1.0
    return np.where(variance > 0, np.sqrt(variance), scale) if each else scale


def _usual_range(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each feature that is not extreme."""
    median = np.median(X, axis=0)
    # These methods of interpolation leave out the extreme rows at either end, also if there are few rows.
    width = np.quantile(X, 0.95, axis=0, method="lower") - np.quantile(X, 0.05, axis=0, method="higher")
    for column in np.flatnonzero(width <= 0):  # nearly all values are equal: take the median distance of all others
        distances = np.abs(X[:, column] - median[column])
        distances = distances[distances > 0]
        width[column] = np.median(distances) if len(distances) else np.inf
    return median - _N_WIDTHS * width, median + _N_WIDTHS * width
