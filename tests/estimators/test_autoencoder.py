"""AutoencoderTransformer: the mathematics of each of its terms, and what it does with them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.linalg import subspace_angles
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EpochScoring

from sk_autoenc import MLP, AutoencoderTransformer, Bernoulli, Multinomial, Poisson
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.autoencoder import Autoencoder
from sk_autoenc.nn.blocks import Linear, multilayer_perceptron

LIKELIHOODS = ["gaussian", "bernoulli", "poisson", "multinomial"]


def make(n_components=2, **kwargs):
    """An estimator that trains on all rows, without judging the result, unless asked to."""
    options = {"architecture": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0, "device": "cpu"}
    return AutoencoderTransformer(n_components, **{**options, **kwargs})


def low_rank(n=200, n_features=6, rank=2, noise=0.1, seed=0):
    """Rows near a plane, with directions of clearly different variance."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n, rank)) * np.arange(rank, 0, -1) * 2
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(n_features, rank)))[0]
    return codes @ axes.T + noise * rng.normal(size=(n, n_features)) + 3.0


def curve(n=400, seed=0, noise=0.02):
    """Rows near a parabola in the plane and its sine: what no line describes."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2, 2, size=(n, 1))
    return np.hstack([t, t**2, np.sin(2 * t)]) + noise * rng.normal(size=(n, 3))


def rows_for(likelihood, n=60, n_features=5):
    rng = np.random.default_rng(0)
    if likelihood == "gaussian":
        return low_rank(n, n_features)
    if likelihood == "bernoulli":
        return (rng.uniform(size=(n, n_features)) < rng.uniform(size=(n, 1))).astype(float)
    return rng.poisson(3 * rng.uniform(size=(n, 1)) + 0.5, size=(n, n_features)).astype(float)


def decoder_columns(estimator, n_components):
    """Directions in which the codes move the reconstruction, for a linear decoder."""
    origin = estimator.inverse_transform(np.zeros((1, n_components)))
    return (estimator.inverse_transform(np.eye(n_components)) - origin).T


def mean_squared_error(X, Y):
    """Summed over features, averaged over rows."""
    return ((X - Y) ** 2).sum(1).mean()


def weights_of(estimator):
    return [value.detach().clone() for value in estimator.net_.module_.state_dict().values()]


def same_weights(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# -- the linear autoencoder is PCA (Baldi & Hornik 1989)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize(("init", "max_iter"), [("pca", 200), ("random", 600)])
def test_without_hidden_layers_it_spans_what_pca_spans(init, max_iter, schedule):
    X = low_rank()
    linear = make(
        2,
        architecture=(),
        init=init,
        max_iter=max_iter,
        batch_size=len(X),
        learning_rate=0.1,
        learning_rate_schedule=schedule,
        weight_decay=0.0,
    ).fit(X)
    pca = PCA(2).fit(X)
    assert subspace_angles(decoder_columns(linear, 2), pca.components_.T).max() < 1e-2
    error = mean_squared_error(X, pca.inverse_transform(pca.transform(X)))
    assert mean_squared_error(X, linear.reconstruct(X)) < 1.05 * error
    np.testing.assert_allclose(linear.reconstruct(X).mean(0), X.mean(0), atol=1e-2)


@pytest.mark.parametrize("architecture", [(), (8,), MLP((8, 8), residual=True)])
@pytest.mark.parametrize("n_rows", [20, 200])
def test_kept_as_pca_it_is_pca_of_all_rows(architecture, n_rows):
    """A plane with normal noise has nothing for a network to gain; the result is PCA's to rounding."""
    X = low_rank(n_rows)
    estimator = make(2, architecture=architecture, max_iter=2, early_stopping=True).fit(X)
    assert estimator.linear_
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(
        estimator.reconstruct(X), pca.inverse_transform(pca.transform(X)), atol=1e-5 * np.abs(X).max()
    )
    assert subspace_angles(decoder_columns(estimator, 2), pca.components_.T).max() < 1e-5


@pytest.mark.parametrize(("n_rows", "max_iter"), [(200, 60), (1000, 40)])
def test_a_curve_is_no_plane(n_rows, max_iter):
    """Where there is something to gain, the network is kept, and gains it on new rows.

    A second fit that gains nothing more falls back to the first, not to PCA.
    """
    X, new = curve(n_rows), curve(seed=1)
    options = {"max_iter": max_iter, "learning_rate": 0.05, "early_stopping": True, "warm_start": True}
    estimator = make(1, architecture=(32,), **options).fit(X)
    assert not estimator.linear_
    pca = PCA(1).fit(X)
    for rows in (new, X):
        error = mean_squared_error(rows, pca.inverse_transform(pca.transform(rows)))
        assert mean_squared_error(rows, estimator.reconstruct(rows)) < 0.5 * error
    error = -estimator.score(X)
    estimator.set_params(max_iter=1).fit(X)
    assert -estimator.score(X) < 1.5 * error


