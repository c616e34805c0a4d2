"""The table of optimizers: what tests need to know of each, beside its description and the signature of its twin.

Each optimizer needs a row here; tests/test_contract.py names those without one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

import nnfast as nf
from nnfast.optimizers import Hyperparameters, Optimizer


@dataclass(frozen=True)
class ByHand:
    """One step, computed by hand: the arguments of the twin by name, lists in place of arrays, and what follows."""

    arguments: dict[str, Any]
    after: dict[str, list[float]]
    returned: float | None = None


# f(optimizer, parameters, gradient, steps): the parameters after so many steps; gradient(parameters, step), from step 1
Program = Callable[[Optimizer, np.ndarray, Callable[[np.ndarray, int], np.ndarray], int], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What tests need to know of one optimizer.

    Attributes
    ----------
    make
        Makes the optimizer with which tests train networks, at a large learning rate. (But log_softmax, which is
        unbounded below, diverges at larger ones.) An epsilon keeps Adam and others from dividing the error of a
        numerical gradient by an equally small gradient.
    by_hand
        Steps that were computed by hand.
    options
        Keyword arguments of its twin, beside those that all have; None stands for an array.
    pytorch
        Hyperparameters with which it is compared with PyTorch's optimizer of the same name: each option, and all of
        them together. Empty if PyTorch has none.
    program
        Its source, written out in plain NumPy: required if PyTorch has none.
    defaults
        The hyperparameters that its source recommends: required if PyTorch has none.
    jumps
        Whether a step jumps where some sum passes through zero. The sums of its kernel are exact then if the
        hyperparameters are powers of two: it is compared with its twin on such numbers.
    """

    make: Callable[[], Optimizer]
    by_hand: tuple[ByHand, ...]
    options: tuple[dict[str, Any], ...] = ()
    pytorch: tuple[dict[str, Any], ...] = ()
    program: Program | None = None
    defaults: dict[str, float] = field(default_factory=dict)
    jumps: bool = False
    hyperparameters: dict[str, float] = field(default_factory=dict)  # in place of those below


# The hyperparameters of twins, by name.
HYPERPARAMETERS = {
    "learning_rate": 0.1,
    "learning_rate_decay": 0.01,
    "alpha": 0.9,
    "rho": 0.9,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-6,
    "momentum_decay": 0.004,
    "product": 0.3,
    "step": 3,
}
NOT_NEGATIVE = ("total", "square", "square_change", "second_moment", "largest")  # moments that are sums of squares


def adam(
    optimizer: nf.Adam, p: np.ndarray, gradient: Callable[[np.ndarray, int], np.ndarray], steps: int
) -> np.ndarray:
    """Kingma and Ba (2015), algorithm 1."""
    m = v = np.zeros_like(p)
    for t in range(1, steps + 1):
        g = gradient(p, t)
        m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
        v = optimizer.beta2 * v + (1 - optimizer.beta2) * g**2
        corrected_m, corrected_v = m / (1 - optimizer.beta1**t), v / (1 - optimizer.beta2**t)
        p = p - optimizer.learning_rate * corrected_m / (np.sqrt(corrected_v) + optimizer.epsilon)
    return p


def lion(
    optimizer: nf.Lion, p: np.ndarray, gradient: Callable[[np.ndarray, int], np.ndarray], steps: int
) -> np.ndarray:
    """Chen et al. (2023), algorithm 2."""
    m = np.zeros_like(p)
    for t in range(1, steps + 1):
        g = gradient(p, t)
        c = optimizer.beta1 * m + (1 - optimizer.beta1) * g
        p = p - optimizer.learning_rate * (np.where(c > 0, 1, np.where(c < 0, -1, 0)) + optimizer.weight_decay * p)
        m = optimizer.beta2 * m + (1 - optimizer.beta2) * g
    return p


