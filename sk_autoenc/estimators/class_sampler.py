"""One generative model for each class: rows of a class, drawn by any model that has ``sample``."""

import inspect
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_autoenc._compat import HasMethods, fit_context, safe_indexing
from sk_autoenc._messages import names_its_class
from sk_autoenc.base.over_sampling import OverSamplerMixin
from sk_autoenc.data.frames import library_of, together
from sk_autoenc.data.validation import refuse_no_numbers

_SEEDS = np.iinfo(np.int32).max


class ClassSampler(OverSamplerMixin, MetaEstimatorMixin, BaseEstimator):
    """Draw rows of a class: one generative model is trained on the rows of each class.

    The model is whatever has ``fit`` and ``sample``: :class:`VAETransformer`, :class:`GANSampler`, or scikit-learn's
    ``GaussianMixture`` and ``KernelDensity``, so these can be compared with :class:`ConditionalGANSampler` and with
    imbalanced-learn's over-samplers. Rows are numbers. For a data frame with categories fit a
    :class:`TabularSampler` to the frame with its classes as a column, and give this column to its ``sample``.

    Parameters
    ----------
    estimator : estimator object
        The model of which a clone is trained for each class. It needs two rows of each class or more.
    sampling_strategy : float, str, dict or callable, default="auto"
        How many rows :meth:`fit_resample` adds to which class, as in imbalanced-learn's over-samplers: ``"auto"`` makes
        all classes as frequent as the most frequent one.
    random_state : int, RandomState instance or None, default=None
        Seeds every clone's ``random_state`` and the rows that :meth:`fit_resample` draws.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted models, in the order of ``classes_``.
    classes_ : ndarray of shape (n_classes,)
        The classes.
    class_prior_ : ndarray of shape (n_classes,)
        Their shares of the training rows.
    sampling_strategy_ : dict
        Number of rows that :meth:`fit_resample` has added to each class.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.

    See Also
    --------
    ConditionalGANSampler : One network for all classes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import ClassSampler, VAETransformer
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = ClassSampler(VAETransformer(max_iter=5), random_state=0)
    >>> X_new, y_new = model.fit_resample(X[:120], y[:120])  # 20 rows of the third class
    >>> y_new.value_counts().tolist()
    [50, 50, 50]
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "sample"])],
        "sampling_strategy": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(self, estimator, *, sampling_strategy="auto", random_state=None):
        self.estimator = estimator
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state

    @names_its_class
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Train a model on the rows of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Their classes.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        if not get_tags(self.estimator).input_tags.categorical:  # TabularSampler reads data frames of any columns
            refuse_no_numbers(X)
        check_classification_targets(y)
        finite = not get_tags(self.estimator).input_tags.allow_nan
        _, labels = validate_data(self, X, y, dtype=None, ensure_min_samples=2, ensure_all_finite=finite)
        classes, of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if counts.min() < 2:
            raise ValueError(
                f"A model needs 2 rows of each class, but y has 1 of {classes.tolist()[counts.argmin()]!r}."
            )
        random = check_random_state(self.random_state)
        seeds = random.randint(_SEEDS, size=len(classes))
        table = X if hasattr(X, "columns") else np.asarray(X)
        self.estimators_ = [
            _seeded(clone(self.estimator), int(seed)).fit(safe_indexing(table, np.flatnonzero(of_row == i)))
            for i, seed in enumerate(seeds)
        ]
        self.classes_ = classes
        self.class_prior_ = counts / counts.sum()
        self._seed = int(random.randint(_SEEDS))
        return self

    def sample(self, n_samples=1, random_state=None, *, y=None):
        """Draw rows and their classes.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with ``y``, number for each of its entries.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws of classes, and of rows where the model's ``sample`` has a ``random_state``.
        y : array-like of shape (n,) or None, default=None
            Classes to draw rows of, in this order; None draws classes in the proportions of the training rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features) or (n * n_samples, n_features), or DataFrame
            Rows, as the models draw them; a :class:`TabularSampler` that saw data frames draws such.
        y : ndarray of shape (n_samples,) or (n * n_samples,)
            Their classes.
        """
        check_is_fitted(self)
        random = check_random_state(random_state)
        if y is None:
            labels = random.choice(self.classes_, size=n_samples, p=self.class_prior_)
        else:
            labels = np.repeat(check_array(y, ensure_2d=False, dtype=None), n_samples)
            if not np.isin(labels, self.classes_).all():
                unknown = labels[~np.isin(labels, self.classes_)].tolist()[0]
                raise ValueError(f"y must hold classes of the training rows, {self.classes_}, got {unknown!r}.")
        return self._rows_of(labels, random), labels

    def _rows_of(self, labels: np.ndarray, random: np.random.RandomState | None = None) -> Any:
        random = np.random.RandomState(self._seed) if random is None else random
        parts, places = [], []
        for name, model in zip(self.classes_, self.estimators_, strict=True):
            seed, (chosen,) = int(random.randint(_SEEDS)), np.nonzero(labels == name)
            if len(chosen):
                parts.append(_drawn(model, len(chosen), seed))
                places.append(chosen)
        return together(parts, np.argsort(np.concatenate(places)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _seeded(model: Any, seed: int) -> Any:
    """The model with this seed, if it has one."""
    return model.set_params(random_state=seed) if "random_state" in model.get_params(deep=False) else model


def _drawn(model: Any, n_samples: int, seed: int) -> Any:
    """Rows alone; mixtures of scikit-learn also return the component and draw by the seed of their fit."""
    takes_seed = "random_state" in inspect.signature(model.sample).parameters
    drawn = model.sample(n_samples, random_state=seed) if takes_seed else model.sample(n_samples)
    drawn = drawn[0] if isinstance(drawn, tuple) else drawn
    return drawn if library_of(drawn) in ("pandas", "polars") else np.asarray(drawn)
