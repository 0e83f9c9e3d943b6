"""Detectors of series of unequal lengths, and of strings."""

import copy
import pickle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    Vocabulary,
    load,
    save,
)
from sk_autoenc.inspection import OutlierExplanationDisplay
from sk_autoenc.outliers import base
from tests.outliers.data import X, series_detector, waves

matplotlib.use("Agg")


@pytest.mark.parametrize("residual", ["auto", "latent"])
def test_series_may_differ_in_length(residual, monkeypatch):
    lengths = np.random.default_rng(1).integers(4, 12, 80)
    series = waves(lengths)
    detector = series_detector(residual=residual, calibration_fraction=0.2)
    detector.set_params(autoencoder__early_stopping=True).fit(series)
    scores = detector.score_samples(series)
    assert np.isfinite(scores).all()
    one, longest = 7, int(lengths.max())
    np.testing.assert_array_equal(detector.score_samples([series[one]]), scores[[one]])
    rows = np.full((80, 2, longest), np.nan)
    for row, case in zip(rows, series, strict=True):
        row[:, : case.shape[1]] = case
    np.testing.assert_array_equal(detector.score_samples(rows), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(series), scores)
    parts = detector.explain(series[:5])
    assert [part.shape for part in parts] == [case.shape for case in series[:5]]
    np.testing.assert_allclose([part.sum() for part in parts], -scores[:5], rtol=1e-6)
    monkeypatch.setattr(base, "_OCCLUDED_AT_ONCE", 7)
    for part, again in zip(parts, detector.explain(series[:5]), strict=True):
        np.testing.assert_array_equal(part, again)
    assert (detector.explain(rows[:5])[np.isnan(rows[:5])] == 0).all()
    display = OutlierExplanationDisplay.from_estimator(detector, series, row=2, n_features=3)
    largest = np.unravel_index(parts[2].argmax(), parts[2].shape)
    assert display.ax_.get_yticklabels()[0].get_text().startswith(f"channel {largest[0]}, time {largest[1]} = ")
    plt.close(display.figure_)
    with pytest.raises(ValueError, match=r"series of at most .* timepoints, got a series of"):
        detector.predict(waves([longest + 1]))


@pytest.mark.parametrize("residual", ["log_likelihood", "latent"])
def test_detectors_of_series_are_saved_with_their_members(residual, tmp_path):
    series = waves(np.tile(np.arange(4, 9), 12))
    detector = series_detector(residual=residual, calibration_fraction=0.2).fit(series)
    save(detector, tmp_path / "detector")
    found = load(tmp_path / "detector")
    for method in ("score_samples", "predict", "predict_pvalue"):
        np.testing.assert_array_equal(getattr(found, method)(series), getattr(detector, method)(series))
    np.testing.assert_array_equal(found.explain(series[:1])[0], detector.explain(series[:1])[0])


def test_unlike_series_of_any_length_are_outliers():
    usual, others = waves(np.tile(np.arange(6, 12), 15)), waves(np.arange(6, 12), seed=5)
    noise = np.random.default_rng(2)
    odd = [case + noise.normal(size=case.shape) for case in others]
    scores = series_detector(30, novelty=True, trim=0).fit(usual).score_samples([*others, *odd])
    assert scores[:6].min() > scores[6:].max()


@pytest.mark.parametrize("max_samples", [1.0, 30])
def test_trimming_leaves_out_series_by_their_mean_error_not_by_their_length(max_samples):
    members = []

    class Member(AutoencoderTransformer):
        """One that expects 0 everywhere, and keeps the lengths of what it was fitted on."""

        def fit(self, X, y=None):
            members.append(self)
            self.fitted_on_ = (~np.isnan(X)).sum(axis=1)
            self.largest_ = np.nanmax(X, axis=1)
            return self

        def score_samples(self, X):
            return -np.nansum(np.square(X), axis=1)

    long, short = np.full((30, 20), 1.0), np.concatenate([np.full((10, 4), 1.5), np.full((10, 16), np.nan)], axis=1)
    odd = np.full((10, 20), 2.0)
    rows = np.concatenate([long, short, odd])  # squared errors of 20, 9 and 80: of 1, 2.25 and 4 a cell
    detector = series_detector(n_estimators=4, max_samples=max_samples, trim=0.4)
    detector.set_params(autoencoder=Member(architecture=Recurrent(unequal_lengths=True))).fit(rows)
    assert len(members) == 8
    for member in members[1::2]:  # the second fits
        assert member.largest_.max() < 2.0  # none that is odd
        if max_samples == 1.0:
            np.testing.assert_array_equal(member.fitted_on_, np.full(30, 20))


