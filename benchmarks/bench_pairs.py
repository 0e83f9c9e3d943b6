"""Images from images: is a predicted image nearer to the true one than by the tools that one has without a network?

Nothing is chosen on test images. PSNR is that of the mean squared error over all pixels of all test images, in dB.

- **larger**: Olivetti faces, 32 x 32 to 64 x 64, 32 people to train and 8 others to test. Beside ours: bicubic
  enlargement and the best linear filter.
- **faces**: scikit-learn's example of completing faces: the upper half of 30 people's faces is known, the lower half of
  10 others' is predicted. Beside ours: its regressors. With 300 pairs the baseline may be the result.
- **clean**: Fashion-MNIST with normal noise of 0.2. Beside ours: the median filter of the better size on held-out
  training images, a denoising autoencoder of the same number of epochs, and the best linear model.
- **colour**: grey CIFAR-10 images in colour, 4000 to train and 1000 to test; the error is the root of the mean square.
- **frames**: the sixth frame of films of two moving 14 x 14 digits, from five. Beside ours: the last frame, and the
  best linear filter.
- **never_below**: ten small tasks of scikit-learn's data with 20 to 1000 rows, and splits of each: how often is the
  error on test rows above the baseline's by more than a standard error?
- **step**: seconds of our epoch over those of the same network in a hand-written loop.
"""

import time

import numpy as np
import torch
from scipy.ndimage import median_filter
from sklearn import datasets
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    fixed,
    load_images,
    ratio,
    save,
    stored_figures,
    table,
    use_threads,
)
from sk_autoenc import AutoencoderTransformer, Convolutional, EncoderDecoderRegressor
from sk_autoenc.metrics import psnr_score, ssim_score
from sk_autoenc.training.plan import Phase

OURS = "ours"


def _gain(part: str, name: str, figure: str, sign: int = 1):
    """By how much our figure is better than that of another method."""
    return lambda results: sign * (results["figures"][part][OURS][figure] - results["figures"][part][name][figure])


TARGETS = [
    Target("enlarging faces: PSNR above bicubic, dB", _gain("larger", "bicubic", "PSNR"), "≥", 1.7),
    Target("enlarging faces: PSNR above the linear filter, dB", _gain("larger", "filter", "PSNR"), ">", 0),
    Target("enlarging faces: SSIM above the linear filter", _gain("larger", "filter", "SSIM"), ">", 0),
    Target("completing faces: error above RidgeCV's", _gain("faces", "RidgeCV", "RMSE"), "≤", 0.0005),
    Target("cleaning: PSNR above the denoising autoencoder, dB", _gain("clean", "autoencoder", "PSNR"), ">", 0),
    Target("cleaning: PSNR above the median filter, dB", _gain("clean", "median filter", "PSNR"), ">", 0),
    Target("colouring: error", lambda results: results["figures"]["colour"][OURS]["RMSE"], "≤", 0.070),
    Target("next frame: PSNR, dB", lambda results: results["figures"]["frames"][OURS]["PSNR"], "≥", 18.5),
    Target("next frame: SSIM", lambda results: results["figures"]["frames"][OURS]["SSIM"], "≥", 0.45),
    Target(
        "splits of small tasks with an error above the baseline's by more than a standard error",
        lambda results: results["figures"]["never_below"]["n_worse"],
        "≤",
        0,
    ),
    Target(
        "time of an epoch over a hand-written loop's", lambda results: results["figures"]["step"]["ratio"], "≤", 1.15
    ),
]


def figures_of(true: np.ndarray, predicted: np.ndarray) -> dict:
    """PSNR, SSIM and the root of the mean squared error of images from 0 to 1."""
    return {
        "PSNR": psnr_score(true, predicted, data_range=1),
        "SSIM": ssim_score(true, predicted, data_range=1),
        "RMSE": float(np.sqrt(np.square(true - predicted, dtype=np.float64).mean())),
    }


def measured_fit(model, X, y) -> float:
    """Processor seconds of a fit."""
    start = time.process_time()
    model.fit(X, y)
    return time.process_time() - start


