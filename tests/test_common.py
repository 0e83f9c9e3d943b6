"""scikit-learn's own checks over every public estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.instances import CONDITIONAL_SAMPLERS, DETECTORS, EXPECTED_FAILURES, INSTANCES, SAMPLERS

ALL = INSTANCES + DETECTORS + SAMPLERS + CONDITIONAL_SAMPLERS


@parametrize_with_checks(ALL, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_scikit_learn_check(estimator, check):
    check(estimator)
