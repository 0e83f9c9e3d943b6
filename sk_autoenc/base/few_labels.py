"""What models of few labels share: targets that may be missing, held-out labels, predictions."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, RegressorMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import names_its_class
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.data.baseline import SHARES, stratified_folds
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.graph import N_NEIGHBORS
from sk_autoenc.data.labels import LabelledRows, LabelReader, Targets, kind_of, read_targets
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.splits import FEW_ROWS, MIN_ROWS, N_FOLDS, Split
from sk_autoenc.nn.few_labels import BaselineModel
from sk_autoenc.training.inference import LARGE_BLOCK, map_rows
from sk_autoenc.training.plan import Phase
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import Selection

#: Standard errors by which held-out labels must speak for the network: the one-standard-error rule.
_SIGNIFICANT = 1.0

#: Steps that ``max_iter="auto"`` stands for, and epochs at least.
N_STEPS, _LEAST_EPOCHS = 1500, 5

#: Length of the last phase, in which held-out labels are learned, too, as a share of that before.
_FINAL_SHARE = 0.3


@dataclass(frozen=True)
class LabelScores(Selection):
    r"""By the Brier score of each held-out label, :math:`\sum_k (p_k - y_k)^2`, or the squared error of its value.

    It is proper (Gneiting and Raftery 2007) and bounded, so that no single row decides. Before training the baseline is
    evaluated. The network replaces it by the one-standard-error rule (Breiman et al. 1984, section 3.4.3): the mean
    falls by more than its standard error.
    """

    @property
    def threshold_mode(self) -> str:
        return "abs"

    def evaluate(self, net: Any, held_out: LabelledRows) -> Tensor:
        module, was_training = net.plain_module, net.plain_module.training
        module.eval()
        answer = module.answer if net.n_epochs else module.baseline_answer
        with torch.no_grad():
            parts = [
                (answer(held_out.data[some]) - held_out.target[some]).square().sum(-1)
                for some in held_out.labelled.split(LARGE_BLOCK)
            ]
        module.train(was_training)
        return torch.cat(parts).double().cpu()

    def criterion(self, figures: Tensor) -> Tensor:
        return figures.mean(-1)

    def is_significant(self, before: Tensor, after: Tensor) -> bool:
        fall = before - after
        if len(fall) < 2 or not after.isfinite().all():
            return False
        return bool(fall.mean() > _SIGNIFICANT * fall.std() / len(fall) ** 0.5)


def _no_chunks(model: Any) -> bool:
    raise AttributeError(
        f"{type(model).__name__} has no partial_fit, because a graph needs all rows; use fit, with warm_start=True to "
        "train further."
    )


class FewLabelPredictor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    """A model of rows and of the targets of few of them; its module is a ``FewLabelNetwork``."""

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "baseline": [StrOptions(set(SHARES))],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
    }

    #: Whether targets are classes.
    _is_class: bool

    n_components_: int

    # -- what plans share

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        X = super()._validate(X, reset=reset, finite=finite)
        if not reset and self._data.rows.likelihood.knows_values:
            self._data.rows.likelihood.check(X)  # the encoder has weights only for the categories of the fit
        return X

    def _read(self, request: FitRequest) -> Targets | None:
        """The targets of a fit; None if a model is loaded."""
        if request.X is None:
            return None
        return read_targets(
            request.y, len(request.X), type(self).__name__, is_class=self._is_class, warns=request.is_first
        )

    def _reader(
        self,
        request: FitRequest,
        targets: Targets | None,
        rows: RowPreprocessor,
        *,
        teaches: bool,
        is_fitted: bool = False,
    ) -> LabelReader:
        """What reads rows and targets: that of the fit that goes on, or a new one."""
        kind = kind_of(targets) if request.data is None and targets is not None else request.data.kind
        return LabelReader(
            rows,
            kind=kind,
            owner=type(self).__name__,
            choice=self.baseline,
            seed=request.seed,
            teaches=teaches,
            is_fitted=is_fitted,
        )

    def _splits_of_labels(self, request: FitRequest, targets: Targets | None) -> tuple[Split, ...]:
        """Labels to train on, with all rows that have none, and labels to hold out.

        None are held out where they are too few; else four folds, so that every label helps to decide; one part where
        there are many.
        """
        if targets is None or not self.early_stopping or (known := np.flatnonzero(targets.known)).size < MIN_ROWS:
            return ()
        is_large = len(known) >= FEW_ROWS
        if not request.is_first and (request.seen_all or not is_large):
            return ()
        generator = make_generator(request.seed, "split")
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        n_parts = max(2, round(1 / self.validation_fraction)) if is_large else N_FOLDS
        parts = stratified_folds(targets.values[known], n_parts, rng)
        splits = tuple(_without(len(targets.values), known[parts == part]) for part in range(n_parts))
        return splits[:1] if is_large else splits

    def _label_phases(self, request: FitRequest, splits: tuple[Split, ...], **first: Any) -> tuple[Phase, ...]:
        """Training, and after one split a last phase on all labels, with falling rates."""
        epochs = self._n_epochs(request)
        phase = Phase(epochs, self.learning_rate_schedule, **first)
        return (phase, Phase(max(1, int(_FINAL_SHARE * epochs)), "final", **first)) if len(splits) == 1 else (phase,)

    def _n_epochs(self, request: FitRequest) -> int:
        """Number of epochs; ``"auto"`` is as many as make 1500 steps, five at least."""
        if not isinstance(self.max_iter, str):
            return self.max_iter
        n_rows = 1 if request.X is None else len(request.X)
        return max(_LEAST_EPOCHS, -(-N_STEPS // max(1, n_rows // self._optimizer_options().rows_per_step(n_rows))))

    def _selection(self) -> LabelScores:
        return LabelScores(patience=1, tol=0.0, stops=False)

    def _baseline_model(self, data: LabelReader) -> BaselineModel:
        return BaselineModel(data.rows.n_features, data.n_outputs, is_class=data.is_class, n_neighbors=N_NEIGHBORS)

    # -- results

    @abstractmethod
    def _decided(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions of outputs of the module."""

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        assert isinstance(rows, LabelledRows)
        self.is_baseline_ = result.kept_start
        self.baseline_share_ = float(self.net_.plain_module.baseline.share)
        self.n_components_ = self._length_of_codes()
        self.transduction_ = self._decided(np.concatenate(list(self._outputs_of(rows))))
        known = rows.known.cpu().numpy()
        self.transduction_[known] = self._decided(rows.target.cpu().numpy()[known])

    @abstractmethod
    def _length_of_codes(self) -> int:
        """Length of a code."""

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _outputs_of(self, rows: LabelledRows) -> Iterator[np.ndarray]:
        with torch.inference_mode():
            for some in rows.index.split(LARGE_BLOCK):
                yield self.net_.plain_module.result(rows.data[some]).cpu().numpy()

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        return map_rows(self.net_.plain_module.result, rows, self.device_, self._data.prepare)

    # -- public

    @names_its_class
    def fit(self, X, y):
        """Train on the rows of ``X`` and the targets of some of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, with targets and without, such as images with axes of their own.
        y : array-like of shape (n_samples,)
            Targets. Rows without one have -1, NaN or None as a class, or NaN as a value; strings beside these need
            ``dtype=object``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y)

    @available_if(_no_chunks)
    @names_its_class
    def partial_fit(self, X, y=None):
        """Not available, because the graph needs all rows."""

    def fit_transform(self, X, y=None):
        """Fit, and codes of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Targets, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_components_)
            Codes.
        """
        return self.fit(X, y).transform(X)

    def transform(self, X):
        """Codes of the rows of ``X``, of the encoder as the labels have changed it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components_)
            Codes, in the dtype of ``X`` (float64 unless that is float32). A row's code does not depend on the other
            rows of ``X``.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        codes = map_rows(self.net_.plain_module.encode, rows, self.device_, self._data.prepare)
        return codes.astype(rows.dtype, copy=False)

    def predict(self, X):
        """Predict the target of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            The most probable class, or the value. A row's prediction does not depend on the other rows of ``X``.
        """
        return self._decided(self._outputs(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.target_tags.required = True
        return tags


class FewLabelClassifier(ClassifierMixin, FewLabelPredictor):
    """Classes."""

    _is_class = True

    classes_: np.ndarray

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.classes_ = self._data.kind["classes"]
        super()._describe(result, rows, whole=whole)

    def _decided(self, outputs: np.ndarray) -> np.ndarray:
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``, float64; each row sums to 1.
        """
        return self._outputs(X)


class FewLabelRegressor(RegressorMixin, FewLabelPredictor):
    """Values."""

    _is_class = False

    def _decided(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0].astype(np.float64) * self._data.kind["scale"] + self._data.kind["center"]


def _without(n_rows: int, held_out: np.ndarray) -> Split:
    """All other rows, and these."""
    is_held_out = np.zeros(n_rows, dtype=bool)
    is_held_out[held_out] = True
    return torch.from_numpy(np.flatnonzero(~is_held_out)), torch.from_numpy(np.flatnonzero(is_held_out))
