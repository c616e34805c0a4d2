"""`fit_many`: many networks in one call, each with the bits of its own `fit`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy_network import state
from tasks import most_tasks_during

import nnfast as nf
from nnfast.engine.program import run_many
from nnfast.training.loop import Run

RNG = np.random.default_rng(7)
N = 150
X = RNG.standard_normal((N, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, N)
WEIGHTS = RNG.random(N)
FOLDS = [(np.setdiff1d(np.arange(N), test), test) for test in np.array_split(RNG.permutation(N), 5)]


def make_net(seed=0, *hidden, units=9, **options):
    layers = hidden or (nf.Dense(units, "relu"),)
    return nf.Sequential([*layers, nf.Dense(3, "softmax")], **({"input_shape": 6, "seed": seed} | options))


def random_net(seed=0, units=16):
    """Whose every step depends on the streams of noise, and which keeps running statistics."""
    return make_net(seed, nf.Dense(units, "tanh", l2=1e-3), nf.BatchNorm(), nf.Dropout(0.3), nf.Dense(5, "gelu"))


def twins(count, make=make_net):
    return [make(i) for i in range(count)], [make(i) for i in range(count)]


def fit_many(nets, x=X, y=LABELS, **options):
    return nf.fit_many(nets, x, y, **({"verbose": 0} | options))


def assert_same(nets, alone, histories, expected):
    """The whole state, and all that was recorded."""
    assert len(nets) == len(alone) == len(histories) == len(expected)
    for net, twin, history, own in zip(nets, alone, histories, expected, strict=True):
        assert net.history is history
        assert state(net)[:2] == state(twin)[:2]
        assert dict(history) == dict(own)
        np.testing.assert_array_equal(history.step_loss, own.step_loss)
        np.testing.assert_array_equal(history.learning_rate, own.learning_rate)
        assert history.steps_per_epoch == own.steps_per_epoch
        assert sum(history.threads.values()) == len(history.step_loss)


def part(options, i):
    """The options of one network."""
    return {name: value[i] if isinstance(value, list) else value for name, value in options.items()}


def begin_only(monkeypatch, networks):
    """Let so many networks for each thread begin at the same time."""
    monkeypatch.setattr("nnfast.training.many.WINDOW", networks)
    monkeypatch.setattr("nnfast.training.many.SHORT", 0.0)


# ---- the bits of its own fit

OPTIONS = {
    "defaults": {},
    "epochs of their own": {"epochs": [1, 2, 3, 4, 5, 6]},
    "steps of their own": {"steps": [1, 7, 20, 21, 2, 40]},
    "batches of their own": {"epochs": 2, "batch_size": [1, 7, 32, 149, 150, 1000]},
    "rates of their own": {"epochs": 2, "optimizer": [nf.SGD(0.1 / (i + 1), momentum=0.9) for i in range(6)]},
    "optimizers of their own": {"epochs": 2, "optimizer": ["sgd", "adam", "lion", "nadam", nf.AdamW(), nf.RMSprop()]},
    "one object for all": {"epochs": 2, "optimizer": nf.Adam(0.01, clip_norm=0.5, average_decay=0.9)},
    "in order": {"epochs": 2, "shuffle": [True, False, True, False, False, False]},
    "weights": {"epochs": 2, "sample_weight": WEIGHTS},
    "a list of numbers as weights": {"epochs": 2, "sample_weight": tuple(WEIGHTS.tolist())},
    "weights of their own": {"epochs": 2, "sample_weight": [WEIGHTS, None, WEIGHTS**2, WEIGHTS, WEIGHTS + 1, None]},
    "balanced classes": {"epochs": 2, "class_weight": "balanced", "sample_weight": WEIGHTS},
    "weights of classes of their own": {
        "epochs": 2, "class_weight": [{0: 5}, None, {1: 0.1, 2: 3.0}, "balanced", {}, {0: 0}]
    },
    "time that is not needed": {"epochs": 3, "max_seconds": 1e6},
    "metrics": {"epochs": 3, "metrics": ("accuracy", "top_2_accuracy", "mean_absolute_error")},
    "validation": {"epochs": 3, "validation_data": (X[:40], LABELS[:40])},
    "weighted validation": {"epochs": 3, "validation_data": (X[:40], LABELS[:40], WEIGHTS[:40])},
    "a schedule by step": {"epochs": 4, "optimizer": nf.SGD(nf.schedules.Cosine(0.1, steps=30))},
    "a cycle": {"epochs": 4, "optimizer": nf.SGD(nf.schedules.OneCycle(0.1, steps=20), momentum=0.9)},
    "a plateau": {"epochs": 6, "optimizer": nf.SGD(nf.schedules.ReduceOnPlateau(1.0, patience=0, monitor="loss"))},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (name, make)
        for name in OPTIONS
        for make in (make_net, random_net)
        if make is make_net or name != "batches of their own"  # a batch norm needs two rows
    ],
)
def test_each_has_the_bits_of_its_own_fit(name, make):
    options = OPTIONS[name]
    nets, alone = twins(6, make)
    for _ in range(2):  # the second training continues the first
        histories = fit_many(nets, **options)
        expected = [net.fit(X, LABELS, verbose=0, **part(options, i)) for i, net in enumerate(alone)]
        assert_same(nets, alone, histories, expected)


FOLD_OPTIONS = {
    "shuffled": {"epochs": 3},
    "in order": {"epochs": 3, "shuffle": False},
    "weighted": {"epochs": 3, "sample_weight": WEIGHTS},
    "in order, weighted": {"epochs": 3, "sample_weight": WEIGHTS, "shuffle": False},
    "balanced classes": {"epochs": 3, "class_weight": "balanced"},
    "an epoch cut off": {"steps": 13, "batch_size": 7},
    "metrics": {"epochs": 2, "metrics": ("accuracy", "mean_absolute_error", "top_2_accuracy")},
}


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("make", [make_net, random_net])
@pytest.mark.parametrize("name", FOLD_OPTIONS)
def test_folds_have_the_bits_of_a_fit_on_the_selected_rows(name, make, validated):
    options = FOLD_OPTIONS[name]
    nets, alone = twins(5, make)
    rows, tests = [fold for fold, _ in FOLDS], [test for _, test in FOLDS]
    histories = fit_many(nets, rows=rows, validation_rows=tests if validated else None, **options)
    expected = []
    for net, fold, test in zip(alone, rows, tests, strict=True):
        own = dict(options)
        if "sample_weight" in own:
            own["sample_weight"] = WEIGHTS[fold]
        if validated:
            own["validation_data"] = (X[test], LABELS[test], *([WEIGHTS[test]] if "sample_weight" in own else []))
        expected.append(net.fit(X[fold], LABELS[fold], verbose=0, **own))
    assert_same(nets, alone, histories, expected)
    assert ("val_loss" in histories[0]) == validated


def test_rows_in_every_form():
    """Rows may repeat and come in any order; a mask selects; None means all."""
    mask = LABELS > 0
    rows = [np.array([5, 5, 3, 149, 0]), [3, 2, 1], mask, None, np.arange(150, dtype=np.uint8), range(4)]
    nets, alone = twins(6)
    histories = fit_many(nets, rows=rows, validation_rows=rows[::-1], epochs=3)
    expected = []
    for net, own, test in zip(alone, rows, rows[::-1], strict=True):
        own, test = (slice(None) if r is None else np.asarray(r) for r in (own, test))
        validation = None if isinstance(test, slice) else (X[test], LABELS[test])
        expected.append(net.fit(X[own], LABELS[own], epochs=3, validation_data=validation, verbose=0))
    assert_same(nets, alone, histories, expected)


@pytest.mark.parametrize("loss", ["mean_squared_error", "huber", nf.losses.Quantile([0.1, 0.9])])
def test_targets_that_are_not_labels(loss):
    outputs = 2 if not isinstance(loss, str) else 1
    y = RNG.standard_normal(N)

    def make(seed):
        return nf.Sequential([nf.Dense(7, "tanh"), nf.Dense(outputs)], loss=loss, seed=seed, dtype="float64")

    nets, alone = twins(5, make)
    histories = fit_many(nets, X, y, epochs=2, rows=[fold for fold, _ in FOLDS], validation_rows=[t for _, t in FOLDS])
    expected = [
        net.fit(X[fold], y[fold], epochs=2, validation_data=(X[test], y[test]), verbose=0)
        for net, (fold, test) in zip(alone, FOLDS, strict=True)
    ]
    assert_same(nets, alone, histories, expected)


def test_networks_of_different_shapes_losses_and_dtypes():
    def make(seed):
        return [
            make_net(seed, units=3),
            make_net(seed, nf.Dense(20, "tanh"), nf.Dense(4), dtype="float64"),
            make_net(seed, nf.Residual([nf.Dense(6, "relu")]), nf.LayerNorm(), input_shape=None),
            make_net(seed, loss=nf.losses.CrossEntropy(label_smoothing=0.1)),
            make_net(seed, loss="mean_squared_error"),
        ]  # fmt: skip

    nets, alone = make(1), make(1)
    x = X.astype(np.float64)
    histories = fit_many(nets, x, epochs=3, validation_data=(x[:9], LABELS[:9]))
    expected = [net.fit(x, LABELS, epochs=3, validation_data=(x[:9], LABELS[:9]), verbose=0) for net in alone]
    assert_same(nets, alone, histories, expected)


def test_accuracy_is_recorded_where_the_rows_of_a_fold_are_classes():
    """The default metrics depend on the targets, and so on the rows: y has a value that is no class, in some folds."""
    y = RNG.integers(0, 2, (N, 2)).astype(np.float32)
    y[7] = 0.5
    layers = [nf.Dense(2, "sigmoid")]
    nets, alone = twins(5, lambda seed: nf.Sequential(layers, input_shape=6, loss="mean_squared_error", seed=seed))
    histories = fit_many(nets, X, y, rows=[test for _, test in FOLDS], epochs=2)
    expected = [net.fit(X[test], y[test], epochs=2, verbose=0) for net, (_, test) in zip(alone, FOLDS, strict=True)]
    assert_same(nets, alone, histories, expected)
    assert sum("accuracy" in history for history in histories) == 4


def test_samples_and_outputs_of_several_axes():
    x = RNG.standard_normal((60, 3, 4)).astype(np.float32)

    def make(seed):
        return nf.Sequential([nf.Flatten(), nf.Dense(6, "relu"), nf.Dense(12), nf.Reshape((3, 4))], seed=seed)

    nets, alone = twins(3, make)
    rows = [np.arange(40), np.arange(20, 60), None]
    histories = fit_many(nets, x, x, epochs=2, rows=rows, validation_rows=[np.arange(40, 60), np.arange(20), range(60)])
    own = [slice(0, 40), slice(20, 60), slice(None)], [slice(40, 60), slice(0, 20), slice(None)]
    expected = [
        net.fit(x[a], x[a], epochs=2, validation_data=(x[b], x[b]), verbose=0)
        for net, a, b in zip(alone, *own, strict=True)
    ]
    assert_same(nets, alone, histories, expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_any_number_of_threads_and_networks(count, threads):
    """Also more networks than have memory for training at the same time."""
    nets, alone = twins(count)
    options = {"epochs": [1 + i % 4 for i in range(count)], "batch_size": 16}
    with nf.num_threads(threads):
        histories = fit_many(nets, validation_data=(X[:5], LABELS[:5]) if count == 5 else None, **options)
    with nf.num_threads(1):
        validation = (X[:5], LABELS[:5]) if count == 5 else None
        expected = [
            net.fit(X, LABELS, validation_data=validation, verbose=0, **part(options, i)) for i, net in enumerate(alone)
        ]
    assert_same(nets, alone, histories, expected)


def test_more_networks_than_wait_for_memory(monkeypatch):
    begin_only(monkeypatch, 2)
    nets, alone = twins(13, random_net)
    rows = [FOLDS[i % 5][0] for i in range(13)]
    with nf.num_threads(2):
        histories = fit_many(nets, epochs=3, rows=rows)
    expected = [net.fit(X[own], LABELS[own], epochs=3, verbose=0) for net, own in zip(alone, rows, strict=True)]
    assert_same(nets, alone, histories, expected)


@pytest.mark.parametrize("few_rows", [True, False])
def test_more_networks_begin_where_they_end_soon(few_rows, monkeypatch):
    """Unless that takes much memory."""
    together = []

    def counted(runs, *arguments):
        together.append(len(runs))
        run_many(runs, *arguments)

    monkeypatch.setattr("nnfast.training.many.run_many", counted)
    monkeypatch.setattr("nnfast.training.many.SHORT", 1e9)
    monkeypatch.setattr("nnfast.training.many.ROW_NUMBERS", 100 * N if few_rows else 0)
    with nf.num_threads(1):
        fit_many(twins(200)[0], steps=1)
    assert together == ([16, 32, 64, 88] if few_rows else [16] * 12 + [8])


@pytest.mark.parametrize("fixed", [False, True])
def test_fewer_networks_than_threads_use_more_threads_each(fixed):
    """With the same bits, and `history` tells."""
    x, y = RNG.standard_normal((400, 300)).astype(np.float32), RNG.integers(0, 3, 400)

    def make(seed):
        return make_net(seed, nf.Dense(300, "relu"), nf.BatchNorm(), input_shape=300)

    nets, alone = twins(2, make)
    with nf.num_threads(4, fixed=fixed):
        histories = fit_many(nets, x, y, epochs=[5, 40], batch_size=200)
    expected = [net.fit(x, y, epochs=n, batch_size=200, verbose=0) for net, n in zip(alone, [5, 40], strict=True)]
    assert_same(nets, alone, histories, expected)
    for history in histories:
        assert set(history.threads) <= {1, 2, 4}
    if fixed:  # one of them is soon alone
        assert {threads for history in histories for threads in history.threads} == {2, 4}


@pytest.mark.once
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc/self/task")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_more_threads_than_allowed_and_none_is_left(threads):
    nets = twins(8)[0]
    with nf.num_threads(threads):
        assert most_tasks_during(lambda: fit_many(nets, epochs=2000)) == (threads - 1, 0)


# ---- the data are not copied


def traced(run):
    """The largest memory that NumPy and Python have allocated in a call, in bytes."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("validated", [False, True])
