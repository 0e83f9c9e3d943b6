"""A graph of nearest neighbours between PCA codes, over which the labels of few rows spread to all others."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph

#: Neighbours of a row in the graph.
N_NEIGHBORS = 10

#: Rows of a graph at most; the others are labelled as new rows are.
MOST_ROWS = 20_000

#: Length of the codes between which distances are measured, at most.
_MOST_COMPONENTS = 30

#: Share of what a row takes from its neighbours, and steps of the iteration.
_ALPHA, _STEPS = 0.95, 50


class Graph(NamedTuple):
    """Some rows as PCA codes, and the normalised weights between them. No label is read to make it."""

    mean: np.ndarray  # (d,), float32
    axes: np.ndarray  # (n_components, d), float32
    rows: np.ndarray  # (m,): numbers of its rows, ascending
    codes: np.ndarray  # (m, n_components), float32
    weights: sparse.csr_array  # (m, m): D^(-1/2) W D^(-1/2) of the symmetric graph

    def codes_of(self, X: np.ndarray) -> np.ndarray:
        """PCA codes of rows; float32 ``(n, d) -> (n, n_components)``."""
        return (X - self.mean) @ self.axes.T

    def spread(self, values: np.ndarray) -> np.ndarray:
        r"""Values of few rows for all rows of the graph; ``(m, k) -> (m, k)``.

        It iterates :math:`F \leftarrow \alpha S F + (1 - \alpha) Y` (Zhou et al. 2004, Learning with local and global
        consistency). Rows without a short path to a row with values stay at 0.
        """
        found = values
        for _ in range(_STEPS):
            found = _ALPHA * (self.weights @ found) + (1 - _ALPHA) * values
        return found


def make_graph(X: np.ndarray, wanted: np.ndarray) -> Graph:
    """The graph of all rows, or of 20 000 of them, the wanted ones among these; float32 ``(n, d)``."""
    index = _some(len(X), wanted)
    rows = X[index]
    mean, axes = _principal_axes(rows)
    codes = (rows - mean) @ axes.T
    return Graph(mean, axes, index, codes, normalised_weights(codes))


def _principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and leading principal axes, float32; of a single row the axes are zero."""
    if len(rows) < 2:
        return rows[0], np.zeros((1, rows.shape[1]), np.float32)
    n_components = min(_MOST_COMPONENTS, *rows.shape)
    solver = "covariance_eigh" if len(rows) >= rows.shape[1] else "full"
    with config_context(array_api_dispatch=False, transform_output="default"):
        pca = PCA(n_components, svd_solver=solver).fit(rows.astype(np.float64))
    return pca.mean_.astype(np.float32), pca.components_.astype(np.float32)


def _some(n_rows: int, wanted: np.ndarray) -> np.ndarray:
    """Numbers of the wanted rows, and of others that are evenly spaced."""
    if n_rows <= MOST_ROWS:
        return np.arange(n_rows)
    others = np.setdiff1d(np.arange(n_rows), wanted)
    n_others = min(len(others), max(0, MOST_ROWS - len(wanted)))
    kept = others[np.linspace(0, len(others) - 1, n_others).astype(int)]
    return np.union1d(wanted, kept)


def normalised_weights(codes: np.ndarray) -> sparse.csr_array:
    """Weights of 1 between neighbours, divided by the roots of both rows' degrees."""
    n_neighbors = min(N_NEIGHBORS, len(codes) - 1)
    if n_neighbors < 1:
        return sparse.csr_array((len(codes), len(codes)), dtype=np.float64)
    with config_context(array_api_dispatch=False):
        one_way = sparse.csr_array(kneighbors_graph(codes, n_neighbors))
    weights = one_way.maximum(one_way.T)
    roots = sparse.diags_array(1 / np.sqrt(weights.sum(axis=1)))
    return sparse.csr_array(roots @ weights @ roots)
