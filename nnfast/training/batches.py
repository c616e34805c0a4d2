"""Training on mini-batches that an iterator yields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._samples import as_samples
from nnfast._validation import as_weights, describe, warn
from nnfast.engine.program import Training
from nnfast.metrics import Metric
from nnfast.training.data import Data
from nnfast.training.weights import multiplied, weights_of_classes


class Batches:
    """Mini-batches ``(x, y)`` or ``(x, y, sample_weight)`` from an iterator or another iterable.

    Parameters
    ----------
    source : iterable
    validation_data : tuple or None
        As for `Sequential.fit`.

    Attributes
    ----------
    once : bool
        Whether `source` is an iterator, which can be read only once.
    length : int or None
        The number of mini-batches, if it is known.
    epochs, steps : int or None
        The number of epochs, without limit if None; the number of mini-batches in an epoch, one pass if None.
    class_weight : dict or None
        As for `Sequential.fit`.
    metrics : tuple of Metric
        The targets of each mini-batch must fit these, not only those of the first.
    """

    def __init__(self, source: Any, validation_data: Any = None) -> None:
        if not isinstance(source, Iterable) or hasattr(source, "shape"):
            raise TypeError(
                f"y is missing; without it, x must be an iterator of mini-batches (x, y), got {describe(source)}"
            )
        self.source, self.validation_data = source, validation_data
        self.once = isinstance(source, Iterator)
        self.length: int | None = None
        if isinstance(source, Sized):
            with suppress(TypeError):  # data loaders have a length, except for streams
                self.length = len(source)
        self.epochs: int | None = 1
        self.steps: int | None = None
        self.class_weight: Any = None
        self.metrics: tuple[Metric, ...] = ()
        self._iterator: Iterator[Any] = iter(source)
        self._peeked: list[Any] = []  # the first mini-batch, until it is used
        self._count = 0

    @property
    def shape_of_samples(self) -> tuple[int, ...]:
        """The shape of a sample of the first mini-batch."""
        x = self._parts(self._peek())[0]
        try:
            shape = as_samples("x", x).shape
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch 1: {error}") from None
        if len(shape) < 2 or 0 in shape[1:]:
            raise ValueError(f"batch 1: x must have shape (n, features), got {shape}")
        return shape[1:]

    def first(self, network: Network, shape: tuple[int, ...]) -> Data:
        """Return the first mini-batch, which training will begin with."""
        return self._checked(network, self._peek(), shape)

    def check_length(self, epochs: int | None, steps: int | None) -> None:
        """Raise ValueError if an iterator would have to be read again."""
        if self.once and steps is None and epochs != 1:
            raise ValueError(
                f"an iterator can be read only once, got epochs={epochs}: give steps, the number of mini-batches in "
                "an epoch"
            )

    def next(self, network: Network) -> Data | None:
        """Return the next mini-batch; None at the end of a pass."""
        if not self._peeked:
            try:
                self._peeked.append(next(self._iterator))
            except StopIteration:
                return None
        self._count += 1
        return self._checked(network, self._peeked.pop(), network.built_shape)

    def check_width(self, targets: np.ndarray, before: np.ndarray, units: int) -> None:
        """Raise ValueError if targets cannot be joined to those before; labels and rows of probabilities can."""
        widths = {part.shape[1:] or (units,) for part in (targets, before)}
        if len(widths) > 1:
            raise ValueError(
                f"batch {self._count}: y must have rows of the same shape in each mini-batch, since metrics are "
                f"computed from all targets of an epoch, got shape {targets.shape} after {before.shape}"
            )

    def begin_again(self) -> bool:
        """Begin another pass; return False if there cannot be one, or if it is empty."""
        if self.once:
            return False
        self._iterator = iter(self.source)
        self._peeked = list(next(zip(self._iterator, strict=False), ()))
        return bool(self._peeked)

    def _peek(self) -> Any:
        if not self._peeked:
            self._peeked = list(next(zip(self._iterator, strict=False), ()))
        if not self._peeked:
            raise ValueError("x must yield at least one mini-batch, got none")
        return self._peeked[0]

    def _parts(self, item: Any) -> tuple[Any, ...]:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise TypeError(
                f"batch {max(self._count, 1)}: a mini-batch must be (x, y) or (x, y, sample_weight), "
                f"got {describe(item)}"
            )
        return tuple(item)

    def _checked(self, network: Network, item: Any, shape: tuple[int, ...]) -> Data:
        x, y, *given = self._parts(item)
        try:
            rows, targets = network.data(x, y, shape, finite=True)
            weights = as_weights(given[0], len(rows), all_zero=True) if given else None
            network.check_batch(len(rows))
            if self.class_weight is not None:
                of_class = weights_of_classes(self.class_weight, network.output_loss, targets, None)
                weights = multiplied(of_class, weights, all_zero=True)
            for metric in self.metrics:
                metric.check(network.output_loss, targets, weighted=weights is not None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {max(self._count, 1)}: {error}") from None
        return Data(rows, targets, weights)


class FedTraining(Training):
    """A run of steps on mini-batches that are fed one at a time."""

    def __init__(self, network: Network, batches: Batches, *arguments: Any, **options: Any) -> None:
        super().__init__(network.built, None, None, None, *arguments, **options)
        self.network, self.batches = network, batches
        self.exhausted = False
        self._epoch_begins = 0
        self._weighted = False  # whether any mini-batch had weights
        self._seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # outputs, targets, weights

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or there are no more mini-batches."""
        return self.exhausted or self.epochs == self.batches.epochs

    def run(self, until: int, optimizer: Any, scheduled: bool = False, seconds: float = 0.1) -> int:
        """Take a step on the next mini-batch, or begin the next pass; return the number of steps done so far."""
        if until == self.step:
            return self.step
        batch = self.batches.next(self.network)
        if batch is None:
            self._end_pass()
            return self.step
        if self.step == self._epoch_begins:
            self._seen.clear()
        elif self._seen:
            self.batches.check_width(batch.targets, self._seen[0][1], self.network.units)
        self.feed(*batch)
        super().run(self.step + 1, optimizer, scheduled, seconds)
        if self.outputs is not None:
            self._weighted = self._weighted or batch.weights is not None
            weights = np.ones(len(batch.rows)) if batch.weights is None else batch.weights.copy()
            self._seen.append((self.outputs[: len(batch.rows)].copy(), batch.targets.copy(), weights))
        if self.step - self._epoch_begins == (self.batches.steps or self.batches.length):
            self._end_epoch()
        return self.step

    def _end_epoch(self) -> None:
        self.end_epoch()
        self._epoch_begins = self.step

    def _end_pass(self) -> None:
        """Go on with another pass, or end."""
        if self.batches.steps is None and self.step > self._epoch_begins:
            self._end_epoch()
        if not self.finished and not self.batches.begin_again():
            self.exhausted = True
            if self.batches.epochs is not None:
                warn(
                    f"x yielded {self.step} mini-batches, fewer than epochs and steps ask for: training ends",
                    UserWarning,
                )

    def seen(self, current: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return outputs, targets and weights of the epoch so far."""
        outputs, targets, weights = zip(*self._seen, strict=True)
        if len({part.ndim for part in targets}) > 1:  # labels in some, probabilities in others
            targets = tuple(self._as_rows(part) for part in targets)
        joined = np.concatenate(weights) if self._weighted else None
        return np.concatenate(outputs), np.concatenate(targets), joined

    def _as_rows(self, targets: np.ndarray) -> np.ndarray:
        """Return a row of probabilities for each label."""
        if targets.ndim == 2:
            return targets
        rows = np.zeros((len(targets), self.network.units), self.network.dtype)
        rows[np.arange(len(targets)), targets] = 1
        return rows
