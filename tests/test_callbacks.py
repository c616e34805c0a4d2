"""Callbacks: what each does in a training, with every error message, and that nothing is half done."""

from __future__ import annotations

import copy
import csv
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

import nnfast as nf
from nnfast.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    Lambda,
    LearningRateFinder,
    Logging,
    StopOnNaN,
    TensorBoard,
)
from nnfast.training.hooks import HOOKS

X = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
VALIDATION = (X[40:], Y[40:])
KILLS = int(os.environ.get("NNFAST_KILLS", "10"))  # of processes that write checkpoints

posix = pytest.mark.skipif(os.name != "posix", reason="signals, locks and links of POSIX")


def network(seed=0, norm=False, **options):
    between = [nf.BatchNorm()] if norm else []
    layers = [nf.Dense(8, "tanh"), *between, nf.Dense(2, "softmax")]
    return nf.Sequential(layers, input_shape=2, seed=seed, **options)


def fit(net, callbacks, epochs=5, **options):
    options = {"batch_size": 10, "optimizer": nf.Adam(0.05), "validation_data": VALIDATION, "verbose": 0} | options
    if "steps" not in options:
        options["epochs"] = epochs
    return net.fit(X[:40], Y[:40], callbacks=callbacks, **options)


class Metric(nf.metrics.Metric):
    """Has given values on the validation data, one after the other."""

    name, direction = "given", "lower"

    def __init__(self, *values):
        self.values = list(values)

    def compute(self, outputs, targets, sample_weight):
        return self.values.pop(0) if len(outputs) == len(VALIDATION[0]) else 0.0


def given(callback, *values, net=None, **options):
    """Train for as many epochs as there are values of `val_given`."""
    return fit(net or network(), [callback], epochs=len(values), metrics=[Metric(*values)], **options)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def trained(seed=0):
    """A network that an optimizer has a state in."""
    net = network(seed)
    fit(net, [], epochs=1)
    return net


def state(net):
    """All that a network consists of, to be compared."""
    _, description, arrays, *_ = net.__reduce__()[1]
    return repr(description), {name: array.tobytes() for name, array in arrays.items()}


# ---- the base class


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self, net, history):
        self.calls.append("train begin")

    def on_epoch_end(self, net, history):
        self.calls.append(f"epoch {len(history['loss'])}")

    def close(self, net, history):
        self.calls.append("close")


def test_only_overridden_methods_are_called():
    assert not Callback().hooks()
    assert set(Recorder().hooks()) == {"on_train_begin", "on_epoch_end", "close"}
    for name in HOOKS:
        assert type("Own", (Callback,), {name: lambda self, net, history: None})().hooks() == [name]
        assert getattr(Callback(), name)(None, None) is None


def test_methods_are_called_in_order():
    recorder, every = Recorder(), Recorder()
    every.every = 2
    fit(network(), [recorder, every], epochs=3)
    assert recorder.calls == ["train begin", "epoch 1", "epoch 2", "epoch 3", "close"]
    assert every.calls == ["train begin", "epoch 2", "epoch 3", "close"]


def test_lambda_asks_for_what_is_given():
    for name in HOOKS:
        assert Lambda(**{name: print}).hooks() == [name]
    calls = []
    one = Lambda(on_epoch_end=lambda net, history: calls.append((net, len(history["loss"]))), every=2)
    assert one.every == 2
    assert one.on_step_end(None, None) is None, "what is not given is still there"
    net = network()
    fit(net, [one], epochs=5)
    assert calls == [(net, 2), (net, 4), (net, 5)]


ARGUMENTS = [
    (lambda: Lambda(), ValueError, "^Lambda needs a function: give one of on_train_begin, "),
    (lambda: Lambda(on_epoch_end=3), TypeError, r"^on_epoch_end must be a function of \(net, history\), got 3"),
    (lambda: Lambda(close=print, every=0), ValueError, "^every must be at least 1, got 0$"),
    (lambda: Lambda(print), TypeError, r"^Lambda\(\) too many positional arguments$"),
    (lambda: EarlyStopping(3), TypeError, r"^monitor must be the name of a value that fit records, .* got 3 \(int\)$"),
    (lambda: EarlyStopping(None), TypeError, "^monitor must be the name of a value that fit records, .* got None"),
    (lambda: EarlyStopping(patience=0), ValueError, "^patience must be at least 1, got 0$"),
    (lambda: EarlyStopping(patience=1.0), TypeError, r"^patience must be an integer, got 1.0 \(float\)$"),
    (lambda: EarlyStopping(min_delta=-1), ValueError, r"^min_delta must be a finite number in \[0.0, inf\], got -1.0$"),
    (lambda: EarlyStopping(direction="up"), ValueError, "^direction must be one of 'higher', 'lower', got 'up'$"),
    (lambda: EarlyStopping(restore_best=1), TypeError, r"^restore_best must be True or False, got 1 \(int\)$"),
    (lambda: EarlyStopping(start_after=-1), ValueError, "^start_after must be at least 0, got -1$"),
    (lambda: StopOnNaN(each_step=1), TypeError, r"^each_step must be True or False, got 1 \(int\)$"),
    (lambda: Checkpoint(3), TypeError, r"^path must be a path, got 3 \(int\)$"),
    (lambda: Checkpoint("{}.npz"), ValueError, r"^path must have fields such as .*, got '\{\}.npz': a field is a name"),
    (lambda: Checkpoint("{epoch!r}"), ValueError, r"^path must have fields .* got '\{epoch!r\}': a field is a name"),
    (lambda: Checkpoint("{epoch:{step}}"), ValueError, "^path must have fields .*: a field is a name"),
    (lambda: Checkpoint("{epoch"), ValueError, r"^path must have fields .* got '\{epoch': expected '}' before end"),
    (lambda: Checkpoint("{epoch:x.}"), ValueError, "^path must have fields .*: .*format"),
    (lambda: Checkpoint("{loss:d}"), ValueError, "^path must have fields .*: Unknown format code 'd'"),
    (lambda: Checkpoint("a", save="newest"), ValueError, "^save must be one of 'last', 'best', 'all', got 'newest'$"),
    (lambda: Checkpoint("a", save="all"), ValueError, "^path needs a field with save=\"all\", such as .* 'a'$"),
    (lambda: Checkpoint("a", monitor="loss"), ValueError, "^monitor needs save=\"best\", got save='last'$"),
    (lambda: Checkpoint("a", direction="lower"), ValueError, "^direction needs save=\"best\", got save='last'$"),
    (lambda: Checkpoint("a", initial_best=0), ValueError, "^initial_best needs save=\"best\", got save='last'$"),
    (lambda: Checkpoint("a", save="best", initial_best=nan), ValueError, "^initial_best must be a finite number"),
    (lambda: Checkpoint("a", save="best", monitor=3), TypeError, "^monitor must be the name of a value"),
    (lambda: Checkpoint("a", every=0), ValueError, "^every must be at least 1, got 0$"),
    (lambda: Checkpoint("a", unit="days"), ValueError, "^unit must be one of 'epochs', 'steps', got 'days'$"),
    (lambda: Checkpoint("a", save="best", unit="steps"), ValueError, '^save="best" needs unit="epochs", since values'),
    (lambda: Checkpoint("{loss}", unit="steps"), ValueError, "^path may only have the fields epoch, .* got 'loss'$"),
    (lambda: CSVLog(None), TypeError, r"^path must be a path, got None \(NoneType\)$"),
    (lambda: CSVLog("a", append="yes"), TypeError, r"^append must be True or False, got 'yes' \(str\)$"),
    (lambda: Logging(3), TypeError, r"^logger must be a logging.Logger or the name of one, got 3 \(int\)$"),
    (lambda: Logging(level="LOUD"), TypeError, r"^level must be a level of logging, .* got 'LOUD' \(str\)$"),
    (lambda: Logging(level=True), TypeError, r"^level must be a level of logging, .* got True \(bool\)$"),
    (lambda: Logging(every=0), ValueError, "^every must be at least 1, got 0$"),
    (lambda: LearningRateFinder(0), ValueError, r"^low must be a finite number in \(0.0, inf\), got 0.0$"),
    (lambda: LearningRateFinder(1, 1), ValueError, "^low must be below high, got low=1.0 and high=1.0$"),
    (lambda: LearningRateFinder(steps=9), ValueError, "^steps must be at least 10, got 9$"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), ARGUMENTS)
