"""The segmenter: a class for each pixel, by a linear baseline and a SegNet or a U-Net that learns the rest."""

from collections.abc import Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.predictor import NeuralPredictor
from sk_autoenc.base.stored_targets import storable_predictor
from sk_autoenc.data.conditions import is_targets
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.masks import VOID, MaskedImages, check_masks, classes_of
from sk_autoenc.data.pairs import channel_of_cells
from sk_autoenc.initialization.masks import BASELINES, MaskStart, scores_of
from sk_autoenc.metrics import mean_iou_score
from sk_autoenc.nn.blocks import BatchInvariantNetwork
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.pairs import FLIPS, Baseline, PairNetwork
from sk_autoenc.nn.segnet import SegNet, stage_sides
from sk_autoenc.storage import array
from sk_autoenc.training.builder import check_net_params
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.plan import OptimizerOptions, Plan
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import NATS, RowLosses

#: Images of a step, where ``batch_size="auto"``.
_N_IMAGES = 8

_AUGMENTATIONS = {*FLIPS, "brightness"}


def cross_entropy(scores: Tensor, numbers: Tensor, weight: Tensor) -> Tensor:
    r"""Weighted cross-entropy of each image, :math:`\sum_p w_{c(p)} (-\log p_{c(p)}) / n`, over its n pixels; ``(n,)``.

    Void pixels add nothing and do not count; an image without other pixels has loss 0.
    """
    by_class = scores.unflatten(1, (len(weight), -1))  # (n, n_classes, n_pixels)
    losses = F.cross_entropy(by_class, numbers.long(), weight, ignore_index=VOID, reduction="none")
    return losses.sum(1) / (numbers != VOID).sum(1).clamp_min(1)


def mask_objective(output: Tensor, batch: Batch, *, data: MaskedImages) -> dict[str, Tensor]:
    """The loss of each image."""
    return {"prediction": masked_loss(output, batch.y, data=data)}


def masked_loss(scores: Tensor, numbers: Any, *, data: MaskedImages) -> Tensor:
    """Cross-entropy with the weights that were fitted."""
    return cross_entropy(scores, numbers, torch.as_tensor(data.class_weight, dtype=torch.float32).to(scores.device))


def class_weights(classes: np.ndarray, counts: np.ndarray, *, kind: Any, power: float) -> np.ndarray:
    """Weights of classes with these numbers of pixels in each image; ``(n_classes,)``.

    ``"median_frequency"`` is that of Eigen and Fergus (2015): a class's frequency is its share of the pixels of images
    that have it, and its weight the median of all frequencies over its own.
    """
    if isinstance(kind, Mapping):
        if unknown := set(kind) - set(classes.tolist()):
            raise ValueError(f"class_weight has {min(unknown, key=str)!r}, which is none of {classes.tolist()}.")
        return np.array([float(kind.get(label, 1.0)) for label in classes.tolist()])
    if kind is None:
        return np.ones(len(classes))
    of_class = counts.sum(axis=0).astype(np.float64)
    there = of_class > 0
    frequency = np.ones(len(classes))
    if kind == "balanced":
        frequency[there] = of_class[there]
    else:
        in_images = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        frequency[there] = of_class[there] / in_images[there]
    weights = np.ones(len(classes))
    weights[there] = (np.median(frequency[there]) / frequency[there]) ** power
    return weights


def _check_model(model: Any) -> None:
    """Refuse parameters that scikit-learn's validation lets pass."""
    channels = model.channels
    if np.ndim(channels) != 1 or not len(channels):
        raise ValueError(f"channels must be a sequence of one integer or more, got {channels!r}.")
    for size in channels:
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ValueError(f"channels must have integers of 1 or more, got {size!r} in {channels!r}.")
    if model.kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {model.kernel_size}.")
    for name in model.augment or ():
        if name not in _AUGMENTATIONS:
            raise ValueError(f"augment must hold names among {sorted(_AUGMENTATIONS)}, got {name!r}.")
    for label, weight in model.class_weight.items() if isinstance(model.class_weight, Mapping) else ():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(f"class_weight must have finite weights of 0 or more, got {weight!r} for {label!r}.")


