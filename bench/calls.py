"""Small calls from Python: how much they cost beyond their arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from timeit import Timer
from typing import Any

import numpy as np

from bench.data import initial_parameters, load
from bench.inference import agrees, time_calls
from bench.peers import ONNXRuntime
from bench.peers.with_nnfast import optimizer, sequential
from bench.race import ratios, spread
from bench.workloads import WORKLOADS, Network, Workload

PREDICTED = tuple(WORKLOADS[name] for name in ("micro", "tiny", "book"))
TRAINED = (WORKLOADS["tiny"],)
SHORT = 20  # steps of a short call of fit
LEARNING_RATE = 1e-6  # so low that the network stays as it is, however often a call is repeated
ROW_CALLS = {"plain": "net.predict_one(row)", "out": "net.predict_one(row, out=out)"}
FIT = "net.fit(x, y, epochs=1, batch_size=batch, optimizer=optimizer, shuffle=False, verbose=0)"
BATCH_CALLS = {
    "train_step": "net.train_step(x, y, optimizer)",
    "loss": "net.loss(x, y)",
    "gradient": "net.gradient(x, y)",
    "forward": "net.forward(x, training=True)",
    "forward, backward": "net.forward(x, training=True); net.backward(slope)",
    "forward, backward, update": "net.forward(x, training=True); net.backward(slope); net.update(optimizer)",
    "params['W1']": "net.params['W1']",
}


def compare_calls(rounds: int, threads: int, workloads: Sequence[Workload] | None = None) -> dict[str, Any]:
    """Return the figures of predictions of one row, and of calls with one mini-batch."""
    import nnfast as nf

    with nf.num_threads(threads):
        rows = [of_one_row(workload.network, rounds, threads) for workload in workloads or PREDICTED]
        batches = [of_a_batch(workload, rounds) for workload in workloads or TRAINED]
        reason = ONNXRuntime.missing()
        return {
            "rounds": rounds, "rows": rows, "absent": {ONNXRuntime.name: reason} if reason else {},
            "batches": batches,
        }  # fmt: skip


def of_one_row(network: Network, rounds: int, threads: int) -> dict[str, Any]:
    """Time `predict_one`, and ONNX Runtime if it is installed; the ratios are nnfast's times divided by that one's."""
    parameters = initial_parameters(network)
    net, row = sequential(network, parameters), np.random.default_rng(0).standard_normal(network.sizes[0], np.float32)
    own = {"net": net, "row": row, "out": np.empty(network.sizes[-1], np.float32)}
    timers, wrong = {name: Timer(call, globals=own) for name, call in ROW_CALLS.items()}, []
    peer = ONNXRuntime.name
    if not ONNXRuntime.missing():
        other = ONNXRuntime(network, parameters, threads)
        timers[peer] = Timer(
            "session.run(None, {'x': row[None]})[0][0]", globals={"session": other.session, "row": row}
        )
        wrong = [] if agrees(other, row[None], net.predict(row[None])) else [peer]
    seconds = time_calls(timers, rounds)
    return {
        "network": str(network),
        "microseconds": {name: spread([1e6 * s for s in taken]) for name, taken in seconds.items()},
        "ratio": {name: ratios(seconds[name], seconds[peer]) for name in ROW_CALLS if peer in seconds},
        "disagreements": wrong,
    }


def of_a_batch(workload: Workload, rounds: int) -> dict[str, Any]:
    """Time calls with one mini-batch; the ratios are their times divided by that of a step of `fit`.

    The time of a step of `fit` is the difference between a long and a short call, divided by the steps between them;
    what a short call takes longer than its steps is the cost of the call.
    """
    data, batch = load(workload), workload.batch
    timers = {name: timer(workload, call, data.x[:batch], data.y[:batch]) for name, call in BATCH_CALLS.items()}
    timers["short"] = timer(workload, FIT, data.x[: SHORT * batch], data.y[: SHORT * batch])
    timers["long"] = timer(workload, FIT, data.x, data.y)
    seconds = time_calls(timers, rounds)
    short, long = (np.array(seconds.pop(name)) for name in ("short", "long"))
    step = (long - short) / (len(data.x) // batch - SHORT)
    return {
        "description": str(workload),
        "fit_step": spread((1e6 * step).tolist()),
        "fit_call": spread((1e6 * (short - SHORT * step)).tolist()),
        "microseconds": {name: spread([1e6 * s for s in taken]) for name, taken in seconds.items()},
        "ratio": {name: ratios(taken, step.tolist()) for name, taken in seconds.items()},
    }


def timer(workload: Workload, call: str, x: np.ndarray, y: np.ndarray) -> Timer:
    """Return a timer of a call of a new network."""
    net = sequential(workload.network, initial_parameters(workload.network))
    slope = (net.predict(x) - np.eye(workload.sizes[-1], dtype=np.float32)[y]) / np.float32(len(x))
    names = {"net": net, "x": x, "y": y, "batch": workload.batch, "slope": slope}
    return Timer(call, globals=names | {"optimizer": optimizer(workload, LEARNING_RATE)})
