"""
More rows of a rare class
=========================

Does it help a classifier to draw rows of a rare class? Copies, SMOTE, a mixture and a GAN, inside cross-validation,
beside no over-sampling.
"""

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_validate

from sk_autoenc import ClassSampler, ConditionalGANSampler

X, y = make_classification(
    3000,
    8,
    n_informative=6,
    n_redundant=0,
    n_clusters_per_class=2,
    weights=[0.95],
    class_sep=0.9,
    flip_y=0.01,
    random_state=0,
)
print(f"{y.sum()} of {len(y)} rows are of the rare class")

# %%
# Rare rows are drawn until there is one for four others. ``fit_resample`` runs on the training rows of a fold alone.

gan = ConditionalGANSampler(sampling_strategy=0.25, max_iter=25, batch_size=256, random_state=0, device="cpu")
samplers = {
    "none": None,
    "copies": RandomOverSampler(sampling_strategy=0.25, random_state=0),
    "SMOTE": SMOTE(sampling_strategy=0.25, random_state=0),
    "mixture": ClassSampler(GaussianMixture(4, reg_covar=1e-3), sampling_strategy=0.25, random_state=0),
    "GAN": gan,
}
folds = StratifiedKFold(5, shuffle=True, random_state=0)
trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
figures = ["average_precision", "recall", "neg_brier_score"]
found = {
    name: cross_validate(trees if sampler is None else make_pipeline(sampler, trees), X, y, cv=folds, scoring=figures)
    for name, sampler in samplers.items()
}

# %%
# Average precision is of the ranking, recall of the classes that ``predict`` says, and the Brier score of the
# probabilities (lower is better). The error is that of the differences to no over-sampling, fold by fold.

for name, scores in found.items():
    gain = scores["test_average_precision"] - found["none"]["test_average_precision"]
    error = gain.std(ddof=1) / len(gain) ** 0.5
    print(
        f"{name:8} average precision {scores['test_average_precision'].mean():.3f} ({gain.mean():+.3f} ± {error:.3f}), "
        f"recall {scores['test_recall'].mean():.2f}, Brier score {-scores['test_neg_brier_score'].mean():.4f}"
    )

_, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for axis, figure in zip(axes, ("average_precision", "recall"), strict=True):
    axis.boxplot([scores[f"test_{figure}"] for scores in found.values()], orientation="horizontal")
    axis.set_yticks(np.arange(len(found)) + 1, found)
    axis.set_xlabel(figure.replace("_", " "))

# %%
# A gain within one or two standard errors is chance. Added rows make a classifier say the rare class more often, so
# recall may rise where the ranking does not; a lower threshold on ``predict_proba`` does the same without new rows.
# Judge over-sampling by the figure that you need, inside cross-validation, beside no over-sampling.
