"""Checks of arguments, shared by the whole package.

Every array argument is checked here; afterwards it is C-contiguous, aligned, in native byte order and of a dtype that
the kernels support. Large samples are the exception: they stay as they are (`nnfast._samples`). Each error names the
argument, the value received and what was expected.
"""

from __future__ import annotations

import numbers
import operator
import reprlib
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

MAX_SIZE = 2**31 - 1  # of one axis: the kernels are tested for sizes below it
MAX_AXES = 64  # of a NumPy array
MAX_INT = 2**128  # default upper limit of an integer argument
SHOWN = 5  # maximum number of columns of a data frame in a message

# Decorator for functions that compute with NumPy, so that the caller's `np.seterr` has no effect on them. Not for a
# function that calls user code, which must run with the user's error state.
ignore_float_errors = np.errstate(all="ignore")


class Unset(Enum):
    """The default of an argument for which None has a meaning."""

    UNSET = "unset"


UNSET = Unset.UNSET


def describe(value: Any) -> str:
    """Describe the value received, for the end of an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if hasattr(value, "to_numpy") and isinstance(getattr(value, "shape", None), tuple):  # their repr is many lines long
        return f"a {type(value).__name__} of shape {value.shape}"
    return f"{shown(value)} ({type(value).__name__})"


def shown(value: Any) -> str:
    """Return the shortened repr of `value`, or a description if there is none, as for integers with too many digits."""
    try:
        return reprlib.repr(value)
    except Exception:
        return f"an integer of {value.bit_length()} bits" if type(value) is int else "an object that cannot be printed"


def as_array(
    name: str,
    value: Any,
    dtype: Any = None,
    *,
    ndim: int | Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    finite: bool = False,
) -> np.ndarray:
    """Return `value` as an array that the kernels can read, without copying if it already is one.

    Parameters
    ----------
    name : str
        The name of the argument that the user knows; error messages begin with it.
    value : array_like
        Real numbers, booleans included.
    dtype : dtype, optional
        The dtype to compute in. By default float32 stays float32 and everything else becomes float64.
    ndim : int or sequence of int, optional
        The accepted numbers of dimensions.
    shape : sequence of (int or None), optional
        The expected shape; None accepts any length of that axis.
    finite : bool
        Whether to raise ValueError for NaN and infinity.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the shape does not match, an axis is too long, a finite number is out of range for `dtype`, or `finite` is
        true and a value is not finite.
    """
    array = to_array(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, {_why_not_numbers(name, value, array)}")
    if dtype is None:
        dtype = np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
    if ndim is not None and array.ndim not in ((ndim,) if isinstance(ndim, int) else ndim):
        wanted = ndim if isinstance(ndim, int) else " or ".join(map(str, ndim))
        raise ValueError(f"{name} must have {wanted} dimension(s), got shape {array.shape}")
    if shape is not None:
        check_shape(name, array, shape)
    check_axes(name, array.shape)
    if not (array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned):
        array = _cast(name, array, dtype)
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity {where_not_finite(array)}")
    return array


def check_axes(name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError if an axis is too long."""
    if any(size > MAX_SIZE for size in shape):
        raise ValueError(f"{name} has an axis longer than {MAX_SIZE}: shape {shape}")


def _cast(name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    try:
        with np.errstate(all="ignore", over="raise"):  # whatever the caller's state; tiny values may become zero
            return np.require(array, dtype, ("C", "A"))
    except FloatingPointError:
        index = np.argwhere(np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max))[0]
        value = array[tuple(index)]
        raise ValueError(out_of_range(name, dtype, value, index)) from None


def out_of_range(name: str, dtype: Any, value: Any, index: np.ndarray) -> str:
    """Return the message about a number that is too large for a dtype."""
    return f"{name} must fit into {np.dtype(dtype)}, got {value:g}{at_index(index)}"


