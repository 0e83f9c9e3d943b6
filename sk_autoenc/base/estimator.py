"""The fit template that every estimator fills in: the flow of ``fit``, and the fitted state.

An estimator fills the holes ``_make_module``, ``_make_objective``, ``_make_likelihood`` and, where it needs them,
``_initialize``, ``_select`` and ``_finish``. Nothing below this module knows that estimators exist.
"""

import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.scaling import Scaling, fit_scaling
from sk_autoenc.data.splits import FEW_ROWS, MIN_ROWS, Split, fold_rows, split_rows
from sk_autoenc.data.validation import as_array, check_range, flattened, keep_shape
from sk_autoenc.initialization.random import check_is_set, initialize_parameters, mark_unset
from sk_autoenc.likelihoods import Likelihood
from sk_autoenc.training.adversarial import Game
from sk_autoenc.training.builder import (
    OPTIMIZERS,
    SCHEDULES,
    build_net,
    check_net_params,
    fit_callbacks,
    lack_of_memory_explained,
    resolve_device,
    same_value,
)
from sk_autoenc.training.callbacks import EpochTasks, FiniteGuard, HeldOutLosses, Patience
from sk_autoenc.training.nets import Objective, ObjectiveNet
from sk_autoenc.training.randomness import draw_seed, make_generator
from sk_autoenc.training.selection import SQUARED_ERRORS, Verdict, Yardstick, best_epoch

#: Fitted state without a trailing underscore; what ends in one is found by its name.
_PRIVATE_STATE = ("_blueprint", "_scaling", "_likelihood", "_seed", "_dtype", "_has_settled")

#: What the net's history holds besides one loss per term.
_NO_TERMS = {"train_loss", "train_loss_best", "train_batch_count"}


