"""ReconstructionOutlierDetector: outliers that it finds, defaults, data of every size and kind, errors."""

import re

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AutoencoderTransformer, Convolutional, ReconstructionOutlierDetector, Recurrent, VAETransformer
from sk_autoenc.outliers.ensembles import CloneEnsemble, NetworkEnsemble
from sk_autoenc.outliers.scores import NeighborsAndHistogram
from tests.instances import DETECTORS, describe
from tests.outliers.data import IS_OUTLIER, NORMAL, PLANE, PLANTED, X, auroc, spy_on_fit


@pytest.fixture(params=DETECTORS, ids=describe)
def detector(request):
    return clone(request.param)


def test_classic_measures_are_those_of_the_autoencoder():
    pca = PCA(2).fit(X)
    error = np.square(X - pca.inverse_transform(pca.transform(X))).sum(1)
    options = {"n_estimators": 1, "max_samples": 1.0, "trim": 0.0, "random_state": 0}
    squared = ReconstructionOutlierDetector(PCA(2), residual="squared", **options).fit(X)
    np.testing.assert_allclose(squared.score_samples(X), -error, rtol=1e-9)
    likelihood = ReconstructionOutlierDetector(PCA(2), residual="log_likelihood", **options).fit(X)
    np.testing.assert_allclose(likelihood.score_samples(X), pca.score_samples(X), rtol=1e-9)


@pytest.mark.parametrize("novelty", [False, True])
def test_rows_off_the_plane_are_found(novelty):
    train = PLANE[:200] if novelty else PLANTED
    found = ReconstructionOutlierDetector(novelty=novelty, random_state=0).fit(train)
    assert roc_auc_score(IS_OUTLIER, -found.score_samples(PLANTED)) > 0.9


def test_similar_outliers_do_not_hide_each_other():
    draw = np.random.default_rng(0)
    clump = 2.5 + 0.1 * draw.standard_normal((80, 6))
    rows = np.vstack([draw.standard_normal((1000, 6)), clump])
    scores = -ReconstructionOutlierDetector(random_state=0).fit(rows).score_samples(rows)
    assert roc_auc_score(np.arange(1080) >= 1000, scores) > 0.8


def test_a_dense_group_does_not_hide_itself():
    rows = np.random.default_rng(0).standard_normal((1000, 6))
    is_outlier = np.arange(1000) < 50
    rows[:50] *= 0.1
    rows[:50, :3] += 3
    assert auroc(is_outlier, ReconstructionOutlierDetector(random_state=0).fit(rows), rows) > 0.95


@pytest.mark.parametrize("residual", ["robust", "squared", "neighbors"])
def test_any_transformer_finds_them(residual):
    for transformer in (
        PCA(2),
        KernelPCA(2, fit_inverse_transform=True),
        make_pipeline(StandardScaler(), PCA(2)),
        AutoencoderTransformer(2, max_iter=2, early_stopping=False),
    ):
        found = ReconstructionOutlierDetector(transformer, n_estimators=2, residual=residual, random_state=0)
        assert roc_auc_score(IS_OUTLIER, -found.fit(PLANTED).score_samples(PLANTED)) > 0.9, transformer


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("n_rows", [60, 600])
@pytest.mark.parametrize("extreme", [1e3, 1e30])
def test_an_extreme_cell_hides_no_column(novelty, n_rows, extreme):
    rows = np.random.default_rng(1).standard_normal((n_rows, 6))
    is_outlier = np.arange(n_rows) < n_rows // 50
    rows[is_outlier, 3] += 8
    rows[-7, 3] = extreme
    found = ReconstructionOutlierDetector(novelty=novelty, random_state=0).fit(rows[~is_outlier] if novelty else rows)
    others = np.arange(n_rows) != n_rows - 7
    assert auroc(is_outlier[others], found, rows[others]) > (0.98 if n_rows == 600 else 0.8)
    assert found.score_samples(rows).argmin() == n_rows - 7


