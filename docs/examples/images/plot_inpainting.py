"""
Fill what is missing in images
==============================

With ``noise_kind="block"`` a convolutional autoencoder sees images with a rectangle missing, another one in every
batch, and learns to give complete images back. ``inpaint`` then fills what a mask hides, and leaves the rest as it is.

What is to be filled here: the middle columns of digits.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sk_autoenc import AutoencoderTransformer, Convolutional
from sk_autoenc.inspection import ReconstructionDisplay

images = load_digits().images[:, None]  # one channel: (1797, 1, 8, 8)
train, test = train_test_split(images, test_size=1 / 3, random_state=0)
hidden = np.zeros((8, 8), dtype=bool)
hidden[:, 3:5] = True

# %%
# Three ways to fill
# ------------------
# The mean image uses nothing of the row. PCA takes the point of its subspace that is nearest to the cells that are
# seen. Its number of components is its best one *on these very test images*.


def filled_by_pca(n_components):
    """Least squares on what is seen."""
    pca = PCA(n_components).fit(train.reshape(len(train), -1))
    seen = ~hidden.ravel()
    rows = test.reshape(len(test), -1) - pca.mean_
    codes = np.linalg.lstsq(pca.components_[:, seen].T, rows[:, seen].T, rcond=None)[0].T
    return (pca.mean_ + codes @ pca.components_).reshape(test.shape)


def error(filled):
    """Squared error of the hidden cells, averaged over images."""
    return ((filled - test)[..., hidden] ** 2).sum(axis=-1).mean()


model = AutoencoderTransformer(
    32, architecture=Convolutional((16, 32)), noise=0.25, noise_kind="block", max_iter=40, random_state=0
).fit(train)
filled = model.inpaint(test, hidden)
print(f"mean image      {error(np.broadcast_to(train.mean(axis=0), test.shape)):6.0f}")
print(f"PCA             {min(error(filled_by_pca(k)) for k in range(2, 33)):6.0f}")
print(f"convolutional   {error(filled):6.0f}")

# %%
# What was seen comes back bit for bit; what was hidden was never looked at, and could as well have been missing.

assert np.array_equal(filled[..., ~hidden], test[..., ~hidden])
assert np.array_equal(model.inpaint(np.where(hidden, np.nan, test), hidden), filled)

display = ReconstructionDisplay(test[:8], filled[:8], noisy=np.where(hidden, 0, test)[:8], image_shape=(8, 8)).plot()
