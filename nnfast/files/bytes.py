"""Bytes in files: those of arrays, and those of streams whose size cannot be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

FIRST, CHUNK = 2**14, 2**20  # bytes that are read at once: first, and at most


def little_endian(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, little-endian and in C order: its own memory if that is how they are stored."""
    return in_c_order(np.asarray(array, array.dtype.newbyteorder("<")))


def in_c_order(array: np.ndarray) -> memoryview:
    """Return the bytes of an array in C order: its own memory if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_at_most(stream: Any, size: int, start: bytes = b"") -> bytearray:
    """Return `start` and what follows, up to `size` bytes. Memory is allocated for bytes read, and as many again."""
    data = bytearray(start)
    while len(data) < size:
        chunk = stream.read(min(size - len(data), max(FIRST, min(CHUNK, len(data)))))
        if not chunk:
            break
        data += chunk
    return data