def test_arguments_that_do_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_arguments_of_tensorboard_that_do_not_fit():
    pytest.importorskip("tensorboardX")
    with pytest.raises(TypeError, match=r"^folder must be a path, got 3 \(int\)$"):
        TensorBoard(3)
    with pytest.raises(ValueError, match="^every must be at least 1, got 0$"):
        TensorBoard("runs", every=0)
    with pytest.raises(TypeError, match=r"^histograms must be True or False, got 1 \(int\)$"):
        TensorBoard("runs", histograms=1)


ALL = [
    (EarlyStopping, ("loss",), {"patience": 3}, "EarlyStopping(monitor='loss', patience=3)"),
    (StopOnNaN, (), {}, "StopOnNaN()"),
    (Checkpoint, (Path("a.npz"),), {"every": 2}, "Checkpoint('a.npz', every=2)"),
    (CSVLog, ("log.csv",), {"append": True}, "CSVLog('log.csv', append=True)"),
    (Logging, ("mine",), {}, "Logging(logger='mine')"),
    (Lambda, (), {"close": print}, "Lambda(close=<built-in function print>)"),
    (LearningRateFinder, (), {"steps": 50}, "LearningRateFinder(steps=50)"),
]


@pytest.mark.parametrize(("kind", "args", "kwargs", "text"), ALL, ids=lambda value: getattr(value, "__name__", None))
def test_arguments_are_shown_and_do_not_change_and_copies_are_new(kind, args, kwargs, text):
    callback = kind(*args, **kwargs)
    assert repr(callback) == text
    name = next(iter(callback.fields))
    with pytest.raises(AttributeError, match=f"make a new {kind.__name__} with another {name}$"):
        setattr(callback, name, 1)
    assert callback != kind(*args, **kwargs), "each has records of its own"
    assert len({callback, kind(*args, **kwargs)}) == 2
    for twin in (copy.copy(callback), copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert type(twin) is kind
        assert repr(twin) == text


def test_a_copy_of_a_used_callback_is_new():
    stopping = EarlyStopping("loss")
    fit(network(), [stopping])
    assert stopping.best is not None
    assert copy.deepcopy(stopping).best is None


@pytest.mark.parametrize("make", [lambda: EarlyStopping("loss"), StopOnNaN], ids=["EarlyStopping", "StopOnNaN"])
def test_a_callback_is_listed_once(make):
    callback, net = make(), trained()
    before = state(net)
    with pytest.raises(
        RuntimeError, match=f"^this {type(callback).__name__} is among the callbacks twice: list it once$"
    ):
        fit(net, [callback, callback])
    assert state(net) == before
    fit(net, [callback])  # nothing of it is left


# ---- callbacks that raise, stop, or change what they may not

STEPS = 4  # in an epoch


class Misbehaving(Callback):
    """Calls a function in one of the hooks, the second time for those that come more than once."""

    def __init__(self, hook, act):
        self.hook, self.act, self.count = hook, act, 0
        self.log = []

    def hooks(self):
        return [self.hook, "close"]

    def _call(self, hook, net, history):
        self.log.append(hook)
        if hook == self.hook:
            self.count += 1
            if self.count == (1 if hook in ("on_train_begin", "on_train_end", "close") else 2):
                self.act(net, history)

    on_train_begin = lambda self, *given: self._call("on_train_begin", *given)  # noqa: E731
    on_train_end = lambda self, *given: self._call("on_train_end", *given)  # noqa: E731
    on_epoch_begin = lambda self, *given: self._call("on_epoch_begin", *given)  # noqa: E731
    on_epoch_end = lambda self, *given: self._call("on_epoch_end", *given)  # noqa: E731
    on_step_end = lambda self, *given: self._call("on_step_end", *given)  # noqa: E731
    close = lambda self, *given: self._call("close", *given)  # noqa: E731


# when each hook of `Misbehaving` acts: after how many steps and recorded epochs
WHEN = {
    "on_train_begin": (0, 0),
    "on_epoch_begin": (STEPS, 1),
    "on_step_end": (2, 0),
    "on_epoch_end": (2 * STEPS, 2),
    "on_train_end": (3 * STEPS, 3),
    "close": (3 * STEPS, 3),
}
each_hook = pytest.mark.parametrize("hook", HOOKS)


def after_steps(steps):
    net = trained()
    if steps:
        fit(net, [], steps=steps)
    return net


@each_hook
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, StopIteration, SystemExit])
def test_an_error_ends_fit_and_leaves_the_network_as_the_last_step_did(hook, error):
    def fail(net, history):
        raise error("mine")

    net, before, after = trained(), Misbehaving("close", lambda *_: None), Misbehaving("close", lambda *_: None)
    steps, epochs = WHEN[hook]
    with pytest.raises(error, match="mine"):
        fit(net, [before, Misbehaving(hook, fail), after], epochs=3)
    assert state(net) == state(after_steps(steps))
    if steps:
        assert len(net.history.step_loss) == len(net.history.learning_rate) == steps
        assert len(net.history["loss"]) == epochs
    assert before.log == after.log == ["close"], "once"
    fit(net, [], epochs=1)  # it can be trained again
    twin = after_steps(steps)
    fit(twin, [], epochs=1)
    assert state(net) == state(twin)


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook != "on_epoch_begin"])
def test_stop_ends_the_training_after_the_current_step(hook):
    net = trained()
    steps, _ = WHEN[hook]
    history = fit(net, [Misbehaving(hook, lambda net, history: net.stop())], epochs=3)
    assert len(history.step_loss) == steps
    assert len(history["loss"]) == -(-steps // STEPS)
    assert state(net) == state(after_steps(steps))
    assert len(fit(net, [], epochs=1).step_loss) == STEPS - steps % STEPS, "what was stopped does not stay so"


def test_stop_ends_the_training_with_early_stopping_in_the_list():
    """The last epoch is cut off: it counts for callbacks as it was recorded."""
    stopping, net = EarlyStopping("loss"), network()
    history = fit(net, [Misbehaving("on_step_end", lambda net, history: net.stop()), stopping], epochs=3)
    assert stopping.best == history["loss"][-1]
    assert stopping.best_epoch == len(history["loss"]) == 1


@each_hook
@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda net, history: net.fit(X, Y, verbose=0), RuntimeError, "^the network is busy: another fit"),
        (lambda net, history: net.train_step(X, Y), RuntimeError, "^the network is busy: another fit"),
        (lambda net, history: net.reset_optimizer(), RuntimeError, "^the network is busy: another fit"),
        (lambda net, history: history.__setitem__("loss", []), (AttributeError, TypeError), "__setitem__"),
    ],
    ids=["fit", "train_step", "reset_optimizer", "history"],
)
def test_what_callbacks_may_not_change(hook, act, error, message):
    net = trained()
    with pytest.raises(error, match=message):
        fit(net, [Misbehaving(hook, act)], epochs=3)
    assert state(net) == state(after_steps(WHEN[hook][0]))


