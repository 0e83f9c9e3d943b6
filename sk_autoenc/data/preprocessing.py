"""Rows as the network reads them, and back: dtype, shape, and the centre and scale of real-valued columns."""

import math
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import issparse

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.mapped import MappedBlock, MappedRows, is_mapped
from sk_autoenc.data.scaling import Scaling, fit_scaling, fit_series_scaling, fit_sparse_scaling, scaling_of
from sk_autoenc.data.sparse import Scaled, SparseBlock, SparseRows
from sk_autoenc.data.streamed import Reader, StreamedRows, Survey
from sk_autoenc.storage import Check, by_state, flag, instance, or_none, short, text
from sk_autoenc.storage import shape as is_shape

_BLOCK = 4096


def _is_likelihood(value: Any, where: str) -> None:
    if not hasattr(value, "is_scaled"):
        raise ValueError(f"{where} must be a likelihood, got {short(value)}.")


def check_together(kind: type, plain: dict[str, Any]) -> None:
    """Refuse what does not fit the number of features."""
    n_features, scaling, series = math.prod(plain["shape"]), plain["scaling"], plain["series_shape"]
    is_scaled = bool(plain["likelihood"].is_scaled(n_features).any())
    if is_scaled != (scaling is not None):
        raise ValueError(f"RowPreprocessor.scaling must {'' if is_scaled else 'not '}be there for this likelihood.")
    if scaling is not None and scaling.center.shape != (n_features,):
        raise ValueError(f"RowPreprocessor.scaling is for {len(scaling.center)} features, but rows have {n_features}.")
    if series is not None and (len(series) != 2 or math.prod(series) != n_features):
        raise ValueError(f"RowPreprocessor.series_shape is {series}, but rows have {n_features} cells.")


#: What rows of every kind are read with.
FIELDS: dict[str, Check] = {
    "likelihood": _is_likelihood,
    "shape": is_shape,
    "dtype": text("float32|float64"),
    "series_shape": or_none(is_shape),
    "by_feature": flag,
    "scaling": or_none(instance(Scaling)),
}


