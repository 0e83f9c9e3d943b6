"""Series: accuracy of a linear classifier on codes of UCR sets, and anomalies among heart beats (ECG5000).

UCR and ECG5000: codes are learned on the training series without their classes, logistic regression on the standardised
codes, accuracy on the test series; ours with 5 seeds; with 4, 8 and 16 codes. Beside them PCA with as many components,
the raw values, and MiniRocket (if aeon is installed).

ECG5000: fitted on the 292 normal training beats, AUROC of the squared reconstruction error on the 4500 test beats.
Beside them PCA(2) and nearest neighbours.

Speed: a GRU autoencoder on series of 140 steps, batch 128, against a hand-written loop with the same layers and fused
Adam; whole fits divided by their steps. Series of 20 to 200 steps against as many of 110, which are as many steps in
all: training steps alone, and whole fits of a few epochs, whose final pass over all rows runs to the longest series.

Settings are the library's defaults but for those named in ``models``, which were looked at on held-out *training*
series alone (``--validate``: five folds, ``--repeats`` times, or one split of the heart beats).
"""

import importlib.metadata
import warnings

import numpy as np
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    fixed,
    installed,
    machine,
    ratio,
    save,
    stored_figures,
    table,
    use_threads,
)
from sk_autoenc import AutoencoderTransformer, Convolutional, Recurrent
from sk_autoenc.data.dataset import Batch

AEON = importlib.metadata.version("aeon") if installed("aeon") else None

SETS = (
    "ArrowHead",
    "BasicMotions",
    "FaceFour",
    "GunPoint",
    "ItalyPowerDemand",
    "Lightning7",
    "SyntheticControl",
    "ECG5000",
)
PARTS = ["ucr", "ecg5000", "speed"]
N_COMPONENTS, SEEDS = [4, 8, 16], 5
WARPED = "ours, convolutional, warped"
TIE = 1e-9  # a mean of equal numbers is off by its rounding


def share_above_pca(n_components: int):
    """On which share of the sets the warped network's codes are above PCA's, from the results."""

    def share(results) -> float:
        codes = f"{n_components} codes"
        return results["figures"]["above_pca"][codes][WARPED] / len(results["figures"]["ucr"][codes])

    return share


def beats_gain(results) -> float:
    """Mean AUROC of the recurrent network minus the best rival's."""
    found = results["figures"]["ecg5000"]
    rivals = max(found[name][0] for name in ("PCA(2)", "nearest neighbours"))
    return float(np.mean(found["ours, recurrent"])) - rivals


def of_speed(figure: str):
    """A ratio of times, from the results."""
    return lambda results: results["figures"]["speed"][figure]


def on(part: str) -> tuple[str, ...]:
    """Where the results say on what a part was measured."""
    return ("figures", "machines", part)


TARGETS = [
    *(
        Target(f"series: share of 8 sets with {k} codes above PCA's", share_above_pca(k), ">", 0.5, "", on("ucr"))
        for k in reversed(N_COMPONENTS)
    ),
    Target("series: ECG5000, normal beats, AUROC minus the best rival's", beats_gain, ">", 0, "", on("ecg5000")),
    Target("series: time per step / hand-written loop", of_speed("ours / loop"), "≤", 1.15, "", on("speed")),
    Target(
        "series: a batch of 20 to 200 steps / 110 steps",
        of_speed("unequal / equal, batches alone"),
        *("≤", 1.3, "", on("speed")),
    ),
]


def models(n_components: int, shape: tuple[int, int], seed: int) -> dict:
    """What makes codes, by name; for series ``(n, channels, time points)``."""
    shared = {"device": "cpu", "random_state": seed}
    stages = Convolutional((8, 16, 32), kernel_size=5, hidden_layer_sizes=(64,), input_shape=shape)
    no_dense = Convolutional((16, 32), kernel_size=7, input_shape=shape)
    random = {"init": "random", "early_stopping": False}
    from_pca = {"init": "pca", "early_stopping": False}
    return {
        "ours, MLP": AutoencoderTransformer(n_components, **shared),
        "ours, convolutional": AutoencoderTransformer(n_components, architecture=stages, **shared),
        "ours, convolutional, denoising": AutoencoderTransformer(
            n_components, architecture=stages, noise=0.5, **random, **shared
        ),
        WARPED: AutoencoderTransformer(
            n_components, architecture=no_dense, noise=0.06, noise_kind="warp", max_iter=300, **from_pca, **shared
        ),
        "ours, recurrent": AutoencoderTransformer(n_components, architecture=Recurrent(32), **shared),
    }


