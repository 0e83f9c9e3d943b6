"""How good rankings of items are for users, and which items of a user a recommender is shown."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, check_random_state, check_scalar

from sk_autoenc.data.interactions import best_first

Seed = int | np.random.RandomState | None


class FoldIn(NamedTuple):
    """What :func:`fold_in_split` makes of users: items that are shown, and items to find."""

    given: Any
    held_out: Any


def fold_in_split(X: Any, fraction: float = 0.8, random_state: Seed = None) -> FoldIn:
    """Divide every user's items into those that a recommender is shown and those that it should find.

    Parameters
    ----------
    X : sparse matrix or array of shape (n_users, n_items)
        What users have; zeros that are stored count as nothing.
    fraction : float, default=0.8
        Share of a user's items that is shown. Of a user with two items or more at least one is held out, and at least
        one is shown; of a user with one item, it is shown.
    random_state : int, RandomState instance or None, default=None
        Seeds the draw.

    Returns
    -------
    FoldIn
        ``given`` and ``held_out``, in CSR form, of the shape of ``X``.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> given, held_out = fold_in_split(csr_array([[1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]), random_state=0)
    >>> given.nnz, held_out.nnz
    (5, 1)
    """
    check_scalar(fraction, "fraction", Real, min_val=0, max_val=1, include_boundaries="neither")
    X = _checked_entries(X, "X")
    counts = np.diff(X.indptr)
    n_given = np.minimum(np.maximum(np.round(fraction * counts), 1), np.maximum(counts - 1, 1))
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((check_random_state(random_state).random_sample(X.nnz), row))
    place = np.empty(X.nnz, dtype=np.int64)  # of each entry among those of its row, in random order
    place[order] = np.arange(X.nnz) - np.repeat(X.indptr[:-1], counts)
    is_given = place < n_given[row]
    return FoldIn(*(_only(X, chosen, row) for chosen in (is_given, ~is_given)))


def ndcg_at_k(y_true: Any, y_score: Any, k: int = 100, *, exclude: Any = None) -> np.ndarray:
    r"""Normalised discounted cumulative gain of the ``k`` items of highest score, of every user who has a true one.

    :math:`\mathrm{DCG} = \sum_{r=1}^{k} [\text{item at rank } r \text{ is true}] / \log_2(r + 1)`, divided by the
    same of a ranking with all true items first, of which at most ``k`` count (Järvelin and Kekäläinen 2002).

    Parameters
    ----------
    y_true : sparse matrix or array of shape (n_users, n_items)
        An entry above 0 is a true item.
    y_score : ndarray of shape (n_users, n_items)
        A score of every item, the higher the better.
    k : int, default=100
        Length of the ranking.
    exclude : sparse matrix or array of shape (n_users, n_items) or None, default=None
        Items that are not ranked, and are no true items: what the recommender was shown.

    Returns
    -------
    ndarray of shape (n_users_with_true_items,)
        From 0 to 1; take the mean. A ``ValueError`` if no user has a true item.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> ndcg_at_k(csr_array([[0, 1, 0]]), np.array([[3.0, 2.0, 1.0]]), k=2).round(3).tolist()
    [0.631]
    """
    hits, n_true = _hits(y_true, y_score, k, exclude)
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.concatenate([[0.0], discounts.cumsum()])[np.minimum(n_true, hits.shape[1])]
    return hits @ discounts / best


def recall_at_k(y_true: Any, y_score: Any, k: int = 20, *, exclude: Any = None) -> np.ndarray:
    r"""Share of the true items that are among the ``k`` of highest score, of every user who has a true one.

    The denominator is the smaller of ``k`` and the number of true items, as in Liang et al. (2018), so 1 can be
    reached also by users with more than ``k`` true items.

    Parameters
    ----------
    y_true : sparse matrix or array of shape (n_users, n_items)
        An entry above 0 is a true item.
    y_score : ndarray of shape (n_users, n_items)
        A score of every item, the higher the better.
    k : int, default=20
        Length of the ranking.
    exclude : sparse matrix or array of shape (n_users, n_items) or None, default=None
        Items that are not ranked, and are no true items: what the recommender was shown.

    Returns
    -------
    ndarray of shape (n_users_with_true_items,)
        From 0 to 1; take the mean. A ``ValueError`` if no user has a true item.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> recall_at_k(csr_array([[0, 1, 1]]), np.array([[3.0, 2.0, 1.0]]), k=2).tolist()
    [0.5]
    """
    hits, n_true = _hits(y_true, y_score, k, exclude)
    return hits.sum(axis=1) / np.minimum(n_true, k)


def _hits(y_true: Any, y_score: Any, k: int, exclude: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which ranks hold a true item, ``(n, k)``, and the number of true items, of users who have one."""
    check_scalar(k, "k", Integral, min_val=1)
    truth = _checked_entries(y_true, "y_true")
    scores = check_array(y_score, dtype=[np.float64, np.float32], input_name="y_score")
    if scores.shape != truth.shape:
        raise ValueError(f"y_score must have the shape {truth.shape} of y_true, got {scores.shape}.")
    is_true = np.zeros(truth.shape, dtype=bool)
    is_true[truth.nonzero()] = True
    if exclude is not None:
        seen = _checked_entries(exclude, "exclude")
        if seen.shape != truth.shape:
            raise ValueError(f"exclude must have the shape {truth.shape} of y_true, got {seen.shape}.")
        is_true[seen.nonzero()] = False
    n_true = is_true.sum(axis=1)
    known = np.flatnonzero(n_true)
    if not len(known):
        raise ValueError("y_true must have one or more entries above 0: no user has a true item.")
    is_true, scores = is_true[known], scores[known]
    if exclude is not None:
        scores[seen[known].nonzero()] = -np.inf
    return np.take_along_axis(is_true, best_first(scores, k), axis=1), n_true[known]


def _checked_entries(X: Any, name: str) -> sparse.csr_array:
    """A sparse matrix in CSR form without stored zeros."""
    X = sparse.csr_array(check_array(X, accept_sparse="csr", dtype="numeric", input_name=name))
    if X.nnz and X.data.min() < 0:
        raise ValueError(f"{name} must hold no negative entries, got {X.data.min():.6g}.")
    if not X.has_canonical_format or (X.nnz and not X.data.all()):
        X = X.copy()
        X.sum_duplicates()
        X.eliminate_zeros()
    return X


def _only(X: sparse.csr_array, chosen: np.ndarray, row: np.ndarray) -> sparse.csr_array:
    """Some entries of a matrix."""
    n_before = np.concatenate([[0], np.bincount(row[chosen], minlength=X.shape[0]).cumsum()])
    return sparse.csr_array((X.data[chosen], X.indices[chosen], n_before), shape=X.shape)
