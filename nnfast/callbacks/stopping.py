"""Callbacks that end a training: when it no longer improves, and when it has diverged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import check_bool, check_count, check_int, check_not_negative, check_quantity
from nnfast.callbacks.base import (
    DeclaredCallback,
    Record,
    Records,
    direction_or_none,
    sign_of,
)

if TYPE_CHECKING:
    from nnfast.training.history import History


def _count(name: str, value: Any) -> int:
    return check_int(name, value, 0)


class Stopping(Record):
    """What `EarlyStopping` found for one network.

    Attributes
    ----------
    best : float or None
        The best value; None if all were NaN.
    best_epoch, stopped_epoch : int or None
        The epoch with the best value, and the one after which patience ran out, counted from 1; None if there was none.
    """

    def __init__(self, sign: float, before: Stopping | None) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self.sign, self.limit, self.bad = sign, float("inf"), 0  # sign * value must be below the limit to be better
        self.arrays: list[np.ndarray] = []
        self.copies: list[np.ndarray] = [] if before is None else before.copies

    def keep(self, net: Any) -> None:
        """Copy the parameters and the running statistics."""
        if not self.arrays:
            self.arrays = _arrays(net)
            if [copy.shape for copy in self.copies] != [array.shape for array in self.arrays]:
                self.copies = [np.empty_like(array) for array in self.arrays]
        for copy, array in zip(self.copies, self.arrays, strict=True):
            copy[...] = array

    def restore(self, net: Any) -> None:
        """Write the copies back."""
        for copy, array in zip(self.copies, _arrays(net), strict=True):
            array[...] = copy


def _arrays(net: Any) -> list[np.ndarray]:
    """Return views of all that is restored."""
    return [net.flat_params, *net.statistics.values()]


class EarlyStopping(DeclaredCallback):
    """Stop when a quantity no longer improves, and restore the best parameters.

    Parameters
    ----------
    monitor : str
        The entry of the history that should improve: ``"val_loss"``, ``"val_accuracy"``, ``"loss"``, ...
    patience : int
        After how many epochs in a row without improvement the training stops; at least 1.
    min_delta : float
        By how much a value must be better than the best one to count as an improvement.
    direction : {"lower", "higher"}, optional
        Which values are better. By default that of the loss or the metric.
    restore_best : bool
        Whether to restore the parameters and running statistics of the best epoch when the training ends, for whatever
        reason except an error or Ctrl-C. These leave the network as it was after the last step; call `restore` then.
    start_after : int
        The number of epochs at the beginning that are ignored.

    Attributes
    ----------
    best : float or None
        The best value in the last `fit`; None if there was none.
    best_epoch : int or None
        Its epoch, counted from 1 in each `fit`.
    stopped_epoch : int or None
        The epoch after which patience ran out; None if the training ended otherwise.
    results : mapping
        For `fit_many`: an object with these three attributes for each network.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `fit`, before the first step, if `monitor` is not recorded.

    Notes
    -----
    NaN is never an improvement. Each `fit` starts anew. The optimizer's state is not restored: it remains that of the
    last step. The arguments mean the same as in Keras' ``EarlyStopping``, with other defaults.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.random.default_rng(0).standard_normal((400, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> net = nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(2, "softmax")], input_shape=2, seed=0)
    >>> stopping = nf.callbacks.EarlyStopping("val_loss", patience=5, min_delta=1e-3)
    >>> history = net.fit(
    ...     x[:200], y[:200], epochs=1000, optimizer=nf.Adam(0.05), validation_data=(x[200:], y[200:]), verbose=0,
    ...     callbacks=[stopping],
    ... )
    >>> len(history["loss"]) == stopping.stopped_epoch == stopping.best_epoch + 5
    True
    >>> abs(net.loss(x[200:], y[200:]) - stopping.best) < 1e-6
    True
    """

    monitor: str = Field(check_quantity, default="val_loss")
    patience: int = Field(check_count, default=10, kw_only=True)
    min_delta: float = Field(check_not_negative, default=0.0, kw_only=True)
    direction: str | None = Field(direction_or_none, default=None, kw_only=True)
    restore_best: bool = Field(check_bool, default=True, kw_only=True)
    start_after: int = Field(_count, default=0, kw_only=True)

    def settle(self) -> None:
        """Begin without results."""
        self._records = Records[Stopping](self)

    @property
    def best(self) -> float | None:
        """The best value in the last fit."""
        return None if self._records.latest is None else self._records.latest.best

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best value."""
        return None if self._records.latest is None else self._records.latest.best_epoch

    @property
    def stopped_epoch(self) -> int | None:
        """The epoch after which patience ran out."""
        return None if self._records.latest is None else self._records.latest.stopped_epoch

    @property
    def results(self) -> Mapping[Any, Stopping]:
        """What was found for each network."""
        return self._records.of

    def restore(self, net: Any) -> None:
        """Give a network the parameters and running statistics of its best epoch, as after Ctrl-C.

        Parameters
        ----------
        net : Sequential
            A network trained with this callback.

        Raises
        ------
        RuntimeError
            If there are none to restore.
        """
        record = self._records.of.get(net)
        if record is None or record.best is None or not self.restore_best:
            raise RuntimeError(
                "there are no best parameters of this network: train it with this callback and restore_best=True first"
            )
        record.restore(net)

    def on_train_begin(self, net: Any, history: History) -> None:
        """Start anew for this network."""
        sign = sign_of(self.monitor, self.direction, history)
        self._records.begin(net, Stopping(sign, self._records.of.get(net)))

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Compare the last value with the best one."""
        record, values = self._records.of[net], history[self.monitor]
        value, epoch = values[-1], len(values)
        if epoch <= self.start_after:
            return
        if record.sign * value < record.limit:
            record.best, record.best_epoch, record.bad = value, epoch, 0
            record.limit = record.sign * value - self.min_delta
            if self.restore_best:
                record.keep(net)
            return
        record.bad += 1
        if record.bad >= self.patience:
            record.stopped_epoch = epoch
            net.stop()

    def on_train_end(self, net: Any, history: History) -> None:
        """Restore the best parameters."""
        if self.restore_best and self._records.of[net].best is not None:
            self.restore(net)

    def close(self, net: Any, history: History) -> None:
        """End the record."""
        record = self._records.end(net)
        if record is not None:
            record.arrays = []  # views, which would keep the memory of a network that is gone


class Divergence(Record):
    """What `StopOnNaN` found for one network: after how many steps it stopped; None if it did not."""

    stopped_step: int | None = None


class StopOnNaN(DeclaredCallback):
    """Stop when a loss is NaN or infinite.

    The network is left as it is, and `fit` warns of the divergence as it always does. To go back to good parameters,
    add `EarlyStopping`, for which NaN is never an improvement, or `Checkpoint` with ``save="best"``.

    Parameters
    ----------
    each_step : bool
        Look at the loss after each step, which calls Python each time. By default after each epoch: at the training
        loss, which is NaN or infinite if that of any step is, and at the validation loss.

    Attributes
    ----------
    stopped_step : int or None
        How many steps of the last `fit` were done when it stopped; None if it did not.
    results : mapping
        For `fit_many`: an object with this attribute for each network.

    Raises
    ------
    TypeError
        If `each_step` is not a bool.

    Examples
    --------
    >>> import warnings
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
    >>> stop = nf.callbacks.StopOnNaN()
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # the training diverged
    ...     history = net.fit([[1.0]], [1.0], epochs=10**6, optimizer=nf.SGD(100.0), callbacks=[stop], verbose=0)
    >>> len(history["loss"]) == stop.stopped_step < 100
    True
    """

    each_step: bool = Field(check_bool, default=False, kw_only=True)

    def settle(self) -> None:
        """Begin without a result."""
        self._records = Records[Divergence](self)

    @property
    def stopped_step(self) -> int | None:
        """The number of steps after which the last fit was stopped."""
        return None if self._records.latest is None else self._records.latest.stopped_step

    @property
    def results(self) -> Mapping[Any, Divergence]:
        """What was found for each network."""
        return self._records.of

    def hooks(self) -> Collection[str]:
        """Return the methods to call; that for steps only if `each_step` is set."""
        return [name for name in super().hooks() if self.each_step or name != "on_step_end"]

    def on_train_begin(self, net: Any, history: History) -> None:
        """Start anew for this network."""
        self._records.begin(net, Divergence())

    def on_step_end(self, net: Any, history: History) -> None:
        """Look at the loss of the step."""
        if not isfinite(history.step_loss[-1]):
            self._stop(net, history)

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Look at the losses of the epoch."""
        if not all(isfinite(history[name][-1]) for name in ("loss", "val_loss") if name in history):
            self._stop(net, history)

    def _stop(self, net: Any, history: History) -> None:
        record = self._records.of[net]
        if record.stopped_step is None:  # the epoch that is cut off ends too
            record.stopped_step = len(history.step_loss)
        net.stop()

    def close(self, net: Any, history: History) -> None:
        """End the record."""
        self._records.end(net)
