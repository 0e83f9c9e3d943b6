"""Outliers in tables: ours beside thirteen rivals on the ADBench tables, everything at default parameters.

Unsupervised: fit and score all rows, at most 20 000 per table, drawn at random. One-class: fit on half the normal
rows, score the others and the anomalies; ours with ``novelty=True``. All rows are standardised by the fitted ones.
Rivals that train networks are fitted on at most 5000 of the rows and score all of them; they and what draws nothing run
once, the others with 5 seeds. Results are kept in ``results/outliers.parts.jsonl`` as they come, so that a second run
measures only what is missing (``--again ours`` measures anew).

Tables with an even number took part in choosing the defaults, the odd ones in nothing. Relatives (annthyroid and
thyroid; cardio and Cardiotocography; landsat, satellite and satimage-2; breastw and WBC; http and smtp) are averaged
into one where a figure says "families".

Differences of mean AUROC have the standard error over tables. Seconds are processor time, one thread, medians over
tables. Rivals from PyOD are measured if it is installed.
"""

import json
import warnings
from collections import defaultdict
from time import process_time

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks.common import (
    Target,
    adbench_tables,
    arguments,
    fixed,
    installed,
    keep_part,
    read_parts,
    results_file,
    save,
    table,
    use_threads,
)
from sk_autoenc import ReconstructionOutlierDetector

MAX_ROWS, MAX_NETWORK_ROWS, SEEDS = 20_000, 5000, 5
SETTINGS = ("unsupervised", "one-class")
OURS, FOREST = "ours", "IsolationForest"
FAMILIES = [{2, 38}, {6, 7}, {19, 30, 31}, {4, 42}, {16, 34}]
NETWORKS = ("AutoEncoder", "VAE", "DeepSVDD")
SEEDED = (OURS, FOREST, "MCD")


def least_gain(setting, figure="ours - it"):
    """Mean AUROC of ours minus the best rival's, from the results."""
    return lambda results: min(
        found[figure][0] for name, found in results["figures"]["summary"][setting].items() if name != OURS
    )


def of_ours(setting, figure):
    """A figure of ours, from the results."""
    return lambda results: results["figures"]["summary"][setting][OURS][figure]


def spread_to_forest(results):
    """Our spread over seeds divided by IsolationForest's."""
    summary = results["figures"]["summary"]["unsupervised"]
    return summary[OURS]["spread over seeds"] / summary[FOREST]["spread over seeds"]


AHEAD = "outliers, {}: mean AUROC minus the best rival's, {} tables"
NOISE = "The gap is within the noise of such tables. What was tried changes a table here and there, not the mean."
TARGETS = [
    Target(AHEAD.format("unsupervised", "all"), least_gain("unsupervised"), "≥", 0.01, NOISE),
    Target(AHEAD.format("unsupervised", "odd"), least_gain("unsupervised", "ours - it, odd"), "≥", 0.01, NOISE),
    Target(
        "outliers, unsupervised: mean AUROC minus PyOD's AutoEncoder",
        lambda results: results["figures"]["summary"]["unsupervised"]["AutoEncoder"]["ours - it"][0],
        "≥",
        0.06,
        NOISE,
    ),
    *(
        Target(
            AHEAD.format("one-class", which),
            least_gain("one-class", figure),
            ">",
            0,
            "Nearest neighbours are level. Where the normal rows are clean, a network adds little to them. Tried: "
            "other neighbours, other units of distance, a mean with plain neighbours.",
        )
        for which, figure in (("all", "ours - it"), ("odd", "ours - it, odd"))
    ),
    Target(
        "outliers, unsupervised: worst table against IsolationForest",
        lambda results: of_ours("unsupervised", "worst gap to forest")(results)[0],
        "≥",
        -0.10,
        "It is one table, with many anomalies at the edges of single features. Tried: subsets of the features for each "
        "member, and other weights of rarity; they lower the mean elsewhere.",
    ),
    Target("outliers: spread over seeds / IsolationForest's", spread_to_forest, "≤", 1),
    *(
        Target(f"outliers, {setting}: time of a fit / IsolationForest's", of_ours(setting, "fit / forest's"), "≤", 5)
        for setting in SETTINGS
    ),
]


# -- contenders: each returns a fitted model and a function that scores rows, higher for a more unusual one


def fit_ours(A, seed, one_class):
    """Default parameters; ``novelty`` says what the rows are."""
    model = ReconstructionOutlierDetector(novelty=one_class, random_state=seed).fit(A)
    return lambda B: -model.score_samples(B)


def fit_forest(A, seed, one_class):
    """The yardstick."""
    model = IsolationForest(random_state=seed).fit(A)
    return lambda B: -model.score_samples(B)


def fit_lof(A, seed, one_class):
    """Local outlier factor; training rows are judged without themselves."""
    model = LocalOutlierFactor(novelty=one_class).fit(A)
    return lambda B: -model.score_samples(B) if one_class else -model.negative_outlier_factor_


