"""Priors of codes: normal, uniform, a mixture of normals, a Swiss roll.

A prior has ``sample(n, generator)``, which returns a tensor of shape (n, n_components) on the generator's device. For
models with a density it also has ``log_prob(code)``. Any object with these methods can be a prior.
"""

import copy
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.nn.variational import normal_log_prob
from sk_autoenc.storage import MOST_CELLS, by_params

#: Least number of codes of each distribution of a fitted mixture, divided by the number of dimensions plus one.
_LEAST_SHARE = 2


@by_params(check=lambda prior: prior._check())
class NormalPrior(BaseEstimator):
    """Independent normal components around zero.

    Parameters
    ----------
    scale : float, default=1.0
        Their standard deviation, above 0.
    n_components : int or None, default=None
        Length of a code; None takes the model's.

    Examples
    --------
    >>> import torch
    >>> from sk_autoenc import NormalPrior
    >>> NormalPrior(5.0, n_components=2).sample(3, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """

    def __init__(self, scale: float = 1.0, *, n_components: int | None = None):
        self.scale = scale
        self.n_components = n_components

    def _check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if not _is_number(self.scale) or self.scale <= 0:
            raise ValueError(f"NormalPrior: scale must be a number above 0, got {self.scale!r}.")
        _check_length(self)

    @cpu_by_default()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` codes; shape (n, n_components)."""
        return self.scale * _randn(n, _known(self), generator)

    def log_prob(self, code: Tensor) -> Tensor:
        """Log-density; ``(..., n_components) -> (...)``."""
        return normal_log_prob(code / self.scale) - code.shape[-1] * math.log(self.scale)


@by_params(check=lambda prior: prior._check())
class UniformPrior(BaseEstimator):
    """Independent components, uniform between two bounds.

    Parameters
    ----------
    low : float, default=-1.0
        The lower bound.
    high : float, default=1.0
        The upper bound, above ``low``.
    n_components : int or None, default=None
        Length of a code; None takes the model's.

    Examples
    --------
    >>> import torch
    >>> from sk_autoenc import UniformPrior
    >>> UniformPrior(n_components=2).log_prob(torch.zeros(1, 2)).exp().item()
    0.25
    """

    def __init__(self, low: float = -1.0, high: float = 1.0, *, n_components: int | None = None):
        self.low = low
        self.high = high
        self.n_components = n_components

    def _check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if not _is_number(self.low) or not _is_number(self.high) or self.low >= self.high:
            raise ValueError(
                "UniformPrior: low and high must be numbers with low < high, "
                f"got low={self.low!r} and high={self.high!r}."
            )
        _check_length(self)

    @cpu_by_default()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` codes; shape (n, n_components)."""
        uniform = torch.rand(n, _known(self), dtype=torch.float32, generator=generator, device=generator.device)
        return self.low + (self.high - self.low) * uniform

    def log_prob(self, code: Tensor) -> Tensor:
        """Log-density, minus infinity beyond the bounds; ``(..., n_components) -> (...)``."""
        inside = ((code >= self.low) & (code <= self.high)).all(-1)
        density = code.new_tensor(-code.shape[-1] * math.log(self.high - self.low))
        return torch.where(inside, density, -math.inf)


@by_params(check=lambda prior: prior._check())
class GaussianMixturePrior(BaseEstimator):
    """A mixture of normal distributions.

    ``VAETransformer`` fits such a mixture to the codes of the training rows, unless the standard normal is as good.

    Parameters
    ----------
    means : array-like of shape (n_clusters, n_components)
        Means of the distributions.
    covariances : array-like of shape (n_clusters, n_components, n_components) or float, default=1.0
        Their covariance matrices; a number is the variance of all components.
    weights : array-like of shape (n_clusters,) or None, default=None
        Their shares; None makes them equal.

    Examples
    --------
    >>> import torch
    >>> from sk_autoenc import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[-3.0, 0.0], [3.0, 0.0]], covariances=0.25)
    >>> prior.sample(5, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2])
    """

    def __init__(self, means, covariances=1.0, *, weights=None):
        self.means = means
        self.covariances = covariances
        self.weights = weights

    @classmethod
    def pinwheel(cls, n_clusters: int = 10, *, radius: float = 2.5) -> "GaussianMixturePrior":
        """A pinwheel of long and narrow normal distributions around the origin; two components.

        Parameters
        ----------
        n_clusters : int, default=10
            Number of distributions.
        radius : float, default=2.5
            Distance of their means from the origin.

        Returns
        -------
        GaussianMixturePrior
            The prior of Makhzani et al. (2015), figure 3, up to its proportions.
        """
        angle = 2 * np.pi * np.arange(n_clusters) / n_clusters
        along = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (n_clusters, 2)
        across = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        length, width = radius / 4, radius * np.pi / n_clusters / 5
        covariances = length**2 * along[:, :, None] * along[:, None] + width**2 * across[:, :, None] * across[:, None]
        return cls(radius * along, covariances)

    @property
    def n_components(self) -> int:
        """Length of a code."""
        self._check_means()
        return np.shape(self.means)[1]

    def _check_means(self) -> None:
        means = np.asarray(self.means)
        if means.ndim != 2 or 0 in means.shape or not _are_numbers(means):
            raise ValueError(
                f"GaussianMixturePrior: means must be numbers of shape (n_clusters, n_components), got {self.means!r}."
            )

    def _check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_means()
        n_clusters, n_components = np.shape(self.means)
        covariances, wanted = np.asarray(self.covariances), (n_clusters, n_components, n_components)
        if covariances.shape not in ((), wanted) or not _are_numbers(covariances):
            raise ValueError(
                f"GaussianMixturePrior: covariances must be one number, or numbers of shape {wanted}, "
                f"got {self.covariances!r}."
            )
        if n_clusters * n_components**2 > MOST_CELLS:
            raise ValueError(
                f"GaussianMixturePrior: {n_clusters} covariance matrices of codes of length {n_components} have more "
                f"than {MOST_CELLS} numbers."
            )
        if covariances.ndim and not np.allclose(covariances, np.swapaxes(covariances, 1, 2)):
            raise ValueError(f"GaussianMixturePrior: covariances must be symmetric, got {self.covariances!r}.")
        weights = np.ones(n_clusters) if self.weights is None else np.asarray(self.weights)
        in_range = weights.shape == (n_clusters,) and _are_numbers(weights) and (weights >= 0).all()
        if not in_range or weights.sum() == 0:
            raise ValueError(
                f"GaussianMixturePrior: weights must be {n_clusters} numbers of 0 or more with a sum above 0, "
                f"got {self.weights!r}."
            )
        try:
            self._parts()
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"GaussianMixturePrior: covariances must be positive definite, got {self.covariances!r}."
            ) from error

    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means, and Cholesky factors of the covariances."""
        means = np.asarray(self.means, dtype=float)
        n_clusters, n_components = means.shape
        covariances = np.asarray(self.covariances, dtype=float)
        if covariances.ndim == 0:
            covariances = np.broadcast_to(covariances * np.eye(n_components), (n_clusters, n_components, n_components))
        weights = np.ones(n_clusters) if self.weights is None else np.asarray(self.weights, dtype=float)
        return weights / weights.sum(), means, np.linalg.cholesky(covariances)

    @cpu_by_default()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` codes; shape (n, n_components)."""
        weights, means, factors = (torch.from_numpy(part).float().to(generator.device) for part in self._parts())
        cluster = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = _randn(n, means.shape[1], generator)
        return means[cluster] + (factors[cluster] @ noise[:, :, None])[:, :, 0]

    def responsibilities(self, code: np.ndarray) -> np.ndarray:
        """Probability of each distribution given a code, ``(n, n_components) -> (n, n_clusters)``, float64."""
        weights, means, factors = self._parts()
        logs = np.empty((len(code), len(weights)))
        for cluster, (weight, mean, factor) in enumerate(zip(weights, means, factors, strict=True)):
            # No matrix product: its last bits would depend on where a row stands.
            white = ((code - mean)[:, None, :] * np.linalg.inv(factor)).sum(2)
            logs[:, cluster] = np.log(weight) - np.log(factor.diagonal()).sum() - 0.5 * np.square(white).sum(1)
        return softmax(logs, axis=1)

    def log_prob(self, code: Tensor) -> Tensor:
        """Log-density; ``(..., n_components) -> (...)``."""
        weights, means, factors = self._parts()
        n_clusters, n_components = means.shape
        whiteners = np.linalg.inv(factors)  # (n_clusters, n_components, n_components)
        log_det = np.log(np.diagonal(whiteners, axis1=1, axis2=2)).sum(axis=1)
        matrix = torch.from_numpy(whiteners.reshape(-1, n_components)).to(code)
        shift = torch.from_numpy(np.einsum("cij,cj->ci", whiteners, means).ravel()).to(code)
        # Padded, so that a code's density does not depend on its position.
        spare = -len(matrix) % ALIGNED_WIDTH
        whitened = F.linear(code, F.pad(matrix, (0, 0, 0, spare)))[..., : len(matrix)] - shift
        parts = normal_log_prob(whitened.unflatten(-1, (n_clusters, n_components)))  # (..., n_clusters)
        with np.errstate(divide="ignore"):  # a weight may be 0
            log_weights = np.log(weights)
        return (parts + torch.from_numpy(log_weights + log_det).to(code)).logsumexp(-1)


@by_params(check=lambda prior: prior._check())
class SwissRollPrior(BaseEstimator):
    """A spiral in two dimensions. It has no ``log_prob``, so models with a density cannot use it.

    Parameters
    ----------
    scale : float, default=2.5
        Radius of its outer end.
    noise : float, default=0.05
        Standard deviation around the line.

    Examples
    --------
    >>> import torch
    >>> from sk_autoenc import SwissRollPrior
    >>> SwissRollPrior().sample(3, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """

    n_components = 2

    def __init__(self, scale: float = 2.5, *, noise: float = 0.05):
        self.scale = scale
        self.noise = noise

    def _check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if not _is_number(self.scale) or self.scale <= 0:
            raise ValueError(f"SwissRollPrior: scale must be a number above 0, got {self.scale!r}.")
        if not _is_number(self.noise) or self.noise < 0:
            raise ValueError(f"SwissRollPrior: noise must be a number of 0 or more, got {self.noise!r}.")

    @cpu_by_default()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` codes; shape (n, 2)."""
        device = generator.device
        # The root gives equally many draws on each stretch of the line.
        share = torch.rand(n, dtype=torch.float32, generator=generator, device=device).sqrt()
        angle = 3 * math.pi * share
        line = self.scale * share[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return line + self.noise * _randn(n, 2, generator)


def fitted_mixture(codes: np.ndarray, n_clusters: Sequence[int], seed: int) -> GaussianMixturePrior | None:
    """The mixture that fits codes best by Akaike's corrected criterion; None if the standard normal is as good.

    The criterion (Hurvich & Tsai 1989, https://doi.org/10.1093/biomet/76.2.297) estimates the log-density of new codes.
    Mixtures with a distribution of few codes are left out, because its covariance would be random, or singular.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Draws from the posteriors of the training rows.
    n_clusters : sequence of int
        Numbers of distributions to try, in ascending order.
    seed : int
        Seeds their starts.
    """
    codes = codes.astype(np.float64)  # mixtures compute in the dtype of their rows
    n, n_components = codes.shape
    # The standard normal has no parameters.
    least, best = -2 * normal_log_prob(torch.from_numpy(codes)).sum().item(), None
    for size in n_clusters:
        n_parameters = size * (1 + n_components + n_components * (n_components + 1) // 2) - 1
        if n_parameters >= n - 1:
            break
        with config_context(array_api_dispatch=False):  # with it, mixtures do not start at k-means
            mixture = GaussianMixture(size, reg_covar=1e-4, random_state=seed).fit(codes)
        criterion = 2 * n_parameters * n / (n - n_parameters - 1) - 2 * n * mixture.score(codes)
        if criterion < least and mixture.weights_.min() * n >= _LEAST_SHARE * (n_components + 1):
            least, best = criterion, mixture
    return None if best is None else GaussianMixturePrior(best.means_, best.covariances_, weights=best.weights_)


_OWN = (NormalPrior, UniformPrior, GaussianMixturePrior, SwissRollPrior)  # their parameters are checked


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _are_numbers(values: np.ndarray) -> bool:
    return values.dtype.kind in "iuf" and bool(np.isfinite(values).all())


def as_prior(prior: Any, n_components: int) -> Any:
    """A copy of the prior for codes of this length; any object with ``sample`` can be a prior."""
    if not hasattr(prior, "sample") or isinstance(
        prior, type | nn.Module | GaussianMixture | torch.distributions.Distribution
    ):
        raise ValueError(
            f"prior must be a name or an object with sample(n, generator), got {prior!r}; the sample method of classes,"
            " networks, distributions of torch and mixtures of scikit-learn differs, so write a class that calls it."
        )
    if isinstance(prior, BaseEstimator):
        prior = clone(prior)
        if isinstance(prior, _OWN):
            prior._check()
        if getattr(prior, "n_components", 0) is None:
            prior.set_params(n_components=n_components)
    else:
        prior = copy.deepcopy(prior)
    with torch.device("cpu"):  # also where a module is being built without memory
        found = tuple(prior.sample(2, torch.Generator().manual_seed(0)).shape)
    if found != (2, n_components):
        raise ValueError(
            f"prior={type(prior).__name__} must return shape {(2, n_components)} for two draws because of "
            f"n_components={n_components}, got {found}."
        )
    return prior


def _randn(n: int, n_components: int, generator: torch.Generator) -> Tensor:
    """Standard normal draws in float32, whatever torch's default dtype is."""
    return torch.randn(n, n_components, dtype=torch.float32, generator=generator, device=generator.device)


def _check_length(prior: NormalPrior | UniformPrior) -> None:
    value = prior.n_components
    if value is not None and (not isinstance(value, Integral) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{type(prior).__name__}: n_components must be None or an integer from 1 on, got {value!r}.")


def _known(prior: NormalPrior | UniformPrior) -> int:
    if prior.n_components is None:
        raise ValueError(f"{type(prior).__name__}: n_components must be an integer to draw codes, got None.")
    return prior.n_components
