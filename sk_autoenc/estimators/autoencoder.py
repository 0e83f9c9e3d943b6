"""The deterministic autoencoder: plain, denoising, sparse, contractive, and every mix of these."""

import math
from functools import partial
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.architectures import Architecture, Convolutional, as_architecture
from sk_autoenc.base.autoencoder import BaseAutoencoder
from sk_autoenc.base.inpainting import InpaintingAutoencoder
from sk_autoenc.data.dataset import Rows
from sk_autoenc.initialization.linear import summarize
from sk_autoenc.initialization.pca import start_at_pca
from sk_autoenc.likelihoods import LIKELIHOODS, Bernoulli, Gaussian, Likelihood, Tokens, as_likelihood, present
from sk_autoenc.losses import kl_sparsity, l1_sparsity
from sk_autoenc.nn.autoencoder import Autoencoder, AutoencoderOutput
from sk_autoenc.nn.corruption import NOISE_KINDS, OF_IMAGES, Corruption


def autoencoder_objective(
    output: AutoencoderOutput,
    x: Tensor,
    *,
    likelihood: Likelihood,
    sparsity: float,
    sparsity_target: float | None,
    contraction: float,
    missing_cells: bool = False,
) -> dict[str, Tensor]:
    """Reconstruction plus weighted penalties; rows of shape (n,), the batch's KL of shape ().

    ``reconstruction`` is minus the likelihood's score: for the gaussian the squared error, summed over features; with
    ``missing_cells`` over the cells that are there.
    """
    seen = present(output.raw, x) if missing_cells else x
    terms = {"reconstruction": -likelihood.row_score(output.raw, seen)}
    if sparsity:
        code = output.code
        penalty = l1_sparsity(code) if sparsity_target is None else kl_sparsity(code, sparsity_target)
        terms["sparsity"] = sparsity * penalty
    if output.slope is not None:
        terms["contraction"] = contraction * output.slope
    return terms


