"""Nets from an estimator's options: what takes effect, what is refused, and devices."""

import pytest
import torch
from torch import nn

from sk_autoenc.data.dataset import Rows
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import BoundedLinear, Linear, LinearPlusNonlinear, multilayer_perceptron
from sk_autoenc.training.builder import OPTIMIZERS, build_net, check_net_params, resolve_device
from tests.data_sets import numbered, seeded
from tests.training.small_nets import Point, Spy, squared_distance


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("lr", "learning_rate"),
        ("optimizer__lr", "learning_rate"),
        ("optimizer__weight_decay", "weight_decay"),
        ("max_epochs", "max_iter"),
        ("batch_size", "batch_size"),
        ("optimizer", "optimizer"),
        ("callbacks", "callbacks"),
        ("device", "device"),
        ("verbose", "verbose"),
        ("warm_start", "warm_start"),
        ("train_split", "validation_fraction"),
        ("module", "architecture"),
    ],
)
def test_net_params_name_the_estimators_own_parameter(name, own):
    with pytest.raises(ValueError, match=rf"use the estimator's parameter {own} instead of '{name}'"):
        check_net_params({name: 1})


@pytest.mark.parametrize("name", ["iterator_train__shuffle", "criterion", "predict_nonlinearity", "bogus", "module__x"])
def test_net_params_without_effect_are_refused(name):
    with pytest.raises(ValueError, match=rf"'{name}',? (which )?would have no effect"):
        check_net_params({"optimizer__betas": (0.9, 0.99), name: 1})


def test_net_params_that_are_accepted():
    given = {"optimizer__betas": (0.5, 0.9), "compile": False, "compile__mode": "default"}
    assert check_net_params(given) == given
    assert check_net_params(given) is not given
    assert check_net_params(None) == {}


def built(module=None, **kwargs):
    options = {
        "optimizer": "adamw",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "net_params": None,
        "device": "cpu",
        "batch_size": 4,
        "seed": 0,
    }
    objective = kwargs.pop("objective", squared_distance)
    return build_net(Point() if module is None else module, objective, **{**options, **kwargs})


def test_net_params_take_effect():
    net = built(net_params={"optimizer__betas": (0.5, 0.75)})
    assert all(group["betas"] == (0.5, 0.75) for group in net.optimizer_.param_groups)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_steps(name):
    net = built(optimizer=name, learning_rate=0.05, weight_decay=0.01)
    assert type(net.optimizer_) is OPTIMIZERS[name]
    assert all(group["lr"] == 0.05 for group in net.optimizer_.param_groups)
    net.train(Rows(numbered(16) + 5), epochs=3)
    assert net.module_.at.item() > 0.01


def test_callbacks_are_copied():
    spy = Spy(lambda net: 1)
    net = built()
    net.take_callbacks([spy])
    net.train(Rows(numbered(4)), epochs=2)
    assert spy.seen == []
    assert [len(callback.seen) for _, callback in net.callbacks_] == [2]


class EveryKindOfParameter(nn.Module):
    """A network with a linear path, whose objective has no gradient."""

    def __init__(self, linear):
        super().__init__()
        network = multilayer_perceptron([3, 4, 4, 2], "silu", residual=True, linear=linear)
        self.both = LinearPlusNonlinear(linear(3, 2), network)
        self.alone = linear(2, 2)
        initialize_parameters(self, seeded())

    def forward(self, x, generator=None):
        return 0 * self.alone(self.both(x)).sum(-1)


@pytest.mark.parametrize("linear", [Linear, BoundedLinear])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_decay_but_neither_biases_nor_the_linear_path(optimizer, linear):
    """Without gradients a step multiplies what decays by ``1 - learning_rate * weight_decay``."""
    module = EveryKindOfParameter(linear)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    net = built(
        module,
        objective=lambda output, batch: {"nothing": output},
        optimizer=optimizer,
        learning_rate=0.1,
        weight_decay=0.5,
    )
    net.train(Rows(torch.ones(4, 3)), epochs=1)
    rates = {name: (value.detach() / before[name]).mean().item() for name, value in net.module_.named_parameters()}
    decaying = {name for name in rates if name.endswith("weight") and "linear_path" not in name}
    assert len(decaying) == 4
    assert {name: rates[name] for name in decaying} == pytest.approx(dict.fromkeys(decaying, 0.95))
    assert {name for name, rate in rates.items() if rate != 1.0} == decaying


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"device must be 'auto' or one of cpu, got '{device}'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_none(device):
    with pytest.raises(ValueError, match=r"device must be 'auto' or one of cpu") as error:
        resolve_device(device)
    assert repr(device) in str(error.value)


def test_devices_that_are_there():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
