"""Images through the estimators: flat or with axes of their own, and all that holds for tables."""

import concurrent.futures
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sk_autoenc import (
    MLP,
    AAETransformer,
    AutoencoderTransformer,
    Convolutional,
    ReconstructionOutlierDetector,
    VAETransformer,
    load,
    save,
)
from tests.instances import IMAGE_SHAPE, IMAGES, describe
from tests.outputs import assert_same, outputs

rng = np.random.default_rng(0)
N_CELLS = int(np.prod(IMAGE_SHAPE))
#: Smooth images and noise, 90 of them.
FLAT = (rng.standard_normal((90, 3)) @ rng.standard_normal((3, N_CELLS)) + rng.standard_normal((90, N_CELLS))) * 2 + 5
X = FLAT.reshape(-1, *IMAGE_SHAPE)


@pytest.fixture(params=IMAGES, ids=describe)
def estimator(request):
    return clone(request.param)


# -- the form of rows


def test_rows_come_back_in_the_form_that_fit_saw(estimator):
    estimator.set_params(architecture__input_shape=IMAGE_SHAPE)
    images, flat = clone(estimator).fit(X), clone(estimator).fit(FLAT)
    assert images.input_shape_ == IMAGE_SHAPE
    assert flat.input_shape_ == (N_CELLS,)
    assert images.n_features_in_ == flat.n_features_in_ == N_CELLS
    codes = images.transform(X)
    np.testing.assert_array_equal(codes, flat.transform(FLAT))
    for model, rows in ((images, X), (flat, FLAT)):
        assert model.inverse_transform(codes).shape == model.reconstruct(rows).shape == rows.shape
        if hasattr(model, "sample"):
            assert model.sample(3, random_state=0).shape == (3, *rows.shape[1:])
            assert model.interpolate(rows[0], rows[1], 4).shape == (4, *rows.shape[1:])
    np.testing.assert_array_equal(images.reconstruct(X).reshape(len(X), -1), flat.reconstruct(FLAT))


def test_flat_rows_are_read_by_a_model_of_images(estimator):
    estimator.fit(X)
    assert_same(outputs(estimator, FLAT), outputs(estimator, X))


def test_rows_of_another_shape_are_refused(estimator):
    estimator.fit(X)
    with pytest.raises(ValueError, match=r"shape \(1, 5, 8\), on which .* was fitted, got rows of shape \(5, 1, 8\)"):
        estimator.transform(X.reshape(-1, 5, 1, 8))
    with pytest.raises(ValueError, match="features"):
        estimator.transform(X[:, :, 1:])
    with pytest.raises(ValueError, match="sample"):
        estimator.transform(X[:0])


def test_bad_images_name_themselves(estimator):
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(np.where(X > 9, np.nan, X))
    with pytest.raises(ValueError, match=r"float32.*1e\+300"):
        estimator.fit(np.where(X > 9, 1e300, X))


def test_a_perceptron_reads_images_as_flat_rows():
    options = {"architecture": MLP((8,)), "max_iter": 2, "random_state": 0, "device": "cpu"}
    images, flat = (AutoencoderTransformer(3, **options).fit(rows) for rows in (X, FLAT))
    np.testing.assert_array_equal(images.transform(X), flat.transform(FLAT))
    assert images.reconstruct(X).shape == X.shape


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
def test_the_order_of_channels_is_the_users(kind):
    colour = rng.standard_normal((50, 6, 5, 3))
    architecture = Convolutional((4,), channels_last=True)
    model = kind(2, architecture=architecture, max_iter=1, random_state=0, device="cpu").fit(colour)
    assert model.reconstruct(colour).shape == colour.shape
    with pytest.raises(ValueError, match="was fitted, got rows of shape"):
        model.transform(colour.transpose(0, 3, 1, 2))


def test_pixels_of_bytes_are_taken_as_numbers():
    pixels = rng.integers(0, 256, (60, 1, 5, 8), dtype=np.uint8)
    model = clone(IMAGES[0])
    as_bytes = clone(model).fit(pixels)
    np.testing.assert_array_equal(as_bytes.transform(pixels), clone(model).fit(pixels * 1.0).transform(pixels * 1.0))
    assert as_bytes.reconstruct(pixels).dtype == np.float64
    counts = clone(model).set_params(likelihood="poisson").fit(pixels % 5)
    assert (counts.reconstruct(pixels % 5) > 0).all()
    with pytest.raises(ValueError, match=r"must have values in \[0, 1\].*255"):
        clone(model).set_params(likelihood="bernoulli").fit(pixels)


def test_categories_are_refused_with_convolutions():
    with pytest.raises(ValueError, match="categories cannot be combined with convolutions"):
        clone(IMAGES[0]).set_params(likelihood="categorical").fit(rng.integers(0, 3, (60, 1, 5, 8)))


# -- what holds for tables


def test_two_fits_agree_bit_for_bit_and_leave_global_generators(estimator):
    numpy_before, torch_before = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002 - it is the matter
    first = outputs(clone(estimator).fit(X), X)
    assert_same(outputs(estimator.fit(X), X), first)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before[1])  # noqa: NPY002 - it is the matter
    weights = [
        list(model.net_.module_.state_dict().values())
        for model in (estimator, clone(estimator).set_params(random_state=1).fit(X))
    ]
    assert any(not torch.equal(left, right) for left, right in zip(*weights, strict=True))