def as_weights(value: Any, n: int, *, all_zero: bool = False) -> np.ndarray | None:
    """Return the sample weights of `n` rows as float64, or None if `value` is None.

    Raises
    ------
    TypeError, ValueError
        If `value` has the wrong shape, contains negative or non-finite numbers, is all zero (unless `all_zero`), or has
        numbers too small or too large to be summed in float64.
    """
    if value is None:
        return None
    weights = as_array("sample_weight", value, np.float64, shape=(n,), finite=True)
    if weights.min() < 0:
        raise ValueError(
            f"sample_weight must not be negative, got {weights.min()}{at_index(np.argwhere(weights < 0)[0])}"
        )
    if not weights.any():
        if all_zero:
            return weights
        raise ValueError("sample_weight must not be all zero")
    low, high = range_of(np.float64)
    if not (low <= weights[weights > 0].min() and weights.max() <= high / n):
        raise ValueError(
            f"sample_weight must be zero or from {low:.3g} to {high / n:.3g} in each row, so that its sum fits into "
            f"float64, got {weights[weights > 0].min()} to {weights.max()}"
        )
    return weights


def to_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of any dtype; an object array of numbers and booleans becomes numeric.

    Raises
    ------
    TypeError, ValueError
        If `value` cannot be read as an array, its rows differ in length, or it has masked values.
    """
    if type(value) is not np.ndarray:
        if np.ma.is_masked(value):
            raise ValueError(f"{name} must not have masked values: fill them first, as {name}.filled(0) does")
        if hasattr(value, "toarray"):  # SciPy's sparse arrays: np.asarray would make them one object
            raise TypeError(f"{name} must be a dense array, got {type(value).__name__}: use {name}.toarray()")
    try:
        array = np.from_dlpack(value) if _only_dlpack(value) else np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # arrays of other libraries may raise any kind
        if isinstance(error, ValueError):
            raise ValueError(f"{name} must be a rectangular array of numbers: {_raggedness(value, error)}") from None
        raise TypeError(f"{name} cannot be read as an array of numbers, got {type(value).__name__}: {error}") from None
    return _numbers_of_objects(name, array) if array.dtype.kind == "O" else array


def number(name: str, value: Any) -> Any:
    """Return the result of a function as a float64 or longdouble; TypeError unless it is one number."""
    array = to_array(f"the result of {name}", value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must return one real number, got {describe(value)}")
    return array.astype(wide(array.dtype)).reshape(())[()]


def wide(dtype: np.dtype) -> np.dtype:
    """Return the dtype of a function's values: at least float64."""
    return np.result_type(dtype, np.float64)


def _only_dlpack(value: Any) -> bool:
    """Whether an object can only be read through DLPack; NumPy's own ways are older, and more objects have them."""
    if not hasattr(value, "__dlpack__") or isinstance(value, np.ndarray):
        return False
    return not any(hasattr(value, way) for way in ("__array__", "__array_interface__", "__array_struct__"))


def read_once(name: str, value: Any) -> Any:
    """Return `value` as an array if it holds numbers, else unchanged, so that the next check can say more about it."""
    array = to_array(name, value)
    return array if array.dtype.kind in "fiub" else value


def _raggedness(value: Any, error: ValueError) -> str:
    """Say which rows differ in length; if none do, return NumPy's message."""
    if isinstance(value, (list, tuple)):
        rows = [
            "length " + str(len(row)) if getattr(row, "shape", True) and hasattr(row, "__len__") else "no length"
            for row in value
        ]
        for i, row in enumerate(rows):
            if row != rows[0]:
                return f"row 0 has {rows[0]} and row {i} has {row}"
    return str(error)


