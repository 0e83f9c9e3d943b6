"""
Autoencoder, VAE, AAE and GAN on the same digits
================================================

Four ways to learn a network that makes an image of a short code. What does each restore, what does each draw, and how
long does it take?
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sk_autoenc import AAETransformer, AutoencoderTransformer, GANSampler, VAETransformer
from sk_autoenc.inspection import SampleGridDisplay
from sk_autoenc.metrics import energy_distance, precision_recall_density_coverage

X, y = load_digits(return_X_y=True)
X = X / 16
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=500, random_state=0)
shared = {"random_state": 0, "device": "cpu"}
models = {
    "autoencoder": AutoencoderTransformer(8, max_iter=20, **shared),
    "VAE": VAETransformer(8, max_iter=40, **shared),
    "AAE": AAETransformer(8, likelihood="bernoulli", max_iter=20, **shared),
    "GAN": GANSampler(architecture=(128, 128), max_iter=45, batch_size=64, learning_rate=0.002, **shared),
}
for name, model in models.items():
    start = time.process_time()
    model.fit(X_train)
    print(f"{name}: {time.process_time() - start:.1f} s")

# %%
# Codes
# -----
# Three of the models have a code for a given image: how well does it restore new images, and how much does it say
# about the digit to its nearest neighbours? A GAN has none.

for name in ("autoencoder", "VAE", "AAE"):
    model = models[name]
    error = np.square(model.reconstruct(X_test) - X_test).sum() / np.square(X_test - X_train.mean(axis=0)).sum()
    reader = KNeighborsClassifier().fit(model.transform(X_train), y_train)
    print(
        f"{name}: {error:.3f} of the variance is lost, "
        f"accuracy on codes {reader.score(model.transform(X_test), y_test):.3f}"
    )

# %%
# Samples
# -------
# The autoencoder has no distribution of codes: draws from a normal distribution with the mean and the covariance of
# the training codes are a makeshift. VAE and AAE draw codes from their prior and are shown by the mean that they decode
# to. Real images against the test images are the best that can be reached.

codes = models["autoencoder"].transform(X_train)
drawn = np.random.default_rng(0).multivariate_normal(codes.mean(axis=0), np.cov(codes.T), size=500)
samples = {
    "training images": X_train[:500],
    "autoencoder, normal codes": models["autoencoder"].inverse_transform(drawn).clip(0, 1),
    "VAE": models["VAE"].sample(500, random_state=0, mean=True),
    "AAE": models["AAE"].sample(500, random_state=0, mean=True),
    "GAN": models["GAN"].sample(500, random_state=0),
}
for name, rows in samples.items():
    found = precision_recall_density_coverage(X_test, rows)
    print(
        f"{name}: precision {found.precision:.2f}, recall {found.recall:.2f}, coverage {found.coverage:.2f}, "
        f"energy distance {energy_distance(X_test, rows).statistic:.4f}"
    )

figure = plt.figure(figsize=(8, 5), layout="constrained")
for axis, (name, rows) in zip(figure.subplots(5, 1), samples.items(), strict=True):
    SampleGridDisplay(rows[:16], image_shape=(8, 8), n_columns=16).plot(axis)
    axis.set_title(name, fontsize=9)
