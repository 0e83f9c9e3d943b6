"""SequenceTranslator: small languages, unknown words, the baseline, and what scikit-learn expects."""

import copy
import pickle
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from sk_autoenc import SequenceTranslator, Vocabulary, load, save
from sk_autoenc.inspection import AttentionDisplay
from sk_autoenc.metrics import bleu_score

matplotlib.use("Agg")

WORDS = Vocabulary(r"\w+", separator=" ")
NOUNS = {
    "dog": "hund",
    "cat": "katz",
    "house": "haus",
    "tree": "baum",
    "car": "wagen",
    "bird": "vogel",
    "fish": "fisch",
}
ADJECTIVES = {"red": "rot", "old": "alt", "big": "gros", "new": "neu", "small": "klein"}


def sentences(n, seed=0):
    """A made-up language in which the adjective follows its noun, and "the" and "a" are endings of their own."""
    rng = np.random.default_rng(seed)
    english, other = [], []
    for _ in range(n):
        parts = [(rng.choice(["the", "a"]), rng.choice([*ADJECTIVES]), rng.choice([*NOUNS])) for _ in range(2)]
        english.append(" and ".join(" ".join(part) for part in parts))
        other.append(" und ".join(f"{NOUNS[n]} {ADJECTIVES[a]} {'li' if d == 'the' else 'mo'}" for d, a, n in parts))
    return np.array(english, dtype=object), np.array(other, dtype=object)


X, Y = sentences(120)
_CHEAP = {"hidden_size": 16, "max_iter": 2, "random_state": 0, "device": "cpu"}
CONFIGURATIONS = [
    {},
    {"cell": "lstm", "attention": "additive", "early_stopping": False},
    {"cell": "transformer", "num_layers": 2, "dropout": 0.2, "beam_size": 1, "early_stopping": False},
    {"lexicon": False, "target_vocabulary": WORDS, "early_stopping": False},
]


@pytest.fixture(params=CONFIGURATIONS, ids=str)
def translator(request):
    return SequenceTranslator(WORDS, **{**_CHEAP, **request.param})


def outputs(model, strings=X[:40]):
    """What a fitted translator says."""
    made, log_prob = model.predict_n_best(strings, 2)
    weights = [alignment.weights for alignment in model.attention_weights(strings, Y[: len(strings)])]
    return [model.predict(strings), made, log_prob, model.log_prob(strings, Y[: len(strings)]), *weights]


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


# -- it learns


def test_it_learns_another_order_of_words():
    train, test = sentences(400), sentences(40, seed=1)
    model = SequenceTranslator(
        WORDS,
        target_vocabulary=WORDS,
        hidden_size=32,
        learning_rate=0.01,
        max_iter=8,
        batch_size=32,
        early_stopping=False,
        random_state=0,
    ).fit(*train)
    word_by_word = clone(model).set_params(max_iter=1, learning_rate=1e-9).fit(*train)
    assert model.score(*test) > 0.95 > 0.5 > word_by_word.score(*test)
    assert not model.is_baseline_
    assert model.loss_curve_[-1] < 0.3 * model.loss_curve_[0]


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_other_cells_learn_as_well(cell):
    model = SequenceTranslator(
        WORDS, cell=cell, hidden_size=32, learning_rate=0.01, max_iter=8, batch_size=32, early_stopping=False,
        dropout=0.0, random_state=0,
    ).fit(*sentences(400))  # fmt: skip
    assert model.score(*sentences(40, seed=1)) > 0.9


def test_dates_are_normalised_by_characters():
    rng = np.random.default_rng(0)
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    drawn = [(rng.integers(1, 29), rng.integers(12), rng.integers(1980, 2000)) for _ in range(1000)]
    texts = [f"{day} {months[month]} {year}" for day, month, year in drawn]
    dates = [f"{year}-{month + 1:02}-{day:02}" for day, month, year in drawn]
    model = SequenceTranslator(
        Vocabulary(),
        hidden_size=48,
        attention="dot",
        learning_rate=0.01,
        batch_size=32,
        max_iter=8,
        early_stopping=False,
        beam_size=1,
        random_state=0,
    ).fit(texts[:900], dates[:900])
    assert accuracy_score(dates[900:], model.predict(texts[900:])) > 0.8


