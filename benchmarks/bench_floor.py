"""The linear floor: does one who swaps ``PCA(k)`` for ``AutoencoderTransformer(k)`` lose, and how much is won?

A cell is a table, raw or standardised (by the training rows), and k in 2, 5, 10 with k below the number of features;
cells whose PCA leaves less than 1e-6 of the training variance are skipped. Five splits (train_test_split, 75/25, seeds
0 to 4); in each, both are fitted on the same training rows, ours with default parameters and random_state = the seed.
The figure of a split is the squared error on the test rows, ours divided by PCA's; of a cell the median over splits.
Its paired standard error is that of the mean, over test rows, of the difference of the two errors, divided by PCA's
mean error; of a cell the median over splits.

Tables: scikit-learn's iris, wine, breast_cancer, diabetes, digits, and the normal rows of every ADBench table with at
least 4 columns, at most 5000 rows of each. "tuned": tables that defaults may have been chosen on (even ADBench numbers,
iris, breast_cancer, digits); "others" took no part.

In the geometric mean ratios are clipped to at least 0.1, so that a nearly perfect cell does not decide alone.
init="random" is shown beside the default.

``--jobs`` processes share the tables; finished ones are kept in results/floor.parts.jsonl, so that an interrupted run
goes on where it stopped (``--fresh`` starts again: do so after any change of the library).
"""

import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks.common import (
    Target,
    adbench_tables,
    arguments,
    fixed,
    in_processes,
    keep_part,
    read_parts,
    results_file,
    save,
    table,
    use_threads,
)
from sk_autoenc import AutoencoderTransformer

SKLEARN = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "diabetes": lambda: load_diabetes(scaled=False),
    "digits": load_digits,
}
COMPONENTS = (2, 5, 10)
INITS = ("auto", "random")


def of_all(figure):
    """A figure of all cells with the default start, from the results."""
    return lambda results: results["figures"]["summary"]["all"][figure]


TARGETS = [
    Target("floor: cells above 1.005 beyond one standard error", of_all("of these beyond one standard error"), "≤", 0),
    Target(
        "floor: worst cell",
        of_all("worst ratio"),
        "≤",
        1.03,
        "The cell is within its standard error of 1. On five other splits of its table the ratio is below 1. Tried: a "
        "stricter comparison with PCA on held-out rows. It changed no such cell and cost a little of the mean.",
    ),
    Target("floor: geometric mean of the error over PCA's", of_all("geometric mean"), "≤", 0.52),
    Target("floor: median", of_all("median"), "≤", 0.72),
    Target("floor: median seconds of a fit", of_all("fit seconds, median"), "<", 3),
]
MAX_ROWS = 5000


def load_tables(quick: bool) -> dict[str, np.ndarray]:
    """Every table, float64; some rows of one for a smoke test."""
    if quick:
        return {"iris": load_iris().data[:36]}
    tables = {name: load().data.astype(np.float64) for name, load in SKLEARN.items()}
    for name, (X, y) in adbench_tables().items():
        normal = X[y == 0].astype(np.float64)
        if normal.shape[1] < 4:
            continue
        if len(normal) > MAX_ROWS:
            normal = normal[np.random.default_rng(0).permutation(len(normal))[:MAX_ROWS]]
        tables[f"adbench {name}"] = normal
    return tables


def is_tuned(table: str) -> bool:
    """Whether defaults may have been chosen on this table."""
    if table.startswith("adbench "):
        return int(table.removeprefix("adbench ").split("_")[0]) % 2 == 0
    return table in {"iris", "breast_cancer", "digits"}


