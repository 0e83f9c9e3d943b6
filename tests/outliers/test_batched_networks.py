"""Networks as one computation: each member is a network of its own, and does not learn what does not fit."""

import torch

from sk_autoenc.outliers.batched_networks import AutoencoderEnsemble, train_ensemble
from tests.outliers.data import generator


def test_an_ensemble_is_its_members():
    ensemble = AutoencoderEnsemble(3, [5, 7, 2])
    ensemble.initialize(generator())
    x = torch.randn(11, 5, generator=generator())
    code, made = ensemble.encode(x), ensemble(x)
    for m in range(3):
        weights = [(w[m], b[m]) for w, b in zip(ensemble.weights, ensemble.biases, strict=True)]
        (w0, b0), (w1, b1), (w2, b2), (w3, b3) = weights
        expected = torch.nn.functional.silu(x @ w0 + b0) @ w1 + b1
        torch.testing.assert_close(code[m], expected)
        torch.testing.assert_close(made[m], torch.nn.functional.silu(expected @ w2 + b2) @ w3 + b3)


def test_members_train_as_if_alone():
    """Their losses share no term, so the gradient of one does not reach another."""
    ensemble = AutoencoderEnsemble(2, [4, 6, 1])
    ensemble.initialize(generator())
    x = torch.randn(2, 20, 4, generator=generator(1))
    (ensemble(x)[0] - x[0]).square().mean().backward()
    assert all(p.grad[0].abs().sum() > 0 and p.grad[1].abs().sum() == 0 for p in ensemble.parameters())


def test_what_does_not_fit_is_not_learnt():
    rows = torch.randn(500, 1, generator=generator()) @ torch.ones(1, 8)
    odd = torch.randn(25, 8, generator=generator(1)) * 6
    errors = {}
    for trim in (0.0, 0.2):
        ensemble = AutoencoderEnsemble(4, [8, 32, 1])
        ensemble.initialize(generator())
        options = {"n_steps": 200, "batch_size": 128, "learning_rate": 0.006, "generator": generator(2)}
        losses = train_ensemble(ensemble, torch.cat([rows, odd]), trim=trim, **options)
        assert losses[-1] < losses[0]
        errors[trim] = (ensemble(rows) - rows).square().mean().item() / (ensemble(odd) - odd).square().mean().item()
    assert errors[0.2] < 0.5 * errors[0.0]
