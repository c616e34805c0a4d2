"""Numerical derivatives of any function of an array, and gradient descent with them.

A function is evaluated at a distance h to either side of each element. It may be a Python function of one point, a
Python function of a stack of points, or compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._compiled import Compiled, Signature, compiled_function
from nnfast._threads import get_num_threads
from nnfast._validation import (
    MAX_SIZE,
    as_array,
    check_bool,
    check_float,
    check_int,
    choose,
    describe,
    ignore_float_errors,
    number,
    to_array,
    where_not_finite,
    wide,
)
from nnfast.engine.compiled import differences_of_compiled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Descent", "gradient_descent", "numerical_diff", "numerical_gradient", "numerical_jacobian"]

METHODS = ("central", "forward")
STACK_BYTES = 2**25  # of points passed to a vectorized function at once
SIGNATURE = Signature("double (int, double *, void *)")


def numerical_diff(f: Callable[[Any], Any], x: ArrayLike, /, h: float | None = 1e-4) -> Any:
    """Compute the derivative of a function of one variable, by a central difference.

    Parameters
    ----------
    f : callable
        A function of one number; if `x` is an array, it must work elementwise.
    x : float or array_like
        Where to differentiate. Integers are converted to float64; `f` receives copies.
    h : float or None
        The difference to either side. None chooses one for each element from its dtype and magnitude.

    Returns
    -------
    float or ndarray
        ``(f(x + h) - f(x - h)) / 2h``, with the shape of ``f(x)`` and, if that is an array, the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If `x` does not hold finite real numbers, if `h` is not a positive number or is too small to change `x`, or if
        `f` does not return numbers or, for an array, one number for each element.

    Warns
    -----
    UserWarning
        If `x` is float32 or float16 and `h` is given: rounding may be larger than the differences.

    Notes
    -----
    Chapter 4.3.1 of Saito's *Deep Learning from Scratch*. The difference of the values is divided by the
    distance between the two points after rounding, so a float32 `x` adds no error. The error of the formula is of
    order ``h**2``.

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
            raise ValueError(f"f must return an array of shape {shape}, got {values.shape}")
    slope = np.asarray((above - below) / _width(right, left), point.dtype)
    return slope if slope.ndim else slope.item()


def _values_at(f: Callable[[Any], Any], at: np.ndarray) -> np.ndarray:
    found = f(at.copy() if at.ndim else at.item())
    return np.array(as_array("the result of f", found, wide(at.dtype)))


