"""``transform`` of 100 000 rows against the bare forward pass of the same encoder.

The baseline runs the fitted module's encoder under ``torch.inference_mode()``, in blocks of 1024, on a tensor that is
ready (centred, scaled, float32) and puts the codes into one tensor. ``transform`` also checks the input, scales it
and gives back an array of the input's dtype. Float32 rows have targets; float64 rows, which are cast on the way in and
out, and a DataFrame, which is copied, are shown for information.
"""

import numpy as np
import pandas as pd
import torch

from benchmarks.common import Target, alternate, arguments, fixed, ratio, save, table, use_threads
from sk_autoenc import AutoencoderTransformer

BARE, OURS = "bare forward pass", "transform, float32"


def speed_with(init):
    """Speed of ``transform`` divided by the bare pass's, from the results."""
    return lambda results: results["figures"][init][OURS]["speed_of_bare"]


TARGETS = [
    Target(f'`transform`, `init="{init}"`: speed / bare forward pass', speed_with(init), "≥", 0.85)
    for init in ("pca", "random")
]


def bare_forward(encode, ready):
    """Codes of all rows, by blocks, with nothing around."""
    with torch.inference_mode():
        return torch.cat([encode(block) for block in ready.split(1024)])


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    n_rows, rounds = (5_000, 1) if options.quick else (100_000, options.rounds)
    X = np.random.default_rng(0).standard_normal((n_rows, 64), dtype=np.float32)
    wide, frame = X.astype(np.float64), pd.DataFrame(X)

    figures = {}
    for init in ("pca", "random"):
        estimator = AutoencoderTransformer(16, init=init, early_stopping=False, max_iter=1, device="cpu").fit(X[:5000])
        by_frame = AutoencoderTransformer(16, init=init, early_stopping=False, max_iter=1, device="cpu")
        by_frame.fit(frame[:5000])
        ready = torch.from_numpy(X)
        times = alternate(
            {
                BARE: lambda encode=estimator.net_.module_.encode, ready=ready: bare_forward(encode, ready),
                OURS: lambda transform=estimator.transform: transform(X),
                "transform, float64": lambda transform=estimator.transform: transform(wide),
                "transform, DataFrame of float32": lambda transform=by_frame.transform: transform(frame),
            },
            rounds,
            options.clock,
        )
        figures[init] = {}
        for name, elapsed in times.items():
            speed = 1 / ratio(times, name, BARE)
            figures[init][name] = {"milliseconds": 1e3 * float(np.median(elapsed)), "speed_of_bare": speed}
    save(options, figures, rows=n_rows, rounds_run=rounds)


def report(results) -> str:
    """Every call of both networks."""
    rows = [
        [f'`init="{init}"`', call, fixed(found["milliseconds"], 0), fixed(found["speed_of_bare"])]
        for init, calls in results["figures"].items()
        for call, found in calls.items()
    ]
    return table(["network", "call", "ms", "speed / bare"], rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--rounds", type=int, default=41, help="rounds of alternation (default 41)")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
