"""A network that predicts cells of a table, as numbered outcomes, from the other cells of their row; torch only."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_autoenc.nn.chain import ColumnOutcomes, features, indicators, waves


class CellPredictor(nn.Module):
    r"""Logits of the outcomes of every cell from the cells of its row that are not hidden, by a perceptron.

    It reads an indicator for each outcome; all of a column are 0 where the cell is NaN. Weights of the first and the
    last layer are sums of one for each outcome, and of a smooth function of the outcome's rank in its column, as in
    :class:`~sk_autoenc.nn.chain.MaskedChain`. Beside the two hidden layers there is a linear path.

    Parameters
    ----------
    columns : sequence of ColumnOutcomes
        The outcomes of each column.
    width : int, default=64
        Number of units of each hidden layer.
    """

    waves: Tensor
    features: Tensor

    def __init__(self, columns: Sequence[ColumnOutcomes], width: int = 64):
        super().__init__()
        self.columns = list(columns)
        self.sizes = [column.size for column in columns]
        n_outcomes, n_waves = sum(self.sizes), sum(waves(column).shape[1] for column in columns)
        self.n_features = [features(column).shape[1] for column in columns]
        self.first, self.second = nn.Linear(n_outcomes, width), nn.Linear(width, width)
        self.last = nn.Linear(width, n_outcomes)
        self.wave_in = nn.Parameter(torch.empty(width, n_waves))
        self.wave_out = nn.Parameter(torch.empty(n_waves, width))
        self.linear_path = nn.Parameter(torch.empty(n_outcomes, sum(self.n_features)))
        self.register_buffer("waves", torch.empty(n_outcomes, n_waves))
        self.register_buffer("features", torch.empty(n_outcomes, sum(self.n_features)))

    def initialize(self, generator: torch.Generator) -> None:
        """Weights that keep the variance of one-hot columns; outputs begin at their bias."""
        self.waves.copy_(torch.block_diag(*map(waves, self.columns)))
        self.features.copy_(torch.block_diag(*map(features, self.columns)))
        for layer, n_read in ((self.first, len(self.sizes)), (self.second, self.second.in_features)):
            bound = math.sqrt(6 / n_read)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        bound = math.sqrt(3 / (self.waves.shape[1] + 1))
        self.wave_in.uniform_(-bound, bound, generator=generator)
        for tensor in (self.wave_out, self.linear_path, self.last.weight, self.last.bias):
            tensor.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of all outcomes of each column; ``(n, d) -> (n, sum(sizes))``."""
        read = indicators(x, self.sizes)
        hidden = F.relu(F.linear(read, self._first_weight, self.first.bias))
        hidden = F.relu(self.second(hidden))
        return F.linear(hidden, self._last_weight, self.last.bias) + F.linear(read @ self.features, self.linear_path)

    def log_prob(self, x: Tensor, shown: Tensor) -> Tensor:
        """Log-probability of every cell given what is shown of its row, 0 where the cell is NaN; ``(n, d)``."""
        parts = [self._log_prob_of(x, j, some) for j, some in enumerate(self(shown).split(self.sizes, -1))]
        return torch.stack(parts, 1)

    def log_prob_given_others(self, x: Tensor) -> Tensor:
        """Log-probability of every cell given all others of its row, 0 where it is NaN; ``(n, d)``."""
        read = indicators(x, self.sizes)
        first, last, found, begin, begin_of_features = self._first_weight, self._last_weight, [], 0, 0
        units, numbers = F.linear(read, first, self.first.bias), read @ self.features
        for j, (size, n_features) in enumerate(zip(self.sizes, self.n_features, strict=True)):
            own, of_own = slice(begin, begin + size), slice(begin_of_features, begin_of_features + n_features)
            hidden = F.relu(self.second(F.relu(units - F.linear(read[:, own], first[:, own]))))
            direct = F.linear(numbers, self.linear_path[own])
            direct = direct - F.linear(numbers[:, of_own], self.linear_path[own, of_own])
            found.append(self._log_prob_of(x, j, F.linear(hidden, last[own], self.last.bias[own]) + direct))
            begin, begin_of_features = own.stop, of_own.stop
        return torch.stack(found, 1)

    @property
    def _first_weight(self) -> Tensor:
        return self.first.weight + self.wave_in @ self.waves.T

    @property
    def _last_weight(self) -> Tensor:
        return self.last.weight + self.waves @ self.wave_out

    @staticmethod
    def _log_prob_of(x: Tensor, column: int, logits: Tensor) -> Tensor:
        cells = x[:, column]
        chosen = cells.nan_to_num(0.0).long()[:, None]
        return torch.where(cells.isnan(), 0.0, logits.log_softmax(-1).gather(-1, chosen)[:, 0])
