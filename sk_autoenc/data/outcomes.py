r"""What a cell of a table can be, as numbered outcomes: levels, values that repeat, quantile bins, and a missing cell.

The distribution of a column of numbers is a mixture: values that many rows share (zeros, heaps) have a probability
each, and all others lie in bins, uniformly. So

.. math:: \log p(x) = \log P(\text{outcome of } x) - \log w(x),

where w is 1 for levels, and for numbers the width of the bin in the units of the table: of integers the number of
integers in it, of floats its length. Floats with few decimals are integers of their last decimal. A value outside all
bins lies in a tail of the bin next to it, an exponential one, so that the density is proper on the whole line.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from sk_autoenc.data.columns import Column
from sk_autoenc.storage import array, by_state, flag, integer, number

#: Values of more than this share of the rows have an outcome of their own.
ATOM_SHARE = 0.015

#: Rows of a bin at least, where there are so many.
_ROWS_PER_BIN = 20

#: Rows of the outermost bins, where there are so many bins that far values matter.
_ROWS_AT_END, _FEWEST_BINS_WITH_TAILS = 5, 10


def _check_outcomes(kind: type, plain: dict[str, Any]) -> None:
    """Refuse what is not ascending."""
    atoms, edges = plain["atoms"], plain["edges"]
    if (atoms[1:] <= atoms[:-1]).any() or (edges[1:] <= edges[:-1]).any() or len(edges) == 1:
        raise ValueError(f"{kind.__name__}: atoms and edges must ascend, and there must be no edge or two and more.")
    if plain["n_levels"] and (len(atoms) or len(edges)):
        raise ValueError(f"{kind.__name__} has levels, and atoms or edges.")
    if plain["tick"] < 0 or plain["scale"] <= 0 or not 0 < plain["tail"] < 1:
        raise ValueError(f"{kind.__name__}: tick must be 0 or more, scale above 0, and tail within (0, 1).")
    if not (plain["n_levels"] or len(edges) or plain["has_missing"]):
        raise ValueError(f"{kind.__name__} must have an outcome.")


@by_state(
    {
        "n_levels": integer(),
        "atoms": array("f8", None),
        "edges": array("f8", None),
        "tick": number(),
        "scale": number(),
        "tail": number(),
        "has_missing": flag,
    },
    check=_check_outcomes,
    take=lambda outcomes: outcomes._asdict(),
    make=lambda plain: Outcomes(**plain),
)
class Outcomes(NamedTuple):
    """The outcomes of a column, in this order: levels, or atoms and bins; then a missing cell.

    Attributes
    ----------
    n_levels : int
        Number of levels; 0 for numbers.
    atoms : ndarray
        Values with an outcome of their own, ascending; in ticks, if there is one.
    edges : ndarray
        Edges of the bins, ascending; in ticks, halfway between two.
    tick : float
        Distance between neighbouring numbers; 0 if there is none.
    scale : float
        Mean distance of values in the tails from the nearest bin, in the units of the edges.
    tail : float
        Share of an outermost bin that lies in its tail, or in its two tails if there is only one bin.
    has_missing : bool
        Whether a missing cell is an outcome.
    """

    n_levels: int
    atoms: np.ndarray
    edges: np.ndarray
    tick: float
    scale: float
    tail: float
    has_missing: bool

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return max(len(self.edges) - 1, 0)

    @property
    def n_observed(self) -> int:
        """Number of outcomes that are no missing cell."""
        return self.n_levels + len(self.atoms) + self.n_bins

    @property
    def n_outcomes(self) -> int:
        """Number of all outcomes."""
        return self.n_observed + self.has_missing

    # -- from cells to outcomes, and back

    def encode(self, values: np.ndarray) -> np.ndarray:
        """The number of each cell's outcome; NaN for a missing cell, if that is no outcome."""
        missing = np.isnan(values)
        if self.n_levels or not self.n_bins:
            found = values.copy()
        else:
            ticks = self._ticks(np.where(missing, self.edges[0], values))
            found = np.searchsorted(self.edges[1:-1], ticks, side="right") + float(len(self.atoms))
            place = np.searchsorted(self.atoms, ticks).clip(max=max(len(self.atoms) - 1, 0))
            if len(self.atoms):
                found = np.where(self.atoms[place] == ticks, place, found)
        found[missing] = self.n_observed if self.has_missing else np.nan
        return found

    def decode(self, outcomes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Values of outcomes, NaN for a missing cell; ``places`` within [0, 1) say where in its bin a value lies."""
        numbers = np.where(np.isnan(outcomes), self.n_observed, outcomes).astype(np.int64)
        missing = numbers >= self.n_observed
        if not self.n_bins:
            return np.where(missing, np.nan, outcomes)
        bins = (numbers - len(self.atoms)).clip(0, self.n_bins - 1)
        low, high = self.edges[bins], self.edges[bins + 1]
        values = low + places * (high - low)
        if len(self.atoms):
            is_atom = numbers < len(self.atoms)
            values = np.where(is_atom, self.atoms[numbers.clip(max=len(self.atoms) - 1)], values)
        values = np.floor(values + 0.5) * self.tick if self.tick else values  # the lower edge belongs to the bin
        return np.where(missing, np.nan, values)

    def log_width(self, values: np.ndarray) -> np.ndarray:
        """The logarithm of w(x) of every cell; 0 where it is missing."""
        if not self.n_bins:
            return np.zeros(len(values))
        missing = np.isnan(values)
        ticks = self._ticks(np.where(missing, self.edges[0], values))
        outcomes = self.encode(np.where(missing, self.edges[0], values)).astype(np.int64)
        widths = np.concatenate([np.ones(len(self.atoms)), self._widths()])
        outermost = np.isin(outcomes - len(self.atoms), (0, self.n_bins - 1))
        found = np.log(widths[outcomes]) - np.where(outermost, math.log1p(-self.tail), 0.0)
        beyond = np.maximum(self.edges[0] - ticks, ticks - self.edges[-1])
        of_each_tail = self.tail if self.n_bins > 1 else self.tail / 2  # a single bin has both tails
        found = np.where(beyond > 0, beyond / self.scale + math.log(self.scale / of_each_tail), found)
        unit = math.log(self.tick) if self.tick else 0.0
        return np.where(missing, 0.0, found + unit)

    def _ticks(self, values: np.ndarray) -> np.ndarray:
        return np.round(values / self.tick) if self.tick else values

    def _widths(self) -> np.ndarray:
        """Widths of the bins, in ticks that are no atoms."""
        widths = np.diff(self.edges)
        if not self.tick:
            return widths
        inside = np.histogram(self.atoms, self.edges)[0] if len(self.atoms) else 0
        return np.maximum(widths - inside, 1.0)

    @property
    def ranks(self) -> tuple[int, ...] | None:
        """The rank of the value of every outcome that is no missing cell; None for levels."""
        if not self.n_bins:
            return None
        low, high = self.bounds
        order = np.argsort(np.argsort((low + high) / 2, kind="stable"), kind="stable")
        return tuple(order.tolist())

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of every outcome that is no missing cell, as encoded."""
        if not self.n_bins:
            numbers = np.arange(self.n_levels, dtype=float)
            return numbers, numbers
        unit = self.tick or 1.0
        inner = 0.5 if self.tick else 0.0
        low = np.concatenate([self.atoms, self.edges[:-1] + inner]) * unit
        return low, np.concatenate([self.atoms, self.edges[1:] - inner]) * unit


def _cuts(n: int, n_bins: int) -> np.ndarray:
    """Numbers of sorted values at which bins end: equal shares, and ever fewer values towards both ends.

    A column with far values has outermost bins that are wide, in which most of the width holds hardly any row.
    """
    cuts = np.round(np.linspace(0, n, n_bins + 1)[1:-1]).astype(int)
    if n_bins < _FEWEST_BINS_WITH_TAILS:
        return cuts
    steps = _ROWS_AT_END * 2 ** np.arange(32)
    steps = steps[steps < cuts[0]]
    return np.unique(np.concatenate([steps, cuts, n - steps]))


def fit_outcomes(column: Column, values: np.ndarray, *, max_bins: int, draws_missing: bool) -> Outcomes:
    """The outcomes of a column, by the cells of training rows, NaN where they are missing.

    ``draws_missing``: a missing cell is an outcome, if there are such cells.
    """
    missing = np.isnan(values)
    nothing = np.zeros(0)
    plain = Outcomes(column.n_levels, nothing, nothing, 0.0, 1.0, 0.5, draws_missing and column.share_missing > 0)
    if not column.is_number:
        return plain if column.n_levels else plain._replace(has_missing=True)
    present = values[~missing]
    if not len(present):  # of the training rows; the table has seen others
        present = np.array([column.low, column.high])
    ticks = np.sort(np.round(present / column.tick) if column.tick else present)
    different, counts = np.unique(ticks, return_counts=True)
    is_atom = counts > max(ATOM_SHARE * len(ticks), 1)
    atoms, rest = different[is_atom], ticks[~np.isin(ticks, different[is_atom])]
    half = 0.5 if column.tick else 0.0
    n_bins = int(np.clip(len(rest) // _ROWS_PER_BIN, 1, max_bins))
    cuts = _cuts(len(rest), n_bins)
    inner = rest[cuts - 1] + half if column.tick else (rest[cuts - 1] + rest[cuts]) / 2
    low, high = ticks[0] - half, ticks[-1] + half
    if low == high:  # one value in these rows
        low, high = low - 0.5, high + 0.5
    inner = np.unique(inner)
    edges = np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])
    return plain._replace(
        atoms=atoms,
        edges=edges,
        tick=column.tick,
        scale=float(ticks.std()) or 1.0,
        tail=1 / (len(rest) / n_bins + 2),
    )
