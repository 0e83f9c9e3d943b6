"""Whole batches from a tensor that lies on the device, instead of rows collected one by one."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

#: Rows that may end early are sorted by length within so many batches, or half of all if there are fewer.
BATCHES_PER_WINDOW = 50


class Rows(Dataset):
    """Some rows of a tensor, by index; the tensor itself is shared, never copied."""

    def __init__(self, data: Tensor, index: Tensor | None = None):
        self.data = data
        self.index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i):
        return self.data[self.index[i]]

    def lengths(self) -> Tensor | None:
        """Number of cells of each row that are there; None where every row goes on to the last column."""
        if not self.data[:, -1].isnan().any():
            return None
        return torch.cat([(~self.data[some].isnan()).sum(1) for some in self.index.split(4096)])


class WholeBatches:
    """Batches of ``Rows``, each gathered in one step; with a generator in shuffled order.

    Where rows end early, a shuffled batch holds rows of like lengths, since it takes as long as its longest one.
    """

    def __init__(self, rows: Rows, batch_size: int, generator: torch.Generator | None = None):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator
        self.lengths = None if generator is None else rows.lengths()

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.batch_size)
        return max(1, full + (tail > 1))

    def __iter__(self) -> Iterator[Tensor]:
        sizes = self._sizes()
        if self.lengths is not None:  # a smaller batch is to hold now long rows, now short ones
            sizes = self._shuffled(sizes)
        batches = list(self._order().split(sizes))
        for chosen in batches if self.lengths is None else self._shuffled(batches):
            yield self.rows.data.index_select(0, self.rows.index[chosen])

    def _order(self) -> Tensor:
        """Positions of the rows one batch after the other."""
        n_rows, device = len(self.rows), self.rows.index.device
        if self.generator is None:
            return torch.arange(n_rows, device=device)
        order = torch.randperm(n_rows, generator=self.generator).to(device)
        if self.lengths is None:
            return order
        # Chance says which rows come into a window, so no two epochs have the same batches. Lengths rise in one window
        # and fall in the next: a batch that belongs to two of them has like lengths, too.
        size = min(BATCHES_PER_WINDOW, -(-len(self) // 2)) * self.batch_size
        window = torch.arange(n_rows, device=device) // size
        rising = self.lengths[order] * (1 - 2 * (window % 2))
        return order[(window * 2 * (self.rows.data.shape[1] + 1) + rising).argsort(stable=True)]

    def _shuffled(self, items: list) -> list:
        return [items[i] for i in torch.randperm(len(items), generator=self.generator).tolist()]

    def _sizes(self) -> list[int]:
        sizes = [self.batch_size] * (len(self.rows) // self.batch_size)
        if tail := len(self.rows) - sum(sizes):
            sizes.append(tail)
        if tail == 1 and len(sizes) > 1:  # one row has no batch statistics: it joins the batch before
            sizes[-2:] = [self.batch_size + 1]
        return sizes
