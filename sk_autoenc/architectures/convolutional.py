"""Convolutional networks, for images and series."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from torch import nn

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.nn.blocks import ACTIVATIONS, Activation, BoundedLinear, Linear, SteadyNetwork, multilayer_perceptron
from sk_autoenc.nn.convolution import Convolution, ImageLayout, Pair, ToMaps, ToRows, UpsampledConvolution
from sk_autoenc.storage import by_params


@by_params(check=lambda architecture: architecture.check())
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
    dilation : int or sequence of int, default=1
        How far apart the pixels or time points are that a stage's kernel reads: for all stages, or one for each. With
        ``stride=1, dilation=(1, 2, 4, 8)`` stages see ever longer stretches of a series and keep all of its steps [2]_.
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
    .. [2] Yu, Koltun (2016). Multi-scale context aggregation by dilated convolutions. ICLR.

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

    has_layout = True

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        *,
        kernel_size: int = 3,
        stride: int = 2,
        dilation: int | Sequence[int] = 1,
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
        self.dilation = dilation
        self.input_shape = input_shape
        self.channels_last = channels_last
        self.hidden_layer_sizes = hidden_layer_sizes
        self.normalization = normalization
        self.activation = activation
        self.code_activation = code_activation

    @property
    def n_layers(self) -> int:
        """Layers of the encoder."""
        return len(self.channels) + len(self.hidden_layer_sizes) + 1

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_widths("channels")
        self._check_widths("hidden_layer_sizes")
        if len(self.channels) == 0:
            raise ValueError("Convolutional: channels must have one entry or more, got (); MLP has no convolutions.")
        self._check_counts("kernel_size", "stride")
        self._check_flags("channels_last")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Convolutional: kernel_size must be odd, got {self.kernel_size!r}.")
        if isinstance(self.dilation, Sequence | np.ndarray):
            self._check_widths("dilation")
            if len(self.dilation) != len(self.channels):
                raise ValueError(
                    f"Convolutional: dilation must be a number or one for each of the {len(self.channels)} stages of "
                    f"channels={self.channels!r}, got {self.dilation!r}."
                )
        else:
            self._check_counts("dilation")
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

    def _dilations(self) -> list[Pair]:
        """Those of each stage's kernel."""
        each = np.broadcast_to(np.asarray(self.dilation), len(self.channels))
        return [self._pair(size) for size in each.tolist()]

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
        for n_out, dilation in zip(self.channels, self._dilations(), strict=True):
            layers += [Convolution(n_in, n_out, *sizes, dilation), *self._after_stage(n_out)]
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
        first, *dilations = self._dilations()
        layers = self._dense([n_components, *reversed(self.hidden_layer_sizes), n_in * height * width], linear)
        layers += [Activation(self.activation), nn.Unflatten(1, (n_in, height, width))]
        for n_out, size, dilation in zip(reversed(others), reversed(sides[1:-1]), reversed(dilations), strict=True):
            stage = UpsampledConvolution(n_in, n_out, *sizes, dilation, size=size, bounded=bounded)
            layers += [stage, *self._after_stage(n_out)]
            n_in = n_out
        n_images = n_outputs // layout.n_cells
        layers.append(ToRows(n_in, layout, n_images, *sizes, first, bounded=bounded))
        return self._maybe_with_linear_path(SteadyNetwork(*layers), n_components, n_outputs, linear_path, linear)

    def _after_stage(self, n_channels: int) -> list[nn.Module]:
        norm = [nn.GroupNorm(1, n_channels, affine=False)] if self.normalization == "layer" else []
        return [*norm, Activation(self.activation)]

    def _dense(self, sizes: list[int], linear: type[Linear]) -> list[nn.Module]:
        return list(multilayer_perceptron(sizes, self.activation, linear=linear))
