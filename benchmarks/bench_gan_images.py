"""Whose samples are better of their class: a GAN's, a VAE's, an AAE's or a mixture's? On images and on heart beats.

``mnist`` and ``fashion_mnist``: 12 800 training images with their classes. A small convolutional
``ConditionalGANSampler`` stands beside models of each class: ``VAETransformer`` and ``AAETransformer`` (decoder means)
and ``GaussianMixture`` on 32 principal components. Each draws 10 000 images of given classes. A classifier that is
trained on these reads the test images. Another one, trained on real images, says which share of the samples it takes
for their class; in its 64 features are measured the Fréchet distance to test images, and precision, recall, density and
coverage of 2000. Sharpness is the mean squared Laplacian in units of the test images'. 10 000 training images get the
same figures. ``ecg``: the same of ECG5000, normal and abnormal beats, with an MLP as the classifier.

``augmentation``: Fashion-MNIST, 20 images of each class; accuracy with samples of a GAN added, beside none, and beside
shifted and flipped copies. ``steps``: time of a step beside loops written by hand on the same networks.

Figures are kept one by one, so a run goes on where the last one ended; one seed, but for ``augmentation``.
"""

import base64
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import nn

from benchmarks.bench_sharpness import sharpness
from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    figures_table,
    fixed,
    keep_part,
    load_images,
    ratio,
    read_parts,
    results_file,
    save,
    seconds,
    table,
    use_threads,
)
from sk_autoenc import (
    AAETransformer,
    ConditionalGANSampler,
    Convolutional,
    CycleGANTransformer,
    VAETransformer,
)
from sk_autoenc.metrics import frechet_distance, precision_recall_density_coverage

IMAGES, REAL, GAN = ("mnist", "fashion_mnist"), "training rows", "GAN"
N_TRAIN, N_SAMPLES, N_JUDGED, N_DRAWS = 12_800, 10_000, 2000, 3
PICTURE = Path(__file__).parent.parent / "docs" / "_static" / "gan_images.png"


def of(data: str, model: str, key: str) -> Callable[[dict], float]:
    """A figure, from the results."""
    return lambda results: results["figures"][data][model][key]


TARGETS = [
    Target(
        "MNIST: accuracy of a classifier that is trained on a GAN's samples", of("mnist", GAN, "accuracy"), "≥", 0.93
    ),
    Target("MNIST: minutes of the GAN's fit", of("mnist", GAN, "minutes"), "≤", 20),
    *(
        Target(f"{name}: time per step / hand-written loop", lambda r, name=name: r["figures"]["steps"][name], "≤", 1.2)
        for name in ("ConditionalGANSampler", "CycleGANTransformer")
    ),
]


# -- models of rows of a class, all with fit(X, y) and draw(y)


class OfClasses:
    """A model for each class; networks draw the means of their decoder, as the field shows samples."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.fitted = {label: clone(self.model).fit(X[y == label]) for label in np.unique(y)}
        return self

    def draw(self, y):
        made = None
        for label, model in self.fitted.items():
            chosen = np.flatnonzero(y == label)
            rows = model.sample(len(chosen), random_state=0, mean=True)
            made = np.empty((len(y), rows.shape[1]), dtype=np.float32) if made is None else made
            made[chosen] = rows
        return made


class Mixtures:
    """A mixture of each class on principal components, of which samples are brought back and clipped to the range."""

    def __init__(self, n_components: int, n_groups: int):
        self.n_components, self.n_groups = n_components, n_groups

    def fit(self, X, y):
        self.low, self.high = X.min(), X.max()
        self.fitted = {}
        for label in np.unique(y):
            rows = X[y == label].astype(np.float64)  # in single precision covariances are rounded
            pca = PCA(min(self.n_components, *rows.shape), random_state=0).fit(rows)
            mixture = GaussianMixture(self.n_groups, reg_covar=1e-3, random_state=0).fit(pca.transform(rows))
            self.fitted[label] = pca, mixture
        return self

    def draw(self, y):
        made = np.empty((len(y), next(iter(self.fitted.values()))[0].n_features_in_), dtype=np.float32)
        for label, (pca, mixture) in self.fitted.items():
            chosen = np.flatnonzero(y == label)
            made[chosen] = pca.inverse_transform(mixture.sample(len(chosen))[0])
        return made.clip(self.low, self.high)


class Conditional:
    """One GAN of all classes."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.model.fit(X, y)
        return self

    def draw(self, y):
        return self.model.sample(1, random_state=0, y=y)[0]


