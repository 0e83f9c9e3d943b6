"""
Which cell is wrong? Outliers in a data frame
=============================================

A table of bookings has categories, numbers, dates and missing cells. In a few rows one cell comes from another booking.
Each value is usual, so counting values finds nothing. :class:`~sk_autoenc.ReconstructionOutlierDetector` also measures
how probable each cell is given the others of its row, and names the column.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sk_autoenc import ReconstructionOutlierDetector

rng = np.random.default_rng(0)
n = 800
city = rng.choice(["Rome", "Oslo", "Bonn", "Cairo"], n)
warmth = pd.Series(city).map({"Rome": 24, "Oslo": 6, "Bonn": 13, "Cairo": 31}) + 2 * rng.normal(size=n)
nights = 1 + rng.poisson(2, n)
bookings = pd.DataFrame(
    {
        "city": city,
        "currency": pd.Series(city).map({"Rome": "EUR", "Oslo": "NOK", "Bonn": "EUR", "Cairo": "EGP"}),
        "warmth": warmth.round(1),
        "nights": nights,
        "price": (nights * rng.lognormal(4.5, 0.2, n)).round(2),
        "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, n), unit="D"),
    }
)
bookings = bookings.mask(rng.random(bookings.shape) < 0.03)

# %%
# In 40 rows one cell is exchanged for that of another row.

exchanged = bookings.copy()
rows = rng.choice(n, 40, replace=False)
wrong = rng.choice(["city", "currency", "warmth", "price"], 40)
for row, column in zip(rows, wrong, strict=True):
    exchanged.loc[row, column] = bookings[column].dropna().sample(random_state=int(row)).iloc[0]
is_wrong = np.isin(np.arange(n), rows[(exchanged.loc[rows] != bookings.loc[rows]).any(axis=1)])

detector = ReconstructionOutlierDetector(random_state=0).fit(exchanged)
scores = -detector.score_samples(exchanged)

indicators = pd.get_dummies(exchanged.drop(columns="day"), dtype=float)
forest = IsolationForest(random_state=0).fit(indicators)
print(f"ReconstructionOutlierDetector: AUROC {roc_auc_score(is_wrong, scores):.2f}")
print(f"IsolationForest on indicators: AUROC {roc_auc_score(is_wrong, -forest.score_samples(indicators)):.2f}")

# %%
# The parts of :meth:`~sk_autoenc.ReconstructionOutlierDetector.explain` add up to the outlyingness of a row. They name
# columns of the data frame, not indicators.

worst = np.argsort(-scores)[:5]
parts = detector.explain(exchanged.iloc[worst])
print(exchanged.iloc[worst].to_string())

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
image = ax.imshow(parts, cmap="Reds", vmin=0)
ax.set(xticks=range(6), xticklabels=parts.columns, yticks=range(5), yticklabels=worst, ylabel="row")
fig.colorbar(image, label="part of the outlyingness")
plt.show()
