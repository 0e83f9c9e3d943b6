"""Generative models: posteriors of codes, samples, and interpolation between two rows."""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_array, check_scalar
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_autoenc._compat import in_chosen_container
from sk_autoenc.architectures import Architecture, checked_architecture
from sk_autoenc.base.autoencoder import BaseAutoencoder, make_standardize
from sk_autoenc.base.estimator import FitRequest, bound_to_rows
from sk_autoenc.base.sampler import BLOCK, sampling_generator
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.series import lengths_of, padded
from sk_autoenc.data.validation import as_array
from sk_autoenc.likelihoods import Likelihood, likelihood_class
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.training.inference import in_one_thread, map_rows
from sk_autoenc.training.run import Result


class Resolved(NamedTuple):
    """Architecture, preprocessor and start, resolved once for a plan."""

    architecture: Architecture
    data: RowPreprocessor
    is_linear: bool  # training starts at a linear model


def _has_mixture(estimator: "GenerativeAutoencoder") -> bool:
    prior = getattr(estimator, "prior_", estimator.prior)
    if hasattr(prior, "responsibilities"):
        return True
    raise AttributeError(f"The prior of codes is {prior!r}, no mixture whose distributions could be told apart.")


def names_of_priors(model: "GenerativeAutoencoder") -> tuple[str, ...]:
    """What ``prior`` may be by name."""
    return model._prior_names


