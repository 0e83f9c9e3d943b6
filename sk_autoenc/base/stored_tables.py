"""How models of tables stand in files: imputers, samplers of mixed columns, recommenders."""

from typing import Any

import numpy as np

from sk_autoenc import storage
from sk_autoenc.base.stored import (
    check_curves,
    check_names_of_columns,
    check_params,
    check_rows,
    check_sizes,
    same_class,
    storable_kind,
)
from sk_autoenc.data.columns import Column
from sk_autoenc.data.incomplete import IncompleteRows
from sk_autoenc.storage import Plain, instance, short


def storable_recommender(data: type):
    """Class decorator of recommenders whose rows are read by an object of this class."""
    fields = {
        "_data": same_class(data),
        "blend_": storage.number(),
        "l2_": storage.or_none(storage.number()),
        "linear_weights_": storage.or_none(storage.array("f4", None, None)),
        "item_popularity_": storage.array("f8", None, low=0),
    }
    return storable_kind(check_params, _check_recommender, fields, {})


def _check_recommender(kind: type, plain: Plain) -> None:
    """Refuse a linear model, popularities and a share that do not go with the items and the parameters."""
    called, n_items, parameters = kind.__name__, plain["n_features_in_"], plain["_parameters"]
    check_rows(called, plain)
    check_sizes(parameters, plain["_weights"], plain["input_shape_"], parameters.n_components)
    check_curves(called, plain)
    data, weights = plain["_data"], plain["linear_weights_"]
    if (data.n_items, data.threshold) != (n_items, parameters.threshold):
        raise ValueError(f"{called}._data is for {data.n_items} items and threshold={data.threshold} in another fit.")
    if len(plain["item_popularity_"]) != n_items:
        raise ValueError(f"{called}.item_popularity_ must have {n_items} entries.")
    if weights is not None and weights.shape != (n_items, n_items):
        raise ValueError(f"{called}.linear_weights_ must have the shape {(n_items, n_items)}, got {weights.shape}.")
    share = plain["blend_"]
    if not 0 <= share <= 1 or (weights is None and share != 1):
        raise ValueError(f"{called}.blend_ must be from 0 to 1, and 1 without linear_weights_, got {share:g}.")
    if parameters.blend != "auto" and share != parameters.blend:
        raise ValueError(f"{called}.blend_ is {share:g}, but blend={parameters.blend} in the fit.")
    if (weights is None) != (plain["l2_"] is None):
        raise ValueError(f"{called}.l2_ must be None where linear_weights_ is, and only there.")


def storable_imputer(kind: Any) -> Any:
    """Class decorator of imputers."""
    fields = {
        "_data": same_class(IncompleteRows),
        "linear_": storage.flag,
        "shrinkage_": storage.number(),
        "empty_features_": storage.array("i8", None, low=0),
        "missing_features_": storage.array("i8", None, low=0),
    }
    return storable_kind(_check_imputer_params, _check_imputer, fields, {"columns_": _list_of_columns})(kind)


def _list_of_columns(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} must be a list of columns, got {short(value)}.")
    for i, item in enumerate(value):
        instance(Column)(item, f"{where}[{i}]")


def _check_imputer_params(model: Any) -> None:
    check_params(model)
    if model.missing_values is not None:
        storage.number(finite=False)(model.missing_values, f"{type(model).__name__}.missing_values")


def _check_imputer(kind: type, plain: Plain) -> None:
    called, n_features = kind.__name__, plain["n_features_in_"]
    check_rows(called, plain)
    check_sizes(plain["_parameters"], plain["_weights"], plain["input_shape_"], 1)
    if plain["_data"].n_features != n_features:
        raise ValueError(f"_data is for {plain['_data'].n_features} columns, but n_features_in_ is {n_features}.")
    _check_columns(called, plain)
    covariance = plain["_weights"].get("covariance")
    if covariance is None or covariance.ndim != 2 or not _is_positive_definite(covariance):
        raise ValueError(f"{called}: the weights must have a covariance that is positive definite.")
    for name in ("empty_features_", "missing_features_"):
        if len(plain[name]) and plain[name].max() >= n_features:
            raise ValueError(f"{called}.{name} must hold numbers below n_features_in_={n_features}.")
    check_curves(called, plain)


def _check_columns(called: str, plain: Plain) -> None:
    """Refuse levels that are not those of the columns of a data frame, and names that are not theirs."""
    columns, n_levels = plain.get("columns_"), plain["_data"].n_levels
    if columns is None:
        if any(n_levels):
            raise ValueError(f"{called} lacks 'columns_'.")
        return
    if n_levels != tuple(column.n_levels for column in columns):
        raise ValueError(f"{called}._data must have the levels of columns_.")
    check_names_of_columns(called, plain, columns)


def _is_positive_definite(matrix: np.ndarray) -> bool:
    if matrix.shape[0] != matrix.shape[1] or not np.array_equal(matrix, matrix.T):
        return False
    try:
        np.linalg.cholesky(matrix.astype(np.float64))
    except np.linalg.LinAlgError:
        return False
    return True


def storable_table(data: type):
    """Class decorator of samplers of tables, whose rows are read by an object of this class."""
    fields = {"_data": same_class(data), "independent_": storage.flag}
    return storable_kind(check_params, _check_table, fields, {})


def _check_table(kind: type, plain: Plain) -> None:
    """Refuse a table that does not go with the number of columns and the parameters."""
    called, parameters, data = kind.__name__, plain["_parameters"], plain["_data"]
    check_rows(called, plain)
    check_sizes(parameters, plain["_weights"], plain["input_shape_"], 1)
    check_curves(called, plain)
    if data.shape != plain["input_shape_"] or not data.draws_missing or data.max_bins != parameters.max_bins:
        raise ValueError(f"{called}._data is not what reads tables of this shape by these parameters.")
    check_names_of_columns(called, plain, data.table.columns_)
    data.likelihood.check_fitted(plain["n_features_in_"])
