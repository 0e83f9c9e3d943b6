"""Rows beside what an estimator makes of them: as images, or as lines over the features."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.pyplot import import_pyplot


class ReconstructionDisplay:
    """Rows and their reconstructions: images one above the other, or lines in one panel per row.

    Parameters
    ----------
    rows : array-like of shape (n_samples, n_features)
        The rows.
    reconstructions : array-like of shape (n_samples, n_features)
        What they are reconstructed as.
    noisy : array-like of shape (n_samples, n_features) or None, default=None
        What the estimator saw in place of ``rows``, if that was something else.
    image_shape : tuple of two int or None, default=None
        Height and width of the images that the rows are; None draws them as lines, features on the x axis.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_kinds, n_samples) for images or (1, n_samples) for lines
        The panels; the kinds are rows, noisy rows if there are any, and reconstructions.
    ax_ : matplotlib Axes
        The axes that the panels divide.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    ReconstructionDisplay.from_estimator : Plot the reconstructions that a fitted estimator gives.

    Examples
    --------
    >>> from sk_autoenc.inspection import ReconstructionDisplay
    >>> display = ReconstructionDisplay([[0, 1, 2], [2, 1, 0]], [[0, 1, 1], [1, 1, 0]]).plot()
    >>> display.axes_.shape
    (1, 2)
    """

    def __init__(
        self,
        rows: ArrayLike,
        reconstructions: ArrayLike,
        *,
        noisy: ArrayLike | None = None,
        image_shape: tuple[int, int] | None = None,
    ):
        self.rows = rows
        self.reconstructions = reconstructions
        self.noisy = noisy
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        X_noisy: Any = None,
        n_samples: int = 8,
        image_shape: tuple[int, int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot rows and their reconstructions by a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``reconstruct``, or transformer with ``inverse_transform``
            Fitted; a Pipeline or PCA will do.
        X : array-like of shape (n_samples, n_features)
            Rows.
        X_noisy : array-like of shape (n_samples, n_features) or None, default=None
            What the estimator is to reconstruct in place of ``X``.
        n_samples : int, default=8
            How many rows to show, from the first.
        image_shape : tuple of two int or None, default=None
            Height and width of the images that the rows are; None draws them as lines.
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : ReconstructionDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sk_autoenc.inspection import ReconstructionDisplay
        >>> X = load_digits().data
        >>> display = ReconstructionDisplay.from_estimator(PCA(8).fit(X), X, n_samples=5, image_shape=(8, 8))
        >>> display.axes_.shape
        (2, 5)
        """
        check_is_fitted(estimator)
        if n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more, got {n_samples!r}.")
        if X_noisy is not None and np.shape(X_noisy) != np.shape(X):
            raise ValueError(f"X_noisy must have the shape of X, {np.shape(X)}, got {np.shape(X_noisy)}.")
        rows = X[:n_samples]
        noisy = None if X_noisy is None else X_noisy[:n_samples]
        seen = rows if noisy is None else noisy
        if hasattr(estimator, "reconstruct"):
            reconstructions = estimator.reconstruct(seen)
        elif hasattr(estimator, "inverse_transform"):
            reconstructions = estimator.inverse_transform(estimator.transform(seen))
        else:
            raise TypeError(
                f"estimator must have reconstruct or inverse_transform, and {type(estimator).__name__} has neither."
            )
        return cls(rows, reconstructions, noisy=noisy, image_shape=image_shape).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the rows and their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to ``imshow`` or to ``plot`` of every panel. Images share one scale, that of ``rows``.

        Returns
        -------
        self : ReconstructionDisplay
            The display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        kinds = {"row": self.rows, "noisy": self.noisy, "reconstruction": self.reconstructions}
        data = {name: np.asarray(values, dtype=float) for name, values in kinds.items() if values is not None}
        n_samples, n_features = data["row"].shape
        shape = self.image_shape
        if shape is not None and (len(shape) != 2 or shape[0] * shape[1] != n_features):
            raise ValueError(
                f"image_shape must be a height and a width whose product is the number of features, {n_features}; "
                f"got {shape!r}."
            )
        n_tiers = 1 if shape is None else len(data)
        if ax is None:
            height = 1.8 if shape is None else 1.1 * n_tiers
            plt = import_pyplot("ReconstructionDisplay.plot")
            _, ax = plt.subplots(figsize=(1.1 * n_samples + 1, height), layout="constrained")
        ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        self.axes_ = _divide(ax, n_tiers, n_samples)
        if shape is None:
            self._draw_lines(data, kwargs)
        else:
            self._draw_images(data, shape, kwargs)
        return self

    def _draw_lines(self, data: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        low, high = min(values.min() for values in data.values()), max(values.max() for values in data.values())
        margin = 0.05 * (high - low) or 1.0
        for i, panel in enumerate(self.axes_[0]):
            for name, values in data.items():
                panel.plot(values[i], **{"label": name, "linewidth": 1, **options})
            panel.set_ylim(low - margin, high + margin)
            if i > 0:
                panel.set_yticks([])
        handles, names = self.axes_[0, 0].get_legend_handles_labels()
        self.ax_.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), frameon=False)

    def _draw_images(self, data: dict[str, np.ndarray], shape: tuple[int, int], options: dict[str, Any]) -> None:
        scale = {"vmin": data["row"].min(), "vmax": data["row"].max(), "cmap": "gray", **options}
        for panels, (name, values) in zip(self.axes_, data.items(), strict=True):
            for panel, value in zip(panels, values, strict=True):
                panel.imshow(value.reshape(shape), **scale)
                panel.set(xticks=[], yticks=[])
            panels[0].set_ylabel(name, rotation=0, ha="right", va="center")


def _divide(ax: Any, n_tiers: int, n_columns: int, gap: float = 0.05) -> np.ndarray:
    """A grid of panels within ``ax``, which may be any axes; shape (n_tiers, n_columns)."""
    panels = np.empty((n_tiers, n_columns), dtype=object)
    for tier, column in np.ndindex(panels.shape):
        corner = (column / n_columns, 1 - (tier + 1) / n_tiers)
        size = ((1 - gap) / n_columns, (1 - gap) / n_tiers)
        panels[tier, column] = ax.inset_axes((*corner, *size))
    return panels
