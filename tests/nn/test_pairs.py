"""Grids of pixels and channels, U-Net and SegNet of any size, places of maxima, and flips."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sk_autoenc import Convolutional
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.pairs import PairLayout, channels_to_pixels, flipped, pixels_to_channels
from sk_autoenc.nn.segnet import SegNet, pool, unpool


def filled(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def test_pixels_as_channels_are_torchs_and_come_back():
    maps = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    torch.testing.assert_close(pixels_to_channels(maps, (2, 2)), F.pixel_unshuffle(maps, 2))
    for factor in ((1, 1), (2, 3), (4, 1)):
        torch.testing.assert_close(channels_to_pixels(pixels_to_channels(maps, factor), factor), maps)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "target"), [((2, 5, 8), (1, 5, 8)), ((1, 4, 7), (3, 8, 21)), ((3, 9, 6), (1, 3, 2))])
def test_a_u_net_maps_any_sizes(shape, target, last):
    if last:
        shape, target = (*shape[1:], shape[0]), (*target[1:], target[0])
    architecture = Convolutional((3,), channels_last=last).bind(shape)
    layout = architecture.pair_layout(target)
    for skips in (True, False):
        network = filled(architecture.make_pair_network(np.prod(shape), np.prod(target), layout, skips=skips))
        assert network(torch.randn(4, int(np.prod(shape)))).shape == (4, np.prod(target))


def test_skips_let_fine_structure_pass():
    """Where the smallest maps are cut off, a pixel reaches its surroundings through skips, and no other pixels."""
    architecture = Convolutional((2, 2, 2)).bind((1, 8, 8))
    layout = architecture.pair_layout((1, 8, 8))
    network = filled(architecture.make_pair_network(64, 64, layout, skips=True))
    x = torch.zeros(2, 64)
    x[1, 0] = 1e-3
    (unet,) = network
    with torch.no_grad():
        for joint in unet.joints:
            joint.enlarge.weight.zero_()
    difference = (network(x)[1] - network(x)[0]).reshape(8, 8).abs() > 0
    assert difference[0, 0]
    assert not difference[7, 7]  # so far away only the smallest maps could tell


def test_sizes_that_do_not_go_together_are_refused_by_name():
    architecture = Convolutional((2,)).bind((1, 6, 8))
    with pytest.raises(ValueError, match="whole multiple"):
        architecture.pair_layout((1, 9, 8))
    with pytest.raises(ValueError, match="whole multiple"):
        architecture.pair_layout((1, 12, 4))
    with pytest.raises(ValueError, match="axis for channels"):
        architecture.pair_layout((48,))
    with pytest.raises(ValueError, match="side of 1"):
        architecture.pair_layout((1, 1, 1))
    with pytest.raises(ValueError, match="1 x 1 pixels"):
        Convolutional((2,)).bind((1, 1, 1))


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
def test_values_return_to_the_places_of_the_maxima(size):
    maps = torch.randn(3, 2, *size)
    pooled, places = pool(maps)
    back = unpool(pooled, places, size)
    assert pooled.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))
    assert (back != 0).sum() == pooled.numel()
    torch.testing.assert_close(back[back != 0], maps[back != 0])
    if size[0] % 2 == size[1] % 2 == 0:
        torch.testing.assert_close(back, F.max_unpool2d(pooled, places, 2))


@pytest.mark.parametrize("has_indices", [True, False])
@pytest.mark.parametrize("stem", [1, 2, 3])
def test_segnet_scores_every_pixel(has_indices, stem):
    layout = PairLayout(ImageLayout(2, 9, 13, False), ImageLayout(4, 9, 13, False))
    network = filled(SegNet(layout, [3, 5], kernel_size=3, stem=stem, has_indices=has_indices))
    assert network(torch.randn(2, 2 * 9 * 13)).shape == (2, 4 * 9 * 13)


def test_flips_are_undone_by_themselves():
    layout = ImageLayout(2, 3, 4, True)
    rows = torch.randn(5, 24)
    chosen = torch.tensor([True, False, True, True, False]).reshape(5, 1, 1, 1)
    flips = [(3, chosen), (2, ~chosen)]
    once = flipped(rows, layout, flips)
    torch.testing.assert_close(flipped(once, layout, flips), rows)
    expected = rows.reshape(5, 3, 4, 2)[0].flip(1).flatten()
    torch.testing.assert_close(once[0], expected)
