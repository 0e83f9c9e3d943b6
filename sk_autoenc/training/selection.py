"""Selection by held-out rows: of the epoch, and between the network and the start of training.

An evaluation is a tensor of figures, lower is better: one for each held-out row, or one for each held-out set. The
figures of folds are concatenated.

Squared errors are compared by the mean of their signed roots. In heavy-tailed tables a few far rows dominate squared
errors: their mean selects the wrong epoch, and their standard error is useless. Losses in nats are compared
untransformed, because their origin is arbitrary. The largest gains are also winsorised, so that the variance of one far
row cannot hide what all rows gained.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Standard errors by which the transformed mean must fall, and by which the plain mean must not rise.
_SIGNIFICANT, _WORSE = 2.5, 1.0

#: A row is covered where a sample lies within the distance of this neighbour of it, as in ``metrics``.
N_NEIGHBORS = 5


class LossComparison(NamedTuple):
    """How the losses of held-out rows are compared."""

    transform: Callable[[Tensor], Tensor]  # of each loss, before it is averaged
    threshold_mode: str  # whether ``tol`` is a share of the average ("rel") or a difference ("abs")
    winsorises: bool = False  # whether it is enough if the gain is significant after winsorising the largest gains

    def criterion(self, losses: Tensor) -> Tensor:
        """The criterion that is lowest at the best epoch; ``(..., n) -> (...)``."""
        return self.transform(losses).mean(-1)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        """Whether the losses fell by more than chance explains, and their plain mean did not rise."""
        if len(before) < 2 or not after.isfinite().all():
            return False
        fall = self.transform(before) - self.transform(after)
        falls = _z(fall) > _SIGNIFICANT or (self.winsorises and _z(_winsorised(fall)) > _SIGNIFICANT)
        return falls and _z(before - after) > -_WORSE


def signed_root(losses: Tensor) -> Tensor:
    """``sign(x) sqrt(|x|)``: the same order, shorter tails."""
    return losses.sign() * losses.abs().sqrt()


def identity(losses: Tensor) -> Tensor:
    """The losses themselves."""
    return losses


ROOT_LOSS = LossComparison(signed_root, "rel")
NATS = LossComparison(identity, "abs", winsorises=True)


@dataclass(frozen=True)
class Selection(metaclass=ABCMeta):
    """Evaluates a net on held-out data, and compares evaluations.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which training stops.
    tol : float
        Smallest improvement that counts.
    stops : bool
        Whether training stops early and returns to its best epoch; if not, evaluations are only recorded.
    """

    patience: int
    tol: float
    stops: bool = field(default=True, kw_only=True)

    @property
    @abstractmethod
    def threshold_mode(self) -> str:
        """Whether ``tol`` is a share of the criterion ("rel") or a difference ("abs")."""

    @abstractmethod
    def evaluate(self, net: Any, held_out: Any) -> Tensor:
        """Figures of the net on held-out data, lower is better; ``(n,)``, float64, on the CPU."""

    def qualities(self, net: Any, held_out: Any, figures: Tensor) -> Mapping[str, float]:
        """What else is recorded of an epoch, by name, given its figures."""
        return {}

    @abstractmethod
    def criterion(self, figures: Tensor) -> Tensor:
        """The criterion that is lowest at the best epoch; ``(..., n) -> (...)``."""

    @abstractmethod
    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        """Whether figures are better after training than before, by more than chance explains."""


@dataclass(frozen=True)
class RowLosses(Selection):
    """Selection by the objective of every held-out row."""

    comparison: LossComparison = ROOT_LOSS

    @property
    def threshold_mode(self) -> str:
        return self.comparison.threshold_mode

    def evaluate(self, net: Any, held_out: Any) -> Tensor:
        return net.losses(held_out)

    def criterion(self, figures: Tensor) -> Tensor:
        return self.comparison.criterion(figures)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        return self.comparison.is_significant(before, after)


#: The default.
BY_ROW = RowLosses(patience=1, tol=0.0)


@dataclass(frozen=True)
class RowFigures(Selection):
    """Selection by a figure of every held-out row, such as minus the score of a ranking; compared row by row.

    Parameters
    ----------
    figures : callable
        ``(net, held_out) -> (n,)``, float64 and on the CPU, lower is better; the same rows at every call.
    """

    figures: Callable[[Any, Any], Tensor]

    @property
    def threshold_mode(self) -> str:
        return "abs"

    def evaluate(self, net: Any, held_out: Any) -> Tensor:
        return self.figures(net, held_out)

    def criterion(self, figures: Tensor) -> Tensor:
        return figures.mean(-1)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        return is_lower(after, before)


@dataclass(frozen=True)
class WholeFigure(Selection):
    """Selection by one figure of all held-out data, such as a distance between samples and rows, or minus a score.

    Parameters
    ----------
    figure : callable
        ``(net, held_out) -> float``, lower is better. It must draw the same numbers at every call.
    """

    figure: Callable[[Any, Any], float]

    @property
    def threshold_mode(self) -> str:
        return "abs"

    def evaluate(self, net: Any, held_out: Any) -> Tensor:
        return torch.tensor([float(self.figure(net, held_out))], dtype=torch.float64)

    def criterion(self, figures: Tensor) -> Tensor:
        return figures.mean(-1)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        """A single figure must fall by more than ``tol``, those of folds also by more than chance explains."""
        fall = before - after
        if not after.isfinite().all() or float(fall.mean()) <= self.tol:
            return False
        return len(fall) == 1 or _z(fall) > _SIGNIFICANT


@dataclass(frozen=True)
class EnergyScores(Selection):
    r"""By how near samples come to every held-out row, less how near they are to one another.

    The energy score of a row, :math:`E\lVert x - Y \rVert - \frac12 E\lVert Y - Y' \rVert` with draws :math:`Y`, is
    proper (Gneiting and Raftery 2007): nothing has a lower mean than the distribution of the rows. Twice its mean is
    their energy distance from the samples, up to what the rows alone determine. Scores belong to rows, so two
    evaluations are compared row by row.

    Parameters
    ----------
    draw : callable
        ``(net, held_out) -> (rows, samples)``, both float and on the CPU, from the same stream at every call.
    further : callable or None
        ``(net, held_out) -> {name: figure}``, what else is recorded of every epoch.
    """

    draw: Callable[[Any, Any], tuple[Tensor, Tensor]]
    further: Callable[[Any, Any], Mapping[str, float]] | None = None

    @property
    def threshold_mode(self) -> str:
        return "abs"

    def evaluate(self, net: Any, held_out: Any) -> Tensor:
        rows, samples = self.draw(net, held_out)
        return pairwise_distances(rows, samples).mean(1) - 0.5 * pairwise_distances(samples, samples).mean()

    def qualities(self, net: Any, held_out: Any, figures: Tensor) -> Mapping[str, float]:
        """Energy distance, and which share of the held-out rows' neighbourhoods holds a sample."""
        rows, samples = self.draw(net, held_out)
        among = pairwise_distances(rows, rows)
        distance = max(0.0, 2 * float(figures.mean()) - float(among.mean()))
        coverage = float("nan")
        if len(rows) > N_NEIGHBORS and len(samples) >= len(rows):
            reach = among.kthvalue(N_NEIGHBORS + 1, dim=1).values  # a row is its own nearest neighbour
            coverage = float((pairwise_distances(rows, samples[: len(rows)]).amin(1) <= reach).double().mean())
        further = {} if self.further is None else self.further(net, held_out)
        return {"energy_distance": distance, "coverage": coverage, **further}

    def criterion(self, figures: Tensor) -> Tensor:
        return figures.mean(-1)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        return is_lower(after, before)


def is_lower(figures: Tensor, others: Tensor) -> bool:
    """Whether figures of rows are lower than other ones of the same rows, by more than chance explains."""
    return len(figures) > 1 and bool(figures.isfinite().all()) and _z(others - figures) > _SIGNIFICANT


def pairwise_distances(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distances, float64; not by matrix products, in which equal rows are not quite 0 apart."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist").double()


def best_epoch(figures: Tensor, selection: Selection) -> int:
    """Number, from 1, of the epoch whose held-out figures ``(n_epochs, n)`` are lowest."""
    criterion = selection.criterion(figures)
    return int(torch.where(criterion.isfinite(), criterion, torch.inf).argmin()) + 1


def _winsorised(fall: Tensor) -> Tensor:
    """Gains clipped to their median plus five interquartile ranges; negative gains are unchanged."""
    first, median, third = fall.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=fall.dtype))
    return fall.clamp(max=median + 5 * (third - first))


def _z(fall: Tensor) -> float:
    """Mean in units of its standard error; without variance, a very large number with the sign of the mean."""
    error = fall.std() / len(fall) ** 0.5
    return float(fall.mean() / error.clamp_min(torch.finfo(fall.dtype).tiny))
