"""An autoencoder's encoder, fine-tuned on few labels: the objective above, classifier and regressor below."""

import copy
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc._messages import names_its_class
from sk_autoenc.architectures import as_architecture
from sk_autoenc.base.autoencoder import BaseAutoencoder, preprocessor_of
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.few_labels import FewLabelClassifier, FewLabelPredictor, FewLabelRegressor
from sk_autoenc.base.stored_targets import storable_few_labels
from sk_autoenc.data.conditions import is_targets
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.labels import LabelReader
from sk_autoenc.initialization.few_labels import BaselineStart
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.blocks import Linear
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.few_labels import FineTunedNetwork, FineTunedOutput, InUnits, MovedImages
from sk_autoenc.training.builder import resolve_device
from sk_autoenc.training.plan import Plan
from sk_autoenc.training.run import run

#: The network's own class of a row counts where its probability is above this (Sohn et al. 2020).
_CONFIDENT = 0.9

#: Share of the epochs over which the network's own classes gain weight.
_RAMP = 0.4

#: How much of the weight of the baseline's labels is lost by then.
_FORGOTTEN = 0.9

#: Values of ``augment`` by name, and whether images are also turned and scaled.
_MOVES = {"shift": False, "affine": True}


def own_labels(plain: Tensor, targets: Tensor, weights: Tensor, ramp: Tensor | float) -> tuple[Tensor, Tensor]:
    r"""Targets and weights of rows without a label, as the network grows more certain than the baseline.

    Where its largest probability :math:`p_k` is above 0.9, the target moves to :math:`(1 - r) q + r e_k`. Elsewhere
    the weight falls to :math:`1 - 0.9 r` of what it was. Rows with a label, of weight 1, are unchanged. Lee (2013),
    Sohn et al. (2020).

    Parameters
    ----------
    plain : Tensor of shape (n, n_classes)
        Log-odds of rows without augmentation.
    targets, weights : Tensor of shape (n, n_classes) and (n,)
        What labels and the baseline say.
    ramp : float
        The weight of the network's own classes, from 0 to 1.
    """
    probability, chosen = plain.softmax(-1).max(-1)
    taught, confident = weights < 1, probability > _CONFIDENT
    share = (ramp * (taught & confident).to(targets.dtype))[:, None]
    mixed = torch.lerp(targets, F.one_hot(chosen, targets.shape[1]).to(targets.dtype), share)
    return mixed, torch.where(taught & ~confident, weights * (1 - _FORGOTTEN * ramp), weights)


def fine_tuning_loss(output: FineTunedOutput, batch: Batch, *, kl_weight: float | Tensor = 1.0) -> dict[str, Tensor]:
    r"""Weighted cross-entropy of classes :math:`-w \sum_k q_k \log p_k`, or weighted squared error; ``(batch,)``.

    ``kl_weight`` rises over training, as the weight of the network's own classes.
    """
    assert batch.y is not None
    targets, weights = batch.y[:, :-1], batch.y[:, -1]
    if targets.shape[1] == 1 and output.raw.shape[1] == 1 and output.plain is None:
        return {"squared_error": weights * (output.raw - targets).square().sum(-1)}
    if output.plain is not None:
        targets, weights = own_labels(output.plain, targets, weights, kl_weight)
    return {"cross_entropy": -weights * (targets * output.raw.log_softmax(-1)).sum(-1)}


class PretrainedStart(Start):
    """The encoder of an autoencoder, which is trained once, on all rows of the tensor and without any label.

    Parameters
    ----------
    train : callable
        ``rows -> module``, the autoencoder trained on these rows.
    """

    def __init__(self, train: Callable[[Rows], nn.Module]):
        self.train = train
        self.module: nn.Module | None = None

    def set(self, module: Any, rows: Rows) -> None:
        if self.module is None:
            self.module = self.train(Rows(rows.data))
        module.take_weights(self.module)


