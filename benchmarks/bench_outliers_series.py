"""Outliers in series, a window being a row: ECG5000 heart beats and the NAB series, beside simple rivals.

ECG5000: fitted on the 292 normal training beats (one-class) or on all 500 (unsupervised), AUROC on the 4500 test
beats; 5 seeds. NAB: each of the series with a labelled anomaly is cut into overlapping windows (``WINDOW`` values,
every one of them a row); fitted and scored without labels, AUROC of the windows that end inside a labelled span,
averaged over series. Rows go in as they are, their values having one unit (ours standardises them itself). Known
beforehand: trained on normal beats PCA(2) has .993, nearest neighbours .988.
"""

import warnings

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.common import arguments, data_file, fixed, save, table, use_threads
from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector

WINDOW, SEEDS = 16, 5
TARGETS = []


def nearest(A, B, same):
    """Distance to the fifth nearest row, itself left out where rows are scored that were fitted."""
    return NearestNeighbors(n_neighbors=6).fit(A).kneighbors(B)[0][:, 5 if same else 4]


def local_outlier_factor(A, B, same):
    """Local outlier factor."""
    if same:
        return -LocalOutlierFactor().fit(A).negative_outlier_factor_
    return -LocalOutlierFactor(novelty=True).fit(A).score_samples(B)


def pca_error(A, B, same):
    """Squared error of two components."""
    pca = PCA(2).fit(A)
    return np.square(B - pca.inverse_transform(pca.transform(B))).sum(1)


def ours(A, B, seed, **options):
    """Outlyingness by the detector."""
    return -ReconstructionOutlierDetector(random_state=seed, **options).fit(A).score_samples(B)


def contenders(one_class):
    """``{name: (function of fitted rows, scored rows, seed; number of seeds)}``; functions of one seed draw nothing."""
    same = not one_class
    return {
        "ours": (lambda A, B, s: ours(A, B, s, novelty=one_class), SEEDS),
        "ours, of PCA(2), squared": (lambda A, B, s: ours(A, B, s, autoencoder=PCA(2), residual="squared"), 1),
        "IsolationForest": (lambda A, B, s: -IsolationForest(random_state=s).fit(A).score_samples(B), SEEDS),
        "nearest neighbours": (lambda A, B, s: nearest(A, B, same), 1),
        "LOF": (lambda A, B, s: local_outlier_factor(A, B, same), 1),
        "PCA(2)": (lambda A, B, s: pca_error(A, B, same), 1),
    }


def heart_beats(options):
    """AUROC by setting and contender, mean and spread over seeds."""
    with np.load(data_file("ecg5000/ecg5000.npz")) as file:
        X_train, y_train, X_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    autoencoder = {"device": "cpu", **({"max_iter": 1} if options.quick else {})}
    if options.quick:
        X_test, y_test = X_test[::20], y_test[::20]
    found = {}
    for one_class in (True, False):
        A = X_train[y_train == 0] if one_class else X_train
        entries = contenders(True)  # the scored rows are never the fitted ones
        entries["ours"] = (lambda A, B, s, c=one_class: ours(A, B, s, novelty=c), SEEDS)
        entries["ours, of our autoencoder"] = (
            lambda A, B, s, c=one_class: ours(
                A, B, s, autoencoder=AutoencoderTransformer(8, **autoencoder), n_estimators=2, novelty=c
            ),
            1,
        )
        for name, (score, n_seeds) in entries.items():
            n_seeds = 1 if options.quick else n_seeds
            aurocs = [roc_auc_score(y_test, score(A, X_test, s)) for s in range(n_seeds)]
            found["one-class" if one_class else "unsupervised", name] = aurocs
    return found


def windows_of_series(options):
    """AUROC by series and contender."""
    frame = pd.read_csv(data_file("nab/nab.csv.gz"))
    found = {}
    for name, series in frame.groupby("series", sort=True):
        if not series["in_anomaly_window"].any() or (options.quick and "iio" not in name):
            continue
        rows = np.lib.stride_tricks.sliding_window_view(series["value"].to_numpy(dtype=float), WINDOW)
        labels = series["in_anomaly_window"].to_numpy()[WINDOW - 1 :]
        found[name] = {
            method: float(np.mean([roc_auc_score(labels, score(rows, rows, s)) for s in range(min(n_seeds, 2))]))
            for method, (score, n_seeds) in contenders(False).items()
        }
        print(name, {method: round(value, 3) for method, value in found[name].items()}, flush=True)
    return found


def run(options) -> None:
    """Measure and store."""
    warnings.simplefilter("ignore")
    use_threads(options.threads)
    beats = heart_beats(options)
    rows = [[*key, float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else None] for key, v in beats.items()]
    series = windows_of_series(options)
    methods = list(next(iter(series.values())))
    real = [name for name in series if name.startswith("real")]
    figures = {m: [np.mean([series[n][m] for n in names]) for names in (series, real)] for m in methods}
    save(options, {"ecg5000": rows, "nab": series, "nab_means": figures}, window=WINDOW, seeds=SEEDS)


def report(results) -> str:
    """AUROC of heart beats, then means over the NAB series."""
    figures, beats = results["figures"], {}
    for setting, method, auroc, spread in figures["ecg5000"]:
        beats.setdefault(method, {})[setting] = fixed(auroc) + (f" ± {fixed(spread)}" if spread else "")
    rows = [[method, found["one-class"], found["unsupervised"]] for method, found in beats.items()]
    n_real = sum(name.startswith("real") for name in figures["nab"])
    means = [[method, *map(fixed, found)] for method, found in figures["nab_means"].items()]
    return f"""AUROC, ± the spread over seeds:

{table(["method", "ECG5000, normal beats", "ECG5000, all beats"], rows)}

NAB, mean AUROC over the series:

{table(["method", f"all {len(figures['nab'])}", f"the {n_real} real ones"], means)}"""


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