def fit_svm(A, seed, one_class):
    """One-class support vector machine."""
    model = OneClassSVM().fit(A)
    return lambda B: -model.score_samples(B)


def fit_whitened_pca(A, seed, one_class):
    """The Mahalanobis distance, directions without variance left out."""
    pca = PCA().fit(A)
    kept = pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]
    return lambda B: (np.square(pca.transform(B)) / np.where(kept, pca.explained_variance_, np.inf)).sum(1)


def of_pyod(module, name, **kwargs):
    """A contender from PyOD; training rows are judged as PyOD judges them, without themselves where that matters."""

    def fit(A, seed, one_class):
        model = getattr(__import__(f"pyod.models.{module}", fromlist=[name]), name)
        seeded = {**kwargs, "random_state": seed} if name in ("MCD", *NETWORKS) else kwargs
        if name == "DeepSVDD":
            seeded["n_features"] = A.shape[1]
        fitted = model(**seeded)
        fitted.fit(A)
        return lambda B: fitted.decision_scores_ if len(B) == len(A) and not one_class else fitted.decision_function(B)

    return fit


PYOD = {
    "nearest neighbours": of_pyod("knn", "KNN"),
    "PCA (PyOD)": of_pyod("pca", "PCA"),
    "ECOD": of_pyod("ecod", "ECOD"),
    "COPOD": of_pyod("copod", "COPOD"),
    "HBOS": of_pyod("hbos", "HBOS"),
    "MCD": of_pyod("mcd", "MCD"),
    "AutoEncoder": of_pyod("auto_encoder", "AutoEncoder", verbose=0),
    "VAE": of_pyod("vae", "VAE", verbose=0),
    "DeepSVDD": of_pyod("deep_svdd", "DeepSVDD", verbose=0),
}
CONTENDERS = {
    OURS: fit_ours,
    FOREST: fit_forest,
    "LOF": fit_lof,
    "OneClassSVM": fit_svm,
    "PCA, whitened": fit_whitened_pca,
    **(PYOD if installed("pyod") else {}),
}


# -- measuring


def split(X, y, setting):
    """Rows to fit, rows to score and their labels, the same for all."""
    draw = np.random.default_rng(0)
    if len(X) > MAX_ROWS:
        chosen = draw.choice(len(X), MAX_ROWS, replace=False)
        X, y = X[chosen], y[chosen]
    A, B = X, X
    if setting == "one-class":
        normal = draw.permutation(np.flatnonzero(y == 0))
        half = len(normal) // 2
        tested = np.r_[normal[half:], np.flatnonzero(y == 1)]
        A, B, y = X[normal[:half]], X[tested], y[tested]
    scaler = StandardScaler().fit(A.astype(float))
    return scaler.transform(A.astype(float)), scaler.transform(B.astype(float)), y


def measure(name, seed, A, B, y, setting):
    """AUROC, average precision and seconds; a contender that cannot do a table gets what guessing would."""
    if name in NETWORKS and len(A) > MAX_NETWORK_ROWS:
        A = A[np.random.default_rng(1).choice(len(A), MAX_NETWORK_ROWS, replace=False)]
    start = process_time()
    try:
        score = CONTENDERS[name](A, seed, setting == "one-class")
        fitted = process_time()
        scores = np.nan_to_num(np.asarray(score(B), dtype=float), nan=0.0, posinf=1e30, neginf=-1e30)
    except (ValueError, np.linalg.LinAlgError) as error:
        return {"auroc": 0.5, "ap": float(y.mean()), "fit": None, "score": None, "error": str(error)[:80]}
    return {
        "auroc": roc_auc_score(y, scores),
        "ap": average_precision_score(y, scores),
        "fit": fitted - start,
        "score": process_time() - fitted,
    }


def measure_all(options):
    """What is not there yet, table by table."""
    parts = results_file("outliers.parts", options.quick, "jsonl")
    found = [cell for cell in read_parts(parts) if cell["method"] not in options.again]
    parts.write_text("".join(json.dumps(cell) + "\n" for cell in found))
    done = {(cell["table"], cell["setting"], cell["method"], cell["seed"]) for cell in found}
    tables = adbench_tables()
    rows = np.random.default_rng(0).standard_normal((100, 3))
    for method in options.methods:  # so that no table pays for imports and compilation
        CONTENDERS[method](rows, 0, True)(rows)
    if options.quick:
        tables = {name: tables[name] for name in ("45_wine", "42_WBC")}
    for name, (X, y) in tables.items():
        for setting in SETTINGS:
            wanted = [
                (name, setting, method, seed)
                for method in options.methods
                for seed in range(SEEDS if method in SEEDED else 1)
            ]
            if wanted := [key for key in wanted if key not in done]:
                A, B, labels = split(X, y.ravel().astype(int), setting)
            for key in wanted:
                cell = dict(zip(("table", "setting", "method", "seed"), key, strict=True))
                cell |= {"rows": len(A), **measure(key[2], key[3], A, B, labels, setting)}
                found.append(cell)
                keep_part(parts, cell)
        print(f"{name} {X.shape}", flush=True)
    return found