def test_names_are_copied_where_a_vocabulary_is_shared():
    """Each name stands in one pair only; its translation is known from the name alone."""
    names = [
        f"{a}{b}" for a in ("Ba", "Ri", "To", "Ma", "Lu", "Fe", "No", "Ka") for b in ("lo", "ni", "sa", "rex", "mi")
    ]
    english, german = [f"my name is {name}" for name in names], [f"ich heisse {name}" for name in names]
    model = SequenceTranslator(WORDS, hidden_size=32, learning_rate=0.01, max_iter=15, batch_size=8, random_state=0)
    model.set_params(early_stopping=False).fit(english[:30], german[:30])
    unseen = model.predict(english[30:])
    assert accuracy_score(german[30:], unseen) > 0.8, unseen
    without = model.set_params(unknown="drop").predict(english[30:])
    assert set(without) == {"ich heisse"}


def test_headlines_of_sentences_copy_their_words():
    """A summary by the first noun and the last; half of the nouns stand in few pairs."""
    rng = np.random.default_rng(0)
    nouns = [f"noun{i}" for i in range(30)]
    pairs = [rng.choice(nouns, 2, replace=False) for _ in range(300)]
    texts = [f"yesterday {a} was seen with {b} in the town" for a, b in pairs]
    heads = [f"{a} with {b}" for a, b in pairs]
    model = SequenceTranslator(
        Vocabulary(r"\w+", separator=" "), hidden_size=32, learning_rate=0.01, max_iter=8, batch_size=32,
        early_stopping=False, random_state=0,
    ).fit(texts[:250], heads[:250])  # fmt: skip
    assert accuracy_score(heads[250:], model.predict(texts[250:])) > 0.9


# -- the baseline


def test_a_network_that_is_worse_falls_back_to_the_lexicon():
    model = SequenceTranslator(WORDS, hidden_size=8, max_iter=1, learning_rate=1.0, random_state=0).fit(X, Y)
    assert model.is_baseline_
    assert "hund" in model.predict(["the dog"])[0]
    few = SequenceTranslator(WORDS, **_CHEAP).fit(X[:30], Y[:30])
    assert few.is_baseline_  # too few pairs to evaluate a network


def test_the_lexicon_knows_the_translations():
    model = SequenceTranslator(WORDS, target_vocabulary=WORDS, **_CHEAP).fit(X, Y)
    source, target = model.vocabulary_.tokens_.tolist(), model.target_vocabulary_.tokens_.tolist()
    lexicon = model.lexicon_.toarray()
    assert lexicon.shape == (len(source) + 2, len(target) + 2)
    for english, other in NOUNS.items():
        assert target[lexicon[source.index(english)].argmax()] == other
    assert SequenceTranslator(WORDS, lexicon=False, **_CHEAP).fit(X, Y).lexicon_ is None


# -- what it says


def test_predictions_do_not_depend_on_other_rows(translator):
    """Bit for bit, for rows of several lengths, alone, in other company, and with more threads."""
    model = translator.fit(X, Y)
    strings = np.concatenate([X[:30], [" and ".join(X[:3]), "", "dog", " and ".join(X[:5])]]).astype(object)
    others = np.concatenate([Y[:30], ["hund", "", " und ".join(Y[:5]), "li"]]).astype(object)
    made, log_prob = model.predict_n_best(strings, 3)
    nats = model.log_prob(strings, others)
    for chosen in ([31], [33, 30, 2], np.arange(34)[::-1]):
        some, its_log_prob = model.predict_n_best(strings[chosen], 3)
        np.testing.assert_array_equal(some, made[chosen])
        np.testing.assert_array_equal(its_log_prob, log_prob[chosen])
        np.testing.assert_array_equal(model.log_prob(strings[chosen], others[chosen]), nats[chosen])
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        np.testing.assert_array_equal(model.log_prob(strings, others), nats)
        np.testing.assert_array_equal(model.predict_n_best(strings, 3)[1], log_prob)
    finally:
        torch.set_num_threads(n_threads)


