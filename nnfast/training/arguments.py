"""The arguments of `Sequential.fit`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows, Sparse, as_samples, read_samples, reshaped, share_memory
from nnfast._validation import (
    as_weights,
    check_bool,
    check_float,
    check_int,
    check_verbose,
    choose,
    describe,
    read_once,
    shown,
    warn_of_lost_digits,
)
from nnfast.losses import Custom
from nnfast.metrics import MetricLike
from nnfast.optimizers import LBFGS, resolve_optimizer
from nnfast.training.batches import Batches
from nnfast.training.hooks import checked_callbacks
from nnfast.training.recorded import RecordedMetrics
from nnfast.training.splits import checked_split, split_rows
from nnfast.training.visits import Visits
from nnfast.training.weights import checked_class_weight, classes_of, multiplied, weights_of_classes

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

    def taken(self, rows: np.ndarray) -> Data:
        """Return a copy of some rows."""
        return Data(self.rows[rows], self.targets[rows], None if self.weights is None else self.weights[rows])


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


class Unset(Enum):
    """The default of an argument for which None has a meaning."""

    UNSET = "unset"


UNSET = Unset.UNSET


class FitArguments:
    """The arguments of `Sequential.fit`, all of them checked before anything changes.

    Parameters
    ----------
    network : Network
        The network, built or not.
    given : Given or Batches
        The data.
    epochs, steps, batch_size, optimizer, gradient, sample_weight, class_weight, validation_split, metrics, shuffle,
    replacement, drop_last, max_seconds, verbose, callbacks
        As for `Sequential.fit`.
    rows, validation_rows : ndarray of int64 or None
        Rows of the data to train on, and to validate on. None means all rows, and the validation data given.

    Attributes
    ----------
    shape : tuple of int
        The shape of a sample.
    batches : Batches or None
        What hands over the mini-batches, if the data are not arrays.
    data : Data or None
        Arrays for training, of which only `rows` are used unless they are None.
    validation : Data or None
        For validation, of which only `validation_rows` are used unless they are None.
    visits : Visits
        The mini-batches.
    metrics : RecordedMetrics
        The metrics recorded for both.
    """

    def __init__(
        self,
        network: Network,
        given: Given | Batches,
        *,
        epochs: int | Unset | None,
        steps: int | None,
        batch_size: int,
        optimizer: Any,
        gradient: str,
        sample_weight: Any,
        metrics: Sequence[MetricLike] | None,
        shuffle: bool,
        verbose: int,
        callbacks: Sequence[Any],
        class_weight: Any = None,
        validation_split: float | None = None,
        replacement: bool = False,
        drop_last: bool = False,
        max_seconds: float | None = None,
        rows: np.ndarray | None = None,
        validation_rows: np.ndarray | None = None,
    ) -> None:
        self.network = network
        self.optimizer = resolve_optimizer(optimizer)
        self.whole = isinstance(self.optimizer, LBFGS)
        if self.whole:
            _check_defaults(BY_LBFGS, locals())
        else:
            self.optimizer.values(network.dtype)
        self.gradient = choose("gradient", gradient, GRADIENTS)
        self.verbose = check_verbose(verbose)
        self.callbacks = checked_callbacks(callbacks)
        self.max_seconds = None
        if max_seconds is not None:
            self.max_seconds = check_float("max_seconds", max_seconds, 0.0, float("inf"), open_ends=True)
        self.class_weight = checked_class_weight(class_weight)
        self.rows, self.validation_rows = rows, validation_rows
        self.split = validation_split is not None
        self.shape = network.input_shape or given.shape_of_samples
        self.batches: Batches | None = None
        self.data: Data | None = None
        self.validation: Data | None = None
        drawing = self._drawing(shuffle, replacement)
        drop_last = check_bool("drop_last", drop_last)
        if isinstance(given, Batches):
            if self.whole:
                raise ValueError("LBFGS uses the whole data at once: give arrays x and y, not mini-batches")
            _check_defaults(BY_BATCHES, locals())
            self.validation = _validation(network, given.validation_data, self.shape)
            self._use_batches(given, epochs, steps)
            _, targets, weights = given.first(network, self.shape)
        else:
            self.data = self._weighted(given, sample_weight, validation_split)
            weights = self.data.weights
            targets = self._visit_rows(self.data, epochs, steps, batch_size, drawing, drop_last=drop_last)
        if weights is not None or (self.validation is not None and self.validation.weights is not None):
            network.output_loss.check_weights()
        network.check_trainable()
        self._choose_metrics(metrics, targets, weighted=weights is not None)
        network.warn_of_zero_gradients()
        network.warn_of_one_hot(targets, self.metrics.training)

    def _drawing(self, shuffle: Any, replacement: Any) -> str:
        """Return how the rows of an epoch are chosen."""
        shuffle, replacement = check_bool("shuffle", shuffle), check_bool("replacement", replacement)
        if replacement and not shuffle:
            raise ValueError("replacement=True draws rows at random: it needs shuffle=True")
        self.shuffles = shuffle
        if self.whole:
            return "IN_ORDER"
        return "REPLACED" if replacement else "SHUFFLED" if shuffle else "IN_ORDER"

    def _weighted(self, given: Given, sample_weight: Any, validation_split: Any) -> Data:
        """Return the data to train on with their weights, and set those to validate on, and which rows are used."""
        network = self.network
        data = given.data(network, sample_weight, self.shape)
        self.validation = given.validation(network, self.shape)
        if validation_split is not None:
            self._split(given, data, checked_split(validation_split))
        if self.validation_rows is not None:
            self.validation = data  # where classes have no weights
        if self.class_weight is not None:
            weights = weights_of_classes(self.class_weight, network.output_loss, data.targets, self.rows)
            data = Data(data.rows, data.targets, multiplied(weights, data.weights))
        if self.whole and self.rows is not None:
            data, self.rows = data.taken(self.rows), None
        return data

    def _split(self, given: Given, data: Data, fraction: float) -> None:
        """Set rows aside for validation."""
        if given.validation_data is not None:
            raise ValueError("give validation_data or validation_split, not both")
        seed = self.network.noise_seed if self.shuffles else None  # the same rows in each fit of this network
        classes = classes_of(self.network.output_loss, data.targets)
        self.rows, self.validation_rows = split_rows(len(data.rows), fraction, classes, seed)

    def _name(self, argument: str, rows: str) -> str:
        """Return where rows come from, for messages."""
        return f"validation_split: {rows}" if self.split else argument

    def _visit_rows(
        self, data: Data, epochs: Any, steps: Any, batch_size: Any, drawing: str, *, drop_last: bool
    ) -> np.ndarray:
        """Set the mini-batches; return the targets by which metrics are chosen."""
        network = self.network
        n = len(data.rows) if self.rows is None else len(self.rows)
        batch = n if self.whole else min(check_int("batch_size", batch_size, 1), n)
        epochs, steps = self._length(epochs, steps, LBFGS_EPOCHS if self.whole else 1)
        self.visits = Visits.of_rows(n, batch, epochs, steps, drawing=drawing, drop_last=drop_last)
        total = self.visits.total
        done = 0 if self.whole or network.program is None else network.program.place.steps_done(self.visits)
        to_end = self.visits.per_epoch - done  # of the epoch that is continued
        _check_batches(network, self.visits.n, batch, whole_epoch=total is None or total >= to_end)
        if total is not None and total > MAX_STEPS:
            raise MemoryError(f"no memory for the losses of {total} steps: at most {MAX_STEPS}")
        return _targets(self._name("rows", "the rows to train on"), network, data, self.rows)

    def _use_batches(self, batches: Batches, epochs: Any, steps: Any) -> None:
        """Set the mini-batches that are handed over."""
        self.batches = batches
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs the targets of all mini-batches in advance: give a dict of "
                "class to weight, or arrays x and y"
            )
        if steps is not None:
            steps = check_int("steps", steps, 1)
        epochs = 1 if epochs is UNSET else epochs if epochs is None else check_int("epochs", epochs, 1)
        if epochs is None:
            self._check_end()
        batches.check_length(epochs, steps)
        per_epoch = steps or batches.length or 1
        total = None if epochs is None or not (steps or batches.length) else epochs * per_epoch
        self.visits = Visits(1, 1, 1, "IN_ORDER", per_epoch, None, total)
        if total is not None and total > MAX_STEPS:
            raise MemoryError(f"no memory for the losses of {total} steps: at most {MAX_STEPS}")
        batches.epochs, batches.steps, batches.class_weight = epochs, steps, self.class_weight

    def _length(self, epochs: Any, steps: Any, default: int) -> tuple[int | None, int | None]:
        """Return the number of epochs or steps, the other one being None; both, if there is no limit."""
        if steps is not None:
            if epochs is not UNSET and epochs is not None:
                raise ValueError(f"give epochs or steps, not both: got epochs={shown(epochs)} and steps={shown(steps)}")
            return None, check_int("steps", steps, 1)
        if epochs is None:
            self._check_end()
            return None, None
        return check_int("epochs", default if epochs is UNSET else epochs, 1), None

    def _check_end(self) -> None:
        """Raise ValueError if nothing can end a training without limit."""
        if self.whole:
            raise ValueError("epochs must be a number with LBFGS, got None: it ends when it has converged")
        if not self.callbacks and self.max_seconds is None:
            raise ValueError(
                "epochs=None trains until a callback calls net.stop() or max_seconds have passed: give callbacks or "
                "max_seconds"
            )

    def _choose_metrics(self, metrics: Any, targets: np.ndarray, *, weighted: bool) -> None:
        """Set the metrics that are recorded."""
        network, validation_targets, validation_weighted = self.network, None, False
        if self.validation is not None:
            name = self._name("validation_rows", "the rows to validate on")
            validation_targets = _targets(name, network, self.validation, self.validation_rows)
            validation_weighted = self.validation.weights is not None
        self.metrics = RecordedMetrics.chosen(
            metrics, network.output_loss, targets, validation_targets, weighted=weighted,
            validation_weighted=validation_weighted,
        )  # fmt: skip
        self.metrics.check_monitor(self.optimizer)
        own_loss = isinstance(network.output_loss.loss, Custom)  # which takes targets of any shape
        if self.batches is not None and (metrics is not None or own_loss):
            self.batches.metrics = self.metrics.training.metrics


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


# The arguments that must have their default values, and why.
BY_LBFGS = (
    {"steps": None, "batch_size": 32, "shuffle": True, "replacement": False, "drop_last": False},
    "with LBFGS, which uses the whole data at once and counts its iterations as epochs",
)
BY_BATCHES = (
    {
        "batch_size": 32, "shuffle": True, "replacement": False, "drop_last": False, "sample_weight": None,
        "validation_split": None, "gradient": "backpropagation",
    },
    "for mini-batches (x, y) or (x, y, sample_weight) that an iterator hands over",
)  # fmt: skip


def _check_defaults(table: tuple[dict[str, Any], str], values: dict[str, Any]) -> None:
    """Raise ValueError unless the arguments that do not apply have their default values."""
    defaults, why = table
    for name, default in defaults.items():
        value = values[name]
        if value is not default and not (isinstance(value, (int, str, np.integer)) and value == default):
            raise ValueError(f"{name} must be left out {why}; got {describe(value)}")


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
