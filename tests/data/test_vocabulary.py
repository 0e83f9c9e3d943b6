"""Strings to rows of token numbers and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from sk_autoenc import Vocabulary, load, save

SMILES = r"\[[^]]*\]|Br|Cl|."


def test_there_and_back():
    strings = ["CC(=O)O", "ClC[nH]", "B", "BrCl"]
    vocabulary = Vocabulary(SMILES).fit(strings)
    assert {"Cl", "Br", "[nH]", "B"} <= set(vocabulary.tokens_)
    rows = vocabulary.transform(strings)
    assert rows.shape == (4, 7)
    assert (~np.isnan(rows)).sum(axis=1).tolist() == [7, 3, 1, 2]
    assert vocabulary.inverse_transform(rows).tolist() == strings
    assert vocabulary.inverse_transform([row[~np.isnan(row)] for row in rows]).tolist() == strings
    assert vocabulary.get_feature_names_out()[0] == "vocabulary0"
    assert clone(vocabulary).fit_transform(np.array(strings)).shape == (4, 7)


def test_words_with_rare_ones():
    vocabulary = Vocabulary(r"\w+", separator=" ", min_count=2, unknown="?", max_length=4)
    rows = vocabulary.fit_transform(["a dog, a cat", "a dog"])
    assert rows.dtype == np.float32
    assert vocabulary.tokens_.tolist() == ["?", "a", "dog"]
    np.testing.assert_array_equal(rows, [[1, 2, 1, 0], [1, 2, np.nan, np.nan]])
    assert vocabulary.inverse_transform(rows).tolist() == ["a dog a ?", "a dog"]
    assert vocabulary.inverse_transform(vocabulary.transform(["", "bird"])).tolist() == ["", "?"]


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, lambda v: v.transform(["cx"]), "has the token 'x', which is not in the vocabulary"),
        ({}, lambda v: v.transform(["c" * 9]), "at most max_length=2 tokens, got 9 tokens: "),
        ({}, lambda v: v.transform([]), r"must be strings in one dimension, got \[\]"),
        ({}, lambda v: v.transform([["c"]]), r"got shape \(1, 1\); pass the column itself"),
        ({}, lambda v: v.transform("cc"), "must be strings in one dimension"),
        ({}, lambda v: v.transform([1, 2]), "must hold strings, got 1"),
        ({}, lambda v: v.inverse_transform([[0, 5]]), "token numbers, integers from 0 to 0, got 5"),
        ({}, lambda v: v.inverse_transform([[0.5]]), "got 0.5"),
        ({"min_count": 9}, lambda v: v, "X must have a token .* min_count=9 times or more"),
        ({"max_length": 0}, lambda v: v, "max_length"),
        ({"max_length": 1}, lambda v: v, "at most max_length=1 tokens, got 2 tokens: 'cc'"),
        ({"token_pattern": "["}, lambda v: v, r"token_pattern must be a regular expression, got '\['"),
        ({"token_pattern": "c*"}, lambda v: v, r"token_pattern must not match the empty string, got 'c\*'"),
        ({}, lambda v: v.inverse_transform(np.zeros(2)), r"two axes, rows of token numbers, got shape \(2,\)"),
        ({}, lambda v: v.inverse_transform([[np.nan, 0]]), "NaN only after the end of a string"),
    ],
)
def test_what_is_refused(options, call, message):
    with pytest.raises(ValueError, match=message):
        call(Vocabulary(**options).fit(["c", "cc"]))


def test_a_fit_that_fails_leaves_what_was_there():
    vocabulary = Vocabulary(max_length=2).fit(["ab"])
    with pytest.raises(ValueError, match="max_length=2"):
        vocabulary.fit(["xyz"])
    assert vocabulary.transform(["ba"]).tolist() == [[1, 0]]
    unfitted = Vocabulary(max_length=2)
    with pytest.raises(ValueError, match="max_length=2"):
        unfitted.fit(["xyz"])
    assert not hasattr(unfitted, "tokens_")


# -- pieces of words


@given(st.lists(st.text(), min_size=1, max_size=6).filter(any), st.integers(1, 60))
def test_pieces_of_any_text_come_back_exactly(strings, n):
    vocabulary = Vocabulary(subwords=n).fit(strings)
    assert ["".join(tokens) for tokens in vocabulary.tokenize(strings)] == strings
    assert vocabulary.inverse_transform(vocabulary.transform(strings)).tolist() == strings
    assert len(vocabulary.tokens_) <= max(n, len(set("".join(strings))))
    assert {token for tokens in vocabulary.tokenize(strings) for token in tokens} <= {*vocabulary.tokens_}


def test_the_most_frequent_neighbours_are_joined_first():
    """By hand: "ab" stands 5 times; then "abc" twice, " ab" twice, and the blank comes first."""
    vocabulary = Vocabulary(subwords=6).fit(["abc ab", "abc ab", "ab"])
    assert vocabulary.tokens_.tolist() == [" ", "a", "b", "c", "ab", " ab"]
    assert vocabulary.tokenize(["abc ab", "cab b"]) == [["ab", "c", " ab"], ["c", "ab", " ", "b"]]


def test_pieces_do_not_depend_on_the_order_of_strings():
    strings = ["the lower road", "a new road", "the newest lower house", "a widest wide road"]
    forward, back = (Vocabulary(subwords=40).fit(s).tokens_.tolist() for s in (strings, strings[::-1]))
    assert forward == back
    assert len(forward) > len(set("".join(strings)))


def test_pieces_end_at_words_and_are_joined_of_what_the_pattern_matches():
    assert Vocabulary(subwords=99).fit(["a. a. a. a."]).tokens_.tolist() == [" ", ".", "a", " a"]
    atoms = Vocabulary(r"\[[^]]*\]|Br|Cl|.", subwords=99).fit(["CCl[nH]", "CCl[nH]"])
    assert "CCl" in atoms.tokens_
    assert not {"l", "H", "n"} & {*atoms.tokens_}


def test_characters_that_training_strings_lack_are_unknown():
    vocabulary = Vocabulary(subwords=9, unknown="?").fit(["abab?", "abab"])
    assert vocabulary.tokens_.tolist() == ["?", "a", "b", "ab", "abab"]
    assert Vocabulary(subwords=9, unknown="?", max_length=4).fit(["abab?", "abab"]).transform(["abxa?"]).tolist() == [
        [3, 0, 1, 0]
    ]
    with pytest.raises(ValueError, match="has the token 'x'"):
        Vocabulary(subwords=9).fit(["ab"]).transform(["xa"])
    with pytest.raises(ValueError, match="separator must be '' with subwords=9, got ' '"):
        Vocabulary(subwords=9, separator=" ").fit(["ab"])


def test_pieces_are_saved(tmp_path):
    vocabulary = Vocabulary(subwords=30).fit(["the lower road", "the new road"])
    save(vocabulary, tmp_path / "pieces")
    assert load(tmp_path / "pieces").tokenize(["the lowest"]) == vocabulary.tokenize(["the lowest"])