# -- figures


def number(table):
    """The number that a table's name begins with."""
    return int(table.split("_")[0])


def by_table(cells, setting, figure):
    """``{method: {table: values over seeds}}``."""
    values = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell["setting"] == setting and cell[figure] is not None:
            values[cell["method"]][cell["table"]].append(cell[figure])
    return values


def family_means(per_table):
    """One figure per family."""
    groups = defaultdict(list)
    for name, value in per_table.items():
        families = [i for i, family in enumerate(FAMILIES) if number(name) in family]
        groups[f"family {families[0]}" if families else name].append(value)
    return {name: float(np.mean(values)) for name, values in groups.items()}


def difference(left, right):
    """Mean over tables of the difference and its standard error."""
    gaps = np.array([left[table] - right[table] for table in left])
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))


def summarise(cells, setting):
    """All figures of one setting, by method."""
    auroc, ap, fit = (by_table(cells, setting, figure) for figure in ("auroc", "ap", "fit"))
    mean = {m: {t: float(np.mean(v)) for t, v in tables.items()} for m, tables in auroc.items()}
    every = sorted(mean[OURS])
    ranks = {t: np.argsort(np.argsort([-mean[m][t] for m in mean])) + 1 for t in every}
    summary = {}
    for i, method in enumerate(mean):
        own = mean[method]
        odd = {t: v for t, v in own.items() if number(t) % 2}
        seconds = [np.median(fit[method][t]) / np.median(fit[FOREST][t]) for t in fit[method]]
        summary[method] = {
            "all": float(np.mean(list(own.values()))),
            "odd": float(np.mean(list(odd.values()))),
            "even": float(np.mean([v for t, v in own.items() if not number(t) % 2])),
            "families": float(np.mean(list(family_means(own).values()))),
            "odd families": float(np.mean(list(family_means(odd).values()))),
            "median": float(np.median(list(own.values()))),
            "average precision": float(np.mean([np.mean(ap[method][t]) for t in every])),
            "mean rank": float(np.mean([ranks[t][i] for t in every])),
            "worst gap to forest": min((own[t] - mean[FOREST][t], t) for t in every),
            "spread over seeds": float(
                np.mean([np.std(v, ddof=1) for v in auroc[method].values() if len(v) > 1] or [0])
            ),
            "fit seconds": float(np.median([np.median(v) for v in fit[method].values()])),
            "fit / forest's": float(np.median(seconds)),
            "ours - it": difference(mean[OURS], own),
            "ours - it, odd": difference({t: mean[OURS][t] for t in odd}, odd),
            "failed tables": sum("error" in c for c in cells if c["setting"] == setting and c["method"] == method),
        }
    return summary, mean


def run(options) -> None:
    """Measure and store."""
    warnings.simplefilter("ignore")
    use_threads(options.threads)
    cells = [cell for cell in measure_all(options) if cell["method"] in {*options.methods, OURS, FOREST}]
    summaries, tables = {}, {}
    for setting in SETTINGS:
        summary, mean = summarise(cells, setting)
        summaries[setting], tables[setting] = summary, mean
    save(options, {"summary": summaries, "auroc": tables}, seeds=SEEDS, max_rows=MAX_ROWS)


def report(results) -> str:
    """A table for each setting, by mean AUROC."""
    parts = []
    for setting, summary in results["figures"]["summary"].items():
        n_tables = len(results["figures"]["auroc"][setting][OURS])
        rows = [described(name, figures) for name, figures in sorted(summary.items(), key=lambda it: -it[1]["all"])]
        parts += [f"{setting.capitalize()}, {n_tables} tables:", table(list(COLUMNS), rows)]
    return "\n\n".join(parts)


COLUMNS = (
    *("method", "all", "odd", "families", "odd families", "median", "average precision", "mean rank"),
    *("worst gap to the forest", "spread over seeds", "fit, s", "/ the forest's", "ours − it, all", "ours − it, odd"),
)


def described(name, figures):
    """A row of the table."""
    gap, where = figures["worst gap to forest"]
    gains = [
        f"{fixed(mean, 3, sign=True)} ± {fixed(error)}"
        for mean, error in map(figures.get, ("ours - it", "ours - it, odd"))
    ]
    return [
        name,
        *(fixed(figures[key]) for key in ("all", "odd", "families", "odd families", "median", "average precision")),
        fixed(figures["mean rank"], 1),
        "" if name == FOREST else f"{fixed(gap, 2)} {where}",
        fixed(figures["spread over seeds"] or None),
        fixed(figures["fit seconds"], 2),
        fixed(figures["fit / forest's"], 1),
        *(["", ""] if name == OURS else gains),
    ]


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--methods", nargs="*", default=list(CONTENDERS), help="only these")
    parser.add_argument("--again", nargs="*", default=[], help="methods to measure anew")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
