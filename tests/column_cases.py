"""Columns of each kind, and samples for them."""

from __future__ import annotations

import numpy as np

from nnfast.columns import Column, Embedding, Flag, Number, OneHot


def mixed(rng: np.random.Generator, n: int = 24) -> list[Column]:
    """Columns of each kind, with edges and codes of many numbers; the first is an embedding."""
    columns = []
    for i in range(n):
        edges = np.cumsum(rng.uniform(0.1, 0.5, [0, 2, 3, 9, 40][i % 5])) - 1
        kinds = [Number(edges, clip=2.0, scale=0.5), Flag(), OneHot(2 + i), OneHot(2), Embedding(2 + 3 * i, 1 + i % 9)]
        columns.append(kinds[i % 4 if i < 8 else rng.integers(5)] if i else Embedding(30, 3))
    return columns


def samples(columns: list[Column], rng: np.random.Generator, rows: int, dtype: str = "float64") -> np.ndarray:
    """Numbers, and codes of which one in ten is unknown."""
    x = 1.5 * rng.normal(size=(rows, len(columns)))
    for j, column in enumerate(columns):
        if isinstance(column, (OneHot, Embedding)):
            x[:, j] = rng.integers(0, column.n, rows)
            x[rng.random(rows) < 0.1, j] = rng.choice([-1, column.n, 0.5, 1e30])
    return x.astype(dtype)
