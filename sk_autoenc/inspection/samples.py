"""Rows that an estimator draws, in a grid: as images, or as lines over features or time."""

import copy
import inspect
import math
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.panels import draw_images, draw_lines, open_panels
from sk_autoenc.inspection.shapes import as_series, check_image_shape, flat_rows, form_of_rows


class SampleGridDisplay:
    """Rows in a grid of panels, one in each.

    Parameters
    ----------
    rows : array-like of shape (n_samples, n_features) or (n_samples, n_channels, n_timepoints), or list of series
        The rows. Arrays with three axes, and arrays one by one, are series, with a line for each channel; those that
        end early, or have NaN after their end, have lines that stop there.
    image_shape : tuple of two or three int or None, default=None
        Height and width of the images that the rows are, with 3 before or after them for colours, as the rows hold
        them. None draws lines over features or time.
    n_columns : int or None, default=None
        Number of panels in a tier; None makes a square of them, or nearly one.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_tiers, n_columns)
        The panels, filled tier by tier; those that are left over are hidden.
    ax_ : matplotlib Axes
        The axes that the panels divide.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    SampleGridDisplay.from_estimator : Plot rows that a fitted estimator draws.

    Examples
    --------
    >>> from sk_autoenc.inspection import SampleGridDisplay
    >>> SampleGridDisplay([[0, 1, 2], [2, 1, 0], [1, 1, 1]]).plot().axes_.shape
    (2, 2)
    """

    def __init__(self, rows: ArrayLike, *, image_shape: tuple[int, ...] | None = None, n_columns: int | None = None):
        self.rows = rows
        self.image_shape = image_shape
        self.n_columns = n_columns

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_samples: int = 25,
        random_state: Any = None,
        mean: bool = False,
        image_shape: tuple[int, ...] | None = None,
        n_columns: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot rows that a fitted estimator draws.

        Parameters
        ----------
        estimator : estimator with ``sample``
            Fitted; ``GaussianMixture`` and ``KernelDensity`` will do, too.
        n_samples : int, default=25
            How many rows to draw.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws, also for an estimator such as ``GaussianMixture``, whose ``sample`` takes no seed.
        mean : bool, default=False
            Whether to draw without the noise of the likelihood, where ``sample`` can.
        image_shape : tuple of two or three int or None, default=None
            Height and width of the images that the rows are, with 3 before or after them for colours. None: images
            if the estimator's architecture reads images, lines for each channel if it reads series,
            else lines over the features.
        n_columns : int or None, default=None
            Number of panels in a tier; None makes a square of them, or nearly one.
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : SampleGridDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.mixture import GaussianMixture
        >>> from sk_autoenc.inspection import SampleGridDisplay
        >>> mixture = GaussianMixture(10, covariance_type="diag", random_state=0).fit(load_digits().data)
        >>> display = SampleGridDisplay.from_estimator(mixture, n_samples=12, random_state=1, image_shape=(8, 8))
        >>> display.axes_.shape
        (3, 4)
        """
        if not hasattr(estimator, "sample"):
            raise TypeError(f"estimator must have sample, which {type(estimator).__name__} does not have.")
        check_is_fitted(estimator)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        rows = _draw(estimator, n_samples, random_state, mean)
        form = form_of_rows(estimator, rows, image_shape)
        return cls(form.unfold(rows), image_shape=form.image_shape, n_columns=n_columns).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to ``imshow`` or to ``plot`` of every panel. Images share one scale.

        Returns
        -------
        self : SampleGridDisplay
            The display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        rows = as_series(self.rows) if self.image_shape is None else flat_rows(self.rows)
        check_image_shape(self.image_shape, rows[0].size)
        n_columns = math.ceil(math.sqrt(len(rows))) if self.n_columns is None else self.n_columns
        check_scalar(n_columns, "n_columns", Integral, min_val=1)
        n_tiers = math.ceil(len(rows) / n_columns)
        self.ax_, self.axes_ = open_panels(ax, "SampleGridDisplay.plot", n_tiers, n_columns)
        self.figure_ = self.ax_.figure
        if self.image_shape is None:
            draw_lines(self.axes_, {"sample": rows}, **kwargs)
        else:
            draw_images(self.axes_, rows, self.image_shape, **kwargs)
        return self


def _draw(estimator: Any, n_samples: int, random_state: Any, mean: bool) -> np.ndarray:
    """Rows of ``sample``, whose further arguments and results differ between estimators."""
    accepted = inspect.signature(estimator.sample).parameters
    if mean and "mean" not in accepted:
        raise TypeError(f"mean must be False for {type(estimator).__name__}, whose sample does not take it, got True.")
    options: dict[str, Any] = {"mean": True} if mean else {}
    if "random_state" in accepted:
        options["random_state"] = random_state
    elif random_state is not None:
        estimator = copy.copy(estimator).set_params(random_state=random_state)
    rows = estimator.sample(n_samples, **options)
    return np.asarray(rows[0] if isinstance(rows, tuple) else rows)  # mixtures also return the components
