"""From an estimator's parameters to skorch and torch: optimizers, schedules, devices, ``net_params``."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
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
from sk_autoenc.training.selection import Selection

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}
_FUSED = {"adam", "adamw", "sgd"}

#: Share of the steps over which the rate of a cosine schedule rises before it falls.
_WARM_UP = 0.1


def _cosine(progress: float) -> float:
    """Linear rise, then half a cosine down to zero."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP))))


def _final(progress: float) -> float:
    """Half a cosine from half of the peak down to zero."""
    return 0.25 * (1 + math.cos(math.pi * min(1.0, progress)))


#: The rate, as a share of ``learning_rate``, by the share of the steps that are done; None keeps it constant.
SCHEDULES = {"constant": None, "cosine": _cosine}

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


def check_net_params(net_params: Mapping[str, Any] | None) -> dict[str, Any]:
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
    objective: Objective | None,
    *,
    optimizer: str,
    learning_rate: float,
    weight_decay: float,
    net_params: Mapping[str, Any] | None,
    device: str,
    batch_size: int,
    seed: int,
    selection: Selection | None = None,
    n_warmup_epochs: int = 0,
    evaluation_arguments: Mapping[str, Any] | None = None,
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
    """The callbacks of one training: guard, a line per epoch if verbose, schedule, early stopping with a selection.

    ``start`` is what the criterion was before, if that is to be kept unless an epoch is better.
    """
    callbacks: list[Callback] = [FiniteGuard()]
    if verbose:
        callbacks.append(PrintLog(sink=_print))
    if (shape := (SCHEDULES | {"final": _final})[schedule]) is not None:
        callbacks.append(RateSchedule(shape, n_steps))
    if selection is not None:
        options = {"threshold": selection.tol, "threshold_mode": selection.threshold_mode, "sink": _silent}
        if not selection.stops:
            options |= {"load_best": False}
        patience = selection.patience if selection.stops else math.inf
        callbacks.append(Patience(n_warmup_epochs, start, patience=patience, **options))
    return callbacks


def _print(text: str) -> None:
    """Print even though the net itself is silent."""
    print(text)


def _silent(text: str) -> None:
    """Where skorch's messages go."""
