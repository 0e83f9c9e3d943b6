"""How far a row is from what is usual, feature by feature: measures on rows and their reconstructions, torch only.

A measure is fitted on some training rows and then gives every row a part per feature; the parts add up to the row's
outlyingness, higher for a more unusual row. ``rows`` are ``(n, n_features)``, ``reconstructions`` ``(n_members, n,
n_features)``, both standardised. A measure is made of arrays, its ``state``, and can be built from them again.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.utils import gen_batches
from torch import Tensor

from sk_autoenc.nn.blocks import ALIGNED_WIDTH

#: This many training rows fix what scores are in units of.
RULE_ROWS = 512

#: Standardised values are held to this range where distances are compared, so that one wild cell cannot overflow.
FAR = 50.0

#: Members are compared together while their distances or differences are no more than this: what a cache can hold.
_CELLS_AT_ONCE = 2**17

#: A reference row is the row itself where their squared distance is at most this share of the usual one: rows may have
#: been through float32, or a text file.
_ROUNDING = 1e-6


def _above_zero(values: Tensor, fallback: Tensor) -> Tensor:
    """Where a scale is zero, the fallback; where that is zero too, 1."""
    return torch.where(values > 1e-9, values, torch.where(fallback > 1e-9, fallback, 1.0))


class NeighborDistance:
    """Squared distance to nearby training rows, in the space of reconstruction and residual.

    A row stands at ``(r, (x - r) / s)``, with ``r`` its reconstruction by a member and ``s`` a power below 1 of the
    typical residual: what the network cannot explain weighs more than its size. The distance is that to the k-th
    nearest of the member's reference rows, in units of its median; of the ``ks`` the one for which it is greatest, so
    that close neighbours do not vouch for a row that is far from all others; and averaged over members. A reference
    row that equals the row, but for rounding, is taken for the row itself, and not for its neighbour.

    Parameters
    ----------
    prototypes : Tensor of shape (n_members, n_prototypes, 2 * n_features)
        Where the reference rows stand.
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
        spare = -prototypes.shape[1] % ALIGNED_WIDTH
        padded = F.pad(prototypes, (0, 0, 0, spare)) if spare else prototypes
        self._columns = padded.transpose(1, 2)
        self._norms = F.pad(prototypes.square().sum(-1), (0, spare), value=torch.inf)[:, None]

    @classmethod
    def fit(
        cls, rows: Tensor, chosen: Tensor, of_chosen: Tensor, of_first: Tensor, *, ks: tuple[int, ...], power: float
    ) -> tuple["NeighborDistance", Tensor]:
        """From training rows; ``chosen`` ``(n_members, n_prototypes)`` says which each member compares with.

        ``of_chosen`` are each member's reconstructions of these, ``of_first`` those of the first rows, which set what
        distances are in units of. Returns the measure, and the outlyingness of the first rows.
        """
        first = rows[: of_first.shape[1]]
        # Reconstructed in other company, a row differs in its last bits; while units are unknown, only an equal row is
        # taken for the row itself.
        is_first = chosen < len(first)
        of_chosen = of_chosen.clone()
        of_chosen[is_first] = of_first[is_first.nonzero()[:, 0], chosen[is_first]]
        typical = torch.stack([_typical_residual(first, made) for made in of_first])
        sigma = typical.clamp_min(1e-3).float() ** power
        prototypes = _embed(rows[chosen], of_chosen, sigma)
        measure = cls(prototypes, sigma, torch.zeros(len(chosen), len(ks), dtype=torch.float32), torch.tensor(ks))
        squares = measure._squares(first, of_first)
        distances = torch.cat([some.sum(-1) for _, some in squares])  # (n_members, n, n_ks)
        measure.unit = _above_zero(distances.median(1).values, distances.mean(1))
        return measure, (distances / measure.unit[:, None]).amax(2).mean(0)

    @property
    def state(self) -> dict[str, Tensor]:
        return {"prototypes": self.prototypes, "sigma": self.sigma, "unit": self.unit, "ks": self.ks}

    def parts(self, rows: Tensor, reconstructions: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        total = torch.zeros((), dtype=torch.float64)
        for some, squares in self._squares(rows, reconstructions):
            relative = squares / self.unit[some, None, :, None]
            farthest = relative.sum(-1).argmax(-1)  # (some_members, n)
            total = total + relative.take_along_dim(farthest[..., None, None], 2)[:, :, 0].double().sum(0)
        made, left = total.chunk(2, dim=1)
        return (made + left) / len(self.prototypes)

    def _squares(self, rows: Tensor, reconstructions: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some members at a time: squared differences to neighbours, ``(some_members, n, n_ks, 2 * n_features)``."""
        n_members, n_prototypes, width = self.prototypes.shape
        n_near = min(int(self.ks.max()) + 1, n_prototypes)
        at_once = max(1, _CELLS_AT_ONCE // (len(rows) * max(n_prototypes, 2 * width)))
        for some in gen_batches(n_members, at_once):
            place = _embed(rows, reconstructions[some], self.sigma[some])
            # Squared distances but for the row's own norm; no name keeps them while the next ones are made.
            # Where a reconstruction overflows, all others are NaN and come after the padding.
            near = (
                torch.bmm(-2 * place, self._columns[some]).add_(self._norms[some]).topk(n_near, largest=False).indices
            ).clamp_max_(n_prototypes - 1)
            nearest = (place - self._prototypes_at(some, near[..., 0])).square().sum(-1)
            itself = (nearest <= _ROUNDING * self.unit[some, :1]).long()
            chosen = near.gather(2, (itself[..., None] + self.ks - 1).clamp(0, n_near - 1))  # (some_members, n, n_ks)
            # The product finds the neighbours; how far they are is taken from differences: these lose nothing to
            # rounding.
            yield some, (place[:, :, None] - self._prototypes_at(some, chosen)).square()

    def _prototypes_at(self, some: slice, places: Tensor) -> Tensor:
        """Members' reference rows by their numbers, ``(some_members, ...) -> (some_members, ..., 2 * n_features)``."""
        own = self.prototypes[some]
        first = own.shape[1] * torch.arange(len(own))[:, None]
        return own.flatten(0, 1).index_select(0, (places.flatten(1) + first).flatten()).unflatten(0, places.shape)


def _typical_residual(rows: Tensor, made: Tensor) -> Tensor:
    """Median over rows of the root mean squared residual."""
    residuals = rows.clamp(-FAR, FAR) - made.clamp(-2 * FAR, 2 * FAR)
    return (residuals.square().sum(-1).median() / rows.shape[1]).sqrt()


def _embed(rows: Tensor, reconstructions: Tensor, sigma: Tensor) -> Tensor:
    """Where rows stand for members: reconstruction and scaled residual side by side, float32."""
    made = reconstructions.clamp(-2 * FAR, 2 * FAR)
    return torch.cat([made, (rows.clamp(-FAR, FAR) - made) / sigma[:, None, None]], dim=-1).float()


class Rarity:
    """Minus the log-frequency of a row's values, each by itself, in a histogram per feature.

    Histograms are of robustly scaled values held to +-6; a value outside the range of the training rows has the
    frequency of an empty bin, and so has any other value of a feature that was constant.

    Parameters
    ----------
    center, spread, low, high : Tensor of shape (n_features,)
        What scales the values, and the range of scaled training values, which bins share as far as it is within +-6.
    table : Tensor of shape (n_bins + 1, n_features)
        Minus the log-frequencies, those of values out of range last.
    """

    _bins, _prior, _range, _rounding = 30, 0.1, 6.0, 1e-5

    def __init__(self, center: Tensor, spread: Tensor, low: Tensor, high: Tensor, table: Tensor):
        self.center, self.spread, self.low, self.high, self.table = center, spread, low, high, table

    @classmethod
    def fit(cls, rows: Tensor) -> "Rarity":
        """From training rows."""
        # Sorting is what quantiles take, and torch's own refuses large inputs.
        ordered = rows.sort(dim=0).values
        first, center, third = (ordered[int(share * (len(rows) - 1))] for share in (0.25, 0.5, 0.75))
        deviation = rows.std(dim=0, correction=0)
        quartiles = (third - first) / 1.349
        spread = torch.minimum(torch.maximum(quartiles, 0.1 * deviation), deviation)
        spread = torch.where(quartiles < 1e-3 * deviation, deviation, spread)
        spread = torch.where(deviation > cls._rounding, spread, 1.0)
        low, high = (ordered[0] - center) / spread, (ordered[-1] - center) / spread
        measure = cls(center, spread, low, high, rows.new_zeros(cls._bins + 1, rows.shape[1]))
        counts = torch.zeros_like(measure.table)
        counts.scatter_add_(0, measure._bin(rows), torch.ones_like(rows))
        measure.table = -torch.log((counts + cls._prior) / (len(rows) + cls._prior * cls._bins))
        measure.table[:-1, high - low <= cls._rounding] = 0.0  # what was constant says nothing while it is
        return measure

    @property
    def state(self) -> dict[str, Tensor]:
        names = ("center", "spread", "low", "high", "table")
        return {name: getattr(self, name) for name in names}

    def parts(self, rows: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        return self.table.gather(0, self._bin(rows)).double()

    def _bin(self, rows: Tensor) -> Tensor:
        scaled = (rows - self.center) / self.spread
        low, high = (edge.clamp(-self._range, self._range) for edge in (self.low, self.high))
        share = (scaled.clamp(low, high) - low) / (high - low).clamp_min(1e-9)
        inside = (share * self._bins).floor().clamp(0, self._bins - 1)
        is_outside = (scaled < self.low - self._rounding) | (scaled > self.high + self._rounding)
        return torch.where(is_outside, float(self._bins), inside).long()


class NeighborsAndRarity:
    """The distance to nearby training rows and, with a weight, the rarity of the values, each in units of its tail.

    The unit is the highest tenth's lower edge over training rows, so that both say alike what is unusual. The two are
    legs of a right triangle, and the outlyingness is the third side: where one of them is high, that of the other adds
    little, for a row may well be unusual by one of them alone.
    """

    def __init__(self, distance: NeighborDistance, rarity: Rarity, units: Tensor):
        self.distance, self.rarity, self.units = distance, rarity, units

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
        rarity_weight: float,
    ) -> "NeighborsAndRarity":
        """From training rows, see :meth:`NeighborDistance.fit`."""
        held = rows.clamp(-FAR, FAR).float()
        # In the precision in which rows are scored.
        made = of_chosen.float(), of_first.float()
        distance, distances = NeighborDistance.fit(held, chosen, *made, ks=ks, power=power)
        rarity = Rarity.fit(held)
        scores = torch.stack([distances.double(), rarity.parts(held[: len(distances)]).sum(1)])
        tail = scores.sort(dim=1).values[:, int(0.9 * (scores.shape[1] - 1))]
        tail = _above_zero(tail, scores.mean(1))
        return cls(distance, rarity, torch.stack([1 / tail[0], rarity_weight / tail[1]]))

    @property
    def state(self) -> dict[str, Tensor]:
        return {**self.distance.state, **self.rarity.state, "units": self.units}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "NeighborsAndRarity":
        """The inverse of ``state``."""
        state = dict(state)
        units = state.pop("units")
        near = {name: state.pop(name) for name in ("prototypes", "sigma", "unit", "ks")}
        return cls(NeighborDistance(**near), Rarity(**state), units)

    def parts(self, rows: Tensor, reconstructions: Tensor) -> Tensor:
        """``(n, n_features)``, float64."""
        held = rows.clamp(-FAR, FAR).float()
        parts = self.distance.parts(held, reconstructions.float()) * self.units[0]
        if self.units[1] == 0:
            return parts
        legs = torch.stack([parts, self.rarity.parts(held) * self.units[1]])
        sums = legs.sum(2)  # (2, n)
        shares = sums / torch.linalg.vector_norm(sums, dim=0).clamp_min(1e-300)
        return (legs * shares[:, :, None]).sum(0)


class SquaredResiduals:
    """Squared residuals divided feature by feature by a squared scale, averaged over members.

    Parameters
    ----------
    scale : Tensor of shape (n_members, 1, n_features)
        What residuals are divided by.
    """

    def __init__(self, scale: Tensor):
        self.scale = scale

    @classmethod
    def fit(cls, rows: Tensor, reconstructions: Tensor) -> "SquaredResiduals":
        """Scales from training rows: 1.48 times the median size, and a tenth of the root mean square at least."""
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

    It has no parts by feature.

    Parameters
    ----------
    **maps : Tensor
        ``center_i`` of shape (n_codes,) and ``whitening_i`` of shape (n_codes, n_codes) for each member i.
    """

    def __init__(self, **maps: Tensor):
        self.state = maps

    @classmethod
    def fit(cls, codes: list[Tensor]) -> "CodeDistance":
        """From the codes of training rows, one ``(n, n_codes)`` per member."""
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
                # No matrix product: of few columns, its last bits would depend on where a row stands.
                ((code.double() - maps[f"center_{i}"])[:, :, None] * maps[f"whitening_{i}"]).sum(1).square().sum(1)
                for i, code in enumerate(codes)
            ]
        ).mean(0)
