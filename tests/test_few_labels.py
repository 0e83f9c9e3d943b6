"""What every model of few labels promises beyond scikit-learn's checks; one list of instances."""

import concurrent.futures
import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sk_autoenc import load, save
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK
from tests.instances import CLASSIFIERS, REGRESSORS, describe

X, CLASSES = make_blobs(90, 4, centers=3, random_state=0)
KNOWN = np.arange(90) % 2 == 0  # as many as make folds


@pytest.fixture(params=CLASSIFIERS + REGRESSORS, ids=describe)
def model(request):
    return clone(request.param).set_params(max_iter=2)  # what is promised here needs no good fit


@pytest.fixture(params=CLASSIFIERS, ids=describe)
def classifier(request):
    return clone(request.param).set_params(max_iter=2)


def targets(model):
    """Targets of half of the rows, in the form that the model reads."""
    return np.where(KNOWN, CLASSES, -1) if is_classifier(model) else np.where(KNOWN, X[:, 0] + CLASSES, np.nan)


def outputs(model, X):
    found = {"transform": model.transform(X), "predict": model.predict(X)}
    return found | ({"predict_proba": model.predict_proba(X)} if is_classifier(model) else {})


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# -- what y may hold


@pytest.mark.parametrize(
    "y",
    [
        np.where(KNOWN, CLASSES, -1).astype(float),
        np.where(KNOWN, CLASSES, np.nan),
        np.where(KNOWN, CLASSES, None),
        np.where(KNOWN, CLASSES, -1).astype(object),
        pd.Series(np.where(KNOWN, CLASSES, np.nan)),
        pl.Series(np.where(KNOWN, CLASSES, -1)),
        np.where(KNOWN, CLASSES, -1).tolist(),
    ],
    ids=["float", "nan", "none", "object", "pandas", "polars", "list"],
)
def test_missing_labels_may_be_minus_one_nan_or_none(classifier, y):
    expected = classifier.fit(X, np.where(KNOWN, CLASSES, -1)).predict_proba(X)
    found = clone(classifier).fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), expected)
    assert found.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("missing", [-1, None, np.nan])
def test_labels_may_be_strings_beside_missing_ones(classifier, missing):
    names = np.array(["a", "bcd", "e"], dtype=object)[CLASSES]
    expected = classifier.fit(X, np.where(KNOWN, CLASSES, -1)).predict(X)
    found = clone(classifier).fit(X, np.where(KNOWN, names, missing))
    assert found.classes_.tolist() == ["a", "bcd", "e"]
    assert found.predict(X).tolist() == np.array(["a", "bcd", "e"])[expected].tolist()


def test_strings_that_numpy_has_made_of_missing_labels_are_refused_with_the_way_out(classifier):
    with pytest.raises(ValueError, match=r"'-1'.*dtype=object"):
        classifier.fit(X, np.where(KNOWN, CLASSES, -1).astype(str))


def test_no_label_at_all_is_refused(model):
    nothing = np.full(len(X), -1 if is_classifier(model) else np.nan)
    with pytest.raises(ValueError, match=r"y must have a (class|value) for one row or more"):
        model.fit(X, nothing)


def test_transduction_holds_the_labels_that_are_known_and_predictions_elsewhere(model):
    y = targets(model)
    model.fit(X, y)
    assert model.transduction_.shape == (len(X),)
    np.testing.assert_allclose(model.transduction_[KNOWN], y[KNOWN], rtol=1e-5)
    np.testing.assert_allclose(model.transduction_[~KNOWN], model.predict(X[~KNOWN]), rtol=1e-5)


def test_without_held_out_labels_the_network_is_kept_though_a_graph_knows_the_labels_by_heart(model):
    assert not model.set_params(early_stopping=False, baseline="graph").fit(X, targets(model)).is_baseline_


def test_rows_without_labels_take_part(model):
    y = targets(model)
    with_others = model.fit(X, y).transform(X)
    alone = clone(model).fit(X[KNOWN], y[KNOWN]).transform(X)
    assert not np.array_equal(with_others, alone)


