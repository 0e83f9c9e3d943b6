"""Categories: of independent features, or of tokens in sequences, each of which depends on those before it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.likelihoods.base import Likelihood
from sk_autoenc.likelihoods.discrete import IntegerValued, is_count
from sk_autoenc.nn.tokens import AutoregressiveOutput
from sk_autoenc.storage import by_params


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Categorical(IntegerValued):
    """Categories numbered 0, 1, 2, …, as an ``OrdinalEncoder`` gives them, each feature with its own number of them.

    The encoder reads indicators, and the decoder gives a logit for each category of each feature. ``inverse_transform``
    and ``reconstruct`` give the most probable category. Encoder and decoder have weights for every category up to the
    highest number. So leave out years and identifiers, or renumber them by an ``OrdinalEncoder``.

    With :class:`Recurrent`, rows are sequences of tokens. All positions have the same categories, and each token
    depends on those before it. With ``unequal_lengths=True`` a sequence may end before the last column. The end is
    learned, and decoded rows have NaN after it.

    Parameters
    ----------
    n_categories : int, sequence of int or None, default=None
        Number of categories of all features, or of each; None takes the highest of the training rows, plus one.

    Examples
    --------
    >>> from sk_autoenc import Categorical
    >>> Categorical(n_categories=[2, 3])
    Categorical(n_categories=[2, 3])
    """

    knows_values, has_mean = True, False
    _called = "categories numbered from 0"

    def __init__(self, n_categories: int | Sequence[int] | None = None):
        self.n_categories = n_categories

    def check(self, X: np.ndarray) -> None:
        """Refuse values that are no categories, and an ``n_categories`` that does not suit X."""
        super().check(X)
        if self.n_categories is None:
            return
        given = np.asarray(self.n_categories, dtype=object)
        if given.shape not in ((), (X.shape[1],)) or not all(is_count(size) for size in given.flat):
            raise ValueError(
                f"Categorical: n_categories must be None, an integer of 1 or more, or {X.shape[1]} such integers, one "
                f"for each column of X, got {self.n_categories!r}."
            )
        sizes = np.broadcast_to(self.n_categories, X.shape[1])
        if (unknown := X.max(axis=0) >= sizes).any():
            column = int(unknown.argmax())
            raise ValueError(
                f"likelihood='categorical': column {column} of X must have categories from 0 to {sizes[column] - 1}, "
                f"got {X[:, column].max():.6g}; set Categorical(n_categories=...) in fit to allow more."
            )

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for numbers of categories that no rows can have."""
        given = np.asarray(self.n_categories, dtype=object)
        if self.n_categories is not None and (given.ndim > 1 or not all(is_count(size) for size in given.flat)):
            raise ValueError(
                "Categorical: n_categories must be None, an integer of 1 or more, or a sequence of these, got "
                f"{self.n_categories!r:.60}."
            )

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if there is not one number of categories for each feature."""
        if not isinstance(self.n_categories, list) or len(self.n_categories) != n_features:
            raise ValueError(f"Categorical: n_categories must be a list of {n_features} integers after fit.")

    def resolve(self, X: np.ndarray) -> "Categorical":
        """With the number of categories of each feature."""
        found = X.max(axis=0).astype(int) + 1 if self.n_categories is None else self.n_categories
        return Categorical([int(size) for size in np.broadcast_to(found, X.shape[1])])

    def counted_in(self, X: np.ndarray, *, as_sequences: bool) -> "Categorical":
        """With the number of categories of each column, or of the tokens of sequences."""
        if self.n_categories is not None:
            return self
        if as_sequences:
            tokens = Tokens(may_end=True)
            tokens.check(X)
            return Categorical(tokens.resolve(X).n_tokens)
        self.check(X)
        return self.resolve(X)

    def of_sequences(self, *, may_end: bool) -> Likelihood:
        """The likelihood of sequences of these categories; ``ValueError`` if positions have different ones."""
        n_tokens: Any = self.n_categories
        if n_tokens is not None and not is_count(n_tokens):
            raise ValueError(
                "Categorical: n_categories must be None or one integer of 1 or more for all positions with "
                f"architecture=Recurrent(...), got {self.n_categories!r}."
            )
        return Tokens(None if n_tokens is None else int(n_tokens), may_end=may_end)

    def string_hint(self) -> str:
        """Advice how to turn strings into categories."""
        return "Use scikit-learn's OrdinalEncoder to turn categories into numbers."

    @property
    def _sizes(self) -> list[int]:
        assert isinstance(self.n_categories, list)
        return self.n_categories

    def n_inputs(self, n_features: int) -> int:
        """One indicator for each category."""
        return sum(self._sizes)

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """One logit for each category."""
        return sum(self._sizes)

    def encoder_input(self, x: Tensor) -> Tensor:
        """Indicators of the categories."""
        sizes = self._sizes
        values = torch.cat([torch.arange(size, device=x.device, dtype=x.dtype) for size in sizes])
        repeats = torch.tensor(sizes, device=x.device)
        return (x.repeat_interleave(repeats, dim=-1, output_size=sum(sizes)) == values).to(x.dtype)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        indicators = self.encoder_input(x)
        normalizers = torch.stack([logits.logsumexp(-1) for logits in raw.split(self._sizes, -1)], -1)
        return (raw * indicators).sum(-1) - normalizers.sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The most probable category."""
        return torch.stack([logits.argmax(-1).to(raw.dtype) for logits in raw.split(self._sizes, -1)], -1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a category of each feature."""
        drawn = [torch.multinomial(logits.softmax(-1), 1, generator=generator) for logits in raw.split(self._sizes, -1)]
        return torch.cat(drawn, -1).to(raw.dtype)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the categories' shares, which count as 0.001 at least."""
        return np.log(mean.clip(1e-3))


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Tokens(IntegerValued):
    r"""Sequences of tokens numbered 0, 1, 2, …; all positions have the same tokens.

    It replaces :class:`Categorical` if the architecture reads sequences. The log-probability of a sequence is the sum
    over positions of :math:`\log p(x_t | z, x_1, \dots, x_{t-1})`, with the end of the sequence as one more outcome.

    Parameters
    ----------
    n_tokens : int or None
        Number of tokens; None takes the highest of the training rows, plus one.
    may_end : bool
        Whether sequences may end before the last cell, cells after the end being NaN.
    """

    knows_values, has_mean, is_sequential, is_batchable = True, False, True, False
    _called, _name = "tokens numbered from 0", "categorical"

    def __init__(self, n_tokens: int | None = None, *, may_end: bool = False):
        self.n_tokens = n_tokens
        self.may_end = may_end

    def check(self, X: np.ndarray) -> None:
        """Refuse values that are no tokens."""
        tokens = X[~np.isnan(X)]
        if tokens.size == 0:
            if self.n_tokens is None:
                raise ValueError("likelihood='categorical': X must have a token, got only empty sequences.")
            return
        super().check(tokens)
        if self.n_tokens is not None and tokens.max() >= self.n_tokens:
            raise ValueError(
                f"likelihood='categorical': X must have tokens from 0 to {self.n_tokens - 1}, got {tokens.max():.6g}; "
                "set Categorical(n_categories=...) in fit to allow more."
            )

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if self.n_tokens is not None and not is_count(self.n_tokens):
            raise ValueError(f"Tokens: n_tokens must be None or an integer of 1 or more, got {self.n_tokens!r}.")
        if not isinstance(self.may_end, bool):
            raise ValueError(f"Tokens: may_end must be True or False, got {self.may_end!r}.")

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if the number of tokens is not known."""
        if self.n_tokens is None:
            raise ValueError("Tokens: n_tokens is None, which fit would have filled in.")

    def resolve(self, X: np.ndarray) -> "Tokens":
        """With the number of tokens."""
        return self if self.n_tokens is not None else Tokens(int(np.nanmax(X)) + 1, may_end=self.may_end)

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Refuse input noise, which is not defined for tokens."""
        if is_noisy:
            raise ValueError("noise cannot be combined with sequences of tokens; set noise=0.")

    def string_hint(self) -> str:
        """Advice how to turn strings into rows of tokens."""
        return "Use Vocabulary to turn strings into token numbers: make_pipeline(Vocabulary(), ...)."

    @property
    def n_outcomes(self) -> int:
        """Number of outcomes of a step: tokens, and the end."""
        assert self.n_tokens is not None, "resolve must be called first"
        return self.n_tokens + self.may_end

    def shares(self, rows: Tensor) -> np.ndarray:
        """Relative frequency of each outcome in these rows."""
        counts = torch.bincount(rows[~rows.isnan()].long(), minlength=self.n_outcomes).double()
        if self.may_end:
            counts[-1] += rows.isnan().any(1).sum()
        return (counts / counts.sum()).numpy()

    def log_prob(self, raw: AutoregressiveOutput, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over its tokens and its end."""
        return raw.log_prob(x)

    def error(self, raw: AutoregressiveOutput, x: Tensor, weight: Tensor) -> Tensor:
        """Number of tokens of each row that are not the most probable ones, given the tokens before them."""
        return raw.n_wrong(x)

    def mean(self, raw: AutoregressiveOutput) -> Tensor:
        """At each step the most probable token, given the decoded tokens before it."""
        return raw.most_probable()

    def draw(self, raw: AutoregressiveOutput, generator: torch.Generator) -> Tensor:
        """Draw tokens one after the other."""
        return raw.draw(generator)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the outcomes' shares, which count as one in a million at least."""
        return np.log(mean.clip(1e-6))
