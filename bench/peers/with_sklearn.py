"""scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Peer
from bench.workloads import Workload


class ScikitLearn(Peer):
    """`MLPClassifier.partial_fit`, which goes on with the state of the optimizer where `fit` would start afresh."""

    name = "scikit-learn"
    module, package = "sklearn", "scikit-learn"

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        from sklearn.neural_network import MLPClassifier

        classes = workload.sizes[-1]
        self.batch, self.x = workload.batch, data.x
        # Labels of two classes would make it a network with one output; indicators make two.
        self.y = data.y if classes > 2 else np.eye(classes, dtype=bool)[data.y]
        self.model: Any = MLPClassifier(
            workload.sizes[1:-1],
            activation={"sigmoid": "logistic", "relu": "relu"}[workload.activation],
            solver=workload.optimizer,
            learning_rate_init=workload.learning_rate,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            batch_size=self.batch,
            shuffle=False,
        )
        # A first step makes the arrays. Then the weights are set, and the optimizer that has taken a step is dropped.
        self.model.partial_fit(self.x[: self.batch], self.y[: self.batch], classes=np.arange(classes))
        for i, (weights, bias) in enumerate(initial):
            self.model.coefs_[i][...], self.model.intercepts_[i][...] = weights, bias
        self.model.out_activation_ = "softmax"
        del self.model._optimizer

    def run(self, steps: int) -> None:
        """Train. Checks that can be turned off are: they cost about 4 % on MNIST."""
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
