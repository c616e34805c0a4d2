"""What the callbacks of nnfast share: declared arguments, and a record for each network. Also the callback `Lambda`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from nnfast._description import Description, Field
from nnfast._validation import check_count, choose, describe
from nnfast.metrics.base import DIRECTIONS
from nnfast.training.hooks import HOOKS, Callback
from nnfast.training.recorded import check_recorded

if TYPE_CHECKING:
    from nnfast.training.history import History


class DeclaredCallback(Callback, Description, noun="a callback"):
    """A callback whose arguments are fields, which do not change. A copy or a pickle has these only, and no records."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.fields:
            super().__setattr__(name, value)
        object.__setattr__(self, name, value)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: vars(self)[name] for name in self.fields if name in vars(self)}
        return partial(type(self), **values), ()


class Record:
    """What a callback records about the training of one network; subclasses add to it.

    Attributes
    ----------
    running : bool
        Whether the training has begun and not ended.
    """

    running = False


R = TypeVar("R", bound=Record)


class Records(Generic[R]):
    """The records of a callback by network, for as long as the network exists.

    Parameters
    ----------
    callback : Callback
        The callback that keeps these records, for messages.
    why_one : str
        Why only one network may be trained with the callback at a time; empty if several may.
    """

    def __init__(self, callback: Callback, why_one: str = "") -> None:
        self.of: WeakKeyDictionary[Any, R] = WeakKeyDictionary()
        self.name, self.why_one = type(callback).__name__, why_one
        self.latest: R | None = None

    def begin(self, net: Any, record: R) -> None:
        """Start the record of a training; RuntimeError if the callback is already in use."""
        known = self.of.get(net)
        if known is not None and known.running:
            raise RuntimeError(f"this {self.name} is among the callbacks twice: list it once")
        if self.why_one and any(other.running for other in self.of.values()):
            raise RuntimeError(f"another network is being trained with this {self.name}, {self.why_one}")
        self.of[net] = self.latest = record
        record.running = True

    def end(self, net: Any) -> R | None:
        """Return the record of the training that ends; None if it never began."""
        record = self.of.get(net)
        if record is None or not record.running:
            return None
        record.running = False
        return record


# ---- arguments


def as_path(name: str, value: Any) -> str:
    """Return a path as text; TypeError if it is not a path."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name} must be a path, got {describe(value)}") from None


def direction_or_none(name: str, value: Any) -> str | None:
    """Return "higher", "lower" or None."""
    return None if value is None else choose(name, value, DIRECTIONS)


def sign_of(monitor: str, direction: str | None, history: History) -> float:
    """Return 1 if lower values of the monitored quantity are better, -1 if higher ones are.

    Raises
    ------
    ValueError
        If the quantity is not recorded.
    """
    check_recorded("monitor", monitor, history)
    if direction is None:
        direction = history.directions[monitor]
    return 1.0 if direction == "lower" else -1.0


# ---- functions


def _function(name: str, value: Any) -> Callable[[Any, History], Any] | None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function of (net, history), got {describe(value)}")
    return value


class Lambda(DeclaredCallback):
    """A callback made of functions, each called as ``function(net, history)``.

    Parameters
    ----------
    on_train_begin, on_train_end, on_epoch_begin, on_epoch_end, on_step_end, close : callable, optional
        See the methods of `Callback`.
    every : int
        Call `on_epoch_end` after each epoch divisible by it, and after the last one.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or no function is given.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
    >>> log = nf.callbacks.Lambda(
    ...     on_epoch_end=lambda net, history: print(f"loss {history['loss'][-1]:.3f}"),
    ...     on_train_end=lambda net, history: print("done"),
    ...     every=10,
    ... )
    >>> history = net.fit([[0, 1]], [0], epochs=20, optimizer=nf.SGD(0.1), callbacks=[log], verbose=0)
    loss 0.251
    loss 0.135
    done
    """

    on_train_begin: Any = Field(_function, default=None, kw_only=True)
    on_train_end: Any = Field(_function, default=None, kw_only=True)
    on_epoch_begin: Any = Field(_function, default=None, kw_only=True)
    on_epoch_end: Any = Field(_function, default=None, kw_only=True)
    on_step_end: Any = Field(_function, default=None, kw_only=True)
    close: Any = Field(_function, default=None, kw_only=True)
    every: int = Field(check_count, default=1, kw_only=True)

    def settle(self) -> None:
        """Keep only the functions given; the others are the methods of the base class."""
        for name in HOOKS:
            if vars(self)[name] is None:
                del vars(self)[name]
        if not self.hooks():
            raise ValueError(f"Lambda needs a function: give one of {', '.join(HOOKS)}")

    def hooks(self) -> Collection[str]:
        """Return the names of what is given."""
        return [name for name in HOOKS if name in vars(self)]
