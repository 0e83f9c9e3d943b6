"""How long does a fit at default parameters take, in units of ``MLPRegressor(X, X)`` with the same hidden layers?

Tables: wine, breast_cancer and digits of scikit-learn, standardised; ``--tables`` chooses. ``MLPRegressor`` has the
hidden layers 128, 64, 2, 64, 128 and 75 epochs without early stopping: a network of this shape, trained once. Ours also
decide by held-out rows whether the network is better than PCA or factor analysis, and when to stop; below 600 rows this
takes four more networks. Beside them stand ``PCA``, ``GaussianMixture`` and ``IsolationForest`` at their defaults. All
run in alternation, after one round that does not count; ratios are medians over rounds of the ratio within a round.
"""

import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks.common import Target, alternate, arguments, figures_table, ratio, save, stored_figures, use_threads
from sk_autoenc import AutoencoderTransformer, VAETransformer

TABLES = {"wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}
UNIT, AUTOENCODER, VAE = "MLPRegressor(X, X)", "AutoencoderTransformer", "VAETransformer"


def in_units(model: str, table: str):
    """Time of a default fit in units of the regressor, from the results."""
    return lambda results: results["figures"][table][model]["in_units"]


_FOLDS = (
    "Tried: the folds' networks as one batched computation (kept); twice the rows per step, or two thirds of the "
    "epochs, which both lose accuracy (see the notes)."
)

TARGETS = [
    Target(f"default fit of {model}, {table}, in units of the regressor", in_units(model, table), "≤", bound, _FOLDS)
    for model, bound in ((AUTOENCODER, 3.0), (VAE, 6.0))
    for table in TABLES
]


def contenders(X: np.ndarray, max_iter: dict) -> dict:
    """A fit of each model, by name."""
    epochs = max_iter.get("max_iter", 75)
    regressor = MLPRegressor(
        hidden_layer_sizes=(128, 64, 2, 64, 128), max_iter=epochs, n_iter_no_change=epochs, random_state=0
    )
    return {
        UNIT: lambda: regressor.fit(X, X),
        AUTOENCODER: lambda: AutoencoderTransformer(device="cpu", random_state=0, **max_iter).fit(X),
        VAE: lambda: VAETransformer(device="cpu", random_state=0, **max_iter).fit(X),
        "PCA": lambda: PCA(2).fit(X),
        "GaussianMixture": lambda: GaussianMixture(random_state=0).fit(X),
        "IsolationForest": lambda: IsolationForest(random_state=0).fit(X),
    }


def measure(X: np.ndarray, options) -> dict:
    """Seconds of every model on a table, and units of the regressor."""
    fits = contenders(X[:60] if options.quick else X, {"max_iter": 1} if options.quick else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        times = alternate(fits, 1 if options.quick else options.rounds, options.clock)
    return {
        name: {"seconds": float(np.median(elapsed)), "in_units": ratio(times, name, UNIT)}
        for name, elapsed in times.items()
    }


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    figures = stored_figures("defaults", options)
    for name in options.tables:
        figures[name] = measure(StandardScaler().fit_transform(TABLES[name]().data), options)
        print(name, {model: round(found["seconds"], 3) for model, found in figures[name].items()}, flush=True)
    save(options, figures)


def report(results) -> str:
    """Seconds and units of every model and table."""
    return "\n\n".join(
        figures_table(name, figures, {"seconds": ("seconds", 3), "in units of the regressor": ("in_units", 2)})
        for name, figures in results["figures"].items()
    )


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--rounds", type=int, default=2, help="rounds that count (default 2)")
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES), help="tables (default all)")
    parser.set_defaults(threads=1, clock="processor")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
