"""
Codes in the shape of a pinwheel
================================

An adversarial autoencoder (Makhzani et al. 2015) holds its codes to a prior by a game: a critic learns to tell codes
from draws of the prior, and the encoder learns to deceive it. The prior need only be sampled, so it may have any shape.
Here it is a pinwheel, a mixture of ten narrow normal distributions. There are ten digits, but the model does not see
the labels.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_autoenc import AAETransformer
from sk_autoenc.inspection import LatentDisplay, LossCurveDisplay, SampleGridDisplay
from sk_autoenc.metrics import classifier_two_sample_test

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, random_state=0)
aae = AAETransformer(2, prior="gaussian_mixture", n_critic=3, learning_rate=0.002, max_iter=80, random_state=0)
aae.fit(X_train)

# %%
# Codes and prior
# ---------------
# Draws from the prior at the left, codes of images at the right. ``prior_mismatch_`` says how well nearest neighbours
# tell codes of training images from draws, from 0 to 1. The same for new images, by a classifier: 0.5 is guessing.

draws = aae.prior_.sample(len(X_test), torch.Generator().manual_seed(0)).numpy()
_, axes = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained", sharex=True, sharey=True)
LatentDisplay(draws).plot(axes[0], color="gray")
LatentDisplay.from_estimator(aae, X_train, y=y_train, ax=axes[1])
axes[0].set_title("draws from the prior")
axes[1].set_title("codes")
print(f"mismatch {aae.prior_mismatch_:.4f}")
for name, rows in {"training": X_train, "held-out": X_test}.items():
    n = min(len(draws), len(rows))
    test = classifier_two_sample_test(draws[:n], aae.transform(rows[:n]), random_state=0)
    print(f"{name} images: AUROC of a classifier {test.auroc:.2f}")

# %%
# The shape is nearly met. The classifier still finds codes between the ten distributions, more of them of held-out
# images: the distributions are narrow, and the encoder has to place every image where the decoder can tell it from
# others. Distances hardly see that. Some digits have a distribution of their own and others share one. Labels took no
# part in this.
#
# The game
# --------
# The players take turns. ``autoencoder`` is the reconstruction, which falls as usual. The losses of the two others do
# not fall. They are right if neither player wins: :math:`2 \log 2` for a critic that can only guess, and
# :math:`\log 2` for the encoder. A critic's loss near zero would mean that it has won, and fitting would warn. A loss
# that never leaves :math:`2 \log 2` may mean that the critic learns nothing. So compare codes with draws, as above.

_, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
LossCurveDisplay({"autoencoder": aae.loss_curves_["autoencoder"]}).plot(axes[0])
LossCurveDisplay({name: aae.loss_curves_[name] for name in ("critic", "encoder")}).plot(axes[1])
for height in (2 * np.log(2), np.log(2)):
    axes[1].axhline(height, color="gray", linestyle=":")

# %%
# Samples
# -------
# Draws from the prior, decoded. With two numbers per image they are vague. Between the ten distributions, where no
# draws fall, decoded codes need not look like anything.

SampleGridDisplay.from_estimator(aae, n_samples=20, n_columns=10, mean=True, random_state=0, image_shape=(8, 8))

# %%
# An adversarial autoencoder has no density, so it cannot be compared in a search by nats. If you want a density, or a
# fit without a game to balance, use :class:`~sk_autoenc.VAETransformer`.