def test_trimming_of_a_subsample_without_ends_goes_by_errors_too():
    usual, odd = waves([8] * 59), [9 * case for case in waves([8] * 5, seed=3)]
    series = [waves([5], seed=9)[0], *odd, *usual]
    detector = series_detector(12, n_estimators=4, max_samples=0.5, trim=0.2).fit(series)
    scores = detector.score_samples(series)
    assert scores[1:6].max() < scores[6:].min()


def test_units_and_lengths_do_not_decide_which_series_are_outliers():
    series = waves(np.random.default_rng(4).integers(5, 40, 60))
    options = {"max_iter": 4, "early_stopping": False, "n_score_samples": 4, "device": "cpu"}
    autoencoder = VAETransformer(2, architecture=Recurrent(6, unequal_lengths=True), **options)
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    expected = clone(detector).fit(series)
    scores, outliers = expected.score_samples(series), expected.predict(series)
    assert (outliers == -1).any()
    for scale in (1024.0, 1 / 1024):
        scaled = [scale * case for case in series]
        found = clone(detector).fit(scaled)
        np.testing.assert_allclose(found.score_samples(scaled), scores - np.log(scale), rtol=1e-5)
        np.testing.assert_array_equal(found.predict(scaled), outliers)


def test_the_longest_series_is_explained_though_no_other_reaches_its_end():
    series = [*waves(np.tile(np.arange(4, 9), 12)), *waves([12], seed=7)]
    for seed in range(3):
        detector = series_detector(calibration_fraction=0.3, random_state=seed).fit(series)
        (parts,) = detector.explain(series[-1:])
        assert parts.shape == (2, 12)
        np.testing.assert_allclose(parts.sum(), -detector.score_samples(series[-1:])[0], rtol=1e-6)


def test_series_may_be_shorter_than_the_architecture_allows_and_have_no_holes():
    series = waves(np.tile(np.arange(4, 9), 10))
    detector = series_detector()
    detector.autoencoder.set_params(architecture__input_shape=(2, 20))
    assert detector.fit(series).input_shape_ == (2, 20)
    assert len(detector.predict(waves([1, 20]))) == 2
    holed = np.full((50, 2, 8), 1.0)
    holed[33, :, 4] = np.nan
    with pytest.raises(ValueError, match="NaN inside series 33"):
        series_detector().fit(holed)


def test_an_autoencoder_that_was_fitted_before_is_read_as_it_is_set():
    autoencoder = AutoencoderTransformer(2, max_iter=2, device="cpu").fit(X)
    autoencoder.set_params(architecture=Recurrent(4, unequal_lengths=True))
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    assert len(detector.fit(waves([4, 5, 6, 7] * 5)).predict(waves([3]))) == 1


def test_autoencoders_of_series_without_scores_are_scored_by_their_codes():
    autoencoder = AAETransformer(
        2, architecture=Recurrent(4, unequal_lengths=True), prior="swiss_roll", max_iter=2, device="cpu"
    )
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    with pytest.raises(ValueError, match=r"no score_samples, .* got 0\.1"):
        detector.fit(waves([4, 5, 6, 7] * 5))
    assert detector.set_params(trim=0).fit(waves([4, 5, 6, 7] * 5)).residual_ == "latent"


@pytest.mark.parametrize("residual", ["neighbors", "robust", "squared"])
def test_measures_of_cells_refuse_series_of_unequal_lengths(residual):
    with pytest.raises(ValueError, match=f"residual must be .* cannot be compared across rows, got '{residual}'"):
        series_detector(residual=residual).fit(waves([4, 5, 6, 7]))
    with pytest.raises(ValueError, match=r"autoencoder must have .* for series of unequal lengths"):
        ReconstructionOutlierDetector().fit(waves([4, 5, 6, 7]))


def test_strings_may_be_outliers():
    draw = np.random.default_rng(0)
    usual = ["ab" * int(n) for n in draw.integers(2, 6, 100)]
    vocabulary = Vocabulary().fit([*usual, "ba"])
    autoencoder = AutoencoderTransformer(
        2,
        architecture=Recurrent(8, unequal_lengths=True),
        likelihood="categorical",
        max_iter=25,
        learning_rate=0.02,
        batch_size=32,
        early_stopping=False,
    )
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, trim=0, random_state=0)
    detector.fit(vocabulary.transform(usual))
    scores = detector.score_samples(vocabulary.transform(["ababab", "abbaab", "bababa"]))
    assert scores[0] > scores[1:].max()
    assert (detector.explain(vocabulary.transform(["", "ab"]))[0] == 0).all()
    expected = detector.score_samples(vocabulary.transform(["", "ab"]))
    changed = copy.copy(detector).set_params(autoencoder=PCA(2))
    np.testing.assert_array_equal(changed.score_samples(vocabulary.transform(["", "ab"])), expected)
