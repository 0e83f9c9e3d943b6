"""The penalties on codes, and adversarial losses and penalties, against closed forms."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from sk_autoenc.losses import (
    ADVERSARIAL_LOSSES,
    between,
    kl_sparsity,
    l1_sparsity,
    one_centred_penalty,
    squared_gradient_norm,
)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_l1_is_the_sum_of_sizes_per_row():
    code = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.25, -0.25]])
    torch.testing.assert_close(l1_sparsity(code), torch.tensor([3.0, 1.0]))


def test_l1_gradient_is_the_sign():
    code = torch.tensor([[1.0, -2.0, 0.0, 1e-8]], requires_grad=True)
    l1_sparsity(code).sum().backward()
    torch.testing.assert_close(code.grad, torch.tensor([[1.0, -1.0, 0.0, 1.0]]))


def test_l1_keeps_leading_axes():
    assert l1_sparsity(draw(4, 3, 2)).shape == (4, 3)
    assert l1_sparsity(draw(5, 2)).shape == (5,)


@pytest.mark.parametrize("target", [0.01, 0.1, 0.5, 0.93])
def test_kl_is_that_of_bernoullis_summed_over_units(target):
    code = torch.sigmoid(2 * draw(50, 7))
    expected = kl_divergence(Bernoulli(torch.full((7,), target, dtype=code.dtype)), Bernoulli(code.mean(0))).sum()
    penalty = kl_sparsity(code, target)
    assert penalty.shape == ()
    torch.testing.assert_close(penalty, expected)


def test_kl_is_zero_at_the_target_alone():
    code = torch.tensor([[0.1, 0.3], [0.3, 0.1]], dtype=torch.float64)  # both units' mean is 0.2
    assert abs(kl_sparsity(code, 0.2).item()) < 1e-12
    assert kl_sparsity(code, 0.25) > 1e-3
    assert kl_sparsity(code, 0.15) > 1e-3


def test_kl_reads_the_mean_over_the_batch():
    """Units that are on in few rows are what the penalty allows: only their mean activation counts."""
    rarely_on = torch.tensor([[1.0], [0.0], [0.0], [0.0]], dtype=torch.float64)
    assert abs(kl_sparsity(rarely_on, 0.25).item()) < 1e-12


def test_kl_gradient_drives_each_unit_towards_the_target():
    code = torch.tensor([[0.9, 0.05], [0.7, 0.05]], dtype=torch.float64, requires_grad=True)
    kl_sparsity(code, 0.2).backward()
    assert (code.grad[:, 0] > 0).all()  # above the target: descent lowers it
    assert (code.grad[:, 1] < 0).all()
    mean = code.detach().mean(0)
    expected = ((1 - 0.2) / (1 - mean) - 0.2 / mean) / len(code)
    torch.testing.assert_close(code.grad, expected.expand(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_kl_of_saturated_units_is_finite(value, dtype):
    code = torch.full((4, 3), value, dtype=dtype, requires_grad=True)
    penalty = kl_sparsity(code, 0.1)
    penalty.backward()
    assert torch.isfinite(penalty)
    assert penalty > 1
    assert torch.isfinite(code.grad).all()


# -- games


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


#: What critic and generator lose where the critic says ``r`` of a real row and ``g`` of a generated one.
CLOSED_FORMS = {
    "relativistic": (lambda r, g: -math.log(sigmoid(r - g)), lambda r, g: -math.log(sigmoid(g - r))),
    "non_saturating": (
        lambda r, g: -math.log(sigmoid(r)) - math.log(1 - sigmoid(g)),
        lambda r, g: -math.log(sigmoid(g)),
    ),
    "minimax": (
        lambda r, g: -math.log(sigmoid(r)) - math.log(1 - sigmoid(g)),
        lambda r, g: math.log(1 - sigmoid(g)),
    ),
    "least_squares": (lambda r, g: (r - 1) ** 2 / 2 + g**2 / 2, lambda r, g: (g - 1) ** 2 / 2),
    "hinge": (lambda r, g: max(0, 1 - r) + max(0, 1 + g), lambda r, g: -g),
    "wasserstein": (lambda r, g: g - r, lambda r, g: -g),
}


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_a_game_is_that_of_its_paper(name):
    real, generated = draw(20) * 2, draw(2, 20)[1] * 2
    for ours, expected in zip(ADVERSARIAL_LOSSES[name], CLOSED_FORMS[name], strict=True):
        found = ours(real, generated)
        assert found.shape == (20,)
        pairs = zip(real.tolist(), generated.tolist(), strict=True)
        torch.testing.assert_close(found, torch.tensor([expected(r, g) for r, g in pairs], dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_a_generator_gains_where_the_critic_is_deceived(name):
    """A step down its loss raises what the critic says of generated rows, as long as these are told from real ones."""
    generated = torch.full((3,), -0.5, requires_grad=True)
    ADVERSARIAL_LOSSES[name].generator(torch.full((3,), 0.5), generated).sum().backward()
    assert (generated.grad < 0).all()


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_games_are_finite_whatever_the_critic_says(name):
    for value in (-1e4, 1e4):
        real, generated = torch.tensor([value]), torch.tensor([-value])
        assert all(loss(real, generated).isfinite().all() for loss in ADVERSARIAL_LOSSES[name])


def test_penalties_of_a_linear_and_of_a_quadratic_critic():
    x, slope = draw(30, 4).requires_grad_(), torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(squared_gradient_norm(x @ slope, x), slope.square().sum().expand(30))
    torch.testing.assert_close(one_centred_penalty(x @ slope, x), (slope.norm() - 1).square().expand(30))
    quadratic = 0.5 * x.square().sum(-1)  # its gradient is the row
    torch.testing.assert_close(squared_gradient_norm(quadratic, x), x.detach().square().sum(-1))
    torch.testing.assert_close(one_centred_penalty(0.5 * x.square().sum(-1), x), (x.detach().norm(dim=-1) - 1).square())


def test_penalties_are_trained_through():
    x, slope = draw(5, 3).requires_grad_(), torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    squared_gradient_norm(x @ slope, x).mean().backward()
    torch.testing.assert_close(slope.grad, 2 * slope.detach())
    flat = torch.zeros(3, dtype=torch.float64, requires_grad=True)  # the norm of a gradient of 0 has no slope
    one_centred_penalty(x @ flat, x).mean().backward()
    assert flat.grad.isfinite().all()


def test_between_lies_on_the_line():
    real, generated = draw(6, 2), draw(7, 2)[:6] + 1
    torch.testing.assert_close(between(real, generated, torch.ones(6, 1)), real)
    torch.testing.assert_close(between(real, generated, torch.zeros(6, 1)), generated)
    torch.testing.assert_close(between(real, generated, torch.full((6, 1), 0.25)), 0.25 * real + 0.75 * generated)
