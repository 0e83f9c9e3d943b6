"""How estimators with a net stand in files: names and kinds of their state, and what must go together in it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from sk_autoenc import storage
from sk_autoenc.architectures import Architecture, as_architecture
from sk_autoenc.base.autoencoder import likelihood_of
from sk_autoenc.base.gan import length_of_codes
from sk_autoenc.base.generative import names_of_priors
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.likelihoods import Gaussian, Likelihood
from sk_autoenc.priors import GaussianMixturePrior, NormalPrior, SwissRollPrior, UniformPrior
from sk_autoenc.storage import Check, Plain, by_params, by_state, instance, short

PRIORS = (NormalPrior, UniformPrior, GaussianMixturePrior, SwissRollPrior)

_DEVICE = r"(cpu|cuda)(:\d{1,3})?"

#: What ``validate_data`` and ``set_output`` leave on every estimator.
COMMON: dict[str, Check] = {
    "n_features_in_": storage.integer(1, storage.MOST_CELLS),
    "feature_names_in_": storage.strings,
    "input_shape_": storage.shape,
    "_sklearn_output_config": storage.output_config,
}

#: Those of :data:`COMMON` that may be absent.
COMMON_OPTIONAL = ("feature_names_in_", "_sklearn_output_config")

#: What every fit of a net leaves.
FITTED: dict[str, Check] = {
    **COMMON,
    "device_": storage.text(_DEVICE),
    "n_iter_": storage.integer(),
    "loss_curve_": storage.curve,
    "validation_loss_curve_": storage.curve,
    "loss_curves_": storage.values_of(storage.curve),
    "_seed": storage.integer(),
    "_kept_start": storage.flag,
    "_seen_all": storage.flag,
    "_trained_batch_size": storage.integer(1),
    "_weights": storage.weights,
}

#: What a fit of a sampler leaves beside that; curves of figures are there where rows were held out.
_SAMPLER: dict[str, Check] = {
    "latent_": instance(NormalPrior),
    "n_components_": storage.integer(1),
    "sample_quality_": storage.values_of(storage.number(finite=False)),
}
_QUALITY_CURVES: dict[str, Check] = {"quality_curves_": storage.values_of(storage.curve)}

#: Number of timepoints of each training series, of models that draw series of unequal lengths.
LENGTHS: dict[str, Check] = {"lengths_": storage.array("i8", None)}

#: Kernels may reach, and strides go, so many times as far as an image, and a bit more.
_REACH = 16


def storable(*, optional: Mapping[str, Check] | None = None, **fields: Check):
    """Class decorator of autoencoders; ``fields`` are fitted attributes beside those that all have."""
    fields = {"_data": _rows_or_table, "reconstruction_err_": storage.number(finite=False), **fields}
    return storable_kind(_check_autoencoder_params, _check_autoencoder, fields, optional or {})


def storable_sampler(
    data: type,
    *,
    check: Callable[[Plain], None] | None = None,
    optional: Mapping[str, Check] | None = None,
    **fields: Check,
):
    """Class decorator of samplers whose rows are read by an object of this class.

    ``check`` gets all values, which are right one by one; ``fields`` are fitted attributes beside those that all have.
    """

    def check_fitted(kind: type, plain: Plain) -> None:
        _check_sampler(kind, plain)
        if check is not None:
            check(plain)

    fields = {"_data": same_class(data), **_SAMPLER, **fields}
    return storable_kind(_check_sampler_params, check_fitted, fields, {**_QUALITY_CURVES, **(optional or {})})


def storable_kind(check_params: Any, check_fitted: Any, fields: Mapping[str, Check], optional: Mapping[str, Check]):
    def decorate(kind: Any) -> Any:
        kind = by_params(check=check_params, reduce=without_choices)(kind)
        own = {"_parameters": same_class(kind), **FITTED, **fields, **optional}
        return by_state(own, optional=(*COMMON_OPTIONAL, *optional), check=check_fitted)(kind)

    return decorate


def _rows_or_table(value: Any, where: str) -> None:
    """What reads rows of an autoencoder."""
    if type(value) not in (RowPreprocessor, OutcomeRows):
        raise ValueError(f"{where} must be a RowPreprocessor or OutcomeRows, got {short(value)}.")


def same_class(kind: type) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not kind:
            raise ValueError(f"{where} must be a {kind.__name__}, got {short(value)}.")

    return check


# -- parameters


def without_choices(plain: Plain) -> Plain:
    """Parameters without what a file has no say in: how the net is compiled, and what is called in training."""
    if plain["callbacks"]:
        raise ValueError("callbacks cannot be stored without pickle; set them to None, or use joblib.")
    if isinstance(strategy := plain.get("sampling_strategy"), dict):
        numbers = {name: n.item() if isinstance(n, np.generic) else n for name, n in strategy.items()}
        plain = {**plain, "sampling_strategy": numbers}
    if isinstance(plain.get("init"), FrozenEstimator):  # the model that it started from is not needed any more
        plain = {**plain, "init": "random"}
    return {**plain, "net_params": _numbers_for_optimizer(plain["net_params"])}


def _numbers_for_optimizer(net_params: Any) -> dict[str, Any] | None:
    """What a file may hold of ``net_params``: options of the optimizer that are numbers; a net opens uncompiled."""
    if net_params is None:
        return None
    if not isinstance(net_params, dict):
        raise ValueError(f"net_params must be a dict or None, got {short(net_params)}.")
    kept = {name: value for name, value in net_params.items() if not _is_of_compiler(name)}
    for name, value in kept.items():
        if not isinstance(name, str) or re.fullmatch(r"optimizer__[a-z]+(_[a-z]+)*", name) is None:
            raise ValueError(f"net_params: {name!r:.60} cannot stand in a file, only 'optimizer__*' can.")
        values = value if isinstance(value, list | tuple) else (value,)
        if not all(item is None or isinstance(item, bool | int | float) for item in values):
            raise ValueError(f"net_params: {name!r:.60} must be a number, True, False, or a tuple of these in a file.")
    return kept or None


def _is_of_compiler(name: Any) -> bool:
    return isinstance(name, str) and (name == "compile" or name.startswith("compile__"))


def check_params(model: Any) -> None:
    """Refuse parameters out of range, those of objects inside included, that scikit-learn's validation lets pass."""
    called = type(model).__name__
    storage.text(f"auto|{_DEVICE}")(model.device, f"{called}.device")
    for name, architecture in _architectures(model).items():
        _check_architecture(architecture, f"{called}.{name}")


