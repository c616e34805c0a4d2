"""`fit`: what it records, which callbacks it calls, how it ends early, its errors; and that networks learn."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest
from numpy_network import NumpyNetwork, state, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast import _progress, reference
from nnfast.training.history import add_epochs

SEED = 5
N, BATCH = 23, 5  # four full mini-batches and one of three rows
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
LABELS = (X @ rng.normal(size=(3, 4))).argmax(axis=1)
XV = rng.normal(size=(11, 3))
LABELS_V = rng.integers(0, 4, 11)


def make_net(*, dtype="float64", output="softmax", units=4, loss=None, seed=SEED):
    layers = [nf.Dense(5, "tanh"), nf.Dense(units, output)]
    return nf.Sequential(layers, input_shape=3, dtype=dtype, loss=loss, seed=seed)


def fit(net, **arguments):
    """Fit the labels, without output."""
    return net.fit(X, LABELS, **({"batch_size": BATCH, "verbose": 0} | arguments))


# ---- it learns


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_two_layers_learn_xor(output):
    units = 1 if output == "sigmoid" else 2
    net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(units, output)], input_shape=2, seed=1)
    x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    history = net.fit(x, y, epochs=1000, batch_size=4, optimizer=nf.Adam(0.02), verbose=0)
    assert net.predict_class(x).tolist() == y
    assert net.accuracy(x, y) == history["accuracy"][-1] == 1
    assert net.loss(x, y) < 0.05 < history["loss"][0]


def test_a_single_layer_does_not_learn_xor():
    net = nf.Sequential([nf.Dense(1, "sigmoid")], input_shape=2, seed=1)
    x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    net.fit(x, y, epochs=1000, batch_size=4, optimizer=nf.Adam(0.02), verbose=0)
    assert net.accuracy(x, y) < 1


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("optimizer", [nf.SGD(0.5), nf.Adam(0.01)], ids=["sgd", "adam"])
def test_networks_learn_to_read_digits(activation, optimizer):
    x, y = nf.datasets.load_digits()
    net = nf.Sequential([nf.Dense(32, activation), nf.Dense(10, "softmax")], input_shape=64, seed=0)
    history = net.fit(
        x[:1400], y[:1400], epochs=30, optimizer=optimizer, validation_data=(x[1400:], y[1400:]), verbose=0
    )
    assert net.accuracy(x[1400:], y[1400:]) == history["val_accuracy"][-1] >= 0.9
    assert history["loss"][-1] < history["loss"][0] / 3


def test_a_line_is_learned_by_regression():
    x = np.linspace(-1, 1, 50)[:, None]
    net = nf.Sequential([nf.Dense(1)], input_shape=1, dtype="float64", seed=0)
    net.fit(x, 3 * x[:, 0] - 2, steps=2000, optimizer=nf.SGD(0.5), verbose=0)
    assert_close(net.params["W1"], [[3.0]])
    assert_close(net.params["b1"], [-2.0])


def test_data_may_be_lists():
    by_list, by_array = make_net(), make_net()
    a = by_list.fit(X.tolist(), LABELS.tolist(), validation_data=(XV.tolist(), LABELS_V.tolist()), verbose=0)
    b = by_array.fit(X, LABELS, validation_data=[XV, LABELS_V], verbose=0)
    assert state(by_list)[:2] == state(by_array)[:2]
    assert dict(a) == dict(b)


# ---- epochs and steps


def test_epochs_count_ceil_n_over_batch_steps():
    history = fit(make_net(), epochs=3)
    assert history.steps_per_epoch == 5
    assert history.step_loss.shape == (15,)
    assert history.step_loss.dtype == np.float64
    assert len(history["loss"]) == len(history["accuracy"]) == 3
    assert len(fit(make_net()).step_loss) == 5, "one epoch by default"
    assert len(fit(make_net(), batch_size=32).step_loss) == 1
    assert make_net().fit(X, LABELS, verbose=0).steps_per_epoch == 1, "batches of 32 by default"


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 13])
def test_steps_count_mini_batches(steps):
    net, twin = make_net(), NumpyNetwork(make_net(), SEED)
    history = fit(net, steps=steps, optimizer=nf.SGD(0.1))
    losses = twin.fit(X, LABELS, steps=steps, batch_size=BATCH, optimizer=nf.SGD(0.1))
    assert_close(history.step_loss, losses, scale=1.0, kind="trajectory")
    assert len(history["loss"]) == -(-steps // 5), "the last one over the steps that it has"


@pytest.mark.parametrize("batch_size", [N, N + 1, 1000, 2**40])
def test_a_batch_larger_than_the_data_is_all_of_them(batch_size):
    net, all_of_them = make_net(), make_net()
    history = fit(net, batch_size=batch_size, epochs=3)
    fit(all_of_them, batch_size=N, epochs=3)
    assert history.steps_per_epoch == 1
    assert state(net)[:2] == state(all_of_them)[:2]


def test_each_epoch_visits_each_sample_once():
    """A network that only counts: the gradient of its bias shows which sample it saw."""
    n, seen = 7, []
    net = nf.Sequential([nf.Dense(n, initializer=0)], input_shape=1, loss="sum_squared_error", dtype="float64", seed=0)
    for shuffle in (False, True):
        net.flat_params[:] = 0
        history = net.fit(np.zeros((n, 1)), np.diag(np.arange(1.0, n + 1)), epochs=6, batch_size=1, shuffle=shuffle,
                          optimizer=nf.SGD(1e-200), verbose=0)  # fmt: skip
        seen.append(np.sqrt(2 * history.step_loss).round().astype(int).reshape(6, n) - 1)
    assert (np.sort(seen[0], axis=1) == np.arange(n)).all()
    assert (np.sort(seen[1], axis=1) == np.arange(n)).all()
    assert (seen[0] == np.arange(n)).all(), "in order"
    assert len({tuple(epoch) for epoch in seen[1]}) == 6, "each epoch in an order of its own"


# ---- what is recorded


@pytest.mark.parametrize("arguments", [{"epochs": 3}, {"steps": 13}], ids=["epochs", "steps"])
def test_the_loss_of_an_epoch_is_the_mean_over_its_rows(arguments):
    history = fit(make_net(), **arguments)
    rows = np.resize([5, 5, 5, 5, 3], len(history.step_loss))
    for epoch, loss in enumerate(history["loss"]):
        part = slice(5 * epoch, 5 * epoch + 5)
        assert_close(loss, np.average(history.step_loss[part], weights=rows[part]), scale=1.0)


@pytest.mark.parametrize("arguments", [{"epochs": 3}, {"steps": 13}], ids=["epochs", "steps"])
@pytest.mark.parametrize(
    ("output", "units", "loss"),
    [
        ("softmax", 4, None),
        ("softmax", 4, "mean_squared_error"),
        ("sigmoid", 1, None),
        ("sigmoid", 4, None),
        ("sigmoid", 4, "sum_squared_error"),
    ],
)
def test_running_accuracy_is_what_the_reference_counts(output, units, loss, arguments):
    """Each mini-batch before its update."""
    net = make_net(output=output, units=units, loss=loss)
    y = np.eye(4)[LABELS][:, -units:]
    if output == "sigmoid":
        y[0] = 1  # otherwise softmax outputs would be better, and fit warns
    twin = NumpyNetwork(net, SEED)
    history = net.fit(X, y, batch_size=BATCH, optimizer=nf.SGD(0.5), verbose=0, **arguments)
    correct, rows = [], []
    for batch in twin.batches(N, BATCH, len(history.step_loss)):
        outputs = twin.forward(X[batch])[-1]
        kind = "class_accuracy" if output == "softmax" else "binary_accuracy"
        threshold = 0.0 if twin.activations[-1] == "identity" else 0.5
        correct.append(reference.score(outputs, y[batch], kind, threshold, total=True))
        rows.append(len(batch) * (1 if output == "softmax" else units))
        twin.train_step(X[batch], y[batch], nf.SGD(0.5))
    counted = [sum(correct[i : i + 5]) / sum(rows[i : i + 5]) for i in range(0, len(rows), 5)]
    assert history["accuracy"] == counted
    assert len(set(counted)) > 1


def test_labels_and_one_hot_rows_are_counted_alike():
    histories = [make_net().fit(X, y, epochs=3, verbose=0) for y in (LABELS, np.eye(4)[LABELS])]
    assert histories[0]["accuracy"] == histories[1]["accuracy"]
    assert_close(histories[0]["loss"], histories[1]["loss"], scale=1.0)


@pytest.mark.parametrize(
    ("output", "loss", "y", "keys"),
    [
        ("softmax", None, LABELS, ["loss", "accuracy"]),
        ("sigmoid", None, 1 - np.eye(4)[LABELS], ["loss", "accuracy"]),
        ("sigmoid", "mean_squared_error", 1 - np.eye(4)[LABELS], ["loss", "accuracy"]),
        ("sigmoid", "mean_squared_error", np.eye(4)[LABELS] / 2, ["loss"]),
        ("identity", None, np.eye(4)[LABELS], ["loss"]),
        ("tanh", None, np.eye(4)[LABELS], ["loss"]),
    ],
)
def test_what_a_history_holds(output, loss, y, keys):
    net = make_net(output=output, loss=loss)
    assert list(net.fit(X, y, epochs=2, verbose=0)) == keys
    history = net.fit(X, y, epochs=2, validation_data=(X, y), verbose=0)
    assert list(history) == keys + [f"val_{key}" for key in keys]
    assert [len(history[key]) for key in history] == [2] * len(history)


def test_validation_is_evaluated_after_each_epoch():
    net, seen = make_net(), []

    def evaluate(net, history):
        seen.append((net.loss(XV, LABELS_V), net.accuracy(XV, LABELS_V)))

    history = fit(net, epochs=3, validation_data=(XV, LABELS_V), callbacks=[evaluate])
    assert list(zip(history["val_loss"], history["val_accuracy"], strict=True)) == seen
    assert history["val_loss"][-1] == net.loss(XV, LABELS_V)
    partial = fit(make_net(), steps=7, validation_data=(XV, LABELS_V))
    assert len(partial["val_loss"]) == 2


def test_history_is_a_mapping_that_the_network_keeps():
    net = make_net()
    history = fit(net, epochs=2)
    assert isinstance(history, nf.History)
    assert isinstance(history, Mapping)
    assert net.history is history
    assert len(history) == 2
    assert "loss" in history
    assert "val_loss" not in history
    assert all(isinstance(value, float) for values in history.values() for value in values)
    with pytest.raises(KeyError, match="no 'val_loss' was recorded: there are loss, accuracy"):
        history["val_loss"]
    assert re.fullmatch(r"History\(2 epochs, 10 steps: loss [\d.]+, accuracy [\d.]+\)", repr(history))
    again = fit(net)
    assert net.history is again is not history
    assert len(history["loss"]) == 2


def test_an_empty_history():
    history = nf.History(5)
    assert repr(history) == "History(0 epochs, 0 steps)"
    assert (dict(history), len(history.step_loss), history.steps_per_epoch) == ({"loss": []}, 0, 5)


# ---- callbacks


def test_callbacks_see_the_network_and_the_history_after_each_epoch():
    net, seen = make_net(), []

    def look(given, history):
        assert given is net
        assert net.history is history
        seen.append((len(history["loss"]), len(history.step_loss), history["loss"][-1], net.flat_params.copy()))

    order = []
    history = fit(net, epochs=3, callbacks=[look, lambda *_: order.append(1), lambda *_: order.append(2)])
    assert order == [1, 2] * 3
    assert [s[:3] for s in seen] == [(i, 5 * i, history["loss"][i - 1]) for i in (1, 2, 3)]
    shorter = make_net()
    fit(shorter, epochs=1)
    np.testing.assert_array_equal(seen[0][3], shorter.flat_params)
    np.testing.assert_array_equal(seen[2][3], net.flat_params)


def test_a_callback_may_use_the_network_but_not_train_it():
    net, seen = make_net(), []

    def use(net, history):
        seen.append(net.predict(X))
        seen.append(net.predict_one(X[0]))
        net.loss(X, LABELS)
        net.accuracy(X, LABELS)
        net.gradient(X, LABELS)
        net.forward(X)
        twin = net.copy()
        twin.train_step(X, LABELS)
        np.testing.assert_array_equal(seen[-2], net.predict(X))

    fit(net, epochs=2, callbacks=[use])
    plain = make_net()
    fit(plain, epochs=2)
    assert state(net)[:2] == state(plain)[:2]
    np.testing.assert_array_equal(seen[-2], net.predict(X))


WRITERS = {
    "fit": lambda net: net.fit(X, LABELS, verbose=0),
    "train_step": lambda net: net.train_step(X, LABELS),
    "forward": lambda net: net.forward(X, training=True),
    "backward": lambda net: net.backward(np.zeros((N, 4))),
    "update": lambda net: net.update(),
    "reset_optimizer": lambda net: net.reset_optimizer(),
}
BUSY = "^the network is busy: another fit, train_step, backward or update has not returned yet"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_second_writer_in_a_callback_is_refused(writer):
    net, plain, refused = make_net(), make_net(), []

    def write(net, history):
        with pytest.raises(RuntimeError, match=BUSY):
            WRITERS[writer](net)
        refused.append(writer)

    history = fit(net, epochs=2, optimizer="adam", callbacks=[write])
    fit(plain, epochs=2, optimizer="adam")
    assert len(refused) == 2
    assert net.history is history
    assert state(net)[:2] == state(plain)[:2]
    net.train_step(X, LABELS)  # it can be trained again


@pytest.mark.parametrize("writer", WRITERS)
def test_a_second_writer_in_another_thread_is_refused(writer):
    net, inside, go_on, caught = make_net(), threading.Event(), threading.Event(), []

    def wait(net, history):
        inside.set()
        assert go_on.wait(10)

    def write():
        assert inside.wait(10)
        try:
            WRITERS[writer](net)
        except RuntimeError as error:
            caught.append(str(error))
        finally:
            go_on.set()

    thread = threading.Thread(target=write)
    thread.start()
    fit(net, callbacks=[wait])
    thread.join()
    assert len(caught) == 1
    assert re.match(BUSY, caught[0])


def test_callbacks_may_come_from_an_iterator():
    seen = []
    fit(make_net(), epochs=2, callbacks=iter([lambda net, history: seen.append(len(history["loss"]))]))
    assert seen == [1, 2]


def test_an_error_in_a_callback_passes_and_frees_the_network():
    net = make_net()

    def fail(net, history):
        if len(history["loss"]) == 2:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="^mine$"):
        fit(net, epochs=9, callbacks=[fail])
    assert len(net.history["loss"]) == 2
    assert len(net.history.step_loss) == 10
    shorter = make_net()
    fit(shorter, epochs=2)
    np.testing.assert_array_equal(net.flat_params, shorter.flat_params)
    net.train_step(X, LABELS)


def test_hyperparameters_may_be_changed_by_a_callback():
    net, optimizer = make_net(), nf.SGD(0.5)

    def slow_down(net, history):
        optimizer.learning_rate /= 2

    twin = NumpyNetwork(net, SEED)
    fit(net, epochs=3, optimizer=optimizer, callbacks=[slow_down])
    for step, batch in enumerate(twin.batches(N, BATCH, 15)):
        twin.train_step(X[batch], LABELS[batch], nf.SGD(0.5 / 2 ** (step // 5)))
    for name, parameters in twin.parameters.items():
        assert_close(net.params[name], parameters, scale=1.0, kind="trajectory")


def test_a_callback_saves_what_it_sees(tmp_path):
    """A checkpoint in the middle of training has the optimizer's current state."""
    net, shorter = make_net(), make_net()
    fit(
        net,
        epochs=3,
        optimizer="adam",
        callbacks=[lambda net, history: net.save(tmp_path / f"{len(history['loss'])}.npz")],
    )
    fit(shorter, epochs=2, optimizer="adam", shuffle=True)
    saved = nf.load(tmp_path / "2.npz")
    for each in (saved, shorter):
        each.train_step(X, LABELS, "adam")
    np.testing.assert_array_equal(saved.flat_params, shorter.flat_params)


