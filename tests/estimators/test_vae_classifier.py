"""The semi-supervised variational autoencoder: its bound in closed form, samples, and M1+M2 in a pipeline."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris, make_circles
from sklearn.pipeline import make_pipeline
from torch import nn

from sk_autoenc import Convolutional, VAEClassifier, VAETransformer
from sk_autoenc.data.dataset import Batch
from sk_autoenc.estimators.vae_classifier import negative_class_bound
from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.class_codes import ClassBounds, ClassVariationalAutoencoder
from sk_autoenc.nn.few_labels import BaselineModel

X, Y = load_iris(return_X_y=True)
FEW = np.where(np.arange(150) % 3 == 0, Y, -1)
CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}

#: A linear model of two classes: x = SLOPE z + MEANS[y] + noise.
SLOPE, MEANS, VARIANCE = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]]), 0.25
PRIOR = torch.tensor([0.3, 0.7])


class Normal:
    """Independent normal noise of one variance."""

    def make_head(self, n_features):
        return nn.Identity()

    def target(self, x, generator):
        return x

    def log_prob(self, raw, x):
        return -0.5 * ((x - raw).square() / VARIANCE + math.log(2 * math.pi * VARIANCE)).sum(-1)


def log_densities(x):
    """Exact log p(x | y), for both classes; ``(n, 2)``."""
    covariance = torch.outer(SLOPE, SLOPE) + VARIANCE * torch.eye(3)
    return torch.stack([torch.distributions.MultivariateNormal(m, covariance).log_prob(x) for m in MEANS], dim=1)


def linear_model():
    """A network whose posteriors and classifier are those of the linear model."""
    precision = 1 + SLOPE.square().sum() / VARIANCE
    to_mean = SLOPE / VARIANCE / precision
    encoder, decoder = Linear(3, 1), Linear(3, 3)
    module = ClassVariationalAutoencoder(
        encoder,
        nn.Module(),
        decoder,
        BaselineModel(3, 2, is_class=True, n_neighbors=1),
        n_hidden=1,
        n_classes=2,
        n_components=1,
        activation="identity",
        likelihood=Normal(),
        n_features=3,
    )
    module.classifier.forward = lambda x: log_densities(x) + PRIOR.log()
    with torch.no_grad():
        encoder.weight.copy_(to_mean[None])
        encoder.bias.zero_()
        module.of_class.weight.copy_(-(MEANS @ to_mean)[None])
        module.of_class.bias.zero_()
        module.posterior_layer.weight.copy_(torch.tensor([[1.0], [0.0]]))
        module.posterior_layer.bias.copy_(torch.tensor([0.0, -0.5 * precision.log()]))
        decoder.weight.copy_(torch.cat([SLOPE[:, None], MEANS.T], dim=1))
        decoder.bias.zero_()
    return module.train()


def mean_terms(y):
    """The mean loss of one row, many times, with this label."""
    x = torch.tensor([[1.0, 0.5, 0.2]]).expand(40_000, -1)
    with torch.no_grad():
        output = linear_model()(x, torch.Generator().manual_seed(0))
        terms = negative_class_bound(output, Batch(x, y.expand(len(x), -1)), log_prior=PRIOR.log(), alpha=0.5)
    return x[:1], {name: float(term.double().mean()) for name, term in terms.items()}


def test_the_bound_of_a_labelled_row_is_its_log_density_where_posteriors_are_exact():
    for label in (0, 1):
        indicators = torch.eye(2)[label]
        x, terms = mean_terms(torch.cat([indicators, torch.ones(1)]))
        exact = log_densities(x)[0, label] + PRIOR[label].log()
        assert terms["bound"] == pytest.approx(-float(exact), abs=0.01)
        log_class = (log_densities(x) + PRIOR.log()).log_softmax(-1)[0, label]
        assert terms["cross_entropy"] == pytest.approx(-0.5 * float(log_class), rel=1e-4)


def test_the_bound_of_an_unlabelled_row_sums_the_class_out():
    x, terms = mean_terms(torch.zeros(3))
    exact = (log_densities(x) + PRIOR.log()).logsumexp(-1)
    assert terms["bound"] == pytest.approx(-float(exact), abs=0.01)
    assert terms["cross_entropy"] == 0


def test_an_unlabelled_row_weighs_the_losses_of_classes_by_hand_computed_probabilities():
    output = ClassBounds(
        torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[-1.0], [-2.0]]), torch.tensor([[0.5], [0.1]])
    )
    prior = torch.tensor([0.5, 0.5])
    terms = negative_class_bound(output, Batch(torch.zeros(1, 1), torch.zeros(1, 3)), log_prior=prior.log(), alpha=1.0)
    losses = (1.5 + math.log(2), 2.1 + math.log(2))
    expected = 0.25 * (losses[0] + math.log(0.25)) + 0.75 * (losses[1] + math.log(0.75))
    assert float(terms["bound"]) == pytest.approx(expected, rel=1e-5)


def test_codes_are_means_over_classes():
    x = torch.tensor([[1.0, 0.5, 0.2]])
    module = linear_model().eval()
    with torch.no_grad():
        weights, means = module.answer(x)[0], module.posterior(x).mean[:, 0, 0]
        assert float(module.encode(x)) == pytest.approx(float((weights * means.double()).sum()), rel=1e-5)


def test_samples_are_rows_of_their_class():
    model = VAEClassifier(2, architecture=(32,), max_iter=150, random_state=0, early_stopping=False).fit(X, FEW)
    rows, labels = model.sample(50, y=[0, 2], random_state=0)
    assert labels.tolist() == [0] * 50 + [2] * 50
    for label, drawn in ((0, rows[:50]), (2, rows[50:])):
        np.testing.assert_allclose(drawn.mean(0), X[label == Y].mean(0), atol=0.5)
    assert set(model.sample(60, random_state=0)[1].tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(model.sample(3, random_state=1)[0], model.sample(3, random_state=1)[0])
    assert model.score(X, Y) > 0.9


def test_codes_are_decoded_to_rows_of_a_class():
    model = VAEClassifier(2, **CHEAP).fit(X, FEW)
    made = model.inverse_transform(model.transform(X[:3]), Y[:3])
    assert made.shape == (3, 4)
    with pytest.raises(ValueError, match=r"y holds 7, but the classes of the fit were \[0, 1, 2\]"):
        model.sample(1, y=[7])


def test_m1_and_m2_stand_in_a_pipeline():
    X, y = load_digits(return_X_y=True)
    few = np.where(np.arange(len(y)) % 10 == 0, y, -1)
    m1 = VAETransformer(8, architecture=(32,), max_iter=3, early_stopping=False, random_state=0)
    both = make_pipeline(m1, VAEClassifier(2, **CHEAP)).fit(X, few)
    assert both.score(X, y) > 0.7


def test_images_have_convolutional_networks():
    X, y = load_digits(return_X_y=True)
    images, few = X[:200].reshape(-1, 1, 8, 8), np.where(np.arange(200) % 2, y[:200], -1)
    model = VAEClassifier(2, **{**CHEAP, "architecture": Convolutional((4,))}, early_stopping=False).fit(images, few)
    assert model.predict(images).shape == (200,)
    assert model.sample(2, random_state=0)[0].shape == (2, 1, 8, 8)


def test_the_network_replaces_the_baseline_where_held_out_labels_say_so():
    X, y = make_circles(300, noise=0.05, factor=0.4, random_state=0)
    few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    weak = VAEClassifier(2, **CHEAP, baseline="graph").fit(X, few)
    strong = VAEClassifier(2, **{**CHEAP, "architecture": (32,), "max_iter": 25}, baseline="linear").fit(X, few)
    assert weak.is_baseline_
    assert not strong.is_baseline_
    assert strong.score(X, y) > 0.95


def test_without_a_class_a_code_is_decoded_to_the_mean_over_classes():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 3)), np.arange(60) % 3 // 2
    model = VAEClassifier(2, architecture=(8,), max_iter=3, random_state=0, device="cpu").fit(rows, labels)
    codes = rng.normal(size=(5, 2))
    first, second = (model.inverse_transform(codes, np.full(5, name)) for name in (0, 1))
    shares = model.class_prior_
    np.testing.assert_allclose(model.inverse_transform(codes), shares[0] * first + shares[1] * second, rtol=1e-6)
