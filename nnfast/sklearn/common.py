"""What all estimators share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

DTYPES = (np.float64, np.float32)  # of computations; samples of any other dtype become the first


def store(estimator: BaseEstimator, parameters: dict[str, Any]) -> None:
    """Store parameters as they are, given the local variables of a constructor."""
    for name, value in parameters.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


@contextmanager
def unchanged_on_error(estimator: BaseEstimator, private: Collection[str] = ()) -> Iterator[None]:
    """Set what `fit` sets back to what it was if an error is raised: names that end with "_", and `private` ones.

    Other attributes stay, such as the context that scikit-learn needs to end its callbacks.
    """
    attributes = vars(estimator)
    before = dict(attributes)
    try:
        yield
    except BaseException:
        for name in [name for name in attributes | before if name.endswith("_") or name in private]:
            if name in before:
                attributes[name] = before[name]
            else:
                del attributes[name]
        raise


def as_rows(X: Any) -> Any:
    """Return samples that the engine takes: sparse ones as CSR with sorted indices, in a copy if need be."""
    if not sparse.issparse(X):
        return X
    matrix: Any = X
    rows = matrix.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is matrix else rows
        rows.sum_duplicates()
    return rows


def refuse_balanced(class_weight: Any) -> None:
    """Raise ValueError if `partial_fit` is asked to balance the classes."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' needs all rows at once, and partial_fit gets a part of them: give a dict of "
            "weights, such as those that sklearn.utils.class_weight.compute_class_weight computes from a large sample"
        )
