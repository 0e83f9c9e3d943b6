"""Recurrent networks on rows that hold series: the layers, and how a series lies in a row; torch only."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, Activation, Linear, SteadyNetwork

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}

State = tuple[Tensor, ...]

#: Into so many pieces is time cut at most where series of a batch differ in length.
MOST_PIECES = 12


class SeriesLayout(NamedTuple):
    """How a row holds a series, channel after channel, or several of one shape one after the other."""

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


class Piece(NamedTuple):
    """Some steps of some series: those from ``begin`` to before ``end``, of the first ``n_rows``, which reach them."""

    begin: int
    end: int
    n_rows: int


class ReadSeries(nn.Module):
    """Rows as the last states of a recurrent layer that reads them: ``(n, n_cells) -> (n, n_directions * size)``.

    ``unequal``: series may end early, all cells after that being NaN; the last states are those at their own ends.
    """

    def __init__(
        self, layout: SeriesLayout, cell: str, size: int, n_layers: int, *, bidirectional: bool, unequal: bool = False
    ):
        super().__init__()
        self.layout, self.n_directions, self.unequal = layout, 1 + bidirectional, unequal
        self.cell = CELLS[cell](layout.n_channels, size, n_layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, rows: Tensor) -> Tensor:
        if self.unequal:
            lengths = self.layout.lengths(rows)
            steps = self.layout.to_steps(rows)
            steps = steps[:, : n_steps_to_run(lengths, steps.shape[1], self.training)]
            return read_to_the_end(self.cell, steps.nan_to_num(0.0), lengths)
        _, states = run(self.cell, self.layout.to_steps(rows).contiguous())  # (n_layers * n_directions, n, size)
        return states[-self.n_directions :].transpose(0, 1).flatten(1)


class FirstState(nn.Module):
    """Codes as the state that a recurrent layer begins with: ``(n, n_components) -> (n_layers, n, size)``."""

    def __init__(self, n_components: int, size: int, n_layers: int):
        super().__init__()
        self.n_layers = n_layers
        self.linear, self.squash = Linear(n_components, n_layers * size), Activation("tanh")

    def forward(self, code: Tensor) -> Tensor:
        return self.squash(self.linear(code)).unflatten(1, (self.n_layers, -1)).transpose(0, 1).contiguous()


class UnrollCode(nn.Module):
    """Codes as states over time: ``(n, n_components) -> (n, n_timepoints, size)``.

    The first state is made of the code, and every step reads the code and the time, never what came out before: so all
    steps are one call, and training and decoding are the same.
    """

    def __init__(self, n_components: int, n_timepoints: int, cell: str, size: int, n_layers: int):
        super().__init__()
        self.n_timepoints, self.start = n_timepoints, FirstState(n_components, size, n_layers)
        self.cell = CELLS[cell](n_components + n_hands(n_timepoints), size, n_layers, batch_first=True)

    def forward(self, code: Tensor) -> Tensor:
        return run(self.cell, self._read(code, self._clock(code)), self.start(code))[0]

    def in_pieces(self, code: Tensor, lengths: Tensor) -> Iterator[tuple[Piece, Tensor]]:
        """States up to the end of each series, whose lengths fall, in pieces of time."""
        time = self._clock(code)

        def run_on(piece: Piece, state: State) -> tuple[Tensor, State]:
            return go_on(self.cell, self._read(code[: piece.n_rows], time[piece.begin : piece.end]), state)

        state = initial_state(self.cell, self.start(code))
        return in_pieces(run_on, state, lengths, self.n_timepoints, self.training)

    def _clock(self, code: Tensor) -> Tensor:
        return clock(self.n_timepoints, code.device).to(code.dtype)

    def _read(self, code: Tensor, time: Tensor) -> Tensor:
        """What the cell reads at each step: the code and the time."""
        return torch.cat([code[:, None].expand(-1, len(time), -1), time.expand(len(code), -1, -1)], dim=2)


def initial_state(cell: nn.GRU | nn.LSTM, hidden: Tensor) -> State:
    """The state of layers that begin with this hidden part; what an LSTM remembers starts at zero."""
    return (hidden, torch.zeros_like(hidden)) if isinstance(cell, nn.LSTM) else (hidden,)


def run(cell: nn.GRU | nn.LSTM, x: Tensor, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """States of the last layer over time and last states of all layers."""
    if first is None:
        first = x.new_zeros(cell.num_layers * (1 + cell.bidirectional), len(x), cell.hidden_size)
    out, state = go_on(cell, x, initial_state(cell, first))
    return out, state[0]


def go_on(cell: nn.GRU | nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
    """States of the last layer over time, and the state after the last step.

    In evaluation states are padded with silent units to an aligned width, which gives a row the same bits anywhere.
    """
    size, n_directions, spare = cell.hidden_size, 1 + cell.bidirectional, _spare(cell)
    if spare == 0:
        out, last = cell(x, state if isinstance(cell, nn.LSTM) else state[0])
        return out, last if isinstance(cell, nn.LSTM) else (last,)
    state = tuple(F.pad(part, (0, spare)) for part in state)
    options = (True, cell.num_layers, 0.0, False, cell.bidirectional, True)
    if isinstance(cell, nn.LSTM):
        out, *last = torch.lstm(x, state, _weights(cell), *options)
    else:
        out, *last = torch.gru(x, state[0], _weights(cell), *options)
    return out.unflatten(2, (n_directions, -1))[..., :size].flatten(2), tuple(part[..., :size] for part in last)


def read_to_the_end(cell: nn.GRU | nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """Last states of the last layer, each series read to its own end; ``(n, n_directions * size)``.

    Whoever reads backwards reads the series turned round, so that what follows the end comes after it, too.
    """
    order = lengths.argsort(descending=True, stable=True)
    x, lengths = x[order], lengths[order]
    n_directions, weights = 1 + cell.bidirectional, _weights(cell)
    first = initial_state(cell, x.new_zeros(1, len(x), cell.hidden_size + _spare(cell)))
    last: list[Tensor] = []
    for layer in range(cell.num_layers):
        outs, last = [], []
        for direction in range(n_directions):
            own = weights[4 * (n_directions * layer + direction) :][:4]
            seen = _turned(x, lengths) if direction else x
            read = partial(_one_layer, cell, own, seen)
            pieces = list(in_pieces(read, first, lengths, x.shape[1], cell.training))
            last.append(_at_the_ends(pieces, lengths)[:, : cell.hidden_size])
            if layer + 1 < cell.num_layers:
                outs.append(_turned(side_by_side(pieces), lengths) if direction else side_by_side(pieces))
        x = torch.cat(outs, dim=2) if outs else x
    return torch.cat(last, dim=1)[order.argsort()]


def n_steps_to_run(lengths: Tensor, n_timepoints: int, training: bool) -> int:
    """Up to the end of the longest series; all where kernels, and a row's last bits, might go by the number."""
    return int(lengths.max()) if training or lengths.device.type == "cpu" else n_timepoints


