"""Lists of series and the array that holds them, with its centre and scale."""

import numpy as np
import pytest

from sk_autoenc.data.scaling import fit_series_scaling
from sk_autoenc.data.series import lengths_of, padded, trimmed
from tests.data_sets import LENGTHS
from tests.data_sets import WAVES_OF_UNEQUAL_LENGTHS as X


def test_a_list_becomes_an_array_with_nan_after_the_ends_and_comes_back():
    rows = padded(X)
    assert rows.shape == (90, 2, 11)
    np.testing.assert_array_equal(lengths_of(rows.reshape(90, -1), 2), LENGTHS)
    for back, series in zip(trimmed(rows, LENGTHS), X, strict=True):
        np.testing.assert_array_equal(back, series)
    assert padded(X, (2, 15)).shape == (90, 2, 15)
    assert padded([series.astype(np.float32) for series in X]).dtype == np.float32


def test_centre_and_scale_are_those_of_what_is_there():
    rows, chosen = padded(X).reshape(90, -1), np.arange(3, 60)
    found = fit_series_scaling(rows, chosen, 2)
    together = np.concatenate([X[i] for i in chosen], axis=1)
    np.testing.assert_allclose(found.center, np.repeat(together.mean(1), 11))
    assert found.scale == pytest.approx(np.sqrt(together.var(1).mean()))
    assert fit_series_scaling(np.full((3, 4), 0.1), np.arange(3), 2).scale == 1
