"""Would the tests notice? Sixty small faults, one at a time, and the tests that ought to find each.

Not a benchmark of models: each mutant changes one expression of a copy of the package, and the tests of its line run on
the copy until the first failure. A mutant that survives is a gap in the tests, or changes nothing that anyone can see,
as the correction of a mean that was rounded. Run ``python -m benchmarks.mutants``, or some with ``--only losses``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A fault, and the tests that ought to find it: paths, or ``path -k expression``."""

    file: str
    right: str
    wrong: str
    tests: str


LOSSES = "tests/test_losses.py"
SCALING, SPLITS = "tests/data/test_scaling.py", "tests/data/test_splits.py"
SELECTION, SCHEDULES = "tests/training/test_selection.py", "tests/training/test_schedules.py"
PERSISTENCE = "tests/test_persistence.py tests/test_hostile_files.py"
RANKING, IMAGES, TEXT = "tests/test_ranking.py", "tests/metrics/test_images_and_masks.py", "tests/metrics/test_text.py"
SAMPLES, LIKELIHOODS = "tests/metrics/test_samples.py", "tests/likelihoods/test_likelihoods.py"
VAE, COUNTS = "tests/estimators/test_vae.py", "tests/likelihoods/test_counts.py"
NORMAL = "tests/initialization/test_incomplete_normal.py tests/nn/test_conditional_normal.py"
FEW = "tests/estimators/test_pretrained.py"

