"""Series of unequal lengths as rows of one length, whose cells after a series' end are NaN, and back."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np


def is_list_of_series(X: Any) -> bool:
    """Whether ``X`` is a list, or an array or pandas Series of objects, whose entries are series.

    A series is an array with one or two axes, or a list of numbers.
    """
    of_objects = getattr(X, "dtype", None) == np.dtype(object) and getattr(X, "ndim", 0) == 1
    if not (isinstance(X, list | tuple) or of_objects) or len(X) == 0:
        return False
    if all(isinstance(case, list | tuple) for case in X):
        return all(isinstance(value, Real) for case in X for value in case)
    return all(getattr(case, "ndim", 0) in (1, 2) for case in X)


def padded(cases: Sequence[Any], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A list of series as one array, NaN after their ends.

    Series of shape ``(n_timepoints_i,)`` give ``(n, n_timepoints)``, those of shape ``(n_channels, n_timepoints_i)``
    give ``(n, n_channels, n_timepoints)``. ``shape``: channels and largest number of timepoints; None takes those of
    the longest series.
    """
    arrays = [np.asarray(case) for case in cases]
    forms = {array.shape[:-1] for array in arrays}
    if len(forms) > 1:
        raise ValueError(
            "X must hold series with the same axes before time, such as (channels, timepoints), got series whose axes "
            f"before time differ: {sorted(forms)!s:.60}."
        )
    axes, longest = forms.pop(), max(array.shape[-1] for array in arrays)
    n_channels, n_timepoints = (math.prod(axes), longest) if shape is None else shape
    if math.prod(axes) != n_channels:
        raise ValueError(
            f"X must hold series of {n_channels} channels, got series of {math.prod(axes)} channels; arrays with two "
            "axes must be (channels, timepoints)."
        )
    if longest > n_timepoints:
        raise ValueError(
            f"X must hold series of at most {n_timepoints} timepoints, got a series of {longest} timepoints; set "
            "Recurrent(input_shape=(channels, timepoints)) in fit to allow longer ones."
        )
    dtype = np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
    out = np.full((len(arrays), *axes, n_timepoints), np.nan, dtype=dtype)
    for row, array in zip(out, arrays, strict=True):
        row[..., : array.shape[-1]] = array
    return out


def lengths_of(rows: np.ndarray, n_channels: int, *, may_be_empty: bool = False) -> np.ndarray:
    """Number of timepoints of each row; ``ValueError`` for NaN that does not follow the end of a series."""
    absent = np.isnan(rows).reshape(len(rows), n_channels, -1)
    lengths = (~absent[:, 0]).sum(axis=1)
    after = np.arange(absent.shape[2]) >= lengths[:, None]
    if (wrong := (absent != after[:, None]).any(axis=(1, 2))).any():
        raise ValueError(
            f"X must have NaN only after the end of a series, from the same timepoint on in all channels, got NaN "
            f"inside series {int(wrong.argmax())}."
        )
    if not may_be_empty and (lengths == 0).any():
        raise ValueError(f"X must hold series of 1 timepoint or more, got NaN only in series {int(lengths.argmin())}.")
    return lengths


def check_lengths(lengths: Any, n_series: int, longest: int) -> np.ndarray:
    """The user's lengths as an array; ``ValueError`` if they do not suit so many series of this largest length."""
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
