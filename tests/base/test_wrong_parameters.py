"""Parameters of a wrong type or size, and a lack of memory: errors name what the user has set."""

import numpy as np
import pytest
import torch

from sk_autoenc import (
    MLP,
    AAETransformer,
    AutoencoderTransformer,
    Convolutional,
    GANSampler,
    Gaussian,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    Vocabulary,
    save,
)
from sk_autoenc.training.builder import BatchInForce, lack_of_memory_explained

X = np.random.default_rng(0).normal(size=(60, 4))
ESTIMATORS = [AutoencoderTransformer, VAETransformer, AAETransformer, GANSampler]


@pytest.mark.parametrize("value", [True, np.True_, False])
@pytest.mark.parametrize("name", ["n_components", "batch_size", "max_iter", "learning_rate", "n_iter_no_change"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_bool_is_no_number(kind, name, value):
    with pytest.raises(ValueError, match=f"The {name!r} parameter of {kind.__name__} must be"):
        kind(**{name: value}).fit(X)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (VAETransformer, "free_bits"),
        (VAETransformer, "beta"),
        (AutoencoderTransformer, "noise"),
        (AutoencoderTransformer, "sparsity"),
        (AutoencoderTransformer, "contraction"),
        (AutoencoderTransformer, "weight_decay"),
        (AutoencoderTransformer, "learning_rate"),
        (AutoencoderTransformer, "tol"),
        (AAETransformer, "critic_learning_rate"),
    ],
)
@pytest.mark.parametrize("value", [1e300, np.inf])
def test_numbers_that_float32_cannot_hold_are_refused(kind, name, value):
    with pytest.raises(ValueError, match=f"The {name!r} parameter of {kind.__name__} must be a float in the range"):
        kind(**{name: value}).fit(X)


@pytest.mark.parametrize(
    "architecture",
    [
        np.array(3),
        (4, 0),
        (True,),
        ((4, 4), (4, 4)),
        MLP((4,), activation="swish"),
        MLP(4),
        Convolutional((4,)),
        Convolutional((4,), kernel_size=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_refusals_of_architectures_name_the_parameter(kind, architecture):
    with pytest.raises(ValueError, match=r"^architecture: (MLP|Convolutional): "):
        kind(architecture=architecture).fit(X)


def test_refusals_of_other_networks_name_their_parameter():
    for kind in (AAETransformer, GANSampler):
        with pytest.raises(ValueError, match=r"^critic: MLP: hidden_layer_sizes must be a sequence"):
            kind(critic=np.array(3)).fit(X)
    with pytest.raises(ValueError, match=r"^hidden_layer_sizes must have integers of 1 or more, got 0"):
        ReconstructionOutlierDetector(hidden_layer_sizes=(0,)).fit(X)
    with pytest.raises(ValueError, match=r"^architecture: Recurrent: hidden_size"):
        VAETransformer(architecture=Recurrent(0)).fit(X)


@pytest.mark.parametrize("pattern", [r"\b", r"a*|.", "(?=b)"])
def test_patterns_that_match_nothing_at_a_place_are_refused(pattern):
    with pytest.raises(ValueError, match="token_pattern must"):
        Vocabulary(token_pattern=pattern).fit(["ab", "b"])


@pytest.mark.parametrize("asked", ["auto", 7])
def test_a_lack_of_memory_names_the_batch_size_in_force(monkeypatch, asked):
    model = AutoencoderTransformer(architecture=(4,), max_iter=1, batch_size=asked, device="cpu")
    size = 7 if asked == 7 else r"32 \('auto'\)"  # the least of "auto"
    for error, message in [
        (torch.OutOfMemoryError("CUDA out of memory"), f"device='cpu' has run out of memory with batch_size={size}"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
            f"the CPU has run out of memory with batch_size={size}",
        ),
    ]:

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr("sk_autoenc.base.estimator.run", fail)
        with pytest.raises(MemoryError, match=message):
            model.fit(X)
        assert not hasattr(model, "net_")


def test_torchs_own_message_for_too_large_a_tensor_is_recognised():
    with pytest.raises(MemoryError, match="batch_size=5; use"), lack_of_memory_explained("cpu", BatchInForce(5)):
        torch.empty(2**55, dtype=torch.uint8, device="cpu")
    with pytest.raises(RuntimeError, match="something else"), lack_of_memory_explained("cpu", BatchInForce(5)):
        raise RuntimeError("something else")


def test_save_refuses_derived_classes_with_a_public_name(tmp_path):
    derived = type("AutoencoderTransformer", (AutoencoderTransformer,), {})
    with pytest.raises(ValueError, match="of no derived class"):
        save(derived(architecture=(4,), max_iter=1).fit(X), tmp_path / "model")
    noise = type("Gaussian", (Gaussian,), {})
    with pytest.raises(ValueError, match="likelihood"):
        save(VAETransformer(architecture=(4,), max_iter=1, likelihood=noise()).fit(X), tmp_path / "model")
    assert not list(tmp_path.iterdir())
