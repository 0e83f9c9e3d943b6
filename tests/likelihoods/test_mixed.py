"""One distribution for each column of a table."""

import numpy as np
import pytest
import torch

from sk_autoenc.likelihoods.mixed import Mixed

MIXED = Mixed([2, 3], [None, [1, 0, 2]])
RAW = torch.tensor([[0.0, 1.0, 0.5, -0.5, 2.0]], dtype=torch.float64)


def test_the_log_probability_is_that_of_each_outcome_and_leaves_missing_cells_out():
    first, second = RAW[0, :2].log_softmax(0), RAW[0, 2:].log_softmax(0)
    for x, expected in (
        ([1.0, 2.0], first[1] + second[2]),
        ([1.0, torch.nan], first[1]),
        ([torch.nan, torch.nan], 0.0),
    ):
        found = MIXED.log_prob(RAW, torch.tensor([x], dtype=torch.float64))
        assert float(found) == pytest.approx(float(expected))


def test_probabilities_sum_to_one():
    rows = torch.cartesian_prod(torch.arange(2.0), torch.arange(3.0)).double()
    assert float(MIXED.log_prob(RAW, rows).exp().sum()) == pytest.approx(1)


def test_the_mean_is_the_median_of_numbers_and_the_most_probable_level():
    shares = torch.tensor([[0.3, 0.7, 0.2, 0.6, 0.2]], dtype=torch.float64)
    found = MIXED.mean(shares.log())
    assert found[0, 0] == 1.5
    assert float(found[0, 1]) == pytest.approx(1 + 0.5 / 0.6)  # outcome 1 is the lowest, with a share of 0.6


def test_draws_have_the_shares_of_their_outcomes():
    drawn = MIXED.draw(RAW.expand(20_000, -1), torch.Generator().manual_seed(0)).numpy()
    outcomes = np.floor(drawn)
    for column, logits in enumerate((RAW[0, :2], RAW[0, 2:])):
        shares = np.bincount(outcomes[:, column].astype(int)) / len(drawn)
        np.testing.assert_allclose(shares, logits.softmax(0), atol=0.015)
    assert np.abs((drawn - outcomes).mean(0) - 0.5).max() < 0.01


def test_the_error_is_the_share_of_observed_cells_that_the_most_probable_outcome_misses():
    x = torch.tensor([[1.0, 0.0], [0.0, torch.nan]], dtype=torch.float64)
    assert MIXED.error(RAW.expand(2, -1), x, torch.ones(2)).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("outcomes", "ranks"), [([2], None), ([0], [None]), ([2], []), ([3], [[0, 0, 1]]), ("2", [None])]
)
def test_numbers_of_outcomes_that_no_table_has_are_refused(outcomes, ranks):
    with pytest.raises(ValueError, match="Mixed: "):
        Mixed(outcomes, ranks).check_parameters()
    with pytest.raises(ValueError, match="Mixed: outcomes must be a list of 3 integers"):
        MIXED.check_fitted(3)
