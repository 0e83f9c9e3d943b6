"""Held-out log-likelihood in nats per row: ``VAETransformer(k)`` beside the density models of scikit-learn.

A cell is a table and k in 2, 4, 8 with k below the number of columns. Five splits, seeds 0 to 4: at most 3000 rows,
75 % to fit, 25 % to score; standardised by the training rows, clipped to ±10, normal noise of 0.05 added to break ties.
Ours has default parameters and random_state = the seed; at k = 2 once more as the textbook has it ("plain"): the normal
prior, one code a row in training, and no free bits. Beside it
``PCA(k)``, ``FactorAnalysis(k)``, ``GaussianMixture`` (1 to 20 components and every type of covariance; the least BIC)
and ``KernelDensity`` (bandwidth by 5-fold cross-validated log-likelihood). Figures are medians over splits;
differences are taken split by split.

Tables: normal rows of every ADBench table with at least 300 of them, at least 3 columns, and at least 15 distinct
values in half of the columns; scikit-learn's diabetes and breast_cancer; penguins, mpg and diamonds (numeric columns).
"tuned": defaults and the form of the noise were chosen on other splits of this table; a "relative" of one has its rows.

``--jobs`` processes share the splits; finished ones are kept in results/density.parts.jsonl, so that an interrupted run
goes on where it stopped (``--fresh`` starts again: do so after any change of the library).
"""

import time
import warnings

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.neighbors import KernelDensity

from benchmarks.common import (
    Target,
    adbench_tables,
    arguments,
    data_file,
    fixed,
    in_processes,
    keep_part,
    read_parts,
    results_file,
    save,
    table,
    use_threads,
)
from sk_autoenc import NormalPrior, VAETransformer

CODES = (2, 4, 8)
MAX_ROWS, MIN_ROWS, MIN_DISTINCT = 3000, 300, 15
MIXTURES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20)
BANDWIDTHS = np.geomspace(0.03, 2, 40)
RIVALS = ("mixture", "kernel")
PLAIN = "ours, plain"


def cells_below_linear(results) -> int:
    """How many cells are more than 0.1 nats below the better linear model."""
    return results["figures"]["counts"]["all"]["cells below linear by > 0.1"]


def share_above(rival: str, k: int):
    """On which share of the tables ours is above a rival, from the results."""

    def share(results) -> float | None:
        above, tables = map(int, results["figures"]["counts"]["all"][f"above {rival}, k={k}"].split(" of "))
        return above / tables if tables else None

    return share


TARGETS = [
    Target("density: cells more than 0.1 nats below PCA or factor analysis", cells_below_linear, "≤", 0),
    *(
        Target(f"density: share of tables above {name}, k = {k}", share_above(rival, k), "≥", 0.8)
        for rival, name in (("mixture", "the mixture chosen by BIC"), ("kernel", "kernel density"))
        for k in CODES
    ),
]

TUNED = {
    *("2_annthyroid", "6_cardio", "10_cover", "12_fault", "24_mnist", "26_optdigits", "30_satellite", "32_shuttle"),
    *("38_thyroid", "diabetes", "breast_cancer"),
}
RELATIVES = {"7_Cardiotocography", "19_landsat", "31_satimage-2", "43_WDBC"}


def load_tables(quick: bool) -> dict[str, np.ndarray]:
    """Every table, float64; some rows and columns of one for a smoke test."""
    if quick:
        return {"diabetes": load_diabetes(scaled=False).data[:150, :4]}
    tables = {}
    for name, (X, y) in adbench_tables().items():
        normal = X[y == 0].astype(np.float64)
        if len(normal) < MIN_ROWS or normal.shape[1] < 3:
            continue
        if np.median([len(np.unique(column)) for column in normal[:MAX_ROWS].T]) >= MIN_DISTINCT:
            tables[name] = normal
    tables |= {"diabetes": load_diabetes(scaled=False).data, "breast_cancer": load_breast_cancer().data}
    for name in ("penguins", "mpg", "diamonds"):
        frame = pd.read_csv(data_file(f"tables/{name}.csv.gz")).select_dtypes("number").dropna()
        tables[name] = frame.drop(columns=["year", "model_year"], errors="ignore").to_numpy(np.float64)
    return tables


def kind(table: str) -> str:
    """Whether choices were made on the table."""
    return "tuned" if table in TUNED else "relative" if table in RELATIVES else "fresh"


