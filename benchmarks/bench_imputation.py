"""Imputation: cells of rows that ``fit`` has not seen, filled by AutoencoderImputer and by scikit-learn's imputers.

Cells go missing completely at random (MCAR), or with a chance that depends on columns that stay complete (MAR). All
imputers are fitted to the same incomplete training rows and fill the same test rows. Peers read categories as
indicators, all of them missing where the category is, and the largest one is taken. Errors of numbers are in standard
deviations of the observed training cells. Of the draws of AutoencoderImputer the share of hidden numbers inside 90 %
intervals is given. Where a table has classes, a logistic regression is fitted to filled rows, and asked about filled
rows.
"""

import time
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - scikit-learn's own switch
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import Target, arguments, data_file, fixed, save, stored_figures, table, use_threads
from sk_autoenc import AutoencoderImputer

MECHANISMS, RATES = ("MCAR", "MAR"), (0.1, 0.3, 0.5)
OURS, MEAN, KNN, BAYES, TREES = "AutoencoderImputer", "mean", "kNN", "iterative, Bayesian ridge", "iterative, trees"
PEERS = (MEAN, KNN, BAYES, TREES)

#: Rows that are taken of a table at most.
MOST_TRAIN, MOST_TEST = 500, 250

#: Levels of fewer training rows than this share have no indicator for peers: they are never the most probable ones.
_FREQUENT = 0.02

#: Share of the columns that stay complete where cells are missing at random.
_COMPLETE = 0.3

_CSV = {
    "mpg": ("mpg", ["name"], "origin"),
    "penguins": ("penguins", [], "species"),
    "titanic": ("titanic", ["alive", "class", "who", "adult_male", "embark_town", "alone", "deck"], "survived"),
    "diamonds": ("diamonds", [], None),
    "credit-g": ("credit_g", [], "class"),
    "adult": ("adult", ["split", "fnlwgt"], "income"),
}
_AMES = [
    *("Lot Area", "Overall Qual", "Overall Cond", "Year Built", "Year Remod/Add", "Total Bsmt SF", "1st Flr SF"),
    *("2nd Flr SF", "Gr Liv Area", "Full Bath", "TotRms AbvGrd", "Garage Cars", "Garage Area", "SalePrice"),
    *("MS Zoning", "House Style", "Exter Qual", "Foundation", "Bsmt Qual", "Heating QC", "Kitchen Qual"),
    "Garage Finish",
]
_ADBENCH = {"cardio": "6_cardio", "yeast": "47_yeast"}
TABLES = ("breast cancer", "cardio", "diabetes", "wine", "yeast", "ames", *_CSV)
_BUNDLED = {"breast cancer": load_breast_cancer, "diabetes": load_diabetes, "wine": load_wine}


def geometric_mean(results: dict, rival: str) -> float:
    """Of the ratios of our error of numbers to the rival's, over all cells."""
    ratios = [cell["rmse"][OURS] / cell["rmse"][rival] for cell in results["figures"]["cells"] if cell["rmse"]]
    return float(np.exp(np.mean(np.log(ratios))))


def by_table(results: dict, key: str) -> dict[tuple, dict[str, np.ndarray]]:
    """A figure of every imputer, by table, mechanism and rate: one entry a seed."""
    found: dict[tuple, dict[str, list[float]]] = {}
    for cell in results["figures"]["cells"]:
        place = found.setdefault((cell["table"], cell["mechanism"], cell["rate"]), {})
        for name, value in cell[key].items():
            place.setdefault(name, []).append(value)
    return {at: {name: np.array(values) for name, values in of.items()} for at, of in found.items() if of}


def worst_cell(results: dict, rival: str = BAYES) -> float:
    """Largest ratio of our error to the rival's, less one standard error over seeds (none of one seed)."""
    worst = []
    for of in by_table(results, "rmse").values():
        ratios = of[OURS] / of[rival]
        worst.append(ratios.mean() - (ratios.std(ddof=1) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0))
    return float(max(worst))


def mean_of(results: dict, key: str, name: str) -> float:
    """Mean of a figure over all cells that have it."""
    found = [cell[key][name] for cell in results["figures"]["cells"] if name in cell[key]]
    if not found:
        raise LookupError(key)
    return float(np.mean(found))


def gain(results: dict, key: str, rival: str) -> float:
    """Mean of our figure less the rival's, over all cells that have it."""
    return mean_of(results, key, OURS) - mean_of(results, key, rival)


def speed(results: dict) -> float:
    """Median over cells of the seconds that the trees take to transform, in units of ours."""
    cells = results["figures"]["cells"]
    return float(np.median([cell["transform_seconds"][TREES] / cell["transform_seconds"][OURS] for cell in cells]))


