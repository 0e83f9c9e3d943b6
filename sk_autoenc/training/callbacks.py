"""skorch callbacks of one fit: stopping, the guard against NaN, schedules, the bridge to scikit-learn's callbacks."""

import math
from collections.abc import Callable
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from sk_autoenc._messages import warn


class StopTraining(Exception):
    """A callback stops training. skorch raises KeyboardInterrupt for this, which is also the signal of Ctrl-C."""


def warn_of_divergence(epoch: int, learning_rate: float) -> None:
    """Warn that training has stopped because a loss is not finite."""
    warn(
        f"The loss is not finite in epoch {epoch} with learning_rate={learning_rate:g}. Training has stopped at "
        "the weights of the epoch before. Try a smaller learning_rate, or look for extreme values in X.",
        ConvergenceWarning,
    )


class FiniteGuard(Callback):
    """Stops training when the loss is not finite, and restores the weights of the last epoch with a finite loss."""

    def on_train_begin(self, net, X=None, **kwargs):
        self.sample_ = X.subset(X.index[: net.batch_size])
        self._keep(net)

    def on_epoch_end(self, net, **kwargs):
        # The epoch's losses were computed before its last step, so the weights are tested once more.
        epoch = net.history[-1]
        if math.isfinite(epoch["train_loss"]) and net.is_finite(self.sample_):
            self._keep(net)
            return
        net.plain_module.load_state_dict(self.weights_)
        warn_of_divergence(epoch["epoch"], net.lr)
        raise StopTraining

    def on_train_end(self, net, **kwargs):
        del self.weights_, self.sample_

    def _keep(self, net):
        self.weights_ = {name: value.clone() for name, value in net.plain_module.state_dict().items()}


class RateSchedule(Callback):
    """Sets the rates of all optimizers before every step; a round of a game may take several batches.

    Parameters
    ----------
    shape : callable
        Maps the share of the steps that are done to the rate as a share of its peak.
    n_steps : int
        Number of all batches.
    """

    def __init__(self, shape: Callable[[float], float], n_steps: int):
        self.shape, self.n_steps = shape, n_steps

    def on_train_begin(self, net, **kwargs):
        self.schedulers_ = [LambdaLR(optimizer, self._share) for optimizer, _ in net.optimizers()]

    def on_batch_end(self, net, training=False, n_batches=1, **kwargs):
        for scheduler in self.schedulers_ * n_batches if training else ():
            scheduler.step()

    def _share(self, step: int) -> float:
        return self.shape((step + 0.5) / self.n_steps)


class EarlyStoppingAfterWarmup(EarlyStopping):
    """Early stopping that ignores the epochs of the warm-up.

    Parameters
    ----------
    n_warmup_epochs : int
        Epochs that do not count.
    start : float or None
        The criterion before training, if these weights are kept unless an epoch is better.
    **options
        Those of :class:`skorch.callbacks.EarlyStopping`.
    """

    def __init__(self, n_warmup_epochs: int, start: float | None, **options):
        super().__init__("valid_criterion", **{"load_best": True, **options})
        self.n_warmup_epochs, self.start = n_warmup_epochs, start

    def on_train_begin(self, net, **kwargs):
        super().on_train_begin(net, **kwargs)
        self.best_epoch_ = len(net.history)
        if self.start is not None and math.isfinite(self.start):
            self.dynamic_threshold_ = self._calc_new_threshold(self.start)
            self.best_model_weights_ = {name: value.clone() for name, value in net.module_.state_dict().items()}

    def on_train_end(self, net, **kwargs):
        if net.history:
            super().on_train_end(net, **kwargs)

    def on_epoch_end(self, net, **kwargs):
        if net.n_epochs <= self.n_warmup_epochs:
            self.misses_ = -1  # at most 0 after this epoch
        super().on_epoch_end(net, **kwargs)


class SklearnCallbackBridge(Callback):
    """Reports every epoch to scikit-learn's callbacks as a task of ``fit``; one of them may stop the training.

    Parameters
    ----------
    root : CallbackContext
        The context of ``fit``.
    record : callable
        Called with the net after every epoch, so that the callbacks see its losses.
    **seen
        Arguments of the callbacks: the estimator, X and y.
    """

    def __init__(self, root, record: Callable[[Any], None], **seen):
        self.root, self.record, self.seen = root, record, seen

    def on_epoch_begin(self, net, **kwargs):
        self.context_ = self.root.subcontext(task_name="epoch")
        self.context_.call_on_fit_task_begin(**self.seen)

    def on_epoch_end(self, net, **kwargs):
        net.module_.eval()
        self.record(net)
        if self.context_.call_on_fit_task_end(**self.seen, reconstruction_attributes=dict):
            raise StopTraining


class HeldOutFigures(Callback):
    """Collects the evaluation after each epoch, and reports the epoch.

    Parameters
    ----------
    report : callable
        Called after each epoch.
    """

    def __init__(self, report: Callable[[], None]):
        self.report = report

    def initialize(self):
        self.figures_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.figures_.append(net.evaluation_)
        self.report()

    def padded(self, n_epochs: int, n_figures: int) -> Tensor:
        """Figures of ``n_epochs`` epochs, ``(n_epochs, n_figures)``; infinite for epochs after training stopped."""
        missing = torch.full((n_epochs - len(self.figures_), n_figures), torch.inf, dtype=torch.float64)
        return torch.cat([*(figures[None] for figures in self.figures_), missing])