class GenerativeAutoencoder(BaseAutoencoder):
    """An autoencoder whose codes follow a prior, so that decoded draws from it look like rows."""

    #: The prior of codes: an object of ``priors.py``, or any with ``sample``.
    prior_: Any

    #: Number of timepoints of each training series, if these have unequal lengths and are not tokens.
    lengths_: np.ndarray

    #: What ``prior`` may be by name.
    _prior_names: tuple[str, ...]

    @property
    def _reads_sparse(self) -> bool:
        """Counts, whose start needs no covariance of columns; zeros of real values have no density."""
        return super()._reads_sparse and not likelihood_class(self._current.likelihood).has_linear_model

    # -- what plans of generative models share

    def _resolve(self, request: FitRequest, *, prior: Any = None) -> "Resolved":
        """Architecture, preprocessor and start; ``prior`` is that of training, None the standard normal or unknown."""
        architecture = checked_architecture(self.architecture, "architecture")
        if architecture.code_activation != "identity":
            raise ValueError(
                f"architecture: code_activation must be 'identity' in models with a prior, got "
                f"{architecture.code_activation!r}."
            )
        likelihood = self._likelihood_of(request, architecture)
        is_linear = self._starts_linear(architecture, likelihood, prior)
        self._check_missing(
            architecture,
            likelihood,
            "real values or tokens: likelihood='gaussian', 'student_t' or 'categorical'",
        )
        likelihood = likelihood.for_start(is_linear=is_linear, may_end_early=architecture.unequal_lengths)
        architecture = bound_to_rows(architecture, request)
        data = self._preprocessor(request, architecture, likelihood, by_feature=likelihood.scales_by_feature)
        return Resolved(architecture, data, is_linear)

    def _starts_linear(self, architecture: Architecture, likelihood: Likelihood, prior: Any) -> bool:
        """Whether training starts at a linear model; ``ValueError`` for ``init="pca"`` where it cannot."""
        reason = None
        if prior is not None:
            reason = f"prior={self.prior!r} (the linear models have normal codes)"
        elif not likelihood.has_linear_model:
            reason = f"likelihood={self._likelihood_name!r} (probabilistic PCA and factor analysis are gaussian)"
        elif architecture.unequal_lengths:
            reason = "unequal_lengths=True (linear models need every cell of a row)"
        if self.init == "pca" and reason is not None:
            raise ValueError(f"init='pca' cannot be combined with {reason}; use init='auto' or 'random'.")
        return self.init != "random" and reason is None

    def _make_parts(self, resolved: "Resolved", n_encoded: int) -> dict[str, Any]:
        """Arguments of the module; its encoder has ``n_encoded`` outputs."""
        architecture, data, is_linear = resolved
        coders = architecture.make_coders(
            data.likelihood,
            data.n_features,
            self.n_components,
            n_encoded=n_encoded,
            noise=True,
            linear_path=is_linear,
        )
        return {
            **coders,
            "likelihood": data.likelihood,
            "n_features": data.n_features,
            "standardize": make_standardize(data),
            "missing_cells": data.has_missing_cells,
        }

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        if self._data.has_missing_cells:
            self.lengths_ = lengths_of(rows[:].cpu().numpy(), self._series_shape()[0])

    # -- public

    def posterior(self, X):
        """Mean and standard deviation of each row's posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components)
            Mean and standard deviation of the normal posterior of each component; the mean is what ``transform``
            returns. Two DataFrames after ``set_output(transform="pandas")`` or ``"polars"``.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        module = self.net_.module_

        def both(x):
            mean, log_scale = module.posterior(x)
            return torch.cat([mean, in_one_thread(torch.exp, log_scale)], dim=1)

        found = map_rows(both, rows, self.device_, self._data.prepare).astype(rows.dtype, copy=False)
        mean, std = (in_chosen_container(self, part, X, self.get_feature_names_out()) for part in np.split(found, 2, 1))
        return mean, std

    @cpu_by_default()
    def sample(self, n_samples=1, random_state=None, *, mean=False):
        """Draw codes from the prior, decode them, and draw rows from the likelihood.

        It returns the rows alone, where ``GaussianMixture.sample`` returns rows and the numbers of their components:
        write ``X = model.sample(n)``, not ``X, y = model.sample(n)``.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        mean : bool, default=False
            Whether to return the decoder's mean for each code, without noise.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows in the units and the dtype of the training rows; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``. Series of unequal lengths have NaN after their ends.
            Their lengths are drawn from those of training series, independently of the code. Sequences of tokens end
            where their end is drawn.
        """
        check_is_fitted(self)
        generator = sampling_generator(n_samples, random_state)
        codes = self.prior_.sample(n_samples, generator).float()
        module, likelihood = self.net_.module_, self._data.likelihood
        parts = []
        with torch.inference_mode():
            for code in codes.to(self.device_).split(BLOCK):
                if mean:
                    parts.append(likelihood.mean(module.decode(code).cpu()).cpu())
                else:  # drawn on the CPU, so that a seed gives the same noise on every device
                    parts.append(likelihood.draw(module.observe(code).cpu(), generator).cpu())
        rows = self._data.to_rows(torch.cat(parts).numpy(), np.dtype(self._data.dtype))
        if self._data.has_missing_cells:
            chosen = torch.randint(len(self.lengths_), (n_samples,), generator=generator).numpy()
            rows = self._ended(rows, self.lengths_[chosen])
        return self._rows_out(rows)

    def _ended(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Series of full length, with NaN after the given lengths."""
        n_channels, n_timepoints = self._series_shape()
        after = np.arange(n_timepoints) >= lengths[:, None, None]
        return np.where(after, np.nan, rows.reshape(-1, n_channels, n_timepoints)).reshape(rows.shape)

    def interpolate(self, a, b, n_steps=10):
        """Decode the straight line between the codes of two rows.

        Parameters
        ----------
        a, b : array-like of shape (n_features,)
            Two rows. A Series, or a DataFrame of one row, must have the labels of ``fit``, in the same order.
        n_steps : int, default=10
            Number of rows, both ends included.

        Returns
        -------
        ndarray of shape (n_steps, n_features)
            The decoder's mean along the line; a DataFrame after ``set_output(transform="pandas")``. For series of
            unequal lengths, the length is interpolated as well, with NaN after the end.
        """
        check_is_fitted(self)
        check_scalar(n_steps, "n_steps", Integral)
        if n_steps < 2:
            raise ValueError(f"n_steps must be at least 2, got {n_steps}.")
        ends = self._check_ends(a, b)
        codes = self._encode(ends)
        share = np.linspace(0, 1, n_steps, dtype=codes.dtype)[:, None]
        rows = self._decode((1 - share) * codes[:1] + share * codes[1:])
        if self._data.has_missing_cells:
            first, last = lengths_of(ends, self._series_shape()[0])
            rows = self._ended(rows, np.rint((1 - share[:, 0]) * first + share[:, 0] * last))
        return self._rows_out(rows)

    def _check_ends(self, a, b) -> np.ndarray:
        """Two rows as the encoder reads them."""
        for end in (a, b) if len(self.input_shape_) == 1 else ():  # a row with axes may itself be a DataFrame
            frame = end.to_frame().T if hasattr(end, "to_frame") and hasattr(end, "index") else end  # pandas' Series
            if hasattr(frame, "columns"):
                validate_data(self, frame, reset=False, skip_check_array=True)  # names and their order
        ends = [np.asarray(as_array(end)) for end in (a, b)]
        if self._may_end_early and len(self.input_shape_) == ends[0].ndim:
            rows = padded(ends, self._series_shape()).reshape(2, -1)
        else:
            if wrong := {end.size for end in ends} - {self.n_features_in_}:
                raise ValueError(f"a and b must each have {self.n_features_in_} features, got {wrong.pop()}.")
            rows = np.stack([end.reshape(-1) for end in ends])
        rows = check_array(
            rows, dtype=[np.float64, np.float32], input_name="a and b", ensure_all_finite=not self._may_end_early
        )
        self._check_values(rows, "a and b")
        self._data.likelihood.check(rows)
        return rows

    @available_if(_has_mixture)
    def predict_proba(self, X):
        """Probability of each distribution of the prior, as clusters of rows; there where ``prior_`` is a mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
            The probability of each distribution given the row's mean code; float64, each row sums to 1.
        """
        check_is_fitted(self)
        return self.prior_.responsibilities(self._encode(self._validate(X, reset=False)).astype(np.float64))

    @available_if(_has_mixture)
    def predict(self, X):
        """The most probable distribution of a mixture prior, as the cluster of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Numbers of the distributions in ``prior_``.
        """
        return self.predict_proba(X).argmax(axis=1)
