"""Rows and their reconstructions: as images, or as lines over features or time."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.data.series import is_list_of_series
from sk_autoenc.inspection.panels import draw_images, draw_lines, open_panels
from sk_autoenc.inspection.shapes import as_series, check_image_shape, flat_rows, form_of_rows


class ReconstructionDisplay:
    """Rows and their reconstructions: images one above the other, or lines in one panel per row.

    Parameters
    ----------
    rows : array-like of shape (n_samples, n_features) or (n_samples, n_channels, n_timepoints), or list of series
        The rows. Arrays with three axes, and arrays one by one, are series, with a line for each channel; those that
        end early, or have NaN after their end, have lines that stop there.
    reconstructions : array-like or list, like ``rows``
        What they are reconstructed as.
    noisy : array-like or list, like ``rows``, or None, default=None
        What the estimator saw in place of ``rows``, if that was something else.
    image_shape : tuple of two or three int or None, default=None
        Height and width of the images that the rows are, with 3 before or after them for colours, as the rows hold
        them. None draws lines over features or time.

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
        image_shape: tuple[int, ...] | None = None,
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
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot rows and their reconstructions by a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``reconstruct``, or transformer with ``inverse_transform``
            Fitted; a Pipeline or PCA will do.
        X : array-like of shape (n_samples, ...), or list of series
            Rows, in any form that the estimator takes.
        X_noisy : array-like or list, like ``X``, or None, default=None
            What the estimator is to reconstruct in place of ``X``.
        n_samples : int, default=8
            How many rows to show, from the first.
        image_shape : tuple of two or three int or None, default=None
            Height and width of the images that the rows are, with 3 before or after them for colours. None: images
            if the estimator's architecture reads images, lines for each channel if it reads series,
            else lines over the features.
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
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        if X_noisy is not None and (got := _shape(X_noisy)) != _shape(X):
            raise ValueError(f"X_noisy must have the shape of X, {_shape(X)}, got {got}.")
        rows = X[:n_samples]
        noisy = None if X_noisy is None else X_noisy[:n_samples]
        seen = rows if noisy is None else noisy
        if hasattr(estimator, "reconstruct"):
            reconstructions = estimator.reconstruct(seen)
            reconstructions = np.asarray(reconstructions) if hasattr(reconstructions, "columns") else reconstructions
        elif hasattr(estimator, "inverse_transform"):
            reconstructions = estimator.inverse_transform(estimator.transform(seen))
        else:
            raise TypeError(
                f"estimator must have reconstruct or inverse_transform, which {type(estimator).__name__} does not have."
            )
        form = form_of_rows(estimator, rows, image_shape)
        rows, reconstructions, noisy = map(form.unfold, (rows, reconstructions, noisy))
        return cls(rows, reconstructions, noisy=noisy, image_shape=form.image_shape).plot(ax, **kwargs)

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
        read = as_series if self.image_shape is None else flat_rows
        data = {name: read(values) for name, values in kinds.items() if values is not None}
        n_samples, caller = len(data["row"]), "ReconstructionDisplay.plot"
        check_image_shape(self.image_shape, data["row"][0].size)
        if self.image_shape is None:
            self.ax_, self.axes_ = open_panels(ax, caller, 1, n_samples, height=1.8)
            draw_lines(self.axes_, data, **kwargs)
            legend = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(data), "frameon": False}
            self.ax_.legend(*self.axes_[0, 0].get_legend_handles_labels(), **legend)
        else:
            self.ax_, self.axes_ = open_panels(ax, caller, len(data), n_samples)
            scale = {"vmin": np.nanmin(data["row"]), "vmax": np.nanmax(data["row"])}
            draw_images(self.axes_, np.concatenate(list(data.values())), self.image_shape, **{**scale, **kwargs})
            for panel, name in zip(self.axes_[:, 0], data, strict=True):
                panel.set_ylabel(name, rotation=0, ha="right", va="center")
        self.figure_ = self.ax_.figure
        return self


def _shape(X: Any) -> Any:
    """Shape of an array, or the shapes of a list of series."""
    return [np.shape(case) for case in X] if is_list_of_series(X) else np.shape(X)
