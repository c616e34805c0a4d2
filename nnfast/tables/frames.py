"""Tables of any library as columns of NumPy arrays; none of these libraries is imported here.

Every column becomes a vector of float32 or float64, of integers, of booleans, of datetime64, or of objects: text,
booleans with missing values, or a mixture. Durations become seconds, and dates with a time zone the same instant in
UTC.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from nnfast._validation import describe, ignore_float_errors, shown, to_array

RESOLUTION = "datetime64[us]"  # of dates that are given as objects or text


class Label(NamedTuple):
    """The words by which a message names a column, made only when there is a message."""

    name: str | None
    position: int

    def __str__(self) -> str:
        return f"column {self.position if self.name is None else shown(self.name)}"


class Frame(NamedTuple):
    """A table as columns of NumPy arrays, as `as_frame` returns it.

    Attributes
    ----------
    names : list of str or None
        The names of the columns; None if the data has none.
    columns : list of ndarray of shape (n_rows,)
        Of float32, float64, integers, booleans, datetime64 or objects. In objects, None, NaN, ``pandas.NA`` and
        ``pandas.NaT`` are missing values.
    n_rows : int
    declared : frozenset of int
        The positions of the columns that the data itself declares to be categories, as pandas' ``category`` does.
    """

    names: list[str] | None
    columns: list[np.ndarray]
    n_rows: int
    declared: frozenset[int] = frozenset()

    def label(self, position: int) -> Label:
        """Return the words by which a message names a column."""
        return Label(None if self.names is None else self.names[position], position)

    def chosen(self, rows: np.ndarray) -> Frame:
        """Return some of the rows, given as numbers or as booleans."""
        columns = [column[rows] for column in self.columns]
        return self._replace(columns=columns, n_rows=len(columns[0]))


def as_frame(X: Any, *, names: Sequence[str] | None = None) -> Frame:
    """Return a table as columns of NumPy arrays.

    Parameters
    ----------
    X : table
        A DataFrame of pandas or polars, a Table of pyarrow, a dict of columns, a structured array, a 2-D array, or a
        list of rows.
    names : sequence of str, optional
        The names of the columns, for data that has none.

    Returns
    -------
    Frame

    Raises
    ------
    TypeError
        If `X` is not a table, is sparse, or has a column of complex numbers.
    ValueError
        If `X` is not two-dimensional, has no rows or no columns, its columns or rows differ in length, or two columns
        have the same name.

    Examples
    --------
    >>> from nnfast.tables import as_frame
    >>> frame = as_frame({"age": [31, None], "job": ["cook", "pilot"]})
    >>> frame.names, frame.n_rows
    (['age', 'job'], 2)
    >>> frame.columns[0]
    array([31., nan])
    """
    own, given, declared = _parts(X)
    labels = [Label(None if own is None else own[i], i) for i in range(len(given))]
    columns = [_column(label, column) for label, column in zip(labels, given, strict=True)]
    if not columns:
        raise ValueError(f"X must have at least one column, got {describe(X)}")
    n_rows = len(columns[0])
    for label, column in zip(labels, columns, strict=True):
        if len(column) != n_rows:
            raise ValueError(
                f"X must have columns of equal length: {labels[0]} has {n_rows}, {label} has {len(column)}"
            )
    if not n_rows:
        raise ValueError("X must have at least one row, got none")
    kept = frozenset(declared)
    columns = [_settled(c) if c.dtype.kind == "O" and i not in kept else c for i, c in enumerate(columns)]
    return Frame(_names(own, names, len(columns)), columns, n_rows, kept)


def _names(own: list[str] | None, given: Sequence[str] | None, n: int) -> list[str] | None:
    """Return the names of the columns; ValueError if they do not fit or are not unique."""
    if given is not None:
        if own is not None:
            raise ValueError(f"names is for data without names of columns, but X has some: {shown(own)}")
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            raise TypeError(f"names must be a sequence of str, got {describe(given)}")
        if len(given) != n:
            raise ValueError(f"names must have one name for each of {n} columns, got {len(given)}")
        own = [str(name) for name in given]
    if own is not None and len(set(own)) < n:
        twice = next(name for i, name in enumerate(own) if name in own[:i])
        raise ValueError(f"X must have columns with different names, but more than one is named {shown(twice)}")
    return own


def _parts(X: Any) -> tuple[list[str] | None, list[Any], list[int]]:
    """Return the names of the columns or None, the columns, and the positions of those declared as categories."""
    if isinstance(X, np.ndarray):
        return _parts_of_array(X)
    if isinstance(X, Mapping):
        given = list(X.values())
        return _names_of(X), given, [i for i, c in enumerate(given) if _is_declared(_dtype_of(c))]
    if hasattr(X, "iloc") and hasattr(X, "columns"):  # pandas
        if getattr(X.columns, "nlevels", 1) > 1:
            raise ValueError(
                f"X must have one name for each column, got columns with {X.columns.nlevels} levels: join them first, "
                "as in X.columns = ['_'.join(map(str, names)) for names in X.columns]"
            )
        declared = [i for i, dtype in enumerate(X.dtypes.tolist()) if _is_declared(dtype)]
        return _names_of(X.columns.tolist()), _columns_of_pandas(X), declared
    if hasattr(X, "get_columns"):  # polars
        series = X.get_columns()
        return _names_of(X.columns), series, [i for i, c in enumerate(series) if _is_declared(c.dtype)]
    if hasattr(X, "column_names") and hasattr(X, "schema"):  # pyarrow
        return _names_of(X.column_names), list(X.columns), [i for i, c in enumerate(X.columns) if _is_declared(c.type)]
    if hasattr(X, "collect_schema"):
        raise TypeError(f"X must be a table in memory, got a {type(X).__name__}: use X.collect()")
    if hasattr(X, "iloc"):
        raise ValueError(f"X must be two-dimensional, got a {type(X).__name__}: use X.to_frame() for one column")
    if isinstance(X, (list, tuple)):
        return None, _columns_of_rows(X), []
    if not any(hasattr(X, way) for way in ("__array__", "__dlpack__", "toarray")):  # the last for a better message
        raise TypeError(f"X must be a table, such as a data frame or a 2-D array, got {describe(X)}")
    return _parts_of_array(to_array("X", X))


def numbers_of_pandas(X: Any) -> tuple[list[str], np.ndarray] | None:
    """Return the names and the numbers of a DataFrame of pandas that has nothing else, as a matrix; else None."""
    if not (hasattr(X, "iloc") and hasattr(X, "columns")) or getattr(X.columns, "nlevels", 1) > 1:
        return None
    if not all(isinstance(dtype, np.dtype) and dtype.kind in "fiu" for dtype in set(X.dtypes.tolist())):
        return None
    return _names_of(X.columns.tolist()), X.to_numpy()


def _names_of(names: Iterable[Any]) -> list[str]:
    return [str(name) for name in names]


def _dtype_of(column: Any) -> Any:
    """Return the type of a column of pandas, polars or pyarrow, None if it has none."""
    dtype = getattr(column, "dtype", None)
    return getattr(column, "type", None) if dtype is None else dtype


def _is_declared(dtype: Any) -> bool:
    """Return whether a type of pandas, polars or pyarrow is one for categories."""
    if isinstance(dtype, np.dtype) or dtype is None:
        return False
    if hasattr(dtype, "pyarrow_dtype"):  # pandas
        dtype = dtype.pyarrow_dtype
    return hasattr(dtype, "ordered") or type(dtype).__name__ in ("Categorical", "Enum")


def _parts_of_array(array: np.ndarray) -> tuple[list[str] | None, list[Any], list[int]]:
    if np.ma.is_masked(array):
        raise ValueError("X must not have masked values: fill them first, as X.filled(np.nan) does")
    if array.dtype.names is not None:
        if array.ndim != 1:
            raise ValueError(f"X must have one dimension if it is a structured array, got shape {array.shape}")
        return list(array.dtype.names), [array[name] for name in array.dtype.names], []
    if array.ndim != 2:
        remedy = ": use X.reshape(-1, 1) for one column, or X.reshape(1, -1) for one row" if array.ndim == 1 else ""
        raise ValueError(f"X must have 2 dimensions, rows and columns, got shape {array.shape}{remedy}")
    return None, list(np.asarray(array).T), []


def _columns_of_rows(rows: Sequence[Any]) -> list[Any]:
    """Return the columns of a list of rows; ValueError unless the rows are of equal length."""
    widths = [_length(row) for row in rows]
    if not widths:
        raise ValueError("X must have at least one row, got none")
    if widths[0] is None:
        remedy = "use [X] for one row, or [[value] for value in X] for one column"
        if isinstance(rows[0], Mapping):
            remedy = "use a dict of columns, as in {name: [row[name] for row in X] for name in X[0]}"
        raise ValueError(
            f"X must be a list of rows, each a list of values, but its first element is {describe(rows[0])}: {remedy}"
        )
    for i, width in enumerate(widths):
        if width != widths[0]:
            got = "is not a list of values" if width is None else f"has {width}"
            raise ValueError(f"X must have rows of equal length: row 0 has {widths[0]} values, row {i} {got}")
    return [list(column) for column in zip(*rows, strict=True)]


def _length(row: Any) -> int | None:
    """Return the number of values in a row, None if it is not one."""
    if isinstance(row, (str, bytes, Mapping, set)) or getattr(row, "ndim", 1) != 1 or not hasattr(row, "__len__"):
        return None
    return len(row)


def _column(label: Label, values: Any) -> np.ndarray:
    """Return a column of any library as a vector; missing values in numbers become NaN."""
    if isinstance(values, (list, tuple, range)):
        return np.fromiter(values, dtype=object, count=len(values))
    if isinstance(values, np.ndarray) or not hasattr(values, "to_numpy"):
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
            raise ValueError(
                f"X must have a sequence of values for each column, but {label} is {describe(values)}: for one row, "
                "use lists of one value"
            )
        array = np.asarray(values)
    elif hasattr(values, "iloc"):
        array = _array_of_pandas(values)
    elif hasattr(values, "type"):
        array = _array_of_arrow(values)
    else:
        array = np.asarray(values.to_numpy())
    if np.ma.is_masked(values):
        raise ValueError(f"X must not have masked values, but {label} has: fill them first")
    if array.ndim != 1:
        raise ValueError(f"X must have columns of one dimension, but {label} has shape {array.shape}")
    return _of_known_dtype(label, array)


def _columns_of_pandas(X: Any) -> list[Any]:
    """Return the columns of a DataFrame; of a single row, as arrays of objects, which takes a tenth of the time."""
    if len(X) == 1:
        row = X.iloc[0]
        if row.dtype.kind == "O":  # else pandas converted the numbers to one dtype
            values = np.asarray(row, dtype=object)
            return [values[i : i + 1] for i in range(len(values))]
    return [column for _, column in X.items()]


def _array_of_pandas(series: Any) -> np.ndarray:
    dtype = series.dtype
    if isinstance(dtype, np.dtype) or getattr(dtype, "kind", "O") in "iufb":
        return series.to_numpy()
    if hasattr(dtype, "tz"):  # in UTC; as objects, it would be the same and take longer
        return series.to_numpy(dtype=RESOLUTION)
    return np.asarray(series, dtype=object)


def _array_of_arrow(column: Any) -> np.ndarray:
    if hasattr(column.type, "index_type"):  # a dictionary, whose conversion to NumPy would lose missing values
        column = column.cast(column.type.value_type)
    return column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)


def _of_known_dtype(label: Label, array: np.ndarray) -> np.ndarray:
    """Return a vector of one of the dtypes that columns have; TypeError if there is none for it."""
    kind = array.dtype.kind
    if kind in "mM" and np.datetime_data(array.dtype)[0] in ("ns", "ps", "fs", "as"):
        array = array.astype(f"{kind}8[us]")  # as objects have it, so that both give the same numbers
    if kind == "m":
        return _seconds(array)
    if kind in "UST":
        return array.astype(object)
    if kind not in "fiubMO":
        remedy = ": use its real and imaginary parts as two columns" if kind == "c" else ""
        raise TypeError(
            f"X must have columns of numbers, text, booleans or dates, but {label} has {array.dtype}{remedy}"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(all="ignore"):
            return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array


def _seconds(durations: np.ndarray) -> np.ndarray:
    """Return durations as numbers of seconds; those that are missing become NaN."""
    return np.where(np.isnat(durations), np.nan, durations / np.timedelta64(1, "s"))


# ---- objects


def kind_of(value: object) -> str:
    """Return what an object is by its type.

    It is ``"missing"``, ``"text"``, ``"bool"``, ``"number"``, ``"date"``, ``"duration"`` or ``"other"``. A number, a
    date or a duration may still be NaN or NaT, which `is_missing` tells.
    """
    kind: Any = type(value)
    return _kind_of_type(kind)


@lru_cache(256)
def _kind_of_type(kind: Any) -> str:
    if kind is type(None) or kind.__name__ in ("NAType", "NaTType"):
        return "missing"
    if kind.__name__ == "Period":  # of pandas
        return "date"
    families: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("text", (str, bytes)),
        ("bool", (bool, np.bool_)),
        ("date", (datetime.date, np.datetime64)),
        ("duration", (datetime.timedelta, np.timedelta64)),
        ("number", (numbers.Real,)),
    )
    for name, types in families:
        if issubclass(kind, types):
            return name
    # decimal.Decimal is a Number that is neither Real nor Complex
    return "number" if issubclass(kind, numbers.Number) and not issubclass(kind, numbers.Complex) else "other"


def is_missing(value: Any) -> bool:
    """Return whether an object stands for a missing value: None, NaN, NaT or ``pandas.NA``."""
    kind = kind_of(value)
    if kind not in ("number", "date", "duration"):
        return kind == "missing"
    try:
        return bool(value != value)
    except ArithmeticError:  # a signalling NaN of `decimal`
        return True


def missing_in(column: np.ndarray) -> np.ndarray:
    """Return which values of a column are missing, as booleans."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind == "O":
        return np.fromiter(map(is_missing, column.tolist()), dtype=bool, count=len(column))
    return np.zeros(len(column), dtype=bool)