@pytest.mark.parametrize("n_known", [1, 2, 3, 8, 39, 40])
def test_any_number_of_labels(model, n_known):
    y = targets(model)
    missing = -1 if is_classifier(model) else np.nan
    y[np.flatnonzero(KNOWN)[n_known:]] = missing
    model.fit(X, y)
    assert all(np.isfinite(value).all() for value in outputs(model, X).values())
    assert model.is_baseline_ or not model.early_stopping or n_known >= 40


@pytest.mark.parametrize("n_rows", [1, 2, 3, 31])
def test_any_number_of_rows(model, n_rows):
    y = targets(model)[:n_rows]
    for value in outputs(model.fit(X[:n_rows], y), X).values():
        assert np.isfinite(value).all()


# -- determinism


def test_two_fits_agree_and_copies_and_files_predict_the_same(model, tmp_path):
    y = targets(model)
    expected = outputs(model.fit(X, y), X)
    assert_same(outputs(clone(model).fit(X, y), X), expected)
    save(model, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        np.testing.assert_array_equal(opened.transduction_, model.transduction_)
        assert repr(opened) == repr(model)


def test_threads_give_the_same_numbers(model):
    y = targets(model)
    expected = outputs(model.fit(X, y), X)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: outputs(clone(model).fit(X, y), X), range(2)):
            assert_same(found, expected)


def test_global_generators_are_untouched(model):
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    model.fit(X, targets(model))
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002 - it is the matter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_bit_equal_whatever_the_other_rows(model, dtype):
    model.fit(X.astype(dtype), targets(model))
    many = np.random.default_rng(1).standard_normal((LARGE_BLOCK + 70, 4)).astype(dtype) * 4
    expected, order = outputs(model, many), np.random.default_rng(2).permutation(len(many))
    assert expected["transform"].dtype == dtype
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[: SMALL_BLOCK - 1], order[: SMALL_BLOCK + 1]):
                assert_same(outputs(model, many[rows]), {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


# -- fitted state


def test_parameters_set_after_fit_change_no_prediction(model):
    expected = outputs(model.fit(X, targets(model)), X)
    model.set_params(baseline="linear", max_iter=7, learning_rate=1.0, early_stopping=False)
    assert_same(outputs(model, X), expected)


def test_unfitted_is_said_and_there_are_no_chunks(model):
    for name in ("transform", "predict"):
        with pytest.raises(NotFittedError):
            getattr(model, name)(X)
    assert not hasattr(model, "partial_fit")


def test_warm_start_goes_on(model):
    model.set_params(warm_start=True).fit(X, targets(model))
    once = model.n_iter_
    assert model.fit(X, targets(model)).n_iter_ > once
    assert model.n_iter_ == len(model.loss_curve_)


def test_a_refit_that_fails_leaves_no_half_state(model):
    class Broken(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("broken on purpose")

    model.fit(X, targets(model)).set_params(callbacks=[Broken()])
    with pytest.raises(RuntimeError, match="on purpose"):
        model.fit(X, targets(model))
    assert not hasattr(model, "classes_")
    assert not hasattr(model, "transduction_")


def test_data_frames_in_and_out(model):
    frame = pd.DataFrame(X, columns=list("abcd"))
    codes = model.set_output(transform="pandas").fit(frame, targets(model)).transform(frame)
    assert list(codes.columns) == list(model.get_feature_names_out())
    assert codes.shape == (len(X), model.n_components_)


def test_a_search_in_a_pipeline_scores_labels(classifier):
    steps = make_pipeline(StandardScaler(), classifier.set_params(early_stopping=True))  # never below the baseline
    search = GridSearchCV(steps, {f"{type(classifier).__name__.lower()}__baseline": ["graph", "linear"]}, cv=2)
    assert search.fit(X, CLASSES).best_score_ > 0.6
