"""The recommender: what it learns, sparse rows of every form, users without items, items of nobody, files, refusals."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sk_autoenc import MLP, AutoencoderRecommender, Convolutional, load, save
from sk_autoenc.data.interactions import Interactions, best_first
from sk_autoenc.estimators import recommender
from sk_autoenc.estimators.recommender import blended, negative_bound
from sk_autoenc.metrics import fold_in_split, ndcg_at_k
from sk_autoenc.nn.recommender import RecommenderOutput
from sk_autoenc.nn.variational import Posterior
from sk_autoenc.training.inference import LARGE_BLOCK
from tests.instances import RECOMMENDERS, describe

CHEAP = {"n_components": 2, "max_iter": 3, "random_state": 0, "device": "cpu"}


def groups_of_users(n_users=300, seed=0):
    """Two kinds of users, each with its own half of 20 items, of which they have a third."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n_users) % 2
    likes = np.where((np.arange(20) < 10)[None] == (kind == 0)[:, None], 0.4, 0.02)
    return sparse.csr_array((rng.random(likes.shape) < likes).astype(float)), kind


X, KIND = groups_of_users()


@pytest.fixture(params=RECOMMENDERS, ids=describe)
def model(request):
    return clone(request.param)


def outputs(fitted, X):
    found = fitted.recommend(X, 5)
    return {"scores": fitted.score_items(X), "codes": fitted.transform(X), "items": found.items, "best": found.scores}


def assert_same(left, right):
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# -- what is learned