def test_n_best_are_different_sorted_and_have_their_log_probabilities():
    model = SequenceTranslator(WORDS, **_CHEAP, length_penalty=0.0).fit(X, Y)
    made, log_prob = model.predict_n_best(X[:10], 3)
    assert made.shape == log_prob.shape == (10, 3)
    assert (np.diff(log_prob, axis=1) <= 0).all()
    assert all(len(set(row)) == 3 for row in made)
    finished = [(x, y, p) for x, y, p in zip(X, made[:, 0], log_prob[:, 0], strict=False) if len(y.split()) < 7]
    for x, y, p in finished:
        assert model.log_prob([x], [y])[0] == pytest.approx(p, rel=1e-4)
    np.testing.assert_array_equal(
        model.set_params(beam_size=3).predict(X[:10]), model.predict_n_best(X[:10], 3)[0][:, 0]
    )


def test_unknown_words_are_read_and_scored(translator):
    model = translator.fit(X, Y)
    assert np.isfinite(model.log_prob(["the dog xyzzy"], ["hund plugh"])).all()
    assert isinstance(model.predict(["xyzzy !"])[0], str)


def test_lengths_are_limited():
    model = SequenceTranslator(WORDS, lexicon=False, **_CHEAP, early_stopping=False).fit(X, Y)
    longest = max(len(y.split()) for y in Y)
    assert max(len(y.split()) for y in model.predict(X)) <= longest
    model.set_params(max_length=2)
    assert max(len(y.split()) for y in model.predict([*X[:5], " ".join(X)])) <= 2


def test_score_is_corpus_bleu():
    model = SequenceTranslator(WORDS, **_CHEAP).fit(X, Y)
    assert model.score(X, Y) == pytest.approx(bleu_score(Y, model.predict(X)) / 100)


def test_attention_has_a_row_for_each_token_and_its_display_draws_it():
    model = SequenceTranslator(WORDS, **_CHEAP).fit(X, Y)
    (found,) = model.attention_weights(["the dog"], ["hund li"])
    assert (found.source, found.target) == (["the", "dog", "<end>"], ["hund", "li", "<end>"])
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)
    assert found.weights.shape == (3, 3)
    display = AttentionDisplay.from_estimator(model, "the dog", "hund li")
    np.testing.assert_array_equal(display.image_.get_array(), found.weights)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == found.source
    with pytest.raises(ValueError, match=r"shape \(1, 2\), got \(2, 2\)"):
        AttentionDisplay(np.eye(2), ["a", "b"], ["c"]).plot()
    with pytest.raises(ValueError, match="must be one string each"):
        AttentionDisplay.from_estimator(model, ["the dog"])
    with pytest.raises(TypeError, match="Vocabulary does not have"):
        AttentionDisplay.from_estimator(WORDS, "the dog")
    matplotlib.pyplot.close("all")


# -- scikit-learn


def test_strings_come_in_any_container(translator):
    expected = outputs(translator.fit(X, Y))
    for kind in (list, np.array, pd.Series, lambda strings: pd.Series(strings, dtype="string")):
        assert_same(outputs(clone(translator).fit(kind(X), kind(Y)), kind(X[:40])), expected)


def test_fits_are_reproducible_and_goes_on(translator):
    first = outputs(translator.fit(X, Y))
    assert_same(outputs(clone(translator).fit(X, Y)), first)
    n_iter = translator.n_iter_
    translator.partial_fit(X, Y)
    assert translator.n_iter_ == len(translator.loss_curve_) == n_iter + 1
    assert clone(translator).set_params(warm_start=True).fit(X, Y).fit(X, Y).n_iter_ > n_iter
    chunks = clone(translator)
    losses = [-chunks.partial_fit(X, Y).log_prob(X, Y).mean() for _ in range(3)]
    assert losses[2] < losses[0]
    assert not chunks.is_baseline_
    with pytest.raises(ValueError, match="hidden_size must be 16"):
        translator.set_params(hidden_size=4).partial_fit(X, Y)


