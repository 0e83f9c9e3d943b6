"""The lexicon of pairs of sequences, by IBM model 1, as the start of a network that translates."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from sk_autoenc.data.dataset import Pairs, Rows
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.translation import N_ENTRIES

#: Steps of the expectation-maximisation, after which the lexicon hardly changes.
_N_STEPS = 6

#: Pairs of positions, for each of which some numbers are kept in memory; more rows than have so many are left out.
_MOST_PAIRS = 20_000_000

#: What is tried for how much attention prefers the same place, and on how many rows.
_NEARNESS, _N_TRIED = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0), 512

#: Rows of which logits are in memory at once.
_BLOCK = 32


class _Positions(NamedTuple):
    """All pairs of a source token and a target token of one row."""

    pairs: np.ndarray  # (n_pairs,), which of the kinds
    targets: np.ndarray  # (n_pairs,), which target token, of all of all rows
    kinds: np.ndarray  # (n_kinds,), source number * n_target + target number


def fit_lexicon(
    source: np.ndarray,
    target: np.ndarray,
    n_source: int,
    n_target: int,
    *,
    own: np.ndarray | None = None,
    n_steps: int = _N_STEPS,
) -> csr_array:
    r"""Probabilities of target tokens given source tokens, by IBM model 1 [1]_.

    In the model each token of a target sequence comes from one token of the source sequence, any with the same
    probability. The lexicon :math:`t` of the highest likelihood is found by expectation-maximisation,

    .. math:: t(f|e) \propto \sum_{\text{pairs}} \sum_{e_j = e,\, f_i = f} \frac{t(f|e)}{\sum_k t(f|e_k)}

    beginning at equal probabilities.

    Parameters
    ----------
    source : ndarray of shape (n, s)
        Numbers of tokens, -1 after the end.
    target : ndarray of shape (n, t)
        Numbers of tokens, -1 after the end.
    n_source, n_target : int
        Numbers of different tokens.
    own : ndarray of shape (n_own, 2) or None, default=None
        Pairs of a source and a target token that are also seen once by themselves, such as a token and itself.
    n_steps : int, default=6
        Number of steps.

    Returns
    -------
    csr_array of shape (n_source, n_target)
        Each row adds up to 1, or to 0 for a token that was not seen.

    References
    ----------
    .. [1] Brown, Della Pietra, Della Pietra, Mercer (1993). The mathematics of statistical machine translation.
       Computational Linguistics 19(2).
    """
    found = _positions(source, target, n_target)
    alone = np.empty(0, dtype=np.int64) if own is None else own[:, 0] * n_target + own[:, 1]
    kinds = np.union1d(found.kinds, alone)
    pairs = np.searchsorted(kinds, found.kinds)[found.pairs]
    prior = np.zeros(len(kinds))
    prior[np.searchsorted(kinds, alone)] = 1.0
    of_source = kinds // n_target
    probability = np.ones(len(kinds))
    for _ in range(n_steps):
        weights = probability[pairs]
        weights /= np.bincount(found.targets, weights)[found.targets]
        counts = prior + np.bincount(pairs, weights, minlength=len(kinds))
        probability = counts / np.bincount(of_source, counts)[of_source]
    return csr_array((probability, (of_source, kinds % n_target)), shape=(n_source, n_target))


def _positions(source: np.ndarray, target: np.ndarray, n_target: int) -> _Positions:
    n_in_source, n_in_target = (source >= 0).sum(axis=1), (target >= 0).sum(axis=1)
    every = int(np.ceil((n_in_source * n_in_target).sum() / _MOST_PAIRS)) or 1
    source, target, n_in_source, n_in_target = (part[::every] for part in (source, target, n_in_source, n_in_target))
    sizes = n_in_source * n_in_target
    row = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    of_source, of_target = place // n_in_target[row], place % n_in_target[row]
    kinds, pairs = np.unique(source[row, of_source] * n_target + target[row, of_target], return_inverse=True)
    return _Positions(pairs, (np.cumsum(n_in_target) - n_in_target)[row] + of_target, kinds)


def most_probable(lexicon: csr_array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` most probable entries of each row and their probabilities, with probability 0 where there are fewer."""
    entries = np.zeros((lexicon.shape[0], n), dtype=np.int64)
    shares = np.zeros((lexicon.shape[0], n), dtype=np.float32)
    for row, (begin, end) in enumerate(zip(lexicon.indptr, lexicon.indptr[1:], strict=False)):
        order = np.argsort(-lexicon.data[begin:end], kind="stable")[:n]
        entries[row, : len(order)] = lexicon.indices[begin:end][order]
        shares[row, : len(order)] = lexicon.data[begin:end][order]
    return entries, shares


class LexiconStart(Start):
    """Word by word: every step writes what the lexicon says of the source token at the same place.

    Parameters
    ----------
    n_source, n_target : int
        Numbers of tokens of the two vocabularies, without unknown ones and the end.
    is_shared : bool
        Whether both sides have one vocabulary, so that each token may be its own translation.
    """

    is_model = True

    def __init__(self, n_source: int, n_target: int, *, is_shared: bool):
        self.n_source, self.n_target, self.is_shared = n_source, n_target, is_shared

    @torch.no_grad()
    def set(self, module: Any, rows: Rows) -> None:
        assert isinstance(rows, Pairs)
        source, target = (side.index_select(0, rows.index) for side in (rows.data, rows.target))
        special = np.arange(2)[:, None] + [self.n_source, self.n_target]  # unknown, and the end
        own = np.arange(self.n_source)[:, None].repeat(2, axis=1) if self.is_shared else special[:0]
        lexicon = fit_lexicon(
            source.numpy(), target.numpy(), self.n_source + 2, self.n_target + 2, own=np.concatenate([own, special])
        )
        module.lexicon.set(*map(torch.from_numpy, most_probable(lexicon, N_ENTRIES)))
        attention = module.attention
        attention.initialize(torch.Generator())
        module.without_network()
        attention.ratio.fill_(float((target >= 0).sum()) / float((source >= 0).sum()))
        chosen = slice(None, None, -(-len(source) // _N_TRIED))
        found = [self._log_prob(module, source[chosen], target[chosen], nearness) for nearness in _NEARNESS]
        attention.nearness.fill_(_NEARNESS[int(np.argmax(found))])

    def _log_prob(self, module: Any, source: torch.Tensor, target: torch.Tensor, nearness: float) -> float:
        module.attention.nearness.fill_(nearness)
        blocks = zip(source.split(_BLOCK), target.split(_BLOCK), strict=True)
        return sum(float(module(x).log_prob(y).double().sum()) for x, y in blocks)

    def refit(self, module: Any, rows: Rows) -> None:
        self.set(module, rows)


class FrequencyStart(Start):
    """Random weights, with the logarithms of the frequencies of target tokens as logits."""

    @torch.no_grad()
    def set(self, module: Any, rows: Rows) -> None:
        assert isinstance(rows, Pairs)
        target = rows.target.index_select(0, rows.index)
        counts = torch.bincount(target[target >= 0], minlength=len(module.bias)).float()
        source = rows.data.index_select(0, rows.index)
        module.bias.copy_(((counts + 0.1) / (counts + 0.1).sum()).log())
        module.attention.ratio.fill_(float((target >= 0).sum()) / float((source >= 0).sum()))
