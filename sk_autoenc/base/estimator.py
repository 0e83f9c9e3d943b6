"""The way from parameters to a trained model: ``fit`` makes a plan, runs it, and describes what came out.

An estimator defines two methods. ``_make_plan`` reads the parameters, once, and returns a frozen ``Plan``. It is called
on a copy of the parameters, never on the fitted estimator. ``_describe`` turns the result into fitted attributes.
"""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data
from skorch.callbacks import Callback

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc._messages import names_its_class, warn
from sk_autoenc.base.state import FittedState
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.splits import Split, make_splits
from sk_autoenc.data.streamed import Streamed, Survey, as_streamed, survey
from sk_autoenc.data.validation import as_array, check_groups, check_range, flattened, keep_shape, refuse_sparse
from sk_autoenc.training.builder import (
    OPTIMIZERS,
    BatchInForce,
    check_net_params,
    lack_of_memory_explained,
    resolve_device,
)
from sk_autoenc.training.callbacks import SklearnCallbackBridge
from sk_autoenc.training.imports import import_for_training
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.parallel import agreed
from sk_autoenc.training.plan import OptimizerOptions, Phase, Plan
from sk_autoenc.training.randomness import draw_seed, make_generator
from sk_autoenc.training.run import Observer, Result, run
from sk_autoenc.training.schedules import SCHEDULES

#: Entries of the net's history that are no losses of terms.
_NO_TERMS = {"train_loss", "train_loss_best", "train_batch_count"}


@dataclass(frozen=True)
class FitRequest:
    """The arguments and the state of one call of ``fit`` or ``partial_fit``, beside the estimator's parameters.

    Parameters
    ----------
    seed : int
        Seeds every draw.
    X : ndarray or None
        Validated rows; None if a model is loaded. Of a stream those that are in memory.
    y : object
        Targets, for estimators that have them.
    groups : ndarray or None
        The number of each row's group; rows of one group are held out together.
    shape : tuple of int
        Shape of a row in ``X``.
    columns : list of Column or None
        What is known of the columns of a data frame; ``X`` then holds its numbers, and numbers of levels.
    data : object or None
        The preprocessor of the fit that is continued, or that of a table; else None.
    n_components : int or None
        Length of the codes of the fit that is continued, or of the model that is loaded, if data have set it.
    is_first : bool
        Whether training begins at the plan's start, with which the network is then compared.
    is_chunk : bool
        Whether ``X`` is one chunk of the rows, for ``partial_fit``.
    seen_all : bool
        Whether the model has been trained on rows that were held out.
    stream : Survey or None
        The stream, if the rows are one that is not in memory.
    """

    seed: int
    X: np.ndarray | None = None
    y: Any = None
    groups: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    columns: Any = None
    data: Any = None
    n_components: int | None = None
    is_first: bool = True
    is_chunk: bool = False
    seen_all: bool = False
    stream: Survey | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows; 1 if a model is loaded."""
        if self.stream is not None:
            return self.stream.n_rows
        return 1 if self.X is None else self.X.shape[0]  # sparse rows have no length


def bound_to_rows(architecture: Any, request: FitRequest, name: str = "architecture") -> Any:
    """The architecture for rows of the request's shape; new rows that may be meant otherwise give a warning."""
    try:
        bound = architecture.bind(request.shape)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if request.X is not None and request.data is None and (doubt := bound.doubt(request.shape)) is not None:
        warn(doubt)
    return bound


