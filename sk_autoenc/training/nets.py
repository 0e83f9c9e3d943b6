"""The skorch net that trains one module on one objective, as fast as a hand-written loop."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.callbacks.scoring import ScoringBase
from skorch.utils import TeeGenerator
from torch import Tensor

from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.training.callbacks import FiniteGuard, HeldOutFigures, RateSchedule, SklearnCallbackBridge, StopTraining
from sk_autoenc.training.parallel import Share, agreed, rank
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import BY_ROW, Selection

_NOTHING: Mapping[str, Any] = {}

#: Held-out rows are evaluated in blocks of this size, or of the size of a batch if that is larger.
_EVALUATED_ROWS = 256

_BATCH_EVENTS = ("on_batch_begin", "on_grad_computed", "on_batch_end")

#: Named terms, and the function ``(output, batch, **arguments)`` that returns them.
Terms = dict[str, Tensor]
Objective = Callable[..., Terms]


def total_per_row(terms: Terms) -> Tensor:
    """The sum of an objective's terms, one number per row; terms of the batch are added to each row."""
    return reduce(torch.add, terms.values())


def _is_stop_request(error: KeyboardInterrupt) -> bool:
    """Whether a skorch callback raised the interrupt, which is how skorch's callbacks stop training.

    The innermost frame of the traceback is then a method of a callback. After Ctrl-C it is nearly always deeper.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    who = trace.tb_frame.f_locals.get("self") if trace is not None else None
    return isinstance(who, Callback) and not isinstance(who, SklearnCallbackBridge | FiniteGuard | HeldOutFigures)


def _overrides(callback: Callback, event: str) -> bool:
    """Whether a callback overrides the method for the event."""
    return getattr(getattr(callback, event), "__func__", None) is not getattr(Callback, event)


def rows_at_once(batch_size: int) -> int:
    """Rows that are evaluated in one block: without gradients there is memory for more than a step has."""
    return max(batch_size, _EVALUATED_ROWS)


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """As ``zero_grad``, which takes as long as several operations of a small network."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


