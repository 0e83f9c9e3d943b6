"""Rows, series and helpers that tests of detectors share."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector, Recurrent

#: Few rows in different units, and many in the same.
X = np.random.default_rng(0).standard_normal((90, 6)) * [1, 2, 3, 1, 1, 1] + 5
NORMAL = np.random.default_rng(0).standard_normal((600, 6))

#: Rows on a plane in six dimensions, and 20 rows off it whose single values are usual.
PLANE = np.random.default_rng(1).standard_normal((400, 2)) @ np.random.default_rng(2).standard_normal((2, 6))
OFF = np.column_stack([np.random.default_rng(j).permutation(PLANE[:, j])[:20] for j in range(6)])
PLANTED, IS_OUTLIER = np.vstack([PLANE, OFF]), np.arange(420) >= 400


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def auroc(is_outlier, detector, rows):
    return roc_auc_score(is_outlier, -detector.score_samples(rows))


def waves(lengths, seed=0):
    """Series of two channels that are waves of one frequency."""
    draw = np.random.default_rng(seed)
    return [np.sin(draw.uniform(0, 6) + np.arange(n) / 2 * np.array([[1.0], [2.0]])) for n in lengths]


def series_detector(max_iter=2, **parameters):
    """A detector of series of unequal lengths; it learns little, unless it is given more epochs."""
    autoencoder = AutoencoderTransformer(
        3,
        architecture=Recurrent(8, unequal_lengths=True),
        max_iter=max_iter,
        early_stopping=False,
        device="cpu",
    )
    return ReconstructionOutlierDetector(autoencoder, **{"n_estimators": 2, "random_state": 0, **parameters})


def recording(kind):
    """A class of transformers like ``kind``, and a list that each one is appended to when it is fitted."""
    fitted = []

    def fit(self, X, y=None):
        fitted.append(self)
        return kind.fit(self, X, y)

    return type(kind.__name__, (kind,), {"fit": fit}), fitted


def spy_on_fit(monkeypatch, kind):
    """A list that gets the arguments and the result of every call of the class method ``kind.fit``."""
    calls, original = [], kind.fit

    def fit(cls, *args, **kwargs):
        calls.append((args, kwargs, original(*args, **kwargs)))
        return calls[-1][-1]

    monkeypatch.setattr(kind, "fit", classmethod(fit))
    return calls
