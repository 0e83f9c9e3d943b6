"""Synthetic tables: can a classifier tell them from real rows, and are they as good to learn from?

Each of seven tables is cut into training rows and rows that no model sees, at most 10 000 of each. ``TabularSampler``
at its defaults draws as many rows as it was trained on. Beside it, in the same run:

- independent columns, the baseline that it starts at: each column drawn from its training cells by itself;
- real rows: the training rows themselves, which is the ceiling for all but the distance to training rows.

``AUROC`` is that of gradient-boosted trees which tell samples from unseen rows, in three folds (.5 is best). ``trained
on samples`` is the AUROC (of a category) or R² (of a number) of the same trees for the table's target on unseen rows.
``shapes`` is the mean over columns of 1 minus the Kolmogorov-Smirnov or total-variation distance to unseen rows.
``nearer`` is the share of samples that are nearer to a training row than to an unseen one (.5 is best), ``copies`` that
of samples which equal a training row. ``nats`` is the mean log-probability of unseen rows in the units of the table,
beside those of independent columns and of a Chow-Liu tree over the same bins, the smoothing of which is chosen on a
tenth of the training rows.
"""

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.common import CLOCKS, Target, arguments, data_file, figures_table, save, stored_figures, use_threads
from sk_autoenc import TabularSampler
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.tabular import Table
from sk_autoenc.likelihoods.mixed import Mixed

#: Tables with their targets and columns that are left out: splits, identifiers, text, copies of the target.
TABLES = {
    "adult": ("income", ["split"]),
    "diamonds": ("price", []),
    "credit_g": ("class", []),
    "ames_housing": ("SalePrice", ["Order", "PID"]),
    "titanic": ("survived", ["alive"]),
    "penguins": ("species", []),
    "mpg": ("mpg", ["name"]),
}

MOST_ROWS, MOST_COMPARED = 10_000, 2000


def of(table: str, figure: str, model: str = "TabularSampler"):
    """A figure of a model, from the results."""
    return lambda results: results["figures"][table][model][figure]


def above(table: str, rival: str):
    """By how many nats the sampler is above a rival."""
    return lambda results: of(table, "nats")(results) - of(table, "nats", rival)(results)


TARGETS = [
    Target("adult: AUROC against unseen rows", of("adult", "c2st"), "≤", 0.60),
    Target("diamonds: AUROC against unseen rows", of("diamonds", "c2st"), "≤", 0.60),
    Target("adult: AUROC trained on samples", of("adult", "tstr"), "≥", 0.905),
    Target("diamonds: R² trained on samples", of("diamonds", "tstr"), "≥", 0.955),
    *(Target(f"{name}: shapes of columns", of(name, "shapes"), "≥", 0.985) for name in ("adult", "diamonds")),
    *(Target(f"{name}: nearer to training rows", of(name, "nearer"), "≤", 0.53) for name in ("adult", "diamonds")),
    *(Target(f"{name}: seconds to fit", of(name, "seconds"), "≤", 60) for name in ("adult", "diamonds")),
    *(
        Target(f"{name}: nats above independent columns", above(name, "independent columns"), "≥", -0.001)
        for name in TABLES
    ),
    *(Target(f"{name}: nats above a Chow-Liu tree", above(name, "Chow-Liu tree"), "≥", 0) for name in TABLES),
]