def test_folds_copy_no_data(validated):
    """One copy of the data of one fold alone would take 6.4 MB."""
    n = 2000
    x, y = RNG.random((n, 1000), dtype=np.float32), RNG.integers(0, 3, n)
    folds = [np.delete(np.arange(n), slice(i, i + 400)) for i in range(0, n, 400)]
    tests = [np.arange(i, i + 400) for i in range(0, n, 400)] if validated else None
    nets = [make_net(i, nf.Dense(4), input_shape=1000) for i in range(5)]
    run = lambda: fit_many(nets, x, y, rows=folds, validation_rows=tests, epochs=2)  # noqa: E731
    assert traced(run) < 2_500_000
    own = lambda: nets[0].fit(x[folds[0]], y[folds[0]], verbose=0)  # noqa: E731
    assert traced(own) > 6_400_000  # so that the measure would see it


def test_folds_copy_no_targets():
    """One copy of the targets of one fold would take 3.2 MB."""
    x = RNG.random((1000, 1000), dtype=np.float32)
    nets = [nf.Sequential([nf.Dense(4), nf.Dense(1000)], input_shape=1000, seed=i) for i in range(3)]
    fold, test = np.arange(800), np.arange(800, 1000)
    run = lambda: fit_many(nets, x, x, rows=[fold] * 3, validation_rows=[test] * 3)  # noqa: E731
    assert traced(run) < 2_500_000


