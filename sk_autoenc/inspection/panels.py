"""Rows in a grid of panels, as images or as lines over features or time; shared by the displays of rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sk_autoenc.inspection.pyplot import import_pyplot
from sk_autoenc.inspection.shapes import as_images

#: Styles of lines by kind, used if colours are for channels.
_STYLES = {"noisy": ":", "reconstruction": "--"}


def open_panels(ax: Any, caller: str, n_tiers: int, n_columns: int, *, height: float = 1.1) -> tuple[Any, np.ndarray]:
    """``ax``, or that of a new figure, without its frame, and the panels of shape (n_tiers, n_columns) in it."""
    if ax is None:
        figsize = (1.1 * n_columns + 1, height * n_tiers)
        _, ax = import_pyplot(caller).subplots(figsize=figsize, layout="constrained")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
    return ax, _divide(ax, n_tiers, n_columns)


def draw_images(panels: np.ndarray, rows: np.ndarray, image_shape: tuple[int, ...], **options: Any) -> None:
    """Draw a flat row in each panel, tier by tier, as an image; all images share one scale."""
    options = {"vmin": np.nanmin(rows), "vmax": np.nanmax(rows), "cmap": "gray", **options}
    images = as_images(rows, image_shape, options["vmin"], options["vmax"])
    for panel, image in zip(_first(panels, len(rows)), images, strict=True):
        panel.imshow(image, **options)
        panel.set(xticks=[], yticks=[])


def draw_lines(panels: np.ndarray, lines: Mapping[str, np.ndarray], **options: Any) -> None:
    """Draw series of each kind, (n, channels, timepoints), in each panel, tier by tier; all lines share one scale.

    With one channel each kind has a colour. With several, each channel has a colour and each kind a style.
    """
    low, high = min(map(np.nanmin, lines.values())), max(map(np.nanmax, lines.values()))
    margin = 0.05 * (high - low) or 1.0
    end = max(series.shape[2] for series in lines.values()) - 1
    aside = 0.05 * end or 0.05
    for name, series in lines.items():
        for panel, channels in zip(_first(panels, len(series)), series, strict=True):
            for number, values in enumerate(channels):
                style = {"color": f"C{number}", "linestyle": _STYLES.get(name, "-")} if len(channels) > 1 else {}
                label = name if number == 0 else None
                panel.plot(values, **{"label": label, "linewidth": 1, **style, **options})
            panel.set(xlim=(-aside, end + aside), ylim=(low - margin, high + margin))
    for panel in panels[:, 1:].flat:
        panel.set_yticks([])
    for panel in panels[:-1].flat:
        panel.set_xticks([])


def _first(panels: np.ndarray, n: int) -> list[Any]:
    """The first ``n`` panels, tier by tier; the rest are hidden."""
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
