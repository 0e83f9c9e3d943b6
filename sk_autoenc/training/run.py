"""Carries out a plan: start, train, evaluate, decide, later phases. It imports no estimator and no scikit-learn."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback

from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.splits import Split
from sk_autoenc.initialization.random import check_is_set, initialize_parameters, mark_unset
from sk_autoenc.training.builder import build_net, fit_callbacks, print_line
from sk_autoenc.training.callbacks import EarlyStoppingAfterWarmup, HeldOutFigures, warn_of_divergence
from sk_autoenc.training.folds import FEW_WEIGHTS, Fold, StackedNets, have_one_shape
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.parallel import agreed
from sk_autoenc.training.plan import Phase, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import best_epoch


class Result(NamedTuple):
    """The result of a run."""

    net: ObjectiveNet
    kept_start: bool  # the start is the model, and the network was dropped
    seen_all: bool  # a later phase has trained on the rows that were held out
    interrupted: bool  # by Ctrl-C; the net then has the best weights so far
    held_out: Rows | None = None  # rows on which no phase before a final one was trained, if they are one set
    fell_behind: bool = False  # the start is kept because the network is worse than it on the training rows


class Evaluated(NamedTuple):
    """Figures of held-out data before training and after its best number of epochs."""

    n_epochs: int
    before: torch.Tensor
    after: torch.Tensor


class Observer:
    """Is called at each step of a run; this one does nothing."""

    def net_is_made(self, net: ObjectiveNet) -> None:
        """Called with the net that is going to be trained."""

    def attributes(self, values: Mapping[str, Any]) -> None:
        """Called with fitted attributes to set."""

    def callbacks(self) -> list[Callback]:
        """Further callbacks of the final network's training."""
        return []

    def record(self, net: ObjectiveNet) -> None:
        """Called when the net's history has grown, or training was interrupted."""

    @contextlib.contextmanager
    def folds(self, n_epochs: int) -> Iterator[Callable[[], None]]:
        """Entered while the networks of folds train; gives a function to call after each of their epochs."""
        yield lambda: None

    def held_out_curve(self, losses: Sequence[float]) -> None:
        """Called with the mean figure of the folds' held-out data after each epoch."""


def run(
    plan: Plan,
    data: Rows,
    *,
    seed: int,
    device: str,
    net: ObjectiveNet | None = None,
    callbacks: Sequence[Callback] | None = None,
    observer: Observer | None = None,
) -> Result:
    """Train by a plan on these rows.

    Parameters
    ----------
    plan : Plan
        The plan.
    data : Rows
        All rows, on the device.
    seed : int
        Seeds every draw.
    device : str
        Where to compute.
    net : ObjectiveNet or None
        A net to train further; None builds one at the plan's start.
    callbacks : sequence of skorch callbacks or None
        The user's callbacks. The net works with copies of them.
    observer : Observer or None
        Is called at each step.

    Returns
    -------
    Result
        The trained net, in evaluation mode. After Ctrl-C it has the best weights so far, and ``interrupted`` is True.
    """
    return _Run(plan, data, seed, device, callbacks, observer or Observer()).carry_out(net)


