"""How networks encode the matrix that a preparation makes."""

from __future__ import annotations

from typing import Any

from nnfast import columns
from nnfast.layers import ColumnEncoding
from nnfast.tables.preparation import Preparation


def encoding_of(preparation: Preparation) -> ColumnEncoding:
    """Return the layer that encodes prepared rows."""
    return ColumnEncoding([_column(*encoding) for encoding in preparation.encoding_columns()])


def _column(kind: str, *arguments: Any) -> columns.Column:
    """Return how a prepared column is encoded, given an item of `Preparation.encoding_columns`."""
    if kind == "number":
        (edges,) = arguments
        return columns.Number(() if edges is None else edges)
    kinds = {"flag": columns.Flag, "one_hot": columns.OneHot, "embedding": columns.Embedding}
    return kinds[kind](*arguments)
