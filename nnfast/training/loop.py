"""Training on mini-batches: epochs, validation, history, the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, isfinite
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._progress import Progress, progress_of
from nnfast._threads import get_num_threads
from nnfast._validation import (
    as_array,
    as_tuple,
    as_weights,
    check_bool,
    check_int,
    check_verbose,
    choose,
    describe,
    ignore_float_errors,
    read_once,
    shown,
    warn,
    warn_of_lost_digits,
)
from nnfast.engine.program import Training
from nnfast.gradients.network import NumericalTraining
from nnfast.kernels.arrays import all_finite
from nnfast.metrics import Metric, MetricSet
from nnfast.optimizers import LBFGS, Optimizer, resolve_optimizer
from nnfast.schedules import BLOCK, ReduceOnPlateau, Schedule, TimedSchedule
from nnfast.training.lbfgs import Minimization

MAX_STEPS = 2**40
GRADIENTS = ("backpropagation", "numerical")
DIVERGED = "the training diverged"
LBFGS_EPOCHS = 200  # default maximum number of iterations


class History(Mapping[str, list[float]]):
    """Record of the training of a network.

    A mapping from ``"loss"`` and the names of the metrics, such as ``"accuracy"``, and the same with ``val_`` for the
    validation data, to one value per epoch. The loss and the metrics on the training data are averages over the epoch's
    mini-batches, each before its update.

    Attributes
    ----------
    step_loss : ndarray of float64
        The loss of each mini-batch.
    learning_rate : ndarray of float64
        The learning rate of each mini-batch; empty for L-BFGS, which does not have one.
    steps_per_epoch : int
        Number of mini-batches per epoch.
    converged : bool or None
        For L-BFGS, whether the loss converged; False if the last epoch or `Sequential.stop` came first. None for other
        optimizers.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.step_loss = np.empty(0)
        self.learning_rate = np.empty(0)
        self.converged: bool | None = None
        self._names: tuple[str, ...] = ("loss",)
        self._epochs: list[tuple[float, ...]] = []  # the record, never handed out: one row per epoch
        self._lists: dict[str, list[float]] = {}  # the lists that are handed out, filled on access

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._names:
            raise KeyError(f"no {name!r} was recorded: there are {', '.join(self._names)}")
        values = self._lists.setdefault(name, [])
        known, column = len(values), self._names.index(name)
        values[known:] = [epoch[column] for epoch in self._epochs[known:]]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.items() if values)
        return f"History({len(self._epochs)} epochs, {len(self.step_loss)} steps{': ' + last if last else ''})"

    def _extend(self, values: Mapping[str, list[float]]) -> None:
        """Add the values of epochs, all or none: Ctrl-C cannot interrupt a list's `extend`."""
        self._names = tuple(values)
        self._epochs.extend(list(zip(*values.values(), strict=True)))

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss over iterations and each metric over epochs, with matplotlib.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            Where to draw, as for `plotting.plot_history`; by default in a new figure.

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
        >>> net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
        >>> history = net.fit([[0, 1], [1, 0]], [0, 1], epochs=3, verbose=0)
        >>> [ax.get_title() for ax in history.plot(Figure().subplots(1, 2))]
        ['loss over iterations', 'accuracy over epochs']
        """
        from nnfast.plotting import plot_history

        return plot_history(self, axes=axes)


def fit(
    network: Network,
    owner: Any,
    x: Any,
    y: Any,
    *,
    epochs: int | None,
    steps: int | None,
    batch_size: int,
    optimizer: Any,
    gradient: str,
    sample_weight: Any,
    validation_data: tuple[Any, ...] | None,
    metrics: Sequence[str | Metric] | None,
    shuffle: bool,
    verbose: int,
    callbacks: Sequence[Callable[[Any, History], Any]],
) -> History:
    """Implement `Sequential.fit`; callbacks are called with `owner`."""
    chosen = resolve_optimizer(optimizer)
    whole = isinstance(chosen, LBFGS)
    if whole:
        _check_default_batches(steps, batch_size, shuffle)
    else:
        chosen.values(network.dtype)
    gradient = choose("gradient", gradient, GRADIENTS)
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs or steps, not both: got epochs={shown(epochs)} and steps={shown(steps)}")
    if epochs is None:
        epochs = LBFGS_EPOCHS if whole else 1
    count = check_int("epochs", epochs, 1) if steps is None else check_int("steps", steps, 1)
    batch_size = check_int("batch_size", batch_size, 1)
    shuffle = check_bool("shuffle", shuffle)
    verbose = check_verbose(verbose)
    callbacks = as_tuple("callbacks", callbacks, "callables")
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be callable, got {describe(callback)}")
    x, y = read_once("x", x), read_once("y", y)
    shape = network.input_shape or _shape_of_samples(x)
    rows, targets, weights = _data(network, x, y, sample_weight, shape)
    validation = _validation_data(network, validation_data, shape)
    warn_of_lost_digits(x, y, targets, network.dtype)
    batch = len(rows) if whole else min(batch_size, len(rows))
    per_epoch = ceil(len(rows) / batch)
    network.check_trainable()
    _check_batches(network, len(rows), batch, whole_epoch=steps is None or count >= per_epoch)
    total = count if steps is not None else count * per_epoch
    if total > MAX_STEPS:
        raise MemoryError(f"no memory for the losses of {total} steps: at most {MAX_STEPS}")
    recorded = _Recorded.chosen(network, metrics, targets, validation)
    recorded.check_monitor(chosen)
    network.warn_of_zero_gradients()
    network.warn_of_one_hot(targets, recorded.training)
    history = History(per_epoch)  # allocates: all allocations precede any change
    with network.guard:
        unbuilt = network.input_shape is None
        if unbuilt:  # only after all arguments have been checked
            network.build(shape)
        elif network.input_shape != shape:
            raise RuntimeError(
                f"the network was built by another thread meanwhile, for input_shape {network.input_shape}"
            )
        bits = network.shuffle_stream.bit_generator if shuffle else None
        try:
            training: Training | Minimization
            if whole:
                training = Minimization(network, rows, targets, weights, total, gradient, recorded.training.scorings)
            else:
                data = rows, targets, weights, batch, total, chosen.values(network.dtype), bits
                if gradient == "numerical":
                    training = NumericalTraining(network, *data, recorded.training.scorings)
                else:
                    training = Training(network.built, *data, recorded.training.scorings, get_num_threads())
            run = _Run(
                network, owner, training, history, len(rows), batch, total, chosen, recorded, validation, callbacks
            )
        except BaseException:
            if unbuilt:
                network.unbuild()
            raise
        return run.go(verbose)


def _data(
    network: Network, x: Any, y: Any, sample_weight: Any, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows, targets and weights; targets and weights are copies, which callbacks and threads cannot change."""
    rows, targets = network.data(x, y, shape, finite=True)
    weights = as_weights(sample_weight, len(rows))
    if not np.may_share_memory(targets, rows):
        targets = targets.copy()
    return rows, targets, None if weights is None else weights.copy()


