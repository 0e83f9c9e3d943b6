"""EASE, a linear recommender in closed form: every item's score is a weighted sum of a user's other items."""

from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs
from sklearn.utils import gen_batches

#: Rows of the Gram matrix that are computed, or mirrored, at once.
_BLOCK = 512

#: With more items than this, the Gram matrix and its inverse are in float32.
_DOUBLE_ITEMS = 4096


def item_gram(X: Any) -> np.ndarray:
    """``X.T @ X`` of a CSR matrix, dense, block by block; float64, or float32 if items are many."""
    dtype = np.float64 if X.shape[1] <= _DOUBLE_ITEMS else np.float32
    X = X.astype(dtype, copy=False)
    by_item = X.T.tocsr()
    gram = np.empty((X.shape[1], X.shape[1]), dtype=dtype)
    for block in gen_batches(X.shape[1], _BLOCK):
        gram[block] = (by_item[block] @ X).toarray()
    return gram


def ease_weights(gram: np.ndarray, l2: float) -> np.ndarray:
    r"""Weights between items, with a zero diagonal; float32 ``(n_items, n_items)``. The Gram matrix is overwritten.

    They minimise :math:`\lVert X - XB \rVert^2 + \lambda \lVert B \rVert^2` under :math:`B_{jj} = 0` (Steck 2019,
    https://arxiv.org/abs/1905.03375): with :math:`P = (X^TX + \lambda I)^{-1}`,
    :math:`B_{ij} = -P_{ij} / P_{jj}` for :math:`i \ne j`. That costs the cube of the number of items.
    """
    np.fill_diagonal(gram, gram.diagonal() + np.asarray(l2, dtype=gram.dtype))
    factorize, invert = get_lapack_funcs(("potrf", "potri"), (gram,))
    # The transpose of a symmetric matrix in C order is that matrix in the order of LAPACK, so nothing is copied.
    factor, failed = factorize(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise ValueError(f"l2={l2:g} is too small for this matrix, whose Gram matrix cannot be inverted; raise l2.")
    inverse, _ = invert(factor, lower=1, overwrite_c=1)
    _mirror_lower(inverse)
    inverse /= -inverse.diagonal().copy()
    np.fill_diagonal(inverse, 0.0)
    return np.ascontiguousarray(inverse, dtype=np.float32)


def _mirror_lower(matrix: np.ndarray) -> None:
    """Copy the lower triangle to the upper one, block by block."""
    for block in gen_batches(len(matrix), _BLOCK):
        rest = slice(block.stop, None)
        matrix[block, rest] = matrix[rest, block].T
        corner = matrix[block, block]
        matrix[block, block] = np.tril(corner) + np.tril(corner, -1).T
