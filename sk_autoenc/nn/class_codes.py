"""Containers of generative models of rows that have a class and a code: variational, and adversarial."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.autoencoder import Standardize
from sk_autoenc.nn.blocks import Activation, Linear
from sk_autoenc.nn.few_labels import BaselineModel, FewLabelNetwork
from sk_autoenc.nn.variational import GREATEST, LEAST, Posterior


class ClassGenerator(FewLabelNetwork):
    """A decoder of classes and codes, beside the baseline.

    Parameters
    ----------
    decoder : nn.Module
        ``(..., n_components + n_classes) -> (..., n_outputs)``: reads a code and indicators of the class.
    baseline : BaselineModel
        The baseline.
    likelihood : Likelihood
        Gives the log-probability of rows; its head ends the decoder.
    n_features : int
        Number of columns of a row.
    standardize : Standardize or None
        Standardises what encoders read; None if rows are scaled before the network.
    """

    def __init__(
        self,
        decoder: nn.Module,
        baseline: BaselineModel,
        *,
        likelihood: Any,
        n_features: int,
        standardize: Standardize | None = None,
    ):
        super().__init__(baseline)
        self.decoder, self.head = decoder, likelihood.make_head(n_features)
        self.likelihood, self.standardize = likelihood, standardize

    def encoder_input(self, x: Tensor) -> Tensor:
        """The standardised rows, which encoders read."""
        return x if self.standardize is None else self.standardize(x)

    def observe(self, code: Tensor, indicators: Tensor) -> Any:
        """The distribution of rows with these codes and classes, for ``log_prob`` and ``draw`` of the likelihood."""
        return self.head(self.decoder(torch.cat([code, indicators], dim=-1)))


class ClassBounds(NamedTuple):
    """The output of a training step's forward pass."""

    log_class: Tensor  # (batch, n_classes): log q(y | x)
    reconstruction: Tensor  # (n_classes, batch): log p(x | y, z) of a draw z of q(z | x, y), for each class
    kl: Tensor  # (n_classes, batch): KL divergence from q(z | x, y) to the standard normal prior


class ClassVariationalAutoencoder(ClassGenerator):
    """A variational autoencoder with a class beside the code (M2 of Kingma et al. 2014).

    Parameters
    ----------
    encoder : nn.Module
        ``(batch, n_inputs) -> (batch, n_hidden)``: features of rows, to which those of a class are added.
    classifier : nn.Module
        ``(batch, n_inputs) -> (batch, n_classes)``: log-odds of classes.
    decoder, baseline, **options
        As for :class:`ClassGenerator`.
    n_hidden, n_classes, n_components : int
        Number of features, of classes, and length of a code.
    activation : str
        Applied to the sum of features.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        decoder: nn.Module,
        baseline: BaselineModel,
        *,
        n_hidden: int,
        n_classes: int,
        n_components: int,
        activation: str = "silu",
        **options: Any,
    ):
        super().__init__(decoder, baseline, **options)
        self.encoder, self.classifier, self.n_classes = encoder, classifier, n_classes
        self.of_class, self.activation = Linear(n_classes, n_hidden), Activation(activation)
        self.posterior_layer = Linear(n_hidden, 2 * n_components)

    def posterior(self, x: Tensor) -> Posterior:
        """The distribution of each row's code, for every class; ``(n_classes, batch, n_components)``."""
        every = torch.eye(self.n_classes, dtype=x.dtype, device=x.device)
        hidden = self.encoder(self.encoder_input(x)) + self.of_class(every)[:, None]  # (n_classes, batch, n_hidden)
        mean, log_scale = self.posterior_layer(self.activation(hidden)).chunk(2, -1)
        return Posterior(mean, F.hardtanh(log_scale, LEAST, GREATEST))

    def answer(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder_input(x)).double().softmax(-1)

    def encode(self, x: Tensor) -> Tensor:
        """The mean code of each row, over its classes."""
        weights = self.answer(x).to(x.dtype).T[:, :, None]  # (n_classes, batch, 1)
        return (weights * self.posterior(x).mean).sum(0)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> ClassBounds:
        """Both parts of the bound for every class; without a generator, of the posteriors' means."""
        if generator is not None:
            x = self.likelihood.target(x, generator)
        posterior = self.posterior(x)
        code = posterior.mean
        if generator is not None:
            code = posterior.at(torch.randn(code.shape, generator=generator, device=x.device, dtype=x.dtype))
        every = torch.eye(self.n_classes, dtype=x.dtype, device=x.device)[:, None].expand(-1, len(x), -1)
        log_class = self.classifier(self.encoder_input(x)).log_softmax(-1)
        found = self.likelihood.log_prob(self.observe(code, every), x)
        return ClassBounds(log_class, found, posterior.kl_from_normal().sum(-1))


class ClassAdversarialAutoencoder(ClassGenerator):
    """An autoencoder whose code is a class and numbers, each held to its prior by a critic (Makhzani et al. 2015).

    Parameters
    ----------
    encoder : nn.Module
        ``(batch, n_inputs) -> (batch, n_classes + n_components)``: log-odds of classes, and the code.
    decoder, baseline, **options
        As for :class:`ClassGenerator`.
    class_critic, code_critic : nn.Module
        ``(batch, n_classes) -> (batch, 1)`` and ``(batch, n_classes + n_components) -> (batch, 1)``: log-odds of a draw
        of the prior. The second one reads the class, too, so that codes say nothing about it.
    n_classes : int
        Number of classes.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        baseline: BaselineModel,
        *,
        class_critic: nn.Module,
        code_critic: nn.Module,
        n_classes: int,
        **options: Any,
    ):
        super().__init__(decoder, baseline, **options)
        self.encoder, self.n_classes = encoder, n_classes
        self.class_critic, self.code_critic = class_critic, code_critic

    def critics(self, probabilities: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds of both critics that these are draws of the priors; ``(batch,)`` each."""
        together = torch.cat([probabilities, code], dim=-1)
        return self.class_critic(probabilities)[:, 0], self.code_critic(together)[:, 0]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds of classes, and the code."""
        found = self.encoder(self.encoder_input(x))
        return found[..., : self.n_classes], found[..., self.n_classes :]

    def answer(self, x: Tensor) -> Tensor:
        return self.both(x)[0].double().softmax(-1)

    def encode(self, x: Tensor) -> Tensor:
        return self.both(x)[1]

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The log-probability of each row, given its class probabilities and its code."""
        log_odds, code = self.both(x)
        return self.likelihood.log_prob(self.observe(code, log_odds.softmax(-1)), x)
