"""The container of a variational autoencoder: posteriors of codes, draws from them, and their log-densities."""

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
    """The output of a training step's forward pass; leading axes are draws per row, if there are several."""

    posterior: Posterior
    log_likelihood: Tensor  # (..., batch): log p(x | z)
    log_ratio: Tensor | None  # (..., batch): log p(z) - log q(z | x); None if the KL has a closed form


class LatentVariableModel(nn.Module):
    """Encoder, decoder, noise and prior of a generative model.

    Parameters
    ----------
    encoder, decoder : nn.Module
        ``(batch, n_inputs) -> (batch, 2 * n_components)``, means and log-scales of the posterior;
        ``(..., n_components) -> (..., n_outputs)``.
    likelihood : Likelihood
        Gives the log-probability of rows; its head ends the decoder.
    n_features : int
        Number of columns of a row.
    prior : object with log_prob or None
        Log-density of codes; None is the standard normal.
    standardize : Standardize or None
        Standardises the encoder's input; None if rows are scaled before the network.
    missing_cells : bool
        Whether cells of rows may be missing (NaN). These add nothing to a row's log-probability.
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
        """The standardised rows, which the encoder reads."""
        return x if self.standardize is None else self.standardize(x)

    def posterior(self, x: Tensor) -> Posterior:
        """The distribution of each row's code."""
        mean, log_scale = self.encoder(self.encoder_input(x)).chunk(2, -1)
        return Posterior(mean, F.hardtanh(log_scale, LEAST, GREATEST))

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x).mean

    def observe(self, code: Tensor, x: Tensor | None = None) -> Any:
        """The distribution of rows with these codes, for ``log_prob`` and ``draw`` of the likelihood.

        ``x``: the encoded rows, if there are any.
        """
        return self.head(decode_like(self.decoder, code, x))

    def decode(self, code: Tensor) -> Tensor:
        """The location of rows with these codes, for ``mean`` of the likelihood."""
        return self.likelihood.location(self.observe(code))

    def log_likelihood(self, code: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each row given its code; of shape (..., batch)."""
        raw = self.observe(code, x)
        if self.missing_cells:
            raw, x = self.likelihood.without_missing(raw, x)
        return self.likelihood.log_prob(raw, x)


class VariationalAutoencoder(LatentVariableModel):
    """With a generator, codes are drawn from the posterior; without one nothing is random."""

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, *, n_draws: int = 1, prior: Any = None
    ) -> tuple:
        """The output for ``n_draws`` codes of each row; without a generator, the mean code and its decoded row.

        ``prior`` replaces the module's prior.
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
