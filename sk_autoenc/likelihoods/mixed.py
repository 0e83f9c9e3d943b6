"""Rows of a table: one distribution for each column, over its numbered outcomes; missing cells are left out."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.likelihoods.base import Likelihood
from sk_autoenc.likelihoods.discrete import is_count
from sk_autoenc.nn.chain import indicators
from sk_autoenc.storage import by_params


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Mixed(Likelihood):
    r"""Columns of numbers, categories and dates, each with a distribution of its own, independent given the code.

    .. math:: \log p(x | z) = \sum_{j \text{ observed}} \log P_j(x_j | z)

    It is what ``likelihood="auto"`` means for a data frame with such columns, or with missing cells. A column of
    numbers has quantile bins, and a probability for each value that many rows share. The decoder gives a logit for each
    outcome, and the encoder reads indicators, which are all 0 where a cell is missing.

    Parameters
    ----------
    outcomes : list of int or None, default=None
        Number of outcomes of each column; None takes them from the table.
    ranks : list of (list of int or None), or None, default=None
        The rank of each outcome in columns of numbers, but of a missing cell; None for levels.
    """

    knows_values, has_mean, may_be_missing = True, False, True

    def __init__(self, outcomes: list[int] | None = None, ranks: list[list[int] | None] | None = None):
        self.outcomes = outcomes
        self.ranks = ranks

    def check(self, X: np.ndarray) -> None:
        """Values are checked by the table, which knows their columns."""

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for numbers of outcomes that no table can have."""
        if (self.outcomes is None) != (self.ranks is None):
            raise ValueError("Mixed: outcomes and ranks must both be given, or none of them.")
        if self.outcomes is None or self.ranks is None:
            return
        if not isinstance(self.outcomes, list) or not all(map(is_count, self.outcomes)):
            raise ValueError(f"Mixed: outcomes must be a list of integers of 1 or more, got {self.outcomes!r:.60}.")
        if not isinstance(self.ranks, list) or len(self.ranks) != len(self.outcomes):
            raise ValueError(f"Mixed: ranks must be a list of {len(self.outcomes)} entries, got {self.ranks!r:.60}.")
        for size, ranks in zip(self.outcomes, self.ranks, strict=True):
            if ranks is not None and (sorted(ranks) != list(range(len(ranks))) or not size - 1 <= len(ranks) <= size):
                raise ValueError(f"Mixed: ranks of a column must be the numbers below {size}, got {ranks!r:.60}.")

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if there is not one number of outcomes for each column."""
        if self.outcomes is None or len(self.outcomes) != n_features:
            raise ValueError(f"Mixed: outcomes must be a list of {n_features} integers after fit.")

    @property
    def _sizes(self) -> list[int]:
        assert self.outcomes is not None, "the table fills this in"
        return self.outcomes

    def n_inputs(self, n_features: int) -> int:
        """One indicator for each outcome."""
        return sum(self._sizes)

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """One logit for each outcome."""
        return sum(self._sizes)

    def encoder_input(self, x: Tensor) -> Tensor:
        """Indicators of the outcomes; all of a column are 0 where its cell is missing."""
        return indicators(x, self._sizes)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over the columns whose cells are observed."""
        normalizers = torch.stack([logits.logsumexp(-1) for logits in raw.split(self._sizes, -1)], -1)
        normalizers = torch.where(x.isnan(), 0.0, normalizers)
        return (raw * self.encoder_input(x)).sum(-1) - normalizers.sum(-1)

    def without_missing(self, raw: Any, x: Tensor) -> tuple[Any, Tensor]:
        """Output and rows as they are: :meth:`log_prob` leaves missing cells out."""
        return raw, x

    def error(self, raw: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Share of the observed cells of each row whose outcome is not the most probable one."""
        best = torch.stack([logits.argmax(-1).to(raw.dtype) for logits in raw.split(self._sizes, -1)], -1)
        wrong = (best != x) & ~x.isnan()
        return wrong.to(raw.dtype).sum(-1) / (~x.isnan()).sum(-1).clamp_min(1)

    def mean(self, raw: Tensor) -> Tensor:
        """The median of numbers and the most probable level; the fraction is the place within a bin."""
        assert self.ranks is not None
        parts = []
        for logits, ranks in zip(raw.split(self._sizes, -1), self.ranks, strict=True):
            parts.append(logits.argmax(-1) + 0.5 if ranks is None else _median(logits, ranks))
        return torch.stack([part.to(raw.dtype) for part in parts], -1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Draw an outcome of each column, and a place within its bin as the fraction."""
        drawn = [torch.multinomial(logits.softmax(-1), 1, generator=generator) for logits in raw.split(self._sizes, -1)]
        outcomes = torch.cat(drawn, -1)
        return outcomes.to(raw.dtype) + _places(outcomes.shape, generator).to(raw.dtype)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the outcomes' shares, which count as 0.001 at least."""
        return np.log(mean.clip(1e-3))


def _median(logits: Tensor, ranks: list[int]) -> Tensor:
    """The outcome that holds the median, and the place of the median in it."""
    order = torch.argsort(torch.tensor(ranks, device=logits.device))
    shares = logits.softmax(-1)[..., order]
    above = shares.cumsum(-1)
    where = (above < 0.5).sum(-1).clamp_max(len(ranks) - 1)
    share = shares.gather(-1, where[..., None])[..., 0]
    before = above.gather(-1, where[..., None])[..., 0] - share
    place = ((0.5 - before) / share.clamp_min(1e-12)).clamp(0.0, 0.99)
    return order[where] + place


def _places(shape: Any, generator: torch.Generator) -> Tensor:
    """Places within bins; they end before 1, also when they are added to a number in float32."""
    return torch.rand(shape, generator=generator) * 0.999
