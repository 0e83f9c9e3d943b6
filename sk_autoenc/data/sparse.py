"""Rows of a sparse matrix as a dataset: a batch is the largest part that is ever dense."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import gen_batches
from torch import Tensor

from sk_autoenc.data.dataset import Batch, Rows

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class SparseBlock:
    """Rows by their entries, as in a CSR matrix; what a network reads whose first layer takes entries.

    Parameters
    ----------
    offsets : Tensor of shape (n + 1,)
        Where the entries of each row begin, and where the last ones end; int64.
    columns : Tensor of shape (n_entries,)
        Column of each entry; int32 in a dataset, int64 in a batch, as layers need it.
    values : Tensor of shape (n_entries,)
        The entries, float32.
    n_features : int
        Number of columns.
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor
    n_features: int

    @classmethod
    def of(cls, X: Any) -> Self:
        """The rows of a scipy matrix or array; entries of one cell are summed."""
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()  # the caller's arrays stay as they are
            X.sum_duplicates()
        return cls(
            torch.from_numpy(X.indptr.astype(np.int64)),
            torch.from_numpy(X.indices.astype(np.int32, copy=False)),
            torch.from_numpy(X.data.astype(np.float32, copy=False)),
            X.shape[1],
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.n_features

    @property
    def device(self) -> torch.device:
        """Where the entries are."""
        return self.values.device

    @property
    def counts(self) -> Tensor:
        """Number of entries of each row; ``(n,)``."""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """Row of each entry; ``(n_entries,)``."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), self.counts)

    def to(self, device: Any) -> Self:
        """The same rows on this device."""
        offsets, columns, values = (part.to(device) for part in (self.offsets, self.columns, self.values))
        return type(self)(offsets, columns, values, self.n_features)

    def cpu(self) -> Self:
        """The same rows on the CPU."""
        return self.to("cpu")

    def take(self, index: Tensor) -> Self:
        """The rows with these numbers, in this order."""
        counts = self.counts[index]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        # Entry i of the result stands as far behind the first entry of its row as in these rows.
        shift = torch.repeat_interleave(self.offsets[index] - offsets[:-1], counts)
        where = torch.arange(len(shift), device=self.device) + shift
        return type(self)(offsets, self.columns[where].long(), self.values[where], self.n_features)

    def replaced(self, values: Tensor) -> Self:
        """The same places with other values."""
        return type(self)(self.offsets, self.columns, values, self.n_features)

    def csr(self) -> sparse.csr_array:
        """The rows as a scipy array; entries on the CPU are shared."""
        values, columns, offsets = (part.cpu().numpy() for part in (self.values, self.columns, self.offsets))
        return sparse.csr_array((values, columns, offsets), shape=self.shape)

    def dense(self) -> Tensor:
        """All cells, with zeros where there is no entry; ``(n, n_features)``."""
        cells = torch.zeros(self.shape, dtype=self.values.dtype, device=self.device)
        cells[self.rows, self.columns.long()] = self.values
        return cells


class SparseRows(Rows):
    """Some rows of a sparse matrix, by index; the matrix itself is shared, never copied.

    Parameters
    ----------
    data : SparseBlock
        All rows, by their entries: ``SparseBlock.of(X)`` of a scipy matrix or array, on the device.
    index : Tensor or None
        Numbers of the rows of this dataset; None is all.
    read : callable
        ``(SparseBlock) -> x`` of a batch. By default batches are dense, so any network can read them; a centre or a
        scale belongs here, too. ``entries`` leaves them sparse.
    """

    data: Any

    def __init__(self, data: SparseBlock, index: Tensor | None = None, read: Callable[..., Any] = SparseBlock.dense):
        self.data, self.read = data, read
        self.index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)

    def __getitem__(self, i):
        return self.read(self.data.take(torch.atleast_1d(self.index[i])))

    def gather(self, index: Tensor) -> Batch:
        return Batch(self.read(self.data.take(index)))

    def subset(self, index: Tensor) -> Self:
        return type(self)(self.data, index, self.read)

    def cpu(self) -> Self:
        return type(self)(self.data.cpu(), self.index.cpu(), self.read)

    def csr(self) -> sparse.csr_array:
        """The rows of this dataset as they were given, before ``read``."""
        block = self.data.take(self.index).cpu()
        parts = (block.values.numpy(), block.columns.numpy(), block.offsets.numpy())
        return sparse.csr_array(parts, shape=block.shape)


@dataclass(frozen=True)
class Scaled:
    """Reads a batch as dense rows, centred and divided by one scale, as ``Scaling`` does; the matrix stays sparse.

    It computes in the dtype of ``center``, and gives float32.
    """

    center: Tensor
    scale: float

    def __call__(self, block: SparseBlock) -> Tensor:
        center = self.center.to(block.device)
        return ((block.dense().to(center.dtype) - center) * (1 / self.scale)).float()


class DenseOnDemand:
    """Rows of a sparse matrix for code that reads arrays: what is taken out by an index is dense."""

    ndim = 2

    def __init__(self, rows: Any):
        self.rows = sparse.csr_array(rows)
        self.shape, self.dtype = self.rows.shape, self.rows.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        found = self.rows[[index] if isinstance(index, int) else index].toarray()
        return found[0] if isinstance(index, int) else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.rows.toarray().astype(dtype or self.dtype, copy=False)

    def min(self, **_: Any) -> Any:
        """The smallest value, NaN if there is one."""
        return self.rows.min() if self.rows.size else 0.0


def dense_blocks(X: Any) -> Iterator[np.ndarray]:
    """The rows of a matrix, some at a time, as arrays; an array is one block."""
    if not sparse.issparse(X):
        yield X
        return
    for block in gen_batches(X.shape[0], _ROWS_AT_ONCE):
        yield X[block].toarray()


def entries(block: SparseBlock) -> SparseBlock:
    """The block itself: batches of a network whose first layer reads entries."""
    return block
