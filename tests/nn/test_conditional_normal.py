"""Conditional normal distributions of rows, each with its own missing cells, against the textbook's formula."""

import numpy as np
import torch

from sk_autoenc.nn.conditional_normal import conditional_means, conditional_variances, missing_cells
from tests.data_sets import seeded


def a_covariance(d, seed=0):
    root = torch.randn(d, d, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T + torch.eye(d)


def rows_with_holes(n, d):
    observed = torch.rand(n, d, generator=seeded(1)) > torch.rand(n, 1, generator=seeded(2))
    observed[0], observed[1] = True, False
    x = torch.randn(n, d, generator=seeded(3), dtype=torch.float64)
    return torch.where(observed, x, 0.0), observed


def test_means_and_variances_are_those_of_the_textbook():
    covariance, (x, observed) = a_covariance(7), rows_with_holes(40, 7)
    means = conditional_means(x, observed, torch.linalg.inv(covariance))
    variances = conditional_variances(observed, torch.linalg.inv(covariance))
    for row, seen, mean, variance in zip(x, observed, means, variances, strict=True):
        assert torch.equal(mean[seen], row[seen])
        assert not variance[seen].any()
        between, inverse = covariance[~seen][:, seen], torch.linalg.inv(covariance[seen][:, seen])
        np.testing.assert_allclose(mean[~seen], between @ inverse @ row[seen], rtol=1e-9, atol=1e-12)
        left = covariance[~seen][:, ~seen] - between @ inverse @ between.T
        np.testing.assert_allclose(variance[~seen], left.diagonal(), rtol=1e-9)


def test_draws_about_the_mean_have_the_conditional_covariance():
    covariance = a_covariance(4)
    observed = torch.tensor([[True, False, False, True]])
    (block,) = missing_cells(observed.expand(20_000, 4))
    precision = torch.linalg.inv(covariance)
    factor = block.factor(precision)
    drawn = block.deviations(factor, torch.randn(block.cells.shape, generator=seeded(), dtype=torch.float64))
    assert drawn.shape == (20_000, 2)
    np.testing.assert_allclose(np.cov(drawn.numpy().T), block.covariances(factor)[0], rtol=0.05, atol=0.05)


def test_a_row_is_bit_equal_whatever_the_other_rows():
    covariance, (x, observed) = a_covariance(19), rows_with_holes(192, 19)
    precision = torch.linalg.inv(covariance)
    means = conditional_means(x, observed, precision)
    order = torch.randperm(192, generator=seeded(5))
    assert torch.equal(conditional_means(x[order], observed[order], precision), means[order])
    for part in order.split(64):
        assert torch.equal(conditional_means(x[part], observed[part], precision), means[part])
