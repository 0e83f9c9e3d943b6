"""The layers of the architectures; torch only, without losses or estimators."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _identity(x: Tensor) -> Tensor:
    return x


# Functions, not modules: calling a module takes as long as computing a small layer's activations.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": _identity,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "asinh": torch.asinh,  # the identity near zero, a logarithm far from it
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),  # the gradient is nowhere 0
}

#: Activations with f(a x) = a f(x) for a > 0.
POSITIVELY_HOMOGENEOUS = {"identity", "relu", "leaky_relu"}

# A matrix product with this many output columns, or a multiple, computes every row of a block alike. With other widths
# torch computes some rows by another kernel, and a row's last bits then depend on its position.
ALIGNED_WIDTH = 16

# torch computes elementwise functions of up to this many cells in a single thread.
SERIAL_CELLS = 32768


# Evaluation computes this many images or series at once, whatever their number: torch chooses kernels by shape.
ROWS_AT_ONCE = 64


def linear_by_row(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight.T + bias``, where a row's result is equal bit for bit at every position of the block."""
    if (spare := -len(weight) % ALIGNED_WIDTH) == 0:
        return F.linear(x, weight, bias)
    return F.linear(x, F.pad(weight, (0, 0, 0, spare)), F.pad(bias, (0, spare)))[..., : len(weight)]


class Linear(nn.Linear):
    """A linear layer; in evaluation, a row's result is equal bit for bit at every position of the block."""

    def weights(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return (F.linear if self.training else linear_by_row)(x, self.weights(), self.bias)


class Activation(nn.Module):
    """An elementwise function; in evaluation, a cell's result is equal bit for bit at every position of the block."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.function = name, ACTIVATIONS[name]

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.numel() <= SERIAL_CELLS or x.device.type != "cpu" or torch.get_num_threads() <= 2:
            return self.function(x)
        # More than two threads may divide the cells inside a vector register, and other code then computes the last
        # cells. In blocks of a multiple of 64 rows, halves and the pieces below end at a register.
        return torch.cat([self.function(piece) for piece in x.reshape(-1).split(SERIAL_CELLS)]).view_as(x)


class BoundedLinear(Linear):
    """A linear layer whose columns have norm 1 at most.

    A decoder of such layers cannot enlarge a code that has shrunk. So a penalty on the size of the code, or on the
    encoder's Jacobian, cannot be evaded by scaling.
    """

    def weights(self) -> Tensor:
        norms = torch.linalg.vector_norm(self.weight, dim=0, keepdim=True)  # (1, in_features)
        return self.weight / norms.clamp_min(1.0)


def normalization(width: int) -> nn.LayerNorm:
    """Layer normalisation without weights, because the linear layer after it has weights.

    Gradients of its weights would also depend on the number of threads, in whose order rows are summed.
    """
    return nn.LayerNorm(width, elementwise_affine=False)


class ResidualLayer(nn.Module):
    """``x + act(W norm(x))``: a pre-normalised residual layer of constant width."""

    def __init__(self, width: int, activation: str, linear: type[Linear]):
        super().__init__()
        self.norm = normalization(width)
        self.linear = linear(width, width)
        self.activation = Activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.activation(self.linear(self.norm(x)))


def multilayer_perceptron(
    sizes: list[int], activation: str, *, residual: bool = False, linear: type[Linear] = Linear
) -> nn.Sequential:
    """Layers through ``sizes``, the last one linear.

    With ``residual``, a hidden layer as wide as the one before it becomes a residual layer, and the input of the last
    layer is normalised.
    """
    layers: list[nn.Module] = []
    *hidden, last = sizes[1:]
    width = sizes[0]
    for size in hidden:
        if residual and layers and size == width:
            layers.append(ResidualLayer(width, activation, linear))
        else:
            layers += [linear(width, size), Activation(activation)]
        width = size
    if residual and hidden:
        layers.append(normalization(width))
    layers.append(linear(width, last))
    return nn.Sequential(*layers)


class LinearPlusNonlinear(nn.Module):
    """``linear(x) + gain * network(asinh(clip(x) / std))``.

    The network's input has features of one scale, without long tails, clipped to the range of the training rows. Beyond
    this range the network's output is constant, so the sum extrapolates linearly.
    """

    low: Tensor
    high: Tensor
    std: Tensor
    gain: Tensor

    def __init__(self, linear_path: Linear, nonlinear: nn.Sequential):
        super().__init__()
        self.linear_path, self.nonlinear = linear_path, nonlinear
        self.input_activation = Activation("asinh")
        for name in ("low", "high", "std"):
            self.register_buffer(name, torch.ones(linear_path.in_features))
        self.register_buffer("gain", torch.ones(linear_path.out_features))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.input_activation(x.clamp(self.low, self.high) / self.std)
        return self.linear_path(x) + self.gain * self.nonlinear(seen)

    @torch.no_grad()
    def scale_first_layer(self, factor: float) -> None:
        """Multiply the first layer's weights by a factor, and divide the second's by it.

        If the second layer is the output layer, its weights are zero at the start, and the division has no effect. With
        torch's default weights and few inputs, units are nearly linear, so the network learns fine structure slowly.
        """
        first, second = [layer for layer in self.nonlinear if isinstance(layer, nn.Linear)][:2]
        for parameter in (first.weight, first.bias):
            parameter.mul_(factor)
        second.weight.div_(factor)


class BatchInvariantNetwork(nn.Sequential):
    """Layers whose evaluation is batch-invariant: a row's result is equal bit for bit whatever the other rows are.

    ``(..., n, n_in) -> (..., n, n_out)``.
    """

    def forward(self, x: Tensor) -> Tensor:
        through: Any = super().forward
        flat = x.reshape(-1, x.shape[-1])
        if not self.training and x.device.type == "cpu":
            out = torch.cat([through(some) for some in flat.split(ROWS_AT_ONCE)])
        else:
            out = through(flat)
        return out.unflatten(0, x.shape[:-1]) if x.ndim != 2 else out
