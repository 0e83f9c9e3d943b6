"""Rows held out: a share, or a fold each."""

import pytest
import torch

from sk_autoenc.data.splits import FEW_ROWS, N_FOLDS, fold_rows, make_splits, split_rows
from tests.data_sets import seeded


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(100, 0.1, 10), (7, 0.5, 4), (100, 0.29, 29), (50, 0.001, 1)])
def test_split_holds_out_a_share(n, fraction, held_out):
    train, test = split_rows(n, fraction, seeded())
    assert len(test) == held_out
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
    assert torch.equal(train, train.sort().values)
    assert torch.equal(test, test.sort().values)
    assert test.tolist() != list(range(n - held_out, n))


def test_split_is_the_generators():
    first, again, other = (split_rows(100, 0.2, seeded(s))[1] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("n", [40, 41, 43])
def test_folds_hold_out_every_row_once(n):
    folds = fold_rows(n, seeded(1))
    assert len(folds) == N_FOLDS
    assert sorted(i for _, held_out in folds for i in held_out.tolist()) == list(range(n))
    for chosen, held_out in folds:
        assert sorted([*chosen.tolist(), *held_out.tolist()]) == list(range(n))
        assert torch.equal(chosen, chosen.sort().values)
        assert abs(len(held_out) - n / N_FOLDS) < 1
    other = fold_rows(n, seeded(2))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_a_network_that_has_seen_all_rows_is_not_evaluated_on_them():
    for is_first, seen_all, n_splits in [(True, False, 1), (False, False, 1), (False, True, 0), (True, True, 1)]:
        assert len(make_splits(FEW_ROWS, 0.1, seeded(), is_first=is_first, seen_all=seen_all)) == n_splits