class NeuralEstimator(CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """The only ``fit`` in the library: validate, split, build, train, keep the best, record."""

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

    net_: ObjectiveNet
    device_: str
    input_shape_: tuple[int, ...]
    _likelihood: Likelihood
    _seed: int
    _dtype: str
    _has_settled = False

    # -- holes

    #: How the losses of held-out rows are compared.
    _yardstick: Yardstick = SQUARED_ERRORS

    @abstractmethod
    def _make_module(self, input_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
        """The network for rows of this shape; its weights need not be set."""

    @abstractmethod
    def _make_objective(self, likelihood: Likelihood) -> Objective:
        """``(output, rows) -> {name: term}``, to be minimised."""

    def _make_game(self, likelihood: Likelihood) -> Game | None:
        """The turns of players with losses of their own; None where the objective alone is minimised."""
        return None

    @abstractmethod
    def _make_likelihood(self) -> Likelihood:
        """What the output says about the rows."""

    def _initialize(self, module: nn.Module, rows: Rows) -> None:
        """Set what depends on data; ``rows`` are the training rows, without the held-out ones."""

    #: Share of ``max_iter`` that is kept for a last cycle on all rows, those that judged training included.
    _settling_share = 0.0

    def _in_step(self, planned: int) -> dict[str, float]:
        """Arguments of the objective in a step of ``planned`` epochs; settling follows if ``max_iter`` has more."""
        return {}

    def _select(self, verdict: Verdict | None, rows: Rows, first: bool) -> bool:
        """Act on what held-out rows say, where there were any; ``rows`` are all. Returns whether the network stands.

        ``first``: training began at the start, against which the network has to hold.
        """
        return True

    def _fit_scaling(self, X: np.ndarray, chosen: np.ndarray, likelihood: Likelihood) -> Scaling:
        """Centre and scale of the chosen rows."""
        return fit_scaling(X, chosen)

    def _needs_verdict(self) -> bool:
        """Whether a network that no held-out rows could judge is dropped again."""
        return False

    def _is_at_start(self) -> bool:
        """Whether the fitted network is what training starts at, so that the next fit is judged like the first."""
        return False

    def _warmup_epochs(self) -> int:
        """Number of epochs over which the objective's ``warmth`` rises to 1."""
        return 0

    def _finish(self, rows: Rows, *, whole: bool) -> None:
        """Set the fitted attributes that need the trained network; ``whole``: these are all rows, not a chunk."""

    def _check_configuration(self) -> None:
        """Raise ``ValueError`` for parameters that do not go together."""
        check_net_params(self.net_params)

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        """Rows as a 2-D array of float32 or float64, the dtype kept where it is one of these; finite unless not asked.

        Arrays with more axes are rows of a shape of their own. They are flat inside, and ``input_shape_`` keeps the
        shape in which rows go out again.
        """
        X, shape = flattened(as_array(X))
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=finite)
        if finite:
            check_range(X, "X")
        keep_shape(self, shape or X.shape[1:], X.shape[1:], reset=reset)
        return X

    # -- the flow

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, such as images with axes of their own; float32 and float64 are kept, other numbers become
            float64.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        fresh = not (self.warm_start and hasattr(self, "net_"))
        first = fresh or self._is_at_start()
        root = self._init_callback_context(max_subtasks=self.max_iter)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with lack_of_memory_explained(self.device, self.batch_size), self._old_state_if_it_fails(fresh):
            data, splits = self._begin(X, fresh, split=self.early_stopping)
            everything = Rows(data, torch.arange(len(data)))
            chosen, held_out = splits[0] if len(splits) == 1 else (everything.index, None)
            rows, validation = Rows(data, chosen), None if held_out is None else Rows(data, held_out)
            if first:
                self.net_ = self._make_net(rows)
            self.net_.take_callbacks(self.callbacks)
            self.net_.check_callbacks(validation)
            with self._kept_if_interrupted(everything, whole=True):
                verdict = self._judge_by_folds(data, splits) if len(splits) > 1 else None
                before = None if validation is None else self.net_.judge(validation)
                tasks = EpochTasks(root, self._record, estimator=self, X=X, y=y)
                planned = self._n_judged_epochs() if splits else self.max_iter
                epochs = planned if verdict is None else verdict.n_epochs
                if not splits and first and self._needs_verdict():
                    epochs = 1  # the network will be dropped; one epoch, so that there is a record
                best = self._train(rows, validation, epochs, planned, tasks, None if first else before)
                if before is not None:
                    verdict = Verdict(best or 0, before, self.net_.judge(validation), self._yardstick)
                stands = self._select(verdict, everything, first)
                if verdict is not None and best and stands and planned < self.max_iter:
                    self._settle(everything, validation, min(self.max_iter - planned, max(1, best // 4)), tasks)
            self._finish(everything, whole=True)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on the rows of ``X``, at a constant rate and without early stopping.

        The first call sets centre, scale, range and the start of the network from its rows, which should be a fair
        sample of all. Steps have the size ``learning_rate``; to go on gently after ``fit``, lower it first.

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
        fresh = not hasattr(self, "net_")
        with lack_of_memory_explained(self.device, self.batch_size), self._old_state_if_it_fails(fresh):
            data, _ = self._begin(X, fresh, split=False)
            rows = Rows(data, torch.arange(len(data)))
            if fresh:
                self.net_ = self._make_net(rows)
            with self._kept_if_interrupted(rows, whole=False):
                self._tune(rows)
                self._train_net(rows, epochs=1, callbacks=[FiniteGuard()], in_step=self._in_step(self.max_iter))
            self._select(None, rows, first=False)
            self._finish(rows, whole=False)
        return self

    def _begin(self, X, fresh: bool, *, split: bool) -> tuple[Tensor, list[Split]]:
        """Check parameters and rows, and on a fresh fit set what depends on the rows.

        Returns the rows as the network reads them, and how they are split to judge training.
        """
        self._check_configuration()
        if fresh:
            self._forget()
        else:
            self._check_continuation()
        X = self._validate(X, reset=fresh)
        likelihood = self._make_likelihood() if fresh else self._likelihood
        likelihood.check(X)
        likelihood = likelihood.fitted_to(X) if fresh else likelihood
        seed = draw_seed(self.random_state) if fresh else self._seed
        splits = self._splits(len(X), make_generator(seed, "split"), fresh or self._is_at_start()) if split else []
        if fresh:
            self._blueprint, self.device_ = clone(self).set_callbacks(), resolve_device(self.device)
            self._likelihood, self._seed = likelihood, seed
            self._dtype = X.dtype.name
            # Rows that are held out from the final network touch nothing that is fitted.
            chosen = splits[0][0].numpy() if len(splits) == 1 else np.arange(len(X))
            self._scaling = self._fit_scaling(X, chosen, likelihood)
        return torch.from_numpy(self._to_network(X)).to(self.device_), splits

    def _splits(self, n_rows: int, generator: torch.Generator, first: bool) -> list[Split]:
        """Rows to train on and to hold out: none of too few rows, folds for few, else one split."""
        if n_rows < MIN_ROWS:
            return []
        if n_rows < FEW_ROWS:
            # A network that goes on from folds has seen all rows, so none of them can judge it any more.
            return fold_rows(n_rows, generator) if first else []
        if self._has_settled and not first:
            return []  # nor one that has settled
        return [split_rows(n_rows, self.validation_fraction, generator)]

    def _judge_by_folds(self, data: Tensor, splits: list[Split]) -> Verdict:
        """Train a network for each fold; one number of epochs for all of them, judged on every row once."""
        before, after, epochs = [], [], self._n_judged_epochs()
        for chosen, held_out in splits:
            rows, validation, losses = Rows(data, chosen), Rows(data, held_out), HeldOutLosses()
            net = self._make_net(rows)
            net.take_callbacks(self.callbacks)
            net.tune(self.learning_rate, self.weight_decay, net.batch_size)
            before.append(net.judge(validation))
            callbacks = self._fit_callbacks(net, rows, epochs)
            net.train(rows, validation, epochs=epochs, callbacks=[losses, *callbacks], in_step=self._in_step(epochs))
            after.append(losses.padded(epochs, len(validation)))
        pooled = torch.cat(after, dim=1)  # (epochs, n_rows)
        self.validation_loss_curve_ = pooled.mean(1).tolist()
        best = best_epoch(pooled, self._yardstick)
        return Verdict(best, torch.cat(before), pooled[best - 1], self._yardstick)

    def _n_judged_epochs(self) -> int:
        """Epochs among which held-out rows choose; the rest of ``max_iter`` is for settling, where rates fall."""
        falling = SCHEDULES[self.learning_rate_schedule] is not None
        return self.max_iter - (int(self._settling_share * self.max_iter) if falling else 0)

    def _train(self, rows: Rows, validation: Rows | None, epochs: int, planned: int, tasks: EpochTasks, before):
        """Train for up to ``epochs`` of those ``planned``; how many were best, or None if a callback broke off.

        With ``before``, held-out rows' losses at the start, that is what an epoch has to be better than.
        """
        self._tune(rows)
        n_before, patience = len(self.net_.history), None if validation is None else self.n_iter_no_change
        start = None if before is None else float(self._yardstick.shorten(before).mean())
        callbacks = self._fit_callbacks(self.net_, rows, planned, patience, self.verbose, start=start)
        self._train_net(rows, validation, epochs=epochs, callbacks=[*callbacks, tasks], in_step=self._in_step(planned))
        if not self.net_.stopped_by_ <= {Patience}:
            return None
        return epochs if validation is None else callbacks[-1].best_epoch_ - n_before  # Patience comes last

    def _settle(self, rows: Rows, validation: Rows | None, epochs: int, tasks: EpochTasks) -> None:
        """Train a bit more, on all rows: at the best epoch rates were high, and held-out rows have much to teach."""
        self._tune(rows)
        judged, in_step = self.validation_loss_curve_, self._in_step(self.max_iter)
        callbacks = self._fit_callbacks(self.net_, rows, epochs, verbose=self.verbose, schedule="settling")
        try:
            self._train_net(rows, validation, epochs=epochs, callbacks=[*callbacks, tasks], in_step=in_step)
        finally:
            self.validation_loss_curve_ = judged  # what was recorded since, for callbacks, judges nothing
            self._has_settled = True

    def _tune(self, rows: Rows) -> None:
        """Give the net the parameters that may change from one call to the next."""
        self.net_.take_callbacks(self.callbacks)
        self.net_.tune(self.learning_rate, self.weight_decay, self._batch_size(len(rows)))

    def _train_net(self, *args, **kwargs) -> None:
        """Train the net; what it recorded is kept also when it is broken off."""
        try:
            self.net_.train(*args, **kwargs)
        finally:
            self._record()

    @contextmanager
    def _old_state_if_it_fails(self, fresh: bool):
        """An error leaves a fresh fit unfitted, and an earlier model as it predicted; a Ctrl-C leaves a model."""
        before = {} if fresh else dict(vars(self))
        weights = {} if fresh else {k: v.clone() for k, v in self.net_.plain_module.state_dict().items()}
        n_epochs = 0 if fresh else len(self.net_.history)
        try:
            with torch.inference_mode(False), torch.enable_grad():  # whatever fit was called in
                yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and hasattr(self, "n_iter_"):
                raise
            self._forget()
            if not fresh:
                self.__dict__.update(before)
                self.net_.plain_module.load_state_dict(weights)
                del self.net_.history[n_epochs:]
                self.net_.n_recorded_ = n_epochs
            raise

    @contextmanager
    def _kept_if_interrupted(self, rows: Rows, *, whole: bool):
        """A Ctrl-C leaves a model: the best weights so far, or the start if no epoch came to its end."""
        n_before = getattr(self, "n_iter_", 0)
        try:
            yield
        except KeyboardInterrupt:
            self._record()
            self._select(None, rows, first=self.n_iter_ == n_before and self._is_at_start())
            self._finish(rows, whole=whole)
            raise

    def _fit_callbacks(self, net, rows: Rows, epochs: int, patience=None, verbose=0, schedule="", start=None) -> list:
        return fit_callbacks(
            schedule=schedule or self.learning_rate_schedule,
            n_steps=epochs * len(WholeBatches(rows, net.batch_size)),
            patience=patience,
            tol=self.tol,
            verbose=verbose,
            threshold_mode=self._yardstick.threshold_mode,
            n_warmup_epochs=net.n_warmup_epochs,
            start=start,
        )

    def _record(self) -> None:
        """Append to the public record of training the epochs that the net has finished since the last time."""
        epochs = [epoch for epoch in self.net_.history[self.net_.n_recorded_ :] if "train_loss" in epoch]
        self.net_.n_recorded_ = len(self.net_.history)
        terms = {name for epoch in epochs for name in epoch if name.startswith("train_")} - _NO_TERMS
        curves = getattr(self, "loss_curves_", {})
        self.loss_curve_ = getattr(self, "loss_curve_", []) + [epoch["train_loss"] for epoch in epochs]
        self.validation_loss_curve_ = getattr(self, "validation_loss_curve_", []) + [
            epoch["valid_loss"] for epoch in epochs if "valid_loss" in epoch
        ]
        self.loss_curves_ = {
            name: curves.get(name, []) + [epoch[f"train_{name}"] for epoch in epochs]
            for name in sorted({*curves, *(term.removeprefix("train_") for term in terms)})
        }
        self.n_iter_ = len(self.loss_curve_)

    def _check_continuation(self) -> None:
        """Refuse to train further when a parameter that shapes the model was changed since the fit."""
        for name in self._shaping_parameters:
            now, then = getattr(self, name), getattr(self._blueprint, name)
            if not same_value(now, then):
                raise ValueError(
                    f"{name} was {then!r} in the fit that is to be continued and is now {now!r}; "
                    "set it back, or fit with warm_start=False."
                )

    #: Parameters that ``warm_start`` and ``partial_fit`` cannot change.
    _shaping_parameters: tuple[str, ...] = ("optimizer", "weight_decay", "device", "net_params")

    def _make_net(self, rows: Rows) -> ObjectiveNet:
        """A net at its start: weights drawn, and what depends on data set from these rows."""
        module = self._empty_module()
        generator = make_generator(self._seed, "initialization")
        initialize_parameters(module, generator)
        self._initialize(module, Rows(rows.data.cpu(), rows.index.cpu()))
        check_is_set(module)
        return self._build_net(module, self._batch_size(len(rows)))

    def _empty_module(self) -> nn.Module:
        """The module without weights: built on the meta device, so that no global generator is read."""
        with torch.device("meta"):
            module = self._blueprint._make_module(self.input_shape_, self._likelihood)
        module = module.to_empty(device="cpu").float()
        mark_unset(module)
        return module

    def _build_net(self, module: nn.Module, batch_size: int) -> ObjectiveNet:
        """The net around a module whose weights are set, from the parameters of the fit."""
        plan = self._blueprint
        return build_net(
            module,
            plan._make_objective(self._likelihood),
            optimizer=plan.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            net_params=plan.net_params,
            device=self.device_,
            batch_size=batch_size,
            seed=self._seed,
            yardstick=self._yardstick,
            n_warmup_epochs=plan._warmup_epochs(),
            game=plan._make_game(self._likelihood),
        )

    def _batch_size(self, n_rows: int) -> int:
        """``"auto"``: a twentieth of the rows, at least 32 and at most 512."""
        if self.batch_size == "auto":
            return min(max(-(-n_rows // 20), 32), 512)
        return min(self.batch_size, n_rows)

    def _forget(self) -> None:
        """Drop all fitted state, so that a fit that fails leaves the estimator clearly unfitted."""
        for name in list(vars(self)):
            if (name.endswith("_") and not name.startswith("_")) or name in _PRIVATE_STATE:
                delattr(self, name)

    # -- rows in, rows out

    def _to_network(self, X: np.ndarray) -> np.ndarray:
        """All rows as the network reads them, float32."""
        out = np.empty(X.shape, dtype=np.float32)
        for start in range(0, len(X), 4096):
            self._prepare(X[start : start + 4096], out[start : start + 4096])
        return out

    def _prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        """Write one block as the network reads it."""
        if self._likelihood.scales_rows:
            self._scaling.apply(block, out)
        else:
            np.copyto(out, block, casting="same_kind")

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
            message = f"The model was fitted on device={self.device_!r}, which is not here; it opens on the CPU."
            warnings.warn(message, stacklevel=2)
            self.device_ = "cpu"
        with torch.inference_mode(False):
            module = self._empty_module()
            module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
            module.eval()
            self.net_ = self._build_net(module, batch_size)
        self.net_.n_earlier_epochs_ = getattr(self, "n_iter_", 0)  # a copy from within the first epoch has none
