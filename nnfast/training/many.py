"""The training of many networks at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._progress import share_of_work
from nnfast._threads import allowed_threads
from nnfast._validation import as_tuple, describe, to_array
from nnfast.engine.program import Guards, Training, run_many
from nnfast.optimizers import LBFGS, resolve_optimizer
from nnfast.training.arguments import FitArguments
from nnfast.training.data import Given
from nnfast.training.history import History
from nnfast.training.loop import SLICE, Run, build, steps_of

# Networks that have memory for training at the same time, for each thread. If a call of the engine ends sooner than
# SHORT, starting its threads costs too much: then it gets more networks, up to ROW_NUMBERS in all of them.
WINDOW = 16
SHORT = 0.05  # seconds
# If the time is limited, each network has so many turns, unless they would be shorter than LEAST.
TURNS = 4
LEAST = 0.001  # seconds
ROW_NUMBERS = 2**23  # of all these networks: 64 MB


# ---- arguments


def arguments_of_many(
    networks: Sequence[Network],
    given: Given,
    *,
    rows: Any,
    validation_rows: Any,
    each: dict[str, Any],
    shared: dict[str, Any],
) -> list[FitArguments]:
    """Return the arguments of `fit` for each network, all of them checked before anything changes.

    Parameters
    ----------
    networks : sequence of Network
        To train.
    given : Given
        The data.
    rows, validation_rows : sequence of array_like, or None
        As for `fit_many`.
    each : dict
        Arguments of `FitArguments`: one for all networks, or a list or tuple with one for each.
    shared : dict
        Arguments of `FitArguments` that are the same for all networks.

    Raises
    ------
    TypeError, ValueError, MemoryError
        If an argument does not fit; the message says for which network.
    """
    if validation_rows is not None and given.validation_data is not None:
        raise ValueError("give validation_data or validation_rows, not both")
    count = len(networks)
    train = _checked_rows("rows", rows, count, given)
    validate = _checked_rows("validation_rows", validation_rows, count, given)
    options = {name: _for_each(name, value, count) for name, value in each.items()}
    found = []
    for i, network in enumerate(networks):
        try:
            own = {name: values[i] for name, values in options.items()}
            found.append(FitArguments(network, given, rows=train[i], validation_rows=validate[i], **own, **shared))
        except (TypeError, ValueError, MemoryError) as error:
            raise named(i, error) from None
    return found


def named(i: int, error: Exception) -> Exception:
    """Return an error of the same kind whose message begins with the network it is about."""
    kind = next(kind for kind in (TypeError, ValueError, MemoryError, RuntimeError) if isinstance(error, kind))
    return kind(f"networks[{i}]: {error}")


def _for_each(name: str, value: Any, count: int) -> list[Any]:
    """Return an option of each network."""
    several = isinstance(value, (list, tuple))
    if several and name == "sample_weight":  # the weights themselves may be a list
        several = any(entry is None or np.ndim(entry) for entry in value[:1])
    if several and len(value) != count:
        raise ValueError(f"{name} must be one for all networks or a list of {count}, one for each, got {len(value)}")
    values = list(value) if several else [value] * count
    return _optimizers(values) if name == "optimizer" else values


def _optimizers(values: list[Any]) -> list[Any]:
    """Return optimizers, of which several networks may share one: what it remembers is kept with the network."""
    made: dict[int, Any] = {}
    for i, value in enumerate(values):
        if id(value) in made:
            continue
        try:
            made[id(value)] = resolve_optimizer(value)
        except (TypeError, ValueError) as error:
            raise named(i, error) from None
        if isinstance(made[id(value)], LBFGS):
            raise ValueError(
                f"networks[{i}]: fit_many trains on mini-batches, but LBFGS on all data at once: use net.fit"
            )
    return [made[id(value)] for value in values]


def _checked_rows(name: str, rows: Any, count: int, given: Given) -> list[np.ndarray | None]:
    """Return the row numbers of each network, or None for all rows; networks that share an array share its copy."""
    if rows is None:
        return [None] * count
    arrays = as_tuple(name, rows, "index arrays")
    if len(arrays) != count:
        raise ValueError(
            f"{name} must have one index array (or None) for each of the {count} networks, got {len(arrays)}"
        )
    n = given.n
    copies: dict[int, np.ndarray | None] = {id(None): None}
    for i, array in enumerate(arrays):
        if id(array) not in copies:
            copies[id(array)] = _row_numbers(f"{name}[{i}]", array, n)
    return [copies[id(array)] for array in arrays]


def _row_numbers(name: str, value: Any, n: int) -> np.ndarray:
    """Return a copy of an index array, or the rows that a boolean mask selects."""
    array = to_array(name, value)
    if array.dtype.kind == "b" and array.shape == (n,):
        array = np.flatnonzero(array)
    if array.ndim == 1 and not array.size:
        raise ValueError(f"{name} must have at least one row, got none")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(
            f"{name} must hold row numbers (integers of shape (m,), or booleans of shape ({n},)), got {describe(value)}"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n:
        raise ValueError(f"{name} must hold row numbers from 0 to {n - 1}, got {low if low < 0 else high}")
    return array.astype(np.int64)


# ---- the run


def fit_many(arguments: Sequence[FitArguments], owners: Sequence[Any]) -> list[History]:
    """Train networks; callbacks of each are called with its owner."""
    with Guards(own.network.guard for own in arguments):
        many = _Many(arguments, owners)
        try:
            many.build()
            many.go()
        except BaseException:
            many.close()
            raise
    return many.histories


class _Many:
    """One call of `fit_many`.

    The engine runs steps of many networks at the same time; between its calls, this thread records what they have done.
    Networks begin in order. Those that have not begun need no memory besides their parameters.

    If the time is limited, the networks that have begun advance evenly: those that have done the smallest part of their
    epochs have the next turn.
    """

    def __init__(self, arguments: Sequence[FitArguments], owners: Sequence[Any]) -> None:
        self.arguments, self.owners = arguments, owners
        self.histories: list[History] = []
        self.threads, self.fixed = allowed_threads()
        self.window = WINDOW * self.threads
        self.largest_window = max(self.window, ROW_NUMBERS // max(own.visits.n for own in arguments))
        self.begun = 0
        self.running: list[tuple[Run, Training]] = []
        self.steps_of_ended = 0
        self.max_seconds = arguments[0].max_seconds  # for all networks
        self.ends = float("inf")  # when the time is up
        self.turn = SLICE
        if self.max_seconds is not None:
            self.turn = min(max(self.max_seconds * self.threads / (TURNS * len(arguments)), LEAST), SLICE)
        self.unbuilt = [own.network.input_shape is None for own in arguments]

    def build(self) -> None:
        """Build all networks."""
        for i, own in enumerate(self.arguments):
            try:
                build(own)
            except (TypeError, ValueError, MemoryError, RuntimeError) as error:
                raise named(i, error) from None
        for own in self.arguments:
            own.network.stopping = False

    def go(self) -> None:
        total = sum(own.visits.total or 0 for own in self.arguments)
        if self.max_seconds is not None:
            self.ends = perf_counter() + self.max_seconds
        with share_of_work(f"{len(self.arguments)} networks", self.arguments[0].verbose) as show:
            while self.begin() or self.running:
                self.run()
                show((self.steps_of_ended + sum(training.step for _, training in self.running)) / total)
        self.histories += [own.new_history() for own in self.arguments[self.begun :]]
        self.leave_waiting()

    @property
    def waiting(self) -> bool:
        """Whether networks wait to begin; the first begins even if the time is up."""
        return self.begun < len(self.arguments) and (not self.begun or perf_counter() < self.ends)

    def begin(self) -> bool:
        """Begin to train more networks, as far as there is room; return whether some still wait."""
        while self.waiting and len(self.running) < self.window:
            i, own = self.begun, self.arguments[self.begun]
            in_python = own.network.output_loss.in_python
            threads, fixed = (self.threads, self.fixed) if in_python else (1, True)
            training = steps_of(own, threads, fixed=fixed)
            run = Run(own, self.owners[i], training, f"networks[{i}]: ")
            run.begin(self.ends)
            self.begun += 1
            self.histories.append(run.history)
            self.running.append((run, training))
        return self.waiting

    def run(self) -> None:
        """Run steps of the networks that have begun, and record them."""
        going = [(run, training) for run, training in self.running if run.goes_on]
        if self.max_seconds is not None:
            going.sort(key=lambda pair: pair[1].step / pair[0].per_epoch)
        for run, training in going:  # only this thread may call a loss in Python
            if run.network.output_loss.in_python and run.goes_on:
                training.run(*run.next_slice(training), min(self.turn, run.seconds))
        going = [(run, training) for run, training in going if not run.network.output_loss.in_python]
        if going:
            slices = [(training, *run.next_slice(training)) for run, training in going]
            begin = perf_counter()
            # after that each network that has not done a step does one, however long it takes
            seconds = min(self.turn, self.ends - begin) if begin < self.ends else SLICE
            run_many(slices, self.threads, self.fixed, self.waiting, seconds)
            if perf_counter() - begin < SHORT * seconds / SLICE:
                self.window = min(2 * self.window, self.largest_window)
        ended = set()  # asked once: another thread may call `stop` at any time
        for run, training in self.running:
            run.record()
            if not run.goes_on:
                run.complete()
                run.close()
                self.steps_of_ended += training.step
                ended.add(id(run))
        self.running = [(run, training) for run, training in self.running if id(run) not in ended]

    def close(self) -> None:
        """After an error, store what is known of the networks that have begun."""
        for run, _ in self.running:
            with suppress(Exception):  # such as a warning about this network: it would hide the error
                run.close()
        self.leave_waiting()

    def leave_waiting(self) -> None:
        """Leave the networks that have not begun as they were."""
        for own, unbuilt in list(zip(self.arguments, self.unbuilt, strict=True))[self.begun :]:
            if unbuilt and own.network.input_shape is not None:
                own.network.unbuild()
