"""Elementwise functions, softmax, log_softmax, and their derivatives.

``f_backward(gradient, output)`` is ``gradient`` times the derivative of ``f`` at the point where ``f`` returned
``output``. For gelu, silu and softplus the output does not determine the derivative: ``f_backward(gradient, x)`` is
``gradient`` times the derivative at ``x``.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from .shared import into


def exp(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(x, out=out)


def log(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x, out=out)


def step(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 where x > 0, else 0; NaN stays NaN."""
    return into(out, np.where(np.isnan(x), x, (x > 0).astype(x.dtype)))


def step_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Zero: `step` is flat wherever it has a derivative."""
    return into(out, np.where(np.isnan(output), output, np.zeros_like(output)))


def identity(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, x.copy())


def identity_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, gradient.copy())


def sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 / (1 + exp(-x)), from exp(-abs(x)) so that nothing overflows."""
    e = exp(-np.abs(x))
    return into(out, np.where(x < 0, e, 1).astype(x.dtype) / (1 + e))


def sigmoid_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, gradient * output * (1 - output))


def tanh(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.tanh(x, out=out)


def tanh_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, gradient * (1 - output) * (1 + output))


def relu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.where(x <= 0, 0, x).astype(x.dtype))


def relu_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The derivative at zero is zero."""
    return into(out, np.where(output > 0, gradient, output - output).astype(gradient.dtype))


def softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """exp(x) divided by its sum along the last axis; the largest value is subtracted first, so nothing overflows."""
    if x.size == 0:
        return into(out, x.copy())
    with np.errstate(invalid="ignore"):
        e = exp(x - x.max(axis=-1, keepdims=True))
        return into(out, e / e.sum(axis=-1, keepdims=True))


def softmax_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The Jacobian is diag(output) - output output^T."""
    mean = (gradient * output).sum(axis=-1, keepdims=True)
    return into(out, output * (gradient - mean))


def log_softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """X - log(sum(exp(x))) along the last axis; the largest value is subtracted first, so nothing overflows."""
    if x.size == 0:
        return into(out, x.copy())
    with np.errstate(invalid="ignore"):
        depth = x - x.max(axis=-1, keepdims=True)
        return into(out, depth - np.log(exp(depth).sum(axis=-1, keepdims=True)))


def log_softmax_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, gradient - exp(output) * gradient.sum(axis=-1, keepdims=True))


def leaky_relu(x: np.ndarray, negative_slope: float = 0.01, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.where(x <= 0, negative_slope * x, x))


def leaky_relu_backward(
    gradient: np.ndarray, output: np.ndarray, negative_slope: float = 0.01, out: np.ndarray | None = None
) -> np.ndarray:
    """The derivative at zero is the slope."""
    return into(out, np.where(output > 0, gradient, gradient * negative_slope + (output - output)))


def elu(x: np.ndarray, alpha: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0)), x))


def elu_backward(
    gradient: np.ndarray, output: np.ndarray, alpha: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """The derivative is 1 above zero and alpha exp(x) = output + alpha elsewhere."""
    return into(out, np.where(output > 0, gradient, gradient * (output + alpha)))


# Klambauer et al. 2017: mean 0 and variance 1 are a fixed point.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, SELU_SCALE * elu(x, SELU_ALPHA))


def selu_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    slope = np.where(output > 0, SELU_SCALE, output + SELU_SCALE * SELU_ALPHA)
    return into(out, gradient * slope.astype(output.dtype))


def hard_sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.clip(x + 3, 0, 6) / 6)


def hard_sigmoid_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The derivative at the corners is zero."""
    return into(out, np.where((output > 0) & (output < 1), gradient / 6, output - output))


# The derivatives of the following are computed from the input.


def gelu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """X times the normal distribution function; NaN only where x is NaN."""
    return into(out, np.maximum(x, 0) - _weighed(np.abs(x), special.ndtr(-np.abs(x))))


def gelu_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    density = exp(-0.5 * x * x) / np.sqrt(x.dtype.type(2 * np.pi))
    return into(out, gradient * (special.ndtr(x) + np.copysign(_weighed(np.abs(x), density), x)))


def _weighed(a: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """The product with a tail; zero where the tail is zero, even if `a` is infinite."""
    return np.multiply(a, tail, where=tail != 0, out=np.zeros_like(a))


def _tanh_argument(x: np.ndarray) -> np.ndarray:
    """gelu_tanh(x) is x sigmoid(v) with this v."""
    return np.sqrt(x.dtype.type(8 / np.pi)) * (x + 0.044715 * x**3)


def gelu_tanh(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(over="ignore"):
        return into(out, np.maximum(x, 0) - _weighed(np.abs(x), sigmoid(-_tanh_argument(np.abs(x)))))


def gelu_tanh_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(over="ignore"):
        v, steepness = _tanh_argument(x), np.sqrt(x.dtype.type(8 / np.pi)) * (1 + 3 * 0.044715 * x * x)
        return into(out, gradient * (sigmoid(v) + _weighed(x * steepness, sigmoid(v) * sigmoid(-v))))


def silu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.maximum(x, 0) - _weighed(np.abs(x), sigmoid(-np.abs(x))))


def silu_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, gradient * (sigmoid(x) + _weighed(x, sigmoid(x) * sigmoid(-x))))


def softplus(x: np.ndarray, beta: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    """log(1 + exp(beta x)) / beta, from exp(-abs(beta x)) so that nothing overflows."""
    return into(out, np.maximum(x, 0) + np.log1p(exp(-np.abs(beta * x))) / beta)


def softplus_backward(
    gradient: np.ndarray, x: np.ndarray, beta: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    return into(out, gradient * sigmoid(beta * x))


def mish(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.copysign(_weighed(np.abs(x), np.tanh(softplus(x))), x))


def mish_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    t = np.tanh(softplus(x))
    return into(out, gradient * (t + _weighed(x, sigmoid(x) * (1 - t * t))))


def apply_keep(
    x: np.ndarray,
    activation: str,
    alpha: float = 0.0,
    out: np.ndarray | None = None,
    derivative: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Value and derivative of one of the functions whose derivative is computed from the input."""
    parameter = (alpha,) if activation == "softplus" else ()
    slope = globals()[f"{activation}_backward"](np.ones_like(x), x, *parameter)
    return globals()[activation](x, *parameter, out=out), into(derivative, slope)


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.multiply(a, b, out=out)
