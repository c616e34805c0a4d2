"""What the training loop costs beyond its steps: callbacks, losses of one's own, data of other kinds, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from timeit import Timer
from typing import Any

import numpy as np

from bench.data import initial_parameters, load
from bench.dqn import compare_dqn
from bench.inference import time_calls
from bench.peers.with_nnfast import optimizer, sequential
from bench.race import ratios, spread
from bench.workloads import BOOK, WORKLOADS, Workload

EPOCHS, EPOCH_STEPS = 20, 50  # of a call of `fit` on a small network
LEARNING_RATE = 1e-6  # so low that the network stays as it is, however often a call is repeated
FEATURES, DENSITY, SPARSE_ROWS = 20_000, 0.01, 2_048
SPARSE_SHAPES = ((FEATURES, 100, 10), (FEATURES, 32, 2))
SPARSE_BATCHES = (32, 128, 512)
GIGABYTES = 2  # of a memory map


def compare_loop(rounds: int, threads: int, gigabytes: float) -> dict[str, Any]:
    """Return all figures; a ratio is the time of what is named first divided by that of what it is compared with."""
    import nnfast as nf

    with nf.num_threads(threads):
        figures = [
            callback(rounds), early_stopping(rounds), *own_losses(rounds), *bytes_by_floats(rounds),
            *sparse_by_dense(rounds),
        ]  # fmt: skip
        memory = [in_a_process("mnist_from_bytes"), in_a_process("memory_map", gigabytes)]
    return {"rounds": rounds, "figures": figures, "memory": memory, "dqn": compare_dqn(rounds, threads)}


def figure(name: str, timers: dict[str, Timer], rounds: int) -> dict[str, Any]:
    """Return the ratio of the first of two calls to the second one."""
    seconds = time_calls(timers, rounds)
    above, below = (seconds[key] for key in timers)
    return {"name": name, "calls": list(timers), "ratio": ratios(above, below), "seconds": spread(below)}


# ---- callbacks


def tiny_data() -> tuple[Workload, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the workload tiny, an epoch of its data, and data to validate on: a quarter as many."""
    workload = WORKLOADS["tiny"]
    data, n = load(workload), EPOCH_STEPS * workload.batch
    return workload, data.x[:n], data.y[:n], (data.x_test[: n // 4], data.y_test[: n // 4])


def fit_timer(workload: Workload, x: Any, y: np.ndarray, net: Any = None, **options: Any) -> Timer:
    """Return a timer of a call of `fit` with a workload's optimizer, of a network of its own."""
    net = net or sequential(workload.network, initial_parameters(workload.network))
    options = {"epochs": EPOCHS, "batch_size": workload.batch} | options
    return timer_of_fit(net, x, y, optimizer=optimizer(workload, LEARNING_RATE), **options)


def timer_of_fit(net: Any, x: Any, y: np.ndarray, **options: Any) -> Timer:
    """Return a timer of a call of `fit`."""
    return Timer(lambda: net.fit(x, y, verbose=0, **options))


def callback(rounds: int) -> dict[str, Any]:
    """Compare fits with and without a callback for each epoch that does nothing."""
    workload, x, y, _ = tiny_data()
    timers = {
        "with a callback": fit_timer(workload, x, y, callbacks=[lambda net, history: None]),
        "without": fit_timer(workload, x, y),
    }
    return figure(f"a callback that does nothing after each epoch of {EPOCH_STEPS} steps, tiny", timers, rounds)


def early_stopping(rounds: int) -> dict[str, Any]:
    """Compare a fit that stops early with one without validation and as many calls of `evaluate`."""
    from nnfast.callbacks import EarlyStopping

    workload, x, y, validation = tiny_data()
    stopping = EarlyStopping("val_loss", patience=10**6)
    net = sequential(workload.network, initial_parameters(workload.network))
    seconds = time_calls(
        {
            "stopping": fit_timer(workload, x, y, validation_data=validation, callbacks=[stopping]),
            "fit": fit_timer(workload, x, y),
            "evaluate": Timer(lambda: net.evaluate(*validation)),
        },
        rounds,
    )
    apart = [fit + EPOCHS * evaluate for fit, evaluate in zip(seconds["fit"], seconds["evaluate"], strict=True)]
    return {
        "name": "early stopping with validation after each epoch, tiny",
        "calls": ["early stopping", "fit, and evaluate as often"],
        "ratio": ratios(seconds["stopping"], apart),
        "seconds": spread(apart),
    }


# ---- losses


def own_losses(rounds: int) -> list[dict[str, Any]]:
    """Compare cross entropy as a function of one's own with the built-in one."""
    workload = WORKLOADS["tabular"]
    data = load(workload)
    x, y = data.x[: 40 * workload.batch], data.y[: 40 * workload.batch]
    losses: dict[str, Any] = {"a Python loss": python_loss}
    if find_spec("numba"):
        losses["a compiled loss (numba)"] = compiled_loss(workload.sizes[-1])
    found = []
    for name, loss in losses.items():
        timers = {
            name: fit_timer(workload, x, y, with_loss(workload, loss), epochs=1),
            "the built-in loss": fit_timer(workload, x, y, epochs=1),
        }
        found.append(figure(f"{name}, tabular", timers, rounds))
    return found


def python_loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross entropy, and its gradient with respect to the outputs of a softmax."""
    rows = np.arange(len(targets))
    chosen = outputs[rows, targets]
    gradient = np.zeros_like(outputs)
    gradient[rows, targets] = -1 / (chosen * np.float32(len(targets)))
    return float(-np.log(chosen).mean()), gradient


def compiled_loss(classes: int) -> Any:
    """Return cross entropy of a row, compiled."""
    from math import log

    from numba import carray, cfunc, types

    numbers = types.CPointer(types.double)

    @cfunc(types.double(types.intc, numbers, types.int64, numbers, types.voidptr))  # type: ignore[untyped-decorator]
    def loss(n: int, outputs: Any, label: int, gradient: Any, user_data: Any) -> float:
        slopes = carray(gradient, classes)
        slopes[:] = 0.0
        slopes[label] = -1.0 / outputs[label]
        return -log(outputs[label])

    return loss


def with_loss(workload: Workload, loss: Any) -> Any:
    """Return a network with a loss of one's own."""
    import nnfast as nf

    sizes = workload.sizes
    layers = [*(nf.Dense(units, workload.activation) for units in sizes[1:-1]), nf.Dense(sizes[-1], "softmax")]
    net = nf.Sequential(layers, input_shape=sizes[0], loss=loss)
    for i, (weights, bias) in enumerate(initial_parameters(workload.network), start=1):
        net.params[f"W{i}"], net.params[f"b{i}"] = weights, bias
    return net


# ---- data


def bytes_by_floats(rounds: int) -> list[dict[str, Any]]:
    """Compare training on bytes with training on float32."""
    import nnfast as nf

    workload = WORKLOADS["book"]
    n, rng = 100 * workload.batch, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, workload.sizes[0])).astype(np.uint8)
    y = rng.integers(0, workload.sizes[-1], n)

    def net(*first: Any) -> Any:
        layers = [*first, *(nf.Dense(units, BOOK.activation) for units in BOOK.sizes[1:-1]), nf.Dense(10, "softmax")]
        return nf.Sequential(layers, input_shape=workload.sizes[0], seed=0)

    scaled = pixels / np.float32(255)
    rescaling = nf.Rescaling(1 / 255)
    options = {"epochs": 1}
    bytes_ = {"uint8, with Rescaling": fit_timer(workload, pixels, y, net(rescaling), **options)}
    others = {
        "float32, with Rescaling": (pixels.astype(np.float32), net(rescaling)),
        "float32, scaled before": (scaled, net()),
    }
    return [
        figure(f"uint8 by {name}, book", bytes_ | {name: fit_timer(workload, x, y, own, **options)}, rounds)
        for name, (x, own) in others.items()
    ]


