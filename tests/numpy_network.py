"""Networks and training once more, in NumPy with `nnfast.reference`: the tests compare whole networks with it."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from optimizer_cases import begun, update

import nnfast as nf
from nnfast import reference
from nnfast.files import state as states
from nnfast.optimizers import Hyperparameters, Optimizer
from nnfast.schedules import Schedule

FUNCTIONS = {name: nf.activations.resolve_activation(name) for name in nf.activations.NAMES}
KINKS = {"step": (0,), "relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}


def shuffle_stream(seed: int) -> np.random.PCG64:
    """The random stream that a network with this seed uses for shuffling."""
    return np.random.PCG64(np.random.SeedSequence(seed).spawn(2)[1])


@dataclass(frozen=True)
class Stage:
    """One of the stages that layers become: a residual layer ends with its sum."""

    kind: str
    layer: nf.layers.Layer
    names: dict[str, str] = field(default_factory=dict)  # of its parameters and statistics, by role
    other: int = 0  # index in the chain of what a residual layer adds


def stages_of(layers: Sequence[nf.layers.Layer]) -> list[Stage]:
    """The stages that layers become, with the names of their arrays."""
    stages: list[Stage] = []
    numbers: Counter[str] = Counter()

    def add(layer: nf.layers.Layer) -> None:
        if layer.reshapes:
            return
        if isinstance(layer, nf.Residual):
            other = len(stages)
            for inner in layer.layers:
                add(inner)
            stages.append(Stage("add", layer, other=other))
            return
        numbers[layer.numbered_as] += 1
        arrays = (*layer.arrays((1,)), *layer.statistics((1,)))
        names = {array.role: f"{array.role}{numbers[layer.numbered_as]}" for array in arrays}
        stages.append(Stage(layer.kind, layer, names))

    for layer in layers:
        add(layer)
    return stages


def encodings(layer: nf.ColumnEncoding) -> list[tuple[object, ...]]:
    """The columns as `reference.encode` takes them."""
    return [column.encoding() for column in layer.columns]


class NumpyNetwork:
    """The twin of a network: starts from its current parameters and is independent from then on.

    The argument `training` has the same meaning as in `nf.Sequential.loss`.
    """

    def __init__(self, net: nf.Sequential, seed: int | None = None) -> None:
        self.stages = stages_of(net.layers)
        self.activations = [stage.layer.activation for stage in self.stages]
        self.loss, numbers, each, summed = net._network.output_loss.kernel(net.dtype)
        quantiles = None if each is None else np.tile(each, net._network.output_loss.n_out // len(each))
        self.loss_parameters = numbers if each is None else (quantiles,)
        averages = "reduction" in inspect.signature(getattr(reference, self.loss)).parameters
        self.reduction = {"reduction": "sum" if summed else "mean"} if averages else {}
        if net._network.output_loss.fused:  # the loss is computed from the logits
            self.activations[-1] = "identity"
        self.parameters = {name: view.copy() for name, view in net.params.items()}
        self.statistics = {name: view.copy() for name, view in net.statistics.items()}
        self.noise_seed, self.noise_steps = net._network.noise_seed, net._network.built.noise_steps
        self.moments: dict[str, list[np.ndarray | None]] = {}
        self.averages: dict[str, np.ndarray] = {}
        self.updates, self.product = 0, 1.0
        self.bit_generator = None if seed is None else shuffle_stream(seed)

    # ---- one stage, forward and backward

    def array(self, stage: Stage, role: str) -> np.ndarray | None:
        return self.parameters.get(stage.names.get(role, ""))

    def function(self, s: int, x: np.ndarray) -> np.ndarray:
        return getattr(reference, self.activations[s])(x, *self.parameter(s))

    def parameter(self, s: int) -> tuple[float, ...]:
        return (self.stages[s].layer.function.alpha,) if FUNCTIONS[self.activations[s]].alpha else ()

    def key(self, s: int) -> int:
        return reference.noise_key(self.noise_seed, self.noise_steps, s)

    def from_batch(self, stage: Stage, training: bool) -> bool:
        return training and stage.layer.trainable

    def column_moments(self, stage: Stage, x: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray]:
        if self.from_batch(stage, training):
            return tuple(reference.batch_norm_moments(x))
        return self.statistics[stage.names["mean"]], self.statistics[stage.names["variance"]]

    def through(self, s: int, chain: list[np.ndarray], training: bool) -> np.ndarray:
        """The output of stage `s`, computed from the input and the outputs before it."""
        stage, x = self.stages[s], chain[s]
        layer = stage.layer
        match stage.kind:
            case "dense":
                return self.function(s, reference.dense(x, self.array(stage, "W"), self.array(stage, "b")))
            case "activation":
                return self.function(s, x)
            case "rescaling":
                return x * layer.scale + layer.offset
            case "dropout" if training:
                return reference.dropout(x, layer.rate, self.key(s))
            case "gaussian_noise" if training:
                return reference.gaussian_noise(x, layer.stddev, self.key(s))
            case "batch_norm":
                moments = self.column_moments(stage, x, training)
                return reference.batch_norm(
                    x, *moments, self.array(stage, "gamma"), self.array(stage, "beta"), layer.epsilon
                )
            case "layer_norm":
                return reference.layer_norm(x, self.array(stage, "gamma"), self.array(stage, "beta"), layer.epsilon)
            case "scale":
                beta = self.array(stage, "beta")
                return x * self.array(stage, "gamma") + (0 if beta is None else beta)
            case "column_encoding":
                return reference.encode(x, encodings(layer), self.array(stage, "E"))
            case "add":
                return x + chain[stage.other]
            case "dropout" | "gaussian_noise":
                return x
        raise NotImplementedError(f"NumpyNetwork.through needs a case for {stage.kind!r}")

    def back(
        self, s: int, chain: list[np.ndarray], gradient: np.ndarray, training: bool, found: dict[str, np.ndarray]
    ) -> np.ndarray:
        """The gradient with respect to the input of stage `s`; those of parameters are written to `found`."""
        stage, x = self.stages[s], chain[s]

        def keep(**gradients: np.ndarray) -> None:
            found.update({stage.names[role]: g for role, g in gradients.items() if role in stage.names})

        layer = stage.layer
        match stage.kind:
            case "dense":
                z = reference.dense(x, self.array(stage, "W"), self.array(stage, "b"))
                gradient = self.back_through_function(s, z, chain[s + 1], gradient)
                keep(W=reference.dense_backward_weights(x, gradient), b=reference.dense_backward_bias(gradient))
                return reference.dense_backward_input(gradient, self.array(stage, "W"))
            case "activation":
                return self.back_through_function(s, x, chain[s + 1], gradient)
            case "rescaling":
                return gradient * layer.scale
            case "dropout" if training:
                return reference.dropout(gradient, layer.rate, self.key(s))
            case "batch_norm":
                moments = self.column_moments(stage, x, training)
                sums = reference.batch_norm_sums(gradient, x, *moments, layer.epsilon)
                keep(beta=sums[0], gamma=sums[1])
                sums = sums if self.from_batch(stage, training) else None
                return reference.batch_norm_backward(
                    gradient, x, *moments, self.array(stage, "gamma"), sums, len(x), layer.epsilon
                )
            case "layer_norm":
                stats, gamma, beta = np.empty((len(x), 2)), np.empty(x.shape[1]), np.empty(x.shape[1])
                reference.layer_norm(x, None, None, layer.epsilon, stats)
                reference.layer_norm_backward_parameters(gradient, x, stats, gamma, beta)
                keep(gamma=gamma, beta=beta)
                return reference.layer_norm_backward(gradient, x, self.array(stage, "gamma"), stats)
            case "scale":
                keep(gamma=(gradient * x).sum(axis=0), beta=gradient.sum(axis=0))
                return gradient * self.array(stage, "gamma")
            case "column_encoding":
                keep(E=reference.encode_backward_table(gradient, x, encodings(layer)))
                return reference.encode_backward(gradient, x, encodings(layer))
            case "dropout" | "gaussian_noise" | "add":
                return gradient
        raise NotImplementedError(f"NumpyNetwork.back needs a case for {stage.kind!r}")

    def back_through_function(self, s: int, z: np.ndarray, out: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        activation = self.activations[s]
        source = z if FUNCTIONS[activation].from_input else out
        return getattr(reference, f"{activation}_backward")(gradient, source, *self.parameter(s))

    # ---- a network

    def forward(self, x: np.ndarray, *, training: bool = False) -> list[np.ndarray]:
        """The input and the outputs of all stages."""
        chain = [x]
        for s in range(len(self.stages)):
            chain.append(self.through(s, chain, training))
        return chain

    def backward(
        self, chain: list[np.ndarray], gradient: np.ndarray, *, training: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The gradients with respect to the parameters and the input, given that for the last output."""
        found: dict[str, np.ndarray] = {}
        each = [np.zeros_like(out) for out in chain]
        each[-1] = gradient
        for s in range(len(self.stages) - 1, -1, -1):
            each[s] += self.back(s, chain, each[s + 1], training, found)
            if self.stages[s].kind == "add":
                each[self.stages[s].other] += each[s + 1]
        return {name: found[name] for name in self.parameters}, each[0]

    def rows_of(self, y: np.ndarray, weights: np.ndarray | None) -> Iterator[tuple[slice, float]]:
        """The terms of the loss: all rows together, or each row with its share of the weights."""
        if weights is None:
            yield slice(None), 1.0
            return
        for r, weight in enumerate(weights):
            yield slice(r, r + 1), weight / weights.sum()

    def penalised(self, y: np.ndarray, weights: np.ndarray | None) -> Iterator[tuple[str, float, float]]:
        weight = len(y) if weights is None else weights.sum()
        for stage in self.stages:
            for array in stage.layer.arrays((1,)):
                if array.l1 or array.l2:
                    share = 1 / weight if stage.layer.penalty == "sum" else 1.0
                    yield stage.names[array.role], share * array.l1, share * array.l2

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
        """The loss and the gradients, including that of ``"x"``."""
        chain = self.forward(x, training=training)
        loss_of = getattr(reference, self.loss)
        parts = list(self.rows_of(y, weights))
        loss = sum(
            part * float(loss_of(chain[-1][rows], y[rows], *self.loss_parameters, **self.reduction))
            for rows, part in parts
        )
        penalised = list(self.penalised(y, weights))
        loss += sum(reference.penalty(self.parameters[name], l1, l2) for name, l1, l2 in penalised)
        if not backward:
            return loss, {}
        loss_backward = getattr(reference, f"{self.loss}_backward")
        gradient = np.vstack(
            [
                part * loss_backward(chain[-1][rows], y[rows], *self.loss_parameters, **self.reduction)
                for rows, part in parts
            ]
        )
        gradients, gx = self.backward(chain, gradient, training=training)
        for name, l1, l2 in penalised:
            reference.add_penalty(self.parameters[name], gradients[name], l1, l2)
        return loss, gradients | {"x": gx}

    def train_step(
        self, x: np.ndarray, y: np.ndarray, optimizer: Optimizer, weights: np.ndarray | None = None
    ) -> float:
        """Make one step, always with the same kind of optimizer."""
        values = self.hyperparameters(optimizer)
        loss, gradients = self.loss_and_gradient(x, y, training=True, weights=weights)
        self.go_on(self.forward(x, training=True))
        self.updates += 1
        frozen = {name for stage in self.stages if not stage.layer.trainable for name in stage.names.values()}
        trained = {name: parameters for name, parameters in self.parameters.items() if name not in frozen}
        norm = np.sqrt(sum(reference.square_sum(gradients[name]) for name in trained))
        scale = min(1.0, values.clip_norm / (norm + 1e-6))
        before = self.product
        for name, parameters in trained.items():
            own = values if values.decay_biases or name[0] in "WE" else values._replace(weight_decay=0.0)
            moments = self.moments.setdefault(name, begun(values, parameters))
            self.product = update(reference, own, parameters, gradients[name], moments, self.updates, before, scale)
            if values.average_decay is not None:
                average = self.averages.setdefault(name, parameters.copy())
                reference.average(average, parameters, 1 - values.average_decay)
        return loss

    def hyperparameters(self, optimizer: Optimizer) -> Hyperparameters:
        """The hyperparameters of the next step, with those that a schedule by step computes."""
        values = optimizer.values()
        if not isinstance(optimizer.learning_rate, Schedule):
            return values
        rate, momentum = optimizer.learning_rate.at(self.updates)
        values = values._replace(learning_rate=rate)
        return values if momentum is None else values._replace(beta1=momentum, momentum=momentum)

    def go_on(self, chain: list[np.ndarray]) -> None:
        """Update the noise counter and the running statistics, as a forward pass in training does."""
        self.noise_steps += 1
        for s, stage in enumerate(self.stages):
            if stage.kind == "batch_norm" and stage.layer.trainable:
                x, momentum = chain[s], stage.layer.momentum
                for role, value in (("mean", x.mean(axis=0)), ("variance", x.var(axis=0, ddof=1))):
                    running = self.statistics[stage.names[role]]
                    running += momentum * (value - running)

    def batches(self, n: int, batch_size: int, steps: int) -> Iterator[np.ndarray]:
        """The rows of each mini-batch: each epoch draws a number that determines its order."""
        order = np.arange(n)
        for step in range(steps):
            at = step % -(-n // batch_size) * batch_size
            if at == 0 and self.bit_generator is not None:
                order = np.arange(n)
                reference.shuffle(order, int(self.bit_generator.random_raw()))
            yield order[at : at + batch_size]

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int, optimizer: Optimizer) -> list[float]:
        """The loss of each step."""
        return [self.train_step(x[rows], y[rows], optimizer) for rows in self.batches(len(x), batch_size, steps)]


