"""Imputation: missing cells are filled by a normal distribution, and by a network that corrects it where it can."""

import copy
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import names_its_class
from sk_autoenc.architectures import Architecture, architecture_object, as_architecture
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.base.imputation import NeuralImputer
from sk_autoenc.base.stored_tables import storable_imputer
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.incomplete import IncompleteRows
from sk_autoenc.data.splits import MIN_ROWS, Split
from sk_autoenc.initialization.imputation import IncompleteNormalStart, calibrate
from sk_autoenc.nn.imputation import CellLayout, ImputationNetwork, ImputationOutput, indicators_by_class
from sk_autoenc.training.builder import check_net_params
from sk_autoenc.training.plan import Phase, PhaseUpdate, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import ROOT_LOSS, RowLosses

#: The last phase, on all cells: its share of ``max_iter``, and of the epochs before it.
_FINAL_SHARE, _SHARE_OF_BEST = 0.2, 0.25


def imputation_objective(
    output: ImputationOutput, batch: Batch, *, layout: CellLayout, entropies: Tensor
) -> dict[str, Tensor]:
    """Losses of the cells that are targets and were not read, summed over columns; each of shape (n,).

    ``numbers``: squared errors of standardised numbers. ``categories``: cross-entropies, each over the entropy of its
    category's frequencies. Both are 1 a cell where means and frequencies are said.
    """
    place = layout.on(batch.x.device)
    assert batch.y is not None
    terms = {}
    if len(place.number_columns):
        target = batch.y[:, place.number_cells]
        asked = ~target.isnan() & ~output.observed[:, place.number_columns]
        errors = (output.means - target.nan_to_num(0.0)).square()
        terms["numbers"] = torch.where(asked, errors, 0.0).sum(1)
    if len(place.category_columns):
        target = indicators_by_class(batch.y, layout)
        asked = ~target[:, place.rest_classes].isnan() & ~output.observed[:, place.category_columns]
        bits = -(target.nan_to_num(0.0) * output.log_probabilities)
        losses = torch.zeros(asked.shape, device=bits.device).index_add(1, place.category_of_class, bits)
        terms["categories"] = torch.where(asked, losses / entropies.to(losses.device), 0.0).sum(1)
    return terms


