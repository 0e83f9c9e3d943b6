"""Random weights: torch's own distributions from a private generator, and none left unset."""

import math

import pytest
import torch
from torch import nn

from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import multilayer_perceptron
from tests.data_sets import seeded


def test_initialization_is_torchs_own_from_the_given_generator():
    first, again, other = (nn.Sequential(nn.Tanh(), nn.Linear(16, 400))[1] for _ in range(3))
    state = torch.get_rng_state()
    for layer, seed in ((first, 1), (again, 1), (other, 2)):
        initialize_parameters(layer, seeded(seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    for values in (first.weight, first.bias):
        assert 0.95 / 4 < values.abs().max() <= 1 / 4
        assert abs(values.mean()) < 0.1 / 4


@pytest.mark.parametrize("residual", [False, True])
def test_initialization_leaves_no_parameter_unset(residual):
    """Modules come from the meta device with whatever was in memory."""
    network = multilayer_perceptron([3, 4, 4, 2], "silu", residual=residual)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(math.nan)
    initialize_parameters(network, seeded())
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
