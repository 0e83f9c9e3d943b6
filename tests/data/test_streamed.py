"""Streams: what one pass finds, batches through the shuffle buffer, and models of rows that are not in memory."""

import numpy as np
import pandas as pd
import pytest
import torch

from sk_autoenc import AAETransformer, AutoencoderTransformer, Categorical, GANSampler, Streamed, VAETransformer
from sk_autoenc.data.dataset import batch_sizes
from sk_autoenc.data.mapped import MappedRows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.streamed import RunningMoments, StreamedRows, survey
from sk_autoenc.likelihoods import Gaussian

SMALL = {"architecture": (8,), "max_iter": 4, "random_state": 0, "batch_size": 128}


def curved_rows(n=2000, d=6, dtype=np.float32):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 2))
    X = np.tanh(z @ rng.normal(size=(2, d))) * np.arange(1, d + 1) + 0.1 * rng.normal(size=(n, d)) + 5
    return X.astype(dtype)


X = curved_rows()
FRAME = pd.DataFrame(X[:, :2], columns=["a", "b"])


def of_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import dataset, parquet

    table = pyarrow.Table.from_pandas(pd.DataFrame(X, columns=list("abcdef")))
    for part in range(2):
        parquet.write_table(table.slice(1000 * part, 1000), folder / f"{part}.parquet", row_group_size=300)
    return dataset.dataset(folder)


def of_hdf5(folder):
    return pytest.importorskip("h5py").File(folder / "rows.h5", "w").create_dataset("X", data=X, chunks=(128, 6))


def of_zarr(folder):
    return pytest.importorskip("zarr").create_array(folder / "rows.zarr", data=X, chunks=(128, 6))


def of_dask(folder):
    return pytest.importorskip("dask.array").from_array(X, chunks=(700, 3))


def of_dask_frame(folder):
    frame = pytest.importorskip("dask.dataframe")
    return frame.from_pandas(pd.DataFrame(X, columns=list("abcdef")), npartitions=3)


def of_memory_map(folder):
    np.save(folder / "rows.npy", X)
    return Streamed(np.load(folder / "rows.npy", mmap_mode="r"))


def of_batches(folder):
    return Streamed(lambda: iter(np.array_split(X, 7)))


SOURCES = [of_parquet, of_hdf5, of_zarr, of_dask, of_dask_frame, of_memory_map, of_batches]


def streamed_rows(data=X, n_held_out=0, buffer_size=600):
    """Rows of a stream as a dataset, in units of their own."""
    found = survey(Streamed(data, buffer_size=buffer_size), seed=0)
    rows = RowPreprocessor(Gaussian(), data.shape[1:], data.dtype.name).fit_moments(
        found.moments.mean, found.moments.variance
    )
    streamed = rows.streamed(found, "cpu")
    if not n_held_out:
        return streamed, None, rows
    index = torch.arange(len(found.rows))
    return *streamed.split(index[n_held_out:], index[:n_held_out]), rows


# -- the first pass


def test_moments_that_come_block_by_block_are_those_of_the_array_also_far_from_zero():
    rows = curved_rows(dtype=np.float64) + 1e4
    moments = RunningMoments(6)
    for block in np.array_split(rows, 9):
        moments.add(block)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T, bias=True), rtol=1e-9)
    rest = moments.without(rows[:300])
    np.testing.assert_allclose(rest.covariance, np.cov(rows[300:].T, bias=True), rtol=1e-8)
    assert moments.n == 2000


def test_the_sample_is_random_and_the_same_at_every_pass():
    rows = np.arange(20_000.0)[:, None]
    found = survey(Streamed(list(np.array_split(rows, 11)), buffer_size=1000), seed=3)
    again = survey(Streamed(list(np.array_split(rows, 11)), buffer_size=1000), seed=3)
    assert found.n_rows == 20_000
    assert len(np.unique(found.rows)) == 1000
    assert abs(found.rows.mean() - 10_000) < 4 * 20_000 / np.sqrt(12 * 1000)
    np.testing.assert_array_equal(found.rows, again.rows)
    assert not np.array_equal(found.rows, survey(Streamed(rows, buffer_size=1000), seed=4).rows)


# -- batches


