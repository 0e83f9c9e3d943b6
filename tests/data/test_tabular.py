"""Frames as floats and back: kinds of columns, dtypes, holes, levels that are unknown, and errors that name columns."""

import copy
import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_autoenc.data.columns import Column
from sk_autoenc.data.frames import ColumnType
from sk_autoenc.data.tabular import Table, is_table
from sk_autoenc.storage import form_of

DATES = pd.Series(pd.to_datetime(["2020-01-01", "2020-01-03", None, "2021-06-01"]))

#: Columns of pandas, and the kinds that they are.
COLUMNS = {
    "real": (pd.Series([0.5, -1.25, np.nan, 1 / 3]), "real"),
    "float32": (pd.Series([0.1, 2.5, np.nan, 1.25], dtype="float32"), "positive"),
    "floats of integers": (pd.Series([1.0, -2.0, np.nan, 3.0]), "integer"),
    "int8": (pd.Series([1, -2, 5, 3], dtype="int8"), "integer"),
    "count": (pd.Series([1, 0, 5, 3]), "count"),
    "identifiers": (pd.Series([2**62, 2**62 + 1, 2**62 + 3, 2**62 + 3]), "count"),
    "Int64": (pd.Series([1, None, 5, 3], dtype="Int64"), "count"),
    "Float64": (pd.Series([1.5, None, -5, 3], dtype="Float64"), "real"),
    "bool": (pd.Series([True, False, True, True]), "boolean"),
    "one bool": (pd.Series([True, True, True, True]), "boolean"),
    "boolean": (pd.Series([True, None, False, True], dtype="boolean"), "boolean"),
    "object of booleans": (pd.Series([True, None, False, True], dtype=object), "boolean"),
    "object of integers": (pd.Series([1, None, -1, 7], dtype=object), "integer"),
    "object of strings": (pd.Series(["a", np.nan, "", "b"], dtype=object), "category"),
    "object with None": (pd.Series(["a", None, "c", "b"], dtype=object), "category"),
    "str": (pd.Series(["a", None, "", "b"], dtype="str"), "category"),
    "string": (pd.Series(["a", None, "c", "b"], dtype="string"), "category"),
    "category": (pd.Series(pd.Categorical(["b", None, "a", "b"], categories=["b", "unused", "a"])), "category"),
    "ordered": (pd.Series(pd.Categorical([3, 1, None, 3], categories=[3, 2, 1], ordered=True)), "ordered"),
    "dates": (DATES, "date"),
    "seconds": (DATES.astype("datetime64[s]"), "date"),
    "dates with zone": (DATES.dt.tz_localize("Europe/Berlin"), "date"),
    "durations": (pd.Series(pd.to_timedelta([1, None, 7, 90], unit="min")), "duration"),
    "constant": (pd.Series(["a", "a", None, "a"]), "constant"),
    "constant number": (pd.Series([2.5, 2.5, 2.5, 2.5]), "constant"),
    "all missing": (pd.Series([np.nan] * 4), "constant"),
    "all None": (pd.Series([None] * 4, dtype=object), "constant"),
}

ALL = pd.DataFrame({name: series for name, (series, _) in COLUMNS.items()}).set_axis([7, 3, 5, 5])


@pytest.mark.parametrize("name", COLUMNS)
def test_each_dtype_of_pandas_has_its_kind_and_comes_back_exactly(name):
    series, kind = COLUMNS[name]
    frame = pd.DataFrame({name: series})
    table = Table().fit(frame)
    assert table.columns_[0].kind == kind
    codes = table.encode(frame)
    assert codes.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(codes[:, 0]), series.isna())
    for snap in (False, True):
        pd.testing.assert_frame_equal(table.decode(codes, snap=snap), frame)


def test_a_frame_comes_back_with_its_index_and_order_also_for_part_of_its_rows():
    table = Table().fit(ALL)
    pd.testing.assert_frame_equal(table.decode(table.encode(ALL), like=ALL), ALL)
    some = ALL.iloc[[2, 0]]
    pd.testing.assert_frame_equal(table.decode(table.encode(some), like=some), some, check_dtype=True)


