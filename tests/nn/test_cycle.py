"""Translators that start at the identity, their averages, and the buffer of earlier translations."""

import pytest
import torch
from torch import nn

from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.cycle import CycleGan, ReplayBuffer, Translator
from tests.data_sets import seeded

X = torch.randn(20, 3, generator=seeded())


def translator(n_in=3, n_out=3):
    return Translator(Linear(n_in, 4), Linear(4, n_out), n_out, has_identity=n_in == n_out)


def gan():
    made = ({"forth": translator(), "back": translator()} for _ in range(2))
    module = CycleGan(*made, {"a": Linear(3, 1), "b": Linear(3, 1)})
    initialize_parameters(module, seeded())
    return module


def test_a_translator_starts_at_the_identity_where_shapes_agree():
    module = gan()
    assert torch.equal(module.translate(X), X)
    assert torch.equal(module.translate_back(X), X)
    other = translator(3, 2)
    initialize_parameters(other, seeded())
    assert torch.equal(other(X), other.decoder(other.encoder(X)))


def test_a_translator_is_gain_shift_and_a_share_of_the_network():
    module = gan().translators["forth"]
    with torch.no_grad():
        module.gain.fill_(-1)
        module.shift.fill_(2)
        module.share.fill_(0.5)
    torch.testing.assert_close(module(X), 2 - X + 0.5 * module.decoder(module.encoder(X)))
    module.become_identity()
    assert torch.equal(module(X), X)


def test_every_weight_of_a_translator_can_learn_after_one_step():
    """At the start only gain, shift and share have a gradient."""
    module = gan().translators["forth"]
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (module(X) - X.square()).square().mean().backward()
        optimizer.step()
    assert all(bool(parameter.grad.any()) for parameter in module.parameters())


def test_averages_follow_and_translate():
    module = gan()
    with torch.no_grad():
        module.translators["forth"].shift.fill_(1.0)
    assert torch.equal(module.translate(X), X)
    module.follow(0.99)
    assert 0 < module.averages["forth"].shift[0] < 1
    module.follow(0.0)
    torch.testing.assert_close(module.translate(X), X + 1)
    module.become_identity()
    assert torch.equal(module.translators["forth"](X), X)


def test_the_buffer_gives_new_rows_until_it_is_full_and_then_half_old_ones():
    buffer, generator = ReplayBuffer(30), seeded()
    for start in (0, 20):
        new = torch.arange(start, start + 20.0)[:, None]
        assert torch.equal(buffer.exchange(new, generator), new)
    assert sorted(buffer.rows[:, 0].tolist()) == list(range(30))
    new = torch.arange(100.0, 110.0)[:, None]
    shown = torch.cat([buffer.exchange(new, generator) for _ in range(50)])
    is_old = (shown < 100).float().mean()
    assert 0 < is_old < 0.6
    assert torch.equal(ReplayBuffer(0).exchange(new, generator), new)


def test_what_is_exchanged_takes_the_place_of_what_is_shown():
    buffer, generator = ReplayBuffer(8), seeded()
    buffer.exchange(torch.zeros(8, 1), generator)
    shown = buffer.exchange(torch.ones(4, 1), generator)
    n_old = int((shown == 0).sum())
    assert n_old == pytest.approx(int(buffer.rows.sum()), abs=1)  # two rows may have drawn one place


def test_nothing_of_an_average_learns():
    assert not any(parameter.requires_grad for parameter in gan().averages.parameters())
    assert isinstance(gan().critics, nn.ModuleDict)
