"""One network, all peers, in turn: one sample at a time, and many at once."""

from __future__ import annotations

from timeit import Timer
from typing import Any

import numpy as np

from bench.data import initial_parameters
from bench.peers import Predictor
from bench.race import ratios, rest, spread
from bench.workloads import Network

ROWS = 10_000
SECONDS = 0.03  # per measurement
TOLERANCE = 1e-4  # of probabilities


def race_predictors(network: Network, peers: list[type[Predictor]], *, threads: int, rounds: int) -> dict[str, Any]:
    """Return each peer's time for one sample and for 10,000, measured in turn, round after round.

    A peer's ratio in a round is its time divided by the time of nnfast, the first peer, in the same round.
    """
    x = np.random.default_rng(0).standard_normal((ROWS, network.sizes[0]), np.float32)
    parameters = initial_parameters(network)
    nets = {peer.name: peer(network, parameters, threads) for peer in peers}
    results: dict[str, Any] = {peer.name: {"version": peer.version()} for peer in peers}
    expected = next(iter(nets.values())).many(x)
    wrong = [name for name, net in nets.items() if not agrees(net, x, expected)]
    for what, calls in (
        ("one", {name: Timer("one(row)", globals={"one": net.one, "row": x[0]}) for name, net in nets.items()}),
        ("many", {name: Timer("many(x)", globals={"many": net.many, "x": x}) for name, net in nets.items()}),
    ):
        seconds = time_calls(calls, rounds)
        first = next(iter(seconds.values()))
        for name, own in seconds.items():
            results[name][what] = {"ratio": ratios(own, first), "microseconds": spread([1e6 * s for s in own])}
    return {"network": str(network), "rows": ROWS, "rounds": rounds, "peers": results, "disagreements": wrong}


def agrees(net: Predictor, x: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether a peer runs the same network."""
    return bool(
        np.allclose(net.many(x), expected, atol=TOLERANCE) and np.allclose(net.one(x[0]), expected[0], atol=TOLERANCE)
    )


def time_calls(calls: dict[str, Timer], rounds: int, *, repeat: bool = True) -> dict[str, list[float]]:
    """Return the seconds of each call in each round; a measurement repeats the call for some time.

    Without `repeat`, each measurement is one call, and there are none before.
    """
    counts = {name: repetitions(call) if repeat else 1 for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            rest()
            seconds[name].append(calls[name].timeit(counts[name]) / counts[name])
    return seconds


def repetitions(call: Timer) -> int:
    """Return how often to repeat a call in a measurement, at least once; this also warms it up."""
    call.timeit(1)
    if call.timeit(1) > SECONDS:
        return 1
    call.timeit(3)
    return max(1, int(3 * SECONDS / call.timeit(3)))
