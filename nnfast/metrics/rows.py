"""The rows of a data set that count."""

from __future__ import annotations

from math import prod

import numpy as np


def counting(
    outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of positive weight as (n, outputs), their targets in the same form or labels, and the weights.

    The weights, of which metrics use only ratios, are scaled by a power of two to below 1, so that no product of two of
    their sums overflows.
    """
    outputs = outputs.reshape(len(outputs), prod(outputs.shape[1:]))
    targets = targets if targets.ndim == 1 else targets.reshape(outputs.shape)
    if sample_weight is None:
        return outputs, targets, np.ones(len(outputs))
    if not sample_weight.all():
        kept = np.flatnonzero(sample_weight)
        outputs, targets, sample_weight = outputs[kept], targets[kept], sample_weight[kept]
    return outputs, targets, np.ldexp(sample_weight, -np.frexp(sample_weight.max(initial=0.0))[1])
