"""Losses and their gradients with respect to the prediction.

The last axis holds the outputs of one row. `target` has the shape of `prediction` or, for the two cross entropies over
classes, may be integer labels of one axis less. The squared error of a sum and the cross entropies over classes average
over rows; the mean squared error and the binary ones over all elements, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from .activations import into, sigmoid, softmax


def _scalar(value: np.floating, prediction: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    return into(out, np.asarray(value, dtype=prediction.dtype))


def _rows(prediction: np.ndarray) -> int:
    return int(np.prod(prediction.shape[:-1]))


def _one_hot(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    if target.ndim == prediction.ndim:
        return target
    return (target[..., np.newaxis] == np.arange(prediction.shape[-1])).astype(prediction.dtype)


def _clip(p: np.ndarray) -> np.ndarray:
    eps = np.finfo(p.dtype).eps
    return np.clip(p, eps, 1 - eps)


def sum_squared_error(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return _scalar(0.5 * np.sum((prediction - target) ** 2, dtype=np.float64) / _rows(prediction), prediction, out)


def sum_squared_error_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, (prediction - target) / _rows(prediction))


def mean_squared_error(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return _scalar(np.sum((prediction - target) ** 2, dtype=np.float64) / prediction.size, prediction, out)


def mean_squared_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    return into(out, 2 * (prediction - target) / prediction.size)


def cross_entropy(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """-sum(t log(p)) of probabilities, clipped to be the dtype's epsilon away from 0 and 1."""
    t = _one_hot(prediction, target)
    return _scalar(-np.sum(t * np.log(_clip(prediction)), dtype=np.float64) / _rows(prediction), prediction, out)


def cross_entropy_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, -_one_hot(prediction, target) / _clip(prediction) / _rows(prediction))


def binary_cross_entropy(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """-(t log(p) + (1 - t) log(1 - p)) of probabilities, clipped as in `cross_entropy`."""
    p = _clip(prediction)
    each = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    return _scalar(np.sum(each, dtype=np.float64) / prediction.size, prediction, out)


def binary_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    p = _clip(prediction)
    return into(out, (p - target) / (p * (1 - p)) / prediction.size)


def softmax_cross_entropy(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The cross entropy of softmax(prediction), from the logits by log-sum-exp."""
    t = _one_hot(prediction, target)
    shifted = prediction - prediction.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1))
    products = np.where(t == 0, 0, t * np.where(t == 0, 0, shifted))
    each = log_sum * t.sum(axis=-1) - products.sum(axis=-1)
    return _scalar(np.sum(each, dtype=np.float64) / _rows(prediction), prediction, out)


def softmax_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    t = _one_hot(prediction, target)
    return into(out, (softmax(prediction) * t.sum(axis=-1, keepdims=True) - t) / _rows(prediction))


def sigmoid_binary_cross_entropy(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """The binary cross entropy of sigmoid(prediction), from the logits: log(1 + exp(x)) - t x."""
    factor = np.where(prediction > 0, 1 - target, -target)  # max(x, 0) - t x is nothing where this is zero, were x inf
    with np.errstate(invalid="ignore"):
        linear = np.where((factor == 0) & ~np.isnan(prediction), 0, prediction * factor)
    each = linear + np.log1p(np.exp(-np.abs(prediction)))
    return _scalar(np.sum(each, dtype=np.float64) / prediction.size, prediction, out)


def sigmoid_binary_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    return into(out, (sigmoid(prediction) - target) / prediction.size)


def count_correct(prediction: np.ndarray, target: np.ndarray, threshold: float | None = None) -> int:
    """Count right answers.

    How many rows have their largest value at the target's class; with a threshold, how many elements of `prediction`
    are above it exactly where `target` is above one half.
    """
    if threshold is not None:
        return int(np.sum((prediction > threshold) == (target > 0.5)))
    labels = target.argmax(axis=-1) if target.ndim == prediction.ndim else target
    return int(np.sum(prediction.argmax(axis=-1) == labels))
