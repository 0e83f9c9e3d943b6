"""Architectures: parameters in, a matching encoder and decoder out.

An architecture is a scikit-learn object with parameters, so that ``architecture__activation`` works in a grid
and ``clone`` copies a plan, never weights.
"""

import math
from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from torch import nn

from sk_autoenc.nn.blocks import (
    ACTIVATIONS,
    Activation,
    BoundedLinear,
    Linear,
    LinearPlusNonlinear,
    SteadyNetwork,
    multilayer_perceptron,
)
from sk_autoenc.nn.convolution import (
    Convolution,
    ImageLayout,
    Pair,
    ToMaps,
    ToRows,
    UpsampledConvolution,
)
from sk_autoenc.nn.recurrent import CELLS, ReadSeries, SeriesLayout, ToSeries, UnrollCode


class Architecture(BaseEstimator, metaclass=ABCMeta):
    """What every architecture answers; encoders and decoders read and give flat rows."""

    code_activation: str

    #: Whether series may end early, the cells of their rows being NaN after that.
    unequal_lengths = False

    @property
    def layout(self) -> ImageLayout | None:
        """How rows hold images, where the architecture knows that they do."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""

    def fitted_to(self, row_shape: tuple[int, ...]) -> Self:
        """This architecture for rows of this shape; ``ValueError`` if they do not fit."""
        return self

    @abstractmethod
    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""

    @abstractmethod
    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; ``bounded`` holds every column's norm to 1 at most."""

    def _check_widths(self, name: str) -> None:
        sizes = getattr(self, name)
        called = type(self).__name__
        if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
            raise ValueError(f"{called}: {name} must be a sequence of integers, got {sizes!r}.")
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{called}: {name} must hold integers of 1 or more, got {size!r} in {sizes!r}.")

    def _check_choice(self, name: str, choices: Any) -> None:
        if (value := getattr(self, name)) not in choices or isinstance(value, bool):
            raise ValueError(f"{type(self).__name__}: {name} must be one of {choices}, got {value!r}.")

    @staticmethod
    def _maybe_with_linear_path(
        network: SteadyNetwork, n_in: int, n_out: int, linear_path: bool, linear: type[Linear]
    ) -> nn.Module:
        return LinearPlusNonlinear(linear(n_in, n_out), network) if linear_path else network

    def _with_code_activation(self, encoder: nn.Module) -> nn.Module:
        if self.code_activation == "identity":
            return encoder
        return nn.Sequential(encoder, Activation(self.code_activation))


class MLP(Architecture):
    """Fully connected encoder and the mirrored decoder.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(128, 64)
        Widths of the encoder's hidden layers, from the rows to the code; the decoder has them in reverse.
        Empty for a linear map.
    activation : {"relu", "leaky_relu", "silu", "gelu", "tanh", ...}, default="silu"
        Function of the hidden layers; also ``"sigmoid"``, ``"softplus"``, ``"asinh"`` and ``"identity"``.
    code_activation : {"identity", "relu", "sigmoid", "tanh", ...}, default="identity"
        Function applied to the code; any of the names that ``activation`` takes. ``"relu"`` gives sparse codes
        exact zeros, ``"sigmoid"`` codes in (0, 1).
    residual : bool, default=False
        Whether a hidden layer as wide as the one before it adds to its input, ``x + activation(W norm(x))``,
        instead of replacing it. Deep networks train better so.

    Examples
    --------
    >>> from sk_autoenc import MLP, AutoencoderTransformer
    >>> AutoencoderTransformer(architecture=MLP((32,), activation="tanh"))
    AutoencoderTransformer(architecture=MLP(activation='tanh',
                                            hidden_layer_sizes=(32,)))
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128, 64),
        *,
        activation: str = "silu",
        code_activation: str = "identity",
        residual: bool = False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.code_activation = code_activation
        self.residual = residual

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_widths("hidden_layer_sizes")
        self._check_choice("activation", sorted(ACTIVATIONS))
        self._check_choice("code_activation", sorted(ACTIVATIONS))

    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        encoder = self._network([n_features, *self.hidden_layer_sizes, n_components], linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(batch, n_components) -> (batch, n_outputs)``; ``bounded`` holds every column's norm to 1 at most."""
        sizes = [n_components, *reversed(self.hidden_layer_sizes), n_outputs]
        return self._network(sizes, linear_path, BoundedLinear if bounded else Linear)

    def _network(self, sizes: list[int], linear_path: bool, linear: type[Linear]) -> nn.Module:
        if len(sizes) == 2:
            return nn.Sequential(OrderedDict(linear_path=linear(sizes[0], sizes[1])))
        network = multilayer_perceptron(sizes, self.activation, residual=self.residual, linear=linear)
        if not linear_path:
            return network
        return LinearPlusNonlinear(linear(sizes[0], sizes[-1]), network)


