"""What every benchmark shares: arguments, data, processes, timing in alternation, results as JSON, targets, tables."""

import argparse
import importlib.util
import inspect
import json
import operator
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits

import sk_autoenc

RESULTS = Path(__file__).parent / "results"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


class Target(NamedTuple):
    """A comparison of one figure, computed from the stored results, with a bound."""

    name: str
    figure: Callable[[dict], float | None]  #: of the results; None, or a key that is not there, is unmeasured
    comparison: str  #: one of ``COMPARISONS``
    bound: float
    note: str = ""  #: what was tried, for a target that is missed
    machine: tuple[str, ...] = ("machine",)  #: where the results say what this figure was measured on


COMPARISONS = {"≤": operator.le, "<": operator.lt, "≥": operator.ge, ">": operator.gt}


def arguments(docstring: str, targets: Sequence[Target] = ()) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has; its help ends with the targets."""
    parser = argparse.ArgumentParser(
        description=docstring,
        epilog="\n".join(["targets:", *(f"  {t.name}: {t.comparison} {t.bound}" for t in targets)] if targets else []),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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


def installed(package: str) -> bool:
    """Whether a package that only benchmarks use is there."""
    return importlib.util.find_spec(package) is not None


def in_processes(n_jobs: int, function: Callable, calls: Sequence[tuple]) -> Iterator:
    """``function(*call)`` of every call, each as soon as it is there; one job runs in this process."""
    if n_jobs == 1:
        yield from (function(*call) for call in calls)
        return
    # Spawned, as forking after torch has run is unsafe.
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(function, *call) for call in calls]):
            yield future.result()


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


def code() -> dict:
    """The commit of this code, and whether the tree was clean but for results and their report; None without git."""
    root = Path(__file__).parent.parent

    def git(*call: str) -> str:
        return subprocess.run(["git", *call], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!benchmarks/README.md")
        return {"commit": git("rev-parse", "HEAD"), "clean": not changed}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "clean": None}


#: Asked when the code is loaded: files may have changed when a long run ends.
CODE = code()


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
        **CODE,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def results_file(name: str, quick: bool = False, ending: str = "json") -> Path:
    """Where results lie; those of a smoke test lie apart."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{name}{'.quick' if quick else ''}.{ending}"


def stored(name: str) -> dict | None:
    """Results of the last run of a script."""
    path = results_file(name)
    return json.loads(path.read_text()) if path.exists() else None


def stored_figures(name: str, options: argparse.Namespace) -> dict:
    """Figures of earlier runs, for scripts whose parts are run one by one; none for a smoke test."""
    results = None if options.quick else stored(name)
    return results["figures"] if results else {}


def read_parts(path: Path) -> list[dict]:
    """What an interrupted run has kept, a JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep_part(path: Path, part: dict) -> None:
    """Add to what is kept of a run."""
    with path.open("a") as file:
        file.write(json.dumps(part) + "\n")


def save(options: argparse.Namespace, figures, **settings) -> None:
    """Store figures, settings and machine under results/, named like the script, and print the script's report of them.

    A smoke test's are stored apart. Figures of held-out training rows (``--validate``, ``--explore``) are not stored.
    """
    script = inspect.stack()[1].frame.f_globals
    content = {"figures": figures, "settings": {**vars(options), **settings}, "machine": machine()}
    text = json.dumps(content, indent=1, default=float, ensure_ascii=False) + "\n"
    place = "not stored: figures of held-out training rows"
    if not (getattr(options, "validate", False) or getattr(options, "explore", False)):
        path = results_file(Path(script["__file__"]).stem.removeprefix("bench_"), options.quick)
        path.write_text(text)
        place = f"stored as results/{path.name}"
    results = json.loads(text)
    print(f"\n{script['report'](results)}\n\n{targets_table(script['TARGETS'], results)}\n\n{place}")


def measured(results: dict) -> str:
    """A sentence: when, on what, and by which code the figures were measured."""
    machine, settings = results.get("machine", {}), results["settings"]
    about = [
        machine.get("date"),
        machine and f"{machine['cores']} cores of {machine['cpu']}",
        f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''}",
        f"{settings['clock']} time",
        machine and f"load {machine['load_at_end']} at the end",
        machine and f"torch {machine['torch']}",
        f"commit {commit_of(results)}",
    ]
    return "Measured: " + ", ".join(filter(None, about)) + "."


# -- targets


def reached(target: Target, results: dict | None) -> float | None:
    """The figure that a target is about, None where the results do not hold it."""
    try:
        return None if results is None else target.figure(results)
    except LookupError:
        return None


def verdict(target: Target, figure: float | None) -> str:
    """Met, missed or unmeasured."""
    if figure is None:
        return "unmeasured"
    return "**met**" if COMPARISONS[target.comparison](figure, target.bound) else "**missed**"


def commit_of(results: dict | None, where: tuple[str, ...] = ("machine",)) -> str:
    """The commit that the results name, in short."""
    found = results
    for key in where:
        found = (found or {}).get(key)
    if not (found and found.get("commit")):
        return "not recorded"
    return found["commit"][:9] + ("" if found["clean"] else ", tree not clean")


def targets_table(targets: Sequence[Target], results: dict | None) -> str:
    """Every target with what was reached."""
    rows = []
    for target in targets:
        figure = reached(target, results)
        rows.append([target.name, f"{target.comparison} {shown(target.bound)}", figure, verdict(target, figure)])
    return table(["figure", "target", "reached", ""], rows) if rows else "No target."


def least_gain(figures: dict, ours: str, rivals: Sequence[str]) -> float:
    """By how much the figure of ours is above the highest of the rivals'."""
    return figures[ours] - max(figures[rival] for rival in rivals)


# -- tables in Markdown


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table, numbers to the right."""
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in [list(header), *cells])) for i in range(len(header))]
    right = [i > 0 and all(_is_numeric(row[i]) for row in cells) for i in range(len(header))]
    lines = [_line([name.ljust(width) for name, width in zip(header, widths, strict=True)])]
    lines.append(_line(["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]))
    for row in cells:
        aligned = zip(row, widths, right, strict=True)
        lines.append(_line([cell.rjust(width) if r else cell.ljust(width) for cell, width, r in aligned]))
    return "\n".join(lines)


def fixed(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number with so many digits behind the point; a dash for none."""
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def figures_table(first: str, figures: dict[str, dict], columns: dict[str, tuple[str, int]]) -> str:
    """A table of ``{name: figures}``: for each column, by its header, the key of the figure and its digits."""
    rows = [[name, *(fixed(f.get(key), digits) for key, digits in columns.values())] for name, f in figures.items()]
    return table([first, *columns], rows)


def _is_numeric(cell: str) -> bool:
    return re.match(r"[*+−-]*[\d.]|–?$", cell) is not None


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def shown(cell) -> str:
    """A cell of a table: numbers with four digits, a dash for none."""
    if cell is None:
        return "–"
    return f"{cell:.4g}".replace("-", "−") if isinstance(cell, float) else str(cell)
