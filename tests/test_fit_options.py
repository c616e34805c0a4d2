"""Options of `fit`: weights of classes and rows, rows set aside, how rows are drawn, and how long training lasts."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from numpy_network import shuffle_stream, state, unchanged

import nnfast as nf
from nnfast import reference
from nnfast.training import Callback

SEED = 5
N, BATCH = 23, 5  # four full mini-batches and one of three rows
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
LABELS = RNG.choice(4, N, p=[0.5, 0.3, 0.15, 0.05])
YES = (RNG.random(N) < 0.3).astype(int)
WEIGHTS = RNG.integers(0, 3, N) + 0.5
TABLE = {0: 0.5, 2: 3.0, 3: 0.0}


def make_net(output="softmax", units=4, *, dtype="float64", loss=None, seed=SEED, input_shape=3):
    layers = [nf.Dense(5, "tanh"), nf.Dense(units, output)]
    return nf.Sequential(layers, input_shape=input_shape, dtype=dtype, loss=loss, seed=seed)


def fit(net, y=LABELS, **arguments):
    return net.fit(X, y, **({"batch_size": BATCH, "verbose": 0} | arguments))


def assert_same(net, history, twin, other):
    assert state(net)[:2] == state(twin)[:2]
    assert dict(history) == dict(other)
    assert history.step_loss.tolist() == other.step_loss.tolist()


# ---- weights of classes

CLASSES = {
    "labels": ({}, LABELS),
    "one-hot rows": ({}, np.eye(4)[LABELS]),
    "probabilities": ({}, 0.7 * np.eye(4)[LABELS] + 0.1 * np.eye(4)[(LABELS + 1) % 4] + 0.05),
    "sigmoid": ({"output": "sigmoid", "units": 1}, YES),
    "sigmoid in a column": ({"output": "sigmoid", "units": 1}, YES[:, None]),
    "hinge": ({"output": "identity", "units": 1, "loss": "hinge"}, YES),
}
WAYS = {
    "plain": {},
    "in order": {"shuffle": False},
    "replacement": {"replacement": True},
    "numerical": {"gradient": "numerical"},
    "split": {"validation_split": 0.25},
    "metrics": {"metrics": ["accuracy"], "validation_data": (X, None)},
}


def classes_of(name):
    return YES if CLASSES[name][0] else LABELS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_class_weights_are_the_weights_of_their_rows(name, weighted, dtype):
    options, y = CLASSES[name]
    table = {0: 0.5, 1: 3.0}
    each = np.array([table.get(label, 1.0) for label in classes_of(name).tolist()])
    given = {"sample_weight": WEIGHTS} if weighted else {}
    net, twin = make_net(**options, dtype=dtype), make_net(**options, dtype=dtype)
    history = fit(net, y, epochs=3, class_weight=table, **given)
    other = fit(twin, y, epochs=3, sample_weight=each * WEIGHTS if weighted else each)
    assert_same(net, history, twin, other)
    plain = make_net(**options, dtype=dtype)
    fit(plain, y, epochs=3, **given)
    assert not np.array_equal(plain.flat_params, net.flat_params)


@pytest.mark.parametrize("way", WAYS)
def test_class_weights_in_all_ways(way):
    arguments = WAYS[way]
    if "validation_data" in arguments:
        arguments = arguments | {"validation_data": (X, LABELS)}
    each = np.array([TABLE.get(label, 1.0) for label in LABELS.tolist()])
    net, twin = make_net(), make_net()
    history = fit(net, epochs=2, class_weight=TABLE, **arguments)
    other = fit(twin, epochs=2, sample_weight=each, **arguments)
    assert state(net)[:2] == state(twin)[:2]
    assert history["loss"] == other["loss"]
    if way == "metrics":
        assert history["val_loss"] == other["val_loss"] == [*history["val_loss"][:1], net.loss(X, LABELS)]


def test_class_weights_do_not_count_in_validation():
    """Neither for rows set aside; weights of rows do."""
    net = make_net()
    history = fit(net, class_weight=TABLE, validation_split=0.4, shuffle=False, sample_weight=WEIGHTS)
    aside = slice(N - round(0.4 * N), None)
    assert history["val_loss"] == [net.loss(X[aside], LABELS[aside], sample_weight=WEIGHTS[aside])]


def test_class_weights_with_lbfgs():
    each = np.array([TABLE.get(label, 1.0) for label in LABELS.tolist()])
    net, twin = make_net(), make_net()
    for one, given in ((net, {"class_weight": TABLE}), (twin, {"sample_weight": each})):
        with pytest.warns(RuntimeWarning, match="did not converge"):
            one.fit(X, LABELS, optimizer="lbfgs", epochs=5, verbose=0, **given)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_balanced_gives_classes_equal_weight():
    """By hand: of 5 rows 3, 1 and 1 in the three classes that occur, 5 / (3 count)."""
    y = np.array([0, 0, 2, 0, 3])
    nets = [make_net(), make_net()]
    nets[0].fit(X[:5], y, class_weight="balanced", verbose=0)
    nets[1].fit(X[:5], y, sample_weight=[5 / 9, 5 / 9, 5 / 3, 5 / 9, 5 / 3], verbose=0)
    assert state(nets[0])[:2] == state(nets[1])[:2]


def test_balanced_is_by_the_rows_that_are_trained_on():
    net, twin = make_net(), make_net()
    fit(net, class_weight="balanced", validation_split=0.4, shuffle=False)
    n = N - round(0.4 * N)
    twin.fit(X[:n], LABELS[:n], class_weight="balanced", batch_size=BATCH, shuffle=False, verbose=0)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


@pytest.mark.parametrize("name", CLASSES)
def test_balanced_weights_are_those_of_scikit_learn(name):
    theirs = pytest.importorskip("sklearn.utils.class_weight", reason="compared with scikit-learn")
    options, y = CLASSES[name]
    labels = classes_of(name)
    occurring = np.unique(labels)
    table = theirs.compute_class_weight("balanced", classes=occurring, y=labels)
    nets = [make_net(**options) for _ in range(3)]
    fit(nets[0], y, class_weight="balanced")
    fit(nets[1], y, class_weight=dict(zip(occurring.tolist(), table.tolist(), strict=True)))
    fit(nets[2], y, sample_weight=theirs.compute_sample_weight("balanced", labels))
    assert state(nets[0])[:2] == state(nets[1])[:2] == state(nets[2])[:2]


# ---- weights of rows

LOSSES = {
    "softmax": ({}, LABELS),
    "sigmoid": ({"output": "sigmoid", "units": 1}, YES),
    "regression": ({"output": "identity", "units": 2}, RNG.normal(size=(N, 2))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_whole_weights_are_repeated_rows(name):
    """In one mini-batch: a row of weight k counts as k rows, in losses, metrics and gradients."""
    options, y = LOSSES[name]
    counts = RNG.integers(1, 4, N)
    net, twin = make_net(**options), make_net(**options)
    history = fit(net, y, sample_weight=counts, epochs=20, batch_size=N, optimizer=nf.SGD(0.1))
    other = twin.fit(
        X.repeat(counts, axis=0), y.repeat(counts, axis=0), epochs=20, batch_size=1000, optimizer=nf.SGD(0.1), verbose=0
    )
    np.testing.assert_allclose(net.flat_params, twin.flat_params, rtol=1e-11, atol=1e-12)
    for values in history:
        np.testing.assert_allclose(history[values], other[values], rtol=1e-11)


@pytest.mark.parametrize("zero", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_weight_zero_is_absence(name, zero):
    options, y = LOSSES[name]
    there = y != 0
    given = {"class_weight": {0: 0.0}} if zero == "class_weight" else {"sample_weight": there.astype(float)}
    net, twin = make_net(**options), make_net(**options)
    history = fit(net, y, epochs=20, batch_size=N, optimizer=nf.SGD(0.1), **given)
    other = twin.fit(X[there], y[there], epochs=20, batch_size=N, optimizer=nf.SGD(0.1), verbose=0)
    np.testing.assert_allclose(net.flat_params, twin.flat_params, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(history["loss"], other["loss"], rtol=1e-11)


# ---- rows set aside


class Rows(nf.metrics.Metric):
    """Which rows are trained on, and which are validated on: their numbers are the targets."""

    name, direction = "rows", "higher"

    def __init__(self):
        self.seen = []

    def compute(self, outputs, targets, sample_weight):
        self.seen.append(targets[:, 0].astype(int).tolist())
        return 0.0


def rows_of(net, n, **arguments):
    """The rows of one epoch of a regression without classes: those trained on, in order, and those validated on."""
    metric = Rows()
    net.fit(np.zeros((n, 1)), np.arange(n), metrics=[metric], **({"batch_size": BATCH, "verbose": 0} | arguments))
    return metric.seen if arguments.get("validation_split") else [metric.seen[0], []]


def counting_net(seed=SEED):
    return nf.Sequential([nf.Dense(1)], input_shape=1, seed=seed)


def split_of_classes(y, fraction, output="softmax", units=None):
    """The rows set aside for each class: a column of the input numbers the rows, and callbacks see which validate."""
    aside = []

    class Aside(nf.metrics.Metric):
        name, direction = "aside", "higher"

        def compute(self, outputs, targets, sample_weight):
            classes = targets if targets.ndim == 1 else targets[:, 0] if units == 1 else targets.argmax(axis=1)
            aside.append(np.bincount(classes.astype(int), minlength=10))
            return 0.0

    net = nf.Sequential([nf.Dense(units or 10, output)], input_shape=1, seed=1)
    net.fit(np.zeros((len(y), 1)), y, validation_split=fraction, metrics=[Aside()], verbose=0)
    return aside


@pytest.mark.parametrize("fraction", [0.001, 0.1, 1 / 3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("name", ["few", "many", "single rows", "two"])
def test_of_each_class_the_same_part_is_set_aside(name, fraction):
    """Within one row."""
    y = {
        "few": np.repeat([0, 1, 2], [50, 30, 20]),
        "many": RNG.integers(0, 10, 997),
        "single rows": np.arange(10),
        "two": np.array([0, 1]),
    }[name]
    for targets, options in (
        (y, {}),
        (np.eye(10)[y], {}),
        ((y > 0).astype(int), {"output": "sigmoid", "units": 1}),
    ):
        classes = y if not options else targets
        train, aside = split_of_classes(targets, fraction, **options)
        counts = np.bincount(classes, minlength=10)
        assert (train + aside == counts).all()
        assert aside.sum() == min(max(round(fraction * len(y)), 1), len(y) - 1)
        assert (np.abs(aside - counts * (aside.sum() / len(y))) < 1).all()


def test_the_largest_remainders_get_one_more():
    """By hand: 11 rows of 100 are 5.5, 3.3 and 2.2 of the classes, and so 6, 3 and 2."""
    _, aside = split_of_classes(np.repeat([0, 1, 2], [50, 30, 20]), 0.11)
    assert aside[:3].tolist() == [6, 3, 2]


@pytest.mark.parametrize("n", [2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_rows_of_a_regression_are_chosen_at_random(n, fraction):
    train, aside = rows_of(counting_net(), n, validation_split=fraction)
    assert sorted(train + aside) == list(range(n))
    assert aside == sorted(aside)
    assert len(aside) == min(max(round(fraction * n), 1), n - 1)
    if n == 101:
        assert aside != list(range(n - len(aside), n))


def test_the_last_rows_without_shuffling():
    train, aside = rows_of(counting_net(), 10, validation_split=0.3, shuffle=False)
    assert (train, aside) == (list(range(7)), [7, 8, 9])
    y = np.repeat([0, 1], 5)
    net = make_net("softmax", 2)
    history = net.fit(X[:10], y, validation_split=0.2, shuffle=False, verbose=0)
    assert history["val_loss"] == [net.loss(X[8:10], y[8:10])], "not of each class"


def test_the_same_rows_in_each_fit_of_a_network(tmp_path):
    net = counting_net()
    aside = rows_of(net, 50, validation_split=0.2)[1]
    net.save(tmp_path / "net.npz")
    for one in (net, net.copy(), nf.load(tmp_path / "net.npz"), counting_net()):
        assert rows_of(one, 50, validation_split=0.2, epochs=2, replacement=True)[1] == aside
    assert rows_of(counting_net(seed=6), 50, validation_split=0.2)[1] != aside, "another network's are others"
    assert rows_of(net, 51, validation_split=0.2)[1] != aside


@pytest.mark.parametrize("arguments", [{}, {"shuffle": False}, {"sample_weight": WEIGHTS}, {"gradient": "numerical"}])
def test_a_split_is_a_fit_on_these_rows(arguments):
    """Of a fit on the part of the data, with the rest as validation data."""
    numbers = []

    class Look(nf.metrics.Metric):
        name, direction = "look", "higher"

        def compute(self, outputs, targets, sample_weight):
            numbers.append(outputs)
            return 0.0

    net, twin = make_net(), make_net()
    history = fit(net, epochs=2, validation_split=0.4, metrics=[Look()], **arguments)
    outputs = net.predict(X)
    aside = np.flatnonzero((outputs[:, None] == numbers[-1][None]).all(axis=2).any(axis=1))
    rest = np.setdiff1d(np.arange(N), aside)
    assert len(aside) == round(0.4 * N)
    weights = arguments.get("sample_weight")
    parts = {} if weights is None else {"sample_weight": weights[rest]}
    validation = (X[aside], LABELS[aside]) + (() if weights is None else (weights[aside],))
    other = twin.fit(X[rest], LABELS[rest], **({"batch_size": BATCH, "epochs": 2, "verbose": 0, "metrics": [Look()],
                     "validation_data": validation} | arguments | parts))  # fmt: skip
    assert_same(net, history, twin, other)


def test_a_split_with_lbfgs():
    net, metric = counting_net(), Rows()
    net.fit(
        RNG.normal(size=(20, 1)), np.arange(20), optimizer="lbfgs", validation_split=0.25, metrics=[metric], verbose=0
    )
    train, aside = metric.seen[:2]
    assert sorted(train + aside) == list(range(20))
    assert len(aside) == 5
    assert rows_of(counting_net(), 20, validation_split=0.25)[1] == aside


# ---- how rows are drawn


@pytest.mark.parametrize("arguments", [{}, {"shuffle": False}])
def test_the_last_batch_is_left_out(arguments):
    n = 13
    net, all_rows = counting_net(), counting_net()
    history = net.fit(
        np.zeros((n, 1)), np.arange(n), batch_size=BATCH, drop_last=True, epochs=2, verbose=0, **arguments
    )
    assert history.steps_per_epoch == 2
    assert len(history.step_loss) == 4
    seen = rows_of(counting_net(), n, drop_last=True, **arguments)[0]
    whole = rows_of(all_rows, n, **arguments)[0]
    assert seen == whole[:10], "in the same order"


def test_drop_last_leaves_whole_batches():
    for n, batch_size, per_epoch in ((10, 5, 2), (3, 5, 1), (5, 5, 1), (6, 5, 1)):
        assert len(rows_of(counting_net(), n, batch_size=batch_size, drop_last=True)[0]) == per_epoch * min(
            n, batch_size
        )


def test_drop_last_leaves_no_single_row_to_a_batch_norm():
    layers = [nf.BatchNorm(), nf.Dense(4, "softmax")]
    net = nf.Sequential(layers, input_shape=3, seed=0)
    net.fit(X[:11], LABELS[:11], batch_size=5, drop_last=True, epochs=2, verbose=0)
    net.fit(X[:11], LABELS[:11], batch_size=5, replacement=True, epochs=2, verbose=0)
    assert np.isfinite(net.flat_params).all()


@pytest.mark.parametrize(("n", "batch_size"), [(13, 5), (10, 5), (3, 5), (1, 1), (100, 7)])
def test_replacement_draws_each_row_from_all(n, batch_size):
    """As the reference does, from a number of the network's stream in each epoch; all batches are full."""
    net, metric = counting_net(), Rows()
    history = net.fit(
        np.zeros((n, 1)), np.arange(n), batch_size=batch_size, replacement=True, epochs=3, metrics=[metric], verbose=0
    )
    stream, batch = shuffle_stream(SEED), min(batch_size, n)
    assert history.steps_per_epoch == math.ceil(n / batch)
    for seen in metric.seen:
        order = np.empty(history.steps_per_epoch * batch, np.int64)
        reference.draw(order, n, int(stream.random_raw()))
        assert seen == order.tolist()
    assert len(metric.seen) == 3


