"""Convolutional networks, for images and series."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from torch import nn

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.nn.blocks import (
    ACTIVATIONS,
    Activation,
    BatchInvariantNetwork,
    BoundedLinear,
    Linear,
    multilayer_perceptron,
)
from sk_autoenc.nn.convolution import Convolution, ImageLayout, Pair, ToMaps, ToRows, UpsampledConvolution
from sk_autoenc.nn.pairs import PairLayout
from sk_autoenc.nn.patches import PatchCritic
from sk_autoenc.nn.unet import UNet
from sk_autoenc.storage import by_params

#: Numbers of channels that files of images have: grey, colours, colours and transparency.
_IMAGE_CHANNELS = (1, 3, 4)


@by_params(check=lambda architecture: architecture.check())
class Convolutional(Architecture):
    """Convolutional encoder of images or series and the mirrored decoder.

    Every stage of the encoder is a convolution that shrinks the image by ``stride``. A linear layer turns the last
    stage's output into the code. The decoder is the mirror image. It enlarges images by repeating pixels before it
    convolves them, so that no checkerboard appears [1]_. Its output has exactly the height and width of the rows, odd
    ones included. Series of one length are convolved along time.

    Parameters
    ----------
    channels : sequence of int, default=(32, 64)
        Number of channels after each stage of the encoder; the decoder has them in reverse.
    kernel_size : int, default=3
        Side of the convolutions' kernels, an odd number of pixels or time points.
    stride : int, default=2
        Factor by which a stage shrinks height and width, or length; the result is rounded up.
    dilation : int or sequence of int, default=1
        Distance between the pixels or time points that a stage's kernel reads: for all stages, or one for each. With
        ``stride=1, dilation=(1, 2, 4, 8)`` stages see ever longer stretches of a series and keep all of its steps [2]_.
    input_shape : tuple of three or two int or None, default=None
        What a row holds: channels, height and width of an image, or channels and length of a series. So grey images of
        28 x 28 pixels have ``(1, 28, 28)``; ``(28, 28)`` is a series of 28 channels. Rows may be flat, or lack axes of
        length 1. None is enough if ``X`` has four axes, but not if it has three, which might be grey images or series.
        With None, images whose axes seem to be in the other order (one axis of 1, 3 or 4 where the other order has its
        channels, and two longer ones) are refused.
    channels_last : bool, default=False
        Whether channels come last, in rows and in ``input_shape``: ``(height, width, channels)``, as in files of
        images.
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
            raise ValueError("Convolutional: channels must have 1 entry or more, got (); use MLP for no convolutions.")
        self._check_counts("kernel_size", "stride")
        self._check_flags("channels_last")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Convolutional: kernel_size must be odd, got {self.kernel_size!r}.")
        if isinstance(self.dilation, Sequence | np.ndarray):
            self._check_widths("dilation")
            if len(self.dilation) != len(self.channels):
                raise ValueError(
                    f"Convolutional: dilation must be one integer, or {len(self.channels)} integers for the stages of "
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

    def bind(self, row_shape: tuple[int, ...]) -> "Convolutional":
        """This architecture with ``input_shape`` set to that of the images; ``ValueError`` if rows hold none."""
        shape = row_shape if self.input_shape is None else tuple(int(side) for side in self.input_shape)
        if self.input_shape is None:
            self._check_order(row_shape)
        if row_shape not in (shape, (math.prod(shape),), tuple(side for side in shape if side > 1)):
            raise ValueError(
                f"Convolutional: rows must have shape {shape} or {math.prod(shape)} cells because of input_shape, got "
                f"shape {row_shape}."
            )
        bound = clone(self).set_params(input_shape=shape)
        bound._sides()
        return bound

    def _check_order(self, row_shape: tuple[int, ...]) -> None:
        """Refuse rows that do not say by themselves which of their axes are channels."""
        if len(row_shape) != 3:
            hint = "only X with four axes needs none"
            if len(row_shape) == 2:
                grey = (*row_shape, 1) if self.channels_last else (1, *row_shape)
                n_channels = row_shape[-1 if self.channels_last else 0]
                hint = f"{grey} is for grey images, {row_shape} for series of {n_channels} channels"
            raise ValueError(
                f"Convolutional: input_shape must be {self._order} for rows of shape {row_shape}, got None; {hint}."
            )
        *others, last = row_shape if not self.channels_last else row_shape[::-1]
        if last in _IMAGE_CHANNELS and min(others) > last:
            raise ValueError(
                f"Convolutional: rows of shape {row_shape} with channels_last={self.channels_last} would be images of "
                f"{others[0]} channels; set channels_last={not self.channels_last}, or input_shape={row_shape} if they "
                "are."
            )

    def doubt(self, row_shape: tuple[int, ...]) -> str | None:
        """A warning for flat rows with a shape of two sides that could be those of a grey image."""
        if self.input_shape is None or not self._holds_series or len(row_shape) != 1:
            return None
        n_channels, length = self.input_shape[:: -1 if self.channels_last else 1]
        if n_channels <= max(_IMAGE_CHANNELS) or 2 * n_channels < length:
            return None
        grey = (*self.input_shape, 1) if self.channels_last else (1, *self.input_shape)
        return (
            f"Convolutional: input_shape={self.input_shape} reads flat rows as series of {n_channels} channels and "
            f"{length} time points. For grey images set input_shape={grey}; for series give X the axes "
            f"(cases, {'timepoints, channels' if self.channels_last else 'channels, timepoints'})."
        )

    @property
    def layout(self) -> ImageLayout | None:
        """How rows hold images; None if ``input_shape`` is."""
        if self.input_shape is None:
            return None
        *sides, n_channels = self.input_shape if self.channels_last else (*self.input_shape[1:], self.input_shape[0])
        height, width = (1, *sides)[-2:]
        return ImageLayout(n_channels, height, width, self.channels_last)

    def _known_layout(self) -> ImageLayout:
        assert self.layout is not None, "bind must be called first"
        return self.layout

    @property
    def _holds_series(self) -> bool:
        return self.input_shape is not None and len(self.input_shape) == 2

    def _pair(self, size: int) -> Pair:
        """A size along height and width, with 1 for the height of a series."""
        return (1, size) if self._holds_series else (size, size)

    def _dilations(self) -> list[Pair]:
        """Dilations of each stage's kernel."""
        each = np.broadcast_to(np.asarray(self.dilation), len(self.channels))
        return [self._pair(size) for size in each.tolist()]

    def _sides(self, size: Pair | None = None) -> list[Pair]:
        """Height and width before the first stage and after each; ``ValueError`` if a stage cannot shrink them."""
        layout, (down, across) = self._known_layout(), self._pair(self.stride)
        sides = [(layout.height, layout.width) if size is None else size]
        for stage in range(len(self.channels)):
            height, width = sides[-1]
            if width < 2 or (height < 2 and not self._holds_series):
                called = "series" if self._holds_series else "images"
                high, wide = sides[0]
                what = f"{wide} time points" if self._holds_series else f"{high} x {wide} pixels"
                raise ValueError(
                    f"Convolutional: channels={self.channels!r} has {len(self.channels)} stages with "
                    f"stride={self.stride}, but {called} of {what} have a side of 1 after {stage} stages; "
                    + ("use fewer stages." if stage else "use MLP.")
                )
            sides.append((-(-height // down), -(-width // across)))
        return sides

    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        layout = self._known_layout()
        if n_features != layout.n_cells:
            raise ValueError(
                f"Convolutional: the encoder must read the {layout.n_cells} cells of an image, got {n_features} "
                "columns; categories cannot be combined with convolutions."
            )
        layers: list[nn.Module] = [ToMaps(layout)]
        n_in, sizes = layout.n_channels, (self._pair(self.kernel_size), self._pair(self.stride))
        for n_out, dilation in zip(self.channels, self._dilations(), strict=True):
            layers += [Convolution(n_in, n_out, *sizes, dilation), *self._after_stage(n_out)]
            n_in = n_out
        height, width = self._sides()[-1]
        layers.append(nn.Flatten())
        layers += self._dense([n_in * height * width, *self.hidden_layer_sizes, n_components], Linear)
        encoder = self.beside_linear_path(BatchInvariantNetwork(*layers), n_features, n_components, linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; ``bounded``: every column has norm 1 at most."""
        layout, sides, linear = self._known_layout(), self._sides(), BoundedLinear if bounded else Linear
        (height, width), sizes = sides[-1], (self._pair(self.kernel_size), self._pair(self.stride))
        *earlier, n_in = self.channels
        first, *dilations = self._dilations()
        layers = self._dense([n_components, *reversed(self.hidden_layer_sizes), n_in * height * width], linear)
        layers += [Activation(self.activation), nn.Unflatten(1, (n_in, height, width))]
        for n_out, size, dilation in zip(reversed(earlier), reversed(sides[1:-1]), reversed(dilations), strict=True):
            stage = UpsampledConvolution(n_in, n_out, *sizes, dilation, size=size, bounded=bounded)
            layers += [stage, *self._after_stage(n_out)]
            n_in = n_out
        n_images = n_outputs // layout.n_cells
        layers.append(ToRows(n_in, layout, n_images, *sizes, first, bounded=bounded))
        return self.beside_linear_path(BatchInvariantNetwork(*layers), n_components, n_outputs, linear_path, linear)

    def pair_layout(self, target_shape: tuple[int, ...]) -> PairLayout:
        """How rows and targets hold images; ``ValueError`` if the size of one is no whole multiple of the other's."""
        source, n_axes = self._known_layout(), len(self.input_shape or ())
        *sides, n_channels = target_shape if self.channels_last else (*target_shape[1:], *target_shape[:1])
        if len(target_shape) == n_axes - 1:  # one channel has no axis
            sides, n_channels = list(target_shape), 1
        if len(sides) != n_axes - 1:
            raise ValueError(
                f"y must hold {'series' if self._holds_series else 'images'} with an axis for channels, or without one "
                f"for a single channel, as X with rows of shape {self.input_shape}, got rows of shape {target_shape}."
            )
        height, width = (1, *sides)[-2:]
        target = ImageLayout(n_channels, height, width, self.channels_last)
        if height % source.height == width % source.width == 0:
            layout = PairLayout(source, target, up=(height // source.height, width // source.width))
        elif source.height % height == source.width % width == 0:
            layout = PairLayout(source, target, down=(source.height // height, source.width // width))
        else:
            raise ValueError(
                f"y must have the height and width of X, {source.height} x {source.width}, or a whole multiple or "
                f"fraction of both, got {height} x {width}."
            )
        self._sides(layout.sides)
        return layout

    def make_pair_network(
        self, n_features: int, n_outputs: int, layout: PairLayout | None, *, skips: bool
    ) -> nn.Module:
        """``(batch, n_features) -> (batch, n_outputs)``: a U-Net, or the same without skips."""
        assert layout is not None, "pair_layout gives one"
        return BatchInvariantNetwork(
            UNet(
                layout,
                self._sides(layout.sides),
                list(self.channels),
                kernel_size=self._pair(self.kernel_size),
                stride=self._pair(self.stride),
                dilations=self._dilations(),
                activation=self.activation,
                normalized=self.normalization == "layer",
                skips=skips,
            )
        )

    def make_pair_critic(self, n_features: int, n_outputs: int, layout: PairLayout | None) -> nn.Module:
        """``(rows, targets) -> (n, n_patches)``: how real each patch of a target is for its row."""
        assert layout is not None, "pair_layout gives one"
        kernel_size, stride = self._pair(self.kernel_size), self._pair(self.stride)
        return PatchCritic(
            layout, list(self.channels), kernel_size=kernel_size, stride=stride, dilations=self._dilations()
        )

    def _after_stage(self, n_channels: int) -> list[nn.Module]:
        norm = [nn.GroupNorm(1, n_channels, affine=False)] if self.normalization == "layer" else []
        return [*norm, Activation(self.activation)]

    def _dense(self, sizes: list[int], linear: type[Linear]) -> list[nn.Module]:
        return list(multilayer_perceptron(sizes, self.activation, linear=linear))
