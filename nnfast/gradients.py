"""Numerical derivatives of any function of an array, and descent along them.

A function is asked for its value a step to either side of each number. Its own code may be Python for one point, Python
for a stack of points, or compiled.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._threads import get_num_threads
from nnfast._validation import (
    MAX_SIZE,
    as_array,
    check_bool,
    check_float,
    check_int,
    choose,
    describe,
    own_error_state,
    to_array,
    where_not_finite,
)
from nnfast.engine.compiled import differences_of_compiled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Descent", "gradient_descent", "numerical_diff", "numerical_gradient", "numerical_jacobian"]

METHODS = ("central", "forward")
STACK_BYTES = 2**25  # of points that a vectorized function is given at once
SIGNATURE = "double (int, double *, void *)"
PYTHON_API = 4  # the flag of a ctypes function that wants the GIL


def numerical_diff(f: Callable[[Any], Any], x: ArrayLike, /, h: float | None = 1e-4) -> Any:
    """Compute the derivative of a function of one variable, by a central difference.

    Parameters
    ----------
    f : callable
        Of a number; given an array, it must work on each element.
    x : float or array_like
        Where; integers are taken as float64. `f` gets copies.
    h : float or None
        The step to either side. None picks one for each element, from its dtype and magnitude.

    Returns
    -------
    float or ndarray
        ``(f(x + h) - f(x - h)) / 2h``, of the shape of ``f(x)`` and, if that is an array, of the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If `x` holds no real and finite numbers, if `h` is no positive number or too small to change `x`, or if `f`
        gives no numbers or, for an array, not one for each element.

    Warns
    -----
    UserWarning
        If `x` is float32 or float16 and `h` is given: rounding may be larger than the differences.

    Notes
    -----
    Chapter 4.3.1 of Saito's *Deep Learning from Scratch*. The step is the one between the two points as they are
    rounded, so that a float32 `x` is no source of error. The error of the formula is of order ``h**2``.

    Examples
    --------
    >>> import nnfast as nf
    >>> round(nf.numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5), 6)
    0.2
    >>> nf.numerical_diff(lambda x: x**3, [1.0, 2.0], h=None).round(6)
    array([ 3., 12.])
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    point = _floats(x)
    right, left = _points(point, h, "central")
    _warn_of_rounding(point, h, 3)
    above, below = (_values_at(f, at) for at in (right, left))
    shape = point.shape if point.ndim else above.shape
    for values in (above, below):
        if values.shape != shape:
            raise ValueError(f"f must give an array of shape {shape}, got {values.shape}")
    slope = np.asarray((above - below) / _width(right, left), point.dtype)
    return slope if slope.ndim else slope.item()


def _values_at(f: Callable[[Any], Any], at: np.ndarray) -> np.ndarray:
    found = f(at.copy() if at.ndim else at.item())
    return np.array(as_array("the result of f", found, _wide(at.dtype)))


