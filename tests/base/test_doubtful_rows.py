"""Rows that train to something useless: dates, columns of few values, columns that others determine."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning

from sk_autoenc import (
    AutoencoderTransformer,
    EncoderDecoderRegressor,
    GANSampler,
    ReconstructionOutlierDetector,
    VAETransformer,
)

rng = np.random.default_rng(0)
CHEAP = {"max_iter": 2, "random_state": 0, "device": "cpu", "architecture": (8,)}


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"born": pd.date_range("2020", periods=50), "died": pd.date_range("2021", periods=50)}),
        pd.DataFrame({"born": pd.to_timedelta(np.arange(50), unit="D"), "size": rng.normal(size=50)}),
        pd.DataFrame({"born": pd.date_range("2020", periods=50, tz="UTC")}),
        pl.DataFrame({"born": pd.date_range("2020", periods=50)}),
    ],
    ids=["dates", "durations", "zone", "polars"],
)
def test_who_reads_no_tables_refuses_dates_by_name(X):
    with pytest.raises(ValueError, match="X must hold numbers, got dates or times in 'born'"):
        EncoderDecoderRegressor().fit(X, np.zeros(50))


@pytest.mark.parametrize("model", [AutoencoderTransformer(1), ReconstructionOutlierDetector(), GANSampler()], ids=str)
def test_an_array_of_dates_is_no_table(model):
    dates = np.arange("2020-01-01", "2020-02-20", dtype="datetime64[D]")[:, None]
    with pytest.raises(ValueError, match="X must hold numbers, got dates or times of dtype datetime64"):
        model.fit(dates)


def test_who_reads_no_tables_refuses_strings_by_name():
    X = pd.DataFrame({"size": rng.normal(size=50), "written": [str(n) for n in range(50)], "kind": ["a", None] * 25})
    for column in (X["kind"], X["kind"].astype("category"), X["kind"].astype(object)):
        for frame in (X.assign(kind=column), pl.DataFrame({"size": [0.5] * 50, "kind": ["a", None] * 25})):
            with pytest.raises(ValueError, match=r"X must hold numbers, got strings in 'kind'; .*OneHotEncoder"):
                EncoderDecoderRegressor().fit(frame, np.zeros(50))


def test_columns_of_few_values_are_named():
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=["age", "fare", "weight"])
    X["class"], X["sex"], X["rare"] = np.arange(120) % 3, np.arange(120) % 2, np.arange(120) < 3
    with pytest.warns(UserWarning, match=r"of 2 to 5 values .*\('class', 'sex'\).*likelihood='bernoulli'"):
        VAETransformer(**CHEAP).fit(X.astype(float))  # of whole numbers and truth values it would read a table
    with pytest.warns(UserWarning, match=r"\(column 3, column 4\)"):
        VAETransformer(**CHEAP).fit(X.to_numpy(dtype=float))


def test_other_columns_are_not():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "X has columns")
        VAETransformer(**CHEAP).fit(rng.normal(size=(50, 3)))
        VAETransformer(**CHEAP).fit(np.column_stack([rng.integers(0, 9, 90), np.arange(90) < 2, np.ones(90)]))
        VAETransformer(likelihood="bernoulli", **CHEAP).fit(rng.integers(0, 2, (90, 3)))
        AutoencoderTransformer(**CHEAP).fit(rng.integers(0, 2, (90, 3)))  # it has no density


COLLINEAR = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 10))
THREE_ROWS = np.repeat(rng.normal(size=(3, 10)), 20, axis=0)


@pytest.mark.parametrize("X", [COLLINEAR, THREE_ROWS], ids=["collinear", "three rows"])
def test_training_never_ends_far_below_its_own_linear_start(X):
    """With the noise at its floor a step of ordinary size is a step off a cliff."""
    options = {**CHEAP, "max_iter": 10, "n_score_samples": 8}
    start = VAETransformer(2, **options).fit(X[::3])  # too few rows to evaluate a network: the linear model
    assert start.linear_
    with pytest.warns(ConvergenceWarning, match="worse than the linear model at which it started") as caught:
        model = VAETransformer(2, early_stopping=False, **options).fit(X)
    assert model.linear_
    assert len([w for w in caught if "worse than" in str(w.message)]) == 1
    assert model.score(X) > start.score(X) - 10


def test_a_network_that_improves_on_its_start_is_kept_without_a_warning():
    t = rng.uniform(-2, 2, size=(200, 1))
    curve = np.hstack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(200, 3))
    for kind in (AutoencoderTransformer, VAETransformer):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Training made the network worse")
            assert not kind(1, early_stopping=False, **{**CHEAP, "max_iter": 15}).fit(curve).linear_


@pytest.mark.parametrize("width", [1e-7, 1e-4])
def test_the_floor_of_the_noise_is_in_units_of_the_column(width):
    """Clumps that are finer than the floor get the density of clumps as wide as it, in any unit."""
    side = np.resize([-1.0, 1.0], 90)[:, None]
    clumps = side + width * np.random.default_rng(0).standard_normal((90, 1))
    highest = -0.5 * np.log(2 * np.pi * 1e-6)  # of normal noise at the floor, where codes tell the clumps apart
    for unit in (1.0, 1e5):
        model = VAETransformer(1, **CHEAP, n_score_samples=8, early_stopping=False).fit(unit * clumps)
        assert model.score(unit * clumps) + np.log(unit) <= highest
