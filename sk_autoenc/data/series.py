"""Series of unequal lengths as rows of one length, whose cells after a series' end are NaN, and back."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np


def is_list_of_series(X: Any) -> bool:
    """Whether these are series one by one, each an array with one or two axes, or a list of numbers.

    They may be in a list, or in an array or a pandas Series of objects.
    """
    of_objects = getattr(X, "dtype", None) == np.dtype(object) and getattr(X, "ndim", 0) == 1
    if not (isinstance(X, list | tuple) or of_objects) or len(X) == 0:
        return False
    if all(isinstance(case, list | tuple) for case in X):
        return all(isinstance(value, Real) for case in X for value in case)
    return all(getattr(case, "ndim", 0) in (1, 2) for case in X)


def padded(cases: Sequence[Any], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A list of series as one array, NaN after their ends.

    ``shape``: channels and timepoints that one has at most; None: those of the longest.

    ``(n_timepoints_i,)`` each gives ``(n, n_timepoints)``, ``(n_channels, n_timepoints_i)`` each gives three axes.
    """
    arrays = [np.asarray(case) for case in cases]
    forms = {array.shape[:-1] for array in arrays}
    if len(forms) > 1:
        raise ValueError(
            f"X has series whose axes before time differ: {sorted(forms)!s:.60}; all must have the same, and arrays "
            "with two axes must be (channels, timepoints)."
        )
    axes, longest = forms.pop(), max(array.shape[-1] for array in arrays)
    n_channels, n_timepoints = (math.prod(axes), longest) if shape is None else shape
    if math.prod(axes) != n_channels:
        raise ValueError(
            f"X has series of {math.prod(axes)} channels, but {n_channels} are expected here; arrays with two axes "
            "must be (channels, timepoints)."
        )
    if longest > n_timepoints:
        raise ValueError(
            f"X has a series of {longest} timepoints, but the longest possible here has {n_timepoints}, which "
            "Recurrent(input_shape=(channels, timepoints)) can set in fit."
        )
    dtype = np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
    out = np.full((len(arrays), *axes, n_timepoints), np.nan, dtype=dtype)
    for row, array in zip(out, arrays, strict=True):
        row[..., : array.shape[-1]] = array
    return out


def lengths_of(rows: np.ndarray, n_channels: int, *, may_be_empty: bool = False) -> np.ndarray:
    """Number of timepoints of each row; ``ValueError`` for NaN that is not what follows a series' end."""
    absent = np.isnan(rows).reshape(len(rows), n_channels, -1)
    lengths = (~absent[:, 0]).sum(axis=1)
    after = np.arange(absent.shape[2]) >= lengths[:, None]
    if (wrong := (absent != after[:, None]).any(axis=(1, 2))).any():
        raise ValueError(
            f"X has NaN inside series {int(wrong.argmax())}; NaN may only follow the end of a series, in all channels "
            "from the same timepoint on."
        )
    if not may_be_empty and (lengths == 0).any():
        raise ValueError(f"X has NaN only in series {int(lengths.argmin())}; each needs 1 timepoint or more.")
    return lengths


def check_lengths(lengths: Any, n_series: int, longest: int) -> np.ndarray:
    """Lengths that the user gives, as an array; ``ValueError`` if they are not what so many series can have."""
    found = np.asarray(lengths)
    if found.shape != (n_series,) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"lengths must be one integer for each of the {n_series} rows of X, got shape {found.shape} of "
            f"{found.dtype}."
        )
    if (wrong := (found < 1) | (found > longest)).any():
        raise ValueError(f"lengths must lie between 1 and {longest}, got {found[wrong][0]}.")
    return found


def trimmed(rows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Series one by one, without what follows their ends."""
    return [row[..., :length].copy() for row, length in zip(rows, lengths, strict=True)]
