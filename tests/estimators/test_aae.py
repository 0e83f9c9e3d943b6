"""The adversarial autoencoder: its game by hand, who moves when, and what it promises of codes and scores."""

import functools
import operator
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import GradientNormClipping
from torch import nn

from sk_autoenc import MLP, AAETransformer, Gaussian, GaussianMixturePrior, NormalPrior, SwissRollPrior, UniformPrior
from sk_autoenc.data.dataset import Batch, Rows, WholeBatches
from sk_autoenc.estimators.aae import adversarial_turns
from sk_autoenc.metrics import classifier_two_sample_test
from sk_autoenc.nn.adversarial import AdversarialAutoencoder
from sk_autoenc.nn.variational import Posterior
from sk_autoenc.training.adversarial import AdversarialNet, FreshBatches, Game, GameState, Player
from sk_autoenc.training.builder import build_net, fit_callbacks

CHEAP = {"architecture": (8,), "critic": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}


def factors(n_rows, seed=0):
    """Rows of six columns that are linear in two independent normal factors."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(2, 6))
    return rng.normal(size=(n_rows, 2)) @ mixing + 0.1 * rng.normal(size=(n_rows, 6))


@pytest.fixture(scope="module")
def X():
    return factors(80)


#: Two points in two dimensions: hardly any distribution is less like the normal one.
APART = GaussianMixturePrior([[-9.0, 5.0], [9.0, 5.0]], covariances=1e-4)


def quietly(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


# -- the game


class Duel(nn.Module):
    """Two weights that play; each loss depends on both."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(1, 1), nn.Linear(1, 1)
        for part in (self.left, self.right):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, x, generator=None):
        return self.right(self.left(x))


def duel_net(turns, batch_size=5, **options):
    game = Game(turns, {"left": Player(("left",)), "right": Player(("right",), 0.5), "both": Player(("left", "right"))})
    defaults = {"optimizer": "sgd", "learning_rate": 0.125, "weight_decay": 0.0, "net_params": None}
    return build_net(
        Duel(),
        lambda output, batch: {"size": output.square().sum(-1)},
        device="cpu",
        batch_size=batch_size,
        seed=0,
        game=game,
        **{**defaults, **options},
    )


def weights(net):
    return {name: getattr(net.module_, name).weight.item() for name in ("left", "right")}


@pytest.mark.parametrize(("player", "step"), [("left", 0.125), ("right", 0.0625)])
def test_a_loss_moves_its_player_alone_and_at_its_rate(player, step):
    def turns(module, batches, state):
        yield player, (module.left.weight * module.right.weight).sum() + 0 * next(batches).x.sum()

    net = duel_net(turns)
    net.train(Rows(torch.zeros(5, 1)), epochs=1)
    expected = {"left": 1.0, "right": 1.0}
    expected[player] -= step  # the gradient is the other's weight, 1
    assert weights(net) == expected


def test_a_turn_sees_what_the_turns_before_have_changed():
    seen = []

    def turns(module, batches, state):
        next(batches)
        for player in ("left", "right"):
            seen.append((module.left.weight.item(), module.right.weight.item()))
            yield player, (module.left.weight + module.right.weight).sum()

    duel_net(turns).train(Rows(torch.zeros(5, 1)), epochs=1)
    assert seen == [(1.0, 1.0), (0.875, 1.0)]


def test_players_that_share_a_part_have_moments_of_their_own():
    def turns(module, batches, state):
        next(batches)
        yield "left", module.left.weight.sum()
        yield "both", 2 * module.left.weight.sum() + module.right.weight.sum()

    net = duel_net(turns, optimizer="adam")
    net.train(Rows(torch.zeros(5, 1)), epochs=1)
    first = {
        name: optimizer.state[net.module_.left.weight]["exp_avg"].item()
        for name, optimizer in net.optimizer_.items()
        if name != "right"
    }
    assert first == pytest.approx({"left": 0.1, "both": 0.2})
    assert not net.optimizer_["right"].state