def chosen_models(n_components: int, shape: tuple[int, int], seed: int, options) -> dict:
    """Those that are asked for; recurrent ones are slow and have fewer seeds."""
    found = {n: m for n, m in models(n_components, shape, seed).items() if not options.only or options.only in n}
    if options.quick:
        found = {n: m.set_params(max_iter=1) for n, m in found.items()}
    return {n: m for n, m in found.items() if n != "ours, recurrent" or seed < options.recurrent_seeds}


def flat(X):
    """Series as rows."""
    return X.reshape(len(X), -1)


def accuracy(codes_train, y_train, codes_test, y_test) -> float:
    """Of logistic regression on standardised columns."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(classifier.fit(codes_train, y_train).score(codes_test, y_test))


def minirocket(X_train, X_test):
    """Features of MiniRocket."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    rocket = MiniRocket(random_state=0).fit(X_train)
    return rocket.transform(X_train), rocket.transform(X_test)


def classified(X_train, y_train, X_test, y_test, n_components: int, options) -> dict:
    """Accuracy of every method on one set; a list where there are seeds."""
    k = min(n_components, len(X_train) - 1)
    labels = (y_train, y_test)
    pca = PCA(k).fit(flat(X_train))
    found = {
        "raw values": [accuracy(flat(X_train), labels[0], flat(X_test), labels[1])],
        "PCA": [accuracy(pca.transform(flat(X_train)), labels[0], pca.transform(flat(X_test)), labels[1])],
    }
    if AEON:
        of_train, of_test = minirocket(X_train, X_test)
        found["MiniRocket"] = [accuracy(of_train, labels[0], of_test, labels[1])]
    for seed in range(options.seeds):
        for name, model in chosen_models(k, X_train.shape[1:], seed, options).items():
            model.fit(X_train)
            value = accuracy(model.transform(X_train), labels[0], model.transform(X_test), labels[1])
            found.setdefault(name, []).append(value)
    return found


def cross_validated(X, y, n_components: int, options) -> dict:
    """The same on held-out training series."""
    folds = [
        classified(X[a], y[a], X[b], y[b], n_components, options)
        for a, b in RepeatedStratifiedKFold(n_splits=5, n_repeats=options.repeats, random_state=0).split(X, y)
    ]
    return {name: [value for fold in folds for value in fold[name]] for name in folds[0]}


def load_set(name: str) -> tuple:
    """``X_train, y_train, X_test, y_test`` of a UCR set; of ECG5000 with normal or not as the class."""
    path = "ecg5000/ecg5000.npz" if name == "ECG5000" else f"ucr/{name}.npz"
    with np.load(data_file(path)) as file:
        X, y, X_test, y_test = (file[part] for part in ("X_train", "y_train", "X_test", "y_test"))
    return X.reshape(len(X), -1, X.shape[-1]), y, X_test.reshape(len(X_test), -1, X.shape[-1]), y_test


def ucr(n_components: int, options) -> dict:
    """Mean accuracy by set and method."""
    found = {}
    for name in SETS[:1] if options.quick else SETS:
        parts = load_set(name)
        if options.validate:
            values = cross_validated(*parts[:2], n_components, options)
        else:
            values = classified(*parts, n_components, options)
        found[name] = {method: float(np.mean(some)) for method, some in values.items()}
        print(name, {method: round(value, 3) for method, value in found[name].items()}, flush=True)
    return found


