"""Tables as people have them, of numbers, categories, dates and missing cells, as arrays of floats, and back."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc.data.columns import LEVELS, NUMBERS, Column, fit_column
from sk_autoenc.data.frames import cells_of, frame_of, library_of, names_of
from sk_autoenc.storage import by_state, integer, short, text


def _is_columns(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(column, Column) for column in value):
        raise ValueError(f"{where} must be a list of columns, got {short(value)}.")


def _is_declared(value: Any, where: str) -> None:
    if not isinstance(value, dict) and value != "auto":
        raise ValueError(f"{where} must be 'auto' or kinds of columns by their names, got {short(value)}.")


@by_state(
    {
        "columns": _is_declared,
        "unseen": text("error|missing"),
        "min_count": integer(1),
        "columns_": _is_columns,
    }
)
class Table(BaseEstimator):
    """Rows of a data frame as floats, NaN where a cell is missing, and such floats as a data frame of the same types.

    Numbers stay what they are. Levels of categories are numbered, dates are counted from the first one. It knows pandas
    (nullable and pyarrow types too) and polars data frames, and arrays, the columns of which have their numbers as
    names.

    Parameters
    ----------
    columns : "auto" or dict, default="auto"
        What columns are, by their names: ``"real"``, ``"positive"``, ``"bounded"`` (by the range of the training rows),
        ``"integer"``, ``"count"``, ``"boolean"``, ``"category"``, ``"ordered"``, ``"date"``, ``"duration"``; or a list
        of the levels of an ordered category, in their order. Columns that it does not name are as with ``"auto"``,
        which goes by types and values.
    unseen : {"error", "missing"}, default="error"
        What to do about levels that ``fit`` did not see, and about numbers that the kind of their column does not allow
        (negative counts, say): refuse them by name, or treat them as missing.
    min_count : int, default=1
        Strings of fewer training rows are merged into one level, ``"other"``. So are then all strings that ``fit`` did
        not see.

    Attributes
    ----------
    columns_ : list of Column
        What is known of each column.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_autoenc.data.tabular import Table
    >>> people = pd.DataFrame({"age": [31, None, 52], "city": ["Rome", "Oslo", None]})
    >>> table = Table().fit(people)
    >>> [column.kind for column in table.columns_]
    ['count', 'category']
    >>> table.encode(people)
    array([[31.,  1.],
           [nan,  0.],
           [52., nan]])
    >>> table.decode(table.encode(people)).equals(people)
    True
    """

    _parameter_constraints: dict = {
        "columns": [dict, StrOptions({"auto"})],
        "unseen": [StrOptions({"error", "missing"})],
        "min_count": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, columns="auto", *, unseen="error", min_count=1):
        self.columns = columns
        self.unseen = unseen
        self.min_count = min_count

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find out what columns are.

        Parameters
        ----------
        X : DataFrame, or ndarray with two axes
            Training rows.
        y : None
            Ignored.

        Returns
        -------
        self : Table
            The fitted table.
        """
        names, declared = _checked_names(X), self._declared()
        if unknown := [name for name in declared if name not in names]:
            raise ValueError(f"columns has {unknown[0]!r}, which is no column of X.")
        if len(X) == 0:
            raise ValueError("X must have a row, got an empty table.")
        self.columns_ = [
            fit_column(cells_of(X, position, name), name, declared.get(name), min_count=self.min_count)
            for position, name in enumerate(names)
        ]
        return self

    def encode(self, X, *, unseen=None):
        """Rows as floats.

        Parameters
        ----------
        X : DataFrame, or ndarray with two axes
            Rows with the columns of ``fit``, in the same order; types may differ where values fit. Arrays
            have no names.
        unseen : {"error", "missing", "kept"} or None, default=None
            Replaces the parameter ``unseen``; with ``"kept"`` levels that ``fit`` did not see become -1, and finite
            numbers stay.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Numbers, and numbers of levels; NaN where a cell is missing. float64.
        """
        check_is_fitted(self)
        names, wanted = _checked_names(X), self.names
        if names != wanted and (library_of(X) != "numpy" or len(names) != len(wanted)):
            differing = [name for name in wanted if name not in names] or [name for name in names if name not in wanted]
            reason = f"{differing[0]!r} is in one of them only" if differing else "they are in another order"
            raise ValueError(f"X must have the columns of fit, but {reason}.")
        made = np.empty((len(X), len(names)))
        for position, column in enumerate(self.columns_):
            made[:, position] = column.encode(cells_of(X, position, column.name), unseen=unseen or self.unseen)
        return made

    def decode(self, values, *, snap=False, like=None):
        """Floats as rows of the types of ``fit``.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            As :meth:`encode` gives them, or near such values. Levels are rounded to the nearest.
        snap : bool, default=False
            Whether numbers are moved to values that columns can have: into the range of the training rows, and to the
            decimals of their column. Without it, :meth:`encode` is undone exactly, and columns of integers that get
            fractions become columns of floats.
        like : DataFrame or None, default=None
            A pandas data frame, whose index the rows get.

        Returns
        -------
        DataFrame or ndarray
            Of the library, the names and the types of ``fit``. Where a type has no missing values, but there are some,
            pandas widens it.
        """
        check_is_fitted(self)
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.columns_):
            raise ValueError(f"values must have two axes and {len(self.columns_)} columns, got shape {values.shape}.")
        library = self.columns_[0].type.library
        index = like.index if isinstance(like, pd.DataFrame) and library == "pandas" else None
        made = [column.decode(values[:, i], snap=snap, index=index) for i, column in enumerate(self.columns_)]
        return frame_of(made, self.names, library)

    @property
    def names(self) -> list[Any]:
        """Names of the columns."""
        return [column.name for column in self.columns_]

    @property
    def is_number(self) -> np.ndarray:
        """Which columns are numbers, and not levels; ``(n_features,)``."""
        return np.array([column.is_number for column in self.columns_])

    def _declared(self) -> dict[Any, Any]:
        """Kinds of columns by their names, as far as they are declared."""
        if isinstance(self.columns, str):
            return {}
        kinds = (*NUMBERS, *(kind for kind in LEVELS if kind != "constant"))
        for name, kind in self.columns.items():
            is_levels = isinstance(kind, list | tuple) and len(kind) > 0 and len(set(kind)) == len(kind)
            if not is_levels and (not isinstance(kind, str) or kind not in kinds):
                raise ValueError(
                    f"columns: {name!r} must be one of {', '.join(kinds)}, or a list of different levels, got {kind!r}."
                )
        return self.columns


