"""What every likelihood answers.

A likelihood reads ``raw``, what the decoder returns, and ``x``, the rows. It knows nothing of networks or training;
what it has to learn (a noise variance) is a small module, its ``head``, that ends the decoder. Nobody asks a likelihood
for its class: whatever depends on it is one of the attributes and methods here.

A likelihood of your own says ``check``, ``log_prob``, ``mean``, ``draw`` and ``initial_bias``; for real values also
``is_scaled``, and, where it has a scale or other parameters of noise, ``n_outputs`` or ``make_head``.
"""

from abc import ABCMeta, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn


class Likelihood(BaseEstimator, metaclass=ABCMeta):
    """What every likelihood answers; the defaults suit those with one output a feature and no unit of length."""

    #: Whether values may be negative.
    takes_negative = False

    #: Whether an encoder reads only values that ``fit`` knew, such as categories.
    knows_values = False

    #: Whether values have distances and a mean, which categories have not.
    has_mean = True

    #: Whether rows are sequences, read one value after the other, whose end is an outcome that the likelihood knows.
    is_sequential = False

    #: Whether cells may be missing (NaN), see :meth:`without_missing`.
    may_be_missing = False

    #: Whether probabilistic PCA or factor analysis is the linear model of this likelihood, and PCA its autoencoder.
    has_linear_model = False

    #: Whether noise has a scale for each feature, so that a density does not depend on the features' units.
    scales_by_feature = False

    # -- rows

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that rows of this likelihood cannot have."""

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range, whatever the rows."""

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if what is left to the training rows is not filled in, for rows of so many features."""

    def check_scored(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that can be trained on but have no probability."""
        self.check(X)

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Raise ``ValueError`` for parameters without effect: in a model without a density, or with input noise."""

    def is_scaled(self, n_features: int) -> np.ndarray:
        """Which columns are centred and scaled before the network, and scaled back behind it; bool, (n_features,)."""
        return np.zeros(n_features, dtype=bool)

    def fitted_to(self, X: np.ndarray) -> Self:
        """This likelihood, with what is left to the training rows filled in."""
        return self

    def of_sequences(self, *, may_end: bool) -> "Likelihood":
        """The likelihood of rows that are sequences of such values, where an architecture reads them as such."""
        return self

    def for_start(self, *, is_linear: bool, may_end_early: bool) -> "Likelihood":
        """This likelihood with what is ``"auto"`` resolved by where training starts, and whether series end early."""
        return self

    def string_hint(self) -> str | None:
        """How strings become rows of this likelihood, if there is a way."""
        return None

    # -- sizes and inputs

    def n_inputs(self, n_features: int) -> int:
        """Number of columns that the encoder reads."""
        return n_features

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """Number of columns that the decoder owes; ``noise``: also for how rows vary around their mean."""
        return n_features

    def encoder_input(self, x: Tensor) -> Tensor:
        """The rows as numbers that an encoder can read, before they are centred and scaled."""
        return x

    def input_range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest number that an encoder reads in each column; ``low`` and ``high`` are of training rows."""
        return low, high

    # -- the start of training

    def make_head(self, n_features: int) -> nn.Module:
        """What ends the decoder of a model that draws: it turns the decoder's columns into ``raw``."""
        return nn.Identity()

    @abstractmethod
    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """The decoder output that says "every row is the training mean"; what is left out of it begins at zero."""

    def start_noise(self, head: nn.Module, variance: np.ndarray, scale: np.ndarray) -> None:
        """Let the head begin with noise of this variance; ``scale`` is that of the columns, in units of ``X``."""

    # -- what rows are, given the decoder's output

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What a training step is to explain: the rows, or a draw that they stand for."""
        return x

    @abstractmethod
    def log_prob(self, raw: Any, x: Tensor) -> Tensor:
        """Log-probability of each row given the decoder's output; ``(..., n, d) -> (..., n)``."""

    def without_missing(self, raw: Any, x: Tensor) -> tuple[Any, Tensor]:
        """Output and rows in which missing cells (NaN) are such that they add nothing to a score."""
        raise ValueError(f"likelihood={self!r} does not take rows with missing cells.")

    def reconstruction_score(self, raw: Any, x: Tensor) -> Tensor:
        """What a deterministic autoencoder maximises; of shape ``(..., n)``, higher is better."""
        return self.log_prob(raw, x)

    def unscaled_score(self, score: np.ndarray, scale: float, n_scaled: np.ndarray | int) -> np.ndarray:
        """A ``reconstruction_score`` in the units of rows of which ``n_scaled`` cells were divided by ``scale``."""
        return score - n_scaled * np.log(scale)

    def error(self, raw: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Squared error of each row, of cells in units of 1 / ``weight``, summed; missing cells have none."""
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
        """A row drawn for each output of the decoder."""

    def total_count(self, x: Tensor) -> Tensor | float:
        """What ``mean`` is to be multiplied by to stand beside the row ``x``."""
        return 1.0
