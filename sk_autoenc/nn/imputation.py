"""A network that corrects the conditional means of a normal distribution, to fill the missing cells of a table."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sk_autoenc.nn.conditional_normal import conditional_means, conditional_variances, missing_cells

#: Share of the cells of a row that training hides beside those that are missing: uniform between these.
_LEAST_HIDDEN, _MOST_HIDDEN = 0.05, 0.6

#: No level of a category is less probable than this share of its frequency in the table; nor than this, if it has none.
_LEAST_SHARE, _LEAST_PROBABILITY = 0.05, 1e-6

#: The network changes the logit of a level by no more than this.
_MOST_LOGITS = 8.0

#: Points at which the distribution of residuals is known, from the least residual to the largest.
N_QUANTILES = 101


class Places(NamedTuple):
    """The indices that a layout stands for, on one device."""

    column_of: Tensor  # (n_cells,) the column of each cell
    number_cells: Tensor  # (n_numbers,) cells that are numbers, and their columns
    number_columns: Tensor
    indicator_cells: Tensor  # (n_indicators,) cells that are indicators, and the classes that they stand for
    class_of_indicator: Tensor
    category_columns: Tensor  # (n_categories,) columns that are categories, and the classes of their rare levels
    rest_classes: Tensor
    category_of_class: Tensor  # (n_classes,) the category of each class, counted among categories


@dataclass(frozen=True)
class CellLayout:
    """Which cells of a network's row belong to which column of a table.

    A number is one cell. A category has an indicator for each of its frequent levels. Its classes are these levels, and
    one for all rare levels, of which a row has zeros alone.

    Parameters
    ----------
    n_indicators : tuple of int
        For each column its number of indicators; 0 for a number.
    """

    n_indicators: tuple[int, ...]

    @property
    def n_columns(self) -> int:
        """Number of columns of the table."""
        return len(self.n_indicators)

    @property
    def n_numbers(self) -> int:
        """Number of columns that are numbers."""
        return sum(n == 0 for n in self.n_indicators)

    @property
    def n_cells(self) -> int:
        """Number of cells of a row."""
        return sum(max(n, 1) for n in self.n_indicators)

    @property
    def n_classes(self) -> int:
        """Number of classes of all categories."""
        return sum(n + 1 for n in self.n_indicators if n)

    def on(self, device: torch.device) -> Places:
        """The indices on a device."""
        return _places(self, str(device))


@lru_cache(maxsize=64)
def _places(layout: CellLayout, device: str) -> Places:
    found: dict[str, list[int]] = {name: [] for name in Places._fields}
    n_cells = n_classes = n_categories = 0
    for column, n in enumerate(layout.n_indicators):
        found["column_of"] += [column] * max(n, 1)
        if n == 0:
            found["number_cells"].append(n_cells)
            found["number_columns"].append(column)
        else:
            found["indicator_cells"] += range(n_cells, n_cells + n)
            found["class_of_indicator"] += range(n_classes, n_classes + n)
            found["category_of_class"] += [n_categories] * (n + 1)
            found["category_columns"].append(column)
            found["rest_classes"].append(n_classes + n)
            n_classes, n_categories = n_classes + n + 1, n_categories + 1
        n_cells += max(n, 1)
    return Places(**{name: torch.tensor(values, dtype=torch.long, device=device) for name, values in found.items()})


class ImputationOutput(NamedTuple):
    """What a network says of the columns of rows with missing cells."""

    means: Tensor  # (n, n_numbers)
    log_probabilities: Tensor  # (n, n_classes)
    observed: Tensor  # (n, n_columns) which cells it has read


class ImputationNetwork(nn.Module):
    r"""Conditional means of a normal distribution, plus a correction by a network.

    The network reads the row, filled by the normal distribution and standardised, and which cells are missing. To the
    means of numbers it adds standard deviations, to the logarithms of probabilities it adds logits. The probability of
    a level is the conditional mean of its indicator, at least a small share of its frequency. With a last layer of
    zeros the correction is none.

    Parameters
    ----------
    network : nn.Module
        ``(n, n_cells + n_columns) -> (n, n_cells)``.
    layout : CellLayout
        Which cells belong to which column.
    """

    mean: Tensor
    covariance: Tensor
    shrinkage: Tensor
    low: Tensor
    high: Tensor
    quantiles: Tensor

    def __init__(self, network: nn.Module, layout: CellLayout):
        super().__init__()
        self.network, self.layout = network, layout
        n = layout.n_cells
        for name, shape in {"mean": (n,), "covariance": (n, n), "shrinkage": (), "low": (n,), "high": (n,)}.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("quantiles", torch.zeros(layout.n_numbers, N_QUANTILES))
        self._known: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def set_normal(self, mean: Tensor, covariance: Tensor, shrinkage: float, low: Tensor, high: Tensor) -> None:
        """Set the normal distribution, and the range of the rows; the correction becomes none."""
        for buffer, value in (
            (self.mean, mean),
            (self.covariance, (covariance + covariance.T) / 2),
            (self.shrinkage, torch.tensor(shrinkage)),
            (self.low, low),
            (self.high, high),
        ):
            buffer.copy_(value)

    @torch.no_grad()
    def set_residuals(self, quantiles: Tensor | None = None) -> None:
        """Set the distribution of residuals in conditional standard deviations; by default a normal one."""
        levels = (torch.arange(N_QUANTILES, dtype=torch.float64) + 0.5) / N_QUANTILES
        normal = math.sqrt(2) * torch.erfinv(2 * levels - 1)
        self.quantiles.copy_(normal if quantiles is None else quantiles)

    @torch.no_grad()
    def remove_correction(self) -> None:
        """Leave the normal distribution alone."""
        last = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)][-1]
        last.weight.zero_()
        last.bias.zero_()

    @property
    def precision(self) -> Tensor:
        """Inverse of the covariance in float64, which is computed again only where that has changed."""
        if self._known is None or not torch.equal(self._known[0], self.covariance):
            self._known = self.covariance.clone(), torch.linalg.inv(self.covariance.double())
        return self._known[1]

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> ImputationOutput:
        """What is said of rows with NaN for missing cells; training hides further cells."""
        place = self.layout.on(x.device)
        if self.training and generator is not None:
            x = self.hide_further(x, generator)
        observed = ~x.isnan()
        filled = self.fill(x, observed)
        deviation = self.covariance.diagonal().sqrt()
        standardised = (filled.clamp(self.low, self.high) - self.mean) / deviation
        of_column = observed[:, _first_cells(place.column_of)]
        correction = self.network(torch.cat([torch.asinh(standardised), (~of_column).float()], dim=1))
        added = (deviation * correction)[:, place.number_cells]
        return ImputationOutput(
            filled[:, place.number_cells] + added, self._log_probabilities(filled, correction, place), of_column
        )

    def hide_further(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rows with more cells missing; of every row another share."""
        column_of = self.layout.on(x.device).column_of
        chance = torch.rand(len(x), self.layout.n_columns + 1, generator=generator, device=x.device)
        share = _LEAST_HIDDEN + (_MOST_HIDDEN - _LEAST_HIDDEN) * chance[:, -1:]
        return x.masked_fill((chance[:, :-1] < share)[:, column_of], torch.nan)

    @torch.no_grad()
    def fill(self, x: Tensor, observed: Tensor) -> Tensor:
        """Rows filled by the normal distribution, float32."""
        centred = torch.where(observed, x - self.mean, 0.0).double()
        return (conditional_means(centred, observed, self.precision) + self.mean).float()

    @torch.no_grad()
    def deviations(self, x: Tensor) -> Tensor:
        """Conditional standard deviations of missing numbers, 0 where observed; ``(n, n_numbers)``, float64."""
        numbers = self.layout.on(x.device).number_cells
        return conditional_variances(~x.isnan(), self.precision)[:, numbers].sqrt()

    @torch.no_grad()
    def draw_numbers(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers of rows with NaN for missing cells, drawn jointly; ``(n, n_numbers)``, float64, on the CPU's stream.

        The dependence between cells is that of the conditional normal distribution, and the distribution of each cell
        that of the residuals.
        """
        numbers = self.layout.on(x.device).number_cells
        standard = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for block in missing_cells(~x.isnan()):
            factor = block.factor(self.precision)
            noise = torch.randn(block.cells.shape, dtype=torch.float64, generator=generator).to(x.device)
            spread = block.covariances(factor).diagonal(dim1=1, dim2=2).sqrt()
            standard[block.places] += block.deviations(factor, noise) / torch.where(block.is_missing, spread, 1.0)
        at = torch.special.ndtr(standard[:, numbers]) * N_QUANTILES - 0.5
        below = at.floor().clamp(0, N_QUANTILES - 2).long()
        left, right = (self.quantiles.double().T.gather(0, below + k) for k in (0, 1))
        return self(x).means + self.deviations(x) * torch.lerp(left, right, at - below)

    def _log_probabilities(self, filled: Tensor, correction: Tensor, place: Places) -> Tensor:
        n_categories = len(place.category_columns)
        if n_categories == 0:
            return filled[:, :0]
        shares, means = (indicators_by_class(cells, self.layout) for cells in (self.mean[None], filled))
        logits = torch.zeros(len(filled), self.layout.n_classes, device=filled.device)
        added = _MOST_LOGITS * torch.tanh(correction[:, place.indicator_cells] / _MOST_LOGITS)
        logits = logits.index_copy(1, place.class_of_indicator, added)
        weights = means.maximum((_LEAST_SHARE * shares).clamp_min(_LEAST_PROBABILITY)) * logits.exp()
        total = torch.zeros(len(filled), n_categories, device=filled.device)
        total = total.index_add(1, place.category_of_class, weights)
        return weights.log() - total.log()[:, place.category_of_class]


def indicators_by_class(cells: Tensor, layout: CellLayout) -> Tensor:
    """Indicators of each class; that of rare levels is what the others leave of 1; ``(n, n_classes)``."""
    place = layout.on(cells.device)
    indicators = cells[:, place.indicator_cells]
    made = torch.zeros(len(cells), layout.n_classes, dtype=cells.dtype, device=cells.device)
    made = made.index_copy(1, place.class_of_indicator, indicators)
    rest = torch.ones(len(cells), len(place.rest_classes), dtype=cells.dtype, device=cells.device)
    category = place.category_of_class[place.class_of_indicator]
    return made.index_copy(1, place.rest_classes, rest.index_add(1, category, -indicators))


def _first_cells(column_of: Tensor) -> Tensor:
    """The first cell of each column."""
    return torch.searchsorted(column_of, torch.arange(int(column_of[-1]) + 1, device=column_of.device))


def classes_of_category(layout: CellLayout, category: int) -> slice:
    """The classes of a category, counted among categories."""
    sizes = [n + 1 for n in layout.n_indicators if n]
    start = sum(sizes[:category])
    return slice(start, start + sizes[category])
