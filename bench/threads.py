"""nnfast alone, on one thread and on more: the speedup, and the slowdown with too many threads."""

from __future__ import annotations

from typing import Any

from bench.data import initial_parameters, load
from bench.peers.with_nnfast import NNFast
from bench.race import spread, time_in_turn
from bench.workloads import Workload

THREADS = (1, 2, 4, 8)


def compare_threads(workload: Workload, rounds: int, steps: int) -> dict[str, Any]:
    """Return the speedup of training on several threads over one, measured in turn."""
    data, initial = load(workload), initial_parameters(workload.network)
    networks = {str(threads): NNFast(workload, data, initial, threads) for threads in THREADS}
    seconds = time_in_turn(dict(networks), rounds, steps // rounds, None)
    first = seconds["1"]
    speedups = {name: spread([one / own for one, own in zip(first, s, strict=True)]) for name, s in seconds.items()}
    same = all(
        (network.net.flat_params == networks["1"].net.flat_params).all() for network in networks.values()
    )  # equal to the last bit
    return {"workload": workload.name, "description": str(workload), "speedup": speedups, "same_bits": same}
