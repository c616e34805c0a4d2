"""One table of everything that has a gradient: each layer, activation and loss is a row.

Each addition to nnfast needs a row here; tests/test_gradient_cases.py and tests/test_contract.py report what has none,
and all tests of layers build their networks from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.random import default_rng

import nnfast as nf

# ---- the table


def columns(width: int) -> list[nf.columns.Column]:
    """Each kind of column with one output: a code is known where an input is 0."""
    kinds = [nf.columns.Embedding(3, 1), nf.columns.Number(clip=1.5), nf.columns.Flag(), nf.columns.OneHot(2)]
    return [kinds[i % 4] for i in range(width)]


# Layers whose output is as wide as their input, by class and special options.
LAYERS: dict[str, Callable[[int], nf.layers.Layer]] = {
    "Dense": lambda width: nf.Dense(width, "tanh"),
    "Dense without bias": lambda width: nf.Dense(width, "gelu", use_bias=False),
    "Dense with penalties": lambda width: nf.Dense(width, "softplus", l1=0.02, l2=0.03),
    "Dense with penalties in the sum": lambda width: nf.Dense(width, "tanh", l1=0.1, l2=0.2, penalty="sum"),
    "Dense frozen": lambda width: nf.Dense(width, "silu", trainable=False, l2=0.03),
    "Activation": lambda width: nf.Activation(nf.activations.Softplus(2.0)),
    "Rescaling": lambda width: nf.Rescaling(-0.7, 0.2),
    "Dropout": lambda width: nf.Dropout(0.4),
    "GaussianNoise": lambda width: nf.GaussianNoise(0.3),
    "BatchNorm": lambda width: nf.BatchNorm(momentum=0.3, epsilon=1e-3),
    "BatchNorm with penalties": lambda width: nf.BatchNorm(l1=0.02, l2=0.03),
    "BatchNorm with penalties in the sum": lambda width: nf.BatchNorm(l1=0.1, l2=0.2, penalty="sum"),
    "BatchNorm without gamma": lambda width: nf.BatchNorm(affine=False),
    "BatchNorm frozen": lambda width: nf.BatchNorm(trainable=False),
    "LayerNorm": lambda width: nf.LayerNorm(epsilon=1e-3),
    "LayerNorm with penalties": lambda width: nf.LayerNorm(l1=0.02, l2=0.03),
    "LayerNorm with penalties in the sum": lambda width: nf.LayerNorm(l1=0.1, l2=0.2, penalty="sum"),
    "LayerNorm without gamma": lambda width: nf.LayerNorm(affine=False),
    "LayerNorm frozen": lambda width: nf.LayerNorm(trainable=False),
    "Scale": lambda width: nf.Scale(gamma_initializer=-0.7, beta_initializer=0.2),
    "Scale with penalties": lambda width: nf.Scale(l1=0.02, l2=0.03),
    "Scale with penalties in the sum": lambda width: nf.Scale(l1=0.1, l2=0.2, penalty="sum"),
    "Scale without beta": lambda width: nf.Scale(use_bias=False),
    "Scale frozen": lambda width: nf.Scale(trainable=False),
    "ColumnEncoding": lambda width: nf.ColumnEncoding(columns(width)),
    "ColumnEncoding with penalties": lambda width: nf.ColumnEncoding(columns(width), l1=0.02, l2=0.03),
    "ColumnEncoding with penalties in the sum": lambda width: nf.ColumnEncoding(
        columns(width), l1=0.1, l2=0.2, penalty="sum"
    ),
    "ColumnEncoding without embeddings": lambda width: nf.ColumnEncoding([nf.columns.Number(clip=0.7)] * width),
    "ColumnEncoding frozen": lambda width: nf.ColumnEncoding(columns(width), trainable=False),
    "Flatten": lambda width: nf.Flatten(),
    "Reshape": lambda width: nf.Reshape((-1,)),
    "Residual of nothing": lambda width: nf.Residual([nf.Reshape((1, width)), nf.Flatten()]),
    "Residual": lambda width: nf.Residual([nf.Dense(width + 2, "gelu_tanh"), nf.Dense(width)]),
    "Residual of norms": lambda width: nf.Residual([nf.BatchNorm(), nf.Dropout(0.2), nf.LayerNorm()]),
    "Residual of residual sums": lambda width: nf.Residual(
        [
            nf.Residual([nf.Dense(width, "silu"), nf.BatchNorm(epsilon=0.1), nf.GaussianNoise(0.1)]),
            nf.Residual([nf.Dropout(0.3)]),
        ]
    ),
}


ACTIVATIONS = {name: nf.activations.resolve_activation(name) for name in nf.activations.NAMES}


def labels(score: np.ndarray) -> np.ndarray:
    return score.argmax(axis=1)


def one_hot(score: np.ndarray) -> np.ndarray:
    return np.eye(score.shape[1])[labels(score)]


def shares(score: np.ndarray) -> np.ndarray:
    return np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)


def zeros_and_ones(score: np.ndarray) -> np.ndarray:
    return (score > 0).astype(np.float64)


def chances(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-score))


def values(score: np.ndarray) -> np.ndarray:
    return score


def counts(score: np.ndarray) -> np.ndarray:
    return np.floor(1.5 * np.exp(score))


def signs(score: np.ndarray) -> np.ndarray:
    return np.where(score > 0, 1.0, -1.0)


def logarithms(score: np.ndarray) -> np.ndarray:
    return np.log(shares(score))


MIXING = tuple(name for name, row in ACTIVATIONS.items() if row.mixes)
CLASSES, ANSWERS = (labels, one_hot, shares), (zeros_and_ones, chances)


@dataclass(frozen=True)
class Loss:
    """The output layers and targets that a loss fits, its kernels, and what these take as the prediction."""

    kernels: dict[str, Callable[[np.ndarray], np.ndarray]]
    targets: dict[str, tuple[Callable[[np.ndarray], np.ndarray], ...]] = field(
        default_factory=lambda: {name: CLASSES if name == "softmax" else (values,) for name in ACTIVATIONS}
    )
    make: Callable[[], nf.losses.Loss] | None = None  # if the name is not enough
    parameters: tuple[object, ...] = ()  # of the kernels, for three outputs


LOSSES = {
    "cross_entropy": Loss({"cross_entropy": shares, "softmax_cross_entropy": values}, dict.fromkeys(MIXING, CLASSES)),
    "binary_cross_entropy": Loss(
        {"binary_cross_entropy": chances, "sigmoid_binary_cross_entropy": values}, {"sigmoid": ANSWERS}
    ),
    "mean_squared_error": Loss({"mean_squared_error": values}),
    "sum_squared_error": Loss({"sum_squared_error": values}),
    "mean_absolute_error": Loss({"mean_absolute_error": values}),
    "huber": Loss({"huber": values}, make=lambda: nf.losses.Huber(0.7), parameters=(0.7,)),
    "log_cosh": Loss({"log_cosh": values}),
    "poisson": Loss({"poisson": values}, dict.fromkeys(("identity", "leaky_relu"), (counts,))),
    "quantile": Loss(
        {"quantile": values},
        {name: (values,) for name, row in ACTIVATIONS.items() if not row.mixes},
        make=lambda: nf.losses.Quantile(0.3),
        parameters=(np.array([0.1, 0.5, 0.8]),),
    ),
    "hinge": Loss({"hinge": values}, dict.fromkeys(("identity", "tanh"), (signs,))),
    "focal": Loss({"focal": shares, "softmax_focal": values}, dict.fromkeys(MIXING, CLASSES)),
    "binary_focal": Loss({"binary_focal": chances, "sigmoid_binary_focal": values}, {"sigmoid": ANSWERS}),
    "kl_divergence": Loss(
        {"kl_divergence": logarithms, "softmax_kl_divergence": values}, dict.fromkeys(MIXING, CLASSES)
    ),
}


def loss_of(name: str) -> nf.losses.Loss | str:
    """The `loss` argument of a network."""
    make = LOSSES[name].make
    return name if make is None else make()


# ---- networks from the table

ROWS, FEATURES = 9, 4
SEED = 3


def dense(units: int, activation: str) -> nf.Dense:
    return nf.Dense(units, activation, bias_initializer=default_rng(units).normal(size=units))


def inputs(rows: int, rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(rows, FEATURES))
    x[rng.random(x.shape) < 0.2] = 0  # some inputs have no effect
    return x


@dataclass(frozen=True)
class Case:
    """A network, given by its layers' activations, and targets from which it can learn."""

    activations: tuple[str, ...]
    units: int  # outputs
    loss: str
    targets: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        return "-".join((*self.activations, str(self.units), self.loss, self.targets.__name__))

    def network(self, dtype: str = "float64") -> nf.Sequential:
        *hidden, output = self.activations
        layers = [dense(5 + i, name) for i, name in enumerate(hidden)]
        layers.append(dense(self.units, output))
        return nf.Sequential(layers, input_shape=FEATURES, loss=loss_of(self.loss), dtype=dtype, seed=SEED)

    def data(self, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
        x = inputs(rows, default_rng(11))
        return x, self.targets(np.tanh(x @ default_rng(12).normal(size=(FEATURES, self.units))))

    @property
    def flat(self) -> bool:
        """Whether all gradients are zero."""
        return ACTIVATIONS[self.activations[-1]].flat


def cases() -> Iterator[Case]:
    """Each activation first, hidden and last, alone and with others; each loss with each output layer and target."""
    for loss, row in LOSSES.items():
        for output, targets in row.targets.items():
            for units in (3,) if ACTIVATIONS[output].mixes else (1, 3):
                for target in targets:
                    for depth in (1, 2):
                        yield Case(("tanh",) * (depth - 1) + (output,), units, loss, target)
    for name in ACTIVATIONS:
        for loss, output in (("cross_entropy", "softmax"), ("mean_squared_error", "identity")):
            target = LOSSES[loss].targets[output][-1]
            for hidden in ((name,), ("sigmoid", name), (name, name), (name, "tanh", name)):
                yield Case((*hidden, output), 3, loss, target)


CASES = list(cases())

# The positions of a layer: each maps a function that makes the layer for a width to a chain of layers.
PLACES: dict[str, Callable[[Callable[[int], nf.layers.Layer]], list[nf.layers.Layer]]] = {
    "alone": lambda make: [make(FEATURES)],
    "first": lambda make: [make(FEATURES), nf.Dense(5, "sigmoid"), nf.Dense(3, "softmax")],
    "in the middle": lambda make: [nf.Dense(6, "tanh"), make(6), nf.Dense(3, "sigmoid")],
    "last": lambda make: [nf.Dense(5, "silu"), nf.Dense(3), make(3)],
    "before a softmax": lambda make: [nf.Dense(3, "tanh"), make(3), nf.Activation("softmax")],
}


@dataclass(frozen=True)
class LayerCase:
    """A network that contains a layer of some kind, in the middle of training."""

    layer: str
    place: str
    training: bool
    weighted: bool

    def __str__(self) -> str:
        mode = "training" if self.training else "not training"
        return "-".join((self.layer, self.place, mode, *(["weights"] if self.weighted else [])))

    @property
    def arguments(self) -> dict[str, object]:
        return {"training": self.training, "sample_weight": self.weights()}

    def weights(self, rows: int = ROWS) -> np.ndarray | None:
        return np.where(np.arange(rows) == 2, 0.0, 0.5 + np.arange(rows) % 3) if self.weighted else None

    def network(self, dtype: str = "float64") -> nf.Sequential:
        layers = PLACES[self.place](LAYERS.get(self.layer) or (lambda width: nf.Activation(self.layer)))
        net = nf.Sequential(layers, input_shape=FEATURES, dtype=dtype, seed=SEED)
        rng = default_rng(5)
        net.flat_params[:] += 0.3 * rng.normal(size=net.n_parameters)
        for name, view in net.statistics.items():
            view[:] = rng.uniform(0.5, 1.5, len(view)) if name.startswith("variance") else rng.normal(size=len(view))
        net.forward(inputs(ROWS, rng), training=True)  # advances the noise
        return net

    def data(self, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
        rng = default_rng(11)
        x = inputs(rows, rng) + (0.01 if self.layer in ACTIVATIONS else 0)  # no input at a kink
        score = np.tanh(x @ rng.normal(size=(FEATURES, FEATURES if self.place == "alone" else 3)))
        net = self.network()
        return x, LOSSES[net.loss_name].targets[net.layers[-1].activation][-1](score)


def layer_cases() -> Iterator[LayerCase]:
    """Each layer in each position, in inference and in training, with and without sample weights."""
    for layer in LAYERS:
        for place in PLACES:
            yield LayerCase(layer, place, training=False, weighted=True)
            yield LayerCase(layer, place, training=True, weighted=place == "in the middle")
    for name in ACTIVATIONS:
        for place in ("first", "in the middle", "last"):
            yield LayerCase(name, place, training=True, weighted=False)


LAYER_CASES = list(layer_cases())
