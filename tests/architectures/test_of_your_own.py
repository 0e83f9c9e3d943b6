"""An architecture that a user writes from the guide alone works in every estimator that takes architectures."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from sk_autoenc import AAETransformer, AutoencoderTransformer, ReconstructionOutlierDetector, VAETransformer, save
from sk_autoenc.architectures import Architecture

X = np.random.default_rng(0).normal(size=(90, 2)) @ np.random.default_rng(1).normal(size=(2, 6))
CHEAP = {"max_iter": 3, "random_state": 0, "device": "cpu"}


class Gated(Architecture):
    """That of the guide; a test compares them."""

    def __init__(self, width=32):
        self.width = width

    def check(self):
        if self.width < 1:
            raise ValueError(f"Gated: width must be 1 or more, got {self.width}.")

    def make_encoder(self, n_features, n_components, *, linear_path):
        return self._network(n_features, n_components, linear_path)

    def make_decoder(self, n_components, n_outputs, *, linear_path, bounded):
        if bounded:
            raise ValueError("Gated has no bounded decoder; set sparsity=0 and contraction=0.")
        return self._network(n_components, n_outputs, linear_path)

    def _network(self, n_in, n_out, linear_path):
        layers = nn.Sequential(nn.Linear(n_in, 2 * self.width), nn.GLU(), nn.Linear(self.width, n_out))
        return self.beside_linear_path(layers, n_in, n_out, linear_path)


def test_it_is_the_one_of_the_guide():
    guide = (Path(__file__).parents[2] / "docs/guide/architectures.rst").read_text()
    for method in ("check", "make_encoder", "make_decoder", "_network"):
        body = re.search(rf"def {method}\(.*?\n\n", Path(__file__).read_text(), re.DOTALL).group()
        for line in body.split("\n"):
            assert line.strip() in guide


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
@pytest.mark.parametrize("options", [{}, {"init": "random"}, {"early_stopping": False}], ids=str)
def test_it_trains_and_computes_each_row_by_itself(kind, options):
    model = kind(2, architecture=Gated(4), **CHEAP, **options).fit(X)
    codes = model.transform(X)
    assert codes.shape == (90, 2)
    # Layers of torch may round a row by its place in a block; those of this library do not.
    np.testing.assert_allclose(model.transform(X[7:8]), codes[7:8], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), codes)
    rows = torch.tensor(X[:3], dtype=torch.float32, requires_grad=True)
    model.decoder_(model.encoder_(rows)).sum().backward()
    assert rows.grad.isfinite().all()


def test_training_starts_at_pca():
    kept = AutoencoderTransformer(2, architecture=Gated(4), **CHEAP).fit(X[:30])
    assert kept.linear_
    assert kept.reconstruction_err_ < 1e-9


def test_it_is_searched_checked_and_used_by_the_detector():
    model = AutoencoderTransformer(1, architecture=Gated(4), **CHEAP)
    search = GridSearchCV(model, {"architecture__width": [2, 3]}, cv=2).fit(X)
    assert search.best_params_["architecture__width"] in (2, 3)
    assert ReconstructionOutlierDetector(model, n_estimators=1, random_state=0).fit(X).predict(X).shape == (90,)
    with pytest.raises(ValueError, match="width must be 1 or more, got 0"):
        model.set_params(architecture__width=0).fit(X)
    with pytest.raises(ValueError, match="Gated has no bounded decoder"):
        AutoencoderTransformer(1, architecture=Gated(4), sparsity=0.1, **CHEAP).fit(X)


def test_save_refuses_it_by_name(tmp_path):
    with pytest.raises(ValueError, match="Gated"):
        save(AutoencoderTransformer(1, architecture=Gated(4), **CHEAP).fit(X), tmp_path / "model")
