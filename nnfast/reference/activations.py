"""Elementwise functions, softmax, and their derivatives told from the output.

``f_backward(gradient, output)`` is ``gradient`` times the derivative of ``f`` at the point where ``f`` gave ``output``.
"""

from __future__ import annotations

import numpy as np


def exp(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(x, out=out)


def log(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x, out=out)


def into(out: np.ndarray | None, result: np.ndarray) -> np.ndarray:
    if out is None:
        return result
    out[...] = result
    return out


def step(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 above zero, else 0; NaN stays NaN."""
    return into(out, np.where(np.isnan(x), x, (x > 0).astype(x.dtype)))


def step_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Zero: the step is flat wherever it has a derivative."""
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
    """exp(x) over its sum along the last axis, shifted by the largest so that nothing overflows."""
    if x.size == 0:
        return into(out, x.copy())
    with np.errstate(invalid="ignore"):
        e = exp(x - x.max(axis=-1, keepdims=True))
        return into(out, e / e.sum(axis=-1, keepdims=True))


def softmax_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The Jacobian is diag(output) - output output^T."""
    mean = (gradient * output).sum(axis=-1, keepdims=True)
    return into(out, output * (gradient - mean))
