"""Rows in a grid of panels, as images or as lines over the features: what the displays of rows share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sk_autoenc.inspection.pyplot import import_pyplot


def check_image_shape(image_shape: tuple[int, int] | None, n_features: int) -> None:
    """Refuse images that have another number of pixels than rows have features; None stands for lines."""
    if image_shape is not None and (len(image_shape) != 2 or image_shape[0] * image_shape[1] != n_features):
        raise ValueError(
            f"image_shape must be a height and a width whose product is the number of features, {n_features}; "
            f"got {image_shape!r}."
        )


def flat_rows(rows: ArrayLike) -> np.ndarray:
    """Rows, which may have axes of their own, as floats of shape (n_samples, n_features)."""
    values = np.asarray(rows, dtype=float)
    return values.reshape(len(values), -1)


def open_panels(ax: Any, caller: str, n_tiers: int, n_columns: int, *, height: float = 1.1) -> tuple[Any, np.ndarray]:
    """``ax``, or that of a new figure, its own frame hidden, and the panels of shape (n_tiers, n_columns) in it."""
    if ax is None:
        figsize = (1.1 * n_columns + 1, height * n_tiers)
        _, ax = import_pyplot(caller).subplots(figsize=figsize, layout="constrained")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
    return ax, _divide(ax, n_tiers, n_columns)


def draw_images(panels: np.ndarray, rows: np.ndarray, image_shape: tuple[int, int], **options: Any) -> None:
    """A row in each panel, tier by tier, as an image; all on one scale."""
    options = {"vmin": rows.min(), "vmax": rows.max(), "cmap": "gray", **options}
    for panel, row in zip(_first(panels, len(rows)), rows, strict=True):
        panel.imshow(row.reshape(image_shape), **options)
        panel.set(xticks=[], yticks=[])


def draw_lines(panels: np.ndarray, lines: Mapping[str, np.ndarray], **options: Any) -> None:
    """A row of each kind in each panel, tier by tier, as lines over the features; all on one scale."""
    low, high = min(rows.min() for rows in lines.values()), max(rows.max() for rows in lines.values())
    margin = 0.05 * (high - low) or 1.0
    for name, rows in lines.items():
        for panel, row in zip(_first(panels, len(rows)), rows, strict=True):
            panel.plot(row, **{"label": name, "linewidth": 1, **options})
            panel.set_ylim(low - margin, high + margin)
    for panel in panels[:, 1:].flat:
        panel.set_yticks([])
    for panel in panels[:-1].flat:
        panel.set_xticks([])


def _first(panels: np.ndarray, n: int) -> list[Any]:
    """The first ``n`` panels, tier by tier; those that are left over are hidden."""
    for panel in panels.flat[n:]:
        panel.set_visible(False)
    return list(panels.flat[:n])


def _divide(ax: Any, n_tiers: int, n_columns: int, gap: float = 0.05) -> np.ndarray:
    """A grid of panels within ``ax``, which may be any axes; shape (n_tiers, n_columns)."""
    panels = np.empty((n_tiers, n_columns), dtype=object)
    for tier, column in np.ndindex(panels.shape):
        corner = (column / n_columns, 1 - (tier + 1) / n_tiers)
        size = ((1 - gap) / n_columns, (1 - gap) / n_tiers)
        panels[tier, column] = ax.inset_axes((*corner, *size))
    return panels
