"""Tables as the network reads them, as numbers of outcomes, and back; and what is given of rows that are drawn."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch

from sk_autoenc.data.columns import Column
from sk_autoenc.data.frames import cells_of
from sk_autoenc.data.outcomes import Outcomes, fit_outcomes
from sk_autoenc.data.preprocessing import FIELDS, RowPreprocessor, check_together
from sk_autoenc.data.tabular import Table
from sk_autoenc.storage import Check, Plain, by_state, flag, instance, integer, short

#: The largest number of bins of a column.
MAX_BINS = 100


def _is_outcomes(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(item, Outcomes) for item in value):
        raise ValueError(f"{where} must be a list of outcomes, got {short(value)}.")


#: What stands in files of tables.
TABULAR: dict[str, Check] = {
    **FIELDS,
    "table": instance(Table),
    "outcomes": _is_outcomes,
    "max_bins": integer(1),
    "draws_missing": flag,
}


def check_tabular(kind: type, plain: Plain) -> None:
    """Refuse outcomes that are not those of the table's columns."""
    check_together(kind, plain)
    columns, outcomes = plain["table"].columns_, plain["outcomes"]
    if len(columns) != len(outcomes) or plain["shape"] != (len(columns),):
        raise ValueError(f"{kind.__name__} has {len(columns)} columns, but outcomes of {len(outcomes)}.")
    for column, of_column in zip(columns, outcomes, strict=True):
        if column.n_levels != of_column.n_levels or column.is_number != bool(of_column.n_bins):
            raise ValueError(f"{kind.__name__}: outcomes do not fit column {short(column.name)}.")


class Given(NamedTuple):
    """What may be drawn of a column.

    Attributes
    ----------
    shares : ndarray of shape (n_outcomes,)
        Which share of each outcome is allowed.
    low, high : ndarray of shape (n_outcomes,)
        Places in each bin between which values lie.
    value : float or None
        The value itself, if there is only one.
    """

    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    value: float | None = None