def load(name: str, seed: int, quick: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and unseen rows of a table."""
    frame = pd.read_csv(data_file(f"tables/{name}.csv.gz")).drop(columns=TABLES[name][1])
    frame = frame.sample(min(len(frame), 120 if quick else 2 * MOST_ROWS), random_state=seed).reset_index(drop=True)
    half = len(frame) // 2
    return frame[:half], frame[half:].reset_index(drop=True)


def numbers(frame: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """Columns as numbers for trees: categories by the number of their level."""
    columns = []
    for name in known:
        if pd.api.types.is_numeric_dtype(known[name]):
            columns.append(frame[name].astype(float))
        else:
            levels = sorted(known[name].dropna().astype(str).unique())
            codes = pd.Categorical(frame[name].astype(str), categories=levels).codes.astype(float)
            columns.append(pd.Series(np.where(codes < 0, np.nan, codes)))
    return np.column_stack(columns)


def told_apart(made: np.ndarray, unseen: np.ndarray) -> float:
    """AUROC of trees that tell samples from unseen rows."""
    n = min(len(made), len(unseen))
    X, y = np.concatenate([made[:n], unseen[:n]]), np.repeat([0, 1], n)
    return float(cross_val_score(HistGradientBoostingClassifier(random_state=0), X, y, cv=3, scoring="roc_auc").mean())


def learned_from(made: np.ndarray, unseen: np.ndarray, position: int, is_number: bool) -> float:
    """R² or AUROC on unseen rows of trees that are trained on samples."""
    X, y = np.delete(made, position, 1), made[:, position]
    X_test, y_test = np.delete(unseen, position, 1), unseen[:, position]
    kept, tested = ~np.isnan(y), ~np.isnan(y_test)
    if is_number:
        model = HistGradientBoostingRegressor(random_state=0).fit(X[kept], y[kept])
        return float(r2_score(y_test[tested], model.predict(X_test[tested])))
    model = HistGradientBoostingClassifier(random_state=0).fit(X[kept], y[kept])
    tested &= np.isin(y_test, model.classes_)
    shares = model.predict_proba(X_test[tested])
    shares = shares[:, 1] if shares.shape[1] == 2 else shares
    return float(roc_auc_score(y_test[tested], shares, multi_class="ovr"))


def shape_of(made: pd.Series, unseen: pd.Series) -> float:
    """1 minus the distance between two columns, missing cells included."""
    if pd.api.types.is_numeric_dtype(unseen):
        missing = abs(made.isna().mean() - unseen.isna().mean())
        left, right = np.sort(made.dropna().astype(float)), np.sort(unseen.dropna().astype(float))
        at = np.concatenate([left, right])
        cumulated = [np.searchsorted(some, at, side="right") / max(len(some), 1) for some in (left, right)]
        return 1 - max(missing, float(np.abs(cumulated[0] - cumulated[1]).max(initial=0)))
    shares = [
        column.astype(object).where(column.notna(), "missing").value_counts(normalize=True) for column in (made, unseen)
    ]
    return 1 - float(shares[0].sub(shares[1], fill_value=0).abs().sum()) / 2


def near(made: np.ndarray, train: np.ndarray, unseen: np.ndarray, is_number: np.ndarray) -> tuple[float, float]:
    """Shares of samples nearer to training than to unseen rows, and of copies of training rows."""
    center = np.nanmean(train[:, is_number], axis=0)
    scale = np.nanstd(train[:, is_number], axis=0) + 1e-12
    levels = [np.unique(train[:, j][~np.isnan(train[:, j])]) for j in np.flatnonzero(~is_number)]

    def points(rows: np.ndarray) -> np.ndarray:
        scaled = np.nan_to_num((rows[:, is_number] - center) / scale)
        coded = [rows[:, [j]] == some for j, some in zip(np.flatnonzero(~is_number), levels, strict=True)]
        return np.concatenate([scaled, *(block / np.sqrt(2) for block in coded)], axis=1)

    n = min(len(train), len(unseen))
    some = points(made[:MOST_COMPARED])
    distances = [NearestNeighbors(n_neighbors=1).fit(points(rows[:n])).kneighbors(some)[0] for rows in (train, unseen)]
    return float((distances[0] < distances[1]).mean()), float((distances[0] < 1e-9).mean())


def judged(made: pd.DataFrame, train: pd.DataFrame, unseen: pd.DataFrame, target: str) -> dict[str, float]:
    """All figures of samples."""
    known = pd.concat([train, unseen])
    samples, seen, other = (numbers(frame, known) for frame in (made, train, unseen))
    is_number = np.array([pd.api.types.is_numeric_dtype(known[name]) for name in known])
    position = list(known).index(target)
    nearer, copies = near(samples, seen, other, is_number)
    of_number = bool(is_number[position]) and known[target].nunique() > 10
    return {
        "c2st": told_apart(samples, other),
        "tstr": learned_from(samples, other, position, of_number),
        "shapes": float(np.mean([shape_of(made[name], unseen[name]) for name in known])),
        "nearer": nearer,
        "copies": copies,
    }


# -- density baselines over the same bins


class Binned:
    """Rows as numbers of outcomes, as the sampler has them."""

    def __init__(self, train: pd.DataFrame):
        self.table = Table(unseen="missing").fit(train)
        encoded = self.table.encode(train)
        rows = OutcomeRows(Mixed(), encoded.shape[1:], "float64", table=self.table, draws_missing=True)
        self.rows = rows.fit(encoded, np.arange(len(encoded)))
        self.sizes = [outcomes.n_outcomes for outcomes in rows.outcomes]
        self.observed = [outcomes.n_observed for outcomes in rows.outcomes]

    def __call__(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes, −1 for what is left out, and the log-width of each row."""
        encoded = self.table.encode(frame)
        found = self.rows.to_network(encoded)
        return np.where(np.isnan(found), -1, found).astype(int), self.rows.log_scale(encoded)


def tree_log_prob(binned: Binned, train: np.ndarray, rows: np.ndarray, parents: list[int], weight: float) -> np.ndarray:
    """Log-probability of the observed outcomes of each row in a tree; −1 as a parent is none."""
    total = np.zeros(len(rows))
    for j, parent in enumerate(parents):
        n, own = binned.observed[j], train[:, j]
        counted = (own >= 0) & (own < n)
        shares = (np.bincount(own[counted], minlength=n) + 0.5) / (counted.sum() + 0.5 * n) if n else np.zeros(0)
        wanted = (rows[:, j] >= 0) & (rows[:, j] < n)
        outcome = rows[wanted, j]
        if parent < 0:
            total[wanted] += np.log(shares[outcome])
            continue
        joint = np.zeros((binned.sizes[parent] + 1, n))
        np.add.at(joint, (train[counted, parent], own[counted]), 1)  # the last row is for parents that are left out
        joint = (joint + weight * shares) / (joint.sum(1, keepdims=True) + weight)
        total[wanted] += np.log(joint[rows[wanted, parent], outcome])
    return total


def chow_liu_parents(binned: Binned, train: np.ndarray) -> list[int]:
    """The parent of each column in the tree of largest mutual information [Chow and Liu 1968]; −1 for the root."""
    d = train.shape[1]
    information = np.zeros((d, d))
    for i in range(d):
        for j in range(i):
            joint = np.zeros((binned.sizes[i] + 1, binned.sizes[j] + 1))
            np.add.at(joint, (train[:, i], train[:, j]), 1 / len(train))
            outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
            occurs = joint > 0
            information[i, j] = (joint[occurs] * np.log(joint[occurs] / outer[occurs])).sum()
    tree = minimum_spanning_tree(-(information + 1e-9 * np.tri(d, k=-1))).toarray()
    edges = (tree != 0) | (tree != 0).T
    parents, reached = [-1] * d, [0]
    for column in reached:
        for other in np.flatnonzero(edges[column]):
            if other not in reached:
                parents[other] = column
                reached.append(int(other))
    return parents


def density_baselines(train: pd.DataFrame, unseen: pd.DataFrame) -> dict[str, float]:
    """Mean log-probability of unseen rows under independent columns and a Chow-Liu tree."""
    binned = Binned(train)
    (rows, _), (test, widths) = binned(train), binned(unseen)
    parents, cut = chow_liu_parents(binned, rows), len(rows) * 9 // 10
    weights = (0.5, 2.0, 8.0, 32.0, 128.0)
    on_held_out = [tree_log_prob(binned, rows[:cut], rows[cut:], parents, weight).mean() for weight in weights]
    weight = weights[int(np.argmax(on_held_out))]
    independent = tree_log_prob(binned, rows, test, [-1] * rows.shape[1], 1.0) - widths
    return {
        "independent columns": float(independent.mean()),
        "Chow-Liu tree": float((tree_log_prob(binned, rows, test, parents, weight) - widths).mean()),
    }


def measure(name: str, options) -> dict[str, dict[str, float]]:
    """Figures of all models on one table, means over seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        train, unseen = load(name, seed, options.quick)
        target, clock = TABLES[name][0], CLOCKS[options.clock]
        start = clock()
        model = TabularSampler(
            unseen="missing", random_state=seed, device="cpu", **({"max_iter": 1} if options.quick else {})
        )
        model.fit(train)
        fitted = clock()
        made = model.sample(len(train), random_state=seed)
        seconds = {"seconds": fitted - start, "seconds_to_sample": clock() - fitted}
        shuffled = pd.DataFrame(
            {key: train[key].sample(frac=1, random_state=100 * seed + i).to_numpy() for i, key in enumerate(train)}
        )
        nats = density_baselines(train, unseen)
        results = {
            "TabularSampler": {**judged(made, train, unseen, target), "nats": model.score(unseen), **seconds},
            "independent columns": {**judged(shuffled, train, unseen, target), "nats": nats["independent columns"]},
            "Chow-Liu tree": {"nats": nats["Chow-Liu tree"]},
            "real rows": judged(train, train, unseen, target),
        }
        for model_name, figures in results.items():
            found.setdefault(model_name, []).append(figures)
        shown = ", ".join(f"{key} {value:.3f}" for key, value in results["TabularSampler"].items())
        print(f"{name}, seed {seed}: {shown}; tree {nats['Chow-Liu tree']:.3f}", flush=True)
    return {
        model_name: {key: float(np.mean([figures[key] for figures in several])) for key in several[0]}
        for model_name, several in found.items()
    }


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    figures = stored_figures("tables", options)  # tables may be run one by one
    for name in options.tables:
        figures[name] = measure(name, options)
    save(options, figures)


def report(results) -> str:
    """A table for each data set."""
    columns = {
        "AUROC": ("c2st", 3),
        "trained on samples": ("tstr", 3),
        "shapes": ("shapes", 3),
        "nearer": ("nearer", 3),
        "copies": ("copies", 3),
        "nats": ("nats", 2),
        "fit, s": ("seconds", 1),
        "sample, s": ("seconds_to_sample", 1),
    }
    return "\n\n".join(figures_table(name, figures, columns) for name, figures in results["figures"].items())


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seeds", type=int, default=1, help="draws of training rows (default 1)")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
