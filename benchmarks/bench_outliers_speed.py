"""Eight members trained as one computation against one member alone, and a table of 600 000 rows.

2000 x 20 rows, 128 rows a step: a whole ``fit`` with 8 members and with 1, the training steps alone, and
IsolationForest's fit, in alternation. Then 600 000 x 20 float32 rows: seconds of ``fit`` and of ``score_samples``, and
what they add to the process at their peak.
"""

import threading
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import IsolationForest

from benchmarks.common import Target, alternate, arguments, fixed, ratio, save, table, use_threads
from sk_autoenc import ReconstructionOutlierDetector
from sk_autoenc.outliers.batched_networks import AutoencoderEnsemble, train_ensemble


def members_ratio(contender):
    """Time of 8 members divided by that of one, from the results."""
    return lambda results: next(row[3] for row in results["figures"]["table"] if row[0] == contender)


TARGETS = [
    Target(
        f"outliers: fit of 8 members / fit of one, `novelty={novelty}`",
        members_ratio(f"8 members, novelty={novelty}"),
        "≤",
        3,
    )
    for novelty in (False, True)
]


def resident():
    """Bytes of this process that lie in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def seconds_and_peak(function):
    """Wall time of a call, and by how many MB the process grew at most."""
    before, peak, done = resident(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    function()
    elapsed = time.perf_counter() - start
    done.set()
    watcher.join()
    return elapsed, (peak[0] - before) / 1e6


def train(n_members, rows):
    """The training steps of a fit, and nothing else."""
    ensemble, generator = AutoencoderEnsemble(n_members, [rows.shape[1], 64, 5]), torch.Generator().manual_seed(0)
    ensemble.initialize(generator)
    train_ensemble(ensemble, rows, n_steps=60, batch_size=128, learning_rate=0.006, trim=0.1, generator=generator)


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    X = np.random.default_rng(0).standard_normal((300 if options.quick else 2000, 20)) @ np.random.default_rng(
        1
    ).standard_normal((20, 20))
    contenders = {
        f"{n} members, novelty={novelty}": lambda n=n, novelty=novelty: ReconstructionOutlierDetector(
            n_estimators=n, batch_size=128, novelty=novelty, random_state=0
        ).fit(X)
        for novelty in (False, True)
        for n in (8, 1)
    }
    rows = torch.from_numpy(X).float()
    for n in (8, 1):
        contenders[f"{n} members, training alone"] = lambda n=n: train(n, rows)
    contenders["IsolationForest"] = lambda: IsolationForest(random_state=0).fit(X)
    times = alternate(contenders, 1 if options.quick else 15, options.clock)
    rows = [
        [name, float(np.median(times[name])), ratio(times, name, "IsolationForest")]
        + ([ratio(times, name, name.replace("8", "1"))] if name.startswith("8") else [None])
        for name in contenders
    ]

    large = np.random.default_rng(0).standard_normal((2_000 if options.quick else 600_000, 20), dtype=np.float32)
    detectors = {novelty: ReconstructionOutlierDetector(novelty=novelty, random_state=0) for novelty in (False, True)}
    measured = []
    for novelty, detector in detectors.items():
        fit, fit_peak = seconds_and_peak(lambda detector=detector: detector.fit(large))
        score, score_peak = seconds_and_peak(lambda detector=detector: detector.score_samples(large))
        measured.append([f"novelty={novelty}", fit, fit_peak, score, score_peak])
    save(options, {"times": times, "table": rows, "large": measured})


def report(results) -> str:
    """Fits beside IsolationForest's, then the large table."""
    rows = [
        [name, fixed(took), *(fixed(it, 2) for it in ratios)] for name, took, *ratios in results["figures"]["table"]
    ]
    large = [[name, *(fixed(value, 1) for value in values)] for name, *values in results["figures"]["large"]]
    return f"""{table(["fit", "seconds", "/ IsolationForest", "8 members / 1"], rows)}

The large table, wall time, and peak in MB beyond the rows:

{table(["", "fit, s", "peak, MB", "score_samples, s", "peak, MB"], large)}"""


def parser():
    """Options of this script."""
    return arguments(__doc__, TARGETS)


if __name__ == "__main__":
    run(parser().parse_args())