MUTANTS = [
    # penalties and losses of games
    Mutant("losses.py", "code.abs().sum(-1)", "code.abs().mean(-1)", LOSSES),
    Mutant("losses.py", "xlogy(1 - rho, (1 - rho) / (1 - mean))", "xlogy(1 - rho, (1 - rho) / mean)", LOSSES),
    Mutant(
        "losses.py", "F.softplus(-real) + F.softplus(generated)", "F.softplus(-real) - F.softplus(generated)", LOSSES
    ),
    Mutant("losses.py", "return -F.softplus(generated)", "return F.softplus(generated)", LOSSES),
    Mutant("losses.py", "0.5 * (real - 1).square()", "0.5 * real.square()", LOSSES),
    Mutant("losses.py", "F.relu(1 - real) + F.relu(1 + generated)", "F.relu(1 - real) + F.relu(generated)", LOSSES),
    Mutant("losses.py", "return generated - real", "return real - generated", LOSSES),
    Mutant("losses.py", "return F.softplus(generated - real)", "return F.softplus(real - generated)", LOSSES),
    Mutant("losses.py", "tiny).sqrt() - 1).square()", "tiny) - 1).square()", LOSSES),
    Mutant("losses.py", "share * real + (1 - share) * generated", "share * real + share * generated", LOSSES),
    # scaling
    Mutant("data/scaling.py", "/ len(chosen) - shift**2", "/ len(chosen)", SCALING),
    Mutant("data/scaling.py", "guess + shift, variance", "guess, variance", SCALING),
    Mutant("data/scaling.py", "rounding = 4 * np", "rounding = 0 * np", SCALING),
    Mutant("data/scaling.py", "_N_WIDTHS, _QUANTILE_ROWS = 7.0", "_N_WIDTHS, _QUANTILE_ROWS = 0.5", SCALING),
    Mutant("data/scaling.py", "np.repeat(center, n_timepoints)", "np.tile(center, n_timepoints)", SCALING),
    # splits
    Mutant("data/splits.py", "if seen_all and not is_first:", "if False:", SPLITS + " tests/base/test_continuation.py"),
    Mutant("data/splits.py", "groups.max() == 0", "groups.max() < 0", "tests/base/test_fit_arguments.py"),
    Mutant(
        "data/splits.py", "if abs(missing - sizes[group]) < missing:", "if True:", "tests/base/test_fit_arguments.py"
    ),
    Mutant("data/splits.py", "max(1, round(n_rows * fraction))", "round(n_rows * fraction)", SPLITS),
    # selection
    Mutant("training/selection.py", "_SIGNIFICANT, _WORSE = 2.5, 1.0", "_SIGNIFICANT, _WORSE = 0.5, 1.0", SELECTION),
    Mutant("training/selection.py", "losses.sign() * losses.abs().sqrt()", "losses.abs().sqrt()", SELECTION),
    Mutant("training/selection.py", "and _z(before - after) > -_WORSE", "", SELECTION),
    Mutant(
        "training/selection.py",
        "- 0.5 * pairwise_distances(samples, samples)",
        "- pairwise_distances(samples, samples)",
        SELECTION,
    ),
    Mutant("training/selection.py", "among.kthvalue(N_NEIGHBORS + 1", "among.kthvalue(N_NEIGHBORS", SELECTION),
    # training
    Mutant("training/schedules.py", "return progress / _WARM_UP", "return 1 - progress / _WARM_UP", SCHEDULES),
    Mutant("training/schedules.py", "return 0.5 * half_cosine(min", "return half_cosine(min", SCHEDULES),
    Mutant(
        "training/run.py",
        "best = callbacks[-1].best_epoch_ - n_before",
        "best = callbacks[-1].best_epoch_",
        "tests/training/test_run.py tests/base/test_continuation.py",
    ),
    Mutant(
        "training/run.py", "plan.start.refit(module, self.data.sample().cpu())", "pass", "tests/training/test_run.py"
    ),
    Mutant(
        "training/run.py",
        "for number, phase in enumerate(plan.phases[1:], start=1):",
        "for number, phase in ():",
        "tests/training/test_run.py tests/estimators/test_vae_final_phase.py",
    ),
    Mutant(
        "training/run.py",
        "is_model and (is_untrained or",
        "is_model and (False or",
        "tests/training/test_run.py tests/base/test_fit_arguments.py tests/test_contract.py -k ctrl",
    ),
    Mutant(
        "training/randomness.py",
        "key = (PURPOSES.index(purpose),) if",
        "key = (0,) if",
        "tests/training/test_randomness.py",
    ),
    Mutant("training/inference.py", "(x ^ _shifted(x, 30)) * _FIRST", "x * _FIRST", "tests/training/test_inference.py"),
    Mutant("training/inference.py", "& ((1 << (64 - n)) - 1)", "", "tests/training/test_inference.py"),
    # densities
    Mutant("base/density.py", "return RowEstimates(log_sum - math.log(n),", "return RowEstimates(log_sum,", VAE),
    Mutant("base/density.py", "(log_prior - log_posterior).sum(0)", "(log_prior + log_posterior).sum(0)", VAE),
    Mutant("base/density.py", "log_prob - unit, log_likelihood - unit", "log_prob, log_likelihood - unit", VAE),
    Mutant("base/density.py", "- points.shape[1] * math.log(width)", "", VAE),
    Mutant(
        "nn/variational.py",
        "(log_variance.expm1() - log_variance)",
        "log_variance.expm1()",
        VAE + " tests/estimators/test_vae_classifier.py",
    ),
    Mutant("nn/variational.py", "normal_log_prob(noise) - self.log_scale.sum(-1)", "normal_log_prob(noise)", VAE),
    # likelihoods
    Mutant("likelihoods/real.py", "* math.log(2 * math.pi) - raw.log_det()", "* math.log(2 * math.pi)", LIKELIHOODS),
    Mutant("likelihoods/real.py", "square().sum(-1), alpha=0.5)", "square().sum(-1), alpha=1.0)", LIKELIHOODS),
    Mutant(
        "likelihoods/real.py",
        "return score * scale**2",
        "return score * scale",
        LIKELIHOODS + " tests/estimators/test_autoencoder.py",
    ),
    Mutant("likelihoods/real.py", "self.variance / scale**2", "self.variance / scale", LIKELIHOODS + " " + VAE),
    Mutant("likelihoods/counts.py", "_LEAST, _GREATEST = 1e-3, 1e6", "_LEAST, _GREATEST = 1.0, 1e6", COUNTS),
    Mutant("likelihoods/counts.py", "or (given <= 0).any()", "", COUNTS),
    # files
    Mutant("persistence.py", "[name, array.dtype.str, array.shape]", "[name]", PERSISTENCE),
    Mutant(
        "storage.py",
        "or isinstance(value, bool) or not low <= value <= high",
        "or not low <= value <= high",
        PERSISTENCE,
    ),
    Mutant("storage.py", "(finite and not math.isfinite(value))", "False", PERSISTENCE),
    Mutant(
        "storage.py", "_KINDS.get(type(value).__name__) is type(value)", "type(value).__name__ in _KINDS", PERSISTENCE
    ),
    # metrics
    Mutant(
        "metrics/rankings.py", "np.minimum(n_true, hits.shape[1])]", "n_true.clip(max=len(discounts))*0+1]", RANKING
    ),
    Mutant("metrics/rankings.py", "scores[seen[known].nonzero()] = -np.inf", "pass", RANKING),
    Mutant("metrics/rankings.py", "hits.sum(axis=1) / np.minimum(n_true, k)", "hits.sum(axis=1) / n_true", RANKING),
    Mutant("metrics/images.py", "_K1, _K2 = 0.01, 0.03", "_K1, _K2 = 0.03, 0.01", IMAGES),
    Mutant("metrics/images.py", "10 * np.log10(data_range**2 / errors)", "10 * np.log10(data_range / errors)", IMAGES),
    Mutant("metrics/text.py", "min(0.0, 1 - n_wanted / n_made)", "1 - n_wanted / n_made", TEXT),
    Mutant("metrics/text.py", "min(count, known[n_gram])", "count * (n_gram in known)", TEXT),
    # normal distributions of incomplete rows; EASE; averages; few labels
    Mutant(
        "nn/conditional_normal.py",
        "return -self._cut(torch.cholesky_solve",
        "return self._cut(torch.cholesky_solve",
        NORMAL,
    ),
    Mutant(
        "nn/conditional_normal.py",
        "self.cells.shape[1]]) * self.both_missing",
        "self.cells.shape[1]])",
        NORMAL,
    ),
    Mutant("initialization/ease.py", "np.fill_diagonal(inverse, 0.0)", "pass", "tests/initialization/test_ease.py"),
    Mutant(
        "data/baseline.py",
        "raised = probabilities**power",
        "raised = probabilities",
        "tests/data/test_labels.py " + FEW,
    ),
]


def fate(mutant: Mutant, copy: Path) -> str:
    """``killed``, ``survived``, or ``stale`` if the line is not there any more."""
    path = copy / "sk_autoenc" / mutant.file
    text = path.read_text()
    if text.count(mutant.right) < 1:
        return "stale"
    path.write_text(text.replace(mutant.right, mutant.wrong, 1))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests.split()]
        done = subprocess.run(command, cwd=copy, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    finally:
        path.write_text(text)
    return "survived" if done.returncode == 0 else "killed" if done.returncode in (1, 2) else "stale"


def main() -> None:
    """Try the mutants and print the fate of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants of files with this in their names")
    only = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if only in mutant.file]
    fates = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "docs", "results", "*.egg-info"))
        for mutant in chosen:
            fates.append(fate(mutant, copy))
            print(f"{fates[-1]:8} {mutant.file}: {mutant.right}  ->  {mutant.wrong}", flush=True)
    print({name: fates.count(name) for name in sorted(set(fates))}, "of", len(chosen))


if __name__ == "__main__":
    main()
