"""Rows that several test files share, and the small VAE that is fitted to them."""

import itertools

import numpy as np
import torch

from sk_autoenc import Gaussian, VAETransformer

#: Features and components of ``linear_rows``, and the variances of their noise.
D, K = 5, 2
NOISE = np.array([0.1, 0.2, 0.4, 0.8, 1.6])

rng = np.random.default_rng(0)
#: Waves of two channels in eleven steps, 90 of them, with noise.
PHASE, TIME = rng.uniform(0, 6, (90, 1, 1)), np.linspace(0, 5, 11)
WAVES = 3 * np.sin(PHASE + TIME * [[[1.0], [2.0]]]) + rng.standard_normal((90, 2, 11)) / 4 + 5

rng = np.random.default_rng(0)
LENGTHS = rng.integers(4, 12, 90)
#: Waves of two channels, of 4 to 11 steps.
WAVES_OF_UNEQUAL_LENGTHS = [
    np.sin(rng.uniform(0, 6) + np.arange(n) / 2 * np.array([[1.0], [2.0]])) * [[3.0], [1.0]] + [[5.0], [-2.0]]
    for n in LENGTHS
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(n, width=2):
    """Rows that tell their number."""
    return torch.arange(n, dtype=torch.float32)[:, None].expand(n, width).contiguous()


def linear_rows(n, noise=NOISE, seed=0):
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(1).normal(size=(K, D))
    return 2.0 + rng.normal(size=(n, K)) @ loadings + np.sqrt(noise) * rng.normal(size=(n, D))


def curved_rows(n, seed=0):
    """Rows around an arc, in units of their own."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 3, size=n)
    return 20 * np.stack([np.cos(angle), np.sin(angle), angle / 3], axis=1) + rng.normal(size=(n, 3))


def clustered_rows(n, seed=0):
    """Two clusters, which a normal distribution of one code cannot tell."""
    rng = np.random.default_rng(seed)
    return rng.choice([-3.0, 3.0], size=(n, 1)) * [1.0, -1.0, 0.5] + 0.4 * rng.normal(size=(n, 3))


def all_sequences(n_tokens: int, n_timepoints: int) -> torch.Tensor:
    """Every sequence of up to so many tokens, the empty one included; NaN follows its end."""
    found = [s for n in range(n_timepoints + 1) for s in itertools.product(range(n_tokens), repeat=n)]
    return torch.tensor([[*s, *[float("nan")] * (n_timepoints - len(s))] for s in found])


def make_vae(n_components=K, **params):
    defaults = {"architecture": (16,), "likelihood": Gaussian("feature"), "max_iter": 15, "learning_rate": 0.006}
    return VAETransformer(n_components, **{**defaults, "random_state": 0, "device": "cpu", **params})
