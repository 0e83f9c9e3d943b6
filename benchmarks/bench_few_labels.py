"""What do rows without labels add where few have one: on MNIST, on small tables, and by pretraining?

``mnist``: 100 and 1000 labels, the same number of each class, among 12 000 training images without labels, drawn anew
for each draw; error on the 10 000 test images. ``tables``: 10 and 50 labels of standardised tables, one of each class
at least; accuracy on the rows without labels of the test half, mean over draws, and ranks. ``fashion``: Fashion-MNIST,
6000 images of which 1, 10 or 100 % have labels, with and without pretraining, no baseline as the result. ``speed``:
seconds of a step beside loops that are written by hand. Images of ours are moved, turned and scaled in training;
nobody else's are. Settings were chosen on training images 50 000 to 55 000. Figures are kept one by one, so a run with
more draws goes on where the last one ended; the tables say how many there are.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from torch import nn

from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    fixed,
    keep_part,
    load_images,
    ratio,
    read_parts,
    results_file,
    save,
    table,
    use_threads,
)
from sk_autoenc import AAEClassifier, AutoencoderTransformer, PretrainedClassifier, VAEClassifier

OURS, M2, BASE = "PretrainedClassifier", "VAEClassifier", "its baseline"
LOGISTIC, SPREADING = "logistic regression", "label spreading, PCA codes"
N_IMAGES, N_FASHION = 12_000, 6000
LABELS = {"mnist": (100, 1000), "tables": (10, 50), "fashion": (60, 600, 6000)}
TABLES = ("digits", "breast_cancer", "wine", "penguins", "adult")


def mean_of(part: str, data: str, labels: int, model: str, key: str = "error") -> Callable:
    """Mean over draws of a figure, from the results."""
    return lambda results: float(np.mean([run[key] for run in results["figures"][part][data][str(labels)][model]]))


def below_all(labels: int) -> Callable:
    """Lowest error of another model less ours."""

    def difference(results):
        models = results["figures"]["mnist"]["mnist"][str(labels)]
        others = [np.mean([run["error"] for run in runs]) for name, runs in models.items() if name != OURS]
        return float(min(others) - np.mean([run["error"] for run in models[OURS]]))

    return difference


def mean_ranks(results: dict) -> dict[str, float]:
    """Mean rank of every model over tables and numbers of labels, by mean accuracy; 1 is best."""
    ranks: dict[str, list[float]] = {}
    for by_labels in results["figures"]["tables"].values():
        for models in by_labels.values():
            if models.keys() != contenders("tables", 0, True).keys():
                continue  # a run that was interrupted
            found = {name: np.mean([run["accuracy"] for run in runs]) for name, runs in models.items()}
            for name, value in found.items():
                above = sum(other > value for other in found.values())
                ties = sum(other == value for other in found.values())
                ranks.setdefault(name, []).append(above + (ties + 1) / 2)
    return {name: float(np.mean(each)) for name, each in ranks.items()}


def rank_gain(results: dict) -> float:
    """Best mean rank of another model less ours."""
    ranks = mean_ranks(results)
    return min(rank for name, rank in ranks.items() if name != OURS) - ranks[OURS]


def least_z(results: dict) -> float:
    """Accuracy less that of the better of logistic regression and label spreading, in standard errors; the least."""
    found = []
    for by_labels in results["figures"]["tables"].values():
        for models in by_labels.values():
            if not {OURS, LOGISTIC, SPREADING} <= models.keys():
                continue  # a run that was interrupted
            ours, *others = (np.array([run["accuracy"] for run in models[n]]) for n in (OURS, LOGISTIC, SPREADING))
            rival = max(others, key=np.mean)
            error = max(np.std(ours - rival, ddof=1) / len(ours) ** 0.5 if len(ours) > 1 else 0.0, 0.01)
            found.append(float((ours - rival).mean() / error))
    return min(found)


def pretraining_gain(labels: int) -> Callable:
    """Accuracy with pretraining less that without."""

    def gain(results):
        with_it, without = (
            mean_of("fashion", "fashion_mnist", labels, name, "accuracy")(results)
            for name in ("pretrained", "not pretrained")
        )
        return with_it - without

    return gain


TARGETS = [
    Target("MNIST, 100 labels: error in %", mean_of("mnist", "mnist", 100, OURS), "≤", 6.0),
    Target("MNIST, 1000 labels: error in %", mean_of("mnist", "mnist", 1000, OURS), "≤", 3.0),
    *(Target(f"MNIST, {n} labels: below the best of scikit-learn", below_all(n), ">", 0.0) for n in LABELS["mnist"]),
    Target("tables: mean rank, gain over the best other", rank_gain, "≥", 0.0),
    Target("tables: least gain over logistic and spreading, standard errors", least_z, "≥", -2.0),
    Target("Fashion-MNIST, 1 % of the labels: gain by pretraining", pretraining_gain(60), ">", 0.0),
    Target("Fashion-MNIST, 10 % of the labels: gain by pretraining", pretraining_gain(600), ">", 0.0),
    Target("Fashion-MNIST, all labels: gain by pretraining", pretraining_gain(6000), "≥", -0.01),
    *(
        Target(
            f"{name}: time of a step in units of a loop",
            lambda results, name=name: results["figures"]["speed"][name],
            "≤",
            1.2,
        )
        for name in (OURS, M2, "AAEClassifier")
    ),
]


class Spreading(BaseEstimator):
    """scikit-learn's label spreading with 7 neighbours, on PCA codes."""

    def fit(self, X, y):
        self.pca = PCA(min(30, *X.shape), random_state=0).fit(X)
        self.model = LabelSpreading(kernel="knn", n_neighbors=7).fit(self.pca.transform(X), y)
        return self

    def predict(self, X):
        return self.model.predict(self.pca.transform(X))


