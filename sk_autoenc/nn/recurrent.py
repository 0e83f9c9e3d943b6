"""Recurrent layers on rows that hold series, and the layout of these rows; torch only."""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, Activation, BatchInvariantNetwork, Linear
from sk_autoenc.nn.packing import Packing, State, call_torch, initial_state, run_layers

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class SeriesLayout(NamedTuple):
    """How a row holds a series, channel after channel, or several series of one shape one after the other."""

    n_channels: int
    n_timepoints: int

    @property
    def n_cells(self) -> int:
        """Length of a row that holds one series."""
        return self.n_channels * self.n_timepoints

    def lengths(self, rows: Tensor) -> Tensor:
        """Number of timepoints of each series before NaN begins; ``(n,)``."""
        return (~rows[:, : self.n_timepoints].isnan()).sum(1)

    def to_steps(self, rows: Tensor) -> Tensor:
        """``(n, n_cells) -> (n, n_timepoints, n_channels)``."""
        return rows.unflatten(1, self).transpose(1, 2)

    def to_rows(self, steps: Tensor) -> Tensor:
        """``(n, n_timepoints, k * n_channels) -> (n, k * n_cells)``: k series a row."""
        return steps.transpose(1, 2).flatten(1)


class SeriesEncoder(nn.Module):
    """The last states of a recurrent layer over each row: ``(n, n_cells) -> (n, n_directions * size)``.

    ``unequal``: series may have NaN after their ends; the last state is that at the series' own end.
    """

    def __init__(
        self, layout: SeriesLayout, cell: str, size: int, n_layers: int, *, bidirectional: bool, unequal: bool = False
    ):
        super().__init__()
        self.layout, self.n_directions, self.unequal = layout, 1 + bidirectional, unequal
        self.cell = CELLS[cell](layout.n_channels, size, n_layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, rows: Tensor) -> Tensor:
        if self.unequal:
            packing = Packing.of(self.layout.lengths(rows), self.layout.n_timepoints, training=self.training)
            return last_states(self.cell, packing.pack(self.layout.to_steps(rows)).nan_to_num(0.0), packing)
        _, states = run(self.cell, self.layout.to_steps(rows).contiguous())  # (n_layers * n_directions, n, size)
        return states[-self.n_directions :].transpose(0, 1).flatten(1)


class FirstState(nn.Module):
    """Codes as initial states of recurrent layers: ``(n, n_components) -> (n_layers, n, size)``."""

    def __init__(self, n_components: int, size: int, n_layers: int):
        super().__init__()
        self.n_layers = n_layers
        self.linear, self.squash = Linear(n_components, n_layers * size), Activation("tanh")

    def forward(self, code: Tensor) -> Tensor:
        return self.squash(self.linear(code)).unflatten(1, (self.n_layers, -1)).transpose(0, 1).contiguous()


class CodeUnroller(nn.Module):
    """Codes as states over time: ``(n, n_components) -> (n, n_timepoints, size)``.

    The initial state is computed from the code. Every step reads the code and the time, but no earlier output. So all
    steps are one call, and training and decoding are the same.
    """

    def __init__(self, n_components: int, n_timepoints: int, cell: str, size: int, n_layers: int):
        super().__init__()
        self.n_timepoints, self.start = n_timepoints, FirstState(n_components, size, n_layers)
        self.cell = CELLS[cell](n_components + positional_encoding_size(n_timepoints), size, n_layers, batch_first=True)

    def forward(self, code: Tensor) -> Tensor:
        read = (
            code[:, None].expand(-1, self.n_timepoints, -1),
            self._times(code).expand(len(code), -1, -1),
        )
        return run(self.cell, torch.cat(read, dim=2), self.start(code))[0]

    def packed(self, code: Tensor, packing: Packing) -> Tensor:
        """States at the steps of a packing of as many series as there are codes; ``(n_packed, size)``."""
        read = torch.cat([code[packing.rows], self._times(code)[packing.times]], dim=1)
        return run_packed(self.cell, read, self.start(code), packing)

    def _times(self, code: Tensor) -> Tensor:
        return positional_encoding(self.n_timepoints, code.device).to(code.dtype)


