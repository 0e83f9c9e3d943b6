"""The penalties on codes against closed forms."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from sk_autoenc.losses import kl_sparsity, l1_sparsity


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
