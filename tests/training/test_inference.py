"""map_blocks and map_rows: any memory layout, any number of rows, and a row's result whatever else is in the block."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from sk_autoenc import MLP
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.autoencoder import Autoencoder
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK, hashed_uniforms, map_blocks, map_rows

AROUND_BLOCKS = [1, 2, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 1088, 2047, 2048, 2049]


def rows(n, width=5, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n, width)).astype(dtype)


def weighted(x):
    """Exact in float32 for whole numbers: a sum and a copy."""
    return torch.stack([x.sum(-1), x[:, 0]], dim=-1)


def whole_numbers(n, width=5, dtype=np.float32):
    return np.random.default_rng(0).integers(-50, 50, size=(n, width)).astype(dtype)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1025])
def test_blocks_of_a_sparse_matrix_are_sparse_and_of_the_same_sizes(n):
    X, seen = sparse.csr_array(whole_numbers(n)), []

    def function(block):
        seen.append(block.shape[0])
        return [weighted(torch.from_numpy(block.toarray()))]

    np.testing.assert_array_equal(map_blocks(function, X)[0], weighted(torch.from_numpy(X.toarray())))
    assert all(size % SMALL_BLOCK == 0 for size in seen)


@pytest.mark.parametrize("n", AROUND_BLOCKS)
def test_every_row_has_its_result(n):
    X, seen = whole_numbers(n), []

    def function(x):
        seen.append(len(x))
        return weighted(x)

    result = map_rows(function, X, "cpu")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.column_stack([X.sum(1), X[:, 0]]))
    assert all(size % SMALL_BLOCK == 0 for size in seen)
    assert set(seen[:-1]) <= {SMALL_BLOCK if n < LARGE_BLOCK else LARGE_BLOCK}
    assert sum(seen) < n + SMALL_BLOCK


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n", [3, 65, 1100])
def test_dtypes_and_memory_layouts(n, dtype):
    X = whole_numbers(n, dtype=dtype)
    expected = map_rows(weighted, np.ascontiguousarray(X, dtype=np.float32), "cpu")
    wide = np.repeat(X, 2, axis=1)
    for other in (np.asfortranarray(X), wide[:, ::2], np.flip(X[::-1].copy(), 0), X.astype(X.dtype.newbyteorder())):
        np.testing.assert_array_equal(map_rows(weighted, other, "cpu"), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_read_only_memory_maps(tmp_path, dtype):
    X = whole_numbers(1100, dtype=dtype)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(map_rows(weighted, mapped, "cpu"), map_rows(weighted, X, "cpu"))


def test_rows_are_not_written():
    X = rows(70)
    before = X.copy()
    map_rows(lambda x: x.mul_(2), X, "cpu")
    np.testing.assert_array_equal(X, before)


def test_prepare_fills_the_block():
    X = whole_numbers(130, dtype=np.float64)

    def halved(block, out):
        np.multiply(block, 0.5, out=out, casting="same_kind")

    np.testing.assert_array_equal(map_rows(lambda x: x, X, "cpu", halved), X / 2)


def test_results_are_plain_arrays_of_their_own():
    """No gradient, no view of a buffer that the next block overwrites."""
    X = rows(200)
    result = map_rows(lambda x: x, X, "cpu")
    np.testing.assert_array_equal(result, X)
    assert result.flags.writeable


@pytest.mark.parametrize("n", AROUND_BLOCKS)
def test_blocks_have_few_shapes_and_repeat_their_first_row(n):
    X, shapes = whole_numbers(n, dtype=np.float64), []

    def function(block):
        size = SMALL_BLOCK if n < LARGE_BLOCK else LARGE_BLOCK
        start = sum(shapes)
        shapes.append(len(block))
        own = X[start : start + size]
        np.testing.assert_array_equal(block[: len(own)], own)
        assert (block[len(own) :] == own[0]).all()
        return torch.from_numpy(block).sum(1), torch.from_numpy(block[:, :2]).float()

    sums, columns = map_blocks(function, X)
    np.testing.assert_array_equal(sums, X.sum(1))
    np.testing.assert_array_equal(columns, X[:, :2].astype(np.float32))
    assert sums.dtype == np.float64
    assert columns.dtype == np.float32
    assert all(size % SMALL_BLOCK == 0 for size in shapes)
    assert sum(shapes) < n + SMALL_BLOCK


def test_blocks_may_be_written_and_hold_no_gradients():
    X = rows(70)
    before = X.copy()
    weight = torch.ones(5, requires_grad=True)
    (found,) = map_blocks(lambda block: [torch.from_numpy(block).mul_(2) * weight], X)
    np.testing.assert_array_equal(found, 2 * before)
    np.testing.assert_array_equal(X, before)


@pytest.fixture(scope="module")
def network():
    """Odd widths everywhere, and both paths."""
    plan = MLP((33, 7, 7), residual=True)
    module = Autoencoder(
        plan.make_encoder(13, 3, linear_path=True), plan.make_decoder(3, 13, linear_path=True, bounded=True)
    )
    initialize_parameters(module, torch.Generator().manual_seed(0))
    return module.eval()


@pytest.mark.parametrize(("threads", "sizes"), [(1, AROUND_BLOCKS), (2, [1, 65, 1025]), (3, [1025]), (4, [1025])])
def test_a_row_has_the_same_bits_in_any_mix(network, threads, sizes):
    X, rng = rows(2100, 13), np.random.default_rng(1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for function in (network.encode, lambda x: network(x).raw) if threads == 1 else (lambda x: network(x).raw,):
            expected = map_rows(function, X, "cpu")
            for n in sizes:
                chosen = rng.permutation(len(X))[:n]
                np.testing.assert_array_equal(map_rows(function, X[chosen], "cpu"), expected[chosen], err_msg=f"{n}")
            for i in (0, 1023, 1024, 2099) if threads == 1 else (2099,):
                np.testing.assert_array_equal(map_rows(function, X[i : i + 1], "cpu")[0], expected[i])
    finally:
        torch.set_num_threads(before)


# -- numbers that a row's own bits give


def test_hashed_numbers_are_those_of_the_key_alone():
    key = torch.from_numpy(rows(200, 4))
    whole, order = hashed_uniforms(key, 6), torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hashed_uniforms(key[order], 6), whole[order])
    assert torch.equal(hashed_uniforms(key[7:8], 6), whole[7:8])
    assert torch.equal(hashed_uniforms(key, 3), whole[:, :3])
    assert torch.equal(hashed_uniforms(key.T.contiguous().T, 6), whole)  # another layout


def test_hashed_numbers_are_uniform_and_independent():
    """Also of keys that hardly differ: rows that are numbered, in one column of two."""
    key = torch.stack([torch.arange(4000.0), torch.zeros(4000)], dim=1)
    found = hashed_uniforms(key, 4)
    assert found.dtype == torch.float64
    assert found.shape == (4000, 4)
    assert found.min() >= 0
    assert found.max() < 1
    for column in found.T.numpy():
        assert stats.kstest(column, "uniform").pvalue > 0.01
    pairs = torch.cat([found, found.roll(1, 0)], dim=1).T.numpy()  # beside its neighbours in row and column
    off_diagonal = np.corrcoef(pairs)[~np.eye(len(pairs), dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(4000)


def test_any_bit_of_the_key_changes_all_numbers():
    one = torch.tensor([[1.0, 2.0, 3.0]])
    first = hashed_uniforms(one, 5)
    for other in (one.nextafter(one + 1), one.flip(1), one * torch.tensor([1.0, 1.0, -1.0])):
        assert (hashed_uniforms(other, 5) != first).all()
