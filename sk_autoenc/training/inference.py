"""Deterministic inference: blocks of rows of a fixed shape, so that no row's result depends on its neighbours."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sk_autoenc.nn.blocks import SERIAL_CELLS

SMALL_BLOCK, LARGE_BLOCK = 64, 1024


def map_rows(
    function: Callable[[Tensor], Tensor],
    X: np.ndarray,
    device: str,
    prepare: Callable[[np.ndarray, np.ndarray], None] = lambda block, out: np.copyto(out, block, casting="same_kind"),
) -> np.ndarray:
    """``function`` of every row, computed in blocks that are padded to a multiple of 64 rows.

    Parameters
    ----------
    function : callable
        ``(rows, n_in) -> (rows, ...)``, reading float32 on ``device``.
    X : ndarray of shape (n, n_in)
        Any dtype, any memory layout; read, never written.
    device : str
        Where ``function`` computes.
    prepare : callable
        ``prepare(block, out)`` writes what the function is to read, as float32, into ``out``.

    Returns
    -------
    ndarray of shape (n, ...)
        What the function returns for each row, in the dtype that it returns.
    """
    size = SMALL_BLOCK if len(X) < LARGE_BLOCK and device == "cpu" else LARGE_BLOCK
    buffer = np.zeros((size, *X.shape[1:]), dtype=np.float32)
    result = np.empty(0, dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(X), size):
            block = X[start : start + size]
            prepare(block, buffer[: len(block)])
            # A GPU chooses its kernels by shape more freely, so there every block has the same one.
            padded = -(-len(block) // SMALL_BLOCK) * SMALL_BLOCK if device == "cpu" else size
            out = function(torch.from_numpy(buffer[:padded]).to(device))
            done = out[: len(block)].cpu().numpy()
            if start == 0:
                result = np.empty((len(X), *out.shape[1:]), dtype=done.dtype)
            result[start : start + len(block)] = done
    return result


def in_one_thread(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the rows of the tensors, in pieces that torch does not share out among threads.

    Shared out, a piece may end inside a vector register, and its last cells have other last bits.
    """
    rows = max(32, SERIAL_CELLS // tensors[0][0].numel() // 32 * 32)
    return torch.cat([function(*pieces) for pieces in zip(*(tensor.split(rows) for tensor in tensors), strict=True)])
