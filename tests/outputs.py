"""What a fitted autoencoder says of rows, all of it, and whether two say the same to the bit."""

import numpy as np

METHODS = ("transform", "reconstruct", "score_samples")


def outputs(estimator, X):
    return {name: getattr(estimator, name)(X) for name in METHODS}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
