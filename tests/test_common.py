"""scikit-learn's own checks over every public estimator, and imbalanced-learn's over those that add rows."""

from imblearn.utils.estimator_checks import parametrize_with_checks as parametrize_with_imblearn_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.instances import (
    CLASS_SAMPLERS,
    CLASSIFIERS,
    CONDITIONAL_SAMPLERS,
    DETECTORS,
    IMPUTERS,
    INSTANCES,
    PREDICTORS,
    RECOMMENDERS,
    REGRESSORS,
    SAMPLERS,
    TABULAR,
    TRANSLATORS,
    expected_failures,
)

ALL = [
    *(INSTANCES + DETECTORS + SAMPLERS + CONDITIONAL_SAMPLERS + CLASS_SAMPLERS),
    *(RECOMMENDERS + IMPUTERS + PREDICTORS + CLASSIFIERS + REGRESSORS + TRANSLATORS + TABULAR),
]


@parametrize_with_checks(ALL, expected_failed_checks=expected_failures)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@parametrize_with_imblearn_checks(CONDITIONAL_SAMPLERS + CLASS_SAMPLERS)
def test_imbalanced_learn_check(estimator, check):
    check(estimator)
