"""Random weights: torch's own distributions from a private generator, and none left unset."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sk_autoenc import MLP, AAETransformer, AutoencoderTransformer, Convolutional, Recurrent, StudentT, VAETransformer
from sk_autoenc.initialization.random import check_is_set, initialize_parameters, mark_unset
from sk_autoenc.training import run
from tests.data_sets import seeded
from tests.instances import describe


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


#: Architectures and the shape of their rows.
ARCHITECTURES = [
    (MLP(()), (6,)),
    (MLP((5, 4)), (6,)),
    (MLP((5, 5), residual=True, activation="relu"), (6,)),
    (Convolutional((3, 4)), (2, 5, 8)),
    (Convolutional((3, 4), normalization="layer", hidden_layer_sizes=(5,), stride=1, dilation=(1, 2)), (2, 5, 8)),
    (Convolutional((3,), input_shape=(2, 9)), (2, 9)),
    (Recurrent(4), (2, 9)),
    (Recurrent(4, cell="lstm", num_layers=2, bidirectional=False), (2, 9)),
    (Recurrent(4, unequal_lengths=True), (2, 9)),
]
_CHEAP = {"max_iter": 1, "early_stopping": False, "random_state": 0, "device": "cpu"}
_VAE = {**_CHEAP, "n_score_samples": 2}
#: Every kind of module, with and without what is only there on demand.
ESTIMATORS = [
    AutoencoderTransformer(**_CHEAP),
    AutoencoderTransformer(**_CHEAP, noise=0.2, noise_kind="salt_and_pepper", contraction=0.1),
    AutoencoderTransformer(**_CHEAP, noise=0.2, noise_kind="masking", sparsity=0.1, sparsity_target=0.2),
    VAETransformer(**_VAE),
    VAETransformer(**_VAE, likelihood=StudentT("feature")),
    AAETransformer(**_CHEAP, critic=(4,), encoder="gaussian"),
]
OF_COUNTS = [
    AutoencoderTransformer(**_CHEAP, likelihood="poisson"),
    VAETransformer(**_VAE, likelihood="categorical"),
    AAETransformer(**_CHEAP, critic=(4,), likelihood="multinomial"),
]


def goes_with(estimator, architecture, init):
    """What is left out is refused in fit, as other tests show."""
    corrupts, is_bounded = bool(getattr(estimator, "noise", 0)), bool(getattr(estimator, "contraction", 0))
    may_end = getattr(architecture, "unequal_lengths", False)
    if init == "pca":  # a linear path beside the network
        return not may_end and getattr(estimator, "sparsity_target", None) is None
    return not (isinstance(architecture, Recurrent) and is_bounded) and not (may_end and corrupts)


CASES = (
    [
        pytest.param(estimator, architecture, shape, init, id=f"{describe(estimator)} {describe(architecture)} {init}")
        for estimator in ESTIMATORS
        for architecture, shape in ARCHITECTURES
        for init in ("random", "pca")
        if goes_with(estimator, architecture, init) and goes_with(estimator, architecture, "random")
    ]
    + [
        pytest.param(estimator, architecture, shape, "random", id=f"{describe(estimator)} {describe(architecture)}")
        for estimator in OF_COUNTS
        for architecture, shape in [(MLP((5,)), (6,)), (Convolutional((3,), input_shape=(1, 9)), (9,))]
        if isinstance(architecture, MLP) or estimator.likelihood != "categorical"
    ]
    + [
        pytest.param(clone(estimator).set_params(likelihood="categorical"), Recurrent(4, cell=cell), (9,), "random")
        for estimator in OF_COUNTS
        for cell in ("gru", "lstm")
    ]
)


@pytest.fixture
def inspected(monkeypatch):
    """Names of parameters and buffers that training begins with, of modules that had nothing but NaN before."""
    found = []

    def mark(module):
        mark_unset(module)
        assert all(value.isnan().all() for value in values_of(module).values())

    def check(module):
        found.extend(values_of(module))
        assert [name for name, value in values_of(module).items() if not value.isfinite().all()] == []

    monkeypatch.setattr(run, "mark_unset", mark)
    monkeypatch.setattr(run, "check_is_set", check)
    return found


def values_of(module):
    """Parameters and buffers, also those that no state holds."""
    return dict([*module.named_parameters(), *module.named_buffers()])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "architecture", "shape", "init"), CASES)
def test_every_parameter_and_buffer_of_every_architecture_is_set(estimator, architecture, shape, init, inspected):
    X = np.random.default_rng(0).integers(0, 3, (20, *shape)).astype(float)
    model = clone(estimator).set_params(architecture=architecture, init=init).fit(X)
    assert set(inspected) == set(values_of(model.net_.module_))
    if init == "pca":
        assert any("linear_path" in name for name in inspected)


def test_what_nobody_sets_is_found():
    layers = nn.Sequential(nn.Linear(2, 2), nn.Bilinear(2, 2, 2))
    mark_unset(layers)
    initialize_parameters(layers, seeded())
    with pytest.raises(ValueError, match=r"1\.weight of the network has no value, .* cannot initialize a Bilinear"):
        check_is_set(layers)
