"""What every benchmark shares: arguments, data, threads, timing in alternation, tables, results as JSON."""

import argparse
import inspect
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits

import sk_autoenc

RESULTS = Path(__file__).parent / "results"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def arguments(docstring: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny sizes, figures without meaning")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, BLAS and OpenMP (default 2)")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="wall time, or the processor time of this process: on a busy machine, with --threads 1",
    )
    return parser


def use_threads(n_threads: int) -> None:
    """Limit torch, BLAS and OpenMP of this process."""
    torch.set_num_threads(n_threads)
    threadpool_limits(n_threads)


# -- data


def data_file(name: str) -> Path:
    """Path of a file in the data folder, or an end of the program that says what is missing."""
    if (folder := os.environ.get("SK_AUTOENC_DATA")) is None:
        sys.exit(f"This benchmark reads {name}: set SK_AUTOENC_DATA to the folder that holds it.")
    path = Path(folder) / name
    if not path.exists():
        sys.exit(f"This benchmark reads {name}, which is not in the folder that SK_AUTOENC_DATA names.")
    return path


def load_images(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``X_train, y_train, X_test, y_test`` of "mnist" or "fashion_mnist"; an image a row, pixels in [0, 1], float32."""
    with np.load(data_file(f"{name}/{name}.npz")) as file:
        rows = {part: file[f"X_{part}"].reshape(len(file[f"X_{part}"]), -1) for part in ("train", "test")}
        return (
            rows["train"].astype(np.float32) / 255,
            file["y_train"],
            rows["test"].astype(np.float32) / 255,
            file["y_test"],
        )


def adbench_tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``{name: (X, y)}`` of every ADBench table, in the order of their numbers; y is 1 for an anomaly."""
    paths = sorted(data_file("adbench").glob("*.npz"), key=lambda path: int(path.stem.split("_")[0]))
    tables = {}
    for path in paths:
        with np.load(path) as file:
            tables[path.stem] = (file["X"], file["y"])
    return tables


# -- timing


def seconds(function: Callable[[], object], clock: str = "wall") -> float:
    """Time of one call."""
    now = CLOCKS[clock]
    start = now()
    function()
    return now() - start


def alternate(contenders: dict[str, Callable[[], object]], rounds: int, clock: str = "wall") -> dict[str, list[float]]:
    """Seconds of every contender in every round, after one round that does not count.

    All run once per round, in an order that shifts by one each time, so that a slow moment of the machine and the
    place in the round fall on all alike; compare them by :func:`ratio`, round by round.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            elapsed = seconds(contenders[name], clock)
            if turn >= 0:
                times[name].append(elapsed)
    return times


def ratio(times: dict[str, list[float]], name: str, baseline: str) -> float:
    """Median over rounds of one contender's time divided by the baseline's in the same round."""
    return float(np.median(np.divide(times[name], times[baseline])))


# -- results


def print_table(header: Sequence[str], rows: Sequence[Sequence]) -> None:
    """A Markdown table, numbers to the right."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(header))]
    print(_line([cell.ljust(width) for cell, width in zip(header, widths, strict=True)]))
    print(_line(["-" * (w - 1) + ":" if right else "-" * w for w, right in zip(widths, numeric, strict=True)]))
    for row in cells:
        aligned = zip(row, widths, numeric, strict=True)
        print(_line([cell.rjust(width) if right else cell.ljust(width) for cell, width, right in aligned]))
    sys.stdout.flush()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def machine() -> dict:
    """What the figures were measured on; no names of hosts or folders."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_at_end": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
        "sk_autoenc": sk_autoenc.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def save(options: argparse.Namespace, figures, **settings) -> None:
    """Store figures, settings and machine under results/, named like the script; a smoke test's apart."""
    name = Path(inspect.stack()[1].filename).stem.removeprefix("bench_")
    path = RESULTS / f"{name}{'.quick' if options.quick else ''}.json"
    RESULTS.mkdir(exist_ok=True)
    content = {"figures": figures, "settings": {**vars(options), **settings}, "machine": machine()}
    path.write_text(json.dumps(content, indent=1, default=float, ensure_ascii=False) + "\n")
    print(f"stored as results/{path.name}")
