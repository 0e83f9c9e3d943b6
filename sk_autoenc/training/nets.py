"""The skorch net that trains one module on one objective, at the speed of a loop written by hand."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.callbacks.scoring import ScoringBase
from skorch.utils import TeeGenerator
from torch import Tensor

from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.training.callbacks import EpochTasks, FiniteGuard, HeldOutFigures, RateSchedule, StopTraining
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import RowLosses, Selection

_NOTHING: Mapping[str, Any] = {}
_BY_ROW = RowLosses(patience=1, tol=0.0)

_BATCH_EVENTS = ("on_batch_begin", "on_grad_computed", "on_batch_end")

#: Named terms, and the function ``(output, batch, **arguments)`` that returns them.
Terms = dict[str, Tensor]
Objective = Callable[..., Terms]


def total_per_row(terms: Terms) -> Tensor:
    """The sum of an objective's terms: one number per row, terms of the whole batch added to each."""
    return reduce(torch.add, terms.values())


def _is_wish_to_stop(error: KeyboardInterrupt) -> bool:
    """Whether a skorch callback raised the interrupt in a method of its own: skorch's way to ask for the end.

    A real Ctrl-C arrives in whatever code is running, which is deeper than that for all but moments.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    who = trace.tb_frame.f_locals.get("self") if trace is not None else None
    return isinstance(who, Callback) and not isinstance(who, EpochTasks | FiniteGuard | HeldOutFigures)


def _listens(callback: Callback, event: str) -> bool:
    """Whether a callback has a method of its own for the event."""
    return getattr(getattr(callback, event), "__func__", None) is not getattr(Callback, event)


class ObjectiveNet(NeuralNet):
    """Trains ``module`` on the sum of the terms that ``criterion`` returns, averaged over rows.

    What differs from :class:`skorch.NeuralNet`: rows come as whole batches from a tensor on the device;
    losses stay there until the epoch ends, so nothing waits for the device; every term has its own curve;
    all noise comes from private generators; and Ctrl-C is passed on.

    Parameters
    ----------
    module : nn.Module
        ``module(x, generator)`` returns what the criterion reads; without a generator it draws nothing.
    criterion : callable or None
        The objective, ``(output, batch) -> {name: (batch,) or ()}``; None where players have losses of their own.
    seed : int
        Seeds shuffling, noise, and the fixed noise of validation.
    selection : Selection
        How held-out data are evaluated.
    n_warmup_epochs : int
        Over so many epochs the objective's argument ``kl_weight`` rises to 1; rows are evaluated at 1.
    evaluation_arguments : dict
        Arguments of the module where rows are evaluated.
    """

    #: Callbacks that cannot do their work here, and why.
    _refused: dict[type[Callback], str] = {
        ScoringBase: "reads batches one by one and would see none here; use scikit-learn's ScoringMonitor through "
        "set_callbacks instead."
    }

    callbacks: list[Callback] | None
    callbacks_: list[tuple[str, Callback]]
    _listeners: dict[str, list[Callback]] = {}
    _given_callbacks: list[Callback] = []

    def __init__(
        self,
        module,
        criterion,
        *,
        seed=0,
        selection: Selection = _BY_ROW,
        n_warmup_epochs=0,
        evaluation_arguments: Mapping[str, Any] = _NOTHING,
        **kwargs,
    ):
        super().__init__(module, criterion, train_split=None, verbose=0, **kwargs)
        self.seed = seed
        self.selection = selection
        self.n_warmup_epochs = n_warmup_epochs
        self.evaluation_arguments = evaluation_arguments

    @property
    def plain_module(self) -> Any:
        """The module itself, also where it was compiled; names of its weights are those of an uncompiled one."""
        return getattr(self.module_, "_orig_mod", self.module_)

    @property
    def n_epochs(self) -> int:
        """How many epochs the module was trained for, those before it was saved included."""
        return self.n_earlier_epochs_ + len(self.history)

    # -- what skorch asks for

    @property
    def _default_callbacks(self):
        return []

    def initialize_criterion(self):
        self.criterion_ = self.criterion
        return self

    def initialize(self):
        super().initialize()
        self.shuffling_ = make_generator(self.seed, "shuffling")
        self.noise_ = make_generator(self.seed, "noise", self.device)
        self.n_recorded_ = self.n_earlier_epochs_ = 0
        # A tensor that is filled anew each epoch, so that a compiled step sees no new constant.
        self.annealed_ = {"kl_weight": torch.ones((), device=self.device)} if self.n_warmup_epochs else {}
        return self

    def initialize_callbacks(self):
        for callback in self.callbacks or []:
            callback = callback[-1] if isinstance(callback, tuple) else callback
            if not isinstance(callback, Callback):
                raise ValueError(
                    f"callbacks: {callback!r} is not a skorch callback; scikit-learn's own are set by set_callbacks."
                )
        super().initialize_callbacks()
        for name, callback in self.callbacks_:
            for kind, reason in self._refused.items():
                if isinstance(callback, kind):
                    raise ValueError(f"callbacks: {name}, a {type(callback).__name__}, {reason}")
        return self

    def take_callbacks(self, callbacks: Sequence[Callback] | None) -> None:
        """Work with copies of these from now on; those of the same list as before stay, with what they have seen."""
        given = list(callbacks or [])
        if given == self._given_callbacks:
            return
        before = self.callbacks, self.callbacks_
        try:
            self.callbacks = copy.deepcopy(given)
            self.initialize_callbacks()
        except BaseException:
            self.callbacks, self.callbacks_ = before
            raise
        self._given_callbacks = given

    def check_callbacks(self, validation: Rows | None, ours: Sequence[Callback] = ()) -> None:
        """Refuse a callback that waits for a loss that is not measured, or sets rates that one of ours sets."""
        has_schedule = any(isinstance(callback, RateSchedule) for callback in ours)
        for name, callback in self.callbacks_:
            if has_schedule and isinstance(callback, LRScheduler):
                raise ValueError(
                    f"callbacks: {name} sets the rates of a schedule, and so does learning_rate_schedule; "
                    "use learning_rate_schedule='constant' beside it."
                )
            monitor = getattr(callback, "monitor", None)
            if validation is None and isinstance(monitor, str) and monitor.startswith("valid"):
                raise ValueError(
                    f"callbacks: {name} has monitor={monitor!r}, but this network is trained without held-out rows: "
                    "early_stopping is off, or there are too few rows for more than folds. Monitor 'train_loss'."
                )

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Nothing: skorch would open a row of history per batch."""

    def notify(self, method_name, **cb_kwargs):
        """As in skorch, but every callback hears of the event before one that asked to stop is heeded."""
        getattr(self, method_name)(self, **cb_kwargs)
        stopped_by, listeners = set(), self._listeners.get(method_name)
        for callback in listeners if listeners is not None else [callback for _, callback in self.callbacks_]:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining:
                stopped_by.add(type(callback))
            except KeyboardInterrupt as error:
                if not _is_wish_to_stop(error):
                    raise
                stopped_by.add(type(callback))
        if stopped_by:
            self.stopped_by_ |= stopped_by
            raise StopTraining

    @contextlib.contextmanager
    def _telling_listeners_alone(self):
        """Within an epoch, tell of batches only those callbacks that have a method for it: most have none."""
        callbacks = [callback for _, callback in self.callbacks_]
        self._listeners = {event: [it for it in callbacks if _listens(it, event)] for event in _BATCH_EVENTS}
        try:
            yield
        finally:
            del self._listeners

    def optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """Every optimizer, with its rate in units of ``lr``."""
        return [(self.optimizer_, 1.0)]

    def tune(self, learning_rate: float, weight_decay: float, batch_size: int) -> None:
        """Set what the next call of ``train`` uses; the moments of the optimizer go on."""
        self.lr, self.batch_size = learning_rate, batch_size
        for optimizer, rate in self.optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] = rate * learning_rate  # an earlier schedule has left it near zero
                group["weight_decay"] = weight_decay if group["decays"] else 0.0

    # -- training

    def train(
        self,
        rows: Rows,
        validation: Rows | None = None,
        *,
        epochs: int,
        callbacks: Iterable[Callback] = (),
        module_arguments: Mapping[str, Any] = _NOTHING,
        loss_arguments: Mapping[str, Any] = _NOTHING,
        phase: int = 0,
        n_planned: int | None = None,
    ) -> None:
        """Train for up to ``epochs`` more epochs; ``callbacks`` serve this call alone.

        What changes over training does so over ``n_planned`` epochs, by default all of them.

        ``module_arguments`` and ``loss_arguments`` are those of the module and of the objective in every step of this
        call, not where rows are evaluated. The number of the ``phase`` is recorded with every epoch.

        Raises
        ------
        KeyboardInterrupt
            After the callbacks have restored the weights that they keep.
        """
        callbacks = list(callbacks)
        self.check_callbacks(validation, callbacks)
        self.stopped_by_: set[type] = set()
        self._module_arguments, self._loss_arguments = module_arguments, {**self.annealed_, **loss_arguments}
        own = self.callbacks_
        self.callbacks_ = own + [(type(callback).__name__, callback.initialize()) for callback in callbacks]
        batches = WholeBatches(rows, self.batch_size, self.shuffling_)
        datasets = {"dataset_train": rows, "dataset_valid": validation}
        try:
            try:
                self.notify("on_train_begin", X=rows)
            except StopTraining:
                epochs = 0
            try:
                self._n_planned = n_planned or epochs
                for self._n_done in range(epochs):
                    self.notify("on_epoch_begin", **datasets)
                    self.history.new_batch()  # for skorch's callbacks that look there
                    self.history.record("phase", phase)
                    if self.annealed_:
                        self.annealed_["kl_weight"].fill_(min(1.0, self.n_epochs / (self.n_warmup_epochs + 1)))
                    with self._telling_listeners_alone():
                        self.run_single_epoch(batches, True, "train", self.train_step)
                    if validation is not None:
                        self._record_evaluation(validation)
                    self.notify("on_epoch_end", **datasets)
            except StopTraining:
                pass
            finally:
                # Ours first, one of which restores the best weights.
                self.callbacks_ = self.callbacks_[len(own) :] + own
                with contextlib.suppress(StopTraining):
                    self.notify("on_train_end", X=rows)
        finally:
            self.callbacks_ = own
            self.module_.eval()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass; records the mean of the loss and of every term over rows, with a single wait for the device."""
        self._set_training(training)
        self._n_rows, self._sums = {}, {}
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self._record_losses(len(iterator))

    def train_step(self, batch, **fit_params):
        """One step; without skorch's closure, which only optimizers that are not offered here call twice."""
        terms = self.criterion_(
            self.module_(batch.x, self.noise_, **self._module_arguments), batch, **self._loss_arguments
        )
        means = {name: term.mean() for name, term in terms.items()}
        self._add_to_losses(means, len(batch))
        loss = reduce(torch.add, means.values())
        self._step(self.optimizer_, loss, self.get_all_learnable_params(), batch=batch)
        return {"loss": loss, "y_pred": None}

    def _step(self, optimizer, loss: Tensor, named_parameters: Iterable, moved=None, **seen) -> None:
        """One step of an optimizer down the gradient of a loss; with ``moved`` of these parameters alone.

        Setting gradients to None here costs less than ``zero_grad``, which takes as long as several operations of a
        small network.
        """
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        if moved is None or moved:  # of a player all of whose parameters are frozen, none
            loss.backward(inputs=moved)
        self.notify("on_grad_computed", named_parameters=TeeGenerator(iter(named_parameters)), training=True, **seen)
        optimizer.step()

    def _add_to_losses(self, means: Terms, n_rows: int) -> None:
        # Sums in place: a tensor kept per batch would pin the heap between the large ones that come and go.
        for name, mean in means.items():
            if name not in self._sums:
                self._n_rows[name], self._sums[name] = 0, torch.zeros((), dtype=torch.float64, device=mean.device)
            self._n_rows[name] += n_rows
            self._sums[name].add_(mean.detach(), alpha=n_rows)

    def _record_losses(self, n_batches: int) -> None:
        means = torch.stack([sums / self._n_rows[name] for name, sums in self._sums.items()]).tolist()
        total = math.fsum(means)
        earlier = [row["train_loss"] for row in self.history[:-1] if "train_loss" in row]
        self.history.record("train_batch_count", n_batches)
        self.history.record("train_loss", total)
        self.history.record("train_loss_best", all(total < loss for loss in earlier))
        for name, mean in zip(self._sums, means, strict=True):
            self.history.record(f"train_{name}", mean)

    # -- evaluation

    def losses(self, rows: Rows) -> Tensor:
        """The objective of every row, with noise from a stream that starts anew; ``(n,)``, float64, on the CPU."""
        if self.criterion is None:
            raise ValueError(
                "Held-out rows have no losses of their own here, because players have losses instead of one objective; "
                "select by WholeFigure, or train without held-out rows."
            )
        noise = make_generator(self.seed, "validation", self.device)
        self._set_training(False)
        with torch.no_grad():
            losses, start = torch.empty(len(rows), dtype=torch.float64, device=rows.data.device), 0
            for batch in WholeBatches(rows, self.batch_size):
                output = self.module_(batch.x, noise, **self.evaluation_arguments)
                found = total_per_row(self.criterion_(output, batch))
                if found.ndim == 0:
                    raise ValueError(
                        "The objective has terms of whole batches alone, so held-out rows have no losses of their own; "
                        "return a term of shape (n,), or select by WholeFigure."
                    )
                losses[start : start + len(batch)] = found
                start += len(batch)
        return losses.cpu()

    def _record_evaluation(self, validation: Rows) -> None:
        figures = self.evaluation_ = self.selection.evaluate(self, validation)
        earlier = [row["valid_criterion"] for row in self.history[:-1] if "valid_criterion" in row]
        criterion = float(self.selection.criterion(figures))
        self.history.record("valid_loss", float(figures.mean()))
        self.history.record("valid_criterion", criterion)
        self.history.record("valid_loss_best", all(criterion < value for value in earlier))
        for name, value in self.selection.qualities(self, validation, figures).items():
            self.history.record(f"quality_{name}", value)

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Decay what multiplies inside the network; not biases, and not the linear path, which is the baseline."""
        named_parameters = list(named_parameters)
        _, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if not kwargs.get("weight_decay"):  # one group is one fused call per step instead of two
            return [[{"params": [parameter for _, parameter in named_parameters], "decays": False}]], kwargs
        decayed, kept = [], []
        for name, parameter in named_parameters:
            (kept if parameter.ndim < 2 or "linear_path" in name else decayed).append(parameter)
        groups = [
            {"params": decayed, "decays": True},
            {"params": kept, "decays": False, "weight_decay": 0.0},
        ]
        return [[group for group in groups if group["params"]]], kwargs