def make_split(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to score."""
    rng = np.random.default_rng(seed)
    X = X[rng.permutation(len(X))[:MAX_ROWS]]
    n_train = round(0.75 * len(X))
    mean, spread = X[:n_train].mean(axis=0), X[:n_train].std(axis=0)
    X = ((X - mean) / np.where(spread > 0, spread, 1)).clip(-10, 10) + rng.normal(0, 0.05, X.shape)
    return X[:n_train], X[n_train:]


def score_mixture(train: np.ndarray, test: np.ndarray, seed: int) -> float:
    """Of the mixture with the least BIC; a type of covariance is given up after three rises in a row."""
    best_bic, best = np.inf, None
    for covariance in ("full", "tied", "diag", "spherical"):
        least, rises = np.inf, 0
        for n_components in MIXTURES:
            model = GaussianMixture(n_components, covariance_type=covariance, random_state=seed).fit(train)
            bic = model.bic(train)
            if bic < best_bic:
                best_bic, best = bic, model
            least, rises = min(least, bic), 0 if bic < least else rises + 1
            if rises == 3:
                break
    return best.score(test)


def score_kernel(train: np.ndarray, test: np.ndarray) -> float:
    """Of the bandwidth with the highest cross-validated log-likelihood."""
    total, n_features = np.zeros(len(BANDWIDTHS)), train.shape[1]
    for kept, left_out in KFold(5, shuffle=True, random_state=0).split(train):
        squares = cdist(train[left_out], train[kept], "sqeuclidean")
        for i, bandwidth in enumerate(BANDWIDTHS):  # but for a constant, the log-density of every row
            total[i] += (logsumexp(-squares / (2 * bandwidth**2), axis=1) - n_features * np.log(bandwidth)).sum()
    return KernelDensity(bandwidth=BANDWIDTHS[total.argmax()]).fit(train).score(test) / len(test)


def score_plain(train: np.ndarray, test: np.ndarray, settings: dict) -> float:
    """Of ours as the textbook has it, with the fewest codes."""
    plain = {"prior": "normal", "n_importance_samples": 1, "free_bits": 0.0}
    return VAETransformer(CODES[0], **plain, **settings).fit(train).score(test)


def measure_split(table: str, X: np.ndarray, seed: int, threads: int, max_iter: dict) -> dict:
    """All models on one split of one table; runs in a process of its own."""
    use_threads(threads)
    warnings.simplefilter("ignore")
    train, test = make_split(X, seed)
    cells = []
    settings = {"random_state": seed, "device": "cpu", **max_iter}
    for k in (k for k in CODES if k < X.shape[1]):
        model = VAETransformer(k, **settings)
        start = time.perf_counter()
        model.fit(train)
        elapsed = time.perf_counter() - start
        cells.append(
            {
                "k": k,
                "seconds": elapsed,
                "ours": model.score(test),
                PLAIN: score_plain(train, test, settings) if k == CODES[0] else np.nan,
                "epochs": model.n_iter_,
                "linear_kept": bool(model.linear_),
                "parts_of_prior": 0 if isinstance(model.prior_, NormalPrior) else len(model.prior_.means),
                "pca": PCA(k).fit(train).score(test),
                "factor": FactorAnalysis(k).fit(train).score(test),
            }
        )
    shared = {"mixture": score_mixture(train, test, seed), "kernel": score_kernel(train, test)}
    about = {"table": table, "kind": kind(table), "rows": len(train) + len(test), "columns": X.shape[1], "seed": seed}
    return {**about, "cells": [{**cell, **shared} for cell in cells]}


def measure_all(options) -> list[dict]:
    """Every split of every table, in parallel; each is printed and kept as soon as it is done."""
    tables = load_tables(options.quick)
    seeds, max_iter = range(options.splits), {}
    if options.tables:
        tables = {name: X for name, X in tables.items() if any(part in name for part in options.tables)}
    if options.quick:
        seeds, max_iter = range(1), {"max_iter": 2}
    parts = results_file("density.parts", options.quick, "jsonl")
    if options.fresh or options.quick:
        parts.unlink(missing_ok=True)
    done = read_parts(parts)
    known = {(part["table"], part["seed"]) for part in done}
    wanted = [(name, seed) for seed in seeds for name in tables if (name, seed) not in known]
    print(f"{len(tables)} tables, {len(wanted)} splits to go", flush=True)
    calls = [(name, tables[name], seed, options.threads, max_iter) for name, seed in wanted]
    for part in in_processes(options.jobs, measure_split, calls):
        done.append(part)
        keep_part(parts, part)
        shown = "  ".join(f"k={c['k']} {c['ours']:.2f} ({max(c['pca'], c['factor']):.2f})" for c in part["cells"])
        rivals = "  ".join(f"{name} {part['cells'][0][name]:.2f}" for name in RIVALS)
        print(f"[{len(done)}] {part['table']} {part['seed']}: {shown}  {rivals}", flush=True)
    return [part for part in done if part["table"] in tables and part["seed"] in seeds]


def gather(parts: list[dict]) -> list[dict]:
    """Medians over splits of every cell, tuned tables first."""
    cells: dict[tuple, list] = {}
    about = {}
    for part in sorted(parts, key=lambda part: (("tuned", "relative", "fresh").index(part["kind"]), part["seed"])):
        for cell in part["cells"]:
            cells.setdefault((part["table"], cell["k"]), []).append(cell)
            about[part["table"]] = {name: part[name] for name in ("kind", "rows", "columns")}
    return [summarise(table, k, splits, about[table]) for (table, k), splits in cells.items()]


def summarise(table: str, k: int, splits: list[dict], about: dict) -> dict:
    """Medians of one cell."""
    median = {name: float(np.median([split[name] for split in splits])) for name in splits[0]}
    above = {
        "linear": [split["ours"] - max(split["pca"], split["factor"]) for split in splits],
        **{name: [split["ours"] - split[name] for split in splits] for name in RIVALS},
        **{f"{name}, plain": [split[PLAIN] - split[name] for split in splits] for name in RIVALS},
    }
    return {
        "table": table,
        **about,
        **median,
        "k": k,
        "splits": len(splits),
        "linear_kept": sum(split["linear_kept"] for split in splits),
        "above": {name: float(np.median(differences)) for name, differences in above.items()},
        "least_above_linear": min(above["linear"]),
        "fit_seconds": [split["seconds"] for split in splits],
    }


def without_gaps(figures: dict) -> dict:
    """Figures that were measured."""
    return {name: value for name, value in figures.items() if not (isinstance(value, float) and np.isnan(value))}


def count(cells: list[dict]) -> dict:
    """What the issue of density asks of a set of cells; tables count at one k, or, in the last rows, at all k."""
    figures: dict = {"tables": len({cell["table"] for cell in cells}), "cells": len(cells)}
    figures["cells below linear by > 0.1"] = sum(cell["above"]["linear"] < -0.1 for cell in cells)
    figures["least above linear"] = min(cell["above"]["linear"] for cell in cells)
    for rival in RIVALS:
        for k in CODES:
            here = [cell["above"][rival] > 0 for cell in cells if cell["k"] == k]
            figures[f"above {rival}, k={k}"] = f"{sum(here)} of {len(here)}"
        lost = {cell["table"] for cell in cells if cell["above"][rival] <= 0}
        figures[f"above {rival} at every k"] = f"{figures['tables'] - len(lost)} of {figures['tables']}"
        here = [cell["above"][f"{rival}, plain"] > 0 for cell in cells if cell["k"] == CODES[0]]
        figures[f"plain above {rival}, k={CODES[0]}"] = f"{sum(here)} of {len(here)}"
    seconds = np.concatenate([cell["fit_seconds"] for cell in cells])
    return figures | {"fit seconds, median": float(np.median(seconds)), "fit seconds, largest": float(seconds.max())}


def run(options) -> None:
    """Measure and store."""
    cells = gather(measure_all(options))
    groups = {"all": cells}
    groups |= {name: [cell for cell in cells if cell["kind"] == name] for name in ("tuned", "relative", "fresh")}
    counts = {name: count(group) for name, group in groups.items() if group}
    cells = [without_gaps(cell) | {"above": without_gaps(cell["above"])} for cell in cells]
    save(options, {"counts": counts, "cells": cells}, max_rows=MAX_ROWS, parameters=repr(VAETransformer()))


def report(results) -> str:
    """Nats of every table, with as many codes as there are columns for, and the counts."""
    counts, by_table = results["figures"]["counts"], {}
    for cell in results["figures"]["cells"]:
        by_table.setdefault(cell["table"], []).append(cell)
    rows = [
        [
            name,
            cells[0]["kind"],
            cells[0]["columns"],
            " / ".join(fixed(max(cell["pca"], cell["factor"]), 2) for cell in cells),
            *(fixed(cells[0][rival], 2) for rival in RIVALS),
            " / ".join(fixed(cell["ours"], 2) for cell in cells),
            fixed(cells[0].get(PLAIN), 2),
            " / ".join(fixed(cell["above"]["mixture"], 2, sign=True) for cell in cells),
        ]
        for name, cells in by_table.items()
    ]
    codes = "k = " + " / ".join(map(str, CODES))
    header = ["table", "", "columns", f"linear, {codes}", *RIVALS, f"ours, {codes}", "plain, k = 2"]
    figures = [[figure, *(count[figure] for count in counts.values())] for figure in counts["all"]]
    return table([*header, f"ours − mixture, {codes}"], rows) + "\n\n" + table(["figure", *counts], figures)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--splits", type=int, default=5, help="number of splits (default 5)")
    parser.add_argument("--fresh", action="store_true", help="forget the splits of an interrupted run")
    parser.add_argument("--tables", nargs="*", help="only tables whose name contains one of these")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
