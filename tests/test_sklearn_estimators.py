"""scikit-learn's checks of estimators, on ours with their defaults and in other configurations."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from sklearn.utils import estimator_checks
from sklearn_cases import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHORT = {"hidden_layer_sizes": 8, "max_iter": 30, "learning_rate_init": 0.05}
CONFIGURATIONS = [
    {"max_iter": 100},
    {**SHORT, "solver": "lbfgs", "hidden_layer_sizes": (5, 4)},
    {**SHORT, "solver": "sgd", "learning_rate": "adaptive", "activation": "tanh"},
    {**SHORT, "early_stopping": True, "validation_fraction": 0.3},
    {**SHORT, "n_ensembles": 2},
    {**SHORT, "activation": ["gelu"], "n_threads": 1},
]


def expected_failures(estimator):
    """Checks that must fail, with the reason: those that fail for scikit-learn's own MLPs with the same options.

    (Its own have no `class_weight`; the score that they watch is not weighted by classes either.)
    """
    if not estimator.early_stopping:
        return {}
    refused = "calls partial_fit, which must refuse early_stopping=True"
    drawn = "draws rows for validation before it looks at their weights"
    return {
        "check_fit_score_takes_y": refused,
        "check_n_features_in_after_fitting": refused,
        "check_estimators_partial_fit_n_features": refused,
        "check_sample_weight_equivalence_on_dense_data": drawn,
        "check_sample_weight_equivalence_on_sparse_data": drawn,
        "check_sample_weights_invariance(kind=zeros)": drawn,  # until scikit-learn 1.5
        "check_class_weight_classifiers": "keeps the weights with the best accuracy, in which all rows count alike",
    }


def checks_of(estimators):
    """A mark that runs each check on each estimator.

    `expected_failed_checks` came with scikit-learn 1.6, `xfail_strict` with 1.8, so marks are set here: strictly, so
    that nothing is expected to fail that doesn't.
    """
    mark = estimator_checks.parametrize_with_checks(estimators)
    names, cases = mark.args
    marked = []
    for estimator, check in cases:
        reason = expected_failures(estimator).get(estimator_checks._get_check_estimator_ids(check))
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        marked.append(pytest.param(estimator, check, marks=marks))
    return pytest.mark.parametrize(names, marked, **mark.kwargs)


@checks_of([estimator(**options) for options in CONFIGURATIONS for estimator in (MLPClassifier, MLPRegressor)])
def test_checks(estimator, check):
    check(estimator)
