"""Running averages of weights, which follow those of a network in training."""

import torch
from torch import Tensor, nn

#: After so many steps an average reaches half of them back, at most.
RAMP = 10


@torch.no_grad()
def follow(average: nn.Module, current: nn.Module, age: Tensor, decay: float) -> None:
    """Move weights towards the current ones, faster while they are young; ``age`` counts the steps."""
    age += 1
    share = 1 - (age / (age + RAMP)).clamp_max(decay)
    averaged = list(average.parameters())
    # torch reads a share that is a tensor, too, and then nothing waits for a GPU.
    torch._foreach_lerp_(averaged, list(current.parameters()), [share] * len(averaged))  # type: ignore[list-item, arg-type]


@torch.no_grad()
def restart(average: nn.Module, current: nn.Module) -> None:
    """Make weights equal to the current ones."""
    for averaged, weight in zip(average.parameters(), current.parameters(), strict=True):
        averaged.copy_(weight)
