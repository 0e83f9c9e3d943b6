"""How many rows of which class an over-sampler adds, and rows with others added, in the form in which they came."""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from sk_autoenc._compat import in_container_of

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


def with_rows(X: Any, added: np.ndarray) -> Any:
    """The rows of ``X`` and these below them, as a list, array or data frame like ``X``."""
    dtype = np.asarray(X).dtype
    added = np.rint(added) if dtype.kind in "iub" else added
    both = np.concatenate([np.asarray(X), added.astype(dtype)])
    if isinstance(X, list):
        return both.tolist()
    if not hasattr(X, "columns"):
        return both
    if hasattr(X, "iloc"):  # pandas, whose columns keep their dtypes
        return type(X)(both, columns=X.columns).astype(X.dtypes.to_dict())
    return in_container_of(X, both)


def with_labels(y: Any, added: np.ndarray) -> Any:
    """The labels of ``y`` and these behind them, as a list, array or Series like ``y``."""
    both = np.concatenate([np.asarray(y), added.astype(np.asarray(y).dtype)])
    if isinstance(y, list):
        return both.tolist()
    if not hasattr(y, "to_numpy"):
        return both
    series = type(y)(both, name=y.name)
    return series.astype(y.dtype) if hasattr(y, "iloc") else series
