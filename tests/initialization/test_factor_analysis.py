"""The linear models of rows: scikit-learn's PCA and factor analysis as special cases, the full gaussian as another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA, FactorAnalysis

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.splits import MIN_ROWS
from sk_autoenc.initialization.factor_analysis import (
    LEAST_VARIANCE,
    Moments,
    Noise,
    best_noise,
    feature_noise,
    fit_linear_gaussian,
    kinds_of_noise,
    log_prob,
    split_covariance,
)

D, K = 6, 2
LOADINGS = np.random.default_rng(1).normal(size=(D, K))
UNEQUAL = np.array([0.05, 0.2, 0.5, 1.0, 2.0, 0.1])


def drawn(n, noise_covariance, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.multivariate_normal(np.zeros(D), noise_covariance, size=n)
    return 3.0 + rng.normal(size=(n, K)) @ LOADINGS.T + noise


def as_rows(X):
    return Rows(torch.from_numpy(X), torch.arange(len(X)))


X = drawn(400, np.diag(UNEQUAL))
MEAN, COVARIANCE = X.mean(0), np.cov(X.T, bias=True)
SEEN = Moments(MEAN, COVARIANCE, X)


def log_density(model, rows=X):
    """Of rows, the codes integrated out."""
    overall = model.covariance + model.loadings @ model.loadings.T
    return stats.multivariate_normal(model.mean, overall).logpdf(rows)


def test_with_one_variance_it_is_probabilistic_pca():
    pca = PCA(K).fit(X)
    seen = Moments(MEAN, np.cov(X.T), X)  # PCA divides by n - 1
    model = split_covariance(seen, K, np.full(D, pca.noise_variance_), shrinkage=1.0)
    np.testing.assert_allclose(log_density(model), pca.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(feature_noise(seen, K, by_feature=False), pca.noise_variance_)


def test_with_a_variance_for_each_feature_it_is_factor_analysis():
    analysis = FactorAnalysis(K, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(X)
    model = split_covariance(SEEN, K, analysis.noise_variance_, shrinkage=1.0)
    np.testing.assert_allclose(log_density(model), analysis.score_samples(X), atol=1e-4)
    assert log_density(model).mean() > PCA(K).fit(X).score(X) + 0.05


@pytest.mark.parametrize("by_feature", [False, True])
def test_nothing_shrunk_is_the_full_gaussian(by_feature):
    model = split_covariance(SEEN, K, feature_noise(SEEN, K, by_feature), shrinkage=0.0)
    np.testing.assert_allclose(log_density(model), stats.multivariate_normal(MEAN, COVARIANCE).logpdf(X), rtol=1e-9)


@pytest.mark.parametrize("n_rows", [5, 12, 40])
@pytest.mark.parametrize("by_feature", [False, True])
def test_densities_are_those_of_the_models(n_rows, by_feature):
    """Also where there are far fewer rows than features, from whose axes models are made: as from the covariance."""
    wide = np.hstack([X[:n_rows], X[100 : 100 + n_rows]])
    seen = Moments(wide.mean(0), np.cov(wide.T, bias=True), wide)
    assert len(seen.spectrum()[0]) == min(n_rows, 12)
    from_covariance = replace(seen, are_all=False)
    variance = feature_noise(seen, K, by_feature)
    np.testing.assert_allclose(variance, feature_noise(from_covariance, K, by_feature))
    new = np.hstack([X[200:300], X[300:400]])
    found = log_prob(new, seen, K, variance, (0.03, 0.4, 1.0))
    for shrinkage, densities in zip((0.03, 0.4, 1.0), found, strict=True):
        model, other = (split_covariance(it, K, variance, shrinkage) for it in (seen, from_covariance))
        np.testing.assert_allclose(densities, log_density(model, new), rtol=1e-7)
        np.testing.assert_allclose(model.covariance, other.covariance, atol=1e-9)
        np.testing.assert_allclose(model.loadings @ model.loadings.T, other.loadings @ other.loadings.T, atol=1e-9)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_the_encoder_gives_the_posterior(shrinkage):
    """By Bayes: covariance (I + L' Psi^-1 L)^-1, which is diagonal, and mean L' (L L' + Psi)^-1 (x - mean)."""
    model = split_covariance(SEEN, K, feature_noise(SEEN, K, True), shrinkage)
    precision = np.eye(K) + model.loadings.T @ np.linalg.solve(model.covariance, model.loadings)
    np.testing.assert_allclose(precision, np.diag(model.precision), atol=1e-8)
    overall = model.loadings @ model.loadings.T + model.covariance
    np.testing.assert_allclose(model.encoder(), np.linalg.solve(overall, model.loadings).T, atol=1e-10)


def test_shrinking_moves_correlations_of_the_noise_alone():
    variance = feature_noise(SEEN, K, True)
    models = [split_covariance(SEEN, K, variance, shrinkage) for shrinkage in (0.0, 0.5, 1.0)]
    for model in models:
        np.testing.assert_allclose(model.loadings, models[0].loadings)
    np.testing.assert_allclose(models[1].covariance, (models[0].covariance + models[2].covariance) / 2)
    np.testing.assert_allclose(models[2].covariance, np.diag(variance), atol=1e-12)


def test_components_beyond_the_features_say_nothing():
    model = split_covariance(SEEN, D + 2, np.full(D, 0.1), shrinkage=1.0)
    assert model.loadings.shape == (D, D + 2)
    assert (model.loadings[:, D:] == 0).all()
    assert (model.precision[D:] == 1).all()


def test_constant_and_copied_columns_have_some_noise():
    odd = np.column_stack([X[:, 0], X[:, 0], np.full(len(X), 7.0)])
    for by_feature in (False, True):
        variance = feature_noise(Moments(odd.mean(0), np.cov(odd.T, bias=True), odd), 2, by_feature)
        assert (variance >= LEAST_VARIANCE).all()
        assert np.isfinite(variance).all()


def test_every_kind_of_noise_is_a_candidate_the_simplest_last():
    assert kinds_of_noise(by_feature=False, correlated=False) == [Noise(False)]
    assert kinds_of_noise(by_feature=True, correlated=False) == [Noise(True), Noise(False)]
    everything = kinds_of_noise(by_feature=True, correlated=True)
    assert len(set(everything)) == len(everything) > 4
    assert everything[-1] == Noise(False)


@pytest.mark.parametrize("noise_variance", [np.full(D, 0.3), UNEQUAL], ids=["equal", "unequal"])
def test_the_best_noise_is_the_kind_that_rows_were_drawn_with(noise_variance):
    rows = as_rows(drawn(300, np.diag(noise_variance), seed=4))
    found = best_noise(rows, K, kinds_of_noise(by_feature=True, correlated=False))
    assert found == Noise(by_feature=noise_variance is UNEQUAL)


def test_the_best_noise_is_correlated_where_rows_have_correlated_noise():
    candidates = kinds_of_noise(by_feature=True, correlated=True)
    correlated = 0.5 * 0.8 ** np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    assert best_noise(as_rows(drawn(2000, correlated)), K, candidates).shrinkage < 0.5
    assert best_noise(as_rows(drawn(200, np.diag(np.full(D, 0.3)))), K, candidates).shrinkage == 1.0


def test_few_rows_have_the_simplest_noise():
    few = as_rows(drawn(MIN_ROWS - 1, np.diag(UNEQUAL)))
    assert best_noise(few, K, kinds_of_noise(by_feature=True, correlated=True)) == Noise(False)


def test_the_fitted_model_is_that_of_all_rows():
    model = fit_linear_gaussian(as_rows(X), K, Noise(by_feature=False))
    expected = split_covariance(SEEN, K, feature_noise(SEEN, K, False), 1.0)
    np.testing.assert_allclose(log_density(model), log_density(expected))


def test_some_of_very_many_rows_do_not_stand_for_all():
    wide = np.random.default_rng(0).standard_normal((40, 30))
    seen = Moments(wide.mean(0), np.cov(wide.T, bias=True), wide[:8], are_all=False)
    values, axes = seen.spectrum()
    np.testing.assert_allclose((axes * values) @ axes.T, seen.covariance, atol=1e-12)


def test_of_models_that_are_one_the_simplest_is_taken():
    rows = as_rows(drawn(60, np.diag(UNEQUAL)))
    assert best_noise(rows, D, kinds_of_noise(by_feature=True, correlated=True)) == Noise(by_feature=False)
    column = as_rows(drawn(60, np.diag(UNEQUAL))[:, :1])
    assert best_noise(column, 1, kinds_of_noise(by_feature=True, correlated=True)) == Noise(by_feature=False)


@pytest.mark.parametrize("n_rows", [9, 30, 400])
def test_factor_analysis_of_few_rows_with_the_same_covariance(n_rows):
    """Many rows are replaced by few, which changes neither the estimate nor where it stops."""
    rows = X[:n_rows] if n_rows <= len(X) else np.tile(X, (n_rows // len(X) + 1, 1))[:n_rows]
    seen = Moments(rows.mean(0), np.cov(rows.T, bias=True), rows)
    expected = FactorAnalysis(K, svd_method="lapack").fit(rows).noise_variance_
    np.testing.assert_allclose(feature_noise(seen, K, by_feature=True), expected.clip(LEAST_VARIANCE), rtol=1e-6)


def test_wide_tables_need_no_square_of_their_features(monkeypatch):
    """Neither the fit nor the choice of the noise; the posterior is that of the square."""
    wide = np.random.default_rng(0).normal(size=(50, 3000))
    rows = Rows(torch.from_numpy(wide).float())
    with monkeypatch.context() as patch:
        patch.setattr(np, "cov", None)
        patch.setattr(np.linalg, "eigh", None)
        noise = best_noise(rows, K, kinds_of_noise(by_feature=True, correlated=False))
        model = fit_linear_gaussian(rows, K, noise)
        encoder = model.encoder()
    assert max(part.size for part in model if isinstance(part, np.ndarray)) <= 50 * 3000
    np.testing.assert_allclose(model.noise_variance, model.covariance.diagonal())
    np.testing.assert_allclose(encoder, (np.linalg.solve(model.covariance, model.loadings) / model.precision).T)
