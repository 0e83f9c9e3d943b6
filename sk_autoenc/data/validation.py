"""Rows as they come in: tensors as arrays, axes of their own made flat, values that float32 can hold."""

import math
from typing import Any

import numpy as np
from sklearn.utils import check_array
from torch import Tensor


def as_array(X: Any) -> Any:
    """A tensor as an array that shares its memory where it can; everything else as it is."""
    return X.detach().cpu().numpy() if isinstance(X, Tensor) else X


def flattened(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Rows without axes of their own, and the shape that they had if they had any."""
    if isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) > 1:
        X = np.asarray(X)  # images or series one by one
    if getattr(X, "ndim", 2) <= 2:
        return X, None
    X = np.asarray(X)
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def check_range(X: np.ndarray, name: str) -> None:
    """Refuse float64 values that are infinite in the network's float32."""
    limit = float(np.finfo(np.float32).max)
    if X.dtype == np.float64 and (largest := max(X.max(), -X.min())) > limit:
        raise ValueError(
            f"{name} holds a value of size {largest:.6g}; the network computes in float32, "
            f"so values must lie within ±{limit:.6g}."
        )


def check_codes(Z: Any, name: str, n_components: int, owner: str) -> np.ndarray:
    """Codes as a 2-D array of float32 or float64, as many numbers each as the owner's have."""
    codes = check_array(as_array(Z), dtype=[np.float64, np.float32], input_name=name)
    check_range(codes, name)
    if codes.shape[1] != n_components:
        raise ValueError(f"{name} has {codes.shape[1]} columns, but {owner} has codes of {n_components}.")
    return codes


def keep_shape(estimator: Any, shape: tuple[int, ...], flat: tuple[int, ...], *, reset: bool) -> None:
    """Set ``input_shape_`` of the estimator, or refuse rows that have neither this shape nor are flat."""
    if reset:
        estimator.input_shape_ = shape
        return
    fitted = estimator.input_shape_
    if shape not in (fitted, flat, _long_axes(fitted)) and fitted != _long_axes(shape):
        raise ValueError(
            f"X has rows of shape {shape}, but {type(estimator).__name__} was fitted on rows of shape {fitted}."
        )


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of length 1, which images of one channel may have or lack."""
    return tuple(side for side in shape if side != 1)


def cast_within(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """In this dtype, in which what is finite stays so."""
    limit = np.finfo(dtype).max
    return np.where(np.isfinite(values), values.clip(-limit, limit), values).astype(dtype)