TARGETS = [
    Target("imputation: error of numbers over Bayesian ridge's", lambda r: geometric_mean(r, BAYES), "≤", 0.95),
    Target("imputation: the worst cell over Bayesian ridge's", worst_cell, "≤", 1.02),
    Target("imputation: error of numbers over the trees'", lambda r: geometric_mean(r, TREES), "≤", 1.0),
    Target("imputation: error of numbers over kNN's", lambda r: geometric_mean(r, KNN), "<", 1.0),
    Target("imputation: accuracy of categories, less Bayesian ridge's", lambda r: gain(r, "accuracy", BAYES), "≥", 0.0),
    Target("imputation: transform, times the trees' speed", speed, "≥", 10.0),
    Target("imputation: coverage of 90 % intervals", lambda r: mean_of(r, "coverage", OURS), "≥", 0.85),
    Target("imputation: coverage of 90 % intervals, from above", lambda r: mean_of(r, "coverage", OURS), "≤", 0.95),
    Target(
        "imputation: classifier afterwards, less Bayesian ridge's", lambda r: gain(r, "classifier", BAYES), "≥", -5e-3
    ),
]


class Rows(NamedTuple):
    """A table and the classes of its rows, if it has some."""

    frame: pd.DataFrame
    classes: np.ndarray | None


def load_table(name: str) -> Rows:
    """Columns of floats, and of strings for categories."""
    if name in _BUNDLED:
        bunch = _BUNDLED[name](as_frame=True)
        return Rows(bunch.data, None if name == "diabetes" else bunch.target.to_numpy())
    if name in _ADBENCH:
        with np.load(data_file(f"adbench/{_ADBENCH[name]}.npz")) as file:
            X = file["X"].astype(float)
            return Rows(pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]), file["y"].ravel())
    file_name, dropped, target = _CSV.get(name, ("ames_housing", [], None))
    frame = pd.read_csv(data_file(f"tables/{file_name}.csv.gz")).drop(columns=dropped)
    if name == "ames":
        frame = frame[_AMES]
    classes = None if target is None else frame.pop(target).to_numpy()
    is_number = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]
    return Rows(
        pd.DataFrame(
            {
                column: frame[column].astype(float) if number else frame[column].astype(object)
                for column, number in zip(frame, is_number, strict=True)
            }
        ),
        classes,
    )


