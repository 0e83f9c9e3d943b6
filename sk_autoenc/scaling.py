"""One centre per feature and one scale for all: like PCA's centring it changes no metric, unlike feature scaling."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import gen_batches

_BLOCK = 4096


class Scaling(NamedTuple):
    """``(x - center) / scale`` and back.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
        Mean of the training rows, float64.
    scale : float
        Root of the mean variance of the features; 1 where all are constant.
    """

    center: np.ndarray
    scale: float

    def apply(self, X: np.ndarray, out: np.ndarray) -> None:
        """Write the scaled rows into ``out``, float32, computing in the dtype of ``X``."""
        center, inverse = self.center.astype(X.dtype), X.dtype.type(1 / self.scale)
        np.multiply(X - center, inverse, out=out, casting="same_kind")

    def undo(self, X: np.ndarray) -> np.ndarray:
        """Scaled rows in the original units, in the dtype of ``X``."""
        return X * X.dtype.type(self.scale) + self.center.astype(X.dtype)


def fit_scaling(X: np.ndarray) -> Scaling:
    """Centre and scale of the rows, in float64 and block by block, so that no copy of ``X`` is made."""
    blocks = list(gen_batches(len(X), _BLOCK))
    center = sum(X[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(X)
    squares = sum(np.square(X[block] - center).sum(axis=0) for block in blocks)
    spread = float(np.sqrt(squares.sum() / squares.size / len(X)))
    # A spread that rounding alone could produce is that of constant columns, and counts as none.
    rounding = np.finfo(X.dtype).eps * float(np.abs(center).max(initial=0.0))
    return Scaling(center, spread if spread > rounding else 1.0)
