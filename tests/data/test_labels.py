"""Labels that may be missing, the graph over which they spread, and the batches that are made of both."""

import numpy as np
import pytest
import torch

from sk_autoenc.data.baseline import fit_baseline, sharpened, stratified_folds
from sk_autoenc.data.graph import Graph, make_graph, normalised_weights
from sk_autoenc.data.labels import LabelledRows, LabelSource, read_targets

RNG = np.random.default_rng(0)
TWO = np.concatenate([RNG.normal(-5, 1, (30, 3)), RNG.normal(5, 1, (30, 3))]).astype(np.float32)
OF_TWO = np.repeat([0, 1], 30)


def source(X, known, **options):
    return LabelSource(X, known, **{"is_class": True, "choice": "graph", "seed": 0, "teaches": True, **options})


def rows_with(known, X=TWO, **options):
    target = np.eye(2, dtype=np.float32)[OF_TWO] * known[:, None]
    return LabelledRows(
        torch.from_numpy(X), torch.from_numpy(target), torch.from_numpy(known), source(X, known, **options)
    )


def only(*places):
    known = np.zeros(60, dtype=bool)
    known[list(places)] = True
    return known


@pytest.mark.parametrize(
    ("y", "known", "classes"),
    [
        ([0, -1, 2], [True, False, True], [0, 2]),
        ([0.0, np.nan, -1.0], [True, False, False], [0.0]),
        (np.array(["b", None, "a", np.nan, -1], dtype=object), [True, False, True, False, False], ["a", "b"]),
        (np.array([True, False]), [True, True], [False, True]),
        (np.array(["x", "y"]), [True, True], ["x", "y"]),
    ],
    ids=["integers", "floats", "objects", "booleans", "strings"],
)
def test_classes_and_missing_ones_are_told_apart(y, known, classes):
    found = read_targets(y, len(y), "Model", is_class=True)
    assert found.known.tolist() == known
    assert found.classes.tolist() == classes
    assert (found.values == -1).tolist() == [not here for here in known]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.25, 2.5], "Unknown label type"),
        ([0.0, np.inf], "infinity"),
        (np.array(["a", 1], dtype=object), "Unknown label type"),
        ([0, 1, 2], "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
    ],
)
def test_what_is_no_class_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        read_targets(y, 2 if y is None or (len(y) == 3 and y[0] == 0) else len(y), "Model", is_class=True)


def test_values_may_be_minus_one_but_not_infinite():
    found = read_targets([-1, 2, np.nan], 3, "Model", is_class=False)
    assert found.known.tolist() == [True, True, False]
    with pytest.raises(ValueError, match="infinity"):
        read_targets([np.inf, 1], 2, "Model", is_class=False)


# -- the graph


def test_spread_values_solve_the_equation_of_the_paper():
    """F = (1 - a) (I - a S)^-1 Y, on a chain of three rows that are each other's only neighbours."""
    codes = np.array([[0.0], [1.0], [2.0]], dtype=np.float32)
    weights = normalised_weights(codes)
    dense = weights.toarray()
    np.testing.assert_allclose(dense, [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    graph = Graph(np.zeros(1, np.float32), np.ones((1, 1), np.float32), np.arange(3), codes, weights)
    y = np.array([[1.0], [0.0], [0.0]])
    exact = 0.05 * np.linalg.solve(np.eye(3) - 0.95 * dense, y)
    found = graph.spread(y)
    np.testing.assert_allclose(found, exact, atol=0.05)
    np.testing.assert_allclose(found / found.sum(), exact / exact.sum(), atol=0.02)


def test_one_label_of_each_cluster_labels_all_rows():
    found = rows_with(only(3, 40)).baseline
    assert (found.values.argmax(1) == OF_TWO).all()
    assert found.reached.all()


def test_rows_that_no_label_reaches_have_the_shares_of_the_labels_and_no_weight():
    found = rows_with(only(3, 4)).baseline  # both of one cluster
    far = OF_TWO == 1
    assert not found.reached[far].any()
    np.testing.assert_allclose(found.values[far], [[1.0, 0.0]] * 30)
    _, weights = found.lesson(TWO)
    assert (weights[far] == 0).all()
    assert (weights[~far] > 0).all()


def test_left_out_labels_choose_the_linear_model_where_neighbours_say_nothing():
    X = np.random.default_rng(1).standard_normal((300, 25)).astype(np.float32)
    labels = (X[:, 0] > 0).astype(int)
    graph, known = make_graph(X, np.arange(0)), np.arange(150)
    found = fit_baseline(graph, np.eye(2)[labels], known, is_class=True, choice="auto", seed=0)
    assert found.share == 0.0
    assert (found.linear(graph.codes_of(X[150:])).argmax(1) == labels[150:]).mean() > 0.85


def test_values_spread_as_means_of_those_that_reach_a_row():
    graph = make_graph(TWO, np.arange(0))
    target = np.where(OF_TWO == 0, -3.0, 4.0)[:, None]
    found = fit_baseline(graph, target, np.array([0, 1, 30]), is_class=False, choice="graph", seed=0)
    np.testing.assert_allclose(found.values, target, atol=1e-5)


def test_more_rows_than_a_graph_holds_are_labelled_by_their_neighbours(monkeypatch):
    monkeypatch.setattr("sk_autoenc.data.graph.MOST_ROWS", 20)
    found = rows_with(only(3, 40)).baseline
    assert len(found.values) == 20
    assert {3, 40} <= set(found.graph.rows.tolist())
    values, weights = found.lesson(TWO)
    assert (values.argmax(1) == OF_TWO).all()
    assert (weights > 0).all()


def test_sharpened_probabilities_are_cubes_that_sum_to_one():
    np.testing.assert_allclose(sharpened(np.array([[0.5, 0.5], [0.75, 0.25]]), 3), [[0.5, 0.5], [27 / 28, 1 / 28]])


def test_folds_divide_every_class():
    labels = np.repeat([0, 1, 2], [8, 4, 4])
    folds = stratified_folds(labels, 4, np.random.default_rng(0))
    for label, each in ((0, 2), (1, 1), (2, 1)):
        assert np.bincount(folds[labels == label], minlength=4).tolist() == [each] * 4


# -- batches


def test_a_part_is_taught_by_its_own_labels_alone():
    rows = rows_with(only(0, 1, 40, 41))
    part = rows.subset(torch.from_numpy(np.flatnonzero(~only(40, 41))))  # the second class is held out
    assert rows.gather(torch.tensor([50])).y[0, :2].argmax() == 1
    assert part.gather(torch.tensor([50])).y[0, :2].tolist() != [0.0, 1.0]
    assert part.labelled.tolist() == [0, 1]
    assert part.source.graph is rows.source.graph


def test_batches_have_labelled_rows_beside_them_where_these_are_few():
    rows = rows_with(only(0, 40))
    batch = rows.gather(torch.arange(20, 30))
    assert len(batch) > 10
    assert (batch.y[10:, -1] == 1).all()
    assert (batch.y[:10, -1] < 1).all()
    every = rows_with(np.ones(60, dtype=bool)).gather(torch.arange(10))
    assert len(every) == 10


def test_a_part_without_labels_has_nothing_to_teach():
    part = rows_with(only(0, 40)).subset(torch.arange(1, 30))
    assert (part.gather(torch.arange(1, 30)).y == 0).all()


def test_without_a_teacher_other_rows_have_weight_zero():
    batch = rows_with(only(0, 40), teaches=False).gather(torch.arange(1, 5))
    assert (batch.y[:4] == 0).all()
