"""Learning rate schedules, as descriptions: given as the ``learning_rate`` of an optimizer.

They are immutable and keep no state, so one can be shared by many optimizers and networks. Updates are counted by the
network's optimizer slot, starting at 0: a second `fit` continues where the first one ended. A schedule by step
the rate at each update; one by epoch counts the epochs of all fits, of ``steps_per_epoch`` updates each, and changes
the rate between them, as PyTorch's schedulers do if they are stepped after each epoch.

Definitions and defaults are PyTorch's. Past its end a schedule stays at its last rate, where PyTorch's cosine rises
again and its one-cycle raises an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Description, Field
from nnfast._validation import (
    check_bool,
    check_float,
    check_int,
    check_not_negative,
    check_positive,
    check_quantity,
    choose,
    describe,
    ignore_float_errors,
    to_array,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Constant", "Cosine", "Exponential", "InverseTime", "OneCycle", "ReduceOnPlateau", "Step"]

MAX_TIME = 2**53  # steps or epochs: float64, in which rates are computed, represents all integers up to here
BLOCK = 8192  # rates computed at a time: always the same ones together, or their last bits could differ
LEAST_REDUCTION = 1e-8  # of the rate on a plateau; PyTorch's `eps`


def _time(name: str, value: Any, minimum: int = 0) -> int:
    """Return a number of steps or epochs."""
    return check_int(name, value, minimum, MAX_TIME)


def _duration(name: str, value: Any) -> int:
    return _time(name, value, 1)


def _part(name: str, value: Any) -> float:
    return check_float(name, value, 0.0, 1.0)


def _inner_part(name: str, value: Any) -> float:
    return check_float(name, value, 0.0, 1.0, open_ends=True)


def _divisor(name: str, value: Any) -> float:
    return check_float(name, value, 1.0)


def _gamma(name: str, value: Any) -> float:
    number = check_float(name, value, 0.0, 1.0)
    if not number:
        raise ValueError(f"{name} must be above 0, got 0.0")
    return number


def _below_one(name: str, value: Any) -> float:
    number = check_float(name, value, 0.0, 1.0)
    if number == 1:
        raise ValueError(f"{name} must be below 1, got 1.0")
    return number


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    return lambda name, value: choose(name, value, choices)


def _check_minimum(minimum: float, learning_rate: float) -> None:
    if minimum > learning_rate:
        raise ValueError(f"minimum must be at most learning_rate={learning_rate}, got {minimum}")


class Schedule(Description, noun="a schedule"):
    """Base class of all schedules, with the initial learning rate and whether steps or epochs are counted.

    Schedules are immutable, and equal if they have the same class and the same hyperparameters.
    """

    shows_defaults = True
    cycle_momentum = False  # whether it also sets the optimizer's momentum
    learning_rate: float = Field(check_positive)

    def fill(self, values: dict[str, Any]) -> None:
        """Check and store the hyperparameters."""
        if type(self) is Schedule:
            raise TypeError("Schedule is the base class: use one of nnfast.schedules, such as Cosine")
        super().fill(values)


class TimedSchedule(Schedule, ABC):
    """A schedule that is a function of time alone."""

    by: str = Field(_one_of("step", "epoch"), default="step", kw_only=True)

    @ignore_float_errors
    def rates(self, steps: ArrayLike, steps_per_epoch: int | None = None) -> np.ndarray:
        """Compute the learning rate of each update.

        Parameters
        ----------
        steps : array_like of int
            Indices of the updates, starting at 0.
        steps_per_epoch : int, optional
            Updates in an epoch; needed by a schedule by epoch.

        Returns
        -------
        ndarray of float64
            Same shape as `steps`.

        Raises
        ------
        TypeError, ValueError
            If `steps` are not integers of at least 0, or the schedule is by epoch and `steps_per_epoch` is missing.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.schedules.Step(0.1, step_size=2, gamma=0.5).rates([0, 1, 2, 3, 4])
        array([0.1  , 0.1  , 0.05 , 0.05 , 0.025])
        """
        return self._rates(self._times(steps, steps_per_epoch))

    @ignore_float_errors
    def momenta(self, steps: ArrayLike, steps_per_epoch: int | None = None) -> np.ndarray | None:
        """Compute the momentum of each update.

        Parameters
        ----------
        steps : array_like of int
            As for `rates`.
        steps_per_epoch : int, optional
            As for `rates`.

        Returns
        -------
        ndarray of float64 or None
            None if the schedule does not change the optimizer's momentum: all except `OneCycle`.

        Raises
        ------
        TypeError, ValueError
            As from `rates`.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.schedules.OneCycle(0.1, steps=11, pct_start=0.5, anneal_strategy="linear").momenta([0, 10])
        array([0.95, 0.95])
        """
        return self._momenta(self._times(steps, steps_per_epoch))

    def at(self, step: int, steps_per_epoch: int = 1) -> tuple[float, float | None]:
        """Return the learning rate of one update, and its momentum or None."""
        block, i = divmod(step // steps_per_epoch if self.by == "epoch" else step, BLOCK)
        rates, momenta = _block(self, block)
        return float(rates[i]), None if momenta is None else float(momenta[i])

    def following(self, first: int, last: int, steps_per_epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rates of the updates from `first` on, and momenta or None: at least one, at most up to `last`.

        The bits of a rate do not depend on the requested range.
        """
        count = steps_per_epoch if self.by == "epoch" else 1
        block = first // count // BLOCK
        rates, momenta = _block(self, block)
        last = min(last, (block + 1) * BLOCK * count, first + BLOCK)
        times = np.arange(first, last) // count - block * BLOCK
        return rates[times], None if momenta is None else momenta[times]

    def _times(self, steps: ArrayLike, steps_per_epoch: int | None) -> np.ndarray:
        numbers = to_array("steps", steps)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise TypeError(f"steps must be integers, got {describe(steps)}")
        if numbers.size:
            _time("steps", numbers.min())
            _time("steps", numbers.max())
        numbers = numbers.astype(np.int64)
        if steps_per_epoch is not None:
            steps_per_epoch = _time("steps_per_epoch", steps_per_epoch, 1)
        if self.by == "step":
            return numbers
        if steps_per_epoch is None:
            raise ValueError(f"steps_per_epoch is required because this schedule is by epoch: {self!r}")
        return numbers // steps_per_epoch

    @abstractmethod
    def _rates(self, times: np.ndarray) -> np.ndarray: ...

    def _momenta(self, times: np.ndarray) -> np.ndarray | None:
        return None


