"""Models that left Python for ONNX compute what they computed here, alone and as steps of Pipelines."""

import numpy as np
import onnxruntime
import pytest
from skl2onnx import to_onnx as pipeline_to_onnx
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AAETransformer, AutoencoderTransformer, Convolutional, Recurrent, VAETransformer
from sk_autoenc.onnx_export import register_converters, to_onnx

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporter, and of short fits

rng = np.random.default_rng(0)
X = (rng.standard_normal((80, 6)) * [1, 2, 3, 4, 5, 60] + 7).astype(np.float32)
CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}


def run(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (result,) = session.run(None, {session.get_inputs()[0].name: rows})
    return result


@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(2, **CHEAP),
        AutoencoderTransformer(2, **CHEAP, likelihood="poisson"),
        VAETransformer(2, **CHEAP),
        AAETransformer(2, **CHEAP),
        AutoencoderTransformer(2, **{**CHEAP, "architecture": Convolutional((4,), input_shape=(1, 2, 3))}),
    ],
    ids=["autoencoder", "poisson", "VAE", "AAE", "convolutional"],
)
def test_every_part_computes_what_the_estimator_does(estimator):
    rows = np.abs(X).round() if estimator.likelihood == "poisson" else X
    estimator = clone(estimator).fit(rows)
    codes = estimator.transform(rows)
    np.testing.assert_allclose(run(to_onnx(estimator), rows), codes, rtol=1e-5, atol=1e-5)
    for part, given, expected in (
        ("decoder", codes, estimator.inverse_transform(codes)),
        ("reconstruct", rows, estimator.reconstruct(rows)),
    ):
        np.testing.assert_allclose(run(to_onnx(estimator, part), given), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_scores_are_those_of_score_samples(likelihood):
    rows = X if likelihood == "gaussian" else (X > 7).astype(np.float32)
    estimator = AutoencoderTransformer(2, **CHEAP, likelihood=likelihood).fit(rows)
    np.testing.assert_allclose(run(to_onnx(estimator, "score"), rows), estimator.score_samples(rows), rtol=1e-4)


def test_rows_far_from_zero_keep_their_digits_in_float64():
    far = X.astype(np.float64) + 1e9
    estimator = AutoencoderTransformer(2, **CHEAP).fit(far)
    found = run(to_onnx(estimator, dtype="float64"), far)
    np.testing.assert_allclose(found, estimator.transform(far), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pipeline_is_converted_with_our_step_in_it(dtype):
    register_converters()
    rows, y = X.astype(dtype), X[:, 0] > 7
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(2, **CHEAP), LogisticRegression()).fit(rows, y)
    model = pipeline_to_onnx(pipeline, rows[:1], target_opset=20, options={"zipmap": False})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    labels, shares = session.run(None, {"X": rows})
    np.testing.assert_array_equal(labels, pipeline.predict(rows))
    np.testing.assert_allclose(shares, pipeline.predict_proba(rows), atol=1e-5)


def test_what_cannot_be_exported_is_refused_by_name():
    with pytest.raises(ValueError, match=r"part must be one of .* got 'codes'"):
        to_onnx(AutoencoderTransformer(), "codes")
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got 'int8'"):
        to_onnx(AutoencoderTransformer(), dtype="int8")
    with pytest.raises(ValueError, match="part='score' of this AutoencoderTransformer has operations that ONNX lacks"):
        to_onnx(AutoencoderTransformer(2, **CHEAP, likelihood="poisson").fit(np.abs(X).round()), "score")
    with pytest.raises(NotFittedError):
        to_onnx(AutoencoderTransformer())
    with pytest.raises(ValueError, match="part='score' is not a function of VAETransformer that draws nothing"):
        to_onnx(VAETransformer(2, **CHEAP).fit(X), "score")
    ragged = AutoencoderTransformer(2, **{**CHEAP, "architecture": Recurrent(3, unequal_lengths=True)})
    with pytest.raises(ValueError, match="series of unequal lengths"):
        to_onnx(ragged.fit([X[:3, 0], X[:5, 0], X[:4, 1]]))
