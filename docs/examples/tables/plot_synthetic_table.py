"""
Synthetic rows of a mixed table
===============================

A table of people has categories, numbers, zeros in heaps, dates and missing cells. We draw as many rows as it has, and
then rows of retired women alone.
"""

# %%
# The table
# ---------
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sk_autoenc import TabularSampler

rng = np.random.default_rng(0)
n = 2000
age = rng.integers(18, 90, n)
sex = rng.choice(["female", "male"], n)
retired = age + rng.normal(0, 3, n) > 65
income = np.where(retired, rng.gamma(9, 2.5, n), rng.gamma(6, 6.5, n)) * np.where(sex == "male", 1.1, 1.0)
income[(age < 24) & (rng.random(n) < 0.7)] = 0
people = pd.DataFrame(
    {
        "age": age,
        "sex": sex,
        "status": pd.Categorical(np.where(retired, "retired", np.where(income > 0, "employed", "student"))),
        "income": np.where(rng.random(n) < 0.1, np.nan, income.round(1)),
        "since": pd.Timestamp("2025-01-01") - pd.to_timedelta((age - 17) * rng.integers(10, 300, n), unit="D"),
    }
)
people.head()

# %%
# As many samples
# ---------------
# ``sample`` returns a frame of the same types.
model = TabularSampler(architecture=(128, 128), max_iter=15, random_state=0).fit(people)
made = model.sample(n, random_state=0)
made.head()

# %%
# Incomes by age, of rows and of samples. Students without income stay at zero, and as many cells are missing.
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True, sharey=True, layout="constrained")
for ax, rows, title in zip(axes, (people, made), ("rows", "samples"), strict=True):
    for status, some in rows.groupby("status", observed=True):
        ax.plot(some["age"], some["income"], ".", markersize=3, label=status)
    ax.set(title=f"{title}: {rows['income'].isna().mean():.0%} missing", xlabel="age")
axes[0].set_ylabel("income")
axes[1].legend()

# %%
# Samples of some columns
# -----------------------
# ``given`` fixes columns: values, lists of levels, or ranges. All others follow.
given = model.sample(1000, random_state=0, given={"sex": "female", "age": (70, None)})
alike = people[(people["sex"] == "female") & (people["age"] >= 70)]
print(given["status"].value_counts())
print(f"mean income {given['income'].mean():.1f}, of such rows {alike['income'].mean():.1f}")

# %%
# How probable are rows?
# ----------------------
# ``score_samples`` gives log-probabilities. A student of 80 years is hardly probable.
strange = people[people["status"] == "student"].head(1).assign(age=80)
print(f"usual rows {model.score(people):.1f} nats, this one {model.score(strange):.1f}")
