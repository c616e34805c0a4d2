"""nnfast."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Predictor, Trainer
from bench.workloads import Network, Workload


def sequential(network: Network, parameters: Parameters) -> Any:
    """Return the network with these parameters."""
    import nnfast as nf

    hidden = [nf.Dense(units, activation=network.activation) for units in network.sizes[1:-1]]
    output = nf.Dense(network.sizes[-1], activation="softmax")
    net = nf.Sequential([*hidden, output], input_shape=network.sizes[0], loss="cross_entropy")
    for i, (weights, bias) in enumerate(parameters, start=1):
        net.params[f"W{i}"], net.params[f"b{i}"] = weights, bias
    return net


class NNFast(Trainer):
    """`Sequential.fit`."""

    name = module = package = "nnfast"

    @classmethod
    def version(cls) -> str:
        """Return the version of the imported package, which may be built in place."""
        import nnfast

        return nnfast.__version__

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        import nnfast as nf

        self.net = sequential(workload.network, initial)
        self.optimizer = {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](workload.learning_rate)
        self.batch, self.data, self.threads = workload.batch, data, threads
        self.num_threads = nf.num_threads

    def run(self, steps: int) -> None:
        """Train."""
        with self.num_threads(self.threads):
            self.net.fit(
                self.data.x, self.data.y, steps=steps, batch_size=self.batch, optimizer=self.optimizer,
                shuffle=False, verbose=0,
            )  # fmt: skip

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        params = self.net.params
        return [(params[f"W{i}"], params[f"b{i}"]) for i in range(1, len(self.net.layers) + 1)]


class NNFastPredictor(Predictor):
    """`Sequential.predict_one` and `Sequential.predict`."""

    name = module = package = "nnfast"
    version = NNFast.version

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        import nnfast as nf

        nf.set_num_threads(threads)
        self.net, self.out = sequential(network, parameters), np.empty(network.sizes[-1], np.float32)

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict one sample into an existing array."""
        return self.net.predict_one(row, out=self.out)

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        return self.net.predict(x)