class OfLabelled(BaseEstimator):
    """A classifier of the rows that have labels."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.fitted = clone(self.model).fit(X[y != -1], y[y != -1])
        return self

    def predict(self, X):
        return self.fitted.predict(X)


def encoder(is_image: bool, quick: bool) -> AutoencoderTransformer:
    """The autoencoder that is pretrained."""
    sizes = (
        {"n_components": 32, "architecture": (400, 256)} if is_image else {"n_components": 16, "architecture": (64,)}
    )
    options = {"max_iter": 11, "learning_rate": 0.002, "batch_size": 128} if is_image else {"max_iter": 30}
    if quick:
        options["max_iter"] = 1
    return AutoencoderTransformer(
        **sizes, **options, noise=0.3, noise_kind="masking", init="random", early_stopping=False, device="cpu"
    )


def contenders(part: str, seed: int, quick: bool) -> dict[str, Callable]:
    """What is compared."""
    ours = partial(
        PretrainedClassifier,
        encoder(part != "tables", quick),
        random_state=seed,
        device="cpu",
        **({"max_iter": 1} if quick else {}),
    )
    if part == "fashion":
        return {
            "pretrained": partial(ours, early_stopping=False, augment="shift"),
            "not pretrained": partial(ours, early_stopping=False, augment="shift", pretraining=False),
        }
    others = {
        LOGISTIC: lambda: OfLabelled(LogisticRegression(max_iter=1000)),
        "SVC": lambda: OfLabelled(SVC()),
        "self-training, SVC of PCA codes": lambda: make_pipeline(
            PCA(0.95, random_state=0), SelfTrainingClassifier(SVC(probability=True, random_state=0), max_iter=5)
        ),
        SPREADING: Spreading,
    }
    if part == "tables":
        return {
            OURS: partial(ours, max_iter=1 if quick else 60),
            **others,
            "boosting": lambda: OfLabelled(HistGradientBoostingClassifier(random_state=0, min_samples_leaf=2)),
        }
    return {OURS: partial(ours, augment="affine"), BASE: partial(ours, augment=None), **others}


def load_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numeric columns and classes of a table; 3000 rows at most."""
    import pandas as pd

    makers = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}
    if name in makers:
        return makers[name](return_X_y=True)
    frame = pd.read_csv(data_file(f"tables/{name}.csv.gz"))
    frame = frame.drop(columns="split", errors="ignore").dropna()
    target = {"penguins": "species", "adult": "income"}[name]
    y = pd.factorize(frame[target])[0]
    X = pd.get_dummies(frame.drop(columns=target), dtype=float).to_numpy()
    chosen = np.random.default_rng(0).permutation(len(X))[:3000]
    return X[chosen], y[chosen]


