"""Which claimed slopes are right, which are wrong, and which cannot be told.

A claim is compared with differences at a ladder of steps, each a quarter of the one before. Four things can come
between a difference and the derivative: rounding, which grows as the step shrinks; curvature, which shrinks with it; a
kink within the step, which disappears once the step is shorter than the distance to it; and a kink (or jump) at the
point itself, where the two sides keep different slopes. All four are measured on the ladder, for each entry on its own:

- *Rounding* from the scatter of the finest steps, where nothing else is left (as in Moré and Wild, "Estimating
  computational noise", 2011), and never below one unit in the last place of the value.
- *Curvature and kinks within the step* from how much an estimate changes at the next two finer steps.

Each entry is judged where the sum of both is least. A claim is called wrong only if it is farther off than the
tolerance and that uncertainty together, from the central slope and from the slopes of both sides. It cannot be told if
the claim agrees, but an uncertainty larger than a thousandth of the largest slope makes that mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnfast._validation import own_error_state

EPSILON = float(np.finfo(np.float64).eps)
EPSILON32 = float(np.finfo(np.float32).eps)
RATIO = 4.0  # of two neighbouring steps
FINER = 9  # steps below the first one
COARSER = 6  # steps above it, for functions that are mostly rounding
SCATTER = 10.0  # times the measured rounding is what a slope may be off by
VAGUE = 4.0  # times the tolerance: an agreement where rounding is more than that says nothing yet
SMALL = 1e-4  # of the largest slope of all: for smaller slopes, the precision that this one needs is enough
OBVIOUS = 100.0  # times as far off as slopes at the first steps and on both sides differ: wrong without a closer look
OBVIOUS_AFTER = 3  # finer steps
SIDES = 3.0  # times that, for the extrapolated slope of one side
JUMP = 5  # finest steps that all see the same change where the value jumps
WAVES = 0.05  # of the largest change: if the finest steps scatter by more, the value goes up and down all the time
CALM = 100.0  # times less scatter than both sides together: then one side is smooth, and the other one jumps
BENT = 7  # steps after the first one, by which a kink within the first step is out of reach
UNSEEN = 16.0  # times the rounding of a value: rounding may swallow smaller changes
EXCUSED = 1e-3  # of the largest slope of all: a larger uncertainty tells nothing

Sides = tuple[np.ndarray, np.ndarray, np.ndarray]  # slopes to the right and to the left, and the steps
Ask = Callable[[float, Mapping[str, np.ndarray]], Mapping[str, Sides]]


@dataclass
class Verdict:
    """What is known of the entries of one array, as flat arrays.

    Attributes
    ----------
    claimed, slope, uncertainty : ndarray
        The claim, the best numerical slope, and how far off that one may be.
    kinks, wrong, undecided : ndarray of bool
        Entries at a kink, whose claim is as good as any; wrong ones; and those that cannot be told.
    outside, jumps : ndarray of bool
        Why: the claim is outside of the slopes on both sides of a kink; the value jumps.
    moved : ndarray of bool
        Entries that changed the value at all.
    nearest : ndarray
        The larger slope, of both sides, at the finest step; not finite at the edge of where the function is.
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
        """Take what another verdict, of these entries, says of some of them."""
        for name, array in vars(other).items():
            if name != "claimed":
                getattr(self, name)[entries[which]] = array[which]

    def excuse_rounding(self, rounding: float) -> None:
        """Take for right what is off by no more than the rounding of the claims themselves."""
        excused = self.wrong & (self.distance <= rounding)
        self.wrong[excused] = self.outside[excused] = False
        self.uncertainty[excused] = np.maximum(self.uncertainty, self.distance)[excused]

    @property
    @own_error_state
    def distance(self) -> np.ndarray:
        """How far the claims are from the slopes; infinitely where either is not finite."""
        distance = np.abs(self.claimed - self.slope)
        return np.where(np.isnan(distance), np.inf, distance)

    @own_error_state
    def errors(self, tolerance: float) -> np.ndarray:
        """Return relative errors, made so that the uncertainty alone stays within the tolerance."""
        size = np.maximum(np.abs(self.claimed), np.abs(self.slope)) + self.uncertainty / tolerance
        errors = self.distance / np.where(size == 0, 1, size)
        return np.where(np.isnan(errors), np.inf, errors)


