"""Sequences of tokens: their probabilities, how they are written and read, and strings through the estimators."""

import itertools
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
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.likelihoods import Tokens
from sk_autoenc.nn.packing import Packing
from sk_autoenc.nn.recurrent import CELLS, go_on
from sk_autoenc.nn.tokens import ReadTokens, WriteTokens
from sk_autoenc.training.randomness import draw_seed, make_generator

NAN = float("nan")


def decoder(cell="gru", n_layers=1, *, n_tokens=2, n_timepoints=3, may_end=True, size=5) -> WriteTokens:
    made = WriteTokens(2, n_timepoints, n_tokens, cell, size, n_layers, may_end=may_end)
    generator = make_generator(0, "initialization")
    initialize_parameters(made, generator)
    return made.eval()


def all_sequences(n_tokens: int, n_timepoints: int) -> torch.Tensor:
    """Every sequence of up to so many tokens, the empty one included."""
    found = [s for n in range(n_timepoints + 1) for s in itertools.product(range(n_tokens), repeat=n)]
    return torch.tensor([[*s, *[NAN] * (n_timepoints - len(s))] for s in found])


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("n_layers", [1, 2])
def test_probabilities_of_all_sequences_add_up_to_one(cell, n_layers):
    sequences = all_sequences(2, 3)
    code = torch.randn(1, 2, generator=make_generator(0, "noise")).expand(len(sequences), -1)
    writer = decoder(cell, n_layers)
    total = writer(code).log_prob(sequences.double()).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)
    full = all_sequences(2, 3)[-8:]
    total = decoder(cell, n_layers, may_end=False)(code[:8]).log_prob(full.double()).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)


def test_log_prob_has_the_leading_axes_of_codes():
    writer, rows = decoder(), all_sequences(2, 3)
    codes = torch.randn(4, len(rows), 2, generator=make_generator(0, "noise"))
    together = writer(codes).log_prob(rows)
    assert together.shape == (4, len(rows))
    for draw, code in zip(together, codes, strict=True):
        torch.testing.assert_close(draw, writer(code).log_prob(rows))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_draws_have_the_probabilities_that_they_should(cell):
    writer, sequences, n = decoder(cell), all_sequences(2, 3), 4000
    code = torch.randn(1, 2, generator=make_generator(0, "noise"))
    drawn = writer(code.expand(n, -1)).draw(make_generator(0, "sampling")).nan_to_num(-1)
    found = (drawn[:, None] == sequences.nan_to_num(-1)).all(2).double().mean(0)
    share = writer(code.expand(len(sequences), -1)).log_prob(sequences).exp()
    assert found.sum() == pytest.approx(1)
    assert ((found - share).abs() < 4 * (share * (1 - share) / n).sqrt() + 1e-4).all()


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_most_probable_tokens_are_wrong_nowhere(cell):
    writer = decoder(cell, 2, n_tokens=4, n_timepoints=6)
    codes = 3 * torch.randn(80, 2, generator=make_generator(0, "noise"))
    best = writer(codes).most_probable()
    assert len(best.isnan().sum(1).unique()) > 1  # of several lengths
    assert writer(codes).n_wrong(best).tolist() == [0] * 80
    other = best.clone()
    other[:, 0] = (other[:, 0].nan_to_num(0) + 1) % 4
    assert (writer(codes).n_wrong(other) >= 1).all()


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_decoder_does_not_look_ahead(cell):
    writer = decoder(cell, n_tokens=3, n_timepoints=4, may_end=False)
    code = torch.zeros(1, 2)
    steps = Packing.of(torch.tensor([4]), 4, training=False)
    logits = writer._logits(code, torch.tensor([[0, 1, 2, 0]]), steps)
    changed = writer._logits(code, torch.tensor([[0, 1, 0, 2]]), steps)
    torch.testing.assert_close(logits[:3], changed[:3])
    assert not torch.allclose(logits[3], changed[3])


