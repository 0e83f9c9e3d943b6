"""GANs of tables: data frames of mixed columns go in, and data frames of the same types come out."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sk_autoenc import ClassSampler, ConditionalGANSampler, Convolutional, GANSampler, load, save
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.tabular import Table
from sk_autoenc.likelihoods import Gaussian

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
N = 200
SEX = rng.choice(["f", "m", "x"], N, p=[0.5, 0.4, 0.1])
FRAME = pd.DataFrame(
    {
        "sex": SEX,
        "wage": np.where(SEX == "f", rng.normal(50, 5, N), rng.normal(30, 5, N)).round(1),
        "children": pd.array(rng.poisson(1.5, N), dtype="Int64"),
        "member": SEX == "f",
        "since": pd.Timestamp("2020-01-01", tz="Europe/Rome") + pd.to_timedelta(rng.integers(0, 500, N), unit="D"),
        "size": pd.Categorical(np.where(SEX == "f", "S", "L"), categories=["S", "M", "L"], ordered=True),
        "one": "same",
    }
)
Y = rng.choice(["a", "b"], N, p=[0.8, 0.2])
CHEAP = {"architecture": (8,), "max_iter": 2, "random_state": 0, "device": "cpu"}
MODELS = [GANSampler(**CHEAP), GANSampler(**CHEAP, init="mixture", values="real"), ConditionalGANSampler(**CHEAP)]


@pytest.fixture(scope="module", params=MODELS, ids=["gan", "mixture", "conditional"])
def model(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted(request.param, FRAME)


def fitted(model, frame):
    conditional = isinstance(model, ConditionalGANSampler)
    return clone(model).fit(frame, Y[: len(frame)]) if conditional else clone(model).fit(frame)


def drawn(model, n=100):
    made = model.sample(n, random_state=0)
    return made[0] if isinstance(made, tuple) else made


def decoded(model, codes):
    conditional = isinstance(model, ConditionalGANSampler)
    return model.inverse_transform(codes, Y[: len(codes)]) if conditional else model.inverse_transform(codes)


def test_samples_have_the_types_the_levels_and_the_range_of_the_rows(model):
    made = drawn(model)
    assert made.dtypes.equals(FRAME.dtypes)
    assert list(model.feature_names_in_) == list(made)
    assert model.n_features_in_ == len(FRAME.columns)
    assert not made.isna().to_numpy().any()
    for name in ("sex", "size", "member", "one"):
        assert set(made[name]) <= set(FRAME[name])  # and no level that is declared, but has no rows
    for name in ("wage", "children", "since"):
        assert made[name].between(FRAME[name].min(), FRAME[name].max()).all()
    assert (made["wage"] == made["wage"].round(1)).all()


def test_codes_become_frames_with_their_index(model):
    codes = pd.DataFrame(rng.standard_normal((5, model.n_components_)), index=list("abcde"))
    made = decoded(model, codes)
    assert made.dtypes.equals(FRAME.dtypes)
    assert list(made.index) == list("abcde")
    pd.testing.assert_frame_equal(decoded(model, codes[1:2].astype("float32")), made[1:2])


def test_copies_and_files_draw_the_same_and_train_on(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    for again in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.safetensors")):
        pd.testing.assert_frame_equal(drawn(again), drawn(model))
        conditional = isinstance(model, ConditionalGANSampler)
        again.partial_fit(FRAME[:50], Y[:50]) if conditional else again.partial_fit(FRAME[:50])
        assert drawn(again).dtypes.equals(FRAME.dtypes)


def test_a_mixture_has_the_frequencies_and_relations_of_the_rows():
    made = drawn(GANSampler(**CHEAP, init="mixture").fit(FRAME), 2000)
    for name in ("sex", "member", "size"):
        found, wanted = (rows[name].value_counts(normalize=True, sort=False) for rows in (made, FRAME))
        assert (found - wanted).abs().max() < 0.06
    assert ((made["sex"] == "f") == made["member"]).mean() > 0.95
    wages = made.groupby("sex")["wage"].mean()
    assert abs(wages["f"] - 50) < 2
    assert abs(wages["m"] - 30) < 2


def test_each_column_counts_once_whatever_its_number_of_levels():
    table = Table().fit(FRAME)
    encoded = table.encode(FRAME)
    rows = SampledRows(Gaussian(), (7,), "float64", by_feature=True, table=table).fit(encoded, np.arange(N))
    numbers = rows.to_network(encoded).astype(np.float64)
    assert numbers.shape == (N, rows.n_inputs) == (N, 3 + 1 + 1 + 2 + 1 + 2 + 1)
    np.testing.assert_allclose(numbers.mean(0), 0, atol=1e-6)
    variances = numbers.var(0)
    parts = np.add.reduceat(variances, [0, 3, 4, 5, 7, 8, 10])
    np.testing.assert_allclose(parts, [1, 1, 1, 1, 1, 1, 0], rtol=1e-5)  # the last column is constant
    np.testing.assert_allclose(rows.to_rows(numbers, np.dtype("float32")), encoded, atol=1e-3)


def test_figures_are_of_the_rows_that_are_drawn():
    table = Table().fit(FRAME)
    encoded = table.encode(FRAME)
    rows = SampledRows(Gaussian(), (7,), "float64", by_feature=True, table=table).fit(encoded, np.arange(N))
    exact = torch.from_numpy(rows.to_network(encoded))
    torch.testing.assert_close(rows.as_drawn(exact + 0.01), exact, atol=0.02, rtol=0)
    indicators = slice(0, 3)
    torch.testing.assert_close(rows.as_drawn(exact + 0.01)[:, indicators], exact[:, indicators])
    plain = SampledRows(Gaussian(), (2,), "float64").fit(np.eye(2), np.arange(2))
    made = torch.ones(3, 2)
    assert plain.as_drawn(made) is made


def test_resampled_frames_keep_their_types():
    X, y = ConditionalGANSampler(**CHEAP).fit_resample(FRAME, Y)
    assert X.dtypes.equals(FRAME.dtypes)
    pd.testing.assert_frame_equal(X[:N], FRAME)
    assert (y == "a").sum() == (y == "b").sum() == (Y == "a").sum()
    rows = FRAME[["sex", "since"]]
    unchanged, _ = ConditionalGANSampler(**CHEAP, sampling_strategy={"b": int((Y == "b").sum())}).fit_resample(rows, Y)
    pd.testing.assert_frame_equal(unchanged, rows)
    X, y = ClassSampler(GANSampler(**CHEAP), random_state=0).fit_resample(rows, Y)
    assert X.dtypes.equals(rows.dtypes)


def test_a_class_has_its_rows():
    model = ConditionalGANSampler(**{**CHEAP, "max_iter": 120, "architecture": (16,)}).fit(
        FRAME[["sex", "wage"]], FRAME["size"].astype(str)
    )
    rows, labels = model.sample(100, y=["S", "L"], random_state=0)
    assert (rows["sex"][labels == "S"] == "f").mean() > 0.8
    assert (rows["sex"][labels == "L"] == "f").mean() < 0.2


def test_polars_frames_come_back_as_polars():
    frame = pl.DataFrame({"k": ["a", "c", "b"] * 20, "x": [0.5, 1.5, 2.25] * 20, "b": [True, False, True] * 20})
    made = GANSampler(**CHEAP).fit(frame).sample(7, random_state=0)
    assert made.schema == frame.schema
    assert set(made["x"]) <= {0.5, 1.5, 2.25}  # values that repeat


def test_missing_cells_are_refused_by_name_with_the_ways_out():
    holes = FRAME.mask(rng.random(FRAME.shape) < 0.05)[["wage", "sex"]].assign(one="same")
    message = r"no missing cells for GANSampler, got some in 'wage', 'sex'\. .*AutoencoderImputer.*TabularSampler"
    with pytest.raises(ValueError, match=message):
        GANSampler(**CHEAP).fit(holes)
    with pytest.raises(ValueError, match="got some in 'a'"):
        GANSampler(**CHEAP).fit(pd.DataFrame({"a": [1.0, np.nan], "b": [1.0, 2.0]}))


def test_what_a_table_cannot_be_is_refused_by_name(model):
    frame = FRAME[["sex", "wage"]]
    with pytest.raises(ValueError, match=r"values must be 'observed' or 'real'.*'unbounded'"):
        GANSampler(**CHEAP, values="unbounded").fit(frame)
    with pytest.raises(ValueError, match=r"X must hold numbers, got strings in 'sex'"):
        GANSampler(**{**CHEAP, "architecture": Convolutional((2,))}).fit(frame)
    with pytest.raises(ValueError, match="column 'name': it is text"):
        GANSampler(**CHEAP).fit(frame.assign(name=[f"person {i}" for i in range(N)]))
    further = clone(MODELS[0]).fit(frame)
    with pytest.raises(ValueError, match="levels of the training rows, got others in 'sex'"):
        further.partial_fit(frame.assign(sex="y"))
    with pytest.raises(ValueError, match="feature names"):
        further.partial_fit(frame[["wage", "sex"]])


def test_frames_of_complete_numbers_are_read_as_the_array_of_their_values():
    X = rng.random((60, 3))
    one, other = (GANSampler(**CHEAP).fit(rows) for rows in (X, pd.DataFrame(X, columns=list("abc"))))
    assert isinstance(other.sample(5), np.ndarray)
    np.testing.assert_array_equal(one.sample(5, random_state=0), other.sample(5, random_state=0))


@st.composite
def frames(draw):
    n = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    columns = {f"c{i}": KINDS[kind](draw, n) for i, kind in enumerate(kinds)}
    return pd.DataFrame({**columns, "flag": draw(st.lists(st.booleans(), min_size=n, max_size=n))})


def _cells(draw, elements, n):
    return draw(st.lists(elements, min_size=n, max_size=n))


KINDS = {
    "string": lambda draw, n: _cells(draw, st.sampled_from(["a", "", "é"]), n),
    "category": lambda draw, n: pd.Categorical(_cells(draw, st.sampled_from("xy"), n), categories=list("xyz")),
    "float": lambda draw, n: _cells(draw, st.floats(-1e6, 1e6), n),
    "float32": lambda draw, n: np.array(_cells(draw, st.floats(-9, 9, width=32), n), dtype="float32"),
    "integer": lambda draw, n: _cells(draw, st.integers(-(2**50), 2**50), n),
    "uint8": lambda draw, n: np.array(_cells(draw, st.integers(0, 255), n), dtype="uint8"),
    "date": lambda draw, n: pd.to_datetime(_cells(draw, st.integers(0, 10**6), n), unit="s"),
}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames())
def test_any_frame_without_missing_cells_comes_back_in_its_types(frame):
    made = GANSampler(**{**CHEAP, "max_iter": 1}).fit(frame).sample(3, random_state=0)
    assert made.dtypes.equals(frame.dtypes)
    for name in frame:
        is_level = not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype.kind != "M"
        if is_level or frame[name].dtype == bool:
            assert set(made[name]) <= set(frame[name])
        else:
            assert made[name].between(frame[name].min(), frame[name].max()).all()