def test_a_change_of_what_was_constant_is_noticed():
    for constant, other in ((7.0, 7.5), (1e6, 1.1e6), (0.0, 0.5)):
        found = ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(np.c_[NORMAL, np.full(600, constant)])
        rows = np.c_[NORMAL[:200], np.full(200, constant)]
        changed = np.c_[NORMAL[:200], np.full(200, other)]
        assert (found.score_samples(changed) < np.median(found.score_samples(rows))).mean() > 0.9


@pytest.mark.parametrize(
    ("novelty", "ks", "n_compared", "power", "weight"), [(False, [8, 32], 256, 0.25, 0.8), (True, [1, 5], 600, 0.33, 0)]
)
def test_the_default_is_the_one_that_was_measured(novelty, ks, n_compared, power, weight, monkeypatch):
    ((rows, _, _, of_first), _, measure) = fitted_measure(monkeypatch, None, novelty=novelty)[1]
    assert of_first.shape == (8, 512, 6)
    first = rows[:512]
    typical = ((first - of_first).square().sum(-1).median(1).values / 6).sqrt()
    torch.testing.assert_close(measure.distance.sigma, typical**power)
    assert measure.distance.ks.tolist() == ks
    assert measure.distance.prototypes.shape == (8, n_compared, 12)
    tail = torch.quantile(measure.histogram.parts(first).sum(1), 0.9).item()
    assert measure.factors[1].item() * tail == pytest.approx(weight, rel=0.02)
    tail = torch.quantile(measure.distance.parts(first, of_first).sum(1), 0.9).item()
    assert measure.factors[0].item() * tail == pytest.approx(1, rel=0.02)


def fitted_measure(monkeypatch, transformer, **parameters):
    """The ensemble of a detector, and the arguments and the result of the measure's fit."""
    ensembles = spy_on_fit(monkeypatch, NetworkEnsemble if transformer is None else CloneEnsemble)
    measures = spy_on_fit(monkeypatch, NeighborsAndHistogram)
    ReconstructionOutlierDetector(transformer, n_steps=2, random_state=0, **parameters).fit(NORMAL)
    (ensemble,), (measure,) = ensembles, measures
    return ensemble[-1][0] if transformer is None else ensemble[-1], measure


def test_rows_that_are_trimmed_are_not_learnt():
    losses = [
        ReconstructionOutlierDetector(n_steps=3, trim=trim, random_state=0).fit(NORMAL).loss_curve_[0]
        for trim in (0.3, 0.1, 0.0)
    ]
    assert losses == sorted(losses)
    assert losses[0] < 0.8 * losses[2]


@pytest.mark.parametrize("transformer", [None, PCA(2)])
def test_members_compare_with_rows_of_their_own(transformer, monkeypatch):
    ensemble, (_, _, measure) = fitted_measure(monkeypatch, transformer, n_estimators=3, max_samples=50)
    prototypes, sigma = measure.distance.prototypes, measure.distance.sigma
    rows, made = ensemble.standardize(NORMAL).float(), ensemble.reconstruct(NORMAL).detach().float()
    points = torch.cat([made, (rows - made) / sigma[:, None, None]], dim=-1)
    own = torch.cdist(prototypes, points, compute_mode="donot_use_mm_for_euclid_dist").min(2)
    assert own.values.max() < 1e-4
    assert all(len(numbers.unique()) == len(numbers) for numbers in own.indices)
    assert not torch.equal(own.indices[0].sort().values, own.indices[1].sort().values)


def test_rows_are_their_own_reference_rows_also_after_rounding():
    found = ReconstructionOutlierDetector(n_steps=5, novelty=True, contamination=0.1, random_state=0).fit(NORMAL)
    for rows in (NORMAL.astype(np.float32), NORMAL.round(5)):
        assert 58 <= (found.predict(rows) == -1).sum() <= 62
        np.testing.assert_allclose(found.score_samples(rows), found.score_samples(NORMAL), rtol=0.02)


