"""The display of a synthetic table: what it holds and what it draws."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from sk_autoenc.inspection import SyntheticTableDisplay
from sk_autoenc.metrics import column_similarity

matplotlib.use("Agg")
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
REAL = pd.DataFrame({"n": rng.standard_normal(80), "c": rng.choice(["a", "b"], 80), "m": rng.choice([1.5, np.nan], 80)})
SYNTHETIC = REAL.assign(c=rng.choice(["a", "b"], 80, p=[0.9, 0.1]), n=rng.permutation(REAL["n"]))


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_bars_are_shares_and_matrices_are_those_of_the_metrics():
    display = SyntheticTableDisplay.from_tables(REAL, SYNTHETIC)
    assert len(display.axes_) == 3 + 3
    first = display.axes_[0]  # the least similar column comes first
    assert first.get_title() == f"c: {column_similarity(REAL, SYNTHETIC)['c']:.2f}"
    heights = [bar.get_height() for bar in first.patches]
    expected = [*(REAL["c"].value_counts(normalize=True)[["a", "b"]]), *(SYNTHETIC["c"] == "a", SYNTHETIC["c"] == "b")]
    np.testing.assert_allclose(heights, [np.mean(value) for value in expected])
    np.testing.assert_array_equal(display.axes_[-1].get_images()[0].get_array(), display.pairs)
    assert [text.get_text() for text in display.axes_[-3].get_yticklabels()] == ["n", "c", "m"]


def test_the_least_similar_columns_are_shown():
    display = SyntheticTableDisplay.from_tables(REAL, SYNTHETIC, n_columns=1)
    assert len(display.axes_) == 1 + 3
    assert display.axes_[0].get_title().startswith("c")
    figure = plt.figure()
    assert display.plot(figure).figure_ is figure
