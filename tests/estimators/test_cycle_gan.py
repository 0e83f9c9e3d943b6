"""CycleGAN: its losses in closed form, what it learns and where it starts, shapes, classes, files, refusals."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_autoenc import Convolutional, CycleGANTransformer, load, save
from sk_autoenc.base.cycle import content_loss, critic_loss, cycle_turns, energy_both_ways, huber_error
from sk_autoenc.data.unpaired import Unpaired
from sk_autoenc.losses import ADVERSARIAL_LOSSES
from sk_autoenc.metrics import energy_distance
from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.cycle import ReplayBuffer
from sk_autoenc.training.adversarial import GameState
from sk_autoenc.training.selection import RowFigures
from tests.data_sets import seeded
from tests.instances import TRANSLATORS, describe
from tests.nn.test_cycle import gan

rng = np.random.default_rng(0)
A, B = rng.normal(size=(90, 3)), rng.normal([5, -3, 1], [2, 0.5, 1], size=(70, 3))
CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}


@pytest.fixture(params=TRANSLATORS, ids=describe)
def model(request):
    return clone(request.param)


def outputs(fitted):
    return {"forth": fitted.transform(A), "back": fitted.inverse_transform(B)}


def assert_same(left, right):
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# -- losses


class Constant(nn.Module):
    """A critic that says one number, or a classifier that says the same of every row."""

    def __init__(self, *said):
        super().__init__()
        self.said = nn.Parameter(torch.tensor(said))

    def forward(self, x):
        return self.said.expand(len(x)) if len(self.said) == 1 else self.said.expand(len(x), -1)


class FakeBatches:
    """A batch of A, and B to draw from."""

    def __init__(self, x, y):
        self.dataset, self.batch = self, (x, torch.full((len(x),), -1))
        self.other, self.other_labels = y, torch.full((len(y),), -1)

    def draw_other(self, n, generator):
        return torch.arange(n)

    def draw_labelled(self, n, generator):
        return self.other[:n], torch.zeros(n, dtype=torch.long)

    def __next__(self):
        class Batch:
            x, y = self.batch
            __len__ = lambda batch: len(batch.x)  # noqa: E731

        return Batch()


def rounds(module, x, y, **weights):
    options = {"cycle_weight": 0.0, "identity_weight": 0.0, "content_weight": 0.0, **weights}
    turns = cycle_turns(
        module, FakeBatches(x, y), GameState(seeded()), loss=ADVERSARIAL_LOSSES["least_squares"], n_replayed=0, ema=0.5,
        **options,
    )  # fmt: skip
    return {name: loss.item() for name, loss in turns}


def test_losses_in_closed_form():
    x, y, module = torch.zeros(4, 3), torch.ones(4, 3), gan()
    module.critics["a"], module.critics["b"] = Constant(0.2), Constant(0.4)
    with torch.no_grad():
        module.translators["forth"].shift.fill_(1.0)  # forth adds 1, back leaves rows as they are
    at = rounds(module, x, y)
    critics = sum(0.5 * ((said - 1) ** 2 + said**2) for said in (0.2, 0.4))
    assert at["critics"] == pytest.approx(critics)
    generators = 0.5 * (0.8**2 + 0.6**2)
    assert at["translators"] == pytest.approx(generators)
    # Each way there and back is off by 1, half of which is the Huber error; so is forth of rows of B, not back of A's.
    assert rounds(module, x, y, cycle_weight=10.0)["translators"] == pytest.approx(generators + 10 * 2 * 0.5)
    assert rounds(module, x, y, identity_weight=3.0)["translators"] == pytest.approx(generators + 3 * 0.5)


def test_a_critic_sees_replayed_rows():
    x, y, module = torch.zeros(4, 3), torch.ones(4, 3), gan()
    module.critics["a"], module.critics["b"] = (nn.Sequential(Linear(3, 1), nn.Flatten(0)) for _ in range(2))
    buffers = {"a": ReplayBuffer(0), "b": ReplayBuffer(0)}
    state = GameState(seeded(), memory=buffers)
    new = critic_loss(module, x, y, state, ADVERSARIAL_LOSSES["least_squares"]).item()
    buffers["b"] = ReplayBuffer(4)
    buffers["b"].rows = torch.full((4, 3), 9.0)
    assert critic_loss(module, x, y, state, ADVERSARIAL_LOSSES["least_squares"]).item() != pytest.approx(new)


def test_content_is_the_class_of_the_row_or_what_is_predicted_of_it():
    logits = torch.tensor([0.0, 1.0])
    classifier, rows = Constant(0.0, 1.0), torch.zeros(2, 3)
    log_p = logits.log_softmax(0)
    unknown = content_loss(classifier, rows, rows, torch.tensor([-1, -1])).item()
    assert unknown == pytest.approx(-(log_p.exp() * log_p).sum().item())
    assert content_loss(classifier, rows, rows, torch.tensor([0, 0])).item() == pytest.approx(-log_p[0].item())
    content_loss(nn.Linear(3, 2), rows, rows, torch.tensor([0, 1])).backward()


def test_errors_are_squared_near_zero_and_absolute_far_from_it():
    assert huber_error(torch.tensor([0.0, 0.2]), torch.zeros(2)).item() == pytest.approx(0.01)
    assert huber_error(torch.tensor([5.0]), torch.zeros(1)).item() == pytest.approx(4.5)


# -- what is learned


def test_it_starts_where_means_and_deviations_agree():
    """One step at no rate: the identity of standardised columns."""
    model = CycleGANTransformer(**{**CHEAP, "learning_rate": 1e-12}).fit(A, B)
    expected = (A - A.mean(0)) / A.std(0) * B.std(0) + B.mean(0)
    np.testing.assert_allclose(model.transform(A), expected.clip(B.min(0), B.max(0)), rtol=1e-4, atol=1e-4)
    assert model.cycle_error_ < 1e-6


def test_images_start_as_they_are():
    images = np.random.default_rng(0).random((50, 1, 4, 4))
    model = CycleGANTransformer(
        architecture=Convolutional((3,)), max_iter=1, learning_rate=1e-12, random_state=0, device="cpu"
    ).fit(images, 0.2 + 0.5 * images[:40])
    np.testing.assert_allclose(model.transform(images), images.clip(0.2, 0.7), atol=0.1)
    assert model.transform(images).shape == images.shape


def test_a_curved_map_is_learned_and_comes_back():
    """Of one column, in which cycles leave only the rising map."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4000, 1)), np.exp(rng.normal(size=(4000, 1)))
    options = {"architecture": (16, 16), "batch_size": 128, "learning_rate": 0.01, "random_state": 0, "device": "cpu"}
    start = CycleGANTransformer(**{**options, "max_iter": 1, "learning_rate": 1e-12}).fit(X, y)
    model = CycleGANTransformer(**options, max_iter=10).fit(X, y)
    assert start.identity_
    assert not model.identity_
    assert model.score(X, y) > 0.3 * start.score(X, y)
    assert model.cycle_error_ < 0.1
    assert spearmanr(X[:, 0], model.transform(X)[:, 0]).statistic > 0.98


