"""The run of a training: epochs, validation, callbacks, the progress bar."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._progress import Progress, progress_of
from nnfast._threads import allowed_threads
from nnfast._validation import ignore_float_errors, warn
from nnfast.engine.program import Training
from nnfast.gradients.network import NumericalTraining
from nnfast.kernels.arrays import all_finite
from nnfast.optimizers import LBFGS, Hyperparameters
from nnfast.schedules import BLOCK, ReduceOnPlateau, Schedule, TimedSchedule
from nnfast.training.arguments import FitArguments
from nnfast.training.history import History, add_epochs, epochs_of
from nnfast.training.lbfgs import Minimization

if TYPE_CHECKING:
    from numpy.random import BitGenerator

DIVERGED = "the training diverged"


def fit(arguments: FitArguments, owner: Any) -> History:
    """Build the network if necessary, and train it; callbacks are called with `owner`."""
    network = arguments.network
    history = History(arguments.per_epoch)  # allocates: all allocations precede any change
    with network.guard:
        unbuilt = build(arguments)  # only after all arguments have been checked
        try:
            run = Run(arguments, owner, _training(arguments), history)
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
    network, optimizer, total = arguments.network, arguments.optimizer, arguments.total
    data, scorings = arguments.data, arguments.metrics.training.scorings
    if isinstance(optimizer, LBFGS):
        return Minimization(network, *data, total, arguments.gradient, scorings)
    if arguments.gradient == "numerical":
        values, bits = optimizer.values(network.dtype), shuffler(arguments)
        return NumericalTraining(network, *data, arguments.batch, total, values, bits, scorings)
    threads, fixed = allowed_threads()
    return steps_of(arguments, threads, fixed)


def steps_of(arguments: FitArguments, threads: int, fixed: bool) -> Training:
    """Return a run of mini-batch steps by backpropagation."""
    network = arguments.network
    return Training(
        network.built, *arguments.data, arguments.batch, arguments.total, arguments.optimizer.values(network.dtype),
        shuffler(arguments), arguments.metrics.training.scorings, threads, fixed, arguments.rows,
    )  # fmt: skip


def shuffler(arguments: FitArguments) -> BitGenerator | None:
    """Return what shuffles the rows before each epoch; None if they keep their order."""
    return arguments.network.shuffle_stream.bit_generator if arguments.shuffle else None


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
    history : History
        The record.
    name : str
        What warnings begin with; empty for a single network.
    """

    def __init__(
        self,
        arguments: FitArguments,
        owner: Any,
        training: Training | Minimization,
        history: History,
        name: str = "",
    ) -> None:
        self.network, self.owner, self.training, self.history = arguments.network, owner, training, history
        self.optimizer, self.metrics, self.callbacks = arguments.optimizer, arguments.metrics, arguments.callbacks
        self.n, self.batch, self.name = arguments.n, arguments.batch, name
        self.per_epoch, self.total = arguments.per_epoch, arguments.total
        self.validation, self.validation_rows = arguments.validation, arguments.validation_rows
        self.epochs = epochs_of(history)
        self.epochs_before = self.network.built.slot.epochs
        self.diverged = False

    @property
    def recorded(self) -> int:
        """Number of epochs in the history, the only count: Ctrl-C may come between any two lines."""
        return len(self.epochs)

    def begin(self) -> None:
        """Make the record that of the network."""
        self.network.history = self.history

    def go(self, verbose: int) -> History:
        """Train, and return the record."""
        self.begin()
        self.network.stopping = False
        with progress_of(self.total, self.per_epoch, verbose) as progress:
            self.run_epochs(progress)
        return self.history

    def run_epochs(self, progress: Progress) -> None:
        """Run the epochs; those that need nothing from Python run back to back, in slices of time."""

        def after(done: int) -> bool:
            if self.record(done):
                progress.epoch(self.recorded, self.history)
            progress.step(done)
            return self.goes_on

        try:
            if isinstance(self.training, Minimization):
                self.minimize(self.training, after)
            else:
                while after(self.training.run(*self.next_slice(self.training))):
                    pass
            self.complete()
        finally:
            self.close()

    @property
    def goes_on(self) -> bool:
        """Whether there are more steps to do."""
        return self.training.step < self.total and not self.network.stopping

    def complete(self) -> None:
        """Record the end of the training."""
        self.record(self.training.step)  # `stop` may have been called since the last record
        self.look_at_parameters()

    def close(self) -> None:
        """Store in the history what is known, also after Ctrl-C or an error."""
        self.history.step_loss = self.training.step_loss[: self.training.step].copy()
        self.history.learning_rate = self.training.rates[: self.training.step].copy()
        if isinstance(self.training, Training):
            self.history.threads = self.training.threads
        if not self.needs_python:  # Ctrl-C may have come between steps and their record
            self.record(self.training.step)

    def minimize(self, training: Minimization, after: Callable[[int], bool]) -> None:
        """Run L-BFGS; warn if it ends too early, except because of `stop`."""
        assert isinstance(self.optimizer, LBFGS)
        self.history.converged = False
        why = training.run(self.optimizer, after)
        self.history.converged = not why
        if why and not self.network.stopping:
            warn(why)

    @property
    def needs_python(self) -> bool:
        """Whether validation or callbacks run after each epoch; they do not run after Ctrl-C."""
        return self.validation is not None or bool(self.callbacks)

    @ignore_float_errors
    def next_slice(self, training: Training) -> tuple[int, Hyperparameters, bool]:
        """Return until which step to run next, the optimizer, and whether the rates of these steps are scheduled."""
        schedule, values, done = self.optimizer.learning_rate, self.optimizer.values(self.network.dtype), training.step
        by_epoch = self.needs_python or isinstance(schedule, ReduceOnPlateau)
        until = min(self.total, (self.recorded + 1) * self.per_epoch) if by_epoch else self.total
        if not isinstance(schedule, Schedule):
            return until, values, False
        rates, momenta = self.rates(schedule, until - done)
        training.schedule(rates, momenta)
        return done + len(rates), values, True

    def rates(self, schedule: Schedule, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the learning rates of at most `count` next steps, and their momenta or None."""
        slot = self.network.built.slot
        if isinstance(schedule, ReduceOnPlateau):
            self.metrics.check_monitor(self.optimizer)  # a callback may have set it
            slot.plateau = schedule.begun(slot.plateau)
            return np.full(min(count, BLOCK), slot.plateau["rate"]), None
        assert isinstance(schedule, TimedSchedule)
        first = slot.steps
        if schedule.by == "epoch":  # epochs start anew with each fit, even after an incomplete one
            first = self.epochs_before * self.per_epoch + self.training.step
        return schedule.following(first, first + count, self.per_epoch)

    def count_epochs(self) -> None:
        """Store in the optimizer's slot how many epochs a schedule by epoch has seen."""
        schedule = getattr(self.optimizer, "learning_rate", None)
        if isinstance(schedule, TimedSchedule) and schedule.by == "epoch":
            self.network.built.slot.epochs = self.epochs_before + self.recorded

    def look_for_plateau(self, values: dict[str, list[float]]) -> None:
        """Reduce the learning rate of `ReduceOnPlateau` if the values of an epoch have not improved."""
        schedule, slot = getattr(self.optimizer, "learning_rate", None), self.network.built.slot
        if isinstance(schedule, ReduceOnPlateau):
            higher_is_better = self.metrics.directions[schedule.monitor] == "higher"
            for value in values[schedule.monitor]:
                slot.plateau = schedule.after(schedule.begun(slot.plateau), value, higher_is_better)

    def record(self, done: int) -> bool:
        """Add to the history the epochs that `done` steps have completed; return whether there were any.

        If the last step, or the last before `stop`, falls in the middle of an epoch, that epoch is added as well.
        """
        epochs, begun = done // self.per_epoch, self.recorded
        if epochs > begun:
            self.record_epochs(begun * self.per_epoch, epochs * self.per_epoch, self.per_epoch)
        ended = done == self.total or self.network.stopping
        if ended and done % self.per_epoch and self.recorded == epochs:
            self.record_epochs(epochs * self.per_epoch, done, done % self.per_epoch)
        return self.recorded > begun

    def sizes(self, steps: slice, per_epoch: int) -> np.ndarray:
        """Return the weights of mini-batches, one epoch per row: the sums of their sample weights, or their sizes."""
        if self.training.step_weight is not None:
            return self.training.step_weight[steps].reshape(-1, per_epoch)
        sizes = np.full((1, self.per_epoch), self.batch)
        sizes[0, -1] = self.n - (self.per_epoch - 1) * self.batch
        return sizes[:, :per_epoch]

    def record_epochs(self, first: int, last: int, per_epoch: int) -> None:
        """Add the epochs of steps `first` up to `last` to the history; validate, and call the callbacks."""
        steps = slice(first, last)
        values = self.averages(steps, per_epoch)
        if self.validation is not None and self.metrics.validation is not None:  # then it is one epoch at a time
            found = self.network.evaluate(*self.validation, self.metrics.validation, self.validation_rows)
            values |= {f"val_{name}": [value] for name, value in found.items()}
        add_epochs(self.history, values)
        self.count_epochs()
        self.look_for_plateau(values)
        self.look_for_divergence(steps, values)
        if self.callbacks:
            self.history.step_loss = _read_only(self.training.step_loss[: self.training.step])
            self.history.learning_rate = _read_only(self.training.rates[: self.training.step])
        for callback in self.callbacks:
            callback(self.owner, self.history)

    @ignore_float_errors
    def averages(self, steps: slice, per_epoch: int) -> dict[str, list[float]]:
        """Return loss and metrics of each epoch, which are not finite if the training has diverged."""
        sizes = self.sizes(steps, per_epoch)
        seen = sizes.sum(axis=1)
        seen[seen == 0] = 1  # an epoch cut off by `stop` may have no weight: its losses are zero
        # not a matrix product, whose bits depend on the memory addresses of its operands
        losses = (self.training.step_loss[steps].reshape(-1, per_epoch) * sizes).sum(axis=1) / seen
        scores = self.training.step_scores[steps]
        totals = scores.reshape(len(losses), per_epoch, scores.shape[1]).sum(axis=1)
        metrics = self.metrics.training.averages(totals, seen)
        return {"loss": losses.tolist()} | {name: mean.tolist() for name, mean in metrics.items()}

    def look_for_divergence(self, steps: slice, values: dict[str, list[float]]) -> None:
        """Warn about the first loss that is not finite."""
        for name in ("loss", "val_loss"):
            if name in values and not all(map(isfinite, values[name])) and not self.diverged:
                finite = np.isfinite(self.training.step_loss[steps])
                step = steps.start + int(finite.argmin()) if name == "loss" and not finite.all() else steps.stop - 1
                loss = self.training.step_loss[step] if name == "loss" else values[name][-1]
                self.warn_of_divergence(step, f"{name} is {loss}")

    def look_at_parameters(self) -> None:
        """Warn if the last step has made the parameters infinite or NaN, which the losses do not show."""
        step = self.training.step
        if step and not self.diverged and not all_finite(self.network.built.parameters):
            self.warn_of_divergence(step - 1, "parameters are infinite or NaN after it")

    def warn_of_divergence(self, step: int, what: str) -> None:
        """Warn of what a step, counted from 0, has led to."""
        self.diverged = True
        rate = self.training.rates[step] if len(self.training.rates) else None
        warn(self.name + divergence(f"{what} in epoch {step // self.per_epoch + 1}, step {step + 1}", rate))


def divergence(what: str, rate: float | None) -> str:
    """Return a message that training has diverged, and what to do."""
    at = "" if rate is None else f", at learning rate {rate:.3g}"
    return f"{DIVERGED}: {what}{at}. Use a smaller learning rate, and scale x and y to about 1"


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