@pytest.mark.parametrize("hook", ["on_step_end", "on_epoch_end", "on_train_end"])
@pytest.mark.parametrize("name", ["step_loss", "learning_rate"])
def test_the_record_of_steps_is_read_only_while_training(hook, name):
    net = trained()
    with pytest.raises(ValueError, match="read-only"):
        fit(net, [Misbehaving(hook, lambda net, history: getattr(history, name).fill(0.0))], epochs=3)
    assert net.history.step_loss.all()
    assert net.history.learning_rate.all()


def test_an_optimizer_that_a_callback_has_spoiled():
    net, adam = trained(), nf.Adam(0.05)

    def spoil(net, history):
        adam.learning_rate = -1.0

    with pytest.raises(ValueError, match="^learning_rate must be"):
        fit(net, [Misbehaving("on_epoch_end", spoil)], epochs=3, optimizer=adam)
    assert state(net) == state(after_steps(2 * STEPS))


def test_a_list_of_the_history_that_a_callback_changes_is_its_own_problem():
    def change(net, history):
        history["loss"].clear()
        history["val_loss"][-1] = nan

    net, stopping = network(), EarlyStopping("val_loss", patience=2)
    twin, alone = network(), EarlyStopping("val_loss", patience=2)
    history = fit(net, [stopping, Lambda(on_epoch_end=change)], epochs=4)
    expected = fit(twin, [alone], epochs=4)
    assert (net.flat_params == twin.flat_params).all()
    assert (stopping.best, stopping.best_epoch) == (alone.best, alone.best_epoch)
    assert history["loss"] == expected["loss"]


# ---- early stopping


def test_early_stopping_stops_after_patience_and_restores_the_best():
    net, seen = network(norm=True), []
    stopping = EarlyStopping("val_given", patience=3)
    keep = Lambda(on_epoch_end=lambda net, history: seen.append((net.flat_params.copy(), dict(arrays_of(net)))))
    history = fit(net, [keep, stopping], epochs=20, metrics=[Metric(5, 3, 4, 3, 3.5, 1, 0, *[0] * 20)])
    assert len(history["loss"]) == 5
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (3, 2, 5)
    parameters, statistics = seen[1]
    assert (net.flat_params == parameters).all()
    assert statistics.keys() == arrays_of(net).keys() == {"mean1", "variance1"}
    assert all((statistics[name] == array).all() for name, array in arrays_of(net).items())
    assert not (seen[-1][0] == parameters).all()


def arrays_of(net):
    return {name: array.copy() for name, array in net.statistics.items()}


def test_early_stopping_restores_the_best_after_the_last_epoch_too():
    net, losses = network(), []
    stopping = EarlyStopping("val_given", patience=10)
    note = Lambda(on_epoch_end=lambda net, history: losses.append(net.loss(*VALIDATION)))
    fit(net, [note, stopping], epochs=4, metrics=[Metric(2, 1, 3, 4)])
    assert (stopping.best_epoch, stopping.stopped_epoch) == (2, None)
    assert net.loss(*VALIDATION) == losses[1] != losses[3]


def test_early_stopping_may_keep_the_last():
    net, losses = network(), []
    note = Lambda(on_epoch_end=lambda net, history: losses.append(net.loss(*VALIDATION)))
    stopping = EarlyStopping("val_given", patience=2, restore_best=False)
    fit(net, [note, stopping], epochs=9, metrics=[Metric(1, 2, 3, 4)])
    assert stopping.stopped_epoch == 3
    assert net.loss(*VALIDATION) == losses[2] != losses[0]
    with pytest.raises(
        RuntimeError, match="^there are no best parameters of this network: train it with this callback"
    ):
        stopping.restore(net)


