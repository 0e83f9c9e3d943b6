"""Convolutional layers: what they compute, whatever the company and the threads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sk_autoenc import Convolutional
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.convolution import (
    FEW_CHANNELS,
    Convolution,
    ImageLayout,
    ToRows,
    UpsampledConvolution,
    in_fast_order,
)
from tests.data_sets import seeded


def built(network, seed=1):
    initialize_parameters(network, seeded(seed))
    return network


def square(side):
    return (side, side)


def plan(shape=(2, 6, 9), channels=(4, 5), **options):
    return Convolutional(channels, **options).bind(shape)


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
