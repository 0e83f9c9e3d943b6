"""Samples as training rows: a classifier that has seen only samples of models fitted to each class, on real rows.

One model a class, as many samples of it as the class has training rows, clipped to the range of pixels. A classifier
(``MLPClassifier`` with 100 hidden units) learns from the samples and is tested on real rows that nothing has seen;
beside it stands the same classifier trained on the real rows. A model that copied its training rows would do well, so
the ratio of the samples' median distance to the nearest training row, over that of real test rows, is taken in each
class; 1 is new rows, well below 0.9 copies (and far above 1 rows that are unlike any).

Ours, ``GaussianMixture`` and ``KernelDensity`` are chosen alike among a few settings: fitted to two thirds of the
training rows, judged on the rest, the highest accuracy among those with a ratio of 0.9 at least; then fitted to all
training rows. For ours, samples with the likelihood's noise and without it (``mean=True``) count as two settings.
Digits: means over 2 splits with 30 % test rows, settings chosen in each. MNIST: the first training images of each
class, all test images. Classes are fitted ``--threads`` at a time, with one thread each.
"""

import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.neural_network import MLPClassifier

from benchmarks.common import Target, arguments, figures_table, load_images, save, use_threads
from sk_autoenc import MLP, VAETransformer
from sk_autoenc.metrics import neighbor_distance_ratio

RATIO = 0.9


def of_ours(data: str, figure: str):
    """A figure of ours, from the results."""
    return lambda results: results["figures"][data]["VAETransformer"][figure]


TARGETS = [
    target
    for data in ("digits", "mnist")
    for target in (
        Target(f"samples of {data}: points below real rows", of_ours(data, "points_below"), "≤", 5),
        Target(f"samples of {data}: ratio of distances", of_ours(data, "ratio"), "≥", RATIO),
    )
]