def test_converted_data_are_shared():
    """float64 data are converted once, not for each network, nor for each loss."""
    x, y = RNG.random((4000, 500)), RNG.integers(0, 3, 4000)
    losses = [None, "mean_squared_error"] * 4
    nets = [make_net(i, nf.Dense(4), input_shape=500, loss=loss) for i, loss in enumerate(losses)]
    assert traced(lambda: fit_many(nets, x, y, validation_data=(x, y))) < 2 * 8_000_000 + 10_000_000


# ---- callbacks, stop, errors while training


def test_callbacks_run_in_the_thread_of_the_caller():
    seen, nets = [], twins(4)[0]

    def callback(net, history):
        seen.append((nets.index(net), len(history["loss"]), threading.get_ident()))
        assert net.history is history
        assert len(history.step_loss) == len(history["loss"]) * history.steps_per_epoch
        net.predict(X)
        net.copy()
        with pytest.raises(RuntimeError, match="busy"):
            net.fit(X, LABELS, verbose=0)

    with nf.num_threads(2):
        fit_many(nets, epochs=3, callbacks=[callback])
    assert {ident for _, _, ident in seen} == {threading.get_ident()}
    for i in range(4):
        assert [epoch for net, epoch, _ in seen if net == i] == [1, 2, 3]


