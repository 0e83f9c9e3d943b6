"""Private randomness: one seed per fit, and from it a generator for each purpose.

No global generator is read or set. Whatever draws takes a generator as an argument.
"""

import math

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

PURPOSES = ("initialization", "split", "shuffling", "noise", "validation", "sampling", "prior")


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """One seed from scikit-learn's ``random_state``; an instance advances, an integer does not."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def make_generator(seed: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """A generator on ``device`` whose stream belongs to this seed and purpose alone."""
    entropy = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose),))
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


def initialize_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Fill linear layers, convolutions and embeddings as torch does by default, from ``generator`` alone."""
    for layer in module.modules():
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, generator=generator)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