# -- denoising (Vincent et al. 2008)


def test_denoising_takes_noise_off_new_rows():
    """With as many codes as features nothing but the noise in training forbids the identity."""
    clean, new = low_rank(400, 8), low_rank(400, 8, seed=1)
    scale = np.sqrt(clean.var(0).mean())
    noisy = new + scale * np.random.default_rng(2).normal(size=new.shape)
    options = {"architecture": (), "max_iter": 60, "learning_rate": 0.03, "weight_decay": 0.0, "batch_size": 100}
    plain, denoising = (make(8, noise=noise, **options).fit(clean) for noise in (0.0, 1.0))
    errors = [mean_squared_error(new, model.reconstruct(noisy)) for model in (plain, denoising)]
    assert errors[0] > 0.9 * mean_squared_error(new, noisy)  # the identity keeps the noise
    assert errors[1] < 0.4 * errors[0]


def test_denoising_linear_weights_are_those_of_ridge_regression():
    """The best linear map from x + noise to x is ``C (C + s² I)⁻¹``, C the covariance of the scaled rows."""
    X = low_rank(400, 4, rank=3)
    options = {"architecture": (), "max_iter": 150, "learning_rate": 0.03, "weight_decay": 0.0}
    model = make(4, noise=0.7, batch_size=100, **options).fit(X)
    scaled = (X - X.mean(0)) / np.sqrt(X.var(0).mean())
    covariance = scaled.T @ scaled / len(X)
    best = covariance @ np.linalg.inv(covariance + 0.7**2 * np.eye(4))
    origin = model.reconstruct(X.mean(0, keepdims=True))
    learned = (model.reconstruct(X.mean(0) + np.eye(4)) - origin).T
    np.testing.assert_allclose(learned, best, atol=0.05)


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper"])
def test_cells_that_are_lost_are_filled_in(kind):
    X, new = low_rank(400, 8), low_rank(300, 8, seed=1)
    lost = np.random.default_rng(2).uniform(size=new.shape) < 0.25
    ends = X.mean(0) if kind == "masking" else X.max(0)
    seen = np.where(lost, ends, new)
    options = {"architecture": (16,), "max_iter": 60, "learning_rate": 0.02, "batch_size": 100}
    plain, trained = (make(8, noise=noise, noise_kind=kind, **options).fit(X) for noise in (0.0, 0.25))
    errors = [((model.reconstruct(seen) - new)[lost] ** 2).mean() for model in (plain, trained)]
    assert errors[1] < 0.6 * errors[0]


def test_noise_is_for_training_alone():
    X = low_rank()
    model = make(2, noise=0.5).fit(X)
    np.testing.assert_array_equal(model.transform(X), model.transform(X))
    np.testing.assert_array_equal(model.score_samples(X), model.score_samples(X))


# -- sparsity


def bounded_column_norms(estimator):
    layers = [layer for layer in estimator.net_.module_.decoder.modules() if isinstance(layer, Linear)]
    return torch.cat([layer.weights().detach().norm(dim=0) for layer in layers])


@pytest.mark.parametrize(
    "architecture",
    [(), (16,), MLP((16, 16), residual=True)],
    ids=["linear", "one", "residual"],
)
def test_l1_makes_codes_smaller_at_the_cost_of_the_reconstruction(architecture):
    """Were the decoder free to grow, the code would shrink at no cost."""
    X = low_rank(200, 6, rank=4)
    scale = np.sqrt(X.var(0).mean())
    weights, models = (0.001, 0.3, 3.0), []
    for weight in weights:
        options = {"architecture": architecture, "max_iter": 60, "learning_rate": 0.03, "batch_size": 100}
        models.append(make(4, sparsity=weight, **options).fit(X))
    sizes = [np.abs(model.transform(X)).sum(1).mean() for model in models]
    errors = [mean_squared_error(X, model.reconstruct(X)) / scale**2 for model in models]
    assert sizes[0] > 1.1 * sizes[1]
    assert sizes[1] > 2 * sizes[2]
    assert errors[1] > errors[0] + 0.01
    assert errors[2] > errors[1] + 0.3
    for model in models:
        assert bounded_column_norms(model).max() <= 1 + 1e-5


