"""Ensembles of clones: their subsamples, seeds, priors and trimming."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector, VAETransformer
from sk_autoenc.data.scaling import fit_robust_scaling
from sk_autoenc.outliers.ensembles import CloneEnsemble, draw_without_replacement, reconstruction_errors
from tests.outliers.data import PLANE, PLANTED, X, generator, recording


def test_rows_are_drawn_without_replacement():
    subsamples = draw_without_replacement(100, 30, 8, generator())
    assert subsamples.shape == (8, 30)
    assert all(len(set(own.tolist())) == 30 for own in subsamples)
    assert len(set(subsamples[:3].flatten().tolist())) == 90
    assert subsamples[:3].tolist() != subsamples[3:6].tolist()


def test_a_model_with_a_density_is_scored_by_it():
    kind, members = recording(VAETransformer)
    vae = kind(2, max_iter=2, n_score_samples=8, random_state=0)
    found = ReconstructionOutlierDetector(vae, n_estimators=2, trim=0, random_state=0).fit(PLANE[:100])
    assert found.residual_ == "log_likelihood"
    assert len(members) == 2
    expected = np.mean([member.score_samples(PLANTED) for member in members], axis=0)
    np.testing.assert_allclose(found.score_samples(PLANTED), expected, rtol=1e-6)


@pytest.mark.parametrize("novelty", [False, True])
def test_groups_of_outliers_get_no_place_in_the_prior(novelty):
    kind, members = recording(VAETransformer)
    pipe = make_pipeline(StandardScaler(), kind(2, max_iter=1, n_score_samples=2))
    ReconstructionOutlierDetector(pipe, n_estimators=2, novelty=novelty, random_state=0).fit(PLANE[:100])
    assert len(members) == 4  # each is fitted again without trimmed rows
    assert {member.prior for member in members} == {"auto" if novelty else "normal"}
    assert pipe[-1].prior == "auto"


def test_clones_differ_by_seed_and_by_subsample():
    kind, members = recording(AutoencoderTransformer)
    found = ReconstructionOutlierDetector(
        kind(1, max_iter=1, random_state=5), n_estimators=2, max_samples=30, trim=0, random_state=0
    ).fit(X)
    one, two = members
    assert one.random_state != two.random_state
    assert not np.array_equal(one.transform(X), two.transform(X))
    assert found.autoencoder.random_state == 5
    assert found.max_samples_ == 30


def test_a_trimmed_refit_forgets_the_outliers():
    options = {"n_estimators": 1, "max_samples": 1.0, "residual": "squared", "random_state": 0}
    untrimmed, trimmed = (
        -ReconstructionOutlierDetector(PCA(2), trim=trim, **options).fit(PLANTED).score_samples(PLANTED)
        for trim in (0.0, 0.1)
    )
    assert untrimmed[:400].mean() > 1e-3  # the outliers have turned the plane
    assert trimmed[:400].max() < 1e-9


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_categories_are_trimmed_by_their_probability(in_pipeline):
    draw = np.random.default_rng(0)
    C = np.column_stack([draw.integers(0, 12, 400), draw.integers(0, 3, 400)]).astype(float)
    model = AutoencoderTransformer(1, likelihood="categorical", architecture=(8,), max_iter=3, random_state=0)
    model = make_pipeline(FunctionTransformer(), model) if in_pipeline else model
    errors = reconstruction_errors(model.fit(C), C, fit_robust_scaling(C))
    np.testing.assert_array_equal(errors.numpy(), -model.score_samples(C))


def test_spreads_take_few_reconstructions(monkeypatch):
    n_made = []

    def counted(self, X, original=CloneEnsemble.reconstruct):
        n_made.append(len(X))
        return original(self, X)

    monkeypatch.setattr(CloneEnsemble, "reconstruct", counted)
    rows = np.random.default_rng(0).standard_normal((9000, 3)).astype(np.float32)
    for residual, most in (("squared", 512), ("robust", 2048)):
        n_made.clear()
        detector = ReconstructionOutlierDetector(PCA(1), residual=residual, n_estimators=1, novelty=True, trim=0)
        detector.fit(rows)
        assert sum(n_made) == most + 512  # and those whose scores set the offset
