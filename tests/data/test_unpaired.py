"""Rows of two domains: splits of both, draws, classes, and how they are scaled."""

import numpy as np
import pytest
import torch

from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.splits import fold_rows, split_rows
from sk_autoenc.data.unpaired import Domain, TwoDomains, Unpaired, owners, read_domain
from sk_autoenc.likelihoods import Gaussian
from tests.data_sets import numbered, seeded


def unpaired(n_a=40, n_b=70):
    none = [torch.full((n,), -1) for n in (n_a, n_b)]
    return Unpaired(numbered(n_a), numbered(n_b), *none)


@pytest.mark.parametrize(("n_a", "n_b"), [(40, 70), (70, 40), (40, 40), (45, 7)])
def test_splits_divide_both_domains(n_a, n_b):
    data = unpaired(n_a, n_b)
    for splits in ([split_rows(n_a, 0.25, seeded())], fold_rows(n_a, seeded())):
        held_out = []
        for chosen, left_out in splits:
            train, test = data.subset(chosen), data.subset(left_out)
            both = torch.cat([train.other_index, test.other_index])
            assert sorted(both.tolist()) == list(range(n_b))
            held_out += test.other_index.tolist()
            assert test.cpu().other_index.tolist() == test.other_index.tolist()
        assert len(held_out) == len(set(held_out))
    assert owners(n_a, n_b).max() < n_a


def test_rows_of_the_second_domain_are_drawn_from_its_own_part():
    part = unpaired().subset(torch.arange(10))
    drawn = part.draw_other(500, seeded())
    assert set(drawn.tolist()) == set(part.other_index.tolist())


def test_rows_of_known_classes_are_drawn_with_these():
    labels_a, labels_b = torch.full((40,), -1), torch.arange(70) % 3 - 1
    data = Unpaired(numbered(40), 100 + numbered(70), labels_a, labels_b).subset(torch.arange(20))
    rows, labels = data.draw_labelled(300, seeded())
    known = {float(data.other[j, 0]): int(labels_b[j]) for j in data.other_index if labels_b[j] >= 0}
    assert {float(row[0]): int(label) for row, label in zip(rows, labels, strict=True)} == known
    both = Unpaired(numbered(40), 100 + numbered(70), torch.zeros(40, dtype=torch.long), labels_b)
    assert (both.draw_labelled(300, seeded())[0][:, 0] < 100).any()


def two_domains(X, y, *, by_feature, shapes=((2,), (2,))):
    made = (SampledRows(Gaussian(), shape, "float64", by_feature=by_feature, values="real") for shape in shapes)
    return TwoDomains(*made).fit(X, np.arange(len(X)), Domain(y, shapes[1]))


def test_columns_of_tables_are_standardised_in_each_domain():
    rng = np.random.default_rng(0)
    X, y = rng.normal([1, 2], [3, 4], (50, 2)), rng.normal([9, -2], [0.1, 2], (30, 2))
    data = two_domains(X, y, by_feature=True)
    for rows, of in ((X, data.a), (y, data.b)):
        scaled = of.to_network(rows)
        np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-5)


def test_images_of_one_shape_share_centre_and_scale():
    rng = np.random.default_rng(0)
    X, y = rng.random((50, 4)), 3 + rng.random((30, 4))
    shapes = ((1, 2, 2), (1, 2, 2))
    data = two_domains(X, y, by_feature=False, shapes=shapes)
    both = np.concatenate([data.a.to_network(X).ravel()[:120], data.b.to_network(y).ravel()])
    assert abs(both.mean()) < 0.02
    assert data.a.scaling.scale == data.b.scaling.scale
    np.testing.assert_array_equal(data.a.to_network(X), data.b.to_network(X))
    other = two_domains(X, y[:, :2], by_feature=False, shapes=((1, 2, 2), (1, 1, 2)))
    assert abs(other.b.to_network(y[:, :2]).mean()) < 1e-6


def test_domains_are_read_as_rows():
    assert read_domain([1.0, 2.0], "X").rows.shape == (2, 1)
    assert read_domain(np.zeros((3, 1, 2, 2)), "X").shape == (1, 2, 2)
    for bad, said in (
        ({"y": None}, "requires y"),
        ({"y": [[np.nan]]}, "y contains NaN"),
        ({"y": [[1.0]], "labels_a": ["a"]}, "labels_a must have one axis of integers"),
        ({"y": [[1.0]], "labels_b": [-2]}, "labels_b must have"),
    ):
        with pytest.raises(ValueError, match=said):
            read_domain(**bad, owner="X")
