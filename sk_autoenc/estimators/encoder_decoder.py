"""The predictor of images, series and rows from others: a linear baseline, and a network that learns the rest."""

from collections.abc import Iterator
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import r2_score
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.architectures import MLP, Architecture, Convolutional, as_architecture
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.predictor import NeuralPredictor
from sk_autoenc.base.stored_targets import storable_predictor
from sk_autoenc.data.dataset import Batch
from sk_autoenc.data.pairs import PairedRows, channel_of_cells, check_paired
from sk_autoenc.initialization.baselines import BASELINES, BaselineStart, available
from sk_autoenc.losses import ADVERSARIAL_LOSSES, AdversarialLoss
from sk_autoenc.nn.convolution import Convolution, ImageLayout
from sk_autoenc.nn.pairs import FLIPS, Baseline, PairLayout, PairNetwork
from sk_autoenc.training.adversarial import FreshBatches, Game, GameState, Player
from sk_autoenc.training.builder import check_net_params
from sk_autoenc.training.plan import OptimizerOptions, Plan
from sk_autoenc.training.selection import ROOT_LOSS, RowLosses

#: Stages of ``architecture="auto"`` for images, of which those are left out that would shrink a side below the number.
_CHANNELS, _SHORTEST_SIDE = (32, 48, 64), 4
_CRITIC_CHANNELS = (32, 64)
_HIDDEN_LAYER_SIZES = (128, 64)

#: Images of a step at least and at most.
_LEAST_IMAGES, _MOST_IMAGES = 8, 32


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the cells of each target, ``(n,)``."""
    return (predicted - target).square().mean(-1)


def absolute_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over the cells of each target, ``(n,)``."""
    return (predicted - target).abs().mean(-1)


LOSSES = {"squared_error": squared_error, "absolute_error": absolute_error}


def pair_objective(output: Tensor, batch: Batch, *, loss: Any) -> dict[str, Tensor]:
    """The loss of each row."""
    return {"prediction": loss(output, batch.y)}


def pair_turns(
    module: PairNetwork,
    batches: FreshBatches,
    state: GameState,
    *,
    loss: Any,
    adversarial: AdversarialLoss,
    critic_weight: float,
) -> Iterator[tuple[str, Tensor]]:
    r"""One round of pix2pix: the critic's step, then the predictor's on :math:`L(\hat y, y) + w\,L_G(D(x, \hat y))`."""
    batch = next(batches)
    critic: Any = module.critic
    predicted = module(batch.x, state.generator)
    said = critic(batch.x, batch.y), critic(batch.x, predicted.detach())
    yield "critic", adversarial.critic(*said).mean()
    with torch.no_grad():
        real = critic(batch.x, batch.y)
    realism = adversarial.generator(real, critic(batch.x, predicted)).mean()
    yield "predictor", loss(predicted, batch.y).mean() + critic_weight * realism


def _check_model(model: Any) -> None:
    """Refuse parameters that neither scikit-learn's validation nor an architecture checks."""
    check_options(model.augment, model.output_range)


def check_options(augment: Any, output_range: Any) -> None:
    """Refuse names of augmentations that are none, and ranges that are none."""
    for name in () if augment is None else augment:
        if name not in FLIPS:
            raise ValueError(f"augment must hold names among {sorted(FLIPS)}, got {name!r}.")
    if output_range is None or isinstance(output_range, str):
        return
    is_pair = np.shape(output_range) == (2,) and all(isinstance(bound, Real) for bound in output_range)
    if not is_pair or not -np.inf < output_range[0] < output_range[1] < np.inf:
        raise ValueError(f"output_range must be 'auto', None or two ascending numbers, got {output_range!r}.")


