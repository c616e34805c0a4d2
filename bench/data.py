"""Samples and initial parameters of a workload, and the loss and accuracy of the result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.workloads import Network, Workload

ACTIVATIONS = {"sigmoid": lambda z: 0.5 + 0.5 * np.tanh(z / 2), "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}
Parameters = list[tuple[np.ndarray, np.ndarray]]  # the weights (n_in, n_out) and the bias of each layer


@dataclass(frozen=True)
class Data:
    """Samples (float32) and labels (int64) to train on, in whole mini-batches, and to test with; and their source."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str


def load(workload: Workload) -> Data:
    """Return the data of a workload; all peers train on it in this order."""
    if workload.mnist and has_mnist():
        from nnfast.datasets import load_mnist

        (x, y), (x_test, y_test) = load_mnist()
        source = "MNIST"
    else:
        rows = (60_000, 10_000) if workload.mnist else (20_000, 5_000)
        (x, y), (x_test, y_test) = synthesize(workload.sizes, rows)
        source = "synthetic data" + " of MNIST's shape (MNIST is not on this machine)" * workload.mnist
    whole = len(x) - len(x) % workload.batch
    return Data(x[:whole], y[:whole], x_test, y_test, source)


def load_images() -> Data:
    """Return MNIST, or the small digits that come with nnfast: both are images, which can be shifted by a pixel."""
    from nnfast.datasets import load_digits, load_mnist

    if has_mnist():
        (x, y), (x_test, y_test) = load_mnist()
        return Data(x, y, x_test, y_test, "MNIST")
    x, y = load_digits()
    return Data(x[300:], y[300:], x[:300], y[:300], "8 x 8 digits (MNIST is not on this machine)")


def has_mnist() -> bool:
    """Return whether `load_mnist` would find all its files: a benchmark downloads nothing."""
    from nnfast.datasets._mnist import FILES, default_data_home

    folder = Path(default_data_home()) / "mnist"
    return all((folder / file.name).is_file() or (folder / f"{file.name}.gz").is_file() for file in FILES)


def synthesize(sizes: tuple[int, ...], rows: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return normally distributed samples to train on and to test with, and their labels from a random network."""
    rng = np.random.default_rng(sizes)
    features, classes = sizes[0], sizes[-1]
    inner, outer = rng.standard_normal((features, 16)) / np.sqrt(features), rng.standard_normal((16, classes))
    x = rng.standard_normal((sum(rows), features), np.float32)
    y = np.argmax(np.tanh(2 * (x @ inner)) @ outer, axis=1)
    return [(x[: rows[0]], y[: rows[0]]), (x[rows[0] :], y[rows[0] :])]


def initial_parameters(network: Network, seed: int = 0) -> Parameters:
    """Return the weights and biases that all peers start from: He's for relu, LeCun's otherwise; biases are zero."""
    rng = np.random.default_rng(seed)
    gain = 2.0 if network.activation == "relu" else 1.0
    return [
        ((rng.standard_normal((n, m)) * np.sqrt(gain / n)).astype(np.float32), np.zeros(m, np.float32))
        for n, m in pairwise(network.sizes)
    ]


def evaluate(workload: Workload, parameters: Parameters, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the mean cross entropy and the accuracy, computed in float64, in the same way for all peers."""
    h = x.astype(np.float64)
    for i, (weights, bias) in enumerate(parameters):
        h = h @ weights + bias
        if i < len(parameters) - 1:
            h = ACTIVATIONS[workload.activation](h)
    h -= h.max(axis=1, keepdims=True)
    losses = np.log(np.exp(h).sum(axis=1)) - h[np.arange(len(y)), y]
    return float(losses.mean()), float((h.argmax(axis=1) == y).mean())
