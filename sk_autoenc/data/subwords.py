"""Byte-pair encoding: the pieces that words are cut into, learned from counts of words, and the cutting."""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

#: Pieces reach no further than one of these: letters, digits or signs with the blank before them, or other white space.
WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s", re.DOTALL)

Units = tuple[str, ...]


def learn_pieces(
    words: Mapping[Units, int], units: Sequence[str], n_tokens: int, *, min_count: int = 2, without: str | None = None
) -> list[str]:
    """Units of words and the pieces that frequent neighbours are joined to, in the order of their ranks.

    In each round the two neighbours that stand side by side most often are joined, wherever they stand [1]_; of equally
    frequent ones those whose string comes first. Neighbours are known by the string that they make, so the list of
    pieces alone says how a word is cut.

    Parameters
    ----------
    words : mapping of tuple of str to int
        Words as their units, such as characters, and how often each occurs.
    units : sequence of str
        Units to begin with.
    n_tokens : int
        Largest number of units and pieces.
    min_count : int, default=2
        Rarer neighbours are not joined.
    without : str or None, default=None
        A string that must not be a piece.

    Returns
    -------
    list of str
        The units, and then the pieces.

    References
    ----------
    .. [1] Sennrich, Haddow, Birch (2016). Neural machine translation of rare words with subword units. ACL.
    """
    ranks = {unit: rank for rank, unit in enumerate(units)}
    cut, counts = [cut_into_pieces(word, ranks) for word in words], list(words.values())
    n_found: Counter[str] = Counter()
    places: dict[str, set[int]] = defaultdict(set)

    def count(place: int, sign: int) -> set[str]:
        made = [left + right for left, right in pairwise(cut[place])]
        for joined in made:
            n_found[joined] += sign * counts[place]
            places[joined].add(place)
        return set(made)

    for place in range(len(cut)):
        count(place, 1)
    queued = dict(n_found)
    heap = [(-n, joined) for joined, n in queued.items()]
    heapq.heapify(heap)
    while heap and len(ranks) < n_tokens:
        n, joined = heapq.heappop(heap)
        if -n != n_found[joined] or joined in ranks or joined == without:
            continue  # a count that has changed since is in the heap once more
        if -n < min_count:
            break
        ranks[joined] = len(ranks)
        changed: set[str] = set()
        for place in places.pop(joined):
            changed |= count(place, -1)
            cut[place] = cut_into_pieces(_join(cut[place], joined), ranks)
            changed |= count(place, 1)
        for other in changed:
            if n_found[other] != queued.get(other):
                queued[other] = n_found[other]
                heapq.heappush(heap, (-n_found[other], other))
    return list(ranks)


def cut_into_pieces(units: Iterable[str], ranks: Mapping[str, int]) -> list[str]:
    """A word's pieces: neighbours that make the piece of the lowest rank are joined, until none make a piece."""
    pieces = list(units)
    while found := [piece for left, right in pairwise(pieces) if (piece := left + right) in ranks]:
        pieces = _join(pieces, min(found, key=ranks.__getitem__))
    return pieces


def _join(pieces: list[str], wanted: str) -> list[str]:
    """Pieces of which neighbours that make the wanted one are joined, from left to right."""
    merged, i, last = [], 0, len(pieces) - 1
    while i <= last:
        if i < last and pieces[i] + pieces[i + 1] == wanted:
            merged.append(wanted)
            i += 2
        else:
            merged.append(pieces[i])
            i += 1
    return merged


def words_of(string: str, units: Sequence[str]) -> list[Units]:
    """The units of a string by words. Words that share a unit, such as an atom in brackets, are one word."""
    ends = {match.end() for match in WORD.finditer(string)}
    words: list[Units] = []
    word: list[str] = []
    place = 0
    for unit in units:
        word.append(unit)
        place += len(unit)
        if place in ends:
            words.append(tuple(word))
            word = []
    return [*words, tuple(word)] if word else words


class Cutter:
    """Cuts words into pieces, and remembers every word."""

    def __init__(self, pieces: Sequence[str]):
        self.ranks = {piece: rank for rank, piece in enumerate(pieces)}
        self._known: dict[Units, list[str]] = {}

    def __call__(self, words: Iterable[Units]) -> list[str]:
        """The pieces of these words, one after the other."""
        return [piece for word in words for piece in self._pieces(word)]

    def _pieces(self, word: Units) -> list[str]:
        if (found := self._known.get(word)) is None:
            found = self._known[word] = cut_into_pieces(word, self.ranks)
        return found
