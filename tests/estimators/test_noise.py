"""Heavy-tailed noise in the estimators: tails are learned, and the linear model has none."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA, FactorAnalysis

from sk_autoenc import AutoencoderTransformer, Gaussian, StudentT, VAETransformer


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def heavy_tailed_rows(rng, n=800):
    return rng.standard_t(1.5, size=(n, 3)).clip(-300, 300)


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_tails_are_learned(rng):
    X, fresh = heavy_tailed_rows(rng), heavy_tailed_rows(rng)
    normal, student = (
        VAETransformer(1, likelihood=likelihood, architecture=(8,), max_iter=30, learning_rate=0.02, random_state=0)
        for likelihood in (Gaussian("feature"), StudentT("feature"))
    )
    assert student.fit(X).net_.module_.head.tails.exp().max() + 1 < 4
    assert student.score(fresh) > stats.t(1.5).logpdf(fresh).sum(1).mean() - 0.2
    assert student.score(fresh) > normal.fit(X).score(fresh) + 1


@pytest.mark.parametrize("likelihood", [Gaussian, StudentT])
@pytest.mark.parametrize(("variance", "linear"), [("shared", PCA), ("feature", FactorAnalysis)])
def test_a_linear_model_that_is_kept_has_normal_noise(rng, likelihood, variance, linear):
    loadings = np.array([[3, 3, 3, 3, 3], [3, 3, 0, -3, -3]])  # clear ones, so that factor analysis converges
    X = rng.normal(size=(1000, 2)) @ loadings + rng.normal(size=(1000, 5)) * [1, 1, 1.5, 2, 2]
    model = VAETransformer(2, likelihood=likelihood(variance), architecture=(4,), max_iter=1, learning_rate=1e-5)
    model.set_params(random_state=0, n_score_samples=2).fit(X)
    assert model.linear_
    # The posterior of a linear model is exact, so that two samples are enough.
    assert model.score(X) == pytest.approx(linear(2).fit(X).score(X), abs=1e-3)


@pytest.mark.parametrize("likelihood", ["student_t", StudentT(), StudentT("feature")])
def test_the_deterministic_autoencoder_refuses_noise(likelihood):
    with pytest.raises(ValueError, match=r"no effect.*[sS]tudent"):
        AutoencoderTransformer(likelihood=likelihood).fit(np.eye(3))


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (StudentT("column"), "StudentT: variance must be .*'column'"),
        (StudentT(-1.0), "StudentT: variance must be a name or a number above 0, got -1.0"),
        (StudentT("shared", correlated=True), "StudentT: correlated=True .*'shared'"),
        (Gaussian(correlated="yes"), "Gaussian: correlated must be .*'yes'"),
    ],
)
def test_errors_name_the_likelihood_and_the_value(likelihood, message):
    with pytest.raises(ValueError, match=message):
        VAETransformer(likelihood=likelihood).fit(np.eye(3))


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("likelihood", [Gaussian, StudentT])
def test_a_shared_variance_is_one_number_wherever_training_starts(rng, init, likelihood):
    X = rng.normal(size=(60, 3)) * [1, 5, 25]
    model = VAETransformer(1, likelihood=likelihood("shared"), architecture=(4,), init=init, max_iter=2, random_state=0)
    raw = model.set_params(early_stopping=False).fit(X).net_.module_.observe(torch.zeros(2, 1))
    scales = raw.log_scale.exp()
    torch.testing.assert_close(scales, scales[..., :1].expand_as(scales))
