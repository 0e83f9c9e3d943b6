"""What models that generate can do: say where codes lie, draw rows, and walk from one row to another."""

import math
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from sk_autoenc._compat import in_chosen_container
from sk_autoenc.base.autoencoder import BaseAutoencoder
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.series import lengths_of, padded
from sk_autoenc.data.validation import as_array
from sk_autoenc.initialization.factor_analysis import (
    LEAST_VARIANCE,
    best_noise,
    fit_linear_gaussian,
    kinds_of_noise,
    loosen_noise,
    moments_of,
    split_covariance,
    start_at_linear_gaussian,
    start_noise,
)
from sk_autoenc.initialization.linear import last_layer, start_at_mean, summarize
from sk_autoenc.likelihoods import Gaussian, Likelihood, Tokens, as_likelihood
from sk_autoenc.nn.variational import VariationalAutoencoder
from sk_autoenc.training.inference import in_one_thread, map_rows
from sk_autoenc.training.randomness import draw_seed, make_generator

_BLOCK = 1024


class GenerativeAutoencoder(BaseAutoencoder):
    """An autoencoder whose codes follow a prior, so that decoded draws from it look like rows."""

    #: What codes are drawn from; an object of ``priors.py`` or alike.
    prior_: Any

    #: Number of timepoints of each training series, where these differ and do not say it themselves.
    lengths_: np.ndarray

    # -- holes that models which generate share

    def _make_likelihood(self) -> Likelihood:
        likelihood = super()._make_likelihood()
        if isinstance(likelihood, Gaussian) and likelihood.correlated == "auto" and not self._equal_lengths:
            likelihood.set_params(correlated=False)  # a whitener mixes cells, some of which may not be there
        return likelihood

    def _why_not_linear(self) -> str | None:
        """What stands against starting at a linear model; None if nothing does."""
        if not as_likelihood(self.likelihood).scales_rows:
            return f"likelihood={self.likelihood!r} (probabilistic PCA and factor analysis are gaussian)"
        if self._architecture().unequal_lengths:
            return "unequal_lengths=True (linear models need every cell of a row)"
        return None

    def _starts_linear(self) -> bool:
        return self.init == "pca" or (self.init == "auto" and self._why_not_linear() is None)

    def _scales_features(self, likelihood: Likelihood) -> bool:
        # Where noise has a variance by feature, a density does not depend on their units, and neither should training.
        return isinstance(likelihood, Gaussian) and likelihood.variance in ("row", "feature")

    def _check_configuration(self) -> None:
        super()._check_configuration()
        architecture = self._architecture()
        architecture.check()
        if architecture.code_activation != "identity":
            raise ValueError(
                f"architecture: code_activation must be 'identity' where codes follow a prior, got "
                f"{architecture.code_activation!r}."
            )
        likelihood = self._make_likelihood()
        if architecture.unequal_lengths and not isinstance(likelihood, Gaussian | Tokens):
            raise ValueError(
                "architecture: unequal_lengths=True goes with real values and tokens: likelihood='gaussian', "
                f"'student_t' or 'categorical', got {self.likelihood!r}."
            )
        if architecture.unequal_lengths and isinstance(likelihood, Gaussian) and likelihood.correlated:
            raise ValueError(f"likelihood={likelihood!r}: correlated=True does not go with unequal_lengths=True.")
        if self.init == "pca" and (reason := self._why_not_linear()) is not None:
            raise ValueError(f"init='pca' does not go with {reason}; use init='auto' or 'random'.")

    def _make_parts(self, input_shape: tuple[int, ...], likelihood: Likelihood, n_encoded: int) -> dict[str, Any]:
        """What the module is made of; the encoder has ``n_encoded`` outputs."""
        n_features = math.prod(input_shape)
        return {
            **self._make_coders(input_shape, likelihood, n_encoded, noise=True),
            "likelihood": likelihood,
            "n_features": n_features,
            "standardize": self._make_standardize(n_features, likelihood),
            "missing_cells": self._has_missing_cells(likelihood),
        }

    def _finish(self, rows: Rows, *, whole: bool) -> None:
        super()._finish(rows, whole=whole)
        if self._has_missing_cells(self._likelihood):
            self.lengths_ = lengths_of(rows[:].cpu().numpy(), self._n_channels)

    def _initialize(self, module: nn.Module, rows: Rows) -> None:
        assert isinstance(module, VariationalAutoencoder)
        if not self._likelihood.scales_rows:
            self._start_random(module, rows)
        elif self._starts_linear():
            self._start_linear(module, rows)
        elif not self._equal_lengths:
            start_at_mean(module.decoder, np.zeros(len(last_layer(module.decoder).bias)))
            start_noise(module, np.diag(self._known_variance(rows.data.shape[1], self._channel_variances(rows[:]))))
        else:
            seen = summarize(rows, lambda block: block)
            spare = self._likelihood.n_outputs(len(seen.mean), noise=True) - len(seen.mean)
            start_at_mean(module.decoder, np.concatenate([seen.mean.numpy(), np.zeros(spare)]))
            start_noise(module, np.diag(self._known_variance(len(seen.mean), seen.spread.square().numpy())))
        if self._likelihood.scales_rows:
            loosen_noise(module)

    def _known_variance(self, n_features: int, otherwise: np.ndarray) -> np.ndarray:
        """Variance of each feature's noise in the scaled rows: what the user gives, or the features' own variance."""
        variance = self._likelihood.variance
        if variance == "shared":
            return np.full(n_features, max(otherwise.mean(), LEAST_VARIANCE))
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
            model = split_covariance(moments_of(rows), self.n_components, known, shrinkage=1.0)
        start_at_linear_gaussian(module, model, rows)

    def _channel_variances(self, rows: Tensor) -> np.ndarray:
        """Mean square of each channel of series of unequal lengths, for each of its cells."""
        by_channel = rows.numpy().reshape(len(rows), self._n_channels, -1)
        variance = np.nanmean(np.square(by_channel), axis=(0, 2), dtype=np.float64)
        return np.repeat(variance, by_channel.shape[2])

    def _log_unit(self, X: np.ndarray) -> np.ndarray | float:
        """By how much the log-density of scaled rows is above that of rows: the logarithms of their cells' scales."""
        if not self._likelihood.scales_rows:
            return 0.0
        scales = np.broadcast_to(np.log(self._scaling.scale), self.n_features_in_)
        return float(scales.sum()) if self._equal_lengths else np.where(np.isnan(X), 0.0, scales).sum(axis=1)

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

    def sample(self, n_samples=1, random_state=None, *, mean=False):
        """Draw rows: codes from the prior, decoded, with the noise that the likelihood has.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        mean : bool, default=False
            Whether to return what the decoder expects for each code, without noise.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows in the units and the dtype of the rows that ``fit`` saw; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``. Series of unequal lengths have lengths of training
            series, drawn with no regard to the code, and NaN after their ends; tokens end where they are drawn to end.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        generator = make_generator(draw_seed(random_state), "sampling")
        codes = self.prior_.sample(n_samples, generator).float()
        module, likelihood = self.net_.module_, self._likelihood
        parts = []
        with torch.inference_mode():
            for code in codes.to(self.device_).split(_BLOCK):
                if mean:
                    parts.append(likelihood.mean(module.decode(code).cpu()).cpu())
                else:  # drawn on the CPU, so that a seed gives the same noise on every device
                    parts.append(likelihood.draw(module.observe(code).cpu(), generator).cpu())
        rows = self._in_units_of_rows(torch.cat(parts).numpy(), np.dtype(self._dtype))
        if self._has_missing_cells(likelihood):
            chosen = torch.randint(len(self.lengths_), (n_samples,), generator=generator).numpy()
            rows = self._ended(rows, self.lengths_[chosen])
        return in_chosen_container(self, rows)

    def _ended(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Series of full length, with NaN after these ends."""
        n_channels, n_timepoints = self._series_shape
        after = np.arange(n_timepoints) >= lengths[:, None, None]
        return np.where(after, np.nan, rows.reshape(-1, n_channels, n_timepoints)).reshape(rows.shape)

    def interpolate(self, a, b, n_steps=10):
        """Rows on the way from one row to another: the straight line between their codes, decoded.

        Parameters
        ----------
        a, b : array-like of shape (n_features,)
            Two rows; of a Series or a DataFrame of one row, labels must be those of ``fit``, in order.
        n_steps : int, default=10
            Number of rows, those of both ends included.

        Returns
        -------
        ndarray of shape (n_steps, n_features)
            What the decoder expects along the line; a DataFrame after ``set_output(transform="pandas")``. Between
            series of unequal lengths, lengths go from one to the other, too, with NaN after the ends.
        """
        check_is_fitted(self)
        check_scalar(n_steps, "n_steps", Integral)
        if n_steps < 2:
            raise ValueError(f"n_steps must be at least 2, got {n_steps}.")
        ends = self._check_ends(a, b)
        codes = self._encode(ends)
        share = np.linspace(0, 1, n_steps, dtype=codes.dtype)[:, None]
        rows = self.inverse_transform((1 - share) * codes[:1] + share * codes[1:])
        if self._has_missing_cells(self._likelihood):
            first, last = lengths_of(ends, self._n_channels)
            rows = self._ended(rows, np.rint((1 - share[:, 0]) * first + share[:, 0] * last))
        return in_chosen_container(self, rows)

    def _check_ends(self, a, b) -> np.ndarray:
        """Two rows as the encoder reads them."""
        for end in (a, b) if len(self.input_shape_) == 1 else ():  # a row with axes may be a frame itself
            frame = end.to_frame().T if hasattr(end, "to_frame") and hasattr(end, "index") else end  # pandas' Series
            if hasattr(frame, "columns"):
                validate_data(self, frame, reset=False, skip_check_array=True)  # names and their order
        ends = [np.asarray(as_array(end)) for end in (a, b)]
        if not self._equal_lengths and len(self.input_shape_) == ends[0].ndim:
            rows = padded(ends, self._series_shape).reshape(2, -1)
        else:
            if wrong := {end.size for end in ends} - {self.n_features_in_}:
                raise ValueError(f"a and b must have {self.n_features_in_} features, got {wrong.pop()}.")
            rows = np.stack([end.reshape(-1) for end in ends])
        rows = check_array(
            rows, dtype=[np.float64, np.float32], input_name="a and b", ensure_all_finite=self._equal_lengths
        )
        self._check_values(rows, "a and b")
        self._likelihood.check(rows)
        return rows
