r"""A chain of columns: each has a distribution that depends on the columns before it, in any order; torch only."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Frequencies of the waves by which neighbouring outcomes of a column share weights.
_N_FREQUENCIES = 4

#: Share of the training batches in the order of the table.
_SHARE_OF_OWN_ORDER = 0.5

#: What the linear path is multiplied by: its weights then move by so many steps at once.
_LINEAR_GAIN = 4.0


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


def waves(column: ColumnOutcomes) -> Tensor:
    """Sine and cosine of the rank of each outcome, of columns whose values have an order; ``(size, n_waves)``.

    Two outcomes with near ranks have near waves, so that what is learned of one holds for the other.
    """
    if column.ranks is None or len(column.ranks) < 3:
        return torch.zeros(column.size, 0)
    place = torch.zeros(column.size, 1)
    ranks = torch.tensor(column.ranks, dtype=torch.float32)
    place[: len(ranks), 0] = 2 * ranks / (len(ranks) - 1) - 1
    angles = place * (math.pi / 2) * 2.0 ** torch.arange(_N_FREQUENCIES)
    found = torch.cat([place, angles.sin(), angles.cos()], 1)
    found[len(ranks) :] = 0
    return found


def features(column: ColumnOutcomes) -> Tensor:
    """What the linear path reads of each outcome: waves, and an indicator of a missing cell; of levels indicators."""
    wave = waves(column)
    if not wave.shape[1]:
        return torch.eye(column.size)
    return torch.cat([wave, torch.eye(column.size)[:, column.size - 1 :]], 1) if column.has_missing else wave


class MaskedChain(nn.Module):
    r"""Log-probabilities of numbered outcomes of columns, by the chain rule in any order [1]_.

    .. math:: \log p(x) = \sum_j \log p(x_{\sigma(j)} \mid x_{\sigma(1)}, \dots, x_{\sigma(j-1)})

    Every hidden unit has a degree, and reads only columns that stand before that place of the order; an output reads
    only units of degrees up to its own place. In training, half of the batches have the order of the table, and the
    other half random ones, so that any columns can be given.

    Weights of the first and the last layer are sums of one for each outcome, and of a smooth function of the outcome's
    rank in its column. Beside the hidden layers there is a linear path, because only few units have low degrees.

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
    features: Tensor

    def __init__(self, columns: Sequence[ColumnOutcomes], widths: Sequence[int] = (256, 256)):
        super().__init__()
        self.columns = list(columns)
        self.sizes = [column.size for column in columns]
        n_outcomes, n_waves = sum(self.sizes), sum(waves(column).shape[1] for column in columns)
        self.n_features = [features(column).shape[1] for column in columns]
        self.hidden = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip([n_outcomes, *widths], widths, strict=False)
        )
        self.last = nn.Linear(widths[-1], n_outcomes)
        self.register_buffer("waves", torch.empty(n_outcomes, n_waves))
        self.register_buffer("features", torch.empty(n_outcomes, sum(self.n_features)))
        self.wave_in = nn.Parameter(torch.empty(widths[0], n_waves))
        self.wave_out = nn.Parameter(torch.empty(n_waves, widths[-1]))
        self.linear_path = nn.Parameter(torch.empty(n_outcomes, sum(self.n_features)))

    @property
    def layers(self) -> list[nn.Linear]:
        """The hidden layers."""
        return [cast(nn.Linear, layer) for layer in self.hidden]

    def initialize(self, generator: torch.Generator) -> None:
        """Weights that keep the variance of one-hot columns and of half-masked layers; outputs begin at their bias."""
        self.waves.copy_(torch.block_diag(*map(waves, self.columns)))
        self.features.copy_(torch.block_diag(*map(features, self.columns)))
        n_ordered = sum(bool(column.ranks) for column in self.columns)
        for number, layer in enumerate(self.layers):
            bound = math.sqrt(12 / layer.in_features) if number else math.sqrt(12 / len(self.sizes)) / 4
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        bound = math.sqrt(3 / (n_ordered * (2 * _N_FREQUENCIES + 1) + 1))
        self.wave_in.uniform_(-bound, bound, generator=generator)
        self.forget()

    def forget(self) -> None:
        """Set all outputs to 0, whatever is read; their bias then is the logarithm of shares."""
        for tensor in (self.wave_out, self.linear_path, self.last.weight, self.last.bias):
            tensor.zero_()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log-probability of every cell given those before it, 0 where it is NaN; ``(n, d) -> (n, d)``.

        Without a generator, the mean over the order of the table and its reverse, which tells how well columns predict
        those before them, too.
        """
        if generator is not None:
            return self._log_prob(x, self.logits(x, self._draw_order(generator)), self.sizes)
        backwards = torch.arange(len(self.sizes) - 1, -1, -1, device=x.device)
        found = [self._log_prob(x, self.logits(x, order), self.sizes) for order in (None, backwards)]
        return (found[0] + found[1]) / 2

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
        first, inner, last, direct = self._masked_weights(order)
        read = indicators(x, self.sizes)
        hidden = self._through(F.linear(read, first, self.layers[0].bias), inner)
        return F.linear(hidden, last, self.last.bias) + F.linear(read @ self.features, direct)

    def _through(self, hidden: Tensor, inner: Sequence[Tensor]) -> Tensor:
        """Units of the last hidden layer, from the first one's before its activation."""
        for layer, weight in zip(self.layers[1:], inner, strict=True):
            hidden = F.linear(F.relu(hidden), weight, layer.bias)
        return F.relu(hidden)

    def _masked_weights(self, order: Tensor | None) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Weights of first, inner and last layers and the linear path, without what would look ahead in this order."""
        device, d = self.last.weight.device, len(self.sizes)
        place, steps = torch.empty(d, dtype=torch.long, device=device), torch.arange(d, device=device)
        place[steps if order is None else order.to(device)] = steps
        read = place.repeat_interleave(torch.tensor(self.n_features, device=device), output_size=sum(self.n_features))
        place = place.repeat_interleave(torch.tensor(self.sizes, device=device), output_size=sum(self.sizes))
        degrees = [
            1 + torch.arange(n, device=device) * max(d - 1, 1) // n for n in (h.out_features for h in self.layers)
        ]
        first = (self.layers[0].weight + self.wave_in @ self.waves.T) * (degrees[0][:, None] > place)
        inner = [
            layer.weight * (degree[:, None] >= before)
            for layer, before, degree in zip(self.layers[1:], degrees, degrees[1:], strict=False)
        ]
        last = (self.last.weight + self.waves @ self.wave_out) * (place[:, None] >= degrees[-1])
        return first, inner, last, _LINEAR_GAIN * self.linear_path * (place[:, None] > read)

    def _draw_order(self, generator: torch.Generator) -> Tensor | None:
        """The order of the table, or a random one."""
        if torch.rand(1, generator=generator, device=generator.device) < _SHARE_OF_OWN_ORDER:
            return None
        return torch.randperm(len(self.sizes), generator=generator, device=generator.device)

    def walk(self, order: Tensor, n: int) -> "Walk":
        """The start of ``n`` rows that are filled column by column in this order."""
        return Walk(self, order, n)


class Walk:
    """Rows that are filled column by column; a step costs as much as one column's share of the network."""

    def __init__(self, chain: MaskedChain, order: Tensor, n: int):
        self.chain = chain
        self.first, self.inner, self.last, self.direct = chain._masked_weights(order)
        self.read = chain.layers[0].bias.expand(n, -1)
        self.features = chain.features.new_zeros(n, chain.features.shape[1])
        self.begins = [sum(chain.sizes[:j]) for j in range(len(chain.sizes))]

    def logits(self, column: int) -> Tensor:
        """Logits of the outcomes of a column, given those that are filled; ``(n, size)``."""
        chain, own = self.chain, slice(self.begins[column], self.begins[column] + self.chain.sizes[column])
        logits = F.linear(chain._through(self.read, self.inner), self.last[own], chain.last.bias[own])
        return logits + F.linear(self.features, self.direct[own])

    def fill(self, column: int, outcomes: Tensor) -> None:
        """Fill a column with outcomes, integers of shape ``(n,)``."""
        number = self.begins[column] + outcomes
        self.read = self.read + self.first.T[number]
        self.features += self.chain.features[number]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows, which may stand there more than once."""
        self.read, self.features = self.read[rows], self.features[rows]
