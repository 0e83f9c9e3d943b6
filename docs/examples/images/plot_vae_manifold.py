"""
The plane of a convolutional VAE
================================

A variational autoencoder with a code of two numbers lays images out in a plane. Its prior says where in the plane codes
lie. The decoder turns every point into an image, also where no training image is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sk_autoenc import Convolutional, VAETransformer
from sk_autoenc.inspection import LatentDisplay, LatentTraversalDisplay

digits = load_digits()
images = digits.images[:, None] / 16  # one channel, shades from 0 to 1: (1797, 1, 8, 8)
train, test, y_train, y_test = train_test_split(images, digits.target, test_size=1 / 3, random_state=0)

# %%
# Shades of grey are not zeros and ones. But as in most VAEs of images, the decoder's output is read as the probability
# of white. Its cross-entropy is what training minimises, with the divergence from the prior.

stages = Convolutional((16, 32))
vae = VAETransformer(2, architecture=stages, likelihood="bernoulli", max_iter=60, random_state=0).fit(train)

# %%
# Where the digits are
# --------------------
# Test images at their codes; the points behind them have the colours of the classes, which training did not see. The
# architecture knows that rows are images, so the display draws them as such.

figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
LatentDisplay.from_estimator(vae, test, y=y_test, show_rows=True, ax=ax)

# %%
# What the decoder makes of the plane
# -----------------------------------
# The steps are quantiles of the codes, so that as many images lie between any two of them. Neighbours look alike, and
# a digit turns into the next one by way of images that could be either.

figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
LatentTraversalDisplay.from_estimator(vae, train, n_steps=13, percentiles=(0.02, 0.98), ax=ax)

# %%
# Beside two principal components
# -------------------------------
# Two questions about the same test images: how well does the decoder give them back, and how often does the nearest
# training code have the same class?


def flat(images):
    """An image a row."""
    return images.reshape(len(images), -1)


pca = PCA(2).fit(flat(train))
ways = {
    "PCA": (pca, flat(train), flat(test)),
    "convolutional VAE": (vae, train, test),
}
print(f"{'':18s} squared error   accuracy of 5 neighbours")
for name, (model, rows, new) in ways.items():
    back = flat(np.asarray(model.inverse_transform(model.transform(new))))
    neighbors = KNeighborsClassifier().fit(model.transform(rows), y_train)
    error = np.square(back - flat(test)).sum(axis=1).mean()
    print(f"{name:18s} {error:13.2f} {neighbors.score(model.transform(new), y_test):26.2f}")
