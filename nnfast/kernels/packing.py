"""The encodings of columns in memory, as `Encodings` in table.pxd describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast.kernels.table import ColumnKind

KINDS = {kind.name.lower(): int(kind) for kind in ColumnKind}
SLACK = 16  # numbers after a vector that may be read: a vector of any level
LIMIT = 2.0**30  # times what a number is clipped to: what is clipped beyond it is equal
HEAD = 8  # integers before all


def packed(columns: Sequence[tuple[Any, ...]], dtype: Any) -> np.ndarray:
    """Return bytes that are aligned for numbers; nothing in them refers to other memory.

    Parameters
    ----------
    columns : sequence of tuple
        As in `nnfast.reference.columns`.
    dtype : dtype
        Of the numbers.

    Raises
    ------
    KeyError, ValueError
        If a column has another kind, or does not have a number of codes or outputs.
    """
    n, at, learned, stored = len(columns), 0, 0, 0
    each = np.zeros((n, 5), np.intp)
    clips = np.zeros((3, n + SLACK), dtype)
    numbers: list[np.ndarray] = []
    for c, (kind, *values) in enumerate(columns):
        outputs, codes, place = 1, 0, stored
        if kind == "number":
            edges, clip, scale = values
            clips[:, c] = clip * LIMIT, 1 / clip, scale
            if len(edges):
                ends = np.asarray(edges, dtype)
                numbers += [ends, 1 / np.diff(ends)]
                outputs, stored = len(ends), stored + 2 * len(ends) - 1
        elif kind == "one_hot":
            codes = values[0]
            outputs = codes if codes > 2 else 1
        elif kind == "embedding":
            codes, outputs = values
            place, learned = learned, learned + codes * outputs
        if outputs < 1 or codes < 0:
            raise ValueError(f"expected numbers of codes and outputs, got {columns[c]}")
        each[c] = KINDS[kind], at, outputs, codes, place
        at += outputs
    offset = (HEAD + each.size) * each.itemsize
    row = clips.nbytes // 3
    head = [n, at, learned, HEAD * each.itemsize, offset, offset + row, offset + 2 * row, offset + 3 * row]
    parts = [np.array(head, np.intp), each.ravel(), clips.ravel(), *numbers, np.zeros(SLACK, dtype)]
    return np.concatenate([part.view(np.uint8) for part in parts])
