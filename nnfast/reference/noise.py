"""Counter-based noise: the noise of an element is a hash of (key, row, column) and of nothing else.

The same key therefore gives the same noise in both dtypes, for any number of rows and on any number of threads.
"""

from __future__ import annotations

import numpy as np

from .shared import into, mix64


def _row_keys(key: int, row0: int, m: int) -> np.ndarray:
    return mix64(mix64(np.array([key], np.uint64)) + np.arange(row0, row0 + m, dtype=np.uint64))


def _hash(row_keys: np.ndarray, n: int) -> np.ndarray:
    """32 random bits for each row and column: lowbias32 (Wellons 2018), with both halves of the row's key mixed in."""
    low, high = row_keys.astype(np.uint32)[:, np.newaxis], (row_keys >> np.uint64(32)).astype(np.uint32)[:, np.newaxis]
    x = np.arange(n, dtype=np.uint32) + low
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15)) ^ high) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _upper(bits: np.ndarray) -> np.ndarray:
    """The upper 24 bits, as an integer with a sign."""
    return (bits.view(np.int32) >> 8).astype(np.float64)


def noise_key(seed: int, step: int, layer: int) -> int:
    """The key of one layer's noise in one step of training; each number has 64 bits."""
    seed_, step_, layer_ = (np.array([number], np.uint64) for number in (seed, step, layer))
    return int(mix64(mix64(mix64(seed_) ^ step_) ^ layer_)[0])


def dropout(
    x: np.ndarray,
    rate: float,
    key: int,
    row0: int = 0,
    keep: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """``x * keep`` (Srivastava et al. 2014; inverted, as in PyTorch).

    `keep` is 0 with probability `rate`, else 1/(1 - rate).
    """
    kept = _hash(_row_keys(key, row0, x.shape[0]), x.shape[1]) >= np.uint32(rate * 2.0**32)
    factors = into(keep, kept * x.dtype.type(1 / (1 - rate)))
    return into(out, x * factors)


def gaussian_noise(
    x: np.ndarray, deviation: float, key: int, row0: int = 0, out: np.ndarray | None = None
) -> np.ndarray:
    """``x`` plus normal noise of standard deviation `deviation`, at most 5.77 times it (Box and Muller 1958).

    Two 24-bit uniform numbers, u in (0, 1] and v in [-1/2, 1/2), give a normal one: sqrt(-2 log(u)) sin(pi v).
    """
    row_keys = _row_keys(key, row0, x.shape[0])
    u = (_upper(_hash(row_keys, x.shape[1])) + 1) * 2.0**-24 + 0.5
    v = _upper(_hash(mix64(row_keys), x.shape[1])) * 2.0**-24
    normal = np.sqrt(-2 * np.log(u)) * np.sin(np.pi * v)
    return into(out, (x + deviation * normal).astype(x.dtype))
