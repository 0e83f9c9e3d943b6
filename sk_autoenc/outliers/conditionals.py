"""How well the cells of a row of a table go together: minus the log-probability of each, given all others."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.initialization.independent import log_shares
from sk_autoenc.nn.cells import CellPredictor
from sk_autoenc.nn.chain import ColumnOutcomes
from sk_autoenc.outliers.scores import above_zero
from sk_autoenc.training.schedules import rise_and_fall

#: Hidden units; bins of a column of numbers at most; steps; rows per step; and the largest learning rate.
_WIDTH, MAX_BINS, _N_STEPS, _BATCH, _RATE = 64, 20, 300, 128, 6e-3

#: Share of the cells that are hidden in training.
_HIDDEN = 0.5

#: Each row is in so many batches at most, so that none is learned by heart.
_MOST_EPOCHS = 15

#: What the surprise weighs beside the distance.
_WEIGHT = 2.0


class ConditionalSurprise:
    r"""What a row's cells say against each other, as a sum over its columns.

    .. math:: b = \sum_{j \text{ observed}} \bigl(-\log p(x_j \mid x_{-j}) - m_j\bigr)

    One masked network gives all conditional distributions. :math:`m_j` is the mean of training rows, so that a missing
    cell, which counts as 0, makes a row neither usual nor unusual. A level that no training row has counts as one in
    ``n + 1`` rows.

    Parameters
    ----------
    rows : OutcomeRows
        Turns encoded rows into numbers of outcomes.
    network : CellPredictor
        Trained.
    usual : Tensor of shape (n_columns,)
        :math:`m_j`.
    factors : Tensor of shape (2,)
        What a distance and what this measure is multiplied by before they are combined.
    shifts : Tensor of shape (2,)
        What is subtracted from each of them before.
    unknown : Tensor of shape ()
        The surprise of a level that no training row has.
    """

    def __init__(
        self,
        rows: OutcomeRows,
        network: CellPredictor,
        *,
        usual: Tensor,
        factors: Tensor,
        shifts: Tensor,
        unknown: Tensor,
    ):
        self.rows, self.network = rows, network.eval()
        self.usual, self.factors, self.shifts, self.unknown = usual, factors, shifts, unknown

    @classmethod
    def fit(cls, rows: OutcomeRows, X: np.ndarray, generator: torch.Generator) -> "ConditionalSurprise":
        """Train on encoded rows."""
        with torch.inference_mode(False), torch.enable_grad():
            made = cls.untrained(rows)
            _train(made.network, torch.from_numpy(rows.to_network(X)), generator)
        made.network.eval()
        made.unknown += np.log(len(X) + 1)
        return made

    @classmethod
    def untrained(cls, rows: OutcomeRows) -> "ConditionalSurprise":
        """One for these columns without weights; its ``state`` has the names and shapes that any has."""
        pairs = zip(rows.outcomes, rows.ranks, strict=True)
        columns = [ColumnOutcomes(of.n_outcomes, ranks, of.has_missing) for of, ranks in pairs]
        usual, factors, shifts = (torch.zeros(n, dtype=torch.float64) for n in (len(columns), 2, 2))
        unknown = torch.zeros((), dtype=torch.float64)
        network = CellPredictor(columns, _WIDTH)
        return cls(rows, network, usual=usual, factors=factors, shifts=shifts, unknown=unknown)

    def calibrate(self, X: np.ndarray, distances: Tensor) -> None:
        """Set means by encoded training rows, and units by these and their distances."""
        is_observed = torch.from_numpy(~np.isnan(X))
        self.usual = (self._surprise(X) * is_observed).sum(0) / is_observed.sum(0).clamp_min(1)
        ordered = torch.stack([distances, self.parts(X).sum(1)]).sort(dim=1).values
        self.shifts, high = (ordered[:, int(share * (len(X) - 1))] for share in (0.1, 0.9))
        width = above_zero(high - self.shifts, (ordered - self.shifts[:, None]).abs().mean(1))
        self.factors = torch.tensor([1.0, _WEIGHT], dtype=torch.float64) / width

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Arrays that :meth:`from_state` reads."""
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        weights |= {name: getattr(self, name) for name in ("usual", "factors", "shifts", "unknown")}
        return {name: value.detach().numpy().copy() for name, value in weights.items()}

    @classmethod
    def from_state(cls, rows: OutcomeRows, state: dict[str, np.ndarray]) -> "ConditionalSurprise":
        """The inverse of ``state``."""
        arrays = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
        own = {name: value for name, value in arrays.items() if not name.startswith("network.")}
        network = cls.untrained(rows).network
        network.load_state_dict({name.removeprefix("network."): arrays[name] for name in arrays.keys() - own.keys()})
        return cls(rows, network, **own)

    def parts(self, X: np.ndarray) -> Tensor:
        """Each column's term for encoded rows; ``(n, n_columns)``, float64."""
        return torch.where(torch.from_numpy(~np.isnan(X)), self._surprise(X) - self.usual, 0.0)

    def combined(self, parts: Tensor, X: np.ndarray) -> Tensor:
        """Parts of ``sqrt(a² + b²)``, where ``a`` is the sum of the given parts; each in its own unit, and 0 at least.

        A unit begins at the 0.1-quantile of training rows and ends at the 0.9-quantile.
        """
        shifts = self.shifts[:, None, None] / X.shape[1]
        components = (torch.stack([parts, self.parts(X)]) - shifts) * self.factors[:, None, None]
        sums = components.sum(2).clamp_min(0.0)
        shares = sums / torch.linalg.vector_norm(sums, dim=0).clamp_min(1e-300)
        return (components * shares[:, :, None]).sum(0)

    def _surprise(self, X: np.ndarray) -> Tensor:
        """``-log p(x_j | x_-j)`` of encoded rows; any number where a cell is missing."""
        is_level = np.array([outcomes.n_bins == 0 for outcomes in self.rows.outcomes])
        unknown = is_level & (X < 0)
        x = torch.from_numpy(self.rows.to_network(np.where(unknown, np.nan, X)))
        with torch.no_grad():
            found = -self.network.log_prob_given_others(x).double()
        return torch.where(torch.from_numpy(unknown), self.unknown, found)


def _batches(n_rows: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Numbers of the rows of every step; each row is in at most 15 batches."""
    size = min(_BATCH, max(1, n_rows // 2))
    n_left = min(_N_STEPS, max(1, _MOST_EPOCHS * n_rows // size))
    while n_left:
        for chosen in torch.randperm(n_rows, generator=generator).split(size)[:n_left]:
            yield chosen
            n_left -= 1


def _train(network: CellPredictor, outcomes: Tensor, generator: torch.Generator) -> None:
    """Train to predict cells that are hidden."""
    with torch.no_grad():
        network.initialize(generator)
        network.last.bias.copy_(torch.from_numpy(log_shares(Rows(outcomes), network.sizes)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.0)
    batches = list(_batches(len(outcomes), generator))
    for step, chosen in enumerate(batches):
        optimizer.param_groups[0]["lr"] = _RATE * rise_and_fall(step, len(batches))
        x = outcomes[chosen]
        hidden = torch.rand(x.shape, generator=generator) < _HIDDEN
        loss = -(network.log_prob(x, x.masked_fill(hidden, torch.nan)) * hidden).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