def judge(
    claimed: Mapping[str, np.ndarray],
    points: Mapping[str, np.ndarray],
    ask: Ask,
    value: float,
    tolerance: float,
    quantum: Callable[[], float] | None = None,
) -> dict[str, Verdict]:
    """Compare claimed slopes with numerical ones.

    Parameters
    ----------
    claimed, points : mapping of str to ndarray
        The claims, and the numbers that are moved, as flat arrays.
    ask : callable
        Given a factor for the usual step, and the indices of the entries in question by array, it returns the slopes to
        the right and to the left of each and the steps.
    value : float
        The function's value at the point.
    tolerance : float
        The largest relative error that counts as right.
    quantum : callable, optional
        Returns, once there are values, what these are rounded to; 0 if it is no more than their last place. Left out if
        nothing is rounded to less than double precision.
    """
    sides = ask(1.0, {name: np.arange(claim.size) for name, claim in claimed.items()})
    ladders = {
        name: _Ladder(claimed[name], points[name], sides[name], value, tolerance, quantum is not None)
        for name in claimed
    }
    limit = EXCUSED * max((ladder.largest for ladder in ladders.values()), default=0.0)
    for ladder in ladders.values():
        ladder.look_once(limit)
    _look_closer(ask, ladders)
    for power in range(1, COARSER + 1):
        for name, coarser in _ask_open(ask, RATIO**power, ladders, ladders).items():
            ladders[name].step_back(coarser)
    _look_closer(ask, ladders)
    for ladder in ladders.values():
        ladder.decide(limit, quantum() if quantum else 0.0)
    return {name: ladder.verdict for name, ladder in ladders.items()}


def _look_closer(ask: Ask, ladders: Mapping[str, _Ladder]) -> None:
    """Take finer steps, one after another, for as long as they may tell something."""
    for power in range(1, FINER + 1):
        due = [name for name, ladder in ladders.items() if ladder.finer == power - 1 and ladder.needs_finer]
        for name, finer in _ask_open(ask, RATIO**-power, due, ladders).items():
            ladders[name].look_closer(finer)


def _ask_open(ask: Ask, factor: float, names: Iterable[str], ladders: Mapping[str, _Ladder]) -> Mapping[str, Sides]:
    questions = {name: ladders[name].open for name in names if ladders[name].open.size}
    return ask(factor, questions) if questions else {}


