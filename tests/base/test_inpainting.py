"""Filling in several passes, for networks that were not trained to do without cells."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sk_autoenc import MLP, AutoencoderTransformer
from sk_autoenc.initialization.linear import linear_path

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 5)) @ rng.standard_normal((5, 12)) + 0.3 * rng.standard_normal((120, 12)) + 7
NEW, HIDDEN = X[:40] + 0.1 * rng.standard_normal((40, 12)), np.zeros(12, dtype=bool)
HIDDEN[[2, 3, 7]] = True


def linear_network(n_components, encoder=lambda variance: 1.0, **parameters):
    """PCA as a network, its codes multiplied by a function of their variances."""
    parameters = {"max_iter": 1, "learning_rate": 1e-12, "early_stopping": False, "random_state": 0} | parameters
    model = AutoencoderTransformer(n_components, architecture=MLP(()), **parameters).fit(X)
    into = linear_path(model.net_.module_.encoder)
    factor = torch.as_tensor(encoder(model.transform(X).var(axis=0)), dtype=torch.float32).expand(n_components)
    with torch.no_grad():
        into.weight.mul_(factor[:, None])
        into.bias.mul_(factor)
    return model


def test_pca_fills_by_least_squares():
    filled = linear_network(4).inpaint(NEW, HIDDEN, max_passes=200)
    pca = PCA(4).fit(X)
    codes, *_ = np.linalg.lstsq(pca.components_[:, ~HIDDEN].T, (NEW - pca.mean_)[:, ~HIDDEN].T, rcond=None)
    np.testing.assert_allclose(filled[:, HIDDEN], (pca.mean_ + codes.T @ pca.components_)[:, HIDDEN], atol=0.02)


def test_the_best_linear_network_for_noisy_rows_fills_by_ridge_regression():
    noise = 0.7
    model = linear_network(12, lambda variance: variance / (variance + noise**2), noise=noise)
    mean, unit = X.mean(axis=0), np.sqrt(X.var(axis=0).mean())
    seen, hidden, new = (X - mean)[:, ~HIDDEN], (X - mean)[:, HIDDEN], (NEW - mean)[:, ~HIDDEN]
    penalty = len(X) * (noise * unit) ** 2 * np.eye(seen.shape[1])
    expected = mean[HIDDEN] + new @ np.linalg.solve(seen.T @ seen + penalty, seen.T @ hidden)
    np.testing.assert_allclose(model.inpaint(NEW, HIDDEN, max_passes=200)[:, HIDDEN], expected, atol=0.02)


def test_by_default_the_network_is_asked_once():
    model = linear_network(4, noise=0.2, noise_kind="masking")
    expected = model.reconstruct(np.where(HIDDEN, X.mean(axis=0), NEW))
    np.testing.assert_allclose(model.inpaint(NEW, HIDDEN)[:, HIDDEN], expected[:, HIDDEN], rtol=1e-6)


def test_filling_does_not_depend_on_other_rows():
    model = AutoencoderTransformer(3, architecture=(16,), noise=0.5, max_iter=5, random_state=0).fit(X)
    hidden = rng.random(NEW.shape) < 0.3
    filled = model.inpaint(NEW, hidden, max_passes=50)
    np.testing.assert_array_equal(model.inpaint(NEW[7:9], hidden[7:9], max_passes=50), filled[7:9])
    np.testing.assert_array_equal(model.inpaint(NEW[::-1], hidden[::-1], max_passes=50), filled[::-1])


def test_filling_ends_where_passes_lead_nowhere():
    runaway = linear_network(4, lambda variance: 3.0)
    assert np.abs(runaway.inpaint(NEW, HIDDEN, max_passes=200) - 7).max() < 1e3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_with_nothing_hidden_come_back(dtype):
    model = linear_network(4)
    filled = model.inpaint(NEW.astype(dtype), np.zeros(12, dtype=bool), max_passes=3)
    assert filled.dtype == dtype
    np.testing.assert_array_equal(filled, NEW.astype(dtype))


@pytest.mark.parametrize("max_passes", [0, 1.5])
def test_passes_are_counted(max_passes):
    with pytest.raises((ValueError, TypeError), match="max_passes"):
        linear_network(4).inpaint(NEW, HIDDEN, max_passes=max_passes)


@pytest.mark.parametrize("noise_kind", ["masking", "salt_and_pepper"])
def test_networks_that_learned_from_holes_fill_in_one_pass(noise_kind):
    model = AutoencoderTransformer(2, noise=0.2, noise_kind=noise_kind, max_iter=1, random_state=0, device="cpu").fit(
        NEW
    )
    assert model.inpaint(NEW, HIDDEN).shape == NEW.shape
    with pytest.raises(ValueError, match=f"max_passes must be 1 .*noise_kind='{noise_kind}', got 9"):
        model.inpaint(NEW, HIDDEN, max_passes=9)


def test_a_network_that_has_not_learned_to_fill_says_so():
    with pytest.warns(UserWarning, match="trained with noise=0"):
        linear_network(4).inpaint(NEW, HIDDEN)
    with pytest.warns(UserWarning, match="trained with noise=0.5 and noise_kind='gaussian'.*max_passes=200"):
        linear_network(4, noise=0.5).inpaint(NEW, HIDDEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_network(4).inpaint(NEW, HIDDEN, max_passes=2)
        linear_network(4, noise=0.5, noise_kind="masking").inpaint(NEW, HIDDEN)


def test_pca_that_was_kept_says_that_it_has_learned_nothing_about_holes():
    rows = np.random.default_rng(0).standard_normal((60, 5))
    model = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(rows)
    assert model.linear_
    with pytest.warns(UserWarning, match="result of fit is PCA"):
        model.inpaint(rows, HIDDEN[:5], max_passes=200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.inpaint(rows, np.zeros(5, dtype=bool))  # nothing to fill


def test_rows_out_of_range_are_read_but_not_scored():
    """What a network for ones and zeros is to clean may lie outside; it has no probability."""
    ones = (np.random.default_rng(0).random((60, 4)) < 0.5).astype(float)
    model = AutoencoderTransformer(2, likelihood="bernoulli", noise=0.3, max_iter=1, random_state=0).fit(ones)
    assert np.isfinite(model.reconstruct(ones + 0.5)).all()
    for call in (model.score_samples, model.score):
        with pytest.raises(ValueError, match=r"must have values in \[0, 1\]"):
            call(ones + 0.5)
