"""How outlier detectors stand in files: names and kinds of their state, and what must go together in it."""

import itertools
from typing import Any

import numpy as np

from sk_autoenc import storage
from sk_autoenc.base.autoencoder import BaseAutoencoder, length_of_fitted_codes
from sk_autoenc.base.stored import COMMON, COMMON_OPTIONAL, check_names_of_columns, check_rows
from sk_autoenc.data.indicators import TableScaling
from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.scaling import Scaling
from sk_autoenc.outliers.conditionals import ConditionalSurprise
from sk_autoenc.storage import Check, Plain, array, by_params, by_state, check_names, instance, integer, short

_STATE: dict[str, Check] = {
    **COMMON,
    "offset_": storage.number(),
    "residual_": storage.text("neighbors|robust|squared|log_likelihood|latent"),
    "max_samples_": integer(1),
    "loss_curve_": storage.curve,
    "calibration_scores_": array("f8", None, finite=False),
    "_seed": integer(),
    "_medians": array("f4 f8", None, finite=False),
    "_ensemble": storage.values_of(lambda value, where: None),
    "_measure": storage.or_none(storage.weights),
    "_series_shape": storage.or_none(storage.shape),
    "_may_be_empty": storage.flag,
    "_table_rows": storage.or_none(instance(OutcomeRows)),
    "_conditionals": storage.or_none(storage.weights),
}

_OPTIONAL = (
    *COMMON_OPTIONAL,
    *("loss_curve_", "calibration_scores_", "_series_shape", "_table_rows", "_conditionals"),
)


def storable_detector(kind: Any) -> Any:
    """Class decorator of outlier detectors."""
    kind = by_params(check=_check_params)(kind)
    return by_state(_STATE, optional=_OPTIONAL, check=_check_fitted)(kind)


def storable_members(kind: Any) -> Any:
    """Class decorator of what holds fitted transformers, given to it as one list."""
    decorate = by_state(
        {"fitted": _check_members},
        take=lambda members: {"fitted": list(members)},
        make=lambda plain: kind(plain["fitted"]),
        holds_fitted=True,
    )
    return decorate(kind)


def _check_members(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} must be a list of fitted autoencoders, got {short(value)}.")
    for i, member in enumerate(value):
        name = f"{where}[{i}]"
        if not isinstance(member, BaseAutoencoder) or not storage.is_registered(member):
            raise ValueError(f"{name} is a {type(member).__name__}, which cannot be stored without pickle; use joblib.")
        if not hasattr(member, "n_features_in_") or not hasattr(member, "net_"):
            raise ValueError(f"{name} must be fitted.")


def _check_params(detector: Any) -> None:
    """Refuse parameters that scikit-learn's validation lets pass."""
    called, sizes = type(detector).__name__, detector.hidden_layer_sizes
    if detector.autoencoder is not None and not storage.is_registered(detector.autoencoder):
        raise ValueError(
            f"autoencoder={detector.autoencoder!r:.200} cannot be stored without pickle, since it is none of this "
            "library's; use joblib."
        )
    storage.or_none(instance(BaseAutoencoder))(detector.autoencoder, f"{called}.autoencoder")
    if not isinstance(sizes, list | tuple | np.ndarray) or np.ndim(sizes) != 1:
        raise ValueError(f"{called}.hidden_layer_sizes must be a sequence of integers, got {short(sizes)}.")
    for size in np.asarray(sizes).tolist():
        integer(1)(size, f"{called}.hidden_layer_sizes")


def _check_fitted(kind: type, plain: Plain) -> None:
    """Refuse values that are right one by one, but not together."""
    check_rows(kind.__name__, plain)
    n_features, parts, series = plain["n_features_in_"], plain["_ensemble"], plain.get("_series_shape")
    rows = plain.get("_table_rows")
    array("f4 f8", n_features, finite=False)(plain["_medians"], "_medians")
    if series is not None and (len(series) != 2 or int(np.prod(series)) != n_features):
        raise ValueError(f"_series_shape is {series}, but rows have {n_features} cells.")
    if np.isnan(plain.get("calibration_scores_", np.zeros(0))).any():
        raise ValueError("calibration_scores_ must hold numbers, but one is NaN.")
    if "weights" in parts:
        check_names(parts, "_ensemble", required={"scaling", "sizes", "weights"})
        if "loss_curve_" not in plain:
            raise ValueError(f"{kind.__name__} lacks 'loss_curve_'.")
        n_read = n_features if rows is None else _check_table(kind.__name__, plain, rows, parts["scaling"])
        n_members = _check_networks(parts["sizes"], parts["weights"], n_read)
        codes = [parts["sizes"][-1]] * n_members
    else:
        check_names(parts, "_ensemble", required={"scaling", "members"})
        n_read = n_features
        if rows is not None:
            raise ValueError(f"{kind.__name__} with an autoencoder reads no data frames of mixed columns.")
        codes = _check_clones(parts["members"], n_features, plain["residual_"])
    if series is None and rows is None:
        scaling = parts["scaling"]
        instance(Scaling)(scaling, "_ensemble['scaling']")
        array("f8", n_features)(scaling.center, "_ensemble['scaling'].center")
        array("f8", n_features, above=0.0)(np.broadcast_to(scaling.scale, n_features), "_ensemble['scaling'].scale")
    elif series is not None and plain["residual_"] not in ("log_likelihood", "latent"):
        raise ValueError(f"residual_={plain['residual_']!r} does not go with series of unequal lengths.")
    _check_measure(plain["residual_"], plain["_measure"], n_read, codes)


