"""The linear baseline of density models: probabilistic PCA, factor analysis, and both with correlated noise.

Rows are ``mean + loadings @ z + noise`` with standard normal ``z`` and normal noise. Covariance that loadings do not
explain may be kept as correlations of the noise, shrunk towards zero. Without correlations this is factor analysis or
probabilistic PCA (Tipping & Bishop 1999, https://doi.org/10.1111/1467-9868.00196).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.splits import FEW_ROWS, MIN_ROWS
from sk_autoenc.initialization.linear import (
    last_layer,
    linear_path,
    moments,
    set_first_layer_gain,
    set_input_range,
    set_linear,
    summarize,
)
from sk_autoenc.initialization.start import Start
from sk_autoenc.likelihoods.real import LEAST_VARIANCE, set_noise
from sk_autoenc.nn.blocks import LinearPlusNonlinear
from sk_autoenc.nn.variational import LatentVariableModel

_ENOUGH_ROWS, _N_FOLDS = 10_000, 5

#: Up to so many features an exact decomposition is faster than scikit-learn's randomized one.
_FEW_FEATURES = 64

#: Of factor analysis, scikit-learn's default.
_TOLERANCE = 1e-2

#: The decoder's network clips codes to ± this; standard normal codes hardly ever lie beyond.
_FARTHEST_CODE = 6.0

#: Least variance of the noise along an axis, in units of the features' noise.
_LEAST_LEFT = 1e-4

#: Shares by which correlations of the noise may be shrunk; 1 shrinks them to zero.
_SHRINKAGES = (0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)


class Noise(NamedTuple):
    """A kind of noise: one variance for each feature or one for all, and the share by which correlations are shrunk."""

    by_feature: bool
    shrinkage: float = 1.0


def kinds_of_noise(*, by_feature: bool, correlated: bool) -> list[Noise]:
    """The candidates of :func:`best_noise`, the simplest last."""
    kinds = (True, False) if by_feature else (False,)
    return [Noise(kind, share) for share in (_SHRINKAGES if correlated else (1.0,)) for kind in kinds]


class LinearGaussian(NamedTuple):
    """A linear model of rows, with the posterior of its codes; none of its arrays is a square of the features."""

    mean: np.ndarray  # (d,)
    loadings: np.ndarray  # (d, k)
    precision: np.ndarray  # (k,), of the posterior of a code
    variance: np.ndarray  # (d,), the unit of each feature's noise
    axes: np.ndarray  # (d, n_axes), of the noise; the leading ones are those of the loadings
    left: np.ndarray  # (n_axes,), variance of the noise along them, in units; 1 along the leading ones
    beyond: float  # the same, off these axes

    def encoder(self) -> np.ndarray:
        """Matrix (k, d) that maps centred rows to the posterior mean of their code."""
        return (self.loadings / self.variance[:, None] / self.precision).T

    @property
    def noise_variance(self) -> np.ndarray:
        """Variance of each feature's noise, ``(d,)``: the diagonal of :attr:`covariance`."""
        return self.variance * self.beyond + np.square(self.axes) @ (self.left - self.beyond)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the noise, ``(d, d)``."""
        return (self.axes * (self.left - self.beyond)) @ self.axes.T + np.diag(self.beyond * self.variance)


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the rows, to which a linear model is fitted, and rows."""

    mean: np.ndarray  # (d,)
    covariance: np.ndarray | None  # (d, d); None if the rows are far fewer than features, and stand for it
    rows: np.ndarray  # (n, d)
    are_all: bool = True  # False if ``rows`` are a subset of very many

    @property
    def variances(self) -> np.ndarray:
        """Variance of each feature."""
        return self.rows.var(axis=0) if self.covariance is None else self.covariance.diagonal()

    def spectrum(self, variance: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Variances along the principal axes in units of the features' noise, highest first, and these axes.

        If rows are far fewer than features, both come from a decomposition of the rows, and axes along which rows do
        not vary are left out. So the work grows with the number of features and not with its cube.
        """
        unit = np.sqrt(np.broadcast_to(variance, self.mean.shape))
        if np.ptp(unit):
            return self._decomposed(unit)
        values, axes = self._principal
        return values / unit[0] ** 2, axes

    @cached_property
    def _principal(self) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum in units of the rows, which serves all noise with one variance."""
        return self._decomposed(np.ones_like(self.mean))

    def _decomposed(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.covariance is None or (self.are_all and is_wide(self.rows)):
            _, sizes, axes = np.linalg.svd((self.rows - self.mean) / unit, full_matrices=False)
            return np.square(sizes) / len(self.rows), axes.T
        values, axes = np.linalg.eigh(self.covariance / np.outer(unit, unit))
        return values[::-1], axes[:, ::-1]

    def of_features(self, chosen: np.ndarray) -> "Moments":
        """Moments of some features alone."""
        if chosen.all():
            return self
        covariance = None if self.covariance is None else self.covariance[np.ix_(chosen, chosen)]
        return Moments(self.mean[chosen], covariance, self.rows[:, chosen], self.are_all)


def is_wide(X: np.ndarray) -> bool:
    """Whether rows are far fewer than features."""
    return 2 * len(X) < X.shape[1]


def moments_of(rows: Rows) -> Moments:
    """Moments of all rows; if these are very many, with a subset of the rows."""
    some = some_rows(rows)
    if is_wide(some) and len(some) == len(rows):
        return Moments(some.mean(axis=0), None, some)
    return Moments(*moments(rows), some, are_all=len(some) == len(rows))


def moments_of_some(X: np.ndarray) -> Moments:
    """Moments of these rows."""
    return Moments(X.mean(axis=0), None if is_wide(X) else np.cov(X.T, bias=True).reshape(X.shape[1], -1), X)


class AxisVariances(NamedTuple):
    """Variances along the principal axes, in units of the noise: of the codes' part, and of the noise."""

    signal: np.ndarray  # (n_axes,)
    left: np.ndarray  # (n_axes,)
    beyond: float  # of the noise, along axes on which rows do not vary

    @classmethod
    def of(cls, values: np.ndarray, n_components: int, shrinkage: float) -> "AxisVariances":
        """Codes explain the leading axes; on all further axes, correlations are shrunk."""
        is_leading = np.arange(len(values)) < n_components
        left = ((1 - shrinkage) * values + shrinkage).clip(_LEAST_LEFT)
        signal = np.where(is_leading, (values - 1).clip(0), 0.0)
        return cls(signal, np.where(is_leading, 1.0, left), max(shrinkage, _LEAST_LEFT))


def split_covariance(seen: Moments, n_components: int, variance: np.ndarray, shrinkage: float) -> LinearGaussian:
    """The model whose loadings are the leading axes of the covariance in units of the features' noise.

    ``variance`` is that of each feature's noise. With ``shrinkage=1`` the model maximises the likelihood for it.
    """
    values, axes = seen.spectrum(variance)
    signal, left, beyond = AxisVariances.of(values, n_components, shrinkage)
    axes = np.sqrt(variance)[:, None] * axes
    kept = min(n_components, len(values))
    loadings, precision = np.zeros((len(variance), n_components)), np.ones(n_components)
    loadings[:, :kept] = axes[:, :kept] * np.sqrt(signal[:kept])
    precision[:kept] += signal[:kept]
    return LinearGaussian(seen.mean, loadings, precision, variance, axes, left, beyond)


def log_prob(
    X: np.ndarray, seen: Moments, n_components: int, variance: np.ndarray, shrinkages: Sequence[float]
) -> list[np.ndarray]:
    """Marginal log-density of rows under :func:`split_covariance`, for each of some shrinkages."""
    values, axes = seen.spectrum(variance)
    whitened = (X - seen.mean) / np.sqrt(variance)
    squares = np.square(whitened @ axes)
    has_all_axes = len(values) == len(variance)
    off_axes = 0.0 if has_all_axes else (np.square(whitened).sum(axis=1) - squares.sum(axis=1)).clip(0)
    found = []
    for shrinkage in shrinkages:
        signal, left, beyond = AxisVariances.of(values, n_components, shrinkage)
        log_det = np.log(2 * np.pi * variance).sum() + np.log(signal + left).sum()
        log_det += (len(variance) - len(values)) * np.log(beyond)
        found.append(-0.5 * ((squares / (signal + left)).sum(axis=1) + off_axes / beyond + log_det))
    return found


def feature_noise(seen: Moments, n_components: int, by_feature: bool) -> np.ndarray:
    """Variance of each feature's noise: of factor analysis, or the one of probabilistic PCA; ``(n_features,)``."""
    if by_feature:
        variance = seen.variances.copy()
        if (varies := variance > LEAST_VARIANCE).any():
            # More factors than the rank (columns may be equal) would lead to logarithms of zero.
            some = seen.of_features(varies)
            values, _ = some.spectrum()
            rank = int((values > values[0] * len(some.mean) * np.finfo(float).eps).sum())
            variance[varies] = _factor_noise(some.rows, min(n_components, rank))
        return variance.clip(LEAST_VARIANCE)
    values, _ = seen.spectrum()
    n_features = len(seen.mean)
    n_left = n_features - n_components
    return np.full(n_features, max(values[n_components:].sum() / n_left if n_left > 0 else 0.0, LEAST_VARIANCE))


def _factor_noise(X: np.ndarray, n_components: int) -> np.ndarray:
    """Noise variance of each feature by factor analysis, ``(d,)``.

    It depends on the rows by their covariance alone. So many rows are replaced by 2 d rows that have the same one: the
    triangle of their QR decomposition and its negative. Rows are then as few as its repeated decompositions need.
    """
    n_rows, n_features = X.shape
    if n_rows > 2 * n_features:
        triangle = np.linalg.qr(X - X.mean(axis=0), mode="r") * np.sqrt(n_features / n_rows)
        X = np.concatenate([triangle, -triangle])
    method = "lapack" if n_features <= _FEW_FEATURES else "randomized"
    tolerance = _TOLERANCE * len(X) / n_rows  # of a log-likelihood that is summed over rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return FactorAnalysis(n_components, tol=tolerance, svd_method=method).fit(X).noise_variance_


def fit_linear_gaussian(rows: Rows, n_components: int, noise: Noise) -> LinearGaussian:
    """The model of all rows; factor analysis reads a subset if these are very many."""
    seen = moments_of(rows)
    return split_covariance(seen, n_components, feature_noise(seen, n_components, noise.by_feature), noise.shrinkage)


def some_rows(rows: Rows) -> np.ndarray:
    """All rows, or every k-th if these are very many; float64."""
    step = -(-len(rows) // _ENOUGH_ROWS)
    return rows[::step].double().numpy()


def best_noise(rows: Rows, n_components: int, candidates: list[Noise]) -> Noise:
    """The candidate under which left-out rows are most probable; the last one of equals, or if rows are few."""
    if len(candidates) == 1 or len(rows) < MIN_ROWS:
        return candidates[-1]
    X = some_rows(rows)
    n_folds = _N_FOLDS if len(X) < FEW_ROWS else 2
    fold = np.arange(len(X)) % n_folds  # interleaved, so that sorted rows fall into all folds
    scores = dict.fromkeys(candidates, 0.0)
    for left_out in range(n_folds):
        chosen, held_out = X[fold != left_out], X[fold == left_out]
        seen = moments_of_some(chosen)
        for by_feature in {noise.by_feature for noise in candidates}:
            variance = feature_noise(seen, n_components, by_feature)
            some = [noise for noise in candidates if noise.by_feature == by_feature]
            found = log_prob(held_out, seen, n_components, variance, [noise.shrinkage for noise in some])
            for noise, densities in zip(some, found, strict=True):
                scores[noise] += densities.sum()
    highest = max(scores.values())  # with as many components as features, all models are equal up to rounding
    return [noise for noise in candidates if scores[noise] >= highest - 1e-9 * abs(highest)][-1]


def start_at_linear_gaussian(module: LatentVariableModel, model: LinearGaussian, rows: Rows) -> None:
    """Set the linear paths and the noise to the model, and the last layers of the nonlinear paths to zero."""
    encoder, decoder = module.encoder, module.decoder
    into, back = linear_path(encoder), linear_path(decoder)
    (n_features, n_components), spare = model.loadings.shape, back.out_features - len(model.mean)
    axes = model.encoder()
    with torch.no_grad():
        set_linear(  # an encoder without log-scales has half the outputs
            into,
            np.concatenate([axes, np.zeros_like(axes)])[: into.out_features],
            np.concatenate([-axes @ model.mean, -0.5 * np.log(model.precision)])[: into.out_features],
        )
        set_linear(  # spare outputs are changes of the noise from row to row
            back,
            np.concatenate([model.loadings, np.zeros((spare, n_components))]),
            np.concatenate([model.mean, np.zeros(spare)]),
        )
        set_noise(module.head, model.covariance if module.head.is_correlated else model.noise_variance)
        if isinstance(encoder, LinearPlusNonlinear) and isinstance(decoder, LinearPlusNonlinear):
            for path in (encoder, decoder):
                set_linear(last_layer(path.nonlinear), 0.0, 0.0)
                path.gain.fill_(1.0)
            decoder.gain[:n_features] = torch.from_numpy(np.sqrt(model.noise_variance))
            set_input_range(encoder, summarize(rows, module.encoder_input))
            decoder.low.fill_(-_FARTHEST_CODE)
            decoder.high.fill_(_FARTHEST_CODE)
            decoder.std.fill_(1.0)


class LinearGaussianStart(Start):
    """Probabilistic PCA or factor analysis, beside networks whose output is still zero.

    Parameters
    ----------
    data : RowPreprocessor
        Preprocessor of the rows; its likelihood has normal noise, or noise with heavier tails.
    n_components : int
        Length of a code.
    has_first_layer_gain : bool
        Whether the first layers' weights of the networks are multiplied by a gain that grows with the number of rows.
    is_model : bool
        Whether the linear model may be kept.
    """

    def __init__(self, data: RowPreprocessor, n_components: int, *, has_first_layer_gain: bool, is_model: bool = True):
        self.data, self.n_components = data, n_components
        self.has_first_layer_gain, self.is_model = has_first_layer_gain, is_model

    def set(self, module: Any, rows: Rows) -> None:
        self.refit(module, rows)
        self.resume(module)
        if self.has_first_layer_gain:
            set_first_layer_gain(module, rows.n_represented)

    def refit(self, module: Any, rows: Rows) -> None:
        start_at_linear_gaussian(module, self._model(rows), rows)

    def resume(self, module: Any) -> None:
        """Set the tails of the noise, because the linear model's normal noise is a limit without a gradient."""
        module.head.init_tails()

    def _model(self, rows: Rows) -> LinearGaussian:
        """The linear model of the rows. Left-out rows select its noise, unless the user has set the variance."""
        likelihood = self.data.likelihood
        if isinstance(likelihood.variance, str):
            correlated = likelihood.is_correlated(self.data.n_features)
            candidates = kinds_of_noise(by_feature=likelihood.variance != "shared", correlated=correlated)
            return fit_linear_gaussian(rows, self.n_components, best_noise(rows, self.n_components, candidates))
        known = likelihood.known_variance(np.empty(self.data.n_features), self.data.scale)
        return split_covariance(moments_of(rows), self.n_components, known, shrinkage=1.0)
