"""One step of each optimizer, in place; and the check for finite values that `fit` makes of its data."""

from __future__ import annotations

import numpy as np


def sgd(parameters: np.ndarray, gradient: np.ndarray, learning_rate: float) -> None:
    parameters -= parameters.dtype.type(learning_rate) * gradient


def adam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """Kingma and Ba (2015), algorithm 1, with epsilon where PyTorch has it; `step` counts from 1."""
    first_moment += (1 - beta1) * (gradient - first_moment)
    second_moment += (1 - beta2) * (gradient * gradient - second_moment)
    root = np.sqrt(second_moment) / np.sqrt(1 - beta2**step) + epsilon
    parameters -= learning_rate / (1 - beta1**step) * first_moment / root


def all_finite(x: np.ndarray) -> bool:
    return bool(np.isfinite(x).all())
