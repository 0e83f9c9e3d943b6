"""SegNet: an encoder whose pooling remembers where each maximum stood, and a decoder that puts values back there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import Activation
from sk_autoenc.nn.convolution import Convolution, Pair, UpsampledConvolution, in_fast_order
from sk_autoenc.nn.pairs import PairLayout, channels_to_pixels, pixels_to_channels


def pool(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum of every 2 x 2 pixels and its place in the maps; at odd ends of the pixels that are there."""
    return F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)


def unpool(maps: Tensor, places: Tensor, size: Pair) -> Tensor:
    """Maps of this size, odd ones included, with each value at its place, and zeros elsewhere."""
    height, width = size
    wide, at = (enlarged(part, size) for part in (maps, places))
    here = torch.arange(height * width, device=maps.device).view(height, width)
    return torch.where(at == here, wide, 0.0)


def enlarged(maps: Tensor, size: Pair) -> Tensor:
    """Every pixel repeated 2 x 2 times, cut to the size."""
    wide = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return wide[..., : size[0], : size[1]]


class SkipJoint(nn.Module):
    """Enlarges maps and adds what a convolution makes of the encoder's: a convolution of both side by side."""

    def __init__(self, n_in: int, n_skip: int, n_out: int, kernel_size: Pair, size: Pair):
        super().__init__()
        self.enlarge = UpsampledConvolution(n_in, n_out, kernel_size, (2, 2), size=size)
        self.skip = Convolution(n_skip, n_out, kernel_size, (1, 1))

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        return self.enlarge(maps) + self.skip(skip)


class IndexJoint(nn.Module):
    """Puts values back to the places of the encoder's maxima, and convolves (Badrinarayanan et al. 2017)."""

    def __init__(self, n_in: int, n_out: int, kernel_size: Pair, size: Pair):
        super().__init__()
        self.convolution, self.size = Convolution(n_in, n_out, kernel_size, (1, 1)), size

    def forward(self, maps: Tensor, places: Tensor) -> Tensor:
        return self.convolution(in_fast_order(unpool(maps, places, self.size)))


class SegNet(nn.Module):
    """Scores of classes for each pixel, ``(n, n_cells) -> (n, n_classes * height * width)``.

    Badrinarayanan, Kendall, Cipolla (2017), https://arxiv.org/abs/1511.00561. Each stage of the encoder is a
    convolution with batch normalisation and pooling. At prediction the normalisation has its running moments, so no row
    depends on others.

    Parameters
    ----------
    layout : PairLayout
        Of images, and of scores with a channel for each class.
    channels : sequence of int
        Channels after each stage of the encoder.
    kernel_size : int
        Side of the kernels.
    stem : int
        So many pixels in both directions are channels of one pixel of the network; missing ones repeat the border.
    has_indices : bool
        Whether the decoder enlarges maps by the places of the maxima; else by skips, as a U-Net.
    """

    def __init__(self, layout: PairLayout, channels: list[int], *, kernel_size: int, stem: int, has_indices: bool):
        super().__init__()
        self.layout, self.stem, self.has_indices = layout, stem, has_indices
        kernel = (kernel_size, kernel_size)

        def after(n_channels: int) -> nn.Sequential:
            return nn.Sequential(nn.BatchNorm2d(n_channels), Activation("relu"))

        self.stages, self.joints, self.after = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        n_first = layout.input.n_channels * stem**2
        sides = stage_sides(layout, len(channels), stem)
        for n_in, n_out in zip([n_first, *channels], channels, strict=False):
            self.stages.append(nn.Sequential(Convolution(n_in, n_out, kernel, (1, 1)), after(n_out)))
        for level in reversed(range(len(channels))):
            n_in, n_out, size = channels[level], channels[max(level - 1, 0)], sides[level]
            joint: nn.Module = SkipJoint(n_in, n_in, n_out, kernel, size)
            if has_indices:
                joint = IndexJoint(n_in, n_out, kernel, size)
            self.joints.append(joint)
            self.after.append(after(n_out))
        self.head = Convolution(channels[0], layout.output.n_channels * stem**2, kernel, (1, 1))

    def forward(self, rows: Tensor) -> Tensor:
        maps, kept = self._to_grid(self.layout.input.to_maps(rows)), []
        for stage in self.stages:
            found = stage(maps)
            maps, places = pool(found)
            kept.append(places if self.has_indices else found)
        for joint, after in zip(self.joints, self.after, strict=True):
            maps = after(joint(maps, kept.pop()))
        height, width = self.layout.output.height, self.layout.output.width
        scores = channels_to_pixels(self.head(maps), (self.stem, self.stem))[..., :height, :width]
        return self.layout.output.to_rows(scores)

    def _to_grid(self, maps: Tensor) -> Tensor:
        down, across = (-side % self.stem for side in maps.shape[2:])
        if down or across:
            maps = F.pad(maps, (0, across, 0, down), mode="replicate")
        return in_fast_order(pixels_to_channels(maps, (self.stem, self.stem)))


def stage_sides(layout: PairLayout, n_stages: int, stem: int) -> list[Pair]:
    """Height and width on the network's grid before each stage and after the last."""
    sides = [(-(-layout.input.height // stem), -(-layout.input.width // stem))]
    for _ in range(n_stages):
        sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
    return sides
