"""What ``fit`` is given beside rows: groups that are held out together, and arguments that it does not take."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    GANSampler,
    NegativeBinomial,
    ReconstructionOutlierDetector,
    VAETransformer,
)
from sk_autoenc.data.splits import N_FOLDS, make_splits, split_groups
from sk_autoenc.data.validation import check_groups

rng = np.random.default_rng(0)
X = rng.standard_normal((80, 4)) @ rng.standard_normal((4, 4))
PEOPLE = np.repeat([f"person {i}" for i in range(16)], 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def split(groups, **options):
    groups = check_groups(groups, len(groups))
    return make_splits(len(groups), 0.2, seeded(), **{"is_first": True, "seen_all": False, "groups": groups, **options})


@pytest.mark.parametrize("sizes", [[5] * 16, [40, 20, 10, 5, 3, 2], [60, 20]], ids=str)
def test_folds_keep_groups_together(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    folds = split(groups)
    assert len(folds) == min(N_FOLDS, len(sizes))
    assert sorted(row for _, held_out in folds for row in held_out.tolist()) == list(range(len(groups)))
    for chosen, held_out in folds:
        assert not set(groups[chosen]) & set(groups[held_out])
        assert len(chosen) + len(held_out) == len(groups)


def test_a_split_holds_out_whole_groups_of_about_the_fraction():
    groups = rng.integers(0, 60, 900)
    ((chosen, held_out),) = split(groups)
    assert not set(groups[chosen]) & set(groups[held_out])
    assert len(held_out) == pytest.approx(180, abs=15)
    assert len(split_groups(np.repeat([0, 1], 400), 0.01, seeded())[1]) == 400  # one group at least
    for seed in range(6):
        assert len(split_groups(np.repeat([0, 1], [900, 100]), 0.1, seeded(seed))[1]) == 100


def test_a_single_group_cannot_be_split():
    assert split(np.zeros(900)) == ()
    assert not AutoencoderTransformer(1, max_iter=2, random_state=0).fit(X, groups=np.zeros(80)).validation_loss_curve_


class Watch(Callback):
    """Notes which rows train and which are held out."""

    seen: list = []  # shared, since estimators copy their callbacks

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if dataset_valid is not None:
            Watch.seen.append((dataset_train.index.numpy(), dataset_valid.index.numpy()))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
def test_networks_are_evaluated_on_groups_that_they_have_not_seen(kind):
    Watch.seen.clear()
    model = kind(1, architecture=(4,), max_iter=2, callbacks=[Watch()], early_stopping=True, random_state=0)
    model.fit(X, groups=PEOPLE)
    assert len(Watch.seen) >= N_FOLDS
    for chosen, held_out in Watch.seen:
        assert not set(PEOPLE[chosen]) & set(PEOPLE[held_out])


def test_samplers_hold_out_whole_groups_for_their_figures():
    Watch.seen.clear()
    rows, groups = rng.normal(size=(700, 2)), np.repeat(np.arange(70), 10)
    GANSampler(architecture=(4,), critic=(4,), max_iter=1, callbacks=[Watch()], random_state=0).fit(rows, groups=groups)
    ((chosen, held_out),) = Watch.seen
    assert not set(groups[chosen]) & set(groups[held_out])


def test_groups_are_labels_of_one_kind():
    with pytest.raises(ValueError, match="groups must be labels of one kind"):
        AutoencoderTransformer(1).fit(X, groups=["a", None] * 40)


def test_groups_are_one_label_a_row():
    with pytest.raises(ValueError, match=r"groups must be one label for each of the 80 rows of X, got shape \(79,\)"):
        AutoencoderTransformer(1).fit(X, groups=PEOPLE[:79])


def test_groups_go_through_searches_and_pipelines():
    Watch.seen.clear()
    with config_context(enable_metadata_routing=True):
        model = AutoencoderTransformer(1, max_iter=1, callbacks=[Watch()], random_state=0).set_fit_request(groups=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler(), model),
            {"autoencodertransformer__n_components": [1, 2]},
            cv=GroupKFold(2).set_split_request(groups=True),
        )
        search.fit(X, groups=PEOPLE)
    assert Watch.seen


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_argument_that_is_not_taken_names_the_public_class(kind, method):
    message = rf"{kind.__name__}\.{method}: got an unexpected keyword argument 'sample_weight'; rows cannot be weighted"
    with pytest.raises(TypeError, match=message):
        getattr(kind(), method)(X, sample_weight=np.ones(80))


@pytest.mark.parametrize(("kind", "way"), [(AutoencoderTransformer, "inpaint fills cells"), (VAETransformer, "before")])
def test_missing_values_name_the_way_out(kind, way):
    rows = X.copy()
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match=rf"contains NaN. {kind.__name__} needs every cell.*AutoencoderImputer.*{way}"):
        kind().fit(rows)


# -- what goes on, and what breaks off


def test_a_further_fit_is_evaluated_by_the_arguments_of_its_own_plan():
    options = {"architecture": (4,), "max_iter": 2, "init": "random", "warm_start": True, "random_state": 0}
    model = VAETransformer(1, n_importance_samples=1, **options).fit(X)
    model.set_params(n_importance_samples=8).fit(X)
    assert model.net_.evaluation_arguments == {"n_draws": 8}


def test_ctrl_c_outside_training_leaves_the_model_of_before(monkeypatch):
    def press(*args, **kwargs):
        raise KeyboardInterrupt

    options = {"architecture": (4,), "max_iter": 2, "random_state": 0}
    fresh, refit = AutoencoderTransformer(1, **options), AutoencoderTransformer(1, **options).fit(X)
    again = AutoencoderTransformer(1, **options, warm_start=True).fit(X)
    before = again.transform(X)
    monkeypatch.setattr(AutoencoderTransformer, "_describe", press)
    for model in (fresh, refit, again):
        with pytest.raises(KeyboardInterrupt):
            model.fit(2 * X)
    assert not hasattr(fresh, "net_")
    for model in (refit, again):
        np.testing.assert_array_equal(model.transform(X), before)


def test_an_error_in_a_new_fit_leaves_no_earlier_model():
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(np.full_like(X, np.nan))
    assert not hasattr(model, "net_")


def test_ctrl_c_leaves_an_earlier_detector(monkeypatch):
    def press(*args, **kwargs):
        raise KeyboardInterrupt

    model = ReconstructionOutlierDetector(random_state=0).fit(X)
    before = model.score_samples(X)
    monkeypatch.setattr(ReconstructionOutlierDetector, "_begin_tasks", press)
    with pytest.raises(KeyboardInterrupt):
        model.fit(2 * X)
    np.testing.assert_array_equal(model.score_samples(X), before)


def test_likelihoods_take_nothing_from_rows_that_are_held_out():
    rows = rng.poisson(3.0, (700, 2)).astype(float)
    Watch.seen.clear()
    options = {"architecture": (4,), "max_iter": 1, "callbacks": [Watch()], "random_state": 0}
    model = AutoencoderTransformer(1, likelihood="negative_binomial", **options).fit(rows)
    ((chosen, _),) = Watch.seen
    assert model._data.likelihood.dispersion == NegativeBinomial().resolve(rows[chosen]).dispersion