def test_a_callback_can_change_parameters_and_rates():
    def callback(net, history):
        net.params["b1"] = net.params["b1"] + 1
        sgd.learning_rate = 0.05

    nets, alone = twins(1)
    sgd = nf.SGD(0.1)
    histories = fit_many(nets, epochs=3, optimizer=sgd, callbacks=[callback])
    sgd.learning_rate = 0.1
    expected = [net.fit(X, LABELS, epochs=3, optimizer=sgd, callbacks=[callback], verbose=0) for net in alone]
    assert_same(nets, alone, histories, expected)


def test_stop_ends_one_network():
    def callback(net, history):
        if net in (nets[1], alone[1]) and len(history["loss"]) == 2:
            net.stop()

    nets, alone = twins(3)
    histories = fit_many(nets, epochs=4, callbacks=[callback])
    expected = [net.fit(X, LABELS, epochs=4, callbacks=[callback], verbose=0) for net in alone]
    assert [len(history["loss"]) for history in histories] == [4, 2, 4]
    assert_same(nets, alone, histories, expected)


def test_stop_before_a_network_has_begun(monkeypatch):
    begin_only(monkeypatch, 1)
    nets, alone = twins(5)
    with nf.num_threads(1):
        histories = fit_many(nets, epochs=3, callbacks=[lambda net, history: [other.stop() for other in nets]])
    assert [len(history["loss"]) for history in histories] == [1, 0, 0, 0, 0]
    for net, twin in zip(nets[1:], alone[1:], strict=True):
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
    assert len(fit_many(nets, epochs=2)[3]["loss"]) == 2, "an earlier stop has no effect"


def test_stop_from_another_thread():
    nets = twins(2)[0]
    begun, both = set(), threading.Event()

    def callback(net, history):
        begun.add(id(net))
        if len(begun) == 2:
            both.set()

    def stop():
        both.wait()
        for net in nets:
            net.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    histories = fit_many(nets, steps=10**7, callbacks=[callback])
    thread.join()
    for history in histories:
        assert 0 < len(history.step_loss) < 10**7
        assert len(history["loss"]) == -(-len(history.step_loss) // history.steps_per_epoch)


def test_warnings_as_errors_end_all_networks():
    """The first error is raised; the others have their histories, and those that have not begun are as they were."""
    nets = twins(3, lambda seed: make_net(seed, input_shape=None))[0]
    rates = [nf.SGD(1e30), nf.SGD(1e30), nf.SGD(0.01)]
    with warnings.catch_warnings(), nf.num_threads(1):
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=r"^networks\[0\]: the training diverged"):
            fit_many(nets, epochs=3, optimizer=rates)  # few: all have begun when it looks, on a slow machine too
    assert all(len(net.history.step_loss) for net in nets)


