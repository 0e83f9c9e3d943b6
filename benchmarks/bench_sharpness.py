"""Are samples of an adversarial autoencoder sharper than those of a VAE? Both on Fashion-MNIST, trained as long.

10 000 samples of each (decoder means, as the field shows them) beside 10 000 test images: sharpness (mean squared
Laplacian of an image, in units of the test images'), and whether they look like test images: precision, density,
recall, coverage and Fréchet distance on the 32 leading principal components of the training images, a classifier
two-sample test there, and the distance to training images beside that of test images. Rows of training images and
their reconstructions by PCA show what the best and the blurred get. No target: a claim is put to the test.
"""

import time

import numpy as np
from scipy.ndimage import laplace
from sklearn.decomposition import PCA

from benchmarks.common import arguments, figures_table, load_images, save, use_threads
from sk_autoenc import AAETransformer, VAETransformer
from sk_autoenc.metrics import (
    classifier_two_sample_test,
    frechet_distance,
    neighbor_distance_ratio,
    precision_recall_density_coverage,
)

TARGETS = []
N_COMPONENTS, N_SAMPLES, N_JUDGED = 16, 10_000, 3000
SHARED = {
    "architecture": (256, 128),
    "batch_size": 512,
    "learning_rate": 0.004,
    "weight_decay": 0.01,
    "device": "cpu",
    "random_state": 0,
}


def sharpness(rows: np.ndarray) -> float:
    """Mean squared Laplacian of the images."""
    return float(np.square(laplace(rows.reshape(-1, 28, 28), axes=(1, 2))).mean())


def judge(rows: np.ndarray, test: np.ndarray, train: np.ndarray, features: PCA) -> dict:
    """All figures of some images."""
    real, made = features.transform(test[:N_JUDGED]), features.transform(rows[:N_JUDGED])
    return {
        "sharpness": sharpness(rows) / sharpness(test),
        **precision_recall_density_coverage(real, made)._asdict(),
        "frechet": frechet_distance(features.transform(test), features.transform(rows)),
        "auroc": classifier_two_sample_test(real, made, random_state=0).auroc,
        "distance_ratio": neighbor_distance_ratio(made, features.transform(train), real),
    }


def run(options) -> None:
    """Fit, sample, judge and store."""
    use_threads(options.threads)
    X, _, test, _ = load_images("fashion_mnist")
    epochs = options.epochs
    if options.quick:
        X, test, epochs = X[:100], test[:50], 1
    features = PCA(32, random_state=0).fit(X)
    models = {
        # A round of the game takes about twice a step of the VAE.
        "AAE": AAETransformer(N_COMPONENTS, **SHARED, likelihood="bernoulli", critic=(256, 256), max_iter=epochs),
        "VAE": VAETransformer(
            N_COMPONENTS, **SHARED, likelihood="bernoulli", prior="normal", max_iter=2 * epochs, early_stopping=False
        ),
    }
    figures, n_samples = {}, min(N_SAMPLES, len(X))
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(X)
        minutes = (time.perf_counter() - start) / 60
        rows = model.sample(n_samples, random_state=0, mean=True)
        figures[name] = {**judge(rows, test, X, features), "minutes": minutes}
        figures[f"{name}, test images reconstructed"] = {
            "sharpness": sharpness(model.reconstruct(test)) / sharpness(test)
        }
    pca = PCA(N_COMPONENTS, random_state=0).fit(X)
    blurred = pca.inverse_transform(pca.transform(X[:n_samples]))
    figures["training images through PCA"] = judge(blurred, test, X[n_samples:] if len(X) > n_samples else X, features)
    figures["training images"] = judge(X[:n_samples], test, X[n_samples:] if len(X) > n_samples else X, features)

    save(options, figures, estimators={name: repr(model) for name, model in models.items()})


def report(results) -> str:
    """All figures of all images."""
    columns = {
        "sharpness": ("sharpness", 3),
        **{name: (name, 2) for name in ("precision", "density", "recall", "coverage")},
        "Fréchet": ("frechet", 2),
        "AUROC": ("auroc", 3),
        "distance ratio": ("distance_ratio", 2),
        "minutes": ("minutes", 1),
    }
    return figures_table("", results["figures"], columns)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--epochs", type=int, default=15, help="of the AAE; the VAE gets twice as many")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
