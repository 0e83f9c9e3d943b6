"""Data frames as arrays and back: rows a minute on one core, and memory, of 1 000 000 rows and 20 mixed columns.

The frame has floats with and without fixed decimals, integers, strings, categories, dates, booleans, and missing cells.
``Table`` encodes it as numbers and decodes these to an equal frame. Seconds are processor time, one thread. Memory is
the peak that Python allocates beside the frame, over the frame's own.
"""

import tracemalloc
from time import process_time

import numpy as np
import pandas as pd

from benchmarks.common import Target, arguments, fixed, save, table, use_threads
from sk_autoenc.data.tabular import Table

N_ROWS = 1_000_000

TARGETS = [
    Target("frames: rows a minute, encoded and decoded", lambda r: r["figures"]["rows a minute"], "≥", 1e6),
    Target("frames: peak memory over the frame", lambda r: r["figures"]["memory"], "≤", 3),
]


def frame_of(n_rows: int) -> pd.DataFrame:
    """Twenty columns."""
    draw = np.random.default_rng(0)
    columns = {f"float {i}": draw.normal(size=n_rows).round(2 if i % 2 else 17) for i in range(8)}
    columns |= {f"integer {i}": draw.integers(0, 1000, n_rows) for i in range(4)}
    columns |= {f"string {i}": np.array(["a", "bb", "ccc", "dd"])[draw.integers(0, 4, n_rows)] for i in range(4)}
    columns |= {f"category {i}": pd.Categorical(np.array(["u", "v"])[draw.integers(0, 2, n_rows)]) for i in range(2)}
    columns["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 1000, n_rows), unit="D")
    columns["flag"] = draw.random(n_rows) < 0.5
    frame = pd.DataFrame(columns)
    for name in ("float 0", "string 0", "day"):
        frame[name] = frame[name].mask(draw.random(n_rows) < 0.1)
    return frame


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    frame = frame_of(1000 if options.quick else N_ROWS)
    start = process_time()
    reader = Table().fit(frame)
    fitted = process_time()
    values = reader.encode(frame)
    encoded = process_time()
    made = reader.decode(values, like=frame)
    decoded = process_time()
    pd.testing.assert_frame_equal(made, frame)
    del values, made
    tracemalloc.start()
    reader.decode(reader.encode(frame), like=frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    figures = {
        "fit, s": fitted - start,
        "encode, s": encoded - fitted,
        "decode, s": decoded - encoded,
        "rows a minute": 60 * len(frame) / (decoded - fitted),
        "memory": peak / frame.memory_usage(deep=True).sum(),
    }
    save(options, {name: float(value) for name, value in figures.items()}, n_rows=len(frame))


def report(results) -> str:
    """One row."""
    figures = results["figures"]
    cells = [fixed(figures[name], 1) for name in ("fit, s", "encode, s", "decode, s")]
    header = ["fit, s", "encode, s", "decode, s", "million rows a minute", "peak memory / frame"]
    return table(header, [[*cells, fixed(figures["rows a minute"] / 1e6, 1), fixed(figures["memory"], 2)]])


def parser():
    """Options of this script."""
    return arguments(__doc__, TARGETS)


if __name__ == "__main__":
    run(parser().parse_args())
