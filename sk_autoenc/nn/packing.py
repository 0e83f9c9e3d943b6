"""Recurrent layers over series of unequal lengths, which skip most steps after their ends; torch only.

Series are packed step by step: the first step of all series, then the second step of all that have one, and so on.
torch's own layers accept packed sequences as well, but on a CPU their backward pass copies all steps at each step.
"""

from itertools import groupby
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]

#: Largest number of different batch sizes of steps in training: more would save steps, fewer save calls of layers.
MOST_BATCH_SIZES = 12


class Packing(NamedTuple):
    """The steps of series that recurrent layers compute, in packed order; the longest series come first."""

    rows: Tensor  # (n_packed,), the series of each packed step
    times: Tensor  # (n_packed,), its timepoint
    places: Tensor  # (n_packed,), the position of its series in ``order``
    n_rows: list[int]  # (n_steps,), number of series that have this step
    begins: Tensor  # (n_steps,), first packed index of each step
    order: Tensor  # (n,), the series by decreasing length
    lengths: Tensor  # (n,), their lengths, in that order
    n_timepoints: int

    @classmethod
    def of(cls, lengths: Tensor, n_timepoints: int, *, training: bool) -> "Packing":
        """Steps up to each series' end, and some after it.

        In training, a series is computed to the end of the next longer one of twelve series. In evaluation, a row's
        last bits may depend on the number of rows of a step, so all series are computed to the end of the longest. On a
        GPU they may also depend on the number of steps, so all timepoints are computed.
        """
        order = lengths.argsort(descending=True, stable=True)
        lengths = lengths[order]
        n_steps = int(lengths[0]) if training or lengths.device.type == "cpu" else n_timepoints
        runs = _rounded_up(lengths) if training else lengths.new_full(lengths.shape, n_steps)
        alive = torch.arange(n_steps, device=lengths.device)[:, None] < runs
        times, places = alive.nonzero(as_tuple=True)
        n_rows = alive.sum(1)
        begins = n_rows.cumsum(0) - n_rows
        return cls(order[places], times, places, n_rows.tolist(), begins, order, lengths, n_timepoints)

    def pack(self, x: Tensor) -> Tensor:
        """``(n, n_timepoints, ...) -> (n_packed, ...)``."""
        return x.flatten(0, 1).index_select(0, self._cells)

    def unpack(self, packed: Tensor) -> Tensor:
        """``(n_packed, ...) -> (n, n_timepoints, ...)``, with 0 for steps that were not computed."""
        cells = packed.new_zeros(len(self.order) * self.n_timepoints, *packed.shape[1:])
        return cells.index_copy(0, self._cells, packed).unflatten(0, (-1, self.n_timepoints))

    def at_the_ends(self, packed: Tensor) -> Tensor:
        """Values at the last step of each series: ``(n_packed, ...) -> (n, ...)``."""
        ends = self.begins[self.lengths - 1] + torch.arange(len(self.order), device=packed.device)
        return packed[ends[self.order.argsort()]]

    def time_reversed(self, packed: Tensor) -> Tensor:
        """Each series reversed within its own length; steps after its end keep their position."""
        back = self.lengths[self.places] - 1 - self.times
        return packed.index_select(0, self.begins[torch.where(back >= 0, back, self.times)] + self.places)

    @property
    def _cells(self) -> Tensor:
        return self.rows * self.n_timepoints + self.times


def _rounded_up(falling: Tensor) -> Tensor:
    """Decreasing lengths, each rounded up to one of at most ``MOST_BATCH_SIZES`` chosen lengths."""
    chosen = torch.arange(MOST_BATCH_SIZES, device=falling.device) * len(falling) // MOST_BATCH_SIZES
    ends = falling[chosen].flip(0)
    return ends[torch.searchsorted(ends, falling)]


def initial_state(cell: nn.GRU | nn.LSTM, hidden: Tensor) -> State:
    """The state of layers with this hidden state; the cell state of an LSTM starts at zero."""
    return (hidden, torch.zeros_like(hidden)) if isinstance(cell, nn.LSTM) else (hidden,)


def run_layers(
    cell: nn.GRU | nn.LSTM, weights: list[Tensor], packed: Tensor, first: Tensor, packing: Packing
) -> Tensor:
    """States over time of the last of some layers in one direction; ``(n_packed, n_features) -> (n_packed, size)``.

    ``weights``: four for each layer; ``first``: the initial states, ``(n_layers, n, size)``. A GRU in training on a CPU
    uses :class:`UnrolledGRU`, because torch has no fused kernel with a gradient there.
    """
    first = first.index_select(1, packing.order)
    if not (isinstance(cell, nn.GRU) and cell.training and packed.device.type == "cpu"):
        return run_in_pieces(cell, weights, packed, first, packing)
    for layer, hidden in enumerate(first):
        to_read, to_hidden, bias_read, bias_hidden = weights[4 * layer :][:4]
        read = F.linear(packed, to_read, bias_read)
        packed = cast(Tensor, UnrolledGRU.apply(read, hidden, to_hidden, bias_hidden, packing.n_rows))
    return packed


