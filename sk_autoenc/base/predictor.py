"""What estimators share whose target is not their input: fit with targets, predict, and the baseline beside it."""

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._messages import names_its_class
from sk_autoenc.base.estimator import NeuralEstimator
from sk_autoenc.data.dataset import Rows
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.run import Result


class NeuralPredictor(NeuralEstimator):
    """A model that predicts targets of rows; its module has ``predict`` and ``baseline``."""

    #: Names of the baselines by their numbers.
    _baselines: tuple[str, ...]

    baseline_: str
    is_baseline_: bool
    output_shape_: tuple[int, ...]

    @abstractmethod
    def _to_targets(self, outputs: np.ndarray, dtype: np.dtype) -> Any:
        """Outputs of the network as predictions."""

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.is_baseline_ = result.kept_start
        self.baseline_ = self._baselines[int(result.net.plain_module.baseline.kind)]
        self.output_shape_ = self._data.target_shape

    # -- public

    @names_its_class
    def fit(self, X, y, *, groups=None):
        """Train on rows and their targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, such as images with axes of their own.
        y : array-like of shape (n_samples, ...)
            Their targets.
        groups : array-like of shape (n_samples,) or None, default=None
            A label for each row, such as a person; rows that share one are held out together, so that training is
            evaluated on groups that it has not seen.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y, groups=groups)

    @names_its_class
    def partial_fit(self, X, y):
        """Train for one epoch, at a constant rate and without early stopping.

        The first call sets centre, scale and the baseline from its rows. So these should be a random sample of all
        rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            A chunk of the training rows.
        y : array-like of shape (n_samples, ...)
            Their targets.

        Returns
        -------
        self : object
            The estimator, trained further.
        """
        return super().partial_fit(X, y)

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            Predictions. A row's does not depend on the other rows of ``X``.
        """
        return self._predict(X, by_baseline=self.is_baseline_ if hasattr(self, "net_") else False)

    def baseline_predict(self, X):
        """Predict by the linear baseline alone, at which training started.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            Predictions of the model that ``baseline_`` names.
        """
        return self._predict(X, by_baseline=True)

    def _predict(self, X: Any, *, by_baseline: bool) -> Any:
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return self._to_targets(self._outputs(X, by_baseline=by_baseline), X.dtype)

    def _outputs(self, X: np.ndarray, *, by_baseline: bool) -> np.ndarray:
        """Outputs of the network, or of its baseline, for validated rows."""
        module = self.net_.plain_module
        return map_rows(module.baseline if by_baseline else module.predict, X, self.device_, self._data.prepare)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        return tags
