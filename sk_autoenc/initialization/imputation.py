"""Where the training of an imputer starts: at the normal distribution of incomplete rows, with no correction."""

from typing import Any

import torch
from torch import Tensor

from sk_autoenc.data.incomplete import HiddenCells
from sk_autoenc.initialization.incomplete_normal import choose_shrinkage, fit_incomplete_normal
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.imputation import N_QUANTILES

#: A column with fewer hidden cells than this has the residuals of all columns.
_FEW_RESIDUALS = 50

#: Rows that go through the network at once.
_BLOCK = 1024


class IncompleteNormalStart(Start):
    """At the conditional means of a normal distribution, a model that one may keep.

    Parameters
    ----------
    shrinkage : float or "auto"
        How far its covariance is drawn to the diagonal; ``"auto"``: as hidden cells ask for.
    seed : int
        Seeds the search.
    """

    is_model = True

    def __init__(self, shrinkage: float | str, seed: int):
        self.shrinkage, self.seed = shrinkage, seed

    def set(self, module: Any, rows: Any) -> None:
        self.fit_normal(module, rows, self.shrinkage)
        module.set_residuals()
        module.remove_correction()

    def refit(self, module: Any, rows: Any) -> None:
        module.remove_correction()
        module.eval()
        calibrate(module, rows)
        self.fit_normal(module, rows, float(module.shrinkage))

    def fit_normal(self, module: Any, rows: HiddenCells, shrinkage: float | str) -> None:
        """Fit the normal distribution to all cells that are known."""
        cells = rows.known_cells().double()
        if isinstance(shrinkage, str):
            column_of = module.layout.on(cells.device).column_of
            shrinkage = choose_shrinkage(cells, column_of, torch.Generator().manual_seed(self.seed))
        normal = fit_incomplete_normal(cells, shrinkage, seed=self.seed)
        low, high = (getattr(cells.nan_to_num(0.0), of)(0).values for of in ("min", "max"))
        module.set_normal(normal.mean, normal.covariance, shrinkage, low, high)


@torch.no_grad()
def calibrate(module: Any, rows: HiddenCells) -> None:
    """Take the distribution of residuals from cells that were hidden from training, where there are enough."""
    found = [residuals(module, batch.x, batch.y) for batch in _hidden(rows)]
    if not found:
        return
    of_columns = torch.cat(found)
    everything = of_columns[~of_columns.isnan()]
    if len(everything) < _FEW_RESIDUALS:
        return
    levels = (torch.arange(N_QUANTILES, dtype=torch.float64, device=everything.device) + 0.5) / N_QUANTILES
    quantiles = []
    for column in of_columns.T:
        own = column[~column.isnan()]
        quantiles.append((own if len(own) >= _FEW_RESIDUALS else everything).quantile(levels))
    module.set_residuals(torch.stack(quantiles))


def _hidden(rows: HiddenCells) -> list[Any]:
    """Batches of the pairs whose targets were hidden from training."""
    index = rows.index[rows.index >= rows.n_rows]
    return [rows.gather(part) for part in index.split(_BLOCK)] if len(index) else []


def residuals(module: Any, x: Tensor, y: Tensor) -> Tensor:
    """Residuals of hidden numbers in conditional standard deviations; NaN for all other cells; ``(n, n_numbers)``."""
    numbers = module.layout.on(x.device).number_cells
    off = (y[:, numbers] - module(x).means).double()
    return (off / module.deviations(x)).masked_fill(~x[:, numbers].isnan(), torch.nan)
