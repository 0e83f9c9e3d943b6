"""
Digits to their negatives, without pairs
========================================

A CycleGAN learns to translate rows of one domain to another from two unpaired sets: here digits, and the negatives of
*other* digits. Two networks translate there and back, critics tell translated rows from real ones, and rows that went
there and back must come back as they were.

Cycles alone may exchange classes, for instance turn all fours into negatives of nines, as long as they are turned back.
So the networks are told the classes of their rows: a classifier must say the same of a row and of its translation.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from sk_autoenc import CycleGANTransformer

X, y = load_digits(return_X_y=True)
digits, negatives = X[:900], 16 - X[900:]  # of different people

# %%
# The networks start at random weights: from the identity no path leads to negatives along which digits come back.

translator = CycleGANTransformer(architecture=(128,), init="random", learning_rate=0.003, max_iter=50, random_state=0)
translator.fit(digits, negatives, labels_a=y[:900], labels_b=y[900:])
translated = translator.transform(digits)

# %%
# Here the truth is known
# -----------------------
# A classifier of negatives reads the translated digits. Their squared error to the true negatives is given as a share
# of that of the mean negative. Neither was used in training.

truth = 16 - digits
reader = KNeighborsClassifier(3).fit(negatives, y[900:])
error = np.square(translated - truth).mean() / np.square(truth - truth.mean(axis=0)).mean()
print(f"accuracy on translated digits {reader.score(translated, y[:900]):.3f}")
print(f"accuracy on true negatives    {reader.score(truth, y[:900]):.3f}")
print(f"squared error over the mean's {error:.2f}")
print(f"squared error there and back  {translator.cycle_error_:.2f} of the variance")

# %%
# Digits, their translations, and the way back. Translations are digits of the same class, but not quite of the same
# hand, since neither the critics nor the classifier ask for that. Without classes, three of four digits change theirs.

rows = {"digit": digits, "translated": translated, "and back": translator.inverse_transform(translated)}
figure, axes = plt.subplots(3, 10, figsize=(8, 2.6), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_title(name, loc="left", fontsize=9)
    for axis, image in zip(line, images, strict=False):
        axis.imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=16)
        axis.set_axis_off()
