"""Carries out a plan: start, train, evaluate, decide, later phases. It knows no estimator and no scikit-learn."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback

from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.splits import Split
from sk_autoenc.initialization.random import check_is_set, initialize_parameters, mark_unset
from sk_autoenc.training.builder import build_net, fit_callbacks
from sk_autoenc.training.callbacks import HeldOutFigures, Patience
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.plan import Phase, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import best_epoch


class Result(NamedTuple):
    """What a run has led to."""

    net: ObjectiveNet
    kept_start: bool  # the start is the model, and the network was dropped
    seen_all: bool  # a later phase has trained on the rows that were held out
    interrupted: bool  # by Ctrl-C, after which the best weights so far are in place
    held_out: Rows | None = None  # rows that no phase before a final one has trained on, if they are one set


class Evaluated(NamedTuple):
    """Figures of held-out data before training and after its best number of epochs."""

    n_epochs: int
    before: torch.Tensor
    after: torch.Tensor


class Observer:
    """Hears of what a run does while it is at it; this one does nothing."""

    def net_is_made(self, net: ObjectiveNet) -> None:
        """This is the net that is trained from now on."""

    def attributes(self, values: Mapping[str, Any]) -> None:
        """Fitted attributes that hold from now on."""

    def callbacks(self) -> list[Callback]:
        """Callbacks of the final network's training."""
        return []

    def record(self, net: ObjectiveNet) -> None:
        """The net's history has grown, or training was broken off."""

    def held_out_curve(self, losses: Sequence[float]) -> None:
        """Mean figure of the folds' held-out data after each epoch."""


def run(
    plan: Plan, data: Rows, *, seed: int, device: str, net: ObjectiveNet | None = None, observer: Observer | None = None
) -> Result:
    """Train by a plan on these rows.

    Parameters
    ----------
    plan : Plan
        What to do.
    data : Rows
        All rows, on the device.
    seed : int
        Seeds every draw.
    device : str
        Where to compute.
    net : ObjectiveNet or None
        A net to train further; None builds one at the plan's start.
    observer : Observer or None
        Hears of what is done.

    Returns
    -------
    Result
        The trained net, in evaluation mode. After Ctrl-C it holds the best weights so far, and says so.
    """
    return _Run(plan, data, seed, device, observer or Observer()).carry_out(net)


