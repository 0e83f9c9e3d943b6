"""
Features of heart beats
=======================

An autoencoder makes features without labels. Its code is short, and a classifier that has few labelled rows may do
better on it than on the rows. PCA with as many components does the same by a linear map.

Here the two differ because the beats are *shifted in time*. A linear map adds up values at fixed times, so one wave at
twenty places is twenty shapes to it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AutoencoderTransformer, Convolutional
from sk_autoenc.inspection import LatentDisplay, ReconstructionDisplay

# %%
# The beats are simulated: a small wave, a sharp peak, a broad wave, in 96 samples. Where a beat starts was found only
# roughly, up to 10 samples early or late. Some beats lack the first wave, some have a peak with a notch, some a peak
# that is wide and low; how high waves are differs from beat to beat in all kinds alike.

KINDS = ["usual", "no first wave", "notch", "wide"]
time = np.arange(96)


def draw_beats(n, generator):
    """Beats, one a row, and the number of the kind of each."""
    kind = generator.integers(len(KINDS), size=n)
    heights = np.array([0.25, 1.0, 0.0, 0.4]) * generator.lognormal(0, 0.15, (n, 4))
    places = np.array([24, 40, 46, 62]) + generator.normal(0, 0.7, (n, 4)) + generator.uniform(-10, 10, (n, 1))
    widths = np.tile([3.5, 2.0, 2.0, 6.0], (n, 1))
    heights[kind == 1, 0] = 0
    heights[kind == 2, 2] = 0.7 * heights[kind == 2, 1]
    widths[kind == 3, 1], heights[kind == 3, 1] = 4.0, 0.7 * heights[kind == 3, 1]
    waves = heights[:, :, None] * np.exp(-0.5 * ((time - places[:, :, None]) / widths[:, :, None]) ** 2)
    return waves.sum(axis=1) + generator.normal(0, 0.04, (n, len(time))), kind


generator = np.random.default_rng(0)
unlabelled, _ = draw_beats(2000, generator)
few, kind_of_few = draw_beats(200, generator)
new, kind_of_new = draw_beats(2000, generator)

figure, axes = plt.subplots(1, 4, figsize=(11, 2.5), layout="constrained", sharey=True)
for number, (ax, kind) in enumerate(zip(axes, KINDS, strict=True)):
    ax.plot(few[kind_of_few == number][:4].T, linewidth=0.8)
    ax.set(title=kind, xlabel="sample")

# %%
# Sixteen numbers each
# --------------------
# Both see 2000 beats without labels. Convolutions look for the same shapes at all times. What the classifier gets are
# the 16 numbers, standardised, of 200 labelled beats; and, for comparison, the beats themselves.

stages = Convolutional((16, 32, 32), kernel_size=5, hidden_layer_sizes=(64,), input_shape=(1, 96))


def network(seed):
    """A convolutional autoencoder that starts at random."""
    return AutoencoderTransformer(
        16,
        architecture=stages,
        init="random",
        early_stopping=False,
        max_iter=15,
        learning_rate=0.003,
        random_state=seed,
    ).fit(unlabelled)


pca = PCA(16).fit(unlabelled)
networks = [network(seed) for seed in range(3)]


def accuracy(features_of_few, features_of_new):
    """Of a linear classifier of the features."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(features_of_few, kind_of_few).score(features_of_new, kind_of_new)


def error(model):
    """Squared error of a new beat, averaged."""
    return np.square(new - model.inverse_transform(model.transform(new))).sum(axis=1).mean()


print("                 accuracy  squared error")
print(f"the beats        {accuracy(few, new):8.3f}")
for name, model in {"PCA": pca, **{f"network, seed {i}": model for i, model in enumerate(networks)}}.items():
    print(f"{name:16s} {accuracy(model.transform(few), model.transform(new)):8.3f} {error(model):14.3f}")

# %%
# The network's codes are better than the components, whatever its seed. Both are better than the beats themselves,
# whose 96 values are many for 200 labels. Yet PCA has the *smaller* error: 16 components are enough to draw shifted
# beats. But kinds do not lie apart in them, because each mixes where the peak is with what it looks like. More
# components do not help, because 200 labels are too few for them:

for n_components in (4, 8, 16, 32, 64):
    more = PCA(n_components).fit(unlabelled)
    print(f"PCA({n_components:2d}) {accuracy(more.transform(few), more.transform(new)):.3f} {error(more):.3f}")

# %%
# PCA would win on beats whose starts are known exactly and which differ by heights alone: there is nothing to gain
# where linear maps fit. Without labels, codes need not tell kinds apart either. They tell what it takes to rebuild a
# beat, and here that is the kind, among other things.

ReconstructionDisplay.from_estimator(networks[0], new, n_samples=5)
ReconstructionDisplay.from_estimator(pca, new, n_samples=5)

# %%
# The first two principal components of the codes, with some of the beats at their places. They form a ring, and the way
# round it is the shift in time, which makes most of the difference between two beats. The kinds lie in the other
# directions, where the classifier finds them.

embedding = make_pipeline(networks[0], StandardScaler(), PCA(2)).fit(unlabelled)
figure, ax = plt.subplots(figsize=(8, 6), layout="constrained")
LatentDisplay.from_estimator(embedding, new, y=np.array(KINDS)[kind_of_new], show_rows=True, ax=ax)