def _numbers_of_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Return the array as integers or floats if all elements are real numbers or booleans, else unchanged."""
    flat = array.ravel().tolist()
    kinds = set(map(type, flat))
    if not all(map(_is_number_type, kinds)):
        return array
    if flat and all(issubclass(kind, (int, np.integer, np.bool_)) for kind in kinds):
        with suppress(OverflowError):  # they may still fit into floats
            return array.astype(np.int64)
    try:
        with np.errstate(all="ignore"):
            floats = array.astype(np.float64)
        beyond = [
            value for value, number in zip(flat, floats.ravel(), strict=True) if np.isinf(number) and value != number
        ]
    except (OverflowError, ValueError):  # a huge int, or a signalling NaN of `decimal`
        raise ValueError(f"{name} must fit into float64, got a number that is out of its range") from None
    if beyond:
        raise ValueError(f"{name} must fit into float64, got {shown(beyond[0])}")
    return floats


def _is_number_type(kind: type) -> bool:
    """Whether objects of this type are real numbers or booleans; `decimal.Decimal` is a Number, but not a Real."""
    if issubclass(kind, (numbers.Complex, np.timedelta64)):
        return issubclass(kind, numbers.Real) and not issubclass(kind, np.timedelta64)
    return issubclass(kind, (numbers.Number, np.bool_))


def _why_not_numbers(name: str, value: Any, array: np.ndarray) -> str:
    """Say what an array contains instead of real numbers, and what to do about it."""
    columns = getattr(value, "columns", None)
    if array.dtype.kind == "O" and array.ndim == 2 and columns is not None and len(columns) == array.shape[1]:
        return _columns_that_do_not_fit(name, list(columns), array)
    return f"got {describe(value)}{_remedy(name, array)}"


def _columns_that_do_not_fit(name: str, columns: list[Any], array: np.ndarray) -> str:
    found = []
    for column, values in zip(columns, array.T, strict=True):
        at, other = _first_other(values)
        if at >= 0:
            found.append(f"{shown(column)} has {shown(other)}")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"but column {', '.join(found[:SHOWN])}{more}: drop such columns or convert them to numbers, as "
        f"pandas.get_dummies does for text and categories; {name}.to_numpy(dtype=float) turns missing values into NaN"
    )


def _first_other(values: np.ndarray) -> tuple[int, Any]:
    """Return the index of the first element that is not a real number, and that element; -1 and None if all are."""
    return next(((i, v) for i, v in enumerate(values.ravel().tolist()) if not _is_number_type(type(v))), (-1, None))


def _remedy(name: str, array: np.ndarray) -> str:
    """Say what to do about an array that does not hold real numbers."""
    kind = array.dtype.kind
    if not array.ndim:
        return ""
    if kind == "O":
        at, first = _first_other(array)
        if isinstance(first, str):
            return _remedy_for_text(name, array)
        where = f", with {shown(first)}{at_index(np.array(np.unravel_index(at, array.shape)))}"
        missing = first is None or type(first).__name__ in ("NAType", "NaTType")
        return f"{where}: drop the rows with missing values" if missing else where
    if kind in "UST":
        return _remedy_for_text(name, array)
    if kind in "mM":
        return f": convert them to numbers first, such as ({name} - {name}.min()) / np.timedelta64(1, 's')"
    return {
        "c": f": use {name}.real or np.abs({name})",
        "V": ": numpy.lib.recfunctions.structured_to_unstructured turns fields into columns",
    }[kind]


def _remedy_for_text(name: str, array: np.ndarray) -> str:
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        if name == "x":
            return ": encode such a feature as a column of 0 and 1 for each of its values"
        return f": use {_renumber(name)} to number the classes from 0"
    return f": these are numbers written as text, which np.asarray({name}).astype(float) converts"


def _renumber(name: str) -> str:
    return f"classes, {name} = np.unique({name}, return_inverse=True)"


def where_not_finite(array: np.ndarray) -> str:
    """Say where the first NaN or infinity is."""
    return at_index(np.argwhere(~np.isfinite(array))[0]).lstrip()


def at_index(index: np.ndarray) -> str:
    """Say where; empty for a single number."""
    if not index.size:
        return ""
    return f" at index {index[0] if index.size == 1 else tuple(index.tolist())}"


def as_labels(name: str, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return an array of one or more dimensions as class labels, int64 from 0 to `n_classes - 1`.

    Raises
    ------
    TypeError
        If the labels are not integers; the message says how to convert them.
    ValueError
        If a label is out of range or missing.
    """
    if labels.dtype.kind not in "iub":
        raise _labels_of_others(name, labels)
    if not labels.size:
        return np.require(labels, np.int64, ("C", "A"))
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise ValueError(
            f"{name} holds labels and must not be negative, got {low}: use {_renumber(name)} to number them from 0"
        )
    if high >= n_classes:
        remedy = f": if the labels start at 1, use {name} - 1" if low == 1 and high == n_classes else ""
        raise ValueError(
            f"{name} holds labels up to {high}, which need at least {high + 1} outputs, but there are {n_classes}"
            + remedy
        )
    return np.require(labels, np.int64, ("C", "A"))


