"""Metrics of a whole data set, row by row as their formulas read; `nnfast.metrics` computes them without loops.

They are not twins of kernels, so `nnfast.reference` does not list them. Targets and predictions are classes from 0 to
k - 1, for which a prediction of -1 is no answer, and `weights` are positive numbers.
"""

from __future__ import annotations

from math import log, nan, sqrt

import numpy as np


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, k: int, weights: np.ndarray) -> np.ndarray:
    counts = np.zeros((k, k))
    for target, prediction, weight in zip(targets, predictions, weights, strict=True):
        if prediction >= 0:
            counts[target, prediction] += weight
    return counts


def precision_recall_f(
    targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, c: int, beta: float = 1.0
) -> tuple[float, float, float]:
    """Of class c, or of the label c = 1."""
    right = predicted = true = 0.0
    for target, prediction, weight in zip(targets, predictions, weights, strict=True):
        right += weight * (target == c and prediction == c)
        predicted += weight * (prediction == c)
        true += weight * (target == c)
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    mean = beta**2 * precision + recall
    return precision, recall, (1 + beta**2) * precision * recall / mean if mean else 0.0


def balanced_accuracy(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    recalls = [precision_recall_f(targets, predictions, weights, c)[1] for c in sorted(set(targets.tolist()))]
    return sum(recalls) / len(recalls)


def roc_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Every positive row against every negative one."""
    wins = pairs = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            pair = weights[i] * weights[j]
            pairs += pair
            wins += pair * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
    return wins / pairs if pairs else nan


def log_loss(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Of rows of probabilities, of which the targets' may be any."""
    epsilon = float(np.finfo(probabilities.dtype).eps)
    total = 0.0
    for row, p, weight in zip(targets.tolist(), probabilities.tolist(), weights, strict=True):
        for share, q in zip(row, p, strict=True):
            if share:
                total -= weight * share * log(min(max(q, epsilon), 1 - epsilon))
    return total / sum(weights)


def mean_squared_error(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> float:
    """Of one output, as all that follow."""
    return sum(weights * (targets - outputs) ** 2) / sum(weights)


def root_mean_squared_error(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> float:
    return sqrt(mean_squared_error(targets, outputs, weights))


def r2(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> float:
    mean = sum(weights * targets) / sum(weights)
    left, variance = sum(weights * (targets - outputs) ** 2), sum(weights * (targets - mean) ** 2)
    if len(targets) < 2:
        return nan
    if len(set(targets.tolist())) == 1:
        return 0.0 if left else 1.0
    return 1 - left / variance
