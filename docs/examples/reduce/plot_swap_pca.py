"""
Swap PCA for an autoencoder
===========================

:class:`~sk_autoenc.AutoencoderTransformer` has the methods of PCA: ``fit``, ``transform``, ``inverse_transform``.
It can take PCA's place, alone or in a pipeline. What does that change?

PCA finds the best *linear* code: no other linear map to as many numbers, and back, has a smaller squared error on the
training rows. An autoencoder's code may be nonlinear. Training starts at the PCA solution, and only what improves rows
held out of training is kept.
"""

# %%
# The data: 1797 images of handwritten digits, 64 pixels each, with values from 0 to 16. A third of them is kept for
# the comparison and seen by neither method before.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.inspection import LatentDisplay, LossCurveDisplay, ReconstructionDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, random_state=0)


def squared_error(transformer, X):
    """Squared error of a row, summed over features, averaged over rows."""
    return ((X - transformer.inverse_transform(transformer.transform(X))) ** 2).sum(axis=1).mean()


# %%
# How much is lost
# ----------------
# Both methods reduce the 64 pixels to 2, 8 and 16 numbers.

autoencoders = {}
print("numbers      PCA  autoencoder   ratio")
for n_components in (2, 8, 16):
    pca = PCA(n_components).fit(X_train)
    autoencoders[n_components] = AutoencoderTransformer(n_components, random_state=0).fit(X_train)
    errors = [squared_error(model, X_test) for model in (pca, autoencoders[n_components])]
    print(f"{n_components:7d} {errors[0]:8.0f} {errors[1]:12.0f} {errors[1] / errors[0]:7.2f}")

# %%
# A linear subspace of few dimensions cannot follow the digits. So the shorter the code, the more a nonlinear one gains
# in absolute terms. As PCA keeps more components it loses less, and there is less left to gain.
#
# The reconstructions from 8 numbers, for the same test rows: first PCA, then the autoencoder.

pca = PCA(8).fit(X_train)
autoencoder = autoencoders[8]
for name, model in {"PCA": pca, "autoencoder": autoencoder}.items():
    display = ReconstructionDisplay.from_estimator(model, X_test, n_samples=10, image_shape=(8, 8))
    display.figure_.suptitle(f"8 numbers per image: {name}")

# %%
# Two numbers per image
# ---------------------
# Neither method has seen the labels; they only colour the points.

_, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
LatentDisplay.from_estimator(PCA(2).fit(X_train), X_test, y=y_test, ax=axes[0])
LatentDisplay.from_estimator(autoencoders[2], X_test, y=y_test, ax=axes[1])
axes[1].get_legend().remove()

# %%
# As features
# -----------
# Does a better reconstruction make a better feature? Not by itself: neither code was made for telling digits apart.
# Two classifiers of 8 numbers per image, a linear one and one that looks at neighbours:

print("accuracy from 8 numbers    PCA  autoencoder")
for classifier in (LogisticRegression(max_iter=5000), KNeighborsClassifier(5)):
    scores = [
        classifier.fit(model.transform(X_train), y_train).score(model.transform(X_test), y_test)
        for model in (pca, autoencoder)
    ]
    print(f"{type(classifier).__name__:22s} {scores[0]:7.3f} {scores[1]:12.3f}")

# %%
# The code helps the linear classifier more than the one that is nonlinear itself. A difference of one point is six of
# the 599 test rows, which another split could reverse.
#
# Was it trained for long enough?
# -------------------------------
# The loss is on the scale of the network, which divides all pixels by one number. Both curves are flat at the end,
# because the learning rate falls to zero over ``max_iter`` epochs. The distance between them is what the network has
# learned about its training rows alone. So more rows would help more than more epochs.

LossCurveDisplay.from_estimator(autoencoder, log_scale=True)
print("epochs:", autoencoder.n_iter_, " PCA kept:", autoencoder.linear_)
