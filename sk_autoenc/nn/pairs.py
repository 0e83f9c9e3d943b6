"""The container of a network whose target is not its input: a linear baseline plus a network; torch only."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, ROWS_AT_ONCE, Activation
from sk_autoenc.nn.convolution import ImageLayout, Pair, in_fast_order

#: Side of the neighbourhood that a baseline of images reads.
FILTER_SIZE = 5


class PairLayout(NamedTuple):
    """How two rows hold images, of which one is a whole number of times as high and as wide as the other.

    Both are seen on one grid, that of the smaller image: the pixels of the larger one that lie in a pixel of the grid
    are channels there (Shi et al. 2016, https://arxiv.org/abs/1609.05158).
    """

    input: ImageLayout
    output: ImageLayout
    down: Pair = (1, 1)
    up: Pair = (1, 1)

    @property
    def sides(self) -> Pair:
        """Height and width of the grid."""
        return self.input.height // self.down[0], self.input.width // self.down[1]

    @property
    def n_in(self) -> int:
        """Channels of the input on the grid."""
        return self.input.n_channels * self.down[0] * self.down[1]

    @property
    def n_out(self) -> int:
        """Channels of the output on the grid."""
        return self.output.n_channels * self.up[0] * self.up[1]

    def input_maps(self, rows: Tensor) -> Tensor:
        """Rows of the input on the grid."""
        return pixels_to_channels(self.input.to_maps(rows), self.down)

    def output_maps(self, rows: Tensor) -> Tensor:
        """Rows of the output on the grid."""
        return pixels_to_channels(self.output.to_maps(rows), self.up)

    def output_rows(self, maps: Tensor) -> Tensor:
        """The inverse of :meth:`output_maps`."""
        return self.output.to_rows(channels_to_pixels(maps, self.up))


def pixels_to_channels(maps: Tensor, factor: Pair) -> Tensor:
    """``(n, c, h * down, w * across) -> (n, c * down * across, h, w)``."""
    if factor == (1, 1):
        return maps
    down, across = factor
    parts = maps.unflatten(3, (-1, across)).unflatten(2, (-1, down))  # (n, c, h, down, w, across)
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def channels_to_pixels(maps: Tensor, factor: Pair) -> Tensor:
    """The inverse of :func:`pixels_to_channels`."""
    if factor == (1, 1):
        return maps
    parts = maps.unflatten(1, (-1, *factor))  # (n, c, down, across, h, w)
    return parts.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


class Baseline(nn.Module):
    """The linear model that training starts at; its numbers are set, and training does not change them.

    Of flat rows it is ``weight @ x + bias``. Of images it is a convolution of the neighbourhood of each pixel of the
    grid, whose borders are repeated outwards: a copy, bicubic enlargement and the best linear filter differ in their
    kernels alone. Any weight may replace the kernel.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of cells of a row, and of a target.
    layout : PairLayout or None
        How these hold images; None for flat rows.
    """

    kind: Tensor  # (): number of the baseline among those of a start
    bias: Tensor  # (n_outputs,)
    weight: Tensor  # (n_outputs, n_inputs), or no rows if the kernel or the bias alone is used
    kernel: Tensor  # (layout.n_out, layout.n_in, height, width)

    def __init__(self, n_inputs: int, n_outputs: int, layout: PairLayout | None):
        super().__init__()
        self.layout = layout
        self.register_buffer("kind", torch.zeros((), dtype=torch.int64))
        self.register_buffer("bias", torch.zeros(n_outputs))
        self.register_buffer("weight", torch.zeros(0, n_inputs))
        if layout is not None:
            self.register_buffer("kernel", torch.zeros(layout.n_out, layout.n_in, *kernel_size(layout)))

    def set(self, kind: int, bias: Tensor, weight: Tensor | None = None, kernel: Tensor | None = None) -> None:
        """Become this baseline."""
        self.kind.fill_(kind)
        self.bias.copy_(bias)
        self.weight = self.weight.new_zeros(0, self.weight.shape[1]) if weight is None else weight.to(self.weight)
        if self.layout is not None:
            self.kernel.copy_(torch.zeros_like(self.kernel) if kernel is None else kernel)

    def take_sizes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Become a baseline of unset numbers with a weight, or none, if the shape is one that it can have."""
        full = (len(self.bias), self.weight.shape[1])
        if shapes.get("weight") == full:
            self.weight = self.weight.new_empty(full)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.device.type != "cpu":
            return self._of_rows(x)
        return torch.cat([self._of_rows(some) for some in x.split(ROWS_AT_ONCE)])  # as BatchInvariantNetwork

    def _of_rows(self, x: Tensor) -> Tensor:
        if len(self.weight):
            spare = -len(self.weight) % ALIGNED_WIDTH  # as Linear
            return F.linear(x, F.pad(self.weight, (0, 0, 0, spare)))[:, : len(self.bias)] + self.bias
        if self.layout is None:
            return self.bias.expand(len(x), -1)
        return self.layout.output_rows(self.convolve(self.layout.input_maps(x))) + self.bias

    def convolve(self, maps: Tensor) -> Tensor:
        """The kernel's result on the grid, ``(n, n_in, h, w) -> (n, n_out, h, w)``."""
        return F.conv2d(in_fast_order(padded(maps, self.kernel.shape[2:])), self.kernel)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if (given := state_dict.get(f"{prefix}weight")) is not None:
            self.take_sizes({"weight": tuple(given.shape)})
            if not len(given):
                self.weight = self.weight[:0].clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def kernel_size(layout: PairLayout) -> Pair:
    """Height and width of a baseline's kernel; that of series has height 1."""
    return (1 if layout.sides[0] == 1 else FILTER_SIZE, FILTER_SIZE)


def padded(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps with their borders repeated outwards by half a kernel."""
    down, across = size[0] // 2, size[1] // 2
    return F.pad(maps, (across, across, down, down), mode="replicate")


#: Axes of maps along which an augmentation flips them.
FLIPS = {"flip": 3, "flip_vertical": 2}

#: Widths of the ranges from which factors of contrast and shifts of brightness are drawn, of images of variance 1.
_CONTRAST, _BRIGHTNESS = 0.8, 1.6


class PairNetwork(nn.Module):
    """``baseline(x) + gain * network(x)``.

    The network reads rows clipped to the range of the training rows, so that beyond it the sum goes on as the baseline
    does.

    Parameters
    ----------
    baseline : Baseline
        Where training starts.
    network : nn.Module
        ``(n, n_inputs) -> (n, n_outputs)``.
    layout : PairLayout or None
        How rows hold images, if they do.
    augment : tuple of str
        Names of ``FLIPS``: in training a half of the images are flipped, and their predictions flipped back. And
        ``"brightness"``: in training every image gets another contrast and brightness.
    critic : nn.Module or None
        ``(rows, targets) -> (n, n_patches)``, which a game trains beside the network.
    n_inputs, n_gains : int
        Number of cells of a row; 1, or number of cells of a target if each has its own gain.
    """

    low: Tensor
    high: Tensor
    gain: Tensor

    def __init__(
        self,
        baseline: Baseline,
        network: nn.Module,
        *,
        layout: PairLayout | None,
        augment: tuple[str, ...] = (),
        critic: nn.Module | None = None,
        n_inputs: int,
        n_gains: int,
    ):
        super().__init__()
        self.baseline, self.network, self.layout, self.augment = baseline, network, layout, augment
        self.critic = critic
        self.squash = Activation("asinh")
        self.register_buffer("low", torch.zeros(n_inputs))
        self.register_buffer("high", torch.zeros(n_inputs))
        self.register_buffer("gain", torch.ones(n_gains))

    def predict(self, x: Tensor) -> Tensor:
        """Predictions, without anything random."""
        seen = x.clamp(self.low, self.high)
        if self.layout is None:  # values of tables may be far from all others
            seen = self.squash(seen)
        return self.baseline(x) + self.gain * self.network(seen)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if generator is None or not self.training or self.layout is None:
            return self.predict(x)
        flips = [
            (axis, torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5)
            for name, axis in FLIPS.items()
            if name in self.augment
        ]
        if "brightness" in self.augment:
            drawn = torch.rand(2, len(x), 1, generator=generator, device=x.device) - 0.5
            x = x * (1 + _CONTRAST * drawn[0]) + _BRIGHTNESS * drawn[1]
        return flipped(self.predict(flipped(x, self.layout.input, flips)), self.layout.output, flips)

    @torch.no_grad()
    def silence(self) -> None:
        """Set the last layer to zero, so that the prediction is the baseline's."""
        *_, last = (layer for layer in self.network.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
        last.weight.zero_()
        if last.bias is not None:
            last.bias.zero_()


def flipped(rows: Tensor, layout: ImageLayout, flips: list[tuple[int, Tensor]]) -> Tensor:
    """The chosen images flipped along these axes."""
    if not flips:
        return rows
    maps = layout.to_maps(rows)
    for axis, chosen in flips:
        maps = torch.where(chosen, maps.flip(axis), maps)
    return layout.to_rows(maps)
