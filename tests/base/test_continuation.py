"""``fit`` after ``fit``: what judges it, what may change in between, and callbacks of skorch throughout."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from skorch.callbacks import Callback, Checkpoint, EpochScoring, Freezer, LRScheduler, TrainEndCheckpoint

from sk_autoenc import AAETransformer, AutoencoderTransformer, VAETransformer

rng = np.random.default_rng(0)
CURVE = rng.uniform(-1, 1, (700, 1))
X = np.hstack([CURVE, CURVE**2, np.sin(3 * CURVE)]) + 0.02 * rng.normal(size=(700, 3))
NOISE = rng.standard_t(2.5, (300, 8))


class Counter(Callback):
    """Counts epochs."""

    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


def ae(**params):
    return AutoencoderTransformer(1, **{"architecture": (16,), "max_iter": 10, "random_state": 0, **params})


# -- what judges a further fit


@pytest.mark.parametrize("make", [ae, lambda **params: VAETransformer(1, architecture=(16,), random_state=0, **params)])
def test_weights_stay_where_no_epoch_is_better(make):
    model = make(max_iter=20, warm_start=True, learning_rate_schedule="constant").fit(X)
    before = model.score(X)
    model.set_params(learning_rate=10.0, max_iter=3).fit(X)  # every step leads astray
    assert model.score(X) == pytest.approx(before, rel=1e-5)


def test_weights_move_where_an_epoch_is_better():
    model = ae(max_iter=3, warm_start=True).fit(X)
    before = model.score(X)
    assert model.set_params(max_iter=20).fit(X).score(X) > before


@pytest.mark.parametrize("n_rows", [30, 100])
def test_where_pca_was_kept_a_further_fit_is_judged_like_the_first(n_rows):
    model = AutoencoderTransformer(2, max_iter=5, warm_start=True, random_state=0).fit(NOISE[:n_rows])
    before = model.reconstruct(NOISE)
    n_judged = len(model.validation_loss_curve_)
    assert model.linear_
    assert model.fit(NOISE[:n_rows]).linear_
    assert len(model.validation_loss_curve_) == n_judged
    np.testing.assert_allclose(model.reconstruct(NOISE), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_rows", [300, 700])
def test_after_pca_was_kept_other_rows_get_their_own(n_rows):
    rows = np.hstack([X[:n_rows], NOISE[:1, :5].repeat(n_rows, axis=0)])
    noise = np.random.default_rng(1).standard_t(2.5, (n_rows, 8))
    model = AutoencoderTransformer(1, max_iter=8, warm_start=True, learning_rate=1.0, random_state=0).fit(noise)
    assert model.linear_
    model.set_params(learning_rate=0.006).fit(rows)
    fresh = AutoencoderTransformer(1, max_iter=8, random_state=0).fit(rows)
    assert model.score(rows) >= 1.5 * fresh.score(rows)  # negative; centre and scale are of the first fit
    assert model.score(rows) > PCA(1).fit(rows).score(rows) or not fresh.linear_


def test_folds_of_a_further_fit_have_its_learning_rate():
    rates = []

    class Listens(Callback):
        def __deepcopy__(self, memo):
            return self

        def on_train_begin(self, net, **kwargs):
            rates.append(net.lr)

    model = AutoencoderTransformer(2, max_iter=2, warm_start=True, learning_rate=1.0, random_state=0).fit(NOISE)
    assert model.linear_
    model.set_params(learning_rate=0.006, callbacks=[Listens()]).fit(NOISE)
    assert rates == [0.006] * 5  # four folds and all rows


def test_a_network_that_has_not_settled_is_judged_whatever_its_curves():
    model = VAETransformer(1, architecture=(8,), max_iter=6, warm_start=True, random_state=0)
    model.partial_fit(X).partial_fit(X).fit(X)
    assert len(model.validation_loss_curve_) > 0
    model = VAETransformer(1, architecture=(8,), max_iter=6, warm_start=True, early_stopping=False, random_state=0)
    model.fit(X).set_params(early_stopping=True).fit(X)
    assert len(model.validation_loss_curve_) > 0


def test_a_further_fit_that_fails_leaves_no_epochs_behind():
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("no more")

    model = ae(max_iter=2, warm_start=True).fit(X)
    with pytest.raises(RuntimeError, match="no more"):
        model.set_params(callbacks=[Fails()]).fit(X)
    assert len(model.net_.history) == 2
    assert model.set_params(callbacks=None).fit(X).n_iter_ == len(model.loss_curve_) == 4


# -- what may change


def test_callbacks_may_change_between_fits():
    model = ae(init="random", max_iter=2, warm_start=True, callbacks=[Counter()]).fit(X)
    first = model.net_.callbacks_[0][1]
    model.fit(X)
    assert model.net_.callbacks_[0][1] is first  # it stays, with what it has seen
    assert first.n_epochs == 4
    model.set_params(callbacks=[Counter(), Counter()]).fit(X)
    assert [callback.n_epochs for _, callback in model.net_.callbacks_] == [2, 2]
    model.set_params(callbacks=None).partial_fit(X)
    assert model.net_.callbacks_ == []
    assert first.n_epochs == 4


@pytest.mark.parametrize("make", [ae, lambda **params: AAETransformer(1, architecture=(8,), random_state=0, **params)])
def test_callbacks_that_are_refused_do_not_stay(make):
    model = make(max_iter=1, warm_start=True).fit(X)
    for refused in (EpochScoring("r2"), "none"):
        with pytest.raises(ValueError, match=r"callbacks(:| must be) "):
            model.set_params(callbacks=[refused]).fit(X)
    pickle.loads(pickle.dumps(model))  # parameters are checked in fit
    assert model.set_params(callbacks=None).fit(X).net_.callbacks_ == []


def test_ctrl_c_before_an_epoch_leaves_pca_that_was_kept():
    class Interrupts(Callback):
        def on_batch_end(self, net, **kwargs):
            press()

    def press():
        raise KeyboardInterrupt

    model = AutoencoderTransformer(2, max_iter=2, warm_start=True, random_state=0).fit(NOISE)
    before = model.reconstruct(NOISE)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Interrupts()]).fit(NOISE)
    assert model.linear_
    np.testing.assert_allclose(model.reconstruct(NOISE), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [ae, lambda **params: VAETransformer(1, architecture=(8,), random_state=0, **params)])
def test_fit_works_in_inference_mode(make):
    expected = make(max_iter=2).fit(X)
    with torch.inference_mode():
        model = make(max_iter=2).fit(X)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    model.partial_fit(X)


# -- callbacks of skorch


def test_what_a_callback_says_at_the_start_comes_out():
    class Fails(Callback):
        def on_train_begin(self, net, **kwargs):
            raise RuntimeError("my own message")

    with pytest.raises(RuntimeError, match="my own message"):
        ae(callbacks=[Fails()]).fit(X)


def test_checkpoints_hold_what_training_ends_with(tmp_path):
    kinds = [
        Checkpoint(monitor=None, dirname=str(tmp_path / "each")),
        TrainEndCheckpoint(dirname=str(tmp_path / "end")),
    ]
    options = {"learning_rate": 0.1, "learning_rate_schedule": "constant", "n_iter_no_change": 3, "max_iter": 30}
    model = ae(init="random", callbacks=kinds, **options).fit(X)
    assert model.n_iter_ < 30  # the best weights were restored
    assert (tmp_path / "each" / "params.pt").exists()
    stored = torch.load(tmp_path / "end" / "train_end_params.pt")
    for name, weight in model.net_.module_.state_dict().items():
        torch.testing.assert_close(stored[name], weight)


def test_two_schedules_do_not_go_together():
    halving = LRScheduler("StepLR", step_size=1, gamma=0.5)
    with pytest.raises(ValueError, match=r"LRScheduler sets learning rates.*='constant'"):
        ae(callbacks=[halving]).fit(X)
    model = ae(
        max_iter=4, early_stopping=False, learning_rate_schedule="constant", learning_rate=0.008, callbacks=[halving]
    )
    assert model.fit(X).net_.history[:, "event_lr"] == pytest.approx([0.008, 0.004, 0.002, 0.001])
    with pytest.raises(ValueError, match="every player has its own"):
        AAETransformer(1, architecture=(8,), max_iter=1, callbacks=[halving]).fit(X)


def test_frozen_layers_stay_also_where_players_take_turns():
    whole = AAETransformer(1, architecture=(8,), max_iter=2, random_state=0).fit(X).net_.module_.state_dict()
    frozen = AAETransformer(1, architecture=(8,), max_iter=2, random_state=0, callbacks=[Freezer("encoder.*")]).fit(X)
    start = AAETransformer(1, architecture=(8,), max_iter=1, random_state=0, learning_rate=1e-30).fit(X).net_.module_
    for name, weight in frozen.net_.module_.state_dict().items():
        if name.startswith("encoder.") and weight.is_floating_point():
            torch.testing.assert_close(weight, start.state_dict()[name], atol=1e-2, rtol=0)
    moved = max(
        float((whole[name] - start.state_dict()[name]).abs().max()) for name in whole if name.startswith("encoder.")
    )
    assert moved > 1e-2