def sparse_by_dense(rounds: int) -> list[dict[str, Any]]:
    """Compare training on a sparse matrix with training on the same as an array."""
    from scipy import sparse

    import nnfast as nf

    rng = np.random.default_rng(0)
    matrix = sparse.random_array((SPARSE_ROWS, FEATURES), density=DENSITY, format="csr", dtype=np.float32, rng=rng)
    array, found = matrix.toarray(), []
    for sizes in SPARSE_SHAPES:
        y = rng.integers(0, sizes[-1], SPARSE_ROWS)
        for make in (nf.SGD, nf.Adam):
            for batch in SPARSE_BATCHES:
                options = {"epochs": 1, "batch_size": batch, "optimizer": make(LEARNING_RATE), "shuffle": False}
                timers = {
                    name: timer_of_fit(hidden_relu(sizes), x, y, **options)
                    for name, x in {"CSR": matrix, "dense": array}.items()
                }
                name = f"CSR by dense, {'-'.join(map(str, sizes))}, {make.__name__}, batch {batch}"
                found.append(figure(name, timers, max(3, rounds // 3)))
    return found


def hidden_relu(sizes: tuple[int, ...]) -> Any:
    """Return a classifier with relu in its hidden layers."""
    import nnfast as nf

    hidden = [nf.Dense(units, "relu") for units in sizes[1:-1]]
    return nf.Sequential([*hidden, nf.Dense(sizes[-1], "softmax")], input_shape=sizes[0], seed=0)


# ---- memory, each in a process of its own


def in_a_process(what: str, *arguments: Any) -> dict[str, Any]:
    """Return the figures that a function of this file prints in another process."""
    command = [sys.executable, "-m", "bench.loop", what, *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def own_memory(peak: bool = False) -> float:
    """Return the process' anonymous memory in megabytes, without mapped files; or its largest resident size so far."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM" if peak else "RssAnon"].split()[0]) / 1024


def mnist_from_bytes() -> dict[str, Any]:
    """Return by how much memory grows at most in a fit on 60,000 pictures in bytes."""
    import nnfast as nf

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60_000, 784), np.uint8), rng.integers(0, 10, 60_000)
    net = nf.Sequential([nf.Rescaling(1 / 255), nf.Dense(50, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=0)
    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is the present one
    before = own_memory(peak=True)
    net.fit(x, y, epochs=1, batch_size=100, verbose=0)
    return {"name": "MNIST's shape from bytes: peak above the data", "megabytes": own_memory(peak=True) - before}


def memory_map(gigabytes: str) -> dict[str, Any]:
    """Return the memory that training on a memory map takes, and its speed compared with an array in memory."""
    from tempfile import TemporaryDirectory
    from threading import Event, Thread

    size = float(gigabytes)
    rows = int(size * 2**30 / 784 / 4)
    y, most, done = np.arange(rows) % 10, 0.0, Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, own_memory())

    with TemporaryDirectory() as folder:
        x = np.memmap(Path(folder, "x.dat"), np.float32, "w+", shape=(rows, 784))
        for first in range(0, rows, 4096):
            x[first : first + 4096] = np.arange(784, dtype=np.float32) / 784
        timer = fit_timer(WORKLOADS["book"], x, y, epochs=1)
        before = own_memory()
        watcher = Thread(target=watch)
        watcher.start()
        timer.timeit(1)
        done.set()
        watcher.join()
        in_memory = np.array(x)
        timers = {"in memory": fit_timer(WORKLOADS["book"], in_memory, y, epochs=1), "memory map": timer}
        seconds: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(3):
            for name, each in timers.items():
                seconds[name].append(each.timeit(1))
    return {
        "name": f"a memory map of {size:g} GB: anonymous memory above the targets",
        "megabytes": most - before,
        "speed": ratios(seconds["in memory"], seconds["memory map"]),
    }


if __name__ == "__main__":
    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "mnist_from_bytes": mnist_from_bytes,
        "memory_map": memory_map,
    }
    print(json.dumps(functions[sys.argv[1]](*sys.argv[2:])))
