"""The arguments of `Sequential.fit`, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows, Sparse, as_samples, read_samples, reshaped, share_memory
from nnfast._validation import (
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
    memory with the samples. The samples are used where they are, unless they are few.
    """

    rows: Rows
    targets: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def checked(cls, network: Network, x: Any, y: Any, sample_weight: Any, shape: tuple[int, ...]) -> Data:
        """Return the data of a fit; TypeError or ValueError if they do not fit the network."""
        rows, targets = network.data(x, y, shape, finite=True)
        weights = as_weights(sample_weight, len(rows))
        if not share_memory(rows, targets):
            targets = targets.copy()
        return cls(rows, targets, None if weights is None else weights.copy())


class Given:
    """The data that one or more networks are trained on, as given and in the engine's format, which networks share.

    Parameters
    ----------
    x, y : array_like
        Samples and targets.
    validation_data : tuple or None
        As for `Sequential.fit`.
    """

    def __init__(self, x: Any, y: Any, validation_data: Any = None) -> None:
        self.x, self.y, self.validation_data = read_samples("x", x), read_once("y", y), validation_data
        self._made: dict[Any, Any] = {}
        self._samples: dict[Any, Rows] = {}
        self._shape: tuple[int, ...] | None = None
        self._weights: list[tuple[Any, np.ndarray | None]] = []

    @property
    def n(self) -> int:
        """The number of rows; ValueError if `x` has none."""
        _shape_of_samples(self.x)
        return len(self.x)

    @property
    def shape_of_samples(self) -> tuple[int, ...]:
        """The shape of a sample; ValueError if there is none."""
        if self._shape is None:
            self._shape = _shape_of_samples(self.x)
        return self._shape

    def data(self, network: Network, sample_weight: Any, shape: tuple[int, ...]) -> Data:
        """Return the data for a network whose samples have this shape; TypeError or ValueError if they do not fit."""
        kind = _kind(network, shape)
        data: Data | None = self._made.get(kind)
        if data is None:
            samples = self._samples.get(kind[:2], self.x)
            data = self._made[kind] = Data.checked(network, samples, self.y, None, shape)
            self._samples[kind[:2]] = reshaped(data.rows, shape)
            # not for sparse rows, of which a sample with all its zeros may be large
            looked_at = np.empty((0, 1)) if isinstance(self.x, Sparse) else self.x
            warn_of_lost_digits(looked_at, self.y, data.targets, network.dtype)
        if sample_weight is None:
            return data
        return Data(data.rows, data.targets, self._checked(sample_weight, len(data.rows)))

    def _checked(self, sample_weight: Any, n: int) -> np.ndarray | None:
        for known, weights in self._weights:
            if known is sample_weight:
                return weights
        weights = as_weights(sample_weight, n)
        weights = None if weights is None else weights.copy()
        self._weights.append((sample_weight, weights))
        return weights

    def validation(self, network: Network, shape: tuple[int, ...]) -> Data | None:
        """Return the validation data for such a network."""
        if self.validation_data is None:
            return None
        kind = ("validation", *_kind(network, shape))
        if kind not in self._made:
            self._made[kind] = _validation(network, self.validation_data, shape)
        found: Data = self._made[kind]
        return found


def _kind(network: Network, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what the engine's format of the data depends on."""
    loss = network.output_loss
    return shape, network.dtype, network.output_shape, loss.activation, loss.loss  # the samples: only the first two


class FitArguments:
    """The arguments of `Sequential.fit`, all of them checked before anything changes.

    Parameters
    ----------
    network : Network
        The network, built or not.
    given : Given
        The data.
    epochs, steps, batch_size, optimizer, gradient, sample_weight, metrics, shuffle, verbose, callbacks
        As for `Sequential.fit`.
    rows, validation_rows : ndarray of int64 or None
        Rows of the data to train on, and to validate on. None means all rows, and the validation data given.

    Attributes
    ----------
    shape : tuple of int
        The shape of a sample.
    data : Data
        For training, of which only `rows` are used unless they are None.
    n : int
        The number of rows to train on.
    validation : Data or None
        For validation, of which only `validation_rows` are used unless they are None.
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
        given: Given,
        *,
        epochs: int | None,
        steps: int | None,
        batch_size: int,
        optimizer: Any,
        gradient: str,
        sample_weight: Any,
        metrics: Sequence[str | Metric] | None,
        shuffle: bool,
        verbose: int,
        callbacks: Sequence[Callable[[Any, History], Any]],
        rows: np.ndarray | None = None,
        validation_rows: np.ndarray | None = None,
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
        self.shape = network.input_shape or given.shape_of_samples
        self.data, self.rows = given.data(network, sample_weight, self.shape), rows
        self.validation, self.validation_rows = given.validation(network, self.shape), validation_rows
        if validation_rows is not None:
            self.validation = self.data
        self.n = n = len(self.data.rows) if rows is None else len(rows)
        targets = _targets("rows", network, self.data, rows)
        self.batch = n if whole else min(batch_size, n)
        self.per_epoch = ceil(n / self.batch)
        self.total = count if steps is not None else count * self.per_epoch
        network.check_trainable()
        _check_batches(network, n, self.batch, whole_epoch=self.total >= self.per_epoch)
        if self.total > MAX_STEPS:
            raise MemoryError(f"no memory for the losses of {self.total} steps: at most {MAX_STEPS}")
        validation_targets = None
        if self.validation is not None:
            validation_targets = _targets("validation_rows", network, self.validation, validation_rows)
        self.metrics = RecordedMetrics.chosen(metrics, network.output_loss, targets, validation_targets)
        self.metrics.check_monitor(self.optimizer)
        network.warn_of_zero_gradients()
        network.warn_of_one_hot(targets, self.metrics.training)


def _targets(name: str, network: Network, data: Data, rows: np.ndarray | None) -> np.ndarray:
    """Return what to choose metrics by: the targets of these rows; ValueError if their weights are all zero."""
    if rows is None:
        return data.targets
    if data.weights is not None:
        try:
            as_weights(data.weights[rows], len(rows))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    values_matter = data.targets.ndim == 1 or isinstance(network.output_loss.answers, float)
    return data.targets[rows] if values_matter else data.targets  # not a copy of what may be as large as the samples


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
    shape = as_samples("x", x).shape
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f"x must have shape (n, features), got {shape}")
    return shape[1:]


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
