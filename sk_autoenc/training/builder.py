"""From an estimator's parameters to skorch and torch: optimizers, callbacks, devices, ``net_params``."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from skorch.callbacks import Callback, PrintLog
from torch import Tensor, nn

from sk_autoenc.training.adversarial import AdversarialNet, Game
from sk_autoenc.training.callbacks import FiniteGuard, Patience, RateSchedule
from sk_autoenc.training.nets import Objective, ObjectiveNet
from sk_autoenc.training.schedules import SCHEDULES, final_phase
from sk_autoenc.training.selection import Yardstick

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}
_FUSED = {"adam", "adamw", "sgd"}

#: Parameters of the net that an estimator sets itself, and the name under which.
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


def check_net_params(net_params: dict | None) -> dict:
    """``net_params`` if every entry takes effect: ``compile``, ``compile__*`` and ``optimizer__*``."""
    given = dict(net_params or {})
    for name in given:
        if name in _OURS:
            raise ValueError(f"net_params: {name!r} is set by the estimator's own parameter {_OURS[name]}.")
        if name == "optimizer__param_groups":
            raise ValueError(
                "net_params: 'optimizer__param_groups' would have no effect; the groups are set by the net."
            )
        if name != "compile" and not name.startswith(("compile__", "optimizer__")):
            raise ValueError(
                f"net_params: {name!r} would have no effect; what can be set is 'compile', 'compile__*' "
                "and 'optimizer__*'."
            )
        if name.startswith("compile__") and "compile" not in given:
            raise ValueError(f"net_params: {name!r} would have no effect without 'compile'.")
    return given


class _ByValue(NumpyHasher):
    """Hashes objects by what they hold; joblib's own takes equal tensors for different ones."""

    def save(self, obj):
        super().save(obj.detach().cpu().numpy() if isinstance(obj, Tensor) else obj)


def same_value(now: Any, then: Any) -> bool:
    """Whether a parameter, of whatever kind, still has the value that it had."""
    return _ByValue("md5").hash(now) == _ByValue("md5").hash(then) or np.array_equal(now, then)


def resolve_device(device: str) -> str:
    """The device to compute on; ``"auto"`` is CUDA where there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("sums in float64 are needed, which only the CPU and CUDA have")
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(
            f"device={device!r} cannot be used; there is {', '.join(there)}, or 'auto' (GPUs are 'cuda')."
        ) from error
    return device


@contextlib.contextmanager
def lack_of_memory_explained(device: str, batch_size: int | str) -> Iterator[None]:
    """A device that is full says which parameters would help."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        error.__traceback__ = None  # it would keep the tensors alive
        torch.cuda.empty_cache()
        raise MemoryError(
            f"device={device!r} is out of memory with batch_size={batch_size!r}; "
            "use a smaller batch_size, or device='cpu'."
        ) from None


def build_net(
    module: nn.Module,
    objective: Objective,
    *,
    optimizer: str,
    learning_rate: float,
    weight_decay: float,
    net_params: dict | None,
    device: str,
    batch_size: int,
    seed: int,
    yardstick: Yardstick,
    n_warmup_epochs: int,
    game: Game | None = None,
) -> ObjectiveNet:
    """An initialized net around a module whose weights are set; with a game its players train in turns."""
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
        yardstick=yardstick,
        n_warmup_epochs=n_warmup_epochs,
        **{**options, **check_net_params(net_params)},
    ).initialize()


def fit_callbacks(
    *,
    schedule: str,
    n_steps: int,
    patience: int | None,
    tol: float,
    verbose: int,
    threshold_mode: str,
    n_warmup_epochs: int,
    start: float | None = None,
) -> list[Callback]:
    """The callbacks of one fit: guard, rate schedule, with a patience early stopping, when verbose a line per epoch."""
    callbacks: list[Callback] = [FiniteGuard()]
    if verbose:
        callbacks.append(PrintLog(sink=_print))
    if (shape := (SCHEDULES | {"settling": final_phase})[schedule]) is not None:
        callbacks.append(RateSchedule(shape, n_steps))
    if patience is not None:
        options = {"patience": patience, "threshold": tol, "threshold_mode": threshold_mode, "sink": _silent}
        callbacks.append(Patience(n_warmup_epochs, start, **options))
    return callbacks


def _print(text: str) -> None:
    """Print even though the net itself is silent."""
    print(text)


def _silent(text: str) -> None:
    """Where skorch's messages go."""
