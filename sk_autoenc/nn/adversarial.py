"""The container of an adversarial autoencoder, whose critic separates codes of rows from draws of the prior."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sk_autoenc.nn.autoencoder import AutoencoderOutput
from sk_autoenc.nn.variational import LatentVariableModel, Posterior


class DrawnOutput(NamedTuple):
    """The output of a training step's forward pass."""

    target: Tensor  # (batch, n_features): the rows, or a binarised draw of them
    code: Tensor  # (batch, n_components)
    log_likelihood: Tensor  # (batch,): log p(x | code)


class AdversarialAutoencoder(LatentVariableModel):
    """Encoder, decoder and noise as in a variational autoencoder; a critic replaces the KL divergence.

    The networks read and return codes that are standardised by the mean and standard deviation of the prior.

    Parameters
    ----------
    encoder, decoder, **options
        As for :class:`LatentVariableModel`; the encoder of deterministic codes has no log-scales.
    n_components : int
        Length of a code.
    critic : nn.Module
        ``(batch, n_components) -> (batch, 1)``: log-odds that a code is a draw of the prior.
    deterministic : bool
        Whether a row has one code, or a normal distribution of codes.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        n_components: int,
        critic: nn.Module,
        deterministic: bool,
        **options: Any,
    ):
        super().__init__(encoder, decoder, **options)
        self.critic, self.deterministic = critic, deterministic
        self.register_buffer("center", torch.zeros(n_components))
        self.register_buffer("scale", torch.ones(n_components))

    def set_prior_moments(self, codes: Tensor) -> None:
        """Set mean and standard deviation of the prior from draws."""
        scale, center = torch.std_mean(codes, dim=0)
        self.center.copy_(center)
        self.scale.copy_(scale.clamp_min(1e-6))

    def posterior(self, x: Tensor) -> Posterior:
        if self.deterministic:
            mean = self.encoder(self.encoder_input(x))
            return Posterior(self.center + self.scale * mean, torch.full_like(mean, -torch.inf))
        mean, log_scale = super().posterior(x)
        return Posterior(self.center + self.scale * mean, log_scale + self.scale.log())

    def observe(self, code: Tensor, x: Tensor | None = None) -> Any:
        return super().observe(self._standardized(code), x)

    def draw_code(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A code of each row; with a normal posterior, a draw from it."""
        posterior = self.posterior(x)
        if self.deterministic:
            return posterior.mean
        noise = torch.randn(posterior.mean.shape, generator=generator, device=x.device, dtype=x.dtype)
        return posterior.at(noise)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple:
        if generator is None:
            code = self.encode(x)
            return AutoencoderOutput(code, self.decode(code), None)
        x = self.likelihood.target(x, generator)
        code = self.draw_code(x, generator)
        return DrawnOutput(x, code, self.log_likelihood(code, x))

    def log_odds(self, code: Tensor) -> Tensor:
        """The critic's log-odds that each code is a draw of the prior, of shape (batch,)."""
        return self.critic(self._standardized(code))[:, 0]

    def _standardized(self, code: Tensor) -> Tensor:
        return (code - self.center) / self.scale