def test_l1_through_a_relu_gives_zeros():
    X = low_rank(200, 6, rank=4)
    shares = []
    for weight in (0.0, 0.1, 1.0):
        architecture = MLP((16,), code_activation="relu")
        options = {"max_iter": 60, "learning_rate": 0.03, "batch_size": 100}
        model = make(8, architecture=architecture, sparsity=weight, **options).fit(X)
        shares.append((model.transform(X) == 0).mean())
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > shares[0] + 0.2


def test_the_kl_drives_mean_activations_to_the_target():
    X = low_rank(200, 6, rank=4)
    distances, options = [], {"max_iter": 80, "learning_rate": 0.02, "batch_size": 200}
    for weight in (1e-6, 1.0, 100.0):
        model = make(6, sparsity=weight, sparsity_target=0.1, **options).fit(X)
        codes = model.transform(X)
        assert codes.min() >= 0
        assert codes.max() <= 1
        distances.append(np.abs(codes.mean(0) - 0.1).mean())
    assert distances[0] > distances[1] > distances[2]
    assert distances[0] > 0.1
    assert distances[2] < 0.02


def test_without_penalty_the_decoder_is_free():
    model = make(2, architecture=(), init="random", max_iter=100, learning_rate=0.02, weight_decay=0.0).fit(low_rank())
    assert bounded_column_norms(model).max() > 1.1


# -- contraction (Rifai et al. 2011)


def jacobian_norms(module, x):
    """Squared Frobenius norm of the encoder's Jacobian at every row, exactly."""
    jacobians = torch.func.vmap(torch.func.jacrev(lambda row: module.encoder(row[None])[0]))(x)
    return jacobians.square().sum((-2, -1)).detach()


def scaled(model, X):
    return torch.from_numpy(((X - X.mean(0)) / np.sqrt(X.var(0).mean())).astype(np.float32))


def test_contraction_flattens_the_encoder():
    X, norms = curve(200), []
    for weight in (0.0, 0.03, 0.3):
        options = {"architecture": (16,), "max_iter": 60, "learning_rate": 0.02, "batch_size": 100}
        model = make(2, contraction=weight, **options).fit(X)
        norms.append(jacobian_norms(model.net_.module_.train(), scaled(model, X)).mean().item())
        model.net_.module_.eval()
    assert norms[1] < 0.95 * norms[0]
    assert norms[2] < 0.6 * norms[1]


def encoder_with_slope(encoder, n_features):
    module = Autoencoder(encoder, Linear(2, n_features), contractive=True)
    initialize_parameters(module, torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize("training", [True, False])
def test_slope_of_a_linear_encoder_is_on_average_its_squared_norm(training):
    module = encoder_with_slope(Linear(5, 2), 5).train(training)
    n = 40_000
    slope = module(torch.randn(1, 5).expand(n, 5) * 0 + 1, torch.Generator().manual_seed(1)).jacobian_norm.detach()
    weight = module.encoder.weight.detach()
    expected, variance = weight.square().sum(), 2 * (weight @ weight.T).square().sum()
    assert slope.shape == (n,)
    assert (slope >= 0).all()
    assert abs(slope.mean() - expected) < 4.5 * (variance / n) ** 0.5
    assert slope.var().item() == pytest.approx(variance.item(), rel=0.15)


def test_slope_of_a_network_is_on_average_its_squared_jacobian_norm():
    module = encoder_with_slope(multilayer_perceptron([5, 8, 2], "silu"), 5)
    rows = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    exact = jacobian_norms(module, rows)
    repeats = 20_000
    slope = module(rows.repeat_interleave(repeats, 0), torch.Generator().manual_seed(2)).jacobian_norm.detach()
    for values, norm in zip(slope.view(2, repeats), exact, strict=True):
        assert abs(values.mean() - norm) < 4.5 * values.std() / repeats**0.5
    assert abs(exact[0] - exact[1]) > 0.1 * exact[0]


def test_slope_has_a_gradient_in_training_and_stands_without_one():
    module = encoder_with_slope(multilayer_perceptron([5, 8, 2], "silu"), 5).train()
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    module(x, torch.Generator().manual_seed(2)).jacobian_norm.mean().backward()
    assert module.encoder[0].weight.grad.abs().max() > 0
    assert module.encoder[2].weight.grad.abs().max() > 0
    with torch.no_grad():
        assert (module(x, torch.Generator().manual_seed(2)).jacobian_norm > 0).all()
    assert module(x).jacobian_norm is None


# -- scores


def test_the_score_is_minus_the_squared_error_without_any_penalty():
    X = 50 * low_rank() + 1000
    kl = {"sparsity": 1.0, "sparsity_target": 0.1}
    for options in ({}, {"sparsity": 1.0}, kl, {"contraction": 1.0, "noise": 0.3}):
        model = make(2, **options).fit(X)
        expected = -((X - model.reconstruct(X)) ** 2).sum(1)
        # Both go through the network's float32, the row and what is expected of it being rounded apart.
        np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-5)
        assert model.score(X) == pytest.approx(expected.mean(), rel=1e-6)
        assert isinstance(model.score(X), float)