def book_gradient(f: Callable[[], float], array: np.ndarray, h: float) -> np.ndarray:
    """The loop of chapter 4.4 of Saito's book: increase and decrease each number of `array`, and call `f` each time."""
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
    for s, stage in enumerate(twin.stages):
        z = chain[s]
        if stage.kind == "dense":
            z = reference.dense(z, twin.array(stage, "W"), twin.array(stage, "b"))
        for kink in KINKS.get(twin.activations[s], ()):
            keep &= np.abs(z - kink).min(axis=1) > margin
    return keep


def state(net: nf.Sequential) -> tuple[str, dict[str, bytes], object]:
    """The whole state of a network, for comparison: parameters, optimizer, random streams, and its history object."""
    description, arrays = states.to_state(net._network)
    return json.dumps(description), {name: array.tobytes() for name, array in arrays.items()}, net.history


def state_of_steps(net: nf.Sequential) -> tuple[str, dict[str, bytes]]:
    """The same without the place in an epoch and the history, which steps outside of `fit` do not change."""
    description, arrays = states.to_state(net._network)
    description.pop("place", None)
    return json.dumps(description), {name: array.tobytes() for name, array in arrays.items()}


@contextmanager
def unchanged(net: nf.Sequential) -> Iterator[None]:
    """Check that the block leaves a network unchanged."""
    before = state(net)
    yield
    assert state(net) == before
