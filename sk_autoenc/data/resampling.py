"""How many rows of which class an over-sampler adds, and rows with others added, in the form in which they came."""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import type_of_target

from sk_autoenc._compat import in_container_of
from sk_autoenc.data.conditions import is_continuous
from sk_autoenc.data.frames import library_of, together

Strategy = float | str | Mapping[Any, int] | Callable[[np.ndarray], Mapping[Any, int]]


def rows_to_add(strategy: Strategy, y: np.ndarray) -> dict[Any, int]:
    """Number of rows to add to each class, as ``sampling_strategy`` of imbalanced-learn's over-samplers asks for.

    Parameters
    ----------
    strategy : str, float, dict or callable
        ``"minority"``, ``"not minority"``, ``"not majority"`` (also ``"auto"``) or ``"all"``: these classes become as
        frequent as the most frequent. A number: of two classes, the ratio of the rarer to the other. A dict: number
        of rows of each class afterwards; or a callable that makes such a dict of ``y``.
    y : ndarray of shape (n,)
        Classes.
    """
    classes, counts = np.unique(y, return_counts=True)
    there = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    if len(there) == 1:
        raise ValueError("The target 'y' needs to have more than 1 class. Got 1 class instead.")
    wanted = strategy(y) if callable(strategy) else strategy
    if isinstance(wanted, Mapping):
        return _up_to(wanted, there)
    most, rarest = max(there.values()), min(there, key=lambda name: there[name])
    if isinstance(wanted, str):
        majority = max(there, key=lambda name: there[name])
        chosen = {
            "minority": {rarest},
            "not minority": set(there) - {rarest},
            "not majority": set(there) - {majority},
            "auto": set(there) - {majority},
            "all": set(there),
        }
        if wanted not in chosen:
            raise ValueError(f"sampling_strategy must be one of {sorted(chosen)}, a number or a dict, got {wanted!r}.")
        return {name: most - there[name] for name in there if name in chosen[wanted]}
    if not isinstance(wanted, Real) or not 0 < wanted <= 1:
        raise ValueError(f"sampling_strategy must be a string, a dict or a number in (0, 1], got {wanted!r}.")
    if len(there) != 2:
        raise ValueError(f"sampling_strategy={wanted!r} is a ratio of two classes, but y has {len(there)}.")
    if (n := int(most * wanted) - there[rarest]) < 0:
        raise ValueError(
            f"sampling_strategy={wanted!r} would take rows of class {rarest!r} away; their ratio is "
            f"{there[rarest] / most:.3g} already."
        )
    return {rarest: n}


def _up_to(wanted: Mapping[Any, int], there: dict[Any, int]) -> dict[Any, int]:
    """What is missing to these numbers of rows."""
    for name, n in wanted.items():
        if name not in there:
            raise ValueError(f"sampling_strategy names the class {name!r}, but those of y are {list(there)}.")
        if n < there[name]:
            raise ValueError(
                f"sampling_strategy asks for {n} rows of class {name!r}, of which there are {there[name]} already; an "
                "over-sampler takes no row away."
            )
    return {name: int(n) - there[name] for name, n in wanted.items()}


def dense(X: Any) -> Any:
    """``X``, where a pandas frame of sparse columns becomes one of usual columns."""
    return X.sparse.to_dense() if hasattr(X, "iloc") and hasattr(X, "sparse") else X


def with_rows(X: Any, added: Any) -> Any:
    """The rows of ``X`` and these below them, as a list, array or data frame like ``X``."""
    if library_of(added) in ("pandas", "polars"):
        return together([X, added], np.arange(len(X) + len(added)))
    if hasattr(X, "iloc"):
        return _with_rows_of_pandas(X, added)
    dtype = np.asarray(X).dtype
    added = np.rint(added) if dtype.kind in "iub" else added
    both = np.concatenate([np.asarray(X), added.astype(dtype)])
    if isinstance(X, list):
        return both.tolist()
    if not hasattr(X, "columns"):
        return both
    return in_container_of(X, both)


def _with_rows_of_pandas(X: Any, added: np.ndarray) -> Any:
    """The same of a pandas frame, column by column: each keeps its dtype, and large integers stay exact."""
    columns = []
    for values, dtype in zip(added.T, X.dtypes, strict=True):
        is_whole = pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
        columns.append(pd.Series(np.rint(values) if is_whole else values).astype(dtype))
    below = pd.concat(columns, axis=1)
    below.columns = X.columns
    return pd.concat([X, below], ignore_index=True)


def class_labels(y: Any) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """One class for each row, and the function that puts classes into the form of ``y``.

    ``y`` is a list, an array, a Series, a frame of one column, or an array of indicators with one 1 in each row, whose
    classes are numbers of columns.
    """
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] > 1:
        if type_of_target(values) != "multilabel-indicator" or (values.sum(axis=1) != 1).any():
            raise ValueError(
                "Multilabel and multioutput targets are not supported. fit_resample balances the classes of one column."
            )
        indicators = np.eye(values.shape[1], dtype=values.dtype)
        return values.argmax(axis=1), lambda labels: indicators[labels]
    cells = values.ravel().tolist()
    if missing := sum(cell is None or (isinstance(cell, float) and cell != cell) for cell in cells):
        raise ValueError(f"y must have a class for each row, but {missing} are None or NaN; leave these rows out.")
    if values.ndim > 2 or is_continuous(labels := values.reshape(-1)):
        raise ValueError("Unknown label type: fit_resample balances classes, so y must be one column of these.")
    return labels, lambda labels: _in_form_of(y, labels.astype(values.dtype).reshape(-1, *values.shape[1:]))


def _in_form_of(y: Any, labels: np.ndarray) -> Any:
    if isinstance(y, list):
        return labels.tolist()
    if hasattr(y, "columns"):
        return type(y)(labels, columns=y.columns) if hasattr(y, "iloc") else in_container_of(y, labels)
    if not hasattr(y, "to_numpy"):
        return labels
    series = type(y)(labels, name=y.name) if hasattr(y, "iloc") else type(y)(y.name, labels)
    return series.astype(y.dtype) if hasattr(y, "iloc") else series
