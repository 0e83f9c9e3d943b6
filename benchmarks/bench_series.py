"""Series: accuracy of a linear classifier on codes of UCR sets, and anomalies among heart beats (ECG5000).

UCR: codes are learned on the training series without their classes, logistic regression on the standardised codes,
accuracy on the test series; ours with 5 seeds. Beside them PCA with as many components, the raw values, and MiniRocket
where aeon is installed. Target: above PCA on most sets.

ECG5000: fitted on the 292 normal training beats, AUROC of the squared reconstruction error on the 4500 test beats.
Target: above PCA(2) (.993) and nearest neighbours (.988).

Settings are the library's defaults but for those named in ``models``, which were chosen by five-fold cross-validation
on the *training* series (``--validate``).
"""

import importlib.util
import warnings

import numpy as np
from common import arguments, data_file, print_table, save, use_threads
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AutoencoderTransformer, Convolutional

SETS = ("ArrowHead", "BasicMotions", "FaceFour", "GunPoint", "ItalyPowerDemand", "Lightning7", "SyntheticControl")
N_COMPONENTS, SEEDS = 16, 5


def models(n_components: int, seed: int) -> dict:
    """What makes codes, by name; for series ``(n, channels, time points)``."""
    shared = {"device": "cpu", "random_state": seed}
    stages = Convolutional((8, 16, 32), kernel_size=5, hidden_layer_sizes=(64,))
    random = {"init": "random", "early_stopping": False}
    return {
        "ours, MLP": AutoencoderTransformer(n_components, **shared),
        "ours, convolutional": AutoencoderTransformer(n_components, architecture=stages, **shared),
        "ours, convolutional, denoising": AutoencoderTransformer(
            n_components, architecture=stages, noise=0.5, **random, **shared
        ),
    }


def flat(X):
    """Series as rows."""
    return X.reshape(len(X), -1)


def accuracy(codes_train, y_train, codes_test, y_test) -> float:
    """Of logistic regression on standardised columns."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(classifier.fit(codes_train, y_train).score(codes_test, y_test))


def minirocket(X_train, X_test):
    """Features of MiniRocket, where aeon is installed."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    rocket = MiniRocket(random_state=0).fit(X_train)
    return np.asarray(rocket.transform(X_train)), np.asarray(rocket.transform(X_test))


def classified(X_train, y_train, X_test, y_test, seeds) -> dict:
    """Accuracy of every method on one set; a list where there are seeds."""
    k = min(N_COMPONENTS, len(X_train) - 1)
    labels = (y_train, y_test)
    pca = PCA(k).fit(flat(X_train))
    found = {
        "raw values": [accuracy(flat(X_train), labels[0], flat(X_test), labels[1])],
        "PCA": [accuracy(pca.transform(flat(X_train)), labels[0], pca.transform(flat(X_test)), labels[1])],
    }
    if importlib.util.find_spec("aeon"):
        of_train, of_test = minirocket(X_train, X_test)
        found["MiniRocket"] = [accuracy(of_train, labels[0], of_test, labels[1])]
    for seed in range(seeds):
        for name, model in models(k, seed).items():
            model.fit(X_train)
            value = accuracy(model.transform(X_train), labels[0], model.transform(X_test), labels[1])
            found.setdefault(name, []).append(value)
    return found


def cross_validated(X, y) -> dict:
    """The same on held-out training series."""
    folds = [
        classified(X[a], y[a], X[b], y[b], 1) for a, b in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)
    ]
    return {name: [value for fold in folds for value in fold[name]] for name in folds[0]}


def ucr(options) -> dict:
    """Mean accuracy by set and method."""
    found = {}
    for name in SETS[:1] if options.quick else SETS:
        with np.load(data_file(f"ucr/{name}.npz")) as file:
            parts = [file[part] for part in ("X_train", "y_train", "X_test", "y_test")]
        values = cross_validated(*parts[:2]) if options.validate else classified(*parts, options.seeds)
        found[name] = {method: float(np.mean(some)) for method, some in values.items()}
        print(name, {method: round(value, 3) for method, value in found[name].items()}, flush=True)
    return found


def heart_beats(options) -> dict:
    """AUROC of the squared error, by method; a list where there are seeds."""
    with np.load(data_file("ecg5000/ecg5000.npz")) as file:
        X, y, X_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    if options.validate:  # every fourth normal beat is held out and stands beside the other ones
        held_out = (np.arange(len(X)) % 4 == 0) | (y != 0)
        X, y, X_test, y_test = X[~held_out], y[~held_out], X[held_out], y[held_out]
    normal = X[y == 0]
    pca = PCA(2).fit(normal)
    nearest = NearestNeighbors(n_neighbors=5).fit(normal).kneighbors(X_test)[0][:, -1]
    errors = np.square(X_test - pca.inverse_transform(pca.transform(X_test))).sum(1)
    found = {
        "PCA(2)": [float(roc_auc_score(y_test, errors))],
        "nearest neighbours": [float(roc_auc_score(y_test, nearest))],
    }
    for seed in range(options.seeds):
        for name, model in models(2, seed).items():
            model.fit(normal[:, None])
            found.setdefault(name, []).append(float(roc_auc_score(y_test, -model.score_samples(X_test[:, None]))))
    return found


def report(options) -> None:
    """Measure, print, store."""
    use_threads(options.threads)
    warnings.simplefilter("ignore")
    options.seeds = 1 if options.quick or options.validate else options.seeds
    sets = ucr(options)
    methods = list(next(iter(sets.values())))
    print_table(["set", *methods], [[name, *(values[m] for m in methods)] for name, values in sets.items()])
    above = {m: sum(v[m] > v["PCA"] for v in sets.values()) for m in methods if m.startswith("ours")}
    print(f"sets above PCA, of {len(sets)}: {above}")
    beats = heart_beats(options)
    rows = [[name, float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else None] for name, v in beats.items()]
    print_table(["ECG5000", "AUROC", "spread over seeds"], rows)
    if not options.validate:
        save(options, {"ucr": sets, "above_pca": above, "ecg5000": beats}, minirocket="MiniRocket" in methods)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fits of each model of ours (default 5)")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training series; nothing is stored")
    parser.set_defaults(threads=1)
    report(parser.parse_args())
