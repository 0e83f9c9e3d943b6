"""Judging samples: closed forms and double sums, p-values under chance and a shift, and what each figure is for."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc.metrics import (
    classifier_two_sample_test,
    energy_distance,
    frechet_distance,
    maximum_mean_discrepancy,
    neighbor_distance_ratio,
    parzen_log_likelihood,
    precision_recall_density_coverage,
    sample_scorer,
)
from sk_autoenc.metrics import samples as metrics

PAIRWISE = [
    classifier_two_sample_test,
    precision_recall_density_coverage,
    energy_distance,
    maximum_mean_discrepancy,
    frechet_distance,
]
PERMUTATION_TESTS = [energy_distance, maximum_mean_discrepancy]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def exact_gaussian(n, mean, factor, seed=0):
    """Rows whose mean is ``mean`` and whose covariance is ``factor.T @ factor``, up to rounding."""
    q = np.linalg.qr(np.column_stack([np.ones(n), draw(n, len(factor), seed=seed)]))[0][:, 1:]
    return q * np.sqrt(n - 1) @ factor + mean


class MeanDifference(ClassifierMixin, BaseEstimator):
    """Along the difference of the classes' means; has ``decision_function``, without probabilities."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        means = X[y == 0].mean(axis=0), X[y == 1].mean(axis=0)
        self.coef_, self.middle_ = means[1] - means[0], (means[0] + means[1]) / 2
        return self

    def decision_function(self, X):
        return (X - self.middle_) @ self.coef_

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(int)


class Shifted(MeanDifference):
    """The same, far from zero by an amount that differs between training sets."""

    def decision_function(self, X):
        return super().decision_function(X) + 1000 * self.middle_[0]


class Reversed(MeanDifference):
    """Takes each class for the other."""

    def decision_function(self, X):
        return -super().decision_function(X)


class Indifferent(MeanDifference):
    """Every row has the same score."""

    def decision_function(self, X):
        return np.zeros(len(X))


# -- classifier test


@pytest.mark.parametrize("classifier", [None, MeanDifference(), LogisticRegression(), GaussianNB()])
def test_classifier_tells_rows_far_apart(classifier):
    result = classifier_two_sample_test(draw(60, 2), draw(40, 2, seed=1) + 6, classifier=classifier, random_state=0)
    assert result.auroc > 0.99
    assert result.accuracy > 0.97
    assert result.p_value < 1e-6


def test_classifier_default_sees_more_than_means():
    """Equal means and variances: the second set is a ring."""
    ring = draw(150, 2, seed=1)
    ring *= np.sqrt(2) / np.linalg.norm(ring, axis=1, keepdims=True)
    result = classifier_two_sample_test(draw(150, 2), ring, random_state=0)
    assert result.auroc > 0.8
    assert result.p_value < 1e-4


def test_classifier_p_value_holds_under_chance_with_unequal_sizes():
    """The normal scores of p-values have mean 0 and variance 1; without the doubled variance it would be 2."""
    p_values = [
        classifier_two_sample_test(rows[:40], rows[40:], classifier=MeanDifference(), random_state=seed).p_value
        for seed, rows in enumerate(draw(150, 60, 8))
    ]
    scores = stats.norm.isf(p_values)
    assert abs(scores.mean()) < 0.25
    assert 0.8 < scores.std() < 1.15
    assert 4 <= np.sum(np.array(p_values) < 0.1) <= 26


def test_classifier_accuracy_of_chance_is_a_half_for_unequal_sizes():
    rows = draw(220, 3)
    assert abs(classifier_two_sample_test(rows[:200], rows[200:], random_state=0).accuracy - 0.5) < 0.15
    shifted = classifier_two_sample_test(draw(600, 1), draw(60, 1, seed=1) + 1, random_state=0)
    assert shifted.accuracy > 0.6  # without weights few rows would be taken for generated
    everything = classifier_two_sample_test(rows[:200], rows[200:], classifier=Indifferent())
    assert everything == (0.5, 0.5, 1.0)