def test_validation_counts_what_its_own_targets_are():
    """Soft targets to train on, classes to validate with, and the other way round."""
    soft, hard = np.linspace(0.1, 0.9, N), rng.integers(0, 2, N)
    for y, y_val, names in (
        (soft, hard, ["loss", "val_loss", "val_accuracy"]),
        (hard, soft, ["loss", "accuracy", "val_loss"]),
    ):
        net = make_net(output="sigmoid", units=1, loss="mean_squared_error")
        history = net.fit(X, y, validation_data=(X, y_val), verbose=0)
        assert list(history) == names
    net = make_net(output="sigmoid", units=1, loss="mean_squared_error")
    history = net.fit(X, soft, validation_data=(X, hard), verbose=0)
    assert history["val_accuracy"] == [net.accuracy(X, hard)]


# ---- ending early


def test_stop_from_a_callback():
    net = make_net()
    history = fit(net, epochs=100, callbacks=[lambda net, history: len(history["loss"]) == 3 and net.stop()])
    assert len(history["loss"]) == 3
    assert len(history.step_loss) == 15
    assert net.history is history
    shorter = make_net()
    fit(shorter, epochs=3)
    np.testing.assert_array_equal(net.flat_params, shorter.flat_params)
    assert len(fit(net, epochs=2)["loss"]) == 2, "it is no business of the next fit"


