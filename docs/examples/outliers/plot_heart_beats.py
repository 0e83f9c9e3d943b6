"""
Unusual heart beats
===================

A series becomes a table when each beat, or each window, is a row. The detector learns from normal beats alone, so
``novelty=True``. Then it scores new beats.
"""

# %%
# The beats are simulated: a small wave, a sharp peak, and a broad wave, each with a height and a place of its own,
# in 140 samples. Three things go wrong later: the last wave comes too early, or is turned over, or the peak is low.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sk_autoenc import ReconstructionOutlierDetector

time = np.linspace(0, 1, 140)


def draw_beats(n, generator, *, kind="normal"):
    """Beats of one kind, one a row."""
    heights = np.array([0.2, 1.5, 0.5]) * generator.lognormal(0, 0.15, (n, 3))
    places = np.array([0.2, 0.4, 0.7]) + generator.normal(0, 1, (n, 3)) * [0.015, 0.006, 0.015]
    widths = np.array([0.04, 0.02, 0.06])
    if kind == "early":
        places[:, 2] -= 0.05
    if kind == "inverted":
        heights[:, 2] *= -0.3
    if kind == "low peak":
        heights[:, 1] *= 0.4
    waves = heights[:, :, None] * np.exp(-0.5 * ((time - places[:, :, None]) / widths[:, None]) ** 2)
    return waves.sum(axis=1) + generator.normal(0, 0.03, (n, 140))


generator = np.random.default_rng(0)
kinds = ["early", "inverted", "low peak"]
train = draw_beats(300, generator)
X = np.vstack([draw_beats(300, generator), *(draw_beats(30, generator, kind=kind) for kind in kinds)])
kind_of = np.repeat(["normal", *kinds], [300, 30, 30, 30])

# %%
# Three detectors, among them one made of PCA: any transformer with ``inverse_transform`` can be the autoencoder.

detectors = {
    "IsolationForest": IsolationForest(random_state=0),
    "of PCA(5), squared error": ReconstructionOutlierDetector(PCA(5), residual="squared", random_state=0),
    "default": ReconstructionOutlierDetector(novelty=True, random_state=0),
}
print(f"{'AUROC against normal beats':26s}", *(f"{kind:>9s}" for kind in kinds))
for name, detector in detectors.items():
    scores = detector.fit(train).score_samples(X)
    aurocs = []
    for kind in kinds:
        chosen = np.isin(kind_of, ["normal", kind])
        aurocs.append(roc_auc_score(kind_of[chosen] == kind, -scores[chosen]))
    print(f"{name:26s}", *(f"{auroc:9.3f}" for auroc in aurocs))

# %%
# A wave that is turned over has values that no normal beat has, so every detector that looks at single values finds it.
# A low peak does not: at any one moment a low value is usual there. An early wave is small in any one value, too, but
# changes many of them a little, which suits the forest.
#
# Where in the beat is it?
# ------------------------
# The explanation has a part for each sample of the beat, and points at the wave that is wrong.

_, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained", sharey=True)
for ax, kind in zip(axes, kinds, strict=True):
    beat = X[kind_of == kind][:1]
    parts = detectors["default"].explain(beat)[0]
    ax.plot(time, beat[0], color="black")
    ax.scatter(time, beat[0], c=parts, cmap="Reds", s=25, zorder=2)
    ax.set(title=kind, xlabel="time")
