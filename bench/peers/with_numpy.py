"""NumPy, written by hand for speed: a step allocates nothing, everything runs in place.

Parameters, gradients and moments are one vector each, with views for the layers, so that an update is a few calls; the
sums over rows and columns are products with a vector of ones, which BLAS does faster than `sum`; targets are one-hot
rows, prepared once; logarithms for the loss are taken at the end, all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod, sqrt

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Predictor, Trainer
from bench.workloads import Network, Workload


class NumPy(Trainer):
    """A training loop of matrix products and ufuncs."""

    name = "NumPy"
    module = package = "numpy"

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        self.vector, self.layers = arena(workload.sizes)
        self.gradient, self.layer_gradients = arena(workload.sizes)
        for (weights, bias), (initial_weights, initial_bias) in zip(self.layers, initial, strict=True):
            weights[...], bias[...] = initial_weights, initial_bias

        self.x, self.batch = data.x, workload.batch
        self.targets = np.eye(workload.sizes[-1], dtype=np.float32)[data.y]
        self.right = np.arange(len(data.y)) % self.batch * workload.sizes[-1] + data.y  # positions in a batch's output

        self.activate, self.multiply_by_derivative, scratch_type = ACTIVATIONS[workload.activation]
        self.outputs = [np.empty((self.batch, units), np.float32) for units in workload.sizes[1:]]
        self.errors = [np.empty_like(output) for output in self.outputs]
        self.scratch: list[np.ndarray] = [np.empty(output.shape, scratch_type) for output in self.outputs]
        self.row_of_ones = np.ones(self.batch, np.float32)
        self.column_of_ones = np.ones((workload.sizes[-1], 1), np.float32)
        self.column = np.empty((self.batch, 1), np.float32)

        optimizer = {"sgd": SGD, "adam": Adam}[workload.optimizer]
        self.update = optimizer(workload.learning_rate, self.vector, self.gradient)

    def run(self, steps: int) -> None:
        """Train."""
        picked = np.empty((steps, self.batch), np.float32)  # the predicted probability of each sample's class
        batches = len(self.x) // self.batch
        with np.errstate(over="ignore"):  # exp(-z) of the sigmoid: 1 / (1 + inf) is right
            for step in range(steps):
                rows = slice(step % batches * self.batch, (step % batches + 1) * self.batch)
                x = self.x[rows]
                probabilities = self.forward(x)
                probabilities.take(self.right[rows], out=picked[step], mode="clip")
                self.backward(x, self.targets[rows])
                self.update()
        self.step_loss = -np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean(axis=1)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, of shape (batch, classes)."""
        h = x
        for (weights, bias), z in zip(self.layers, self.outputs, strict=True):
            np.dot(h, weights, out=z)
            z += bias
            if z is not self.outputs[-1]:
                self.activate(z)
            h = z
        h -= np.maximum.reduce(h, axis=1, keepdims=True, out=self.column)
        np.exp(h, out=h)
        h /= np.dot(h, self.column_of_ones, out=self.column)
        return h

    def backward(self, x: np.ndarray, targets: np.ndarray) -> None:
        """Compute the gradient of the mean cross entropy, in place."""
        error = np.subtract(self.outputs[-1], targets, out=self.errors[-1])
        error *= 1 / self.batch
        for i in range(len(self.layers) - 1, -1, -1):
            h = self.outputs[i - 1] if i else x
            weights_gradient, bias_gradient = self.layer_gradients[i]
            np.dot(h.T, error, out=weights_gradient)
            np.dot(self.row_of_ones, error, out=bias_gradient)
            if i:
                error = np.dot(error, self.layers[i][0].T, out=self.errors[i - 1])
                self.multiply_by_derivative(error, h, self.scratch[i - 1])

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        return self.layers