@pytest.mark.parametrize("penalties", [{}, {"sparsity": 0.5, "contraction": 0.5}])
def test_bernoulli_scores_are_log_probabilities(penalties):
    X = rows_for("bernoulli")
    model = make(2, likelihood="bernoulli", **penalties).fit(X)
    np.testing.assert_allclose(
        model.score_samples(X), stats.bernoulli.logpmf(X, model.reconstruct(X)).sum(1), rtol=1e-6
    )


@pytest.mark.parametrize("penalties", [{}, {"sparsity": 0.5, "contraction": 0.5}])
def test_poisson_scores_are_log_probabilities(penalties):
    X = rows_for("poisson")
    model = make(2, likelihood="poisson", **penalties).fit(X)
    np.testing.assert_allclose(model.score_samples(X), stats.poisson.logpmf(X, model.reconstruct(X)).sum(1), rtol=1e-6)


@pytest.mark.parametrize("penalties", [{}, {"sparsity": 0.5, "contraction": 0.5}])
def test_multinomial_scores_are_log_probabilities(penalties):
    X = rows_for("multinomial")
    model = make(2, likelihood="multinomial", **penalties).fit(X)
    shares = model.inverse_transform(model.transform(X))
    expected = [stats.multinomial.logpmf(x, int(x.sum()), p / p.sum()) for x, p in zip(X, shares, strict=True)]
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-5)


