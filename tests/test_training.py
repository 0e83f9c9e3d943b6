"""The net, its data, its randomness and its options: everything below the estimators that moves weights."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, EpochScoring
from torch import nn

from sk_autoenc.data.dataset import Pairs, Rows, WholeBatches
from sk_autoenc.data.splits import N_FOLDS, fold_rows, split_rows
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import BoundedLinear, Linear, LinearPlusNonlinear, multilayer_perceptron
from sk_autoenc.training.builder import OPTIMIZERS, build_net, check_net_params, fit_callbacks, resolve_device
from sk_autoenc.training.callbacks import FiniteGuard, StopTraining
from sk_autoenc.training.nets import ObjectiveNet, total_per_row
from sk_autoenc.training.randomness import PURPOSES, draw_seed, make_generator
from sk_autoenc.training.selection import NATS, ROOT_LOSS, RowLosses, best_epoch, signed_root


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(n, width=2):
    """Rows that tell their number."""
    return torch.arange(n, dtype=torch.float32)[:, None].expand(n, width).contiguous()


def rows_of(batches):
    """The rows of all batches, one after the other."""
    return torch.cat([batch.x for batch in batches])


# -- data


def test_pairs_stay_pairs():
    """Whatever order or part of them a batch holds."""
    data = numbered(30)
    pairs = Pairs(data, 2 * data[:, :1])
    for some in (pairs, pairs.subset(torch.arange(5, 25)), pairs.cpu()):
        for batch in WholeBatches(some, 8, seeded()):
            assert torch.equal(batch.y, 2 * batch.x[:, :1])
    assert pairs.subset(torch.arange(5, 25)).target is pairs.target


def test_rows_are_chosen_by_index():
    data = numbered(10)
    rows = Rows(data, torch.tensor([7, 2, 5]))
    assert len(rows) == 3
    assert torch.equal(rows[1], data[2])
    assert torch.equal(rows[0:2], data[[7, 2]])
    assert torch.equal(rows[torch.tensor([2, 0])], data[[5, 7]])
    assert rows.data is data


def test_rows_without_index_are_all():
    data = numbered(4)
    assert torch.equal(Rows(data)[:], data)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_batches_hold_every_row_once(n):
    """One row, fewer than a batch, a whole number of batches; a single row left over joins the batch before."""
    index = torch.arange(0, 2 * n, 2)
    batches = WholeBatches(Rows(numbered(2 * n), index), 4, seeded())
    parts = list(batches)
    assert all(part.y is None for part in parts)
    assert [len(part) for part in parts] == {1: [1], 2: [2], 3: [3], 4: [4], 5: [5], 8: [4, 4], 9: [4, 5]}[n]
    assert len(batches) == len(parts)
    assert sorted(rows_of(parts)[:, 0].tolist()) == index.tolist()


def test_order_is_the_generators():
    rows = Rows(numbered(50))
    first, again, other = (rows_of(WholeBatches(rows, 8, seeded(s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, rows[:])


def test_every_epoch_has_its_own_order():
    batches = WholeBatches(Rows(numbered(50)), 8, seeded())
    assert not torch.equal(rows_of(batches), rows_of(batches))


def test_without_generator_the_order_is_that_of_the_rows():
    rows = Rows(numbered(10), torch.tensor([3, 1, 9]))
    assert torch.equal(rows_of(WholeBatches(rows, 2)), rows[:])


# -- judging


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(100, 0.1, 10), (7, 0.5, 4), (100, 0.29, 29), (50, 0.001, 1)])
def test_split_holds_out_a_share(n, fraction, held_out):
    train, test = split_rows(n, fraction, seeded())
    assert len(test) == held_out
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
    assert torch.equal(train, train.sort().values)
    assert torch.equal(test, test.sort().values)
    assert test.tolist() != list(range(n - held_out, n))


def test_split_is_the_generators():
    first, again, other = (split_rows(100, 0.2, seeded(s))[1] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("n", [40, 41, 43])
def test_folds_hold_out_every_row_once(n):
    folds = fold_rows(n, seeded(1))
    assert len(folds) == N_FOLDS
    assert sorted(i for _, held_out in folds for i in held_out.tolist()) == list(range(n))
    for chosen, held_out in folds:
        assert sorted([*chosen.tolist(), *held_out.tolist()]) == list(range(n))
        assert torch.equal(chosen, chosen.sort().values)
        assert abs(len(held_out) - n / N_FOLDS) < 1
    other = fold_rows(n, seeded(2))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_signed_roots_keep_the_order():
    losses = torch.tensor([-9.0, -1.0, 0.0, 0.25, 4.0])
    assert signed_root(losses).tolist() == [-3.0, -1.0, 0.0, 0.5, 2.0]


def test_the_best_epoch_is_not_decided_by_one_far_row():
    losses = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 1.0, 1.0, 20.0], [9.0, 9.0, 9.0, 0.0]])
    assert losses.mean(1).argmin() == 0
    assert best_epoch(losses, ROOT_LOSS) == 2


def test_the_best_epoch_of_log_probabilities_is_that_of_their_mean():
    """A constant added to all losses, as another unit of X adds it, changes nothing."""
    losses = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 1.0, 1.0, 20.0], [9.0, 9.0, 9.0, 0.0]])
    assert [best_epoch(losses + constant, NATS) for constant in (0.0, -5.0, 100.0)] == [1, 1, 1]


def test_the_best_epoch_is_finite():
    losses = torch.tensor([[math.nan, 1.0], [5.0, 5.0], [-math.inf, 1.0], [6.0, 6.0]])
    assert [best_epoch(losses, comparison) for comparison in (ROOT_LOSS, NATS)] == [2, 2]


def judged(before, after, comparison=ROOT_LOSS):
    return comparison.is_significant(before, after)


def test_a_gain_is_real_where_chance_does_not_explain_it():
    generator = seeded()
    before = 1 + torch.rand(100, generator=generator, dtype=torch.float64)
    chance = 0.1 * torch.randn(100, generator=generator, dtype=torch.float64)
    assert judged(before, 0.9 * before)
    assert judged(before, before - 0.1 + chance)
    assert not judged(before, before - 0.001 + chance - chance.mean())
    assert not judged(before, before)
    assert not judged(before, 1.1 * before)


def test_a_gain_in_nats_does_not_depend_on_their_origin():
    before = 1 + torch.rand(100, generator=seeded(), dtype=torch.float64)
    after = before - 0.1 + 0.1 * torch.randn(100, generator=seeded(1), dtype=torch.float64)
    for constant in (0.0, -1.5, 1000.0):
        assert judged(before + constant, after + constant, NATS)
        assert not judged(after + constant, before + constant, NATS)


def test_a_row_that_becomes_impossible_spoils_a_gain_in_nats():
    before = torch.ones(100, dtype=torch.float64)
    after = 0.9 * before
    assert judged(before, after, NATS)
    after[3] = 1000.0
    assert not judged(before, after, NATS)


def test_a_row_that_becomes_possible_does_not_hide_what_all_rows_gain_in_nats():
    """Its fall alone makes the mean and the standard error, whose ratio is then 1."""
    chance = torch.randn(100, generator=seeded(), dtype=torch.float64)
    after = torch.zeros(100, dtype=torch.float64)
    far = torch.zeros(100, dtype=torch.float64)
    far[3] = 1e6
    assert judged(after + 1 + chance + far, after, NATS)
    assert not judged(after + chance - chance.mean() + far, after, NATS)
    assert not judged(after + 1 + chance - far, after, NATS)
    some = torch.where(torch.arange(100) < 10, -10.0, 0.1).double() + far  # which lose more than the others gain
    assert not judged(some, after, NATS)
    equal = torch.where(torch.arange(100) < 45, chance - chance[:45].mean(), 0.0)
    assert not judged(equal, after, NATS)


def test_a_gain_on_most_rows_that_ruins_a_few_is_none():
    before = torch.ones(100, dtype=torch.float64)
    after = 0.5 * before
    after[:4] = 100.0 + torch.arange(4)
    assert signed_root(after).mean() < signed_root(before).mean() + 0.2
    assert not judged(before, after)


@pytest.mark.parametrize("spoiler", [math.nan, math.inf, -math.inf])
def test_a_gain_is_finite(spoiler):
    before = torch.ones(100, dtype=torch.float64)
    after = 0.5 * before
    after[3] = spoiler
    assert not judged(before, after)


def test_one_row_proves_nothing():
    assert not judged(torch.tensor([2.0]), torch.tensor([1.0]))


# -- private randomness


def test_every_seed_and_purpose_has_its_own_stream():
    streams = {
        (s, p): tuple(torch.rand(4, generator=make_generator(s, p)).tolist()) for s in range(3) for p in PURPOSES
    }
    assert len(set(streams.values())) == 3 * len(PURPOSES)
    assert streams[1, "noise"] == tuple(torch.rand(4, generator=make_generator(1, "noise")).tolist())


def test_seeds_follow_scikit_learn():
    assert draw_seed(3) == draw_seed(3)
    assert draw_seed(3) != draw_seed(4)
    state = np.random.RandomState(3)
    assert draw_seed(state) == draw_seed(3)
    assert draw_seed(state) != draw_seed(3)


def test_initialization_is_torchs_own_from_the_given_generator():
    first, again, other = (nn.Sequential(nn.Tanh(), nn.Linear(16, 400))[1] for _ in range(3))
    state = torch.get_rng_state()
    for layer, seed in ((first, 1), (again, 1), (other, 2)):
        initialize_parameters(layer, seeded(seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    for values in (first.weight, first.bias):
        assert 0.95 / 4 < values.abs().max() <= 1 / 4
        assert abs(values.mean()) < 0.1 / 4


@pytest.mark.parametrize("residual", [False, True])
def test_initialization_leaves_no_parameter_unset(residual):
    """Modules come from the meta device with whatever was in memory."""
    network = multilayer_perceptron([3, 4, 4, 2], "silu", residual=residual)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(math.nan)
    initialize_parameters(network, seeded())
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


# -- the net: small modules whose course is known


class Point(nn.Module):
    """One number that the objective moves; the output is that number and the row."""

    def __init__(self, start=0.0):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x, generator=None):
        return self.at.expand(len(x))


class Noise(Point):
    """Draws a normal number per row."""

    def forward(self, x, generator=None):
        return torch.randn(len(x), generator=generator) + 0 * self.at


def squared_distance(output, batch):
    return {"distance": (output - batch.x[:, 0]).square()}


def make_net(module, objective, *, lr=0.1, batch_size=4, optimizer=torch.optim.SGD, **kwargs):
    net = ObjectiveNet(
        module, objective, optimizer=optimizer, lr=lr, batch_size=batch_size, device="cpu", seed=5, **kwargs
    )
    return net.initialize()


def callbacks_of_a_fit(**kwargs):
    patience, tol = kwargs.pop("patience", None), kwargs.pop("tol", 0.0)
    selection = None if patience is None else RowLosses(patience, tol, kwargs.pop("comparison", ROOT_LOSS))
    return fit_callbacks(**{"schedule": "constant", "n_steps": 100, "selection": selection, **kwargs})


class Spy(Callback):
    """Notes a figure of the net at every epoch's end."""

    def __init__(self, figure):
        self.figure, self.seen = figure, []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(self.figure(net))