def test_replacement_draws_from_the_rows_that_are_trained_on():
    train, aside = rows_of(counting_net(), 50, validation_split=0.3, replacement=True)
    assert len(train) == 35
    assert not set(train) & set(aside)
    assert len(set(train)) < 35, "some twice"


def test_replacement_and_drop_last_are_replacement():
    """There is no smaller batch to leave out, but an epoch has as many as without."""
    assert len(rows_of(counting_net(), 13, replacement=True)[0]) == 15
    assert len(rows_of(counting_net(), 13, replacement=True, drop_last=True)[0]) == 10


# ---- how long


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_epochs_until_a_callback_stops(gradient):
    net, twin = make_net(), make_net()
    stop = lambda net, history: len(history["loss"]) == 7 and net.stop()  # noqa: E731
    history = fit(net, epochs=None, callbacks=[stop], gradient=gradient)
    assert_same(net, history, twin, fit(twin, epochs=7, gradient=gradient))


def test_many_epochs_until_a_callback_stops():
    """More steps than there was room for at first."""
    net, twin = make_net(), make_net()

    class Stop(Callback):
        every = 1000

        def on_epoch_end(self, net, history):
            if len(history["loss"]) == 3000:
                net.stop()

    arguments = {
        "metrics": ["accuracy", "top_2_accuracy"],
        "optimizer": nf.SGD(nf.schedules.Exponential(0.1, gamma=0.9999)),
    }
    history = fit(net, epochs=None, callbacks=[Stop()], **arguments)
    other = fit(twin, epochs=3000, **arguments)
    assert_same(net, history, twin, other)
    assert history.learning_rate.tolist() == other.learning_rate.tolist()


