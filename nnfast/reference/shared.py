"""Helpers that the files of the reference share; not the twin of a kernel."""

from __future__ import annotations

import numpy as np


def into(out: np.ndarray | None, result: np.ndarray) -> np.ndarray:
    """Return `result`, or `out` with `result` written to it."""
    if out is None:
        return result
    out[...] = result
    return out


def mix64(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits in which every bit depends on all: SplitMix64 (Steele, Lea and Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
