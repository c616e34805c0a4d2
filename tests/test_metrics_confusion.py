"""The confusion matrix: hand-computed values, its reference twin, bad arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfast as nf
from nnfast.reference.data_metrics import confusion_matrix as reference

TARGETS, PREDICTIONS = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2]


def test_counts():
    found = nf.metrics.confusion_matrix(TARGETS, PREDICTIONS)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    found = nf.metrics.confusion_matrix(TARGETS, PREDICTIONS, n_classes=4, sample_weight=[1, 0.5, 2, 3, 0, 0.25])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3.25, 0], [0, 0, 0, 0]])


def test_classes_of_other_types():
    for dtype in (bool, np.uint8, np.int32, np.uint64, object):
        found = nf.metrics.confusion_matrix(np.array([0, 1, 1], dtype), np.array([1, 1, 0], dtype))
        np.testing.assert_array_equal(found, [[0, 1], [1, 1]])
    np.testing.assert_array_equal(nf.metrics.confusion_matrix([], [], n_classes=2), np.zeros((2, 2)))
    np.testing.assert_array_equal(nf.metrics.confusion_matrix([0], [2]), [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


@given(n=st.integers(1, 30), k=st.integers(1, 6), weighted=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_the_reference_agrees(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    targets, predictions = rng.integers(0, k, (2, n))
    weights = np.append(1, rng.choice([0.0, 0.5, 3.0], n - 1)) if weighted else None
    found = nf.metrics.confusion_matrix(targets, predictions, n_classes=k, sample_weight=weights)
    np.testing.assert_array_equal(found, reference(targets, predictions, k, np.ones(n) if weights is None else weights))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0, 3], [0, 1]), {"n_classes": 3}, ValueError, "^targets must hold classes below 3, got 3$"),
        (([0, 1], [0, 3]), {"n_classes": 3}, ValueError, "^predictions must hold classes below 3, got 3$"),
        (([0, 2**40], [0, 1]), {}, ValueError, "^targets must hold classes below 10,000, got 1099511627776$"),
        (([0, -1], [0, 1]), {}, ValueError, "^targets holds labels and must not be negative, got -1"),
        (([0.0, 1.0], [0, 1]), {}, TypeError, r"^targets must hold one integer label per row, got dtype float64: use"),
        ((["a", "b"], [0, 1]), {}, TypeError, "^targets must hold one integer label per row, got dtype <U1: use class"),
        (([0, 1], [[0, 1], [1, 0]]), {}, ValueError, r"shape \(n,\), got \(2, 2\): .* use predictions.argmax\(axis=1"),
        (([0, 1], [0]), {}, ValueError, "^predictions must have as many rows as targets: 2, got 1$"),
        (([], []), {}, ValueError, "^targets must have at least one row if n_classes is not given, got none$"),
        (([0], [0]), {"n_classes": 0}, ValueError, "^n_classes must be at least 1, got 0$"),
        (([0], [0]), {"n_classes": 10_001}, ValueError, "^n_classes must be at most 10000, got 10001$"),
        (([0], [0]), {"n_classes": 2.0}, TypeError, "^n_classes must be an integer"),
        (([0], [0]), {"sample_weight": [1, 2]}, ValueError, r"^sample_weight must have shape \(1,\)"),
        (([0], [0]), {"sample_weight": [-1]}, ValueError, "^sample_weight must not be negative"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        nf.metrics.confusion_matrix(*arguments, **options)