class NeuralEstimator(CallbackSupportMixin, FittedState):
    """The only ``fit`` of a net in the library."""

    _parameter_constraints: dict = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(set(SCHEDULES))],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    input_shape_: tuple[int, ...]

    #: ``max_iter="auto"``: the largest number of epochs, where there is one.
    _most_epochs: int | None = None

    # -- hooks of an estimator

    @abstractmethod
    def _make_plan(self, request: FitRequest) -> Plan:
        """The plan, from parameters and request alone; ``ValueError`` for parameters that cannot be combined."""

    @abstractmethod
    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        """Set the fitted attributes that need the trained network; ``whole`` is False if the rows are one chunk."""

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        """Rows as a 2-D array of float32 or float64. ``finite``: refuse NaN and infinity.

        Arrays with more axes are flattened. ``input_shape_`` keeps the shape of a row, in which rows are returned.
        """
        if (stream := as_streamed(X)) is not None:
            raise TypeError(
                f"X must be rows in memory for {type(self).__name__}, got {stream!r}; AutoencoderTransformer, "
                "VAETransformer and AAETransformer read streams in fit, partial_fit, transform and scores."
            )
        if not self._reads_sparse:
            refuse_sparse(X, type(self).__name__)
        X, shape = flattened(as_array(X))
        options = {"accept_sparse": "csr", "ensure_all_finite": finite}
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, **options)
        X = csr_array(X) if issparse(X) else X
        if finite:
            check_range(X, "X")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        return X

    #: Whether rows may be a stream.
    _reads_streams = False

    def _validate_stream(self, X: Streamed, seed: int, groups: Any, *, reset: bool) -> Survey:
        """The first pass over a stream, whose first block sets number, names and shape of the columns."""
        if groups is not None:
            raise ValueError(f"groups must be None where X is a stream, got {type(groups).__name__}.")
        first = next(iter(X), np.empty((0, 1)))
        self._check_first_block(first)
        self._validate(first, reset=reset)
        return survey(X, seed, self._check_block)

    def _check_first_block(self, X: Any) -> None:
        """Refuse streams that the model does not take."""

    def _check_block(self, X: np.ndarray) -> None:
        """Refuse rows of a stream that the model does not take."""

    @property
    def _reads_sparse(self) -> bool:
        """Whether rows may be a sparse matrix, of which batches alone become dense."""
        return False

    # -- public

    @names_its_class
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, groups=None):
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, which may have more axes, such as images. float32 and float64 are kept; other numbers
            become float64. Transformers also take :class:`Streamed` rows.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,) or None, default=None
            A label for each row, such as a person; rows that share one are held out together, so that training is
            evaluated on groups that it has not seen.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        # Epochs, and the folds before them.
        n_epochs = self.max_iter if isinstance(self.max_iter, Integral) else self._most_epochs
        root = self._init_callback_context(max_subtasks=None if n_epochs is None else n_epochs + 1)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        fresh = not (self.warm_start and hasattr(self, "net_"))
        self._fit(X, y, groups, fresh=fresh, is_chunk=False, observer=LiveFit(self, root, X, y))
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)
        return self

    @names_its_class
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on the rows of ``X``, at a constant rate and without early stopping.

        The first call sets centre, scale, range and the start of the network from its rows. So these should be a random
        sample of all rows. The step size is ``learning_rate``; lower it before you continue a ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A chunk of the training rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator, trained further.
        """
        self._fit(X, y, None, fresh=not hasattr(self, "net_"), is_chunk=True, observer=LiveFit(self))
        return self

    # -- the flow

    def _fit(self, X, y, groups, *, fresh: bool, is_chunk: bool, observer: "LiveFit") -> None:
        """Validate, plan, run, describe."""
        batch = BatchInForce(self.batch_size)
        with lack_of_memory_explained(self.device, batch), self._rolled_back_on_error(fresh):
            if fresh:
                self._forget()
            else:
                self._check_continuation()
            check_net_params(self.net_params)
            parameters = self._copy_of_parameters()
            seed = agreed(draw_seed(self.random_state)) if fresh else self._seed
            stream = as_streamed(X) if self._reads_streams else None
            found = None if stream is None else self._validate_stream(stream, seed, groups, reset=fresh)
            X = self._validate(X, reset=fresh) if found is None else found.rows
            is_first = fresh or (self._kept_start and not is_chunk)
            request = FitRequest(
                seed=seed,
                X=X,
                stream=None if found is None or found.is_whole else found,
                y=y,
                groups=check_groups(groups, X.shape[0]),
                shape=self.input_shape_,
                columns=getattr(self, "columns_", None),
                data=getattr(self, "_data", None),  # of a fresh fit only where validation has made it: of a table
                n_components=None if fresh else getattr(self, "n_components_", None),
                is_first=is_first,
                is_chunk=is_chunk,
                seen_all=self._seen_all,
            )
            plan = parameters._make_plan(request)
            if fresh:
                self.device_ = resolve_device(self.device)
                # Nothing is fitted to rows that are held out from the final network.
                chosen = plan.splits[0][0].numpy() if len(plan.splits) == 1 else np.arange(X.shape[0])
                plan.data.fit(X, chosen, y)
                if request.stream is not None:
                    moments = request.stream.moments.without(X[: len(X) - len(chosen)])  # held-out rows come first
                    plan.data.fit_moments(moments.mean, moments.variance)
            batch.size = plan.optimizer.rows_per_step(request.n_rows)
            rows = (
                plan.data.dataset(X, self.device_, y)
                if request.stream is None
                else plan.data.streamed(request.stream, self.device_)
            )
            self._parameters, self._data, self._seed = parameters, plan.data, request.seed
            net = None if is_first else self.net_
            if net is not None and self._kept_start:
                plan.start.resume(net.plain_module)
            import_for_training()
            result = run(
                plan,
                rows,
                seed=self._seed,
                device=self.device_,
                net=net,
                callbacks=self.callbacks,
                observer=observer,
            )
            self._kept_start, self._seen_all = result.kept_start, self._seen_all or result.seen_all
            self._describe(result, rows.sample(), whole=not is_chunk)
        if result.fell_behind:
            warn(
                "Training made the network worse than the linear model at which it started, on the training rows "
                "themselves, so the linear model is the result (linear_ is True). Lower "
                f"learning_rate={self.learning_rate}, or remove columns that others determine.",
                ConvergenceWarning,
            )
        if result.interrupted:  # the model has the best weights so far
            raise KeyboardInterrupt

    def _plan_for_loading(self) -> Plan:
        n_components = getattr(self, "n_components_", None)
        request = FitRequest(self._seed, shape=self.input_shape_, data=self._data, n_components=n_components)
        return self._parameters._make_plan(request)

    def _splits(self, request: FitRequest) -> tuple[Split, ...]:
        """Rows to train on and rows to hold out, by the shared parameters."""
        if request.X is None or request.is_chunk or not self.early_stopping:
            return ()
        return self._make_splits(request)

    def _make_splits(self, request: FitRequest) -> tuple[Split, ...]:
        if request.stream is not None:
            is_seen = request.seen_all and not request.is_first
            return () if is_seen else (request.stream.split(self.validation_fraction),)
        return make_splits(
            request.n_rows,
            self.validation_fraction,
            make_generator(request.seed, "split"),
            is_first=request.is_first,
            seen_all=request.seen_all,
            groups=request.groups,
        )

    def _optimizer_options(self) -> OptimizerOptions:
        return OptimizerOptions(
            self.optimizer, self.learning_rate, self.weight_decay, self.batch_size, check_net_params(self.net_params)
        )

    def _n_epochs(self, request: FitRequest) -> int:
        """Largest number of epochs of a fit; for ``"auto"``, many rows fill the number of steps in fewer of them."""
        if self._most_epochs is None or not isinstance(self.max_iter, str):
            return self.max_iter
        splits = self._splits(request)
        n_rows = request.n_rows - (len(splits[0][1]) if len(splits) == 1 else 0)
        return self._optimizer_options().epochs_of(n_rows, self._most_epochs)

    def _phases(self, request: FitRequest, *, final: Phase | None = None, **first: Any) -> tuple[Phase, ...]:
        """One phase of ``max_iter`` epochs, which a final phase shortens; one epoch for a chunk."""
        if request.is_chunk:
            return (Phase(1, **first),)
        epochs = self._n_epochs(request) - (0 if final is None else final.epochs)
        phase = Phase(epochs, self.learning_rate_schedule, **first)
        return (phase,) if final is None or not final.epochs else (phase, final)


class LiveFit(Observer):
    """Sets fitted attributes while a fit runs (net, curves), and reports its epochs to scikit-learn's callbacks."""

    def __init__(self, estimator: NeuralEstimator, root: Any = None, X: Any = None, y: Any = None):
        self.estimator, self.root, self.seen = estimator, root, {"X": X, "y": y}

    def net_is_made(self, net: ObjectiveNet) -> None:
        self.estimator.net_ = net

    def attributes(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self.estimator, name, value)

    def callbacks(self) -> list[Callback]:
        if self.root is None:
            return []
        return [SklearnCallbackBridge(self.root, self.record, estimator=self.estimator, **self.seen)]

    @contextlib.contextmanager
    def folds(self, n_epochs: int) -> Iterator[Callable[[], None]]:
        if self.root is None:
            yield lambda: None
            return
        folds = self.root.subcontext(task_name="folds", max_subtasks=n_epochs)
        folds.call_on_fit_task_begin(estimator=self.estimator, **self.seen)

        def epoch_is_done() -> None:
            """An epoch of networks that only judge: there is no fitted model for callbacks."""
            epoch = folds.subcontext(task_name="epoch of folds")
            epoch.call_on_fit_task_begin(estimator=self.estimator, **self.seen)
            epoch.call_on_fit_task_end(estimator=self.estimator, **self.seen)

        yield epoch_is_done
        folds.call_on_fit_task_end(estimator=self.estimator, **self.seen)

    def held_out_curve(self, losses: Sequence[float]) -> None:
        self.estimator.validation_loss_curve_ = list(losses)

    def record(self, net: ObjectiveNet) -> None:
        """Append the epochs that the net has finished since the last call to the loss curves."""
        epochs = [epoch for epoch in net.history[net.n_recorded_ :] if "train_loss" in epoch]
        net.n_recorded_ = len(net.history)
        terms = {name for epoch in epochs for name in epoch if name.startswith("train_")} - _NO_TERMS
        model = self.estimator
        curves = getattr(model, "loss_curves_", {})
        model.loss_curve_ = getattr(model, "loss_curve_", []) + [epoch["train_loss"] for epoch in epochs]
        # Later phases train on the held-out rows, so the losses that they record of these are left out.
        model.validation_loss_curve_ = getattr(model, "validation_loss_curve_", []) + [
            epoch["valid_loss"] for epoch in epochs if "valid_loss" in epoch and epoch["phase"] == 0
        ]
        model.loss_curves_ = {
            name: curves.get(name, []) + [epoch[f"train_{name}"] for epoch in epochs]
            for name in sorted({*curves, *(term.removeprefix("train_") for term in terms)})
        }
        qualities = [{name: epoch[name] for name in epoch if name.startswith("quality_")} for epoch in epochs]
        if any(qualities) or hasattr(model, "quality_curves_"):
            curves = getattr(model, "quality_curves_", {})
            model.quality_curves_ = {
                name: curves.get(name, []) + [found[f"quality_{name}"] for found in qualities if found]
                for name in sorted({*curves, *(key.removeprefix("quality_") for found in qualities for key in found)})
            }
        model.n_iter_ = len(model.loss_curve_)
