"""Decide which claimed slopes are right, which are wrong, and which stay undecided.

A claim is compared with finite differences on a ladder of values of h, each a quarter of the one before. Four things
can separate a finite difference from the derivative: rounding, which grows as h shrinks; curvature, which shrinks with
h; a kink within h, which disappears once h is smaller than the distance to it; and a kink (or jump) at the point
itself, where the slopes of the two sides remain different. All four are measured on the ladder, separately for each
entry:

- *Rounding* from the scatter at the smallest values of h, where nothing else is left (as in Moré and Wild, "Estimating
  computational noise", 2011), and never below one unit in the last place of the value.
- *Curvature and kinks within h* from how much an estimate changes at the next two smaller values of h.

Each entry is judged where the sum of both is smallest. A claim is called wrong only if it differs from the central
slope, and from the slopes of both sides, by more than the tolerance and that uncertainty together. It is undecided if
it agrees but the uncertainty is larger than a thousandth of the largest slope, so that the agreement means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnfast._validation import ignore_float_errors

EPSILON = float(np.finfo(np.float64).eps)
EPSILON32 = float(np.finfo(np.float32).eps)
RATIO = 4.0  # of two neighbouring values of h
SMALLER = 9  # values of h below the first one
LARGER = 6  # values of h above it, for functions dominated by rounding
SCATTER = 10.0  # times the measured rounding: the error that a slope may have
VAGUE = 4.0  # times the tolerance: with more rounding, agreement means nothing yet
SMALL = 1e-4  # of the largest slope overall: smaller slopes need no more precision than one of this size
OBVIOUS = 100.0  # times the distance between the first slopes of both sides: claims this far off are wrong
OBVIOUS_AFTER = 3  # smaller values of h: no more are evaluated for obviously wrong claims
SIDES = 3.0  # times the rounding, for the extrapolated slope of one side
JUMP = 5  # smallest values of h: where the value jumps, it changes by the same amount for all of them
WAVES = 0.05  # of the largest change: if the smallest values of h scatter by more, the function oscillates
CALM = 100.0  # times less scatter than both sides together: this side is smooth, and the other one jumps
BENT = 7  # values of h after the first one, by which a kink within the first h is out of reach
HIDDEN = 16.0  # times the rounding of a value: rounding may hide smaller changes
EXCUSED = 1e-3  # of the largest slope overall: with a larger uncertainty, nothing can be concluded

Sides = tuple[np.ndarray, np.ndarray, np.ndarray]  # slopes to the right and to the left, and the values of h
Evaluate = Callable[[float, Mapping[str, np.ndarray]], Mapping[str, Sides]]


@dataclass
class Verdict:
    """What is known about the entries of one array, as flat arrays.

    Attributes
    ----------
    claimed, slope, uncertainty : ndarray
        The claim, the best numerical slope, and the uncertainty of that slope.
    kinks, wrong, undecided : ndarray of bool
        Entries at a kink, where the claim is as good as any other; wrong entries; and undecided entries.
    outside, jumps : ndarray of bool
        The reason: the claim lies outside the slopes on both sides of a kink; the value jumps.
    moved : ndarray of bool
        Entries that affected the value at all.
    nearest : ndarray
        The larger slope of both sides at the smallest h; not finite at the edge of the function's domain.
    """

    claimed: np.ndarray
    slope: np.ndarray
    uncertainty: np.ndarray
    kinks: np.ndarray = field(init=False)
    wrong: np.ndarray = field(init=False)
    undecided: np.ndarray = field(init=False)
    outside: np.ndarray = field(init=False)
    jumps: np.ndarray = field(init=False)
    moved: np.ndarray = field(init=False)
    nearest: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.nearest = np.zeros(self.claimed.size)
        for name in ("kinks", "wrong", "undecided", "outside", "jumps", "moved"):
            setattr(self, name, np.zeros(self.claimed.size, bool))

    def replace(self, entries: np.ndarray, other: Verdict, which: np.ndarray) -> None:
        """Copy from `other`, a verdict on `entries`, the results of those selected by `which`."""
        for name, array in vars(other).items():
            if name != "claimed":
                getattr(self, name)[entries[which]] = array[which]

    def accept_rounding(self, rounding: float) -> None:
        """Accept claims that are off by no more than their own rounding."""
        excused = self.wrong & (self.distance <= rounding)
        self.wrong[excused] = self.outside[excused] = False
        self.uncertainty[excused] = np.maximum(self.uncertainty, self.distance)[excused]

    @property
    @ignore_float_errors
    def distance(self) -> np.ndarray:
        """The distance of the claims from the slopes; infinite where either is not finite."""
        distance = np.abs(self.claimed - self.slope)
        return np.where(np.isnan(distance), np.inf, distance)

    @ignore_float_errors
    def errors(self, tolerance: float) -> np.ndarray:
        """Return relative errors, scaled so that the uncertainty alone stays within the tolerance."""
        size = np.maximum(np.abs(self.claimed), np.abs(self.slope)) + self.uncertainty / tolerance
        errors = self.distance / np.where(size == 0, 1, size)
        return np.where(np.isnan(errors), np.inf, errors)


def judge(
    claimed: Mapping[str, np.ndarray],
    points: Mapping[str, np.ndarray],
    evaluate: Evaluate,
    value: float,
    tolerance: float,
    quantum: Callable[[], float] | None = None,
) -> dict[str, Verdict]:
    """Compare claimed slopes with numerical ones.

    Parameters
    ----------
    claimed, points : mapping of str to ndarray
        The claims, and the numbers that are varied, as flat arrays.
    evaluate : callable
        Takes a factor for the usual h and, by array, the indices of the entries to evaluate. Returns, by array, the
        slopes to the right and to the left of each entry, and the values of h.
    value : float
        The function's value at the point.
    tolerance : float
        The largest relative error that counts as right.
    quantum : callable, optional
        Returns, after all evaluations, the unit to which values are rounded; 0 if that is at most their last place.
        Omitted if nothing is rounded to less than double precision.
    """
    first = evaluate(1.0, {name: np.arange(claim.size) for name, claim in claimed.items()})
    ladders = {
        name: _Ladder(claimed[name], points[name], first[name], value, tolerance, quantum is not None)
        for name in claimed
    }
    limit = EXCUSED * max((ladder.largest for ladder in ladders.values()), default=0.0)
    for ladder in ladders.values():
        ladder.accept_at_first_h(limit)
    _add_smaller_h(evaluate, ladders)
    for power in range(1, LARGER + 1):
        for name, sides in _evaluate_open(evaluate, RATIO**power, ladders, ladders).items():
            ladders[name].add_larger_h(sides)
    _add_smaller_h(evaluate, ladders)
    for ladder in ladders.values():
        ladder.decide(limit, quantum() if quantum else 0.0)
    return {name: ladder.verdict for name, ladder in ladders.items()}


def _add_smaller_h(evaluate: Evaluate, ladders: Mapping[str, _Ladder]) -> None:
    """Evaluate at smaller and smaller values of h, as long as they may be informative."""
    for power in range(1, SMALLER + 1):
        due = [name for name, ladder in ladders.items() if ladder.n_smaller == power - 1 and ladder.needs_smaller_h]
        for name, sides in _evaluate_open(evaluate, RATIO**-power, due, ladders).items():
            ladders[name].add_smaller_h(sides)


def _evaluate_open(
    evaluate: Evaluate, factor: float, names: Iterable[str], ladders: Mapping[str, _Ladder]
) -> Mapping[str, Sides]:
    entries = {name: ladders[name].open for name in names if ladders[name].open.size}
    return evaluate(factor, entries) if entries else {}


class _Ladder:
    """The slopes of one array at all values of h so far, for the entries that are still open."""

    @ignore_float_errors
    def __init__(
        self,
        claimed: np.ndarray,
        point: np.ndarray,
        sides: Sides,
        value: float,
        tolerance: float,
        may_round: bool,
    ) -> None:
        right, left, h = sides
        self.tolerance = tolerance
        central = _central(right, left)
        smaller = np.minimum(np.abs(right), np.abs(left))
        self.largest = float(np.max(smaller, initial=0, where=np.isfinite(smaller)))  # a jump has one large side
        self.value, self.point, self.may_round = value, point, may_round
        self.verdict = Verdict(claimed, central, self._rounding(right, left, h, slice(None)) / h)
        self.first_gap, self.first_h = np.abs(right - left), h
        self.verdict.moved = (right != 0) | (left != 0)
        self.open = np.arange(claimed.size)
        self.n_smaller, self.has_larger_h = 0, False
        self.right, self.left, self.hs = [right], [left], [h]

    def _rounding(self, right: np.ndarray, left: np.ndarray, h: np.ndarray, at: Any) -> np.ndarray:
        """Return the smallest possible rounding error of a value.

        The value is off by one unit in its last place, and so is the number that is varied. What is computed from that
        number may be of size 1 even if the number is tiny (1 + x, say), so where the slopes of the two sides differ,
        the slope may be that of a point at a distance of one unit in the last place of 1.
        """
        point, larger, gap = np.abs(self.point[at]), np.maximum(np.abs(right), np.abs(left)), np.abs(right - left)
        moved = (point + h) * larger + np.maximum(1, point) * gap
        return np.asarray(EPSILON * (abs(self.value) + np.where(np.isfinite(moved), moved, 0)))

    def keep(self, which: np.ndarray) -> None:
        """Keep only these of the open entries."""
        self.open = self.open[which]
        for kept in (self.right, self.left, self.hs):
            kept[:] = [array[which] for array in kept]

    @ignore_float_errors
    def accept_at_first_h(self, limit: float) -> None:
        """Accept the entries that agree at the first h."""
        verdict = self.verdict
        verdict.uncertainty = np.minimum(verdict.uncertainty, limit)
        self.scale = limit / EXCUSED  # the largest slope overall
        self.different = self._differs(verdict.slope, verdict.uncertainty)
        self.keep(self.different | ~self._is_clear(verdict.claimed, verdict.slope, verdict.uncertainty))

    @property
    def needs_smaller_h(self) -> bool:
        """Whether a smaller h may help; it does not if all entries agree, but too vaguely: rounding would only grow."""
        return bool(self.open.size and (self.has_larger_h or self.different[self.open].any()))

    def _differs(self, slope: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """Return which open entries are farther off than the smallest possible rounding explains."""
        claimed = self.verdict.claimed[self.open]
        return np.asarray(~(np.abs(claimed - slope) <= self.tolerance * _size(claimed, slope) + rounding))

    def _is_clear(self, claimed: np.ndarray, slope: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """Return where rounding is small enough for agreement to mean something."""
        size = _size(claimed, slope)
        return np.asarray(rounding <= VAGUE * self.tolerance * np.maximum(size, SMALL * self.scale))

    @ignore_float_errors
    def add_larger_h(self, sides: Sides) -> None:
        """Add the slopes at a larger h; accept entries that agree there and, as far as rounding allows, before."""
        self._add(sides, 0)
        self.has_larger_h = True
        verdict, at = self.verdict, self.open
        central = [_central(self.right[k], self.left[k]) for k in (0, 1)]
        rounding = [self._rounding(self.right[k], self.left[k], self.hs[k], at) / self.hs[k] for k in (0, 1)]
        size = _size(verdict.claimed[at], central[0])
        steady = np.abs(central[0] - central[1]) <= self.tolerance * size + 2 * rounding[1]
        gaps = [np.abs(self.right[k] - self.left[k]) for k in (0, 1)]
        smooth = gaps[1] <= gaps[0] / 2 + self.tolerance * size + 4 * rounding[1]
        clear = self._is_clear(verdict.claimed[at], central[0], rounding[0])
        done = ~self._differs(central[0], rounding[0]) & clear & steady & smooth
        verdict.slope[at[done]], verdict.uncertainty[at[done]] = central[0][done], rounding[0][done]
        self.keep(~done)

    @ignore_float_errors
    def add_smaller_h(self, sides: Sides) -> None:
        """Add the slopes at a smaller h; accept entries that agree there and at the one before."""
        self.n_smaller += 1
        self._add(sides, len(self.hs))
        verdict, at = self.verdict, self.open
        claimed = verdict.claimed[at]
        agrees = np.ones(at.size, bool)
        for k, slack in ((-2, 1.0), (-1, RATIO)):
            central = _central(self.right[k], self.left[k])
            allowed = self.tolerance * _size(claimed, central) + verdict.uncertainty[at]
            agrees &= np.abs(claimed - central) <= slack * allowed
            # Where rounding hides the change, zero agrees with zero.
            rounding = self._rounding(self.right[k], self.left[k], self.hs[k], at) / self.hs[k]
            agrees &= rounding <= VAGUE * slack * allowed
        if self.may_round:
            agrees &= ~self._is_rounded_away(self.right, self.left)
        done = at[agrees]
        gap, share = np.abs(self.right[-2] - self.left[-2])[agrees], (self.hs[-2] / self.first_h[at])[agrees]
        verdict.slope[done] = _central(self.right[-2], self.left[-2])[agrees]
        # Curvature makes a gap proportional to h: a larger gap at the first h was due to a kink.
        verdict.kinks[done] = self.first_gap[done] > 4 * (gap / share + verdict.uncertainty[done])
        wrong = self._obviously_wrong() & ~agrees
        if not wrong.any():
            self.keep(~agrees)
            return
        verdict.slope[at[wrong]], verdict.wrong[at[wrong]] = _central(self.right[-2], self.left[-2])[wrong], True
        self.keep(~agrees & ~wrong)

    def _obviously_wrong(self) -> np.ndarray:
        """Return which open claims are far off from slopes that hardly change over the first values of h."""
        if self.n_smaller != OBVIOUS_AFTER:
            return np.zeros(self.open.size, bool)
        claimed = self.verdict.claimed[self.open]
        slopes = np.array(self.right[-1 - OBVIOUS_AFTER :] + self.left[-1 - OBVIOUS_AFTER :])
        low, high = slopes.min(axis=0), slopes.max(axis=0)
        rounding = self._rounding(self.right[-1], self.left[-1], self.hs[-1], self.open)
        spread = high - low + rounding / self.hs[-1]
        distance = np.maximum(claimed - high, low - claimed)
        # Values that do not change may be rounded, and so may claims that are only slightly off: with values of h that
        # are multiples of each other, rounded changes can be proportional to h by chance.
        moves = (slopes != 0).all(axis=0) & (distance > 0.01 * _size(claimed, high))
        steady = spread < 0.01 * np.abs(high + low)
        return np.asarray((distance > OBVIOUS * spread) & moves & steady)

    def _add(self, sides: Sides, place: int) -> None:
        for kept, new in zip((self.right, self.left, self.hs), sides, strict=True):
            kept.insert(place, new)
        self.verdict.moved[self.open] |= (sides[0] != 0) | (sides[1] != 0)

    @ignore_float_errors
    def decide(self, limit: float, rounding_of_value: float) -> None:
        """Judge the remaining open entries, each at its best h."""
        if not self.open.size:
            return
        verdict, at = self.verdict, self.open
        right, left, hs = (np.array(kept) for kept in (self.right, self.left, self.hs))
        nearest = np.maximum(np.abs(right[-1]), np.abs(left[-1]))
        claimed = verdict.claimed[at]
        least = self._rounding(right, left, hs, at)
        rounding = np.maximum(least, rounding_of_value)
        flat = self._drop_rounded_away(right, left, hs, rounding)
        central = _central(right, left)
        scatter = _scatter(central, hs)
        slope, about = _best(central, hs, np.maximum(scatter, rounding))
        ends = []
        for side in (right, left):
            beside, finer = _extrapolated(side, hs)
            calm = _scatter(beside, finer)
            own = np.where(SIDES * scatter > CALM * calm, calm, SIDES * scatter)
            ends.append(_best(beside, finer, np.maximum(own, SIDES * rounding[1:])))
        (a, about_a), (b, about_b) = ends
        slack = self.tolerance * _size(claimed, slope)
        still = ((right == claimed) & (left == claimed)).all(axis=0)  # as for a constant
        certain = (about <= limit) | still
        close = (np.abs(claimed - slope) <= slack + about) | still
        both = np.isfinite(about_a) & np.isfinite(about_b)
        bent = both & (np.abs(a - b) > about_a + about_b + slack)
        inside = (claimed >= np.minimum(a - about_a, b - about_b) - slack) & (
            claimed <= np.maximum(a + about_a, b + about_b) + slack
        )
        on_side = np.zeros(at.size, bool)
        for side, (end, about_end) in zip((right, left), ends, strict=True):
            on_side |= (np.abs(claimed - end) <= slack + about_end) & (about_end <= limit)
            on_side |= (side == claimed).all(axis=0)  # as where all other slopes, and so the limit, are zero
        jumps = _jumps(right, left, hs, least[-1])
        jumps |= _waves(right, left, hs, scatter, claimed)
        wrong = (np.isfinite(about) & both & ~close & ~inside & ~jumps) | ~np.isfinite(claimed)
        wrong &= ~flat | (claimed != 0)
        kinks = ~wrong & ~flat & ((bent & inside) | (on_side & ~certain))
        verdict.slope[at] = np.where(np.isfinite(about), slope, verdict.slope[at])
        verdict.uncertainty[at] = np.where(np.isfinite(about), about, 0)
        verdict.wrong[at], verdict.kinks[at], verdict.outside[at] = wrong, kinks, wrong & bent
        verdict.undecided[at] = ~(wrong | kinks | (close & certain))
        verdict.kinks[at] |= close & certain & ~wrong & self._bent_at_first(right, left, about)
        verdict.nearest[at] = nearest
        verdict.jumps[at] = jumps

    def _bent_at_first(self, right: np.ndarray, left: np.ndarray, about: np.ndarray) -> np.ndarray:
        """Return where a kink lies within the first h but not within smaller ones: curvature shrinks with h."""
        gap = np.abs(right - left)
        return np.asarray(gap[-1 - SMALLER] > 4 * (gap[-1 - SMALLER + BENT] * RATIO**BENT + about))

    def _drop_rounded_away(
        self, right: np.ndarray, left: np.ndarray, hs: np.ndarray, rounding: np.ndarray
    ) -> np.ndarray:
        """Drop values of h that change nothing where larger ones do: a function that rounds internally ignores them.

        Return where the function may instead have a flat part, with a slope of zero.
        """
        if not self.may_round:
            return np.zeros(right.shape[1], bool)
        rounded_away = self._is_rounded_away(right, left)
        larger = np.maximum(np.abs(right), np.abs(left))
        expected = hs * np.min(larger, axis=0, initial=np.inf, where=larger > 0)
        flat = rounded_away & (((right == 0) | (left == 0)) & (expected > HIDDEN * rounding)).any(axis=0)
        for side in (right, left):
            side[(side == 0) & rounded_away] = np.nan
        still = (right == 0) & (left == 0) & (hs < 2 * EPSILON32 * np.abs(self.point[self.open]))
        still &= ((right != 0) | (left != 0)).any(axis=0)
        right[still] = left[still] = np.nan
        return flat

    @staticmethod
    def _is_rounded_away(right: Any, left: Any) -> np.ndarray:
        """Return where the smallest h changes nothing on one side, although the largest ones do on both."""
        moves = (right[0] != 0) & (left[0] != 0) & (right[1] != 0) & (left[1] != 0)
        return np.asarray(moves & ((right[-1] == 0) | (left[-1] == 0)))


def _extrapolated(side: np.ndarray, hs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one-sided slopes without the part of their error proportional to h, and the smaller values of h."""
    return side[1:] + (side[1:] - side[:-1]) / (hs[:-1] / hs[1:] - 1), hs[1:]


