"""Comparison of claimed with numerical gradients, with a report of where, by how much and why they differ.

Each entry is right, wrong, at a kink (such as that of relu at zero, where any slope between those of both sides is
equally right), or undecided, because rounding hides the slope or there is none: see `nnfast.gradients._verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._network import Network
from nnfast._validation import as_array, as_weights, check_float, describe, ignore_float_errors, number
from nnfast.gradients._verdicts import EPSILON, RATIO, Sides, Verdict, judge
from nnfast.gradients.functions import one_sided_slopes
from nnfast.gradients.network import INPUT, chosen_names, slopes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nnfast._typing import Samples

__all__ = ["ArrayReport", "GradientReport", "assert_gradient_correct", "check_gradient"]

H = float(np.finfo(np.float64).eps ** (1 / 3))  # balances rounding and the error of a central difference
TOLERANCE = 1e-6
FLOOR = 1e-3  # of an array's largest slope: smaller ones do not determine a factor
BESIDE = RATIO**-6  # of h: so near that only a kink at the point itself changes a claim much
SUMMED = 32  # units in the last place of the largest entry: the error of sums in the precision of a claim
CHEAP = 256  # entries, of an array as large as the network, up to which single losses cost less than all differences
FEW = 200  # wrong claims examined beside the point
MANY = 5000  # values that are kept to determine what they are rounded to
WHOLE = 0.01  # how close to whole numbers their differences must be, in units of the smallest

Place = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ArrayReport:
    """Result of checking one array.

    Attributes
    ----------
    name : str
        Name of the array.
    relative_error, absolute_error : float
        The largest errors, without kinks and undecided entries. A relative error is the difference divided by the
        larger of the two magnitudes, plus enough that rounding alone stays within the tolerance.
    relative_at, absolute_at : tuple of int
        Indices of these errors.
    gradient, numerical : ndarray
        Claimed and numerical slopes.
    errors : ndarray
        The relative error of each entry.
    kinks, undecided, wrong : ndarray of bool
        Entries at a kink, whose claim lies between the slopes of both sides and is as right as any other there; entries
        that cannot be decided, because rounding hides the slope or there is none; and wrong ones. All others are right.
    why : str
        What is wrong, or why it cannot be decided, as far as the numbers show; empty if everything is right.
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
    undecided: np.ndarray
    wrong: np.ndarray
    why: str

    def __bool__(self) -> bool:
        return not self.wrong.any()


