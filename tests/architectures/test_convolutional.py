"""The convolutional architecture: the shapes that it builds, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sk_autoenc import AutoencoderTransformer, Convolutional, GANSampler
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import BoundedLinear, Linear
from sk_autoenc.nn.convolution import (
    Convolution,
    UpsampledConvolution,
)
from tests.data_sets import seeded


def built(network, seed=1):
    initialize_parameters(network, seeded(seed))
    return network


def plan(shape=(2, 6, 9), channels=(4, 5), **options):
    return Convolutional(channels, **options).bind(shape)


# -- what is built


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 5), (2, 2, 9)])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 2), (1, 1), (5, 3)])
@pytest.mark.parametrize("options", [{}, {"hidden_layer_sizes": (6,), "normalization": "layer"}, {"dilation": 3}])
def test_encoder_and_decoder_match(shape, kernel_size, stride, linear_path, options):
    channels = (4,) if min(shape[1:]) <= stride else (4, 5)
    architecture = plan(shape, channels, kernel_size=kernel_size, stride=stride, **options)
    cells = int(np.prod(shape))
    encoder = built(architecture.make_encoder(cells, 3, linear_path=linear_path))
    code = encoder(torch.randn(4, cells, generator=seeded()))
    assert code.shape == (4, 3)
    for n_images in (1, 2):
        decoder = built(architecture.make_decoder(3, n_images * cells, linear_path=linear_path, bounded=False))
        assert decoder(code).shape == (4, n_images * cells)


def test_the_decoder_mirrors_the_encoder():
    architecture = plan((1, 13, 8), (4, 5), hidden_layer_sizes=(7,))
    encoder = architecture.make_encoder(104, 3, linear_path=False)
    decoder = architecture.make_decoder(3, 104, linear_path=False, bounded=False)
    kinds = (Linear, Convolution, UpsampledConvolution)
    shapes = [[tuple(m.weight.shape) for m in net.modules() if isinstance(m, kinds)] for net in (encoder, decoder)]
    assert shapes[0] == [(4, 1, 3, 3), (5, 4, 3, 3), (7, 5 * 4 * 2), (3, 7)]
    assert shapes[1] == [(7, 3), (5 * 4 * 2, 7), (4, 5, 3, 3), (1, 4, 3, 3)]


def test_the_order_of_cells_makes_no_other_network():
    """The same image in both orders gives the same code; only the order of the output differs."""
    first, last = plan((2, 6, 9)), plan((6, 9, 2), channels_last=True)
    image = torch.randn(3, 2, 6, 9, generator=seeded())
    rows = {first: image.flatten(1), last: image.permute(0, 2, 3, 1).flatten(1)}
    codes = [built(p.make_encoder(108, 3, linear_path=False))(rows[p]) for p in (first, last)]
    torch.testing.assert_close(*codes)
    outs = []
    for p in (first, last):
        decoder = built(p.make_decoder(3, 216, linear_path=False, bounded=False))
        torch.nn.init.zeros_(decoder[-1].bias)
        outs.append(decoder(codes[0]))
    expected = outs[1].unflatten(1, (2, 6, 9, 2)).permute(0, 1, 4, 2, 3).flatten(1)
    torch.testing.assert_close(outs[0], expected)


def test_layer_normalization_forgets_brightness_and_contrast():
    architecture = plan((1, 8, 8), (4,), normalization="layer", activation="identity", kernel_size=1, stride=1)
    encoder = built(architecture.make_encoder(64, 3, linear_path=False))
    torch.nn.init.zeros_(encoder[1].bias)
    rows = torch.randn(5, 64, generator=seeded())
    torch.testing.assert_close(encoder(rows), encoder(7 * rows), rtol=1e-3, atol=1e-4)
    plain = built(plan((1, 8, 8), (4,)).make_encoder(64, 3, linear_path=False))
    assert not torch.allclose(plain(rows), plain(7 * rows), rtol=1e-3, atol=1e-4)


def test_a_bounded_decoder_is_bounded_in_every_layer():
    architecture = plan(hidden_layer_sizes=(6,))
    for bounded in (True, False):
        decoder = architecture.make_decoder(3, 108, linear_path=True, bounded=bounded)
        linear = [layer for layer in decoder.modules() if isinstance(layer, Linear)]
        assert len(linear) == 3
        assert all(isinstance(layer, BoundedLinear) == bounded for layer in linear)
        convolutions = [layer for layer in decoder.modules() if isinstance(layer, UpsampledConvolution)]
        assert len(convolutions) == 2
        assert all(layer.bounded == bounded for layer in convolutions)


def test_codes_lie_in_the_range_of_their_activation():
    encoder = built(plan(code_activation="sigmoid").make_encoder(108, 3, linear_path=False))
    code = encoder(9 * torch.randn(5, 108, generator=seeded()))
    assert ((code > 0) & (code < 1)).all()


def test_dilated_stages_see_ever_longer_stretches():
    architecture = plan((40,), (2, 2, 2), input_shape=(1, 40), stride=1, dilation=(1, 2, 4), activation="identity")
    *stages, _flatten, _dense = architecture.make_encoder(40, 1, linear_path=False)
    series = torch.zeros(1, 40, requires_grad=True)
    maps = series
    for reach, stage in zip((0, 1, 1, 3, 3, 7, 7), stages, strict=True):
        maps = stage(maps)
        (seen,) = torch.autograd.grad(maps[0, 0, 0, 20], series, retain_graph=True)
        nonzero = seen[0].nonzero().squeeze(1)
        assert (nonzero.min(), nonzero.max()) == (20 - reach, 20 + reach)
    decoder = architecture.make_decoder(1, 40, linear_path=False, bounded=False)
    assert [m.dilation for m in decoder.modules() if isinstance(m, UpsampledConvolution)] == [(1, 4), (1, 2), (1, 1)]


# -- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilation": 0}, "dilation must be an integer of 1 or more, got 0"),
        ({"dilation": (1, 2, 4)}, r"dilation must be one integer, or 2 integers for the stages.*got \(1, 2, 4\)"),
        ({"dilation": (1, 0)}, r"dilation must have integers of 1 or more, got 0 in \(1, 0\)"),
        ({"channels": ()}, "channels must have 1 entry or more"),
        ({"channels": (8, 0)}, r"channels must have integers of 1 or more, got 0 in \(8, 0\)"),
        ({"channels": 8}, "channels must be a sequence of integers, got 8"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"kernel_size": 0}, "kernel_size must be an integer of 1 or more, got 0"),
        ({"stride": 1.5}, "stride must be an integer of 1 or more, got 1.5"),
        ({"normalization": "batch"}, "normalization must be one of.*got 'batch'"),
        ({"activation": "swish"}, "activation must be one of.*got 'swish'"),
        ({"code_activation": None}, "code_activation must be one of.*got None"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must have integers of 1 or more"),
        ({"input_shape": (1, 2, 28, 28)}, r"input_shape must be \(channels, height, width\) or.*got \(1, 2, 28, 28\)"),
        ({"input_shape": (28,), "channels_last": True}, r"input_shape must be \(height, width, channels\)"),
    ],
)
def test_parameters_that_are_refused(options, message):
    with pytest.raises(ValueError, match=f"Convolutional: {message}"):
        Convolutional(**options).check()
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(architecture=Convolutional(**options)).fit(np.zeros((3, 1, 8, 8)))


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError,
        match=r"input_shape must be .* or \(channels, length\) for rows of shape \(64,\), got None",
    ):
        Convolutional().bind((64,))
    with pytest.raises(ValueError, match=r"for rows of shape \(8, 8\), got None"):  # a grey image, or a series
        Convolutional().bind((8, 8))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) or 64 cells because of input_shape, got shape \(65,\)"):
        Convolutional(input_shape=(1, 8, 8)).bind((65,))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) or .* got shape \(8, 8, 1\)"):
        Convolutional(input_shape=(1, 8, 8)).bind((8, 8, 1))


def test_images_too_small_for_their_stages_are_refused():
    with pytest.raises(ValueError, match=r"2 stages .* 1 x 9 pixels have a side of 1 after 0 stages; use MLP"):
        Convolutional().bind((3, 1, 9))
    with pytest.raises(ValueError, match=r"3 stages with stride=2.*6 x 3 pixels.*after 2 stages; use fewer stages"):
        Convolutional((4, 4, 4)).bind((1, 6, 3))
    Convolutional((4, 4)).bind((1, 6, 3))
    Convolutional((4, 4, 4), stride=1).bind((1, 2, 2))
    with pytest.raises(ValueError, match=r"3 stages .*series of 3 time points have a side of 1 after 2 stages"):
        Convolutional((4, 4, 4), input_shape=(2, 3)).bind((2, 3))


@pytest.mark.parametrize(
    ("shape", "channels_last", "n_channels"),
    [((32, 32, 3), False, 32), ((28, 28, 1), False, 28), ((64, 48, 4), False, 64), ((3, 32, 32), True, 32)],
)
def test_images_in_the_other_order_of_axes_are_refused(shape, channels_last, n_channels):
    message = f"images of {n_channels} channels; set channels_last={not channels_last}, or input_shape="
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(2, architecture=Convolutional((2,), channels_last=channels_last)).fit(
            np.ones((9, *shape))
        )
    assert Convolutional((2,), channels_last=not channels_last).bind(shape).input_shape == shape
    if 1 not in shape:  # who states it is believed
        stated = Convolutional((2,), channels_last=channels_last, input_shape=shape)
        assert stated.bind(shape).layout.n_channels == n_channels


@pytest.mark.parametrize("shape", [(3, 32, 32), (256, 4, 4), (8, 2, 3), (1, 4, 3)])
def test_images_that_may_be_in_the_right_order_are_not_refused(shape):
    assert Convolutional((2,)).bind(shape).layout.n_channels == shape[0]


def test_rows_of_two_axes_are_asked_whether_they_are_grey_images_or_series():
    with pytest.raises(ValueError, match=r"\(1, 28, 28\) is for grey images, \(28, 28\) for series of 28 channels"):
        Convolutional().bind((28, 28))
    with pytest.raises(ValueError, match=r"\(9, 28, 1\) is for grey images, \(9, 28\) for series of 28 channels"):
        Convolutional(channels_last=True).bind((9, 28))


def test_flat_rows_with_two_sides_that_may_be_an_image_give_a_warning():
    X = np.random.default_rng(0).random((10, 64))
    series = Convolutional((2,), input_shape=(8, 8))
    for kind in (AutoencoderTransformer, GANSampler):
        model = kind(architecture=series, max_iter=1, random_state=0)
        with pytest.warns(UserWarning, match=r"8 channels and .* grey images set input_shape=\(1, 8, 8\)"):
            model.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X.reshape(-1, 8, 8))  # three axes are an answer
        clone(model).set_params(architecture__input_shape=(1, 8, 8)).fit(X)
        pickle.loads(pickle.dumps(model))
    assert Convolutional((2,), input_shape=(4, 8)).bind((32,)).doubt((32,)) is None
    assert Convolutional((2,), input_shape=(8, 30)).bind((240,)).doubt((240,)) is None
