"""Rows of which few have a target: what ``y`` may hold, the dataset of a step, and what reads both."""

from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from sk_autoenc.data.baseline import Baseline, fit_baseline
from sk_autoenc.data.conditions import is_kind
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.graph import Graph, make_graph
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.storage import by_state, instance

#: The label of a row without one, as in ``sklearn.semi_supervised``.
UNLABELLED = -1

#: Labelled rows are added to a batch until they are this share of the batch.
_SHARE_OF_BATCH = 1 / 3


class Targets(NamedTuple):
    """Targets of all rows: numbers of classes, or values."""

    values: np.ndarray  # (n,): int64, the number of each row's class; or float64
    known: np.ndarray  # (n,): bool
    classes: np.ndarray | None = None  # ascending; None for values


def read_targets(y: Any, n_rows: int, owner: str, *, is_class: bool, warns: bool = False) -> Targets:
    """Classes or values; ``warns``: say that a column-vector is read as one axis."""
    found = _one_column(y, n_rows, owner, warns=warns)
    return read_classes(found) if is_class else read_values(found)


def column_of(y: Any) -> np.ndarray:
    """Classes that are given to a fitted model."""
    return np.asarray(column_or_1d(y))


def _one_column(y: Any, n_rows: int, owner: str, *, warns: bool) -> np.ndarray:
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    found = np.asarray(column_or_1d(y, warn=warns))
    if len(found) != n_rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: X {n_rows}, y {len(found)}.")
    return found


def read_classes(found: np.ndarray) -> Targets:
    """Classes of rows, of which -1, NaN and None are none; ``ValueError`` for what is no class.

    Strings need ``dtype=object`` beside -1, NaN or None, as NumPy would turn these into strings.
    """
    if found.dtype.kind in "US":
        if len(odd := np.intersect1d(found, ["-1", "nan", "None"])):
            raise ValueError(
                f"y holds the string {odd.tolist()[0]!r}. If it stands for a missing label, make y with dtype=object "
                "and use -1, None or NaN; if it is a class, rename it."
            )
        known = np.ones(len(found), dtype=bool)
    elif found.dtype == object:
        missing = np.array([value is None or (not isinstance(value, str) and bool(value != value)) for value in found])
        known = ~missing & np.array([isinstance(value, str) or value != UNLABELLED for value in found])
    elif found.dtype.kind == "f":
        assert_all_finite(found, input_name="y", allow_nan=True)
        known = ~np.isnan(found) & (found != UNLABELLED)
    else:
        known = found != UNLABELLED if found.dtype.kind != "b" else np.ones(len(found), dtype=bool)
    if not known.any():
        raise ValueError(f"y must have a class for one row or more, but all {len(found)} are unlabelled (-1).")
    labelled = found[known]
    if labelled.dtype == object and not all(isinstance(value, str) for value in labelled):
        try:
            labelled = np.array(labelled.tolist())
        except ValueError:
            labelled = labelled.astype(str)
        if labelled.dtype.kind not in "biuf":
            raise ValueError("Unknown label type: y must hold strings, or numbers, beside -1, None and NaN.")
    if labelled.dtype.kind == "f" and found.dtype.kind != "f":
        labelled = labelled.astype(int) if (labelled == np.floor(labelled)).all() else labelled
    check_classification_targets(labelled)
    classes, numbers = np.unique(labelled, return_inverse=True)
    values = np.full(len(found), UNLABELLED, dtype=np.int64)
    values[known] = numbers
    return Targets(values, known, classes)


def read_values(found: np.ndarray) -> Targets:
    """Values of rows, of which NaN are none."""
    try:
        found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y must hold numbers, or NaN for rows without one: {error}.") from error
    assert_all_finite(found, input_name="y", allow_nan=True)
    if not (known := ~np.isnan(found)).any():
        raise ValueError(f"y must have a value for one row or more, but all {len(found)} are NaN.")
    return Targets(found, known)


class LabelSource:
    """What all parts of one dataset share: the rows on the CPU, their graph, and how its baseline is fitted.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        All rows.
    known : ndarray of bool, shape (n,)
        Which of them have a target.
    is_class : bool
        Whether targets are classes.
    choice : str
        Which baselines may be chosen; a name in ``baseline.SHARES``.
    seed : int
        Seeds its folds.
    teaches : bool
        Whether the baseline gives targets to the other rows in training.
    """

    def __init__(self, X: np.ndarray, known: np.ndarray, *, is_class: bool, choice: str, seed: int, teaches: bool):
        self.X, self.known, self.is_class = X, known, is_class
        self.choice, self.seed, self.teaches = choice, seed, teaches

    @cached_property
    def graph(self) -> Graph:
        return make_graph(self.X, np.flatnonzero(self.known))


