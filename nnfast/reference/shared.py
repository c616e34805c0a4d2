"""Helpers that the files of the reference share; not the twin of a kernel."""

from __future__ import annotations

import numpy as np


def into(out: np.ndarray | None, result: np.ndarray) -> np.ndarray:
    """Return `result`, or `out` with `result` written to it."""
    if out is None:
        return result
    out[...] = result
    return out