@pytest.mark.parametrize(
    ("values", "options", "best", "stopped"),
    [
        ([3, 2.9, 2.8, 2.7, 2.6], {"patience": 2, "min_delta": 0.5}, (3, 1), 3),
        ([3, 2.9, 2.4, 2.7, 2.6], {"patience": 2, "min_delta": 0.5}, (2.4, 3), 5),
        ([3, 2.5, 2.5, 2.5], {"patience": 1, "min_delta": 0.5}, (3, 1), 2),  # by more than min_delta
        ([nan, nan, 3, nan, 2, nan, nan], {"patience": 2}, None, 2),
        ([nan, 3, nan, 2, nan, nan], {"patience": 2}, (2, 4), 6),
        ([1, nan, nan, 0.5], {"patience": 3}, (0.5, 4), None),
        ([1, 2, 3, 4], {"patience": 1, "start_after": 2}, (3, 3), 4),
        ([1, 2, 3, 4], {"patience": 1, "start_after": 9}, None, None),
        ([1, 2, 2, 2], {"patience": 2, "direction": "higher"}, (2, 2), 4),
        ([-1, -2, -1.9], {"patience": 1}, (-2, 2), 3),
        ([np.inf, np.inf, 1], {"patience": 2}, None, 2),
        ([4, 3, 2, 1], {"patience": 1}, (1, 4), None),
    ],
)
def test_what_counts_as_an_improvement(values, options, best, stopped):
    stopping = EarlyStopping("val_given", **options)
    history = given(stopping, *values)
    assert (stopping.best, stopping.best_epoch) == (best or (None, None))
    assert stopping.stopped_epoch == stopped
    assert len(history["loss"]) == (stopped or len(values))


def test_the_direction_is_that_of_the_metric():
    stopping = EarlyStopping("val_accuracy", patience=2)
    history = fit(network(), [stopping], epochs=30)
    assert stopping.best == max(history["val_accuracy"])
    assert stopping.best_epoch == 1 + int(np.argmax(history["val_accuracy"]))


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping(), Checkpoint("net.npz", save="best"), EarlyStopping("val_loss", direction="lower")],
    ids=["EarlyStopping", "Checkpoint", "with a direction"],
)
def test_what_is_monitored_must_be_recorded(callback):
    net = trained()
    before = state(net)
    with pytest.raises(
        ValueError,
        match="^monitor must be one of loss, accuracy, which this fit records, got 'val_loss': validation_data adds "
        r"val_loss, and metrics=\[...\] adds metrics$",
    ):
        fit(net, [callback], validation_data=None)
    assert state(net) == before


def test_each_fit_starts_anew_and_reuses_the_memory():
    net, stopping = network(), EarlyStopping("val_given", patience=2)
    given(stopping, 1, 2, 3, net=net)
    assert (stopping.best, stopping.stopped_epoch) == (1, 3)
    copies = stopping.results[net].copies
    given(stopping, 7, 8, 5, net=net)
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (5, 3, None)
    assert stopping.results[net].copies is copies
    wider = nf.Sequential([nf.Dense(9, "tanh"), nf.Dense(2, "softmax")], input_shape=2, seed=0)
    given(stopping, 4, 6, net=wider)
    assert (stopping.best, stopping.results[net].best) == (4, 5)


def test_the_best_can_be_restored_after_ctrl_c():
    net, stopping, losses = network(), EarlyStopping("val_given", patience=9), []

    def interrupt(net, history):
        losses.append(net.loss(*VALIDATION))
        if len(losses) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net, [Lambda(on_epoch_end=interrupt), stopping], epochs=9, metrics=[Metric(1, 2, 3, 4)])
    assert net.loss(*VALIDATION) == losses[2], "as the last step left it"
    stopping.restore(net)
    assert net.loss(*VALIDATION) == losses[0]
    with pytest.raises(RuntimeError, match="^there are no best parameters of this network"):
        stopping.restore(network())
    given(stopping, 1, 2, net=net)  # and the callback can be used again


def test_results_do_not_keep_a_network_alive():
    import gc
    import weakref

    net, stopping = network(), EarlyStopping("loss")
    fit(net, [stopping], epochs=2)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    assert len(stopping.results) == 0
    assert stopping.best is not None


def test_a_network_is_copied_without_its_callbacks():
    net, stopping = network(), EarlyStopping("loss")
    fit(net, [stopping, CSVLog(os.devnull)], epochs=2)
    assert state(pickle.loads(pickle.dumps(net))) == state(net)
    assert vars(net).keys() == {"_network"}


# ---- divergence


def diverge(callback, epochs=1000, **options):
    net = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0)
    options = {"batch_size": 5, "optimizer": nf.SGD(50.0), "verbose": 0} | options
    with pytest.warns(RuntimeWarning, match="the training diverged"):
        return net.fit(X[:40], X[:40, 0], epochs=epochs, callbacks=[callback], **options)


def test_stop_on_nan_after_an_epoch():
    stop = StopOnNaN()
    assert set(stop.hooks()) == {"on_train_begin", "on_epoch_end", "close"}
    history = diverge(stop)
    assert 1 <= len(history["loss"]) < 10
    assert stop.stopped_step == len(history.step_loss) == 8 * len(history["loss"])
    assert not np.isfinite(history["loss"][-1])
    assert np.isfinite(history["loss"][:-1]).all()


def test_stop_on_nan_after_a_step():
    stop = StopOnNaN(each_step=True)
    assert set(stop.hooks()) == {"on_train_begin", "on_step_end", "on_epoch_end", "close"}
    history = diverge(stop)
    assert stop.stopped_step == len(history.step_loss)
    assert not np.isfinite(history.step_loss[-1])
    assert np.isfinite(history.step_loss[:-1]).all()


def test_stop_on_nan_looks_at_the_validation_loss():
    net, stop = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0), StopOnNaN()
    far = np.full((2, 2), 3e38, np.float32)
    with pytest.warns(RuntimeWarning, match="val_loss is"):
        history = net.fit(
            X[:40], X[:40, 0], epochs=9, callbacks=[stop], validation_data=(far, [0, 1]), verbose=0, batch_size=8
        )
    assert len(history["loss"]) == 1
    assert stop.stopped_step == 5
    fit(network(), [stop], epochs=2)
    assert stop.stopped_step is None


# ---- checkpoints


def test_the_last_checkpoint_goes_on_with_the_same_bits(tmp_path):
    path = tmp_path / "net.npz"
    net, checkpoint = network(), Checkpoint(path)
    fit(net, [checkpoint], epochs=3, shuffle=False)
    assert names(tmp_path) == ["net.npz"]
    assert checkpoint.saved == str(path)
    again = nf.load(path)
    assert (again.flat_params == net.flat_params).all()
    for twin in (net, again):
        fit(twin, [], epochs=2, shuffle=False)
    assert (again.flat_params == net.flat_params).all()


