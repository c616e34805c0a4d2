"""A network and its training once more, in NumPy with `nnfast.reference`: what the tests hold a whole network to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import nnfast as nf
from nnfast import reference, saving

WITH_PARAMETER = ("leaky_relu", "elu", "softplus")
KEPT = ("gelu", "gelu_tanh", "silu", "softplus")  # their derivative is told from the input
KINKS = {"step": (0,), "relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}


def shuffle_stream(seed: int) -> np.random.PCG64:
    """The stream that a network of this seed shuffles with."""
    return np.random.PCG64(np.random.SeedSequence(seed).spawn(2)[1])


class NumpyNetwork:
    """The twin of a dense network: takes its parameters as they are, and goes its own way from there."""

    def __init__(self, net: nf.Sequential, seed: int | None = None) -> None:
        self.activations = [layer.activation for layer in net.layers]
        self.alphas = [layer.function.alpha for layer in net.layers]
        self.loss, a, log_input, each = net._loss.kernel(net.dtype)
        self.loss_parameters = {"huber": (a,), "poisson": (log_input,), "quantile": (each,)}.get(
            self.loss, (a,) if "cross_entropy" in self.loss else ()
        )
        if net._loss.fused:  # the loss is told from the logits
            self.activations[-1] = "identity"
        self.parameters = {name: view.copy() for name, view in net.params.items()}
        self.moments = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in self.parameters.items()}
        self.updates = 0
        self.bit_generator = None if seed is None else shuffle_stream(seed)

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """The input and the outputs of all layers."""
        chain = [x]
        for i, (activation, alpha) in enumerate(zip(self.activations, self.alphas, strict=True), start=1):
            w, b = self.parameters[f"W{i}"], self.parameters[f"b{i}"]
            chain.append(reference.dense(chain[-1], w, b, activation, alpha=alpha))
        return chain

    def backward(self, chain: list[np.ndarray], gradient: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The gradients of the parameters and of the input, from that of the last output."""
        gradients = {}
        for i in range(len(self.activations), 0, -1):
            gradient = self.through_activation(i, chain, gradient)
            gradients[f"W{i}"] = reference.dense_backward_weights(chain[i - 1], gradient)
            gradients[f"b{i}"] = reference.dense_backward_bias(gradient)
            gradient = reference.dense_backward_input(gradient, self.parameters[f"W{i}"])
        return gradients, gradient

    def through_activation(self, i: int, chain: list[np.ndarray], gradient: np.ndarray) -> np.ndarray:
        """The gradient of the pre-activation of layer `i`, from that of its output."""
        activation, told_from = self.activations[i - 1], chain[i]
        parameter = (self.alphas[i - 1],) if activation in WITH_PARAMETER else ()
        if activation in KEPT:
            told_from = reference.dense(chain[i - 1], self.parameters[f"W{i}"], self.parameters[f"b{i}"])
        return getattr(reference, f"{activation}_backward")(gradient, told_from, *parameter)

    def loss_of(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(getattr(reference, self.loss)(self.forward(x)[-1], y, *self.loss_parameters))

    def loss_and_gradient(self, x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        chain = self.forward(x)
        backward = getattr(reference, f"{self.loss}_backward")
        return self.loss_of(x, y), self.backward(chain, backward(chain[-1], y, *self.loss_parameters))[0]

    def train_step(self, x: np.ndarray, y: np.ndarray, optimizer: nf.SGD | nf.Adam) -> float:
        loss, gradients = self.loss_and_gradient(x, y)
        self.updates += 1
        for name, parameters in self.parameters.items():
            if isinstance(optimizer, nf.SGD):
                reference.sgd(parameters, gradients[name], optimizer.learning_rate)
            else:
                reference.adam(
                    parameters, gradients[name], *self.moments[name], optimizer.learning_rate, optimizer.beta1,
                    optimizer.beta2, optimizer.epsilon, self.updates,
                )  # fmt: skip
        return loss

    def batches(self, n: int, batch_size: int, steps: int) -> Iterator[np.ndarray]:
        """The rows of each mini-batch: the order is shuffled again, from where it was, as each epoch begins."""
        order = np.arange(n)
        for step in range(steps):
            at = step % -(-n // batch_size) * batch_size
            if at == 0 and self.bit_generator is not None:
                reference.shuffle(order, self.bit_generator)
            yield order[at : at + batch_size]

    def fit(
        self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int, optimizer: nf.SGD | nf.Adam
    ) -> list[float]:
        """The loss of each step."""
        return [self.train_step(x[rows], y[rows], optimizer) for rows in self.batches(len(x), batch_size, steps)]


def book_gradient(f: Callable[[], float], array: np.ndarray, h: float) -> np.ndarray:
    """The loop of chapter 4.4 of Saito's book: each number of `array` is moved up and down, and `f` is asked again."""
    slopes = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        value = array[index]
        sides = []
        for side in (value + h, value - h):
            array[index] = side
            sides.append(f())
        array[index] = value
        slopes[index] = (sides[0] - sides[1]) / (2 * h)
    return slopes


def away_from_kinks(net: nf.Sequential, x: np.ndarray, margin: float) -> np.ndarray:
    """The rows in which no unit has its pre-activation within `margin` of a kink of its activation."""
    twin = NumpyNetwork(net)
    inputs = twin.forward(x)
    keep = np.ones(len(x), bool)
    for i, activation in enumerate(twin.activations, start=1):
        z = inputs[i - 1] @ twin.parameters[f"W{i}"] + twin.parameters[f"b{i}"]
        for kink in KINKS.get(activation, ()):
            keep &= np.abs(z - kink).min(axis=1) > margin
    return keep


def state(net: nf.Sequential) -> tuple[str, dict[str, bytes], object]:
    """All that makes a network, to be compared: parameters, optimizer, streams, and which history it holds."""
    description, arrays = saving.to_state(net)
    return json.dumps(description), {name: array.tobytes() for name, array in arrays.items()}, net.history


@contextmanager
def unchanged(net: nf.Sequential) -> Iterator[None]:
    """A block that must leave a network as it was."""
    before = state(net)
    yield
    assert state(net) == before
