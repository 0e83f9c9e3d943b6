"""Fine-tuning of an autoencoder's encoder: its loss, rates of layers, frozen encoders, augmentation, the fallback."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.frozen import FrozenEstimator
from torch import nn

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    Convolutional,
    PretrainedClassifier,
    PretrainedRegressor,
    Recurrent,
    VAETransformer,
    load,
    save,
)
from sk_autoenc.base.few_labels import LabelScores
from sk_autoenc.data.dataset import Batch
from sk_autoenc.estimators.pretrained import fine_tuning_loss, own_labels
from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.few_labels import BaselineModel, FineTunedOutput, InUnits, MovedImages

X, Y = load_digits(return_X_y=True)
X, Y = X[:400], Y[:400]
FEW = np.where(np.arange(400) % 5 == 0, Y, -1)
ENCODER = AutoencoderTransformer(
    8, architecture=(32,), init="random", max_iter=10, early_stopping=False, random_state=0, device="cpu"
)
CHEAP = {"max_iter": 2, "random_state": 0, "device": "cpu"}


# -- the loss


def test_the_loss_is_the_weighted_cross_entropy_of_soft_labels():
    output = FineTunedOutput(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), None)
    batch = Batch(torch.zeros(2, 1), torch.tensor([[0.25, 0.75, 1.0], [1.0, 0.0, 0.5]]))
    found = fine_tuning_loss(output, batch)["cross_entropy"]
    np.testing.assert_allclose(found, [np.log(2), 0.5 * np.log1p(np.exp(-2))], rtol=1e-5)


def test_the_loss_of_values_is_the_weighted_squared_error():
    output = FineTunedOutput(torch.tensor([[1.0], [2.0]]), None)
    found = fine_tuning_loss(output, Batch(torch.zeros(2, 1), torch.tensor([[3.0, 1.0], [1.0, 0.5]])))
    np.testing.assert_allclose(found["squared_error"], [4.0, 0.5])


def test_the_networks_own_class_replaces_that_of_the_baseline_where_it_is_certain():
    plain = torch.tensor([[9.0, 0.0], [0.5, 0.0], [9.0, 0.0]])  # certain, uncertain, certain of a row with a label
    targets, weights = torch.tensor([[0.2, 0.8]] * 3), torch.tensor([0.9, 0.9, 1.0])
    mixed, found = own_labels(plain, targets, weights, 0.5)
    np.testing.assert_allclose(mixed, [[0.6, 0.4], [0.2, 0.8], [0.2, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(found, [0.9, 0.495, 1.0], rtol=1e-6)


# -- layers


def test_rates_of_layers_fall_towards_the_rows():
    model = PretrainedClassifier(clone(ENCODER).set_params(architecture=(16, 16)), **CHEAP, layer_decay=0.5)
    net = model.set_params(early_stopping=False).fit(X, FEW).net_
    rates = {rate for group in net.optimizer_.param_groups for rate in [group["rate"]]}
    assert rates == {1.0, 0.5, 0.25, 0.125}
    first = net.module_.rate_of("autoencoder.encoder.0.weight")
    assert first == 0.125
    assert net.module_.rate_of("output.weight") == 1.0
    highest = {group["rate"]: group["initial_lr"] for group in net.optimizer_.param_groups}
    assert highest[0.125] == pytest.approx(0.125 * highest[1.0])


def test_a_layer_with_a_small_rate_moves_less():
    def moved(layer_decay):
        frozen = FrozenEstimator(clone(ENCODER).fit(X))
        before = frozen.estimator.net_.module_.encoder[0].weight.detach().clone()
        options = {**CHEAP, "early_stopping": False, "layer_decay": layer_decay}
        after = PretrainedClassifier(frozen, **options).fit(X, FEW).net_.module_.autoencoder.encoder[0].weight
        return float((after - before).detach().abs().mean())

    assert moved(0.1) < 0.2 * moved(1.0)


# -- pretraining


def test_a_frozen_autoencoder_is_used_as_it_is_and_stays_unchanged(tmp_path):
    fitted = clone(ENCODER).fit(X)
    codes = fitted.transform(X)
    model = PretrainedClassifier(FrozenEstimator(fitted), **CHEAP, early_stopping=False, learning_rate=1e-9)
    np.testing.assert_allclose(model.fit(X, FEW).transform(X), codes, atol=1e-4)
    model.set_params(learning_rate=0.1).fit(X, FEW)
    np.testing.assert_array_equal(fitted.transform(X), codes)
    save(model, tmp_path / "model")
    opened = load(tmp_path / "model")
    np.testing.assert_array_equal(opened.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(opened.autoencoder.estimator.transform(X), codes)
    with pytest.raises(ValueError, match="autoencoder was fitted to rows of shape"):
        model.fit(X[:, :30], FEW)
    with pytest.raises(ValueError, match="pretraining must be True with a FrozenEstimator"):
        clone(model).set_params(pretraining=False).fit(X, FEW)


def test_pretraining_is_that_of_the_autoencoder_alone():
    model = PretrainedClassifier(ENCODER, **CHEAP, early_stopping=False, learning_rate=1e-9).fit(X, FEW)
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    alone = clone(ENCODER).set_params(random_state=np.random.RandomState(0)).fit(X)
    assert alone._seed == seed
    np.testing.assert_allclose(model.transform(X), alone.transform(X), atol=1e-4)
    untrained = clone(model).set_params(pretraining=False).fit(X, FEW)
    assert np.abs(untrained.transform(X) - alone.transform(X)).max() > 0.1


@pytest.mark.parametrize(
    "autoencoder",
    [
        VAETransformer(3, architecture=(8,), max_iter=2, early_stopping=False),
        AAETransformer(3, architecture=(8,), critic=(4,), max_iter=2),
        AutoencoderTransformer(3, architecture=(8,), max_iter=2, noise=0.2),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_any_autoencoder_may_be_pretrained(autoencoder):
    model = PretrainedClassifier(autoencoder, **CHEAP, early_stopping=False).fit(X, FEW)
    assert model.transform(X).shape == (400, 3)
    names = model.net_.module_.state_dict()
    assert not any(name.startswith(("autoencoder.decoder", "autoencoder.critic")) for name in names)


def test_sequences_are_refused():
    sequences = AutoencoderTransformer(2, architecture=Recurrent(3, unequal_lengths=True))
    with pytest.raises(ValueError, match="autoencoder must read rows of one length"):
        PretrainedClassifier(sequences).fit(X, FEW)


# -- augmentation


def test_moved_images_are_moved_and_nothing_else():
    image = torch.zeros(200, 1, 15, 15)
    image[:, :, 7, 7] = 1.0
    moved = MovedImages(ImageLayout(1, 15, 15, False), turns=False)(image.flatten(1), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(moved.sum(1), 1.0, atol=1e-4)
    at = moved.view(200, 15, 15)
    rows = (at.sum(2) * torch.arange(15)).sum(1)
    assert (rows - 7).abs().max() < 0.07 * 15 + 1e-3
    assert (rows - 7).abs().max() > 0.5


def test_turned_images_keep_their_angles_though_they_are_not_square():
    move = MovedImages(ImageLayout(1, 8, 32, False), turns=True)
    maps = move._transforms(50, torch.Generator().manual_seed(0), torch.zeros(1))[:, :, :2]
    of_pixels = maps * torch.tensor([[1.0, 32 / 8], [8 / 32, 1.0]])  # from halves of the sides to pixels
    turned = of_pixels @ of_pixels.mT  # a turn times a size
    torch.testing.assert_close(turned[:, 0, 1], torch.zeros(50), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned[:, 0, 0], turned[:, 1, 1])
    assert (of_pixels[:, 0, 1].abs() > 0.1).any()


def test_a_callable_sees_rows_in_the_units_and_the_shape_of_x():
    seen = []

    def change(rows, generator):
        seen.append(rows.clone())
        return rows

    images = X.reshape(-1, 8, 8)
    model = PretrainedClassifier(ENCODER, **CHEAP, augment=change, early_stopping=False).fit(images, FEW)
    assert seen[0].shape[1:] == (8, 8)
    assert 15 < float(torch.cat(seen).max()) < 16.01
    plain = clone(model).set_params(augment=None).fit(images, FEW)
    np.testing.assert_allclose(model.predict_proba(images), plain.predict_proba(images), atol=1e-3)


def test_what_cannot_be_augmented_is_refused():
    with pytest.raises(ValueError, match="augment='shift' needs images or series"):
        PretrainedClassifier(ENCODER, **CHEAP, augment="shift", early_stopping=False).fit(X, FEW)
    with pytest.raises(ValueError, match=r"augment must return a tensor of shape \(2, 3\)"):
        InUnits(lambda rows, generator: rows[:1], (3,), np.zeros(3, "f4"), np.ones(3, "f4"))(
            torch.zeros(2, 3), torch.Generator()
        )


def test_convolutional_encoders_are_tuned_on_moved_images():
    images = X.reshape(-1, 1, 8, 8)
    encoder = AutoencoderTransformer(4, architecture=Convolutional((4,)), init="random", max_iter=1, random_state=0)
    model = PretrainedClassifier(encoder.set_params(early_stopping=False), **CHEAP, augment="affine")
    assert model.set_params(early_stopping=False).fit(images, FEW).predict(images).shape == (400,)


# -- the baseline


def test_the_baseline_in_torch_is_that_in_numpy():
    model = PretrainedClassifier(ENCODER, **CHEAP, baseline="linear").fit(X, FEW)
    assert model.is_baseline_
    rows = model._data.dataset(X, "cpu", FEW)
    baseline = rows.baseline
    expected = baseline.linear(baseline.graph.codes_of(rows.data.numpy()))
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-5)


def test_baselines_of_any_size_are_set_and_loaded():
    one, other = (BaselineModel(5, 2, is_class=True, n_neighbors=2) for _ in range(2))
    one.set(
        mean=torch.zeros(5),
        axes=torch.eye(5)[:3],
        codes=torch.randn(7, 3),
        values=torch.full((7, 2), 0.5),
        slope=torch.zeros(2, 3),
        bias=torch.zeros(2),
        share=torch.tensor(1.0),
    )
    other.load_state_dict(one.state_dict())
    x = torch.randn(4, 5)
    np.testing.assert_array_equal(one(x), other(x))
    np.testing.assert_allclose(one(x), 0.5)


def test_held_out_labels_decide_by_one_standard_error():
    scores = LabelScores(patience=1, tol=0.0)
    before, noise = torch.full((25,), 1.0).double(), torch.tensor([0.5, -0.5] * 12 + [0.0]).double()
    error = float(noise.std()) / 5
    assert scores.is_significant(before, before - noise - 1.1 * error)
    assert not scores.is_significant(before, before - noise - 0.9 * error)
    assert not scores.is_significant(before, torch.full((25,), torch.nan).double())


def test_the_network_replaces_a_weak_baseline():
    X, Y = load_digits(return_X_y=True)
    few = np.where(np.arange(len(Y)) % 3 == 0, Y, -1)
    rows = X.reshape(-1, 8, 8)
    options = {"random_state": 0, "device": "cpu", "baseline": "linear", "learning_rate": 0.005}
    encoder = clone(ENCODER).set_params(n_components=32, architecture=(64,))
    model = PretrainedClassifier(encoder, **options, max_iter=20, augment="shift").fit(rows, few)
    assert not model.is_baseline_
    assert model.validation_loss_curve_[-1] < model.validation_loss_curve_[0]
    assert PretrainedClassifier(ENCODER, **{**options, "learning_rate": 1e-9}, max_iter=1).fit(rows, few).is_baseline_


def test_values_are_predicted_in_their_units():
    X, y = load_diabetes(return_X_y=True)
    few = np.where(np.arange(len(y)) % 2, 1000 + 50 * y, np.nan)
    for early_stopping in (True, False):
        model = PretrainedRegressor(
            ENCODER, random_state=0, device="cpu", max_iter=30, early_stopping=early_stopping, learning_rate=0.005
        ).fit(X, few)
        assert model.score(X[np.isnan(few)], (1000 + 50 * y)[np.isnan(few)]) > 0.3


def test_what_only_decodes_is_dropped():
    model = PretrainedClassifier(ENCODER, **CHEAP, early_stopping=False).fit(X, FEW)
    assert isinstance(model.net_.module_.autoencoder.decoder, nn.Identity)
    assert isinstance(model.net_.module_.output, Linear)