def _labels_of_others(name: str, labels: np.ndarray) -> Exception:
    """Return the error for labels that are not integers."""
    message = f"{name} must hold one integer label per row, got dtype {labels.dtype}"
    if labels.dtype.kind == "O" and not isinstance(_first_other(labels)[1], str):
        return TypeError(message + _remedy(name, labels))
    if labels.dtype.kind != "f":
        return TypeError(f"{message}: use {_renumber(name)}")
    missing = np.count_nonzero(~np.isfinite(labels))
    if missing:
        return ValueError(
            f"{message} with NaN or infinity in {missing} of {labels.size}, the first {where_not_finite(labels)}: drop "
            f"these rows, and use {name}.astype(int)"
        )
    fractions = labels != np.floor(labels)
    if fractions.any():
        at = np.argwhere(fractions)[0]
        return TypeError(
            f"{message} with {labels[tuple(at)]:g}{at_index(at)}: targets that are not classes need an output layer "
            "without softmax, such as Dense(1)"
        )
    return TypeError(f"{message}: use {name}.astype(int), or one-hot rows")


def check_shape(name: str, array: Any, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless `array`, of any kind, has `shape`; None in `shape` accepts any length."""
    if not _fits(array.shape, shape):
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        wanted = f"({wanted},)" if len(shape) == 1 else f"({wanted})"
        remedy = ""
        if array.ndim == 2 and array.shape[1] == 1 and _fits(array.shape[:1], shape):
            remedy = f": use np.ravel({name})"
        elif array.ndim == 1 and _fits((*array.shape, 1), shape):
            remedy = f": use np.reshape({name}, (-1, 1))"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}{remedy}")


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == n for w, n in zip(wanted, shape, strict=True))


def check_out(name: str, out: Any, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Return `out` if results of `shape` and `dtype` can be written to it.

    Raises
    ------
    TypeError
        If it is not an array or has another dtype.
    ValueError
        If its shape differs or it is read-only.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a numpy array, got {describe(out)}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must have dtype {np.dtype(dtype)}, got {out.dtype}")
    check_shape(name, out, shape)
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writable, got a read-only array")
    return out


def check_int(name: str, value: Any, minimum: int, maximum: int = MAX_INT) -> int:
    """Return `value` as an int from `minimum` to `maximum`; TypeError or ValueError otherwise."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {describe(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {describe(value)}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(number)}")
    if number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {shown(number)}")
    return number


def check_float(
    name: str, value: Any, minimum: float = -np.inf, maximum: float = np.inf, *, open_ends: bool = False
) -> float:
    """Return `value` as a finite float within the bounds, which `open_ends` excludes."""
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {describe(value)}") from None
    except OverflowError:
        number = np.inf if value > 0 else -np.inf
    except ValueError:  # a signalling NaN of `decimal`
        number = np.nan
    inside = minimum < number < maximum if open_ends else minimum <= number <= maximum
    if not (inside and np.isfinite(number)):
        ends = "()" if open_ends else "[]"
        raise ValueError(f"{name} must be a finite number in {ends[0]}{minimum}, {maximum}{ends[1]}, got {number}")
    return number


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above 0."""
    return check_float(name, value, 0.0, open_ends=True)


def check_not_negative(name: str, value: Any) -> float:
    """Return `value` as a finite float, at least 0."""
    return check_float(name, value, 0.0)


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int, at least 1."""
    return check_int(name, value, 1)