def test_threads_give_the_same_numbers(estimator):
    expected = outputs(clone(estimator).fit(X), X)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for result in pool.map(lambda _: outputs(clone(estimator).fit(X), X), range(3)):
            assert_same(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_is_bit_equal_in_any_company(estimator, dtype):
    estimator.fit(X.astype(dtype))
    many = np.random.default_rng(1).standard_normal((1040, *IMAGE_SHAPE)).astype(dtype) * 3 + 5
    some = many[:130]
    codes, expected = estimator.transform(many), outputs(estimator, some)
    assert all(value.dtype == dtype for value in expected.values())
    order = np.random.default_rng(2).permutation(len(some))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:65]):
                assert_same(outputs(estimator, some[rows]), {name: value[rows] for name, value in expected.items()})
            np.testing.assert_array_equal(estimator.transform(many[::-1])[::-1], codes)
            np.testing.assert_array_equal(codes[:130], expected["transform"])
    finally:
        torch.set_num_threads(before)


def test_units_do_not_matter(estimator):
    small, large = clone(estimator).fit(X), clone(estimator).fit(1024 * X)
    np.testing.assert_array_equal(small.transform(X), large.transform(1024 * X))
    np.testing.assert_array_equal(1024 * small.reconstruct(X), large.reconstruct(1024 * X))


def test_pickles_and_files_keep_predictions(estimator, tmp_path):
    expected = outputs(estimator.fit(X), X)
    save(estimator, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(estimator)), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        assert opened.input_shape_ == IMAGE_SHAPE
        assert opened.partial_fit(X).n_iter_ == estimator.n_iter_ + 1


def test_no_weight_or_buffer_is_left_as_memory_had_it(estimator, monkeypatch):
    expected = outputs(clone(estimator).fit(X), X)
    to_empty = torch.nn.Module.to_empty

    def to_poison(module, **kwargs):
        module = to_empty(module, **kwargs)
        for tensor in module.state_dict().values():
            tensor.fill_(torch.nan)
        return module

    monkeypatch.setattr(torch.nn.Module, "to_empty", to_poison)
    assert_same(outputs(estimator.fit(X), X), expected)


@pytest.mark.parametrize("n_rows", [1, 2, 33])
def test_any_number_of_images(estimator, n_rows):
    estimator.set_params(batch_size=32).fit(X[:n_rows])
    for value in outputs(estimator, X).values():
        assert np.isfinite(value).all()


def test_constant_pixels(estimator):
    odd = X.copy()
    odd[..., :3] = 7.0
    assert np.isfinite(estimator.fit(odd).reconstruct(odd)).all()


def test_training_lowers_the_error(estimator):
    estimator.set_params(max_iter=50, learning_rate=0.04, early_stopping=False)
    if hasattr(estimator, "beta"):
        estimator.set_params(beta=0.01)
    variance = np.square(X - X.mean(axis=0)).sum() / len(X)
    assert estimator.fit(X).reconstruction_err_ < 0.7 * variance


def test_channels_in_a_grid():
    model = make_pipeline(clone(IMAGES[0]), LogisticRegression())
    grid = {
        "autoencodertransformer__architecture__channels": [(2,), (3, 4)],
        "autoencodertransformer__architecture__kernel_size": [1, 3],
    }
    search = GridSearchCV(model, grid, cv=2).fit(X, np.arange(len(X)) % 2)
    assert set(search.best_params_) == set(grid)


def test_codes_in_data_frames(estimator):
    codes = estimator.set_output(transform="pandas").fit(X).transform(X)
    assert isinstance(codes, pd.DataFrame)
    assert codes.shape == (len(X), 2)
    if hasattr(estimator, "sample"):
        assert estimator.sample(2).shape == (2, *IMAGE_SHAPE)


def test_penalties_go_with_convolutions():
    model = clone(IMAGES[0]).set_params(noise=0.2, sparsity=0.1, contraction=0.1).fit(X)
    assert set(model.loss_curves_) == {"reconstruction", "sparsity", "contraction"}
    assert np.isfinite(model.loss_curve_).all()


def test_an_outlier_detector_of_images():
    odd = FLAT.copy()
    odd[0] += 40 * rng.standard_normal(N_CELLS)
    autoencoder = clone(IMAGES[0]).set_params(architecture__input_shape=IMAGE_SHAPE)
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=2, random_state=0).fit(odd)
    assert detector.score_samples(odd).argmin() == 0


# -- inpainting

MASK = np.zeros(IMAGE_SHAPE[1:], dtype=bool)
MASK[1:4, 2:6] = True


@pytest.fixture(scope="module")
def painter():
    """Trained to do without a rectangle, on images that three numbers decide."""
    model = clone(IMAGES[0]).set_params(noise=0.3, noise_kind="block", n_components=3, max_iter=60, init="pca")
    return model.fit(SMOOTH)


