"""What a fitted estimator returns for rows, and whether two return the same to the bit."""

import numpy as np

#: Methods that give each row something of its own; detectors have the last two.
METHODS = ("transform", "reconstruct", "score_samples", "decision_function")


def methods_of(estimator):
    return [name for name in METHODS if hasattr(estimator, name)]


def outputs(estimator, X):
    return {name: getattr(estimator, name)(X) for name in methods_of(estimator)}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
