"""MiniRocket's features of series, as in its paper, for where aeon cannot be installed.

84 kernels of length 9, three weights 2 and six -1, at up to 32 dilations; a feature is the share of places where a
convolution is above a bias, and biases are quantiles of the convolution of a training series. Series of several
channels: each kernel at each dilation sums some of them, drawn at random (Dempster, Schmidt, Webb 2021, MiniRocket: a
very fast (almost) deterministic transform for time series classification, KDD).
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

N_FEATURES, MOST_DILATIONS, ROWS_AT_ONCE = 10_000, 32, 500
PLACES = list(itertools.combinations(range(9), 3))
KERNELS = torch.full((len(PLACES), 1, 9), -1.0)
for kernel, places in zip(KERNELS, PLACES, strict=True):
    kernel[0, list(places)] = 2.0


class MiniRocket:
    """``fit`` and ``transform`` series ``(n, n_channels, n_timepoints)``."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def fit(self, X: np.ndarray) -> "MiniRocket":
        """Choose dilations, channels and biases."""
        n_channels, length = X.shape[1:]
        of_kernel = N_FEATURES // len(PLACES)
        n_dilations = min(of_kernel, MOST_DILATIONS)
        exponents = np.linspace(0, np.log2((length - 1) / 8), n_dilations) if length > 9 else np.zeros(n_dilations)
        dilations, counts = np.unique(np.floor(2**exponents).astype(int), return_counts=True)
        n_biases = (counts * of_kernel / n_dilations).astype(int)
        for i in range(of_kernel - n_biases.sum()):
            n_biases[i % len(n_biases)] += 1
        self.plan, used = [], 0
        for dilation, n in zip(dilations, n_biases, strict=True):
            channels = np.zeros((len(PLACES), n_channels), dtype=np.float32)
            for row in channels:
                size = int(2 ** self.rng.uniform(0, np.log2(min(n_channels, 9) + 1)))
                row[self.rng.choice(n_channels, size, replace=False)] = 1
            self.plan.append((int(dilation), torch.from_numpy(channels), torch.empty(len(PLACES), n)))
            for j, own in enumerate(self.plan[-1][2]):
                # Quantiles of low discrepancy: multiples of the golden ratio.
                quantiles = (np.arange(used + 1, used + n + 1) * (np.sqrt(5) + 1) / 2) % 1
                one = torch.from_numpy(X[self.rng.integers(len(X))]).float()[None]
                values = self._convolved(one, len(self.plan) - 1)[0, j]
                own.copy_(torch.from_numpy(np.quantile(values.numpy(), quantiles)))
                used += n
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Shares of places above the biases, ``(n, n_features)``."""
        found = [self._features(some) for some in torch.from_numpy(X).float().split(ROWS_AT_ONCE)]
        return torch.cat(found).numpy()

    def _convolved(self, x: torch.Tensor, i: int) -> torch.Tensor:
        """``(n, 84, n_timepoints)`` at the i-th dilation, zeros beyond the ends."""
        dilation, channels, _ = self.plan[i]
        mixed = torch.einsum("nct,kc->nkt", x, channels)
        return F.conv1d(mixed, KERNELS, dilation=dilation, padding=4 * dilation, groups=len(PLACES))

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        parts = []
        for i, (dilation, _, biases) in enumerate(self.plan):
            convolved, edge = self._convolved(x, i), 4 * dilation
            for j, own in enumerate(biases):
                # Every second kernel looks only where it does not reach beyond the ends.
                seen = convolved[:, j] if (i + j) % 2 == 0 else convolved[:, j, edge:-edge]
                parts.append((seen[:, None] > own[:, None]).float().mean(2))
        return torch.cat(parts, dim=1)
