"""
100 labelled digits
===================

1797 digits, of which 100 have a label. What do the others add?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading

from sk_autoenc import AutoencoderTransformer, PretrainedClassifier, VAEClassifier

X, y = load_digits(return_X_y=True)
images = X.reshape(-1, 8, 8)
rng = np.random.default_rng(0)
known = rng.permutation(len(y))[:100]
few = np.full(len(y), -1)  # -1 is "no label", as in sklearn.semi_supervised
few[known] = y[known]
unknown = few == -1

logistic = LogisticRegression(max_iter=2000).fit(X[known], y[known])
spreading = LabelSpreading(kernel="knn", n_neighbors=7).fit(X, few)
print(f"logistic regression of 100 rows: {logistic.score(X[unknown], y[unknown]):.3f}")
print(f"label spreading:                 {spreading.score(X[unknown], y[unknown]):.3f}")

# %%
# An encoder, fine-tuned
# ----------------------
# An autoencoder learns from all images. A graph labels those without a label, and the encoder learns from both, on
# images that are moved, turned and scaled. ``early_stopping=False`` trains one network, and holds no label out.

encoder = AutoencoderTransformer(
    32, architecture=(128,), noise=0.3, noise_kind="masking", init="random", early_stopping=False, max_iter=20
)
model = PretrainedClassifier(
    encoder, augment="affine", max_iter=50, learning_rate=0.003, early_stopping=False, random_state=0
)
model.fit(images, few)
print(f"PretrainedClassifier:            {model.score(images[unknown], y[unknown]):.3f}")

# %%
# A density with classes
# ----------------------
# ``VAEClassifier`` models how a digit is made of its class and of a code, its style. So it also draws digits: here each
# row has one style, in all ten classes.

vae = VAEClassifier(6, architecture=(64,), max_iter=30, early_stopping=False, random_state=0).fit(X, few)
print(f"VAEClassifier:                   {vae.score(X[unknown], y[unknown]):.3f}")

styles = rng.standard_normal((5, 6))
made = vae.inverse_transform(np.repeat(styles, 10, axis=0), np.tile(np.arange(10), 5)).reshape(5, 10, 8, 8)
fig, axes = plt.subplots(5, 10, figsize=(7, 3.6), subplot_kw={"xticks": [], "yticks": []})
for ax, image in zip(axes.flat, made.reshape(-1, 8, 8), strict=True):
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=16)
axes[2, 0].set_ylabel("one style a row")
plt.show()
