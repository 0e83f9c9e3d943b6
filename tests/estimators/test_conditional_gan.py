"""The conditional generative adversarial network: targets of every kind, its critic, and added rows of rare classes."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris

from sk_autoenc import ConditionalGANSampler, Convolutional, load, save
from sk_autoenc.data.conditions import ConditionedRows, is_continuous
from sk_autoenc.data.resampling import rows_to_add
from sk_autoenc.likelihoods import Gaussian
from sk_autoenc.nn.gan import Critic
from tests.instances import CONDITIONAL_SAMPLERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}


@pytest.fixture(params=CONDITIONAL_SAMPLERS, ids=["concatenation", "projection"])
def sampler(request):
    return clone(request.param)


def outputs(model):
    z = np.random.default_rng(1).standard_normal((70, model.n_components_))
    rows, y = model.sample(40, random_state=0)
    return {"rows": rows, "y": y, "inverse": model.inverse_transform(z, np.arange(70) % 3)}


def assert_same(left, right):
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# -- what it promises


def test_two_fits_agree_and_copies_draw_the_same(sampler, tmp_path):
    expected = outputs(sampler.fit(X, Y))
    assert_same(outputs(clone(sampler).fit(X, Y)), expected)
    save(sampler, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler), load(tmp_path / "model")):
        assert_same(outputs(opened), expected)
        opened.partial_fit(X, Y)


@pytest.mark.parametrize(
    "labels", [np.array(["a", "bcd", "e"]), np.array(["a", "bcd", "e"], dtype=object), np.arange(3)]
)
def test_labels_and_a_strategy_come_back_from_a_file(labels, tmp_path):
    y, wanted = labels[Y], {labels[2]: np.int64(60)}
    model = ConditionalGANSampler(**CHEAP, sampling_strategy=wanted)
    model.fit_resample(X, y)
    save(model, tmp_path / "model")
    opened = load(tmp_path / "model")
    assert opened.sampling_strategy == wanted
    assert opened.sampling_strategy_ == {labels[2]: 10}
    for found, expected in zip((opened.classes_, *opened.sample(9, 0)), (labels, *model.sample(9, 0)), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_what_no_file_holds_is_named(tmp_path):
    model = ConditionalGANSampler(**CHEAP).fit(X, Y)
    for strategy, said in ((lambda y: {0: 60}, "if it is a function"), ({(0, 1): 60}, "neither numbers nor strings")):
        with pytest.raises(ValueError, match=said):
            save(model.set_params(sampling_strategy=strategy), tmp_path / "model")


def test_no_global_generator_is_read(sampler):
    before = torch.random.get_rng_state()
    outputs(sampler.fit(X, Y))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_units_do_not_matter(sampler):
    small, large = outputs(clone(sampler).fit(X, Y)), outputs(clone(sampler).fit(1024 * X, Y))
    np.testing.assert_array_equal(1024 * small["rows"], large["rows"])


def test_a_row_is_bit_equal_in_any_company(sampler):
    sampler.fit(X, Y)
    z, y = np.random.default_rng(0).standard_normal((1100, 4)), np.arange(1100) % 3
    expected, order = sampler.inverse_transform(z, y), np.random.default_rng(2).permutation(1100)
    for some in (order, order[:1], order[:63]):
        np.testing.assert_array_equal(sampler.inverse_transform(z[some], y[some]), expected[some])


def test_a_class_is_learned():
    """A class in the corner where its rows are, and apart from the others."""
    y = np.repeat(["left", "right"], 100)
    rows = np.random.default_rng(0).standard_normal((200, 2)) * 0.3 + np.where(y == "left", -1, 1)[:, None]
    for conditioning in ("concatenation", "projection"):
        model = ConditionalGANSampler(
            architecture=(16, 16),
            max_iter=40,
            batch_size=32,
            ema=0.99,
            conditioning=conditioning,
            random_state=0,
            device="cpu",
        ).fit(rows, y)
        drawn, labels = model.sample(100, y=["right", "left"], random_state=0)
        assert labels.tolist() == ["right"] * 100 + ["left"] * 100
        assert (drawn[:100, 0] > 0).mean() > 0.9
        assert (drawn[100:, 0] < 0).mean() > 0.9
        assert model.classes_.tolist() == ["left", "right"]


# -- targets


def test_proportions_are_those_of_the_training_rows():
    y = np.repeat([5, 7, 9], [100, 40, 10])
    drawn = ConditionalGANSampler(**CHEAP).fit(X, y).sample(3000, random_state=0)[1]
    assert drawn.dtype == y.dtype
    np.testing.assert_allclose([(drawn == label).mean() for label in (5, 7, 9)], [2 / 3, 4 / 15, 1 / 15], atol=0.03)


def conditioned(y):
    return ConditionedRows(Gaussian(), (4,), "float64", by_feature=True).fit(X, np.arange(len(X)), y)


def test_classes_become_indicators_and_numbers_are_standardised():
    y = pd.DataFrame({"kind": np.where(Y == 0, "a", "b"), "length": X[:, 0] + 0.25})
    data = conditioned(y)
    read = data.encode(y)
    assert data.n_condition == read.shape[1] == 3
    np.testing.assert_array_equal(read[:, 0], Y == 0)
    np.testing.assert_array_equal(read[:, 1], Y != 0)
    np.testing.assert_allclose(read[:, 2], (X[:, 0] - X[:, 0].mean()) / X[:, 0].std(), atol=1e-6)
    assert data.counts.sum() == len(X)


def test_several_columns_and_continuous_targets():
    model = ConditionalGANSampler(**CHEAP).fit(X, np.column_stack([Y, X[:, 0]]))
    rows, y = model.sample(2, y=[[0, 5.1], [2, 6.0]], random_state=0)
    assert rows.shape == (4, 4)
    np.testing.assert_array_equal(y, [[0, 5.1], [0, 5.1], [2, 6.0], [2, 6.0]])
    assert model.sample(5, random_state=0)[1].shape == (5, 2)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("library", [pd, pl])
def test_frames(library):
    frame = library.DataFrame({name: X[:, i] for i, name in enumerate("abcd")})
    model = ConditionalGANSampler(**CHEAP).set_output(transform=library.__name__).fit(frame, library.Series(Y))
    rows, y = model.sample(3, random_state=0)
    assert isinstance(rows, library.DataFrame)
    assert len(y) == 3


def test_bad_targets_name_themselves():
    model = ConditionalGANSampler(**CHEAP)
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(X, None)
    with pytest.raises(ValueError, match="X 150, y 3"):
        model.fit(X, [0, 1, 2])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, np.where(Y == 0, np.nan, Y + 0.5))
    model.fit(X, Y)
    with pytest.raises(ValueError, match=r"y holds 7, but the classes of the fit were \[0, 1, 2\]"):
        model.sample(y=[7])
    with pytest.raises(ValueError, match="y has 2 columns, but the fit had 1"):
        model.sample(y=[[0, 1]])
    series = ConditionalGANSampler(architecture=Convolutional((2,), input_shape=(1, 4)), conditioning="concatenation")
    with pytest.raises(ValueError, match="conditioning='concatenation' needs a critic that is an MLP"):
        series.fit(X, Y)


def test_images_of_a_class():
    images = np.random.default_rng(0).uniform(size=(20, 1, 4, 4)).astype(np.float32)
    model = ConditionalGANSampler(3, **{**CHEAP, "architecture": Convolutional((3,))}).fit(images, np.arange(20) % 2)
    rows, y = model.sample(2, y=[1], random_state=0)
    assert rows.shape == (2, 1, 4, 4)
    assert y.tolist() == [1, 1]


def test_a_projection_is_the_inner_product_with_the_condition():
    critic = Critic(torch.nn.Identity(), n_projected=3, n_features=2)
    with torch.no_grad():
        critic.head.weight.copy_(torch.tensor([[1.0, 10.0]]))
        critic.head.bias.fill_(0.5)
        critic.projection.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]))
        critic.projection.bias.zero_()
    x = torch.tensor([[2.0, 3.0], [-1.0, 1.0]])  # leaky ReLU makes -0.2 of -1
    condition = torch.eye(3)[[1, 2]]
    torch.testing.assert_close(critic(x, condition), torch.tensor([32.5 + 2 * 2.0, -0.2 + 10.5 + 3 * -0.2 + 1.0]))


# -- added rows


@pytest.mark.parametrize(
    ("strategy", "added"),
    [
        ("auto", {1: 30, 2: 40}),
        ("not majority", {1: 30, 2: 40}),
        ("minority", {2: 40}),
        ("not minority", {0: 0, 1: 30}),
        ("all", {0: 0, 1: 30, 2: 40}),
        ({1: 25}, {1: 5}),
        (lambda y: {2: 11}, {2: 1}),
    ],
)
def test_strategies_are_those_of_imbalanced_learn(strategy, added):
    assert rows_to_add(strategy, np.repeat([0, 1, 2], [50, 20, 10])) == added


def test_a_ratio_of_two_classes():
    y = np.repeat([0, 1], [50, 20])
    assert rows_to_add(0.5, y) == {1: 5}
    with pytest.raises(ValueError, match=r"ratio is 0\.4 already"):
        rows_to_add(0.3, y)
    with pytest.raises(ValueError, match="y has 3"):
        rows_to_add(0.5, np.arange(3))
    with pytest.raises(ValueError, match="asks for 3 rows of class 1, of which there are 20"):
        rows_to_add({1: 3}, y)
    with pytest.raises(ValueError, match="names the class 9"):
        rows_to_add({9: 30}, y)
    with pytest.raises(ValueError, match="more than 1 class"):
        rows_to_add("auto", np.zeros(5))
    with pytest.raises(ValueError, match="sampling_strategy must be one of"):
        rows_to_add("some", y)


def test_rare_classes_get_drawn_rows_and_the_others_stay():
    chosen = np.r_[:50, 50:70, 100:110]
    model = ConditionalGANSampler(**CHEAP)
    X_new, y_new = model.fit_resample(X[chosen], Y[chosen])
    np.testing.assert_array_equal(X_new[:80], X[chosen])
    assert np.bincount(y_new).tolist() == [50, 50, 50]
    assert model.sampling_strategy_ == {1: 30, 2: 40}
    again = ConditionalGANSampler(**CHEAP).fit_resample(X[chosen], Y[chosen])[0]
    np.testing.assert_array_equal(again, X_new)


def test_what_is_added_has_the_form_of_what_came():
    chosen = np.r_[:50, 50:70]
    frame, labels = pd.DataFrame(X[chosen], columns=list("abcd")), pd.Series(Y[chosen], name="kind")
    frame["d"] = np.rint(frame["d"] * 10).astype(int)
    X_new, y_new = ConditionalGANSampler(**CHEAP).fit_resample(frame, labels)
    assert X_new.dtypes.equals(frame.dtypes)
    assert (y_new.name, y_new.dtype, len(y_new)) == ("kind", labels.dtype, 100)
    X_list, y_list = ConditionalGANSampler(**CHEAP).fit_resample(X[chosen].tolist(), Y[chosen].tolist())
    assert isinstance(X_list, list)
    assert isinstance(y_list, list)
    X_32, _ = ConditionalGANSampler(**CHEAP).fit_resample(X[chosen].astype(np.float32), Y[chosen].astype(str))
    assert X_32.dtype == np.float32
    with pytest.raises(ValueError, match="balances classes"):
        ConditionalGANSampler(**CHEAP).fit_resample(X, X[:, 0] + 0.5)


def test_many_different_floats_are_numbers_and_integers_are_classes():
    assert is_continuous(np.arange(60.0))
    assert not is_continuous(np.arange(60))
    assert not is_continuous(np.repeat([0.0, 1.0], 30))
    assert is_continuous(np.array([0.5, 1.0]))


def test_columns_of_targets_are_found_by_their_names():
    targets = pd.DataFrame({"kind": Y, "length": X[:, 2] + 0.01})
    model = ConditionalGANSampler(**CHEAP).fit(X, targets)
    wanted = pd.DataFrame({"length": [1.4, 5.5], "kind": [0, 2]})
    rows, y = model.sample(3, 0, y=wanted)
    np.testing.assert_array_equal(rows, model.sample(3, 0, y=wanted[["kind", "length"]])[0])
    np.testing.assert_array_equal(y[:, 0], [0, 0, 0, 2, 2, 2])
    with pytest.raises(ValueError, match=r"y has the columns \['width', 'kind'\], but the fit had"):
        model.sample(y=wanted.rename(columns={"length": "width"}))


def test_targets_far_outside_those_of_the_fit_are_called_a_guess():
    model = ConditionalGANSampler(**CHEAP).fit(X[:, :3], X[:, 3] + 0.01)
    with pytest.warns(UserWarning, match=r"y holds 9, far outside the targets of the fit, which are in \[0.11, 2.51\]"):
        model.sample(y=[9.0])


def test_one_target_needs_no_list():
    model = ConditionalGANSampler(**CHEAP).fit(X, Y)
    rows, y = model.sample(4, 0, y=2)
    np.testing.assert_array_equal(rows, model.sample(4, 0, y=[2])[0])
    assert y.tolist() == [2, 2, 2, 2]