def _checked_names(X: Any) -> list[Any]:
    """Names of the columns of a table; ``TypeError`` for what is none."""
    if library_of(X) is None or len(X.shape) != 2:
        raise TypeError(f"X must be a pandas or polars data frame, or an array with two axes, got {type(X).__name__}.")
    names = names_of(X)
    if not names:
        raise ValueError("X must have a column, got none.")
    return names


def is_table(X: Any, *, columns: Mapping | str = "auto") -> bool:
    """Whether rows need a :class:`Table`: data frames with columns that are no numbers, or with missing cells.

    A frame of complete numbers is none; it is read as an array, unless ``columns`` declares what its columns are.
    """
    library = library_of(X)
    if library in (None, "numpy"):
        return False
    if not isinstance(columns, str):
        return True
    if library == "polars":
        kinds = [dtype.is_numeric() for dtype in X.dtypes]
        return not all(kinds) or any(X.null_count().row(0)) or any(X[n].is_nan().any() for n in _floats(X))
    kinds = [pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) for dtype in X.dtypes]
    return not all(kinds) or bool(X.isna().to_numpy().any())


def has_types(X: Any) -> bool:
    """Whether rows are a data frame with columns that are no numbers; missing cells do not matter."""
    return library_of(X) not in (None, "numpy") and is_table(X.head(0))


def _floats(X: Any) -> list[str]:
    """Names of the columns of a polars frame that may hold NaN."""
    return [name for name, dtype in zip(X.columns, X.dtypes, strict=True) if dtype.is_float()]