@lru_cache(maxsize=8)
@ignore_float_errors
def _block(schedule: TimedSchedule, number: int) -> tuple[np.ndarray, np.ndarray | None]:
    times = np.arange(number * BLOCK, (number + 1) * BLOCK)
    return schedule._rates(times), schedule._momenta(times)


class Constant(TimedSchedule):
    """A constant rate after a linear warm-up.

    Parameters
    ----------
    learning_rate : float
        The rate after the warm-up; positive.
    warmup : int
        Steps, or epochs, over which the rate rises to `learning_rate`.
    start_factor : float
        The initial rate as a fraction of `learning_rate`: in [0, 1].
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    ``learning_rate * (start_factor + (1 - start_factor) * t / warmup)`` up to ``t = warmup``: PyTorch's ``LinearLR``,
    which requires a `start_factor` above zero.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.schedules.Constant(0.1, warmup=4, start_factor=0.0).rates([0, 1, 2, 3, 4, 5])
    array([0.   , 0.025, 0.05 , 0.075, 0.1  , 0.1  ])
    """

    warmup: int = Field(_time, default=0, kw_only=True)
    start_factor: float = Field(_part, default=1 / 3, kw_only=True)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        return self.learning_rate * _warmup_factors(times, self.warmup, self.start_factor)


