"""Peak resident memory of ``fit`` on 1 000 000 rows of 64 features, float32 (256 MB).

Counted is what ``fit`` adds to a process that has imported everything, made the array and run a tiny fit: the peak
resident size during ``fit``, sampled every 2 ms in a thread, minus the resident size before. Each case runs in a
process of its own. Shown as a multiple of the array.

Ours can hardly be below 1: the scaled float32 rows are a copy. PCA and MLPRegressor are measured the same way.
"""

import json
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from benchmarks.common import Target, arguments, figures_table, save, use_threads
from sk_autoenc import AutoencoderTransformer

ROOT = Path(__file__).parent.parent
DEFAULTS = "ours, defaults"
TARGETS = [
    Target(
        "memory of `fit`, in arrays beyond the array", lambda results: results["figures"][DEFAULTS]["arrays"], "≤", 1.6
    )
]
CASES = {
    DEFAULTS: lambda: AutoencoderTransformer(16, max_iter=1, device="cpu", random_state=0),
    'ours, init="random", no validation': lambda: AutoencoderTransformer(
        16, init="random", early_stopping=False, max_iter=1, device="cpu", random_state=0
    ),
    "sklearn PCA": lambda: PCA(16),
    "sklearn MLPRegressor(X, X)": lambda: MLPRegressor(
        hidden_layer_sizes=(128, 64, 16, 64, 128), batch_size=512, max_iter=1
    ),
}


def resident() -> int:
    """Bytes of this process that lie in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def measure(case: str, n_rows: int, threads: int) -> dict:
    """In a fresh process: peak growth during one fit, as bytes and as a multiple of the array."""
    use_threads(threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    X = np.random.default_rng(0).standard_normal((n_rows, 64), dtype=np.float32)
    targets = (X[:2000],) if "Regressor" in case else ()
    CASES[case]().fit(X[:2000], *targets)
    samples, done = [before := resident()], threading.Event()

    def watch():
        while not done.wait(0.002):
            samples.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    CASES[case]().fit(X, *((X,) if targets else ()))
    elapsed = time.perf_counter() - start
    samples.append(resident())
    done.set()
    watcher.join()
    growth = max(samples) - before
    return {
        "megabytes": growth / 1e6,
        "arrays": growth / X.nbytes,
        "left_after_fit": (resident() - before) / X.nbytes,
        "seconds": elapsed,
    }


def run(options) -> None:
    """Run every case in a process of its own, and store; with ``--case`` measure one here, and print JSON."""
    if options.case:
        print(json.dumps(measure(options.case, options.rows, options.threads)))
        return
    n_rows = 5_000 if options.quick else 1_000_000
    figures = {}
    for case in [DEFAULTS] if options.quick else CASES:
        call = [
            sys.executable,
            "-m",
            "benchmarks.bench_memory",
            "--case",
            case,
            "--rows",
            str(n_rows),
            "--threads",
            str(options.threads),
        ]
        output = subprocess.run(call, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        figures[case] = json.loads(output.splitlines()[-1])
    save(options, figures, shape=[n_rows, 64], array_megabytes=n_rows * 64 * 4 / 1e6)


def report(results) -> str:
    """Every case."""
    columns = {
        "peak, MB": ("megabytes", 0),
        "peak, arrays": ("arrays", 2),
        "left after fit, arrays": ("left_after_fit", 2),
        "seconds": ("seconds", 1),
    }
    return figures_table("fit", results["figures"], columns)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--case", choices=CASES, help="measure this case alone, in this process, and print JSON")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for --case")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
