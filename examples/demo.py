"""The main job in one table: digits through PCA, its nonlinear relatives and the autoencoder, on held-out rows.

Run by ``make demo``; needs nothing but what scikit-learn ships. Writes pictures to ``demo_output``.
"""

import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import LocallyLinearEmbedding, trustworthiness
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.inspection import LatentDisplay, LossCurveDisplay, ReconstructionDisplay

N_COMPONENTS = 8
OUTPUT = Path("demo_output")


def kernel_pca(X: np.ndarray) -> KernelPCA:
    """KernelPCA with the width and ridge that reconstruct held-out training rows best."""
    inner, held_out = train_test_split(X, random_state=1)
    candidates = [
        KernelPCA(N_COMPONENTS, kernel="rbf", gamma=gamma, alpha=alpha, fit_inverse_transform=True)
        for gamma in (0.003, 0.01, 0.03)
        for alpha in (0.01, 0.1)
    ]
    errors = [
        np.square(held_out - model.inverse_transform(model.fit(inner).transform(held_out))).sum()
        for model in candidates
    ]
    return candidates[int(np.argmin(errors))]


def measure(model, X_train, X_test, y_train, y_test) -> tuple[str, str, str, str]:
    """Held-out reconstruction R², trustworthiness, accuracy of a classifier on the codes, seconds to fit."""
    start = time.perf_counter()
    model.fit(X_train)
    seconds = time.perf_counter() - start
    codes, test_codes = model.transform(X_train), model.transform(X_test)
    r2 = "-"
    if hasattr(model, "inverse_transform"):
        r2 = f"{r2_score(X_test, model.inverse_transform(test_codes), multioutput='variance_weighted'):.3f}"
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(codes, y_train)
    trust = trustworthiness(X_test, test_codes, n_neighbors=5)
    return r2, f"{trust:.3f}", f"{classifier.score(test_codes, y_test):.3f}", f"{seconds:.2f}"


def main() -> None:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    models = {
        "PCA": PCA(N_COMPONENTS),
        "KernelPCA": kernel_pca(X_train),
        "LocallyLinearEmbedding": LocallyLinearEmbedding(n_components=N_COMPONENTS, n_neighbors=20, random_state=0),
        "AutoencoderTransformer": AutoencoderTransformer(N_COMPONENTS, random_state=0),
        "  denoising (noise=0.3)": AutoencoderTransformer(N_COMPONENTS, noise=0.3, random_state=0),
        "  sparse (sparsity=0.3)": AutoencoderTransformer(N_COMPONENTS, sparsity=0.3, random_state=0),
    }
    print(f"digits: {len(X_train)} rows to fit, {len(X_test)} held out, {N_COMPONENTS} components\n")
    head = ("", "R²", "trust", "accuracy", "fit, s")
    print(f"{head[0]:<26}{head[1]:>8}{head[2]:>8}{head[3]:>10}{head[4]:>8}")
    for name, model in models.items():
        r2, trust, accuracy, seconds = measure(model, X_train, X_test, y_train, y_test)
        print(f"{name:<26}{r2:>8}{trust:>8}{accuracy:>10}{seconds:>8}", flush=True)
    print(
        "\nR²: share of the held-out rows' variance that the codes give back. trust: whether neighbours in the codes\n"
        "are neighbours in the rows. accuracy: logistic regression on the codes, held-out rows."
    )
    draw(models["AutoencoderTransformer"], X_train, X_test, y_test)


def draw(model: AutoencoderTransformer, X_train, X_test, y_test) -> None:
    """2-D codes of PCA and the autoencoder, reconstructions, and the loss curve."""
    OUTPUT.mkdir(exist_ok=True)
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for plane, ax in zip((PCA(2), AutoencoderTransformer(2, random_state=0)), axes, strict=True):
        LatentDisplay.from_estimator(plane.fit(X_train), X_test, y=y_test, ax=ax)
        ax.set_title(f"{type(plane).__name__}(2), digits not seen in fit")
        ax.get_legend().remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(OUTPUT / "codes.png", dpi=90)
    for name, fitted in {"pca": PCA(N_COMPONENTS).fit(X_train), "autoencoder": model}.items():
        display = ReconstructionDisplay.from_estimator(fitted, X_test[:10], image_shape=(8, 8))
        display.figure_.savefig(OUTPUT / f"reconstructions_{name}.png", dpi=120)
    LossCurveDisplay.from_estimator(model).figure_.savefig(OUTPUT / "loss_curve.png", dpi=120)
    print(f"\npictures: {', '.join(sorted(path.name for path in OUTPUT.glob('*.png')))} in {OUTPUT}/")


if __name__ == "__main__":
    main()
