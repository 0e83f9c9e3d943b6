"""Functions that inspect and change the transformer that a detector clones."""

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_autoenc.base.density import DensityAutoencoder
from sk_autoenc.likelihoods import as_likelihood, likelihood_class


def is_of_categories(transformer: Any) -> bool:
    """Whether a transformer is an autoencoder of categories, or a Pipeline that ends in one."""
    likelihood = getattr(last_step(transformer), "likelihood", None)
    return likelihood is not None and not getattr(likelihood_class(likelihood), "has_mean", True)


def last_step(transformer: Any) -> Any:
    """The last step of a Pipeline, also if that is a Pipeline; any other transformer itself."""
    while isinstance(transformer, Pipeline):
        transformer = transformer.steps[-1][1]
    return transformer


def with_categories_of(X: np.ndarray, transformer: Any) -> Any:
    """The transformer with the number of categories in all rows; a subsample may lack rare ones."""
    if isinstance(transformer, Pipeline) or not is_of_categories(transformer):
        return transformer
    as_sequences = getattr(transformer.architecture, "reads_sequences", False)
    counted = as_likelihood(transformer.likelihood).counted_in(X, as_sequences=as_sequences)
    return clone(transformer).set_params(likelihood=counted)


def with_normal_priors(transformer: Any) -> Any:
    """The transformer with ``prior="normal"`` for ``"auto"``: a fitted one gives groups of outliers a high density."""
    steps = {"": transformer} | {f"{name}__": value for name, value in transformer.get_params().items()}
    names = [f"{step}prior" for step, it in steps.items() if isinstance(it, DensityAutoencoder) and it.prior == "auto"]
    return clone(transformer).set_params(**dict.fromkeys(names, "normal")) if names else transformer


def with_seed(transformer: Any, seed: int) -> Any:
    """The transformer with every ``random_state`` set, including those of its parts."""
    names = [name for name in transformer.get_params() if name == "random_state" or name.endswith("__random_state")]
    return transformer.set_params(**dict.fromkeys(names, seed)) if names else transformer
