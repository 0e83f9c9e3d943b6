"""
Anomalies in a server metric
============================

The load of a server has a rhythm: more by day than by night, and a job that runs every hour. What goes wrong need not
be high or low. A job that does not start leaves a load that is quite usual, and so does a sensor that keeps saying the
same. A threshold sees neither.

Windows of the metric become rows, and a detector learns from weeks without trouble what windows look like.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sk_autoenc import AutoencoderTransformer, Convolutional, ReconstructionOutlierDetector

# %%
# The metric is simulated, a value every five minutes: a daily wave whose height changes from day to day, an hourly job
# that takes ten minutes, and noise with a memory. Later four things go wrong, each for six hours: the job does not
# run, or runs at another time of the hour; the load oscillates, as where servers are started and stopped in turns; or
# the sensor is stuck. None of them leaves the range of the days before.

DAY, HOUR = 288, 12
KINDS = ["no job", "odd minutes", "oscillation", "stuck"]


def draw_jobs(n_hours, first, generator):
    """Load by the job: ten minutes of every hour, which start a little early or late and weigh more or less."""
    starts = HOUR * np.arange(n_hours) + first + generator.integers(-1, 2, n_hours)
    heights, job = 10 * generator.lognormal(0, 0.15, n_hours), np.zeros(n_hours * HOUR)
    job[starts] = job[starts + 1] = heights
    return job


def draw_metric(n_days, generator):
    """Load in percent, in parts: the wave with its noise, and the job."""
    moment = np.arange(n_days * DAY)
    height = np.interp(moment, DAY * np.arange(n_days + 1), generator.uniform(12, 22, n_days + 1))
    wave = 40 - height * np.cos(2 * np.pi * moment / DAY)
    noise, steps = np.zeros(len(moment)), generator.normal(0, 0.8, len(moment))
    for i in range(1, len(moment)):
        noise[i] = 0.7 * noise[i - 1] + steps[i]
    return wave + noise, draw_jobs(24 * n_days, 3, generator)


def spoil(calm, job, kind, hours, generator):
    """Let it go wrong, in place, for the hours in the slice."""
    if kind == "no job":
        job[hours] = 0
    elif kind == "odd minutes":
        job[hours] = draw_jobs(6, 8, generator)
    elif kind == "oscillation":
        calm[hours] += 4.0 * np.sin(2 * np.pi * np.arange(6 * HOUR) / 8)
    else:
        calm[hours] = (calm + job)[hours.start]
        job[hours] = 0


generator = np.random.default_rng(0)
train = np.sum(draw_metric(56, generator), axis=0)
calm, job = draw_metric(56, generator)
trouble = np.full(len(calm), "none", dtype="<U12")
for day in range(1, 56, 2):  # trouble every other day, of one kind after the other
    start = day * DAY + HOUR * int(generator.integers(18))
    hours, kind = slice(start, start + 6 * HOUR), KINDS[day // 2 % 4]
    spoil(calm, job, kind, hours, generator)
    trouble[hours] = kind
new = calm + job

# %%
# A window is four hours, and each starts an hour after the one before. It counts as one with trouble if it lies within
# it, and windows that are only partly in trouble are left out.

WINDOW, STEP = 4 * HOUR, HOUR


def windows(values):
    """Windows as rows."""
    return np.lib.stride_tricks.sliding_window_view(values, WINDOW)[::STEP]


X_train, X = windows(train), windows(new)
same = (windows(trouble) == windows(trouble)[:, :1]).all(axis=1)
X, kind_of = X[same], windows(trouble)[same, 0]

# %%
# Six detectors, and a threshold
# ------------------------------
# The threshold is the simplest alarm: how far the window's most extreme value is from the mean. The forest and PCA
# look at windows, and so do the networks: the default ones of the detector, and convolutions along time. The squared
# error says how badly a window is rebuilt; "neighbours" compares window, reconstruction and residual with those of
# training windows near it, which is what the detector does by default.

stages = Convolutional((8, 16), kernel_size=5, input_shape=(1, WINDOW))
convolutional = AutoencoderTransformer(8, architecture=stages, init="random", early_stopping=False, max_iter=15)
shared = {"novelty": True, "random_state": 0}
detectors = {
    "IsolationForest": IsolationForest(random_state=0),
    "PCA(8), squared error": ReconstructionOutlierDetector(PCA(8), residual="squared", **shared),
    "PCA(8), neighbours": ReconstructionOutlierDetector(PCA(8), **shared),
    "convolutional, squared error": ReconstructionOutlierDetector(
        convolutional, n_estimators=2, residual="squared", **shared
    ),
    "convolutional, neighbours": ReconstructionOutlierDetector(convolutional, n_estimators=2, **shared),
    "default, neighbours": ReconstructionOutlierDetector(**shared),
}
scores = {"threshold": -np.abs(X - train.mean()).max(axis=1)}
for name, detector in detectors.items():
    scores[name] = detector.fit(X_train).score_samples(X)

print(f"{'AUROC':28s}", *(f"{kind:>12s}" for kind in KINDS))
for name, values in scores.items():
    aurocs = []
    for kind in KINDS:
        chosen = np.isin(kind_of, ["none", kind])
        aurocs.append(roc_auc_score(kind_of[chosen] == kind, -values[chosen]))
    print(f"{name:28s}", *(f"{auroc:12.3f}" for auroc in aurocs))

# %%
# The convolutional network's squared error takes a load without its job, or a stuck sensor, for more normal than what
# is normal. They are *easy*: a smooth line is rebuilt better than any window with a job that comes at its own minute.
# An error finds what is hard to rebuild, and trouble can be simpler than what is usual. Compared with windows that were
# seen, a smooth line has no near neighbours, and the same networks find it.
#
# Is a network needed? Not here. The windows start on the hour, so the job has the same place in all of them and
# PCA has it among its axes, so it cannot leave it out. What is needed is to look at windows rather than at values.
#
# An alarm
# --------
# Which windows are outliers, ``predict`` says. Here are eight of the days, with the hours in trouble shaded, and a mark
# at the end of each window that raises the alarm. The alarm outlasts the trouble, for a window is four hours long.

detector = detectors["default, neighbours"]
days = slice(8 * DAY, 16 * DAY)
shown, moments = new[days], np.arange(8 * DAY) / DAY
alarm = detector.predict(windows(shown)) == -1
ends = moments[WINDOW - 1 :: STEP][alarm]

figure, ax = plt.subplots(figsize=(11, 3), layout="constrained")
ax.plot(moments, shown, linewidth=0.6, color="black")
for kind, color in zip(KINDS, ("C0", "C1", "C2", "C3"), strict=True):
    ax.fill_between(moments, 0, 80, where=trouble[days] == kind, color=color, alpha=0.4, label=kind, linewidth=0)
ax.plot(ends, np.full(len(ends), 5), "^", color="red", label="alarm")
ax.set(xlabel="days", ylabel="load in percent", ylim=(0, 80))
ax.legend(ncols=5, loc="upper center", frameon=False)

calm_windows = X[kind_of == "none"]
print(f"windows without trouble that raise the alarm: {(detector.predict(calm_windows) == -1).mean():.3f}")
for kind in KINDS:
    print(f"windows of {kind!r} that do: {(detector.predict(X[kind_of == kind]) == -1).mean():.3f}")