def test_a_clone_whose_last_bits_depend_on_other_rows_gives_the_same_scores():
    rows = NORMAL[:150].astype(np.float32)
    kernel = KernelPCA(3, kernel="rbf", fit_inverse_transform=True)
    found = ReconstructionOutlierDetector(kernel, n_estimators=2, novelty=True, random_state=0).fit(rows)
    alone = np.concatenate([found.score_samples(rows[i : i + 1]) for i in range(0, 150, 10)])
    np.testing.assert_allclose(alone, found.score_samples(rows)[::10], rtol=1e-4)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 33])
@pytest.mark.parametrize("n_columns", [1, 2, 6])
def test_few_rows_and_columns(n_rows, n_columns):
    rows = X[:n_rows, :n_columns]
    for novelty in (False, True):
        found = ReconstructionOutlierDetector(novelty=novelty, n_steps=3, random_state=0).fit(rows)
        assert np.isfinite(found.score_samples(X[:, :n_columns])).all()
        assert np.isfinite(found.offset_)


def test_constant_columns_duplicates_and_mixed_scales(detector):
    odd = np.column_stack([X[:, 0], X[:, 0] * 1e12, X[:, 1] * 1e-12, np.full(90, 0.1), np.repeat([1.0, 2.0], 45)])
    odd = np.vstack([odd, odd])
    assert np.isfinite(detector.fit(odd).score_samples(odd)).all()


def test_nothing_but_constants():
    ones = np.ones((20, 3))
    for detector in DETECTORS[:3]:
        scores = clone(detector).fit(ones).score_samples(np.vstack([ones, ones + 1e30]))
        assert np.isfinite(scores).all()
        assert scores[0] > scores[-1]


def test_units_do_not_matter():
    scale = np.array([1, 1024, 2.0**-20, 4, 1, 1])
    small, large = (ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(rows) for rows in (X, X * scale))
    np.testing.assert_array_equal(small.score_samples(X), large.score_samples(X * scale))


def test_constant_features_have_no_units():
    scores = []
    for unit in (1, 1000):
        rows = np.c_[X, np.full(len(X), 0.5 * unit)]
        new = rows[:5].copy()
        new[:, -1] *= 1.8
        scores.append(ReconstructionOutlierDetector(novelty=True, random_state=0).fit(rows).score_samples(new))
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_extreme_values_stay_finite():
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(np.vstack([X, np.full((1, 6), 1e30)]))
    scores = found.score_samples(np.vstack([X[:5], np.full((1, 6), 3e38), np.full((1, 6), -3e38)]))
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match=r"float32.*1e\+300"):
        found.score_samples(np.full((1, 6), 1e300))


def test_more_columns_than_rows_and_a_table_beyond_the_sample(monkeypatch):
    wide = np.random.default_rng(0).standard_normal((40, 1500)).astype(np.float32)
    assert np.isfinite(ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(wide).score_samples(wide)).all()
    monkeypatch.setattr("sk_autoenc.estimators.outlier_detector.MAX_ROWS", 50)
    found = ReconstructionOutlierDetector(n_steps=2, contamination=0.1, calibration_fraction=0.1, random_state=0).fit(X)
    assert (found.predict(X) == -1).sum() == 9
    assert found.max_samples_ == 25


@pytest.mark.parametrize(
    "autoencoder",
    [
        AutoencoderTransformer(2, architecture=Recurrent(4), max_iter=2),
        VAETransformer(2, architecture=Convolutional((4,), input_shape=(2, 12)), max_iter=2, n_score_samples=4),
        PCA(2),
        None,
    ],
    ids=["recurrent", "vae", "pca", "default"],
)
def test_rows_may_have_axes_of_their_own(autoencoder):
    series = np.random.default_rng(0).normal(size=(60, 2, 12)).cumsum(axis=2)
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=2, random_state=0).fit(series)
    assert detector.input_shape_ == (2, 12)
    flat = series.reshape(60, 24)
    np.testing.assert_array_equal(detector.score_samples(series), detector.score_samples(flat))
    parts = detector.explain(series)
    assert parts.shape == series.shape
    np.testing.assert_array_equal(parts.reshape(60, 24), detector.explain(flat))
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), -detector.score_samples(series), rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"rows of shape \(2, 12\), on which .* was fitted, got rows of shape \(4, 6\)"
    ):
        detector.predict(series.reshape(60, 4, 6))


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_rare_categories_do_not_break_the_fit():
    rows = np.zeros((200, 2), dtype=int)
    rows[:, 1] = np.arange(200) % 3
    rows[7, 0] = 1
    model = VAETransformer(1, likelihood="categorical", architecture=(8,), max_iter=2, early_stopping=False)
    found = ReconstructionOutlierDetector(model, n_estimators=2, random_state=0).fit(rows)
    assert found.score_samples(rows).argmin() == 7