class After(Callback):
    """Does something at the end of an epoch."""

    def __init__(self, epoch, deed):
        self.epoch, self.deed = epoch, deed

    def on_epoch_end(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            self.deed()


def test_recorded_losses_are_means_over_rows():
    """Batches of 4, 4 and 2 rows: the last counts half."""
    x = torch.tensor([[v] for v in (1.0, 2, 3, 4, 5, 6, 7, 8, 90, 100)])
    batches = []

    def objective(output, batch):
        batches.append(batch.x[:, 0].clone())
        return {"per_row": 2 * batch.x[:, 0] + 0 * output, "per_batch": batch.x[:, 0].mean().square()}

    net = make_net(Point(), objective, lr=0.0)
    net.train(Rows(x), epochs=1)
    (row,) = net.history
    assert [len(batch) for batch in batches] == [4, 4, 2]
    per_batch = sum(len(batch) * batch.mean().item() ** 2 for batch in batches) / 10
    assert row["train_per_row"] == pytest.approx(2 * x.mean().item())
    assert row["train_per_batch"] == pytest.approx(per_batch)
    assert row["train_loss"] == pytest.approx(2 * x.mean().item() + per_batch)
    assert row["train_batch_count"] == 3
    assert row["epoch"] == 1


def test_judging_is_the_objective_of_every_row():
    x = torch.tensor([[v] for v in (1.0, 2, 3, 4, 5, 6, 7, 8, 90, 100)])

    def objective(output, batch):
        return {"per_row": 2 * batch.x[:, 0] + 0 * output, "per_batch": batch.x[:, 0].mean()}

    net = make_net(Point(), objective, lr=0.0)
    expected = 2 * x[:, 0] + torch.tensor([2.5] * 4 + [6.5] * 4 + [95.0] * 2)
    judged = net.losses(Rows(x))
    assert judged.dtype == torch.float64
    assert judged.tolist() == expected.tolist()
    net.train(Rows(x), Rows(x), epochs=1)
    assert net.history[-1, "valid_loss"] == pytest.approx(expected.mean().item())
    assert net.history[-1, "valid_criterion"] == pytest.approx(expected.sqrt().mean().item())


def test_training_follows_the_hand_written_loop():
    x = torch.randn(10, 3, generator=seeded())
    module = nn.Linear(3, 1)
    initialize_parameters(module, seeded(1))
    weight, bias = (p.detach().clone().requires_grad_() for p in module.parameters())

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x, generator=None):
            return self.inner(x)[:, 0]

    net = make_net(Wrapped(), squared_distance, lr=0.05)
    net.train(Rows(x), epochs=3)

    order, losses = make_generator(5, "shuffling"), []
    optimizer = torch.optim.SGD([weight, bias], lr=0.05)
    for _ in range(3):
        total = 0.0
        for chosen in torch.randperm(10, generator=order).split(4):
            loss = (nn.functional.linear(x[chosen], weight, bias)[:, 0] - x[chosen, 0]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen) / 10
        losses.append(total)
    torch.testing.assert_close(module.weight, weight)
    torch.testing.assert_close(module.bias, bias)
    assert net.history[:, "train_loss"] == pytest.approx(losses, rel=1e-5)


