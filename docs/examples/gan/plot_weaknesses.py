"""
Weaknesses of a classifier
==========================

A conditional GAN draws digits of a class. Those that a classifier takes for another class show where it is weak. Does
it get stronger if it learns from them?
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sk_autoenc import ConditionalGANSampler
from sk_autoenc.inspection import SampleGridDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=900, random_state=0, stratify=y)
classifier = LogisticRegression(max_iter=1000).fit(X_train, y_train)
gan = ConditionalGANSampler(
    architecture=(128, 128), max_iter=40, batch_size=64, learning_rate=0.002, random_state=0, device="cpu"
).fit(X_train, y_train)

# %%
# Digits of each class
# --------------------
# Five of each, in the order of the classes.

rows, labels = gan.sample(5, y=np.arange(10), random_state=0)
order = np.arange(50).reshape(10, 5).T.ravel()
SampleGridDisplay(rows[order], image_shape=(8, 8), n_columns=10).plot()

# %%
# Near the boundary
# -----------------
# The margin is the probability of the class that was asked for, less that of the most probable other one. Below zero
# the classifier says something else.


def margins(model, rows, labels):
    """Probability of the class less that of the most probable other class."""
    said = model.predict_proba(rows)
    own = said[np.arange(len(rows)), labels]
    said[np.arange(len(rows)), labels] = 0
    return own - said.max(axis=1)


samples, asked = gan.sample(300, y=np.arange(10), random_state=1)
margin = margins(classifier, samples, asked)
weak = np.argsort(margin)[:40]
print(f"accuracy on test digits {classifier.score(X_test, y_test):.3f}, on samples {(margin > 0).mean():.3f}")
wrong = margin < 0
for label in range(10):
    taken = classifier.predict(samples[wrong & (asked == label)])
    if len(taken):
        print(f"{label}: {len(taken)} of 300 are taken for another digit, most often for {np.bincount(taken).argmax()}")
display = SampleGridDisplay(samples[weak], image_shape=(8, 8), n_columns=10).plot()
for axis, asked_for, said in zip(display.axes_.ravel(), asked[weak], classifier.predict(samples[weak]), strict=True):
    axis.set_title(f"{asked_for}, said {said}", fontsize=7)

# %%
# Stronger?
# ---------
# The classifier is trained again, with 500 samples near its boundary, or with 500 samples at random.

near = np.argsort(np.abs(margin))[:500]
some = np.random.default_rng(0).choice(len(samples), 500, replace=False)
found = {"training digits alone": classifier}
for name, chosen in {"and samples near the boundary": near, "and samples at random": some}.items():
    found[name] = LogisticRegression(max_iter=1000).fit(
        np.concatenate([X_train, samples[chosen]]), np.concatenate([y_train, asked[chosen]])
    )
fresh, fresh_y = gan.sample(200, y=np.arange(10), random_state=2)
for name, model in found.items():
    closest = np.argsort(margins(classifier, X_test, y_test))[:100]
    print(
        f"{name}: test digits {model.score(X_test, y_test):.3f}, the 100 with the lowest margin "
        f"{model.score(X_test[closest], y_test[closest]):.2f}, fresh samples {model.score(fresh, fresh_y):.3f}"
    )

# %%
# Compare the lines: fresh samples near the boundary are what the new rows teach. Whether real digits gain, test digits
# say, and differences of a few digits of 897 are chance.
