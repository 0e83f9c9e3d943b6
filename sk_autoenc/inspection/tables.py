"""A synthetic table beside the real one: columns, their associations, and how alike pairs are."""

from typing import Any, Self

import numpy as np

from sk_autoenc.inspection.pyplot import import_pyplot
from sk_autoenc.metrics import association, binned, column_similarity, pair_similarity

#: Panels of columns in a row of the figure.
_ACROSS = 4


class SyntheticTableDisplay:
    """Columns of a synthetic table beside those of the real one, their associations, and the similarity of pairs.

    The first panels have each column's shares, of bins or of levels, in both tables. Three matrices follow: the
    association of columns in the real table, the same in the synthetic one, and the similarity of each pair.

    Parameters
    ----------
    columns : list
        Names of the columns.
    shares : list of (ndarray, ndarray)
        For each column the shares of its bins or levels in the real and in the synthetic table; the first is that of
        missing cells.
    similarity : dict of float
        Similarity of each column, by its name.
    associations : (DataFrame, DataFrame)
        Of the real and of the synthetic table.
    pairs : DataFrame
        Similarity of pairs.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    axes_ : ndarray of matplotlib Axes
        A panel for each column that is shown, then the three matrices.

    See Also
    --------
    SyntheticTableDisplay.from_tables : Compute what is shown.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc.inspection import SyntheticTableDisplay
    >>> rng = np.random.default_rng(0)
    >>> display = SyntheticTableDisplay.from_tables(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)))
    >>> len(display.axes_)
    5
    """

    def __init__(self, columns: list, shares: list, similarity: dict, associations: tuple, pairs: Any):
        self.columns = columns
        self.shares = shares
        self.similarity = similarity
        self.associations = associations
        self.pairs = pairs

    @classmethod
    def from_tables(cls, real: Any, synthetic: Any, *, n_bins: int = 10, n_columns: int = 8) -> Self:
        """Compute the figures of two tables, and plot them.

        Parameters
        ----------
        real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
            The tables, with the same columns.
        n_bins : int, default=10
            Bins of a column of numbers, at quantiles of the real table.
        n_columns : int, default=8
            Number of columns that have a panel, at most: the least similar ones.

        Returns
        -------
        display : SyntheticTableDisplay
            What was plotted.
        """
        table, bins = binned(real, synthetic, n_bins=n_bins)
        shares = []
        for i in range(len(table.names)):
            n = 1 + max(part[:, i].max() for part in bins)
            shares.append(tuple(np.bincount(part[:, i], minlength=n) / len(part) for part in bins))
        return cls(
            table.names,
            shares,
            column_similarity(real, synthetic),
            association(real, synthetic, n_bins=n_bins),
            pair_similarity(real, synthetic, n_bins=n_bins),
        ).plot(n_columns=n_columns)

    def plot(self, figure: Any = None, *, n_columns: int = 8) -> Self:
        """Draw columns and matrices.

        Parameters
        ----------
        figure : matplotlib Figure or None, default=None
            Where to draw; None makes a new figure.
        n_columns : int, default=8
            Number of columns that have a panel, at most: the least similar ones.

        Returns
        -------
        self : SyntheticTableDisplay
            The display, with ``figure_`` and ``axes_``.
        """
        shown = sorted(range(len(self.columns)), key=lambda i: self.similarity[self.columns[i]])[:n_columns]
        tiers = -(-len(shown) // _ACROSS)
        if figure is None:
            pyplot = import_pyplot("SyntheticTableDisplay.plot")
            figure = pyplot.figure(figsize=(10, 2 * tiers + 3), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(2 * tiers, 3))
        above, below = grid[0].subgridspec(tiers, _ACROSS), grid[1].subgridspec(1, 3)
        axes = [figure.add_subplot(above[k // _ACROSS, k % _ACROSS]) for k in range(len(shown))]
        for ax, i in zip(axes, shown, strict=True):
            self._draw_column(ax, i)
        axes[0].legend(fontsize="small")
        matrices = {
            "association, real": self.associations[0],
            "association, synthetic": self.associations[1],
            "similarity of pairs": self.pairs,
        }
        for k, (title, matrix) in enumerate(matrices.items()):
            axes.append(figure.add_subplot(below[0, k]))
            image = axes[-1].imshow(np.asarray(matrix), vmin=0, vmax=1, cmap="viridis")
            axes[-1].set_title(title, fontsize="small")
            self._name_ticks(axes[-1], with_rows=k == 0)
        figure.colorbar(image, ax=axes[-3:], shrink=0.8)
        self.figure_, self.axes_ = figure, np.array(axes, dtype=object)
        return self

    def _draw_column(self, ax: Any, i: int) -> None:
        """Shares of bins or levels, and on the left those of missing cells, if there are any."""
        pair = self.shares[i]
        first = 0 if any(part[0] for part in pair) else 1
        at = np.arange(first, len(pair[0]))
        for part, name, shift in zip(pair, ("real", "synthetic"), (-0.2, 0.2), strict=True):
            ax.bar(at + shift, part[first:], width=0.4, label=name)
        ax.set(xticks=[])
        ax.set_title(f"{self.columns[i]}: {self.similarity[self.columns[i]]:.2f}", fontsize="small")

    def _name_ticks(self, ax: Any, *, with_rows: bool) -> None:
        at, names = range(len(self.columns)), [str(name) for name in self.columns]
        ax.set_xticks(at, names, rotation=90, fontsize="x-small")
        ax.set_yticks(at if with_rows else [], names if with_rows else [], fontsize="x-small")
