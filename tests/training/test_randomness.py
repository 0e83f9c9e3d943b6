"""Seeds and streams: every purpose has its own."""

import numpy as np
import torch

from sk_autoenc.training.randomness import PURPOSES, draw_seed, make_generator


def test_every_seed_and_purpose_has_its_own_stream():
    streams = {
        (s, p): tuple(torch.rand(4, generator=make_generator(s, p)).tolist()) for s in range(3) for p in PURPOSES
    }
    assert len(set(streams.values())) == 3 * len(PURPOSES)
    assert streams[1, "noise"] == tuple(torch.rand(4, generator=make_generator(1, "noise")).tolist())


def test_seeds_follow_scikit_learn():
    assert draw_seed(3) == draw_seed(3)
    assert draw_seed(3) != draw_seed(4)
    state = np.random.RandomState(3)
    assert draw_seed(state) == draw_seed(3)
    assert draw_seed(state) != draw_seed(3)