def _check_batches(network: Network, n: int, batch: int, *, whole_epoch: bool) -> None:
    """Raise ValueError if a batch norm would get a mini-batch of one row; suggest a batch size that avoids it."""
    remedy = f": use batch_size={_without_single_row(n, batch)}" if n > 1 else ": give it more rows"
    network.check_batch(batch, remedy)
    if n % batch == 1 and whole_epoch:
        network.check_batch(1, f" in the last of each epoch, of {n} rows in mini-batches of {batch}{remedy}")


def _without_single_row(n: int, batch: int) -> int:
    """Return the batch size nearest to `batch` that splits `n` rows without a mini-batch of one row."""
    for distance in range(1, n):
        for size in (batch - distance, batch + distance):
            if 2 <= size <= n and n % size != 1:
                return size
    return n


def _shape_of_samples(x: Any) -> tuple[int, ...]:
    array = as_array("x", x)
    if array.ndim < 2 or 0 in array.shape[1:]:
        raise ValueError(f"x must have shape (n, features), got {array.shape}")
    return array.shape[1:]


Validation = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _validation_data(network: Network, data: Any, shape: tuple[int, ...]) -> Validation | None:
    if data is None:
        return None
    if not (isinstance(data, (tuple, list)) and len(data) in (2, 3)):
        raise TypeError(f"validation_data must be (x, y) or (x, y, sample_weight), got {describe(data)}")
    try:
        return _data(network, data[0], data[1], data[2] if len(data) == 3 else None, shape)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None


def _check_default_batches(steps: Any, batch_size: Any, shuffle: Any) -> None:
    """Raise ValueError unless the arguments that do not apply to L-BFGS have their default values."""
    for name, value, default in (("steps", steps, None), ("batch_size", batch_size, 32), ("shuffle", shuffle, True)):
        if value is not default and not (isinstance(value, (int, np.integer)) and value == default):
            raise ValueError(
                f"{name} must be left out with LBFGS, which uses the whole data at once and counts its iterations as "
                f"epochs; got {describe(value)}"
            )


class _Recorded(NamedTuple):
    """What a fit records besides the loss.

    Attributes
    ----------
    training : MetricSet
        On the mini-batches.
    validation : MetricSet or None
        On the validation data.
    """

    training: MetricSet
    validation: MetricSet | None

    @classmethod
    def chosen(
        cls, network: Network, metrics: Sequence[str | Metric] | None, targets: np.ndarray, data: Validation | None
    ) -> _Recorded:
        """Return what is asked for, or the accuracy where it can be computed; ValueError if a metric cannot be."""
        output = network.output_loss
        training = MetricSet.chosen(metrics, output, targets)
        if data is None:
            if training.others:
                raise ValueError(
                    f"metric {training.others[0].name!r} is computed on whole data sets, not on mini-batches: "
                    "give validation_data"
                )
            return cls(training, None)
        try:
            validation = MetricSet.chosen(None if metrics is None else training.metrics, output, data[1])
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from None
        return cls(training, validation)

    @property
    def directions(self) -> dict[str, str]:
        """Which values are better, "higher" or "lower", of all entries of the history."""
        on_training = [metric for metric in self.training.metrics if metric not in self.training.others]
        entries = {"loss": "lower"} | {metric.name: metric.direction for metric in on_training}
        if self.validation is not None:
            entries |= {"val_loss": "lower"}
            entries |= {f"val_{metric.name}": metric.direction for metric in self.validation.metrics}
        return entries

    def check_monitor(self, optimizer: Optimizer) -> None:
        """Raise ValueError if a schedule monitors a value that is not recorded."""
        schedule = getattr(optimizer, "learning_rate", None)
        if isinstance(schedule, ReduceOnPlateau) and schedule.monitor not in self.directions:
            raise ValueError(
                f"monitor must be among what this fit records, {', '.join(self.directions)}, got {schedule.monitor!r}: "
                "validation_data adds val_loss, and metrics=[...] adds metrics"
            )


