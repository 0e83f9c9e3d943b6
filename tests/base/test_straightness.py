"""One way from parameters to a trained model: they are resolved once in a fit, whatever the number of networks."""

import sys

import numpy as np
import pytest
from sklearn.base import clone

from sk_autoenc import AAETransformer, AutoencoderTransformer, Gaussian, VAETransformer
from sk_autoenc.data.splits import FEW_ROWS
from tests.instances import describe

_OPTIONS = {"architecture": (4,), "max_iter": 2, "random_state": 0, "device": "cpu"}
#: Alone, with a share held out and with folds; the VAE has a final phase, too.
ESTIMATORS = [
    AutoencoderTransformer(**_OPTIONS, early_stopping=False),
    AutoencoderTransformer(**_OPTIONS),
    VAETransformer(**{**_OPTIONS, "max_iter": 5}, n_score_samples=2, init="random"),
    AAETransformer(**_OPTIONS, critic=(4,), likelihood=Gaussian(), early_stopping=True),
]


@pytest.fixture
def calls(monkeypatch):
    """How often each function was called, wherever a module of the package has imported it."""
    found = {}

    def count(name):
        for module in [module for key, module in sys.modules.items() if key.startswith("sk_autoenc")]:
            if (original := vars(module).get(name)) is not None:

                def counted(*args, original=original, **kwargs):
                    found[name] += 1
                    return original(*args, **kwargs)

                found[name] = 0
                monkeypatch.setattr(module, name, counted)

    for name in ("as_architecture", "as_likelihood", "build_net"):
        count(name)
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("n_rows", "n_nets"), [(60, 5), (FEW_ROWS, 1)])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=describe)
def test_architecture_and_likelihood_are_read_once_in_a_fit(estimator, n_rows, n_nets, calls):
    X = np.random.default_rng(0).standard_normal((n_rows, 4))
    clone(estimator).fit(X)
    assert 1 <= calls["as_architecture"] <= 2
    assert 1 <= calls["as_likelihood"] <= 2
    assert calls["build_net"] == (n_nets if estimator.early_stopping else 1)
