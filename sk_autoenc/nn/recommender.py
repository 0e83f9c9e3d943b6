"""The autoencoder of a recommender: entries of sparse rows in, a log-probability of every item out."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.variational import GREATEST, LEAST, Posterior


class SparseLinear(Linear):
    """A linear layer of rows given by their entries, or of dense rows; an entry costs one column of the weights."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        # The weights of an input stand side by side in memory, as a sum over entries reads them.
        self.weight = nn.Parameter(self.weight.detach().T.contiguous().T)

    def forward(self, x: Any) -> Tensor:
        if isinstance(x, Tensor):
            return super().forward(x)
        summed = F.embedding_bag(
            x.columns, self.weight.T, x.offsets, per_sample_weights=x.values, mode="sum", include_last_offset=True
        )
        return summed + self.bias


class RecommenderOutput(NamedTuple):
    """What a step's forward pass returns."""

    logits: Tensor  # (batch, n_items)
    posterior: Posterior | None  # of the code of each row, if codes are drawn


class MultinomialAutoencoder(nn.Module):
    """Rows of unit length, with entries hidden in training, to a code, and to a logit for each item.

    Parameters
    ----------
    encoder, decoder : nn.Module
        Rows by their entries ``-> (batch, n_components)``, or twice as many with ``variational``;
        ``(batch, n_components) -> (batch, n_items)``.
    dropout : float
        Probability with which an entry is hidden in training.
    variational : bool
        Whether codes are drawn from a normal posterior.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, dropout: float, variational: bool):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.dropout, self.variational = dropout, variational

    def posterior(self, x: Any) -> Posterior:
        """The distribution of each row's code."""
        mean, log_scale = self.encoder(x).chunk(2, -1)
        return Posterior(mean, F.hardtanh(log_scale, LEAST, GREATEST))

    def encode(self, x: Any) -> Tensor:
        """The code of each row; the mean where codes are drawn."""
        x = of_unit_length(x)
        return self.posterior(x).mean if self.variational else self.encoder(x)

    def logits(self, x: Any) -> Tensor:
        """A logit for each item and row, without noise."""
        return self.decoder(self.encode(x))

    def forward(self, x: Any, generator: torch.Generator | None = None) -> RecommenderOutput:
        if generator is None:
            return RecommenderOutput(self.logits(x), None)
        x = of_unit_length(x)
        if self.dropout:
            kept = torch.rand(x.values.shape, generator=generator, device=x.values.device) >= self.dropout
            x = x.replaced(x.values * kept / (1 - self.dropout))
        if not self.variational:
            return RecommenderOutput(self.decoder(self.encoder(x)), None)
        posterior = self.posterior(x)
        noise = torch.randn(posterior.mean.shape, generator=generator, device=x.values.device)
        return RecommenderOutput(self.decoder(posterior.at(noise)), posterior)


def of_unit_length(x: Any) -> Any:
    """Rows divided by their Euclidean norm; rows without entries stay as they are."""
    squares = torch.zeros(len(x), device=x.values.device).index_add_(0, x.rows, x.values.square())
    return x.replaced(x.values / squares.sqrt()[x.rows])


def multinomial_log_prob(logits: Tensor, x: Any) -> Tensor:
    r""":math:`\sum_i x_i \log \mathrm{softmax}(a)_i` of each row, without the multinomial coefficient; ``(n,)``."""
    rows = x.rows
    found = x.values * logits.log_softmax(-1)[rows, x.columns]
    return torch.zeros(len(x), device=logits.device, dtype=logits.dtype).index_add_(0, rows, found)
