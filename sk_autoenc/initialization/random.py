"""Random weights from a private generator: every parameter of a module is filled, or an error names it."""

import math
from typing import Any

import torch
from torch import nn

_NORMALIZATIONS = (
    nn.LayerNorm,
    nn.GroupNorm,
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def mark_unset(module: nn.Module) -> None:
    """Fill parameters and buffers of floats with NaN, so that :func:`check_is_set` finds those that stay unset."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)


def check_is_set(module: nn.Module) -> None:
    """Raise ``ValueError`` for the first parameter or buffer that is not set."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.isnan().any():
            owner = module.get_submodule(name.rpartition(".")[0])
            raise ValueError(
                f"{name} of the network has no value, because this library cannot initialize a {type(owner).__name__}. "
                "Give that class a method initialize(generator), which fills its own parameters and buffers."
            )


def initialize_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Fill the parameters of layers, from ``generator`` alone; no global generator is read.

    Linear layers, convolutions, embeddings, attention and normalisation have torch's default distributions. Recurrent
    layers have orthogonal weights of states. A module with its own parameters has a method ``initialize(generator)``,
    which is called after its children are filled.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, generator=generator)
        elif isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
            _initialize_linear(layer, generator)
        elif isinstance(layer, nn.MultiheadAttention):
            _initialize_attention(layer, generator)
        elif isinstance(layer, _NORMALIZATIONS):
            layer.reset_parameters()  # ones and zeros: nothing is drawn
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            _initialize_recurrent(layer, generator)
    for layer in reversed(list(module.modules())):
        if callable(initialize := getattr(layer, "initialize", None)):
            with torch.no_grad():
                initialize(generator)


def _initialize_linear(layer: Any, generator: torch.Generator) -> None:
    """Uniform within ± one over the root of the number of inputs."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def _initialize_attention(layer: nn.MultiheadAttention, generator: torch.Generator) -> None:
    """Xavier's uniform weights and zero bias. The output projection is a linear layer, and filled as one."""
    for name, parameter in layer.named_parameters(recurse=False):
        if name == "in_proj_bias":
            nn.init.zeros_(parameter)
        elif name in ("bias_k", "bias_v"):
            nn.init.xavier_normal_(parameter, generator=generator)
        else:
            nn.init.xavier_uniform_(parameter, generator=generator)


def _initialize_recurrent(layer: nn.RNNBase, generator: torch.Generator) -> None:
    """Weights of inputs as in torch, orthogonal weights of states, and zero bias but for 1 at an LSTM's forget gate."""
    bound = 1 / math.sqrt(layer.hidden_size)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            with torch.no_grad():
                for gate in parameter.split(layer.hidden_size):
                    gate.copy_(nn.init.orthogonal_(torch.empty(gate.shape, dtype=gate.dtype), generator=generator))
        elif name.startswith("weight_ih"):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        else:
            nn.init.zeros_(parameter)
            if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(parameter.detach()[layer.hidden_size : 2 * layer.hidden_size])
