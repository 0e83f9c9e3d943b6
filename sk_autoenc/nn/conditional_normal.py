r"""What the observed cells of a row say about its missing ones, if rows are normally distributed.

With precision matrix :math:`K`, missing cells :math:`m` and observed cells :math:`o` of a centred row

.. math::
    x_m \mid x_o \sim N\left(-K_{mm}^{-1} K_{mo} x_o,\; K_{mm}^{-1}\right),

so the cost of a row grows with the cube of its number of missing cells alone. Rows are computed together with others
that have about as many, each in a block that its own number decides: no result depends on other rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sk_autoenc.nn.blocks import ALIGNED_WIDTH

#: Cells of the blocks that are factorised at once.
_CELLS_AT_ONCE = 2**22

#: Sizes of blocks: few, so that there are few blocks, and no more than twice the number of cells that are missing.
_SIZES = torch.tensor([0, 1, 2, 4, 8, 16, 32, 48, *(k * 2**i for i in range(4, 24) for k in (4, 5, 6, 7))])


class MissingCells(NamedTuple):
    """The missing cells of rows that have about as many."""

    rows: Tensor  # (b,) numbers of the rows
    cells: Tensor  # (b, p) numbers of the columns, those that are missing first
    is_missing: Tensor  # (b, p) whether that cell is missing; the others fill up the block

    @property
    def both_missing(self) -> Tensor:
        """Whether both cells of a pair are missing; ``(b, p, p)``."""
        return self.is_missing.unsqueeze(1) & self.is_missing.unsqueeze(2)

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where the cells are in rows; the indices of a matrix of shape (n, d)."""
        return self.rows.unsqueeze(1), self.cells

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Where pairs of cells are in a covariance; the indices of a matrix of shape (d, d)."""
        return self.cells.unsqueeze(2), self.cells.unsqueeze(1)

    def factor(self, precision: Tensor) -> Tensor:
        """Lower Cholesky factors of the conditional precision, padded with ones, as where a cell is not missing."""
        size = _padded(self.cells.shape[1])
        ones = torch.eye(size, dtype=precision.dtype, device=precision.device).repeat(len(self.rows), 1, 1)
        inner = ones[:, : self.cells.shape[1], : self.cells.shape[1]]
        inner[self.both_missing] = precision[self.pairs][self.both_missing]
        return torch.linalg.cholesky_ex(ones).L

    def means(self, factor: Tensor, pulls: Tensor) -> Tensor:
        """Conditional means of the centred cells, 0 where not missing; ``pulls`` are those of :func:`pulls_of`."""
        pull = self._as_long_as(factor, pulls[self.places] * self.is_missing)
        return -self._cut(torch.cholesky_solve(pull.unsqueeze(-1), factor).squeeze(-1))

    def covariances(self, factor: Tensor) -> Tensor:
        """Conditional covariances, 0 where a cell is not missing; ``(b, p, p)``."""
        return self._cut(torch.cholesky_inverse(factor)[:, : self.cells.shape[1]]) * self.both_missing

    def deviations(self, factor: Tensor, noise: Tensor) -> Tensor:
        """Standard normal ``noise`` of shape (b, p) as draws about the mean, which have these covariances."""
        noise = self._as_long_as(factor, noise)
        drawn = torch.linalg.solve_triangular(factor.mT, noise.unsqueeze(-1), upper=True)
        return self._cut(drawn.squeeze(-1)) * self.is_missing

    def _as_long_as(self, factor: Tensor, cells: Tensor) -> Tensor:
        """Zeros after the cells, up to the size of the factor."""
        return F.pad(cells, (0, factor.shape[-1] - cells.shape[-1]))

    def _cut(self, cells: Tensor) -> Tensor:
        """The inverse."""
        return cells[..., : self.cells.shape[1]]


def _padded(size: int) -> int:
    """The size of a block's matrices: some kernels round a matrix of another size by its place in memory."""
    return int(_SIZES[torch.searchsorted(_SIZES, size)])


def missing_cells(observed: Tensor) -> Iterator[MissingCells]:
    """The missing cells of all rows in blocks; rows that miss none are left out.

    Parameters
    ----------
    observed : Tensor of bool of shape (n, d)
        Which cells are observed.
    """
    # The size of a row's block is decided by its own number of missing cells.
    sizes = _SIZES.to(observed.device)
    sizes = sizes[torch.bucketize((~observed).sum(1), sizes)].clamp_max(observed.shape[1])
    for size in sizes.unique().tolist():
        if size == 0:
            continue
        for rows in (sizes == size).nonzero()[:, 0].split(max(1, _CELLS_AT_ONCE // size**2)):
            seen = observed[rows]
            cells = seen.byte().argsort(dim=1, stable=True)[:, :size]
            yield MissingCells(rows, cells, ~seen.gather(1, cells))


def pulls_of(x: Tensor, precision: Tensor) -> Tensor:
    """Centred rows, 0 where a cell is missing, times the precision.

    Columns are filled up, because a product of another width may round a row by its place among others.
    """
    width = precision.shape[1]
    return (x @ F.pad(precision, (0, -width % ALIGNED_WIDTH)))[:, :width]


def conditional_means(x: Tensor, observed: Tensor, precision: Tensor) -> Tensor:
    """Centred rows with their missing cells at the conditional mean.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Centred rows, 0 where a cell is missing.
    observed : Tensor of bool of shape (n, d)
        Which cells are observed.
    precision : Tensor of shape (d, d)
        Inverse of the covariance.
    """
    filled, pulls = x.clone(), pulls_of(x, precision)
    for block in missing_cells(observed):
        filled[block.places] += block.means(block.factor(precision), pulls)
    return filled


def conditional_variances(observed: Tensor, precision: Tensor) -> Tensor:
    """Variances of missing cells given the observed ones, 0 where observed; ``(n, d)``."""
    variances = torch.zeros(observed.shape, dtype=precision.dtype, device=precision.device)
    for block in missing_cells(observed):
        variances[block.places] += block.covariances(block.factor(precision)).diagonal(dim1=1, dim2=2)
    return variances
