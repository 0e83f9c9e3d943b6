"""``transform`` of 100 000 rows against the bare forward pass of the same encoder.

The baseline runs the fitted module's encoder under ``torch.inference_mode()``, in blocks of 1024, on a tensor that is
ready (centred, scaled, float32) and puts the codes into one tensor. ``transform`` also checks the input, scales it
and gives back an array of the input's dtype. Target: at least 0.85 of the baseline's speed for float32 rows; float64
rows and a DataFrame are shown for information.
"""

import numpy as np
import pandas as pd
import torch
from common import alternate, arguments, print_table, ratio, save, use_threads

from sk_autoenc import AutoencoderTransformer

BARE, OURS = "bare forward pass", "transform, float32"


def bare_forward(encode, ready):
    """Codes of all rows, by blocks, with nothing around."""
    with torch.inference_mode():
        return torch.cat([encode(block) for block in ready.split(1024)])


def report(options):
    """Measure, print, store."""
    use_threads(options.threads)
    n_rows, rounds = (10_000, 3) if options.quick else (100_000, options.rounds)
    X = np.random.default_rng(0).standard_normal((n_rows, 64), dtype=np.float32)
    wide, frame = X.astype(np.float64), pd.DataFrame(X)

    rows, figures = [], {}
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
            rows.append([f'init="{init}"', name, *figures[init][name].values()])
    print_table(["network", "call", "ms", "speed / bare"], rows)
    for init, found in figures.items():
        reached = found[OURS]["speed_of_bare"]
        print(f'init="{init}": {reached:.3f} of the bare speed, target 0.85: {"met" if reached >= 0.85 else "MISSED"}')
    save(options, figures, rows=n_rows, rounds_run=rounds)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=41, help="rounds of alternation (default 41)")
    report(parser.parse_args())
