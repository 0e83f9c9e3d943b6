"""The generative adversarial network: its game by hand, what its samples promise, and the alarm of collapse."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture
from skorch.callbacks import Callback

from sk_autoenc import MLP, Convolutional, GANSampler, load, save
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.gan import Penalty, critic_loss, gan_turns, wasserstein_distance
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.initialization.mixture import fit_mixture
from sk_autoenc.losses import ADVERSARIAL_LOSSES
from sk_autoenc.metrics import energy_distance
from sk_autoenc.nn.gan import Critic, GenerativeAdversarialNetwork, MixtureMap, SpectralLinear
from sk_autoenc.training.adversarial import GameState
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import EnergyScores
from tests.instances import SAMPLERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 6)) * [1, 2, 3, 1, 1, 1] + 5

CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}


@pytest.fixture(params=SAMPLERS, ids=[f"{i}" for i in range(len(SAMPLERS))])
def sampler(request):
    return clone(request.param)


def codes(model, n=70):
    return np.random.default_rng(1).standard_normal((n, model.n_components_))


def outputs(model):
    return {"sample": model.sample(40, random_state=0), "inverse": model.inverse_transform(codes(model))}


def assert_same(left, right):
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# -- what every sampler promises


def test_two_fits_agree_bit_for_bit_and_seeds_differ(sampler):
    first = outputs(sampler.fit(X))
    assert_same(outputs(clone(sampler).fit(X, y="ignored")), first)
    other = outputs(clone(sampler).set_params(random_state=1).fit(X))
    assert not np.array_equal(other["sample"], first["sample"]) or sampler.init == "mixture"


def test_global_generators_and_parameters_are_untouched(sampler):
    numpy_before, torch_before = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002 - it is the matter
    parameters = joblib.hash(sampler.get_params())
    outputs(sampler.fit(X).partial_fit(X))
    pickle.loads(pickle.dumps(sampler))
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert joblib.hash(np.random.get_state()) == joblib.hash(numpy_before)  # noqa: NPY002 - it is the matter
    assert joblib.hash(sampler.get_params()) == parameters


def test_threads_give_the_same_numbers(sampler):
    expected = outputs(clone(sampler).fit(X))
    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(lambda _: outputs(clone(sampler).fit(X)), range(3)):
            assert_same(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_bit_equal_in_any_company(sampler, dtype):
    sampler.fit(X.astype(dtype))
    many = codes(sampler, 1100).astype(dtype)
    expected, order = sampler.inverse_transform(many), np.random.default_rng(2).permutation(len(many))
    assert expected.dtype == dtype
    for rows in (order, order[:1], order[:63], order[:1025]):
        np.testing.assert_array_equal(sampler.inverse_transform(many[rows]), expected[rows])


def test_units_do_not_matter(sampler):
    """A power of two changes no mantissa, so the model is the same bit for bit."""
    small, large = clone(sampler).fit(X), clone(sampler).fit(1024 * X)
    for name, value in outputs(small).items():
        np.testing.assert_array_equal(1024 * value, outputs(large)[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_samples_have_the_dtype_of_the_rows(sampler, dtype):
    rows = sampler.fit(X.astype(dtype)).sample(3)
    assert rows.shape == (3, 6)
    assert rows.dtype == (np.float64 if dtype == np.int64 else dtype)


def test_copies_and_files_draw_the_same_and_train_on(sampler, tmp_path):
    expected = outputs(sampler.fit(X))
    save(sampler, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler), load(tmp_path / "model")):
        assert_same(outputs(opened), expected)
        opened.partial_fit(X)
    sampler.set_params(architecture=(3, 3), values="unbounded", n_components=9, init="random")
    assert_same(outputs(sampler), expected)
    assert all(type(value) is np.ndarray for value in sampler.__getstate__()["_weights"].values())


def test_training_goes_on(sampler):
    sampler.fit(X)
    epochs = sampler.n_iter_
    sampler.partial_fit(X)
    assert sampler.n_iter_ == len(sampler.loss_curve_) == epochs + 1
    assert set(sampler.loss_curves_) == {"critic", "generator"}
    sampler.set_params(warm_start=True).fit(X)
    assert sampler.n_iter_ > epochs + 1
    sampler.set_params(ema=0.5)
    with pytest.raises(ValueError, match="ema must be"):
        sampler.fit(X)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 12, 33])
def test_any_number_of_rows(sampler, n_rows):
    assert all(np.isfinite(value).all() for value in outputs(sampler.fit(X[:n_rows])).values())


def test_constant_columns_stay_constant(sampler):
    odd = np.column_stack([X[:, 0], X[:, 0], np.full(len(X), 7.0)])
    drawn = sampler.fit(odd).sample(20, random_state=0)
    assert np.isfinite(drawn).all()
    if sampler.values != "unbounded":
        assert (drawn[:, 2] == 7).all()


def test_a_fit_that_fails_leaves_no_half_state(sampler):
    class Broken(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        sampler.set_params(callbacks=[Broken()]).fit(X)
    for name in ("sample", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(sampler, name)(*[codes] * (name == "inverse_transform"))


def test_no_weight_or_buffer_is_left_as_memory_had_it(sampler, monkeypatch):
    expected = outputs(clone(sampler).fit(X))
    to_empty = torch.nn.Module.to_empty

    def to_poison(module, **kwargs):
        module = to_empty(module, **kwargs)
        for tensor in module.state_dict().values():
            tensor.fill_(torch.nan)
        return module

    monkeypatch.setattr(torch.nn.Module, "to_empty", to_poison)
    assert_same(outputs(sampler.fit(X)), expected)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_in_and_out(library):
    names = list("abcdef")
    frame = pd.DataFrame(X, columns=names) if library == "pandas" else pl.DataFrame(X, schema=names)
    model = GANSampler(**CHEAP).set_output(transform=library).fit(frame)
    drawn = model.sample(4, random_state=0)
    assert isinstance(drawn, type(frame))
    assert list(drawn.columns) == list(model.feature_names_in_) == names
    np.testing.assert_array_equal(drawn, model.set_output(transform="default").sample(4, random_state=0))
    with config_context(transform_output=library):
        assert isinstance(GANSampler(**CHEAP).fit(frame).sample(2), type(frame))


def test_bad_values_name_themselves():
    model = GANSampler(**CHEAP)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 9, np.nan, X))
    model.fit(X)
    with pytest.raises(ValueError, match=r"Z must have n_components=6 columns.* GANSampler, got 5"):
        model.inverse_transform(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        model.sample(0)
    assert not hasattr(model, "transform")
    assert not hasattr(model, "score_samples")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gradient_penalty": "gulrajani"}, "loss must be 'wasserstein' .*'relativistic'"),
        ({"gradient_penalty": "clipping"}, "loss must be 'wasserstein' with gradient_penalty='clipping'"),
        ({"net_params": {"compile": True}}, "compile"),
        ({"critic": MLP((4,), code_activation="tanh")}, "critic: code_activation must be 'identity', got 'tanh'"),
        ({"critic": (0,)}, "critic: MLP: hidden_layer_sizes must have integers of 1 or more, got 0"),
        ({"architecture": Convolutional((2,), input_shape=(1, 6)), "init": "mixture"}, "init='mixture' goes with"),
        ({"architecture": Convolutional((2,), input_shape=(1, 6)), "spectral_norm": True}, "spectral_norm=True"),
    ],
)
def test_combinations_without_sense_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        GANSampler(**{**CHEAP, **parameters}).fit(X)


def test_images_keep_their_shape():
    images = np.random.default_rng(0).uniform(size=(20, 1, 6, 6)).astype(np.float32)
    model = GANSampler(4, **{**CHEAP, "architecture": Convolutional((3,))}).fit(images)
    drawn = model.sample(5, random_state=0)
    assert drawn.shape == (5, 1, 6, 6)
    assert drawn.dtype == np.float32
    assert model.n_components_ == 4
    assert images.min() <= drawn.min() <= drawn.max() <= images.max()


def test_nested_parameters_of_widths():
    model = GANSampler(critic=(4,)).set_params(architecture__activation="relu", critic__activation="tanh")
    assert (model.architecture.activation, model.critic.activation) == ("relu", "tanh")


# -- values


def test_columns_of_few_values_have_these_and_nothing_leaves_the_range():
    drawn = np.random.default_rng(0)
    rows = np.column_stack([drawn.integers(3, size=200) * 2.0, drawn.standard_normal(200), drawn.integers(2, size=200)])
    made = {kind: GANSampler(**CHEAP, values=kind).fit(rows).sample(300, random_state=0) for kind in VALUES_OF}
    assert set(np.unique(made["observed"][:, 0])) <= {0.0, 2.0, 4.0}
    assert set(np.unique(made["observed"][:, 2])) <= {0.0, 1.0}
    assert len(np.unique(made["observed"][:, 1])) > 100
    np.testing.assert_array_equal(made["real"], made["unbounded"].clip(rows.min(0), rows.max(0)))
    nearest = np.abs(made["unbounded"][:, :1] - [0.0, 2.0, 4.0]).argmin(axis=1) * 2.0
    np.testing.assert_array_equal(made["observed"][:, 0], nearest)
    assert (made["unbounded"] < rows.min(0)).any()


VALUES_OF = ("observed", "real", "unbounded")


# -- the game by hand


def tiny(n_features=2, mixture=None, network=None):
    parts = [network() if network else torch.nn.Linear(2, n_features) for _ in range(2)]
    module = GenerativeAdversarialNetwork(
        *parts, Critic(torch.nn.Linear(n_features, 1)), n_components=2, mixture=mixture
    )
    module.initialize(torch.Generator().manual_seed(0))
    return module


class Endless:
    """The same rows again and again."""

    def __init__(self, x):
        self.x, self.n = x, 0

    def __next__(self):
        self.n += 1
        return Batch(self.x)


@pytest.mark.parametrize("n_critic", [1, 3])
def test_a_round_is_the_critics_steps_on_fresh_rows_then_the_generators(n_critic):
    module, batches = tiny(), Endless(torch.randn(5, 2, generator=torch.Generator().manual_seed(1)))
    state = GameState(torch.Generator().manual_seed(0))
    game = ADVERSARIAL_LOSSES["non_saturating"]
    turns = gan_turns(module, batches, state, loss=game, penalty=Penalty(None), n_critic=n_critic, ema=0.5)
    played = [(name, batches.n) for name, _ in turns]
    assert played == [("critic", i + 1) for i in range(n_critic)] + [("generator", n_critic)]
    assert module.age == 1


def test_losses_of_a_linear_critic_in_closed_form():
    module, state = tiny(), GameState(torch.Generator().manual_seed(0), progress=0.5)
    x, made = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.5, 0.0], [2.0, 1.0]])
    weight = module.critic.network.weight
    slope = weight.square().sum()
    apart = (made - x) @ weight[0]
    for kind, times in ((None, 0), ("r1", 0.5), ("r1_r2", 1.0)):
        loss = partial(critic_loss, module, Batch(x), made, state, loss=ADVERSARIAL_LOSSES["relativistic"])
        found = loss(penalty=Penalty(kind, 4.0, 1.0))  # half of the way: the geometric mean, 2
        torch.testing.assert_close(found, torch.nn.functional.softplus(apart).mean() + 2 * times * slope)
    loss = partial(critic_loss, module, Batch(x), made, state, loss=ADVERSARIAL_LOSSES["wasserstein"])
    found = loss(penalty=Penalty("gulrajani", 10.0, 10.0))
    torch.testing.assert_close(found, apart.mean() + 10 * (slope.sqrt() - 1).square())


def test_a_clipped_critic_keeps_its_weights_within_the_bound():
    model = GANSampler(**CHEAP, loss="wasserstein", gradient_penalty="clipping").fit(X)
    weights = torch.cat([weight.detach().flatten() for weight in model.net_.module_.critic.parameters()])
    assert weights.abs().max() == pytest.approx(0.01, rel=1e-3)
    assert (weights.abs() < 0.0099).any()
    assert max(weight.abs().max() for weight in model.net_.module_.generator.parameters()) > 0.1


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_equal_rows_cannot_collapse():
    GANSampler(**CHEAP).fit(np.ones((60, 2)))


def test_the_average_follows_the_generator():
    module = tiny()
    torch.testing.assert_close(module.average.weight, module.generator.weight)
    before = module.average.weight.clone()
    with torch.no_grad():
        module.generator.weight.add_(1.0)
    module.follow(0.995)  # young: it keeps 1 / 11
    torch.testing.assert_close(module.average.weight, before + 10 / 11)
    module.age.fill_(1e6)
    module.follow(0.75)
    torch.testing.assert_close(module.average.weight, before + 1 - 0.75 / 11)
    module.follow(0.0)
    torch.testing.assert_close(module.average.weight, module.generator.weight)
    assert not any(weight.requires_grad for weight in module.average.parameters())


def test_a_spectral_layer_has_norm_one():
    layer = SpectralLinear(5, 3)
    layer.initialize(torch.Generator().manual_seed(0))
    for _ in range(50):
        layer.weights()
    assert torch.linalg.matrix_norm(layer.weights().detach(), 2).item() == pytest.approx(1.0, rel=1e-4)


def test_a_critic_of_few_columns_reads_waves():
    seen = []
    critic = Critic(lambda x: seen.append(x) or x[:, :1], has_waves=True)
    x = torch.tensor([[0.3, -1.0]])
    critic(x)
    angles = torch.tensor([[0.3, -1.0, 0.6, -2.0, 1.2, -4.0]])
    torch.testing.assert_close(seen[0], torch.cat([x, angles.sin(), angles.cos()], dim=1))
    assert Critic.n_inputs(2, has_waves=True) == seen[0].shape[1]
    assert Critic.n_inputs(2, has_waves=False, n_condition=3) == 5


# -- the mixture


def test_a_mixture_map_draws_the_mixture():
    weights, means = np.array([0.25, 0.75]), np.array([[-5.0, 0.0], [5.0, 1.0]])
    factors = np.array([[[1.0, 0.0], [0.5, 0.2]], [[0.3, 0.0], [0.0, 2.0]]])
    mapped = MixtureMap(2)
    mapped.set(*map(torch.from_numpy, (weights, means, factors)))
    z = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0))
    rows = mapped(z).double().numpy()
    left = rows[:, 0] < 0
    assert left.mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(rows[left].mean(0), means[0], atol=0.03)
    np.testing.assert_allclose(np.cov(rows[left].T), factors[0] @ factors[0].T, atol=0.03)
    np.testing.assert_allclose(np.cov(rows[~left].T), factors[1] @ factors[1].T, atol=0.1)
    again = MixtureMap(2)
    again.load_state_dict(mapped.state_dict())
    torch.testing.assert_close(again(z), mapped(z))


def test_the_mixture_is_chosen_by_bic():
    centers = np.array([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
    rows = np.repeat(centers, 60, axis=0) + np.random.default_rng(0).standard_normal((180, 2))
    weights, means, _ = fit_mixture(rows, seed=0)
    np.testing.assert_allclose(weights, 1 / 3, atol=0.02)
    assert np.linalg.norm(means[:, None] - centers, axis=2).min(axis=1).max() < 0.5


def test_few_rows_keep_the_mixture_and_their_samples_are_its():
    rows = np.repeat([[-5.0, 0.0], [5.0, 3.0]], 60, axis=0) + np.random.default_rng(0).standard_normal((120, 2))
    model = GANSampler(**CHEAP, init="mixture", values="unbounded").fit(rows)
    assert model.is_mixture_
    drawn = model.sample(2000, random_state=0)
    expected = GaussianMixture(2, random_state=0).fit(rows).sample(2000)[0]
    assert energy_distance(drawn, expected).statistic < 0.05
    model.partial_fit(rows)
    assert not model.is_mixture_


def test_a_network_that_brings_much_takes_the_place_of_the_mixture():
    """Two normal distributions cannot say that rows lie on a curve; the network can, so held-out rows gain."""
    before, after = torch.full((50,), 1.0, dtype=torch.float64), torch.full((50,), 0.5, dtype=torch.float64)
    noise = 0.3 * torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = EnergyScores(1, 0.0, lambda net, rows: (net, rows))
    assert scores.is_significant(before + noise, after + noise)
    assert not scores.is_significant(after + noise, before + noise)
    assert not scores.is_significant(before + noise, before + noise.flip(0))


# -- figures and alarm


def test_energy_scores_are_the_energy_distance_up_to_what_rows_determine():
    rows, samples = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    selection = EnergyScores(1, 0.0, lambda net, held_out: (rows, samples))
    figures = selection.evaluate(None, None)
    assert figures.shape == (40,)
    found = selection.qualities(None, None, figures)
    assert found["energy_distance"] == pytest.approx(energy_distance(rows, samples).statistic, rel=1e-5)
    apart = EnergyScores(1, 0.0, lambda net, held_out: (rows, samples + 100))
    assert apart.qualities(None, None, apart.evaluate(None, None))["coverage"] == 0.0


def two_groups(n_rows=700):
    left = np.random.default_rng(0).uniform(size=n_rows) < 0.5
    return np.random.default_rng(1).standard_normal((n_rows, 2)) * 0.1 + np.where(left, -1, 1)[:, None]


def test_figures_of_held_out_rows_in_every_epoch():
    model = GANSampler(**{**CHEAP, "max_iter": 4}).fit(two_groups())
    assert {name: len(curve) for name, curve in model.quality_curves_.items()} == {"coverage": 4, "energy_distance": 4}
    assert len(model.validation_loss_curve_) == 4
    assert set(model.sample_quality_) == {"energy_distance", "precision", "recall", "density", "coverage"}
    assert not hasattr(GANSampler(**CHEAP).fit(X), "quality_curves_")


def test_a_wasserstein_critic_estimates_the_distance():
    model = GANSampler(**CHEAP, loss="wasserstein").fit(two_groups())
    assert len(model.quality_curves_["wasserstein_distance"]) == 3
    module = tiny()
    rows = Rows(torch.randn(30, 2, generator=torch.Generator().manual_seed(0)))
    found = wasserstein_distance(SimpleNamespace(plain_module=module, seed=0), rows)["wasserstein_distance"]
    codes = module.draw_codes(30, make_generator(0, "validation"))
    gap = (rows.data.mean(0) - module.decode(codes).mean(0)) @ module.critic.network.weight[0]
    assert found == pytest.approx(gap.item(), abs=1e-5)


def test_collapse_is_said_and_success_is_not():
    rows = two_groups()
    with pytest.warns(ConvergenceWarning, match="collapsed.*cover.*loss='relativistic' instead of 'minimax'"):
        GANSampler(**{**CHEAP, "max_iter": 1}, loss="minimax", gradient_penalty=None).fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        normal = np.random.default_rng(0).standard_normal((700, 2))
        model = GANSampler(
            architecture=(32, 32), max_iter=60, batch_size=128, ema=0.99, random_state=0, device="cpu"
        ).fit(normal)
    assert model.sample_quality_["energy_distance"] < 0.1


def test_max_iter_auto_is_a_number_of_steps():
    model = GANSampler(architecture=(2,), batch_size=2, max_iter="auto", random_state=0, device="cpu")
    plan = model._make_plan(FitRequest(0, X=X, shape=(6,)))
    assert plan.phases[0].epochs == -(-5000 // 45)


def test_penalties_fall_geometrically_and_not_in_chunks():
    model = GANSampler()
    penalty = model._penalty(4, is_chunk=False)
    assert penalty.kind == "r1_r2"
    assert [penalty.weight(share) for share in (0.0, 1.0, 9.0)] == pytest.approx([0.2, 0.006, 0.006])
    assert penalty.weight(0.5) == pytest.approx((0.2 * 0.006) ** 0.5)
    chunk = model._penalty(4, is_chunk=True)
    assert chunk.weight(0.0) == chunk.weight(1.0) == pytest.approx((0.2 * 0.006) ** 0.5)
    assert GANSampler(loss="wasserstein")._penalty(4, is_chunk=False) == Penalty("gulrajani", 10.0, 10.0)
    assert GANSampler(spectral_norm=True)._penalty(4, is_chunk=False).kind is None


def test_the_net_tells_turns_how_far_training_is():
    seen = []

    class Watch(Callback):
        def on_batch_begin(self, net, **kwargs):
            seen.append(net.state_.progress)

    model = GANSampler(**{**CHEAP, "max_iter": 2}, batch_size=30)
    model.fit(X)
    model.net_.callbacks_ = [("watch", Watch().initialize())]
    model.net_.train(Rows(torch.zeros(90, 6)), epochs=2, n_planned=4)
    assert seen == pytest.approx([0, 1 / 12, 2 / 12, 3 / 12, 4 / 12, 5 / 12])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_critic", [1, 5])
def test_rates_fall_to_zero_however_many_batches_a_round_takes(n_critic):
    rows = np.random.default_rng(0).normal(size=(640, 2))
    options = {"architecture": (4,), "critic": (4,), "learning_rate_schedule": "cosine", "batch_size": 32}
    sampler = GANSampler(**options, n_critic=n_critic, max_iter=10, random_state=0).fit(rows)
    rates = [group["lr"] for optimizer, _ in sampler.net_.optimizers() for group in optimizer.param_groups]
    assert max(rates) < 0.02 * sampler.net_.lr