def test_the_best_checkpoint(tmp_path):
    path, losses = tmp_path / "net.npz", []
    note = Lambda(on_epoch_end=lambda net, history: losses.append(net.loss(*VALIDATION)))
    checkpoint = Checkpoint(path, save="best", monitor="val_given")
    fit(network(), [note, checkpoint], epochs=5, metrics=[Metric(nan, 3, 1, 2, nan)])
    assert checkpoint.best == 1
    assert nf.load(path).loss(*VALIDATION) == losses[2]
    above = Checkpoint(path, save="best", monitor="val_given", direction="higher")
    given(above, 1, 2, 3, 2)
    assert above.best == 3


def test_a_good_checkpoint_stays_when_training_continues(tmp_path):
    checkpoint = Checkpoint(tmp_path / "net.npz", save="best", monitor="val_given", initial_best=0.5)
    given(checkpoint, 1, 0.5)
    assert names(tmp_path) == []
    assert (checkpoint.best, checkpoint.saved) == (0.5, None)
    given(checkpoint, 1, 0.4)
    assert names(tmp_path) == ["net.npz"]
    assert checkpoint.best == 0.4


@pytest.mark.parametrize(
    ("pattern", "options", "left"),
    [
        ("n{epoch}", {"save": "all"}, ["n1", "n2", "n3", "n4", "n5"]),
        ("n{epoch:02}", {"save": "all", "every": 2}, ["n02", "n04", "n05"]),
        ("n{epoch}", {}, ["n5"]),
        ("n", {"every": 9}, ["n"]),
        ("n{epoch}-{step}-{val_given:.1f}", {"save": "best", "monitor": "val_given"}, ["n3-12-1.0"]),
        ("{{n}}{val_given}", {"save": "best", "monitor": "val_given", "direction": "higher"}, ["{n}7.0"]),
        ("n{step}", {"save": "all", "unit": "steps", "every": 7}, ["n14", "n20", "n7"]),
        ("n{epoch}-{step}", {"unit": "steps", "every": 5}, ["n5-20"]),
        (
            "n{epoch}-{step}-{epochs_trained}",
            {"save": "all", "unit": "steps", "every": 6},
            ["n2-6-1", "n3-12-3", "n5-18-4", "n5-20-5"],
        ),
        ("n", {"unit": "steps", "every": 100}, ["n"]),
    ],
)
def test_which_checkpoints_are_left(pattern, options, left, tmp_path):
    net, checkpoint = network(), Checkpoint(tmp_path / pattern, **options)
    fit(net, [checkpoint], epochs=5, metrics=[Metric(5, 6, 1, 7, 2)])
    assert names(tmp_path) == sorted(left)
    assert Path(checkpoint.saved).name in left
    for name in left:
        assert nf.load(tmp_path / name).input_shape == (2,)
    if "monitor" not in options:
        assert (nf.load(checkpoint.saved).flat_params == net.flat_params).all()


def test_checkpoints_of_steps_are_those_of_the_steps(tmp_path):
    checkpoint = Checkpoint(tmp_path / "{step}", save="all", unit="steps", every=3)
    assert set(checkpoint.hooks()) == {"on_train_begin", "on_epoch_begin", "on_step_end", "on_train_end", "close"}
    assert set(Checkpoint("a").hooks()) == {"on_train_begin", "on_epoch_end", "close"}
    fit(network(), [checkpoint], epochs=2, shuffle=False)
    assert names(tmp_path) == ["3", "6", "8"]
    for steps in (3, 6, 8):
        twin = network()
        fit(twin, [], steps=steps, shuffle=False)
        assert (nf.load(tmp_path / str(steps)).flat_params == twin.flat_params).all()


RATES = {
    "constant": lambda: 0.05,
    "by epoch": lambda: nf.schedules.Step(0.1, step_size=1, gamma=0.5, by="epoch"),
    "on a plateau": lambda: nf.schedules.ReduceOnPlateau(0.1, monitor="val_loss", patience=0, threshold=0.5),
}


@pytest.mark.parametrize("rate", RATES)
def test_training_goes_on_from_any_checkpoint_with_the_same_bits(rate, tmp_path):
    """Shuffled, with noise, and with schedules that know epochs: also from a checkpoint of an epoch's last step."""

    def train(net, epochs, callbacks=()):
        return fit(net, callbacks, epochs=epochs, optimizer=nf.Adam(RATES[rate]()))

    layers = [nf.Dense(8, "tanh"), nf.Dropout(0.2), nf.BatchNorm(), nf.Dense(2, "softmax")]
    net = nf.Sequential(layers, input_shape=2, seed=0)
    steps = Checkpoint(tmp_path / "{step}", save="all", unit="steps")
    epochs = Checkpoint(tmp_path / "of epoch {epoch}", save="all")
    train(net, 4, [steps, epochs])
    assert len(names(tmp_path)) == 4 * STEPS + 4
    for step in range(1, 4 * STEPS):
        twin = nf.load(tmp_path / str(step))
        assert twin.epochs_trained == step // STEPS
        train(twin, 4 - step // STEPS)
        assert state(twin) == state(net), step
    for epoch in range(1, 4):
        twin = nf.load(tmp_path / f"of epoch {epoch}")
        assert state(twin) == state(nf.load(tmp_path / str(epoch * STEPS)))


def test_a_checkpoint_that_somebody_has_removed_is_not_missed(tmp_path):
    def remove(net, history):
        for path in tmp_path.iterdir():
            path.unlink()

    fit(network(), [Lambda(on_epoch_end=remove), Checkpoint(tmp_path / "{epoch}")], epochs=3)
    assert names(tmp_path) == ["3"]


@posix
def test_two_names_of_one_file_are_not_removed(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).symlink_to(tmp_path / "net")
    fit(network(), [Checkpoint(tmp_path / "{epoch}")], epochs=2)
    assert names(tmp_path) == ["1", "2", "net"]
    assert nf.load(tmp_path / "net").epochs_trained == 2


@posix
def test_what_a_killed_process_has_left_is_removed_when_training_begins_again(tmp_path):
    mine = [f"net-{i}.npz.{i:08x}.0123abcd.part" for i in range(3)]
    others = ["net-1.npz.part", "net.npz.00000000.0123abcd.part", "net-1.npz.00000000.0123abcd"]
    for name in mine + others:
        (tmp_path / name).touch()
    fit(network(), [Checkpoint(tmp_path / "net-{epoch}.npz")], epochs=1)
    assert names(tmp_path) == sorted([*others, "net-1.npz"])


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("missing/net.npz", FileNotFoundError, "there is no folder .*missing"),
        (".", OSError, "it is a folder or device, not a file"),
        ("{f1}.npz", ValueError, "^a field of path must be one of loss, accuracy, .*which this fit records, got 'f1'"),
    ],
)
def test_paths_are_checked_before_the_first_step(pattern, error, message, tmp_path):
    net, checkpoint = trained(), Checkpoint(os.path.join(tmp_path, pattern))
    before = state(net)
    with pytest.raises(error, match=message):
        fit(net, [checkpoint])
    assert state(net) == before
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("nnfast.callbacks.checkpoint.os.access", lambda folder, mode: folder != str(tmp_path))
    with pytest.raises(PermissionError, match="^path must be in a writable folder, got "):
        fit(network(), [Checkpoint(tmp_path / "net.npz")])


