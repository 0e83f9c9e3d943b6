"""Losses by epoch: of training, of the held-out rows, and of every term of the objective."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.pyplot import import_pyplot


class LossCurveDisplay:
    """Losses by epoch, one line per curve.

    Parameters
    ----------
    curves : dict of str to array-like of shape (n_epochs,)
        Losses after each epoch, by the name that the legend shows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves are drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    lines_ : dict of str to matplotlib Line2D
        The line of each curve.

    See Also
    --------
    LossCurveDisplay.from_estimator : Plot the curves that a fitted estimator recorded.

    Examples
    --------
    >>> from sk_autoenc.inspection import LossCurveDisplay
    >>> display = LossCurveDisplay({"training": [3.0, 2.0, 1.5], "validation": [3.1, 2.4, 2.2]}).plot()
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, curves: Mapping[str, ArrayLike]):
        self.curves = curves

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, terms: bool = False, log_scale: bool = False, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the losses that a fitted estimator recorded.

        Parameters
        ----------
        estimator : estimator with ``loss_curve_``
            Fitted. Its ``validation_loss_curve_`` is drawn as well, if it is not empty.
        terms : bool, default=False
            Whether to add a curve for each term of the training loss, from ``loss_curves_``.
        log_scale : bool, default=False
            Whether the losses are on a logarithmic axis.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to ``ax.plot`` for every curve.

        Returns
        -------
        display : LossCurveDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sk_autoenc import AutoencoderTransformer
        >>> from sk_autoenc.inspection import LossCurveDisplay
        >>> estimator = AutoencoderTransformer(max_iter=5, random_state=0).fit(load_iris().data)
        >>> list(LossCurveDisplay.from_estimator(estimator).curves)
        ['training', 'validation']
        """
        check_is_fitted(estimator)
        needed = "loss_curves_" if terms else "loss_curve_"
        if not hasattr(estimator, needed):
            raise TypeError(f"estimator must have {needed}, which {type(estimator).__name__} does not have.")
        curves = {"training": estimator.loss_curve_}
        if len(validation := getattr(estimator, "validation_loss_curve_", [])):
            curves["validation"] = validation
        if terms:
            curves.update(estimator.loss_curves_)
        return cls(curves).plot(ax, log_scale=log_scale, **kwargs)

    def plot(self, ax: Any = None, *, log_scale: bool = False, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        log_scale : bool, default=False
            Whether the losses are on a logarithmic axis.
        **kwargs : dict
            Passed to ``ax.plot`` for every curve.

        Returns
        -------
        self : LossCurveDisplay
            The display, with ``ax_``, ``figure_`` and ``lines_``.
        """
        curves = {name: np.asarray(curve, dtype=float) for name, curve in self.curves.items()}
        for name, curve in curves.items():
            if log_scale and np.any(curve <= 0):
                raise ValueError(
                    f"curves must be above 0 with log_scale=True, got {curve.min():.6g} in the {name} curve."
                )
        if ax is None:
            _, ax = import_pyplot("LossCurveDisplay.plot").subplots()
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, {}
        for name, curve in curves.items():
            (self.lines_[name],) = ax.plot(np.arange(1, len(curve) + 1), curve, **{"label": name, **kwargs})
        ax.set(xlabel="epoch", ylabel="loss", yscale="log" if log_scale else "linear")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
        return self
