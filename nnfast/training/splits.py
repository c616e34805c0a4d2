"""Rows that are set aside for validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._validation import check_float


def checked_split(fraction: Any) -> float:
    """Return a fraction between 0 and 1; TypeError or ValueError if it is not."""
    return check_float("validation_split", fraction, 0.0, 1.0, open_ends=True)


def split_rows(n: int, fraction: float, classes: np.ndarray | None, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those to validate on, both in increasing order.

    Parameters
    ----------
    n : int
        The number of rows.
    fraction : float
        The part to validate on: at least one row, and at most all but one.
    classes : ndarray of int64 or None
        The class of each row; each class is divided in the same proportion, as nearly as whole rows allow.
    seed : int or None
        Determines which rows; None takes the last ones.

    Raises
    ------
    ValueError
        If there is only one row.
    """
    if n < 2:
        raise ValueError(f"validation_split needs at least two rows, got {n}")
    count = min(max(round(fraction * n), 1), n - 1)
    if seed is None:
        return np.arange(n - count), np.arange(n - count, n)
    rng = np.random.default_rng([seed, n])
    chosen = rng.permutation(n)[:count] if classes is None else _stratified(classes, count, rng)
    aside = np.zeros(n, bool)
    aside[chosen] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def _stratified(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` rows, from each class its share; the classes with the largest remainders get one more."""
    sizes = np.bincount(classes)
    exact = sizes * (count / len(classes))
    shares = np.floor(exact).astype(np.int64)
    most = np.argsort(shares - exact, kind="stable")[: count - shares.sum()]
    shares[most] += 1
    chosen = [rng.permutation(np.flatnonzero(classes == label))[:share] for label, share in enumerate(shares) if share]
    return np.concatenate(chosen)
