"""When a training calls its callbacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from nnfast._validation import as_tuple, check_int, describe
from nnfast.training.history import History

HOOKS = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_step_end", "close")


class Callback:
    """Base class of callbacks of `fit`: override the methods you need; each gets the network and the history.

    A plain function ``f(net, history)`` is a callback, too, called after each epoch.

    Attributes
    ----------
    every : int
        Call `on_epoch_end` after each epoch whose number is divisible by it, and after the last one.

    Notes
    -----
    Only methods that a class overrides are called. Epochs, and steps, that no callback asks for run back to back
    without Python. All methods run between steps, when the network is in a consistent state: they may predict with it,
    evaluate, copy and save it, write to its parameters, change the optimizer's hyperparameters, and call
    `Sequential.stop`. An exception that a callback raises ends the training, and leaves the network as the last step
    left it.

    Examples
    --------
    >>> import nnfast as nf
    >>> class Printed(nf.callbacks.Callback):
    ...     every = 2
    ...
    ...     def on_epoch_end(self, net, history):
    ...         print(len(history["loss"]), "epochs")
    >>> net = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0)
    >>> _ = net.fit([[0, 1], [1, 0]], [1.0, 3.0], epochs=5, verbose=0, callbacks=[Printed()])
    2 epochs
    4 epochs
    5 epochs
    """

    every: int = 1

    def on_train_begin(self, net: Any, history: History) -> None:
        """Run before the first step; `history` has the names of what will be recorded, and no values."""

    def on_train_end(self, net: Any, history: History) -> None:
        """Run after the last step, but not after an error or Ctrl-C."""

    def on_epoch_begin(self, net: Any, history: History) -> None:
        """Run before the first step of each epoch."""

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Run after each epoch (see `every`), once it has been validated and recorded."""

    def on_step_end(self, net: Any, history: History) -> None:
        """Run after each step; ``history.step_loss`` has the losses so far. This slows training down."""

    def close(self, net: Any, history: History) -> None:
        """Release resources such as files; always called last, even after an error or Ctrl-C."""

    def hooks(self) -> Collection[str]:
        """Return the names of the methods to call; by default those that the class overrides."""
        return [name for name in HOOKS if getattr(type(self), name) is not getattr(Callback, name)]


def checked_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """Return the callbacks; TypeError or ValueError if they are not a sequence of callables and of `Callback`."""
    found = as_tuple("callbacks", callbacks, "callables")
    for callback in found:
        if isinstance(callback, type) and issubclass(callback, Callback):
            name = callback.__name__
            raise TypeError(f"callbacks must hold objects, got the class {name}: use {name}()")
        if isinstance(callback, Callback):
            check_int(f"{type(callback).__name__}.every", callback.every, 1)
        elif not callable(callback):
            raise TypeError(f"callbacks must be callable, got {describe(callback)}")
    return found


class Hooks:
    """What callbacks ask for.

    Parameters
    ----------
    callbacks : sequence
        Of `Callback`, and of functions that are called after each epoch.

    Attributes
    ----------
    steps, epoch_begin, train_begin, train_end, close : list of callable
        What to call then, with the network and the history.
    epoch_end : list of (int, callable)
        What to call after epochs divisible by a number.
    each_epoch : bool
        Whether there is something to call in each epoch.
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        asked = [(c, set(c.hooks())) for c in callbacks if isinstance(c, Callback)]

        def those(name: str) -> list[Callable[[Any, History], Any]]:
            return [getattr(callback, name) for callback, names in asked if name in names]

        self.train_begin, self.train_end = those("on_train_begin"), those("on_train_end")
        self.epoch_begin, self.steps, self.close = those("on_epoch_begin"), those("on_step_end"), those("close")
        self.epoch_end: list[tuple[int, Callable[[Any, History], Any]]] = []
        names_of = {id(callback): names for callback, names in asked}
        for callback in callbacks:  # in the order given
            if not isinstance(callback, Callback):
                self.epoch_end.append((1, callback))
            elif "on_epoch_end" in names_of[id(callback)]:
                self.epoch_end.append((callback.every, callback.on_epoch_end))
        self.each_epoch = bool(self.epoch_begin) or any(every == 1 for every, _ in self.epoch_end)

    def next_epoch(self, done: int) -> int | None:
        """Return the next epoch after which a callback runs, given the number completed; None if there is none."""
        if self.each_epoch:
            return done + 1
        return min(((done // every + 1) * every for every, _ in self.epoch_end), default=None)
