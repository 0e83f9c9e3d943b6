"""Packed series and recurrent layers on them: where steps lie, and states and gradients beside torch's own."""

import pytest
import torch

from sk_autoenc.nn.packing import MOST_PIECES, Packing, UnrolledGRU, initial_state, run_in_pieces, run_layer
from sk_autoenc.nn.recurrent import CELLS, go_on

LENGTHS = torch.tensor([3, 5, 1, 3])


def packing(training=True):
    return Packing.of(LENGTHS, 6, training=training)


def series(n_features=2):
    return torch.randn(4, 6, n_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_steps_lie_one_after_the_other_and_the_longest_series_first():
    found = packing()
    assert found.n_rows.tolist() == [4, 3, 3, 1, 1]
    assert found.rows.tolist() == [1, 0, 3, 2, 1, 0, 3, 1, 0, 3, 1, 1]
    assert found.times.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]
    x = series()
    assert torch.equal(found.pack(x), x[found.rows, found.times])
    alive = torch.arange(6) < LENGTHS[:, None]
    assert torch.equal(found.unpack(found.pack(x)), torch.where(alive[..., None], x, 0.0))


def test_evaluation_runs_all_series_to_the_end_of_the_longest():
    found, x = packing(training=False), series()
    assert found.n_rows.tolist() == [4] * 5
    assert torch.equal(found.unpack(found.pack(x))[:, :5], x[:, :5])


@pytest.mark.parametrize("training", [True, False])
def test_series_end_and_turn_at_their_own_ends(training):
    found, x = packing(training), series()
    packed = found.pack(x)
    assert torch.equal(found.at_the_ends(packed), x[torch.arange(4), LENGTHS - 1])
    turned = found.unpack(found.turned(packed))
    for i, length in enumerate(LENGTHS):
        assert torch.equal(turned[i, :length], x[i, :length].flip(0))
        if not training:
            assert torch.equal(turned[i, length:5], x[i, length:5])
    assert torch.equal(found.turned(found.turned(packed)), packed)


def test_few_numbers_of_rows_are_run_and_none_too_few():
    lengths = torch.randint(1, 50, (200,), generator=torch.Generator().manual_seed(0))
    found = Packing.of(lengths, 60, training=True)
    assert len(found.n_rows.unique()) <= MOST_PIECES
    reached = (torch.arange(int(lengths.max()))[:, None] < lengths).sum(1)
    assert (found.n_rows >= reached).all()
    assert found.n_rows.sum() < 1.1 * lengths.sum()


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_layer_computes_what_it_does_on_each_series_and_its_gradient(name):
    cell = CELLS[name](2, 3, batch_first=True).double()
    found, x = packing(), series().requires_grad_()
    first = torch.randn(4, 3, dtype=torch.float64).requires_grad_()
    states = found.unpack(run_layer(cell, list(cell.parameters()), found.pack(x), first, found))
    weighting = torch.randn_like(states)
    alone = []
    for i, length in enumerate(LENGTHS):
        out, _ = go_on(cell, x[i : i + 1, :length], initial_state(cell, first[None, i : i + 1]))
        torch.testing.assert_close(states[i : i + 1, :length], out)
        alone.append((out[0] * weighting[i, :length]).sum())
    given = [x, first, *cell.parameters()]
    ours, theirs = torch.autograd.grad((states * weighting).sum(), given), torch.autograd.grad(sum(alone), given)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_ours_and_torch_agree_in_pieces():
    cell, found = CELLS["gru"](2, 3), packing()
    weights, packed, first = list(cell.parameters()), found.pack(series()).float(), torch.randn(4, 3)
    ours = run_layer(cell, weights, packed, first, found)
    torch.testing.assert_close(ours, run_in_pieces(cell, weights, packed, first[found.order], found))


def test_the_gradient_is_that_of_small_differences():
    generator, shapes = torch.Generator().manual_seed(0), [(7, 6), (3, 2), (6, 2), (6,)]
    arguments = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(lambda *a: UnrolledGRU.apply(*a, [3, 2, 1, 1]), arguments)
