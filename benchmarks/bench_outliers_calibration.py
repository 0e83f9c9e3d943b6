"""Calibrated alarms: the share of p-values up to 0.05 among normal rows, over simulated splits.

Each split draws fresh rows, fits the default detector on 199 of them with 199 more kept out
(``calibration_fraction``), and asks for the p-value of one new row. Split conformal p-values then take each of 200
values with the same probability. Target: the share of p <= 0.05 lies inside the 99 % binomial band around 0.05.
"""

import numpy as np
from common import arguments, print_table, save, use_threads
from scipy.stats import binom

from sk_autoenc import ReconstructionOutlierDetector

N_CALIBRATION, LEVELS = 199, (0.01, 0.05, 0.1, 0.5)


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


def report(options):
    """Measure, print, store."""
    use_threads(options.threads)
    n_splits = 50 if options.quick else 2000
    pvalues = np.array([pvalue(seed) for seed in range(n_splits)])
    rows = []
    for level in LEVELS:
        low, high = binom.interval(0.99, n_splits, level)
        share = float((pvalues <= level + 1e-12).mean())
        verdict = "inside" if low <= share * n_splits <= high else "OUTSIDE"
        rows.append([level, share, f"{low / n_splits:.4f} to {high / n_splits:.4f}", verdict])
    print_table(["level", "share of p-values up to it", "99 % band", ""], rows)
    save(options, {"pvalues": pvalues.tolist(), "table": rows}, splits=n_splits, calibration_rows=N_CALIBRATION)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    report(parser.parse_args())