def numerical_gradient(
    f: Any, x: ArrayLike, /, h: float | None = 1e-4, method: str = "central", *, vectorized: bool = False
) -> np.ndarray:
    """Compute the gradient of a function of an array, by differences in each element.

    Parameters
    ----------
    f : callable
        The function, which returns one number. Either a Python function of an array shaped like `x`; or, with
        `vectorized`, a Python function of a stack of k such arrays, of shape (k, *x.shape), that returns k numbers; or
        a compiled function: a `scipy.LowLevelCallable`, a ctypes function or a numba ``cfunc`` with the signature
        ``double f(int n, double *x, void *user_data)``. A compiled function is called without the GIL and from several
        threads at once, and must not change its `x`.
    x : array_like
        Where to differentiate, of any shape. A writable array of floats is changed in place, one element at a time, and
        restored, even if `f` raises: so a function may read this array instead of its argument. Anything else is
        copied; integers become float64.
    h : float or None
        The difference. None chooses one for each element from its dtype and magnitude.
    method : {"central", "forward"}
        ``(f(x + h) - f(x - h)) / 2h`` for each element, or ``(f(x + h) - f(x)) / h``, which takes half the time and is
        less accurate.
    vectorized : bool
        Whether `f` takes a stack of points.

    Returns
    -------
    ndarray
        With the shape and the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, if `x` is not finite, if `f` does not return one number for each point, or if `h` is
        too small to change an element.

    Warns
    -----
    UserWarning
        If `x` is float32 or float16 and `h` is given: rounding may be larger than the differences.

    Notes
    -----
    Chapter 4.4 of Saito's *Deep Learning from Scratch*. With ``h=None``, h is the cube root of the dtype's
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
    """Compute the derivative of each output of a function with respect to each element of its argument.

    Parameters
    ----------
    f : callable
        A Python function of an array shaped like `x` that returns an array; with `vectorized`, both are stacks.
    x, h, method, vectorized
        As for `numerical_gradient`.

    Returns
    -------
    ndarray of shape (*f(x).shape, *x.shape)

    Raises
    ------
    TypeError, ValueError
        As for `numerical_gradient`.

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
        The number of steps taken.
    reason : str
        Why it stopped, as a sentence.
    converged : bool
        Whether the gradient became smaller than `tol`.
    diverged : bool
        Whether the function went up instead of down, or something became infinite or NaN.
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
    """Minimize a function by gradient descent: ``x -= learning_rate * gradient(x)``, starting at `x0`.

    Parameters
    ----------
    f : callable
        A function of an array that returns one number.
    x0 : array_like
        The starting point; it is not changed.
    learning_rate : float
        A number above zero.
    steps : int
        The maximum number of steps.
    gradient : callable, optional
        A function of an array that returns the gradient, an array of the same shape. By default `numerical_gradient` of
        `f`.
    tol : float, optional
        Stop where the length of the gradient is at most this.

    Returns
    -------
    Descent
        The last point ``x``, its value ``fun``, the ``path``, and the ``reason`` for stopping.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, if `f` is not finite at `x0`, or if `f` or `gradient` returns something of the wrong
        shape.

    Notes
    -----
    Chapter 4.4.1 of Saito's *Deep Learning from Scratch*. A descent counts as diverged, and stops, when a number is no
    longer finite; it also counts as diverged if it ends higher than it began, by more than rounding. Overflow and
    invalid operations in `f` and `gradient` do not warn, since the result reports their effect.

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
    with np.errstate(over="ignore", invalid="ignore"):  # in `f` too: the result says whether it diverged
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
                trouble = "" if np.isfinite(values[-1]) and np.isfinite(x).all() else "f or x is no longer finite"
    if not trouble and not converged and _went_up(path, values):
        trouble = f"f has risen from {values[0]:.4g} to {values[-1]:.4g}"
    taken = len(path) - 1
    if trouble:
        advice = f"; learning_rate={rate:g} is too large, try a smaller one" if taken else " at x0"
        reason = f"diverged: after {taken} steps {trouble}{advice}"
    elif converged:
        reason = f"the gradient's length is {length:.3g}, at most tol={tol:g}"
    else:
        reason = f"all {steps} steps were taken"
    return Descent(path[-1], values[-1], np.array(path), np.array(values), taken, reason, converged, bool(trouble))


@ignore_float_errors
def _went_up(path: list[np.ndarray], values: list[float]) -> bool:
    """Whether a descent ends higher than it began, and not only because of rounding in `f` or its gradient."""
    first, last = path[0].astype(np.float64), path[-1].astype(np.float64)
    small = float(np.sqrt(np.finfo(path[0].dtype).eps))
    away = np.abs(last - first).max(initial=0) > small * max(1.0, float(np.abs(first).max(initial=0)))
    return bool(away and values[-1] - values[0] > small * abs(values[0]))


@ignore_float_errors
def _downhill(x: np.ndarray, rate: float, slope: np.ndarray) -> np.ndarray:
    return np.asarray(x - np.asarray(rate * slope, x.dtype))


@ignore_float_errors
def _length(slope: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(slope, dtype=np.float64))))


def _descent_slope(f: Any, gradient: Any, x: np.ndarray) -> np.ndarray:
    if gradient is None:
        return numerical_gradient(f, x.copy(), None)  # h grows with x: a descent that diverges goes far
    return as_array("the result of gradient", gradient(x.copy()), x.dtype, shape=x.shape)


# ---- points, differences, values


def _floats(x: Any) -> np.ndarray:
    """Return `x` as an array: itself if it holds floats, else a copy in float64."""
    array = to_array("x", x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"x must hold real numbers, got {describe(x)}")
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"x must be finite, got NaN or infinity {where_not_finite(array)}".rstrip())
    return array


@ignore_float_errors
def _width(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    return np.asarray(np.subtract(right, left, dtype=wide(right.dtype)))


@ignore_float_errors
def _points(x: np.ndarray, h: float | None, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers to the right and to the left of each element."""
    if h is None:
        power = 1 / 3 if method == "central" else 1 / 2
        size: Any = np.finfo(x.dtype).eps ** power * np.maximum(1, np.abs(x))
    else:
        size = check_float("h", h, 0.0, float("inf"), open_ends=True)
    return moved(x, size), moved(x, -size) if method == "central" else np.array(x, x.dtype.newbyteorder("="))


@ignore_float_errors
def moved(x: np.ndarray, h: Any) -> np.ndarray:
    """Return ``x + h``; ValueError if an element does not change or becomes infinite."""
    there = np.add(x, h, dtype=wide(x.dtype)).astype(x.dtype.newbyteorder("="))
    stuck = np.argwhere((there == x) | ~np.isfinite(there))
    if len(stuck):
        at = tuple(stuck[0])
        where = f"x[{', '.join(map(str, at))}]" if at else "x"
        size = abs(np.broadcast_to(h, x.shape)[at])
        raise ValueError(
            f"h must change x, but {where} = {x[at]!s} ({x.dtype}) moved by {size:.3g} is {there[at]!s}: "
            "h=None chooses one that fits"
        )
    return np.asarray(there)


