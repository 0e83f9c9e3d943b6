"""What users have of items, as entries that a recommender's network reads."""

from typing import Any, Self

import numpy as np
from scipy import sparse

from sk_autoenc.data.sparse import SparseBlock, SparseRows, entries
from sk_autoenc.storage import Check, by_state, integer, number, or_none

_FIELDS: dict[str, Check] = {"n_items": integer(1), "threshold": or_none(number())}


@by_state(_FIELDS, take=lambda data: data.state, make=lambda plain: Interactions(**plain))
class Interactions:
    """Rows of users, whose entries are counts; with a threshold those that reach it count once, and others not at all.

    Parameters
    ----------
    n_items : int
        Number of columns.
    threshold : float or None
        Least entry that counts.
    """

    def __init__(self, n_items: int, threshold: float | None = None):
        self.n_items, self.threshold = n_items, threshold

    def fit(self, X: Any, chosen: np.ndarray, y: Any = None) -> Self:
        """There is nothing to take from the rows."""
        return self

    def dataset(self, X: Any, device: str, y: Any = None) -> SparseRows:
        """All rows as a dataset of entries on the device."""
        return SparseRows(SparseBlock.of(self.counted(X)).to(device), read=entries)

    def counted(self, X: Any) -> sparse.csr_array:
        """What counts of a CSR matrix, float32, without stored zeros."""
        if not X.has_canonical_format:
            X = X.copy()  # the caller's arrays stay as they are
            X.sum_duplicates()
        values = X.data if self.threshold is None else X.data >= self.threshold
        counted = sparse.csr_array((values.astype(np.float32), X.indices.copy(), X.indptr.copy()), shape=X.shape)
        counted.eliminate_zeros()
        return counted

    @property
    def state(self) -> dict[str, Any]:
        """The arguments of ``__init__``, for files without pickle."""
        return {"n_items": self.n_items, "threshold": self.threshold}


def best_first(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the ``k`` highest scores of each row, the highest first, of equal ones the lower column."""
    k = min(k, scores.shape[1])
    least = np.partition(scores, -k, axis=1)[:, -k, None]
    is_above, is_equal = scores > least, scores == least
    n_wanted = k - is_above.sum(axis=1, keepdims=True)  # of equal scores the lower columns
    is_chosen = is_above | (is_equal & (is_equal.cumsum(axis=1, dtype=np.int32) <= n_wanted))
    chosen = is_chosen.nonzero()[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)
