"""Models with a density: the log-density of a row by importance sampling, and its lower bound."""

import math
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.quasirandom import SobolEngine

from sk_autoenc._messages import warn
from sk_autoenc.base.generative import GenerativeAutoencoder
from sk_autoenc.base.streams import averaged_over_blocks, by_block
from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.sparse import dense_blocks
from sk_autoenc.data.splits import MIN_ROWS
from sk_autoenc.nn.blocks import SERIAL_CELLS
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.nn.variational import LatentVariableModel, Posterior
from sk_autoenc.priors import NormalPrior
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK, hashed_uniforms, map_rows
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result

#: Half of the codes that estimate log p(x) come from the posterior. The other half come from a wider one, whose
#: standard deviation is larger by a factor of 1 + this / sqrt(n_components). Weights then stay bounded if the encoder's
#: variance is too small (Hesterberg 1995, https://doi.org/10.1080/00401706.1995.10484303).
_EXTRA_WIDTH = 2.0

#: With fewer codes for each row, all come from the posterior itself.
_FEWEST_TO_SPLIT = 8


#: A column of real values with so many values at most is warned of, unless nearly all of the first rows have one value.
_FEW_VALUES, _NEARLY_ALL, _ROWS_TO_COUNT = 5, 0.95, 1000


class Elbo(NamedTuple):
    """The evidence lower bound of rows in nats and its parts, each of shape (n_samples,)."""

    total: np.ndarray  # reconstruction - kl
    reconstruction: np.ndarray  # E log p(x|z)
    kl: np.ndarray  # E log q(z|x) / p(z)


class RowEstimates(NamedTuple):
    """Estimates by importance sampling, each of shape (rows,)."""

    log_prob: Any
    log_likelihood: Any
    log_ratio: Any


def estimate(module: LatentVariableModel, prior: Any, x: Tensor, points: Tensor, n_wide: int = 0) -> RowEstimates:
    """Estimates of log p(x), E log p(x|z) and E log p(z)/q(z|x), from codes at ``points`` of the posterior.

    ``points`` are evenly distributed in [0, 1), of shape (n_points, n_components). Each row shifts them by a hash of
    its posterior. The last ``n_wide`` are points of the widened posterior, which only log p(x) uses. Work is cut into
    pieces that torch computes in one thread, and the terms of a row are added in one order.
    """
    posterior = module.posterior(x)
    shift = hashed_uniforms(torch.cat(posterior, dim=1), points.shape[1])
    rows = [torch.empty(len(x), dtype=torch.float64, device=x.device) for _ in RowEstimates._fields]
    for start in range(0, len(x), SMALL_BLOCK):
        piece = slice(start, start + SMALL_BLOCK)
        here = Posterior(*(part[piece] for part in posterior))
        parts = _estimate_piece(module, prior, x[piece], here, shift[piece], points, n_wide)
        for row, part in zip(rows, parts, strict=True):
            row[piece] = part
    return RowEstimates(*rows)


def _estimate_piece(
    module: LatentVariableModel,
    prior: Any,
    x: Tensor,
    posterior: Posterior,
    shift: Tensor,
    points: Tensor,
    n_wide: int,
) -> RowEstimates:
    at_once = max(1, SERIAL_CELLS // (len(x) * max(3 * x.shape[1], points.shape[1])))  # a mean and up to two scales
    log_sum = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    likelihood_sum, ratio_sum = torch.zeros_like(log_sum), torch.zeros_like(log_sum)
    n = len(points)
    width, share = 1 + _EXTRA_WIDTH / math.sqrt(points.shape[1]), n_wide / n
    groups = [(1.0, points[: n - n_wide]), (width, points[n - n_wide :])]
    for factor, group in groups if n_wide else groups[:1]:  # split would return an empty piece of an empty group
        for some in group.split(at_once):
            uniform = (some[:, None] + shift) % 1.0  # (at_once, rows, n_components)
            noise = factor * torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)).to(x.dtype)
            code = posterior.at(noise)
            log_likelihood, log_prior = module.log_likelihood(code, x).double(), prior.log_prob(code).double()
            log_posterior = posterior.log_prob(noise).double()
            log_proposal = log_posterior
            if n_wide:
                log_wide = posterior.log_prob(noise / width).double() - points.shape[1] * math.log(width)
                log_proposal = torch.logaddexp(log_posterior + math.log1p(-share), log_wide + math.log(share))
            log_sum = torch.logaddexp(log_sum, (log_likelihood + log_prior - log_proposal).logsumexp(0))
            if factor == 1:
                likelihood_sum += log_likelihood.sum(0)
                ratio_sum += (log_prior - log_posterior).sum(0)
    return RowEstimates(log_sum - math.log(n), likelihood_sum / (n - n_wide), ratio_sum / (n - n_wide))


def kl_per_component(posterior: Posterior, prior: Any) -> np.ndarray:
    r"""KL divergence of each component's posterior from the prior, in nats, averaged over rows.

    For a normal prior it has a closed form. Any other prior is replaced by the normal distribution with the mean and
    variance :math:`s_j^2` of all codes, which gives :math:`\log s_j - \overline{\log \sigma_j}`. It is 0 only if all
    rows have the same posterior.
    """
    mean, log_scale = (part.double() for part in posterior)
    if isinstance(prior, NormalPrior):
        kl = Posterior(mean / prior.scale, log_scale - math.log(prior.scale)).kl_from_normal().mean(0)
    else:
        variance = mean.var(0, correction=0) + (2 * log_scale).exp().mean(0)
        kl = variance.log() / 2 - log_scale.mean(0)
    return kl.numpy()


