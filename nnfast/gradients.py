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
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._threads import get_num_threads
from nnfast._validation import as_array, check_float, check_int, choose, describe, to_array
from nnfast.engine.compiled import differences_of_compiled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Descent", "gradient_descent", "numerical_diff", "numerical_gradient", "numerical_jacobian"]

METHODS = ("central", "forward")
STACK_BYTES = 2**25  # of points that a vectorized function is given at once
SIGNATURE = "double (int, double *, void *)"


def numerical_diff(f: Callable[[Any], Any], x: ArrayLike, /, h: float | None = 1e-4) -> Any:
    """Compute the derivative of a function of one variable, by a central difference.

    Parameters
    ----------
    f : callable
        Of a number; given an array, it must work on each element.
    x : float or array_like
        Where; integers are taken as float64.
    h : float or None
        The step to either side. None picks one for each element, from its dtype and magnitude.

    Returns
    -------
    float or ndarray
        ``(f(x + h) - f(x - h)) / 2h``, of the shape of ``f(x)``.

    Raises
    ------
    TypeError, ValueError
        If `x` holds no real numbers, or `h` is no positive number or too small to change `x`.

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
    point = _floats(x)
    step = _steps(point, h, "central")
    right, left = _moved(point, step), _moved(point, -step)
    scalar = not point.ndim
    above, below = (np.asarray(f(float(at) if scalar and at.dtype == np.float64 else at)) for at in (right, left))
    width = right - left
    slope = (above - below) / (width if above.shape == point.shape else width.reshape(-1)[0])
    return float(slope) if not slope.ndim else slope


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
        function is called without the GIL and from several threads at once.
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
        If an argument does not fit, if `f` gives something else than one number for each point, or if `h` is too small
        to change an element.

    Warns
    -----
    UserWarning
        If `x` is float32 or float16 and `h` is given: rounding may be larger than the differences.

    Notes
    -----
    Chapter 4.4 of Saito's *Deep Learning from Scratch*. With ``h=None`` the step is the cube root of the dtype's epsilon
    (for forward differences the square root) times the larger of 1 and the element's size, which balances rounding and
    the error of the formula (Nocedal and Wright, *Numerical Optimization*, 8.1).

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
    if _address_of(f) is not None:
        raise TypeError("f must be Python code for a Jacobian: a compiled function gives one number")
    slopes, point = _jacobian(f, x, h, method, vectorized, scalar=False)
    return np.moveaxis(slopes, 0, -1).reshape(*slopes.shape[1:], *point.shape)


@dataclass(frozen=True)
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
        Whether it went up rather than down.
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
        If an argument does not fit, or `f` or `gradient` gives something of another shape.

    Notes
    -----
    Chapter 4.4.1 of Saito's *Deep Learning from Scratch*. It counts as diverged, and stops, when a value is not finite
    any more, and counts as diverged too when it ends higher than it began.

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
    x = np.array(_floats(as_array("x0", x0, _float_dtype("x0", x0), finite=True)))
    path, values = [x.copy()], [_number("f", f(x))]
    reason, converged = f"all {steps} steps were taken", False
    with np.errstate(over="ignore", invalid="ignore"):  # a descent that diverges says so in its result
        while len(path) <= steps:
            slope = _descent_slope(f, gradient, x) if np.isfinite(values[-1]) else np.full_like(x, np.nan)
            if not np.isfinite(slope).all():
                break
            length = float(np.sqrt(np.sum(np.square(slope, dtype=np.float64))))
            if tol is not None and length <= tol:
                reason, converged = f"the gradient's length is {length:.3g}, at most tol={tol:g}", True
                break
            x = x - np.asarray(rate * slope, x.dtype)
            path.append(x.copy())
            values.append(_number("f", f(x)))
    finite = bool(np.isfinite(values[-1]) and np.isfinite(path[-1]).all() and (converged or len(path) > steps))
    diverged = not finite or (values[-1] > values[0] and not converged)
    if diverged:
        what = "is not finite any more" if not finite else f"has gone from {values[0]:.4g} up to {values[-1]:.4g}"
        reason = (
            f"diverged: after {len(path) - 1} steps f {what}; learning_rate={rate:g} is too large, try a smaller one"
        )
    return Descent(
        path[-1], values[-1], np.array(path), np.array(values), len(path) - 1, reason, converged, diverged
    )  # fmt: skip


def _descent_slope(f: Any, gradient: Any, x: np.ndarray) -> np.ndarray:
    if gradient is None:
        return numerical_gradient(f, x, None)  # a step that grows with x, for a descent that diverges goes far
    return as_array("the result of gradient", gradient(x), x.dtype, shape=x.shape)


# ---- points, steps, values


def _float_dtype(name: str, x: Any) -> np.dtype:
    """The dtype of floats to compute in: the array's own, or float64."""
    array = to_array(name, x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got {describe(x)}")
    return array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float64)