class LabelledRows(Rows):
    """Some rows, few of which have a target, by index; ``Batch.y`` holds targets and, as last column, their weights.

    Rows without a target have weight 0; or, if the source teaches, the output and the certainty of the baseline that is
    fitted to the targets of these rows alone. Where few rows have a target, each batch has further ones that do.
    """

    def __init__(self, data: Tensor, target: Tensor, known: Tensor, source: LabelSource, index: Tensor | None = None):
        super().__init__(data, index)
        self.target, self.known, self.source = target, known, source

    @cached_property
    def labelled(self) -> Tensor:
        """Numbers of the rows that have a target, in the tensor."""
        return self.index[self.known[self.index]]

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline of these rows' targets."""
        source, known = self.source, self.labelled.sort().values.cpu().numpy()
        target = self.target.cpu().numpy()
        return fit_baseline(
            source.graph, target, known, is_class=source.is_class, choice=source.choice, seed=source.seed
        )

    @cached_property
    def _lesson(self) -> Tensor:
        """Targets and weights of all rows of the tensor; ``(n, k + 1)``."""
        lesson = torch.zeros(len(self.data), self.target.shape[1] + 1, device=self.data.device)
        if self.source.teaches and 0 < len(self.labelled) < len(self.index):
            values, weights = self.baseline.lesson(self.source.X)
            lesson[:, :-1], lesson[:, -1] = torch.from_numpy(values), torch.from_numpy(weights)
        lesson[self.labelled, :-1], lesson[self.labelled, -1] = self.target[self.labelled], 1.0
        return lesson

    def gather(self, index: Tensor) -> Batch:
        """The rows with these numbers, and labelled ones beside them."""
        if n_more := self._n_more(len(index)):
            # The order is shuffled, so the numbers of its rows choose labelled rows as well as any draw does.
            index = torch.cat([index, self.labelled[index[:n_more] % len(self.labelled)]])
        return Batch(self.data.index_select(0, index), self._lesson.index_select(0, index))

    def _n_more(self, n_rows: int) -> int:
        """How many labelled rows a batch of so many needs beside them."""
        share = len(self.labelled) / max(1, len(self.index))
        if not 0 < share < _SHARE_OF_BATCH:
            return 0
        return min(n_rows, round(n_rows * (_SHARE_OF_BATCH - share) / (1 - _SHARE_OF_BATCH)))

    def subset(self, index: Tensor) -> Self:
        return type(self)(self.data, self.target, self.known, self.source, index)

    def cpu(self) -> Self:
        if self.data.device.type == "cpu":
            return self  # with the baseline, if it is fitted
        return type(self)(self.data.cpu(), self.target.cpu(), self.known.cpu(), self.source, self.index.cpu())


@by_state(
    {"rows": instance(RowPreprocessor), "kind": is_kind},
    take=lambda data: {"rows": data.rows, "kind": data.kind},
    make=lambda plain: LabelReader(plain["rows"], kind=plain["kind"]),
)
class LabelReader:
    """Reads rows as an autoencoder does, and their targets.

    Parameters
    ----------
    rows : RowPreprocessor
        Reads rows.
    kind : dict
        ``"classes"``, or ``"center"`` and ``"scale"`` of values.
    owner : str
        The estimator, for messages.
    choice, seed, teaches
        As for :class:`LabelSource`; a loaded reader needs none.
    is_fitted : bool
        Whether ``rows`` has centre and scale already.
    """

    def __init__(
        self,
        rows: RowPreprocessor,
        *,
        kind: dict[str, Any],
        owner: str = "",
        choice: str = "auto",
        seed: int = 0,
        teaches: bool = False,
        is_fitted: bool = False,
    ):
        self.rows, self.kind, self.owner, self.is_fitted = rows, kind, owner, is_fitted
        self.choice, self.seed, self.teaches = choice, seed, teaches

    @property
    def is_class(self) -> bool:
        """Whether targets are classes."""
        return "classes" in self.kind

    @property
    def n_outputs(self) -> int:
        """Number of classes, or 1."""
        return len(self.kind["classes"]) if self.is_class else 1

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any) -> Self:
        """Take centre and scale of rows; those with held-out targets are rows like others."""
        if not self.is_fitted:
            self.rows.fit(X, np.arange(len(X)))
        return self

    def prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        """Write one block as the network reads it."""
        self.rows.prepare(block, out)

    def dataset(self, X: np.ndarray, device: str, y: Any) -> LabelledRows:
        """All rows, and the targets that are known, on the device."""
        targets = read_targets(y, len(X), self.owner, is_class=self.is_class)
        rows, known = self.rows.to_network(X), torch.from_numpy(targets.known)
        source = LabelSource(
            rows, targets.known, is_class=self.is_class, choice=self.choice, seed=self.seed, teaches=self.teaches
        )
        target = torch.from_numpy(self.encode(targets))
        return LabelledRows(torch.from_numpy(rows).to(device), target.to(device), known.to(device), source)

    def encode(self, y: Targets) -> np.ndarray:
        """Indicators of classes, or standardised values; 0 where nothing is known. float32, ``(n, n_outputs)``."""
        if not self.is_class:
            values = np.where(y.known, (y.values - self.kind["center"]) / self.kind["scale"], 0.0)
            return values[:, None].astype(np.float32)
        assert y.classes is not None
        if len(unknown := np.setdiff1d(y.classes, self.kind["classes"])):
            raise ValueError(
                f"y holds {unknown[:1].tolist()[0]!r}, but the classes of the fit were {self.kind['classes'].tolist()}."
            )
        places = np.searchsorted(self.kind["classes"], y.classes)
        indicators = np.zeros((len(y.values), self.n_outputs), dtype=np.float32)
        indicators[y.known, places[y.values[y.known]]] = 1.0
        return indicators


def kind_of(y: Targets) -> dict[str, Any]:
    """Classes, or centre and scale of the known values."""
    if y.classes is not None:
        return {"classes": y.classes}
    values = y.values[y.known]
    return {"center": float(values.mean()), "scale": float(values.std()) or 1.0}
