"""
Missing cells filled, with intervals
====================================

scikit-learn's example of imputation compares how well a regression predicts after missing cells were filled in
different ways. :class:`~sk_autoenc.AutoencoderImputer` takes the place of its imputers by one word. Beyond that it
draws, so that one sees how uncertain a filled cell is.
"""

# %%
# The table: ten measurements of diabetes patients. A third of the cells go missing.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from sk_autoenc import AutoencoderImputer

X, y = load_diabetes(return_X_y=True)
missing = np.random.default_rng(0).random(X.shape) < 1 / 3
holes = np.where(missing, np.nan, X)

# %%
# One for the other
# -----------------
# What a linear regression predicts after the cells were filled, and how far filled cells of unseen rows are from the
# true ones, in standard deviations.

imputers = {
    "SimpleImputer": SimpleImputer(),
    "KNNImputer": KNNImputer(),
    "IterativeImputer": IterativeImputer(max_iter=50, random_state=0),
    "AutoencoderImputer": AutoencoderImputer(max_iter=20, random_state=0),
}
train, test = train_test_split(np.arange(len(X)), test_size=0.3, random_state=0)
print("                      R²  error of cells")
for name, imputer in imputers.items():
    score = cross_val_score(make_pipeline(imputer, RidgeCV()), holes, y, cv=3).mean()
    filled = imputer.fit(holes[train]).transform(holes[test])
    error = np.sqrt(np.square((filled - X[test]) / X.std(axis=0))[missing[test]].mean())
    print(f"{name:20s} {score:6.3f} {error:11.3f}")

# %%
# Did the network help? In this table of numbers with linear relations, the normal distribution is enough.

imputer = imputers["AutoencoderImputer"]
print("the result is the normal distribution alone:", imputer.linear_)

# %%
# How uncertain is a cell?
# ------------------------
# Draws give each filled cell an interval. Cells that the others determine have short ones. Close to 90 % of the true
# values lie within the 90 % intervals.

draws = imputer.sample_imputations(holes[test], n_draws=200, random_state=0)
low, high = np.quantile(draws, [0.05, 0.95], axis=0)
inside = (low <= X[test]) & (X[test] <= high)
print(f"inside: {inside[missing[test]].mean():.1%}")

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
for ax, (column, name) in zip(axes, {4: "total cholesterol", 9: "blood sugar"}.items(), strict=True):
    rows = np.flatnonzero(missing[test, column])
    middle, truth = draws[:, rows, column].mean(axis=0), X[test][rows, column]
    reach = np.abs(np.stack([low[rows, column], high[rows, column]]) - middle)
    ax.errorbar(truth, middle, reach, fmt="o", markersize=4, linewidth=1, alpha=0.7)
    ax.axline((0, 0), slope=1, color="black", linewidth=1)
    ax.set(title=name, xlabel="true value")
axes[0].set_ylabel("filled, with 90 % interval")

# %%
# A mean of a column is less certain than the filled table alone would have it. Rubin's rules add the variance between
# draws.

column = draws[:, :, 9]
within, between = column.var(axis=1, ddof=1).mean() / len(test), column.mean(axis=1).var(ddof=1)
print(f"mean {column.mean():.4f}, standard error {np.sqrt(within + (1 + 1 / len(draws)) * between):.4f}")