SMOOTH = (rng.standard_normal((200, 3)) @ rng.standard_normal((3, N_CELLS)) + 5).reshape(-1, *IMAGE_SHAPE)


def test_inpainting_fills_what_is_hidden_and_nothing_else(painter):
    filled = painter.inpaint(SMOOTH, MASK)
    np.testing.assert_array_equal(filled[..., ~MASK], SMOOTH[..., ~MASK])
    by_mean = np.square(SMOOTH - SMOOTH.mean(axis=0))[..., MASK].sum()
    assert np.square(filled - SMOOTH)[..., MASK].sum() < 0.5 * by_mean


def test_inpainting_does_not_look_at_what_is_hidden(painter):
    expected = painter.inpaint(SMOOTH, MASK)
    np.testing.assert_array_equal(painter.inpaint(np.where(MASK, np.nan, SMOOTH), MASK), expected)
    np.testing.assert_array_equal(painter.inpaint(np.where(MASK, 1e300, SMOOTH), MASK), expected)


def test_inpainting_keeps_form_and_dtype(painter):
    expected = painter.inpaint(SMOOTH, MASK)
    flat = painter.inpaint(SMOOTH.reshape(len(SMOOTH), -1), MASK.ravel())
    np.testing.assert_array_equal(flat, expected.reshape(len(SMOOTH), -1))
    assert painter.inpaint(SMOOTH.astype(np.float32), MASK).dtype == np.float32
    by_row = np.broadcast_to(MASK, SMOOTH.shape) & (np.arange(len(SMOOTH)) < 5)[:, None, None, None]
    filled = painter.inpaint(SMOOTH, by_row)
    np.testing.assert_array_equal(filled[:5], expected[:5])
    np.testing.assert_array_equal(filled[5:], SMOOTH[5:])


def test_inpainting_rows_that_are_no_images():
    frame = pd.DataFrame(FLAT[:, :4], columns=list("abcd"), index=np.arange(len(FLAT)) + 7)
    model = AutoencoderTransformer(2, max_iter=2, noise=0.3, noise_kind="masking", random_state=0).fit(frame)
    hidden = frame.to_numpy() > 8
    filled = model.inpaint(frame.mask(hidden), hidden)
    pd.testing.assert_frame_equal(filled.mask(hidden), frame.mask(hidden))
    assert np.isfinite(filled.to_numpy()).all()
    pd.testing.assert_frame_equal(model.inpaint(frame.mask(hidden)), filled)
    mask = pd.DataFrame(hidden, frame.index, frame.columns)
    pd.testing.assert_frame_equal(model.inpaint(frame, mask), filled)
    for other in (mask.iloc[::-1], mask[list("dcba")]):
        with pytest.raises(ValueError, match=r"mask must have the (index|columns) of X"):
            model.inpaint(frame, other)


class Derived(pd.DataFrame):
    """A class that scikit-learn does not know."""


def test_of_other_containers_an_array():
    frame = Derived(FLAT[:, :4], columns=list("abcd"))
    model = AutoencoderTransformer(2, max_iter=2, noise=0.3, noise_kind="masking", random_state=0).fit(FLAT[:, :4])
    filled = model.inpaint(frame, frame.to_numpy() > 8)
    np.testing.assert_array_equal(filled, model.inpaint(FLAT[:, :4], FLAT[:, :4] > 8))


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_inpainting_whatever_the_likelihood(likelihood):
    counts = rng.poisson(1.0, X.shape)
    counts = counts.clip(max=1) if likelihood == "bernoulli" else counts
    model = clone(IMAGES[0]).set_params(likelihood=likelihood, init="auto", noise=0.2, noise_kind="block").fit(counts)
    filled = model.inpaint(counts, MASK)
    np.testing.assert_array_equal(filled[..., ~MASK], counts[..., ~MASK])
    np.testing.assert_array_equal(model.inpaint(np.where(MASK, 1, counts), MASK), filled)


def test_what_inpainting_refuses(painter):
    with pytest.raises(ValueError, match=r"mask must be an array of bool.*int64"):
        painter.inpaint(SMOOTH, MASK.astype(int))
    with pytest.raises(ValueError, match=r"mask must broadcast to the shape of X, \(200, 1, 5, 8\).*\(3, 3\)"):
        painter.inpaint(SMOOTH, np.ones((3, 3), dtype=bool))
    with pytest.raises(ValueError, match="must not have NaN where mask is False"):
        painter.inpaint(np.full_like(SMOOTH, np.nan), MASK)
    with pytest.raises(ValueError, match="float32"):
        painter.inpaint(np.full_like(SMOOTH, 1e300), MASK)
    for kind in ("block", "warp"):
        with pytest.raises(ValueError, match=f"noise_kind='{kind}' needs images or series"):
            AutoencoderTransformer(noise=0.1, noise_kind=kind).fit(FLAT)
    categories = AutoencoderTransformer(2, likelihood="categorical", max_iter=1).fit(FLAT[:, :3].round().clip(0, 3))
    with pytest.raises(ValueError, match="values that have a mean, got likelihood='categorical'"):
        categories.inpaint(np.zeros((1, 3)), np.ones(3, dtype=bool))
