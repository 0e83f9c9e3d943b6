"""How estimators read data frames of any columns: a table is fitted to them, and what comes out gets their types."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from sk_autoenc.data.frames import library_of
from sk_autoenc.data.tabular import Table
from sk_autoenc.data.validation import as_array


def read_table(estimator: Any, X: Any, *, reset: bool, options: dict[str, Any]) -> np.ndarray:
    """Encoded rows, float64; ``reset`` fits ``table_`` to them, with these options.

    Arrays and lists are tables of numbers, or of what objects they hold. Names and numbers of columns are checked as
    scikit-learn does.
    """
    X = as_array(X)
    is_frame = library_of(X) not in (None, "numpy")
    if is_frame and not issparse(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    if not is_frame or len(X) == 0 or X.shape[1] == 0:  # check_array says what is wrong with an empty frame
        X = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite=False)
    if reset:
        estimator.table_ = Table(**options).fit(X)
    return estimator.table_.encode(X)