def test_training_noise_is_fresh_and_validation_noise_fixed():
    rows = Rows(torch.zeros(50, 1))
    net = make_net(Noise(), squared_distance, lr=0.0, batch_size=16)
    state = torch.get_rng_state()
    net.train(rows, rows, epochs=3)
    assert torch.equal(torch.get_rng_state(), state)
    train, valid = net.history[:, "train_loss"], net.history[:, "valid_loss"]
    assert len(set(valid)) == 1
    assert len({*train, *valid}) == 4
    assert net.losses(rows).mean().item() == pytest.approx(valid[0])
    assert torch.equal(net.losses(rows), net.losses(rows))


def test_judging_adds_the_terms_of_the_batch_to_every_row():
    terms = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(10.0)}
    assert total_per_row(terms).tolist() == [11.0, 12.0]
    assert total_per_row({"a": torch.tensor([1.0, 2.0])}).tolist() == [1.0, 2.0]


def test_validation_moves_nothing_and_training_mode_is_set():
    modes = []

    class Watched(Point):
        def forward(self, x, generator=None):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(x, generator)

    net = make_net(Watched(), squared_distance, batch_size=100)
    net.train(Rows(numbered(4)), Rows(numbered(3)), epochs=2)
    assert modes == [(True, True), (False, False)] * 2
    assert not net.module_.training


