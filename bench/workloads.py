"""The networks to train and run: classifiers with softmax and cross entropy, in float32."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
LEARNING_RATES = {"sgd": 0.1, "adam": 1e-3}
ACTIVATIONS = ("sigmoid", "tanh", "relu")


@dataclass(frozen=True)
class Network:
    """A chain of dense layers.

    Parameters
    ----------
    sizes : tuple of int
        Features, the units of each hidden layer, classes.
    activation : {"sigmoid", "tanh", "relu"}
        Of the hidden layers.
    """

    sizes: tuple[int, ...]
    activation: str

    @property
    def shape(self) -> str:
        """The sizes as one string."""
        return "-".join(map(str, self.sizes))

    @property
    def weights(self) -> int:
        """The number of weights in all layers."""
        return sum(n * m for n, m in pairwise(self.sizes))

    def __str__(self) -> str:
        return f"{self.shape} {self.activation}"


@dataclass(frozen=True)
class Workload:
    """One training.

    Parameters
    ----------
    name : str
        As on the command line.
    network : Network
        What is trained.
    optimizer : {"sgd", "adam"}
        With the paper's defaults except for the learning rate.
    batch : int
        Samples in a mini-batch.
    steps : int
        Total mini-batches, unless the command line says otherwise.
    mnist : bool
        Whether it trains on MNIST; otherwise on synthetic data.
    """

    name: str
    network: Network
    optimizer: str
    batch: int
    steps: int
    mnist: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features, units, classes."""
        return self.network.sizes

    @property
    def activation(self) -> str:
        """Of the hidden layers."""
        return self.network.activation

    @property
    def learning_rate(self) -> float:
        """The same for all workloads of an optimizer."""
        return LEARNING_RATES[self.optimizer]

    @property
    def flops(self) -> int:
        """Multiplications and additions of the matrix products in a step: forward, and backward except to the input."""
        first = self.sizes[0] * self.sizes[1]
        return 2 * self.batch * (3 * self.network.weights - first)

    def __str__(self) -> str:
        optimizer = f"{OPTIMIZERS[self.optimizer]} {self.learning_rate}"
        return f"{self.network}, softmax + cross entropy, {optimizer}, batch {self.batch}"


BOOK, TINY = Network((784, 50, 10), "sigmoid"), Network((4, 64, 64, 2), "relu")
TABULAR, WIDE = Network((32, 128, 64, 2), "relu"), Network((784, 512, 512, 10), "relu")
EMBED, DEEP = Network((300, 200, 100, 50), "relu"), Network((16, *[48] * 5, 5), "relu")
ODD, MICRO = Network((13, 37, 29, 3), "tanh"), Network((3, 8, 2), "sigmoid")

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("book", BOOK, "sgd", batch=100, steps=10_000, mnist=True),
        Workload("tiny", TINY, "adam", batch=32, steps=10_000),
        Workload("tabular", TABULAR, "adam", batch=256, steps=5_000),
        Workload("wide", WIDE, "adam", batch=128, steps=1_000, mnist=True),
        Workload("embed", EMBED, "adam", batch=500, steps=1_000),
        Workload("deep", DEEP, "sgd", batch=64, steps=5_000),
        Workload("odd", ODD, "adam", batch=17, steps=10_000),
        Workload("micro", MICRO, "sgd", batch=8, steps=50_000),
    )
}
USUAL = ("book", "tiny", "tabular", "wide")  # measured if no name is given
INFERENCE = (MICRO, TINY, ODD, BOOK, EMBED, WIDE)
