"""Does a VAE find the density of rows whose density is known?

Rows come from a linear-Gaussian model with 10 features and 3 factors: 10 000 to fit and 10 000 fresh ones to score. The
truth is the mean log-density of the fresh rows under the model that they were drawn from. Two kinds of noise: one
variance for every feature, from 0.2 to 2 (factor analysis), and one for all (probabilistic PCA). Five models, drawn
with seeds 0 to 4, which are also ``random_state``.

The figure is ``score`` with 3 components minus the truth, in nats, for ``init="auto"`` and ``"random"``. The scores of
``FactorAnalysis`` and ``PCA`` with 3 components say how much of the gap is due to the number of rows.
"""

import time
import warnings

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA, FactorAnalysis

from benchmarks.common import Target, arguments, fixed, save, table, use_threads
from sk_autoenc import Gaussian, VAETransformer

N_FEATURES, N_FACTORS = 10, 3


def farthest(init: str):
    """Largest distance of our scores from the truth, in nats, from the results."""
    return lambda results: max(abs(row["worst"]) for row in results["figures"] if row["init"] == init)


TARGETS = [
    Target(f'exactness, `init="{init}"`: largest distance of a score from the truth, nats', farthest(init), "≤", 0.05)
    for init in ("auto", "random")
]

#: Likelihoods that can say what the rows' noise is.
LIKELIHOODS = {
    "own": {
        "default": "student_t",
        "Gaussian('feature')": Gaussian("feature"),
    },
    "shared": {"default": "student_t", "Gaussian('shared')": Gaussian("shared")},
}


def make_rows(noise: str, n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows to fit, fresh rows, and the mean log-density of the latter."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(N_FEATURES, N_FACTORS))
    variance = rng.uniform(0.2, 2, N_FEATURES) if noise == "own" else np.full(N_FEATURES, 0.5)
    mean = rng.normal(size=N_FEATURES)
    X = mean + rng.normal(size=(2 * n_rows, N_FACTORS)) @ loadings.T
    X += rng.normal(size=X.shape) * np.sqrt(variance)
    truth = multivariate_normal(mean, loadings @ loadings.T + np.diag(variance)).logpdf(X[n_rows:]).mean()
    return X[:n_rows], X[n_rows:], float(truth)


def measure(noise: str, n_rows: int, seeds: range, max_iter: dict) -> list[dict]:
    """What every model of rows with this noise is away from the truth, seed by seed."""
    found: dict[tuple, list] = {}
    for seed in seeds:
        train, fresh, truth = make_rows(noise, n_rows, seed)
        for linear in (PCA(N_FACTORS), FactorAnalysis(N_FACTORS)):
            score = linear.fit(train).score(fresh)
            found.setdefault((type(linear).__name__, None), []).append((score - truth, 0.0, False))
        for name, likelihood in LIKELIHOODS[noise].items():
            for init in ("auto", "random"):
                model = VAETransformer(N_FACTORS, likelihood=likelihood, init=init, random_state=seed, **max_iter)
                start = time.perf_counter()
                model.set_params(device="cpu").fit(train)
                elapsed = time.perf_counter() - start
                found.setdefault((name, init), []).append((model.score(fresh) - truth, elapsed, bool(model.linear_)))
                print(f"{noise} {seed} {name} {init}: {found[name, init][-1]}", flush=True)
    return [
        {
            "noise": noise,
            "model": name,
            "init": init,
            "differences": [difference for difference, _, _ in results],
            "worst": max((difference for difference, _, _ in results), key=abs),
            "seconds": float(np.median([elapsed for _, elapsed, _ in results])),
            "linear_kept": sum(kept for _, _, kept in results),
        }
        for (name, init), results in found.items()
    ]


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    warnings.simplefilter("ignore")
    n_rows, seeds, max_iter = (200, range(1), {"max_iter": 1}) if options.quick else (10_000, range(5), {})
    rows = [row for noise in LIKELIHOODS for row in measure(noise, n_rows, seeds, max_iter)]
    save(options, rows, n_rows=n_rows, features=N_FEATURES, factors=N_FACTORS)


def report(results) -> str:
    """Every model of both kinds of rows."""
    rows = [
        [
            row["noise"],
            row["model"],
            row["init"] or "",
            fixed(float(np.median(row["differences"])), sign=True),
            fixed(row["worst"], sign=True),
            row["linear_kept"] if row["init"] == "auto" else "",
            fixed(row["seconds"], 1),
        ]
        for row in results["figures"]
    ]
    header = [
        "noise of the rows",
        "model",
        "`init`",
        "score − truth, median",
        "farthest",
        "linear model kept",
        "fit, s",
    ]
    return table(header, rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
