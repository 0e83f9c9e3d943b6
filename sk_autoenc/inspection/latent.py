"""Codes as points in the plane, coloured by class or by value, with pictures of some of the rows if asked for."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import type_of_target

from sk_autoenc.inspection.panels import draw_images, draw_lines
from sk_autoenc.inspection.pyplot import import_pyplot
from sk_autoenc.inspection.shapes import as_series, check_image_shape, flat_rows, form_of_rows

#: Integers with more distinct values than this are shown by a colour bar.
MAX_CLASSES = 20

#: Side of a panel with a row, as a share of the axes.
_PANEL = 0.08


class LatentDisplay:
    """Two components of the codes of some rows, as a scatter plot.

    Parameters
    ----------
    codes : array-like of shape (n_samples, 2)
        The two components.
    y : array-like of shape (n_samples,) or None, default=None
        What colours the points: classes get a legend; real numbers, and integers with more than 20 distinct
        values, a colour bar.
    names : sequence of two str, default=("code 0", "code 1")
        Labels of the axes.
    rows : array-like of shape (n_samples, ...), list of series, or None, default=None
        What is drawn at the codes, of as many rows as do not cover each other: series of one channel or several
        (three axes, or arrays one by one), features as a line, or images.
    image_shape : tuple of two or three int or None, default=None
        Height and width of the images that the rows are, with 3 before or after them for colours, as the rows hold
        them. None draws lines.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the points are drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    scatters_ : list of matplotlib PathCollection
        The points, one collection per class, or one in all.
    legend_ : matplotlib Legend or None
        The legend of the classes.
    colorbar_ : matplotlib Colorbar or None
        The colour bar of the values.
    shown_ : ndarray of int
        Positions of the rows that are drawn.
    panels_ : ndarray of matplotlib Axes, of the length of ``shown_``
        Where they are drawn.

    See Also
    --------
    LatentDisplay.from_estimator : Plot the codes that a fitted transformer gives.

    Examples
    --------
    >>> from sk_autoenc.inspection import LatentDisplay
    >>> display = LatentDisplay([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], y=["a", "a", "b"]).plot()
    >>> [text.get_text() for text in display.legend_.get_texts()]
    ['a', 'b']
    """

    def __init__(
        self,
        codes: ArrayLike,
        *,
        y: ArrayLike | None = None,
        names: Sequence[str] = ("code 0", "code 1"),
        rows: Any = None,
        image_shape: tuple[int, ...] | None = None,
    ):
        self.codes = codes
        self.y = y
        self.names = names
        self.rows = rows
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        y: ArrayLike | None = None,
        components: tuple[int, int] = (0, 1),
        show_rows: bool = False,
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot two components of the codes that a fitted transformer gives.

        Parameters
        ----------
        estimator : transformer
            Fitted; any transformer will do.
        X : array-like of shape (n_samples, ...), or list of series
            Rows, in any form that the estimator takes.
        y : array-like of shape (n_samples,) or None, default=None
            What colours the points, see :class:`LatentDisplay`.
        components : tuple of two int, default=(0, 1)
            Which components are on the horizontal and on the vertical axis.
        show_rows : bool, default=False
            Whether to draw some rows at their codes, as many as do not cover each other.
        image_shape : tuple of two or three int or None, default=None
            Height and width of the images that the rows are, with 3 before or after them for colours. None: images
            if the estimator's architecture reads images, lines for each channel if it reads series,
            else lines over the features.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LatentDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.decomposition import PCA
        >>> from sk_autoenc.inspection import LatentDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> display = LatentDisplay.from_estimator(PCA(3).fit(X), X, y=y, components=(1, 2))
        >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
        ('pca1', 'pca2')
        """
        if y is not None:
            check_consistent_length(X, y)
        codes = np.asarray(estimator.transform(X))
        check_components(components, codes.shape[1], pair=True)
        names = component_names(estimator, codes.shape[1])
        shown: dict[str, Any] = {}
        if show_rows:
            form = form_of_rows(estimator, X, image_shape)
            shown = {"rows": form.unfold(X), "image_shape": form.image_shape}
        return cls(codes[:, list(components)], y=y, names=[names[i] for i in components], **shown).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, cmap: Any = None, **kwargs: Any) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        cmap : str, matplotlib Colormap or None, default=None
            Colours of ``y``. None: ``"tab10"`` for up to 10 classes, ``"turbo"`` for more, ``"viridis"`` for values.
        **kwargs : dict
            Passed to ``ax.scatter``.

        Returns
        -------
        self : LatentDisplay
            The display, with ``ax_``, ``figure_``, ``scatters_``, ``legend_``, ``colorbar_``, ``shown_`` and
            ``panels_``.
        """
        plt = import_pyplot("LatentDisplay.plot")
        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_, self.legend_, self.colorbar_ = ax, ax.figure, None, None
        horizontal, vertical = np.asarray(self.codes).T
        options = {"s": 10, **kwargs}
        if self.y is None:
            self.scatters_ = [ax.scatter(horizontal, vertical, **options)]
        elif not _is_categorical(y := np.asarray(self.y)):
            self.scatters_ = [ax.scatter(horizontal, vertical, **{"c": y, "cmap": cmap or "viridis", **options})]
            self.colorbar_ = ax.figure.colorbar(self.scatters_[0], ax=ax)
        else:
            classes = np.unique(y)
            # A list of colours is read in order, a gradient at equal distances from end to end.
            colormap = plt.get_cmap(cmap or ("tab10" if len(classes) <= 10 else "turbo"))
            places = np.arange(len(classes)) if colormap.N < 256 else np.linspace(0, 1, len(classes))
            self.scatters_ = [
                ax.scatter(horizontal[y == value], vertical[y == value], **{"color": color, "label": value, **options})
                for value, color in zip(classes, colormap(places), strict=True)
            ]
            self.legend_ = ax.legend()
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        self._draw_rows()
        return self

    def _draw_rows(self) -> None:
        """Draw rows that do not cover each other, in small panels at their codes."""
        self.shown_, self.panels_ = np.array([], dtype=int), np.array([], dtype=object)
        if self.rows is None:
            return
        check_consistent_length(self.codes, self.rows)
        places = np.asarray(self.codes, dtype=float)
        sides = _PANEL * np.ptp([self.ax_.get_xlim(), self.ax_.get_ylim()], axis=1)
        self.shown_ = _apart(places / sides)
        boxes = [(*(place - sides / 2), *sides) for place in places[self.shown_]]
        panels = [self.ax_.inset_axes(box, transform=self.ax_.transData, zorder=4) for box in boxes]
        self.panels_ = np.array(panels, dtype=object)
        if self.image_shape is None:
            draw_lines(self.panels_[None], {"row": as_series(self.rows)[self.shown_]})
        else:
            rows = flat_rows(self.rows)
            check_image_shape(self.image_shape, rows.shape[1])
            draw_images(self.panels_[None], rows[self.shown_], self.image_shape)
        for panel in self.panels_:
            panel.set(xticks=[], yticks=[])


def _apart(places: np.ndarray) -> np.ndarray:
    """Positions of points at a distance of 1 or more in one of the two directions, chosen greedily."""
    chosen: list[int] = []
    for i, place in enumerate(places):
        if np.abs(places[chosen] - place).max(axis=1, initial=0).min(initial=1) >= 1:
            chosen.append(i)
    return np.array(chosen, dtype=int)


def check_components(components: Sequence[int], n_components: int, *, pair: bool) -> None:
    """Refuse components that the code does not have, and, with ``pair``, any number of components but two."""
    if pair and n_components < 2:
        raise ValueError(f"estimator must have codes of 2 components or more to draw a plane, got {n_components}.")
    fit = all(isinstance(component, Integral) and 0 <= component < n_components for component in components)
    if not fit or (pair and len(components) != 2):
        raise ValueError(
            f"components must be {'two ' if pair else ''}integers from 0 to {n_components - 1}, because codes have "
            f"{n_components} components, got {components!r}."
        )


def component_names(estimator: Any, n_components: int) -> list[str]:
    """Names of the components of an estimator's codes."""
    if hasattr(estimator, "get_feature_names_out"):
        return [str(name) for name in estimator.get_feature_names_out()]
    return [f"code {component}" for component in range(n_components)]


def _is_categorical(y: np.ndarray) -> bool:
    """Whether ``y`` is classes, not values."""
    if type_of_target(y, input_name="y").startswith("continuous"):
        return False
    return y.dtype.kind not in "iuf" or len(np.unique(y)) <= MAX_CLASSES