class ObjectiveNet(NeuralNet):
    """Trains ``module`` on the sum of the terms that ``criterion`` returns, averaged over rows.

    It differs from :class:`skorch.NeuralNet` as follows:

    - Batches are gathered in one step from a tensor on the device.
    - Losses stay on the device until the epoch ends, so no step waits for the device.
    - Every term has its own loss curve.
    - All noise comes from private generators.
    - Ctrl-C is raised.

    Parameters
    ----------
    module : nn.Module
        ``module(x, generator)`` returns the criterion's input. Without a generator nothing is random.
    criterion : callable or None
        The objective, ``(output, batch) -> {name: (batch,) or ()}``; None if players have their own losses.
    seed : int
        Seeds shuffling, noise, and the fixed noise of validation.
    selection : Selection
        How held-out data are evaluated.
    n_warmup_epochs : int
        Epochs over which the objective's argument ``kl_weight`` rises to 1. Rows are evaluated at 1.
    evaluation_arguments : dict
        Arguments of the module in evaluation.
    """

    #: Callbacks that cannot work with this net, and why.
    _refused: dict[type[Callback], str] = {
        ScoringBase: "reads single batches, which this net does not pass on; use scikit-learn's ScoringMonitor through "
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
        selection: Selection = BY_ROW,
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
        """The module itself, also if it was compiled; its weights have the names of an uncompiled module."""
        return getattr(self.module_, "_orig_mod", self.module_)

    @property
    def n_epochs(self) -> int:
        """Number of epochs that the module was trained for, including those before it was saved."""
        return self.n_earlier_epochs_ + len(self.history)

    # -- methods of skorch

    @property
    def _default_callbacks(self):
        return []

    def initialize_criterion(self):
        self.criterion_ = self.criterion
        return self

    def initialize(self):
        super().initialize()
        self.shuffling_ = make_generator(self.seed, "shuffling")
        self.noise_ = make_generator(self.seed, "noise", self.device, rank())
        self.n_recorded_ = self.n_earlier_epochs_ = 0
        # A tensor that is refilled each epoch: a number would be a new constant for a compiled step.
        self.annealed_ = {"kl_weight": torch.ones((), device=self.device)} if self.n_warmup_epochs else {}
        return self

    def initialize_callbacks(self):
        for callback in self.callbacks or []:
            callback = callback[-1] if isinstance(callback, tuple) else callback
            if not isinstance(callback, Callback):
                raise ValueError(
                    f"callbacks must be skorch callbacks, got {callback!r}; set scikit-learn's by set_callbacks."
                )
        super().initialize_callbacks()
        for name, callback in self.callbacks_:
            for kind, reason in self._refused.items():
                if isinstance(callback, kind):
                    raise ValueError(f"callbacks: {name}, a {type(callback).__name__}, {reason}")
        return self

    def take_callbacks(self, callbacks: Sequence[Callback] | None) -> None:
        """Use copies of these callbacks. If the list is the same as before, the copies and their state stay."""
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
        """Refuse callbacks that monitor a loss that is not computed, or set rates that ``ours`` set."""
        has_schedule = any(isinstance(callback, RateSchedule) for callback in ours)
        for name, callback in self.callbacks_:
            if has_schedule and isinstance(callback, LRScheduler):
                raise ValueError(
                    f"callbacks: {name} sets learning rates, and so does learning_rate_schedule; "
                    "use learning_rate_schedule='constant' with it."
                )
            monitor = getattr(callback, "monitor", None)
            if validation is None and isinstance(monitor, str) and monitor.startswith("valid"):
                raise ValueError(
                    f"callbacks: {name} has monitor={monitor!r}, but this network has no held-out rows, because "
                    "early_stopping=False or the rows are so few that folds are held out. Use monitor='train_loss'."
                )

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Do nothing: skorch would add a row to the history for each batch."""

    def notify(self, method_name, **cb_kwargs):
        """As in skorch, but if a callback stops training, all other callbacks are called first."""
        getattr(self, method_name)(self, **cb_kwargs)
        stopped_by, listeners = set(), self._listeners.get(method_name)
        for callback in listeners if listeners is not None else [callback for _, callback in self.callbacks_]:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining:
                stopped_by.add(type(callback))
            except KeyboardInterrupt as error:
                if not _is_stop_request(error):
                    raise
                stopped_by.add(type(callback))
        if stopped_by:
            self.stopped_by_ |= stopped_by
            raise StopTraining

    @contextlib.contextmanager
    def _notify_only_listeners(self):
        """Within an epoch, call only callbacks that override the methods for batches: most do not."""
        callbacks = [callback for _, callback in self.callbacks_]
        self._listeners = {event: [it for it in callbacks if _overrides(it, event)] for event in _BATCH_EVENTS}
        try:
            yield
        finally:
            del self._listeners

    def annealed_for(self, epoch: int) -> dict[str, Tensor]:
        """Arguments of the objective that rise over the warm-up, set for this epoch."""
        for weight in self.annealed_.values():
            weight.fill_(min(1.0, epoch / (self.n_warmup_epochs + 1)))
        return self.annealed_

    def optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """Every optimizer, with its rate in units of ``lr``."""
        return [(self.optimizer_, 1.0)]

    def set_optimizer_options(self, learning_rate: float, weight_decay: float, batch_size: int) -> None:
        """Set the options of the next call of ``train``; the moments of the optimizer are kept."""
        self.lr, self.batch_size = learning_rate, batch_size
        for optimizer, rate in self.optimizers():
            for group in optimizer.param_groups:
                # An earlier schedule ended near zero.
                group["lr"] = group["initial_lr"] = rate * group.get("rate", 1.0) * learning_rate
                group["weight_decay"] = weight_decay if group["decays"] else 0.0

    def take_plan(self, game: Any, selection: Selection, evaluation_arguments: Mapping[str, Any]) -> None:
        """Go on by another plan for the same module; the warm-up stays that of the plan that it began with."""
        self.game, self.selection, self.evaluation_arguments = game, selection, evaluation_arguments

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
        """Train for up to ``epochs`` more epochs; ``callbacks`` are used in this call only.

        ``module_arguments`` and ``loss_arguments`` are arguments of the module and of the objective in the training
        steps of this call. Evaluation does not use them. The number of the ``phase`` is recorded with every epoch.
        What changes over training does so over ``n_planned`` epochs, by default ``epochs``.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, when the callbacks have restored the best weights.
        """
        callbacks = list(callbacks)
        self.check_callbacks(validation, callbacks)
        self.stopped_by_: set[type] = set()
        self._module_arguments, self._loss_arguments = module_arguments, {**self.annealed_, **loss_arguments}
        own = self.callbacks_
        self.callbacks_ = own + [(type(callback).__name__, callback.initialize()) for callback in callbacks]
        self.share_ = Share()
        self.share_.take_weights_of_the_first(self.plain_module)
        batches = WholeBatches(rows, self.batch_size, self.shuffling_, self.share_)
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
                    self.history.new_batch()  # some callbacks of skorch read it
                    self.history.record("phase", phase)
                    self.annealed_for(self.n_epochs)
                    with self._notify_only_listeners():
                        self.run_single_epoch(batches, True, "train", self.train_step)
                    if validation is not None:
                        self._record_evaluation(validation)
                    self.notify("on_epoch_end", **datasets)
            except StopTraining:
                pass
            finally:
                # The callbacks of this call come first, because one of them restores the best weights.
                self.callbacks_ = self.callbacks_[len(own) :] + own
                with contextlib.suppress(StopTraining):
                    self.notify("on_train_end", X=rows)
            self.share_.take_weights_of_the_first(self.plain_module)  # running statistics are each process's own
        finally:
            self.callbacks_ = own
            self.module_.eval()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass over the rows; records the mean loss and the mean of every term, with one wait for the device."""
        self._set_training(training)
        self._n_rows, self._sums = {}, {}
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self._record_losses(len(iterator))

    def train_step(self, batch, **fit_params):
        """One step, without skorch's closure, which none of our optimizers calls twice."""
        clear_gradients(self.optimizer_)
        output = self.module_(batch.x, self.noise_, **self._module_arguments)
        means = {name: term.mean() for name, term in self.criterion_(output, batch, **self._loss_arguments).items()}
        self._add_to_losses(means, len(batch) if self.share_.weight else 0)
        loss = reduce(torch.add, means.values())
        self._descend(loss, self.optimizer_, self.get_all_learnable_params(), batch=batch)
        return {"loss": loss, "y_pred": None}

    def _descend(self, loss: Tensor, optimizer, named_parameters: Iterable, *, moved=None, **seen) -> None:
        """One step of an optimizer down the gradient of a loss; with ``moved`` of these parameters alone."""
        if moved is None or moved:  # empty if all parameters of a player are frozen
            (loss if self.share_.weight == 1 else self.share_.weight * loss).backward(inputs=moved)
            self.share_.average_gradients(p for group in optimizer.param_groups for p in group["params"])
        self.notify("on_grad_computed", named_parameters=TeeGenerator(named_parameters), training=True, **seen)
        optimizer.step()

    def _add_to_losses(self, means: Terms, n_rows: int) -> None:
        # Sums are in place: a tensor kept for each batch would fragment the memory.
        for name, mean in means.items():
            if name not in self._sums:
                self._n_rows[name], self._sums[name] = 0, torch.zeros((), dtype=torch.float64, device=mean.device)
            self._n_rows[name] += n_rows
            self._sums[name].add_(mean.detach(), alpha=n_rows)

    def _record_losses(self, n_batches: int) -> None:
        found = torch.stack([torch.stack([s, s.new_tensor(self._n_rows[name])]) for name, s in self._sums.items()])
        sums, n_rows = self.share_.total(found).T
        means = (sums / n_rows).tolist()
        total = math.fsum(means)
        earlier = [row["train_loss"] for row in self.history[:-1] if "train_loss" in row]
        self.history.record("train_batch_count", n_batches)
        self.history.record("train_loss", total)
        self.history.record("train_loss_best", all(total < loss for loss in earlier))
        for name, mean in zip(self._sums, means, strict=True):
            self.history.record(f"train_{name}", mean)

    # -- evaluation

    def evaluate(self, rows: Rows) -> Tensor:
        """Figures of held-out data, by the net's selection; processes that train together agree on them."""
        return agreed(self.selection.evaluate(self, rows))

    def losses(self, rows: Rows) -> Tensor:
        """The objective of every row, with the same noise at every call; ``(n,)``, float64, on the CPU."""
        if self.criterion is None:
            raise ValueError(
                "Held-out rows need an objective for their losses, got None; use selection=WholeFigure, or hold no "
                "rows out."
            )
        losses, start = torch.empty(len(rows), dtype=torch.float64, device=rows.data.device), 0
        for found, n_rows in self._batch_losses(rows):
            if found.ndim == 0:
                raise ValueError(
                    "The objective must have a term of shape (n,), which gives each held-out row a loss, got only "
                    "terms of shape (); use selection=WholeFigure for such an objective."
                )
            losses[start : start + n_rows] = found
            start += n_rows
        return losses.cpu()

    def is_finite(self, rows: Rows) -> bool:
        """Whether the objective of these rows is finite; without an objective, whether all weights are."""
        if self.criterion is None:
            return all(bool(weight.isfinite().all()) for weight in self.plain_module.parameters())
        return all(bool(found.isfinite().all()) for found, _ in self._batch_losses(rows))

    def _batch_losses(self, rows: Rows) -> Iterator[tuple[Tensor, int]]:
        """The objective of each batch, ``(n,)`` or ``()``, and its number of rows."""
        noise = make_generator(self.seed, "validation", self.device)
        self._set_training(False)
        for batch in WholeBatches(rows, rows_at_once(self.batch_size)):
            with torch.no_grad():
                output = self.module_(batch.x, noise, **self.evaluation_arguments)
                found = total_per_row(self.criterion_(output, batch))
            yield found, len(batch)

    def _record_evaluation(self, validation: Rows) -> None:
        figures = self.evaluation_ = self.evaluate(validation)
        earlier = [row["valid_criterion"] for row in self.history[:-1] if "valid_criterion" in row]
        criterion = float(self.selection.criterion(figures))
        self.history.record("valid_loss", float(figures.mean()))
        self.history.record("valid_criterion", criterion)
        self.history.record("valid_loss_best", all(criterion < value for value in earlier))
        for name, value in self.selection.qualities(self, validation, figures).items():
            self.history.record(f"quality_{name}", value)

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Groups with and without weight decay. Biases and the linear path, the linear baseline, do not decay.

        A module with ``rate_of`` gives the rate of each parameter in units of that of the net.
        """
        named_parameters = list(named_parameters)
        _, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        rate_of = getattr(self.plain_module, "rate_of", None)
        if rate_of is None and not kwargs.get("weight_decay"):
            # One group is one fused call per step instead of two.
            return [[{"params": [parameter for _, parameter in named_parameters], "decays": False}]], kwargs
        found: dict[tuple[bool, float], list[Tensor]] = {}
        for name, parameter in named_parameters:
            decays = parameter.ndim >= 2 and "linear_path" not in name
            rate = 1.0 if rate_of is None else rate_of(name.removeprefix("_orig_mod."))
            found.setdefault((decays, rate), []).append(parameter)
        groups = [
            {"params": found[decays, rate], "decays": decays, "rate": rate, **({} if decays else {"weight_decay": 0.0})}
            for decays, rate in sorted(found, key=lambda group: not group[0])
        ]
        return [groups], kwargs