def test_an_epoch_has_every_row_once_in_a_new_order_and_no_row_that_is_held_out():
    train, held_out, _ = streamed_rows(n_held_out=150)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.cat([batch.x for batch in train.batches(batch_sizes(len(train), 32), generator)]) for _ in range(2)
    )
    assert len(train) == len(first) == 1850
    assert not torch.equal(first, second)
    everything = torch.cat([first, held_out[:]])
    assert len({tuple(row) for row in everything.tolist()}) == 2000
    np.testing.assert_array_equal(np.sort(first.numpy(), axis=0), np.sort(second.numpy(), axis=0))


def test_the_buffer_mixes_rows_of_distant_blocks():
    rows = np.arange(6000.0, dtype=np.float32)[:, None]
    stream = Streamed(list(np.array_split(rows, 60)), buffer_size=2000)
    found = survey(stream, seed=0)
    reader = RowPreprocessor(Gaussian(), (1,), "float32")
    batch = next(reader.streamed(found, "cpu").batches([64], torch.Generator().manual_seed(0)))
    assert batch.x.max() - batch.x.min() > 1500


def test_the_sample_knows_mean_and_covariance_of_the_rows_that_train_in_the_networks_units():
    train, held_out, rows = streamed_rows(n_held_out=150)
    scaled = rows.to_network(X).astype(np.float64)
    is_held_out = (scaled[:, None] == held_out[:].numpy()[None]).all(2).any(1)
    mean, covariance = train.sample().known_moments
    np.testing.assert_allclose(mean, scaled[~is_held_out].mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(scaled[~is_held_out].T, bias=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [1990, 2010])
def test_a_source_that_changes_between_passes_is_refused(n):
    lengths = iter([2000, n])
    found = survey(Streamed(lambda: [curved_rows(next(lengths))], buffer_size=600), seed=0)
    rows = RowPreprocessor(Gaussian(), (6,), "float32").streamed(found, "cpu")
    with pytest.raises(ValueError, match="than in its first pass"):
        list(rows.batches(batch_sizes(2000, 64), None))


# -- models


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_few_rows_of_any_source_give_the_model_of_the_array(source, tmp_path):
    stream, names = source(tmp_path), source in (of_parquet, of_dask_frame)
    rows = pd.DataFrame(X, columns=list("abcdef")) if names else X
    model = AutoencoderTransformer(2, **{**SMALL, "max_iter": 1}).fit(stream)
    expected = AutoencoderTransformer(2, **{**SMALL, "max_iter": 1}).fit(rows)
    codes = np.empty((2000, 2), dtype=np.float32)
    np.testing.assert_array_equal(model.transform(stream).store(codes), expected.transform(rows))
    assert hasattr(model, "feature_names_in_") is names
    assert np.concatenate(list(model.score_samples(stream))).shape == (2000,)
    assert model.score(stream) == pytest.approx(expected.score(rows))


@pytest.mark.parametrize(
    ("model", "tolerance"),
    [
        (AutoencoderTransformer(2, **SMALL), 0.1),
        (VAETransformer(2, **SMALL), 0.3),
        (AAETransformer(2, **SMALL, n_critic=1, early_stopping=True), 0.3),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_stream_reaches_the_loss_of_the_array(model, tolerance):
    on_array = model.fit(X).validation_loss_curve_
    on_stream = model.fit(Streamed(X, buffer_size=800)).validation_loss_curve_
    assert len(on_stream) == len(on_array)
    assert abs(min(on_stream) - min(on_array)) < tolerance


def test_a_linear_model_that_is_kept_is_that_of_all_rows():
    rows = np.random.default_rng(0).normal(size=(2000, 5)) * [5, 4, 1, 1, 1]
    options = {"max_iter": 1, "learning_rate": 1e-9, "random_state": 0}
    on_array = AutoencoderTransformer(2, **options).fit(rows)
    on_stream = AutoencoderTransformer(2, **options).fit(Streamed(rows, buffer_size=600))
    assert on_array.linear_
    assert on_stream.linear_
    np.testing.assert_allclose(on_stream.reconstruct(rows), on_array.reconstruct(rows), atol=1e-4)


def test_the_same_seed_gives_the_same_model_and_partial_fit_goes_on():
    stream = Streamed(X, buffer_size=600)
    first, second = (AutoencoderTransformer(2, **SMALL).partial_fit(stream) for _ in range(2))
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    before = first.score(X)
    for _ in range(3):
        first.partial_fit(stream)
    assert first.score(X) > before
    assert first.n_iter_ == 4


def test_empty_blocks_are_no_rows():
    model = AutoencoderTransformer(2, **SMALL).fit(Streamed([X[:0], X[:1000], X[:0], X[1000:]], buffer_size=600))
    assert sum(map(len, model.transform(Streamed([X[:0], X])))) == len(X)
    assert model.score(Streamed([X, X[:0]])) == model.score(Streamed([X]))
    with pytest.raises(ValueError, match="has no rows"):
        model.score(Streamed([X[:0]]))


def test_images_in_blocks_keep_their_shape():
    images = X[:, :6].reshape(2000, 1, 2, 3)
    model = AutoencoderTransformer(2, **{**SMALL, "max_iter": 1}).fit(Streamed(images, buffer_size=600))
    assert model.input_shape_ == (1, 2, 3)
    assert next(iter(model.reconstruct(Streamed(images)))).shape[1:] == (1, 2, 3)


def test_codes_in_data_frames_go_to_a_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    stream = of_parquet(tmp_path)
    model = AutoencoderTransformer(2, **{**SMALL, "max_iter": 1}).fit(stream).set_output(transform="pandas")
    model.transform(stream).store(tmp_path / "codes.parquet")
    found = pd.read_parquet(tmp_path / "codes.parquet")
    assert list(found.columns) == ["autoencodertransformer0", "autoencodertransformer1"]
    np.testing.assert_array_equal(found, model.transform(pd.DataFrame(X, columns=list("abcdef"))))


def test_a_memory_map_is_read_where_it_is_and_gives_the_model_of_the_array(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    rows = RowPreprocessor(Gaussian(), (6,), "float32").fit(mapped, np.arange(2000)).dataset(mapped, "cpu")
    assert isinstance(rows, MappedRows)
    assert rows.data.X.base is not None
    on_file, on_array = (AutoencoderTransformer(2, **SMALL).fit(data) for data in (mapped, X))
    np.testing.assert_array_equal(on_file.transform(mapped), on_array.transform(X))


# -- refusals


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda: Streamed(iter([X])), TypeError, "source must give its blocks anew"),
        (lambda: Streamed(X, buffer_size=10), ValueError, "buffer_size must be an integer of at least 600, got 10"),
        (lambda: list(Streamed(3)), TypeError, "source must be an array"),
        (lambda: AutoencoderTransformer().fit(Streamed([])), ValueError, "0 sample"),
        (lambda: AutoencoderTransformer().fit(Streamed([X, X[:, :3]])), ValueError, "same columns, got 6 and 3"),
        (lambda: AutoencoderTransformer().fit(Streamed([FRAME, FRAME[["b", "a"]]])), ValueError, "in one order"),
        (lambda: AutoencoderTransformer().fit(Streamed([X, X * np.nan])), ValueError, "contains NaN"),
        (lambda: AutoencoderTransformer(likelihood="poisson").fit(Streamed([X[:5], -X])), ValueError, "poisson"),
        (lambda: AutoencoderTransformer(likelihood=Categorical()).fit(Streamed(X)), ValueError, "which values occur"),
        (
            lambda: AutoencoderTransformer().fit(Streamed(pd.DataFrame({"a": ["b"]}))),
            ValueError,
            "a number in every cell",
        ),
        (lambda: AutoencoderTransformer().fit(Streamed(X), groups=X[:, 0]), ValueError, "groups"),
        (lambda: GANSampler().fit(Streamed(X)), TypeError, "rows in memory for GANSampler"),
    ],
)
def test_what_cannot_be_streamed_is_refused_with_the_reason(fit, error, message):
    with pytest.raises(error, match=message):
        fit()


@pytest.mark.parametrize("n", [1999, 2001])
def test_a_target_of_another_length_is_refused(n):
    with pytest.raises(ValueError, match=f"target has {n} rows"):
        Streamed(X).store(np.empty((n, 6)))


def test_streamed_rows_hold_no_more_than_sample_and_buffer():
    rows, *_ = streamed_rows(buffer_size=600)
    assert isinstance(rows, StreamedRows)
    assert len(rows.data) == 600
    assert len(rows) == 2000
