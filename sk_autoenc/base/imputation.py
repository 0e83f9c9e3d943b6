"""What fitted imputers do: fill missing cells with their means, or with draws."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sk_autoenc._compat import feature_names_in, in_chosen_container
from sk_autoenc._messages import warn
from sk_autoenc.base.estimator import NeuralEstimator
from sk_autoenc.data.columns import Column
from sk_autoenc.data.frames import with_columns
from sk_autoenc.data.incomplete import IncompleteRows
from sk_autoenc.data.tabular import Table, is_table
from sk_autoenc.data.validation import check_range, keep_shape
from sk_autoenc.training.inference import in_one_thread, map_rows
from sk_autoenc.training.randomness import draw_seed, make_generator

#: Passes in which ``score`` hides the columns in turn, at most.
_PASSES = 10

#: Cells of tables that are drawn at once, and rows of them that the network reads at once.
_CELLS, _BLOCK = 2**22, 4096


class NeuralImputer(TransformerMixin, NeuralEstimator):
    """A model that fills the missing cells of tables."""

    _data: IncompleteRows

    #: What is known of the columns of a data frame, where some are no plain numbers.
    columns_: list[Column]

    #: Columns without any observed cell in the table of ``fit``.
    empty_features_: np.ndarray

    #: Columns that had missing cells in the table of ``fit``.
    missing_features_: np.ndarray

    # -- tables in

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        """Rows with NaN for missing cells, float64 or float32; of a table numbers, and numbers of levels."""
        if reset and _has_types(X, self.columns):
            self.columns_ = Table(self.columns).fit(X).columns_
        rows = self._encoded(X, reset=reset) if hasattr(self, "columns_") else self._numbers(X, reset=reset)
        if reset:
            self._note_missing(np.isnan(rows))
        return rows

    def _numbers(self, X, *, reset: bool) -> np.ndarray:
        code = (self if reset else self._parameters).missing_values
        may_be_nan = _is_nan(code)
        X = super()._validate(X, reset=reset, finite="allow-nan" if may_be_nan else True)  # type: ignore[arg-type]
        if may_be_nan:
            check_range(np.nan_to_num(X), "X")
            return X
        return np.where(code == X, np.nan, X)

    def _encoded(self, X, *, reset: bool) -> np.ndarray:
        if not hasattr(X, "columns"):
            raise ValueError(f"X must be a data frame with the columns of fit, got {type(X).__name__}.")
        validate_data(self, X, reset=reset, skip_check_array=True)
        rows = self._table(self.unseen if reset else self._parameters.unseen).encode(X)
        keep_shape(self, rows.shape[1:], rows.shape[1:], reset=reset)
        return rows

    def _table(self, unseen: str = "error") -> Table:
        """Turns data frames with the columns of ``fit`` into numbers, and back."""
        made = Table(unseen=unseen)
        made.columns_ = self.columns_
        return made

    def _note_missing(self, missing: np.ndarray) -> None:
        self.empty_features_ = np.flatnonzero(missing.all(axis=0))
        self.missing_features_ = np.flatnonzero(missing.any(axis=0))
        if len(self.empty_features_) == missing.shape[1]:
            raise ValueError("X must have an observed cell, but all its cells are missing.")
        if len(self.empty_features_) and not self.keep_empty_features:
            names = feature_names_in(self)[self.empty_features_].tolist()
            warn(
                f"X: the columns {names} have no observed cell, so they are left out; keep_empty_features=True keeps "
                "them, and fills those of numbers with 0.",
            )

    @property
    def _kept_features(self) -> np.ndarray:
        """Columns that are returned."""
        columns = np.arange(self.n_features_in_)
        return columns if self._parameters.keep_empty_features else np.setdiff1d(columns, self.empty_features_)

    # -- results

    @property
    def indicator_(self) -> MissingIndicator | None:
        """The fitted MissingIndicator of the columns that had missing cells in ``fit``, with ``add_indicator=True``."""
        check_is_fitted(self)
        if not self._parameters.add_indicator:
            return None
        row = np.zeros((1, self.n_features_in_))
        row[0, self.missing_features_] = np.nan
        return MissingIndicator(error_on_new=False).fit(row)

    @property
    def statistics_(self) -> np.ndarray:
        """What a row without any observed cell is filled with; NaN for columns that are left out."""
        check_is_fitted(self)
        empty = torch.full((1, self.net_.module_.layout.n_cells), torch.nan, device=self.device_)
        with torch.inference_mode():
            row = self._data.as_rows(self._said(empty).cpu().numpy())[0]
        return np.where(np.isin(np.arange(self.n_features_in_), self._kept_features), row, np.nan)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that :meth:`transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of ``fit``, which these must match.

        Returns
        -------
        ndarray of str
            The columns' own names, and ``missingindicator_<name>`` for those of the indicator.
        """
        check_is_fitted(self)
        names = feature_names_in(self, input_features)
        if (indicator := self.indicator_) is None:
            return names[self._kept_features]
        return np.concatenate([names[self._kept_features], indicator.get_feature_names_out(names)])

    # -- public

    def transform(self, X):
        """Fill missing cells.

        Numbers are filled with conditional means, categories with their most probable level. Means vary less than what
        is missing would: use :meth:`sample_imputations` for variances, intervals and tests.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing cells, in the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out), or DataFrame
            The rows; a data frame of the types of ``fit`` if that saw one with columns other than plain numbers.
            Observed cells are the same bit for bit, as far as the types of ``fit`` can hold them, and a row does not
            depend on the others. Columns without any observed cell in ``fit`` are left out unless
            ``keep_empty_features``; indicators of missing cells follow if ``add_indicator``.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        said = self._map(self._said, self._data.to_network(rows))
        made = self._data.as_rows(said).astype(rows.dtype)
        if hasattr(self, "columns_"):  # only filled cells are rounded, as observed ones stay what they are
            whole = [column.is_number and column.type.family == "integer" for column in self.columns_]
            made[:, whole] = np.round(made[:, whole])
        return self._as_given(np.where(np.isnan(rows), made, rows), rows, like=X)

    def sample_imputations(self, X, n_draws=5, random_state=None):
        """Fill missing cells with draws, for multiple imputation.

        Cells of a row are drawn jointly. Categories are drawn one after the other, each given those before it. Numbers
        follow, with the dependence that the conditional normal distribution has between them, and the residuals that
        cells hidden in training had. The model itself is held fixed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing cells, in the columns of ``fit``.
        n_draws : int, default=5
            Number of filled tables.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same ones at every call.

        Returns
        -------
        ndarray of shape (n_draws, n_samples, n_features_out), or list of data frames
            The tables, each as :meth:`transform` returns it; a list where that returns data frames.
        """
        check_is_fitted(self)
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        rows = self._validate(X, reset=False)
        generator = make_generator(draw_seed(random_state), "sampling")
        tables, at_once = [], max(1, _CELLS // max(rows.size, 1))
        for start in range(0, n_draws, at_once):
            n = min(at_once, n_draws - start)
            drawn = self._drawn(np.tile(rows, (n, 1)), generator).reshape(n, *rows.shape)
            tables += [self._as_given(self._snapped(table, rows), rows, like=X) for table in drawn]
        if not hasattr(tables[0], "columns"):
            names = self.get_feature_names_out()
            tables = [in_chosen_container(self, table, X, names) for table in tables]
        return tables if hasattr(tables[0], "columns") else np.stack(tables)

    def score(self, X, y=None):
        """How well observed cells are filled from the other cells of their row; higher is better.

        Every observed cell is hidden once, together with every tenth column at most.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, which may have missing cells.
        y : None
            Ignored.

        Returns
        -------
        float
            Minus the mean loss of a cell: of numbers the squared error in variances of the column in ``fit``, of
            categories the cross-entropy over the entropy of the levels' frequencies. Filling with means and frequencies
            has -1.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        total, n_cells = 0.0, 0
        n_passes = min(X.shape[1], _PASSES)
        for i in range(n_passes):
            hidden = np.zeros(X.shape, dtype=bool)
            hidden[:, i::n_passes] = ~np.isnan(X[:, i::n_passes])
            said = self._map(self._said, self._data.to_network(np.where(hidden, np.nan, X)))
            losses = self._data.losses(X, said)
            total, n_cells = total + losses[hidden].sum(), n_cells + hidden.sum()
        return -float(total / max(n_cells, 1))

    # -- the network

    def _said(self, cells: Tensor) -> Tensor:
        """Means of numbers, and probabilities of classes; ``(n, n_numbers + n_classes)``."""
        found = self.net_.module_(cells)
        return torch.cat([found.means, found.log_probabilities.exp()], dim=1)

    def _map(self, function, cells: np.ndarray) -> np.ndarray:
        """A function of the network for every row, batch-invariant."""
        width = self.net_.module_.layout.n_numbers + self.net_.module_.layout.n_classes
        if len(cells) == 0:
            return np.empty((0, width), dtype=np.float32)
        return map_rows(lambda block: in_one_thread(function, block), cells, self.device_)

    def _drawn(self, X: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """The rows, with draws in missing cells."""
        X = X.copy()
        for column in np.flatnonzero(~self._data.is_number):
            if len(rows := np.flatnonzero(np.isnan(X[:, column]))):
                said = self._map(self._said, self._data.to_network(X[rows]))
                probabilities = torch.from_numpy(self._data.level_probabilities(said)[int(column)])
                X[rows, column] = torch.multinomial(probabilities, 1, generator=generator)[:, 0].numpy()
        numbers = np.flatnonzero(self._data.is_number)
        rows = np.flatnonzero(np.isnan(X).any(axis=1))
        for some in np.split(rows, range(_BLOCK, len(rows), _BLOCK)) if len(rows) else ():
            cells = torch.from_numpy(self._data.to_network(X[some])).to(self.device_)
            with torch.inference_mode():
                made = self._data.numbers(self.net_.module_.draw_numbers(cells, generator).cpu().numpy())
            part = X[np.ix_(some, numbers)]
            X[np.ix_(some, numbers)] = np.where(np.isnan(part), made.astype(X.dtype), part)
        return X

    # -- tables out

    def _as_given(self, filled: np.ndarray, rows: np.ndarray, like: Any) -> Any:
        """Columns that are returned, and indicators of missing cells; a data frame if ``fit`` saw one with types."""
        kept, told = self._kept_features, np.isnan(rows[:, self.missing_features_])
        if not hasattr(self, "columns_"):
            parts = [filled[:, kept], *([told.astype(rows.dtype)] if self._parameters.add_indicator else [])]
            return np.hstack(parts)
        table = self._table()
        table.columns_ = [_with_zero(column) for column in self.columns_]
        frame = table.decode(filled, like=like)
        frame = frame[[frame.columns[i] for i in kept]]
        if not self._parameters.add_indicator:
            return frame
        names = self.get_feature_names_out()[len(kept) :]
        return with_columns(frame, {name: told[:, i] for i, name in enumerate(names)})

    def _snapped(self, drawn: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Draws at values that the columns of a table can have."""
        if not hasattr(self, "columns_"):
            return drawn
        return np.where(np.isnan(rows), self._table().encode(self._table().decode(drawn, snap=True)), rows)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = _is_nan(self.missing_values)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _has_types(X: Any, columns: Any) -> bool:
    """Whether rows are a data frame with columns other than numbers of NumPy's, or such that are declared."""
    if not hasattr(X, "columns"):
        if not isinstance(columns, str):
            raise ValueError(f"columns={columns!r} needs a data frame, got {type(X).__name__}.")
        return False
    has_own = any(not isinstance(dtype, np.dtype) for dtype in X.dtypes) and hasattr(X, "iloc")
    return has_own or is_table(X.head(0), columns=columns)


def _with_zero(column: Column) -> Column:
    """A column of numbers without any observed cell as one of zeros; any other column as it is."""
    is_empty = column.kind == "constant" and not column.levels
    return column._replace(levels=[0]) if is_empty and column.type.family in ("float", "integer") else column


def _is_nan(missing_values: Any) -> bool:
    """Whether missing cells are NaN, None or NA."""
    is_nan = isinstance(missing_values, Real) and math.isnan(missing_values)
    return missing_values is None or is_nan or type(missing_values).__name__ == "NAType"
