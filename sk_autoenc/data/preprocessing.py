"""Rows as the network reads them, and back: dtype, shape, centre and scale of the columns that have these."""

from typing import Any, Self

import numpy as np
import torch

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.scaling import Scaling, fit_scaling
from sk_autoenc.data.series import fit_series_scaling

_BLOCK = 4096


class RowPreprocessor:
    """Rows of one shape as float32 in the network's units, and back.

    Parameters
    ----------
    likelihood : Likelihood
        Says which columns are scaled; fitted to the training rows.
    shape : tuple of int
        Shape of a row as users see it; inside, rows are flat.
    dtype : str
        That of the training rows.
    series_shape : tuple of int or None
        Channels and timepoints of rows that may end early, with NaN after that; None for rows without missing cells.
    by_feature : bool
        Whether each scaled column, or each channel of a series, has a scale of its own.
    scaling : Scaling or None
        Centre and scale, where :meth:`fit` has run and any column is scaled.
    """

    def __init__(
        self,
        likelihood: Any,
        shape: tuple[int, ...],
        dtype: str,
        *,
        series_shape: tuple[int, int] | None = None,
        by_feature: bool = False,
        scaling: Scaling | None = None,
    ):
        self.likelihood, self.shape, self.dtype = likelihood, shape, dtype
        self.series_shape, self.by_feature, self.scaling = series_shape, by_feature, scaling
        self.is_scaled = likelihood.is_scaled(self.n_features)

    @property
    def n_features(self) -> int:
        """Number of columns of flat rows."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def all_scaled(self) -> bool:
        """Whether rows come to the network in its scale, so that the encoder need not standardise them."""
        return bool(self.is_scaled.all())

    @property
    def has_missing_cells(self) -> bool:
        """Whether the likelihood has to do without some cells; that of sequences knows itself where they end."""
        return self.series_shape is not None and not self.likelihood.is_sequential

    @property
    def scale(self) -> np.ndarray:
        """What each column is divided by; ``(n_features,)``."""
        return np.broadcast_to(1.0 if self.scaling is None else np.asarray(self.scaling.scale), self.n_features)

    @property
    def shared_scale(self) -> float:
        """The one number that scaled columns are divided by, where it is not one for each."""
        return float(self.scale[self.is_scaled].max(initial=0.0)) or 1.0

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Take centre and scale from the chosen rows; targets are for those who read them."""
        if self.series_shape is not None and self.is_scaled.any():
            self.scaling = fit_series_scaling(X, chosen, self.series_shape[0], by_channel=self.by_feature)
        elif self.all_scaled:
            self.scaling = fit_scaling(X, chosen, by_feature=self.by_feature)
        elif self.is_scaled.any():
            some = fit_scaling(X[:, self.is_scaled], chosen, by_feature=self.by_feature)
            center, scale = np.zeros(self.n_features), np.ones(self.n_features)
            center[self.is_scaled], scale[self.is_scaled] = some.center, some.scale
            self.scaling = Scaling(center, scale)
        return self

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        """All rows as the network reads them, on the device; with their targets, where these are read."""
        return Rows(torch.from_numpy(self.to_network(X)).to(device))

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """All rows as the network reads them, float32."""
        out = np.empty(X.shape, dtype=np.float32)
        for start in range(0, len(X), _BLOCK):
            self.prepare(X[start : start + _BLOCK], out[start : start + _BLOCK])
        return out

    def prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        """Write one block as the network reads it."""
        if self.scaling is None:
            np.copyto(out, block, casting="same_kind")
        else:
            self.scaling.apply(block, out)

    def to_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What the network gives as rows in the units of ``X``, in this dtype and in the shape that users see."""
        rows = rows.astype(dtype, copy=False)
        rows = rows if self.scaling is None else self.scaling.undo(rows)
        return rows.reshape(-1, *self.shape)

    def log_scale(self, X: np.ndarray) -> np.ndarray | float:
        """By how much the log-density of scaled rows is above that of rows: the logarithms of their cells' scales."""
        if self.scaling is None:
            return 0.0
        scales = np.log(self.scale)
        return float(scales.sum()) if self.series_shape is None else np.where(np.isnan(X), 0.0, scales).sum(axis=1)

    def n_scaled(self, X: np.ndarray) -> np.ndarray:
        """Number of scaled cells of each row that are there."""
        return (~np.isnan(X[:, self.is_scaled])).sum(axis=1)

    @property
    def state(self) -> dict[str, Any]:
        """What this is made of, for files without pickle."""
        names = ("likelihood", "shape", "dtype", "series_shape", "by_feature", "scaling")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of ``state``."""
        return cls(**state)