def gan_of_images(epochs: int) -> ConditionalGANSampler:
    """Few wide stages are the fastest on a CPU; see the notes."""
    network = Convolutional((32,), stride=4, kernel_size=5, input_shape=(1, 28, 28), activation="leaky_relu")
    return ConditionalGANSampler(64, architecture=network, batch_size=64, max_iter=epochs, random_state=0, device="cpu")


def gan_of_beats(epochs: int) -> ConditionalGANSampler:
    """Convolutions along time."""
    network = Convolutional((16, 32), stride=4, kernel_size=9, input_shape=(1, 140), activation="leaky_relu")
    return ConditionalGANSampler(32, architecture=network, batch_size=64, max_iter=epochs, random_state=0, device="cpu")


def contenders(data: str, options) -> dict[str, Callable]:
    """What is compared on some data."""
    quick, is_image = options.quick, data in IMAGES
    size = {"n_components": 16, "architecture": (256, 128)} if is_image else {"n_components": 8, "architecture": (64,)}
    net = {**size, "batch_size": 128, "device": "cpu", "random_state": 0}
    if is_image:
        net["likelihood"] = "bernoulli"
    epochs = {GAN: options.epochs if is_image else 400, "VAE": 60, "AAE": 40} if not quick else {}
    gan = (gan_of_images if is_image else gan_of_beats)(epochs.get(GAN, 1))
    vae = VAETransformer(**net, prior="normal", max_iter=epochs.get("VAE", 1), early_stopping=False)
    return {
        GAN: partial(Conditional, gan),
        "mixture": partial(Mixtures, 32 if is_image else 8, 1 if quick else 5),
        "VAE": partial(OfClasses, vae),
        "AAE": partial(OfClasses, AAETransformer(**net, max_iter=epochs.get("AAE", 1))),
    }


# -- the judge


def reader(shape: tuple[int, ...], n_classes: int) -> nn.Sequential:
    """A small classifier of images or of series; 64 features are read before its last layer."""
    if len(shape) == 1:
        body = [nn.Linear(*shape, 128), nn.ReLU(), nn.Linear(128, 64)]
    else:
        stages = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
        body = [nn.Unflatten(1, (1, 28, 28)), *stages, nn.Flatten(), nn.Linear(32 * 7 * 7, 64)]
    return nn.Sequential(*body, nn.ReLU(), nn.Linear(64, n_classes))


class Reader:
    """The classifier, trained for some steps of 100 rows."""

    def __init__(self, shape, n_steps: int, seed: int = 0):
        self.shape, self.n_steps, self.seed = shape, n_steps, seed

    def fit(self, X, y):
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = reader(self.shape, int(y.max()) + 1)
            optimizer = torch.optim.Adam(self.net.parameters(), 2e-3)
            rows, labels = torch.from_numpy(np.ascontiguousarray(X, np.float32)), torch.from_numpy(y).long()
            for _ in range(self.n_steps):
                chosen = torch.randint(len(rows), (100,))
                optimizer.zero_grad()
                F.cross_entropy(self.net(rows[chosen]), labels[chosen]).backward()
                optimizer.step()
        return self

    @torch.inference_mode()
    def score(self, X, y) -> float:
        return float((self.net(torch.from_numpy(X)).argmax(1).numpy() == y).mean())

    @torch.inference_mode()
    def features(self, X) -> np.ndarray:
        return self.net[:-1](torch.from_numpy(X)).double().numpy()


def judge(rows, labels, test, test_labels, real_reader: Reader) -> dict:
    """All figures of some rows and their classes."""
    rows = np.ascontiguousarray(rows, np.float32)
    own = Reader(real_reader.shape, real_reader.n_steps).fit(rows, labels)
    real, made = real_reader.features(test), real_reader.features(rows)
    n = min(N_JUDGED, len(real), len(made))
    figures = {
        "accuracy": own.score(test, test_labels),
        "kept": real_reader.score(rows, labels),
        "frechet": frechet_distance(real, made),
        **precision_recall_density_coverage(real[:n], made[:n])._asdict(),
    }
    if len(real_reader.shape) > 1:
        figures["sharpness"] = sharpness(rows) / sharpness(test)
    return figures