def test_bernoulli_beats_the_mean_image_on_new_digits():
    X = load_digits().data / 16
    train, test = X[:1200], X[1200:]
    model = make(8, likelihood="bernoulli", architecture=(64,), max_iter=15, learning_rate=0.01).fit(train)
    mean = train.mean(0).clip(1e-3, 1 - 1e-3)
    baseline = (test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(1).mean()
    assert model.score(test) > baseline + 2


@pytest.mark.parametrize("likelihood", ["poisson", "multinomial"])
def test_counts_beat_the_mean_on_new_rows(likelihood):
    """Two topics, told apart by a code; the baseline knows only the mean."""
    rng = np.random.default_rng(0)
    topics = np.array([[8.0, 8, 1, 1, 1], [1.0, 1, 1, 8, 8]])
    X = rng.poisson(topics[rng.integers(0, 2, 400)]).astype(float)
    train, test = X[:300], X[300:]
    model = make(1, likelihood=likelihood, max_iter=40, learning_rate=0.02).fit(train)
    mean = train.mean(0)
    if likelihood == "poisson":
        baseline = stats.poisson.logpmf(test, mean).sum(1).mean()
    else:
        baseline = np.mean([stats.multinomial.logpmf(x, int(x.sum()), mean / mean.sum()) for x in test])
    assert model.score(test) > baseline + 1


# -- there and back


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_transform_of_the_codes_is_the_reconstruction(likelihood, dtype):
    X = rows_for(likelihood).astype(dtype)
    model = make(3, likelihood=likelihood).fit(X)
    back = model.inverse_transform(model.transform(X))
    sizes = X.sum(1, keepdims=True) if likelihood == "multinomial" else 1
    assert back.shape == X.shape
    assert back.dtype == dtype
    np.testing.assert_allclose(back * sizes, model.reconstruct(X), rtol=1e-6)
    if likelihood == "multinomial":
        np.testing.assert_allclose(back.sum(1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(model.reconstruct(X).sum(1), X.sum(1), rtol=1e-5)


def test_likelihood_objects_are_accepted():
    X = rows_for("poisson")
    by_name, by_object = (make(2, likelihood=likelihood).fit(X) for likelihood in ("poisson", Poisson()))
    np.testing.assert_array_equal(by_name.score_samples(X), by_object.score_samples(X))
    assert make(2, likelihood=Multinomial()).fit(X).score(X) != by_name.score(X)


def test_rows_of_zeros_have_a_multinomial_score():
    X = rows_for("multinomial")
    X[3] = 0
    model = make(2, likelihood="multinomial").fit(X)
    assert model.score_samples(X)[3] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(model.reconstruct(X)[3], 0)


def test_codes_outside_float32_are_refused():
    model = make(2).fit(low_rank())
    with pytest.raises(ValueError, match="float32"):
        model.inverse_transform([[1e300, 0.0]])


# -- records


@pytest.mark.parametrize("n_rows", [30, 200])
def test_the_error_that_is_reported_is_that_of_the_training_rows(n_rows):
    X = 100 * low_rank(n_rows) - 7
    model = make(2, max_iter=10).fit(X)
    assert model.reconstruction_err_ == pytest.approx(-model.score(X), rel=1e-5)


def test_the_error_of_a_likelihood_is_that_of_the_reconstruction():
    X = rows_for("multinomial")
    model = make(2, likelihood="multinomial").fit(X)
    assert model.reconstruction_err_ == pytest.approx(mean_squared_error(X, model.reconstruct(X)), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, {"reconstruction"}),
        ({"sparsity": 0.1}, {"reconstruction", "sparsity"}),
        ({"sparsity": 0.1, "sparsity_target": 0.2}, {"reconstruction", "sparsity"}),
        ({"sparsity": 0.1, "contraction": 0.1, "noise": 0.1}, {"reconstruction", "sparsity", "contraction"}),
    ],
)
def test_the_loss_curve_is_the_sum_of_its_terms(options, terms):
    model = make(2, max_iter=5, **options).fit(low_rank())
    assert set(model.loss_curves_) == terms
    assert len(model.loss_curve_) == model.n_iter_ == 5
    np.testing.assert_allclose(model.loss_curve_, np.sum(list(model.loss_curves_.values()), axis=0), rtol=1e-9)
    assert all(value > 0 for values in model.loss_curves_.values() for value in values)
    assert model.validation_loss_curve_ == []


def test_weights_scale_their_terms():
    X, options = low_rank(), {"max_iter": 1, "batch_size": 200, "architecture": ()}
    one, two = (make(2, sparsity=weight, contraction=3 * weight, **options).fit(X) for weight in (0.1, 0.2))
    for term in ("sparsity", "contraction"):
        assert two.loss_curves_[term][0] == pytest.approx(2 * one.loss_curves_[term][0], rel=1e-5)
    codes = PCA(2).fit(X).transform(X) / np.sqrt(X.var(0).mean())
    assert one.loss_curves_["sparsity"][0] == pytest.approx(0.1 * np.abs(codes).sum(1).mean(), rel=1e-4)


def test_partial_fit_appends():
    X = low_rank()
    model = make(2, architecture=(16,))
    before = None
    for epoch in range(1, 4):
        assert model.partial_fit(X) is model
        assert model.n_iter_ == len(model.loss_curve_) == len(model.loss_curves_["reconstruction"]) == epoch
        after = weights_of(model)
        assert before is None or not same_weights(before, after)
        before = after
    center = model.inverse_transform(model.transform(X)).mean(0)
    model.partial_fit(X + 100)  # centre and scale stay those of the first chunk
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)).mean(0), center, atol=1.0)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_partial_fit_after_fit_trains_on(schedule):
    """A cosine has come down to zero: the rate must rise again."""
    X = curve(200)
    model = make(1, architecture=(16,), max_iter=5, learning_rate_schedule=schedule).fit(X)
    before = weights_of(model)
    model.partial_fit(X)
    assert model.n_iter_ == 6
    moved = max((a - b).abs().max().item() for a, b in zip(before, weights_of(model), strict=True))
    assert moved > 1e-4


def test_warm_start_goes_on():
    X = curve(300)
    model = make(1, architecture=(32,), max_iter=40, learning_rate=0.01, warm_start=True).fit(X)
    first, error = list(model.loss_curve_), model.reconstruction_err_
    model.fit(X)
    assert model.n_iter_ == 80
    assert model.loss_curve_[:40] == first
    assert model.loss_curve_[40] < 0.5 * first[0]
    assert model.reconstruction_err_ < error


