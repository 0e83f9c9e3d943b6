"""Encoded tables as standardised numbers and scaled indicators, without missing cells, and back."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from torch import Tensor

from sk_autoenc.data.incomplete import IncompleteRows
from sk_autoenc.data.scaling import Scaling, fit_robust_scaling, fit_scaling
from sk_autoenc.storage import by_state, instance


@by_state(
    {"cells": instance(IncompleteRows)},
    take=lambda scaling: {"cells": scaling.cells},
    make=lambda plain: TableScaling(plain["cells"]),
)
class TableScaling:
    r"""Encoded rows of a table as numbers that a network compares, each column with a variance of about 1.

    Numbers are standardised robustly. A category with the shares :math:`p_l` becomes the indicators :math:`1_l - p_l`
    of its frequent levels, over the scale of :func:`scale_of_indicators`. A missing cell is 0, the mean.

    Parameters
    ----------
    cells : IncompleteRows
        Fitted; standardises numbers and knows the levels that have an indicator.
    """

    def __init__(self, cells: IncompleteRows):
        self.cells = cells

    @classmethod
    def fit(cls, X: np.ndarray, n_levels: Sequence[int]) -> Self:
        """Fit to encoded rows in random order, NaN where a cell is missing."""
        cells = IncompleteRows(n_levels, "float64").fit(X, np.arange(len(X)))
        assert cells.center is not None
        assert cells.scale is not None
        for column in np.flatnonzero(cells.is_number):
            present = X[~np.isnan(X[:, column])][:, [column]]
            if len(present):
                robust = fit_robust_scaling(present)
                cells.center[column], cells.scale[column] = robust.center[0], np.atleast_1d(robust.scale)[0]
        return cls(cells)

    @property
    def owner(self) -> np.ndarray:
        """The column of the table that each number belongs to."""
        return np.repeat(np.arange(self.cells.n_features), np.maximum(self.cells.n_indicators, 1))

    def apply_clipped(self, X: np.ndarray, limit: float) -> np.ndarray:
        """Numbers of encoded rows, clipped to ±limit; ``(n, len(owner))``, float64."""
        with np.errstate(over="ignore"):
            made = self.cells.to_network(X).astype(np.float64)
        columns = zip(self.cells.frequent, self.cells.shares, parts_of(self.cells.n_indicators), strict=True)
        for levels, shares, part in columns:
            if levels is not None and shares is not None:
                made[:, part] = (made[:, part] - shares[levels]) / scale_of_indicators(shares[levels])
        made[np.isnan(made)] = 0.0
        return made.clip(-limit, limit, out=made)

    def of_columns(self, parts: Tensor) -> Tensor:
        """Sums of a tensor's parts over the numbers of each column; ``(n, len(owner)) -> (n, n_columns)``."""
        return parts.new_zeros(len(parts), self.cells.n_features).index_add_(
            1, parts.new_tensor(self.owner).long(), parts
        )


def scale_of_indicators(shares: np.ndarray) -> float:
    r""":math:`\sqrt{\sum_l p_l (1 - p_l)}`, by which a category counts as one column, however many levels it has."""
    return float(np.sqrt((shares * (1 - shares)).sum())) or 1.0


def parts_of(n_levels: Sequence[int]) -> list[slice]:
    """For each column its place among numbers and indicators; a number has one place, a category one for each level."""
    ends = np.cumsum(np.maximum(n_levels, 1)).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def as_indicators(X: np.ndarray, n_levels: Sequence[int]) -> np.ndarray:
    """Encoded rows as numbers, and an indicator of each level; ``(n, sum(max(n_levels, 1)))``, float64."""
    columns = (X[:, [i]] if n == 0 else (X[:, [i]] == np.arange(n)).astype(np.float64) for i, n in enumerate(n_levels))
    return np.concatenate(list(columns), axis=1)


def from_indicators(made: np.ndarray, n_levels: Sequence[int], shares: np.ndarray) -> np.ndarray:
    """Encoded rows of numbers and indicators: of each category the level with the largest one.

    ``shares`` are the means of indicators; levels that no training row has are left out.
    """
    rows = np.empty((len(made), len(n_levels)))
    for column, (n, part) in enumerate(zip(n_levels, parts_of(n_levels), strict=True)):
        rows[:, column] = (
            made[:, part.start] if n == 0 else np.where(shares[part] > 0, made[:, part], -np.inf).argmax(axis=1)
        )
    return rows


def fit_indicator_scaling(X: np.ndarray, chosen: np.ndarray, n_levels: Sequence[int]) -> Scaling:
    r"""Scaling of :func:`as_indicators` by which each column of the table has a total variance of 1.

    Numbers are standardised, and indicators have the scale of :func:`scale_of_indicators`.
    """
    center, scale = fit_scaling(as_indicators(X, n_levels), chosen, by_feature=True)
    scale = np.array(scale)
    for n, part in zip(n_levels, parts_of(n_levels), strict=True):
        if n:
            scale[part] = scale_of_indicators(center[part])
    return Scaling(center, scale)
