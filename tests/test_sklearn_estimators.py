"""scikit-learn's checks of estimators, on ours with their defaults and in other configurations."""

from __future__ import annotations

import os

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
]

if not os.environ.get("STAND_IN"):
    CONFIGURATIONS += [
        {**SHORT, "n_ensembles": 2},
        {**SHORT, "batch_norm": True, "dropout": 0.1, "activation": "gelu"},
    ]


def expected_failures(estimator):
    """Checks that must fail, with the reason: they fail for scikit-learn's own MLPs, too."""
    reasons = {}
    if estimator.early_stopping:
        for check in (
            "check_fit_score_takes_y",
            "check_n_features_in_after_fitting",
            "check_estimators_partial_fit_n_features",
        ):
            reasons[check] = "calls partial_fit, which must refuse early_stopping=True"
        for kind in ("dense", "sparse"):
            reasons[f"check_sample_weight_equivalence_on_{kind}_data"] = "a repeated row may be drawn for validation"
    return reasons


def checks_of(estimators):
    """A mark that runs each check on each estimator.

    `expected_failed_checks` came with scikit-learn 1.6, `xfail_strict` with 1.8, so marks are set here: strictly, so
    that nothing is expected to fail that doesn't.
    """
    mark = estimator_checks.parametrize_with_checks(estimators)
    names, cases = mark.args
    marked = []
    for estimator, check in cases:
        reason = expected_failures(estimator).get(check.func.__name__)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        marked.append(pytest.param(estimator, check, marks=marks))
    return pytest.mark.parametrize(names, marked, **mark.kwargs)


@checks_of([estimator(**options) for options in CONFIGURATIONS for estimator in (MLPClassifier, MLPRegressor)])
def test_checks(estimator, check):
    check(estimator)
