"""Baselines of pairs in closed form: torch's bicubic, least squares of neighbourhoods, scikit-learn's ridge."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV

from sk_autoenc import Convolutional, EncoderDecoderRegressor
from sk_autoenc.initialization import baselines
from sk_autoenc.initialization.baselines import fit_ridge, left_out_errors

rng = np.random.default_rng(0)
CHEAP = {"max_iter": 1, "random_state": 0, "early_stopping": False, "device": "cpu"}


def noise_of(X):
    return 0.5 * np.random.default_rng(1).standard_normal(X.shape)


def fitted(X, y, baseline, **options):
    stages = Convolutional((3,), **options)
    model = EncoderDecoderRegressor(stages, baseline=baseline, output_range=None, **CHEAP)
    return model.fit(X, y)


@pytest.mark.parametrize("factor", [2, 3, (2, 1), (1, 4)])
def test_bicubic_is_that_of_torch(factor):
    X = rng.standard_normal((8, 2, 5, 6)) + 3
    up, across = (factor, factor) if isinstance(factor, int) else factor
    y = np.repeat(np.repeat(X, up, axis=2), across, axis=3)
    expected = F.interpolate(torch.from_numpy(X), size=(5 * up, 6 * across), mode="bicubic")
    found = fitted(X, y, "bicubic").baseline_predict(X)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_copy_takes_the_last_channels():
    X = 5 * rng.standard_normal((8, 3, 5, 6)) + 2
    model = fitted(X, 100 + X[:, :1], "copy")
    np.testing.assert_allclose(model.baseline_predict(X), X[:, 2:], atol=1e-4)


def test_a_copy_of_a_larger_image_is_the_mean_of_its_pixels():
    X = rng.standard_normal((8, 1, 6, 9)) + 2
    means = X.reshape(8, 1, 2, 3, 3, 3).mean((3, 5))
    np.testing.assert_allclose(fitted(X, means, "copy").baseline_predict(X), means, atol=1e-5)


def test_a_copy_of_flat_rows_is_in_their_units():
    X = rng.standard_normal((50, 4)) * [1, 10, 100, 1000] + 7
    model = EncoderDecoderRegressor((4,), baseline="copy", **CHEAP).fit(X, 3 * X)
    np.testing.assert_allclose(model.baseline_predict(X), X, rtol=1e-4, atol=1e-2)


def test_the_filter_is_least_squares_of_the_neighbourhood():
    X = rng.standard_normal((30, 2, 7, 8))
    y = X[:, :1] ** 2 + np.roll(X[:, 1:], 1, axis=3)
    padded = np.pad(X, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))  # (n, c, h, w, 5, 5)
    taps = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 50)
    expected = LinearRegression().fit(taps, y.ravel()).predict(taps).reshape(y.shape)
    np.testing.assert_allclose(fitted(X, y, "filter").baseline_predict(X), expected, atol=2e-3)


def test_the_filter_of_parts_of_a_pixel_enlarges():
    """An image that is enlarged by a linear filter is enlarged by the same."""
    X = rng.standard_normal((40, 1, 6, 7))
    y = F.interpolate(torch.from_numpy(X), scale_factor=2, mode="bicubic").numpy()
    np.testing.assert_allclose(fitted(X, y, "filter").baseline_predict(X), y, atol=2e-3)


def test_the_filter_of_series_reads_along_time():
    X = rng.standard_normal((40, 2, 30))
    y = X[:, :1] + np.pad(X, ((0, 0), (0, 0), (1, 0)), mode="edge")[:, 1:, :-1]
    found = fitted(X, y, "filter", input_shape=(2, 30)).baseline_predict(X)
    np.testing.assert_allclose(found, y, atol=2e-3)


def test_ridge_is_that_of_scikit_learn():
    X, W = rng.standard_normal((60, 5)), rng.standard_normal((5, 3))
    y = X @ W + rng.standard_normal((60, 3))
    model = EncoderDecoderRegressor((4,), baseline="ridge", **CHEAP).fit(X, y)
    scaled, targets = ((part - part.mean(0)) / part.std(0) for part in (X, y))
    ridge = RidgeCV(np.logspace(-7, 0, 15) * len(X) * 5).fit(scaled, targets)
    expected = ridge.predict(scaled) * y.std(0) + y.mean(0)
    np.testing.assert_allclose(model.baseline_predict(X), expected, atol=1e-4)


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_errors_of_groups_left_out_are_those_of_fits_without_them(penalty):
    X, y, groups = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), np.arange(30) // 7
    left, singular, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    target = y - y.mean(0)
    found = left_out_errors(left, singular**2, left.T @ target, target, penalty, groups)
    for group in range(5):
        out = groups == group
        expected = y[out] - Ridge(penalty).fit(X[~out], y[~out]).predict(X[out])
        np.testing.assert_allclose(found[out], expected)
    alone = left_out_errors(left, singular**2, left.T @ target, target, penalty, np.arange(30))
    np.testing.assert_allclose(left_out_errors(left, singular**2, left.T @ target, target, penalty, None), alone)


def test_rows_of_all_groups_choose_the_penalty_though_the_first_group_is_large(monkeypatch):
    """Targets are noise beside what is common to a group, so weights must be far smaller than those that fit best."""
    groups = np.sort(np.r_[np.zeros(210, int), np.arange(1, 40).repeat(10)])
    draw = np.random.default_rng(0)
    X = draw.standard_normal((40, 30))[groups] + 0.3 * draw.standard_normal((len(groups), 30))
    y = draw.standard_normal((40, 1))[groups]
    X, y = (torch.from_numpy(part - part.mean(0)).float() for part in (X, y))
    monkeypatch.setattr(baselines, "_MOST_TUNED", 200)
    found = fit_ridge(X, y, groups).weight.norm()
    assert found < 0.1 * torch.linalg.lstsq(X, y).solution.norm()


def test_more_columns_than_rows_have_a_ridge_too():
    X = rng.standard_normal((20, 100))
    y = X[:, :3].sum(1)
    model = EncoderDecoderRegressor((4,), baseline="ridge", **CHEAP).fit(X, y)
    assert np.isfinite(model.baseline_predict(X)).all()


def test_the_mean_is_that_of_each_column_or_channel():
    X = rng.standard_normal((30, 2, 4, 5))
    y = X[:, ::-1] + np.array([3.0, 9.0])[:, None, None]
    found = fitted(X, y, "mean").baseline_predict(X)
    np.testing.assert_allclose(found, np.broadcast_to(y.mean((0, 2, 3))[:, None, None], y.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("expected", "target"),
    [
        ("mean", lambda X: rng.standard_normal(X.shape)),
        ("copy", lambda X: X + 0.01 * rng.standard_normal(X.shape)),
        ("filter", lambda X: np.pad(X, ((0, 0), (0, 0), (0, 0), (1, 0)), mode="edge")[..., :-1] + noise_of(X)),
        ("ridge", lambda X: X[:, :, ::-1, ::-1]),
    ],
)
def test_the_best_baseline_is_chosen(expected, target):
    X = rng.standard_normal((200, 1, 5, 6))
    assert fitted(X, target(X), "auto").baseline_ == expected


def test_a_baseline_that_cannot_be_is_refused_by_name():
    X = rng.standard_normal((30, 1, 4, 4))
    with pytest.raises(ValueError, match="baseline must be one of"):
        fitted(X, X, "bicubic")
    with pytest.raises(ValueError, match="baseline must be one of"):
        EncoderDecoderRegressor((4,), baseline="filter").fit(X, X)
