"""One centre per feature and one scale for all: exactness, units, constants."""

import re

import numpy as np
import pytest

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.data.scaling import fit_robust_scaling, fit_scaling, fit_series_scaling


def fit_all(X):
    return fit_scaling(X, np.arange(len(X)))


def applied(scaling, X, dtype=np.float32):
    out = np.empty(X.shape, dtype=dtype)
    scaling.apply(X, out)
    return out


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 7)) * rng.uniform(0.5, 5, size=7) + rng.normal(size=7)


def test_centre_is_the_mean_and_scale_the_root_of_the_mean_variance(X):
    scaling = fit_all(X)
    np.testing.assert_allclose(scaling.center, X.mean(0), rtol=1e-12)
    assert scaling.scale == pytest.approx(np.sqrt(X.var(0).mean()), rel=1e-12)
    rows = applied(scaling, X)
    np.testing.assert_allclose(rows.mean(0), 0.0, atol=1e-5)
    assert rows.var(0).mean() == pytest.approx(1.0, rel=1e-5)


def test_all_blocks_count():
    """More rows than one block of the sums holds."""
    X = np.arange(10_000.0).reshape(-1, 1)
    scaling = fit_all(X)
    assert scaling.center[0] == pytest.approx(4999.5, rel=1e-12)
    assert scaling.scale == pytest.approx(X.std(), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1024.0, 2.0**-20, -1.0])
def test_the_unit_changes_no_bit(X, dtype, unit):
    X = X.astype(dtype)
    rows, other = applied(fit_all(X), X), applied(fit_all(X * dtype(unit)), X * dtype(unit))
    np.testing.assert_array_equal(other, rows * np.sign(unit))


@pytest.mark.parametrize(("offset", "spread"), [(1e6, 1e-3), (-1e9, 1.0), (1e10, 10.0)])
def test_small_spread_on_a_large_offset_is_kept(offset, spread):
    noise = np.random.default_rng(0).normal(size=(5000, 3))
    X = offset + spread * noise
    scaling = fit_all(X)
    exact = ((X - offset) - (X - offset).mean(0)) / np.sqrt((X - offset).var(0).mean())
    np.testing.assert_allclose(applied(scaling, X), exact, atol=1e-4)
    np.testing.assert_allclose(scaling.undo(applied(scaling, X).astype(float)), X, rtol=0, atol=1e-4 * spread)


def test_float32_rows_are_summed_in_float64():
    X = (1000 + np.random.default_rng(0).normal(size=(20_000, 2))).astype(np.float32)
    scaling, exact = fit_all(X), X.astype(float)
    np.testing.assert_allclose(scaling.center, exact.mean(0), rtol=1e-12)
    assert scaling.scale == pytest.approx(np.sqrt(exact.var(0).mean()), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 3.0, 0.1, 1 / 3, -1e6 + 0.1])
@pytest.mark.parametrize("n_rows", [1, 2, 1000, 10_000])
def test_constant_columns_have_scale_1(value, dtype, n_rows):
    """Also where the mean of equal values is not quite that value."""
    X = np.full((n_rows, 3), value, dtype=dtype)
    scaling = fit_all(X)
    assert scaling.scale == 1.0
    np.testing.assert_allclose(applied(scaling, X), 0.0, atol=1e-7 * max(1.0, abs(value)))


def test_a_single_row_has_scale_1():
    X = np.array([[1.0, 2.0, 1e6]])
    scaling = fit_all(X)
    assert scaling.scale == 1.0
    np.testing.assert_array_equal(applied(scaling, X), np.zeros((1, 3)))


def test_a_constant_column_beside_others_adds_no_spread(X):
    with_constant = np.column_stack([X, np.full(len(X), 0.1)])
    assert fit_all(with_constant).scale == pytest.approx(np.sqrt(X.var(0).sum() / (X.shape[1] + 1)), rel=1e-12)


def test_a_large_constant_column_does_not_hide_the_spread_of_the_others(X):
    """A time stamp in float32 beside ordinary columns: what it could round away is its own."""
    X = np.column_stack([X, np.full(len(X), 1e9)]).astype(np.float32)
    assert fit_all(X).scale == pytest.approx(np.sqrt(X.astype(float).var(0).mean()), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_undo_is_the_inverse_of_apply(X, dtype):
    X = X.astype(dtype)
    scaling = fit_all(X)
    back = scaling.undo(applied(scaling, X).astype(dtype))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, X, atol=1e-5)


def test_apply_computes_in_the_dtype_of_the_rows(X):
    scaling = fit_all(X)
    np.testing.assert_allclose(applied(scaling, X, np.float64), (X - X.mean(0)) / scaling.scale, rtol=1e-12, atol=1e-12)


