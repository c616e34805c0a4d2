"""One step of each optimizer, in place; averages and penalties of parameters; and the check for finite values.

Definitions are PyTorch's; Lion, which PyTorch does not have, follows its paper. `step` counts from 1. All optimizers
first prepare the gradient, in this order: it is multiplied by `gradient_scale`, which clips the norm of all gradients
together; clipped to -clip_value..clip_value; and `weight_decay` times the parameters is added, unless the decay is
decoupled, which shrinks the parameters themselves.
"""

from __future__ import annotations

import numpy as np


def _prepared(
    parameters: np.ndarray,
    gradient: np.ndarray,
    weight_decay: float,
    clip_value: float | None,
    gradient_scale: float,
) -> np.ndarray:
    gradient = gradient_scale * gradient
    if clip_value is not None:
        gradient = np.clip(gradient, -clip_value, clip_value)
    return gradient + weight_decay * parameters if weight_decay else gradient


def sgd(
    parameters: np.ndarray,
    gradient: np.ndarray,
    learning_rate: float,
    *,
    buffer: np.ndarray | None = None,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    step: int = 1,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """`buffer` holds the momentum; its first value is the first gradient, without dampening."""
    gradient = _prepared(parameters, gradient, weight_decay, clip_value, gradient_scale)
    if buffer is not None:
        buffer *= momentum
        buffer += gradient if step == 1 else (1 - dampening) * gradient
        gradient = gradient + momentum * buffer if nesterov else buffer
    parameters -= learning_rate * gradient


def adagrad(
    parameters: np.ndarray,
    gradient: np.ndarray,
    total: np.ndarray,
    learning_rate: float,
    learning_rate_decay: float,
    epsilon: float,
    step: int,
    *,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Duchi, Hazan and Singer (2011), the diagonal version; `total` is the sum of all squared gradients."""
    gradient = _prepared(parameters, gradient, weight_decay, clip_value, gradient_scale)
    total += gradient * gradient
    rate = learning_rate / (1 + (step - 1) * learning_rate_decay)
    parameters -= rate * gradient / (np.sqrt(total) + epsilon)


def rmsprop(
    parameters: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    learning_rate: float,
    alpha: float,
    epsilon: float,
    *,
    mean: np.ndarray | None = None,
    buffer: np.ndarray | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Tieleman and Hinton (2012); with `mean`, centered as in Graves (2013); with `buffer`, with momentum.

    The centered variance is never below zero; in PyTorch rounding can make it negative, and the step NaN.
    """
    gradient = _prepared(parameters, gradient, weight_decay, clip_value, gradient_scale)
    square += (1 - alpha) * (gradient * gradient - square)
    variance = square
    if mean is not None:
        mean += (1 - alpha) * (gradient - mean)
        variance = np.maximum(square - mean * mean, 0)
    change = gradient / (np.sqrt(variance) + epsilon)
    if buffer is not None:
        buffer *= momentum
        buffer += change
        change = buffer
    parameters -= learning_rate * change


def lion(
    parameters: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    *,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Chen et al. (2023), algorithm 2. The sign of zero is zero, and that of NaN is NaN."""
    decay = 0.0 if decoupled_weight_decay else weight_decay
    gradient = _prepared(parameters, gradient, decay, clip_value, gradient_scale)
    if decoupled_weight_decay:
        parameters *= 1 - learning_rate * weight_decay
    parameters -= learning_rate * np.sign(beta1 * mean + (1 - beta1) * gradient)
    mean += (1 - beta2) * (gradient - mean)


def adadelta(
    parameters: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    square_change: np.ndarray,
    learning_rate: float,
    rho: float,
    epsilon: float,
    *,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Zeiler (2012), algorithm 1, with a learning rate."""
    gradient = _prepared(parameters, gradient, weight_decay, clip_value, gradient_scale)
    square += (1 - rho) * (gradient * gradient - square)
    change = np.sqrt(square_change + epsilon) / np.sqrt(square + epsilon) * gradient
    square_change += (1 - rho) * (change * change - square_change)
    parameters -= learning_rate * change


def adam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    *,
    corrected_epsilon: bool = False,
    largest: np.ndarray | None = None,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Kingma and Ba (2015), algorithm 1, with epsilon placed as in PyTorch.

    With `corrected_epsilon`, the last lines of their section 2, as in scikit-learn and Keras: epsilon is divided by the
    same correction as the root of the second moment.

    With `largest`, the largest second moment so far, it is AMSGrad (Reddi, Kale and Kumar 2018).
    """
    decay = 0.0 if decoupled_weight_decay else weight_decay
    gradient = _prepared(parameters, gradient, decay, clip_value, gradient_scale)
    if decoupled_weight_decay:
        parameters *= 1 - learning_rate * weight_decay
    first_moment += (1 - beta1) * (gradient - first_moment)
    second_moment += (1 - beta2) * (gradient * gradient - second_moment)
    if largest is not None:
        np.maximum(largest, second_moment, out=largest)
        second_moment = largest
    if corrected_epsilon:
        epsilon = epsilon / np.sqrt(1 - beta2**step)
    root = np.sqrt(second_moment) / np.sqrt(1 - beta2**step) + epsilon
    parameters -= learning_rate / (1 - beta1**step) * first_moment / root


def adamw(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    *,
    corrected_epsilon: bool = False,
    largest: np.ndarray | None = None,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Loshchilov and Hutter (2019), algorithm 2, with the decay multiplied by the learning rate, as in PyTorch."""
    adam(
        parameters, gradient, first_moment, second_moment, learning_rate, beta1, beta2, epsilon, step,
        corrected_epsilon=corrected_epsilon, largest=largest, weight_decay=weight_decay,
        decoupled_weight_decay=decoupled_weight_decay, clip_value=clip_value, gradient_scale=gradient_scale,
    )  # fmt: skip


def nadam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    momentum_decay: float,
    product: float,
    step: int,
    *,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> float:
    """Dozat (2016), with the momentum of its section 3.2.

    `product` is the product of the momenta of all steps before; the returned value includes this step.
    """
    decay = 0.0 if decoupled_weight_decay else weight_decay
    gradient = _prepared(parameters, gradient, decay, clip_value, gradient_scale)
    if decoupled_weight_decay:
        parameters *= 1 - learning_rate * weight_decay
    momentum, following = (beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
    product *= momentum
    first_moment += (1 - beta1) * (gradient - first_moment)
    second_moment += (1 - beta2) * (gradient * gradient - second_moment)
    root = np.sqrt(second_moment) / np.sqrt(1 - beta2**step) + epsilon
    parameters -= learning_rate * (1 - momentum) / (1 - product) * gradient / root
    parameters -= learning_rate * following / (1 - product * following) * first_moment / root
    return product


def average(average: np.ndarray, values: np.ndarray, weight: float) -> None:
    """Move an exponential moving average towards `values`, with weight `weight`."""
    average += weight * (values - average)


def square_sum(x: np.ndarray) -> float:
    """Return the squared norm."""
    return float((x * x).sum())


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """Return the sum of the products of all elements."""
    return float((x * y).sum())


def penalty(parameters: np.ndarray, l1: float, l2: float) -> float:
    """Without a factor of one half, as in Keras."""
    return float(l1 * np.abs(parameters).sum() + l2 * (parameters * parameters).sum())


def add_penalty(parameters: np.ndarray, gradient: np.ndarray, l1: float, l2: float) -> None:
    """Add the gradient of the penalty; that of l1 is zero at zero."""
    gradient += l1 * np.sign(parameters) + 2 * l2 * parameters


def all_finite(x: np.ndarray) -> bool:
    return bool(np.isfinite(x).all())
