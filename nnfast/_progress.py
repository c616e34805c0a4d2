"""Progress of long computations: a bar in terminals and notebooks if tqdm is installed, otherwise lines of text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from time import monotonic
from typing import Any

from nnfast.metrics import names_in

PATIENCE = 1.0  # seconds of work before any progress is shown


def stderr_unavailable() -> bool:
    """Return whether standard error is missing, as under pythonw, or closed, as in a daemon."""
    return sys.stderr is None or getattr(sys.stderr, "closed", False)


def bar_class() -> Any:
    """Return tqdm if standard error can show a moving bar, else None."""
    in_terminal = getattr(sys.stderr, "isatty", lambda: False)()
    if not (in_terminal or "ipykernel" in sys.modules) or (in_terminal and _terminal_has_no_size()):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def _terminal_has_no_size() -> bool:
    """Return whether the terminal reports zero columns or rows: tqdm would show nothing."""
    try:
        return 0 in os.get_terminal_size(sys.stderr.fileno())
    except (OSError, AttributeError, ValueError):
        return False


@contextmanager
def share_of_work(what: str, verbose: int) -> Iterator[Callable[[float], None]]:
    """Yield a function to call repeatedly with the fraction of the work done; short work shows nothing."""
    if not verbose or stderr_unavailable():
        yield lambda share: None
        return
    tqdm = bar_class()
    if tqdm is None:
        yield _lines(what)
        return
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=1.0, desc=what, bar_format=layout, dynamic_ncols=True, delay=PATIENCE, leave=False) as bar:
        yield lambda share: bar.update(share - bar.n)


def _lines(what: str) -> Callable[[float], None]:
    """Return a function that prints a line of text at most every five seconds."""
    due = monotonic() + PATIENCE

    def show(share: float) -> None:
        nonlocal due
        if monotonic() > due:
            due = monotonic() + 5
            print(f"{what}: {share:.0%}", file=sys.stderr)

    return show


# ---- training


class Progress:
    """The progress of training; this base class shows nothing."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def step(self, done: int) -> None:
        """Report the number of steps done."""

    def epoch(self, epoch: int, history: Mapping[str, list[float]]) -> None:
        """Report the end of an epoch."""


class _Lines(Progress):
    """Lines of text, at most one per second: without tqdm, or outside terminals and notebooks."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs
        self.due = monotonic() + 1

    def epoch(self, epoch: int, history: Mapping[str, list[float]]) -> None:
        if epoch == self.epochs or monotonic() > self.due:
            self.due = monotonic() + 1
            print(f"epoch {_of(epoch, self.epochs)}: {_latest(history)}", file=sys.stderr)


class _Bar(Progress):
    """A progress bar, in a terminal or a notebook."""

    def __init__(self, tqdm: Any, total: int | None, epochs: int | None) -> None:
        self.epochs = epochs
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        if total is None:
            layout = "{desc} {n} steps, {elapsed}{postfix}"
        self.bar = tqdm(total=total, desc=f"epoch {_of(1, epochs)}", bar_format=layout, dynamic_ncols=True)

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def step(self, done: int) -> None:
        self.bar.update(done - self.bar.n)

    def epoch(self, epoch: int, history: Mapping[str, list[float]]) -> None:
        now = epoch + 1 if self.epochs is None else min(epoch + 1, self.epochs)
        self.bar.set_description(f"epoch {_of(now, self.epochs)}", refresh=False)
        self.bar.set_postfix_str(_latest(history), refresh=False)


def _of(epoch: int, epochs: int | None) -> str:
    return str(epoch) if epochs is None else f"{epoch}/{epochs}"


def _latest(history: Mapping[str, list[float]]) -> str:
    """Format the result of the last epoch: its metrics if there are any, else its loss."""
    entries = [entry for name in names_in(history) or ["loss"] for entry in (name, f"val_{name}") if entry in history]
    return ", ".join(f"{entry} {history[entry][-1]:.4f}" for entry in entries)


def progress_of(total: int | None, per_epoch: int, verbose: int, first: int = 0) -> Progress:
    """Return a context manager that shows the progress of training for `total` steps, without limit if it is None.

    `first`: steps of the first epoch that were done before.
    """
    if not verbose or stderr_unavailable():
        return Progress()
    epochs = None if total is None else ceil((first + total) / per_epoch)
    tqdm = bar_class()
    return _Lines(epochs) if tqdm is None else _Bar(tqdm, total, epochs)
