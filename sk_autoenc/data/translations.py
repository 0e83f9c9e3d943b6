"""Pairs of strings as pairs of rows of token numbers, and what a network writes as strings."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone

from sk_autoenc.data.dataset import Pairs, Rows
from sk_autoenc.data.vocabulary import Vocabulary
from sk_autoenc.storage import Plain, by_state, flag, instance, integer

#: Tokens that a string has at most.
MOST_TOKENS = 2**16


def check_strings(strings: Any, name: str) -> np.ndarray:
    """Strings in one dimension as an array of objects; ``ValueError`` for anything else."""
    if isinstance(strings, str) or np.ndim(strings) != 1 or len(strings) == 0:
        what = repr(strings)[:60] if np.ndim(strings) < 2 else f"shape {np.shape(strings)}; pass the column itself"
        raise ValueError(f"{name} must be strings in one dimension, got {what}.")
    found = np.empty(len(strings), dtype=object)
    found[:] = [str(string) if isinstance(string, np.str_) else string for string in strings]
    for string in found:
        if not isinstance(string, str):
            raise ValueError(f"{name} must hold strings, got {string!r:.60}.")
    return found


def padded(sequences: Sequence[np.ndarray], width: int | None = None) -> np.ndarray:
    """Sequences of numbers as rows, -1 after their ends; as wide as the longest one."""
    rows = np.full((len(sequences), width or max(map(len, sequences))), -1, dtype=np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows


class Language:
    """Tokens of one side as numbers: those of its vocabulary, one for unknown tokens, and one for the end."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self.tokens = vocabulary.tokens_.tolist()
        self._numbers = {token: number for number, token in enumerate(self.tokens)}
        if vocabulary.unknown is not None:
            del self._numbers[vocabulary.unknown]  # unknown tokens have a number of their own
        self.unknown, self.end = len(self.tokens), len(self.tokens) + 1

    def numbers(self, tokens: Sequence[str]) -> np.ndarray:
        """Numbers of tokens, and the end."""
        return np.array([*(self._numbers.get(token, self.unknown) for token in tokens), self.end], dtype=np.int64)

    def string(self, numbers: np.ndarray, unknown: Sequence[str]) -> str:
        """A string of tokens; ``unknown`` replaces the unknown ones, in their order, the empty string being none."""
        others = iter(unknown)
        tokens = [self.tokens[number] if number < self.unknown else next(others) for number in numbers]
        return self.vocabulary.separator.join(token for token in tokens if token)


def _check_lengths(kind: type, plain: Plain) -> None:
    if plain["is_shared"] and plain["source"].tokens_.tolist() != plain["target"].tokens_.tolist():
        raise ValueError(f"{kind.__name__} is shared, but source and target have other tokens.")


@by_state(
    {
        "source": instance(Vocabulary),
        "target": instance(Vocabulary),
        "is_shared": flag,
        "longest_source": integer(1, MOST_TOKENS),
        "longest_target": integer(1, MOST_TOKENS),
    },
    check=_check_lengths,
    take=lambda pairs: pairs.state,
    make=lambda plain: StringPairs(**plain),
    holds_fitted=True,
)
class StringPairs:
    """Reads pairs of strings, by two vocabularies or one.

    Parameters
    ----------
    source, target : Vocabulary
        Fitted vocabularies.
    is_shared : bool
        Whether they are one, so that a token can be its own translation.
    longest_source, longest_target : int
        Largest numbers of tokens in training, the end included.
    """

    def __init__(
        self, source: Vocabulary, target: Vocabulary, *, is_shared: bool, longest_source: int, longest_target: int
    ):
        self.source, self.target, self.is_shared = source, source if is_shared else target, is_shared
        self.longest_source, self.longest_target = longest_source, longest_target
        self.from_language, self.to_language = Language(source), Language(target)

    @classmethod
    def fitted(cls, vocabulary: Vocabulary, target_vocabulary: Vocabulary | None, X: Any, y: Any) -> Self:
        """Vocabularies learned of these strings: one of both sides together, or one of each."""
        if is_shared := target_vocabulary is None:
            source = target = clone(vocabulary).fit(np.concatenate([X, y]))
        else:
            source, target = clone(vocabulary).fit(X), clone(target_vocabulary).fit(y)
        longest = [1 + max(map(len, v.tokenize(strings))) for v, strings in ((source, X), (target, y))]
        return cls(source, target, is_shared=is_shared, longest_source=longest[0], longest_target=longest[1])

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Nothing: the vocabularies are there before the network, whose sizes they determine."""
        return self

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        """Pairs of rows of numbers on the device."""
        source, target = self.read(X)[1], self.read_targets(y)
        return Pairs(*(torch.from_numpy(padded(side)).to(device) for side in (source, target)))

    def read(self, X: np.ndarray) -> tuple[list[list[str]], list[np.ndarray]]:
        """Tokens of each string, and their numbers with the end."""
        tokens = self.source.tokenize(X)
        return tokens, [self.from_language.numbers(of_string) for of_string in tokens]

    def read_targets(self, y: Any) -> list[np.ndarray]:
        """Numbers of the tokens of each target, with the end."""
        return [self.to_language.numbers(tokens) for tokens in self.target.tokenize(y)]

    def limit(self, n_source: int, max_length: int | None) -> int:
        """Largest number of tokens of a translation, the end included: that of training, in proportion to a source."""
        if max_length is not None:
            return max_length + 1
        return math.ceil(self.longest_target * max(1.0, n_source / self.longest_source))

    @property
    def state(self) -> Plain:
        """The arguments of ``__init__``, for files without pickle."""
        names = ("source", "target", "is_shared", "longest_source", "longest_target")
        return {name: getattr(self, name) for name in names}