def test_every_call_for_rows_gives_fresh_ones_and_an_epoch_is_one_pass():
    seen = []

    def turns(module, batches, state):
        for player in ("left", "left", "right"):
            seen.append(next(batches).x[:, 0].tolist())
            yield player, getattr(module, player).weight.sum()

    net = duel_net(turns, batch_size=2)
    net.train(Rows(torch.arange(12.0)[:, None]), epochs=2)
    assert [len(batch) for batch in seen] == [2] * 12
    assert (
        sorted(functools.reduce(operator.iadd, seen[:6], []))
        == sorted(functools.reduce(operator.iadd, seen[6:], []))
        == list(range(12))
    )
    assert seen[:6] != seen[6:]
    assert [row["train_batch_count"] for row in net.history] == [6, 6]


def test_losses_are_means_over_the_rows_of_each_player():
    def turns(module, batches, state):
        yield "left", next(batches).x.mean() + 0 * module.left.weight.sum()
        yield "right", 2 * next(batches).x.mean() + 0 * module.right.weight.sum()

    net = duel_net(turns, batch_size=3, learning_rate=0.1)
    net.train(Rows(torch.ones(6, 1)), epochs=1)
    row = net.history[-1]
    assert (row["train_left"], row["train_right"], row["train_loss"]) == (1.0, 2.0, 3.0)


def test_the_schedule_is_that_of_every_player():
    rates = []

    def turns(module, batches, state):
        next(batches)
        rates.append([group["lr"] for optimizer, _ in net.optimizers() for group in optimizer.param_groups])
        for player in ("left", "right", "both"):
            yield player, module.left.weight.sum() + module.right.weight.sum()

    net = duel_net(turns)
    net.set_optimizer_options(0.2, 0.0, 1)
    callbacks = fit_callbacks(schedule="cosine", n_steps=20)
    net.train(Rows(torch.zeros(10, 1)), epochs=2, callbacks=callbacks)
    left, right, both = np.array(rates).T
    np.testing.assert_allclose(right, left / 2)
    np.testing.assert_allclose(both, left)
    assert left.max() == pytest.approx(0.2, rel=0.02)
    assert left[-1] < 0.01


