"""What classifiers share that also draw rows of a class."""

from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._compat import Interval, StrOptions, in_chosen_container
from sk_autoenc.architectures import Architecture, architecture_object, as_architecture
from sk_autoenc.base.autoencoder import make_standardize
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.few_labels import FewLabelClassifier
from sk_autoenc.base.sampler import BLOCK, sampling_generator
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.labels import LabelReader, Targets, column_of
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.splits import Split
from sk_autoenc.data.validation import check_codes
from sk_autoenc.initialization.few_labels import BaselineStart
from sk_autoenc.initialization.start import MeanStart
from sk_autoenc.likelihoods import LIKELIHOODS, Gaussian, Likelihood, as_likelihood, likelihood_class
from sk_autoenc.training.inference import in_one_thread, map_rows
from sk_autoenc.training.run import Result


class Resolved(NamedTuple):
    """What parameters and rows say, worked out once for a plan."""

    architecture: Architecture
    data: LabelReader
    targets: Targets | None
    splits: tuple[Split, ...]


class GenerativeClassifier(FewLabelClassifier):
    """A classifier whose module is a ``ClassGenerator``."""

    _parameter_constraints: dict = {
        **FewLabelClassifier._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions(set(LIKELIHOODS)), Likelihood],
    }

    #: Share of each class among the labels, from which ``sample`` draws.
    class_prior_: np.ndarray

    # -- what plans share

    def _resolve(self, request: FitRequest) -> Resolved:
        architecture = as_architecture(self.architecture)
        architecture.check()
        if architecture.code_activation != "identity":
            raise ValueError(
                f"architecture: code_activation must be 'identity' in models with a prior, got "
                f"{architecture.code_activation!r}."
            )
        if architecture.unequal_lengths or architecture.reads_sequences:
            raise ValueError(
                "architecture must read rows of one length that are no sequences, as the baseline does, got "
                f"{self.architecture!r}."
            )
        targets = self._read(request)
        rows = self._rows_of(request, self._likelihood_for(architecture))
        data = self._reader(request, targets, rows, teaches=False)
        return Resolved(architecture.bind(request.shape), data, targets, self._splits_of_labels(request, targets))

    def _likelihood_for(self, architecture: Architecture) -> Likelihood:
        """The likelihood of rows; ``"gaussian"`` has one variance, as each row is coded by itself."""
        if self.likelihood == "gaussian":
            return Gaussian("shared", correlated=False)
        return as_likelihood(self.likelihood)

    def _rows_of(self, request: FitRequest, likelihood: Likelihood) -> RowPreprocessor:
        """What reads rows: that of the fit that goes on, or a new one."""
        if request.data is not None:
            if request.X is not None:
                request.data.rows.likelihood.check(request.X)
            return request.data.rows
        assert request.X is not None, "a loaded model has a preprocessor"
        likelihood = likelihood.for_start(is_linear=False, may_end_early=False)
        likelihood.check(request.X)
        return RowPreprocessor(
            likelihood.resolve(request.X),
            request.shape,
            request.X.dtype.name,
            by_feature=likelihood.scales_by_feature,
        )

    def _start(self, data: LabelReader) -> BaselineStart:
        return BaselineStart(MeanStart(data.rows))

    def _options(self, resolved: Resolved) -> dict[str, Any]:
        """Arguments of the module that all have: decoder, baseline and likelihood."""
        rows, n_classes = resolved.data.rows, resolved.data.n_outputs
        n_outputs = rows.likelihood.n_outputs(rows.n_features, noise=True)
        n_read = self.n_components + n_classes
        return {
            "decoder": resolved.architecture.make_decoder(n_read, n_outputs, linear_path=False, bounded=False),
            "baseline": self._baseline_model(resolved.data),
            "likelihood": rows.likelihood,
            "n_features": rows.n_features,
            "standardize": make_standardize(rows),
            "n_classes": n_classes,
        }

    def _n_inputs(self, resolved: Resolved) -> int:
        return resolved.data.rows.likelihood.n_inputs(resolved.data.rows.n_features)

    def _shares(self, resolved: Resolved) -> np.ndarray:
        """Share of each class among the labels, each of which counts once more; uniform if a model is loaded."""
        counts = np.ones(resolved.data.n_outputs)
        if resolved.targets is not None:
            counts = counts + resolved.data.encode(resolved.targets).sum(axis=0)
        return counts / counts.sum()

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        counts = 1.0 + rows.target[rows.known].sum(0).double().cpu().numpy()  # type: ignore[attr-defined]
        self.class_prior_ = counts / counts.sum()

    def _length_of_codes(self) -> int:
        return self._parameters.n_components

    # -- public

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

    def sample(self, n_samples=1, random_state=None, *, y=None, mean=False):
        """Draw rows and their classes.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with ``y``, number for each of its entries.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        y : array-like of shape (n,) or None, default=None
            Classes to draw rows of, in this order; None draws classes as often as they are among the labels.
        mean : bool, default=False
            Whether to return the decoder's mean for each code, without noise.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or (n * n_samples, n_features)
            Rows in the units and the dtype of the training rows; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``.
        y : ndarray
            Class of each row.
        """
        check_is_fitted(self)
        generator = sampling_generator(n_samples, random_state)
        if y is None:
            weights = torch.from_numpy(self.class_prior_)
            drawn = torch.multinomial(weights, n_samples, replacement=True, generator=generator).numpy()
        else:
            drawn = np.repeat(self._places(y), n_samples)
        codes = torch.randn(len(drawn), self.n_components_, generator=generator)
        indicators = torch.eye(len(self.classes_))[torch.from_numpy(drawn)]
        module, likelihood, parts = self.net_.plain_module, self._data.rows.likelihood, []
        with torch.inference_mode():
            for code, of_class in zip(codes.split(BLOCK), indicators.split(BLOCK), strict=True):
                raw = module.observe(code.to(self.device_), of_class.to(self.device_))
                if mean:
                    parts.append(likelihood.mean(likelihood.location(raw)).cpu())
                else:  # drawn on the CPU, so that a seed gives the same noise on every device
                    parts.append(likelihood.draw(raw.cpu(), generator).cpu())
        rows = self._data.rows.to_rows(torch.cat(parts).numpy(), np.dtype(self._data.rows.dtype))
        return in_chosen_container(self, rows), self.classes_[drawn]

    def inverse_transform(self, Z, y=None):
        """Decode codes to rows of the given classes: the mean of the decoder's distribution.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)
            Codes.
        y : array-like of shape (n_samples,) or None, default=None
            Classes; None takes the mean over classes, by their shares of the training rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows, in the dtype of ``Z`` (float64 unless that is float32). A row does not depend on the other codes.
        """
        check_is_fitted(self)
        codes = check_codes(Z, "Z", self.n_components_, type(self).__name__)
        if y is None:
            each = (self._decoded(codes, np.full(len(codes), place)) for place in range(len(self.classes_)))
            made = sum(share * rows for share, rows in zip(self.class_prior_, each, strict=True))
            return np.asarray(made, dtype=codes.dtype)
        places = self._places(y)
        if len(places) != len(codes):
            raise ValueError(f"y must have one class for each of the {len(codes)} codes, got {len(places)}.")
        return self._decoded(codes, places)

    def _decoded(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Rows of codes and of numbers of classes."""
        both = np.column_stack([codes, np.eye(len(self.classes_), dtype=codes.dtype)[places]])
        made = map_rows(partial(self._mean_of, self.n_components_), both, self.device_)
        return self._data.rows.to_rows(made, codes.dtype)

    def _mean_of(self, n: int, both: torch.Tensor) -> torch.Tensor:
        likelihood = self._data.rows.likelihood
        raw = self.net_.plain_module.observe(both[:, :n], both[:, n:])
        return in_one_thread(likelihood.mean, likelihood.location(raw))

    def _places(self, y: Any) -> np.ndarray:
        """The numbers of given classes in ``classes_``."""
        found = column_of(y)
        if len(unknown := np.setdiff1d(found, self.classes_)):
            raise ValueError(
                f"y holds {unknown[:1].tolist()[0]!r}, but the classes of the fit were {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = not likelihood_class(self.likelihood).takes_negative
        return tags
