"""Sparse rows: their batches are those of the dense rows, whatever the order, the part, or the form of the matrix."""

import numpy as np
import pytest
import torch
from scipy import sparse

from sk_autoenc.data.dataset import Rows, WholeBatches
from sk_autoenc.data.sparse import SparseBlock, SparseRows, entries
from sk_autoenc.initialization.linear import moments
from tests.data_sets import seeded

X = sparse.random_array((37, 11), density=0.2, rng=np.random.default_rng(0), format="csr", dtype=np.float32)
DENSE = torch.from_numpy(X.toarray())


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, sparse.csr_array])
def test_every_form_of_a_matrix_gives_the_same_cells(form):
    assert torch.equal(SparseBlock.of(form(X)).dense(), DENSE)


def test_entries_of_one_cell_are_summed_and_empty_rows_stay():
    twice = sparse.coo_array(([1.0, 2.0, 4.0], ([0, 0, 2], [1, 1, 0])), shape=(4, 2))
    assert SparseBlock.of(twice).dense().tolist() == [[0, 3], [0, 0], [4, 0], [0, 0]]


def test_the_matrix_of_the_caller_stays_as_it_is():
    unsorted = sparse.csr_array(([1.0, 2.0, 4.0], [3, 1, 1], [0, 3]), shape=(1, 4))
    before = unsorted.indices.copy(), unsorted.data.copy()
    assert SparseBlock.of(unsorted).dense().tolist() == [[0, 6, 0, 1]]
    np.testing.assert_array_equal(unsorted.indices, before[0])
    np.testing.assert_array_equal(unsorted.data, before[1])


@pytest.mark.parametrize("index", [[5, 0, 36, 5], [3], list(range(36, -1, -1))])
def test_rows_are_taken_in_the_order_of_their_numbers(index):
    taken = SparseBlock.of(X).take(torch.tensor(index))
    assert len(taken) == len(index)
    assert torch.equal(taken.dense(), DENSE[index])
    assert torch.equal(taken.rows, DENSE[index].nonzero()[:, 0])


def test_batches_are_those_of_the_dense_rows():
    """With the same generator, in the same order; also of a part of the rows."""
    some = torch.arange(0, 37, 2)
    rows = SparseRows(SparseBlock.of(X)).subset(some).cpu()
    for sparsely, densely in zip(
        WholeBatches(rows, 8, seeded()), WholeBatches(Rows(DENSE, some), 8, seeded()), strict=True
    ):
        assert torch.equal(sparsely.x, densely.x)


def test_a_network_may_read_entries_or_scaled_cells():
    block = SparseBlock.of(X)
    batch = SparseRows(block, read=entries).gather(torch.tensor([4, 2]))
    assert len(batch) == 2
    assert batch.x.columns.dtype == torch.int64
    scaled = SparseRows(block, read=lambda rows: (rows.dense() - 1) / 2)
    assert torch.equal(scaled.gather(torch.tensor([4])).x, (DENSE[[4]] - 1) / 2)


def test_moments_of_sparse_rows_are_those_of_the_cells():
    """What starts need, block by block."""
    mean, covariance = moments(SparseRows(SparseBlock.of(X)))
    np.testing.assert_allclose(mean, X.toarray().mean(0), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(X.toarray(), rowvar=False, bias=True), atol=1e-7)
    assert torch.equal(SparseRows(SparseBlock.of(X))[:], DENSE)


def test_other_values_stand_at_the_same_places():
    block = SparseBlock.of(X)
    assert torch.equal(block.replaced(torch.ones_like(block.values)).dense(), (DENSE != 0).float())
