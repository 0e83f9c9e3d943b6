"""Likelihoods that a user writes from the documented interface alone work in every estimator that takes likelihoods."""

import pickle

import numpy as np
import pytest
import torch

from sk_autoenc import AAETransformer, AutoencoderTransformer, ReconstructionOutlierDetector, VAETransformer
from sk_autoenc.likelihoods import Likelihood

rng = np.random.default_rng(0)
CODES = rng.standard_normal((120, 1))
X = CODES @ [[2.0, -1.0, 0.5]] + 0.2 * rng.laplace(size=(120, 3)) + 7
CHEAP = {"architecture": (8,), "max_iter": 20, "random_state": 0}


class Laplace(Likelihood):
    """Real values around the decoder's output; densities learn a scale for each cell."""

    takes_negative, scales_by_feature = True, True

    def check(self, X):
        pass

    def is_scaled(self, n_features):
        return np.ones(n_features, dtype=bool)

    def n_outputs(self, n_features, *, noise):
        return (1 + noise) * n_features

    def log_prob(self, raw, x):
        location, log_scale = raw.chunk(2, -1)
        return (-(x - location).abs() * (-log_scale).exp() - log_scale - np.log(2)).sum(-1)

    def reconstruction_score(self, raw, x):
        return -(x - raw).abs().sum(-1)

    def unscaled_score(self, score, scale, n_scaled):
        return score * scale

    def location(self, raw):
        return raw.chunk(2, -1)[0]

    def mean(self, raw):
        return raw

    def draw(self, raw, generator):
        location, log_scale = raw.chunk(2, -1)
        uniform = torch.rand(location.shape, generator=generator) - 0.5
        return location - log_scale.exp() * uniform.sign() * torch.log1p(-2 * uniform.abs())

    def initial_bias(self, mean):
        return mean


class NumberAndFlag(Likelihood):
    """A table of a number with noise of variance 1, in units of the scaled column, and a flag."""

    takes_negative = True

    def check(self, X):
        if not np.isin(X[:, 1], [0, 1]).all():
            raise ValueError("X must hold flags in column 1.")

    def is_scaled(self, n_features):
        return np.array([True, False])

    def log_prob(self, raw, x):
        number = -0.5 * (x[..., 0] - raw[..., 0]).square() - 0.5 * np.log(2 * np.pi)
        return number - torch.nn.functional.softplus(torch.where(x[..., 1] > 0, -raw[..., 1], raw[..., 1]))

    def mean(self, raw):
        return torch.stack([raw[..., 0], raw[..., 1].sigmoid()], -1)

    def draw(self, raw, generator):
        number = raw[..., 0] + torch.randn(raw.shape[:-1], generator=generator)
        return torch.stack([number, torch.bernoulli(raw[..., 1].sigmoid(), generator=generator)], -1)

    def initial_bias(self, mean):
        return np.array([mean[0], np.log(mean[1] / (1 - mean[1]))])


TABLE = np.column_stack([5 + 100 * CODES[:, 0], CODES[:, 0] + 0.3 * rng.standard_normal(120) > 0]).astype(float)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("likelihood", "rows"), [(Laplace(), X), (NumberAndFlag(), TABLE)], ids=["laplace", "number and flag"]
)
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
@pytest.mark.parametrize("init", ["auto", "random"])
def test_it_works_in_every_estimator(kind, init, likelihood, rows):
    model = kind(1, likelihood=likelihood, init=init, **CHEAP).fit(rows)
    assert model.transform(rows).shape == (120, 1)
    assert np.isfinite(model.score_samples(rows)).all()
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    made = model.reconstruct(rows)
    np.testing.assert_allclose(made.mean(0), rows.mean(0), atol=0.35 * rows.std())  # in the units of the rows
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.reconstruct(rows), made)
    if hasattr(model, "sample"):
        drawn = model.sample(500, random_state=0)
        np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.6 * rows.std())


def test_a_density_of_scaled_columns_is_for_the_units_of_the_rows():
    small, large = (VAETransformer(1, likelihood=Laplace(), **CHEAP).fit(unit * X) for unit in (1, 1024))
    np.testing.assert_allclose(large.score_samples(1024 * X), small.score_samples(X) - 3 * np.log(1024), rtol=1e-6)
    stretched = TABLE * [1024, 1]
    small, large = (VAETransformer(1, likelihood=NumberAndFlag(), **CHEAP).fit(rows) for rows in (TABLE, stretched))
    np.testing.assert_allclose(large.score_samples(stretched), small.score_samples(TABLE) - np.log(1024), rtol=1e-6)


def test_a_score_of_reconstruction_is_in_the_units_that_the_likelihood_says():
    model = AutoencoderTransformer(1, likelihood=Laplace(), **CHEAP).fit(X)
    expected = -np.abs(X - model.reconstruct(X)).sum(1)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-4)


def test_columns_that_are_not_scaled_keep_their_values():
    data = VAETransformer(1, likelihood=NumberAndFlag(), **CHEAP).fit(TABLE)._data
    read = data.to_network(TABLE)
    np.testing.assert_array_equal(read[:, 1], TABLE[:, 1])
    assert abs(read[:, 0].mean()) < 1e-6
    assert read[:, 0].std() == pytest.approx(1)
    np.testing.assert_allclose(data.to_rows(read, np.dtype(float)), TABLE, rtol=1e-5, atol=1e-4)


def test_what_a_likelihood_does_not_answer_is_refused_by_name():
    with pytest.raises(ValueError, match=r"init='pca' cannot be combined with likelihood=Laplace\(\)"):
        VAETransformer(likelihood=Laplace(), init="pca").fit(X)
    with pytest.raises(ValueError, match="flags in column 1"):
        VAETransformer(likelihood=NumberAndFlag()).fit(X[:, :2])


def test_detectors_clone_a_density_of_ones_own():
    model = VAETransformer(1, likelihood=Laplace(), **{**CHEAP, "max_iter": 5}, n_score_samples=4)
    rows = np.vstack([X, [[60.0, -60, 60]]])
    detector = ReconstructionOutlierDetector(model, n_estimators=2, random_state=0).fit(rows)
    assert detector.score_samples(rows).argmin() == 120
