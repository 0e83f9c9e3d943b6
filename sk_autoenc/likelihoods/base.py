"""What every likelihood answers.

A likelihood reads ``raw``, what the decoder returns, and ``x``, the rows. It knows nothing of networks or
training; what it has to learn (a noise variance) is a small module, its ``head``, that ends the decoder.
"""

from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn


class Likelihood(BaseEstimator, metaclass=ABCMeta):
    """What every likelihood answers; the defaults suit those with one output a feature and no unit of length."""

    #: Whether rows are centred and scaled before the network and its output is scaled back.
    scales_rows = False

    #: Whether an encoder reads rows as numbers, which have a centre and a scale.
    reads_numbers = True

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that rows of this likelihood cannot have."""

    def check_scored(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that can be trained on but have no probability."""
        self.check(X)

    def fitted_to(self, X: np.ndarray) -> "Likelihood":
        """This likelihood, with what is left to the training rows filled in."""
        return self

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

    def make_head(self, n_features: int) -> nn.Module:
        """What ends the decoder of a model that draws: it turns the decoder's columns into ``raw``."""
        return nn.Identity()

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What a training step is to explain: the rows, or a draw that they stand for."""
        return x

    @abstractmethod
    def log_prob(self, raw: Any, x: Tensor) -> Tensor:
        """Log-probability of each row given the decoder's output; ``(..., n, d) -> (..., n)``."""

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """What a deterministic autoencoder maximises; of shape ``(..., n)``, higher is better."""
        return self.log_prob(raw, x)

    def location(self, raw: Any) -> Tensor:
        """The part of ``raw`` that :meth:`mean` reads."""
        return raw

    @abstractmethod
    def mean(self, raw: Any) -> Tensor:
        """Expected row for the decoder's output."""

    @abstractmethod
    def draw(self, raw: Any, generator: torch.Generator) -> Tensor:
        """A row drawn for each output of the decoder."""

    def row_size(self, x: Tensor) -> Tensor | float:
        """What ``mean`` is to be multiplied by to stand beside the row ``x``."""
        return 1.0

    @abstractmethod
    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The output that says "every row is the training mean": where the decoder's bias starts."""


def present(mean: Tensor, x: Tensor) -> Tensor:
    """The rows with the mean where cells are missing (NaN): these add nothing to a squared error."""
    return torch.where(x.isnan(), mean, x)