def _warn_of_rounding(x: np.ndarray, h: float | None, stacklevel: int) -> None:
    if x.dtype.itemsize < 8 and h is not None:
        warnings.warn(
            f"x is {x.dtype}: rounding may be larger than the differences; use float64, or h=None for one that fits",
            UserWarning,
            stacklevel=stacklevel,
        )


# ---- Python functions


def _jacobian(
    f: Any, x: Any, h: float | None, method: str, vectorized: bool, *, scalar: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes, with the elements of `x` along the first axis, and `x` as an array of floats."""
    method = choose("method", method, METHODS)
    vectorized = check_bool("vectorized", vectorized)
    compiled = compiled_function("f", f, (SIGNATURE,))
    if compiled is None and not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if compiled is not None and not scalar:
        raise TypeError("f must be a Python function for a Jacobian: a compiled function returns one number")
    point = _floats(x)
    right, left = _points(point, h, method)
    if compiled is not None:
        return _of_compiled(compiled, point, right, left, method, vectorized), point
    _warn_of_rounding(point, h, 4)
    if vectorized:
        return _of_stacks(f, point, right, left, method, scalar), point
    in_place = isinstance(x, np.ndarray) and x.dtype == point.dtype and x.flags.writeable
    above, below = _values(f, x if in_place else np.array(point), right, left, method, scalar)
    if not in_place and above.size and (above == below[:1]).all() and (below == below[:1]).all():
        warnings.warn(
            f"f returned the same at all points: if it reads {describe(x)} instead of its argument, pass x as a "
            "writable array of floats; anything else is copied, and only the copy changes",
            UserWarning,
            stacklevel=3,
        )
    return _slopes(above, below, right, left), point


def one_sided_slopes(
    f: Callable[[np.ndarray], Any], x: np.ndarray, here: float, h: np.ndarray, entries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes to the right and to the left of some entries of `x`, with a difference `h` for each.

    `x` is changed in place and restored; `here` is the value there, and `entries` are indices into the flattened array.
    """
    centers = x.reshape(-1)[entries]
    right, left = moved(centers, h), moved(centers, -h)
    above, below = _values(f, x, right, left, "central", True, entries)
    return (above - here) / (right - centers), (here - below) / (centers - left)


@ignore_float_errors
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
    """Return the values to the right and to the left of each element or of `entries`, changing one at a time."""
    dtype = wide(right.dtype)

    before, expected = x.copy(), x.copy()

    def value() -> Any:
        found = f(x)
        # a copy: the next call may overwrite an array that f reuses
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
    if not (shapes or scalar):  # x has no elements: only the shape of the result is needed
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
            "make it work on a copy, such as x.copy()"
        )


def _check_alike(shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        raise ValueError(f"f must return arrays of the same shape, got {' and '.join(map(str, sorted(shapes)[:2]))}")


def _of_stacks(f: Any, point: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, scalar: bool) -> np.ndarray:
    """Return slopes from a function that takes many points at once."""
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
    values = as_array("the result of f", found, wide(stack.dtype))
    if values.ndim == 0 or len(values) != len(stack) or (scalar and values.size != len(stack)):
        wanted = f"({len(stack)},)" if scalar else f"({len(stack)}, ...)"
        raise ValueError(f"f must return values of shape {wanted} for {len(stack)} points, got shape {values.shape}")
    return np.array(values.reshape(len(stack)) if scalar else values)  # f may overwrite it in the next call


# ---- compiled functions


def _of_compiled(
    compiled: Compiled, point: np.ndarray, right: np.ndarray, left: np.ndarray, method: str, vectorized: bool
) -> np.ndarray:
    if vectorized:
        raise ValueError("vectorized must be False for a compiled function, which takes one point")
    if right.dtype != np.float64:
        raise TypeError(f"x must be float64 for a compiled function, got {point.dtype}")
    if point.size > MAX_SIZE:
        raise ValueError(f"x must have at most {MAX_SIZE} elements for a compiled function, got shape {point.shape}")
    here, right, left = (np.require(array, np.float64, ("C", "A")).reshape(-1) for array in (point, right, left))
    slopes = np.empty(point.size)
    differences_of_compiled(
        compiled.address, compiled.user_data, here, right, left, slopes, method == "forward", get_num_threads()
    )
    return slopes