def _floats(x: Any) -> np.ndarray:
    """`x` itself if it is an array of floats, else as one."""
    array = to_array("x", x)
    return array if array.dtype == _float_dtype("x", x) else array.astype(_float_dtype("x", x))


def _steps(x: np.ndarray, h: float | None, method: str) -> np.ndarray:
    """A step for each element."""
    if h is not None:
        return np.full(x.shape, check_float("h", h, 0.0, float("inf"), open_ends=True), x.dtype)
    power = 1 / 3 if method == "central" else 1 / 2
    return np.asarray(np.finfo(x.dtype).eps ** power * np.maximum(1, np.abs(x)), x.dtype)


def _moved(x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """`x` + `step`, which must be another number."""
    with np.errstate(over="ignore"):
        moved = np.asarray(x + step)
    stuck = (
        np.flatnonzero((moved == x) | ~np.isfinite(moved)) if np.isfinite(x).all() else np.flatnonzero(~np.isfinite(x))
    )
    if stuck.size:
        value, width = np.ravel(x)[stuck[0]], abs(np.ravel(step)[stuck[0]])
        raise ValueError(f"h must change x, but {x.dtype} {value!s} moved by {width!s} is {np.ravel(moved)[stuck[0]]!s}: "
                         "x must be finite, and h=None picks a step that fits")  # fmt: skip
    return moved


def _number(name: str, value: Any) -> float:
    """What a function gave, if it is one number."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must give one number, got {describe(value)}")
    return float(array.reshape(())[()])


# ---- Python functions


def _jacobian(
    f: Any, x: Any, h: float | None, method: str, vectorized: bool, *, scalar: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes, with the elements of `x` along the first axis, and `x` as an array of floats."""
    method = choose("method", method, METHODS)
    if not isinstance(vectorized, (bool, np.bool_)):
        raise TypeError(f"vectorized must be True or False, got {describe(vectorized)}")
    address = _address_of(f)
    if address is None and not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    point = _floats(x)
    steps = _steps(point, h, method)
    right = _moved(point, steps)
    left = _moved(point, -steps) if method == "central" else np.array(point)
    if point.dtype.itemsize < 8 and h is not None:
        warnings.warn(
            f"x is {point.dtype}: rounding may be larger than the differences; use float64, or h=None for a larger step",
            UserWarning,
            stacklevel=3,
        )
    if address is not None:
        return _of_compiled(f, address, point, right, left, vectorized), point
    if vectorized:
        return _of_stacks(f, point, right, left, scalar), point
    values = _values_in_place if point.flags.writeable and point is x else _values_of_copies
    return _slopes(values(f, point, right, left, method, scalar), right, left), point


def one_sided_slopes(f: Callable[[np.ndarray], Any], x: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes to the right and to the left of each element of `x`, which is changed in place and restored."""
    right, left = _moved(x, np.full_like(x, h)), _moved(x, np.full_like(x, -h))
    above, below = (v.reshape(x.shape) for v in _values_in_place(f, x, right, left, "central", True))
    here = _number("f", f(x))
    return (above - here) / (right - x), (here - below) / (x - left)


def _slopes(values: tuple[np.ndarray, np.ndarray], right: np.ndarray, left: np.ndarray) -> np.ndarray:
    above, below = values
    width = (right - left).reshape(-1, *[1] * (above.ndim - 1))
    return np.asarray((above - below) / width, right.dtype)


def _values_of_copies(
    f: Any, point: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, scalar: bool
) -> tuple[np.ndarray, np.ndarray]:
    return _values_in_place(f, np.array(point), right, left, method, scalar)


def _values_in_place(
    f: Any, x: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, scalar: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values to the right and to the left of each element, which is changed and restored in its turn."""

    def value() -> Any:
        found = f(x)
        return _number("f", found) if scalar else np.array(as_array("the result of f", found, np.float64))

    above, below = [], []
    base = value() if method == "forward" else None
    flat, rights, lefts = x.flat, np.ravel(right), np.ravel(left)
    for i in range(x.size):
        before = flat[i]
        try:
            flat[i] = rights[i]
            above.append(value())
            if base is None:
                flat[i] = lefts[i]
                below.append(value())
        finally:
            flat[i] = before
    return _stacked(above), _stacked(below) if base is None else np.asarray(base)[None]


def _stacked(values: list[Any]) -> np.ndarray:
    shapes = {np.shape(value) for value in values}
    if len(shapes) > 1:
        raise ValueError(f"f must give arrays of one shape, got {' and '.join(map(str, sorted(shapes)[:2]))}")
    return np.array(values, np.float64)


def _of_stacks(f: Any, point: np.ndarray, right: np.ndarray, left: np.ndarray, scalar: bool) -> np.ndarray:
    """Slopes by a function that takes many points at once."""
    forward = not (left != point).any()
    rights, lefts = np.ravel(right), np.ravel(left)
    size = point.size
    at_once = max(1, STACK_BYTES // max(1, point.nbytes))
    base = _values_of_stack(f, point[None], scalar) if forward and size else None
    parts = []
    for first in range(0, size, at_once):
        rows = np.arange(first, min(size, first + at_once))
        values = []
        for moved in (rights,) if forward else (rights, lefts):
            stack = np.repeat(point[None], len(rows), axis=0)
            stack.reshape(len(rows), size)[np.arange(len(rows)), rows] = moved[rows]
            values.append(_values_of_stack(f, stack, scalar))
        above, below = values if base is None else (values[0], base)
        parts.append(_slopes((above, below), rights[rows], lefts[rows]))
    return np.concatenate(parts) if parts else np.empty(0, point.dtype)


def _values_of_stack(f: Any, stack: np.ndarray, scalar: bool) -> np.ndarray:
    found = f(stack)
    values = as_array("the result of f", found, np.float64)
    if values.ndim == 0 or len(values) != len(stack) or (scalar and values.size != len(stack)):
        wanted = f"({len(stack)},)" if scalar else f"({len(stack)}, ...)"
        raise ValueError(f"f must give values of shape {wanted} for {len(stack)} points, got shape {np.shape(found)}")
    return values.reshape(len(stack)) if scalar else values


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
            _check_ctypes(f.function)
        return _pointers_of_capsule(tuple.__getitem__(f, 0))
    return None


def _check_ctypes(f: Any) -> None:
    arguments = f.argtypes
    fits = f.restype is ctypes.c_double and arguments is not None and len(arguments) == 3
    if not (fits and arguments[0] is ctypes.c_int and arguments[1] is ctypes.POINTER(ctypes.c_double)):
        raise TypeError(f"f must have the signature {SIGNATURE}: set restype and argtypes")


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
    f: Any, address: tuple[int, int], point: np.ndarray, right: np.ndarray, left: np.ndarray, vectorized: bool
) -> np.ndarray:
    if vectorized:
        raise ValueError("vectorized must be False for a compiled function, which takes one point")
    if point.dtype != np.float64:
        raise TypeError(f"x must be float64 for a compiled function, got {point.dtype}")
    if prod(point.shape) > 2**31 - 1:
        raise ValueError(f"x has more elements than an int counts: shape {point.shape}")
    flat = [np.ascontiguousarray(array).reshape(-1) for array in (point, right, left)]
    out = np.empty(point.size)
    differences_of_compiled(*address, *flat, out, get_num_threads())
    return out
