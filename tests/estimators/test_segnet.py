"""Segmenters: the loss in closed form, weights of classes, void pixels, labels of any kind, sizes, and baselines."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sk_autoenc import SegNetSegmenter, load, save
from sk_autoenc.estimators.segnet import class_weights, cross_entropy
from sk_autoenc.metrics import mean_iou_score, segmentation_report

rng = np.random.default_rng(0)
IMAGES = load_digits().images[:120, None] / 16
MASKS = np.where(IMAGES[:, 0] > 0.8, 5, np.where(IMAGES[:, 0] > 0.3, 2, 0))
CHEAP = {"channels": (4,), "stem": 1, "max_iter": 2, "random_state": 0, "device": "cpu", "early_stopping": False}


def test_the_loss_is_the_weighted_mean_over_pixels_with_a_class():
    scores = torch.randn(2, 3 * 4)
    numbers = torch.tensor([[0, 2, -1, 1], [-1, -1, -1, -1]], dtype=torch.int16)
    weight = torch.tensor([1.0, 2.0, 0.5])
    log_p = scores.reshape(2, 3, 4).log_softmax(1)
    expected = -(log_p[0, 0, 0] + 0.5 * log_p[0, 2, 1] + 2 * log_p[0, 1, 3]) / 3
    torch.testing.assert_close(cross_entropy(scores, numbers, weight), torch.stack([expected, torch.zeros(())]))


def test_median_frequency_is_that_of_the_paper():
    """Two images of 10 pixels; the second lacks class 2: frequencies 8/20, 10/20 and 2/10."""
    counts = np.array([[5, 3, 2], [3, 7, 0]])
    found = class_weights(np.arange(3), counts, kind="median_frequency", power=1.0)
    np.testing.assert_allclose(found, 0.4 / np.array([0.4, 0.5, 0.2]))
    half = class_weights(np.arange(3), counts, kind="median_frequency", power=0.5)
    np.testing.assert_allclose(half, np.sqrt(found))


def test_balanced_classes_have_equal_total_weight():
    counts = np.array([[5, 3, 2], [3, 7, 0]])
    total = counts.sum(0) * class_weights(np.arange(3), counts, kind="balanced", power=1.0)
    np.testing.assert_allclose(total, total[0])


def test_weights_of_a_dict_are_by_label():
    model = SegNetSegmenter(class_weight={5: 3.0, 2: 0.5}, **CHEAP).fit(IMAGES, MASKS)
    np.testing.assert_allclose(model.class_weight_ / model.class_weight_[0], [1, 0.5, 3])
    assert (model.class_weight_[np.searchsorted(model.classes_, MASKS)]).mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="class_weight has 7"):
        SegNetSegmenter(class_weight={7: 1.0}, **CHEAP).fit(IMAGES, MASKS)


def test_void_pixels_teach_nothing_and_are_not_predicted():
    masks = MASKS.copy()
    masks[:, :2] = 9
    model = SegNetSegmenter(void_label=9, **CHEAP).fit(IMAGES, masks)
    assert model.classes_.tolist() == [0, 2, 5]
    assert set(np.unique(model.predict(IMAGES))) <= {0, 2, 5}
    images = IMAGES.copy()
    expected = mean_iou_score(masks[:, 2:], model.predict(images)[:, 2:], labels=[0, 2, 5])
    assert model.score(IMAGES, masks) == pytest.approx(expected)


def test_a_class_that_the_fit_did_not_have_scores_zero():
    model = SegNetSegmenter(**CHEAP).fit(IMAGES, MASKS)
    strange = np.where(MASKS == 5, 7, MASKS)
    report = segmentation_report(strange, model.predict(IMAGES))
    assert report.iou[report.labels == 7] == 0
    assert model.score(IMAGES, strange) == pytest.approx(report.mean_iou)


def test_probabilities_sum_to_one_and_agree_with_labels():
    names = np.array(["back", "edge", "edge", "", "", "ink"])[MASKS]
    model = SegNetSegmenter(**CHEAP).fit(IMAGES, names)
    probability = model.predict_proba(IMAGES)
    assert probability.shape == (120, 3, 8, 8)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(model.classes_[probability.argmax(1)], model.predict(IMAGES))
    last = SegNetSegmenter(channels_last=True, **CHEAP).fit(np.moveaxis(IMAGES, 1, -1), names)
    assert last.predict_proba(np.moveaxis(IMAGES, 1, -1)).shape == (120, 8, 8, 3)


@pytest.mark.parametrize("upsampling", ["indices", "skips"])
def test_a_network_learns_what_the_baseline_cannot(upsampling):
    """Which of two stripes is the brighter decides about all pixels."""
    X = rng.standard_normal((200, 1, 8, 8)) * 0.1
    left = rng.random(200) < 0.5
    X[left, :, :, 1] += 1
    X[~left, :, :, 6] += 1
    y = np.broadcast_to(left[:, None, None], (200, 8, 8))
    options = {**CHEAP, "channels": (8, 16, 16), "max_iter": 15, "augment": None}
    model = SegNetSegmenter(upsampling=upsampling, **options).fit(X[:150], y[:150])
    baseline = mean_iou_score(y[150:], model.baseline_predict(X[150:]))
    assert model.score(X[150:], y[150:]) > baseline + 0.2


def test_the_baseline_of_frequencies_is_theirs():
    model = SegNetSegmenter(baseline="prior", class_weight=None, learning_rate=1e-12, **{**CHEAP, "max_iter": 1})
    found = model.fit(IMAGES, MASKS).predict_proba(IMAGES)[0, :, 0, 0]
    np.testing.assert_allclose(found, [(c == MASKS).mean() for c in (0, 2, 5)], rtol=1e-3)


def test_the_baseline_of_places_knows_where_classes_are():
    y = np.zeros((50, 8, 8), dtype=int)
    y[:, :4] = 1
    X = rng.standard_normal((50, 8, 8))
    model = SegNetSegmenter(baseline="position", **CHEAP).fit(X, y)
    assert mean_iou_score(y, model.baseline_predict(X)) == 1


def test_the_baseline_of_pixels_is_as_good_as_logistic_regression_on_them():
    X = rng.standard_normal((60, 1, 6, 6))
    y = (X[:, 0] + 0.3 * rng.standard_normal((60, 6, 6)) > 0).astype(int)
    model = SegNetSegmenter(baseline="local", **CHEAP).fit(X, y)
    expected = LogisticRegression().fit(X.reshape(-1, 1), y.ravel()).score(X.reshape(-1, 1), y.ravel())
    assert (model.baseline_predict(X) == y).mean() > expected - 0.02


@pytest.mark.parametrize("shape", [(7, 5), (9, 16), (2, 2)])
@pytest.mark.parametrize("stem", [1, 2])
def test_any_size(shape, stem):
    X = rng.standard_normal((12, 2, *shape))
    options = {**CHEAP, "stem": stem if min(shape) > 2 else 1}
    model = SegNetSegmenter(**options).fit(X, X[:, 0] > 0)
    assert model.predict(X).shape == (12, *shape)
    assert model.predict(X).dtype == bool


def test_one_class_is_predicted_everywhere():
    model = SegNetSegmenter(**CHEAP).fit(IMAGES[:5], np.full((5, 8, 8), 3))
    assert (model.predict(IMAGES) == 3).all()
    assert model.score(IMAGES[:5], np.full((5, 8, 8), 3)) == 1


@pytest.mark.parametrize(
    ("options", "X", "y", "message"),
    [
        ({"void_label": 4}, IMAGES, np.full((120, 8, 8), 4), "not void_label=4"),
        ({}, IMAGES, MASKS[:, :4], "a label for each pixel"),
        ({}, IMAGES.reshape(120, -1), MASKS, "three axes"),
        ({}, IMAGES[:, :, :1, :1], MASKS[:, :1, :1], "1 x 1 pixels have a side of 1"),
        ({"channels": (4, 4, 4, 4)}, IMAGES, MASKS, "use fewer stages"),
        ({"channels": ()}, IMAGES, MASKS, "one integer or more"),
        ({"kernel_size": 2}, IMAGES, MASKS, "kernel_size must be odd"),
        ({"augment": ("turn",)}, IMAGES, MASKS, "augment must hold"),
        ({"class_weight": {0: -1.0}}, IMAGES, MASKS, "0 or more"),
        ({}, IMAGES, np.where(MASKS == 5, np.nan, MASKS), "NaN"),
        ({}, IMAGES, np.where(MASKS == 5, None, MASKS.astype(str)), "labels of one kind.*name void_label"),
        (
            {},
            np.repeat(IMAGES.reshape(120, 8, 8, 1), 3, axis=3),
            MASKS,
            r"axes of X are \(images, channels, height, width\)",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, X, y, message):
    with pytest.raises(ValueError, match=message):
        SegNetSegmenter(**{**CHEAP, **options}).fit(X, y)


def test_further_fits_refuse_labels_that_the_first_did_not_know():
    model = SegNetSegmenter(**CHEAP).fit(IMAGES, MASKS)
    with pytest.raises(ValueError, match="the classes of the fit"):
        model.partial_fit(IMAGES, MASKS + 1)


def test_masks_of_integers_as_objects_stand_in_files(tmp_path):
    model = SegNetSegmenter((3,), stem=1, max_iter=1, random_state=0, device="cpu", early_stopping=False)
    model.fit(IMAGES[:20], MASKS[:20].astype(object))
    assert model.classes_.dtype.kind == "i"
    save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").predict(IMAGES[:2]), model.predict(IMAGES[:2]))