def ours(options, epochs: int, X, y, X_test, y_test, **parameters) -> dict:
    """Figures of our network, and of the baseline at which it started."""
    epochs = 1 if options.quick else max(1, round(epochs * options.effort))
    model = EncoderDecoderRegressor(
        **{"early_stopping": False, "device": "cpu", "random_state": 0, **parameters}, max_iter=epochs
    )
    seconds = measured_fit(model, X, y)
    network = {**figures_of(y_test, model.predict(X_test)), "seconds": seconds, "epochs": epochs}
    return {OURS: network, model.baseline_: figures_of(y_test, model.baseline_predict(X_test))}


def baseline(name: str, X, y, X_test, y_test, **parameters) -> dict:
    """Figures of one of our baselines."""
    model = EncoderDecoderRegressor(baseline=name, early_stopping=False, max_iter=1, device="cpu", **parameters)
    return figures_of(y_test, model.set_params(learning_rate=1e-9).fit(X[:], y[:]).baseline_predict(X_test))


def olivetti() -> tuple[np.ndarray, np.ndarray]:
    """Faces ``(400, 1, 64, 64)`` from 0 to 1, and persons."""
    with np.load(data_file("olivetti/olivetti.npz")) as file:
        return file["X"].reshape(-1, 1, 64, 64).astype(np.float32) / 255, file["y"]


def larger(options) -> dict:
    """Faces of unseen people, twice as high and wide."""
    fine, person = olivetti()
    coarse = fine.reshape(-1, 1, 32, 2, 32, 2).mean(axis=(3, 5))
    train, test = person < (2 if options.quick else 32), person >= (38 if options.quick else 32)
    data = coarse[train], fine[train], coarse[test], fine[test]
    rivals = {name: baseline(name, *data, architecture=Convolutional((4,))) for name in ("bicubic", "filter")}
    return {**rivals, **ours(options, 40, *data, augment=("flip",), learning_rate=0.004)}


def faces(options) -> dict:
    """The lower halves of faces, as scikit-learn's example has it; pixels from 0 to 1."""
    images, person = olivetti()
    rows = images.reshape(len(images), -1)
    half = rows.shape[1] // 2
    train, test = person < 30, person >= 30
    X, y, X_test, y_test = rows[train][:, :half], rows[train][:, half:], rows[test][:, :half], rows[test][:, half:]
    rivals = {
        "mean": None,
        "k-NN": KNeighborsRegressor(),
        "ExtraTrees": ExtraTreesRegressor(10, max_features=32, random_state=0),
        "LinearRegression": LinearRegression(),
        "RidgeCV": RidgeCV(),
    }
    found = {}
    for name, model in rivals.items():
        predicted = np.broadcast_to(y.mean(0), y_test.shape) if model is None else model.fit(X, y).predict(X_test)
        found[name] = {"RMSE": float(np.sqrt(np.square(y_test - predicted).mean()))}
    epochs = 1 if options.quick else 10
    model = EncoderDecoderRegressor((64,), max_iter=epochs, learning_rate=0.001, device="cpu", random_state=0)
    start = time.process_time()
    model.fit(X, y, groups=person[train])
    error = float(np.sqrt(np.square(y_test - model.predict(X_test)).mean()))
    seconds = time.process_time() - start
    found[OURS] = {"RMSE": error, "seconds": seconds, "epochs": epochs, "is_baseline_": model.is_baseline_}
    return found


def clean(options) -> dict:
    """Fashion-MNIST without its noise."""
    X, _, X_test, _ = load_images("fashion_mnist")
    n_train, n_test = (200, 50) if options.quick else (6000, 1000)
    sharp, held_out, test = (part.reshape(-1, 1, 28, 28) for part in (X[:n_train], X[-500:], X_test[:n_test]))
    rng = np.random.default_rng(0)
    noisy, noisy_held_out, noisy_test = (
        part + np.float32(0.2) * rng.standard_normal(part.shape, dtype=np.float32) for part in (sharp, held_out, test)
    )

    def filtered(images, size):
        return median_filter(images, (1, 1, size, size))

    size = max((3, 5), key=lambda size: psnr_score(held_out, filtered(noisy_held_out, size), data_range=1))
    found = {"noisy": figures_of(test, noisy_test), "median filter": figures_of(test, filtered(noisy_test, size))}
    scale = float(np.sqrt(sharp.var(axis=0).mean()))
    epochs = 1 if options.quick else 30
    autoencoder = AutoencoderTransformer(
        64, noise=0.2 / scale, max_iter=epochs, early_stopping=False, device="cpu", random_state=0
    )
    seconds = measured_fit(autoencoder, sharp, None)
    found["autoencoder"] = {**figures_of(test, autoencoder.reconstruct(noisy_test)), "seconds": seconds}
    return {**found, **ours(options, 4, noisy, sharp, noisy_test, test)}