def test_polars_frames_come_back_with_their_dtypes():
    frame = pl.DataFrame(
        {
            "f": [0.5, None, -1.0],
            "nan": [0.5, float("nan"), -1.0],
            "i": [1, None, 3],
            "u": pl.Series([1, 2, 3], dtype=pl.UInt8),
            "b": [True, None, False],
            "s": ["b", None, ""],
            "k": pl.Series(["x", "y", None], dtype=pl.Categorical),
            "e": pl.Series(["low", "high", "low"], dtype=pl.Enum(["low", "mid", "high"])),
            "d": pl.Series([1, 5, None]).cast(pl.Date),
            "t": pl.Series([1, 5, None]).cast(pl.Datetime("us", "Asia/Tokyo")),
            "time": pl.Series([1, 5, None]).cast(pl.Time),
            "dt": pl.Series([1, 5, None]).cast(pl.Duration("ms")),
            "n": [None, None, None],
        }
    )
    table = Table().fit(frame)
    made = table.decode(table.encode(frame))
    assert made.equals(frame)
    assert made.schema == frame.schema


def test_arrays_are_tables_whose_columns_have_numbers_as_names():
    floats = np.array([[0.5, np.nan], [1.5, 2.0]])
    np.testing.assert_array_equal(Table().fit(floats).decode(Table().fit(floats).encode(floats)), floats)
    mixed = np.array([["a", 1.5], [None, 2.5], ["b", 1.0]], dtype=object)
    table = Table().fit(mixed)
    assert [(column.name, column.kind) for column in table.columns_] == [(0, "category"), (1, "positive")]
    assert table.decode(table.encode(mixed)).tolist() == mixed.tolist()


def test_snapping_moves_numbers_into_their_range_and_to_their_decimals():
    frame = pd.DataFrame({"x": [0.25, 1.5, 0.75], "n": [1, 4, 9], "d": [*DATES[:2].tolist(), DATES[3]]})
    table = Table().fit(frame)
    made = table.decode([[0.333, 3.4, 0.4], [9.0, 99.0, 1e6], [-1.0, -5.0, -3.0]], snap=True)
    assert made["x"].tolist() == [0.33, 1.5, 0.25]
    assert made["n"].tolist() == [3, 9, 1]
    assert made["d"].tolist() == [DATES[0], DATES[3], DATES[0]]
    assert table.decode([[0.333, 3.4, 0.5]])["x"].tolist() == [0.333]


def test_missing_cells_widen_what_has_none():
    table = Table().fit(pd.DataFrame({"i": [1, 2], "b": [True, False]}))
    made = table.decode([[np.nan, 1.0], [2.0, np.nan]])
    assert made["i"].dtype == float
    assert made["b"].tolist()[0] is True
    assert made.isna().to_numpy().tolist() == [[True, False], [False, True]]


def test_unseen_levels_and_impossible_numbers_are_refused_by_name_or_missing():
    frame = pd.DataFrame({"city": ["Rome", "Oslo"], "n": [1, 5], "x": [0.1, 0.5], "c": [2, 2]})
    new = pd.DataFrame({"city": ["Paris", "Oslo"], "n": [-1, 2], "x": [-0.5, 9.5], "c": [2, 3]})
    table = Table(unseen="missing").fit(frame)
    np.testing.assert_array_equal(table.encode(new), [[np.nan, np.nan, np.nan, 0], [0, 2, 9.5, np.nan]])
    for name, message in {
        "city": r"column 'city' .* levels of the training rows \('Oslo', 'Rome'\), got 'Paris'",
        "n": "column 'n' is of the kind 'count' and must hold numbers 0 or more, got -1",
        "x": "column 'x' is of the kind 'positive' and must hold numbers above 0, got -0.5",
        "c": "column 'c' .* got 3",
    }.items():
        with pytest.raises(ValueError, match=message):
            Table().fit(frame[[name]]).encode(new[[name]])


