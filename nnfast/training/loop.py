"""The run of a training: epochs, validation, callbacks, the progress bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from nnfast._progress import Progress, progress_of
from nnfast._threads import allowed_threads
from nnfast._validation import ignore_float_errors, read_only, warn
from nnfast.engine.program import Training
from nnfast.gradients.network import NumericalTraining
from nnfast.kernels.arrays import all_finite
from nnfast.optimizers import LBFGS, Hyperparameters
from nnfast.schedules import BLOCK, ReduceOnPlateau, Schedule, TimedSchedule
from nnfast.training.arguments import FitArguments
from nnfast.training.batches import FedTraining
from nnfast.training.history import History, add_epochs, epochs_of
from nnfast.training.hooks import Hooks
from nnfast.training.lbfgs import Minimization

DIVERGED = "the training diverged"
SLICE = 0.1  # seconds between two looks at the clock and at `stop`
AHEAD = 65_536  # steps without Python, of a training without limit


def fit(arguments: FitArguments, owner: Any) -> History:
    """Build the network if necessary, and train it; callbacks are called with `owner`."""
    network = arguments.network
    with network.guard:
        unbuilt = build(arguments)  # only after all arguments have been checked
        network.stopping = False
        try:
            run = Run(arguments, owner, _training(arguments))  # allocates: all allocations precede any change
            run.begin()
        except BaseException:
            if unbuilt:
                network.unbuild()
            raise
        return run.go(arguments.verbose)


def build(arguments: FitArguments) -> bool:
    """Build the network if it is not built, and return whether it was not; the caller holds the guard."""
    network, shape = arguments.network, arguments.shape
    if network.input_shape is None:
        network.build(shape)
        return True
    if network.input_shape != shape:
        raise RuntimeError(f"the network was built by another thread meanwhile, for input_shape {network.input_shape}")
    return False


def _training(arguments: FitArguments) -> Training | Minimization:
    """Return the steps to run, with all memory allocated; the network is built but otherwise unchanged."""
    network, metrics = arguments.network, arguments.metrics.training
    if isinstance(arguments.optimizer, LBFGS):
        total = arguments.visits.total
        assert arguments.data is not None and total is not None
        return Minimization(
            network, *arguments.data, total, arguments.gradient, metrics.scorings, keep_outputs=bool(metrics.others)
        )
    threads, fixed = allowed_threads()
    return steps_of(arguments, threads, fixed=fixed)


def steps_of(arguments: FitArguments, threads: int, *, fixed: bool) -> Training:
    """Return a run of mini-batch steps."""
    network, metrics = arguments.network, arguments.metrics.training
    values = arguments.optimizer.values(network.dtype)
    stream = network.shuffle_stream.bit_generator
    common = arguments.visits, values, stream, metrics.scorings, metrics.scored
    options: dict[str, Any] = {"keep_outputs": bool(metrics.others)}
    if arguments.batches is not None:
        return FedTraining(network, arguments.batches, *common, threads, fixed, **options)
    assert arguments.data is not None
    x, targets, weights = arguments.data
    options["rows"] = arguments.rows
    if arguments.gradient == "numerical":
        training: Training = NumericalTraining(network, x, targets, weights, *common, **options)
    else:
        training = Training(network.built, x, targets, weights, *common, threads, fixed, **options)
    if arguments.patience is not None:
        training.be_patient(*arguments.patience)
    return training


class Run:
    """The training of one network, which runs the engine slice by slice.

    Parameters
    ----------
    arguments : FitArguments
        The arguments of `fit`.
    owner : object
        What callbacks are called with.
    training : Training or Minimization
        The steps.
    name : str
        The beginning of warnings; empty for a single network.
    """

    def __init__(self, arguments: FitArguments, owner: Any, training: Training | Minimization, name: str = "") -> None:
        self.network, self.owner, self.training, self.name = arguments.network, owner, training, name
        self.optimizer, self.metrics = arguments.optimizer, arguments.metrics
        self.hooks = Hooks(arguments.callbacks)
        self.visits, self.max_seconds = arguments.visits, arguments.max_seconds
        self.warns_unconverged = arguments.warns_unconverged
        self.validation, self.validation_rows = arguments.validation, arguments.validation_rows
        self.names = self.metrics.names
        self.history = arguments.new_history()
        self.epochs, self.per_epoch = epochs_of(self.history), self.visits.per_epoch
        self.epochs_before = 0  # as the optimizer's slot counts them
        self.per_row = tuple(scoring.per_row for scoring in self.metrics.training.scorings)
        self.ends = float("inf")  # when the time is up
        self.epoch_begun = -1  # the last epoch that `epoch_begin` was called for
        self.val_loss = self.names.index("val_loss") if self.validation is not None else 0  # its column
        self.waiting: list[Callable[[Any, History], Any]] = []  # callbacks that the last epoch was not due for
        self.diverged = False

    @property
    def recorded(self) -> int:
        """Number of epochs in the history, the only count: Ctrl-C may come between any two lines."""
        return len(self.epochs)

    def begin(self, ends: float | None = None) -> None:
        """Make the record the network's history, and call the callbacks that run before the first step.

        `ends`: when the time is up, if it does not begin now.
        """
        before, self.network.history = self.network.history, self.history
        try:
            for callback in self.hooks.train_begin:
                callback(self.owner, self.history)
            if isinstance(self.training, Training):
                self.training.start(self.optimizer.values(self.network.dtype))
            self.epochs_before = self.network.built.slot.epochs
            self.examine_epoch_before()
        except BaseException:
            self.network.history = before
            self.close()
            raise
        if self.max_seconds is not None:
            self.ends = perf_counter() + self.max_seconds if ends is None else ends

    def go(self, verbose: int) -> History:
        """Train, and return the record."""
        first, per_epoch, total = self.training.first, self.visits.per_epoch, self.visits.total
        if total is not None and self.visits.epochs is not None:
            total -= first
        with progress_of(total, per_epoch, verbose, first) as progress:
            self.run_epochs(progress)
        return self.history

    def run_epochs(self, progress: Progress) -> None:
        """Run the epochs; those that need nothing from Python run back to back, in slices of time."""

        def after(done: int) -> bool:
            if self.record():
                progress.epoch(self.recorded, self.history)
            progress.step(done)
            return self.goes_on

        training = self.training
        try:
            if isinstance(training, Minimization):
                self.minimize(training, after)
            else:
                while self.goes_on:
                    after(training.run(*self.next_slice(training), self.seconds))
            self.complete()
        finally:
            self.close()

    @property
    def goes_on(self) -> bool:
        """Whether there are more steps to do."""
        return not (self.training.finished or self.network.stopping or (self.max_seconds and self.time_is_up))

    @property
    def time_is_up(self) -> bool:
        """Whether `max_seconds` have passed; False before the first step is done."""
        return self.training.step > 0 and perf_counter() >= self.ends

    @property
    def seconds(self) -> float:
        """For how long the engine may run now."""
        return SLICE if self.max_seconds is None else max(min(SLICE, self.ends - perf_counter()), 0.0)

    def complete(self) -> None:
        """Record the end of the training."""
        self.record()  # `stop` may have been called since the last record
        self.look_at_parameters()
        self.show_steps()
        for callback in (*self.waiting, *self.hooks.train_end):
            callback(self.owner, self.history)

    def close(self) -> None:
        """Store in the history what is known, also after Ctrl-C or an error, and close the callbacks."""
        closing, self.hooks.close = self.hooks.close, []
        with ExitStack() as stack:
            for callback in reversed(closing):
                stack.callback(callback, self.owner, self.history)
            training = self.training
            self.history.step_loss = training.step_loss[: training.step].copy()
            self.history.learning_rate = training.rates[: training.step].copy()
            if isinstance(training, Training):
                self.history.threads = training.threads
            self.catch_up()

    def catch_up(self) -> None:
        """Record epochs that were completed before an error or Ctrl-C, without callbacks or validation.

        If the record needs validation or outputs, only the schedule counts these epochs.
        """
        if self.validation is None and not self.metrics.training.others:
            self.add_completed()
        else:
            values = self.training.averages(self.recorded, self.training.epochs, self.per_row, False)
            names = ("loss", *self.metrics.training.scored)
            self.look_for_plateau(names, values)
            schedule, slot = self.schedule, self.network.built.slot
            if values and isinstance(schedule, ReduceOnPlateau) and schedule.monitor not in names:
                slot.plateau = schedule.waiting(slot.plateau)

    def examine_epoch_before(self) -> None:
        """Let `ReduceOnPlateau` examine the last epoch if an error or Ctrl-C came before its validation."""
        schedule, slot = self.schedule, self.network.built.slot
        if isinstance(schedule, ReduceOnPlateau) and schedule.waits(slot.plateau) and self.validation is not None:
            found = self.validated()
            self.look_for_plateau(tuple(found), [tuple(found.values())])

    def minimize(self, training: Minimization, after: Callable[[int], bool]) -> None:
        """Run L-BFGS; warn if it ends too early, except because of `stop` or of the time."""
        assert isinstance(self.optimizer, LBFGS)

        def look(done: int) -> float | None:
            if after(done):
                self.call_epoch_begin()
            if not self.goes_on:
                return None
            return 0.0 if self.needs_each_epoch else self.seconds

        self.history.converged = False
        self.call_epoch_begin()
        why = training.run(self.optimizer, look) if self.goes_on else ""
        if self.recorded < training.epochs:
            after(training.step)
        self.history.converged = not why and not self.network.stopping
        if why and self.warns_unconverged and not (self.network.stopping or self.time_is_up):
            warn(why)

    # ---- which steps run next

    def next_slice(self, training: Training) -> tuple[int, Hyperparameters, bool]:
        """Return until which step to run next, the optimizer, and whether the rates of these steps are scheduled."""
        self.call_epoch_begin()
        schedule, done, until = self.optimizer.learning_rate, training.step, self.until(training)
        values = self.optimizer.values(self.network.dtype)
        training.count_epochs(isinstance(schedule, TimedSchedule) and schedule.by == "epoch", self.epochs_before)
        if until == done or not isinstance(schedule, Schedule):
            return until, values, False
        rates, momenta = self.rates(schedule, until - done)
        training.schedule(rates, momenta)
        return done + len(rates), values, True

    def until(self, training: Training) -> int:
        """Return the step up to which nothing is needed from Python."""
        done, total = training.step, training.total
        if self.network.stopping:  # a callback has called `stop` before the first step of the epoch
            return done
        if self.hooks.steps or isinstance(training, FedTraining) or perf_counter() >= self.ends:
            return done + 1
        until = total if total >= 0 else done + AHEAD
        epoch = self.next_epoch(training)
        return until if epoch is None else min(until, epoch * self.per_epoch - training.first)

    def next_epoch(self, training: Training) -> int | None:
        """Return the next epoch of this run, counted from 1, after which Python is needed; None if there is none."""
        done: int = training.epochs
        each = self.validation is not None or isinstance(self.optimizer.learning_rate, ReduceOnPlateau)
        if each or self.metrics.training.others:
            return done + 1
        return self.hooks.next_epoch(done)

    @property
    def needs_each_epoch(self) -> bool:
        """Whether Python is needed after each iteration of L-BFGS."""
        hooks = self.hooks
        each = self.validation is not None or self.metrics.training.others
        return bool(each or hooks.steps or hooks.epoch_begin or hooks.epoch_end)

    def call_epoch_begin(self) -> None:
        """Call the callbacks that run before an epoch, if one begins now."""
        if self.hooks.epoch_begin and self.epoch_begun < self.training.epochs:
            self.epoch_begun = self.training.epochs
            self.show_steps()
            for callback in self.hooks.epoch_begin:
                callback(self.owner, self.history)

    @ignore_float_errors
    def rates(self, schedule: Schedule, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the learning rates of at most `count` next steps, and their momenta or None."""
        slot, training = self.network.built.slot, self.training
        if isinstance(schedule, ReduceOnPlateau):
            self.metrics.check_monitor(self.optimizer)  # a callback may have set it
            slot.plateau = schedule.begun(slot.plateau)
            return np.full(min(count, BLOCK), slot.plateau["rate"]), None
        assert isinstance(schedule, TimedSchedule)
        assert isinstance(training, Training)
        first, per_epoch = slot.steps, self.visits.per_epoch
        if schedule.by == "epoch":
            first = self.epochs_before * per_epoch + training.first + training.step
            if isinstance(training, FedTraining):  # whose epochs may differ in length
                first, per_epoch = self.epochs_before + training.epochs, 1
        return schedule.following(first, first + count, per_epoch)

    @property
    def schedule(self) -> Any:
        """The learning rate or its schedule; None for L-BFGS."""
        return None if isinstance(self.optimizer, LBFGS) else self.optimizer.learning_rate

    # ---- what is recorded

    def record(self) -> bool:
        """Call the callbacks that are due, and add to the history; return whether an epoch was added."""
        training, begun = self.training, self.recorded
        if self.hooks.steps and training.step > len(self.history.step_loss):
            self.show_steps()
            for callback in self.hooks.steps:
                callback(self.owner, self.history)
        self.add_completed()
        if self.recorded == begun:
            return False
        if self.hooks.epoch_end:
            self.call_epoch_end()
        return True

    def add_completed(self) -> None:
        """Add to the history the epochs that are completed and, if training ends in the middle of one, that one."""
        epochs, recorded = self.training.epochs, self.recorded
        if epochs > recorded:
            self.record_epochs(recorded, epochs)
        if self.training.within_epoch and not self.goes_on and self.recorded == epochs:
            self.record_epochs(epochs, epochs, current=True)

    def show_steps(self) -> None:
        """Let callbacks see the steps so far."""
        training = self.training
        self.history.step_loss = read_only(training.step_loss[: training.step])
        self.history.learning_rate = read_only(training.rates[: training.step])

    def record_epochs(self, first: int, last: int, *, current: bool = False) -> None:
        """Add epochs `first` up to `last` to the history, or the current one, with the results of validation."""
        values = self.training.averages(first, last, self.per_row, current)
        if self.validation is not None or self.metrics.training.others:  # then it is one epoch at a time
            values = [self.with_computed(values[0], current=current)]
        add_epochs(self.history, values)
        if not current:
            self.look_for_plateau(self.names, values)
        if not self.diverged:
            self.look_for_divergence(first, values)

    def with_computed(self, values: tuple[float, ...], *, current: bool) -> tuple[float, ...]:
        """Add metrics that are computed for whole epochs, and the results of validation."""
        training = self.metrics.training
        found = dict(zip(("loss", *training.scored), values, strict=True))
        if training.others:
            found |= self.network.computed(training, *self.training.seen(current))
        if self.validation is not None:
            found |= self.validated()
        return tuple(found[name] for name in self.history)

    def validated(self) -> dict[str, float]:
        """Return the results on the validation data."""
        assert self.validation is not None and self.metrics.validation is not None
        found = self.network.evaluate(*self.validation, self.metrics.validation, self.validation_rows)
        return {f"val_{name}": value for name, value in found.items()}

    def call_epoch_end(self) -> None:
        """Call the callbacks that are due after this epoch; the others wait, in case it is the last one."""
        self.show_steps()
        recorded, waiting = self.recorded, []
        for every, callback in self.hooks.epoch_end:
            if recorded % every:
                waiting.append(callback)
            else:
                callback(self.owner, self.history)
        self.waiting = waiting

    def look_for_plateau(self, names: tuple[str, ...], values: list[tuple[float, ...]]) -> None:
        """Reduce the learning rate of `ReduceOnPlateau` if the values of an epoch, with these names, are no better."""
        schedule, slot = self.schedule, self.network.built.slot
        if isinstance(schedule, ReduceOnPlateau) and schedule.monitor in names:
            higher_is_better = self.metrics.directions[schedule.monitor] == "higher"
            column = names.index(schedule.monitor)
            for row in values:
                slot.plateau = schedule.after(schedule.begun(slot.plateau), row[column], higher_is_better)

    def look_for_divergence(self, epoch: int, values: list[tuple[float, ...]]) -> None:
        """Warn about the first loss that is not finite."""
        training = self.training
        for row in values:
            if not isfinite(row[0]):
                begin = max(epoch * self.visits.per_epoch - training.first, 0)
                losses = training.step_loss[begin : training.step]
                step = begin + int(np.isfinite(losses).argmin())
                self.warn_of_divergence(epoch, step, f"loss is {losses[step - begin]}")
                return
            if self.validation is not None and not isfinite(row[self.val_loss]):
                self.warn_of_divergence(epoch, training.step - 1, f"val_loss is {row[self.val_loss]}")
                return
            epoch += 1

    def look_at_parameters(self) -> None:
        """Warn if the last step has made the parameters infinite or NaN, which the losses do not show."""
        training = self.training
        if training.step and not self.diverged and not all_finite(self.network.built.parameters):
            epoch = training.epochs - (not training.within_epoch)
            self.warn_of_divergence(epoch, training.step - 1, "parameters are infinite or NaN after it")

    def warn_of_divergence(self, epoch: int, step: int, what: str) -> None:
        """Warn of what a step of an epoch, both counted from 0, has led to."""
        self.diverged = True
        rate = self.training.rates[step] if len(self.training.rates) else None
        warn(self.name + divergence(f"{what} in epoch {epoch + 1}, step {step + 1}", rate))


def divergence(what: str, rate: float | None) -> str:
    """Return a message that training has diverged, and what to do."""
    at = "" if rate is None else f", at learning rate {rate:.3g}"
    return f"{DIVERGED}: {what}{at}. Use a smaller learning rate, and scale x and y to about 1"
