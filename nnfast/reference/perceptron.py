"""The perceptron: scores of rows against planes, and the learning rule.

Plane k separates the rows of label k, whose scores should be greater than zero, from all others.
"""

from __future__ import annotations

import numpy as np


def perceptron_scores(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    return np.add(x @ weights.T, bias, out=out)


def perceptron_epoch(
    x: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    rates: np.ndarray,
    planes: np.ndarray,
    order: np.ndarray | None = None,
    row_weights: np.ndarray | None = None,
    *,
    fit_bias: bool = True,
) -> np.ndarray:
    """Visit the rows of `order`, or all, and correct the weights and biases of `planes` in place at each mistake.

    `rates` has the learning rates of each plane for rows of other labels and for those of its own; `row_weights`
    multiply them. Return the number of mistakes of each plane.
    """
    mistakes = np.zeros(len(planes), np.int64)
    with np.errstate(over="raise", invalid="raise"):
        for row in range(len(x)) if order is None else order:
            for place, k in enumerate(planes):
                fires = labels[row] == k
                if (x[row] @ weights[k] + bias[k] > 0) == fires:
                    continue
                rate = rates[k, int(fires)] * (1 if row_weights is None else row_weights[row])
                change = x.dtype.type(rate if fires else -rate)
                weights[k] += change * x[row]
                if fit_bias:
                    bias[k] += change
                mistakes[place] += 1
    return mistakes
