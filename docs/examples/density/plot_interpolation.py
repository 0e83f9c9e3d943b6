"""
From one digit to another
=========================

The pixel-wise mean of two images is a double exposure. The decoded mean of their codes should look like a digit.
``interpolate`` decodes points on the straight line between two codes.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sk_autoenc import Gaussian, VAETransformer
from sk_autoenc.inspection import LatentDisplay, LatentTraversalDisplay, SampleGridDisplay

X, y = load_digits(return_X_y=True)
pca = PCA(8).fit(X)
vae = VAETransformer(8, likelihood=Gaussian("shared"), max_iter=60, random_state=0).fit(X)

# %%
# Three ways from a 0 to a 1
# --------------------------
# By pixels, in the plane of PCA, and through the codes of the VAE.


def by_pixels(a, b, n_steps):
    """The straight line between two rows."""
    return np.linspace(a, b, n_steps)


def by_pca(a, b, n_steps):
    """The straight line between their projections."""
    return pca.inverse_transform(np.linspace(*pca.transform([a, b]), n_steps))


ways = {"pixels": by_pixels, "PCA": by_pca, "VAE": vae.interpolate}
for name, way in ways.items():
    display = SampleGridDisplay(way(X[0], X[1], 10), image_shape=(8, 8), n_columns=10)
    display.plot(vmin=0, vmax=16).figure_.suptitle(name)

# %%
# The last two start from what is left of the digit after compression to 8 numbers.
#
# Do the images in the middle look like digits? For 200 pairs of different digits, how far are they from the nearest
# training image? Nearer is better here, as long as they are not copies: real images have this distance from their
# nearest neighbour.

rng = np.random.default_rng(0)
pairs = [(i, j) for i, j in rng.integers(len(X), size=(250, 2)) if y[i] != y[j]][:200]


def distance_to_nearest(rows, exclude=0):
    """Distance to the nearest image; ``exclude=1`` leaves out the row itself."""
    return np.mean([np.sort(np.linalg.norm(X - row, axis=1))[exclude] for row in rows])


print(f"real images  {distance_to_nearest(X[:200], exclude=1):5.1f}")
for name, way in ways.items():
    print(f"{name:12s} {distance_to_nearest([way(X[i], X[j], 3)[1] for i, j in pairs]):5.1f}")

# %%
# Part of the gain is smoothness, which PCA has as well. The rest is that the VAE's images follow the data along a
# curve.
#
# The whole plane
# ---------------
# With two components all that the decoder can produce fits on a page. Steps are quantiles of the codes, so there are as
# many images between any two of them.

plane = VAETransformer(2, likelihood=Gaussian("shared"), max_iter=60, random_state=0).fit(X)
LatentTraversalDisplay.from_estimator(plane, X, image_shape=(8, 8), n_steps=12)

# %%
# The codes of the images themselves, coloured by digit, on the same plane:

LatentDisplay.from_estimator(plane, X, y=y)
