"""Rows of two domains that are no pairs: how they are read, a dataset of both, and what turns them into it and back."""

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils import check_array
from torch import Tensor

from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.scaling import Scaling
from sk_autoenc.data.validation import as_array, check_range, flattened
from sk_autoenc.storage import by_state, instance, integer, or_none, strings


class Domain(NamedTuple):
    """Rows of the second domain, and classes of rows of either where these are known; -1 where not."""

    rows: np.ndarray  # (n, n_features)
    shape: tuple[int, ...]  # of a row
    columns: np.ndarray | None = None  # their names, if all are strings
    labels_a: np.ndarray | None = None  # of rows of the first domain, (n_a,)
    labels_b: np.ndarray | None = None  # of these rows, (n,)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 where none is known."""
        known = [labels for labels in (self.labels_a, self.labels_b) if labels is not None]
        return max((int(labels.max()) + 1 for labels in known), default=0)


def read_domain(y: Any, owner: str, labels_a: Any = None, labels_b: Any = None) -> Domain:
    """Rows of the second domain, checked; one axis is one column."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    columns = None
    if hasattr(y, "columns") and all(isinstance(name, str) for name in y.columns):
        columns = np.array(list(y.columns), dtype=object)
    flat, shape = flattened(as_array(y))
    rows = check_array(flat, dtype=[np.float64, np.float32], ensure_2d=False, input_name="y")
    rows = rows[:, None] if rows.ndim == 1 else rows
    check_range(rows, "y")
    return Domain(
        rows,
        shape or rows.shape[1:],
        columns,
        _codes(labels_a, "labels_a"),
        _codes(labels_b, "labels_b"),
    )


def warn_of_classes(y: Any) -> None:
    """Warn of one axis of integers or booleans: classes, which pass for a domain of one column.

    scikit-learn's checks pass such a ``y`` to every transformer, so it is not refused.
    """
    found = y if hasattr(y, "ndim") else np.asarray(y)
    kind = getattr(getattr(found, "dtype", None), "kind", None) or np.asarray(found).dtype.kind
    if found.ndim == 1 and kind in "biu":
        warnings.warn(
            "y must hold rows of domain B, but has one axis of integers, which look like classes of the rows of X. "
            "Pass rows of the other domain as y and classes as labels_a; if B is one column of integers, pass "
            "y.reshape(-1, 1).",
            UserWarning,
            stacklevel=5,
        )


def _codes(labels: Any, name: str) -> np.ndarray | None:
    """Integers from 0, or -1 where a class is not known."""
    if labels is None:
        return None
    found = np.asarray(labels)
    if found.ndim != 1 or found.dtype.kind not in "iu" or (len(found) and found.min() < -1):
        raise ValueError(
            f"{name} must have one axis of integers from 0 on, or -1 where a class is not known, got {found.dtype} of "
            f"shape {found.shape}."
        )
    return found.astype(np.int64)


def owners(n_a: int, n_b: int) -> np.ndarray:
    """Number of the row of the first domain to which each row of the second one belongs; ``(n_b,)``."""
    return np.arange(n_b) * n_a // n_b


class Unpaired(Rows):
    """Rows of two domains. Numbers are those of the first; row j of ``n_b`` belongs to the number ``j * n_a // n_b``.

    So a split of the numbers splits both domains, whatever their counts.

    Parameters
    ----------
    data, other : Tensor
        Rows of either domain.
    labels, other_labels : Tensor
        Class of each row, or -1.
    index : Tensor or None
        Numbers of this dataset.
    """

    def __init__(self, data: Tensor, other: Tensor, labels: Tensor, other_labels: Tensor, index: Tensor | None = None):
        super().__init__(data, index)
        self.other, self.labels, self.other_labels = other, labels, other_labels
        numbers = torch.from_numpy(owners(len(data), len(other))).to(other.device)
        self.other_index = torch.isin(numbers, self.index).nonzero()[:, 0]

    def gather(self, index: Tensor) -> Batch:
        return Batch(self.data.index_select(0, index), self.labels.index_select(0, index))

    def subset(self, index: Tensor) -> Self:
        return type(self)(self.data, self.other, self.labels, self.other_labels, index)

    def cpu(self) -> Self:
        parts = (self.data, self.other, self.labels, self.other_labels, self.index)
        return type(self)(*(part.cpu() for part in parts))

    def draw_other(self, n: int, generator: torch.Generator) -> Tensor:
        """Numbers of rows of the second domain, drawn with replacement."""
        places = torch.randint(len(self.other_index), (n,), generator=generator, device=self.other_index.device)
        return self.other_index[places]

    def draw_labelled(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of known classes of either domain, and these; no row if no class is known."""
        first, second = (self.labels[self.index] >= 0).nonzero()[:, 0], self.other_labels[self.other_index] >= 0
        first, second = self.index[first], self.other_index[second]
        n_known = len(first) + len(second)
        n = n if n_known else 0
        places = torch.randint(max(1, n_known), (n,), generator=generator, device=self.data.device)
        of_first, of_second = places[places < len(first)], places[places >= len(first)] - len(first)
        rows = torch.cat([self.data[first[of_first]], self.other[second[of_second]]])
        return rows, torch.cat([self.labels[first[of_first]], self.other_labels[second[of_second]]])


