"""Centring and scaling of rows: one scale for all features, or for densities one for each."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from sk_autoenc.storage import array, by_state

_BLOCK = 4096


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
        Mean of the training rows, float64.
    scale : float or ndarray of shape (n_features,)
        Root of the mean variance of the features, 1 where all are constant; or each feature's standard deviation, that
        root for constant ones.
    """

    center: np.ndarray
    scale: float | np.ndarray

    def apply(self, X: np.ndarray, out: np.ndarray) -> None:
        """Write the scaled rows into ``out``, float32, computing in the dtype of ``X``."""
        with np.errstate(over="ignore"):
            inverse = np.asarray(1 / self.scale).astype(X.dtype)
        if not np.isfinite(inverse).all():  # of a scale that float32 can hold, but not divide by
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

    def _why_too_large(self, X: np.ndarray, largest: float) -> str:
        """Which value is too large for the network once it is scaled, and what it may be in its own units."""
        limits = np.broadcast_to(largest * np.minimum(self.scale, 1.0), X.shape[1])
        row, column = np.unravel_index(np.nanargmax(np.abs(X - self.center) / limits), X.shape)
        return (
            f"X holds the value {X[row, column]:.6g} in column {column}; the network computes in float32, in units of "
            f"the training rows' scale, so values there must lie within ±{limits[column]:.6g}."
        )

    def undo(self, X: np.ndarray) -> np.ndarray:
        """Scaled rows in the original units, in the dtype of ``X``."""
        return X * np.asarray(self.scale).astype(X.dtype) + self.center.astype(X.dtype)


def fit_scaling(X: np.ndarray, chosen: np.ndarray, *, by_feature: bool = False) -> Scaling:
    """Centre and scale of the chosen rows, in float64 and block by block, so that no copy of ``X`` is made."""
    blocks = [chosen[block] for block in gen_batches(len(chosen), _BLOCK)]
    guess = sum(X[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(chosen)
    # Around a mean that rounding has moved a little: the moments of what is left, and the mean put right.
    shift = sum((X[block] - guess).sum(axis=0) for block in blocks) / len(chosen)
    variance = sum(np.square(X[block] - guess).sum(axis=0) for block in blocks) / len(chosen) - shift**2
    # A spread that rounding alone could produce is that of a constant column, and counts as none.
    rounding = 4 * np.finfo(X.dtype).eps * np.abs(guess)
    variance = np.where(variance > rounding**2, variance, 0.0)
    scale = float(np.sqrt(variance.mean())) or 1.0
    return Scaling(guess + shift, np.where(variance > 0, np.sqrt(variance), scale) if by_feature else scale)
