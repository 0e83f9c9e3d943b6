"""Why rows are outliers: each feature's part of the outlyingness, as bars."""

from collections.abc import Sequence
from contextlib import suppress
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.pyplot import import_pyplot


class OutlierExplanationDisplay:
    """The features that make one row unusual, largest part on top.

    Parameters
    ----------
    parts : array-like of shape (n_features,)
        Each feature's part; their sum is the row's outlyingness.
    names : sequence of str or None, default=None
        Names of the features; None numbers them.
    values : array-like of shape (n_features,) or None, default=None
        The row itself, to show beside the names.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the bars are drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    bars_ : matplotlib BarContainer
        The bars, from top to bottom.

    See Also
    --------
    OutlierExplanationDisplay.from_estimator : Explain a row by a fitted detector.

    Examples
    --------
    >>> from sk_autoenc.inspection import OutlierExplanationDisplay
    >>> display = OutlierExplanationDisplay([0.5, 3.0, 0.1], names=["height", "weight", "age"]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['weight', 'height', 'age']
    """

    def __init__(self, parts: ArrayLike, *, names: Sequence[str] | None = None, values: ArrayLike | None = None):
        self.parts = parts
        self.names = names
        self.values = values

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, row: int | None = None, n_features: int = 10, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Explain one row by a fitted detector.

        Parameters
        ----------
        estimator : ReconstructionOutlierDetector, any detector with ``explain``, or a Pipeline that ends in one
            Fitted. Names and values are those that the detector sees.
        X : array-like or data frame of shape (n_samples, n_features) or (n_samples, ...)
            Rows, images or series; cells of the latter are named by their place, such as channel and time.
        row : int or None, default=None
            Position of the row in ``X``; None takes the one that is most unusual.
        n_features : int, default=10
            How many features to show, those with the largest parts; the others are one bar.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to ``ax.barh``.

        Returns
        -------
        display : OutlierExplanationDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sk_autoenc import ReconstructionOutlierDetector
        >>> from sk_autoenc.inspection import OutlierExplanationDisplay
        >>> X = load_iris(as_frame=True).data
        >>> detector = ReconstructionOutlierDetector(random_state=0).fit(X)
        >>> display = OutlierExplanationDisplay.from_estimator(detector, X)
        >>> len(display.bars_)
        4
        """
        check_is_fitted(estimator)
        names = None
        while isinstance(estimator, Pipeline):
            steps, estimator = estimator[:-1], estimator[-1]
            if len(steps):
                X, names = steps.transform(X), None
                with suppress(AttributeError, TypeError):  # some steps have no names
                    names = list(steps.get_feature_names_out())
        if not hasattr(estimator, "explain"):
            raise TypeError(f"estimator must have explain, which {type(estimator).__name__} does not have.")
        if row is None:
            row = int(estimator.score_samples(X).argmin())
        elif not isinstance(row, Integral) or not 0 <= row < len(X):
            raise ValueError(
                f"row must be an integer from 0 to {len(X) - 1}, because X has {len(X)} rows, got {row!r}."
            )
        chosen = X[row : row + 1]
        if hasattr(chosen, "columns"):
            names = [str(name) for name in chosen.columns]
        parts, values = np.asarray(estimator.explain(chosen))[0], np.asarray(chosen)[0]
        if names is None:
            there = np.equal(values, values)  # False for NaN after the end of a series
            of_series = getattr(estimator, "series_shape_", None) is not None
            if of_series or parts.ndim > 1:  # series and images: cells by their place
                axes = ("channel ", "time ")[-parts.ndim :] if of_series else ("",) * parts.ndim
                names = [", ".join(map("{}{}".format, axes, place)) for place in np.argwhere(there)]
            parts, values = parts[there], values[there]
        return cls(parts, names=names, values=values).plot(ax, n_features=n_features, **kwargs)

    def plot(self, ax: Any = None, *, n_features: int = 10, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        n_features : int, default=10
            How many features to show, those with the largest parts; the others are one bar.
        **kwargs : dict
            Passed to ``ax.barh``.

        Returns
        -------
        self : OutlierExplanationDisplay
            The display, with ``ax_``, ``figure_`` and ``bars_``.
        """
        check_scalar(n_features, "n_features", Integral, min_val=1)
        parts = np.asarray(self.parts, dtype=float)
        names = [f"feature {i}" for i in range(len(parts))] if self.names is None else list(self.names)
        if self.values is not None:
            names = [f"{name} = {_short(value)}" for name, value in zip(names, np.asarray(self.values), strict=True)]
        order = np.argsort(-parts, kind="stable")
        shown, rest = order[:n_features], order[n_features:]
        widths, labels = list(parts[shown]), [names[i] for i in shown]
        if len(rest):
            widths, labels = [*widths, parts[rest].sum()], [*labels, f"{len(rest)} others"]
        if ax is None:
            figsize = (6, 0.3 * len(widths) + 1)
            _, ax = import_pyplot("OutlierExplanationDisplay.plot").subplots(figsize=figsize, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.bars_ = ax.barh(np.arange(len(widths)), widths, **kwargs)
        ax.set_yticks(np.arange(len(widths)), labels)
        ax.invert_yaxis()
        ax.set(xlabel=f"part of the outlyingness, {parts.sum():.3g} in all")
        return self


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)