def test_a_stop_between_two_looks_at_a_network(monkeypatch):
    """The one that asks for it comes after the last look: the network trains one more round, and ends as any other."""
    net = make_net(0)
    looks = 0
    goes_on = Run.goes_on.fget

    def stopping(self):
        nonlocal looks
        looks += 1
        answer = goes_on(self)
        if looks == 2:
            net.stop()
        return answer

    monkeypatch.setattr(Run, "goes_on", property(stopping))
    (history,) = fit_many([net], steps=10**7)
    assert 0 < len(history.step_loss) < 10**7
    assert len(history["loss"]) == -(-len(history.step_loss) // history.steps_per_epoch)


def test_an_error_in_a_callback_stops_all(monkeypatch):
    """Each network is as after whole steps of its own; those that have not begun are as they were, and unbuilt."""
    begin_only(monkeypatch, 1)

    def callback(net, history):
        if net is nets[1] and len(history["loss"]) == 2:
            raise LookupError("mine")

    nets, alone = twins(6, lambda seed: make_net(seed, input_shape=None))
    with nf.num_threads(2), pytest.raises(LookupError, match="mine"):
        fit_many(nets, epochs=50, callbacks=[callback])
    assert [net.input_shape for net in nets] == [(6,), (6,), None, None, None, None]
    for net, twin in zip(nets[:2], alone[:2], strict=True):
        twin.fit(X, LABELS, steps=len(net.history.step_loss), verbose=0)
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
    assert len(nets[1].history["loss"]) == 2
    assert all(net.history is None for net in nets[2:])
    histories = fit_many(nets[2:])  # they work
    assert_same(nets[2:], alone[2:], histories, [net.fit(X, LABELS, verbose=0) for net in alone[2:]])
    fit_many(nets)  # none is busy


def test_without_memory_for_one_the_others_stop(monkeypatch):
    begin_only(monkeypatch, 2)
    nets, alone = twins(4)
    with nf.num_threads(1), pytest.raises(MemoryError):
        fit_many(nets, steps=[5, 5, 2**39, 5])
    for net, twin, steps in zip(nets, alone, [5, 5, 0, 0], strict=True):
        if steps:
            twin.fit(X, LABELS, steps=steps, verbose=0)
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
    fit_many(nets)


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c_stops_all_and_each_is_whole(threads, validated):
    nets, alone = twins(4, random_net)
    validation = (X[:9], LABELS[:9]) if validated else None
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    begin = time.perf_counter()
    with nf.num_threads(threads), pytest.raises(KeyboardInterrupt):
        timer.start()
        fit_many(nets, steps=10**7, validation_data=validation)
    assert time.perf_counter() - begin < 5
    timer.join()
    for net, twin in zip(nets, alone, strict=True):
        steps = 0 if net.history is None else len(net.history.step_loss)
        if steps:
            twin.fit(X, LABELS, steps=steps, verbose=0)
            np.testing.assert_array_equal(net.history.step_loss, twin.history.step_loss)
            assert validated or len(net.history["loss"]) == steps // net.history.steps_per_epoch
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
        np.testing.assert_array_equal(net.statistics["mean1"], twin.statistics["mean1"])
    fit_many(nets, steps=3)  # none is busy


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_within_long_steps(threads):
    """Steps of seconds are abandoned: nothing has changed."""
    nets = [nf.Sequential([nf.Dense(3000, "tanh")], input_shape=3000, seed=0) for _ in range(2)]
    x, before = np.ones((8000, 3000), np.float32), [net.flat_params.copy() for net in nets]
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with nf.num_threads(threads), pytest.raises(KeyboardInterrupt):
        timer.start()
        fit_many(nets, x, x, batch_size=8000, steps=2, shuffle=False, optimizer="sgd")
    timer.join()
    for net, parameters in zip(nets, before, strict=True):
        assert len(net.history.step_loss) == 0
        np.testing.assert_array_equal(net.flat_params, parameters)


def test_other_threads_copy_networks_between_steps():
    """A copy made meanwhile is the network after some number of whole steps."""
    nets, alone = twins(3, random_net)
    copies = []

    def copying():
        while not done.is_set():
            copies.append([net.copy() for net in nets])

    done = threading.Event()
    thread = threading.Thread(target=copying)
    thread.start()
    with nf.num_threads(2):
        fit_many(nets, steps=3000, shuffle=False)
    done.set()
    thread.join()
    assert len(copies) > 3
    for found in copies[1 : -1 : max(1, len(copies) // 5)]:
        for copy, twin in zip(found, alone, strict=True):
            steps = copy._network.built.slot.steps
            again = twin.copy()
            if steps:
                again.fit(X, LABELS, steps=int(steps), shuffle=False, verbose=0)
            np.testing.assert_array_equal(copy.flat_params, again.flat_params)
            np.testing.assert_array_equal(copy.statistics["mean1"], again.statistics["mean1"])


FORK = """if True:  # in a process of its own: other libraries object to forks
    import contextlib, os, sys, threading, time, warnings
    import numpy as np
    import nnfast as nf

    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((150, 6)).astype(np.float32), rng.integers(0, 3, 150)
    layers = [nf.Dense(16, "tanh"), nf.BatchNorm(), nf.Dropout(0.3), nf.Dense(3, "softmax")]
    nets, alone = ([nf.Sequential(layers, input_shape=6, seed=i) for i in range(3)] for _ in range(2))
    nf.set_num_threads(2)

    def in_child(check):
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if check() else 2
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def check():
        for net, twin in zip(nets[:2], alone):  # the third has not begun
            steps = int(net._network.built.slot.steps)
            twin.fit(x, y, steps=steps, shuffle=False, verbose=0)
            if not steps or not (net.flat_params == twin.flat_params).all():
                return False
        for net in nets:
            net.fit(x, y, steps=1, verbose=0)
        return True

    if sys.argv[1] == "another thread":
        thread = threading.Thread(target=lambda: (time.sleep(0.2), codes.append(in_child(check))))
        codes = []
        thread.start()
        nf.fit_many(nets, x, y, steps=100_000, shuffle=False, verbose=0)
        thread.join()
        print(codes)
    else:  # the child goes on, and trains all networks to the end
        def callback(net, history):
            global child
            if net is nets[1] and len(history["loss"]) == 2:
                child = os.fork()

        nf.fit_many(nets, x, y, epochs=5, callbacks=[callback], verbose=0)
        for twin in alone:
            twin.fit(x, y, epochs=5, verbose=0)
        same = all((net.flat_params == twin.flat_params).all() for net, twin in zip(nets, alone))
        if not child:
            os._exit(0 if same else 1)
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] if same else "not the same")
"""


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("where", ["another thread", "a callback"])
def test_a_fork_meanwhile_has_whole_networks(where):
    run = subprocess.run([sys.executable, "-c", FORK, where], capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.stderr) == ("[0]\n", "")


# ---- progress and warnings


class Terminal:
    """Standard error as a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.once
def test_one_progress_bar(monkeypatch):
    pytest.importorskip("tqdm.auto")
    monkeypatch.setattr("nnfast._progress.PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    nf.fit_many(twins(3)[0], X, LABELS, epochs=10_000)
    shown = sys.stderr.text
    assert "3 networks" in shown
    shares = [int(share) for share in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares)
    assert shares[-1] > 0


def test_nothing_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setattr("nnfast._progress.PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit_many(twins(3)[0], epochs=100, verbose=0)
    assert sys.stderr.text == ""


def test_a_warning_names_the_network_and_the_line_that_called():
    nets = twins(3)[0]
    rates = [nf.SGD(0.1), nf.SGD(1e30), nf.SGD(0.1)]
    with pytest.warns(RuntimeWarning, match=r"^networks\[1\]: the training diverged") as caught:
        fit_many(nets, optimizer=rates)
    assert [warning.filename for warning in caught] == [__file__]


def test_lost_digits_are_reported_once():
    x = 1.7e9 + 10.0 * np.arange(N)[:, None] * np.ones(6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_many(twins(4)[0], x, optimizer=nf.SGD(1e-30))
    assert len([w for w in caught if "float32 cannot tell apart" in str(w.message)]) == 1


# ---- the time is up

ENDLESS = 10**7  # steps


def as_steps(nets, alone, histories, **options):
    """Each network is as after a fit of so many steps."""
    for net, twin, history in zip(nets, alone, histories, strict=True):
        assert net.history is history
        assert len(history["loss"]) == -(-len(history.step_loss) // history.steps_per_epoch)
        twin.fit(X, LABELS, steps=len(history.step_loss), verbose=0, **options)
        assert state(net)[:2] == state(twin)[:2]


@pytest.mark.once
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_training_ends_when_the_time_is_up(count, threads):
    nets, alone = twins(count, random_net)
    begin = time.perf_counter()
    with nf.num_threads(threads):
        histories = fit_many(nets, steps=ENDLESS, max_seconds=0.1)
    assert time.perf_counter() - begin >= 0.1
    steps = [len(history.step_loss) for history in histories]
    assert 1 <= min(steps) <= max(steps) < ENDLESS
    as_steps(nets, alone, histories)


@pytest.mark.once
def test_networks_share_the_time():
    """They advance evenly, by epochs: those with small batches do more steps, and none is first."""
    nets, _ = twins(6)
    sizes = [10, 50, 10, 50, 10, 50]
    with nf.num_threads(1):
        histories = fit_many(nets, steps=ENDLESS, batch_size=sizes, max_seconds=0.3)
    epochs = [len(history["loss"]) for history in histories]
    assert max(epochs) < 20 * min(epochs), "the first would have done thousands of epochs, and others one"


@pytest.mark.parametrize("shape", [(6,), None])
def test_no_time_is_one_step_of_the_first(shape):
    nets, alone = twins(4, lambda seed: make_net(seed, input_shape=shape))
    called = []
    histories = fit_many(nets, epochs=3, max_seconds=1e-300, callbacks=[lambda net, history: called.append(net)])
    assert [len(history.step_loss) for history in histories] == [1, 0, 0, 0]
    as_steps(nets[:1], alone[:1], histories[:1])
    assert called == nets[:1]
    for net, twin, history in zip(nets[1:], alone[1:], histories[1:], strict=True):
        assert net.history is None
        assert net.input_shape == shape
        if shape:
            assert state(net) == state(twin)
        assert dict(history) == {"loss": [], "accuracy": []}
        assert history.steps_per_epoch == 5
    as_steps(nets[1:], alone[1:], fit_many(nets[1:], steps=3))  # nothing is left of the first call


@pytest.mark.once
def test_networks_that_have_not_begun_when_the_time_is_up(monkeypatch):
    begin_only(monkeypatch, 1)
    nets, alone = twins(5)
    with nf.num_threads(2):
        histories = fit_many(nets, steps=[1, ENDLESS, ENDLESS, 1, 1], max_seconds=0.1)
    steps = [len(history.step_loss) for history in histories]
    assert steps[0] == 1
    assert min(steps[1:3]) >= 1
    assert steps[3:] == [0, 0]
    as_steps(nets[:3], alone[:3], histories[:3])
    assert [state(net) for net in nets[3:]] == [state(net) for net in alone[3:]]


@pytest.mark.once
def test_networks_that_have_begun_do_a_step_after_the_time_is_up():
    class Late(nf.callbacks.Callback):
        def on_train_begin(self, net, history):
            if net is nets[1]:
                time.sleep(0.6)

    nets, alone = twins(3)
    histories = fit_many(nets, steps=ENDLESS, max_seconds=0.5, callbacks=[Late()])
    assert [len(history.step_loss) for history in histories] == [1, 1, 0]
    as_steps(nets[:2], alone[:2], histories[:2])


@pytest.mark.once
def test_the_time_of_losses_in_python():
    def squared(outputs, targets):
        error = outputs - targets
        return float((error**2).mean()), 2 * error / error.size

    nets, alone = twins(3, lambda seed: nf.Sequential([nf.Dense(3)], input_shape=6, loss=squared, seed=seed))
    targets = np.eye(3)[LABELS]
    histories = fit_many(nets, y=targets, steps=ENDLESS, max_seconds=0.2)
    steps = [len(history.step_loss) for history in histories]
    assert 1 <= min(steps) <= max(steps) < 20 * min(steps)
    for net, twin, count in zip(nets, alone, steps, strict=True):
        twin.fit(X, targets, steps=count, verbose=0)
        assert state(net)[:2] == state(twin)[:2]


def test_stop_and_time():
    """A network that is stopped leaves its time to the others."""
    nets, _ = twins(3)
    stop = {id(nets[0])}
    histories = fit_many(
        nets, steps=ENDLESS, max_seconds=0.2, callbacks=[lambda net, history: id(net) in stop and net.stop()]
    )
    assert len(histories[0]["loss"]) == 1
    assert min(len(history["loss"]) for history in histories[1:]) > 1


# ---- bad input, which changes nothing

BAD = {
    r"networks must be a sequence of networks, got 3": {"networks": 3},
    r"networks must not be empty": {"networks": []},
    r"networks\[1\] must be a Sequential, got 'net'": {1: "net"},
    r"networks must be different objects, but networks\[2\] is networks\[0\]: use net.copy\(\)": {2: 0},
    r"networks\[0\]: x must have shape \(n, 6\), got \(150, 5\)": {"x": X[:, :5]},
    r"networks\[1\]: x must have shape \(n, 4\), got \(150, 6\)": {1: lambda: make_net(input_shape=4)},
    r"networks\[0\]: x must be finite": {"x": np.where(X > 2, np.nan, X)},
    r"networks\[2\]: y holds labels up to 2, .* but there are 2": {
        2: lambda: nf.Sequential([nf.Dense(2, "softmax")], input_shape=6)
    },
    r"networks\[2\]: epochs must be at least 1, got 0": {"epochs": [1, 1, 0]},
    r"networks\[1\]: give epochs or steps, not both": {"epochs": [None, 1, None], "steps": 3},
    r"networks\[0\]: batch_size must be an integer, got 'all'": {"batch_size": "all"},
    r"batch_size must be one for all networks or a list of 3, one for each, got 2": {"batch_size": [1, 2]},
    r"optimizer must be one for all networks or a list of 3, one for each, got 1": {"optimizer": ["adam"]},
    r"networks\[2\]: optimizer must be one of": {"optimizer": ["adam", "sgd", "adamant"]},
    r"networks\[1\]: .*LBFGS .*use net.fit": {"optimizer": ["adam", "lbfgs", "sgd"]},
    r"networks\[0\]: learning_rate .*float32": {"optimizer": nf.SGD(1e-300)},
    r"networks\[0\]: shuffle must be True or False": {"shuffle": "yes"},
    r"networks\[0\]: sample_weight must have shape \(150,\), got \(149,\)": {"sample_weight": WEIGHTS[1:]},
    r"networks\[1\]: sample_weight must not be negative": {"sample_weight": [None, -WEIGHTS, None]},
    r"sample_weight must be one for all networks or a list of 3, one for each, got 1": {"sample_weight": [WEIGHTS]},
    r"networks\[2\]: rows: sample_weight must not be all zero": {
        "sample_weight": np.arange(N) > 10, "rows": [None, range(20), range(10)],
    },
    r"networks\[1\]: validation_rows: sample_weight must not be all zero": {
        "sample_weight": np.arange(N) > 10, "validation_rows": [None, range(10), None],
    },
    r"rows must be a sequence of index arrays, got 5": {"rows": 5},
    r"rows must have one index array \(or None\) for each of the 3 networks, got 2": {"rows": [range(3), range(3)]},
    r"rows\[0\] must hold row numbers .*, got 0 \(int\)": {"rows": [0, 1, 2]},
    r"rows\[1\] must hold row numbers .* float64": {"rows": [None, np.zeros(4), None]},
    r"rows\[1\] must hold row numbers .* shape \(2, 2\)": {"rows": [None, np.zeros((2, 2), int), None]},
    r"rows\[2\] must hold row numbers .* dtype bool": {"rows": [None, None, np.ones(149, bool)]},
    r"rows\[2\] must hold row numbers from 0 to 149, got 150": {"rows": [None, None, [0, 150]]},
    r"rows\[2\] must hold row numbers from 0 to 149, got -1": {"rows": [None, None, [0, -1]]},
    r"rows\[0\] must have at least one row, got none": {"rows": [np.zeros(0, int), None, None]},
    r"validation_rows\[0\] must have at least one row, got none": {"validation_rows": [np.zeros(N, bool), None, None]},
    r"give validation_data or validation_rows, not both": {
        "validation_rows": [None] * 3, "validation_data": (X, LABELS)
    },
    r"networks\[0\]: validation_data: ": {"validation_data": (X[:, :3], LABELS)},
    r"networks\[0\]: validation_data must be \(x, y\)": {"validation_data": X},
    r"networks\[0\]: a metric must be one of": {"metrics": ["precise"]},
    r"networks\[0\]: callbacks must be callable": {"callbacks": ["stop"]},
    r"networks\[0\]: verbose must be 0 or 1": {"verbose": 2},
    r"networks\[0\]: max_seconds must be a finite number": {"max_seconds": 0},
    r"networks\[0\]: max_seconds must be a number, got \[1, 2, 3\]": {"max_seconds": [1, 2, 3]},
    r"networks\[1\]: class_weight must be a dict of class to weight": {"class_weight": [None, "heavy", "balanced"]},
    r"networks\[0\]: class_weight must have classes from 0 to 2, got 3": {"class_weight": {3: 1.0}},
    r"class_weight must be one for all networks or a list of 3, one for each, got 1": {"class_weight": ["balanced"]},
    r"networks\[1\]: BatchNorm needs at least two rows": {1: random_net, "rows": [None, [7], [3]]},
    r"networks\[2\]: there is nothing to train": {2: lambda: make_net(0, nf.Dense(3, trainable=False)).__class__(
        [nf.Dense(3, "softmax", trainable=False)], input_shape=6)},
    r"networks\[1\]: initializer must have shape \(6, 3\), got \(5, 3\)": {
        1: lambda: nf.Sequential([nf.Dense(3, "softmax", initializer=np.ones((5, 3)))])
    },
    r"networks\[1\]: no memory for the losses": {"steps": [1, 2**50, 1]},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input_changes_no_network(message):
    bad = dict(BAD[message])
    nets = [make_net(0), make_net(1), make_net(2, input_shape=None)]
    for i in [key for key in bad if isinstance(key, int)]:
        other = bad.pop(i)
        nets[i] = nets[other] if isinstance(other, int) else other() if callable(other) else other
    real = [net for net in nets if isinstance(net, nf.Sequential)]
    before = [(net.input_shape, net.input_shape and state(net)) for net in real]
    with pytest.raises((TypeError, ValueError, MemoryError), match=f"^{message}"):
        fit_many(bad.pop("networks", nets), bad.pop("x", X), LABELS, **bad)
    assert [(net.input_shape, net.input_shape and state(net)) for net in real] == before


def test_a_busy_network_changes_no_other():
    nets, alone = twins(3, lambda seed: make_net(seed, input_shape=None if seed == 0 else 6))

    def callback(net, history):
        with pytest.raises(RuntimeError, match=r"^networks\[2\]: the network is busy"):
            fit_many(nets)

    nets[2].fit(X, LABELS, callbacks=[callback], verbose=0)
    assert nets[0].input_shape is None
    assert state(nets[1]) == state(alone[1])
    fit_many(nets)  # none is busy


@pytest.mark.parametrize("name", ["gradient", "layers"])
def test_options_that_it_does_not_have(name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        fit_many(twins(2)[0], **{name: None})
