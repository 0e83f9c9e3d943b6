"""Two processes that train one autoencoder (``data_parallel``, gloo), beside one process with the same batches.

Rows of 512 features, float32, batches of 8192, a wide network, so that a step takes 100 ms or more on one core. Every
process has one thread, so two processes may use two cores, and one process one. Counted is the wall time of a step,
the exchange of gradients included, in the last epoch of ``fit``. A machine that does other work shows too little.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks.bench_streams import EpochTime
from benchmarks.common import Target, arguments, figures_table, save, use_threads
from sk_autoenc import MLP, AutoencoderTransformer, data_parallel

ROOT = Path(__file__).parent.parent
N_STEPS, BATCH, D = 8, 8192, 512
TARGETS = [
    Target("two processes: steps a second / those of one process", lambda found: found["figures"]["ratio"], "≥", 1.6)
]


def milliseconds_per_step(n_steps: int, width: int) -> float:
    """Of the last of two epochs, in this process."""
    use_threads(1)
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).standard_normal((n_steps * BATCH, D), dtype=np.float32)
    options = {"max_iter": 2, "batch_size": BATCH, "early_stopping": False, "init": "random", "random_state": 0}
    AutoencoderTransformer(32, architecture=MLP((width, width)), callbacks=[EpochTime()], device="cpu", **options).fit(
        X
    )
    return 1000 * EpochTime.found / n_steps


def measured_with(n_processes: int, options) -> float:
    """Milliseconds of a step with so many processes."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    call += ["-m", "benchmarks.bench_parallel", "--worker", *(["--quick"] if options.quick else [])]
    output = subprocess.run(call, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return float(output.splitlines()[-1])


def run(options) -> None:
    """Alternate one and two processes, and store; with ``--worker`` be one of them, and print the figure."""
    sizes = (1, 16) if options.quick else (N_STEPS, 1024)
    if options.worker:
        with data_parallel():
            found = milliseconds_per_step(*sizes)
        if os.environ["RANK"] == "0":
            print(found)
        return
    if options.quick:
        rounds = [(milliseconds_per_step(*sizes), milliseconds_per_step(*sizes))]
    else:
        rounds = [(measured_with(1, options), measured_with(2, options)) for _ in range(options.rounds)]
    one, two = np.median(rounds, axis=0)
    figures = {
        "processes": {"one": {"milliseconds": one}, "two": {"milliseconds": two}},
        "ratio": float(np.median([first / second for first, second in rounds])),
    }
    save(options, figures, batch=BATCH, features=D, steps=sizes[0], width=sizes[1])


def report(results) -> str:
    """Both."""
    found = figures_table("processes", results["figures"]["processes"], {"ms / step": ("milliseconds", 0)})
    return f"{found}\n\nRatio, median of rounds: {results['figures']['ratio']:.2f}."


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of alternation (default 3)")
    parser.add_argument("--worker", action="store_true", help="be one of the processes; used by the script itself")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
