"""Searches and methods on a cluster of dask: two workers give the results of one process."""

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from sk_autoenc import AutoencoderTransformer

array = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

X = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32) ** 3


@pytest.fixture(scope="module")
def cluster():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as two_workers,
        distributed.Client(two_workers) as client,
    ):
        yield client


def small(**options):
    return AutoencoderTransformer(
        2, architecture=(6,), max_iter=1, early_stopping=False, batch_size=200, random_state=0, **options
    )


def test_a_search_on_a_cluster_finds_what_it_finds_here(cluster):
    grid = {"noise": [0.0, 0.5]}
    here = GridSearchCV(small(), grid, cv=2).fit(X)
    with joblib.parallel_config(backend="dask"):
        there = GridSearchCV(small(), grid, cv=2).fit(X)
    np.testing.assert_array_equal(here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(here.transform(X), there.transform(X))


def test_rows_on_a_cluster_are_streamed_into_fit_and_transformed_where_they_are(cluster):
    rows = array.from_array(X, chunks=(250, 4))
    model = small().fit(rows)
    np.testing.assert_array_equal(model.transform(X), small().fit(X).transform(X))
    codes = rows.map_blocks(model.transform, dtype=X.dtype, chunks=(rows.chunks[0], (2,)))
    np.testing.assert_array_equal(codes.compute(), model.transform(X))


def test_chunks_of_a_cluster_train_a_model_one_after_the_other(cluster):
    rows = array.from_array(X, chunks=(350, 4))
    model = small()
    for block in rows.blocks:
        model.partial_fit(block.compute())
    expected = small().partial_fit(X[:350]).partial_fit(X[350:])
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
