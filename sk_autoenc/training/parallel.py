"""Data-parallel training: every process computes its part of each batch, and gradients are averaged.

All processes read the same rows with the same seed, so they agree on start, split and order of rows. What decides about
training is computed by all of them, and taken from the first.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

_IN_FORCE: ContextVar[bool] = ContextVar("data_parallel", default=False)

T = TypeVar("T")


@contextmanager
def data_parallel() -> Iterator[None]:
    """Let each ``fit`` in the block train one model with all processes that ``torchrun`` has started.

    Every process calls ``fit`` with the same rows and parameters, and all of them end with the same model. Each step
    has ``batch_size`` rows in all, of which every process computes its part; then gradients are averaged. So the model
    is that of one process, within rounding, if no noise is drawn in training. Noise has a stream of its own in each
    process. Terms of a whole batch, such as ``sparsity_target``, are those of a process's part, averaged.

    A group of processes that exists already is used, and left as it is.

    Examples
    --------
    A script that ``torchrun --nproc-per-node 2 script.py`` runs::

        with sk_autoenc.data_parallel():
            model = AutoencoderTransformer(8, random_state=0).fit(X)
        if int(os.environ["RANK"]) == 0:
            sk_autoenc.save(model, "model.zip")
    """
    is_ours = not distributed.is_initialized()
    if is_ours:
        if "RANK" not in os.environ:
            raise RuntimeError("data_parallel needs processes that torchrun has started: torchrun script.py.")
        distributed.init_process_group()
    token = _IN_FORCE.set(True)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)
        if is_ours:
            distributed.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 for a process that trains alone."""
    return distributed.get_rank() if _IN_FORCE.get() else 0


def n_processes() -> int:
    """Number of the processes that train one model."""
    return distributed.get_world_size() if _IN_FORCE.get() else 1


def agreed(value: T) -> T:
    """The value of the first process."""
    if n_processes() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


class Share:
    """The part of each batch that this process computes; all of it if it trains alone."""

    def __init__(self) -> None:
        self.rank, self.n_processes = rank(), n_processes()
        self.weight = 1.0  # of the part's mean in the mean of the batch, times the number of processes

    def __call__(self, index: Tensor) -> Tensor:
        """Numbers of the rows of this process."""
        if self.n_processes == 1:
            return index
        part = index.tensor_split(self.n_processes)[self.rank]
        self.weight = len(part) * self.n_processes / len(index)
        return part if len(part) else index[:1]  # a row without weight, so that every process has a gradient

    def take_weights_of_the_first(self, module: nn.Module) -> None:
        """Take weights and buffers of the first process."""
        if self.n_processes > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over processes, in one message."""
        if self.n_processes == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.n_processes
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def total(self, figures: Tensor) -> Tensor:
        """Sums over processes."""
        if self.n_processes > 1:
            distributed.all_reduce(figures)
        return figures
