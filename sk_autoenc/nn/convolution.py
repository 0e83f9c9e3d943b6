"""Convolutional layers on rows that hold images or series, and the layout of these rows; torch only.

A series is an image of height 1, with kernels of height 1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Height and width.
Pair = tuple[int, int]

#: Enlarged maps with up to this many channels are computed by an ordinary convolution, which is faster for few.
FEW_CHANNELS = 4


class ImageLayout(NamedTuple):
    """How a row holds an image, or several images of one shape one after the other; a series has height 1."""

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
        if self.channels_last or self.n_channels == 1:  # both orders are equal for a single channel
            return rows.unflatten(1, (self.height, self.width, self.n_channels)).permute(0, 3, 1, 2)
        return rows.unflatten(1, self[:3])

    def to_rows(self, maps: Tensor) -> Tensor:
        """``(n, k * n_channels, height, width) -> (n, k * n_cells)``: k images a row."""
        if self.channels_last:
            maps = maps.unflatten(1, (-1, self.n_channels)).permute(0, 1, 3, 4, 2)
        return maps.flatten(1)


def in_fast_order(maps: Tensor) -> Tensor:
    """Maps in the memory format in which convolutions are fastest: for images on a CPU, channels last."""
    pixels_first = maps.device.type == "cpu" and maps.shape[2] > 1
    return maps.contiguous(memory_format=torch.channels_last if pixels_first else torch.contiguous_format)


def convolve(
    maps: Tensor, kernel: Tensor, bias: Tensor | None, stride: Pair, dilation: Pair = (1, 1), *, training: bool
) -> Tensor:
    """A convolution of maps that are padded with zeros by half a kernel."""
    down, across = dilation
    margin = (down * (kernel.shape[2] // 2), across * (kernel.shape[3] // 2))
    if training:
        return F.conv2d(maps, kernel, bias, stride, margin, dilation)
    # If maps are hardly larger than the kernel, the result of torch's own padding depends on an image's position.
    padded = F.pad(maps, (margin[1], margin[1], margin[0], margin[0]))
    return F.conv2d(padded, kernel, bias, stride, 0, dilation)


class ToMaps(nn.Module):
    """Rows as images."""

    def __init__(self, layout: ImageLayout):
        super().__init__()
        self.layout = layout

    def forward(self, rows: Tensor) -> Tensor:
        return in_fast_order(self.layout.to_maps(rows))


class Convolution(nn.Conv2d):
    """A convolution that keeps every ``stride``-th pixel: a side of n pixels becomes one of ceil(n / stride)."""

    stride: Pair
    dilation: Pair

    def __init__(self, n_in: int, n_out: int, kernel_size: Pair, stride: Pair, dilation: Pair = (1, 1)):
        super().__init__(n_in, n_out, kernel_size, stride=stride, dilation=dilation)

    def forward(self, maps: Tensor) -> Tensor:
        return convolve(maps, self.weight, self.bias, self.stride, self.dilation, training=self.training)


class UpsampledConvolution(nn.Conv2d):
    """Repeat every pixel ``stride`` x ``stride`` times, then convolve; the result is cut to ``size``.

    A plain transposed convolution computes neighbouring pixels by different weights, which gives a checkerboard [1].
    Here both steps are one transposed convolution, whose kernel is the layer's kernel summed over the equal pixels: the
    same result in half the time. With few output channels, a convolution of the small maps computes the ``stride`` x
    ``stride`` pixels of each position as channels instead [2]: again the same result. A dilated kernel would lose its
    gaps in such sums, so with dilation pixels are repeated.

    [1] Odena, Dumoulin, Olah (2016). Deconvolution and checkerboard artifacts. Distill.
    [2] Shi et al. (2016). Real-time single image and video super-resolution using an efficient sub-pixel
        convolutional neural network. CVPR.
    """

    stride: Pair
    dilation: Pair

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: Pair,
        stride: Pair,
        dilation: Pair = (1, 1),
        *,
        size: Pair,
        bounded: bool = False,
    ):
        height, width = kernel_size
        super().__init__(n_in, n_out, kernel_size, stride=stride, dilation=dilation)
        self.margin, self.size, self.bounded = (height // 2, width // 2), size, bounded

    def kernel(self) -> Tensor:
        """Kernel of the transposed convolution, ``(n_in, n_out, ...)``, along each axis larger by ``stride - 1``.

        ``bounded``: the part of the output that depends on one input cell has norm 1 at most.
        """
        kernel = self._within_bounds(self._of_one_cell(self.weight), n_in_axis=0)
        return kernel.contiguous()  # the convolution is fastest in this order

    def _of_one_cell(self, weight: Tensor) -> Tensor:
        """The part of the output that depends on one input cell, ``(n_in, n_out, ...)``: its pixels, convolved."""
        (down, across), flipped = self.stride, weight.flip(2, 3).transpose(0, 1)
        kernel = F.pad(flipped, (across - 1, across - 1, down - 1, down - 1))
        return F.avg_pool2d(kernel, (down, across), stride=1) * (down * across) if down * across > 1 else kernel

    def dilated_kernel(self) -> Tensor:
        """Kernel of the dilated convolution of repeated pixels, ``(n_out, n_in, ...)``, within the same bounds."""
        if not self.bounded:
            return self.weight
        (height, width), (down, across) = self.kernel_size, self.dilation
        dilated = self.weight.new_zeros(*self.weight.shape[:2], down * (height - 1) + 1, across * (width - 1) + 1)
        dilated[..., ::down, ::across] = self.weight
        norms = torch.linalg.vector_norm(self._of_one_cell(dilated), dim=(1, 2, 3))  # (n_in,)
        return self.weight / norms.clamp_min(1.0)[:, None, None]

    def kernel_of_phases(self) -> Tensor:
        """Kernel of the convolution of small maps, ``(n_out * down * across, n_in, ...)``, of equal effect."""
        sizes = zip(self.kernel_size, self.stride, strict=True)
        by_row, by_column = (read_by_phase(*pair, self.weight.device).to(self.weight.dtype) for pair in sizes)
        kernel = torch.einsum("oikl,pak,qbl->opqiab", self.weight, by_row, by_column).flatten(0, 2)
        return self._within_bounds(kernel, n_in_axis=1)

    def _within_bounds(self, kernel: Tensor, n_in_axis: int) -> Tensor:
        if not self.bounded:
            return kernel
        output_axes = [axis for axis in range(4) if axis != n_in_axis]
        return kernel / torch.linalg.vector_norm(kernel, dim=output_axes, keepdim=True).clamp_min(1.0)

    def forward(self, maps: Tensor) -> Tensor:
        return self.enlarge(maps, self.bias)

    def enlarge(self, maps: Tensor, bias: Tensor | None) -> Tensor:
        """The layer with another bias: ``(n, n_in, h, w) -> (n, n_out, *size)``."""
        maps, (height, width) = in_fast_order(maps), self.size
        if self.dilation != (1, 1):
            repeated = maps.repeat_interleave(self.stride[0], dim=2).repeat_interleave(self.stride[1], dim=3)
            kernel = self.dilated_kernel()
            out = convolve(in_fast_order(repeated), kernel, bias, (1, 1), self.dilation, training=self.training)
        elif self.out_channels > FEW_CHANNELS and (self.training or maps.shape[2] > 1):
            # In evaluation of series, rounding would depend on the number of threads on some processors.
            out = F.conv_transpose2d(maps, self.kernel(), bias, self.stride, self.margin)
        else:
            phases = convolve(maps, self.kernel_of_phases(), None, (1, 1), training=self.training)
            out = phases.unflatten(1, (-1, *self.stride)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
            out = out if bias is None else out + bias[:, None, None]
        return out[..., :height, :width]


def read_by_phase(size: int, stride: int, device: torch.device) -> Tensor:
    """Which cell of the small map each tap of a kernel reads, for each of the ``stride`` cells of an enlarged cell.

    Booleans ``(stride, n, size)``. The middle one of the n cells of the small map is the enlarged cell.
    """
    reach = -(-(size // 2) // stride)
    taps, cells = torch.arange(size, device=device), torch.arange(-reach, reach + 1, device=device)
    read = (torch.arange(stride, device=device)[:, None] + taps - size // 2).div(stride, rounding_mode="floor")
    return read[:, None] == cells[:, None]


class ToRows(UpsampledConvolution):
    """The last layer of a decoder: it returns rows, and has a bias for each of their columns."""

    bias: nn.Parameter

    def __init__(
        self,
        n_in: int,
        layout: ImageLayout,
        n_images: int,
        kernel_size: Pair,
        stride: Pair,
        dilation: Pair = (1, 1),
        *,
        bounded: bool,
    ):
        n_out, size = n_images * layout.n_channels, (layout.height, layout.width)
        super().__init__(n_in, n_out, kernel_size, stride, dilation, size=size, bounded=bounded)
        self.layout = layout
        self.bias = nn.Parameter(torch.empty(n_images * layout.n_cells))

    def forward(self, maps: Tensor) -> Tensor:
        return self.layout.to_rows(self.enlarge(maps, None)) + self.bias