def test_without_warm_start_fit_starts_afresh():
    X = low_rank()
    model = make(2).fit(X)
    before = weights_of(model)
    assert same_weights(before, weights_of(model.fit(X)))
    assert model.n_iter_ == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_components", 3), ("architecture", (4,)), ("likelihood", "bernoulli"), ("noise", 0.5), ("sparsity", 1.0)],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_model_of_another_shape_cannot_be_continued(name, value, method):
    X = low_rank()
    model = make(2, warm_start=True).fit(X)
    before = model.transform(X)
    old = getattr(model, name)
    model.set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"{name} must be .* as in the fit that is continued, got") as error:
        getattr(model, method)(X)
    assert repr(old) in str(error.value)
    assert repr(value) in str(error.value)
    np.testing.assert_array_equal(model.transform(X), before)  # the fit that there was still stands


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value"), [("learning_rate", 1e-12), ("weight_decay", 10.0)])
def test_a_parameter_that_is_changed_takes_effect_or_is_refused(method, name, value):
    X = curve(200)
    same, changed = (make(1, max_iter=5, warm_start=True, learning_rate_schedule="constant").fit(X) for _ in range(2))
    refusal = None
    try:
        getattr(changed.set_params(**{name: value}), method)(X)
    except ValueError as error:
        refusal = str(error)
    getattr(same, method)(X)
    assert not same_weights(weights_of(same), weights_of(changed)) if refusal is None else name in refusal


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_says_that_it_is_pca_is_pca(method):
    """Trained on, a model that was kept at PCA is PCA no more, or says so."""
    X = low_rank()
    options = {"max_iter": 20, "learning_rate": 0.02, "early_stopping": True, "warm_start": True}
    model = make(2, architecture=(16,), **options).fit(X)
    assert model.linear_
    getattr(model, method)(X)
    if model.linear_:
        pca = PCA(2).fit(X)
        expected = pca.inverse_transform(pca.transform(X))
        np.testing.assert_allclose(model.reconstruct(X), expected, atol=1e-4 * np.abs(X).max())


# -- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, r"n_components.*\[1, inf\).*0"),
        ({"n_components": 2.5}, r"n_components.*2\.5"),
        ({"likelihood": "cauchy"}, r"likelihood.*'gaussian'.*'cauchy'"),
        ({"init": "zeros"}, r"init.*'pca'.*'zeros'"),
        ({"noise": -0.1}, r"noise.*\[0(\.0)?, inf\).*-0\.1"),
        ({"noise_kind": "pink"}, r"noise_kind.*'masking'.*'pink'"),
        ({"sparsity": -1}, r"sparsity.*\[0(\.0)?, inf\).*-1"),
        ({"sparsity": 1.0, "sparsity_target": 1.0}, r"sparsity_target.*\(0(\.0)?, 1(\.0)?\).*1\.0"),
        ({"contraction": -1.0}, r"contraction.*\[0(\.0)?, inf\).*-1\.0"),
        ({"learning_rate": 0.0}, r"learning_rate.*\(0(\.0)?, inf\).*0\.0"),
        ({"validation_fraction": 1.0}, r"validation_fraction.*\(0(\.0)?, 1(\.0)?\).*1\.0"),
        ({"optimizer": "lbfgs"}, r"optimizer.*'adamw'.*'lbfgs'"),
        ({"noise": 1.5, "noise_kind": "masking"}, r"noise must be at most 1 .*'masking'.*share of cells, got 1\.5"),
        ({"noise": 2, "noise_kind": "salt_and_pepper"}, r"noise must be at most 1 .*'salt_and_pepper'.*got 2"),
        ({"noise": 6, "noise_kind": "warp"}, r"noise must be at most 1 .*'warp'.*share of the length, got 6"),
        ({"sparsity_target": 0.1}, r"sparsity must be above 0 with sparsity_target=0\.1, got 0"),
        ({"architecture": (8, 0)}, r"hidden_layer_sizes.*1 or more.*0"),
        ({"architecture": MLP((8,), activation="swish")}, r"activation must be one of.*'swish'"),
        ({"net_params": {"optimizer__lr": 1.0}}, r"net_params.*learning_rate instead of 'optimizer__lr'"),
        ({"net_params": {"iterator_train": None}}, r"net_params.*'iterator_train'.*no effect"),
        ({"callbacks": [EpochScoring("r2")]}, r"callbacks.*EpochScoring"),
        ({"device": "abacus"}, r"device must be .*cpu.*got 'abacus'"),
    ],
)
def test_refused_parameters_are_named_with_bound_and_value(options, message):
    model = make(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(low_rank())
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"likelihood": "bernoulli"}, r"likelihood='bernoulli'.*gaussian likelihood"),
        ({"likelihood": Poisson()}, r"likelihood=Poisson\(\)"),
        ({"architecture": MLP((8,), code_activation="tanh")}, r"'tanh'.*linear"),
        ({"sparsity": 1.0, "sparsity_target": 0.1}, r"'sigmoid'.*linear"),
    ],
)
def test_pca_is_refused_as_a_start_with_the_reason(options, reason):
    with pytest.raises(ValueError, match=rf"init='pca' cannot be combined with .*{reason}.*init='auto' or 'random'"):
        make(init="pca", **options).fit(rows_for("bernoulli"))
    make(init="auto", **options).fit(rows_for("bernoulli"))


