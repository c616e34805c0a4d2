"""Metrics: a score for each row of outputs and targets."""

from __future__ import annotations

import numpy as np


def score(
    prediction: np.ndarray,
    target: np.ndarray,
    metric: str,
    threshold: float = 0.5,
    k: int = 1,
    weights: np.ndarray | None = None,
    total: bool = False,
) -> np.ndarray | int:
    """Compute the score of each row, in float64 and times its weight; or their total, for metrics that count.

    The metric is "class_accuracy" (the largest output is at the target's class), "top_k_accuracy" (the target's class
    is among the `k` largest outputs), "binary_accuracy" (how many outputs are above `threshold` exactly where the
    target is above one half), "subset_accuracy" (whether that holds for the whole row) or "absolute_error" (the sum
    over the row). NaN is never right, nor is a row of classes with NaN. Among equal outputs the first counts as the
    largest. A row of weight zero contributes nothing.
    """
    scores = _of_rows(prediction, target, metric, threshold, k).astype(np.float64)
    if total:
        return int(scores.sum())
    return scores if weights is None else np.where(weights == 0, 0, scores * weights)


def _of_rows(prediction: np.ndarray, target: np.ndarray, metric: str, threshold: float, k: int) -> np.ndarray:
    if metric in ("binary_accuracy", "subset_accuracy"):
        right = ~np.isnan(prediction) & ((prediction > threshold) == (target > 0.5))
        return right.sum(axis=-1) if metric == "binary_accuracy" else right.all(axis=-1)
    if metric == "absolute_error":
        values = target if target.ndim == prediction.ndim else np.eye(prediction.shape[-1])[target]
        return np.abs(prediction - values).sum(axis=-1, dtype=np.float64)
    labels = target.argmax(axis=-1) if target.ndim == prediction.ndim else target
    count = 1 if metric == "class_accuracy" else k
    largest = np.argsort(-prediction, axis=-1, kind="stable")[..., :count]
    return ~np.isnan(prediction).any(axis=-1) & (largest == labels[..., None]).any(axis=-1)
