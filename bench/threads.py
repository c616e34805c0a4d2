"""nnfast alone, on one thread and on more: the speedup, and the slowdown with too many threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from bench.data import Data, initial_parameters, load
from bench.machine import cores
from bench.peers.with_nnfast import NNFast
from bench.race import EARLY_STEPS, ratios, steps_for, time_in_turn
from bench.sweep import data_of
from bench.workloads import Workload

CHOICES = {"1": 1, "2": 2, "4": 4, "8": 8, "2 fixed": 2}  # threads allowed, or fixed: used whether or not they pay
MOST = "8"
FEW = {"1": 1, "2": 2}  # for many networks
SECONDS = 0.6  # per measurement on one thread: some of the engine's trials fall into it
CELL_SECONDS = 0.15
CELL_BAR = 0.97  # two threads by one
SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:  # so that it ends even if the benchmark is killed
    for _ in range(100_000):
        pass
"""


def compare_threads(workload: Workload, rounds: int, steps: int | None) -> dict[str, Any]:
    """Return the speedup of training on several threads over one, measured in turn, and what the engine chose.

    `steps` is the number in each round; by default as many as one thread does in `SECONDS`. "allowed" is the speed with
    the highest limit divided by the speed of the best choice that the cores suffice for.
    """
    data = load(workload)
    steps = steps or steps_on_one_thread(workload, data, SECONDS)
    networks, seconds = train_in_turn(workload, data, CHOICES, rounds, steps)
    few = [name for name, threads in CHOICES.items() if name != MOST and threads <= len(cores())]
    best = min(few, key=lambda name: median(seconds[name]))
    first = networks["1"].net.flat_params
    return {
        "workload": workload.name,
        "description": str(workload),
        "steps": steps,
        "microseconds": 1e6 * median(seconds["1"]),
        "speedup": {name: ratios(seconds["1"], own) for name, own in seconds.items()},
        "best": best,
        "most": MOST,
        "allowed": ratios(seconds[best], seconds[MOST]),
        "chosen": {name: shares(network.steps_on) for name, network in networks.items()},
        "same_bits": all((network.net.flat_params == first).all() for network in networks.values()),
    }


def compare_cell(workload: Workload, rounds: int) -> dict[str, Any]:
    """Return the speedup with two threads allowed, in short runs of one of many networks."""
    data = data_of(workload)
    steps = steps_on_one_thread(workload, data, CELL_SECONDS)
    networks, seconds = train_in_turn(workload, data, FEW, rounds, steps)
    return {
        "description": str(workload), "ratio": ratios(seconds["1"], seconds["2"])["median"],
        "microseconds": 1e6 * median(seconds["1"]), "chosen": shares(networks["2"].steps_on),
    }  # fmt: skip


def steps_on_one_thread(workload: Workload, data: Data, seconds: float) -> int:
    """Return how many steps take about this long on one thread."""
    return steps_for(NNFast(workload, data, initial_parameters(workload.network), 1), seconds)


def train_in_turn(
    workload: Workload, data: Data, choices: dict[str, int], rounds: int, steps: int
) -> tuple[dict[str, NNFast], dict[str, list[float]]]:
    """Train a network with each choice of threads; return the networks, and the seconds per step in each round."""
    initial = initial_parameters(workload.network)
    networks = {
        name: NNFast(workload, data, initial, threads, fixed="fixed" in name) for name, threads in choices.items()
    }
    for network in networks.values():
        network.run(EARLY_STEPS)  # warms up
        network.steps_on.clear()
    return networks, time_in_turn(dict(networks), rounds, steps, None)


def shares(steps: dict[int, int]) -> dict[str, float]:
    """Return the share of the steps that were done on each number of threads, from most threads to fewest."""
    total = sum(steps.values())
    return {str(threads): steps[threads] / total for threads in sorted(steps, reverse=True)}


@contextmanager
def neighbor() -> Iterator[subprocess.Popen[bytes]]:
    """Keep one core busy with another process meanwhile; the system decides which core."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", SPIN], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
