"""Tables drawn column by column: types, holes, dependence, conditions, densities, and the baseline."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sk_autoenc import TabularSampler, load, save
from tests.instances import TABULAR, describe

rng = np.random.default_rng(0)
N = 3000
SEX = rng.choice(["f", "m"], N)
WAGE = np.where(SEX == "f", rng.normal(50, 5, N), rng.normal(30, 5, N)).round(1)
FRAME = pd.DataFrame(
    {
        "sex": SEX,
        "wage": np.where(rng.random(N) < 0.2, np.nan, WAGE),
        "children": rng.poisson(1.5, N),
        "member": pd.array(np.where(WAGE > 40, True, False), dtype="boolean"),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500, N), unit="D"),
        "size": pd.Categorical(rng.choice(["S", "L"], N), categories=["S", "M", "L"], ordered=True),
    }
)
SMALL = {"architecture": (32, 32), "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    return TabularSampler(**SMALL, max_iter=20, learning_rate=0.005).fit(FRAME)


def test_samples_have_the_types_and_the_ranges_of_the_training_rows(model):
    made = model.sample(2000, random_state=0)
    assert made.columns.tolist() == FRAME.columns.tolist()
    assert made.dtypes.equals(FRAME.dtypes)
    assert set(made["sex"]) == {"f", "m"}
    assert made["size"].cat.categories.tolist() == ["S", "M", "L"]
    assert "M" not in set(made["size"])
    for name in ("wage", "children", "since"):
        assert made[name].min() >= FRAME[name].min()
        assert made[name].max() <= FRAME[name].max()
    assert (made["wage"].dropna() == made["wage"].dropna().round(1)).all()
    assert (made["since"] == made["since"].dt.normalize()).all()
    assert abs(made["wage"].isna().mean() - FRAME["wage"].isna().mean()) < 0.04
    pd.testing.assert_frame_equal(made, model.sample(2000, random_state=0))
    assert not made.equals(model.sample(2000, random_state=1))


def test_columns_depend_on_each_other_as_in_the_training_rows(model):
    assert not model.independent_
    made = model.sample(4000, random_state=0)
    for sex in "fm":
        expected, found = (rows.loc[rows["sex"] == sex, "wage"] for rows in (FRAME, made))
        assert found.mean() == pytest.approx(expected.mean(), abs=1.0)
        assert found.std() == pytest.approx(expected.std(), abs=1.7)  # 11 if columns were independent
    agrees = (made["wage"] > 40) == made["member"]
    assert agrees[made["wage"].notna()].mean() > 0.93


def test_given_columns_are_fixed(model):
    made = model.sample(500, random_state=0, given={"wage": None, "size": ["S"], "since": ("2020-02-01", "2020-02-10")})
    assert made["wage"].isna().all()
    assert set(made["size"]) == {"S"}
    assert made["since"].between("2020-02-01", "2020-02-10").all()
    assert (model.sample(3, given={"wage": 41.3})["wage"] == 41.3).all()


def test_other_columns_follow_their_distribution_given_some():
    few = FRAME[["sex", "wage", "children"]]
    model = TabularSampler(**SMALL, max_iter=20, learning_rate=0.01).fit(few)
    share = (few.loc[few["wage"] >= 45, "sex"] == "f").mean()
    made = model.sample(2000, random_state=0, given={"wage": (45, None), "children": 2})
    assert (made["wage"] >= 45).all()
    assert (made["children"] == 2).all()
    assert (made["sex"] == "f").mean() == pytest.approx(share, abs=0.08)
    both = model.sample(2000, random_state=0, given={"sex": ["f", "m"], "wage": (45, None)})
    assert (both["sex"] == "f").mean() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": 3}, "given has 'age', which is no column"),
        ({"sex": "x"}, "column 'sex' .* got 'x'"),
        ({"sex": ("f", "m")}, "column 'sex' must have a value, a list"),
        ({"children": None}, "column 'children' had no missing cells"),
        ({"children": 99}, "no training row can have 99 in column 'children'"),
        ({"children": 1.5}, "no training row can have 1.5 in column 'children'"),
        ({"since": "tomorrow"}, "given: "),
        ([1], "given must be a dict"),
    ],
)
def test_conditions_that_no_row_has_are_refused_by_name(model, given, message):
    with pytest.raises(ValueError, match=message):
        model.sample(2, given=given)


def test_scores_of_independent_columns_are_sums_of_log_shares():
    frame = pd.DataFrame({"a": ["x", "y", "y", "y"] * 5, "n": [1, 2, 2, 2] * 5})
    model = TabularSampler(**SMALL, max_iter=1).fit(frame)
    assert model.independent_  # 20 rows are too few to tell
    share = {"x": 5.5 / 21, "y": 15.5 / 21}
    shares = {1: 5.5 / 21.5, 2: 15.5 / 21.5}  # a third outcome is all other integers
    expected = [np.log(share[a]) + np.log(shares[n]) for a, n in zip(frame["a"], frame["n"], strict=True)]
    np.testing.assert_allclose(model.score_samples(frame), expected, rtol=1e-5)
    hole = frame.assign(n=np.nan)
    np.testing.assert_allclose(model.score_samples(hole), np.log([share[a] for a in frame["a"]]), rtol=1e-5)
    assert model.score(frame) == pytest.approx(np.mean(expected), rel=1e-5)


def test_rows_score_higher_than_rows_whose_cells_are_exchanged(model):
    shuffled = FRAME.assign(sex=FRAME["sex"].to_numpy()[::-1])
    assert model.score(FRAME) > model.score(shuffled) + 1


def test_independent_columns_are_kept_where_the_network_gains_nothing():
    noise = pd.DataFrame({"a": rng.choice(list("abc"), 700), "b": rng.choice(list("de"), 700), "x": rng.random(700)})
    model = TabularSampler(**SMALL, max_iter=5).fit(noise)
    assert model.independent_
    made = model.sample(3000, random_state=0)
    shares = noise["a"].value_counts(normalize=True)
    np.testing.assert_allclose(made["a"].value_counts(normalize=True)[shares.index], shares, atol=0.04)


def test_a_row_scores_the_same_whatever_the_others_are(model):
    scores = model.score_samples(FRAME)
    np.testing.assert_array_equal(model.score_samples(FRAME[17:18]), scores[17:18])
    np.testing.assert_array_equal(model.score_samples(FRAME[::-1]), scores[::-1])


def test_files_and_pickles_hold_the_whole_model(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    for again in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        pd.testing.assert_frame_equal(again.sample(50, random_state=3), model.sample(50, random_state=3))
        np.testing.assert_array_equal(again.score_samples(FRAME), model.score_samples(FRAME))
        assert [column.kind for column in again.columns_] == [column.kind for column in model.columns_]


def test_polars_frames_and_arrays_come_back_as_such():
    frame = pl.DataFrame({"k": ["a", None, "b"] * 20, "x": [0.5, None, 2.25] * 20})
    made = TabularSampler(**SMALL, max_iter=2).fit(frame).sample(10, random_state=0)
    assert made.schema == frame.schema
    array = rng.random((60, 2)).astype(np.float32)
    made = TabularSampler(**SMALL, max_iter=2).fit(array).sample(10, random_state=0)
    assert (made.shape, made.dtype) == ((10, 2), np.float32)


def test_levels_that_fit_did_not_see_are_refused_or_missing(model):
    strange = FRAME[:2].assign(sex=["x", "f"])
    with pytest.raises(ValueError, match=r"column 'sex' .* got 'x'"):
        model.score_samples(strange)
    lenient = clone(model).set_params(unseen="missing", max_iter=1).fit(FRAME)
    assert np.isfinite(lenient.score_samples(strange)).all()


def test_columns_are_declared_and_text_is_refused_by_name():
    frame = FRAME.assign(name=[f"person {i}" for i in range(N)])
    with pytest.raises(ValueError, match="column 'name': it is text"):
        TabularSampler(**SMALL).fit(frame)
    model = TabularSampler({"name": "category", "children": "category"}, min_count=2, max_iter=1, **SMALL).fit(frame)
    kinds = {column.name: column.kind for column in model.columns_}
    assert (kinds["name"], kinds["children"]) == ("category", "category")
    assert set(model.sample(20, random_state=0)["name"]) == {"other"}


def test_a_search_over_a_table_runs():
    search = GridSearchCV(TabularSampler(**SMALL, max_iter=2, unseen="missing"), {"max_bins": [5, 20]}, cv=2)
    assert search.fit(FRAME[:100]).best_params_["max_bins"] in (5, 20)


def test_training_goes_on_with_the_same_table(model):
    more = clone(model).set_params(max_iter=1).fit(FRAME)
    before = more.score(FRAME)
    for _ in range(8):
        more.partial_fit(FRAME)
    assert more.score(FRAME) > before
    with pytest.raises(ValueError, match="architecture must be"):
        TabularSampler(architecture=(0,)).fit(FRAME)


@pytest.mark.parametrize("instance", TABULAR, ids=describe)
def test_two_fits_agree_bit_for_bit(instance):
    one, other = (clone(instance).fit(FRAME) for _ in range(2))
    pd.testing.assert_frame_equal(one.sample(30, random_state=0), other.sample(30, random_state=0))
    np.testing.assert_array_equal(one.score_samples(FRAME), other.score_samples(FRAME))


def test_without_held_out_rows_and_in_chunks_the_trained_network_is_kept():
    model = TabularSampler(**SMALL, max_iter=5, early_stopping=False).fit(FRAME)
    assert not model.independent_
    assert len(model.loss_curve_) == 5
    assert model.loss_curve_[-1] < model.loss_curve_[0] - 0.1
    assert not TabularSampler(**SMALL).partial_fit(FRAME).independent_
