"""Can boosted trees tell samples of tables from rows, and does the alarm of collapse go off when it should?

Normal rows of eight ADBench tables, at most 6000: two thirds for training, the rest held out. Boosted trees tell
held-out rows from as many samples; the area under the ROC curve over five folds is .5 where they cannot. ``GANSampler``
with ``init="mixture"`` stands beside the ``GaussianMixture`` of lowest BIC and the ``KernelDensity`` of highest
held-out likelihood. Samples of all are brought to the nearest value that the column has in training rows, where its
values repeat, as ``GANSampler`` does by itself: trees otherwise see the lattice of rounded columns and nothing else.

The alarm, on mammography: it should go off for a non-saturating loss with R1 alone, and be silent for the defaults.
"""

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

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
from sk_autoenc import GANSampler

TABLES = (
    "23_mammography",
    "2_annthyroid",
    "6_cardio",
    "19_landsat",
    "30_satellite",
    "32_shuttle",
    "35_SpamBase",
    "41_Waveform",
)
MOST_ROWS = 6000
OURS = 'GANSampler(init="mixture")'
PARTS = ("tables", "alarm")
SEEDS = range(5)


def gap(results: dict, summary: Callable) -> float:
    """By how much trees tell our samples better than those of the better baseline: the summary over tables."""
    runs = results["figures"]["tables"].values()
    return float(
        summary([run[OURS]["auroc"] - min(f["auroc"] for name, f in run.items() if name != OURS) for run in runs])
    )


def alarms(model: str) -> Callable[[dict], float]:
    """How many of five fits gave the warning."""
    return lambda results: sum(run["warned"] for run in results["figures"]["alarm"][model])


TARGETS = [
    Target("AUROC above the better of mixture and kernel density: worst table", lambda r: gap(r, max), "≤", 0.01),
    Target("share of tables below both", lambda r: gap(r, lambda gaps: np.mean(np.array(gaps) < 0)), "≥", 0.5),
    Target("warnings in five fits with a non-saturating loss and R1", alarms("non-saturating, R1"), "≥", 5),
    Target("warnings in five fits at defaults", alarms("defaults"), "≤", 0),
]


def mixture_by_bic(X: np.ndarray) -> GaussianMixture:
    """The mixture with the number of components of lowest BIC."""
    sizes = [size for size in (1, 2, 4, 8, 16, 25) if size * 4 < len(X)]
    models = [GaussianMixture(size, reg_covar=1e-5, random_state=0).fit(X) for size in sizes]
    return min(models, key=lambda model: model.bic(X))


def density_by_likelihood(X: np.ndarray) -> KernelDensity:
    """The kernel density with the bandwidth of highest held-out likelihood."""
    return GridSearchCV(KernelDensity(), {"bandwidth": [0.02, 0.05, 0.1, 0.2, 0.4]}, cv=3).fit(X).best_estimator_


def told_apart(rows: np.ndarray, samples: np.ndarray) -> float:
    """Area under the ROC curve of boosted trees that tell rows from samples, over five folds."""
    X, y = np.concatenate([rows, samples]), np.repeat([0, 1], [len(rows), len(samples)])
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(roc_auc_score(y, cross_val_predict(trees, X, y, cv=folds, method="predict_proba")[:, 1]))


