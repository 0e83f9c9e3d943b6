"""EM on rows with missing cells: closed forms where there are some, and shrinkage that hidden cells ask for."""

import numpy as np
import pytest
import torch

from sk_autoenc.initialization.incomplete_normal import (
    SHRINKAGES,
    choose_shrinkage,
    fill,
    fit_incomplete_normal,
    hide,
    shrunk,
)
from tests.data_sets import seeded

COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 2.0, -0.4], [0.3, -0.4, 1.5]], dtype=torch.float64)


def correlated_rows(n, seed=0):
    noise = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    return noise @ torch.linalg.cholesky(COVARIANCE).T + torch.tensor([1.0, -2.0, 0.5])


def with_holes(rows, share, seed=1):
    return rows.masked_fill(torch.rand(rows.shape, generator=seeded(seed)) < share, torch.nan)


def test_complete_rows_have_the_moments_of_maximum_likelihood():
    rows = correlated_rows(50)
    found = fit_incomplete_normal(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0))
    np.testing.assert_allclose(found.covariance, np.cov(rows.numpy().T, bias=True))
    assert found.n_iter == 2  # the second step finds that nothing moves


def test_a_monotone_pattern_has_the_known_solution_by_regression():
    rows = correlated_rows(80)[:, :2]
    rows[50:, 1] = torch.nan
    found = fit_incomplete_normal(rows, max_iter=500, tol=1e-12)
    first, second = rows[:50].numpy().T
    slope = np.cov(first, second, bias=True)[0, 1] / first.var()
    intercept = second.mean() - slope * first.mean()
    residual = (second - intercept - slope * first).var()
    mean, variance = rows[:, 0].numpy().mean(), rows[:, 0].numpy().var()
    np.testing.assert_allclose(found.mean, [mean, intercept + slope * mean], rtol=1e-8)
    expected = [[variance, slope * variance], [slope * variance, residual + slope**2 * variance]]
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-8)


def test_no_step_lowers_the_likelihood_of_the_observed_cells():
    rows = with_holes(correlated_rows(60), 0.4)
    likelihoods = [_log_likelihood(rows, fit_incomplete_normal(rows, max_iter=n, tol=0.0)) for n in range(1, 12)]
    assert (np.diff(likelihoods) > -1e-9).all()
    assert likelihoods[-1] > likelihoods[0] + 1


def _log_likelihood(rows, normal):
    total = 0.0
    for row in rows:
        seen = ~row.isnan()
        if seen.any():
            covariance = normal.covariance[seen][:, seen]
            total += torch.distributions.MultivariateNormal(normal.mean[seen], covariance).log_prob(row[seen])
    return float(total)


def test_cells_are_filled_with_the_linear_regression_on_the_others():
    rows = correlated_rows(200)
    normal = fit_incomplete_normal(rows)
    shown = rows.clone()
    shown[:, 1] = torch.nan
    design = np.column_stack([np.ones(200), rows[:, [0, 2]].numpy()])
    coefficients = np.linalg.lstsq(design, rows[:, 1].numpy(), rcond=None)[0]
    filled = fill(shown, normal)
    np.testing.assert_allclose(filled[:, 1], design @ coefficients)
    assert torch.equal(filled[:, [0, 2]], rows[:, [0, 2]])
    np.testing.assert_allclose(fill(torch.full((1, 3), torch.nan, dtype=torch.float64), normal)[0], normal.mean)


def test_shrinkage_draws_correlations_to_zero_and_leaves_variances():
    np.testing.assert_allclose(shrunk(COVARIANCE, 0.25).diagonal(), COVARIANCE.diagonal())
    np.testing.assert_allclose(shrunk(COVARIANCE, 0.25)[0, 1], 0.75 * COVARIANCE[0, 1])
    rows = with_holes(correlated_rows(40), 0.3)
    np.testing.assert_allclose(fill(rows, fit_incomplete_normal(rows, 1.0)).mean(0), rows.nanmean(0))


def test_more_columns_than_rows_and_constant_columns_have_an_inverse():
    rows = with_holes(torch.randn(8, 30, generator=seeded(), dtype=torch.float64), 0.3)
    rows[:, 0] = 2.0
    filled = fill(rows, fit_incomplete_normal(rows, 0.1))
    assert filled.isfinite().all()


@pytest.mark.parametrize(("strength", "few", "least", "most"), [(0.0, 60, 0.45, 1.0), (1.0, 60, 0.0, 0.05)])
def test_hidden_cells_choose_how_far_to_shrink(strength, few, least, most):
    common = torch.randn(few, 1, generator=seeded(1), dtype=torch.float64)
    rows = strength * common + 0.2 * torch.randn(few, 6, generator=seeded(2), dtype=torch.float64)
    rows = with_holes(rows / rows.std(0), 0.2, seed=3)
    assert least <= choose_shrinkage(rows, torch.arange(6), seeded()) <= most


def test_more_rows_than_are_searched_shrink_less():
    rows = with_holes(correlated_rows(2100), 0.2)
    rows = (rows - rows.nanmean(0)) / 1.5
    small = choose_shrinkage(rows[:2000], torch.arange(3), seeded())
    large = choose_shrinkage(torch.cat([rows] * 4), torch.arange(3), seeded())
    assert small in SHRINKAGES
    assert large not in SHRINKAGES
    assert 0 < large < 0.1


def test_cells_of_one_category_are_hidden_together():
    missing = torch.zeros(100, 4, dtype=torch.bool)
    missing[:10] = True
    hidden = hide(missing, torch.tensor([0, 1, 1, 2]), 0.4, seeded())
    assert torch.equal(hidden[:, 1], hidden[:, 2])
    assert not torch.equal(hidden[:, 0], hidden[:, 3])
    assert not hidden[:10].any()
    assert 0.3 < float(hidden[10:].double().mean()) < 0.5
