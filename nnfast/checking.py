"""Claimed gradients against numerical ones, with a report that tells where, how much and why.

A slope is asked for on both sides of each number, and what fails is asked again with smaller steps. Where the two sides
go on to differ there is a kink, as of relu at zero: any slope between them is as right as another, and reported apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast import numerical
from nnfast._validation import as_array, as_weights, check_float, describe
from nnfast.gradients import number, one_sided_slopes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nnfast.sequential import Sequential

__all__ = ["ArrayReport", "GradientReport", "assert_gradient_correct", "check_gradient"]

STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # balances rounding and the error of a central difference
CLOSER = 32  # how much smaller each further step is
LOOKS = 3  # how many of them there are at most
TOLERANCE = 1e-5
ROUNDING = 64 * float(np.finfo(np.float64).eps)  # what a value of 1 may be off by
EXCUSED = 1e-3  # of the largest slope of all: rounding excuses no error larger than this
FLOOR = 1e-3  # of an array's largest slope: what is smaller counts as so large, when errors are put in proportion

Slopes = Mapping[str, tuple[np.ndarray, np.ndarray, Any]]  # to the right, to the left, and the step


@dataclass(frozen=True, eq=False)
class ArrayReport:
    """What the check of one array found.

    Attributes
    ----------
    name : str
        Of the array.
    relative_error, absolute_error : float
        The largest ones, kinks left out. A relative error is the difference by the larger of the two sizes, to which
        comes a thousandth of the array's largest slope, and so much that rounding alone stays within the tolerance.
    relative_at, absolute_at : tuple of int
        Where they are.
    gradient, numerical : ndarray
        Claimed and numerical slopes.
    errors : ndarray
        The relative error of each entry.
    kinks, wrong : ndarray of bool
        Entries whose numerical slope a kink spoils, and which may be right; and wrong ones.
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
        The step of the differences; if it was left to be chosen, that of a number of size 1.
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
        kinks = sum(int(array.kinks.sum()) for array in self.values())
        verdict = f"WRONG in {', '.join(bad)}" if bad else "right"
        if kinks:
            verdict += f", {kinks:,} {'entry' if kinks == 1 else 'entries'} at kinks left out"
        rows: list[tuple[str, ...]] = [
            ("array", "shape", "relative error", "at", "gradient", "numerical", "absolute error", "kinks", "verdict")
        ]
        rows += [_row(array) for array in self.values()]
        columns = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        columns[-1] = len("verdict")  # the last column may be long, its rule need not
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
        The step of the differences. By default the cube root of float64's epsilon, times the larger of 1 and the
        element's size. What fails is asked again with smaller ones.
    tolerance : float
        The largest relative error that counts as right.

    Returns
    -------
    GradientReport
        True if the gradient is right; printed, it tells where it is not, how much and, as far as the numbers tell, why.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a function gives something else than it must, or `f` is not finite at `x`.

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
    tolerance = _checked_tolerance(tolerance)
    point = np.array(as_array("x", x, np.float64, finite=True))
    steps: Any = STEP * np.maximum(1.0, np.abs(point)) if h is None else _checked_step(h)
    what = "the result of gradient" if callable(gradient) else "gradient"
    claimed = _claimed(what, gradient(point.copy()) if callable(gradient) else gradient, point.shape)
    value = float(number("f", f(point.copy())))
    if not np.isfinite(value):
        raise ValueError(f"f must be finite at x, got {value}")

    def ask(share: float, names: Sequence[str]) -> Slopes:
        step = np.maximum(steps * share, 4 * np.spacing(np.abs(point))) if share < 1 else steps
        return {"x": (*one_sided_slopes(lambda at: f(at.copy()), point.copy(), step), step)}

    subject = getattr(f, "__name__", type(f).__name__)
    return _compare(subject, {"x": claimed}, {"x": point}, ask, STEP if h is None else float(h), value, tolerance)


