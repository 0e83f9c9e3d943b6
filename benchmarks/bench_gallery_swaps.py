"""Examples of scikit-learn's gallery with one word changed: do they run, and what do they say then?

Each of eleven examples is written afresh as a short function of the model, and is run twice: with the class that
scikit-learn's gallery uses there, and with ours in its place. Parameters are the defaults, but for the density of
digits, which has one variance for each feature, as the guide advises for pictures. Both see the same rows and are
measured by the same figure, which is that of the example where it has one. Seconds are those of the whole function.
Rows are those that scikit-learn ships, or are made here: where the gallery downloads faces or news, digits and made-up
texts take their place.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_blobs, make_moons
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.ensemble import ExtraTreesRegressor, IsolationForest, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_squared_error, roc_auc_score, v_measure_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from benchmarks.common import CLOCKS, arguments, fixed, save, stored_figures, table, use_threads
from sk_autoenc import (
    AutoencoderImputer,
    AutoencoderTransformer,
    EncoderDecoderRegressor,
    Gaussian,
    PretrainedClassifier,
    ReconstructionOutlierDetector,
    VAETransformer,
)
from sk_autoenc.metrics import energy_distance

TARGETS: list = []


def digits(n_rows: int):
    """Rows, half of them to train, and their labels."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X[:n_rows], y[:n_rows], test_size=0.5, random_state=0)


def chain(model: Any, n_rows: int) -> float:
    """Pipelining: a reduction and a logistic regression; accuracy for held-out digits."""
    X, X_test, y, y_test = digits(n_rows)
    return make_pipeline(StandardScaler(), model, LogisticRegression(max_iter=1000)).fit(X, y).score(X_test, y_test)


def map_of_digits(model: Any, n_rows: int) -> float:
    """Digits in two dimensions; accuracy of the five nearest neighbours in the map."""
    X, X_test, y, y_test = digits(n_rows)
    return make_pipeline(model, KNeighborsClassifier()).fit(X, y).score(X_test, y_test)


def denoising(model: Any, n_rows: int) -> float:
    """Image denoising using kernel PCA; squared error of a pixel against the clean image."""
    X, X_test, *_ = digits(n_rows)
    noise = np.random.default_rng(0).normal(scale=4.0, size=(2, max(len(X), len(X_test)), 64))
    model.fit(X + noise[0, : len(X)])
    return mean_squared_error(X_test, model.inverse_transform(model.transform(X_test + noise[1, : len(X_test)])))


