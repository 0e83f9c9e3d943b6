"""Convolutional layers and architectures: what they compute, the shapes they build, what they refuse."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from sk_autoenc import AAETransformer, AutoencoderTransformer, Convolutional, VAETransformer
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import BoundedLinear, Linear
from sk_autoenc.nn.convolution import (
    FEW_CHANNELS,
    Convolution,
    ImageLayout,
    ToRows,
    UpsampledConvolution,
    in_fast_order,
)
from sk_autoenc.nn.corruption import block


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(network, seed=1):
    initialize_parameters(network, seeded(seed))
    return network


def square(side):
    return (side, side)


def plan(shape=(2, 6, 9), channels=(4, 5), **options):
    return Convolutional(channels, **options).fitted_to(shape)


# -- rows and images


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_row_holds_its_image_in_the_given_order(channels_last):
    images = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    rows = (images.transpose(0, 2, 3, 1) if channels_last else images).reshape(2, -1)
    layout = ImageLayout(3, 4, 5, channels_last)
    maps = layout.to_maps(torch.from_numpy(rows))
    np.testing.assert_array_equal(maps, images)
    np.testing.assert_array_equal(layout.to_rows(maps), rows)
    assert layout.n_cells == 60


@pytest.mark.parametrize("channels_last", [False, True])
def test_several_images_of_a_row_stand_one_after_the_other(channels_last):
    layout = ImageLayout(3, 4, 5, channels_last)
    images = torch.randn(2, 3, 4, 5, generator=seeded())
    both = layout.to_rows(torch.cat([images, 10 + images], dim=1))
    assert torch.equal(both, torch.cat([layout.to_rows(images), layout.to_rows(10 + images)], dim=1))


# -- layers


@pytest.mark.parametrize("stride", [square(1), square(2), square(3), (2, 3)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("n_out", [2, FEW_CHANNELS + 1])
@pytest.mark.parametrize("dilation", [1, 3])
def test_upsampling_repeats_pixels_and_convolves(kernel_size, stride, n_out, dilation):
    (down, across), size = stride, (5 * stride[0] - 1, 4 * stride[1])
    layer = built(UpsampledConvolution(3, n_out, square(kernel_size), stride, square(dilation), size=size)).double()
    maps = torch.randn(2, 3, 5, 4, generator=seeded(), dtype=torch.float64)
    repeated = maps.repeat_interleave(down, 2).repeat_interleave(across, 3)
    margin = dilation * (kernel_size // 2)
    expected = F.conv2d(repeated, layer.weight, layer.bias, padding=margin, dilation=dilation)[..., : size[0], :]
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(maps), expected)


def test_images_are_convolved_pixel_after_pixel_on_a_cpu_and_series_are_not():
    """The order in memory alone; what is computed is the same."""
    network = built(plan((1, 6, 9)).make_encoder(54, 3, linear_path=False))
    seen = []
    for layer in network:
        layer.register_forward_hook(lambda _layer, _args, out: seen.append(out))
    network(torch.zeros(4, 54))
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen if out.ndim == 4)
    assert in_fast_order(torch.zeros(4, 3, 1, 9)).is_contiguous()


def test_a_flat_map_stays_flat():
    """No checkerboard: away from the border all pixels of the output are made alike."""
    layer = built(UpsampledConvolution(3, 1, (3, 3), (2, 2), size=(16, 16)))
    inner = layer(torch.ones(1, 3, 8, 8))[0, 0, 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[0, 0].expand_as(inner))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("n_out", [4, FEW_CHANNELS + 1])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_a_bounded_layer_gives_an_impulse_a_norm_of_one_at_most(stride, n_out, dilation):
    size = square(10 * stride)
    layer = built(UpsampledConvolution(3, n_out, (3, 3), square(stride), square(dilation), size=size, bounded=True))
    with torch.no_grad():
        layer.weight *= torch.tensor([0.01, 10, 100])[None, :, None, None]
        layer.bias.zero_()
    impulses = torch.zeros(3, 3, 10, 10)
    impulses[range(3), range(3), 5, 5] = 1
    norms = layer(impulses).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms[1:], torch.ones(2))
    assert norms[0] < 0.5


@pytest.mark.parametrize("side", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 4])
def test_training_and_evaluation_compute_the_same_convolution(side, stride, dilation):
    layer = built(Convolution(2, 3, (5, 5), square(stride), square(dilation)))
    maps = torch.randn(4, 2, side, 6, generator=seeded())
    in_training = layer.train()(maps)
    torch.testing.assert_close(layer.eval()(maps), in_training)
    assert in_training.shape[2:] == (-(-side // stride), -(-6 // stride))


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 2), (16, 4, 3), (2, 9, 31), (2, 1, 140)])
@pytest.mark.parametrize("dilation", [1, 4])
def test_an_image_gets_the_same_bits_at_any_place_and_with_any_threads(shape, kernel_size, dilation):
    n_in, height, width = shape
    size = (2 * height - 1, 2 * width)
    kernel, strides = (
        (1 if height == 1 else kernel_size, kernel_size),
        [(1 if height == 1 else s, s) for s in (1, 2, 3)],
    )
    gaps = (1 if height == 1 else dilation, dilation)
    down = [built(Convolution(n_in, 7, kernel, stride, gaps)).eval() for stride in strides]
    sizes = [(n_out, stride) for n_out in (1, 2, 7) for stride in strides]
    up = [built(UpsampledConvolution(n_in, n_out, kernel, stride, gaps, size=size)).eval() for n_out, stride in sizes]
    maps = in_fast_order(torch.randn(64, *shape, generator=seeded()))
    order = torch.randperm(64, generator=seeded())
    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            for layer in down + up:
                torch.set_num_threads(1)
                expected = layer(maps)
                for threads in (1, 3, 4):
                    torch.set_num_threads(threads)
                    assert torch.equal(layer(maps), expected)
                    assert torch.equal(layer(in_fast_order(maps[order])), expected[order])
    finally:
        torch.set_num_threads(before)


def test_the_last_layer_has_a_bias_for_each_column():
    layer = built(ToRows(4, ImageLayout(2, 6, 5, True), 2, (3, 3), (2, 2), bounded=False))
    assert layer.bias.shape == (120,)
    out = layer(torch.zeros(3, 4, 3, 3))
    assert torch.equal(out, layer.bias.expand(3, 120))


def test_a_network_takes_leading_axes():
    network = built(plan().make_decoder(3, 108, linear_path=False, bounded=False)).eval()
    codes = torch.randn(4, 130, 3, generator=seeded())
    out = network(codes)
    assert out.shape == (4, 130, 108)
    torch.testing.assert_close(out[2], network(codes[2]))


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
        ({"dilation": (1, 2, 4)}, r"dilation must be a number or one for each of the 2 stages.*got \(1, 2, 4\)"),
        ({"dilation": (1, 0)}, r"dilation must hold integers of 1 or more, got 0 in \(1, 0\)"),
        ({"channels": ()}, "channels must have one entry or more"),
        ({"channels": (8, 0)}, r"channels must hold integers of 1 or more, got 0 in \(8, 0\)"),
        ({"channels": 8}, "channels must be a sequence of integers, got 8"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"kernel_size": 0}, "kernel_size must be an integer of 1 or more, got 0"),
        ({"stride": 1.5}, "stride must be an integer of 1 or more, got 1.5"),
        ({"normalization": "batch"}, "normalization must be one of.*got 'batch'"),
        ({"activation": "swish"}, "activation must be one of.*got 'swish'"),
        ({"code_activation": None}, "code_activation must be one of.*got None"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must hold integers of 1 or more"),
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
        match=r"rows of shape \(64,\) do not say.*input_shape as \(channels, height, width\) or \(channels, length",
    ):
        Convolutional().fitted_to((64,))
    with pytest.raises(ValueError, match=r"rows of shape \(8, 8\) do not say"):  # a grey image, or a series
        Convolutional().fitted_to((8, 8))
    with pytest.raises(ValueError, match=r"input_shape=\(1, 8, 8\) has 64 cells, but rows have shape \(65,\)"):
        Convolutional(input_shape=(1, 8, 8)).fitted_to((65,))
    with pytest.raises(ValueError, match=r"input_shape=\(1, 8, 8\).*rows have shape \(8, 8, 1\)"):
        Convolutional(input_shape=(1, 8, 8)).fitted_to((8, 8, 1))


def test_images_too_small_for_their_stages_are_refused():
    with pytest.raises(ValueError, match=r"1 x 9 pixels have a side of 1 after 0 of the 2 stages.*use MLP"):
        Convolutional().fitted_to((3, 1, 9))
    with pytest.raises(ValueError, match=r"6 x 3 pixels.*after 2 of the 3 stages.*stride=2; use fewer stages"):
        Convolutional((4, 4, 4)).fitted_to((1, 6, 3))
    Convolutional((4, 4)).fitted_to((1, 6, 3))
    Convolutional((4, 4, 4), stride=1).fitted_to((1, 2, 2))
    with pytest.raises(ValueError, match=r"series of 3 time points have a side of 1 after 2 of the 3 stages"):
        Convolutional((4, 4, 4), input_shape=(2, 3)).fitted_to((2, 3))


# -- series


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_series_is_convolved_along_time(stride):
    down = built(Convolution(2, 3, (1, 5), (1, stride)))
    series = torch.randn(4, 2, 1, 11, generator=seeded())
    expected = F.conv1d(series[:, :, 0], down.weight[:, :, 0], down.bias, stride=stride, padding=2)
    torch.testing.assert_close(down(series)[:, :, 0], expected)
    up = built(UpsampledConvolution(2, 3, (1, 5), (1, stride), size=(1, 11 * stride)))
    repeated = series[:, :, 0].repeat_interleave(stride, 2)
    expected = F.conv1d(repeated, up.weight[:, :, 0], up.bias, padding=2)
    torch.testing.assert_close(up(series)[:, :, 0], expected, rtol=1e-4, atol=1e-5)


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