def check_network(
    net: Sequential,
    x: ArrayLike,
    y: ArrayLike,
    *,
    gradient: Mapping[str, ArrayLike] | None,
    wrt: str | Sequence[str] | None,
    h: float | None,
    tolerance: float,
    sample_weight: ArrayLike | None,
    training: bool,
    verbose: int,
) -> GradientReport:
    """`Sequential.check_gradient`."""
    tolerance = _checked_tolerance(tolerance)
    h = STEP if h is None else _checked_step(h)
    double = net._in_double()
    names = numerical.chosen_names(double, wrt if gradient is None else _claimed_names(double, gradient, wrt))
    rows, targets = double._data(x, y)
    weights = as_weights(sample_weight, len(rows))
    options: dict[str, Any] = {} if weights is None else {"sample_weight": weights}
    if training:
        options["training"] = True  # only what is asked for: methods may be a subclass's, which knows no more
    value = double.loss(x, y, **options)
    if not np.isfinite(value):
        raise ValueError(f"the loss must be finite, got {value}")
    points = {name: double.params[name] for name in names if name != numerical.INPUT}
    if numerical.INPUT in names:
        points[numerical.INPUT] = rows.reshape(len(rows), *double._built_shape)
    given: Mapping[str, Any]
    if gradient is None:
        given, what = double.gradient(x, y, wrt=names, **options), "the network's gradient"
    else:
        given, what = _by_name(double, gradient), "gradient"
    claimed = {name: _claimed(f"{what}[{name!r}]", given[name], points[name].shape) for name in names}

    def ask(share: float, wanted: Sequence[str]) -> Slopes:
        found = {}
        step = h * share
        slopes = numerical.slopes(double, rows, targets, weights, wanted, step, verbose, training=training)
        for name, sides in slopes.items():
            right, left = (side.reshape(points[name].shape) for side in sides)
            found[name] = (right, left, step)
        return found

    return _compare(repr(net), claimed, points, ask, h, value, tolerance)


def _by_name(net: Sequential, gradient: Mapping[str, Any]) -> dict[str, Any]:
    return {net.params._paths.get(name, name): array for name, array in gradient.items()}


def _claimed_names(net: Sequential, gradient: Any, wrt: Any) -> list[str]:
    """Return the names to check: those that `wrt` asks for, or all that `gradient` holds."""
    if not isinstance(gradient, Mapping):
        raise TypeError(f"gradient must be a mapping from names to arrays, got {describe(gradient)}")
    known, held = (*net.params, numerical.INPUT), list(_by_name(net, gradient))
    for name in gradient:
        if net.params._paths.get(name, name) not in known:
            raise ValueError(f"gradient must have names among {', '.join(known)}, got {name!r}")
    if not held:
        raise ValueError(f"gradient must hold at least one of {', '.join(known)}, got none")
    if len(held) < len(gradient):
        raise ValueError(f"gradient must hold each array once, got {', '.join(map(repr, gradient))}")
    chosen = held if wrt is None else numerical.chosen_names(net, wrt)
    for name in chosen:
        if name not in held:
            raise ValueError(f"gradient must hold {name!r}, which wrt asks for, got {', '.join(held)}")
    return chosen


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
    points: Mapping[str, np.ndarray],
    ask: Callable[[float, Sequence[str]], Slopes],
    h: float,
    value: float,
    tolerance: float,
) -> GradientReport:
    """Compare all, then what fails with smaller and smaller steps."""
    sides = ask(1.0, list(claimed))
    # The terms of a sum, which `value` is the sum of, may be larger than it is.
    value = abs(value) + sum(_sum(np.abs(points[name]) * _smaller(*sides[name])) for name in claimed)
    limit = EXCUSED * max(_largest(_larger(*sides[name])) for name in claimed)
    found = {
        name: _Comparison(gradient, _Sides(*sides[name], value, limit), tolerance) for name, gradient in claimed.items()
    }
    for look in range(1, LOOKS + 1):
        unsure = [name for name in claimed if found[name].unsure.any()]
        closer = ask(CLOSER**-look, unsure) if unsure else {}
        for name in unsure:
            found[name].look_closer(_Sides(*closer[name], value, limit), last=look == LOOKS)
    return GradientReport(subject, {name: _report(name, found[name]) for name in claimed}, h, tolerance)


def _larger(right: np.ndarray, left: np.ndarray, *_: Any) -> np.ndarray:
    return np.asarray(np.maximum(np.abs(right), np.abs(left)))


def _smaller(right: np.ndarray, left: np.ndarray, *_: Any) -> np.ndarray:
    return np.asarray(np.minimum(np.abs(right), np.abs(left)))


