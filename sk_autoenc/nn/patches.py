"""Critics of pairs, which say of each patch of an image, or of a whole row, whether its target is a real one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import Activation
from sk_autoenc.nn.convolution import Convolution, Pair
from sk_autoenc.nn.pairs import PairLayout


class PatchCritic(nn.Module):
    """A number for each patch of a target, high for those that it takes for real, given the row that it belongs to.

    Isola et al. (2017), https://arxiv.org/abs/1611.07004. Strided convolutions of row and target side by side, at the
    target's size.
    """

    def __init__(
        self, layout: PairLayout, channels: list[int], *, kernel_size: Pair, stride: Pair, dilations: list[Pair]
    ):
        super().__init__()
        self.layout = layout
        n_first = layout.input.n_channels + layout.output.n_channels
        layers: list[nn.Module] = []
        for n_in, n_out, dilation in zip([n_first, *channels], channels, dilations, strict=False):
            layers += [Convolution(n_in, n_out, kernel_size, stride, dilation), Activation("leaky_relu")]
        self.network = nn.Sequential(*layers, Convolution(channels[-1], 1, kernel_size, (1, 1)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        given, target = self.layout.input.to_maps(x), self.layout.output.to_maps(y)
        if given.shape[2:] != target.shape[2:]:
            given = F.interpolate(given, size=target.shape[2:], mode="nearest")
        return self.network(torch.cat([given, target], dim=1)).flatten(1)


class RowCritic(nn.Module):
    """A number for each target, given the row that it belongs to."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.network(torch.cat([x, y], dim=1))
