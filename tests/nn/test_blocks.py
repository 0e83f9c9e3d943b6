"""The layers: what they compute, and that evaluation gives a row the same bits wherever it stands."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import (
    ACTIVATIONS,
    Activation,
    BoundedLinear,
    Linear,
    LinearPlusNonlinear,
    ResidualLayer,
    multilayer_perceptron,
)
from tests.data_sets import seeded

# Several threads are slow on a busy machine, so they get a few telling shapes: without our care each of them fails.
SHAPES = {
    1: [(n_in, n_out) for n_in in (1, 3, 7, 33, 61) for n_out in (1, 2, 3, 5, 8, 13, 15, 16, 17, 24, 31, 33, 50, 100)],
    2: [(7, 5), (33, 2), (33, 8), (61, 3)],
    3: [(3, 17), (7, 24), (33, 3), (33, 33)],
    4: [(3, 17), (7, 100), (33, 3), (33, 33)],
}


@pytest.fixture(params=SHAPES)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def built(layer, *, evaluate=True):
    """The layer with weights from a seed, ready to evaluate."""
    initialize_parameters(layer, seeded(7))
    return layer.train(not evaluate)


# -- a row's bits do not depend on where it stands


def assert_rows_are_alike(function, rows):
    """Rows of one large block against the same rows elsewhere: shuffled, in small and in middling blocks."""
    with torch.inference_mode():
        whole = function(rows)  # (1024, ...)
        order = torch.randperm(len(rows), generator=seeded(3))
        shuffled = torch.empty_like(whole)
        shuffled[order] = function(rows[order])
        assert torch.equal(shuffled, whole), "shuffled"
        for size in (64, 192):
            pieces = [function(piece) for piece in rows[:192].split(size)]
            assert torch.equal(torch.cat(pieces), whole[:192]), f"blocks of {size}"
        padded = torch.zeros(64, *rows.shape[1:])
        padded[:1] = rows[511:512]
        assert torch.equal(function(padded)[:1], whole[511:512]), "alone in a padded block"


def test_linear_gives_a_row_the_same_bits_everywhere(threads):
    for n_in, n_out in SHAPES[threads]:
        layer = Linear(n_in, n_out)
        assert_rows_are_alike(built(layer), normal(1024, n_in))


def test_bounded_linear_gives_a_row_the_same_bits_everywhere():
    for n_in, n_out in SHAPES[1]:
        assert_rows_are_alike(built(BoundedLinear(n_in, n_out)), normal(1024, n_in))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gives_a_cell_the_same_bits_everywhere(name, threads):
    for width in (1, 33, 61) if threads < 3 else (100,):  # three threads cut 102400 cells at odd places
        assert_rows_are_alike(Activation(name).eval(), 3 * normal(1024, width))


def test_whole_networks_give_a_row_the_same_bits_everywhere(threads):
    """The layers in concert, with an odd width below, between and above."""
    network = multilayer_perceptron([5, 33, 33, 3], "silu", residual=True)
    assert_rows_are_alike(built(LinearPlusNonlinear(Linear(5, 3), network)), normal(1024, 5))


# -- what they compute


@pytest.mark.parametrize("n_out", [1, 3, 15, 16, 17, 40])
def test_linear_is_a_linear_map(n_out):
    layer, rows = built(Linear(7, n_out)), normal(64, 7)
    expected = F.linear(rows, layer.weight, layer.bias)
    assert layer(rows).shape == (64, n_out)
    torch.testing.assert_close(layer(rows), expected)
    torch.testing.assert_close(layer(normal(2, 64, 7)), F.linear(normal(2, 64, 7), layer.weight, layer.bias))
    assert torch.equal(layer.train()(rows), expected)


def test_linear_has_gradients_in_evaluation_too():
    layer, rows = built(Linear(4, 3)), normal(64, 4).requires_grad_()
    layer(rows).sum().backward()
    torch.testing.assert_close(rows.grad, layer.weight.detach().sum(0).expand(64, 4))
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 64.0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_that_function(name):
    x = normal(1024, 65)
    layer = Activation(name)
    torch.testing.assert_close(layer.eval()(x), ACTIVATIONS[name](x), rtol=1e-6, atol=1e-6)
    assert torch.equal(layer.train()(x), ACTIVATIONS[name](x))


def test_identity_changes_nothing():
    x = normal(64, 3)
    assert torch.equal(Activation("identity")(x), x)


@pytest.mark.parametrize("evaluate", [False, True])
def test_columns_of_a_bounded_layer_have_norm_1_at_most(evaluate):
    layer = built(BoundedLinear(6, 5), evaluate=evaluate)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([0.01, 0.1, 1.0, 10.0, 1e3, 0.0]))
        layer.bias.zero_()
    columns = layer(torch.eye(6)).detach().T  # as the layer applies them
    norms, given = columns.norm(dim=0), layer.weight.detach().norm(dim=0)
    assert (norms <= 1 + 1e-6).all()
    short = given <= 1
    assert short.any()
    assert (~short).sum() >= 2
    torch.testing.assert_close(columns[:, short], layer.weight.detach()[:, short])
    torch.testing.assert_close(norms[~short], torch.ones(int((~short).sum())))


def test_a_bounded_column_keeps_its_direction_and_its_gradient():
    layer = built(BoundedLinear(2, 5), evaluate=False)
    with torch.no_grad():
        layer.weight[:, 0] *= 50 / layer.weight[:, 0].norm()
        layer.weight[:, 1].zero_()  # where the linear floor starts the last layer
    goal = normal(5, 2)
    (layer.weights() * goal).sum().backward()
    long, short = layer.weight.grad.T
    assert torch.isfinite(layer.weight.grad).all()
    torch.testing.assert_close(short, goal[:, 1])
    assert long.norm() > 1e-4
    direction = layer.weight.detach()[:, 0] / 50
    torch.testing.assert_close(layer.weights()[:, 0], direction)
    assert abs(long @ direction) < 1e-5 * long.norm()  # growing the column further changes nothing


def test_a_residual_layer_adds_to_its_input():
    layer, x = built(ResidualLayer(6, "tanh", Linear)), normal(64, 6)
    update = torch.tanh(F.linear(F.layer_norm(x, (6,)), layer.linear.weight, layer.linear.bias))
    torch.testing.assert_close(layer(x), x + update)


# -- the builder


def kinds(network):
    return [type(layer).__name__ for layer in network]


def widths(network):
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def test_a_plain_perceptron():
    network = multilayer_perceptron([5, 8, 8, 3], "relu")
    assert kinds(network) == ["Linear", "Activation", "Linear", "Activation", "Linear"]
    assert widths(network) == [(5, 8), (8, 8), (8, 3)]


def test_a_residual_perceptron():
    network = multilayer_perceptron([5, 8, 8, 8, 4, 3], "relu", residual=True)
    expected = ["Linear", "Activation", "ResidualLayer", "ResidualLayer", "Linear", "Activation", "LayerNorm", "Linear"]
    assert kinds(network) == expected
    assert widths(network) == [(5, 8), (8, 8), (8, 8), (8, 4), (4, 3)]


def test_the_first_hidden_layer_is_never_residual():
    network = multilayer_perceptron([8, 8, 3], "relu", residual=True)
    assert kinds(network) == ["Linear", "Activation", "LayerNorm", "Linear"]


@pytest.mark.parametrize("residual", [False, True])
def test_without_hidden_layers_it_is_one_linear_map(residual):
    network = multilayer_perceptron([5, 3], "relu", residual=residual)
    assert kinds(network) == ["Linear"]


def test_every_layer_of_a_bounded_perceptron_is_bounded():
    network = multilayer_perceptron([5, 8, 8, 3], "relu", residual=True, linear=BoundedLinear)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 3
    assert all(isinstance(layer, BoundedLinear) for layer in layers)


# -- linear plus nonlinear


@pytest.fixture
def both():
    layer = built(LinearPlusNonlinear(Linear(3, 2), multilayer_perceptron([3, 8, 2], "silu")))
    layer.low.copy_(torch.tensor([-1.0, -2.0, 0.0]))
    layer.high.copy_(torch.tensor([1.0, 2.0, 5.0]))
    layer.std.copy_(torch.tensor([0.5, 1.0, 4.0]))
    layer.gain.copy_(torch.tensor([3.0, 0.5]))
    return layer


def test_inside_the_range_both_paths_add_up(both):
    x = both.low + torch.rand(64, 3, generator=seeded()) * (both.high - both.low)
    network_part = both.gain * both.nonlinear(torch.asinh(x / both.std))
    torch.testing.assert_close(both(x), both.linear_path(x) + network_part)
    assert network_part.abs().max() > 0.01


def test_sharper_units_bend_more_and_say_as_much(both):
    x = torch.linspace(-1, 1, 101)[:, None] * torch.tensor([1.0, 2.0, 5.0])

    def curved_and_spread():
        with torch.no_grad():
            hidden = both.nonlinear[:2](torch.asinh(x / both.std)) @ both.nonlinear[2].weight.T
        return hidden.diff(n=2, dim=0).abs().max(), hidden.std()

    (bent, spread), _ = curved_and_spread(), both.scale_first_layer(4.0)
    more_bent, as_spread = curved_and_spread()
    assert more_bent > 2 * bent
    assert 0.5 < as_spread / spread < 2


def test_far_away_only_the_linear_path_goes_on(both):
    direction = torch.sign(normal(64, 3))
    edge = torch.where(direction > 0, both.high, both.low)
    expected = both.gain * both.nonlinear(torch.asinh(edge / both.std))
    for far, tolerance in ((10.0, 1e-5), (1e3, 1e-3)):
        network_part = both(far * direction) - both.linear_path(far * direction)
        torch.testing.assert_close(network_part, expected, atol=tolerance, rtol=0)


def test_range_std_and_gain_are_part_of_the_state(both):
    assert {"low", "high", "std", "gain"} <= set(both.state_dict())
