"""The number of threads a call may use. It affects only the time, not the results."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from nnfast._validation import check_bool, check_int

_everywhere: tuple[int, bool] | None = None  # the number, and whether it is fixed
_here: ContextVar[tuple[int, bool] | None] = ContextVar("nnfast_num_threads", default=None)


MAX_THREADS = 1024  # more than any call uses


def set_num_threads(n: int, *, fixed: bool = False) -> None:
    """Set the maximum number of threads a call may use, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. Small calls use fewer: a thread that would cost more than it saves is not started.
    fixed : bool
        By default `fit`, and loops of `train_step`, `gradient`, `predict` or `evaluate`, measure while they run whether
        fewer threads are faster, as for a small network or beside another busy program, and use as many as pay. If
        True, they always use `n`.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a positive integer.

    Examples
    --------
    >>> import nnfast as nf
    >>> before = nf.get_num_threads()
    >>> nf.set_num_threads(1)
    >>> nf.get_num_threads()
    1
    >>> nf.set_num_threads(before)
    """
    global _everywhere
    _everywhere = check_int("n", n, 1, MAX_THREADS), check_bool("fixed", fixed)


@contextmanager
def num_threads(n: int, *, fixed: bool = False) -> Iterator[None]:
    """Set the maximum number of threads for calls inside a ``with`` block, in the current thread or task only.

    Parameters
    ----------
    n : int
        At least 1.
    fixed : bool
        As for `set_num_threads`.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a positive integer.

    Examples
    --------
    >>> import nnfast as nf
    >>> with nf.num_threads(1):
    ...     nf.get_num_threads()
    1
    """
    token = _here.set((check_int("n", n, 1, MAX_THREADS), check_bool("fixed", fixed)))
    try:
        yield
    finally:
        _here.reset(token)


def at_most(n_threads: int | None) -> AbstractContextManager[None]:
    """Limit the number of threads inside a ``with`` block, unless it is None."""
    return nullcontext() if n_threads is None else num_threads(min(n_threads, MAX_THREADS))


def get_num_threads() -> int:
    """Return the maximum number of threads a call may use.

    It is the first of these that is set: `num_threads`, `set_num_threads`, the environment variables
    ``NNFAST_NUM_THREADS`` and ``OMP_NUM_THREADS``; otherwise the number of cores that this process may use.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        If ``NNFAST_NUM_THREADS`` is not a positive integer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.get_num_threads() >= 1
    True
    """
    return allowed_threads()[0]


def allowed_threads() -> tuple[int, bool]:
    """Return the maximum number of threads, and whether to use it instead of measuring which number is faster."""
    global _everywhere
    here = _here.get()
    if here is not None:
        return here
    if _everywhere is None:
        _everywhere = _from_environment(), False
    return _everywhere


def _from_environment() -> int:
    own = os.environ.get("NNFAST_NUM_THREADS", "")
    if own:
        number = _count(own)
        if number is None:
            raise ValueError(f"NNFAST_NUM_THREADS must be a positive integer, got {reprlib.repr(own)}")
        return number
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # OpenMP allows a list, by nesting level
    return _count(first) or _usable_cores()


def _count(text: str) -> int | None:
    """Return the positive integer in a text, limited to `MAX_THREADS`; None if it is something else."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()):
        return None
    digits = digits.lstrip("0")
    if len(digits) > len(str(MAX_THREADS)):  # Python does not read integers of very many digits
        return MAX_THREADS
    return min(int(digits), MAX_THREADS) if digits else None


def _usable_cores() -> int:
    """Return the number of cores by affinity, or fewer if a control group limits the time."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such control group, or "max": no limit
        pass
    return max(1, cores)
