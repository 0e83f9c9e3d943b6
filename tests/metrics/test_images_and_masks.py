"""PSNR, SSIM and figures of masks: values in closed form, scikit-image's SSIM, and void pixels."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score, make_scorer, recall_score

from sk_autoenc.metrics import mean_iou_score, psnr_score, segmentation_report, ssim_score

rng = np.random.default_rng(0)


def _images(seed, shape):
    true = np.random.default_rng(seed).random(shape)
    return true, np.clip(true + 0.2 * np.random.default_rng(seed + 1).standard_normal(shape), 0, 1)


# -- images


def test_psnr_is_the_range_over_the_root_of_the_error():
    true = rng.random((3, 5, 4))
    assert psnr_score(true, true + 0.01, data_range=1) == pytest.approx(40)
    assert psnr_score(255 * true, 255 * true + 25.5, data_range=255) == pytest.approx(20)
    assert psnr_score(true, true, data_range=1) == np.inf


def test_psnr_of_images_averages_their_ratios():
    true = np.zeros((2, 4, 4))
    predicted = np.stack([np.full((4, 4), 0.1), np.full((4, 4), 0.001)])  # 20 and 60 dB
    assert psnr_score(true, predicted, data_range=1, average="images") == pytest.approx(40)
    assert psnr_score(true, predicted, data_range=1) == pytest.approx(-10 * np.log10((1e-2 + 1e-6) / 2))


@pytest.mark.parametrize("shape", [(1, 24, 17), (2, 3, 20, 31)])
def test_ssim_is_the_formula_at_every_pixel(shape):
    """The published formula by explicit windows, on pixels whose windows lie in the image."""
    true, predicted = _images(0, shape)
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for x, y in zip(true.reshape(-1, *shape[-2:]), predicted.reshape(-1, *shape[-2:]), strict=True):
        x, y = (np.lib.stride_tricks.sliding_window_view(image, (11, 11)) for image in (x, y))
        mean_x, mean_y = (x * window).sum((-1, -2)), (y * window).sum((-1, -2))
        deviation_x, deviation_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
        var_x, var_y = (deviation_x**2 * window).sum((-1, -2)), (deviation_y**2 * window).sum((-1, -2))
        covariance = (deviation_x * deviation_y * window).sum((-1, -2))
        value = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
        values.append(value / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)))
    assert ssim_score(true, predicted, data_range=1) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize(
    ("seed", "shape", "expected"), [(0, (1, 24, 17), 0.850882791698354), (4, (2, 3, 20, 31), 0.8295300743247335)]
)
def test_ssim_is_that_of_scikit_image(seed, shape, expected):
    """By scikit-image 0.26: gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1."""
    assert ssim_score(*_images(seed, shape), data_range=1) == pytest.approx(expected, abs=1e-9)


def test_ssim_knows_where_channels_are_and_scales_with_the_range():
    true, predicted = _images(0, (2, 3, 20, 31))
    expected = ssim_score(true, predicted, data_range=1)
    last = (np.moveaxis(images, 1, -1) for images in (true, predicted))
    assert ssim_score(*last, data_range=1, channels_last=True) == pytest.approx(expected)
    assert ssim_score(255 * true, 255 * predicted, data_range=255) == pytest.approx(expected)


def test_ssim_of_small_images_is_over_all_pixels():
    true, predicted = _images(0, (3, 8, 8))
    assert 0 < ssim_score(true, predicted, data_range=1) < ssim_score(true, true, data_range=1) == 1


@pytest.mark.parametrize("score", [psnr_score, ssim_score])
def test_images_that_cannot_be_compared_are_refused(score):
    images = np.zeros((2, 12, 12))
    with pytest.raises(ValueError, match="shape of y_true"):
        score(images, images[:, :5], data_range=1)
    with pytest.raises(ValueError, match="data_range"):
        score(images, images, data_range=0)
    with pytest.raises(ValueError, match="y_pred contains NaN"):
        score(images, images * np.nan, data_range=1)
    assert callable(make_scorer(score, data_range=1))


# -- masks


@pytest.fixture
def masks():
    true = rng.integers(0, 4, (5, 6, 7))
    return true, np.where(rng.random(true.shape) < 0.6, true, rng.integers(0, 4, true.shape))


def test_figures_of_masks_are_those_of_scikit_learn(masks):
    report = segmentation_report(*masks)
    true, predicted = (mask.ravel() for mask in masks)
    assert report.accuracy == pytest.approx(accuracy_score(true, predicted))
    np.testing.assert_allclose(report.iou, jaccard_score(true, predicted, average=None))
    np.testing.assert_allclose(report.recall, recall_score(true, predicted, average=None))
    assert report.mean_iou == mean_iou_score(*masks) == pytest.approx(report.iou.mean())


def test_void_pixels_count_neither_as_hits_nor_as_false_alarms(masks):
    true, predicted = masks
    void = true == 3
    report = segmentation_report(true, predicted, labels=[0, 1, 2], void_label=3)
    changed = np.where(void, 0, predicted)
    assert report.mean_iou == mean_iou_score(true, changed, labels=[0, 1, 2], void_label=3)
    kept, found = true[~void], predicted[~void]
    np.testing.assert_allclose(report.iou, jaccard_score(kept, found, average=None, labels=[0, 1, 2]))


def test_classes_in_neither_mask_are_left_out_of_means():
    report = segmentation_report([[[0, 1]]], [[[0, 2]]], labels=[0, 1, 2, 3])
    np.testing.assert_array_equal(report.iou, [1, 0, 0, np.nan])
    np.testing.assert_array_equal(report.recall, [1, 0, np.nan, np.nan])
    assert report.mean_iou == pytest.approx(1 / 3)
    assert report.mean_recall == 0.5


def test_labels_may_be_strings_in_any_order():
    report = segmentation_report([[["sky", "tree"]]], [[["sky", "sky"]]], labels=["tree", "sky"])
    np.testing.assert_array_equal(report.iou, [0, 0.5])
    np.testing.assert_array_equal(report.confusion, [[0, 1, 0], [0, 1, 0]])


def test_masks_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="none of labels"):
        segmentation_report([[[0, 5]]], [[[0, 0]]], labels=[0, 1])
    with pytest.raises(ValueError, match="void_label"):
        segmentation_report([[[9]]], [[[0]]], void_label=9)
    with pytest.raises(ValueError, match="shape of y_true"):
        mean_iou_score([[[9]]], [[[0, 0]]])
    with pytest.raises(ValueError, match="at most 4096 labels, got 4160; are they continuous"):
        mean_iou_score(np.zeros((1, 64, 65)), np.linspace(0, 1, 64 * 65).reshape(1, 64, 65))
    with pytest.raises(ValueError, match="once"):
        mean_iou_score([[[0]]], [[[0]]], labels=[0, 0])
