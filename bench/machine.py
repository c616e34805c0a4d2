"""The machine, and the number of threads to use. Nothing here imports NumPy before `pin`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NNFAST_NUM_THREADS")


def cores() -> list[int]:
    """Return the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def pin(count: int, threads: int) -> None:
    """Limit each library to `threads` threads and the process to `count` cores; call it before importing them."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[-count:])  # the first core handles most interrupts


ALLOWED = cores()  # before `pin`


@contextmanager
def unpinned() -> Iterator[None]:
    """Let the process use all its cores again; threads and processes that begin meanwhile use them too."""
    before = cores()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, ALLOWED)
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)


def describe(threads: int) -> dict[str, Any]:
    """Return the processor, the threads, the SIMD level of nnfast and the versions that matter."""
    import numpy as np

    from nnfast.kernels import dispatch

    return {
        "processor": processor(),
        "threads": threads,
        "pinned_to": cores() if hasattr(os, "sched_setaffinity") else None,
        "simd": dispatch.level,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
    }


def processor() -> str:
    """Return the processor's name, as far as the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas() -> str | None:
    """Return the BLAS library that NumPy uses, and its number of threads; None if threadpoolctl is not installed."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture')}, threads: {pool['num_threads']}"
        for pool in pools
    )
