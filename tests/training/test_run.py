"""New kinds of training are one plan: a toy game, a toy regressor on pairs, a toy on unpaired rows, a page each."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sk_autoenc.data.dataset import Batch, Pairs, Rows
from sk_autoenc.data.splits import fold_rows, split_rows
from sk_autoenc.initialization.start import Start
from sk_autoenc.training.adversarial import Game, Player
from sk_autoenc.training.plan import OptimizerOptions, Phase, Plan
from sk_autoenc.training.run import Observer, run
from sk_autoenc.training.selection import RowLosses, WholeFigure
from tests.data_sets import seeded


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


# -- a GAN of two columns, which stops early by a metric of its samples


class ToyGan(nn.Module):
    """A generator of points and a critic, as children of one module."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2))
        self.critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))


def toy_turns(module: ToyGan, batches, state) -> Iterator[tuple[str, torch.Tensor]]:
    rows = next(batches).x
    fakes = module.generator(torch.randn(len(rows), 2, generator=state.generator))
    losses = nn.functional.softplus(-module.critic(rows)), nn.functional.softplus(module.critic(fakes.detach()))
    yield "critic", losses[0].mean() + losses[1].mean()
    yield "generator", nn.functional.softplus(-module.critic(fakes)).mean()


def distance_of_means(net, held_out) -> float:
    """How far samples are from held-out rows, by their means."""
    with torch.no_grad():
        samples = net.module_.generator(normal(200, 2))
    return float((samples.mean(0) - held_out[:].mean(0)).norm())


def toy_gan_plan(splits, **options) -> Plan:
    return Plan(
        module=ToyGan,
        game=Game(toy_turns, {name: Player((name,)) for name in ("generator", "critic")}, {"betas": (0.0, 0.9)}),
        splits=splits,
        selection=WholeFigure(patience=5, tol=0.0, figure=distance_of_means),
        phases=(Phase(40),),
        optimizer=OptimizerOptions(learning_rate=0.01),
        **options,
    )


ROWS = normal(200, 2) * 0.3 + torch.tensor([2.0, -1.0])


def test_a_toy_gan_stops_early_by_a_metric_of_its_samples():
    result = run(toy_gan_plan([split_rows(200, 0.2, seeded())]), Rows(ROWS), seed=0, device="cpu")
    figures = result.net.history[:, "valid_criterion"]
    best = min(figures)
    assert figures[0] > 2 * best
    held_out = Rows(ROWS).subset(split_rows(200, 0.2, seeded())[1])
    assert distance_of_means(result.net, held_out) == pytest.approx(best)  # the weights of the best epoch are back
    assert set(result.net.history[-1]) >= {"train_generator", "train_critic"}


def test_folds_choose_the_epoch_of_a_toy_gan():
    heard = []

    class Listens(Observer):
        def held_out_curve(self, losses):
            heard.extend(losses)

    plan = toy_gan_plan(fold_rows(200, seeded()))
    result = run(plan, Rows(ROWS), seed=0, device="cpu", observer=Listens())
    assert len(heard) == 40
    assert len(result.net.history) == heard.index(min(heard)) + 1


def test_a_game_without_an_objective_has_no_losses_of_rows():
    with pytest.raises(ValueError, match="needs an objective, which gives the losses"):
        Plan(module=ToyGan, game=toy_gan_plan(()).game, splits=fold_rows(200, seeded()), selection=RowLosses(5, 0.0))
    net = run(toy_gan_plan(()), Rows(ROWS), seed=0, device="cpu").net
    with pytest.raises(ValueError, match="Held-out rows need an objective"):
        net.losses(Rows(ROWS))


def test_a_plan_needs_something_to_minimise():
    with pytest.raises(ValueError, match="objective or game must be given"):
        Plan(module=ToyGan)


def test_later_phases_need_held_out_rows():
    with pytest.raises(ValueError, match="phases must be one where no rows are held out, got 2"):
        Plan(module=Slope, objective=squared_error, phases=(Phase(2), Phase(1)))


def test_terms_of_whole_batches_are_no_losses_of_rows():
    def objective(output, batch):
        return {"mean": output.mean()}

    plan = Plan(module=Shift, objective=objective, splits=[split_rows(200, 0.2, seeded())])
    with pytest.raises(ValueError, match=r"must have a term of shape .*WholeFigure"):
        run(plan, Rows(ROWS), seed=0, device="cpu")


# -- a regressor on pairs, which falls back to its baseline


