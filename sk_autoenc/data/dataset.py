"""Whole batches from a tensor that lies on the device, instead of rows collected one by one."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Rows(Dataset):
    """Some rows of a tensor, by index; the tensor itself is shared, never copied."""

    def __init__(self, data: Tensor, index: Tensor | None = None):
        self.data = data
        self.index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i):
        return self.data[self.index[i]]


class WholeBatches:
    """Batches of ``Rows``, each gathered in one step; with a generator in shuffled order."""

    def __init__(self, rows: Rows, batch_size: int, generator: torch.Generator | None = None):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.batch_size)
        return max(1, full + (tail > 1))

    def __iter__(self) -> Iterator[Tensor]:
        order = self.rows.index
        if self.generator is not None:
            order = order[torch.randperm(len(order), generator=self.generator).to(order.device)]
        sizes = [self.batch_size] * (len(order) // self.batch_size)
        if tail := len(order) - sum(sizes):
            sizes.append(tail)
        if tail == 1 and len(sizes) > 1:  # one row has no batch statistics: it joins the batch before
            sizes[-2:] = [self.batch_size + 1]
        for chosen in order.split(sizes):
            yield self.rows.data.index_select(0, chosen)
