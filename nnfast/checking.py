"""Claimed gradients against numerical ones, with a report that tells where, how much and why.

A slope is asked for on both sides of each number. Where the two differ there is a kink, as of relu at zero, and no one
slope is right; what fails there is asked again with a smaller step, and reported apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast import numerical
from nnfast._validation import as_array, check_float, describe
from nnfast.gradients import _number, one_sided_slopes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nnfast.sequential import Sequential

__all__ = ["ArrayReport", "GradientReport", "assert_gradient_correct", "check_gradient"]

STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # balances rounding and the error of a central difference
SMALLER = 32  # how much smaller the step is that what fails is asked again with
TOLERANCE = 1e-5
FLOOR = 1e-3  # of an array's largest slope: what is smaller counts as so large, when errors are put in proportion

Slopes = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ArrayReport:
    """What the check of one array found.

    Attributes
    ----------
    name : str
        Of the array.
    relative_error, absolute_error : float
        The largest ones, kinks left out. A relative error is the difference by the larger of the two sizes, which
        counts as at least a thousandth of the array's largest slope, and what rounding leaves of it.
    relative_at, absolute_at : tuple of int
        Where they are.
    gradient, numerical : ndarray
        Claimed and numerical slopes.
    errors : ndarray
        The relative error of each entry.
    kinks, wrong : ndarray of bool
        Entries at a kink, and wrong ones.
    why : str
        What is wrong, as far as the numbers tell; empty if nothing is.
    """

    name: str
    relative_error: float
    relative_at: tuple[int, ...]
    absolute_error: float
    absolute_at: tuple[int, ...]
    gradient: np.ndarray
    numerical: np.ndarray
    errors: np.ndarray
    kinks: np.ndarray
    wrong: np.ndarray
    why: str

    def __bool__(self) -> bool:
        return not self.wrong.any()


class GradientReport(Mapping[str, ArrayReport]):
    """What `check_gradient` found: true if every entry is right; prints as a table.

    A mapping from the names of arrays to an `ArrayReport` each.

    Attributes
    ----------
    subject : str
        What was checked.
    h : float
        The step of the differences.
    tolerance : float
        The largest relative error that counts as right.

    Examples
    --------
    >>> import nnfast as nf
    >>> report = nf.check_gradient(lambda x: x[0] * x[1], lambda x: [x[1], x[1]], [2.0, 3.0])
    >>> bool(report), report["x"].relative_at
    (False, (1,))
    """

    def __init__(self, subject: str, arrays: dict[str, ArrayReport], h: float, tolerance: float) -> None:
        self.subject, self.h, self.tolerance = subject, h, tolerance
        self._arrays = arrays

    def __getitem__(self, name: str) -> ArrayReport:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no array {name!r} was checked: there are {', '.join(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __bool__(self) -> bool:
        return all(self._arrays.values())

    def __str__(self) -> str:
        bad = [name for name, array in self.items() if not array]
        verdict = f"WRONG in {', '.join(bad)}" if bad else "right"
        rows = [
            ("array", "shape", "relative error", "at", "gradient", "numerical", "absolute error", "kinks", "verdict")
        ]
        rows += [_row(array) for array in self.values()]
        columns = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, columns, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * w for w in columns))
        head = f"gradient of {self.subject}: {verdict} (step {self.h:.2g}, tolerance {self.tolerance:.2g})"
        return "\n".join([head, *lines])

    __repr__ = __str__

    def plot(self, axes: Any = None) -> Any:
        """Draw a map of the errors of each array, with matplotlib.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            One for each array; by default in a new figure.

        Returns
        -------
        ndarray of Axes

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra that brings it.

        Examples
        --------
        >>> import nnfast as nf
        >>> from matplotlib.figure import Figure
        >>> report = nf.check_gradient(lambda x: x[0] * x[1], lambda x: [x[1], x[0]], [2.0, 3.0])
        >>> [ax.get_title() for ax in report.plot([Figure().subplots()])]
        ['x: right']
        """
        from nnfast.plotting import plot_gradient_report

        return plot_gradient_report(self, axes=axes)


def check_gradient(
    f: Callable[[np.ndarray], Any],
    gradient: Callable[[np.ndarray], Any] | ArrayLike,
    x: ArrayLike,
    /,
    *,
    h: float | None = None,
    tolerance: float = TOLERANCE,
) -> GradientReport:
    """Check the gradient that somebody claims a function has.

    Parameters
    ----------
    f : callable
        Of an array; gives one number.
    gradient : callable or array_like
        Of the same array, gives an array of its shape; or that array.
    x : array_like
        Where, in float64; `f` gets copies.
    h : float, optional
        The step of the differences. By default the cube root of float64's epsilon, times the larger of 1 and the size
        of the largest element.
    tolerance : float
        The largest relative error that counts as right.

    Returns
    -------
    GradientReport
        True if the gradient is right; printed, it tells where it is not, how much and, as far as the numbers tell, why.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a function gives something else than it must.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> report = nf.check_gradient(lambda x: np.sum(x**2), lambda x: -2 * x, [1.0, 2.0])
    >>> bool(report)
    False
    >>> report["x"].why
    'has the wrong sign'
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    point = np.array(as_array("x", x, np.float64, finite=True))
    h = STEP * max(1.0, float(np.abs(point).max(initial=0))) if h is None else _checked_step(h)
    what = "the result of gradient" if callable(gradient) else "gradient"
    claimed = _claimed(what, gradient(point.copy()) if callable(gradient) else gradient, point.shape)
    value = _number("f", f(point.copy()))

    def ask(step: float, names: Sequence[str]) -> Slopes:
        return {"x": one_sided_slopes(f, point.copy(), step)}

    subject = getattr(f, "__name__", type(f).__name__)
    return _compare(subject, {"x": claimed}, ask, h, abs(value), _checked_tolerance(tolerance))


