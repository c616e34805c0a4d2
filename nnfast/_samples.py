"""Samples as they lie: large ones stay where they are, and the engine converts rows while it gathers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._validation import as_array, at_index, check_axes, out_of_range, read_once, where_not_finite
from nnfast.engine.program import Source
from nnfast.kernels.arrays import NUMBERS, all_finite

# Up to this many numbers are converted as a whole, which is faster: at most a megabyte in float32.
WHOLE = 2**18

Rows = np.ndarray | Source  # of samples, converted or not


class Columns:
    """The columns of a data frame, each of its own dtype and in its own memory, with as much of an array as is needed.

    Parameters
    ----------
    arrays : sequence of ndarray
        Vectors of numbers, of equal length.
    """

    ndim = 2

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        self.shape = (len(arrays[0]), len(arrays))
        self.dtype = np.result_type(*{array.dtype for array in arrays})

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows as a matrix, each number rounded to float64."""
        return np.stack([array[rows].astype(np.float64) for array in self.arrays], axis=-1)


def read_samples(name: str, value: Any) -> Any:
    """Return `value` as an array or as columns if it holds numbers, else unchanged; the errors are those of `to_array`.

    Nothing is converted that may stay where it is.
    """
    columns = _columns(name, value)
    return read_once(name, value) if columns is None else columns


def as_samples(name: str, value: Any, dtype: Any = None) -> np.ndarray | Columns:
    """Like `as_array`, but a large array of numbers stays as it is, and a large data frame becomes columns."""
    given = read_samples(name, value)
    if isinstance(given, Columns):
        return given
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        if _stays(given):
            check_axes(name, given.shape)
            return given
        value = given
    return as_array(name, value, dtype)


def _stays(array: np.ndarray) -> bool:
    return array.size > WHOLE and array.ndim > 1 and _is_readable(array)


def _is_readable(array: np.ndarray) -> bool:
    """Whether the engine can convert the numbers."""
    return array.dtype.name in NUMBERS and array.dtype.isnative


def _columns(name: str, value: Any) -> Columns | None:
    """Return the columns of a large data frame of pandas or polars.

    None if it is small, holds anything but numbers, or is something else.
    """
    if isinstance(value, Columns):
        return value
    if hasattr(value, "iloc") and hasattr(value, "items"):  # pandas
        series = [column for _, column in value.items()]
    elif hasattr(value, "get_columns"):  # polars
        series = list(value.get_columns())
    else:
        return None
    shape: tuple[int, ...] = getattr(value, "shape", ())
    if len(shape) != 2 or shape[0] * shape[1] <= WHOLE:
        return None
    if any(hasattr(column.dtype, "na_value") and column.isna().any() for column in series):  # pandas.NA and others
        return None
    arrays = [read_once(name, column) for column in series]
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in arrays):
        return None
    check_axes(name, shape)
    return Columns(arrays)


def rows_of(samples: np.ndarray | Columns, dtype: np.dtype, width: int) -> Rows:
    """Return samples of so many numbers each as rows that the engine reads."""
    if isinstance(samples, Columns):
        arrays = [a if _is_readable(a) else as_array("x", a, dtype) for a in samples.arrays]
        return Source(dtype, [a[:, None] for a in arrays])
    if samples.dtype == dtype and samples.flags.c_contiguous and samples.flags.aligned:
        return samples.reshape(len(samples), width)
    return Source(dtype, _matrices(samples))


def _matrices(array: np.ndarray) -> list[np.ndarray]:
    """Return views of an array as matrices, one sample in each row, whose columns follow each other.

    There is one if the axes of a sample lie evenly in memory.
    """
    n = len(array)
    array = array.reshape(n, *[size for size in array.shape[1:] if size > 1] or [1])
    first = array.ndim - 1
    while first > 1 and array.strides[first - 1] == array.strides[first] * array.shape[first]:
        first -= 1
    return [array[(slice(None), *index)].reshape(n, -1) for index in np.ndindex(*array.shape[1:first])]


def share_memory(rows: Rows, array: np.ndarray) -> bool:
    """Return whether an array may share memory with samples."""
    return any(np.may_share_memory(array, own) for own in (rows.arrays if isinstance(rows, Source) else (rows,)))


def reshaped(rows: Rows, shape: tuple[int, ...]) -> Rows:
    """Return samples of this shape as an argument for another network; a source needs no shape."""
    return rows if isinstance(rows, Source) else rows.reshape(-1, *shape)


def check_range(name: str, rows: Rows, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a finite number is out of range for the dtype."""
    if not isinstance(rows, Source) or rows.dtype == np.float64:
        return
    if any(array.dtype == np.float64 for array in rows.arrays):
        _look(name, rows, shape, finite=False)


def check_finite(name: str, rows: Rows, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a number is not finite, or out of range for the dtype."""
    if isinstance(rows, Source):
        if any(array.dtype.kind == "f" for array in rows.arrays):
            _look(name, rows, shape, finite=True)
    elif not all_finite(rows):
        raise ValueError(_not_finite(name, where_not_finite(rows)))


def _not_finite(name: str, where: str) -> str:
    return f"{name} must be finite, got NaN or infinity {where}"


def _look(name: str, source: Source, shape: tuple[int, ...], *, finite: bool) -> None:
    """Look at all samples, of which a part is converted at a time.

    A number out of range is an error before one that is not finite, wherever they are.
    """
    found: np.ndarray | None = None
    first = source.not_finite(0)
    while first >= 0:
        part = slice(first, first + source.looked_at)
        made, given = source[part], np.concatenate([array[part] for array in source.arrays], axis=1)
        beyond = np.argwhere(np.isinf(made) & np.isfinite(given))
        if beyond.size:
            row, column = beyond[0]
            index = np.array([first + row, *np.unravel_index(column, shape)])
            raise ValueError(out_of_range(name, source.dtype, given[row, column], index))
        if finite and found is None:
            found = np.argwhere(~np.isfinite(made))[0] + (first, 0)
        first = source.not_finite(first + source.looked_at)
    if found is not None:
        raise ValueError(_not_finite(name, at_index(found).lstrip()))
