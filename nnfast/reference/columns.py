"""The encoding of a table's columns.

Each column is a tuple: ``("number", edges, clip, scale)``, ``("flag",)``, ``("one_hot", codes)`` or
``("embedding", codes, outputs)``. The rows of all embeddings are one vector, one column after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .shared import into


def _known(x: np.ndarray, codes: int) -> np.ndarray:
    """Whether each number is a code 0 ... codes - 1, as a matrix of one column for each code."""
    return x[:, np.newaxis] == np.arange(codes)


def _pieces(x: np.ndarray, edges: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers as a column; where the pieces begin; one over their widths."""
    ends = np.array(edges, x.dtype)
    return x[:, np.newaxis], ends, 1 / np.diff(ends)


def _outputs(columns: Sequence[tuple[Any, ...]]) -> Iterator[tuple[slice, slice]]:
    """Where each column has its outputs, and where its embeddings are."""
    at = learned = 0
    for kind, *values in columns:
        n, numbers = 1, 0
        if kind == "number":
            n = max(len(values[0]), 1)
        elif kind == "one_hot":
            n = values[0] if values[0] > 2 else 1
        elif kind == "embedding":
            n, numbers = values[1], values[0] * values[1]
        yield slice(at, at + n), slice(learned, learned + numbers)
        at, learned = at + n, learned + numbers


def _encoded(x: np.ndarray, column: tuple[Any, ...], table: np.ndarray | None) -> np.ndarray:
    kind, *values = column
    if kind == "number":
        edges, clip, scale = values
        bounded = np.clip(x, -clip * 2.0**30, clip * 2.0**30)
        clipped = bounded / np.sqrt(1 + (bounded / x.dtype.type(clip)) ** 2)
        if not len(edges):
            return clipped[:, np.newaxis]
        column_of_x, ends, inverses = _pieces(x, edges)
        return np.column_stack([clipped, scale * np.clip((column_of_x - ends[:-1]) * inverses, 0, 1)])
    if kind == "one_hot":
        known = _known(x, values[0]).astype(x.dtype)
        return known if values[0] > 2 else known[:, 1:] - known[:, :1]
    if kind == "embedding":
        assert table is not None
        known, rows = _known(x, values[0]), table.reshape(values)
        return np.where(known.any(axis=1, keepdims=True), rows[known.argmax(axis=1)], 0).astype(x.dtype)
    return x[:, np.newaxis]


def encode(
    x: np.ndarray,
    columns: Sequence[tuple[Any, ...]],
    embeddings: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Numbers clipped (Holzmüller et al. 2024) and by pieces (Gorishniy et al. 2022), flags, and codes.

    The clip is ``x / sqrt(1 + (x / clip)**2)``. Codes are one-hot, or rows of embeddings.
    """
    n = sum(place.stop - place.start for place, _ in _outputs(columns))
    result = np.empty((len(x), n), x.dtype)
    for column, values, (place, rows) in zip(columns, x.T, _outputs(columns), strict=True):
        result[:, place] = _encoded(values, column, None if embeddings is None else embeddings[rows])
    return into(out, result)


def _slope(x: np.ndarray, column: tuple[Any, ...], gradient: np.ndarray) -> np.ndarray:
    kind, *values = column
    if kind == "flag":
        return gradient[:, 0]
    if kind != "number":
        return np.zeros_like(x)
    edges, clip, scale = values
    root = np.sqrt(1 + (np.clip(x, -clip * 2.0**30, clip * 2.0**30) / x.dtype.type(clip)) ** 2)
    slope = gradient[:, 0] / (root * root * root)
    if len(edges):
        column_of_x, ends, inverses = _pieces(x, edges)
        inside = (ends[:-1] < column_of_x) & (column_of_x <= ends[1:])
        slope = slope + scale * np.where(inside, gradient[:, 1:] * inverses, 0).sum(axis=1)
    return slope.astype(x.dtype)


def encode_backward(
    gradient: np.ndarray, x: np.ndarray, columns: Sequence[tuple[Any, ...]], out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient with respect to `x`: zero for codes; at an edge, the slope of the piece below it."""
    result = np.empty_like(x)
    for c, (place, _) in enumerate(_outputs(columns)):
        result[:, c] = _slope(x[:, c], columns[c], gradient[:, place])
    return into(out, result)


def encode_backward_table(
    gradient: np.ndarray, x: np.ndarray, columns: Sequence[tuple[Any, ...]], out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient with respect to the embeddings, a sum over the rows with the code."""
    parts = [np.empty(0, x.dtype)]
    for c, (place, _) in enumerate(_outputs(columns)):
        if columns[c][0] == "embedding":
            parts.append((_known(x[:, c], columns[c][1]).T.astype(x.dtype) @ gradient[:, place]).ravel())
    return into(out, np.concatenate(parts))