def numerical_gradient(
    f: Any, x: ArrayLike, /, h: float | None = 1e-4, method: str = "central", *, vectorized: bool = False
) -> np.ndarray:
    """Compute the gradient of a function of an array, by differences in each element.

    Parameters
    ----------
    f : callable
        The function, which gives one number. Either Python that takes an array shaped like `x`; or, with `vectorized`,
        a stack of them, of shape (k, *x.shape), and gives k numbers; or compiled: a `scipy.LowLevelCallable`, a ctypes
        function or a numba ``cfunc`` of the signature ``double f(int n, double *x, void *user_data)``. A compiled
        function is called without the GIL and from several threads at once, and must leave its `x` as it is.
    x : array_like
        Where, of any shape. A writable array of floats is changed in place, one element at a time, and restored, also
        when `f` raises: so a function may look at the array rather than at its argument. Anything else is copied;
        integers become float64.
    h : float or None
        The step. None picks one for each element, from its dtype and magnitude.
    method : {"central", "forward"}
        ``(f(x + h) - f(x - h)) / 2h`` for each element, or ``(f(x + h) - f(x)) / h``, which takes half the time and is
        less exact.
    vectorized : bool
        Whether `f` takes a stack of points.

    Returns
    -------
    ndarray
        Shaped like `x`, and of its dtype.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, if `x` is not finite, if `f` gives something else than one number for each point,
        or if `h` is too small to change an element.

    Warns
    -----
    UserWarning
        If `x` is float32 or float16 and `h` is given: rounding may be larger than the differences.

    Notes
    -----
    Chapter 4.4 of Saito's *Deep Learning from Scratch*. With ``h=None`` the step is the cube root of the dtype's
    epsilon (for forward differences the square root) times the larger of 1 and the element's size, which balances
    rounding and the error of the formula (Nocedal and Wright, *Numerical Optimization*, 8.1).

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.numerical_gradient(lambda x: np.sum(x**2), np.array([3.0, 4.0])).round(6)
    array([6., 8.])
    >>> nf.numerical_gradient(lambda stack: (stack**2).sum(axis=1), [3.0, 4.0], vectorized=True).round(6)
    array([6., 8.])
    """
    slopes, point = _jacobian(f, x, h, method, vectorized, scalar=True)
    return slopes.reshape(point.shape)


def numerical_jacobian(
    f: Callable[..., Any], x: ArrayLike, /, h: float | None = 1e-4, method: str = "central", *, vectorized: bool = False
) -> np.ndarray:
    """Compute the derivative of each number that a function gives with respect to each number that it takes.

    Parameters
    ----------
    f : callable
        Python that takes an array shaped like `x` and gives an array; with `vectorized`, stacks of both.
    x, h, method, vectorized
        As for `numerical_gradient`.

    Returns
    -------
    ndarray of shape (*f(x).shape, *x.shape)

    Raises
    ------
    TypeError, ValueError
        As `numerical_gradient` does.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.numerical_jacobian(lambda x: np.array([x[0] * x[1], x[0] + x[1]]), [2.0, 3.0]).round(6)
    array([[3., 2.],
           [1., 1.]])
    """
    slopes, point = _jacobian(f, x, h, method, vectorized, scalar=False)
    return np.moveaxis(slopes, 0, -1).reshape((*slopes.shape[1:], *point.shape))


@dataclass(frozen=True, eq=False)
class Descent:
    """What `gradient_descent` found.

    Attributes
    ----------
    x : ndarray
        The last point.
    fun : float
        The function's value there.
    path : ndarray of shape (steps + 1, *x.shape)
        All points, the first one included.
    values : ndarray of shape (steps + 1,)
        The function's values along the path.
    steps : int
        Steps taken.
    reason : str
        Why it stopped, in a sentence.
    converged : bool
        Whether the gradient became smaller than `tol`.
    diverged : bool
        Whether it went up rather than down, or to where something is not finite.
    """

    x: np.ndarray
    fun: float
    path: np.ndarray
    values: np.ndarray
    steps: int
    reason: str
    converged: bool
    diverged: bool

    def __repr__(self) -> str:
        point = np.array2string(self.x, precision=4, threshold=6, separator=", ")
        return f"Descent(x={point}, fun={self.fun:.6g}, steps={self.steps}: {self.reason})"