def test_the_objective_in_closed_form():
    posterior = Posterior(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    block = recommender.all_of(sparse.csr_array([[1.0, 0.0, 2.0]]))
    batch = recommender.Batch(block)
    terms = negative_bound(RecommenderOutput(torch.zeros(1, 3), posterior), batch, beta=0.5, kl_weight=0.5)
    assert terms["reconstruction"].item() == pytest.approx(3 * np.log(3))
    assert terms["kl"].item() == pytest.approx(0.25 * 0.5)
    assert set(negative_bound(RecommenderOutput(torch.zeros(1, 3), None), batch, beta=0.5)) == {"reconstruction"}


@pytest.mark.parametrize("settings", [{}, {"kind": "variational"}, {"blend": 0}, {"blend": 1}])
def test_users_are_recommended_what_is_liked_by_users_like_them(settings):
    options = {**CHEAP, "n_components": 4, "max_iter": 15, "learning_rate": 0.02, "early_stopping": False}
    fitted = AutoencoderRecommender(**{**options, **settings}).fit(X)
    others, kind = groups_of_users(100, seed=1)
    has_some = np.diff(others.indptr) > 1
    items = fitted.recommend(others[has_some], 3).items
    assert ((items < 10) == (kind[has_some] == 0)[:, None]).mean() > 0.9


def test_score_is_the_ndcg_of_hidden_items():
    fitted = AutoencoderRecommender(**CHEAP).fit(X)
    users = X[np.diff(X.indptr) > 1]
    shown, hidden = fold_in_split(users, 0.8, random_state=0)
    expected = ndcg_at_k(hidden, fitted.score_items(shown), 100, exclude=shown).mean()
    assert fitted.score(X) == pytest.approx(expected)


def test_similar_items_are_liked_by_the_same_users():
    fitted = AutoencoderRecommender(**{**CHEAP, "blend": 0}).fit(X)
    found = fitted.similar_items([2, 15], 4)
    assert (found.items[0] < 10).all()
    assert (found.items[1] >= 10).all()
    assert 2 not in found.items[0]
    np.testing.assert_array_equal(fitted.similar_items(2, 4).items, found.items[:1])


def test_the_blend_is_the_mean_of_standardised_scores():
    rng = np.random.default_rng(0)
    net, linear = rng.standard_normal((4, 6)), 100 * rng.standard_normal((4, 6)) + 7
    popularity, none = np.ones(6), np.zeros(4, dtype=bool)

    def z(scores):
        return (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)

    np.testing.assert_allclose(blended(net, linear, 0.25, popularity, none), 0.25 * z(net) + 0.75 * z(linear), 1e-5)
    np.testing.assert_allclose(blended(net, linear, 1.0, popularity, none), z(net), 1e-5)
    np.testing.assert_allclose(blended(None, linear, 0.0, popularity, none), z(linear), 1e-5)


def test_ease_alone_is_used_where_held_out_users_say_so():
    """A network that has not learned is dropped, if blend="auto"."""
    many, _ = groups_of_users(3000)
    options = {**CHEAP, "validation_fraction": 0.4}
    hardly = AutoencoderRecommender(**{**options, "max_iter": 1, "learning_rate": 1e-9}).fit(many)
    assert hardly.blend_ == 0
    assert hardly.set_params(blend=0.5).fit(many).blend_ == 0.5
    well = AutoencoderRecommender(**{**options, "max_iter": 10, "learning_rate": 0.02}).fit(many)
    assert well.blend_ == 0.5


def test_the_penalty_is_chosen_by_held_out_users_or_given():
    assert AutoencoderRecommender(**CHEAP).fit(X).l2_ in recommender._L2
    assert AutoencoderRecommender(**CHEAP, l2=3.0).fit(X).l2_ == 3
    given = AutoencoderRecommender(**CHEAP, l2=3.0, blend=0).fit(X)
    expected = recommender.ease_weights(recommender.item_gram(X), 3.0)
    np.testing.assert_allclose(given.linear_weights_, expected, atol=1e-6)


def test_no_network_is_trained_for_a_blend_of_zero():
    fitted = AutoencoderRecommender(**CHEAP, blend=0).fit(X)
    assert (fitted.n_iter_, fitted.loss_curve_) == (0, [])
    with pytest.raises(ValueError, match="blend=0"):
        fitted.transform(X)


# -- users and items at the edge


def test_users_without_items_get_the_popular_ones(model):
    model.fit(X)
    found = model.recommend(sparse.csr_array((2, 20)), 20).items
    popularity = X.sum(axis=0)
    assert (np.diff(popularity[found[0]]) <= 0).all()
    np.testing.assert_array_equal(found[0], found[1])


def test_items_of_nobody_come_last(model):
    seen = X.toarray()
    seen[:, [0, 13]] = 0
    model.fit(sparse.csr_array(seen))
    assert set(model.recommend(X, 20, exclude_seen=False).items[0][-2:]) == {0, 13}
    assert np.isfinite(model.score_items(X)).all()


def test_what_users_have_is_recommended_only_if_asked_for(model):
    model.fit(X)
    items = model.recommend(X, 8).items
    assert not np.take_along_axis(X.toarray(), items, axis=1).any()
    assert np.take_along_axis(X.toarray(), model.recommend(X, 8, exclude_seen=False).items, axis=1).any()
    most = sparse.csr_array((np.arange(20) > 1).astype(float)[None])
    found = model.recommend(most, 4)
    assert sorted(found.items[0].tolist()) == [-1, -1, 0, 1]
    assert np.isneginf(found.scores[0, 2:]).all()


def test_stored_zeros_are_no_entries(model):
    stored = X.copy()
    stored.data[::3] = 0
    without = stored.copy()
    without.eliminate_zeros()
    assert_same(outputs(clone(model).fit(stored), stored), outputs(model.fit(without), without))


def test_low_ratings_do_not_count_but_are_not_recommended():
    rated = X.copy()
    rated.data = np.random.default_rng(0).integers(1, 6, rated.nnz).astype(float)
    liked = sparse.csr_array((rated.data >= 4, rated.indices, rated.indptr), shape=rated.shape).astype(float)
    by_rating = AutoencoderRecommender(**CHEAP, threshold=4).fit(rated)
    by_like = AutoencoderRecommender(**CHEAP).fit(liked)
    np.testing.assert_array_equal(by_rating.score_items(rated), by_like.score_items(liked))
    assert not np.take_along_axis(rated.toarray(), by_rating.recommend(rated, 5).items, axis=1).any()
    low_and_negative = rated - 2.5 * rated.sign()
    assert AutoencoderRecommender(**CHEAP, threshold=1.5).fit(low_and_negative).blend_ == by_rating.blend_
    assert by_rating.similar_items(3, 2).items.shape == (1, 2)


# -- rows of every form


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, np.asarray, pd.DataFrame])
def test_every_form_of_rows_gives_the_same(model, form):
    given = X.toarray() if form in (np.asarray, pd.DataFrame) else X
    expected = outputs(clone(model).fit(X), X)
    given = form(given)
    assert_same(outputs(model.fit(given), given), expected)