def test_fresh_batches_go_on_into_the_next_pass():
    batches = FreshBatches(WholeBatches(Rows(torch.arange(4.0)[:, None]), 2))
    assert [next(batches).x[:, 0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [0, 1]]
    assert (batches.n_given, batches.n_rows) == (3, 2)


# -- the turns of the paper


def test_the_losses_are_those_of_the_paper():
    model = quietly(AAETransformer(2, **CHEAP), factors(60))
    module = model.net_.module_.eval()
    x = torch.from_numpy(model._data.to_network(factors(8, seed=2)))
    generator = torch.Generator().manual_seed(3)
    turns = adversarial_turns(module, iter([Batch(x)]), GameState(generator), n_critic=1)
    losses = {player: loss.item() for player, loss in turns}

    drawn = model.prior_.sample(8, torch.Generator().manual_seed(3))
    with torch.no_grad():
        code = module.encoder(x)
        unit_draws = (drawn - module.center) / module.scale
        of_prior, of_rows = (torch.sigmoid(module.critic(z)[:, 0]).double().numpy() for z in (unit_draws, code))
        raw = module.decoder(code).double().numpy()
    spread = np.exp(module.head.change.item()) / module.head.start.double().numpy()
    assert losses["critic"] == pytest.approx((-np.log(of_prior) - np.log(1 - of_rows)).mean(), rel=1e-5)
    assert losses["encoder"] == pytest.approx(-np.log(of_rows).mean(), rel=1e-5)
    assert losses["autoencoder"] == pytest.approx(-norm(raw, spread).logpdf(x.numpy()).sum(1).mean(), rel=1e-4)


def test_codes_and_losses_of_a_gaussian_encoder_by_hand():
    """Under a prior of scale 3: codes are drawn in its units, critic and decoder read them in units of their own."""
    model = quietly(AAETransformer(2, **CHEAP, encoder="gaussian", prior=NormalPrior(3.0)), factors(60))
    module, X = model.net_.module_.eval(), factors(8, seed=2)
    x = torch.from_numpy(model._data.to_network(X))
    batches, state = FreshBatches(WholeBatches(Rows(x), 8)), GameState(torch.Generator().manual_seed(3))
    losses = [(player, loss.item()) for player, loss in adversarial_turns(module, batches, state, n_critic=2)]

    generator = torch.Generator().manual_seed(3)  # for the autoencoder, the first and the last step of the critic
    noise, first, drawn_first, last, drawn_last = (torch.randn(8, 2, generator=generator) for _ in range(5))
    with torch.no_grad():
        mean, log_scale = module.encoder(x).chunk(2, -1)

        def says(code):
            return torch.sigmoid(module.critic(code)[:, 0]).double().numpy()

        of_rows = [says(mean + log_scale.exp() * noise) for noise in (first, last)]
        of_prior = [says((3 * drawn - module.center) / module.scale) for drawn in (drawn_first, drawn_last)]
        raw = module.decoder(mean + log_scale.exp() * noise).double().numpy()
    spread = np.exp(module.head.change.item()) / module.head.start.double().numpy()
    expected = [
        ("autoencoder", -norm(raw, spread).logpdf(x.numpy()).sum(1).mean()),
        *(("critic", (-np.log(p) - np.log(1 - q)).mean()) for p, q in zip(of_prior, of_rows, strict=True)),
        ("encoder", -np.log(of_rows[1]).mean()),
    ]
    assert [player for player, _ in losses] == [player for player, _ in expected]
    np.testing.assert_allclose([loss for _, loss in losses], [loss for _, loss in expected], rtol=1e-4)
    assert module.scale.numpy() == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(model.posterior(X)[0], module.center + module.scale * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.posterior(X)[1], module.scale * log_scale.exp(), rtol=1e-4)


def test_players_have_less_momentum_unless_they_are_told_to(X):
    for params, betas in (({}, (0.5, 0.99)), ({"net_params": {"optimizer__betas": (0.8, 0.9)}}, (0.8, 0.9))):
        model = quietly(AAETransformer(**{**CHEAP, "max_iter": 1}, **params), X)
        groups = [group for optimizer, _ in model.net_.optimizers() for group in optimizer.param_groups]
        assert {group["betas"] for group in groups} == {betas}


def test_ctrl_c_in_the_first_epoch_leaves_a_model(X, monkeypatch):
    def interrupted(module, code):
        raise KeyboardInterrupt

    monkeypatch.setattr(AdversarialAutoencoder, "log_odds", interrupted)
    model = AAETransformer(**CHEAP)
    with pytest.raises(KeyboardInterrupt):
        quietly(model, X)
    assert model.n_iter_ == 0
    assert np.isfinite(model.transform(X)).all()
    assert 0 <= model.prior_mismatch_ <= 1


def test_every_player_has_a_curve(X):
    model = quietly(AAETransformer(**CHEAP), X)
    assert set(model.loss_curves_) == {"autoencoder", "critic", "encoder"}
    assert all(len(curve) == model.n_iter_ == 3 for curve in model.loss_curves_.values())
    np.testing.assert_allclose(model.loss_curve_, np.sum(list(model.loss_curves_.values()), axis=0))
    assert type(model.net_) is AdversarialNet


def test_callbacks_see_gradients_of_every_player(X):
    settings = {"max_iter": 1, "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "random_state": 0}
    start = quietly(AAETransformer(**{**settings, "learning_rate": 1e-12}), X)
    held = quietly(AAETransformer(callbacks=[GradientNormClipping(1e-9)], **settings), X)
    moved = quietly(AAETransformer(**settings), X)
    for part in ("encoder", "decoder", "critic"):
        before, same, after = (
            torch.nn.utils.parameters_to_vector(getattr(model.net_.module_, part).parameters())
            for model in (start, held, moved)
        )
        torch.testing.assert_close(before, same)
        assert (before - after).abs().max() > 1e-4


def test_a_critic_that_bounds_its_log_odds_is_refused(X):
    with pytest.raises(ValueError, match=r"critic: code_activation must be 'identity'.*got 'relu'"):
        AAETransformer(critic=MLP((8,), code_activation="relu")).fit(X)


def test_widths_that_are_none_are_said_to_be_the_critics(X):
    with pytest.raises(ValueError, match=r"critic: .*integers of 1 or more, got 0 in \(8, 0\)"):
        AAETransformer(critic=(8, 0)).fit(X)


def test_the_critic_has_a_rate_of_its_own(X):
    model = quietly(AAETransformer(**CHEAP, learning_rate=0.01, critic_learning_rate=0.002), X)
    rates = {name: rate for (_, rate), name in zip(model.net_.optimizers(), model.net_.optimizer_, strict=True)}
    assert rates == {"autoencoder": 1.0, "critic": 0.2, "encoder": 1.0}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"learning_rate": 0.04}, (0.04, 0.002)),
        ({"critic_learning_rate": 0.03}, (0.01, 0.03)),
        ({"critic_learning_rate": None}, (0.01, 0.01)),
    ],
    ids=str,
)
def test_rates_may_change_where_training_goes_on(X, params, expected):
    model = quietly(AAETransformer(**CHEAP, learning_rate=0.01, critic_learning_rate=0.002), X)
    for going_on in (model, pickle.loads(pickle.dumps(model))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            going_on.set_params(**params).partial_fit(X)
        rates = [going_on.net_.optimizer_[player].param_groups[0]["lr"] for player in ("encoder", "critic")]
        assert rates == pytest.approx(expected)


def test_every_step_of_the_critic_has_rows_and_draws_of_its_own(X, monkeypatch):
    model = quietly(AAETransformer(2, **CHEAP), X)
    module, rows = model.net_.module_, torch.from_numpy(model._data.to_network(X[:64]))
    judged = []
    monkeypatch.setattr(module, "log_odds", lambda code: judged.append(code.detach()) or module.critic(code)[:, 0])
    batches = FreshBatches(WholeBatches(Rows(rows), 8, torch.Generator().manual_seed(1)))
    turns = adversarial_turns(module, batches, GameState(torch.Generator().manual_seed(0)), n_critic=3)
    assert [player for player, _ in turns] == ["autoencoder", "critic", "critic", "critic", "encoder"]
    drawn, codes = judged[:-1:2], judged[1:-1:2]  # of the critic's three steps
    assert batches.n_given == 1  # an epoch is a pass of the autoencoder
    first, second, _ = (set(torch.cdist(batch, module.encode(rows)).argmin(1).tolist()) for batch in codes)
    assert len(first) == len(second) == 8
    assert not first & second
    assert len({draw.sum().item() for draw in drawn}) == 3
    assert torch.equal(codes[-1], judged[-1])  # and the encoder is judged on rows that the critic has just seen
    once, often = (quietly(AAETransformer(2, **CHEAP, n_critic=n), X).transform(X) for n in (1, 2))
    assert not np.array_equal(once, often)


# -- codes


@pytest.mark.parametrize("prior", [NormalPrior(3.0), UniformPrior(5.0, 7.0)], ids=["normal", "uniform"])
def test_codes_of_new_rows_are_distributed_like_the_prior(prior):
    options = {**CHEAP, "architecture": (64, 64), "critic": (64, 64), "max_iter": 60, "batch_size": 200}
    model = AAETransformer(2, **options, prior=prior).fit(factors(1000))
    drawn = model.prior_.sample(1000, torch.Generator().manual_seed(5)).numpy()
    codes = model.transform(factors(1000, seed=6))
    assert classifier_two_sample_test(drawn, codes, cv=2, random_state=0).auroc < 0.6
    assert model.prior_mismatch_ < 0.2


def test_mismatch_is_measured_and_told(X):
    with pytest.warns(ConvergenceWarning, match="prior_mismatch_ is"):
        model = AAETransformer(2, **CHEAP, prior=APART).fit(X)
    assert 0.9 < model.prior_mismatch_ <= 1


def test_mismatch_is_that_of_drawn_codes(X, monkeypatch):
    """Where every posterior is the prior, all means are one point, and yet codes cannot be told from draws."""
    model = quietly(AAETransformer(2, **CHEAP, encoder="gaussian"), X)
    monkeypatch.setattr(model.net_.module_, "posterior", lambda x: Posterior(x.new_zeros(len(x), 2), x.new_zeros(())))
    rows = torch.from_numpy(model._data.to_network(factors(500)))
    assert model._measure_mismatch(Rows(rows)) < 0.15


def test_a_critic_that_wins_is_told(X):
    with pytest.warns(ConvergenceWarning, match="critic separates codes"):
        AAETransformer(
            2,
            **{**CHEAP, "max_iter": 60, "critic": (32, 32)},
            prior=APART,
            learning_rate=1e-5,
            critic_learning_rate=0.02,
        ).fit(X)


def test_a_silent_critic_is_told(X, monkeypatch):
    monkeypatch.setattr(AdversarialAutoencoder, "log_odds", lambda module, code: 0 * module.critic(code)[:, 0])
    with pytest.warns(ConvergenceWarning, match="critic is constant.*critic_learning_rate.*max_iter than 3"):
        AAETransformer(2, **CHEAP).fit(X)


@pytest.mark.parametrize("encoder", ["deterministic", "gaussian"])
def test_a_row_has_one_code_or_a_distribution(X, encoder):
    model = quietly(AAETransformer(2, **CHEAP, encoder=encoder), X)
    mean, std = model.posterior(X)
    np.testing.assert_array_equal(mean, model.transform(X))
    assert (std == 0).all() if encoder == "deterministic" else (std > 0).all()


def test_training_starts_at_whitened_pca():
    X = factors(400)
    model = quietly(AAETransformer(2, **{**CHEAP, "max_iter": 1}, learning_rate=1e-12), X)
    codes = model.transform(X)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(2), atol=0.02)
    assert model.reconstruction_err_ < 1.05 * 4 * 0.01  # four of six columns' noise is lost


