"""How models with targets stand in files: predictors of rows and images, classifiers of few labels, translators."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.frozen import FrozenEstimator

from sk_autoenc import storage
from sk_autoenc.base.autoencoder import BaseAutoencoder, likelihood_of
from sk_autoenc.base.stored import (
    COMMON,
    FITTED,
    check_curves,
    check_data,
    check_params,
    check_rows,
    check_sizes,
    same_class,
    storable_kind,
    without_choices,
)
from sk_autoenc.data.conditions import is_targets
from sk_autoenc.data.labels import LabelReader
from sk_autoenc.data.pairs import is_target_shape
from sk_autoenc.data.translations import StringPairs
from sk_autoenc.likelihoods import Likelihood
from sk_autoenc.nn.translation import N_SPECIAL
from sk_autoenc.storage import Check, Plain, by_params, by_state, instance, short

#: What a fit to few labels leaves beside that.
_FEW_LABELS: dict[str, Check] = {
    "_data": instance(LabelReader),
    "is_baseline_": storage.flag,
    "baseline_share_": storage.number(),
    "n_components_": storage.integer(1),
    "transduction_": is_targets,
}


def storable_predictor(
    data: type, *, check_own_params: Callable[[Any], None], baselines: tuple[str, ...], **fields: Check
):
    """Class decorator of predictors whose rows and targets are read by an object of this class.

    ``check_own_params`` gets an object with the parameters of a file; ``fields`` are fitted attributes beside those
    that all have. A frozen model to start from does not stand in files.
    """

    def check_all(model: Any) -> None:
        check_params(model)
        check_own_params(model)

    fields = {
        "_data": same_class(data),
        "baseline_": storage.text("|".join(baselines)),
        "is_baseline_": storage.flag,
        "output_shape_": is_target_shape,
        **fields,
    }
    return storable_kind(check_all, _check_predictor, fields, {})


def _check_predictor(kind: type, plain: Plain) -> None:
    parameters, data = plain["_parameters"], plain["_data"]
    check_rows(kind.__name__, plain)
    check_curves(kind.__name__, plain)
    check_sizes(parameters, plain["_weights"], plain["input_shape_"], 0)
    for name, found, fitted in (
        ("shape", data.shape, plain["input_shape_"]),
        ("target_shape", data.target_shape, plain["output_shape_"]),
    ):
        if found != fitted:
            raise ValueError(f"_data has {name}={found}, but it was {fitted} in the fit.")
    for name in ("classes", "class_weight"):
        if (fitted := plain.get(f"{name}_")) is not None:
            found = getattr(data, name)
            if found.dtype != fitted.dtype or not np.array_equal(found, fitted):
                raise ValueError(f"{kind.__name__}.{name}_ must be the {name} of _data.")


def storable_few_labels(*, optional: Mapping[str, Check] | None = None, **fields: Check):
    """Class decorator of models of few labels; ``fields`` are fitted attributes beside those that all have."""
    return storable_kind(_check_few_labels_params, _check_few_labels, {**_FEW_LABELS, **fields}, optional or {})


def _check_few_labels_params(model: Any) -> None:
    check_params(model)
    called = type(model).__name__
    if callable(getattr(model, "augment", None)):
        raise ValueError(f"{called}.augment cannot be stored without pickle if it is a function; use joblib.")
    if not isinstance(getattr(model, "likelihood", "gaussian"), str):
        instance(Likelihood)(model.likelihood, f"{called}.likelihood")
    if isinstance(inner := getattr(model, "autoencoder", None), FrozenEstimator):
        _check_frozen(inner.estimator, f"{called}.autoencoder")


def _check_frozen(model: Any, where: str) -> None:
    if not isinstance(model, BaseAutoencoder) or not storage.is_registered(model) or not hasattr(model, "net_"):
        raise ValueError(f"{where} must hold a fitted autoencoder, got {short(model)}.")


def _check_frozen_plain(plain: Plain) -> Plain:
    storage.check_names(plain, "FrozenEstimator", required=("estimator",))
    _check_frozen(plain["estimator"], "FrozenEstimator.estimator")
    return plain


storage.register(
    FrozenEstimator,
    "params",
    storage.Form(
        lambda frozen: {"estimator": frozen.estimator},
        _check_frozen_plain,
        lambda plain: FrozenEstimator(plain["estimator"]),
        holds_fitted=True,
    ),
)


def _check_few_labels(kind: type, plain: Plain) -> None:
    parameters, data = plain["_parameters"], plain["_data"]
    model: Any = getattr(parameters, "autoencoder", parameters)
    model = getattr(model, "estimator", model)
    check_rows(kind.__name__, plain)
    check_sizes(model, plain["_weights"], plain["input_shape_"], plain["n_components_"])
    check_data(model, data.rows, plain, likelihood_of(model))
    if plain["n_components_"] != model.n_components:
        raise ValueError(f"n_components_ is {plain['n_components_']}, but {model.n_components} in the fit.")
    if data.is_class != issubclass(kind, ClassifierMixin):
        raise ValueError(f"{kind.__name__}._data must be for {'values' if data.is_class else 'classes'}.")
    found, classes = plain["transduction_"], data.kind.get("classes")
    if classes is not None:
        wanted = plain["classes_"]
        if wanted.dtype != classes.dtype or not np.array_equal(wanted, classes):
            raise ValueError(f"{kind.__name__}.classes_ must be the classes of _data.")
        if found.dtype.kind != classes.dtype.kind or len(np.setdiff1d(found, classes)):
            raise ValueError(f"{kind.__name__}.transduction_ must hold classes of classes_ alone.")
    check_curves(kind.__name__, plain)


def storable_translator(**fields: Check):
    """Class decorator of what reads and writes strings, which have no shape and no columns."""

    def decorate(kind: Any) -> Any:
        kind = by_params(check=check_params, reduce=without_choices)(kind)
        fitted = {name: check for name, check in FITTED.items() if name not in COMMON}
        own = {"_parameters": same_class(kind), "_data": same_class(StringPairs), **fitted, **fields}
        return by_state(own, check=_check_translator)(kind)

    return decorate


def _check_translator(kind: type, plain: Plain) -> None:
    parameters, n_arrays = plain["_parameters"], len(plain["_weights"])
    if parameters.num_layers > n_arrays:
        raise ValueError(f"num_layers={parameters.num_layers}, but the file has {n_arrays} arrays of weights.")
    if (largest := max(array.size for array in plain["_weights"].values())) < parameters.hidden_size:
        raise ValueError(f"hidden_size={parameters.hidden_size}, but no array of the file has more than {largest}.")
    weights, n_target = plain["_weights"], len(plain["_data"].to_language.tokens) + N_SPECIAL
    storage.array("f4", above=0)(weights.get("attention.ratio"), "weights['attention.ratio']")
    if parameters.lexicon:
        storage.array("f4", None, None, low=0)(weights.get("lexicon.shares"), "weights['lexicon.shares']")
        storage.array("i8", None, None, low=0)(entries := weights.get("lexicon.entries"), "weights['lexicon.entries']")
        if entries.size and entries.max() >= n_target:
            raise ValueError(f"weights['lexicon.entries'] must be below {n_target}, got {entries.max()}.")
    if plain["_data"].is_shared != (parameters.target_vocabulary is None):
        raise ValueError("_data must be shared if target_vocabulary is None, and only then.")
    if plain["is_baseline_"] != plain["_kept_start"]:
        raise ValueError(f"{kind.__name__}.is_baseline_ must be {plain['_kept_start']}, as _kept_start is.")
    check_curves(kind.__name__, plain)


def storable_domains(data: type):
    """Class decorator of translators between two domains whose rows are read by an object of this class."""
    fields = {
        "_data": same_class(data),
        "n_components_": storage.integer(1),
        "output_shape_": storage.shape,
        "identity_": storage.flag,
        "cycle_error_": storage.number(finite=False),
        "translation_quality_": storage.values_of(storage.number(finite=False)),
    }
    return storable_kind(check_params, _check_domains, fields, {})


def _check_domains(kind: type, plain: Plain) -> None:
    """Refuse readers of rows, and a code, that are not those of the parameters and the weights."""
    called, parameters, data = kind.__name__, plain["_parameters"], plain["_data"]
    check_rows(called, plain)
    check_curves(called, plain)
    check_sizes(parameters, plain["_weights"], plain["input_shape_"], plain["n_components_"])
    if (data.a.shape, data.b.shape) != (plain["input_shape_"], plain["output_shape_"]):
        raise ValueError(f"{called}._data must be for rows of input_shape_ and output_shape_.")
    if data.columns is not None and len(data.columns) != data.b.n_features:
        raise ValueError(f"{called}._data has {len(data.columns)} names for {data.b.n_features} columns.")
    if parameters.n_components not in ("auto", plain["n_components_"]):
        raise ValueError(f"{called}.n_components_ must be n_components of the fit, got {plain['n_components_']}.")
    if data.n_classes > sum(array.size for array in plain["_weights"].values()):
        raise ValueError(f"{called}._data has {data.n_classes} classes, more than the file has weights.")
