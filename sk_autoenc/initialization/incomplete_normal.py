r"""A normal distribution fitted to rows with missing cells, shrunk as far as hidden cells ask for.

The likelihood of the observed cells is maximised by EM [1]_. The expectation step fills cells with their conditional
means and adds up conditional covariances, the maximisation step takes mean and covariance :math:`S` of the filled
rows. The covariance is then drawn to its diagonal,

.. math:: \Sigma = (1 - \lambda) S + \lambda \operatorname{diag}(S),

so it is positive definite also with more columns than rows. The shrinkage :math:`\lambda` is the one with which hidden
cells are filled best, cells that EM did not see. At :math:`\lambda = 1` every cell is filled with its column's mean.

References
----------
.. [1] Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM algorithm. Journal of the Royal
   Statistical Society B 39; Little, Rubin (2019). Statistical analysis with missing data, chapter 11.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sk_autoenc.nn.conditional_normal import MissingCells, conditional_means, missing_cells, pulls_of

#: Shrinkages that are tried, from the strongest on, and after how many that fill no better the search ends.
SHRINKAGES = (1.0, 0.7, 0.45, 0.3, 0.2, 0.13, 0.08, 0.05, 0.025, 0.012, 0.005, 0.002, 0.001)
_MISSES = 2

#: Share of the observed cells that are hidden for the search, and how many hidden cells make it precise enough: small
#: tables are searched several times.
_HIDDEN, _ENOUGH_CELLS, _MOST_SEARCHES = 0.15, 2000, 4

#: Rows of the search at most; and multiplications of a step, of the search and of EM, beyond which rows are left out,
#: but never more than leaves so many for each column.
_SEARCH_ROWS, _SEARCH_WORK, _WORK, _ROWS_PER_COLUMN = 2000, 3e8, 3e9, 5

#: Steps of EM for each shrinkage that is tried, beginning where the one before ended; and in the end.
_SEARCH_STEPS, _STEPS = 4, 60

#: Smallest variance, in units of the scaled columns: that of a constant column.
_LEAST_VARIANCE = 1e-6


class IncompleteNormal(NamedTuple):
    """A normal distribution of rows, and how it was found."""

    mean: Tensor  # (d,)
    covariance: Tensor  # (d, d)
    n_iter: int  # steps of EM

    @property
    def precision(self) -> Tensor:
        """The inverse of the covariance."""
        return torch.linalg.inv(self.covariance)


def fit_incomplete_normal(
    rows: Tensor,
    shrinkage: float = 0.0,
    *,
    start: IncompleteNormal | None = None,
    max_iter: int = _STEPS,
    tol: float = 1e-3,
    seed: int = 0,
) -> IncompleteNormal:
    """EM for rows with missing cells.

    Parameters
    ----------
    rows : Tensor of float64 of shape (n, d)
        Rows in units in which columns are comparable, NaN where a cell is missing.
    shrinkage : float
        How far the covariance is drawn to its diagonal, from 0 to 1.
    start : IncompleteNormal or None
        Where EM begins; None: at the observed cells' means and variances.
    max_iter : int
        Largest number of steps.
    tol : float
        EM ends when no mean changes by more than this, in standard deviations, and no correlation.
    seed : int
        Draws rows where all would take too long.
    """
    rows = some_rows(rows, _WORK, torch.Generator().manual_seed(seed))
    observed = ~rows.isnan()
    rows = rows.nan_to_num(0.0)
    normal = _independent(rows, observed) if start is None else start
    blocks = list(missing_cells(observed))
    for n_iter in range(1, max_iter + 1):
        new = _em_step(rows, observed, blocks, normal, shrinkage)._replace(n_iter=n_iter)
        deviation = new.covariance.diagonal().sqrt()
        moved = torch.cat(
            [
                ((new.mean - normal.mean) / deviation).abs(),
                ((new.covariance - normal.covariance) / torch.outer(deviation, deviation)).abs().flatten(),
            ]
        )
        normal = new
        if float(moved.max()) <= tol:
            break
    return normal


def some_rows(rows: Tensor, work: float, generator: torch.Generator) -> Tensor:
    """The rows, or as many of them as a step of EM may take."""
    cost = float((rows.isnan().sum(1).double() ** 3).mean()) + rows.shape[1] ** 2
    n = max(int(work / cost), _ROWS_PER_COLUMN * rows.shape[1])
    return rows if n >= len(rows) else rows[torch.randperm(len(rows), generator=generator)[:n].to(rows.device)]


def _independent(rows: Tensor, observed: Tensor) -> IncompleteNormal:
    """Means and variances of the observed cells."""
    n = observed.sum(0).clamp_min(1)
    mean = rows.sum(0) / n
    variance = torch.where(observed, rows - mean, 0.0).square().sum(0) / n
    return IncompleteNormal(mean, torch.diag(variance.clamp_min(_LEAST_VARIANCE)), 0)


def _em_step(
    rows: Tensor, observed: Tensor, blocks: list[MissingCells], normal: IncompleteNormal, shrinkage: float
) -> IncompleteNormal:
    """One step of EM; the covariance is shrunk."""
    precision = normal.precision
    x = torch.where(observed, rows - normal.mean, 0.0)
    filled, pulls, uncertain = x.clone(), pulls_of(x, precision), torch.zeros_like(precision)
    for block in blocks:
        factor = block.factor(precision)
        filled[block.places] += block.means(factor, pulls)
        uncertain.index_put_(block.pairs, block.covariances(factor), accumulate=True)
    shift = filled.mean(0)
    deviations = filled - shift
    covariance = (deviations.T @ deviations + uncertain) / len(rows)
    return IncompleteNormal(normal.mean + shift, shrunk(covariance, shrinkage), normal.n_iter)


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """The covariance drawn to its diagonal, on which no variance is below a small bound."""
    variances = covariance.diagonal().clamp_min(_LEAST_VARIANCE)
    made = (1 - shrinkage) * covariance
    return made.diagonal_scatter(variances)


def choose_shrinkage(rows: Tensor, column_of: Tensor, generator: torch.Generator) -> float:
    """The shrinkage with which hidden cells are filled best.

    Squared errors are in units of their column's variance. The best shrinkage falls with the number of rows, so where
    some of them are searched, the odds of what was found are multiplied by their share.

    Parameters
    ----------
    rows : Tensor of float64 of shape (n, d)
        As of :func:`fit_incomplete_normal`.
    column_of : Tensor of int of shape (d,)
        Which columns are hidden together, as the indicators of one category are.
    generator : Generator
        Draws rows and hidden cells.
    """
    n_rows = len(rows)
    if n_rows > _SEARCH_ROWS:
        rows = rows[torch.randperm(n_rows, generator=generator)[:_SEARCH_ROWS]]
    rows = some_rows(rows, _SEARCH_WORK, generator)
    share, errors = len(rows) / n_rows, torch.zeros(len(SHRINKAGES), dtype=rows.dtype)
    n_cells = _HIDDEN * float((~rows.isnan()).sum())
    for _ in range(int(min(max(1, -(-_ENOUGH_CELLS // max(n_cells, 1))), _MOST_SEARCHES))):
        errors += _errors_of_hidden_cells(rows, column_of, generator)
    found = SHRINKAGES[int(errors.argmin())]
    return found if share == 1 else share * found / (share * found + 1 - found)


def _errors_of_hidden_cells(rows: Tensor, column_of: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of hidden cells for every shrinkage; infinite where it was not tried."""
    hidden = hide(rows.isnan(), column_of, _HIDDEN, generator)
    shown = rows.masked_fill(hidden, torch.nan)
    is_hidden = hidden & ~rows.isnan()
    errors = torch.full((len(SHRINKAGES),), torch.inf, dtype=rows.dtype)
    normal, misses = None, 0
    for i, shrinkage in enumerate(SHRINKAGES):
        normal = fit_incomplete_normal(shown, shrinkage, start=normal, max_iter=_SEARCH_STEPS, tol=1e-3)
        filled = fill(shown, normal)
        scale = normal.covariance.diagonal().clamp_min(1e-3)
        errors[i] = ((filled - rows).square() / scale)[is_hidden].mean() if is_hidden.any() else 0.0
        misses = misses + 1 if i and errors[i] >= errors[:i].min() else 0
        if misses > _MISSES:
            break
    return errors


def hide(missing: Tensor, column_of: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Cells to hide: this share of each column's observed cells, all cells of a category together; ``(n, d)``."""
    n_columns = int(column_of.max()) + 1
    chance = torch.rand(len(missing), n_columns, generator=generator)[:, column_of]
    return (chance < share) & ~missing


def fill(rows: Tensor, normal: IncompleteNormal) -> Tensor:
    """Rows with their missing cells at the conditional mean."""
    observed = ~rows.isnan()
    x = torch.where(observed, rows - normal.mean, 0.0)
    return torch.where(observed, rows, conditional_means(x, observed, normal.precision) + normal.mean)
