"""Likelihoods against scipy's distributions, and what they refuse."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, softmax, xlogy

from sk_autoenc import Bernoulli, Categorical, Gaussian, Multinomial, Poisson, VAETransformer
from sk_autoenc.likelihoods import LIKELIHOODS, as_likelihood

N, D = 6, 5

#: Those with one output a feature; the categorical one has its own tests.
ONE_OUTPUT = ["gaussian", "student_t", "bernoulli", "poisson", "multinomial"]


@pytest.fixture
def raw():
    return np.random.default_rng(0).normal(size=(N, D))


@pytest.fixture
def counts():
    return np.random.default_rng(1).poisson(2.0, size=(N, D)).astype(float)


def reconstruction_score(likelihood, raw, x):
    return likelihood.reconstruction_score(torch.from_numpy(raw), torch.from_numpy(x)).numpy()


def mean(likelihood, raw):
    return likelihood.mean(torch.from_numpy(raw)).numpy()


def rows_for(name, rng, shape):
    if name in ("gaussian", "student_t"):
        return rng.normal(size=shape)
    return rng.integers(0, 2 if name == "bernoulli" else 5, size=shape).astype(float)


# -- row_score


def test_gaussian_score_is_minus_the_summed_squared_error(raw, counts):
    np.testing.assert_allclose(reconstruction_score(Gaussian(), raw, counts), -((counts - raw) ** 2).sum(1))


def test_bernoulli_score_is_the_log_probability(raw):
    x = np.random.default_rng(2).integers(0, 2, size=(N, D)).astype(float)
    np.testing.assert_allclose(reconstruction_score(Bernoulli(), raw, x), stats.bernoulli.logpmf(x, expit(raw)).sum(1))


def test_bernoulli_score_of_shares_is_minus_the_cross_entropy(raw):
    x = np.random.default_rng(2).uniform(size=(N, D))
    expected = (xlogy(x, expit(raw)) + xlogy(1 - x, 1 - expit(raw))).sum(1)
    np.testing.assert_allclose(reconstruction_score(Bernoulli(), raw, x), expected)


def test_poisson_score_is_the_log_probability(raw, counts):
    np.testing.assert_allclose(
        reconstruction_score(Poisson(), raw, counts), stats.poisson.logpmf(counts, np.exp(raw)).sum(1)
    )


def test_multinomial_score_is_the_log_probability(raw, counts):
    shares = softmax(raw, axis=1)
    expected = [stats.multinomial.logpmf(x, int(x.sum()), p) for x, p in zip(counts, shares, strict=True)]
    np.testing.assert_allclose(reconstruction_score(Multinomial(), raw, counts), expected)


@pytest.mark.parametrize("likelihood", [Multinomial(), Poisson()], ids=str)
def test_counts_in_the_millions_lose_no_nats(likelihood):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.uniform(0, 4e4, (20, 500)))
    raw = np.log(counts.mean(0) + 1) + 0.001 * rng.standard_normal((20, 500))
    if isinstance(likelihood, Poisson):
        expected = stats.poisson.logpmf(counts, np.exp(raw.astype(np.float32).astype(float))).sum(1)
    else:
        shares = softmax(raw.astype(np.float32).astype(float), axis=1)
        expected = [stats.multinomial.logpmf(x, x.sum(), p) for x, p in zip(counts, shares, strict=True)]
    found = likelihood.log_prob(torch.tensor(raw).float(), torch.tensor(counts).float())
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_multinomial_score_ignores_a_common_shift_of_the_logits(raw, counts):
    np.testing.assert_allclose(
        reconstruction_score(Multinomial(), raw + 7.0, counts),
        reconstruction_score(Multinomial(), raw, counts),
        rtol=1e-10,
    )


def test_multinomial_score_of_a_row_without_counts_is_zero(raw):
    np.testing.assert_allclose(reconstruction_score(Multinomial(), raw, np.zeros((N, D))), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ONE_OUTPUT)
def test_row_score_keeps_leading_axes(name):
    rng = np.random.default_rng(3)
    raw, x = rng.normal(size=(2, 3, N, D)), rows_for(name, rng, (N, D))
    scores = reconstruction_score(LIKELIHOODS[name](), raw, x)
    assert scores.shape == (2, 3, N)
    np.testing.assert_allclose(scores[1, 2], reconstruction_score(LIKELIHOODS[name](), raw[1, 2], x))


@pytest.mark.parametrize(
    ("likelihood", "raw", "x", "expected"),
    [
        (Bernoulli(), 200.0, 0.0, -200.0),
        (Bernoulli(), -200.0, 1.0, -200.0),
        (Poisson(), -120.0, 1.0, -120.0),
        (Poisson(), -120.0, 0.0, 0.0),
    ],
)
def test_scores_stay_exact_where_probabilities_leave_float32(likelihood, raw, x, expected):
    raw = torch.tensor([[raw]], requires_grad=True)
    score = likelihood.reconstruction_score(raw, torch.tensor([[x]]))
    score.sum().backward()
    assert score.item() == pytest.approx(expected, abs=1e-4)
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("name", ONE_OUTPUT)
def test_scores_are_highest_at_the_mean(name):
    """``initial_bias`` of a row is the best output for that row: the gradient vanishes there."""
    x = np.random.default_rng(4).uniform(0.1, 0.9, size=(1, D))
    raw = torch.from_numpy(LIKELIHOODS[name]().initial_bias(x[0])).requires_grad_()
    LIKELIHOODS[name]().reconstruction_score(raw, torch.from_numpy(x)).sum().backward()
    np.testing.assert_allclose(raw.grad.numpy(), 0.0, atol=1e-9)


# -- categories: three of them in the first column, two in the second

CATEGORIES = np.array([[0, 1], [2, 0], [1, 1], [2, 1]], dtype=float)


def fitted_categorical():
    return Categorical().resolve(CATEGORIES)


def test_categories_are_counted_in_the_rows_or_given():
    assert fitted_categorical().n_categories == [3, 2]
    assert Categorical(4).resolve(CATEGORIES).n_categories == [4, 4]
    assert Categorical([3, 5]).resolve(CATEGORIES).n_categories == [3, 5]
    assert fitted_categorical().n_inputs(2) == fitted_categorical().n_outputs(2, noise=True) == 5


def test_the_encoder_reads_indicators_of_categories():
    indicators = fitted_categorical().encoder_input(torch.from_numpy(CATEGORIES))
    expected = [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 1]]
    assert indicators.tolist() == expected


def test_categorical_score_is_the_log_probability():
    raw = np.random.default_rng(6).normal(size=(2, 4, 5))
    first, second = softmax(raw[..., :3], axis=-1), softmax(raw[..., 3:], axis=-1)
    columns = CATEGORIES.astype(int)
    chosen = [
        np.take_along_axis(p, c[None, :, None].repeat(2, 0), -1)[..., 0]
        for p, c in ((first, columns[:, 0]), (second, columns[:, 1]))
    ]
    np.testing.assert_allclose(reconstruction_score(fitted_categorical(), raw, CATEGORIES), np.log(chosen).sum(0))


def test_the_mean_of_categories_is_the_most_probable():
    raw = np.array([[0.0, 3.0, 1.0, 2.0, 1.0], [5.0, 3.0, 1.0, 0.0, 1.0]])
    assert mean(fitted_categorical(), raw).tolist() == [[1, 0], [0, 1]]


def test_shares_of_categories_are_where_the_bias_starts():
    shares = np.array([0.25, 0.25, 0.5, 0.25, 0.75])
    raw = fitted_categorical().initial_bias(shares)
    np.testing.assert_allclose(softmax(raw[:3]), shares[:3])
    np.testing.assert_allclose(softmax(raw[3:]), shares[3:])
    assert np.isfinite(fitted_categorical().initial_bias(np.array([0.0, 1.0]))).all()


# -- draws: their frequencies are those that the mean, or the log-probability, says


def draws(likelihood, raw, n=4000):
    raw = torch.as_tensor(raw, dtype=torch.float32).expand(n, -1)
    first, again = (likelihood.draw(raw, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    return first.double().numpy()


def test_draws_of_zeros_and_ones():
    drawn = draws(Bernoulli(), [-1.0, 0.0, 2.0])
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), expit([-1, 0, 2]), atol=0.03)


def test_draws_of_counts():
    drawn = draws(Poisson(), [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(drawn, np.floor(drawn))
    np.testing.assert_allclose(drawn.mean(0), np.exp([-1, 0, 2]), rtol=0.06)
    np.testing.assert_allclose(drawn.var(0), np.exp([-1, 0, 2]), rtol=0.1)


def test_draws_of_counts_with_a_total():
    likelihood = Multinomial().resolve(np.array([[1.0, 1.0, 0.0], [4.0, 3.0, 2.0], [9.0, 9.0, 9.0]]))
    assert likelihood.total == 9
    drawn = draws(likelihood, np.log([0.5, 0.3, 0.2]))
    assert (drawn.sum(1) == 9).all()
    np.testing.assert_allclose(drawn.mean(0), [4.5, 2.7, 1.8], rtol=0.05)
    np.testing.assert_allclose(drawn.var(0), 9 * np.array([0.25, 0.21, 0.16]), rtol=0.1)
    assert (draws(Multinomial(total=0), np.zeros(3), n=2) == 0).all()


def test_draws_of_categories():
    drawn = draws(fitted_categorical(), np.log([0.2, 0.3, 0.5, 0.9, 0.1]))
    np.testing.assert_allclose([(drawn[:, 0] == c).mean() for c in range(3)], [0.2, 0.3, 0.5], atol=0.03)
    np.testing.assert_allclose(drawn[:, 1].mean(), 0.1, atol=0.02)


def test_dynamic_binarisation_draws_a_target_with_the_values_as_probabilities():
    grey = torch.tensor([[0.0, 0.25, 1.0]]).expand(4000, -1)
    drawn = Bernoulli(binarize="dynamic").target(grey, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), [0.0, 0.25, 1.0], atol=0.02)
    assert Bernoulli().target(grey, torch.Generator()) is grey


# -- mean


def test_means(raw):
    np.testing.assert_array_equal(mean(Gaussian(), raw), raw)
    np.testing.assert_allclose(mean(Bernoulli(), raw), expit(raw))
    np.testing.assert_allclose(mean(Poisson(), raw), np.exp(raw))
    np.testing.assert_allclose(mean(Multinomial(), raw), softmax(raw, axis=1))
    np.testing.assert_allclose(mean(Multinomial(), raw).sum(1), 1.0)


@pytest.mark.parametrize("name", ONE_OUTPUT)
def test_initial_bias_is_the_inverse_of_mean(name):
    m = np.random.default_rng(5).uniform(0.05, 0.95, size=D)
    expected = m / m.sum() if name == "multinomial" else m
    np.testing.assert_allclose(mean(LIKELIHOODS[name](), LIKELIHOODS[name]().initial_bias(m)), expected)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "multinomial"])
def test_initial_bias_is_finite_at_the_border(name):
    m = np.array([0.0, 1.0])
    raw = LIKELIHOODS[name]().initial_bias(m)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(mean(LIKELIHOODS[name](), raw), m, atol=2e-3)


def test_total_count_is_the_total_of_a_multinomial_row(counts):
    sizes = Multinomial().total_count(torch.from_numpy(counts)).numpy()
    np.testing.assert_array_equal(sizes, counts.sum(1, keepdims=True))
    assert all(LIKELIHOODS[name]().total_count(None) == 1.0 for name in ("gaussian", "bernoulli", "poisson"))


def test_only_real_values_are_scaled():
    assert {name for name, likelihood in LIKELIHOODS.items() if likelihood().is_scaled(3).all()} == {
        "gaussian",
        "student_t",
    }


# -- check


@pytest.mark.parametrize(
    ("name", "X"),
    [
        ("gaussian", [[-1e30, 0.5]]),
        ("bernoulli", [[0.0, 1.0]]),
        ("bernoulli", [[0.5, 0.25]]),
        ("poisson", [[0.0, 1.0, 1e6]]),
        ("multinomial", [[0.0, 0.0], [3.0, 1.0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_check_accepts(name, X, dtype):
    LIKELIHOODS[name]().check(np.array(X, dtype=dtype))


@pytest.mark.parametrize(
    ("name", "X", "message"),
    [
        ("bernoulli", [[0.0, 1.5]], r"likelihood='bernoulli'.*\[0, 1\].*1\.5"),
        ("bernoulli", [[-0.25, 1.0]], r"likelihood='bernoulli'.*\[0, 1\].*-0\.25"),
        ("poisson", [[0.0, -2.0]], r"likelihood='poisson'.*0 or more.*-2"),
        ("poisson", [[0.0, 2.5]], r"likelihood='poisson'.*integer-valued.*2\.5"),
        ("multinomial", [[4.0, -1.0]], r"likelihood='multinomial'.*0 or more.*-1"),
        ("multinomial", [[4.0, 0.125]], r"likelihood='multinomial'.*integer-valued.*0\.125"),
        ("categorical", [[4.0, -1.0]], r"likelihood='categorical'.*from 0.*-1"),
        ("categorical", [[4.0, 0.5]], r"likelihood='categorical'.*integer-valued.*0\.5"),
    ],
)
def test_check_refuses_and_names_parameter_bound_and_value(name, X, message):
    with pytest.raises(ValueError, match=message):
        LIKELIHOODS[name]().check(np.array(X))


def test_scoring_refuses_what_has_no_probability():
    grey = np.array([[0.0, 0.375]])
    Bernoulli().check_scored(grey)
    Bernoulli(binarize="dynamic").check(grey)
    with pytest.raises(ValueError, match=r"binarize='dynamic'.*zeros and ones.*0\.375"):
        Bernoulli(binarize="dynamic").check_scored(grey)
    Bernoulli(binarize="dynamic").check_scored(np.array([[0.0, 1.0]]))


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (Bernoulli(binarize="static"), "binarize must be False or 'dynamic', got 'static'"),
        (Gaussian("column"), "variance must be .*'shared'.* got 'column'"),
        (Gaussian(float("inf")), "variance must be a name or a number above 0, got inf"),
        (Gaussian(None), "variance must be a name or a number above 0, got None"),
        (Gaussian("shared", correlated=1), "correlated must be True, False or 'auto', got 1"),
        (Gaussian(0.0), "variance must be a name or a number above 0, got 0.0"),
        (Gaussian(correlated="yes"), "correlated must be True, False or 'auto', got 'yes'"),
        (Gaussian("shared", correlated=True), "correlated=True cannot be combined with variance='shared'"),
        (Categorical([2, 2]), "column 0 of X must have categories from 0 to 1, got 2"),
        (
            Categorical([3, 2, 2]),
            r"n_categories must be None, an integer of 1 or more, or 2 such integers.*got \[3, 2, 2\]",
        ),
        (Categorical([3, [2]]), r"n_categories must be .* got \[3, \[2\]\]"),
        (Categorical(["3", "2"]), r"n_categories must be .* got \['3', '2'\]"),
        (Categorical("many"), "n_categories must be .* got 'many'"),
        (Categorical([3, 2.5]), r"n_categories must be .* got \[3, 2.5\]"),
        (Categorical([3, 0]), r"n_categories must be .* got \[3, 0\]"),
        (Categorical(True), "n_categories must be .* got True"),
    ],
)
def test_check_refuses_parameters_and_names_their_value(likelihood, message):
    with pytest.raises(ValueError, match=message):
        likelihood.check(CATEGORIES)


@pytest.mark.parametrize("total", [0, -1, 2.5, "9", True])
def test_a_total_that_no_row_can_have_is_refused(total):
    with pytest.raises(ValueError, match=f"Multinomial: total must be None or an integer of 1 or more, got {total!r}"):
        VAETransformer(likelihood=Multinomial(total)).fit(CATEGORIES)


@pytest.mark.parametrize("n_categories", [[3, 2], (3, 2), np.array([3, 2]), 3, np.int64(3)], ids=repr)
def test_numbers_of_categories_in_any_form(n_categories):
    model = VAETransformer(likelihood=Categorical(n_categories), architecture=(2,), max_iter=1).fit(CATEGORIES)
    assert model.sample(2).shape == (2, 2)


# -- names and objects


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_name_is_short_for_the_default(name):
    assert type(as_likelihood(name)) is LIKELIHOODS[name]


def test_an_object_is_copied():
    given = Poisson()
    assert as_likelihood(given) is not given
    assert type(as_likelihood(given)) is Poisson
