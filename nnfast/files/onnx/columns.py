"""The columns of a table in ONNX's operators: those of one kind are encoded together, and then put in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nnfast.columns import Column
from nnfast.files.onnx.schema import DTYPES, Tensor
from nnfast.files.onnx.writer import Writer

Group = Sequence[tuple[int, int, Any]]  # columns of a kind: their inputs, their first outputs, and themselves


class Encoder:
    """Writes the encodings of columns.

    Parameters
    ----------
    writer : Writer
    x : str
        The tensor with the columns.
    path : str
        The path of the layer.
    table : ndarray or None
        The numbers of embeddings.
    """

    def __init__(self, writer: Writer, x: str, path: str, table: np.ndarray | None) -> None:
        self._writer, self._x, self._path, self._table = writer, x, path, table
        self._node, self._number = writer.node, writer.number
        self._parts: list[str] = []
        self._places: list[int] = []  # of the outputs of the parts, in their order

    def write(self, columns: Sequence[Column]) -> str:
        """Add the nodes, and return the output."""
        groups: dict[str, list[tuple[int, int, Column]]] = {}
        at = 0
        for i, column in enumerate(columns):
            kind = "pair" if column.kind == "one_hot" and column.outputs == 1 else column.kind
            groups.setdefault(kind, []).append((i, at, column))
            at += column.outputs
        for kind, group in groups.items():
            WRITERS[kind](self, group)
        last = self._node("Concat", *self._parts, axis=1) if len(self._parts) > 1 else self._parts[0]
        if self._places != sorted(self._places):
            last = self._node("Gather", last, self._integers(np.argsort(self._places)), axis=1)
        return last

    def flags(self, group: Group) -> None:
        """Pass columns on."""
        self._keep(self._take(i for i, _, _ in group), (at for _, at, _ in group))

    def numbers(self, group: Group) -> None:
        """Write clipped numbers, and those by pieces: as the kernels compute them."""
        x = self._take(i for i, _, _ in group)
        clips = np.array([column.clip for _, _, column in group])
        limits, inverses = clips * 2.0**30, self._reals(1 / clips)
        bounded = self._node("Max", self._node("Min", x, self._reals(limits)), self._reals(-limits))
        part = self._node("Mul", bounded, inverses)
        divisor = self._node("Sqrt", self._node("Add", self._node("Mul", part, part), self._number(1.0)))
        self._keep(self._node("Div", bounded, divisor), (at for _, at, _ in group))
        self._pieces([each for each in group if each[2].outputs > 1])

    def _pieces(self, group: Group) -> None:
        if not group:
            return
        edges = [np.array(column.edges, self._writer.dtype) for _, _, column in group]
        counts = [len(each) - 1 for each in edges]
        x = self._take(np.repeat([i for i, _, _ in group], counts))
        lower, inverses = np.concatenate([each[:-1] for each in edges]), 1 / np.concatenate([*map(np.diff, edges)])
        part = self._node("Mul", self._node("Sub", x, self._reals(lower)), self._reals(inverses))
        part = self._node("Clip", part, self._number(0.0), self._number(1.0))
        scale = self._reals(np.repeat([column.scale for _, _, column in group], counts))
        self._keep(self._node("Mul", part, scale), _outputs_of(group, 1))

    def one_hot(self, group: Group) -> None:
        """Write an output for each code, 1 where it is that of the column."""
        x = self._take(np.repeat([i for i, _, _ in group], [column.n for _, _, column in group]))
        codes = np.concatenate([np.arange(column.n) for _, _, column in group])
        self._keep(self._is(x, self._reals(codes)), _outputs_of(group))

    def pairs(self, group: Group) -> None:
        """Write codes 0 and 1 as -1 and 1."""
        x = self._take(i for i, _, _ in group)
        ones, zeros = self._is(x, self._number(1.0)), self._is(x, self._number(0.0))
        self._keep(self._node("Sub", ones, zeros), (at for _, at, _ in group))

    def embeddings(self, group: Group) -> None:
        """Write rows of tables, which have one of zeros more for unknown codes."""
        assert self._table is not None
        x = self._take(i for i, _, _ in group)
        counts = self._reals(np.array([column.n for _, _, column in group]))
        inside = self._node("And", self._node("GreaterOrEqual", x, self._number(0.0)), self._node("Less", x, counts))
        known = self._node("And", inside, self._node("Equal", x, self._node("Floor", x)))
        codes = self._node("Cast", self._node("Where", known, x, counts), to=Tensor.INT64)
        first = 0
        for k, (_, at, column) in enumerate(group):
            rows = self._table[first : first + column.learned].reshape(column.n, column.units)
            table = self._writer.array(f"{self._path}.E", np.pad(rows, ((0, 1), (0, 0))))
            code = self._node("Gather", codes, self._integers(np.array(k)), axis=1)
            self._keep(self._node("Gather", table, code, axis=0), range(at, at + column.outputs))
            first += column.learned

    def _keep(self, part: str, places: Iterable[int]) -> None:
        """Keep a tensor, whose columns belong there."""
        self._parts.append(part)
        self._places += places

    def _take(self, columns: Iterable[int]) -> str:
        return self._node("Gather", self._x, self._integers(np.array([*columns])), axis=1)

    def _is(self, x: str, code: str) -> str:
        return self._node("Cast", self._node("Equal", x, code), to=DTYPES[self._writer.dtype.name])

    def _integers(self, values: np.ndarray) -> str:
        return self._writer.array(f"{self._path}.columns", values.astype(np.int64))

    def _reals(self, values: np.ndarray) -> str:
        return self._writer.array(f"{self._path}.numbers", values.astype(self._writer.dtype))


def _outputs_of(group: Group, first: int = 0) -> list[int]:
    """Return the outputs of columns, without the first ones of each."""
    return [place for _, at, column in group for place in range(at + first, at + column.outputs)]


WRITERS: dict[str, Callable[[Encoder, Group], None]] = {
    "number": Encoder.numbers,
    "flag": Encoder.flags,
    "one_hot": Encoder.one_hot,
    "pair": Encoder.pairs,
    "embedding": Encoder.embeddings,
}