def test_training_goes_on_where_it_stopped():
    rows = Rows(torch.randn(30, 1, generator=seeded()))
    at_once, in_two = (make_net(Noise(), squared_distance, optimizer=torch.optim.Adam) for _ in range(2))
    at_once.train(rows, epochs=4)
    in_two.train(rows, epochs=1)
    in_two.train(rows, epochs=3)
    assert at_once.history[:, "train_loss"] == in_two.history[:, "train_loss"]
    assert in_two.history[:, "epoch"] == [1, 2, 3, 4]


def test_callbacks_of_one_call_serve_that_call_alone():
    net, spy = make_net(Point(), squared_distance), Spy(lambda net: 1)
    net.train(Rows(numbered(4)), epochs=2, callbacks=[spy])
    net.train(Rows(numbered(4)), epochs=3)
    assert len(spy.seen) == 2


class Listener(Callback):
    """Notes the events that it is told of, those of every batch among them."""

    def __init__(self):
        self.heard = []

    def on_train_begin(self, net, **kwargs):
        self.heard.append("train begins")

    def on_batch_begin(self, net, batch, training, **kwargs):
        self.heard.append(f"{len(batch)} rows")

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.heard += [f"{name}: {parameter.grad.item():g}" for name, parameter in named_parameters]

    def on_batch_end(self, net, loss, training, **kwargs):
        self.heard.append(f"loss {loss.item():g}")