def _best(estimates: np.ndarray, hs: np.ndarray, scatter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least uncertain estimate of each entry, and its uncertainty: infinite if no estimate is usable."""
    noise = SCATTER * scatter / hs
    uncertainty = np.full(estimates.shape, np.inf)  # as for the smallest h, which no smaller one can confirm
    for k in range(len(estimates) - 1):
        changes = np.abs(estimates[k + 1 :] - estimates[k])
        # Smaller values of h may reveal a kink within this one; but nothing confirms the smallest of all.
        beyond = np.fmax.reduce((changes - noise[k + 1 :])[: max(1, len(changes) - 1)], axis=0)
        change = changes[0] if len(changes) == 1 else np.maximum(changes[0], changes[1] / RATIO)
        uncertainty[k] = noise[k] + np.maximum(change, beyond)
    uncertainty = np.where(np.isfinite(estimates) & np.isfinite(uncertainty), uncertainty, np.inf)
    best = uncertainty.argmin(axis=0)[None]
    return np.take_along_axis(estimates, best, 0)[0], np.take_along_axis(uncertainty, best, 0)[0]


def _scatter(estimates: np.ndarray, hs: np.ndarray) -> np.ndarray:
    """Return the rounding error of a value, from the scatter of each entry's estimates at the smallest values of h."""
    scatter = hs[1:] * np.abs(np.diff(estimates, axis=0))
    scatter[hs[1:] == hs[:-1]] = np.nan
    finest = np.argsort(np.isfinite(scatter), axis=0, kind="stable")[-3:]
    middle = np.sort(np.nan_to_num(np.take_along_axis(scatter, finest, 0), posinf=0), axis=0)[1]  # one may be a kink's
    return np.asarray(np.maximum(middle, np.quantile(middle, 0.25, method="lower")))  # all may be small by chance


def _jumps(right: np.ndarray, left: np.ndarray, hs: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Return where the value changes by about the same signed amount however small h is; noise changes sign."""
    jumps = np.zeros(right.shape[1], bool)
    for side in (right, left):
        changes = (side * hs)[-JUMP:]
        changes = changes * np.sign(changes[-1])
        jumps |= (changes.min(axis=0) > 0.5 * changes.max(axis=0)) & (changes[-1] > 1e3 * rounding)
    return jumps


def _waves(right: np.ndarray, left: np.ndarray, hs: np.ndarray, scatter: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """Return where the value changes as much at the smallest values of h as at any other, and the claim is steep.

    An example is sin(1e12 * x): no h is small enough to distinguish its slope from noise.
    """
    largest = (np.maximum(np.abs(right), np.abs(left)) * hs).max(axis=0)
    return np.asarray((scatter > WAVES * largest) & (np.abs(claimed) * hs[-1] > scatter / 10) & np.isfinite(claimed))


def _central(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    return np.asarray((right + left) / 2)


def _size(claimed: np.ndarray, slope: np.ndarray) -> np.ndarray:
    size = np.maximum(np.abs(claimed), np.abs(slope))
    return np.asarray(np.where(np.isfinite(size), size, 0))
