"""The noise of a gaussian likelihood: a module that ends the decoder, and what it returns."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH


class GaussianOutput(NamedTuple):
    """A normal distribution of each row: where it lies, and how it varies.

    ``whitener @ (x - location) / exp(log_scale)`` is standard normal; ``whitener`` is lower triangular, or, for
    noise without correlations, its diagonal.
    """

    location: Tensor  # (..., n, n_features)
    log_scale: Tensor  # (..., n, n_features)
    whitener: Tensor  # (n_features, n_features) or (n_features,)

    def whiten(self, x: Tensor) -> Tensor:
        """The rows as standard normal noise."""
        residual, columns = x - self.location, -self.whitener.shape[0] % ALIGNED_WIDTH
        if self.whitener.ndim == 1:
            return residual * self.whitener * (-self.log_scale).exp()
        # Padded so that a row's result does not depend on where it stands among the others.
        whitened = F.linear(residual, F.pad(self.whitener, (0, 0, 0, columns)))[..., : len(self.whitener)]
        return whitened * (-self.log_scale).exp()

    def color(self, noise: Tensor) -> Tensor:
        """Standard normal noise as rows: the inverse of ``whiten``."""
        scaled = noise * self.log_scale.exp()
        if self.whitener.ndim == 1:
            return self.location + scaled / self.whitener
        flat = scaled.reshape(-1, scaled.shape[-1])
        solved = torch.linalg.solve_triangular(self.whitener, flat.T, upper=False).T
        return self.location + solved.reshape(scaled.shape)

    def log_det(self) -> Tensor:
        """Logarithm of the density's normalising determinant; of shape (..., n)."""
        diagonal = self.whitener if self.whitener.ndim == 1 else self.whitener.diagonal()
        return diagonal.log().sum() - self.log_scale.sum(-1)


class GaussianNoise(nn.Module):
    """The noise around the decoder's mean, as a change of the noise at the start of training.

    Parameters
    ----------
    n_features : int
        Number of columns of a row.
    variance : {"row", "feature", "shared"} or float
        What has a variance of its own; a float is the variance of all.
    correlated : bool
        Whether the noise of a feature may go along with that of others.
    """

    start: Tensor

    #: Logarithms of the least and the greatest change of a standard deviation.
    LEAST, GREATEST = -7.0, 4.0

    def __init__(self, n_features: int, variance: str | float, correlated: bool):
        super().__init__()
        self.n_features, self.variance = n_features, variance
        size = {"feature": n_features, "shared": 1}.get(variance, 0) if isinstance(variance, str) else 0
        self.change = nn.Parameter(torch.zeros(size)) if size else None
        self.mixing = nn.Parameter(torch.zeros(n_features, n_features)) if correlated else None
        self.register_buffer("start", torch.ones((n_features,) * (2 if correlated else 1)))

    def forward(self, out: Tensor) -> GaussianOutput:
        location, change = out[..., : self.n_features], out[..., self.n_features :]
        if self.variance != "row":
            change = torch.zeros_like(location) if self.change is None else self.change.expand_as(location)
        whitener = self.start
        if self.mixing is not None:
            whitener = whitener + self.mixing.tril(-1) @ whitener
        return GaussianOutput(location, change.clamp(self.LEAST, self.GREATEST), whitener)

    def set(self, whitener: Tensor) -> None:
        """Start at this noise: the inverse Cholesky factor of its covariance, or inverse standard deviations."""
        self.start.copy_(whitener)
        for parameter in (self.change, self.mixing):
            if parameter is not None:
                parameter.zero_()
