"""The variational autoencoder: ELBO and importance-weighted bound above, the estimator below."""

import warnings
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.architectures import MLP, as_architecture
from sk_autoenc.autoencoding import BaseAutoencoder
from sk_autoenc.floor import moments, start_at_mean
from sk_autoenc.generating import GenerativeAutoencoder
from sk_autoenc.likelihoods import LIKELIHOODS, Gaussian, Likelihood, as_likelihood
from sk_autoenc.linear_gaussian import (
    LEAST_VARIANCE,
    best_noise,
    fit_linear_gaussian,
    kinds_of_noise,
    split_covariance,
    start_at_linear_gaussian,
    start_noise,
)
from sk_autoenc.nn.blocks import SERIAL_CELLS
from sk_autoenc.nn.variational import Posterior, VariationalAutoencoder, VariationalOutput
from sk_autoenc.priors import GaussianMixturePrior, NormalPrior, as_prior
from sk_autoenc.training.data import Rows, WholeBatches
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK, hashed_uniforms, in_one_thread, map_rows
from sk_autoenc.training.judging import NATS
from sk_autoenc.training.seeding import make_generator

#: A component whose KL is below this, in nats, says nothing about rows.
_COLLAPSED = 0.01

#: Numbers of distributions from which the fitted mixture prior has its own.
_CLUSTERS = (1, 2, 4, 8, 16)


def negative_elbo(
    output: VariationalOutput, x: Tensor, *, beta: float, free_bits: float, warmth: float | Tensor = 1.0
) -> dict[str, Tensor]:
    r"""Minus the evidence lower bound, in two terms (Kingma & Welling 2014).

    :math:`-\mathbb{E}_{q(z|x)}[\log p(x|z)] + \beta\, \mathrm{KL}(q(z|x) \| p(z))`, the KL in closed form for the
    normal prior, summed over components, each of which counts ``free_bits`` at least on average over the batch.
    """
    if output.log_ratio is not None:
        kl = -output.log_ratio
    else:
        kl = output.posterior.kl_from_normal()  # (batch, n_components)
        kl = kl.mean(0).clamp_min(free_bits).sum() if free_bits else kl.sum(-1)
    return {"reconstruction": -output.log_likelihood, "kl": beta * warmth * kl}


def negative_importance_bound(
    output: VariationalOutput, x: Tensor, *, beta: float, warmth: float | Tensor = 1.0
) -> dict[str, Tensor]:
    r"""Minus the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016); shape (batch,).

    :math:`-\log \frac1K \sum_k p(x|z_k) (p(z_k) / q(z_k|x))^\beta` with K draws per row.
    """
    assert output.log_ratio is not None
    return {"bound": -_log_mean_exp(output.log_likelihood + beta * warmth * output.log_ratio)}


def _log_mean_exp(x: Tensor) -> Tensor:
    return x.logsumexp(0) - np.log(len(x))


class Elbo(NamedTuple):
    """The evidence lower bound of rows and its parts, ``total = reconstruction - kl``."""

    total: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray


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
        parts = _estimate_piece(module, prior, x[piece], Posterior(*(p[piece] for p in posterior)), shift[piece], points)
        for row, part in zip(rows, parts, strict=True):
            row[piece] = part
    return RowEstimates(*rows)


def _estimate_piece(
    module: VariationalAutoencoder, prior: Any, x: Tensor, posterior: Posterior, shift: Tensor, points: Tensor
) -> RowEstimates:
    at_once = max(1, SERIAL_CELLS // (len(x) * max(2 * x.shape[1], points.shape[1])))
    log_sum = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    likelihood_sum, ratio_sum = torch.zeros_like(log_sum), torch.zeros_like(log_sum)
    for some in points.split(at_once):
        uniform = (some[:, None] + shift) % 1.0  # (at_once, rows, n_components)
        noise = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)).to(x.dtype)
        code = posterior.at(noise)
        log_likelihood = module.likelihood.log_prob(module.observe(code), x).double()
        log_ratio = (prior.log_prob(code) - posterior.log_prob(noise)).double()
        log_sum = torch.logaddexp(log_sum, (log_likelihood + log_ratio).logsumexp(0))
        likelihood_sum += log_likelihood.sum(0)
        ratio_sum += log_ratio.sum(0)
    n = len(points)
    return RowEstimates(log_sum - np.log(n), likelihood_sum / n, ratio_sum / n)


