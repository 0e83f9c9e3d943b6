"""Attention to a sequence that was read: where a step looks, and layers of a transformer; torch only."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import Activation, Linear, normalization

#: Units of each head of a transformer.
_HEAD = 32


def dropped(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """``x`` with a share of its cells set to 0 and the others divided by what is kept; ``x`` without a generator."""
    if generator is None or share == 0:
        return x
    return x * torch.empty_like(x).bernoulli_(1 - share, generator=generator).div_(1 - share)


class Attention(nn.Module):
    """Shares with which each step of one sequence looks at the tokens of another; they begin near the same place.

    The score of token ``j`` at step ``t`` is ``q(h_t) · s_j / sqrt(k)``, or ``v · tanh(q(h_t) + k(s_j))`` [1]_, less
    ``nearness |t / ratio - j|``. The first part begins at zero, so that at first steps look at the token that stands
    where they do, in lengths of the two sequences.

    .. [1] Bahdanau, Cho, Bengio (2015). Neural machine translation by jointly learning to align and translate. ICLR.
    """

    ratio: Tensor

    def __init__(self, kind: str, n_hidden: int, n_memory: int):
        super().__init__()
        self.kind = kind
        self.query = Linear(n_hidden, n_memory)
        if kind == "additive":
            self.key, self.squash, self.score = Linear(n_memory, n_memory), Activation("tanh"), Linear(n_memory, 1)
        self.nearness = nn.Parameter(torch.empty(()))
        self.register_buffer("ratio", torch.empty(()))

    def initialize(self, generator: torch.Generator) -> None:
        """Scores of zero but for the places, one step of one sequence for one of the other."""
        last = self.query if self.kind == "dot" else self.score
        last.weight.zero_()
        last.bias.zero_()
        self.nearness.zero_()
        self.ratio.fill_(1.0)

    def forward(self, hidden: Tensor, states: Tensor, is_token: Tensor, times: Tensor) -> Tensor:
        """``hidden`` (n, t, k), ``states`` (n, s, m), ``is_token`` (n, s), ``times`` (t,); shares (n, t, s)."""
        query = self.query(hidden)
        if self.kind == "dot":
            scores = query @ states.transpose(1, 2) / math.sqrt(states.shape[2])
        else:
            scores = self.score(self.squash(query[:, :, None] + self.key(states)[:, None])).squeeze(-1)
        places = torch.arange(states.shape[1], device=states.device)
        distance = (times[:, None] / self.ratio - places).abs()  # (t, s)
        scores = scores - self.nearness * distance
        return scores.masked_fill(~is_token[:, None], -torch.inf).softmax(-1)


class HeadedAttention(nn.Module):
    """Attention by several heads [1]_: ``(n, t, size), (n, s, size) -> (n, t, size)``.

    .. [1] Vaswani et al. (2017). Attention is all you need. NeurIPS.
    """

    def __init__(self, size: int):
        super().__init__()
        self.n_heads = max(1, size // _HEAD)
        self.query, self.key, self.value, self.last = (Linear(size, size) for _ in range(4))

    def forward(self, x: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        """``mask``: which steps of ``read`` each step of ``x`` may look at, ``(n or 1, t or 1, s)``."""
        query, key, value = (self._by_head(part) for part in (self.query(x), self.key(read), self.value(read)))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        shares = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        return self.last((shares @ value).transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention, attention to a memory if ``reads_memory``, and a layer of each step, each added to its input."""

    def __init__(self, size: int, *, reads_memory: bool):
        super().__init__()
        self.norm = normalization(size)
        self.own = HeadedAttention(size)
        self.other = HeadedAttention(size) if reads_memory else None
        self.wide, self.activation, self.narrow = Linear(size, 2 * size), Activation("relu"), Linear(2 * size, size)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        read = self.norm(x)
        x = x + dropped(self.own(read, read, mask), dropout, generator)
        if self.other is not None:
            x = x + dropped(self.other(self.norm(x), memory, memory_mask), dropout, generator)
        return x + dropped(self.narrow(self.activation(self.wide(self.norm(x)))), dropout, generator)


def sinusoids(n_timepoints: int, size: int, device: torch.device) -> Tensor:
    """The time of each step as sines and cosines of wavelengths from 2 pi to 20000 pi; ``(n_timepoints, size)``."""
    rates = 10_000.0 ** -(torch.arange(0, size, 2, device=device, dtype=torch.float64) / size)
    angles = torch.arange(n_timepoints, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :size].float()


def padded_linear(x: Tensor, weight: Tensor, bias: Tensor, width: int) -> Tensor:
    """A linear map whose number of outputs is filled up to a multiple of ``width``, which is then cut off."""
    spare = -len(weight) % width
    if spare == 0:
        return F.linear(x, weight, bias)
    return F.linear(x, F.pad(weight, (0, 0, 0, spare)), F.pad(bias, (0, spare)))[..., : len(weight)]
