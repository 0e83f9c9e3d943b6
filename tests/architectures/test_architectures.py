"""Architectures: what they refuse, the shapes they build, and that they are scikit-learn parameters."""

import pytest
import torch
from sklearn.base import clone

from sk_autoenc import MLP, AutoencoderTransformer, Convolutional, Recurrent
from sk_autoenc.architectures import as_architecture
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import ACTIVATIONS, BoundedLinear, Linear, LinearPlusNonlinear

BATCH, FEATURES, COMPONENTS = 4, 7, 3


def rows(width):
    return torch.randn(BATCH, width, generator=torch.Generator().manual_seed(0))


def built(network):
    initialize_parameters(network, torch.Generator().manual_seed(1))
    return network


# -- check


@pytest.mark.parametrize("sizes", [(0,), (8, -1), (8.0,), (2.5,), ("8",), (None,)])
def test_widths_that_are_refused(sizes):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes.*integers of 1 or more") as error:
        MLP(sizes).check()
    assert repr(sizes) in str(error.value)


@pytest.mark.parametrize("name", ["activation", "code_activation"])
@pytest.mark.parametrize("value", ["swish", None, "ReLU"])
def test_activations_that_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"MLP: {name} must be one of.*'tanh'") as error:
        MLP(**{name: value}).check()
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("sizes", [(), (1,), [8, 4], (8, 8, 8)])
def test_widths_that_are_accepted(sizes):
    MLP(sizes).check()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_that_are_accepted(name):
    MLP(activation=name, code_activation=name).check()


# -- what is built


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("sizes", [(), (5,), (6, 6), (8, 5, 2)])
@pytest.mark.parametrize("code_activation", ["identity", "sigmoid"])
def test_encoder_and_decoder_match(sizes, residual, linear_path, code_activation):
    plan = MLP(sizes, residual=residual, code_activation=code_activation)
    encoder = built(plan.make_encoder(FEATURES, COMPONENTS, linear_path=linear_path))
    decoder = built(plan.make_decoder(COMPONENTS, FEATURES, linear_path=linear_path, bounded=False))
    code = encoder(rows(FEATURES))
    assert code.shape == (BATCH, COMPONENTS)
    assert decoder(code).shape == (BATCH, FEATURES)


def test_the_decoder_mirrors_the_encoder():
    plan = MLP((8, 5))
    encoder = plan.make_encoder(FEATURES, COMPONENTS, linear_path=False)
    decoder = plan.make_decoder(COMPONENTS, FEATURES, linear_path=False, bounded=False)
    shapes = [
        [layer.weight.shape for layer in net.modules() if isinstance(layer, Linear)] for net in (encoder, decoder)
    ]
    assert shapes[0] == [(8, FEATURES), (5, 8), (COMPONENTS, 5)]
    assert shapes[1] == [(5, COMPONENTS), (8, 5), (FEATURES, 8)]


@pytest.mark.parametrize("linear_path", [False, True])
def test_without_hidden_layers_both_are_one_linear_map(linear_path):
    encoder = MLP(()).make_encoder(FEATURES, COMPONENTS, linear_path=linear_path)
    decoder = MLP(()).make_decoder(COMPONENTS, FEATURES, linear_path=linear_path, bounded=False)
    for network in (encoder, decoder):
        (only,) = network
        assert only is network.linear_path
        assert type(only) is Linear


def test_a_linear_path_is_added_on_demand():
    assert isinstance(MLP((5,)).make_encoder(FEATURES, COMPONENTS, linear_path=True), LinearPlusNonlinear)
    assert not isinstance(MLP((5,)).make_encoder(FEATURES, COMPONENTS, linear_path=False), LinearPlusNonlinear)


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("sizes", [(), (5, 5)])
def test_a_bounded_decoder_is_bounded_in_every_layer(sizes, linear_path):
    plan = MLP(sizes, residual=True)
    free = plan.make_decoder(COMPONENTS, FEATURES, linear_path=linear_path, bounded=False)
    bounded = plan.make_decoder(COMPONENTS, FEATURES, linear_path=linear_path, bounded=True)
    assert all(isinstance(layer, BoundedLinear) for layer in bounded.modules() if isinstance(layer, Linear))
    assert not any(isinstance(layer, BoundedLinear) for layer in free.modules())


@pytest.mark.parametrize(("name", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("relu", 0, float("inf"))])
@pytest.mark.parametrize("sizes", [(), (5,)])
def test_codes_lie_in_the_range_of_their_activation(name, low, high, sizes):
    plan = MLP(sizes, code_activation=name)
    code = built(plan.make_encoder(FEATURES, COMPONENTS, linear_path=False))(5 * rows(FEATURES))
    assert (code >= low).all()
    assert (code <= high).all()
    if name == "relu":
        assert (code == 0).any()


# -- a scikit-learn parameter


def test_get_params_and_set_params_reach_into_the_architecture():
    estimator = AutoencoderTransformer(architecture=MLP((8,), activation="tanh"))
    assert estimator.get_params()["architecture__activation"] == "tanh"
    estimator.set_params(architecture__hidden_layer_sizes=(4, 2), architecture__residual=True)
    assert estimator.architecture.hidden_layer_sizes == (4, 2)
    assert estimator.architecture.residual is True


def test_clone_copies_the_plan():
    plan = MLP((8, 4), activation="tanh", code_activation="relu", residual=True)
    copied = clone(plan)
    assert copied is not plan
    assert copied.get_params() == plan.get_params()


def test_repr_shows_what_differs_from_the_default():
    assert repr(MLP((32,), activation="tanh")) == "MLP(activation='tanh', hidden_layer_sizes=(32,))"
    assert repr(MLP()) == "MLP()"


@pytest.mark.parametrize("sizes", [(8, 4), [8, 4]])
def test_a_sequence_is_short_for_a_perceptron(sizes):
    plan = as_architecture(sizes)
    assert type(plan) is MLP
    assert plan.hidden_layer_sizes == (8, 4)
    assert plan.activation == MLP().activation


def test_an_architecture_object_is_copied():
    plan = MLP((8,))
    assert as_architecture(plan) is not plan
    assert as_architecture(plan).get_params() == plan.get_params()


def test_fit_leaves_the_architecture_alone():
    """A sparsity target makes codes sigmoids; the user's own object stays as it was."""
    plan = MLP((4,))
    X = rows(FEATURES).numpy()
    AutoencoderTransformer(architecture=plan, sparsity=0.1, sparsity_target=0.1, max_iter=1, device="cpu").fit(X)
    assert plan.get_params() == MLP((4,)).get_params()


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (MLP((8, 8), residual="no"), "residual"),
        (Convolutional(channels_last="false"), "channels_last"),
        (Recurrent(bidirectional=1), "bidirectional"),
    ],
)
def test_flags_are_flags(architecture, name):
    with pytest.raises(ValueError, match=f"{name} must be True or False"):
        architecture.check()
