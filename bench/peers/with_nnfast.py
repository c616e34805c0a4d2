"""nnfast."""

from __future__ import annotations

from bench.data import Data, Parameters
from bench.peers.base import Peer
from bench.workloads import Workload


class NNFast(Peer):
    """`Sequential.fit`."""

    name = module = package = "nnfast"

    @classmethod
    def version(cls) -> str:
        """Return the version of the package that is imported, which may be built in place."""
        import nnfast

        return nnfast.__version__

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        import nnfast as nf

        hidden = [nf.Dense(units, activation=workload.activation) for units in workload.sizes[1:-1]]
        output = nf.Dense(workload.sizes[-1], activation="softmax")
        self.net = nf.Sequential([*hidden, output], input_shape=workload.sizes[0], loss="cross_entropy")
        for i, (weights, bias) in enumerate(initial, start=1):
            self.net.params[f"W{i}"], self.net.params[f"b{i}"] = weights, bias
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