def test_stop_in_the_middle_of_an_epoch_records_it():
    """Like `steps` that end there."""
    net = SMALL.copy()
    x, y = np.zeros((10**7, 2), np.float32), np.zeros(10**7, int)
    thread = later(net.stop, [], net)
    history = net.fit(x, y, batch_size=1, validation_data=(x[:2], y[:2]), verbose=0)
    thread.join()
    assert 0 < len(history.step_loss) < history.steps_per_epoch
    assert_close(history["loss"], [history.step_loss.mean()], scale=1.0)
    assert [len(values) for values in history.values()] == [1] * 4


def test_a_callback_may_do_as_it_likes_with_the_history():
    """Changes to the history it receives affect only itself."""
    plain = fit(make_net(), epochs=4)
    counts = []

    def spoil(net, history):
        counts.append(len(history["loss"]))
        history["loss"].clear() if len(counts) % 2 else history["accuracy"].append(7.0)

    history = fit(make_net(), epochs=4, callbacks=[spoil])
    assert len(history.step_loss) == len(plain.step_loss)
    assert counts == [1, 2, 3, 4]
    assert history["loss"] == plain["loss"]


def test_history_is_kept_in_linear_time():
    """Values are appended: nothing is copied."""
    history = nf.History(1, ("loss", "accuracy"))
    loss = history["loss"]
    for i in range(3):
        add_epochs(history, [(i, i / 2)])
        assert history["loss"] is loss
    assert dict(history) == {"loss": [0, 1, 2], "accuracy": [0, 0.5, 1]}
    assert repr(history) == "History(3 epochs, 0 steps: loss 2, accuracy 1)"


