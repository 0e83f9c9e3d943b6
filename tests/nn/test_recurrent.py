"""Recurrent layers: what they compute, whatever the company and the threads."""

import pytest
import torch

from sk_autoenc import (
    Recurrent,
)
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.recurrent import CodeUnroller, SeriesEncoder, SeriesLayout, ToSeries, positional_encoding
from tests.data_sets import seeded


def built(network, seed=1):
    initialize_parameters(network, seeded(seed))
    return network


def test_a_row_holds_its_series_channel_after_channel():
    layout, series = SeriesLayout(2, 3), torch.arange(24).reshape(4, 2, 3)
    steps = layout.to_steps(series.flatten(1))
    assert torch.equal(steps, series.transpose(1, 2))
    assert torch.equal(layout.to_rows(steps), series.flatten(1))
    both = layout.to_rows(torch.cat([steps, 10 + steps], dim=2))
    assert torch.equal(both, torch.cat([series.flatten(1), 10 + series.flatten(1)], dim=1))
    assert layout.n_cells == 6


@pytest.mark.parametrize("n_timepoints", [1, 2, 3, 100])
def test_the_positional_encoding_tells_every_step_from_every_other(n_timepoints):
    time = positional_encoding(n_timepoints, torch.device("cpu"))
    apart = torch.cdist(time, time) + torch.eye(n_timepoints)
    assert apart.min() > 0.3
    assert torch.equal(
        time, positional_encoding(4 * n_timepoints, torch.device("cpu"))[:n_timepoints, _shared_columns(n_timepoints)]
    )


def _shared_columns(n_timepoints):
    """The columns of a longer positional encoding that a shorter one has, too."""
    short, long = (positional_encoding(n, torch.device("cpu")).shape[1] // 2 for n in (n_timepoints, 4 * n_timepoints))
    return [*range(short), *range(long, long + short)]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_series_is_read_from_both_ends(cell):
    reader = built(SeriesEncoder(SeriesLayout(1, 6), cell, 4, 1, bidirectional=True))
    series = torch.randn(3, 6, generator=seeded())
    with torch.no_grad():
        for name, parameter in reader.cell.named_parameters():
            if name.endswith("reverse"):
                parameter.copy_(reader.cell.get_parameter(name.removesuffix("_reverse")))
        forward, backward = reader(series).chunk(2, 1)
        there, back = reader(series.flip(1)).chunk(2, 1)
    torch.testing.assert_close(forward, back)
    torch.testing.assert_close(backward, there)
    assert not torch.allclose(forward, backward)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_state_depends_on_the_code_and_the_time_alone(cell):
    """What a longer series begins with is what a shorter one is, where both have the same positional encoding."""
    long = built(CodeUnroller(3, 8, cell, 4, 2))
    short = CodeUnroller(3, 7, cell, 4, 2)
    short.load_state_dict(long.state_dict())
    code = torch.randn(5, 3, generator=seeded())
    torch.testing.assert_close(long(code)[:, :7], short(code))
    assert long(code).std(0).min() > 1e-3


def test_the_last_layer_has_a_bias_for_each_column():
    layer = built(ToSeries(4, SeriesLayout(2, 5), 2))
    assert layer.bias.shape == (20,)
    states = torch.randn(3, 5, 4, generator=seeded())
    torch.testing.assert_close(layer.eval()(states), layer.train()(states))
    assert torch.equal(layer(torch.zeros(3, 5, 4)), layer.bias.expand(3, 20))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_start_orthogonal_and_from_the_private_stream(cell):
    one, same, other = (built(CodeUnroller(3, 8, cell, 4, 1), seed) for seed in (1, 1, 2))
    for gate in one.cell.weight_hh_l0.split(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert "bias" in name or not torch.equal(value, other.state_dict()[name])
    assert one.cell.bias_ih_l0.sum() == (4 if cell == "lstm" else 0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_evaluation_computes_what_training_does(cell, bidirectional):
    layout, rows = SeriesLayout(2, 6), torch.randn(7, 12, generator=seeded())
    reader = built(SeriesEncoder(layout, cell, 5, 3, bidirectional=bidirectional))
    unroll = built(CodeUnroller(4, 9, cell, 5, 2))
    for layer, seen in ((reader, rows), (unroll, rows[:, :4])):
        torch.testing.assert_close(layer.eval()(seen), layer.train()(seen))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("size", [3, 16, 33])
def test_a_series_gets_the_same_bits_at_any_place_and_with_any_threads(cell, size):
    plan = Recurrent(size, cell=cell, num_layers=2).bind((3, 9))
    encoder = built(plan.make_encoder(27, 5, linear_path=False)).eval()
    decoder = built(plan.make_decoder(5, 54, linear_path=False, bounded=False)).eval()
    rows, order = torch.randn(128, 27, generator=seeded()), torch.randperm(128, generator=seeded())
    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            torch.set_num_threads(1)
            codes = encoder(rows)
            made = decoder(codes)
            for threads in (1, 3, 4):
                torch.set_num_threads(threads)
                assert torch.equal(encoder(rows[order]), codes[order])
                assert torch.equal(decoder(codes[order]), made[order])
                torch.testing.assert_close(decoder(codes.view(2, 64, 5)), made.view(2, 64, 54), rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)
