"""What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.base import NeuralEstimator, as_array, check_range
from sk_autoenc.likelihoods import Likelihood, as_likelihood
from sk_autoenc.training.data import Rows, WholeBatches
from sk_autoenc.training.inference import LARGE_BLOCK, map_rows


class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    """What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

    def _finish(self, rows: Rows) -> None:
        self._n_features_out = self.n_components
        errors = self._squared_errors(rows)
        self.reconstruction_err_ = float(errors.mean())

    def _squared_errors(self, rows: Rows) -> np.ndarray:
        """Squared error of every row, summed over features, in the units of X."""
        module, likelihood = self.net_.module_, self._likelihood
        module.eval()
        errors, start = torch.empty(len(rows), dtype=torch.float64), 0
        with torch.inference_mode():
            for x in WholeBatches(rows, LARGE_BLOCK):
                expected = likelihood.mean(module(x).raw) * likelihood.row_size(x)
                errors[start : start + len(x)] = (x - expected).square().sum(-1)
                start += len(x)
        unit = self._scaling.scale if likelihood.scales_rows else 1.0
        return errors.numpy() * unit**2

    # -- holes that autoencoders share

    def _make_likelihood(self) -> Likelihood:
        return as_likelihood(self.likelihood)

    # -- public

    def transform(self, X):
        """Codes of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Codes, in the dtype of ``X`` (float64 unless that is float32). A row's code does not depend on the
            other rows of ``X``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return map_rows(self.net_.module_.encode, X, self.device_, self._prepare).astype(X.dtype, copy=False)

    def inverse_transform(self, X):
        """Rows that codes stand for: the decoder's mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows, in the dtype of ``X`` (float64 unless that is float32).
        """
        check_is_fitted(self)
        codes = check_array(as_array(X), dtype=[np.float64, np.float32])
        check_range(codes, "X")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but {type(self).__name__} makes {self._n_features_out} codes."
            )
        return self._expected(map_rows(self.net_.module_.decode, codes, self.device_), codes.dtype)

    def reconstruct(self, X):
        """Rows of ``X`` through encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the decoder expects for each row's code, in the units and the dtype of ``X``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        sizes = self._likelihood.row_size(torch.from_numpy(np.ascontiguousarray(X)))
        return self._expected(self._raw(X), X.dtype) * np.asarray(sizes, dtype=X.dtype)

    def score_samples(self, X):
        """How well each row is reconstructed; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            For the gaussian likelihood minus the squared error, summed over features, in the units of ``X``;
            for the others the log-probability of the row given its code. No penalty enters.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        self._likelihood.check(X)
        seen = X
        unit = X.dtype.type(1.0)
        if self._likelihood.scales_rows:
            seen, unit = np.empty(X.shape, dtype=X.dtype), X.dtype.type(self._scaling.scale) ** 2
            self._scaling.apply(X, seen)
        raw = torch.from_numpy(self._raw(X).astype(X.dtype, copy=False))
        return self._likelihood.row_score(raw, torch.from_numpy(np.array(seen))).numpy() * unit

    def score(self, X, y=None):
        """Mean of :meth:`score_samples`, for model selection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
            The mean over rows; higher is better.
        """
        return float(self.score_samples(X).mean())

    def _raw(self, X: np.ndarray) -> np.ndarray:
        """The decoder's output for every row, float32."""
        module = self.net_.module_
        return map_rows(lambda x: module(x).raw, X, self.device_, self._prepare)

    def _expected(self, raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Expected rows in the units of X for the decoder's output."""
        rows = self._likelihood.mean(torch.from_numpy(raw.astype(dtype, copy=False))).numpy()
        return self._scaling.undo(rows) if self._likelihood.scales_rows else rows

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
