"""Packed series and recurrent layers on them: where steps lie, and states and gradients beside torch's own."""

import pytest
import torch

from sk_autoenc.nn.packing import MOST_BATCH_SIZES, Packing, UnrolledGRU, initial_state, run_in_pieces, run_layers
from sk_autoenc.nn.recurrent import CELLS, continue_from

LENGTHS = torch.tensor([3, 5, 1, 3])


def packing(training=True):
    return Packing.of(LENGTHS, 6, training=training)


def series():
    return normal(4, 6, 2)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layers(name, n_layers=1):
    """Recurrent layers that read two features, with three units."""
    cell = CELLS[name](2, 3, n_layers, batch_first=True).double()
    with torch.no_grad():
        for seed, parameter in enumerate(cell.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed))
    return cell


def test_steps_lie_one_after_the_other_and_the_longest_series_first():
    found = packing()
    assert found.n_rows == [4, 3, 3, 1, 1]
    assert found.rows.tolist() == [1, 0, 3, 2, 1, 0, 3, 1, 0, 3, 1, 1]
    assert found.times.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]
    x = series()
    assert torch.equal(found.pack(x), x[found.rows, found.times])
    alive = torch.arange(6) < LENGTHS[:, None]
    assert torch.equal(found.unpack(found.pack(x)), torch.where(alive[..., None], x, 0.0))


def test_evaluation_runs_all_series_to_the_end_of_the_longest():
    found, x = packing(training=False), series()
    assert found.n_rows == [4] * 5
    assert torch.equal(found.unpack(found.pack(x))[:, :5], x[:, :5])


@pytest.mark.parametrize("training", [True, False])
def test_series_end_and_turn_at_their_own_ends(training):
    found, x = packing(training), series()
    packed = found.pack(x)
    assert torch.equal(found.at_the_ends(packed), x[torch.arange(4), LENGTHS - 1])
    turned = found.unpack(found.time_reversed(packed))
    for i, length in enumerate(LENGTHS):
        assert torch.equal(turned[i, :length], x[i, :length].flip(0))
        if not training:
            assert torch.equal(turned[i, length:5], x[i, length:5])
    assert torch.equal(found.time_reversed(found.time_reversed(packed)), packed)


def test_few_numbers_of_rows_are_run_and_none_too_few():
    lengths = torch.randint(1, 50, (200,), generator=torch.Generator().manual_seed(0))
    found = Packing.of(lengths, 60, training=True)
    assert len(set(found.n_rows)) <= MOST_BATCH_SIZES
    reached = (torch.arange(int(lengths.max()))[:, None] < lengths).sum(1)
    assert (torch.tensor(found.n_rows) >= reached).all()
    assert sum(found.n_rows) < 1.1 * lengths.sum()


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_layers_compute_what_they_do_on_each_series_and_its_gradient(name, n_layers):
    cell, found, x = layers(name, n_layers), packing(), series().requires_grad_()
    first = normal(n_layers, 4, 3, seed=1).requires_grad_()
    states = found.unpack(run_layers(cell, list(cell.parameters()), found.pack(x), first, found))
    weighting = normal(*states.shape, seed=2)
    alone = []
    for i, length in enumerate(LENGTHS):
        out, _ = continue_from(cell, x[i : i + 1, :length], initial_state(cell, first[:, i : i + 1].contiguous()))
        torch.testing.assert_close(states[i : i + 1, :length], out)
        alone.append((out[0] * weighting[i, :length]).sum())
    given = [x, first, *cell.parameters()]
    ours, theirs = torch.autograd.grad((states * weighting).sum(), given), torch.autograd.grad(sum(alone), given)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_ours_and_torch_agree_in_pieces():
    cell, found = layers("gru"), packing()
    weights, packed, first = list(cell.parameters()), found.pack(series()), normal(1, 4, 3, seed=1)
    ours = run_layers(cell, weights, packed, first, found)
    torch.testing.assert_close(ours, run_in_pieces(cell, weights, packed, first[:, found.order], found))


def unrolled(n_rows=(3, 2, 1, 1)):
    """A function of what is read, the first state, the weights and the biases, and such arguments."""
    shapes = [(sum(n_rows), 6), (3, 2), (6, 2), (6,)]
    arguments = [normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    return (lambda *given: UnrolledGRU.apply(*given, list(n_rows))), arguments


def test_the_gradient_is_that_of_small_differences():
    assert torch.autograd.gradcheck(*unrolled())


def test_a_gradient_of_the_gradient_is_refused():
    function, arguments = unrolled()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(function(*arguments).sum(), arguments, create_graph=True)


def test_steps_are_freed_with_the_gradient_while_the_loss_is_kept():
    function, arguments = unrolled()
    loss = function(*arguments).sum()
    ((node, _),) = loss.grad_fn.next_functions
    assert len(node.saved_tensors) > 4
    loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        _ = node.saved_tensors