def load(data: str, options) -> tuple:
    """Training rows and test rows with their classes."""
    if data == "ecg":
        with np.load(data_file("ecg5000/ecg5000.npz")) as file:
            X, y = (np.concatenate([file[f"{name}_train"], file[f"{name}_test"]]) for name in ("X", "y"))
        order = np.random.default_rng(0).permutation(len(X))
        X, y, n = X[order].astype(np.float32), y[order].astype(int), len(X) // 2
        parts = X[:n], y[:n], X[n:], y[n:]
    else:
        X, y, test, test_y = load_images(data)
        parts = X[:N_TRAIN], y[:N_TRAIN].astype(int), test, test_y.astype(int)
    if options.quick:
        rows, labels, test, test_labels = parts
        few, few_test = (np.flatnonzero(some < 2)[:100] for some in (labels, test_labels))
        return rows[few], labels[few], test[few_test], test_labels[few_test]
    return parts


def measure(data: str, model: str, options) -> dict:
    """Figures of one model, and a sample of each class twice for a picture."""
    X, y, test, test_y = load(data, options)
    shape = (28, 28) if data in IMAGES else X.shape[1:]
    real_reader = Reader(shape, 5 if options.quick else 1000).fit(X, y)
    n = min(N_SAMPLES, len(X))
    labels, shown = y[:n], np.repeat(np.unique(y), 2)
    if model == REAL:
        examples = np.concatenate([X[y == label][:2] for label in np.unique(y)])
        return {**judge(X[:n], labels, test, test_y, real_reader), "examples": packed(examples)}
    made = contenders(data, options)[model]()
    elapsed = seconds(lambda: made.fit(X, y), options.clock)
    figures = judge(made.draw(labels), labels, test, test_y, real_reader)
    return {**figures, "minutes": elapsed / 60, "examples": packed(made.draw(shown))}


def packed(rows: np.ndarray) -> str:
    """Rows as text, a byte a cell where they are images."""
    is_image = rows.min() >= 0 and rows.max() <= 1
    file = io.BytesIO()
    np.savez_compressed(file, np.rint(rows * 255).astype(np.uint8) if is_image else rows.astype(np.float16))
    return base64.b64encode(file.getvalue()).decode()


def unpacked(text: str) -> np.ndarray:
    """Rows of such a text."""
    with np.load(io.BytesIO(base64.b64decode(text))) as file:
        return file["arr_0"].astype(np.float32)


# -- a small set of images