def _is_number(value: Any) -> bool:
    """Whether `value` is a single real number by its type: `float` would also accept text, booleans and durations."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.ndim == 0 and value.dtype.kind in "fiu" and not np.ma.is_masked(value)
    return not isinstance(value, (bool, str, bytes, bytearray, complex)) and getattr(value, "ndim", 0) == 0


@cache
def range_of(dtype: Any) -> tuple[float, float]:
    """Return the smallest and the largest normal number of a dtype; the engine flushes smaller ones to zero."""
    return float(np.finfo(dtype).smallest_normal), float(np.finfo(dtype).max)


def check_holds(name: str, number: float, dtype: Any) -> None:
    """Raise ValueError unless arrays of `dtype` can hold the number: a smaller one would count as zero."""
    low, high = range_of(dtype)
    if number and not low <= abs(number) <= high:
        raise ValueError(f"{name} has the number {number}, but {dtype} only holds numbers from {low:.3g} to {high:.3g}")


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the line of user code that called nnfast, however deep the call."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "nnfast",
        "numpy",
        "scipy",
        "sklearn",
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def warn_of_lost_digits(x: np.ndarray, y: np.ndarray, targets: np.ndarray, dtype: np.dtype) -> None:
    """Warn if training in `dtype` loses the differences between rows of x, or of targets that are not labels."""
    if dtype != np.float32:
        return
    for name, array in (("x", x), ("y", y))[: 1 if targets.ndim == 1 else 2]:
        lost = lost_in_float32(name, array)
        if lost:
            warn(f'{lost}, or give the network dtype="float64"', UserWarning)


@ignore_float_errors
def lost_in_float32(name: str, array: np.ndarray) -> str | None:
    """Return a warning if a column holds values that float32 cannot tell apart though float64 can; None otherwise.

    An example is times in seconds since 1970 that are 10 apart: float32 numbers of that size are 128 apart. A column
    counts if float32 merges more than a tenth of the neighbouring values that differ among 512 rows (the first 256, and
    256 spread over the data), and has fewer than 2**16 numbers between the 5th and the 95th percentile of these rows.
    So three things do not count: the remains of rounding (differences below 2**-40 of the column's size), tiny values
    beside large ones, and a fine grid over a wide range, whose neighbours float32 may well merge.
    """
    if array.dtype.kind not in "fiu" or np.can_cast(array.dtype, np.float32) or len(array) < 2:
        return None
    rows = np.union1d(np.arange(min(len(array), 256)), np.linspace(0, len(array) - 1, 256).astype(np.int64))
    sample = array[rows].astype(np.float64).reshape(len(rows), -1)
    sample.sort(axis=0)
    low, high = sample[len(rows) // 20], sample[-1 - len(rows) // 20]
    size = np.maximum(np.abs(sample[0]), np.abs(sample[-1]))
    single = sample.astype(np.float32)
    differ = np.diff(sample, axis=0) > 2.0**-40 * size
    joined = differ & (single[1:] == single[:-1])
    narrow = high - low < 2.0**16 * np.spacing(size.astype(np.float32))
    columns = np.flatnonzero(narrow & (10 * joined.sum(axis=0) > differ.sum(axis=0)))
    if not columns.size:
        return None
    at = columns[0]
    before, after = 1 + differ[:, at].sum(), 1 + (differ & ~joined)[:, at].sum()
    where = f"in column {at}, " if sample.shape[1] > 1 else ""
    others = f" (and in {columns.size - 1} other columns)" if columns.size > 1 else ""
    return (
        f"{name} holds values that float32 cannot tell apart, though float64 can: {where}{before} values from "
        f"{sample[0, at]:.9g} to {sample[-1, at]:.9g} become {after}{others}. Subtract the mean and divide by the "
        f"standard deviation, ({name} - {name}.mean(0)) / {name}.std(0)"
    )


def content(value: Any) -> Any:
    """Return a hashable key by which hyperparameters are compared: equal for equal arrays."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, (value + 0.0).tobytes()  # -0.0 and 0.0 are equal
    return tuple(map(content, value)) if isinstance(value, (list, tuple)) else value


def check_bool(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; TypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe(value)}")
    return bool(value)


def check_verbose(verbose: Any) -> int:
    """Return `verbose` if it is 0 or 1; ValueError otherwise."""
    if not isinstance(verbose, (int, np.integer)) or verbose not in (0, 1):
        raise ValueError(f"verbose must be 0 or 1, got {describe(verbose)}")
    return int(verbose)


def check_quantity(name: str, value: Any) -> str:
    """Return the name of a quantity to monitor; TypeError otherwise. Only `fit` knows which ones it records."""
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be the name of a value that fit records, such as 'val_loss', got {describe(value)}"
        )
    return str(value)


def choose(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the names in `choices`; the error lists them all."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, choices))}, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")
    return str(value)  # the repr of a NumPy string differs


def check_reduction(name: str, value: Any) -> str:
    """Return whether something is added up (``"sum"``) or averaged (``"mean"``)."""
    return choose(name, value, ("mean", "sum"))


def as_tuple(name: str, value: Any, of: str) -> tuple[Any, ...]:
    """Return the elements of a sequence; TypeError if `value` is not iterable. `of` names what it should contain."""
    try:
        elements = iter(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of {of}, got {describe(value)}") from None
    return tuple(elements)


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def takes_keyword(function: Any, name: str) -> bool:
    """Return whether a function accepts a keyword argument; True if it has no signature, as some compiled ones."""
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return True
    given = parameters.get(name)
    if given is not None and given.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
        return True
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())


def require(module: str, extra: str) -> Any:
    """Import an optional dependency; the ImportError says which extra of nnfast installs it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module.partition('.')[0]} is needed for this: pip install 'nnfast[{extra}]'") from error
