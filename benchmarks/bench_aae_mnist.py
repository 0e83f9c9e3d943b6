"""An adversarial autoencoder of MNIST with 8 codes: are codes of new images distributed like the prior?

Codes of the 10 000 test images against 10 000 draws of the prior, by gradient-boosted trees on five folds: AUROC, 0.5
by chance. Beside it PCA whitened to the prior's mean and covariance, a VAE (means of its posterior, and draws from it),
and how many nats a Parzen window gives the test images, the figure of the paper: 10 000 decoded draws, bandwidth chosen
on training images that were held out; training images and means of 10 neighbours by the same yardstick show what that
figure is worth. Settings were chosen on held-out training images (``--validate``).

Published (Makhzani et al. 2015, second-hand): 340 nats with a prior N(0, 5²).
"""

import time

import numpy as np
import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from benchmarks.common import Target, arguments, figures_table, load_images, save, use_threads
from sk_autoenc import AAETransformer, VAETransformer
from sk_autoenc.metrics import classifier_two_sample_test, parzen_log_likelihood


def mean_auroc(results) -> float:
    """AUROC of the codes, mean over the seeds that were fitted."""
    found = results["figures"]["AAE"]
    return float(np.mean([found["auroc"], *found["auroc_of_other_seeds"]]))


TARGETS = [Target("AAE on MNIST: AUROC of codes against the prior, mean over seeds", mean_auroc, "≤", 0.55)]
N_COMPONENTS, N_COMPARED = 8, 10_000
N_BANDWIDTH = 1000
SHARED = {
    "architecture": (256, 128),
    "likelihood": "bernoulli",
    "batch_size": 512,
    "learning_rate": 0.004,
    "weight_decay": 0.01,
    "device": "cpu",
    "random_state": 0,
}
SETTINGS = {
    "critic": (512, 512),
    "max_iter": 60,
    "batch_size": 256,
    "learning_rate": 0.002,
    "n_critic": 5,
}


def codes_auroc(drawn: np.ndarray, codes: np.ndarray) -> float:
    """How well trees tell codes from draws of the prior."""
    return classifier_two_sample_test(drawn, codes, random_state=0).auroc


def parzen(generated: np.ndarray, test: np.ndarray, validation: np.ndarray) -> dict:
    """Parzen-window figure of generated images."""
    found = parzen_log_likelihood(generated, test, validation=validation)
    return {"parzen": found.log_likelihood, "parzen_error": found.standard_error, "bandwidth": found.bandwidth}


def neighbour_means(X: np.ndarray, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Means of some images and their nine nearest others."""
    chosen = rng.choice(len(X), n_rows, replace=False)
    nearest = NearestNeighbors(n_neighbors=10).fit(X).kneighbors(X[chosen], return_distance=False)
    return X[nearest].mean(axis=1)


def fitted(estimator, X: np.ndarray):
    """The estimator, fitted, and the minutes it took."""
    start = time.perf_counter()
    return estimator.fit(X), (time.perf_counter() - start) / 60


def run(options) -> None:
    """Fit, measure and store."""
    use_threads(options.threads)
    X, _, test, _ = load_images("mnist")
    if options.validate:
        X, test = X[: -len(test)], X[-len(test) :]
    X, validation = X[:-N_BANDWIDTH], X[-N_BANDWIDTH:]
    asked = {name: value for name in SETTINGS if (value := getattr(options, name, None)) is not None}
    settings, n_compared = {**SETTINGS, **asked}, N_COMPARED
    if options.quick:
        X, test, n_compared, settings["max_iter"] = X[:500], test[:100], 100, 1
    rng = np.random.default_rng(0)

    figures = {}
    model, minutes = fitted(AAETransformer(N_COMPONENTS, **{**SHARED, **settings}), X)
    others = (
        AAETransformer(N_COMPONENTS, **{**SHARED, **settings, "random_state": seed}).fit(X)
        for seed in range(1, options.seeds)
    )
    drawn = model.prior_.sample(n_compared, torch.Generator().manual_seed(1)).numpy()
    figures["AAE"] = {
        "auroc": codes_auroc(drawn, model.transform(test)),
        "auroc_of_other_seeds": [codes_auroc(drawn, other.transform(test)) for other in others],
        "auroc_train": codes_auroc(drawn, model.transform(X[:n_compared])),
        "prior_mismatch": model.prior_mismatch_,
        "error": float(np.square(test - model.reconstruct(test)).sum(axis=1).mean()),
        **parzen(model.sample(n_compared, random_state=0, mean=True), test, validation),
        "minutes": minutes,
    }
    epochs = max(1, settings["max_iter"] // 2)
    vae, minutes = fitted(VAETransformer(N_COMPONENTS, **SHARED, max_iter=epochs, early_stopping=False), X)
    mean, std = vae.posterior(test)
    figures["VAE"] = {
        "auroc": codes_auroc(drawn, mean),
        "auroc_of_draws": codes_auroc(drawn, mean + std * rng.normal(size=mean.shape)),
        "error": float(np.square(test - vae.reconstruct(test)).sum(axis=1).mean()),
        **parzen(vae.sample(n_compared, random_state=0, mean=True), test, validation),
        "minutes": minutes,
    }
    pca = PCA(N_COMPONENTS, whiten=True).fit(X)
    whitened = pca.transform(test)
    figures["PCA, whitened"] = {
        "auroc": codes_auroc(drawn, whitened),
        "error": float(np.square(test - pca.inverse_transform(whitened)).sum(axis=1).mean()),
        **parzen(pca.inverse_transform(drawn), test, validation),
    }
    chosen = rng.choice(len(X), n_compared, replace=False)
    figures["training images"] = parzen(X[chosen], test, validation)
    figures["means of 10 neighbours"] = parzen(neighbour_means(X, n_compared, rng), test, validation)

    with config_context(print_changed_only=False):
        estimators = {"AAE": repr(model), "VAE": repr(vae)}
    save(options, figures, estimators=estimators, judged=len(test))


def report(results) -> str:
    """Codes against the prior, and the Parzen figures."""
    columns = {
        "AUROC, test": ("auroc", 3),
        "AUROC of the posterior's draws": ("auroc_of_draws", 3),
        "AUROC, training": ("auroc_train", 3),
        "squared error": ("error", 1),
        "Parzen, nats": ("parzen", 0),
        "its standard error": ("parzen_error", 1),
        "minutes": ("minutes", 1),
    }
    others = ", ".join(f"{auroc:.3f}" for auroc in results["figures"]["AAE"]["auroc_of_other_seeds"])
    seeds = f"\n\nAUROC of AAEs with other seeds: {others}." if others else ""
    return figures_table("", results["figures"], columns) + seeds


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images, to choose settings")
    parser.add_argument("--max-iter", dest="max_iter", type=int, help="epochs, instead of the settings'")
    parser.add_argument("--seeds", type=int, default=1, help="fits of the AAE; AUROC is given of those after the first")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