def test_classifier_auroc_compares_within_folds():
    rows, others = draw(60, 2), draw(40, 2, seed=1) + 0.7
    plain, shifted = (
        classifier_two_sample_test(rows, others, classifier=classifier, random_state=0)
        for classifier in (MeanDifference(), Shifted())
    )
    assert plain.auroc > 0.6
    assert (plain.auroc, plain.p_value) == pytest.approx((shifted.auroc, shifted.p_value))


def test_mann_whitney_counts_pairs_and_ties():
    scores, labels = np.array([0.1, 0.5, 0.5, 0.9, 0.4]), np.array([0, 0, 1, 1, 0])
    wins, pairs, variance = metrics._mann_whitney(scores, labels)
    assert (wins, pairs) == (5.5, 6)
    expected = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0], method="asymptotic", use_continuity=False)
    assert 2 * stats.norm.sf((wins - pairs / 2) / np.sqrt(variance)) == pytest.approx(expected.pvalue)


def test_classifier_test_is_seeded():
    rows = draw(80, 2)
    results = [classifier_two_sample_test(rows[:40], rows[40:], random_state=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_classifier_refuses():
    rows = draw(20, 2)
    with pytest.raises(ValueError, match=r"cv == 1, must be >= 2"):
        classifier_two_sample_test(rows, rows, cv=1)
    with pytest.raises(ValueError, match=r"cv == 5, must be <= 3"):
        classifier_two_sample_test(rows, rows[:3])
    with pytest.raises(TypeError, match=r"classifier must have .* but PCA\(\) has neither"):
        classifier_two_sample_test(rows, rows, classifier=PCA())


# -- precision, recall, density, coverage


def direct_quality(real, generated, k):
    """The definitions, with all distances at once."""
    real_radius = np.sort(cdist(real, real))[:, k]
    generated_radius = np.sort(cdist(generated, generated))[:, k]
    distances = cdist(generated, real)
    inside = distances <= real_radius
    recalled = distances <= generated_radius[:, None]
    return inside.any(1).mean(), recalled.any(0).mean(), inside.sum() / (k * len(generated)), inside.any(0).mean()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("d", [2, 30])
def test_quality_is_that_of_the_definitions(k, d, monkeypatch):
    real, generated = draw(70, d), 1.3 * draw(50, d, seed=1) + 0.3
    expected = direct_quality(real, generated, k)
    assert precision_recall_density_coverage(real, generated, n_neighbors=k) == pytest.approx(expected)
    monkeypatch.setattr(metrics, "_BLOCK_MIB", 0.01)  # several blocks
    assert precision_recall_density_coverage(real, generated, n_neighbors=k) == pytest.approx(expected)


def test_quality_tells_dropped_modes_from_invented_ones():
    mode, second = draw(100, 2), draw(100, 2, seed=1) + 20
    both = np.vstack([draw(100, 2, seed=2), draw(100, 2, seed=3) + 20])
    dropped = precision_recall_density_coverage(both, np.vstack([mode, draw(100, 2, seed=4)]))
    assert dropped.precision > 0.9
    assert 0.4 < dropped.recall <= 0.5
    assert 0.4 < dropped.coverage <= 0.5
    invented = precision_recall_density_coverage(
        np.vstack([mode, draw(100, 2, seed=4)]), np.vstack([both[:100], second])
    )
    assert 0.4 < invented.precision <= 0.5
    assert invented.recall > 0.9
    assert invented.density < 0.7


def test_quality_of_copies_is_perfect_even_where_balls_have_no_radius():
    rows = np.repeat(StandardScaler().fit_transform(draw(12, 20)) + 7.7, 6, axis=0)
    result = precision_recall_density_coverage(rows, rows[::-1].copy(), n_neighbors=3)
    assert result == (1.0, 1.0, 2.0, 1.0)  # 6 balls of radius 0 around each row, over 3


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_sparse_rows_are_perfect(seed):
    rows = np.vstack([np.zeros((40, 4)), np.repeat(100 * draw(5, 4, seed=seed) + 7, 4, axis=0)])
    found = precision_recall_density_coverage(rows, rows.copy(), n_neighbors=3)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


def test_quality_survives_a_row_that_is_far_from_all():
    real, generated = draw(60, 2), draw(60, 2, seed=1) + 6
    real[0] = 1e5
    near = precision_recall_density_coverage(real, generated, n_neighbors=3)
    real[0] = 1e12
    assert precision_recall_density_coverage(real, generated, n_neighbors=3) == near


def test_quality_and_distances_survive_an_offset():
    real, generated = draw(60, 20), draw(60, 20, seed=1) + 0.2
    for function in (precision_recall_density_coverage, energy_distance, maximum_mean_discrepancy):
        near, far = function(real, generated), function(real + 2**24, generated + 2**24)
        assert far[0] == pytest.approx(near[0], rel=1e-5)


@pytest.mark.parametrize(
    ("k", "message"), [(0, "n_neighbors == 0, must be >= 1"), (9, "n_neighbors == 9, must be <= 7")]
)
def test_quality_refuses(k, message):
    with pytest.raises(ValueError, match=message):
        precision_recall_density_coverage(draw(20, 2), draw(8, 2), n_neighbors=k)


# -- energy distance and maximum mean discrepancy


def test_energy_distance_is_scipys_square_for_one_column():
    real, generated = draw(40, 1), draw(25, 1, seed=1) + 1
    expected = stats.energy_distance(real[:, 0], generated[:, 0]) ** 2
    assert energy_distance(real, generated).statistic == pytest.approx(expected)


def test_energy_distance_is_the_double_sum(monkeypatch):
    real, generated = draw(40, 5), draw(25, 5, seed=1) + 1
    expected = 2 * cdist(real, generated).mean() - cdist(real, real).mean() - cdist(generated, generated).mean()
    assert energy_distance(real, generated).statistic == pytest.approx(expected)
    monkeypatch.setattr(metrics, "_BLOCK_MIB", 0.01)  # several blocks
    assert energy_distance(real, generated).statistic == pytest.approx(expected)


@pytest.mark.parametrize("bandwidth", [0.7, "median"])
def test_mmd_is_the_double_sum_over_different_rows(bandwidth):
    real, generated = draw(30, 3), draw(20, 3, seed=1) + 0.5
    pooled = np.vstack([real, generated])
    h = np.median(cdist(pooled, pooled)[np.triu_indices(50, 1)]) if bandwidth == "median" else bandwidth
    kernel = np.exp(-cdist(pooled, pooled, "sqeuclidean") / (2 * h**2))
    np.fill_diagonal(kernel, 0)
    expected = kernel[:30, :30].sum() / 870 + kernel[30:, 30:].sum() / 380 - 2 * kernel[:30, 30:].mean()
    assert maximum_mean_discrepancy(real, generated, bandwidth=bandwidth).statistic == pytest.approx(expected)


def test_mmd_has_no_bias():
    estimates = [maximum_mean_discrepancy(r[:10], r[10:], bandwidth=1.0).statistic for r in draw(200, 25, 2)]
    assert abs(np.mean(estimates)) < 3 * stats.sem(estimates)
    assert min(estimates) < 0


def test_median_of_many_rows_is_near_that_of_all(monkeypatch):
    """Rows in order of their value: the evenly spaced ones must stand for both sets."""
    seen = []
    monkeypatch.setattr(metrics, "_compare", lambda real, generated, apply, *_: seen.append(apply))
    real, generated = np.sort(draw(1500, 1), axis=0), np.sort(draw(1300, 1, seed=1) + 2, axis=0)
    maximum_mean_discrepancy(real, generated)
    h = np.sqrt(-0.5 / np.log1p(-seen[0](np.array([1.0]))))  # read off one minus the kernel at distance 1
    assert h == pytest.approx(np.median(np.abs(np.subtract.outer(*[np.vstack([real, generated])[:, 0]] * 2))), rel=0.02)


@pytest.mark.parametrize("test", PERMUTATION_TESTS)
def test_permutation_p_values_hold_under_chance(test):
    p_values = np.array([test(r[:10], r[10:], n_permutations=49, random_state=0).p_value for r in draw(200, 25, 2)])
    assert 8 <= np.sum(p_values <= 0.1) <= 33  # 20 expected; both limits are 3 standard deviations off
    assert 0.44 < p_values.mean() < 0.57


@pytest.mark.parametrize("test", PERMUTATION_TESTS)
def test_permutation_tests_see_a_shift(test):
    result = test(draw(40, 3), draw(30, 3, seed=1) + 1, n_permutations=99, random_state=0)
    assert result.p_value == 1 / 100
    assert result.statistic > 0
    assert test(draw(40, 3), draw(30, 3, seed=1) + 1).p_value is None


@pytest.mark.parametrize("test", PERMUTATION_TESTS)
def test_permutations_that_restore_the_sets_count(test):
    """Two rows against two: a third of the permutations swap or keep the sets, with sums rounded otherwise."""
    for seed in range(5):
        real, generated = draw(2, 7, seed=seed), draw(2, 7, seed=seed + 50) + 9
        assert abs(test(real, generated, n_permutations=500, random_state=0).p_value - 1 / 3) < 0.07
    assert test(np.ones((5, 2)), np.ones((4, 2)), n_permutations=9, **_fixed_bandwidth(test)).p_value == 1.0


def _fixed_bandwidth(test):
    return {"bandwidth": 1.0} if test is maximum_mean_discrepancy else {}


@pytest.mark.parametrize("test", PERMUTATION_TESTS)
def test_permutation_tests_refuse(test):
    with pytest.raises(ValueError, match="n_permutations == -1, must be >= 0"):
        test(draw(5, 2), draw(5, 2), n_permutations=-1)


@pytest.mark.parametrize("bandwidth", [0, -1.0, np.inf])
def test_bandwidths_are_positive_and_finite(bandwidth):
    for function in (maximum_mean_discrepancy, parzen_log_likelihood):
        with pytest.raises(ValueError, match=f"bandwidth == {bandwidth}"):
            function(draw(5, 2), draw(5, 2), bandwidth=bandwidth)
        with pytest.raises(TypeError, match="bandwidth must be an instance of"):
            function(draw(5, 2), draw(5, 2), bandwidth="mean")


def test_a_median_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"bandwidth='median' is 0"):
        maximum_mean_discrepancy(np.ones((5, 2)), np.ones((5, 2)))


# -- Fréchet distance


def test_frechet_of_independent_columns_is_that_of_means_and_deviations():
    first = exact_gaussian(50, [1.0, 2.0, 3.0], np.diag([1.0, 2.0, 3.0]))
    second = exact_gaussian(80, [1.0, 0.0, 3.5], np.diag([1.5, 0.5, 3.0]), seed=1)
    assert frechet_distance(first, second) == pytest.approx(4 + 0.25 + 0.25 + 2.25)


def test_frechet_of_covariances_that_do_not_commute():
    """For two columns the trace of the root of M is sqrt(tr M + 2 sqrt det M)."""
    factors = np.array([[2.0, 1.0], [0.0, 0.5]]), np.array([[0.3, 0.0], [-1.0, 1.5]])
    first, second = (exact_gaussian(40, [0.0, 0.0], factor, seed=i) for i, factor in enumerate(factors))
    covariances = [factor.T @ factor for factor in factors]
    product = covariances[0] @ covariances[1]
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    assert frechet_distance(first, second) == pytest.approx(sum(map(np.trace, covariances)) - 2 * root)


def test_frechet_of_singular_covariances():
    """On lines at right angles nothing overlaps; fewer rows than columns are no trouble."""
    line = exact_gaussian(30, [0.0], np.eye(1))
    first, second = line * [1, 0, 0], line * [0, 2, 0]
    assert frechet_distance(first, second) == pytest.approx(1 + 4)
    assert frechet_distance(first, 3 * first) == pytest.approx(4)
    few = draw(5, 40)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(few, few + 1) == pytest.approx(40)
    assert min(frechet_distance(rows, rows[::-1]) for rows in draw(20, 5, 40)) >= 0


def test_frechet_of_what_overflows_is_not_zero():
    with np.errstate(all="ignore"):
        assert not frechet_distance(1e155 * draw(20, 1), 1e155 * (draw(20, 1) + 6)) <= 0


def test_frechet_of_features():
    rows, others = draw(50, 4), draw(60, 4, seed=1)
    pca = PCA(2).fit(rows)
    expected = frechet_distance(pca.transform(rows), pca.transform(others))
    assert frechet_distance(rows, others, features=pca) == expected
    assert frechet_distance(rows, others, features=pca.transform) == expected
    assert expected != frechet_distance(rows, others)
    with pytest.raises(TypeError, match=r"features must be None, callable .* got 3"):
        frechet_distance(rows, others, features=3)


# -- copies


@pytest.mark.parametrize("d", [2, 40])
def test_copies_have_ratio_zero_and_new_rows_about_one(d):
    train, held_out = draw(300, d), draw(300, d, seed=1)
    assert neighbor_distance_ratio(train[:100], train, held_out) == 0
    assert not metrics._nearest_distances(train, train).any()
    assert 0.85 < neighbor_distance_ratio(draw(300, d, seed=2), train, held_out) < 1.15
    assert neighbor_distance_ratio(train + 0.01 * draw(300, d, seed=3), train, held_out) < 0.5
    assert neighbor_distance_ratio(train + 2e7, train + 2e7, held_out + 2e7) == 0


def test_held_out_rows_that_are_training_rows_are_refused():
    with pytest.raises(ValueError, match="held_out must hold new rows"):
        neighbor_distance_ratio(draw(10, 2, seed=1), draw(10, 2), draw(10, 2))


# -- Parzen windows


@pytest.mark.parametrize("bandwidth", [0.02, 0.3])
def test_parzen_is_kernel_density(bandwidth, monkeypatch):
    generated, test = draw(80, 6), draw(50, 6, seed=1) + 3  # far rows: densities themselves would underflow
    expected = KernelDensity(bandwidth=bandwidth).fit(generated).score_samples(test)
    for block in (1, 0.01):
        monkeypatch.setattr(metrics, "_BLOCK_MIB", block)
        result = parzen_log_likelihood(generated, test, bandwidth=bandwidth)
        assert result.log_likelihood == pytest.approx(expected.mean())
        assert result.standard_error == pytest.approx(stats.sem(expected))
        assert result.bandwidth == bandwidth


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_parzen_bandwidth_is_the_best_on_validation_rows(shift):
    generated, validation, test = draw(200, 3), draw(100, 3, seed=1) + shift, draw(100, 3, seed=2)
    fine = np.geomspace(1e-2, 1e2, 200)
    scores = [KernelDensity(bandwidth=h).fit(generated).score(validation) / 100 for h in fine]
    result = parzen_log_likelihood(generated, test, validation=validation)
    assert 0.8 < result.bandwidth / fine[np.argmax(scores)] < 1.25
    assert result == parzen_log_likelihood(generated, test, bandwidth=result.bandwidth)
    grid = metrics._bandwidth_grid(validation, generated)
    squared = cdist(validation, generated, "sqeuclidean") / 3
    assert grid[[0, -1]] == pytest.approx([np.sqrt(squared.min(axis=1).mean()), np.sqrt(squared.mean())])
    assert grid[0] < fine[np.argmax(scores)] < grid[-1]


def test_parzen_refuses():
    rows, others = draw(10, 2), draw(10, 2, seed=1)
    with pytest.raises(ValueError, match="one of bandwidth and validation"):
        parzen_log_likelihood(rows, others)
    with pytest.raises(ValueError, match="one of bandwidth and validation"):
        parzen_log_likelihood(rows, others, bandwidth=1.0, validation=others)
    with pytest.raises(ValueError, match="validation holds only copies"):
        parzen_log_likelihood(rows, others, validation=rows)
    with pytest.raises(ValueError, match="validation has 3 columns, but generated has 2"):
        parzen_log_likelihood(rows, others, validation=draw(10, 3))


# -- rows


@pytest.mark.parametrize("function", PAIRWISE)
def test_tables_are_arrays_with_names(function):
    rows, others = draw(40, 2), draw(30, 2, seed=1)
    seed = {"random_state": 0} if "random_state" in inspect.signature(function).parameters else {}
    table, other_table = (pd.DataFrame(data, columns=["a", "b"]) for data in (rows, others))
    expected = function(rows, others, **seed)
    assert function(table, other_table, **seed) == expected
    assert function(table, others, **seed) == expected
    with pytest.raises(ValueError, match=r"generated has the columns \['b', 'a'\], but real has \['a', 'b'\]"):
        function(table, other_table[["b", "a"]])


@pytest.mark.parametrize("function", PAIRWISE)
def test_rows_that_cannot_be_compared_are_refused(function):
    rows = draw(10, 2)
    with pytest.raises(ValueError, match="generated has 3 columns, but real has 2"):
        function(rows, draw(10, 3))
    with pytest.raises(ValueError, match=r"generated contains NaN|Input generated contains NaN"):
        function(rows, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="minimum of 2"):
        function(rows[:1], rows)


# -- scorers


def two_clusters(seed=0):
    return np.vstack([draw(60, 2, seed=seed), draw(60, 2, seed=seed + 1) + 8])[
        np.random.default_rng(2).permutation(120)
    ]


NAMES = ["energy", "mmd", "frechet", "classifier", "precision", "recall", "density", "coverage"]


@pytest.mark.parametrize("name", NAMES)
def test_scorers_prefer_what_fits(name):
    options = {"bandwidth": 3.0} if name == "mmd" else {}
    scorer = pickle.loads(pickle.dumps(sample_scorer(name, n_samples=150, **options)))
    rows = two_clusters()
    good = scorer(KernelDensity(bandwidth=0.5).fit(rows), rows)
    assert isinstance(good, float)
    bad = KernelDensity(bandwidth=0.5).fit(
        rows[rows.sum(axis=1) < 8] if name in ("recall", "coverage") else 5 * rows - 9
    )
    assert good > scorer(bad, rows)
    assert good == scorer(KernelDensity(bandwidth=0.5).fit(rows), rows, None)


def test_scorers_take_an_auroc_near_zero_for_a_difference():
    estimator = KernelDensity(bandwidth=0.1).fit(draw(30, 2) + 30)
    assert sample_scorer("classifier", classifier=Reversed())(estimator, draw(30, 2)) == -0.5


def test_scorers_names_are_documented():
    assert list(metrics._METRICS) == NAMES
    assert all(f'``"{name}"``' in sample_scorer.__doc__ for name in NAMES)


def test_scorers_draw_with_their_seed_as_many_rows_as_asked():
    class Recorder:
        def sample(self, n_samples, random_state=None):
            self.seen = n_samples, random_state
            return draw(n_samples, 2)

    class Unseeded(Recorder):
        def sample(self, n_samples):
            return super().sample(n_samples)

    estimator, rows = Recorder(), draw(30, 2)
    sample_scorer(random_state=3)(estimator, rows)
    assert estimator.seen == (30, 3)
    sample_scorer(n_samples=12)(estimator, pd.DataFrame(rows))
    assert estimator.seen == (12, 0)
    estimator = Unseeded()
    sample_scorer(n_samples=12)(estimator, rows)
    assert estimator.seen == (12, None)


def test_scorers_choose_in_a_grid_search():
    search = GridSearchCV(
        KernelDensity(), {"bandwidth": [0.5, 20.0]}, scoring=sample_scorer(), cv=3, error_score="raise"
    )
    assert search.fit(two_clusters()).best_params_ == {"bandwidth": 0.5}
    mixtures = GridSearchCV(
        GaussianMixture(random_state=0),
        {"n_components": [1, 2]},
        scoring=sample_scorer("energy"),
        cv=3,
        error_score="raise",
    )
    assert mixtures.fit(two_clusters()).best_params_ == {"n_components": 2}


def test_scorers_refuse():
    with pytest.raises(ValueError, match=r"metric must be one of \['classifier', .* got 'fid'"):
        sample_scorer("fid")
    with pytest.raises(TypeError, match="bandwidth"):
        sample_scorer("energy", bandwidth=1.0)
    pipeline = make_pipeline(StandardScaler(), KernelDensity()).fit(two_clusters())
    with pytest.raises(TypeError, match=r"(?s)sample_scorer needs an estimator with a sample method, but Pipeline\("):
        sample_scorer()(pipeline, two_clusters())


def test_rows_may_have_axes_of_their_own():
    images = np.random.default_rng(0).normal(size=(2, 40, 1, 3, 3))
    assert energy_distance(*images) == energy_distance(*images.reshape(2, 40, 9))
