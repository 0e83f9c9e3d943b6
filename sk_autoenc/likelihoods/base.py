"""The base class of likelihoods.

A likelihood reads ``raw``, the decoder's output, and ``x``, the rows. It does not depend on networks or training. Its
learned parameters, such as a noise variance, are in a small module, its ``head``, which ends the decoder. No other code
asks for the class of a likelihood: everything that depends on it is an attribute or a method of this class.

A likelihood of your own defines ``check``, ``log_prob``, ``mean``, ``draw`` and ``initial_bias``. For real values it
also defines ``is_scaled``, and, if its noise has parameters, ``n_outputs`` or ``make_head``.
"""

from abc import ABCMeta, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn


class Likelihood(BaseEstimator, metaclass=ABCMeta):
    """Base class of likelihoods; the defaults suit one output for each feature, and values without units."""

    #: Whether values may be negative.
    takes_negative = False

    #: Whether an encoder reads only values that occurred in ``fit``, such as categories.
    knows_values = False

    #: Whether values have distances and a mean. Categories do not.
    has_mean = True

    #: Whether rows are sequences, whose values depend on those before them and whose end is an outcome.
    is_sequential = False

    #: Whether cells may be missing (NaN), see :meth:`without_missing`.
    may_be_missing = False

    #: Whether probabilistic PCA or factor analysis is the linear model of this likelihood, and PCA its autoencoder.
    #: A likelihood that says so is derived from ``Gaussian``, whose noise the linear model sets.
    has_linear_model = False

    @property
    def is_batchable(self) -> bool:
        """Whether ``torch.func.vmap`` takes ``target``, ``log_prob`` and the head, as it does if none reads a value."""
        return False

    @property
    def scales_by_feature(self) -> bool:
        """Whether noise has a scale for each feature, so that models do not depend on the features' units."""
        return False

    # -- rows

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that rows of this likelihood cannot have."""

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range, whatever the rows."""

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if what is left to the training rows is not filled in, for rows of so many features."""

    def check_scored(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that are accepted in training but have no probability."""
        self.check(X)

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Raise ``ValueError`` for parameters without effect: in a model without a density, or with input noise."""

    def is_scaled(self, n_features: int) -> np.ndarray:
        """Which columns are centred and scaled before the network, and scaled back after it; bool, (n_features,)."""
        return np.zeros(n_features, dtype=bool)

    #: Whether ``resolve`` reads the rows.
    resolves_by_rows = True

    def resolve(self, X: np.ndarray) -> Self:
        """This likelihood, with parameters that are None or ``"auto"`` resolved from the training rows."""
        return self

    def counted_in(self, X: np.ndarray, *, as_sequences: bool) -> "Likelihood":
        """This likelihood with the number of categories in these rows as a parameter, if it has categories."""
        return self

    def of_sequences(self, *, may_end: bool) -> "Likelihood":
        """The likelihood of sequences of such values, for architectures that read sequences."""
        return self

    def for_start(self, *, is_linear: bool, may_end_early: bool) -> "Likelihood":
        """This likelihood with ``"auto"`` resolved by the start of training and by whether series end early."""
        return self

    def string_hint(self) -> str | None:
        """Advice how to turn strings into rows of this likelihood, or None."""
        return None

    # -- sizes and inputs

    def n_inputs(self, n_features: int) -> int:
        """Number of columns that the encoder reads."""
        return n_features

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """Number of columns of the decoder's output; ``noise``: including those for the noise around the mean."""
        return n_features

    def encoder_input(self, x: Tensor) -> Tensor:
        """The rows as numeric inputs of an encoder, before they are centred and scaled."""
        return x

    def input_range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest input of an encoder in each column; ``low`` and ``high`` are those of training rows."""
        return low, high

    # -- the start of training

    def make_head(self, n_features: int) -> nn.Module:
        """The module that ends the decoder of a generative model: it turns the decoder's columns into ``raw``."""
        return nn.Identity()

    @abstractmethod
    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """The decoder's output at which each row's mean is the training mean; missing columns begin at zero."""

    def start_noise(self, head: nn.Module, variance: np.ndarray, scale: np.ndarray) -> None:
        """Set the head to noise of this variance; ``scale`` is that of the columns, in units of ``X``."""

    # -- rows, given the decoder's output

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The target of a training step: the rows, or a draw for which they are the probabilities."""
        return x

    @abstractmethod
    def log_prob(self, raw: Any, x: Tensor) -> Tensor:
        """Log-probability of each row given the decoder's output; ``(..., n, d) -> (..., n)``."""

    def without_missing(self, raw: Any, x: Tensor) -> tuple[Any, Tensor]:
        """Output and rows in which missing cells (NaN) are replaced so that they add nothing to a score."""
        raise ValueError(f"likelihood must accept missing cells, got {self!r}, which does not.")

    def reconstruction_score(self, raw: Any, x: Tensor) -> Tensor:
        """The score that a deterministic autoencoder maximises; of shape ``(..., n)``, higher is better."""
        return self.log_prob(raw, x)

    def unscaled_score(self, score: np.ndarray, scale: float, n_scaled: np.ndarray | int) -> np.ndarray:
        """A ``reconstruction_score`` in the units of rows of which ``n_scaled`` cells were divided by ``scale``."""
        return score - n_scaled * np.log(scale)

    def error(self, raw: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Squared error of each row, cells being multiplied by ``weight``; missing cells have error 0."""
        expected = self.mean(raw) * self.total_count(x)
        return ((torch.where(x.isnan(), expected, x) - expected) * weight).square().sum(-1)

    def location(self, raw: Any) -> Tensor:
        """The part of ``raw`` that :meth:`mean` reads."""
        return raw

    @abstractmethod
    def mean(self, raw: Any) -> Tensor:
        """Expected row for the decoder's output."""

    @abstractmethod
    def draw(self, raw: Any, generator: torch.Generator) -> Tensor:
        """Draw a row for each output of the decoder."""

    def total_count(self, x: Tensor) -> Tensor | float:
        """The factor of ``mean`` that makes it comparable with the row ``x``."""
        return 1.0