# -- scores


def test_the_score_is_that_of_the_reconstruction_plus_the_prior():
    X = factors(60)
    model = quietly(AAETransformer(2, **CHEAP, likelihood=Gaussian(variance=4.0), prior=NormalPrior(2.0)), X)
    codes, rows = model.transform(X), model.reconstruct(X)
    expected = norm(rows, 2.0).logpdf(X).sum(1) + norm(0, 2.0).logpdf(codes).sum(1)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-4)
    assert model.score(X) == pytest.approx(expected.mean(), rel=1e-4)


def test_units_of_rows_enter_the_score(X):
    a, b = (quietly(AAETransformer(2, **CHEAP), c * X) for c in (1.0, 1024.0))
    np.testing.assert_allclose(b.score_samples(1024 * X), a.score_samples(X) - 6 * np.log(1024), rtol=1e-5)


def test_there_is_no_score_where_the_prior_has_no_density(X):
    assert not hasattr(AAETransformer(prior="swiss_roll"), "score")
    for prior in ("swiss_roll", SwissRollPrior()):
        model = quietly(AAETransformer(2, **CHEAP, prior=prior), X)
        assert not hasattr(model, "score_samples")
        assert not hasattr(model, "score")
    assert hasattr(AAETransformer(prior="uniform"), "score_samples")