class Convolutional(Architecture):
    """Convolutional encoder of images or series and the mirrored decoder.

    Every stage of the encoder is a convolution that shrinks the image by ``stride``; a linear layer makes the code of
    what is left. The decoder goes the same way back. It enlarges images by repeating pixels before it convolves them,
    so that no checkerboard appears [1]_, and comes back to the very height and width of the rows, odd ones included.
    Series of one length are convolved along time.

    Parameters
    ----------
    channels : sequence of int, default=(32, 64)
        Number of channels after each stage of the encoder; the decoder has them in reverse.
    kernel_size : int, default=3
        Side of the convolutions' kernels, an odd number of pixels or time points.
    stride : int, default=2
        By how much a stage shrinks height and width, or length, rounded up.
    input_shape : tuple of three or two int or None, default=None
        What a row holds: channels, height and width of an image, or channels and length of a series. None where ``X``
        has four axes and says it itself; one with three axes might be of grey images or of series. Rows may be flat, or
        lack axes of length 1.
    channels_last : bool, default=False
        Whether channels come last, in rows and in ``input_shape``.
    hidden_layer_sizes : sequence of int, default=()
        Widths of fully connected layers between the last stage and the code.
    normalization : {"layer"} or None, default=None
        ``"layer"``: after each stage, an image's values are brought to mean 0 and variance 1 over all its channels
        and pixels.
    activation : {"relu", "silu", "gelu", "tanh", "sigmoid", "softplus", "asinh", "identity"}, default="silu"
        Function of the stages and hidden layers.
    code_activation : {"identity", "relu", "sigmoid", "tanh", ...}, default="identity"
        Function applied to the code; any of the names that ``activation`` takes.

    References
    ----------
    .. [1] Odena, Dumoulin, Olah (2016). Deconvolution and checkerboard artifacts. Distill.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import AutoencoderTransformer, Convolutional
    >>> images = load_digits().images[:, None]  # (1797, 1, 8, 8)
    >>> model = AutoencoderTransformer(8, architecture=Convolutional((8, 16)), max_iter=2, random_state=0).fit(images)
    >>> model.transform(images).shape
    (1797, 8)
    >>> model.reconstruct(images).shape
    (1797, 1, 8, 8)
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        *,
        kernel_size: int = 3,
        stride: int = 2,
        input_shape: tuple[int, ...] | None = None,
        channels_last: bool = False,
        hidden_layer_sizes: Sequence[int] = (),
        normalization: str | None = None,
        activation: str = "silu",
        code_activation: str = "identity",
    ):
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.input_shape = input_shape
        self.channels_last = channels_last
        self.hidden_layer_sizes = hidden_layer_sizes
        self.normalization = normalization
        self.activation = activation
        self.code_activation = code_activation

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_widths("channels")
        self._check_widths("hidden_layer_sizes")
        if len(self.channels) == 0:
            raise ValueError("Convolutional: channels must have one entry or more, got (); MLP has no convolutions.")
        for name in ("kernel_size", "stride"):
            if not isinstance(value := getattr(self, name), Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"Convolutional: {name} must be an integer of 1 or more, got {value!r}.")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Convolutional: kernel_size must be odd, got {self.kernel_size!r}.")
        self._check_choice("normalization", ["layer", None])
        self._check_choice("activation", sorted(ACTIVATIONS))
        self._check_choice("code_activation", sorted(ACTIVATIONS))
        if self.input_shape is not None:
            self._check_widths("input_shape")
            if len(self.input_shape) not in (2, 3):
                raise ValueError(f"Convolutional: input_shape must be {self._order}, got {self.input_shape!r}.")

    @property
    def _order(self) -> str:
        return (
            "(height, width, channels) or (length, channels)"
            if self.channels_last
            else "(channels, height, width) or (channels, length)"
        )

    def fitted_to(self, row_shape: tuple[int, ...]) -> "Convolutional":
        """This architecture with the shape of the images, where rows of this shape hold some."""
        shape = row_shape if self.input_shape is None else tuple(int(side) for side in self.input_shape)
        if self.input_shape is None and len(row_shape) != 3:
            raise ValueError(
                f"Convolutional: rows of shape {row_shape} do not say what image or series they hold; give "
                f"input_shape as {self._order}, or X with four axes."
            )
        if row_shape not in (shape, (math.prod(shape),), tuple(side for side in shape if side > 1)):
            raise ValueError(
                f"Convolutional: input_shape={shape} has {math.prod(shape)} cells, but rows have shape {row_shape}."
            )
        plan = clone(self).set_params(input_shape=shape)
        plan._sides()
        return plan

    @property
    def layout(self) -> ImageLayout | None:
        """How rows hold images; None as long as that is not known."""
        if self.input_shape is None:
            return None
        *sides, n_channels = self.input_shape if self.channels_last else (*self.input_shape[1:], self.input_shape[0])
        height, width = (1, *sides)[-2:]
        return ImageLayout(n_channels, height, width, self.channels_last)

    def _known_layout(self) -> ImageLayout:
        assert self.layout is not None, "fitted_to comes first"
        return self.layout

    @property
    def _holds_series(self) -> bool:
        return self.input_shape is not None and len(self.input_shape) == 2

    def _pair(self, size: int) -> Pair:
        """Along height and width; a series has no height."""
        return (1, size) if self._holds_series else (size, size)

    def _sides(self) -> list[Pair]:
        """Height and width before the first stage and after each; ``ValueError`` if a stage has nothing to shrink."""
        layout, (down, across) = self._known_layout(), self._pair(self.stride)
        sides = [(layout.height, layout.width)]
        for stage in range(len(self.channels)):
            height, width = sides[-1]
            if width < 2 or (height < 2 and not self._holds_series):
                called = "series" if self._holds_series else "images"
                size = (
                    f"{layout.width} time points" if self._holds_series else f"{layout.height} x {layout.width} pixels"
                )
                raise ValueError(
                    f"Convolutional: {called} of {size} have a side of 1 after {stage} of the {len(self.channels)} "
                    f"stages of channels={self.channels!r}, each of which shrinks them by stride={self.stride}; "
                    + ("use fewer stages." if stage else "use MLP.")
                )
            sides.append((-(-height // down), -(-width // across)))
        return sides

    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        layout = self._known_layout()
        if n_features != layout.n_cells:
            raise ValueError(
                f"Convolutional: the encoder would read {n_features} columns where an image has {layout.n_cells} "
                "cells; categories do not go with convolutions."
            )
        layers: list[nn.Module] = [ToMaps(layout)]
        n_in, sizes = layout.n_channels, (self._pair(self.kernel_size), self._pair(self.stride))
        for n_out in self.channels:
            layers += [Convolution(n_in, n_out, *sizes), *self._after_stage(n_out)]
            n_in = n_out
        height, width = self._sides()[-1]
        layers.append(nn.Flatten())
        layers += self._dense([n_in * height * width, *self.hidden_layer_sizes, n_components], Linear)
        encoder = self._maybe_with_linear_path(SteadyNetwork(*layers), n_features, n_components, linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; ``bounded`` holds every column's norm to 1 at most."""
        layout, sides, linear = self._known_layout(), self._sides(), BoundedLinear if bounded else Linear
        (height, width), sizes = sides[-1], (self._pair(self.kernel_size), self._pair(self.stride))
        *others, n_in = self.channels
        layers = self._dense([n_components, *reversed(self.hidden_layer_sizes), n_in * height * width], linear)
        layers += [Activation(self.activation), nn.Unflatten(1, (n_in, height, width))]
        for n_out, size in zip(reversed(others), reversed(sides[1:-1]), strict=True):
            stage = UpsampledConvolution(n_in, n_out, *sizes, size=size, bounded=bounded)
            layers += [stage, *self._after_stage(n_out)]
            n_in = n_out
        n_images = n_outputs // layout.n_cells
        layers.append(ToRows(n_in, layout, n_images, *sizes, bounded=bounded))
        return self._maybe_with_linear_path(SteadyNetwork(*layers), n_components, n_outputs, linear_path, linear)

    def _after_stage(self, n_channels: int) -> list[nn.Module]:
        norm = [nn.GroupNorm(1, n_channels, affine=False)] if self.normalization == "layer" else []
        return [*norm, Activation(self.activation)]

    def _dense(self, sizes: list[int], linear: type[Linear]) -> list[nn.Module]:
        return list(multilayer_perceptron(sizes, self.activation, linear=linear))


