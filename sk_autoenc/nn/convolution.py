"""Convolutional networks on rows that hold images or series: the layers, and how one lies in a row; torch only.

A series is an image of height 1, with kernels of height 1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Height and width.
Pair = tuple[int, int]


class ImageLayout(NamedTuple):
    """How a row holds an image, or several of one shape one after the other; a series has height 1."""

    n_channels: int
    height: int
    width: int
    channels_last: bool

    @property
    def n_cells(self) -> int:
        """Length of a row that holds one image."""
        return self.n_channels * self.height * self.width

    def to_maps(self, rows: Tensor) -> Tensor:
        """``(n, n_cells) -> (n, n_channels, height, width)``."""
        if self.channels_last:
            return rows.unflatten(1, (self.height, self.width, self.n_channels)).permute(0, 3, 1, 2)
        return rows.unflatten(1, self[:3])

    def to_rows(self, maps: Tensor) -> Tensor:
        """``(n, k * n_channels, height, width) -> (n, k * n_cells)``: k images a row."""
        if self.channels_last:
            maps = maps.unflatten(1, (-1, self.n_channels)).permute(0, 1, 3, 4, 2)
        return maps.flatten(1)


class ToMaps(nn.Module):
    """Rows as images."""

    def __init__(self, layout: ImageLayout):
        super().__init__()
        self.layout = layout

    def forward(self, rows: Tensor) -> Tensor:
        return self.layout.to_maps(rows).contiguous()


class Convolution(nn.Conv2d):
    """A convolution that keeps every ``stride``-th pixel: a side of n pixels becomes one of ceil(n / stride)."""

    def __init__(self, n_in: int, n_out: int, kernel_size: Pair, stride: Pair):
        height, width = kernel_size
        super().__init__(n_in, n_out, kernel_size, stride=stride, padding=(height // 2, width // 2))
        self.margin = (width // 2, width // 2, height // 2, height // 2)

    def forward(self, maps: Tensor) -> Tensor:
        if self.training:
            return super().forward(maps)
        # For maps hardly larger than the kernel, the kernels that pad by themselves depend on an image's place.
        return F.conv2d(F.pad(maps, self.margin), self.weight, self.bias, stride=self.stride)


class UpsampledConvolution(nn.Conv2d):
    """Every pixel becomes ``stride`` x ``stride`` equal ones, then a convolution; cut to ``size``.

    A plain transposed convolution makes neighbouring pixels by different weights, which shows as a checkerboard [1].
    Here both steps are computed as one transposed convolution whose kernel is the layer's own one, summed over the
    pixels that are equal: the same result for half the work.

    [1] Odena, Dumoulin, Olah (2016). Deconvolution and checkerboard artifacts. Distill.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: Pair, stride: Pair, *, size: Pair, bounded: bool = False):
        height, width = kernel_size
        self.margin = (height // 2, width // 2)
        super().__init__(n_in, n_out, kernel_size, stride=stride, padding=self.margin)
        self.size, self.bounded = size, bounded

    def kernel(self) -> Tensor:
        """Kernel of the transposed convolution, ``(n_in, n_out, ...)``, along each axis larger by ``stride - 1``.

        ``bounded``: what one input cell adds to the output has norm 1 at most.
        """
        (down, across), flipped = self.stride, self.weight.flip(2, 3).transpose(0, 1)
        kernel = F.pad(flipped, (across - 1, across - 1, down - 1, down - 1))
        if down * across > 1:
            kernel = F.avg_pool2d(kernel, (down, across), stride=1) * (down * across)
        if self.bounded:
            norms = torch.linalg.vector_norm(kernel, dim=(1, 2, 3), keepdim=True)
            kernel = kernel / norms.clamp_min(1.0)
        return kernel.contiguous()  # the order in which the convolution is fastest

    def forward(self, maps: Tensor) -> Tensor:
        return self.enlarge(maps, self.bias)

    def enlarge(self, maps: Tensor, bias: Tensor | None) -> Tensor:
        """The layer with another bias: ``(n, n_in, h, w) -> (n, n_out, *size)``."""
        height, width = self.size
        out = F.conv_transpose2d(maps, self.kernel(), bias, stride=self.stride, padding=self.margin)
        return out[..., :height, :width]


class ToRows(UpsampledConvolution):
    """The last layer of a decoder: it gives rows, and has a bias of its own for each of their columns."""

    bias: nn.Parameter

    def __init__(
        self, n_in: int, layout: ImageLayout, n_images: int, kernel_size: Pair, stride: Pair, *, bounded: bool
    ):
        size = (layout.height, layout.width)
        super().__init__(n_in, n_images * layout.n_channels, kernel_size, stride, size=size, bounded=bounded)
        self.layout = layout
        self.bias = nn.Parameter(torch.empty(n_images * layout.n_cells))

    def forward(self, maps: Tensor) -> Tensor:
        return self.layout.to_rows(self.enlarge(maps, None)) + self.bias
