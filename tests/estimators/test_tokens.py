"""Sequences of tokens through the estimators: strings come back, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    Categorical,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    Vocabulary,
    load,
    save,
)
from sk_autoenc.likelihoods import Tokens
from sk_autoenc.training.randomness import draw_seed, make_generator
from tests.data_sets import all_sequences

NAN = float("nan")


RNG = np.random.default_rng(0)
#: "ab" or "ba" again and again: the first letter and the length say all.
WORDS = np.array([("ab" if RNG.random() < 0.5 else "ba") * int(RNG.integers(1, 4)) for _ in range(120)], dtype=object)
ROWS = Vocabulary().fit_transform(WORDS)
ARCHITECTURE = Recurrent(16, unequal_lengths=True)
OPTIONS = {"architecture": ARCHITECTURE, "likelihood": "categorical", "random_state": 0}


@pytest.fixture(scope="module")
def autoencoder():
    return AutoencoderTransformer(3, max_iter=40, **OPTIONS).fit(ROWS)


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(2, max_iter=20, n_score_samples=256, **OPTIONS).fit(ROWS)


def test_strings_come_back(autoencoder):
    vocabulary = Vocabulary().fit(WORDS)
    assert vocabulary.inverse_transform(autoencoder.reconstruct(ROWS)).tolist() == WORDS.tolist()
    assert autoencoder.reconstruction_err_ < 0.1
    assert autoencoder.score(ROWS) > -0.5
    pipe = make_pipeline(Vocabulary(), clone(autoencoder).set_params(max_iter=1)).fit(WORDS)
    assert pipe.transform(WORDS).shape == (120, 3)
    assert isinstance(pipe.inverse_transform(pipe.transform(WORDS[:2]))[0], str)


def test_a_vae_is_a_distribution_of_strings(vae):
    assert np.exp(vae.score_samples(all_sequences(2, 6).numpy())).sum() == pytest.approx(1, abs=0.02)


def test_samples_are_rows_that_can_be_read(vae):
    rows = vae.sample(200, random_state=0)
    assert rows.shape == (200, 6)
    assert rows.dtype == ROWS.dtype
    np.testing.assert_array_equal(rows, vae.sample(200, random_state=0))
    assert len({len(word) for word in Vocabulary().fit(WORDS).inverse_transform(rows)}) > 2
    assert vae.interpolate(ROWS[0], ROWS[1], 3).shape == (3, 6)
    np.testing.assert_array_equal(vae.interpolate(ROWS[0], ROWS[1], 2), vae.reconstruct(ROWS[:2]))
    assert np.isfinite(vae.score_samples(vae.sample(50, random_state=0), 4)).all()
    codes = vae.prior_.sample(50, make_generator(draw_seed(0), "sampling")).numpy()
    np.testing.assert_array_equal(vae.sample(50, random_state=0, mean=True), vae.inverse_transform(codes))
    mean, std = vae.posterior(ROWS)
    assert mean.shape == std.shape == (120, 2)


def test_results_do_not_depend_on_the_company(autoencoder, vae):
    codes = autoencoder.transform(ROWS)
    for some in (slice(7, 8), slice(30, 100)):
        np.testing.assert_array_equal(autoencoder.transform(ROWS[some]), codes[some])
        np.testing.assert_array_equal(
            autoencoder.inverse_transform(codes[some]), autoencoder.inverse_transform(codes)[some]
        )
        np.testing.assert_array_equal(vae.score_samples(ROWS[some], 8), vae.score_samples(ROWS, 8)[some])
        np.testing.assert_array_equal(autoencoder.score_samples(ROWS[some]), autoencoder.score_samples(ROWS)[some])


def test_many_rows_are_as_few(autoencoder):
    many = np.tile(ROWS, (10, 1))
    for name in ("transform", "reconstruct", "score_samples"):
        few = getattr(autoencoder, name)(ROWS)
        np.testing.assert_array_equal(getattr(autoencoder, name)(many), np.concatenate([few] * 10))


def test_empty_sequences_are_sequences():
    rows = np.vstack([ROWS[:60], np.full((5, 6), NAN)])
    model = AutoencoderTransformer(2, max_iter=1, **OPTIONS).fit(rows)
    assert len(np.unique(model.transform(rows[-5:]), axis=0)) == 1
    assert not np.array_equal(model.transform(rows[-1:]), model.transform([[0.0, *[NAN] * 5]]))
    assert np.isfinite(model.score_samples(rows)).all()
    with pytest.raises(ValueError, match="got only empty sequences"):
        AutoencoderTransformer(2, max_iter=1, **OPTIONS).fit(rows[-5:])


def test_rows_in_any_form(autoencoder):
    lists = [[int(token) for token in row if token == token] for row in ROWS[:5]]
    arrays = [np.array(tokens) for tokens in lists]
    np.testing.assert_array_equal(autoencoder.transform(lists), autoencoder.transform(ROWS[:5]))
    np.testing.assert_array_equal(autoencoder.transform(arrays), autoencoder.transform(ROWS[:5]))
    np.testing.assert_array_equal(autoencoder.transform(lists[:1]), autoencoder.transform(ROWS[:1]))
    assert [row.tolist() for row in autoencoder.reconstruct(arrays)] == lists
    np.testing.assert_array_equal(autoencoder.reconstruct(ROWS[:5]), ROWS[:5])


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer, AAETransformer])
def test_tokens_of_one_length_need_no_end(cls):
    X = np.stack([RNG.permutation(4) for _ in range(60)]).astype(np.float32)
    model = cls(2, architecture=Recurrent(8, cell="lstm"), likelihood=Categorical(5), max_iter=1, random_state=0).fit(X)
    assert model._data.likelihood.n_outcomes == 5
    made = model.reconstruct(X)
    assert made.dtype == np.float32
    assert set(np.unique(made)) <= set(range(5))
    assert model.score_samples(X).shape == (60,)


@pytest.mark.parametrize("cls", [VAETransformer, AAETransformer])
def test_more_training_and_another_process(cls, tmp_path):
    model = cls(2, max_iter=1, **OPTIONS).fit(ROWS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(ROWS), model.transform(ROWS))
    np.testing.assert_array_equal(again.sample(5, random_state=0), model.sample(5, random_state=0))
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").reconstruct(ROWS), model.reconstruct(ROWS))
    model.partial_fit(ROWS)
    assert model.n_iter_ == 2


def test_training_starts_at_the_shares_of_tokens():
    model = AutoencoderTransformer(2, max_iter=1, learning_rate=1e-9, early_stopping=False, **OPTIONS).fit(ROWS)
    likelihood = model._data.likelihood
    shares = likelihood.shares(torch.from_numpy(ROWS))
    counts = [(ROWS == 0).sum(), (ROWS == 1).sum(), np.isnan(ROWS).any(axis=1).sum()]
    np.testing.assert_allclose(shares, counts / np.sum(counts))
    np.testing.assert_allclose(model.net_.module_.decoder.last.bias.detach(), np.log(shares), rtol=1e-5)
    np.testing.assert_allclose(Tokens(3).initial_bias(np.array([0.5, 0.5, 0.0])), np.log([0.5, 0.5, 1e-6]))


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({"noise": 0.1}, ROWS, "noise cannot be combined with sequences of tokens"),
        ({"contraction": 0.1}, ROWS, "contraction"),
        ({"likelihood": Categorical([2] * 6)}, ROWS, "n_categories must be None or one integer"),
        ({"likelihood": Categorical(1)}, ROWS, "must have tokens from 0 to 0, got 1"),
        ({"likelihood": Categorical(True)}, ROWS, "one integer of 1 or more"),
        ({}, ROWS + 0.5, "must be integer-valued"),
        ({}, -ROWS, "must have tokens numbered from 0"),
        ({"architecture": Recurrent(4)}, ROWS, "NaN"),
        (
            {"architecture": Recurrent(4, unequal_lengths=True)},
            np.stack([ROWS, ROWS], axis=1),
            "must have 1 channel, got 2",
        ),
        ({"likelihood": "bernoulli"}, ROWS, "unequal_lengths=True needs likelihood='gaussian' or 'categorical'"),
    ],
)
def test_what_is_refused(options, X, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(2, max_iter=1, **{**OPTIONS, **options}).fit(X)


def test_unknown_tokens_are_refused_wherever_rows_go_in(autoencoder, vae):
    for method in (autoencoder.transform, autoencoder.reconstruct, vae.posterior, vae.score_samples):
        with pytest.raises(ValueError, match="must have tokens from 0 to 1, got 9"):
            method([[9.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
        with pytest.raises(ValueError, match="integer-valued"):
            method([[0.5, 0.0, 0.0, 0.0, 0.0, 0.0]])


def test_early_ends_without_unequal_lengths_give_a_hint():
    with pytest.raises(ValueError, match=r"contains NaN.*unequal_lengths=True"):
        AutoencoderTransformer(2, architecture=Recurrent(4), likelihood="categorical").fit(ROWS)


@pytest.mark.parametrize("strings", [["CCO", "CO"], np.array(["CCO", "CO"], dtype=object)])
def test_strings_are_sent_to_a_vocabulary(strings):
    with pytest.raises(ValueError, match=r"could not convert string to float: 'CCO'.*Vocabulary"):
        AutoencoderTransformer(2, **OPTIONS).fit(strings)
    with pytest.raises(ValueError, match=r"could not convert string to float: 'CCO'$"):
        AutoencoderTransformer(2).fit(strings)
    with pytest.raises(ValueError, match="OrdinalEncoder"):
        AutoencoderTransformer(2, likelihood="categorical").fit([["red", "round"], ["blue", "square"]])


def test_warmup_is_long_for_tokens():
    tokens, numbers = VAETransformer(max_iter=20, **OPTIONS), VAETransformer(max_iter=20, init="random")
    assert tokens.fit(ROWS).net_.n_warmup_epochs == 10
    assert numbers.fit(np.eye(8)).net_.n_warmup_epochs == 2


def test_what_a_fitted_model_refuses(autoencoder):
    with pytest.raises(ValueError, match=r"must have tokens .* got 7"):
        autoencoder.score_samples(np.where(ROWS == 1, 7, ROWS))
    with pytest.raises(ValueError, match="lengths needs"):
        autoencoder.inverse_transform(np.zeros((2, 3)), lengths=[1, 2])
    with pytest.raises(ValueError, match="inpaint"):
        autoencoder.inpaint(ROWS, np.zeros(6, dtype=bool))


def test_shares_count_the_end_once():
    likelihood = Tokens(3, may_end=True)
    rows = torch.tensor([[0.0, NAN, NAN], [2.0, 2.0, 0.0]])
    np.testing.assert_allclose(likelihood.shares(rows), [2 / 5, 0, 2 / 5, 1 / 5])


def test_detectors_judge_tokens_by_their_probability():
    X = np.tile([0, 1, 2, 0, 1], (60, 1))
    model = AutoencoderTransformer(1, architecture=Recurrent(8), likelihood="categorical", max_iter=2, random_state=0)
    detector = ReconstructionOutlierDetector(model, n_estimators=1, random_state=0).fit(X)
    assert detector.residual_ == "log_likelihood"
    with pytest.raises(ValueError, match=r"autoencoder must have .* for series of unequal lengths"):
        detector.fit([X[0], X[0, :3]])
