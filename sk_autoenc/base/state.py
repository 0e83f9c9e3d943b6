"""Fitted state: rollback after a failed fit, checks before a further fit, and plain arrays for pickles."""

from abc import abstractmethod
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.base import BaseEstimator, clone

from sk_autoenc._messages import warn
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.training.builder import resolve_device, same_value
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.run import module_with, net_around

#: Fitted state without a trailing underscore. Attributes with one are recognised by it.
_PRIVATE_STATE = ("_parameters", "_data", "_seed", "_kept_start", "_seen_all")


class FittedState(BaseEstimator):
    """The fitted state of an estimator that holds a net; fitted attributes end in an underscore."""

    #: Parameters that may change when a fit is continued. All others define the model.
    _changeable_parameters: tuple[str, ...] = (
        "max_iter",
        "batch_size",
        "learning_rate",
        "learning_rate_schedule",
        "early_stopping",
        "validation_fraction",
        "n_iter_no_change",
        "tol",
        "warm_start",
        "callbacks",
        "random_state",
        "verbose",
    )

    net_: ObjectiveNet
    device_: str
    _parameters: Any  # an unfitted copy of the estimator as it was when it was fitted
    _data: Any  # the preprocessor, which turns rows into a dataset and back
    _seed: int
    _kept_start: bool = False  # the start of training is the model
    _seen_all: bool = False  # rows that were held out have been trained on

    @abstractmethod
    def _plan_for_loading(self) -> Plan:
        """The plan of the fit, from which the net is built again."""

    def _forget(self) -> None:
        """Drop all fitted state, so that the estimator is unfitted if ``fit`` fails."""
        for name in list(vars(self)):
            if (name.endswith("_") and not name.startswith("_")) or name in _PRIVATE_STATE:
                delattr(self, name)

    @contextmanager
    def _rolled_back_on_error(self, fresh: bool):
        """If ``fit`` fails, the estimator predicts as before, or is unfitted; moments of optimizers are not restored.

        A Ctrl-C in training does not come here, because ``run`` keeps the best weights; any other does. It is no fault
        of the data, so the model of an earlier fit comes back.
        """
        before = dict(vars(self))
        weights = {} if fresh else {k: v.clone() for k, v in self.net_.plain_module.state_dict().items()}
        n_epochs = 0 if fresh else len(self.net_.history)
        try:
            # The caller may have switched gradients off, or set another device for new tensors.
            with torch.inference_mode(False), torch.enable_grad(), cpu_by_default():
                yield
        except BaseException as error:
            self._forget()
            if not fresh or isinstance(error, KeyboardInterrupt):
                self.__dict__.update(before)
            if not fresh:
                self.net_.plain_module.load_state_dict(weights)
                del self.net_.history[n_epochs:]
                self.net_.n_recorded_ = n_epochs
            raise

    def _check_continuation(self) -> None:
        """Refuse to train further if a parameter that defines the model has changed since the fit."""
        for name in self._get_param_names():
            if name in self._changeable_parameters:
                continue
            now, then = getattr(self, name), getattr(self._parameters, name)
            if not same_value(now, then):
                raise ValueError(
                    f"{name} must be {then!r} as in the fit that is continued, got {now!r}; "
                    "set it back, or fit with warm_start=False."
                )

    def _copy_of_parameters(self) -> Any:
        """An unfitted copy of the estimator as it is set now."""
        return clone(self).set_callbacks()

    # -- fitted state as plain arrays

    def __getstate__(self):
        state = super().__getstate__().copy()
        net = state.pop("net_", None)
        if net is not None:
            state["_weights"] = {name: w.cpu().numpy().copy() for name, w in net.plain_module.state_dict().items()}
            state["_trained_batch_size"] = net.batch_size
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, batch_size = state.pop("_weights", None), state.pop("_trained_batch_size", None)
        super().__setstate__(state)
        if weights is None:
            return
        try:
            resolve_device(self.device_)
        except ValueError:
            message = f"The model was fitted on device={self.device_!r}, which does not exist here; it uses the CPU."
            warn(message)
            self.device_ = "cpu"
        with torch.inference_mode(False), cpu_by_default():
            plan = self._plan_for_loading()
            module = module_with(weights, plan)
            self.net_ = net_around(module, plan, seed=self._seed, device=self.device_, batch_size=batch_size)
        self.net_.n_earlier_epochs_ = getattr(self, "n_iter_", 0)  # a copy made in the first epoch has no n_iter_