def run_in_pieces(
    cell: nn.GRU | nn.LSTM, weights: list[Tensor], packed: Tensor, first: Tensor, packing: Packing
) -> Tensor:
    """States over time by torch's layers, in one call for all consecutive steps with the same number of series.

    ``first``: the initial states, with those of the longest series first.
    """
    state, outs, begin = initial_state(cell, first), [], 0
    for n_rows, steps in groupby(packing.n_rows):
        n_steps = len(list(steps))
        piece = packed[begin : begin + n_steps * n_rows].unflatten(0, (n_steps, n_rows))
        state = tuple(part[:, :n_rows].contiguous() for part in state)
        out, state = call_torch(cell, weights, piece, state, len(first))
        outs.append(out.flatten(0, 1))
        begin += n_steps * n_rows
    return torch.cat(outs)


def call_torch(
    cell: nn.GRU | nn.LSTM,
    weights: list[Tensor],
    x: Tensor,
    state: State,
    n_layers: int,
    bidirectional: bool = False,
    *,
    batch_first: bool = False,
) -> tuple[Tensor, State]:
    """torch's layers with other weights than those of ``cell``: states of the last layer over time, and last states."""
    options = (True, n_layers, 0.0, cell.training, bidirectional, batch_first)
    if isinstance(cell, nn.LSTM):
        out, *last = torch.lstm(x, state, weights, *options)
    else:
        out, *last = torch.gru(x, state[0], weights, *options)
    return out, tuple(last)


class UnrolledGRU(torch.autograd.Function):
    """A layer of gated recurrent units, step by step, with an explicit backward pass.

    A step maps the state ``h`` to ``h' = z h + (1 - z) c``, with update and reset gates
    ``z, r = sigmoid(W x + b + U h + d)`` and the candidate ``c = tanh(W x + b + r * (U h + d))``.
    """

    @staticmethod
    def forward(  # type: ignore[override]  # torch's own takes *args
        ctx: Any, read: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, n_rows: list[int]
    ) -> Tensor:
        """``read``: W x + b at all steps, ``(n_packed, 3 * size)``; ``weight`` and ``bias``: U and d; states."""
        size, states, kept = hidden.shape[1], [], []
        for now in read.split(n_rows):
            hidden = hidden[: len(now)]
            recurrent = torch.addmm(bias, hidden, weight.T)
            proposal = recurrent[:, 2 * size :]
            reset, update = (now[:, : 2 * size] + recurrent[:, : 2 * size]).sigmoid_().split(size, dim=1)
            candidate = torch.addcmul(now[:, 2 * size :], reset, proposal).tanh_()
            kept += [hidden, reset, update, candidate, proposal]
            hidden = torch.lerp(candidate, hidden, update)
            states.append(hidden)
        ctx.save_for_backward(weight, *kept)
        return torch.cat(states)

    @staticmethod
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # and *grads
        if torch.is_grad_enabled():
            raise RuntimeError("A GRU over packed series has no second derivative.")
        weight, *kept = ctx.saved_tensors
        steps = [kept[i : i + 5] for i in range(0, len(kept), 5)]
        d_weight, d_bias, d_reads = torch.zeros_like(weight), weight.new_zeros(len(weight)), []
        d_before = d_states[:0]
        own = d_states.split([len(step[0]) for step in steps])
        for d_own, (hidden, reset, update, candidate, proposal) in zip(reversed(own), reversed(steps), strict=True):
            d_state = d_own + F.pad(d_before, (0, 0, 0, len(d_own) - len(d_before)))
            d_through = d_state * update
            d_candidate = (d_state - d_through).mul_(1 - candidate.square())
            d_proposal = d_candidate * reset
            d_reset = (d_proposal * proposal).mul_(1 - reset)
            d_update = (hidden - candidate).mul_(d_through).mul_(1 - update)
            d_recurrent = torch.cat([d_reset, d_update, d_proposal], dim=1)
            d_before = torch.addmm(d_through, d_recurrent, weight)
            d_weight.addmm_(d_recurrent.T, hidden)
            d_bias += d_recurrent.sum(0)
            d_reads.append(torch.cat([d_reset, d_update, d_candidate], dim=1))
        return torch.cat(d_reads[::-1]), d_before, d_weight, d_bias, None
