"""Strings into strings: a network that reads one sequence of tokens and writes another, beginning at a lexicon."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import names_its_class
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.stored_targets import storable_translator
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.translations import MOST_TOKENS, StringPairs, check_strings, padded
from sk_autoenc.data.vocabulary import Vocabulary
from sk_autoenc.initialization.lexicon import FrequencyStart, LexiconStart
from sk_autoenc.initialization.start import Start
from sk_autoenc.metrics import bleu_score
from sk_autoenc.nn.beam import Hypotheses, beam_search
from sk_autoenc.nn.blocks import ALIGNED_WIDTH
from sk_autoenc.nn.translation import Translations, Translator
from sk_autoenc.storage import flag
from sk_autoenc.training.nets import Terms
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import NATS, RowLosses

#: Translations that are continued at once.
_MOST_BEAMS = 1000

#: Tokens of the default vocabulary.
_N_SUBWORDS = 4000

#: Rows that are computed at once, all of about the same length. Their number is fixed, as kernels depend on it.
_BLOCK = 32


class Alignment(NamedTuple):
    """Where each token of a translation looked; the last token of each side is its end."""

    source: list[str]
    target: list[str]
    weights: np.ndarray  # (n_target, n_source), each row adds up to 1


def negative_log_likelihood(output: Translations, batch: Batch) -> Terms:
    r""":math:`-\log p(y|x) = -\sum_t \log p(y_t | y_{<t}, x)` of each row, in nats, the end included."""
    assert batch.y is not None
    return {"negative_log_likelihood": -output.log_prob(batch.y)}


@storable_translator(is_baseline_=flag)
class SequenceTranslator(NeuralEstimator):
    r"""Turn strings into strings: translate, summarise, spell, normalise.

    An encoder reads the tokens of a string, and a decoder writes those of another one by one, each given those before
    and what attention finds in the string [1]_, [2]_. Training begins at a translation word by word: a lexicon is
    learned of the pairs by IBM model 1 [3]_, and enters the logits through attention [4]_. Where held-out pairs say
    that the network is not better, the result is that translation (``is_baseline_``).

    Parameters
    ----------
    vocabulary : Vocabulary or "auto", default="auto"
        How strings are cut into tokens; it is cloned and fitted. ``"auto"`` is ``Vocabulary(subwords=4000)``.
    target_vocabulary : Vocabulary or None, default=None
        The same for ``y``. None learns one vocabulary of both sides together; then tokens may be copied.
    hidden_size : int, default=256
        Number of units; embeddings have half as many.
    cell : {"gru", "lstm", "transformer"}, default="gru"
        Layers of encoder and decoder.
    num_layers : int, default=1
        Number of layers of each.
    attention : {"dot", "additive"}, default="dot"
        Score of a place: an inner product [2]_, or a network of one layer [1]_.
    lexicon : bool, default=True
        Whether training begins at a lexicon. Without it, it begins at the frequencies of tokens.
    dropout : float, default=0.1
        Share of embeddings and of states that are set to 0 in training.
    beam_size : int, default=4
        Number of translations that are continued at once; 1 takes the most probable token at every step. This
        parameter and the three that follow may be changed after the fit.
    length_penalty : float, default=1.0
        Translations are compared by log-probability over ``length ** length_penalty``.
    max_length : int or None, default=None
        Largest number of tokens of a translation. None is that of the training targets, in proportion to strings that
        are longer than those of training.
    unknown : {"copy", "drop"}, default="copy"
        What stands for unknown tokens in translations: the token at the place that attention prefers, or nothing.
    max_iter : int, default=30
        Number of epochs, at most.
    batch_size : int or "auto", default=64
        Pairs per step; ``"auto"`` is a twentieth of all pairs, at least 32 and at most 512.
    learning_rate : float, default=0.003
        Size of the steps.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        The optimizer.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=True
        Whether training stops when the log-probability of held-out pairs does not rise any more, and whether it is
        compared with the baseline's.
    validation_fraction : float, default=0.1
        Share of pairs held out, from 600 pairs on. From 40 pairs on four folds are held out, by four further fits; with
        fewer the translation word by word is the result.
    n_iter_no_change : int, default=4
        Epochs without improvement before training stops.
    tol : float, default=1e-3
        Improvement that counts, in nats per string.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch.
    net_params : dict or None, default=None
        More for the optimizer, as ``optimizer__<name>``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, dropout and the order of pairs; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    vocabulary_, target_vocabulary_ : Vocabulary
        The fitted vocabularies; the same object if they are shared.
    lexicon_ : csr_array of shape (n_tokens + 2, n_target_tokens + 2)
        Probabilities of the most probable translations of each token, by the numbers of tokens in ``tokens_``; the
        last two are unknown tokens and the end. None without a lexicon.
    is_baseline_ : bool
        Whether the result is the translation word by word.
    net_ : ObjectiveNet
        The trained skorch net.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Negative log-likelihood of a pair in each epoch, in nats.
    loss_curves_ : dict of str to list of float
        The same, by the name of the term.
    validation_loss_curve_ : list of float
        The same of held-out pairs.
    device_ : str
        The device in use.

    See Also
    --------
    Vocabulary : Tokens of strings.
    sk_autoenc.metrics.bleu_score : What ``score`` measures.
    sk_autoenc.inspection.AttentionDisplay : Draws where tokens looked.

    References
    ----------
    .. [1] Bahdanau, Cho, Bengio (2015). Neural machine translation by jointly learning to align and translate. ICLR.
    .. [2] Luong, Pham, Manning (2015). Effective approaches to attention-based neural machine translation. EMNLP.
    .. [3] Brown, Della Pietra, Della Pietra, Mercer (1993). The mathematics of statistical machine translation.
       Computational Linguistics 19(2).
    .. [4] Arthur, Neubig, Nakamura (2016). Incorporating discrete translation lexicons into neural machine
       translation. EMNLP.

    Examples
    --------
    >>> from sk_autoenc import SequenceTranslator, Vocabulary
    >>> english = ["a dog", "a red dog", "a red cat", "a cat"]
    >>> german = ["ein Hund", "ein roter Hund", "eine rote Katze", "eine Katze"]
    >>> words = Vocabulary(r"\w+", separator=" ")
    >>> model = SequenceTranslator(words, target_vocabulary=words, hidden_size=32, max_iter=60, early_stopping=False,
    ...                            random_state=0).fit(english, german)
    >>> model.predict(["a red cat", "a dog"]).tolist()
    ['eine rote Katze', 'ein Hund']
    """

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "vocabulary": [Vocabulary, StrOptions({"auto"})],
        "target_vocabulary": [Vocabulary, None],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "cell": [StrOptions({"gru", "lstm", "transformer"})],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "attention": [StrOptions({"dot", "additive"})],
        "lexicon": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "beam_size": [Interval(Integral, 1, _MOST_BEAMS, closed="both")],
        "length_penalty": [Interval(Real, 0, 10, closed="both")],
        "max_length": [Interval(Integral, 1, MOST_TOKENS, closed="both"), None],
        "unknown": [StrOptions({"copy", "drop"})],
    }

    _changeable_parameters = (
        *NeuralEstimator._changeable_parameters,
        "beam_size",
        "length_penalty",
        "max_length",
        "unknown",
    )

    #: Strings have no shape.
    input_shape_: tuple[int, ...] = ()

    def __init__(
        self,
        vocabulary="auto",
        *,
        target_vocabulary=None,
        hidden_size=256,
        cell="gru",
        num_layers=1,
        attention="dot",
        lexicon=True,
        dropout=0.1,
        beam_size=4,
        length_penalty=1.0,
        max_length=None,
        unknown="copy",
        max_iter=30,
        batch_size=64,
        learning_rate=0.003,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.0,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=4,
        tol=1e-3,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.vocabulary = vocabulary
        self.target_vocabulary = target_vocabulary
        self.hidden_size = hidden_size
        self.cell = cell
        self.num_layers = num_layers
        self.attention = attention
        self.lexicon = lexicon
        self.dropout = dropout
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.max_length = max_length
        self.unknown = unknown
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- the hooks

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        return check_strings(X, "X")

    def _make_plan(self, request: FitRequest) -> Plan:
        splits = self._splits(request)
        data = request.data if request.X is None else self._pairs(request, splits)
        n_source, n_target = len(data.source.tokens_), len(data.target.tokens_)
        start: Start = FrequencyStart()
        if self.lexicon:
            start = LexiconStart(n_source, n_target, is_shared=data.is_shared)
        return Plan(
            module=partial(
                Translator,
                n_source,
                n_target,
                cell=self.cell,
                size=self.hidden_size,
                n_layers=self.num_layers,
                attention=self.attention,
                has_lexicon=self.lexicon,
                dropout=self.dropout,
            ),
            objective=negative_log_likelihood,
            start=start,
            data=data,
            splits=splits,
            selection=RowLosses(self.n_iter_no_change, self.tol, NATS),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            verbose=self.verbose,
        )

    def _pairs(self, request: FitRequest, splits: Sequence[Any]) -> StringPairs:
        """What reads strings; vocabularies are learned of the training rows."""
        if request.y is None:
            raise ValueError("SequenceTranslator requires y to be passed, but the target y is None.")
        X, y = request.X, check_strings(request.y, "y")
        check_consistent_length(X, y)
        if request.data is not None:
            return request.data
        if len(splits) == 1:
            chosen = splits[0][0].numpy()
            X, y = X[chosen], y[chosen]  # type: ignore[index]
        vocabulary = Vocabulary(subwords=_N_SUBWORDS) if isinstance(self.vocabulary, str) else self.vocabulary
        return StringPairs.fitted(vocabulary, self.target_vocabulary, X, y)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.is_baseline_ = result.kept_start

    # -- public

    @names_its_class
    def fit(self, X, y, *, groups=None):
        """Learn from pairs of strings.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings: a list, an array or a column of a data frame.
        y : array-like of str of shape (n_samples,)
            What they are to become.
        groups : array-like of shape (n_samples,) or None, default=None
            A label for each pair, such as a document; pairs that share one are held out together.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y, groups=groups)

    @names_its_class
    def partial_fit(self, X, y):
        """Train for one epoch, at a constant rate; the first call learns the vocabularies and the lexicon.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        y : array-like of str of shape (n_samples,)
            What they are to become.

        Returns
        -------
        self : object
            The estimator, trained further.
        """
        return super().partial_fit(X, y)

    def predict(self, X):
        """Translate strings.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.

        Returns
        -------
        ndarray of str of shape (n_samples,)
            The translations, with dtype object.
        """
        return self._search(X, 1)[0][:, 0]

    def predict_n_best(self, X, n=4):
        """The best translations that a beam search finds, the best one first.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        n : int, default=4
            Number of translations of each; the beam is as wide at least.

        Returns
        -------
        translations : ndarray of str of shape (n_samples, n)
            Translations, with dtype object.
        log_prob : ndarray of shape (n_samples, n)
            Their log-probabilities in nats; minus infinity, and ``""``, if there are not so many.
        """
        if not isinstance(n, Integral) or not 1 <= n <= _MOST_BEAMS:
            raise ValueError(f"n must be an integer from 1 to {_MOST_BEAMS}, got {n!r:.60}.")
        return self._search(X, int(n))

    def log_prob(self, X, y):
        r"""Log-probability of each translation, :math:`\log p(y|x)`.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        y : array-like of str of shape (n_samples,)
            A translation of each.

        Returns
        -------
        ndarray of shape (n_samples,)
            Nats of the tokens and the end together; float64.
        """
        check_is_fitted(self)
        X, y = check_strings(X, "X"), check_strings(y, "y")
        check_consistent_length(X, y)
        sides = self._data.read(X)[1], self._data.read_targets(y)
        found = np.empty(len(X))
        for rows, *pair in self._blocks(*sides):
            found[rows] = self._module.log_prob(*pair).double().cpu().numpy()[: len(rows)]
        return found

    def score(self, X, y):
        """Corpus BLEU of the predictions, from 0 to 1.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        y : array-like of str of shape (n_samples,)
            Their right translations.

        Returns
        -------
        float
            :func:`sk_autoenc.metrics.bleu_score` over 100. It is 0 for strings of less than four words; use
            ``make_scorer`` with another metric for these.
        """
        return bleu_score(check_strings(y, "y"), self.predict(X)) / 100

    def attention_weights(self, X, y=None):
        """Where each token of a translation looked.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings.
        y : array-like of str of shape (n_samples,) or None, default=None
            Translations; None takes those that ``predict`` finds.

        Returns
        -------
        list of Alignment
            For each pair ``source`` and ``target``, tokens with ``"<end>"`` as the last one, and ``weights``, an array
            of shape (n_target_tokens, n_source_tokens) whose rows add up to 1.
        """
        check_is_fitted(self)
        X = check_strings(X, "X")
        tokens, source = self._data.read(X)
        y = self.predict(X) if y is None else check_strings(y, "y")
        check_consistent_length(X, y)
        written = self._data.target.tokenize(y)
        target = self._data.read_targets(y)
        found: list[Any] = [None] * len(X)
        for rows, *pair in self._blocks(source, target):
            weights = self._module.attended(*pair).cpu().numpy()
            for row, of_row in zip(rows, weights, strict=False):
                sides = [*written[row], "<end>"], [*tokens[row], "<end>"]
                found[row] = Alignment(sides[1], sides[0], of_row[: len(sides[0]), : len(sides[1])].copy())
        return found

    @property
    def vocabulary_(self) -> Vocabulary:
        """The vocabulary of ``X``."""
        return self._data.source

    @property
    def target_vocabulary_(self) -> Vocabulary:
        """The vocabulary of ``y``."""
        return self._data.target

    @property
    def lexicon_(self) -> csr_array | None:
        """Probabilities of the most probable translations of each token."""
        lexicon = self._module.lexicon
        if lexicon is None:
            return None
        shares, entries = lexicon.shares.cpu().numpy(), lexicon.entries.cpu().numpy()
        source, which = np.nonzero(shares)
        shape = (len(shares), lexicon.n_target)
        return csr_array((shares[source, which], (source, entries[source, which])), shape=shape)

    # -- inference

    @property
    def _module(self) -> Translator:
        return self.net_.plain_module

    def _search(self, X, n_best: int) -> tuple[np.ndarray, np.ndarray]:
        """The best translations of each string, and their log-probabilities."""
        check_is_fitted(self)
        tokens, numbers = self._data.read(check_strings(X, "X"))
        limits = np.array([self._data.limit(len(row), self.max_length) for row in numbers])
        strings = np.full((len(numbers), n_best), "", dtype=object)
        log_prob = np.full((len(numbers), n_best), -np.inf)
        search = partial(
            beam_search, self._module, n_beams=max(self.beam_size, n_best), length_penalty=self.length_penalty
        )
        for rows, x in self._blocks(numbers, order=limits):
            own = limits[[*rows, *rows[:1] * (len(x) - len(rows))]]
            found = search(x, torch.from_numpy(own).to(x.device))
            for row, *best in zip(rows, *(part.cpu().numpy() for part in found), strict=False):
                log_prob[row] = best[2][:n_best]
                strings[row] = list(self._strings(tokens[row], Hypotheses(*best), n_best))
        return strings, log_prob

    def _strings(self, source: Sequence[str], best: Any, n_best: int) -> Iterator[str]:
        """What was written of one string."""
        for written, looked_at in zip(best.tokens[:n_best], best.looked_at[:n_best], strict=True):
            written, looked_at = written[written >= 0], looked_at[written >= 0]
            places = looked_at[written == self._data.to_language.unknown]
            copied = [source[j] if self.unknown == "copy" and j < len(source) else "" for j in places]
            yield self._data.to_language.string(written, copied)

    def _blocks(self, *sides: Sequence[np.ndarray], order: np.ndarray | None = None) -> Iterator[tuple]:
        """Rows in blocks of one number, and of one length on each side, which a row's own lengths determine.

        Yields the numbers of the rows, and a tensor for each side. The last rows of a block may repeat its first one.
        """
        kinds: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, sequences in enumerate(zip(*sides, strict=True)):
            kinds[tuple(-(-len(part) // ALIGNED_WIDTH) * ALIGNED_WIDTH for part in sequences)].append(row)
        for widths, members in kinds.items():
            if order is not None:  # rows of like length end together
                members = sorted(members, key=lambda row: (order[row], len(sides[0][row])))
            for begin in range(0, len(members), _BLOCK):
                rows = members[begin : begin + _BLOCK]
                filled = [*rows, *rows[:1] * (_BLOCK - len(rows))]
                with torch.inference_mode():
                    yield (
                        rows,
                        *(
                            torch.from_numpy(padded([side[row] for row in filled], width)).to(self.device_)
                            for side, width in zip(sides, widths, strict=True)
                        ),
                    )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, True, False
        tags.target_tags.required = True
        return tags
