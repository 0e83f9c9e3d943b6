"""The base class of architectures: parameters from which a matching encoder and decoder are built.

An architecture is a scikit-learn object with parameters, so that ``architecture__activation`` works in a grid
and ``clone`` copies parameters, never weights.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import nn

from sk_autoenc.nn.blocks import Activation, BatchInvariantNetwork, Linear, LinearPlusNonlinear
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.pairs import PairLayout
from sk_autoenc.nn.patches import RowCritic


class Architecture(BaseEstimator, metaclass=ABCMeta):
    """Base class of architectures; encoders read flat rows, and decoders return them.

    A derived class assigns its parameters in ``__init__`` and defines :meth:`check`, :meth:`make_encoder` and
    :meth:`make_decoder`. Everything else has a default. Modules with parameters of their own, beside torch's layers,
    need a method ``initialize(generator)`` that fills them.
    """

    #: Function applied to codes, by name; a parameter, if codes may have one.
    code_activation: str = "identity"

    #: Whether series may have unequal lengths, with NaN after their ends.
    unequal_lengths = False

    #: Whether rows are read as sequences, so that categories become tokens.
    reads_sequences = False

    #: Whether rows hold images or series, parts of which can be hidden or moved.
    has_layout = False

    #: Whether networks are linear layers over the columns of a row: other columns may then stand beside these, and
    #: ``make_encoder`` takes ``linear``, the class of the layers.
    reads_columns = False

    #: Whether ``torch.func.vmap`` takes its networks: no layer branches on a value or changes a buffer.
    is_batchable = False

    @property
    def n_layers(self) -> int:
        """Layers of the encoder, each of which has weights: no file can ask for more than it has arrays."""
        return 1

    @property
    def has_first_layer_gain(self) -> bool:
        """Whether a gain multiplies the first layer's weights of networks beside a linear path."""
        return False

    @property
    def series_shape(self) -> tuple[int, int] | None:
        """Channels and timepoints of a row; None if rows are no series, or the architecture is not bound to a shape."""
        return None

    @property
    def layout(self) -> ImageLayout | None:
        """How rows hold images; None if they hold none, or the architecture is not bound to a shape."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""

    def bind(self, row_shape: tuple[int, ...]) -> Self:
        """This architecture for rows of this shape; ``ValueError`` if it cannot read them."""
        return self

    def doubt(self, row_shape: tuple[int, ...]) -> str | None:
        """A warning for rows that may be meant otherwise than this bound architecture reads them; None for none."""
        return None

    def make_coders(
        self,
        likelihood: Any,
        n_features: int,
        n_components: int,
        *,
        n_encoded: int,
        noise: bool,
        linear_path: bool = False,
        bounded: bool = False,
    ) -> dict[str, nn.Module]:
        """Encoder with ``n_encoded`` outputs, and decoder for a likelihood; ``noise``: with outputs for its noise."""
        n_inputs, n_outputs = likelihood.n_inputs(n_features), likelihood.n_outputs(n_features, noise=noise)
        return {
            "encoder": self.make_encoder(n_inputs, n_encoded, linear_path=linear_path),
            "decoder": self.make_decoder(n_components, n_outputs, linear_path=linear_path, bounded=bounded),
        }

    @abstractmethod
    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added.

        Use :meth:`beside_linear_path` for that.
        """

    @abstractmethod
    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; ``bounded``: every column has norm 1 at most.

        ``bounded`` is asked for by penalties on codes; raise ``ValueError`` if that is not possible.
        """

    def pair_layout(self, target_shape: tuple[int, ...]) -> PairLayout | None:
        """How rows and targets of this shape hold images; None if they are read as flat rows."""
        return None

    def make_pair_network(
        self, n_features: int, n_outputs: int, layout: PairLayout | None, *, skips: bool
    ) -> nn.Module:
        """``(batch, n_features) -> (batch, n_outputs)``, for targets that are not the input."""
        return self.make_encoder(n_features, n_outputs, linear_path=False)

    def make_pair_critic(self, n_features: int, n_outputs: int, layout: PairLayout | None) -> nn.Module:
        """``(rows, targets) -> (n, n_patches)``: how real a target is for its row."""
        return RowCritic(self.make_encoder(n_features + n_outputs, 1, linear_path=False))

    def _check_widths(self, name: str) -> None:
        sizes = getattr(self, name)
        called = type(self).__name__
        if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str) or np.ndim(sizes) == 0:
            raise ValueError(f"{called}: {name} must be a sequence of integers, got {sizes!r}.")
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{called}: {name} must have integers of 1 or more, got {size!r} in {sizes!r}.")

    def _check_counts(self, *names: str) -> None:
        for name in names:
            if not isinstance(value := getattr(self, name), Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be an integer of 1 or more, got {value!r}.")

    def _check_flags(self, *names: str) -> None:
        for name in names:
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise ValueError(f"{type(self).__name__}: {name} must be True or False, got {value!r}.")

    def _check_choice(self, name: str, choices: Any) -> None:
        if (value := getattr(self, name)) not in choices or isinstance(value, bool):
            raise ValueError(f"{type(self).__name__}: {name} must be one of {choices}, got {value!r}.")

    @staticmethod
    def beside_linear_path(
        network: nn.Sequential, n_in: int, n_out: int, linear_path: bool, linear: type[Linear] = Linear
    ) -> nn.Module:
        """A network that computes each row by itself, with a linear map added if ``linear_path``.

        The last layer of ``network`` is linear: training starts at the linear map, with this layer's weights zero.
        """
        if not isinstance(network, BatchInvariantNetwork):  # such as a decoder of series, which has more to it
            network = BatchInvariantNetwork(*network)
        return LinearPlusNonlinear(linear(n_in, n_out), network) if linear_path else network

    def _with_code_activation(self, encoder: nn.Module) -> nn.Module:
        if self.code_activation == "identity":
            return encoder
        return nn.Sequential(encoder, Activation(self.code_activation))