def _architectures(model: Any) -> dict[str, Any]:
    """The architectures that a model has as parameters; ``"auto"`` is none."""
    found = {name: getattr(model, name, "auto") for name in ("architecture", "critic")}
    return {name: value for name, value in found.items() if value is not None and not isinstance(value, str)}


def _check_autoencoder_params(model: Any) -> None:
    check_params(model)
    called = type(model).__name__
    if not isinstance(model.likelihood, str):
        instance(Likelihood)(model.likelihood, f"{called}.likelihood")
    if not hasattr(model, "prior"):
        return
    if not isinstance(model.prior, str):
        instance(*PRIORS)(model.prior, f"{called}.prior")
    elif model.prior not in (names := names_of_priors(model)):
        raise ValueError(f"{called}.prior must be one of {names} or an object, got {short(model.prior)}.")


def _check_sampler_params(model: Any) -> None:
    check_params(model)
    strategy, where = getattr(model, "sampling_strategy", "auto"), f"{type(model).__name__}.sampling_strategy"
    if isinstance(strategy, dict):
        storage.values_of(storage.integer())(strategy, where)
    elif callable(strategy):
        raise ValueError(f"{where} cannot be stored without pickle if it is a function; use joblib.")
    elif not isinstance(strategy, str):
        storage.number()(strategy, where)


def _check_architecture(architecture: Any, where: str) -> None:
    if hasattr(architecture, "make_encoder"):
        instance(Architecture)(architecture, where)
    elif not isinstance(architecture, list | tuple) and np.ndim(architecture) != 1:
        raise ValueError(f"{where} must be a sequence of integers or an architecture, got {short(architecture)}.")
    as_architecture(architecture).check()


# -- what was fitted


def _check_fitted(kind: type, plain: Plain, n_components: int, likelihood: Likelihood) -> None:
    """Refuse values that are right one by one, but not together; nothing may be built of them before."""
    check_rows(kind.__name__, plain)
    check_sizes(plain["_parameters"], plain["_weights"], plain["input_shape_"], n_components)
    check_data(plain["_parameters"], plain["_data"], plain, likelihood)
    check_curves(kind.__name__, plain)


def check_curves(called: str, plain: Plain) -> None:
    """Refuse curves of another length than the number of epochs."""
    if any(len(curve) != plain["n_iter_"] for curve in (plain["loss_curve_"], *plain["loss_curves_"].values())):
        raise ValueError(f"{called}: loss_curve_ and loss_curves_ must have n_iter_={plain['n_iter_']} entries.")


def _check_autoencoder(kind: type, plain: Plain) -> None:
    n_components = plain.get("n_components_", asked := plain["_parameters"].n_components)
    _check_fitted(kind, plain, asked if isinstance(asked, int) else n_components, likelihood_of(plain["_parameters"]))
    if isinstance(asked, int) and asked != n_components:
        raise ValueError(f"n_components_ is {n_components}, but n_components={asked} in the fit.")
    for prior in (plain.get("prior_"), getattr(plain["_parameters"], "prior", None)):
        if isinstance(prior, PRIORS) and prior.n_components not in (None, n_components):
            raise ValueError(f"a prior has codes of length {prior.n_components:.6g}, the model of {n_components}.")
    if "kl_per_component_" in plain and len(plain["kl_per_component_"]) != n_components:
        raise ValueError(f"{kind.__name__}.kl_per_component_ must have {n_components} entries.")