def test_searches_pipelines_and_scorers():
    model = SequenceTranslator(WORDS, **_CHEAP, beam_size=1, early_stopping=False)
    search = GridSearchCV(model, {"vocabulary__min_count": [1, 2], "cell": ["gru"]}, cv=2, error_score="raise")
    assert search.fit(list(X), list(Y)).best_score_ >= 0
    pipeline = make_pipeline(FunctionTransformer(lambda strings: [s.lower() for s in strings]), model)
    assert cross_val_score(pipeline, X, Y, cv=2, scoring=make_scorer(bleu_score), error_score="raise").shape == (2,)


def test_scikit_learns_checks_of_estimators_of_strings():
    with pytest.warns(UserWarning, match="Can't test estimator"):  # as for CountVectorizer: one check applies
        check_estimator(SequenceTranslator(**_CHEAP))
    tags = SequenceTranslator().__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required


def test_it_is_pickled_copied_and_saved(translator, tmp_path):
    expected = outputs(translator.fit(X, Y))
    content = pickle.dumps(translator)
    assert b"skorch" not in content
    save(translator, tmp_path / "model")
    for opened in (pickle.loads(content), copy.deepcopy(translator), load(tmp_path / "model")):
        assert_same(outputs(opened), expected)
        assert opened.get_params(deep=False).keys() == translator.get_params(deep=False).keys()
        opened.partial_fit(X, Y)


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, lambda m: m.fit(X, None), "requires y to be passed"),
        ({}, lambda m: m.fit(X, Y[:3]), "inconsistent numbers of samples"),
        ({}, lambda m: m.fit(X, np.arange(len(X))), "y must hold strings, got np.int64.0"),
        ({}, lambda m: m.fit(X[:, None], Y), r"X must be strings in one dimension, got shape \(120, 1\)"),
        ({}, lambda m: m.fit("the dog", Y), "X must be strings in one dimension"),
        ({}, lambda m: m.fit([], []), "X must be strings in one dimension"),
        ({"cell": "rnn"}, lambda m: m.fit(X, Y), "cell"),
        ({"beam_size": 0}, lambda m: m.fit(X, Y), "beam_size"),
        ({"vocabulary": "words"}, lambda m: m.fit(X, Y), "vocabulary"),
        ({"max_iter": 1}, lambda m: m.fit(X, Y).predict_n_best(X, 0), "n must be an integer from 1 to 1000, got 0"),
        ({"max_iter": 1}, lambda m: m.fit(X, Y).log_prob(X, Y[:2]), "inconsistent numbers of samples"),
    ],
)
def test_what_is_refused(options, call, message):
    with pytest.raises(ValueError, match=message):
        call(SequenceTranslator(**{"vocabulary": WORDS, **_CHEAP, **options}))


def test_unfitted_is_said():
    model = SequenceTranslator()
    for call in (model.predict, model.predict_n_best, model.attention_weights):
        with pytest.raises(NotFittedError):
            call(X)
    for call in (model.log_prob, model.score):
        with pytest.raises(NotFittedError):
            call(X, Y)


def test_files_that_were_tampered_with_are_refused(tmp_path):
    model = SequenceTranslator(WORDS, **_CHEAP).fit(X, Y)
    for change, message in (
        (lambda m: setattr(m, "is_baseline_", not m.is_baseline_), "is_baseline_"),
        (lambda m: m._parameters.set_params(hidden_size=10**9), "hidden_size"),
        (lambda m: m._parameters.set_params(num_layers=10**6), "num_layers"),
        (lambda m: m._parameters.set_params(target_vocabulary=WORDS), "shared"),
        (lambda m: setattr(m._data, "longest_target", 10**12), "longest_target"),
        (lambda m: m.net_.plain_module.lexicon.entries.fill_(10**6), "lexicon.entries"),
        (lambda m: m.net_.plain_module.attention.ratio.zero_(), "attention.ratio"),
    ):
        changed = copy.deepcopy(model)
        change(changed)
        with pytest.raises(ValueError, match=re.escape(message)):
            save(changed, tmp_path / "changed")
