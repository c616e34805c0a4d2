"""scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Predictor, Trainer
from bench.workloads import Network, Workload


def classifier(network: Network, parameters: Parameters, **options: Any) -> Any:
    """Return a classifier with these parameters and a fresh optimizer."""
    from sklearn.neural_network import MLPClassifier

    features, classes = network.sizes[0], network.sizes[-1]
    activation = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}[network.activation]
    model: Any = MLPClassifier(network.sizes[1:-1], activation=activation, alpha=0, shuffle=False, **options)
    # A first step allocates the arrays. Then set the weights, and drop the optimizer, which has taken a step.
    x, y = np.zeros((2 * classes, features), np.float32), targets(np.arange(2 * classes) % classes, classes)
    with warnings.catch_warnings(action="ignore"):  # about batches larger than these data
        model.partial_fit(x, y, classes=np.arange(classes))
    for i, (weights, bias) in enumerate(parameters):
        model.coefs_[i][...], model.intercepts_[i][...] = weights, bias
    model.out_activation_ = "softmax"
    del model._optimizer
    return model


def targets(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return labels, or for two classes indicators: labels would make a network with only one output."""
    return labels if classes > 2 else np.eye(classes, dtype=bool)[labels]


class ScikitLearn(Trainer):
    """`MLPClassifier.partial_fit`, which keeps the state of the optimizer where `fit` would start anew."""

    name = "scikit-learn"
    module, package = "sklearn", "scikit-learn"

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        self.batch, self.x, self.y = workload.batch, data.x, targets(data.y, workload.sizes[-1])
        self.model = classifier(
            workload.network, initial, solver=workload.optimizer, learning_rate_init=workload.learning_rate,
            momentum=0, nesterovs_momentum=False, batch_size=workload.batch,
        )  # fmt: skip

    def run(self, steps: int) -> None:
        """Train, with all optional checks turned off: they cost about 4 % on MNIST."""
        from sklearn import config_context

        left = steps * self.batch
        with config_context(assume_finite=True, skip_parameter_validation=True):
            while left:
                rows = min(left, len(self.x))
                self.model.partial_fit(self.x[:rows], self.y[:rows])
                left -= rows

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


class ScikitLearnPredictor(Predictor):
    """`MLPClassifier.predict_proba`."""

    name = "scikit-learn"
    module, package = "sklearn", "scikit-learn"

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        from sklearn import set_config

        set_config(assume_finite=True, skip_parameter_validation=True)
        self.model = classifier(network, parameters)

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict a batch of one."""
        return self.model.predict_proba(row[None])[0]

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        return self.model.predict_proba(x)
