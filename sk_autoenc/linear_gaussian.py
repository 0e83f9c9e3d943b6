"""The linear floor of density models: probabilistic PCA, factor analysis, and both with correlated noise.

Rows are ``mean + loadings @ z + noise`` with standard normal ``z`` and normal noise. What is left of the covariance
beside the loadings may be kept as correlations of the noise, shrunk towards none; without them this is PCA
(Tipping & Bishop 1999, https://doi.org/10.1111/1467-9868.00196) or factor analysis.
"""

import warnings
from typing import NamedTuple, cast

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

from sk_autoenc.floor import last_layer, linear_path, moments, read_range, set_linear, summarize
from sk_autoenc.nn.blocks import LinearPlusNonlinear
from sk_autoenc.nn.noise import GaussianNoise
from sk_autoenc.nn.variational import VariationalAutoencoder
from sk_autoenc.training.data import Rows
from sk_autoenc.training.judging import FEW_ROWS, MIN_ROWS

_ENOUGH_ROWS, _N_FOLDS = 10_000, 5

#: Where the decoder's network stops to tell codes apart; standard normal ones hardly ever lie beyond.
_FARTHEST_CODE = 6.0

#: Least variance of noise, in units of scaled rows, whose mean variance is 1.
LEAST_VARIANCE = 1e-6

#: Shares by which correlations of the noise may be shrunk; 1 leaves none.
_SHRINKAGES = (0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)


class Noise(NamedTuple):
    """A kind of noise: one variance for all features or one for each; its correlations, shrunk by a share."""

    by_feature: bool
    shrinkage: float = 1.0


def kinds_of_noise(*, by_feature: bool, correlated: bool) -> list[Noise]:
    """What :func:`best_noise` may choose from; the simplest last."""
    kinds = (True, False) if by_feature else (False,)
    return [Noise(kind, share) for share in (_SHRINKAGES if correlated else (1.0,)) for kind in kinds]


class LinearGaussian(NamedTuple):
    """A linear model of rows, with the posterior of its codes."""

    mean: np.ndarray  # (d,)
    loadings: np.ndarray  # (d, k)
    covariance: np.ndarray  # (d, d), of the noise
    precision: np.ndarray  # (k,), of the posterior of a code

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of rows, the codes integrated out."""
        factor = np.linalg.cholesky(self.covariance + self.loadings @ self.loadings.T)
        whitened = solve_triangular(factor, (X - self.mean).T, lower=True)
        log_det = 2 * np.log(factor.diagonal()).sum() + len(self.mean) * np.log(2 * np.pi)
        return -0.5 * (np.square(whitened).sum(axis=0) + log_det)

    def encoder(self) -> np.ndarray:
        """Matrix (k, d) that maps centred rows to the posterior mean of their code."""
        return (np.linalg.solve(self.covariance, self.loadings) / self.precision).T


def split_covariance(
    mean: np.ndarray, covariance: np.ndarray, n_components: int, variance: np.ndarray, shrinkage: float
) -> LinearGaussian:
    """The model whose loadings are the leading axes of the covariance in units of the features' noise.

    ``variance`` is that of each feature's noise. The maximum of the likelihood for it if all is shrunk.
    """
    n_features, unit = len(mean), np.sqrt(variance)
    values, axes = np.linalg.eigh(covariance / np.outer(unit, unit))
    values, axes = values[::-1], unit[:, None] * axes[:, ::-1]
    kept = min(n_components, n_features)
    signal = np.zeros(n_components)
    signal[:kept] = (values[:kept] - 1).clip(0)
    loadings = np.zeros((n_features, n_components))
    loadings[:, :kept] = axes[:, :kept] * np.sqrt(signal[:kept])
    left = np.ones(n_features)
    left[kept:] = ((1 - shrinkage) * values[kept:] + shrinkage).clip(1e-4)
    return LinearGaussian(mean, loadings, (axes * left) @ axes.T, 1 + signal)


def feature_noise(rows: np.ndarray, covariance: np.ndarray, n_components: int, by_feature: bool) -> np.ndarray:
    """Variance of each feature's noise: of factor analysis, or the one of probabilistic PCA; ``(n_features,)``."""
    n_features = len(covariance)
    if by_feature:
        variance = covariance.diagonal().copy()
        if (varies := variance > LEAST_VARIANCE).any():
            # More factors than the rank (columns may be copies of one another) would have logarithms of zero.
            rank = int(np.linalg.matrix_rank(covariance[np.ix_(varies, varies)], hermitian=True))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                analysis = FactorAnalysis(min(n_components, rank)).fit(rows[:, varies])
            variance[varies] = analysis.noise_variance_
        return variance.clip(LEAST_VARIANCE)
    left = np.linalg.eigvalsh(covariance)[: max(0, n_features - n_components)]
    return np.full(n_features, max(left.mean() if len(left) else 0.0, LEAST_VARIANCE))