ENDLESS = {
    "epochs": {"epochs": None},
    "steps": {"steps": 10**7},
    "numerical": {"epochs": None, "gradient": "numerical"},
    "validation": {"epochs": None, "validation_data": (X, LABELS)},
    "callback": {"epochs": None, "callbacks": [lambda net, history: None]},
    "schedule": {"epochs": None, "optimizer": nf.SGD(nf.schedules.Cosine(0.1, steps=1000))},
}


@pytest.mark.parametrize("name", ENDLESS)
def test_training_ends_when_the_time_is_up(name):
    net, twin = make_net(), make_net()
    begin = time.perf_counter()
    history = fit(net, max_seconds=0.05, **ENDLESS[name])
    assert time.perf_counter() - begin >= 0.05
    steps = len(history.step_loss)
    assert 1 <= steps < 10**7
    assert len(history["loss"]) == -(-steps // 5)
    if steps < 10**5:
        fit(twin, **{key: value for key, value in ENDLESS[name].items() if key != "epochs"} | {"steps": steps})
        assert state(net)[:2] == state(twin)[:2]


def test_no_time_is_one_step():
    history = fit(make_net(), epochs=5, max_seconds=1e-300)
    assert len(history.step_loss) == len(history["loss"]) == 1


def test_time_that_is_not_needed():
    net, twin = make_net(), make_net()
    assert_same(net, fit(net, epochs=3, max_seconds=1e6), twin, fit(twin, epochs=3))


def test_lbfgs_ends_when_the_time_is_up():
    """Without a warning that it has not converged."""
    history = make_net().fit(X, LABELS, optimizer=nf.LBFGS(), epochs=10**5, max_seconds=1e-300, verbose=0)
    assert len(history.step_loss) == 1
    assert history.converged is False


# ---- errors


def assert_refused(error, message, y=LABELS, net=None, **arguments):
    nets = (make_net(), make_net(input_shape=None)) if net is None else (net,)
    for each in nets:
        with unchanged(each), pytest.raises(error, match=message):
            each.fit(X, y, **({"verbose": 0} | arguments))


@pytest.mark.parametrize("value", [5, [1.0, 2.0], "Balanced", "", np.ones(4), {1, 2}])
def test_class_weight_is_a_dict_or_balanced(value):
    assert_refused(TypeError, "^class_weight must be a dict of class to weight, such as .*, or 'balanced', got",
                   class_weight=value)  # fmt: skip


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({4: 1.0}, ValueError, "^class_weight must have classes from 0 to 3, got 4"),
        ({-1: 1.0}, ValueError, "^a class in class_weight must be at least 0, got -1"),
        ({0.0: 1.0}, TypeError, "^a class in class_weight must be an integer, got"),
        ({"a": 1.0}, TypeError, "^a class in class_weight must be an integer, got"),
        ({True: 1.0}, TypeError, "^a class in class_weight must be an integer, got"),
        ({0: -1.0}, ValueError, r"^class_weight\[0\] must be"),
        ({0: np.nan}, ValueError, r"^class_weight\[0\] must be"),
        ({0: np.inf}, ValueError, r"^class_weight\[0\] must be"),
        ({0: "1"}, TypeError, r"^class_weight\[0\] must be"),
        ({0: None}, TypeError, r"^class_weight\[0\] must be"),
        (dict.fromkeys(range(4), 0.0), ValueError, "^multiplied by class_weight, sample_weight must not be all zero"),
    ],
)
def test_weights_of_classes_are_checked(table, error, message):
    assert_refused(error, message, class_weight=table)


