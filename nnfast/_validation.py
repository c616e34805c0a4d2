"""The one gate through which every array argument passes.

Behind it, arrays are C-contiguous, aligned, in native byte order and of a dtype that the kernels know; each error names
the argument, what came and what was expected.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

MAX_SIZE = 2**31 - 1  # of one axis: the kernels are tested for sizes below it


def describe(value: Any) -> str:
    """Say what came, for the end of an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def as_array(
    name: str,
    value: Any,
    dtype: Any = None,
    *,
    ndim: int | Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    finite: bool = False,
) -> np.ndarray:
    """Return `value` as an array the kernels can read, without a copy where it already is one.

    Parameters
    ----------
    name : str
        What the caller's user calls the argument; errors begin with it.
    value : array_like
        Real numbers, booleans included.
    dtype : dtype, optional
        The dtype to compute in. By default float32 stays float32 and all else becomes float64.
    ndim : int or sequence of int, optional
        The numbers of axes that are accepted.
    shape : sequence of (int or None), optional
        The shape that is expected; None leaves an axis free.
    finite : bool
        Refuse NaN and infinity.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the shape is another one, an axis is too long, a finite number is beyond the range of `dtype`, or a value is
        not finite though it must be.
    """
    array = to_array(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got {describe(value)}")
    if dtype is None:
        dtype = np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
    if ndim is not None and array.ndim not in ((ndim,) if isinstance(ndim, int) else ndim):
        wanted = ndim if isinstance(ndim, int) else " or ".join(map(str, ndim))
        raise ValueError(f"{name} must have {wanted} dimension(s), got shape {array.shape}")
    if shape is not None:
        check_shape(name, array, shape)
    if any(size > MAX_SIZE for size in array.shape):
        raise ValueError(f"{name} has an axis longer than {MAX_SIZE}: shape {array.shape}")
    if not (array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned):
        array = _cast(name, array, dtype)
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity {where_not_finite(array)}")
    return array


def _cast(name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return np.require(array, dtype, ("C", "A"))
    except FloatingPointError:
        index = np.argwhere(np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max))[0]
        value = array[tuple(index)]
        raise ValueError(f"{name} must fit {np.dtype(dtype)}, got {value:g}{_at(index)}, which is beyond it") from None


def as_weights(value: Any, n: int, *, all_zero: bool = False) -> np.ndarray | None:
    """Return the weights of `n` rows as float64; None stays None.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, holds what is negative or not finite, is all zero unless it may be, or has a sum
        beyond float64.
    """
    if value is None:
        return None
    weights = as_array("sample_weight", value, np.float64, shape=(n,), finite=True)
    if weights.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {weights.min()}{_at(np.argwhere(weights < 0)[0])}")
    if not weights.any():
        if all_zero:
            return weights
        raise ValueError("sample_weight must not be all zero")
    low, high = range_of(np.float64)
    if not (low <= weights[weights > 0].min() and weights.max() <= high / n):
        raise ValueError(
            f"sample_weight must be of numbers whose sum is one, zero or from {low:.3g} to {high / n:.3g} each, got "
            f"{weights[weights > 0].min()} to {weights.max()}"
        )
    return weights


def to_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of any dtype; ValueError if its rows differ in length or values are masked."""
    if type(value) is not np.ndarray and np.ma.is_masked(value):
        raise ValueError(f"{name} must have no masked values: fill them first")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None


def where_not_finite(array: np.ndarray) -> str:
    """Point at the first value that is NaN or infinite."""
    return _at(np.argwhere(~np.isfinite(array))[0]).lstrip()


def _at(index: np.ndarray) -> str:
    """Say where; nothing of a single number."""
    if not index.size:
        return ""
    return f" at index {index[0] if index.size == 1 else tuple(index.tolist())}"


def check_shape(name: str, array: np.ndarray, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless `array` has `shape`; None in `shape` leaves an axis free."""
    fits = array.ndim == len(shape) and all(
        want is None or want == size for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        wanted = f"({wanted},)" if len(shape) == 1 else f"({wanted})"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")


def check_out(name: str, out: Any, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Return `out` if results of `shape` and `dtype` can be written to it.

    Raises
    ------
    TypeError
        If it is no array, or of another dtype.
    ValueError
        If its shape differs or it is read-only.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a numpy array, got {describe(out)}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must have dtype {np.dtype(dtype)}, got {out.dtype}")
    check_shape(name, out, shape)
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return out


def check_int(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int from `minimum` to `maximum`; TypeError or ValueError otherwise."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {describe(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {describe(value)}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}")
    return number


def check_float(
    name: str, value: Any, minimum: float = -np.inf, maximum: float = np.inf, *, open_ends: bool = False
) -> float:
    """Return `value` as a finite float within the bounds, which `open_ends` leaves out."""
    if isinstance(value, (bool, np.bool_, str, bytes, complex, np.complexfloating)) or np.ndim(value):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {describe(value)}") from None
    except OverflowError:
        number = np.inf
    inside = minimum < number < maximum if open_ends else minimum <= number <= maximum
    if not (inside and np.isfinite(number)):
        ends = "()" if open_ends else "[]"
        raise ValueError(f"{name} must be a finite number in {ends[0]}{minimum}, {maximum}{ends[1]}, got {number}")
    return number


@cache
def range_of(dtype: Any) -> tuple[float, float]:
    """Return the smallest and the largest number of a dtype that loses nothing: below, the engine flushes to zero."""
    return float(np.finfo(dtype).smallest_normal), float(np.finfo(dtype).max)


def check_holds(name: str, number: float, dtype: Any) -> None:
    """Raise ValueError unless arrays of the dtype can hold the number: a smaller one would count as zero."""
    low, high = range_of(dtype)
    if number and not low <= abs(number) <= high:
        raise ValueError(f"{name} has the number {number}, but {dtype} holds those from {low:.3g} to {high:.3g}")


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


def choose(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the names in `choices`; the error lists them all."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, choices))}, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def require(module: str, extra: str) -> Any:
    """Import an optional dependency, or say which extra of nnfast brings it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module.partition('.')[0]} is needed for this: pip install 'nnfast[{extra}]'") from error
