"""Estimators for scikit-learn: multilayer perceptrons, models for tables, and the perceptron of chapter 2.

Needs scikit-learn 1.5 or later: ``pip install 'nnfast[sklearn]'``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as _error:
    raise ImportError("nnfast.sklearn needs scikit-learn: pip install 'nnfast[sklearn]'") from _error

from nnfast.sklearn.mlp import MLPClassifier, MLPRegressor
from nnfast.sklearn.perceptron import Perceptron
from nnfast.sklearn.tabular import TabularClassifier, TabularRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "Perceptron", "TabularClassifier", "TabularRegressor"]
