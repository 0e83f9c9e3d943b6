"""What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sk_autoenc.architectures import MLP, Architecture, Recurrent, as_architecture
from sk_autoenc.base.estimator import NeuralEstimator
from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.scaling import Scaling, fit_scaling
from sk_autoenc.data.series import check_lengths, fit_series_scaling, is_list_of_series, lengths_of, padded, trimmed
from sk_autoenc.data.validation import as_array, cast_within, check_range
from sk_autoenc.initialization.linear import start_at_mean, summarize
from sk_autoenc.likelihoods import Categorical, Gaussian, Likelihood, Tokens, as_likelihood, present
from sk_autoenc.nn.autoencoder import Standardize
from sk_autoenc.nn.blocks import HOMOGENEOUS, LinearPlusNonlinear
from sk_autoenc.training.inference import LARGE_BLOCK, in_one_thread, map_rows
from sk_autoenc.training.selection import Verdict

#: Networks beside a linear start bend more sharply by one for each so many training rows, up to a factor: with fewer
#: rows they would learn noise. Chosen for a VAE's density, see benchmarks/README.md.
_ROWS_PER_SHARPNESS, _SHARPEST = 600, 4.0


class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    """What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

    @property
    def _n_features_out(self) -> int:
        return self._blueprint.n_components

    def _finish(self, rows: Rows, *, whole: bool) -> None:
        self.net_.module_.eval()
        with torch.inference_mode():
            errors = torch.cat([self._errors(x) for x in WholeBatches(rows, LARGE_BLOCK)])
        self.reconstruction_err_ = float(errors.mean())

    def _errors(self, x: Tensor) -> Tensor:
        """Squared error of every row, summed over features, in the units of X; of tokens the number of wrong ones."""
        raw, likelihood = self.net_.module_(x).raw, self._likelihood
        if isinstance(likelihood, Tokens):
            return raw.n_wrong(x).cpu().double()
        expected = likelihood.mean(raw) * likelihood.row_size(x)
        x = present(expected, x) if self._has_missing_cells(likelihood) else x
        scale = np.atleast_1d(self._scaling.scale) if likelihood.scales_rows else np.ones(1)
        share = torch.from_numpy(scale / scale.max()).float().to(x.device)
        return ((x - expected) * share).square().sum(-1).cpu().double() * scale.max() ** 2

    # -- series of unequal lengths

    @property
    def _equal_lengths(self) -> bool:
        """Whether no cell of a row may be NaN, in the fit that was or in the one to come."""
        return not getattr(self._plan.architecture, "unequal_lengths", False)  # widths have none

    def _has_missing_cells(self, likelihood: Likelihood) -> bool:
        """Whether a likelihood of cells has to do without some; that of tokens knows where sequences end."""
        return not self._equal_lengths and not isinstance(likelihood, Tokens)

    @property
    def _plan(self) -> Any:
        return getattr(self, "_blueprint", self)

    @property
    def _series_shape(self) -> tuple[int, int]:
        """Channels and timepoints of a row, for architectures that read series."""
        architecture: Any = as_architecture(self._plan.architecture).fitted_to(self.input_shape_)
        return architecture.input_shape

    @property
    def _n_channels(self) -> int:
        return self._series_shape[0]

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        if is_list_of_series(X):
            if not self._equal_lengths:
                X = padded(X, self._plan.architecture.input_shape if reset else self._series_shape)
            elif len({np.shape(case) for case in X}) > 1:
                raise ValueError(
                    "X has series of unequal lengths, which need architecture=Recurrent(..., unequal_lengths=True), "
                    f"got architecture={self._plan.architecture!r}."
                )
            else:
                X = np.stack([np.asarray(case) for case in X])
        try:
            X = super()._validate(X, reset=reset, finite=finite and self._equal_lengths)
        except ValueError as error:
            if (hint := self._hint(str(error))) is None:
                raise
            raise ValueError(hint) from error
        if not self._equal_lengths:
            self._check_values(X, "X")
        if not reset and isinstance(self._likelihood, Categorical | Tokens):
            self._likelihood.check(X)  # what has no number among the categories of the fit, an encoder cannot read
        return X

    def _hint(self, refusal: str) -> str | None:
        """What scikit-learn's refusal of rows does not say about series and categories."""
        if refusal.startswith("Input X contains NaN") and isinstance(self._plan.architecture, Recurrent):
            return (
                "Input X contains NaN. Series that end early, with NaN after their ends, need "
                f"Recurrent(..., unequal_lengths=True), got architecture={self._plan.architecture!r}."
            )
        if refusal.startswith("could not convert string"):
            likelihood = self._plan._make_likelihood()
            if isinstance(likelihood, Tokens):
                return f"{refusal}. Of strings Vocabulary makes numbers of tokens: make_pipeline(Vocabulary(), ...)."
            if isinstance(likelihood, Categorical):
                return f"{refusal}. Of categories scikit-learn's OrdinalEncoder makes numbers."
        return None

    def _check_values(self, X: np.ndarray, name: str) -> None:
        """Refuse rows that are infinite, also in the network's float32, or have holes."""
        if not self._equal_lengths:
            if np.isinf(X).any():
                raise ValueError(f"Input {name} contains infinity.")
            lengths_of(X, self._n_channels, may_be_empty=isinstance(self._plan._make_likelihood(), Tokens))
            X = np.nan_to_num(X)
        check_range(X, name)

    def _fit_scaling(self, X: np.ndarray, chosen: np.ndarray, likelihood: Likelihood) -> Scaling:
        if self._equal_lengths:
            return fit_scaling(X, chosen, by_feature=self._scales_features(likelihood))
        return fit_series_scaling(X, chosen, self._n_channels, by_channel=self._scales_features(likelihood))

    def _scales_features(self, likelihood: Likelihood) -> bool:
        """Whether each feature has a scale of its own, which only a model without a metric may have."""
        return False

    # -- holes that autoencoders share

    def _architecture(self) -> Architecture:
        return as_architecture(self.architecture)

    def _make_likelihood(self) -> Likelihood:
        likelihood, architecture = as_likelihood(self.likelihood), self._architecture()
        if isinstance(likelihood, Categorical) and isinstance(architecture, Recurrent):
            return likelihood.of_sequences(may_end=architecture.unequal_lengths)
        return likelihood

    def _make_coders(
        self,
        input_shape: tuple[int, ...],
        likelihood: Likelihood,
        n_encoded: int,
        *,
        noise: bool,
        bounded: bool = False,
    ) -> dict[str, nn.Module]:
        """Encoder with so many outputs, and decoder; ``noise``: of a model that draws."""
        architecture: Any = self._architecture().fitted_to(input_shape)
        if isinstance(likelihood, Tokens):
            return {
                "encoder": architecture.make_token_encoder(likelihood.n_tokens, n_encoded),
                "decoder": architecture.make_token_decoder(self.n_components, likelihood.n_tokens, bounded=bounded),
            }
        n_features, linear_path = math.prod(input_shape), self._starts_linear()
        n_inputs, n_outputs = likelihood.n_inputs(n_features), likelihood.n_outputs(n_features, noise=noise)
        return {
            "encoder": architecture.make_encoder(n_inputs, n_encoded, linear_path=linear_path),
            "decoder": architecture.make_decoder(
                self.n_components, n_outputs, linear_path=linear_path, bounded=bounded
            ),
        }

    def set_params(self, **params):
        """Set parameters, those of the architecture as ``architecture__<name>`` also where it is a bare tuple.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        nested = any(name.startswith("architecture__") for name in params)
        if nested and "architecture" not in params and not isinstance(self.architecture, Architecture):
            self.architecture = as_architecture(self.architecture)
        return super().set_params(**params)

    def _make_standardize(self, n_features: int, likelihood: Likelihood) -> Standardize | None:
        """What brings rows to the encoder's scale, where they do not come in it."""
        if likelihood.scales_rows or not likelihood.reads_numbers:
            return None
        return Standardize(likelihood.n_inputs(n_features), likelihood.encoder_input)

    def _start_random(self, module: Any, rows: Rows) -> None:
        """Set what reads rows that are no real values, and let the decoder begin by saying that all are the mean."""
        likelihood = self._likelihood
        if isinstance(likelihood, Tokens):
            mean = likelihood.shares(rows[:])
        else:
            seen = summarize(rows, likelihood.encoder_input)
            module.standardize.set(seen.mean, seen.scale, *likelihood.input_range(seen.low, seen.high))
            mean = seen.mean.numpy()
        start_at_mean(module.decoder, likelihood.raw_of_mean(mean))

    # -- the linear floor

    @abstractmethod
    def _starts_linear(self) -> bool:
        """Whether training starts at a linear model, and may end there."""

    @abstractmethod
    def _start_linear(self, module: nn.Module, rows: Rows) -> None:
        """Set the module to the linear model of the rows."""

    def _sharpen(self, module: Any, n_rows: int) -> None:
        """Let the networks beside a linear start find fine structure, where there are rows enough to tell."""
        architecture = self._architecture()
        if isinstance(architecture, MLP) and architecture.activation not in HOMOGENEOUS and self._starts_linear():
            for coder in (module.encoder, module.decoder):
                if isinstance(coder, LinearPlusNonlinear):  # a network without hidden layers is linear
                    coder.sharpen(min(max(n_rows / _ROWS_PER_SHARPNESS, 1.0), _SHARPEST))

    def _is_at_start(self) -> bool:
        return getattr(self, "linear_", False)

    def _select(self, verdict: Verdict | None, rows: Rows, first: bool) -> bool:
        """Keep the linear model, refitted on all rows, unless training has really lowered the held-out rows' losses.

        Without a verdict the network stands if the user wanted no early stopping, or asked for what the linear model
        is not; otherwise too few rows to judge it are too few to trust it.
        """
        if not first or not self._starts_linear() or not self.early_stopping:
            self.linear_ = self._starts_linear() and self.n_iter_ == 0  # broken off in the first epoch
        else:
            self.linear_ = self._needs_verdict() if verdict is None else not verdict.gain_is_real
        if self.linear_:
            module = self.net_.plain_module.cpu()
            self._start_linear(module, Rows(rows.data.cpu(), rows.index.cpu()))
            module.to(self.device_)
        return not self.linear_

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
            Codes, in units of the scaled rows and the dtype of ``X`` (float64 unless that is float32). A row's code
            does not depend on the other rows of ``X``.
        """
        check_is_fitted(self)
        return self._encode(self._validate(X, reset=False))

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return map_rows(self.net_.module_.encode, X, self.device_, self._prepare).astype(X.dtype, copy=False)

    def inverse_transform(self, X, lengths=None):
        """Rows that codes stand for: the decoder's mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.
        lengths : array-like of int of shape (n_samples,) or None, default=None
            Number of timepoints of each series, where these may differ: ``Recurrent(unequal_lengths=True)``. Tokens
            say themselves where they end.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or list of ndarray
            Rows, in the dtype of ``X`` (float64 unless that is float32); with ``lengths`` a list of series.
        """
        check_is_fitted(self)
        if lengths is not None and not self._has_missing_cells(self._likelihood):
            raise ValueError(
                "lengths needs architecture=Recurrent(..., unequal_lengths=True) and likelihood='gaussian', "
                f"got architecture={self._plan.architecture!r}, likelihood={self._plan.likelihood!r}."
            )
        codes = check_array(as_array(X), dtype=[np.float64, np.float32])
        check_range(codes, "X")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but {type(self).__name__} makes {self._n_features_out} codes."
            )
        likelihood, module = self._likelihood, self.net_.module_
        rows = map_rows(lambda z: in_one_thread(likelihood.mean, module.decode(z)), codes, self.device_)
        rows = self._in_units_of_rows(rows, codes.dtype)
        if lengths is None:
            return rows
        n_channels, longest = self._series_shape
        form = (n_channels, longest) if n_channels > 1 else (*rows.shape[1:-1], longest)
        return trimmed(rows.reshape(-1, *form), check_lengths(lengths, len(rows), longest))

    def reconstruct(self, X):
        """Rows of ``X`` through encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the decoder expects for each row's code, in the units and the dtype of ``X``; float64 where ``X`` holds
            integers, whose range it may leave. Series of unequal lengths come back with their own, as a list if ``X``
            is one; tokens end where they are decoded to end.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        made = self._reconstruct(rows)
        if self._equal_lengths:
            return made
        if self._has_missing_cells(self._likelihood):
            made = np.where(np.isnan(rows).reshape(made.shape), np.nan, made)
        if not is_list_of_series(X):
            return made
        return trimmed(made, lengths_of(made.reshape(len(made), -1), self._n_channels, may_be_empty=True))

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        likelihood, module = self._likelihood, self.net_.module_

        def expected(x):
            return in_one_thread(lambda raw, x: likelihood.mean(raw) * likelihood.row_size(x), module(x).raw, x)

        return self._in_units_of_rows(map_rows(expected, X, self.device_, self._prepare), X.dtype)

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
        return cast_within(self._row_scores(X), X.dtype)

    def _row_scores(self, X: np.ndarray) -> np.ndarray:
        """Scores in float64."""
        self._likelihood.check(X)
        likelihood, module, missing = self._likelihood, self.net_.module_, self._has_missing_cells(self._likelihood)

        def row_score(raw, x):
            return likelihood.row_score(raw, present(raw, x) if missing else x)

        def scores(x):
            return in_one_thread(lambda raw, x: row_score(raw.double(), x.double()), module(x).raw, x)

        unit = self._scaling.scale if likelihood.scales_rows else 1.0
        return map_rows(scores, X, self.device_, self._prepare) * unit**2

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
        check_is_fitted(self)
        return float(self._row_scores(self._validate(X, reset=False)).mean())

    def _in_units_of_rows(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What the likelihood expects, in the units of X, the dtype asked for, and the form that ``fit`` saw."""
        rows = rows.astype(dtype, copy=False)
        rows = self._scaling.undo(rows) if self._likelihood.scales_rows else rows
        return rows.reshape(-1, *self.input_shape_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        likelihood = getattr(self, "likelihood", "gaussian")
        real_valued = likelihood in ("gaussian", "student_t") or isinstance(likelihood, Gaussian)
        tags.input_tags.positive_only = not real_valued
        tags.input_tags.allow_nan = getattr(getattr(self, "architecture", ()), "unequal_lengths", False)
        return tags
