"""Many small autoencoders as one computation: every layer is one batched matrix product over all of them."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, Activation
from sk_autoenc.training.schedules import rise_and_fall


class AutoencoderEnsemble(nn.Module):
    """Autoencoders of one shape with weights of their own; rows go through all of them at once.

    ``sizes`` are the widths from the rows to the code; the decoder mirrors them.
    """

    def __init__(self, n_members: int, sizes: list[int]):
        super().__init__()
        self.n_members, self.sizes = n_members, list(sizes)
        widths = [*sizes, *sizes[-2::-1]]
        shapes = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList([torch.empty(n_members, *shape, dtype=torch.float32) for shape in shapes])
        self.biases = nn.ParameterList([torch.empty(n_members, 1, width, dtype=torch.float32) for _, width in shapes])
        self.activation = Activation("silu")
        self.n_encoder_layers = len(sizes) - 1

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all weights as torch does for a linear layer."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)

    def encode(self, x: Tensor) -> Tensor:
        """Codes: ``(n_members, rows, n_features)``, or ``(rows, n_features)`` for all -> ``(n_members, rows, k)``."""
        return self._through(x.expand(self.n_members, *x.shape[-2:]), 0, self.n_encoder_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions, of shape ``(n_members, rows, n_features)``."""
        return self._through(self.encode(x), self.n_encoder_layers, len(self.weights))

    def _through(self, x: Tensor, first: int, end: int) -> Tensor:
        for i in range(first, end):
            x = self._product(x, self.weights[i], self.biases[i])
            if i + 1 < end:
                x = self.activation(x)
        return x

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """One layer; in evaluation of an aligned width, so that a row's bits do not depend on where it stands."""
        width = weight.shape[2]
        spare = -width % ALIGNED_WIDTH
        if self.training or not spare:
            return torch.baddbmm(bias, x, weight)
        return torch.baddbmm(F.pad(bias, (0, spare)), x, F.pad(weight, (0, spare)))[..., :width]


def train_ensemble(
    ensemble: AutoencoderEnsemble,
    rows: Tensor,
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    trim: float,
    generator: torch.Generator,
) -> list[float]:
    """Train all members, each on batches of its own, for a fixed and small number of steps.

    The rows of a batch with the highest errors, a share of ``trim``, are left out of the loss: what does not fit is
    not learnt. The rate rises to ``learning_rate`` and falls again in half cosines.

    Returns
    -------
    list of float
        Mean squared error per feature of the rows that were not left out, averaged over members, after each step.
    """
    kept = batch_size - int(trim * batch_size)
    optimizer = torch.optim.Adam(ensemble.parameters(), lr=learning_rate, fused=True)
    losses = torch.empty(n_steps, dtype=torch.float32)
    ensemble.train()
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * rise_and_fall(step, n_steps)
        chosen = torch.randint(len(rows), (ensemble.n_members, batch_size), generator=generator)
        x = rows.index_select(0, chosen.flatten()).unflatten(0, chosen.shape)
        errors = (ensemble(x) - x).square().mean(-1)  # (n_members, batch_size)
        if kept < batch_size:
            errors = errors.topk(kept, dim=1, largest=False, sorted=False).values
        loss = errors.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    ensemble.eval()
    return losses.tolist()