def test_only_the_chosen_rows_count(X):
    chosen = np.sort(np.random.default_rng(1).permutation(len(X))[:200])
    spoiled = X.copy()
    spoiled[np.setdiff1d(np.arange(len(X)), chosen)] = 1e9
    scaling, other = fit_all(X[chosen]), fit_scaling(spoiled, chosen)
    np.testing.assert_allclose(other.center, scaling.center, rtol=1e-12)
    assert other.scale == pytest.approx(scaling.scale, rel=1e-12)


def test_rows_are_not_written(X):
    X.flags.writeable = False
    scaling = fit_all(X)
    applied(scaling, X)
    scaling.undo(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("by_feature", [False, True])
def test_what_leaves_float32_once_it_is_scaled_is_refused(dtype, by_feature):
    X = (np.random.default_rng(0).normal(size=(500, 3)) * [1e-3, 1e-4, 1e-4]).astype(dtype)
    scaling, far = fit_scaling(X, np.arange(500), by_feature=by_feature), X.copy()
    limit = np.finfo(np.float32).max * np.broadcast_to(scaling.scale, 3)[1]
    far[7, 1] = 0.9 * limit
    assert np.isfinite(applied(scaling, far)).all()
    far[7, 1] = 1e36
    bound = re.escape(f"{limit:.6g}")
    with pytest.raises(ValueError, match=rf"X must lie within ±{bound} in column 1, .* got 1e\+36"):
        applied(scaling, far)


def test_rows_too_far_for_the_network_are_refused_by_name():
    model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit(
        1e-4 * np.random.default_rng(0).normal(size=(50, 2))
    )
    with pytest.raises(ValueError, match=r"X must lie within ±3\.\d+e\+34 in column 0, .* got -1e\+36"):
        model.transform([[0.0, 0.0], [-1e36, 0.0]])


@pytest.mark.parametrize("by_feature", [False, True])
def test_a_scale_whose_inverse_leaves_float32(by_feature):
    X = (np.random.default_rng(0).normal(size=(60, 3)) * 1e-40).astype(np.float32)
    scaling = fit_scaling(X, np.arange(60), by_feature=by_feature)
    np.testing.assert_allclose(applied(scaling, X), (X - scaling.center) / scaling.scale, rtol=1e-5)


def test_a_spread_of_rounding_alone_is_none():
    draw = np.random.default_rng(0)
    X = np.column_stack([draw.normal(size=500), 0.1 * (1 + 2.2e-16 * draw.integers(0, 2, 500))])
    scaling = fit_scaling(X, np.arange(500), by_feature=True)
    assert scaling.scale[1] == pytest.approx(X[:, 0].std() / np.sqrt(2))


# -- robust moments


def test_a_column_that_is_constant_up_to_rounding_has_its_size_as_robust_scale():
    rows = np.random.default_rng(0).standard_normal((90, 6)) * [1, 2, 3, 1, 1, 1] + 5
    odd = np.column_stack([rows, np.where(np.arange(90) % 2, 0.1 + 0.2, 0.3)])
    scaling = fit_robust_scaling(odd)
    assert scaling.scale[-1] == pytest.approx(0.3)
    np.testing.assert_allclose(scaling.scale[:-1], rows.std(0))
    assert fit_robust_scaling((odd * 1e-9 + 1).astype(np.float32)).scale.tolist() == [1.0] * 7


def test_robust_moments_are_those_of_usual_values():
    rows = np.random.default_rng(0).standard_normal((90, 5))
    rows[:, 1] = np.arange(90) < 4  # nearly constant
    rows[:, 2] = 7.0
    expected = fit_robust_scaling(rows)
    np.testing.assert_allclose(expected.center, rows.mean(0))
    np.testing.assert_allclose(expected.scale, [*rows[:, :2].std(0), 7, *rows[:, 3:].std(0)])
    rows[50] = 1e30
    held = fit_robust_scaling(rows)
    assert (held.scale[[0, 1, 3, 4]] < 4 * expected.scale[[0, 1, 3, 4]]).all()


def test_a_channel_of_series_has_one_centre_and_one_scale():
    rows = np.stack([[[1.0, 3.0, np.nan], [10.0, 10.0, 40.0]], [[1.0, 3.0, 2.0], [20.0, 20.0, 20.0]]]).reshape(2, 6)
    both = fit_series_scaling(rows, np.arange(2), 2)
    np.testing.assert_allclose(both.center, [2, 2, 2, 20, 20, 20])
    np.testing.assert_allclose(both.scale, np.sqrt((0.8 + 100) / 2))
    each = fit_series_scaling(rows, np.arange(2), 2, by_channel=True)
    np.testing.assert_allclose(each.scale, np.sqrt([0.8] * 3 + [100] * 3))
