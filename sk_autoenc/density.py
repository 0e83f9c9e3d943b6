"""What models with a density can do: the log-density of a row by importance sampling, and its lower bound."""

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.quasirandom import SobolEngine

from sk_autoenc.generating import GenerativeAutoencoder
from sk_autoenc.nn.blocks import SERIAL_CELLS
from sk_autoenc.nn.variational import Posterior, VariationalAutoencoder
from sk_autoenc.training.inference import SMALL_BLOCK, hashed_uniforms, map_rows


class Elbo(NamedTuple):
    """The evidence lower bound of rows in nats and its parts, each of shape (n_samples,)."""

    total: np.ndarray  # reconstruction - kl
    reconstruction: np.ndarray  # E log p(x|z)
    kl: np.ndarray  # E log q(z|x) / p(z)


class RowEstimates(NamedTuple):
    """What importance sampling says about rows; each of shape (rows,)."""

    log_prob: Any
    log_likelihood: Any
    log_ratio: Any


def estimate(module: VariationalAutoencoder, prior: Any, x: Tensor, points: Tensor) -> RowEstimates:
    """Estimates of log p(x), E log p(x|z) and E log p(z)/q(z|x), from codes at ``points`` of the posterior.

    ``points`` in [0, 1), of shape (n_points, n_components), are spread evenly; they are shifted for each row by a hash
    of its posterior. Work is cut into pieces that torch leaves to one thread, and each row's sums run in one order.
    """
    posterior = module.posterior(x)
    shift = hashed_uniforms(torch.cat(posterior, dim=1), points.shape[1])
    rows = [torch.empty(len(x), dtype=torch.float64, device=x.device) for _ in RowEstimates._fields]
    for start in range(0, len(x), SMALL_BLOCK):
        piece = slice(start, start + SMALL_BLOCK)
        here = Posterior(*(part[piece] for part in posterior))
        parts = _estimate_piece(module, prior, x[piece], here, shift[piece], points)
        for row, part in zip(rows, parts, strict=True):
            row[piece] = part
    return RowEstimates(*rows)


def _estimate_piece(
    module: VariationalAutoencoder, prior: Any, x: Tensor, posterior: Posterior, shift: Tensor, points: Tensor
) -> RowEstimates:
    at_once = max(1, SERIAL_CELLS // (len(x) * max(3 * x.shape[1], points.shape[1])))  # a mean and up to two scales
    log_sum = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    likelihood_sum, ratio_sum = torch.zeros_like(log_sum), torch.zeros_like(log_sum)
    for some in points.split(at_once):
        uniform = (some[:, None] + shift) % 1.0  # (at_once, rows, n_components)
        noise = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)).to(x.dtype)
        code = posterior.at(noise)
        log_likelihood = module.log_likelihood(code, x).double()
        log_ratio = (prior.log_prob(code) - posterior.log_prob(noise)).double()
        log_sum = torch.logaddexp(log_sum, (log_likelihood + log_ratio).logsumexp(0))
        likelihood_sum += log_likelihood.sum(0)
        ratio_sum += log_ratio.sum(0)
    n = len(points)
    return RowEstimates(log_sum - np.log(n), likelihood_sum / n, ratio_sum / n)


class DensityAutoencoder(GenerativeAutoencoder):
    """An autoencoder with a posterior of codes and a prior, which together give the log-density of a row."""

    def score_samples(self, X, n_samples=None):
        """Log-density of each row in nats, estimated by importance sampling from its posterior.

        The estimate is a lower bound on average, tighter with more samples. It can be compared with
        ``score_samples`` of ``GaussianMixture`` and ``KernelDensity`` and with ``PCA.score_samples``. The same rows
        give the same numbers at every call, whatever else is scored with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        n_samples : int or None, default=None
            Number of codes per row; None is ``n_score_samples``.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p(x)`` for the units of ``X``; for counts, categories and zeros and ones a log-probability.
        """
        return self._estimates(X, n_samples).log_prob

    def score(self, X, y=None, n_samples=None):
        """Mean log-density of the rows in nats, for model selection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        n_samples : int or None, default=None
            As in :meth:`score_samples`.

        Returns
        -------
        float
            The mean of :meth:`score_samples`.
        """
        return float(self.score_samples(X, n_samples).mean())

    def elbo(self, X, n_samples=None):
        """The evidence lower bound of each row in nats, with its two parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        n_samples : int or None, default=None
            Number of codes per row over which the parts are averaged; None is ``n_score_samples``.

        Returns
        -------
        Elbo
            A named tuple ``(total, reconstruction, kl)`` of arrays of shape (n_samples,), where
            ``total = reconstruction - kl``; ``beta`` does not enter.
        """
        estimates = self._estimates(X, n_samples)
        total = estimates.log_likelihood + estimates.log_ratio
        return Elbo(total, estimates.log_likelihood, -estimates.log_ratio)

    def _estimates(self, X, n_samples: int | None) -> RowEstimates:
        """Estimates for every row, for the units of X and in its dtype."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        self._likelihood.check_scored(X)
        n_samples = self._blueprint.n_score_samples if n_samples is None else n_samples
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        points = SobolEngine(self._n_features_out, scramble=True, seed=0).draw(n_samples, dtype=torch.float64)
        points, module = points.to(self.device_), self.net_.module_
        found = map_rows(
            lambda x: torch.stack(estimate(module, self.prior_, x, points), dim=1), X, self.device_, self._prepare
        )
        log_prob, log_likelihood, log_ratio = found.T
        unit = self._log_unit(X)
        parts = (log_prob - unit, log_likelihood - unit, log_ratio)
        return RowEstimates(*(part.astype(X.dtype) for part in parts))
