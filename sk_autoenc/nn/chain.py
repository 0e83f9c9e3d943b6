r"""A chain of columns: each has a distribution that depends on the columns before it, in any order; torch only."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Frequencies of the waves by which neighbouring outcomes of a column share weights.
_N_FREQUENCIES = 4


class ColumnOutcomes(NamedTuple):
    """Numbers of outcomes of a column.

    Attributes
    ----------
    size : int
        Number of outcomes, that of a missing cell included.
    ranks : tuple of int or None
        The rank of each outcome among the values of a column of numbers; None for levels without an order.
    has_missing : bool
        Whether the last outcome is a missing cell.
    """

    size: int
    ranks: tuple[int, ...] | None = None
    has_missing: bool = False


def indicators(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """An indicator of each outcome; all of a column are 0 where the cell is NaN. ``(..., d) -> (..., sum(sizes))``."""
    repeats = torch.tensor(sizes, device=rows.device)
    first = repeats.cumsum(0) - repeats
    number = torch.arange(sum(sizes), device=rows.device)
    number = (number - first.repeat_interleave(repeats, output_size=sum(sizes))).to(rows.dtype)
    return (rows.repeat_interleave(repeats, dim=-1, output_size=sum(sizes)) == number).to(rows.dtype)


def waves(columns: Sequence[ColumnOutcomes]) -> Tensor:
    """Sine and cosine of the rank of each outcome, for columns whose values have an order; ``(n_outcomes, n_waves)``.

    Two outcomes with near ranks have near waves, so that what is learned of one holds for the other.
    """
    blocks = []
    for column in columns:
        wave = torch.zeros(column.size, 0)
        if column.ranks is not None and len(column.ranks) > 2:
            place = torch.zeros(column.size, 1)
            ranks = torch.tensor(column.ranks, dtype=torch.float32)
            place[: len(ranks), 0] = 2 * ranks / (len(ranks) - 1) - 1
            angles = place * (math.pi / 2) * 2.0 ** torch.arange(_N_FREQUENCIES)
            wave = torch.cat([place, angles.sin(), angles.cos()], 1)
            wave[len(ranks) :] = 0
        blocks.append(wave)
    return torch.block_diag(*blocks)


class MaskedChain(nn.Module):
    r"""Log-probabilities of numbered outcomes of columns, by the chain rule in any order [1]_.

    .. math:: \log p(x) = \sum_j \log p(x_{\sigma(j)} \mid x_{\sigma(1)}, \dots, x_{\sigma(j-1)})

    Every hidden unit has a degree, and reads only columns that stand before that place of the order; an output reads
    only units of degrees up to its own place. In training, half of the batches have the order of the table. In the
    other half columns drawn at random come first, so that any columns can be given.

    Weights of the first and the last layer are sums of one for each outcome, and of a smooth function of the outcome's
    rank in its column.

    Parameters
    ----------
    columns : sequence of ColumnOutcomes
        The outcomes of each column.
    widths : sequence of int
        Number of units of each hidden layer.

    References
    ----------
    .. [1] Germain, Gregor, Murray, Larochelle (2015). MADE: masked autoencoder for distribution estimation. ICML.
       https://arxiv.org/abs/1502.03509
    """

    waves: Tensor

    def __init__(self, columns: Sequence[ColumnOutcomes], widths: Sequence[int] = (256, 256)):
        super().__init__()
        self.columns = list(columns)
        self.sizes = [column.size for column in columns]
        n_outcomes, n_waves = sum(self.sizes), waves(columns).shape[1]
        self.hidden = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip([n_outcomes, *widths], widths, strict=False)
        )
        self.last = nn.Linear(widths[-1], n_outcomes)
        self.register_buffer("waves", torch.empty(n_outcomes, n_waves))
        self.wave_in = nn.Parameter(torch.empty(widths[0], n_waves))
        self.wave_out = nn.Parameter(torch.empty(n_waves, widths[-1]))

    def initialize(self, generator: torch.Generator) -> None:
        """Weights that keep the variance of one-hot columns and of half-masked layers; outputs begin at their bias."""
        self.waves.copy_(waves(self.columns))
        n_ordered = sum(bool(column.ranks) for column in self.columns)
        for number, layer in enumerate(self.hidden):
            bound = math.sqrt(12 / layer.in_features) if number else math.sqrt(12 / len(self.sizes)) / 4
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        bound = math.sqrt(3 / (n_ordered * (2 * _N_FREQUENCIES + 1) + 1))
        self.wave_in.uniform_(-bound, bound, generator=generator)
        for tensor in (self.wave_out, self.last.weight, self.last.bias):
            tensor.zero_()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log-probability of every cell given those before it, 0 where it is NaN; ``(n, d) -> (n, d)``."""
        logits = self.logits(x, None if generator is None else self._draw_order(generator))
        return self._log_prob(x, logits, self.sizes)

    def log_prob_of_observed(self, x: Tensor) -> Tensor:
        """The same, given which cells are missing, in the order of the table; 0 for these."""
        observed = [column.size - column.has_missing for column in self.columns]
        return self._log_prob(x, self.logits(x), observed)

    def _log_prob(self, x: Tensor, logits: Tensor, counted: Sequence[int]) -> Tensor:
        """Log-probability of every cell among the first outcomes of its column, ``counted`` many; 0 for all others."""
        found = []
        for j, some in enumerate(logits.split(self.sizes, -1)):
            if not counted[j]:
                found.append(torch.zeros_like(x[:, :1]))
                continue
            outcome, is_counted = x[:, j : j + 1].nan_to_num(0.0).long(), x[:, j : j + 1] < counted[j]  # False for NaN
            log_prob = some[:, : counted[j]].log_softmax(-1).gather(-1, outcome.clamp_max(counted[j] - 1))
            found.append(torch.where(is_counted, log_prob, 0.0))
        return torch.cat(found, -1)

    def logits(self, x: Tensor, order: Tensor | None = None) -> Tensor:
        """Logits of all outcomes of each column, given the columns before it in the order."""
        first, inner, last = self._masked_weights(order)
        hidden = F.linear(indicators(x, self.sizes), first, self.hidden[0].bias)
        return F.linear(self._through(hidden, inner), last, self.last.bias)

    def _through(self, hidden: Tensor, inner: Sequence[Tensor]) -> Tensor:
        """Units of the last hidden layer, from the first one's before its activation."""
        for layer, weight in zip(list(self.hidden)[1:], inner, strict=True):
            hidden = F.linear(F.relu(hidden), weight, layer.bias)
        return F.relu(hidden)

    def _masked_weights(self, order: Tensor | None) -> tuple[Tensor, list[Tensor], Tensor]:
        """Weights of the first, the inner and the last layers without what would look ahead in this order."""
        device, d = self.last.weight.device, len(self.sizes)
        place, steps = torch.empty(d, dtype=torch.long, device=device), torch.arange(d, device=device)
        place[steps if order is None else order.to(device)] = steps
        place = place.repeat_interleave(torch.tensor(self.sizes, device=device), output_size=sum(self.sizes))
        degrees = [1 + torch.arange(len(h.bias), device=device) * max(d - 1, 1) // len(h.bias) for h in self.hidden]
        first = (self.hidden[0].weight + self.wave_in @ self.waves.T) * (degrees[0][:, None] > place)
        inner = [
            layer.weight * (degree[:, None] >= before)
            for layer, before, degree in zip(list(self.hidden)[1:], degrees, degrees[1:], strict=False)
        ]
        last = (self.last.weight + self.waves @ self.wave_out) * (place[:, None] >= degrees[-1])
        return first, inner, last

    def _draw_order(self, generator: torch.Generator) -> Tensor | None:
        """The order of the table, or one in which some columns come first."""
        draws = torch.rand(2 + len(self.sizes), generator=generator, device=generator.device)
        if draws[0] < 0.5:
            return None
        given = draws[2:] < draws[1]
        return torch.cat([given.nonzero()[:, 0], (~given).nonzero()[:, 0]])

    def walk(self, order: Tensor, n: int) -> "Walk":
        """The start of ``n`` rows that are filled column by column in this order."""
        return Walk(self, order, n)


class Walk:
    """Rows that are filled column by column; a step costs as much as one column's share of the network."""

    def __init__(self, chain: MaskedChain, order: Tensor, n: int):
        self.chain = chain
        self.first, self.inner, self.last = chain._masked_weights(order)
        self.read = chain.hidden[0].bias.expand(n, -1).clone()
        self.begins = [sum(chain.sizes[:j]) for j in range(len(chain.sizes))]

    def logits(self, column: int) -> Tensor:
        """Logits of the outcomes of a column, given those that are filled; ``(n, size)``."""
        chain, own = self.chain, slice(self.begins[column], self.begins[column] + self.chain.sizes[column])
        return F.linear(chain._through(self.read, self.inner), self.last[own], chain.last.bias[own])

    def fill(self, column: int, outcomes: Tensor) -> None:
        """Fill a column with outcomes, integers of shape ``(n,)``."""
        self.read = self.read + self.first.T[self.begins[column] + outcomes]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows, which may stand there more than once."""
        self.read = self.read[rows]
