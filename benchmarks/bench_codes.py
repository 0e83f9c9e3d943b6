"""Are 32 codes of Fashion-MNIST good features? Accuracy of logistic regression on them, on the 10 000 test images.

Every method reduces the training images (pixels in [0, 1], without labels) to 32 numbers; then StandardScaler and
LogisticRegression (C = 1). Chosen by accuracy on held-out training images: gamma of KernelPCA (by Nystroem with 1000
components, then PCA), the learning rate of BernoulliRBM, and, beforehand, the settings of ours (``--explore`` shows
what was tried). Then everything is fitted again on all training images, and the test images are looked at once per
method.

An accuracy has a standard error of about 0.4 points. That of a difference between two methods is less, as errors
coincide: the table gives the paired one, over test images.
"""

import warnings

import numpy as np
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import Target, arguments, fixed, load_images, save, seconds, table, use_threads
from sk_autoenc import MLP, AutoencoderTransformer

N_CODES = 32
TARGETS = [
    Target(
        "accuracy on 32 codes of Fashion-MNIST, minus the best rival's",
        lambda results: min(f["ours minus it"] for name, f in results["figures"].items() if name != "ours"),
        ">",
        0,
    )
]


def ours(options, **changes) -> AutoencoderTransformer:
    """The denoising autoencoder that did best on held-out training images."""
    architecture = MLP((1024,), activation="gelu", code_activation=changes.pop("code_activation", "identity"))
    parameters = {
        "architecture": architecture,
        "init": "random",
        "noise": 0.5,
        "noise_kind": "masking",
        "max_iter": options.epochs,
        "batch_size": 256,
        "learning_rate": 0.001,
        "early_stopping": False,
        "device": "cpu",
        "random_state": 0,
    }
    return AutoencoderTransformer(N_CODES, **{**parameters, **changes})


def methods(options) -> dict[str, list]:
    """Candidates of every method; the best on held-out images is taken."""
    return {
        "PCA": [PCA(N_CODES, random_state=0)],
        "KernelPCA (Nystroem)": [
            make_pipeline(
                Nystroem(gamma=gamma, n_components=options.landmarks, random_state=0), PCA(N_CODES, random_state=0)
            )
            for gamma in (0.001, 0.003, 0.01, 0.03)
        ],
        "BernoulliRBM": [
            BernoulliRBM(N_CODES, learning_rate=rate, batch_size=50, n_iter=options.rbm_epochs, random_state=0)
            for rate in (0.003, 0.01, 0.03, 0.1)
        ],
        "ours": [ours(options)],
    }


def explored(options) -> dict[str, list]:
    """Settings of ours that were compared on held-out training images."""
    none = {"noise": 0.0}
    return {
        "masking 0.5": [ours(options)],
        "masking 0.25": [ours(options, noise=0.25)],
        "masking 0.75": [ours(options, noise=0.75)],
        "no noise": [ours(options, **none)],
        "gaussian 0.5": [ours(options, noise=0.5, noise_kind="gaussian")],
        "gaussian 1": [ours(options, noise=1.0, noise_kind="gaussian")],
        'masking 0.5, init="pca"': [ours(options, init="pca")],
        "masking 0.5, bernoulli": [ours(options, likelihood="bernoulli")],
        "masking 0.5, relu codes": [ours(options, code_activation="relu")],
        "masking 0.5, sigmoid codes": [ours(options, code_activation="sigmoid")],
        "masking 0.5, hidden (512, 256)": [ours(options, architecture=MLP((512, 256), activation="gelu"))],
        "contraction 0.1": [ours(options, contraction=0.1, **none)],
        "sparsity 0.01": [ours(options, sparsity=0.01, **none)],
    }


def correct(reducer, X, y, X_other, y_other) -> np.ndarray:
    """Whether the classifier on the codes of ``X`` is right on each of the other images."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(reducer.transform(X), y)
    return (classifier.predict(reducer.transform(X_other)) == y_other).astype(float)


def choose(candidates, X, y, X_held_out, y_held_out):
    """The candidate whose codes classify held-out images best, and its accuracy."""
    found = [correct(clone(one).fit(X), X, y, X_held_out, y_held_out).mean() for one in candidates]
    return candidates[int(np.argmax(found))], float(max(found))


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    torch.set_float32_matmul_precision("medium" if options.bf16 else "highest")
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y, X_test, y_test = load_images("fashion_mnist")
    if options.quick:
        options.train, options.epochs, options.landmarks, options.rbm_epochs = 200, 1, 40, 1
        X_test, y_test = X_test[:50], y_test[:50]
    order = np.random.default_rng(0).permutation(len(X))[: options.train]
    X, y = X[order], y[order]
    n_held_out = min(10_000, len(X) // 4)
    parts = X[:-n_held_out], y[:-n_held_out], X[-n_held_out:], y[-n_held_out:]

    figures, right = {}, {}
    for name, candidates in (explored(options) if options.explore else methods(options)).items():
        chosen, held_out = choose(candidates, *parts)
        figures[name] = {"held out": held_out}
        print(f"{name}: {held_out:.4f} held out, {chosen!r}", flush=True)
        if options.explore:
            continue
        reducer = clone(chosen)
        elapsed = seconds(lambda reducer=reducer: reducer.fit(X))
        right[name] = correct(reducer, X, y, X_test, y_test)
        figures[name] |= {"test": right[name].mean(), "fit seconds": elapsed, "chosen": repr(chosen)}
    for name, hits in right.items():
        gain = right["ours"] - hits
        figures[name] |= {"ours minus it": gain.mean(), "its standard error": gain.std() / np.sqrt(len(gain))}

    save(options, figures, rows=len(X))


def report(results) -> str:
    """Accuracy of every method, and what ours has more."""
    rows = []
    for name, found in results["figures"].items():
        accuracies = [fixed(found.get(part), 4) for part in ("held out", "test")]
        more = ""
        if found.get("its standard error"):
            more = f"{fixed(found['ours minus it'], 4, sign=True)} ± {fixed(found['its standard error'], 4)}"
        rows.append([name, *accuracies, fixed(found.get("fit seconds"), 0), more])
    header = [f"{N_CODES} codes of", "held out", "test", "fit, s", "ours − it ± paired standard error"]
    return table(header, rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--train", type=int, default=60_000, help="training images (default all 60 000)")
    parser.add_argument("--epochs", type=int, default=15, help="of ours")
    parser.add_argument("--landmarks", type=int, default=1000, help="components of Nystroem")
    parser.add_argument("--rbm-epochs", type=int, default=10)
    parser.add_argument("--bf16", action="store_true", help="allow bfloat16 in matrix products")
    parser.add_argument("--explore", action="store_true", help="compare settings of ours on held-out training images")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
