"""
Enlarge images
==============

Targets may be a whole number of times as large as the input. The baselines of enlargement are bicubic interpolation and
the best linear filter: a ridge regression of each fine pixel on the 5 x 5 coarse pixels around it.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_autoenc import Convolutional, EncoderDecoderRegressor
from sk_autoenc.metrics import psnr_score, ssim_score

large = load_digits().images[:, None] / 16  # (1797, 1, 8, 8)
small = large.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5))  # (1797, 1, 4, 4)
X_train, X_test, y_train, y_test = train_test_split(small, large, test_size=1 / 3, random_state=0)

# %%
# ``baseline_predict`` has the predictions of the baseline alone.

stages = Convolutional((32,))
found = {}
for name in ("bicubic", "filter", "ridge"):
    model = EncoderDecoderRegressor(stages, baseline=name, max_iter=1, early_stopping=False, random_state=0)
    found[name] = model.fit(X_train, y_train).baseline_predict(X_test)
network = EncoderDecoderRegressor(stages, max_iter=20, random_state=0).fit(X_train, y_train)
found["network"] = network.predict(X_test)
for name, images in found.items():
    psnr, ssim = (score(y_test, images, data_range=1) for score in (psnr_score, ssim_score))
    print(f"{name:<8} {psnr:.2f} dB, SSIM {ssim:.3f}")

# %%
# Eight digits that no model has seen:

shown = {"small": X_test, **found, "large": y_test}
figure, axes = plt.subplots(
    len(shown), 8, figsize=(6, 4.6), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for row, (name, images) in zip(axes, shown.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for panel, image in zip(row, images, strict=False):
        panel.imshow(image[0], cmap="gray", vmin=0, vmax=1)
