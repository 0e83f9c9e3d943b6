"""The deterministic autoencoder: plain, denoising, sparse, contractive, and all combinations."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.architectures import Architecture, checked_architecture
from sk_autoenc.base.autoencoder import make_standardize
from sk_autoenc.base.estimator import FitRequest, bound_to_rows
from sk_autoenc.base.inpainting import InpaintingAutoencoder
from sk_autoenc.base.stored import storable
from sk_autoenc.data.dataset import Batch, Rows, WholeBatches
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.splits import Split
from sk_autoenc.initialization.linear import summarize
from sk_autoenc.initialization.pca import PCAStart, n_components_for, whitening_of
from sk_autoenc.initialization.start import MeanStart, Start
from sk_autoenc.likelihoods import LIKELIHOODS, Likelihood
from sk_autoenc.losses import kl_sparsity, l1_sparsity
from sk_autoenc.nn.autoencoder import Autoencoder, AutoencoderOutput, Whitening
from sk_autoenc.nn.corruption import NOISE_KINDS, OF_IMAGES, Corruption
from sk_autoenc.storage import flag, integer
from sk_autoenc.training.inference import LARGE_BLOCK
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import ROOT_LOSS, RowLosses


def autoencoder_objective(
    output: AutoencoderOutput,
    batch: Batch,
    *,
    likelihood: Likelihood,
    sparsity: float,
    sparsity_target: float | None,
    contraction: float,
    missing_cells: bool = False,
) -> dict[str, Tensor]:
    """Reconstruction plus weighted penalties, of shape (n,); the KL penalty has shape ().

    ``reconstruction`` is minus the likelihood's score: for the gaussian, the squared error summed over features. With
    ``missing_cells`` it is summed over cells that are not missing.
    """
    raw, x = likelihood.without_missing(output.raw, batch.x) if missing_cells else (output.raw, batch.x)
    terms = {"reconstruction": -likelihood.reconstruction_score(raw, x)}
    if sparsity:
        code = output.code
        penalty = l1_sparsity(code) if sparsity_target is None else kl_sparsity(code, sparsity_target)
        terms["sparsity"] = sparsity * penalty
    if output.jacobian_norm is not None:
        terms["contraction"] = contraction * output.jacobian_norm
    return terms


class CorruptedStart(Start):
    """Another start, which also sets the range and the centre of the rows for their corruption."""

    def __init__(self, start: Start, data: RowPreprocessor):
        self.start, self.data, self.is_model = start, data, start.is_model

    def set(self, module: Any, rows: Rows) -> None:
        self.start.set(module, rows)
        seen = summarize(rows, module.encoder_input)
        module.corruption.set_range(seen.low, seen.high)
        known: Any = self.data.scaling if module.standardize is None else module.standardize
        module.corruption.set_center(torch.as_tensor(known.center / known.scale))

    def refit(self, module: Any, rows: Rows) -> None:
        self.start.refit(module, rows)

    def resume(self, module: Any) -> None:
        self.start.resume(module)


@storable(linear_=flag, n_components_=integer(1))
class AutoencoderTransformer(InpaintingAutoencoder):
    r"""Reduce rows to a few numbers by a network that learns to reconstruct them.

    The nonlinear counterpart of :class:`~sklearn.decomposition.PCA`, with its methods. By default training starts
    at the PCA solution, and the result is PCA itself unless the network reconstructs held-out rows significantly
    better.

    The network minimises the mean over rows of

    .. math::
        \lVert x - g(f(\tilde x)) \rVert^2 + \lambda_s \Omega_s(f(\tilde x)) + \lambda_c \lVert J_f(\tilde x) \rVert_F^2

    with encoder :math:`f`, decoder :math:`g`, and :math:`\tilde x` the row with noise added. Sums run over
    features and code units.

    Rows are first centred and divided by one scalar, the root of the features' mean variance. For likelihoods other
    than the gaussian, only the encoder's input is. Codes are in units of the scaled rows.

    ``X`` may be a sparse matrix, such as those of ``TfidfVectorizer``, ``CountVectorizer`` and ``OneHotEncoder``.
    Batches become dense, the matrix does not, also not to be centred. This is for fully connected networks.

    Parameters
    ----------
    n_components : int, float or None, default=2
        Length of the code; may exceed the number of features. As in PCA, None takes the smaller of the numbers of rows
        and features. A share in (0, 1) takes the smallest number of principal components that explain this share of the
        variance of held-out rows (of all rows where none are held out), for the gaussian likelihood.
    architecture : sequence of int or architecture object, default=(128, 64)
        Widths of the encoder's hidden layers, short for ``MLP(...)``; ``Convolutional(...)`` is for images and
        series, ``Recurrent(...)`` for series.
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", ...} or Likelihood, default="auto"
        What rows are: real values (squared error), values in [0, 1] (cross-entropy), numbered categories, counts
        (``"poisson"``), or counts of a total (``"multinomial"``). ``"auto"`` is ``"gaussian"`` for arrays; a data frame
        of other columns than numbers, or with missing cells, has a likelihood for each column, and rows come back with
        its types.
    init : {"auto", "pca", "random"}, default="auto"
        Where training starts. ``"pca"``: at the PCA solution, with a linear path beside the network, and with PCA
        as the result if the network's gain on held-out rows is not significant. ``"random"``: a plain network.
        ``"auto"`` is ``"pca"`` for the gaussian likelihood without a ``code_activation``, else ``"random"``.
    noise : float, default=0.0
        Amount of corruption of what the encoder sees in training; the target stays clean [1]_. For ``"gaussian"`` it
        is the standard deviation, in units of the scaled rows. For ``"warp"`` it is the standard deviation of the moves
        that define the curve, as a share of the length. Otherwise it is the share of cells. 0 is no corruption,
        whatever ``noise_kind`` is.
    noise_kind : {"gaussian", "masking", "salt_and_pepper", "block", "warp"}, default="gaussian"
        ``"gaussian"``: add normal noise. ``"masking"``: set cells to the feature's mean. ``"salt_and_pepper"``: set
        cells to the feature's lowest or highest training value.
        ``"block"``: set a rectangle of each image, or a stretch of each series, to the mean; shape and place are
        random. It is the training for :meth:`inpaint`. ``"warp"``: move the time points of each series, or columns and
        rows of each image, by a random curve, much as in [4]_. Codes then describe what happens rather than when. From
        about 0.05 on, time runs backwards here and there. The last two are for ``architecture=Convolutional(...)``.
    whiten : bool, default=False
        Whether codes are brought to mean 0 and covariance 1 over the training rows, after training, as PCA's are:
        decorrelated, with the direction of most variance first. After ``partial_fit`` these are the rows of its last
        call. For codes without penalty or activation.
    sparsity : float, default=0.0
        Weight of the sparsity penalty. Under an L1 penalty or ``contraction`` the columns of the decoder's weights
        have a norm of at most 1. Without this bound the code could shrink and the decoder grow. Even a tiny weight
        switches the bound on.
    sparsity_target : float or None, default=None
        None: the penalty is the L1 norm of the code (for exact zeros, use ``MLP(code_activation="relu")``).
        A value in (0, 1): codes are sigmoids, and the penalty is the
        KL divergence from this to each unit's mean activation, summed over units [2]_.
    contraction : float, default=0.0
        Weight of the squared Frobenius norm of the encoder's Jacobian [3]_, estimated without bias along one
        random direction per row.
    max_iter : int or "auto", default="auto"
        Largest number of epochs. ``"auto"`` is 75, or as many as 1500 steps make, if these are fewer: with
        ``batch_size="auto"``, beyond 10 240 training rows.
    batch_size : int or "auto", default="auto"
        Rows per training step; ``"auto"`` is a twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.006
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps of ``max_iter`` epochs, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps; its further options are set by ``net_params={"optimizer__...": ...}``.
    weight_decay : float, default=0.1
        Decay of the weights, as ``optimizer`` defines it; not applied to biases nor to the linear path.
    early_stopping : bool, default=True
        Whether rows are held out to find the epoch at which to stop, the one with the lowest mean root of their
        losses. Below 600 rows, four folds are held out, each from a network of its own, and the final network is
        trained on all rows, for one epoch if its gain over PCA is not significant. Networks of an ``MLP`` train side
        by side, which takes about as long as two fits. Fewer than 40 rows are too few to evaluate a network: at
        default penalties and noise, the result is then PCA.
    validation_fraction : float, default=0.1
        Share of the rows held out when ``early_stopping``, from 600 rows on.
    n_iter_no_change : int, default=20
        Epochs without improvement after which early stopping ends training. (Folds run all ``max_iter`` epochs.)
    tol : float, default=1e-4
        Relative improvement of the mean root that counts as one.
    warm_start : bool, default=False
        Whether ``fit`` continues the last fit, with its centre and scale, or starts again.
    callbacks : list of skorch callbacks or None, default=None
        Called by the net in training, those of the folds included, which then train one after the other; they are
        copied first. (scikit-learn's callbacks are set by ``set_callbacks``, and see all epochs, but models only of
        the final network.)
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net; anything else is refused.
    device : str, default="auto"
        Where to compute: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is CUDA where there is one. Fits agree bit for bit on
        one kind of device and with one number of threads; more threads may add up gradients in another order.
    random_state : int, RandomState instance or None, default=None
        Seeds initialization, split, shuffling and noise. An integer gives the same result at every ``fit``.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` is the torch module.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, in units of the scaled rows.
    validation_loss_curve_ : list of float
        Mean loss on the held-out rows after each epoch; empty where none are held out. With folds, of all
        ``max_iter`` epochs of the folds' networks, each row's loss from the one that did not see it.
    loss_curves_ : dict of str to list of float
        ``loss_curve_`` by term: ``"reconstruction"``, ``"sparsity"``, ``"contraction"``, each with its weight.
    n_components_ : int
        Length of the code.
    linear_ : bool
        Whether the result is PCA. The loss curves are then those of the network that was dropped; after folds, of its
        one epoch.
    reconstruction_err_ : float
        Squared reconstruction error of a training row, summed over features, averaged over the rows.
    n_features_in_ : int
        Number of features seen in ``fit``; of images, the number of cells.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    sklearn.decomposition.PCA : The linear map with the same methods, and the linear baseline of this one.

    References
    ----------
    .. [1] Vincent, Larochelle, Bengio, Manzagol (2008). Extracting and composing robust features with denoising
       autoencoders. ICML.
    .. [2] Ng (2011). Sparse autoencoder. CS294A lecture notes, Stanford.
    .. [3] Rifai, Vincent, Muller, Glorot, Bengio (2011). Contractive auto-encoders. ICML.
    .. [4] Um et al. (2017). Data augmentation of wearable sensor data for Parkinson's disease monitoring using
       convolutional neural networks. ICMI.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import AutoencoderTransformer
    >>> X = load_digits().data
    >>> codes = AutoencoderTransformer(n_components=8, max_iter=5, random_state=0).fit_transform(X)
    >>> codes.shape
    (1797, 8)
    """

    _parameter_constraints: dict = {
        **InpaintingAutoencoder._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "whiten": ["boolean"],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions({"auto", *LIKELIHOODS}), Likelihood],
        "init": [StrOptions({"auto", "pca", "random"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "noise": [Interval(Real, 0, None, closed="left")],
        "noise_kind": [StrOptions(set(NOISE_KINDS))],
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither"), None],
        "contraction": [Interval(Real, 0, None, closed="left")],
    }

    _most_epochs = 75

    def __init__(
        self,
        n_components=2,
        *,
        architecture=(128, 64),
        likelihood="auto",
        init="auto",
        noise=0.0,
        noise_kind="gaussian",
        whiten=False,
        sparsity=0.0,
        sparsity_target=None,
        contraction=0.0,
        max_iter="auto",
        batch_size="auto",
        learning_rate=0.006,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.1,
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
        self.likelihood = likelihood
        self.init = init
        self.noise = noise
        self.noise_kind = noise_kind
        self.whiten = whiten
        self.sparsity = sparsity
        self.sparsity_target = sparsity_target
        self.contraction = contraction
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

    def _make_plan(self, request: FitRequest) -> Plan:
        architecture = checked_architecture(self.architecture, "architecture")
        if self.sparsity_target is not None:
            self._check_code_activation(architecture)
            architecture.set_params(code_activation="sigmoid")
        likelihood = self._likelihood_of(request, architecture)
        is_linear = self._starts_linear(architecture, likelihood)
        self._check_combinations(architecture, likelihood)
        self._check_codes(architecture, likelihood)
        architecture = bound_to_rows(architecture, request)
        data = self._preprocessor(request, architecture, likelihood)
        is_plain = not (self.noise or self.sparsity or self.contraction)
        splits = self._splits(request)
        n_components = self._length_of_codes(request, splits)
        return Plan(
            module=partial(self._make_module, architecture, data, n_components, linear_path=is_linear),
            objective=partial(
                autoencoder_objective,
                likelihood=data.likelihood,
                sparsity=self.sparsity,
                sparsity_target=self.sparsity_target,
                contraction=self.contraction,
                missing_cells=data.has_missing_cells,
            ),
            start=self._make_start(architecture, data, is_linear),
            data=data,
            splits=splits,
            selection=RowLosses(self.n_iter_no_change, self.tol, ROOT_LOSS),
            keeps_start_unevaluated=is_plain and self.early_stopping and not request.is_chunk,
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            # The contractive penalty differentiates inside the module, where vmap cannot.
            is_batchable=architecture.is_batchable and likelihood.is_batchable and not self.contraction,
            attributes={"n_components_": n_components} if request.is_first else {},
            verbose=self.verbose,
        )

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        self.linear_ = result.kept_start
        if (whitening := self.net_.module_.whitening) is not None:
            whitening.initialize(None)
            blocks = WholeBatches(rows, LARGE_BLOCK)
            with torch.inference_mode():
                codes = torch.cat([self.net_.module_.encode(batch.x).cpu().double() for batch in blocks]).numpy()
            whitening.set(*map(torch.from_numpy, whitening_of(codes)))

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _length_of_codes(self, request: FitRequest, splits: Sequence[Split]) -> int:
        """``n_components`` as a number; that of the model, if it is there already."""
        if isinstance(self.n_components, Integral):
            return int(self.n_components)
        if request.n_components is not None:
            return request.n_components
        assert request.X is not None
        if self.n_components is not None and issparse(request.X):
            raise ValueError(f"n_components={self.n_components} is a share of variance of dense rows; set a number.")
        if self.n_components is None:
            return min(request.X.shape)
        return n_components_for(self.n_components, request.X, splits)

    def _check_codes(self, architecture: Architecture, likelihood: Likelihood) -> None:
        """Refuse a share of variance where rows have none, and whitening that would undo what is asked of codes."""
        is_share = not (self.n_components is None or isinstance(self.n_components, Integral))
        if is_share and (not likelihood.has_linear_model or architecture.unequal_lengths):
            raise ValueError(
                f"n_components={self.n_components} is a share of variance, for likelihood='gaussian' and rows of one "
                f"length, got likelihood={self.likelihood!r} and architecture={architecture!r}; set a number."
            )
        if self.whiten and (self.sparsity or self.contraction or architecture.code_activation != "identity"):
            raise ValueError(
                "whiten=True would undo what sparsity, contraction and code_activation ask of codes; set whiten=False."
            )

    @property
    def scorer_(self) -> Callable[[Tensor], Tensor]:
        """``score_samples`` as a differentiable function of torch tensors: flat rows in the units of ``X``."""
        check_is_fitted(self)
        data, likelihood, module = self._data, self._data.likelihood, self.net_.module_
        center, scale = data.affine(self.device_)

        def score(rows: Tensor) -> Tensor:
            x = ((rows - center) / scale).float()
            found = likelihood.reconstruction_score(module(x).raw, x)
            return likelihood.unscaled_score(found, data.shared_scale, int(data.is_scaled.sum()))

        return score

    def _starts_linear(self, architecture: Architecture, likelihood: Likelihood) -> bool:
        """Whether training starts at PCA; ``ValueError`` for ``init="pca"`` where it cannot."""
        reason = None
        if not likelihood.has_linear_model:
            reason = f"likelihood={self._likelihood_name!r} (PCA is the linear autoencoder of the gaussian likelihood)"
        elif architecture.unequal_lengths:
            reason = "unequal_lengths=True (PCA needs every cell of a row)"
        elif (activation := architecture.code_activation) != "identity":
            reason = f"codes that pass through {activation!r} (PCA's codes are linear)"
        if self.init == "pca" and reason is not None:
            raise ValueError(f"init='pca' cannot be combined with {reason}; use init='auto' or 'random'.")
        return self.init != "random" and reason is None

    def _check_code_activation(self, architecture: Architecture) -> None:
        if architecture.code_activation not in ("identity", "sigmoid"):
            raise ValueError(
                f"architecture: code_activation must be 'identity' or 'sigmoid' with "
                f"sparsity_target={self.sparsity_target}, got {architecture.code_activation!r}; change it, or set "
                "sparsity_target=None."
            )
        if not self.sparsity:
            raise ValueError(
                f"sparsity must be above 0 with sparsity_target={self.sparsity_target}, got {self.sparsity}."
            )

    def _check_combinations(self, architecture: Architecture, likelihood: Likelihood) -> None:
        """Raise ``ValueError`` for parameters that cannot be combined."""
        likelihood.check_purpose(is_density=False, is_noisy=self.noise > 0)
        self._check_missing(architecture, likelihood, "likelihood='gaussian' or 'categorical'")
        if architecture.unequal_lengths and self.noise and self.noise_kind == "salt_and_pepper":
            raise ValueError(
                "noise_kind='salt_and_pepper' cannot be combined with unequal_lengths=True; use 'masking'."
            )
        if self.contraction and (self.net_params or {}).get("compile"):
            raise ValueError(
                "net_params: 'compile' cannot be combined with contraction > 0, because it is differentiated twice."
            )
        if self.noise_kind != "gaussian" and self.noise > 1:
            raise ValueError(
                f"noise must be at most 1 for noise_kind={self.noise_kind!r}, where it is a share of "
                f"{'the length' if self.noise_kind == 'warp' else 'cells'}, got {self.noise}."
            )
        if self.noise_kind in OF_IMAGES and not architecture.has_layout:
            raise ValueError(
                f"noise_kind={self.noise_kind!r} needs images or series with architecture=Convolutional(...), got "
                f"architecture={self.architecture!r}."
            )

    def _make_module(
        self, architecture: Architecture, data: RowPreprocessor, n_components: int, *, linear_path: bool
    ) -> Autoencoder:
        n_inputs = data.likelihood.n_inputs(data.n_features)
        corruption = Corruption(self.noise_kind, self.noise, n_inputs, architecture.layout) if self.noise else None
        coders = architecture.make_coders(
            data.likelihood,
            data.n_features,
            n_components,
            n_encoded=n_components,
            noise=False,
            linear_path=linear_path,
            bounded=self.contraction > 0 or (self.sparsity > 0 and self.sparsity_target is None),
        )
        standardize, contractive = make_standardize(data), self.contraction > 0
        whitening = Whitening(n_components) if self.whiten else None
        return Autoencoder(
            coders["encoder"],
            coders["decoder"],
            standardize=standardize,
            corruption=corruption,
            contractive=contractive,
            whitening=whitening,
        )

    def _make_start(self, architecture: Architecture, data: RowPreprocessor, is_linear: bool) -> Start:
        start: Start = Start() if data.all_scaled else MeanStart(data)
        if is_linear:  # noise and contraction need smooth maps, so the first layer gets no gain
            has_gain = architecture.has_first_layer_gain and not (self.noise or self.contraction)
            start = PCAStart(has_first_layer_gain=has_gain)
        return CorruptedStart(start, data) if self.noise else start
