"""Rows that need not fit into memory: ``Streamed``, what one pass finds out about them, and batches of them.

A pass reads blocks of rows. The first pass computes mean and covariance, and keeps a random sample. Held-out rows are
part of that sample, so they are in memory. Training reads the others anew in every epoch, through a shuffle buffer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils import check_array
from torch import Tensor

from sk_autoenc.data.dataset import Batch, Part, Rows
from sk_autoenc.data.splits import FEW_ROWS, Split
from sk_autoenc.data.validation import as_array, check_range, flattened

#: Rows of a block, and bytes that it has at most if rows are long.
_BLOCK_ROWS, _BLOCK_BYTES = 8192, 2**25

#: With more features, the covariance takes more memory than the sample, which then stands for the stream.
_MOST_FEATURES = 4096

#: Types of columns of pyarrow that become an array at once.
_ARROW_NUMBERS = {"float", "double", *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64))}

#: Libraries whose objects are streamed as they are. What is in memory, such as a table of pyarrow, is not.
_LIBRARIES = ("dask", "h5py", "zarr")


class Streamed:
    """Rows that are read block by block, for ``fit``, ``partial_fit``, ``transform`` and scores.

    Estimators keep no more of it in memory than a few blocks and the shuffle buffer. Arrays and data frames of dask,
    datasets of pyarrow, and arrays of zarr and HDF5 need not be wrapped: estimators do it with the defaults.

    Parameters
    ----------
    source : object
        Rows, in one of these forms:

        - an array of numpy, zarr or HDF5, or a memory map: blocks are slices of rows;
        - an array or a data frame of dask: blocks are its partitions;
        - a dataset, a table or a ``ParquetFile`` of pyarrow, or the path of a parquet file or folder;
        - an iterable of blocks (arrays, data frames or record batches) that can be read again, such as a list, or a
          function without arguments that returns an iterator of blocks.

        All rows are numbers, and every pass must give the same rows.
    buffer_size : int, default=65536
        Rows of the shuffle buffer: batches are drawn from so many rows. The blocks of arrays and the partitions of dask
        come in a new order in each epoch; other sources keep their order, and if it is not random, a large buffer
        helps. So many rows are also kept as a sample, of which at most half are held out. A source with no more rows
        is read into memory, and gives the model of the array.

    See Also
    --------
    AutoencoderTransformer.partial_fit : Trains on a chunk of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc import AutoencoderTransformer, Streamed
    >>> def blocks():
    ...     rng = np.random.default_rng(0)
    ...     return (rng.normal(size=(500, 5)) for _ in range(4))
    >>> X = Streamed(blocks, buffer_size=1000)
    >>> model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(X)
    >>> codes = np.empty((2000, 2))
    >>> model.transform(X).store(codes).shape
    (2000, 2)
    """

    def __init__(self, source: Any, *, buffer_size: int = 65_536):
        if isinstance(source, Iterator):
            raise TypeError(
                f"source must give its blocks anew at every pass, but a {type(source).__name__} gives them once; pass "
                "a list of blocks, or a function that returns an iterator."
            )
        if isinstance(buffer_size, bool) or not isinstance(buffer_size, int) or buffer_size < FEW_ROWS:
            raise ValueError(f"buffer_size must be an integer of at least {FEW_ROWS}, got {buffer_size!r}.")
        self.source, self.buffer_size = source, buffer_size

    def __repr__(self) -> str:
        return f"Streamed({type(self.source).__name__}, buffer_size={self.buffer_size})"

    def __iter__(self) -> Iterator[Any]:
        """The blocks of one pass, as the source has them: arrays, data frames or lists of rows."""
        for piece in self.pieces():
            for block in piece():
                if len(block):  # partitions of dask may be empty
                    yield block.to_pandas() if _library(block) == "pyarrow" else block

    def pieces(self) -> Sequence["Piece"]:
        """Functions that give blocks of rows, of which the order may be changed."""
        return _pieces(self.source)

    def map(self, function: Callable[[Any], Any]) -> "Streamed":
        """A stream of ``function`` of every block, computed when it is read."""
        return Streamed(partial(map, function, self), buffer_size=self.buffer_size)

    def store(self, target: Any) -> Any:
        """Write all blocks.

        Parameters
        ----------
        target : array-like, str or Path
            An array of numpy, zarr or HDF5, or a memory map, which has a place for each row; or the path of a parquet
            file to write.

        Returns
        -------
        target : object
            The same.
        """
        if isinstance(target, str | Path):
            self._store_parquet(target)
            return target
        start = 0
        for block in self:
            rows = np.asarray(as_array(block))
            if start + len(rows) > len(target):
                raise ValueError(f"target has {len(target)} rows, but the stream has more.")
            target[start : start + len(rows)] = rows
            start += len(rows)
        if start < len(target):
            raise ValueError(f"target has {len(target)} rows, but the stream has {start}.")
        return target

    def _store_parquet(self, path: str | Path) -> None:
        import pyarrow
        from pyarrow import parquet

        writer = None
        try:
            for block in self:
                table = _as_table(block, pyarrow)
                writer = writer or parquet.ParquetWriter(path, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


#: Gives consecutive blocks of rows.
Piece = Callable[[], Iterable[Any]]


def as_streamed(X: Any) -> Streamed | None:
    """The rows as a stream, if they are one or are kept outside memory; else None."""
    if isinstance(X, Streamed):
        return X
    is_outside = _library(X) in _LIBRARIES or type(X).__module__ == "pyarrow._dataset"
    return Streamed(X) if is_outside else None


def _library(source: Any) -> str:
    return type(source).__module__.split(".")[0]


def _pieces(source: Any) -> Sequence[Piece]:
    if isinstance(source, str | Path):
        from pyarrow import dataset

        source = dataset.dataset(source)
    if _library(source) == "dask":
        return _of_dask(source)
    if hasattr(source, "to_batches"):  # a dataset or a table of pyarrow
        ahead = {} if not hasattr(source, "scanner") else {"batch_readahead": 1, "fragment_readahead": 1}
        size = {"batch_size": _BLOCK_ROWS} if ahead else {"max_chunksize": _BLOCK_ROWS}
        return [partial(source.to_batches, **size, **ahead)]
    if hasattr(source, "iter_batches"):  # a ParquetFile of pyarrow
        return [partial(source.iter_batches, _BLOCK_ROWS)]
    if hasattr(source, "columns"):
        return [lambda: [source]]
    if hasattr(source, "shape") and hasattr(source, "dtype") and len(source.shape) > 1:
        return _slices(source)
    if callable(source):
        return [source]
    if isinstance(source, Iterable):
        return [lambda: source]
    raise TypeError(
        "source must be an array, a data frame, a dataset of pyarrow, an iterable of blocks or a function that returns "
        f"one, got {type(source).__name__}."
    )


def _of_dask(source: Any) -> Sequence[Piece]:
    if not hasattr(source, "rechunk"):  # a data frame
        return [partial(_computed, source.partitions, number) for number in range(source.npartitions)]
    whole = source.rechunk(dict.fromkeys(range(1, source.ndim), -1))
    return [partial(_computed, whole.blocks, number) for number in range(whole.numblocks[0])]


def _computed(parts: Any, number: int) -> list[Any]:
    return [parts[number].compute()]


def _slices(source: Any) -> Sequence[Piece]:
    """Slices of rows that end where chunks of the source end."""
    size = _rows_of_block(source.dtype.itemsize * int(np.prod(source.shape[1:])))
    if getattr(source, "chunks", None):
        chunk = source.chunks[0]
        size = max(1, size // chunk) * chunk
    return [partial(_sliced, source, start, start + size) for start in range(0, source.shape[0], size)]


def _sliced(source: Any, start: int, stop: int) -> list[Any]:
    return [source[start:stop]]


def _rows_of_block(n_bytes: int) -> int:
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, n_bytes)))


def _as_table(block: Any, pyarrow: Any) -> Any:
    """A block as a table of pyarrow; columns of an array are named by their numbers."""
    if hasattr(block, "columns"):
        return pyarrow.Table.from_pandas(block, preserve_index=False)
    values = np.asarray(block)
    values = values.reshape(len(values), -1)
    return pyarrow.table({str(number): np.ascontiguousarray(column) for number, column in enumerate(values.T)})


def as_numbers(block: Any) -> np.ndarray:
    """A block as flat rows of finite float32 or float64."""
    if hasattr(block, "to_tensor") and _library(block) == "pyarrow":
        are_numbers = all(str(kind) in _ARROW_NUMBERS for kind in block.schema.types)
        block = block.to_tensor(null_to_nan=True).to_numpy() if are_numbers else block.to_pandas()
    rows, _ = flattened(as_array(block))
    return check_array(rows, dtype=[np.float64, np.float32], input_name="X", ensure_min_samples=0)


def _names_of(block: Any) -> list[str]:
    """Names of a block's columns; none of an array."""
    names = getattr(block, "column_names", getattr(block, "columns", ()))
    if _library(block) == "pyarrow":
        names = block.schema.names
    return [str(name) for name in names]


