"""The recommender's network: entries and dense rows give the same, and the multinomial likelihood in closed form."""

import numpy as np
import torch
from scipy import sparse, stats

from sk_autoenc.data.sparse import SparseBlock
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.recommender import MultinomialAutoencoder, SparseLinear, multinomial_log_prob, of_unit_length
from tests.data_sets import seeded

COUNTS = np.array([[2, 0, 1, 0], [0, 0, 0, 0], [0, 3, 0, 1]], dtype=np.float32)
ENTRIES = SparseBlock.of(sparse.csr_array(COUNTS)).take(torch.arange(3))


def test_a_layer_of_entries_is_that_of_dense_rows_with_its_gradient():
    layer = SparseLinear(4, 5)
    initialize_parameters(layer, seeded())
    gradients = []
    for x in (ENTRIES, ENTRIES.dense()):
        layer.zero_grad()
        layer(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in layer.parameters()])
    torch.testing.assert_close(layer(ENTRIES), layer(ENTRIES.dense()))
    torch.testing.assert_close(*gradients)


def test_log_probability_is_the_multinomials_without_its_coefficient():
    logits = torch.randn(3, 4, generator=seeded())
    shares = logits.softmax(1).double().numpy()
    shares /= shares.sum(1, keepdims=True)
    found = multinomial_log_prob(logits, ENTRIES).numpy()
    for row, share, value in zip(COUNTS, shares, found, strict=True):
        n = row.sum()
        of_same_counts = stats.multinomial.logpmf(row, n, np.full(4, 0.25)) - n * np.log(0.25)  # the coefficient
        np.testing.assert_allclose(value, stats.multinomial.logpmf(row, n, share) - of_same_counts, atol=1e-5)


def test_rows_have_unit_length_and_empty_ones_stay_empty():
    norms = of_unit_length(ENTRIES).dense().norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([1.0, 0.0, 1.0]))


def net(**options):
    options = {"dropout": 0.0, "variational": False, **options}
    width = 6 if options["variational"] else 3
    module = MultinomialAutoencoder(SparseLinear(4, width), SparseLinear(3, 4), **options)
    initialize_parameters(module, seeded())
    return module


def test_nothing_is_random_without_a_generator():
    for module in (net(dropout=0.5), net(variational=True, dropout=0.5)):
        torch.testing.assert_close(module(ENTRIES).logits, module.logits(ENTRIES), rtol=0, atol=0)
        assert module(ENTRIES).posterior is None
        assert not torch.equal(module(ENTRIES, seeded()).logits, module.logits(ENTRIES))


def test_entries_are_hidden_and_the_others_raised_so_that_the_mean_stays():
    read = []
    module = net(dropout=0.25)
    module.encoder.register_forward_pre_hook(lambda _, given: read.append(given[0].values))
    generator = seeded()
    for _ in range(2000):
        module(ENTRIES, generator)
    values, whole = torch.stack(read), of_unit_length(ENTRIES).values
    torch.testing.assert_close((values[:, 0] / whole[0]).unique(), torch.tensor([0.0, 4 / 3]))
    torch.testing.assert_close(values.mean(0), whole, rtol=0.05, atol=0.0)
