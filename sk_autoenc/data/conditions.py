"""Rows with targets that a generator is told: classes as indicators, numbers standardised, any number of columns."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import assert_all_finite

from sk_autoenc._messages import warn
from sk_autoenc.data.dataset import Pairs, Rows
from sk_autoenc.data.observed import SAMPLED, SampledRows, check_sampled
from sk_autoenc.storage import Check, Plain, array, by_state, check_names, flag, number, short, strings


def columns_of(y: Any, name: str = "y") -> list[np.ndarray]:
    """Columns of targets as arrays, each of its own dtype; ``ValueError`` for what is none, or has missing values."""
    if hasattr(y, "columns"):
        columns = [np.asarray(y[column]) for column in y.columns]
    else:
        found = np.asarray(y)
        if found.ndim not in (1, 2):
            raise ValueError(
                f"{name} should be a 1d array or have one column for each target, got shape {found.shape}."
            )
        columns = [found] if found.ndim == 1 else list(found.T)
    for column in columns:
        assert_all_finite(column, input_name=name)
    return columns


def check_targets(y: Any, n_rows: int, owner: str) -> None:
    """Refuse targets that are not there, or not one for each row."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    if len(found := columns_of(y)[0]) != n_rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: X {n_rows}, y {len(found)}.")


#: Floats without fractions are classes if there are so many different ones at most.
_MOST_CLASSES = 50


def is_continuous(column: np.ndarray) -> bool:
    """Whether a column holds floats with fractions, or too many different floats to be names of classes."""
    if column.dtype.kind != "f":
        return False
    return bool((column != np.floor(column)).any()) or len(np.unique(column)) > _MOST_CLASSES


def is_targets(value: Any, where: str) -> None:
    """A column of targets in a file: finite numbers, or strings."""
    if (
        not isinstance(value, np.ndarray)
        or value.ndim != 1
        or value.dtype.kind not in "biufUO"
        or value.dtype == np.longdouble
    ):
        raise ValueError(f"{where} must be an array of numbers or strings with one axis, got {short(value)}.")
    if value.dtype.kind == "O":
        strings(value, where)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{where} must hold finite numbers, but one is NaN or infinite.")


def _is_list_of(check: Check) -> Check:
    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{where} must be a list of one item or more, got {short(value)}.")
        for i, item in enumerate(value):
            check(item, f"{where}[{i}]")

    return check_all


def _is_names(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where} must be a list of strings, got {short(value)}.")


def is_kind(value: Any, where: str) -> None:
    """What :func:`_kind_of` says of a column."""
    if isinstance(value, dict) and "classes" in value:
        check_names(value, where, required=("classes",))
        is_targets(classes := value["classes"], f"{where}['classes']")
        if not len(classes) or (classes[1:] <= classes[:-1]).any():
            raise ValueError(f"{where}['classes'] must hold one or more ascending classes.")
        return
    check_names(value, where, required=("center", "scale"))
    for name in ("center", "scale"):
        number()(value[name], f"{where}[{name!r}]")
    if value["scale"] <= 0:
        raise ValueError(f"{where}['scale'] must be above 0, got {short(value['scale'])}.")


def _check_conditions(kind: type, plain: Plain) -> None:
    """Refuse targets that do not go with each other."""
    check_sampled(kind, plain)
    kinds, known, counts = plain["kinds"], plain["known"], plain["counts"]
    if len(known) != len(kinds) or (plain["is_flat"] and len(kinds) != 1):
        raise ValueError(f"{kind.__name__} has {len(known)} columns in known, but {len(kinds)} in kinds.")
    for i, (column, of_column) in enumerate(zip(known, kinds, strict=True)):
        if len(column) != len(counts) or not len(counts):
            raise ValueError(f"{kind.__name__}.known[{i}] has {len(column)} targets, but counts are {len(counts)}.")
        if "classes" not in of_column and column.dtype.kind != "f":
            raise ValueError(f"{kind.__name__}.known[{i}] must hold floating numbers, got {column.dtype}.")
        if "classes" in of_column:
            classes = of_column["classes"]
            if classes.dtype.kind != column.dtype.kind or len(np.setdiff1d(column, classes)):
                raise ValueError(f"{kind.__name__}.known[{i}] must hold classes of kinds[{i}] alone.")


