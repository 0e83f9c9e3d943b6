"""``fit_resample`` and the tags that imbalanced-learn asks for, for whatever draws rows of a class."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from sklearn.utils import InputTags, Tags

from sk_autoenc._compat import feature_names_in
from sk_autoenc._messages import names_its_class
from sk_autoenc.data.resampling import class_labels, dense, rows_to_add, with_rows


@dataclass
class _OverSamplerInput(InputTags):
    dataframe: bool = True


@dataclass
class _Sampler:
    sample_indices: bool = False


@dataclass
class _OverSamplerTags(Tags):
    """scikit-learn's tags and those of imbalanced-learn, which need not be installed."""

    sampler_tags: _Sampler = field(default_factory=_Sampler)


class OverSamplerMixin(ABC):
    """Adds drawn rows to classes that have few; for a class with ``fit(X, y)``."""

    fit: Callable[..., Any]

    sampling_strategy: Any
    sampling_strategy_: dict[Any, int]

    @abstractmethod
    def _rows_of(self, labels: np.ndarray) -> Any:
        """A drawn row for each of these classes, the same at every call after a fit."""

    @names_its_class
    def fit_resample(self, X, y):
        """Train, and add drawn rows to classes that have few, as imbalanced-learn's over-samplers do.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, 1), or indicators of shape (n_samples, n_classes)
            Their classes.

        Returns
        -------
        X : array-like of shape (n_samples_new, n_features)
            The rows, unchanged, and drawn ones below them; a list or a data frame if ``X`` is one.
        y : array-like of shape (n_samples_new,), or as ``y``
            Their classes.
        """
        labels, in_form = class_labels(y)
        to_add = rows_to_add(self.sampling_strategy, labels)
        self.fit(dense(X), labels)
        self.sampling_strategy_ = to_add
        added = np.repeat(list(to_add), list(to_add.values())).astype(labels.dtype)
        if not len(added):
            return with_rows(X, np.empty((0, *np.shape(X)[1:]))), in_form(labels)
        return with_rows(X, self._rows_of(added)), in_form(np.concatenate([labels, added]))

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of resampled rows: those of the training rows.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Must be the names that ``fit`` saw, if it saw any.

        Returns
        -------
        ndarray of str
            The names.
        """
        return feature_names_in(self, input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        given = {item.name: getattr(tags.input_tags, item.name) for item in fields(tags.input_tags)}
        tags.input_tags = _OverSamplerInput(**given)
        return _OverSamplerTags(**{item.name: getattr(tags, item.name) for item in fields(tags)})