def test_class_weight_may_be_of_numpy():
    net, twin = make_net(), make_net()
    fit(net, class_weight={np.int64(0): np.float32(0.5), np.uint8(2): np.int64(3)})
    fit(twin, class_weight={0: 0.5, 2: 3.0})
    assert state(net)[:2] == state(twin)[:2]


@pytest.mark.parametrize("table", [{0: 2.0}, "balanced"])
def test_class_weight_needs_classes(table):
    for options, y in (
        ({"output": "identity", "units": 1}, X[:, 0]),
        ({"output": "sigmoid", "units": 3}, (X > 0).astype(float)),
    ):
        assert_refused(ValueError, "^class_weight needs classes: an output layer with softmax, or a single output",
                       y, make_net(**options), class_weight=table)  # fmt: skip


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0, -0.1, 1.1, np.nan, np.inf])
def test_validation_split_is_a_part(value):
    assert_refused(ValueError, "^validation_split must be", validation_split=value)


@pytest.mark.parametrize("value", ["0.1", True, [0.1], (X, LABELS)])
def test_validation_split_is_a_number(value):
    assert_refused(TypeError, "^validation_split must be", validation_split=value)


def test_validation_split_excludes_validation_data():
    assert_refused(ValueError, "^give validation_data or validation_split, not both",
                   validation_split=0.2, validation_data=(X, LABELS))  # fmt: skip


