"""Many networks, batches and optimizers: where nnfast is faster than the fastest peer, and where it is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

from bench.data import Data, initial_parameters, synthesize
from bench.peers import Trainer
from bench.peers.with_jax import JAX
from bench.peers.with_nnfast import NNFast
from bench.peers.with_torch import PyTorch
from bench.race import ratios, rest, steps_for
from bench.workloads import ACTIVATIONS, OPTIMIZERS, Network, Workload

FEATURES, CLASSES = 32, 10
WIDTHS = (4, 16, 64, 128, 256, 512, 1024)
BATCHES = (1, 8, 64, 512, 4096)
DEPTHS = (1, 2, 4, 6)  # hidden layers
USUAL = ("relu", "adam", 2)  # the value of each where the others vary
SECONDS = 0.08  # per measurement
FLOPS_FOR_TORCH = 1e7  # per step: below this, PyTorch's overhead alone takes longer than the other peers


def cells() -> Iterator[Workload]:
    """Yield all depths with the usual activation and optimizer, and all of these with the usual depth."""
    kinds = [(USUAL[0], USUAL[1], depth) for depth in DEPTHS]
    kinds += [(a, o, USUAL[2]) for a in ACTIVATIONS for o in OPTIMIZERS if (a, o) != USUAL[:2]]
    for activation, optimizer, depth in kinds:
        for width in WIDTHS:
            for batch in BATCHES:
                network = Network((FEATURES, *[width] * depth, CLASSES), activation)
                yield Workload(f"{activation} {optimizer} {depth}", network, optimizer, batch, 0)


def sweep(measure: Callable[[Workload], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what `measure` returns for each cell; it contains a ratio, which should not be low."""
    everything = list(cells())
    results = []
    for i, workload in enumerate(everything, start=1):
        results.append(measure(workload))
        if sys.stderr.isatty() or i % 20 == 0 or i == len(everything):
            worst = min(results, key=lambda result: result["ratio"])
            told = f"{i} of {len(everything)} cells; the lowest ratio {worst['ratio']:.2f}: {worst['description']}"
            print(told, file=sys.stderr, end="\r" if sys.stderr.isatty() and i < len(everything) else "\n")
    return results


def data_of(workload: Workload) -> Data:
    """Return synthetic data for a cell: fewer rows than for a workload, since there are many cells."""
    batches = max(1, min(64, 2**21 // (workload.batch * FEATURES)))
    (x, y), (x_test, y_test) = synthesize(workload.sizes, (batches * workload.batch, 1))
    return Data(x, y, x_test, y_test, "synthetic data")


def measure(workload: Workload, threads: int, rounds: int) -> dict[str, Any]:
    """Return the time of the fastest peer divided by nnfast's, measured in turn, and which peer that is."""
    data, initial = data_of(workload), initial_parameters(workload.network)
    kinds: list[type[Trainer]] = [NNFast, *(peer for peer in (JAX, PyTorch) if worth(peer, workload))]
    networks = {kind.name: kind(workload, data, initial, threads) for kind in kinds}
    steps = steps_for(networks[NNFast.name], SECONDS)
    for network in networks.values():
        network.prepare(steps)
        network.run(steps)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            rest()
            start = perf_counter()
            network.run(steps)
            seconds[name].append((perf_counter() - start) / steps)
    own = seconds.pop(NNFast.name)
    fastest = min(seconds, key=lambda name: median(seconds[name]))
    return {
        "kind": workload.name, "width": workload.sizes[1], "batch": workload.batch, "description": str(workload),
        "ratio": ratios(seconds[fastest], own)["median"], "fastest": fastest, "microseconds": 1e6 * median(own),
    }  # fmt: skip


def worth(peer: type[Trainer], workload: Workload) -> bool:
    """Return whether a peer is installed and may be the fastest."""
    return peer.missing() is None and (peer is not PyTorch or workload.flops > FLOPS_FOR_TORCH)