def test_the_identity_is_kept_where_networks_translate_no_better():
    X = np.random.default_rng(0).normal(size=(700, 2))
    model = CycleGANTransformer(**{**CHEAP, "learning_rate": 1.0}).fit(X, X[::-1] * 2)
    assert model.identity_
    assert model.cycle_error_ < 1e-6
    np.testing.assert_allclose(model.transform(X), 2 * X, atol=0.2)


class Judged:
    """A net whose module translates by adding numbers."""

    def __init__(self, *shifts):
        self.plain_module = gan()
        with torch.no_grad():
            for name, shift in zip(("forth", "back"), shifts, strict=True):
                self.plain_module.averages[name].shift.fill_(shift)


def domains(n_a, n_b, gap=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.normal(mean, 1, (n, 3))).float() for n, mean in ((n_a, 0.0), (n_b, gap)))
    return Unpaired(x, y, torch.full((n_a,), -1), torch.full((n_b,), -1))


def test_what_rows_add_is_the_mean_energy_distance_of_both_ways():
    rows = domains(120, 70)
    found = energy_both_ways(Judged(0.5, -0.25), rows)
    there = energy_distance(rows.other.numpy(), rows.data.numpy() + 0.5).statistic
    back = energy_distance(rows.data.numpy(), rows.other.numpy() - 0.25).statistic
    assert len(found) == 190
    assert found.mean().item() == pytest.approx((there + back) / 2, rel=1e-4)