def test_stop_without_a_fit_is_nothing():
    net = make_net()
    net.stop()
    assert len(fit(net, epochs=2)["loss"]) == 2


# A fit that takes far longer than any test: a step each microsecond in epochs of one or of many, large steps, ...
SMALL = nf.Sequential([nf.Dense(2, "softmax")], input_shape=2, seed=0)
LARGE = nf.Sequential([nf.Dense(400, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=0)
ENDLESS = {
    "one step an epoch": (SMALL, 4, {"batch_size": 4, "epochs": 2 * 10**7}),
    "many steps an epoch": (SMALL, 4000, {"batch_size": 1, "epochs": 10**4}),
    "large steps": (LARGE, 2000, {"batch_size": 1000, "epochs": 10**5}),
    "validation": (
        LARGE,
        8,
        {
            "batch_size": 8,
            "epochs": 10**5,
            "validation_data": (np.zeros((20000, 784), np.float32), np.zeros(20000, int)),
        },
    ),
    "progress bar": (SMALL, 4, {"batch_size": 4, "epochs": 10**6, "verbose": 1}),
    "callback": (SMALL, 4, {"batch_size": 4, "epochs": 10**6, "callbacks": [lambda net, history: None]}),
    "numerical": (SMALL, 4, {"batch_size": 4, "epochs": 10**6, "gradient": "numerical"}),
}
PROMISE = 0.3  # seconds: Ctrl-C is obeyed within them
TRIES = 5  # one of which must be that fast: the machine may be busy


def endless(name, monkeypatch):
    """A network, and a call of `fit` that does not end on its own."""
    untrained, n, arguments = ENDLESS[name]
    net = untrained.copy()  # which does not continue an epoch of another test
    if arguments.get("verbose"):
        in_terminal(monkeypatch)
    x, y = np.zeros((n, *net.input_shape), np.float32), np.zeros(n, int)
    return net, lambda: net.fit(x, y, **({"verbose": 0} | arguments))


def later(action, times, net):
    """A thread that records the time and acts once training is well under way."""
    begin = net.history

    def run():
        while net.history is begin:
            time.sleep(0.01)
        time.sleep(0.25)
        times.append(time.perf_counter())
        action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def assert_history_is_whole(net, begin, stopped=False):
    """Check the record of an interrupted training: all steps, and all epochs except perhaps the last.

    After `stop` a part of an epoch is recorded too.
    """
    history = net.history
    assert history is not begin
    assert len(history.step_loss) > 0
    assert np.isfinite(history.step_loss).all()
    epochs = len(history.step_loss) / history.steps_per_epoch
    if stopped:
        assert len(history["loss"]) == math.ceil(epochs)
    else:
        assert int(epochs) - 1 <= len(history["loss"]) <= int(epochs)
    assert {len(values) for values in history.values()} == {len(history["loss"])}


@pytest.mark.measures
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("name", ENDLESS)
def test_ctrl_c_is_obeyed_and_leaves_the_network_and_its_history(name, monkeypatch):
    delays = []
    for _ in range(TRIES):
        net, run = endless(name, monkeypatch)
        begin, times = net.history, []
        thread = later(lambda: os.kill(os.getpid(), signal.SIGINT), times, net)
        with pytest.raises(KeyboardInterrupt):
            run()
        delays.append(time.perf_counter() - times[0])
        thread.join()
        if delays[-1] <= PROMISE:
            break
    assert min(delays) <= PROMISE
    assert_history_is_whole(net, begin)
    x = np.ones((3, *net.input_shape))
    assert np.isfinite(net.predict(x)).all()
    assert np.isfinite(net.train_step(x, [0, 1, 1]))


@pytest.mark.measures
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("method", ["fit", "gradient", "train_step"])
def test_ctrl_c_within_a_long_step(method):
    """The step is abandoned: no parameter has changed, and the network still works."""
    net = nf.Sequential([nf.Dense(500, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=0)
    x, y = np.ones((60_000, 784), np.float32), np.zeros(60_000, int)
    run = {
        "fit": lambda: net.fit(x, y, batch_size=len(x), epochs=100, verbose=0),
        "gradient": lambda: [net.gradient(x, y) for _ in range(100)],
        "train_step": lambda: [net.train_step(x, y) for _ in range(100)],
    }[method]
    delays, times = [], []

    def interrupt():
        times.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    for _ in range(TRIES):
        before = net.flat_params.copy()
        timer = threading.Timer(0.4, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run()
        delays.append(time.perf_counter() - times[-1])
        timer.join()
        if method == "gradient" or (method == "fit" and not len(net.history.step_loss)):
            np.testing.assert_array_equal(net.flat_params, before)
        if delays[-1] <= PROMISE:
            break
    assert min(delays) <= PROMISE
    assert np.isfinite(net.flat_params).all()
    assert np.isfinite(net.train_step(x[:10], y[:10]))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        net.backward(np.ones((10, 10)))


@pytest.mark.measures
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no signals at intervals")
def test_ctrl_c_is_looked_for_between_wide_layers():
    """For when a few rows take long through all layers. Signals arrive all the time; their handler records when."""
    seen = []
    net = nf.Sequential([nf.Dense(6000, initializer=0.0)] * 4, input_shape=6000, seed=0)
    x = np.ones((48, 6000), np.float32)
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(time.perf_counter()))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        gaps = []
        for _ in range(TRIES):
            seen[:] = [time.perf_counter()]
            net.gradient(x, x)
            gaps.append(max(np.diff([*seen, time.perf_counter()])))
            if gaps[-1] <= PROMISE:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert min(gaps) <= PROMISE


def test_a_fit_without_memory_leaves_no_forward_that_is_another():
    """A forward pass in a replaced workspace is discarded or unchanged, but never wrong."""
    net = make_net()
    twin = net.copy()
    for one in (net, twin):
        one.forward(X[:4], training=True)
    with pytest.raises(MemoryError):
        net.fit(X, LABELS, steps=2**40, batch_size=N, verbose=0)
    np.testing.assert_array_equal(net.backward(np.ones((4, 4))), twin.backward(np.ones((4, 4))))


@pytest.mark.parametrize("method", ["fit", "numerical fit", "train_step", "update"])
def test_without_memory_for_the_optimizer_forward_and_gradients_are_as_they_were(method, monkeypatch):
    net = make_net()
    twin = net.copy()
    for one in (net, twin):
        one.forward(X[:4], training=True)
        one.backward(np.ones((4, 4)))
        one.forward(X[:3], training=True)

    def no_memory(n, dtype):
        raise MemoryError

    run = {
        "fit": lambda: fit(net, optimizer="adam"),
        "numerical fit": lambda: fit(net, optimizer="adam", gradient="numerical"),
        "train_step": lambda: net.train_step(X, LABELS, "adam"),
        "update": lambda: net.update("adam"),
    }[method]
    with monkeypatch.context() as patch, unchanged(net), pytest.raises(MemoryError):
        patch.setattr("nnfast.engine.program.aligned_zeros", no_memory)
        run()
    for one in (net, twin):
        one.backward(np.ones((3, 4)), accumulate=True)
        one.update("adam")
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


@pytest.mark.parametrize("after", [1, 2])
def test_ctrl_c_between_two_lines_of_the_record(after, monkeypatch):
    """What was recorded once is not recorded again."""
    calls = []

    def interrupted(history, values):
        add_epochs(history, values)
        calls.append(values)
        if len(calls) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr("nnfast.training.loop.add_epochs", interrupted)
    net = make_net()
    callback = [lambda net, history: None]  # epochs are recorded one by one
    with pytest.raises(KeyboardInterrupt):
        fit(net, epochs=5, callbacks=callback)
    assert len(net.history["loss"]) == len(net.history.step_loss) // net.history.steps_per_epoch == after


@pytest.mark.measures
@pytest.mark.parametrize("name", ENDLESS)
def test_stop_from_another_thread(name, monkeypatch):
    delays = []
    for _ in range(TRIES):
        net, run = endless(name, monkeypatch)
        begin, times = net.history, []
        thread = later(net.stop, times, net)
        history = run()
        delays.append(time.perf_counter() - times[0])
        thread.join()
        if delays[-1] <= PROMISE:
            break
    assert min(delays) <= PROMISE
    assert net.history is history
    assert_history_is_whole(net, begin, stopped=True)


# ---- progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


def in_terminal(monkeypatch):
    """Make standard error a terminal with tqdm (pytest restores its own before each test)."""
    pytest.importorskip("tqdm.auto")  # slow to import
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


@pytest.mark.parametrize("arguments", [{"epochs": 3}, {"steps": 12}], ids=["epochs", "steps"])
def test_a_terminal_shows_a_progress_bar(arguments, capsys, monkeypatch):
    terminal = in_terminal(monkeypatch)
    fit(make_net(), verbose=1, **arguments)
    shown = terminal.getvalue()
    assert "\r" in shown
    assert "epoch 3/3" in shown
    assert "100%" in shown
    assert re.search(r"accuracy [\d.]+", shown)
    assert capsys.readouterr().out == ""


def test_a_progress_bar_of_regression_shows_the_loss(monkeypatch):
    terminal = in_terminal(monkeypatch)
    net = make_net(output="identity")
    history = net.fit(X, np.eye(4)[LABELS], epochs=2, validation_data=(X, np.eye(4)[LABELS]))
    assert f"loss {history['loss'][-1]:.4f}, val_loss {history['val_loss'][-1]:.4f}" in terminal.getvalue()


def run_with_lines(monkeypatch, **arguments):
    """Train for four epochs with a clock that advances 0.6 seconds at each reading."""
    clock = itertools.count(step=0.6)
    monkeypatch.setattr(_progress, "monotonic", lambda: next(clock))
    return fit(make_net(), epochs=4, verbose=1, validation_data=(XV, LABELS_V), **arguments)


def test_without_tqdm_there_are_lines(monkeypatch):
    terminal = in_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    history = run_with_lines(monkeypatch)
    shown = terminal.getvalue()
    assert shown.splitlines()[-1] == (
        f"epoch 4/4: accuracy {history['accuracy'][-1]:.4f}, val_accuracy {history['val_accuracy'][-1]:.4f}"
    )
    assert 2 <= len(shown.splitlines()) <= 4


@pytest.mark.parametrize("size", [(0, 24), (80, 0), (0, 0)])
def test_a_terminal_of_no_size_gets_lines(size, monkeypatch):
    terminal = in_terminal(monkeypatch)
    monkeypatch.setattr(terminal, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size(size))
    run_with_lines(monkeypatch)
    assert "\r" not in terminal.getvalue()
    assert "epoch 4/4: accuracy" in terminal.getvalue()


def test_a_file_gets_lines_and_no_bar(capsys, monkeypatch):
    history = run_with_lines(monkeypatch)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    assert captured.err.splitlines()[-1].startswith(f"epoch 4/4: accuracy {history['accuracy'][-1]:.4f}")
    assert 2 <= len(captured.err.splitlines()) <= 4


def test_lines_come_at_most_once_a_second(capsys):
    fit(make_net(), epochs=50, verbose=1)
    assert len(capsys.readouterr().err.splitlines()) < 5


@pytest.mark.parametrize("closed", [False, True])
def test_progress_without_a_place_to_show_it(closed, monkeypatch):
    nowhere = Terminal()
    nowhere.close()
    monkeypatch.setattr(sys, "stderr", nowhere if closed else None)
    assert len(fit(make_net(), epochs=3, verbose=1)["loss"]) == 3


def test_nothing_is_shown_when_asked_for(capsys, monkeypatch):
    terminal = in_terminal(monkeypatch)
    fit(make_net(), epochs=3, verbose=0)
    assert capsys.readouterr().out == terminal.getvalue() == ""


# ---- bad input, which must change nothing


def assert_refused(error, message, *data, **arguments):
    """For a trained network, and for one that is not built yet."""
    trained = make_net()
    fit(trained, optimizer="adam")
    unbuilt = nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], seed=SEED)
    for net in (trained, unbuilt):
        with unchanged(net), pytest.raises(error, match=message):
            net.fit(*(data or (X, LABELS)), **({"verbose": 0} | arguments))
        assert net.input_shape == (None if net is unbuilt else (3,))
    trained.train_step(X, LABELS)


@pytest.mark.parametrize("name", ["epochs", "steps", "batch_size"])
def test_counts_are_positive_integers(name):
    for wrong in (0, -1):
        assert_refused(ValueError, f"^{name} must be at least 1, got {wrong}$", **{name: wrong})
    for wrong in (1.0, "1", True, [1]):
        assert_refused(TypeError, f"^{name} must be an integer, got", **{name: wrong})
    if name == "batch_size":
        assert_refused(TypeError, "^batch_size must be an integer, got None", batch_size=None)


def test_epochs_and_steps_exclude_each_other():
    assert_refused(ValueError, "^give epochs or steps, not both: got epochs=2 and steps=3$", epochs=2, steps=3)


@pytest.mark.parametrize("count", [10**15, 10**19, 10**30])
@pytest.mark.parametrize("name", ["epochs", "steps"])
def test_counts_beyond_memory(name, count):
    """The losses of all steps are stored."""
    assert_refused(MemoryError, None, **{name: count})


@pytest.mark.parametrize("verbose", [2, -1, "yes", None])
def test_verbose_is_0_or_1(verbose):
    assert_refused(ValueError, "^verbose must be 0 or 1, got", verbose=verbose)


def test_verbose_may_be_of_numpy():
    assert len(make_net().fit(X, LABELS, verbose=np.int64(0))["loss"]) == 1


@pytest.mark.parametrize("shuffle", [1, 0, None, "yes", np.random.default_rng(0)])
def test_shuffle_is_true_or_false(shuffle):
    assert_refused(TypeError, "^shuffle must be True or False, got", shuffle=shuffle)


@pytest.mark.parametrize("callbacks", [[1], ["print"], [print, None]])
def test_callbacks_are_callable(callbacks):
    assert_refused(TypeError, "^callbacks must be callable, got", callbacks=callbacks)


@pytest.mark.parametrize("callbacks", [print, 5, None])
def test_callbacks_are_a_sequence(callbacks):
    assert_refused(TypeError, "^callbacks must be a sequence", callbacks=callbacks)


def test_unknown_arguments_are_refused():
    assert_refused(TypeError, "'learning_rate'", learning_rate=0.1)


@pytest.mark.parametrize("optimizer", ["SGD", "lamb", ""])
def test_unknown_optimizers_are_refused(optimizer):
    names = ", ".join(map(repr, nf.optimizers.NAMES))
    assert_refused(ValueError, f"^optimizer must be one of {names}, got", optimizer=optimizer)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_are_finite(value):
    x = X.copy()
    x[7, 2] = x[9, 0] = value
    assert_refused(ValueError, r"^x must be finite, got NaN or infinity at index \(7, 2\)$", x, LABELS)
    targets = np.full((N, 4), 0.25)
    targets[6, 1] = value
    assert_refused(ValueError, r"^y must be finite, got NaN or infinity at index \(6, 1\)$", X, targets)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_targets_of_regression_are_finite(value):
    y = np.linspace(0, 1, N)
    y[3] = value
    net = make_net(output="identity", units=1)
    with unchanged(net), pytest.raises(ValueError, match="^y must be finite, got NaN or infinity at index"):
        net.fit(X, y, verbose=0)


def test_non_finite_data_may_be_predicted():
    net = make_net()
    x = X.copy()
    x[7, 2] = np.nan
    assert np.isnan(net.predict(x)[7]).all()
    assert np.isfinite(np.delete(net.predict(x), 7, axis=0)).all()
    assert np.isnan(net.loss(x, LABELS))


def test_data_of_mismatched_lengths():
    message = rf"^y must have as many rows as x: {N}, got shape \({N - 1},\)$"
    assert_refused(ValueError, message, X, LABELS[:-1])
    assert_refused(ValueError, r"^x must have .*, got (shape )?\(0, 3\)", X[:0], LABELS[:0])


def test_labels_out_of_range():
    assert_refused(ValueError, "^y holds labels up to 4, which need at least 5 outputs", X, LABELS + 1)
    assert_refused(ValueError, "^y holds labels and must not be negative, got -1", X, LABELS - 1)
    assert_refused(TypeError, "^y must hold one integer label per row, got dtype float64", X, LABELS * 1.0)


def test_data_without_columns():
    for wrong in (X[:, 0], X[0, 0], X[:, :0]):
        assert_refused(ValueError, "^x must have shape", wrong, LABELS)
    assert_refused(TypeError, "^x must hold real numbers", X.astype(str), LABELS)
    assert_refused(ValueError, "^x must be a rectangular array of numbers", [[1, 2, 3], [1, 2]], [0, 1])


@pytest.mark.parametrize("data", [X, (X,), (X, LABELS, None, X), 5, "xy", {"x": X, "y": LABELS}])
def test_validation_data_are_a_pair(data):
    assert_refused(
        TypeError, r"^validation_data must be \(x, y\) or \(x, y, sample_weight\), got", validation_data=data
    )


def test_validation_data_are_checked_like_training_data():
    for data, error, message in (
        ((XV[:, :2], LABELS_V), ValueError, r"x must have shape \(n, 3\), got \(11, 2\)"),
        ((XV, LABELS_V[:-1]), ValueError, "y must have as many rows as x: 11, got"),
        ((XV, LABELS_V + 4), ValueError, "y holds labels up to"),
        ((XV, LABELS_V / 2), TypeError, "y must hold one integer label per row"),
        ((XV.astype(str), LABELS_V), TypeError, "x must hold real numbers"),
        ((XV[:0], LABELS_V[:0]), ValueError, "x must have at least one row"),
        ((XV * np.nan, LABELS_V), ValueError, r"x must be finite, got NaN or infinity at index \(0, 0\)"),
    ):
        assert_refused(error, f"^validation_data: {message}", validation_data=data)


# ---- memory


# The bytes that a step leaves behind, in Python and in the process. In a separate process: otherwise the memory that
# other tests have freed would absorb them.
LEFT_BEHIND = """if True:
    import gc, os, sys, tracemalloc
    import numpy as np
    import nnfast as nf

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    net = nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(4, "softmax")], input_shape=3, seed=0)
    x, y = np.ones((32, 3), np.float32), np.arange(32) % 4
    gout, adam = np.ones((32, 4), np.float32), nf.Adam()
    out, one = np.empty((32, 4), np.float32), np.empty(4, np.float32)

    def backward():
        net.forward(x, training=True)
        net.backward(gout)
        net.update(adam)

    def grow():
        new = net.copy()
        for rows in (1, 8, 32):
            new.train_step(x[:rows], y[:rows], adam)
            new.predict(x[:rows])

    step, count = {
        "train_step": (lambda: net.train_step(x, y, adam), 10_000),
        "predict": (lambda: net.predict(x), 3000),
        "predict_one": (lambda: net.predict_one(x[0], out=one), 3000),
        "loss": (lambda: net.loss(x, y), 3000),
        "backward": (backward, 3000),
        "gradient": (lambda: net.gradient(x, y), 3000),
        "numerical_gradient": (lambda: net.numerical_gradient(x[:4], y[:4], wrt=["b1", "x"]), 500),
        "copy": (lambda: net.copy(), 1000),
        "grow": (grow, 1000),
        "fit": (lambda: net.fit(x, y, batch_size=10, verbose=0, validation_data=(x, y)), 1000),
        "numerical fit": (lambda: net.fit(x[:4], y[:4], gradient="numerical", verbose=0), 1000),
    }[sys.argv[1]]
    for _ in range(300):
        step()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(min(count, 1000)):
        step()
    gc.collect()
    python = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    before = resident()
    for _ in range(count):
        step()
    print(python / min(count, 1000), (resident() - before) / count)
"""


@pytest.mark.measures
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc/self/statm")
@pytest.mark.parametrize(
    "name",
    [
        "train_step",
        "predict",
        "predict_one",
        "loss",
        "backward",
        "gradient",
        "numerical_gradient",
        "copy",
        "grow",
        "fit",
        "numerical fit",
    ],
)
def test_steps_keep_no_memory(name):
    command = [sys.executable, "-P", "-c", LEFT_BEHIND, name]
    python, process = map(float, subprocess.check_output(command, text=True).split())
    assert python < 40, "no object a step"
    assert process < 200, "the memory of a page now and then, but of no step"


@pytest.mark.measures
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc/self/statm")
def test_a_fit_allocates_nothing_after_its_first_epoch():
    """Its memory is allocated before the first step: losses, workspace, the order of samples."""
    code = """if True:
        import os
        import numpy as np
        import nnfast as nf

        sizes = []
        def look(net, history):
            if history.step_loss.size % 10_000 == 100:
                with open("/proc/self/statm") as file:
                    sizes.append(int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE"))

        net = nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(4, "softmax")], input_shape=3, seed=0)
        x, y = np.ones((1000, 3), np.float32), np.arange(1000) % 4
        net.fit(x, y, epochs=1001, batch_size=10, optimizer="adam", verbose=0, callbacks=[look])
        print(len(sizes), (sizes[-1] - sizes[1]) / 90_000)
    """
    count, a_step = subprocess.check_output([sys.executable, "-P", "-c", code], text=True).split()
    assert int(count) == 11
    assert float(a_step) < 32, "what a step of 100,000 adds: pages of losses and rates made before, as they are touched"


# ---- a training that diverges


def diverging(**arguments):
    net = nf.Sequential([nf.Dense(20, "relu"), nf.Dense(1)], input_shape=3, seed=0)
    x = X * 50
    with pytest.warns(RuntimeWarning, match="^the training diverged: ") as warned:
        net.fit(x, 1e4 * x[:, 0], **({"epochs": 20, "optimizer": nf.SGD(0.125), "verbose": 0} | arguments))
    assert [w.filename for w in warned] == [__file__], "one warning, where fit is called"
    return net.history, str(warned[0].message)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 5},
        {"steps": 50, "epochs": None},
        {"callbacks": [lambda net, history: None]},
        {"optimizer": nf.SGD(nf.schedules.Constant(0.125))},
        {"sample_weight": np.ones(N)},
    ],
)
def test_a_training_that_diverges_warns_once(arguments):
    history, told = diverging(**arguments)
    step = int(np.isfinite(history.step_loss).argmin())
    epoch, loss = step // history.steps_per_epoch + 1, history.step_loss[step]
    assert told.endswith(
        f"loss is {loss} in epoch {epoch}, step {step + 1}, at learning rate 0.125. "
        "Use a smaller learning rate, and scale x and y to about 1"
    )