class Split(NamedTuple):
    """Rows to fit and rows to judge."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def candidates(data: str, quick: bool) -> dict[str, list]:
    """The settings of every contender among which the choice is made."""
    if quick:
        plans, sizes = [{"n_components": 2, "max_iter": 1}], {"diag": (1,)}
    elif data == "digits":
        plans = [{"n_components": k, "prior": prior} for k in (4, 8) for prior in ("normal", "auto")]
        sizes = {"full": (1, 2, 4), "diag": (1, 4, 16)}
    else:
        bernoulli = {"n_components": 20, "architecture": MLP((256,)), "likelihood": "bernoulli"}
        plans = [{**bernoulli, "prior": "normal"}, bernoulli]
        sizes = {"full": (1, 4), "diag": (8, 32)}
    return {
        "VAETransformer": [VAETransformer(**plan, device="cpu", random_state=0) for plan in plans],
        "GaussianMixture": [
            GaussianMixture(size, covariance_type=kind, reg_covar=1e-3, random_state=0)
            for kind, some in sizes.items()
            for size in some
        ],
        "KernelDensity": [KernelDensity(bandwidth=width) for width in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)],
    }


def draw(model, n: int, mean: bool) -> np.ndarray:
    """``n`` rows from a fitted model, as pixels in [0, 1]."""
    if isinstance(model, GaussianMixture):
        rows = model.sample(n)[0]
    else:
        rows = model.sample(n, random_state=1, **({"mean": True} if mean else {}))
    return np.clip(rows, 0, 1).astype(np.float32)


def accuracy(X: np.ndarray, y: np.ndarray, split: Split) -> float:
    """Share of the test rows that a classifier trained on these rows gets right."""
    classifier = MLPClassifier((100,), max_iter=max(12, 240_000 // len(X)), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(classifier.fit(X, y).score(split.X_test, split.y_test))


def fit_classes(plan, split: Split, n_jobs: int) -> dict:
    """A model for each class."""
    labels = np.unique(split.y)
    fit = delayed(lambda label: clone(plan).fit(split.X[split.y == label]))
    return dict(zip(labels, Parallel(n_jobs, prefer="threads")(map(fit, labels)), strict=True))


def judge(models: dict, split: Split, mean: bool) -> dict:
    """Draw as many rows of each class as it has, and say what they are worth."""
    samples, ratios = np.empty_like(split.X), []
    for label, model in models.items():
        own = split.y == label
        samples[own] = draw(model, int(own.sum()), mean)
        ratios.append(neighbor_distance_ratio(samples[own], split.X[own], split.X_test[split.y_test == label]))
    return {
        "accuracy": accuracy(samples, split.y, split),
        "ratio": float(np.mean(ratios)),
        "lowest_ratio": min(ratios),
    }


def choose(plans: list, split: Split, n_jobs: int) -> tuple[Any, bool, dict]:
    """The plan that does best on a third of the training rows, whether without noise, and what all of them did."""
    X, X_test, y, y_test = train_test_split(split.X, split.y, test_size=1 / 3, stratify=split.y, random_state=0)
    inner, trials, merits, settings = Split(X, y, X_test, y_test), {}, [], []
    for plan in plans:
        models = fit_classes(plan, inner, n_jobs)
        for mean in (False, True) if isinstance(plan, VAETransformer) else (False,):
            found = judge(models, inner, mean)
            trials[described(plan, mean)] = found
            merits.append((found["ratio"] >= RATIO, found["accuracy"]))
            settings.append((plan, mean))
            shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"  {described(plan, mean)}: {shown}", flush=True)
    return *settings[merits.index(max(merits))], trials


def described(plan, mean: bool) -> str:
    """The setting in words."""
    return " ".join(repr(plan).split()) + (", without noise" if mean else "")


def contest(plans_of: dict[str, list], splits: list[Split], n_jobs: int) -> tuple[dict, dict]:
    """Figures of all contenders, means over splits, and how each was chosen."""
    real = float(np.mean([accuracy(split.X, split.y, split) for split in splits]))
    figures: dict[str, dict] = {"real rows": {"accuracy": real, "points_below": 0.0}}
    trials: dict[str, list] = {}
    for name, plans in plans_of.items():
        found, chosen, trials[name] = [], [], []
        for split in splits:
            plan, mean, trial = choose(plans, split, n_jobs)
            start = time.perf_counter()
            models = fit_classes(plan, split, n_jobs)
            seconds = time.perf_counter() - start
            found.append({**judge(models, split, mean), "fit_seconds": seconds})
            chosen.append(described(plan, mean))
            trials[name].append(trial)
        average = {key: float(np.mean([figure[key] for figure in found])) for key in found[0]}
        figures[name] = {"points_below": 100 * (real - average["accuracy"]), **average, "chosen": chosen}
    return figures, trials


def digits_splits(n_splits: int) -> list[Split]:
    """Splits of scikit-learn's digits, pixels in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    parts = [train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed) for seed in range(n_splits)]
    return [Split(X, y, X_test, y_test) for X, X_test, y, y_test in parts]


def few_rows(split: Split) -> Split:
    """Two classes and 60 rows of each, for a smoke test."""
    train, test = (
        np.concatenate([np.flatnonzero(y == label)[:60] for label in (0, 1)]) for y in (split.y, split.y_test)
    )
    return Split(split.X[train], split.y[train], split.X_test[test], split.y_test[test])


def mnist_split(per_class: int) -> Split:
    """The first training images of every class, and all test images."""
    X, y, X_test, y_test = load_images("mnist")
    first = np.concatenate([np.flatnonzero(y == label)[:per_class] for label in range(10)])
    return Split(X[first], y[first], X_test, y_test)


def run(options) -> None:
    """Measure and store."""
    use_threads(1)
    stored, trials = {}, {}
    for data in options.data:
        splits = digits_splits(2) if data == "digits" else [mnist_split(options.per_class)]
        if options.quick:
            splits = [few_rows(splits[0])]
        stored[data], trials[data] = contest(candidates(data, options.quick), splits, options.threads)
    save(options, stored, trials=trials)


def report(results) -> str:
    """A table for each set."""
    columns = {
        "accuracy": ("accuracy", 3),
        "points below real rows": ("points_below", 1),
        "ratio of distances": ("ratio", 2),
        "lowest class": ("lowest_ratio", 2),
        "fit, s": ("fit_seconds", 1),
    }
    return "\n\n".join(
        figures_table(f"{data}: trained on", figures, columns) for data, figures in results["figures"].items()
    )


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--data", nargs="+", default=["digits", "mnist"], choices=["digits", "mnist"])
    parser.add_argument("--per-class", type=int, default=1000, help="training images of MNIST per class (default 1000)")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