def test_the_standard_error_of_a_gain_is_that_of_new_rows():
    sets = [domains(90, 60, seed=seed) for seed in range(60)]
    falls = torch.stack(
        [energy_both_ways(Judged(0, 0), some) - energy_both_ways(Judged(0.8, -0.8), some) for some in sets]
    )
    claimed = (falls.std(1) / falls.shape[1] ** 0.5).mean()
    assert claimed == pytest.approx(falls.mean(1).std().item(), rel=0.25)


def test_the_identity_is_left_only_by_a_gain_beyond_chance():
    """A hundredth of a deviation brings these rows nearer by more than ``tol``, but by less than its standard error."""
    selection = RowFigures(20, 1e-4, energy_both_ways)

    def is_left(gap, seed):
        rows = domains(90, 60, gap, seed)
        start, end = energy_both_ways(Judged(0, 0), rows), energy_both_ways(Judged(0.01, -0.01), rows)
        return float(start.mean() - end.mean()) > selection.tol, selection.is_significant(start, end)

    found = [is_left(0.0, seed) for seed in range(20)]
    assert any(falls for falls, _ in found)
    assert not any(left for _, left in found)
    rows = domains(90, 60)
    assert selection.is_significant(energy_both_ways(Judged(0, 0), rows), energy_both_ways(Judged(1, -1), rows))


def test_a_classifier_learns_and_holds_the_content():
    labels_b = np.where(np.arange(70) < 50, np.arange(70) % 3, -1)
    model = CycleGANTransformer(**{**CHEAP, "max_iter": 5}).fit(A, B, labels_b=labels_b)
    assert set(model.loss_curves_) == {"classifier", "critics", "translators"}
    assert model.loss_curves_["classifier"][-1] < model.loss_curves_["classifier"][0]
    without = CycleGANTransformer(**{**CHEAP, "max_iter": 5}).fit(A, B)
    assert set(without.loss_curves_) == {"critics", "translators"}
    both = CycleGANTransformer(**CHEAP).fit(A, B, labels_a=np.arange(90) % 3, labels_b=labels_b)
    assert pickle.loads(pickle.dumps(both)).net_.module_.classifier is not None


@pytest.mark.parametrize("labels_a", [None, np.arange(90) % 2, np.full(90, -1)])
def test_a_chunk_may_lack_classes(labels_a):
    model = CycleGANTransformer(**CHEAP).partial_fit(A, B, labels_a=np.arange(90) % 3)
    assert np.isfinite(model.partial_fit(A, B, labels_a=labels_a).transform(A)).all()


def test_all_known_classes_may_be_held_out():
    labels = np.where(np.arange(90) == 4, 0, -1)  # one row, which one of the four folds holds out
    model = CycleGANTransformer(**CHEAP, early_stopping=True).fit(A, B, labels_a=labels)
    assert np.isfinite(model.transform(A)).all()


# -- what it promises


def test_fits_agree_and_copies_and_files_say_the_same(model, tmp_path):
    before = torch.random.get_rng_state()
    expected = outputs(model.fit(A, B))
    assert_same(outputs(clone(model).fit(A, B)), expected)
    save(model, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), load(tmp_path / "model")):
        assert_same(outputs(opened), expected)
        opened.partial_fit(A, B)
        assert opened.set_params(warm_start=True).fit(A, B).n_iter_ > model.n_iter_
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_row_is_bit_equal_whatever_the_other_rows(model):
    model.fit(A, B)
    many = np.random.default_rng(1).normal(size=(1100, 3))
    order = np.random.default_rng(2).permutation(1100)
    for translate in (model.transform, model.inverse_transform):
        expected = translate(many)
        for some in (order, order[:1], order[:63]):
            np.testing.assert_array_equal(translate(many[some]), expected[some])