@storable_imputer
class AutoencoderImputer(NeuralImputer):
    r"""Fill the missing cells of tables by a normal distribution, and by a network that corrects it.

    It takes the place of :class:`~sklearn.impute.SimpleImputer`, :class:`~sklearn.impute.KNNImputer` and
    :class:`~sklearn.impute.IterativeImputer`: tables have missing cells in ``fit`` and in ``transform``, in any
    pattern.

    The baseline is the conditional mean of a normal distribution, fitted to the observed cells by EM [1]_,

    .. math:: \hat x_m = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o), \quad
        \Sigma = (1 - \lambda) S + \lambda \operatorname{diag}(S),

    with the shrinkage :math:`\lambda` under which hidden cells are filled best. A denoising autoencoder reads the
    filled row and which cells are missing, and adds a correction that starts at zero. It learns to fill further cells
    that training hides. The correction is kept if it fills cells significantly better that were hidden from training
    altogether; otherwise the result is the baseline (``linear_``). In many tables the baseline does most of the work.

    Cells must be missing at random: whether a cell is missing may depend on what was observed, not on the cell itself.

    Parameters
    ----------
    columns : "auto" or dict, default="auto"
        What columns of a data frame are, by their names: ``"real"``, ``"integer"``, ``"boolean"``, ``"category"``,
        ``"date"``, ..., or a list of levels in their order. Columns that it does not name, as all with ``"auto"``, go
        by their types.
    unseen : {"error", "missing"}, default="error"
        What to do in :meth:`transform` about levels of categories that ``fit`` did not see: refuse them by name, or
        fill their cells as missing ones.
    missing_values : int, float or None, default=np.nan
        What stands for a missing cell in arrays. With NaN, and in all data frames, also ``None`` and ``pandas.NA``.
    shrinkage : float or "auto", default="auto"
        How far the covariance is drawn to its diagonal: above 0, and 1 at most, where the baseline is the columns'
        means. ``"auto"``: as far as hidden cells ask for.
    add_indicator : bool, default=False
        Whether :meth:`transform` adds a column of 0 and 1 for each column that had missing cells in ``fit``.
    keep_empty_features : bool, default=False
        Whether columns without any observed cell in ``fit`` are kept; otherwise they are left out. They are filled with
        0; in data frames that keep the types of their columns only those of numbers are, and others stay missing.
    architecture : sequence of int or MLP, default=(128, 128)
        Widths of the network's hidden layers, short for ``MLP(...)``.
    max_iter : int, default=100
        Largest number of epochs.
    batch_size : int or "auto", default="auto"
        Rows per training step; ``"auto"`` is a twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.003
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps of ``max_iter`` epochs, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps; its further options are set by ``net_params={"optimizer__...": ...}``.
    weight_decay : float, default=0.1
        Decay of the weights, as ``optimizer`` defines it; not applied to biases.
    early_stopping : bool, default=True
        Whether cells are hidden from training to find the epoch at which to stop, to decide between network and
        baseline, and to calibrate draws. At the end the model also learns the hidden cells. Fewer than 40 rows are too
        few to evaluate a network, and the result is then the baseline. Without early stopping the network is kept.
    validation_fraction : float, default=0.15
        Share of the observed cells that are hidden from training.
    n_iter_no_change : int, default=20
        Epochs without improvement after which early stopping ends training.
    tol : float, default=1e-4
        Relative improvement of the mean root of the rows' losses that counts as one.
    warm_start : bool, default=False
        Whether ``fit`` continues the last fit, with its baseline, or starts again.
    callbacks : list of skorch callbacks or None, default=None
        Called by the net in training; they are copied first.
    net_params : dict or None, default=None
        ``optimizer__*`` for the skorch net; anything else is refused.
    device : str, default="auto"
        Where to compute: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, hidden cells and shuffling. An integer gives the same result at every ``fit``.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    linear_ : bool
        Whether the result is the baseline. The loss curves are then those of the network that was dropped.
    shrinkage_ : float
        How far the covariance was drawn to its diagonal.
    statistics_ : ndarray of shape (n_features_in_,)
        What a row without any observed cell is filled with; NaN for columns that are left out.
    indicator_ : MissingIndicator or None
        The indicator of ``add_indicator``.
    empty_features_ : ndarray of int
        Columns without any observed cell in ``fit``.
    missing_features_ : ndarray of int
        Columns with missing cells in ``fit``.
    columns_ : list of Column
        What is known of the columns of a data frame; only if some are no plain numbers.
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` is the torch module, with the normal distribution as its buffers ``mean`` and
        ``covariance``, in units of standardised columns.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, of the cells of a row that training hid.
    validation_loss_curve_ : list of float
        Mean loss of a row's cells that were hidden from training, after each epoch.
    loss_curves_ : dict of str to list of float
        ``loss_curve_`` by term: ``"numbers"``, ``"categories"``.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where all are strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    sklearn.impute.IterativeImputer : Regresses each column on the others, in rounds.
    AutoencoderTransformer : Its ``inpaint`` fills images and series with parts that are hidden.

    References
    ----------
    .. [1] Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM algorithm. Journal of the
       Royal Statistical Society B 39.
    .. [2] Little, Rubin (2019). Statistical analysis with missing data. Wiley.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import AutoencoderImputer
    >>> X = load_iris().data
    >>> missing = np.random.default_rng(0).random(X.shape) < 0.2
    >>> imputer = AutoencoderImputer(max_iter=20, random_state=0).fit(np.where(missing, np.nan, X))
    >>> imputer.transform([[5.1, np.nan, 1.4, np.nan]]).round(1)
    array([[5.1, 3.4, 1.4, 0.2]])
    >>> imputer.sample_imputations([[5.1, np.nan, 1.4, np.nan]], n_draws=3, random_state=0).shape
    (3, 1, 4)
    """

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "columns": [dict, StrOptions({"auto"})],
        "unseen": [StrOptions({"error", "missing"})],
        "missing_values": "no_validation",
        "shrinkage": [Interval(Real, 0, 1, closed="right"), StrOptions({"auto"})],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "architecture": ["array-like", Architecture],
    }

    def __init__(
        self,
        *,
        columns="auto",
        unseen="error",
        missing_values=np.nan,
        shrinkage="auto",
        add_indicator=False,
        keep_empty_features=False,
        architecture=(128, 128),
        max_iter=100,
        batch_size="auto",
        learning_rate=0.003,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.1,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.columns = columns
        self.unseen = unseen
        self.missing_values = missing_values
        self.shrinkage = shrinkage
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
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

    # -- the hooks

    def _make_plan(self, request: FitRequest) -> Plan:
        architecture = as_architecture(self.architecture)
        architecture.check()
        self._check_combinations(architecture)
        hidden = self._hidden_cells(request)
        data = self._preprocessor(request, hidden)
        start = IncompleteNormalStart(self.shrinkage, request.seed)
        return Plan(
            module=partial(self._make_module, architecture, data),
            objective=partial(self._objective, data),
            start=start,
            data=data,
            splits=() if hidden is None else _hidden_rows(len(hidden)),
            selection=RowLosses(self.n_iter_no_change, self.tol, ROOT_LOSS),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(request, final=None if hidden is None else self._final_phase(start)),
            optimizer=self._optimizer_options(),
            verbose=self.verbose,
        )

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.linear_ = result.kept_start
        self.shrinkage_ = float(self.net_.module_.shrinkage)

    # -- parts of the plan

    def _check_combinations(self, architecture: Architecture) -> None:
        if not architecture.reads_columns or architecture.code_activation != "identity":
            raise ValueError(f"architecture must be an MLP with code_activation='identity', got {architecture!r}.")
        if check_net_params(self.net_params).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect on rows that each miss other cells.")

    def _hidden_cells(self, request: FitRequest) -> np.ndarray | None:
        """Cells to hide from training, if there are rows enough and the model has not seen them before."""
        X = request.X
        if X is None or request.is_chunk or not self.early_stopping or len(X) < MIN_ROWS:
            return None
        if request.seen_all and not request.is_first:
            return None
        chance = torch.rand(X.shape, generator=make_generator(request.seed, "split")).numpy()
        observed = ~np.isnan(X)
        hidden = (chance < self.validation_fraction) & observed
        hidden[:, ~(observed & ~hidden).any(axis=0)] = False  # a column keeps a cell, which tells its range
        return hidden if hidden.any() else None

    def _preprocessor(self, request: FitRequest, hidden: np.ndarray | None) -> IncompleteRows:
        if request.data is None:
            assert request.X is not None
            columns = request.columns
            n_levels = [0] * request.X.shape[1] if columns is None else [column.n_levels for column in columns]
            return IncompleteRows(n_levels, request.X.dtype.name, hidden=hidden)
        data = copy.copy(request.data)
        data.hidden = hidden
        return data

    @staticmethod
    def _make_module(architecture: Architecture, data: IncompleteRows) -> ImputationNetwork:
        layout = CellLayout(data.n_indicators)  # the data are fitted when this is called
        n_read = layout.n_cells + layout.n_columns
        return ImputationNetwork(architecture.make_encoder(n_read, layout.n_cells, linear_path=False), layout)

    @staticmethod
    def _objective(data: IncompleteRows, output: ImputationOutput, batch: Batch) -> dict[str, Tensor]:
        entropies = torch.tensor(data.entropies, dtype=torch.float32)
        return imputation_objective(output, batch, layout=CellLayout(data.n_indicators), entropies=entropies)

    def _final_phase(self, start: IncompleteNormalStart) -> Phase | None:
        """A last phase on all cells, to which the normal distribution is fitted, too."""
        epochs = min(max(1, int(_FINAL_SHARE * self.max_iter)), self.max_iter - 1)
        if not epochs:
            return None
        return Phase(epochs, "final", share_of_best=_SHARE_OF_BEST, prepare=partial(_with_all_cells, start))

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
            self.architecture = architecture_object(self.architecture)
        return super().set_params(**params)

    # -- public

    @names_its_class
    def fit(self, X, y=None):
        """Fit to a table with missing cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The table. float32 and float64 are kept; other numbers become float64.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y)


def _hidden_rows(n_rows: int) -> tuple[Split, ...]:
    """All rows to learn from, and all rows with their hidden cells as targets, as ``HiddenCells`` has them."""
    return ((torch.arange(n_rows), torch.arange(n_rows, 2 * n_rows)),)


def _with_all_cells(start: IncompleteNormalStart, net: Any, rows: Any) -> PhaseUpdate:
    """Calibrate draws by the hidden cells, then fit the normal distribution to all cells."""
    module = net.plain_module
    module.eval()
    calibrate(module, rows)
    start.fit_normal(module, rows.cpu(), float(module.shrinkage))
    return PhaseUpdate()
