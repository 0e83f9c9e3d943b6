"""
Dates in one form
=================

Dates that people have typed come in many forms. A :class:`~sk_autoenc.SequenceTranslator` learns of pairs how to write
them in one form, character by character. Rules would do, too; here nobody writes them.
"""

import datetime

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from sk_autoenc import SequenceTranslator, Vocabulary
from sk_autoenc.inspection import AttentionDisplay, LossCurveDisplay

FORMS = ["%d %b %Y", "%b %d, %Y", "%d.%m.%Y", "%d/%m/%y", "%B %d %Y"]

rng = np.random.default_rng(0)
days = [datetime.date(1970, 1, 1) + datetime.timedelta(int(n)) for n in rng.integers(0, 18_000, 1500)]
typed = [day.strftime(FORMS[rng.integers(len(FORMS))]).lower() for day in days]
wanted = [day.isoformat() for day in days]
X_train, X_test, y_train, y_test = train_test_split(typed, wanted, test_size=200, random_state=0)

# %%
# A token is a character. One vocabulary serves both sides, so digits may be copied.

options = {"learning_rate": 0.008, "batch_size": 32, "max_iter": 6, "dropout": 0.0, "beam_size": 1}
model = SequenceTranslator(Vocabulary(), hidden_size=64, random_state=0, **options)
model.fit(X_train, y_train)
for string, found in zip(X_test[:5], model.predict(X_test[:5]), strict=True):
    print(f"{string:>20}  ->  {found}")
print(f"right: {accuracy_score(y_test, model.predict(X_test)):.3f}")

# %%
# What it looks at
# ----------------
# Each character of the date that is written has a row. The year is looked up at the end of the string, and the month
# at its letters.

_, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
AttentionDisplay.from_estimator(model, "may 03, 1984", ax=axes[0])
LossCurveDisplay.from_estimator(model, ax=axes[1])
plt.show()