def fit_linear_gaussian(rows: Rows, n_components: int, noise: Noise) -> LinearGaussian:
    """The model of all rows; factor analysis reads some of them if there are very many."""
    mean, covariance = moments(rows)
    variance = feature_noise(some_rows(rows), covariance, n_components, noise.by_feature)
    return split_covariance(mean, covariance, n_components, variance, noise.shrinkage)


def some_rows(rows: Rows) -> np.ndarray:
    """All rows, or enough of them, float64."""
    step = -(-len(rows) // _ENOUGH_ROWS)
    return rows[::step].double().numpy()


def best_noise(rows: Rows, n_components: int, candidates: list[Noise]) -> Noise:
    """The candidate under which rows that were left out are most probable; the last if there are few rows."""
    if len(candidates) == 1 or len(rows) < MIN_ROWS:
        return candidates[-1]
    X = some_rows(rows)
    n_folds = _N_FOLDS if len(X) < FEW_ROWS else 2
    fold = np.arange(len(X)) % n_folds  # interleaved, so that sorted rows fall into all folds
    scores = dict.fromkeys(candidates, 0.0)
    for left_out in range(n_folds):
        chosen, others = X[fold != left_out], X[fold == left_out]
        mean, covariance = chosen.mean(axis=0), np.cov(chosen.T, bias=True).reshape(X.shape[1], -1)
        for by_feature in {noise.by_feature for noise in candidates}:
            variance = feature_noise(chosen, covariance, n_components, by_feature)
            for noise in (noise for noise in candidates if noise.by_feature == by_feature):
                model = split_covariance(mean, covariance, n_components, variance, noise.shrinkage)
                scores[noise] += model.log_prob(others).sum()
    return max(scores, key=lambda noise: scores[noise])


def start_at_linear_gaussian(module: VariationalAutoencoder, model: LinearGaussian, rows: Rows) -> None:
    """Set the linear paths and the noise to the model, and let the nonlinear paths contribute nothing yet."""
    encoder, decoder = module.encoder, module.decoder
    into, back = linear_path(encoder), linear_path(decoder)
    (n_features, n_components), spare = model.loadings.shape, back.out_features - len(model.mean)
    axes = model.encoder()
    spread = np.sqrt(model.covariance.diagonal())
    with torch.no_grad():
        set_linear(  # an encoder without log-scales has half the outputs
            into,
            np.concatenate([axes, np.zeros_like(axes)])[: into.out_features],
            np.concatenate([-axes @ model.mean, -0.5 * np.log(model.precision)])[: into.out_features],
        )
        set_linear(  # what is spare says how variances differ from row to row
            back,
            np.concatenate([model.loadings, np.zeros((spare, n_components))]),
            np.concatenate([model.mean, np.zeros(spare)]),
        )
        start_noise(module, model.covariance)
        if isinstance(encoder, LinearPlusNonlinear) and isinstance(decoder, LinearPlusNonlinear):
            for path in (encoder, decoder):
                set_linear(last_layer(path.nonlinear), 0.0, 0.0)
                path.gain.fill_(1.0)
            decoder.gain[:n_features] = torch.from_numpy(spread)
            read_range(encoder, summarize(rows, module.encoder_input))
            decoder.low.fill_(-_FARTHEST_CODE)
            decoder.high.fill_(_FARTHEST_CODE)
            decoder.spread.fill_(1.0)


def start_noise(module: VariationalAutoencoder, covariance: np.ndarray) -> None:
    """Set the noise of a gaussian likelihood, or of a heavy-tailed one, which is then normal, too."""
    head = cast(GaussianNoise, module.head)
    if head.mixing is None:
        whitener = 1 / np.sqrt(covariance.diagonal())
    else:
        whitener = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True)
    with torch.no_grad():
        head.set(torch.from_numpy(whitener))


def loosen_noise(module: VariationalAutoencoder) -> None:
    """Give the noise, where its tails are to be learned, those that training starts from."""
    with torch.no_grad():
        cast(GaussianNoise, module.head).loosen()
