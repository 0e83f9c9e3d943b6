"""Does a GAN with one default recipe find every part of two-dimensional toys, and how near do its samples come?

A ring of 8 and a grid of 25 normal distributions, a Swiss roll and two moons; 5000 training rows. ``GANSampler`` with
its defaults, with ``init="mixture"``, as a plain GAN (non-saturating, no penalty) and as WGAN-GP; beside them
``GaussianMixture`` with the number of components of lowest BIC and ``KernelDensity`` with the bandwidth of highest
held-out likelihood. A mode counts with 20 of 5000 samples within 3 standard deviations of its centre. 2500 samples
are held against 2500 fresh rows: by the energy distance and its permutation test; with p of .05 or more samples are
inside the band of fresh rows. Rows of seed s are those of generator s; moons are drawn from a pool of 50 000, as
scikit-learn spaces them evenly. The recipe was chosen on seeds from 100 on (``--validate``). Figures are kept one by
one, so a run with more seeds goes on where the last one ended; the tables say how many there are, and one or two say
little.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.datasets import make_moons, make_swiss_roll
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from benchmarks.common import (
    Target,
    arguments,
    figures_table,
    in_processes,
    keep_part,
    read_parts,
    results_file,
    save,
    seconds,
    use_threads,
)
from sk_autoenc import GANSampler
from sk_autoenc.metrics import energy_distance

N_ROWS, N_COMPARED, N_COUNTED, LEAST = 5000, 2500, 5000, 20
OURS, MIXTURE = "GANSampler", 'GANSampler(init="mixture")'

RING = np.column_stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)])
GRID = np.array([[x, y] for x in (-4.0, -2.0, 0.0, 2.0, 4.0) for y in (-4.0, -2.0, 0.0, 2.0, 4.0)])

#: Centres and standard deviation of sets with modes.
MODES = {"ring, sd 0.02": (RING, 0.02), "ring, sd 0.1": (RING, 0.1), "grid": (GRID, 0.05)}
SETS = [*MODES, "Swiss roll", "two moons"]


def of(data: str, model: str, key: str, summary: Callable) -> Callable:
    """A figure over seeds, from the results."""
    return lambda results: float(summary([run[key] for run in results["figures"][data][model]]))


def share_inside(p_values: list[float]) -> float:
    """Share of the seeds in which samples cannot be told from fresh rows."""
    return float(np.mean(np.array(p_values) >= 0.05))


TARGETS = [
    *(Target(f"{data}: fewest modes of any seed", of(data, OURS, "modes", min), "≥", 8) for data in list(MODES)[:2]),
    *(Target(f"{data}: least share within 3 sd", of(data, OURS, "share", min), "≥", 0.75) for data in list(MODES)[:2]),
    *(
        Target(f"{data}: share of seeds inside the permutation band", of(data, OURS, "p_value", share_inside), "≥", 0.8)
        for data in SETS
        if data != "grid"
    ),
    Target("grid from a mixture: fewest modes of any seed", of("grid", MIXTURE, "modes", min), "≥", 25),
    Target("grid from a mixture: least share within 3 sd", of("grid", MIXTURE, "share", min), "≥", 0.95),
    Target("grid: fewest modes of any seed", of("grid", OURS, "modes", min), "≥", 20),
    Target("grid: longest fit, seconds", of("grid", OURS, "fit_seconds", max), "≤", 60),
]


def draw_rows(data: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a set."""
    if data in MODES:
        centers, sd = MODES[data]
        return centers[rng.integers(len(centers), size=n)] + sd * rng.standard_normal((n, 2))
    seed = int(rng.integers(2**31))
    if data == "Swiss roll":
        return make_swiss_roll(n, noise=0.5, random_state=seed)[0][:, [0, 2]]
    pool = make_moons(50_000, noise=0.05, random_state=seed)[0]
    return pool[rng.choice(len(pool), n, replace=False)]


class MixtureByBIC:
    """scikit-learn's mixture with the number of components of lowest BIC."""

    def __init__(self, seed: int, sizes: tuple[int, ...]):
        self.seed, self.sizes = seed, sizes

    def fit(self, X):
        models = [GaussianMixture(size, n_init=2, random_state=self.seed).fit(X) for size in self.sizes]
        self.model = min(models, key=lambda model: model.bic(X))
        return self

    def sample(self, n, random_state):
        rows = self.model.set_params(random_state=random_state).sample(n)[0]
        return np.random.default_rng(random_state).permutation(rows)  # they come component by component


class DensityByLikelihood:
    """scikit-learn's kernel density with the bandwidth of highest held-out likelihood, in standardised columns."""

    def fit(self, X):
        self.scale = X.std(axis=0)
        grid = {"bandwidth": [0.01, 0.02, 0.04, 0.08, 0.16]}
        self.model = GridSearchCV(KernelDensity(), grid, cv=3).fit(X / self.scale).best_estimator_
        return self

    def sample(self, n, random_state):
        return self.model.sample(n, random_state=random_state) * self.scale


