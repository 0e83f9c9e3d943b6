"""IBM model 1 in closed form, and the start that it is of a network."""

import numpy as np
import pytest
import torch

from sk_autoenc.data.dataset import Pairs
from sk_autoenc.initialization.lexicon import FrequencyStart, LexiconStart, fit_lexicon, most_probable
from sk_autoenc.initialization.random import check_is_set, initialize_parameters
from sk_autoenc.nn.translation import Translator

#: das Haus, das Buch; the house, the book.
SOURCE = np.array([[0, 1], [0, 2]])
TARGET = np.array([[0, 1], [0, 2]])


def test_steps_of_em_are_those_by_hand():
    """First all translations of a sentence are equally probable; then "the" stands twice with "das"."""
    first = [[1 / 2, 1 / 4, 1 / 4], [1 / 2, 1 / 2, 0], [1 / 2, 0, 1 / 2]]
    np.testing.assert_allclose(fit_lexicon(SOURCE, TARGET, 3, 3, n_steps=1).toarray(), first)
    # Of "house", das takes 1/4 over 3/4 and Haus 1/2 over 3/4; of "the" each takes a half, in both sentences.
    second = [[1 / (1 + 2 / 3), (1 / 3) / (5 / 3), (1 / 3) / (5 / 3)], [3 / 7, 4 / 7, 0], [3 / 7, 0, 4 / 7]]
    np.testing.assert_allclose(fit_lexicon(SOURCE, TARGET, 3, 3, n_steps=2).toarray(), second)


def test_em_converges_to_the_translations():
    found = fit_lexicon(SOURCE, TARGET, 3, 3, n_steps=500).toarray()
    np.testing.assert_allclose(found, np.eye(3), atol=0.01)


def test_each_step_raises_the_likelihood_of_ibm_model_1():
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 5, (30, 4)), rng.integers(0, 6, (30, 3))
    source[:10, 3:] = -1
    target[5:15, 2:] = -1

    def log_likelihood(lexicon):
        known = [[[lexicon[e, f] for e in es if e >= 0] for f in fs if f >= 0] for es, fs in zip(source, target)]  # noqa: B905
        return sum(np.log(np.mean(column)) for row in known for column in row)

    values = [log_likelihood(fit_lexicon(source, target, 5, 6, n_steps=n).toarray()) for n in range(1, 8)]
    assert np.all(np.diff(values) > 0)


def test_tokens_that_were_not_seen_have_no_translation_but_what_is_given():
    found = fit_lexicon(SOURCE, TARGET, 5, 5, own=np.array([[3, 3]])).toarray()
    assert found[3].tolist() == [0, 0, 0, 1, 0]
    assert found[4].sum() == 0
    np.testing.assert_allclose(found[:4].sum(axis=1), 1)


def test_the_most_probable_entries_come_first():
    entries, shares = most_probable(fit_lexicon(SOURCE, TARGET, 4, 3, n_steps=2), 2)
    assert entries[1].tolist() == [1, 0]
    np.testing.assert_allclose(shares[1], [4 / 7, 3 / 7], rtol=1e-6)
    assert shares[3].tolist() == [0, 0]


@pytest.fixture
def pairs():
    """Sentences of two or three words and the end (number 5) in both languages; the words are those of SOURCE."""
    rows = [[0, 1, 5, -1], [0, 2, 5, -1], [0, 3, 1, 5], [0, 3, 2, 5]] * 3
    return Pairs(*(torch.tensor(rows) for _ in range(2)))


def _translator(**options):
    options = {"cell": "gru", "size": 8, "n_layers": 1, "attention": "dot", "has_lexicon": True, **options}
    module = Translator(4, 4, dropout=0.0, **options)
    initialize_parameters(module, torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize("cell", ["gru", "lstm", "transformer"])
@pytest.mark.parametrize("attention", ["dot", "additive"])
def test_the_start_is_the_lexicon_at_the_same_place(pairs, cell, attention):
    """Log-probabilities of IBM's model with shares of attention that fall with the distance, by NumPy."""
    module = _translator(cell=cell, attention=attention)
    LexiconStart(4, 4, is_shared=False).set(module, pairs)
    check_is_set(module)
    rows = pairs.data.numpy()
    lexicon = np.zeros((6, 6))
    np.add.at(lexicon, (np.arange(6)[:, None], module.lexicon.entries.numpy()), module.lexicon.shares.numpy())
    nearness = float(module.attention.nearness.detach())
    assert nearness > 0  # words stand in the same order
    expected = []
    for row in rows:
        row = row[row >= 0]
        distance = np.abs(np.subtract.outer(np.arange(len(row)), np.arange(len(row))))
        shares = np.exp(-nearness * distance)
        shares /= shares.sum(axis=1, keepdims=True)
        mixed = shares @ lexicon[row] + 0.1 / 6
        expected.append(np.log((mixed / mixed.sum(axis=1, keepdims=True))[np.arange(len(row)), row]).sum())
    np.testing.assert_allclose(module.eval()(pairs.data).log_prob(pairs.target).detach(), expected, rtol=1e-4)


def test_few_rows_at_once_have_logits_in_memory():
    rows, seen, module = torch.tensor([[0, 1, 5], [2, 3, 5]] * 300), [], _translator()
    module.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    LexiconStart(4, 4, is_shared=False).set(module, Pairs(rows, rows))
    assert max(seen) <= 64
    assert sum(seen) == 6 * 300


def test_a_refit_forgets_what_the_network_has_learned(pairs):
    module, fresh = _translator(), _translator()
    for one in (module, fresh):
        LexiconStart(4, 4, is_shared=True).set(one, pairs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    LexiconStart(4, 4, is_shared=True).refit(module, pairs)
    found, expected = (one.eval()(pairs.data).log_prob(pairs.target) for one in (module, fresh))
    torch.testing.assert_close(found, expected)


def test_without_a_lexicon_the_start_is_the_frequencies(pairs):
    module = _translator(has_lexicon=False)
    FrequencyStart().set(module, pairs)
    shares = np.bincount(pairs.target[pairs.target >= 0], minlength=6) + 0.1
    np.testing.assert_allclose(module.bias.detach(), np.log(shares / shares.sum()), rtol=1e-5)
