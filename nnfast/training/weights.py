"""Weights of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnfast._validation import as_weights, check_float, check_int, describe
from nnfast.losses import OutputLoss

BALANCED = "balanced"


def classes_of(output: OutputLoss, targets: np.ndarray) -> np.ndarray | None:
    """Return the class of each row, from targets in the engine's format; None if they are not classes.

    The class of a row of probabilities is the largest; that of a single binary output is 0 or 1. A loss of the user's
    may take other labels than classes, and rows of other shapes than the outputs.
    """
    if targets.ndim == 1:
        return None if output.range_misfit(targets) else targets
    if output.misfit(targets):
        return None
    rows = targets.reshape(len(targets), -1)
    if output.answers == "classes":
        found: np.ndarray = rows.argmax(axis=1)
        return found
    if isinstance(output.answers, float) and rows.shape[1] == 1:
        return (rows[:, 0] > output.answers).astype(np.int64)
    return None


def _no_classes(output: OutputLoss, targets: np.ndarray) -> str:
    """Return what `class_weight` needs where `classes_of` found none."""
    return (output.range_misfit(targets) if targets.ndim == 1 else output.misfit(targets)) or (
        "classes: an output layer with softmax, or a single output with sigmoid, got activation "
        f"{output.activation!r} with {output.n_out} outputs and loss {output.name!r}"
    )


def checked_class_weight(class_weight: Any) -> dict[int, float] | str | None:
    """Return the weights by class; TypeError or ValueError if they are not valid."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == BALANCED):
        return class_weight
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict of class to weight, such as {{0: 1.0, 1: 5.0}}, or {BALANCED!r}, "
            f"got {describe(class_weight)}"
        )
    weights = {}
    for label, weight in class_weight.items():
        weights[check_int("a class in class_weight", label, 0)] = check_float(f"class_weight[{label}]", weight, 0.0)
    return weights


def weights_of_classes(
    class_weight: dict[int, float] | str, output: OutputLoss, targets: np.ndarray, rows: np.ndarray | None
) -> np.ndarray:
    """Return the weight of each row by its class.

    Parameters
    ----------
    class_weight : dict or "balanced"
        As returned by `checked_class_weight`. Classes that are not in it have weight 1.
    output : OutputLoss
    targets : ndarray
        In the engine's format.
    rows : ndarray of int64 or None
        The rows to train on, whose classes are counted to balance them.

    Raises
    ------
    ValueError
        If the targets are not classes, or a class does not exist.

    Notes
    -----
    Balanced weights are ``n / (k * count)`` for k classes that occur, as in scikit-learn's ``compute_class_weight``
    (King and Zeng, "Logistic regression in rare events data", 2001).
    """
    classes = classes_of(output, targets)
    if classes is None:
        raise ValueError(f"class_weight needs {_no_classes(output, targets)}")
    n_classes = max(output.n_out, 2)
    of_class = np.ones(n_classes)
    if isinstance(class_weight, str):
        counts = np.bincount(classes if rows is None else classes[rows], minlength=n_classes)
        occur = counts > 0
        of_class[occur] = counts.sum() / (occur.sum() * counts[occur])
    else:
        for label, weight in class_weight.items():
            if label >= n_classes:
                raise ValueError(f"class_weight must have classes from 0 to {n_classes - 1}, got {label}")
            of_class[label] = weight
    return of_class[classes]


def multiplied(of_class: np.ndarray, given: np.ndarray | None, *, all_zero: bool = False) -> np.ndarray:
    """Return the weights of rows by their class, multiplied by those given; ValueError if a product is not valid."""
    with np.errstate(over="ignore"):
        weights = of_class if given is None else of_class * given
    try:
        checked = as_weights(weights, len(weights), all_zero=all_zero)
    except ValueError as error:
        raise ValueError(f"multiplied by class_weight, {error}") from None
    assert checked is not None
    return checked
