"""Calibrated alarms: the share of p-values up to 0.05 among normal rows, over simulated splits.

Each split draws fresh rows, fits the default detector on 199 of them with 199 more kept out
(``calibration_fraction``), and asks for the p-value of one new row. Split conformal p-values then take each of 200
values with the same probability. The share of p <= 0.05 should lie inside the 99 % binomial band around 0.05.
"""

import numpy as np
from scipy.stats import binom

from benchmarks.common import Target, arguments, fixed, save, table, use_threads
from sk_autoenc import ReconstructionOutlierDetector

N_SPLITS, N_CALIBRATION, LEVELS = 2000, 199, (0.01, 0.05, 0.1, 0.5)


def share(results, level):
    """Share of the stored p-values up to a level."""
    return float((np.array(results["figures"]["pvalues"]) <= level + 1e-12).mean())


NAME = "outliers: share of p-values up to 0.05"
LOW, HIGH = (float(bound) / N_SPLITS for bound in binom.interval(0.99, N_SPLITS, 0.05))
TARGETS = [
    Target(NAME, lambda results: share(results, 0.05), comparison, bound)
    for comparison, bound in (("≥", LOW), ("≤", HIGH))
]


def draw_rows(n, generator):
    """Two groups of correlated, heavy-tailed rows with one column of counts."""
    group = generator.random(n) < 0.3
    codes = generator.standard_t(4, (n, 2)) + 3 * group[:, None]
    mixing = np.array([[1.0, 0.5, -1.0, 0.3, 0.0], [0.2, -1.0, 0.4, 1.0, 0.7]])
    counts = generator.poisson(np.exp(0.2 * codes[:, :1]))
    return np.hstack([codes @ mixing + 0.3 * generator.standard_t(3, (n, 5)), counts])


def pvalue(seed):
    """Of one new row, after a fit on fresh rows."""
    generator = np.random.default_rng(seed)
    rows = draw_rows(2 * N_CALIBRATION + 1, generator)
    detector = ReconstructionOutlierDetector(calibration_fraction=0.5, random_state=seed).fit(rows[:-1])
    return float(detector.predict_pvalue(rows[-1:])[0])


def run(options) -> None:
    """Measure and store."""
    use_threads(options.threads)
    n_splits = 2 if options.quick else N_SPLITS
    pvalues = np.array([pvalue(seed) for seed in range(n_splits)])
    save(options, {"pvalues": pvalues.tolist()}, splits=n_splits, calibration_rows=N_CALIBRATION)


def report(results) -> str:
    """Shares of p-values and their bands."""
    n_splits, rows = len(results["figures"]["pvalues"]), []
    for level in LEVELS:
        low, high = binom.interval(0.99, n_splits, level) / np.array(n_splits)
        rows.append([level, fixed(share(results, level), 4), f"{fixed(low, 4)} to {fixed(high, 4)}"])
    return table(["level", "share of p-values up to it", "99 % binomial band"], rows)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
