"""
A class for each pixel
======================

An image holds a zero and a one, and every pixel is to be given to one of them, or to the paper: whether an upright
stroke belongs to a one or to the side of a zero, its surroundings tell. :class:`~sk_autoenc.SegNetSegmenter` starts at
a logistic regression on the pixels around, which cannot look far.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_autoenc import SegNetSegmenter
from sk_autoenc.inspection import SegmentationDisplay
from sk_autoenc.metrics import segmentation_report

digits = load_digits()
rng = np.random.default_rng(0)


def scene():
    """An image of 16 x 24 pixels with a zero and a one at random places, and its mask."""
    image, mask = 0.1 * rng.standard_normal((16, 24)), np.full((16, 24), "paper")
    for digit, left in zip(rng.permutation([0, 1]), (rng.integers(0, 5), rng.integers(11, 16)), strict=True):
        drawn = rng.choice(digits.images[digits.target == digit]) / 16
        top = rng.integers(0, 9)
        image[top : top + 8, left : left + 8] += drawn
        mask[top : top + 8, left : left + 8][drawn > 0.3] = ("zero", "one")[digit]
    return image, mask


images, masks = (np.array(part) for part in zip(*(scene() for _ in range(300)), strict=True))
X_train, X_test, y_train, y_test = train_test_split(images, masks, random_state=0)

# %%
# Intersection over union of each class, of the baseline and of the network:

model = SegNetSegmenter((16, 24, 32), stem=1, max_iter=12, early_stopping=False, augment=None, random_state=0)
model.fit(X_train, y_train)
for name, predicted in {model.baseline_: model.baseline_predict(X_test), "network": model.predict(X_test)}.items():
    report = segmentation_report(y_test, predicted, labels=model.classes_)
    print(f"{name:<8}", dict(zip(report.labels.tolist(), report.iou.round(2).tolist(), strict=True)))

# %%
display = SegmentationDisplay.from_estimator(model, X_test, y_test, n_samples=5)