class AutoencoderTransformer(InpaintingAutoencoder):
    r"""Reduce rows to a few numbers by a network that learns to reconstruct them.

    The nonlinear counterpart of :class:`~sklearn.decomposition.PCA`, with its methods. By default training starts
    at the PCA solution, and the result is PCA itself unless the network reconstructs held-out rows significantly
    better.

    The network minimises, averaged over rows,

    .. math::
        \lVert x - g(f(\tilde x)) \rVert^2 + \lambda_s \Omega_s(f(\tilde x)) + \lambda_c \lVert J_f(\tilde x) \rVert_F^2

    with encoder :math:`f`, decoder :math:`g`, and :math:`\tilde x` the row with noise added. Sums run over
    features and code units.

    Rows are first centred and divided by one scalar, the root of the features' mean variance. For likelihoods other
    than the gaussian, only the encoder's input is. Codes are in units of the scaled rows. Sparse matrices are not
    accepted.

    Parameters
    ----------
    n_components : int, default=2
        Length of the code; may exceed the number of features.
    architecture : sequence of int or architecture object, default=(128, 64)
        Widths of the encoder's hidden layers, short for ``MLP(...)``; ``Convolutional(...)`` is for images and
        series, ``Recurrent(...)`` for series.
    likelihood : {"gaussian", "bernoulli", "categorical", "poisson", "multinomial"} or Likelihood, default="gaussian"
        What rows are: real values (squared error), values in [0, 1] (cross-entropy), numbered categories, counts, or
        counts of a total.
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
    max_iter : int, default=75
        Largest number of epochs.
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
        losses. Below 600 rows, four folds are held out in turn, which costs four further fits, and the final network
        is trained on all rows. Fewer than 40 rows are too few to evaluate a network: at default penalties and noise,
        the result is then PCA.
    validation_fraction : float, default=0.1
        Share of the rows held out when ``early_stopping``, from 600 rows on.
    n_iter_no_change : int, default=20
        Epochs without improvement after which early stopping ends training. (Folds run all ``max_iter`` epochs.)
    tol : float, default=1e-4
        Relative improvement of the mean root that counts as one.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the last fit, with its centre and scale, or starts afresh.
    callbacks : list of skorch callbacks or None, default=None
        Called by the net in training, those of the folds included; they are copied first. (scikit-learn's callbacks
        are set by ``set_callbacks``, and see the epochs of the final network.)
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net; anything else is refused.
    device : str, default="auto"
        Where to compute: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is CUDA where there is one. Fits agree bit for bit on
        one kind of device and with one number of threads; more threads may add up gradients in another order.
    random_state : int, RandomState instance or None, default=None
        Seeds initialization, split, shuffling and noise. An integer gives the same result at every ``fit``.
    verbose : int, default=0
        1 prints a line per epoch of the final network.

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
    linear_ : bool
        Whether the result is PCA. The loss curves are then those of the network that was dropped.
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
        **BaseAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": ["array-like", Architecture],
        "likelihood": [StrOptions(set(LIKELIHOODS)), Likelihood],
        "init": [StrOptions({"auto", "pca", "random"})],
        "noise": [Interval(Real, 0, None, closed="left")],
        "noise_kind": [StrOptions(set(NOISE_KINDS))],
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither"), None],
        "contraction": [Interval(Real, 0, None, closed="left")],
    }

    _shaping_parameters = (
        *BaseAutoencoder._shaping_parameters,
        "n_components",
        "architecture",
        "likelihood",
        "init",
        "noise",
        "noise_kind",
        "sparsity",
        "sparsity_target",
        "contraction",
    )

    def __init__(
        self,
        n_components=2,
        *,
        architecture=(128, 64),
        likelihood="gaussian",
        init="auto",
        noise=0.0,
        noise_kind="gaussian",
        sparsity=0.0,
        sparsity_target=None,
        contraction=0.0,
        max_iter=75,
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

    def _architecture(self) -> Architecture:
        architecture = super()._architecture()
        if self.sparsity_target is not None:
            architecture.set_params(code_activation="sigmoid")
        return architecture

    def _why_not_pca(self) -> str | None:
        """What stands against starting at PCA; None if nothing does."""
        if not self._make_likelihood().scales_rows:
            return f"likelihood={self.likelihood!r} (PCA is the linear autoencoder of the gaussian likelihood)"
        if self._architecture().unequal_lengths:
            return "unequal_lengths=True (PCA needs every cell of a row)"
        if (activation := self._architecture().code_activation) != "identity":
            return f"codes that pass through {activation!r} (PCA's codes are linear)"
        return None

    def _starts_linear(self) -> bool:
        return self.init == "pca" or (self.init == "auto" and self._why_not_pca() is None)

    def _start_linear(self, module: nn.Module, rows: Rows) -> None:
        assert isinstance(module, Autoencoder)
        start_at_pca(module, rows)

    def _needs_verdict(self) -> bool:
        return self._starts_linear() and self.early_stopping and not (self.noise or self.sparsity or self.contraction)

    def _check_configuration(self) -> None:
        super()._check_configuration()
        self._architecture().check()
        if self.init == "pca" and (reason := self._why_not_pca()) is not None:
            raise ValueError(f"init='pca' does not go with {reason}; use init='auto' or 'random'.")
        likelihood = as_likelihood(self.likelihood)
        if isinstance(likelihood, Gaussian) and repr(likelihood) != repr(Gaussian()):
            raise ValueError(
                f"likelihood={self.likelihood!r}: the noise of rows has no effect here, where the squared error is "
                "minimised; use Gaussian(), or VAETransformer, which learns it."
            )
        if isinstance(likelihood, Bernoulli) and likelihood.binarize:
            raise ValueError(
                f"likelihood={self.likelihood!r}: ones are drawn for a density, and have no effect here; use "
                "Bernoulli(), or VAETransformer."
            )
        tokens, unequal = isinstance(self._make_likelihood(), Tokens), self._architecture().unequal_lengths
        if unequal and not (likelihood.scales_rows or tokens):
            raise ValueError(
                "architecture: unequal_lengths=True goes with likelihood='gaussian' or 'categorical', got "
                f"{likelihood!r}."
            )
        if tokens and self.noise:
            raise ValueError(f"noise does not go with sequences of tokens, got {self.noise}; set noise=0.")
        if unequal and self.noise and self.noise_kind == "salt_and_pepper":
            raise ValueError("noise_kind='salt_and_pepper' does not go with unequal_lengths=True; use 'masking'.")
        if self.contraction and (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' does not go with contraction > 0, which differentiates twice.")
        activation = as_architecture(self.architecture).code_activation
        if self.sparsity_target is not None and activation not in ("identity", "sigmoid"):
            raise ValueError(
                f"sparsity_target={self.sparsity_target} makes codes sigmoids, but the architecture has "
                f"code_activation={activation!r}; leave that at 'identity', or use sparsity without a target."
            )
        if self.noise_kind != "gaussian" and self.noise > 1:
            raise ValueError(
                f"noise is a share of {'the length' if self.noise_kind == 'warp' else 'cells'} for "
                f"noise_kind={self.noise_kind!r}: at most 1, got {self.noise}."
            )
        if self.noise_kind in OF_IMAGES and not isinstance(self._architecture(), Convolutional):
            raise ValueError(
                f"noise_kind={self.noise_kind!r} needs rows that hold images or series: "
                f"architecture=Convolutional(...), got {self.architecture!r}."
            )
        if self.sparsity_target is not None and not self.sparsity:
            raise ValueError(
                f"sparsity_target={self.sparsity_target} has no effect with sparsity=0; set sparsity above 0."
            )

    def _make_module(self, input_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
        n_features, layout = math.prod(input_shape), self._architecture().fitted_to(input_shape).layout
        n_inputs = likelihood.n_inputs(n_features)
        bounded = self.contraction > 0 or (self.sparsity > 0 and self.sparsity_target is None)
        return Autoencoder(
            **self._make_coders(input_shape, likelihood, self.n_components, noise=False, bounded=bounded),
            standardize=self._make_standardize(n_features, likelihood),
            corruption=Corruption(self.noise_kind, self.noise, n_inputs, layout) if self.noise else None,
            contractive=self.contraction > 0,
        )

    def _make_objective(self, likelihood: Likelihood):
        return partial(
            autoencoder_objective,
            likelihood=likelihood,
            sparsity=self.sparsity,
            sparsity_target=self.sparsity_target,
            contraction=self.contraction,
            missing_cells=self._has_missing_cells(likelihood),
        )

    def _initialize(self, module: nn.Module, rows: Rows) -> None:
        assert isinstance(module, Autoencoder)
        if not self._likelihood.scales_rows:
            self._start_random(module, rows)
        if module.corruption is not None:
            seen = summarize(rows, module.encoder_input)
            module.corruption.set_range(seen.low, seen.high)
            module.corruption.set_center(self._center_of_what_is_seen(module))
        if self._starts_linear():
            start_at_pca(module, rows)
            if not (self.noise or self.contraction):  # which ask for smooth maps
                self._sharpen(module, len(rows))

    def _center_of_what_is_seen(self, module: Autoencoder) -> Tensor:
        """What was subtracted from the rows that the encoder sees, in their scale."""
        if module.standardize is not None:
            return module.standardize.center / module.standardize.scale
        return torch.from_numpy(self._scaling.center / self._scaling.scale)
