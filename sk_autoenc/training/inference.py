"""Batch-invariant inference: rows are computed in blocks of fixed shapes, so no result depends on other rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from sk_autoenc.nn.blocks import SERIAL_CELLS
from sk_autoenc.nn.defaults import cpu_by_default

SMALL_BLOCK, LARGE_BLOCK = 64, 1024


def map_blocks(function: Callable[[Any], Sequence[Tensor]], X: Any, device: str = "cpu") -> list[np.ndarray]:
    """Results of ``function`` for every row, computed in blocks of few shapes.

    torch may choose a kernel by the number of rows. So every block has a multiple of 64 rows, and the last one repeats
    its first row. A row's result is then equal bit for bit whatever the other rows of ``X`` are.

    Parameters
    ----------
    function : callable
        Maps a block ``(rows, ...)`` to a sequence of tensors with one entry per row. It may write into the block.
    X : ndarray of shape (n, ...), or sparse matrix in CSR form
        Any dtype, any memory layout; read, never written. Blocks of a sparse matrix are sparse.
    device : str
        Where ``function`` computes. On a GPU all blocks have one shape, because kernels depend on it even more there.

    Returns
    -------
    list of ndarray of shape (n, ...)
        One array for each tensor, in its dtype.
    """
    n_rows = X.shape[0]
    size = SMALL_BLOCK if n_rows < LARGE_BLOCK and device == "cpu" else LARGE_BLOCK
    buffer = None if issparse(X) else np.empty((size, *X.shape[1:]), dtype=X.dtype)
    results: list[np.ndarray] = []  # filled in place: a tensor kept for each block would fragment the memory
    with torch.no_grad(), cpu_by_default():
        for start in range(0, n_rows, size):
            n = min(size, n_rows - start)
            n_padded = -(-n // SMALL_BLOCK) * SMALL_BLOCK if device == "cpu" else size
            if buffer is None:
                block = X[np.r_[start : start + n, np.full(n_padded - n, start)]]
            else:
                buffer[:n] = X[start : start + n]
                buffer[n:n_padded] = X[start]
                block = buffer[:n_padded]
            done = [tensor[:n].cpu().numpy() for tensor in function(block)]
            results = results or [np.empty((n_rows, *part.shape[1:]), dtype=part.dtype) for part in done]
            for result, part in zip(results, done, strict=True):
                result[start : start + n] = part
    return results


def map_rows(
    function: Callable[[Tensor], Tensor],
    X: np.ndarray,
    device: str,
    prepare: Callable[[np.ndarray, np.ndarray], None] = lambda block, out: np.copyto(out, block, casting="same_kind"),
) -> np.ndarray:
    """Results of a network for every row, computed in blocks as by :func:`map_blocks`.

    Parameters
    ----------
    function : callable
        ``(rows, n_in) -> (rows, ...)``, reading float32 on ``device``.
    X : ndarray of shape (n, n_in)
        Any dtype, any memory layout; read, never written.
    device : str
        Where ``function`` computes.
    prepare : callable
        ``prepare(block, out)`` writes the function's input, float32, into ``out``.

    Returns
    -------
    ndarray of shape (n, ...)
        The function's result for each row, in the dtype of the function.
    """

    def of_block(block: np.ndarray) -> list[Tensor]:
        rows = np.empty(block.shape, dtype=np.float32)
        prepare(block, rows)
        with torch.inference_mode():
            return [function(torch.from_numpy(rows).to(device))]

    results = map_blocks(of_block, X, device)
    return results[0] if results else np.empty(0, dtype=np.float32)


def in_one_thread(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the rows of the tensors, in pieces that torch computes in one thread.

    If several threads share a piece, one may end inside a vector register, and other code computes its last cells: they
    differ in their last bits. An output that is not a tensor, such as that of tokens, computes in blocks of its own.
    """
    if not isinstance(tensors[0], Tensor):
        return function(*tensors)
    rows = max(32, SERIAL_CELLS // tensors[0][0].numel() // 32 * 32)
    return torch.cat([function(*pieces) for pieces in zip(*(tensor.split(rows) for tensor in tensors), strict=True)])


def hashed_uniforms(key: Tensor, n: int) -> Tensor:
    """``n`` numbers in [0, 1) for each row, from the bits of its key alone; float32 ``(rows, m)`` -> ``(rows, n)``.

    They replace random numbers where a row's result must not depend on its position. The hash is SplitMix64 (Steele,
    Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195).
    """
    bits = key.contiguous().view(torch.int32).long()
    columns = torch.arange(1, key.shape[1] + 1, device=key.device)
    seed = _mix(bits + columns * _GOLDEN).sum(1, keepdim=True)  # integers wrap around, so the order has no effect
    mixed = _mix(seed + torch.arange(1, n + 1, device=key.device) * _GOLDEN)
    return _shifted(mixed, 11).double() * 2.0**-53


_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, n: int) -> Tensor:
    """Bits shifted to the right, with zeros from the left; torch's own shift repeats the sign."""
    return (x >> n) & ((1 << (64 - n)) - 1)
