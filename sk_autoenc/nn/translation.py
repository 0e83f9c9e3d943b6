"""A network that reads one sequence of tokens and writes another, beginning at a lexicon; torch only.

Tokens are numbers from 0 on, of integer dtype. Two more numbers follow those of the vocabulary: that of all unknown
tokens, and that of the end, which every sequence has as its last token. Cells after the end are -1.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.attention import Attention, TransformerLayer, dropped, padded_linear, sinusoids
from sk_autoenc.nn.blocks import ALIGNED_WIDTH, SERIAL_CELLS, Linear
from sk_autoenc.nn.packing import Packing, initial_state
from sk_autoenc.nn.recurrent import CELLS, FirstState, continue_from, run_packed, states_over_time

#: Further tokens of each language, after those of its vocabulary: unknown ones, and the end.
N_SPECIAL = 2

#: Translations of a token that the lexicon keeps.
N_ENTRIES = 16

#: What the lexicon's shares are raised by, in units of one over the number of outcomes.
_FLOOR = 0.1

State = tuple[Tensor, ...]


class Memory(NamedTuple):
    """What was read."""

    tokens: Tensor  # (n, s), -1 after the end
    states: Tensor  # (n, s, size)
    last: Tensor  # (n, size): of the whole sequence

    @property
    def is_token(self) -> Tensor:
        """Which cells hold tokens; ``(n, s)``."""
        return self.tokens >= 0

    def repeated(self, n: int) -> "Memory":
        """Each sequence ``n`` times, one after the other."""
        return Memory(*(part.repeat_interleave(n, dim=0) for part in self))


class RecurrentReader(nn.Module):
    """States of a bidirectional recurrent layer at each token."""

    def __init__(self, n_tokens: int, cell: str, n_embedding: int, size: int, n_layers: int):
        super().__init__()
        half = -(-size // 2)
        self.size = 2 * half
        self.embedding = nn.Embedding(n_tokens, n_embedding)
        self.cell = CELLS[cell](n_embedding, half, n_layers, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, dropout: float, generator: torch.Generator | None) -> Memory:
        packing = Packing.of((tokens >= 0).sum(1), tokens.shape[1], training=self.training)
        read = dropped(self.embedding(packing.pack(tokens).clamp_min(0)), dropout, generator)
        states, last = states_over_time(self.cell, read, packing)
        return Memory(tokens, dropped(packing.unpack(states), dropout, generator), last)


class RecurrentWriter(nn.Module):
    """States of a recurrent layer that reads the tokens written so far, beginning at what was read last."""

    def __init__(self, n_tokens: int, cell: str, n_embedding: int, size: int, n_layers: int, n_memory: int):
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(n_tokens, n_embedding)
        self.first = FirstState(n_memory, size, n_layers)
        self.cell = CELLS[cell](n_embedding, size, n_layers, batch_first=True)

    def over_time(
        self, memory: Memory, before: Tensor, packing: Packing, dropout: float, generator: torch.Generator | None
    ) -> Tensor:
        """States at all steps, whose tokens before are known: ``(n, t) -> (n, t, size)``."""
        read = dropped(self.embedding(packing.pack(before)), dropout, generator)
        states = run_packed(self.cell, read, self.first(memory.last), packing)
        return packing.unpack(states)

    def start(self, memory: Memory) -> State:
        """The state before the first token; each part has a row for each sequence."""
        return tuple(part.transpose(0, 1) for part in initial_state(self.cell, self.first(memory.last)))

    def step(self, memory: Memory, state: State, token: Tensor, time: int) -> tuple[Tensor, State]:
        """The state after one more token: ``(n, size)``, and with all that the next step needs."""
        state = tuple(part.transpose(0, 1).contiguous() for part in state)
        hidden, state = continue_from(self.cell, self.embedding(token)[:, None], state)
        return hidden[:, 0], tuple(part.transpose(0, 1) for part in state)


class TransformerReader(nn.Module):
    """Layers of self-attention over the tokens."""

    def __init__(self, n_tokens: int, n_embedding: int, size: int, n_layers: int):
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(n_tokens, n_embedding)
        self.widen = Linear(n_embedding, size)
        self.layers = nn.ModuleList(TransformerLayer(size, reads_memory=False) for _ in range(n_layers))

    def forward(self, tokens: Tensor, dropout: float, generator: torch.Generator | None) -> Memory:
        is_token = (tokens >= 0)[:, None]
        x = self.widen(self.embedding(tokens.clamp_min(0))) + sinusoids(tokens.shape[1], self.size, tokens.device)
        x = dropped(x, dropout, generator)
        for layer in self.layers:
            x = layer(x, is_token, dropout=dropout, generator=generator)
        return Memory(tokens, x, x[:, 0])


class TransformerWriter(nn.Module):
    """Layers of attention to the tokens written so far and to what was read."""

    def __init__(self, n_tokens: int, n_embedding: int, size: int, n_layers: int):
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(n_tokens, n_embedding)
        self.widen = Linear(n_embedding, size)
        self.layers = nn.ModuleList(TransformerLayer(size, reads_memory=True) for _ in range(n_layers))

    def over_time(
        self,
        memory: Memory,
        before: Tensor,
        packing: Packing | None,
        dropout: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """States at all steps, whose tokens before are known: ``(n, t) -> (n, t, size)``."""
        n_steps = before.shape[1]
        x = self.widen(self.embedding(before)) + sinusoids(n_steps, self.size, before.device)
        x = dropped(x, dropout, generator)
        earlier = torch.ones(1, n_steps, n_steps, dtype=torch.bool, device=before.device).tril()
        is_token = memory.is_token[:, None]
        for layer in self.layers:
            x = layer(x, earlier, memory.states, is_token, dropout, generator)
        return x

    def start(self, memory: Memory) -> State:
        """No tokens yet."""
        return (memory.tokens[:, :0],)

    def step(self, memory: Memory, state: State, token: Tensor, time: int) -> tuple[Tensor, State]:
        """All steps once more, filled up to one of few lengths."""
        written = torch.cat([state[0], token[:, None]], dim=1)
        filled = F.pad(written, (0, -(time + 1) % ALIGNED_WIDTH))
        return self.over_time(memory, filled, None, 0.0, None)[:, time], (written,)


class Lexicon(nn.Module):
    """The most probable translations of each token, which are not trained.

    What it adds to logits is ``weight log(sum_j a_j p(. | x_j) + floor)``, with shares ``a`` of attention and a trained
    weight [1]_.

    .. [1] Arthur, Neubig, Nakamura (2016). Incorporating discrete translation lexicons into neural machine translation.
       EMNLP.
    """

    entries: Tensor
    shares: Tensor

    def __init__(self, n_source: int, n_target: int):
        super().__init__()
        self.n_target = n_target
        self.register_buffer("entries", torch.empty(n_source, N_ENTRIES, dtype=torch.int64))
        self.register_buffer("shares", torch.empty(n_source, N_ENTRIES))
        self.weight = nn.Parameter(torch.empty(()))

    def initialize(self, generator: torch.Generator) -> None:
        """An empty lexicon, which says nothing of any token."""
        self.set(torch.zeros_like(self.entries), torch.zeros_like(self.shares))

    @torch.no_grad()
    def set(self, entries: Tensor, shares: Tensor) -> None:
        """Translations of each token and their probabilities, ``(n_source, N_ENTRIES)``."""
        self.entries.copy_(entries)
        self.shares.copy_(shares)
        self.weight.fill_(1.0)

    def forward(self, attended: Tensor, tokens: Tensor) -> Tensor:
        """The logarithm, at steps that attend so to these tokens; ``(m, s), (m, s) -> (m, n_target)``."""
        known = tokens.clamp_min(0)
        shares = (attended[:, :, None] * self.shares[known]).flatten(1)
        floor = shares.new_full((len(shares), self.n_target), _FLOOR / self.n_target)
        found = floor.scatter_add_(1, self.entries[known].flatten(1), shares)
        return _log(found, training=self.training)


def _log(x: Tensor, *, training: bool) -> Tensor:
    """The logarithm; in evaluation in pieces that one thread computes, so that each cell has the same last bits."""
    if training or x.numel() <= SERIAL_CELLS or x.device.type != "cpu":
        return x.log()
    return torch.cat([piece.log() for piece in x.reshape(-1).split(SERIAL_CELLS)]).view_as(x)


class Translator(nn.Module):
    """Probabilities of sequences of tokens given others [1]_.

    A step's logits are ``E W tanh(V [h; c]) + b``, with its state ``h``, what it looks at, ``c``, and the embeddings
    ``E`` of the outcomes, plus those of the lexicon. ``W`` and ``b`` begin at zero. So the start is a translation word
    by word, of the lexicon and of the places alone.

    .. [1] Luong, Pham, Manning (2015). Effective approaches to attention-based neural machine translation. EMNLP.
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        *,
        cell: str,
        size: int,
        n_layers: int,
        attention: str,
        has_lexicon: bool,
        dropout: float,
    ):
        super().__init__()
        n_source, n_target, n_embedding = n_source + N_SPECIAL, n_target + N_SPECIAL, -(-size // 2)
        self.end, self.dropout = n_target - 1, dropout
        if cell == "transformer":
            self.reader: Any = TransformerReader(n_source, n_embedding, size, n_layers)
            self.writer: Any = TransformerWriter(n_target, n_embedding, size, n_layers)
        else:
            self.reader = RecurrentReader(n_source, cell, n_embedding, size, n_layers)
            self.writer = RecurrentWriter(n_target, cell, n_embedding, size, n_layers, self.reader.size)
        self.attention = Attention(attention, size, self.reader.size)
        self.mix = Linear(size + self.reader.size, n_embedding)
        self.last = Linear(n_embedding, n_embedding)
        self.bias = nn.Parameter(torch.empty(n_target))
        self.lexicon = Lexicon(n_source, n_target) if has_lexicon else None

    def initialize(self, generator: torch.Generator) -> None:
        """Embeddings of norm one, and no logits but for those of the lexicon."""
        for part in (self.reader, self.writer):
            part.embedding.weight.mul_(part.embedding.embedding_dim**-0.5)
        self.without_network()

    @torch.no_grad()
    def without_network(self) -> None:
        """Set everything to zero that the network, but for the lexicon, adds to logits."""
        for parameter in (self.last.weight, self.last.bias, self.bias):
            parameter.zero_()

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> "Translations":
        return Translations(self, tokens, generator)

    def log_prob(self, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log-probability of each sequence of ``y`` given that of ``x``: ``(n, s), (n, t) -> (n,)``."""
        lengths = (y >= 0).sum(1)
        packing = Packing.of(lengths, y.shape[1], training=self.training)
        hidden, memory = self._hidden(x, y, packing, generator)
        logits = self._all_logits(memory, hidden, packing, generator)
        found = -F.cross_entropy(logits, packing.pack(y).clamp_min(0), reduction="none")
        return packing.unpack(torch.where(packing.times < lengths[packing.rows], found, 0.0)).sum(1)

    def attended(self, x: Tensor, y: Tensor) -> Tensor:
        """Shares with which each token of ``y`` looked at those of ``x``; ``(n, t, s)``."""
        packing = Packing.of((y >= 0).sum(1), y.shape[1], training=self.training)
        hidden, memory = self._hidden(x, y, packing, None)
        times = torch.arange(y.shape[1], device=y.device)
        return self.attention(hidden, memory.states, memory.is_token, times)

    def read(self, x: Tensor) -> Memory:
        """What is read of sequences, for :meth:`step`."""
        return self.reader(x, 0.0, None)

    def step(self, memory: Memory, state: State, token: Tensor, time: int) -> tuple[Tensor, Tensor, State]:
        """Log-probabilities of the next token, ``(n, n_target)``, shares of attention, ``(n, s)``, and the state."""
        hidden, state = self.writer.step(memory, state, token, time)
        features, shares = self._features(memory, hidden[:, None], torch.tensor([time], device=token.device), None)
        return self._logits(features[:, 0], shares[:, 0], memory.tokens).log_softmax(-1), shares[:, 0], state

    def _hidden(
        self, x: Tensor, y: Tensor, packing: Packing, generator: torch.Generator | None
    ) -> tuple[Tensor, Memory]:
        memory = self.reader(x, self.dropout, generator)
        before = torch.cat([torch.full_like(y[:, :1], self.end), y[:, :-1].clamp_min(0)], dim=1)
        return self.writer.over_time(memory, before, packing, self.dropout, generator), memory

    def _all_logits(
        self, memory: Memory, hidden: Tensor, packing: Packing, generator: torch.Generator | None
    ) -> Tensor:
        times = torch.arange(hidden.shape[1], device=hidden.device)
        features, shares = self._features(memory, hidden, times, generator)
        return self._logits(packing.pack(features), packing.pack(shares), memory.tokens[packing.rows])

    def _features(
        self, memory: Memory, hidden: Tensor, times: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """What logits are computed from, ``(n, t, n_embedding)``, and shares of attention, ``(n, t, s)``."""
        shares = self.attention(hidden, memory.states, memory.is_token, times)
        mixed = self.mix(torch.cat([hidden, shares @ memory.states], dim=2)).tanh()
        return self.last(dropped(mixed, self.dropout, generator)), shares

    def _logits(self, features: Tensor, shares: Tensor, tokens: Tensor) -> Tensor:
        """Logits of steps: ``(m, n_embedding), (m, s), (m, s) -> (m, n_target)``."""
        width = 1 if self.training else ALIGNED_WIDTH
        logits = padded_linear(features, self.writer.embedding.weight, self.bias, width)
        if self.lexicon is None:
            return logits
        return torch.addcmul(logits, self.lexicon(shares, tokens), self.lexicon.weight)


class Translations(NamedTuple):
    """The network with sequences that it reads, as its output: what follows has a probability."""

    translator: Translator
    tokens: Tensor
    generator: torch.Generator | None

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-probability of each sequence; cells after the longest one of both sides are not computed."""
        x = self.tokens[:, : int((self.tokens >= 0).sum(1).max())]
        return self.translator.log_prob(x, y[:, : int((y >= 0).sum(1).max())], self.generator)
