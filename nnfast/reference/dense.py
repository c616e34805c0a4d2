"""Matrix products and the dense layer: out = f(x W + b), W of shape (n_in, n_out)."""

from __future__ import annotations

import numpy as np

from . import activations


def matmul(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray | None = None,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> np.ndarray:
    return np.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=out)


def dense(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "identity",
    out: np.ndarray | None = None,
    *,
    alpha: float = 0.0,
) -> np.ndarray:
    """`alpha` is the parameter of leaky_relu (its slope), elu or softplus (beta); the others have none."""
    z = x @ weights if bias is None else x @ weights + bias
    parameter = (alpha,) if activation in ("leaky_relu", "elu", "softplus") else ()
    return getattr(activations, activation)(z, *parameter, out=out)


def rank_one(
    z: np.ndarray, rows: np.ndarray, scale: np.ndarray, direction: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Selected rows of a product ``z = x @ W`` after a rank-one change: ``z[rows] + outer(scale, direction)``."""
    return np.add(z[rows], np.outer(scale, direction), out=out)


def dense_backward_input(gradient: np.ndarray, weights: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.matmul(gradient, weights.T, out=out)


def dense_backward_weights(x: np.ndarray, gradient: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.matmul(x.T, gradient, out=out)


def dense_backward_bias(gradient: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.sum(
        gradient, axis=0, dtype=np.float64, out=np.empty(gradient.shape[1], gradient.dtype) if out is None else out
    )
