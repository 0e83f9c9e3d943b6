"""The last cycle of training, after early stopping: on all rows, at rates that fall to zero."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping

from sk_autoenc import AutoencoderTransformer, GaussianMixturePrior, VAETransformer
from sk_autoenc.data.dataset import Rows
from sk_autoenc.estimators import vae
from sk_autoenc.estimators.vae import negative_bound
from sk_autoenc.nn.variational import VariationalAutoencoder
from tests.data_sets import curved_rows

X = curved_rows(640)


class Watch(Callback):
    """Notes the number of training rows and the first rate of every epoch."""

    seen: list = []  # shared, since estimators copy their callbacks

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        self.first = True
        self.rows = len(dataset_train)

    def on_batch_begin(self, net, training=False, **kwargs):
        if self.first:
            Watch.seen.append((self.rows, net.optimizer_.param_groups[0]["lr"]))
            self.first = False


def fitted(rows=X, **params):
    """A small VAE, and the rows and rates of its epochs."""
    Watch.seen.clear()
    options = {"architecture": (8,), "max_iter": 20, "learning_rate": 0.01, "callbacks": [Watch()], "random_state": 0}
    model = VAETransformer(**{"n_components": 1, **options, **params}).fit(rows)
    return model, list(Watch.seen)


def test_held_out_rows_are_learned_in_the_end():
    model, seen = fitted()
    judged = len(model.validation_loss_curve_)
    best = int(np.argmin(model.validation_loss_curve_)) + 1
    assert judged == 16
    assert model.n_iter_ - judged == min(4, best // 4) > 0
    assert {rows for rows, _ in seen[:judged]} == {576}
    assert {rows for rows, _ in seen[judged:]} == {640}
    assert len(model.loss_curve_) == len(model.loss_curves_["kl"]) == model.n_iter_


def test_rates_fall_from_half_of_the_peak():
    model, seen = fitted()
    rates = [rate for _, rate in seen[len(model.validation_loss_curve_) :]]
    assert rates[0] == pytest.approx(0.005, rel=0.02)
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert model.net_.optimizer_.param_groups[0]["lr"] < 1e-5


@pytest.mark.parametrize("n_rows", [576, 577])
def test_rates_fall_to_zero_also_where_the_last_row_of_a_pass_joins_a_batch(n_rows):
    model, seen = fitted(X[:n_rows], batch_size=64, early_stopping=False)
    assert len(seen) == 20
    assert model.net_.optimizer_.param_groups[0]["lr"] < 1e-5


def test_small_tables_settle_after_their_folds():
    model, seen = fitted(curved_rows(200), architecture=(32,), max_iter=40)
    best = int(np.argmin(model.validation_loss_curve_)) + 1
    assert not model.linear_
    assert model.n_iter_ == best + min(8, best // 4)
    assert len(seen) == 4 * 32 + model.n_iter_  # four folds, then the network that stays


@pytest.mark.parametrize(
    "params", [{"early_stopping": False}, {"learning_rate_schedule": "constant"}, {"max_iter": 4}], ids=str
)
def test_what_does_not_settle(params):
    model, seen = fitted(**params)
    assert model.n_iter_ == len(seen) == params.get("max_iter", 20)


def test_a_linear_model_needs_no_settling():
    model, seen = fitted(np.random.default_rng(0).normal(size=(640, 3)))
    assert model.linear_
    assert {rows for rows, _ in seen} == {576}


def test_a_callback_that_stops_training_stops_all_of_it():
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                raise KeyboardInterrupt  # so skorch's callbacks end training

    assert fitted(callbacks=[Enough()])[0].n_iter_ == 5


def test_the_settled_network_is_better_for_new_rows():
    class Unsettled(VAETransformer):
        def _final_phase(self, seed, n_draws):
            return None

    options = {"architecture": (32,), "max_iter": 50, "random_state": 0}
    new = curved_rows(640, seed=5)
    assert VAETransformer(1, **options).fit(X).score(new) > Unsettled(1, **{**options, "max_iter": 40}).fit(X).score(
        new
    )


@pytest.mark.parametrize("when", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("estimator", [VAETransformer, AutoencoderTransformer])
def test_a_wish_to_stop_is_heeded_whenever_it_comes(estimator, when):
    class Enough(Callback):
        pass

    def stop(self, net, **kwargs):
        if len(net.history) == 16:  # the last epoch that is judged
            raise KeyboardInterrupt

    setattr(Enough, when, stop)
    model = estimator(1, architecture=(8,), max_iter=20, callbacks=[Enough()], random_state=0).fit(X)
    assert model.n_iter_ == (16 if when == "on_epoch_end" else 15)


def test_callbacks_may_watch_held_out_losses_throughout():
    class Read(Callback):
        def on_epoch_end(self, net, **kwargs):
            assert np.isfinite(net.history[-1]["valid_loss"])

    model, _ = fitted(callbacks=[Read(), EarlyStopping("valid_loss", patience=100)])
    assert model.n_iter_ > len(model.validation_loss_curve_) == 16


def test_a_network_that_lost_patience_settles():
    model, seen = fitted(max_iter=100, learning_rate=0.1, n_iter_no_change=3)
    judged = len(model.validation_loss_curve_)
    assert judged < 80
    assert seen[-1][0] == 640
    assert model.n_iter_ - judged == max(1, (int(np.argmin(model.validation_loss_curve_)) + 1) // 4)


def test_rows_that_were_learned_do_not_judge_again():
    model, seen = fitted(warm_start=True)
    first, n_before = len(seen), model.n_iter_
    judged = list(model.validation_loss_curve_)
    model.fit(X)
    assert model.validation_loss_curve_ == judged
    assert {rows for rows, _ in Watch.seen[first:]} == {640}
    assert model.n_iter_ == n_before + 20


# -- what a density aims at, from a linear start


def bounds_of(monkeypatch, rows=X, **params):
    """Draws per row and free bits of every objective computed: those of training, settling included, and judging."""
    seen = {True: [], False: []}

    def note(output, x, **terms):
        draws = len(output.log_likelihood) if output.log_likelihood.ndim > 1 else 1
        seen[torch.is_grad_enabled()].append((draws, terms["free_bits"]))
        return negative_bound(output, x, **terms)

    monkeypatch.setattr(vae, "negative_bound", note)
    model = VAETransformer(**{"n_components": 2, "architecture": (8,), "max_iter": 20, "random_state": 0, **params})
    return model.fit(rows), seen[True], seen[False]


def test_one_nat_is_free_until_the_network_settles_on_many_codes(monkeypatch):
    model, steps, verdicts = bounds_of(monkeypatch)
    n_judged = len(model.validation_loss_curve_) * 18  # batches of 32 from 576 rows
    assert not model.linear_
    assert steps[:n_judged] == [(1, 0.5)] * n_judged
    assert steps[n_judged:] == [(8, 0.0)] * (20 * (model.n_iter_ - len(model.validation_loss_curve_)))
    assert set(verdicts) == {(8, 0.0)}


def test_folds_choose_the_epoch_of_networks_with_the_same_freedom(monkeypatch):
    model, steps, _ = bounds_of(monkeypatch, curved_rows(200), architecture=(32,))
    assert len(model.validation_loss_curve_) == 16
    assert steps[: 16 * 5] == [(1, 0.5)] * (16 * 5)  # four folds side by side, of 150 rows in batches of 32


def test_an_error_in_the_final_phase_leaves_the_estimator_unfitted():
    class Break(Callback):
        def on_batch_begin(self, net, **kwargs):
            if net.history[-1]["phase"] == 1:
                raise ValueError("broken")

    model = VAETransformer(1, architecture=(8,), max_iter=20, random_state=0, callbacks=[Break()])
    with pytest.raises(ValueError, match="broken"):
        model.fit(X)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize(("n_components", "n_draws"), [(1, 8), (3, 5), (16, 1), (20, 1)])
def test_fewer_codes_are_drawn_the_longer_they_are(n_components, n_draws):
    model = VAETransformer(n_components, max_iter=1, random_state=0).fit(X)
    assert model.net_.evaluation_arguments == {"n_draws": n_draws}


@pytest.mark.parametrize(
    ("params", "draws", "free"),
    [
        ({"n_importance_samples": 1}, {1}, {0.5, 0.0}),
        ({"n_importance_samples": 3}, {3}, {0.0}),
        ({"free_bits": 0.25}, {1}, {0.25}),
        ({"free_bits": 0.25, "early_stopping": False}, {1}, {0.25}),
        ({"free_bits": 0.0}, {1, 8}, {0.0}),
        ({"beta": 2.0}, {1}, {0.0}),
        ({"init": "random"}, {1}, {0.0}),
        ({"early_stopping": False}, {1}, {0.0}),
        ({"learning_rate_schedule": "constant"}, {1}, {0.0}),
    ],
    ids=str,
)
def test_what_is_asked_for_is_what_is_trained(monkeypatch, params, draws, free):
    model, steps, verdicts = bounds_of(monkeypatch, **params)
    assert {n for n, _ in steps} == draws
    assert {bits for _, bits in steps} == free
    assert {bits for _, bits in verdicts} == {0.0}  # nothing is free where rows are judged
    del steps[:]
    model.partial_fit(X)
    assert {bits for _, bits in steps} == {params.get("free_bits", 0.0)}


def priors_of(monkeypatch, *args, **params):
    """A small VAE, and the prior that every step of training had in view."""
    forward, seen = VariationalAutoencoder.forward, []

    def note(module, x, generator=None, **arguments):
        if module.training:
            seen.append(arguments.get("prior"))
        return forward(module, x, generator, **arguments)

    monkeypatch.setattr(VariationalAutoencoder, "forward", note)
    return fitted(*args, **params)[0], seen


@pytest.mark.parametrize("prior", ["auto", "gaussian_mixture", "normal"])
def test_networks_settle_under_the_prior_that_is_fitted(monkeypatch, prior):
    two_groups = np.concatenate([X[:320], X[320:] + 6])
    model, seen = priors_of(monkeypatch, two_groups, prior=prior)
    judged = 18 * len(model.validation_loss_curve_)  # batches of 32 from 576 rows
    assert not model.linear_
    assert set(seen[:judged]) == {None}
    kind = type(None) if prior == "normal" else GaussianMixturePrior
    assert {type(prior) for prior in seen[judged:]} == {kind}
    assert model.net_.module_.prior is None
    assert pickle.loads(pickle.dumps(model)).score(X) == model.score(X)


def test_the_bound_that_judges_is_tight_for_a_linear_model():
    """Or a network, whose bound is not, would have to be the better by that."""
    rows = np.random.default_rng(0).normal(size=(640, 3)) @ [[2, 1, 0], [0, 1, 1], [0, 0, 0.3]]
    model, _ = fitted(rows, n_components=2, likelihood="gaussian", prior="normal")
    assert model.linear_
    judged = model.net_.losses(Rows(torch.from_numpy(model._data.to_network(rows)), torch.arange(640)))
    nats = model.score_samples(rows) + np.log(model._data.scaling.scale).sum()
    np.testing.assert_allclose(-judged.numpy(), nats, atol=1e-3)
