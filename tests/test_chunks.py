"""Gradients are summed by chunks of rows, in an order that depends on shapes alone; threads share the work by chunks or
by parameters."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

import numpy as np
import pytest

import nnfast as nf
from nnfast.engine.program import Training
from nnfast.training.visits import Visits

on_linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc")


def narrow(**options):
    layers = [nf.Dense(24, "tanh"), nf.LayerNorm(), nf.Scale(), nf.Dense(16, "gelu", use_bias=False), nf.Dense(3)]
    return nf.Sequential(layers, input_shape=10, loss="mean_squared_error", seed=0, **options)


def rows_of(net, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *net.input_shape)).astype(net.dtype), rng.normal(size=(n, 3)).astype(net.dtype)


def backward(net, x, gout, *, accumulate=False):
    """The gradients after a forward and a backward pass over these rows."""
    net.forward(x, training=True)
    net.backward(gout, accumulate=accumulate)
    return net.flat_grads.copy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [96, 97, 150, 190])
def test_the_gradient_of_a_batch_is_the_sum_of_those_of_its_halves(n, dtype):
    net = narrow(dtype=dtype)
    x, gout = rows_of(net, n)
    whole = backward(net, x, gout)
    halves = [backward(net, x[rows], gout[rows]) for rows in (slice(n // 2), slice(n // 2, n))]
    assert whole.tobytes() == (halves[0] + halves[1]).tobytes()


@pytest.mark.parametrize("n", [0, 1, 40, 95])
def test_a_small_batch_is_one_chunk(n):
    net = narrow()
    assert net._network.built.chunks(n) == [1, 1, 1, 1, 1]


def test_large_batches_have_more_chunks_where_activations_are_more_than_parameters():
    net = nf.Sequential([nf.Dense(512, "relu"), nf.Dropout(0.5), nf.Dense(10)], input_shape=784, seed=0)
    counts = {n: net._network.built.chunks(n) for n in (96, 300, 310, 511, 512, 1024, 10**6)}
    assert counts == {
        96: [1, 0, 2], 300: [1, 0, 2], 310: [2, 0, 2], 511: [2, 0, 2], 512: [4, 0, 4], 1024: [8, 0, 8], 10**6: [8, 0, 8]
    }  # fmt: skip
    norm = nf.Sequential([nf.BatchNorm(), nf.Dense(2)], input_shape=4, seed=0)
    assert norm._network.built.chunks(512) == [1, 4]


@pytest.mark.parametrize("n", [20, 150, 600])
def test_accumulated_gradients_are_added(n):
    net = narrow()
    (x, gout), (x2, gout2) = rows_of(net, n), rows_of(net, n, seed=1)
    first, second = backward(net, x, gout), backward(net, x2, gout2)
    backward(net, x, gout)
    assert backward(net, x2, gout2, accumulate=True).tobytes() == (first + second).tobytes()


@pytest.mark.parametrize("n", [95, 96, 200, 512, 1100])
@pytest.mark.parametrize("threads", [2, 3, 4, 5, 8])
def test_chunks_have_the_same_bits_on_any_number_of_threads(n, threads):
    nets = [narrow(), narrow()]
    x, y = rows_of(nets[0], 2 * n + 7)
    for net, count in zip(nets, (1, threads), strict=True):
        with nf.num_threads(count, fixed=True):
            net.fit(x, y, epochs=3, batch_size=n, optimizer=nf.Adam(0.01), verbose=0)
            net.fit(x, y, epochs=2, batch_size=n, optimizer=nf.SGD(0.01, clip_norm=0.5), verbose=0)
    assert nets[0].flat_params.tobytes() == nets[1].flat_params.tobytes()
    with nf.num_threads(threads, fixed=True):
        several = nets[0].gradient(x[:n], y[:n])
    with nf.num_threads(1):
        one = nets[0].gradient(x[:n], y[:n])
    assert all(several[name].tobytes() == one[name].tobytes() for name in one)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 2, 4, 9])
@pytest.mark.parametrize("threads", [2, 4])
def test_a_single_input_has_the_same_bits_on_any_number_of_threads(units, threads, dtype):
    nets = [nf.Sequential([nf.Dense(units)], input_shape=1, dtype=dtype, seed=0) for _ in range(2)]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1024, 1)).astype(dtype), rng.normal(size=(1024, units)).astype(dtype)
    for net, count in zip(nets, (1, threads), strict=True):
        for batch in (192, 256, 512, 1024):
            with nf.num_threads(count, fixed=True):
                net.fit(x, y, batch_size=batch, optimizer=nf.SGD(0.1), verbose=0)
    assert nets[0].flat_params.tobytes() == nets[1].flat_params.tobytes()


def run_of_steps(net, x, y, batch, values, threads):
    """A run of 12 steps in order."""
    visits = Visits.of_rows(len(x), batch, None, 12, drawing="IN_ORDER", drop_last=False)
    stream = net._network.shuffle_stream.bit_generator
    return Training(net._network.built, x, y, None, visits, values, stream, (), (), threads, fixed=True)


@pytest.mark.parametrize(
    ("optimizer", "norms", "meetings"),
    [(nf.SGD(0.01), 0, 2), (nf.Adam(0.01), 0, 2), (nf.SGD(0.01, clip_norm=1.0), 0, 4), (nf.SGD(0.01), 2, 10)],
)
@pytest.mark.parametrize("batch", [50, 200, 1024])
def test_eight_threads_meet_twice_in_a_step(optimizer, norms, meetings, batch):
    """Twice more where gradients are clipped, and four times for each batch norm: twice on the way, twice back."""
    layers = [nf.Dense(24, "tanh"), *(nf.BatchNorm() for _ in range(norms)), nf.Dense(3)]
    net = nf.Sequential(layers, input_shape=10, loss="mean_squared_error", seed=0)
    x, y = rows_of(net, 3 * batch)
    values = optimizer.values(net.dtype)
    training = run_of_steps(net, x, y, batch, values, 8)
    assert training.run(12, values, seconds=600.0) == 12
    assert training.meetings == 12 * meetings


def test_one_thread_meets_nobody():
    net = narrow()
    x, y = rows_of(net, 200)
    values = nf.SGD(0.01).values(net.dtype)
    training = run_of_steps(net, x, y, 100, values, 1)
    assert training.run(12, values, seconds=600.0) == 12
    assert training.meetings == 0


# ---- places of threads


def masks_during(work):
    """For each other thread of the process, how often it was seen with each set of processors it may use."""
    seen, done, watcher = {}, threading.Event(), None

    def watch():
        while not done.is_set():
            for task in set(os.listdir("/proc/self/task")) - known:
                try:
                    with open(f"/proc/self/task/{task}/status", encoding="ascii") as file:
                        mask = next(line.split()[1] for line in file if line.startswith("Cpus_allowed:"))
                except (OSError, StopIteration):  # it has ended
                    continue
                seen.setdefault(task, Counter())[mask] += 1
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    known = set(os.listdir("/proc/self/task"))
    watcher.start()
    known.add(str(watcher.native_id))
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return seen


@pytest.mark.once
@on_linux
def test_threads_may_go_wherever_the_process_may():
    """They only begin apart."""
    net = narrow()
    x, y = rows_of(net, 2000)
    with open("/proc/self/status", encoding="ascii") as file:
        own = next(line.split()[1] for line in file if line.startswith("Cpus_allowed:"))

    def work():
        with nf.num_threads(3, fixed=True):
            net.fit(x, y, epochs=200, batch_size=500, verbose=0)

    seen = {}
    for _ in range(20):  # until a thread has been seen for a while, on a busy machine
        seen = {task: counts for task, counts in masks_during(work).items() if counts.total() >= 5}
        if seen:
            break
    assert seen
    assert {counts.most_common(1)[0][0] for counts in seen.values()} == {own}
    with open("/proc/self/status", encoding="ascii") as file:
        assert next(line.split()[1] for line in file if line.startswith("Cpus_allowed:")) == own