def heart_beats(options) -> dict:
    """AUROC of the squared error, by method; a list where there are seeds."""
    with np.load(data_file("ecg5000/ecg5000.npz")) as file:
        X, y, X_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    if options.validate:  # every fourth normal beat is held out and stands beside the other ones
        held_out = (np.arange(len(X)) % 4 == 0) | (y != 0)
        X, y, X_test, y_test = X[~held_out], y[~held_out], X[held_out], y[held_out]
    if options.quick:
        X_test, y_test = X_test[::40], y_test[::40]
    normal = X[y == 0]
    pca = PCA(2).fit(normal)
    nearest = NearestNeighbors(n_neighbors=5).fit(normal).kneighbors(X_test)[0][:, -1]
    errors = np.square(X_test - pca.inverse_transform(pca.transform(X_test))).sum(1)
    found = {
        "PCA(2)": [float(roc_auc_score(y_test, errors))],
        "nearest neighbours": [float(roc_auc_score(y_test, nearest))],
    }
    for seed in range(options.seeds):
        for name, model in chosen_models(2, (1, normal.shape[1]), seed, options).items():
            model.fit(normal[:, None])
            found.setdefault(name, []).append(float(roc_auc_score(y_test, -model.score_samples(X_test[:, None]))))
    return found


class Loop(nn.Module):
    """The layers of ``Recurrent(64)``, as one would write them in an afternoon."""

    def __init__(self, n_timepoints: int, n_components: int):
        super().__init__()
        self.encoder = nn.GRU(1, 64, batch_first=True, bidirectional=True)
        self.to_code, self.start = nn.Linear(128, n_components), nn.Linear(n_components, 64)
        angles = torch.arange(n_timepoints)[:, None] / 2.0 ** torch.arange(1, 11) * 2 * np.pi
        self.register_buffer("time", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.decoder = nn.GRU(n_components + 20, 64, batch_first=True)
        self.out = nn.Linear(64, 1)

    def forward(self, x):
        _, last = self.encoder(x[..., None])
        code = self.to_code(last.transpose(0, 1).flatten(1))
        n_rows, n_timepoints = x.shape
        read = torch.cat([code[:, None].expand(-1, n_timepoints, -1), self.time.expand(n_rows, -1, -1)], dim=2)
        states, _ = self.decoder(read, torch.tanh(self.start(code))[None])
        return self.out(states)[..., 0]


def hand_written(X, epochs: int) -> None:
    """One training of the loop."""
    model = Loop(X.shape[1], 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002, fused=True)
    rows = torch.from_numpy(X)
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows)).split(128):
            batch = rows[chosen]
            optimizer.zero_grad()
            loss = (model(batch) - batch).square().sum(1).mean()
            loss.backward()
            optimizer.step()
    loss.item()


def training_steps(model, X):
    """All batches of an epoch as training steps of the fitted model's net, and nothing else."""
    model.fit(X)
    net, rows = model.net_, model._data.dataset(model._validate(X, reset=False), "cpu").data
    batches = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))].split(128)

    def run():
        net.module_.train()
        net._n_rows, net._sums = {}, {}
        for batch in batches:
            net.train_step(Batch(batch))

    return run


