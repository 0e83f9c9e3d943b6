"""Beam search: the most probable sequences that a network writes, many rows at once; torch only."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sk_autoenc.nn.translation import Translator


class Hypotheses(NamedTuple):
    """Sequences of each row, the best one first."""

    tokens: Tensor  # (n, n_best, t), -1 after the last one; without the end
    looked_at: Tensor  # (n, n_best, t), the place in what was read to which each token attended most
    log_prob: Tensor  # (n, n_best), the end included; minus infinity if there are not so many


@torch.no_grad()
def beam_search(translator: Translator, x: Tensor, limits: Tensor, n_beams: int, length_penalty: float) -> Hypotheses:
    """The sequences of the highest log-probability divided by ``length ** length_penalty`` that a beam search finds.

    At each step the ``n_beams`` best continuations of a row are kept. Those that end are results; a row is done when
    it has ``n_beams`` results. The last token that ``limits`` allows can be the end alone. No row has an effect on
    another.

    Parameters
    ----------
    translator : Translator
        In evaluation mode.
    x : Tensor of shape (n, s)
        Tokens to read.
    limits : Tensor of shape (n,)
        Largest numbers of tokens to write, the end included.
    n_beams : int
        Number of sequences that are kept.
    length_penalty : float
        0 compares log-probabilities, which prefers short sequences; 1 compares means over tokens.
    """
    n, n_steps, end = len(x), int(limits.max()), translator.end
    places = torch.arange(n, device=x.device)[:, None]
    memory = translator.read(x)
    is_place = F.pad(memory.is_token[:, 1:], (0, 1))  # tokens that others follow: not the end
    memory, is_place = memory.repeated(n_beams), is_place.repeat_interleave(n_beams, dim=0)
    state = translator.writer.start(memory)
    token = torch.full((n * n_beams,), end, device=x.device)
    written = torch.empty((2, n, n_beams, 0), dtype=torch.int64, device=x.device)  # tokens, and where they looked
    score = torch.full((n, n_beams), -torch.inf, device=x.device)
    score[:, 0] = 0.0  # all beams are the same before the first step
    done = Hypotheses(written[0].clone(), written[1].clone(), torch.full_like(score, -torch.inf))
    rank = torch.full_like(score, -torch.inf)
    open_rows = torch.ones(n, 1, dtype=torch.bool, device=x.device)
    for time in range(n_steps):
        log_prob, shares, state = translator.step(memory, state, token, time)
        looked = shares.masked_fill(~is_place, -1.0).argmax(1).view(n, n_beams)
        n_outcomes = log_prob.shape[1]
        is_last = (limits == time + 1)[:, None]
        refused = is_last[:, :, None] & (torch.arange(n_outcomes, device=x.device) != end)
        total = (score[:, :, None] + log_prob.view(n, n_beams, n_outcomes)).masked_fill(refused, -torch.inf).flatten(1)
        best, chosen = total.topk(min(2 * n_beams, total.shape[1]), dim=1)
        beam, outcome = chosen // n_outcomes, chosen % n_outcomes
        first = torch.arange(best.shape[1], device=x.device) < n_beams
        ends = (outcome == end) & first & open_rows & best.isfinite()
        added = torch.stack([outcome, looked[places, beam]]).masked_fill(outcome == end, -1)
        continued = torch.cat([written[:, places, beam], added[..., None]], dim=3)  # (2, n, 2 * n_beams, time + 1)
        longer = (F.pad(part, (0, 1), value=-1) for part in (done.tokens, done.looked_at))
        # Results so far and new ones, the best of them.
        new_rank = torch.where(ends, best / (time + 1) ** length_penalty, -torch.inf)
        rank, kept = torch.cat([rank, new_rank], dim=1).topk(n_beams, dim=1)
        old, new = (*longer, done.log_prob), (*continued, torch.where(ends, best, -torch.inf))
        done = Hypotheses(*(torch.cat(pair, dim=1)[places, kept] for pair in zip(old, new, strict=True)))
        open_rows = open_rows & ~is_last & ~rank.isfinite().all(1, keepdim=True)
        if not open_rows.any():
            break
        # The best continuations that have not ended.
        score, alive = torch.where(outcome == end, -torch.inf, best).topk(n_beams, dim=1)
        written = continued[:, places, alive]
        source = (places * n_beams + beam.gather(1, alive)).flatten()
        state = tuple(part.index_select(0, source) for part in state)
        token = outcome.gather(1, alive).flatten()
    missing = done.log_prob.isneginf()[:, :, None]
    return Hypotheses(done.tokens.masked_fill(missing, -1), done.looked_at.masked_fill(missing, -1), done.log_prob)
