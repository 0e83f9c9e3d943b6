"""Figures of synthetic tables in closed form: likeness, use, and what tells of training rows."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from sk_autoenc.metrics import (
    association,
    closest_record_share,
    column_similarity,
    copy_share,
    membership_test,
    pair_similarity,
    train_on_synthetic,
)

rng = np.random.default_rng(0)


def a_frame(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    frame = pd.DataFrame({"x": x, "y": x + 0.1 * rng.standard_normal(n), "c": np.where(x > 0, "a", "b")})
    return frame.mask(rng.random(frame.shape) < 0.1)


def test_numbers_are_compared_by_kolmogorov_and_smirnov():
    left, right = rng.standard_normal((50, 1)), rng.standard_normal((70, 1)) + 0.5
    assert column_similarity(left, right)[0] == pytest.approx(1 - ks_2samp(left[:, 0], right[:, 0]).statistic)


def test_missing_cells_are_an_outcome():
    real = pd.DataFrame({"n": [1.5, 2.5, 3.5, 4.5], "c": ["a", "a", "b", "b"]})
    synthetic = pd.DataFrame({"n": [1.5, np.nan, np.nan, 4.5], "c": ["a", None, "b", "never seen"]})
    found = column_similarity(real, synthetic)
    assert found == {"n": 0.5, "c": 0.5}
    assert set(column_similarity(real, real).values()) == {1.0}


def test_pairs_that_were_torn_apart_are_unlike():
    frame = a_frame(2000)
    shuffled = pd.DataFrame(
        {name: frame[name].sample(frac=1, random_state=i).to_numpy() for i, name in enumerate(frame)}
    )
    assert min(column_similarity(frame, shuffled).values()) == 1
    found, same = pair_similarity(frame, shuffled), pair_similarity(frame, frame)
    assert found.loc["x", "y"] < 0.4
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(same, 1)
    np.testing.assert_allclose(found, found.T)


def test_association_of_normal_numbers_is_their_correlation():
    rows = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 20_000)
    left, right = association(rows, rng.standard_normal((20_000, 2)), n_bins=20)
    assert left.loc[0, 1] == pytest.approx(0.8, abs=0.03)
    assert right.loc[0, 1] < 0.2
    exact, _ = association([[0, 0], [1, 1]] * 10, [[0, 0], [1, 1]] * 10)
    assert exact.loc[0, 1] == pytest.approx(np.sqrt(1 - np.exp(-2 * np.log(2))))


def test_what_a_model_learns_of_synthetic_rows_is_asked_about_real_ones():
    x = np.arange(20.0)[:, None]
    real = np.hstack([x, 3 * x])
    found = train_on_synthetic(LinearRegression(), np.hstack([x, -3 * x]), real, 1, real=real)
    assert found.real == pytest.approx(1)
    assert found.synthetic < 0
    frame = a_frame(400)
    classifier = HistGradientBoostingClassifier(max_iter=10, random_state=0)
    score = train_on_synthetic(classifier, frame, a_frame(200, seed=1), "c", scoring="roc_auc")
    assert score.synthetic > 0.9
    assert score.real is None
    assert train_on_synthetic(DummyClassifier(), frame, frame, "c").synthetic < 0.7
    with pytest.raises(ValueError, match="target must be one of the columns"):
        train_on_synthetic(classifier, frame, frame, "z")


def test_copies_of_training_rows_are_found():
    train, held_out, fresh = (a_frame(300, seed) for seed in range(3))
    copied = closest_record_share(train, train, held_out)
    assert copied.share > 0.95
    honest = closest_record_share(fresh, train, held_out)
    assert abs(honest.share - 0.5) < 4 * honest.standard_error
    more = pd.concat([held_out, a_frame(3000, 7)], ignore_index=True)
    uneven = closest_record_share(fresh, train, more, random_state=0)
    assert abs(uneven.share - 0.5) < 4 * uneven.standard_error
    assert copy_share(train, train, held_out).synthetic == 1
    assert copy_share(fresh, train, held_out).synthetic < 0.1


def test_membership_is_told_by_copies_alone():
    train, held_out, fresh = (a_frame(300, seed) for seed in range(3))
    told = membership_test(train, train, held_out)
    assert told.auroc > 0.9
    assert told.p_value < 1e-6
    assert membership_test(fresh, train, held_out).p_value > 0.001


def test_different_levels_and_missing_cells_are_one_apart():
    train = pd.DataFrame({"c": ["a", "b"]})
    synthetic = pd.DataFrame({"c": ["a", None]})
    found = closest_record_share(synthetic, train, pd.DataFrame({"c": ["b", "b"]}))
    assert found.share == 0.75  # the missing cell is as far from both


def test_tables_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="synthetic: X must have the columns of fit, but 'x'"):
        column_similarity(a_frame(5), a_frame(5).rename(columns={"x": "z"}))
    with pytest.raises(ValueError, match="real must have two axes and at least two rows"):
        column_similarity([[1.0, 2.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="n_bins"):
        pair_similarity(a_frame(5), a_frame(5), n_bins=1)


def test_minus_zero_is_a_copy_of_zero():
    assert copy_share([[-0.0], [1.0]], [[0.0], [5.0]], [[7.0], [8.0]]).synthetic == 0.5