def outliers(model: Any, n_rows: int) -> float:
    """Comparing anomaly detection on toy data; mean AUROC over four shapes with 15 % of uniform outliers."""
    n = min(n_rows, 300)
    shapes = [
        make_blobs(n, centers=[[0, 0]], cluster_std=0.5, random_state=0)[0],
        make_blobs(n, centers=[[2, 2], [-2, -2]], cluster_std=[0.5, 0.5], random_state=0)[0],
        make_blobs(n, centers=[[2, 2], [-2, -2]], cluster_std=[1.5, 0.3], random_state=0)[0],
        4 * (make_moons(n, noise=0.05, random_state=0)[0] - [0.5, 0.25]),
    ]
    far = np.random.default_rng(0).uniform(-6, 6, size=(n * 15 // 85, 2))
    is_usual = np.r_[np.ones(n), np.zeros(len(far))]
    rows = [np.r_[shape, far] for shape in shapes]
    return float(np.mean([roc_auc_score(is_usual, model.fit(X).score_samples(X)) for X in rows]))


def density(model: Any, n_rows: int) -> float:
    """Density estimation for two groups, one of them stretched; nats of a held-out row."""
    rng = np.random.default_rng(0)

    def draw(n):
        stretched = rng.standard_normal((n // 2, 2)) @ [[0.0, -0.7], [3.5, 0.7]]
        return np.r_[rng.normal(20.0, 1.0, (n // 2, 2)), stretched]

    return float(model.fit(draw(min(n_rows, 600))).score(draw(2000)))


class _MixtureOfDigits(KernelDensity):
    """As the gallery draws digits: kernels around codes of PCA."""

    def fit(self, X, y=None):
        self.pca_ = PCA(15).fit(X)
        return super().fit(self.pca_.transform(X))

    def sample(self, n_samples=1, random_state=None):
        return self.pca_.inverse_transform(super().sample(n_samples, random_state))


def new_digits(model: Any, n_rows: int) -> float:
    """Kernel density estimation: new digits; energy distance between 500 of them and held-out digits."""
    X, X_test, *_ = digits(n_rows)
    return float(energy_distance(X_test, model.fit(X).sample(500, random_state=0)).statistic)


def missing(model: Any, n_rows: int) -> float:
    """Imputing missing values before building an estimator; cross-validated squared error of a forest on diabetes."""
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:n_rows], y[:n_rows]
    rng = np.random.default_rng(42)
    rows = rng.permutation(len(X))[: int(0.75 * len(X))]
    X[rows, rng.integers(0, X.shape[1], len(rows))] = np.nan
    forest = make_pipeline(model, RandomForestRegressor(random_state=0, n_estimators=50))
    return -float(cross_val_score(forest, X, y, scoring="neg_mean_squared_error", cv=3).mean())


def completion(model: Any, n_rows: int) -> float:
    """Face completion, here of digits: the lower half from the upper one; squared error of a pixel."""
    X, X_test, *_ = digits(n_rows)
    return mean_squared_error(X_test[:, 32:], model.fit(X[:, :32], X[:, 32:]).predict(X_test[:, :32]))


def few_labels(model: Any, n_rows: int) -> float:
    """Label propagation on digits; accuracy for the 300 digits whose labels are hidden, beside 40 that are known."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(2).permutation(len(X))[: min(n_rows, 340)]
    X, y, hidden = X[order], y[order], np.arange(len(order)) >= 40
    return float((model.fit(X, np.where(hidden, -1, y)).predict(X[hidden]) == y[hidden]).mean())


def united(model: Any, n_rows: int) -> float:
    """Concatenating features: a reduction beside the best single feature; cross-validated accuracy on iris."""
    X, y = load_iris(return_X_y=True)
    both = make_pipeline(make_union(model, SelectKBest(k=1)), SVC(kernel="linear"))
    return float(cross_val_score(both, X, y, cv=3).mean())


def topics(model: Any, n_rows: int) -> float:
    """Clustering text documents by latent semantic analysis; V-measure of k-means on texts of six topics."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(1000)])
    usual = rng.dirichlet(np.full(1000, 0.1))
    shares = [0.7 * usual + 0.3 * rng.dirichlet(np.full(1000, 0.02)) for _ in range(6)]
    y = np.arange(min(n_rows, 1200)) % 6
    texts = [" ".join(rng.choice(words, size=30, p=shares[topic])) for topic in y]
    codes = make_pipeline(TfidfVectorizer(max_df=0.5, min_df=2), model).fit_transform(texts)
    return v_measure_score(y, KMeans(6, n_init=5, random_state=0).fit_predict(codes))


class Example(NamedTuple):
    """An example with the gallery's model, and with ours in its place."""

    run: Callable[[Any, int], float]
    figure: str
    theirs: Callable[[], Any]
    ours: Callable[[], Any]


EXAMPLES = {
    "chaining a reduction and a classifier": Example(
        chain, "accuracy ↑", lambda: PCA(15), lambda: AutoencoderTransformer(15, random_state=0)
    ),
    "digits in two dimensions": Example(
        map_of_digits, "accuracy ↑", lambda: PCA(2), lambda: AutoencoderTransformer(2, random_state=0)
    ),
    "denoising of images": Example(
        denoising,
        "squared error ↓",
        lambda: KernelPCA(32, kernel="rbf", gamma=1e-3, fit_inverse_transform=True, alpha=5e-3),
        lambda: AutoencoderTransformer(32, random_state=0),
    ),
    "anomalies in toy data": Example(
        outliers,
        "AUROC ↑",
        lambda: IsolationForest(random_state=0),
        lambda: ReconstructionOutlierDetector(random_state=0),
    ),
    "density of two groups": Example(
        density, "nats ↑", lambda: GaussianMixture(2, random_state=0), lambda: VAETransformer(2, random_state=0)
    ),
    "new digits by a density": Example(
        new_digits,
        "energy distance ↓",
        lambda: _MixtureOfDigits(bandwidth=3.8),
        lambda: VAETransformer(15, likelihood=Gaussian("feature"), random_state=0),  # as the guide has it for pictures
    ),
    "imputation before a forest": Example(
        missing, "squared error ↓", lambda: KNNImputer(), lambda: AutoencoderImputer(random_state=0)
    ),
    "completion of images": Example(
        completion,
        "squared error ↓",
        lambda: ExtraTreesRegressor(10, max_features=32, random_state=0),
        lambda: EncoderDecoderRegressor(random_state=0),
    ),
    "digits with 40 labels": Example(
        few_labels,
        "accuracy ↑",
        lambda: LabelSpreading(gamma=0.25 / 64, max_iter=20),
        lambda: PretrainedClassifier(AutoencoderTransformer(16, random_state=0), random_state=0),
    ),
    "concatenated features": Example(
        united, "accuracy ↑", lambda: PCA(2), lambda: AutoencoderTransformer(2, random_state=0)
    ),
    "topics of texts": Example(
        topics,
        "V-measure ↑",
        lambda: TruncatedSVD(10, random_state=0),
        lambda: AutoencoderTransformer(10, random_state=0),
    ),
}


def measure(example: Example, make: Callable[[], Any], options: Any) -> dict[str, Any]:
    """Class, figure and seconds of one run."""
    model, now = make(), CLOCKS[options.clock]
    cheap = {"max_iter": 1, "n_steps": 1} if options.quick else {}
    if type(model).__module__.startswith("sk_autoenc"):
        model.set_params(**{name: value for name, value in cheap.items() if name in model.get_params()})
    start = now()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        figure = example.run(model, 60 if options.quick else 10_000)
    return {"class": type(model).__name__.removeprefix("_"), "figure": figure, "seconds": now() - start}


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    figures = stored_figures("gallery_swaps", options)
    for name in options.examples:
        example = EXAMPLES[name]
        theirs, ours = (measure(example, make, options) for make in (example.theirs, example.ours))
        figures[name] = {"measured": example.figure, "theirs": theirs, "ours": ours}
        print(f"{name}: {theirs} {ours}", flush=True)
    save(options, figures)


def report(results) -> str:
    """Both runs of every example."""
    rows = []
    for name, found in results["figures"].items():
        theirs, ours = found["theirs"], found["ours"]
        cells = [part["figure"] for part in (theirs, ours)]
        times = [fixed(part["seconds"], 1) for part in (theirs, ours)]
        rows.append([name, found["measured"], f"`{theirs['class']}`", f"`{ours['class']}`", *cells, *times])
    return table(["example", "figure", "gallery", "ours", "gallery's", "ours", "s", "s, ours"], rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--examples", nargs="+", choices=EXAMPLES, default=list(EXAMPLES), help="which ones to measure")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
