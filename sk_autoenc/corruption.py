"""The noise kinds: what a denoising autoencoder's encoder sees instead of the rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def add_gaussian(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Add N(0, amount²) to every cell."""
    return x + amount * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def mask(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Set a share ``amount`` of the cells to zero, which in the centred scale is the feature's mean."""
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= amount
    return x * kept


def salt_and_pepper(x: Tensor, amount: float, generator: torch.Generator, low: Tensor, high: Tensor) -> Tensor:
    """Set a share ``amount`` of the cells to the feature's lowest or highest training value, by a fair coin."""
    draw = torch.rand(x.shape, generator=generator, device=x.device)
    return torch.where(draw < amount / 2, low, torch.where(draw < amount, high, x))


NOISE_KINDS: dict[str, Callable[..., Tensor]] = {
    "gaussian": add_gaussian,
    "masking": mask,
    "salt_and_pepper": salt_and_pepper,
}


class Corruption(nn.Module):
    """One kind of noise at one amount; holds the training range for the kinds that need it."""

    low: Tensor
    high: Tensor

    def __init__(self, kind: str, amount: float, n_features: int):
        super().__init__()
        self.kind, self.amount = kind, amount
        if kind == "salt_and_pepper":
            self.register_buffer("low", torch.empty(n_features))
            self.register_buffer("high", torch.empty(n_features))

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return NOISE_KINDS[self.kind](x, self.amount, generator, **dict(self.named_buffers()))

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Take the lowest and highest training value of each feature, where the kind needs them."""
        if self.kind == "salt_and_pepper":
            self.low.copy_(low)
            self.high.copy_(high)
