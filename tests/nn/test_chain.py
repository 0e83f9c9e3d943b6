"""The masked chain: proper distributions in any order, and rows that are filled as they are scored."""

import itertools

import pytest
import torch

from sk_autoenc.nn.chain import ColumnOutcomes, MaskedChain, features, indicators, waves

COLUMNS = [ColumnOutcomes(2), ColumnOutcomes(4, (2, 0, 1), has_missing=True), ColumnOutcomes(3), ColumnOutcomes(2)]
ROWS = torch.tensor(list(itertools.product(*(range(column.size) for column in COLUMNS)))).float()


@pytest.fixture
def chain():
    made = MaskedChain(COLUMNS, (16, 12))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.initialize(generator)
        for parameter in made.parameters():  # an untrained chain is that of independent columns
            parameter.normal_(0.0, 0.3, generator=generator)
    return made


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_probabilities_of_all_rows_sum_to_one_in_any_order(chain, order):
    logits = chain.logits(ROWS, torch.tensor(order))
    total = sum(
        some.double().log_softmax(-1).gather(-1, ROWS[:, j : j + 1].long())[:, 0]
        for j, some in enumerate(logits.split(chain.sizes, -1))
    )
    assert float(total.exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
def test_a_column_reads_those_before_it_alone(chain, order):
    rows = ROWS[40:41]
    for place, column in enumerate(order):
        logits = chain.logits(rows, torch.tensor(order)).split(chain.sizes, -1)
        for later in order[place:]:
            changed = rows.clone()
            changed[0, later] = (changed[0, later] + 1) % COLUMNS[later].size
            after = chain.logits(changed, torch.tensor(order)).split(chain.sizes, -1)
            assert torch.equal(logits[column], after[column])
        if place:
            changed = rows.clone()
            changed[0, order[0]] = (changed[0, order[0]] + 1) % COLUMNS[order[0]].size
            after = chain.logits(changed, torch.tensor(order)).split(chain.sizes, -1)
            assert not torch.equal(logits[column], after[column])


def test_rows_are_filled_with_the_logits_that_score_them(chain):
    order = torch.tensor([2, 0, 3, 1])
    expected = chain.logits(ROWS, order).split(chain.sizes, -1)
    with torch.no_grad():
        walk = chain.walk(order, len(ROWS))
        for column in order.tolist():
            torch.testing.assert_close(walk.logits(column), expected[column].detach())
            walk.fill(column, ROWS[:, column].long())


def test_missing_cells_are_left_out_of_what_was_observed(chain):
    missing = ROWS.clone()
    missing[:, 1] = 3
    with torch.no_grad():
        found = chain.log_prob_of_observed(missing)
        counted = [
            some.log_softmax(-1).gather(-1, missing[:, j : j + 1].long())
            for j, some in enumerate(chain.logits(missing).split(chain.sizes, -1))
        ]
        assert (found[:, 1] == 0).all()
        torch.testing.assert_close(found[:, [0, 2, 3]], torch.cat(counted, 1)[:, [0, 2, 3]])
        unknown = ROWS.clone()
        unknown[:, 2] = torch.nan
        assert (chain(unknown)[:, 2] == 0).all()
        observed = ROWS[ROWS[:, 1] < 3]
        mass = chain.log_prob_of_observed(observed).double().sum(1).exp().sum()
        assert float(mass) == pytest.approx(1, abs=1e-5)


def test_an_initialized_chain_has_finite_weights_and_equal_outcomes():
    made = MaskedChain(COLUMNS, (8,))
    with torch.no_grad():
        made.initialize(torch.Generator().manual_seed(0))
        assert all(value.isfinite().all() for value in made.state_dict().values())
        torch.testing.assert_close(made(ROWS)[:, 0], torch.full((len(ROWS),), 0.5).log())


def test_training_draws_orders_from_its_generator_alone(chain):
    with torch.no_grad():
        first = [chain(ROWS, torch.Generator().manual_seed(seed)) for seed in (1, 2, 3, 4, 1)]
    assert torch.equal(first[0], first[4])
    assert any(not torch.equal(first[0], other) for other in first[1:4])


def test_one_column_is_a_chain():
    made = MaskedChain([ColumnOutcomes(3)], (4,))
    with torch.no_grad():
        made.initialize(torch.Generator().manual_seed(0))
        made.last.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
        found = made(torch.tensor([[0.0], [1.0], [2.0]]))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.0, 1.0, 2.0]).log_softmax(0))


def test_indicators_and_waves():
    found = indicators(torch.tensor([[1.0, torch.nan]]), [2, 3])
    assert found.tolist() == [[0, 1, 0, 0, 0]]
    column = ColumnOutcomes(4, (2, 0, 1), has_missing=True)
    wave = waves(column)
    assert wave.shape == (4, 9)
    assert wave[:, 0].tolist() == [1, -1, 0, 0]
    assert not wave[3].any()
    assert features(column)[:, 9].tolist() == [0, 0, 0, 1]
    assert features(ColumnOutcomes(2)).tolist() == [[1, 0], [0, 1]]
