"""What a variational autoencoder draws, under which priors and likelihoods, and what it refuses."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sk_autoenc import (
    MLP,
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMixturePrior,
    NormalPrior,
    Recurrent,
    SwissRollPrior,
    load,
    save,
)
from sk_autoenc.estimators import vae
from tests.data_sets import D, K, clustered_rows, linear_rows
from tests.data_sets import make_vae as make

X = linear_rows(300)


@pytest.fixture(scope="module")
def model():
    return make(max_iter=2).fit(X)


@pytest.fixture(scope="module")
def clusters():
    """The same training under both named priors; and its rows."""
    rows = clustered_rows(400)
    same = {"n_components": 1, "likelihood": Gaussian("feature"), "max_iter": 10}
    return {prior: make(**same, prior=prior).fit(rows) for prior in ("normal", "gaussian_mixture")}, rows


# -- draws


def test_draws_are_those_of_the_seed(model):
    np.testing.assert_array_equal(model.sample(7, random_state=3), model.sample(7, random_state=3))
    assert (model.sample(7, random_state=3) != model.sample(7, random_state=4)).all()
    assert (model.sample(7) != model.sample(7)).all()
    state = np.random.RandomState(3)
    first, second = model.sample(7, random_state=state), model.sample(7, random_state=state)
    np.testing.assert_array_equal(first, model.sample(7, random_state=3))
    assert (first != second).all()
    assert model.sample().shape == (1, D)
    assert len(np.unique(model.sample(2000, random_state=0)[:, 0])) > 1990  # across blocks, too


def test_drawing_touches_no_global_generator(model):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - it is the matter
    model.sample(3, random_state=0)
    model.score_samples(X[:3])
    model.interpolate(X[0], X[1])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002 - it is the matter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_have_the_dtype_of_the_rows(dtype):
    model = make(max_iter=1).fit(X.astype(dtype))
    for rows in (model.sample(3), model.sample(3, mean=True), model.interpolate(*X[:2].astype(dtype))):
        assert rows.dtype == dtype


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_draws_are_data_frames_where_output_is(library):
    names = [f"column {i}" for i in range(D)]
    model = make(max_iter=1).fit(pd.DataFrame(X, columns=names)).set_output(transform=library)
    for rows in (model.sample(3), model.sample(3, mean=True)):
        assert type(rows).__module__.startswith(library)
        assert list(rows.columns) == names
        assert rows.shape == (3, D)
    np.testing.assert_array_equal(
        model.sample(3, random_state=0), model.set_output(transform="default").sample(3, random_state=0)
    )


@pytest.mark.parametrize(("variance", "noise"), [("shared", np.full(D, 0.3)), ("feature", np.full(D, 0.3))])
def test_moments_of_draws_are_those_of_the_linear_model(variance, noise):
    rows = linear_rows(3000, noise)
    model = make(likelihood=Gaussian(variance), max_iter=1).fit(rows)
    assert model.linear_
    covariance = PCA(K).fit(rows).get_covariance()
    drawn = model.sample(20_000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.12)
    means = model.sample(20_000, random_state=0, mean=True)  # without the noise: the loadings alone
    np.testing.assert_allclose(np.cov(means.T), covariance - 0.3 * np.eye(D), atol=0.12)


def test_means_are_decoded_codes(model):
    """Rows without noise lie in the plane that the decoder spans."""
    plane = PCA(K).fit(model.inverse_transform(np.random.default_rng(0).normal(size=(50, K))))
    means = model.sample(20, random_state=0, mean=True)
    np.testing.assert_allclose(plane.inverse_transform(plane.transform(means)), means, atol=1e-4)


def test_a_walk_between_two_rows_ends_at_their_reconstructions(model):
    walk = model.interpolate(X[0], X[1], n_steps=5)
    np.testing.assert_allclose(walk[[0, -1]], model.reconstruct(X[:2]), atol=1e-6)
    middle = model.transform(X[:2]).mean(0, keepdims=True)
    np.testing.assert_allclose(walk[2:3], model.inverse_transform(middle), atol=1e-6)
    assert model.interpolate(X[0], X[1]).shape == (10, D)


def test_a_walk_goes_by_the_names_of_columns():
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(D)])
    model = make(max_iter=1).fit(frame)
    expected = model.interpolate(X[0], X[1])
    for a, b in ((frame.iloc[0], frame.iloc[1]), (frame[:1], frame[1:2])):
        np.testing.assert_array_equal(model.interpolate(a, b), expected)
    turned = frame[frame.columns[::-1]]
    for a, b in ((frame.iloc[0], turned.iloc[1]), (turned[:1], frame[1:2])):
        with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
            model.interpolate(a, b)
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- other"):
        model.interpolate(X[0], frame.iloc[1].rename({"column 1": "other"}))


# -- likelihoods


def test_dynamic_binarisation_trains_on_grey_and_scores_zeros_and_ones():
    rng = np.random.default_rng(0)
    grey = np.clip(0.5 + 0.4 * np.sign(rng.normal(size=(300, 1))) * [1, 1, -1] + 0.05 * rng.normal(size=(300, 3)), 0, 1)
    model = make(1, likelihood=Bernoulli(binarize="dynamic"), early_stopping=False, max_iter=40).fit(grey)
    for method in (model.score_samples, model.score, model.elbo):
        with pytest.raises(ValueError, match=r"binarize='dynamic'.*zeros and ones"):
            method(grey)
    binary = (rng.random(grey.shape) < grey).astype(float)
    np.testing.assert_array_equal(np.unique(model.sample(50, random_state=0)), [0.0, 1.0])
    # Three independent columns have 3 log 2 = 2.08 nats; two modes with shares of 0.9, kept apart, 1.51 on average.
    assert -2.0 < model.score(binary) < -1.45
    assert model.transform(grey).shape == (300, 1)


def test_codes_of_grey_rows_are_those_of_their_draws():
    """At the grey values themselves, between all that the encoder was trained on, the KL would be 0.3 nats, not 0.5."""
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.choice([0.25, 0.75], size=(400, 1)), 6, axis=1)
    model = make(1, likelihood=Bernoulli(binarize="dynamic"), early_stopping=False, prior="normal", max_iter=25).fit(
        grey
    )
    binary = (rng.random(grey.shape) < grey).astype(float)
    assert model.kl_per_component_.sum() == pytest.approx(model.elbo(binary).kl.mean(), rel=0.1)


def test_codes_go_beyond_the_grey_values_of_training():
    """What is drawn for these are zeros and ones, which an encoder held to the range of the rows would not tell."""
    grey = np.random.default_rng(0).uniform(0.4, 0.6, size=(50, 3))
    model = make(1, likelihood=Bernoulli(binarize="dynamic"), early_stopping=False, max_iter=1).fit(grey)
    codes = model.transform(np.array([[0.0], [0.4], [0.6], [1.0]]).repeat(3, axis=1))
    assert len(np.unique(codes)) == 4


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_dynamic_binarisation_draws_anew_at_every_step():
    """Steps of no length: without draws the KL stays what it was."""
    grey = np.random.default_rng(0).uniform(0.3, 0.7, size=(64, 3))
    same = {"n_components": 1, "init": "random", "learning_rate": 1e-12, "early_stopping": False, "max_iter": 4}
    drawn, still = (
        make(**same, likelihood=Bernoulli(binarize=binarize)).fit(grey).loss_curves_["kl"]
        for binarize in ("dynamic", False)
    )
    assert len(set(drawn)) == 4
    np.testing.assert_allclose(still, still[0], rtol=1e-6)


def test_categories_there_and_back():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, size=400)
    rows = np.stack([first, (first + 1) % 3, first == 2], axis=1).astype(float)
    model = make(likelihood=Categorical(), early_stopping=False, max_iter=60, learning_rate=0.02).fit(rows)
    assert (model.reconstruct(rows) == rows).mean() > 0.95
    assert set(np.unique(model.inverse_transform(model.transform(rows)))) <= {0.0, 1.0, 2.0}
    drawn = model.sample(300, random_state=0)
    assert set(map(tuple, drawn)) <= {(a, b, c) for a in range(3) for b in range(3) for c in range(2)}
    assert (drawn[:, 1] == (drawn[:, 0] + 1) % 3).mean() > 0.7
    with pytest.raises(ValueError, match="column 2 of X must have categories from 0 to 1, got 2"):
        model.score(np.full((1, 3), 2.0))


def test_counts_are_drawn_as_counts():
    rng = np.random.default_rng(0)
    rows = rng.poisson(np.exp(rng.normal(size=(300, 1)) * [0.5, -0.5, 0.2] + [1, 2, 0])).astype(float)
    poisson = make(1, likelihood="poisson", early_stopping=False).fit(rows)
    drawn = poisson.sample(2000, random_state=0)
    assert (drawn >= 0).all()
    np.testing.assert_array_equal(drawn, np.floor(drawn))
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), rtol=0.15)

    multinomial = make(1, likelihood="multinomial", early_stopping=False).fit(rows)
    drawn = multinomial.sample(2000, random_state=0)
    np.testing.assert_array_equal(drawn.sum(1), np.median(rows.sum(1)))
    np.testing.assert_allclose(drawn.mean(0) / drawn.mean(0).sum(), rows.mean(0) / rows.mean(0).sum(), atol=0.05)
    np.testing.assert_allclose(multinomial.sample(5, mean=True).sum(1), 1.0, rtol=1e-5)


# -- priors


def test_a_mixture_fitted_to_codes_scores_clustered_rows_higher(clusters):
    (models, rows), held_out = clusters, clustered_rows(400, seed=1)
    np.testing.assert_array_equal(*(model.transform(rows) for model in models.values()))  # training is the same
    assert isinstance(models["gaussian_mixture"].prior_, GaussianMixturePrior)
    assert len(models["gaussian_mixture"].prior_.means) >= 2
    gain = models["gaussian_mixture"].score_samples(held_out) - models["normal"].score_samples(held_out)
    assert gain.mean() > 0.3


def test_by_default_the_simpler_prior_of_those_that_fit():
    assert isinstance(make(1, max_iter=10).fit(clustered_rows(400)).prior_, GaussianMixturePrior)
    noise = np.random.default_rng(0).normal(size=(400, 4)) * [1.0, 2.0, 3.0, 4.0]
    linear = make(likelihood=Gaussian("shared"), max_iter=2).fit(noise)
    assert linear.linear_
    assert isinstance(linear.prior_, NormalPrior)
    np.testing.assert_allclose(linear.score(noise), PCA(2).fit(noise).score(noise), atol=1e-3)


def test_a_mixture_is_fitted_to_so_many_codes_at_most(monkeypatch):
    seen = []
    monkeypatch.setattr(vae, "_MOST_CODES", 150)
    monkeypatch.setattr(vae, "fitted_mixture", lambda codes, *args, **options: seen.append(codes))
    for n_rows in (100, 400):
        make(1, early_stopping=False, max_iter=1).fit(clustered_rows(n_rows))
    assert [len(codes) for codes in seen] == [100, 150]
    assert len(np.unique(seen[1])) == 150


def test_a_chunk_says_nothing_about_the_prior():
    model = make(1).partial_fit(clustered_rows(400))
    assert isinstance(model.prior_, NormalPrior)
    fitted = make(1, max_iter=10).fit(clustered_rows(400))
    prior = fitted.prior_
    assert fitted.partial_fit(clustered_rows(50)).prior_ is prior
    assert len(make(1, prior="gaussian_mixture").partial_fit(clustered_rows(400)).prior_.means) > 1


def test_a_mixture_fitted_to_codes_draws_in_the_clusters(clusters):
    models, rows = clusters
    between = {name: (np.abs(m.sample(1000, random_state=0)[:, 0]) < 1.2).mean() for name, m in models.items()}
    assert (np.abs(rows[:, 0]) < 1.2).mean() < 0.01
    assert between["gaussian_mixture"] < 0.05 < 0.15 < between["normal"]


@pytest.mark.parametrize(
    "prior", [NormalPrior(), NormalPrior(3.0, n_components=1), GaussianMixturePrior([[-2.0], [2.0]], 0.3)]
)
def test_prior_objects(prior):
    """Codes are trained to follow it, and it weighs codes in the score."""
    rows = clustered_rows(300)
    model = make(1, prior=prior, early_stopping=False, max_iter=60).fit(rows)
    assert type(model.prior_) is type(prior)
    assert model.prior_ is not prior
    mean, std = model.posterior(rows)
    drawn = model.prior_.sample(20_000, torch.Generator().manual_seed(0)).numpy()
    assert np.sqrt((mean**2 + std**2).mean()) == pytest.approx(np.sqrt((drawn**2).mean()), rel=0.25)
    assert model.score(rows) > -4.0  # 0.3 × 3 nats of noise, log 2 for the cluster, and what is not learned
    assert (model.elbo(rows, n_samples=4096).total <= model.score_samples(rows, n_samples=4096)).all()


class Shifted:
    """Somebody else's prior: a normal distribution around 5."""

    def sample(self, n, generator):
        return 5 + torch.randn(n, 1, generator=generator)

    def log_prob(self, code):
        return torch.distributions.Normal(5.0, 1.0).log_prob(code).sum(-1)


