"""Columns of a table as descriptions: what each holds, and how a `ColumnEncoding` encodes it.

The layer does the arithmetic. Categories are given as codes 0, 1, ...: any other number is a category that is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnfast._description import Description, Field
from nnfast._validation import MAX_SIZE, as_array, check_float, check_int, shown

__all__ = ["Embedding", "Flag", "Number", "OneHot"]

MAX_CODES = 2**24  # of a column: float32 counts no further
MAX_EDGE, MIN_WIDTH = 1e30, 1e-30  # of pieces: float32 holds them and one over each
CLIPS = 1e-6, 1e6


def _edges(name: str, value: Any) -> tuple[float, ...]:
    """Return edges rounded to float32, each as the shortest decimal number with this value."""
    array = as_array(name, value, np.float64, ndim=1, finite=True)
    if len(array) == 1:
        raise ValueError(f"{name} must be empty or have two numbers at least, got {shown(value)}")
    if (np.abs(array) > MAX_EDGE).any():
        raise ValueError(f"{name} must be from {-MAX_EDGE:g} to {MAX_EDGE:g}, got {shown(value)}")
    rounded = array.astype(np.float32)
    (close,) = (~(np.diff(rounded) >= np.float32(MIN_WIDTH))).nonzero()
    if len(close):
        below, above = array[close[0] : close[0] + 2].tolist()
        raise ValueError(f"{name} must increase, and differ in float32, but {above} follows {below}")
    return tuple(map(float, rounded.astype("U32").tolist()))


def _clip(name: str, value: Any) -> float:
    return check_float(name, value, *CLIPS)


def _scale(name: str, value: Any) -> float:
    return check_float(name, value, *CLIPS)


def _codes(name: str, value: Any) -> int:
    return check_int(name, value, 2, MAX_CODES)


def _units(name: str, value: Any) -> int:
    return check_int(name, value, 1, MAX_SIZE)


class Column(Description, noun="a column", tag="kind"):
    """Base class of columns.

    Objects are immutable, and equal if they are of one class and were given the same arguments.

    Attributes
    ----------
    kind : str
        Its name in files.
    outputs : int
        How many numbers it is encoded as.
    learned : int
        How many numbers of it are learned.
    """

    kind: ClassVar[str]
    outputs = 1
    learned = 0

    def encoding(self) -> tuple[Any, ...]:
        """Return the kind and the arguments, as the engine takes them.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.columns.OneHot(3).encoding()
        ('one_hot', 3)
        """
        return self.kind, *(getattr(self, name) for name in self.fields)


class Number(Column, name="number"):
    """A number that was centred and scaled: clipped smoothly and, if there are edges, encoded by pieces.

    The first output is ``x / sqrt(1 + (x / clip)**2)``, which is close to ``x`` near zero and never beyond `clip`. For
    each two edges that follow each other, there is another one: ``scale * (x - lower) / (upper - lower)``, clipped to
    0 below and `scale` above.

    Parameters
    ----------
    edges : sequence of float
        The ends of the pieces, increasing; such as quantiles of the column. Empty, or two at least. They are rounded to
        float32.
    clip : float
        The bound of the first output, from 1e-6 to 1e6.
    scale : float
        The size of the other outputs, from 1e-6 to 1e6.

    Raises
    ------
    TypeError, ValueError
        If they are not such numbers.

    Notes
    -----
    The smooth clip is that of Holzmüller, Grinsztajn and Steinwart, "Better by default" (2024, arXiv:2407.04491); the
    pieces are those of Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning"
    (2022, arXiv:2203.05556). NaN gives NaN.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.columns.Number(edges=[-1.0, 0.0, 2.0])
    Number(edges=(-1.0, 0.0, 2.0))
    >>> nf.columns.Number(edges=[-1.0, 0.0, 2.0]).outputs
    3
    """

    edges: Sequence[float] = Field(_edges, default=())
    clip: float = Field(_clip, default=3.0)
    scale: float = Field(_scale, default=0.25)

    def settle(self) -> None:
        vars(self).update(outputs=max(len(self.edges), 1))


class Flag(Column, name="flag"):
    """A number that is passed on as it is, such as 0 or 1.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.ColumnEncoding([nf.columns.Flag()])], input_shape=1).predict([[1.0]])
    array([[1.]], dtype=float32)
    """


class OneHot(Column, name="one_hot"):
    """A category: one output for each code, 1 for that of the sample and 0 for the others.

    Two categories have a single output: -1 for the code 0, 1 for the code 1. An unknown category gives zeros.

    Parameters
    ----------
    n : int
        The number of categories, whose codes are 0 to ``n - 1``; from 2 to 2**24.

    Raises
    ------
    TypeError, ValueError
        If it is not such an integer.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.ColumnEncoding([nf.columns.OneHot(3), nf.columns.OneHot(2)])], input_shape=2)
    >>> net.predict([[2, 0], [-1, 1]])
    array([[ 0.,  0.,  1., -1.],
           [ 0.,  0.,  0.,  1.]], dtype=float32)
    """

    n: int = Field(_codes)

    def settle(self) -> None:
        vars(self).update(outputs=self.n if self.n > 2 else 1)


class Embedding(Column, name="embedding"):
    """A category: the numbers that are learned for its code. An unknown category gives zeros.

    Parameters
    ----------
    n : int
        The number of categories, whose codes are 0 to ``n - 1``; from 2 to 2**24.
    units : int
        The number of outputs.

    Raises
    ------
    TypeError, ValueError
        If they are not such integers.

    Notes
    -----
    Guo and Berkhahn, "Entity embeddings of categorical variables" (2016).

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.columns.Embedding(1000, 8).learned
    8000
    """

    n: int = Field(_codes)
    units: int = Field(_units)

    def settle(self) -> None:
        vars(self).update(outputs=self.units, learned=self.n * self.units)
