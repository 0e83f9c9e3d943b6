"""The fit template that every estimator fills in, and what every fitted autoencoder can do.

``NeuralEstimator`` owns the flow of ``fit`` and the fitted state; an estimator fills four holes:
``_make_module``, ``_make_objective``, ``_initialize`` and, if need be, ``_select``. ``BaseAutoencoder``
adds ``transform``, ``inverse_transform``, ``reconstruct`` and the scores. Nothing below this module
knows that estimators exist.
"""

import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions, fit_context
from sk_autoenc.likelihoods import Likelihood, as_likelihood
from sk_autoenc.scaling import fit_scaling
from sk_autoenc.training.callbacks import EpochTasks, FiniteGuard, HeldOutLosses
from sk_autoenc.training.data import Rows, WholeBatches
from sk_autoenc.training.inference import LARGE_BLOCK, map_rows
from sk_autoenc.training.judging import FEW_ROWS, MIN_ROWS, Split, Verdict, best_epoch, fold_rows, split_rows
from sk_autoenc.training.nets import Objective, ObjectiveNet
from sk_autoenc.training.options import (
    OPTIMIZERS,
    SCHEDULES,
    build_net,
    check_net_params,
    fit_callbacks,
    resolve_device,
)
from sk_autoenc.training.seeding import draw_seed, initialize_parameters, make_generator