# -- samples


def test_any_object_that_samples_is_a_prior(X):
    class Ring:
        def sample(self, n, generator):
            angle = 6.2832 * torch.rand(n, generator=generator, device=generator.device)
            return torch.stack([angle.cos(), angle.sin()], dim=1)

    model = quietly(AAETransformer(2, **CHEAP, prior=Ring()), X)
    assert model.sample(4, random_state=0).shape == (4, 6)
    assert not hasattr(model, "score_samples")


def test_counts_are_sampled_as_counts():
    counts = np.random.default_rng(0).poisson(3.0, size=(60, 4))
    model = quietly(AAETransformer(2, **CHEAP, likelihood="poisson"), counts)
    drawn = model.sample(50, random_state=0)
    assert (drawn == np.round(drawn)).all()
    assert (drawn >= 0).all()


# -- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prior": "cauchy"},
            r"prior must be one of \['gaussian_mixture', 'normal', 'swiss_roll', 'uniform'\].*'cauchy'",
        ),
        ({"prior": "swiss_roll", "n_components": 3}, r"n_components=3"),
        ({"prior": 1.0}, r"prior must be a name or an object with sample\(n, generator\), got 1.0"),
        ({"net_params": {"compile": True}}, "'compile' would have no effect"),
        ({"init": "pca", "likelihood": "poisson"}, "init='pca' cannot be combined with likelihood='poisson'"),
        ({"critic": (0,)}, "hidden_layer_sizes must have integers of 1 or more"),
    ],
)
def test_errors_name_what_is_wrong(X, options, message):
    with pytest.raises(ValueError, match=message):
        AAETransformer(**{**CHEAP, **options}).fit(np.abs(X).round())
