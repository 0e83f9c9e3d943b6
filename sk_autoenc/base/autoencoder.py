"""What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import in_chosen_container
from sk_autoenc.architectures import Architecture, architecture_object, as_architecture
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.streams import averaged_over_blocks, by_block, reads_streams
from sk_autoenc.base.tables import read_table
from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.series import check_lengths, is_list_of_series, lengths_of, padded, trimmed
from sk_autoenc.data.sparse import dense_blocks
from sk_autoenc.data.tabular import Table, is_table
from sk_autoenc.data.validation import cast_within, check_codes, check_range
from sk_autoenc.likelihoods import Likelihood, as_likelihood, likelihood_class
from sk_autoenc.likelihoods.mixed import Mixed
from sk_autoenc.nn.autoencoder import Standardize
from sk_autoenc.training.inference import LARGE_BLOCK, in_one_thread, map_rows
from sk_autoenc.training.run import Result


def likelihood_of(model: "BaseAutoencoder") -> Likelihood:
    """The likelihood that these parameters ask for, without what a fit finds."""
    return model._likelihood_for(as_architecture(model.architecture))


def _check_rows(likelihood: Likelihood, X: Any) -> None:
    """Refuse values that the likelihood does not take; of a sparse matrix some rows at a time."""
    for block in dense_blocks(X):
        likelihood.check(block)


def length_of_fitted_codes(model: "BaseAutoencoder") -> int:
    """Length of the codes of a fitted model."""
    return model._n_features_out


def preprocessor_of(model: "BaseAutoencoder") -> RowPreprocessor:
    """What reads rows of a fitted model."""
    return model._data


@reads_streams("transform")
class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    """What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

    _data: Any

    _reads_streams = True

    @property
    def _n_features_out(self) -> int:
        return self._parameters.n_components

    # -- what plans of autoencoders share

    #: What ``likelihood="auto"`` is for arrays.
    _likelihood_of_arrays = "gaussian"

    @property
    def _likelihood_name(self) -> Any:
        """The likelihood parameter, where ``"auto"`` is the name of that of arrays."""
        is_auto = isinstance(self.likelihood, str) and self.likelihood == "auto"
        return self._likelihood_of_arrays if is_auto else self.likelihood

    def _likelihood_of(self, request: FitRequest, architecture: Architecture) -> Likelihood:
        """The likelihood of the rows of this request: that of a table, or what the parameter says."""
        if request.data is not None and request.data.is_table:
            return request.data.likelihood
        return self._likelihood_for(architecture)

    def _likelihood_for(self, architecture: Architecture) -> Likelihood:
        """The likelihood of rows; where the architecture reads sequences of categories, that of tokens."""
        likelihood = as_likelihood(self._likelihood_name)
        if not architecture.reads_sequences:
            return likelihood
        return likelihood.of_sequences(may_end=architecture.unequal_lengths)

    def _preprocessor(
        self, request: FitRequest, architecture: Architecture, likelihood: Likelihood, *, by_feature: bool = False
    ) -> RowPreprocessor:
        """The preprocessor of the fit that is continued, or a new one for the rows of this request."""
        if request.data is not None:
            if request.X is not None:
                _check_rows(request.data.likelihood, request.X)
            return request.data
        assert request.X is not None, "a loaded model has a preprocessor"
        _check_rows(likelihood, request.X)
        return RowPreprocessor(
            likelihood.resolve(self._known_rows(request, likelihood)),
            request.shape,
            request.X.dtype.name,
            series_shape=architecture.series_shape if architecture.unequal_lengths else None,
            by_feature=by_feature,
        )

    def _known_rows(self, request: FitRequest, likelihood: Likelihood) -> np.ndarray:
        """Rows from which a likelihood takes what is open: those that train, or all if it must know every value."""
        assert request.X is not None
        if not likelihood.resolves_by_rows:
            return request.X[:0]
        splits = self._splits(request)
        return request.X if likelihood.knows_values or len(splits) != 1 else request.X[splits[0][0].numpy()]

    def _check_missing(self, architecture: Architecture, likelihood: Likelihood, alternatives: str) -> None:
        """Refuse series of unequal lengths if the likelihood needs every cell."""
        if architecture.unequal_lengths and not (likelihood.may_be_missing or likelihood.is_sequential):
            raise ValueError(
                f"architecture: unequal_lengths=True needs {alternatives}, got likelihood={self._likelihood_name!r}."
            )

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        with torch.inference_mode():
            errors = torch.cat([self._errors(batch.x) for batch in WholeBatches(rows, LARGE_BLOCK)])
        self.reconstruction_err_ = float(errors.mean())

    def _errors(self, x: Tensor) -> Tensor:
        """Squared error of each row, summed over features, in the units of X; for tokens the number of wrong ones."""
        scale = np.atleast_1d(1.0 if self._data.scaling is None else self._data.scaling.scale)
        weight = torch.from_numpy(scale / scale.max()).float().to(x.device)
        errors = self._data.likelihood.error(self.net_.module_(x).raw, x, weight).cpu().double()
        return errors if self._data.likelihood.is_sequential else errors * scale.max() ** 2

    @property
    def encoder_(self) -> Callable[[Tensor], Tensor]:
        """The encoder as a differentiable function of torch tensors: flat rows in the units of ``X``, to codes."""
        check_is_fitted(self)
        center, scale = self._data.affine(self.device_)
        return lambda rows: self.net_.module_.encode(((rows - center) / scale).float())

    @property
    def decoder_(self) -> Callable[[Tensor], Tensor]:
        """The decoder as a differentiable function of torch tensors: codes, to the mean of flat rows."""
        check_is_fitted(self)
        center, scale = self._data.affine(self.device_)
        mean = self._data.likelihood.mean
        return lambda codes: (mean(self.net_.module_.decode(codes.float())) * scale + center).float()

    # -- rows in

    @property
    def _reads_sparse(self) -> bool:
        """Whether the architecture reads columns, and the likelihood needs no list of their values."""
        parameters = self._current
        reads_columns = not hasattr(parameters.architecture, "make_encoder") or parameters.architecture.reads_columns
        return reads_columns and not likelihood_class(parameters.likelihood).knows_values

    @property
    def _may_end_early(self) -> bool:
        """Whether rows are series of unequal lengths, with NaN after their ends."""
        return getattr(self._current.architecture, "unequal_lengths", False)  # a bare sequence has no attributes

    @property
    def _current(self) -> Any:
        """The parameters of the last fit; before the first fit, those of the estimator."""
        return getattr(self, "_parameters", self)

    def _series_shape(self) -> tuple[int, int]:
        """Channels and timepoints of series of unequal lengths."""
        if hasattr(self, "_data"):
            return self._data.series_shape
        return self.architecture.bind(self.input_shape_).series_shape

    @property
    def _reads_table(self) -> bool:
        """Whether the fit was on a table."""
        return hasattr(self, "_data") and self._data.is_table

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        if self._is_table(X) if reset else self._reads_table:
            return self._validate_table(X, reset=reset)
        if is_list_of_series(X):
            if self._may_end_early:
                X = padded(X, self._current.architecture.input_shape if reset else self._series_shape())
            elif len({np.shape(case) for case in X}) > 1:
                raise ValueError(
                    "X has series of unequal lengths, which need architecture=Recurrent(..., unequal_lengths=True), "
                    f"got architecture={self._current.architecture!r}."
                )
            else:
                X = np.stack([np.asarray(case) for case in X])
        try:
            X = super()._validate(X, reset=reset, finite=finite and not self._may_end_early)
        except ValueError as error:
            if (hint := self._hint(str(error))) is None:
                raise
            raise ValueError(hint) from error
        if self._may_end_early:
            self._check_values(X, "X")
        if not reset and self._data.likelihood.knows_values:
            self._data.likelihood.check(X)  # the encoder has weights only for the categories of the fit
        return X

    def _check_first_block(self, X: Any) -> None:
        if self._is_table(X):
            raise ValueError(
                "X must hold a number in every cell, if it is a stream: tables of mixed columns or with missing cells "
                "must be in memory."
            )
        if likelihood_of(self._current).knows_values:
            raise ValueError(
                f"likelihood must not depend on which values occur, if X is a stream, got {self._likelihood_name!r}."
            )

    def _check_block(self, X: np.ndarray) -> None:
        likelihood_of(self._current).check(X)

    def _is_table(self, X) -> bool:
        """Whether these rows are read by a table: by ``likelihood="auto"``, if an array cannot hold them."""
        is_auto = isinstance(self.likelihood, str) and self.likelihood == "auto"
        return is_auto and as_architecture(self.architecture).reads_columns and is_table(X)

    def _validate_table(self, X, *, reset: bool) -> np.ndarray:
        """Encoded rows, float64, NaN where a cell is missing or its level is unknown."""
        X = read_table(self, X, reset=reset)
        if reset:
            table = Table(unseen="missing").fit(X)
            encoded = table.encode(X)
            self.input_shape_ = encoded.shape[1:]
            # As of categories, outcomes are taken of all rows, also of those that are held out.
            data = OutcomeRows(Mixed(), self.input_shape_, "float64", table=table)
            self._data = data.fit(encoded, np.arange(len(encoded)))
            return encoded
        return self._data.table.encode(X)

    def _rows_out(self, rows: np.ndarray, like: Any = None) -> Any:
        """Rows as the caller gets them: a data frame of the types of ``fit``, or what ``set_output`` asks for."""
        if self._reads_table:
            return self._data.table.decode(rows, snap=True, like=like)
        return in_chosen_container(self, rows, like=like)

    def _hint(self, refusal: str) -> str | None:
        """A better message than scikit-learn's where rows are series or categories; None where there is none."""
        architecture = self._current.architecture
        if refusal.startswith("Input X contains NaN"):
            if getattr(architecture, "reads_sequences", False):
                return (
                    "Input X contains NaN. Series that end early, with NaN after their ends, need "
                    f"Recurrent(..., unequal_lengths=True), got architecture={architecture!r}."
                )
            inpaint = ", and inpaint fills cells of rows like those of fit" if hasattr(self, "inpaint") else ""
            return (
                f"Input X contains NaN. {type(self).__name__} needs every cell: "
                f"make_pipeline(AutoencoderImputer(), ...) fills them before it{inpaint}."
            )
        if refusal.startswith("could not convert string"):
            hint = self._current._likelihood_for(as_architecture(architecture)).string_hint()
            return None if hint is None else f"{refusal}. {hint}"
        return None

    def _check_values(self, X: np.ndarray, name: str) -> None:
        """Refuse infinite values, values too large for float32, and NaN other than after the end of a series."""
        if self._may_end_early:
            if np.isinf(X).any():
                raise ValueError(f"Input {name} contains infinity.")
            may_be_empty = likelihood_class(self._current._likelihood_name).knows_values
            lengths_of(X, self._series_shape()[0], may_be_empty=may_be_empty)
            X = np.nan_to_num(X)
        check_range(X, name)

    def set_params(self, **params):
        """Set parameters; ``architecture__<name>`` also works if ``architecture`` is a bare tuple.

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
        if nested and "architecture" not in params:
            self.architecture = architecture_object(self.architecture)
        return super().set_params(**params)

    # -- public

    def transform(self, X):
        """Codes of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Streamed
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components), or Streamed
            Codes, in units of the scaled rows and the dtype of ``X`` (float64 unless that is float32). A row's code
            does not depend on the other rows of ``X``. Of :class:`Streamed` rows a stream of blocks of codes.
        """
        check_is_fitted(self)
        return self._encode(self._validate(X, reset=False))

    def _encode(self, X: np.ndarray) -> np.ndarray:
        return map_rows(self.net_.module_.encode, X, self.device_, self._data.prepare).astype(X.dtype, copy=False)

    def inverse_transform(self, X, lengths=None):
        """Decode codes to rows: the mean of the decoder's distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.
        lengths : array-like of int of shape (n_samples,) or None, default=None
            Number of timepoints of each series, with ``Recurrent(unequal_lengths=True)``. Sequences of tokens need
            none, because their end is decoded.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or list of ndarray
            Rows, in the dtype of ``X`` (float64 unless that is float32); with ``lengths`` a list of series. A DataFrame
            after ``set_output(transform="pandas")`` or ``"polars"``.
        """
        check_is_fitted(self)
        if lengths is not None and not self._data.has_missing_cells:
            raise ValueError(
                "lengths needs architecture=Recurrent(..., unequal_lengths=True) and a likelihood of real values, "
                f"got architecture={self._current.architecture!r} and likelihood={self._current._likelihood_name!r}."
            )
        rows = self._decode(check_codes(X, "X", self._n_features_out, type(self).__name__))
        if lengths is None:
            return self._rows_out(rows, like=X)
        n_channels, longest = self._series_shape()
        form = (n_channels, longest) if n_channels > 1 else (*rows.shape[1:-1], longest)
        return trimmed(rows.reshape(-1, *form), check_lengths(lengths, len(rows), longest))

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        likelihood, module = self._data.likelihood, self.net_.module_
        rows = map_rows(lambda z: in_one_thread(likelihood.mean, module.decode(z)), codes, self.device_)
        return self._data.to_rows(rows, codes.dtype)

    @by_block
    def reconstruct(self, X):
        """Encode and decode the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The decoder's mean for each row's code, in the units and the dtype of ``X`` (float64 if ``X`` has integers).
            A DataFrame after ``set_output(transform="pandas")`` or ``"polars"``.
            Series of unequal lengths keep their lengths, and are a list if ``X`` is one. Sequences of tokens end where
            their end is decoded.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        made = self._reconstruct(rows)
        if not self._may_end_early:
            return self._rows_out(made, like=X)
        if self._data.has_missing_cells:
            made = np.where(np.isnan(rows).reshape(made.shape), np.nan, made)
        if not is_list_of_series(X):
            return made
        return trimmed(made, lengths_of(made.reshape(len(made), -1), self._series_shape()[0], may_be_empty=True))

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        likelihood, module = self._data.likelihood, self.net_.module_

        def expected(x):
            return in_one_thread(lambda raw, x: likelihood.mean(raw) * likelihood.total_count(x), module(x).raw, x)

        return self._data.to_rows(map_rows(expected, X, self.device_, self._data.prepare), X.dtype)

    @by_block
    def score_samples(self, X):
        """How well each row is reconstructed; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            For the gaussian likelihood minus the squared error, summed over features, in the units of ``X``.
            For all other likelihoods the log-probability of the row given its code. Penalties are not included.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return cast_within(self._row_scores(X), X.dtype)

    def _row_scores(self, X: np.ndarray) -> np.ndarray:
        """Scores in float64."""
        data, likelihood, module = self._data, self._data.likelihood, self.net_.module_
        _check_rows(likelihood, X)

        def score(raw, x):
            return likelihood.reconstruction_score(*(likelihood.without_missing(raw, x) if missing else (raw, x)))

        def scores(x):
            return in_one_thread(lambda raw, x: score(raw.double(), x.double()), module(x).raw, x)

        missing = data.has_missing_cells
        found = map_rows(scores, X, self.device_, data.prepare)
        if data.is_table:
            return found - data.log_scale(X)
        return found if data.scaling is None else likelihood.unscaled_score(found, data.shared_scale, data.n_scaled(X))

    @averaged_over_blocks
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.positive_only = not likelihood_class(getattr(self, "likelihood", "gaussian")).takes_negative
        tags.input_tags.sparse = hasattr(self, "architecture") and self._reads_sparse
        tags.input_tags.allow_nan = getattr(getattr(self, "architecture", ()), "unequal_lengths", False)
        return tags


def make_standardize(data: RowPreprocessor) -> Standardize | None:
    """The module that standardises the encoder's input; None if rows are scaled before the network."""
    if data.all_scaled or data.likelihood.is_sequential:
        return None
    return Standardize(data.likelihood.n_inputs(data.n_features), data.likelihood.encoder_input)