class GradientReport(Mapping[str, ArrayReport]):
    """Result of `check_gradient`: true if no entry is wrong; prints as a table.

    A mapping from the names of arrays to their `ArrayReport`.

    Attributes
    ----------
    subject : str
        What was checked.
    h : float
        The difference; if it was not given, the one used for an element of magnitude 1.
    tolerance : float
        The largest relative error that counts as right.
    random : str
        The results of two calls of the function with the same argument, if they differ by more than rounding: then
        its gradient cannot be checked, and the report is false. Otherwise empty.

    Examples
    --------
    >>> import nnfast as nf
    >>> report = nf.check_gradient(lambda x: x[0] * x[1], lambda x: [x[1], x[1]], [2.0, 3.0])
    >>> bool(report), report["x"].relative_at
    (False, (1,))
    """

    def __init__(
        self, subject: str, arrays: dict[str, ArrayReport], h: float, tolerance: float, random: str = ""
    ) -> None:
        self.subject, self.h, self.tolerance, self.random = subject, h, tolerance, random
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
        return not self.random and all(self._arrays.values())

    def __str__(self) -> str:
        kinks, undecided = (sum(int(getattr(a, what).sum()) for a in self.values()) for what in ("kinks", "undecided"))
        verdict = self._verdict(undecided)
        if kinks:
            verdict += f", {_entries(kinks)} at kinks left out"
        if undecided and verdict != "undecided":
            verdict += f", {_entries(undecided)} undecided"
        rows: list[tuple[str, ...]] = [
            ("array", "shape", "relative error", "at", "gradient", "numerical", "absolute error", "kinks", "verdict")
        ]
        rows += [_row(array) for array in self.values()]
        columns = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        columns[-1] = len("verdict")  # the last column may be long, but not the line below its title
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, columns, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * w for w in columns))
        head = f"gradient of {self.subject}: {verdict} (h = {self.h:.2g}, tolerance = {self.tolerance:.2g})"
        return "\n".join([head, *lines])

    __repr__ = __str__

    def _verdict(self, undecided: int) -> str:
        bad = [name for name, array in self.items() if not array]
        if self.random:
            return f"CANNOT BE CHECKED: the function is random: {self.random}"
        if bad:
            return f"WRONG in {', '.join(bad)}"
        return "undecided" if undecided and undecided == sum(a.wrong.size for a in self.values()) else "right"

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
            If matplotlib is missing; the message names the extra that installs it.

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
    """Check the claimed gradient of a function.

    Parameters
    ----------
    f : callable
        Function of an array that returns one number.
    gradient : callable or array_like
        The claimed gradient: a function of the same array that returns an array of its shape, or the array itself.
    x : array_like
        The point at which to check, in float64; `f` receives copies.
    h : float, optional
        The difference. By default the cube root of float64's epsilon, times the larger of 1 and the element's
        magnitude. Entries that fail are checked again with smaller and larger differences, and entries that cannot be
        decided with a given `h` are checked with the default.
    tolerance : float
        The largest relative error that counts as right.

    Returns
    -------
    GradientReport
        True if nothing is wrong; when printed, it shows what is wrong, by how much and, as far as the numbers show,
        why, and what cannot be decided. Also false if `f` is random: if it returns different values for the same
        argument.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a function returns something unsuitable, or `f` is not finite at `x`.

    Notes
    -----
    A claim is called wrong only if neither rounding nor a kink can explain the difference. Rounding is measured as in
    Moré and Wild, "Estimating computational noise" (2011).

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
    what = "the result of gradient" if callable(gradient) else "gradient"

    given = gradient(point.copy()) if callable(gradient) else gradient
    claimed, rounding = {"x": _claimed(what, given, point.shape)}, {"x": _rounding_of(given)}
    probe = _Probe(f, point)
    check = _Check(claimed, {"x": point}, probe.evaluate, probe.value, tolerance, rounding=rounding)
    usual = H * np.maximum(1.0, np.abs(point.ravel()))
    found = check.run({"x": usual} if h is None else {"x": np.full(point.size, _checked_h(h))}, probe.quantum)
    if h is not None:
        check.run_again(found, {"x": usual}, probe.quantum)
    subject = getattr(f, "__name__", type(f).__name__)
    reports = {"x": _report("x", found["x"], point.shape, tolerance, probe.is_single())}
    return GradientReport(subject, reports, H if h is None else float(h), tolerance, probe.randomness())


def check_network(
    double: Network,
    model: Any,
    subject: str,
    x: Samples,
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
    """Implement `Sequential.check_gradient`.

    `model` is the `Sequential` that holds `double`, in float64: its methods, which a subclass may have overridden, are
    checked. `subject` is its name in the report.
    """
    tolerance = _checked_tolerance(tolerance)
    h = None if h is None else _checked_h(h)
    names = chosen_names(double, wrt if gradient is None else _claimed_names(double, gradient, wrt))
    probe = _NetworkProbe(double, model, x, y, sample_weight, training, verbose)
    given: Mapping[str, Any]
    if gradient is None:
        given, what = model.gradient(x, y, wrt=names, **probe.options), "the network's gradient"
    else:
        given, what = _by_name(double, gradient), "gradient"
    points = {name: probe.array(name) for name in names}
    claimed = {name: _claimed(f"{what}[{name!r}]", given[name], points[name].shape) for name in names}
    rounding = {name: _rounding_of(given[name]) for name in names}
    check = _Check(claimed, points, probe.evaluate, probe.value, tolerance, probe.beside, rounding)

    def for_all(h: float) -> dict[str, np.ndarray]:
        return {name: np.full(claim.size, h) for name, claim in claimed.items()}

    found = check.run(for_all(h or H))
    if h is not None:
        check.run_again(found, for_all(H))
    reports = {name: _report(name, found[name], points[name].shape, tolerance) for name in claimed}
    return GradientReport(subject, reports, h or H, tolerance)


def _by_name(network: Network, gradient: Mapping[str, Any]) -> dict[str, Any]:
    return {network.params.name_of(name): array for name, array in gradient.items()}


def _claimed_names(network: Network, gradient: Any, wrt: Any) -> list[str]:
    """Return the names to check: those in `wrt`, or all in `gradient`."""
    if not isinstance(gradient, Mapping):
        raise TypeError(f"gradient must be a mapping from names to arrays, got {describe(gradient)}")
    known, held = (*network.params, INPUT), list(_by_name(network, gradient))
    for name in gradient:
        if network.params.name_of(name) not in known:
            raise ValueError(f"gradient must have names among {', '.join(known)}, got {name!r}")
    if not held:
        raise ValueError(f"gradient must hold at least one of {', '.join(known)}, got none")
    if len(held) < len(gradient):
        raise ValueError(f"gradient must hold each array once, got {', '.join(map(repr, gradient))}")
    chosen = held if wrt is None else chosen_names(network, wrt)
    for name in chosen:
        if name not in held:
            raise ValueError(f"gradient must hold {name!r}, which wrt lists, got {', '.join(held)}")
    return chosen


def assert_gradient_correct(subject: Any, first: Any, second: Any, /, **options: Any) -> None:
    """Raise AssertionError with the printed report if a gradient is wrong; for test suites.

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
    method = getattr(subject, "check_gradient", None)
    report = check_gradient(subject, first, second, **options) if method is None else method(first, second, **options)
    if not report:
        raise AssertionError(str(report))


