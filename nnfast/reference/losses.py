"""Losses and their gradients with respect to the prediction.

The last axis holds the outputs of one row. `target` has the shape of `prediction` or, for the cross entropies and the
focal losses over classes, may hold integer labels with one axis less. `sum_squared_error`, these four and the
Kullback-Leibler divergences are averaged over rows; all others over all elements, as in PyTorch, or with the reduction
"sum" over rows, too.
"""

from __future__ import annotations

import numpy as np

from .activations import exp, log, log_softmax, sigmoid, softmax, tanh
from .shared import into


def _scalar(value: np.floating, prediction: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    return into(out, np.asarray(value, dtype=prediction.dtype))


def _rows(prediction: np.ndarray) -> int:
    return int(np.prod(prediction.shape[:-1]))


def _count(prediction: np.ndarray, reduction: str) -> int:
    """By what the sum over all elements is divided."""
    return {"mean": prediction.size, "sum": _rows(prediction)}[reduction]


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


def mean_squared_error(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    return _scalar(
        np.sum((prediction - target) ** 2, dtype=np.float64) / _count(prediction, reduction), prediction, out
    )


def mean_squared_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    return into(out, 2 * (prediction - target) / _count(prediction, reduction))


def _mean(each: np.ndarray, out: np.ndarray | None, reduction: str) -> np.ndarray:
    """The average over all elements, or over rows of the sums of their elements."""
    return _scalar(np.sum(each, dtype=np.float64) / _count(each, reduction), each, out)


def mean_absolute_error(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    return _mean(np.abs(prediction - target), out, reduction)


def mean_absolute_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """The derivative at zero is zero."""
    return into(out, np.sign(prediction - target) / _count(prediction, reduction))


def huber(
    prediction: np.ndarray,
    target: np.ndarray,
    delta: float = 1.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """d**2/2 up to delta, its tangent beyond."""
    d = np.abs(prediction - target)
    return _mean(np.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta)).astype(d.dtype), out, reduction)


def huber_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    delta: float = 1.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    return into(out, np.clip(prediction - target, -delta, delta) / _count(prediction, reduction))


def log_cosh(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """log(cosh(d)), written so that nothing overflows."""
    d = np.abs(prediction - target)
    return _mean(d + (np.log1p(exp(-2 * d)) - d.dtype.type(np.log(2))), out, reduction)


def log_cosh_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    return into(out, tanh(prediction - target) / _count(prediction, reduction))


def poisson(
    prediction: np.ndarray,
    target: np.ndarray,
    log_input: bool = True,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return rate - t log(rate), averaged; predictions are the rates or their logarithms."""
    if log_input:
        return _mean(exp(prediction) - target * prediction, out, reduction)
    return _mean(prediction - target * log(prediction + prediction.dtype.type(1e-8)), out, reduction)


def poisson_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    log_input: bool = True,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    each = exp(prediction) - target if log_input else 1 - target / (prediction + prediction.dtype.type(1e-8))
    return into(out, each / _count(prediction, reduction))


def quantile(
    prediction: np.ndarray,
    target: np.ndarray,
    quantiles: np.ndarray,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """A target above the prediction costs q times the distance, one below (1 - q) times; one q for each output."""
    d = target - prediction
    return _mean(np.where(d > 0, quantiles * d, (quantiles - 1) * d), out, reduction)


def quantile_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    quantiles: np.ndarray,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """The derivative at zero is zero."""
    d = target - prediction
    slope = np.where(d > 0, -quantiles, 1 - quantiles)
    return into(out, np.where((d > 0) | (d < 0), slope, d) / _count(prediction, reduction))


def hinge(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """max(0, 1 - t x), for targets of -1 or 1."""
    return _mean(np.maximum(1 - target * prediction, 0), out, reduction)


def hinge_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """The derivative at the kink is zero."""
    margin = target * prediction
    slope = np.where(margin < 1, -target, np.where(np.isnan(margin), margin, 0))
    return into(out, (slope / _count(prediction, reduction)).astype(prediction.dtype))


def _smooth(prediction: np.ndarray, target: np.ndarray, label_smoothing: float) -> np.ndarray:
    """Targets over classes, a fraction of which is spread over all classes."""
    return _one_hot(prediction, target) * (1 - label_smoothing) + label_smoothing / prediction.shape[-1]


def cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    """-sum(t log(p)) of probabilities, clipped to lie at least the dtype's epsilon away from 0 and 1."""
    t = _smooth(prediction, target, label_smoothing)
    return _scalar(-np.sum(t * np.log(_clip(prediction)), dtype=np.float64) / _rows(prediction), prediction, out)


def cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    return into(out, -_smooth(prediction, target, label_smoothing) / _clip(prediction) / _rows(prediction))


def binary_cross_entropy(
    prediction: np.ndarray,
    target: np.ndarray,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """-(t log(p) + (1 - t) log(1 - p)) of probabilities, clipped as in `cross_entropy`."""
    p, t = _clip(prediction), target * (1 - label_smoothing) + label_smoothing / 2
    return _mean(-(t * np.log(p) + (1 - t) * np.log(1 - p)), out, reduction)


def binary_cross_entropy_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    p, t = _clip(prediction), target * (1 - label_smoothing) + label_smoothing / 2
    return into(out, (p - t) / (p * (1 - p)) / _count(prediction, reduction))


def _focal_slope(p: np.ndarray, gamma: float) -> np.ndarray:
    """The derivative of -(1 - p)**gamma log(p) with respect to p."""
    return gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p


def focal(
    prediction: np.ndarray, target: np.ndarray, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    """-alpha sum(t (1 - p)**gamma log(p)) of probabilities, clipped as in `cross_entropy`."""
    p, t = _clip(prediction), _one_hot(prediction, target)
    total = -np.sum(t * (1 - p) ** gamma * np.log(p), dtype=np.float64)
    return _scalar(alpha * total / _rows(prediction), prediction, out)


def focal_backward(
    prediction: np.ndarray, target: np.ndarray, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    t = _one_hot(prediction, target)
    return into(out, alpha * t * _focal_slope(_clip(prediction), gamma) / _rows(prediction))


def binary_focal(
    prediction: np.ndarray,
    target: np.ndarray,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """The focal loss of p where t is 1, times alpha, and of 1 - p where t is 0, times 1 - alpha."""
    p, t = _clip(prediction), target
    positive, negative = (1 - p) ** gamma * np.log(p), p**gamma * np.log(1 - p)
    return _mean(-alpha * t * positive - (1 - alpha) * (1 - t) * negative, out, reduction)


def binary_focal_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    p, t = _clip(prediction), target
    slope = alpha * t * _focal_slope(p, gamma) - (1 - alpha) * (1 - t) * _focal_slope(1 - p, gamma)
    return into(out, slope / _count(prediction, reduction))


def kl_divergence(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """sum(t (log(t) - x)) of log-probabilities x; a class with target probability zero contributes nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where((target == 0) & ~np.isnan(prediction), 0, target * (np.log(target) - prediction))
    return _scalar(np.sum(each, dtype=np.float64) / _rows(prediction), prediction, out)


def kl_divergence_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, np.where(np.isnan(prediction), prediction, -target) / _rows(prediction))


def softmax_cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    """The cross entropy of softmax(prediction), computed from the logits by log-sum-exp."""
    t = _smooth(prediction, target, label_smoothing)
    shifted = prediction - prediction.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1))
    products = np.where(t == 0, 0, t * np.where(t == 0, 0, shifted))
    each = log_sum * t.sum(axis=-1) - products.sum(axis=-1)
    return _scalar(np.sum(each, dtype=np.float64) / _rows(prediction), prediction, out)


def softmax_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    t = _smooth(prediction, target, label_smoothing)
    return into(out, (softmax(prediction) * t.sum(axis=-1, keepdims=True) - t) / _rows(prediction))


def sigmoid_binary_cross_entropy(
    prediction: np.ndarray,
    target: np.ndarray,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """The binary cross entropy of sigmoid(prediction), computed from the logits: log(1 + exp(x)) - t x."""
    t = target * (1 - label_smoothing) + label_smoothing / 2
    factor = np.where(prediction > 0, 1 - t, -t)  # where it is 0, max(x, 0) - t x is 0 even if x is inf
    with np.errstate(invalid="ignore"):
        linear = np.where((factor == 0) & ~np.isnan(prediction), 0, prediction * factor)
    return _mean(linear + np.log1p(np.exp(-np.abs(prediction))), out, reduction)


def sigmoid_binary_cross_entropy_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    t = target * (1 - label_smoothing) + label_smoothing / 2
    return into(out, (sigmoid(prediction) - t) / _count(prediction, reduction))


def softmax_focal(
    prediction: np.ndarray, target: np.ndarray, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    """The focal loss of softmax(prediction), computed from the logits."""
    t, logs = _one_hot(prediction, target), log_softmax(prediction)
    each = np.where(t == 0, 0, t * (-np.expm1(logs)) ** gamma * np.where(t == 0, 0, logs))
    each = np.where(np.isnan(logs), logs, each)  # NaN stays NaN where the target is 0
    return _scalar(-alpha * np.sum(each, dtype=np.float64) / _rows(prediction), prediction, out)


def softmax_focal_backward(
    prediction: np.ndarray, target: np.ndarray, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    """With p = softmax(prediction) and s the derivative with respect to log(p): t s - p sum(t s)."""
    t, logs = _one_hot(prediction, target), log_softmax(prediction)
    p, q = np.exp(logs), -np.expm1(logs)
    products = p * np.where(p == 0, 0, logs)
    s = q**gamma * (gamma * np.where(q == 0, -1, products / np.where(q == 0, 1, q)) - 1)
    each = np.where(t == 0, 0, t * s)
    return into(out, alpha * (each - p * each.sum(axis=-1, keepdims=True)) / _rows(prediction))


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0) - np.log1p(exp(-np.abs(x)))


def sigmoid_binary_focal(
    prediction: np.ndarray,
    target: np.ndarray,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """The binary focal loss of sigmoid(prediction), computed from the logits."""
    each = np.zeros_like(prediction)
    for share, x in ((alpha * target, prediction), ((1 - alpha) * (1 - target), -prediction)):
        value = sigmoid(-x) ** gamma * np.where(share == 0, 0, _log_sigmoid(x))
        each = each - np.where((share == 0) & ~np.isnan(x), 0, share * value)
    return _mean(each, out, reduction)


def sigmoid_binary_focal_backward(
    prediction: np.ndarray,
    target: np.ndarray,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    gradient = np.zeros_like(prediction)
    for sign, share, x in ((1, alpha * target, prediction), (-1, (1 - alpha) * (1 - target), -prediction)):
        p, q = sigmoid(x), sigmoid(-x)
        products = p * np.where(p == 0, 0, _log_sigmoid(x))
        gradient += sign * share * q**gamma * (gamma * products - q)
    return into(out, gradient / _count(prediction, reduction))


def softmax_kl_divergence(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The divergence of softmax(prediction), computed from the logits: sum(t log(t)) plus the cross entropy."""
    logs = np.sum(np.where(target == 0, 0, target * np.log(np.where(target == 0, 1, target))), dtype=np.float64)
    value = logs / _rows(prediction) + softmax_cross_entropy(prediction.astype(np.float64), target)
    return _scalar(np.float64(value), prediction, out)


def softmax_kl_divergence_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    return softmax_cross_entropy_backward(prediction, target, out=out)