@pytest.mark.parametrize("method", ["fit", "score_samples"])
@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        ("bernoulli", 1.5, r"\[0, 1\].*1\.5"),
        ("poisson", -1.0, "0 or more.*-1"),
        ("multinomial", 0.5, r"integer-valued.*0\.5"),
    ],
)
def test_rows_that_a_likelihood_cannot_have_are_refused(likelihood, value, message, method):
    X = rows_for(likelihood)
    model = make(2, likelihood=likelihood).fit(X)
    X[2, 1] = value
    with pytest.raises(ValueError, match=rf"likelihood='{likelihood}'.*{message}"):
        getattr(model, method)(X)


@pytest.mark.parametrize("n_columns", [1, 3])
def test_codes_of_another_length_are_refused(n_columns):
    with pytest.raises(ValueError, match=rf"X must have n_components=2 columns.* got {n_columns}"):
        make(2).fit(low_rank()).inverse_transform(np.zeros((4, n_columns)))


# -- failures


class Failing(Callback):
    def on_epoch_end(self, net, **kwargs):
        if net.history[-1, "epoch"] == 2:
            raise ZeroDivisionError


def spoiled(X):
    X = X.copy()
    X[0, 0] = np.nan
    return X


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "failure",
    ["nan", "too large", "likelihood", "device", "scoring", "callback", "net_params", "optimizer"],
)
def test_a_refit_that_fails_leaves_it_unfitted(failure, early_stopping):
    X = low_rank()
    model = make(2, early_stopping=early_stopping).fit(X)
    rows = X
    if failure == "nan":
        rows = spoiled(X)
    elif failure == "too large":
        rows = X * 1e300
    elif failure == "likelihood":
        model.set_params(likelihood="poisson")
    elif failure == "device":
        model.set_params(device="abacus")
    elif failure == "scoring":
        model.set_params(callbacks=[EpochScoring("r2")])
    elif failure == "callback":
        model.set_params(callbacks=[Failing()])
    elif failure == "net_params":
        model.set_params(net_params={"lr": 1})
    elif failure == "optimizer":
        model.set_params(net_params={"optimizer__bogus": 1})
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        model.fit(rows)
    if failure == "net_params":
        return  # refused before anything was touched: the old fit may stand
    for call in (model.transform, model.reconstruct, model.score_samples):
        with pytest.raises(NotFittedError):
            call(X)
    model.set_params(**make(2, early_stopping=early_stopping).get_params()).fit(X)  # and it can be fitted again
    assert model.transform(X).shape == (len(X), 2)


class CtrlC(Callback):
    """Ctrl-C arrives in some code that training calls, in the middle of an epoch."""

    def __init__(self, batch):
        self.batch = batch

    def initialize(self):
        self.seen_ = 0
        return self

    def on_grad_computed(self, net, **kwargs):
        self.seen_ += 1
        if self.seen_ == self.batch:
            self.arrive()

    @staticmethod
    def arrive():
        raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("n_rows", "batch"), [(200, 2), (200, 20), (1200, 2), (1200, 50)])
def test_ctrl_c_comes_out_and_leaves_a_model(early_stopping, n_rows, batch):
    """In the first epoch, or later; in the folds, or in the one training."""
    X = low_rank(n_rows)
    model = make(2, max_iter=10, callbacks=[CtrlC(batch)], early_stopping=early_stopping)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert np.isfinite(model.reconstruct(X)).all()
    assert model.n_iter_ == len(model.loss_curve_) < 10
    assert model.linear_ in (False, True)
    assert np.isfinite(model.reconstruction_err_)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_rows", [20, 200, 1200])
@pytest.mark.parametrize("init", ["pca", "random"])
def test_a_loss_that_is_not_finite_leaves_a_finite_model_and_a_warning(early_stopping, n_rows, init):
    X = low_rank(n_rows)
    model = make(2, init=init, learning_rate=1e30, learning_rate_schedule="constant", early_stopping=early_stopping)
    with pytest.warns(ConvergenceWarning, match=r"not finite in epoch \d+ with learning_rate=1e\+30"):
        model.fit(X)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.reconstruct(X)).all()
    assert np.isfinite(model.score_samples(X)).all()


