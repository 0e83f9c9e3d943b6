"""Architectures: parameters from which a matching encoder and decoder are built."""

from collections.abc import Sequence
from typing import Any

from sklearn.base import clone

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.architectures.convolutional import Convolutional
from sk_autoenc.architectures.mlp import MLP
from sk_autoenc.architectures.recurrent import Recurrent

__all__ = ["MLP", "Architecture", "Convolutional", "Recurrent", "architecture_object", "as_architecture"]


def architecture_object(architecture: Sequence[int] | Architecture, **options: Any) -> Architecture:
    """The architecture object itself; a bare sequence of widths is short for an :class:`MLP` with these options."""
    return architecture if isinstance(architecture, Architecture) else MLP(tuple(architecture), **options)


def as_architecture(architecture: Sequence[int] | Architecture, **options: Any) -> Architecture:
    """A copy of the architecture object, see :func:`architecture_object`."""
    return clone(architecture_object(architecture, **options))
