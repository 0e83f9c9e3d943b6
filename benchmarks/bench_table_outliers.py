"""Outliers in mixed tables: are rows found whose cells come from several rows?

Of each table 2000 rows at most are drawn. One in twenty becomes an outlier: a quarter of its cells, each chosen at
random, is exchanged for the cells of other rows. So each value is usual, and only their combination is not. All
detectors are fitted to all rows and score them, everything at default parameters. Rivals read numbers that are
standardised, and an indicator for each level; their missing numbers are filled with means. "PCA" is the squared error
of a reconstruction from as many components as the root of the number of these columns. Settings of ours were chosen on
other draws of rows and cells. Seconds are processor time of a fit and of scores, one thread.
"""

from time import process_time

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from benchmarks.common import Target, arguments, data_file, figures_table, save, use_threads
from sk_autoenc import ReconstructionOutlierDetector

#: Tables, and their columns that are left out: splits and identifiers.
TABLES = {"adult": ["split"], "credit_g": [], "ames_housing": ["Order", "PID"]}
OURS, FOREST, PCA_ERROR = "ReconstructionOutlierDetector", "IsolationForest", "PCA"
SEEDS, MOST_ROWS, SHARE_OF_ROWS, SHARE_OF_CELLS = 3, 2000, 0.05, 0.25


def gain(table: str, rival: str):
    """AUROC of ours minus that of a rival, from the results."""
    return lambda results: results["figures"][table][OURS]["auroc"] - results["figures"][table][rival]["auroc"]


TARGETS = [
    Target(f"{name}: AUROC above that of {rival}", gain(name, rival), ">", 0.0)
    for name in TABLES
    for rival in (FOREST, PCA_ERROR)
]


def load(name: str, seed: int, quick: bool) -> pd.DataFrame:
    """Rows of a table."""
    frame = pd.read_csv(data_file(f"tables/{name}.csv.gz")).drop(columns=TABLES[name])
    return frame.sample(min(len(frame), 100 if quick else MOST_ROWS), random_state=seed).reset_index(drop=True)


def exchanged(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which some have cells of other rows, and which these are."""
    draw = np.random.default_rng(seed)
    n_rows, n_columns = frame.shape
    outliers = draw.choice(n_rows, int(SHARE_OF_ROWS * n_rows), replace=False)
    cells = np.array([draw.permutation(n_columns) < max(2, int(SHARE_OF_CELLS * n_columns)) for _ in outliers])
    made = frame.copy()
    for position, name in enumerate(frame):
        rows = outliers[cells[:, position]]
        made[name] = made[name].where(~np.isin(np.arange(n_rows), rows))
        made.loc[rows, name] = frame[name].to_numpy()[draw.integers(n_rows, size=len(rows))]
        made[name] = made[name].astype(frame[name].dtype)
    return made, np.isin(np.arange(n_rows), outliers)


def one_hot(frame: pd.DataFrame) -> np.ndarray:
    """Standardised numbers, and an indicator for each level."""
    made = pd.get_dummies(frame, dtype=float)
    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    made[numbers] = (made[numbers] - made[numbers].mean()) / made[numbers].std().replace(0, 1)
    return made.fillna(0.0).to_numpy()


def scores_of(method: str, frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Scores of all rows by a detector that is fitted to them, higher for a more unusual one."""
    if method == OURS:
        return -ReconstructionOutlierDetector(random_state=seed).fit(frame).score_samples(frame)
    rows = one_hot(frame)
    if method == FOREST:
        return -IsolationForest(random_state=seed).fit(rows).score_samples(rows)
    pca = PCA(max(1, int(rows.shape[1] ** 0.5)), random_state=seed).fit(rows)
    return np.square(rows - pca.inverse_transform(pca.transform(rows))).sum(axis=1)


def measure(name: str, quick: bool) -> dict[str, dict[str, float]]:
    """AUROC and seconds of all detectors on one table, means over seeds."""
    found: dict[str, list[tuple[float, float]]] = {method: [] for method in (OURS, FOREST, PCA_ERROR)}
    for seed in range(1 if quick else SEEDS):
        frame, is_outlier = exchanged(load(name, seed, quick), seed)
        for method, figures in found.items():
            start = process_time()
            scores = scores_of(method, frame, seed)
            figures.append((float(roc_auc_score(is_outlier, scores)), process_time() - start))
    print(name, {method: np.round(figures, 3).tolist() for method, figures in found.items()}, flush=True)
    return {
        method: {
            "auroc": float(np.mean(figures, axis=0)[0]),
            "deviation": float(np.std(figures, axis=0)[0]),
            "seconds": float(np.mean(figures, axis=0)[1]),
        }
        for method, figures in found.items()
    }


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    save(options, {name: measure(name, options.quick) for name in TABLES}, seeds=SEEDS, max_rows=MOST_ROWS)


def report(results) -> str:
    """A table for each data set."""
    columns = {"AUROC": ("auroc", 3), "± over seeds": ("deviation", 3), "fit and score, s": ("seconds", 1)}
    return "\n\n".join(figures_table(name, figures, columns) for name, figures in results["figures"].items())


def parser():
    """Options of this script."""
    return arguments(__doc__, TARGETS)


if __name__ == "__main__":
    run(parser().parse_args())
