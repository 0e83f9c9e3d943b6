"""U-Net: an encoder of images, and a decoder that also reads what the encoder saw at every size; torch only."""

from torch import Tensor, nn

from sk_autoenc.nn.blocks import Activation
from sk_autoenc.nn.convolution import Convolution, Pair, UpsampledConvolution, in_fast_order
from sk_autoenc.nn.pairs import PairLayout


class Joint(nn.Module):
    """Two stages of the decoder: it enlarges maps, adds what a convolution makes of a skip, and convolves again.

    A convolution of enlarged maps and skip side by side is the sum of one convolution each.
    """

    def __init__(
        self, n_in: int, n_skip: int, n_out: int, kernel_size: Pair, stride: Pair, dilation: Pair, *, size: Pair,
        after: nn.ModuleList,
    ):  # fmt: skip
        super().__init__()
        self.enlarge = UpsampledConvolution(n_in, n_out, kernel_size, stride, dilation, size=size)
        self.skip = Convolution(n_skip, n_out, kernel_size, (1, 1), dilation) if n_skip else None
        self.second = Convolution(n_out, n_out, kernel_size, (1, 1), dilation)
        self.after = after

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        joint = self.enlarge(maps)
        if self.skip is not None:
            joint = joint + self.skip(skip)
        return self.after[1](self.second(self.after[0](joint)))


class UNet(nn.Module):
    """A network of images with skips from each stage of the encoder to the decoder's of the same size.

    Ronneberger, Fischer, Brox (2015), https://arxiv.org/abs/1505.04597. The encoder's stages are strided convolutions,
    as those of :class:`~sk_autoenc.Convolutional`'s encoders, whose weights fit. Beside them a convolution reads images
    at full size, for the last skip.

    Parameters
    ----------
    layout : PairLayout
        How rows hold images.
    sides : list of (int, int)
        Height and width before the first stage and after each.
    channels : sequence of int
        Channels after each stage.
    kernel_size, stride : (int, int)
        Of all convolutions; by how much a stage shrinks maps.
    dilations : list of (int, int)
        Of the kernels of each stage.
    activation : str
        Function of all stages.
    normalized : bool
        Whether the values of each image's maps are brought to mean 0 and variance 1.
    skips : bool
        Whether there are skips; without them, everything passes through the smallest maps.
    """

    def __init__(
        self,
        layout: PairLayout,
        sides: list[Pair],
        channels: list[int],
        *,
        kernel_size: Pair,
        stride: Pair,
        dilations: list[Pair],
        activation: str,
        normalized: bool,
        skips: bool,
    ):
        super().__init__()
        self.layout = layout

        def after(n_channels: int) -> nn.Sequential:
            norm = [nn.GroupNorm(1, n_channels, affine=False)] if normalized else []
            return nn.Sequential(*norm, Activation(activation))

        widths = [channels[0], *channels]  # at full size and after each stage
        self.stages, self.joints = nn.ModuleList(), nn.ModuleList()
        for n_in, n_out, dilation in zip([layout.n_in, *channels], channels, dilations, strict=False):
            self.stages.append(nn.Sequential(Convolution(n_in, n_out, kernel_size, stride, dilation), after(n_out)))
        self.full_size = (
            nn.Sequential(Convolution(layout.n_in, widths[0], kernel_size, (1, 1)), after(widths[0])) if skips else None
        )
        for level in reversed(range(len(channels))):
            n_out = widths[level]
            self.joints.append(
                Joint(
                    widths[level + 1], n_out if skips else 0, n_out, kernel_size, stride, dilations[level],
                    size=sides[level], after=nn.ModuleList([after(n_out), after(n_out)]),
                )
            )  # fmt: skip
        self.head = Convolution(widths[0], layout.n_out, kernel_size, (1, 1))

    def forward(self, rows: Tensor) -> Tensor:
        maps = in_fast_order(self.layout.input_maps(rows))
        skips = [maps if self.full_size is None else self.full_size(maps)]
        for stage in self.stages:
            maps = stage(maps)
            skips.append(maps)
        maps = skips.pop()
        for joint in self.joints:
            maps = joint(maps, skips.pop())
        return self.layout.output_rows(self.head(maps))