class _Run:
    """One run, with what all of its steps share."""

    def __init__(self, plan: Plan, data: Rows, seed: int, device: str, observer: Observer):
        self.plan, self.data, self.seed, self.device, self.observer = plan, data, seed, device, observer
        self.seen_all = False

    def carry_out(self, net: ObjectiveNet | None) -> Result:
        plan, is_first = self.plan, net is None
        if len(plan.splits) == 1:
            train, held_out = (self.data.subset(index) for index in plan.splits[0])
        else:
            train, held_out = self.data, None
        if net is None:
            net = make_net(plan, train, seed=self.seed, device=self.device)
        self.observer.net_is_made(net)
        self.observer.attributes(plan.attributes)
        net.take_callbacks(plan.callbacks)
        net.check_callbacks(held_out)
        n_before = len(net.history)
        try:
            evaluated = self._train_and_evaluate(net, train, held_out, is_first)
            interrupted = False
        except KeyboardInterrupt:
            self.observer.record(net)
            evaluated, interrupted = None, True
        is_untrained = len(net.history) == n_before
        kept = (
            is_first and plan.start.is_model and (is_untrained or (not interrupted and self._prefers_start(evaluated)))
        )
        if kept:
            module = net.plain_module.cpu()
            plan.start.refit(module, self.data.cpu())
            module.to(self.device)
        elif evaluated is not None and evaluated.n_epochs:
            try:
                for number, phase in enumerate(plan.phases[1:], start=1):
                    self._train_on_all(net, held_out, phase, number, evaluated.n_epochs)
            except KeyboardInterrupt:
                self.observer.record(net)
                interrupted = True
        net.module_.eval()
        return Result(net, kept, self.seen_all, interrupted, held_out)

    def _train_and_evaluate(
        self, net: ObjectiveNet, train: Rows, held_out: Rows | None, is_first: bool
    ) -> Evaluated | None:
        """The first phase: for as many epochs as folds found best, or until held-out rows gain nothing any more."""
        plan, phase = self.plan, self.plan.phases[0]
        evaluated = self._evaluate_by_folds(plan.splits) if len(plan.splits) > 1 else None
        epochs = phase.epochs if evaluated is None else evaluated.n_epochs
        if is_first and plan.start.is_model and not plan.splits and plan.keeps_start_unevaluated:
            epochs = 1  # the network will be dropped; one epoch, so that there is a record
        before = None if held_out is None else plan.selection.evaluate(net, held_out)
        self._tune(net, train)
        threshold = None if before is None or is_first else float(plan.selection.criterion(before))
        callbacks = self._callbacks(net, train, phase, phase.epochs, held_out, threshold, plan.verbose)
        n_before = len(net.history)
        self._train(net, train, held_out, epochs, [*callbacks, *self.observer.callbacks()], phase)
        if not net.stopped_by_ <= {Patience}:
            best = 0  # a callback broke off, so no later phase follows
        else:
            best = epochs if held_out is None else callbacks[-1].best_epoch_ - n_before  # Patience comes last
        if before is not None:
            return Evaluated(best, before, plan.selection.evaluate(net, held_out))
        return None if evaluated is None else evaluated._replace(n_epochs=best)

    def _evaluate_by_folds(self, splits: Sequence[Split]) -> Evaluated:
        """Train a network for each fold; one number of epochs for all of them, every row being held out once."""
        plan, phase = self.plan, self.plan.phases[0]
        before, after = [], []
        for chosen, others in splits:
            train, held_out, figures = self.data.subset(chosen), self.data.subset(others), HeldOutFigures()
            net = make_net(plan, train, seed=self.seed, device=self.device)
            self._tune(net, train, net.batch_size)
            before.append(plan.selection.evaluate(net, held_out))
            callbacks = [figures, *self._callbacks(net, train, phase, phase.epochs)]
            net.train(train, held_out, epochs=phase.epochs, callbacks=callbacks, **_arguments(phase))
            after.append(figures.padded(phase.epochs, len(before[-1])))
        pooled = torch.cat(after, dim=1)  # (n_epochs, n_figures)
        self.observer.held_out_curve(pooled.mean(1).tolist())
        best = best_epoch(pooled, plan.selection)
        return Evaluated(best, torch.cat(before), pooled[best - 1])

    def _prefers_start(self, evaluated: Evaluated | None) -> bool:
        """Whether held-out data, or their absence, speak for the start."""
        if evaluated is None:
            return self.plan.keeps_start_unevaluated
        return not self.plan.selection.is_significant(evaluated.before, evaluated.after)

    def _train_on_all(self, net: ObjectiveNet, held_out: Rows | None, phase: Phase, number: int, best: int) -> None:
        """A later phase: a bit more training on all rows, because held-out rows have much to teach."""
        epochs = phase.epochs if phase.share_of_best is None else max(1, int(best * phase.share_of_best))
        epochs = min(phase.epochs, epochs)
        self._tune(net, self.data)
        arguments = _arguments(phase, number)
        if phase.prepare is not None:
            update = phase.prepare(net, self.data)
            arguments["module_arguments"] = {**phase.module_arguments, **update.module_arguments}
            self.observer.attributes(update.attributes)
        callbacks = self._callbacks(net, self.data, phase, epochs, verbose=self.plan.verbose)
        self.seen_all = True
        try:
            net.train(
                self.data, held_out, epochs=epochs, callbacks=[*callbacks, *self.observer.callbacks()], **arguments
            )
        finally:
            self.observer.record(net)

    def _train(self, net, train, held_out, epochs, callbacks, phase) -> None:
        """Train the net; what it recorded is kept also when training is broken off."""
        try:
            net.train(train, held_out, epochs=epochs, callbacks=callbacks, **_arguments(phase))
        finally:
            self.observer.record(net)

    def _tune(self, net: ObjectiveNet, rows: Rows, batch_size: int | None = None) -> None:
        """Give the net the callbacks and options that may change from one call to the next."""
        options = self.plan.optimizer
        net.take_callbacks(self.plan.callbacks)
        net.tune(options.learning_rate, options.weight_decay, batch_size or options.rows_per_step(len(rows)))

    def _callbacks(
        self, net, rows, phase: Phase, epochs: int, held_out=None, threshold=None, verbose: int = 0
    ) -> list[Callback]:
        return fit_callbacks(
            schedule=phase.schedule,
            n_steps=epochs * len(WholeBatches(rows, net.batch_size)),
            selection=None if held_out is None else self.plan.selection,
            verbose=verbose,
            n_warmup_epochs=net.n_warmup_epochs,
            start=threshold,
        )


def make_net(plan: Plan, rows: Rows, *, seed: int, device: str) -> ObjectiveNet:
    """A net at the plan's start: weights drawn, and what depends on data set from these rows."""
    module = empty_module(plan)
    initialize_parameters(module, make_generator(seed, "initialization"))
    plan.start.set(module, rows.cpu())
    check_is_set(module)
    return net_around(module, plan, seed=seed, device=device, batch_size=plan.optimizer.rows_per_step(len(rows)))


def empty_module(plan: Plan) -> Any:
    """The plan's module without weights: built on the meta device, so that no global generator is read."""
    with torch.device("meta"):
        module = plan.module()
    module = module.to_empty(device="cpu").float()
    mark_unset(module)
    return module


def net_around(module: Any, plan: Plan, *, seed: int, device: str, batch_size: int) -> ObjectiveNet:
    """The net of a plan around a module whose weights are set."""
    return build_net(
        module,
        plan.objective,
        optimizer=plan.optimizer.rule,
        learning_rate=plan.optimizer.learning_rate,
        weight_decay=plan.optimizer.weight_decay,
        net_params=plan.optimizer.net_params,
        device=device,
        batch_size=batch_size,
        seed=seed,
        selection=plan.selection,
        n_warmup_epochs=plan.n_warmup_epochs,
        evaluation_arguments=plan.evaluation_arguments,
        game=plan.game,
    )


def _arguments(phase: Phase, number: int = 0) -> dict[str, Any]:
    return {
        "module_arguments": phase.module_arguments,
        "loss_arguments": phase.loss_arguments,
        "phase": number,
        "n_planned": phase.epochs,
    }