def _largest(array: np.ndarray) -> float:
    return float(np.max(array, initial=0, where=np.isfinite(array)))


def _sum(array: np.ndarray) -> float:
    return float(np.sum(array, where=np.isfinite(array)))


class _Sides:
    """Slopes to the right and to the left of each number of an array, and what rounding may add to them."""

    def __init__(self, right: np.ndarray, left: np.ndarray, step: Any, value: float, limit: float) -> None:
        self.right, self.left = right, left
        self.rounding = np.broadcast_to(ROUNDING * value / step, right.shape)
        self.noise = np.minimum(self.rounding, limit)
        with np.errstate(invalid="ignore"):  # infinite slopes
            self.slope = np.asarray((right + left) / 2)
            self.gap = np.asarray(np.abs(right - left))
        self.size = _larger(right, left)


class _Comparison:
    """Of the claimed slopes of one array with the numerical ones."""

    def __init__(self, gradient: np.ndarray, sides: _Sides, tolerance: float) -> None:
        self.gradient, self.tolerance = gradient, tolerance
        self.first = self.last = sides
        self.floor = FLOOR * _largest(_smaller(sides.right, sides.left))  # a jump has one large side
        self.slope = sides.slope.copy()
        self.errors = self._errors(sides)
        self.unsure = np.asarray(~(self.errors <= tolerance))
        self.wrong, self.kinks, self.jumps, self.outside = (np.zeros(gradient.shape, bool) for _ in range(4))

    def _errors(self, sides: _Sides) -> np.ndarray:
        """Relative errors, made so that rounding alone does not reach the tolerance."""
        with np.errstate(invalid="ignore", over="ignore"):
            size = np.maximum(np.abs(self.gradient), sides.size) + self.floor + sides.noise / self.tolerance
            errors = np.abs(self.gradient - sides.slope) / np.where(size == 0, 1, size)
        return np.where(np.isnan(errors), np.inf, errors)

    def look_closer(self, sides: _Sides, last: bool) -> None:
        """Decide what slopes of a smaller step can tell of the entries that are not sure yet."""
        with np.errstate(invalid="ignore", over="ignore"):
            self._settle_right(sides)
            margin = self.tolerance * sides.size + sides.noise
            still = (np.abs(sides.right - self.last.right) <= 10 * margin) & (
                np.abs(sides.left - self.last.left) <= 10 * margin
            )
            # A slope that grows as the step gets smaller is a jump's; a gap that does not shrink, as that of a smooth
            # function would by CLOSER, a kink's.
            jumps = self.unsure & (sides.size > CLOSER / 4 * self.last.size)
            bent = self.unsure & ~jumps & (sides.gap > 4 / CLOSER * self.last.gap) & (sides.gap > margin)
            if last:  # kinks may be so many that few of them are left
                bent |= self.unsure & ~jumps & (sides.gap > 1e-3 * sides.size + margin)
            on_side = self._is_near(sides.right, sides) | self._is_near(sides.left, sides)
            between = on_side | ((self.gradient > sides.right) != (self.gradient > sides.left))
        over = self.unsure & (True if last else still & (between | ~bent))
        kinks = over & ((bent & between) | ((jumps | last) & on_side))
        self.kinks |= kinks
        self.wrong |= over & ~kinks
        self.jumps |= over & jumps & ~kinks
        self.outside |= over & bent & ~kinks
        self.unsure &= ~over
        self.last = sides

    def _is_near(self, side: np.ndarray, sides: _Sides) -> np.ndarray:
        size = np.maximum(np.abs(self.gradient), np.abs(side)) + self.floor
        return np.asarray(np.abs(self.gradient - side) <= self.tolerance * size + sides.noise)

    def _settle_right(self, sides: _Sides) -> None:
        """Accept what is right at this step; it was at a kink before if curvature does not explain the gap there."""
        errors = self._errors(sides)
        told = sides.noise <= 0.1 * np.abs(self.gradient - self.first.slope)
        right = self.unsure & (errors <= self.tolerance) & (told | ~np.isfinite(self.first.slope))
        kinks = right & (self.last.gap > 4 * CLOSER * sides.gap + self.last.noise)
        self.kinks |= kinks
        smooth = right & ~kinks
        self.errors = np.where(smooth, errors, self.errors)
        self.slope = np.where(smooth, sides.slope, self.slope)
        self.unsure &= ~right