def test_a_training_by_numerical_gradients_that_diverges_warns():
    net = make_net()
    spoil = [lambda net, history: net.params["b2"].fill(np.nan)]
    with pytest.warns(RuntimeWarning, match="^the training diverged: loss is nan in epoch 2, step 6,") as warned:
        fit(net, epochs=4, gradient="numerical", callbacks=spoil)
    assert len(warned) == 1


def test_parameters_that_the_last_step_makes_infinite():
    net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
    with pytest.warns(RuntimeWarning, match=r"diverged: parameters are infinite or NaN after it in epoch 1, step 1,"):
        history = net.fit([[1e15]], [-1e10], epochs=1, optimizer=nf.SGD(1e20), verbose=0)
    assert np.isfinite(history.step_loss).all()


def test_a_validation_loss_that_is_infinite():
    net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
    with pytest.warns(RuntimeWarning, match="diverged: val_loss is inf in epoch 1, step 1,"):
        net.fit([[1.0]], [0.0], epochs=3, validation_data=([[1e30]], [0.0]), verbose=0)


def test_a_train_step_that_diverges_warns():
    net = make_net()
    net.params["b2"][0] = np.nan
    with pytest.warns(
        RuntimeWarning, match="diverged: the loss of step 1 with SGD is nan, at learning rate 0.5. Use"
    ) as w:
        net.train_step(X, LABELS, nf.SGD(0.5))
    assert w[0].filename == __file__
    schedule = nf.schedules.Step(0.5, step_size=1, gamma=0.5)
    with pytest.warns(RuntimeWarning, match="step 2 with SGD is nan, at learning rate 0.25"):
        net.train_step(X, LABELS, nf.SGD(schedule))


