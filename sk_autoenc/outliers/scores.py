"""Measures of outlyingness: how unusual a row is, as a sum of parts over its features.

A measure is fitted on training rows. ``parts`` then gives every row one number per feature, higher for a more unusual
row. ``rows`` are ``(n, n_features)`` and ``reconstructions`` are ``(n_members, n, n_features)``, both standardised. The
``state`` of a measure is a dict of tensors, from which ``from_state`` builds it again.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.utils import gen_batches
from torch import Tensor

from sk_autoenc.nn.blocks import ALIGNED_WIDTH

#: Number of training rows from which the units of scores, medians and the automatic threshold are computed.
N_REFERENCE_ROWS = 512

#: Standardised values are clipped to this range in distances, so that one extreme cell cannot overflow.
CLIP = 50.0

#: Distances are computed for several members at once, up to this many numbers, which fit in a CPU's cache.
_CELLS_AT_ONCE = 2**17

#: A prototype is taken for the row itself if their squared distance is at most this share of the median distance. Rows
#: may have been rounded to float32, or in a text file.
_ROUNDING = 1e-6


def above_zero(values: Tensor, fallback: Tensor) -> Tensor:
    """Values, with the fallback where they are zero, and 1 where that is zero, too."""
    return torch.where(values > 1e-9, values, torch.where(fallback > 1e-9, fallback, 1.0))


class NeighborDistance:
    """Squared distance to nearby training rows, in the space of reconstruction and residual.

    A member with reconstruction ``r`` maps a row ``x`` to the point ``(r, (x - r) / s)``. The divisor ``s`` is a power
    below 1 of the typical residual, so that residuals have more weight than their size gives them. Each member compares
    the point with those of its own training rows, the prototypes. For each k in ``ks`` it takes the squared distance to
    the k-th nearest, divided by the median of these distances over training rows, and of the results the largest:
    outliers that lie close to each other are still far from all other rows. The measure is the mean over members.

    A prototype that equals the row, up to rounding, is the row itself and does not count as a neighbour.

    Parameters
    ----------
    prototypes : Tensor of shape (n_members, n_prototypes, 2 * n_features)
        Points of the training rows that each member compares with.
    sigma : Tensor of shape (n_members,)
        What residuals are divided by.
    unit : Tensor of shape (n_members, n_ks)
        What squared distances are divided by.
    ks : Tensor of shape (n_ks,)
        Which nearest neighbours count.
    """

    def __init__(self, prototypes: Tensor, sigma: Tensor, unit: Tensor, ks: Tensor):
        self.sigma, self.unit, self.ks = sigma, unit, ks
        self.prototypes = prototypes
        padding = -prototypes.shape[1] % ALIGNED_WIDTH
        padded = F.pad(prototypes, (0, 0, 0, padding)) if padding else prototypes
        self._columns = padded.transpose(1, 2)
        self._norms = F.pad(prototypes.square().sum(-1), (0, padding), value=torch.inf)[:, None]

    @classmethod
    def fit(
        cls, rows: Tensor, chosen: Tensor, of_chosen: Tensor, of_first: Tensor, *, ks: tuple[int, ...], power: float
    ) -> tuple["NeighborDistance", Tensor]:
        """Fit on training rows; returns the outlyingness of the first of them, too.

        ``chosen`` ``(n_members, n_prototypes)`` are the numbers of each member's prototypes, and ``of_chosen`` their
        reconstructions. ``of_first`` are all members' reconstructions of the first rows, which set the units.
        """
        first = rows[: of_first.shape[1]]
        # The last bits of a reconstruction may depend on the other rows of its block. The units are not known yet, so
        # here only a point that is equal to the bit counts as the row itself.
        is_first = chosen < len(first)
        of_chosen = of_chosen.clone()
        of_chosen[is_first] = of_first[is_first.nonzero()[:, 0], chosen[is_first]]
        typical = torch.stack([_typical_residual(first, reconstruction) for reconstruction in of_first])
        sigma = typical.clamp_min(1e-3).float() ** power
        prototypes = _points(rows[chosen], of_chosen, sigma)
        measure = cls(prototypes, sigma, torch.zeros(len(chosen), len(ks), dtype=torch.float32), torch.tensor(ks))
        squares = measure._squares(first, of_first)
        distances = torch.cat([some.sum(-1) for _, some in squares])  # (n_members, n, n_ks)
        measure.unit = above_zero(distances.median(1).values, distances.mean(1))
        return measure, (distances / measure.unit[:, None]).amax(2).mean(0)

    @property
    def state(self) -> dict[str, Tensor]:
        return {"prototypes": self.prototypes, "sigma": self.sigma, "unit": self.unit, "ks": self.ks}

    def parts(self, rows: Tensor, reconstructions: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        total = torch.zeros((), dtype=torch.float64)
        for some, squares in self._squares(rows, reconstructions):
            relative = squares / self.unit[some, None, :, None]
            largest = relative.sum(-1).argmax(-1)  # (some_members, n)
            total = total + relative.take_along_dim(largest[..., None, None], 2)[:, :, 0].double().sum(0)
        of_reconstruction, of_residual = total.chunk(2, dim=1)
        return (of_reconstruction + of_residual) / len(self.prototypes)

    def _squares(self, rows: Tensor, reconstructions: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Squared differences to neighbours, of some members at a time: ``(some_members, n, n_ks, 2 * n_features)``."""
        n_members, n_prototypes, width = self.prototypes.shape
        n_near = min(int(self.ks.max()) + 1, n_prototypes)
        at_once = max(1, _CELLS_AT_ONCE // (len(rows) * max(n_prototypes, 2 * width)))
        for some in gen_batches(n_members, at_once):
            points = _points(rows, reconstructions[some], self.sigma[some])
            # Squared distances without the row's own norm. They have no name, so that their memory is free at once.
            # Where a reconstruction overflows, all others are NaN and come after the padding.
            near = (
                torch.bmm(-2 * points, self._columns[some]).add_(self._norms[some]).topk(n_near, largest=False).indices
            ).clamp_max_(n_prototypes - 1)
            nearest = (points - self._prototypes_at(some, near[..., 0])).square().sum(-1)
            itself = (nearest <= _ROUNDING * self.unit[some, :1]).long()
            chosen = near.gather(2, (itself[..., None] + self.ks - 1).clamp(0, n_near - 1))  # (some_members, n, n_ks)
            # The product is fast and finds the neighbours. Distances to them come from differences, which lose nothing
            # to rounding.
            yield some, (points[:, :, None] - self._prototypes_at(some, chosen)).square()

    def _prototypes_at(self, some: slice, numbers: Tensor) -> Tensor:
        """Members' prototypes by their numbers, ``(some_members, ...) -> (some_members, ..., 2 * n_features)``."""
        own = self.prototypes[some]
        first = own.shape[1] * torch.arange(len(own))[:, None]
        return own.flatten(0, 1).index_select(0, (numbers.flatten(1) + first).flatten()).unflatten(0, numbers.shape)


def _typical_residual(rows: Tensor, reconstruction: Tensor) -> Tensor:
    """Median over rows of the root mean squared residual."""
    residuals = rows.clamp(-CLIP, CLIP) - reconstruction.clamp(-2 * CLIP, 2 * CLIP)
    return (residuals.square().sum(-1).median() / rows.shape[1]).sqrt()


def _points(rows: Tensor, reconstructions: Tensor, sigma: Tensor) -> Tensor:
    """Reconstruction and scaled residual side by side, ``(n_members, n, 2 * n_features)``, float32."""
    clipped = reconstructions.clamp(-2 * CLIP, 2 * CLIP)
    return torch.cat([clipped, (rows.clamp(-CLIP, CLIP) - clipped) / sigma[:, None, None]], dim=-1).float()


class HistogramScore:
    """Minus the log-frequency of each value of a row, from one histogram per feature (HBOS).

    Values are scaled robustly, and the bins cover the range of the training values within ±6. A value outside the
    training range has the frequency of an empty bin. So has every other value of a feature that was constant.

    Parameters
    ----------
    center, scale : Tensor of shape (n_features,)
        Median and robust standard deviation of each feature.
    low, high : Tensor of shape (n_features,)
        Range of the scaled training values.
    table : Tensor of shape (n_bins + 1, n_features)
        Minus the log-frequency of each bin; the last row is for values outside the training range.
    """

    _bins, _prior, _range, _rounding = 30, 0.1, 6.0, 1e-5

    def __init__(self, center: Tensor, scale: Tensor, low: Tensor, high: Tensor, table: Tensor):
        self.center, self.scale, self.low, self.high, self.table = center, scale, low, high, table

    @classmethod
    def fit(cls, rows: Tensor) -> "HistogramScore":
        """Fit on training rows."""
        # torch.quantile refuses large inputs.
        ordered = rows.sort(dim=0).values
        first, center, third = (ordered[int(share * (len(rows) - 1))] for share in (0.25, 0.5, 0.75))
        deviation = rows.std(dim=0, correction=0)
        quartiles = (third - first) / 1.349  # the standard deviation of normal values
        scale = torch.minimum(torch.maximum(quartiles, 0.1 * deviation), deviation)
        scale = torch.where(quartiles < 1e-3 * deviation, deviation, scale)
        scale = torch.where(deviation > cls._rounding, scale, 1.0)
        low, high = (ordered[0] - center) / scale, (ordered[-1] - center) / scale
        measure = cls(center, scale, low, high, rows.new_zeros(cls._bins + 1, rows.shape[1]))
        counts = torch.zeros_like(measure.table)
        counts.scatter_add_(0, measure._bin(rows), torch.ones_like(rows))
        measure.table = -torch.log((counts + cls._prior) / (len(rows) + cls._prior * cls._bins))
        measure.table[:-1, high - low <= cls._rounding] = 0.0  # a constant feature adds 0 for its constant
        return measure

    @property
    def state(self) -> dict[str, Tensor]:
        names = ("center", "scale", "low", "high", "table")
        return {name: getattr(self, name) for name in names}

    def parts(self, rows: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        return self.table.gather(0, self._bin(rows)).double()

    def _bin(self, rows: Tensor) -> Tensor:
        scaled = (rows - self.center) / self.scale
        low, high = (edge.clamp(-self._range, self._range) for edge in (self.low, self.high))
        share = (scaled.clamp(low, high) - low) / (high - low).clamp_min(1e-9)
        inside = (share * self._bins).floor().clamp(0, self._bins - 1)
        is_outside = (scaled < self.low - self._rounding) | (scaled > self.high + self._rounding)
        return torch.where(is_outside, float(self._bins), inside).long()


class NeighborsAndHistogram:
    """``sqrt(a² + b²)``, with a the distance to nearby training rows and b the weighted histogram score.

    Each is divided by its 0.9-quantile over training rows, so that both have the same scale among unusual rows. A row
    may be unusual by one of the two alone: in this sum a low score hardly changes a high one.

    Parameters
    ----------
    distance : NeighborDistance
        Gives a.
    histogram : HistogramScore
        Gives b.
    factors : Tensor of shape (2,)
        What a and b are multiplied by.
    """

    def __init__(self, distance: NeighborDistance, histogram: HistogramScore, factors: Tensor):
        self.distance, self.histogram, self.factors = distance, histogram, factors

    @classmethod
    def fit(
        cls,
        rows: Tensor,
        chosen: Tensor,
        of_chosen: Tensor,
        of_first: Tensor,
        *,
        ks: tuple[int, ...],
        power: float,
        histogram_weight: float,
    ) -> "NeighborsAndHistogram":
        """Fit on training rows, see :meth:`NeighborDistance.fit`."""
        clipped = rows.clamp(-CLIP, CLIP).float()
        # Rows are scored in float32, so reconstructions are compared in float32 here, too.
        reconstructions = of_chosen.float(), of_first.float()
        distance, distances = NeighborDistance.fit(clipped, chosen, *reconstructions, ks=ks, power=power)
        histogram = HistogramScore.fit(clipped)
        scores = torch.stack([distances.double(), histogram.parts(clipped[: len(distances)]).sum(1)])
        quantile = scores.sort(dim=1).values[:, int(0.9 * (scores.shape[1] - 1))]
        quantile = above_zero(quantile, scores.mean(1))
        return cls(distance, histogram, torch.stack([1 / quantile[0], histogram_weight / quantile[1]]))

    @property
    def state(self) -> dict[str, Tensor]:
        return {**self.distance.state, **self.histogram.state, "factors": self.factors}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "NeighborsAndHistogram":
        """The inverse of ``state``."""
        state = dict(state)
        factors = state.pop("factors")
        near = {name: state.pop(name) for name in ("prototypes", "sigma", "unit", "ks")}
        return cls(NeighborDistance(**near), HistogramScore(**state), factors)

    def parts(self, rows: Tensor, reconstructions: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        clipped = rows.clamp(-CLIP, CLIP).float()
        parts = self.distance.parts(clipped, reconstructions.float()) * self.factors[0]
        if self.factors[1] == 0:
            return parts
        components = torch.stack([parts, self.histogram.parts(clipped) * self.factors[1]])
        sums = components.sum(2)  # (2, n)
        shares = sums / torch.linalg.vector_norm(sums, dim=0).clamp_min(1e-300)
        return (components * shares[:, :, None]).sum(0)


class SquaredResiduals:
    """Squared residuals in units of a scale for each feature, averaged over members.

    Parameters
    ----------
    scale : Tensor of shape (n_members, 1, n_features)
        What residuals are divided by.
    """

    def __init__(self, scale: Tensor):
        self.scale = scale

    @classmethod
    def fit(cls, rows: Tensor, reconstructions: Tensor) -> "SquaredResiduals":
        """Fit on training rows: a scale is 1.48 times the median residual, at least 0.1 times the root mean square."""
        sizes = (rows - reconstructions).abs().double()
        root = sizes.square().mean(1, keepdim=True).sqrt()
        scale = torch.maximum(1.4826 * sizes.median(1, keepdim=True).values, 0.1 * root)
        return cls(scale.clamp_min(1e-4))

    @property
    def state(self) -> dict[str, Tensor]:
        return {"scale": self.scale}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "SquaredResiduals":
        """The inverse of ``state``."""
        return cls(**state)

    def parts(self, rows: Tensor, reconstructions: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        return ((rows - reconstructions).double() / self.scale).square().mean(0)


class CodeDistance:
    """Squared Mahalanobis distance of a row's code from the training rows' codes, averaged over members.

    It has a ``total`` for each row and no parts by feature.

    Parameters
    ----------
    **maps : Tensor
        ``center_i`` of shape (n_codes,) and ``whitening_i`` of shape (n_codes, n_codes) for each member i.
    """

    def __init__(self, **maps: Tensor):
        self.state = maps

    @classmethod
    def fit(cls, codes: list[Tensor]) -> "CodeDistance":
        """Fit on the codes of training rows, one ``(n, n_codes)`` for each member."""
        maps: dict[str, Tensor] = {}
        for i, code in enumerate(codes):
            centered = code.double() - code.double().mean(0)
            values, axes = torch.linalg.eigh(centered.T @ centered / len(code))
            inverse = torch.where(values > 1e-9 * values.max(), values.clamp_min(1e-300).rsqrt(), 0.0)
            maps |= {f"center_{i}": code.double().mean(0), f"whitening_{i}": axes * inverse}
        return cls(**maps)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "CodeDistance":
        """The inverse of ``state``."""
        return cls(**state)

    def total(self, codes: list[Tensor]) -> Tensor:
        """``(n,)``, float64."""
        maps = self.state
        return torch.stack(
            [
                # A matrix product with few columns has last bits that depend on the position of the row.
                ((code.double() - maps[f"center_{i}"])[:, :, None] * maps[f"whitening_{i}"]).sum(1).square().sum(1)
                for i, code in enumerate(codes)
            ]
        ).mean(0)
