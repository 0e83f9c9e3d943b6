"""The only module that imports scikit-learn's private names, so that a move there is mended in one place."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._set_output import _get_adapter_from_container, _get_container_adapter
from sklearn.utils.validation import _check_feature_names_in as feature_names_in

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "feature_names_in",
    "fit_context",
    "in_chosen_container",
    "in_container_of",
    "safe_indexing",
]


class Interval(_Interval):
    """scikit-learn's interval, without ``True`` and ``False``; unbounded real numbers end where float32 does."""

    @property
    def _is_unbounded(self) -> bool:
        return self.type is Real and self.right is None

    def is_satisfied_by(self, val: Any) -> bool:
        if isinstance(val, bool | np.bool_) or not super().is_satisfied_by(val):
            return False
        return not self._is_unbounded or val <= float(np.finfo(np.float32).max)

    def __str__(self) -> str:
        return super().__str__() + (" that float32 can hold" if self._is_unbounded else "")


def in_chosen_container(estimator: Any, rows: np.ndarray, like: Any = None, columns: Any = None) -> Any:
    """Rows as ``set_output`` asks for: an array, or a data frame with the index of ``like``.

    ``columns`` are its names; None: those of the input features.
    """
    adapter = _get_container_adapter("transform", estimator)
    if adapter is None or rows.ndim > 2:  # images have no columns
        return rows
    columns = feature_names_in(estimator) if columns is None else columns
    return adapter.create_container(rows, rows if like is None else like, columns=columns)


def in_container_of(X: Any, values: np.ndarray) -> Any:
    """Values of the features of ``X`` as a data frame of its library, with its names; an array if ``X`` is none.

    Classes derived from data frames are not known to scikit-learn; for them, too, it is an array.
    """
    try:
        adapter = _get_adapter_from_container(X)
    except ValueError:
        return values
    return adapter.create_container(values, X, columns=list(X.columns))
