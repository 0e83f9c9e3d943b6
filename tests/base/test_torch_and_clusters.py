"""The networks as functions of torch tensors, and the distributions of a mixture prior as clusters."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError

from sk_autoenc import AAETransformer, AutoencoderTransformer, GaussianMixturePrior, VAETransformer

rng = np.random.default_rng(0)
X = np.vstack([rng.normal(center, 0.3, (60, 3)) for center in ([0, 0, 0], [6, 6, 0])]) * [1, 10, 1] + 4
CHEAP = {"architecture": (8,), "max_iter": 10, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer(2, **CHEAP),
        AutoencoderTransformer(2, **CHEAP, likelihood="poisson"),
        VAETransformer(2, **CHEAP),
        AAETransformer(2, **CHEAP),
    ],
    ids=lambda model: f"{type(model).__name__} {model.likelihood}",
)
def test_networks_are_functions_of_tensors(model):
    rows = np.abs(X).round() if model.likelihood == "poisson" else X
    model.fit(rows)
    x = torch.from_numpy(rows.astype(np.float32)).requires_grad_()
    codes = model.encoder_(x)
    np.testing.assert_allclose(codes.detach(), model.transform(rows), rtol=1e-4, atol=1e-4)
    made = model.decoder_(codes)
    np.testing.assert_allclose(made.detach(), model.inverse_transform(model.transform(rows)), rtol=1e-3, atol=1e-3)
    made.sum().backward()
    assert x.grad.abs().sum() > 0
    np.testing.assert_allclose(
        model.encoder_(torch.from_numpy(rows)).detach(), codes.detach(), atol=1e-5
    )  # of float64, too


def test_functions_are_there_after_fit():
    for name in ("encoder_", "decoder_"):
        assert not hasattr(AutoencoderTransformer(), name)
        with pytest.raises(NotFittedError):
            getattr(VAETransformer(), name)


def test_clusters_are_those_of_the_rows():
    model = VAETransformer(1, prior="gaussian_mixture", **{**CHEAP, "max_iter": 40}).fit(X)
    labels = model.predict(X)
    assert len(set(labels[:60])) == len(set(labels[60:])) == 1
    assert labels[0] != labels[60]
    shares = model.predict_proba(X)
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(shares.argmax(1), labels)
    np.testing.assert_array_equal(model.predict_proba(X[5:7]), shares[5:7])  # bit for bit, whatever comes with a row


def test_responsibilities_by_hand():
    means, covariances = rng.normal(size=(3, 2)), np.array([[[1, 0.5], [0.5, 2]], np.eye(2), 0.1 * np.eye(2)])
    prior, codes = GaussianMixturePrior(means, covariances, weights=[1, 2, 3]), rng.normal(size=(20, 2))
    joint = np.stack(
        [
            share * multivariate_normal(mean, covariance).pdf(codes)
            for share, mean, covariance in zip([1, 2, 3], means, covariances, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(prior.responsibilities(codes), joint / joint.sum(1, keepdims=True), rtol=1e-10)


def test_without_a_mixture_there_are_no_clusters():
    model = VAETransformer(1, prior="normal", **CHEAP).fit(X)
    assert not hasattr(model, "predict")
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)
    assert not hasattr(AutoencoderTransformer(1, **CHEAP), "predict")
