"""Priors against scipy: densities that integrate to one, draws that follow them, and what may be a prior."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.mixture import GaussianMixture

from sk_autoenc import GaussianMixturePrior, NormalPrior, SwissRollPrior, UniformPrior
from sk_autoenc.priors import as_prior, fitted_mixture
from tests.data_sets import seeded

MEANS = np.array([[-2.0, 1.0], [1.0, 0.5], [0.0, -1.5]])
COVARIANCES = np.array([[[0.5, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 1.0]], [[1.0, -0.6], [-0.6, 0.5]]])
WEIGHTS = np.array([1.0, 2.0, 5.0])
MIXTURE = GaussianMixturePrior(MEANS, COVARIANCES, weights=WEIGHTS)
PINWHEEL = GaussianMixturePrior.pinwheel(5)

PRIORS = {
    "normal": NormalPrior(n_components=2),
    "wide": NormalPrior(2.5, n_components=2),
    "uniform": UniformPrior(-1.0, 3.0, n_components=2),
    "mixture": MIXTURE,
    "pinwheel": PINWHEEL,
}
SWISS_ROLL = SwissRollPrior()


def mixture_density(prior, code):
    """By scipy, each distribution apart."""
    weights = np.ones(len(prior.means)) if prior.weights is None else np.asarray(prior.weights)
    parts = zip(weights / weights.sum(), prior.means, prior.covariances, strict=True)
    return sum(weight * stats.multivariate_normal(mean, covariance).pdf(code) for weight, mean, covariance in parts)


DENSITIES = {
    "normal": lambda code: stats.norm.pdf(code).prod(-1),
    "wide": lambda code: stats.norm(scale=2.5).pdf(code).prod(-1),
    "uniform": lambda code: stats.uniform(-1, 4).pdf(code).prod(-1),
    "mixture": lambda code: mixture_density(MIXTURE, code),
    "pinwheel": lambda code: mixture_density(PINWHEEL, code),
}


@pytest.mark.parametrize("name", PRIORS)
def test_log_prob_is_scipys(name):
    code = np.random.default_rng(0).uniform(-4, 4, size=(2, 300, 2))  # a leading axis, for draws per row
    log_prob = PRIORS[name].log_prob(torch.from_numpy(code))
    assert log_prob.shape == (2, 300)
    assert log_prob.dtype == torch.float64
    np.testing.assert_allclose(log_prob.exp(), DENSITIES[name](code), rtol=1e-10)


@pytest.mark.parametrize("name", PRIORS)
def test_densities_integrate_to_one(name):
    side = torch.linspace(-15, 15, 1501, dtype=torch.float64)[:-1] + 0.01  # middles of cells
    total = PRIORS[name].log_prob(torch.cartesian_prod(side, side)).exp().sum() * 0.02**2
    assert total.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_density(name):
    """Seen along three directions, by a Kolmogorov-Smirnov test against the density's mass on a fine grid."""
    drawn = PRIORS[name].sample(4000, seeded()).double().numpy()
    side = np.linspace(-12, 12, 601)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    mass = DENSITIES[name](grid)
    for direction in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.8, -0.6])):
        along = grid @ direction
        order = along.argsort()
        shares = np.cumsum(mass[order]) / mass.sum()
        seen = drawn @ direction
        assert stats.kstest(seen, lambda t: np.interp(t, along[order], shares)).pvalue > 0.01  # noqa: B023 - at once


@pytest.mark.parametrize("prior", [*PRIORS.values(), SWISS_ROLL], ids=[*PRIORS, "swiss_roll"])
def test_draws_are_the_generators_alone(prior):
    state, generator = torch.get_rng_state(), seeded(1)
    first, second = prior.sample(5, generator), prior.sample(5, generator)
    assert first.shape == (5, prior.n_components)
    assert first.dtype == torch.float32
    assert torch.equal(first, prior.sample(5, seeded(1)))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_uniform_density_is_zero_beyond_its_bounds():
    log_prob = UniformPrior(0.0, 2.0, n_components=2).log_prob(torch.tensor([[1.0, 1.0], [1.0, 2.5], [-0.1, 1.0]]))
    assert log_prob.tolist() == [pytest.approx(-np.log(4)), -np.inf, -np.inf]


def test_a_number_is_the_variance_of_all():
    code = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    short, long = (GaussianMixturePrior(MEANS, given) for given in (0.25, [0.25 * np.eye(2)] * 3))
    torch.testing.assert_close(short.log_prob(code), long.log_prob(code))


