"""scikit-learn's own checks over every public estimator, and imbalanced-learn's over those that add rows."""

from imblearn.utils.estimator_checks import parametrize_with_checks as parametrize_with_imblearn_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.instances import (
    CLASS_SAMPLERS,
    CONDITIONAL_SAMPLERS,
    DETECTORS,
    EXPECTED_FAILURES,
    IMPUTERS,
    INSTANCES,
    RECOMMENDERS,
    SAMPLERS,
    TRANSLATORS,
)

ALL = [
    *(INSTANCES + DETECTORS + SAMPLERS + CONDITIONAL_SAMPLERS),
    *(CLASS_SAMPLERS + RECOMMENDERS + IMPUTERS + TRANSLATORS),
]


@parametrize_with_checks(ALL, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@parametrize_with_imblearn_checks(CONDITIONAL_SAMPLERS + CLASS_SAMPLERS)
def test_imbalanced_learn_check(estimator, check):
    check(estimator)
