"""Penalties on codes, and the losses and penalties of adversarial games, as pure functions on tensors.

They sum over code units or features, and leave the mean over rows to whoever trains.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
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


# -- games of a critic and a generator


class AdversarialLoss(NamedTuple):
    r"""What a critic and a generator minimise: each ``(real, generated) -> (n,)``.

    ``real`` and ``generated`` are what the critic says of a real and of a generated row, before any sigmoid; rows at
    the same place make a pair.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def cross_entropy(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`-\log \sigma(D(x)) - \log(1 - \sigma(D(g)))`, the critic's loss of Goodfellow et al. (2014)."""
    return F.softplus(-real) + F.softplus(generated)


def saturating(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`\log(1 - \sigma(D(g)))`, the generator's loss of the minimax game of Goodfellow et al. (2014)."""
    return -F.softplus(generated)


def non_saturating(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`-\log \sigma(D(g))`, the generator's loss that Goodfellow et al. (2014) train with."""
    return F.softplus(-generated)


def least_squares_critic(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`\frac12 (D(x) - 1)^2 + \frac12 D(g)^2` (Mao et al. 2017)."""
    return 0.5 * (real - 1).square() + 0.5 * generated.square()


def least_squares_generator(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`\frac12 (D(g) - 1)^2` (Mao et al. 2017)."""
    return 0.5 * (generated - 1).square()


def hinge(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`\max(0, 1 - D(x)) + \max(0, 1 + D(g))` (Lim and Ye 2017)."""
    return F.relu(1 - real) + F.relu(1 + generated)


def wasserstein(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`D(g) - D(x)`; minus its mean estimates the distance if D is 1-Lipschitz (Arjovsky et al. 2017)."""
    return generated - real


def negative_critic(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`-D(g)`, the generator's loss beside a Wasserstein or a hinge critic."""
    return -generated


def relativistic_critic(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`-\log \sigma(D(x) - D(g))` of pairs (Jolicoeur-Martineau 2018; Huang et al. 2024)."""
    return F.softplus(generated - real)


def relativistic_generator(real: Tensor, generated: Tensor) -> Tensor:
    r""":math:`-\log \sigma(D(g) - D(x))` of pairs (Jolicoeur-Martineau 2018; Huang et al. 2024)."""
    return F.softplus(real - generated)


#: Both players' losses, by the name of the game.
ADVERSARIAL_LOSSES = {
    "relativistic": AdversarialLoss(relativistic_critic, relativistic_generator),
    "non_saturating": AdversarialLoss(cross_entropy, non_saturating),
    "minimax": AdversarialLoss(cross_entropy, saturating),
    "least_squares": AdversarialLoss(least_squares_critic, least_squares_generator),
    "hinge": AdversarialLoss(hinge, negative_critic),
    "wasserstein": AdversarialLoss(wasserstein, negative_critic),
}


def squared_gradient_norm(said: Tensor, x: Tensor) -> Tensor:
    r""":math:`\lVert \nabla_x D(x) \rVert^2` of each row, to be trained through; ``(n,)``.

    Half of its mean over real rows is R1, half of its mean over generated rows R2 (Mescheder et al. 2018). ``said`` is
    what the critic says of the rows ``x``, each of its own row alone.
    """
    (gradient,) = torch.autograd.grad(said.sum(), x, create_graph=True)
    return gradient.square().sum(-1)


def one_centred_penalty(said: Tensor, x: Tensor) -> Tensor:
    r""":math:`(\lVert \nabla_x D(x) \rVert - 1)^2` of each row (Gulrajani et al. 2017); ``(n,)``."""
    return (squared_gradient_norm(said, x).clamp_min(torch.finfo(x.dtype).tiny).sqrt() - 1).square()


def between(real: Tensor, generated: Tensor, share: Tensor) -> Tensor:
    """Rows on the straight lines between pairs, where Gulrajani et al. (2017) hold the slope to 1; ``share`` (n, 1)."""
    return share * real + (1 - share) * generated
