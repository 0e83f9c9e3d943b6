"""The variational autoencoder of rows, few of which have a class: bound above, estimator below."""

from functools import partial
from numbers import Integral, Real

import torch
from torch import Tensor

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.base.class_generator import GenerativeClassifier, Resolved
from sk_autoenc.base.estimator import FitRequest
from sk_autoenc.base.stored_targets import storable_few_labels
from sk_autoenc.data.conditions import is_targets
from sk_autoenc.data.dataset import Batch
from sk_autoenc.nn.class_codes import ClassBounds, ClassVariationalAutoencoder
from sk_autoenc.storage import array
from sk_autoenc.training.plan import Plan

#: Features of a row to which those of its class are added.
_N_HIDDEN = 64

#: Share of the epochs over which the weight of the KL divergence rises to 1.
_WARM_UP = 0.1

#: What ``alpha="auto"`` stands for: this times the number of features, since the bound is a sum over them.
_ALPHA = 0.1


def negative_class_bound(
    output: ClassBounds, batch: Batch, *, log_prior: Tensor, alpha: float, kl_weight: float | Tensor = 1.0
) -> dict[str, Tensor]:
    r"""Minus the bound of log p(x, y) or of log p(x), and the classifier's cross-entropy; each ``(batch,)``.

    With :math:`-L(x, y) = E_{q(z|x,y)} \log p(x|y,z) + \log p(y) - \mathrm{KL}(q(z|x,y) \| p(z))` a row with a label
    adds :math:`L(x, y) - \alpha \log q(y|x)`, and a row without one

    .. math:: U(x) = \sum_y q(y|x) (L(x, y) + \log q(y|x)),

    in which the class is summed out exactly (Kingma, Rezende, Mohamed, Welling 2014, equations 6 to 9). ``batch.y``
    holds indicators of classes and, as last column, 1 for rows with a label, else 0.
    """
    assert batch.y is not None
    indicators, is_known = batch.y[:, :-1], batch.y[:, -1]
    losses = (kl_weight * output.kl - output.reconstruction).T - log_prior.to(output.kl)  # (batch, n_classes)
    guessed = output.log_class.exp()
    known = (indicators * losses).sum(-1)
    summed_out = (guessed * (losses + output.log_class)).sum(-1)
    return {
        "bound": torch.where(is_known > 0, known, summed_out),
        "cross_entropy": -alpha * is_known * (indicators * output.log_class).sum(-1),
    }