class VAETransformer(GenerativeAutoencoder):
    r"""Learn a density of rows with a few hidden causes, to compress, score and generate them.

    Rows are explained by a code :math:`z` from a prior and a decoder that says how rows with this code are
    distributed; an encoder gives each row the distribution of its code. By default training starts at factor
    analysis or probabilistic PCA, whichever makes left-out rows more probable, and that is the result unless the network
    makes held-out rows more probable still.

    Training maximises, averaged over rows, the evidence lower bound [1]_

    .. math::
        \mathbb{E}_{q(z|x)}[\log p(x|z)] - \beta\, \mathrm{KL}(q(z|x) \,\|\, p(z))

    or, with ``n_importance_samples`` above 1, the tighter importance-weighted bound [2]_. Sums run over features and
    components. Sparse matrices are not accepted.
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", MLP],
        "likelihood": [StrOptions(set(LIKELIHOODS)), Likelihood],
        "prior": "no_validation",
        "beta": [Interval(Real, 0, None, closed="left")],
        "n_warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "n_score_samples": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"auto", "pca", "random"})],
    }

    _shaping_parameters = (
        *BaseAutoencoder._shaping_parameters,
        "n_components",
        "architecture",
        "likelihood",
        "prior",
        "beta",
        "n_warmup_epochs",
        "free_bits",
        "n_importance_samples",
        "n_score_samples",
        "init",
    )

    _yardstick = NATS

    def __init__(
        self,
        n_components=2,
        *,
        architecture=(128, 64),
        likelihood="gaussian",
        prior="normal",
        beta=1.0,
        n_warmup_epochs=0,
        free_bits=0.0,
        n_importance_samples=1,
        n_score_samples=128,
        init="auto",
        max_iter=100,
        batch_size="auto",
        learning_rate=0.006,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.1,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.likelihood = likelihood
        self.prior = prior
        self.beta = beta
        self.n_warmup_epochs = n_warmup_epochs
        self.free_bits = free_bits
        self.n_importance_samples = n_importance_samples
        self.n_score_samples = n_score_samples
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- what the template asks for

    def _make_likelihood(self) -> Likelihood:
        likelihood = super()._make_likelihood()
        if isinstance(likelihood, Gaussian) and likelihood.correlated == "auto" and not self._starts_linear():
            # From a random start, correlated noise explains rows sooner than codes do, and codes are left with nothing.
            likelihood.set_params(correlated=False)
        return likelihood

    def _why_not_linear(self) -> str | None:
        """What stands against starting at a linear model; None if nothing does."""
        if not as_likelihood(self.likelihood).scales_rows:
            return f"likelihood={self.likelihood!r} (probabilistic PCA and factor analysis are gaussian)"
        if self._training_prior() is not None:
            return f"prior={self.prior!r} (codes of the linear models are normal)"
        return None

    def _starts_linear(self) -> bool:
        return self.init == "pca" or (self.init == "auto" and self._why_not_linear() is None)

    def _needs_verdict(self) -> bool:
        return self._starts_linear() and self.early_stopping

    def _warmup_epochs(self) -> int:
        return self.n_warmup_epochs

    def _training_prior(self) -> Any:
        """The prior that training has in view; None is the standard normal."""
        if isinstance(self.prior, str):
            return None
        return as_prior(self.prior, self.n_components)

    def _check_configuration(self) -> None:
        super()._check_configuration()
        architecture = as_architecture(self.architecture)
        architecture.check()
        if architecture.code_activation != "identity":
            raise ValueError(
                f"architecture: code_activation must be 'identity' where codes have a normal posterior, got "
                f"{architecture.code_activation!r}."
            )
        if isinstance(self.prior, str) and self.prior not in ("normal", "gaussian_mixture"):
            raise ValueError(f"prior must be 'normal', 'gaussian_mixture' or an object, got {self.prior!r}.")
        prior = self._training_prior()
        if prior is not None and not hasattr(prior, "log_prob"):
            raise ValueError(f"prior={self.prior!r} has no log_prob, which a density needs; AAETransformer needs none.")
        if self.free_bits and (prior is not None or self.n_importance_samples > 1):
            raise ValueError(
                f"free_bits={self.free_bits} needs the KL of each component, which is known for prior='normal' or "
                "'gaussian_mixture' and n_importance_samples=1; set free_bits=0."
            )
        if self.init == "pca" and (reason := self._why_not_linear()) is not None:
            raise ValueError(f"init='pca' does not go with {reason}; use init='auto' or 'random'.")

    def _make_module(self, input_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
        (n_features,) = input_shape
        architecture, linear_path = as_architecture(self.architecture), self._starts_linear()
        n_inputs, n_outputs = likelihood.n_inputs(n_features), likelihood.n_outputs(n_features, noise=True)
        return VariationalAutoencoder(
            architecture.make_encoder(n_inputs, 2 * self.n_components, linear_path=linear_path),
            architecture.make_decoder(self.n_components, n_outputs, linear_path=linear_path, bounded=False),
            likelihood=likelihood,
            n_features=n_features,
            prior=self._training_prior(),
            n_draws=self.n_importance_samples,
            standardize=self._make_standardize(n_features, likelihood),
        )

    def _make_objective(self, likelihood: Likelihood):
        if self.n_importance_samples > 1:
            return partial(negative_importance_bound, beta=self.beta)
        return partial(negative_elbo, beta=self.beta, free_bits=self.free_bits)

    def _initialize(self, module: nn.Module, rows: Rows) -> None:
        assert isinstance(module, VariationalAutoencoder)
        self.prior_ = self._training_prior() or NormalPrior(n_components=self.n_components)  # for scores of epochs
        if module.standardize is not None:
            start_at_mean(module.decoder, self._set_standardize(module.standardize, rows))
        elif self._starts_linear():
            self._start_linear(module, rows)
        else:
            mean, covariance = moments(rows)
            spare = self._likelihood.n_outputs(len(mean), noise=True) - len(mean)
            start_at_mean(module.decoder, np.concatenate([mean, np.zeros(spare)]))
            start_noise(module, np.diag(self._known_variance(len(mean), covariance.diagonal())))

    def _known_variance(self, n_features: int, otherwise: np.ndarray) -> np.ndarray:
        """Variance of each feature's noise in the scaled rows, where the user gives it."""
        variance = self._likelihood.variance
        if isinstance(variance, str):
            return otherwise.clip(LEAST_VARIANCE)
        return np.full(n_features, variance / self._scaling.scale**2)

    def _start_linear(self, module: nn.Module, rows: Rows) -> None:
        assert isinstance(module, VariationalAutoencoder)
        assert isinstance(self._likelihood, Gaussian)
        variance, n_features = self._likelihood.variance, rows.data.shape[1]
        if isinstance(variance, str):
            correlated = self._likelihood.is_correlated(n_features)
            candidates = kinds_of_noise(by_feature=variance != "shared", correlated=correlated)
            model = fit_linear_gaussian(rows, self.n_components, best_noise(rows, self.n_components, candidates))
        else:
            known = self._known_variance(n_features, np.empty(0))
            model = split_covariance(*moments(rows), self.n_components, known, shrinkage=1.0)
        start_at_linear_gaussian(module, model, rows)

    def _finish(self, rows: Rows) -> None:
        super()._finish(rows)
        posterior = self._posterior(rows)
        self.kl_per_component_ = posterior.kl_from_normal().mean(0).double().numpy()
        if isinstance(self.prior, str) and (self.kl_per_component_ < _COLLAPSED).all():
            warnings.warn(
                f"All {self.n_components} components have collapsed (KL below {_COLLAPSED} nats): codes say nothing about "
                f"rows. Either rows have no structure that codes could tell, or try free_bits=0.5, n_warmup_epochs, or "
                f"a smaller beta than {self.beta:g}.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.prior_ = self._final_prior(posterior)

    def _posterior(self, rows: Rows) -> Posterior:
        """The posterior of every row, on the CPU."""
        module = self.net_.module_.eval()
        with torch.inference_mode():
            parts = [[p.cpu() for p in module.posterior(x)] for x in WholeBatches(rows, LARGE_BLOCK)]
        return Posterior(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _final_prior(self, posterior: Posterior) -> Any:
        """What codes are drawn from, and weighed by in ``score_samples``."""
        if self.prior == "normal":
            return NormalPrior(n_components=self.n_components)
        if self.prior != "gaussian_mixture":
            return as_prior(self.prior, self.n_components)
        noise = torch.randn(posterior.mean.shape, generator=make_generator(self._seed, "prior"))
        return GaussianMixturePrior.fitted_to(posterior.at(noise).numpy(), _CLUSTERS, seed=self._seed)

    # -- public

    def posterior(self, X):
        """Where the code of each row lies, and how sure that is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components)
            Mean and standard deviation of the normal posterior of each component; the mean is what ``transform``
            returns.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        module = self.net_.module_

        def both(x):
            mean, log_scale = module.posterior(x)
            return torch.cat([mean, in_one_thread(torch.exp, log_scale)], dim=1)

        mean, std = np.split(map_rows(both, X, self.device_, self._prepare).astype(X.dtype, copy=False), 2, axis=1)
        return mean, std

    def score_samples(self, X, n_samples=None):
        """Log-density of each row in nats, estimated by importance sampling from its posterior.

        The estimate is a lower bound on average, tighter with more samples. It can be compared with
        ``score_samples`` of ``GaussianMixture`` and ``KernelDensity`` and with ``PCA.score_samples``. The same rows give
        the same numbers at every call, whatever else is scored with them.

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
        # The density of scaled rows is larger by the scale, once for each feature.
        unit = X.shape[1] * np.log(self._scaling.scale) if self._likelihood.scales_rows else 0.0
        parts = (log_prob - unit, log_likelihood - unit, log_ratio)
        return RowEstimates(*(part.astype(X.dtype) for part in parts))
