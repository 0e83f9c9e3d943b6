"""Strings as rows of token numbers, and back: the step before an autoencoder of words or molecules."""

import re
from collections import Counter
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._compat import Interval, fit_context
from sk_autoenc._messages import names_its_class
from sk_autoenc.data.subwords import Cutter, learn_pieces, words_of
from sk_autoenc.storage import MOST_CELLS, by_params, by_state, integer, output_config, strings


def _check_tokens(kind: type, plain: dict[str, Any]) -> None:
    """Refuse tokens that cannot have come out of ``fit``."""
    tokens, unknown = plain["tokens_"].tolist(), plain["unknown"]
    if not tokens or len(set(tokens)) < len(tokens):
        raise ValueError("Vocabulary.tokens_ must hold strings, each of them once.")
    if unknown is not None and tokens[0] != unknown:
        raise ValueError(f"Vocabulary.tokens_ must begin with unknown={unknown!r:.60}, got {tokens[0]!r:.60}.")


@by_state(
    {"tokens_": strings, "max_length_": integer(1, MOST_CELLS), "_sklearn_output_config": output_config},
    optional=("_sklearn_output_config",),
    check=_check_tokens,
)
@by_params(check=lambda vocabulary: vocabulary._pattern())
class Vocabulary(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn strings into rows of token numbers, with NaN after their ends, and such rows into strings.

    ``Recurrent(unequal_lengths=True)`` reads such rows with ``likelihood="categorical"``, and
    :class:`SequenceTranslator` uses vocabularies. By default a token is a character. With ``subwords`` it is a frequent
    word or a piece of one.

    Parameters
    ----------
    token_pattern : str, default="."
        Regular expression of a token. Characters between tokens are lost.
    separator : str, default=""
        String that ``inverse_transform`` puts between tokens.
    min_count : int, default=1
        Tokens that are rarer in the training strings are left out of the vocabulary.
    max_length : int or None, default=None
        Largest number of tokens of a string; longer strings are refused. None takes the longest training string. In a
        search set it, because a test string may be longer than all strings of a training fold.
    unknown : str or None, default=None
        Token with number 0, which replaces every token that is not in the vocabulary. None refuses such tokens. In a
        search set it, because a training fold may lack tokens of a test fold.
    subwords : int or None, default=None
        Largest number of tokens of a byte-pair encoding [1]_: what ``token_pattern`` matches, such as characters, and
        the pieces that frequent neighbours within words are joined to. Then ``separator`` must be ``""``, and every
        string that the pattern covers comes back exactly. None joins nothing.

    Attributes
    ----------
    tokens_ : ndarray of shape (n_tokens,)
        The tokens by their numbers: strings, with dtype object. Pieces come last, in the order of joining.
    max_length_ : int
        Number of columns of a row.

    See Also
    --------
    Recurrent : The architecture that reads such rows.
    SequenceTranslator : Learns to turn one string into another.
    sklearn.feature_extraction.text.CountVectorizer : Counts of tokens, without their order.

    References
    ----------
    .. [1] Sennrich, Haddow, Birch (2016). Neural machine translation of rare words with subword units. ACL.

    Examples
    --------
    >>> from sk_autoenc import Vocabulary
    >>> vocabulary = Vocabulary().fit(["CCO", "CO"])
    >>> vocabulary.tokens_.tolist()
    ['C', 'O']
    >>> vocabulary.transform(["CO"])
    array([[ 0.,  1., nan]], dtype=float32)
    >>> vocabulary.inverse_transform([[0, 0, 1]])
    array(['CCO'], dtype=object)

    In this pattern atoms of two letters and expressions in brackets are single tokens:

    >>> Vocabulary(r"\\[[^]]*\\]|Br|Cl|.").fit(["ClC[nH]"]).tokens_.tolist()
    ['C', 'Cl', '[nH]']

    Pieces of words:

    >>> vocabulary = Vocabulary(subwords=8).fit(["low lower", "new newer"])
    >>> vocabulary.tokenize(["lower new"])
    [['l', 'o', 'w', 'er', ' ', 'n', 'e', 'w']]
    """

    _parameter_constraints: dict = {
        "token_pattern": [str],
        "separator": [str],
        "min_count": [Interval(Integral, 1, None, closed="left")],
        "max_length": [Interval(Integral, 1, None, closed="left"), None],
        "unknown": [str, None],
        "subwords": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        token_pattern: str = ".",
        *,
        separator: str = "",
        min_count: int = 1,
        max_length: int | None = None,
        unknown: str | None = None,
        subwords: int | None = None,
    ):
        self.token_pattern = token_pattern
        self.separator = separator
        self.min_count = min_count
        self.max_length = max_length
        self.unknown = unknown
        self.subwords = subwords

    @names_its_class
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the tokens of the training strings.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted vocabulary.
        """
        cut = self._cut(X)
        counts = Counter(token for tokens in cut for token in tokens)
        known = sorted(token for token, count in counts.items() if count >= self.min_count and token != self.unknown)
        if not known:
            raise ValueError(
                f"X must have a token that token_pattern={self.token_pattern!r} matches min_count={self.min_count} "
                "times or more, got none."
            )
        if self.subwords is not None:
            if self.separator:
                raise ValueError(f"separator must be '' with subwords={self.subwords}, got {self.separator!r}.")
            words = [words_of(string, units) for string, units in zip(X, cut, strict=True)]
            counted = Counter(word for of_string in words for word in of_string)
            most, least = self.subwords - (self.unknown is not None), max(2, self.min_count)
            known = learn_pieces(counted, known, most, min_count=least, without=self.unknown)
            cut = list(map(Cutter(known), words))
        max_length = max(map(len, cut)) if self.max_length is None else self.max_length
        self._check_lengths(cut, max_length)
        self.tokens_ = np.array(known if self.unknown is None else [self.unknown, *known], dtype=object)
        self.max_length_ = max_length
        return self

    def tokenize(self, X):
        """Cut strings into tokens, of any number and also such as are not in the vocabulary.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.

        Returns
        -------
        list of list of str
            The tokens of each string.
        """
        check_is_fitted(self)
        cut = self._cut(X)
        if self.subwords is None:
            return cut
        cutter = Cutter(self.tokens_[self.unknown is not None :].tolist())
        return [cutter(words_of(string, units)) for string, units in zip(X, cut, strict=True)]

    def transform(self, X):
        """Turn strings into rows of token numbers.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings of ``max_length_`` tokens at most.

        Returns
        -------
        ndarray of shape (n_samples, max_length)
            Numbers of the tokens in ``tokens_``, NaN after the end of a string; float32.
        """
        check_is_fitted(self)
        numbers = {token: number for number, token in enumerate(self.tokens_.tolist())}
        cut = self.tokenize(X)
        rows = np.full((len(cut), self.max_length_), np.nan, dtype=np.float32)
        self._check_lengths(cut, self.max_length_)
        for row, tokens in zip(rows, cut, strict=True):
            row[: len(tokens)] = [self._number(token, numbers) for token in tokens]
        return rows

    def inverse_transform(self, X):
        """Turn rows of token numbers into strings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_timepoints)
            Numbers of tokens, NaN after the end of a string; or a list of arrays of different lengths.

        Returns
        -------
        ndarray of str of shape (n_samples,)
            Strings, with dtype object.
        """
        check_is_fitted(self)
        rows = X if isinstance(X, list | tuple) else np.asarray(X)
        if isinstance(rows, np.ndarray) and rows.ndim != 2:
            raise ValueError(f"X must have two axes, rows of token numbers, got shape {rows.shape}.")
        return np.array([self._string(np.asarray(row, dtype=float)) for row in rows], dtype=object)

    def _cut(self, X) -> list[list[str]]:
        """What ``token_pattern`` matches in every string."""
        if isinstance(X, str) or np.ndim(X) != 1 or len(X) == 0:
            what = repr(X)[:60] if np.ndim(X) < 2 else f"shape {np.shape(X)}; pass the column itself"
            raise ValueError(f"X must be strings in one dimension, got {what}.")
        for string in X:
            if not isinstance(string, str):
                raise ValueError(f"X must hold strings, got {string!r:.60}.")
        pattern = self._pattern()
        # Without groups findall gives whole matches, and is faster.
        find = (
            pattern.findall if pattern.groups == 0 else lambda string: [it.group() for it in pattern.finditer(string)]
        )
        cut = [find(string) for string in X]
        for string, tokens in zip(X, cut, strict=True):
            if "" in tokens:
                raise ValueError(
                    f"token_pattern must match one character or more, got {self.token_pattern!r:.60}, which matches "
                    f"nothing at a place of {string!r:.60}."
                )
        return cut

    def _pattern(self) -> re.Pattern[str]:
        """What a token matches."""
        try:
            pattern = re.compile(self.token_pattern, re.DOTALL)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(
                f"token_pattern must be a regular expression, got {self.token_pattern!r:.60}: {error}."
            ) from error
        if pattern.match("") is not None:
            raise ValueError(
                f"token_pattern must not match the empty string, got {self.token_pattern!r:.60}, which does."
            )
        return pattern

    def _check_lengths(self, cut: list[list[str]], max_length: int) -> None:
        for tokens in cut:
            if len(tokens) > max_length:
                raise ValueError(
                    f"X must hold strings of at most max_length={max_length} tokens, got {len(tokens)} tokens: "
                    f"{self.separator.join(tokens)!r:.60}."
                )

    def _number(self, token: str, numbers: dict[str, int]) -> int:
        if token in numbers:
            return numbers[token]
        if self.unknown is None:
            raise ValueError(
                f"X has the token {token!r}, which is not in the vocabulary; set unknown to a token that replaces such "
                "tokens."
            )
        return 0

    def _string(self, row: np.ndarray) -> str:
        found = row[: (~np.isnan(row)).sum()]
        if np.isnan(found).any():
            raise ValueError("X must have NaN only after the end of a string, got NaN before a token.")
        if (wrong := (found < 0) | (found >= len(self.tokens_)) | (found != np.floor(found))).any():
            raise ValueError(
                f"X must hold token numbers, integers from 0 to {len(self.tokens_) - 1}, got {found[wrong][0]:.6g}."
            )
        return self.separator.join(self.tokens_[found.astype(int)])

    @property
    def _n_features_out(self) -> int:
        return self.max_length_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, True, False
        return tags