def _settled(column: np.ndarray) -> np.ndarray:
    """Return objects as an array of their kind if they are all numbers, booleans, dates or durations, or missing."""
    values = column.tolist()
    types: set[Any] = set(map(type, values))
    if len(types) == 1 and issubclass(next(iter(types)), float):
        return np.array(values, dtype=np.float64)
    kinds = {_kind_of_type(kind) for kind in types}
    if "text" in kinds or "other" in kinds:
        return column
    if len(kinds) > 1:  # NaN among others is a missing value, not a number
        missing = missing_in(column)
        kinds = {kind_of(value) for value, out in zip(values, missing.tolist(), strict=True) if not out}
    else:
        missing = missing_in(column)
    if not kinds - {"missing"}:
        return np.full(len(column), np.nan)
    if len(kinds) > 1:
        return column
    (kind,) = kinds
    if kind == "bool":
        return column if missing.any() else column.astype(bool)
    if kind == "date":
        return np.array([instant(v) for v in values], dtype=RESOLUTION)
    if kind == "duration":
        return _seconds(np.array([None if is_missing(v) else v for v in values], dtype="timedelta64[us]"))
    return _numbers(values, whole=not missing.any())


@ignore_float_errors
def _numbers(values: list[Any], *, whole: bool) -> np.ndarray:
    """Return numbers as integers if they are, and fit into 64 bits, and as float64 otherwise."""
    if whole and all(isinstance(value, numbers.Integral) for value in values):
        low, high = min(values), max(values)
        if low >= -(2**63) and high < 2**64 and (low >= 0 or high < 2**63):
            return np.array(values, dtype=np.int64 if high < 2**63 else np.uint64)
    return np.array([float_of(value) for value in values])


def float_of(value: Any) -> float:
    """Return a number as a float, a missing value as NaN, and integers beyond the range of float64 as infinity."""
    if is_missing(value):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def instant(value: Any) -> np.datetime64:
    """Return a date as a datetime64, in UTC if it has a time zone; NaT if it is missing."""
    if is_missing(value):
        return np.datetime64("NaT", "us")
    if hasattr(value, "to_timestamp"):
        value = value.to_timestamp()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")
