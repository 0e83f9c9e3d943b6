"""
Outliers in a table, explained and calibrated
=============================================

:class:`~sk_autoenc.ReconstructionOutlierDetector` has the methods of :class:`~sklearn.ensemble.IsolationForest`:
``fit``, ``predict`` with -1 for an outlier, ``score_samples``, ``offset_``. One can take the place of the other. What
it says beyond that: which features make a row unusual, and how often an alarm would be false.
"""

# %%
# The table: measurements of cells from 357 benign tumours, and of 20 malignant ones that are to be found. Nobody tells
# the methods which is which.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from sk_autoenc import ReconstructionOutlierDetector
from sk_autoenc.inspection import OutlierExplanationDisplay

table = load_breast_cancer(as_frame=True)
benign, malignant = (table.data[table.target == label] for label in (1, 0))
X = pd.concat([benign, malignant.sample(20, random_state=0)], ignore_index=True)
y = np.arange(len(X)) >= len(benign)

# %%
# One for the other
# -----------------

detectors = {
    "IsolationForest": IsolationForest(random_state=0),
    "ours": ReconstructionOutlierDetector(random_state=0),
}
print("                 AUROC  average precision")
for name, detector in detectors.items():
    outlyingness = -detector.fit(X).score_samples(X)
    print(f"{name:15s} {roc_auc_score(y, outlyingness):6.3f} {average_precision_score(y, outlyingness):13.3f}")

# %%
# Why is this row an outlier?
# ---------------------------
# ``explain`` gives each feature's part of the outlyingness; the parts of a row add up to ``-score_samples``. As ``X``
# is a data frame, so is the result.

detector = detectors["ours"]
parts = detector.explain(X)
print("largest difference:", abs(parts.sum(axis=1) + detector.score_samples(X)).max())

_, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for ax, row in zip(axes, np.argsort(detector.score_samples(X)), strict=False):
    OutlierExplanationDisplay.from_estimator(detector, X, row=int(row), n_features=8, ax=ax)
    ax.set_title(f"row {row}, {'malignant' if y[row] else 'benign'}")

# %%
# Alarms with a known error rate
# ------------------------------
# A score has no unit. With ``calibration_fraction`` some rows are kept out of training, and new rows are compared with
# them: ``predict_pvalue`` gives the share of normal rows that look at least as unusual. Raising an alarm at 0.05 or
# below gives a false one for at most one normal row in twenty, whatever the rows look like. Here the training rows are
# known to be benign, so ``novelty=True``.

normal = benign.sample(len(benign), random_state=0)
train, new = normal[:250], normal[250:]
detector = ReconstructionOutlierDetector(novelty=True, calibration_fraction=0.4, random_state=0).fit(train)
print("alarms among new benign rows:", (detector.predict_pvalue(new) <= 0.05).mean().round(3))
print("alarms among malignant rows: ", (detector.predict_pvalue(malignant) <= 0.05).mean().round(3))

# %%
# A hundred rows were kept out. The p-value of a normal row is then one of 1/101, 2/101, ..., each as likely as the
# other, so no alarm can be set finer than one in a hundred. The two detectors above find the tumours equally well.
# Malignant tumours have large values of many features, and finding those needs no autoencoder.

plt.figure(figsize=(6, 3), layout="constrained")
for name, rows in {"benign": new, "malignant": malignant}.items():
    plt.hist(detector.predict_pvalue(rows), np.linspace(0, 1, 21), density=True, alpha=0.6, label=name)
plt.xlabel("p-value")
plt.ylabel("density")
plt.legend()
