"""One column of a table: what kind it is, its cells as floats, and the exact way back.

===============================  ============================================  ======================================
kind                             what it is by itself                          a cell becomes
===============================  ============================================  ======================================
``"real"``                       floats with fractions                         the number
``"positive"``                   the same, all above 0                         the number
``"bounded"``                    only where it is declared                     the number
``"integer"``                    integers, or floats that are                  the number
``"count"``                      the same, none below 0                        the number
``"date"``, ``"duration"``       dates and times; durations                    ticks since the first
``"boolean"``                    booleans                                      0 or 1
``"category"``                   strings; categorical dtypes                   the number of its level
``"ordered"``                    categorical dtypes with an order              the number of its level
``"constant"``                   one value, or none                            0
===============================  ============================================  ======================================

A missing cell becomes NaN.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sk_autoenc.data.frames import Cells, ColumnType, Level, column_of, is_level
from sk_autoenc.storage import by_state, instance, integer, number, or_none, short, text

#: Kinds of numbers, and kinds of levels.
NUMBERS = ("real", "positive", "bounded", "integer", "count", "date", "duration")
LEVELS = ("boolean", "category", "ordered", "constant")

#: What numbers of a kind may be.
_LIMITS = {"positive": "above 0", "count": "0 or more"}

#: Families of plain numbers.
_PLAIN = ("float", "integer", "boolean", "empty")

#: Integers up to this size are exact in float64.
_EXACT = 2**53

#: Floats are rounded to so many decimals at most, if to any.
_MOST_DECIMALS = 6

#: Strings are text, and no categories, if there are more different ones than this and more than half of the rows.
_FEWEST_TEXTS = 20

#: The level that rare strings become.
OTHER = "other"

#: The number of a level that the fit did not see, where it is kept.
UNKNOWN = -1.0


def _is_level_list(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(map(is_level, value)) or len(set(value)) < len(value):
        raise ValueError(f"{where} must be a list of plain values, each of them once, got {short(value)}.")


def _check_column(kind: type, plain: dict[str, Any]) -> None:
    """Refuse values that are right one by one, but not together."""
    called, n_levels = f"{kind.__name__} {short(plain['name'])}", len(plain["levels"])
    if plain["kind"] in NUMBERS and (n_levels or plain["low"] > plain["high"] or plain["tick"] < 0):
        raise ValueError(f"{called} has levels, a tick below 0, or low above high.")
    if plain["kind"] in ("category", "ordered", "boolean") and n_levels < 1:
        raise ValueError(f"{called} has no levels.")
    if plain["n_rare"] and OTHER not in plain["levels"]:
        raise ValueError(f"{called} has n_rare={plain['n_rare']}, but no level {OTHER!r}.")


def _is_name(value: Any, where: str) -> None:
    if not isinstance(value, str | int):
        raise ValueError(f"{where} must be a string or an integer, got {short(value)}.")


@by_state(
    {
        "name": _is_name,
        "kind": text("|".join((*NUMBERS, *LEVELS))),
        "type": instance(ColumnType),
        "levels": _is_level_list,
        "n_rare": integer(),
        "low": number(),
        "high": number(),
        "offset": integer(-(2**63)),
        "tick": number(),
        "decimals": or_none(integer(0, _MOST_DECIMALS)),
        "share_missing": number(),
        "unit_ticks": integer(1),
    },
    check=_check_column,
    take=lambda column: column._asdict(),
    make=lambda plain: Column(**plain),
)
class Column(NamedTuple):
    """What is known of a column after the fit.

    Attributes
    ----------
    name : str or int
        Its name; of an array its number.
    kind : str
        One of :data:`NUMBERS` or :data:`LEVELS`.
    type : ColumnType
        The type that its cells get back.
    levels : list
        Values of the levels by their numbers; of a constant its value, or none if all cells were missing.
    n_rare : int
        Number of rare strings that were merged into the level ``"other"``.
    low, high : float
        Lowest and highest number of the training rows, as encoded.
    offset : int
        What is subtracted from dates and from huge integers. A float has 53 bits, so that dates in microseconds are
        exact within 285 years of the first.
    tick : float
        Distance between neighbouring numbers, as encoded: 1 of integers, dates and durations, 0.01 of floats with two
        decimals; 0 if there is none.
    decimals : int or None
        Decimals to which floats are rounded.
    share_missing : float
        Share of the training rows whose cell is missing.
    unit_ticks : int
        Of dates and durations the units of the dtype in a tick, such as 86400 where a dtype of seconds holds days.
    """

    name: Any
    kind: str
    type: ColumnType
    levels: list[Level] = []
    n_rare: int = 0
    low: float = 0.0
    high: float = 0.0
    offset: int = 0
    tick: float = 0.0
    decimals: int | None = None
    share_missing: float = 0.0
    unit_ticks: int = 1

    @property
    def is_number(self) -> bool:
        """Whether cells are numbers, and not levels."""
        return self.kind in NUMBERS

    @property
    def n_levels(self) -> int:
        """Number of levels; 0 for numbers."""
        return len(self.levels)

    # -- cells as floats

    def encode(self, cells: Cells, *, unseen: str) -> np.ndarray:
        """Cells as floats, NaN where they are missing; ``(n,)``, float64.

        ``unseen`` says what levels become that the fit did not know, and numbers that the kind does not allow:
        ``"error"`` refuses them by name, ``"missing"`` makes them NaN, and ``"kept"`` makes such levels −1 and leaves
        such numbers what they are, if they are finite.
        """
        values = self._numbers(cells) if self.is_number else self._level_numbers(cells)
        wrong = ~cells.missing & (~self._is_allowed(values) if self.is_number else np.isnan(values))
        if unseen == "kept":
            values[wrong & np.isnan(values)] = UNKNOWN
            wrong &= np.isinf(values)
        if unseen != "missing" and wrong.any():
            self._refuse(cells, int(wrong.argmax()))
        values[cells.missing | wrong] = np.nan
        return values

    def _numbers(self, cells: Cells) -> np.ndarray:
        family = self.type.family
        if cells.type.family == "empty":
            return np.full(len(cells.values), np.nan)
        if family in ("date", "duration"):
            if cells.type.family != family or (cells.type.zone is None) != (self.type.zone is None):
                raise ValueError(f"column {self.name!r} must hold {_called(self.type)}, got {_called(cells.type)}.")
            return _differences(self._units(cells), self.offset) / self.unit_ticks
        if cells.type.family not in _PLAIN:
            raise ValueError(f"column {self.name!r} must hold {_called(self.type)}, got {_called(cells.type)}.")
        if cells.values.dtype == np.int64:
            return _differences(cells.values, self.offset).astype(np.float64)
        return cells.values.astype(np.float64) - self.offset

    def _units(self, cells: Cells) -> np.ndarray:
        """Dates or durations as integers, in the unit of the fit."""
        found = cells.values.astype(f"{cells.values.dtype.kind}8[{self.type.unit}]")
        is_finer = np.ones(1, found.dtype.str.replace("M", "m")) < np.ones(1, cells.values.dtype.str.replace("M", "m"))
        if is_finer.all() and ((found.astype(cells.values.dtype) != cells.values) & ~cells.missing).any():
            raise ValueError(f"column {self.name!r} holds values too far off to be counted in {self.type.unit}.")
        return found.astype(np.int64)

    def _level_numbers(self, cells: Cells) -> np.ndarray:
        """Numbers of the levels, NaN for those that are unknown."""
        number_of = {level: i for i, level in enumerate(self.levels)}
        levels, codes = _as_levels(cells, self.type.unit)
        rest = number_of[OTHER] if self.n_rare else np.nan
        lookup = np.array(
            [number_of.get(level, rest if isinstance(level, str) else np.nan) for level in levels] + [np.nan]
        )
        return lookup[codes]

    def _is_allowed(self, values: np.ndarray) -> np.ndarray:
        is_finite = np.isfinite(values)
        if self.kind == "positive":
            return is_finite & (values > 0)
        if self.kind == "count":
            return is_finite & (values >= -self.offset)
        if self.kind == "bounded":
            return (values >= self.low) & (values <= self.high)
        return is_finite

    def _refuse(self, cells: Cells, row: int) -> None:
        found = cells.levels[cells.values[row]] if cells.levels else cells.values[row]
        found = found.item() if isinstance(found, np.generic) else found
        if self.is_number:
            limits = _LIMITS.get(self.kind, f"within [{self.low:.6g}, {self.high:.6g}]")
            wanted = f"numbers {limits if np.isfinite(found) else 'that are finite'}"
        else:
            shown = ", ".join(map(repr, self.levels[:5])) + (", ..." if self.n_levels > 5 else "")
            wanted = f"levels of the training rows ({shown})"
        raise ValueError(
            f"column {self.name!r} is of the kind {self.kind!r} and must hold {wanted}, got {found!r:.60}; "
            "unseen='missing' treats such cells as missing."
        )

    # -- and back

    def decode(self, values: np.ndarray, *, snap: bool, index: Any = None) -> Any:
        """Floats as a column of the type of the training rows.

        ``snap`` moves numbers to values that the column can have: within the range of the training rows, with their
        decimals. Without it, :meth:`encode` is undone exactly, and a column of integers that gets fractions becomes one
        of floats. Numbers of levels are rounded to the nearest.
        """
        missing = np.isnan(values)
        filled = np.where(missing, self.low, values)
        if not snap and self.is_number and self.type.family == "integer" and (filled != np.round(filled)).any():
            wider = self.type._replace(
                family="float", dtype="Float64" if self.type.library == "polars" else "float64", has_none=True
            )
            return column_of(filled + self.offset, missing, wider, self.name, self.levels, index)
        made = self._undo_numbers(filled, snap=snap) if self.is_number else self._undo_levels(filled, missing)
        return column_of(made, missing, self.type, self.name, self.levels, index)

    def _undo_numbers(self, values: np.ndarray, *, snap: bool) -> np.ndarray:
        family = self.type.family
        if snap:
            values = np.round(values) if self.decimals is None and self.tick else values
            values = values if self.decimals is None else np.round(values, self.decimals)
            values = values.clip(self.low, self.high)  # afterwards: 0.1 + 0.2 is above 0.3
        if family == "float":
            return values + self.offset
        if family == "boolean":
            return values >= 0.5
        return np.round(values * self.unit_ticks).astype(np.int64) + self.offset

    def _undo_levels(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        if not self.levels:
            missing[:] = True
            return np.zeros(len(values))
        codes = np.round(values).clip(0, self.n_levels - 1).astype(np.int64)
        if self.type.family in ("string", "category"):
            return codes
        return np.array(self.levels, dtype=_DTYPES[self.type.family])[codes]


#: What the values of levels that are no strings are kept in; those of dates and durations are counts of their unit.
_DTYPES = {"float": np.float64, "integer": np.int64, "boolean": np.bool_, "date": np.int64, "duration": np.int64}


def _differences(values: np.ndarray, offset: int) -> np.ndarray:
    """Integers minus the lowest; exact also where the result of float64 would not be."""
    return values - np.int64(offset)


def _as_levels(cells: Cells, unit: str | None) -> tuple[list[Level], np.ndarray]:
    """Different values of a column, and the number of each cell's; -1 where it is missing."""
    if cells.type.family in ("string", "category"):
        return cells.levels, np.where(cells.missing, -1, cells.values)
    values = cells.values
    if cells.type.family in ("date", "duration"):
        kind = "M" if cells.type.family == "date" else "m"
        values = values.astype(f"{kind}8[{unit or cells.type.unit}]").astype(np.int64)
    codes, found = pd.factorize(values)
    return found.tolist(), np.where(cells.missing, -1, codes)