# ---- the comparison


def _checked_h(h: Any) -> float:
    return check_float("h", h, 0.0, float("inf"), open_ends=True)


def _checked_tolerance(tolerance: Any) -> float:
    return check_float("tolerance", tolerance, 0.0, 1.0, open_ends=True)


def _claimed(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(as_array(name, value, np.float64))  # a copy: `f` may overwrite the original
    if array.shape != shape and array.shape == shape[::-1]:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}: it is transposed")
    return as_array(name, array, shape=shape)


def _rounding_of(claim: Any) -> float:
    """Return by how much rounding may change the entries of a claim; 0 if it is in float64."""
    array = np.asarray(claim)
    if array.dtype.kind != "f" or array.dtype.itemsize >= 8 or not array.size:
        return 0.0
    return float(SUMMED * np.finfo(array.dtype).eps * np.abs(array).max())


class _Probe:
    """Evaluates a function at and beside a point, and examines its values."""

    def __init__(self, f: Callable[[np.ndarray], Any], point: np.ndarray) -> None:
        self.f, self.point = f, point
        self.values: list[float] = []
        self.value = self(point)
        if not np.isfinite(self.value):
            raise ValueError(f"f must be finite at x, got {self.value}")

    def __call__(self, at: np.ndarray) -> float:
        value = float(number("f", self.f(at.copy())))
        if len(self.values) < MANY:
            self.values.append(value)
        return value

    def _beside(self, at: np.ndarray) -> float:
        """Return the value at a point that may be just outside the domain, where warnings are of interest."""
        try:
            return self(at)
        except Exception:
            return float("nan")

    def _far(self, at: np.ndarray) -> float:
        """Return the value at a point that may be outside the domain of the function."""
        try:
            with np.errstate(all="ignore"):
                return self(at)
        except Exception:  # an index out of range, an assertion, a complex root: there was none at the point
            return float("nan")

    def evaluate(
        self, hs: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], larger: bool
    ) -> dict[str, Sides]:
        """Return the slopes on both sides of some entries."""
        entries, h = wanted["x"], hs["x"]
        f = self._far if larger else self._beside
        return {"x": (*one_sided_slopes(f, self.point, self.value, h, entries), h)}

    def is_single(self) -> bool:
        """Return whether all values are exact in float32, but not all in float16."""
        values = np.array(self.values)
        values = values[np.isfinite(values)]
        single, half = (values == _rounded(values, dtype) for dtype in (np.float32, np.float16))
        return bool(single.all() and not half.all())

    @ignore_float_errors
    def quantum(self) -> float:
        """Return the unit to which values are rounded, or 0: some are equal, all others differ by multiples of it."""
        changes = np.abs(np.array(self.values) - self.value)
        same = int(np.count_nonzero(changes == 0))
        changes = changes[np.isfinite(changes) & (changes > 0)]
        single = float(np.spacing(np.float32(self.value))) if self.is_single() else 0.0
        least = float(changes.min(initial=np.inf))
        multiples = changes / least
        multiples = multiples[
            multiples * EPSILON * abs(self.value) < WHOLE / 4 * least
        ]  # for the others, rounding hides it
        whole = min(same, len(multiples)) >= 4 and bool((np.abs(multiples - np.rint(multiples)) < WHOLE).all())
        return max(single, least) if whole else single

    def randomness(self) -> str:
        """Describe the result of another call at the point if it differs."""
        again = self(self.point)
        if abs(again - self.value) <= 64 * EPSILON * abs(self.value):
            return ""
        return f"for the same argument it returned {self.value!r} and {again!r}"


