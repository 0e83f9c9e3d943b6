"""The noise of gaussian and Student-t likelihoods: a module that ends the decoder, and its output."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH


class NoiseOutput(NamedTuple):
    """The distribution of each row: its location, and its noise.

    ``whitener @ ((x - location) / exp(log_scale)) / exp(log_axes)`` has independent entries of scale 1: standard normal
    ones, or, with finite ``degrees``, entries of Student's t distribution. ``whitener`` is lower triangular, or None
    for noise without correlations. ``log_axes`` is None if the axes of the noise have the same scales in all rows.
    """

    location: Tensor  # (..., n, n_features)
    log_scale: Tensor  # (..., n, n_features), or (n_features,) if all rows share it
    whitener: Tensor | None  # (n_features, n_features)
    degrees: Tensor = torch.tensor(math.inf)  # () or (n_features,): degrees of freedom
    log_axes: Tensor | None = None  # (..., n, n_features)

    def cpu(self) -> "NoiseOutput":
        """The same on the CPU."""
        return self._replace(**{name: part.cpu() for name, part in self._asdict().items() if part is not None})

    def without_missing(self, x: Tensor) -> tuple["NoiseOutput", Tensor]:
        """Output and rows in which missing cells (NaN) have density 1; for noise without correlations."""
        missing = x.isnan()
        log_scale = torch.where(missing, student_log_normalizer(self.degrees), self.log_scale)
        return self._replace(log_scale=log_scale), torch.where(missing, self.location, x)

    def whiten(self, x: Tensor) -> Tensor:
        """The rows as noise of scale 1."""
        white = (x - self.location) * (-self.log_scale).exp()
        if self.whitener is not None:
            # Padded, so that a row's result does not depend on its position.
            spare = -len(self.whitener) % ALIGNED_WIDTH
            white = F.linear(white, F.pad(self.whitener, (0, 0, 0, spare)))[..., : len(self.whitener)]
        return white if self.log_axes is None else white * (-self.log_axes).exp()

    def color(self, noise: Tensor) -> Tensor:
        """Noise of scale 1 as rows: the inverse of ``whiten``."""
        if self.log_axes is not None:
            noise = noise * self.log_axes.exp()
        if self.whitener is not None:
            flat = noise.reshape(-1, noise.shape[-1])
            noise = torch.linalg.solve_triangular(self.whitener, flat.T, upper=False).T.reshape(noise.shape)
        return self.location + noise * self.log_scale.exp()

    def log_det(self) -> Tensor:
        """Logarithm of the determinant of ``color``; of shape (..., n) or ()."""
        log_det = self.log_scale.sum(-1)
        if self.log_axes is not None:
            log_det = log_det + self.log_axes.sum(-1)
        return log_det if self.whitener is None else log_det - self.whitener.diagonal().log().sum()


class GaussianNoise(nn.Module):
    """The noise around the decoder's mean, parametrised by its change since the start of training.

    Parameters
    ----------
    n_features : int
        Number of columns of a row.
    variance : {"row", "feature", "shared"} or float
        Whether each cell of a row, each feature, or no feature has its own variance; a float is a fixed variance.
    correlated : bool
        Whether the noise of features may be correlated.
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

    @property
    def is_correlated(self) -> bool:
        """Whether the noise of features may be correlated."""
        return self.mixing is not None

    def forward(self, out: Tensor) -> NoiseOutput:
        if self.variance == "row":
            location, *changes = out.split(self.n_features, -1)
        else:
            location, changes = out, [out.new_zeros(1) if self.change is None else self.change]
        # As clamp, but its backward pass is one operation instead of five.
        log_scale, *log_axes = (F.hardtanh(change, self.LEAST, self.GREATEST) for change in changes)
        if self.mixing is None:
            return NoiseOutput(location, log_scale - self.start.log(), None)
        whitener = self.start + self.mixing.tril(-1) @ self.start
        return NoiseOutput(location, log_scale, whitener, log_axes=log_axes[0] if log_axes else None)

    def set(self, whitener: Tensor) -> None:
        """Set normal noise by the inverse Cholesky factor of its covariance, or by inverse standard deviations."""
        self.start.copy_(whitener)
        for parameter in (self.change, self.mixing):
            if parameter is not None:
                parameter.zero_()

    def init_tails(self) -> None:
        """Set the tails at the start of training; normal noise has none to set."""


class StudentNoise(GaussianNoise):
    """Noise with learned tails: Student's t distribution along each axis of the whitened noise.

    Normal noise is the limit of many degrees of freedom, where their gradient vanishes.
    """

    #: Least and greatest logarithm of the degrees of freedom minus 1; the latter is normal noise in float32.
    HEAVIEST, NORMAL = -3.0, 30.0

    #: Degrees of freedom at the start of training: tails are close to normal, but have a gradient.
    AT_START = 30.0

    def __init__(self, n_features: int, variance: str | float, correlated: bool):
        super().__init__(n_features, variance, correlated)
        self.tails = nn.Parameter(torch.full((n_features,), self.NORMAL))

    def forward(self, out: Tensor) -> NoiseOutput:
        degrees = 1 + self.tails.clamp(self.HEAVIEST, self.NORMAL).exp()
        return super().forward(out)._replace(degrees=degrees)

    def set(self, whitener: Tensor) -> None:
        super().set(whitener)
        self.tails.fill_(self.NORMAL)

    @torch.no_grad()
    def init_tails(self) -> None:
        """Set the tails and keep the variance. A scale that the user has set is not changed."""
        self.tails.fill_(math.log(self.AT_START - 1))
        if isinstance(self.variance, str):
            self.start *= math.sqrt(self.AT_START / (self.AT_START - 2))


def student_log_prob(noise: Tensor, degrees: Tensor) -> Tensor:
    """Log-density of Student's t distribution of scale 1, elementwise; accurate for all degrees of freedom."""
    return student_log_normalizer(degrees) - 0.5 * (degrees + 1) * torch.log1p(noise.square() / degrees)


def student_log_normalizer(degrees: Tensor) -> Tensor:
    r"""Logarithm of :math:`\Gamma(x + 1/2) / (\Gamma(x) \sqrt{2 \pi x})` with x half the degrees of freedom.

    The difference of two ``lgamma`` would lose all digits for large x. So x is raised by 3 by the recurrence of the
    gamma function, after which Stirling's series is accurate in float32. Every term vanishes in the limit.
    """
    x = degrees / 2
    recurrence = sum(torch.log1p(-0.5 / (x + (step + 0.5))) for step in range(3))
    y = 1 / (x + 3)
    series = y * (-1 / 8 + y**2 * (1 / 192 + y**2 * (-1 / 640 + y**2 * (17 / 14336))))
    return recurrence + 0.5 * torch.log1p(3 / x) + series - 0.5 * math.log(2 * math.pi)


def draw_student(shape: torch.Size, degrees: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of Student's t distribution of scale 1, by Bailey's form of the Box-Muller method, float64.

    torch's sampler draws gamma variates, which take no generator (Bailey 1994, https://doi.org/10.2307/2153537).
    """
    u, v = (torch.rand(shape, generator=generator, device=degrees.device, dtype=torch.float64) for _ in range(2))
    degrees = degrees.double()
    radius = (degrees * torch.expm1(-2 / degrees * torch.log1p(-u))).sqrt()
    return radius * torch.cos(2 * math.pi * v)