def arena(sizes: tuple[int, ...]) -> tuple[np.ndarray, Parameters]:
    """Return a vector for all parameters of a chain of layers, and views of it as weights and biases."""
    shapes = [shape for n, m in pairwise(sizes) for shape in ((n, m), (m,))]
    lengths = [prod(shape) for shape in shapes]
    vector = np.zeros(sum(lengths), np.float32)
    pieces = np.split(vector, np.cumsum(lengths)[:-1])
    views = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
    return vector, list(zip(views[::2], views[1::2], strict=True))


def sigmoid(z: np.ndarray) -> None:
    """1 / (1 + exp(-z)), in place."""
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def multiply_by_sigmoid_derivative(error: np.ndarray, h: np.ndarray, scratch: np.ndarray) -> None:
    """Error times h (1 - h), in place."""
    np.subtract(1, h, out=scratch)
    error *= h
    error *= scratch


def tanh(z: np.ndarray) -> None:
    """tanh(z), in place."""
    np.tanh(z, out=z)


def multiply_by_tanh_derivative(error: np.ndarray, h: np.ndarray, scratch: np.ndarray) -> None:
    """Error times 1 - h h, in place."""
    np.multiply(h, h, out=scratch)
    np.subtract(1, scratch, out=scratch)
    error *= scratch


def relu(z: np.ndarray) -> None:
    """max(z, 0), in place."""
    np.maximum(z, 0, out=z)


def multiply_by_relu_derivative(error: np.ndarray, h: np.ndarray, scratch: np.ndarray) -> None:
    """Error where h is above 0, in place."""
    np.greater(h, 0, out=scratch)
    error *= scratch


ACTIVATIONS: dict[str, tuple[Callable[..., None], Callable[..., None], type]] = {
    "sigmoid": (sigmoid, multiply_by_sigmoid_derivative, np.float32),
    "tanh": (tanh, multiply_by_tanh_derivative, np.float32),
    "relu": (relu, multiply_by_relu_derivative, np.bool_),
}


class NumPyPredictor(Predictor):
    """Matrix products and ufuncs; a single sample stays a vector throughout."""

    name = "NumPy"
    module = package = "numpy"

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        self.layers, self.activate = parameters, ACTIVATIONS[network.activation][0]

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict one sample."""
        z = self.logits(row)
        z -= z.max()
        np.exp(z, out=z)
        z /= z.sum()
        return z

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        z = self.logits(x)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs before softmax."""
        for weights, bias in self.layers[:-1]:
            x = x @ weights
            x += bias
            self.activate(x)
        weights, bias = self.layers[-1]
        x = x @ weights
        x += bias
        return x


class SGD:
    """The update of stochastic gradient descent; it may overwrite the gradient."""

    def __init__(self, learning_rate: float, parameters: np.ndarray, gradient: np.ndarray) -> None:
        self.learning_rate, self.parameters, self.gradient = learning_rate, parameters, gradient

    def __call__(self) -> None:
        """Take a step."""
        self.gradient *= self.learning_rate
        self.parameters -= self.gradient


class Adam(SGD):
    """The update of Adam (Kingma and Ba 2015); it overwrites the gradient."""

    def __init__(self, learning_rate: float, parameters: np.ndarray, gradient: np.ndarray) -> None:
        super().__init__(learning_rate, parameters, gradient)
        self.mean, self.square, self.scratch = (np.zeros_like(parameters) for _ in range(3))
        self.step = 0

    def __call__(self) -> None:
        """Take a step: learning_rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)."""
        self.step += 1
        root = sqrt(1 - 0.999**self.step)  # numerator and denominator are multiplied by this: one pass fewer
        mean, square, gradient, scratch = self.mean, self.square, self.gradient, self.scratch
        np.subtract(gradient, mean, out=scratch)
        scratch *= 1 - 0.9
        mean += scratch
        gradient *= gradient
        gradient -= square
        gradient *= 1 - 0.999
        square += gradient
        np.sqrt(square, out=scratch)
        scratch += 1e-8 * root
        np.divide(mean, scratch, out=scratch)
        scratch *= self.learning_rate * root / (1 - 0.9**self.step)
        self.parameters -= scratch