class Step(TimedSchedule):
    """A rate that is multiplied by `gamma` every `step_size` steps.

    Parameters
    ----------
    learning_rate : float
        The initial rate; positive.
    step_size : int
        Steps, or epochs, between two changes.
    gamma : float
        The factor by which the rate is multiplied: in (0, 1].
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    ``learning_rate * gamma**(t // step_size)``: PyTorch's ``StepLR``.

    Examples
    --------
    >>> import nnfast as nf
    >>> adam = nf.Adam(nf.schedules.Step(0.01, step_size=10, by="epoch"))
    >>> adam.learning_rate.rates([0, 50, 100], steps_per_epoch=5)
    array([0.01  , 0.001 , 0.0001])
    """

    step_size: int = Field(_duration, kw_only=True)
    gamma: float = Field(_gamma, default=0.1, kw_only=True)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        return _decayed(self.learning_rate, self.gamma, times // self.step_size)


class Exponential(TimedSchedule):
    """A rate that is multiplied by `gamma` at every step.

    Parameters
    ----------
    learning_rate : float
        The initial rate; positive.
    gamma : float
        The factor by which the rate is multiplied: in (0, 1].
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    ``learning_rate * gamma**t``: PyTorch's ``ExponentialLR``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.schedules.Exponential(0.4, gamma=0.5).rates([0, 1, 2])
    array([0.4, 0.2, 0.1])
    """

    gamma: float = Field(_gamma, kw_only=True)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        return _decayed(self.learning_rate, self.gamma, times)


class InverseTime(TimedSchedule):
    """A rate that decreases with the inverse of time.

    Parameters
    ----------
    learning_rate : float
        The initial rate; positive.
    steps : int
        Steps, or epochs, in which `decay` is added to the divisor.
    decay : float
        Positive; with 1, the rate is halved after `steps`.
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    ``learning_rate / (1 + decay * t / steps)``: Keras' ``InverseTimeDecay``; PyTorch has none.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.schedules.InverseTime(0.1, steps=10).rates([0, 10, 30, 90])
    array([0.1  , 0.05 , 0.025, 0.01 ])
    """

    steps: int = Field(_duration, kw_only=True)
    decay: float = Field(check_positive, default=1.0, kw_only=True)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        return self.learning_rate / (1 + self.decay * (times / self.steps))


class Cosine(TimedSchedule):
    """A linear warm-up, then half a cosine wave down to `minimum`, where the rate stays.

    Parameters
    ----------
    learning_rate : float
        The rate after the warm-up, which is the largest; positive.
    steps : int
        Steps, or epochs, until `minimum` is reached, including the warm-up.
    warmup : int
        How many of them are the warm-up; fewer than `steps`.
    start_factor : float
        The initial rate if there is a warm-up, as a fraction of `learning_rate`: in [0, 1].
    minimum : float
        The final rate: in [0, `learning_rate`].
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    PyTorch's ``LinearLR`` and ``CosineAnnealingLR`` (Loshchilov and Hutter, "SGDR", 2017, without restarts), one after
    the other. In PyTorch the rate rises again after `steps`.

    Examples
    --------
    >>> import nnfast as nf
    >>> sgd = nf.SGD(learning_rate=nf.schedules.Cosine(0.1, steps=1000, warmup=100))
    >>> sgd.learning_rate.rates([0, 100, 550, 1000, 5000]).round(4)
    array([0.0333, 0.1   , 0.05  , 0.    , 0.    ])
    """

    steps: int = Field(_duration, kw_only=True)
    warmup: int = Field(_time, default=0, kw_only=True)
    start_factor: float = Field(_part, default=1 / 3, kw_only=True)
    minimum: float = Field(check_not_negative, default=0.0, kw_only=True)

    def settle(self) -> None:
        """Raise ValueError if the warm-up is too long, or the minimum is above the rate."""
        if self.warmup >= self.steps:
            raise ValueError(f"warmup must be less than steps, got warmup={self.warmup} and steps={self.steps}")
        _check_minimum(self.minimum, self.learning_rate)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        part = np.clip(times - self.warmup, 0, self.steps - self.warmup) / (self.steps - self.warmup)
        wave = self.minimum + (self.learning_rate - self.minimum) * ((1 + np.cos(np.pi * part)) / 2)
        ramp = self.learning_rate * _warmup_factors(times, self.warmup, self.start_factor)
        return np.where(times < self.warmup, ramp, wave)


class OneCycle(TimedSchedule):
    """The 1cycle policy: the rate rises, then falls to almost nothing; the momentum goes the other way.

    Parameters
    ----------
    learning_rate : float
        The highest rate; positive.
    steps : int
        Steps, or epochs, of the whole cycle.
    pct_start : float
        The fraction of the cycle in which the rate rises: in (0, 1).
    anneal_strategy : {"cos", "linear"}
        How the rate goes from one level to the next.
    cycle_momentum : bool
        Decrease the optimizer's momentum, or Adam's ``beta1``, while the rate rises, and increase it while the rate
        falls. The optimizer's own value is then not used. An optimizer without momentum raises an error.
    base_momentum, max_momentum : float
        The lowest and the highest momentum: in [0, 1).
    div_factor : float
        `learning_rate` divided by the initial rate; at least 1.
    final_div_factor : float
        The initial rate divided by the final rate; at least 1.
    three_phase : bool
        Return to the initial rate as quickly as it rose, and only then decrease to the final rate.
    by : {"step", "epoch"}
        Whether time is counted in steps or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or one of the phases would have no length.

    Notes
    -----
    PyTorch's ``OneCycleLR`` (Smith and Topin, "Super-convergence", 2017), which raises an error after its end; here the
    last rate and momentum are kept.

    Examples
    --------
    >>> import nnfast as nf
    >>> cycle = nf.schedules.OneCycle(0.1, steps=101, pct_start=0.5, final_div_factor=4)
    >>> cycle.rates([0, 25, 100, 1000]).round(4)
    array([0.004 , 0.0528, 0.001 , 0.001 ])
    """

    steps: int = Field(_duration, kw_only=True)
    pct_start: float = Field(_inner_part, default=0.3, kw_only=True)
    anneal_strategy: str = Field(_one_of("cos", "linear"), default="cos", kw_only=True)
    cycle_momentum: bool = Field(check_bool, default=True, kw_only=True)
    base_momentum: float = Field(_below_one, default=0.85, kw_only=True)
    max_momentum: float = Field(_below_one, default=0.95, kw_only=True)
    div_factor: float = Field(_divisor, default=25.0, kw_only=True)
    final_div_factor: float = Field(_divisor, default=1e4, kw_only=True)
    three_phase: bool = Field(check_bool, default=False, kw_only=True)

    def settle(self) -> None:
        """Raise ValueError if the momenta are in the wrong order, or a phase has no length."""
        if self.base_momentum > self.max_momentum:
            raise ValueError(
                f"base_momentum must be at most max_momentum, got {self.base_momentum} and {self.max_momentum}"
            )
        if (np.diff(self._ends) <= 0).any():
            ends = ", ".join(f"{end:g}" for end in self._ends)
            raise ValueError(
                f"each phase must have a positive length, but with steps={self.steps}, pct_start={self.pct_start:g} "
                f"and three_phase={self.three_phase} they would end at {ends}"
            )

    @property
    def _ends(self) -> np.ndarray:
        """Start of the first phase, followed by the end of each phase."""
        rise, last = self.pct_start * self.steps - 1, self.steps - 1
        return np.array([0, rise, 2 * rise, last] if self.three_phase else [0, rise, last])

    def _anneal(self, times: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        ends, at = self._ends, np.asarray(levels)
        times = np.minimum(times, self.steps - 1)
        phase = np.searchsorted(ends[1:], times)
        rest = (ends[phase + 1] - times) / (ends[phase + 1] - ends[phase])
        if self.anneal_strategy == "cos":
            rest = (1 + np.cos(np.pi * (1 - rest))) / 2
        return at[phase + 1] + (at[phase] - at[phase + 1]) * rest

    def _rates(self, times: np.ndarray) -> np.ndarray:
        first = self.learning_rate / self.div_factor
        last = first / self.final_div_factor
        down = [first, last] if self.three_phase else [last]
        return self._anneal(times, [first, self.learning_rate, *down])

    def _momenta(self, times: np.ndarray) -> np.ndarray | None:
        if not self.cycle_momentum:
            return None
        up = [self.max_momentum] * (2 if self.three_phase else 1)
        return self._anneal(times, [self.max_momentum, self.base_momentum, *up])


class ReduceOnPlateau(Schedule):
    """A rate that is reduced when training no longer improves.

    After each epoch of `fit` the last value of `monitor` is examined. If more than `patience` epochs in a row
    were no better than the best one, the rate is multiplied by `factor`. The best value so far is stored with the
    optimizer's state in the network, so a second `fit` and a saved network continue from it.

    Parameters
    ----------
    learning_rate : float
        The initial rate; positive.
    monitor : str
        The entry of `fit`'s history that should improve: ``"loss"``, a metric such as ``"accuracy"``, or one of these
        for the validation data, such as ``"val_loss"``. A loss is better if it is lower; a metric has its direction.
    factor : float
        The factor by which the rate is multiplied: in (0, 1).
    patience : int
        Number of epochs without improvement that are allowed.
    threshold : float
        By how much a value must be better than the best one to count as better.
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a fraction of the best value or a difference from it.
    cooldown : int
        Number of epochs after a reduction during which bad epochs are not counted.
    minimum : float
        The rate is not reduced below this value: in [0, `learning_rate`].

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    PyTorch's ``ReduceLROnPlateau``; as there, a reduction by less than 1e-8 is skipped, and NaN is no improvement.

    If an error or Ctrl-C comes after the last step of an epoch, but before its validation, the next fit begins with the
    validation, so that the epoch is examined. If `monitor` is a metric that is computed in Python from the training
    data, such an epoch is not examined: this is the only case in which a training that is continued differs from one
    that was not interrupted.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
    >>> sgd = nf.SGD(nf.schedules.ReduceOnPlateau(0.8, monitor="accuracy", factor=0.5, patience=1))
    >>> history = net.fit([[0, 1], [1, 0]], [0, 1], epochs=6, optimizer=sgd, verbose=0)
    >>> history["accuracy"]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> history.learning_rate
    array([0.8, 0.8, 0.8, 0.8, 0.4, 0.4])
    """

    by = "epoch"
    monitor: str = Field(check_quantity, default="val_loss", kw_only=True)
    factor: float = Field(_inner_part, default=0.1, kw_only=True)
    patience: int = Field(_time, default=10, kw_only=True)
    threshold: float = Field(check_not_negative, default=1e-4, kw_only=True)
    threshold_mode: str = Field(_one_of("rel", "abs"), default="rel", kw_only=True)
    cooldown: int = Field(_time, default=0, kw_only=True)
    minimum: float = Field(check_not_negative, default=0.0, kw_only=True)

    def settle(self) -> None:
        """Raise ValueError if the minimum is above the rate."""
        _check_minimum(self.minimum, self.learning_rate)

    def begun(self, plateau: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state to continue from: `plateau`, unless its initial rate or monitor differ."""
        mine = {"learning_rate": self.learning_rate, "monitor": self.monitor}
        if plateau is not None and mine.items() <= plateau.items():
            return plateau
        return {**mine, "rate": self.learning_rate, "best": None, "bad": 0, "cooldown": 0}

    def after(self, plateau: dict[str, Any], value: float, higher_is_better: bool) -> dict[str, Any]:
        """Return the state after an epoch in which the monitored quantity had this value."""
        best, bad, cooldown, rate = (plateau[name] for name in ("best", "bad", "cooldown", "rate"))
        if self._is_better(value, best, higher_is_better):
            best, bad = value, 0
        else:
            bad += 1
        if cooldown:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            reduced = max(rate * self.factor, self.minimum)
            rate = reduced if rate - reduced > LEAST_REDUCTION else rate
            cooldown, bad = self.cooldown, 0
        kept = {name: plateau[name] for name in ("learning_rate", "monitor")}
        return kept | {"rate": rate, "best": best, "bad": bad, "cooldown": cooldown}

    def waiting(self, plateau: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state after an epoch whose monitored quantity is not known yet."""
        return self.begun(plateau) | {"waiting": True}

    def waits(self, plateau: dict[str, Any] | None) -> bool:
        """Return whether the last epoch has not been examined."""
        return "waiting" in self.begun(plateau)

    def _is_better(self, value: float, best: float | None, higher_is_better: bool) -> bool:
        if best is None:
            return not isnan(value)
        change = self.threshold if higher_is_better else -self.threshold
        bar = best * (1 + change) if self.threshold_mode == "rel" else best + change
        return value > bar if higher_is_better else value < bar


def check_plateau(plateau: Any) -> None:
    """Raise TypeError or ValueError unless `plateau`, read from a file, is a state of `ReduceOnPlateau`."""
    names = {"learning_rate", "monitor", "rate", "best", "bad", "cooldown"}
    if not isinstance(plateau, dict) or set(plateau) - {"waiting"} != names or plateau.get("waiting", True) is not True:
        raise ValueError(f"plateau must have {', '.join(sorted(names))}, got {describe(plateau)}")
    check_quantity("monitor", plateau["monitor"])
    highest = check_positive("learning_rate", plateau["learning_rate"])
    check_float("rate", plateau["rate"], 0.0, highest)
    if plateau["best"] is not None and type(plateau["best"]) is not float:
        raise TypeError(f"best must be a number or null, got {describe(plateau['best'])}")
    for name in ("bad", "cooldown"):
        _time(name, plateau[name])


def _warmup_factors(times: np.ndarray, warmup: int, start_factor: float) -> np.ndarray:
    """Return the fraction of the rate that a linear warm-up has reached."""
    part = np.minimum(times, warmup) / warmup if warmup else np.ones(times.shape)
    return start_factor + (1 - start_factor) * part


def _decayed(rate: float, gamma: float, times: np.ndarray) -> np.ndarray:
    return rate * np.power(gamma, times.astype(np.float64))  # which may underflow to zero
