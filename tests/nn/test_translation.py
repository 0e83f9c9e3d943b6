"""The network that reads and writes tokens: steps and whole sequences agree, and rows do not depend on each other."""

from itertools import product

import pytest
import torch

from sk_autoenc.initialization.random import check_is_set, initialize_parameters, mark_unset
from sk_autoenc.nn.beam import beam_search
from sk_autoenc.nn.translation import Translator

CELLS = ["gru", "lstm", "transformer"]
SOURCE = torch.tensor([[0, 1, 2, 6], [2, 6, -1, -1], [6, -1, -1, -1]])
TARGET = torch.tensor([[3, 4, 6, -1], [0, 1, 2, 6], [6, -1, -1, -1]])


def translator(cell="gru", n_target=5, **options):
    options = {"attention": "dot", "has_lexicon": True, "dropout": 0.0, "n_layers": 2, "size": 8, **options}
    module = Translator(5, n_target, cell=cell, **options)
    mark_unset(module)
    generator = torch.Generator().manual_seed(0)
    initialize_parameters(module, generator)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
        if module.lexicon is not None:
            shape = module.lexicon.entries.shape
            entries = torch.randint(n_target + 2, shape, generator=generator)
            module.lexicon.set(entries, torch.rand(shape, generator=generator) / shape[1])
    check_is_set(module)
    return module.eval()


def step_by_step(module, x, y):
    """Log-probability of one pair without cells after the ends, token by token."""
    memory = module.read(x[None])
    state, token, total = module.writer.start(memory), torch.tensor([module.end]), 0.0
    for time, following in enumerate(y):
        log_prob, shares, state = module.step(memory, state, token, time)
        torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(1))
        torch.testing.assert_close(shares.sum(1), torch.ones(1))
        total, token = total + log_prob[0, following], following[None]
    return total


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        *product(CELLS, [{}, {"attention": "additive"}]),
        ("gru", {"has_lexicon": False}),
        ("gru", {"size": 5}),
        ("transformer", {"size": 99}),
    ],
)
@torch.no_grad()
def test_whole_sequences_have_the_probability_of_their_steps(cell, options):
    module = translator(cell, **options)
    expected = torch.stack([step_by_step(module, x[x >= 0], y[y >= 0]) for x, y in zip(SOURCE, TARGET, strict=True)])
    torch.testing.assert_close(module(SOURCE).log_prob(TARGET), expected)
    torch.testing.assert_close(module.train()(SOURCE).log_prob(TARGET), expected)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_probabilities_of_all_sequences_add_up_to_one(cell):
    """With two tokens and the unknown one, there are 1 + 3 + 9 sequences of up to two; the rest are longer."""
    module, end = translator(cell, n_target=2), 3
    ended = [[*tokens, end] for n in range(3) for tokens in product(range(3), repeat=n)]
    longer = list(product(range(3), repeat=3))  # what begins so, and ends or goes on
    total = 0.0
    for y in ended:
        total += float(module(SOURCE[:1]).log_prob(torch.tensor([y])).exp())
    for y in longer:
        total += float(module(SOURCE[:1]).log_prob(torch.tensor([y])).exp())
    assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_has_a_gradient_and_dropout_is_of_its_generator(cell):
    module = translator(cell, dropout=0.5, attention="additive").train()
    generator = torch.Generator().manual_seed(1)
    (-module(SOURCE, generator).log_prob(TARGET)).mean().backward()
    without = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert without == []
    one, again, other = (
        module(SOURCE, torch.Generator().manual_seed(seed)).log_prob(TARGET).tolist() for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_sequences(cell):
    module, end = translator(cell, n_target=2), 3
    found = beam_search(module, SOURCE[:1], torch.tensor([3]), 40, 0.0)
    every = [[*tokens, end] for n in range(3) for tokens in product(range(3), repeat=n)]
    scored = sorted(((float(module(SOURCE[:1]).log_prob(torch.tensor([y]))), y) for y in every), reverse=True)
    for rank in range(5):
        log_prob, y = scored[rank]
        assert found.log_prob[0, rank].item() == pytest.approx(log_prob, rel=1e-5)
        tokens = found.tokens[0, rank]
        assert tokens[tokens >= 0].tolist() == [token for token in y if token != end]


@torch.no_grad()
def test_one_beam_takes_the_most_probable_token_at_every_step():
    module = translator()
    memory = module.read(SOURCE[:1])
    state, token, expected = module.writer.start(memory), torch.tensor([module.end]), []
    for time in range(9):
        log_prob, _, state = module.step(memory, state, token, time)
        token = log_prob.argmax(1)
        if token == module.end:
            break
        expected.append(int(token))
    tokens = beam_search(module, SOURCE[:1], torch.tensor([10]), 1, 1.0).tokens[0, 0]
    assert tokens[tokens >= 0].tolist() == expected


@torch.no_grad()
def test_limits_of_rows_are_kept():
    found = beam_search(translator(), SOURCE, torch.tensor([1, 3, 2]), 3, 1.0)
    n_tokens = (found.tokens >= 0).sum(2).amax(1)
    assert (n_tokens < torch.tensor([1, 3, 2])).all()  # the end is one of the tokens
    assert (found.looked_at[found.tokens < 0] == -1).all()
    assert found.log_prob[0].isfinite().tolist() == [True, False, False]  # the empty sequence alone
