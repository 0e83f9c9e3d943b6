"""Tables drawn column by column: a chain of distributions, each of which reads the columns before it."""

from collections.abc import Mapping
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.sampler import sampling_generator
from sk_autoenc.base.stored_tables import storable_table
from sk_autoenc.base.tables import read_table
from sk_autoenc.data.columns import Column
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.outcome_rows import MAX_BINS, Given, OutcomeRows
from sk_autoenc.data.tabular import Table
from sk_autoenc.initialization.independent import IndependentColumns
from sk_autoenc.likelihoods.mixed import Mixed
from sk_autoenc.nn.chain import ColumnOutcomes, MaskedChain
from sk_autoenc.training.builder import check_net_params
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.plan import OptimizerOptions, Plan
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import NATS, RowLosses

#: Rows that are drawn at once, and at least, where conditions make some more probable than others.
_AT_ONCE, _FEWEST = 8192, 1024


def chain_objective(log_prob: Tensor, batch: Batch) -> dict[str, Tensor]:
    r"""Minus the log-probability of each row in nats, :math:`-\sum_j \log p(x_j | x_{<j})`."""
    return {"nats": -log_prob.sum(1)}


@storable_table(OutcomeRows)
class TabularSampler(NeuralEstimator, BaseEstimator):
    r"""Draw rows of a table of numbers, categories, dates and missing cells, and say how probable rows are.

    Columns are drawn one after the other. Each has a distribution that depends on the columns before it:

    .. math:: \log p(x) = \sum_j \log p(x_j \mid x_1, \dots, x_{j-1})

    One masked network gives all of them [1]_. A category has a probability for each level. A number has quantile bins,
    in which it lies uniformly, and a probability of its own for each value that more than 1.5 % of the rows share, such
    as zeros; it is then rounded to the decimals of its column [2]_. A missing cell is one more outcome of columns that
    have such cells, so that they are missing as often as in the training rows. The network is trained on random orders
    of the columns, too, so that any columns can be given.

    Training starts at independent columns. They are the result where the network does not predict held-out rows better
    than by chance, or where there are too few rows to tell.

    Samples are no copies, but nothing promises that they tell nothing of single training rows: this is not differential
    privacy.

    Parameters
    ----------
    columns : "auto" or dict, default="auto"
        What columns are, by their names: ``"real"``, ``"positive"``, ``"bounded"``, ``"integer"``, ``"count"``,
        ``"boolean"``, ``"category"``, ``"ordered"``, ``"date"``, ``"duration"``, or a list of the levels of an ordered
        category. ``"auto"``, and columns that are not named, go by types and values.
    unseen : {"error", "missing"}, default="error"
        What to do after ``fit`` about levels that it did not see, and numbers that a column cannot have: refuse them by
        name, or treat them as missing. In a search use ``"missing"``, because a training fold may lack a level.
    min_count : int, default=1
        Strings of fewer rows are merged into one level, ``"other"``; it keeps rare ones out of samples.
    max_bins : int, default=100
        Largest number of bins of a column of numbers. There are 20 rows or more for each.
    architecture : sequence of int, default=(256, 256)
        Number of units of each hidden layer.
    max_iter : int, default=50
        Number of epochs.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is a twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=3e-3
        Size of the steps.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        The optimizer.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=True
        Whether to hold rows out, to return to the weights that predict them best, and to keep independent columns if
        these do so better. With fewer than 600 rows they are held out in four folds.
    validation_fraction : float, default=0.1
        Share of rows held out, from 600 rows on.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    tol : float, default=1e-3
        Improvement in nats that counts.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch.
    net_params : dict or None, default=None
        More for the optimizer, as ``optimizer__<name>``, or ``{"compile": True}``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, orders of columns and the order of rows; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    columns_ : list of Column
        What is known of each column: ``name``, ``kind``, ``levels``, ``low``, ``high``, ``share_missing``.
    independent_ : bool
        Whether independent columns are the result, and the network was dropped.
    net_ : ObjectiveNet
        The trained skorch net.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Mean loss of each epoch in nats, with missing cells as outcomes, and without the widths of bins.
    loss_curves_ : dict of str to list of float
        The same by the name of the term, ``"nats"``.
    validation_loss_curve_ : list of float
        The same of held-out rows, in the order of the table.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    VAETransformer : Has codes of rows; its columns are independent given the code.
    GANSampler : Draws rows of numbers.

    References
    ----------
    .. [1] Germain, Gregor, Murray, Larochelle (2015). MADE: masked autoencoder for distribution estimation. ICML.
       https://arxiv.org/abs/1502.03509
    .. [2] Tiwald et al. (2025). TabularARGN: a flexible and efficient auto-regressive framework for generating
       high-fidelity synthetic data. https://arxiv.org/abs/2501.12012

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_autoenc import TabularSampler
    >>> people = pd.DataFrame({"age": [31, None, 52] * 20, "city": ["Rome", "Oslo", None] * 20})
    >>> model = TabularSampler(max_iter=3, random_state=0).fit(people)
    >>> model.sample(100, random_state=0).dtypes.equals(people.dtypes)
    True
    >>> model.sample(2, random_state=0, given={"city": "Rome", "age": (40, None)})["city"].tolist()
    ['Rome', 'Rome']
    """

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "columns": [dict, StrOptions({"auto"})],
        "unseen": [StrOptions({"error", "missing"})],
        "min_count": [Interval(Integral, 1, None, closed="left")],
        "max_bins": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like"],
    }

    def __init__(
        self,
        columns="auto",
        *,
        unseen="error",
        min_count=1,
        max_bins=MAX_BINS,
        architecture=(256, 256),
        max_iter=50,
        batch_size="auto",
        learning_rate=3e-3,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.0,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-3,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.columns = columns
        self.unseen = unseen
        self.min_count = min_count
        self.max_bins = max_bins
        self.architecture = architecture
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

    # -- from parameters to a plan

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        X = read_table(self, X, reset=reset)
        if reset:
            table = Table(self.columns, unseen=self.unseen, min_count=self.min_count).fit(X)
            self.input_shape_ = (len(table.columns_),)
            self._data = OutcomeRows(
                Mixed(), self.input_shape_, "float64", table=table, max_bins=self.max_bins, draws_missing=True
            )
        return self._data.table.encode(X)

    def _make_plan(self, request: FitRequest) -> Plan:
        widths = _checked_widths(self.architecture)
        data = request.data
        return Plan(
            module=partial(_make_chain, data, widths),
            objective=chain_objective,
            start=IndependentColumns(),
            data=data,
            splits=self._splits(request),
            selection=RowLosses(self.n_iter_no_change, self.tol, NATS),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            verbose=self.verbose,
        )

    def _optimizer_options(self) -> OptimizerOptions:
        options = check_net_params(self.net_params)
        return OptimizerOptions(self.optimizer, self.learning_rate, self.weight_decay, self.batch_size, options)

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.independent_ = result.kept_start

    # -- public

    @property
    def columns_(self) -> list[Column]:
        """What is known of each column."""
        check_is_fitted(self)
        return self._data.table.columns_

    def sample(self, n_samples=1, random_state=None, *, given=None):
        """Draw rows, perhaps with some columns given.

        Columns that are given come first. If two columns or more are restricted to several values, their joint
        distribution is drawn by resampling among 1024 candidates at least, which is exact in the limit of many.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        given : dict or None, default=None
            By the names of columns a value; a list of levels; or, for numbers and dates, a tuple of the lowest and the
            highest value, where None is no bound. ``None`` as a value is a missing cell.

        Returns
        -------
        DataFrame, or ndarray if ``fit`` saw one
            Rows with the columns, types, decimals and ranges of the training rows.

        Raises
        ------
        ValueError
            If ``given`` names a column that there is not, or what no training row can have.
        """
        check_is_fitted(self)
        generator = sampling_generator(n_samples, random_state)
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"given must be a dict of values by the names of columns, got {type(given).__name__}.")
        conditions = self._data.given(given or {})
        parts = [
            self._draw(min(_AT_ONCE, n_samples - start), conditions, generator)
            for start in range(0, n_samples, _AT_ONCE)
        ]
        values = np.concatenate(parts)
        for position, condition in conditions.items():
            if condition.value is not None:
                values[:, position] = condition.value
        return self._data.table.decode(values, snap=True)

    def _draw(self, n: int, conditions: dict[int, Given], generator: torch.Generator) -> np.ndarray:
        """Encoded rows: conditions first, those with one value before those with several."""
        module = self.net_.plain_module
        several = [position for position, given in conditions.items() if np.count_nonzero(given.shares) > 1]
        first = [*(position for position in conditions if position not in several), *several]
        order = [*first, *(position for position in range(self.n_features_in_) if position not in conditions)]
        n_drawn = max(n, _FEWEST) if len(several) > 1 else n
        outcomes = torch.zeros(n_drawn, len(order), dtype=torch.long)
        with torch.inference_mode():
            walk = module.walk(torch.tensor(order), n_drawn)
            for position in order:
                shares = walk.logits(position).cpu().double().softmax(-1)
                if position in conditions:
                    shares = shares * torch.from_numpy(conditions[position].shares)
                    if position in several[1:]:
                        kept = torch.multinomial(shares.sum(-1), n_drawn, replacement=True, generator=generator)
                        shares, outcomes = shares[kept], outcomes[kept]
                        walk.keep(kept.to(self.device_))
                outcomes[:, position] = torch.multinomial(shares, 1, generator=generator)[:, 0]
                walk.fill(position, outcomes[:, position].to(self.device_))
        return self._data.placed(outcomes[:n].numpy(), conditions, generator)

    def score_samples(self, X):
        """Log-probability of the observed cells of each row, given which cells are missing.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Nats, in the units of the table: levels, integers and dates have probabilities, floats have densities,
            except for values that many training rows share in columns without a fixed number of decimals, which have
            probabilities. So figures of two models can be compared only if they treat columns alike.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        found = map_rows(self.net_.plain_module.log_prob_of_observed, rows, self.device_, self._data.prepare)
        return found.astype(np.float64).sum(1) - self._data.log_scale(rows)

    def score(self, X, y=None):
        """Mean log-probability of rows, as by :meth:`score_samples`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
            The mean in nats.
        """
        return float(self.score_samples(X).mean())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _make_chain(data: OutcomeRows, widths: tuple[int, ...]) -> MaskedChain:
    """The network; ``data`` is fitted when this is called."""
    columns = [
        ColumnOutcomes(outcomes.n_outcomes, ranks, outcomes.has_missing)
        for outcomes, ranks in zip(data.outcomes, data.ranks, strict=True)
    ]
    return MaskedChain(columns, widths)


def _checked_widths(architecture: Any) -> tuple[int, ...]:
    """Widths of the hidden layers; ``ValueError`` for what are none."""
    widths = np.asarray(architecture)
    if widths.ndim != 1 or not len(widths) or widths.dtype.kind not in "iu" or (widths < 1).any():
        raise ValueError(f"architecture must be one or more widths of 1 or more, got {architecture!r:.60}.")
    return tuple(widths.tolist())
