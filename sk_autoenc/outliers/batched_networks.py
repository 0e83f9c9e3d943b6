"""Many small autoencoders as one computation: every layer is one batched matrix product over all of them."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, Activation
from sk_autoenc.outliers.progress import Progress
from sk_autoenc.training.schedules import rise_and_fall


class AutoencoderEnsemble(nn.Module):
    """Autoencoders of one shape, each with its own weights; one call computes all of them.

    Parameters
    ----------
    n_members : int
        Number of autoencoders.
    sizes : list of int
        Widths from the rows to the code. The decoder mirrors them.
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
        """Draw all weights from the distribution that torch uses for a linear layer."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n_members, rows, k)`` of ``(n_members, rows, n_features)``, or of ``(rows, n_features)`` for all."""
        return self._layers(x.expand(self.n_members, *x.shape[-2:]), 0, self.n_encoder_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions, of shape ``(n_members, rows, n_features)``."""
        return self._layers(self.encode(x), self.n_encoder_layers, len(self.weights))

    def _layers(self, x: Tensor, first: int, end: int) -> Tensor:
        for i in range(first, end):
            x = self._product(x, self.weights[i], self.biases[i])
            if i + 1 < end:
                x = self.activation(x)
        return x

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """One layer. In evaluation its width is padded, so that a row's bits do not depend on its position."""
        width = weight.shape[2]
        padding = -width % ALIGNED_WIDTH
        if self.training or not padding:
            return torch.baddbmm(bias, x, weight)
        return torch.baddbmm(F.pad(bias, (0, padding)), x, F.pad(weight, (0, padding)))[..., :width]


def train_ensemble(
    ensemble: AutoencoderEnsemble,
    rows: Tensor,
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    trim: float,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> list[float]:
    """Train all members for a small and fixed number of steps, each on batches of its own.

    The rows of a batch with the highest errors, a share of ``trim``, are left out of the loss. So members do not learn
    rows that do not fit. The rate rises to ``learning_rate`` and falls again in half cosines. ``progress`` has a part
    for each of :func:`step_blocks`; its callbacks can stop the training after each.

    Returns
    -------
    list of float
        Mean squared error per feature of the rows that were not left out, averaged over members, after each step.
    """
    progress = Progress() if progress is None else progress
    n_kept = batch_size - int(trim * batch_size)
    optimizer = torch.optim.Adam(ensemble.parameters(), lr=learning_rate, fused=True)
    losses: list[float] = []
    ensemble.train()
    for block in step_blocks(n_steps):
        with progress.part():
            found = torch.empty(len(block), dtype=torch.float32)
            for i, step in enumerate(block):
                optimizer.param_groups[0]["lr"] = learning_rate * rise_and_fall(step, n_steps)
                chosen = torch.randint(len(rows), (ensemble.n_members, batch_size), generator=generator)
                x = rows.index_select(0, chosen.flatten()).unflatten(0, chosen.shape)
                errors = (ensemble(x) - x).square().mean(-1)  # (n_members, batch_size)
                if n_kept < batch_size:
                    errors = errors.topk(n_kept, dim=1, largest=False, sorted=False).values
                loss = errors.mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found[i] = loss.detach()
            losses += found.tolist()
            progress.print(f"step {len(losses)} of {n_steps}: loss {losses[-1]:.4g}")
        if progress.is_stopped:
            break
    ensemble.eval()
    return losses


def step_blocks(n_steps: int) -> list[range]:
    """The steps in ten blocks of nearly the same length, or in fewer where there are fewer steps."""
    edges = [round(i * n_steps / min(10, n_steps)) for i in range(min(10, n_steps) + 1)]
    return [range(*edge) for edge in itertools.pairwise(edges)]
