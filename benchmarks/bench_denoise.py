"""Denoising MNIST and Fashion-MNIST: how near to the clean test images does each method bring the noisy ones?

Noise: N(0, σ²) added to pixels in [0, 1], σ = 0.1, 0.2, 0.4; the noisy images are not clipped. The figure is the PSNR
in dB, -10 log10 of the mean squared error over all pixels of all test images; higher is better.

Beside ours: the noisy image itself; the median filter of size 3 or 5, the better on held-out training images; PCA
fitted on the clean training images, with the number of components that is best on held-out noisy training images; the
same fitted on noisy ones.

Ours starts at PCA and is fitted on the clean images with ``noise`` = σ divided by the estimator's scale (the root of
the pixels' mean variance), one network per data set and σ. Its settings are the same in all six rows, and were chosen
on held-out training images (``--validate`` reports those instead of the test images).
"""

import numpy as np
import torch
from scipy.ndimage import median_filter
from sklearn.decomposition import PCA

from benchmarks.common import Target, arguments, fixed, least_gain, load_images, save, seconds, table, use_threads
from sk_autoenc import MLP, AutoencoderTransformer

SIGMAS = (0.1, 0.2, 0.4)
N_HELD_OUT = 5000
RIVALS = ("median filter", "PCA of clean", "PCA of noisy")
TARGETS = [
    Target(
        "denoising: PSNR minus the best of PCA and the median filter, least of all rows, dB",
        lambda results: min(least_gain(row, "ours", RIVALS) for row in results["figures"]),
        ">",
        0,
    )
]


def psnr(clean: np.ndarray, found: np.ndarray) -> float:
    """-10 log10 of the mean squared error, in dB."""
    return float(-10 * np.log10(np.square(clean - found, dtype=np.float64).mean()))


def add_noise(X: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Gaussian noise, not clipped."""
    return X + np.float32(sigma) * np.random.default_rng(seed).standard_normal(X.shape, dtype=np.float32)


def filtered(X: np.ndarray, size: int) -> np.ndarray:
    """Every image through a median filter."""
    return median_filter(X.reshape(-1, 28, 28), (1, size, size)).reshape(len(X), -1)


def best_pca(train: np.ndarray, clean: np.ndarray, noisy: np.ndarray):
    """A reconstruction by PCA with the number of components that denoises held-out images best, and that number."""
    pca = PCA(min(400, *train.shape), svd_solver="covariance_eigh").fit(train)

    def reconstruct(X, k):
        axes = pca.components_[:k]
        return pca.mean_ + (X - pca.mean_) @ axes.T @ axes

    k = max(range(10, pca.n_components_, 10), key=lambda k: psnr(clean, reconstruct(noisy, k)))
    return lambda X: reconstruct(X, k), k


def make_estimator(options, train: np.ndarray, sigma: float) -> AutoencoderTransformer:
    """Ours, the same for every row but for the amount of noise."""
    scale = float(np.sqrt(train.var(axis=0, dtype=np.float64).mean()))
    return AutoencoderTransformer(
        options.components,
        architecture=MLP(tuple(options.hidden), activation="gelu"),
        init="pca",
        noise=sigma / scale,
        max_iter=options.epochs,
        batch_size=256,
        learning_rate=0.001,
        early_stopping=False,
        device="cpu",
        random_state=0,
    )


def measure(options, name: str, sigma: float, train, held_out, test) -> dict:
    """PSNR of every method for one data set and one noise; nothing is chosen on ``test``."""
    held_out_noisy, test_noisy = add_noise(held_out, sigma, seed=1), add_noise(test, sigma, seed=2)
    size = max((3, 5), key=lambda size: psnr(held_out, filtered(held_out_noisy, size)))
    by_pca, k = best_pca(train, held_out, held_out_noisy)
    by_noisy_pca, k_noisy = best_pca(add_noise(train, sigma, seed=3), held_out, held_out_noisy)
    ours = make_estimator(options, train, sigma)
    elapsed = seconds(lambda: ours.fit(train))
    return {
        "images": name,
        "σ": sigma,
        "noisy": psnr(test, test_noisy),
        "median filter": psnr(test, filtered(test_noisy, size)),
        "PCA of clean": psnr(test, by_pca(test_noisy)),
        "PCA of noisy": psnr(test, by_noisy_pca(test_noisy)),
        "ours": psnr(test, ours.inverse_transform(ours.transform(test_noisy))),
        "filter size": size,
        "components of PCA": k,
        "components of PCA of noisy": k_noisy,
        "fit seconds of ours": elapsed,
    }


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    torch.set_float32_matmul_precision("medium" if options.bf16 else "highest")
    if options.quick:
        options.train, options.epochs, options.hidden, options.components = 100, 1, [8], 8
    rows = []
    for name in ("mnist", "fashion_mnist"):
        X, _, X_test, _ = load_images(name)
        train, held_out = X[: options.train], X[-N_HELD_OUT:]
        test = held_out if options.validate else X_test
        if options.quick:
            held_out, test = held_out[:50], test[:50]
        for sigma in options.sigmas:
            rows.append(measure(options, name, sigma, train, held_out, test))
            print(
                f"{name} σ={sigma}: ours {rows[-1]['ours']:.2f} dB, PCA {rows[-1]['PCA of clean']:.2f} dB", flush=True
            )
    save(options, rows, estimator=repr(make_estimator(options, train, SIGMAS[0])))


def report(results) -> str:
    """PSNR in dB of every method."""
    methods = ("noisy", *RIVALS, "ours")
    rows = [
        [row["images"], row["σ"], *(fixed(row[method], 2) for method in methods), fixed(row["fit seconds of ours"], 0)]
        for row in results["figures"]
    ]
    estimator = " ".join(results["settings"]["estimator"].split())
    return table(["images", "σ", *methods, "fit of ours, s"], rows) + f"\n\nOurs, at the first σ: `{estimator}`."


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--train", type=int, default=55_000, help="training images, at most 55 000 (default)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--components", type=int, default=256, help="length of the code")
    parser.add_argument("--hidden", type=int, nargs="*", default=[512], help="widths of the encoder's hidden layers")
    parser.add_argument("--sigmas", type=float, nargs="*", default=SIGMAS)
    parser.add_argument("--bf16", action="store_true", help="allow bfloat16 in matrix products")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images, to choose settings")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
