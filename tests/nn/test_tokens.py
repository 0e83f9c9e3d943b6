"""Layers that write and read tokens: probabilities of sequences, in any company."""

import numpy as np
import pytest
import torch

from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.packing import Packing
from sk_autoenc.nn.recurrent import CELLS, continue_from
from sk_autoenc.nn.tokens import TokenDecoder, TokenEncoder
from sk_autoenc.training.randomness import make_generator
from tests.data_sets import all_sequences

NAN = float("nan")


def decoder(cell="gru", n_layers=1, *, n_tokens=2, n_timepoints=3, may_end=True, size=5) -> TokenDecoder:
    made = TokenDecoder(2, n_timepoints, n_tokens, cell, size, n_layers, may_end=may_end)
    generator = make_generator(0, "initialization")
    initialize_parameters(made, generator)
    return made.eval()


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("n_layers", [1, 2])
def test_probabilities_of_all_sequences_add_up_to_one(cell, n_layers):
    sequences = all_sequences(2, 3)
    code = torch.randn(1, 2, generator=make_generator(0, "noise")).expand(len(sequences), -1)
    writer = decoder(cell, n_layers)
    total = writer(code).log_prob(sequences.double()).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)
    full = all_sequences(2, 3)[-8:]
    total = decoder(cell, n_layers, may_end=False)(code[:8]).log_prob(full.double()).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)


def test_log_prob_has_the_leading_axes_of_codes():
    writer, rows = decoder(), all_sequences(2, 3)
    codes = torch.randn(4, len(rows), 2, generator=make_generator(0, "noise"))
    together = writer(codes).log_prob(rows)
    assert together.shape == (4, len(rows))
    for draw, code in zip(together, codes, strict=True):
        torch.testing.assert_close(draw, writer(code).log_prob(rows))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_draws_have_the_probabilities_that_they_should(cell):
    writer, sequences, n = decoder(cell), all_sequences(2, 3), 4000
    code = torch.randn(1, 2, generator=make_generator(0, "noise"))
    drawn = writer(code.expand(n, -1)).draw(make_generator(0, "sampling")).nan_to_num(-1)
    found = (drawn[:, None] == sequences.nan_to_num(-1)).all(2).double().mean(0)
    share = writer(code.expand(len(sequences), -1)).log_prob(sequences).exp()
    assert found.sum() == pytest.approx(1)
    assert ((found - share).abs() < 4 * (share * (1 - share) / n).sqrt() + 1e-4).all()


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_most_probable_tokens_are_wrong_nowhere(cell):
    writer = decoder(cell, 2, n_tokens=4, n_timepoints=6)
    codes = 3 * torch.randn(80, 2, generator=make_generator(0, "noise"))
    best = writer(codes).most_probable()
    assert len(best.isnan().sum(1).unique()) > 1  # of several lengths
    assert writer(codes).n_wrong(best).tolist() == [0] * 80
    other = best.clone()
    other[:, 0] = (other[:, 0].nan_to_num(0) + 1) % 4
    assert (writer(codes).n_wrong(other) >= 1).all()


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_decoder_does_not_look_ahead(cell):
    writer = decoder(cell, n_tokens=3, n_timepoints=4, may_end=False)
    code = torch.zeros(1, 2)
    steps = Packing.of(torch.tensor([4]), 4, training=False)
    logits = writer._logits(code, torch.tensor([[0, 1, 2, 0]]), steps)
    changed = writer._logits(code, torch.tensor([[0, 1, 0, 2]]), steps)
    torch.testing.assert_close(logits[:3], changed[:3])
    assert not torch.allclose(logits[3], changed[3])


def test_a_decoder_reads_the_time():
    writer = decoder(n_tokens=3, n_timepoints=4)
    silent = [parameter for name, parameter in writer.cell.named_parameters() if name.startswith("weight_hh")]
    torch.nn.init.zeros_(silent[0].data)  # no memory, so that equal tokens can differ by the time alone
    state = [torch.zeros(1, 1, 5)]
    time, code = writer._times(torch.zeros(1, 2)), torch.zeros(1, 2)
    read = [writer._read(code, torch.tensor([1]), time[step : step + 1]) for step in (0, 1)]
    first, second = (continue_from(writer.cell, x[None], tuple(state))[0] for x in read)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("size", [13, 16])
def test_a_probability_does_not_depend_on_how_long_others_are(cell, size):
    writer = decoder(cell, n_tokens=4, n_timepoints=60, size=size)
    generator = make_generator(0, "noise")
    rows = torch.randint(0, 4, (64, 60), generator=generator).double()
    lengths = torch.randint(3, 22, (64,), generator=generator)
    rows[torch.arange(60) >= lengths[:, None]] = NAN
    with_a_long_one = rows.clone()
    with_a_long_one[-1] = 0.0
    codes = torch.randn(64, 2, generator=generator)
    with torch.inference_mode():
        for dtype in (torch.float32, torch.float64):
            alone, beside = (writer(codes).log_prob(some.to(dtype)) for some in (rows, with_a_long_one))
            np.testing.assert_array_equal(alone[:-1], beside[:-1])


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_training_sees_the_same_probabilities(cell):
    rows = all_sequences(2, 5)
    codes = torch.randn(len(rows), 2, generator=make_generator(0, "noise"))
    writer = decoder(cell, 2, n_timepoints=5)
    torch.testing.assert_close(writer.train()(codes).log_prob(rows), writer.eval()(codes).log_prob(rows))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_reader_stops_at_the_end(cell):
    reader = TokenEncoder(3, cell, 4, 2, bidirectional=True)
    initialize_parameters(reader, make_generator(0, "initialization"))
    reader.eval()
    short = reader(torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(reader(torch.tensor([[0.0, 2.0, NAN, NAN], [1.0, 1.0, 1.0, 2.0]]))[:1], short)
    assert not torch.allclose(reader(torch.tensor([[0.0, 2.0, 1.0]])), short)
