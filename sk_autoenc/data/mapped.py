"""Rows of a memory map as a dataset: a batch is read when it is asked for, and nothing else is in memory."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.data.dataset import Batch, Rows


def is_mapped(X: Any) -> bool:
    """Whether an array lies in a file, or is a view of one that does."""
    while X is not None:
        if isinstance(X, np.memmap | mmap.mmap):
            return True
        X = getattr(X, "base", None)
    return False


@dataclass(frozen=True)
class MappedBlock:
    """Rows in a file, and how the network reads them.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        The rows, in the user's units.
    prepare : callable
        ``prepare(block, out)`` writes some of them, as float32, into an array.
    device : device
        Where batches are wanted.
    """

    X: np.ndarray
    prepare: Callable[[np.ndarray, np.ndarray], None]
    device: torch.device

    def __len__(self) -> int:
        return len(self.X)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows and of columns."""
        return self.X.shape

    def take(self, index: Tensor) -> Tensor:
        """The rows with these numbers."""
        rows = self.X[index.cpu().numpy()]
        out = np.empty(rows.shape, dtype=np.float32)
        self.prepare(rows, out)
        return torch.from_numpy(out).to(self.device)

    def cpu(self) -> "MappedBlock":
        """The same rows, wanted on the CPU."""
        return MappedBlock(self.X, self.prepare, torch.device("cpu"))


class MappedRows(Rows):
    """Some rows in a file, by index.

    Batches are those of the same rows in memory, bit for bit.
    """

    data: Any

    def __init__(self, data: MappedBlock, index: Tensor | None = None):
        self.data = data
        self.index = torch.arange(len(data)) if index is None else index.cpu()

    def __getitem__(self, i):
        chosen = self.index[i]
        return self.data.take(torch.atleast_1d(chosen)).reshape(*chosen.shape, -1)

    def gather(self, index: Tensor) -> Batch:
        return Batch(self.data.take(index))

    def cpu(self) -> Self:
        return type(self)(self.data.cpu(), self.index)
