"""Validation of rows: tensors become arrays, rows become flat, and values must not overflow float32."""

import math
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from torch import Tensor


def as_array(X: Any) -> Any:
    """A tensor as an array, with shared memory where possible; everything else unchanged."""
    return X.detach().cpu().numpy() if isinstance(X, Tensor) else X


def refuse_sparse(X: Any, owner: str) -> None:
    """Refuse sparse rows, with the ways out."""
    if issparse(X):
        raise TypeError(
            f"Sparse data was passed for X, but {owner} needs dense rows. Put TruncatedSVD before it, which reduces "
            "sparse rows to a few columns; use AutoencoderRecommender for counts of items; or X.toarray(), where that "
            "is small."
        )


def flattened(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Flat rows, and the shape of a row if ``X`` has more than two axes, else None."""
    refuse_no_numbers(X)
    if isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) > 1:
        X = np.asarray(X)  # a list of images or series
    if getattr(X, "ndim", 2) <= 2:
        return X, None
    X = np.asarray(X)
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def refuse_no_numbers(X: Any) -> None:
    """Refuse strings, and dates, which would be read as numbers of nanoseconds, by the names of their columns."""
    if hasattr(X, "columns") and hasattr(X, "dtypes"):  # pandas and polars
        kinds = [getattr(kind, "kind", "M" if getattr(kind, "is_temporal", bool)() else "") for kind in X.dtypes]
        if dates := [name for name, kind in zip(X.columns, kinds, strict=True) if kind in ("m", "M")]:
            raise ValueError(
                f"X must hold numbers, got dates or times in {', '.join(map(repr, dates[:5]))}"
                f"{' and others' if len(dates) > 5 else ''}; turn them into numbers, such as days since the first one."
            )
        if strings := [name for name in X.columns if _holds_strings(X[name])]:
            raise ValueError(
                f"X must hold numbers, got strings in {', '.join(map(repr, strings[:5]))}"
                f"{' and others' if len(strings) > 5 else ''}; turn them into numbers, for instance by OneHotEncoder."
            )
    elif getattr(getattr(X, "dtype", None), "kind", "") in ("m", "M"):
        raise ValueError(f"X must hold numbers, got dates or times of dtype {X.dtype}; turn them into numbers.")


def _holds_strings(column: Any) -> bool:
    """Whether a column holds strings that are no numbers."""
    if getattr(column, "ndim", 1) != 1 or getattr(getattr(column, "dtype", None), "kind", "O") in "biufc":
        return False
    try:
        np.asarray(column).astype(float)
    except ValueError:
        return any(isinstance(value, str) for value in column)
    except TypeError:
        return False
    return False


def check_range(X: np.ndarray, name: str) -> None:
    """Refuse float64 values that are infinite in the network's float32."""
    limit = float(np.finfo(np.float32).max)
    if X.dtype == np.float64 and (largest := max(X.max(), -X.min())) > limit:
        raise ValueError(
            f"{name} must lie within ±{limit:.6g}, because the network computes in float32, got a value of size "
            f"{largest:.6g}."
        )


def check_groups(groups: Any, n_rows: int) -> np.ndarray | None:
    """The number of each row's group, from 0 on; None where no groups are given."""
    if groups is None:
        return None
    found = np.asarray(as_array(groups))
    if found.shape != (n_rows,):
        raise ValueError(f"groups must be one label for each of the {n_rows} rows of X, got shape {found.shape}.")
    try:
        return np.unique(found, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(f"groups must be labels of one kind, such as integers or strings: {error}.") from error


def check_codes(Z: Any, name: str, n_components: int, owner: str) -> np.ndarray:
    """Codes as a 2-D array of float32 or float64, as many numbers each as the owner's have."""
    codes = check_array(as_array(Z), dtype=[np.float64, np.float32], input_name=name)
    check_range(codes, name)
    if codes.shape[1] != n_components:
        raise ValueError(
            f"{name} must have n_components={n_components} columns, one for each component of a code of {owner}, got "
            f"{codes.shape[1]}."
        )
    return codes


def keep_shape(estimator: Any, shape: tuple[int, ...], flat: tuple[int, ...], *, reset: bool) -> None:
    """Set ``input_shape_`` of the estimator (``reset``), or refuse rows that neither have this shape nor are flat."""
    if reset:
        estimator.input_shape_ = shape
        return
    fitted = estimator.input_shape_
    if shape not in (fitted, flat, _long_axes(fitted)) and fitted != _long_axes(shape):
        raise ValueError(
            f"X must have rows of shape {fitted}, on which {type(estimator).__name__} was fitted, got rows of shape "
            f"{shape}."
        )


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1, which images of one channel may have or lack."""
    return tuple(side for side in shape if side != 1)


def cast_within(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in this dtype, finite ones clipped to its range."""
    limit = np.finfo(dtype).max
    return np.where(np.isfinite(values), values.clip(-limit, limit), values).astype(dtype)
