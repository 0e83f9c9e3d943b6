"""
A table with few labels
=======================

569 tumours, of which 10, 30 or 100 have a diagnosis. With few labels the baseline is the result: a graph of nearest
neighbours, a linear model, or their mean, as left-out labels choose.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from sk_autoenc import AutoencoderTransformer, PretrainedClassifier

X, y = load_breast_cancer(return_X_y=True)
names = np.array(["malignant", "benign"], dtype=object)[y]  # strings beside None need dtype=object
encoder = AutoencoderTransformer(8, architecture=(32,), init="random", early_stopping=False, max_iter=10)
SIZES, N_DRAWS = (10, 30, 100), 2

accuracy = {name: np.zeros(len(SIZES)) for name in ("PretrainedClassifier", "logistic regression", "label spreading")}
for i, size in enumerate(SIZES):
    for draw in range(N_DRAWS):
        known = np.random.default_rng(draw).permutation(len(y))[:size]
        unknown = np.setdiff1d(np.arange(len(y)), known)
        few = np.where(np.isin(np.arange(len(y)), known), names, None)
        model = make_pipeline(StandardScaler(), PretrainedClassifier(encoder, max_iter=20, random_state=draw))
        model.fit(X, few)
        accuracy["PretrainedClassifier"][i] += model.score(X[unknown], names[unknown].astype(str)) / N_DRAWS
        if draw == 0:
            last = model[-1]
            print(f"{size} labels: baseline kept {last.is_baseline_}, share of the graph {last.baseline_share_}")
        logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[known], y[known])
        accuracy["logistic regression"][i] += logistic.score(X[unknown], y[unknown]) / N_DRAWS
        numbers = np.where(np.isin(np.arange(len(y)), known), y, -1)
        spreading = make_pipeline(StandardScaler(), LabelSpreading(kernel="knn", n_neighbors=7)).fit(X, numbers)
        accuracy["label spreading"][i] += spreading.score(X[unknown], y[unknown]) / N_DRAWS

# %%
# How much do the other rows add?
# -------------------------------

for name, values in accuracy.items():
    plt.plot(SIZES, values, "o-", label=name)
plt.xscale("log")
plt.xticks(SIZES, SIZES)
plt.xlabel("labels")
plt.ylabel(f"accuracy on the others, mean of {N_DRAWS} draws")
plt.legend()
plt.show()