class Slope(nn.Module):
    """The mean target, plus a linear map of the row."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x, generator=None):
        return self.mean + self.linear(x)[:, 0]


class MeanTarget(Start):
    """Every prediction is the mean target; the baseline of any regression."""

    is_model = True

    def set(self, module, rows):
        self.refit(module, rows)

    def refit(self, module, rows):
        with torch.no_grad():
            module.linear.weight.zero_()
            module.linear.bias.zero_()
            module.mean.fill_(rows.gather(rows.index).y.mean())


def squared_error(output, batch):
    return {"error": (output - batch.y).square()}


def regressor(target, splits):
    plan = Plan(
        module=Slope,
        objective=squared_error,
        start=MeanTarget(),
        splits=splits,
        selection=RowLosses(patience=10, tol=1e-4),
        keeps_start_unevaluated=True,
        phases=(Phase(30, "cosine"),),
        optimizer=OptimizerOptions(learning_rate=0.1),
    )
    return run(plan, Pairs(ROWS, target), seed=0, device="cpu")


@pytest.mark.parametrize("splits", [[split_rows(200, 0.2, seeded())], fold_rows(200, seeded())], ids=["split", "folds"])
def test_a_toy_regressor_learns_pairs_or_keeps_its_baseline(splits):
    learned = regressor(3 * ROWS[:, 0] - ROWS[:, 1], splits)
    assert not learned.kept_start
    assert learned.net.module_.linear.weight[0, 0] > 0
    noise = normal(200, seed=3)
    kept = regressor(noise, splits)
    assert kept.kept_start
    assert not kept.net.module_.linear.weight.any()
    assert float(kept.net.module_(ROWS)[0]) == pytest.approx(float(noise.mean()), abs=1e-6)


def test_too_few_rows_keep_the_baseline():
    assert regressor(3 * ROWS[:, 0], ()).kept_start


# -- two sets of rows without pairs, as CycleGAN has them


class Unpaired(Rows):
    """Rows of two domains of different counts: the second is read on its own, from where the index falls."""

    def __init__(self, data, other, index=None):
        super().__init__(data, index)
        self.other = other

    def gather(self, index):
        return Batch(self.data[index], self.other[(7 * index + 3) % len(self.other)])

    def subset(self, index):
        return Unpaired(self.data, self.other, index)

    def cpu(self):
        return Unpaired(self.data.cpu(), self.other.cpu(), self.index.cpu())


class Shift(nn.Module):
    """Moves rows of one domain to the other."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.zeros(2))

    def initialize(self, generator):
        self.by.zero_()

    def forward(self, x, generator=None):
        return x + self.by


def matched_means(output, batch):
    return {"mean": (output.mean(0) - batch.y.mean(0)).square().sum()}


def gap(net, held_out) -> float:
    batch = held_out.gather(held_out.index)
    with torch.no_grad():
        return float((net.module_(batch.x).mean(0) - batch.y.mean(0)).norm())


def test_a_toy_on_unpaired_rows_finds_the_shift_between_domains():
    data = Unpaired(normal(150, 2), normal(90, 2, seed=1) + torch.tensor([1.0, -2.0]))
    plan = Plan(
        module=Shift,
        objective=matched_means,
        splits=[split_rows(150, 0.2, seeded())],
        selection=WholeFigure(patience=10, tol=1e-3, figure=gap),
        phases=(Phase(60, "cosine"),),
        optimizer=OptimizerOptions(learning_rate=0.1),
    )
    found = run(plan, data, seed=0, device="cpu").net
    torch.testing.assert_close(found.module_.by.detach(), torch.tensor([1.0, -2.0]), atol=0.35, rtol=0)
    assert min(found.history[:, "valid_criterion"]) < 0.5 * found.history[0, "valid_criterion"]


# -- what a plan's modules must not leave open


class Forgetful(Shift):
    initialize = None


def test_a_parameter_that_nobody_fills_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"by of the network has no value, .* initialize a Forgetful.* method initialize\(generator\)"
    ):
        run(Plan(module=Forgetful, objective=matched_means), Rows(ROWS), seed=0, device="cpu")


class Attentive(nn.Module):
    """Layers with parameters of many kinds, of which the library knows how they begin."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True, add_bias_kv=True)
        self.norms = nn.Sequential(nn.LayerNorm(2), nn.BatchNorm1d(2), nn.GroupNorm(1, 2))
        self.series = nn.Sequential(nn.Conv1d(2, 3, 1), nn.ConvTranspose1d(3, 2, 1), nn.Conv1d(2, 1, 1))

    def forward(self, x, generator=None):
        seen = self.norms(self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0])
        return self.series(seen[..., None]).flatten()


def test_attention_normalisation_and_convolutions_begin_where_the_seed_says():
    plan = Plan(module=Attentive, objective=lambda output, batch: {"size": output.square()}, phases=(Phase(2),))
    first, again = (run(plan, Rows(ROWS), seed=0, device="cpu").net.module_.state_dict() for _ in range(2))
    other = run(plan, Rows(ROWS), seed=1, device="cpu").net.module_.state_dict()
    for name, weights in first.items():
        assert weights.isfinite().all()
        assert torch.equal(weights, again[name])
    assert any(not torch.equal(weights, other[name]) for name, weights in first.items())