def test_rare_strings_are_merged_and_unseen_ones_are_rare():
    frame = pd.DataFrame({"city": ["Rome"] * 3 + ["Oslo"] * 3 + ["Bonn", "Kiel"]})
    table = Table(min_count=2).fit(frame)
    column = table.columns_[0]
    assert (column.levels, column.n_rare) == (["Oslo", "Rome", "other"], 2)
    made = table.decode(table.encode(pd.DataFrame({"city": ["Rome", "Kiel", "Paris"]})))
    assert made["city"].tolist() == ["Rome", "other", "other"]
    as_category = frame.astype("category")
    table = Table(min_count=2).fit(as_category)
    assert table.decode(table.encode(as_category))["city"].tolist()[-2:] == ["other", "other"]


def test_what_columns_are_can_be_declared():
    frame = pd.DataFrame({"zip": [10, 30, 20], "size": ["S", "L", "M"], "p": [0.0, 0.25, 1.0], "flag": [0, 1, 1]})
    declared = {"zip": "category", "size": ["S", "M", "L"], "p": "bounded", "flag": "boolean"}
    table = Table(declared).fit(frame)
    assert [column.kind for column in table.columns_] == ["category", "ordered", "bounded", "boolean"]
    np.testing.assert_array_equal(table.encode(frame), [[0, 0, 0.0, 0], [2, 2, 0.25, 1], [1, 1, 1.0, 1]])
    pd.testing.assert_frame_equal(table.decode(table.encode(frame)), frame)
    with pytest.raises(ValueError, match=r"within \[0, 1\], got 1.5"):
        table.encode(frame.assign(p=1.5))


def test_dates_are_counted_in_the_largest_steps_that_they_have():
    frame = pd.DataFrame({"day": DATES})
    table = Table().fit(frame)
    np.testing.assert_array_equal(table.encode(frame)[:, 0], [0, 2, np.nan, 517])
    assert Table().fit(frame[:2]).encode(frame[:2]).tolist() == [[0], [1]]
    noon = pd.DataFrame({"day": [pd.Timestamp("2020-01-02 12:00")]}).astype(frame["day"].dtype)
    assert table.decode(table.encode(noon))["day"][0] == noon["day"][0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [f"word {i}" for i in range(40)],
            "column 'a': it is text, with 40 different strings in 40 rows. Leave it out",
        ),
        ([1, "x"] * 20, "column 'a': it holds objects of mixed or unknown types"),
        ([(1, 2)] * 40, "column 'a': it holds objects of mixed"),
        ([np.inf, 0.5] * 20, "column 'a': it holds infinity"),
        ([0, 2**62] * 20, "column 'a': its values are too far apart"),
        (pd.Series([2**63 + 1, 1] * 20, dtype="uint64"), "column 'a': it holds integers above"),
        ([2**70, 1] * 20, "column 'a': "),
        (pd.Series([1j] * 40), "column 'a': dtype complex128 has no place"),
        (pd.period_range("2020", periods=40, freq="D"), r"column 'a': dtype period\[D\] has no place"),
        (pd.cut(np.arange(40), 3), "column 'a': its categories must be strings, booleans or finite numbers, got Int"),
        ([pd.Timestamp("2020").date()] * 40, "column 'a': it holds dates as objects; convert it by pandas.to_datetime"),
    ],
)
def test_what_has_no_place_in_a_table_is_refused_by_name(column, message):
    with pytest.raises(ValueError, match=message):
        Table().fit(pd.DataFrame({"b": np.arange(40), "a": column}))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"a": "number"}, "columns: 'a' must be one of real, .*, got 'number'"),
        ({"z": "real"}, "columns has 'z', which is no column of X"),
        ({"a": "real"}, "column 'a': it is declared as 'real', but holds strings"),
        ({"a": ["x"]}, "column 'a': it holds 'y', which is none of its declared levels"),
        ({"b": "count"}, "column 'b': it is declared as 'count', but has numbers with fractions"),
        ({"b": "positive"}, "column 'b': it is declared as 'positive', but holds -1.5"),
        ({"b": "date"}, "column 'b': it is declared as 'date', but holds numbers"),
    ],
)
def test_declarations_that_do_not_fit_are_refused_by_name(declared, message):
    with pytest.raises(ValueError, match=message):
        Table(declared).fit(pd.DataFrame({"a": ["x", "y"], "b": [-1.5, 2.0]}))


