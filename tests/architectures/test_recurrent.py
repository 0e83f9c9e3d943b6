"""The recurrent architecture: parameters and rows that it refuses."""

import numpy as np
import pytest

from sk_autoenc import (
    AutoencoderTransformer,
    Recurrent,
)
from tests.data_sets import WAVES as X

_CHEAP = {"architecture": Recurrent(4), "max_iter": 2, "random_state": 0, "device": "cpu"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be an integer of 1 or more, got 0"),
        ({"num_layers": True}, "num_layers must be an integer of 1 or more, got True"),
        ({"cell": "rnn"}, r"cell must be one of \['gru', 'lstm'\], got 'rnn'"),
        ({"bidirectional": "yes"}, "bidirectional must be True or False, got 'yes'"),
        ({"code_activation": "sin"}, "code_activation must be one of .* got 'sin'"),
        ({"input_shape": (1, 2, 3)}, r"input_shape must be \(channels, timepoints\).* got \(1, 2, 3\)"),
        ({"input_shape": (3, 5)}, r"shape \(3, 5\) or 15 cells because of input_shape, got shape \(2, 11\)"),
    ],
)
def test_parameters_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(architecture=Recurrent(**options)).fit(X)


@pytest.mark.parametrize("penalty", [{"contraction": 0.1}, {"sparsity": 0.1}])
def test_penalties_that_need_a_bounded_decoder_are_refused(penalty):
    with pytest.raises(
        ValueError, match="cannot be combined with contraction, nor with sparsity without sparsity_target"
    ):
        AutoencoderTransformer(**_CHEAP, **penalty).fit(X)
    AutoencoderTransformer(**_CHEAP, sparsity=0.1, sparsity_target=0.2).fit(X)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"X must have the axes .* got rows of shape \(2, 3, 4\)"):
        AutoencoderTransformer(**_CHEAP).fit(np.random.default_rng(0).standard_normal((60, 2, 3, 4)))


@pytest.mark.parametrize("shape", [(100, 1), (100, 3), (9, 4)])
def test_series_with_channels_after_time_are_refused(shape):
    with pytest.raises(ValueError, match=r"series of \d+ channels and \d timepoints; bring channels before time"):
        Recurrent().bind(shape)
    assert Recurrent(input_shape=shape).bind(shape).series_shape == shape
    assert Recurrent().bind(shape[::-1]).series_shape == shape[::-1]
