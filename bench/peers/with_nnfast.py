"""nnfast."""

from __future__ import annotations

from collections import Counter
from functools import partial
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


def optimizer(workload: Workload, learning_rate: float) -> Any:
    """Return the workload's optimizer."""
    import nnfast as nf

    return {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](learning_rate)


class NNFast(Trainer):
    """`Sequential.fit`.

    Parameters
    ----------
    workload, data, initial, threads
        As for any peer; `fit` uses as many threads as pay, up to `threads`.
    fixed : bool
        Whether it always uses `threads` threads.

    Attributes
    ----------
    steps_on : Counter
        How many steps were done with each number of threads.
    """

    name = module = package = "nnfast"

    @classmethod
    def version(cls) -> str:
        """Return the version of the imported package, which may be built in place."""
        import nnfast

        return nnfast.__version__

    def __init__(
        self, workload: Workload, data: Data, initial: Parameters, threads: int, *, fixed: bool = False
    ) -> None:
        import nnfast as nf

        self.net = sequential(workload.network, initial)
        self.optimizer = optimizer(workload, workload.learning_rate)
        self.batch, self.data = workload.batch, data
        self.num_threads = partial(nf.num_threads, threads, fixed=fixed)
        self.steps_on: Counter[int] = Counter()

    def run(self, steps: int) -> None:
        """Train: whole epochs, and the rest as an epoch of fewer rows, since `fit` would finish one that is cut off."""
        x, y = self.data.x, self.data.y
        epochs, rest = divmod(steps, len(x) // self.batch)
        rows = rest * self.batch
        parts = [part for part in ((x, y, epochs), (x[:rows], y[:rows], 1)) if len(part[0]) and part[2]]
        with self.num_threads():
            for x, y, n in parts:
                history = self.net.fit(
                    x, y, epochs=n, batch_size=self.batch, optimizer=self.optimizer, shuffle=False, verbose=0
                )
                self.steps_on.update(history.threads)

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        params = self.net.params
        return [(params[f"W{i}"], params[f"b{i}"]) for i in range(1, len(self.net.layers) + 1)]


class NNFastPredictor(Predictor):
    """`predict_one(row)` and `predict(x)`."""

    name = module = package = "nnfast"
    version = NNFast.version

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        import nnfast as nf

        nf.set_num_threads(threads)
        self.net = sequential(network, parameters)

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict one sample."""
        return self.net.predict_one(row)

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        return self.net.predict(x)


class NNFastPredictorInto(NNFastPredictor):
    """`predict_one(row, out=out)` and `predict(x, out=out)`: the results are written into an existing array."""

    name = "nnfast, out="

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        super().__init__(network, parameters, threads)
        self.out = np.empty(network.sizes[-1], np.float32)
        self.outs = np.empty((0, network.sizes[-1]), np.float32)

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict one sample into an existing array."""
        return self.net.predict_one(row, out=self.out)

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch into an existing array."""
        if len(self.outs) != len(x):
            self.outs = np.empty((len(x), self.outs.shape[1]), np.float32)
        return self.net.predict(x, out=self.outs)
