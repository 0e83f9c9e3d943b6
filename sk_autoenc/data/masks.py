"""Images with a label for each pixel, as scaled images and numbers of classes."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch

from sk_autoenc.data.conditions import is_targets
from sk_autoenc.data.dataset import Pairs, Rows
from sk_autoenc.data.scaling import Scaling, fit_channel_scaling
from sk_autoenc.data.validation import as_array
from sk_autoenc.storage import Check, Plain, array, by_state, instance
from sk_autoenc.storage import shape as is_shape

_BLOCK = 256

#: The number of pixels without a class.
VOID = -1

#: Classes need no more than the numbers that they are stored as.
MOST_CLASSES = np.iinfo(np.int16).max


def check_masks(y: Any, n_rows: int, sides: tuple[int, int], owner: str) -> np.ndarray:
    """Labels of pixels, ``(n_rows, height, width)``; ``ValueError`` for what is none."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    y = np.asarray(as_array(y))
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity; give pixels without a class a label, and name void_label.")
    if y.shape != (n_rows, *sides):
        raise ValueError(
            f"y must have a label for each pixel of X, shape {(n_rows, *sides)}, got {y.shape}; "
            "axes of X are (images, channels, height, width), or (images, height, width) of one channel."
        )
    return y


def classes_of(y: np.ndarray, void_label: Any) -> np.ndarray:
    """The labels that occur, in ascending order, without that of void pixels."""
    try:
        found = np.unique(y)
    except TypeError as error:
        raise ValueError(
            "y must hold labels of one kind, such as integers or strings; give pixels without a class a label of that "
            f"kind, too, and name void_label: {error}."
        ) from error
    if found.dtype == object and (plain := np.asarray(found.tolist())).dtype.kind in "biu":
        found = plain  # files hold no objects but strings
    found = found if void_label is None else found[found != void_label]
    if not len(found):
        raise ValueError(f"y must have a pixel that is not void_label={void_label!r}, got none.")
    if len(found) > MOST_CLASSES:
        raise ValueError(f"y must have at most {MOST_CLASSES} classes, got {len(found)}; is it continuous?")
    return found


def _check_together(kind: type, plain: Plain) -> None:
    if len(plain["scaling"].center) != math.prod(plain["shape"]):
        raise ValueError(f"{kind.__name__}.scaling must be for the cells of a row of shape {plain['shape']}.")
    if len(plain["target_shape"]) != 2:
        raise ValueError(f"{kind.__name__}.target_shape must be a height and a width, got {plain['target_shape']}.")
    classes = plain["classes"]
    if not len(classes) or (classes[1:] <= classes[:-1]).any():
        raise ValueError(f"{kind.__name__}.classes must hold one or more ascending labels.")
    if len(plain["class_weight"]) != len(classes):
        raise ValueError(f"{kind.__name__}.class_weight must have a weight for each of {len(classes)} classes.")


FIELDS: dict[str, Check] = {
    "shape": is_shape,
    "target_shape": is_shape,
    "dtype": lambda value, where: None if value in ("float32", "float64") else _refuse_dtype(value, where),
    "scaling": instance(Scaling),
    "classes": is_targets,
    "class_weight": array("f8", None, low=0.0),
}


def _refuse_dtype(value: Any, where: str) -> None:
    raise ValueError(f"{where} must be 'float32' or 'float64', got {value!r:.60}.")


@by_state(FIELDS, check=_check_together, take=lambda rows: rows.state, make=lambda plain: MaskedImages(**plain))
class MaskedImages:
    """Images as float32 in the network's units, and labels of pixels as numbers of classes.

    Parameters
    ----------
    shape, target_shape : tuple of int
        Shape of an image, and its height and width.
    dtype : str
        Dtype of the training images.
    scaling : Scaling or None
        A centre for each channel and one scale; None before :meth:`fit`.
    classes : ndarray or None
        The labels in ascending order.
    class_weight : ndarray or None
        Weight of each class in the loss; a pixel's mean weight is 1.
    channels : ndarray of int or None
        The channel of each cell.
    void_label : label or None
        Label of pixels without a class.
    weigh : callable or None
        ``(classes, counts) -> weights``, with the number of pixels of each class in each image.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        target_shape: tuple[int, int],
        dtype: str,
        *,
        scaling: Scaling | None = None,
        classes: np.ndarray | None = None,
        class_weight: np.ndarray | None = None,
        channels: np.ndarray | None = None,
        void_label: Any = None,
        weigh: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ):
        self.shape, self.target_shape, self.dtype = shape, target_shape, dtype
        self.scaling, self.classes, self.class_weight = scaling, classes, class_weight
        self.channels, self.void_label, self.weigh = channels, void_label, weigh

    @property
    def n_features(self) -> int:
        """Number of cells of an image."""
        return math.prod(self.shape)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 before :meth:`fit`."""
        return 0 if self.classes is None else len(self.classes)

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Take scales from the chosen images, and classes from all, as none must be unknown in held-out ones."""
        assert self.channels is not None, "a new preprocessor knows the channels"
        assert self.weigh is not None, "a new preprocessor knows how classes are weighted"
        y = np.asarray(as_array(y))
        self.scaling = fit_channel_scaling(X, chosen, self.channels)
        self.classes = classes_of(y, self.void_label)
        counts = np.stack([np.bincount(row + 1, minlength=self.n_classes + 1)[1:] for row in self.numbers(y[chosen])])
        weights = self.weigh(self.classes, counts)
        mean = float((counts.sum(axis=0) * weights).sum() / max(counts.sum(), 1))
        self.class_weight = weights / (mean or 1.0)
        return self

    def numbers(self, y: np.ndarray) -> np.ndarray:
        """Numbers of the pixels' classes, ``(n, n_pixels)``; ``ValueError`` for labels that the fit did not know."""
        assert self.classes is not None, "fit must be called first"
        flat = y.reshape(len(y), -1)
        found = np.searchsorted(self.classes, flat).clip(max=self.n_classes - 1)
        is_known = self.classes[found] == flat
        is_void = np.zeros_like(is_known) if self.void_label is None else flat == self.void_label
        if (unknown := ~is_known & ~is_void).any():
            raise ValueError(
                f"y holds {flat[unknown][0]!r}, but the classes of the fit were {self.classes.tolist()!r:.200}."
            )
        return np.where(is_void, VOID, found).astype(np.int16)

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        """All images and masks as the network reads them, on the device."""
        x = np.empty(X.shape, dtype=np.float32)
        for start in range(0, len(X), _BLOCK):
            self.prepare(X[start : start + _BLOCK], x[start : start + _BLOCK])
        numbers = self.numbers(np.asarray(as_array(y)))
        return Pairs(torch.from_numpy(x).to(device), torch.from_numpy(numbers).to(device))

    def prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        """Write one block of images as the network reads it."""
        assert self.scaling is not None, "fit must be called first"
        self.scaling.apply(block, out)

    @property
    def state(self) -> dict[str, Any]:
        """What predictions need, for files without pickle."""
        return {name: getattr(self, name) for name in FIELDS}
