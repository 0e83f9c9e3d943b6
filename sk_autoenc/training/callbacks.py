"""skorch callbacks of one fit: the way out, the guard against NaN, the bridge to scikit-learn's callbacks."""

import copy
import math
import warnings
from collections.abc import Callable

from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sk_autoenc.training.data import Rows


class StopTraining(Exception):
    """Raised by a callback's wish to stop; unlike skorch's signal it cannot be mistaken for Ctrl-C."""


class FiniteGuard(Callback):
    """Stops at a loss that is not finite and restores the weights of the last epoch whose loss was."""

    def on_train_begin(self, net, **kwargs):
        self.weights_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net, **kwargs):
        losses = net.history[-1]
        if all(math.isfinite(losses[name]) for name in ("train_loss", "valid_loss") if name in losses):
            self.weights_ = copy.deepcopy(net.module_.state_dict())
            return
        net.module_.load_state_dict(self.weights_)
        warnings.warn(
            f"The loss is not finite in epoch {losses['epoch']} (learning_rate={net.lr:g}); training stopped, and "
            "the weights of the epoch before are kept. Try a smaller learning_rate, or scale X.",
            ConvergenceWarning,
            stacklevel=2,
        )
        raise StopTraining

    def on_train_end(self, net, **kwargs):
        del self.weights_


class EpochTasks(Callback):
    """Shows every epoch to scikit-learn's callbacks as a task of ``fit``; one of them may ask to stop.

    Parameters
    ----------
    begin, end : callables
        Called before and after every epoch; ``end`` returns True to stop training.
    """

    def __init__(self, begin: Callable[[], None], end: Callable[[], bool]):
        self.begin, self.end = begin, end

    def on_epoch_begin(self, net, **kwargs):
        self.begin()

    def on_epoch_end(self, net, **kwargs):
        if self.end():
            raise StopTraining


class HeldOutLosses(Callback):
    """Collects the loss of every held-out row after each epoch.

    Attributes
    ----------
    losses_ : list of Tensor
        One tensor per epoch.
    """

    def __init__(self, rows: Rows):
        self.rows = rows

    def initialize(self):
        self.losses_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.losses_.append(net.judge(self.rows))