#: Fitted state without a trailing underscore; what ends in one is found by its name.
_PRIVATE_STATE = ("_blueprint", "_scaling", "_likelihood", "_seed", "_n_features_out")

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

    # -- holes

    @abstractmethod
    def _make_module(self, input_shape: tuple[int, ...]) -> nn.Module:
        """The network for rows of this shape; its weights need not be set."""

    @abstractmethod
    def _make_objective(self) -> Objective:
        """``(output, rows) -> {name: term}``, to be minimised."""

    @abstractmethod
    def _make_likelihood(self) -> Likelihood:
        """What the output says about the rows."""

    def _initialize(self, module: nn.Module, rows: Rows) -> None:
        """Set what depends on data; ``rows`` are the training rows, without the held-out ones."""

    def _select(self, verdict: Verdict | None, rows: Rows, fresh: bool) -> None:
        """Act on what the held-out rows say, where any were held out; ``rows`` are all of them."""

    def _finish(self, rows: Rows) -> None:
        """Set the fitted attributes that need the trained network."""

    def _check_configuration(self) -> None:
        """Raise ``ValueError`` for parameters that do not go together."""
        check_net_params(self.net_params)

    def _validate(self, X, *, reset: bool) -> np.ndarray:
        """Rows as a finite 2-D array of float32 or float64, the dtype kept where it is one of these."""
        X = validate_data(self, _detached(X), dtype=[np.float64, np.float32], reset=reset)
        _check_range(X, "X")
        return X

    # -- the flow

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows; float32 and float64 are kept, other numbers become float64.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        fresh = not (self.warm_start and hasattr(self, "net_"))
        root = self._init_callback_context(max_subtasks=self.max_iter)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with self._unfitted_if_it_fails(fresh):
            data, splits = self._begin(X, fresh, split=self.early_stopping)
            everything = Rows(data, torch.arange(len(data)))
            chosen, held_out = splits[0] if len(splits) == 1 else (everything.index, None)
            rows, validation = Rows(data, chosen), None if held_out is None else Rows(data, held_out)
            if fresh:
                self.net_ = self._make_net(rows)
            with self._kept_if_interrupted(everything):
                verdict = self._judge_by_folds(data, splits) if len(splits) > 1 else None
                before = None if validation is None else self.net_.judge(validation)
                tasks = self._epoch_tasks(root, X, y)
                self._train(rows, validation, self.max_iter if verdict is None else verdict.n_epochs, tasks)
                if before is not None:
                    verdict = Verdict(self.n_iter_, before, self.net_.judge(validation))
            self._select(verdict, everything, fresh)
            self._finish(everything)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on the rows of ``X``, at a constant rate and without early stopping.

        The first call sets centre, scale, and the start of the network from its rows.

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
        with self._unfitted_if_it_fails(fresh):
            data, _ = self._begin(X, fresh, split=False)
            rows = Rows(data, torch.arange(len(data)))
            if fresh:
                self.net_ = self._make_net(rows)
            with self._kept_if_interrupted(rows):
                self._tune(rows)
                self._record_epochs(rows, epochs=1, callbacks=[FiniteGuard()])
            self._select(None, rows, fresh=False)
            self._finish(rows)
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
        seed = draw_seed(self.random_state) if fresh else self._seed
        splits = self._splits(len(X), make_generator(seed, "split"), fresh) if split else []
        if fresh:
            self._blueprint, self.device_ = clone(self).set_callbacks(), resolve_device(self.device)
            self._likelihood, self._seed, self.input_shape_ = likelihood, seed, X.shape[1:]
            # Rows that are held out from the final network touch nothing that is fitted.
            self._scaling = fit_scaling(X, splits[0][0].numpy() if len(splits) == 1 else np.arange(len(X)))
        return torch.from_numpy(self._to_network(X)).to(self.device_), splits

    def _splits(self, n_rows: int, generator: torch.Generator, fresh: bool) -> list[Split]:
        """Rows to train on and to hold out: none of too few rows, folds for few, else one split."""
        if n_rows < MIN_ROWS:
            return []
        if fresh and n_rows < FEW_ROWS:
            return fold_rows(n_rows, generator)
        return [split_rows(n_rows, self.validation_fraction, generator)]

    def _judge_by_folds(self, data: Tensor, splits: list[Split]) -> Verdict:
        """Train a network for each fold; one number of epochs for all of them, judged on every row once."""
        before, after = [], []
        for chosen, held_out in splits:
            net, losses = self._make_net(Rows(data, chosen)), HeldOutLosses(Rows(data, held_out))
            before.append(net.judge(losses.rows))
            callbacks = self._fit_callbacks(len(chosen), net.batch_size, patience=None)
            net.train(Rows(data, chosen), epochs=self.max_iter, callbacks=[losses, *callbacks])
            after.append(losses.padded(self.max_iter))
        pooled = torch.cat(after, dim=1)  # (max_iter, n_rows)
        self.validation_loss_curve_ = pooled.mean(1).tolist()
        best = best_epoch(pooled)
        return Verdict(best, torch.cat(before), pooled[best - 1])

    def _train(self, rows: Rows, validation: Rows | None, epochs: int, tasks: EpochTasks) -> None:
        """Train the net for up to ``epochs`` of the ``max_iter`` epochs of its schedule, and record them."""
        self._tune(rows)
        patience = None if validation is None else self.n_iter_no_change
        callbacks = self._fit_callbacks(len(rows), self.net_.batch_size, patience, self.verbose)
        self._record_epochs(rows, validation, epochs=epochs, callbacks=[*callbacks, tasks])

    def _tune(self, rows: Rows) -> None:
        """Give the net the parameters that may change from one call to the next."""
        self.net_.tune(self.learning_rate, self.weight_decay, self._batch_size(len(rows)))

    def _record_epochs(self, *args, **kwargs) -> None:
        """Train the net, and append what its history says of the epochs that were finished."""
        done = len(self.net_.history)
        try:
            self.net_.train(*args, **kwargs)
        finally:
            self._record([epoch for epoch in self.net_.history[done:] if "train_loss" in epoch])

    @contextmanager
    def _unfitted_if_it_fails(self, fresh: bool):
        """An error in a fresh fit leaves no fit, unless it is a Ctrl-C after training began."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            self._forget()
            torch.cuda.empty_cache()
            raise MemoryError(
                f"device={self.device!r} is out of memory with batch_size={self.batch_size!r}; "
                "use a smaller batch_size, or device='cpu'."
            ) from error
        except BaseException as error:
            if fresh and not (isinstance(error, KeyboardInterrupt) and hasattr(self, "n_iter_")):
                self._forget()
            raise

    @contextmanager
    def _kept_if_interrupted(self, rows: Rows):
        """A Ctrl-C leaves a model: the best weights so far."""
        try:
            yield
        except KeyboardInterrupt:
            self._record([])
            self._select(None, rows, fresh=False)
            self._finish(rows)
            raise

    def _fit_callbacks(self, n_rows: int, batch_size: int, patience: int | None, verbose: int = 0) -> list:
        return fit_callbacks(
            schedule=self.learning_rate_schedule,
            n_steps=self.max_iter * -(-n_rows // batch_size),
            patience=patience,
            tol=self.tol,
            verbose=verbose,
        )

    def _record(self, epochs: list[dict]) -> None:
        """Append to the public record of training what the net's history says of these epochs."""
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
            if repr(now) != repr(then) and not np.array_equal(now, then):
                raise ValueError(
                    f"{name} was {then!r} in the fit that is to be continued and is now {now!r}; "
                    "set it back, or fit with warm_start=False."
                )

    #: Parameters that ``warm_start`` and ``partial_fit`` cannot change.
    _shaping_parameters: tuple[str, ...] = ("optimizer", "device", "net_params", "callbacks")

    def _make_net(self, rows: Rows) -> ObjectiveNet:
        """A net at its start: weights drawn, and what depends on data set from these rows."""
        module = self._empty_module()
        initialize_parameters(module, make_generator(self._seed, "initialization"))
        self._initialize(module, Rows(rows.data.cpu(), rows.index.cpu()))
        return self._build_net(module, self._batch_size(len(rows)))

    def _empty_module(self) -> nn.Module:
        """The module without weights: built on the meta device, so that no global generator is read."""
        with torch.device("meta"):
            module = self._blueprint._make_module(self.input_shape_)
        return module.to_empty(device="cpu")

    def _build_net(self, module: nn.Module, batch_size: int) -> ObjectiveNet:
        """The net around a module whose weights are set, from the parameters of the fit."""
        plan = self._blueprint
        return build_net(
            module,
            plan._make_objective(),
            optimizer=plan.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            callbacks=plan.callbacks,
            net_params=plan.net_params,
            device=self.device_,
            batch_size=batch_size,
            seed=self._seed,
        )

    def _batch_size(self, n_rows: int) -> int:
        """``"auto"``: a twentieth of the rows, at least 32 and at most 512."""
        if self.batch_size == "auto":
            return min(max(-(-n_rows // 20), 32), 512)
        return min(self.batch_size, n_rows)

    def _epoch_tasks(self, root, X, y) -> EpochTasks:
        """The bridge from epochs to the tasks that scikit-learn's callbacks see."""
        context = None

        def begin():
            nonlocal context
            context = root.subcontext(task_name="epoch")
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        def end():
            self.net_.module_.eval()
            return context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)

        return EpochTasks(begin, end)

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
            weights = net.module_.state_dict()
            state["_weights"] = {name: value.detach().cpu().numpy().copy() for name, value in weights.items()}
            state["_trained_batch_size"] = net.batch_size
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, batch_size = state.pop("_weights", None), state.pop("_trained_batch_size", None)
        super().__setstate__(state)
        if weights is None:
            return
        if self.device_ != "cpu" and not torch.cuda.is_available():
            warnings.warn(
                f"The model was fitted on device={self.device_!r}, which is not here; it opens on the CPU.",
                stacklevel=2,
            )
            self.device_ = "cpu"
        module = self._empty_module()
        module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        module.eval()
        self.net_ = self._build_net(module, batch_size)


def _detached(X: Any) -> Any:
    """A tensor as an array that shares its memory where it can; everything else as it is."""
    return X.detach().cpu().numpy() if isinstance(X, Tensor) else X


def _check_range(X: np.ndarray, name: str) -> None:
    """Refuse float64 values that are infinite in the network's float32."""
    limit = float(np.finfo(np.float32).max)
    if X.dtype == np.float64 and (largest := max(X.max(), -X.min())) > limit:
        raise ValueError(
            f"{name} holds a value of size {largest:.6g}; the network computes in float32, "
            f"so values must lie within ±{limit:.6g}."
        )


class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    """What every fitted autoencoder can do: codes, rows from codes, reconstructions, scores."""

    def _finish(self, rows: Rows) -> None:
        self._n_features_out = self.n_components
        errors = self._squared_errors(rows)
        self.reconstruction_err_ = float(errors.mean())

    def _squared_errors(self, rows: Rows) -> np.ndarray:
        """Squared error of every row, summed over features, in the units of X."""
        module, likelihood = self.net_.module_, self._likelihood
        module.eval()
        parts = []
        with torch.inference_mode():
            for x in WholeBatches(rows, LARGE_BLOCK):
                expected = likelihood.mean(module(x).raw) * likelihood.row_size(x)
                parts.append((x - expected).square().sum(-1))
        unit = self._scaling.scale if likelihood.scales_rows else 1.0
        return torch.cat(parts).cpu().double().numpy() * unit**2

    # -- holes that autoencoders share

    def _make_likelihood(self) -> Likelihood:
        return as_likelihood(self.likelihood)

    # -- public

    def transform(self, X):
        """Codes of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Codes, in the dtype of ``X`` (float64 unless that is float32). A row's code does not depend on the
            other rows of ``X``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return map_rows(self.net_.module_.encode, X, self.device_, self._prepare).astype(X.dtype, copy=False)

    def inverse_transform(self, Z):
        """Rows that the codes stand for: the decoder's mean.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows, in the dtype of ``Z`` (float64 unless that is float32).
        """
        check_is_fitted(self)
        Z = check_array(_detached(Z), dtype=[np.float64, np.float32], input_name="Z")
        _check_range(Z, "Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} makes {self._n_features_out} codes."
            )
        return self._expected(map_rows(self.net_.module_.decode, Z, self.device_), Z.dtype)

    def reconstruct(self, X):
        """Rows of ``X`` through encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the decoder expects for each row's code, in the units and the dtype of ``X``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        sizes = self._likelihood.row_size(torch.from_numpy(np.ascontiguousarray(X)))
        return self._expected(self._raw(X), X.dtype) * np.asarray(sizes, dtype=X.dtype)

    def score_samples(self, X):
        """How well each row is reconstructed; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            For the gaussian likelihood minus the squared error, summed over features, in the units of ``X``;
            for the others the log-probability of the row given its code. No penalty enters.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        self._likelihood.check(X)
        seen = X
        unit = X.dtype.type(1.0)
        if self._likelihood.scales_rows:
            seen, unit = np.empty(X.shape, dtype=X.dtype), X.dtype.type(self._scaling.scale) ** 2
            self._scaling.apply(X, seen)
        raw = torch.from_numpy(self._raw(X).astype(X.dtype, copy=False))
        return self._likelihood.row_score(raw, torch.from_numpy(np.array(seen))).numpy() * unit

    def score(self, X, y=None):
        """Mean of :meth:`score_samples`, for model selection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
            The mean over rows; higher is better.
        """
        return float(self.score_samples(X).mean())

    def _raw(self, X: np.ndarray) -> np.ndarray:
        """The decoder's output for every row, float32."""
        module = self.net_.module_
        return map_rows(lambda x: module(x).raw, X, self.device_, self._prepare)

    def _expected(self, raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Expected rows in the units of X for the decoder's output."""
        rows = self._likelihood.mean(torch.from_numpy(raw.astype(dtype, copy=False))).numpy()
        return self._scaling.undo(rows) if self._likelihood.scales_rows else rows

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
