"""One epoch on rows of 100 features, float32, that are read from files: speed beside rows in memory, and memory.

The same autoencoder with batches of 512 rows, in a process of its own for each source: an array in memory; a memory
map, which is read where it is; and through ``Streamed`` the same memory map, a parquet file, and a data frame of dask
that reads it. Counted is the epoch alone, without the first pass, which is shown beside it. No rows are held out.

Memory is the largest private memory of the process while it fits: resident pages less those of files, which the
system can drop. Sampled every 5 ms; torch and what else is imported are part of it.
"""

import json
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
from skorch.callbacks import Callback

from benchmarks.common import CLOCKS, Target, arguments, figures_table, save, use_threads
from sk_autoenc import AutoencoderTransformer, Streamed

ROOT = Path(__file__).parent.parent
D, BLOCK = 100, 100_000
MEMORY, MAPPED = "array in memory", "memory map, in place"
STREAMS = ("memory map, streamed", "parquet, streamed", "dask, streamed")


def of(name, figure):
    """A figure of one source, from the results."""
    return lambda results: results["figures"][name][figure]


TARGETS = [
    target
    for name in (MAPPED, *STREAMS)
    for target in (
        Target(f"{name}: rows a second / those of an array in memory", of(name, "speed_beside_memory"), "≥", 0.8),
        Target(f"{name}: peak memory, MB", of(name, "megabytes"), "≤", 1000),
    )
]


def write_files(folder: Path, n_rows: int) -> None:
    """The same rows as an array of numpy and as a parquet file, written block by block."""
    import pyarrow
    from pyarrow import parquet

    rng, writer = np.random.default_rng(0), None
    mixing = rng.normal(size=(10, D)).astype(np.float32)
    array = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (n_rows, D))
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        rows = np.tanh(rng.standard_normal((n, 10), dtype=np.float32) @ mixing)
        rows += 0.1 * rng.standard_normal((n, D), dtype=np.float32)
        array[start : start + n] = rows
        table = pyarrow.table({str(number): column for number, column in enumerate(np.ascontiguousarray(rows.T))})
        writer = writer or parquet.ParquetWriter(folder / "rows.parquet", table.schema)
        writer.write_table(table)
    array.flush()
    writer.close()


def opened(name: str, folder: Path, buffer_size: int):
    """The rows of one source, as ``fit`` gets them."""
    mapped = np.load(folder / "rows.npy", mmap_mode=None if name == MEMORY else "r")
    if name in (MEMORY, MAPPED):
        return mapped
    if name.startswith("parquet"):
        mapped = folder / "rows.parquet"
    elif name.startswith("dask"):
        from dask import dataframe

        mapped = dataframe.read_parquet(folder / "rows.parquet", split_row_groups=True)
    return Streamed(mapped, buffer_size=buffer_size)


def private_bytes() -> int:
    """Bytes of this process that lie in memory and in no file (Linux)."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * 4096


class EpochTime(Callback):
    """Times the epoch; kept on the class, as the net works with a copy."""

    found: float

    def __init__(self, clock="wall"):
        self.clock = clock

    def on_epoch_begin(self, net, **kwargs):
        self.start_ = CLOCKS[self.clock]()

    def on_epoch_end(self, net, **kwargs):
        EpochTime.found = CLOCKS[self.clock]() - self.start_


def measure(name: str, folder: Path, n_rows: int, buffer_size: int, threads: int, clock: str) -> dict:
    """In a fresh process: one fit."""
    use_threads(threads)
    warnings.simplefilter("ignore")
    options = {"max_iter": 1, "batch_size": 512, "early_stopping": False, "device": "cpu", "random_state": 0}
    AutoencoderTransformer(10, **options).fit(np.zeros((600, D), dtype=np.float32) + np.eye(600, D, dtype=np.float32))
    X = opened(name, folder, buffer_size)
    samples, done = [private_bytes()], threading.Event()

    def watch():
        while not done.wait(0.005):
            samples.append(private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = CLOCKS[clock]()
    AutoencoderTransformer(10, callbacks=[EpochTime(clock)], **options).fit(X)
    whole = CLOCKS[clock]() - start
    done.set()
    watcher.join()
    return {
        "rows_per_second": n_rows / EpochTime.found,
        "epoch_seconds": EpochTime.found,
        "other_seconds": whole - EpochTime.found,
        "megabytes": max(samples) / 1e6,
    }


def run(options) -> None:
    """Write the files, measure every source in a process of its own, and store."""
    if options.case:
        case = json.loads(options.case)
        print(json.dumps(measure(case["name"], Path(case["folder"]), *case["sizes"], options.threads, options.clock)))
        return
    n_rows, buffer_size = (3_000, 1_000) if options.quick else (options.rows, 65_536)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, rounds = Path(name), []
        write_files(folder, n_rows)
        for _ in range(1 if options.quick else options.rounds):
            rounds.append({})
            for source in (MEMORY, MAPPED, *STREAMS):
                if options.quick:
                    sizes = (n_rows, buffer_size, options.threads, options.clock)
                    rounds[-1][source] = measure(source, folder, *sizes)
                else:
                    rounds[-1][source] = in_own_process(source, folder, n_rows, buffer_size, options)
                print(source, rounds[-1][source], flush=True)
    figures = {
        source: {key: float(np.median([found[source][key] for found in rounds])) for key in rounds[0][source]}
        for source in rounds[0]
    }
    for source, found in figures.items():
        ratios = [each[source]["rows_per_second"] / each[MEMORY]["rows_per_second"] for each in rounds]
        found["speed_beside_memory"] = float(np.median(ratios))
    save(
        options, figures, shape=[n_rows, D], array_megabytes=n_rows * D * 4 / 1e6, torch_threads=torch.get_num_threads()
    )


def in_own_process(source: str, folder: Path, n_rows: int, buffer_size: int, options) -> dict:
    """The figures of one source, measured in a fresh process."""
    case = json.dumps({"name": source, "folder": str(folder), "sizes": [n_rows, buffer_size]})
    call = [sys.executable, "-m", "benchmarks.bench_streams", "--case", case]
    call += ["--threads", str(options.threads), "--clock", options.clock]
    output = subprocess.run(call, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return json.loads(output.splitlines()[-1])


def report(results) -> str:
    """Every source."""
    columns = {
        "rows / s": ("rows_per_second", 0),
        "beside memory": ("speed_beside_memory", 2),
        "epoch, s": ("epoch_seconds", 1),
        "rest of fit, s": ("other_seconds", 1),
        "peak memory, MB": ("megabytes", 0),
    }
    shape = results["settings"]["shape"]
    about = f"{shape[0]:,} rows of {shape[1]} features, {results['settings']['array_megabytes']:.0f} MB.".replace(
        ",", " "
    )
    return f"{about}\n\n{figures_table('source', results['figures'], columns)}"


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows (default 2 000 000)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of alternation (default 1)")
    parser.add_argument("--folder", help="where the files are written; by default the system's temporary folder")
    parser.add_argument("--case", help="measure one source in this process (JSON); used by the script itself")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
