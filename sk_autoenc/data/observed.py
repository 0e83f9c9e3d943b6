"""Samples brought back to values that training rows have: within their range, and of columns of few values to these."""

from typing import Any, Self

import numpy as np

from sk_autoenc.data.preprocessing import RowPreprocessor

#: What samples may hold: values of the rows where these repeat, any within their range, or any.
VALUES = ("observed", "real", "unbounded")

#: Values of a column repeat if there are so many rows for each of them.
_ROWS_PER_VALUE = 2


class SampledRows(RowPreprocessor):
    """Rows as the network reads them, and what it makes as rows again.

    Parameters
    ----------
    likelihood, shape, dtype, **options
        As for :class:`RowPreprocessor`.
    values : {"observed", "real", "unbounded"}
        What made rows may hold.
    low, high : ndarray of shape (n_features,) or None
        Range of the training rows, where :meth:`fit` has run.
    observed : list of (ndarray or None), or None
        Ascending values of every column in which they repeat.
    """

    def __init__(
        self,
        likelihood: Any,
        shape: tuple[int, ...],
        dtype: str,
        *,
        values: str = "observed",
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        observed: list[np.ndarray | None] | None = None,
        **options: Any,
    ):
        super().__init__(likelihood, shape, dtype, **options)
        self.values, self.low, self.high, self.observed = values, low, high, observed or []

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        super().fit(X, chosen, y)
        self.low, self.high = X[chosen].min(axis=0), X[chosen].max(axis=0)
        if self.values == "observed":
            values = (np.unique(X[chosen, column]) for column in range(self.n_features))
            self.observed = [found if len(found) * _ROWS_PER_VALUE <= len(chosen) else None for found in values]
        return self

    def to_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        made = super().to_rows(rows, dtype)
        if self.values == "unbounded" or self.low is None or self.high is None:
            return made
        flat = made.reshape(len(made), -1).clip(self.low.astype(dtype), self.high.astype(dtype))
        for column, values in enumerate(self.observed):
            if values is not None:
                between = values[1:] / 2 + values[:-1] / 2
                flat[:, column] = values[np.searchsorted(between, flat[:, column])]
        return flat.reshape(made.shape)

    @property
    def state(self) -> dict[str, Any]:
        return {**super().state, "values": self.values, "low": self.low, "high": self.high, "observed": self.observed}