class _Run:
    """One call of `fit`, which runs the engine slice by slice."""

    def __init__(
        self,
        network: Network,
        owner: Any,
        training: Training | Minimization,
        history: History,
        n: int,
        batch: int,
        total: int,
        optimizer: Optimizer,
        recorded: _Recorded,
        validation: Validation | None,
        callbacks: Sequence[Callable[[Any, History], Any]],
    ) -> None:
        self.network, self.owner, self.training, self.optimizer = network, owner, training, optimizer
        self.n, self.batch, self.per_epoch, self.total = n, batch, history.steps_per_epoch, total
        self.metrics, self.validation, self.callbacks = recorded, validation, callbacks
        self.history = history
        self.epochs_before = network.built.slot.epochs
        self.diverged = False

    @property
    def recorded(self) -> int:
        """Number of epochs in the history, the only count: Ctrl-C may come between any two lines."""
        return len(self.history._epochs)

    def go(self, verbose: int) -> History:
        self.network.history = self.history
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
            return done < self.total and not self.network.stopping

        try:
            if isinstance(self.training, Minimization):
                self.minimize(self.training, after)
            else:
                while after(self.run_slice(self.training)):
                    pass
            self.record(self.training.step)  # `stop` may have been called since the last record
            self.look_at_parameters()
        finally:
            self.history.step_loss = self.training.step_loss[: self.training.step].copy()
            self.history.learning_rate = self.training.rates[: self.training.step].copy()
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
    def run_slice(self, training: Training) -> int:
        """Train for a tenth of a second, or until Python is needed; return the number of steps done so far."""
        schedule, values, done = self.optimizer.learning_rate, self.optimizer.values(self.network.dtype), training.step
        by_epoch = self.needs_python or isinstance(schedule, ReduceOnPlateau)
        until = min(self.total, (self.recorded + 1) * self.per_epoch) if by_epoch else self.total
        if not isinstance(schedule, Schedule):
            return training.run(until, values)
        rates, momenta = self.rates(schedule, until - done)
        training.schedule(rates, momenta)
        return training.run(done + len(rates), values, scheduled=True)

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
        epochs = done // self.per_epoch
        begun = self.recorded
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
        if first >= last:
            return
        steps = slice(first, last)
        sizes = self.sizes(steps, per_epoch)
        seen = sizes.sum(axis=1)
        seen = np.where(seen == 0, 1, seen)  # an epoch cut off by `stop` may have no weight: its losses are zero
        # not a matrix product, whose bits depend on the memory addresses of its operands
        losses = self.training.step_loss[steps].reshape(-1, per_epoch)
        values = {"loss": _means(losses, sizes, seen)}
        metrics = self.metrics.training
        totals = self.training.step_scores[steps].reshape(len(losses), per_epoch, len(metrics.scorings)).sum(axis=1)
        values |= {name: mean.tolist() for name, mean in metrics.averages(totals, seen).items()}
        if self.validation is not None and self.metrics.validation is not None:  # then it is one epoch at a time
            found = self.network.evaluate(*self.validation, self.metrics.validation)
            values |= {f"val_{name}": [value] for name, value in found.items()}
        self.history._extend(values)
        self.count_epochs()
        self.look_for_plateau(values)
        self.look_for_divergence(steps, values)
        if self.callbacks:
            self.history.step_loss = _read_only(self.training.step_loss[: self.training.step])
            self.history.learning_rate = _read_only(self.training.rates[: self.training.step])
        for callback in self.callbacks:
            callback(self.owner, self.history)

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
        self.diverged = True
        rate = self.training.rates[step] if len(self.training.rates) else None
        warn(divergence(f"{what} in epoch {step // self.per_epoch + 1}, step {step + 1}", rate))


def divergence(what: str, rate: float | None) -> str:
    """Return a message that training has diverged, and what to do."""
    at = "" if rate is None else f", at learning rate {rate:.3g}"
    return f"{DIVERGED}: {what}{at}. Use a smaller learning rate, and scale x and y to about 1"


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@ignore_float_errors
def _means(losses: np.ndarray, sizes: np.ndarray, seen: np.ndarray) -> list[float]:
    """Return the mean loss of each epoch, which is not finite if the training has diverged."""
    return ((losses * sizes).sum(axis=1) / seen).tolist()
