"""Recurrent encoder and autoregressive decoder of rows of tokens; torch only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ROWS_AT_ONCE, Linear
from sk_autoenc.nn.packing import Packing, initial_state
from sk_autoenc.nn.recurrent import (
    CELLS,
    FirstState,
    continue_from,
    last_states,
    positional_encoding,
    positional_encoding_size,
    run_packed,
)


class TokenEncoder(nn.Module):
    """Rows of token numbers as the last states of a recurrent layer: ``(n, n_timepoints) -> (n, n_directions * size)``.

    Rows may have NaN after their ends. The last state is that at the row's own end, and 0 for an empty row.
    """

    def __init__(self, n_tokens: int, cell: str, size: int, n_layers: int, *, bidirectional: bool):
        super().__init__()
        self.n_directions = 1 + bidirectional
        self.embedding = nn.Embedding(n_tokens, size)
        self.cell = CELLS[cell](size, size, n_layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, rows: Tensor) -> Tensor:
        lengths = (~rows.isnan()).sum(1)
        packing = Packing.of(lengths.clamp_min(1), rows.shape[1], training=self.training)
        tokens = packing.pack(rows).nan_to_num(0.0).long()
        states = last_states(self.cell, self.embedding(tokens), packing)
        return torch.where(lengths[:, None] > 0, states, 0.0)


class TokenDecoder(nn.Module):
    """Codes as sequences of tokens, each of which depends on the code, the time and all tokens before it [1]_.

    ``may_end``: the end of the sequence is one more outcome of every step. The probabilities of all sequences of up to
    ``n_timepoints`` tokens, including the empty one, then add up to one.

    .. [1] Sutskever, Vinyals, Le (2014). Sequence to sequence learning with neural networks. NeurIPS.
    """

    def __init__(
        self, n_components: int, n_timepoints: int, n_tokens: int, cell: str, size: int, n_layers: int, *, may_end: bool
    ):
        super().__init__()
        self.n_timepoints, self.n_tokens, self.may_end = n_timepoints, n_tokens, may_end
        self.start = FirstState(n_components, size, n_layers)
        self.embedding = nn.Embedding(n_tokens + 1, size)  # the last one is for the step before the first token
        self.cell = CELLS[cell](
            size + n_components + positional_encoding_size(n_timepoints), size, n_layers, batch_first=True
        )
        self.last = Linear(size, n_tokens + may_end)  # the last outcome is the end

    def forward(self, code: Tensor) -> "AutoregressiveOutput":
        return AutoregressiveOutput(self, code)

    def log_prob(self, code: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each row of tokens given its code; ``(..., n, n_components) -> (..., n)``."""

        def of_block(code: Tensor, x: Tensor) -> Tensor:
            packing, outcomes, counted = self._outcomes(x)
            log_prob = self._logits(code, outcomes, packing).to(x.dtype).log_softmax(-1)
            found = log_prob.gather(-1, packing.pack(outcomes)[:, None]).squeeze(-1)
            # Every row has the same number of terms, because the order of summation depends on it.
            return packing.unpack(torch.where(counted, found, 0.0)).sum(-1)

        return self._in_blocks(of_block, code, x)

    def n_wrong(self, code: Tensor, x: Tensor) -> Tensor:
        """Number of outcomes of each row, its end included, that are not the most probable one at their step."""

        def of_block(code: Tensor, x: Tensor) -> Tensor:
            packing, outcomes, counted = self._outcomes(x)
            missed = self._logits(code, outcomes, packing).argmax(-1) != packing.pack(outcomes)
            return packing.unpack(missed & counted).sum(-1)

        return self._in_blocks(of_block, code, x)

    def _in_blocks(self, function: Callable[[Tensor, Tensor], Tensor], code: Tensor, x: Tensor) -> Tensor:
        """``function`` of codes and rows with flat leading axes; in evaluation, for a fixed number of rows at once."""
        flat = code.reshape(-1, code.shape[-1])
        rows = x.expand(*code.shape[:-1], x.shape[-1]).reshape(-1, x.shape[-1])
        at_once = len(flat) if self.training or code.device.type != "cpu" else ROWS_AT_ONCE
        pairs = zip(flat.split(at_once), rows.split(at_once), strict=True)
        return torch.cat([function(*pair) for pair in pairs]).unflatten(0, code.shape[:-1])

    def _outcomes(self, x: Tensor) -> tuple[Packing, Tensor, Tensor]:
        """The steps to compute; their outcomes, ``(n, n_timepoints)``; and which steps count: tokens and one end."""
        n_counted = ((~x.isnan()).sum(1) + self.may_end).clamp_max(self.n_timepoints)
        packing = Packing.of(n_counted, self.n_timepoints, training=self.training)
        return packing, x.nan_to_num(float(self.n_tokens)).long(), packing.times < n_counted[packing.rows]

    def _logits(self, code: Tensor, outcomes: Tensor, packing: Packing) -> Tensor:
        """Logits of all outcomes at each step, given the outcomes before; ``(n_packed, n_tokens + may_end)``."""
        before = torch.cat([torch.full_like(outcomes[:, :1], self.n_tokens), outcomes[:, :-1]], dim=1)
        read = self._read(code[packing.rows], packing.pack(before), self._times(code)[packing.times])
        return self.last(run_packed(self.cell, read, self.start(code), packing))

    def _times(self, code: Tensor) -> Tensor:
        return positional_encoding(self.n_timepoints, code.device).to(code.dtype)

    def _read(self, code: Tensor, before: Tensor, time: Tensor) -> Tensor:
        """Input of the cell at a step: the token before, the code, the time."""
        return torch.cat([self.embedding(before), code, time], dim=1)

    def most_probable(self, code: Tensor) -> Tensor:
        """Rows of tokens, at each step the most probable one, NaN after the end; ``(n, n_timepoints)``."""
        at_once = len(code) if code.device.type != "cpu" else ROWS_AT_ONCE
        return torch.cat([self._write(some, lambda logits: logits.argmax(-1)) for some in code.split(at_once)])

    def draw(self, code: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of tokens, at each step drawn with its probability, NaN after the end; ``(n, n_timepoints)``."""

        def choose(logits: Tensor) -> Tensor:
            shares = logits.softmax(-1).to(generator.device)  # so that a seed gives the same tokens on every device
            return torch.multinomial(shares, 1, generator=generator).squeeze(-1).to(logits.device)

        return self._write(code, choose)

    def _write(self, code: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        rows = code.new_full((len(code), self.n_timepoints), torch.nan)
        token = torch.full((len(code),), self.n_tokens, device=code.device)
        state, time = initial_state(self.cell, self.start(code)), self._times(code)
        alive = torch.ones_like(token, dtype=torch.bool)
        for step in range(self.n_timepoints):
            read = self._read(code, token, time[step].expand(len(code), -1))
            hidden, state = continue_from(self.cell, read[:, None], state)
            token = choose(self.last(hidden[:, 0]))
            alive &= token < self.n_tokens
            rows[:, step] = torch.where(alive, token, torch.nan)
            if not alive.any():
                break
        return rows


class AutoregressiveOutput(NamedTuple):
    """Codes with their decoder: the output of :class:`TokenDecoder`, which gives probabilities of sequences."""

    decoder: Any
    code: Tensor  # (..., n, n_components)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of rows of tokens; of shape (..., n)."""
        return self.decoder.log_prob(self.code, x)

    def n_wrong(self, x: Tensor) -> Tensor:
        """Number of outcomes that are not the most probable ones at their step; of shape (..., n)."""
        return self.decoder.n_wrong(self.code, x)

    def most_probable(self) -> Tensor:
        """Rows of tokens, at each step the most probable one."""
        return self.decoder.most_probable(self.code)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Rows of tokens, each drawn with its probability."""
        return self.decoder.draw(self.code, generator)

    def double(self) -> "AutoregressiveOutput":
        """Itself: probabilities have the precision of the rows."""
        return self

    def cpu(self) -> "AutoregressiveOutput":
        """Itself: the decoder stays where it is."""
        return self
