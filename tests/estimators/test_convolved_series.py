"""Series through convolutions: their form, what is filled, and warps along time."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sk_autoenc import AAETransformer, AutoencoderTransformer, Convolutional, VAETransformer
from sk_autoenc.nn.convolution import (
    ImageLayout,
)
from sk_autoenc.nn.corruption import block
from tests.data_sets import seeded


def plan(shape=(2, 6, 9), channels=(4, 5), **options):
    return Convolutional(channels, **options).bind(shape)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("model_class", [AutoencoderTransformer, VAETransformer, AAETransformer])
@pytest.mark.filterwarnings("ignore:.*so samples will not look like rows")
def test_series_come_back_in_the_form_in_which_they_came(model_class, channels_last):
    time = np.linspace(0, 1, 13)
    phase = np.random.default_rng(0).uniform(0, 6, size=(40, 1))
    X = np.stack([np.sin(6 * time + phase), np.cos(6 * time + phase)], axis=2 if channels_last else 1)
    architecture = Convolutional((4, 4), channels_last=channels_last, input_shape=X.shape[1:])
    model = model_class(2, architecture=architecture, max_iter=2, random_state=0).fit(X)
    assert model.reconstruct(X).shape == X.shape
    flat = X.reshape(40, -1)
    np.testing.assert_array_equal(clone(model).fit(flat).transform(flat), model.transform(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))


def test_grey_images_need_no_axis_of_channels():
    images = np.random.default_rng(0).normal(size=(50, 6, 8))
    plan = AutoencoderTransformer(
        2, architecture=Convolutional((3,), input_shape=(1, 6, 8)), max_iter=2, random_state=0
    )
    model, with_axis = clone(plan).fit(images), clone(plan).fit(images[:, None])
    np.testing.assert_array_equal(model.transform(images), with_axis.transform(images[:, None]))
    assert model.reconstruct(images).shape == images.shape


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_stretch_of_a_series_is_filled(channels_last):
    shape = (20, 2) if channels_last else (2, 20)
    X = np.random.default_rng(0).normal(size=(60, *shape))
    architecture = Convolutional((4,), input_shape=shape, channels_last=channels_last)
    model = AutoencoderTransformer(
        2, architecture=architecture, noise=0.25, noise_kind="block", max_iter=2, random_state=0
    ).fit(X)
    hidden = np.zeros(shape, dtype=bool)
    hidden[(slice(5, 9), slice(None)) if channels_last else (slice(None), slice(5, 9))] = True
    filled = model.inpaint(np.where(hidden, np.nan, X), hidden)
    np.testing.assert_array_equal(filled[:, ~hidden], X[:, ~hidden])
    assert np.isfinite(filled).all()


def test_a_stretch_of_a_series_is_hidden():
    hidden = torch.ones(500, 40)
    hidden = block(hidden, 0.25, seeded(), ImageLayout(2, 1, 20, False)) == 0
    assert torch.equal(hidden[:, :20], hidden[:, 20:])
    assert (hidden[:, :20].sum(1) == 5).all()
    assert (hidden[:, :20].float().diff(dim=1).abs().sum(1) <= 2).all()
    little = block(torch.ones(50, 20), 0.01, seeded(), ImageLayout(1, 1, 20, False)) == 0
    assert (little.sum(1) == 1).all()  # not nothing


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_series_are_warped_as_they_are(likelihood):
    """Not what is left of them without their mean: series that are all alike still move."""
    X = np.broadcast_to(np.arange(1.0, 21), (40, 1, 20)) + np.random.default_rng(0).integers(0, 2, (40, 1, 20))
    model = AutoencoderTransformer(
        2, architecture=Convolutional((4,), input_shape=(1, 20)), likelihood=likelihood, init="random"
    ).set_params(noise=0.1, noise_kind="warp", max_iter=2, early_stopping=False, random_state=0)
    module = model.fit(X).net_.module_
    flat = X.reshape(40, -1)
    scale = np.sqrt(flat.var(axis=0).mean())
    np.testing.assert_allclose(module.corruption.center * scale, flat.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).fit(X).transform(X), model.transform(X))


def test_warps_make_codes_care_less_when_something_happens():
    rng, time = np.random.default_rng(0), np.arange(60)
    when, height = rng.uniform(15, 45, (80, 1)), rng.uniform(1, 3, (80, 1))
    X, later = (height * np.exp(-((time - moment) ** 2) / 18) for moment in (when, when + 3))
    architecture = Convolutional((8, 16), kernel_size=5, input_shape=(1, 60))
    moves = []
    for noise in (0.0, 0.1):
        model = AutoencoderTransformer(
            4, architecture=architecture, init="random", early_stopping=False, random_state=0
        )
        model.set_params(noise=noise, noise_kind="warp").fit(X)
        moves.append(np.square(model.transform(later) - model.transform(X)).mean() / model.transform(X).var())
    assert moves[1] < 0.75 * moves[0]