class Recurrent(Architecture):
    """Recurrent encoder of series and a recurrent decoder.

    The encoder reads a series step by step; a linear layer makes the code of its last states. The decoder's first state
    is made of the code, and at every step it reads the code and the time, as sines and cosines [1]_; a linear layer
    makes the values of all channels of its state. It never reads values that it has made, so errors do not add up
    along the series. The encoder may read both ways; the decoder goes forward.

    Parameters
    ----------
    hidden_size : int, default=64
        Length of a state.
    cell : {"gru", "lstm"}, default="gru"
        How a state goes on: by gated recurrent units [2]_, or by long short-term memory [3]_.
    num_layers : int, default=1
        Number of recurrent layers, each of which reads the states of the one below.
    bidirectional : bool, default=True
        Whether the encoder reads series from both ends, with a state for each direction.
    input_shape : tuple of two int or None, default=None
        What series a flat row holds, channel after channel: channels and timepoints. None where ``X`` has three axes,
        (cases, channels, timepoints), or where a flat row is a single channel.
    unequal_lengths : bool, default=False
        Whether series differ in length: ``X`` is then a list of arrays of shape (channels, timepoints) or
        (timepoints,), or one array with NaN after the ends. The longest series of ``fit``, or ``input_shape``, says how
        long one may be. For :class:`AutoencoderTransformer` and real values; training starts at random.
    code_activation : {"identity", "relu", "sigmoid", "tanh", ...}, default="identity"
        Function applied to the code; any of the names that ``MLP`` takes.

    References
    ----------
    .. [1] Vaswani et al. (2017). Attention is all you need. NeurIPS.
    .. [2] Cho et al. (2014). Learning phrase representations using RNN encoder-decoder for statistical machine
       translation. EMNLP.
    .. [3] Hochreiter, Schmidhuber (1997). Long short-term memory. Neural Computation 9(8).

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc import AutoencoderTransformer, Recurrent
    >>> rng = np.random.default_rng(0)
    >>> series = np.sin(np.linspace(0, 6, 30) * rng.uniform(1, 2, (80, 2, 1)))  # (cases, channels, timepoints)
    >>> model = AutoencoderTransformer(3, architecture=Recurrent(8), max_iter=2, random_state=0).fit(series)
    >>> model.transform(series).shape
    (80, 3)
    >>> model.reconstruct(series).shape
    (80, 2, 30)
    """

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        input_shape: tuple[int, int] | None = None,
        unequal_lengths: bool = False,
        code_activation: str = "identity",
    ):
        self.hidden_size = hidden_size
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.input_shape = input_shape
        self.unequal_lengths = unequal_lengths
        self.code_activation = code_activation

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        for name in ("hidden_size", "num_layers"):
            if not isinstance(value := getattr(self, name), Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"Recurrent: {name} must be an integer of 1 or more, got {value!r}.")
        self._check_choice("cell", sorted(CELLS))
        for name in ("bidirectional", "unequal_lengths"):
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise ValueError(f"Recurrent: {name} must be True or False, got {value!r}.")
        self._check_choice("code_activation", sorted(ACTIVATIONS))
        if self.input_shape is not None:
            self._check_widths("input_shape")
            if len(self.input_shape) != 2:
                raise ValueError(
                    f"Recurrent: input_shape must be (channels, timepoints), two integers, got {self.input_shape!r}."
                )

    def fitted_to(self, row_shape: tuple[int, ...]) -> "Recurrent":
        """This architecture with the shape of the series, where rows of this shape hold some."""
        if self.input_shape is not None:
            shape = tuple(int(side) for side in self.input_shape)
        elif len(row_shape) in (1, 2):
            shape = (1, *row_shape)[-2:]
        else:
            raise ValueError(
                f"Recurrent: rows of shape {row_shape} hold no series; X must have the axes (cases, timepoints) or "
                "(cases, channels, timepoints), or input_shape=(channels, timepoints) say what flat rows hold."
            )
        if row_shape not in (shape, (math.prod(shape),)):
            raise ValueError(
                f"Recurrent: input_shape={shape} has {math.prod(shape)} cells, but rows have shape {row_shape}."
            )
        return clone(self).set_params(input_shape=shape)

    def _series_layout(self) -> SeriesLayout:
        assert self.input_shape is not None, "fitted_to comes first"
        return SeriesLayout(*self.input_shape)

    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        layout = self._series_layout()
        if n_features != layout.n_cells:
            raise ValueError(
                f"Recurrent: the encoder would read {n_features} columns where a series has {layout.n_cells} cells; "
                "categories do not go with recurrent architectures."
            )
        reader = ReadSeries(
            layout,
            self.cell,
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            unequal=self.unequal_lengths,
        )
        network = SteadyNetwork(reader, Linear(reader.n_directions * self.hidden_size, n_components))
        encoder = self._maybe_with_linear_path(network, n_features, n_components, linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; a bound on columns is refused, since gates have none."""
        if bounded:
            raise ValueError(
                "architecture=Recurrent(...) does not go with contraction, nor with sparsity without a target: both "
                "need a decoder whose scale is bounded; set sparsity_target, or use MLP."
            )
        layout = self._series_layout()
        states = UnrollCode(n_components, layout.n_timepoints, self.cell, self.hidden_size, self.num_layers)
        n_series = n_outputs // layout.n_cells
        network = SteadyNetwork(states, ToSeries(self.hidden_size, layout, n_series, unequal=self.unequal_lengths))
        return self._maybe_with_linear_path(network, n_components, n_outputs, linear_path, Linear)


def as_architecture(architecture: Sequence[int] | Architecture) -> Architecture:
    """A copy of the architecture object; a bare sequence of widths is short for :class:`MLP`."""
    return clone(architecture) if isinstance(architecture, Architecture) else MLP(tuple(architecture))