class _NetworkProbe:
    """Evaluates the loss and the gradient of a network at and beside its parameters and its input.

    Parameters
    ----------
    double, model, x, y, sample_weight, training, verbose
        As in `check_network`.

    Raises
    ------
    ValueError
        If the loss is not finite.
    """

    def __init__(
        self,
        double: Network,
        model: Any,
        x: Samples,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        training: bool,
        verbose: int,
    ) -> None:
        self.double, self.model, self.y, self.training, self.verbose = double, model, y, training, verbose
        self.rows, self.targets = double.dense_batch(x, y)
        self.weights = as_weights(sample_weight, len(self.rows))
        self.options: dict[str, Any] = {} if self.weights is None else {"sample_weight": self.weights}
        if training:
            self.options["training"] = True  # only when requested: a subclass's methods may not accept it
        self.value = model.loss(x, y, **self.options)
        if not np.isfinite(self.value):
            raise ValueError(f"the loss must be finite, got {self.value}")
        double.warn_of_float32(self.rows, self.targets, self.weights)

    def array(self, name: str) -> np.ndarray:
        """Return a view of an array of parameters, or of the input."""
        if name == INPUT:
            return self.rows.reshape(len(self.rows), *self.double.built_shape)
        return self.double.params[name]

    def evaluate(
        self, hs: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], larger: bool
    ) -> dict[str, Sides]:
        """Return the slopes on both sides of some entries."""
        h = max(float(hs[name].max(initial=0)) for name in wanted) or H  # the same for all
        size = sum(self.array(name).size for name in wanted)
        if sum(map(len, wanted.values())) * len(self.double.built.parameters) <= CHEAP * size:
            return {name: self._one_by_one(name, entries, h) for name, entries in wanted.items()}
        both = slopes(
            self.double, self.rows, self.targets, self.weights, list(wanted), h, self.verbose, training=self.training
        )
        found = {}
        for name, entries in wanted.items():
            right, left = (side.reshape(-1)[entries] for side in both[name])
            found[name] = (right, left, np.full(len(entries), h))
        return found

    def _one_by_one(self, name: str, entries: np.ndarray, h: float) -> Sides:
        """Return the same from single losses, changing one entry at a time."""
        at = self.array(INPUT).copy() if name == INPUT else self.array(INPUT)
        moved = (at if name == INPUT else self.double.params[name]).reshape(-1)
        sides = np.zeros((2, len(entries)))
        for place, entry in enumerate(entries):
            center = moved[entry]
            for side, delta in enumerate((h, -h)):
                moved[entry] = center + delta
                width = moved[entry] - center
                if width:
                    sides[side, place] = (self.model.loss(at, self.y, **self.options) - self.value) / width
            moved[entry] = center
        return sides[0], sides[1], np.full(len(entries), h)

    def beside(self, name: str, entry: int, delta: float) -> float:
        """Return the result of backpropagation for one entry after moving it."""
        twin, at = self.model.copy(), np.array(self.array(INPUT))
        (at if name == INPUT else twin.params[name]).flat[entry] += delta
        return float(twin.gradient(at, self.y, wrt=name, **self.options)[name].flat[entry])


@ignore_float_errors
def _rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    return np.asarray(values.astype(dtype).astype(np.float64))


Evaluate = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray], bool], Mapping[str, Sides]]


