"""Rows, pairs and their batches: what they hold, and in which order."""

import pytest
import torch

from sk_autoenc.data.dataset import Pairs, Rows, WholeBatches
from tests.data_sets import numbered, seeded


def rows_of(batches):
    """The rows of all batches, one after the other."""
    return torch.cat([batch.x for batch in batches])


# -- data


def test_pairs_stay_pairs():
    """Whatever order or part of them a batch holds."""
    data = numbered(30)
    pairs = Pairs(data, 2 * data[:, :1])
    for some in (pairs, pairs.subset(torch.arange(5, 25)), pairs.cpu()):
        for batch in WholeBatches(some, 8, seeded()):
            assert torch.equal(batch.y, 2 * batch.x[:, :1])
    assert pairs.subset(torch.arange(5, 25)).target is pairs.target


def test_rows_are_chosen_by_index():
    data = numbered(10)
    rows = Rows(data, torch.tensor([7, 2, 5]))
    assert len(rows) == 3
    assert torch.equal(rows[1], data[2])
    assert torch.equal(rows[0:2], data[[7, 2]])
    assert torch.equal(rows[torch.tensor([2, 0])], data[[5, 7]])
    assert rows.data is data


def test_rows_without_index_are_all():
    data = numbered(4)
    assert torch.equal(Rows(data)[:], data)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_batches_hold_every_row_once(n):
    """One row, fewer than a batch, a whole number of batches; a single row left over joins the batch before."""
    index = torch.arange(0, 2 * n, 2)
    batches = WholeBatches(Rows(numbered(2 * n), index), 4, seeded())
    parts = list(batches)
    assert all(part.y is None for part in parts)
    assert [len(part) for part in parts] == {1: [1], 2: [2], 3: [3], 4: [4], 5: [5], 8: [4, 4], 9: [4, 5]}[n]
    assert len(batches) == len(parts)
    assert sorted(rows_of(parts)[:, 0].tolist()) == index.tolist()


def test_order_is_the_generators():
    rows = Rows(numbered(50))
    first, again, other = (rows_of(WholeBatches(rows, 8, seeded(s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, rows[:])


def test_every_epoch_has_its_own_order():
    batches = WholeBatches(Rows(numbered(50)), 8, seeded())
    assert not torch.equal(rows_of(batches), rows_of(batches))


def test_without_generator_the_order_is_that_of_the_rows():
    rows = Rows(numbered(10), torch.tensor([3, 1, 9]))
    assert torch.equal(rows_of(WholeBatches(rows, 2)), rows[:])