def test_petals_point_away_from_the_origin():
    prior = GaussianMixturePrior.pinwheel(6, radius=3.0)
    np.testing.assert_allclose(np.linalg.norm(prior.means, axis=1), 3.0)
    assert len(np.unique(np.round(prior.means, 6), axis=0)) == 6
    for mean, covariance in zip(prior.means, prior.covariances, strict=True):
        values, axes = np.linalg.eigh(covariance)
        assert abs(axes[:, 1] @ mean) == pytest.approx(3.0)  # the long axis
        assert values[1] > 2 * values[0]


def test_the_fitted_mixture_finds_what_was_drawn():
    codes = GaussianMixturePrior([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]], 0.5, weights=[1, 1, 2]).sample(900, seeded())
    found = fitted_mixture(codes.numpy(), (1, 2, 3, 4, 8), seed=0)
    assert len(found.means) == 3
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.means[order], [[-4, 0], [0, 6], [4, 0]], atol=0.2)
    np.testing.assert_allclose(found.weights[order], [0.25, 0.5, 0.25], atol=0.05)
    again = fitted_mixture(codes.numpy(), (1, 2, 3, 4, 8), seed=0)
    np.testing.assert_array_equal(found.means, again.means)


def test_the_number_of_distributions_is_that_of_the_corrected_criterion():
    """Codes on which Akaike's own criterion takes more, and the Bayesian one fewer."""
    generator = np.random.default_rng(2)
    n, sizes = 90, np.array([1, 2, 4, 8])
    codes = generator.normal(size=(n, 3)) + generator.choice([-1.6, 1.6], size=(n, 1)) * [1, 0, 0]
    fits = [GaussianMixture(size, reg_covar=1e-4, random_state=0).fit(codes) for size in sizes]
    n_parameters = 10 * sizes - 1
    aic, bic = (np.array([getattr(fit, name)(codes) for fit in fits]) for name in ("aic", "bic"))
    corrected = aic + 2 * n_parameters * (n_parameters + 1) / (n - n_parameters - 1)
    assert [sizes[criterion.argmin()] for criterion in (aic, corrected, bic)] == [4, 2, 1]
    assert len(fitted_mixture(codes, sizes, seed=0).means) == 2


def test_few_codes_have_one_normal_distribution():
    codes = 5 + np.random.default_rng(0).normal(size=(9, 2))
    assert len(fitted_mixture(codes, (1, 2, 4), seed=0).means) == 1
    assert fitted_mixture(codes[:1], (1, 2), seed=0) is None


@pytest.mark.parametrize(("n", "n_components"), [(3, 2), (24, 16), (60, 30), (2000, 2)])
def test_standard_normal_codes_need_no_mixture(n, n_components):
    """Nor do codes that are fewer than a covariance needs; with fewer, one would be singular and its density huge."""
    codes = np.random.default_rng(0).normal(size=(n, n_components))
    assert fitted_mixture(codes, (1, 2, 4), seed=0) is None


def test_a_code_far_from_all_others_gets_no_distribution_of_its_own():
    codes = np.random.default_rng(0).normal(size=(200, 2))
    codes[0] = 100.0
    found = fitted_mixture(codes, (1, 2, 4), seed=0)
    assert found is None or (found.weights * len(codes) >= 6).all()


def test_codes_on_a_line_can_be_fitted():
    codes = np.linspace(0, 500, 300, dtype=np.float32)[:, None] * np.ones(8, dtype=np.float32)
    assert np.isfinite(fitted_mixture(codes, (1, 2), seed=0).means).all()


def test_the_swiss_roll_is_a_spiral_evenly_covered():
    points = SwissRollPrior(2.0, noise=0.0).sample(3000, seeded()).double().numpy()
    share = np.linalg.norm(points, axis=1) / 2.0
    assert share.max() <= 1.0 + 1e-6
    np.testing.assert_allclose(
        points, 2 * share[:, None] * np.stack([np.cos(3 * np.pi * share), np.sin(3 * np.pi * share)], 1), atol=1e-5
    )
    assert stats.kstest(share**2, "uniform").pvalue > 0.01  # so many as the line is long, but for its inmost end
    noisy = SwissRollPrior(2.0, noise=0.1).sample(3000, seeded()).double().numpy()
    np.testing.assert_allclose((noisy - points).std(0), 0.1, rtol=0.05)
    assert not hasattr(SWISS_ROLL, "log_prob")


# -- what may be a prior


class Halves:
    """No class of ours: all that a prior needs."""

    def sample(self, n, generator):
        return torch.full((n, 3), 0.5)


class HalvesWithParameters(BaseEstimator, Halves):
    """The same for a search."""


