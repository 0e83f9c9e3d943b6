"""The gaussian mixture as the start of a generator: chosen by BIC, and a model that one may keep."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sk_autoenc.data.dataset import Rows
from sk_autoenc.initialization.start import Start

#: Numbers of components that are tried, and after how many that bring nothing the search ends.
_SIZES, _MISSES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 32), 3

#: With more columns than this, covariances are diagonal.
_MANY_COLUMNS = 64

#: Rows that the mixture is fitted to at most.
_MOST_ROWS = 20_000

#: Every component must have so many rows for each column and one more.
_ROWS_PER_COLUMN = 2


class MixtureStart(Start):
    """At the gaussian mixture with the lowest BIC; the generator's network adds nothing to its draws yet.

    Parameters
    ----------
    seed : int
        Seeds the search.
    """

    is_model = True

    def __init__(self, seed: int):
        self.seed = seed

    def set(self, module: Any, rows: Rows) -> None:
        self.refit(module, rows)

    def refit(self, module: Any, rows: Rows) -> None:
        module.mixture.set(*map(torch.from_numpy, fit_mixture(rows[:].numpy(), self.seed)))
        with torch.no_grad():
            for network in (module.generator, module.average):
                network[-1].weight.zero_()
                network[-1].bias.zero_()


def fit_mixture(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and factors of the mixture with the lowest BIC; factors as ``nn.gan.MixtureMap`` has them."""
    if len(X) > _MOST_ROWS:
        X = X[np.random.default_rng(seed).choice(len(X), _MOST_ROWS, replace=False)]
    found = [best_mixture(X, kind, seed) for kind in ("diag", "full")[: 1 + (X.shape[1] <= _MANY_COLUMNS)]]
    models = [model for model in found if model is not None]
    if not models:  # hardly any rows: a normal distribution with independent columns
        return np.ones(1), X.mean(axis=0, keepdims=True), X.std(axis=0, keepdims=True)
    best = min(models, key=lambda model: model.bic(X))
    if best.covariance_type == "full":
        return best.weights_, best.means_, np.linalg.cholesky(best.covariances_)
    return best.weights_, best.means_, np.sqrt(best.covariances_)


def best_mixture(X: np.ndarray, kind: str, seed: int) -> GaussianMixture | None:
    """The mixture of this kind of covariance with the lowest BIC, if there are rows enough for any."""
    best, lowest, misses = None, np.inf, 0
    n_parameters = X.shape[1] + 1 if kind == "full" else 2
    for size in _SIZES:
        if size * n_parameters * _ROWS_PER_COLUMN > len(X) or misses == _MISSES:
            break
        model = GaussianMixture(size, covariance_type=kind, n_init=2, random_state=seed)
        # With dispatch to other array libraries, mixtures do not start at k-means.
        with warnings.catch_warnings(), config_context(array_api_dispatch=False):
            warnings.simplefilter("ignore", ConvergenceWarning)
            bic = model.fit(X.astype(np.float64)).bic(X)
        misses = 0 if bic < lowest else misses + 1
        if bic < lowest:
            best, lowest = model, bic
    return best