def draw_labels(y: np.ndarray, n: int, rng: np.random.Generator, *, balanced: bool) -> np.ndarray:
    """``y`` with -1 for all but n rows: as many of each class, or one of each and others at random."""
    order = rng.permutation(len(y))
    classes = np.unique(y)
    per_class = n // len(classes) if balanced else 1
    chosen = np.concatenate([order[y[order] == c][:per_class] for c in classes])
    rest = order[~np.isin(order, chosen)]
    chosen = np.concatenate([chosen, rest[: max(0, n - len(chosen))]])
    return np.where(np.isin(np.arange(len(y)), chosen), y, -1)


def rows_of(part: str, data: str, labels: int, seed: int, quick: bool):
    """Training rows, their few labels, test rows and their labels."""
    rng = np.random.default_rng(seed)
    if part == "tables":
        X, y = load_table(data)
        order = rng.permutation(len(X))
        train, test = order[: len(X) // 2], order[len(X) // 2 :]
        scaler = StandardScaler().fit(X[train])
        return (
            scaler.transform(X[train]),
            draw_labels(y[train], labels, rng, balanced=False),
            scaler.transform(X[test]),
            y[test],
        )
    X, y, test, y_test = load_images(data)
    n = 300 if quick else N_IMAGES if part == "mnist" else N_FASHION
    chosen = rng.permutation(len(X))[:n]
    X, y = X[chosen], y[chosen].astype(int)
    few = y if labels >= n else draw_labels(y, labels, rng, balanced=True)
    return (
        X.reshape(-1, 28, 28),
        few,
        test.reshape(-1, 28, 28)[: 100 if quick else None],
        y_test[: 100 if quick else None],
    )


def measure(part: str, data: str, labels: int, model: str, seed: int, quick: bool) -> dict:
    """Fit one model to one draw of labels."""
    X, few, test, y_test = rows_of(part, data, labels, seed, quick)
    estimator = contenders(part, seed, quick)[model]()
    if not isinstance(estimator, PretrainedClassifier):
        X, test = X.reshape(len(X), -1), test.reshape(len(test), -1)
    if model.startswith("self-training") and part == "mnist":  # its support vectors grow with the rows
        kept = np.union1d(np.flatnonzero(few != -1), np.arange(3000))
        kept = kept[kept < len(X)]
        X, few = X[kept], few[kept]
    if model == BASE:  # the graph or the linear model alone: nothing is trained
        estimator.set_params(max_iter=1, learning_rate=1e-12, pretraining=False)
    start = time.process_time()
    accuracy = float((estimator.fit(X, few).predict(test) == y_test).mean())
    found = {"accuracy": accuracy, "error": 100 * (1 - accuracy), "seconds": time.process_time() - start}
    if hasattr(estimator, "is_baseline_"):
        found |= {"kept_baseline": estimator.is_baseline_, "share": estimator.baseline_share_}
    return {"part": part, "data": data, "labels": labels, "model": model, "seed": seed, **found}


def calls(options) -> list[tuple]:
    """What is measured, draw after draw, ours first."""
    sets = {
        "mnist": ("mnist",),
        "tables": TABLES[:1] if options.quick else options.tables,
        "fashion": ("fashion_mnist",),
    }
    return [
        (part, data, labels, model, seed)
        for part in options.parts
        if part != "speed"
        for seed in range(1 if options.quick else options.draws)
        for labels in (LABELS[part][:1] if options.quick else LABELS[part])
        for data in sets[part]
        for model in contenders(part, 0, True)
    ]


# -- speed


def speed(options) -> dict[str, float]:
    """Seconds of fits in units of loops on the same networks and batches."""
    rng = np.random.default_rng(0)
    n, d, k = (256, 32, 4) if options.quick else (4096, 64, 4)
    X = rng.standard_normal((n, d)).astype(np.float32)
    y = rng.integers(0, k, n)
    epochs = 1
    shared = {"batch_size": 128, "max_iter": epochs, "early_stopping": False, "random_state": 0, "device": "cpu"}
    net = AutoencoderTransformer(16, architecture=(256, 128), init="random", early_stopping=False, device="cpu")
    models = {
        OURS: PretrainedClassifier(net, pretraining=False, layer_decay=1.0, baseline="linear", **shared),
        M2: VAEClassifier(8, architecture=(256, 128), baseline="linear", **shared),
        "AAEClassifier": AAEClassifier(8, architecture=(256, 128), baseline="linear", **shared),
    }
    loops = {OURS: fine_tuning_loop, M2: variational_loop, "AAEClassifier": adversarial_loop}
    found = {}
    for name, model in models.items():
        module = model.fit(X, y).net_.module_
        rows, targets = torch.from_numpy(X), F.one_hot(torch.from_numpy(y), k).float()

        # The net alone, without the baseline that fit makes before it: a hand-written loop has none.
        ours = partial(model.net_.train, model._data.dataset(X, "cpu", y), epochs=epochs)
        contenders = {"ours": ours, "loop": partial(loops[name], module, rows, targets, epochs)}
        found[name] = ratio(alternate(contenders, 3 if options.quick else 5, options.clock), "ours", "loop")
    return found


def _batches(rows, targets, generator):
    for chosen in torch.randperm(len(rows), generator=generator).split(128):
        yield rows[chosen], targets[chosen]


def fine_tuning_loop(module, rows, targets, epochs) -> None:
    """Cross-entropy of an encoder and a linear layer, with the plain pass by which own classes are found."""
    module.train()
    optimizer = torch.optim.AdamW([*module.autoencoder.parameters(), *module.output.parameters()], 1e-5, fused=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for x, y in _batches(rows, targets, generator):
            with torch.no_grad():
                confident = module.output(module.autoencoder.encode(x)).softmax(-1).max(-1)
            raw = module.output(module.autoencoder.encode(x))
            weights = torch.where(confident.values > 2, 0.5, 1.0)
            loss = -(weights * (y * raw.log_softmax(-1)).sum(-1)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


def variational_loop(module, rows, targets, epochs) -> None:
    """The bound for every class, by the layers of the module."""
    module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], 1e-5, fused=True)
    generator, k = torch.Generator().manual_seed(0), targets.shape[1]
    for _ in range(epochs):
        for x, y in _batches(rows, targets, generator):
            every = torch.eye(k)
            hidden = F.silu(module.encoder(x) + module.of_class(every)[:, None])
            mean, log_scale = module.posterior_layer(hidden).chunk(2, -1)
            log_scale = F.hardtanh(log_scale, -8.0, 3.0)
            code = mean + log_scale.exp() * torch.randn(mean.shape, generator=generator)
            read = torch.cat([code, every[:, None].expand(-1, len(x), -1)], dim=-1)
            found = module.likelihood.log_prob(module.head(module.decoder(read)), x)
            kl = 0.5 * (mean * mean + ((2 * log_scale).expm1() - 2 * log_scale)).sum(-1)
            log_class = module.classifier(x).log_softmax(-1)
            losses = (kl - found).T
            summed = (log_class.exp() * (losses + log_class)).sum(-1)
            bound = torch.where(y.sum(-1) > 0, (y * losses).sum(-1), summed)
            loss = bound.mean() - 6.4 * (y * log_class).sum(-1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


def adversarial_loop(module, rows, targets, epochs) -> None:
    """The four turns of a round, each with an optimizer of its own."""
    module.train()
    parts = {
        "autoencoder": [module.encoder, module.decoder, module.head],
        "critics": [module.class_critic, module.code_critic],
        "encoder": [module.encoder],
        "classifier": [module.encoder],
    }
    optimizers = {
        name: torch.optim.AdamW(nn.ModuleList(owners).parameters(), 1e-5, fused=True) for name, owners in parts.items()
    }
    generator, k = torch.Generator().manual_seed(0), targets.shape[1]

    def descend(name, loss):
        optimizer = optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()

    def both(x):
        return module.encoder(x).split([k, 8], dim=-1)

    for _ in range(epochs):
        for x, y in _batches(rows, targets, generator):
            odds, code = both(x)
            read = torch.cat([code, odds.softmax(-1)], dim=-1)
            descend("autoencoder", -module.likelihood.log_prob(module.head(module.decoder(read)), x).mean())
            with torch.no_grad():
                odds, code = both(x)
                p = odds.softmax(-1)
            drawn = F.one_hot(torch.multinomial(torch.ones(k), len(x), True, generator=generator), k).float()
            normal = torch.randn(code.shape, generator=generator)
            real = module.class_critic(drawn), module.code_critic(torch.cat([drawn, normal], -1))
            made = module.class_critic(p), module.code_critic(torch.cat([p, code], -1))
            descend("critics", sum((F.softplus(-r) + F.softplus(m)).mean() for r, m in zip(real, made, strict=True)))
            odds, code = both(x)
            p = odds.softmax(-1)
            fooled = module.class_critic(p), module.code_critic(torch.cat([p, code], -1))
            descend("encoder", sum(F.softplus(-m).mean() for m in fooled))
            descend("classifier", -(y * both(x)[0].log_softmax(-1)).sum(-1).mean())


def run(options) -> None:
    """Measure what is not kept yet, and store."""
    use_threads(options.threads)
    path = results_file("few_labels", options.quick, "parts.jsonl")
    parts = [] if options.quick else read_parts(path)
    done = {tuple(part.get(key) for key in ("part", "data", "labels", "model", "seed")) for part in parts}
    for call in [call for call in calls(options) if call not in done]:
        found = measure(*call, options.quick)
        print("  " + ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in found.values()), flush=True)
        parts.append(found)
        if not options.quick:
            keep_part(path, found)
    if "speed" in options.parts:
        parts.append({"part": "speed", **speed(options)})
        if not options.quick:
            keep_part(path, parts[-1])
    figures: dict = {}
    for found in parts:
        if found["part"] == "speed":
            figures["speed"] = {name: value for name, value in found.items() if name != "part"}
            continue
        place = figures.setdefault(found["part"], {}).setdefault(found["data"], {})
        place.setdefault(str(found["labels"]), {}).setdefault(found["model"], []).append(found)
    save(options, figures)


def report(results) -> str:
    """A table for each part."""
    figures, out = results["figures"], []
    for part, key, digits in (("mnist", "error", 2), ("tables", "accuracy", 3), ("fashion", "accuracy", 3)):
        rows = [
            [
                data,
                labels,
                model,
                fixed(float(np.mean([run[key] for run in runs])), digits),
                fixed(float(np.std([run[key] for run in runs])), digits),
                len(runs),
                fixed(float(np.mean([run["seconds"] for run in runs])), 1),
                fixed(float(np.mean([run["kept_baseline"] for run in runs])), 2) if "kept_baseline" in runs[0] else "–",
            ]
            for data, by_labels in figures.get(part, {}).items()
            for labels, models in by_labels.items()
            for model, runs in models.items()
        ]
        header = ["data", "labels", "model", key, "standard deviation", "draws", "processor seconds", "baseline kept"]
        if rows:
            out.append(f"**{part}**\n\n{table(header, rows)}")
    if "tables" in figures:
        ranks = sorted(mean_ranks(results).items(), key=lambda item: item[1])
        out.append("**Mean ranks on tables**\n\n" + table(["model", "rank"], [[n, fixed(r, 2)] for n, r in ranks]))
    if "speed" in figures:
        rows = [[name, fixed(value, 2)] for name, value in figures["speed"].items()]
        out.append("**Time of a step, in units of a loop**\n\n" + table(["model", "ratio"], rows))
    return "\n\n".join(out)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    every = ["tables", "mnist", "fashion", "speed"]
    parser.add_argument("--parts", nargs="+", choices=every, default=every, help="what is measured")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="which tables")
    parser.add_argument("--draws", type=int, default=3, help="draws of labels (default 3)")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
