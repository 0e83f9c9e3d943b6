"""Do translated digits look like the other domain's to a classifier of it, and do they keep their class?

MNIST to USPS: digits cropped to their box and resized to 16 × 16, 10 000 training digits of MNIST and the 7291 of USPS,
unpaired. A support vector machine of USPS (its own test accuracy is in the table) reads the translated test digits of
MNIST. Beside the untranslated ones: means and deviations of pixels matched (where the networks start), plain cycles,
and cycles with the content held by a classifier that has the classes of training digits of both domains. Inverted
digits: scikit-learn's digits against the negatives of other ones, from random weights; a classifier of negatives reads
the translated digits, and the squared error to the true negative is given over that of the mean image. One seed;
networks train for a fixed number of steps, whose processor time is in the table.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from benchmarks.common import Target, arguments, data_file, figures_table, load_images, save, seconds, use_threads
from sk_autoenc import CycleGANTransformer

SIDE, N_MNIST, N_TEST = 16, 10_000, 3000
CONTENT, PLAIN, NOTHING, MOMENTS = "content held", "plain cycles", "untranslated", "moments of pixels"


def gain(results: dict) -> float:
    """Accuracy with the content held, above that of untranslated digits."""
    found = results["figures"]["mnist to usps"]
    return found[CONTENT]["accuracy"] - found[NOTHING]["accuracy"]


TARGETS = [
    Target("MNIST to USPS, content held: accuracy above untranslated", gain, "≥", 0.05),
    Target("inverted digits: accuracy", lambda r: r["figures"]["inverted"][CONTENT]["accuracy"], "≥", 0.95),
]
SETTINGS = {
    "mnist to usps": {"architecture": (256,), "max_iter": 6, "learning_rate": 0.002},
    "inverted": {"architecture": (128,), "max_iter": 120, "learning_rate": 0.003, "init": "random"},
}


def cropped(images: np.ndarray) -> np.ndarray:
    """Every digit's box, enlarged or shrunk to 16 × 16 by bilinear interpolation; ``(n, 28, 28) -> (n, 256)``."""
    made = np.empty((len(images), SIDE, SIDE), dtype=np.float32)
    for image, out in zip(images, made, strict=True):
        rows, columns = (np.flatnonzero(image.max(axis=axis) > 0.2) for axis in (1, 0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        across = np.linspace(0, box.shape[1] - 1, SIDE)
        wide = np.stack([np.interp(across, np.arange(box.shape[1]), line) for line in box])
        down = np.linspace(0, box.shape[0] - 1, SIDE)
        out[:] = np.stack([np.interp(down, np.arange(box.shape[0]), line) for line in wide.T], axis=1)
    return made.reshape(len(made), -1)


def contenders(X, y, labels: dict, options, **settings) -> dict:
    """``{name: (fitted model, seconds)}`` of every way to translate."""
    if options.quick:
        settings["max_iter"] = 1
    found = {}
    for name in (PLAIN, CONTENT):
        model = CycleGANTransformer(**settings, device="cpu", random_state=0)
        given = labels if name == CONTENT else {}
        elapsed = seconds(lambda m=model, g=given: m.fit(X, y, **g), options.clock)
        found[name] = model, elapsed
    return found


def figures_of(model, elapsed: float, accuracy: float) -> dict:
    """What the table shows of a model."""
    return {
        "accuracy": accuracy,
        "energy": model.translation_quality_["energy_distance"],
        "cycle": model.cycle_error_,
        "identity": float(model.identity_),
        "seconds": elapsed,
    }


def measure_mnist(options) -> dict:
    """Accuracy of a classifier of USPS on digits of MNIST."""
    n = 300 if options.quick else N_MNIST
    pixels, classes, test, test_classes = load_images("mnist")
    A, test = (cropped(rows.reshape(-1, 28, 28)) for rows in (pixels[:n], test[:N_TEST]))
    with np.load(data_file("usps/usps.npz")) as file:
        B, B_test = (file[f"X_{part}"].reshape(-1, SIDE**2).astype(np.float32) / 255 for part in ("train", "test"))
        of_b, of_b_test = file["y_train"].astype(int), file["y_test"].astype(int)
    B, of_b = (B[:300], of_b[:300]) if options.quick else (B, of_b)
    reader, known = SVC(C=10).fit(B, of_b), test_classes[:N_TEST]
    moments = (test - A.mean(0)) / np.maximum(A.std(0), 1e-3) * B.std(0) + B.mean(0)
    figures = {
        "USPS itself": {"accuracy": reader.score(B_test, of_b_test)},
        NOTHING: {"accuracy": reader.score(test, known)},
        MOMENTS: {"accuracy": reader.score(moments.clip(0, 1), known)},
    }
    labels = {"labels_a": classes[:n].astype(int), "labels_b": of_b}
    for name, (model, elapsed) in contenders(A, B, labels, options, **SETTINGS["mnist to usps"]).items():
        figures[name] = figures_of(model, elapsed, reader.score(model.transform(test), known))
    return figures


def measure_inverted(options) -> dict:
    """Accuracy of a classifier of negatives on translated digits, and how far these are from the true negatives."""
    X, classes = load_digits(return_X_y=True)
    A, B = X[:900] / 16, 1 - X[900:] / 16
    reader, truth = SVC(C=10).fit(B, classes[900:]), 1 - A
    around_mean = np.square(truth - truth.mean(axis=0)).mean()
    figures = {"true negatives": {"accuracy": reader.score(truth, classes[:900]), "error": 0.0}}
    labels = {"labels_a": classes[:900], "labels_b": classes[900:]}
    for name, (model, elapsed) in contenders(A, B, labels, options, **SETTINGS["inverted"]).items():
        made = model.transform(A)
        error = np.square(made - truth).mean() / around_mean
        figures[name] = {**figures_of(model, elapsed, reader.score(made, classes[:900])), "error": error}
    return figures


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    save(options, {"mnist to usps": measure_mnist(options), "inverted": measure_inverted(options)}, settings=SETTINGS)


def report(results) -> str:
    """Both tables."""
    columns = {
        "accuracy": ("accuracy", 3),
        "error over the mean image's": ("error", 2),
        "energy distance": ("energy", 3),
        "cycle error": ("cycle", 4),
        "identity kept": ("identity", 0),
        "seconds": ("seconds", 0),
    }
    mnist = {header: column for header, column in columns.items() if header != "error over the mean image's"}
    return "\n\n".join([
        "MNIST to USPS:",
        figures_table("digits", results["figures"]["mnist to usps"], mnist),
        "Inverted digits:",
        figures_table("digits", results["figures"]["inverted"], columns),
    ])  # fmt: skip


def parser():
    """Options of this script."""
    return arguments(__doc__, TARGETS)


if __name__ == "__main__":
    run(parser().parse_args())
