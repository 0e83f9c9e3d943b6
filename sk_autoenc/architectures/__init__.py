"""Architectures: parameters in, a matching encoder and decoder out."""

from collections.abc import Sequence

from sklearn.base import clone

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.architectures.convolutional import Convolutional
from sk_autoenc.architectures.mlp import MLP
from sk_autoenc.architectures.recurrent import Recurrent

__all__ = ["MLP", "Architecture", "Convolutional", "Recurrent", "as_architecture"]


def as_architecture(architecture: Sequence[int] | Architecture) -> Architecture:
    """A copy of the architecture object; a bare sequence of widths is short for :class:`MLP`."""
    return clone(architecture) if isinstance(architecture, Architecture) else MLP(tuple(architecture))