class FineTunedPredictor(FewLabelPredictor):
    """What classifier and regressor share."""

    _parameter_constraints: dict = {
        **FewLabelPredictor._parameter_constraints,
        "autoencoder": [BaseAutoencoder, FrozenEstimator],
        "pretraining": ["boolean"],
        "augment": [StrOptions(set(_MOVES)), callable, None],
        "layer_decay": [Interval(Real, 0, 1, closed="right")],
    }

    @names_its_class
    def __init__(
        self,
        autoencoder,
        *,
        pretraining=True,
        baseline="auto",
        augment=None,
        layer_decay=0.8,
        max_iter="auto",
        batch_size=128,
        learning_rate=0.001,
        learning_rate_schedule="cosine",
        optimizer="adamw",
        weight_decay=0.01,
        early_stopping=True,
        validation_fraction=0.25,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.autoencoder = autoencoder
        self.pretraining = pretraining
        self.baseline = baseline
        self.augment = augment
        self.layer_decay = layer_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _make_plan(self, request: FitRequest) -> Plan:
        model, is_fitted = self._unfrozen()
        if is_fitted and not self.pretraining:
            raise ValueError("pretraining must be True with a FrozenEstimator, whose encoder is used.")
        _check_rows_are_vectors(model)
        targets = self._read(request)
        known = None if request.data is None else request.data.rows
        if known is None and is_fitted:
            known = copy.deepcopy(preprocessor_of(model))
            if known.shape != request.shape:
                raise ValueError(
                    f"autoencoder was fitted to rows of shape {known.shape}, but X has rows of shape {request.shape}."
                )
        inner = model._make_plan(FitRequest(request.seed, X=request.X, shape=request.shape, data=known))
        data = self._reader(request, targets, inner.data, teaches=True, is_fitted=is_fitted)
        start: Start = Start()
        if self.pretraining:
            start = PretrainedStart(partial(self._train, model, inner, request.seed, is_fitted=is_fitted))
        splits = self._splits_of_labels(request, targets)
        epochs = self._n_epochs(request)
        return Plan(
            module=partial(self._make_module, model, inner, data),
            objective=fine_tuning_loss,
            start=BaselineStart(start),
            data=data,
            splits=splits,
            selection=self._selection(),
            keeps_start_unevaluated=self.early_stopping,
            phases=self._label_phases(request, splits),
            optimizer=self._optimizer_options(),
            n_warmup_epochs=round(_RAMP * epochs) if self._is_class else 0,
            verbose=self.verbose,
        )

    def _unfrozen(self) -> tuple[BaseAutoencoder, bool]:
        """The autoencoder, and whether it is fitted and stays so."""
        if not isinstance(self.autoencoder, FrozenEstimator):
            return self.autoencoder, False
        model = self.autoencoder.estimator
        if not isinstance(model, BaseAutoencoder):
            raise ValueError(f"autoencoder must be an autoencoder of this library, got {self.autoencoder!r}.")
        check_is_fitted(model)
        return model, True

    def _train(self, model: BaseAutoencoder, plan: Plan, seed: int, rows: Rows, *, is_fitted: bool) -> nn.Module:
        """The trained autoencoder, on the CPU."""
        if is_fitted:
            return copy.deepcopy(model.net_.plain_module).cpu()
        device = resolve_device(self.device)
        result = run(plan, Rows(rows.data.to(device)), seed=seed, device=device, callbacks=model.callbacks)
        if result.interrupted:
            raise KeyboardInterrupt
        return result.net.plain_module.cpu()

    def _make_module(self, model: BaseAutoencoder, inner: Plan, data: LabelReader) -> FineTunedNetwork:
        return FineTunedNetwork(
            inner.module(),
            Linear(model.n_components, data.n_outputs),
            self._baseline_model(data),
            augmentation=self._augmentation(model, data),
            layer_decay=self.layer_decay,
        )

    def _augmentation(self, model: BaseAutoencoder, data: LabelReader) -> InUnits | None:
        """How rows are changed in training."""
        if self.augment is None:
            return None
        change = self.augment
        if isinstance(self.augment, str):
            change = MovedImages(self._layout(model, data.rows.shape), turns=_MOVES[self.augment])
        scaling, n_features = data.rows.scaling, data.rows.n_features
        center = torch.zeros(n_features) if scaling is None else torch.from_numpy(scaling.center).float()
        return InUnits(change, data.rows.shape, center.numpy(), data.rows.scale.astype("float32"))

    def _layout(self, model: BaseAutoencoder, shape: tuple[int, ...]) -> ImageLayout:
        """How rows hold images: by the architecture, or by axes of ``X``."""
        layout = as_architecture(model.architecture).bind(shape).layout
        if layout is None and len(shape) in (2, 3):
            n_channels, height, width = (1, *shape)[-3:]
            layout = ImageLayout(n_channels, height, width, channels_last=False)
        if layout is None:
            raise ValueError(
                f"augment={self.augment!r} needs images or series: X with axes of their own, or an autoencoder with "
                f"architecture=Convolutional(..., input_shape=...), got rows of shape {shape}."
            )
        return layout

    def _length_of_codes(self) -> int:
        return self._parameters._unfrozen()[0].n_components

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = get_tags(self.autoencoder).input_tags.positive_only
        return tags


def _check_rows_are_vectors(model: BaseAutoencoder) -> None:
    architecture = as_architecture(model.architecture)
    if architecture.unequal_lengths or architecture.reads_sequences:
        raise ValueError(
            "autoencoder must read rows of one length that are no sequences, as the baseline does, got "
            f"architecture={model.architecture!r}."
        )


@storable_few_labels(classes_=is_targets)
class PretrainedClassifier(FewLabelClassifier, FineTunedPredictor):
    r"""Classify rows of which few have labels, by an autoencoder's encoder that has learned from all of them.

    ``y`` is -1 for rows without a label, as in :mod:`sklearn.semi_supervised`.

    A linear layer on the codes gives the log-odds of the classes. It and the encoder minimise the cross-entropy
    :math:`-\sum_k q_k \log p_k`, where :math:`q` is the label of a row. Rows without a label get theirs from the
    baseline, such as a graph of nearest neighbours over which labels spread [1]_ [3]_. Where the network becomes more
    certain than 90 %, its own class takes the place of that [4]_. Layers near the rows learn more slowly [2]_.

    The baseline is the result unless held-out labels say that the network is better: the mean Brier score must fall by
    more than its standard error.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer, VAETransformer, AAETransformer or FrozenEstimator
        The autoencoder whose encoder is fine-tuned. It is trained in ``fit``, on all rows; or, inside a
        :class:`~sklearn.frozen.FrozenEstimator`, it is fitted already. It stays unchanged.
    pretraining : bool, default=True
        Whether the autoencoder is trained first. False starts at random weights.
    baseline : {"auto", "graph", "linear"}, default="auto"
        What labels rows for the network, and is the result if the network is not better: a graph of nearest neighbours
        between PCA codes, a linear model of these codes, or for ``"auto"`` one of both, or their mean, as left-out
        labels choose.
    augment : {"shift", "affine"}, callable or None, default=None
        How rows are changed in training. ``"shift"``: images are moved by up to 7 % of their sides, series along
        time. ``"affine"``: images are also turned, by up to 0.25 radians, and scaled, by up to 12 %. A callable maps
        ``(rows, generator)``, a float32 tensor of shape ``(n, *shape)`` in the units of ``X`` and a
        ``torch.Generator``, to rows.
    layer_decay : float, default=0.8
        Learning rate of a layer, in units of that of the layer above it [2]_.
    max_iter : int or "auto", default="auto"
        Number of epochs of fine-tuning; ``"auto"`` is as many as make 1500 steps, five at least.
    batch_size : int or "auto", default=128
        Rows per step; where few rows have labels, up to half as many rows with labels are added. ``"auto"`` is a
        twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.001
        Peak step size of the output layer.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps.
    weight_decay : float, default=0.01
        Decay of the weights.
    early_stopping : bool, default=True
        Whether labels are held out to compare the network with the baseline. With fewer than 600 labels, four folds of
        them are held out in turn, each by a network of its own. Otherwise one part of them is, and learned in a last
        phase. With fewer than 40 labels nothing can be compared, and the baseline is the result. False keeps the
        network, in a fifth of the time.
    validation_fraction : float, default=0.25
        Share of the labels that is held out where these are no folds.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        Called in fine-tuning.
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, held-out labels, the order of rows and their changes.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` holds encoder, output layer and baseline.
    classes_ : ndarray of shape (n_classes,)
        The classes.
    transduction_ : ndarray of shape (n_samples,)
        Class of each training row: that of ``y``, or the predicted one.
    is_baseline_ : bool
        Whether the baseline is the result.
    baseline_share_ : float
        Share of the graph in the baseline: 1 is the graph, 0 the linear model.
    n_components_ : int
        Length of a code.
    n_iter_ : int
        Number of epochs of fine-tuning.
    loss_curve_ : list of float
        Mean loss of each epoch.
    loss_curves_ : dict of str to list of float
        The same by term.
    validation_loss_curve_ : list of float
        Mean Brier score of held-out labels after each epoch.
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
    sklearn.semi_supervised.LabelSpreading : The graph alone.
    sklearn.semi_supervised.SelfTrainingClassifier : Any classifier, trained on its own confident classes.

    References
    ----------
    .. [1] Zhou et al. (2004). Learning with local and global consistency. NeurIPS.
    .. [2] Howard and Ruder (2018). Universal language model fine-tuning for text classification. ACL.
    .. [3] Iscen et al. (2019). Label propagation for deep semi-supervised learning. CVPR.
    .. [4] Sohn et al. (2020). FixMatch: Simplifying semi-supervised learning with consistency and confidence. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sk_autoenc import AutoencoderTransformer, PretrainedClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 60, y, -1)
    >>> encoder = AutoencoderTransformer(8, architecture=(64,), init="random", max_iter=2, early_stopping=False)
    >>> model = PretrainedClassifier(encoder, max_iter=1, random_state=0).fit(X, few)
    >>> model.predict(X[:3]).shape, model.predict_proba(X[:3]).shape, model.transform(X[:3]).shape
    ((3,), (3, 10), (3, 8))
    """


@storable_few_labels()
class PretrainedRegressor(FewLabelRegressor, FineTunedPredictor):
    r"""Predict a number for rows of which few have one, by an autoencoder's encoder that has learned from all of them.

    ``y`` is NaN for rows without a value. As :class:`PretrainedClassifier`, with the squared error
    :math:`(y - \hat y)^2` of standardised values, and ridge regression as the linear model. Values spread over the
    graph as labels do [1]_ [3]_: a row's value is the mean of those that reach it, weighted as they arrive. Layers near
    the rows learn more slowly [2]_.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer, VAETransformer, AAETransformer or FrozenEstimator
        The autoencoder whose encoder is fine-tuned. It is trained in ``fit``, on all rows; or, inside a
        :class:`~sklearn.frozen.FrozenEstimator`, it is fitted already. It stays unchanged.
    pretraining : bool, default=True
        Whether the autoencoder is trained first. False starts at random weights.
    baseline : {"auto", "graph", "linear"}, default="auto"
        What labels rows for the network, and is the result if the network is not better: a graph of nearest neighbours
        between PCA codes, a linear model of these codes, or for ``"auto"`` one of both, or their mean, as left-out
        labels choose.
    augment : {"shift", "affine"}, callable or None, default=None
        How rows are changed in training. ``"shift"``: images are moved by up to 7 % of their sides, series along
        time. ``"affine"``: images are also turned, by up to 0.25 radians, and scaled, by up to 12 %. A callable maps
        ``(rows, generator)``, a float32 tensor of shape ``(n, *shape)`` in the units of ``X`` and a
        ``torch.Generator``, to rows.
    layer_decay : float, default=0.8
        Learning rate of a layer, in units of that of the layer above it [2]_.
    max_iter : int or "auto", default="auto"
        Number of epochs of fine-tuning; ``"auto"`` is as many as make 1500 steps, five at least.
    batch_size : int or "auto", default=128
        Rows per step; where few rows have labels, up to half as many rows with labels are added. ``"auto"`` is a
        twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.001
        Peak step size of the output layer.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps.
    weight_decay : float, default=0.01
        Decay of the weights.
    early_stopping : bool, default=True
        Whether labels are held out to compare the network with the baseline. With fewer than 600 labels, four folds of
        them are held out in turn, each by a network of its own. Otherwise one part of them is, and learned in a last
        phase. With fewer than 40 labels nothing can be compared, and the baseline is the result. False keeps the
        network, in a fifth of the time.
    validation_fraction : float, default=0.25
        Share of the labels that is held out where these are no folds.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        Called in fine-tuning.
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, held-out labels, the order of rows and their changes.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` holds encoder, output layer and baseline.
    transduction_ : ndarray of shape (n_samples,)
        Value of each training row: that of ``y``, or the predicted one.
    is_baseline_ : bool
        Whether the baseline is the result.
    baseline_share_ : float
        Share of the graph in the baseline: 1 is the graph, 0 the linear model.
    n_components_ : int
        Length of a code.
    n_iter_ : int
        Number of epochs of fine-tuning.
    loss_curve_ : list of float
        Mean loss of each epoch.
    loss_curves_ : dict of str to list of float
        The same by term.
    validation_loss_curve_ : list of float
        Mean squared error of held-out labels after each epoch.
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
    PretrainedClassifier : Classes.

    References
    ----------
    .. [1] Zhou et al. (2004). Learning with local and global consistency. NeurIPS.
    .. [2] Howard and Ruder (2018). Universal language model fine-tuning for text classification. ACL.
    .. [3] Iscen et al. (2019). Label propagation for deep semi-supervised learning. CVPR.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_autoenc import AutoencoderTransformer, PretrainedRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 60, y, np.nan)
    >>> encoder = AutoencoderTransformer(4, architecture=(16,), init="random", max_iter=2, early_stopping=False)
    >>> PretrainedRegressor(encoder, max_iter=1, random_state=0).fit(X, few).predict(X[:3]).shape
    (3,)
    """