def gradient_descent(
    f: Callable[[np.ndarray], Any],
    x0: ArrayLike,
    /,
    learning_rate: float = 0.1,
    steps: int = 100,
    gradient: Callable[[np.ndarray], Any] | None = None,
    tol: float | None = None,
) -> Descent:
    """Walk downhill: ``x -= learning_rate * gradient(x)``, from `x0`.

    Parameters
    ----------
    f : callable
        Of an array; gives one number.
    x0 : array_like
        Where to begin; it is not changed.
    learning_rate : float
        Above zero.
    steps : int
        How many to take at most.
    gradient : callable, optional
        Of an array; gives an array of its shape. By default `numerical_gradient` of `f`.
    tol : float, optional
        Stop where the length of the gradient is at most this.

    Returns
    -------
    Descent
        The last point ``x``, its value ``fun``, the ``path``, and the ``reason`` why it stopped.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, if `f` is not finite at `x0`, or if `f` or `gradient` gives something of another
        shape.

    Notes
    -----
    Chapter 4.4.1 of Saito's *Deep Learning from Scratch*. A descent counts as diverged, and stops, when a number is not
    finite any more; it also counts as diverged if it ends higher than it began, by more than rounding. Overflow and
    invalid operations within `f` and `gradient` do not warn, as the result says what came of them.

    Examples
    --------
    >>> import nnfast as nf
    >>> found = nf.gradient_descent(lambda x: x[0] ** 2 + x[1] ** 2, [-3.0, 4.0], learning_rate=0.1, steps=100)
    >>> found.x.round(6)
    array([-0.,  0.])
    >>> found.reason
    'all 100 steps were taken'
    >>> nf.gradient_descent(lambda x: x[0] ** 2 + x[1] ** 2, [-3.0, 4.0], learning_rate=10.0, steps=1000).diverged
    True
    """
    rate = check_float("learning_rate", learning_rate, 0.0, float("inf"), open_ends=True)
    steps = check_int("steps", steps, 1)
    tol = None if tol is None else check_float("tol", tol, 0.0)
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be callable, got {describe(gradient)}")
    start = to_array("x0", x0)
    kind = start.dtype.newbyteorder("=") if start.dtype.kind == "f" else np.float64
    x = np.array(as_array("x0", start, kind, finite=True))
    path, values = [x.copy()], [float(number("f", f(x.copy())))]
    if not np.isfinite(values[0]):
        raise ValueError(f"f must be finite at x0, got {values[0]}")
    converged, trouble = False, ""
    with np.errstate(over="ignore", invalid="ignore"):  # in `f` too: a descent that diverges says so in its result
        while len(path) <= steps and not trouble:
            slope = _descent_slope(f, gradient, x)
            length = _length(slope)
            if not np.isfinite(slope).all():
                trouble = "the gradient is not finite"
            elif tol is not None and length <= tol:
                converged = True
                break
            else:
                x = _downhill(x, rate, slope)
                path.append(x.copy())
                values.append(float(number("f", f(x.copy()))))
                trouble = "" if np.isfinite(values[-1]) and np.isfinite(x).all() else "f or x is not finite any more"
    if not trouble and not converged and _went_up(path, values):
        trouble = f"f has gone from {values[0]:.4g} up to {values[-1]:.4g}"
    taken = len(path) - 1
    if trouble:
        advice = f"; learning_rate={rate:g} is too large, try a smaller one" if taken else " at x0"
        reason = f"diverged: after {taken} steps {trouble}{advice}"
    elif converged:
        reason = f"the gradient's length is {length:.3g}, at most tol={tol:g}"
    else:
        reason = f"all {steps} steps were taken"
    return Descent(path[-1], values[-1], np.array(path), np.array(values), taken, reason, converged, bool(trouble))


@own_error_state
def _went_up(path: list[np.ndarray], values: list[float]) -> bool:
    """Whether a walk ends higher than it began, and not only because of rounding in `f` or in its gradient."""
    first, last = path[0].astype(np.float64), path[-1].astype(np.float64)
    small = float(np.sqrt(np.finfo(path[0].dtype).eps))
    away = np.abs(last - first).max(initial=0) > small * max(1.0, float(np.abs(first).max(initial=0)))
    return bool(away and values[-1] - values[0] > small * abs(values[0]))


@own_error_state
def _downhill(x: np.ndarray, rate: float, slope: np.ndarray) -> np.ndarray:
    return np.asarray(x - np.asarray(rate * slope, x.dtype))


@own_error_state
def _length(slope: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(slope, dtype=np.float64))))


