"""The confusion matrix: how often each class was predicted for rows of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import as_labels, as_weights, check_int, to_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_CLASSES = 10_000  # the matrix then has 800 MB


def confusion_matrix(
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    n_classes: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> np.ndarray:
    """Count how often each class was predicted for rows of each class, as scikit-learn's ``confusion_matrix``.

    Parameters
    ----------
    targets : array_like of shape (n,)
        The classes: integers from 0.
    predictions : array_like of shape (n,)
        The predicted classes, as from `Sequential.predict_class`.
    n_classes : int, optional
        The number of classes, at most 10,000; by default one more than the largest class.
    sample_weight : array_like of shape (n,), optional
        The weight of each row, not negative.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        In row i and column j the number of rows of class i that were predicted as class j: int64, or with
        `sample_weight` float64, the sum of their weights.

    Raises
    ------
    TypeError, ValueError
        If the classes are not integers from 0 to ``n_classes - 1``, or the lengths differ.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.confusion_matrix([0, 0, 1, 2, 2], [0, 1, 1, 2, 0])
    array([[1, 1, 0],
           [0, 1, 0],
           [1, 0, 1]])
    """
    largest = MAX_CLASSES if n_classes is None else check_int("n_classes", n_classes, 1, MAX_CLASSES)
    true, predicted = _classes("targets", targets, largest), _classes("predictions", predictions, largest)
    if len(true) != len(predicted):
        raise ValueError(f"predictions must have as many rows as targets: {len(true)}, got {len(predicted)}")
    if n_classes is None and not len(true):
        raise ValueError("targets must have at least one row if n_classes is not given, got none")
    weights = as_weights(sample_weight, len(true)) if len(true) else None
    k = 1 + int(max(true.max(), predicted.max())) if n_classes is None else largest
    counts = np.bincount(true * k + predicted, weights, minlength=k * k)
    return counts.reshape(k, k)


def _classes(name: str, value: Any, largest: int) -> np.ndarray:
    """Return classes as int64; TypeError or ValueError unless they are integers from 0 to ``largest - 1``."""
    array = to_array(name, value)
    if array.ndim != 1:
        remedy = f": for one-hot rows, use {name}.argmax(axis=1)" if array.ndim == 2 and array.shape[1] > 1 else ""
        raise ValueError(f"{name} must have shape (n,), got {array.shape}{remedy}")
    if not array.size:
        return np.zeros(0, np.int64)
    if array.dtype.kind in "iub" and array.max() >= largest:
        raise ValueError(f"{name} must hold classes below {largest:,}, got {array.max()}")
    return as_labels(name, array, largest)
