"""Tables with missing cells as a network reads them: standardised numbers, indicators of categories, NaN."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.data.dataset import Pairs
from sk_autoenc.storage import MOST_CELLS, Check, Plain, array, by_state, integer, or_none, short, text

#: Levels of a category that have an indicator: in so many rows at least, and in this share of them; and most cells of a
#: row, for which the rarest levels of all categories have none.
_LEAST_ROWS, _LEAST_SHARE, _MOST_CELLS = 5, 0.005, 128

#: Bounds of what losses of categories are divided by, and of probabilities in them.
_LEAST_ENTROPY, _LEAST_PROBABILITY = 0.2, 1e-12


class HiddenCells(Pairs):
    """Rows with missing cells, and what is to be filled; NaN for what is missing, and for what is no target.

    The first ``n_rows`` pairs are to learn from: what may be read, and the same as the target. Where cells are hidden
    from training, as many pairs follow: the same rows, with the hidden cells alone as the target.
    """

    def __init__(self, data: Tensor, target: Tensor, index: Tensor | None = None, n_rows: int | None = None):
        super().__init__(data, target, index)
        self.n_rows = len(data) if n_rows is None else n_rows

    @classmethod
    def of(cls, rows: Tensor, hidden: Tensor | None = None) -> Self:
        """All rows, some of whose cells may be hidden from training."""
        if hidden is None:
            return cls(rows, rows)
        shown, targets = rows.masked_fill(hidden, torch.nan), rows.masked_fill(~hidden, torch.nan)
        return cls(torch.cat([shown, shown]), torch.cat([shown, targets]), n_rows=len(rows))

    def subset(self, index: Tensor) -> Self:
        return type(self)(self.data, self.target, index, self.n_rows)

    def cpu(self) -> Self:
        return type(self)(self.data.cpu(), self.target.cpu(), self.index.cpu(), self.n_rows)

    def known_cells(self) -> Tensor:
        """Each row once, with all its cells that are a target of these pairs."""
        table = self.target[self.index[self.index < self.n_rows]]
        of_hidden = self.index[self.index >= self.n_rows]
        if len(of_hidden) and len(table):
            table = torch.where(table.isnan(), self.target[of_hidden], table)
        return table


def _tuple_of_levels(value: Any, where: str) -> None:
    """For each column its number of levels."""
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"{where} must be a tuple of one integer or more, got {short(value)}.")
    for item in value:
        integer(0, MOST_CELLS)(item, where)


def _list_of(check: Check) -> Check:
    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {short(value)}.")
        for i, item in enumerate(value):
            or_none(check)(item, f"{where}[{i}]")

    return check_all


def _check_together(kind: type, plain: Plain) -> None:
    """Refuse what does not go with the number of columns and of levels."""
    n_levels = plain["n_levels"]
    for name in ("center", "scale", "low", "high", "frequent", "shares"):
        if len(plain[name]) != len(n_levels):
            raise ValueError(f"{kind.__name__}.{name} has {len(plain[name])} entries for {len(n_levels)} columns.")
    for column, (n, levels, shares) in enumerate(zip(n_levels, plain["frequent"], plain["shares"], strict=True)):
        if n == 0:
            if levels is not None or shares is not None:
                raise ValueError(f"{kind.__name__} has levels of column {column}, which are numbers.")
            continue
        is_set = levels is not None and len(levels) and len(np.unique(levels)) == len(levels) and levels.max() < n
        if not is_set:
            raise ValueError(f"{kind.__name__}.frequent[{column}] must hold different integers below {n}.")
        if shares is None or len(shares) != n or abs(shares.sum() - 1) > 1e-6:
            raise ValueError(f"{kind.__name__}.shares[{column}] must hold {n} frequencies with the sum 1.")


@by_state(
    {
        "n_levels": _tuple_of_levels,
        "dtype": text("float32|float64"),
        "center": array("f8", None),
        "scale": array("f8", None, above=0.0),
        "low": array("f8", None),
        "high": array("f8", None),
        "frequent": _list_of(array("i8", None, low=0)),
        "shares": _list_of(array("f8", None, low=0.0)),
    },
    check=_check_together,
    take=lambda rows: rows.state,
    make=lambda plain: IncompleteRows(**plain),
)
class IncompleteRows:
    """Rows with missing cells as the network reads them, and back.

    Parameters
    ----------
    n_levels : sequence of int
        For each column its number of levels, which are numbered from 0; 0 for a column of numbers.
    dtype : str
        Dtype of the training rows.
    hidden : ndarray of bool of shape (n, n_columns) or None
        Cells that are hidden from training.
    center, scale, low, high : ndarray of float or None
        Of numbers their mean, standard deviation and range; 0, 1, 0, 0 for categories. None before :meth:`fit`.
    frequent : list of (ndarray of int or None)
        Of each category the levels that have an indicator, the most frequent ones first.
    shares : list of (ndarray or None)
        Of each category the frequency of each level.
    """

    def __init__(
        self,
        n_levels: Any,
        dtype: str,
        *,
        hidden: np.ndarray | None = None,
        center: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        frequent: list[np.ndarray | None] | None = None,
        shares: list[np.ndarray | None] | None = None,
    ):
        self.n_levels, self.dtype, self.hidden = tuple(n_levels), dtype, hidden
        self.center, self.scale, self.low, self.high = center, scale, low, high
        self.frequent, self.shares = frequent or [], shares or []

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.n_levels)

    @property
    def n_indicators(self) -> tuple[int, ...]:
        """For each column its number of indicators; 0 for a number."""
        return tuple(0 if levels is None else len(levels) for levels in self.frequent)

    @property
    def is_number(self) -> np.ndarray:
        """Which columns are numbers."""
        return np.array([n == 0 for n in self.n_levels], dtype=bool)

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Take means, scales, ranges and frequencies from the cells that are not hidden."""
        seen = X.astype(np.float64) if self.hidden is None else np.where(self.hidden, np.nan, X.astype(np.float64))
        is_number, n = self.is_number, self.n_features
        self.center, self.scale, self.low, self.high = np.zeros(n), np.ones(n), np.zeros(n), np.zeros(n)
        for column in np.flatnonzero(is_number):
            values = seen[~np.isnan(seen[:, column]), column]
            if len(values):
                self.center[column], self.low[column], self.high[column] = values.mean(), values.min(), values.max()
                deviation = (values / (size := np.abs(values).max() or 1.0)).std() * size
                self.scale[column] = deviation if deviation > 0 else 1.0
        counts = [
            None if n == 0 else np.bincount(column[~np.isnan(column)].astype(int), minlength=n)
            for n, column in zip(self.n_levels, seen.T, strict=True)
        ]
        # Levels of a category without any observed cell are equally frequent.
        self.shares = [None if of is None else of / of.sum() if of.any() else of + 1 / len(of) for of in counts]
        self.frequent = _frequent_levels(counts, n_cells=int(is_number.sum()))
        return self

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> HiddenCells:
        """All rows as the network reads them, on the device."""
        rows = torch.from_numpy(self.to_network(X))
        if self.hidden is None:
            return HiddenCells.of(rows.to(device))
        hidden = np.repeat(self.hidden, np.maximum(self.n_indicators, 1), axis=1)
        return HiddenCells.of(rows.to(device), torch.from_numpy(hidden).to(device))

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Rows as the network reads them, float32."""
        assert self.center is not None
        assert self.scale is not None
        parts = []
        for column, levels in enumerate(self.frequent):
            values = X[:, column].astype(np.float64)
            if levels is None:
                parts.append(((values - self.center[column]) / self.scale[column])[:, None])
            else:
                is_level = (values[:, None] == levels).astype(np.float64)
                parts.append(np.where(np.isnan(values)[:, None], np.nan, is_level))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def numbers(self, means: np.ndarray) -> np.ndarray:
        """Numbers in the units of the table, within the range of the training cells."""
        assert self.center is not None
        assert self.scale is not None
        assert self.low is not None
        assert self.high is not None
        at = self.is_number
        made = means.astype(np.float64) * self.scale[at] + self.center[at]
        return made.clip(self.low[at], self.high[at])

    def level_probabilities(self, said: np.ndarray) -> dict[int, np.ndarray]:
        """For each category, by its column, the probability of each level.

        Rare levels share the probability of their class by frequency. ``said`` are the means of numbers and the
        probabilities of classes, ``(n, n_numbers + n_classes)``.
        """
        made, start = {}, int(self.is_number.sum())
        for column, (levels, shares) in enumerate(zip(self.frequent, self.shares, strict=True)):
            if levels is None or shares is None:
                continue
            rare = shares.copy()
            rare[levels] = 0
            of_class = said[:, start : start + len(levels) + 1].astype(np.float64)
            found = of_class[:, -1:] * (rare / rare.sum() if rare.any() else rare)
            found[:, levels] = of_class[:, :-1]
            made[column] = found / found.sum(axis=1, keepdims=True)
            start += len(levels) + 1
        return made

    def as_rows(self, said: np.ndarray) -> np.ndarray:
        """Means of numbers, and the most probable level of categories; ``(n, n_columns)``, float64."""
        rows = np.empty((len(said), self.n_features))
        rows[:, self.is_number] = self.numbers(said[:, : int(self.is_number.sum())])
        for column, probabilities in self.level_probabilities(said).items():
            rows[:, column] = probabilities.argmax(axis=1)
        return rows

    def losses(self, X: np.ndarray, said: np.ndarray) -> np.ndarray:
        """Loss of every cell that is observed: 1 on average where the columns' means and frequencies are said.

        Of numbers it is the squared error in units of the variance, of categories the cross-entropy in units of the
        entropy of the frequencies.
        """
        assert self.scale is not None
        losses = np.zeros(X.shape)
        made = self.numbers(said[:, : int(self.is_number.sum())])
        losses[:, self.is_number] = np.square((X[:, self.is_number] - made) / self.scale[self.is_number])
        for column, probabilities in self.level_probabilities(said).items():
            levels = np.nan_to_num(X[:, column]).astype(int)
            chosen = probabilities[np.arange(len(X)), levels].clip(_LEAST_PROBABILITY)
            losses[:, column] = -np.log(chosen) / self.entropy(column)
        return losses

    def entropy(self, column: int) -> float:
        """Entropy of the levels' frequencies of a category, in nats; not below a small bound."""
        shares = self.shares[column]
        assert shares is not None
        seen = shares[shares > 0]
        return max(float(-(seen * np.log(seen)).sum()), _LEAST_ENTROPY)

    @property
    def entropies(self) -> list[float]:
        """The entropy of each category."""
        return [self.entropy(int(column)) for column in np.flatnonzero(~self.is_number)]

    @property
    def state(self) -> dict[str, Any]:
        """The arguments of ``__init__``, for files without pickle; what was hidden in training is not among them."""
        names = ("n_levels", "dtype", "center", "scale", "low", "high", "frequent", "shares")
        return {name: getattr(self, name) for name in names}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "hidden": None}


def _frequent_levels(counts: list[np.ndarray | None], n_cells: int) -> list[np.ndarray | None]:
    """Levels of every category that have an indicator: one at least, and of two levels one."""
    order = [None if of is None else np.argsort(-of, kind="stable") for of in counts]
    least = [0 if of is None else max(_LEAST_ROWS, _LEAST_SHARE * of.sum()) for of in counts]
    n_kept = []
    for of, sorted_levels, bound in zip(counts, order, least, strict=True):
        if of is None or sorted_levels is None:
            n_kept.append(0)
        else:
            n_frequent = int((of >= bound).sum())
            n_kept.append(1 if (of > 0).sum() <= 2 else max(1, n_frequent))
    while n_cells + sum(n_kept) > _MOST_CELLS and max(n_kept, default=0) > 1:
        # The rarest of the levels that still have an indicator loses it.
        candidates = [i for i, n in enumerate(n_kept) if n > 1]
        rarest = min(candidates, key=lambda i: counts[i][order[i][n_kept[i] - 1]])  # type: ignore[index]
        n_kept[rarest] -= 1
    return [None if levels is None else levels[:n] for levels, n in zip(order, n_kept, strict=True)]
