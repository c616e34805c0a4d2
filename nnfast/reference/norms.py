"""Layer normalization (Ba, Kiros and Hinton 2016) and batch normalization (Ioffe and Szegedy 2015) of matrices.

``xhat = (x - mean)/sqrt(variance + epsilon)``, over a row or a column, with the biased variance, as in PyTorch; then
``gamma*xhat + beta``, with one gamma and one beta per column. A gamma of None means one, a beta of None zero; and if
mean and variance are None, xhat is x.
"""

from __future__ import annotations

import numpy as np

from .shared import into


def _scaled(x: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None = None) -> np.ndarray:
    x = x if gamma is None else x * gamma
    return x if beta is None else x + beta


def _moments(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the biased variance of `x`, in float64.

    The deviations from the rounded mean do not quite add up to zero; what they do add up to corrects both moments
    (Chan, Golub and LeVeque 1983).
    """
    wide = x.astype(np.float64)
    mean = wide.mean(axis=axis, keepdims=True)
    deviations = wide - mean
    correction = deviations.mean(axis=axis, keepdims=True)
    correction[~np.isfinite(correction)] = 0
    variance = np.square(deviations).mean(axis=axis, keepdims=True) - correction**2
    return mean + correction, np.maximum(variance, 0)


def layer_norm(
    x: np.ndarray,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
    stats: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`stats`, of shape (rows, 2), receives each row's mean and 1/sqrt(variance + epsilon)."""
    mean, variance = _moments(x, 1)
    inverse = 1 / np.sqrt(variance + epsilon)
    into(stats, np.hstack([mean, inverse]))
    return into(out, _scaled((x - mean) * inverse, gamma, beta).astype(x.dtype))


def layer_norm_backward(
    gradient: np.ndarray, x: np.ndarray, gamma: np.ndarray | None, stats: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    mean, inverse = stats[:, :1], stats[:, 1:]
    xhat, h = (x - mean) * inverse, _scaled(gradient, gamma)
    product = (h * xhat).mean(axis=1, keepdims=True)
    return into(out, (h - h.mean(axis=1, keepdims=True) - xhat * product) * inverse)


def layer_norm_backward_parameters(
    gradient: np.ndarray,
    x: np.ndarray,
    stats: np.ndarray,
    gamma_gradient: np.ndarray | None,
    beta_gradient: np.ndarray | None,
    *,
    columns: tuple[int, int] | None = None,
    accumulate: bool = False,
) -> None:
    """Write the gradients whose arrays are not None, only for `columns` (first, last) if given."""
    xhat = (x - stats[:, :1]) * stats[:, 1:]
    some = slice(*columns or (0, x.shape[1]))
    for out, terms in ((gamma_gradient, gradient * xhat), (beta_gradient, gradient)):
        if out is not None:
            total = terms.sum(axis=0, dtype=np.float64)[some]
            out[some] = out[some] + total if accumulate else total


def batch_norm_moments(
    x: np.ndarray, out: np.ndarray | None = None, *, columns: tuple[int, int] | None = None
) -> np.ndarray:
    """Mean and biased variance of each column, as two rows; only of `columns` (first, last) if given."""
    out = np.zeros((2, x.shape[1]), x.dtype) if out is None else out
    some = slice(*columns or (0, x.shape[1]))
    out[:, some] = np.vstack(_moments(x[:, some], 0))
    return out


def _normalized(
    x: np.ndarray, mean: np.ndarray | None, variance: np.ndarray | None, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return xhat, and what the deviations were multiplied by."""
    if mean is None or variance is None:
        return x, np.ones(x.shape[1], x.dtype)
    root = np.sqrt(variance + x.dtype.type(epsilon))
    return (x - mean) / root, 1 / root


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    return into(out, _scaled(_normalized(x, mean, variance, epsilon)[0], gamma, beta))


def batch_norm_sums(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    epsilon: float,
    out: np.ndarray | None = None,
    *,
    columns: tuple[int, int] | None = None,
    accumulate: bool = False,
) -> np.ndarray:
    """The sums of ``gradient`` and of ``gradient*xhat`` over the rows, as two rows: the gradients of beta and gamma."""
    out = np.zeros((2, x.shape[1]), x.dtype) if out is None else out
    some = slice(*columns or (0, x.shape[1]))
    xhat, _ = _normalized(x, mean, variance, epsilon)
    sums = np.stack([terms.sum(axis=0, dtype=np.float64)[some] for terms in (gradient, gradient * xhat)])
    out[:, some] = out[:, some] + sums if accumulate else sums
    return out


def batch_norm_backward(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    gamma: np.ndarray | None,
    sums: np.ndarray | None,
    count: int,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`sums` are over all `count` rows of the batch; without them mean and variance are constants."""
    xhat, inverse = _normalized(x, mean, variance, epsilon)
    if sums is not None:
        gradient = gradient - sums[0] / count - xhat * (sums[1] / count)
    return into(out, _scaled(gradient, gamma) * inverse)