class _Check:
    """Claims about some arrays, judged with various values of h.

    `evaluate` receives h for each entry in question, their indices, and whether h is larger than usual; `beside`, if
    given, returns the result of backpropagation for one entry after moving it; `rounding` is the possible error of
    claims due to their precision.
    """

    def __init__(
        self,
        claimed: Mapping[str, np.ndarray],
        points: Mapping[str, np.ndarray],
        evaluate: Evaluate,
        value: float,
        tolerance: float,
        beside: Callable[[str, int, float], float] | None = None,
        rounding: Mapping[str, float] | None = None,
    ) -> None:
        self.rounding = rounding or {}
        self.claimed = {name: claim.ravel() for name, claim in claimed.items()}
        self.points = {name: np.array(points[name]).ravel() for name in claimed}
        self.evaluate, self.value, self.tolerance, self.beside = evaluate, value, tolerance, beside

    def run(self, hs: Mapping[str, np.ndarray], quantum: Callable[[], float] | None = None) -> dict[str, Verdict]:
        """Judge all claims."""
        return self._run(self.claimed, self.points, hs, quantum)

    def run_again(
        self,
        found: Mapping[str, Verdict],
        hs: Mapping[str, np.ndarray],
        quantum: Callable[[], float] | None = None,
    ) -> None:
        """Judge again, with other values of h, all entries that a poor h may have misjudged."""
        left = {
            name: np.flatnonzero(verdict.undecided | verdict.wrong | verdict.kinks) for name, verdict in found.items()
        }
        left = {name: entries for name, entries in left.items() if entries.size}
        if left:
            claims, points, usual = (
                {name: array[name][entries] for name, entries in left.items()}
                for array in (self.claimed, self.points, hs)
            )
            for name, verdict in self._run(claims, points, usual, quantum, left).items():
                entries = left[name]
                found[name].replace(entries, verdict, ~(verdict.undecided & found[name].wrong[entries]))

    def _run(
        self,
        claims: Mapping[str, np.ndarray],
        points: Mapping[str, np.ndarray],
        hs: Mapping[str, np.ndarray],
        quantum: Callable[[], float] | None,
        places: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Verdict]:
        def evaluate(factor: float, wanted: Mapping[str, np.ndarray]) -> Mapping[str, Sides]:
            these = {name: _scaled(points[name], hs[name], factor)[entries] for name, entries in wanted.items()}
            placed = wanted if places is None else {name: places[name][entries] for name, entries in wanted.items()}
            return self.evaluate(these, placed, factor > 1)

        found = judge(claims, points, evaluate, self.value, self.tolerance, quantum)
        for name, verdict in found.items():
            verdict.accept_rounding(self.rounding.get(name, 0.0))
            self._accept_conventions(name, verdict, None if places is None else places[name])
        return found

    def _accept_conventions(self, name: str, verdict: Verdict, places: np.ndarray | None) -> None:
        """Treat claims that hold on both sides of the point, but not at it, as claims at a kink.

        At u = 0, the slope of relu(u) - relu(-u) is 1, but backpropagation, by convention, returns 0.
        """
        if self.beside is None:
            return
        wrong = np.flatnonzero(verdict.wrong & np.isfinite(verdict.claimed) & np.isfinite(verdict.slope))
        excused = []
        for i in wrong[:FEW]:
            entry = int(i if places is None else places[i])
            claim, by_convention = verdict.claimed[i], self.beside(name, entry, 0.0)
            if not abs(claim - by_convention) <= self.tolerance * max(abs(claim), abs(by_convention)):
                break
            delta = BESIDE * H * max(1.0, abs(float(self.points[name][entry])))
            both = [self.beside(name, entry, side * delta) for side in (1, -1)]
            allowed = 1e-3 * abs(claim - verdict.slope[i])
            if not abs(sum(both) / 2 - verdict.slope[i]) <= allowed:
                break
            excused.append(i)
        else:
            excused = wrong.tolist()
        verdict.wrong[excused], verdict.kinks[excused] = False, True


@ignore_float_errors
def _scaled(points: np.ndarray, hs: np.ndarray, factor: float) -> np.ndarray:
    """Return values of h that change each element, but not to infinity."""
    if factor == 1:
        return hs
    most = (np.finfo(np.float64).max - np.abs(points)) / 2
    return np.asarray(np.maximum(np.minimum(hs * factor, most), 4 * np.spacing(np.abs(points))))


def _report(name: str, found: Verdict, shape: tuple[int, ...], tolerance: float, single: bool = False) -> ArrayReport:
    left_out = found.kinks | found.undecided
    errors = found.errors(tolerance)
    relative = np.where(left_out, 0, errors)
    absolute = np.where(left_out, 0, found.distance)
    places = [_index(e, shape) for e in (relative, absolute)]
    shaped = {
        "gradient": found.claimed, "numerical": found.slope, "errors": errors, "kinks": found.kinks,
        "undecided": found.undecided, "wrong": found.wrong,
    }  # fmt: skip
    return ArrayReport(
        name=name,
        relative_error=float(relative.max(initial=0)),
        relative_at=places[0],
        absolute_error=float(absolute.max(initial=0)),
        absolute_at=places[1],
        why=_why(found, shape, single),
        **{what: array.reshape(shape) for what, array in shaped.items()},
    )