@by_state(
    TABULAR,
    check=check_tabular,
    take=lambda rows: rows.state,
    make=lambda plain: OutcomeRows.from_state(plain),
)
class OutcomeRows(RowPreprocessor):
    """Encoded rows of a table as numbers of outcomes, float32, and back; fractions are places within bins.

    Parameters
    ----------
    likelihood : Likelihood
        That of such rows; by :meth:`fit` it gets their outcomes.
    shape, dtype, **options
        As for :class:`RowPreprocessor`.
    table : Table
        Fitted; what has encoded the rows.
    outcomes : list of Outcomes or None
        The outcomes of each column; None before :meth:`fit`.
    max_bins : int
        Largest number of bins of a column.
    draws_missing : bool
        Whether a missing cell is an outcome of columns that have such cells; otherwise it stays NaN.
    """

    is_table = True

    def __init__(
        self,
        likelihood: Any,
        shape: tuple[int, ...],
        dtype: str,
        *,
        table: Table,
        outcomes: list[Outcomes] | None = None,
        max_bins: int = MAX_BINS,
        draws_missing: bool = False,
        **options: Any,
    ):
        super().__init__(likelihood, shape, dtype, **options)
        self.table, self.outcomes = table, outcomes or []
        self.max_bins, self.draws_missing = max_bins, draws_missing

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Find the outcomes of each column; only once, as networks are built for them."""
        if self.outcomes:
            return self
        self.outcomes = [
            fit_outcomes(column, X[chosen, position], max_bins=self.max_bins, draws_missing=self.draws_missing)
            for position, column in enumerate(self.table.columns_)
        ]
        ranks = [None if found is None else list(found) for found in self.ranks]
        self.likelihood = type(self.likelihood)([found.n_outcomes for found in self.outcomes], ranks)
        return self

    @property
    def ranks(self) -> list[tuple[int, ...] | None]:
        """The rank of each outcome of every column that has an order."""
        columns = zip(self.table.columns_, self.outcomes, strict=True)
        return [tuple(range(o.n_levels)) if column.kind == "ordered" else o.ranks for column, o in columns]

    def prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        for position, outcomes in enumerate(self.outcomes):
            out[:, position] = outcomes.encode(block[:, position])

    def to_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        made = np.empty(rows.shape)
        for position, outcomes in enumerate(self.outcomes):
            whole = np.floor(rows[:, position])
            made[:, position] = outcomes.decode(whole, rows[:, position].astype(np.float64) - whole)
        return made  # whatever dtype codes have: dates and large integers need float64

    def log_scale(self, X: np.ndarray) -> np.ndarray:
        return sum((o.log_width(X[:, j]) for j, o in enumerate(self.outcomes)), np.zeros(len(X)))

    def n_scaled(self, X: np.ndarray) -> np.ndarray:
        return np.zeros(len(X), dtype=int)

    def placed(self, outcomes: np.ndarray, conditions: Mapping[int, "Given"], generator: torch.Generator) -> np.ndarray:
        """Values of drawn outcomes, each at a random place within its bin, and within what is given."""
        places = torch.rand(outcomes.shape, generator=generator, dtype=torch.float64).numpy()
        made = np.empty(outcomes.shape)
        for position, of_column in enumerate(self.outcomes):
            place = places[:, position]
            if position in conditions:
                low, high = (
                    conditions[position].low[outcomes[:, position]],
                    conditions[position].high[outcomes[:, position]],
                )
                place = low + place * (high - low)
            made[:, position] = of_column.decode(outcomes[:, position], place)
        return made

    # -- conditions

    def given(self, conditions: Mapping[Any, Any]) -> dict[int, Given]:
        """What may be drawn of the columns that conditions name; ``ValueError``, which names it, for any other."""
        names, found = self.table.names, {}
        for name, condition in conditions.items():
            if name not in names:
                raise ValueError(f"given has {name!r}, which is no column of the table.")
            position = names.index(name)
            column, outcomes = self.table.columns_[position], self.outcomes[position]
            try:
                given = _given_of(column, outcomes, condition)
            except (ValueError, TypeError) as error:
                raise ValueError(f"given: {error}") from error
            if not given.shares.any():
                raise ValueError(f"given: no training row can have {condition!r:.60} in column {name!r}.")
            found[position] = given
        return found

    @property
    def state(self) -> dict[str, Any]:
        names = ("table", "outcomes", "max_bins", "draws_missing")
        return {**super().state, **{name: getattr(self, name) for name in names}}


def _given_of(column: Column, outcomes: Outcomes, condition: Any) -> Given:
    """What may be drawn of one column: a value, values of a list, numbers from and to a bound, or a missing cell."""
    is_range = isinstance(condition, tuple)
    if is_range and (len(condition) != 2 or not column.is_number):
        raise ValueError(
            f"column {column.name!r} must have a value, a list of values, or, if it holds numbers, a tuple of the "
            f"lowest and the highest, got {condition!r:.60}."
        )
    shares = np.zeros(outcomes.n_outcomes)
    low, high = np.zeros(outcomes.n_outcomes), np.ones(outcomes.n_outcomes)
    values = [condition] if np.ndim(condition) == 0 else list(condition)
    is_missing = [value is None or value is pd.NaT or value is pd.NA or value != value for value in values]
    if is_range:
        bounds = [fill if m else _encoded(column, v) for v, m, fill in zip(values, is_missing, _ENDS, strict=True)]
        if bounds[0] > bounds[1]:
            raise ValueError(f"column {column.name!r} must have the lowest before the highest, got {condition!r:.60}.")
        low, high, shares[: outcomes.n_observed] = _cut(outcomes, *bounds)
        return Given(shares, low, high)
    if any(is_missing) and outcomes.has_missing:
        shares[-1] = 1.0
    elif any(is_missing):
        raise ValueError(f"column {column.name!r} had no missing cells in fit, so none can be given.")
    codes = [_encoded(column, value) for value, missing in zip(values, is_missing, strict=True) if not missing]
    for code in codes:
        if column.is_number and not _can_be(column, code):
            continue
        shares[int(outcomes.encode(np.array([code]))[0])] = 1.0
    if not column.is_number:
        return Given(shares, low, high)
    if len(values) > 1:
        raise ValueError(f"column {column.name!r} holds numbers; give one, or a tuple of the lowest and the highest.")
    return Given(shares, low, high, np.nan if is_missing[0] else codes[0])


_ENDS = (-np.inf, np.inf)


def _can_be(column: Column, code: float) -> bool:
    """Whether a number lies in the range of the training rows, and has no more decimals than these."""
    ticks = code / column.tick if column.tick else 0.0
    is_within = bool(np.isclose(code, np.clip(code, column.low, column.high), rtol=1e-6, atol=0))
    return is_within and abs(ticks - np.round(ticks)) < 1e-3


def _encoded(column: Column, value: Any) -> float:
    """A value of a column as the table encodes it; ``ValueError`` if it cannot stand there."""
    if column.type.family == "date":
        value = pd.Timestamp(value)
        value = value.tz_localize(column.type.zone) if column.type.zone and value.tz is None else value
    elif column.type.family == "duration":
        value = pd.Timedelta(value)
    frame = pd.DataFrame({column.name: pd.Series([value])})
    return float(column.encode(cells_of(frame, 0, column.name), unseen="error")[0])


def _cut(outcomes: Outcomes, lowest: float, highest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in each outcome between two bounds, both included, and its share between them."""
    low, high = outcomes.bounds
    step = outcomes.tick  # a bin of ticks is as wide as the number of its ticks
    width = high - low + step
    first = np.clip((lowest - low) / np.where(width > 0, width, 1), 0, 1)
    last = np.clip((highest - low + step) / np.where(width > 0, width, 1), 0, 1)
    inside = np.where(width > step, np.maximum(last - first, 0), (low >= lowest) & (low <= highest))
    is_missing = np.zeros(int(outcomes.has_missing))
    return np.concatenate([first, is_missing]), np.concatenate([last, is_missing + 1]), inside.astype(float)
