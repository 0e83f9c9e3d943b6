"""Architectures: parameters from which a matching encoder and decoder are built."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.architectures.convolutional import Convolutional
from sk_autoenc.architectures.mlp import MLP
from sk_autoenc.architectures.recurrent import Recurrent

__all__ = [
    "MLP",
    "Architecture",
    "Convolutional",
    "Recurrent",
    "architecture_object",
    "as_architecture",
    "checked_architecture",
]


def architecture_object(architecture: Sequence[int] | Architecture, **options: Any) -> Architecture:
    """The architecture object itself; a bare sequence of widths is short for an :class:`MLP` with these options."""
    if isinstance(architecture, Architecture):
        return architecture
    return MLP(tuple(architecture) if np.ndim(architecture) else architecture, **options)


def as_architecture(architecture: Sequence[int] | Architecture, **options: Any) -> Architecture:
    """A copy of the architecture object, see :func:`architecture_object`."""
    return clone(architecture_object(architecture, **options))


def checked_architecture(architecture: Any, name: str, **options: Any) -> Architecture:
    """The same, with parameters in range; an error names the parameter that the architecture is."""
    try:
        found = as_architecture(architecture, **options)
        found.check()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return found
