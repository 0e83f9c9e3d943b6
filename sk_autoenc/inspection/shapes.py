"""Whether rows to draw are images, series, or features, from an estimator's architecture or from the user."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from sk_autoenc.architectures import as_architecture
from sk_autoenc.data.series import is_list_of_series, padded

_N_COLORS = 3


class Form(NamedTuple):
    """Shape of images, or channels and timepoints of series (channels may come last in rows), or neither."""

    image_shape: tuple[int, ...] | None = None
    series_shape: tuple[int, ...] | None = None
    channels_last: bool = False

    def unfold(self, rows: Any) -> Any:
        """Rows as displays read them: series, flat or with channels last, as (n, channels, timepoints)."""
        if self.series_shape is None or rows is None or is_list_of_series(rows):
            return rows
        if self.channels_last:
            return np.asarray(rows).reshape(-1, *self.series_shape[::-1]).swapaxes(1, 2)
        return np.asarray(rows).reshape(-1, *self.series_shape)


def form_of_rows(estimator: Any, rows: Any, image_shape: tuple[int, ...] | None) -> Form:
    """The form of rows by ``image_shape``; if that is None, by the architecture of the fitted estimator."""
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
    """Refuse an image shape whose number of cells is not the number of features; None, for lines, is accepted."""
    if image_shape is None:
        return
    n_sides = len(image_shape) - (len(image_shape) == 3 and _N_COLORS in (image_shape[0], image_shape[-1]))
    if n_sides != 2 or math.prod(image_shape) != n_features:
        raise ValueError(
            f"image_shape must be (height, width), (3, height, width) or (height, width, 3) with {n_features} cells, "
            f"the number of features, got {image_shape!r}."
        )


def flat_rows(rows: ArrayLike) -> np.ndarray:
    """Rows, which may have more axes, as floats of shape (n_samples, n_features)."""
    values = np.asarray(rows, dtype=float)
    return values.reshape(len(values), -1)


def as_series(rows: Any) -> np.ndarray:
    """Rows as floats of shape (n_samples, n_channels, n_timepoints), with NaN after the ends of a list of series.

    Other rows become one channel.
    """
    values = np.asarray(padded(rows) if is_list_of_series(rows) else rows, dtype=float)
    return values if values.ndim == 3 else values.reshape(len(values), 1, -1)


def as_images(rows: np.ndarray, image_shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Flat rows as images for matplotlib: grey ones unchanged, those in colour with colours last, from 0 to 1."""
    images = rows.reshape(-1, *image_shape)
    if len(image_shape) == 2:
        return images
    colored = images if image_shape[-1] == _N_COLORS else np.moveaxis(images, 1, -1)
    return np.clip((colored - low) / ((high - low) or 1.0), 0, 1)
