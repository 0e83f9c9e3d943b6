"""Negative binomial counts and zero-inflated ones, by closed forms and in every estimator."""

import numpy as np
import pytest
import torch
from scipy import stats

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    NegativeBinomial,
    Poisson,
    VAETransformer,
    ZeroInflatedNegativeBinomial,
)
from sk_autoenc.likelihoods.counts import DispersedOutput

rng = np.random.default_rng(0)
D, N = 4, 150
DISPERSION = np.array([0.3, 2.0, 10.0, 1e5])
CODES = rng.normal(size=(N, 1))
MEANS = np.exp(CODES @ [[0.8, -0.5, 0.3, 0.6]] + [1, 2, 0.5, 1.5])
X = rng.poisson(rng.gamma(DISPERSION, MEANS / DISPERSION)).astype(float)
CHEAP = {"architecture": (8,), "max_iter": 8, "random_state": 0}


def output(*parts):
    out = torch.from_numpy(np.concatenate(parts, axis=1))
    return DispersedOutput(out, torch.from_numpy(np.log(DISPERSION)))


def test_log_probability_is_the_negative_binomials():
    found = NegativeBinomial().log_prob(output(np.log(MEANS)), torch.from_numpy(X))
    expected = stats.nbinom.logpmf(X, DISPERSION, DISPERSION / (DISPERSION + MEANS)).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_many_degrees_of_dispersion_are_poissons():
    likelihood = NegativeBinomial([1e6] * D)
    raw, x = torch.from_numpy(np.log(MEANS)), torch.from_numpy(X)
    np.testing.assert_allclose(likelihood.log_prob(raw, x), Poisson().log_prob(raw, x), rtol=1e-3)


def test_inflated_zeros_by_hand():
    share = rng.uniform(0.1, 0.6, (N, D))
    raw = output(np.log(MEANS), np.log(share / (1 - share)))
    pmf = stats.nbinom.pmf(X, DISPERSION, DISPERSION / (DISPERSION + MEANS))
    expected = np.log(np.where(X == 0, share, 0) + (1 - share) * pmf).sum(1)
    likelihood = ZeroInflatedNegativeBinomial()
    np.testing.assert_allclose(likelihood.log_prob(raw, torch.from_numpy(X)), expected, rtol=1e-7)
    np.testing.assert_allclose(likelihood.mean(raw.out), (1 - share) * MEANS)


@pytest.mark.parametrize("kind", [NegativeBinomial, ZeroInflatedNegativeBinomial])
def test_draws_have_the_mean_and_the_variance_of_the_distribution(kind):
    mean, dispersion, share = np.array([3.0, 8.0]), np.array([1.5, 4.0]), 0.3 * kind._inflated
    parts = [np.log(mean)] + [np.full(2, np.log(0.3 / 0.7))] * kind._inflated
    out = torch.from_numpy(np.concatenate(parts)).expand(40_000, -1)
    raw = DispersedOutput(out, torch.from_numpy(np.log(dispersion)))
    drawn, again = (kind().draw(raw, torch.Generator().manual_seed(0)).numpy() for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_allclose(drawn.mean(0), (1 - share) * mean, rtol=0.05)
    second = mean + mean**2 / dispersion + mean**2  # of the negative binomial
    np.testing.assert_allclose(drawn.var(0), (1 - share) * second - ((1 - share) * mean) ** 2, rtol=0.08)
    zero = (dispersion / (dispersion + mean)) ** dispersion
    np.testing.assert_allclose((drawn == 0).mean(0), share + (1 - share) * zero, atol=0.01)


def test_dispersion_of_rows_is_that_of_their_moments():
    rows = rng.poisson(rng.gamma(2.0, 6.0 / 2.0, (200_000, 1))).astype(float)
    fitted = NegativeBinomial().resolve(np.hstack([rows, np.zeros_like(rows), np.full_like(rows, 7.0)]))
    assert fitted.dispersion[0] == pytest.approx(2.0, rel=0.05)
    assert np.isfinite(fitted.dispersion).all()
    assert fitted.dispersion[2] == 1e6


@pytest.mark.parametrize("kind", [NegativeBinomial, ZeroInflatedNegativeBinomial])
def test_the_first_output_is_the_mean_of_the_rows(kind):
    bias = kind(DISPERSION.tolist()).initial_bias(X.mean(0))
    np.testing.assert_allclose(kind().mean(torch.from_numpy(bias)), X.mean(0), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("likelihood", ["negative_binomial", "zero_inflated"])
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
def test_every_estimator_takes_them(kind, likelihood):
    model = kind(1, likelihood=likelihood, **CHEAP).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert (model.reconstruct(X) >= 0).all()
    if hasattr(model, "sample"):
        drawn = model.sample(200, random_state=0)
        assert (drawn == np.floor(drawn)).all()
        assert (drawn >= 0).all()
    with pytest.raises(ValueError, match=f"likelihood='{likelihood}': X must be integer-valued"):
        model.score_samples(X + 0.5)


def test_dispersed_counts_are_more_probable_than_under_poissons():
    options = {**CHEAP, "max_iter": 30, "prior": "normal"}
    dispersed, poisson = (VAETransformer(1, likelihood=it, **options).fit(X) for it in ("negative_binomial", "poisson"))
    assert dispersed.score(X) > poisson.score(X) + 1
    learned = dispersed.net_.module_.head.log_dispersion.exp()
    assert learned[0] < learned[2]


@pytest.mark.parametrize("dispersion", [[1.0], [1.0, -1, 1, 1], [np.nan] * 4, ["a"] * 4])
def test_dispersions_are_one_positive_number_a_column(dispersion):
    with pytest.raises(ValueError, match="dispersion must be None or 4 numbers above 0"):
        VAETransformer(likelihood=NegativeBinomial(dispersion)).fit(X)
