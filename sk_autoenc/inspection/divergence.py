"""Information about rows in each component of a variational code: its KL divergence, as bars."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.latent import component_names
from sk_autoenc.inspection.pyplot import import_pyplot


class ComponentKLDisplay:
    """The KL divergence of each component's posterior from the standard normal, as bars; near zero it has collapsed.

    Parameters
    ----------
    kl : array-like of shape (n_components,)
        KL divergences in nats.
    names : sequence of str or None, default=None
        Labels of the bars; None numbers them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the bars are drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    bars_ : matplotlib BarContainer
        The bars, from left to right.

    See Also
    --------
    ComponentKLDisplay.from_estimator : Plot the divergences that a fitted estimator found.

    Examples
    --------
    >>> from sk_autoenc.inspection import ComponentKLDisplay
    >>> display = ComponentKLDisplay([0.1, 2.5, 0.0]).plot(sort=True)
    >>> [bar.get_height().item() for bar in display.bars_]
    [2.5, 0.1, 0.0]
    """

    def __init__(self, kl: ArrayLike, *, names: Sequence[str] | None = None):
        self.kl = kl
        self.names = names

    @classmethod
    def from_estimator(cls, estimator: Any, *, sort: bool = False, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the divergences that a fitted estimator found for its training rows.

        Parameters
        ----------
        estimator : estimator with ``kl_per_component_``
            Fitted.
        sort : bool, default=False
            Whether the bars are in decreasing order, instead of the order of the components.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        display : ComponentKLDisplay
            What was plotted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sk_autoenc import VAETransformer
        >>> from sk_autoenc.inspection import ComponentKLDisplay
        >>> vae = VAETransformer(2, max_iter=5, random_state=0).fit(load_iris().data)
        >>> ComponentKLDisplay.from_estimator(vae).ax_.get_ylabel()
        'KL in nats'
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "kl_per_component_"):
            raise TypeError(f"estimator must have kl_per_component_, which {type(estimator).__name__} does not have.")
        kl = estimator.kl_per_component_
        return cls(kl, names=component_names(estimator, len(kl))).plot(ax, sort=sort, **kwargs)

    def plot(self, ax: Any = None, *, sort: bool = False, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        sort : bool, default=False
            Whether the bars are in decreasing order, instead of the order of the components.
        **kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        self : ComponentKLDisplay
            The display, with ``ax_``, ``figure_`` and ``bars_``.
        """
        kl = np.asarray(self.kl, dtype=float)
        names = [str(i) for i in range(len(kl))] if self.names is None else self.names
        order = np.argsort(-kl, kind="stable") if sort else np.arange(len(kl))
        if ax is None:
            _, ax = import_pyplot("ComponentKLDisplay.plot").subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.bars_ = ax.bar(np.arange(len(kl)), kl[order], **kwargs)
        ax.set_xticks(np.arange(len(kl)), [names[i] for i in order], rotation=90 if len(kl) > 4 else 0)
        ax.set(xlabel="component", ylabel="KL in nats")
        return self
