"""``n_components`` as None or a share of variance, and ``whiten``: what PCA has, with its results where it is kept."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sk_autoenc import MLP, AutoencoderTransformer, load, save
from sk_autoenc.data.splits import MIN_ROWS, make_splits
from sk_autoenc.initialization.pca import n_components_for, whitening_of
from sk_autoenc.training.randomness import draw_seed, make_generator

rng = np.random.default_rng(0)
#: Three axes of clearly different variance, and noise that fits no rows but its own.
PLANES = rng.normal(size=(700, 3)) * [6, 3, 1.5] @ np.linalg.qr(rng.normal(size=(12, 3)))[0].T
PLANES += 0.3 * rng.normal(size=PLANES.shape) + 5
QUICK = {"architecture": (8,), "max_iter": 2, "random_state": 0, "device": "cpu"}


def shares(train, held_out):
    """Share of the held-out variance that each number of components explains, one by one."""
    found = []
    for k in range(1, train.shape[1] + 1):
        pca = PCA(k).fit(train)
        made = pca.inverse_transform(pca.transform(held_out))
        found.append(1 - np.square(held_out - made).sum() / np.square(held_out - pca.mean_).sum())
    return np.array(found)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98, 0.9999])
def test_a_share_takes_as_many_components_as_explain_it_of_held_out_rows(share):
    model = AutoencoderTransformer(share, **QUICK).fit(PLANES)
    ((chosen, held_out),) = make_splits(
        len(PLANES), 0.1, make_generator(draw_seed(0), "split"), is_first=True, seen_all=False
    )
    known = shares(PLANES[chosen], PLANES[held_out])
    assert model.n_components_ == 1 + np.flatnonzero(known >= share)[0]
    assert model.transform(PLANES[:4]).shape == (4, model.n_components_)
    assert len(model.get_feature_names_out()) == model.n_components_


def test_rows_held_out_in_folds_are_pooled():
    folds = [(np.arange(0, 200, 2), np.arange(1, 200, 2)), (np.arange(1, 200, 2), np.arange(0, 200, 2))]
    as_tensors = [tuple(map(torch.from_numpy, fold)) for fold in folds]
    explained = sum(shares(PLANES[a], PLANES[b]) * np.square(PLANES[b] - PLANES[a].mean(0)).sum() for a, b in folds)
    explained /= sum(np.square(PLANES[b] - PLANES[a].mean(0)).sum() for a, b in folds)
    for share in (0.5, 0.9, 0.99):
        assert n_components_for(share, PLANES, as_tensors) == 1 + np.flatnonzero(explained >= share)[0]


def test_fewer_components_explain_held_out_rows_than_seem_to_explain_training_rows():
    """Of 30 rows with 100 columns of noise PCA explains everything, and of other rows hardly anything."""
    noise = np.random.default_rng(1).normal(size=(2 * MIN_ROWS, 100))
    assert PCA(0.9).fit(noise).n_components_ < AutoencoderTransformer(0.9, **QUICK).fit(noise).n_components_
    few = noise[: MIN_ROWS - 1]  # none are held out
    assert AutoencoderTransformer(0.9, **QUICK).fit(few).n_components_ == PCA(0.9).fit(few).n_components_


def test_none_is_the_smaller_of_rows_and_features_as_in_pca():
    for X in (PLANES[:50], PLANES[:7]):
        assert AutoencoderTransformer(None, **QUICK).fit(X).n_components_ == PCA().fit(X).n_components_


def test_the_number_of_components_stays_when_a_fit_goes_on(tmp_path):
    model = AutoencoderTransformer(0.9, **QUICK, warm_start=True).fit(PLANES)
    n_components = model.n_components_
    assert model.fit(rng.normal(size=(60, 12))).n_components_ == n_components
    save(model, tmp_path / "model")
    opened = load(tmp_path / "model")
    assert opened.n_components_ == n_components
    np.testing.assert_array_equal(opened.transform(PLANES), model.transform(PLANES))


def test_whitened_pca_is_scikit_learns():
    noise = np.random.default_rng(3).normal(size=(300, 5)) * [5, 4, 3, 2, 1]
    model, pca = AutoencoderTransformer(3, **QUICK, whiten=True).fit(noise), PCA(3, whiten=True).fit(noise)
    assert model.linear_
    codes, known = model.transform(noise), pca.transform(noise)
    signs = np.sign((codes * known).sum(axis=0))
    np.testing.assert_allclose(codes, known * signs, atol=1e-4)
    np.testing.assert_allclose(model.inverse_transform(known * signs), pca.inverse_transform(known), atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"early_stopping": False}, {"init": "random"}], ids=str)
def test_whitened_codes_are_uncorrelated_and_decoded_as_they_were(options, tmp_path):
    plain, model = (AutoencoderTransformer(3, **QUICK, **options, whiten=w).fit(PLANES) for w in (False, True))
    codes = model.transform(PLANES)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(3), atol=1e-3)
    np.testing.assert_array_equal(model.reconstruct(PLANES), plain.reconstruct(PLANES))  # training knows nothing of it
    np.testing.assert_allclose(model.inverse_transform(codes), plain.reconstruct(PLANES), atol=1e-3)
    np.testing.assert_array_equal(model.transform(PLANES[5:6]), codes[5:6])
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(PLANES), codes)


def test_directions_without_variance_become_zero():
    codes = np.column_stack([np.arange(5.0), 2 * np.arange(5.0)])
    mean, into, back = whitening_of(codes)
    white = (codes - mean) @ into.T
    np.testing.assert_allclose(white, np.column_stack([(np.arange(5) - 2) / np.sqrt(2.5), np.zeros(5)]), atol=1e-12)
    np.testing.assert_allclose(white @ back.T + mean, codes, atol=1e-12)
    for n_rows in (1, 4):
        assert whitening_of(np.ones((n_rows, 1)))[1] == 0
        assert AutoencoderTransformer(0.9, **QUICK).fit(np.ones((n_rows, 3))).n_components_ == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0.9, "likelihood": "bernoulli"}, "n_components=0.9 is a share of variance, for likelihood="),
        ({"n_components": 1.0}, "'n_components' parameter"),
        ({"n_components": 1.5}, "'n_components' parameter"),
        ({"whiten": True, "sparsity": 0.1}, "whiten=True would undo"),
        ({"whiten": True, "architecture": MLP((4,), code_activation="relu")}, "whiten=True would undo"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(**{**QUICK, **options}).fit(PLANES > 5)
