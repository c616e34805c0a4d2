"""The layer that encodes the columns of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import MAX_SIZE, as_tuple, check_bool, check_reduction, check_shape, describe
from nnfast.columns import Column
from nnfast.layers.base import Array, Compiler, Layer, check_penalty, check_values

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike

MAX_COLUMNS = 2**16


def _columns(name: str, value: Any) -> tuple[Column, ...]:
    columns = as_tuple(name, value, "columns")
    check_number(len(columns))
    for i, column in enumerate(columns):
        if not isinstance(column, Column):
            raise TypeError(f"{name}[{i}] must be a column such as nnfast.columns.Number(), got {describe(column)}")
    return columns


def check_number(columns: int) -> None:
    """Raise ValueError for another number of columns than a table can have."""
    if not 1 <= columns <= MAX_COLUMNS:
        raise ValueError(f"columns must be 1 to {MAX_COLUMNS}, got {columns}")


def _initializer(name: str, value: Any) -> Any:
    values = None if value is None else check_values(name, value)
    if isinstance(values, float) and values < 0:
        raise ValueError(f"{name} is a standard deviation and must not be negative, got {values:g}")
    return values


class ColumnEncoding(Layer, name="column_encoding"):
    """Encode the columns of a table, each in its own way: usually the first layer of a network for tables.

    A sample is a vector with a number for each column; the encodings of the columns follow each other in the output.

    Parameters
    ----------
    columns : sequence of Column
        For each input, an object of `nnfast.columns`: `Number`, `Flag`, `OneHot` or `Embedding`; at most 65,536.
    initializer : float or array_like, optional
        The initial numbers of embeddings: the standard deviation of a normal distribution, or the numbers themselves,
        of shape (numbers,), those of a code side by side, code by code and column by column. By default the standard
        deviation is ``1 / sqrt(units)``, so that the vector of a category has a length of about 1, as with `OneHot`.
    l1, l2 : float
        Penalties on the numbers of embeddings, as those of `Dense` on the weights. The weight decay of an optimizer
        applies to them as to weights.
    penalty : {"mean", "sum"}
        What the penalties are added to: see `Dense`.
    trainable : bool
        False leaves the embeddings unchanged in training.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of its range; and when the network is built, if a sample does not
        have one number for each column.

    Notes
    -----
    The embeddings of all columns are one learned vector, ``E``. An optimizer treats the gradient for codes that a
    mini-batch does not have as zero, as in PyTorch's ``Embedding(sparse=False)``.

    Examples
    --------
    >>> import nnfast as nf
    >>> from nnfast.columns import Embedding, Flag, Number, OneHot
    >>> encoding = nf.ColumnEncoding([Number([-1.0, 0.0, 1.0]), Flag(), OneHot(3), Embedding(100, 4)])
    >>> net = nf.Sequential([encoding, nf.Dense(1)], input_shape=4, seed=0)
    >>> net.params["E1"].shape
    (400,)
    >>> net.activations([[0.5, 1.0, 2, -1]], 0).round(3)
    array([[0.493, 0.25 , 0.125, 1.   , 0.   , 0.   , 1.   , 0.   , 0.   ,
            0.   , 0.   ]], dtype=float32)
    """

    numbered_as = "E"
    columns: Sequence[Column] = Field(_columns)
    initializer: float | ArrayLike | None = Field(_initializer, default=None, kw_only=True, in_files=False)
    l1: float = Field(check_penalty, default=0.0, kw_only=True)
    l2: float = Field(check_penalty, default=0.0, kw_only=True)
    penalty: str = Field(check_reduction, default="mean", kw_only=True)
    trainable: bool = Field(check_bool, default=True, kw_only=True)

    def settle(self) -> None:
        outputs = sum(column.outputs for column in self.columns)
        learned = sum(column.learned for column in self.columns)
        for what, number in (("outputs", outputs), ("numbers to learn", learned)):
            if number > MAX_SIZE:
                raise ValueError(f"columns must have at most {MAX_SIZE} {what} together, got {number}")
        if not learned and self.initializer is not None:
            raise ValueError("initializer has no effect without an Embedding")
        if not learned and (self.l1 or self.l2):
            raise ValueError("l1 and l2 need an Embedding: otherwise there are no numbers to penalize")
        if isinstance(self.initializer, np.ndarray):
            check_shape("initializer", self.initializer, (learned,))
        vars(self).update(fixed_shape=(outputs,))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape != (len(self.columns),):
            raise ValueError(
                f"ColumnEncoding of {len(self.columns)} columns needs samples of shape ({len(self.columns)},), got "
                f"{shape}"
            )
        assert self.fixed_shape is not None
        return self.fixed_shape

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        learned = sum(column.learned for column in self.columns)
        E = Array("E", (learned,), self._initial, "initializer", self.l1, self.l2, self.penalty, True)
        return (E,) if learned else ()

    def _initial(self, generator: Generator) -> np.ndarray:
        if isinstance(self.initializer, np.ndarray):
            return self.initializer
        embeddings = [column for column in self.columns if column.learned]
        deviation = 1 / np.sqrt([column.outputs for column in embeddings])
        if self.initializer is not None:
            deviation[:] = self.initializer
        each = np.repeat(deviation, [column.learned for column in embeddings])
        return generator.normal(0.0, each)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "encoding", columns=self.columns)

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().config()
        return config | {"columns": [column.config() for column in self.columns]}

    @classmethod
    def decoded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        columns = arguments["columns"]
        if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
            raise TypeError(f"columns must be a list of descriptions, got {describe(columns)}")
        check_number(len(columns))
        return arguments | {"columns": [Column.from_config(column) for column in columns]}

    def shown(self) -> dict[str, Any]:
        return super().shown() | {"columns": list(self.columns)}

    @property
    def label(self) -> str:
        """What a table of layers calls it: how many columns of each kind it has."""
        kinds = Counter(type(column).__name__ for column in self.columns)
        frozen = "" if self.trainable else ", trainable=False"
        return f"ColumnEncoding({', '.join(f'{count} {kind}' for kind, count in kinds.items())}{frozen})"