def contenders(seed: int, quick: bool) -> dict[str, Callable]:
    """What is compared."""
    gan = partial(GANSampler, random_state=seed, device="cpu", **({"max_iter": 1} if quick else {}))
    return {
        OURS: gan,
        MIXTURE: partial(gan, init="mixture"),
        "plain GAN": partial(gan, loss="non_saturating", gradient_penalty=None),
        "WGAN-GP": partial(gan, loss="wasserstein"),
        "GaussianMixture": partial(MixtureByBIC, seed, (1, 2) if quick else (1, 2, 4, 6, 8, 10, 12, 16, 20, 25, 32)),
        "KernelDensity": DensityByLikelihood,
    }


def modes_of(data: str, samples: np.ndarray) -> dict[str, float]:
    """Number of modes that are found, share of the samples within 3 standard deviations, samples of the rarest mode."""
    if data not in MODES:
        return {}
    centers, sd = MODES[data]
    distances = np.linalg.norm(samples[:, None] - centers, axis=2)
    nearest, inside = distances.argmin(axis=1), distances.min(axis=1) <= 3 * sd
    found = np.bincount(nearest[inside], minlength=len(centers))
    return {"modes": int((found >= LEAST).sum()), "share": float(inside.mean()), "rarest": int(found.min())}


def measure(data: str, name: str, seed: int, options: dict) -> dict:
    """Figures of one contender on one set and seed."""
    use_threads(options["threads"])
    rng = np.random.default_rng(seed)
    n_rows, n_compared = (200, 100) if options["quick"] else (N_ROWS, N_COMPARED)
    rows, fresh = draw_rows(data, n_rows, rng), draw_rows(data, n_compared, rng)
    model = contenders(seed, options["quick"])[name]()
    fit_seconds = seconds(lambda: model.fit(rows), options["clock"])
    samples, scale = model.sample(N_COUNTED, random_state=seed), fresh.std(axis=0)
    found = energy_distance(
        fresh / scale, samples[:n_compared] / scale, n_permutations=options["permutations"], random_state=0
    )
    figures = {
        **modes_of(data, samples),
        "energy": found.statistic,
        "p_value": found.p_value,
        "fit_seconds": fit_seconds,
    }
    if isinstance(model, GANSampler):
        figures |= {"is_mixture": model.is_mixture_, "n_epochs": model.n_iter_}
    return {"data": data, "model": name, "seed": seed, **figures}


def calls(options) -> list[tuple]:
    """What is measured, seed after seed, ours first."""
    first = 100 if options.validate else 0
    chosen = {"threads": options.threads, "quick": options.quick, "clock": options.clock}
    chosen["permutations"] = 3 if options.quick else options.permutations
    return [
        (data, name, seed, chosen)
        for seed in range(first, first + (1 if options.quick else options.seeds))
        for name in contenders(0, True)
        for data in options.data
        if name in (OURS, MIXTURE) or seed < first + options.baseline_seeds
    ]


def run(options) -> None:
    """Measure what is not kept yet, and store."""
    path = results_file("gan_toys", options.quick, "parts.jsonl")
    keeps = not (options.validate or options.quick)
    parts = read_parts(path) if keeps else []
    done = {(part["data"], part["model"], part["seed"]) for part in parts}
    missing = [] if options.stored else [call for call in calls(options) if call[:3] not in done]
    for found in in_processes(options.jobs, measure, missing):
        shown = ", ".join(f"{key} {value:.3g}" for key, value in found.items() if isinstance(value, int | float))
        print(f"  {found['data']}, {found['model']}: {shown}", flush=True)
        parts.append(found)
        if keeps:
            keep_part(path, found)
    figures = {
        data: {name: found for name in contenders(0, True) if (found := _of(parts, data, name))} for data in SETS
    }
    save(options, {data: models for data, models in figures.items() if models}, torch=torch.__version__)


def _of(parts: list[dict], data: str, name: str) -> list[dict]:
    """Figures of one contender on one set, by seed."""
    found = [part for part in parts if (part["data"], part["model"]) == (data, name)]
    return sorted(found, key=lambda part: part["seed"])


def summarized(runs: list[dict]) -> dict:
    """Figures over seeds."""
    summary = {"seeds": len(runs), "inside": share_inside([run["p_value"] for run in runs])}
    for key in ("energy", "fit_seconds"):
        summary[key] = float(np.median([run[key] for run in runs]))
    if "modes" in runs[0]:
        summary |= {"modes": min(run["modes"] for run in runs), "share": min(run["share"] for run in runs)}
    return summary


def report(results) -> str:
    """A table for each set."""
    columns = {
        "seeds": ("seeds", 0),
        "fewest modes": ("modes", 0),
        "least share within 3 sd": ("share", 3),
        "median energy distance": ("energy", 4),
        "seeds inside": ("inside", 2),
        "median fit, s": ("fit_seconds", 1),
    }
    return "\n\n".join(
        figures_table(data, {name: summarized(runs) for name, runs in models.items() if runs}, columns)
        for data, models in results["figures"].items()
    )


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--data", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=10, help="seeds of ours (default 10)")
    parser.add_argument("--baseline-seeds", type=int, default=3, help="seeds of the baselines (default 3)")
    parser.add_argument("--validate", action="store_true", help="seeds from 100 on, to choose a recipe; not stored")
    parser.add_argument("--permutations", type=int, default=200, help="permutations of a test (default 200)")
    parser.add_argument("--stored", action="store_true", help="measure nothing more, and store what was kept")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
