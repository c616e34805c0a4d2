"""One table of all that has a gradient: each layer, activation, loss and optimizer is a row.

An addition to nnfast is one row here; tests/test_gradient_cases.py names what has none, and makes networks of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.random import default_rng

import nnfast as nf
from nnfast.optimizers import Optimizer

# ---- the table

# A layer of so many units with an activation, for a hidden, first or last place.
LAYERS: dict[str, Callable[[int, str], nf.Dense]] = {
    "Dense": lambda units, activation: nf.Dense(
        units, activation, bias_initializer=default_rng(units).normal(size=units)
    ),
}


@dataclass(frozen=True)
class Activation:
    """Has a kink where its derivative jumps; one that `mixes` makes a row's outputs from all of them, so needs two."""

    kinks: bool = False
    mixes: bool = False


ACTIVATIONS = {
    "identity": Activation(),
    "step": Activation(kinks=True),
    "sigmoid": Activation(),
    "tanh": Activation(),
    "relu": Activation(kinks=True),
    "leaky_relu": Activation(kinks=True),
    "elu": Activation(),
    "selu": Activation(kinks=True),
    "hard_sigmoid": Activation(kinks=True),
    "gelu": Activation(),
    "gelu_tanh": Activation(),
    "silu": Activation(),
    "softplus": Activation(),
    "softmax": Activation(mixes=True),
    "log_softmax": Activation(mixes=True),
}


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


CLASSES, ANSWERS = (labels, one_hot, shares), (zeros_and_ones, chances)


@dataclass(frozen=True)
class Loss:
    """Which output layers it fits, with which targets, and the kernels behind it: what they take for a prediction."""

    kernels: dict[str, Callable[[np.ndarray], np.ndarray]]
    targets: dict[str, tuple[Callable[[np.ndarray], np.ndarray], ...]] = field(
        default_factory=lambda: {name: CLASSES if name == "softmax" else (values,) for name in ACTIVATIONS}
    )
    make: Callable[[], nf.losses.Loss] | None = None  # where the name is not enough
    parameters: tuple[object, ...] = ()  # of the kernels, for three outputs


LOSSES = {
    "cross_entropy": Loss({"cross_entropy": shares, "softmax_cross_entropy": values}, {"softmax": CLASSES}),
    "binary_cross_entropy": Loss(
        {"binary_cross_entropy": chances, "sigmoid_binary_cross_entropy": values}, {"sigmoid": ANSWERS}
    ),
    "mean_squared_error": Loss({"mean_squared_error": values}),
    "sum_squared_error": Loss({"sum_squared_error": values}),
    "mean_absolute_error": Loss({"mean_absolute_error": values}),
    "huber": Loss({"huber": values}, make=lambda: nf.losses.Huber(0.7), parameters=(0.7,)),
    "log_cosh": Loss({"log_cosh": values}),
    "poisson": Loss({"poisson": values}, {"identity": (counts,)}),
    "quantile": Loss(
        {"quantile": values},
        {name: (values,) for name, row in ACTIVATIONS.items() if not row.mixes},
        make=lambda: nf.losses.Quantile(0.3),
        parameters=(np.array([0.1, 0.5, 0.8]),),
    ),
    "hinge": Loss({"hinge": values}, dict.fromkeys(("identity", "tanh"), (signs,))),
    "kl_divergence": Loss({"kl_divergence": logarithms, "softmax_kl_divergence": values}, {"softmax": CLASSES}),
}


def loss_of(name: str) -> nf.losses.Loss | str:
    """What a network takes for its loss."""
    make = LOSSES[name].make
    return name if make is None else make()


# Large steps, though log_softmax, which has no bound below, diverges at larger ones. Epsilon keeps Adam from dividing
# the error of a difference by a gradient that is as small.
OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: nf.SGD(0.1),
    "adam": lambda: nf.Adam(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2),
    "adamw": lambda: nf.AdamW(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2, weight_decay=0.5),
    "nadam": lambda: nf.NAdam(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2, weight_decay=0.01),
    "adagrad": lambda: nf.Adagrad(0.05, epsilon=1e-2, initial_accumulator_value=0.1, learning_rate_decay=0.1),
    "rmsprop": lambda: nf.RMSprop(0.01, alpha=0.9, epsilon=1e-1, momentum=0.5, centered=True),
    "adadelta": lambda: nf.Adadelta(0.5, rho=0.8, epsilon=1e-2),
}

# ---- networks of it

ROWS, FEATURES = 9, 4
SEED = 3


@dataclass(frozen=True)
class Case:
    """A network by its layers' activations, and targets that it can learn something from."""

    layer: str
    activations: tuple[str, ...]
    units: int  # outputs
    loss: str
    targets: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        return "-".join((self.layer, *self.activations, str(self.units), self.loss, self.targets.__name__))

    def network(self, dtype: str = "float64") -> nf.Sequential:
        *hidden, output = self.activations
        layers = [LAYERS[self.layer](5 + i, name) for i, name in enumerate(hidden)]
        layers.append(LAYERS[self.layer](self.units, output))
        return nf.Sequential(layers, input_shape=FEATURES, loss=loss_of(self.loss), dtype=dtype, seed=SEED)

    def data(self, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
        rng = default_rng(11)
        x = rng.normal(size=(rows, FEATURES))
        x[rng.random(x.shape) < 0.2] = 0  # some inputs change nothing
        return x, self.targets(np.tanh(x @ rng.normal(size=(FEATURES, self.units))))

    @property
    def flat(self) -> bool:
        """Whether all gradients are zero."""
        return self.activations[-1] == "step"


def cases() -> Iterator[Case]:
    """Each activation first, hidden and last, alone and with others; each loss with each output layer and target."""
    for layer in LAYERS:
        for loss, row in LOSSES.items():
            for output, targets in row.targets.items():
                for units in (3,) if ACTIVATIONS[output].mixes else (1, 3):
                    for target in targets:
                        for depth in (1, 2):
                            yield Case(layer, ("tanh",) * (depth - 1) + (output,), units, loss, target)
        for name in ACTIVATIONS:
            for loss, output in (("cross_entropy", "softmax"), ("mean_squared_error", "identity")):
                target = LOSSES[loss].targets[output][-1]
                for hidden in ((name,), ("sigmoid", name), (name, name), (name, "tanh", name)):
                    yield Case(layer, (*hidden, output), 3, loss, target)


CASES = list(cases())
