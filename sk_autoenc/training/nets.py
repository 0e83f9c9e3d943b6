"""The skorch net that trains one module on one objective, at the speed of a loop written by hand."""

import math
from collections.abc import Callable, Iterable

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.callbacks.scoring import ScoringBase
from torch import Tensor

from sk_autoenc.training.callbacks import StopTraining
from sk_autoenc.training.data import Rows, WholeBatches
from sk_autoenc.training.seeding import make_generator

Terms = dict[str, Tensor]
Objective = Callable[..., Terms]


def total_per_row(terms: Terms) -> Tensor:
    """The sum of an objective's terms: one number per row, terms of the whole batch added to each."""
    return torch.stack(torch.broadcast_tensors(*terms.values())).sum(0)


class ObjectiveNet(NeuralNet):
    """Trains ``module`` on the sum of the terms that ``criterion`` returns, averaged over rows.

    What differs from :class:`skorch.NeuralNet`: rows come as whole batches from a tensor on the device;
    losses stay there until the epoch ends, so nothing waits for the device; every term has its own curve;
    all noise comes from private generators; and Ctrl-C is passed on.

    Parameters
    ----------
    module : nn.Module
        ``module(x, generator)`` returns what the criterion reads; without a generator it draws nothing.
    criterion : callable
        The objective, ``(output, x) -> {name: (batch,) or ()}``.
    seed : int
        Seeds shuffling, noise, and the fixed noise of validation.
    """

    def __init__(self, module, criterion, *, seed=0, **kwargs):
        super().__init__(module, criterion, train_split=None, verbose=0, **kwargs)
        self.seed = seed

    # -- what skorch asks for

    @property
    def _default_callbacks(self):
        return []

    def initialize_criterion(self):
        self.criterion_ = self.criterion
        return self

    def initialize(self):
        super().initialize()
        for name, callback in self.callbacks_:
            if isinstance(callback, ScoringBase):
                raise ValueError(
                    f"callbacks: {name} is a {type(callback).__name__}, which reads batches one by one and would "
                    "see none here; use scikit-learn's ScoringMonitor through set_callbacks instead."
                )
        self.shuffling_ = make_generator(self.seed, "shuffling")
        self.noise_ = make_generator(self.seed, "noise", self.device)
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Nothing: skorch would open a row of history per batch."""

    def notify(self, method_name, **cb_kwargs):
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as stop:
            # skorch's callbacks stop training by raising KeyboardInterrupt without arguments, as does Ctrl-C;
            # the traceback tells them apart: a raise statement in a callback's own frame is the callback's wish.
            raise StopTraining from stop

    # -- training

    def train(
        self, rows: Rows, validation: Rows | None = None, *, epochs: int, callbacks: Iterable[Callback] = ()
    ) -> None:
        """Train for up to ``epochs`` more epochs; ``callbacks`` serve this call alone.

        Raises
        ------
        KeyboardInterrupt
            After the callbacks have restored the weights that they keep.
        """
        own = self.callbacks_
        self.callbacks_ = own + [(type(callback).__name__, callback.initialize()) for callback in callbacks]
        batches = WholeBatches(rows, self.batch_size, self.shuffling_)
        held_out = None if validation is None else WholeBatches(validation, self.batch_size)
        datasets = {"dataset_train": rows, "dataset_valid": validation}
        try:
            self.notify("on_train_begin", X=rows)
            try:
                for _ in range(epochs):
                    self.notify("on_epoch_begin", **datasets)
                    self.run_single_epoch(batches, True, "train", self.train_step)
                    self.run_single_epoch(held_out, False, "valid", self.validation_step)
                    self.notify("on_epoch_end", **datasets)
            except StopTraining:
                pass
            finally:
                self.notify("on_train_end", X=rows)
        finally:
            self.callbacks_ = own
            self.module_.eval()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass; records the mean of the loss and of every term over rows, with a single wait for the device."""
        if iterator is None:
            return
        self._set_training(training)
        if not training:
            self.validation_noise_ = make_generator(self.seed, "validation", self.device)
        self._sizes, self._means = [], []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self._record_losses(prefix)

    def _record_losses(self, prefix: str) -> None:
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        names = list(self._means[0])
        values = torch.stack([torch.stack([means[name] for name in names]) for means in self._means])
        means = (sizes @ values.cpu().double() / sizes.sum()).tolist()
        total = math.fsum(means)
        earlier = [row[f"{prefix}_loss"] for row in self.history[:-1] if f"{prefix}_loss" in row]
        self.history.record(f"{prefix}_batch_count", len(self._sizes))
        self.history.record(f"{prefix}_loss", total)
        self.history.record(f"{prefix}_loss_best", all(total < loss for loss in earlier))
        for name, mean in zip(names, means, strict=True):
            self.history.record(f"{prefix}_{name}", mean)

    def train_step_single(self, batch, **fit_params):
        loss = self._loss(batch, self.noise_)
        loss.backward()
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch, **fit_params):
        with torch.no_grad():
            return {"loss": self._loss(batch, self.validation_noise_), "y_pred": None}

    def _loss(self, batch: Tensor, noise: torch.Generator) -> Tensor:
        terms = self.criterion_(self.module_(batch, noise), batch)
        means = {name: term.mean() for name, term in terms.items()}
        self._sizes.append(len(batch))
        self._means.append({name: mean.detach() for name, mean in means.items()})
        return torch.stack(list(means.values())).sum() if len(means) > 1 else next(iter(means.values()))

    # -- judging

    def objective_per_row(self, rows: Rows) -> Tensor:
        """The objective of every row, with the fixed noise of validation; shape (n,), float64, on the CPU."""
        noise = make_generator(self.seed, "validation", self.device)
        self._set_training(False)
        with torch.no_grad():
            parts = [
                total_per_row(self.criterion_(self.module_(x, noise), x)) for x in WholeBatches(rows, self.batch_size)
            ]
        return torch.cat(parts).cpu().double()
