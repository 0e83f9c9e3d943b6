"""Hash every fitted model of ``tests/instances.py``, to show that a change of the code changed no bit of any model.

Run it before and after: ``python -m benchmarks.hash_weights --write before.json``, then ``--compare before.json``.
Hashes depend on the machine and on torch, so they are compared in one place and never stored. Each model is fitted from
three seeds, on rows few enough for folds and on rows enough for one split, and goes on by ``warm_start`` and
``partial_fit``.
"""

import argparse
import hashlib
import json
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone

from sk_autoenc import (
    MLP,
    AAETransformer,
    AutoencoderTransformer,
    Categorical,
    ReconstructionOutlierDetector,
    Recurrent,
    StudentT,
    VAETransformer,
)
from tests.instances import DETECTORS, IMAGE_SHAPE, IMAGES, INSTANCES

SEEDS = (0, 1, 2)
_CHEAP = {"architecture": (8,), "max_iter": 4, "device": "cpu"}
_SERIES = {**_CHEAP, "max_iter": 2, "architecture": Recurrent(4, unequal_lengths=True)}

#: Ways of training that the list of instances leaves out.
MORE = [
    (
        ReconstructionOutlierDetector(
            VAETransformer(architecture=(8,), max_iter=3, random_state=0, device="cpu", n_score_samples=8),
            n_estimators=2,
            random_state=0,
        ),
        "few",
    ),
    (VAETransformer(**{**_CHEAP, "max_iter": 30}, n_score_samples=8), "many"),
    (VAETransformer(**{**_CHEAP, "max_iter": 30, "architecture": MLP(())}, n_score_samples=8), "many"),
    (VAETransformer(**_CHEAP, likelihood=StudentT("shared"), n_score_samples=8, prior="gaussian_mixture"), "many"),
    (VAETransformer(**_CHEAP, likelihood="poisson", n_score_samples=8), "counts"),
    (VAETransformer(**_CHEAP, likelihood="multinomial", n_score_samples=8, early_stopping=False), "counts"),
    (VAETransformer(**_CHEAP, likelihood="categorical", n_score_samples=8), "counts"),
    (AutoencoderTransformer(**_CHEAP, likelihood="poisson"), "counts"),
    (AutoencoderTransformer(**_CHEAP, likelihood="bernoulli", noise=0.3, noise_kind="masking"), "shares"),
    (AAETransformer(**_CHEAP, critic=(8,), likelihood="bernoulli", early_stopping=True), "shares"),
    (AutoencoderTransformer(**_CHEAP, early_stopping=False), "few"),
    (AutoencoderTransformer(**_CHEAP), "tiny"),
    (AutoencoderTransformer(**_SERIES), "series"),
    (VAETransformer(**_SERIES, n_score_samples=4), "series"),
    (AAETransformer(**_SERIES, critic=(8,)), "series"),
    (VAETransformer(**_SERIES, likelihood=Categorical(), n_score_samples=4), "tokens"),
    (AutoencoderTransformer(**_SERIES, likelihood="categorical"), "tokens"),
]


def rows(kind: str) -> np.ndarray:
    """Rows of some kind, the same in every run."""
    rng = np.random.default_rng(0)
    if kind == "images":
        return rng.standard_normal((60, *IMAGE_SHAPE)) + np.linspace(0, 3, IMAGE_SHAPE[-1])
    if kind == "counts":
        return rng.poisson(rng.gamma(2.0, 1.0, (80, 1)) * [1, 2, 3, 1, 1, 1]).astype(float)
    if kind == "shares":
        return rng.uniform(size=(80, 6)).round(2)
    if kind in ("series", "tokens"):
        X = np.sin(np.linspace(0, 5, 9) * rng.uniform(1, 2, (60, 1)))
        X = np.digitize(X, [-0.5, 0, 0.5]).astype(float) if kind == "tokens" else X
        return np.where(np.arange(9) < rng.integers(4, 10, (60, 1)), X, np.nan)
    n_rows = {"few": 90, "many": 700, "tiny": 30}[kind]
    latent = rng.standard_normal((n_rows, 2))
    bent = np.column_stack([latent, latent**2, np.sin(2 * latent)])
    return (bent + 0.1 * rng.standard_normal((n_rows, 6))) * [1, 2, 3, 1, 1, 1] + 5


def digest(values: list) -> str:
    """A hash of arrays, or of whatever else a fit left."""
    found = hashlib.sha256()
    for value in values:
        array = np.asarray(value, dtype=None if isinstance(value, np.ndarray) else np.float64)
        found.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def weights(model) -> str:
    """A hash of everything that a trained network holds, by place and not by name."""
    return digest([value.cpu().numpy() for value in model.net_.module_.state_dict().values()])


def outputs(model, X: np.ndarray) -> str:
    """A hash of what a model says of rows."""
    names = ("transform", "reconstruct", "score_samples", "decision_function")
    found = [np.asarray(getattr(model, name)(X)) for name in names if hasattr(model, name)]
    if hasattr(model, "sample"):
        found.append(np.asarray(model.sample(5, random_state=0)))
    if hasattr(model, "loss_curve_"):
        found += [np.asarray(model.loss_curve_), np.asarray(getattr(model, "validation_loss_curve_", []))]
    return digest(found)


def hashes(only: str = "") -> dict[str, str]:
    """``{model: hash}`` of every model, every seed and every way to go on."""
    cases = [(model, kind) for model in INSTANCES for kind in ("few", "many")]
    cases += [(model, "images") for model in IMAGES] + [(model, "few") for model in DETECTORS] + MORE
    found = {}
    for model, kind in [case for case in cases if only in repr(case)]:
        X = rows(kind)
        for seed in SEEDS:
            name = f"{' '.join(repr(model).split())} {kind} {seed}"
            fitted = clone(model).set_params(random_state=seed).fit(X)
            found[f"{name} outputs"] = outputs(fitted, X)
            if not hasattr(fitted, "net_"):
                continue
            found[f"{name} weights"] = weights(fitted)
            found[f"{name} loaded"] = outputs(pickle.loads(pickle.dumps(fitted)), X)
            if seed == 0:
                again = fitted.set_params(warm_start=True, learning_rate=0.002).fit(X)
                found[f"{name} warm"] = weights(again) + outputs(again, X)
                found[f"{name} chunk"] = weights(fitted.partial_fit(X)) + outputs(fitted, X)
                fresh = clone(model).set_params(random_state=seed).partial_fit(X).partial_fit(X[::-1])
                found[f"{name} chunks"] = weights(fresh) + outputs(fresh, X)
    return found


def main() -> int:
    """Write hashes, or compare with those of a file; the number of differences decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path)
    action.add_argument("--compare", type=Path)
    parser.add_argument("--only", default="", help="models whose name holds this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = hashes(arguments.only)
    if arguments.write:
        arguments.write.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} hashes")
        return 0
    before = {name: value for name, value in json.loads(arguments.compare.read_text()).items() if name in found}
    different = sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name))
    for name in different:
        print("differs:", name)
    print(f"{len(before)} hashes before, {len(found)} now, {len(different)} differ")
    return min(len(different), 1)


if __name__ == "__main__":
    sys.exit(main())