def in_pieces(
    run_on: Callable[[Piece, State], tuple[Tensor, State]], state: State, lengths: Tensor, n_steps: int, training: bool
) -> Iterator[tuple[Piece, Tensor]]:
    """States over time of series whose lengths fall, piece after piece; ``(n_rows, end - begin, size)`` each.

    In training each piece of time is run for those series alone that reach it: on a CPU far faster than packed
    sequences. In evaluation, where a row's last bits might go by the number of rows, all is one piece.
    """
    for piece in _cut(lengths.tolist()) if training else [Piece(0, n_steps, len(lengths))]:
        out, state = run_on(piece, tuple(part[:, : piece.n_rows].contiguous() for part in state))
        yield piece, out


def _cut(falling: list[int]) -> list[Piece]:
    """Time up to the end of the longest series in pieces that end where series do."""
    ends = sorted({falling[i * len(falling) // MOST_PIECES] for i in range(MOST_PIECES)})
    begins = [0, *ends[:-1]]
    return [Piece(a, b, sum(length > a for length in falling)) for a, b in zip(begins, ends, strict=True)]


def side_by_side(pieces: Iterable[tuple[Piece, Tensor]]) -> Tensor:
    """Pieces as ``(n, n_steps, ...)``, with 0 for series that do not reach a piece."""
    outs = [out for _, out in pieces]
    n_rows = len(outs[0])
    return torch.cat([F.pad(out, (0, 0) * (out.ndim - 1) + (0, n_rows - len(out))) for out in outs], dim=1)


def _at_the_ends(pieces: list[tuple[Piece, Tensor]], lengths: Tensor) -> Tensor:
    """What stands at the last step of each series; ``(n, size)``."""
    found: list[Tensor] = []
    all_longer = [piece.n_rows for piece, _ in pieces[1:]] + [0]
    for (piece, out), n_longer in zip(pieces, all_longer, strict=True):
        last = lengths[n_longer : piece.n_rows] - 1 - piece.begin
        found.append(out[torch.arange(n_longer, piece.n_rows, device=out.device), last])
    return torch.cat(found[::-1])


def _one_layer(
    cell: nn.GRU | nn.LSTM, weights: list[Tensor], x: Tensor, piece: Piece, first: State
) -> tuple[Tensor, State]:
    x = x[: piece.n_rows, piece.begin : piece.end]
    options = (True, 1, 0.0, cell.training, False, True)
    if isinstance(cell, nn.LSTM):
        out, *last = torch.lstm(x, first, weights, *options)
    else:
        out, *last = torch.gru(x, first[0], weights, *options)
    return out, tuple(last)


def _turned(x: Tensor, lengths: Tensor) -> Tensor:
    """Each series turned round within its own length; what follows its end stays where it is."""
    time = torch.arange(x.shape[1], device=x.device)
    back = lengths[:, None] - 1 - time
    index = torch.where(back >= 0, back, time)  # (n, n_timepoints)
    return x.gather(1, index[..., None].expand_as(x))


def _spare(cell: nn.GRU | nn.LSTM) -> int:
    """How many silent units evaluation adds to the states."""
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
    """The last layer of a decoder: states over time as rows, with a bias of its own for each of their columns.

    ``unequal``: the bias is that of a channel, since few series may reach the last columns.
    """

    def __init__(self, size: int, layout: SeriesLayout, n_series: int, *, unequal: bool = False):
        super().__init__(size, n_series * layout.n_channels)
        self.layout, self.unequal = layout, unequal
        if not unequal:
            self.bias = nn.Parameter(torch.empty(n_series * layout.n_cells))

    def forward(self, states: Tensor) -> Tensor:
        steps = self.values(states)
        if self.unequal:
            return self.to_rows(steps)
        return self.layout.to_rows(steps) + self.bias

    def values(self, states: Tensor) -> Tensor:
        """The values at each step: ``(n, n_steps, size) -> (n, n_steps, n_series * n_channels)``."""
        spare = 0 if self.training else -self.out_features % ALIGNED_WIDTH
        return F.linear(states, F.pad(self.weight, (0, 0, 0, spare)))[..., : self.out_features]

    def to_rows(self, steps: Tensor) -> Tensor:
        """Values at some first steps as rows, with the bias of a channel."""
        to_come = self.layout.n_timepoints - steps.shape[1]
        return self.layout.to_rows(F.pad(steps + self.bias, (0, 0, 0, to_come)))


class SeriesDecoder(SteadyNetwork):
    """Codes as series: states over time, and the values of all channels made of them."""

    def __init__(self, states: UnrollCode, to_rows: ToSeries):
        super().__init__(states, to_rows)
        self.unequal = to_rows.unequal

    def forward(self, code: Tensor, like: Tensor | None = None) -> Tensor:
        """``(..., n, n_components) -> (..., n, n_cells)``.

        ``like``: the rows that the codes are of, ``(n, n_cells)``. In training, where these may end early, what
        follows their ends is of no account, and hardly computed.
        """
        if like is None or not (self.training and self.unequal):
            return super().forward(code)
        states, to_rows = cast(tuple[UnrollCode, ToSeries], tuple(self))
        flat, lengths = code.flatten(0, -2), to_rows.layout.lengths(like).expand(code.shape[:-1]).flatten()
        order = lengths.argsort(descending=True, stable=True)
        pieces = states.in_pieces(flat[order], lengths[order])
        steps = side_by_side((piece, to_rows.values(out)) for piece, out in pieces)
        return to_rows.to_rows(steps)[order.argsort()].unflatten(0, code.shape[:-1])


def n_hands(n_timepoints: int) -> int:
    """Number of columns of the clock: two for each wavelength, from two steps to twice the series."""
    return 2 * (2 + math.ceil(math.log2(n_timepoints)))


def clock(n_timepoints: int, device: torch.device) -> Tensor:
    """The time of each step as sines and cosines of wavelengths that double; ``(n_timepoints, n_hands)``."""
    wavelengths = 2.0 ** torch.arange(1, n_hands(n_timepoints) // 2 + 1, device=device, dtype=torch.float64)
    # Half a step off, so that at the shortest wavelength neither hand stands still.
    angles = 2 * math.pi * (torch.arange(n_timepoints, device=device)[:, None] + 0.25) / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def initialize_recurrent(module: nn.Module, generator: torch.Generator) -> None:
    """Fill recurrent layers: what is read as torch does, states orthogonal, no bias but for LSTMs to remember."""
    for layer in module.modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        bound = 1 / math.sqrt(layer.hidden_size)
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_hh"):
                with torch.no_grad():
                    for gate in parameter.split(layer.hidden_size):
                        gate.copy_(nn.init.orthogonal_(torch.empty(gate.shape), generator=generator))
            elif name.startswith("weight_ih"):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
            else:
                nn.init.zeros_(parameter)
                if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                    nn.init.ones_(parameter.detach()[layer.hidden_size : 2 * layer.hidden_size])