def test_frames_with_other_columns_or_types_are_refused():
    frame = pd.DataFrame({"a": ["x", "y"], "b": [-1.5, 2.0], "t": DATES[:2]})
    table = Table().fit(frame)
    for wrong, message in (
        (frame[["a", "b"]], "columns of fit, but 't' is in one of them only"),
        (frame[["b", "a", "t"]], "in another order"),
        (frame.assign(b="x"), "column 'b' must hold numbers, got strings"),
        (frame.assign(t=DATES.dt.tz_localize("UTC")), "column 't' must hold dates without time zone, got dates with"),
        (pd.concat([frame, frame], axis=1), "'a' is the name of 2"),
    ):
        with pytest.raises(ValueError, match=message):
            table.encode(wrong)
    with pytest.raises(TypeError, match="data frame, or an array with two axes, got list"):
        Table().fit([[1, 2]])
    with pytest.raises(ValueError, match="must have a row"):
        Table().fit(frame[:0])


def test_only_frames_that_arrays_cannot_stand_for_need_a_table():
    assert not is_table(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.0]}))
    assert not is_table(np.array([[np.nan]]))
    assert not is_table([["a"]])
    assert is_table(pd.DataFrame({"a": [1, 2], "b": [0.5, None]}))
    assert is_table(pd.DataFrame({"a": [True, False]}))
    assert is_table(pd.DataFrame({"a": [1, 2]}), columns={"a": "category"})
    assert not is_table(pl.DataFrame({"a": [1, 2], "b": [0.5, 1.0]}))
    assert is_table(pl.DataFrame({"a": ["x"]}))
    assert is_table(pl.DataFrame({"b": [0.5, None]}))
    assert is_table(pl.DataFrame({"b": [0.5, float("nan")]}))


SERIES = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=64)), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.integers(-(2**70), 2**70)), min_size=6, max_size=6),
    st.lists(st.integers(-5, 5), min_size=6, max_size=6).map(lambda x: np.array(x, dtype=np.int8)),
    st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "b ", "ä\x00", "other"])), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=6, max_size=6).map(lambda x: pd.array(x, dtype="boolean")),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=6, max_size=6).map(
        lambda x: pd.array(x, dtype="Int64")
    ),
    st.lists(
        st.one_of(st.none(), st.datetimes(pd.Timestamp("1900"), pd.Timestamp("2100"))), min_size=6, max_size=6
    ).map(lambda x: pd.Series(x, dtype="datetime64[us]").dt.tz_localize("UTC").dt.tz_convert("America/New_York")),
    st.lists(st.sampled_from(["u", "v", None]), min_size=6, max_size=6).map(
        lambda x: pd.Categorical(x, categories=["v", "w", "u"], ordered=True)
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), SERIES, min_size=1))
def test_any_frame_comes_back_or_the_error_names_a_column(columns):
    frame = pd.DataFrame(columns)
    try:
        table = Table().fit(frame)
    except ValueError as error:
        if str(error).startswith("column '"):
            return
        raise
    made = table.decode(table.encode(frame), like=frame)
    assert made.columns.tolist() == frame.columns.tolist()
    for name in frame:
        if frame[name].dtype == object:  # None and NaN in one column
            assert made[name].isna().equals(frame[name].isna())
            assert made[name].dropna().tolist() == frame[name].dropna().tolist()
        else:
            pd.testing.assert_series_equal(made[name], frame[name])


def test_a_table_stands_in_files_and_refuses_what_cannot_be_one():
    table = Table({"real": "real"}).fit(ALL)
    form = form_of(Table, "state")
    again = form.make(form.check(copy.copy(form.take(table))))
    pd.testing.assert_frame_equal(again.decode(again.encode(ALL), like=ALL), ALL)
    column = form_of(Column, "state")
    plain = column.take(table.columns_[3])
    for changed in ({"kind": "text"}, {"levels": ["a"]}, {"low": 5.0, "high": 4.0}, {"tick": -1.0}, {"n_rare": 3}):
        with pytest.raises(ValueError, match="Column"):
            column.check({**plain, **changed})
    type_ = form_of(ColumnType, "state")
    for changed in ({"dtype": "int9"}, {"family": "list"}, {"dtype": "os.system"}, {"unit": "h"}, {"library": "os"}):
        with pytest.raises(ValueError, match="ColumnType"):
            type_.check({**type_.take(table.columns_[3].type), **changed})


