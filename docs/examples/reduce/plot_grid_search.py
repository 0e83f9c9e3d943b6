"""
Choose noise and sparsity by grid search
========================================

Noise and penalties are parameters, so :class:`~sklearn.model_selection.GridSearchCV` can choose them. What it chooses
depends on the question, and the question is the scorer.

``score`` is minus the squared error of held-out rows. No penalty enters: if it did, the search would always prefer no
penalty. Noise does not enter either, as ``score`` reads the rows as they are.

Early stopping is off here: the search holds rows out itself, and with as few as these the estimator would train on
folds of its own within every fold of the search.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sk_autoenc import MLP, AutoencoderTransformer

X = load_digits().data[:500]
options = {"architecture": (64,), "max_iter": 30, "early_stopping": False, "random_state": 0}
autoencoder = AutoencoderTransformer(16, **options)
grid = {"noise": [0.0, 0.2, 0.5, 1.0], "sparsity": [0.0, 0.03, 0.3]}

# %%
# Two questions
# -------------
# The first: how well are *clean* rows rebuilt? That is ``score``. The second: how well are *noisy* rows cleaned? That
# takes a scorer which adds noise to what the autoencoder sees, and compares with the clean rows. Its noise comes from a
# fixed seed, so that all candidates see the same.


def clean_score(estimator, X, y=None):
    """The estimator's own score: minus the squared error, summed over features, averaged over rows."""
    return estimator.score(X)


def denoising_score(estimator, X, y=None):
    """The same, between clean rows and what is made of noisy ones."""
    X_noisy = X + 3.0 * np.random.default_rng(0).normal(size=X.shape)
    return -((X - estimator.reconstruct(X_noisy)) ** 2).sum(axis=1).mean()


scorers = {"clean rows": clean_score, "noisy rows": denoising_score}
search = GridSearchCV(autoencoder, grid, scoring=scorers, refit="noisy rows", cv=2).fit(X)

# %%
# One search answers both, since ``scoring`` may hold several scorers. As squared errors (lower is better):

_, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, name in zip(axes, scorers, strict=True):
    scores = search.cv_results_[f"mean_test_{name}"]
    print(f"best for {name}:", search.cv_results_["params"][scores.argmax()])
    errors = -scores.reshape(len(grid["noise"]), len(grid["sparsity"]))  # noise downwards, sparsity across
    ax.imshow(errors, cmap="viridis_r")
    for (i, j), value in np.ndenumerate(errors):
        ax.text(
            j, i, f"{value:.0f}", ha="center", va="center", color="white", bbox={"facecolor": "black", "alpha": 0.4}
        )
    ax.set(title=f"squared error, {name}", xlabel="sparsity", ylabel="noise")
    ax.set_xticks(range(errors.shape[1]), grid["sparsity"])
    ax.set_yticks(range(errors.shape[0]), grid["noise"])

# %%
# For clean rows, a little noise in training does about as well as none, and much noise does harm. For noisy rows an
# amount in between is best, and too much is nearly as bad as none. So the two questions have two answers, and the
# estimator's own ``score`` could only have given the first.
#
# Sparsity raises the error nearly everywhere. That is to be expected: both scores ask for reconstructions, and a
# penalty on the code takes away from these; at best it regularises a little where there is no noise to do so. Part of
# the step from 0 to 0.03 is not the penalty itself but the bound on the decoder's weights that comes with it.
#
# What sparsity is for
# --------------------
# It buys something else: codes of which most units are zero for any one row. With ``code_activation="relu"`` the zeros
# are exact. How much of that is wanted is no question for ``score``.

relu_codes = MLP((64,), code_activation="relu")
print("sparsity   squared error   share of zeros in the codes")
for sparsity in (0.0, 0.1, 0.3, 1.0):
    model = AutoencoderTransformer(64, **{**options, "architecture": relu_codes}, sparsity=sparsity).fit(X)
    print(f"{sparsity:8.2f} {model.reconstruction_err_:15.0f} {(model.transform(X) == 0).mean():20.2f}")
