"""Log-probability of binarised MNIST in nats, by importance sampling with 5000 codes: VAE and IWAE on the CPU.

Dynamic binarisation: training draws every pixel anew with its grey value as probability; the test images are binarised
once with a fixed seed, and the first 1000 of them count. The model is that of Burda, Grosse, Salakhutdinov (2016): 50
codes, two layers of 200 tanh on each side. Learning rate, batch size and decay were chosen on 5000 training images that
were held out, in short runs (``--validate`` judges on such); the rate falls as half a cosine. ``--bf16`` allows
bfloat16 in matrix products of training; scores are computed without it. Baselines of the same run: independent pixels,
and a mixture of Bernoulli distributions fitted by EM.

The minutes of the target are of 2 cores, by the clock of ``--clock``. The IWAE with 50 codes per row is trained once in
the same time, and once longer, with two codes per row first. Published, after 3280 epochs: -86.76 and -84.78, on all
test images.

``--long`` needs CUDA: the published schedule (batches of 20, 3280 epochs at eight falling rates) for the models that
are trained in one stage, all test images.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.special import logsumexp

from benchmarks.common import Target, arguments, figures_table, load_images, measured, save, use_threads
from sk_autoenc import MLP, Bernoulli, VAETransformer

N_HELD_OUT, N_JUDGED = 5000, 1000
MIXTURE_SIZE = 500
PUBLISHED = {1: -86.76, 50: -84.78}


def minutes_of_vae(results) -> float:
    """Minutes of training, by the clock that was chosen."""
    clock = "minutes" if results["settings"]["clock"] == "wall" else "processor_minutes"
    return results["figures"]["VAE"][clock]


TARGETS = [
    Target("VAE: binarised MNIST, nats", lambda results: results["figures"]["VAE"]["log_prob"], "≥", -89.0),
    Target("VAE: binarised MNIST, minutes of training", minutes_of_vae, "≤", 15),
]

#: What each model is trained by, stage after stage; the first two have the epochs that fit in the minutes.
STAGES = {
    "VAE": [{"n_importance_samples": 1, "max_iter": 400, "batch_size": 200, "n_warmup_epochs": 80}],
    "IWAE, 50 codes": [{"n_importance_samples": 50, "max_iter": 18, "batch_size": 50, "n_warmup_epochs": 0}],
    "IWAE, 2 codes, then 50": [
        {"n_importance_samples": 2, "max_iter": 300, "batch_size": 200, "n_warmup_epochs": 60},
        {"n_importance_samples": 50, "max_iter": 20, "batch_size": 100, "learning_rate": 1e-3},
    ],
}


def binarized(X: np.ndarray, seed: int) -> np.ndarray:
    """Zeros and ones drawn once, each with the grey value as the probability of a one."""
    return (np.random.default_rng(seed).random(X.shape) < X).astype(np.float32)


# -- baselines


def bernoulli_mixture(X: np.ndarray, n_clusters: int, n_iter: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Weights and means of a Bernoulli mixture by EM, from random rows; pixels are drawn anew each time."""
    rng = np.random.default_rng(0)
    weights = np.full(n_clusters, 1 / n_clusters, dtype=np.float32)
    means = 0.25 + np.float32(0.5) * X[rng.choice(len(X), n_clusters, replace=False)]
    for turn in range(n_iter):
        rows = binarized(X, seed=turn)
        joint = mixture_joint(rows, weights, means)
        shares = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))  # (rows, clusters)
        count = shares.sum(axis=0)
        weights = (count + 1e-3) / (count + 1e-3).sum()
        means = ((shares.T @ rows + 0.05) / (count[:, None] + 0.1)).astype(np.float32)
    return weights, means


