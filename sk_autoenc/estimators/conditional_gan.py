"""The conditional generative adversarial network: rows of a class, or for given targets; turns are in ``base.gan``."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sk_autoenc._compat import StrOptions
from sk_autoenc._messages import names_its_class
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.gan import FEW_COLUMNS, AdversarialSampler, Sizes
from sk_autoenc.base.over_sampling import OverSamplerMixin
from sk_autoenc.base.sampler import sampling_generator
from sk_autoenc.base.stored import storable_sampler
from sk_autoenc.data.conditions import ConditionedRows, check_targets, columns_of, is_targets
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.validation import check_codes
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.nn.gan import Critic
from sk_autoenc.storage import Plain, integer, values_of
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.run import Result

#: Features of a critic that meet the condition in an inner product.
_N_PROJECTED = 64


def _check_classes(plain: Plain) -> None:
    """Refuse classes in a file that are not those of the fitted targets."""
    data, found = plain["_data"], plain.get("classes_")
    wanted = data.kinds[0].get("classes") if data.is_flat else None
    if wanted is not None and found is None:
        raise ValueError("ConditionalGANSampler lacks 'classes_'.")
    if found is not None and (wanted is None or found.dtype != wanted.dtype or not np.array_equal(found, wanted)):
        raise ValueError("ConditionalGANSampler.classes_ must be the classes of _data.")


@storable_sampler(
    ConditionedRows,
    check=_check_classes,
    optional={"classes_": is_targets, "sampling_strategy_": values_of(integer())},
)
class ConditionalGANSampler(OverSamplerMixin, AdversarialSampler):
    r"""Draw new rows of a class, or for given targets, from a network that has learned to deceive a critic.

    As in :class:`GANSampler`, but generator and critic are both told the target of the row [1]_, so samples follow
    :math:`p(x|y)`. Pairs of a real and a generated row have the same target. Data frames may have columns of
    categories, strings, booleans and dates, without missing cells.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of the latent code. ``"auto"`` is the number of columns, at most 64; each level of a category counts as
        one.
    architecture : sequence of int or architecture object, default=(64, 64, 64)
        The generator is the decoder of this architecture. Widths are short for an :class:`MLP` with
        ``activation="leaky_relu"``; :class:`Convolutional` is for images and series.
    critic : sequence of int, architecture object or "auto", default="auto"
        The critic is the encoder of this architecture; ``"auto"`` is ``architecture``.
    conditioning : {"auto", "concatenation", "projection"}, default="auto"
        How the critic is told targets: as further columns of the row, or by the inner product of features of the row
        with a linear map of the target [2]_. ``"auto"`` is ``"concatenation"`` for an MLP, else ``"projection"``.
    loss : str, default="relativistic"
        As in :class:`GANSampler`: ``"relativistic"``, ``"non_saturating"``, ``"minimax"``, ``"least_squares"``,
        ``"hinge"`` or ``"wasserstein"``.
    gradient_penalty : {"auto", "r1", "r1_r2", "gulrajani", "clipping"} or None, default="auto"
        Penalty on the critic's slope, as in :class:`GANSampler`.
    n_critic : int or "auto", default="auto"
        Steps of the critic for each of the generator; ``"auto"`` is 5 for ``loss="wasserstein"``, else 1.
    spectral_norm : bool, default=False
        Whether layers of the critic are divided by their largest singular value.
    ema : float, default=0.998
        Share that the running average of the generator's weights keeps at each step; 0 uses the last weights.
    values : {"observed", "real", "unbounded"}, default="observed"
        What samples hold: of columns whose values repeat one of these values, and nothing outside the range of the
        training rows; any value within that range; or any value.
    sampling_strategy : float, str, dict or callable, default="auto"
        How many rows :meth:`fit_resample` adds to which class, as in imbalanced-learn's over-samplers: ``"auto"`` makes
        all classes as frequent as the most frequent one.
    max_iter : int or "auto", default="auto"
        Number of epochs; ``"auto"`` is as many as make 5000 steps of the critic.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is 512 for an MLP, else 128.
    learning_rate : float or "auto", default="auto"
        Size of the steps. ``"auto"`` is 0.005, or 0.001 for images and series.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rates of both players change over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adam"
        The optimizer of both players, without momentum.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=False
        Whether to stop, and return to the best weights, when the energy distance to held-out rows does not fall any
        more.
    validation_fraction : float, default=0.1
        Share of rows held out for the figures, from 600 rows on; with fewer, ``early_stopping`` holds them out in four
        folds, by four further fits.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        Improvement of the energy score that counts, in standard deviations.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch.
    net_params : dict or None, default=None
        More for the optimizers, as ``optimizer__<name>``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, draws and the order of rows; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : AdversarialNet
        The trained skorch net; ``net_.module_`` holds generator, average and critic.
    latent_ : NormalPrior
        What codes are drawn from.
    n_components_ : int
        Length of a code.
    classes_ : ndarray of shape (n_classes,)
        The classes, where ``y`` is one column of these.
    sampling_strategy_ : dict
        Number of rows that :meth:`fit_resample` has added to each class.
    sample_quality_ : dict of str to float
        As in :class:`GANSampler`, of rows together with their targets.
    quality_curves_ : dict of str to list of float
        ``"energy_distance"`` and ``"coverage"`` on held-out rows after each epoch; only where rows are held out. With
        ``loss="wasserstein"`` also ``"wasserstein_distance"``, the critic's estimate.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player, ``"critic"`` (penalty included) and ``"generator"``.
    validation_loss_curve_ : list of float
        Mean energy score of held-out rows.
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
    GANSampler : Is told no targets.

    References
    ----------
    .. [1] Mirza and Osindero (2014). Conditional generative adversarial nets. arXiv:1411.1784.
    .. [2] Miyato and Koyama (2018). cGANs with projection discriminator. ICLR.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import ConditionalGANSampler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ConditionalGANSampler(max_iter=20, random_state=0).fit(X, y)
    >>> rows, labels = model.sample(2, y=[0, 2], random_state=0)
    >>> rows.shape, labels.tolist()
    ((4, 4), [0, 0, 2, 2])
    """

    _parameter_constraints: dict = {
        **AdversarialSampler._parameter_constraints,
        "conditioning": [StrOptions({"auto", "concatenation", "projection"})],
        "sampling_strategy": "no_validation",
    }

    _changeable_parameters = (*AdversarialSampler._changeable_parameters, "sampling_strategy")

    def __init__(
        self,
        n_components="auto",
        *,
        architecture=(64, 64, 64),
        critic="auto",
        conditioning="auto",
        loss="relativistic",
        gradient_penalty="auto",
        n_critic="auto",
        spectral_norm=False,
        ema=0.998,
        values="observed",
        sampling_strategy="auto",
        max_iter="auto",
        batch_size="auto",
        learning_rate="auto",
        learning_rate_schedule="cosine",
        optimizer="adam",
        weight_decay=0.0,
        early_stopping=False,
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
        self.critic = critic
        self.conditioning = conditioning
        self.loss = loss
        self.gradient_penalty = gradient_penalty
        self.n_critic = n_critic
        self.spectral_norm = spectral_norm
        self.ema = ema
        self.values = values
        self.sampling_strategy = sampling_strategy
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
        if request.X is not None:
            check_targets(request.y, len(request.X), type(self).__name__)
        if self.conditioning == "concatenation" and not self._critic_reads_columns:
            raise ValueError(
                "conditioning='concatenation' needs a critic that is an MLP, which reads columns beside the row; "
                "use conditioning='projection'."
            )
        return super()._make_plan(request)

    _rows_class = ConditionedRows

    def _n_condition(self, data: ConditionedRows) -> int:
        return data.n_condition

    def _make_critic(self, sizes: Sizes, data: ConditionedRows) -> Critic:
        is_table = sizes.critic.reads_columns
        has_waves = is_table and sizes.n_features <= FEW_COLUMNS
        projects = self.conditioning == "projection" or not is_table
        n_read = Critic.n_inputs(sizes.n_features, has_waves=has_waves, n_condition=0 if projects else data.n_condition)
        return Critic(
            self._critic_network(sizes.critic, n_read, _N_PROJECTED if projects else 1),
            has_waves=has_waves,
            reads_condition=not projects,
            n_projected=data.n_condition if projects else 0,
            n_features=_N_PROJECTED,
        )

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        if self._data.is_flat and "classes" in self._data.kinds[0]:
            self.classes_ = self._data.kinds[0]["classes"]

    # -- public

    @names_its_class
    def fit(self, X, y):
        """Train on the rows of ``X`` and their targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows, such as images with axes of their own.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets. Columns of numbers with fractions are continuous; all others hold classes.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y)

    @names_its_class
    def partial_fit(self, X, y):
        """Train for one epoch, at a constant rate; the first call must have every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A chunk of the training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.

        Returns
        -------
        self : object
            The estimator, trained further.
        """
        return super().partial_fit(X, y)

    @cpu_by_default()
    def sample(self, n_samples=1, random_state=None, *, y=None):
        """Draw rows and their targets.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with ``y``, number for each of its entries.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        y : scalar, array-like of shape (n,) or (n, n_targets), or None, default=None
            Targets to draw rows for, in this order: a class, a number, or several; None draws targets in the
            proportions of the training rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or (n * n_samples, n_features)
            Rows in the units and the dtype of the rows that ``fit`` saw; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``. After a fit to a data frame of mixed columns, one of the
            same types.
        y : ndarray
            Target of each row.
        """
        check_is_fitted(self)
        generator = sampling_generator(n_samples, random_state)
        if y is None:
            y = self._data.draw_targets(n_samples, generator)
            condition = torch.from_numpy(self._data.encode(y))
        else:
            y = [y] if np.ndim(y) == 0 else self._data.in_order(y)
            condition = torch.from_numpy(self._data.encode(y)).repeat_interleave(n_samples, dim=0)
            y = self._data.as_given([np.repeat(column, n_samples) for column in columns_of(y)])
        return self._rows_out(self._draw(len(condition), generator, condition)), y

    def inverse_transform(self, Z, y):
        """Rows that the generator makes of codes for targets.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)
            Codes; ``sample`` draws them from ``latent_``.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows, in the dtype of ``Z`` (float64 unless that is float32). A row does not depend on the other codes. A
            DataFrame as from :meth:`sample`.
        """
        check_is_fitted(self)
        codes = check_codes(Z, "Z", self.n_components_, type(self).__name__)
        check_targets(y, len(codes), type(self).__name__)
        both = np.column_stack([codes, self._data.encode(y)])
        n, decode = self.n_components_, self.net_.module_.decode
        made = map_rows(lambda rows: decode(rows[:, :n], rows[:, n:]), both, self.device_)
        return self._rows_out(self._data.to_rows(made, codes.dtype), like=Z)

    def _rows_of(self, labels: np.ndarray) -> Any:
        condition = torch.from_numpy(self._data.encode(labels))
        rows = self._draw(len(labels), make_generator(self._seed, "sampling"), condition)
        return self._rows_out(rows) if self._data.is_table else rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
