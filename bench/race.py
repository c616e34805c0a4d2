"""Train one network with all peers, in turn."""

from __future__ import annotations

from statistics import median
from time import perf_counter, sleep
from typing import Any

from bench.data import evaluate, initial_parameters, load
from bench.machine import cores
from bench.peak import Peak
from bench.peers import Trainer
from bench.workloads import Workload

# The largest relative difference between a peer's loss and nnfast's, early and at the end. With SGD and a smooth
# activation, trajectories stay together for thousands of steps. With Adam or relu they do not: moving the initial
# weights by 1e-7 changes the final loss by 10 %; and scikit-learn adds epsilon before correcting the moments, which
# shows early.
EARLY_STEPS = 20
TOLERANCES = {"sgd": {"early_loss": 1e-4, "loss": 1e-3}, "adam": {"early_loss": 5e-3, "loss": 0.3}}
RELU_TOLERANCE = {"loss": 0.3}
ACCURACY_TOLERANCE = 0.02
REST = 0.05  # seconds


def race(
    workload: Workload, peers: list[type[Trainer]], *, threads: int, rounds: int, steps: int, peak: Peak | None = None
) -> dict[str, Any]:
    """Return the time and the result of `steps` steps of each peer, spread over rounds.

    In a round the peers train one after another; a different one begins each round. A peer's ratio in a round is its
    time divided by nnfast's in the same round. A short training of each peer beforehand, which gives the early losses,
    also warms everything up.
    """
    data, initial = load(workload), initial_parameters(workload.network)
    results: dict[str, dict[str, Any]] = {}
    for peer in peers:
        network = peer(workload, data, initial, threads)
        network.prepare(EARLY_STEPS)
        network.run(EARLY_STEPS)
        early_loss, _ = evaluate(workload, network.parameters(), data.x_test, data.y_test)
        results[peer.name] = {"version": peer.version(), "early_loss": early_loss}

    networks = {peer.name: peer(workload, data, initial, threads) for peer in peers}
    seconds = time_in_turn(networks, rounds, steps // rounds, peak)
    first = peers[0].name
    for name, result in results.items():
        loss, accuracy = evaluate(workload, networks[name].parameters(), data.x_test, data.y_test)
        ratio = ratios(seconds[name], seconds[first])
        microseconds = spread([1e6 * own for own in seconds[name]])
        gflops = workload.flops / median(seconds[name]) / 1e9
        result |= {"loss": loss, "accuracy": accuracy, "ratio": ratio, "microseconds": microseconds, "gflops": gflops}
    return {
        "workload": workload.name,
        "description": str(workload),
        "data": data.source,
        "rows": len(data.x),
        "steps": steps // rounds * rounds,
        "rounds": rounds,
        "peers": results,
        "disagreements": disagreements(workload, results, first),
    }


def time_in_turn(networks: dict[str, Trainer], rounds: int, steps: int, peak: Peak | None) -> dict[str, list[float]]:
    """Train each network for `steps` steps in each round; return the seconds per step of each in each round."""
    names = list(networks)
    several = len({type(network) for network in networks.values()}) > 1
    for network in networks.values():
        network.prepare(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if several:
                rest()
            start = perf_counter()
            networks[name].run(steps)
            seconds[name].append((perf_counter() - start) / steps)
        if peak:
            peak.measure()
    return seconds


def rest() -> None:
    """Let the threads of the library that was measured last go to sleep.

    On several cores, those of OpenBLAS wait for more work at full speed for 26 ms, which slows the next library down
    several times.
    """
    if len(cores()) > 1:
        sleep(REST)


def steps_for(network: Trainer, seconds: float) -> int:
    """Return how many steps take about this long, by training the network for a while."""
    steps = 1
    while True:
        start = perf_counter()
        network.run(steps)
        taken = perf_counter() - start
        if taken > seconds / 4:
            return max(1, round(steps * seconds / taken))
        steps *= 4


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the range of `values`."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratios(above: list[float], below: list[float]) -> dict[str, float]:
    """Return the median and the range of the ratios in each round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def disagreements(workload: Workload, results: dict[str, dict[str, Any]], first: str) -> list[str]:
    """Describe which peers did not train the same network as nnfast, the first."""
    own, found = results[first], []
    tolerances = TOLERANCES[workload.optimizer] | (RELU_TOLERANCE if workload.activation == "relu" else {})
    allowed = {what: part * own[what] for what, part in tolerances.items()}
    allowed["accuracy"] = ACCURACY_TOLERANCE
    for name, result in results.items():
        for what, difference in allowed.items():
            if not abs(result[what] - own[what]) <= difference:  # so that NaN disagrees
                found.append(f"{name}: {what} {result[what]:.6g}, {first} {own[what]:.6g}")
    return found
