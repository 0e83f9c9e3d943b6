"""Predictors of images, series and rows: what is learned beyond the baseline, kinds of targets, critics, options."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import r2_score

from sk_autoenc import MLP, AutoencoderTransformer, Convolutional, EncoderDecoderRegressor, Recurrent, save
from sk_autoenc.estimators.encoder_decoder import absolute_error, squared_error

rng = np.random.default_rng(0)
DIGITS = load_digits().images[:, None] / 16
CHEAP = {"random_state": 0, "device": "cpu"}


def test_losses_are_means_over_cells():
    predicted, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 4.0], [3.0, -1.0]])
    torch.testing.assert_close(squared_error(predicted, target), torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(absolute_error(predicted, target), torch.tensor([1.0, 2.0]))


def test_a_network_learns_what_no_linear_model_can():
    X = rng.standard_normal((700, 1, 6, 7))
    y = np.maximum(X, 0)
    model = EncoderDecoderRegressor(Convolutional((8,)), max_iter=12, **CHEAP).fit(X[:600], y[:600])
    errors = [np.square(f(X[600:]) - y[600:]).mean() for f in (model.predict, model.baseline_predict)]
    assert not model.is_baseline_
    assert errors[0] < 0.3 * errors[1]


def test_where_nothing_is_left_to_learn_the_result_is_the_baseline():
    X = rng.standard_normal((200, 5))
    y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((200, 2))
    model = EncoderDecoderRegressor((16,), max_iter=10, **CHEAP).fit(X, y)
    assert model.is_baseline_
    assert model.baseline_ == "ridge"
    np.testing.assert_array_equal(model.predict(X), model.baseline_predict(X))


def test_a_table_is_learned_beyond_ridge():
    X = rng.standard_normal((700, 3))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    model = EncoderDecoderRegressor(max_iter=60, **CHEAP).fit(X[:600], y[:600])
    assert model.predict(X).shape == y.shape
    assert model.score(X[600:], y[600:]) > 0.7
    assert r2_score(y[600:], model.baseline_predict(X[600:])) < 0.3


@pytest.mark.parametrize("target", [(), (1,), (3,), (2, 3), (1, 2, 3)])
def test_targets_have_any_number_of_axes(target):
    X, y = rng.standard_normal((50, 4)), rng.standard_normal((50, *target))
    model = EncoderDecoderRegressor((4,), max_iter=1, **CHEAP).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.output_shape_ == target
    assert np.isfinite(model.score(X, y))


def test_the_score_of_images_weighs_pixels_by_their_variance():
    X = rng.standard_normal((60, 1, 4, 4))
    y = X.copy()
    y[:, :, 0, 0] = 5.0  # constant
    model = EncoderDecoderRegressor(Convolutional((2,)), baseline="copy", max_iter=1, **CHEAP).fit(X, y)
    errors, varies = np.square(y - model.predict(X)), y.std(0) > 0
    expected = 1 - errors[:, varies].sum() / np.square(y - y.mean(0)).sum()
    assert model.score(X, y) == pytest.approx(expected)


def test_frames_and_series_are_taken():
    frame = pd.DataFrame(rng.standard_normal((50, 3)), columns=list("abc"))
    model = EncoderDecoderRegressor((4,), max_iter=1, **CHEAP).fit(frame[["a", "b"]], frame["c"])
    assert model.predict(frame[["a", "b"]]).shape == (50,)
    assert model.feature_names_in_.tolist() == ["a", "b"]


def test_a_series_is_predicted_from_others_along_time():
    X = rng.standard_normal((200, 2, 16))
    y = np.maximum(X[:, :1], 0) * X[:, 1:]
    stages = Convolutional((8,), input_shape=(2, 16))
    model = EncoderDecoderRegressor(stages, max_iter=15, early_stopping=False, **CHEAP).fit(X, y)
    assert model.score(X, y) > r2_score(y.reshape(200, -1), model.baseline_predict(X).reshape(200, -1)) + 0.3


def test_channels_may_be_last_or_missing():
    X = np.moveaxis(np.concatenate([DIGITS[:60], 1 - DIGITS[:60]], axis=1), 1, -1)
    stages = Convolutional((3,), channels_last=True)
    for y in (X[..., :1], X[..., 0]):
        model = EncoderDecoderRegressor(stages, max_iter=1, baseline="filter", **CHEAP).fit(X, y)
        np.testing.assert_allclose(model.baseline_predict(X), y, atol=1e-3)


def test_bounded_targets_bound_predictions():
    small = DIGITS[:100].reshape(100, 1, 4, 2, 4, 2).mean((3, 5))
    options = {"max_iter": 1, "early_stopping": False, **CHEAP}
    found = EncoderDecoderRegressor(Convolutional((3,)), **options).fit(small, DIGITS[:100]).predict(small)
    assert found.min() == 0
    assert found.max() <= 1
    free = EncoderDecoderRegressor(Convolutional((3,)), output_range=None, **options).fit(small, DIGITS[:100])
    assert free.predict(small).min() < 0
    given = EncoderDecoderRegressor(Convolutional((3,)), output_range=(0.25, 0.5), **options).fit(small, DIGITS[:100])
    assert (given.predict(small).min(), given.predict(small).max()) == (0.25, 0.5)
    X = rng.standard_normal((100, 3))
    assert EncoderDecoderRegressor((3,), **options).fit(X, X.sum(1)).predict(10 * X).max() > X.sum(1).max()


def test_predictions_have_the_dtype_of_the_rows():
    for dtype in (np.float32, np.float64):
        X = DIGITS[:50].astype(dtype)
        assert EncoderDecoderRegressor(Convolutional((2,)), max_iter=1, **CHEAP).fit(X, X).predict(X).dtype == dtype


@pytest.mark.parametrize("architecture", ["auto", (8,)])
def test_a_critic_plays_and_the_network_is_kept(architecture):
    X = DIGITS[:64] + 0.2 * rng.standard_normal((64, 1, 8, 8))
    options = {"architecture": architecture, "max_iter": 2, **CHEAP}
    model = EncoderDecoderRegressor(**options, critic="auto").fit(X, DIGITS[:64])
    assert set(model.loss_curves_) == {"critic", "predictor"}
    assert not model.is_baseline_
    assert model.score(X, DIGITS[:64]) > 0.3
    heavy = EncoderDecoderRegressor(**options, critic="auto", critic_weight=10.0).fit(X, DIGITS[:64])
    assert not np.array_equal(heavy.predict(X), model.predict(X))


def test_flipped_images_are_as_good_as_more_images():
    """A task that knows left from right in training only by the augmentation."""
    X = rng.standard_normal((64, 1, 6, 6))
    options = {"max_iter": 2, "early_stopping": False, **CHEAP}
    plain, flipping = (
        EncoderDecoderRegressor(Convolutional((4,)), augment=augment, **options).fit(X, np.abs(X))
        for augment in (None, ("flip", "flip_vertical"))
    )
    assert not np.array_equal(plain.predict(X), flipping.predict(X))
    assert flipping.score(X, np.abs(X)) > -0.1


def test_convolutions_may_start_at_those_of_an_autoencoder(tmp_path):
    stages = Convolutional((4, 6))
    autoencoder = AutoencoderTransformer(3, architecture=stages, init="random", max_iter=1, **CHEAP).fit(DIGITS[:100])
    model = EncoderDecoderRegressor(
        stages, init=FrozenEstimator(autoencoder), max_iter=1, learning_rate=1e-12, early_stopping=False, **CHEAP
    )
    model = clone(model).fit(DIGITS[:50], DIGITS[:50])
    (unet,) = model.net_.module_.network
    expected = autoencoder.net_.module_.encoder[1].weight
    torch.testing.assert_close(unet.stages[0][0].weight, expected)
    save(model, tmp_path / "model")
    others = Convolutional((4, 5))
    with pytest.raises(ValueError, match="init: the autoencoder has convolutions of shapes"):
        clone(model).set_params(architecture=others).fit(DIGITS[:50], DIGITS[:50])
    with pytest.raises(ValueError, match="needs architecture=Convolutional"):
        clone(model).set_params(architecture=(4,)).fit(DIGITS[:50], DIGITS[:50])
    with pytest.raises(ValueError, match="fitted autoencoder"):
        clone(model).set_params(init=FrozenEstimator(MLP())).fit(DIGITS[:50], DIGITS[:50])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": Recurrent(3)}, "architecture must be an MLP or Convolutional"),
        ({"architecture": MLP((3,), code_activation="relu")}, "code_activation='identity'"),
        ({"augment": ("turn",)}, "augment must hold names among"),
        ({"augment": ("flip",), "architecture": (3,)}, "augment needs images"),
        ({"output_range": (1, 0)}, "output_range must be"),
        ({"critic": (4,)}, "critic must be of the kind of architecture"),
        ({"critic": "auto", "net_params": {"compile": True}}, "'compile' would have no effect"),
        ({"architecture": Convolutional((2, 2, 2, 2))}, "use fewer stages"),
    ],
)
def test_what_cannot_be_combined_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderDecoderRegressor(**options).fit(DIGITS[:20], DIGITS[:20])
