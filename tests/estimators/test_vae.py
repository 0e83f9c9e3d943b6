"""The variational autoencoder in closed form: bounds by hand, scores of linear models, integrals over the code."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA, FactorAnalysis
from skorch.callbacks import Callback
from torch.distributions import Normal, kl_divergence

from sk_autoenc import (
    MLP,
    AutoencoderTransformer,
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMixturePrior,
    NormalPrior,
    UniformPrior,
    VAETransformer,
)
from sk_autoenc.base.density import kl_per_component
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.estimators.vae import negative_elbo, negative_importance_bound
from sk_autoenc.nn.variational import Posterior, VariationalOutput
from tests.data_sets import NOISE, D, K, curved_rows, linear_rows
from tests.data_sets import make_vae as make

X_CURVED = curved_rows(400)


@pytest.fixture(scope="module")
def curved():
    """A model whose posterior is not exact, with one component, over which sums can stand for integrals."""
    return make(1, prior="normal", init="random", early_stopping=False, beta=0.7, max_iter=40).fit(X_CURVED)


def joint_on_a_grid(model, X):
    """Codes, log p(x|z) in the units of X and log q(z|x), on a grid of codes; each of shape (n_codes, n_rows)."""
    module, x = model.net_.module_, torch.from_numpy(model._data.to_network(X))
    codes = torch.linspace(-9, 9, 3001)[:, None, None]
    with torch.no_grad():
        log_likelihood = module.likelihood.log_prob(module.observe(codes.expand(-1, len(x), 1)), x).double().numpy()
    mean, std = model.posterior(X)
    codes = codes[:, :, 0].double().numpy()
    return (
        codes,
        log_likelihood - np.log(model._data.scaling.scale).sum(),
        stats.norm(mean[:, 0], std[:, 0]).logpdf(codes),
    )


# -- the bounds on tiny numbers

POSTERIOR = Posterior(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.log(torch.tensor([[1.0, 0.5], [0.1, 2.0]])))


def test_the_elbo_by_hand():
    """KL of N(1, 0.5^2) from N(0, 1): (1 + 0.25 - 1) / 2 + log 2, and so on; summed, neither averaged nor cut."""
    kl = np.array([0.0 + 0.125 + np.log(2), (4 + 0.01 - 1) / 2 + np.log(10) + 2.0 - np.log(2)])
    output = VariationalOutput(POSTERIOR, torch.tensor([-3.0, -4.0]), None)
    terms = negative_elbo(output, None, beta=1.0, free_bits=0.0)
    assert terms["reconstruction"].tolist() == [3.0, 4.0]
    np.testing.assert_allclose(terms["kl"], kl, rtol=1e-6)
    expected = kl_divergence(Normal(POSTERIOR.mean, POSTERIOR.log_scale.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(terms["kl"], expected)
    weighted = negative_elbo(output, None, beta=3.0, free_bits=0.0, kl_weight=torch.tensor(0.5))
    np.testing.assert_allclose(weighted["kl"], 1.5 * kl, rtol=1e-6)


def test_free_bits_by_hand():
    """A component counts its mean KL over the batch, but a minimum at least, below which it has no gradient."""
    log_scale = POSTERIOR.log_scale.clone().requires_grad_()
    output = VariationalOutput(Posterior(POSTERIOR.mean, log_scale), torch.zeros(2), None)
    by_component = output.posterior.kl_from_normal().mean(0).tolist()
    minimum = by_component[1] + 0.3
    assert minimum < by_component[0]
    term = negative_elbo(output, None, beta=2.0, free_bits=minimum)["kl"]
    assert term.shape == ()
    assert term.item() == pytest.approx(2 * (by_component[0] + minimum))
    term.backward()
    assert (log_scale.grad[:, 1] == 0).all()
    assert (log_scale.grad[:, 0] != 0).any()


LOG_LIKELIHOOD = torch.tensor([[-1.0, -2.0], [-3.0, -2.5], [-0.5, -7.0]])  # three draws for each of two rows
LOG_RATIO = torch.tensor([[-0.5, 0.2], [0.1, -1.0], [-2.0, 0.3]])


@pytest.mark.parametrize(("beta", "warmth"), [(1.0, 1.0), (2.0, 1.0), (2.0, 0.25)])
def test_the_importance_bound_by_hand(beta, warmth):
    output = VariationalOutput(POSTERIOR, LOG_LIKELIHOOD, LOG_RATIO)
    terms = negative_importance_bound(output, None, beta=beta, kl_weight=warmth)
    weights = np.exp(LOG_LIKELIHOOD.numpy() + beta * warmth * LOG_RATIO.numpy())
    np.testing.assert_allclose(sum(terms.values()), -np.log(weights.mean(0)), rtol=1e-6)  # the mean has the -log K
    picked = (weights / weights.sum(0) * LOG_LIKELIHOOD.numpy()).sum(0)
    np.testing.assert_allclose(terms["reconstruction"], -picked, rtol=1e-6)
    elbo = (LOG_LIKELIHOOD + beta * warmth * LOG_RATIO).mean(0)
    assert (-sum(terms.values()) > elbo).all()


def test_the_importance_bound_weighs_gradients_by_normalised_weights():
    log_likelihood = LOG_LIKELIHOOD.clone().requires_grad_()
    output = VariationalOutput(POSTERIOR, log_likelihood, LOG_RATIO)
    sum(negative_importance_bound(output, None, beta=1.0).values()).sum().backward()
    torch.testing.assert_close(-log_likelihood.grad, (LOG_LIKELIHOOD + LOG_RATIO).softmax(0))


def test_a_draw_that_makes_the_row_impossible_has_no_weight():
    output = VariationalOutput(POSTERIOR, torch.tensor([[-1.0], [-torch.inf]]), torch.zeros(2, 1))
    terms = negative_importance_bound(output, None, beta=1.0)
    assert terms["reconstruction"].item() == 1.0
    assert terms["kl"].item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("n_draws", [1, 3])
def test_a_training_step_by_hand(n_draws):
    """Codes are mean + std * noise; the likelihood has its variance; the ratio is that of the densities of codes."""
    model = make(n_importance_samples=n_draws, init="random", max_iter=2).fit(linear_rows(50))
    module, x = model.net_.module_, torch.from_numpy(model._data.to_network(linear_rows(9, seed=3)))
    with torch.no_grad():
        output = module(x, torch.Generator().manual_seed(7), n_draws=n_draws)
        shape = (9, K) if n_draws == 1 else (n_draws, 9, K)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(7))
        mean, log_scale = module.encoder(x).chunk(2, -1)
        code = mean + log_scale.exp() * noise
        said = module.observe(code)
    std = said.log_scale.exp().numpy()
    np.testing.assert_allclose(output.log_likelihood, stats.norm(said.location, std).logpdf(x).sum(-1), rtol=1e-4)
    if n_draws > 1:
        ratio = stats.norm.logpdf(code).sum(-1) - stats.norm(mean, log_scale.exp()).logpdf(code).sum(-1)
        np.testing.assert_allclose(output.log_ratio, ratio, rtol=1e-4, atol=1e-4)


# -- training


def test_the_kl_is_positive_and_moves_the_encoder():
    model = make(init="random", early_stopping=False, max_iter=60).fit(linear_rows(300))
    assert (model.kl_per_component_ > 0.1).all()
    module, x = model.net_.module_.train(), torch.from_numpy(model._data.to_network(linear_rows(64)))
    negative_elbo(module(x, torch.Generator()), Batch(x), beta=1.0, free_bits=0.0)["kl"].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.encoder.parameters())


def test_kl_per_component_is_that_of_the_posteriors():
    X = linear_rows(300)
    model = make(init="random", early_stopping=False, max_iter=3).fit(X)
    mean, std = (torch.from_numpy(part) for part in model.posterior(X))
    np.testing.assert_allclose(
        model.kl_per_component_, kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).mean(0), rtol=1e-5
    )


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_kl_per_component_is_that_from_the_prior_of_training(scale):
    X = linear_rows(300)
    still = {"init": "random", "early_stopping": False, "max_iter": 1, "learning_rate": 1e-12}
    model, plain = make(**still, prior=NormalPrior(scale)).fit(X), make(**still, prior="normal").fit(X)
    mean, std = (torch.from_numpy(part) for part in model.posterior(X))
    expected = kl_divergence(Normal(mean, std), Normal(0.0, scale)).mean(0)
    np.testing.assert_allclose(model.kl_per_component_, expected, rtol=1e-4)
    if scale == 1:
        np.testing.assert_array_equal(model.kl_per_component_, plain.kl_per_component_)


def test_kl_per_component_from_the_moments_of_codes():
    """What stands for priors that have no components: by the definition of the divergence."""
    generator = torch.Generator().manual_seed(0)
    mean, std = 5 + 3 * torch.randn(50, 2, generator=generator), 0.1 + torch.rand(50, 2, generator=generator)
    matched = Normal(mean.mean(0), (mean.var(0, correction=0) + std.square().mean(0)).sqrt())
    found = kl_per_component(Posterior(mean, std.log()), GaussianMixturePrior([[0.0, 0.0]]))
    np.testing.assert_allclose(found, kl_divergence(Normal(mean, std), matched).mean(0), rtol=1e-4)
    one = Posterior(mean[:1].expand(9, 2), std[:1].log().expand(9, 2))
    np.testing.assert_allclose(kl_per_component(one, GaussianMixturePrior([[0.0, 0.0]])), 0.0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_beta_weighs_the_kl():
    kl = [
        make(init="random", early_stopping=False, beta=beta).fit(linear_rows(300)).kl_per_component_.sum()
        for beta in (0.2, 5.0)
    ]
    assert kl[0] > kl[1] + 1.0


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_free_bits_keep_components_alive():
    X = np.random.default_rng(0).normal(size=(300, D))
    same = {"init": "random", "early_stopping": False, "max_iter": 40}
    plain, free = (make(**same, free_bits=bits).fit(X).kl_per_component_ for bits in (0.0, 0.5))
    assert (plain < 0.1).all()
    assert (free > 0.3).all()


def test_the_warm_up_raises_the_weight_and_judges_at_the_last():
    """Steps of no length, so that only the weight changes: the KL needs no draws."""
    X = linear_rows(600)
    still = {"init": "random", "learning_rate": 1e-12, "learning_rate_schedule": "constant", "weight_decay": 0.0}
    model = make(**still, n_warmup_epochs=3, max_iter=6).fit(X)
    term = np.array(model.loss_curves_["kl"])
    np.testing.assert_allclose(term / term[-1], [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(model.validation_loss_curve_, model.validation_loss_curve_[0], rtol=1e-6)


def test_early_stopping_waits_for_the_warm_up():
    still = {"init": "random", "learning_rate": 1e-12, "learning_rate_schedule": "constant", "n_iter_no_change": 2}
    epochs = [make(**still, n_warmup_epochs=n, max_iter=30).fit(linear_rows(600)).n_iter_ for n in (0, 8)]
    assert epochs == [3, 10]


def test_held_out_rows_are_judged_by_an_elbo():
    """With codes that are drawn: at the posterior mean the figure would be far better."""
    X = linear_rows(300)
    model = make(init="random", early_stopping=False, max_iter=30).fit(X)
    scaled, unit = torch.from_numpy(model._data.to_network(X)), np.log(model._data.scaling.scale).sum()
    judged = -model.net_.losses(Rows(scaled, torch.arange(len(X)))).mean().item() - unit
    elbo = model.elbo(X)
    assert judged == pytest.approx(elbo.total.mean(), abs=0.15)
    module = model.net_.module_.eval()
    with torch.no_grad():
        at_mean = module.likelihood.log_prob(module.observe(module.encode(scaled)), scaled).mean().item() - unit
    assert at_mean - model.kl_per_component_.sum() > elbo.total.mean() + 0.25


# -- scores: linear models


@pytest.mark.parametrize(
    ("variance", "noise", "reference"),
    [("shared", np.full(D, 0.3), PCA(K)), ("feature", NOISE, FactorAnalysis(K))],
)
def test_a_linear_model_that_is_kept_has_the_score_of_scikit_learns(variance, noise, reference):
    X, X_new = linear_rows(400, noise), linear_rows(100, noise, seed=5)
    model = make(likelihood=Gaussian(variance, correlated=False), max_iter=2).fit(X)
    assert model.linear_
    reference.fit(X)
    np.testing.assert_allclose(model.score_samples(X_new), reference.score_samples(X_new), atol=0.2)
    assert model.score(X) == pytest.approx(reference.score(X), abs=5e-3)


def test_the_posterior_of_a_linear_model_is_exact():
    """Then every importance sample weighs the same, and the bound is the log-density itself."""
    X = linear_rows(400, np.full(D, 0.3))
    model, pca = make(likelihood=Gaussian("shared"), max_iter=2).fit(X), PCA(K).fit(X)
    mean, std = model.posterior(X)
    np.testing.assert_array_equal(mean, model.transform(X))
    np.testing.assert_allclose(
        std, np.broadcast_to(np.sqrt(pca.noise_variance_ / pca.explained_variance_), std.shape), rtol=5e-3
    )
    np.testing.assert_allclose(model.score_samples(X, n_samples=1), model.score_samples(X), atol=1e-4)
    np.testing.assert_allclose(model.elbo(X).total, model.score_samples(X), atol=1e-4)


def test_a_given_variance_is_in_the_units_of_rows():
    """And where it is not the best, codes make up for it: probabilistic PCA with this noise."""
    X = 10 * linear_rows(400, np.full(D, 0.3))
    model = make(likelihood=Gaussian(50.0), max_iter=2).fit(X)
    covariance = np.cov(X.T, bias=True)
    values, axes = np.linalg.eigh(covariance)
    values = np.where(np.arange(D) >= D - K, values, 50.0)
    expected = stats.multivariate_normal(X.mean(0), (axes * values) @ axes.T).logpdf(X)
    assert model.linear_
    np.testing.assert_allclose(model.score_samples(X), expected, atol=2e-3)


# -- scores: integrals over one code


@pytest.mark.parametrize("fitted", [False, True])
def test_the_score_is_the_integral_over_codes(curved, fitted):
    model, shares = curved, [(1.0, 0.0, [1.0])]
    if fitted:  # the same network, with the prior of the default
        model = make(1, init="random", early_stopping=False, beta=0.7, max_iter=40).fit(X_CURVED)
        shares = [*zip(model.prior_.weights, model.prior_.means, model.prior_.covariances, strict=True)]
        assert len(shares) > 1
    codes, log_likelihood, _ = joint_on_a_grid(model, X_CURVED[:20])
    density = sum(weight * stats.norm(mean, variance[0] ** 0.5).pdf(codes) for weight, mean, variance in shares)
    exact = np.log((np.exp(log_likelihood) * density).sum(0) * (codes[1] - codes[0]))
    for n_samples in (4095, 4096):  # of an odd number, one code fewer is of the wider posterior
        np.testing.assert_allclose(model.score_samples(X_CURVED[:20], n_samples=n_samples), exact, atol=0.02)


def test_the_score_forgives_an_encoder_that_is_too_sure_of_itself(curved):
    """Half of the codes are of a wider posterior; from this narrow one alone, rows miss 0.35 nats on average."""
    sure = copy.deepcopy(curved)
    with torch.no_grad():
        sure.net_.module_.encoder[-1].bias[1:] -= np.log(3)
    codes, log_likelihood, _ = joint_on_a_grid(sure, X_CURVED)
    exact = np.log((np.exp(log_likelihood + stats.norm.logpdf(codes))).sum(0) * (codes[1] - codes[0]))
    error = sure.score_samples(X_CURVED) - exact
    assert abs(error.mean()) < 0.02
    assert np.sqrt(np.square(error).mean()) < 0.1


def test_two_codes_are_better_than_one(curved):
    """Both of the posterior: of the wider one, half of them would be wasted."""
    codes, log_likelihood, _ = joint_on_a_grid(curved, X_CURVED)
    exact = np.log((np.exp(log_likelihood + stats.norm.logpdf(codes))).sum(0) * (codes[1] - codes[0]))
    one, two = (np.abs(curved.score_samples(X_CURVED, n_samples=n) - exact).mean() for n in (1, 2))
    assert two < one


@pytest.mark.parametrize("n_samples", [0, 2.5, "3"])
def test_the_number_of_codes_is_checked(curved, n_samples):
    with pytest.raises((TypeError, ValueError), match="n_samples"):
        curved.score_samples(X_CURVED, n_samples)


def test_training_goes_on_with_a_prior_that_holds_tensors():
    prior = GaussianMixturePrior(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
    model = make(prior=prior, init="random", max_iter=1).partial_fit(linear_rows(50)).partial_fit(linear_rows(50))
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match=r"(?s)prior must be .* as in the fit that is continued"):
        model.set_params(prior=GaussianMixturePrior(prior.means + 1)).partial_fit(linear_rows(50))


def test_the_parts_of_the_elbo_are_expectations(curved):
    """``beta``, 0.7 in training, does not enter."""
    codes, log_likelihood, log_posterior = joint_on_a_grid(curved, X_CURVED[:20])
    mass = np.exp(log_posterior) * (codes[1] - codes[0])
    elbo = curved.elbo(X_CURVED[:20], n_samples=4096)
    np.testing.assert_allclose(elbo.reconstruction, (mass * log_likelihood).sum(0), atol=0.05)
    mean, std = (torch.from_numpy(part) for part in curved.posterior(X_CURVED[:20]))
    np.testing.assert_allclose(elbo.kl, kl_divergence(Normal(mean, std), Normal(0.0, 1.0))[:, 0], atol=0.01)


def test_the_elbo_is_the_difference_of_its_parts_and_below_the_score(curved):
    elbo, scores = curved.elbo(X_CURVED), curved.score_samples(X_CURVED)
    np.testing.assert_allclose(elbo.total, elbo.reconstruction - elbo.kl, rtol=1e-12)
    exact = curved.score_samples(X_CURVED, n_samples=4096)  # codes of the bound are not those of the score
    assert (curved.elbo(X_CURVED, n_samples=4096).total <= exact).all()
    assert elbo.total.mean() < scores.mean() - 0.01
    assert curved.score(X_CURVED) == pytest.approx(scores.mean())


def test_more_samples_do_not_lower_the_score(curved):
    scores = [curved.score(X_CURVED, n_samples=n) for n in (1, 4, 16, 64, 256, 1024)]
    assert (np.diff(scores) > -0.02).all()
    assert scores[-1] > scores[0] + 0.02
    assert curved.elbo(X_CURVED).total.mean() == pytest.approx(scores[0], abs=0.1)


def test_importance_weighted_training_has_a_tighter_bound():
    model = make(1, init="random", early_stopping=False, max_iter=40, n_importance_samples=8).fit(X_CURVED)
    elbo, unit = model.elbo(X_CURVED).total.mean(), np.log(model._data.scaling.scale).sum()
    bound = (
        -model.net_.losses(Rows(torch.from_numpy(model._data.to_network(X_CURVED)), torch.arange(400))).mean().item()
        - unit
    )
    assert elbo + 0.02 < bound < model.score(X_CURVED, n_samples=1024) + 0.05


def test_a_warm_start_may_draw_more_codes():
    model = make(1, init="random", early_stopping=False, warm_start=True, n_importance_samples=1, max_iter=60)
    few = model.fit(X_CURVED).loss_curve_[-1]
    model.set_params(n_importance_samples=64, max_iter=1, learning_rate=1e-6).fit(X_CURVED)
    assert model.n_iter_ == 61
    assert model.loss_curve_[-1] < few - 0.08  # the weights are the same, the bound is tighter
    model.set_params(n_importance_samples=1)
    assert model.partial_fit(X_CURVED).loss_curve_[-1] == pytest.approx(few, abs=0.04)


def test_a_warm_start_judges_by_the_bound_that_it_trains():
    model = make(1, n_importance_samples=1, max_iter=2, warm_start=True).fit(X_CURVED)
    model.set_params(n_importance_samples=7).fit(X_CURVED)
    for now in (model, pickle.loads(pickle.dumps(model))):
        assert now.net_.evaluation_arguments == {"n_draws": 7}


def test_a_model_from_a_pickle_does_not_warm_up_again():
    model = make(1, init="random", early_stopping=False, n_warmup_epochs=3, max_iter=4, learning_rate=1e-6)
    last = model.fit(X_CURVED).loss_curves_["kl"][-1]
    opened = pickle.loads(pickle.dumps(model))
    assert opened.partial_fit(X_CURVED).loss_curves_["kl"][-1] == pytest.approx(last, rel=0.01)


def test_early_stopping_of_a_model_from_a_pickle_waits_for_no_warm_up():
    patient = {"n_warmup_epochs": 20, "n_iter_no_change": 2, "learning_rate_schedule": "constant", "max_iter": 25}
    X = np.tile(X_CURVED, (5, 1))
    model = make(1, init="random", warm_start=True, **patient).fit(X)
    opened = pickle.loads(pickle.dumps(model)).set_params(learning_rate=1e-12)
    assert 0 < opened.fit(X).n_iter_ - model.n_iter_ < 10


def test_a_copy_within_the_first_epoch_can_be_made():
    copies = []

    class Copies(Callback):
        def on_epoch_begin(self, net, **kwargs):
            copies.append(copy.deepcopy(model))

    model = make(1, max_iter=2, callbacks=[Copies()])
    model.fit(X_CURVED)
    assert copies[0].net_.n_epochs == 0


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical([2, 2, 2, 2])], ids=["bernoulli", "categorical"])
def test_probabilities_of_all_rows_sum_to_one(likelihood):
    everything = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), axis=-1).reshape(-1, 4)
    X = np.repeat(np.random.default_rng(0).integers(0, 2, size=(300, 1)), 4, axis=1).astype(float)
    X[:, 3] = np.random.default_rng(1).integers(0, 2, size=300)
    model = make(likelihood=likelihood, early_stopping=False, max_iter=30).fit(X)
    probabilities = np.exp(model.score_samples(everything, n_samples=2048))
    assert probabilities.sum() == pytest.approx(1.0, abs=0.02)
    same = (everything[:, :3] == everything[:, :1]).all(1)
    assert probabilities[same].sum() > 0.5  # four of sixteen


@pytest.mark.parametrize(
    "params", [{"max_iter": 2}, {"init": "random", "n_importance_samples": 2, "early_stopping": False}]
)
def test_scores_follow_the_units_of_rows(params):
    X = linear_rows(300)
    model, larger = make(**params).fit(X), make(**params).fit(1024 * X)
    np.testing.assert_allclose(larger.score_samples(1024 * X), model.score_samples(X) - D * np.log(1024), rtol=1e-9)
    elbo = larger.elbo(1024 * X)
    np.testing.assert_allclose(elbo.reconstruction, model.elbo(X).reconstruction - D * np.log(1024), rtol=1e-9)
    np.testing.assert_array_equal(elbo.kl, model.elbo(X).kl)
    np.testing.assert_array_equal(larger.sample(5, random_state=0), 1024 * model.sample(5, random_state=0))


@pytest.mark.parametrize(
    "params", [{"init": "random"}, {"likelihood": Gaussian("row", correlated=True)}, {"prior": "gaussian_mixture"}]
)
def test_a_rows_score_is_bit_equal_in_any_company(params):
    X, rng = linear_rows(1200), np.random.default_rng(2)
    model = make(3, early_stopping=False, max_iter=2, n_score_samples=16, **params)
    model.fit(X[:100])
    scores, elbo, (mean, std) = model.score_samples(X), model.elbo(X), model.posterior(X)
    for n in (1, 63, 65, 1025):
        chosen = rng.permutation(len(X))[:n]
        np.testing.assert_array_equal(model.score_samples(X[chosen]), scores[chosen])
        np.testing.assert_array_equal(model.elbo(X[chosen]).kl, elbo.kl[chosen])
        np.testing.assert_array_equal(model.posterior(X[chosen])[1], std[chosen])
    np.testing.assert_array_equal(mean, model.transform(X))


@pytest.mark.parametrize("likelihood", ["student_t", Gaussian("feature")])
def test_units_of_features_do_not_matter_to_a_density(likelihood):
    X, units = linear_rows(200), 2.0 ** np.arange(-10, 10, 4)[:D]
    a, b = (make(likelihood=likelihood, early_stopping=False).fit(rows) for rows in (X, X * units))
    np.testing.assert_allclose(b.score_samples(X * units), a.score_samples(X) - np.log(units).sum(), rtol=1e-4)
    np.testing.assert_allclose(b.sample(9, 0), a.sample(9, 0) * units, rtol=1e-3)


def test_a_bounded_prior_is_refused():
    with pytest.raises(ValueError, match="use AAETransformer for it"):
        make(prior=UniformPrior(), init="random").fit(linear_rows(50))


@pytest.mark.parametrize("kind", [VAETransformer, AutoencoderTransformer])
def test_networks_bend_more_sharply_where_there_are_rows_for_it(kind):
    def weights(n_rows, activation="silu"):
        plan = {"architecture": MLP((6, 4), activation=activation), "learning_rate": 1e-9, "max_iter": 1}
        module = kind(2, early_stopping=False, random_state=0, **plan).fit(linear_rows(n_rows)).net_.module_
        return [coder.nonlinear[i].weight for coder in (module.encoder, module.decoder) for i in (0, 2)]

    few = weights(600)
    for n_rows, factor in ((1200, 2.0), (6000, 4.0)):
        for found, start, expected in zip(weights(n_rows), few, (factor, 1 / factor) * 2, strict=True):
            torch.testing.assert_close(found, expected * start)
    for found, start in zip(weights(1200, "relu"), weights(600, "relu"), strict=True):
        torch.testing.assert_close(found, start)  # these have one form whatever their size


@pytest.mark.parametrize("params", [{"noise": 0.1}, {"contraction": 0.1}])
def test_smooth_maps_do_not_begin_sharp(params):
    def weight(n_rows):
        model = AutoencoderTransformer(
            2, init="pca", early_stopping=False, learning_rate=1e-9, max_iter=1, random_state=0
        )
        return model.set_params(**params).fit(linear_rows(n_rows)).net_.module_.encoder.nonlinear[0].weight

    torch.testing.assert_close(weight(1200), weight(600))


@pytest.mark.parametrize("goes_on", ["fit", "partial_fit"])
def test_training_on_from_the_linear_model_learns_tails(goes_on):
    """Its own noise is normal, for which tails have no gradient."""
    rng = np.random.default_rng(0)
    model = make(1, likelihood="student_t", warm_start=True, early_stopping=True).fit(rng.normal(size=(39, 3)))
    assert model.linear_  # too few rows to judge a network
    rows = rng.standard_t(2.5, size=(300, 3))
    before = model.score(rows)
    model.set_params(early_stopping=False)  # as partial_fit, without a judge
    for _ in range(1 if goes_on == "fit" else 15):
        getattr(model.set_params(learning_rate=0.04), goes_on)(rows)
    assert not model.linear_
    assert (1 + model.net_.module_.head.tails.exp() < 20).all()
    assert model.score(rows) > before + 0.1
