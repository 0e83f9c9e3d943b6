"""Sparse rows: the same models as of dense ones, without a dense matrix, where PCA and GaussianMixture take them."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    Convolutional,
    GANSampler,
    VAETransformer,
    load,
    save,
)
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.sparse import Scaled, SparseBlock, SparseRows
from sk_autoenc.initialization import pca
from sk_autoenc.likelihoods import Gaussian

rng = np.random.default_rng(0)
COUNTS = sparse.csr_array(rng.poisson(0.4 * rng.gamma(1, size=(120, 1)), size=(120, 12)).astype(float))
CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}
MODELS = [
    AutoencoderTransformer(2, **CHEAP),
    AutoencoderTransformer(2, **CHEAP, init="random", noise=0.2, early_stopping=False),
    AutoencoderTransformer(2, **CHEAP, likelihood="poisson"),
    VAETransformer(2, **CHEAP, likelihood="poisson", n_score_samples=8),
    VAETransformer(2, **CHEAP, likelihood="multinomial", n_score_samples=8, early_stopping=False),
    VAETransformer(2, **CHEAP, likelihood="negative_binomial", n_score_samples=8),
]
EACH = pytest.mark.parametrize("model", MODELS, ids=lambda m: " ".join(repr(m).split()))


@EACH
def test_sparse_rows_give_the_model_of_dense_ones(model):
    of_sparse, of_dense = clone(model).fit(COUNTS), clone(model).fit(COUNTS.toarray())
    for method in ("transform", "reconstruct", "score_samples"):
        found = getattr(of_sparse, method)(COUNTS)
        np.testing.assert_allclose(found, getattr(of_dense, method)(COUNTS.toarray()), rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(found, getattr(of_sparse, method)(COUNTS.toarray()))  # of the very same model
        np.testing.assert_array_equal(found[5:6], getattr(of_sparse, method)(COUNTS[5:6]))
    assert of_sparse.score(COUNTS) == pytest.approx(of_dense.score(COUNTS.toarray()), rel=1e-3)


@EACH
def test_no_method_makes_the_whole_matrix_dense(model, monkeypatch):
    """Blocks of 1024 rows and batches of steps are dense; 5000 rows are neither."""
    many = sparse.vstack([COUNTS] * 42, format="csr")

    def toarray(self, *args, **kwargs):
        assert self.shape[0] <= 1024, f"{self.shape} was made dense"
        return dense(self, *args, **kwargs)

    def dense_block(self):
        assert len(self) <= 4096, f"{self.shape} was made dense"
        return block(self)

    dense, block = sparse.csr_array.toarray, SparseBlock.dense
    monkeypatch.setattr(sparse.csr_array, "toarray", toarray)
    monkeypatch.setattr(SparseBlock, "dense", dense_block)
    fitted = clone(model).set_params(max_iter=1).fit(many)
    assert fitted.transform(many).shape == (5040, 2)
    assert np.isfinite(fitted.score(many))


@pytest.mark.parametrize("form", ["csc", "coo", "lil"])
def test_other_formats_and_partial_fit_and_files(form, tmp_path):
    X = sparse.csr_matrix(COUNTS).asformat(form)
    model = clone(MODELS[0]).fit(X)
    np.testing.assert_array_equal(model.transform(X), clone(MODELS[0]).fit(COUNTS).transform(COUNTS))
    model.partial_fit(X)
    save(model, tmp_path / "model")
    for opened in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(opened.transform(X), model.transform(X))


def test_pca_of_many_columns_is_centred_without_a_covariance(monkeypatch):
    monkeypatch.setattr(pca, "_MOST_DENSE", 5)
    X = np.asarray(COUNTS.toarray())
    data = RowPreprocessor(Gaussian(), (12,), "float64").fit(COUNTS, np.arange(120))
    rows = data.dataset(COUNTS, "cpu")
    assert isinstance(rows, SparseRows)
    assert isinstance(rows.read, Scaled)
    mean, axes = pca.principal_axes(rows, 3)
    as_dense = RowPreprocessor(Gaussian(), (12,), "float64").fit(X, np.arange(120)).dataset(X, "cpu")
    assert type(as_dense) is Rows
    np.testing.assert_allclose(rows[:].numpy(), as_dense[:].numpy(), atol=1e-5)
    known_mean, known_axes = pca.principal_axes(as_dense, 3)
    np.testing.assert_allclose(mean, known_mean, atol=1e-5)
    np.testing.assert_allclose(axes, known_axes, atol=1e-4)


TEXTS = [f"{a} {b} and {a}" for a in ("ham", "eggs", "tea") for b in ("toast", "jam", "milk", "rice")] * 4


def test_texts_and_categories_go_through_pipelines():
    codes = make_pipeline(TfidfVectorizer(), AutoencoderTransformer(2, **CHEAP)).fit_transform(TEXTS)
    assert codes.shape == (48, 2)
    few = TEXTS[:12]  # too few rows to evaluate a network, so this is PCA
    kept = make_pipeline(TfidfVectorizer(), AutoencoderTransformer(2, **CHEAP)).fit(few)
    X = TfidfVectorizer().fit_transform(few).toarray()
    assert kept[-1].reconstruction_err_ == pytest.approx(
        np.square(X - PCA(2).fit(X).inverse_transform(PCA(2).fit_transform(X))).sum(axis=1).mean(), rel=1e-3
    )
    topics = make_pipeline(CountVectorizer(), VAETransformer(2, **CHEAP, likelihood="multinomial")).fit(TEXTS)
    assert np.isfinite(topics.score(TEXTS))
    assert topics[-1].sample(3, random_state=0).shape == (3, 8)
    columns = make_column_transformer((OneHotEncoder(), [0]), (OneHotEncoder(), [1]), sparse_threshold=1.0)
    table = np.array([text.split()[:2] for text in TEXTS], dtype=object)
    assert make_pipeline(columns, AutoencoderTransformer(2, **CHEAP)).fit_transform(table).shape == (48, 2)


@pytest.mark.parametrize(
    "model",
    [
        VAETransformer(**CHEAP),
        AAETransformer(**CHEAP),
        AutoencoderTransformer(**{**CHEAP, "architecture": Convolutional((2,), input_shape=(1, 12))}),
        AutoencoderTransformer(**CHEAP, likelihood="categorical"),
        GANSampler(**CHEAP),
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_cannot_take_them_says_what_can(model):
    with pytest.raises(TypeError, match=r"needs dense rows. Put TruncatedSVD before it"):
        model.fit(COUNTS)


def test_values_and_shares_of_sparse_rows_are_checked():
    with pytest.raises(ValueError, match="X must have counts"):
        clone(MODELS[2]).fit(-COUNTS)
    with pytest.raises(ValueError, match="share of variance of dense rows"):
        clone(MODELS[0]).set_params(n_components=0.9).fit(COUNTS)
    with pytest.raises(TypeError, match="inpaint needs dense rows"):
        clone(MODELS[0]).fit(COUNTS).inpaint(COUNTS)
    wrong = COUNTS.copy()
    wrong.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clone(MODELS[0]).fit(wrong)
    assert isinstance(AAETransformer(likelihood="poisson", **CHEAP).fit(COUNTS).transform(COUNTS), np.ndarray)


def test_few_sparse_rows_are_fitted_for_as_many_epochs_as_dense_ones():
    model = AutoencoderTransformer(2, architecture=(8,), random_state=0, device="cpu")  # max_iter="auto", in folds
    of_sparse, of_dense = (clone(model).fit(rows) for rows in (COUNTS[:48], COUNTS[:48].toarray()))
    np.testing.assert_allclose(of_sparse.transform(COUNTS), of_dense.transform(COUNTS.toarray()), rtol=1e-2, atol=1e-2)