def _check_sampler(kind: type, plain: Plain) -> None:
    parameters, found = plain["_parameters"], plain["n_components_"]
    _check_fitted(kind, plain, found, Gaussian())
    if found != (wanted := length_of_codes(parameters, plain["_data"].n_inputs)):
        raise ValueError(f"n_components_ is {found}, but codes have {wanted} numbers by the parameters of the fit.")
    if plain["latent_"].n_components != found:
        raise ValueError(f"latent_ has codes of length {plain['latent_'].n_components}, the model of {found}.")
    if plain["_data"].values != parameters.values:
        raise ValueError(f"_data has values={plain['_data'].values!r}, but it was {parameters.values!r} in the fit.")


def check_rows(called: str, plain: Plain) -> None:
    """Refuse a shape of rows, and names of features, that do not go with their number."""
    n_features = plain["n_features_in_"]
    if (n_cells := int(np.prod(plain["input_shape_"], dtype=object))) != n_features:
        raise ValueError(f"{called}.input_shape_ has {n_cells} cells, but n_features_in_ is {n_features}.")
    names = plain.get("feature_names_in_")
    if names is not None and len(names) != n_features:
        raise ValueError(f"{called}.feature_names_in_ has {len(names)} names, but n_features_in_ is {n_features}.")


def check_sizes(
    parameters: Any, weights: Mapping[str, np.ndarray], row_shape: tuple[int, ...], n_components: int
) -> None:
    """Refuse networks of more layers than there are arrays of weights, and codes longer than these can make."""
    n_numbers = sum(array.size for array in weights.values())
    if n_components > n_numbers:
        raise ValueError(f"n_components={n_components}, but the file has {n_numbers} numbers as weights.")
    for called, architecture in _architectures(parameters).items():
        if (n_layers := as_architecture(architecture).n_layers) > len(weights):
            raise ValueError(f"{called} has {n_layers} layers, but the file has {len(weights)} arrays of weights.")
        for name in ("kernel_size", "stride", "dilation"):
            reach, most = getattr(architecture, name, 1), _REACH * (max(row_shape) + 1)
            if np.max(reach) > most:
                raise ValueError(
                    f"{name}={reach!r:.60} is more than {most}, {_REACH} times what rows of {row_shape} have."
                )


def check_names_of_columns(called: str, plain: Plain, columns: Any) -> None:
    """Refuse names of features that are not those of the columns of a table."""
    names = [column.name for column in columns]
    if all(isinstance(name, str) for name in names) and "feature_names_in_" not in plain:
        raise ValueError(f"{called} lacks 'feature_names_in_'.")
    if "feature_names_in_" in plain and names != list(plain["feature_names_in_"]):
        raise ValueError(f"{called}.feature_names_in_ must be the names of the columns of the table.")


def _check_of_table(parameters: Any, data: Any) -> None:
    """Refuse a table in a model whose parameters ask for another likelihood than that of tables."""
    wanted = getattr(parameters, "likelihood", None)
    if wanted != "auto" or data.draws_missing:
        raise ValueError(f"_data is for a table, but likelihood={wanted!r:.60} in the fit.")


def check_data(parameters: Any, data: Any, plain: Plain, likelihood: Likelihood) -> None:
    """Refuse what reads rows if it is not that of the parameters of the fit."""
    if data.shape != plain["input_shape_"]:
        raise ValueError(f"_data is for rows of shape {data.shape}, but input_shape_ is {plain['input_shape_']}.")
    architecture = as_architecture(parameters.architecture)
    found = data.likelihood
    if data.is_table:
        check_names_of_columns(type(parameters).__name__, plain, data.table.columns_)
    if isinstance(data, OutcomeRows):
        _check_of_table(parameters, data)
    elif type(found) is not type(likelihood):
        wanted = getattr(parameters, "likelihood", likelihood)
        raise ValueError(f"_data is for {found!r:.60}, but likelihood={wanted!r:.60} in the fit.")
    found.check_fitted(data.n_features)
    series = architecture.bind(data.shape).series_shape if architecture.unequal_lengths else None
    if data.series_shape != series:
        raise ValueError(f"_data is for series of shape {data.series_shape}, but by the parameters it is {series}.")
    if "prior_" in plain and series is not None and data.has_missing_cells:
        if "lengths_" not in plain:
            raise ValueError(f"{type(parameters).__name__} lacks 'lengths_'.")
        lengths, longest = plain["lengths_"], series[1]
        if not len(lengths) or lengths.min() < 1 or lengths.max() > longest:
            raise ValueError(f"lengths_ must hold integers from 1 to {longest}, one or more.")