class _Run:
    """One run, with the state that its steps share."""

    def __init__(
        self,
        plan: Plan,
        data: Rows,
        seed: int,
        device: str,
        callbacks: Sequence[Callback] | None,
        observer: Observer,
    ):
        self.plan, self.data, self.seed, self.device = plan, data, seed, device
        self.callbacks, self.observer = callbacks, observer
        self.seen_all = self.fell_behind = False

    def carry_out(self, net: ObjectiveNet | None) -> Result:
        plan, is_first = self.plan, net is None
        if len(plan.splits) == 1:
            train, held_out = self.data.split(*plan.splits[0])
        else:
            train, held_out = self.data, None
        if net is not None:
            net.take_plan(plan.game, plan.selection, plan.evaluation_arguments)
        else:
            net = make_net(plan, train, seed=self.seed, device=self.device)
        self.observer.net_is_made(net)
        self.observer.attributes(plan.attributes)
        net.take_callbacks(self.callbacks)
        net.check_callbacks(held_out)
        n_before = len(net.history)
        try:
            evaluated = self._train_and_evaluate(net, train, held_out, is_first)
            interrupted = False
        except KeyboardInterrupt:
            self.observer.record(net)
            evaluated, interrupted = None, True
        is_untrained = not any("train_loss" in epoch for epoch in net.history[n_before:])
        kept = (
            is_first and plan.start.is_model and (is_untrained or (not interrupted and self._prefers_start(evaluated)))
        )
        if kept:
            module = net.plain_module.cpu()
            try:
                plan.start.refit(module, self.data.sample().cpu())
            finally:
                module.to(self.device)
        elif evaluated is not None and evaluated.n_epochs:
            try:
                for number, phase in enumerate(plan.phases[1:], start=1):
                    self._train_on_all(net, held_out, phase, number, evaluated.n_epochs)
            except KeyboardInterrupt:
                self.observer.record(net)
                interrupted = True
        net.module_.eval()
        return Result(net, kept, self.seen_all, interrupted, held_out, kept and self.fell_behind)

    def _train_and_evaluate(
        self, net: ObjectiveNet, train: Rows, held_out: Rows | None, is_first: bool
    ) -> Evaluated | None:
        """The first phase, for as many epochs as folds found best, or until early stopping."""
        plan, phase = self.plan, self.plan.phases[0]
        evaluated = self._evaluate_by_folds(plan.splits) if len(plan.splits) > 1 else None
        epochs = phase.epochs if evaluated is None else evaluated.n_epochs
        if is_first and plan.start.is_model and held_out is None and self._prefers_start(evaluated):
            epochs = 1  # the network will be dropped; one epoch gives loss curves
        before = None if held_out is None else net.evaluate(held_out)
        is_unevaluated = is_first and plan.start.is_model and not plan.splits and not plan.keeps_start_unevaluated
        is_compared = is_unevaluated and plan.start.is_fair_in_training
        at_start = net.evaluate(train.sample()) if is_compared else None
        self._set_options(net, train)
        threshold = None if before is None or is_first else float(plan.selection.criterion(before))
        callbacks = self._callbacks(net, train, phase, phase.epochs, held_out, threshold, plan.verbose)
        n_before = len(net.history)
        self._train(net, train, held_out, epochs, [*callbacks, *self.observer.callbacks()], phase)
        if not net.stopped_by_ <= {EarlyStoppingAfterWarmup}:
            best = 0  # another callback stopped the training, so no later phase follows
        elif held_out is None:
            best = epochs
        else:
            best = callbacks[-1].best_epoch_ - n_before  # early stopping is the last callback
        if at_start is not None:
            self.fell_behind = plan.selection.is_significant(net.evaluate(train.sample()), at_start)
        if before is not None and held_out is not None:
            return Evaluated(best, before, net.evaluate(held_out))
        return None if evaluated is None else evaluated._replace(n_epochs=best)

    def _evaluate_by_folds(self, splits: Sequence[Split]) -> Evaluated:
        """Train a network for each fold. Every row is held out once, and all folds share one best number of epochs."""
        folds = [(self.data.subset(chosen), self.data.subset(left_out)) for chosen, left_out in splits]
        found = self._side_by_side(folds) if self._trains_side_by_side(folds) else self._in_turn(folds)
        before, *after = agreed(found)  # side by side, every process trains all folds, with noise of its own
        pooled = torch.stack(after)  # (n_epochs, n_figures)
        self.observer.held_out_curve(pooled.mean(1).tolist())
        best = best_epoch(pooled, self.plan.selection)
        return Evaluated(best, before, pooled[best - 1])

    def _trains_side_by_side(self, folds: Sequence[Fold]) -> bool:
        """Whether networks of folds are one computation: small ones, unless a callback must see each of them."""
        plan, is_compiled = self.plan, (self.plan.optimizer.net_params or {}).get("compile")
        if not plan.is_batchable or self.callbacks or is_compiled or not have_one_shape(folds):
            return False
        return sum(weight.numel() for weight in _shapes_of(plan).parameters()) <= FEW_WEIGHTS

    def _side_by_side(self, folds: Sequence[Fold]) -> list[torch.Tensor]:
        """Figures of all held-out rows: before training, then after each epoch."""
        plan, n_epochs = self.plan, self.plan.phases[0].epochs
        nets = StackedNets([self._net_of_fold(train) for train, _ in folds], folds, plan.phases[0])
        found = [nets.losses()]
        with self.observer.folds(n_epochs) as epoch_is_done:
            for epoch in range(1, n_epochs + 1):
                is_finite = nets.train_epoch(epoch)
                found.append(nets.losses())
                if plan.verbose:
                    print_line(f"folds, epoch {epoch} of {n_epochs}: held-out loss {float(found[-1].mean()):.4f}")
                epoch_is_done()
                if not is_finite:
                    warn_of_divergence(epoch, nets.net.lr)
                    break
        return found

    def _in_turn(self, folds: Sequence[Fold]) -> list[torch.Tensor]:
        """The same, one network after the other; infinite for epochs after the training of a network stopped."""
        plan, phase, found = self.plan, self.plan.phases[0], []
        with self.observer.folds(len(folds) * phase.epochs) as epoch_is_done:
            for number, (train, held_out) in enumerate(folds, start=1):
                net, seen = self._net_of_fold(train), HeldOutFigures(epoch_is_done)
                before = net.evaluate(held_out)
                callbacks = [seen, *self._callbacks(net, train, phase, phase.epochs)]
                net.train(train, held_out, epochs=phase.epochs, callbacks=callbacks, **_arguments(phase))
                found.append(torch.cat([before[None], seen.padded(phase.epochs, len(before))]))
                if plan.verbose:
                    print_line(f"fold {number} of {len(folds)}: {len(net.history)} epochs")
        return list(torch.cat(found, dim=1))

    def _net_of_fold(self, train: Rows) -> ObjectiveNet:
        net = make_net(self.plan, train, seed=self.seed, device=self.device)
        self._set_options(net, train, net.batch_size)
        return net

    def _prefers_start(self, evaluated: Evaluated | None) -> bool:
        """Whether the start is the result: the network is not significantly better, or could not be evaluated.

        Where no rows are held out, a network that is worse than its start on the very rows that trained it has lost.
        """
        if evaluated is None:
            return self.plan.keeps_start_unevaluated or self.fell_behind
        return not self.plan.selection.is_significant(evaluated.before, evaluated.after)

    def _train_on_all(self, net: ObjectiveNet, held_out: Rows | None, phase: Phase, number: int, best: int) -> None:
        """A later phase: some more training on all rows, so that the network also learns the held-out ones."""
        epochs = phase.epochs if phase.share_of_best is None else max(1, int(best * phase.share_of_best))
        epochs = min(phase.epochs, epochs)
        self._set_options(net, self.data)
        arguments = _arguments(phase, number)
        if phase.prepare is not None:
            update = phase.prepare(net, self.data.sample())
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
        """Train the net. Its losses are recorded also if training is interrupted."""
        try:
            net.train(train, held_out, epochs=epochs, callbacks=callbacks, **_arguments(phase))
        finally:
            self.observer.record(net)

    def _set_options(self, net: ObjectiveNet, rows: Rows, batch_size: int | None = None) -> None:
        """Set the net's callbacks and the options that may change from one fit to the next."""
        options = self.plan.optimizer
        net.take_callbacks(self.callbacks)
        batch_size = batch_size or options.rows_per_step(len(rows))
        net.set_optimizer_options(options.learning_rate, options.weight_decay, batch_size)

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
    """A net at the plan's start: its weights are drawn, then set by the start from these rows."""
    module = empty_module(plan)
    initialize_parameters(module, make_generator(seed, "initialization"))
    plan.start.set(module, rows.sample().cpu())
    check_is_set(module)
    return net_around(module, plan, seed=seed, device=device, batch_size=plan.optimizer.rows_per_step(len(rows)))