def check_network(
    net: Sequential,
    x: ArrayLike,
    y: ArrayLike,
    *,
    gradient: Mapping[str, ArrayLike] | None,
    wrt: str | Sequence[str] | None,
    h: float | None,
    tolerance: float,
    verbose: int,
) -> GradientReport:
    """`Sequential.check_gradient`."""
    tolerance = _checked_tolerance(tolerance)
    h = STEP if h is None else _checked_step(h)
    if gradient is not None and not isinstance(gradient, Mapping):
        raise TypeError(f"gradient must be a mapping from names to arrays, got {describe(gradient)}")
    if wrt is None and gradient is not None:
        wrt = list(gradient)
    double = net._in_double()
    names = numerical.chosen_names(double, wrt)
    rows, targets = double._data(x, y)
    own = double.gradient(x, y, wrt=names)
    claimed = {name: np.asarray(own[name]) for name in names}
    if gradient is not None:
        for name in names:
            claimed[name] = _claimed(f"gradient[{name!r}]", gradient[name], claimed[name].shape)
    claimed = {name: array.reshape(rows.shape) if name == numerical.INPUT else array for name, array in claimed.items()}

    def ask(step: float, wanted: Sequence[str]) -> Slopes:
        return numerical.slopes(double, rows, targets, wanted, step, verbose)

    return _compare(repr(net), claimed, ask, h, double.loss(x, y), tolerance)


def assert_gradient_correct(subject: Any, first: Any, second: Any, /, **options: Any) -> None:
    """Raise AssertionError, with the printed report, unless a gradient is right: for test suites.

    Parameters
    ----------
    subject, first, second
        A network, samples and targets; or a function, its claimed gradient and a point.
    **options
        As for `Sequential.check_gradient` or for `check_gradient`.

    Raises
    ------
    AssertionError
        If the gradient is wrong; the message is the report.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.assert_gradient_correct(lambda x: np.sum(x**2), lambda x: 2 * x, [1.0, 2.0])
    >>> net = nf.Sequential([nf.Dense(3, "tanh"), nf.Dense(2, "softmax")], input_shape=2, seed=0)
    >>> nf.assert_gradient_correct(net, [[1.0, 2.0]], [1])
    """
    own = getattr(subject, "check_gradient", None)
    report = check_gradient(subject, first, second, **options) if own is None else own(first, second, **options)
    if not report:
        raise AssertionError(str(report))


# ---- the comparison


def _checked_step(h: Any) -> float:
    return check_float("h", h, 0.0, float("inf"), open_ends=True)


def _checked_tolerance(tolerance: Any) -> float:
    return check_float("tolerance", tolerance, 0.0, 1.0, open_ends=True)


def _claimed(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = as_array(name, value, np.float64)
    if array.shape != shape and array.shape == shape[::-1]:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}: it is transposed")
    return as_array(name, array, shape=shape)


def _compare(
    subject: str,
    claimed: Mapping[str, np.ndarray],
    ask: Callable[[float, Sequence[str]], Slopes],
    h: float,
    value: float,
    tolerance: float,
) -> GradientReport:
    """Compare all, then what fails with a smaller step."""
    sides = ask(h, list(claimed))
    errors = {name: _errors(claimed[name], *sides[name], h, value, tolerance) for name in claimed}
    failed = [name for name in claimed if not (errors[name] <= tolerance).all()]
    smaller = ask(h / SMALLER, failed) if failed else {}
    arrays = {}
    for name, gradient in claimed.items():
        wrong = ~(errors[name] <= tolerance)
        kinks = np.zeros(wrong.shape, bool)
        if name in smaller:
            kinks = wrong & _excused(gradient, sides[name], smaller[name], h / SMALLER, value, tolerance)
            wrong = wrong & ~kinks
        arrays[name] = _report(name, gradient, sum(sides[name]) / 2, errors[name], kinks, wrong)
    return GradientReport(subject, arrays, h, tolerance)


