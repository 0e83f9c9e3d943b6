"""Independent columns as the start of a chain: every column has the shares of its outcomes, whatever the others are."""

from typing import Any

import numpy as np
import torch

from sk_autoenc.data.dataset import Rows
from sk_autoenc.initialization.start import Start

#: Rows that every outcome has beforehand, so that none is impossible.
_PRIOR_COUNT = 0.5


class IndependentColumns(Start):
    """The shares of the outcomes of each column, a model of the rows that learns nothing of dependence."""

    is_model = True

    def set(self, module: Any, rows: Rows) -> None:
        with torch.no_grad():
            module.last.bias.copy_(torch.from_numpy(log_shares(rows, module.sizes)))

    def refit(self, module: Any, rows: Rows) -> None:
        with torch.no_grad():
            module.forget()
        self.set(module, rows)


def log_shares(rows: Rows, sizes: list[int]) -> np.ndarray:
    """Logarithm of the share of each outcome in the cells of its column that are not NaN; ``(sum(sizes),)``."""
    data, found = rows[:].numpy(), []
    for position, size in enumerate(sizes):
        cells = data[:, position]
        counts = np.bincount(cells[~np.isnan(cells)].astype(int), minlength=size) + _PRIOR_COUNT
        found.append(np.log(counts / counts.sum()))
    return np.concatenate(found)
