"""Learning-rate schedules: the rate as a share of its peak, as a function of the share of steps that are done."""

import math
from collections.abc import Callable

#: Share of the steps over which ``cosine`` rises.
_WARM_UP = 0.1

#: Share of the steps over which ``rise_and_fall`` rises; its first and last value.
_RISE, _FIRST, _LAST = 0.3, 0.04, 1e-4


def half_cosine(done: float, total: float = 1.0) -> float:
    """Half a cosine from 1 at ``done = 0`` to 0 at ``done = total``."""
    return 0.5 * (1 + math.cos(math.pi * done / total))


def cosine(progress: float) -> float:
    """Linear warm-up, then half a cosine from 1 to 0."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return half_cosine(min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP)))


def final_phase(progress: float) -> float:
    """Half a cosine from 1/2 to 0. It has no warm-up, because it continues the training of a network."""
    return 0.5 * half_cosine(min(1.0, progress))


def rise_and_fall(step: int, n_steps: int) -> float:
    """Half a cosine up and half a cosine down, for the few steps of a detector's networks."""
    peak = max(1.0, _RISE * n_steps - 1)
    if step <= peak:
        return 1 + (_FIRST - 1) * half_cosine(step, peak)
    return _LAST + (1 - _LAST) * half_cosine((step - peak) / max(1.0, n_steps - 1 - peak))


#: Values of ``learning_rate_schedule``. A shape maps the share of the steps that are done to the rate as a share of
#: ``learning_rate``; None keeps the rate constant.
SCHEDULES: dict[str, Callable[[float], float] | None] = {"constant": None, "cosine": cosine}

#: All shapes that a phase of training may have.
SHAPES: dict[str, Callable[[float], float] | None] = {**SCHEDULES, "final": final_phase}
