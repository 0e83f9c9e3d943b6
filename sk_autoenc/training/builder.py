"""From an estimator's parameters to skorch and torch: optimizers, callbacks, devices, ``net_params``."""

import contextlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from skorch.callbacks import Callback, PrintLog
from torch import Tensor, nn

from sk_autoenc.training.adversarial import AdversarialNet, Game
from sk_autoenc.training.callbacks import EarlyStoppingAfterWarmup, FiniteGuard, RateSchedule
from sk_autoenc.training.nets import Objective, ObjectiveNet
from sk_autoenc.training.schedules import SHAPES
from sk_autoenc.training.selection import BY_ROW, Selection

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}
_FUSED = {"adam", "adamw", "sgd"}

#: Parameters of the net that an estimator sets, and the estimator's parameter for each.
_OURS = {
    "lr": "learning_rate",
    "optimizer__lr": "learning_rate",
    "optimizer__weight_decay": "weight_decay",
    "max_epochs": "max_iter",
    "batch_size": "batch_size",
    "optimizer": "optimizer",
    "callbacks": "callbacks",
    "device": "device",
    "verbose": "verbose",
    "warm_start": "warm_start",
    "train_split": "validation_fraction",
    "module": "architecture",
}


def check_net_params(net_params: Mapping[str, Any] | None) -> dict[str, Any]:
    """``net_params`` if every entry takes effect: ``compile``, ``compile__*`` and ``optimizer__*``."""
    given = dict(net_params or {})
    for name in given:
        if name in _OURS:
            raise ValueError(f"net_params: use the estimator's parameter {_OURS[name]} instead of {name!r}.")
        if name == "optimizer__param_groups":
            raise ValueError(
                "net_params: 'optimizer__param_groups' would have no effect, because the net sets the groups."
            )
        if name != "compile" and not name.startswith(("compile__", "optimizer__")):
            raise ValueError(
                f"net_params: names must be 'compile', 'compile__*' or 'optimizer__*', got {name!r}, which would have "
                "no effect."
            )
        if name.startswith("compile__") and "compile" not in given:
            raise ValueError(f"net_params: {name!r} would have no effect without 'compile'.")
    return given


class _ByValue(NumpyHasher):
    """Hashes objects by value; joblib's own hasher gives equal tensors different hashes."""

    def save(self, obj):
        super().save(obj.detach().cpu().numpy() if isinstance(obj, Tensor) else obj)


def same_value(now: Any, then: Any) -> bool:
    """Whether a parameter, of any type, still has its former value."""
    return _ByValue("md5").hash(now) == _ByValue("md5").hash(then) or np.array_equal(now, then)


def resolve_device(device: str) -> str:
    """The device to compute on; ``"auto"`` is CUDA where there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("sums are in float64, which only the CPU and CUDA support")
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(
            f"device must be 'auto' or one of {', '.join(there)}, got {device!r}; GPUs are 'cuda'."
        ) from error
    return device


class BatchInForce:
    """The number of rows per step that a fit has come to use, for messages; ``"auto"`` before that is known."""

    def __init__(self, batch_size: int | str):
        self.size = self.asked = batch_size

    def __str__(self) -> str:
        return str(self.size) if self.size == self.asked else f"{self.size} ({self.asked!r})"


@contextlib.contextmanager
def lack_of_memory_explained(device: str, batch: BatchInForce) -> Iterator[None]:
    """Replace torch's error for a full device, or a full CPU, by one that names the parameters that help."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        error.__traceback__ = None  # it would keep the tensors alive
        torch.cuda.empty_cache()
        raise MemoryError(
            f"device={device!r} has run out of memory with batch_size={batch}; use a smaller batch_size, or "
            "device='cpu'."
        ) from None
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise MemoryError(
            f"the CPU has run out of memory with batch_size={batch}; use a smaller batch_size, or a smaller network."
        ) from None


def build_net(
    module: nn.Module,
    objective: Objective | None,
    *,
    optimizer: str,
    learning_rate: float,
    weight_decay: float,
    net_params: Mapping[str, Any] | None,
    device: str,
    batch_size: int,
    seed: int,
    selection: Selection = BY_ROW,
    n_warmup_epochs: int = 0,
    evaluation_arguments: Mapping[str, Any] | None = None,
    game: Game | None = None,
) -> ObjectiveNet:
    """An initialized net around a module whose weights are set; with a game, its players train in turns."""
    options = {"optimizer__fused": True} if optimizer in _FUSED else {}
    make: Callable[..., ObjectiveNet] = ObjectiveNet
    if game is not None:
        make = partial(AdversarialNet, game=game)
        if optimizer != "sgd":
            options |= {f"optimizer__{name}": value for name, value in game.adam_options.items()}
    return make(
        module,
        objective,
        optimizer=OPTIMIZERS[optimizer],
        lr=learning_rate,
        optimizer__weight_decay=weight_decay,
        device=device,
        batch_size=batch_size,
        seed=seed,
        selection=selection,
        n_warmup_epochs=n_warmup_epochs,
        evaluation_arguments=evaluation_arguments or {},
        **{**options, **check_net_params(net_params)},
    ).initialize()


def fit_callbacks(
    *,
    schedule: str,
    n_steps: int,
    selection: Selection | None = None,
    verbose: int = 0,
    n_warmup_epochs: int = 0,
    start: float | None = None,
) -> list[Callback]:
    """The callbacks of one training: guard, printing if verbose, schedule, and early stopping if there is a selection.

    ``start``: the criterion before training, if these weights are kept unless an epoch is better.
    """
    callbacks: list[Callback] = [FiniteGuard()]
    if verbose:
        callbacks.append(PrintLog(sink=print_line))
    if (shape := SHAPES[schedule]) is not None:
        callbacks.append(RateSchedule(shape, n_steps))
    if selection is not None:
        options = {"threshold": selection.tol, "threshold_mode": selection.threshold_mode, "sink": _silent}
        if not selection.stops:
            options |= {"load_best": False}
        patience = selection.patience if selection.stops else math.inf
        callbacks.append(EarlyStoppingAfterWarmup(n_warmup_epochs, start, patience=patience, **options))
    return callbacks


def print_line(text: str) -> None:
    """Print, although the net has ``verbose=0``; skorch's colours only on a terminal."""
    print(text if sys.stdout.isatty() else re.sub(r"\x1b\[\d*m", "", text), flush=True)


def _silent(text: str) -> None:
    """Drop messages of skorch."""
