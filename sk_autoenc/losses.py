"""Penalties on codes, as pure functions on tensors: sums over code units, never means."""

import torch
from torch import Tensor


def l1_sparsity(code: Tensor) -> Tensor:
    """L1 norm of every row's code; shape (n,)."""
    return code.abs().sum(-1)


def kl_sparsity(code: Tensor, target: float) -> Tensor:
    r"""KL divergence from the target activation to each unit's mean activation, summed over units; shape ().

    :math:`\sum_j \rho \log(\rho / \hat\rho_j) + (1 - \rho) \log((1 - \rho) / (1 - \hat\rho_j))` with
    :math:`\hat\rho_j` the mean of unit *j* over the batch; codes lie in (0, 1).
    """
    tiny = torch.finfo(code.dtype).eps
    mean = code.mean(0).clamp(tiny, 1 - tiny)  # (n_components,)
    rho = torch.full_like(mean, target)
    return (torch.special.xlogy(rho, rho / mean) + torch.special.xlogy(1 - rho, (1 - rho) / (1 - mean))).sum()