@storable_few_labels(classes_=is_targets, class_prior_=array("f8", None, above=0))
class VAEClassifier(GenerativeClassifier):
    r"""Classify rows of which few have labels by a density of rows with a class and a code, and draw rows of a class.

    ``y`` is -1 for rows without a label, as in :mod:`sklearn.semi_supervised`.

    The model M2 of [1]_: a row is made of its class :math:`y` and of a code :math:`z` that says everything else,
    :math:`p(x) = \sum_y p(y) \int p(z) p(x|y, z)\, dz`. Training maximises a bound of :math:`\log p(x, y)` of rows with
    a label, and of :math:`\log p(x)` of all others, where the class is summed out exactly. :math:`q(y|x)`, which the
    bound trains with that, is the classifier; the cross-entropy of labels is added with the weight ``alpha``. A step
    takes a decoder for each class, so it takes longer the more classes there are.

    For M1+M2 let a :class:`VAETransformer` stand before it in a pipeline: M2 then has its codes as rows.

    The result of :meth:`predict` is a baseline, a graph of nearest neighbours or a linear model of PCA codes, unless
    held-out labels say that the network is better: the mean Brier score must fall by more than its standard error.
    Samples and codes are those of the network in any case.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code.
    architecture : sequence of int or architecture object, default=(128, 64)
        Encoder, classifier and decoder; widths of hidden layers are short for :class:`MLP` with these.
        :class:`Convolutional` is for images and series.
    likelihood : str or Likelihood, default="gaussian"
        How rows of one class and code are distributed: a name or an object of the likelihoods.
    alpha : float or "auto", default="auto"
        Weight of the cross-entropy of labels, in nats of the bound; ``"auto"`` is a tenth of the number of features, at
        least 1.
    baseline : {"auto", "graph", "linear"}, default="auto"
        What is the result if the network is not better: a graph of nearest neighbours between PCA codes, a linear
        model of these codes, or for ``"auto"`` one of both, or their mean, as left-out labels choose.
    max_iter : int or "auto", default="auto"
        Number of epochs; ``"auto"`` is as many as make 1500 steps, five at least.
    batch_size : int or "auto", default="auto"
        Rows per step; where few rows have labels, up to half as many rows with labels are added. ``"auto"`` is a
        twentieth of the rows, at least 32 and at most 512.
    learning_rate : float, default=0.003
        Peak step size.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rate changes over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adamw"
        Rule of the steps.
    weight_decay : float, default=0.01
        Decay of the weights.
    early_stopping : bool, default=True
        Whether labels are held out to compare the network with the baseline, as in :class:`PretrainedClassifier`. With
        fewer than 40 labels nothing can be compared, and the baseline is the result. False keeps the network.
    validation_fraction : float, default=0.25
        Share of the labels that is held out where these are no folds.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        Called in training.
    net_params : dict or None, default=None
        ``compile``, ``compile__*`` and ``optimizer__*`` for the skorch net.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, held-out labels, the order of rows and codes.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : ObjectiveNet
        The skorch net; ``net_.module_`` holds encoder, classifier, decoder and baseline.
    classes_ : ndarray of shape (n_classes,)
        The classes.
    class_prior_ : ndarray of shape (n_classes,)
        How often ``sample`` draws each class: as often as it is among the labels, each counted once more.
    transduction_ : ndarray of shape (n_samples,)
        Class of each training row: that of ``y``, or the predicted one.
    is_baseline_ : bool
        Whether the baseline predicts.
    baseline_share_ : float
        Share of the graph in the baseline: 1 is the graph, 0 the linear model.
    n_components_ : int
        Length of a code.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Mean loss of each epoch.
    loss_curves_ : dict of str to list of float
        The same by term: ``"bound"`` and ``"cross_entropy"``, with its weight.
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
    AAEClassifier : Critics in place of the KL divergence.
    PretrainedClassifier : No samples; predicts better in general.
    ConditionalGANSampler : Samples of a class, from rows that all have labels.

    References
    ----------
    .. [1] Kingma, Rezende, Mohamed, Welling (2014). Semi-supervised learning with deep generative models. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import VAEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    >>> model = VAEClassifier(2, architecture=(16,), max_iter=5, random_state=0).fit(X, few)
    >>> rows, labels = model.sample(2, y=[0, 2], random_state=0)
    >>> rows.shape, labels.tolist()
    ((4, 4), [0, 0, 2, 2])
    """

    _parameter_constraints: dict = {
        **GenerativeClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_components": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components=8,
        *,
        architecture=(128, 64),
        likelihood="gaussian",
        alpha="auto",
        baseline="auto",
        max_iter="auto",
        batch_size="auto",
        learning_rate=0.003,
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
        self.n_components = n_components
        self.architecture = architecture
        self.likelihood = likelihood
        self.alpha = alpha
        self.baseline = baseline
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
        resolved = self._resolve(request)
        log_prior = torch.from_numpy(self._shares(resolved)).float().log()
        return Plan(
            module=partial(self._make_module, resolved),
            objective=partial(negative_class_bound, log_prior=log_prior, alpha=self._alpha(resolved)),
            start=self._start(resolved.data),
            data=resolved.data,
            splits=resolved.splits,
            selection=self._selection(),
            keeps_start_unevaluated=self.early_stopping,
            phases=self._label_phases(request, resolved.splits),
            optimizer=self._optimizer_options(),
            n_warmup_epochs=int(_WARM_UP * self._n_epochs(request)),
            verbose=self.verbose,
        )

    def _alpha(self, resolved: Resolved) -> float:
        return max(1.0, _ALPHA * resolved.data.rows.n_features) if isinstance(self.alpha, str) else self.alpha

    def _make_module(self, resolved: Resolved) -> ClassVariationalAutoencoder:
        make, n_inputs = resolved.architecture.make_encoder, self._n_inputs(resolved)
        return ClassVariationalAutoencoder(
            make(n_inputs, _N_HIDDEN, linear_path=False),
            make(n_inputs, resolved.data.n_outputs, linear_path=False),
            n_hidden=_N_HIDDEN,
            n_components=self.n_components,
            **self._options(resolved),
        )
