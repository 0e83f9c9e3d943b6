"""Where the tokens of a translation looked, as a picture of two sequences."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.inspection.pyplot import import_pyplot


class AttentionDisplay:
    """Shares of attention of one pair of sequences; a row for each token that was written.

    Parameters
    ----------
    weights : array-like of shape (n_target, n_source)
        Shares, of which each row adds up to 1.
    source : sequence of str
        Tokens that were read.
    target : sequence of str
        Tokens that were written.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The picture.
    ax_ : matplotlib Axes
        The axes it is in.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    See Also
    --------
    AttentionDisplay.from_estimator : Plot what a fitted translator looked at.

    Examples
    --------
    >>> from sk_autoenc.inspection import AttentionDisplay
    >>> display = AttentionDisplay([[0.9, 0.1], [0.2, 0.8]], ["a", "dog"], ["ein", "Hund"]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['ein', 'Hund']
    """

    def __init__(self, weights: ArrayLike, source: Any, target: Any):
        self.weights = weights
        self.source = source
        self.target = target

    @classmethod
    def from_estimator(cls, estimator: Any, X: str, y: str | None = None, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot what a fitted translator looked at.

        Parameters
        ----------
        estimator : estimator with ``attention_weights``
            Fitted, such as :class:`SequenceTranslator`.
        X : str
            The string that is read.
        y : str or None, default=None
            Its translation; None takes that of ``predict``.
        ax : matplotlib Axes or None, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AttentionDisplay
            What was plotted.

        Examples
        --------
        >>> from sk_autoenc import SequenceTranslator, Vocabulary
        >>> from sk_autoenc.inspection import AttentionDisplay
        >>> model = SequenceTranslator(Vocabulary(), hidden_size=16, max_iter=1, random_state=0)
        >>> model = model.fit(["ab", "ba"], ["AB", "BA"])
        >>> AttentionDisplay.from_estimator(model, "ab", "AB").weights.shape
        (3, 3)
        """
        if not hasattr(estimator, "attention_weights"):
            raise TypeError(f"estimator must have attention_weights, which {type(estimator).__name__} does not have.")
        if not isinstance(X, str) or not (y is None or isinstance(y, str)):
            raise ValueError(f"X and y must be one string each, got {X!r:.60} and {y!r:.60}.")
        check_is_fitted(estimator)
        (found,) = estimator.attention_weights([X], None if y is None else [y])
        return cls(found.weights, found.source, found.target).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the shares, the darker the larger.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            Passed to ``imshow``.

        Returns
        -------
        self : AttentionDisplay
            The display, with ``image_``, ``ax_`` and ``figure_``.
        """
        weights = np.asarray(self.weights, dtype=float)
        if weights.shape != (shape := (len(self.target), len(self.source))):
            raise ValueError(f"weights must have a row for each target token, shape {shape}, got {weights.shape}.")
        if ax is None:
            size = (1.5 + 0.35 * shape[1], 1.2 + 0.3 * shape[0])
            _, ax = import_pyplot("AttentionDisplay.plot").subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.image_ = ax.imshow(weights, **{"vmin": 0, "vmax": 1, "cmap": "Blues", **kwargs})
        ax.set_xticks(range(shape[1]), list(self.source), rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(shape[0]), list(self.target))
        return self