@storable_predictor(
    MaskedImages,
    check_own_params=_check_model,
    baselines=BASELINES,
    classes_=is_targets,
    class_weight_=array("f8", None, low=0.0),
)
class SegNetSegmenter(NeuralPredictor):
    r"""Predict a class for each pixel of images, by the softmax of :math:`b(x) + f(x)`.

    *f* is a SegNet [1]_: its encoder pools maps, and its decoder puts values back to where the maxima stood. *b* are
    the scores of a linear baseline, at which training starts, and which is the result if held-out images do not say
    that the network is significantly better:

    ==============  ====================================================================================================
    ``baseline``    scores of classes
    ==============  ====================================================================================================
    ``"prior"``     their frequency
    ``"position"``  their frequency at each place, smoothed
    ``"local"``     a logistic regression on the 5 x 5 pixels around, and on the frequencies at the place
    ==============  ====================================================================================================

    Parameters
    ----------
    channels : sequence of int, default=(32, 48, 64, 96)
        Number of channels after each stage of the encoder; the decoder has them in reverse. Each stage halves height
        and width, rounded up.
    upsampling : {"indices", "skips"}, default="indices"
        How the decoder enlarges maps: by the places of the encoder's maxima, as in the paper, or by repeating pixels
        and reading the encoder's maps of the same size, as a U-Net.
    kernel_size : int, default=3
        Side of the convolutions' kernels, an odd number.
    stem : int, default=2
        So many pixels in both directions are read, and predicted, as channels of one pixel of the network. 2 takes a
        quarter of the time of 1.
    baseline : {"auto", "prior", "position", "local"}, default="auto"
        Where training starts; ``"auto"`` compares them on held-out training images.
    class_weight : {"median_frequency", "balanced"}, dict or None, default="median_frequency"
        Weights of the classes in the loss. ``"median_frequency"``: the median of the classes' frequencies over a
        class's, where a frequency is the share of the pixels in images that have the class [2]_. ``"balanced"``:
        inverse to the number of pixels. A dict has weights by label; others are 1.
    class_weight_power : float, default=0.5
        Exponent of the weights that have a name. With 1, as in the papers, rare classes are predicted nearly everywhere
        until training is long.
    void_label : label or None, default=None
        Label of pixels without a class. They count neither in training nor in ``score``, and are never predicted.
    channels_last : bool, default=False
        Whether channels are the last axis of ``X`` and of probabilities.
    augment : sequence of {"flip", "flip_vertical", "brightness"} or None, default=("flip",)
        In training, half of the images are flipped, left to right or top to bottom; ``"brightness"``: every image gets
        another contrast and brightness.
    max_iter : int, default=100
        Largest number of epochs.
    batch_size : int or "auto", default="auto"
        Images per training step; ``"auto"`` is 8.
    learning_rate : float, default=0.004
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"``: rises over the first tenth of the steps of ``max_iter`` epochs, then falls to zero.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps; its further options are set by ``net_params={"optimizer__...": ...}``.
    weight_decay : float, default=0.01
        Decay of the weights, as ``optimizer`` defines it; not applied to biases.
    early_stopping : bool, default=True
        Whether images are held out to find the epoch at which to stop, and to compare the network with the baseline.
        Below 600 images, four folds are held out in turn, which costs four further fits. Fewer than 40 are too few to
        evaluate a network: the result is then the baseline.
    validation_fraction : float, default=0.1
        Share of the images held out when ``early_stopping``, from 600 on.
    n_iter_no_change : int, default=20
        Epochs without improvement after which early stopping ends training. (Folds run all ``max_iter`` epochs.)
    tol : float, default=1e-4
        Improvement of the mean loss that counts as one, in nats.
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
    classes_ : ndarray of shape (n_classes,)
        The labels in ascending order, without ``void_label``.
    class_weight_ : ndarray of shape (n_classes,)
        Weights of the classes in the loss; the mean weight of a pixel is 1.
    baseline_ : str
        The baseline at which training started.
    is_baseline_ : bool
        Whether the result is this baseline. The loss curves are then those of the network that was dropped.
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` is the torch module.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch: weighted cross-entropy of a pixel in nats.
    validation_loss_curve_ : list of float
        Mean loss on the held-out images after each epoch; with folds, of all ``max_iter`` epochs.
    loss_curves_ : dict of str to list of float
        ``loss_curve_`` by term, ``"prediction"``.
    n_features_in_ : int
        Number of cells of an image.
    input_shape_, output_shape_ : tuple of int
        Shape of one image, and its height and width.
    device_ : str
        The device in use.

    See Also
    --------
    EncoderDecoderRegressor : Predicts numbers instead of classes.
    sk_autoenc.metrics.segmentation_report : Figures of predicted masks.

    References
    ----------
    .. [1] Badrinarayanan, Kendall, Cipolla (2017). SegNet: a deep convolutional encoder-decoder architecture for image
       segmentation. IEEE Transactions on Pattern Analysis and Machine Intelligence 39.
    .. [2] Eigen, Fergus (2015). Predicting depth, surface normals and semantic labels with a common multi-scale
       convolutional architecture. ICCV.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import SegNetSegmenter
    >>> images = load_digits().images[:80, None]  # (80, 1, 8, 8)
    >>> masks = images[:, 0] > 8
    >>> model = SegNetSegmenter((8, 8), stem=1, max_iter=2, random_state=0).fit(images, masks)
    >>> model.predict(images).shape, model.predict_proba(images).shape
    ((80, 8, 8), (80, 2, 8, 8))
    """

    _parameter_constraints: dict = {
        **NeuralPredictor._parameter_constraints,
        "channels": ["array-like"],
        "upsampling": [StrOptions({"indices", "skips"})],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "stem": [Interval(Integral, 1, None, closed="left")],
        "baseline": [StrOptions({"auto", *BASELINES})],
        "class_weight": [StrOptions({"median_frequency", "balanced"}), dict, None],
        "class_weight_power": [Interval(Real, 0, None, closed="left")],
        "void_label": "no_validation",
        "channels_last": ["boolean"],
        "augment": [list, tuple, None],
    }

    _baselines = BASELINES

    def __init__(
        self,
        channels=(32, 48, 64, 96),
        *,
        upsampling="indices",
        kernel_size=3,
        stem=2,
        baseline="auto",
        class_weight="median_frequency",
        class_weight_power=0.5,
        void_label=None,
        channels_last=False,
        augment=("flip",),
        max_iter=100,
        batch_size="auto",
        learning_rate=0.004,
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
        self.channels = channels
        self.upsampling = upsampling
        self.kernel_size = kernel_size
        self.stem = stem
        self.baseline = baseline
        self.class_weight = class_weight
        self.class_weight_power = class_weight_power
        self.void_label = void_label
        self.channels_last = channels_last
        self.augment = augment
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
        _check_model(self)
        layout = self._layout(request.shape)
        if request.X is not None:
            y = check_masks(request.y, len(request.X), (layout.height, layout.width), type(self).__name__)
            classes_of(y, self.void_label)
        data = request.data or self._preprocessor(request, layout)
        return Plan(
            module=partial(self._make_module, layout, data),
            objective=partial(mask_objective, data=data),
            start=MaskStart(data, layout, name=self.baseline, loss=partial(masked_loss, data=data), seed=request.seed),
            data=data,
            splits=self._splits(request),
            selection=RowLosses(self.n_iter_no_change, self.tol, NATS),
            keeps_start_unevaluated=self.early_stopping and not request.is_chunk,
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            verbose=self.verbose,
        )

    def _layout(self, shape: tuple[int, ...]) -> ImageLayout:
        """How rows hold images; ``ValueError`` if they hold none, or stages cannot shrink them."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"X must have three axes, (n_samples, height, width), or four with channels, got rows of shape {shape}."
            )
        with_channel = shape if len(shape) == 3 else (*shape, 1) if self.channels_last else (1, *shape)
        height, width, n_channels = with_channel if self.channels_last else (*with_channel[1:], with_channel[0])
        layout = ImageLayout(n_channels, height, width, self.channels_last)
        for stage, side in enumerate(stage_sides(scores_of(layout, 1), len(self.channels), self.stem)[:-1]):
            if min(side) < 2:
                raise ValueError(
                    f"channels={tuple(self.channels)!r} has {len(self.channels)} stages, but with stem={self.stem} "
                    f"images of {layout.height} x {layout.width} pixels have a side of 1 after {stage} stages; use "
                    "fewer stages, or a smaller stem."
                )
        return layout

    def _preprocessor(self, request: FitRequest, layout: ImageLayout) -> MaskedImages:
        assert request.X is not None, "a loaded model has a preprocessor"
        return MaskedImages(
            request.shape,
            (layout.height, layout.width),
            request.X.dtype.name,
            channels=channel_of_cells(layout.n_cells, layout.n_channels, channels_last=layout.channels_last),
            void_label=self.void_label,
            weigh=partial(class_weights, kind=self.class_weight, power=self.class_weight_power),
        )

    def _make_module(self, layout: ImageLayout, data: MaskedImages) -> PairNetwork:
        pair = scores_of(layout, data.n_classes)
        network = SegNet(
            pair,
            list(self.channels),
            kernel_size=self.kernel_size,
            stem=self.stem,
            has_indices=self.upsampling == "indices",
        )
        return PairNetwork(
            Baseline(data.n_features, pair.output.n_cells, pair),
            BatchInvariantNetwork(network),
            layout=pair,
            augment=tuple(self.augment or ()),
            n_inputs=data.n_features,
            n_gains=1,
        )

    def _optimizer_options(self) -> OptimizerOptions:
        size = _N_IMAGES if isinstance(self.batch_size, str) else self.batch_size
        return OptimizerOptions(
            self.optimizer, self.learning_rate, self.weight_decay, size, check_net_params(self.net_params)
        )

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        super()._describe(result, rows, whole=whole)
        self.classes_, self.class_weight_ = self._data.classes, self._data.class_weight

    def _outputs(self, X: np.ndarray, *, by_baseline: bool) -> np.ndarray:
        """Numbers of the classes with the highest scores, which take less memory than scores."""
        module, n_classes = self.net_.plain_module, self._data.n_classes
        scores = module.baseline if by_baseline else module.predict

        def best(x: Tensor) -> Tensor:
            return scores(x).unflatten(1, (n_classes, -1)).argmax(1).to(torch.int16)

        return map_rows(best, X, self.device_, self._data.prepare)

    def _to_targets(self, outputs: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return self.classes_[outputs.astype(np.intp)].reshape(-1, *self.output_shape_)

    def predict_proba(self, X):
        """Probabilities of the classes for each pixel.

        They are those of pixels weighted by ``class_weight_``, so rare classes are more probable than their frequency.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, height, width) or (n_samples, height, width)
            Images.

        Returns
        -------
        ndarray of shape (n_samples, n_classes, height, width)
            Probabilities in the order of ``classes_``, which is the last axis with ``channels_last=True``.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        module, n_classes = self.net_.plain_module, self._data.n_classes
        scores = module.baseline if self.is_baseline_ else module.predict

        def probabilities(x: Tensor) -> Tensor:
            # Along the last axis: along another, kernels treat some pixels differently.
            return scores(x).unflatten(1, (n_classes, -1)).transpose(1, 2).contiguous().softmax(2)

        found = map_rows(probabilities, X, self.device_, self._data.prepare)
        found = found.astype(X.dtype, copy=False).reshape(-1, *self.output_shape_, n_classes)
        return found if self._parameters.channels_last else np.moveaxis(found, -1, 1)

    def score(self, X, y):
        """Mean intersection over union of the classes, from all pixels of all images together.

        Void pixels are left out, and so are classes that occur neither in ``y`` nor in the prediction. A class that
        the fit did not have counts as 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, height, width) or (n_samples, height, width)
            Images.
        y : array-like of shape (n_samples, height, width)
            Labels of their pixels.

        Returns
        -------
        float
            From 0 to 1.
        """
        return mean_iou_score(y, self.predict(X), void_label=self._parameters.void_label)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
