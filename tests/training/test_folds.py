"""The networks of folds: side by side as one after the other, and what a user sees of them."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sk_autoenc import MLP, AutoencoderTransformer, VAETransformer
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.splits import fold_rows
from sk_autoenc.likelihoods import LIKELIHOODS
from sk_autoenc.training import run as running
from sk_autoenc.training.folds import StackedModule, have_one_shape
from sk_autoenc.training.plan import OptimizerOptions, Plan
from sk_autoenc.training.selection import BY_ROW, WholeFigure
from tests.nn.test_corruption import seeded

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(80, 2))
REAL = np.tanh(CODES @ RNG.normal(size=(2, 5)) * 2) + 0.1 * RNG.normal(size=(80, 5))
COUNTS = RNG.poisson(3, size=(80, 4)) + 1.0
BITS = (RNG.random((80, 4)) < 0.4).astype(float)

MODELS = [
    AutoencoderTransformer(),
    AutoencoderTransformer(noise=0.2, noise_kind="salt_and_pepper"),
    AutoencoderTransformer(sparsity=0.1, sparsity_target=0.1),
    AutoencoderTransformer(architecture=MLP((16, 16), residual=True), optimizer="sgd"),
    VAETransformer(),
    VAETransformer(architecture=(), optimizer="nadam", weight_decay=0.0),
    VAETransformer(likelihood="gaussian", n_importance_samples=2),
    VAETransformer(init="random"),
]


def rows_for(likelihood):
    return {"bernoulli": BITS, "gaussian": REAL, "student_t": REAL}.get(likelihood, COUNTS)


def held_out_curve(monkeypatch, model, X, *, in_turn):
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if in_turn:
            patch.setattr(running, "StackedNets", None)  # fails if it is used
            patch.setattr(running, "have_one_shape", lambda folds: False)
        return model.set_params(max_iter=6, random_state=0).fit(X).validation_loss_curve_


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_side_by_side_is_as_one_after_the_other(monkeypatch, model):
    """Each network has its own rows, and draws what it would draw alone."""
    side_by_side, in_turn = (held_out_curve(monkeypatch, model, REAL, in_turn=it) for it in (False, True))
    np.testing.assert_allclose(side_by_side, in_turn, rtol=2e-3)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_every_likelihood_that_says_so_can_be_batched(monkeypatch, name):
    model = VAETransformer(likelihood=name)
    side_by_side, in_turn = (held_out_curve(monkeypatch, model, rows_for(name), in_turn=it) for it in (False, True))
    np.testing.assert_allclose(side_by_side, in_turn, rtol=1e-4)


def test_stacked_modules_compute_what_each_computes():
    modules = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)) for _ in range(3)]
    for number, module in enumerate(modules):
        module.register_buffer("shift", torch.full((4,), float(number)))
        torch.nn.init.normal_(module[0].weight, generator=seeded(number))
    stack, x = StackedModule(modules), torch.randn(3, 5, 3, generator=seeded(0))

    def shifted(tensors, x):
        module = stack.with_weights(tensors)
        return module(x) + module.shift

    found = torch.func.vmap(shifted)(stack.tensors, x)
    expected = torch.stack([module(part) + module.shift for module, part in zip(modules, x, strict=True)])
    torch.testing.assert_close(found, expected)
    assert stack.stacked_of[id(modules[0][0].weight)].shape == (3, 4, 3)


def test_folds_have_one_shape_if_they_differ_by_a_row():
    def folds(*sizes):
        return [(Rows(torch.zeros(size, 1)), Rows(torch.zeros(3, 1))) for size in sizes]

    assert have_one_shape(folds(30, 30, 31, 31))
    assert not have_one_shape(folds(30, 32))


def test_uneven_folds_hold_out_every_row_once(monkeypatch):
    """42 rows: two folds hold out 11 rows and two 10, and a repeated row must not count."""
    side_by_side, in_turn = (
        held_out_curve(monkeypatch, AutoencoderTransformer(), REAL[:42], in_turn=it) for it in (False, True)
    )
    assert side_by_side[0] == pytest.approx(in_turn[0], rel=0.02)
    assert len(fold_rows(42, seeded(0))[0][1]) == 11


def test_large_networks_train_one_after_the_other(monkeypatch):
    """They would need memory for all of them at once, and gain no time."""
    monkeypatch.setattr(running, "FEW_WEIGHTS", 1000)
    monkeypatch.setattr(running, "StackedNets", None)
    AutoencoderTransformer(max_iter=1, random_state=0).fit(REAL)
    with pytest.raises(TypeError):
        AutoencoderTransformer(architecture=(8,), max_iter=1, random_state=0).fit(REAL)


class Hears(Callback):
    nets: list = []

    def on_train_begin(self, net, **kwargs):
        self.nets.append(net)


def test_a_callback_of_skorch_sees_every_network():
    """It may change the training, so the networks that judge must be trained with it, too."""
    Hears.nets = []
    AutoencoderTransformer(max_iter=2, callbacks=[Hears()], random_state=0).fit(REAL)
    assert len(set(map(id, Hears.nets))) == 5


def test_a_network_that_folds_refuse_trains_one_epoch():
    """Its curve is all that is left of it, because PCA is the result."""
    model = AutoencoderTransformer(2, max_iter=8, random_state=0).fit(RNG.normal(size=(60, 6)))
    assert model.linear_
    assert model.n_iter_ == len(model.loss_curve_) == 1
    assert len(model.validation_loss_curve_) == 8


def test_folds_that_diverge_warn_and_keep_the_start():
    with pytest.warns(ConvergenceWarning, match="not finite in epoch"):
        model = VAETransformer(2, max_iter=8, learning_rate=1e30, random_state=0).fit(REAL)
    assert model.linear_
    assert np.isfinite(model.score(REAL))


@pytest.mark.parametrize("in_turn", [False, True])
def test_verbose_and_callbacks_of_scikit_learn_see_folds(monkeypatch, capsys, in_turn):
    class Counts:
        names: list = []

        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            self.names.append(context.task_name)

    if in_turn:
        monkeypatch.setattr(running, "have_one_shape", lambda folds: False)
    counts = Counts()
    counts.names = []
    AutoencoderTransformer(2, max_iter=3, verbose=1, random_state=0).set_callbacks(counts).fit(REAL)
    assert counts.names.count("epoch of folds") == (12 if in_turn else 3)
    assert counts.names.index("folds") < counts.names.index("epoch")
    assert ("fold 4 of 4" if in_turn else "folds, epoch 3 of 3") in capsys.readouterr().out


def test_plans_of_games_cannot_be_batched():
    with pytest.raises(ValueError, match="is_batchable"):
        Plan(torch.nn.Identity, objective=dict, selection=WholeFigure(1, 0.0, float), is_batchable=True)
    assert Plan(torch.nn.Identity, objective=dict, selection=BY_ROW, is_batchable=True).is_batchable


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "epochs"),
    [(0, "auto", 75), (100, "auto", 75), (10_240, "auto", 75), (102_400, "auto", 7), (10**8, "auto", 1), (640, 16, 37)],
)
def test_many_rows_fill_the_steps_in_fewer_epochs(n_rows, batch_size, epochs):
    assert OptimizerOptions(batch_size=batch_size).epochs_of(n_rows, 75) == epochs


def test_a_number_of_epochs_is_taken_as_it_is():
    X = RNG.normal(size=(700, 3))
    settings = {"batch_size": 8, "early_stopping": False, "random_state": 0, "architecture": (4,)}
    assert AutoencoderTransformer(1, max_iter=24, **settings).fit(X).n_iter_ == 24
    assert AutoencoderTransformer(1, **settings).fit(X).n_iter_ == 75 * 20 // 88
