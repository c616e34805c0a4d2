"""Data of any dtype and with any strides, as a matrix that kernels compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from .shared import into


def convert(x: np.ndarray, dtype: Any, rows: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    return into(out, (x if rows is None else x[rows]).astype(dtype))