def empty_module(plan: Plan) -> Any:
    """The plan's module with unset weights, built on the meta device so that no global generator is read."""
    module = _shapes_of(plan).to_empty(device="cpu")
    mark_unset(module)
    return module


def module_with(weights: Mapping[str, np.ndarray], plan: Plan) -> Any:
    """The plan's module with these weights, in evaluation mode; ``ValueError``, and nothing allocated, if others."""
    module = _shapes_of(plan)
    for name, part in module.named_modules():
        if hasattr(part, "take_sizes"):
            inside = f"{name}." if name else ""
            part.take_sizes({k.removeprefix(inside): w.shape for k, w in weights.items() if k.startswith(inside)})
    _check_weights(weights, module)
    module = module.to_empty(device="cpu")
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return module.eval()


def _shapes_of(plan: Plan) -> Any:
    """The plan's module on the meta device, where no weight takes memory."""
    with torch.device("meta"):
        return plan.module().float()


def _check_weights(weights: Mapping[str, np.ndarray], module: Any) -> None:
    """Refuse weights of other names, shapes or dtypes than those of the module."""
    wanted = {name: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in module.state_dict().items()}
    if differing := sorted(weights.keys() ^ wanted.keys()):
        reason = "lack" if differing[0] in wanted else "have an array too many,"
        raise ValueError(f"weights {reason} {differing[0]!r:.60}, by the parameters of the fit.")
    for name, (shape, dtype) in wanted.items():
        if (found := (weights[name].shape, weights[name].dtype.name)) != (shape, dtype):
            raise ValueError(
                f"weights: {name!r} is an array of {found[1]} of shape {found[0]}, but by the parameters of the fit it "
                f"is one of {dtype} of shape {shape}."
            )


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
