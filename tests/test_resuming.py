"""Training that is continued: all calls of `fit` together give the bits of one, wherever they ended."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from numpy_network import state
from optimizer_cases import OPTIMIZERS

import nnfast as nf
from nnfast import schedules
from nnfast.training import Callback

N, BATCH, PER_EPOCH = 23, 5, 5  # four full mini-batches and one of three rows
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
LABELS = RNG.integers(0, 4, N)
WEIGHTS = RNG.integers(0, 3, N) + 0.5
XV, LABELS_V = RNG.normal(size=(7, 3)), RNG.integers(0, 4, 7)


class SmallestOutput(nf.metrics.Metric):
    """Computed in Python from the outputs of a whole epoch."""

    name, direction = "smallest_output", "higher"

    def compute(self, outputs, targets, sample_weight):
        return outputs.min()


def make_net(*, dtype="float32"):
    """A network whose every step depends on its random streams, and which keeps running statistics."""
    layers = [
        nf.Dense(6, "tanh", l2=1e-3), nf.BatchNorm(), nf.Dropout(0.3), nf.GaussianNoise(0.1), nf.Dense(4, "softmax"),
    ]  # fmt: skip
    return nf.Sequential(layers, input_shape=3, dtype=dtype, seed=5)


def fit(net, **arguments):
    if "epochs" not in arguments and "steps" not in arguments:
        raise AssertionError("say how long")
    return net.fit(X, LABELS, **({"batch_size": BATCH, "verbose": 0} | arguments))


def joined(histories):
    """What several calls have recorded, without the part of an epoch that a later one has recorded as a whole."""
    per_epoch, steps = histories[0].steps_per_epoch, 0
    epochs = {name: [] for name in histories[0]}
    for history in histories:
        steps += len(history.step_loss)
        for name, values in history.items():
            epochs[name] += values[: steps // per_epoch - len(epochs[name])]
    return {
        "epochs": epochs,
        "steps": np.concatenate([history.step_loss for history in histories]).tolist(),
        "rates": np.concatenate([history.learning_rate for history in histories]).tolist(),
    }


def assert_same(net, histories, twin, whole, *, epochs=None):
    """The same bits in one call, of everything that a network has and of all that was recorded."""
    assert state(net)[:2] == state(twin)[:2]
    assert joined(histories) == joined([whole])
    assert net.epochs_trained == twin.epochs_trained == len(whole.step_loss) // whole.steps_per_epoch
    if epochs is not None:
        assert net.epochs_trained == epochs


# ---- epochs after epochs

DRAWINGS = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "with replacement": {"replacement": True},
    "without the last": {"drop_last": True},
    "in order without the last": {"drop_last": True, "shuffle": False},
    "one batch": {"batch_size": N},
}
OPTIONS = DRAWINGS | {
    "weights": {"sample_weight": WEIGHTS},
    "weights of classes": {"class_weight": {0: 3.0, 2: 0.0}, "sample_weight": WEIGHTS},
    "metrics": {"metrics": ["accuracy", "top_2_accuracy", "mean_absolute_error"]},
    "a metric in Python": {"metrics": [SmallestOutput(), "accuracy"]},
    "validation": {"validation_data": (XV, LABELS_V)},
    "a part for validation": {"validation_split": 0.2},
    "the last part for validation": {"validation_split": 0.2, "shuffle": False},
    "callbacks": {"callbacks": [lambda net, history: None]},
    "numerical": {"gradient": "numerical"},
    "numerical with replacement": {"gradient": "numerical", "replacement": True},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_epochs_continue(name, dtype):
    net, twin = make_net(dtype=dtype), make_net(dtype=dtype)
    histories = [fit(net, epochs=n, **OPTIONS[name]) for n in (2, 1, 3)]
    assert_same(net, histories, twin, fit(twin, epochs=6, **OPTIONS[name]), epochs=6)


@pytest.mark.parametrize("name", [*DRAWINGS, "weights", "weights of classes", "metrics", "numerical"])
@pytest.mark.parametrize("parts", [(1, 11), (3, 2, 7), (4, 4, 4), (7, 5), (5, 1, 6), (1,) * 12], ids=str)
def test_steps_continue_in_the_middle_of_an_epoch(name, parts):
    net, twin = make_net(), make_net()
    histories = [fit(net, steps=n, **OPTIONS[name]) for n in parts]
    assert_same(net, histories, twin, fit(twin, steps=12, **OPTIONS[name]))


def test_the_values_of_a_continued_epoch_are_those_of_the_whole():
    net, twin = make_net(), make_net()
    first, second = (
        fit(net, steps=3, validation_data=(XV, LABELS_V)),
        fit(net, epochs=1, validation_data=(XV, LABELS_V)),
    )
    whole = fit(twin, epochs=1, validation_data=(XV, LABELS_V))
    assert len(second.step_loss) == 2
    assert dict(second) == dict(whole)
    assert first["loss"] != whole["loss"], "of three steps"


@pytest.mark.parametrize("arguments", [{}, {"shuffle": False}], ids=["shuffled", "in order"])
def test_epochs_count_their_ends(arguments):
    """The unfinished epoch counts as the first."""
    net, twin = make_net(), make_net()
    calls = [{"steps": 7}, {"epochs": 1}, {"epochs": 2}, {"steps": 2}, {"steps": 5}, {"epochs": 3}]
    histories, counts = [], []
    for call in calls:
        histories.append(fit(net, **call, **arguments))
        counts.append((len(histories[-1].step_loss), net.epochs_trained))
    assert counts == [(7, 1), (3, 2), (10, 4), (2, 4), (5, 5), (13, 8)]
    assert [len(history["loss"]) for history in histories] == [2, 1, 2, 1, 2, 3]
    assert_same(net, histories, twin, fit(twin, epochs=8, **arguments))


# ---- optimizers and schedules


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_continues(name):
    net, twin = make_net(), make_net()
    optimizer = OPTIMIZERS[name].make()
    histories = [fit(net, **call, optimizer=optimizer) for call in ({"epochs": 1}, {"steps": 3}, {"epochs": 2})]
    assert_same(net, histories, twin, fit(twin, epochs=3, optimizer=optimizer))


SCHEDULES = {
    "warm-up": schedules.Constant(0.05, warmup=9),
    "steps": schedules.Step(0.05, step_size=4, gamma=0.7),
    "epochs": schedules.Step(0.05, step_size=1, gamma=0.5, by="epoch"),
    "warm-up by epoch": schedules.Constant(0.05, warmup=3, by="epoch"),
    "cosine by epoch": schedules.Cosine(0.05, steps=4, by="epoch"),
    "one cycle with momentum": schedules.OneCycle(0.05, steps=17),
    "one cycle by epoch": schedules.OneCycle(0.05, steps=4, by="epoch"),
    "plateau of the loss": schedules.ReduceOnPlateau(0.05, monitor="loss", patience=0, threshold=0.5, factor=0.5),
    "plateau of the validation": schedules.ReduceOnPlateau(0.05, monitor="val_accuracy", patience=0, factor=0.5),
}


def with_schedule(name):
    schedule = SCHEDULES[name]
    optimizer = nf.SGD(schedule, momentum=0.9) if "momentum" in name else nf.Adam(schedule)
    return {"optimizer": optimizer, "validation_data": (XV, LABELS_V)}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    "calls",
    [
        [{"epochs": 1}, {"epochs": 2}, {"epochs": 1}],
        [{"steps": 3}, {"epochs": 2}, {"steps": 4}, {"epochs": 2}],
        [{"steps": 6}, {"steps": 9}, {"steps": 5}],
    ],
    ids=["epochs", "mixed", "steps"],
)
def test_every_schedule_continues(name, calls):
    net, twin = make_net(), make_net()
    histories = [fit(net, **call, **with_schedule(name)) for call in calls]
    whole = fit(twin, steps=sum(len(history.step_loss) for history in histories), **with_schedule(name))
    assert_same(net, histories, twin, whole)
    assert len(set(whole.learning_rate.tolist())) > 1, "the schedule has something to do"


# ---- copies and files


def reloaded(net, tmp_path):
    net.save(tmp_path / "net.npz")
    return nf.load(tmp_path / "net.npz")


TWINS = {
    "copy": lambda net, tmp_path: net.copy(),
    "copy.copy": lambda net, tmp_path: copy.copy(net),
    "deepcopy": lambda net, tmp_path: copy.deepcopy(net),
    "pickle": lambda net, tmp_path: pickle.loads(pickle.dumps(net)),
    "file": reloaded,
    "file of a copy": lambda net, tmp_path: reloaded(net.copy(), tmp_path),
}


@pytest.mark.parametrize("arguments", [*DRAWINGS, "weights of classes", "metrics", "numerical"])
@pytest.mark.parametrize("how", TWINS)
def test_what_is_copied_in_the_middle_of_an_epoch_continues(how, arguments, tmp_path):
    options = OPTIONS[arguments]
    net, twin = make_net(), make_net()
    first = fit(net, steps=8, **options)
    net = TWINS[how](net, tmp_path)
    assert net.epochs_trained == 8 // first.steps_per_epoch
    histories = [first, fit(net, steps=4, **options)]
    assert_same(net, histories, twin, fit(twin, steps=12, **options))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_continues_from_a_file(name, tmp_path):
    net, twin = make_net(), make_net()
    first = fit(net, steps=8, **with_schedule(name))
    net = reloaded(net, tmp_path)
    histories = [first, fit(net, epochs=2, **with_schedule(name))]
    assert_same(net, histories, twin, fit(twin, epochs=3, **with_schedule(name)))


class SaveAfter(Callback):
    """Write a file after some step."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_step_end(self, net, history):
        if len(history.step_loss) == self.step:
            net.save(self.path)


