"""The order in which an epoch visits the samples: a function of one number of 64 bits."""

from __future__ import annotations

import numpy as np

from .shared import mix64


def _random_bits(n: int, seed: int) -> list[int]:
    """64 random bits for each of n positions: SplitMix64 of a counter."""
    return mix64(mix64(np.array([seed], np.uint64)) + np.arange(n, dtype=np.uint64)).tolist()


def _below(bits: int, bound: int) -> int:
    """The high half of a 128-bit product (Lemire 2019), without the rejection step.

    The bias is below 2**-32 for arrays that fit in memory.
    """
    return (bits * bound) >> 64


def shuffle(order: np.ndarray, seed: int) -> None:
    """Shuffle `order` in place (Fisher and Yates; Durstenfeld 1964)."""
    bits = _random_bits(len(order), seed)
    for i in range(len(order) - 1, 0, -1):
        j = _below(bits[i], i + 1)
        order[i], order[j] = order[j], order[i]


def draw(order: np.ndarray, rows: int, seed: int) -> None:
    """Fill `order` with row numbers below `rows`, drawn with replacement."""
    order[:] = [_below(bits, rows) for bits in _random_bits(len(order), seed)]