def _errors(
    gradient: np.ndarray, right: np.ndarray, left: np.ndarray, h: float, value: float, tolerance: float
) -> np.ndarray:
    """Relative errors, made so that rounding alone does not reach the tolerance."""
    slope = (right + left) / 2
    finite = np.abs(slope[np.isfinite(slope)])
    rounding = 64 * np.finfo(np.float64).eps * value / h / tolerance
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.abs(gradient), np.abs(slope)) + FLOOR * finite.max(initial=0) + rounding
        errors = np.abs(gradient - slope) / np.where(size == 0, 1, size)
    return np.where(np.isnan(errors), np.inf, errors)


def _excused(
    gradient: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
    closer: tuple[np.ndarray, np.ndarray],
    h: float,
    value: float,
    tolerance: float,
) -> np.ndarray:
    """Where a kink explains a difference.

    It is gone with a smaller step, or the two sides differ as much as before and the claimed slope lies between them.
    """
    right, left = closer
    gap, before = np.abs(right - left), np.abs(sides[0] - sides[1])
    margin = tolerance * (
        np.maximum(np.abs(right), np.abs(left)) + 64 * np.finfo(np.float64).eps * value / h / tolerance
    )
    between = (gradient >= np.minimum(right, left) - margin) & (gradient <= np.maximum(right, left) + margin)
    gone = _errors(gradient, right, left, h, value, tolerance) <= tolerance
    excused: np.ndarray = gone | ((gap > 0.5 * before) & (gap > margin) & between)
    return excused


def _report(
    name: str, gradient: np.ndarray, slope: np.ndarray, errors: np.ndarray, kinks: np.ndarray, wrong: np.ndarray
) -> ArrayReport:
    relative = np.where(kinks, 0, errors)
    with np.errstate(invalid="ignore"):
        absolute = np.abs(gradient - slope)
    absolute = np.where(kinks, 0, np.where(np.isnan(absolute), np.inf, absolute))
    places = [tuple(map(int, np.unravel_index(np.argmax(e), e.shape))) if e.size else () for e in (relative, absolute)]
    why = _why(np.where(kinks, 0, gradient), np.where(kinks, 0, slope), wrong) if wrong.any() else ""
    return ArrayReport(
        name, float(relative.max(initial=0)), places[0], float(absolute.max(initial=0)), places[1], gradient, slope,
        errors, kinks, wrong, why,
    )  # fmt: skip


def _why(gradient: np.ndarray, slope: np.ndarray, wrong: np.ndarray) -> str:
    """Guess the mistake from the numbers."""
    if not np.isfinite(gradient).all():
        return f"is not finite at {_first(~np.isfinite(gradient))}"
    scale = np.abs(slope).max()

    def alike(other: np.ndarray) -> bool:
        return bool(np.abs(other - slope).max() <= 1e-3 * scale)

    if not gradient.any():
        return "is zero: a term is forgotten"
    if alike(-gradient):
        return "has the wrong sign"
    factor = float(np.sum(gradient * slope) / np.sum(slope * slope)) if slope.any() else 0.0
    if factor and alike(gradient / factor):
        return f"is {factor:.4g} times the numerical one: a factor is missing"
    if gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] and alike(gradient.T):
        return "is transposed"
    for axis, what in ((0, "column"), (1, "row")) if wrong.ndim == 2 else ():
        lines = np.flatnonzero(wrong.any(axis=axis))
        if len(lines) <= 3 and len(lines) < wrong.shape[1 - axis]:
            return f"differs in {what} {', '.join(map(str, lines))} alone"
    return f"differs in {wrong.sum():,} of {wrong.size:,} entries"


def _first(where: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, np.argwhere(where)[0]))


def _row(array: ArrayReport) -> tuple[str, ...]:
    at = array.relative_at
    size = array.gradient.size
    return (
        array.name,
        str(array.gradient.shape),
        f"{array.relative_error:.1e}",
        str(at[0] if len(at) == 1 else at),
        f"{array.gradient[at]:.6g}" if size else "",
        f"{array.numerical[at]:.6g}" if size else "",
        f"{array.absolute_error:.1e}",
        str(int(array.kinks.sum())),
        "right" if array else f"WRONG: {array.why}",
    )
