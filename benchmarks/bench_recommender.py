"""Does a network beside EASE recommend better than EASE alone, as fast as a loop by hand, in little memory?

MovieLens-100k: ratings of 4 and more, users with 5 or more, strong generalisation: a tenth of the users is tested, and
a fifth of each of their items is hidden, found again among all others. Items are those of the other users. Five
splits of the users (seeds 0 to 4); differences are paired by split. Every method has the same training users: baselines
choose their parameter on a tenth of these and are fitted again to all, as ours does by itself. Recall is over min(k,
number of hidden items). The defaults were looked at on splits 100 to 102.

Speed: 20 000 users of 5000 items, 2 % filled at random, two epochs of the network alone, beside the same network in a
loop by hand on batches by their entries, and on dense batches. Memory: 100 000 users of 20 000 items with 10 million
entries, one epoch and EASE; the peak of a fresh process, the matrix included.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize
from torch import nn

from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    figures_table,
    fixed,
    ratio,
    save,
    seconds,
    stored_figures,
    table,
    use_threads,
)
from sk_autoenc import AutoencoderRecommender
from sk_autoenc.metrics import fold_in_split, ndcg_at_k, recall_at_k

ROOT = Path(__file__).parent.parent
OURS, EASE, KNN = "AutoencoderRecommender", "EASE", "ItemKNN"
METRICS = {"NDCG@100": (ndcg_at_k, 100), "Recall@20": (recall_at_k, 20), "Recall@50": (recall_at_k, 50)}
EPOCHS, BATCH, WIDTH = 2, 500, 200


def gains(results: dict, rival: str, metric: str = "NDCG@100") -> np.ndarray:
    """By how much ours is above a rival, split by split."""
    found = results["figures"]["movielens"]
    return np.subtract(found[OURS][metric], found[rival][metric])


TARGETS = [
    Target("mean NDCG@100 above EASE's", lambda r: float(gains(r, EASE).mean()), "≥", 0.005),
    Target("the same, worst split", lambda r: float(gains(r, EASE).min()), "≥", -0.003),
    Target("mean NDCG@100 above ItemKNN's", lambda r: float(gains(r, KNN).mean()), "≥", 0.02),
    Target("mean Recall@20 above EASE's", lambda r: float(gains(r, EASE, "Recall@20").mean()), "≥", 0.0),
    Target("mean Recall@50 above EASE's", lambda r: float(gains(r, EASE, "Recall@50").mean()), "≥", 0.0),
    Target("seconds of a fit", lambda r: max(r["figures"]["movielens"][OURS]["seconds"]), "≤", 60),
    Target("epochs over a loop by hand on entries", lambda r: r["figures"]["speed"]["ratio_to_entries"], "≤", 1.2),
    Target("peak memory, GB", lambda r: r["figures"]["memory"]["gigabytes"], "≤", 4.0),
]


# -- MovieLens


def movielens_split(seed: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Users to fit, and users to test, by the items of the former."""
    rated = pd.read_csv(data_file("movielens_100k/ratings.csv.gz"))
    rated = rated[rated.rating >= 4]
    counts = rated.user_id.value_counts()
    users = np.random.default_rng(seed).permutation(np.sort(counts[counts >= 5].index))
    tested, fitted = np.split(users, [len(users) // 10])
    items = np.unique(rated[rated.user_id.isin(fitted)].item_id)

    def matrix(some: np.ndarray) -> sparse.csr_array:
        part = rated[rated.user_id.isin(some) & rated.item_id.isin(items)]
        cells = pd.Index(some).get_indexer(part.user_id), pd.Index(items).get_indexer(part.item_id)
        return sparse.csr_array((np.ones(len(part), dtype=np.float32), cells), shape=(len(some), len(items)))

    return matrix(fitted), matrix(tested)


def ease_scores(X: sparse.csr_array, shown: sparse.csr_array, l2: float) -> np.ndarray:
    """EASE as in its paper, by numpy."""
    P = np.linalg.inv((X.T @ X).toarray().astype(float) + l2 * np.eye(X.shape[1]))
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return shown @ B


def knn_scores(X: sparse.csr_array, shown: sparse.csr_array, k: int) -> np.ndarray:
    """Cosines between items, the k nearest neighbours of each."""
    columns = normalize(X, axis=0)
    cosines = (columns.T @ columns).toarray()
    np.fill_diagonal(cosines, 0)
    least = np.sort(cosines, axis=0)[-k]
    return shown @ np.where(cosines >= least, cosines, 0)


def svd_scores(X: sparse.csr_array, shown: sparse.csr_array, k: int) -> np.ndarray:
    """scikit-learn's TruncatedSVD, by which users' rows are projected."""
    svd = TruncatedSVD(k, random_state=0).fit(X)
    return svd.inverse_transform(svd.transform(shown))


def popularity_scores(X: sparse.csr_array, shown: sparse.csr_array, _: int) -> np.ndarray:
    """The number of users of each item."""
    return np.tile(X.sum(axis=0), (shown.shape[0], 1))


BASELINES = {
    "popularity": (popularity_scores, (0,)),
    KNN: (knn_scores, (20, 50, 100, 200)),
    "TruncatedSVD": (svd_scores, (10, 20, 30, 50, 100)),
    EASE: (ease_scores, (100, 200, 400, 800, 1600)),
}
VARIANTS = {
    OURS: {},
    "blend=1 (Mult-DAE alone)": {"blend": 1.0},
    "kind='variational'": {"kind": "variational"},
    "kind='variational', blend=1": {"kind": "variational", "blend": 1.0},
}


def chosen(scores, values: tuple, X: sparse.csr_array, seed: int):
    """The parameter with the highest NDCG on a tenth of the users to fit."""
    order = np.random.default_rng(seed).permutation(X.shape[0])
    held_out, rest = np.split(order, [len(order) // 10])
    shown, hidden = fold_in_split(X[held_out], random_state=seed)
    found = {value: ndcg_at_k(hidden, scores(X[rest], shown, value), exclude=shown).mean() for value in values}
    return max(found, key=found.__getitem__)


def measure_split(seed: int, options) -> dict:
    """Every method on one split."""
    X, tested = movielens_split(seed)
    shown, hidden = fold_in_split(tested, random_state=seed)
    figures: dict[str, dict] = {}

    def keep(name: str, scores: np.ndarray, elapsed: float, parameter=None) -> None:
        found = {m: float(f(hidden, scores, k, exclude=shown).mean()) for m, (f, k) in METRICS.items()}
        figures[name] = {**found, "seconds": elapsed, "parameter": parameter}

    for name, (scores, values) in BASELINES.items():
        best = chosen(scores, values, X, seed)
        keep(name, scores(X, shown, best), seconds(lambda f=scores, v=best: f(X, shown, v), options.clock), best)
    for name, settings in VARIANTS.items():
        model = AutoencoderRecommender(random_state=seed, device="cpu", **settings)
        if options.quick:
            model.set_params(max_iter=2)
        elapsed = seconds(lambda m=model: m.fit(X), options.clock)
        keep(name, model.score_items(shown), elapsed, [model.blend_, model.l2_, model.n_iter_])
    return figures


def measure_movielens(options) -> dict:
    """``{method: {figure: [one for each split]}}``."""
    first = 100 if options.validate else 0
    splits = [measure_split(seed, options) for seed in range(first, first + (1 if options.quick else options.splits))]
    return {name: {key: [split[name][key] for split in splits] for key in found} for name, found in splits[0].items()}


# -- speed and memory


def simulated(n_users: int, n_items: int, n_each: int) -> sparse.csr_array:
    """Random items of every user, popular ones more often."""
    rng = np.random.default_rng(0)
    items = (n_items * rng.random(n_users * n_each) ** 2).astype(np.int64)
    cells = np.repeat(np.arange(n_users), n_each), items
    X = sparse.csr_array((np.ones(len(items), dtype=np.float32), cells), shape=(n_users, n_items))
    X.data[:] = 1
    return X


class HandWritten(nn.Module):
    """Mult-DAE in plain torch."""

    def __init__(self, n_items: int):
        super().__init__()
        self.bag = nn.EmbeddingBag(n_items, WIDTH, mode="sum", include_last_offset=True)
        nn.init.normal_(self.bag.weight, std=0.05)
        self.bias, self.out = nn.Parameter(torch.zeros(WIDTH)), nn.Linear(WIDTH, n_items)


def loop(X: sparse.csr_array, *, dense: bool) -> None:
    """Epochs by hand."""
    net, order = HandWritten(X.shape[1]), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    for _ in range(EPOCHS):
        for index in np.array_split(order.permutation(X.shape[0]), -(-X.shape[0] // BATCH)):
            batch = X[index]
            if dense:
                x = torch.from_numpy(batch.toarray())
                read = nn.functional.dropout(nn.functional.normalize(x)) @ net.bag.weight
                logits = net.out(torch.tanh(read + net.bias))
                loss = -(x * logits.log_softmax(1)).sum(1).mean()
            else:
                offsets = torch.from_numpy(batch.indptr.astype(np.int64))
                columns, values = torch.from_numpy(batch.indices.astype(np.int64)), torch.from_numpy(batch.data)
                rows = torch.repeat_interleave(torch.arange(len(index)), offsets.diff())
                norms = torch.zeros(len(index)).index_add_(0, rows, values.square()).sqrt()
                read = net.bag(columns, offsets, nn.functional.dropout(values / norms[rows]))
                logits = net.out(torch.tanh(read + net.bias))
                loss = -(values * logits.log_softmax(1)[rows, columns]).sum() / len(index)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def measure_speed(options) -> dict:
    """Seconds of the network's epochs, beside two loops."""
    X = simulated(*((300, 200, 4) if options.quick else (20_000, 5_000, 100)))
    model = AutoencoderRecommender(
        WIDTH, baseline=None, batch_size=BATCH, max_iter=EPOCHS, early_stopping=False, device="cpu", random_state=0
    )
    contenders = {
        "ours": lambda: model.fit(X),
        "entries": lambda: loop(X, dense=False),
        "dense": lambda: loop(X, dense=True),
    }
    times = alternate(contenders, 1 if options.quick else 3, options.clock)
    return {
        **{name: float(np.median(found)) for name, found in times.items()},
        "ratio_to_entries": ratio(times, "ours", "entries"),
        "ratio_to_dense": ratio(times, "ours", "dense"),
    }


def measure_memory(options) -> dict:
    """In this process, which should be fresh: the peak of resident memory, and seconds."""
    use_threads(options.threads)
    X = simulated(*((300, 200, 4) if options.quick else (100_000, 20_000, 101)))
    model = AutoencoderRecommender(max_iter=1, device="cpu", random_state=0)
    elapsed = seconds(lambda: model.fit(X), options.clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"gigabytes": peak / 1e9, "seconds": elapsed, "entries": int(X.nnz)}


def memory_of_a_process(options) -> dict:
    """The same of a process of its own."""
    call = [sys.executable, "-m", "benchmarks.bench_recommender", "--in-process", "--threads", str(options.threads)]
    call += ["--clock", options.clock, *(["--quick"] if options.quick else [])]
    output = subprocess.run(call, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return json.loads(output.splitlines()[-1])


PARTS = {"speed": measure_speed, "memory": memory_of_a_process, "movielens": measure_movielens}


def run(options) -> None:
    """Measure the parts that are asked for, beside stored figures of the others, and store."""
    use_threads(options.threads)
    if options.in_process:
        print(json.dumps(measure_memory(options)))
        return
    figures = {part: PARTS[part](options) for part in options.parts}
    save(options, {**stored_figures("recommender", options), **figures})


def report(results) -> str:
    """Means over splits with their differences from EASE, and the two simulations."""
    figures, texts = results["figures"], []
    if found := figures.get("movielens"):
        n_splits = len(found[EASE]["seconds"])
        means = {
            name: {**{m: float(np.mean(f[m])) for m in METRICS}, "seconds": float(np.mean(f["seconds"]))}
            for name, f in found.items()
        }
        texts += [
            f"MovieLens-100k, means of {n_splits} splits:",
            figures_table("method", means, {**{m: (m, 4) for m in METRICS}, "seconds": ("seconds", 1)}),
            "NDCG@100 above EASE's, split by split, and what ours used:",
            table(
                ["split", *(name for name in found if name != EASE), "blend_, l2_, epochs"],
                [
                    [
                        str(i),
                        *(fixed(gap(found, name, i), 4, sign=True) for name in found if name != EASE),
                        ", ".join(f"{value:g}" for value in found[OURS]["parameter"][i]),
                    ]
                    for i in range(n_splits)
                ],
            ),
        ]
    if speed := figures.get("speed"):
        texts.append(
            table(
                [f"{EPOCHS} epochs", "seconds"],
                [[name, fixed(speed[name], 2)] for name in ("ours", "entries", "dense")],
            )
        )
    if memory := figures.get("memory"):
        texts.append(
            f"100 000 users of 20 000 items, {memory['entries'] / 1e6:.1f} million entries: "
            f"{memory['gigabytes']:.2f} GB at the peak, {memory['seconds']:.0f} s."
        )
    return "\n\n".join(texts)


def gap(found: dict, name: str, split: int) -> float:
    """NDCG@100 above EASE's on one split."""
    return found[name]["NDCG@100"][split] - found[EASE]["NDCG@100"][split]


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts to measure")
    parser.add_argument("--splits", type=int, default=5, help="splits of MovieLens")
    parser.add_argument("--validate", action="store_true", help="splits from 100 on, not stored")
    parser.add_argument("--in-process", action="store_true", help="measure memory here, and print JSON")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