def missing_cells(frame: pd.DataFrame, mechanism: str, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Cells to hide: each with this chance on average."""
    if mechanism == "MCAR":
        return rng.random(frame.shape) < rate
    n_columns = frame.shape[1]
    complete = rng.permutation(n_columns)[: max(1, round(_COMPLETE * n_columns))]
    codes = np.column_stack(
        [frame[c] if frame[c].dtype == float else pd.factorize(frame[c])[0].astype(float) for c in frame]
    )
    seen = np.nan_to_num(StandardScaler().fit_transform(codes[:, complete]))
    hidden = np.zeros(frame.shape, dtype=bool)
    for column in np.setdiff1d(np.arange(n_columns), complete):
        pull = StandardScaler().fit_transform(seen @ rng.standard_normal((seen.shape[1], 1)))[:, 0] * 2
        shift = brentq(lambda shift, pull=pull: expit(pull + shift).mean() - rate, -30, 30)
        hidden[:, column] = rng.random(len(frame)) < expit(pull + shift)
    return hidden


class Indicators:
    """A table as numbers for peers: categories as indicators of their frequent levels, without one level of each.

    With all levels, an iterative imputer would regress each indicator on the others, and never leave where it began.
    """

    def __init__(self, train: pd.DataFrame):
        shares = {c: train[c].value_counts(normalize=True) for c in train if train[c].dtype == object}
        frequent = {c: of.index[of >= _FREQUENT].to_numpy() for c, of in shares.items()}
        self.levels = {c: found if len(found) > 1 else shares[c].index[:2] for c, found in frequent.items()}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        parts = []
        for column in frame:
            values = frame[column].to_numpy()
            if column not in self.levels:
                parts.append(values[:, None].astype(float))
            else:
                of = (values[:, None] == np.asarray(self.levels[column])[:-1]).astype(float)
                of[pd.isna(values)] = np.nan
                parts.append(of)
        return np.hstack(parts)

    def decode(self, X: np.ndarray, frame: pd.DataFrame) -> pd.DataFrame:
        made, start = {}, 0
        for column in frame:
            if column not in self.levels:
                made[column], start = X[:, start], start + 1
            else:
                n = len(self.levels[column]) - 1
                shares = X[:, start : start + n]
                shares = np.column_stack([shares, 1 - shares.sum(axis=1)])
                made[column], start = np.asarray(self.levels[column])[shares.argmax(axis=1)], start + n
        return pd.DataFrame(made, index=frame.index)


class OverIndicators:
    """An imputer of numbers, for tables with categories."""

    def __init__(self, imputer):
        self.imputer = make_pipeline(StandardScaler(), imputer)

    def fit(self, frame):
        self.indicators = Indicators(frame)
        self.imputer.fit(self.indicators.encode(frame))
        return self

    def transform(self, frame):
        scaled = self.imputer.transform(self.indicators.encode(frame))
        return self.indicators.decode(self.imputer[0].inverse_transform(scaled), frame)


def imputers(seed: int, quick: bool) -> dict:
    """All imputers by name; empty columns are kept, so that all return the same."""
    kept = {"keep_empty_features": True}
    trees = ExtraTreesRegressor(5 if quick else 20, min_samples_leaf=2, max_features=0.5, random_state=seed)
    few = {"max_iter": 2} if quick else {}
    return {
        OURS: AutoencoderImputer(unseen="missing", random_state=seed, device="cpu", **kept, **few),
        MEAN: OverIndicators(SimpleImputer(**kept)),
        KNN: OverIndicators(KNNImputer(**kept)),
        BAYES: OverIndicators(IterativeImputer(random_state=seed, **kept, **few)),
        TREES: OverIndicators(IterativeImputer(trees, max_iter=2 if quick else 4, random_state=seed, **kept)),
    }


def measure(name: str, mechanism: str, rate: float, seed: int, quick: bool = False) -> dict:
    """All figures of one table, mechanism, rate and seed."""
    rng = np.random.default_rng([seed, TABLES.index(name), MECHANISMS.index(mechanism), int(100 * rate)])
    frame, classes = load_table(name)
    order = rng.permutation(len(frame))
    n_train = min(MOST_TRAIN, int(0.7 * len(frame))) // (4 if quick else 1)
    train, test = order[:n_train], order[n_train:][:MOST_TEST]
    frame = frame.iloc[np.concatenate([train, test])].reset_index(drop=True)
    classes = None if classes is None else classes[np.concatenate([train, test])]
    hidden = missing_cells(frame, mechanism, rate, rng)
    holes = frame.mask(hidden)
    holes_train, holes_test = holes.iloc[:n_train], holes.iloc[n_train:]
    hidden_test = hidden[n_train:] & frame.iloc[n_train:].notna().to_numpy()
    found = {key: {} for key in ("rmse", "accuracy", "fit_seconds", "transform_seconds", "coverage", "classifier")}
    for called, imputer in imputers(seed, quick).items():
        start = time.process_time()
        imputer.fit(holes_train)
        found["fit_seconds"][called] = time.process_time() - start
        start = time.process_time()
        filled = imputer.transform(holes_test)
        found["transform_seconds"][called] = time.process_time() - start
        filled = filled if hasattr(filled, "columns") else pd.DataFrame(filled, columns=frame.columns)
        found["rmse"] |= of_numbers(called, filled, frame.iloc[n_train:], holes_train, hidden_test)
        found["accuracy"] |= of_categories(called, filled, frame.iloc[n_train:], hidden_test)
        if classes is not None and called != KNN:
            both = imputer.transform(holes_train), filled
            both = [part if hasattr(part, "columns") else pd.DataFrame(part, columns=frame.columns) for part in both]
            found["classifier"][called] = accuracy_after(*both, classes[:n_train], classes[n_train:])
        if called == OURS:
            found["coverage"] |= coverage(imputer, holes_test, frame.iloc[n_train:], hidden_test, seed)
            about = {"linear": imputer.linear_, "shrinkage": imputer.shrinkage_, "epochs": imputer.n_iter_}
    return {"table": name, "mechanism": mechanism, "rate": rate, "seed": seed, **found, **about}


def of_numbers(called, filled, truth, holes_train, hidden) -> dict:
    """Root mean squared error in standard deviations of observed training cells."""
    errors = []
    for i, column in enumerate(truth):
        if truth[column].dtype == float and hidden[:, i].any():
            scale = holes_train[column].std() or 1.0
            off = filled[column].to_numpy()[hidden[:, i]] - truth[column].to_numpy()[hidden[:, i]]
            errors.append(np.square(off / scale))
    return {called: float(np.sqrt(np.concatenate(errors).mean()))} if errors else {}


def of_categories(called, filled, truth, hidden) -> dict:
    """Share of the hidden categories that are right."""
    right = [
        filled[column].to_numpy(dtype=object)[hidden[:, i]] == truth[column].to_numpy(dtype=object)[hidden[:, i]]
        for i, column in enumerate(truth)
        if truth[column].dtype == object
    ]
    return {called: float(np.concatenate(right).mean())} if right and len(np.concatenate(right)) else {}


def coverage(imputer, holes, truth, hidden, seed) -> dict:
    """Share of the hidden numbers inside the 90 % intervals of draws."""
    draws = imputer.sample_imputations(holes, 100, random_state=seed)
    numbers = [i for i, column in enumerate(truth) if truth[column].dtype == float]
    cells = np.stack(
        [draw.iloc[:, numbers].to_numpy(dtype=float) if hasattr(draw, "iloc") else draw[:, numbers] for draw in draws]
    )
    low, high = np.quantile(cells, [0.05, 0.95], axis=0)
    values = truth.iloc[:, numbers].to_numpy(dtype=float)
    inside = (low - 1e-9 <= values) & (values <= high + 1e-9)
    return {OURS: float(inside[hidden[:, numbers]].mean())}


def accuracy_after(train, test, y_train, y_test) -> float:
    """Accuracy of a logistic regression on rows that were filled."""
    indicators = Indicators(train.apply(lambda of: of if of.dtype == float else of.astype(object)))
    rows = [np.nan_to_num(indicators.encode(part)) for part in (train, test)]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows[0], y_train)
    return float(model.score(rows[1], y_test))


def run(options) -> None:
    """Measure and store after each table; earlier runs of other tables, rates and seeds are kept."""
    use_threads(options.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", message="X: the columns|Skipping features|X has feature names")
    names = options.tables or (("diabetes",) if options.quick else TABLES)
    rates = options.rates or ((0.3,) if options.quick else RATES)
    cells = {place(cell): cell for cell in stored_figures("imputation", options).get("cells", [])}
    for seed in range(1 if options.quick else options.seeds):
        for name in names:
            for mechanism in MECHANISMS:
                for rate in rates:
                    cell = measure(name, mechanism, rate, seed, options.quick)
                    cells[place(cell)] = cell
            found = [cells[at] for at in sorted(cells)]
            save(options, {"cells": found}, most_train=MOST_TRAIN, most_test=MOST_TEST)


def place(cell: dict) -> tuple:
    """What a cell is of: table, mechanism, rate and seed."""
    return cell["table"], cell["mechanism"], cell["rate"], cell["seed"]


def report(results) -> str:
    """Errors by table and rate, then means over all."""
    errors, right = by_table(results, "rmse"), by_table(results, "accuracy")
    rows = [
        [f"{name}, {mechanism} {rate:.0%}", *(fixed(of[m].mean()) for m in (OURS, *PEERS))]
        for (name, mechanism, rate), of in errors.items()
    ]
    made = table(["RMSE, standard deviations", OURS, *PEERS], rows)
    rows = [
        [f"{name}, {mechanism} {rate:.0%}", *(fixed(of[m].mean()) for m in (OURS, *PEERS))]
        for (name, mechanism, rate), of in right.items()
    ]
    made += "\n\n" + table(["accuracy of categories", OURS, *PEERS], rows) if rows else ""
    cells = results["figures"]["cells"]
    rows = [
        [
            name,
            fixed(float(np.exp(np.mean([np.log(cell["rmse"][name]) for cell in cells if cell["rmse"]])))),
            fixed(mean_of(results, "accuracy", name)) if right else "–",
            fixed(mean_of(results, "classifier", name)) if any(name in cell["classifier"] for cell in cells) else "–",
            fixed(mean_of(results, "fit_seconds", name), 2),
            fixed(mean_of(results, "transform_seconds", name), 3),
        ]
        for name in (OURS, *PEERS)
    ]
    header = ["imputer", "RMSE, geometric mean", "accuracy", "classifier after", "s to fit", "s to transform"]
    n_linear = sum(cell["linear"] for cell in cells)
    return (
        made + "\n\n" + table(header, rows) + f"\n\nThe baseline was kept in {n_linear} of {len(cells)} cells; 90 % "
        f"intervals covered {mean_of(results, 'coverage', OURS):.1%} of the hidden numbers."
    )


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.set_defaults(threads=1)
    parser.add_argument("--tables", nargs="+", choices=TABLES)
    parser.add_argument("--rates", nargs="+", type=float)
    parser.add_argument("--seeds", type=int, default=2)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
