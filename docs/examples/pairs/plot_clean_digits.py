"""
Clean noisy images from pairs
=============================

With pairs of noisy and clean images, cleaning is a regression with as many targets as pixels. scikit-learn's ``Ridge``
and ``ExtraTreesRegressor`` take flat pixels. :class:`~sk_autoenc.EncoderDecoderRegressor` takes images, and starts at
the best of several linear models.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split

from sk_autoenc import EncoderDecoderRegressor
from sk_autoenc.inspection import ReconstructionDisplay
from sk_autoenc.metrics import psnr_score

clean = load_digits().images[:, None] / 16  # one channel, from 0 to 1: (1797, 1, 8, 8)
noisy = clean + 0.3 * np.random.default_rng(0).standard_normal(clean.shape)
X_train, X_test, y_train, y_test = train_test_split(noisy, clean, test_size=1 / 3, random_state=0)


def flat(images):
    """A row for each image."""
    return images.reshape(len(images), -1)


# %%
# The predictor's own baseline, chosen on held-out training images, is ``baseline_``. ``is_baseline_`` says whether the
# network was dropped for it.

model = EncoderDecoderRegressor(max_iter=20, random_state=0).fit(X_train, y_train)
print(f"baseline_ = {model.baseline_!r}, is_baseline_ = {model.is_baseline_}")

predictions = {"noisy images": X_test}
for regressor in (RidgeCV(np.logspace(-2, 4, 13)), ExtraTreesRegressor(20, min_samples_leaf=3, random_state=0)):
    found = regressor.fit(flat(X_train), flat(y_train)).predict(flat(X_test))
    predictions[type(regressor).__name__] = found.reshape(y_test.shape)
predictions["baseline"] = model.baseline_predict(X_test)
predictions["network"] = model.predict(X_test)
for name, predicted in predictions.items():
    print(f"{name:<20} {psnr_score(y_test, predicted, data_range=1):.2f} dB")

# %%
# Clean images, what the model saw, and what it made of that:

display = ReconstructionDisplay(y_test[:8], model.predict(X_test[:8]), noisy=X_test[:8], image_shape=(8, 8)).plot()
