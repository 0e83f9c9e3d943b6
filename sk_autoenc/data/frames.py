"""Columns of pandas and polars data frames and of arrays as plain NumPy arrays, and such arrays as columns again.

A library is recognised by the module of the object's class. polars is imported only if there is a polars frame.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sk_autoenc.storage import by_state, flag, or_none, short, text

#: What columns hold, whatever the library. ``"empty"`` is a column without a type of which every cell is missing.
FAMILIES = ("float", "integer", "boolean", "string", "category", "date", "duration", "empty")

#: A value of a category.
Level = str | bool | int | float

_UNITS = "s|ms|us|ns"

#: Integers of polars.
_SIZES = [f"{sign}Int{size}" for sign in ("", "U") for size in (8, 16, 32, 64, 128)]

#: Name of pyarrow's strings, which pandas calls as it calls strings of its own that are kept by pyarrow.
_ARROW_STRING = "ArrowDtype[string]"

#: Dtypes of polars that a column may have; a name from a file must not reach anything else there.
_OF_POLARS = frozenset(
    f"Boolean String Categorical Enum Null Date Datetime Time Duration Float32 Float64 {' '.join(_SIZES)}".split()
)

#: What pandas calls the contents of a column of objects, and the family that they make.
_OF_OBJECTS = {
    "string": "string",
    "boolean": "boolean",
    "integer": "integer",
    "floating": "float",
    "mixed-integer-float": "float",
    "empty": "empty",
}


def is_level(value: Any) -> bool:
    """Whether a value can be that of a category: a string, a boolean, or a finite number."""
    return isinstance(value, str | bool | int) or (isinstance(value, float) and np.isfinite(value))


def _is_levels(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(map(is_level, value)) or len(set(value)) < len(value):
        raise ValueError(f"{where} must be a list of plain values, each of them once, got {short(value)}.")


def _check_type(kind: type, plain: dict[str, Any]) -> None:
    """Refuse a type that its library cannot make."""
    try:
        column_of(np.zeros(0), np.zeros(0, dtype=bool), ColumnType(**plain), "", levels=())
    except Exception as error:
        raise ValueError(f"{kind.__name__} is no type of columns: {error}") from error


@by_state(
    {
        "library": text("pandas|polars|numpy"),
        "dtype": text(r"[\w\[\], /+:=-]{1,80}"),
        "family": text("|".join(FAMILIES)),
        "unit": or_none(text(f"{_UNITS}|D")),
        "zone": or_none(text(r"[\w/+:-]{1,60}")),
        "categories": or_none(_is_levels),
        "ordered": flag,
        "has_none": flag,
    },
    check=_check_type,
    take=lambda found: found._asdict(),
    make=lambda plain: ColumnType(**plain),
)
class ColumnType(NamedTuple):
    """The type of a column, as far as is needed to make such a column again.

    Attributes
    ----------
    library : {"pandas", "polars", "numpy"}
        Whose column it is.
    dtype : str
        Name of the dtype in its library; of categories that of their values.
    family : str
        One of :data:`FAMILIES`.
    unit : str or None
        Unit of dates and durations.
    zone : str or None
        Time zone of dates; None for dates without one.
    categories : list or None
        Values of a categorical dtype, in its order, whether they occur or not.
    ordered : bool
        Whether these have an order.
    has_none : bool
        Whether missing objects, and missing floats of polars, are None and not NaN.
    """

    library: str
    dtype: str
    family: str
    unit: str | None = None
    zone: str | None = None
    categories: list[Level] | None = None
    ordered: bool = False
    has_none: bool = False


class Cells(NamedTuple):
    """One column as plain arrays.

    Attributes
    ----------
    values : ndarray
        float64, int64, bool, datetime64 or timedelta64; of strings and categories the numbers of levels, int64. The
        values of missing cells mean nothing.
    missing : ndarray of bool
        Which cells are missing.
    type : ColumnType
        What the column was.
    levels : list
        Different values of strings and categories, by their numbers.
    """

    values: np.ndarray
    missing: np.ndarray
    type: ColumnType
    levels: list[Level] = []


def library_of(X: Any) -> str | None:
    """The library of a data frame; ``"numpy"`` for arrays, None for anything else."""
    library = type(X).__module__.split(".")[0]
    if library in ("pandas", "polars") and hasattr(X, "columns"):
        return library
    if isinstance(X, pd.DataFrame):  # a class derived from it
        return "pandas"
    return "numpy" if isinstance(X, np.ndarray) else None


def names_of(X: Any) -> list[Any]:
    """Names of the columns; ``ValueError`` if two share one."""
    if library_of(X) == "numpy":
        return list(range(X.shape[1]))
    names = list(X.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"X must have one column of each name, but {twice!r} is the name of {names.count(twice)}.")
    return names


def cells_of(X: Any, position: int, name: Any) -> Cells:
    """A column of a frame; ``ValueError``, which names the column, for types that have no place in a table."""
    try:
        library = library_of(X)
        if library == "polars":
            return _of_polars(X.to_series(position))
        series = pd.Series(X[:, position], dtype=X.dtype) if library == "numpy" else X.iloc[:, position]
        found = _of_pandas(series)
        return found._replace(type=found.type._replace(library="numpy")) if library == "numpy" else found
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"column {name!r}: {error}") from error


# -- pandas


def _of_pandas(series: pd.Series) -> Cells:
    dtype, missing = series.dtype, series.isna().to_numpy()
    if isinstance(dtype, pd.CategoricalDtype):
        levels = _plain(dtype.categories.tolist())
        type_ = ColumnType(
            "pandas", str(dtype.categories.dtype), "category", categories=levels, ordered=bool(dtype.ordered)
        )
        return Cells(series.cat.codes.to_numpy().astype(np.int64), missing, type_, levels)
    family, has_none = _family_of_pandas(series, missing)
    name = _ARROW_STRING if family == "string" and isinstance(dtype, pd.ArrowDtype) else str(dtype)
    type_ = ColumnType("pandas", name, family, has_none=has_none)
    if family == "date":
        dates = pd.DatetimeIndex(series)
        zone = None if dates.tz is None else str(dates.tz)
        if zone is not None and not _is_dtype(name):
            raise ValueError(f"its time zone {zone} has no name of its own; convert it by dt.tz_convert('UTC').")
        values = dates.asi8.view(f"datetime64[{dates.unit}]")
        return Cells(values, missing, type_._replace(unit=dates.unit, zone=zone))
    if family == "duration":
        durations = pd.TimedeltaIndex(series)
        return Cells(
            durations.asi8.view(f"timedelta64[{durations.unit}]"), missing, type_._replace(unit=durations.unit)
        )
    if family == "string":
        return _factorised(series.to_numpy(dtype=object), missing, type_)
    return _numbers(series, missing, type_)


def _family_of_pandas(series: pd.Series, missing: np.ndarray) -> tuple[str, bool]:
    """The family of a column, and whether its missing objects are None."""
    types, dtype = pd.api.types, series.dtype
    is_object = types.is_object_dtype(dtype)
    if types.is_bool_dtype(dtype) and not is_object:
        return "boolean", False
    for family, is_such in (
        ("integer", types.is_integer_dtype),
        ("float", types.is_float_dtype),
        ("date", types.is_datetime64_any_dtype),
        ("duration", lambda dtype: getattr(dtype, "kind", None) == "m"),  # pyarrow's, too
    ):
        if is_such(dtype):
            return family, False
    if not is_object and types.is_string_dtype(dtype):
        return "string", False
    if not is_object:
        raise ValueError(f"dtype {dtype} has no place in a table; convert the column to numbers, dates or strings.")
    found = types.infer_dtype(series, skipna=True)
    if found in ("date", "datetime", "datetime64"):
        raise ValueError("it holds dates as objects; convert it by pandas.to_datetime.")
    if found == "decimal":
        raise ValueError("it holds decimals as objects; convert it by astype(float).")
    if found not in _OF_OBJECTS:
        raise ValueError(f"it holds objects of mixed or unknown types ({found}); convert it by astype(str).")
    first = int(missing.argmax())
    return _OF_OBJECTS[found], bool(missing.any()) and series.iloc[first] is None


def _is_dtype(name: str) -> bool:
    """Whether pandas knows a dtype by this name."""
    try:
        pd.api.types.pandas_dtype(name)
    except TypeError:
        return False
    return True


def _numbers(series: pd.Series, missing: np.ndarray, type_: ColumnType) -> Cells:
    """Floats, integers and booleans, nullable or not."""
    if type_.family == "empty":
        return Cells(np.zeros(len(series)), missing, type_)
    kind = {"float": np.float64, "integer": np.int64, "boolean": np.bool_}[type_.family]
    if missing.any():
        nothing = False if type_.family == "boolean" else 0
        series = series.where(~missing, nothing) if series.dtype == object else series.fillna(nothing)
    values = series.to_numpy()
    if values.dtype.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
        raise ValueError("it holds integers above 2**63; leave identifiers out, or convert it by astype(str).")
    return Cells(values.astype(kind), missing, type_)


def _plain(levels: Sequence[Any]) -> list[Level]:
    """Categories as plain values."""
    made = [level.item() if isinstance(level, np.generic) else level for level in levels]
    if not all(map(is_level, made)):
        wrong = next(level for level in made if not is_level(level))
        raise ValueError(
            f"its categories must be strings, booleans or finite numbers, got {type(wrong).__name__}; convert it by "
            "astype(str)."
        )
    return made


def _factorised(values: np.ndarray, missing: np.ndarray, type_: ColumnType) -> Cells:
    """Strings as numbers of levels, in the order of the alphabet."""
    codes, levels = pd.factorize(values, use_na_sentinel=True)
    found = np.asarray(levels, dtype=object)
    order = np.argsort(found.astype(str), kind="stable") if len(found) else np.zeros(0, dtype=int)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return Cells(rank[codes], missing, type_, _plain(found[order].tolist()))


# -- polars


def _of_polars(series: Any) -> Cells:
    import polars as pl

    dtype, missing = series.dtype, series.is_null().to_numpy()
    made = ColumnType("polars", dtype.base_type().__name__, "empty")
    if dtype.is_integer() or dtype == pl.Boolean:
        if dtype.is_integer() and not all(-(2**63) <= (end or 0) < 2**63 for end in (series.min(), series.max())):
            raise ValueError("it holds integers above 2**63; leave identifiers out, or cast it to strings.")
        family, kind = ("boolean", pl.Boolean) if dtype == pl.Boolean else ("integer", pl.Int64)
        values = series.cast(kind).fill_null(False if family == "boolean" else 0).to_numpy()
        return Cells(values, missing, made._replace(family=family))
    if dtype.is_float():
        values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        holes = np.isnan(values)
        return Cells(values, holes, made._replace(family="float", has_none=bool(missing.any() or not holes.any())))
    if dtype == pl.String:
        values = np.array(series.to_list(), dtype=object)
        return _factorised(values, missing, made._replace(family="string"))
    if dtype in (pl.Categorical, pl.Enum):
        found = _factorised(np.array(series.cast(pl.String).to_list(), dtype=object), missing, made)
        if dtype == pl.Categorical:
            return found._replace(type=made._replace(family="category"))
        levels = dtype.categories.to_list()  # an Enum has an order of its own
        rank = np.array([*map(levels.index, found.levels), -1], dtype=np.int64)
        return Cells(rank[found.values], missing, made._replace(family="category", categories=levels), levels)
    if dtype == pl.Null:
        return Cells(np.zeros(len(series)), missing, made)
    if dtype in (pl.Date, pl.Datetime, pl.Time, pl.Duration):
        unit = {pl.Date: "D", pl.Time: "ns"}.get(dtype.base_type()) or dtype.time_unit
        family = "date" if dtype in (pl.Date, pl.Datetime) else "duration"  # times of day, too, are counted from 0
        values = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
        values = values.astype(f"{'datetime' if family == 'date' else 'timedelta'}64[{unit}]")
        return Cells(values, missing, made._replace(family=family, unit=unit, zone=getattr(dtype, "time_zone", None)))
    raise ValueError(f"dtype {dtype} has no place in a table; convert the column to numbers, dates or strings.")


# -- the way back


def column_of(
    values: np.ndarray, missing: np.ndarray, type_: ColumnType, name: Any, levels: Sequence[Level], index: Any = None
) -> Any:
    """A column of such a type.

    Parameters
    ----------
    values : ndarray
        As in :class:`Cells`.
    missing : ndarray of bool
        Which cells are missing.
    type_ : ColumnType
        What the column shall be. Where its dtype has no missing values, but there are some, it is widened as its
        library does.
    name : object
        Name of the column.
    levels : sequence
        Values of strings and categories, by their numbers.
    index : pandas.Index or None
        The index of a pandas column.
    """
    if type_.library == "polars":
        return _to_polars(values, missing, type_, name, levels)
    if type_.family in ("string", "category"):
        found = np.array([*levels, None], dtype=object)[np.where(missing, len(levels), values).astype(np.int64)]
    if type_.family == "category" and type_.library == "pandas":
        categories = [*(type_.categories or []), *(level for level in levels if level not in (type_.categories or []))]
        dtype = pd.CategoricalDtype(pd.Index(categories, dtype=type_.dtype), ordered=type_.ordered)
        return pd.Series(pd.Categorical(found, dtype=dtype), index=index, name=name)
    if type_.family in ("string", "category"):
        made = pd.Series(found, dtype=object, index=index, name=name)
        made = made if type_.has_none or type_.dtype != "object" else made.where(~missing, np.nan)
        return made.astype(_dtype_of_strings(type_.dtype))
    if type_.family in ("date", "duration"):
        made = pd.Series(values.astype(f"{'M' if type_.family == 'date' else 'm'}8[{type_.unit}]"), name=name)
        made = made.where(~missing, pd.NaT)
        made = made if type_.zone is None else made.dt.tz_localize("UTC")
        made = made.astype(type_.dtype)
        return made if index is None else made.set_axis(index)
    return _numbers_as_pandas(values, missing, type_, name, index)


def _dtype_of_strings(name: str) -> Any:
    """The dtype of this name; the one that pandas gives to two of them means that of its own strings."""
    if name != _ARROW_STRING:
        return name
    import pyarrow

    return pd.ArrowDtype(pyarrow.string())


def _numbers_as_pandas(values: np.ndarray, missing: np.ndarray, type_: ColumnType, name: Any, index: Any) -> pd.Series:
    if type_.family == "empty":
        values = np.full(len(values), None if type_.has_none else np.nan, dtype=object)
        return pd.Series(values, index=index, name=name, dtype=type_.dtype)
    dtype = pd.api.types.pandas_dtype(type_.dtype)
    made = pd.Series(values, index=index, name=name)
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not made.between(limits.min, limits.max).all():
            dtype = made.dtype  # a new row may hold a larger number than this dtype
    if not missing.any():
        return made.astype(dtype)
    if isinstance(dtype, np.dtype) and dtype.kind in "iub":  # no missing values: what pandas widens it to
        return made.astype(object).where(~missing, np.nan) if dtype.kind == "b" else made.astype(float).where(~missing)
    if pd.api.types.is_object_dtype(dtype):
        return made.astype(object).where(~missing, None if type_.has_none else np.nan)
    if isinstance(dtype, np.dtype):
        return made.where(~missing).astype(dtype)
    return made.astype(dtype).where(~missing, pd.NA)


def _to_polars(values: np.ndarray, missing: np.ndarray, type_: ColumnType, name: Any, levels: Sequence[Level]) -> Any:
    import polars as pl

    if type_.dtype not in _OF_POLARS:
        raise ValueError(f"polars columns cannot have the dtype {type_.dtype!r:.60}.")
    name, holes = str(name), pl.Series(missing)
    if type_.family == "empty":
        return pl.Series(name, [None] * len(values), dtype=getattr(pl, type_.dtype))
    if type_.family in ("string", "category"):
        found = np.array([*levels, None], dtype=object)[np.where(missing, len(levels), values).astype(np.int64)]
        categories = [*(type_.categories or []), *(level for level in levels if level not in (type_.categories or []))]
        dtype = pl.Enum(list(map(str, categories))) if type_.dtype == "Enum" else getattr(pl, type_.dtype)
        return pl.Series(name, found.tolist(), dtype=pl.String).cast(dtype)
    if type_.family not in ("date", "duration"):
        made = pl.Series(name, values).cast(getattr(pl, type_.dtype))
    elif type_.dtype == "Date":
        made = pl.Series(name, values.astype(np.int64)).cast(pl.Int32).cast(pl.Date)
    elif type_.dtype == "Time":
        made = pl.Series(name, values.astype(np.int64)).cast(pl.Time)
    else:
        made = pl.Series(name, values.astype(np.int64)).cast(getattr(pl, type_.dtype)(type_.unit))
        if type_.zone is not None:
            made = made.dt.replace_time_zone("UTC").dt.convert_time_zone(type_.zone)
    hole = np.nan if type_.family == "float" and not type_.has_none else None
    return made.set(holes, hole) if missing.any() else made


def frame_of(columns: list[Any], names: list[Any], library: str) -> Any:
    """A data frame of these columns; an array for ``"numpy"``."""
    if library == "polars":
        import polars as pl

        return pl.DataFrame([column.rename(str(name)) for column, name in zip(columns, names, strict=True)])
    if library == "numpy":
        kinds = {column.dtype for column in columns}
        dtype = kinds.pop() if len(kinds) == 1 else object
        made = np.empty((len(columns[0]), len(columns)), dtype=dtype)
        for position, column in enumerate(columns):
            made[:, position] = column.to_numpy()
        return made
    made = pd.concat(columns, axis=1)
    made.columns = pd.Index(names)
    return made


def with_columns(frame: Any, columns: dict[str, np.ndarray]) -> Any:
    """A data frame with further columns after its own."""
    if library_of(frame) == "polars":
        import polars as pl

        return frame.with_columns([pl.Series(name, values) for name, values in columns.items()])
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)


def together(parts: list[Any], order: np.ndarray) -> Any:
    """Rows of several data frames, or of several arrays, one below the other and then in this order."""
    library = library_of(parts[0])
    if library == "polars":
        import polars as pl

        return pl.concat(parts, how="vertical")[order]
    if library == "pandas":
        return pd.concat(parts, ignore_index=True).iloc[order].reset_index(drop=True)
    return np.concatenate(parts)[order]
