"""The net: small modules whose course is known."""

import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sk_autoenc.data.dataset import Rows
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.training.callbacks import FiniteGuard
from sk_autoenc.training.nets import total_per_row
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import ROOT_LOSS
from tests.data_sets import numbered, seeded
from tests.training.small_nets import Noise, Point, Spy, make_net, squared_distance


def judged(before, after, comparison=ROOT_LOSS):
    return comparison.is_significant(before, after)


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
    expected = 2 * x[:, 0] + x.mean()  # without gradients, all rows are one block
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
