"""BLEU against sacrebleu, which is asked where it is installed, and whose figures of some strings stand here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_autoenc.metrics import bleu_score

REFERENCES = ["The cat's 3.5 sat, on the mat.", "A man (in red) paid $5 on 10-11 &quot;May&quot;.", "Zwei Männer."]
MADE = ["The cat's 3,5 sat on the mat.", "A man in red paid $5 on 10-11 &quot;May&quot;.", "Zwei Männer stehen."]


@pytest.mark.parametrize(
    ("options", "made", "figure"),
    [
        ({}, MADE, 59.78185242139827),
        ({}, [line.lower() for line in MADE], 43.244059549320816),
        ({}, ["man", "", "Zwei"], 0.0),
        ({"tokenize": "char"}, MADE, 80.8965358979168),
        ({"tokenize": "char"}, [line.lower() for line in MADE], 69.29496946850232),
        ({"tokenize": "char"}, ["man", "", "Zwei"], 0.005162843976143404),
        ({"tokenize": "none"}, MADE, 38.09137041667079),
        ({"tokenize": "none"}, [line.lower() for line in MADE], 24.175708369133634),
        ({"tokenize": "none"}, ["man", "", "Zwei"], 0.0),
        ({"lowercase": True}, MADE, 59.78185242139827),
        ({"lowercase": True}, [line.lower() for line in MADE], 59.78185242139827),
        ({"lowercase": True}, ["man", "", "Zwei"], 0.0),
    ],
)
def test_figures_of_sacrebleu(options, made, figure):
    assert bleu_score(REFERENCES, made, **options) == pytest.approx(figure, abs=1e-6)


_WORDS = st.sampled_from(
    [*"The the cat's 3.5 sat, on mat. &quot;x&quot; a-b 10-11 (see) $5 3,000 <skipped> Äpfel".split(), "ein-\nmal"]  # noqa: SIM905
)
_STRINGS = st.lists(_WORDS, max_size=10).map(" ".join)


@given(st.lists(st.tuples(_STRINGS, _STRINGS, _STRINGS), min_size=1, max_size=5), st.booleans())
def test_any_corpus_has_the_score_of_sacrebleu(rows, lowercase):
    sacrebleu = pytest.importorskip("sacrebleu")
    made, first, second = (list(column) for column in zip(*rows, strict=True))
    for tokenize in ("13a", "char", "none"):
        expected = sacrebleu.corpus_bleu(made, [first, second], tokenize=tokenize, lowercase=lowercase, force=True)
        pairs = list(zip(first, second, strict=True))
        assert bleu_score(pairs, made, tokenize=tokenize, lowercase=lowercase) == pytest.approx(
            expected.score, abs=1e-6
        )


def test_by_hand():
    """Six of seven words, four of six pairs, three of five triples, two of four fours; nothing is too short."""
    found = bleu_score(["a b c d e f g"], ["a b c d e x g"], tokenize="none")
    assert found == pytest.approx(100 * (6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25)
    short = bleu_score(["a b c d e f g h"], ["a b c d e f"], tokenize="none")
    assert short == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 6))


@pytest.mark.parametrize(
    ("y_true", "y_pred", "options", "message"),
    [
        (["a"], ["a", "b"], {}, "one length above 0, with a reference or more each, got 1 and 2"),
        ([], [], {}, "got 0 and 0"),
        ([[]], ["a"], {}, "a reference or more"),
        ("a b c d", "a b c d", {}, "must be sequences of strings, got 'a b c d'"),
        (["a"], [3], {}, "must hold strings, got 3"),
        (["a"], ["a"], {"tokenize": "words"}, r"tokenize must be one of \['13a', 'char', 'none'\], got 'words'"),
    ],
)
def test_what_is_refused(y_true, y_pred, options, message):
    with pytest.raises(ValueError, match=message):
        bleu_score(y_true, y_pred, **options)