@pytest.mark.parametrize("of_the_fit", [False, True])
def test_callbacks_hear_of_events_for_which_they_have_a_method(of_the_fit):
    """Be it a method of the class or of the instance."""
    listener, patched, ends = Listener(), FiniteGuard(), []
    patched.on_batch_end = lambda net, **kwargs: ends.append(1)
    callbacks = [listener, patched]
    net = make_net(Point(), squared_distance, lr=0.0, callbacks=[] if of_the_fit else callbacks)
    net.train(Rows(torch.ones(6, 1)), epochs=1, callbacks=callbacks if of_the_fit else [])
    a_step = ["at: -2", "loss 1"]
    assert listener.heard == ["train begins", "4 rows", *a_step, "2 rows", *a_step]
    assert len(ends) == 2


def test_nothing_of_one_call_is_kept():
    listener, rows = Listener(), Rows(torch.ones(4, 1))
    net = make_net(Point(), squared_distance)
    net.train(rows, epochs=1, callbacks=[listener])
    heard = len(listener.heard)
    net.train_step(rows.gather(rows.index))
    assert len(listener.heard) == heard
    assert listener not in [callback for _, callback in net.callbacks_]
    assert not net._listeners


def test_gradients_do_not_add_up_over_steps():
    seen = []

    class Gradients(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            seen.extend(parameter.grad.item() for _, parameter in named_parameters)

    make_net(Point(), squared_distance, lr=0.0).train(Rows(torch.ones(8, 1)), epochs=2, callbacks=[Gradients()])
    assert seen == [-2.0] * 4


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


def test_patience_in_nats_is_a_distance():
    """A fall from 1000 by 0.5 is an improvement of more than 0.1 nats, but not of a tenth of the loss."""
    lengths = {}
    for comparison in (NATS, NATS._replace(threshold_mode="rel")):
        mode, falling = comparison.threshold_mode, iter(1000.0 - 0.5 * np.arange(20))
        net = make_net(Point(), squared_distance, selection=RowLosses(3, 0.1, comparison))
        net.losses = lambda rows, falling=falling: torch.full((4,), next(falling), dtype=torch.float64)
        stop = callbacks_of_a_fit(patience=3, tol=0.1, comparison=comparison)[1:]  # without the guard, which evaluates
        net.train(Rows(numbered(4)), Rows(numbered(4)), epochs=20, callbacks=stop)
        lengths[mode] = len(net.history)
    assert lengths == {"abs": 20, "rel": 4}


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


# -- options


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("lr", "learning_rate"),
        ("optimizer__lr", "learning_rate"),
        ("optimizer__weight_decay", "weight_decay"),
        ("max_epochs", "max_iter"),
        ("batch_size", "batch_size"),
        ("optimizer", "optimizer"),
        ("callbacks", "callbacks"),
        ("device", "device"),
        ("verbose", "verbose"),
        ("warm_start", "warm_start"),
        ("train_split", "validation_fraction"),
        ("module", "architecture"),
    ],
)
def test_net_params_name_the_estimators_own_parameter(name, own):
    with pytest.raises(ValueError, match=rf"use the estimator's parameter {own} instead of '{name}'"):
        check_net_params({name: 1})