@pytest.mark.parametrize(("values", "kind"), [([0.25, 1.5], "positive"), ([1, 3], "count"), ([0.5, -1.25], "real")])
def test_infinity_is_refused_by_name_or_missing(values, kind):
    table, new = Table().fit(pd.DataFrame({"n": values})), pd.DataFrame({"n": [np.inf]})
    assert table.columns_[0].kind == kind
    with pytest.raises(ValueError, match=r"column 'n' .* that are finite, got inf"):
        table.encode(new)
    assert np.isnan(table.set_params(unseen="missing").encode(new)).all()


def test_snapped_numbers_are_allowed_where_they_are_bounded():
    table = Table({"n": "bounded"}).fit(pd.DataFrame({"n": [0.1 + 0.2, 0.7]}))  # a bit above 0.3
    assert table.encode(table.decode(np.array([[0.0]]), snap=True)).tolist() == [[0.1 + 0.2]]


def test_integers_that_a_dtype_cannot_hold_widen_it():
    table = Table().fit(pd.DataFrame({"n": np.array([1, 2], dtype=np.uint8)}))
    new = pd.DataFrame({"n": [300, 1]})
    pd.testing.assert_frame_equal(table.decode(table.encode(new)), new)
    assert table.decode(table.encode(new[1:])).dtypes["n"] == np.uint8


@pytest.mark.parametrize("kind", ["boolean", "category", "ordered"])
def test_a_declared_column_without_any_cell_is_constant(kind):
    table = Table({"n": kind}).fit(pd.DataFrame({"n": [np.nan, np.nan], "m": [1, 2]}))
    assert table.columns_[0].kind == "constant"
    form = form_of(Column, "state")
    form.check(form.take(table.columns_[0]))


def test_dates_that_a_unit_cannot_count_are_refused():
    table = Table().fit(pd.DataFrame({"day": DATES.astype("datetime64[ns]")}))
    far = pd.DataFrame({"day": np.array(["3000-01-01"], dtype="datetime64[s]")})
    with pytest.raises(ValueError, match="column 'day' holds values too far off to be counted in ns"):
        table.encode(far)


def test_a_time_zone_without_a_name_is_refused_in_the_fit():
    zone = datetime.timezone(datetime.timedelta(hours=1), "a (zone)")
    frame = pd.DataFrame({"day": DATES.dt.tz_localize(zone)})
    with pytest.raises(ValueError, match=r"column 'day': its time zone .* convert it by dt.tz_convert\('UTC'\)"):
        Table().fit(frame)


@pytest.mark.parametrize("dtype", ["set_random_seed", "read_csv", "DataFrame"])
def test_a_file_reaches_no_function_of_polars(dtype, monkeypatch):
    def called(*arguments, **options):
        raise AssertionError("called")

    monkeypatch.setattr(pl, dtype, called)
    form = form_of(ColumnType, "state")
    plain = form.take(ColumnType("polars", dtype, "date", unit="s"))
    with pytest.raises(ValueError, match="polars columns cannot have the dtype"):
        form.check(plain)


def test_types_of_polars_stand_in_files():
    form = form_of(ColumnType, "state")
    frame = pl.DataFrame({"a": [1], "b": ["x"], "c": [1.5], "d": [True], "e": [None]})
    frame = frame.with_columns(f=pl.lit(DATES[0]), g=pl.lit(DATES[0]).dt.date(), h=pl.col("a").cast(pl.UInt8))
    for column in Table().fit(frame).columns_:
        form.check(form.take(column.type))


def test_integers_of_polars_that_are_too_large_are_refused_by_name():
    with pytest.raises(ValueError, match=r"column 'id': it holds integers above 2\*\*63"):
        Table().fit(pl.DataFrame({"id": pl.Series([2**63 + 5, None], dtype=pl.UInt64)}))


def test_numbers_near_the_largest_of_their_dtype_come_back():
    frame = pd.DataFrame({"n": [1.7e308, 0.5, -1.7e308]})
    table = Table().fit(frame)
    assert table.columns_[0].decimals is None
    pd.testing.assert_frame_equal(table.decode(table.encode(frame)), frame)
