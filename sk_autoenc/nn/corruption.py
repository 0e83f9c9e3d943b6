"""The kinds of noise, which corrupt the input of a denoising autoencoder's encoder."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Number of evenly spaced positions at which ``warp`` draws how far to move; moves between them are interpolated.
KNOTS = 10


def add_gaussian(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Add N(0, amount²) to every cell."""
    return x + amount * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def mask(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Set a share ``amount`` of the cells to zero, which is the feature's mean in centred rows."""
    kept = torch.rand(x.shape, dtype=x.dtype, generator=generator, device=x.device) >= amount
    return x * kept


def salt_and_pepper(x: Tensor, amount: float, generator: torch.Generator, low: Tensor, high: Tensor) -> Tensor:
    """Set a share ``amount`` of the cells to the feature's lowest or highest training value, with equal probability."""
    draw = torch.rand(x.shape, dtype=x.dtype, generator=generator, device=x.device)
    return torch.where(draw < amount / 2, low, torch.where(draw < amount, high, x))


def block(x: Tensor, amount: float, generator: torch.Generator, layout: Any) -> Tensor:
    """Set a rectangle of each image or a stretch of each series, a share ``amount`` of it, to zero in all channels.

    Its position is random. The shape of a rectangle is random as well, from a strip of full height to one of full
    width. Sides are numbers of pixels, at least 1 if ``amount`` is above 0.
    """
    height, width = layout.height, layout.width
    shape, *place = torch.rand(3, len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    shape = shape * (height > 1)  # 0 for series: a stretch
    least = float(amount > 0)
    n_rows = (height * amount**shape).round().clamp_min(least)
    n_columns = (width * amount ** (1 - shape)).round().clamp_min(least)
    in_rows, in_columns = (
        _inside(torch.arange(side, device=x.device), share, length)
        for side, share, length in ((height, place[0], n_rows), (width, place[1], n_columns))
    )
    kept = ~(in_rows[:, :, None] & in_columns[:, None, :])  # (n, height, width)
    return x * layout.to_rows(kept[:, None].expand(-1, layout.n_channels, -1, -1))


def _inside(positions: Tensor, share: Tensor, length: Tensor) -> Tensor:
    """Which positions lie in a stretch of this length, whose begin is random by ``share`` in [0, 1); ``(n, side)``."""
    begin = (share * (len(positions) + 1 - length)).floor()
    return (positions >= begin) & (positions < begin + length)


def warp(x: Tensor, amount: float, generator: torch.Generator, layout: Any, center: Tensor) -> Tensor:
    """Move the time points of each series, or the columns and the rows of each image, by a curve drawn for it.

    The curve has values of N(0, (``amount`` · length)²) at evenly spaced times, and is linear between them. It is close
    to [1]_, whose curves keep the order of time; here time runs backwards where neighbouring values differ by much.
    Cells at the ends are repeated. ``center`` was subtracted from the rows, and is moved with them.

    [1] Um et al. (2017). Data augmentation of wearable sensor data for Parkinson's disease monitoring using
        convolutional neural networks. ICMI.
    """
    maps = layout.to_maps(x + center)
    for axis in (2, 3) if layout.height > 1 else (3,):
        maps = _moved_along(axis, maps, amount, generator)
    return layout.to_rows(maps) - center


def _moved_along(axis: int, maps: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Maps at moved positions along an axis, interpolated linearly between cells."""
    side = maps.shape[axis]
    knots = torch.randn(len(maps), 1, KNOTS, generator=generator, device=maps.device, dtype=maps.dtype)
    moves = amount * side * F.interpolate(knots, size=side, mode="linear", align_corners=True)
    places = (torch.arange(side, device=maps.device) + moves).clamp(0, side - 1)[:, :, None, :]  # (n, 1, 1, side)
    places = places.transpose(axis, 3).expand_as(maps)
    before = places.floor().long()
    after = (before + 1).clamp(max=side - 1)
    return maps.gather(axis, before).lerp(maps.gather(axis, after), places - before)


NOISE_KINDS: dict[str, Callable[..., Tensor]] = {
    "gaussian": add_gaussian,
    "masking": mask,
    "salt_and_pepper": salt_and_pepper,
    "block": block,
    "warp": warp,
}

#: Kinds that need the layout of images or series.
OF_IMAGES = ("block", "warp")

#: What a kind must know of each feature.
_KNOWN_FROM_ROWS = {"salt_and_pepper": ("low", "high"), "warp": ("center",)}


class Corruption(nn.Module):
    """One kind of noise at one amount, with the range, centre or layout of the rows if the kind needs it."""

    low: Tensor
    high: Tensor
    center: Tensor

    def __init__(self, kind: str, amount: float, n_features: int, layout: Any = None):
        super().__init__()
        self.kind, self.amount = kind, amount
        self.options = {"layout": layout} if kind in OF_IMAGES else {}
        for name in _KNOWN_FROM_ROWS.get(kind, ()):
            self.register_buffer(name, torch.zeros(n_features))

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        known = {name: getattr(self, name) for name in _KNOWN_FROM_ROWS.get(self.kind, ())}
        return NOISE_KINDS[self.kind](x, self.amount, generator, **self.options, **known)

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Set the lowest and highest training value of each feature, if the kind needs them."""
        if self.kind == "salt_and_pepper":
            self.low.copy_(low)
            self.high.copy_(high)

    def set_center(self, center: Tensor) -> None:
        """Set what was subtracted from each feature, in the scale of the rows, if the kind needs it."""
        if self.kind == "warp":
            self.center.copy_(center)
