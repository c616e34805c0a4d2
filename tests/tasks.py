"""How many threads a process has, on Linux."""

from __future__ import annotations

import os
import threading
import time


def count_tasks():
    """The number of threads of this process, once joined threads have left the system's list."""
    counts = []
    for _ in range(200):
        counts.append(len(os.listdir("/proc/self/task")))
        if counts[-5:] == counts[-1:] * 5:
            break
        time.sleep(0.002)
    return counts[-1]


def most_tasks_during(work):
    """The largest number of additional threads while `work` ran, and how many were left afterwards."""
    before, most, done = count_tasks(), 0, threading.Event()

    def watch():
        nonlocal most
        while not done.is_set():
            most = max(most, len(os.listdir("/proc/self/task")))
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most - before - 1, count_tasks() - before
