"""Metrics of a whole data set, row by row as their formulas read; `nnfast.metrics` computes them without loops.

They are not kernels, so they are no twins that `nnfast.reference` lists.
"""

from __future__ import annotations

import numpy as np


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, k: int, weights: np.ndarray) -> np.ndarray:
    counts = np.zeros((k, k))
    for target, prediction, weight in zip(targets, predictions, weights, strict=True):
        counts[target, prediction] += weight
    return counts
