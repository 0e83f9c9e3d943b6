"""What every predictor of targets promises, beyond scikit-learn's checks: of flat rows, of images, and of masks."""

import concurrent.futures
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from sk_autoenc import load, save
from sk_autoenc.training.inference import LARGE_BLOCK
from tests.instances import IMAGE_PREDICTORS, IMAGE_SHAPE, PREDICTORS, SEGMENTERS

N_ROWS = 60
ALL = PREDICTORS + IMAGE_PREDICTORS + SEGMENTERS


def data_of(estimator, n_rows=N_ROWS):
    """Rows and targets for an instance, which have something to do with each other."""
    draw = np.random.default_rng(0).standard_normal
    if estimator in PREDICTORS:
        X = draw((n_rows, 6))
        return X, np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1)
    X = draw((n_rows, *IMAGE_SHAPE))
    if estimator in SEGMENTERS:
        return X, np.where(X[:, 0] > 0.5, "high", "low")
    return X, np.tanh(X) + 0.1 * draw(X.shape)


@pytest.fixture(params=range(len(ALL)), ids=[f"{type(e).__name__}{i}" for i, e in enumerate(ALL)])
def case(request):
    instance = ALL[request.param]
    return clone(instance), *data_of(instance)


def outputs(model, X):
    names = [name for name in ("predict", "predict_proba", "baseline_predict") if hasattr(model, name)]
    return [getattr(model, name)(X) for name in names]


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_two_fits_agree_bit_for_bit_also_in_threads(case):
    model, X, y = case
    expected = outputs(model.fit(X, y), X)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: outputs(clone(model).fit(X, y), X), range(2)):
            assert_same(found, expected)


def test_a_prediction_does_not_depend_on_other_rows(case):
    model, X, y = case
    model.fit(X, y)
    many = np.random.default_rng(1).standard_normal((LARGE_BLOCK + 70, *X.shape[1:]))
    expected, order = outputs(model, many), np.random.default_rng(2).permutation(len(many))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:65]):
                assert_same(outputs(model, many[rows]), [part[rows] for part in expected])
    finally:
        torch.set_num_threads(before)


def test_pickled_and_stored_models_predict_the_same_and_train_on(case, tmp_path):
    model, X, y = case
    expected = outputs(model.fit(X, y), X)
    save(model, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        assert (opened.baseline_, opened.is_baseline_) == (model.baseline_, model.is_baseline_)
        assert opened.partial_fit(X, y).n_iter_ == model.n_iter_ + 1
    assert_same(outputs(model, X), expected)


def test_training_starts_at_the_baseline(case):
    """An instance whose weights hardly move predicts as its baseline."""
    model, X, y = case
    model.set_params(learning_rate=1e-12, early_stopping=False).fit(X, y)
    assert not model.is_baseline_
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(model.predict(X), model.baseline_predict(X))
    else:
        np.testing.assert_allclose(model.predict(X), model.baseline_predict(X), atol=1e-6)


def test_too_few_rows_to_compare_keep_the_baseline(case):
    model, X, y = case
    model.set_params(early_stopping=True).fit(X[:20], y[:20])
    assert model.is_baseline_ == (getattr(model, "critic", None) is None)
    if model.is_baseline_:
        np.testing.assert_array_equal(model.predict(X), model.baseline_predict(X))


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_any_number_of_rows(case, n_rows):
    model, X, y = case
    found = model.fit(X[:n_rows], y[:n_rows]).predict(X)
    assert found.shape == y.shape
    assert found.dtype.kind != "f" or np.isfinite(found).all()


def test_chunks_train_on(case):
    model, X, y = case
    for _ in range(3):
        model.partial_fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    with pytest.raises(ValueError, match="y "):
        model.partial_fit(X, y[..., :1])


def test_warm_start_goes_on(case):
    model, X, y = case
    once = model.set_params(warm_start=True).fit(X, y).n_iter_
    assert model.fit(X, y).n_iter_ > once


def test_groups_are_held_out_together(case):
    model, X, y = case
    model.set_params(early_stopping=True).fit(X, y, groups=np.arange(len(X)) // 6)
    assert len(model.validation_loss_curve_) == model.max_iter


def test_searches_and_cross_validation_work(case):
    model, X, y = case
    scores = cross_val_score(model, X, y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()
    search = GridSearchCV(model, {"max_iter": [1, 2]}, cv=2, error_score="raise").fit(X, y)
    assert search.predict(X).shape == y.shape


def test_what_is_missing_or_wrong_is_said_by_name(case):
    model, X, y = case
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match="requires y"):
        model.fit(X, None)
    with pytest.raises(ValueError, match=r"y must|inconsistent"):
        model.fit(X, y[:-1])
    model.fit(X, y)
    with pytest.raises(ValueError, match=r"X has|X must"):
        model.predict(X[..., :2])


def test_global_generators_are_untouched(case):
    model, X, y = case
    before = torch.random.get_rng_state()
    model.fit(X, y).predict(X)
    assert torch.equal(torch.random.get_rng_state(), before)
