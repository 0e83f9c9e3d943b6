"""Latent traversals: decoded codes along each component, or over the plane of two components."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.latent import check_components, component_names
from sk_autoenc.inspection.panels import draw_images, draw_lines, open_panels
from sk_autoenc.inspection.shapes import as_series, check_image_shape, flat_rows, form_of_rows


class LatentTraversalDisplay:
    """Decoded codes in a grid of panels: along a component from left to right, another in each tier.

    Parameters
    ----------
    rows : array-like of shape (n_tiers, n_steps, n_features) or (n_tiers, n_steps, n_channels, n_timepoints)
        The decoded codes.
    tiers : sequence of str
        Label at the left of each tier.
    steps : sequence of str
        Label below each column.
    names : sequence of two str, default=("", "")
        Labels of the two axes, the horizontal one first.
    image_shape : tuple of two or three int or None, default=None
        Height and width of the images that the rows are, with 3 before or after them for colours, as the rows hold
        them. None draws lines over features or time.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_tiers, n_steps)
        The panels.
    ax_ : matplotlib Axes
        The axes that the panels divide.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    LatentTraversalDisplay.from_estimator : Plot the codes that a fitted transformer decodes.

    Examples
    --------
    >>> from sk_autoenc.inspection import LatentTraversalDisplay
    >>> rows = [[[0, 1, 2], [1, 1, 1], [2, 1, 0]]]
    >>> LatentTraversalDisplay(rows, tiers=["slope"], steps=["1", "0", "-1"]).plot().axes_.shape
    (1, 3)
    """

    def __init__(
        self,
        rows: ArrayLike,
        *,
        tiers: Sequence[str],
        steps: Sequence[str],
        names: Sequence[str] = ("", ""),
        image_shape: tuple[int, ...] | None = None,
    ):
        self.rows = rows
        self.tiers = tiers
        self.steps = steps
        self.names = names
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        kind: str = "auto",
        row: int | None = None,
        components: Sequence[int] | None = None,
        n_steps: int = 9,
        percentiles: tuple[float, float] = (0.05, 0.95),
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Decode codes that change step by step with a fitted transformer, and plot the rows.

        The values of a component are quantiles of the codes of ``X``, so that equally many rows lie between any two
        steps. All other components are constant.

        Parameters
        ----------
        estimator : transformer with ``inverse_transform``
            Fitted; PCA or a Pipeline will do.
        X : array-like of shape (n_samples, ...), or list of series
            Rows, whose codes give the range of each component.
        kind : {"auto", "components", "plane"}, default="auto"
            ``"components"``: one component after the other, each in a tier of its own. ``"plane"``: two components at
            once, every pair of steps in a panel. ``"auto"``: the plane for codes of length two.
        row : int or None, default=None
            Number of the row of ``X`` whose code the components start from; None is the mean code.
        components : sequence of int or None, default=None
            Which components move; None is all of them, or for ``"plane"`` the first two.
        n_steps : int, default=9
            Number of steps, 2 or more.
        percentiles : tuple of two float, default=(0.05, 0.95)
            Quantiles at the first and at the last step.
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
        display : LatentTraversalDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sk_autoenc.inspection import LatentTraversalDisplay
        >>> X = load_digits().data
        >>> display = LatentTraversalDisplay.from_estimator(PCA(3).fit(X), X, n_steps=5, image_shape=(8, 8))
        >>> display.axes_.shape, list(display.tiers)
        ((3, 5), ['pca0', 'pca1', 'pca2'])
        """
        if not hasattr(estimator, "inverse_transform"):
            raise TypeError(f"estimator must have inverse_transform, which {type(estimator).__name__} does not have.")
        if kind not in ("auto", "components", "plane"):
            raise ValueError(f"kind must be 'auto', 'components' or 'plane', got {kind!r}.")
        check_is_fitted(estimator)
        check_scalar(n_steps, "n_steps", Integral, min_val=2)
        low, high = percentiles
        if not 0 <= low < high <= 1:
            raise ValueError(f"percentiles must be two increasing numbers from 0 to 1, got {percentiles!r}.")
        codes = np.asarray(estimator.transform(X))
        if row is not None:
            check_scalar(row, "row", Integral, min_val=0, max_val=len(codes) - 1)
        n_components = codes.shape[1]
        in_plane = kind == "plane" or (kind == "auto" and n_components == 2)
        chosen = (
            list(range(n_components)[:2] if in_plane else range(n_components)) if components is None else components
        )
        check_components(chosen, n_components, pair=in_plane)
        start, shares = codes.mean(axis=0) if row is None else codes[row], np.linspace(low, high, n_steps)
        steps = np.quantile(codes[:, list(chosen)], shares, axis=0).T  # (n_chosen, n_steps)
        path = _plane(start, chosen, steps) if in_plane else _lines(start, chosen, steps)
        names = [component_names(estimator, n_components)[i] for i in chosen]
        rows = np.asarray(estimator.inverse_transform(path.reshape(-1, n_components)))
        if in_plane:
            across, up = ([f"{value:.2g}" for value in values] for values in steps)
            labels: dict[str, Any] = {"tiers": up[::-1], "steps": across, "names": names}
        else:
            labels = {"tiers": names, "steps": [f"{share:.2g}" for share in shares], "names": ("quantile", "")}
        form = form_of_rows(estimator, rows, image_shape)
        rows = form.unfold(rows) if form.series_shape else flat_rows(rows)
        display = cls(rows.reshape(*path.shape[:2], *rows.shape[1:]), **labels, image_shape=form.image_shape)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the decoded codes.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            What the panels divide; None makes a new figure.
        **kwargs : dict
            Passed to ``imshow`` or to ``plot`` of every panel. Images share one scale.

        Returns
        -------
        self : LatentTraversalDisplay
            The display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        rows = np.asarray(self.rows, dtype=float)
        n_tiers, n_steps, *shape = rows.shape
        check_image_shape(self.image_shape, math.prod(shape))
        self.ax_, self.axes_ = open_panels(ax, "LatentTraversalDisplay.plot", n_tiers, n_steps)
        self.figure_ = self.ax_.figure
        decoded = rows.reshape(-1, *shape)
        if self.image_shape is None:
            draw_lines(self.axes_, {"decoded": as_series(decoded)}, **kwargs)
        else:
            draw_images(self.axes_, flat_rows(decoded), self.image_shape, **kwargs)
        for panel, name in zip(self.axes_[:, 0], self.tiers, strict=True):
            panel.set_ylabel(name, rotation=0, ha="right", va="center")
        for panel, name in zip(self.axes_[-1], self.steps, strict=True):
            panel.set_xlabel(name)
        beyond = 0 if self.image_shape else 15  # lines have ticks beside the labels of the panels
        self.ax_.set_xlabel(self.names[0], labelpad=20 + beyond)
        self.ax_.set_ylabel(self.names[1], labelpad=40 + beyond)
        return self


def _lines(start: np.ndarray, components: Sequence[int], steps: np.ndarray) -> np.ndarray:
    """Codes along each component in turn, of shape (n_components, n_steps, length of the code)."""
    path = np.tile(start, (*steps.shape, 1))
    for tier, component in enumerate(components):
        path[tier, :, component] = steps[tier]
    return path


def _plane(start: np.ndarray, components: Sequence[int], steps: np.ndarray) -> np.ndarray:
    """Codes over the plane of two components, the second rising from bottom to top; (n_steps, n_steps, length)."""
    across, up = steps
    path = np.tile(start, (len(up), len(across), 1))
    path[:, :, components[0]] = across
    path[:, :, components[1]] = up[::-1, None]
    return path