def colour(options) -> dict:
    """CIFAR-10 in colour."""
    with np.load(data_file("cifar10_subset/cifar10_train5k.npz")) as file:
        images = np.moveaxis(file["X"], -1, 1).astype(np.float32) / 255
    images = images[np.random.default_rng(0).permutation(len(images))]
    grey = images.mean(axis=1, keepdims=True)
    n_train, n_test = (100, 50) if options.quick else (4000, 1000)
    data = grey[:n_train], images[:n_train], grey[-n_test:], images[-n_test:]
    rivals = {
        "grey": figures_of(data[3], np.repeat(data[2], 3, axis=1)),
        "filter": baseline("filter", *data, architecture=Convolutional((4,))),
    }
    return {**rivals, **ours(options, 6, *data, augment=("flip",))}


def films(n: int, seed: int) -> np.ndarray:
    """Films of two bouncing digits, ``(n, 6, 32, 32)``, from 0 to 1."""
    X, _, X_test, _ = load_images("mnist")
    digits = (X if seed == 0 else X_test).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    rng = np.random.default_rng(seed)
    found = np.zeros((n, 6, 32, 32), dtype=np.float32)
    for film in found:
        for _ in range(2):
            digit = digits[rng.integers(len(digits))]
            place, speed = rng.uniform(0, 18, 2), rng.uniform(-4, 4, 2)
            for frame in film:
                place = place + speed
                speed = np.where((place < 0) | (place > 18), -speed, speed)
                place = np.abs(place)
                place = np.where(place > 18, 36 - place, place)
                top, left = np.round(place).astype(int)
                there = frame[top : top + 14, left : left + 14]
                np.maximum(there, digit, out=there)
    return found


def frames(options) -> dict:
    """The sixth frame from five."""
    train, test = films(60 if options.quick else 8000, 0), films(40 if options.quick else 500, 1)
    data = train[:, :5], train[:, 5:], test[:, :5], test[:, 5:]
    rivals = {
        "last frame": figures_of(data[3], data[2][:, -1:]),
        "filter": baseline("filter", *data, architecture=Convolutional((4,))),
    }
    return {**rivals, **ours(options, 12, *data, learning_rate=0.004)}


def small_tasks(rng: np.random.Generator) -> dict:
    """Ten tasks by name: rows and targets."""
    digits = datasets.load_digits().images[:, None] / 16
    noisy = digits + 0.3 * rng.standard_normal(digits.shape)
    coarse = digits.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5))
    diabetes, progress = datasets.load_diabetes(return_X_y=True)
    iris, _ = datasets.load_iris(return_X_y=True)
    exercise, body = datasets.load_linnerud(return_X_y=True)
    wine, _ = datasets.load_wine(return_X_y=True)
    friedman = datasets.make_friedman1(1200, noise=1.0, random_state=0)
    linear = datasets.make_regression(1200, 10, n_targets=3, noise=20.0, random_state=0)
    return {
        "clean digits": (noisy, digits),
        "enlarge digits": (coarse, digits),
        "lower halves": (digits[:, 0, :4], digits[:, 0, 4:]),
        "flat digits": (noisy[:, 0, 2:6].reshape(-1, 32), digits.reshape(-1, 64)),
        "diabetes": (diabetes, progress),
        "iris": (iris[:, :2], iris[:, 2:]),
        "linnerud": (exercise, body),
        "wine": (wine[:, :6], wine[:, 6:]),
        "friedman": friedman,
        "linear": linear,
    }


