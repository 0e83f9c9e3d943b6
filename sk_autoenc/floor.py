"""The linear floor: start at PCA, and stay there unless the network's gain on held-out rows is real.

PCA is the best linear autoencoder (Baldi & Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2).
A network with a linear path starts at its solution, the nonlinear path at zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import eigh, svd
from sklearn.utils import gen_batches
from torch import Tensor, nn

from sk_autoenc.nn.autoencoder import Autoencoder
from sk_autoenc.nn.blocks import LinearPlusNonlinear
from sk_autoenc.training.data import Rows

_BLOCK = 4096


def principal_axes(rows: Rows, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and leading principal axes of the rows, float64: ``(d,)`` and ``(n_components, d)``.

    Axes beyond the rank are zero. Signs follow scikit-learn: the entry largest in size is positive.
    """
    n_rows, n_features = len(rows), rows.data.shape[1]
    blocks = list(gen_batches(n_rows, _BLOCK))
    mean = sum(rows[block].double().sum(0) for block in blocks) / n_rows
    if n_rows < n_features:
        _, singular, axes = svd((rows[:].double() - mean).numpy(), full_matrices=False)
        variance = singular**2
    else:
        scatter = sum((centred := rows[block].double() - mean).T @ centred for block in blocks).numpy()
        wanted = (max(0, n_features - n_components), n_features - 1)
        variance, vectors = eigh(scatter, subset_by_index=wanted)
        variance, axes = variance[::-1], vectors.T[::-1]
    kept = min(n_components, int((variance > variance.max(initial=0.0) * 1e-12).sum()))
    found = np.zeros((n_components, n_features))
    found[:kept] = axes[:kept]
    largest = found[np.arange(n_components), np.abs(found).argmax(axis=1)]
    return mean.numpy(), found * np.where(largest < 0, -1.0, 1.0)[:, None]


def start_at_pca(module: Autoencoder, rows: Rows) -> None:
    """Set the linear path to PCA of the rows, and let the nonlinear path contribute nothing yet."""
    mean, axes = (torch.from_numpy(array) for array in principal_axes(rows, _n_components(module)))
    encoder, decoder = module.encoder, module.decoder
    with torch.no_grad():
        _set(_linear_path(encoder), axes, -axes @ mean)
        _set(_linear_path(decoder), axes.T, mean)
        for path, values in ((encoder, lambda block: block), (decoder, module.encode)):
            if isinstance(path, LinearPlusNonlinear):
                nn.init.zeros_(path.nonlinear[-1].weight)
                nn.init.zeros_(path.nonlinear[-1].bias)
                _set_range(path, rows, values)


def gain_is_real(before: Tensor, after: Tensor) -> bool:
    """Whether the rows' losses fell from ``before`` to ``after`` by more than chance explains.

    The mean must fall, and the mean of the roots by two standard errors: squares of heavy-tailed errors have
    no useful standard error, their roots do.
    """
    fall = before.clamp_min(0).sqrt() - after.clamp_min(0).sqrt()
    error = fall.std() / len(fall) ** 0.5
    return bool(after.mean() < before.mean() and fall.mean() > 2 * error)


def start_at_mean(decoder: nn.Module, raw: np.ndarray) -> None:
    """Let a decoder without linear path begin by saying that every row is the training mean."""
    last = decoder if isinstance(decoder, nn.Linear) else decoder[-1]
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.copy_(torch.from_numpy(raw))


def value_range(rows: Rows, values: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Lowest and highest of ``values`` over the rows, per column."""
    with torch.no_grad():
        parts = [values(rows[block]) for block in gen_batches(len(rows), _BLOCK)]
    return torch.stack([part.amin(0) for part in parts]).amin(0), torch.stack([part.amax(0) for part in parts]).amax(0)


def _n_components(module: Autoencoder) -> int:
    return _linear_path(module.encoder).out_features


def _linear_path(network: nn.Module) -> nn.Linear:
    return network.linear_path if isinstance(network, LinearPlusNonlinear) else network


def _set(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def _set_range(path: LinearPlusNonlinear, rows: Rows, values) -> None:
    """Range and spread of what the path reads, over the training rows."""
    low, high = value_range(rows, values)
    path.low.copy_(low)
    path.high.copy_(high)
    parts = [values(rows[block]) for block in gen_batches(len(rows), _BLOCK)]
    mean = sum(part.double().sum(0) for part in parts) / len(rows)
    spread = (sum((part - mean).square().sum(0) for part in parts) / len(rows)).sqrt()
    path.spread.copy_(torch.where(spread > 1e-6 * spread.max(), spread, 1.0))