@by_state(
    {"a": instance(SampledRows), "b": instance(SampledRows), "n_classes": integer(), "columns": or_none(strings)},
    take=lambda data: {"a": data.a, "b": data.b, "n_classes": data.n_classes, "columns": data.columns},
    make=lambda plain: TwoDomains(**plain),
)
class TwoDomains:
    """What reads rows of either domain, and brings translated ones back to the range of the domain that they are in.

    Parameters
    ----------
    a, b : SampledRows
        Of either domain. With a scale for each feature every domain has its own. Otherwise domains of one shape share
        one centre and one scale for all cells, and other ones have their own.
    n_classes : int
        Number of classes that both domains share; 0 where none are known.
    columns : ndarray of str or None
        Names of the columns of the second domain.
    """

    def __init__(self, a: SampledRows, b: SampledRows, n_classes: int = 0, columns: np.ndarray | None = None):
        self.a, self.b, self.n_classes, self.columns = a, b, n_classes, columns

    @property
    def dtype(self) -> str:
        """Dtype of the rows of the first domain."""
        return self.a.dtype

    @property
    def have_one_shape(self) -> bool:
        """Whether rows of both domains have the same shape."""
        return self.a.shape == self.b.shape

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Domain) -> Self:
        """Take centre, scale and range from the rows."""
        self.a.fit(X, chosen)
        others = np.flatnonzero(np.isin(owners(len(X), len(y.rows)), chosen))
        self.b.fit(y.rows, others)
        if not self.a.by_feature:
            first, second = X[chosen], y.rows[others]
            parts = [[first, second]] * 2 if self.have_one_shape else [[first], [second]]
            self.a.scaling, self.b.scaling = (
                _one_scaling(rows, data.n_features) for rows, data in zip(parts, (self.a, self.b), strict=True)
            )
        return self

    def dataset(self, X: np.ndarray, device: str, y: Domain) -> Unpaired:
        """Both domains as a dataset on the device."""
        rows = (torch.from_numpy(self.a.to_network(X)), torch.from_numpy(self.b.to_network(y.rows)))
        labels = (
            torch.full((len(part),), -1) if known is None else torch.from_numpy(known)
            for part, known in zip(rows, (y.labels_a, y.labels_b), strict=True)
        )
        return Unpaired(*(part.to(device) for part in (*rows, *labels)))


def _one_scaling(parts: list[np.ndarray], n_features: int) -> Scaling:
    """One centre and one scale for all cells of these sets of rows, each of which counts the same."""
    center = float(np.mean([part.mean(dtype=np.float64) for part in parts]))
    variance = float(np.mean([np.square(part - center).mean(dtype=np.float64) for part in parts]))
    return Scaling(np.full(n_features, center), variance**0.5 or 1.0)
