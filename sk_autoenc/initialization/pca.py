"""The linear baseline of autoencoders: training starts at PCA, which is kept unless the network is better.

PCA is the best linear autoencoder (Baldi & Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2).
The linear path of a network starts at its solution, and the nonlinear path at zero.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh, svd
from scipy.sparse import csr_array
from sklearn.decomposition import PCA

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.sparse import SparseBlock, SparseRows
from sk_autoenc.data.splits import Split
from sk_autoenc.initialization.linear import (
    last_layer,
    linear_path,
    mean_of,
    moments,
    or_one,
    set_first_layer_gain,
    set_input_range,
    set_linear,
    summarize,
)
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.autoencoder import Autoencoder
from sk_autoenc.nn.blocks import LinearPlusNonlinear

#: Sparse matrices with more columns than this have no covariance that is computed as a whole.
_MOST_DENSE = 2048


def principal_axes(rows: Rows, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and leading principal axes of the rows, float64: ``(d,)`` and ``(n_components, d)``.

    Axes beyond the rank are zero. Signs follow scikit-learn: the entry largest in size is positive.
    """
    n_rows, n_features = len(rows), rows.data.shape[1]
    if isinstance(rows, SparseRows) and n_features > _MOST_DENSE and n_components < min(n_rows, n_features):
        return _axes_of_sparse(rows, n_components)
    if n_rows < n_features:
        mean = mean_of(rows).numpy()
        _, singular, axes = svd(rows[:].double().numpy() - mean, full_matrices=False)
        variance = singular**2
    else:
        mean, covariance = moments(rows)
        wanted = (max(0, n_features - n_components), n_features - 1)
        variance, vectors = eigh(covariance, subset_by_index=wanted)
        variance, axes = variance[::-1], vectors.T[::-1]
    kept = min(n_components, int((variance > variance.max(initial=0.0) * 1e-12).sum()))
    found = np.zeros((n_components, n_features))
    found[:kept] = axes[:kept]
    largest = found[np.arange(n_components), np.abs(found).argmax(axis=1)]
    return mean, found * np.where(largest < 0, -1.0, 1.0)[:, None]


def _axes_of_sparse(rows: SparseRows, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for a sparse matrix of many columns, which scikit-learn's PCA centres without making it dense."""
    found = PCA(n_components, svd_solver="arpack", random_state=0).fit(rows.csr().astype(np.float64))
    axes = np.where((found.explained_variance_ > found.explained_variance_[0] * 1e-12)[:, None], found.components_, 0.0)
    largest = axes[np.arange(n_components), np.abs(axes).argmax(axis=1)]
    mean = rows.read(SparseBlock.of(csr_array(found.mean_[None]))).double().numpy()[0]
    return mean, axes * np.where(largest < 0, -1.0, 1.0)[:, None]


def n_components_for(share: float, X: np.ndarray, splits: Sequence[Split]) -> int:
    """The smallest number of principal components that explain a share of the variance of held-out rows.

    The components are those of the rows that train in each split, and the variance is that of the rows held out, around
    the mean of the former. Without splits it is that of all rows, as in PCA. All components if no number is enough.
    """
    everything = torch.arange(len(X))
    explained, total = np.zeros(min(X.shape)), 0.0
    for chosen, held_out in splits or [(everything, everything)]:
        with np.errstate(divide="ignore", invalid="ignore"):  # of one row, or of equal ones, it divides 0 by 0
            known = PCA().fit(X[chosen.numpy()].astype(np.float64, copy=False))
        away = X[held_out.numpy()] - known.mean_
        found = np.square(away @ known.components_.T).sum(axis=0).cumsum()
        explained[: len(found)] += found
        explained[len(found) :] += found[-1]
        total += np.square(away).sum()
    enough = explained >= share * total
    return int(enough.argmax()) + 1 if enough.any() else len(explained)


def whitening_of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of codes, the matrix after which their covariance is 1, and its inverse; float64, ``(k,)`` and ``(k, k)``.

    Axes along which codes do not vary become 0. Signs are such that the largest entry of an axis is positive.
    """
    mean = codes.mean(axis=0)
    variance, axes = eigh(np.cov(codes.T, ddof=min(1, len(codes) - 1)).reshape(codes.shape[1], -1))
    variance, axes = variance[::-1], axes.T[::-1]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    std = np.sqrt(np.where(varies := variance > 1e-10 * variance.max(), variance, 0.0))
    return mean, axes * np.where(varies, 1 / np.where(varies, std, 1.0), 0.0)[:, None], axes.T * std


def start_at_pca(module: Autoencoder, rows: Rows) -> None:
    """Set the linear path to PCA of the rows, and the last layer of the nonlinear path to zero."""
    encoder, decoder = module.encoder, module.decoder
    into, back = linear_path(encoder), linear_path(decoder)
    mean, axes = (torch.from_numpy(array) for array in principal_axes(rows, into.out_features))
    with torch.no_grad():
        set_linear(into, axes, -axes @ mean)
        set_linear(back, axes.T, mean)
        if isinstance(encoder, LinearPlusNonlinear) and isinstance(decoder, LinearPlusNonlinear):
            for path in (encoder, decoder):
                set_linear(last_layer(path.nonlinear), 0.0, 0.0)
                path.gain.zero_()
            set_input_range(encoder, summarize(rows, module.encoder_input))
            codes = summarize(rows, module.encode)
            encoder.gain.copy_(or_one(codes.std))
            set_input_range(decoder, codes, room=0.5)  # training moves the codes
            residual = summarize(rows, lambda block: block - module(block).raw)
            decoder.gain.fill_(float(or_one(residual.std.square().mean().sqrt())))


class PCAStart(Start):
    """PCA, beside networks whose output is still zero.

    Parameters
    ----------
    has_first_layer_gain : bool
        Whether the first layers' weights of the networks are multiplied by a gain that grows with the number of rows.
    """

    is_model = True

    def __init__(self, *, has_first_layer_gain: bool):
        self.has_first_layer_gain = has_first_layer_gain

    def set(self, module: Any, rows: Rows) -> None:
        start_at_pca(module, rows)
        if self.has_first_layer_gain:
            set_first_layer_gain(module, rows.n_represented)

    def refit(self, module: Any, rows: Rows) -> None:
        start_at_pca(module, rows)