def mixture_joint(rows: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Logarithm of p(row, cluster); ``(rows, clusters)``."""
    logit, constant = np.log(means) - np.log1p(-means), np.log1p(-means).sum(axis=1)
    return rows @ logit.T + (constant + np.log(weights))


def mixture_score(rows: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Log-probability of every row."""
    return logsumexp(mixture_joint(rows, weights, means), axis=1)


# -- ours


def make_estimator(**changes) -> VAETransformer:
    """Ours, as stated."""
    parameters = {
        "early_stopping": False,
        "device": "cpu",
        "random_state": 0,
        "learning_rate": 4e-3,
        "weight_decay": 0.01,
        "warm_start": True,
    }
    return VAETransformer(
        50,
        architecture=MLP((200, 200), activation="tanh"),
        likelihood=Bernoulli(binarize="dynamic"),
        prior="normal",  # that of the published figures
        **{**parameters, **changes},
    )


def fit_as_published(X: np.ndarray, n_draws: int, n_stages: int = 8, device: str = "cuda") -> VAETransformer:
    """The published schedule: 3 ** i epochs at a rate of 0.001 * 10 ** (-i / 7), for i = 0, …, 7."""
    plan = {"batch_size": 20, "optimizer": "adam", "weight_decay": 0.0, "learning_rate_schedule": "constant"}
    rest = {"n_warmup_epochs": 0, "net_params": {"optimizer__eps": 1e-4}, "device": device}
    estimator = make_estimator(n_importance_samples=n_draws, **plan, **rest)
    for stage in range(n_stages):
        estimator.set_params(max_iter=3**stage, learning_rate=1e-3 * 10 ** (-stage / 7)).fit(X)
    return estimator


def measure(estimator: VAETransformer, test: np.ndarray, minutes: dict, n_samples: int) -> dict:
    """The model's figures: log-probability with its standard error over images, the bound, time."""
    start = time.perf_counter()
    scores = estimator.score_samples(test, n_samples).astype(np.float64)
    scoring = (time.perf_counter() - start) / 60
    return {
        "log_prob": scores.mean(),
        "standard_error": scores.std(ddof=1) / np.sqrt(len(scores)),
        "elbo": float(estimator.elbo(test, min(n_samples, 100)).total.mean(dtype=np.float64)),
        "active_codes": int((estimator.kl_per_component_ > 0.01).sum()),
        "epochs": estimator.n_iter_,
        **minutes,
        "scoring_minutes": scoring,
    }


def train(X: np.ndarray, name: str, options) -> tuple[VAETransformer, dict]:
    """Ours, fitted, and what it took: minutes of wall time and of this thread's processor time."""
    start, processor = time.perf_counter(), time.thread_time()
    if options.long:
        estimator = fit_as_published(X, STAGES[name][0]["n_importance_samples"])
    else:
        asked = {
            "max_iter": options.epochs,
            "learning_rate": options.learning_rate,
            "weight_decay": options.weight_decay,
        }
        changes = {parameter: value for parameter, value in asked.items() if value is not None}
        estimator = make_estimator()
        for stage in STAGES[name]:
            estimator.set_params(**{**stage, **changes}).fit(X)
    took = {"minutes": time.perf_counter() - start, "processor_minutes": time.thread_time() - processor}
    return estimator, {clock: value / 60 for clock, value in took.items()}


def train_all(X: np.ndarray, options) -> list[tuple[VAETransformer, dict]]:
    """All models, each in turn or all at once; matrix products with bfloat16 where that is asked for."""
    torch.set_float32_matmul_precision("medium" if options.bf16 else "highest")
    with ThreadPoolExecutor(len(options.models) if options.at_once else 1) as pool:
        fitted = list(pool.map(lambda name: train(X, name, options), options.models))
    torch.set_float32_matmul_precision("highest")
    return fitted


def run(options) -> None:
    """Measure and store."""
    if options.long:
        if not torch.cuda.is_available():
            sys.exit("--long trains for 3280 epochs of 3000 steps, which needs CUDA; there is none here.")
        options.models = [name for name in options.models if len(STAGES[name]) == 1]
    use_threads(options.threads)
    X, _, X_test, _ = load_images("mnist")
    if options.validate:
        X, X_test = X[:-N_HELD_OUT], X[-N_HELD_OUT:]
    test = binarized(X_test if options.long else X_test[:N_JUDGED], seed=0)
    n_samples, size = 5000, MIXTURE_SIZE
    if options.quick:
        X, test, n_samples, size, options.epochs = X[:200], test[:20], 10, 5, 1

    mean = np.log(X.mean(axis=0).clip(1e-4, 1 - 1e-4)), np.log1p(-X.mean(axis=0).clip(1e-4, 1 - 1e-4))
    mixture = bernoulli_mixture(X, size)
    figures = {
        "independent pixels": {"log_prob": float((test @ mean[0] + (1 - test) @ mean[1]).mean())},
        f"mixture of {size} Bernoulli": {"log_prob": float(mixture_score(test, *mixture).mean())},
    }
    estimators = {}
    for name, (estimator, minutes) in zip(options.models, train_all(X, options), strict=True):
        figures[name] = measure(estimator, test, minutes, n_samples)
        figures[name]["published"] = PUBLISHED[estimator.n_importance_samples]
        estimators[name] = repr(estimator)

    save(options, figures, estimators=estimators, judged=len(test), importance_samples=n_samples)


def report(results) -> str:
    """All models, with what was published."""
    columns = {
        "log p(x), nats": ("log_prob", 2),
        "standard error": ("standard_error", 2),
        "ELBO": ("elbo", 2),
        "active codes": ("active_codes", 0),
        "epochs": ("epochs", 0),
        "processor min": ("processor_minutes", 1),
        "wall min": ("minutes", 1),
        "published": ("published", 2),
    }
    apart = results["settings"].get("run_apart", {})
    lines = [f"{name} was run apart. {measured(found)}" for name, found in apart.items()]
    return "\n\n".join([figures_table("model", results["figures"], columns), *lines])


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--models", nargs="+", default=list(STAGES), choices=STAGES, help="only these")
    parser.add_argument("--epochs", type=int, help="of every stage, instead of those stated")
    parser.add_argument("--learning-rate", type=float, help="of every stage")
    parser.add_argument("--weight-decay", type=float, help="of every stage")
    parser.add_argument("--bf16", action="store_true", help="allow bfloat16 in matrix products of training")
    parser.add_argument("--at-once", action="store_true", help="train the models side by side, --threads for each")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images, to choose settings")
    parser.add_argument("--long", action="store_true", help="on CUDA: the published schedule, all test images")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
