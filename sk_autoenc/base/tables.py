"""How estimators read data frames of any columns: a table is fitted to them, and what comes out gets their types."""

from typing import Any

from sklearn.utils.validation import validate_data

from sk_autoenc.data.frames import library_of
from sk_autoenc.data.validation import as_array, refuse_sparse


def read_table(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Rows as a table can read them, with names and numbers of columns checked as scikit-learn does.

    Data frames stay what they are. Lists become arrays, of numbers or of objects.
    """
    refuse_sparse(X, type(estimator).__name__)
    X = as_array(X)
    if library_of(X) not in (None, "numpy") and len(X) and X.shape[1]:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    return validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite=False)