def test_an_error_while_saving_ends_fit_and_keeps_the_last_good_file(tmp_path, monkeypatch):
    path, fsync, calls = tmp_path / "net.npz", os.fsync, []

    def full(file):
        calls.append(file)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr("nnfast.files.writing.os.fsync", full)
    net, losses = network(), []
    note = Lambda(on_epoch_end=lambda net, history: losses.append(net.loss(*VALIDATION)))
    with pytest.raises(OSError, match="No space left"):
        fit(net, [note, Checkpoint(path)], epochs=9)
    assert len(losses) == 3
    assert net.loss(*VALIDATION) == losses[2], "as the last step left it"
    assert nf.load(path).loss(*VALIDATION) == losses[1]
    assert names(tmp_path) == ["net.npz"]


WRITER = """if True:
    import sys
    import numpy as np
    import nnfast as nf
    net = nf.Sequential([nf.Dense(200, "tanh"), nf.Dense(200, "tanh"), nf.Dense(2)], input_shape=20, seed=0)
    x = np.random.default_rng(0).standard_normal((8, 20)).astype(np.float32)
    every = nf.callbacks.Checkpoint(sys.argv[1])
    net.save(sys.argv[1])
    print("ready", flush=True)
    net.fit(x, x[:, :2], epochs=10**6, callbacks=[every], verbose=0)
"""


@posix
def test_a_killed_process_leaves_the_last_good_checkpoint(tmp_path):
    path, random = tmp_path / "net.npz", np.random.default_rng()
    leftovers = 0
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(random.uniform(0.005, 0.1))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert np.isfinite(nf.load(path).flat_params).all()
        leftovers += len(names(tmp_path)) - 1
        assert len(names(tmp_path)) <= 2, "what the one before has left was removed"
    print(f"{leftovers} of {KILLS} were killed while they wrote")
    fit(network(), [Checkpoint(path, save="best", initial_best=-1.0)], epochs=1)
    assert names(tmp_path) == ["net.npz"], "what the last one has left was removed, though nothing was written"


# ---- logs


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_csv_has_a_row_for_each_epoch(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("something else\n")
    log = CSVLog(path)
    history = fit(network(), [log], epochs=3, optimizer=nf.Adam(nf.schedules.Step(0.1, step_size=1, by="epoch")))
    header, *rows = read(path)
    assert header == ["epoch", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert 0 <= float(rows[0][1]) <= float(rows[1][1]) <= float(rows[2][1]) < 60
    assert [float(row[2]) for row in rows] == history.learning_rate[::4].tolist()
    for i, name in enumerate(history, 3):
        assert [float(row[i]) for row in rows] == history[name], "the same bits"
    fit(network(), [log], epochs=2)
    assert len(read(path)) == 3, "a second fit starts anew"


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "log.csv"
    history = fit(network(), [CSVLog(path)], epochs=3, metrics=["accuracy", Metric(1, nan, np.inf)])
    frame = pandas.read_csv(path)
    assert frame["val_loss"].tolist() == pytest.approx(history["val_loss"], rel=1e-15)
    assert isnan(frame["val_given"][1])
    assert frame["val_given"][2] == np.inf


def test_csv_is_complete_after_ctrl_c(tmp_path):
    path, counts = tmp_path / "log.csv", []

    def interrupt(net, history):
        counts.append(len(read(path)))
        if len(counts) == 3:
            raise KeyboardInterrupt

    log = CSVLog(path)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), [log, Lambda(on_epoch_end=interrupt)], epochs=9)
    assert counts == [2, 3, 4], "each row is there when its epoch has ended"
    assert len(read(path)) == 4
    fit(network(), [log], epochs=2)  # the file was closed: it can be used again


def test_csv_can_be_continued(tmp_path):
    path = tmp_path / "log.csv"
    log = CSVLog(path, append=True)
    net = network()
    for epochs in (2, 3):
        fit(net, [log], epochs=epochs)
    rows = read(path)[1:]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert np.all(np.diff([float(row[1]) for row in rows]) >= 0)
    with open(path, "a") as file:
        file.write("6,0.5,0.0")  # the process was killed
    fit(net, [CSVLog(path, append=True)], epochs=1)
    assert [row[0] for row in read(path)[1:]] == ["1", "2", "3", "4", "5", "6"]
    assert {len(row) for row in read(path)} == {7}


