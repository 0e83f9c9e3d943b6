"""What held-out rows say: which epoch was best, and whether training has gained anything.

Verdicts on squared errors rest on the mean of their signed roots. In heavy-tailed tables a few far rows decide
squared errors; their means choose the wrong epoch and their standard errors mean nothing. Log-probabilities are
compared as they are: their origin is arbitrary, and a row that a density model finds impossible is its fault. But a
single row that training has made ten thousand nats more probable must not hide, by its spread, what all rows gained.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: Standard errors by which the yardstick's mean must fall, and by which the plain mean must not rise.
_REAL, _WORSE = 2.5, 1.0


class Yardstick(NamedTuple):
    """How the losses of held-out rows are compared."""

    shorten: Callable[[Tensor], Tensor]  # what of each loss is averaged
    threshold_mode: str  # whether ``tol`` is a share of the average ("rel") or a distance ("abs")
    holds_gains: bool = False  # whether a gain counts that shows once the largest falls are held to usual ones


def signed_root(losses: Tensor) -> Tensor:
    """``sign(x) sqrt(|x|)``: the same order, shorter tails."""
    return losses.sign() * losses.abs().sqrt()


SQUARED_ERRORS = Yardstick(signed_root, "rel")
NATS = Yardstick(lambda losses: losses, "abs", holds_gains=True)


class Verdict(NamedTuple):
    """How many epochs were best, and the losses of held-out rows before training and after that many."""

    n_epochs: int
    before: Tensor
    after: Tensor
    yardstick: Yardstick

    @property
    def gain_is_real(self) -> bool:
        """Whether the losses fell by more than chance explains, and their plain mean did not rise.

        In nats it is enough if they did once the largest gains are held to usual ones.
        """
        if len(self.before) < 2 or not self.after.isfinite().all():
            return False
        fall = self.yardstick.shorten(self.before) - self.yardstick.shorten(self.after)
        is_real = _z(fall) > _REAL or (self.yardstick.holds_gains and _z(_held(fall)) > _REAL)
        return is_real and _z(self.before - self.after) > -_WORSE


def best_epoch(losses: Tensor, yardstick: Yardstick) -> int:
    """Number, from 1, of the epoch whose held-out losses ``(n_epochs, n_rows)`` are lowest."""
    criterion = yardstick.shorten(losses).mean(1)
    return int(torch.where(criterion.isfinite(), criterion, torch.inf).argmin()) + 1


def _held(fall: Tensor) -> Tensor:
    """Falls of at most their median and five interquartile ranges; losses stay what they are."""
    first, median, third = fall.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=fall.dtype))
    return fall.clamp(max=median + 5 * (third - first))


def _z(fall: Tensor) -> float:
    """Mean in units of its standard error; a fall without spread counts by its sign."""
    error = fall.std() / len(fall) ** 0.5
    return float(fall.mean() / error.clamp_min(torch.finfo(fall.dtype).tiny))
