"""Does over-sampling by a generative model help a classifier of rare classes?

Mammography, thyroid and satimage-2 of ADBench: five folds, boosted trees, average precision of the rare class on rows
of the fold that is held out; also the recall at the threshold that lets 1 % of the common class through, and the Brier
score. Over-samplers see training rows of the fold alone: none, copies, SMOTE, ``ConditionalGANSampler`` and
``ClassSampler`` of a VAE at their defaults (both classes as frequent), and the GAN until the rare class has a tenth of
the rows of the common one. "Against none" is the mean difference of folds with its standard error.
"""

import warnings
from collections.abc import Callable

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.model_selection import StratifiedKFold

from benchmarks.common import (
    Target,
    adbench_tables,
    arguments,
    fixed,
    keep_part,
    read_parts,
    results_file,
    save,
    seconds,
    table,
    use_threads,
)
from sk_autoenc import ClassSampler, ConditionalGANSampler, VAETransformer

TABLES = ("23_mammography", "38_thyroid", "31_satimage-2")
GAN, GAN_TENTH, VAE = "ConditionalGANSampler", "ConditionalGANSampler up to 10 %", "ClassSampler of a VAE"
N_FOLDS = 5
#: Share of the common class that a threshold lets through.
FALSE_ALARMS = 0.01


def samplers(options) -> dict[str, Callable | None]:
    """What adds rows."""
    few = {"max_iter": 1} if options.quick else {}

    def gan(**chosen):
        return ConditionalGANSampler(random_state=0, device="cpu", **chosen, **few)

    return {
        "none": None,
        "copies": lambda: RandomOverSampler(random_state=0),
        "SMOTE": lambda: SMOTE(random_state=0),
        GAN: gan,
        GAN_TENTH: lambda: gan(sampling_strategy=0.1),
        VAE: lambda: ClassSampler(VAETransformer(device="cpu", **few), random_state=0),
    }


def against_none(runs: dict[str, list[dict]], name: str, key: str = "precision") -> tuple[float, float]:
    """Mean difference to no over-sampling over folds, and its standard error."""
    gains = np.array([run[key] - none[key] for run, none in zip(runs[name], runs["none"], strict=True)])
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))


def worst(name: str) -> Callable[[dict], float]:
    """The lowest difference to none over tables, in its standard errors."""
    return lambda results: min(
        mean / error for runs in results["figures"].values() for mean, error in [against_none(runs, name)]
    )


TARGETS = [
    Target(f"{name} against none, average precision: worst table, in standard errors", worst(name), "≥", -1.0)
    for name in (GAN, GAN_TENTH, VAE)
]


def measure(name: str, over_sampler: str, options) -> list[dict]:
    """Figures of each fold."""
    X, y = adbench_tables()[name]
    y = y.ravel().astype(int)
    if options.quick:
        chosen = np.r_[np.flatnonzero(y == 1)[:30], np.flatnonzero(y == 0)[:200]]
        X, y = X[chosen], y[chosen]
    folds = StratifiedKFold(2 if options.quick else N_FOLDS, shuffle=True, random_state=0)
    return [
        measure_fold(X[train], y[train], X[test], y[test], samplers(options)[over_sampler], options)
        for train, test in folds.split(X, y)
    ]


def measure_fold(X, y, X_test, y_test, make, options) -> dict:
    """Figures of trees on the rows of a fold."""
    spent = 0.0
    if make is not None:
        added = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spent = seconds(lambda: added.append(make().fit_resample(X, y)), options.clock)
        X, y = added[0]
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(X, y)
    found = trees.predict_proba(X_test)[:, 1]
    threshold = np.quantile(found[y_test == 0], 1 - FALSE_ALARMS)
    return {
        "precision": float(average_precision_score(y_test, found)),
        "recall": float((found[y_test == 1] > threshold).mean()),
        "brier": float(brier_score_loss(y_test, found)),
        "seconds": spent,
    }


def run(options) -> None:
    """Measure what is not kept yet, and store."""
    use_threads(options.threads)
    path = results_file("over_sampling", options.quick, "parts.jsonl")
    parts = [] if options.quick else read_parts(path)
    done = {(part["table"], part["sampler"]) for part in parts}
    for name in TABLES[:1] if options.quick else TABLES:
        for over_sampler in samplers(options):
            if (name, over_sampler) in done:
                continue
            found = measure(name, over_sampler, options)
            print(f"  {name}, {over_sampler}: {np.mean([fold['precision'] for fold in found]):.3f}", flush=True)
            parts.append({"table": name, "sampler": over_sampler, "folds": found})
            if not options.quick:
                keep_part(path, parts[-1])
    figures: dict = {}
    for part in parts:
        figures.setdefault(part["table"], {})[part["sampler"]] = part["folds"]
    save(options, figures)


def report(results) -> str:
    """A table for each data set."""
    header = ["", "average precision", "against none", "recall at 1 % false alarms", "Brier score", "s a fold"]
    return "\n\n".join(
        table(
            [name, *header[1:]],
            [
                [
                    sampler,
                    fixed(_mean(folds, "precision")),
                    "" if sampler == "none" else _difference(*against_none(runs, sampler)),
                    fixed(_mean(folds, "recall")),
                    fixed(_mean(folds, "brier"), 4),
                    fixed(_mean(folds, "seconds"), 1),
                ]
                for sampler, folds in runs.items()
            ],
        )
        for name, runs in results["figures"].items()
    )


def _mean(folds: list[dict], key: str) -> float:
    return float(np.mean([fold[key] for fold in folds]))


def _difference(mean: float, error: float) -> str:
    return f"{fixed(mean, sign=True)} ± {fixed(error)}"


def parser():
    """Options of this script."""
    return arguments(__doc__, TARGETS)


if __name__ == "__main__":
    run(parser().parse_args())
