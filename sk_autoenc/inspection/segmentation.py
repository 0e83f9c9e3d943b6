"""Images, their true masks and predicted ones, one above the other."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.panels import open_panels

#: Colours that a palette of matplotlib has.
_PALETTE, _N_COLORS = "tab20", 20


class SegmentationDisplay:
    """Images, their true masks and predicted ones, one above the other.

    Parameters
    ----------
    images : array-like of shape (n_samples, height, width), or with 1 or 3 channels first or last
        The images.
    y_true, y_pred : array-like of shape (n_samples, height, width)
        True and predicted labels of the pixels; ``y_true`` may be None.
    classes : array-like of shape (n_classes,) or None, default=None
        The labels, in the order of their colours; others are white. None takes all that occur.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_kinds, n_samples)
        The panels: images, true masks if there are any, predicted masks.
    ax_ : matplotlib Axes
        The axes that the panels divide.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    SegmentationDisplay.from_estimator : Plot the masks that a fitted estimator predicts.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc.inspection import SegmentationDisplay
    >>> images = np.arange(32).reshape(2, 4, 4)
    >>> display = SegmentationDisplay(images, images > 8, images > 10).plot()
    >>> display.axes_.shape
    (3, 2)
    """

    def __init__(self, images: ArrayLike, y_true: ArrayLike | None, y_pred: ArrayLike, *, classes: Any = None):
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.classes = classes

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, n_samples: int = 4, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot images and the masks that a fitted estimator predicts for them.

        Parameters
        ----------
        estimator : estimator with ``predict``
            Fitted; predicts a label for each pixel.
        X : array-like of shape (n_samples, ...)
            Images.
        y : array-like of shape (n_samples, height, width) or None, default=None
            True labels.
        n_samples : int, default=4
            How many images to show, from the first.
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : SegmentationDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sk_autoenc import SegNetSegmenter
        >>> from sk_autoenc.inspection import SegmentationDisplay
        >>> images = load_digits().images[:40]
        >>> model = SegNetSegmenter((4,), stem=1, max_iter=1, random_state=0).fit(images, images > 8)
        >>> SegmentationDisplay.from_estimator(model, images, images > 8).axes_.shape
        (3, 4)
        """
        check_is_fitted(estimator)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        true = None if y is None else np.asarray(y)[:n_samples]
        rows = np.asarray(X)[:n_samples]
        classes = getattr(estimator, "classes_", None)
        return cls(rows, true, estimator.predict(rows), classes=classes).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw images and masks.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to ``imshow`` of the masks.

        Returns
        -------
        self : SegmentationDisplay
            The display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        masks = {"truth": self.y_true, "prediction": self.y_pred}
        found = {name: np.asarray(mask) for name, mask in masks.items() if mask is not None}
        classes = np.unique(np.concatenate([mask.ravel() for mask in found.values()]))
        classes = classes if self.classes is None else np.asarray(self.classes)
        images = as_shown(np.asarray(self.images, dtype=float), found["prediction"].shape)
        self.ax_, self.axes_ = open_panels(ax, "SegmentationDisplay.plot", 1 + len(found), len(images))
        for panel, image in zip(self.axes_[0], images, strict=True):
            panel.imshow(image, cmap="gray", vmin=0, vmax=1)
        options = {"cmap": _PALETTE, "vmin": -0.5, "vmax": _N_COLORS - 0.5, "interpolation": "nearest", **kwargs}
        for panels, mask in zip(self.axes_[1:], found.values(), strict=True):
            for panel, labels in zip(panels, mask, strict=True):
                place = (labels[..., None] == classes).argmax(-1) % _N_COLORS
                panel.imshow(np.ma.masked_where(~np.isin(labels, classes), place), **options)
        for panel in self.axes_.flat:
            panel.set(xticks=[], yticks=[])
        for panel, name in zip(self.axes_[:, 0], ["image", *found], strict=True):
            panel.set_ylabel(name, rotation=0, ha="right", va="center")
        self.figure_ = self.ax_.figure
        return self


def as_shown(images: np.ndarray, mask_shape: tuple[int, ...]) -> np.ndarray:
    """Images from 0 to 1 as matplotlib has them: grey without channels, colours last."""
    if images.ndim == 4 and images.shape[2:] == mask_shape[1:] and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.shape[:3] != mask_shape or images.shape[3:] not in ((), (3,)):
        raise ValueError(
            f"images must be grey or in three colours, with masks of their height and width, got shapes "
            f"{images.shape} and {mask_shape}."
        )
    low, high = images.min(), images.max()
    return (images - low) / ((high - low) or 1.0)