def test_units_do_not_matter(model):
    small, large = outputs(clone(model).fit(A, B)), clone(model).fit(1024 * A, 2 * B)
    np.testing.assert_array_equal(2 * small["forth"], large.transform(1024 * A))
    np.testing.assert_array_equal(1024 * small["back"], large.inverse_transform(2 * B))


def test_dtypes_names_and_containers(model):
    frame = pd.DataFrame(A.astype(np.float32), columns=list("abc"))
    model.set_output(transform="pandas").fit(frame, pd.DataFrame(B, columns=list("xyz")))
    there = model.transform(frame)
    assert list(there.columns) == ["x", "y", "z"] == list(model.get_feature_names_out())
    assert there.dtypes.unique().tolist() == [np.float32]
    assert list(model.inverse_transform(there).columns) == list("abc")
    assert list(clone(model).fit(A, B).get_feature_names_out()) == [f"cyclegantransformer{i}" for i in range(3)]


def test_rows_of_different_shapes_are_translated():
    images = np.random.default_rng(0).random((50, 1, 8, 8))
    model = CycleGANTransformer(
        5, architecture=Convolutional((3,)), critic=Convolutional((2,)), max_iter=2, random_state=0, device="cpu"
    ).fit(images, images[:30, :, :4, :6])
    assert model.transform(images[:3]).shape == (3, 1, 4, 6)
    assert model.inverse_transform(images[:3, :, :4, :6]).shape == (3, 1, 8, 8)
    assert not model.identity_
    assert CycleGANTransformer(**CHEAP).fit(A, B[:, 0]).transform(A).shape == (90, 1)


def test_in_a_pipeline_and_in_a_search():
    pipeline = make_pipeline(StandardScaler(), CycleGANTransformer(**CHEAP)).fit(A, B)
    assert pipeline.transform(A).shape == (90, 3)
    np.testing.assert_allclose(pipeline.inverse_transform(pipeline.transform(A)), A, atol=2)
    search = GridSearchCV(CycleGANTransformer(**CHEAP), {"cycle_weight": [1.0, 10.0]}, cv=2).fit(A[:70], B)
    assert search.best_score_ <= 0


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({}, {"y": B, "labels_a": [0, 1]}, "labels_a must be one class for each of 90 rows, got 2"),
        ({}, {"y": B[:, :2], "labels_a": np.arange(90) % 2}, "rows of one shape"),
        ({"identity_weight": 1.0}, {"y": B[:, :2]}, "identity_weight must be 0"),
        ({"init": "identity"}, {"y": B[:, :2]}, "init='identity' needs rows of one shape"),
        ({"net_params": {"compile": True}}, {"y": B}, "compile"),
        ({}, {"y": None}, "requires y"),
    ],
)
def test_what_cannot_be_fitted_is_said(settings, given, said):
    with pytest.raises(ValueError, match=said):
        CycleGANTransformer(**CHEAP, **settings).fit(A, **given)


@pytest.mark.parametrize(
    "y", [np.arange(90) % 3, (np.arange(90) % 2).tolist(), pd.Series(np.arange(90) % 3, dtype="Int64"), A[:, 0] > 0]
)
def test_classes_as_the_second_domain_give_a_warning(y):
    with pytest.warns(UserWarning, match="look like classes .* as labels_a"):
        CycleGANTransformer(**CHEAP).fit(A, y)


@pytest.mark.parametrize("y", [A[:, 0], (np.arange(90) % 3).reshape(-1, 1)])
def test_one_column_as_the_second_domain_gives_no_warning(y, recwarn):
    CycleGANTransformer(**CHEAP).fit(A, y)
    assert not [w for w in recwarn if "classes" in str(w.message)]


def test_a_further_fit_needs_the_same_domains():
    model = CycleGANTransformer(**CHEAP, warm_start=True).fit(A, B)
    with pytest.raises(ValueError, match="y must have rows of shape"):
        model.fit(A, B[:, :2])
    with pytest.raises(ValueError, match="labels_a and labels_b must hold 0 classes at most"):
        model.fit(A, B, labels_a=np.arange(90) % 2)
    with pytest.raises(ValueError, match="X must have 3 columns, one for each of domain B, got 2"):
        model.inverse_transform(B[:, :2])
