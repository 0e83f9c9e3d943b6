"""Callbacks of training: early stopping, losses that are not finite, wishes to stop, Ctrl-C, schedules."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, EpochScoring

from sk_autoenc.data.dataset import Rows
from sk_autoenc.training.builder import OPTIMIZERS
from sk_autoenc.training.callbacks import FiniteGuard, StopTraining
from tests.data_sets import numbered
from tests.training.small_nets import After, Point, Spy, callbacks_of_a_fit, make_net, squared_distance

# -- stopping


def overshooting(patience=4):
    """Training pulls from 0 to 10, the held-out rows lie at 3: the loss on them falls, then rises."""
    net = make_net(Point(), squared_distance, lr=0.02, batch_size=100)
    rows, validation = Rows(torch.full((8, 1), 10.0)), Rows(torch.full((4, 1), 3.0))
    spy = Spy(lambda net: net.module_.at.item())
    stop = callbacks_of_a_fit(n_steps=200, patience=patience)
    return net, rows, validation, spy, stop


def test_early_stopping_returns_to_the_best_epoch():
    net, rows, validation, spy, stop = overshooting()
    net.train(rows, validation, epochs=200, callbacks=[spy, *stop])
    losses = net.history[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert 2 < best < 30
    assert len(losses) == best + 1 + 4
    assert net.module_.at.item() == spy.seen[best]
    assert net.losses(validation).mean().item() == pytest.approx(losses[best])


def test_training_to_the_last_epoch_returns_to_the_best_too():
    net, rows, validation, spy, stop = overshooting(patience=1000)
    net.train(rows, validation, epochs=30, callbacks=[spy, *stop])
    losses = net.history[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert best < 28
    assert net.module_.at.item() == spy.seen[best]


# -- the warm-up


def warmed(n_warmup_epochs, epochs, **kwargs):
    """A net that notes the weight of its KL divergence, in training and when it is evaluated."""
    seen = {True: [], False: []}

    def objective(output, batch, *, kl_weight=1.0):
        seen[torch.is_grad_enabled()].append(float(kl_weight))
        return {"distance": kl_weight * (output - batch.x[:, 0]).square()}

    net = make_net(Point(), objective, batch_size=100, n_warmup_epochs=n_warmup_epochs)
    net.train(Rows(numbered(4)), Rows(numbered(3)), epochs=epochs, **kwargs)
    return seen[True], seen[False]


def test_the_warm_up_rises_to_one_and_rows_are_judged_at_one():
    training, judging = warmed(3, 6)
    assert training == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    assert judging == [1.0] * 6
    assert warmed(0, 2)[0] == [1.0, 1.0]


@pytest.mark.parametrize(("n_warmup_epochs", "expected"), [(0, 1 + 4), (10, 10 + 4)])
def test_early_stopping_waits_for_the_warm_up(n_warmup_epochs, expected):
    """Losses on held-out rows rise from the first epoch on; epochs of the warm-up do not count as without gain."""

    def objective(output, batch, *, kl_weight=1.0):
        return squared_distance(output, batch)

    net = make_net(Point(), objective, n_warmup_epochs=n_warmup_epochs)
    rows, validation = Rows(torch.full((8, 1), 10.0)), Rows(torch.full((4, 1), 0.0))
    net.train(rows, validation, epochs=50, callbacks=callbacks_of_a_fit(patience=4, n_warmup_epochs=n_warmup_epochs))
    assert len(net.history) == expected


def test_a_callback_stops_by_our_own_signal():
    def stop():
        raise StopTraining

    net = make_net(Point(), squared_distance)
    net.train(Rows(numbered(4)), epochs=10, callbacks=[After(3, stop)])
    assert len(net.history) == 3


def test_a_callback_stops_by_skorchs_signal():
    """skorch's own way, a raise statement in the callback itself, is the callback's wish and no Ctrl-C."""

    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    net = make_net(Point(), squared_distance, callbacks=[Enough()])
    try:
        net.train(Rows(numbered(4)), epochs=10)
    except KeyboardInterrupt:  # which would end pytest itself
        pytest.fail("taken for Ctrl-C")
    assert len(net.history) == 2


@pytest.mark.parametrize("with_validation", [False, True])
def test_ctrl_c_in_the_module_comes_out(with_validation):
    class Interrupted(Point):
        calls = 0

        def forward(self, x, generator=None):
            self.calls += 1
            if self.calls == 12:
                raise KeyboardInterrupt
            return super().forward(x, generator)

    net = make_net(Interrupted(), squared_distance)
    rows = Rows(numbered(8))
    stop = callbacks_of_a_fit(schedule="cosine", patience=5)
    with pytest.raises(KeyboardInterrupt):
        net.train(
            rows, rows if with_validation else None, epochs=50, callbacks=stop if with_validation else [FiniteGuard()]
        )
    assert not net.module_.training
    net.train(rows, epochs=1)  # and training can go on


def test_ctrl_c_in_a_function_that_a_callback_calls_comes_out():
    def deed():
        raise KeyboardInterrupt

    net = make_net(Point(), squared_distance)
    with pytest.raises(KeyboardInterrupt):
        net.train(Rows(numbered(4)), epochs=10, callbacks=[After(2, deed)])


def test_ctrl_c_deep_in_a_callback_comes_out():
    """As it arrives in a copy of the weights: some frames below the callback."""

    class Weights:
        def __deepcopy__(self, memo):
            raise KeyboardInterrupt

    def deed():
        import copy

        copy.deepcopy([Weights()])

    net = make_net(Point(), squared_distance)
    with pytest.raises(KeyboardInterrupt):
        net.train(Rows(numbered(4)), epochs=10, callbacks=[After(2, deed)])


def test_ctrl_c_leaves_the_best_weights():
    net, rows, validation, spy, stop = overshooting(patience=1000)

    def deed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.train(rows, validation, epochs=200, callbacks=[spy, *stop, After(30, deed)])
    assert net.module_.at.item() == spy.seen[int(np.argmin(net.history[:, "valid_loss"]))]


def test_other_errors_come_out():
    def deed():
        raise ZeroDivisionError

    net = make_net(Point(), squared_distance)
    with pytest.raises(ZeroDivisionError):
        net.train(Rows(numbered(4)), epochs=10, callbacks=[After(2, deed)])
    assert not net.module_.training


# -- losses that are not finite


def all_finite(net):
    return all(torch.isfinite(value).all() for value in net.module_.state_dict().values())


@pytest.mark.parametrize("with_validation", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_diverging_loss_stops_training(with_validation, optimizer):
    """Every epoch multiplies the distance; what comes back has a finite loss."""

    def steep(output, batch):
        return {"distance": (output - batch.x[:, 0]).square().square().square()}

    rows = Rows(numbered(8) + 1)
    net = make_net(Point(1.0), steep, lr=1e6, batch_size=8, optimizer=OPTIMIZERS[optimizer])
    stop = callbacks_of_a_fit(patience=50 if with_validation else None)
    with pytest.warns(ConvergenceWarning, match=r"not finite in epoch \d+ with learning_rate=1e\+06"):
        net.train(rows, rows if with_validation else None, epochs=50, callbacks=stop)
    assert len(net.history) < 50
    assert all_finite(net)
    assert torch.isfinite(net.losses(rows)).all()


class Root(Point):
    """A finite output whose gradient is not: the root of 0."""

    def forward(self, x, generator=None):
        return (x[:, 0] + 0 * self.at).sqrt()


@pytest.mark.parametrize("epochs", [1, 3])
def test_weights_stay_finite_when_only_the_gradient_is_not(epochs):
    """The loss of the epoch that spoils the weights is still finite; in a single epoch no later loss tells."""
    net = make_net(Root(1.0), lambda output, batch: {"root": output})
    with pytest.warns(ConvergenceWarning, match="finite"):
        net.train(Rows(torch.zeros(4, 1)), epochs=epochs, callbacks=[FiniteGuard()])
    assert all_finite(net)
    assert net.module_.at.item() == 1.0


def test_nan_in_the_middle_of_an_epoch_returns_to_the_epoch_before():
    class Breaking(Point):
        calls = 0

        def forward(self, x, generator=None):
            self.calls += self.training
            return super().forward(x, generator) * (math.nan if self.calls == 6 else 1)

    net = make_net(Breaking(), squared_distance, lr=0.01)
    spy = Spy(lambda net: net.module_.at.item())
    with pytest.warns(ConvergenceWarning, match=r"epoch 3 with learning_rate=0.01.*smaller learning_rate"):
        net.train(Rows(numbered(8)), epochs=10, callbacks=[spy, FiniteGuard()])  # two batches an epoch
    assert len(net.history) == 3
    assert net.module_.at.item() == spy.seen[1]


def test_a_finite_course_warns_of_nothing():
    net = make_net(Point(), squared_distance)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.train(Rows(numbered(8)), epochs=3, callbacks=[FiniteGuard()])
    assert len(net.history) == 3


# -- callbacks that are refused, and schedules


@pytest.mark.parametrize("scoring", [EpochScoring("r2"), ("my_score", EpochScoring("r2", name="own"))])
def test_scoring_callbacks_are_refused(scoring):
    with pytest.raises(ValueError, match=r"callbacks.*EpochScoring.*ScoringMonitor"):
        make_net(Point(), squared_distance, callbacks=[scoring])


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.seen.append(net.optimizer_.param_groups[0]["lr"])


def rates_of(schedule, net, epochs):
    spy = Rates()
    n_steps = epochs * 25
    callbacks = callbacks_of_a_fit(schedule=schedule, n_steps=n_steps)
    net.train(Rows(numbered(100)), epochs=epochs, callbacks=[*callbacks, spy])
    assert len(spy.seen) == n_steps
    return np.array(spy.seen)


def test_the_cosine_rises_then_falls_to_zero():
    rates = rates_of("cosine", make_net(Point(), squared_distance, lr=0.1), epochs=40)
    peak = int(rates.argmax())
    assert 90 <= peak <= 110
    assert rates[peak] == pytest.approx(0.1, rel=1e-3)
    assert 0 < rates[0] < 0.002
    assert (np.diff(rates[:peak]) > 0).all()
    assert (np.diff(rates[peak + 1 :]) < 0).all()
    assert 0 <= rates[-1] < 1e-5
    assert rates[550] == pytest.approx(0.05, rel=0.01)  # half way down


def test_a_constant_schedule_is_constant():
    np.testing.assert_array_equal(rates_of("constant", make_net(Point(), squared_distance, lr=0.1), epochs=2), 0.1)


@pytest.mark.parametrize("epochs", [1, 2])
def test_every_fit_has_the_whole_schedule(epochs):
    net = make_net(Point(), squared_distance, lr=0.1)
    first = rates_of("cosine", net, epochs)
    np.testing.assert_allclose(rates_of("cosine", net, epochs), first)


def test_very_short_schedules_train():
    spy = Rates()
    net = make_net(Point(), squared_distance, lr=0.1)
    callbacks = callbacks_of_a_fit(schedule="cosine", n_steps=1)
    net.train(Rows(numbered(4)), epochs=1, callbacks=[*callbacks, spy])
    assert 0.02 < spy.seen[0] <= 0.1


def test_patience_without_validation_is_no_callback():
    callbacks = callbacks_of_a_fit()
    assert not any(isinstance(callback, EarlyStopping) for callback in callbacks)
