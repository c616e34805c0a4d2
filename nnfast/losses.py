"""Losses, as descriptions: which fits which output layer, and what targets they take."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._validation import as_array, check_shape, choose, to_array, where_not_finite
from nnfast.kernels import arrays as kernels

NAMES = ("cross_entropy", "binary_cross_entropy", "mean_squared_error", "sum_squared_error")
_DEFAULTS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}


class Loss:
    """A loss for a given output layer.

    Parameters
    ----------
    name : str or None
        One of `NAMES`; None picks the one that belongs to the activation.
    activation : str
        Of the output layer.
    n_out : int
        Outputs.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss, or it does not fit the output layer; the message says which pair is right.
    """

    def __init__(self, name: str | None, activation: str, n_out: int) -> None:
        self.name = choose("loss", _DEFAULTS.get(activation, "mean_squared_error") if name is None else name, NAMES)
        self.activation = activation
        self.n_out = n_out
        if self.name == "cross_entropy" and activation != "softmax":
            instead = " (and for one output 'binary_cross_entropy' with 'sigmoid')" if n_out == 1 else ""
            raise ValueError(
                f"loss 'cross_entropy' needs an output layer with activation 'softmax', got {activation!r}{instead}"
            )
        if self.name == "binary_cross_entropy" and activation != "sigmoid":
            instead = " (softmax goes with 'cross_entropy')" if activation == "softmax" else ""
            raise ValueError(
                "loss 'binary_cross_entropy' needs an output layer with activation 'sigmoid', "
                f"got {activation!r}{instead}"
            )

    @property
    def kernel(self) -> str:
        """The name of the kernel: losses that are named for probabilities run fused, from the logits."""
        fused = {"cross_entropy": "softmax_cross_entropy", "binary_cross_entropy": "sigmoid_binary_cross_entropy"}
        return fused.get(self.name, self.name)

    @property
    def takes_classes(self) -> bool:
        """Whether the outputs exclude each other, so that integer labels make sense."""
        return self.activation == "softmax"

    def targets(self, y: Any, n: int, dtype: np.dtype, *, finite: bool = False) -> np.ndarray:
        """Return `y` as the engine takes it: int64 labels, or an array of `dtype` and shape (n, outputs).

        Raises
        ------
        TypeError, ValueError
            If `y` has the wrong shape, a label is no class, rows are not probabilities where they must be, or (with
            `finite`) a value is not finite.
        """
        array = to_array("y", y)
        if array.ndim == 0 or len(array) != n:
            raise ValueError(f"y must have as many rows as x: {n}, got shape {array.shape}")
        if array.ndim == 1 and self.n_out > 1 and self.takes_classes:
            return self._labels(array, dtype)
        if array.ndim == 1 and self.n_out > 1 and array.dtype.kind in "iub":
            raise ValueError(
                f"y must have shape ({n}, {self.n_out}), got {array.shape}: labels need an output layer with "
                f"activation 'softmax', for each output of {self.activation!r} is a value of its own"
            )
        target = as_array("y", array, dtype, ndim=(1, 2))
        if target.ndim == 1 and self.n_out == 1:
            target = target.reshape(n, 1)
        check_shape("y", target, (n, self.n_out))
        if finite and not kernels.all_finite(target):
            raise ValueError(f"y must be finite, got NaN or infinity {where_not_finite(target)}")
        if self.name in ("cross_entropy", "binary_cross_entropy"):
            self._check_probabilities(target)
        return target

    def _labels(self, labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if labels.dtype.kind not in "iub":
            raise TypeError(
                f"y holds one label a row and must be of integers, got dtype {labels.dtype}: "
                "use y.astype(int), or one-hot rows"
            )
        if labels.size and labels.min() < 0:
            raise ValueError(f"y holds labels and must not be negative, got {labels.min()}")
        if labels.size and labels.max() >= self.n_out:
            raise ValueError(
                f"y holds labels up to {labels.max()}, which needs at least {int(labels.max()) + 1} outputs; "
                f"the output layer has {self.n_out}"
            )
        if self.name == "cross_entropy":
            return np.require(labels, np.int64, ("C", "A"))
        one_hot = np.zeros((len(labels), self.n_out), dtype)
        one_hot[np.arange(len(labels)), labels.astype(np.int64)] = 1
        return one_hot

    def _check_probabilities(self, target: np.ndarray) -> None:
        if target.size and not (target.min() >= 0 and target.max() <= 1):
            raise ValueError(
                f"y must lie in [0, 1] for loss {self.name!r}, got values from {target.min()} to {target.max()}"
            )
        if self.name == "cross_entropy":
            sums = target.sum(axis=1)
            off = np.flatnonzero(np.abs(sums - 1) > 1e-3)
            if off.size:
                raise ValueError(
                    f"each row of y must sum to 1 for loss 'cross_entropy', got {sums[off[0]]} in row {off[0]}"
                )

    @property
    def threshold(self) -> float:
        """What an output must exceed to be a 1: the logit, where the loss is computed from it, else the output."""
        return 0.0 if self.name == "binary_cross_entropy" else 0.5

    def counting(self, targets: np.ndarray) -> str | float | None:
        """Return how the engine tells right answers: "classes", a threshold on what it has at hand, or None.

        A squared error is a matter of right and wrong only if the targets are classes: all 0 or 1.
        """
        if self.activation == "softmax":
            return "classes"
        if self.name == "binary_cross_entropy":
            return self.threshold
        zeros_and_ones = self.activation in ("sigmoid", "step") and bool(((targets == 0) | (targets == 1)).all())
        return self.threshold if zeros_and_ones else None