class _Ladder:
    """The slopes of one array at all steps so far, of the entries that are still open."""

    @own_error_state
    def __init__(
        self,
        claimed: np.ndarray,
        point: np.ndarray,
        sides: Sides,
        value: float,
        tolerance: float,
        may_round: bool,
    ) -> None:
        right, left, step = sides
        self.tolerance = tolerance
        central = _central(right, left)
        smaller = np.minimum(np.abs(right), np.abs(left))
        self.largest = float(np.max(smaller, initial=0, where=np.isfinite(smaller)))  # a jump has one large side
        self.value, self.point, self.may_round = value, point, may_round
        self.verdict = Verdict(claimed, central, self._rounding(right, left, step, slice(None)) / step)
        self.first_gap, self.first_step = np.abs(right - left), step
        self.verdict.moved = (right != 0) | (left != 0)
        self.open = np.arange(claimed.size)
        self.finer, self.stepped_back = 0, False
        self.right, self.left, self.steps = [right], [left], [step]

    def _rounding(self, right: np.ndarray, left: np.ndarray, step: np.ndarray, at: Any) -> np.ndarray:
        """Return the least that rounding adds to a value.

        The value is off by one unit in its last place, and so is the number that is moved. What is computed from that
        number may be of size 1 even if the number is tiny (1 + x, say), so where the slopes of both sides differ, the
        slope may be that of a point one unit in the last place of 1 away.
        """
        point, larger, gap = np.abs(self.point[at]), np.maximum(np.abs(right), np.abs(left)), np.abs(right - left)
        moved = (point + step) * larger + np.maximum(1, point) * gap
        return np.asarray(EPSILON * (abs(self.value) + np.where(np.isfinite(moved), moved, 0)))

    def keep(self, which: np.ndarray) -> None:
        """Go on with these of the open entries."""
        self.open = self.open[which]
        for kept in (self.right, self.left, self.steps):
            kept[:] = [array[which] for array in kept]

    @own_error_state
    def look_once(self, limit: float) -> None:
        """Accept what agrees at the first step."""
        verdict = self.verdict
        verdict.uncertainty = np.minimum(verdict.uncertainty, limit)
        self.scale = limit / EXCUSED  # the largest slope of all
        self.different = self._differs(verdict.slope, verdict.uncertainty)
        self.keep(self.different | ~self._is_clear(verdict.claimed, verdict.slope, verdict.uncertainty))

    @property
    def needs_finer(self) -> bool:
        """Whether a finer step may tell something: more rounding helps none that merely agrees too vaguely."""
        return bool(self.open.size and (self.stepped_back or self.different[self.open].any()))

    def _differs(self, slope: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """Which open entries are farther off than rounding at its least explains."""
        claimed = self.verdict.claimed[self.open]
        return np.asarray(~(np.abs(claimed - slope) <= self.tolerance * _size(claimed, slope) + rounding))

    def _is_clear(self, claimed: np.ndarray, slope: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """Where an agreement means something."""
        size = _size(claimed, slope)
        return np.asarray(rounding <= VAGUE * self.tolerance * np.maximum(size, SMALL * self.scale))

    @own_error_state
    def step_back(self, sides: Sides) -> None:
        """Take the slopes of a coarser step, and accept what agrees at it and, as far as rounding lets it, before."""
        self._add(sides, 0)
        self.stepped_back = True
        verdict, at = self.verdict, self.open
        central = [_central(self.right[k], self.left[k]) for k in (0, 1)]
        rounding = [self._rounding(self.right[k], self.left[k], self.steps[k], at) / self.steps[k] for k in (0, 1)]
        size = _size(verdict.claimed[at], central[0])
        steady = np.abs(central[0] - central[1]) <= self.tolerance * size + 2 * rounding[1]
        gaps = [np.abs(self.right[k] - self.left[k]) for k in (0, 1)]
        smooth = gaps[1] <= gaps[0] / 2 + self.tolerance * size + 4 * rounding[1]
        clear = self._is_clear(verdict.claimed[at], central[0], rounding[0])
        done = ~self._differs(central[0], rounding[0]) & clear & steady & smooth
        verdict.slope[at[done]], verdict.uncertainty[at[done]] = central[0][done], rounding[0][done]
        self.keep(~done)

    @own_error_state
    def look_closer(self, sides: Sides) -> None:
        """Take the slopes of a finer step, and accept what agrees at it and at the one before."""
        self.finer += 1
        self._add(sides, len(self.steps))
        verdict, at = self.verdict, self.open
        claimed = verdict.claimed[at]
        agrees = np.ones(at.size, bool)
        for k, slack in ((-2, 1.0), (-1, RATIO)):
            central = _central(self.right[k], self.left[k])
            allowed = self.tolerance * _size(claimed, central) + verdict.uncertainty[at]
            agrees &= np.abs(claimed - central) <= slack * allowed
            # Where rounding swallows the change, zero agrees with zero.
            rounding = self._rounding(self.right[k], self.left[k], self.steps[k], at) / self.steps[k]
            agrees &= rounding <= VAGUE * slack * allowed
        if self.may_round:
            agrees &= ~self._is_blind(self.right, self.left)
        done = at[agrees]
        gap, share = np.abs(self.right[-2] - self.left[-2])[agrees], (self.steps[-2] / self.first_step[at])[agrees]
        verdict.slope[done] = _central(self.right[-2], self.left[-2])[agrees]
        # Curvature makes a gap in proportion to the step: a larger one at the first step was a kink's.
        verdict.kinks[done] = self.first_gap[done] > 4 * (gap / share + verdict.uncertainty[done])
        wrong = self._obviously_wrong() & ~agrees
        if not wrong.any():
            self.keep(~agrees)
            return
        verdict.slope[at[wrong]], verdict.wrong[at[wrong]] = _central(self.right[-2], self.left[-2])[wrong], True
        self.keep(~agrees & ~wrong)

    def _obviously_wrong(self) -> np.ndarray:
        """Which open claims are far off from slopes that hardly change within the first steps."""
        if self.finer != OBVIOUS_AFTER:
            return np.zeros(self.open.size, bool)
        claimed = self.verdict.claimed[self.open]
        slopes = np.array(self.right[-1 - OBVIOUS_AFTER :] + self.left[-1 - OBVIOUS_AFTER :])
        low, high = slopes.min(axis=0), slopes.max(axis=0)
        rounding = self._rounding(self.right[-1], self.left[-1], self.steps[-1], self.open)
        spread = high - low + rounding / self.steps[-1]
        distance = np.maximum(claimed - high, low - claimed)
        # What does not move may be rounded, and so may what is but a little off: changes in proportion to the step, for
        # steps that are multiples of each other, can be so by chance.
        moves = (slopes != 0).all(axis=0) & (distance > 0.01 * _size(claimed, high))
        steady = spread < 0.01 * np.abs(high + low)
        return np.asarray((distance > OBVIOUS * spread) & moves & steady)

    def _add(self, sides: Sides, place: int) -> None:
        for kept, new in zip((self.right, self.left, self.steps), sides, strict=True):
            kept.insert(place, new)
        self.verdict.moved[self.open] |= (sides[0] != 0) | (sides[1] != 0)

    @own_error_state
    def decide(self, limit: float, rounding_of_value: float) -> None:
        """Judge what is still open, each entry at its best step."""
        if not self.open.size:
            return
        verdict, at = self.verdict, self.open
        right, left, steps = (np.array(kept) for kept in (self.right, self.left, self.steps))
        nearest = np.maximum(np.abs(right[-1]), np.abs(left[-1]))
        claimed = verdict.claimed[at]
        least = self._rounding(right, left, steps, at)
        rounding = np.maximum(least, rounding_of_value)
        flat = self._forget_still_steps(right, left, steps, rounding)
        central = _central(right, left)
        scatter = _scatter(central, steps)
        slope, about = _best(central, steps, np.maximum(scatter, rounding))
        ends = []
        for side in (right, left):
            beside, finer = _extrapolated(side, steps)
            calm = _scatter(beside, finer)
            own = np.where(SIDES * scatter > CALM * calm, calm, SIDES * scatter)
            ends.append(_best(beside, finer, np.maximum(own, SIDES * rounding[1:])))
        (a, about_a), (b, about_b) = ends
        slack = self.tolerance * _size(claimed, slope)
        still = ((right == claimed) & (left == claimed)).all(axis=0)  # as of a constant
        told = (about <= limit) | still
        close = (np.abs(claimed - slope) <= slack + about) | still
        both = np.isfinite(about_a) & np.isfinite(about_b)
        bent = both & (np.abs(a - b) > about_a + about_b + slack)
        inside = (claimed >= np.minimum(a - about_a, b - about_b) - slack) & (
            claimed <= np.maximum(a + about_a, b + about_b) + slack
        )
        on_side = np.zeros(at.size, bool)
        for side, (end, about_end) in zip((right, left), ends, strict=True):
            on_side |= (np.abs(claimed - end) <= slack + about_end) & (about_end <= limit)
            on_side |= (side == claimed).all(axis=0)  # as where all other slopes are zero, too, and the limit is
        jumps = _jumps(right, left, steps, least[-1])
        jumps |= _waves(right, left, steps, scatter, claimed)
        wrong = (np.isfinite(about) & both & ~close & ~inside & ~jumps) | ~np.isfinite(claimed)
        wrong &= ~flat | (claimed != 0)
        kinks = ~wrong & ~flat & ((bent & inside) | (on_side & ~told))
        verdict.slope[at] = np.where(np.isfinite(about), slope, verdict.slope[at])
        verdict.uncertainty[at] = np.where(np.isfinite(about), about, 0)
        verdict.wrong[at], verdict.kinks[at], verdict.outside[at] = wrong, kinks, wrong & bent
        verdict.undecided[at] = ~(wrong | kinks | (close & told))
        verdict.kinks[at] |= close & told & ~wrong & self._bent_at_first(right, left, about)
        verdict.nearest[at] = nearest
        verdict.jumps[at] = jumps

    def _bent_at_first(self, right: np.ndarray, left: np.ndarray, about: np.ndarray) -> np.ndarray:
        """Where a kink lay within the first step, though the finer ones see none: curvature shrinks with the step."""
        gap = np.abs(right - left)
        return np.asarray(gap[-1 - FINER] > 4 * (gap[-1 - FINER + BENT] * RATIO**BENT + about))

    def _forget_still_steps(
        self, right: np.ndarray, left: np.ndarray, steps: np.ndarray, rounding: np.ndarray
    ) -> np.ndarray:
        """Drop steps that change nothing where larger ones do: a function that rounds internally does not see them.

        Return where it may as well be that the function has a flat part there, with a slope of zero.
        """
        if not self.may_round:
            return np.zeros(right.shape[1], bool)
        blind = self._is_blind(right, left)
        seen = np.maximum(np.abs(right), np.abs(left))
        expected = steps * np.min(seen, axis=0, initial=np.inf, where=seen > 0)
        flat = blind & (((right == 0) | (left == 0)) & (expected > UNSEEN * rounding)).any(axis=0)
        for side in (right, left):
            side[(side == 0) & blind] = np.nan
        still = (right == 0) & (left == 0) & (steps < 2 * EPSILON32 * np.abs(self.point[self.open]))
        still &= ((right != 0) | (left != 0)).any(axis=0)
        right[still] = left[still] = np.nan
        return flat

    @staticmethod
    def _is_blind(right: Any, left: Any) -> np.ndarray:
        """Where the finest step changes nothing on one side, and the coarsest ones do on both."""
        sees = (right[0] != 0) & (left[0] != 0) & (right[1] != 0) & (left[1] != 0)
        return np.asarray(sees & ((right[-1] == 0) | (left[-1] == 0)))


def _extrapolated(side: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided slopes without the part of their error that is in proportion to the step, and the finer steps."""
    return side[1:] + (side[1:] - side[:-1]) / (steps[:-1] / steps[1:] - 1), steps[1:]


def _best(estimates: np.ndarray, steps: np.ndarray, scatter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The estimate of each entry at the step where it is least uncertain, and how uncertain; infinitely if none is."""
    noise = SCATTER * scatter / steps
    uncertainty = np.full(estimates.shape, np.inf)  # of the finest, which nothing finer can confirm
    for k in range(len(estimates) - 1):
        changes = np.abs(estimates[k + 1 :] - estimates[k])
        # Finer steps may tell of a kink within this one; but the finest of all has nothing to confirm it.
        beyond = np.fmax.reduce((changes - noise[k + 1 :])[: max(1, len(changes) - 1)], axis=0)
        change = changes[0] if len(changes) == 1 else np.maximum(changes[0], changes[1] / RATIO)
        uncertainty[k] = noise[k] + np.maximum(change, beyond)
    uncertainty = np.where(np.isfinite(estimates) & np.isfinite(uncertainty), uncertainty, np.inf)
    best = uncertainty.argmin(axis=0)[None]
    return np.take_along_axis(estimates, best, 0)[0], np.take_along_axis(uncertainty, best, 0)[0]


def _scatter(estimates: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What rounding adds to a value, as the estimates of each entry at the finest steps tell."""
    scatter = steps[1:] * np.abs(np.diff(estimates, axis=0))
    scatter[steps[1:] == steps[:-1]] = np.nan
    finest = np.argsort(np.isfinite(scatter), axis=0, kind="stable")[-3:]
    middle = np.sort(np.nan_to_num(np.take_along_axis(scatter, finest, 0), posinf=0), axis=0)[1]  # one may be a kink's
    return np.asarray(np.maximum(middle, np.quantile(middle, 0.25, method="lower")))  # all may be small by chance


def _jumps(right: np.ndarray, left: np.ndarray, steps: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Where the value changes about as much, and the same way, however small the step: noise changes its sign."""
    jumps = np.zeros(right.shape[1], bool)
    for side in (right, left):
        changes = (side * steps)[-JUMP:]
        changes = changes * np.sign(changes[-1])
        jumps |= (changes.min(axis=0) > 0.5 * changes.max(axis=0)) & (changes[-1] > 1e3 * rounding)
    return jumps


def _waves(
    right: np.ndarray, left: np.ndarray, steps: np.ndarray, scatter: np.ndarray, claimed: np.ndarray
) -> np.ndarray:
    """Where the value changes as much at the finest steps as at any other, and the claim is steep enough for that.

    An example is sin(1e12 * x): no step is fine enough to tell its slope from noise.
    """
    largest = (np.maximum(np.abs(right), np.abs(left)) * steps).max(axis=0)
    return np.asarray((scatter > WAVES * largest) & (np.abs(claimed) * steps[-1] > scatter / 10) & np.isfinite(claimed))


def _central(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    return np.asarray((right + left) / 2)


def _size(claimed: np.ndarray, slope: np.ndarray) -> np.ndarray:
    size = np.maximum(np.abs(claimed), np.abs(slope))
    return np.asarray(np.where(np.isfinite(size), size, 0))