def test_files_that_csv_log_cannot_continue(tmp_path):
    path, net = tmp_path / "log.csv", trained()
    before = state(net)
    for text, message in (
        ("a,b\n1,2\n", "^append needs a file with the columns epoch, seconds, .*, but .*log.csv' has a, b$"),
        ("\N{GREEK SMALL LETTER ALPHA}\n", "^append needs a file with the columns epoch, .*, but .*log.csv' has "),
        ("text", "^append needs a file that CSVLog wrote, but .*log.csv' has no complete line$"),
        (
            "epoch,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy\nx,1,2,3,4,5,6\n",
            r"^append needs a file that CSVLog wrote, but the last row of .*log.csv' is \['x', '1', ",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            fit(net, [CSVLog(path, append=True)])
        assert path.read_text() == text
    with pytest.raises(FileNotFoundError):
        fit(net, [CSVLog(tmp_path / "missing" / "log.csv")])
    with pytest.raises(OSError):
        fit(net, [CSVLog(tmp_path)])
    assert state(net) == before


def test_a_log_is_replaced_only_when_an_epoch_ends(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("an earlier one\n")
    with pytest.raises(ValueError, match="^monitor must be one of loss, accuracy, val_loss,"):
        fit(network(), [CSVLog(path), EarlyStopping("f1")])
    assert path.read_text() == "an earlier one\n"


def test_csv_of_lbfgs_has_no_rate(tmp_path):
    path = tmp_path / "log.csv"
    net, log = network(), CSVLog(path)
    net.fit(X[:40], Y[:40], epochs=4, optimizer="lbfgs", callbacks=[log, Lambda(on_epoch_end=stop_at_3)], verbose=0)
    assert [row[2] for row in read(path)] == ["learning_rate", "", "", ""]


def stop_at_3(net, history):
    if len(history["loss"]) == 3:
        net.stop()


def test_logging(caplog):
    with caplog.at_level(logging.INFO, "nnfast"):
        history = fit(network(), [Logging(every=2)], epochs=3)
    assert [record.name for record in caplog.records] == ["nnfast", "nnfast"]
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0].startswith(
        f"epoch 2: loss {history['loss'][1]:.4f}, accuracy {history['accuracy'][1]:.4f}, val_loss"
    )
    assert texts[1].startswith("epoch 3: loss ")


@pytest.mark.parametrize("level", ["DEBUG", logging.DEBUG])
def test_logging_to_another_logger(level, caplog):
    mine = logging.getLogger("mine")
    for logger in ("mine", mine, logging.LoggerAdapter(mine, {})):
        caplog.clear()
        with caplog.at_level(logging.INFO, "mine"):
            fit(network(), [Logging(logger, level=level)], epochs=1)
        assert not caplog.records
        with caplog.at_level(logging.DEBUG, "mine"):
            fit(network(), [Logging(logger, level=level)], epochs=1)
        assert [(record.name, record.levelno) for record in caplog.records] == [("mine", logging.DEBUG)]


# ---- TensorBoard


class Board:
    """Stands for tensorboardX, which need not be there."""

    def __init__(self, folder):
        self.folder, self.scalars, self.histograms, self.flushed, self.closed = folder, [], [], 0, False
        Board.latest = self

    def add_scalar(self, *scalar):
        self.scalars.append(scalar)

    def add_histogram(self, name, array, epoch):
        self.histograms.append((name, array.shape, epoch))

    def flush(self):
        self.flushed += 1

    def close(self):
        self.closed = True


@pytest.fixture
def board(monkeypatch):
    module = type(sys)("tensorboardX")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "tensorboardX", module)


def test_tensorboard_gets_all_that_is_recorded(board):
    history = fit(network(), [TensorBoard("runs/a", every=2, histograms=True)], epochs=3)
    seen = Board.latest
    assert (seen.folder, seen.flushed, seen.closed) == ("runs/a", 2, True)
    for name in history:
        assert [scalar for scalar in seen.scalars if scalar[0] == name] == [
            (name, history[name][1], 2), (name, history[name][2], 3),
        ]  # fmt: skip
    assert [scalar for scalar in seen.scalars if scalar[0] == "learning_rate"] == [
        ("learning_rate", 0.05, 2), ("learning_rate", 0.05, 3),
    ]  # fmt: skip
    assert seen.histograms[:4] == [("W1", (2, 8), 2), ("b1", (8,), 2), ("W2", (8, 2), 2), ("b2", (2,), 2)]
    assert len(seen.histograms) == 8


def test_tensorboard_without_histograms_and_of_parameters_that_are_not_finite(board):
    fit(network(), [TensorBoard("runs/a")], epochs=1)
    assert Board.latest.histograms == []

    def spoil(net, history):
        net.params["b1"] = np.full(8, np.nan)

    with pytest.warns(RuntimeWarning, match="the training diverged"):
        fit(network(), [Lambda(on_epoch_end=spoil), TensorBoard("runs/a", histograms=True)], epochs=1)
    assert [name for name, *_ in Board.latest.histograms] == ["W1", "W2", "b2"]


def test_tensorboard_is_closed_after_an_error(board):
    def fail(net, history):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(network(), [TensorBoard("runs/a"), Lambda(on_epoch_end=fail)])
    assert Board.latest.closed


def test_tensorboard_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"^tensorboardX is needed for this: pip install 'nnfast\[tensorboard\]'$"):
        TensorBoard("runs")


def test_tensorboard_itself(tmp_path):
    pytest.importorskip("tensorboardX")
    fit(network(), [TensorBoard(tmp_path / "run", histograms=True)], epochs=2)
    (events,) = (tmp_path / "run").iterdir()
    content = events.read_bytes()
    for name in ("val_accuracy", "learning_rate", "W1"):
        assert name.encode() in content


# ---- several networks


def fit_many(callbacks, count=5, **options):
    nets = [network(seed) for seed in range(count)]
    options = {"epochs": 30, "optimizer": nf.Adam(0.05), "validation_data": VALIDATION, "verbose": 0} | options
    return nets, nf.fit_many(nets, X[:40], Y[:40], callbacks=callbacks, **options)


def test_early_stopping_of_many_networks_is_that_of_each():
    stopping, alone = EarlyStopping(patience=2), EarlyStopping(patience=2)
    nets, histories = fit_many([stopping])
    ends = set()
    for seed, (net, history) in enumerate(zip(nets, histories, strict=True)):
        one = network(seed)
        fit(one, [alone], epochs=30, batch_size=32)
        assert (one.flat_params == net.flat_params).all()
        found = stopping.results[net]
        assert (found.best, found.best_epoch, found.stopped_epoch) == (
            alone.best,
            alone.best_epoch,
            alone.stopped_epoch,
        )
        assert len(history["loss"]) == (found.stopped_epoch or 30)
        ends.add(found.best_epoch)
    assert len(ends) > 1, "the networks must differ"


def test_stop_on_nan_of_many_networks():
    stop = StopOnNaN()
    nets, _ = fit_many([stop])
    assert [stop.results[net].stopped_step for net in nets] == [None] * 5


@pytest.mark.parametrize("make", [CSVLog, Checkpoint, TensorBoard])
def test_several_networks_do_not_write_the_same_files(make, board, tmp_path):
    nets = [trained(seed) for seed in range(3)]
    before = list(map(state, nets))
    callback = make(tmp_path / "file")
    with pytest.raises(
        RuntimeError,
        match=f"^another network is being trained with this {make.__name__}, which would write to the same files: "
        "give each network one of its own$",
    ):
        nf.fit_many(nets, X[:40], Y[:40], epochs=3, callbacks=[callback], verbose=0)
    assert list(map(state, nets)) == before
    for net in nets[:2]:  # one after the other
        fit(net, [callback], epochs=1)


# ---- the learning rate finder