def test_any_prior_with_a_density():
    model = make(1, prior=Shifted(), early_stopping=False, max_iter=40).fit(clustered_rows(300))
    assert model.transform(clustered_rows(300)).mean() == pytest.approx(5, abs=0.7)


# -- what users are told


def test_collapse_is_told_by_a_warning():
    noise = np.random.default_rng(0).normal(size=(300, 4))
    with pytest.warns(ConvergenceWarning, match=r"Codes have collapsed.*free_bits.*smaller beta than 3"):
        model = make(init="random", beta=3.0, early_stopping=False, max_iter=20).fit(noise)
    assert model.kl_per_component_.shape == (2,)
    assert (model.kl_per_component_ < 0.01).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert (make(max_iter=2).fit(X).kl_per_component_ > 0.1).all()


@pytest.mark.parametrize(
    "prior", [NormalPrior(), NormalPrior(4.0), GaussianMixturePrior([[-1.0, 0.0], [1.0, 0.0]])], ids=str
)
def test_collapse_is_told_whatever_the_prior(prior):
    noise = np.random.default_rng(0).normal(size=(300, 4))
    with pytest.warns(ConvergenceWarning, match=r"Codes have collapsed.*try n_warmup_epochs, or a smaller beta than 3"):
        model = make(beta=3.0, prior=prior, early_stopping=False, max_iter=40, learning_rate=0.02).fit(noise)
    assert (model.kl_per_component_ < 0.1).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prior": "swiss_roll"}, "prior must be 'auto', 'normal', 'gaussian_mixture' or an object, got 'swiss_roll'"),
        ({"prior": 3}, r"prior must be a name or an object with sample\(n, generator\), got 3"),
        ({"prior": SwissRollPrior()}, r"prior must have log_prob for a density, got SwissRollPrior\(\)"),
        ({"prior": NormalPrior(n_components=3)}, r"shape \(2, 2\).*n_components=2, got \(2, 3\)"),
        ({"free_bits": 0.5, "n_importance_samples": 2}, r"free_bits must be 0 .*n_importance_samples=1.*got 0.5"),
        ({"free_bits": 0.5, "prior": NormalPrior()}, "free_bits must be 0 unless the prior is given by name.*got 0.5"),
        ({"init": "pca", "prior": NormalPrior()}, r"init='pca'.*prior=NormalPrior\(\)"),
        ({"init": "pca", "likelihood": "poisson"}, "init='pca'.*likelihood='poisson'"),
        ({"architecture": MLP((4,), code_activation="relu")}, "code_activation must be 'identity'.*'relu'"),
        ({"beta": -0.5}, r"'beta' .*must be a float in the range \[0.* Got -0.5"),
        ({"n_importance_samples": 0}, r"'n_importance_samples' .*\[1.* Got 0"),
        ({"n_warmup_epochs": -1}, r"'n_warmup_epochs' .*\[0.* Got -1"),
        ({"free_bits": -1}, r"'free_bits' .*\[0.* Got -1"),
        ({"n_score_samples": 0}, r"'n_score_samples' .*\[1.* Got 0"),
        ({"likelihood": Gaussian(-1.0)}, "variance must be a name or a number above 0, got -1.0"),
    ],
)
def test_errors_name_parameter_and_value(params, message):
    with pytest.raises(ValueError, match=message):
        make(**params).fit(X)


