"""The arguments of `Sequential.fit`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._validation import (
    UNSET,
    Unset,
    as_weights,
    check_bool,
    check_float,
    check_int,
    check_verbose,
    choose,
    describe,
    shown,
)
from nnfast.losses import Custom
from nnfast.metrics import MetricLike
from nnfast.optimizers import LBFGS, resolve_optimizer
from nnfast.training.batches import Batches
from nnfast.training.data import Data, Given, checked_validation
from nnfast.training.history import History
from nnfast.training.hooks import checked_callbacks
from nnfast.training.recorded import RecordedMetrics
from nnfast.training.splits import checked_split, split_rows
from nnfast.training.visits import Visits
from nnfast.training.weights import checked_class_weight, classes_of, multiplied, weights_of_classes

MAX_STEPS = 2**40
GRADIENTS = ("backpropagation", "numerical")
LBFGS_EPOCHS = 200  # default maximum number of iterations


class Patience(NamedTuple):
    """When a training ends because its loss does not improve, which the engine decides without Python.

    It ends after more than `limit` epochs in a row whose loss was not below the best one by `tolerance`, and after an
    epoch whose loss is NaN.

    Attributes
    ----------
    tolerance : float
        At least 0.
    limit : int
        At least 0.
    best : float
        The lowest loss of earlier epochs.
    waited : int
        The number of earlier epochs in a row without improvement.
    """

    tolerance: float
    limit: int
    best: float = inf
    waited: int = 0


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
        The rows of the data to train on and to validate on. None means all rows, and the validation data.
    warns_unconverged : bool
        Whether to warn if L-BFGS ends before it has converged, which the history says too.
    patience : Patience or None
        When to end because the loss of arrays `x` and `y` does not improve.

    Attributes
    ----------
    shape : tuple of int
        The shape of a sample.
    batches : Batches or None
        The source of mini-batches, if the data are not arrays.
    data : Data or None
        The training data, of which only `rows` are used unless that is None.
    validation : Data or None
        The validation data, of which only `validation_rows` are used unless that is None.
    visits : Visits
        How epochs are divided into mini-batches.
    metrics : RecordedMetrics
        The metrics recorded in training and in validation.
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
        warns_unconverged: bool = True,
        patience: Patience | None = None,
    ) -> None:
        self.network, self.warns_unconverged, self.patience = network, warns_unconverged, patience
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
                raise ValueError("LBFGS uses all data at once: give arrays x and y, not mini-batches")
            _check_defaults(BY_BATCHES, locals())
            self.validation = checked_validation(network, given.validation_data, self.shape)
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

    def new_history(self) -> History:
        """Return a record without epochs."""
        return History(self.visits.per_epoch, self.metrics.names, self.metrics.directions)

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
        """Return the training data with their weights; set the validation data and the rows to use."""
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
        """Return the argument that determines some rows, for messages."""
        return f"validation_split: {rows}" if self.split else argument

    def _visit_rows(
        self, data: Data, epochs: Any, steps: Any, batch_size: Any, drawing: str, *, drop_last: bool
    ) -> np.ndarray:
        """Set the mini-batches; return the targets to check the metrics against."""
        network = self.network
        n = len(data.rows) if self.rows is None else len(self.rows)
        batch = n if self.whole else min(check_int("batch_size", batch_size, 1), n)
        epochs, steps = self._length(epochs, steps, LBFGS_EPOCHS if self.whole else 1)
        self.visits = Visits.of_rows(n, batch, epochs, steps, drawing=drawing, drop_last=drop_last)
        total = self.visits.total
        done = 0 if self.whole or network.program is None else network.program.place.steps_done(self.visits)
        to_end = self.visits.per_epoch - done  # of the epoch that is continued
        _check_batches(network, self.visits.n, batch, whole_epoch=total is None or total >= to_end)
        _check_total(total)
        return _targets(self._name("rows", "the rows to train on"), network, data, self.rows)

    def _use_batches(self, batches: Batches, epochs: Any, steps: Any) -> None:
        """Set the mini-batches that an iterator yields."""
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
        _check_total(total)
        batches.epochs, batches.steps, batches.class_weight = epochs, steps, self.class_weight

    def _length(self, epochs: Any, steps: Any, default: int) -> tuple[int | None, int | None]:
        """Return the numbers of epochs and of steps: one of them is None, or both if there is no limit."""
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
    """Return the targets of some rows, to check metrics against; ValueError if their weights are all zero."""
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
    "with LBFGS, which uses all data at once and counts its iterations as epochs",
)
BY_BATCHES = (
    {
        "batch_size": 32, "shuffle": True, "replacement": False, "drop_last": False, "sample_weight": None,
        "validation_split": None, "gradient": "backpropagation",
    },
    "if x is an iterator of mini-batches (x, y) or (x, y, sample_weight)",
)  # fmt: skip


def _check_defaults(table: tuple[dict[str, Any], str], values: dict[str, Any]) -> None:
    """Raise ValueError unless the arguments that do not apply have their default values."""
    defaults, why = table
    for name, default in defaults.items():
        value = values[name]
        if value is not default and not (isinstance(value, (int, str, np.integer)) and value == default):
            raise ValueError(f"{name} must be left out {why}; got {describe(value)}")


def _check_total(steps: int | None) -> None:
    if steps is not None and steps > MAX_STEPS:
        raise MemoryError(f"no memory for the losses of {steps} steps: at most {MAX_STEPS}")


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