@by_state(
    {
        **SAMPLED,
        "kinds": _is_list_of(is_kind),
        "known": _is_list_of(is_targets),
        "counts": array("i8", None, low=1),
        "is_flat": flag,
        "names": _is_names,
    },
    check=_check_conditions,
    take=lambda rows: rows.state,
    make=lambda plain: ConditionedRows.from_state(plain),
)
class ConditionedRows(SampledRows):
    """Rows and their targets, which become columns of numbers that both players read.

    Parameters
    ----------
    likelihood, shape, dtype, **options
        As for :class:`SampledRows`.
    kinds : list of dict, or None
        Of every column of targets its ``"classes"``, or ``"center"`` and ``"scale"``; where :meth:`fit` has run.
    known : list of ndarray, or None
        Columns of the distinct targets of the training rows.
    counts : ndarray of int, or None
        Number of rows with each of them.
    is_flat : bool
        Whether targets came as one axis.
    names : list of str
        Names of columns of targets, where these came as a frame with such names.
    """

    def __init__(
        self,
        likelihood: Any,
        shape: tuple[int, ...],
        dtype: str,
        *,
        kinds: list[dict[str, Any]] | None = None,
        known: list[np.ndarray] | None = None,
        counts: np.ndarray | None = None,
        is_flat: bool = True,
        names: list[str] | None = None,
        **options: Any,
    ):
        super().__init__(likelihood, shape, dtype, **options)
        self.kinds, self.known, self.counts, self.is_flat = kinds or [], known or [], counts, is_flat
        self.names = names or []

    @property
    def n_condition(self) -> int:
        """Number of columns that targets become."""
        return sum(len(kind["classes"]) if "classes" in kind else 1 for kind in self.kinds)

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        super().fit(X, chosen)
        columns = columns_of(y)
        self.is_flat = not hasattr(y, "columns") and np.ndim(y) == 1
        self.names = _names_of(y)
        self.kinds = [_kind_of(column) for column in columns]
        numbers = np.column_stack([np.unique(column, return_inverse=True)[1] for column in columns])
        _, first, self.counts = np.unique(numbers, axis=0, return_index=True, return_counts=True)
        self.known = [column[first] for column in columns]
        return self

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        x, condition = torch.from_numpy(self.to_network(X)), torch.from_numpy(self.encode(y))
        return Pairs(x.to(device), condition.to(device))

    def encode(self, y: Any) -> np.ndarray:
        """Targets as the network reads them, float32; ``ValueError`` for classes that the fit did not know."""
        columns = columns_of(self.in_order(y))
        if len(columns) != len(self.kinds):
            raise ValueError(f"y has {len(columns)} columns, but the fit had {len(self.kinds)}.")
        parts = []
        for column, kind, known in zip(columns, self.kinds, self.known, strict=True):
            if "classes" not in kind:
                numbers = column.astype(np.float64)
                _warn_of_far_targets(numbers, known)
                parts.append(((numbers - kind["center"]) / kind["scale"])[:, None])
                continue
            if len(unknown := np.setdiff1d(column, kind["classes"])):
                raise ValueError(
                    f"y holds {unknown[:1].tolist()[0]!r}, but the classes of the fit were {kind['classes'].tolist()}."
                )
            parts.append(column[:, None] == kind["classes"])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def in_order(self, y: Any) -> Any:
        """A frame of targets with its columns in the order of the fit."""
        names = _names_of(y)
        if not names or not self.names or names == self.names:
            return y
        if sorted(names) != sorted(self.names):
            raise ValueError(f"y has the columns {names}, but the fit had {self.names}.")
        return y[self.names]

    def draw_targets(self, n: int, generator: torch.Generator) -> Any:
        """Targets in the proportions of the training rows, in the form in which these came."""
        assert self.counts is not None
        weights = torch.from_numpy(self.counts).double()
        drawn = torch.multinomial(weights, n, replacement=True, generator=generator).numpy()
        return self.as_given([column[drawn] for column in self.known])

    def as_given(self, columns: list[np.ndarray]) -> np.ndarray:
        """Columns of targets in the form of those of the fit."""
        return columns[0] if self.is_flat else np.column_stack(columns)

    @property
    def state(self) -> dict[str, Any]:
        names = ("kinds", "known", "counts", "is_flat", "names")
        return {**super().state, **{name: getattr(self, name) for name in names}}


def _names_of(y: Any) -> list[str]:
    """Names of the columns of a frame; none where y is no frame, or names are no strings."""
    names = list(getattr(y, "columns", []))
    return names if all(isinstance(name, str) for name in names) else []


def _warn_of_far_targets(numbers: np.ndarray, known: np.ndarray) -> None:
    """Say so where targets are further outside the range of the training rows than a quarter of it."""
    low, high = float(known.min()), float(known.max())
    margin = (high - low) / 4
    if len(far := numbers[(numbers < low - margin) | (numbers > high + margin)]):
        warn(
            f"y holds {far[0]:g}, far outside the targets of the fit, which are in [{low:g}, {high:g}]; rows that are "
            "drawn for it are a guess.",
        )


def _kind_of(column: np.ndarray) -> dict[str, Any]:
    """Classes, or centre and scale."""
    if not is_continuous(column):
        return {"classes": np.unique(column)}
    return {"center": float(column.mean()), "scale": float(column.std()) or 1.0}