def test_validation_split_needs_two_rows():
    net = make_net()
    with unchanged(net), pytest.raises(ValueError, match="^validation_split needs at least two rows, got 1"):
        net.fit(X[:1], LABELS[:1], validation_split=0.5, verbose=0)


@pytest.mark.parametrize(("weighted", "part"), [(slice(None, 5), "validate on"), (slice(-5, None), "train on")])
def test_a_part_without_weight_is_refused(weighted, part):
    weights = np.zeros(N)
    weights[weighted] = 1
    message = f"^validation_split: the rows to {part}: sample_weight must not be all zero"
    assert_refused(ValueError, message, sample_weight=weights, validation_split=0.2, shuffle=False)


@pytest.mark.parametrize("name", ["replacement", "drop_last", "shuffle"])
def test_yes_and_no(name):
    for value in (1, 0, None, "yes"):
        assert_refused(TypeError, f"^{name} must be True or False, got", **{name: value})


def test_replacement_needs_shuffling():
    assert_refused(ValueError, "^replacement=True draws rows at random: it needs shuffle=True",
                   replacement=True, shuffle=False)  # fmt: skip


@pytest.mark.parametrize("value", [0, 0.0, -1, np.nan, np.inf])
def test_max_seconds_is_positive(value):
    assert_refused(ValueError, "^max_seconds must be", max_seconds=value)