def speed(options) -> dict:
    """Milliseconds per step, and the two ratios."""
    n, epochs, rounds = (128, 1, 1) if options.quick else (640, 4, 3)
    length = 14 if options.quick else 140
    X = np.random.default_rng(0).normal(size=(n, length)).astype(np.float32).cumsum(axis=1)
    ours = AutoencoderTransformer(
        8,
        architecture=Recurrent(64),
        **{"init": "random", "early_stopping": False, "optimizer": "adam", "weight_decay": 0.0},
        **{"learning_rate_schedule": "constant", "batch_size": 128, "max_iter": epochs, "device": "cpu"},
    )
    lengths = np.linspace(length / 7, length / 0.7, n).round().astype(int)
    series = [np.resize(row, length) for row, length in zip(X, lengths, strict=True)]
    unequal = clone(ours).set_params(architecture__unequal_lengths=True)
    calls = {
        "ours": lambda: ours.fit(X),
        "loop": lambda: hand_written(X, epochs),
        "ours, 20 to 200 steps": lambda: unequal.fit(series),
        "ours, 110 steps": lambda: ours.fit(X[:, : 11 * length // 14]),
    }
    times = alternate(calls, rounds, options.clock)
    steps = epochs * n // 128
    rows = [[name, 1e3 * float(np.median(times[name])) / steps] for name in times]
    ratios = {
        "ours / loop": ratio(times, "ours", "loop"),
        "unequal / equal": ratio(times, "ours, 20 to 200 steps", "ours, 110 steps"),
    }
    once = {"max_iter": 1}
    batches = {
        "batch of 20 to 200 steps": training_steps(clone(unequal).set_params(**once), series),
        "batch of 110 steps": training_steps(clone(ours).set_params(**once), X[:, : 11 * length // 14]),
    }
    times = alternate(batches, 4 * rounds, options.clock)
    rows += [[name, 1e3 * float(np.median(times[name])) * 128 / n] for name in times]
    ratios["unequal / equal, batches alone"] = ratio(times, *batches)
    return {"rows": rows, **ratios, "clock": options.clock, "threads": options.threads}


def with_sets(figures: dict, codes: str, sets: dict) -> dict:
    """Figures completed by what was found with so many codes."""
    before, above = figures.get("ucr", {}), figures.get("above_pca", {})
    sets = {name: {**before.get(codes, {}).get(name, {}), **values} for name, values in sets.items()}
    methods = list(next(iter(sets.values())))
    counts = {m: sum(v[m] > v["PCA"] + TIE for v in sets.values()) for m in methods if m.startswith(("ours", "Mini"))}
    version = {"aeon": AEON} if AEON else {}
    return {**figures, **version, "ucr": {**before, codes: sets}, "above_pca": {**above, codes: counts}}


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    warnings.simplefilter("ignore")
    options.seeds = 1 if options.quick or options.validate else options.seeds
    figures = stored_figures("series", options) if options.only or options.parts != PARTS else {}
    if "ucr" in options.parts:
        for k in options.components:
            figures = with_sets(figures, f"{k} codes", ucr(k, options))
    if "ecg5000" in options.parts:
        figures["ecg5000"] = {**figures.get("ecg5000", {}), **heart_beats(options)}
    if "speed" in options.parts:
        figures["speed"] = speed(options)
    figures["machines"] = {**figures.get("machines", {}), **dict.fromkeys(options.parts, machine())}
    save(options, figures)


def report(results) -> str:
    """Accuracy by set and number of codes, AUROC of heart beats, and time per step."""
    figures, parts = results["figures"], []
    for codes, sets in figures.get("ucr", {}).items():
        methods = list(next(iter(sets.values())))
        rows = [[name, *(fixed(found[method]) for method in methods)] for name, found in sets.items()]
        rows.append(["sets above PCA", *(figures["above_pca"][codes].get(method, "") for method in methods)])
        parts += [f"Accuracy with {codes}:", table(["set", *methods], rows)]
    if "ecg5000" in figures:
        rows = [
            [name, fixed(np.mean(found), 4), fixed(np.std(found, ddof=1), 4) if len(found) > 1 else "–", len(found)]
            for name, found in figures["ecg5000"].items()
        ]
        parts += ["ECG5000, trained on normal beats, AUROC of the squared error with two codes:"]
        parts += [table(["method", "AUROC", "spread over seeds", "seeds"], rows)]
    if "speed" in figures:
        speed = figures["speed"]
        rows = [[name, fixed(took, 0)] for name, took in speed["rows"]]
        ratios = [[name, fixed(value)] for name, value in speed.items() if " / " in name]
        parts += [f"Time per step, {speed['clock']} time, {speed['threads']} thread(s):"]
        parts += [table(["GRU", "ms / step"], rows), table(["ratio of times", ""], ratios)]
    return "\n\n".join(parts)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--components", type=int, nargs="*", default=N_COMPONENTS, help="numbers of codes to classify")
    parser.add_argument("--only", help="only models of ours with this in their name; the rest stays as it is stored")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fits of each model of ours (default 5)")
    parser.add_argument("--recurrent-seeds", type=int, default=1, help="fits of the recurrent one (default 1)")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training series; nothing is stored")
    parser.add_argument("--repeats", type=int, default=1, help="times that --validate draws five folds (default 1)")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