ADAM_OPTIONS = {"learning_rate": 0.01, "beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3}

OPTIMIZERS = {
    "sgd": Row(
        make=lambda: nf.SGD(0.1),
        by_hand=(
            ByHand({"parameters": [1, -2], "gradient": [4, -8], "learning_rate": 0.25}, {"parameters": [0, 0]}),
            ByHand(  # the first momentum is the whole gradient
                {
                    "parameters": [1], "gradient": [2], "learning_rate": 0.5, "buffer": [0], "momentum": 0.5,
                    "dampening": 0.5, "step": 1,
                },
                {"parameters": [0], "buffer": [2]},
            ),
            ByHand(
                {
                    "parameters": [1, -2], "gradient": [2, 4], "learning_rate": 0.5, "buffer": [4, -8], "momentum": 0.5,
                    "dampening": 0.5, "step": 2,
                },
                {"parameters": [-0.5, -1], "buffer": [3, -2]},
            ),
            ByHand(
                {
                    "parameters": [-0.5, -1], "gradient": [1, 2], "learning_rate": 0.5, "buffer": [3, -2],
                    "momentum": 0.5, "nesterov": True, "step": 3,
                },
                {"parameters": [-1.625, -2.25], "buffer": [2.5, 1]},
            ),
            ByHand(  # scaled, then clipped, then with weight decay
                {
                    "parameters": [1, -2, 4], "gradient": [4, -8, 1], "learning_rate": 1.0, "gradient_scale": 0.5,
                    "clip_value": 3.0, "weight_decay": 0.25,
                },
                {"parameters": [1 - 2 - 0.25, -2 + 3 + 0.5, 4 - 0.5 - 1]},
            ),
        ),
        options=(
            {"buffer": None, "momentum": 0.9, "step": 2},
            {"buffer": None, "momentum": 0.9, "dampening": 0.25, "step": 2},
            {"buffer": None, "momentum": 0.9, "dampening": 0.25, "step": 1},
            {"buffer": None, "momentum": 0.9, "nesterov": True, "step": 2, "weight_decay": 0.1, "clip_value": 0.5},
        ),
        pytorch=(
            {"learning_rate": 0.05},
            {"learning_rate": 0.05, "momentum": 0.9},
            {"learning_rate": 0.05, "momentum": 0.9, "dampening": 0.5},
            {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
            {"learning_rate": 0.05, "weight_decay": 0.1},
            {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
            {"learning_rate": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
        ),
    ),
    "adam": Row(
        make=lambda: nf.Adam(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2),
        by_hand=(
            ByHand(  # the first step: both corrected moments are those of the gradient alone
                {
                    "parameters": [0, 0], "gradient": [4, -8], "first_moment": [0, 0], "second_moment": [0, 0],
                    "learning_rate": 0.5, "beta1": 0.75, "beta2": 0.9375, "epsilon": 0.0, "step": 1,
                },
                {"parameters": [-0.5, 0.5], "first_moment": [1, -2], "second_moment": [1, 4]},
            ),
            ByHand(  # the second: m = 0.75 m, v = 0.9375 v, corrections 0.4375 and 0.12109375
                {
                    "parameters": [-0.5, 0.5], "gradient": [0, 0], "first_moment": [1, -2], "second_moment": [1, 4],
                    "learning_rate": 0.5, "beta1": 0.75, "beta2": 0.9375, "epsilon": 1.0, "step": 2,
                },
                {
                    "parameters": [
                        -0.5 - 0.5 * 0.75 / 0.4375 / ((0.9375 / 0.12109375) ** 0.5 + 1),
                        0.5 + 0.5 * 1.5 / 0.4375 / ((3.75 / 0.12109375) ** 0.5 + 1),
                    ],
                    "first_moment": [0.75, -1.5],
                    "second_moment": [0.9375, 3.75],
                },
            ),
            ByHand(  # epsilon hat: 0.5 * sqrt(0.12109375) / 0.4375 * m / (sqrt(v) + 1)
                {
                    "parameters": [-0.5, 0.5], "gradient": [0, 0], "first_moment": [1, -2], "second_moment": [1, 4],
                    "learning_rate": 0.5, "beta1": 0.75, "beta2": 0.9375, "epsilon": 1.0, "step": 2,
                    "corrected_epsilon": True,
                },
                {
                    "parameters": [
                        -0.5 - 0.5 * 0.12109375**0.5 / 0.4375 * 0.75 / (0.9375**0.5 + 1),
                        0.5 + 0.5 * 0.12109375**0.5 / 0.4375 * 1.5 / (3.75**0.5 + 1),
                    ],
                    "first_moment": [0.75, -1.5],
                    "second_moment": [0.9375, 3.75],
                },
            ),
            ByHand(  # with AMSGrad: a rate of 2 * sqrt(0.25) / 0.5, and the root of the largest of 9 and 0.75 * 4
                {
                    "parameters": [1], "gradient": [0], "first_moment": [4], "second_moment": [4],
                    "learning_rate": 2.0, "beta1": 0.5, "beta2": 0.75, "epsilon": 1.0, "step": 1, "largest": [9],
                    "corrected_epsilon": True,
                },
                {"parameters": [1 - 2 * 2 / (3 + 1)], "first_moment": [2], "second_moment": [3], "largest": [9]},
            ),
            ByHand(  # AMSGrad
                {
                    "parameters": [1, 1], "gradient": [0, 0], "first_moment": [0, 0], "second_moment": [2, 8],
                    "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.5, "epsilon": 1.0, "step": 1, "largest": [4, 2],
                },
                {"parameters": [1, 1], "second_moment": [1, 4], "largest": [4, 4]},
            ),
        ),
        options=(
            {"largest": None},
            {"corrected_epsilon": True},
            {"corrected_epsilon": True, "largest": None, "weight_decay": 0.1},
            {"decoupled_weight_decay": True, "weight_decay": 0.1, "clip_value": 0.5},
        ),
        pytorch=(
            {"learning_rate": 0.01},
            ADAM_OPTIONS,
            {"learning_rate": 0.01, "amsgrad": True, "beta2": 0.8},
            {"learning_rate": 0.01, "weight_decay": 0.1},
            {"learning_rate": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
            {"learning_rate": 0.01, "amsgrad": True, "beta2": 0.8, "weight_decay": 0.1},
        ),
        program=adam,
        defaults={"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    ),
    "adamw": Row(
        make=lambda: nf.AdamW(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2, weight_decay=0.5),
        by_hand=(
            ByHand(
                {
                    "parameters": [1, -2], "gradient": [0, 0], "first_moment": [0, 0], "second_moment": [0, 0],
                    "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.5, "epsilon": 1.0, "step": 1, "weight_decay": 0.5,
                },
                {"parameters": [0.75, -1.5]},
            ),
            ByHand(  # epsilon hat: the decay, then a rate of 2 * sqrt(0.25) / 0.5 times 2 / (sqrt(0.75 * 12) + 1)
                {
                    "parameters": [4], "gradient": [0], "first_moment": [4], "second_moment": [12],
                    "learning_rate": 2.0, "beta1": 0.5, "beta2": 0.75, "epsilon": 1.0, "step": 1, "weight_decay": 0.25,
                    "corrected_epsilon": True,
                },
                {"parameters": [2 - 2 * 2 / (3 + 1)], "first_moment": [2], "second_moment": [9]},
            ),
        ),
        options=({"largest": None, "weight_decay": 0.1}, {"corrected_epsilon": True}),
        pytorch=(
            {"learning_rate": 0.01},
            {"learning_rate": 0.01, "weight_decay": 0.0},
            ADAM_OPTIONS,
            {"learning_rate": 0.01, "weight_decay": 0.5, "amsgrad": True, "beta2": 0.8},
        ),
    ),
    "nadam": Row(
        make=lambda: nf.NAdam(0.02, beta1=0.8, beta2=0.9, epsilon=1e-2, weight_decay=0.01),
        by_hand=(
            ByHand(  # the first step, without decay of the momentum, which is half of beta1 then
                {
                    "parameters": [1], "gradient": [4], "first_moment": [0], "second_moment": [0],
                    "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.75, "epsilon": 1.0, "momentum_decay": 0.0,
                    "product": 1.0, "step": 1,
                },
                {
                    "parameters": [1 - 0.5 * (0.75 / 0.75 * 4 + 0.25 / (1 - 0.25 * 0.25) * 2) / (4 + 1)],
                    "first_moment": [2],
                    "second_moment": [4],
                },
                returned=0.25,
            ),
        ),
        options=({"decoupled_weight_decay": True, "weight_decay": 0.1},),
        pytorch=(
            {"learning_rate": 0.01},
            {"learning_rate": 0.01, "momentum_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
            {"learning_rate": 0.01, "weight_decay": 0.1},
            {"learning_rate": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
        ),
    ),
    "lion": Row(
        make=lambda: nf.Lion(0.01, beta1=0.8, beta2=0.9, weight_decay=0.5),
        by_hand=(
            ByHand(  # the signs of 0, -3, 4 and 0
                {
                    "parameters": [1, -2, 3, 0.5], "gradient": [4, -8, 6, 0], "mean": [-4, 2, 2, 0],
                    "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.75,
                },
                {"parameters": [1, -1.5, 2.5, 0.5], "mean": [-2, -0.5, 3, 0]},
            ),
            ByHand(  # the gradients are 2 and -1; the parameters first shrink by a quarter
                {
                    "parameters": [1, -2], "gradient": [8, -1], "mean": [0, 0], "learning_rate": 0.5, "beta1": 0.5,
                    "beta2": 0.75, "clip_value": 2.0, "weight_decay": 0.5,
                },
                {"parameters": [0.75 - 0.5, -1.5 + 0.5], "mean": [0.5, -0.25]},
            ),
            ByHand(  # with beta1 = 0 the gradient alone decides, however small it is beside the mean
                {
                    "parameters": [1], "gradient": [2.0**-100], "mean": [-1], "learning_rate": 0.5, "beta1": 0.0,
                    "beta2": 1.0,
                },
                {"parameters": [0.5], "mean": [-1]},
            ),
        ),
        program=lion,
        defaults={"learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0},
        jumps=True,
        hyperparameters={"beta1": 0.75},
    ),
    "adagrad": Row(
        make=lambda: nf.Adagrad(0.05, epsilon=1e-2, initial_accumulator_value=0.1, learning_rate_decay=0.1),
        by_hand=(
            ByHand(  # a rate of 3 / (1 + 2 * 0.5)
                {
                    "parameters": [1], "gradient": [4], "total": [9], "learning_rate": 3.0, "learning_rate_decay": 0.5,
                    "epsilon": 1.0, "step": 3,
                },
                {"parameters": [0], "total": [25]},
            ),
        ),
        pytorch=(
            {"learning_rate": 0.1},
            {"learning_rate": 0.1, "learning_rate_decay": 0.05, "epsilon": 1e-3},
            {"learning_rate": 0.1, "initial_accumulator_value": 0.5},
            {"learning_rate": 0.1, "learning_rate_decay": 0.05, "initial_accumulator_value": 0.5, "weight_decay": 0.1},
        ),
    ),
    "rmsprop": Row(
        make=lambda: nf.RMSprop(0.01, alpha=0.9, epsilon=1e-1, momentum=0.5, centered=True),
        by_hand=(
            ByHand(  # divided by the root of 10 - 1, plus 1
                {
                    "parameters": [1], "gradient": [4], "square": [8], "learning_rate": 0.5, "alpha": 0.75,
                    "epsilon": 1.0, "mean": [0], "buffer": [1], "momentum": 0.5,
                },
                {"parameters": [1 - 0.5 * 1.5], "square": [10], "mean": [1], "buffer": [0.5 + 4 / (3 + 1)]},
            ),
        ),
        options=(
            {"mean": None},
            {"buffer": None, "momentum": 0.9},
            {"mean": None, "buffer": None, "momentum": 0.9, "weight_decay": 0.1},
        ),
        pytorch=(
            {"learning_rate": 0.01},
            {"learning_rate": 0.01, "alpha": 0.8, "epsilon": 1e-3},
            {"learning_rate": 0.01, "momentum": 0.8},
            {"learning_rate": 0.01, "centered": True, "epsilon": 1e-2},
            {"learning_rate": 0.01, "momentum": 0.8, "centered": True, "epsilon": 1e-2, "weight_decay": 0.1},
        ),
    ),
    "adadelta": Row(
        make=lambda: nf.Adadelta(0.5, rho=0.8, epsilon=1e-2),
        by_hand=(
            ByHand(  # a quarter of 4 and three of 8; the step is sqrt((3 + 1) / (7 + 1)) * 2 * sqrt(2) = 2
                {
                    "parameters": [1], "gradient": [2 * 2**0.5], "square": [4], "square_change": [3],
                    "learning_rate": 0.5, "rho": 0.25, "epsilon": 1.0,
                },
                {"parameters": [0], "square": [7], "square_change": [0.25 * 3 + 0.75 * 4]},
            ),
        ),
        pytorch=(
            {"learning_rate": 1.0},
            {"learning_rate": 0.5, "rho": 0.7, "epsilon": 1e-3},
            {"learning_rate": 0.5, "epsilon": 1e-3, "weight_decay": 0.1},
        ),
    ),
}  # fmt: skip

# ---- single steps


@cache
def arguments_of(function: Callable) -> dict[str, tuple[bool, bool]]:
    """The parameters of a twin after the first two, each with whether it is an array and whether it is required."""
    _, _, *others = inspect.signature(function).parameters.values()
    return {p.name: ("np.ndarray" in p.annotation, p.default is p.empty) for p in others}


def required(name: str, function: Callable) -> tuple[list[str], dict[str, float]]:
    """The moments that a twin requires, and numbers for its other required arguments."""
    wanted = {argument: is_array for argument, (is_array, needed) in arguments_of(function).items() if needed}
    numbers = HYPERPARAMETERS | OPTIMIZERS[name].hyperparameters
    return (
        [argument for argument, is_array in wanted.items() if is_array],
        {argument: numbers[argument] for argument, is_array in wanted.items() if not is_array},
    )


def begun(values: Hyperparameters, parameters: np.ndarray) -> list[np.ndarray | None]:
    """The moments before the first step."""
    return [None if initial is None else np.full_like(parameters, initial) for initial in values.moments]


def update(
    module: ModuleType,
    values: Hyperparameters,
    parameters: np.ndarray,
    gradient: np.ndarray,
    moments: list[np.ndarray | None],
    step: int,
    product: float,
    gradient_scale: float = 1.0,
) -> float:
    """Make a step with the function of `module`, kernels or reference; return the product of momenta after it."""
    function, slots = getattr(module, values.kind), iter(moments)
    known = {**values._asdict(), "step": step, "product": product, "gradient_scale": gradient_scale}
    arguments = {
        name: next(slots) if is_array else known[name]
        for name, (is_array, _) in arguments_of(function).items()
        if is_array or name in known
    }
    returned = function(parameters, gradient, **arguments)
    return product if returned is None else returned


def noisy_gradient(p: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The gradient of a flattened Rosenbrock function, with noise."""
    slope = np.zeros_like(p)
    curve = p[1:] - p[:-1] ** 2
    slope[:-1] = -4 * p[:-1] * curve - 2 * (1 - p[:-1])
    slope[1:] += 2 * curve
    return slope / (1 + np.abs(slope)) + noise