def test_methods_name_what_is_out_of_range(model):
    for method in (model.sample, lambda n: model.score_samples(X, n), lambda n: model.elbo(X, n)):
        with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
            method(0)
    with pytest.raises(ValueError, match="n_steps must be at least 2, got 1"):
        model.interpolate(X[0], X[1], 1)


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
@pytest.mark.parametrize("likelihood", ["poisson", "multinomial"])
def test_what_to_do_about_an_infinite_loss_goes_for_counts_too(likelihood):
    """These cannot be scaled."""
    counts = np.random.default_rng(0).poisson(3.0, size=(50, 3))
    with pytest.warns(ConvergenceWarning, match="Try a smaller learning_rate, or look for extreme values in X"):
        make(likelihood=likelihood, learning_rate=1e36, n_warmup_epochs=0, early_stopping=False, max_iter=3).fit(counts)


@pytest.mark.parametrize("variance", ["row", "feature", "shared"])
def test_raw_tables_give_finite_numbers(variance):
    """Units from 1e-6 to 1e6, long tails, a constant and a copied column; and rows far from all of them."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(120, 6)) * [1e6, 1e-6, 1, 1, 0, 1] + [1e6, 0, 5, 0, 7, 0]
    raw[:, 3] = rng.standard_cauchy(120)
    raw[:, 5] = raw[:, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make(likelihood=Gaussian(variance), max_iter=5).fit(raw)
    for rows in (raw, 1e6 * raw[:5]):
        for values in (model.transform(rows), model.reconstruct(rows), model.score_samples(rows), *model.elbo(rows)):
            assert np.isfinite(values).all()
    assert np.isfinite(model.sample(100, random_state=0)).all()


@pytest.mark.parametrize("name", ["normal", "gaussian_mixture"])
def test_models_are_kept_whole(clusters, name, tmp_path):
    """A pickle and a file: scores, draws and the fitted prior."""
    models, rows = clusters
    save(models[name], tmp_path / "model")
    for kept in (pickle.loads(pickle.dumps(models[name])), load(tmp_path / "model")):
        np.testing.assert_array_equal(kept.score_samples(rows), models[name].score_samples(rows))
        np.testing.assert_array_equal(kept.sample(5, random_state=0), models[name].sample(5, random_state=0))
        np.testing.assert_array_equal(kept.kl_per_component_, models[name].kl_per_component_)


def test_likelihood_and_prior_are_searched_by_the_score():
    grid = {"prior": ["normal", "gaussian_mixture"], "beta": [1.0, 0.5], "likelihood__variance": ["feature", "shared"]}
    search = GridSearchCV(make(1, likelihood=Gaussian(), max_iter=2), grid, cv=2).fit(clustered_rows(90))
    assert search.best_params_["prior"] == "gaussian_mixture"
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_ends_of_a_walk_may_be_frames_where_rows_have_axes():
    rows = np.random.default_rng(0).normal(size=(50, 2, 8))
    model = make(init="random", max_iter=1).fit(rows)
    between = model.interpolate(pd.DataFrame(rows[0]), pd.DataFrame(rows[1]), 3)
    np.testing.assert_array_equal(between, model.interpolate(rows[0], rows[1], 3))


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
@pytest.mark.parametrize(
    ("likelihood", "architecture"),
    [
        *[(name, (4,)) for name in ("gaussian", "student_t", "bernoulli", "poisson", "multinomial", "categorical")],
        ("categorical", Recurrent(hidden_size=4)),
        ("categorical", Recurrent(hidden_size=4, unequal_lengths=True)),
    ],
    ids=str,
)
def test_every_likelihood_has_a_bound_and_takes_one_code(likelihood, architecture):
    rows = np.random.default_rng(0).integers(0, 2, (40, 4)).astype(float)
    model = make(1, likelihood=likelihood, architecture=architecture, n_warmup_epochs=0, max_iter=2).fit(rows)
    assert model.elbo(rows).total.mean() <= model.score(rows) + 1e-6
    assert np.isfinite(model.score_samples(rows, n_samples=1)).all()