def never_below(options) -> dict:
    """Splits in which the test error of ours is above the baseline's by more than a standard error."""
    gaps, n_worse = {}, 0
    tasks = small_tasks(np.random.default_rng(0))
    for number, (name, (X, y)) in enumerate(list(tasks.items())[: 2 if options.quick else None]):
        gaps[name] = []
        for split in range(1 if options.quick else options.splits):
            order = np.random.default_rng(split).permutation(len(X))
            n_train = min((20, 60, 150, 400, 700)[(number + split) % 5], len(X) - 10)
            train, test = order[:n_train], order[n_train:][:500]
            model = EncoderDecoderRegressor(max_iter=1 if options.quick else 10, device="cpu", random_state=split)
            model.fit(X[train], y[train])
            errors = [
                np.square(y[test] - found).reshape(len(test), -1).mean(1)  # as `score` weighs outputs
                for found in (model.predict(X[test]), model.baseline_predict(X[test]))
            ]
            difference = errors[0] - errors[1]
            error = float(difference.std() / np.sqrt(len(test)))
            gaps[name].append([n_train, float(difference.mean()), error, bool(model.is_baseline_)])
            n_worse += difference.mean() > error > 0
    return {"n_worse": int(n_worse), "n": sum(map(len, gaps.values())), "gaps": gaps}


def step(options) -> dict:
    """Seconds of epochs of ours and of a loop by hand, of the same network, batches and optimizer."""
    X = np.random.default_rng(0).standard_normal((64, 1, 28, 28)).astype(np.float32)
    model = EncoderDecoderRegressor(baseline="copy", early_stopping=False, max_iter=1, batch_size=16, device="cpu")
    model.set_params(learning_rate_schedule="constant", random_state=0).fit(X, X)
    net = model.net_
    module, rows = net.module_, model._data.dataset(X.reshape(len(X), -1), "cpu", X)
    epochs = 1 if options.quick else 3
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)

    def by_hand():
        module.train()
        for _ in range(epochs):
            for index in torch.randperm(len(X)).split(16):
                optimizer.zero_grad()
                (module(rows.data[index]) - rows.target[index]).square().mean().backward()
                optimizer.step()

    times = alternate(
        {"ours": lambda: net.train(rows, epochs=epochs, n_planned=Phase(epochs).epochs), "by hand": by_hand},
        2 if options.quick else 5,
        options.clock,
    )
    return {"ratio": ratio(times, "ours", "by hand"), "seconds": times}


PARTS = {
    "larger": larger,
    "faces": faces,
    "clean": clean,
    "colour": colour,
    "frames": frames,
    "never_below": never_below,
    "step": step,
}


def run(options) -> None:
    """Measure the parts that are asked for, beside stored figures of the others, and store."""
    use_threads(options.threads)
    figures = stored_figures("pairs", options)
    for part in options.parts:
        figures[part] = PARTS[part](options)
        print(part, {name: value for name, value in figures[part].items() if name != "gaps"}, flush=True)
    save(options, figures)


TITLES = {
    "larger": "Faces, 32 x 32 to 64 x 64, of unseen people",
    "faces": "The lower halves of unseen people's faces",
    "clean": "Fashion-MNIST, noise of 0.2",
    "colour": "CIFAR-10, grey to colour",
    "frames": "The next frame of two moving digits",
}


def report(results) -> str:
    """A table for each task, and counts of small tasks."""
    figures, texts = results["figures"], []
    for part, title in TITLES.items():
        if part in figures:
            rows = [
                [
                    name,
                    *(fixed(f.get(key), digits) for key, digits in (("PSNR", 2), ("SSIM", 3), ("RMSE", 4))),
                    fixed(f.get("seconds"), 0),
                    fixed(f.get("epochs"), 0),
                ]
                for name, f in figures[part].items()
            ]
            texts.append(f"{title}:")
            texts.append(table(["method", "PSNR", "SSIM", "RMSE", "processor seconds", "epochs"], rows))
    if small := figures.get("never_below"):
        kept = sum(found[3] for gaps in small["gaps"].values() for found in gaps)
        texts.append(
            f"Small tasks: in {small['n_worse']} of {small['n']} splits the error on test rows is above the "
            f"baseline's by more than a standard error. The result is the baseline in {kept}."
        )
    if "step" in figures:
        texts.append(f"An epoch takes {figures['step']['ratio']:.2f} times as long as in a hand-written loop.")
    return "\n\n".join(texts)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts to measure")
    parser.add_argument("--splits", type=int, default=5, help="splits of each small task")
    parser.add_argument("--effort", type=float, default=1.0, help="factor of all numbers of epochs")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
