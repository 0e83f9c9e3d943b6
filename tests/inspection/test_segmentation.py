"""The display of masks: what is drawn where, colours by class, and images of any layout."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sk_autoenc.inspection import SegmentationDisplay
from sk_autoenc.inspection.segmentation import as_shown

IMAGES = np.random.default_rng(0).random((3, 4, 6))
MASKS = np.where(IMAGES > 0.5, "a", "b")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_a_class_has_one_colour_in_truth_and_prediction():
    display = SegmentationDisplay(IMAGES, MASKS, MASKS, classes=["c", "b", "a"]).plot()
    assert display.axes_.shape == (3, 3)
    truth, prediction = (panels[0].get_images()[0].get_array() for panels in display.axes_[1:])
    np.testing.assert_array_equal(truth, prediction)
    np.testing.assert_array_equal(truth, np.where(MASKS[0] == "a", 2, 1))


def test_labels_that_are_no_class_are_left_white():
    display = SegmentationDisplay(IMAGES, MASKS, MASKS, classes=["a"]).plot()
    np.testing.assert_array_equal(display.axes_[1, 0].get_images()[0].get_array().mask, MASKS[0] == "b")


def test_there_may_be_no_truth():
    assert SegmentationDisplay(IMAGES, None, MASKS).plot().axes_.shape == (2, 3)


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 1, 4, 6), (3, 4, 6, 1), (3, 3, 4, 6), (3, 4, 6, 3)])
def test_images_of_any_layout_are_shown(shape):
    found = as_shown(np.random.default_rng(0).random(shape), MASKS.shape)
    assert found.shape[:3] == (3, 4, 6)
    assert (found.min(), found.max()) == (0, 1)
    assert found.ndim == (4 if 3 in shape[1:2] + shape[3:] else 3)


def test_images_without_such_a_form_are_refused():
    with pytest.raises(ValueError, match="grey or in three colours"):
        as_shown(np.zeros((3, 2, 4, 6)), MASKS.shape)
