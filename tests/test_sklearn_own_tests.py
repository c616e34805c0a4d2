"""scikit-learn's own tests of its MLPs, from the installed package, run on ours: each name of a class stands for ours.

pytest collects them here as if they were written in this file. Nothing of them is copied.
"""

from __future__ import annotations

import importlib.util
import inspect
from types import ModuleType
from unittest import mock

import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from sklearn import neural_network
from sklearn.utils._testing import get_pytest_filterwarning_lines
from sklearn_cases import MLPClassifier, MLPRegressor

TESTS = "sklearn.neural_network.tests.test_mlp"
try:
    found = importlib.util.find_spec(TESTS)
except ModuleNotFoundError:
    found = None
if found is None:
    pytest.skip("the installed scikit-learn comes without its tests", allow_module_level=True)

# The warnings that scikit-learn turns into errors when it runs its tests, and those that it expects.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", *get_pytest_filterwarning_lines()
)

# Tests of how scikit-learn's class works inside: the private names that they need, and why ours has none.
PRIVATE = {
    "test_gradient": (
        "_loss_grad_lbfgs",
        "calls the function that scikit-learn minimizes; tests/test_gradient_cases.py checks the gradients of nnfast",
    ),
}


def loaded_with(**replacements: type) -> ModuleType:
    """The module of tests, executed while `sklearn.neural_network` has other classes under its names.

    It must not be the module that an import gives: that one, and the package, are as they were afterwards.
    """
    spec = importlib.util.spec_from_file_location("sklearn_tests_of_mlp", found.origin)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.multiple(neural_network, **replacements):
        spec.loader.exec_module(module)
    return module


module = loaded_with(MLPClassifier=MLPClassifier, MLPRegressor=MLPRegressor)
their_tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
for name, test in their_tests.items():
    if name in PRIVATE:
        private, reason = PRIVATE[name]
        test = pytest.mark.skip(reason=f"needs {private}: {reason}")(test)
    globals()[name] = test


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's tests run with by default."""
    return 42


def test_their_names_stand_for_our_classes():
    assert module.MLPClassifier is MLPClassifier
    assert module.MLPRegressor is MLPRegressor
    classes = [
        value
        for test in their_tests.values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "parametrize"
        for value in mark.args[1]
        if isinstance(value, type)
    ]
    assert classes.count(MLPClassifier) >= 3
    assert classes.count(MLPRegressor) >= 3
    assert neural_network.MLPClassifier not in classes
    assert neural_network.MLPRegressor not in classes


def test_the_package_keeps_its_classes():
    assert neural_network.MLPClassifier.__module__.startswith("sklearn.")
    assert neural_network.MLPRegressor.__module__.startswith("sklearn.")


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_left_out_needs_a_private_name(name):
    private, _ = PRIVATE[name]
    assert private.startswith("_")
    assert f".{private}" in inspect.getsource(their_tests[name])
    assert not hasattr(MLPClassifier(), private)
