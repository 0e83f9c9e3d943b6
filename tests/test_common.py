"""scikit-learn's own checks over every public estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.instances import (
    CLASSIFIERS,
    CONDITIONAL_SAMPLERS,
    DETECTORS,
    INSTANCES,
    REGRESSORS,
    SAMPLERS,
    expected_failures,
)

ALL = INSTANCES + DETECTORS + SAMPLERS + CONDITIONAL_SAMPLERS + CLASSIFIERS + REGRESSORS


@parametrize_with_checks(ALL, expected_failed_checks=expected_failures)
def test_scikit_learn_check(estimator, check):
    check(estimator)
