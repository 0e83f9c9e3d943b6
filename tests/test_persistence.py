"""Save and load: the same model back, nothing from a damaged or foreign file, and never half a file."""

import pickle
import resource
import signal
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from skorch.callbacks import GradientNormClipping

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    GaussianMixturePrior,
    VAETransformer,
    Vocabulary,
    load,
    persistence,
    save,
)
from tests.instances import INSTANCES

X = np.random.default_rng(0).standard_normal((50, 4))


@pytest.fixture
def model():
    return AutoencoderTransformer(2, architecture=(8,), max_iter=2, random_state=0, device="cpu").fit(X)


@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_what_comes_back_is_what_was_saved(instance, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    saved = clone(instance).set_output(transform="pandas").fit(frame)
    save(saved, tmp_path / "model")
    opened = load(tmp_path / "model")
    pd.testing.assert_frame_equal(opened.transform(frame), saved.transform(frame))
    np.testing.assert_array_equal(opened.score_samples(frame), saved.score_samples(frame))
    assert repr(opened) == repr(saved)
    assert opened.loss_curves_ == saved.loss_curves_
    assert opened.input_shape_ == saved.input_shape_
    np.testing.assert_array_equal(opened.feature_names_in_, saved.feature_names_in_)
    opened.partial_fit(frame)


def test_parameters_set_after_fit_do_not_change_the_model(model, tmp_path):
    expected = model.transform(X)
    save(model.set_params(n_components=3, architecture=(3,)), tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(X), expected)


def test_what_needs_pickle_is_refused(tmp_path):
    model = AutoencoderTransformer(2, max_iter=1, callbacks=[GradientNormClipping(1.0)]).fit(X)
    with pytest.raises(ValueError, match=r"callbacks.*without pickle"):
        save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_seen(model, tmp_path):
    save(model, tmp_path / "model")
    content = bytearray((tmp_path / "model").read_bytes())
    for position in (len(content) - 3, len(content) // 2, content.index(b"max_iter") + 12):
        damaged = content.copy()
        damaged[position] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            load(tmp_path / "damaged")


def test_truncated_and_foreign_files_are_refused(model, tmp_path):
    save(model, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    for length in (0, 5, 100, len(content) - 1):
        (tmp_path / "short").write_bytes(content[:length])
        with pytest.raises(ValueError, match="truncated"):
            load(tmp_path / "short")
    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="format None"):
        load(tmp_path / "foreign")
    (tmp_path / "pickle").write_bytes(pickle.dumps(model))
    with pytest.raises(ValueError, match="no file of this library"):
        load(tmp_path / "pickle")


def test_a_file_of_another_format_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(persistence, "_FORMAT", "1")
    save(model, tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format '1'; this version reads '2'"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("limit", "said"), [("_MOST_BYTES", "characters"), ("_MOST_BRACKETS", "lists"), ("_MOST_ARRAYS", "arrays")]
)
def test_what_is_too_large_to_load_is_not_saved(limit, said, model, tmp_path, monkeypatch):
    save(model, tmp_path / "model")
    monkeypatch.setattr(persistence, limit, 5)
    with pytest.raises(ValueError, match=f"the estimator has .*{said}"):
        save(model, tmp_path / "other")
    with pytest.raises(ValueError, match=f"the file has .*{said}"):
        load(tmp_path / "model")
    assert not (tmp_path / "other").exists()


def test_only_regular_files_are_replaced(model, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for target in (tmp_path, tmp_path / "link"):
        with pytest.raises(ValueError, match="path="):
            save(model, target)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(tmp_path / "nothing")


def test_a_full_disk_leaves_the_old_file(model, tmp_path):
    """A limit on the size of files stands for the full disk."""
    (tmp_path / "model").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"path=.*model"):
            save(model, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "model").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_vocabulary_is_kept(tmp_path):
    vocabulary = Vocabulary(unknown="?").fit(["ab", "c"])
    save(vocabulary, tmp_path / "vocabulary")
    again = load(tmp_path / "vocabulary")
    assert again.tokens_.dtype == vocabulary.tokens_.dtype
    np.testing.assert_array_equal(again.transform(["ab", "d"]), vocabulary.transform(["ab", "d"]))


def test_an_array_without_axes_stays_one(tmp_path):
    prior = GaussianMixturePrior([[0.0, 0.0], [1.0, 1.0]], covariances=np.array(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too short a game
        saved = AAETransformer(2, prior=prior, architecture=(4,), max_iter=1, random_state=0).fit(X)
    save(saved, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(X), saved.score_samples(X))


def test_pipelines_need_an_extra_and_a_fit(model, tmp_path, monkeypatch):
    """The rest about them is in ``test_composites.py``."""
    with pytest.raises(NotFittedError):
        save(make_pipeline(AutoencoderTransformer(1)), tmp_path / "model")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"pip install .sk-autoenc\[skops\]"):
        save(make_pipeline(model), tmp_path / "model")


def test_classes_of_others_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"got Series.*pandas.*Series"):
        save(pd.Series([1.0]), tmp_path / "model")


def test_requests_for_metadata_are_left_out(tmp_path):
    with config_context(enable_metadata_routing=True):
        model = VAETransformer(1, max_iter=1, random_state=0).set_score_request(n_samples=True).fit(X)
        save(model, tmp_path / "model")
        opened = load(tmp_path / "model")
    np.testing.assert_array_equal(opened.transform(X), model.transform(X))