def test_the_finder_finds_a_rate_and_leaves_the_network_alone():
    net = network(norm=True)
    fit(net, [], epochs=2)
    before = state(net)
    finder = LearningRateFinder(1e-5, 10, steps=80)
    rate = finder.find(net, X, Y, batch_size=16, optimizer="adam")
    assert rate == finder.suggestion
    assert finder.rates[0] == pytest.approx(1e-5), "whatever the steps of the optimizer before"
    assert 1e-3 < rate < 1
    assert state(net) == before
    assert net.history is not None
    assert len(net.history["loss"]) == 2
    fit(net, [], epochs=2)
    twin = network(norm=True)
    fit(twin, [], epochs=2)
    fit(twin, [], epochs=2)
    assert state(net) == state(twin)


def test_the_rates_grow_by_a_factor_until_the_loss_explodes():
    net, finder = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0), LearningRateFinder(1e-4, 1e4, steps=81)
    sgd = nf.SGD(nf.schedules.Cosine(0.5, steps=10), momentum=0.9)
    rate = finder.find(net, X, X @ [1.0, 2.0], optimizer=sgd)
    n = len(finder.rates)
    assert n == len(finder.losses) < 81
    np.testing.assert_allclose(finder.rates, 1e-4 * 10 ** (np.arange(n) / 10), rtol=1e-12)
    assert finder.losses[-1] > 3 * finder.losses[0] > 9 * finder.losses.min()
    assert rate * 10 == pytest.approx(finder.rates[np.abs(finder.rates - 10 * rate).argmin()], rel=1e-12)
    assert finder.losses[finder.rates <= 10 * rate].min() < 0.5 * finder.losses[0]
    assert sgd.learning_rate == nf.schedules.Cosine(0.5, steps=10), "the optimizer is not changed"


def test_what_the_finder_records_is_what_training_gives():
    net, finder = network(), LearningRateFinder(0.01, 0.02, steps=10)
    finder.find(net, X, Y, optimizer="sgd", batch_size=7, shuffle=False)
    losses = [
        net.train_step(X[rows], Y[rows], nf.SGD(rate))
        for rate, rows in zip(finder.rates, 2 * [*np.split(np.arange(56), 8), np.arange(56, 60)], strict=False)
    ]
    np.testing.assert_array_equal(finder.losses, losses)
    assert finder.rates[-1] == pytest.approx(0.02)


def test_a_loss_that_never_falls_gives_no_suggestion(recwarn):
    net, finder = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0), LearningRateFinder(1e5, 1e9, steps=20)
    assert finder.find(net, X, X[:, 0], optimizer="sgd") is None
    assert finder.suggestion is None
    assert 1 < len(finder.losses) < 20
    spoiled = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0)
    spoiled.params["b1"] = [np.nan]
    assert finder.find(spoiled, X, X[:, 0]) is None, "not even the first loss is a number"
    assert len(finder.losses) == 1
    assert not recwarn.list, "it is meant to diverge"


def test_the_finder_takes_mini_batches():
    net, finder = network(), LearningRateFinder(1e-4, 100, steps=30)
    assert finder.find(net, ((X[i : i + 10], Y[i : i + 10]) for _ in range(9) for i in range(0, 60, 10))) is not None
    assert 10 < len(finder.rates) <= 30
    with pytest.warns(UserWarning, match="x yielded 6 mini-batches"):
        finder.find(net, ((X[i : i + 10], Y[i : i + 10]) for i in range(0, 60, 10)))
    assert len(finder.rates) == 6


def test_the_finder_can_be_given_a_network_that_is_not_built():
    net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(2, "softmax")], seed=0)
    assert LearningRateFinder(1e-4, 100).find(net, X, Y) is not None
    assert net.input_shape is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 3}, TypeError, "^epochs is not an argument of find, which runs the finder's 100 steps$"),
        ({"callbacks": []}, TypeError, "^callbacks is not an argument of find"),
        ({"optimizer": "lbfgs"}, ValueError, "^optimizer must have a learning rate, which LBFGS does not have$"),
        ({"optimizer": "adamant"}, ValueError, "^optimizer must be one of .* got 'adamant'$"),
        ({"optimizer": nf.AdamW, "batch_size": 3}, TypeError, "optimizer"),
        ({"batch_size": 0}, ValueError, "^batch_size must be at least 1, got 0$"),
        ({"speed": 3}, TypeError, "unexpected keyword argument 'speed'"),
    ],
)
def test_arguments_of_find_that_do_not_fit(arguments, error, message):
    net, finder = network(), LearningRateFinder()
    finder.find(net, X, Y)
    before, rates = state(net), finder.rates
    with pytest.raises(error, match=message):
        finder.find(net, X, Y, **arguments)
    assert state(net) == before
    assert finder.rates is rates, "the results of the last time are kept"
    with pytest.raises(TypeError, match=r"^net must be a Sequential, got 3 \(int\)$"):
        finder.find(3, X, Y)


def test_the_finder_is_not_called_by_fit():
    net = trained()
    before = state(net)
    with pytest.raises(
        RuntimeError, match=r"^LearningRateFinder trains a copy .* call its find\(net, x, y\) before fit"
    ):
        fit(net, [LearningRateFinder()])
    assert state(net) == before


def test_the_finder_draws_what_it_found():
    figure = pytest.importorskip("matplotlib.figure").Figure
    finder = LearningRateFinder()
    with pytest.raises(RuntimeError, match=r"^there is nothing to plot yet: call find\(net, x, y\) first$"):
        finder.plot()
    rate = finder.find(network(), X, Y)
    ax = finder.plot(figure().subplots())
    noisy, smoothed, line = ax.lines
    np.testing.assert_array_equal(noisy.get_xdata(), finder.rates)
    np.testing.assert_array_equal(noisy.get_ydata(), finder.losses)
    assert smoothed.get_ydata().std() < finder.losses.std()
    assert line.get_xdata()[0] == rate
    assert [text.get_text() for text in ax.get_legend().get_texts()][2] == f"suggestion {rate:.2g}"
    assert ax.get_ylim()[0] < smoothed.get_ydata().min()
    assert (
        finder.find(nf.Sequential([nf.Dense(1)], input_shape=2, seed=0), X, 1e4 * X[:, 0], optimizer="sgd") is not None
    )
    figure_of_pyplot = finder.plot().figure
    pytest.importorskip("matplotlib.pyplot").close(figure_of_pyplot)


def test_plots_need_matplotlib(monkeypatch):
    finder = LearningRateFinder()
    finder.find(network(), X, Y)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'nnfast\[plot\]'$"):
        finder.plot()