def test_a_user_is_bit_equal_whatever_the_other_users(model):
    many, _ = groups_of_users(LARGE_BLOCK + 70, seed=2)
    expected = outputs(model.fit(X), many)
    order = np.random.default_rng(2).permutation(many.shape[0])
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:63], order[:65]):
                assert_same(outputs(model, many[rows]), {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


def test_fits_agree_and_copies_and_files_say_the_same(model, tmp_path):
    before = torch.random.get_rng_state()
    expected = outputs(model.set_params(max_iter=4).fit(X), X)
    assert_same(outputs(clone(model).fit(X), X), expected)
    save(model, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        assert opened.score(X) == model.score(X)
        opened.set_params(warm_start=True).fit(X)
        assert opened.n_iter_ > model.n_iter_
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_file_whose_parts_do_not_go_together_is_refused(tmp_path):
    fitted = AutoencoderRecommender(**CHEAP, l2=3.0).fit(X)
    for name, value in (
        ("blend_", 2.0),
        ("l2_", None),
        ("item_popularity_", np.ones(3)),
        ("linear_weights_", np.zeros((3, 3), dtype=np.float32)),
        ("linear_weights_", np.full((20, 20), np.nan, dtype=np.float32)),
    ):
        broken = copy.deepcopy(fitted)
        setattr(broken, name, value)
        with pytest.raises(ValueError, match=name):
            save(broken, tmp_path / "model")


def test_names_and_containers():
    frame = pd.DataFrame(X.toarray(), columns=[f"film {i}" for i in range(20)])
    fitted = AutoencoderRecommender(**CHEAP).set_output(transform="pandas").fit(frame)
    scores = fitted.score_items(frame)
    assert list(scores.columns) == list(frame.columns)
    assert list(fitted.transform(frame).columns) == ["autoencoderrecommender0", "autoencoderrecommender1"]
    assert fitted.similar_items(0, 2).items.shape == (1, 2)
    as_sparse = frame.astype(pd.SparseDtype(float, 0))
    pd.testing.assert_frame_equal(fitted.score_items(as_sparse), scores)


# -- inside scikit-learn


def test_parameters_in_a_search():
    grid = {"n_components": [1, 3], "architecture__activation": ["relu"], "blend": [0.5, 1.0]}
    search = GridSearchCV(AutoencoderRecommender(max_iter=2, random_state=0), grid, cv=2).fit(X)
    assert 0 < search.best_score_ < 1
    assert search.best_estimator_.architecture.activation == "relu"


def test_networks_are_scored_while_they_train():
    """By a callback, before the linear model is fitted."""

    class Scores(Callback):
        found = []

        def on_epoch_end(self, net, **kwargs):
            self.found.append(fitted.score(X))

    fitted = AutoencoderRecommender(**CHEAP, callbacks=[Scores()], early_stopping=False)
    fitted.fit(X)
    assert len(Scores.found) == fitted.n_iter_ == 3


def test_the_epoch_is_chosen_by_the_ranking_of_held_out_users():
    many, _ = groups_of_users(700)
    fitted = AutoencoderRecommender(**{**CHEAP, "max_iter": 6}).fit(many)
    assert len(fitted.validation_loss_curve_) == fitted.n_iter_
    assert -1 <= min(fitted.validation_loss_curve_) < 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"baseline": None, "blend": 0.5}, "blend must be 'auto' or 1"),
        ({"architecture": Convolutional((3,))}, "architecture must be an MLP"),
        ({"architecture": MLP((), code_activation="tanh"), "kind": "variational"}, "code_activation"),
        ({"net_params": {"compile": True}}, "compile"),
        ({"threshold": 9.0}, "threshold=9"),
    ],
)
def test_what_cannot_be_fitted_is_said(settings, said):
    with pytest.raises(ValueError, match=said):
        AutoencoderRecommender(**CHEAP, **settings).fit(X)


def test_ease_of_too_many_items_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(recommender, "MOST_EASE_ITEMS", 19)
    with pytest.raises(ValueError, match=r"19 items.*got 20; use baseline=None"):
        AutoencoderRecommender(**CHEAP).fit(X)
    assert AutoencoderRecommender(**CHEAP, baseline=None).fit(X).linear_weights_ is None


def test_bad_calls_name_what_is_wrong():
    fitted = AutoencoderRecommender(**CHEAP).fit(X)
    for call, said in (
        (lambda: fitted.recommend(X, 21), "n_items"),
        (lambda: fitted.similar_items(20), "from 0 to 19"),
        (lambda: fitted.similar_items([0.5]), "integer"),
        (lambda: fitted.score(sparse.csr_array(np.eye(20))), "two items"),
        (lambda: fitted.recommend(-X), "threshold"),
        (lambda: fitted.recommend(X[:, :5]), "features"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert not hasattr(fitted, "partial_fit")


def test_entries_of_one_cell_are_summed_before_they_are_compared_with_the_threshold():
    twice = sparse.csr_array(([2.0, 2.0, 5.0, 5.0], [1, 1, 0, 0], [0, 2, 4]), shape=(2, 3))
    assert Interactions(3, threshold=3.0).counted(twice).toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
    assert twice.nnz == 4


def test_of_equal_scores_the_lower_columns_come_first():
    scores = np.zeros((2, 2000), dtype=np.float32)
    scores[1, [1500, 7]] = 1.0
    assert best_first(scores, 4).tolist() == [[0, 1, 2, 3], [7, 1500, 0, 1]]
    assert best_first(np.full((1, 3), -np.inf), 5).tolist() == [[0, 1, 2]]


def test_excluded_items_are_no_true_ones():
    has, shown = sparse.csr_array([[1, 1, 0], [1, 0, 0]]), sparse.csr_array([[1, 0, 0], [1, 0, 0]])
    scores = np.array([[3.0, 2.0, 1.0]] * 2)
    assert ndcg_at_k(has, scores, k=3, exclude=shown).tolist() == [1.0]  # the second user has nothing to find
    with pytest.raises(ValueError, match=r"exclude must have the shape \(2, 3\)"):
        ndcg_at_k(has, scores, exclude=shown[:1])