def to_observed_values(samples: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Samples within the range of training rows, and of columns whose values repeat at the nearest of these."""
    made = samples.clip(train.min(axis=0), train.max(axis=0))
    for column, values in enumerate(map(np.unique, train.T)):
        if len(values) * 2 <= len(train):
            made[:, column] = values[np.searchsorted((values[1:] + values[:-1]) / 2, made[:, column])]
    return made


def normal_rows(name: str, options) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and held-out rows."""
    X, y = adbench_tables()[name]
    X = X[y.ravel() == 0].astype(np.float64)
    most = 300 if options.quick else MOST_ROWS
    X = X[np.random.default_rng(0).permutation(len(X))[:most]]
    return train_test_split(X, test_size=1 / 3, random_state=0)


def measure_table(name: str, options) -> dict:
    """Figures of the contenders on a table."""
    train, held_out = normal_rows(name, options)
    n = len(held_out)
    scaler = StandardScaler().fit(train)
    gan = GANSampler(init="mixture", random_state=0, device="cpu", **({"max_iter": 1} if options.quick else {}))
    figures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit_seconds = seconds(lambda: gan.fit(train), options.clock)
    figures[OURS] = {
        "auroc": told_apart(held_out, gan.sample(n, random_state=0)),
        "seconds": fit_seconds,
        "is_mixture": gan.is_mixture_,
    }
    for rival, make in (("GaussianMixture", mixture_by_bic), ("KernelDensity", density_by_likelihood)):
        model = make(scaler.transform(train))
        if hasattr(model, "means_"):
            model.set_params(random_state=0)
            drawn = model.sample(n)[0]
        else:
            drawn = model.sample(n, random_state=0)
        figures[rival] = {"auroc": told_apart(held_out, to_observed_values(scaler.inverse_transform(drawn), train))}
    return figures


def measure_alarm(model: str, seed: int, options) -> dict:
    """Whether a fit warned, and the figures that it warned by."""
    train, _ = normal_rows("23_mammography", options)
    chosen = {"loss": "non_saturating", "gradient_penalty": "r1"} if model != "defaults" else {}
    gan = GANSampler(**chosen, random_state=seed, device="cpu", **({"max_iter": 1} if options.quick else {}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gan.fit(train)
    warned = any("collapsed" in str(warning.message) for warning in caught)
    quality = gan.sample_quality_
    return {"warned": warned, "energy": quality["energy_distance"], "coverage": quality["coverage"]}


def run(options) -> None:
    """Measure what is not kept yet, and store."""
    use_threads(options.threads)
    path = results_file("gan_tables", options.quick, "parts.jsonl")
    parts = [] if options.quick else read_parts(path)
    done = {tuple(part["of"]) for part in parts}
    wanted: list[tuple] = []
    if "tables" in options.parts:
        wanted += [("tables", name) for name in (TABLES[:1] if options.quick else TABLES)]
    if "alarm" in options.parts:
        seeds = SEEDS[:1] if options.quick else SEEDS
        wanted += [("alarm", model, seed) for model in ("defaults", "non-saturating, R1") for seed in seeds]
    for kind, *of in wanted:
        if (kind, *of) in done:
            continue
        found = measure_table(*of, options) if kind == "tables" else measure_alarm(*of, options)
        print(f"  {kind}, {of}: {found}", flush=True)
        parts.append({"of": [kind, *of], **found})
        if not options.quick:
            keep_part(path, parts[-1])
    save(options, _by_kind(parts))


def _by_kind(parts: list[dict]) -> dict:
    """Figures by part, and by table or model."""
    figures: dict = {"tables": {}, "alarm": {}}
    for part in parts:
        kind, name, *_ = part["of"]
        found = {key: value for key, value in part.items() if key != "of"}
        if kind == "tables":
            figures["tables"][name] = found
        else:
            figures["alarm"].setdefault(name, []).append(found)
    return figures


def report(results) -> str:
    """A table for each part."""
    figures = results["figures"]
    rows = [
        [
            name,
            *(fixed(run[model]["auroc"], 3) for model in (OURS, "GaussianMixture", "KernelDensity")),
            "yes" if run[OURS]["is_mixture"] else "no",
            fixed(run[OURS]["seconds"], 0),
        ]
        for name, run in figures["tables"].items()
    ]
    header = ["AUROC of trees", OURS, "GaussianMixture", "KernelDensity", "start kept", "fit, s"]
    said = [
        [
            model,
            f"{sum(run['warned'] for run in runs)} of {len(runs)}",
            _range(runs, "energy"),
            _range(runs, "coverage"),
        ]
        for model, runs in figures["alarm"].items()
    ]
    return table(header, rows) + "\n\n" + table(["mammography", "warnings", "energy distance", "coverage"], said)


def _range(runs: list[dict], key: str) -> str:
    found = [run[key] for run in runs]
    return f"{min(found):.3f} to {max(found):.3f}"


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
