"""Callbacks of `fit`: when each of their methods is called, and what they may do; metrics computed in Python."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy_network import state, unchanged

import nnfast as nf
from nnfast.training import Callback

N, BATCH = 13, 5  # two full mini-batches and one of three rows
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, 3))
LABELS = RNG.integers(0, 4, N)
METHODS = ("on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_train_end", "close")


def make_net(*, dtype="float64", input_shape=3):
    layers = [nf.Dense(5, "tanh"), nf.Dense(4, "softmax")]
    return nf.Sequential(layers, input_shape=input_shape, dtype=dtype, seed=1)


def fit(net, **arguments):
    return net.fit(X, LABELS, **({"batch_size": BATCH, "verbose": 0} | arguments))


def recorder(*names, every=1):
    """A class of callbacks that append what is called to `log`: their label, the method, epochs and steps so far."""

    def method(name):
        def call(self, net, history):
            self.log.append((self.label, name, len(history["loss"]), len(history.step_loss)))
            act = self.acts.get(name)
            if act is not None:
                act(net, history)

        return call

    def __init__(self, log, label="a", **acts):
        self.log, self.label, self.acts = log, label, acts

    members = {name: method(name) for name in names} | {"__init__": __init__, "every": every}
    return type("Recorder", (Callback,), members)


All = recorder(*METHODS)
WAYS = {
    "fit": lambda net, **arguments: fit(net, **arguments),
    "numerical": lambda net, **arguments: fit(net, gradient="numerical", **arguments),
    "fit_many": lambda net, **arguments: nf.fit_many(
        [net], X, LABELS, **({"batch_size": BATCH, "verbose": 0} | arguments)
    )[0],
    "batches": lambda net, **arguments: net.fit(
        [(X[:5], LABELS[:5]), (X[5:10], LABELS[5:10]), (X[10:], LABELS[10:])], verbose=0, **arguments
    ),
}


def fit_lbfgs(net, **arguments):
    return net.fit(X, LABELS, optimizer="lbfgs", verbose=0, **arguments)


# ---- when


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_all_calls(way):
    log = []
    first, second = All(log, "a"), All(log, "b")
    callbacks = [
        first,
        lambda net, history: log.append(("f", "f", len(history["loss"]), len(history.step_loss))),
        second,
    ]
    WAYS[way](make_net(), epochs=2, callbacks=callbacks)
    both = lambda name, *counts: [("a", name, *counts), ("b", name, *counts)]  # noqa: E731
    expected = both("on_train_begin", 0, 0)
    for epoch in (0, 1):
        steps = 3 * epoch
        expected += both("on_epoch_begin", epoch, steps)
        for step in (1, 2, 3):
            expected += both("on_step_end", epoch, steps + step)
        a, b = both("on_epoch_end", epoch + 1, steps + 3)
        expected += [a, ("f", "f", epoch + 1, steps + 3), b]
    expected += both("on_train_end", 2, 6) + both("close", 2, 6)
    assert log == expected


def test_the_order_of_calls_with_lbfgs():
    """Each iteration is a step and an epoch."""
    log = []
    with pytest.warns(RuntimeWarning, match="did not converge"):
        fit_lbfgs(make_net(), epochs=2, callbacks=[All(log)])
    assert [entry[1:] for entry in log] == [
        ("on_train_begin", 0, 0),
        *[("on_epoch_begin", 0, 0), ("on_step_end", 0, 1), ("on_epoch_end", 1, 1)],
        *[("on_epoch_begin", 1, 1), ("on_step_end", 1, 2), ("on_epoch_end", 2, 2)],
        ("on_train_end", 2, 2), ("close", 2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["fit", "fit_many", "numerical"])
def test_a_part_of_an_epoch_is_one_for_callbacks(way):
    log = []
    WAYS[way](make_net(), steps=4, callbacks=[recorder("on_epoch_begin", "on_epoch_end")(log)])
    assert [entry[1:] for entry in log] == [
        ("on_epoch_begin", 0, 0), ("on_epoch_end", 1, 3), ("on_epoch_begin", 1, 3), ("on_epoch_end", 2, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(2, 5, [2, 4, 5]), (3, 6, [3, 6]), (5, 3, [3]), (1, 3, [1, 2, 3]), (4, 4, [4])]
)
def test_every(way, every, epochs, expected):
    log = []
    WAYS[way](make_net(), epochs=epochs, callbacks=[recorder("on_epoch_end", every=every)(log)])
    assert [epoch for _, _, epoch, _ in log] == expected


def test_several_intervals():
    log = []
    callbacks = [recorder("on_epoch_end", every=every)(log, every) for every in (2, 3, 4)]
    fit(make_net(), epochs=7, callbacks=callbacks)
    by_label = {every: [epoch for label, _, epoch, _ in log if label == every] for every in (2, 3, 4)}
    assert by_label == {2: [2, 4, 6, 7], 3: [3, 6, 7], 4: [4, 7]}
    assert [epoch for _, _, epoch, _ in log] == sorted(epoch for _, _, epoch, _ in log)


def test_the_end_follows_the_last_epoch():
    log = []
    fit(make_net(), epochs=3, callbacks=[recorder("on_epoch_end", "on_train_end", "close", every=2)(log)])
    assert [name for _, name, _, _ in log] == ["on_epoch_end", "on_epoch_end", "on_train_end", "close"]


def test_every_and_a_last_epoch_that_is_not_whole():
    log = []
    fit(make_net(), steps=7, callbacks=[recorder("on_epoch_end", every=2)(log)])
    assert [entry[2:] for entry in log] == [(2, 6), (3, 7)]


def test_every_and_stop():
    """The last epoch is the one that another callback has stopped at."""
    log = []
    stop = lambda net, history: len(history["loss"]) == 4 and net.stop()  # noqa: E731
    fit(make_net(), epochs=100, callbacks=[recorder("on_epoch_end", every=3)(log), stop])
    assert [epoch for _, _, epoch, _ in log] == [3, 4]


def test_every_with_lbfgs():
    log = []
    with pytest.warns(RuntimeWarning, match="did not converge"):
        fit_lbfgs(make_net(), epochs=5, callbacks=[recorder("on_epoch_end", every=2)(log)])
    assert [epoch for _, _, epoch, _ in log] == [2, 4, 5]


@pytest.mark.parametrize("method", METHODS)
def test_only_what_a_class_overrides_is_called(method):
    log = []
    fit(make_net(), epochs=2, callbacks=[recorder(method)(log)])
    counts = {"on_epoch_begin": 2, "on_epoch_end": 2, "on_step_end": 6}
    assert [name for _, name, _, _ in log] == [method] * counts.get(method, 1)


def test_hooks_may_be_chosen_by_an_object():
    log = []

    class Chosen(All):
        def hooks(self):
            return ["on_epoch_end"]

    fit(make_net(), epochs=2, callbacks=[Chosen(log)])
    assert [name for _, name, _, _ in log] == ["on_epoch_end"] * 2


@pytest.mark.parametrize(
    ("callbacks", "most"),
    [
        ([recorder("on_epoch_end", every=5)([])], 4),
        ([recorder("on_train_begin", "on_train_end", "close")([])], 1),
        ([lambda net, history: None], 20),
        ([recorder("on_epoch_begin")([])], 20),
        ([recorder("on_step_end")([])], 60),
    ],
    ids=["every 5", "ends", "function", "begin", "step"],
)
def test_epochs_that_no_callback_needs_run_back_to_back(callbacks, most, monkeypatch):
    """So many ends of slices for 20 epochs of 3 steps."""
    from nnfast.training import loop

    wanted, original = [], loop.Run.until

    def until(self, training):
        wanted.append(original(self, training))
        return wanted[-1]

    monkeypatch.setattr(loop.Run, "until", until)
    fit(make_net(), epochs=20, callbacks=callbacks)
    assert len(set(wanted)) == most
    assert wanted[-1] == 60


# ---- what they see


@pytest.mark.parametrize("way", WAYS)
def test_steps_see_the_loss_so_far(way):
    seen = []

    class Steps(Callback):
        def on_step_end(self, net, history):
            seen.append((history.step_loss[-1], history.learning_rate[-1], net.flat_params.copy()))
            with pytest.raises(ValueError, match="read-only"):
                history.step_loss[-1] = 0

    net, plain = make_net(), make_net()
    history = WAYS[way](net, epochs=2, optimizer=nf.SGD(0.1), callbacks=[Steps()])
    WAYS[way](plain, epochs=2, optimizer=nf.SGD(0.1))
    assert [loss for loss, _, _ in seen] == history.step_loss.tolist()
    assert {rate for _, rate, _ in seen} == {0.1}
    assert len({parameters.tobytes() for _, _, parameters in seen}) == 6
    assert state(net)[:2] == state(plain)[:2]


def test_the_history_at_the_beginning_has_names_and_no_values():
    seen = []

    class Begin(Callback):
        def on_train_begin(self, net, history):
            assert net.history is history
            seen.append(({**history}, history.steps_per_epoch, history.directions["val_accuracy"]))

    fit(make_net(), callbacks=[Begin()], validation_data=(X, LABELS))
    assert seen == [({"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []}, 3, "higher")]


@pytest.mark.parametrize("way", ["fit", "numerical", "fit_many", "batches"])
def test_what_callbacks_change_takes_effect(way):
    """Parameters and hyperparameters, at any time; the bits are those of fits with these values."""
    optimizer, again = nf.SGD(0.5), nf.SGD(0.5)

    class Change(Callback):
        def on_train_begin(self, net, history):
            net.params["b2"][...] = 1.0

        def on_step_end(self, net, history):
            optimizer.learning_rate /= 2

        def on_epoch_begin(self, net, history):
            net.params["b1"][...] = len(history["loss"])

    net, twin = make_net(), make_net()
    history = WAYS[way](net, epochs=1, optimizer=optimizer, callbacks=[Change()])
    assert history.learning_rate.tolist() == [0.5, 0.25, 0.125]
    twin.params["b2"][...], twin.params["b1"][...] = 1.0, 0.0
    schedule = nf.schedules.Exponential(again.learning_rate, gamma=0.5)
    WAYS[way](twin, epochs=1, optimizer=nf.SGD(schedule))
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


@pytest.mark.parametrize("method", METHODS)
def test_lists_that_a_callback_changes_decide_nothing(method):
    """A schedule goes by the record itself; and what was cleared is there again."""

    def spoil(net, history):
        history["loss"][:] = [100.0**i for i in range(9)]

    schedule = nf.schedules.ReduceOnPlateau(0.1, monitor="loss", patience=0, factor=0.5)
    callbacks = [All([], **{method: spoil}), lambda net, history: None]
    history = fit(make_net(), epochs=6, optimizer=nf.SGD(schedule), callbacks=callbacks)
    plain = fit(make_net(), epochs=6, optimizer=nf.SGD(schedule))
    history["loss"].clear()
    assert dict(history) == dict(plain)
    assert history.learning_rate.tolist() == plain.learning_rate.tolist()


# ---- errors


class Mine(Exception):
    """Of no other origin."""


def fail(net, history):
    raise Mine


def press_ctrl_c(net, history):
    raise KeyboardInterrupt


ERRORS = {"error": (fail, Mine), "Ctrl-C": (press_ctrl_c, KeyboardInterrupt)}
STEPS_BEFORE = {
    "on_train_begin": 0,
    "on_epoch_begin": 0,
    "on_step_end": 1,
    "on_epoch_end": 3,
    "on_train_end": 6,
    "close": 6,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("method", METHODS)
def test_an_error_in_any_method(method, kind, way):
    """The network is as the last step has left it, and can be trained; all callbacks are closed, once."""
    act, error = ERRORS[kind]
    log, before = [], make_net()
    before.fit(X, LABELS, epochs=1, optimizer="adam", verbose=0)
    net, twin = before.copy(), before.copy()
    earlier = net.history
    callbacks = [All(log, "a"), All(log, "b", **{method: act}), All(log, "c")]
    with pytest.raises(error):
        WAYS[way](net, epochs=2, optimizer="sgd", callbacks=callbacks)
    steps = STEPS_BEFORE[method]
    assert [entry[:2] for entry in log if entry[1] == "close"] == [("a", "close"), ("b", "close"), ("c", "close")]
    assert ("c", method) not in [entry[:2] for entry in log if entry[1] != "close"]
    if method == "on_train_begin":
        assert net.history is earlier
        assert state(net)[:2] == state(before)[:2], "nothing has changed"
    else:
        assert len(net.history.step_loss) == steps
        assert len(net.history["loss"]) == steps // 3
    if steps and way != "batches":
        WAYS[way](twin, steps=steps, optimizer="sgd")
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
    net.train_step(X, LABELS)
    assert len(fit(net, epochs=1)["loss"]) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ERRORS)
def test_an_unbuilt_network_is_unbuilt_again(kind, way):
    act, error = ERRORS[kind]
    net = make_net(input_shape=None)
    with unchanged(net), pytest.raises(error):
        WAYS[way](net, callbacks=[All([], on_train_begin=act)])
    assert net.input_shape is None
    net.build(3)
    np.testing.assert_array_equal(net.flat_params, make_net().flat_params)


def test_an_error_before_one_of_many_networks_begins(monkeypatch):
    """Those before it have trained; it and those after it are unchanged."""
    monkeypatch.setattr("nnfast.training.many.WINDOW", 1)
    nets = [make_net(), make_net(input_shape=None), make_net(input_shape=None)]
    log, act = [], lambda net, history: net is nets[1] and fail(net, history)
    with nf.num_threads(1), pytest.raises(Mine):
        nf.fit_many(nets, X, LABELS, epochs=2, verbose=0, callbacks=[All(log, on_train_begin=act)])
    assert [net.input_shape for net in nets] == [(3,), None, None]
    assert [net.history is None for net in nets] == [False, True, True]
    assert [name for _, name, _, _ in log if name == "close"] == ["close"] * 2


def test_the_optimizer_state_survives_an_error_before_the_first_step():
    """Also with another kind of optimizer, whose state would replace it."""
    net = make_net()
    fit(net, epochs=2, optimizer="adam")
    with unchanged(net), pytest.raises(Mine):
        fit(net, optimizer=nf.SGD(0.1, momentum=0.9), callbacks=[All([], on_train_begin=fail)])


def test_all_are_closed_even_if_one_raises():
    log = []
    callbacks = [All(log, "a", close=fail), All(log, "b", close=fail), All(log, "c")]
    with pytest.raises(Mine):
        fit(make_net(), callbacks=callbacks)
    assert [label for label, name, _, _ in log if name == "close"] == ["a", "b", "c"]


@pytest.mark.parametrize("method", METHODS[:-1])
def test_errors_with_lbfgs(method):
    log, net = [], make_net()
    before = state(net)
    with pytest.raises(Mine), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "L-BFGS did not converge", RuntimeWarning)
        fit_lbfgs(net, epochs=5, callbacks=[All(log, **{method: fail})])
    assert log[-1][1] == "close"
    assert len(net.history.step_loss if net.history else []) == {
        "on_step_end": 1, "on_epoch_end": 1, "on_train_end": 5
    }.get(method, 0)  # fmt: skip
    if method in ("on_train_begin", "on_epoch_begin"):
        assert state(net)[:2] == before[:2]
    net.train_step(X, LABELS)


# ---- stop

STEPS_WITH_STOP = {"on_train_begin": 0, "on_epoch_begin": 0, "on_step_end": 1, "on_epoch_end": 3, "on_train_end": 6}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", STEPS_WITH_STOP)
def test_stop_in_any_method(method, way):
    """No more steps; what follows the end is called."""
    log = []
    history = WAYS[way](make_net(), epochs=2, callbacks=[All(log, **{method: lambda net, history: net.stop()})])
    steps = STEPS_WITH_STOP[method]
    assert len(history.step_loss) == steps
    assert len(history["loss"]) == -(-steps // 3)
    assert [name for _, name, _, _ in log[-2:]] == ["on_train_end", "close"]
    assert ("on_epoch_end" in [name for _, name, _, _ in log]) == (steps > 0)


@pytest.mark.parametrize("method", ["on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end"])
def test_stop_with_lbfgs(method):
    log = []
    history = fit_lbfgs(make_net(), epochs=9, callbacks=[All(log, **{method: lambda net, history: net.stop()})])
    assert len(history.step_loss) == len(history["loss"]) == (method in ("on_step_end", "on_epoch_end"))
    assert history.converged is False
    assert [name for _, name, _, _ in log[-2:]] == ["on_train_end", "close"]


def test_stop_at_the_beginning_of_a_later_epoch():
    log = []
    act = lambda net, history: len(history["loss"]) == 2 and net.stop()  # noqa: E731
    history = fit(make_net(), epochs=9, callbacks=[All(log, on_epoch_begin=act)])
    assert len(history.step_loss) == 6
    assert len(history["loss"]) == 2


# ---- refused


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_training_from_a_callback_is_refused(method, way):
    refused = []

    def train(net, history):
        for write in (lambda: fit(net), lambda: net.train_step(X, LABELS), net.reset_optimizer):
            with pytest.raises(RuntimeError, match="^the network is busy: another fit"):
                write()
        refused.append(method)

    net, plain = make_net(), make_net()
    history = WAYS[way](net, epochs=2, callbacks=[All([], **{method: train})])
    WAYS[way](plain, epochs=2)
    assert refused
    assert net.history is history
    assert state(net)[:2] == state(plain)[:2]


@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (All, TypeError, r"^callbacks must hold objects, got the class Recorder: use Recorder\(\)"),
        (recorder("on_epoch_end", every=0)([]), ValueError, r"^Recorder\.every must be at least 1, got 0"),
        (recorder("on_epoch_end", every=1.5)([]), TypeError, r"^Recorder\.every must be an integer, got"),
        ("print", TypeError, "^callbacks must be callable, got"),
    ],
)
def test_callbacks_that_are_none(callback, error, message):
    net = make_net()
    with unchanged(net), pytest.raises(error, match=message):
        fit(net, callbacks=[lambda net, history: None, callback])


def test_one_object_may_serve_two_trainings_at_a_time():
    """As in `fit_many`, where it is closed once for each network."""
    log, nets = [], [make_net(), make_net()]
    nf.fit_many(nets, X, LABELS, epochs=2, batch_size=BATCH, verbose=0, callbacks=[All(log)])
    names = [name for _, name, _, _ in log]
    assert {name: names.count(name) for name in METHODS} == {
        "on_train_begin": 2, "on_epoch_begin": 4, "on_step_end": 12, "on_epoch_end": 4, "on_train_end": 2, "close": 2,
    }  # fmt: skip


# ---- metrics computed in Python


class Weighted(nf.metrics.Metric):
    """The weighted mean of the outputs of the class that each row has: depends on all that a metric gets."""

    name, direction = "weighted", "higher"

    def __init__(self):
        self.calls = []

    def compute(self, outputs, targets, sample_weight):
        self.calls.append((outputs.copy(), targets.copy(), None if sample_weight is None else sample_weight.copy()))
        for array in (outputs, targets):
            assert not array.flags.writeable
        return np.average(outputs[np.arange(len(outputs)), targets], weights=sample_weight)


class Outputs(Callback):
    """Compute the outputs of each mini-batch before its update, given its rows, and so the metric of each epoch."""

    def __init__(self, batches, weights=None):
        self.batches, self.weights, self.steps, self.values, self.outputs = batches, weights, 0, [], []

    def on_train_begin(self, net, history):
        self.predict(net)

    def on_step_end(self, net, history):
        self.steps += 1
        if self.steps < len(self.batches):
            self.predict(net)

    def predict(self, net):
        rows = self.batches[self.steps]
        self.outputs.append((net.predict(X[rows]), rows))

    def metric(self, steps):
        outputs = np.concatenate([out for out, _ in self.outputs[steps]])
        rows = np.concatenate([rows for _, rows in self.outputs[steps]])
        weights = None if self.weights is None else self.weights[rows]
        return float(np.average(outputs[np.arange(len(rows)), LABELS[rows]], weights=weights))


class Rows(nf.metrics.Metric):
    """Which rows were seen: their number is their target."""

    name, direction = "rows", "higher"

    def __init__(self):
        self.seen = []

    def compute(self, outputs, targets, sample_weight):
        self.seen += [targets[:, 0].astype(int).tolist()]
        return 0.0


def rows_of_epochs(epochs, **arguments):
    """The rows that each epoch of a new network visits, in order."""
    net, metric = nf.Sequential([nf.Dense(1)], input_shape=1, seed=1), Rows()
    net.fit(np.zeros((N, 1)), np.arange(N), epochs=epochs, batch_size=BATCH, metrics=[metric], verbose=0, **arguments)
    return metric.seen


WEIGHTS = RNG.integers(1, 4, N).astype(float)
CASES = {
    "in order": {"shuffle": False},
    "shuffled": {},
    "with replacement": {"replacement": True},
    "without the last": {"drop_last": True},
    "weights": {"sample_weight": WEIGHTS},
    "weights with replacement": {"sample_weight": WEIGHTS, "replacement": True},
}


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_own_metrics_are_computed_from_the_outputs_before_each_update(name, dtype, gradient):
    """Networks of the same seed visit rows in the same order: the rows come from one whose targets number them."""
    arguments = CASES[name]
    drawing = {key: value for key, value in arguments.items() if key != "sample_weight"}
    batches = [
        np.array(rows[i : i + BATCH]) for rows in rows_of_epochs(3, **drawing) for i in range(0, len(rows), BATCH)
    ]
    watch, metric = Outputs(batches, arguments.get("sample_weight")), Weighted()
    history = fit(make_net(dtype=dtype), epochs=3, metrics=[metric], callbacks=[watch], gradient=gradient,
                  optimizer=nf.SGD(0.5), **arguments)  # fmt: skip
    per_epoch = history.steps_per_epoch
    expected = [watch.metric(slice(i, i + per_epoch)) for i in range(0, 3 * per_epoch, per_epoch)]
    np.testing.assert_allclose(history["weighted"], expected, rtol=1e-5 if gradient == "numerical" else 1e-12)
    assert len(set(history["weighted"])) == 3


@pytest.mark.parametrize("way", ["fit", "fit_many"])
def test_own_metrics_of_both_data_sets_in_order_with_others(way):
    """A history's entries are in the order of `metrics`, wherever they are computed."""
    metric = Weighted()
    arguments = {"metrics": ["accuracy", metric, "top_2_accuracy"], "validation_data": (X[:4], LABELS[:4])}
    net = make_net()
    history = WAYS[way](net, epochs=2, **arguments)
    names = ["loss", "accuracy", "weighted", "top_2_accuracy"]
    assert list(history) == names + [f"val_{name}" for name in names]
    assert history["val_weighted"][-1] == np.mean(net.predict(X[:4])[np.arange(4), LABELS[:4]])
    plain = WAYS[way](make_net(), epochs=2, metrics=["accuracy", "top_2_accuracy"])
    assert {name: history[name] for name in plain} == dict(plain)