def _check_table(called: str, plain: Plain, rows: OutcomeRows, scaling: Any) -> int:
    """Refuse what reads a table if it is not for its columns; returns how many numbers networks read."""
    columns, conditionals = rows.table.columns_, plain.get("_conditionals")
    instance(TableScaling)(scaling, "_ensemble['scaling']")
    check_names_of_columns(called, plain, columns)
    if rows.shape != plain["input_shape_"] or scaling.cells.n_levels != tuple(column.n_levels for column in columns):
        raise ValueError(f"{called}: what reads rows must have the columns and levels of _table_rows.")
    if (conditionals is not None) != (plain["residual_"] == "neighbors"):
        raise ValueError(f"{called}._conditionals must be there for residual_='neighbors', and only then.")
    if conditionals is not None:
        rows.likelihood.check_fitted(len(columns))
        wanted = ConditionalSurprise.untrained(rows).state
        check_names(conditionals, "_conditionals", required=wanted)
        for name, value in wanted.items():
            array(value.dtype.str[1:], *value.shape)(conditionals[name], f"_conditionals[{name!r}]")
    return len(scaling.owner)


def _check_networks(sizes: Any, arrays: Any, n_features: int) -> int:
    """Refuse weights that are not those of networks of these widths; returns the number of networks."""
    if not isinstance(sizes, list) or len(sizes) < 2:
        raise ValueError(f"_ensemble['sizes'] must be a list of 2 integers or more, got {short(sizes)}.")
    for size in sizes:
        integer(1)(size, "_ensemble['sizes']")
    if sizes[0] != n_features:
        raise ValueError(f"_ensemble['sizes'] begins with {sizes[0]}, but rows have {n_features} features.")
    storage.weights(arrays, "_ensemble['weights']")
    if len(arrays) != 4 * (len(sizes) - 1):
        raise ValueError(f"_ensemble has {len(arrays)} arrays of weights, but {len(sizes)} sizes.")
    n_members = len(arrays["biases.0"]) if np.ndim(arrays.get("biases.0", 0.0)) else 0
    wanted: dict[str, tuple[int, ...]] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise([*sizes, *sizes[-2::-1]])):
        wanted |= {f"weights.{i}": (n_members, n_in, n_out), f"biases.{i}": (n_members, 1, n_out)}
    check_names(arrays, "_ensemble['weights']", required=wanted)
    for name, shape in wanted.items():
        array("f4", *shape)(arrays[name], f"_ensemble['weights'][{name!r}]")
    integer(1)(n_members, "the number of networks")
    return n_members


def _check_clones(members: Any, n_features: int, residual: str) -> list[int]:
    """Refuse clones for other rows, or without what the measure needs; returns the lengths of their codes."""
    if not storage.is_registered(members) or not hasattr(members, "__iter__"):
        raise ValueError(f"_ensemble['members'] must be fitted autoencoders, got {short(members)}.")
    for member in members:
        if member.n_features_in_ != n_features:
            raise ValueError(f"a member is for {member.n_features_in_} features, but rows have {n_features}.")
        if residual == "log_likelihood" and not hasattr(member, "score_samples"):
            raise ValueError(f"a member, a {type(member).__name__}, has no score_samples, as its prior has no density.")
    return [length_of_fitted_codes(member) for member in members]


def _check_measure(residual: str, measure: Any, n_features: int, codes: list[int]) -> None:
    """Refuse a measure of other arrays than those of this name, for so many members."""
    if (residual == "log_likelihood") != (measure is None):
        raise ValueError(f"_measure does not go with residual_={residual!r}.")
    if measure is None:
        return
    n = len(codes)
    if residual == "neighbors":
        fields = _of_neighbors(measure, n, n_features)
    elif residual == "latent":
        fields = {f"center_{i}": array("f8", size) for i, size in enumerate(codes)}
        fields |= {f"whitening_{i}": array("f8", size, size) for i, size in enumerate(codes)}
    else:
        fields = {"scale": array("f8", n, 1, n_features, above=0.0)}
    check_names(measure, "_measure", required=fields)
    for name, check in fields.items():
        check(measure[name], f"_measure[{name!r}]")


def _of_neighbors(measure: Plain, n: int, n_features: int) -> dict[str, Check]:
    n_ks = measure["ks"].size if isinstance(measure.get("ks"), np.ndarray) else 0
    if not n_ks or np.size(measure.get("prototypes", ())) == 0:
        raise ValueError("_measure must have 'ks' and 'prototypes', and some of each.")
    columns = {name: array("f4", n_features) for name in ("center", "low", "high")}
    return {
        "prototypes": array("f4", n, None, 2 * n_features),
        "sigma": array("f4", n, above=0.0),
        "unit": array("f4", n, n_ks, above=0.0),
        "ks": array("i8", n_ks, low=1),
        **columns,
        "scale": array("f4", n_features, above=0.0),
        "table": array("f4", 31, n_features),
        "factors": array("f8", 2, low=0.0),
    }