def keyed_blocks(
    stream: Streamed, seed: int, order: Sequence[int] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows, with a random key for each row that is the same in every pass, whatever the ``order`` of pieces.

    The rows with the lowest keys are a random sample, so no list of their numbers is kept.
    """
    pieces, known = stream.pieces(), None
    for number in range(len(pieces)) if order is None else order:
        rng = np.random.default_rng([seed, number])
        for block in pieces[number]():
            names = _names_of(block)
            known = names if known is None else known
            if names != known:
                raise ValueError(f"Blocks of a stream must have columns in one order, got {known} and {names}.")
            rows = as_numbers(block)
            size = _rows_of_block(rows[:1].nbytes)
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                yield part, rng.random(len(part))


class RunningMoments:
    """Mean and covariance of rows that come block by block (Chan, Golub, LeVeque 1983), float64.

    Parameters
    ----------
    n_features : int
        Number of columns; if they are very many, variances are kept and no covariance.
    """

    def __init__(self, n_features: int):
        self.n, self.mean = 0, np.zeros(n_features)
        self.scatter = np.zeros((n_features,) * (2 if n_features <= _MOST_FEATURES else 1))

    def add(self, block: np.ndarray) -> None:
        """Take these rows into account."""
        self._merge(block, 1)

    def without(self, block: np.ndarray) -> "RunningMoments":
        """Moments of all rows but these."""
        rest = RunningMoments(len(self.mean))
        rest.n, rest.mean, rest.scatter = self.n, self.mean.copy(), self.scatter.copy()
        if len(block):
            rest._merge(block, -1)
        return rest

    def _merge(self, block: np.ndarray, sign: int) -> None:
        rows = block.astype(np.float64)
        mean, n = rows.mean(axis=0), self.n + sign * len(rows)
        rows -= mean
        away = mean - self.mean
        share = sign * len(rows) / n
        if self.scatter.ndim == 2:
            self.scatter += sign * (rows.T @ rows) + self.n * share * np.outer(away, away)
        else:
            self.scatter += sign * np.square(rows).sum(axis=0) + self.n * share * away**2
        self.mean, self.n = self.mean + share * away, n

    @property
    def variance(self) -> np.ndarray:
        """Variance of each feature."""
        return (self.scatter if self.scatter.ndim == 1 else self.scatter.diagonal()) / self.n

    @property
    def covariance(self) -> np.ndarray | None:
        """Covariance of the features; None if these are very many."""
        return None if self.scatter.ndim == 1 else self.scatter / self.n


class _LowestKeys:
    """The rows with the lowest keys, of blocks that are added; in the order of arrival while there are few."""

    def __init__(self, n_rows: int):
        self.n_rows, self.limit = n_rows, np.inf
        self.rows: list[np.ndarray] = []
        self.keys: list[np.ndarray] = []

    def add(self, rows: np.ndarray, keys: np.ndarray) -> None:
        low = keys < self.limit
        self.rows.append(rows[low])  # copies, so that no block is kept alive
        self.keys.append(keys[low])
        if sum(map(len, self.keys)) > 2 * self.n_rows:
            self.compress()

    def compress(self) -> tuple[np.ndarray, np.ndarray]:
        """Keep the lowest keys, in their order, if there are more than ``n_rows``."""
        rows, keys = np.concatenate(self.rows), np.concatenate(self.keys)
        if len(keys) > self.n_rows:
            lowest = np.argsort(keys)[: self.n_rows]
            rows, keys = rows[lowest], keys[lowest]
            self.limit = keys[-1]
        self.rows, self.keys = [rows], [keys]
        return rows, keys


@dataclass(frozen=True)
class Survey:
    """What the first pass over a stream finds.

    Parameters
    ----------
    stream : Streamed
        The stream.
    seed : int
        Seeds the keys of rows.
    n_rows : int
        Number of rows.
    rows : ndarray of shape (n_kept, n_features)
        A sample: the rows with the lowest keys, in the order of these. All rows in their order, if they are few.
    keys : ndarray of shape (n_kept,)
        Keys of the sample.
    moments : RunningMoments
        Mean and covariance of all rows.
    """

    stream: Streamed
    seed: int
    n_rows: int
    rows: np.ndarray
    keys: np.ndarray
    moments: RunningMoments

    @property
    def is_whole(self) -> bool:
        """Whether the sample has all rows."""
        return self.n_rows == len(self.rows)

    def split(self, fraction: float) -> Split:
        """Rows of the sample that train and that are held out, the latter a share of all rows and at most half of it.

        The held-out rows come first.
        """
        n_held_out = max(1, min(round(fraction * self.n_rows), len(self.rows) // 2))
        index = torch.arange(len(self.rows))
        return index[n_held_out:], index[:n_held_out]


def survey(stream: Streamed, seed: int, check: Callable[[np.ndarray], None] = lambda block: None) -> Survey:
    """The first pass: every value is checked, the rows are counted, and mean, covariance and a sample are taken."""
    moments: RunningMoments | None = None
    lowest = _LowestKeys(stream.buffer_size)
    dtype = np.dtype(np.float32)
    for rows, keys in keyed_blocks(stream, seed):
        if moments is None:
            moments, dtype = RunningMoments(rows.shape[1]), rows.dtype
        if rows.shape[1] != len(moments.mean):
            raise ValueError(
                f"Blocks of a stream must have the same columns, got {len(moments.mean)} and {rows.shape[1]}."
            )
        check_range(rows, "X")
        check(rows)
        moments.add(rows)
        lowest.add(rows.astype(dtype, copy=False), keys)
    if moments is None:
        raise ValueError(f"{stream!r} has no rows.")
    kept, keys = lowest.compress()
    return Survey(stream, seed, moments.n, kept, keys, moments)


class Sample(Rows):
    """Rows in memory that stand for those of a stream, whose number, mean and covariance are known."""

    def __init__(self, data: Tensor, index: Tensor, n_rows: int, known_moments: tuple[np.ndarray, np.ndarray] | None):
        super().__init__(data, index)
        self._n_rows, self.known_moments = n_rows, known_moments

    @property
    def n_represented(self) -> int:
        return self._n_rows

    def subset(self, index: Tensor) -> Rows:  # type: ignore[override]
        return Rows(self.data, index)

    def cpu(self) -> Self:
        return type(self)(self.data.cpu(), self.index.cpu(), self._n_rows, self.known_moments)


class Reader(NamedTuple):
    """What turns rows of a stream into the network's units."""

    prepare: Callable[[np.ndarray, np.ndarray], None]  # writes a block, as float32, into an array
    units: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # of a mean and a covariance


class StreamedRows(Rows):
    """Rows of a stream, of which a sample is in memory: ``data``. Batches are read anew in every pass.

    Parameters
    ----------
    survey : Survey
        The stream, and the sample.
    data : Tensor
        The sample as the network reads it.
    reader : Reader
        Turns blocks into the same units.
    n_left_out : int
        The first rows of the sample that batches do not have, because they are held out.
    """

    def __init__(self, survey: Survey, data: Tensor, reader: Reader, n_left_out: int = 0):
        super().__init__(data, torch.arange(n_left_out, len(data)))
        self.survey, self.reader, self.n_left_out = survey, reader, n_left_out

    def __len__(self) -> int:
        return self.survey.n_rows - self.n_left_out

    def subset(self, index: Tensor) -> Rows:  # type: ignore[override]
        """Rows of the sample."""
        return Rows(self.data, index)

    def split(self, chosen: Tensor, left_out: Tensor) -> tuple[Rows, Rows]:
        return StreamedRows(self.survey, self.data, self.reader, len(left_out)), self.subset(left_out)

    def cpu(self) -> Self:
        return type(self)(self.survey, self.data.cpu(), self.reader, self.n_left_out)

    def sample(self) -> Rows:
        moments = self.survey.moments.without(self.survey.rows[: self.n_left_out])
        covariance = moments.covariance
        known = None if covariance is None else self.reader.units(moments.mean, covariance)
        return Sample(self.data, self.index, len(self), known)

    def batches(
        self, sizes: Sequence[int], generator: torch.Generator | None, part: Part = lambda index: index
    ) -> Iterator[Batch]:
        """Batches of so many rows, drawn from a buffer that is refilled when half of it is used."""
        size = max(self.survey.stream.buffer_size, 2 * max(sizes, default=0))
        pool = _Pool(self._blocks(generator), size, self.data.shape[1], generator)
        for size in sizes:
            chosen = pool.draw(size)
            yield Batch(pool.rows.index_select(0, part(chosen)).to(self.data.device, non_blocking=True))
        if not pool.is_empty():
            raise ValueError(f"{self.survey.stream!r} has more rows than in its first pass, {self.survey.n_rows}.")

    def _blocks(self, generator: torch.Generator | None) -> Iterator[np.ndarray]:
        """Blocks as the network reads them, without rows that are held out."""
        found, order = self.survey, None
        if generator is not None:
            order = torch.randperm(len(found.stream.pieces()), generator=generator).tolist()
        first_key = found.keys[self.n_left_out]
        for rows, keys in keyed_blocks(found.stream, found.seed, order):
            rows = rows[keys >= first_key] if self.n_left_out else rows
            out = np.empty(rows.shape, dtype=np.float32)
            self.reader.prepare(rows, out)
            yield out


@dataclass
class _Pool:
    """The shuffle buffer."""

    blocks: Iterator[np.ndarray]
    size: int
    n_features: int
    generator: torch.Generator | None
    rest: np.ndarray | None = field(default=None, init=False)  # of a block that has not entered as a whole

    def __post_init__(self) -> None:
        self.rows = torch.empty(self.size, self.n_features)
        self.order = torch.arange(0)  # places of rows in the order in which they are drawn
        self.n_drawn, self.until_refill = self.size, 0

    def draw(self, n_rows: int) -> Tensor:
        """Places of the next rows."""
        if self.n_drawn + n_rows > self.until_refill:
            self._refill()
        chosen = self.order[self.n_drawn : self.n_drawn + n_rows]
        if len(chosen) < n_rows:
            raise ValueError("The stream has fewer rows than in its first pass.")
        self.n_drawn += n_rows
        return chosen

    def is_empty(self) -> bool:
        """Whether all rows have been drawn."""
        return self.n_drawn >= len(self.order) and self._next_block() is None

    def _next_block(self) -> np.ndarray | None:
        block, self.rest = self.rest, None
        while block is None or not len(block):
            if (block := next(self.blocks, None)) is None:
                return None
        return block

    def _refill(self) -> None:
        """Read rows into the places of those that have been drawn, and draw a new order."""
        kept = self.order[self.n_drawn :]
        is_free = torch.ones(self.size, dtype=torch.bool)
        is_free[kept] = False
        free, n_new = is_free.nonzero()[:, 0], 0
        while n_new < len(free) and (block := self._next_block()) is not None:
            places = free[n_new : n_new + len(block)]
            self.rows[places] = torch.from_numpy(block[: len(places)])
            self.rest, n_new = block[len(places) :], n_new + len(places)
        self.order, self.n_drawn = torch.cat([kept, free[:n_new]]), 0
        if self.generator is not None:
            self.order = self.order[torch.randperm(len(self.order), generator=self.generator)]
        is_last = n_new < len(free)
        self.until_refill = len(self.order) if is_last else len(self.order) // 2
