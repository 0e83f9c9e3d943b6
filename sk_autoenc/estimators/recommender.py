"""The recommender: an autoencoder with a multinomial likelihood of a user's items, beside a linear model of items."""

from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions, in_chosen_container
from sk_autoenc._messages import names_its_class
from sk_autoenc.architectures import Architecture, architecture_object, as_architecture
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.stored_tables import storable_recommender
from sk_autoenc.data.dataset import Batch, Rows, WholeBatches
from sk_autoenc.data.interactions import Interactions, best_first
from sk_autoenc.data.sparse import SparseBlock
from sk_autoenc.data.splits import Split, split_rows
from sk_autoenc.data.validation import as_array, check_range, keep_shape
from sk_autoenc.initialization.ease import ease_weights, item_gram
from sk_autoenc.metrics import FoldIn, fold_in_split, ndcg_at_k
from sk_autoenc.nn.recommender import MultinomialAutoencoder, RecommenderOutput, SparseLinear, multinomial_log_prob
from sk_autoenc.training.inference import LARGE_BLOCK, map_blocks
from sk_autoenc.training.plan import Phase, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import RowFigures, is_lower

#: EASE takes the cube of the number of items in time, and its square in memory: 1.6 GB at so many.
MOST_EASE_ITEMS = 20_000

#: Candidates of ``l2="auto"``, and what it is for more items than this, where each candidate takes seconds.
_L2, _USUAL_L2, _ITEMS_TO_SEARCH = (100.0, 200.0, 400.0, 800.0, 1600.0), 500.0, 3000

#: The network's share of the scores with ``blend="auto"``, if EASE alone is not better by more than chance.
_BLEND = 0.5

#: Length of the rankings that choose the epoch and the blend, and that ``score`` evaluates; share of items shown.
_RANKS, _SHOWN = 100, 0.8


class Recommendations(NamedTuple):
    """Items for each user, the best first, and their scores; both of shape (n_users, n_items)."""

    items: np.ndarray
    scores: np.ndarray


def negative_bound(
    output: RecommenderOutput, batch: Batch, *, beta: float, kl_weight: Tensor | float = 1.0
) -> dict[str, Tensor]:
    r"""Minus the multinomial log-probability of each row, and with drawn codes their KL divergence.

    .. math:: -\sum_i x_i \log \mathrm{softmax}(f(z))_i + \beta w \, \mathrm{KL}(q(z|x) \,\|\, N(0, I))

    where the weight :math:`w` rises to 1 over the first epochs (Liang et al. 2018). Without codes' posterior the first
    term is left. The multinomial coefficient depends on no weight, and is left out.
    """
    terms = {"reconstruction": -multinomial_log_prob(output.logits, batch.x)}
    if output.posterior is not None:
        terms["kl"] = beta * kl_weight * output.posterior.kl_from_normal().sum(-1)
    return terms


