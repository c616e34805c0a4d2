"""Who watches long work: a terminal or a notebook gets a bar, where tqdm is there; anything else gets lines of text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

PATIENCE = 1.0  # seconds of work that need no word


def nobody_watches() -> bool:
    """Whether there is no standard error, as under pythonw, or it is closed, as in a daemon."""
    return sys.stderr is None or getattr(sys.stderr, "closed", False)


def bar_class() -> Any:
    """Return tqdm if somebody watches a bar move, else None."""
    watched = getattr(sys.stderr, "isatty", lambda: False)()
    if not (watched or "ipykernel" in sys.modules) or (watched and _knows_no_size()):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def _knows_no_size() -> bool:
    """Whether the terminal says that it has no columns or no rows: tqdm would show nothing."""
    try:
        return 0 in os.get_terminal_size(sys.stderr.fileno())
    except (OSError, AttributeError, ValueError):
        return False


@contextmanager
def share_of_work(what: str, verbose: int) -> Iterator[Callable[[float], None]]:
    """Give a function to be told, now and then, which part of long work is done; short work shows nothing."""
    if not verbose or nobody_watches():
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
    """A line of text at most every five seconds."""
    due = monotonic() + PATIENCE

    def show(share: float) -> None:
        nonlocal due
        if monotonic() > due:
            due = monotonic() + 5
            print(f"{what}: {share:.0%}", file=sys.stderr)

    return show
