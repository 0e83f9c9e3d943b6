"""Rows on the device as datasets, and whole batches of them with named fields."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one step, by name; fields that a kind of dataset lacks are None."""

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


#: Which rows of a batch one process computes: a function of their numbers.
Part = Callable[[Tensor], Tensor]


class Rows(Dataset):
    """Some rows of a tensor, by index; the tensor itself is shared, never copied.

    Every kind of dataset has ``__len__``, ``gather``, ``subset`` and ``cpu``. Its ``data`` are the rows that an encoder
    reads.
    """

    #: Mean and covariance of the rows, where they are known.
    known_moments: Any = None

    def __init__(self, data: Tensor, index: Tensor | None = None):
        self.data = data
        self.index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i):
        return self.data[self.index[i]]

    def gather(self, index: Tensor) -> Batch:
        """The rows with these numbers in the tensor."""
        return Batch(self.data.index_select(0, index))

    def subset(self, index: Tensor) -> Self:
        """The rows with these numbers in the tensor, as a dataset."""
        return type(self)(self.data, index)

    def split(self, chosen: Tensor, left_out: Tensor) -> tuple["Rows", "Rows"]:
        """Rows to train on and rows to hold out."""
        return self.subset(chosen), self.subset(left_out)

    @property
    def n_represented(self) -> int:
        """Number of the rows that these stand for."""
        return len(self)

    def sample(self) -> "Rows":
        """Rows in memory that stand for all: these themselves, but for a stream."""
        return self

    def batches(
        self, sizes: Sequence[int], generator: torch.Generator | None, part: Part = lambda index: index
    ) -> Iterator[Batch]:
        """Batches of so many rows, in a random order if there is a generator; of each batch a ``part``."""
        order = self.index
        if generator is not None:
            shuffled = torch.randperm(len(order), generator=generator)
            order = order[shuffled.to(order.device, non_blocking=True)]
        for chosen in order.split(list(sizes)):
            yield self.gather(part(chosen))

    def cpu(self) -> Self:
        """The same rows on the CPU."""
        return type(self)(self.data.cpu(), self.index.cpu())


class Pairs(Rows):
    """Some rows and their targets, by index."""

    def __init__(self, data: Tensor, target: Tensor, index: Tensor | None = None):
        super().__init__(data, index)
        self.target = target

    def gather(self, index: Tensor) -> Batch:
        return Batch(self.data.index_select(0, index), self.target.index_select(0, index))

    def subset(self, index: Tensor) -> Self:
        return type(self)(self.data, self.target, index)

    def cpu(self) -> Self:
        return type(self)(self.data.cpu(), self.target.cpu(), self.index.cpu())


def batch_sizes(n_rows: int, batch_size: int) -> list[int]:
    """Sizes of the batches of so many rows. One row has no batch statistics, so a last one joins the batch before."""
    sizes = [batch_size] * (n_rows // batch_size)
    if tail := n_rows - sum(sizes):
        sizes.append(tail)
    if tail == 1 and len(sizes) > 1:
        sizes[-2:] = [batch_size + 1]
    return sizes


class WholeBatches:
    """Batches of a dataset, each gathered in one step; with a generator, the order is shuffled.

    ``part`` chooses the rows of each batch that are gathered, by default all.
    """

    def __init__(
        self, rows: Rows, batch_size: int, generator: torch.Generator | None = None, part: Part = lambda index: index
    ):
        self.rows, self.batch_size, self.generator, self.part = rows, batch_size, generator, part

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.batch_size)
        return max(1, full + (tail > 1))

    def __iter__(self) -> Iterator[Batch]:
        return self.rows.batches(batch_sizes(len(self.rows), self.batch_size), self.generator, self.part)