@pytest.mark.parametrize("name", ["iterator_train__shuffle", "criterion", "predict_nonlinearity", "bogus", "module__x"])
def test_net_params_without_effect_are_refused(name):
    with pytest.raises(ValueError, match=rf"'{name}',? (which )?would have no effect"):
        check_net_params({"optimizer__betas": (0.9, 0.99), name: 1})


def test_net_params_that_are_accepted():
    given = {"optimizer__betas": (0.5, 0.9), "compile": False, "compile__mode": "default"}
    assert check_net_params(given) == given
    assert check_net_params(given) is not given
    assert check_net_params(None) == {}


def built(module=None, **kwargs):
    options = {
        "optimizer": "adamw",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "net_params": None,
        "device": "cpu",
        "batch_size": 4,
        "seed": 0,
    }
    objective = kwargs.pop("objective", squared_distance)
    return build_net(Point() if module is None else module, objective, **{**options, **kwargs})


def test_net_params_take_effect():
    net = built(net_params={"optimizer__betas": (0.5, 0.75)})
    assert all(group["betas"] == (0.5, 0.75) for group in net.optimizer_.param_groups)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_steps(name):
    net = built(optimizer=name, learning_rate=0.05, weight_decay=0.01)
    assert type(net.optimizer_) is OPTIMIZERS[name]
    assert all(group["lr"] == 0.05 for group in net.optimizer_.param_groups)
    net.train(Rows(numbered(16) + 5), epochs=3)
    assert net.module_.at.item() > 0.01


def test_callbacks_are_copied():
    spy = Spy(lambda net: 1)
    net = built()
    net.take_callbacks([spy])
    net.train(Rows(numbered(4)), epochs=2)
    assert spy.seen == []
    assert [len(callback.seen) for _, callback in net.callbacks_] == [2]


class EveryKindOfParameter(nn.Module):
    """A network with a linear path, whose objective has no gradient."""

    def __init__(self, linear):
        super().__init__()
        network = multilayer_perceptron([3, 4, 4, 2], "silu", residual=True, linear=linear)
        self.both = LinearPlusNonlinear(linear(3, 2), network)
        self.alone = linear(2, 2)
        initialize_parameters(self, seeded())

    def forward(self, x, generator=None):
        return 0 * self.alone(self.both(x)).sum(-1)


@pytest.mark.parametrize("linear", [Linear, BoundedLinear])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_decay_but_neither_biases_nor_the_linear_path(optimizer, linear):
    """Without gradients a step multiplies what decays by ``1 - learning_rate * weight_decay``."""
    module = EveryKindOfParameter(linear)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    net = built(
        module,
        objective=lambda output, batch: {"nothing": output},
        optimizer=optimizer,
        learning_rate=0.1,
        weight_decay=0.5,
    )
    net.train(Rows(torch.ones(4, 3)), epochs=1)
    rates = {name: (value.detach() / before[name]).mean().item() for name, value in net.module_.named_parameters()}
    decaying = {name for name in rates if name.endswith("weight") and "linear_path" not in name}
    assert len(decaying) == 4
    assert {name: rates[name] for name in decaying} == pytest.approx(dict.fromkeys(decaying, 0.95))
    assert {name for name, rate in rates.items() if rate != 1.0} == decaying


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"device must be 'auto' or one of cpu, got '{device}'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_none(device):
    with pytest.raises(ValueError, match=r"device must be 'auto' or one of cpu") as error:
        resolve_device(device)
    assert repr(device) in str(error.value)


def test_devices_that_are_there():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_gain_that_a_few_rows_pay_for_is_none():
    """By roots most rows gain beyond chance, but the plain mean rises by more than its error."""
    before = torch.ones(1000, dtype=torch.float64)
    after = 0.25 * before
    assert judged(before, after)
    after[:5] = 400.0 + torch.arange(5)
    assert not judged(before, after)
