"""Linear parts of networks: the path beside a network, the last layer, and the summaries that set them."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn

from sk_autoenc.data.dataset import Rows
from sk_autoenc.nn.blocks import Linear, LinearPlusNonlinear
from sk_autoenc.nn.tokens import TokenDecoder

_BLOCK = 4096

#: In networks beside a linear start, the first layer's weights are multiplied by the number of training rows divided by
#: this, at least by 1 and at most by the largest gain. With fewer rows a larger gain overfits. Chosen by the density of
#: a VAE.
_ROWS_PER_GAIN, _LARGEST_GAIN = 600, 4.0


def moments(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the rows, float64, block by block; ``(d,)`` and ``(d, d)``."""
    if rows.known_moments is not None:
        return rows.known_moments
    n_rows, n_features = len(rows), rows.data.shape[1]
    mean = mean_of(rows)
    covariance = torch.zeros(n_features, n_features, dtype=torch.float64)
    for block in gen_batches(n_rows, _BLOCK):
        centred = rows[block] - mean
        covariance.addmm_(centred.T, centred, alpha=1 / n_rows)
    return mean.numpy(), covariance.numpy()


def mean_of(rows: Rows) -> Tensor:
    """Mean of the rows, float64, block by block; ``(d,)``."""
    if rows.known_moments is not None:
        return torch.from_numpy(rows.known_moments[0])
    mean = torch.zeros(rows.data.shape[1], dtype=torch.float64)
    for block in gen_batches(len(rows), _BLOCK):
        mean += rows[block].sum(0, dtype=torch.float64) / len(rows)
    return mean


def start_at_mean(decoder: nn.Module, bias: np.ndarray) -> None:
    """Set the last layer's bias, and shrink its weights, so that every decoded row is close to the training mean."""
    last = last_layer(decoder)
    with torch.no_grad():
        set_linear(last, last.weight * 0.1, torch.from_numpy(bias))


def linear_path(network: nn.Module) -> Linear:
    """The linear part of an encoder or decoder that has one."""
    return cast(Linear, network.linear_path)


def last_layer(network: nn.Module) -> Linear:
    """The last layer of a decoder, or of a nonlinear path."""
    return network.last if isinstance(network, TokenDecoder) else cast(Linear, cast(nn.Sequential, network)[-1])


def set_linear(linear: Linear, weight: Tensor | np.ndarray | float, bias: Tensor | np.ndarray | float) -> None:
    """Set weight and bias, each an array or one number for all."""
    linear.weight.copy_(torch.as_tensor(weight))
    linear.bias.copy_(torch.as_tensor(bias))


class Summary(NamedTuple):
    """Lowest and highest value, mean and standard deviation of each column."""

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    @property
    def scale(self) -> float:
        """Root of the columns' mean variance; 1 where all are constant."""
        return float(self.std.square().mean().sqrt()) or 1.0


def summarize(rows: Rows, values: Callable[[Tensor], Tensor]) -> Summary:
    """Summary of ``values`` over the rows, block by block, so that memory does not grow with the rows."""
    blocks = list(gen_batches(len(rows), _BLOCK))
    with torch.no_grad():
        first = values(rows[blocks[0]])
        low, high, mean = first.amin(0), first.amax(0), torch.zeros(first.shape[1], dtype=torch.float64)
        for block in blocks:
            part = values(rows[block])
            torch.minimum(low, part.amin(0), out=low)
            torch.maximum(high, part.amax(0), out=high)
            mean += part.sum(0, dtype=torch.float64) / len(rows)
        variance = torch.zeros_like(mean)
        for block in blocks:
            variance += (values(rows[block]) - mean).square().sum(0) / len(rows)
    return Summary(low, high, mean, variance.sqrt())


def or_one(std: Tensor) -> Tensor:
    """The standard deviations, with 1 for those that are negligible beside the largest."""
    return torch.where(std > 1e-6 * std.max(), std, 1.0)


def set_input_range(path: LinearPlusNonlinear, seen: Summary, room: float = 0.0) -> None:
    """Set the range and standard deviation of the path's input; ``room``: a share of the range to add at both ends."""
    room_beside = room * (seen.high - seen.low)
    path.low.copy_(seen.low - room_beside)
    path.high.copy_(seen.high + room_beside)
    path.std.copy_(or_one(seen.std))


def set_first_layer_gain(module: Any, n_rows: int) -> None:
    """Multiply the first layer's weights of networks beside a linear start; a larger gain learns finer structure."""
    for coder in (module.encoder, module.decoder):
        if isinstance(coder, LinearPlusNonlinear):  # without hidden layers there is only the linear path
            coder.scale_first_layer(min(max(n_rows / _ROWS_PER_GAIN, 1.0), _LARGEST_GAIN))
