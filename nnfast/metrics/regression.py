"""Errors of outputs that estimate their targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from nnfast._validation import ignore_float_errors
from nnfast.losses import OutputLoss, Poisson
from nnfast.metrics.base import Computation, Metric, Scoring, got
from nnfast.metrics.rows import counting

# From float64 outputs and targets of shape (n, outputs) and the weights of the rows.
Estimated = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


class Estimate(Metric):
    """Base class of metrics whose outputs must estimate the targets."""

    direction = "lower"

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.name == "hinge":
            return "outputs that estimate the targets, got loss 'hinge', whose outputs are margins"
        logs = output.activation == "log_softmax" and output.fused
        if logs or (isinstance(output.loss, Poisson) and output.loss.log_input):
            return f"outputs that estimate the targets, {got(output)}, whose outputs estimate their logarithms"
        if output.outputs_per_target > 1:
            return f"one output for each target, got loss 'quantile' with {output.outputs_per_target} quantiles"
        return ""


class MeanAbsoluteError(Estimate, name="mean_absolute_error"):
    """The mean of absolute errors over all elements, as scikit-learn's ``mean_absolute_error``.

    Computed from the outputs, whatever the loss is computed from; labels stand for 1 at their class and 0 elsewhere.
    The outputs must estimate the targets: margins (loss ``"hinge"``), logarithms of the targets, and several quantiles
    do not.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.MeanAbsoluteError().direction
    'lower'
    """

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        return Scoring("absolute_error", from_outputs=True, per_row=output.n_out)


@ignore_float_errors
def of_estimates(
    formula: Estimated, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
) -> float:
    """Compute a formula from estimates and targets; labels stand for 1 at their class and 0 elsewhere."""
    estimates, targets, weights = counting(outputs, targets, sample_weight)
    if targets.ndim == 1:
        labels, targets = targets, np.zeros(estimates.shape)
        targets[np.arange(len(labels)), labels] = 1
    return formula(estimates.astype(np.float64, copy=False), targets.astype(np.float64, copy=False), weights)


def squared_errors(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of the squared errors of each output."""
    return (weights[:, None] * (outputs - targets) ** 2).sum(axis=0) / weights.sum()


def mean_squared_error(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over outputs."""
    return float(squared_errors(outputs, targets, weights).sum() / outputs.shape[1])


def root_mean_squared_error(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over outputs of the root of each."""
    return float(np.sqrt(squared_errors(outputs, targets, weights)).sum() / outputs.shape[1])


def r2(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over outputs of one minus the fraction of the variance that is left."""
    if len(outputs) < 2:
        return float("nan")
    constant = targets.min(axis=0) == targets.max(axis=0)  # whose mean may be rounded
    mean = (weights[:, None] * targets).sum(axis=0) / weights.sum()
    variance = np.where(constant, 0, squared_errors(targets, mean, weights))
    left = squared_errors(outputs, targets, weights)
    each = np.where(variance > 0, 1 - left / variance, np.where(left > 0, 0.0, 1 - left))
    return float(each.sum() / len(each))


class MeanSquaredError(Estimate, name="mean_squared_error"):
    """The mean of squared errors over all elements, as scikit-learn's ``mean_squared_error``.

    Needs outputs as `MeanAbsoluteError` does.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, initializer=0.0)], input_shape=1, loss="mean_absolute_error")
    >>> net.evaluate([[0.0], [0.0]], [1.0, 3.0], metrics=["mean_squared_error", "root_mean_squared_error"])
    {'loss': 2.0, 'mean_squared_error': 5.0, 'root_mean_squared_error': 2.23606797749979}
    """

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(of_estimates, mean_squared_error)


class RootMeanSquaredError(Estimate, name="root_mean_squared_error"):
    """The root of the mean of squared errors, as scikit-learn's ``root_mean_squared_error``.

    Needs outputs as `MeanAbsoluteError` does. With several outputs, the mean of their roots, as in scikit-learn; Keras
    averages before it takes the root.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.RootMeanSquaredError().direction
    'lower'
    """

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(of_estimates, root_mean_squared_error)


class R2(Estimate, name="r2"):
    """The coefficient of determination R², as scikit-learn's ``r2_score``: 1 for exact outputs, 0 for their mean.

    Needs outputs as `MeanAbsoluteError` does. With several outputs, the mean of the values of each.

    Notes
    -----
    ``1 - sum(w * (target - output)**2) / sum(w * (target - mean)**2)`` with weights w, where ``mean`` is the weighted
    mean of the targets. If all targets are equal, 1 for exact outputs and otherwise 0; NaN for a single row.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, initializer=[[1.0]])], input_shape=1)
    >>> net.evaluate([[1.0], [2.0], [3.0], [4.0]], [0.0, 2.0, 2.0, 4.0], metrics=["r2"])
    {'loss': 0.5, 'r2': 0.75}
    """

    direction = "higher"

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(of_estimates, r2)