# -- odd shapes


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize(
    ("shape", "n_components"),
    [((50, 3), 7), ((10, 40), 3), ((10, 40), 25), ((1, 4), 2), ((2, 4), 2), ((2, 1), 1), ((60, 1), 3), ((41, 5), 2)],
)
def test_odd_shapes(shape, n_components, init, early_stopping):
    X = np.random.default_rng(0).normal(size=shape) * 5 + 3
    model = make(n_components, init=init, early_stopping=early_stopping).fit(X)
    assert model.transform(X).shape == (shape[0], n_components)
    assert model.reconstruct(X).shape == shape
    assert model.score_samples(X).shape == (shape[0],)
    assert np.isfinite(model.score_samples(X)).all()
    assert len(model.get_feature_names_out()) == n_components


@pytest.mark.parametrize("n_components", [3, 7])
def test_as_many_codes_as_features_leave_no_error_at_the_start(n_components):
    X = low_rank(50, 3, noise=1.0)
    model = make(n_components, early_stopping=True, max_iter=1).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-4)


def test_codes_beyond_the_rank_start_at_zero():
    X = low_rank(50, 6, rank=2, noise=0.0)
    codes = make(4, architecture=(), learning_rate=1e-12, max_iter=1).fit(X).transform(X)
    assert np.abs(codes[:, :2]).max() > 0.1
    np.testing.assert_allclose(codes[:, 2:], 0.0, atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_row(likelihood):
    X = rows_for(likelihood)[:1]
    model = make(2, likelihood=likelihood).fit(X)
    assert np.isfinite(model.score(X))


def test_constant_rows():
    X = np.full((50, 3), 0.1)
    model = make(2, early_stopping=True).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-2)
    away = X.copy()
    away[0, 0] += 0.001
    assert -0.1 < model.score(away) <= 0
    assert np.abs(model.transform(away)).max() < 1


@pytest.mark.parametrize("unit", [1024.0, 2.0**-30])
def test_the_unit_changes_no_bit_of_the_codes(unit):
    X = low_rank()
    options = {"architecture": (16,), "max_iter": 5, "noise": 0.1, "sparsity": 0.01}
    one, other = make(2, **options).fit(X), make(2, **options).fit(unit * X)
    np.testing.assert_array_equal(one.transform(X), other.transform(unit * X))
    np.testing.assert_array_equal(unit * one.reconstruct(X), other.reconstruct(unit * X))
    np.testing.assert_array_equal(unit**2 * one.score_samples(X), other.score_samples(unit * X))


def test_held_out_rows_touch_nothing_that_is_fitted():
    """One split: spoiling the rows that are held out changes neither centre nor scale nor the start."""
    X = curve(1200)
    options = {"architecture": (16,), "max_iter": 1, "early_stopping": True, "init": "random", "learning_rate": 1e-9}
    chosen = []

    class Split(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            chosen.append(X.index.numpy())

    model = make(1, **options, callbacks=[Split()]).fit(X)
    held_out = np.setdiff1d(np.arange(len(X)), chosen[0])
    assert len(held_out) == 120
    spoiled = X.copy()
    spoiled[held_out] *= 7
    other = make(1, **options).fit(spoiled)
    for code in ([[0.0]], [[1.0]]):
        np.testing.assert_array_equal(other.inverse_transform(code), model.inverse_transform(code))
    np.testing.assert_array_equal(other.transform(X), model.transform(X))


def test_scores_of_large_float32_rows_are_finite():
    rows = (np.random.default_rng(0).standard_normal((60, 4)) * 1e20).astype(np.float32)
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=1, random_state=0).fit(rows)
    assert model.score(rows) == pytest.approx(-model.reconstruction_err_, rel=1e-3)
    assert np.isfinite(model.score_samples(rows)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"likelihood": Bernoulli(binarize="dynamic")}, "binarize must be False in a model without a density"),
        ({"net_params": {"compile__mode": "default"}}, "no effect without 'compile'"),
    ],
)
def test_what_has_no_effect_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(1, **params).fit(np.random.default_rng(0).random((30, 3)))


def test_rows_of_any_kind_of_list():
    images = np.random.default_rng(0).random((12, 3, 4))
    model = AutoencoderTransformer(2, architecture=(4,), max_iter=1, random_state=0).fit(images)
    expected = model.transform(images)
    for form in (images.tolist(), list(images), images[:, None], images.reshape(12, 12)):
        np.testing.assert_array_equal(model.transform(form), expected)
    with pytest.raises(ValueError, match="was fitted, got rows of shape"):
        model.transform(images.swapaxes(1, 2))
    series = pd.Series(list(images[:, 0]))
    np.testing.assert_array_equal(
        clone(model).fit(series).transform(series), clone(model).fit(images[:, 0]).transform(images[:, 0])
    )