@storable_predictor(PairedRows, check_own_params=_check_model, baselines=BASELINES)
class EncoderDecoderRegressor(RegressorMixin, NeuralPredictor):
    r"""Predict images from images, series from series, rows from rows: :math:`\hat y = b(x) + g\,f(x)`.

    *b* is a linear baseline in closed form, *f* a network whose last layer starts at zero, and *g* the standard
    deviation of the baseline's errors. So training starts at the baseline. If held-out rows do not say that the network
    is significantly better, the result is the baseline. It is chosen on held-out training rows:

    ==============  ==================================================================  ===============================
    ``baseline``    prediction                                                          for
    ==============  ==================================================================  ===============================
    ``"mean"``      mean of the targets; of images, of each channel                     all
    ``"copy"``      the input, its last channels; of a larger input, means of pixels    rows of one size
    ``"bicubic"``   bicubic enlargement                                                 targets larger than the input
    ``"filter"``    ridge regression of a pixel on the 5 x 5 pixels around it           images and series
    ``"ridge"``     ridge regression of all cells on all cells                          2048 columns at most
    ==============  ==================================================================  ===============================

    With ``critic`` the network also learns to deceive a critic of pairs, as in pix2pix [1]_.

    Parameters
    ----------
    architecture : "auto", sequence of int, MLP or Convolutional, default="auto"
        The network. A bare sequence is short for ``MLP(hidden_layer_sizes)``, which reads flat rows.
        :class:`Convolutional` makes a U-Net [2]_ of images or series; ``y`` may be a whole number of times as high and
        as wide as ``X``, or smaller. ``"auto"``: a U-Net if ``X`` has four axes, else an MLP.
    skips : bool, default=True
        Whether a U-Net's decoder reads the encoder's stages. Without, everything passes through its smallest maps.
    baseline : {"auto", "mean", "copy", "bicubic", "filter", "ridge"}, default="auto"
        Where training starts; ``"auto"`` compares all that are possible.
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Mean over the cells of a target, in units of their standard deviation. Where several targets are likely, squared
        errors lead to their mean, which is blurred, absolute errors to a median.
    critic : "auto", sequence of int, MLP, Convolutional or None, default=None
        Network that tells real targets from predicted ones, given the row; ``"auto"`` is a small one of the kind of
        ``architecture``. That of images rates overlapping patches. Predictions then look more real, and their errors
        are larger. Losses cannot weigh that, so the network is always kept.
    critic_loss : {"least_squares", "hinge", "non_saturating", ...}, default="least_squares"
        The game of both, as in :class:`GANSampler`.
    critic_weight : float, default=0.01
        Weight of the critic beside the loss.
    augment : sequence of {"flip", "flip_vertical"} or None, default=None
        In training half of the images are flipped, left to right or top to bottom, and their targets with them.
    output_range : "auto", (float, float) or None, default="auto"
        Range to which predictions are clipped. ``"auto"``: that of ``y`` if more than a thousandth of its cells has the
        lowest value, and as many the highest, as pixels do; else none.
    init : "random" or FrozenEstimator, default="random"
        ``FrozenEstimator(autoencoder)``, with a fitted autoencoder of the same ``Convolutional`` stages, gives the
        weights at which the encoder's convolutions start. It may have seen images without targets.
    max_iter : int, default=100
        Largest number of epochs.
    batch_size : int or "auto", default="auto"
        Rows per training step; ``"auto"`` is a twentieth of the rows, at least 32 and at most 512, of images at least 8
        and at most 32.
    learning_rate : float, default=0.003
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps of ``max_iter`` epochs, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps; its further options are set by ``net_params={"optimizer__...": ...}``.
    weight_decay : float, default=0.01
        Decay of the weights, as ``optimizer`` defines it; not applied to biases.
    early_stopping : bool, default=True
        Whether rows are held out to find the epoch at which to stop, and to compare the network with the baseline.
        Below 600 rows, four folds are held out in turn, which costs four further fits. Fewer than 40 rows are too few
        to evaluate a network: the result is then the baseline.
    validation_fraction : float, default=0.1
        Share of the rows held out when ``early_stopping``, from 600 rows on.
    n_iter_no_change : int, default=20
        Epochs without improvement after which early stopping ends training. (Folds run all ``max_iter`` epochs.)
    tol : float, default=1e-4
        Relative improvement of the mean root of the rows' losses that counts as one.
    warm_start : bool, default=False
        Whether ``fit`` continues the last fit, with its scales and baseline, or starts again.
    callbacks : list of skorch callbacks or None, default=None
        Called by the net in training, those of the folds included; they are copied first.
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net; anything else is refused.
    device : str, default="auto"
        Where to compute: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds initialization, split, shuffling and augmentation. An integer gives the same result at every ``fit``.
    verbose : int, default=0
        1 prints a line per epoch of the final network.

    Attributes
    ----------
    baseline_ : str
        The baseline at which training started.
    is_baseline_ : bool
        Whether the result is this baseline. The loss curves are then those of the network that was dropped.
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` is the torch module.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, in units of the targets' standard deviation.
    validation_loss_curve_ : list of float
        Mean loss on the held-out rows after each epoch; with folds, of all ``max_iter`` epochs.
    loss_curves_ : dict of str to list of float
        ``loss_curve_`` by term: ``"prediction"``; with a critic ``"predictor"`` and ``"critic"``.
    n_features_in_ : int
        Number of features seen in ``fit``; of images, the number of cells.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.
    input_shape_, output_shape_ : tuple of int
        Shape of one row, and of one target.
    device_ : str
        The device in use.

    See Also
    --------
    SegNetSegmenter : Predicts a class for each pixel.
    sk_autoenc.metrics.psnr_score, sk_autoenc.metrics.ssim_score : Figures of predicted images.

    References
    ----------
    .. [1] Isola, Zhu, Zhou, Efros (2017). Image-to-image translation with conditional adversarial networks. CVPR.
    .. [2] Ronneberger, Fischer, Brox (2015). U-Net: convolutional networks for biomedical image segmentation. MICCAI.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import EncoderDecoderRegressor
    >>> images = load_digits().images[:100, None]  # (100, 1, 8, 8)
    >>> noisy = images + 4 * np.random.default_rng(0).standard_normal(images.shape)
    >>> model = EncoderDecoderRegressor(max_iter=2, random_state=0).fit(noisy, images)
    >>> model.predict(noisy).shape, model.baseline_
    ((100, 1, 8, 8), 'ridge')
    """

    _parameter_constraints: dict = {
        **NeuralPredictor._parameter_constraints,
        "architecture": ["array-like", Architecture, StrOptions({"auto"})],
        "skips": ["boolean"],
        "baseline": [StrOptions({"auto", *BASELINES})],
        "loss": [StrOptions(set(LOSSES))],
        "critic": ["array-like", Architecture, StrOptions({"auto"}), None],
        "critic_loss": [StrOptions(set(ADVERSARIAL_LOSSES))],
        "critic_weight": [Interval(Real, 0, None, closed="left")],
        "augment": [list, tuple, None],
        "output_range": [list, tuple, StrOptions({"auto"}), None],
        "init": [StrOptions({"random"}), FrozenEstimator],
    }

    _baselines = BASELINES

    def __init__(
        self,
        architecture="auto",
        *,
        skips=True,
        baseline="auto",
        loss="squared_error",
        critic=None,
        critic_loss="least_squares",
        critic_weight=0.01,
        augment=None,
        output_range="auto",
        init="random",
        max_iter=100,
        batch_size="auto",
        learning_rate=0.003,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.01,
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
        self.architecture = architecture
        self.skips = skips
        self.baseline = baseline
        self.loss = loss
        self.critic = critic
        self.critic_loss = critic_loss
        self.critic_weight = critic_weight
        self.augment = augment
        self.output_range = output_range
        self.init = init
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

    def _make_plan(self, request: FitRequest) -> Plan:
        self._check_combinations(request.shape)
        target_shape = self._target_shape(request)
        architecture = self._architecture_for(request.shape)
        layout = architecture.pair_layout(target_shape)
        if self.augment and layout is None:
            raise ValueError(f"augment needs images and architecture=Convolutional(...), got {self.architecture!r}.")
        data = request.data or self._preprocessor(request, target_shape, layout)
        loss = LOSSES[self.loss]
        return Plan(
            module=partial(self._make_module, architecture, layout, data),
            objective=partial(pair_objective, loss=loss),
            game=None if self.critic is None else self._game(loss),
            start=self._make_start(request, layout, data),
            data=data,
            splits=self._splits(request),
            selection=RowLosses(self.n_iter_no_change, self.tol, ROOT_LOSS, stops=self.critic is None),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(request),
            optimizer=self._optimizer_options_for(request, layout),
            verbose=self.verbose,
        )

    def _check_combinations(self, shape: tuple[int, ...]) -> None:
        check_options(self.augment, self.output_range)
        if self.critic is not None:
            self._architecture_for(shape, "critic")
        if self.critic is not None and (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect on players that train in turns.")

    def _target_shape(self, request: FitRequest) -> tuple[int, ...]:
        if request.X is None:
            return request.data.target_shape
        found = check_paired(request.X, request.y, type(self).__name__).shape[1:]
        if request.data is not None and found != (known := request.data.target_shape):
            raise ValueError(f"y must have targets of shape {known}, as in the fit that goes on, got {found}.")
        return found

    def _architecture_for(self, shape: tuple[int, ...], name: str = "architecture") -> Architecture:
        """The architecture of a network, bound to the shape of rows."""
        given = getattr(self, name)
        if not isinstance(given, str):
            found = as_architecture(given)
            found.check()
        elif self._architecture_for(shape).has_layout if name == "critic" else len(shape) == 3:
            found = self._automatic(shape, name)
        else:
            found = MLP(_HIDDEN_LAYER_SIZES, activation="leaky_relu" if name == "critic" else "silu")
        if found.reads_sequences or found.code_activation != "identity":
            raise ValueError(f"{name} must be an MLP or Convolutional with code_activation='identity', got {given!r}.")
        if name == "critic" and found.has_layout != (kind := self._architecture_for(shape)).has_layout:
            raise ValueError(f"critic must be of the kind of architecture, {kind!r:.80}, got {given!r:.80}.")
        return found.bind(shape)

    def _automatic(self, shape: tuple[int, ...], name: str) -> Convolutional:
        """Convolutions that fit the images, in the layout of the ``architecture`` if this is not ``"auto"``."""
        like: Any = self.architecture if getattr(self.architecture, "has_layout", False) else Convolutional()
        layout = like.bind(shape).layout
        assert layout is not None, "bind gives one"
        sides = [side for side in (layout.height, layout.width) if side > 1] or [1]
        n_stages = max(1, int(np.log2(max(min(sides) / _SHORTEST_SIDE, 1))))
        channels = (_CRITIC_CHANNELS if name == "critic" else _CHANNELS)[:n_stages]
        return Convolutional(channels, input_shape=like.input_shape, channels_last=like.channels_last)

    def _preprocessor(
        self, request: FitRequest, target_shape: tuple[int, ...], layout: PairLayout | None
    ) -> PairedRows:
        assert request.X is not None, "a loaded model has a preprocessor"
        return PairedRows(
            request.shape,
            target_shape,
            request.X.dtype.name,
            channels=None if layout is None else channels_of(layout.input),
            target_channels=None if layout is None else channels_of(layout.output),
            output_range=self.output_range,
        )

    def _make_module(self, architecture: Architecture, layout: PairLayout | None, data: PairedRows) -> PairNetwork:
        n_in, n_out = data.n_features, data.n_outputs
        critic = None
        if self.critic is not None:
            critic = self._architecture_for(data.shape, "critic").make_pair_critic(n_in, n_out, layout)
        return PairNetwork(
            Baseline(n_in, n_out, layout),
            architecture.make_pair_network(n_in, n_out, layout, skips=self.skips),
            layout=layout,
            augment=tuple(self.augment or ()),
            critic=critic,
            n_inputs=n_in,
            n_gains=n_out if layout is None else 1,
        )

    def _make_start(self, request: FitRequest, layout: PairLayout | None, data: PairedRows) -> BaselineStart:
        if self.baseline != "auto" and self.baseline not in (possible := available(data, layout)):
            raise ValueError(
                f"baseline must be one of {possible} for rows of shape {data.shape} and targets of shape "
                f"{data.target_shape}, got {self.baseline!r}."
            )
        prepare = None
        if not isinstance(self.init, str) and request.X is not None:
            if layout is None:
                raise ValueError("init=FrozenEstimator(...) needs architecture=Convolutional(...).")
            prepare = partial(start_at_encoder, encoder=encoder_of(self.init))
        return BaselineStart(
            data,
            layout,
            name=self.baseline,
            loss=LOSSES[self.loss],
            seed=request.seed,
            groups=request.groups,
            is_model=self.critic is None,
            prepare=prepare,
        )

    def _game(self, loss: Any) -> Game:
        turns = partial(
            pair_turns, loss=loss, adversarial=ADVERSARIAL_LOSSES[self.critic_loss], critic_weight=self.critic_weight
        )
        players = {"critic": Player(("critic",)), "predictor": Player(("network",))}
        return Game(turns, players, {"betas": (0.5, 0.999)})

    def _optimizer_options_for(self, request: FitRequest, layout: PairLayout | None) -> OptimizerOptions:
        size = self.batch_size
        if isinstance(size, str) and layout is not None:
            n_rows = 0 if request.X is None else len(request.X)
            size = min(max(-(-n_rows // 20), _LEAST_IMAGES), _MOST_IMAGES)
        return OptimizerOptions(
            self.optimizer, self.learning_rate, self.weight_decay, size, check_net_params(self.net_params)
        )

    # -- results

    def _to_targets(self, outputs: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return self._data.to_targets(outputs, dtype)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the predictions.

        Of targets with one or two axes it is that of scikit-learn's regressors. With more axes, cells are weighted by
        their variance: it is 1 - (squared error) / (squared deviation from each cell's mean), both summed over all
        cells that are not constant in ``y``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows.
        y : array-like of shape (n_samples, ...)
            Their targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        float
            1 for perfect predictions, 0 for those of the mean.
        """
        predicted = self.predict(X)
        if predicted.ndim <= 2:
            return r2_score(y, predicted, sample_weight=sample_weight)
        y = check_paired(predicted, y, type(self).__name__)
        if y.shape != predicted.shape:
            raise ValueError(f"y must have targets of shape {self.output_shape_}, got {y.shape[1:]}.")
        flat = (part.reshape(len(part), -1) for part in (y, predicted))
        return r2_score(*flat, sample_weight=sample_weight, multioutput="variance_weighted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def channels_of(layout: ImageLayout) -> np.ndarray:
    """The channel of each cell of a row."""
    return channel_of_cells(layout.n_cells, layout.n_channels, channels_last=layout.channels_last)


def encoder_of(frozen: FrozenEstimator) -> nn.Module:
    """The encoder of the fitted autoencoder inside."""
    module = getattr(getattr(frozen.estimator, "net_", None), "plain_module", None)
    if (encoder := getattr(module, "encoder", None)) is None:
        raise ValueError(f"init must freeze a fitted autoencoder, got {frozen.estimator!r:.80}.")
    return encoder


def start_at_encoder(module: Any, encoder: nn.Module) -> None:
    """Copy the convolutions of an autoencoder's encoder to those of the network's stages."""
    found = [layer for layer in encoder.modules() if isinstance(layer, Convolution)]
    (network,) = module.network
    stages = [layer for layer in network.stages.modules() if isinstance(layer, Convolution)]
    shapes = [[tuple(layer.weight.shape) for layer in layers] for layers in (found, stages)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"init: the autoencoder has convolutions of shapes {shapes[0]}, the network has stages of {shapes[1]}."
        )
    for layer, given in zip(stages, found, strict=True):
        layer.weight.copy_(given.weight)
        assert layer.bias is not None, "convolutions of stages have one"
        assert given.bias is not None, "convolutions of stages have one"
        layer.bias.copy_(given.bias)