@pytest.mark.parametrize("value", ["1", True, [1.0]])
def test_max_seconds_is_a_number(value):
    assert_refused(TypeError, "^max_seconds must be", max_seconds=value)


def test_training_without_an_end_is_refused():
    assert_refused(
        ValueError, "^epochs=None trains until a callback calls .* give callbacks or max_seconds", epochs=None
    )
    assert_refused(ValueError, "^epochs must be a number with LBFGS, got None", epochs=None, optimizer="lbfgs",
                   max_seconds=1.0)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 3}, {"batch_size": 5}, {"shuffle": False}, {"replacement": True}, {"drop_last": True}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_options_that_lbfgs_has_not(arguments):
    name = next(iter(arguments))
    assert_refused(ValueError, f"^{name} must be left out with LBFGS", optimizer="lbfgs", **arguments)


@pytest.mark.parametrize("as_batches", [False, True])
def test_weights_whose_product_is_too_large_are_refused(as_batches):
    net, weights = make_net(), np.full(N, 1e300)
    data = ([(X, LABELS, weights)],) if as_batches else (X, LABELS)
    given = {} if as_batches else {"sample_weight": weights}
    with unchanged(net), pytest.raises(ValueError, match="multiplied by class_weight, sample_weight must be"):
        net.fit(*data, class_weight={0: 1e300}, verbose=0, **given)