def test_a_decoder_reads_the_time():
    writer = decoder(n_tokens=3, n_timepoints=4)
    silent = [parameter for name, parameter in writer.cell.named_parameters() if name.startswith("weight_hh")]
    torch.nn.init.zeros_(silent[0].data)  # no memory, so that equal tokens can differ by the time alone
    state = [torch.zeros(1, 1, 5)]
    time, code = writer._clock(torch.zeros(1, 2)), torch.zeros(1, 2)
    read = [writer._read(code, torch.tensor([1]), time[step : step + 1]) for step in (0, 1)]
    first, second = (go_on(writer.cell, x[None], tuple(state))[0] for x in read)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("size", [13, 16])
def test_a_probability_does_not_depend_on_how_long_others_are(cell, size):
    writer = decoder(cell, n_tokens=4, n_timepoints=60, size=size)
    generator = make_generator(0, "noise")
    rows = torch.randint(0, 4, (64, 60), generator=generator).double()
    lengths = torch.randint(3, 22, (64,), generator=generator)
    rows[torch.arange(60) >= lengths[:, None]] = NAN
    with_a_long_one = rows.clone()
    with_a_long_one[-1] = 0.0
    codes = torch.randn(64, 2, generator=generator)
    with torch.inference_mode():
        for dtype in (torch.float32, torch.float64):
            alone, beside = (writer(codes).log_prob(some.to(dtype)) for some in (rows, with_a_long_one))
            np.testing.assert_array_equal(alone[:-1], beside[:-1])


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_training_sees_the_same_probabilities(cell):
    rows = all_sequences(2, 5)
    codes = torch.randn(len(rows), 2, generator=make_generator(0, "noise"))
    writer = decoder(cell, 2, n_timepoints=5)
    torch.testing.assert_close(writer.train()(codes).log_prob(rows), writer.eval()(codes).log_prob(rows))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_reader_stops_at_the_end(cell):
    reader = ReadTokens(3, cell, 4, 2, bidirectional=True)
    initialize_parameters(reader, make_generator(0, "initialization"))
    reader.eval()
    short = reader(torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(reader(torch.tensor([[0.0, 2.0, NAN, NAN], [1.0, 1.0, 1.0, 2.0]]))[:1], short)
    assert not torch.allclose(reader(torch.tensor([[0.0, 2.0, 1.0]])), short)


# -- estimators

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
    with pytest.raises(ValueError, match="all sequences of X are empty"):
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
        ({"noise": 0.1}, ROWS, "noise does not go with sequences of tokens"),
        ({"contraction": 0.1}, ROWS, "contraction"),
        ({"likelihood": Categorical([2] * 6)}, ROWS, "n_categories must be None or one integer"),
        ({"likelihood": Categorical(1)}, ROWS, "has the token 1, but only 1 tokens"),
        ({"likelihood": Categorical(True)}, ROWS, "one integer of 1 or more"),
        ({}, ROWS + 0.5, "needs whole numbers"),
        ({}, -ROWS, "needs tokens numbered from 0"),
        ({"architecture": Recurrent(4)}, ROWS, "NaN"),
        (
            {"architecture": Recurrent(4, unequal_lengths=True)},
            np.stack([ROWS, ROWS], axis=1),
            "one channel, but rows hold 2",
        ),
        ({"likelihood": "bernoulli"}, ROWS, "unequal_lengths=True goes with likelihood='gaussian' or 'categorical'"),
    ],
)
def test_what_is_refused(options, X, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(2, max_iter=1, **{**OPTIONS, **options}).fit(X)


def test_unknown_tokens_are_refused_wherever_rows_go_in(autoencoder, vae):
    for method in (autoencoder.transform, autoencoder.reconstruct, vae.posterior, vae.score_samples):
        with pytest.raises(ValueError, match="has the token 9, but only 2 tokens"):
            method([[9.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
        with pytest.raises(ValueError, match="whole numbers"):
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
    with pytest.raises(ValueError, match="has the token 7"):
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
    with pytest.raises(ValueError, match="series of unequal lengths, which need an autoencoder"):
        detector.fit([X[0], X[0, :3]])