def _descent_slope(f: Any, gradient: Any, x: np.ndarray) -> np.ndarray:
    if gradient is None:
        return numerical_gradient(f, x.copy(), None)  # a step that grows with x, for a descent that diverges goes far
    return as_array("the result of gradient", gradient(x.copy()), x.dtype, shape=x.shape)


# ---- points, steps, values


def _floats(x: Any) -> np.ndarray:
    """`x` itself as an array if it holds floats, else a copy in float64."""
    array = to_array("x", x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"x must hold real numbers, got {describe(x)}")
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"x must be finite, got NaN or infinity {where_not_finite(array)}".rstrip())
    return array


def _wide(dtype: np.dtype) -> np.dtype:
    """The dtype of a function's values: at least float64."""
    return np.result_type(dtype, np.float64)


@own_error_state
def _width(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    return np.asarray(np.subtract(right, left, dtype=_wide(right.dtype)))


@own_error_state
def _points(x: np.ndarray, h: float | None, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers to the right and to the left of each element."""
    if h is None:
        power = 1 / 3 if method == "central" else 1 / 2
        step: Any = np.finfo(x.dtype).eps ** power * np.maximum(1, np.abs(x))
    else:
        step = check_float("h", h, 0.0, float("inf"), open_ends=True)
    return moved(x, step), moved(x, -step) if method == "central" else np.array(x, x.dtype.newbyteorder("="))


@own_error_state
def moved(x: np.ndarray, step: Any) -> np.ndarray:
    """Return ``x + step``, which must be other numbers than `x`; ValueError if one is not, or is infinite."""
    there = np.add(x, step, dtype=_wide(x.dtype)).astype(x.dtype.newbyteorder("="))
    stuck = np.argwhere((there == x) | ~np.isfinite(there))
    if len(stuck):
        at = tuple(stuck[0])
        where = f"x[{', '.join(map(str, at))}]" if at else "x"
        size = abs(np.broadcast_to(step, x.shape)[at])
        raise ValueError(
            f"h must change x, but {where} = {x[at]!s} ({x.dtype}) moved by {size:.3g} is {there[at]!s}: "
            "h=None picks a step that fits"
        )
    return np.asarray(there)


def _warn_of_rounding(x: np.ndarray, h: float | None, stacklevel: int) -> None:
    if x.dtype.itemsize < 8 and h is not None:
        warnings.warn(
            f"x is {x.dtype}: rounding may be larger than the differences; use float64, or h=None for a step that fits",
            UserWarning,
            stacklevel=stacklevel,
        )


def number(name: str, value: Any) -> Any:
    """Return what a function gave as a float64 or longdouble; TypeError if it is not one number."""
    array = to_array(f"the result of {name}", value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must give one real number, got {describe(value)}")
    return array.astype(_wide(array.dtype)).reshape(())[()]


# ---- Python functions


def _jacobian(
    f: Any, x: Any, h: float | None, method: str, vectorized: bool, *, scalar: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes, with the elements of `x` along the first axis, and `x` as an array of floats."""
    method = choose("method", method, METHODS)
    vectorized = check_bool("vectorized", vectorized)
    address = _address_of(f)
    if address is None and not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if address is not None and not scalar:
        raise TypeError("f must be Python code for a Jacobian: a compiled function gives one number")
    point = _floats(x)
    right, left = _points(point, h, method)
    if address is not None:
        return _of_compiled(address, point, right, left, method, vectorized), point
    _warn_of_rounding(point, h, 4)
    if vectorized:
        return _of_stacks(f, point, right, left, method, scalar), point
    in_place = isinstance(x, np.ndarray) and x.dtype == point.dtype and x.flags.writeable
    above, below = _values(f, x if in_place else np.array(point), right, left, method, scalar)
    if not in_place and above.size and (above == below[:1]).all() and (below == below[:1]).all():
        warnings.warn(
            f"f gave the same at all points: if it looks at {describe(x)} rather than at its argument, give it as a "
            "writable array of floats, for anything else is copied and only the copy is moved",
            UserWarning,
            stacklevel=3,
        )
    return _slopes(above, below, right, left), point


def one_sided_slopes(
    f: Callable[[np.ndarray], Any], x: np.ndarray, here: float, h: np.ndarray, entries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes to the right and to the left of these entries of `x`, by a step `h` for each.

    `x` is changed in place and restored; `here` is the value at it, and `entries` are indices of the flattened array.
    """
    centers = x.reshape(-1)[entries]
    right, left = moved(centers, h), moved(centers, -h)
    above, below = _values(f, x, right, left, "central", True, entries)
    return (above - here) / (right - centers), (here - below) / (centers - left)


@own_error_state
def _slopes(above: np.ndarray, below: np.ndarray, right: np.ndarray, left: np.ndarray) -> np.ndarray:
    width = _width(right, left).reshape(-1, *[1] * (above.ndim - 1))
    return np.asarray((above - below) / width, right.dtype)


def _values(
    f: Any,
    x: np.ndarray,
    right: np.ndarray,
    left: np.ndarray,
    method: str,
    scalar: bool,
    entries: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Values to the right and to the left of each element, or of some, which are changed and restored in their turn."""
    dtype = _wide(right.dtype)

    before, expected = x.copy(), x.copy()

    def value() -> Any:
        found = f(x)
        # a copy: the next call may write over an array that f keeps
        result = number("f", found) if scalar else np.array(as_array("the result of f", found, dtype))
        _check_unchanged(x, expected)
        return result

    flat, rights, lefts = x.reshape(-1) if x.flags.c_contiguous else x.flat, right.ravel(), left.ravel()
    try:
        above: list[Any] = []
        below: list[Any] = [value()] if method == "forward" else []
        for place, i in enumerate(range(x.size) if entries is None else entries):
            flat[i] = expected.flat[i] = rights[place]
            above.append(value())
            if method == "central":
                flat[i] = expected.flat[i] = lefts[place]
                below.append(value())
            flat[i] = expected.flat[i] = before.flat[i]
    finally:
        x[...] = before
    shapes = {np.shape(found) for found in (*above, *below)}
    if not (shapes or scalar):  # of no elements: what is left is the shape
        shapes.add(value().shape)
    _check_alike(shapes)
    shape = max(shapes, default=())
    return np.array(above, dtype).reshape(len(above), *shape), np.array(below, dtype).reshape(len(below), *shape)


def _check_unchanged(x: np.ndarray, expected: np.ndarray) -> None:
    same = x == expected
    if not same.all():
        at = tuple(np.argwhere(~same)[0])
        where = f"x[{', '.join(map(str, at))}]" if at else "x"
        raise ValueError(
            f"f must not change its argument, but it changed {where} from {expected[at]} to {x[at]}: "
            "let it work on a copy, such as x.copy()"
        )


def _check_alike(shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        raise ValueError(f"f must give arrays of one shape, got {' and '.join(map(str, sorted(shapes)[:2]))}")


def _of_stacks(f: Any, point: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, scalar: bool) -> np.ndarray:
    """Slopes by a function that takes many points at once."""
    rights, lefts, size = right.ravel(), left.ravel(), point.size
    at_once = max(1, STACK_BYTES // max(1, point.nbytes))

    def values(rows: range, numbers: np.ndarray) -> np.ndarray:
        stack = np.repeat(point[None], len(rows), axis=0)
        stack.reshape(len(rows), size)[np.arange(len(rows)), rows] = numbers[rows.start : rows.stop]
        return _values_of_stack(f, stack, scalar)

    here = None
    if method == "forward" or not (size or scalar):
        here = _values_of_stack(f, np.array(point[None]), scalar)
    if not size:
        return np.empty((0, *(() if here is None else here.shape[1:])), right.dtype)
    parts: list[np.ndarray] = []
    for first in range(0, size, at_once):
        rows = range(first, min(size, first + at_once))
        above = values(rows, rights)
        below = values(rows, lefts) if here is None else here
        _check_alike({above.shape[1:], below.shape[1:], *(part.shape[1:] for part in parts)})
        parts.append(_slopes(above, below, rights[rows.start : rows.stop], lefts[rows.start : rows.stop]))
    return np.concatenate(parts)


def _values_of_stack(f: Any, stack: np.ndarray, scalar: bool) -> np.ndarray:
    found = f(stack)
    values = as_array("the result of f", found, _wide(stack.dtype))
    if values.ndim == 0 or len(values) != len(stack) or (scalar and values.size != len(stack)):
        wanted = f"({len(stack)},)" if scalar else f"({len(stack)}, ...)"
        raise ValueError(f"f must give values of shape {wanted} for {len(stack)} points, got shape {values.shape}")
    return np.array(values.reshape(len(stack)) if scalar else values)  # f may write over it at the next call


# ---- compiled functions


def _address_of(f: Any) -> tuple[int, int] | None:
    """Addresses of a compiled function and of its data; None for Python code."""
    if "numba" in sys.modules and hasattr(f, "ctypes") and hasattr(f, "address"):
        f = f.ctypes
    if isinstance(f, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        _check_ctypes(f)
        return ctypes.cast(f, ctypes.c_void_p).value or 0, 0
    scipy = sys.modules.get("scipy")  # a LowLevelCallable cannot come from anywhere else
    if scipy is not None and isinstance(f, scipy.LowLevelCallable):
        if isinstance(f.function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
            _check_free_of_python(f.function)
        return _pointers_of_capsule(tuple.__getitem__(f, 0))
    return None


def _check_ctypes(f: Any) -> None:
    _check_free_of_python(f)
    types: Any = f.argtypes or ()
    fits = f.restype is ctypes.c_double and len(types) == 3 and types[0] is ctypes.c_int
    if not (fits and types[1] is ctypes.POINTER(ctypes.c_double) and types[2] is ctypes.c_void_p):
        names = ", ".join(getattr(kind, "__name__", str(kind)) for kind in types)
        raise TypeError(
            f"f must have the signature {SIGNATURE}, got restype {getattr(f.restype, '__name__', f.restype)} and "
            f"argtypes ({names}): set them to c_double and (c_int, POINTER(c_double), c_void_p)"
        )


def _check_free_of_python(f: Any) -> None:
    if f._flags_ & PYTHON_API:
        raise TypeError("f must run without the GIL, got a function of a ctypes.PyDLL: load it with ctypes.CDLL")


def _pointers_of_capsule(capsule: Any) -> tuple[int, int]:
    """The function in a capsule, whose name is its signature, and the user data that is its context."""
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    context_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyCapsule_GetContext", api))
    name = name_of(capsule)
    if name is None or name.decode().replace(" ", "") != SIGNATURE.replace(" ", ""):
        raise TypeError(f"f must have the signature {SIGNATURE}, got {name.decode() if name else 'none'}")
    return pointer_of(capsule, name) or 0, context_of(capsule) or 0


def _of_compiled(
    address: tuple[int, int], point: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, vectorized: bool
) -> np.ndarray:
    if vectorized:
        raise ValueError("vectorized must be False for a compiled function, which takes one point")
    if right.dtype != np.float64:
        raise TypeError(f"x must be float64 for a compiled function, got {point.dtype}")
    if not address[0]:
        raise ValueError("f must point to a function, got a null pointer")
    if point.size > MAX_SIZE:
        raise ValueError(f"x must have at most {MAX_SIZE} elements for a compiled function, got shape {point.shape}")
    here, right, left = (np.require(array, np.float64, ("C", "A")).reshape(-1) for array in (point, right, left))
    slopes = np.empty(point.size)
    differences_of_compiled(*address, here, right, left, slopes, method == "forward", get_num_threads())
    return slopes