def _called(type_: ColumnType) -> str:
    """Contents of a column in an error."""
    zone = {"date": f" with time zone {type_.zone}" if type_.zone else " without time zone"}.get(type_.family, "")
    return {
        "float": "numbers",
        "integer": "numbers",
        "boolean": "booleans",
        "string": "strings",
        "category": "categories",
        "date": "dates",
        "duration": "durations",
        "empty": "nothing",
    }[type_.family] + zone


# -- the fit


def fit_column(cells: Cells, name: Any, declared: str | Sequence[Level] | None, *, min_count: int) -> Column:
    """What a column is; ``ValueError``, which names it, if it is text, or not of the kind that is declared.

    ``declared`` is a kind, or the levels of an ordered category in their order; None finds out. Strings of fewer rows
    than ``min_count`` are merged into one level.
    """
    share = float(cells.missing.mean()) if len(cells.missing) else 0.0
    made = Column(name, "constant", cells.type, share_missing=share)
    try:
        if declared is not None and not isinstance(declared, str):
            return _with_levels(made._replace(kind="ordered"), cells, list(declared), min_count=1)
        kind = _kind_of(cells) if declared is None else declared
        if kind in NUMBERS:
            return _with_range(made, cells, kind, is_declared=declared is not None)
        return _with_levels(
            made._replace(kind=kind), cells, None, min_count=min_count, may_be_text=declared is not None
        )
    except ValueError as error:
        raise ValueError(f"column {name!r}: {error}") from error


