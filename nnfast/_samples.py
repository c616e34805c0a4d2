"""Samples as they are in memory: large ones stay there, and the engine converts rows while it gathers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._validation import (
    as_array,
    at_index,
    check_axes,
    ignore_float_errors,
    out_of_range,
    read_once,
    to_array,
    where_not_finite,
)
from nnfast.engine.program import Source
from nnfast.kernels.arrays import NUMBERS, all_finite

# Up to this many numbers are converted as a whole, which is faster: at most a megabyte in float32.
WHOLE = 2**18

Rows = np.ndarray | Source  # of samples, converted or not


class Columns:
    """The columns of a data frame, each of its own dtype and in its own memory, with as much of an array as needed.

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


class Sparse:
    """The rows of a CSR matrix, of which only some elements are stored.

    Parameters
    ----------
    values, columns : ndarray
        The stored elements and their columns, row by row.
    starts : ndarray of int64
        Where each row begins in them, and where the last one ends.
    width : int
        The number of columns.
    """

    ndim = 2

    def __init__(self, values: np.ndarray, columns: np.ndarray, starts: np.ndarray, width: int) -> None:
        self.values, self.columns, self.starts = values, columns, starts
        self.shape = (len(starts) - 1, width)

    def __len__(self) -> int:
        return self.shape[0]


def is_sparse(value: Any) -> bool:
    """Return whether `value` is a sparse matrix of SciPy, of any format, or of a library like it."""
    return hasattr(value, "tocsr") and hasattr(value, "format")


def read_samples(name: str, value: Any) -> Any:
    """Return `value` as an array, columns or sparse rows if it holds numbers, else unchanged.

    Nothing is converted that may stay where it is. The errors are those of `to_array`.
    """
    if isinstance(value, Sparse):
        return value
    if is_sparse(value):
        return _sparse(name, value)
    columns = _columns(name, value)
    return read_once(name, value) if columns is None else columns


def as_samples(name: str, value: Any, dtype: Any = None) -> np.ndarray | Columns | Sparse:
    """Like `as_array`, but a large array stays as it is, a large frame becomes columns and a CSR matrix sparse rows."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.size <= WHOLE):
        return as_array(name, value, dtype)
    given = read_samples(name, value)
    if isinstance(given, np.ndarray) and not (given.size > WHOLE and given.ndim > 1 and _is_readable(given)):
        return as_array(name, given, dtype)
    if not isinstance(given, (np.ndarray, Columns, Sparse)):  # not numbers, which is an error
        return as_array(name, value, dtype)
    check_axes(name, given.shape)
    return given


def _is_readable(array: np.ndarray) -> bool:
    """Whether the engine can convert the numbers."""
    return array.dtype.name in NUMBERS and array.dtype.isnative


def _columns(name: str, value: Any) -> Columns | None:
    """Return the columns of a large data frame of pandas or polars.

    None if it is small, holds anything but numbers, or is something else.
    """
    if isinstance(value, Columns):
        return value
    shape: Any = () if isinstance(value, (np.ndarray, list, tuple)) else getattr(value, "shape", ())
    if len(shape) != 2 or shape[0] * shape[1] <= WHOLE:
        return None
    if hasattr(value, "iloc"):  # pandas
        series = [column for _, column in value.items()]
        if any(hasattr(column.dtype, "na_value") and column.isna().any() for column in series):
            return None
    elif hasattr(value, "get_columns"):  # polars
        series = value.get_columns()
    else:
        return None
    arrays = [read_once(name, column) for column in series]
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return None
    return Columns(arrays)


def _sparse(name: str, value: Any) -> Sparse:
    """Return the rows of a CSR matrix; TypeError or ValueError for another format or arrays that do not fit."""
    if value.format != "csr":
        raise TypeError(f"{name} must be an array or a CSR matrix, got {type(value).__name__}: use {name}.tocsr()")
    if len(value.shape) != 2:
        raise ValueError(f"{name} must have 2 dimension(s), got shape {value.shape}")
    check_axes(name, value.shape)
    values, columns, starts = (to_array(name, part) for part in (value.data, value.indices, value.indptr))
    if not _is_readable(values):
        values = as_array(name, values, np.float64)
    n, width = value.shape
    fits = values.ndim == columns.ndim == starts.ndim == 1 and columns.dtype.kind == starts.dtype.kind == "i"
    if not fits or len(starts) != n + 1 or starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        raise ValueError(
            f"{name} is not a valid CSR matrix: indptr must be {n + 1} ascending integers, starting with 0"
        )
    if starts[-1] > min(len(values), len(columns)):
        raise ValueError(
            f"{name} is not a valid CSR matrix: indptr ends with {starts[-1]}, but there are {len(values)} data and "
            f"{len(columns)} indices"
        )
    kept = np.int64 if columns.dtype.itemsize == 8 else np.int32
    values, columns = np.require(values, None, ("C", "A")), np.require(columns, kept, ("C", "A"))
    return Sparse(values, columns, starts.astype(np.int64), width)  # a copy: callbacks and threads cannot change it


def _source_of_sparse(sparse: Sparse, dtype: np.dtype) -> Source:
    """Return sparse rows as a source; ValueError unless the columns of each row are ascending."""
    source = Source(dtype, (sparse.values, sparse.columns, sparse.starts), sparse.shape[1])
    row = source.first_disorder()
    if row < 0:
        return source
    own = sparse.columns[sparse.starts[row] : sparse.starts[row + 1]]
    if own.min() < 0 or own.max() >= sparse.shape[1]:
        beyond = own.min() if own.min() < 0 else own.max()
        raise ValueError(
            f"x is not a valid CSR matrix: its columns are 0 to {sparse.shape[1] - 1}, got index {beyond} in row {row}"
        )
    raise ValueError(
        f"x must have sorted indices without duplicates in each row, but row {row} does not: call x.sum_duplicates() "
        "first, which also sorts them"
    )


def rows_of(samples: np.ndarray | Columns | Sparse, dtype: np.dtype, width: int) -> Rows:
    """Return samples of so many numbers each as rows that the engine reads."""
    if isinstance(samples, Sparse):
        return _source_of_sparse(samples, dtype)
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
    """Look at all samples, converting a part at a time.

    A number out of range is reported before one that is not finite, wherever they are.
    """
    if source.is_sparse:
        _look_at_stored(name, source, finite=finite)
        return
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


@ignore_float_errors
def _look_at_stored(name: str, source: Source, *, finite: bool) -> None:
    """Do the same for sparse rows, of which only the stored elements can be out of range or not finite."""
    values, columns, starts = source.arrays
    found = -1
    for first in range(0, int(starts[-1]), WHOLE):
        given = values[first : min(first + WHOLE, int(starts[-1]))]
        made = given.astype(source.dtype)
        if np.isfinite(made).all():
            continue
        beyond = np.flatnonzero(np.isinf(made) & np.isfinite(given))
        if beyond.size:
            at = first + int(beyond[0])
            raise ValueError(out_of_range(name, source.dtype, values[at], _index_of_stored(columns, starts, at)))
        if found < 0:
            found = first + int(np.isfinite(made).argmin())
    if finite and found >= 0:
        raise ValueError(_not_finite(name, at_index(_index_of_stored(columns, starts, found)).lstrip()))


def _index_of_stored(columns: np.ndarray, starts: np.ndarray, at: int) -> np.ndarray:
    """Return row and column of a stored element."""
    return np.array([np.searchsorted(starts, at, "right") - 1, columns[at]])
