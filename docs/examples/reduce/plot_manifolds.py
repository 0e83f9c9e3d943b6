"""
Compare manifold methods
========================

Three ways to lay rows out in the plane, on two data sets, one of which has a known answer.

- **PCA** projects.
- **Locally linear embedding** (LLE) keeps each row's place among its neighbours. It has no way back from the plane.
- The **autoencoder** keeps whatever its decoder needs to rebuild the row.

They have different objectives, and their results differ. Two figures compare them: *trustworthiness*, which falls below
1 where points are neighbours in the plane that were not before, and the *reconstruction error*, where there is a way
back.
"""

import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits, make_swiss_roll
from sklearn.decomposition import PCA
from sklearn.manifold import LocallyLinearEmbedding, trustworthiness

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.inspection import LatentDisplay


def compare(methods, X, color):
    """Fit, print the figures, and plot the codes."""
    _, axes = plt.subplots(1, len(methods), figsize=(4 * len(methods), 4), layout="constrained")
    print("method         seconds  trustworthiness  squared error / variance")
    for ax, (name, method) in zip(axes, methods.items(), strict=True):
        start = time.perf_counter()
        codes = method.fit(X).transform(X)
        seconds = time.perf_counter() - start
        loss = "no way back"
        if hasattr(method, "inverse_transform"):
            loss = f"{((X - method.inverse_transform(codes)) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum():.3f}"
        print(f"{name:14s} {seconds:7.1f} {trustworthiness(X, codes, n_neighbors=10):16.3f} {loss:>25s}")
        display = LatentDisplay.from_estimator(method, X, y=color, ax=ax, s=6)
        ax.set(title=name, xticks=[], yticks=[], xlabel="", ylabel="")
        for guide in (display.legend_, display.colorbar_):
            if guide is not None and ax is not axes[-1]:
                guide.remove()


# %%
# A Swiss roll
# ------------
# A sheet rolled up in space: each point is known by its place along the roll, which colours it. A good map unrolls the
# sheet, so that the colours run from one side to the other.

X, place = make_swiss_roll(1000, noise=0.2, random_state=0)
fig = plt.figure(figsize=(4, 4))
ax = fig.add_subplot(projection="3d")
ax.scatter(*X.T, c=place, s=6)

# %%
# Then the three maps:

compare(
    {
        "PCA": PCA(2),
        "LLE": LocallyLinearEmbedding(n_neighbors=12, n_components=2, random_state=0),
        "autoencoder": AutoencoderTransformer(2, random_state=0),
    },
    X,
    place,
)

# %%
# LLE unrolls the sheet, because it looks at neighbours only. The autoencoder does not, though it rebuilds the points
# far better than PCA does. Its objective contains no distances. A code that *folds* the sheet, so that the decoder can
# tell the layers apart, is as good for it as one that unrolls it, and is much nearer to the projection where it starts.
# Do not read distances in an autoencoder's plane as distances along the data.
#
# Digits
# ------
# Images of digits lie on no single sheet.

X, y = load_digits(return_X_y=True)
X, y = X[:1000], y[:1000]
compare(
    {
        "PCA": PCA(2),
        "LLE": LocallyLinearEmbedding(n_neighbors=12, n_components=2, random_state=0),
        "autoencoder": AutoencoderTransformer(2, random_state=0),
    },
    X,
    y,
)

# %%
# The order is reversed. LLE places a few groups far out and all the other rows in a narrow band: its constraints are
# met, and little can be seen. The autoencoder's plane keeps several digits apart, keeps most neighbours, and has half
# of PCA's error.
#
# What this does not show: each method ran with one setting on rows that it was fitted to. LLE depends on
# ``n_neighbors``, the autoencoder on ``random_state``, and the autoencoder takes by far the longest.
