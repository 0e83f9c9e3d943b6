"""What a user reads: warnings at the user's own line, the names of public classes, and no colours in pipes."""

import re
import sys
import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_autoenc
from sk_autoenc import (
    AAETransformer,
    AutoencoderImputer,
    AutoencoderTransformer,
    GANSampler,
    ReconstructionOutlierDetector,
    VAETransformer,
)

X = np.random.default_rng(0).standard_normal((50, 4))
CHEAP = {"architecture": (4,), "max_iter": 1, "random_state": 0}
FEW = np.column_stack([X, X[:, 0] > 0]).astype(float)
HOLES = np.column_stack([X, np.full(50, np.nan)])

#: What warns, and of what.
DOUBTFUL = {
    "few values": (lambda: VAETransformer(1, **CHEAP).fit(FEW), "columns of 2 to"),
    "a step of a Pipeline": (lambda: make_pipeline(StandardScaler(), VAETransformer(1, **CHEAP)).fit(FEW), "columns"),
    "fit_transform": (lambda: VAETransformer(1, **CHEAP).set_output(transform="pandas").fit_transform(FEW), "columns"),
    "partial_fit": (lambda: AutoencoderTransformer(1, **CHEAP, learning_rate=1e20).partial_fit(X), "not finite"),
    "divergence": (lambda: AutoencoderTransformer(1, **CHEAP, learning_rate=1e20).fit(X), "not finite"),
    "collapse": (lambda: GANSampler(**CHEAP).fit(X), "collapsed"),
    "codes": (
        lambda: VAETransformer(1, architecture=(4,), beta=50.0, max_iter=40, init="random", random_state=0).fit(X),
        "Codes have collapsed",
    ),
    "critic": (lambda: AAETransformer(1, **CHEAP, init="random").fit(X), "Samples will not look like rows"),
    "calibration": (lambda: ReconstructionOutlierDetector(n_steps=1, calibration_fraction=0.1).fit(X), "p-values"),
    "empty columns": (lambda: AutoencoderImputer(**CHEAP).fit(HOLES), "no observed cell"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_warnings_point_to_the_line_of_the_user(name):
    call, said = DOUBTFUL[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [warning for warning in caught if said in str(warning.message)]
    assert found
    assert {warning.filename for warning in found} == {__file__}
    assert {warning.lineno for warning in found} == {call.__code__.co_firstlineno}


PUBLIC = [getattr(sk_autoenc, name) for name in sk_autoenc.__all__ if isinstance(getattr(sk_autoenc, name), type)]


@pytest.mark.parametrize("kind", [kind for kind in PUBLIC if hasattr(kind, "fit")], ids=lambda kind: kind.__name__)
def test_unknown_arguments_of_fit_name_the_public_class(kind):
    model = object.__new__(kind)
    for method in ("fit", "partial_fit", "fit_resample"):
        if hasattr(model, method):
            with pytest.raises(TypeError, match=rf"^{kind.__name__}\.{method}"):
                getattr(model, method)(X, nothing=1)


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_unknown_parameters_name_the_public_class(kind):
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\b"):
        kind(nothing=1)


class Terminal:
    """A stream of text that says that it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_colours_are_for_terminals_alone(capsys, monkeypatch):
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=2, early_stopping=False, verbose=1, random_state=0)
    model.fit(X)
    in_a_pipe = capsys.readouterr().out
    assert "train_loss" in in_a_pipe
    assert "\x1b" not in in_a_pipe
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    model.fit(X)
    without_colours = re.sub(r"\x1b\[\d+m", "", terminal.text)
    assert len(without_colours) == len(in_a_pipe)
