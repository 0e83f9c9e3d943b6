"""
Denoise images
==============

A denoising autoencoder sees rows with noise added and learns to give the clean rows back (Vincent et al. 2008). It is
the same class with ``noise`` above zero. In training fresh noise is drawn for every batch. Afterwards none is added.

Here digits have normal noise on every pixel.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.inspection import ReconstructionDisplay

X = load_digits().data
X_train, X_test = train_test_split(X, test_size=1 / 3, random_state=0)
sigma = 4.0  # pixels go from 0 to 16
X_noisy = X_test + sigma * np.random.default_rng(0).normal(size=X_test.shape)

# %%
# How much noise to train with
# ----------------------------
# ``noise`` is in units of the scaled rows: ``fit`` divides all features by one number, the root of their mean variance.
# So ``sigma`` in pixels is this much:

scale = np.sqrt(X_train.var(axis=0).mean())
noise = sigma / scale
print(f"scale {scale:.2f}, noise={noise:.2f}")

# %%
# Four ways to clean
# ------------------
# PCA cleans by leaving out the directions of small variance. It has its best number of components, *chosen on these
# very test rows*. The autoencoders have no such help, and a code of 32 numbers.


def error(transformer, seen):
    """Squared distance from the clean image, averaged over images."""
    return ((X_test - transformer.inverse_transform(transformer.transform(seen))) ** 2).sum(axis=1).mean()


best_pca = min((PCA(k).fit(X_train) for k in range(2, 33)), key=lambda pca: error(pca, X_noisy))
models = {
    f"PCA, {best_pca.n_components_} components": best_pca,
    "plain autoencoder": AutoencoderTransformer(32, random_state=0).fit(X_train),
    "trained with half the noise": AutoencoderTransformer(32, noise=noise / 2, random_state=0).fit(X_train),
    "trained with this noise": AutoencoderTransformer(32, noise=noise, random_state=0).fit(X_train),
}
print(f"{'squared error':28s}  noisy images  clean images")
print(f"{'nothing done':28s} {((X_test - X_noisy) ** 2).sum(axis=1).mean():13.0f} {0:13.0f}")
for name, model in models.items():
    print(f"{name:28s} {error(model, X_noisy):13.0f} {error(model, X_test):13.0f}")

# %%
# The plain autoencoder is the best at what it was trained for, to rebuild clean images. It is worse than PCA at
# cleaning, because a code of 32 numbers can hold the noise, too. With noise in training it is better than PCA. This has
# a cost: the more noise a network expects, the more it smooths what was clean already. Half the noise lies in between,
# in both columns. So ``noise`` should be about as large as the noise that will come, and not larger.

for name, model in models.items():
    display = ReconstructionDisplay.from_estimator(model, X_test, X_noisy=X_noisy, n_samples=10, image_shape=(8, 8))
    display.figure_.suptitle(name)