@pytest.mark.parametrize("way", WAYS)
def test_own_metrics_of_a_part_of_an_epoch(way):
    metric = Weighted()
    if way == "batches":
        stop = All([], on_step_end=lambda net, history: len(history.step_loss) == 4 and net.stop())
        history = WAYS[way](make_net(), epochs=9, metrics=[metric], callbacks=[stop])
    else:
        history = WAYS[way](make_net(), steps=4, metrics=[metric])
    assert [len(outputs) for outputs, _, _ in metric.calls] == [13, 5]
    assert len(history["weighted"]) == 2


def test_own_metrics_with_lbfgs():
    metric, net = Weighted(), make_net()
    with pytest.warns(RuntimeWarning, match="did not converge"):
        history = fit_lbfgs(net, epochs=3, metrics=[metric])
    assert len(history["weighted"]) == 3
    np.testing.assert_allclose(history["weighted"][-1], net.predict(X)[np.arange(N), LABELS].mean(), rtol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_in_an_own_metric(way):
    class Fails(nf.metrics.Metric):
        name, direction = "fails", "higher"

        def compute(self, outputs, targets, sample_weight):
            raise Mine

    log, net = [], make_net()
    with pytest.raises(Mine):
        WAYS[way](net, epochs=2, metrics=[Fails()], callbacks=[All(log)])
    assert len(net.history.step_loss) == 3
    assert log[-1][1] == "close"
    net.train_step(X, LABELS)