def test_rows_beyond_all_distance_are_outliers():
    """Correlated noise multiplies by infinity there, and no comparison with NaN would be true."""
    rows = NORMAL[:200] + NORMAL[:200, :1]
    far = rows[:2].copy()
    far[0, 0] = 1e38
    model = VAETransformer(2, max_iter=2, early_stopping=False, random_state=0)
    scores = clone(model).fit(rows).score_samples(far)
    assert scores[0] == -np.inf
    assert np.isfinite(scores[1])
    detector = ReconstructionOutlierDetector(model, n_estimators=2, trim=0, calibration_fraction=0.2, random_state=0)
    assert detector.fit(rows).predict(far)[0] == -1
    assert detector.predict_pvalue(far)[0] == pytest.approx(1 / 41)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"residual": "log_likelihood"}, "residual='log_likelihood' needs an autoencoder with score_samples"),
        ({"autoencoder": StandardScaler(), "residual": "log_likelihood"}, "autoencoder=StandardScaler does not have"),
        ({"autoencoder": load_digits}, "autoencoder must have fit, which function does not have"),
        ({"calibration_fraction": 0.001}, r"calibration_fraction must .* got 0.001, which is 0 of n_samples=90 rows"),
        ({"contamination": 0.6}, "contamination.*0.6"),
        ({"trim": 1.0}, "trim.*1.0"),
        ({"max_samples": 0}, "max_samples.*0"),
        ({"residual": "mse"}, "residual.*mse"),
    ],
)
def test_errors_name_parameter_and_value(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ReconstructionOutlierDetector(**parameters).fit(X)


@pytest.mark.parametrize("widths", [(0,), (-3,), (3.5,)])
def test_widths_are_checked(widths):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        ReconstructionOutlierDetector(hidden_layer_sizes=widths).fit(X)


def test_errors_and_warnings_name_what_to_change():
    with pytest.raises(ValueError, match=r"trim=0\.1 leaves 9 of 10 rows .* PCA.*use trim=0"):
        ReconstructionOutlierDetector(PCA(10)).fit(np.c_[NORMAL, NORMAL][:10])
    with pytest.raises(ValueError, match=r"the class PCA; write autoencoder=PCA\(\)"):
        ReconstructionOutlierDetector(PCA).fit(NORMAL)
    for rows in (NORMAL, (NORMAL + 10).astype(np.float32)):
        with pytest.warns(UserWarning, match="reconstructs training rows up to rounding.*residual='squared'"):
            ReconstructionOutlierDetector(PCA(), residual="squared", random_state=0).fit(rows)


class OftenImpossible(PCA):
    """A model in whose eyes every other row cannot be."""

    def score_samples(self, X):
        return np.where(np.arange(len(X)) % 2, -np.inf, 0.0)


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_training_rows_without_a_finite_score_are_refused(contamination):
    detector = ReconstructionOutlierDetector(
        OftenImpossible(2), n_estimators=1, trim=0, residual="log_likelihood", contamination=contamination
    )
    with pytest.raises(ValueError, match=r"offset_ must be finite, got .* no finite score"):
        detector.fit(X)


def test_missing_values_are_refused_by_clones_with_the_way_out():
    missing = np.where(X > 9, np.nan, X)
    with pytest.raises(ValueError, match=r"X contains NaN.*make_pipeline\(AutoencoderImputer\(\), Reconstruction"):
        ReconstructionOutlierDetector(PCA(1)).fit(missing)
    detector = ReconstructionOutlierDetector(PCA(1), n_estimators=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"X contains NaN.*AutoencoderImputer"):
        detector.predict(missing)
    assert len(make_pipeline(SimpleImputer(), detector).fit(missing).predict(missing)) == len(X)


# -- progress


class Watcher:
    """A callback that keeps the names of tasks, and may ask to stop after some of them."""

    def __init__(self, stop_after=None):
        self.begun, self.ended, self.stop_after = [], [], stop_after

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.ended.append((context.task_name, fitted_estimator is not None))
        return len(self.ended) == self.stop_after


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_clone_is_a_task(n_jobs):
    watcher = Watcher()
    detector = ReconstructionOutlierDetector(PCA(2), n_estimators=3, n_jobs=n_jobs, random_state=0)
    scores = clone(detector).fit(X).score_samples(X)
    np.testing.assert_array_equal(detector.set_callbacks(watcher).fit(X).score_samples(X), scores)
    assert watcher.begun == ["fit", "clone", "clone", "clone"]
    assert watcher.ended == [("clone", False)] * 3 + [("fit", True)]


@pytest.mark.parametrize(("n_steps", "n_tasks"), [(1, 1), (7, 7), (25, 10), (60, 10)])
def test_each_tenth_of_the_steps_is_a_task(n_steps, n_tasks):
    watcher = Watcher()
    detector = ReconstructionOutlierDetector(n_steps=n_steps, random_state=0)
    scores = clone(detector).fit(X).score_samples(X)
    np.testing.assert_array_equal(detector.set_callbacks(watcher).fit(X).score_samples(X), scores)
    assert watcher.begun == ["fit"] + ["steps"] * n_tasks
    assert watcher.ended == [("steps", False)] * n_tasks + [("fit", True)]
    assert len(detector.loss_curve_) == n_steps


def test_a_callback_can_stop_the_networks_but_no_clones():
    networks = ReconstructionOutlierDetector(n_steps=20, random_state=0).set_callbacks(Watcher(stop_after=3)).fit(X)
    assert len(networks.loss_curve_) == 6
    watcher = Watcher(stop_after=1)
    clones = ReconstructionOutlierDetector(PCA(2), n_estimators=3, random_state=0).set_callbacks(watcher).fit(X)
    assert len(watcher.ended) == 4
    for detector in (networks, clones):
        assert np.isfinite(detector.score_samples(X)).all()


def test_a_fit_that_fails_still_ends_its_callbacks():
    class Torn(Watcher):
        n_torn = 0

        def teardown(self, estimator, context):
            self.n_torn += 1

    watcher = Torn()
    detector = ReconstructionOutlierDetector(n_steps=5, learning_rate=1e38).set_callbacks(watcher)
    with pytest.raises(ValueError, match=r"learning_rate must be smaller.* got 1e"):
        detector.fit(X)
    assert watcher.n_torn == 1


def test_verbose_prints_a_line_for_each_part(capsys):
    ReconstructionOutlierDetector(n_steps=20, verbose=1, random_state=0).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"step 2 of 20: loss \d\.\d+", lines[0])
    ReconstructionOutlierDetector(PCA(2), n_estimators=3, verbose=1, random_state=0).fit(X)
    assert capsys.readouterr().out.splitlines() == [f"clone {i} of 3 is fitted" for i in (1, 2, 3)]


def test_clones_are_fitted_where_joblib_has_no_generator():
    detector = ReconstructionOutlierDetector(PCA(2), n_estimators=2, n_jobs=2, random_state=0)
    expected = detector.fit(X).score_samples(X)
    with joblib.parallel_config("multiprocessing"):
        np.testing.assert_array_equal(clone(detector).fit(X).score_samples(X), expected)
