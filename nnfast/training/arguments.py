"""The arguments of `Sequential.fit`, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._validation import (
    as_array,
    as_tuple,
    as_weights,
    check_bool,
    check_int,
    check_verbose,
    choose,
    describe,
    read_once,
    shown,
    warn_of_lost_digits,
)
from nnfast.metrics import Metric
from nnfast.optimizers import LBFGS, resolve_optimizer
from nnfast.training.history import History
from nnfast.training.recorded import RecordedMetrics

MAX_STEPS = 2**40
GRADIENTS = ("backpropagation", "numerical")
LBFGS_EPOCHS = 200  # default maximum number of iterations


class Data(NamedTuple):
    """Samples and targets in the engine's format.

    Targets and weights are copies, which callbacks and threads cannot change, except for targets that share their
    memory with the samples.
    """

    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def checked(cls, network: Network, x: Any, y: Any, sample_weight: Any, shape: tuple[int, ...]) -> Data:
        """Return the data of a fit; TypeError or ValueError if they do not fit the network."""
        rows, targets = network.data(x, y, shape, finite=True)
        weights = as_weights(sample_weight, len(rows))
        if not np.may_share_memory(targets, rows):
            targets = targets.copy()
        return cls(rows, targets, None if weights is None else weights.copy())


class FitArguments:
    """The arguments of `Sequential.fit`, all of them checked before anything changes.

    Parameters
    ----------
    network : Network
        Left unchanged, and not built, here.
    x, y, **options
        As for `Sequential.fit`, with the same errors and warnings.

    Attributes
    ----------
    network, optimizer, gradient, shuffle, verbose, callbacks
        As given; the optimizer is an Optimizer, the callbacks are a tuple.
    shape : tuple of int
        The shape of a sample.
    data : Data
        For training.
    validation : Data or None
        For validation.
    batch : int
        Number of samples in a mini-batch; the last one of an epoch may be smaller.
    per_epoch, total : int
        Number of steps in an epoch, and in the whole fit.
    metrics : RecordedMetrics
        The metrics recorded for both.
    """

    def __init__(
        self,
        network: Network,
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
    ) -> None:
        self.network = network
        self.optimizer = resolve_optimizer(optimizer)
        whole = isinstance(self.optimizer, LBFGS)
        if whole:
            _check_default_batches(steps, batch_size, shuffle)
        else:
            self.optimizer.values(network.dtype)
        self.gradient = choose("gradient", gradient, GRADIENTS)
        count = _epochs_or_steps(epochs, steps, LBFGS_EPOCHS if whole else 1)
        batch_size = check_int("batch_size", batch_size, 1)
        self.shuffle = check_bool("shuffle", shuffle)
        self.verbose = check_verbose(verbose)
        self.callbacks = _checked_callbacks(callbacks)
        x, y = read_once("x", x), read_once("y", y)
        self.shape = network.input_shape or _shape_of_samples(x)
        self.data = Data.checked(network, x, y, sample_weight, self.shape)
        self.validation = _validation(network, validation_data, self.shape)
        n, targets = len(self.data.rows), self.data.targets
        warn_of_lost_digits(x, y, targets, network.dtype)
        self.batch = n if whole else min(batch_size, n)
        self.per_epoch = ceil(n / self.batch)
        self.total = count if steps is not None else count * self.per_epoch
        network.check_trainable()
        _check_batches(network, n, self.batch, whole_epoch=self.total >= self.per_epoch)
        if self.total > MAX_STEPS:
            raise MemoryError(f"no memory for the losses of {self.total} steps: at most {MAX_STEPS}")
        validation_targets = None if self.validation is None else self.validation.targets
        self.metrics = RecordedMetrics.chosen(metrics, network.output_loss, targets, validation_targets)
        self.metrics.check_monitor(self.optimizer)
        network.warn_of_zero_gradients()
        network.warn_of_one_hot(targets, self.metrics.training)


def _check_default_batches(steps: Any, batch_size: Any, shuffle: Any) -> None:
    """Raise ValueError unless the arguments that do not apply to L-BFGS have their default values."""
    for name, value, default in (("steps", steps, None), ("batch_size", batch_size, 32), ("shuffle", shuffle, True)):
        if value is not default and not (isinstance(value, (int, np.integer)) and value == default):
            raise ValueError(
                f"{name} must be left out with LBFGS, which uses the whole data at once and counts its iterations as "
                f"epochs; got {describe(value)}"
            )


def _epochs_or_steps(epochs: Any, steps: Any, default: int) -> int:
    """Return the one that is given, or the default number of epochs; ValueError if both are."""
    if steps is None:
        return check_int("epochs", default if epochs is None else epochs, 1)
    if epochs is not None:
        raise ValueError(f"give epochs or steps, not both: got epochs={shown(epochs)} and steps={shown(steps)}")
    return check_int("steps", steps, 1)


def _checked_callbacks(callbacks: Any) -> tuple[Callable[[Any, History], Any], ...]:
    callbacks = as_tuple("callbacks", callbacks, "callables")
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be callable, got {describe(callback)}")
    return callbacks


def _shape_of_samples(x: Any) -> tuple[int, ...]:
    array = as_array("x", x)
    if array.ndim < 2 or 0 in array.shape[1:]:
        raise ValueError(f"x must have shape (n, features), got {array.shape}")
    return array.shape[1:]


def _validation(network: Network, data: Any, shape: tuple[int, ...]) -> Data | None:
    if data is None:
        return None
    if not (isinstance(data, (tuple, list)) and len(data) in (2, 3)):
        raise TypeError(f"validation_data must be (x, y) or (x, y, sample_weight), got {describe(data)}")
    try:
        return Data.checked(network, data[0], data[1], data[2] if len(data) == 3 else None, shape)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None


def _check_batches(network: Network, n: int, batch: int, *, whole_epoch: bool) -> None:
    """Raise ValueError if a batch norm would get a mini-batch of one row; suggest a batch size that avoids it."""
    single_at_end = n % batch == 1 and whole_epoch
    if batch > 1 and not single_at_end:
        return
    remedy = f": use batch_size={_without_single_row(n, batch)}" if n > 1 else ": give it more rows"
    network.check_batch(batch, remedy)
    if single_at_end:
        network.check_batch(1, f" in the last of each epoch, of {n} rows in mini-batches of {batch}{remedy}")


def _without_single_row(n: int, batch: int) -> int:
    """Return the batch size nearest to `batch` that splits `n` rows without a mini-batch of one row."""
    for distance in range(1, n):
        for size in (batch - distance, batch + distance):
            if 2 <= size <= n and n % size != 1:
                return size
    return n
