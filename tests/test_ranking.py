"""Rankings: fold-in, NDCG and recall, by hand and against scikit-learn."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import ndcg_score

from sk_autoenc.data.interactions import best_first
from sk_autoenc.metrics import fold_in_split, ndcg_at_k, recall_at_k

rng = np.random.default_rng(0)
X = sparse.random_array((40, 30), density=0.2, rng=rng, format="csr")
SCORES = rng.standard_normal(X.shape)


def test_every_item_is_given_or_held_out():
    given, held_out = fold_in_split(X, random_state=0)
    np.testing.assert_array_equal((given + held_out).toarray(), X.toarray())
    assert given.multiply(held_out).nnz == 0


@pytest.mark.parametrize(("n_items", "n_given"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 4), (10, 8)])
def test_the_share_of_a_user_is_given(n_items, n_given):
    """And something is held out of whoever has two items."""
    given, held_out = fold_in_split(sparse.csr_array(np.arange(10)[None] < n_items), 0.8, random_state=0)
    assert (given.nnz, held_out.nnz) == (n_given, n_items - n_given)


def test_stored_zeros_are_nothing():
    stored = sparse.csr_array(([1.0, 0.0, 2.0], ([0, 0, 0], [0, 1, 2])), shape=(1, 4))
    assert sum(part.nnz for part in fold_in_split(stored, random_state=0)) == 2
    with pytest.raises(ValueError, match="no user has a true item"):
        ndcg_at_k(sparse.csr_array(([0.0], ([0], [1])), shape=(1, 4)), np.ones((1, 4)))


@pytest.mark.parametrize("k", [1, 5, 30, 100])
def test_ndcg_is_that_of_scikit_learn(k):
    truth = (X.toarray() > 0).astype(int)
    has_one = truth.any(axis=1)
    assert ndcg_at_k(X, SCORES, k).mean() == pytest.approx(ndcg_score(truth[has_one], SCORES[has_one], k=min(k, 30)))


def test_recall_divides_by_what_can_be_found():
    truth = sparse.csr_array([[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    scores = np.tile([4.0, 3.0, 2.0, 1.0], (3, 1))
    assert recall_at_k(truth, scores, 2).tolist() == [1, 0]
    assert recall_at_k(truth, scores, 4).tolist() == [1, 1]


def test_items_that_were_shown_are_not_ranked():
    truth, shown = sparse.csr_array([[0, 1, 0]]), sparse.csr_array([[1, 0, 0]])
    scores = np.array([[3.0, 2.0, 1.0]])
    assert ndcg_at_k(truth, scores, 1).tolist() == [0]
    assert ndcg_at_k(truth, scores, 1, exclude=shown).tolist() == [1]
    assert scores.tolist() == [[3, 2, 1]]


def test_the_best_come_first_and_equal_ones_by_their_place():
    assert best_first(np.array([[1.0, 3.0, 2.0, 3.0]]), 3).tolist() == [[1, 3, 2]]
    assert best_first(np.zeros((1, 2)), 5).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fold_in_split(X, 1.0), "fraction"),
        (lambda: ndcg_at_k(X, SCORES[:, 1:]), r"shape \(40, 30\)"),
        (lambda: ndcg_at_k(X, SCORES, 0), "k == 0"),
        (lambda: recall_at_k(-X, SCORES), "no negative"),
        (lambda: recall_at_k(X, np.full(X.shape, np.nan)), "NaN"),
    ],
)
def test_what_cannot_be_ranked_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
