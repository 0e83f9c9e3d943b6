"""Outcomes of columns: proper distributions, values that repeat, bins, tails, and the way back."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad

from sk_autoenc.data.outcome_rows import OutcomeRows
from sk_autoenc.data.outcomes import Outcomes, fit_outcomes
from sk_autoenc.data.tabular import Table
from sk_autoenc.likelihoods.mixed import Mixed
from sk_autoenc.storage import form_of

rng = np.random.default_rng(0)
ZEROS_AND_MORE = np.where(rng.random(1000) < 0.4, 0.0, rng.gamma(2.0, 3.0, 1000))
COUNTS = np.where(rng.random(1000) < 0.3, 5, rng.poisson(40, 1000))


def outcomes_of(values, *, max_bins=10, draws_missing=False):
    table = Table().fit(pd.DataFrame({"x": values}))
    encoded = table.encode(pd.DataFrame({"x": values}))[:, 0]
    return fit_outcomes(table.columns_[0], encoded, max_bins=max_bins, draws_missing=draws_missing), encoded


def shares(outcomes, encoded):
    return np.bincount(outcomes.encode(encoded).astype(int), minlength=outcomes.n_outcomes) / len(encoded)


def test_a_value_of_many_rows_has_a_probability_and_the_density_of_all_others_integrates_to_the_rest():
    outcomes, encoded = outcomes_of(ZEROS_AND_MORE)
    assert outcomes.atoms.tolist() == [0.0]
    assert outcomes.n_bins == 18  # ten of equal shares, the outer ones cut at 5, 10, 20 and 40 rows from the ends
    share = shares(outcomes, encoded)

    def density(x):
        at = np.array([x])
        return share[int(outcomes.encode(at)[0])] * math.exp(-outcomes.log_width(at)[0])

    edges = outcomes.edges
    inside = quad(density, edges[0], edges[-1], points=edges[1:-1], limit=200)[0]
    tails = quad(density, -np.inf, edges[0])[0] + quad(density, edges[-1], np.inf)[0]
    assert share[0] == np.mean(ZEROS_AND_MORE == 0)
    assert inside + tails == pytest.approx(1 - share[0], abs=1e-6)
    assert 0 < tails < 0.02


def test_probabilities_of_integers_sum_to_one():
    outcomes, encoded = outcomes_of(COUNTS)
    assert outcomes.atoms.tolist()[0] == 5
    share = shares(outcomes, encoded)
    values = np.arange(COUNTS.min(), COUNTS.max() + 1, dtype=float)
    inside = (share[outcomes.encode(values).astype(int)] * np.exp(-outcomes.log_width(values))).sum()
    assert inside == pytest.approx(1, abs=0.02)
    assert inside < 1  # the rest lies in the tails


def test_floats_with_decimals_have_a_density_in_their_own_units():
    values = rng.integers(0, 1000, 4000) / 100
    outcomes, encoded = outcomes_of(values, max_bins=20)
    density = shares(outcomes, encoded)[outcomes.encode(encoded).astype(int)] * np.exp(-outcomes.log_width(encoded))
    assert np.median(density) == pytest.approx(0.1, rel=0.05)  # uniform on [0, 10)


def test_outcomes_come_back_within_their_bin_and_atoms_exactly():
    for values in (ZEROS_AND_MORE, COUNTS, np.round(ZEROS_AND_MORE, 1)):
        outcomes, encoded = outcomes_of(values)
        codes = outcomes.encode(encoded)
        for place in (0.0, 0.5, 0.999):
            made = outcomes.decode(codes, np.full(len(codes), place))
            is_atom = codes < len(outcomes.atoms)
            np.testing.assert_array_equal(made[is_atom], encoded[is_atom])
            bins = codes - len(outcomes.atoms)
            low, high = outcomes.bounds
            is_bin = bins >= 0
            assert (made[is_bin] >= low[codes.astype(int)][is_bin] - 1e-9).all()
            assert (made[is_bin] <= high[codes.astype(int)][is_bin] + 1e-9).all()


def test_missing_cells_are_an_outcome_or_stay_missing():
    values = np.array([0.5, np.nan, 1.25, 3.125] * 10)
    outcomes, encoded = outcomes_of(values, draws_missing=True)
    codes = outcomes.encode(encoded)
    assert codes[1] == outcomes.n_observed == outcomes.n_outcomes - 1
    assert np.isnan(outcomes.decode(codes, np.zeros(len(codes)))[1])
    outcomes, encoded = outcomes_of(values)
    assert np.isnan(outcomes.encode(encoded)[1])
    assert outcomes.log_width(encoded)[1] == 0


def test_what_no_training_row_has_still_has_an_outcome():
    outcomes, _ = outcomes_of(np.array([4, 6, 8] * 100))
    assert len(outcomes.atoms) == 3
    assert outcomes.encode(np.array([5.0, 7.0, 100.0])).tolist() == [3, 3, 3]
    outcomes, _ = outcomes_of(np.array(["a", "b"] * 10))
    assert outcomes.n_outcomes == 2


def test_outcomes_in_files_must_ascend():
    outcomes, _ = outcomes_of(ZEROS_AND_MORE)
    form = form_of(Outcomes, "state")
    plain = form.take(outcomes)
    assert form.make(form.check(plain)).n_outcomes == outcomes.n_outcomes
    for changed in (
        {"edges": outcomes.edges[::-1].copy()},
        {"atoms": np.array([1.0, 1.0])},
        {"n_levels": 3},
        {"tail": 0.0},
        {"edges": np.zeros(0)},
    ):
        with pytest.raises(ValueError, match="Outcomes"):
            form.check({**plain, **changed})


def test_rows_as_outcomes_come_back_and_conditions_say_what_may_be_drawn():
    frame = pd.DataFrame({"n": COUNTS, "x": ZEROS_AND_MORE, "k": rng.choice(["a", "b", None], 1000)})
    table = Table().fit(frame)
    encoded = table.encode(frame)
    rows = OutcomeRows(Mixed(), (3,), "float64", table=table, draws_missing=True).fit(encoded, np.arange(1000))
    made = rows.to_rows(rows.to_network(encoded), np.dtype("float64"))
    np.testing.assert_array_equal(made[:, 2], encoded[:, 2])
    assert np.corrcoef(made[:, 1], encoded[:, 1])[0, 1] > 0.99
    given = rows.given({"n": (35, 40), "k": ["a", None], "x": 0.0})
    assert given[2].shares.tolist() == [1, 0, 1]
    assert given[1].value == 0.0
    low, high = rows.outcomes[0].bounds
    inside = given[0].shares > 0
    assert (high[inside] >= 35).all()
    assert (low[inside] <= 40).all()
    for wrong, message in (
        ({"z": 1}, "given has 'z'"),
        ({"k": "c"}, "column 'k' .* got 'c'"),
        ({"k": (1, 2)}, "column 'k' must have a value"),
        ({"n": None}, "column 'n' had no missing cells"),
        ({"n": [1, 2]}, "column 'n' holds numbers; give one"),
        ({"n": "many"}, "column 'n' must hold numbers"),
        ({"n": (5000, 6000)}, "no training row can have"),
        ({"n": (6, 5)}, "the lowest before the highest"),
    ):
        with pytest.raises(ValueError, match=message):
            rows.given(wrong)


def test_a_single_bin_has_a_tail_on_each_side_and_a_proper_density():
    values = np.random.default_rng(1).normal(size=15)
    outcomes, _ = outcomes_of(values)
    assert outcomes.n_bins == 1

    def density(x):
        return math.exp(-outcomes.log_width(np.array([x]))[0])

    low, high = outcomes.edges
    parts = [quad(density, *ends)[0] for ends in ((-np.inf, low), (low, high), (high, np.inf))]
    assert sum(parts) == pytest.approx(1, abs=1e-6)
    assert parts[0] == pytest.approx(parts[2])
