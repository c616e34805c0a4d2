"""The dense layer for sparse rows, of which only some elements are stored.

Those of row i are ``values[starts[i]:starts[i + 1]]``, and ``columns`` has the column of each; all others are zero.
"""

from __future__ import annotations

import numpy as np

from . import dense as _dense


def _matrix(values: np.ndarray, columns: np.ndarray, starts: np.ndarray, n_in: int) -> np.ndarray:
    x = np.zeros((len(starts) - 1, n_in), values.dtype)
    x[np.repeat(np.arange(len(x)), np.diff(starts)), columns] = values
    return x


def sparse_dense(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "identity",
    out: np.ndarray | None = None,
    *,
    alpha: float = 0.0,
) -> np.ndarray:
    x = _matrix(values, columns, starts, len(weights))
    return _dense.dense(x, weights, bias, activation, out, alpha=alpha)


def sparse_backward_weights(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    gradient: np.ndarray,
    n_in: int,
    out: np.ndarray | None = None,
    *,
    chunks: int = 1,
) -> np.ndarray:
    """`chunks` only determines the order of the sum."""
    return _dense.dense_backward_weights(_matrix(values, columns, starts, n_in), gradient, out)


def sparse_descend(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    gradient: np.ndarray,
    weights: np.ndarray,
    learning_rate: float,
    *,
    chunks: int = 1,
) -> None:
    """A step of SGD on the weights."""
    weights -= learning_rate * sparse_backward_weights(values, columns, starts, gradient, len(weights), chunks=chunks)
