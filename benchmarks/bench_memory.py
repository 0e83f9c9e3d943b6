"""Peak resident memory of ``fit`` on 1 000 000 rows of 64 features, float32 (256 MB).

Counted is what ``fit`` adds to a process that has imported everything, made the array and run a tiny fit: the peak
resident size during ``fit``, sampled every 2 ms in a thread, minus the resident size before. Each case runs in a
process of its own. Shown as a multiple of the array; target: at most 1.6 × for the default estimator.

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
from common import arguments, print_table, save, use_threads
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from sk_autoenc import AutoencoderTransformer

CASES = {
    "ours, defaults": lambda: AutoencoderTransformer(16, max_iter=1, device="cpu", random_state=0),
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


def report(options):
    """Run every case in a process of its own, print, store."""
    n_rows = 50_000 if options.quick else 1_000_000
    figures = {}
    for case in CASES:
        call = [sys.executable, __file__, "--case", case, "--rows", str(n_rows), "--threads", str(options.threads)]
        output = subprocess.run(call, check=True, capture_output=True, text=True).stdout
        figures[case] = json.loads(output.splitlines()[-1])
    print_table(
        ["fit", "peak, MB", "peak, arrays", "left after fit, arrays", "seconds"],
        [[case, *found.values()] for case, found in figures.items()],
    )
    reached = figures["ours, defaults"]["arrays"]
    print(f"peak of ours, defaults: {reached:.2f} arrays, target 1.6: {'met' if reached <= 1.6 else 'MISSED'}")
    save(options, figures, shape=[n_rows, 64], array_megabytes=n_rows * 64 * 4 / 1e6)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--case", choices=CASES, help="measure this case alone, in this process, and print JSON")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for --case")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.rows, options.threads)))
    else:
        report(options)
