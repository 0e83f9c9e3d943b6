"""Rows of frames with others added."""

import numpy as np
import pandas as pd

from sk_autoenc.data.resampling import with_rows


def test_rows_of_a_frame_stay_exact_and_added_integers_are_rounded():
    frame = pd.DataFrame({"id": [2**60 + 1, 5], "x": [1.5, 2.5], "flag": pd.array([True, False], dtype="boolean")})
    made = with_rows(frame.set_axis([7, 7]), np.array([[2.7, 0.5, 0.9]]))
    pd.testing.assert_frame_equal(made[:2], frame)
    assert made.dtypes.equals(frame.dtypes)
    assert made.iloc[2].tolist() == [3, 0.5, True]


def test_a_frame_with_two_columns_of_one_name_keeps_both():
    frame = pd.DataFrame([[1, 2.5]], columns=["a", "a"])
    made = with_rows(frame, np.array([[3.0, 4.5]]))
    assert made.columns.tolist() == ["a", "a"]
    assert made.to_numpy().tolist() == [[1, 2.5], [3, 4.5]]


def test_no_rows_may_be_added():
    frame = pd.DataFrame({"a": [1, 2], "x": [0.5, 1.5]})
    pd.testing.assert_frame_equal(with_rows(frame, np.empty((0, 2))), frame)