def _report(name: str, found: _Comparison) -> ArrayReport:
    gradient, slope, kinks = found.gradient, found.slope, found.kinks
    relative = np.where(kinks, 0, found.errors)
    with np.errstate(invalid="ignore"):
        absolute = np.abs(gradient - slope)
    absolute = np.where(kinks, 0, np.where(np.isnan(absolute), np.inf, absolute))
    places = [tuple(map(int, np.unravel_index(np.argmax(e), e.shape))) if e.size else () for e in (relative, absolute)]
    return ArrayReport(
        name, float(relative.max(initial=0)), places[0], float(absolute.max(initial=0)), places[1], gradient, slope,
        found.errors, kinks, found.wrong, _why(found) if found.wrong.any() else "",
    )  # fmt: skip


def _why(found: _Comparison) -> str:
    """Guess the mistake from the numbers."""
    gradient, slope, wrong = found.gradient, found.slope, found.wrong
    if not np.isfinite(gradient).all():
        return f"is not finite at {_places(~np.isfinite(gradient))}"
    if not np.isfinite(slope[wrong]).all():
        return f"cannot be told: f is not finite beside {_places(wrong & ~np.isfinite(slope))}"
    if (np.abs(gradient - slope) <= found.first.rounding)[wrong].all():
        return "cannot be told: rounding of f hides its slopes, take a larger h"
    if (wrong <= found.jumps).all():
        return f"cannot be told: f jumps at {_places(wrong)}"
    if (wrong <= found.outside).all():
        return f"is not between the slopes on both sides of the kink at {_places(wrong)}"
    compared = ~(found.kinks | found.jumps | found.outside) & np.isfinite(slope)
    return _mistake_everywhere(gradient, slope, compared) or _mistake_somewhere(wrong)


def _mistake_everywhere(gradient: np.ndarray, slope: np.ndarray, compared: np.ndarray) -> str:
    """Name what makes the one of the other, away from kinks; empty if nothing does."""
    apart = np.abs(gradient - slope)[compared].max()

    def is_it(other: np.ndarray) -> bool:
        return bool((np.abs(other - slope)[compared] <= 0.01 * apart).all())

    if not gradient[compared].any():
        return "is zero: a term is forgotten"
    if is_it(-gradient):
        return "has the wrong sign"
    size = np.abs(slope[compared])
    if np.count_nonzero(size > FLOOR * size.max()) > 1:
        factor = float(np.sum((gradient * slope)[compared]) / np.sum(size**2))
        if factor and is_it(gradient / factor):
            return f"is {factor:.5g} times the numerical one: a factor is off"
    if gradient.ndim == 2 and min(gradient.shape) > 1 and is_it(gradient.reshape(gradient.shape[::-1]).T):
        return "is transposed"
    return ""


def _mistake_somewhere(wrong: np.ndarray) -> str:
    """Say which entries are wrong."""
    count = int(wrong.sum())
    for axis, what in ((0, "column"), (1, "row")) if wrong.ndim == 2 else ():
        lines = np.flatnonzero(wrong.any(axis=axis))
        if len(lines) <= min(3, count // 2, wrong.shape[1 - axis] - 1):
            return f"differs in {what}{'s'[: len(lines) > 1]} {', '.join(map(str, lines))} alone"
    if count <= 3:
        return f"differs at {_places(wrong)}" if wrong.ndim else "differs"
    return f"differs in {count:,} of {wrong.size:,} entries"


def _place(at: Sequence[int]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _places(where: np.ndarray) -> str:
    """Name the first ones, and count the rest."""
    found = np.argwhere(where).tolist()
    more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
    return (", ".join(map(_place, found[:3])) or "x") + more


def _row(array: ArrayReport) -> tuple[str, ...]:
    at = array.relative_at
    told = array.gradient.size > 0 and not array.kinks[at]
    return (
        array.name,
        str(array.gradient.shape),
        f"{array.relative_error:.1e}",
        _place(at) if told else "",
        f"{array.gradient[at]:.6g}" if told else "",
        f"{array.numerical[at]:.6g}" if told else "",
        f"{array.absolute_error:.1e}",
        f"{array.kinks.sum():,}",
        "right" if array else f"WRONG: {array.why}",
    )
