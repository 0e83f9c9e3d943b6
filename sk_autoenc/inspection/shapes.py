"""What rows hold that are to be drawn: images, series, or features, as far as an estimator's architecture says it."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from sk_autoenc.architectures import as_architecture
from sk_autoenc.data.series import is_list_of_series, padded

_N_COLORS = 3


class Form(NamedTuple):
    """Images of a shape, or series of channels and timepoints (which rows may hold the other way round), or neither."""

    image_shape: tuple[int, ...] | None = None
    series_shape: tuple[int, ...] | None = None
    channels_last: bool = False

    def unfold(self, rows: Any) -> Any:
        """Rows as displays take them: series that are flat, or have channels last, as (n, channels, timepoints)."""
        if self.series_shape is None or rows is None or is_list_of_series(rows):
            return rows
        if self.channels_last:
            return np.asarray(rows).reshape(-1, *self.series_shape[::-1]).swapaxes(1, 2)
        return np.asarray(rows).reshape(-1, *self.series_shape)


def form_of_rows(estimator: Any, rows: Any, image_shape: tuple[int, ...] | None) -> Form:
    """What such rows hold: what the user says, or else what the architecture of the fitted estimator says."""
    if image_shape is not None:
        return Form(image_shape)
    step = estimator
    while isinstance(step, Pipeline):
        step = step.steps[-1][1]
    if not (hasattr(step, "architecture") and hasattr(step, "input_shape_")):
        return Form()
    architecture = as_architecture(step.architecture).bind(step.input_shape_)
    shape = getattr(architecture, "input_shape", None)
    if shape is None or is_list_of_series(rows) or math.prod(np.shape(rows)[1:]) != math.prod(shape):
        return Form()
    channels_last = getattr(architecture, "channels_last", False)
    *sides, n_channels = shape if channels_last else (*shape[1:], shape[0])
    if len(sides) == 1:
        return Form(None, (n_channels, *sides), channels_last)
    if n_channels == _N_COLORS:
        return Form(tuple(shape))
    return Form(tuple(sides)) if n_channels == 1 else Form()


def check_image_shape(image_shape: tuple[int, ...] | None, n_features: int) -> None:
    """Refuse images that have another number of cells than rows have features; None stands for lines."""
    if image_shape is None:
        return
    n_sides = len(image_shape) - (len(image_shape) == 3 and _N_COLORS in (image_shape[0], image_shape[-1]))
    if n_sides != 2 or math.prod(image_shape) != n_features:
        raise ValueError(
            "image_shape must be a height and a width, with 3 before or after them for images in colour, whose product "
            f"is the number of features, {n_features}; got {image_shape!r}."
        )


def flat_rows(rows: ArrayLike) -> np.ndarray:
    """Rows, which may have axes of their own, as floats of shape (n_samples, n_features)."""
    values = np.asarray(rows, dtype=float)
    return values.reshape(len(values), -1)


def as_series(rows: Any) -> np.ndarray:
    """Rows as floats of shape (n_samples, n_channels, n_timepoints), NaN after the ends of those of a list.

    Rows with one axis are one channel; those with more than two have none.
    """
    values = np.asarray(padded(rows) if is_list_of_series(rows) else rows, dtype=float)
    return values if values.ndim == 3 else values.reshape(len(values), 1, -1)


def as_images(rows: np.ndarray, image_shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Flat rows as matplotlib takes images: grey ones as they are, those in colour with colours last, from 0 to 1."""
    images = rows.reshape(-1, *image_shape)
    if len(image_shape) == 2:
        return images
    colored = images if image_shape[-1] == _N_COLORS else np.moveaxis(images, 1, -1)
    return np.clip((colored - low) / ((high - low) or 1.0), 0, 1)
