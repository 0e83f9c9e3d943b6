"""On a GPU: fits equal themselves, models move, memory is given back, and no step waits for the device."""

import gc
import pickle

import numpy as np
import pytest
import torch

from sk_autoenc import AAETransformer, AutoencoderTransformer, GANSampler, Streamed, VAETransformer, load, save

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

SMALL = {"max_iter": 2, "batch_size": 128, "device": "cuda", "random_state": 0}

MODELS = [
    AutoencoderTransformer(2, **SMALL),
    AutoencoderTransformer(2, init="random", noise=0.1, **SMALL),
    VAETransformer(2, **SMALL),
    AAETransformer(2, n_critic=2, **SMALL),
]

EACH_MODEL = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32) ** 3


@EACH_MODEL
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_two_fits_agree_bit_for_bit_and_the_model_opens_anywhere(model, X, tmp_path):
    codes = model.fit(X).transform(X)
    assert next(model.net_.module_.parameters()).is_cuda
    np.testing.assert_array_equal(codes, model.fit(X).transform(X))
    np.testing.assert_array_equal(codes[:1], model.transform(X[:1]))
    save(model, tmp_path / "model.zip")
    for copy in (load(tmp_path / "model.zip"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(codes, copy.transform(X))
    state = model.__getstate__()
    assert all(isinstance(weight, np.ndarray) for weight in state["_weights"].values())
    on_cpu = type(model)(**{**model.get_params(), "device": "cpu"}).fit(X)
    np.testing.assert_allclose(on_cpu.score(X), model.score(X), rtol=0.2)


@EACH_MODEL
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_memory_is_given_back(model, X):
    def allocated():
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    type(model)(**model.get_params()).fit(X)  # what libraries keep for themselves
    before = allocated()
    fitted = type(model)(**model.get_params()).fit(X)
    fitted.transform(X)
    assert allocated() > before
    del fitted
    assert allocated() <= before


@pytest.mark.parametrize(
    "model",
    [AutoencoderTransformer(2, **SMALL), VAETransformer(2, **SMALL), GANSampler(**SMALL)],
    ids=lambda model: type(model).__name__,
)
def test_a_step_does_not_wait_for_the_device(model, X):
    """CUDA is asked to refuse every wait within an epoch's steps; the epoch's end may wait once."""
    from skorch.callbacks import Callback

    class NoWaiting(Callback):
        def on_batch_begin(self, net, **kwargs):
            torch.cuda.set_sync_debug_mode("error")

        def on_batch_end(self, net, **kwargs):
            torch.cuda.set_sync_debug_mode("default")

    try:
        model.set_params(callbacks=[NoWaiting()]).fit(X)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        model.set_params(callbacks=None)


def test_a_stream_trains_on_the_gpu(X):
    rows = np.concatenate([X, X + 1])
    model = AutoencoderTransformer(2, **SMALL).fit(Streamed(rows, buffer_size=600))
    assert next(model.net_.module_.parameters()).is_cuda
    assert np.isfinite(model.score(rows))