@pytest.mark.parametrize("step", [1, 4, 5, 6, 9, 10, 13])
@pytest.mark.parametrize("name", ["shuffled", "numerical", "with replacement", "schedule by epoch", "fit_many"])
def test_a_checkpoint_of_any_step_continues(step, name, tmp_path):
    """Also at the end of an epoch, before it is recorded: a schedule by epoch counts it."""
    by_epoch = {"optimizer": nf.Adam(schedules.Step(0.05, step_size=1, gamma=0.5, by="epoch"))}
    arguments = by_epoch if name in ("schedule by epoch", "fit_many") else OPTIONS[name]
    whole = make_net()
    saving = {"epochs": 3, "callbacks": [SaveAfter(tmp_path / "net.npz", step)], **arguments}
    if name == "fit_many":
        (history,) = nf.fit_many([whole], X, LABELS, batch_size=BATCH, verbose=0, **saving)
    else:
        history = fit(whole, **saving)
    net = nf.load(tmp_path / "net.npz")
    assert net.epochs_trained == step // PER_EPOCH
    rest = fit(net, epochs=3 - net.epochs_trained, **arguments)
    assert state(net)[:2] == state(whole)[:2]
    assert rest.step_loss.tolist() == history.step_loss[step:].tolist()
    assert rest["loss"] == history["loss"][step // PER_EPOCH :]


OTHER_PROCESS = """if True:
    import sys
    import numpy as np
    import nnfast as nf

    path, threads = sys.argv[1], int(sys.argv[2])
    net, data = nf.load(path + ".npz"), np.load(path + "-data.npz")
    with nf.num_threads(threads, fixed=True):
        net.fit(data["x"], data["y"], epochs=2, batch_size=64, verbose=0)
    net.save(path + ".npz")
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_another_process_continues_with_another_number_of_threads(threads, tmp_path):
    x, y = RNG.normal(size=(300, 40)), RNG.integers(0, 10, 300)

    def make():
        return nf.Sequential(
            [nf.Dense(64, "relu"), nf.BatchNorm(), nf.Dropout(0.2), nf.Dense(10, "softmax")], input_shape=40, seed=1
        )

    net, twin = make(), make()
    with nf.num_threads(2, fixed=True):
        net.fit(x, y, steps=8, batch_size=64, verbose=0)
    net.save(tmp_path / "net.npz")
    np.savez(tmp_path / "net-data.npz", x=x, y=y)
    subprocess.run([sys.executable, "-P", "-c", OTHER_PROCESS, str(tmp_path / "net"), str(threads)], check=True)
    with nf.num_threads(1, fixed=True):
        twin.fit(x, y, epochs=3, batch_size=64, verbose=0)
    assert state(nf.load(tmp_path / "net.npz"))[:2] == state(twin)[:2]


def test_a_copy_by_another_thread_counts_the_epochs_of_a_schedule():
    """Epochs that run back to back, without Python between them."""
    optimizer = nf.SGD(schedules.Exponential(0.05, gamma=0.999, by="epoch"))
    net, twin, copies = make_net(), make_net(), []

    def copy_now():
        while net.epochs_trained < 10:
            time.sleep(0.0001)
        copies.append(net.copy())
        net.stop()

    thread = threading.Thread(target=copy_now, daemon=True)
    thread.start()
    fit(net, epochs=10**6, optimizer=optimizer)
    thread.join()
    (taken,) = copies
    epochs = taken.epochs_trained
    assert epochs >= 10
    rest = fit(taken, epochs=2, optimizer=optimizer)
    fit(twin, epochs=epochs, optimizer=optimizer)
    whole = fit(twin, epochs=2, optimizer=optimizer)
    assert rest.learning_rate[-1] == whole.learning_rate[-1]
    assert state(taken)[:2] == state(twin)[:2]


# ---- ends that nobody has planned


class At(Callback):
    """Do something after some step of a call."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, net, history):
        if len(history.step_loss) == self.step:
            self.act(net)


class Mine(Exception):
    """Of no other origin."""


def fail(net):
    raise Mine


def press_ctrl_c(net):
    raise KeyboardInterrupt


ENDS = {"stop": lambda net: net.stop(), "error": fail, "Ctrl-C": press_ctrl_c}


def fit_and_end(net, callbacks, **arguments):
    with contextlib.suppress(Mine, KeyboardInterrupt):
        fit(net, epochs=100, callbacks=callbacks, **arguments)
    return net.history


@pytest.mark.parametrize("step", [1, 3, 5, 6, 9, 10])
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("arguments", ["shuffled", "in order", "with replacement", "numerical", "weights of classes"])
def test_what_ends_after_any_step_continues(how, step, arguments):
    net, twin = make_net(), make_net()
    first = fit_and_end(net, [At(step, ENDS[how])], **OPTIONS[arguments])
    assert len(first.step_loss) == step
    assert net.epochs_trained == step // PER_EPOCH
    fit(net, epochs=4 - net.epochs_trained, **OPTIONS[arguments])
    fit(twin, epochs=4, **OPTIONS[arguments])
    assert state(net)[:2] == state(twin)[:2]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("step", [3, 5, 7, 10])
@pytest.mark.parametrize("how", ENDS)
def test_a_schedule_continues_after_any_end(how, step, name):
    """The epoch that has ended with the last step counts, for schedules, too."""
    net, twin = make_net(), make_net()
    first = fit_and_end(net, [At(step, ENDS[how])], **with_schedule(name))
    second = fit(net, epochs=4 - net.epochs_trained, **with_schedule(name))
    whole = fit(twin, epochs=4, **with_schedule(name))
    assert first.learning_rate.tolist() + second.learning_rate.tolist() == whole.learning_rate.tolist()
    assert state(net)[:2] == state(twin)[:2]


@pytest.mark.parametrize("how", [how for how in ENDS if how != "stop"])
def test_an_epoch_that_was_not_validated_is_examined_later(how, tmp_path):
    arguments, twin = with_schedule("plateau of the validation"), make_net()
    net = make_net()
    fit_and_end(net, [At(2 * PER_EPOCH, ENDS[how])], **arguments)
    assert net._network.built.slot.plateau["waiting"]
    net.save(tmp_path / "net.npz")
    net = nf.load(tmp_path / "net.npz")
    fit(net, epochs=2, **arguments)
    assert "waiting" not in net._network.built.slot.plateau
    fit(twin, epochs=4, **arguments)
    assert state(net)[:2] == state(twin)[:2]


def test_a_validation_before_the_first_step_that_fails_changes_nothing():
    class Fails(nf.metrics.Metric):
        name = "fails"

        def compute(self, outputs, targets, sample_weight):
            raise ArithmeticError

    class Closes(Callback):
        closed = 0

        def close(self, net, history):
            self.closed += 1

    arguments, net, closes = with_schedule("plateau of the validation"), make_net(), Closes()
    first = fit_and_end(net, [At(2 * PER_EPOCH, ENDS[next(how for how in ENDS if how != "stop")])], **arguments)
    before = state(net)
    with pytest.raises(ArithmeticError):
        fit(net, epochs=2, callbacks=[closes], **(arguments | {"metrics": ["accuracy", Fails()]}))
    assert net.history is first
    assert state(net) == before
    assert closes.closed == 1


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("how", ENDS)
def test_what_ends_after_an_epoch_continues(how, epoch):
    net, twin = make_net(), make_net()
    first = fit_and_end(net, [lambda net, history: len(history["loss"]) == epoch and ENDS[how](net)])
    histories = [first, fit(net, epochs=4 - epoch)]
    assert_same(net, histories, twin, fit(twin, epochs=4))


@pytest.mark.parametrize("after", [0, 1, 4, 5, 7])
def test_ctrl_c_within_a_numerical_gradient(after, monkeypatch):
    """An order that was drawn for an epoch whose first step was not completed is not lost."""
    net, twin = make_net(), make_net()
    from nnfast.gradients import network

    original, calls = network.gradient_and_loss, []

    def interrupted(*arguments, **options):
        calls.append(0)
        if len(calls) == after + 1:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(network, "gradient_and_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(net, epochs=3, gradient="numerical")
    histories = [net.history, fit(net, epochs=3 - net.epochs_trained, gradient="numerical")]
    assert_same(net, histories, twin, fit(twin, epochs=3, gradient="numerical"))


INTERRUPTED = """if True:
    import os, signal, sys, threading, time
    import numpy as np
    import nnfast as nf

    def make():
        layers = [nf.Dense(32, "tanh"), nf.BatchNorm(), nf.Dropout(0.3), nf.Dense(3, "softmax")]
        return nf.Sequential(layers, input_shape=4, seed=0)

    def state(net):
        net.save("net.npz")
        with np.load("net.npz") as file:
            return {name: file[name].tobytes() for name in file}

    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300_000, 4)).astype(np.float32), rng.integers(0, 3, 300_000)
    schedule = nf.schedules.Step(0.01, step_size=1, gamma=0.5, by="epoch")
    arguments = {"batch_size": 16, "verbose": 0, "optimizer": nf.Adam(schedule)}
    if sys.argv[1] == "validation":
        arguments["validation_data"] = x[:9], y[:9]
    net, middle = make(), 0
    for _ in range(4):
        begin = net.history
        def interrupt():
            while net.history is begin:
                time.sleep(0.001)
            time.sleep(0.02 + 0.3 * rng.random())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        try:
            net.fit(x, y, epochs=None, max_seconds=60, **arguments)
        except KeyboardInterrupt:
            pass
        thread.join()
        middle += net._network.built.place.state() not in (None, {"epochs": net.epochs_trained})
    assert middle, "Ctrl-C came in the middle of an epoch"
    net.fit(x, y, epochs=1, **arguments)
    twin = make()
    twin.fit(x, y, epochs=net.epochs_trained, **arguments)
    print(net.epochs_trained, state(net) == state(twin))
"""


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.parametrize("how", ["plain", "validation"])
def test_a_real_ctrl_c_in_the_middle_of_an_epoch(how, tmp_path):
    command = [sys.executable, "-P", "-c", INTERRUPTED, how]
    epochs, same = subprocess.check_output(command, text=True, cwd=tmp_path).split()
    assert int(epochs) >= 1
    assert same == "True"


# ---- together with `fit_many` and single steps


@pytest.mark.parametrize("first", ["fit", "fit_many"])
def test_fit_many_and_fit_continue_each_other(first):
    nets, twin = [make_net(), make_net()], make_net()

    def many(nets, steps):
        nf.fit_many(nets, X, LABELS, steps=steps, batch_size=BATCH, verbose=0)

    def one(nets, steps):
        for net in nets:
            fit(net, steps=steps)

    for work, steps in zip((one, many, one) if first == "fit" else (many, one, many), (3, 6, 4), strict=True):
        work(nets, steps)
    fit(twin, steps=13)
    for net in nets:
        assert state(net)[:2] == state(twin)[:2]


def test_other_uses_of_a_network_leave_its_place():
    """Predictions, evaluations and gradients in the middle of an epoch; and single steps keep the order of its rows."""
    net, twin = make_net(), make_net()
    fit(net, steps=3)
    net.predict(X)
    net.loss(X, LABELS, training=True)
    net.gradient(X, LABELS)
    net.numerical_gradient(X[:3], LABELS[:3])
    fit(net, steps=4)
    fit(twin, steps=7)
    assert state(net)[:2] == state(twin)[:2]
    place = net._network.built.place.state()
    net.train_step(X, LABELS)
    assert net._network.built.place.state() == place


# ---- what does not match begins a new epoch

CHANGES = {
    "batch size": {"batch_size": 6},
    "drop_last": {"drop_last": True},
    "order": {"shuffle": False},
    "replacement": {"replacement": True},
    "rows": {"validation_split": 0.2},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("first", [{}, {"shuffle": False}], ids=["shuffled", "in order"])
def test_what_does_not_match_begins_a_new_epoch(name, first):
    if name == "order" and first:
        pytest.skip("no change")
    change = (first if name in ("batch size", "drop_last", "rows") else {}) | CHANGES[name]
    net = make_net()
    fit(net, steps=7, **first)
    history = fit(net, epochs=2, **change)
    assert len(history["loss"]) == 2
    assert len(history.step_loss) == 2 * history.steps_per_epoch, "whole epochs"
    assert net.epochs_trained == 1 + 2, "the abandoned one does not count"
    fit(net, epochs=1, **first)
    assert net.epochs_trained == 4


def test_changed_metrics_continue_the_epoch_and_record_its_rest():
    """The sums of other metrics are not known."""
    net, twin = make_net(), make_net()
    fit(net, steps=3)
    rest = fit(net, epochs=1, metrics=["top_2_accuracy"])
    whole = fit(twin, epochs=1)
    assert state(net)[:2] == state(twin)[:2]
    assert len(rest["top_2_accuracy"]) == 1
    assert rest["loss"] == [np.average(rest.step_loss, weights=[5, 3])]
    assert whole["loss"] != rest["loss"]


def test_a_metric_in_python_is_computed_from_the_rest_of_a_continued_epoch():
    seen = []

    class Rows(nf.metrics.Metric):
        name, direction = "rows", "higher"

        def compute(self, outputs, targets, sample_weight):
            seen.append(targets.tolist())
            return len(outputs)

    net = make_net()
    first, rest = (
        fit(net, steps=3, metrics=[Rows()], shuffle=False),
        fit(net, epochs=2, metrics=[Rows()], shuffle=False),
    )
    assert (first["rows"], rest["rows"]) == ([15], [8, 23])
    assert seen == [LABELS[:15].tolist(), LABELS[15:].tolist(), LABELS.tolist()]


@pytest.mark.parametrize("calls", [[{"steps": 2}, {"steps": 1}], [{"steps": 2}, {"epochs": 1}], [{"steps": 1}] * 3])
def test_a_batch_norm_gets_no_single_row_of_a_continued_epoch(calls):
    """23 rows in mini-batches of 11: the third has one row."""
    net = make_net()
    for call in calls[:-1]:
        fit(net, **call, batch_size=11)
    before = state(net)
    with pytest.raises(ValueError, match=r"^BatchNorm needs at least two rows .* in the last of each epoch"):
        fit(net, **calls[-1], batch_size=11)
    assert state(net) == before
    assert np.isfinite(net.statistics["variance1"]).all()


def test_single_rows_after_an_unfinished_epoch_of_handed_batches():
    """A generator's epoch is not one of a single row in order."""
    net = nf.Sequential([nf.Dense(4, "softmax")], input_shape=3, seed=0)
    twin = net.copy()
    net.fit(iter([(X, LABELS)] * 3), steps=5, callbacks=[At(1, lambda net: net.stop())], verbose=0)
    assert net.epochs_trained == 0
    twin.fit(X, LABELS, batch_size=N, shuffle=False, verbose=0)
    one = {"batch_size": 1, "shuffle": False, "verbose": 0}
    a, b = net.fit(X[:1], LABELS[:1], **one), twin.fit(X[:1], LABELS[:1], **one)
    assert dict(a) == dict(b)


# ---- damaged files


def changed_file(net, tmp_path, change):
    """A file whose description of the place was changed."""
    net.save(tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(str(np.load(io.BytesIO(members["description.npy"]))))
    place = description["place"]
    result = change(place)
    description["place"] = place if result is None else result
    buffer = io.BytesIO()
    np.save(buffer, np.array(json.dumps(description)))
    members["description.npy"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "changed.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return tmp_path / "changed.npz"


NOT_COUNTS = [-1, 1.0, "3", None, True, [3], {}, 2**63, 2**64, 10**40]
DAMAGE = [
    *[(name, value) for name in ("epochs", "rows", "n", "batch", "position") for value in NOT_COUNTS],
    *[("seed", value) for value in NOT_COUNTS if value != 2**63],
    ("rows", 0), ("batch", 0), ("n", 0), ("position", N), ("position", 2 * N), ("position", 7), ("batch", 4),
    *[("drawing", value) for value in ("", "sorted", "SHUFFLED", None, 1, [], {})],
    *[("names", value) for value in ([], [1], [None], None, 5, ["a", "b"], [["accuracy"]], "x", {"accuracy": 0})],
    *[("sums", value) for value in ([], [1.0], [1.0, 2.0, 3], [1.0, 2.0, "3"], [1.0, 2.0, None], None, 5, "abc", {})],
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), DAMAGE, ids=str)
def test_a_damaged_place_is_refused(name, value, tmp_path):
    net = make_net()
    fit(net, steps=8)
    path = changed_file(net, tmp_path, lambda place: place.update({name: value}))
    with pytest.raises(ValueError, match="is damaged: "):
        nf.load(path)


@pytest.mark.parametrize("name", ["epochs", "rows", "n", "batch", "position", "seed", "names", "sums"])
def test_a_place_without_a_part_is_refused(name, tmp_path):
    net = make_net()
    fit(net, steps=8)

    def remove(place):
        del place[name]

    with pytest.raises(ValueError, match=f"is damaged: its description has no '{name}'"):
        nf.load(changed_file(net, tmp_path, remove))


@pytest.mark.parametrize("place", [[], 0, 1.5, "x", "drawing", ["drawing"], True])
def test_a_place_of_another_kind_is_refused(place, tmp_path):
    net = make_net()
    fit(net, steps=8)
    with pytest.raises(ValueError, match="is damaged: "):
        nf.load(changed_file(net, tmp_path, lambda _: place))


def test_a_place_of_other_numbers_loads_and_begins_a_new_epoch(tmp_path):
    """What fits together is no damage, but this data has another number of rows."""
    net = make_net()
    fit(net, steps=8)
    path = changed_file(net, tmp_path, lambda place: place.update(rows=1000, n=1000, seed=2**64 - 1, epochs=2**40))
    other = nf.load(path)
    assert other.epochs_trained == 2**40
    assert len(fit(other, epochs=2).step_loss) == 2 * PER_EPOCH
    assert other.epochs_trained == 2**40 + 2


# ---- epochs_trained


def test_epochs_trained():
    unbuilt = nf.Sequential([nf.Dense(4, "softmax")], seed=0)
    assert unbuilt.epochs_trained == 0
    fit(unbuilt, epochs=2)
    assert unbuilt.epochs_trained == 2
    unbuilt.train_step(X, LABELS)
    unbuilt.reset_optimizer()
    assert unbuilt.epochs_trained == 2
    with pytest.warns(RuntimeWarning, match="L-BFGS did not converge"):
        unbuilt.fit(X, LABELS, optimizer="lbfgs", epochs=3, verbose=0)
    assert unbuilt.epochs_trained == 2, "epochs on mini-batches"
    fit(unbuilt, epochs=1, optimizer="sgd")
    assert unbuilt.epochs_trained == 3
    with pytest.raises(AttributeError):
        unbuilt.epochs_trained = 0


def test_a_signal_handler_is_left_as_it_was():
    before = signal.getsignal(signal.SIGINT)
    fit(make_net(), steps=3)
    assert signal.getsignal(signal.SIGINT) is before
