"""A network and its training once more, in NumPy with `nnfast.reference`: what the tests hold a whole network to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

import nnfast as nf
from nnfast import reference, saving

WITH_PARAMETER = ("leaky_relu", "elu", "softplus")
KEPT = ("gelu", "gelu_tanh", "silu", "softplus")  # their derivative is told from the input
KINKS = {"step": (0,), "relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}


def shuffle_stream(seed: int) -> np.random.PCG64:
    """The stream that a network of this seed shuffles with."""
    return np.random.PCG64(np.random.SeedSequence(seed).spawn(2)[1])


@dataclass(frozen=True)
class Step:
    """One of the steps that layers become: a residual sum is the last of its own."""

    kind: str
    layer: nf.layers.Layer
    names: dict[str, str] = field(default_factory=dict)  # of what it learns and of its statistics, by role
    other: int = 0  # place in the chain of what a residual sum adds


def steps_of(layers: Sequence[nf.layers.Layer]) -> list[Step]:
    """The chain that layers make, with the names of their arrays."""
    steps: list[Step] = []
    numbers = {"W": 0, "gamma": 0}

    def add(layer: nf.layers.Layer) -> None:
        if isinstance(layer, nf.Residual):
            other = len(steps)
            for inner in layer.layers:
                add(inner)
            steps.append(Step("add", layer, other=other))
            return
        roles = {"dense": ("W", "b"), "layer_norm": ("gamma", "beta")}.get(layer.kind, ())
        roles = ("gamma", "beta", "mean", "variance") if layer.kind == "batch_norm" else roles
        if roles:
            numbers[roles[0]] += 1
        steps.append(Step(layer.kind, layer, {role: f"{role}{numbers[roles[0]]}" for role in roles}))

    for layer in layers:
        add(layer)
    return steps


class NumpyNetwork:
    """The twin of a network: takes its parameters as they are, and goes its own way from there.

    `training`, where a method has it, is as for `nf.Sequential.loss`.
    """

    def __init__(self, net: nf.Sequential, seed: int | None = None) -> None:
        self.steps = steps_of(net.layers)
        self.activations = [step.layer.activation for step in self.steps]
        self.loss, numbers, each = net._loss.kernel(net.dtype)
        quantiles = None if each is None else np.tile(each, net._loss.n_out // len(each))
        self.loss_parameters = numbers if each is None else (quantiles,)
        if net._loss.fused:  # the loss is told from the logits
            self.activations[-1] = "identity"
        self.parameters = {name: view.copy() for name, view in net.params.items()}
        self.statistics = {name: view.copy() for name, view in net.statistics.items()}
        self.noise_seed, self.noise_steps = net._noise_seed, net._built.noise_steps
        self.moments = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in self.parameters.items()}
        self.updates = 0
        self.bit_generator = None if seed is None else shuffle_stream(seed)

    # ---- a step and back

    def array(self, step: Step, role: str) -> np.ndarray | None:
        return self.parameters.get(step.names[role])

    def function(self, s: int, x: np.ndarray) -> np.ndarray:
        return getattr(reference, self.activations[s])(x, *self.parameter(s))

    def parameter(self, s: int) -> tuple[float, ...]:
        return (self.steps[s].layer.function.alpha,) if self.activations[s] in WITH_PARAMETER else ()

    def key(self, s: int) -> int:
        return reference.noise_key(self.noise_seed, self.noise_steps, s)

    def from_batch(self, step: Step, training: bool) -> bool:
        return training and step.layer.trainable

    def column_moments(self, step: Step, x: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray]:
        if self.from_batch(step, training):
            return tuple(reference.batch_norm_moments(x))
        return self.statistics[step.names["mean"]], self.statistics[step.names["variance"]]

    def through(self, s: int, chain: list[np.ndarray], training: bool) -> np.ndarray:
        """The output of step `s`, from the input and outputs before."""
        step, x = self.steps[s], chain[s]
        layer = step.layer
        match step.kind:
            case "dense":
                return self.function(s, reference.dense(x, self.array(step, "W"), self.array(step, "b")))
            case "activation":
                return self.function(s, x)
            case "rescaling":
                return x * layer.scale + layer.offset
            case "dropout" if training:
                return reference.dropout(x, layer.rate, self.key(s))
            case "gaussian_noise" if training:
                return reference.gaussian_noise(x, layer.stddev, self.key(s))
            case "batch_norm":
                moments = self.column_moments(step, x, training)
                return reference.batch_norm(
                    x, *moments, self.array(step, "gamma"), self.array(step, "beta"), layer.epsilon
                )
            case "layer_norm":
                return reference.layer_norm(x, self.array(step, "gamma"), self.array(step, "beta"), layer.epsilon)
            case "add":
                return x + chain[step.other]
        return x

    def back(
        self, s: int, chain: list[np.ndarray], gradient: np.ndarray, training: bool, found: dict[str, np.ndarray]
    ) -> np.ndarray:
        """The gradient of the input of step `s` from that of its output; those of parameters go into `found`."""
        step, x = self.steps[s], chain[s]
        layer = step.layer
        match step.kind:
            case "dense":
                z = reference.dense(x, self.array(step, "W"), self.array(step, "b"))
                gradient = self.back_through_function(s, z, chain[s + 1], gradient)
                found[step.names["W"]] = reference.dense_backward_weights(x, gradient)
                found[step.names["b"]] = reference.dense_backward_bias(gradient)
                return reference.dense_backward_input(gradient, self.array(step, "W"))
            case "activation":
                return self.back_through_function(s, x, chain[s + 1], gradient)
            case "rescaling":
                return gradient * layer.scale
            case "dropout" if training:
                return reference.dropout(gradient, layer.rate, self.key(s))
            case "batch_norm":
                moments = self.column_moments(step, x, training)
                sums = reference.batch_norm_sums(gradient, x, *moments, layer.epsilon)
                found[step.names["beta"]], found[step.names["gamma"]] = sums
                sums = sums if self.from_batch(step, training) else None
                return reference.batch_norm_backward(
                    gradient, x, *moments, self.array(step, "gamma"), sums, len(x), layer.epsilon
                )
            case "layer_norm":
                stats, gamma, beta = np.empty((len(x), 2)), np.empty(x.shape[1]), np.empty(x.shape[1])
                reference.layer_norm(x, None, None, layer.epsilon, stats)
                reference.layer_norm_backward_parameters(gradient, x, stats, gamma, beta)
                found[step.names["gamma"]], found[step.names["beta"]] = gamma, beta
                return reference.layer_norm_backward(gradient, x, self.array(step, "gamma"), stats)
        return gradient

    def back_through_function(self, s: int, z: np.ndarray, out: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        activation = self.activations[s]
        told_from = z if activation in KEPT else out
        return getattr(reference, f"{activation}_backward")(gradient, told_from, *self.parameter(s))

    # ---- a network

    def forward(self, x: np.ndarray, *, training: bool = False) -> list[np.ndarray]:
        """The input and the outputs of all steps."""
        chain = [x]
        for s in range(len(self.steps)):
            chain.append(self.through(s, chain, training))
        return chain

    def backward(
        self, chain: list[np.ndarray], gradient: np.ndarray, *, training: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The gradients of the parameters and of the input, from that of the last output."""
        found: dict[str, np.ndarray] = {}
        each = [np.zeros_like(out) for out in chain]
        each[-1] = gradient
        for s in range(len(self.steps) - 1, -1, -1):
            each[s] += self.back(s, chain, each[s + 1], training, found)
            if self.steps[s].kind == "add":
                each[self.steps[s].other] += each[s + 1]
        return {name: found[name] for name in self.parameters}, each[0]

    def rows_of(self, y: np.ndarray, weights: np.ndarray | None) -> Iterator[tuple[slice, float]]:
        """What the loss is the sum of: all rows, or each with its part of the weights."""
        if weights is None:
            yield slice(None), 1.0
            return
        for r, weight in enumerate(weights):
            yield slice(r, r + 1), weight / weights.sum()

    def penalised(self) -> Iterator[tuple[str, float, float]]:
        for step in self.steps:
            if step.kind != "add" and (step.layer.l1 or step.layer.l2):
                yield step.names.get("W") or step.names["gamma"], step.layer.l1, step.layer.l2

    def loss_of(
        self, x: np.ndarray, y: np.ndarray, *, training: bool = False, weights: np.ndarray | None = None
    ) -> float:
        return self.loss_and_gradient(x, y, training=training, weights=weights, backward=False)[0]

    def loss_and_gradient(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        training: bool = False,
        weights: np.ndarray | None = None,
        backward: bool = True,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """The gradient has also that of ``"x"``."""
        chain = self.forward(x, training=training)
        loss_of = getattr(reference, self.loss)
        parts = list(self.rows_of(y, weights))
        loss = sum(part * float(loss_of(chain[-1][rows], y[rows], *self.loss_parameters)) for rows, part in parts)
        loss += sum(reference.penalty(self.parameters[name], l1, l2) for name, l1, l2 in self.penalised())
        if not backward:
            return loss, {}
        loss_backward = getattr(reference, f"{self.loss}_backward")
        gradient = np.vstack(
            [part * loss_backward(chain[-1][rows], y[rows], *self.loss_parameters) for rows, part in parts]
        )
        gradients, gx = self.backward(chain, gradient, training=training)
        for name, l1, l2 in self.penalised():
            reference.add_penalty(self.parameters[name], gradients[name], l1, l2)
        return loss, gradients | {"x": gx}

    def train_step(
        self, x: np.ndarray, y: np.ndarray, optimizer: nf.SGD | nf.Adam, weights: np.ndarray | None = None
    ) -> float:
        loss, gradients = self.loss_and_gradient(x, y, training=True, weights=weights)
        self.go_on(self.forward(x, training=True))
        self.updates += 1
        frozen = {name for step in self.steps if not step.layer.trainable for name in step.names.values()}
        for name, parameters in self.parameters.items():
            if name in frozen:
                continue
            if isinstance(optimizer, nf.SGD):
                reference.sgd(parameters, gradients[name], optimizer.learning_rate)
            else:
                reference.adam(
                    parameters, gradients[name], *self.moments[name], optimizer.learning_rate, optimizer.beta1,
                    optimizer.beta2, optimizer.epsilon, self.updates,
                )  # fmt: skip
        return loss

    def go_on(self, chain: list[np.ndarray]) -> None:
        """What a pass in training leaves behind."""
        self.noise_steps += 1
        for s, step in enumerate(self.steps):
            if step.kind == "batch_norm" and step.layer.trainable:
                x, momentum = chain[s], step.layer.momentum
                for role, value in (("mean", x.mean(axis=0)), ("variance", x.var(axis=0, ddof=1))):
                    running = self.statistics[step.names[role]]
                    running += momentum * (value - running)

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
    chain = twin.forward(x)
    keep = np.ones(len(x), bool)
    for s, step in enumerate(twin.steps):
        z = chain[s]
        if step.kind == "dense":
            z = reference.dense(z, twin.array(step, "W"), twin.array(step, "b"))
        for kink in KINKS.get(twin.activations[s], ()):
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