def standardized(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Scores of each row with mean 0 and variance 1 over the known items."""
    seen = scores[:, known]
    center, scale = seen.mean(axis=1, keepdims=True), seen.std(axis=1, keepdims=True)
    return (scores - center) / np.where(scale > 0, scale, 1)


def blended(net_scores: Any, linear_scores: Any, share: float, popularity: np.ndarray, is_empty: Any) -> np.ndarray:
    """Both standardised scores of every item, the first with this share; what nobody has comes last.

    Users without items get the popularity of the items.
    """
    known = popularity > 0
    scores = np.zeros((len(is_empty), len(popularity)), dtype=np.float32)
    for weight, part in ((share, net_scores), (1 - share, linear_scores)):
        if part is not None and weight:
            scores += np.float32(weight) * standardized(part, known)
    scores[is_empty] = standardized(popularity[None], known)
    scores[:, ~known] = scores.min(axis=1, keepdims=True) - 1
    return scores


@storable_recommender(Interactions)
class AutoencoderRecommender(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralEstimator):
    r"""Recommend items to users by what they have: an autoencoder of sparse rows, beside a linear model.

    A row is a user, a column an item, an entry how often the user chose it, or a rating. The autoencoder makes a code
    of the items that a user has, and of the code a probability of every item [1]_:

    .. math:: \log p(x | z) = \sum_i x_i \log \mathrm{softmax}(f(z))_i + \mathrm{const}

    Entries of the input are hidden at random in training. Beside it stands EASE [2]_, the matrix of weights between
    items that best predicts each column from the others, in closed form. Both scores are standardised for each user and
    averaged, which ranks better than either alone. Users need not be among those of ``fit``. The matrix is never dense
    beyond a block of users.

    Parameters
    ----------
    n_components : int, default=200
        Length of a user's code.
    architecture : sequence of int or MLP, default=()
        Hidden layers of the encoder, between the items and the code, and in reverse of the decoder. Widths are short
        for an :class:`MLP` with ``activation="tanh"`` and, with ``kind="denoising"``, ``code_activation="tanh"``.
    kind : {"denoising", "variational"}, default="denoising"
        ``"denoising"`` is Mult-DAE, with one code for a user. ``"variational"`` is Mult-VAE, whose codes are drawn in
        training and held near the standard normal distribution.
    baseline : {"ease"} or None, default="ease"
        The linear model beside the network. EASE takes memory by the square, and time by the cube, of the number of
        items, which may be 20 000 at most.
    blend : float or "auto", default="auto"
        The network's share of the scores, from 0 to 1. 0 is EASE alone, and trains no network; 1 is the network alone.
        ``"auto"`` is 0.5, unless held-out users rank better by EASE alone, by more than chance explains: then it is 0.
    l2 : float or "auto", default="auto"
        Penalty :math:`\lambda` on the weights of EASE. ``"auto"`` is chosen from 100, 200, ..., 1600 by held-out users;
        with more than 3000 items it is 500.
    threshold : float or None, default=None
        Ratings that reach it count as 1, and lower ones do not count, but are not recommended either. None takes
        entries as counts.
    dropout : float, default=0.5
        Probability with which an entry of the input is hidden in a training step.
    beta : float, default=0.2
        Weight of the KL divergence with ``kind="variational"``.
    n_warmup_epochs : int or "auto", default="auto"
        Epochs over which that weight rises; ``"auto"`` is a quarter of ``max_iter``.
    max_iter : int, default=100
        Largest number of epochs.
    batch_size : int or "auto", default="auto"
        Users per step; ``"auto"`` is a twentieth of them, at least 32 and at most 512.
    learning_rate : float, default=0.001
        Size of the steps.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=True
        Whether to stop when the ranking of held-out users' hidden items no longer improves, and to return to the best
        weights. From 600 users on there is one split; from 40 to 599, four folds, by four further fits.
    validation_fraction : float, default=0.1
        Share of users held out.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        Improvement of NDCG@100 that counts.
    warm_start : bool, default=False
        Whether ``fit`` trains the network further. The linear model is fitted anew.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch of the final network.
    net_params : dict or None, default=None
        More for the optimizer, as ``optimizer__<name>``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one. EASE computes on the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, held-out users and items, and hidden entries; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : ObjectiveNet
        The trained skorch net.
    blend_ : float
        The network's share of the scores that is used.
    linear_weights_ : ndarray of shape (n_features_in_, n_features_in_) or None
        EASE: a user's score of item j is the sum of column j over the items that the user has. None without baseline.
    l2_ : float or None
        The penalty of EASE.
    item_popularity_ : ndarray of shape (n_features_in_,)
        Sum of every column.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Mean loss of each epoch.
    loss_curves_ : dict of str to list of float
        The same by term: ``"reconstruction"`` and, with drawn codes, ``"kl"``.
    validation_loss_curve_ : list of float
        Minus the network's NDCG@100 on held-out users after each epoch.
    n_features_in_ : int
        Number of items.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    sklearn.decomposition.TruncatedSVD : A linear code of sparse rows.
    sk_autoenc.metrics.ndcg_at_k : Evaluates rankings.

    Notes
    -----
    Users without items get the most popular ones. Items that no user of ``fit`` had come last.

    References
    ----------
    .. [1] Liang, Krishnan, Hoffman, Jebara (2018). Variational autoencoders for collaborative filtering. WWW.
    .. [2] Steck (2019). Embarrassingly shallow autoencoders for sparse data. WWW.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from sk_autoenc import AutoencoderRecommender
    >>> X = csr_array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1]] * 5)
    >>> model = AutoencoderRecommender(2, max_iter=5, l2=1.0, random_state=0).fit(X)
    >>> model.recommend(csr_array([[1, 0, 0, 0]]), n_items=2).items.tolist()
    [[1, 2]]
    """

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "kind": [StrOptions({"denoising", "variational"})],
        "baseline": [StrOptions({"ease"}), None],
        "blend": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "l2": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "threshold": [Interval(Real, None, None, closed="neither"), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "n_warmup_epochs": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
    }

    _changeable_parameters = (*NeuralEstimator._changeable_parameters, "blend", "l2")

    def __init__(
        self,
        n_components=200,
        *,
        architecture=(),
        kind="denoising",
        baseline="ease",
        blend="auto",
        l2="auto",
        threshold=None,
        dropout=0.5,
        beta=0.2,
        n_warmup_epochs="auto",
        max_iter=100,
        batch_size="auto",
        learning_rate=0.001,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.0,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.kind = kind
        self.baseline = baseline
        self.blend = blend
        self.l2 = l2
        self.threshold = threshold
        self.dropout = dropout
        self.beta = beta
        self.n_warmup_epochs = n_warmup_epochs
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

    def _make_plan(self, request: FitRequest) -> Plan:
        n_items = request.shape[0]
        self._check_combinations(n_items)
        data = request.data or Interactions(n_items, self.threshold)
        if request.X is not None and not data.counted(request.X).nnz:
            raise ValueError(f"X must have entries above 0 that reach threshold={self.threshold}, got none.")
        is_variational = self.kind == "variational"
        trains = self.blend == "auto" or self.blend > 0
        return Plan(
            module=partial(self._make_module, self._checked_architecture(), n_items),
            objective=partial(negative_bound, beta=self.beta),
            data=data,
            splits=self._splits(request) if trains else (),
            selection=RowFigures(self.n_iter_no_change, self.tol, minus_ndcg),
            phases=self._phases(request) if trains else (Phase(0),),
            optimizer=self._optimizer_options(),
            n_warmup_epochs=self._n_warmup() if is_variational else 0,
            verbose=self.verbose,
        )

    def _check_combinations(self, n_items: int) -> None:
        if (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' does not go with rows that are given by their entries.")
        if self.baseline is None and self.blend not in ("auto", 1):
            raise ValueError(f"blend must be 'auto' or 1 with baseline=None, got {self.blend}.")
        if self.baseline == "ease" and n_items > MOST_EASE_ITEMS:
            raise ValueError(
                f"X may have {MOST_EASE_ITEMS} items at most with baseline='ease', which inverts a matrix of as many "
                f"rows and columns, got {n_items}; use baseline=None, or leave out items that few users have."
            )

    def _checked_architecture(self) -> Architecture:
        is_denoising = self.kind == "denoising"
        options = {"activation": "tanh", "code_activation": "tanh" if is_denoising else "identity"}
        architecture = as_architecture(self.architecture, **options)
        architecture.check()
        if not architecture.reads_columns:
            raise ValueError(f"architecture must be an MLP, which reads columns, got {self.architecture!r}.")
        if not is_denoising and architecture.code_activation != "identity":
            raise ValueError(
                "architecture: code_activation must be 'identity' with kind='variational', whose codes are normal, got "
                f"{architecture.code_activation!r}."
            )
        return architecture

    def _n_warmup(self) -> int:
        return self.max_iter // 4 if self.n_warmup_epochs == "auto" else self.n_warmup_epochs

    def _make_module(self, architecture: Any, n_items: int) -> MultinomialAutoencoder:
        is_variational = self.kind == "variational"
        n_encoded = self.n_components * (2 if is_variational else 1)
        return MultinomialAutoencoder(
            architecture.make_encoder(n_items, n_encoded, linear_path=False, linear=SparseLinear),
            architecture.make_decoder(self.n_components, n_items, linear_path=False, bounded=False),
            dropout=self.dropout,
            variational=is_variational,
        )

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        used, block = self._parameters, cast(SparseBlock, rows.data)
        X = block.csr()
        self.item_popularity_ = np.asarray(X.sum(axis=0), dtype=np.float64).ravel()
        self.linear_weights_, self.l2_ = None, None
        self.blend_ = 1.0 if used.baseline is None else _BLEND if used.blend == "auto" else float(used.blend)
        if used.baseline is None or used.blend == 1:
            return
        split = self._split_of_users(result, X.shape[0])
        self.l2_ = l2 = self._choose_l2(X, split)
        if used.blend == "auto" and result.held_out is not None and split is not None:
            self.blend_ = self._choose_blend(X, split, l2)
        self.linear_weights_ = ease_weights(item_gram(X), l2)

    def _split_of_users(self, result: Result, n_users: int) -> Split | None:
        """Users that chose nothing yet: those that the network was not trained on, where these are one set."""
        if result.held_out is not None:
            held_out = result.held_out.index.cpu()
            return torch.from_numpy(np.setdiff1d(np.arange(n_users), held_out.numpy())), held_out
        if n_users < 2:
            return None
        used = self._parameters
        return split_rows(n_users, used.validation_fraction, make_generator(self._seed, "split"))

    def _choose_l2(self, X: sparse.csr_array, split: Split | None) -> float:
        """The penalty by which EASE ranks held-out users' hidden items best."""
        used = self._parameters
        if used.l2 != "auto":
            return float(used.l2)
        if split is None or X.shape[1] > _ITEMS_TO_SEARCH:
            return _USUAL_L2
        users = shown_and_hidden(X[split[1].numpy()])
        if users is None:
            return _USUAL_L2
        gram = item_gram(X[split[0].numpy()])
        found = {l2: figures(users, users.given @ ease_weights(gram.copy(), l2)).mean() for l2 in _L2}
        return min(found, key=found.__getitem__)

    def _choose_blend(self, X: sparse.csr_array, split: Split, l2: float) -> float:
        """The mean of both, unless held-out users rank better by EASE alone, by more than chance explains.

        These users chose the network's epoch, so they cannot say that the network alone is better.
        """
        users = shown_and_hidden(X[split[1].numpy()])
        if users is None:
            return _BLEND
        linear = users.given @ ease_weights(item_gram(X[split[0].numpy()]), l2)
        logits = net_scores(self.net_, users.given)
        is_empty = np.zeros(len(logits), dtype=bool)
        of_ease, of_both = (
            torch.from_numpy(figures(users, blended(logits, linear, share, self.item_popularity_, is_empty)))
            for share in (0.0, _BLEND)
        )
        return 0.0 if is_lower(of_ease, of_both) else _BLEND

    # -- rows in

    def _validate(self, X, *, reset: bool, finite: bool = True) -> Any:
        X = validate_data(self, as_array(X), accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
        X = sparse.csr_array(X)
        check_range(X, "X")
        threshold = (self if reset else self._parameters).threshold
        if threshold is None and X.nnz and X.data.min() < 0:
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}: X must hold counts, got "
                f"{X.data.min():.6g}; ratings of any sign need a threshold."
            )
        keep_shape(self, X.shape[1:], X.shape[1:], reset=reset)
        return X

    def set_params(self, **params):
        """Set parameters; ``architecture__<name>`` also works if ``architecture`` is a bare tuple.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        nested = any(name.startswith("architecture__") for name in params)
        if nested and "architecture" not in params:
            kind = params.get("kind", self.kind)
            options = {"activation": "tanh", "code_activation": "tanh" if kind == "denoising" else "identity"}
            self.architecture = architecture_object(self.architecture, **options)
        return super().set_params(**params)

    # -- public

    @property
    @names_its_class
    def partial_fit(self):
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit, since EASE needs all users at once; fit takes sparse matrices."
        )

    def score_items(self, X):
        """A score of every item for each user, the higher the better.

        Parameters
        ----------
        X : sparse matrix or array-like of shape (n_users, n_features_in_)
            What users have, of any users.

        Returns
        -------
        ndarray of shape (n_users, n_features_in_)
            Standardised scores, also of items that a user has; dense, so pass users in parts where they are many. A
            data frame after ``set_output``. A user's scores do not depend on the other users.
        """
        check_is_fitted(self)
        found = self._validate(X, reset=False)
        scores = self._by_blocks(lambda block: [self._scores(block)], found)[0]
        return in_chosen_container(self, scores.astype(found.dtype, copy=False), like=X)

    def recommend(self, X, n_items=10, *, exclude_seen=True):
        """The items of highest score for each user.

        Parameters
        ----------
        X : sparse matrix or array-like of shape (n_users, n_features_in_)
            What users have, of any users.
        n_items : int, default=10
            Number of items for each user.
        exclude_seen : bool, default=True
            Whether to leave out all items for which the user has an entry, also one below ``threshold``.

        Returns
        -------
        Recommendations
            ``items``, numbers of columns, the best first, and their ``scores``; each of shape (n_users, n_items). Where
            a user has not so many unseen items, the last ones are -1, with a score of minus infinity.
        """
        check_is_fitted(self)
        check_scalar(n_items, "n_items", Integral, min_val=1, max_val=self.n_features_in_)
        return self._recommend(self._validate(X, reset=False), n_items, exclude_seen=exclude_seen)

    def similar_items(self, items, n_items=10):
        """The items of highest score for users who have one item alone.

        Parameters
        ----------
        items : int or array-like of int of shape (n,)
            Numbers of columns.
        n_items : int, default=10
            Number of items for each.

        Returns
        -------
        Recommendations
            As of :meth:`recommend`, without the item itself.
        """
        check_is_fitted(self)
        wanted = np.atleast_1d(np.asarray(items))
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise ValueError(f"items must be an integer, or have one axis of them, got {items!r:.60}.")
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.n_features_in_):
            raise ValueError(f"items must be from 0 to {self.n_features_in_ - 1}, got {items!r:.60}.")
        value = 1.0 if self._data.threshold is None else max(self._data.threshold, 1.0)
        cells = np.full(len(wanted), value), (np.arange(len(wanted)), wanted)
        users = sparse.csr_array(cells, shape=(len(wanted), self.n_features_in_))
        return self._recommend(users, n_items, exclude_seen=True)

    def transform(self, X):
        """Codes of users.

        Parameters
        ----------
        X : sparse matrix or array-like of shape (n_users, n_features_in_)
            What users have, of any users.

        Returns
        -------
        ndarray of shape (n_users, n_components)
            Codes, in the dtype of ``X`` (float64 unless that is float32). A ``ValueError`` with ``blend=0``, which
            trains no network.
        """
        check_is_fitted(self)
        found = self._validate(X, reset=False)
        if self._parameters.blend == 0:
            raise ValueError("transform needs a network, but none is trained with blend=0; use blend='auto'.")
        encode = self.net_.module_.encode
        codes = map_blocks(lambda block: [encode(self._entries(block))], self._data.counted(found), self.device_)
        return codes[0].astype(found.dtype, copy=False)

    def score(self, X, y=None):
        """Mean NDCG@100 of items that are hidden from users of ``X`` and ranked by the others.

        A fifth of every user's items is hidden, the same at every call of one model; users with one item are left out.
        For a split of your own, see :func:`~sk_autoenc.metrics.ndcg_at_k`.

        Parameters
        ----------
        X : sparse matrix or array-like of shape (n_users, n_features_in_)
            What users have; users that were not in ``fit``.
        y : None
            Ignored.

        Returns
        -------
        float
            From 0 to 1; higher is better.
        """
        check_is_fitted(self)
        counted = self._data.counted(self._validate(X, reset=False))
        users = shown_and_hidden(counted)
        if users is None:
            raise ValueError("X must have a user with two items or more, one of which can be hidden, got none.")
        starts = range(0, users.given.shape[0], LARGE_BLOCK)
        parts = (FoldIn(*(part[start : start + LARGE_BLOCK] for part in users)) for start in starts)
        found = [figures(part, self._counted_scores(part.given)) for part in parts]
        return -float(np.concatenate(found).mean())

    @property
    def _n_features_out(self) -> int:
        return self._parameters.n_components

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.positive_only = self.threshold is None
        tags.input_tags.sparse = True
        return tags

    # -- scores

    def _entries(self, block: Any) -> SparseBlock:
        return all_of(block).to(self.device_)

    def _recommend(self, X: Any, n_items: int, *, exclude_seen: bool) -> Recommendations:
        def of_block(block):
            scores = self._scores(block)
            if exclude_seen:
                scores[block.nonzero()] = -np.inf
            items = best_first(scores, n_items)
            best = np.take_along_axis(scores, items, axis=1)
            return [np.where(np.isfinite(best), items, -1), best]

        return Recommendations(*self._by_blocks(of_block, X))

    def _by_blocks(self, function: Any, X: Any) -> list[np.ndarray]:
        """Arrays of every user, computed in blocks of few sizes."""
        return map_blocks(lambda block: [torch.from_numpy(part) for part in function(block)], X, self.device_)

    def _scores(self, block: Any) -> np.ndarray:
        return self._counted_scores(self._data.counted(block))

    def _counted_scores(self, counted: sparse.csr_array) -> np.ndarray:
        """Blended scores; before the linear model is fitted, while the network trains, those of the network."""
        weights = self.__dict__.get("linear_weights_")
        share = self.__dict__.get("blend_", 1.0)
        logits = net_scores(self.net_, counted) if share > 0 else None
        linear = None if weights is None else counted @ weights
        popularity = self.__dict__.get("item_popularity_", np.ones(self.n_features_in_))
        return blended(logits, linear, share, popularity, np.diff(counted.indptr) == 0)


# -- rankings of held-out users


def all_of(X: Any) -> SparseBlock:
    """The rows of a CSR matrix as a batch."""
    block = SparseBlock.of(X)
    return block.take(torch.arange(len(block)))


def shown_and_hidden(X: sparse.csr_array) -> FoldIn | None:
    """What users are shown, and what is hidden, of users who have two items or more; None if there is none."""
    X = X[np.flatnonzero(np.diff(X.indptr) > 1)]
    return fold_in_split(X, _SHOWN, random_state=0) if X.shape[0] else None


def figures(users: FoldIn, scores: np.ndarray) -> np.ndarray:
    """Minus NDCG@100 of each user, float64."""
    return -ndcg_at_k(users.held_out, scores, _RANKS, exclude=users.given).astype(np.float64)


def net_scores(net: Any, X: sparse.csr_array) -> np.ndarray:
    """The network's logits of every item; ``(n_users, n_items)``, float32."""
    module = net.plain_module
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        found = module.logits(all_of(X).to(net.device)).cpu().numpy()
    module.train(was_training)
    return found


def minus_ndcg(net: Any, held_out: Rows) -> Tensor:
    """Minus the network's NDCG@100 on each of the held-out users, block by block."""
    found = []
    for batch in WholeBatches(held_out, LARGE_BLOCK):
        users = shown_and_hidden(cast(SparseBlock, batch.x).csr())
        if users is not None:
            found.append(torch.from_numpy(figures(users, net_scores(net, users.given))))
    return torch.cat(found) if found else torch.zeros(1, dtype=torch.float64)