@by_state(
    FIELDS,
    check=check_together,
    take=lambda rows: rows.state,
    make=lambda plain: RowPreprocessor.from_state(plain),
)
class RowPreprocessor:
    """Rows of one shape as float32 in the network's units, and back.

    Parameters
    ----------
    likelihood : Likelihood
        Resolved for the training rows; it decides which columns are scaled.
    shape : tuple of int
        Shape of a row for the user. The network reads flat rows.
    dtype : str
        Dtype of the training rows.
    series_shape : tuple of int or None
        Channels and timepoints of series of unequal lengths, with NaN after their ends; None for all other rows.
    by_feature : bool
        Whether each scaled column, or each channel of a series, has its own scale.
    scaling : Scaling or None
        Centre and scale; None before :meth:`fit`, or if no column is scaled.
    """

    #: Whether rows come from a table, whose cells may be missing and whose types rows get back.
    is_table = False

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
    def n_inputs(self) -> int:
        """Number of columns of rows as the network reads them."""
        return self.n_features

    @property
    def all_scaled(self) -> bool:
        """Whether all columns are scaled before the network, so that the encoder need not standardise them."""
        return bool(self.is_scaled.all())

    @property
    def has_missing_cells(self) -> bool:
        """Whether the likelihood must skip missing cells; that of tokens has the end of a sequence as an outcome."""
        return self.series_shape is not None and not self.likelihood.is_sequential

    @property
    def scale(self) -> np.ndarray:
        """The scale of each column; ``(n_features,)``."""
        return np.broadcast_to(1.0 if self.scaling is None else np.asarray(self.scaling.scale), self.n_features)

    @property
    def shared_scale(self) -> float:
        """The scale of all scaled columns, if they share one."""
        return float(self.scale[self.is_scaled].max(initial=0.0)) or 1.0

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Take centre and scale from the chosen rows; targets are for those who read them."""
        if issparse(X):
            self.scaling = fit_sparse_scaling(X, chosen) if self.all_scaled else None
        elif self.series_shape is not None and self.is_scaled.any():
            self.scaling = fit_series_scaling(X, chosen, self.series_shape[0], by_channel=self.by_feature)
        elif self.all_scaled:
            self.scaling = fit_scaling(X, chosen, by_feature=self.by_feature)
        elif self.is_scaled.any():
            self._scale_some(fit_scaling(X[:, self.is_scaled], chosen, by_feature=self.by_feature))
        return self

    def fit_moments(self, mean: np.ndarray, variance: np.ndarray) -> Self:
        """Take centre and scale from moments of rows that are not in memory."""
        if self.is_scaled.any():
            mean, variance = mean[self.is_scaled], variance[self.is_scaled]
            scaling = scaling_of(mean, variance, np.dtype(self.dtype), by_feature=self.by_feature)
            if self.all_scaled:
                self.scaling = scaling
            else:
                self._scale_some(scaling)
        return self

    def _scale_some(self, some: Scaling) -> None:
        """Scale the real-valued columns, and no other."""
        center, scale = np.zeros(self.n_features), np.ones(self.n_features)
        center[self.is_scaled], scale[self.is_scaled] = some.center, some.scale
        self.scaling = Scaling(center, scale)

    def in_units(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of rows as the network reads them."""
        if self.scaling is None:
            return mean, covariance
        return (mean - self.scaling.center) / self.scale, covariance / np.outer(self.scale, self.scale)

    def streamed(self, found: Survey, device: str) -> StreamedRows:
        """The rows of a stream as a dataset, whose sample is on the device."""
        sample = torch.from_numpy(self.to_network(found.rows)).to(device)
        return StreamedRows(found, sample, Reader(self.prepare, self.in_units))

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        """All rows as the network reads them, as a dataset on the device; with targets, if these are read."""
        if issparse(X):
            block = SparseBlock.of(X).to(device)
            if self.scaling is None:
                return SparseRows(block)
            center = torch.from_numpy(self.scaling.center.astype(X.dtype))
            return SparseRows(block, read=Scaled(center, self.shared_scale))
        if is_mapped(X):
            return MappedRows(MappedBlock(X, self.prepare, torch.device(device)))
        return Rows(torch.from_numpy(self.to_network(X)).to(device))

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """All rows as the network reads them, float32."""
        out = np.empty((len(X), self.n_inputs), dtype=np.float32)
        for start in range(0, len(X), _BLOCK):
            self.prepare(X[start : start + _BLOCK], out[start : start + _BLOCK])
        return out

    def prepare(self, block: Any, out: np.ndarray) -> None:
        """Write one block as the network reads it; a sparse block becomes dense here."""
        block = block.toarray() if issparse(block) else block
        if self.scaling is None:
            np.copyto(out, block, casting="same_kind")
        else:
            self.scaling.apply(block, out)

    def to_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Outputs of the network as rows in the units and the shape of ``X``, in this dtype."""
        rows = rows.astype(dtype, copy=False)
        rows = rows if self.scaling is None else self.scaling.undo(rows)
        return rows.reshape(-1, *self.shape)

    def affine(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Centre and scale of every column as tensors, float64; 0 and 1 where a column has none."""
        center = np.zeros(self.n_features) if self.scaling is None else self.scaling.center
        as_tensor = partial(torch.tensor, dtype=torch.float64, device=device)
        return as_tensor(center), as_tensor(self.scale.copy())

    def log_scale(self, X: np.ndarray) -> np.ndarray | float:
        """Log-density of a scaled row minus that of the row itself: the sum of its cells' log-scales."""
        if self.scaling is None:
            return 0.0
        scales = np.log(self.scale)
        return float(scales.sum()) if self.series_shape is None else np.where(np.isnan(X), 0.0, scales).sum(axis=1)

    def n_scaled(self, X: np.ndarray) -> np.ndarray:
        """Number of scaled cells of each row that are not missing."""
        if issparse(X):
            return np.full(X.shape[0], self.is_scaled.sum())
        return (~np.isnan(X[:, self.is_scaled])).sum(axis=1)

    @property
    def state(self) -> dict[str, Any]:
        """The arguments of ``__init__``, for files without pickle."""
        names = ("likelihood", "shape", "dtype", "series_shape", "by_feature", "scaling")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of ``state``."""
        return cls(**state)
