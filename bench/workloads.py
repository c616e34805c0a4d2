"""What is trained: networks for classification, softmax and cross entropy at their end, in float32."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}


@dataclass(frozen=True)
class Workload:
    """One training.

    Parameters
    ----------
    name : str
        As on the command line.
    sizes : tuple of int
        Features, the units of each hidden layer, classes.
    activation : {"sigmoid", "relu"}
        Of the hidden layers.
    optimizer : {"sgd", "adam"}
        With the defaults of the paper but for the learning rate.
    learning_rate : float
        Above zero.
    batch : int
        Samples in a mini-batch.
    steps : int
        Mini-batches in all, unless the command line says otherwise.
    mnist : bool
        Whether it trains on MNIST; otherwise on synthetic data.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    optimizer: str
    learning_rate: float
    batch: int
    steps: int
    mnist: bool = False

    def __str__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        optimizer = f"{OPTIMIZERS[self.optimizer]} {self.learning_rate}"
        return f"{shape} {self.activation}, softmax + cross entropy, {optimizer}, batch {self.batch}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("book", (784, 50, 10), "sigmoid", "sgd", 0.1, batch=100, steps=10_000, mnist=True),
        Workload("tiny", (4, 64, 64, 2), "relu", "adam", 1e-3, batch=32, steps=10_000),
        Workload("tabular", (32, 128, 64, 2), "relu", "adam", 1e-3, batch=256, steps=5_000),
        Workload("wide", (784, 512, 512, 10), "relu", "adam", 1e-3, batch=128, steps=1_000, mnist=True),
    )
}