def _index(errors: np.ndarray, shape: Place) -> Place:
    return tuple(map(int, np.unravel_index(np.argmax(errors), shape))) if errors.size else ()


def _why(found: Verdict, shape: Place, single: bool) -> str:
    """Infer the mistake from the numbers."""
    wrong = found.wrong.reshape(shape)
    if wrong.any():
        return _mistake(found, shape)
    if found.undecided.any():
        return f"undecided: {_obstacle(found, shape, single)}"
    return ""


def _obstacle(found: Verdict, shape: Place, single: bool) -> str:
    undecided = found.undecided.reshape(shape)
    beyond = undecided & ~np.isfinite(found.nearest.reshape(shape))
    jumps = undecided & found.jumps.reshape(shape)
    if beyond.any():
        return f"f is not finite beside {_places(beyond)}"
    if jumps.any():
        return f"f jumps at {_places(jumps)}"
    if single:
        return "f computes in float32, whose rounding hides its slopes: compute in float64, or use a larger h"
    return f"rounding of f hides its slope at {_places(undecided)}: use a larger h"


@ignore_float_errors
def _mistake(found: Verdict, shape: Place) -> str:
    gradient, slope, wrong = (array.reshape(shape) for array in (found.claimed, found.slope, found.wrong))
    if not np.isfinite(gradient).all():
        return f"is not finite at {_places(~np.isfinite(gradient))}"
    if not found.moved.any():
        return "is not zero, but f returned the same value wherever x was moved: does it read another array?"
    if (found.wrong <= found.outside).all():
        return f"is not between the slopes on both sides of the kink at {_places(wrong)}"
    compared = ~(found.kinks | found.undecided | found.outside).reshape(shape) & np.isfinite(slope)
    return _mistake_everywhere(gradient, slope, compared) or _mistake_somewhere(wrong)


def _mistake_everywhere(gradient: np.ndarray, slope: np.ndarray, compared: np.ndarray) -> str:
    """Describe the change that turns one into the other, away from kinks; empty if there is none."""
    if not compared.any():
        return ""
    apart = np.abs(gradient - slope)[compared].max()

    def explains(other: np.ndarray) -> bool:
        return bool((np.abs(other - slope)[compared] <= 0.01 * apart).all())

    if not gradient[compared].any():
        return "is zero: a term is missing"
    if explains(-gradient):
        return "has the wrong sign"
    size = np.abs(slope[compared])
    if np.count_nonzero(size > FLOOR * size.max()) > 1:
        factor = float(np.sum((gradient * slope)[compared]) / np.sum(size**2))
        if factor and explains(gradient / factor):
            return f"is {factor:.5g} times the numerical one: a factor is wrong"
    if gradient.ndim == 2 and min(gradient.shape) > 1 and explains(gradient.reshape(gradient.shape[::-1]).T):
        return "is transposed"
    return ""


def _mistake_somewhere(wrong: np.ndarray) -> str:
    """Describe which entries are wrong."""
    count = int(wrong.sum())
    for axis, what in ((0, "column"), (1, "row")) if wrong.ndim == 2 else ():
        lines = np.flatnonzero(wrong.any(axis=axis))
        if len(lines) <= min(3, count // 2, wrong.shape[1 - axis] - 1):
            return f"differs only in {what}{'s'[: len(lines) > 1]} {', '.join(map(str, lines))}"
    if count <= 3:
        return f"differs at {_places(wrong)}" if wrong.ndim else "differs"
    return f"differs in {count:,} of {wrong.size:,} entries"


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _place(at: Sequence[int]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _places(where: np.ndarray) -> str:
    """List the first indices, and count the rest."""
    found = np.argwhere(where).tolist()
    more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
    return (", ".join(map(_place, found[:3])) or "x") + more


def _row(array: ArrayReport) -> tuple[str, ...]:
    at = array.relative_at
    shown = array.gradient.size > 0 and not (array.kinks[at] or array.undecided[at])
    return (
        array.name,
        str(array.gradient.shape),
        f"{array.relative_error:.1e}",
        _place(at) if shown else "",
        f"{array.gradient[at]:.6g}" if shown else "",
        f"{array.numerical[at]:.6g}" if shown else "",
        f"{array.absolute_error:.1e}",
        f"{array.kinks.sum():,}",
        (array.why or "right") if array else f"WRONG: {array.why}",
    )