# ---- what callbacks may change


def test_labels_targets_and_weights_belong_to_fit():
    """Also if they have the dtype that the engine needs."""
    weights, history = np.ones(N), []
    for y in (LABELS.astype(np.int64), np.eye(4)[LABELS]):

        def spoil(net, history, y=y):
            y[...] = 0
            weights[...] = 0

        for callbacks in ([], [spoil]):
            weights[...] = 1
            net = make_net()
            arguments = {"sample_weight": weights, "validation_data": (XV, LABELS_V), "callbacks": callbacks}
            history.append(dict(net.fit(X, y, epochs=3, verbose=0, **arguments)))
    assert history[0] == history[1]
    assert history[2] == history[3]


def test_rows_that_a_callback_spoils_are_reported():
    x = X.copy()
    with pytest.warns(RuntimeWarning, match="diverged: loss is nan in epoch 2"):
        make_net().fit(x, LABELS, epochs=3, callbacks=[lambda net, history: x.fill(np.nan)], verbose=0)


def test_losses_of_steps_are_not_for_callbacks_to_write():
    def spoil(net, history):
        for array in (history.step_loss, history.learning_rate):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0
        history["loss"].clear()

    history = fit(make_net(), epochs=3, callbacks=[spoil])
    assert history["loss"] == fit(make_net(), epochs=3)["loss"]
    history.step_loss[:] = 0  # the caller owns it now


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [3, 40])
def test_averages_are_those_of_the_formula(dtype, batch_size):
    """They start as the parameters after the first step. Updates for 3 rows are fused, those for 40 are not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    layers = [nf.Dense(4, "tanh"), nf.BatchNorm(), nf.Dense(3, "softmax")]
    by_step, by_fit = (nf.Sequential(layers, input_shape=5, dtype=dtype, seed=0) for _ in range(2))
    optimizer = nf.Adam(0.01, average_decay=0.9)
    expected = None
    for at in list(range(0, 36, batch_size)) * 5:
        by_step.train_step(x[at : at + batch_size], y[at : at + batch_size], optimizer)
        now = by_step.flat_params.astype(float)
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    rows = slice(0, 36) if batch_size == 3 else slice(None)
    by_fit.fit(x[rows], y[rows], epochs=5, batch_size=batch_size, optimizer=optimizer, shuffle=False, verbose=0)
    for net in (by_step, by_fit):
        assert_close(net.averaged().flat_params, expected.astype(dtype), scale=10.0, kind="sum")
        assert np.abs(net.averaged().flat_params - net.flat_params).max() > 1e-3
