"""CamVid at 120 x 160, 11 classes, the publisher's split: does a segmenter beat a forest on local filters?

Figures over all pixels of the 233 test images, void pixels left out: share of right pixels (global), mean recall of the
classes, mean intersection over union. Settings are the same for both ways of upsampling, and nothing is chosen on test
images. The validation images are of a film that is also in training, so they are no guide, and are not used.

Beside ours: extremely randomised trees of each pixel's colours, smoothed colours, gradients at two scales and position,
with balanced classes; our linear baseline. Published at 360 x 480, without pretraining, SegNet-Basic after 16 000
steps: 82.7 / 67.1 / 47.2.
"""

import time

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from sklearn.ensemble import ExtraTreesClassifier

from benchmarks.common import Target, arguments, data_file, fixed, save, stored_figures, table, use_threads
from sk_autoenc import SegNetSegmenter
from sk_autoenc.metrics import segmentation_report

VOID = 11
WAYS = ("indices", "skips")


def _best(results, figure: str) -> float:
    return max(results["figures"][way][figure] for way in WAYS if way in results["figures"])


TARGETS = [
    Target("pixels that are right, better way, %", lambda results: _best(results, "global"), "≥", 78),
    Target("mean recall of classes, better way, %", lambda results: _best(results, "recall"), "≥", 56),
    Target("mean intersection over union, better way, %", lambda results: _best(results, "mIoU"), "≥", 40),
    Target(
        "mean intersection over union above the forest's, points",
        lambda results: _best(results, "mIoU") - results["figures"]["forest"]["mIoU"],
        "≥",
        10,
    ),
]


def load(options) -> tuple:
    """Images, channels last, from 0 to 1, and masks: training and test."""
    with np.load(data_file("camvid/camvid_120x160.npz")) as file:
        X, y, X_test, y_test = (file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    if options.quick:
        X, y, X_test, y_test = X[:12], y[:12], X_test[:4], y_test[:4]
    return X.astype(np.float32) / 255, y, X_test.astype(np.float32) / 255, y_test


def figures_of(true, predicted, seconds: float) -> dict:
    """Figures in per cent."""
    found = segmentation_report(true, predicted, labels=np.arange(11), void_label=VOID)
    names = {"global": found.accuracy, "recall": found.mean_recall, "mIoU": found.mean_iou}
    return {
        **{name: 100 * value for name, value in names.items()},
        "IoU": (100 * found.iou).tolist(),
        "seconds": seconds,
    }


def features(image: np.ndarray) -> np.ndarray:
    """Colours, smoothed colours, gradients and position of each pixel."""
    rows, columns = np.indices(image.shape[:2]) / np.array(image.shape[:2])[:, None, None]
    maps = [image, *(gaussian_filter(image, (s, s, 0)) for s in (1, 3, 8))]
    maps += [np.stack([gaussian_gradient_magnitude(image[..., c], s) for c in range(3)], axis=-1) for s in (1, 3)]
    return np.concatenate([*maps, rows[..., None], columns[..., None]], axis=-1).reshape(-1, 20)


def forest(options) -> dict:
    """Trees of filtered pixels, 150 pixels of each training image."""
    X, y, X_test, y_test = load(options)
    start, rng = time.process_time(), np.random.default_rng(0)
    rows, labels = [], []
    for image, mask in zip(X, y, strict=True):
        valid = rng.choice(np.flatnonzero(mask.ravel() != VOID), 150)
        rows.append(features(image)[valid])
        labels.append(mask.ravel()[valid])
    model = ExtraTreesClassifier(20, class_weight="balanced", min_samples_leaf=2, random_state=0)
    model.fit(np.concatenate(rows), np.concatenate(labels))
    seconds = time.process_time() - start
    predicted = np.stack([model.predict(features(image)).reshape(image.shape[:2]) for image in X_test])
    return {"forest": figures_of(y_test, predicted, seconds)}


def segnet(options, way: str) -> dict:
    """Our segmenter, and its baseline."""
    X, y, X_test, y_test = load(options)
    model = SegNetSegmenter(
        upsampling=way,
        void_label=VOID,
        channels_last=True,
        augment=("flip", "brightness"),
        early_stopping=False,
        max_iter=1 if options.quick else options.epochs,
        device="cpu",
        random_state=0,
    )
    start = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - start
    return {
        "baseline": {**figures_of(y_test, model.baseline_predict(X_test), 0.0), "kind": model.baseline_},
        way: {**figures_of(y_test, model.predict(X_test), seconds), "epochs": model.n_iter_},
    }


PARTS = {"forest": forest, **{way: lambda options, way=way: segnet(options, way) for way in WAYS}}


def run(options) -> None:
    """Measure the parts that are asked for, beside stored figures of the others, and store."""
    use_threads(options.threads)
    figures = stored_figures("segmentation", options)
    for part in options.parts:
        figures |= PARTS[part](options)
        print(part, {k: v for k, v in figures[part].items() if k != "IoU"}, flush=True)
    save(options, figures)


def report(results) -> str:
    """One table."""
    keys = {"global": 1, "recall": 1, "mIoU": 1, "seconds": 0, "epochs": 0}
    rows = [[name, *(fixed(f.get(key), n) for key, n in keys.items())] for name, f in results["figures"].items()]
    return table(["method", "global", "mean recall", "mean IoU", "processor seconds", "epochs"], rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts to measure")
    parser.add_argument("--epochs", type=int, default=25, help="epochs of each network")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