def moved(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images moved by at most two pixels each way, half of them flipped."""
    images = np.pad(X.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    corners = rng.integers(0, 5, size=(len(X), 2))
    made = np.stack([image[i : i + 28, j : j + 28] for image, (i, j) in zip(images, corners, strict=True)])
    flipped = rng.random(len(X)) < 0.5
    made[flipped] = made[flipped, :, ::-1]
    return made.reshape(len(X), -1)


def augmentation(draw: int, options) -> dict:
    """Accuracy on the test images of classifiers that saw 20 images of each class, and more in three ways."""
    X, y, test, test_y = load_images("fashion_mnist")
    y, rng = y.astype(int), np.random.default_rng(draw)
    chosen = np.concatenate([rng.choice(np.flatnonzero(y == label), 20, replace=False) for label in range(10)])
    X, y = X[chosen], y[chosen]
    n_copies = 1 if options.quick else 20
    gan = gan_of_images(1 if options.quick else 600).set_params(random_state=draw)
    labels = np.tile(y, n_copies)
    elapsed = seconds(lambda: gan.fit(X, y), options.clock)
    samples = gan.sample(1, random_state=draw, y=labels)[0]
    copies = moved(np.tile(X, (n_copies, 1)), rng)
    added = {
        "none": ([], []),
        "samples of a GAN": ([samples], [labels]),
        "shifts and flips": ([copies], [labels]),
        "both": ([samples, copies], [labels, labels]),
    }
    n_steps, found = 5 if options.quick else 600, {}
    for name, (rows, classes) in added.items():
        model = Reader((28, 28), n_steps, draw).fit(np.concatenate([X, *rows]), np.concatenate([y, *classes]))
        found[name] = model.score(test[:100] if options.quick else test, test_y[:100] if options.quick else test_y)
    return {"accuracy": found, "minutes": elapsed / 60}


# -- time of a step


def adam(*modules: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """The optimizer of both: fused, as is ours."""
    return torch.optim.Adam([p for module in modules for p in module.parameters()], rate, betas, fused=True)


def take(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step that touches the parameters of this optimizer alone."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = slope
    optimizer.step()


@torch.no_grad()
def follow(averages: nn.Module, networks: nn.Module, ema: float) -> None:
    """The running average of weights."""
    torch._foreach_lerp_(list(averages.parameters()), list(networks.parameters()), 1 - ema)


def batches(*sets: torch.Tensor, size: int) -> Iterator[list[torch.Tensor]]:
    """A pass over the rows of the sets in a new order."""
    for chosen in torch.randperm(len(sets[0])).split(size):
        yield [rows[chosen] for rows in sets]


def gan_loop(module, rows: torch.Tensor, condition: torch.Tensor, size: int, weight: float) -> None:
    """Relativistic pairs with R1 and R2, as in the default recipe."""
    generator, critic = module.generator, module.critic
    of_critic, of_generator = (adam(part, rate=1e-4, betas=(0.0, 0.99)) for part in (critic, generator))
    for x, given in batches(rows, condition, size=size):
        with torch.no_grad():
            made = generator(torch.cat([torch.randn(len(x), module.n_components), given], 1))
        both = torch.cat([x, made]).requires_grad_()
        said = critic(both, torch.cat([given, given]))
        (slope,) = torch.autograd.grad(said.sum(), both, create_graph=True)
        first, second = said.chunk(2)
        take(of_critic, F.softplus(second - first).mean() + weight / 2 * slope.square().sum() / len(x))
        with torch.no_grad():
            real = critic(x, given)
        made = generator(torch.cat([torch.randn(len(x), module.n_components), given], 1))
        take(of_generator, F.softplus(real - critic(made, given)).mean())
        follow(module.average, generator, 0.998)


def cycle_loop(module, rows: torch.Tensor, others: torch.Tensor, size: int) -> None:
    """Least squares, cycles of weight 10, and half of the critics' rows from earlier rounds."""
    forth, back = module.translators["forth"], module.translators["back"]
    critic_a, critic_b = module.critics["a"], module.critics["b"]
    of_critics, of_translators = (
        adam(parts, rate=1e-4, betas=(0.5, 0.999)) for parts in (module.critics, module.translators)
    )
    earlier = {name: torch.zeros(512, rows.shape[1]) for name in ("a", "b")}

    def shown(name: str, made: torch.Tensor) -> torch.Tensor:
        places = torch.randint(512, (len(made),))
        old, is_old = earlier[name][places], torch.rand(len(made), 1) < 0.5
        earlier[name][places] = made
        return torch.where(is_old, old, made)

    for (x,) in batches(rows, size=size):
        y = others[torch.randint(len(others), (len(x),))]
        with torch.no_grad():
            as_a, as_b = back(y), forth(x)
        pairs = ((critic_a, x, shown("a", as_a)), (critic_b, y, shown("b", as_b)))
        parts = [(critic(real) - 1).square().mean() + critic(made).square().mean() for critic, real, made in pairs]
        take(of_critics, sum(parts) / 2)
        as_b, as_a = forth(x), back(y)
        game = (critic_b(as_b) - 1).square().mean() + (critic_a(as_a) - 1).square().mean()
        cycles = F.smooth_l1_loss(back(as_b), x) + F.smooth_l1_loss(forth(as_a), y)
        take(of_translators, game / 2 + 10 * cycles)
        follow(module.averages, module.translators, 0.99)


def steps(options) -> dict[str, float]:
    """Time of an epoch in units of a loop on the same networks and batches."""
    rng = np.random.default_rng(0)
    n, size = (300, 64) if options.quick else (4096, 256)
    X, y, B = rng.standard_normal((n, 16)), rng.integers(0, 3, n), rng.standard_normal((n, 16)) + 1
    shared = {"max_iter": 1, "batch_size": size, "random_state": 0, "device": "cpu"}
    rounds, found = 2 if options.quick else 7, {}

    gan = ConditionalGANSampler(**shared).fit(X, y)
    data = gan._data.dataset(X, "cpu", y)
    loop = partial(gan_loop, gan.net_.module_, data.data, torch.from_numpy(gan._data.encode(y)), size, 0.1)
    pair = {"ours": partial(gan.net_.train, data, epochs=1), "loop": loop}
    found["ConditionalGANSampler"] = ratio(alternate(pair, rounds, options.clock), "ours", "loop")

    cycle = CycleGANTransformer(**shared).fit(X, B)
    domains = cycle._data.dataset(X, "cpu", cycle._domain(B, None, None))
    loop = partial(cycle_loop, cycle.net_.module_, domains.data, domains.other, size)
    pair = {"ours": partial(cycle.net_.train, domains, epochs=1), "loop": loop}
    found["CycleGANTransformer"] = ratio(alternate(pair, rounds, options.clock), "ours", "loop")
    return found


# -- the run


def calls(options) -> Iterator[tuple]:
    """What is measured, each with its name."""
    if "steps" in options.parts:
        yield ("steps",), partial(steps, options)
    for data in (*IMAGES, "ecg"):
        if data in options.parts:
            for model in (name for name in (REAL, *contenders(data, options)) if name in options.models):
                yield (data, model), partial(measure, data, model, options)
    if "augmentation" in options.parts:
        for draw in range(1 if options.quick else N_DRAWS):
            yield ("augmentation", str(draw)), partial(augmentation, draw, options)


def run(options) -> None:
    """Measure what is not kept yet, store, and draw the picture."""
    use_threads(options.threads)
    path = results_file("gan_images", options.quick, "parts.jsonl")
    parts = [] if options.quick else read_parts(path)
    done = {tuple(part["of"]) for part in parts}
    for name, call in () if options.stored else calls(options):
        if name in done:
            continue
        parts.append({"of": name, **call()})
        told = {key: value for key, value in parts[-1].items() if key not in ("of", "examples")}
        print(f"  {', '.join(name)}: {told}", flush=True)
        if not options.quick:
            keep_part(path, parts[-1])
    figures: dict = {}
    for part in parts:
        found = {key: value for key, value in part.items() if key not in ("of", "examples")}
        data, *model = part["of"]
        figures.setdefault(data, {}).update({model[0]: found} if model else found)
    if options.picture:
        draw_picture([part for part in parts if part["of"][0] in IMAGES])
    save(options, figures)


def draw_picture(parts: list[dict]) -> None:
    """A row for each model and set: two samples of each class."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(len(parts), 1, figsize=(9, 0.62 * len(parts)), layout="constrained", squeeze=False)
    for axis, part in zip(axes[:, 0], parts, strict=True):
        axis.imshow(np.hstack(unpacked(part["examples"]).reshape(-1, 28, 28)), cmap="gray_r")
        axis.set_ylabel(part["of"][1], rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
    plt.savefig(PICTURE, dpi=80)
    plt.close()


def report(results) -> str:
    """A table for each part."""
    columns = {
        "accuracy": ("accuracy", 3),
        "class kept": ("kept", 3),
        "Fréchet": ("frechet", 2),
        **{name: (name, 2) for name in ("precision", "recall", "density", "coverage", "sharpness")},
        "minutes": ("minutes", 2),
    }
    figures, out = results["figures"], []
    for data in (*IMAGES, "ecg"):
        if data in figures:
            shown = {k: v for k, v in columns.items() if data in IMAGES or k != "sharpness"}
            out.append(figures_table(data, figures[data], shown))
    if "augmentation" in figures:
        runs = [run["accuracy"] for run in figures["augmentation"].values()]
        rows = [[name, fixed(float(np.mean([r[name] for r in runs]))), _spread(runs, name)] for name in runs[0]]
        out.append(table(["added to 20 images of a class", "accuracy, mean", "of draws"], rows))
    if "steps" in figures:
        out.append(table(["time of a step", "in loops"], [[n, fixed(v, 2)] for n, v in figures["steps"].items()]))
    return "\n\n".join(out)


def _spread(runs: list[dict], name: str) -> str:
    found = [run[name] for run in runs]
    return f"{min(found):.3f} to {max(found):.3f}"


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    every = ["steps", *IMAGES, "ecg", "augmentation"]
    parser.add_argument("--parts", nargs="+", default=every, choices=every, help="what is measured")
    models = [REAL, GAN, "mixture", "VAE", "AAE"]
    parser.add_argument("--models", nargs="+", default=models, choices=models, help="of images and beats")
    parser.add_argument("--epochs", type=int, default=30, help="of the GAN of images (default 30, 5400 steps)")
    parser.add_argument("--stored", action="store_true", help="measure nothing more, and store what was kept")
    parser.add_argument("--picture", action="store_true", help="draw docs/_static/gan_images.png of what was kept")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