def posterior_of(net: ObjectiveNet, rows: Rows) -> Posterior:
    """The posterior of every row, on the CPU; if the likelihood binarises rows, that of a binarised draw."""
    module, noise = net.module_.eval(), make_generator(net.seed, "validation", net.device)
    with torch.inference_mode():
        seen = (module.likelihood.target(batch.x, noise) for batch in WholeBatches(rows, LARGE_BLOCK))
        parts = [[part.cpu() for part in module.posterior(x)] for x in seen]
    return Posterior(*(torch.cat(part) for part in zip(*parts, strict=True)))


def columns_of_few_values(rows: Rows, is_scaled: np.ndarray) -> np.ndarray:
    """Numbers of the real-valued columns with two to five values, none of which nearly all rows have."""
    some = rows[:_ROWS_TO_COUNT].cpu().numpy()[:, is_scaled]
    ordered = np.sort(some, axis=0)
    n_values = 1 + (ordered[1:] != ordered[:-1]).sum(axis=0)
    few = np.flatnonzero((n_values >= 2) & (n_values <= _FEW_VALUES))
    spread = [np.unique(some[:, column], return_counts=True)[1].max() <= _NEARLY_ALL * len(some) for column in few]
    return np.flatnonzero(is_scaled)[few[np.array(spread, dtype=bool)]]


class DensityAutoencoder(GenerativeAutoencoder):
    """An autoencoder with a posterior and a prior of codes, which give the log-density of a row."""

    @by_block
    def score_samples(self, X, n_samples=None):
        """Log-density of each row in nats, estimated by importance sampling from its posterior.

        The estimate is a lower bound on average, and tighter with more samples. It is far too low for a row whose
        posterior the encoder misses, as may happen far from the training rows. It can be compared with
        ``score_samples`` of ``GaussianMixture`` and ``KernelDensity`` and with ``PCA.score_samples``. A row's score is
        the same at every call and does not depend on the other rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        n_samples : int or None, default=None
            Number of codes per row; None is ``n_score_samples`` of the fit.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``log p(x)`` in the units of ``X``, a log-probability for counts, categories, and zeros and ones. Values
            between 0 and 1 under ``"bernoulli"`` have no probability; minus their cross-entropy replaces
            ``log p(x|z)``.
        """
        return self._estimates(X, n_samples, bound=False).log_prob

    @averaged_over_blocks
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
        estimates = self._estimates(X, n_samples, bound=True)
        total = estimates.log_likelihood + estimates.log_ratio
        return Elbo(total, estimates.log_likelihood, -estimates.log_ratio)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        if (
            whole
            and self._data.is_scaled.any()
            and len(rows) >= MIN_ROWS
            and len(self.input_shape_) == 1
            and not self._may_end_early
        ):
            self._warn_of_few_values(columns_of_few_values(rows, self._data.is_scaled))

    def _warn_of_few_values(self, columns: np.ndarray) -> None:
        if not len(columns):
            return
        known = getattr(self, "feature_names_in_", None)
        names = [f"column {column}" if known is None else repr(known[column]) for column in columns[:8]]
        called = ", ".join(names) + (f" and {len(columns) - 8} others" if len(columns) > 8 else "")
        warn(
            f"X has columns of 2 to {_FEW_VALUES} values that are read as real numbers ({called}): their density has "
            "no bound, so scores measure how narrow it has become, and samples lie between the values. Use "
            "likelihood='bernoulli' for rows of 0 and 1, 'categorical' for numbered categories, or leave them out.",
        )

    @cpu_by_default()
    def _estimates(self, X, n_samples: int | None, *, bound: bool) -> RowEstimates:
        """Estimates for every row, in the units and the dtype of X: of the bound, or of log p(x)."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        for block in dense_blocks(X):
            self._data.likelihood.check_scored(block)
        n_samples = self._parameters.n_score_samples if n_samples is None else n_samples
        check_scalar(n_samples, "n_samples", Integral)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        engine = SobolEngine(self._n_features_out, scramble=True, seed=0)
        points = engine.draw(n_samples, dtype=torch.float64)
        points[0] = engine.shift.float() / 2.0**engine.MAXBIT  # torch divides this one in its default dtype
        points, module = points.to(self.device_), self.net_.module_
        # The posterior of a linear model is exact under a normal prior, so it needs no wider one.
        exact = getattr(self, "linear_", False) and isinstance(self.prior_, NormalPrior)
        n_wide = 0 if bound or exact or n_samples < _FEWEST_TO_SPLIT else n_samples // 2
        found = map_rows(
            lambda x: torch.stack(estimate(module, self.prior_, x, points, n_wide), dim=1),
            X,
            self.device_,
            self._data.prepare,
        )
        log_prob, log_likelihood, log_ratio = found.T
        unit = self._data.log_scale(X)
        parts = (log_prob - unit, log_likelihood - unit, log_ratio)
        # NaN are rows so far from the training rows that distances overflow float32.
        return RowEstimates(*(np.where(np.isnan(part), -np.inf, part).astype(X.dtype) for part in parts))
