"""
Which density model fits my data?
=================================

A density model says how probable rows are. Held-out rows decide between such models: the one under which they are more
probable, on average over rows and in nats, fits better. scikit-learn has four models whose densities can be compared
in this way, :class:`~sklearn.decomposition.PCA` (a density since Tipping and Bishop 1999),
:class:`~sklearn.decomposition.FactorAnalysis`, :class:`~sklearn.mixture.GaussianMixture` and
:class:`~sklearn.neighbors.KernelDensity`. :class:`~sk_autoenc.VAETransformer` can be compared with them in one grid.
"""

# %%
# The data: 569 rows of 30 measurements of cell nuclei, skewed, with far values, and some nearly a function of others.
# A quarter of the rows is left for the end.

import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import Gaussian, StudentT, VAETransformer
from sk_autoenc.inspection import ComponentKLDisplay

X = load_breast_cancer(as_frame=True).data
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)

# %%
# Five models in one search
# -------------------------
# The model itself is a parameter of the pipeline, and each has some of its own to choose. The scorer is the mean of
# ``score_samples``, because ``KernelDensity.score`` is the sum over rows. Densities depend on units; all candidates
# see the same standardised rows, so their nats can be compared.
#
# The search holds rows out itself, so the VAE trains without early stopping, for a number of epochs set beforehand.


def mean_nats(estimator, X, y=None):
    """Mean log-density of the rows."""
    return estimator.score_samples(X).mean()


vae = VAETransformer(max_iter=30, early_stopping=False, random_state=0)
grid = [
    {"density": [PCA(), FactorAnalysis()], "density__n_components": [2, 4, 8, 16]},
    {"density": [KernelDensity()], "density__bandwidth": [0.2, 0.3, 0.5, 0.7, 1.0]},
    {
        "density": [GaussianMixture(reg_covar=1e-3, random_state=0)],
        "density__n_components": [1, 2, 3, 4, 8],
        "density__covariance_type": ["full", "diag"],
    },
    {"density": [vae], "density__n_components": [2, 4]},
]
pipeline = Pipeline([("scale", StandardScaler()), ("density", PCA())])
search = GridSearchCV(pipeline, grid, scoring=mean_nats, cv=3).fit(X_train)
print("chosen:", type(search.best_params_["density"]).__name__, f"with {search.best_score_:.1f} nats")

# %%
# The best candidate of each kind by the folds of the search, fitted to all training rows, and what it says of the rows
# that were left for the end:

results = pd.DataFrame(search.cv_results_)
results["kind"] = [type(model).__name__ for model in results.param_density]
best = results.loc[results.groupby("kind").mean_test_score.idxmax()].set_index("kind").sort_values("mean_test_score")
fitted = {kind: clone(pipeline).set_params(**params).fit(X_train) for kind, params in best.params.items()}
best["held out"] = [mean_nats(model, X_test) for model in fitted.values()]
print(best[["mean_test_score", "held out", "mean_fit_time"]].round(1))

ax = best[["mean_test_score", "held out"]].plot.barh(figsize=(7, 3.5), xlabel="nats per row", ylabel="")
ax.figure.set_layout_engine("constrained")

# %%
# A difference of one nat means that a held-out row is 2.7 times as probable, typically. So the order is clear here, on
# these rows. Elsewhere it is another: a mixture may win where rows lie in clumps, and where they are normal none beats
# the linear models. The price is in the last column, in seconds.
#
# What makes the difference
# -------------------------
# The usual VAE has a network for the mean and one noise variance for each feature, which is factor analysis with a
# curved surface in place of the plane. The default here lets noise be correlated between features, be larger for some
# rows than for others, and have heavier tails than a normal distribution. One after the other, on the held-out rows:

likelihoods = {
    "a variance for each feature": Gaussian("feature"),
    "variances of each row": Gaussian("row", correlated=False),
    "and correlated noise": Gaussian("row"),
    "and heavy tails (the default)": StudentT("row"),
}
for name, likelihood in likelihoods.items():
    model = make_pipeline(StandardScaler(), clone(vae).set_params(n_components=4, likelihood=likelihood)).fit(X_train)
    print(f"{name:30s} {mean_nats(model, X_test):6.1f} nats")

# %%
# Here nearly all of the gain is correlated noise: some measurements (radius, perimeter, area) nearly determine one
# another, more exactly than four codes can say. With the network's mean alone the VAE would have lost to the mixture.
#
# How many components
# -------------------
# Each component costs its KL divergence, in nats, for what it says about rows; one that says nothing falls to zero by
# itself. The model that the search chose:

ComponentKLDisplay.from_estimator(fitted["VAETransformer"].named_steps["density"], sort=True)
