"""Series through the estimators: their form, and all that holds for tables."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    load,
    save,
)
from tests.data_sets import PHASE, TIME
from tests.data_sets import WAVES as X
from tests.instances import describe
from tests.outputs import assert_same, outputs

SHAPE = X.shape[1:]

_CHEAP = {"architecture": Recurrent(4), "max_iter": 2, "random_state": 0, "device": "cpu"}
SERIES = [
    AutoencoderTransformer(**_CHEAP, noise=0.2, early_stopping=False),
    AutoencoderTransformer(
        **{**_CHEAP, "architecture": Recurrent(5, cell="lstm", num_layers=2, bidirectional=False)},
        init="random",
        early_stopping=False,
    ),
    VAETransformer(**_CHEAP, n_score_samples=2, early_stopping=False),
    AAETransformer(**_CHEAP, critic=(8,)),
]


@pytest.fixture(params=SERIES, ids=describe)
def estimator(request):
    return clone(request.param)


def test_series_with_missing_steps_are_refused(estimator):
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(np.where(X > 7, np.nan, X))


# -- the form of rows


def test_rows_come_back_in_the_form_that_fit_saw(estimator):
    flat_rows = X.reshape(len(X), -1)
    series = clone(estimator).fit(X)
    flat = estimator.set_params(architecture__input_shape=SHAPE).fit(flat_rows)
    assert series.input_shape_ == SHAPE
    codes = series.transform(X)
    np.testing.assert_array_equal(codes, flat.transform(flat_rows))
    for model, rows in ((series, X), (flat, flat_rows)):
        assert model.inverse_transform(codes).shape == model.reconstruct(rows).shape == rows.shape
        if hasattr(model, "sample"):
            assert model.sample(3, random_state=0).shape == (3, *rows.shape[1:])
    np.testing.assert_array_equal(series.reconstruct(X).reshape(len(X), -1), flat.reconstruct(flat_rows))


def test_a_flat_row_is_one_channel(estimator):
    flat, series = clone(estimator).fit(X[:, 0]), estimator.fit(X[:, :1])
    np.testing.assert_array_equal(flat.transform(X[:, 0]), series.transform(X[:, :1]))
    assert flat.reconstruct(X[:, 0]).shape == (90, 11)


def test_one_timepoint_is_a_series_where_channels_are_said_to_come_first(estimator):
    estimator.set_params(architecture__input_shape=(2, 1))
    assert np.isfinite(estimator.fit(X[:, :, :1]).transform(X[:, :, :1])).all()


# -- what holds for tables


def test_a_series_is_bit_equal_in_any_company(estimator):
    estimator.fit(X)
    many = np.random.default_rng(1).standard_normal((1030, *SHAPE)) * 3 + 5
    expected, order = outputs(estimator, many), np.random.default_rng(2).permutation(1030)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:65]):
                assert_same(outputs(estimator, many[rows]), {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


def test_two_fits_agree_and_files_keep_them(estimator, tmp_path):
    expected = outputs(clone(estimator).fit(X), X)
    assert_same(outputs(estimator.fit(X), X), expected)
    save(estimator, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(estimator)), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        opened.partial_fit(X)


def test_training_starts_at_pca_and_stays_there_with_few_series():
    few = X[:35].reshape(35, -1)
    pca = PCA(3).fit(few)
    model = AutoencoderTransformer(3, **_CHEAP).fit(X[:35])
    assert model.linear_
    np.testing.assert_allclose(
        model.reconstruct(X[:35]).reshape(35, -1), pca.inverse_transform(pca.transform(few)), atol=1e-4
    )


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_learns_what_no_line_can(cell):
    """One phase makes every series, but PCA needs two components for it."""
    waves = np.sin(PHASE[:, 0] + TIME)
    options = {"init": "random", "max_iter": 60, "early_stopping": False, "learning_rate": 0.02, "batch_size": 30}
    model = AutoencoderTransformer(1, architecture=Recurrent(8, cell=cell), random_state=0, device="cpu", **options)
    pca = PCA(1).fit(waves)
    by_pca = np.square(waves - pca.inverse_transform(pca.transform(waves))).sum(1).mean()
    assert model.fit(waves).reconstruction_err_ < 0.8 * by_pca


def test_a_grid_over_the_architecture():
    search = GridSearchCV(clone(SERIES[1]), {"architecture__hidden_size": [2, 3], "architecture__cell": ["gru"]}, cv=2)
    assert search.fit(X).best_estimator_.architecture.cell == "gru"


def test_a_detector_of_clones_of_it():
    rows = X[:, 0].copy()
    rows[:3] = rows[:3].mean(1, keepdims=True) + 20 * np.random.default_rng(0).standard_normal((3, 11))
    model = AutoencoderTransformer(**_CHEAP)
    scores = ReconstructionOutlierDetector(model, n_estimators=2, random_state=0).fit(rows).score_samples(rows)
    assert scores[:3].max() < scores[3:].min()


def test_series_one_by_one_are_an_array(estimator):
    codes = clone(estimator).fit(X).transform(X)
    np.testing.assert_array_equal(estimator.fit(list(X)).transform(list(X)), codes)
