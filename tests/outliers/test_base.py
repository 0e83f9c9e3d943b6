"""Methods of a fitted detector: decisions, p-values, explanations, saving."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector, load, save
from sk_autoenc.data.validation import cast_within
from sk_autoenc.training.inference import LARGE_BLOCK
from tests.instances import DETECTORS, describe
from tests.outliers.data import NORMAL, PLANTED, X


@pytest.fixture(params=DETECTORS, ids=describe)
def detector(request):
    return clone(request.param)


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.33, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contamination_is_exact_on_the_training_rows(contamination, dtype):
    rows = X.astype(dtype)
    found = ReconstructionOutlierDetector(n_steps=5, contamination=contamination, random_state=0)
    assert (found.fit_predict(rows) == -1).sum() == round(contamination * len(rows))
    np.testing.assert_array_equal(found.predict(rows) == -1, found.decision_function(rows) < 0)
    rounding = 0 if dtype == np.float64 else 1e-6  # decisions are made before scores are rounded to float32
    expected = found.score_samples(rows) - found.offset_
    np.testing.assert_allclose(found.decision_function(rows), expected, rtol=0, atol=rounding)


def test_automatic_threshold_is_the_lower_fence_of_the_box_plot():
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(X)
    first, third = np.quantile(found.score_samples(X), [0.25, 0.75])
    assert found.offset_ == pytest.approx(first - 1.5 * (third - first))


def test_ranks_do_not_depend_on_the_dtype():
    """Rows of zeros and ones have many equal scores, and the same values in both dtypes."""
    rows = (np.random.default_rng(0).random((300, 5)) < 0.4).astype(float)
    found = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.3, random_state=0).fit(rows[:200])
    small = rows[200:].astype(np.float32)
    np.testing.assert_array_equal(found.predict_pvalue(small), found.predict_pvalue(rows[200:]))
    np.testing.assert_array_equal(found.predict(small), found.predict(rows[200:]))


class NearlyEqual(PCA):
    """Scores that float64 tells apart, and float32 does not."""

    def score_samples(self, X):
        return 1 + 1e-12 * X[:, 0].astype(np.float64)


def test_decisions_are_made_in_float64():
    options = {"n_estimators": 1, "residual": "log_likelihood", "contamination": 0.5, "random_state": 0}
    found, rows = ReconstructionOutlierDetector(NearlyEqual(2), **options).fit(NORMAL), NORMAL.astype(np.float32)
    assert len(np.unique(found.score_samples(rows))) == 1
    is_below = rows[:, 0] < np.median(NORMAL[:, 0])
    np.testing.assert_array_equal(found.predict(rows), np.where(is_below, -1, 1))
    np.testing.assert_array_equal(found.decision_function(rows) < 0, is_below)


def test_finite_scores_stay_finite_in_float32():
    found = cast_within(np.array([-1e300, 1.5, -np.inf]), np.dtype(np.float32))
    np.testing.assert_array_equal(found, np.array([-np.finfo(np.float32).max, 1.5, -np.inf], dtype=np.float32))


class ScoresNothingFar(PCA):
    def score_samples(self, X):
        return np.where(X[:, 0] > 100, np.nan, X[:, 0])


def test_a_score_that_is_none_is_the_lowest():
    options = {"residual": "log_likelihood", "n_estimators": 1, "random_state": 0}
    detector = ReconstructionOutlierDetector(ScoresNothingFar(2), **options).fit(NORMAL)
    assert (detector.score_samples(NORMAL[:3] + 1000) == -np.inf).all()
    assert (detector.predict(NORMAL[:3] + 1000) == -1).all()


def test_pvalues_are_ranks_among_the_held_out_rows():
    found = ReconstructionOutlierDetector(n_steps=5, calibration_fraction=0.2, random_state=0).fit(X)
    held_out = found.calibration_scores_
    assert len(held_out) == 18
    pvalues = found.predict_pvalue(PLANTED[:50])
    scores = found.score_samples(PLANTED[:50])
    np.testing.assert_allclose(pvalues, [(1 + (held_out <= s).sum()) / 19 for s in scores])


def test_pvalues_count_ties_as_no_less_unusual():
    """Where rows have few values, a new one that ties with held-out rows is not more unusual than they are."""
    rows = np.random.default_rng(0).integers(0, 2, (120, 3)).astype(float)
    detector = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.3, random_state=0).fit(rows)
    pvalues, scores = detector.predict_pvalue(rows), detector.score_samples(rows)
    held_out = detector.calibration_scores_
    assert np.isin(scores, held_out).all()
    np.testing.assert_allclose(pvalues, [(1 + (held_out <= score).sum()) / (1 + len(held_out)) for score in scores])


def test_pvalues_hold_their_level():
    """Over 300 splits of normal rows; the 99.9 % binomial band around 0.1 is 0.045 to 0.16."""
    draw = np.random.default_rng(0)
    alarms = 0
    for seed in range(300):
        rows = draw.standard_normal((60, 3)) ** 3
        found = ReconstructionOutlierDetector(n_steps=1, n_estimators=1, calibration_fraction=0.5, random_state=seed)
        alarms += found.fit(rows[:59]).predict_pvalue(rows[59:])[0] <= 0.1
    assert 0.045 < alarms / 300 < 0.16


def test_pvalues_need_held_out_rows():
    found = ReconstructionOutlierDetector(n_steps=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"calibration_fraction must be set in fit .* got None; set it"):
        found.predict_pvalue(X)


def test_too_few_rows_for_small_p_values_are_told():
    with pytest.warns(UserWarning, match=r"9 rows, so p-values are at least 0\.1; a p-value of 0\.05 needs 19"):
        detector = ReconstructionOutlierDetector(calibration_fraction=0.1, random_state=0).fit(X)
    assert detector.predict_pvalue(np.full((1, 6), 1e3)) == pytest.approx(0.1)


def test_rows_that_are_held_out_teach_nothing():
    fits = ReconstructionOutlierDetector(n_steps=3, calibration_fraction=0.2, random_state=0)
    found = fits.fit(NORMAL)
    is_held_out = np.isin(found.score_samples(NORMAL), found.calibration_scores_)
    held_out, others = np.flatnonzero(is_held_out), np.flatnonzero(~is_held_out)
    np.testing.assert_array_equal(found.calibration_scores_, np.sort(found.score_samples(NORMAL[held_out])))
    assert len(held_out) == 120
    expected = found.score_samples(NORMAL[others])
    changed = NORMAL.copy()
    changed[held_out] += 100
    np.testing.assert_array_equal(fits.fit(changed).score_samples(NORMAL[others]), expected)
    assert fits.calibration_scores_.max() < expected.min()


def test_explanations_add_up(detector):
    detector.fit(X)
    for rows in (X, X[:1], X * 3):
        parts = detector.explain(rows)
        assert parts.shape == rows.shape
        np.testing.assert_allclose(parts.sum(axis=1), -detector.score_samples(rows), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("instance", [DETECTORS[i] for i in (0, 1, 2, 5)], ids=describe)
def test_an_explanation_is_bit_equal_whatever_the_other_rows(instance, dtype):
    detector = clone(instance).fit(X.astype(dtype))
    rows = np.random.default_rng(1).standard_normal((70, 6)).astype(dtype) * 3 + 5
    parts = detector.explain(rows)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(detector.explain(rows[3:4]), parts[3:4])
    finally:
        torch.set_num_threads(before)


def test_explanations_have_the_dtype_of_the_rows_and_survive_pickling(detector):
    for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)):
        rows = X.astype(dtype)
        parts = detector.fit(rows).explain(rows[:5])
        assert parts.dtype == expected
        for opened in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
            np.testing.assert_array_equal(opened.explain(rows[:5]), parts)


def test_the_odd_feature_is_named(detector):
    odd = X[:5].copy()
    odd[:, 4] += 40
    detector.set_params(calibration_fraction=None).fit(X)
    if detector.residual_ != "latent":  # one code need not see the feature
        assert (detector.explain(odd).argmax(axis=1) == 4).all()


def test_explanations_come_as_the_rows_do():
    names = list("abcdef")
    found = ReconstructionOutlierDetector(n_steps=2, random_state=0)
    frame = pd.DataFrame(X, columns=names, index=np.arange(90) + 7)
    parts = found.fit(frame).explain(frame)
    assert list(parts.columns) == names
    assert list(parts.index) == list(frame.index)
    again = found.explain(pl.DataFrame(X, schema=names))
    assert isinstance(again, pl.DataFrame)
    np.testing.assert_array_equal(again.to_numpy(), parts.to_numpy())
    assert isinstance(found.fit(X).explain(X), np.ndarray)
    assert found.explain(X.astype(np.float32)).dtype == np.float32


class LinearScore(PCA):
    """A score whose parts are known: a sum over features; minus infinity on one side."""

    weights = np.array([1.0, -2.0, 3.0])
    limit = np.inf

    def score_samples(self, X):
        return np.where(X[:, 0] > self.limit, -np.inf, X @ self.weights)


class HalfSpace(LinearScore):
    limit = 1.5


class Nowhere(LinearScore):
    """Possible only with a positive first feature, whose median is negative: no median makes a row possible."""

    def score_samples(self, X):
        return np.where(X[:, 0] <= 0, -np.inf, X @ self.weights)


def explained(transformer, rows):
    found = ReconstructionOutlierDetector(
        transformer, n_estimators=2, trim=0, residual="log_likelihood", random_state=0
    ).fit(rows)
    return found, found.explain(rows)


def test_occlusion_by_hand():
    rows = NORMAL[:100, :3]
    found, parts = explained(LinearScore(2), rows)
    typical = np.sort(rows, axis=0)[49]
    by_feature = -(rows - typical) * LinearScore.weights
    np.testing.assert_allclose(parts, by_feature - (typical @ LinearScore.weights) / 3)
    np.testing.assert_allclose(parts.sum(1), -found.score_samples(rows))


def test_impossible_rows_are_explained_by_what_makes_them_so():
    rows = NORMAL[:100, :3]
    _, parts = explained(HalfSpace(2), rows)
    impossible = rows[:, 0] > 1.5
    assert impossible.any()
    np.testing.assert_array_equal(parts[impossible], [[np.inf, 0, 0]] * impossible.sum())
    assert np.isfinite(parts[~impossible]).all()
    rows = rows - np.array([1.0, 0, 0])
    detector = ReconstructionOutlierDetector(Nowhere(2), n_estimators=1, trim=0, residual="log_likelihood")
    with pytest.raises(ValueError, match=r"offset_ must be finite, got .* residual='log_likelihood'"):
        detector.fit(rows)
    rows[:, 0] -= np.sort(rows[:, 0])[49]  # half of the rows are impossible, among them one with the lower median
    detector.set_params(contamination=0.5, random_state=0).fit(rows)
    parts = detector.explain(rows)
    possible = rows[:, 0] > 0
    assert np.isfinite(parts[possible]).all()
    np.testing.assert_allclose(parts[possible].sum(1), -detector.score_samples(rows[possible]))
    assert np.isposinf(parts[~possible]).all()


def test_networks_are_saved_without_pickle_and_foreign_clones_refused(tmp_path):
    found = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.2, random_state=0).fit(X)
    save(found, tmp_path / "detector")
    opened = load(tmp_path / "detector")
    np.testing.assert_array_equal(opened.score_samples(X), found.score_samples(X))
    np.testing.assert_array_equal(opened.predict_pvalue(X), found.predict_pvalue(X))
    with pytest.raises(ValueError, match=r"autoencoder=PCA\(.*cannot be stored without pickle"):
        save(ReconstructionOutlierDetector(PCA(1)).fit(X), tmp_path / "clones")


@pytest.mark.parametrize("residual", ["neighbors", "squared"])
def test_detectors_with_autoencoders_of_this_library_are_saved(residual, tmp_path):
    autoencoder = AutoencoderTransformer(2, max_iter=2, device="cpu")
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=2, residual=residual, random_state=0).fit(X)
    save(detector, tmp_path / "detector")
    np.testing.assert_array_equal(load(tmp_path / "detector").score_samples(X), detector.score_samples(X))


def test_a_fit_that_fails_leaves_no_half_state():
    found = ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"learning_rate must be smaller.* got 1e"):
        found.set_params(learning_rate=1e38, n_steps=5).fit(X[:, :3])
    with pytest.raises(NotFittedError):
        found.score_samples(X)
    assert not hasattr(found, "n_features_in_")


@pytest.mark.parametrize(
    "parameters",
    [
        {"contamination": 0.1},
        {"calibration_fraction": 0.2, "residual": "robust"},
        {"autoencoder": PCA(2), "contamination": 0.1},
    ],
    ids=str,
)
def test_sparse_rows_score_as_dense_ones_do_and_only_blocks_of_them_are_made_dense(parameters, monkeypatch):
    rows = sparse.random_array((1500, 12), density=0.2, rng=np.random.default_rng(0), format="csr")
    dense = rows.toarray()
    monkeypatch.setattr("sk_autoenc.estimators.outlier_detector.MAX_ROWS", 200)
    of_dense = ReconstructionOutlierDetector(n_steps=3, random_state=0).set_params(**parameters).fit(dense)
    sizes, toarray = [], sparse.csr_array.toarray

    def watched(self, *args, **kwargs):
        sizes.append(self.shape[0])
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", watched)
    model = clone(of_dense).fit(rows)
    for form in (sparse.csr_array, sparse.csc_matrix):
        np.testing.assert_array_equal(model.score_samples(form(rows)), of_dense.score_samples(dense))
    np.testing.assert_array_equal(model.predict(rows), of_dense.predict(dense))
    assert sizes
    assert max(sizes) <= LARGE_BLOCK
    np.testing.assert_array_equal(model.explain(rows[:3]), of_dense.explain(dense[:3]))
    rows.data[0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.predict(rows)
