"""The choice of the best epoch, and which gain is not chance."""

import math

import numpy as np
import pytest
import torch

from sk_autoenc.data.dataset import Rows
from sk_autoenc.training.selection import NATS, ROOT_LOSS, EnergyScores, RowLosses, best_epoch, signed_root
from tests.data_sets import numbered, seeded
from tests.training.small_nets import Point, callbacks_of_a_fit, make_net, squared_distance


def test_signed_roots_keep_the_order():
    losses = torch.tensor([-9.0, -1.0, 0.0, 0.25, 4.0])
    assert signed_root(losses).tolist() == [-3.0, -1.0, 0.0, 0.5, 2.0]


def test_the_best_epoch_is_not_decided_by_one_far_row():
    losses = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 1.0, 1.0, 20.0], [9.0, 9.0, 9.0, 0.0]])
    assert losses.mean(1).argmin() == 0
    assert best_epoch(losses, ROOT_LOSS) == 2


def test_the_best_epoch_of_log_probabilities_is_that_of_their_mean():
    """A constant added to all losses, as another unit of X adds it, changes nothing."""
    losses = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 1.0, 1.0, 20.0], [9.0, 9.0, 9.0, 0.0]])
    assert [best_epoch(losses + constant, NATS) for constant in (0.0, -5.0, 100.0)] == [1, 1, 1]


def test_the_best_epoch_is_finite():
    losses = torch.tensor([[math.nan, 1.0], [5.0, 5.0], [-math.inf, 1.0], [6.0, 6.0]])
    assert [best_epoch(losses, comparison) for comparison in (ROOT_LOSS, NATS)] == [2, 2]


def judged(before, after, comparison=ROOT_LOSS):
    return comparison.is_significant(before, after)


def test_a_gain_is_real_where_chance_does_not_explain_it():
    generator = seeded()
    before = 1 + torch.rand(100, generator=generator, dtype=torch.float64)
    chance = 0.1 * torch.randn(100, generator=generator, dtype=torch.float64)
    assert judged(before, 0.9 * before)
    assert judged(before, before - 0.1 + chance)
    assert not judged(before, before - 0.001 + chance - chance.mean())
    assert not judged(before, before)
    assert not judged(before, 1.1 * before)


def test_a_gain_in_nats_does_not_depend_on_their_origin():
    before = 1 + torch.rand(100, generator=seeded(), dtype=torch.float64)
    after = before - 0.1 + 0.1 * torch.randn(100, generator=seeded(1), dtype=torch.float64)
    for constant in (0.0, -1.5, 1000.0):
        assert judged(before + constant, after + constant, NATS)
        assert not judged(after + constant, before + constant, NATS)


def test_a_row_that_becomes_impossible_spoils_a_gain_in_nats():
    before = torch.ones(100, dtype=torch.float64)
    after = 0.9 * before
    assert judged(before, after, NATS)
    after[3] = 1000.0
    assert not judged(before, after, NATS)


def test_a_row_that_becomes_possible_does_not_hide_what_all_rows_gain_in_nats():
    """Its fall alone makes the mean and the standard error, whose ratio is then 1."""
    chance = torch.randn(100, generator=seeded(), dtype=torch.float64)
    after = torch.zeros(100, dtype=torch.float64)
    far = torch.zeros(100, dtype=torch.float64)
    far[3] = 1e6
    assert judged(after + 1 + chance + far, after, NATS)
    assert not judged(after + chance - chance.mean() + far, after, NATS)
    assert not judged(after + 1 + chance - far, after, NATS)
    some = torch.where(torch.arange(100) < 10, -10.0, 0.1).double() + far  # which lose more than the others gain
    assert not judged(some, after, NATS)
    equal = torch.where(torch.arange(100) < 45, chance - chance[:45].mean(), 0.0)
    assert not judged(equal, after, NATS)


def test_a_gain_on_most_rows_that_ruins_a_few_is_none():
    before = torch.ones(100, dtype=torch.float64)
    after = 0.5 * before
    after[:4] = 100.0 + torch.arange(4)
    assert signed_root(after).mean() < signed_root(before).mean() + 0.2
    assert not judged(before, after)


@pytest.mark.parametrize("spoiler", [math.nan, math.inf, -math.inf])
def test_a_gain_is_finite(spoiler):
    before = torch.ones(100, dtype=torch.float64)
    after = 0.5 * before
    after[3] = spoiler
    assert not judged(before, after)


def test_one_row_proves_nothing():
    assert not judged(torch.tensor([2.0]), torch.tensor([1.0]))


def test_patience_in_nats_is_a_distance():
    """A fall from 1000 by 0.5 is an improvement of more than 0.1 nats, but not of a tenth of the loss."""
    lengths = {}
    for comparison in (NATS, NATS._replace(threshold_mode="rel")):
        mode, falling = comparison.threshold_mode, iter(1000.0 - 0.5 * np.arange(20))
        net = make_net(Point(), squared_distance, selection=RowLosses(3, 0.1, comparison))
        net.losses = lambda rows, falling=falling: torch.full((4,), next(falling), dtype=torch.float64)
        stop = callbacks_of_a_fit(patience=3, tol=0.1, comparison=comparison)[1:]  # without the guard, which evaluates
        net.train(Rows(numbered(4)), Rows(numbered(4)), epochs=20, callbacks=stop)
        lengths[mode] = len(net.history)
    assert lengths == {"abs": 20, "rel": 4}


def test_a_gain_that_a_few_rows_pay_for_is_none():
    """By roots most rows gain beyond chance, but the plain mean rises by more than its error."""
    before = torch.ones(1000, dtype=torch.float64)
    after = 0.25 * before
    assert judged(before, after)
    after[:5] = 400.0 + torch.arange(5)
    assert not judged(before, after)


def test_energy_scores_and_qualities_in_closed_form():
    rows, samples = torch.arange(7.0)[:, None], torch.tensor([[0.0]] * 6 + [[6.0]])
    selection = EnergyScores(patience=1, tol=0.0, draw=lambda net, held_out: (rows, samples))
    scores = selection.evaluate(None, None)
    to_samples = (6 * rows[:, 0] + (6 - rows[:, 0])) / 7
    torch.testing.assert_close(scores, (to_samples - 0.5 * 2 * 6 * 6 / 49).double())
    found = selection.qualities(None, None, scores)
    among = (rows - rows.T).abs().mean().double()
    torch.testing.assert_close(found["energy_distance"], float(2 * scores.mean() - among))
    # The fifth neighbour is 3 away or more, the nearest sample at most 3.
    assert found["coverage"] == 1
    near = EnergyScores(patience=1, tol=0.0, draw=lambda net, held_out: (rows, samples + 10.5))
    assert near.qualities(None, None, scores)["coverage"] == pytest.approx(1 / 7)  # 6, 4.5 away
