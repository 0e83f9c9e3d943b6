"""Series of unequal lengths: what goes in and out, and that nothing depends on what follows a series' end."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    Gaussian,
    ReconstructionOutlierDetector,
    Recurrent,
    StudentT,
    VAETransformer,
    load,
    save,
)
from sk_autoenc.data.series import lengths_of, padded, trimmed
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn import recurrent
from sk_autoenc.nn.autoencoder import Autoencoder
from sk_autoenc.nn.noise import NoiseOutput
from sk_autoenc.nn.recurrent import SeriesEncoder, SeriesLayout, run
from sk_autoenc.nn.variational import VariationalAutoencoder
from tests.data_sets import LENGTHS
from tests.data_sets import WAVES_OF_UNEQUAL_LENGTHS as X

_CHEAP = {"max_iter": 2, "random_state": 0, "device": "cpu", "early_stopping": False}
SERIES = [
    AutoencoderTransformer(architecture=Recurrent(4, num_layers=2, unequal_lengths=True), **_CHEAP),
    AutoencoderTransformer(
        architecture=Recurrent(5, cell="lstm", bidirectional=False, unequal_lengths=True),
        **{**_CHEAP, "early_stopping": True},
        noise=0.2,
        noise_kind="masking",
    ),
]
GENERATIVE = [
    VAETransformer(architecture=Recurrent(4, unequal_lengths=True), n_score_samples=4, **_CHEAP),
    VAETransformer(
        architecture=Recurrent(4, cell="lstm", unequal_lengths=True),
        likelihood=Gaussian("feature"),
        n_importance_samples=2,
        n_score_samples=4,
        **{**_CHEAP, "early_stopping": True},
    ),
    AAETransformer(architecture=Recurrent(4, unequal_lengths=True), critic=(8,), **_CHEAP),
]
METHODS = ("transform", "score_samples")


@pytest.fixture(params=SERIES, ids=["gru", "lstm"])
def estimator(request):
    return clone(request.param)


@pytest.fixture(params=SERIES + GENERATIVE, ids=["gru", "lstm", "vae", "vae-iwae", "aae"])
def any_estimator(request):
    return clone(request.param)


@pytest.fixture(params=GENERATIVE, ids=["vae", "vae-iwae", "aae"])
def generative(request):
    return clone(request.param)


# -- the encoder


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("training", [True, False])
def test_each_series_is_read_to_its_own_end(cell, training):
    reader = SeriesEncoder(SeriesLayout(2, 11), cell, 5, 2, bidirectional=True, unequal=True).train(training)
    rows = torch.from_numpy(padded(X)).float().flatten(1)
    found = reader(rows)
    for i in (0, 5, 17):
        alone = torch.from_numpy(X[i].T).float()[None]
        states = run(reader.cell, alone)[1][-2:].transpose(0, 1).flatten(1)
        torch.testing.assert_close(found[i : i + 1], states)


# -- the decoder


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_skips_steps_after_the_ends_which_change_no_loss_and_no_gradient(cell):
    plan = Recurrent(5, cell=cell, num_layers=2, unequal_lengths=True).bind((2, 11))
    module = Autoencoder(
        plan.make_encoder(22, 3, linear_path=False), plan.make_decoder(3, 22, linear_path=False, bounded=False)
    ).train()
    initialize_parameters(module, torch.Generator().manual_seed(0))
    cases = [series for series in X if series.shape[1] < 9]
    rows = torch.from_numpy(padded(cases, (2, 11))).float().flatten(1)

    def loss_and_gradients(raw):
        loss = (torch.where(rows.isnan(), raw, rows) - raw).square().sum(1).mean()
        return [loss, *torch.autograd.grad(loss, list(module.parameters()))]

    short, full = module(rows, torch.Generator()).raw, module.decoder(module.encode(rows))
    assert (full != 0).all()
    assert (short.unflatten(1, (2, 11))[..., 8:] == 0).all()  # where no series goes on, nothing is computed
    for found, expected in zip(loss_and_gradients(short), loss_and_gradients(full), strict=True):
        torch.testing.assert_close(found, expected)
    module.eval()  # rows must not depend on their company
    torch.testing.assert_close(module(rows, torch.Generator()).raw, full)


@pytest.mark.parametrize("n_draws", [1, 3])
def test_densities_skip_the_same_steps_and_have_the_same_loss_and_gradient(n_draws, monkeypatch):
    plan = Recurrent(5, unequal_lengths=True).bind((2, 11))
    module = VariationalAutoencoder(
        plan.make_encoder(22, 6, linear_path=False),
        plan.make_decoder(3, 44, linear_path=False, bounded=False),
        **{"likelihood": StudentT(correlated=False), "n_features": 22, "missing_cells": True},
    )
    initialize_parameters(module, torch.Generator().manual_seed(0))
    cases = [series for series in X if series.shape[1] < 9]
    rows = torch.from_numpy(padded(cases, (2, 11))).float().flatten(1)
    n_run, run_layers = [], recurrent.run_layers

    def found():
        out = module.train()(rows, torch.Generator().manual_seed(1), n_draws=n_draws)
        loss = out.log_likelihood.mean()
        return [loss, *torch.autograd.grad(loss, [p for p in module.parameters() if p.requires_grad])]

    def counted(cell, weights, packed, *rest):
        n_run.append(len(packed))
        return run_layers(cell, weights, packed, *rest)

    monkeypatch.setattr(recurrent, "run_layers", counted)
    short = found()
    assert n_run[-1] < n_draws * 8 * len(rows)
    module.decoder.unequal = False  # to the last step for all
    for one, other in zip(short, found(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert len(n_run) == 5  # each time the encoder in two directions, the decoder only at first


# -- results depend on the series alone


def test_a_series_is_bit_equal_in_any_company(any_estimator):
    any_estimator.fit(X)
    expected = {name: getattr(any_estimator, name)(X) for name in METHODS}
    made, order = any_estimator.reconstruct(X), np.random.default_rng(1).permutation(90)
    shortest = [i for i in order if LENGTHS[i] == 4]
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for some in (order, order[:1], shortest, shortest[:1], [*order] * 12):
                cases = [X[i] for i in some]
                for name in METHODS:
                    np.testing.assert_array_equal(getattr(any_estimator, name)(cases), expected[name][some])
                for one, i in zip(any_estimator.reconstruct(cases), some, strict=True):
                    np.testing.assert_array_equal(one, made[i])
    finally:
        torch.set_num_threads(before)


def test_room_that_no_series_needs_changes_no_code(estimator):
    """Weights do not depend on the longest possible length here, as both lengths have the same positional encoding."""
    estimator.set_params(noise=0.0)  # whose draws go by the shape of rows
    short = clone(estimator).set_params(architecture__input_shape=(2, 11)).fit(X)
    long = estimator.set_params(architecture__input_shape=(2, 16)).fit(X)
    assert long.reconstruct(X)[0].shape == X[0].shape
    np.testing.assert_allclose(long.transform(X), short.transform(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(long.score_samples(X), short.score_samples(X), rtol=1e-4)


# -- what goes in and out


def test_series_may_be_objects_of_an_array_or_of_a_pandas_series():
    objects = np.empty(len(X), dtype=object)
    objects[:] = X
    of_list = clone(SERIES[0]).fit(X)
    for cases in (objects, pd.Series(X, index=np.arange(len(X)) + 7)):
        model = clone(SERIES[0]).fit(cases)
        np.testing.assert_array_equal(model.transform(cases), of_list.transform(X))
        for made, expected in zip(model.reconstruct(cases), of_list.reconstruct(X), strict=True):
            np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("found", [1, 3])
def test_series_of_other_channels_are_refused_by_their_number(found):
    cases = [np.zeros((3, n)) if found == 3 else np.zeros(n) for n in (5, 7)]
    of_two = clone(SERIES[0]).fit(X)
    detector = ReconstructionOutlierDetector(of_two, n_estimators=1, random_state=0).fit(X)
    for method in (of_two.transform, detector.predict, clone(of_two).set_params(architecture__input_shape=(2, 11)).fit):
        with pytest.raises(ValueError, match=f"series of 2 channels, got series of {found} channels"):
            method(cases)


def test_series_come_back_with_their_own_lengths(any_estimator):
    any_estimator.fit(X)
    made, rows = any_estimator.reconstruct(X), padded(X)
    assert [one.shape for one in made] == [series.shape for series in X]
    as_array = any_estimator.reconstruct(rows)
    np.testing.assert_array_equal(np.isnan(as_array), np.isnan(rows))
    np.testing.assert_array_equal(trimmed(as_array, LENGTHS)[7], made[7])
    np.testing.assert_array_equal(any_estimator.transform(rows), any_estimator.transform(X))
    assert any_estimator.transform(X).shape == (90, 2)
    full = any_estimator.inverse_transform(any_estimator.transform(X))
    assert full.shape == (90, 2, 11)
    np.testing.assert_allclose(full[3, :, : LENGTHS[3]], made[3], rtol=1e-5)
    cut = any_estimator.inverse_transform(any_estimator.transform(X), lengths=LENGTHS)
    for one, expected in zip(cut, made, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5)


def test_flat_rows_hold_channels_one_after_the_other(any_estimator):
    rows = padded(X).reshape(90, -1)
    codes = clone(any_estimator).fit(X).transform(X)
    flat = any_estimator.set_params(architecture__input_shape=(2, 11)).fit(rows)
    np.testing.assert_array_equal(flat.transform(rows), codes)
    assert flat.reconstruct(rows).shape == (90, 22)
    assert flat.inverse_transform(codes[:2], lengths=[3, 11])[0].shape == (2, 3)
    with pytest.raises(ValueError, match=r"rows of shape \(22,\), on which .* was fitted, got rows of shape \(2, 11\)"):
        flat.transform(X)


def test_scores_are_sums_over_what_is_there(estimator):
    estimator.fit(X)
    errors = [np.square(one - series).sum() for one, series in zip(estimator.reconstruct(X), X, strict=True)]
    np.testing.assert_allclose(estimator.score_samples(X), np.negative(errors), rtol=1e-4)
    assert estimator.reconstruction_err_ == pytest.approx(np.mean(errors), rel=1e-4)


def test_series_of_one_channel_are_arrays_of_one_axis(any_estimator):
    flat, deep = [series[0] for series in X], [series[:1] for series in X]
    one, two = clone(any_estimator).fit(flat), any_estimator.fit(deep)
    np.testing.assert_array_equal(one.transform(flat), two.transform(deep))
    assert one.reconstruct(flat)[3].shape == flat[3].shape
    np.testing.assert_array_equal(one.reconstruct(flat)[3], two.reconstruct(deep)[3][0])


def test_training_learns_from_series_of_all_lengths():
    waves = [series[0] for series in X]
    model = AutoencoderTransformer(
        2,
        architecture=Recurrent(8, cell="lstm", unequal_lengths=True),
        **{**_CHEAP, "max_iter": 30},
        learning_rate=0.03,
    ).fit(waves)
    mean = np.concatenate(waves).mean()
    assert model.reconstruction_err_ < 0.3 * np.mean([np.square(wave - mean).sum() for wave in waves])
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


def test_two_fits_agree_and_files_keep_them(any_estimator, tmp_path):
    expected = clone(any_estimator).fit(X).score_samples(X)
    np.testing.assert_array_equal(any_estimator.fit(X).score_samples(X), expected)
    save(any_estimator, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(any_estimator)), load(tmp_path / "model")):
        np.testing.assert_array_equal(opened.score_samples(X), expected)
        opened.partial_fit(X)
    before = any_estimator.transform(X)
    any_estimator.set_params(architecture=(3,))
    np.testing.assert_array_equal(any_estimator.transform(X), before)


def test_codes_go_into_a_pipeline_and_a_search(estimator):
    y = (LENGTHS > 7).astype(int)
    search = GridSearchCV(
        make_pipeline(estimator, LogisticRegression()), {"autoencodertransformer__n_components": [1, 3]}, cv=2
    )
    assert search.fit(X, y).best_score_ > 0.5


# -- models with a prior


@pytest.mark.parametrize("likelihood", [Gaussian(), StudentT()])
def test_missing_cells_add_nothing_to_a_density(likelihood):
    generator = torch.Generator().manual_seed(0)
    location, log_scale, x = torch.randn(3, 5, 4, generator=generator)
    degrees = torch.tensor([1.5, 3.0, 8.0, 1e6]) if isinstance(likelihood, StudentT) else torch.tensor(math.inf)
    raw = NoiseOutput(location, log_scale, None, degrees)
    missing = torch.rand(5, 4, generator=generator) < 0.4
    found = likelihood.log_prob(*raw.without_missing(torch.where(missing, torch.nan, x)))
    df = np.broadcast_to(degrees.numpy(), (5, 4))
    each = stats.t.logpdf(x.numpy(), df, location.numpy(), log_scale.exp().numpy())
    if isinstance(likelihood, Gaussian) and not isinstance(likelihood, StudentT):
        each = stats.norm.logpdf(x.numpy(), location.numpy(), log_scale.exp().numpy())
    np.testing.assert_allclose(found, np.where(missing, 0, each).sum(1), rtol=2e-5)


@pytest.mark.parametrize("likelihood", [Gaussian(), StudentT()])
def test_missing_cells_add_nothing_to_a_gradient(likelihood):
    generator = torch.Generator().manual_seed(0)
    location, log_scale, x = torch.randn(3, 6, 1, generator=generator)
    degrees = torch.tensor([3.0], requires_grad=True)
    raw = NoiseOutput(
        location, log_scale, None, degrees if isinstance(likelihood, StudentT) else torch.tensor(math.inf)
    )
    log_scale.requires_grad_()
    missing = torch.tensor([True, False, False, True, False, False])[:, None]
    likelihood.log_prob(*raw.without_missing(torch.where(missing, torch.nan, x))).sum().backward()
    found = [degrees.grad, log_scale.grad[~missing]]
    assert (log_scale.grad[missing] == 0).all()
    degrees.grad = log_scale.grad = None
    likelihood.log_prob(raw, x)[~missing[:, 0]].sum().backward()
    torch.testing.assert_close(found, [degrees.grad, log_scale.grad[~missing]])


def test_noise_starts_at_the_variance_of_each_channel():
    options = {**_CHEAP, "max_iter": 1, "learning_rate": 1e-9, "architecture": Recurrent(4, unequal_lengths=True)}
    model = AAETransformer(likelihood=Gaussian("feature"), critic=(8,), **options).fit(X)
    together = np.concatenate(X, axis=1)
    np.testing.assert_allclose(model._data.scaling.scale, np.repeat(together.std(1), 11))
    np.testing.assert_allclose(model.net_.module_.head.start, 1, rtol=1e-5)
    shared = VAETransformer(likelihood=Gaussian(0.5), **options).fit(X)
    assert np.ndim(shared._data.scaling.scale) == 0
    np.testing.assert_allclose(shared.net_.module_.head.start, shared._data.scaling.scale / np.sqrt(0.5), rtol=1e-5)


def test_correlated_noise_is_off_where_cells_may_be_missing():
    for kind in (VAETransformer, AAETransformer):
        model = kind(likelihood=StudentT(), architecture=Recurrent(2, unequal_lengths=True), **_CHEAP).fit(X)
        assert model.net_.module_.head.mixing is None


def test_units_of_channels_do_not_matter_to_a_density():
    other = [series * [[1.0], [1000.0]] for series in X]
    model = VAETransformer(architecture=Recurrent(4, unequal_lengths=True), n_score_samples=4, **_CHEAP)
    expected = clone(model).fit(X).score_samples(X)
    np.testing.assert_allclose(model.fit(other).score_samples(other), expected - LENGTHS * np.log(1000), rtol=1e-3)


def test_an_adversarial_autoencoder_of_series_learns():
    waves = [series[0] for series in X]
    model = AAETransformer(
        2,
        architecture=Recurrent(8, cell="lstm", unequal_lengths=True),
        critic=(8,),
        n_critic=1,
        **{**_CHEAP, "max_iter": 30},
        learning_rate=0.03,
    ).fit(waves)
    mean = np.concatenate(waves).mean()
    assert model.reconstruction_err_ < 0.6 * np.mean([np.square(wave - mean).sum() for wave in waves])


def test_a_density_is_for_the_units_of_the_cells_that_are_there(generative):
    expected = clone(generative).fit(X).score_samples(X)
    in_other_units = generative.fit([8 * series for series in X]).score_samples([8 * series for series in X])
    np.testing.assert_allclose(in_other_units, expected - 2 * LENGTHS * np.log(8), rtol=1e-6)


def test_samples_have_lengths_of_training_series(generative):
    rows = generative.fit(X).sample(300, random_state=0)
    assert rows.shape == (300, 2, 11)
    lengths = lengths_of(rows.reshape(300, -1), 2)
    np.testing.assert_array_equal(generative.lengths_, LENGTHS)
    assert set(lengths) == set(LENGTHS)
    assert abs(lengths.mean() - LENGTHS.mean()) < 0.5
    between = generative.interpolate(X[1], X[2], 4)
    assert lengths_of(between.reshape(4, -1), 2).tolist() == [
        round(LENGTHS[1] + share * (LENGTHS[2] - LENGTHS[1])) for share in (0, 1 / 3, 2 / 3, 1)
    ]
    with pytest.raises(ValueError, match="infinity"):
        generative.interpolate(np.full((2, 3), np.inf), X[1])
    with pytest.raises(ValueError, match="axes before time differ"):
        generative.interpolate(X[1].T, X[2])
    np.testing.assert_allclose(trimmed(between, LENGTHS[[1, 1, 1, 1]])[0], generative.reconstruct(X[1:2])[0], rtol=1e-4)
    assert generative.posterior(X)[0].shape == (90, 2)


def test_a_vae_of_series_learns():
    waves = [series[0] for series in X]
    architecture = Recurrent(8, cell="lstm", unequal_lengths=True)
    start = VAETransformer(architecture=architecture, **{**_CHEAP, "max_iter": 1}, learning_rate=1e-6).fit(waves)
    model = VAETransformer(architecture=architecture, **{**_CHEAP, "max_iter": 60}).fit(waves)
    assert model.score(waves) > start.score(waves) + 3


# -- what is refused


def test_lengths_that_cannot_be_are_refused(estimator):
    codes = estimator.fit(X).transform(X[:2])
    for lengths, message in (
        ([3], r"one integer for each of the 2 rows of X, got shape \(1,\)"),
        ([3.0, 2.0], "got shape .* of float64"),
        ([3, 12], "between 1 and 11, got 12"),
        ([0, 3], "between 1 and 11, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.inverse_transform(codes, lengths=lengths)
    plain = AutoencoderTransformer(**_CHEAP).fit(np.eye(5))
    with pytest.raises(ValueError, match=r"lengths needs .*unequal_lengths=True"):
        plain.inverse_transform([[0.0, 0.0]], lengths=[3])


def test_unequal_lengths_are_refused_where_nothing_says_that_they_may_be():
    for model in (AutoencoderTransformer(), AutoencoderTransformer(architecture=Recurrent(4))):
        with pytest.raises(
            ValueError, match=r"unequal lengths, which need .*unequal_lengths=True\), got architecture="
        ):
            model.fit(X)


def test_densities_that_need_every_cell_are_refused(generative):
    for options, message in (
        ({"likelihood": "poisson"}, "needs real values or tokens: .* got likelihood='poisson'"),
        ({"likelihood": Gaussian(correlated=True)}, "correlated=True cannot be combined with unequal_lengths=True"),
        ({"init": "pca"}, "init='pca' cannot be combined with unequal_lengths=True"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(generative).set_params(**options).fit(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "pca"}, r"init='pca' cannot be combined with unequal_lengths=True \(PCA needs every cell"),
        (
            {"likelihood": "poisson"},
            r"unequal_lengths=True needs likelihood='gaussian' or 'categorical', got likelihood='poisson'",
        ),
        (
            {"noise": 0.1, "noise_kind": "salt_and_pepper"},
            "'salt_and_pepper' cannot be combined with unequal_lengths=True",
        ),
    ],
)
def test_what_needs_every_cell_is_refused(estimator, options, message):
    with pytest.raises(ValueError, match=message):
        estimator.set_params(**options).fit(X)


def test_bad_series_name_themselves(estimator):
    estimator.fit(X)
    rows = padded(X)
    rows[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN inside series 3"):
        estimator.fit(rows)
    with pytest.raises(ValueError, match="infinity"):
        clone(estimator).fit([*X, np.full((2, 3), np.inf)])
    with pytest.raises(ValueError, match="NaN only in series 90"):
        clone(estimator).fit([*X, np.empty((2, 0))])
    with pytest.raises(ValueError, match=r"axes before time differ: \[\(1,\), \(2,\)\]"):
        clone(estimator).fit([*X, np.ones((1, 3))])
    estimator.fit(X)
    with pytest.raises(ValueError, match="at most 11 timepoints, got a series of 12 timepoints"):
        estimator.transform([np.ones((2, 12))])
    with pytest.raises(ValueError, match="inpaint cannot be combined with unequal_lengths=True"):
        estimator.inpaint(X, np.ones((2, 11), dtype=bool))
