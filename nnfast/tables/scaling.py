"""Numbers centred and scaled by order statistics."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfast._validation import ignore_float_errors

LIMIT = 1e9  # of a scaled number: float32 can square it
_LARGEST = float(np.finfo(np.float64).max) / 4  # numbers whose differences do not overflow


class Scale(NamedTuple):
    """What is subtracted from a column of numbers, and what it is then divided by."""

    center: float
    width: float


@ignore_float_errors
def scale_of(values: np.ndarray) -> Scale | None:
    """Return the median and the quartile range of a column; None if all values that are not missing are equal.

    Where the quartile range is 0, half of the whole range takes its place. Missing values count as the median, infinite
    ones as the largest or smallest finite one.

    Parameters
    ----------
    values : ndarray of float64
        With NaN for missing values.
    """
    known = values[~np.isnan(values)]
    finite = known[np.isfinite(known)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if low == high:  # infinite values still differ from it
        low, high = low - max(abs(low), 1.0), high + max(abs(high), 1.0)
    known = np.clip(known, max(low, -_LARGEST), min(high, _LARGEST))
    if not known.size:
        return None
    center = np.median(known)
    filled = np.concatenate([known, np.full(len(values) - len(known), center)])
    first, third = np.percentile(filled, [25, 75])
    width = third - first or (known.max() - known.min()) / 2
    return Scale(float(center), float(width)) if width > 0 else None


@ignore_float_errors
def scale_into(out: np.ndarray, values: np.ndarray, center: np.ndarray | float, width: np.ndarray | float) -> None:
    """Write scaled numbers to `out` as float32 from ``-LIMIT`` to `LIMIT`, and 0 where a value is missing."""
    scaled = np.subtract(values, center, dtype=np.float64)
    scaled /= width
    np.minimum(scaled, LIMIT, out=scaled)
    np.maximum(scaled, -LIMIT, out=scaled)
    out[...] = scaled
    out[np.isnan(scaled)] = 0.0
