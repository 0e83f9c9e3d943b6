"""EASE in closed form: the solution of its constrained least squares, in both precisions."""

import numpy as np
import pytest
from scipy import sparse

from sk_autoenc.initialization import ease
from sk_autoenc.initialization.ease import ease_weights, item_gram

X = sparse.random_array((60, 13), density=0.3, rng=np.random.default_rng(0), format="csr")


@pytest.mark.parametrize("block", [4, 5, 512])
def test_the_gram_matrix_is_that_of_the_dense_rows(block, monkeypatch):
    monkeypatch.setattr(ease, "_BLOCK", block)
    np.testing.assert_allclose(item_gram(X), X.toarray().T @ X.toarray(), rtol=1e-12)


@pytest.mark.parametrize("block", [4, 512])
def test_each_column_is_the_ridge_regression_on_all_others(block, monkeypatch):
    """Without the item itself: the diagonal is 0."""
    monkeypatch.setattr(ease, "_BLOCK", block)
    dense, l2 = X.toarray(), 2.0
    weights = ease_weights(item_gram(X), l2)
    for item in range(dense.shape[1]):
        others = np.delete(dense, item, axis=1)
        solution = np.linalg.solve(others.T @ others + l2 * np.eye(12), others.T @ dense[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), solution, rtol=1e-4, atol=1e-6)
        assert weights[item, item] == 0


def test_many_items_are_inverted_in_single_precision(monkeypatch):
    expected = ease_weights(item_gram(X), 2.0)
    monkeypatch.setattr(ease, "_DOUBLE_ITEMS", 5)
    assert item_gram(X).dtype == np.float32
    np.testing.assert_allclose(ease_weights(item_gram(X), 2.0), expected, atol=1e-5)


def test_an_item_that_nobody_has_has_no_weights():
    weights = ease_weights(item_gram(sparse.csr_array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])), 1.0)
    assert (weights[2] == 0).all()
    assert (weights[:, 2] == 0).all()


def test_a_penalty_that_is_too_small_is_named():
    twice = sparse.csr_array(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"l2=1e-30 is too small"):
        ease_weights(item_gram(twice), 1e-30)
