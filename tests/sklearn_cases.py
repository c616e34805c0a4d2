"""What the tests of `nnfast.sklearn` share: the classes, those of scikit-learn beside them, and its data sets."""

from __future__ import annotations

import functools

import numpy as np
import sklearn
from sklearn import datasets, neural_network
from sklearn.preprocessing import StandardScaler

from nnfast.sklearn import MLPClassifier, MLPRegressor

__all__ = ["SKLEARN", "THEIRS", "MLPClassifier", "MLPRegressor", "dataset", "quick"]

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
THEIRS = {MLPClassifier: neural_network.MLPClassifier, MLPRegressor: neural_network.MLPRegressor}

_LOADERS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}


@functools.cache
def dataset(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of mean 0 and variance 1 in float64, and targets: read-only, since tests share them."""
    X, y = _LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    X.flags.writeable = y.flags.writeable = False
    return X, y


def quick(estimator: type, **options: object) -> object:
    """An estimator that trains within milliseconds, always in the same way."""
    return estimator(**{"hidden_layer_sizes": 8, "max_iter": 15, "random_state": 0, **options})
