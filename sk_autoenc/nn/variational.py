"""The container of a variational autoencoder: a posterior of each row's code, draws from it, their log-densities."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.autoencoder import AutoencoderOutput, Standardize, decode_like

#: Logarithms of the least and the greatest standard deviation of a posterior.
LEAST, GREATEST = -8.0, 3.0


class Posterior(NamedTuple):
    """A normal distribution of each row's code, with independent components."""

    mean: Tensor  # (batch, n_components)
    log_scale: Tensor  # (batch, n_components)

    def at(self, noise: Tensor) -> Tensor:
        """Codes for standard normal noise of shape (..., batch, n_components)."""
        return self.mean + self.log_scale.exp() * noise

    def log_prob(self, noise: Tensor) -> Tensor:
        """Log-density of the codes :meth:`at` the noise; of shape (..., batch)."""
        return normal_log_prob(noise) - self.log_scale.sum(-1)

    def kl_from_normal(self) -> Tensor:
        """KL divergence to the standard normal distribution, by component; of shape (batch, n_components)."""
        log_variance = 2 * self.log_scale
        return 0.5 * (self.mean * self.mean + (log_variance.expm1() - log_variance))


class VariationalOutput(NamedTuple):
    """What a training step reads; leading axes are draws per row, where there are several."""

    posterior: Posterior
    log_likelihood: Tensor  # (..., batch): log p(x | z)
    log_ratio: Tensor | None  # (..., batch): log p(z) - log q(z | x); None where the KL is known in closed form


class LatentVariableModel(nn.Module):
    """Encoder, decoder, noise and prior of a model whose codes follow a prior.

    Parameters
    ----------
    encoder, decoder : nn.Module
        ``(batch, n_inputs) -> (batch, 2 * n_components)``, means and log-scales of the posterior;
        ``(..., n_components) -> (..., n_outputs)``.
    likelihood : Likelihood
        Its head ends the decoder; it gives the log-probability of rows.
    n_features : int
        Number of columns of a row.
    prior : object with log_prob or None
        Log-density of codes; None is the standard normal.
    standardize : Standardize or None
        Brings rows to the encoder's scale, when they do not come in it.
    missing_cells : bool
        Whether cells may be missing in rows (NaN), which then add nothing to a row's log-probability.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Any,
        n_features: int,
        prior: Any = None,
        standardize: Standardize | None = None,
        missing_cells: bool = False,
    ):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, likelihood.make_head(n_features)
        self.likelihood, self.prior = likelihood, prior
        self.standardize, self.missing_cells = standardize, missing_cells

    def encoder_input(self, x: Tensor) -> Tensor:
        """The rows in the scale in which the encoder reads them."""
        return x if self.standardize is None else self.standardize(x)

    def posterior(self, x: Tensor) -> Posterior:
        """The distribution of each row's code."""
        mean, log_scale = self.encoder(self.encoder_input(x)).chunk(2, -1)
        return Posterior(mean, F.hardtanh(log_scale, LEAST, GREATEST))

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x).mean

    def observe(self, code: Tensor, x: Tensor | None = None) -> Any:
        """What rows with these codes are like, noise included: for ``log_prob`` and ``draw`` of the likelihood.

        ``x``: the rows that are to be compared with it, where these are known.
        """
        return self.head(decode_like(self.decoder, code, x))

    def decode(self, code: Tensor) -> Tensor:
        """Where rows with these codes lie: for ``mean`` of the likelihood."""
        return self.likelihood.location(self.observe(code))

    def log_likelihood(self, code: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each row given its code; of shape (..., batch)."""
        raw = self.observe(code, x)
        if self.missing_cells:
            raw, x = self.likelihood.without_missing(raw, x)
        return self.likelihood.log_prob(raw, x)


class VariationalAutoencoder(LatentVariableModel):
    """With a generator it draws codes from the posterior, without one nothing is random."""

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, *, n_draws: int = 1, prior: Any = None
    ) -> tuple:
        """What a step reads, from ``n_draws`` codes of each row; without a generator the mean code and its row.

        ``prior`` takes the place of the module's own.
        """
        if generator is None:
            code = self.encode(x)
            return AutoencoderOutput(code, self.decode(code), None)
        prior = self.prior if prior is None else prior
        x = self.likelihood.target(x, generator)
        posterior = self.posterior(x)
        shape = posterior.mean.shape if n_draws == 1 else (n_draws, *posterior.mean.shape)
        noise = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        code = posterior.at(noise)
        log_likelihood = self.log_likelihood(code, x)
        if n_draws == 1 and prior is None:
            return VariationalOutput(posterior, log_likelihood, None)
        log_prior = normal_log_prob(code) if prior is None else prior.log_prob(code)
        return VariationalOutput(posterior, log_likelihood, log_prior - posterior.log_prob(noise))


def normal_log_prob(code: Tensor) -> Tensor:
    """Log-density of the standard normal distribution; ``(..., n_components) -> (...)``."""
    return -0.5 * (code.square().sum(-1) + code.shape[-1] * math.log(2 * math.pi))
