"""Imputation: what is observed stays, what is missing is filled at least as by the baseline, and draws cover it."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import MLP, AutoencoderImputer, Convolutional, load, save
from sk_autoenc.data.dataset import Batch
from sk_autoenc.data.incomplete import HiddenCells, IncompleteRows
from sk_autoenc.estimators.imputer import imputation_objective
from sk_autoenc.nn.imputation import CellLayout, ImputationOutput, indicators_by_class
from tests.instances import IMPUTERS, describe

NAN = np.nan

rng = np.random.default_rng(0)
COVARIANCE = np.array([[1.0, 0.8, 0.3, 0.0], [0.8, 2.0, -0.4, 0.2], [0.3, -0.4, 1.5, 0.5], [0.0, 0.2, 0.5, 1.0]])
COMPLETE = rng.multivariate_normal([1.0, -2.0, 0.5, 3.0], COVARIANCE, 400)
MISSING = rng.random(COMPLETE.shape) < 0.25
X = np.where(MISSING, NAN, COMPLETE)


@pytest.fixture(params=IMPUTERS, ids=describe)
def imputer(request):
    return clone(request.param)


@pytest.fixture(scope="module")
def model():
    return AutoencoderImputer(max_iter=10, random_state=0, device="cpu").fit(X)


def a_table(n=240, seed=0):
    """Columns of many types that depend on one another, with and without holes."""
    rng = np.random.default_rng(seed)
    x, group = rng.standard_normal(n), rng.integers(0, 3, n)
    frame = pd.DataFrame(
        {
            "real": x,
            "other": 2 * x + group + 0.3 * rng.standard_normal(n),
            "whole": pd.array(np.abs(10 * x).astype(int), dtype="Int64"),
            "flag": pd.array(x > 0, dtype="boolean"),
            "group": pd.Categorical(np.array(["a", "b", "c"])[group]),
            "text": np.array(["u", "v"])[(x + 0.2 * rng.standard_normal(n) > 0).astype(int)],
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta((100 * x).astype(int), "D"),
        }
    )
    return frame, frame.mask(rng.random(frame.shape) < 0.2)


# -- the mathematics


def test_the_loss_counts_hidden_targets_alone_in_units_of_means_and_frequencies():
    layout = CellLayout((0, 2))  # a number; a category of two frequent levels and rare ones
    y = torch.tensor([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0], [torch.nan] * 3, [2.0, 0.0, 1.0]])
    output = ImputationOutput(
        means=torch.tensor([[0.5], [1.0], [9.0], [7.0]]),
        log_probabilities=torch.log(torch.tensor([[0.5, 0.3, 0.2]] * 4)),
        observed=torch.tensor([[False, False], [False, False], [False, False], [True, True]]),
    )
    terms = imputation_objective(output, Batch(y, y), layout=layout, entropies=torch.tensor([0.8]))
    np.testing.assert_allclose(terms["numbers"], [0.25, 4.0, 0, 0])
    np.testing.assert_allclose(terms["categories"], [-np.log(0.5) / 0.8, -np.log(0.2) / 0.8, 0, 0], rtol=1e-6)


def test_rare_levels_are_what_the_indicators_leave():
    layout = CellLayout((1, 0, 2))
    cells = torch.tensor([[0.3, 9.0, 0.5, 0.4]])
    np.testing.assert_allclose(indicators_by_class(cells, layout), [[0.3, 0.7, 0.5, 0.4, 0.1]], rtol=1e-6)


def test_the_baseline_is_the_conditional_mean_of_a_normal_distribution():
    model = AutoencoderImputer(shrinkage=1e-9, max_iter=1, early_stopping=True, random_state=0).fit(COMPLETE[:39])
    assert model.linear_  # fewer than 40 rows cannot evaluate a network
    rows = COMPLETE[:39]
    design = np.column_stack([np.ones(39), rows[:, [0, 2, 3]]])
    coefficients = np.linalg.lstsq(design, rows[:, 1], rcond=None)[0]
    asked = rows.copy()
    asked[:, 1] = NAN
    expected = (design @ coefficients).clip(rows[:, 1].min(), rows[:, 1].max())
    np.testing.assert_allclose(model.transform(asked)[:, 1], expected, rtol=1e-4)


def test_full_shrinkage_is_filling_with_means():
    model = AutoencoderImputer(shrinkage=1.0, random_state=0, max_iter=1).fit(X[:39])
    np.testing.assert_allclose(model.transform(X), SimpleImputer().fit(X[:39]).transform(X), rtol=1e-6)
    complete = AutoencoderImputer(shrinkage=1.0, max_iter=1).fit(COMPLETE[:39])
    assert complete.score(COMPLETE[:39]) == pytest.approx(-1, rel=1e-4)


def test_a_row_without_any_cell_gets_the_means(model):
    row = model.transform(np.full((1, 4), NAN))[0]
    np.testing.assert_allclose(row, model.statistics_, rtol=1e-6)
    np.testing.assert_allclose(row, COMPLETE.mean(axis=0), atol=0.2)


# -- what is kept, what is learned


def test_observed_cells_are_the_same_bit_for_bit(imputer):
    for dtype in (np.float64, np.float32):
        rows = (X * 1e3).astype(dtype)
        filled = imputer.fit(rows).transform(rows)[:, :4]
        assert filled.dtype == dtype
        np.testing.assert_array_equal(filled[~MISSING], rows[~MISSING])
        assert np.isfinite(filled).all()


def test_a_row_is_bit_equal_whatever_the_other_rows(imputer):
    imputer.fit(X)
    expected, order = imputer.transform(X), np.random.default_rng(1).permutation(len(X))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:65]):
                np.testing.assert_array_equal(imputer.transform(X[rows]), expected[rows])
    finally:
        torch.set_num_threads(before)


def test_a_network_is_kept_where_it_fills_better_and_dropped_where_it_does_not():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (500, 1))
    curved = np.column_stack([x, x**2, np.abs(x), x + 0.1 * rng.standard_normal((500, 1))])
    hidden = rng.random(curved.shape) < 0.2
    holes = np.where(hidden, NAN, curved)
    network = AutoencoderImputer(
        max_iter=50, architecture=(64,), learning_rate=0.01, batch_size=64, random_state=0
    ).fit(holes)
    baseline = AutoencoderImputer(random_state=0, max_iter=1).fit(holes)
    assert not network.linear_
    assert baseline.linear_
    errors = [np.square(fitted.transform(holes) - curved)[hidden].mean() for fitted in (network, baseline)]
    assert errors[0] < 0.85 * errors[1]
    assert AutoencoderImputer(random_state=0, max_iter=5).fit(X).linear_  # normal rows, where it cannot be better


def test_hidden_cells_are_hidden_from_training_and_learned_in_the_end():
    rows = torch.arange(12.0).reshape(4, 3)
    hidden = torch.zeros(4, 3, dtype=torch.bool)
    hidden[1, 2] = hidden[3, 0] = True
    pairs = HiddenCells.of(rows, hidden)
    train, held_out = pairs.subset(torch.arange(4)), pairs.subset(torch.arange(4, 8))
    for part in (train[:], train.gather(train.index).y):
        assert part.isnan().equal(hidden)
    assert held_out.gather(held_out.index).x.isnan().equal(hidden)
    assert held_out.gather(held_out.index).y.isnan().equal(~hidden)
    assert train.known_cells().isnan().equal(hidden)
    assert pairs.known_cells().equal(rows)


def test_draws_vary_as_what_is_missing_and_keep_what_is_observed(model):
    asked = np.array([[1.0, NAN, NAN, 3.0]])
    draws = model.sample_imputations(asked, n_draws=4000, random_state=0)
    assert draws.shape == (4000, 1, 4)
    assert (draws[:, 0, [0, 3]] == asked[0, [0, 3]]).all()
    seen, unseen = [0, 3], [1, 2]
    between = COVARIANCE[np.ix_(unseen, seen)] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    covariance = COVARIANCE[np.ix_(unseen, unseen)] - between @ COVARIANCE[np.ix_(seen, unseen)]
    np.testing.assert_allclose(np.cov(draws[:, 0, unseen].T), covariance, atol=0.3)
    assert multivariate_normal(cov=covariance).cov[0, 1] * np.cov(draws[:, 0, unseen].T)[0, 1] > 0


def test_intervals_of_draws_cover_what_was_hidden(model):
    fresh = np.random.default_rng(5).multivariate_normal([1.0, -2.0, 0.5, 3.0], COVARIANCE, 400)
    hidden = np.random.default_rng(6).random(fresh.shape) < 0.25
    draws = model.sample_imputations(np.where(hidden, NAN, fresh), n_draws=200, random_state=0)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    assert 0.85 <= ((low <= fresh) & (fresh <= high))[hidden].mean() <= 0.95


def test_draws_are_those_of_their_seed(model):
    same = [model.sample_imputations(X[:20], 2, random_state=3) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], model.sample_imputations(X[:20], 2, random_state=4))
    assert not np.array_equal(same[0][0], same[0][1])


# -- tables of many types


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_types_names_and_observed_cells(library):
    complete, holes = a_table()
    if library == "polars":
        holes = pl.DataFrame({n: [None if pd.isna(v) else v for v in holes[n].tolist()] for n in holes})
    model = AutoencoderImputer(max_iter=3, random_state=0).fit(holes)
    filled = model.transform(holes)
    if library == "polars":
        assert filled.schema == holes.schema
        for name in holes.columns:
            assert filled[name].null_count() == 0
            seen = holes[name].is_not_null()
            assert (filled[name] == holes[name]).filter(seen).all()
        return
    assert list(filled.dtypes) == list(holes.dtypes)
    assert not filled.isna().any(axis=None)
    for name in holes:
        pd.testing.assert_series_equal(filled[name][holes[name].notna()], holes[name][holes[name].notna()])
    agree = {n: (filled[n] == complete[n])[holes[n].isna()].mean() for n in ("text", "group", "flag")}
    assert agree["text"] > 0.7
    assert agree["group"] > 0.5
    assert agree["flag"] > 0.7


def test_draws_of_frames_have_levels_and_numbers_that_columns_can_have():
    _, holes = a_table()
    holes.index = holes.index + 1000
    model = AutoencoderImputer(max_iter=3, random_state=0).fit(holes)
    first, second = model.sample_imputations(holes, n_draws=2, random_state=0)
    assert list(first.dtypes) == list(holes.dtypes)
    assert first.index.equals(holes.index)
    assert first["whole"].min() >= 0
    assert not first.equals(second)


def test_rare_levels_share_the_probability_of_their_class():
    levels = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0], [500, 400, 96, 3, 1])
    rows = IncompleteRows([5], "float64").fit(levels[:, None], np.arange(1000))
    assert rows.frequent[0].tolist() == [0, 1, 2]
    found = rows.level_probabilities(np.array([[0.2, 0.3, 0.1, 0.4]]))[0]
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.1, 0.3, 0.1]])


def test_many_levels_leave_no_more_cells_than_a_network_reads():
    many = np.column_stack([np.arange(2000) % 90, np.arange(2000) % 70]).astype(float)
    rows = IncompleteRows([90, 70], "float64").fit(many, np.arange(2000))
    assert sum(rows.n_indicators) == 128


# -- as scikit-learn's imputers


def test_empty_columns_are_left_out_or_filled_with_zero():
    rows = np.column_stack([X, np.full(len(X), NAN)])
    with pytest.warns(UserWarning, match=r"\['x4'\] have no observed cell"):
        model = AutoencoderImputer(max_iter=2, random_state=0).fit(rows)
    assert model.transform(rows).shape == (400, 4)
    assert np.isnan(model.statistics_[4])
    assert list(model.get_feature_names_out()) == ["x0", "x1", "x2", "x3"]
    kept = AutoencoderImputer(max_iter=2, keep_empty_features=True).fit(rows)
    assert (kept.transform(rows)[:, 4] == 0).all()
    with pytest.raises(ValueError, match="must have an observed cell"):
        AutoencoderImputer().fit(np.full((5, 2), NAN))


def test_the_indicator_is_that_of_simple_imputer():
    rows = np.column_stack([X, COMPLETE[:, 0]])
    frame = pd.DataFrame(rows, columns=list("abcde"))
    ours = AutoencoderImputer(add_indicator=True, max_iter=2, random_state=0).fit(frame)
    theirs = SimpleImputer(add_indicator=True).fit(frame)
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    np.testing.assert_array_equal(ours.transform(frame)[:, 5:], theirs.transform(frame)[:, 5:])
    np.testing.assert_array_equal(ours.indicator_.features_, theirs.indicator_.features_)
    assert AutoencoderImputer(max_iter=1).fit(X).indicator_ is None


def test_a_code_may_stand_for_missing_cells():
    coded = np.where(MISSING, -99, COMPLETE)
    model = AutoencoderImputer(missing_values=-99, max_iter=2, random_state=0).fit(coded)
    expected = AutoencoderImputer(max_iter=2, random_state=0).fit(X).transform(X)
    np.testing.assert_array_equal(model.transform(coded), expected)
    with pytest.raises(ValueError, match="NaN"):
        model.transform(X)


def test_columns_complete_in_fit_may_be_missing_later():
    model = AutoencoderImputer(max_iter=2, random_state=0).fit(COMPLETE)
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 3), (2, 5), (10, 4), (30, 60)])
def test_few_rows_and_wide_tables_are_filled(n_rows, n_columns):
    rows = np.random.default_rng(0).standard_normal((n_rows, n_columns))
    holes = rows.copy()
    holes[0, 0] = NAN
    model = AutoencoderImputer(max_iter=2, keep_empty_features=True, random_state=0).fit(holes)
    assert np.isfinite(model.transform(holes)).all()
    assert np.isfinite(model.sample_imputations(np.full((3, n_columns), NAN), random_state=0)).all()


def test_constant_and_copied_columns_are_filled_with_what_they_are():
    rows = np.column_stack([X[:, 0], X[:, 0], np.full(400, 7.0)])
    asked = np.array([[2.0, NAN, NAN]])
    found = AutoencoderImputer(max_iter=2, random_state=0).fit(rows).transform(asked)[0]
    np.testing.assert_allclose(found, [2.0, 2.0, 7.0], atol=0.1)


def test_it_works_in_pipelines_searches_and_column_transformers():
    y = (COMPLETE[:, 0] + COMPLETE[:, 3] > 4).astype(int)
    imputer = AutoencoderImputer(architecture=(8,), max_iter=2, random_state=0)
    model = make_pipeline(imputer, StandardScaler(), LogisticRegression())
    grid = {"autoencoderimputer__shrinkage": [0.01, 1.0]}
    assert GridSearchCV(model, grid, cv=2).fit(X, y).best_score_ > 0.6
    alone = GridSearchCV(imputer, {"shrinkage": [0.01, 1.0]}, cv=2).fit(COMPLETE)
    assert alone.best_params_ == {"shrinkage": 0.01}
    parts = ColumnTransformer([("left", imputer, [0, 1]), ("right", SimpleImputer(), [2, 3])])
    assert np.isfinite(parts.fit_transform(X)).all()
    complete, holes = a_table()
    table = make_pipeline(imputer, HistGradientBoostingClassifier(max_iter=3, random_state=0))
    rows, labels = holes[["real", "other", "flag"]], complete["group"].astype(str)
    assert table.fit(rows, labels).score(rows, labels) > 0.4


def test_set_output_names_columns():
    frame = pd.DataFrame(X, columns=list("abcd"), index=range(10, 410))
    model = AutoencoderImputer(max_iter=2, random_state=0).set_output(transform="pandas").fit(frame)
    filled = model.transform(frame)
    assert list(filled.columns) == list("abcd")
    assert filled.index.equals(frame.index)
    assert isinstance(model.sample_imputations(frame, 2)[0], pd.DataFrame)


def test_it_trains_on_in_chunks_and_by_warm_start(imputer):
    for _ in range(3):
        imputer.partial_fit(X)
    assert imputer.n_iter_ == 3
    assert not imputer.linear_
    imputer.set_params(warm_start=True).fit(X)
    assert imputer.n_iter_ > 3
    assert np.isfinite(imputer.transform(X)).all()


# -- state


def test_two_fits_agree_and_pickles_fill_the_same(imputer):
    first = imputer.fit(X).transform(X)
    for other in (pickle.loads(pickle.dumps(imputer)), copy.deepcopy(imputer), clone(imputer).fit(X)):
        np.testing.assert_array_equal(other.transform(X), first)
    assert b"hidden" not in pickle.dumps(imputer._data) or imputer._data.__getstate__()["hidden"] is None


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_files_hold_the_whole_imputer(kind, tmp_path):
    rows = X if kind == "array" else a_table()[1]
    model = AutoencoderImputer(max_iter=3, random_state=0, add_indicator=True).fit(rows)
    save(model, tmp_path / "model")
    opened = load(tmp_path / "model")
    expected, found = model.transform(rows), opened.transform(rows)
    np.testing.assert_array_equal(np.asarray(found, dtype=object), np.asarray(expected, dtype=object))
    drawn = [np.asarray(m.sample_imputations(rows, 1, random_state=0)[0], dtype=object) for m in (model, opened)]
    np.testing.assert_array_equal(*drawn)
    assert opened.shrinkage_ == model.shrinkage_


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("n_levels", (0, 0, 0, 2), "columns_"),
        ("scale", np.zeros(4), "above 0"),
        ("center", np.zeros(3), "3 entries for 4 columns"),
        ("frequent", [None] * 5, "5 entries for 4 columns"),
    ],
)
def test_tampered_files_are_refused(model, name, value, reason, tmp_path):
    broken = copy.deepcopy(model)
    setattr(broken._data, name, value)
    with pytest.raises(ValueError, match=reason):
        save(broken, tmp_path / "model")


def test_a_file_without_a_proper_covariance_is_refused(tmp_path):
    model = AutoencoderImputer(max_iter=1, architecture=(8,)).fit(X[:39])
    model.net_.module_.covariance[0, 0] = -1.0
    with pytest.raises(ValueError, match="positive definite"):
        save(model, tmp_path / "model")


# -- errors


def test_errors_name_what_is_wrong(model):
    with pytest.raises(NotFittedError):
        AutoencoderImputer().transform(X)
    with pytest.raises(ValueError, match="infinity"):
        model.transform([[np.inf, 1, 1, 1]])
    with pytest.raises(ValueError, match=r"float32.*1e\+300"):
        AutoencoderImputer().fit(np.where(MISSING, NAN, 1e300))
    with pytest.raises(ValueError, match="architecture must be an MLP"):
        AutoencoderImputer(architecture=Convolutional((3,))).fit(X)
    with pytest.raises(ValueError, match="code_activation='identity'"):
        AutoencoderImputer(architecture=MLP((3,), code_activation="relu")).fit(X)
    with pytest.raises(ValueError, match="'compile' would have no effect"):
        AutoencoderImputer(net_params={"compile": True}).fit(X)
    with pytest.raises(ValueError, match="needs a data frame"):
        AutoencoderImputer(columns={"a": "real"}).fit(X)
    with pytest.raises(ValueError, match="n_draws"):
        model.sample_imputations(X, 0)
    frame, _ = a_table()
    fitted = AutoencoderImputer(max_iter=1).fit(frame)
    with pytest.raises(ValueError, match="must be a data frame"):
        fitted.transform(X)
    with pytest.raises(ValueError, match="'text'"):
        fitted.transform(frame.assign(text="never seen"))
    lenient = AutoencoderImputer(max_iter=1, unseen="missing").fit(frame)
    assert set(lenient.transform(frame.assign(text="never seen"))["text"]) <= {"u", "v"}


def test_nan_elsewhere_is_answered_by_naming_the_imputer():
    from sk_autoenc import AutoencoderTransformer

    with pytest.raises(ValueError, match="AutoencoderImputer"):
        AutoencoderTransformer().fit(X)


def test_the_only_cell_of_a_column_is_not_hidden():
    rows = np.random.default_rng(0).normal(size=(60, 14))
    rows[1:, 4:] = NAN  # ten columns with a single cell, of which some would be hidden by chance
    rows[0, 4:] = 1000.0
    model = AutoencoderImputer(max_iter=2, random_state=0, device="cpu").fit(rows)
    np.testing.assert_allclose(model.transform(rows)[:, 4:], 1000.0)


def test_a_file_holds_a_category_without_any_cell(tmp_path):
    frame = a_table()[0].assign(empty=pd.array([None] * 240, dtype="boolean"))
    with pytest.warns(UserWarning, match="'empty'"):
        model = AutoencoderImputer(max_iter=2, random_state=0, device="cpu").fit(frame)
    save(model, tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(load(tmp_path / "model.safetensors").transform(frame), model.transform(frame))


def test_observed_fractions_stay_in_columns_of_integers_and_empty_columns_of_numbers_become_0():
    columns = {"n": pd.array([1, 2, 3, None] * 10, dtype="Int64"), "k": ["a", "b", None, "a"] * 10}
    empty = {"none": np.full(40, np.nan), "nothing": pd.Series([None] * 40, dtype=object)}
    imputer = AutoencoderImputer(max_iter=1, random_state=0, keep_empty_features=True)
    made = imputer.fit(pd.DataFrame({**columns, **empty})).transform(
        pd.DataFrame({"n": [2.5, None], "k": ["a", None], "none": [np.nan] * 2, "nothing": [None] * 2})
    )
    assert made["n"][0] == 2.5
    assert made["n"][1] in (1, 2, 3)
    assert made["none"].tolist() == [0, 0]
    assert made["nothing"].isna().all()


def test_columns_that_were_constant_or_empty_go_by_unseen():
    frame = pd.DataFrame({"x": np.arange(40) / 7, "one": ["a"] * 40, "none": np.full(40, np.nan)})
    new = pd.DataFrame({"x": [0.5], "one": ["b"], "none": [3.0]})
    with pytest.raises(ValueError, match="column 'one' is of the kind 'constant'"):
        AutoencoderImputer(max_iter=1, random_state=0).fit(frame).transform(new)
    made = AutoencoderImputer(max_iter=1, random_state=0, unseen="missing").fit(frame).transform(new)
    assert made["one"].tolist() == ["a"]
