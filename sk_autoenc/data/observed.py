"""Samples brought back to values that training rows have: within their range, and of columns of few values to these."""

import math
from typing import Any, Self

import numpy as np
import torch

from sk_autoenc.data.indicators import as_indicators, fit_indicator_scaling, from_indicators
from sk_autoenc.data.preprocessing import FIELDS, RowPreprocessor, check_together
from sk_autoenc.data.tabular import Table
from sk_autoenc.storage import Check, Plain, array, by_state, instance, or_none, short, text

#: What samples may hold: values of the rows where these repeat, any within their range, or any.
VALUES = ("observed", "real", "unbounded")

#: Values of a column repeat if there are so many rows for each of them.
_ROWS_PER_VALUE = 2


def _is_list(value: Any, where: str) -> None:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, got {short(value)}.")


#: What stands in files of rows that samples are brought back to.
SAMPLED: dict[str, Check] = {
    **FIELDS,
    "values": text("|".join(VALUES)),
    "low": array("f4 f8", None),
    "high": array("f4 f8", None),
    "observed": _is_list,
    "table": or_none(instance(Table)),
}


def _check_table(kind: type, plain: Plain) -> int:
    """Refuse a table that is not that of the rows; the number of columns that the network reads."""
    n_features, table = math.prod(plain["shape"]), plain["table"]
    if table is None:
        return n_features
    if plain["shape"] != (len(table.columns_),) or plain["dtype"] != "float64" or plain["values"] == "unbounded":
        raise ValueError(f"{kind.__name__}.table has {len(table.columns_)} columns, but rows are not those of a table.")
    return sum(max(column.n_levels, 1) for column in table.columns_)


def check_sampled(kind: type, plain: Plain) -> None:
    """Refuse a range, and values of columns, that are not those of rows of this number of features."""
    n_inputs = _check_table(kind, plain)
    check_together(kind, {**plain, "shape": (n_inputs,)})
    dtype, n_features, observed = np.dtype(plain["dtype"]).str[1:], math.prod(plain["shape"]), plain["observed"]
    for name in ("low", "high"):
        array(dtype, n_features)(plain[name], f"{kind.__name__}.{name}")
    if (plain["low"] > plain["high"]).any():
        raise ValueError(f"{kind.__name__}.low must not be above high.")
    if len(observed) != (n_features if plain["values"] == "observed" else 0):
        raise ValueError(f"{kind.__name__}.observed has {len(observed)} columns, but values={plain['values']!r}.")
    for i, values in enumerate(observed):
        if values is not None:
            array(dtype, None)(values, f"{kind.__name__}.observed[{i}]")
            if not len(values) or (values[1:] <= values[:-1]).any():
                raise ValueError(f"{kind.__name__}.observed[{i}] must hold one or more ascending numbers.")


@by_state(
    SAMPLED,
    check=check_sampled,
    take=lambda rows: rows.state,
    make=lambda plain: SampledRows.from_state(plain),
)
class SampledRows(RowPreprocessor):
    """Rows as the network reads them, and what it makes as rows again.

    Encoded rows of a table become standardised numbers, and scaled indicators of levels. What is made of these becomes
    the level with the largest indicator.

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
    table : Table or None
        Fitted; what has encoded the rows, if they come from a data frame of mixed columns.
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
        table: Table | None = None,
        **options: Any,
    ):
        super().__init__(likelihood, shape, dtype, **options)
        self.values, self.low, self.high, self.observed = values, low, high, observed or []
        self.table, self.is_table = table, table is not None
        self.n_levels = [column.n_levels for column in table.columns_] if table is not None else []

    @property
    def n_inputs(self) -> int:
        return sum(max(n, 1) for n in self.n_levels) if self.is_table else self.n_features

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        if self.is_table:
            self.scaling = fit_indicator_scaling(X, chosen, self.n_levels)
        else:
            super().fit(X, chosen, y)
        self.low, self.high = X[chosen].min(axis=0), X[chosen].max(axis=0)
        if self.values == "observed":
            values = (np.unique(X[chosen, column]) for column in range(self.n_features))
            self.observed = [found if len(found) * _ROWS_PER_VALUE <= len(chosen) else None for found in values]
        return self

    def prepare(self, block: Any, out: np.ndarray) -> None:
        super().prepare(as_indicators(block, self.n_levels) if self.is_table else block, out)

    def to_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if self.is_table and self.scaling is not None:
            dtype = np.dtype(np.float64)  # whatever dtype codes have: dates and large integers need it
            numbers = self.scaling.undo(rows.astype(dtype))
            made = from_indicators(numbers, self.n_levels, self.scaling.center)
        else:
            made = super().to_rows(rows, dtype)
        if self.values == "unbounded" or self.low is None or self.high is None:
            return made
        flat = made.reshape(len(made), -1).clip(self.low.astype(dtype), self.high.astype(dtype))
        for column, values in enumerate(self.observed):
            if values is not None:
                between = values[1:] / 2 + values[:-1] / 2
                flat[:, column] = values[np.searchsorted(between, flat[:, column])]
        return flat.reshape(made.shape)

    def as_drawn(self, made: torch.Tensor) -> torch.Tensor:
        """What the network would read of the rows of a table that it has made; of arrays what it has made."""
        if not self.is_table:
            return made
        return torch.from_numpy(self.to_network(self.to_rows(made.cpu().numpy(), np.dtype(self.dtype))))

    @property
    def state(self) -> dict[str, Any]:
        names = ("values", "low", "high", "observed", "table")
        return {**super().state, **{name: getattr(self, name) for name in names}}