@pytest.mark.parametrize("given", [Halves(), HalvesWithParameters()], ids=lambda p: type(p).__name__)
def test_anything_that_samples_may_be_a_prior(given):
    found = as_prior(given, 3)
    assert type(found) is type(given)
    assert found is not given


@pytest.mark.parametrize(
    "prior",
    [torch.nn.Linear(1, 1), GaussianMixture(2), torch.distributions.Normal(0.0, 1.0), NormalPrior],
    ids=lambda p: type(p).__name__,
)
def test_what_samples_in_another_way_is_refused(prior):
    with pytest.raises(ValueError, match="write a class that calls it"):
        as_prior(prior, 2)


def test_a_cluster_without_weight_is_as_if_it_were_not_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = GaussianMixturePrior([[0.0, 1.0], [9.0, 9.0]], weights=[1, 0]).log_prob(torch.zeros(1, 2))
    torch.testing.assert_close(found, GaussianMixturePrior([[0.0, 1.0]]).log_prob(torch.zeros(1, 2)))


def test_the_length_of_codes_is_filled_in_in_a_copy():
    given = NormalPrior(2.0)
    found = as_prior(given, 4)
    assert (found.n_components, found.scale, given.n_components) == (4, 2.0, None)
    assert found.sample(3, seeded()).shape == (3, 4)


@pytest.mark.parametrize("prior", [NormalPrior(n_components=3), SWISS_ROLL, MIXTURE, Halves()])
def test_a_prior_of_another_length_is_refused(prior):
    with pytest.raises(ValueError, match=r"(?s)prior=.* must return shape \(2, 5\) .*n_components=5, got \(2, \d\)"):
        as_prior(prior, 5)


def test_what_cannot_sample_is_refused():
    with pytest.raises(ValueError, match=r"prior must be a name or an object with sample.*got 3"):
        as_prior(3, 2)
    with pytest.raises(ValueError, match="NormalPrior: n_components must be an integer to draw codes, got None"):
        NormalPrior().sample(2, seeded())


@pytest.mark.parametrize("prior", [*PRIORS.values(), SWISS_ROLL], ids=[*PRIORS, "swiss_roll"])
def test_priors_can_be_cloned(prior):
    assert torch.equal(clone(prior).sample(3, seeded()), prior.sample(3, seeded()))


@pytest.mark.parametrize(
    ("prior", "match"),
    [
        (NormalPrior(-1.0), "scale must be a number above 0, got -1"),
        (NormalPrior(np.inf), "scale must be a number above 0, got inf"),
        (NormalPrior("a"), "scale must be a number above 0, got 'a'"),
        (UniformPrior(2.0, 1.0), "low=2.0 and high=1.0"),
        (UniformPrior(0.0, np.inf), "low=0.0 and high=inf"),
        (GaussianMixturePrior([0.0, 1.0]), r"\(n_clusters, n_components\), got \[0.0, 1.0\]"),
        (GaussianMixturePrior(np.zeros((0, 2))), "means must be numbers of shape"),
        (GaussianMixturePrior([[np.nan, 0.0]]), r"means must be numbers.*got \[\[nan"),
        (GaussianMixturePrior(MEANS, -1.0), "positive definite, got -1"),
        (GaussianMixturePrior(MEANS, "full"), "covariances must be one number, .*got 'full'"),
        (GaussianMixturePrior(MEANS, np.inf), "covariances must be one number, .*got inf"),
        (GaussianMixturePrior(MEANS, np.eye(2)), r"of shape \(3, 2, 2\), got array"),
        (GaussianMixturePrior(MEANS, COVARIANCES + np.array([[0, 0.1], [0, 0]])), "symmetric"),
        (GaussianMixturePrior(MEANS, -COVARIANCES), "positive definite"),
        (GaussianMixturePrior(MEANS, weights=[1.0, 2.0]), "weights must be 3 numbers"),
        (GaussianMixturePrior(MEANS, weights=[1.0, -2.0, 3.0]), "weights must be 3 numbers of 0 or more"),
        (GaussianMixturePrior(MEANS, weights=[1.0, np.inf, 3.0]), "weights must be 3 numbers of 0 or more"),
        (SwissRollPrior(0.0), "scale must be a number above 0, got 0"),
        (SwissRollPrior(noise=-0.1), "noise must be a number of 0 or more, got -0.1"),
    ],
)
def test_parameters_out_of_range_are_refused_with_their_values(prior, match):
    with pytest.raises(ValueError, match=match):
        as_prior(prior, 2)


def test_a_prior_of_the_user_s_own_may_have_a_method_of_any_name():
    class Mine(NormalPrior):
        def check(self, X):
            raise AssertionError

    assert as_prior(Mine(2.0), 3).n_components == 3
