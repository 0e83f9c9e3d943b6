"""Private randomness: one seed per fit, and from it a generator for each purpose.

No global generator is read or set. Every function that draws takes a generator as an argument.
"""

import numpy as np
import torch
from sklearn.utils import check_random_state

PURPOSES = ("initialization", "split", "shuffling", "noise", "validation", "sampling", "prior", "conditionals")


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """One seed from scikit-learn's ``random_state``; an instance advances, an integer does not."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def make_generator(seed: int, purpose: str, device: str = "cpu", process: int = 0) -> torch.Generator:
    """A generator on ``device`` whose stream belongs to this seed, purpose and process alone."""
    key = (PURPOSES.index(purpose),) if process == 0 else (PURPOSES.index(purpose), process)
    entropy = np.random.SeedSequence(seed, spawn_key=key)
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