def _kind_of(cells: Cells) -> str:
    """What a column is by its type and its values; kinds of numbers are narrowed down later."""
    family = cells.type.family
    if family == "boolean":
        return "boolean"
    if cells.missing.all():
        return "constant"
    present = cells.values[~cells.missing]
    if (present == present[0]).all():
        return "constant"
    if family in ("string", "category"):
        return "ordered" if cells.type.ordered else "category"
    return {"float": "real", "integer": "integer"}.get(family, family)


def _with_levels(
    column: Column, cells: Cells, levels: list[Level] | None, *, min_count: int, may_be_text: bool = False
) -> Column:
    """The column with its levels: those that are declared, or those that occur."""
    found, codes = _as_levels(cells, cells.type.unit)
    counts = np.bincount(codes[codes >= 0], minlength=len(found))
    occurring = [level for level, count in zip(found, counts, strict=True) if count]
    if not occurring and levels is None and cells.type.family != "boolean":
        return column._replace(kind="constant")
    if column.kind == "boolean":
        if cells.type.family not in ("boolean", "empty") and set(occurring) - {0, 1}:
            raise ValueError(f"it is declared a boolean, but holds {occurring[0]!r:.60}.")
        is_plain = cells.type.family in ("boolean", "empty")
        return column._replace(levels=[False, True] if is_plain else [type(occurring[0])(i) for i in (0, 1)])
    if levels is not None:
        if unknown := [level for level in occurring if level not in levels]:
            raise ValueError(f"it holds {unknown[0]!r:.60}, which is none of its declared levels.")
        return column._replace(levels=levels)
    is_text = cells.type.family == "string" and not may_be_text
    if is_text and len(occurring) > max(_FEWEST_TEXTS, int(counts.sum()) // 2):
        raise ValueError(
            f"it is text, with {len(occurring)} different strings in {int(counts.sum())} rows. Leave it out, declare "
            f"it by columns={{{column.name!r}: 'category'}}, perhaps with min_count, or make columns of numbers of it."
        )
    if cells.type.family not in ("string", "category"):
        occurring = sorted(occurring)
    rare = [level for level, count in zip(found, counts, strict=True) if 0 < count < min_count]
    if not rare or not all(isinstance(level, str) for level in occurring):
        return column._replace(levels=occurring)
    kept = [level for level in occurring if level not in set(rare) and level != OTHER]
    return column._replace(levels=[*kept, OTHER], n_rare=len(rare))


def _with_range(column: Column, cells: Cells, kind: str, *, is_declared: bool) -> Column:
    """The column with the range of its numbers, and the distance between them."""
    family = cells.type.family
    if family not in (*_PLAIN, "date", "duration") or (family in ("date", "duration")) != (
        kind in ("date", "duration")
    ):
        raise ValueError(f"it is declared as {kind!r}, but holds {_called(cells.type)}.")
    present = cells.values[~cells.missing]
    if not len(present):
        raise ValueError(f"it is declared as {kind!r}, but all its cells are missing.")
    if family == "float":
        return _with_floats(column, present, kind, is_declared=is_declared)
    units = present.astype(np.int64)
    low, high = int(units.min()), int(units.max())
    is_time = kind in ("date", "duration")
    if high - low >= (2**63 if is_time else _EXACT):
        raise ValueError("its values are too far apart; leave identifiers out, or convert it by astype(str).")
    offset = low if is_time or max(high, -low) > _EXACT else 0
    unit_ticks = (int(np.gcd.reduce(units - low)) or 1) if is_time else 1
    if not is_declared and kind == "integer" and low >= 0:
        kind = "count"
    column = column._replace(kind=kind, offset=offset, unit_ticks=unit_ticks, tick=1.0)
    column = column._replace(low=(low - offset) / unit_ticks, high=(high - offset) / unit_ticks)
    return _checked(column)


def _with_floats(column: Column, present: np.ndarray, kind: str, *, is_declared: bool) -> Column:
    if np.isinf(present).any():
        raise ValueError("it holds infinity; replace it by a number or by NaN.")
    low, high = float(present.min()), float(present.max())
    precision = np.finfo(np.float32 if "32" in column.type.dtype else np.float64).eps
    decimals = _decimals_of(present, float(precision))
    if not is_declared and kind == "real":
        kind = "integer" if decimals == 0 else "positive" if low > 0 else "real"
        kind = "count" if kind == "integer" and low >= 0 else kind
    if kind in ("integer", "count") and decimals != 0:
        raise ValueError(f"it is declared as {kind!r}, but has numbers with fractions.")
    tick = 0.0 if decimals is None else 10.0**-decimals
    return _checked(column._replace(kind=kind, low=low, high=high, decimals=decimals, tick=tick))


def _checked(column: Column) -> Column:
    if (column.kind == "positive" and column.low <= 0) or (column.kind == "count" and column.low + column.offset < 0):
        raise ValueError(f"it is declared as {column.kind!r}, but holds {column.low + column.offset:.6g}.")
    return column


def _decimals_of(present: np.ndarray, precision: float) -> int | None:
    """The least number of decimals that all these floats have; None if they have more than a table would show."""
    for some in (present[:1000], present):  # most columns are told by their first rows
        decimals = next((k for k in range(_MOST_DECIMALS + 1) if _has_decimals(some, k, precision)), None)
        if decimals is None:
            return None
    return decimals


def _has_decimals(values: np.ndarray, decimals: int, precision: float) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest have no decimals
        return bool((np.abs(values - np.round(values, decimals)) <= 2 * precision * np.abs(values)).all())
