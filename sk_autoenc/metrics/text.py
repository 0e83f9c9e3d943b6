"""Scores of translated strings against references; public in ``metrics``."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

#: Longest n-grams that are compared.
_ORDER = 4

#: The rules of the 13a tokenizer: signs stand alone, but not full stops and commas within numbers.
_RULES = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def bleu_score(y_true: Any, y_pred: Any, *, tokenize: str = "13a", lowercase: bool = False) -> float:
    r"""Corpus BLEU: how many n-grams of translations stand in their references, from 0 to 100.

    .. math:: \text{BLEU} = 100 \min(1, e^{1 - r/c}) \Bigl(\prod_{n=1}^4 p_n\Bigr)^{1/4}

    with :math:`p_n` the share of all n-grams of length :math:`n` that stand in a reference, each as often at most as
    there, and :math:`c, r` the number of tokens of all translations and of the references nearest in length [1]_. Where
    no n-gram of a length is right, half of one counts, then a quarter, and so on. Equal to the default of sacrebleu
    [2]_, so figures can be compared with published ones.

    Parameters
    ----------
    y_true : sequence of str, or of sequences of str
        A reference for each translation, or several.
    y_pred : sequence of str
        Translations.
    tokenize : {"13a", "char", "none"}, default="13a"
        How strings are cut: by the rules of the WMT campaigns, into characters, or at blanks alone.
    lowercase : bool, default=False
        Whether upper case is ignored.

    Returns
    -------
    float
        BLEU of the whole corpus; the mean over single sentences is another figure.

    Raises
    ------
    ValueError
        If the lengths differ, there is nothing to compare, one is a single string, or ``tokenize`` is unknown.

    References
    ----------
    .. [1] Papineni, Roukos, Ward, Zhu (2002). BLEU: a method for automatic evaluation of machine translation. ACL.
    .. [2] Post (2018). A call for clarity in reporting BLEU scores. WMT.

    Examples
    --------
    >>> from sk_autoenc.metrics import bleu_score
    >>> round(bleu_score(["the cat sat on the mat"], ["the cat sat on a mat"]), 2)
    53.73
    """
    if tokenize not in _TOKENIZERS:
        raise ValueError(f"tokenize must be one of {sorted(_TOKENIZERS)}, got {tokenize!r:.60}.")
    if isinstance(y_true, str) or isinstance(y_pred, str):
        raise ValueError(f"y_true and y_pred must be sequences of strings, got {y_true!r:.60} and {y_pred!r:.60}.")
    references = [[given] if isinstance(given, str) else list(given) for given in y_true]
    made = list(y_pred)
    if len(references) != len(made) or not made or not all(references):
        raise ValueError(
            f"y_true and y_pred must be of one length above 0, with a reference or more each, got {len(references)} "
            f"and {len(made)}."
        )
    n_right, n_all, n_made, n_wanted = [0] * _ORDER, [0] * _ORDER, 0, 0
    for translation, given in zip(made, references, strict=True):
        tokens, *wanted = (_cut(string, tokenize, lowercase) for string in (translation, *given))
        n_made += len(tokens)
        n_wanted += min((abs(len(other) - len(tokens)), len(other)) for other in wanted)[1]
        known: Counter[tuple[str, ...]] = Counter()
        for other in wanted:
            known |= _n_grams(other)  # each as often as in the reference that has it most often
        for n_gram, count in _n_grams(tokens).items():
            n_all[len(n_gram) - 1] += count
            n_right[len(n_gram) - 1] += min(count, known[n_gram])
    return _combine(n_right, n_all, n_made, n_wanted)


def _combine(n_right: Sequence[int], n_all: Sequence[int], n_made: int, n_wanted: int) -> float:
    """The formula, from the counts over all translations."""
    if not any(n_right) or not all(n_all):
        return 0.0
    logs, counted = 0.0, 1.0
    for right, total in zip(n_right, n_all, strict=True):
        counted = counted if right else counted / 2
        logs += math.log((right or counted) / total)
    return 100 * math.exp(min(0.0, 1 - n_wanted / n_made) + logs / _ORDER)


def _n_grams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, _ORDER + 1) for i in range(len(tokens) - n + 1))


def _cut(string: Any, tokenize: str, lowercase: bool) -> list[str]:
    if not isinstance(string, str):
        raise ValueError(f"y_true and y_pred must hold strings, got {string!r:.60}.")
    return list(_TOKENIZERS[tokenize](string.lower() if lowercase else string))


def _tokens_13a(line: str) -> Iterable[str]:
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for entity, sign in _ENTITIES:
            line = line.replace(entity, sign)
    line = f" {line} "
    for pattern, spaced in _RULES:
        line = pattern.sub(spaced, line)
    return line.split()


_TOKENIZERS = {"13a": _tokens_13a, "char": lambda line: "".join(line.split()), "none": str.split}