def run(cell: nn.GRU | nn.LSTM, x: Tensor, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """States of the last layer over time and last states of all layers."""
    if first is None:
        first = x.new_zeros(cell.num_layers * (1 + cell.bidirectional), len(x), cell.hidden_size)
    out, state = continue_from(cell, x, initial_state(cell, first))
    return out, state[0]


def continue_from(cell: nn.GRU | nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """States of the last layer over time, and the state after the last step.

    In evaluation, states are padded with units that stay at zero, to an aligned width: batch-invariant.
    """
    size, n_directions, spare = cell.hidden_size, 1 + cell.bidirectional, _spare(cell)
    if spare == 0:
        out, last = cell(x, state if isinstance(cell, nn.LSTM) else state[0])
        return out, last if isinstance(cell, nn.LSTM) else (last,)
    state = tuple(F.pad(part, (0, spare)) for part in state)
    out, last = call_torch(cell, _weights(cell), x, state, cell.num_layers, bool(cell.bidirectional), batch_first=True)
    return out.unflatten(2, (n_directions, -1))[..., :size].flatten(2), tuple(part[..., :size] for part in last)


def run_packed(cell: nn.GRU | nn.LSTM, packed: Tensor, first: Tensor, packing: Packing) -> Tensor:
    """States of the last layer at packed steps, from initial states ``(n_layers, n, size)``."""
    return run_layers(cell, _weights(cell), packed, F.pad(first, (0, _spare(cell))), packing)[:, : cell.hidden_size]


def last_states(cell: nn.GRU | nn.LSTM, packed: Tensor, packing: Packing) -> Tensor:
    """Last states of the last layer, at each series' own end; ``(n, n_directions * size)``.

    The backward direction reads reversed series, so that steps after the end also come last.
    """
    outs = _states_of_directions(cell, packed, packing)
    return torch.cat([packing.at_the_ends(out)[:, : cell.hidden_size] for out in outs], dim=1)


def states_over_time(cell: nn.GRU | nn.LSTM, packed: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """States of the last layer at all packed steps, and :func:`last_states`."""
    outs = _states_of_directions(cell, packed, packing)
    last = torch.cat([packing.at_the_ends(out)[:, : cell.hidden_size] for out in outs], dim=1)
    ordered = [packing.time_reversed(out) if direction else out for direction, out in enumerate(outs)]
    return torch.cat([out[:, : cell.hidden_size] for out in ordered], dim=1), last


def _states_of_directions(cell: nn.GRU | nn.LSTM, packed: Tensor, packing: Packing) -> list[Tensor]:
    """States of the last layer in each direction, those of the backward one at the steps of reversed series."""
    n_directions, weights = 1 + cell.bidirectional, _weights(cell)
    first = packed.new_zeros(1, len(packing.order), cell.hidden_size + _spare(cell))
    outs: list[Tensor] = []
    for layer in range(cell.num_layers):
        if outs:
            packed = torch.cat(
                [packing.time_reversed(out) if direction else out for direction, out in enumerate(outs)], dim=1
            )
        seen = [packed, packing.time_reversed(packed)] if cell.bidirectional else [packed]
        own = [weights[4 * (n_directions * layer + direction) :][:4] for direction in range(n_directions)]
        outs = [run_layers(cell, *pair, first, packing) for pair in zip(own, seen, strict=True)]
    return outs


def _spare(cell: nn.GRU | nn.LSTM) -> int:
    """Number of units that evaluation adds to the states."""
    return 0 if cell.training else -cell.hidden_size % ALIGNED_WIDTH


def _weights(cell: nn.GRU | nn.LSTM) -> list[Tensor]:
    spare = _spare(cell)
    return [_padded(name, weight, cell, spare) if spare else weight for name, weight in cell.named_parameters()]


def _padded(name: str, weight: Tensor, cell: nn.GRU | nn.LSTM, spare: int) -> Tensor:
    """Weights of a cell with ``spare`` more units, which stay at zero."""
    if name.startswith("weight") and not name.startswith("weight_ih_l0"):  # reads states
        weight = F.pad(weight.unflatten(1, (-1, cell.hidden_size)), (0, spare)).flatten(1)
    gates = weight.unflatten(0, (-1, cell.hidden_size))
    return F.pad(gates, (0, spare) if weight.ndim == 1 else (0, 0, 0, spare)).flatten(0, 1)


class ToSeries(Linear):
    """The last layer of a decoder: states over time as rows, with a bias for each of their columns.

    ``unequal``: a bias for each channel instead, because few series may reach the last columns.
    """

    def __init__(self, size: int, layout: SeriesLayout, n_series: int, *, unequal: bool = False):
        super().__init__(size, n_series * layout.n_channels)
        self.layout, self.unequal = layout, unequal
        if not unequal:
            self.bias = nn.Parameter(torch.empty(n_series * layout.n_cells))

    def forward(self, states: Tensor) -> Tensor:
        rows = self.layout.to_rows(self.values(states))
        return rows if self.unequal else rows + self.bias

    def values(self, states: Tensor) -> Tensor:
        """The values at each step, without biases of columns: ``(..., size) -> (..., n_series * n_channels)``."""
        spare = 0 if self.training else -self.out_features % ALIGNED_WIDTH
        values = F.linear(states, F.pad(self.weight, (0, 0, 0, spare)))[..., : self.out_features]
        return values + self.bias if self.unequal else values


class SeriesDecoder(BatchInvariantNetwork):
    """Codes as series: states over time, and a linear layer that gives the values of all channels."""

    def __init__(self, states: CodeUnroller, to_rows: ToSeries):
        super().__init__(states, to_rows)
        self.unequal = to_rows.unequal

    def forward(self, code: Tensor, like: Tensor | None = None) -> Tensor:
        """``(..., n, n_components) -> (..., n, n_cells)``.

        ``like``: the encoded rows, ``(n, n_cells)``. In training with unequal lengths, cells after their ends have no
        effect on the loss, so most of these are not computed.
        """
        if like is None or not (self.training and self.unequal):
            return super().forward(code)
        states, to_rows = cast(tuple[CodeUnroller, ToSeries], tuple(self))
        flat, lengths = code.flatten(0, -2), to_rows.layout.lengths(like).expand(code.shape[:-1]).flatten()
        packing = Packing.of(lengths, states.n_timepoints, training=True)
        values = to_rows.values(states.packed(flat, packing))
        return to_rows.layout.to_rows(packing.unpack(values)).unflatten(0, code.shape[:-1])


def positional_encoding_size(n_timepoints: int) -> int:
    """Number of columns of the positional encoding: two for each wavelength, from two steps to twice the series."""
    return 2 * (2 + math.ceil(math.log2(n_timepoints)))


def positional_encoding(n_timepoints: int, device: torch.device) -> Tensor:
    """The time of each step as sines and cosines of wavelengths that double; ``(n_timepoints, n_columns)``."""
    n_wavelengths = positional_encoding_size(n_timepoints) // 2
    wavelengths = 2.0 ** torch.arange(1, n_wavelengths + 1, device=device, dtype=torch.float64)
    # Shifted by a fraction of a step, so that neither sine nor cosine is constant at the shortest wavelength.
    angles = 2 * math.pi * (torch.arange(n_timepoints, device=device)[:, None] + 0.25) / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=1)