def squared_errors(X: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """One number per row."""
    return np.square(X - reconstruction).sum(axis=1)


def measure_split(train: np.ndarray, test: np.ndarray, k: int, seed: int, init: str) -> dict | None:
    """Ours against PCA on one split; None where PCA leaves nothing to gain."""
    pca = PCA(k).fit(train)
    left = squared_errors(train, pca.inverse_transform(pca.transform(train))).sum()
    if left <= 1e-6 * np.square(train - train.mean(axis=0)).sum():
        return None
    start = time.perf_counter()
    ours = AutoencoderTransformer(k, init=init, random_state=seed, device="cpu").fit(train)
    elapsed = time.perf_counter() - start
    theirs = squared_errors(test, pca.inverse_transform(pca.transform(test)))
    errors = squared_errors(test, ours.inverse_transform(ours.transform(test)))
    difference = errors - theirs
    return {
        "ratio": errors.mean() / theirs.mean(),
        "standard_error": difference.std() / np.sqrt(len(test)) / theirs.mean(),
        "seconds": elapsed,
        "epochs": ours.n_iter_,
        "kept_pca": bool(ours.linear_),
    }


def measure_cell(table: str, X: np.ndarray, standardised: bool, k: int, init: str, n_splits: int) -> dict | None:
    """Medians over the splits of one table, scaling, k and init."""
    splits = []
    for seed in range(n_splits):
        train, test = train_test_split(X, test_size=0.25, random_state=seed)
        if standardised:
            scaler = StandardScaler().fit(train)
            train, test = scaler.transform(train), scaler.transform(test)
        if (split := measure_split(train, test, k, seed, init)) is not None:
            splits.append(split)
    if len(splits) < n_splits:
        return None
    medians = {name: float(np.median([split[name] for split in splits])) for name in splits[0]}
    return {
        "table": table,
        "rows": len(X),
        "features": X.shape[1],
        "standardised": standardised,
        "k": k,
        "init": init,
        **medians,
        "kept_pca": sum(split["kept_pca"] for split in splits),
        "ratios": [split["ratio"] for split in splits],
        "fit_seconds": [split["seconds"] for split in splits],
    }


def measure_table(table: str, X: np.ndarray, inits: tuple[str, ...], n_splits: int, threads: int) -> dict:
    """All cells of one table; runs in a process of its own."""
    use_threads(threads)
    warnings.simplefilter("ignore")
    cells = [
        measure_cell(table, X, standardised, k, init, n_splits)
        for standardised in (False, True)
        for k in COMPONENTS
        if k < X.shape[1]
        for init in inits
    ]
    return {"table": table, "cells": [cell for cell in cells if cell is not None]}


def measure_all(options) -> list[dict]:
    """Every table, in parallel; each is printed and kept as soon as it is done."""
    tables = load_tables(options.quick)
    inits, n_splits = INITS[: 1 if options.skip_random else 2], 5
    if options.tables:
        tables = {name: X for name, X in tables.items() if any(part in name for part in options.tables)}
    if options.quick:
        inits, n_splits = INITS, 1
    parts = results_file("floor.parts", options.quick, "jsonl")
    if options.fresh or options.quick:
        parts.unlink(missing_ok=True)
    done = read_parts(parts)
    wanted = {name: X for name, X in tables.items() if name not in {part["table"] for part in done}}
    print(f"{len(tables)} tables, {len(tables) - len(wanted)} of them done before", flush=True)
    # Large ones first, so that no process works alone at the end.
    order = sorted(wanted, key=lambda name: -wanted[name].shape[0])
    calls = [(name, wanted[name], inits, n_splits, options.threads) for name in order]
    for part in in_processes(options.jobs, measure_table, calls):
        done.append(part)
        keep_part(parts, part)
        shown = "  ".join(
            f"{'std' if cell['standardised'] else 'raw'} k={cell['k']} {cell['ratio']:.3f}"
            for cell in part["cells"]
            if cell["init"] == "auto"
        )
        print(f"[{len(done)}] {part['table']}: {shown}", flush=True)
    return [cell for part in done if part["table"] in tables for cell in part["cells"]]


def summarise(cells: list[dict]) -> dict:
    """The figures of one set of cells."""
    ratios = np.sort([cell["ratio"] for cell in cells])
    rest = ratios[len(ratios) // 10 :]
    worst = max(cells, key=lambda cell: cell["ratio"])
    lost = [cell for cell in cells if cell["ratio"] > 1.005 and cell["ratio"] - cell["standard_error"] > 1]
    times = np.concatenate([cell["fit_seconds"] for cell in cells])
    return {
        "cells": len(cells),
        "above 1.005": int((ratios > 1.005).sum()),
        "of these beyond one standard error": len(lost),
        "worst ratio": float(worst["ratio"]),
        "worst cell": describe(worst),
        "geometric mean": geometric_mean(ratios),
        "median": float(np.median(ratios)),
        "geometric mean without the best tenth": geometric_mean(rest),
        "median without the best tenth": float(np.median(rest)),
        "fit seconds, median": float(np.median(times)),
        "fit seconds, largest": float(times.max()),
    }


def geometric_mean(ratios: np.ndarray) -> float:
    """With ratios clipped to at least 0.1, so that a nearly perfect cell does not decide alone."""
    return float(np.exp(np.log(np.clip(ratios, 0.1, None)).mean()))


def describe(cell: dict) -> str:
    """A cell in words."""
    return f"{cell['table']} {'std' if cell['standardised'] else 'raw'} k={cell['k']}"


def run(options) -> None:
    """Measure and store."""
    cells = measure_all(options)
    auto = [cell for cell in cells if cell["init"] == "auto"]
    groups = {
        "all": auto,
        "tuned": [cell for cell in auto if is_tuned(cell["table"])],
        "others": [cell for cell in auto if not is_tuned(cell["table"])],
        'init="random"': [cell for cell in cells if cell["init"] == "random"],
    }
    summaries = {name: summarise(group) for name, group in groups.items() if group}
    save(options, {"summary": summaries, "cells": cells}, splits=5, max_rows=MAX_ROWS)


def report(results) -> str:
    """Figures of each set of cells, and the cells that lose."""
    summaries, cells = results["figures"]["summary"], results["figures"]["cells"]
    rows = [[figure, *(summary[figure] for summary in summaries.values())] for figure in summaries["all"]]
    parts = [table(["figure", *(f"`{name}`" if "=" in name else name for name in summaries)], rows)]
    lost = sorted((c for c in cells if c["init"] == "auto" and c["ratio"] > 1.005), key=lambda cell: -cell["ratio"])
    if lost:
        rows = [[describe(c), fixed(c["ratio"]), fixed(c["standard_error"]), c["kept_pca"]] for c in lost]
        parts += ["Cells above 1.005, with the default start:"]
        parts += [table(["cell", "ratio", "standard error", "splits that kept PCA"], rows)]
    return "\n\n".join(parts)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--fresh", action="store_true", help="forget the tables of an interrupted run")
    parser.add_argument("--skip-random", action="store_true", help='without init="random"')
    parser.add_argument("--tables", nargs="*", help="only tables whose name contains one of these")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
