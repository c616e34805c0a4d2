"""`fit` on mini-batches that an iterator, a generator or a list yields."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from numpy_network import state, state_of_steps, unchanged

import nnfast as nf
from nnfast.training import Callback

N, BATCH = 23, 5  # four full mini-batches and one of three rows
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
LABELS = RNG.integers(0, 4, N)
WEIGHTS = RNG.integers(0, 3, N) + 0.5


def make_net(*, dtype="float32", input_shape=3):
    """A network whose every step depends on its random streams, and which keeps running statistics."""
    layers = [nf.Dense(6, "tanh", l2=1e-3), nf.BatchNorm(), nf.Dropout(0.3), nf.Dense(4, "softmax")]
    return nf.Sequential(layers, input_shape=input_shape, dtype=dtype, seed=5)


def parts(*arrays, size=BATCH):
    """Mini-batches of arrays, in order."""
    return [tuple(array[i : i + size] for array in arrays) for i in range(0, len(arrays[0]), size)]


def fit(net, batches, **arguments):
    return net.fit(batches, **({"verbose": 0} | arguments))


class Again:
    """An iterable without a length that can be read again, and counts how often."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


class Stream(Again):
    """A data loader of a stream: it has `__len__`, which raises."""

    def __len__(self):
        raise TypeError("a stream has no length")


class SmallestOutput(nf.metrics.Metric):
    """Computed in Python."""

    name, direction = "smallest_output", "higher"

    def compute(self, outputs, targets, sample_weight):
        return float(np.average(outputs.min(axis=1), weights=sample_weight))


class OutputOfTarget(SmallestOutput):
    """Which depends on the labels, too."""

    name = "output_of_target"

    def compute(self, outputs, targets, sample_weight):
        return float(np.average(outputs[np.arange(len(targets)), targets], weights=sample_weight))


# ---- the same bits as from arrays

SOURCES = {
    "list": list,
    "tuple": tuple,
    "iterable": Again,
    "stream": Stream,
    "iterator": iter,
    "generator": lambda batches: (batch for batch in batches),
}
OPTIONS = {
    "defaults": {},
    "sgd": {"optimizer": nf.SGD(0.1, momentum=0.9)},
    "schedule by step": {"optimizer": nf.Adam(nf.schedules.Step(0.05, step_size=3))},
    "one cycle": {"optimizer": nf.SGD(nf.schedules.OneCycle(0.05, steps=15), momentum=0.9)},
    "metrics": {"metrics": ["accuracy", "top_2_accuracy", "mean_absolute_error"]},
    "a metric in Python": {"metrics": [SmallestOutput(), "accuracy"]},
    "validation": {"validation_data": (X[:7], LABELS[:7])},
    "validation with a metric in Python": {"validation_data": (X[:7], LABELS[:7]), "metrics": [SmallestOutput()]},
    "callbacks": {"callbacks": [lambda net, history: None]},
}


def assert_same(net, history, twin, whole):
    assert state(net)[:2] == state(twin)[:2]
    assert dict(history) == dict(whole)
    assert list(history) == list(whole)
    assert history.step_loss.tolist() == whole.step_loss.tolist()
    assert history.learning_rate.tolist() == whole.learning_rate.tolist()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("weighted", [False, True])
def test_one_pass_is_an_epoch_in_order(source, name, weighted):
    net, twin = make_net(), make_net()
    weights = {"sample_weight": WEIGHTS} if weighted else {}
    history = fit(net, SOURCES[source](parts(X, LABELS, *weights.values())), **OPTIONS[name])
    whole = twin.fit(X, LABELS, batch_size=BATCH, shuffle=False, verbose=0, **weights, **OPTIONS[name])
    assert_same(net, history, twin, whole)
    assert net.epochs_trained == 1


SEVERAL = OPTIONS | {
    "schedule by epoch": {"optimizer": nf.Adam(nf.schedules.Step(0.05, step_size=1, by="epoch"))},
    "plateau": {
        "optimizer": nf.Adam(nf.schedules.ReduceOnPlateau(0.05, monitor="loss", patience=0, threshold=0.5, factor=0.5))
    },
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("source", ["list", "iterable", "stream", "steps of an iterator", "steps of an iterable"])
def test_several_passes_are_epochs_in_order(source, name):
    net, twin, batches, arguments = make_net(), make_net(), parts(X, LABELS), {"epochs": 3}
    if source == "steps of an iterator":
        batches, arguments = iter(batches * 3), arguments | {"steps": 5}
    elif source == "steps of an iterable":
        arguments = arguments | {"steps": 5}
    else:
        batches = SOURCES[source](batches)
    history = fit(net, batches, **arguments, **SEVERAL[name])
    whole = twin.fit(X, LABELS, epochs=3, batch_size=BATCH, shuffle=False, verbose=0, **SEVERAL[name])
    assert_same(net, history, twin, whole)
    assert net.epochs_trained == 3
    if source in ("iterable", "stream"):
        assert batches.passes == 3


def test_an_unbuilt_network_is_built_for_the_first_batch():
    net, twin = make_net(input_shape=None), make_net()
    history = fit(net, iter(parts(X, LABELS)))
    assert net.input_shape == (3,)
    assert_same(net, history, twin, twin.fit(X, LABELS, batch_size=BATCH, shuffle=False, verbose=0))


@pytest.mark.parametrize("kind", ["csr", "bytes", "list", "fortran"])
def test_an_unbuilt_network_and_data_as_they_lie(kind):
    x = RNG.integers(0, 4, (N, 3)).astype(np.uint8)
    given = {"csr": scipy.sparse.csr_array(x), "bytes": x, "list": x.tolist(), "fortran": np.asfortranarray(x)}[kind]
    net, twin = make_net(input_shape=None), make_net()
    fit(net, [(given, LABELS)] * 2)
    twin.fit(x.astype(float), LABELS, batch_size=N, epochs=2, shuffle=False, verbose=0)
    assert state(net)[1] == state(twin)[1]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads):
    x, y = RNG.normal(size=(2000, 30)), RNG.integers(0, 10, 2000)
    sizes = [1, 700, 3, 400, 896]
    ends = np.cumsum(sizes)
    batches = [(x[end - size : end], y[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    layers = [nf.Dense(80, "relu"), nf.Dense(10, "softmax")]
    nets = [nf.Sequential(layers, input_shape=30, seed=0) for _ in range(2)]
    with nf.num_threads(1, fixed=True):
        whole = fit(nets[0], batches, epochs=2, metrics=["top_2_accuracy", "mean_absolute_error"])
    with nf.num_threads(threads, fixed=threads > 2):
        history = fit(nets[1], batches, epochs=2, metrics=["top_2_accuracy", "mean_absolute_error"])
    assert_same(nets[1], history, nets[0], whole)


def test_steps_are_those_of_train_step():
    """Batches of any sizes, with and without weights, labels or rows of probabilities."""
    batches = [
        (X[:2], LABELS[:2]),
        (X[2:], LABELS[2:], WEIGHTS[2:]),
        (X[:9].tolist(), np.eye(4)[LABELS[:9]]),
        [X[5:8].astype(np.float32), LABELS[5:8].tolist()],
        (X[:3], LABELS[:3], [0, 0, 0]),
    ]
    net, twin = make_net(), make_net()
    history = fit(net, iter(batches))
    losses = [
        twin.train_step(x, y, "adam", sample_weight=weight[0] if weight else None) for x, y, *weight in batches[:4]
    ]
    assert history.step_loss[:4].tolist() == losses
    assert len(history.step_loss) == 5
    rows = [2, WEIGHTS[2:].sum(), 9, 3, 0]
    np.testing.assert_allclose(history["loss"], np.average(history.step_loss, weights=rows), rtol=1e-12)
    first = make_net()
    fit(first, batches[:4])
    assert state_of_steps(first) == state_of_steps(twin)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_metric_in_python_gets_labels_and_probabilities_of_one_epoch(weighted):
    calls = []

    class Look(nf.metrics.Metric):
        name, direction = "look", "higher"

        def compute(self, outputs, targets, sample_weight):
            calls.append((outputs.shape, targets, sample_weight))
            return 0.0

    batches = [(X[:2], LABELS[:2]), (X[2:7], np.eye(4)[LABELS[2:7]], *([WEIGHTS[2:7]] if weighted else []))]
    fit(make_net(), batches, metrics=[Look()])
    ((shape, targets, weights),) = calls
    assert shape == (7, 4)
    np.testing.assert_array_equal(targets, np.eye(4)[LABELS[:7]])
    assert (weights is None) == (not weighted)
    if weighted:
        assert weights.tolist() == [1, 1, *WEIGHTS[2:7]]


# ---- how many


def test_epochs_of_so_many_steps():
    """The pass that is under way goes on in the next epoch, and begins again at its end."""
    source, net = Again(parts(X, LABELS)), make_net()
    history = fit(net, source, steps=3, epochs=4)
    assert history.steps_per_epoch == 3
    assert [len(history.step_loss), len(history["loss"]), source.passes] == [12, 4, 3]
    assert net.epochs_trained == 4
    twin = make_net()
    in_a_row = twin.fit(X, LABELS, steps=12, batch_size=BATCH, shuffle=False, verbose=0)
    assert history.step_loss.tolist() == in_a_row.step_loss.tolist()


def test_steps_without_epochs_are_one_epoch():
    history = fit(make_net(), iter(parts(X, LABELS)), steps=3)
    assert [len(history.step_loss), len(history["loss"]), history.steps_per_epoch] == [3, 1, 3]


def test_no_more_is_read_than_is_used():
    handed = []

    def endless():
        while True:
            handed.append(0)
            yield X[:5], LABELS[:5]

    fit(make_net(), endless(), steps=4, epochs=2)
    assert len(handed) == 8


@pytest.mark.parametrize("limit", ["callback", "max_seconds"])
def test_epochs_without_limit(limit):
    def endless():
        while True:
            yield X[:5], LABELS[:5]

    stop = lambda net, history: len(history["loss"]) == 6 and net.stop()  # noqa: E731
    arguments = {"callbacks": [stop]} if limit == "callback" else {"max_seconds": 0.05}
    history = fit(make_net(), endless(), steps=4, epochs=None, **arguments)
    assert len(history["loss"]) == -(-len(history.step_loss) // 4)
    if limit == "callback":
        assert len(history.step_loss) == 24


@pytest.mark.parametrize(("count", "epochs"), [(7, 2), (5, 1), (13, 3), (1, 1)])
def test_an_iterator_that_ends_early(count, epochs):
    net = make_net()
    with pytest.warns(UserWarning, match=f"^x yielded {count} mini-batches, fewer than epochs and steps ask") as w:
        history = fit(
            net, iter((parts(X, LABELS) * 3)[:count]), steps=5, epochs=4
        )  # fmt: skip
    assert w[0].filename == __file__
    assert len(history.step_loss) == count
    assert len(history["loss"]) == epochs
    assert net.epochs_trained == count // 5


def test_an_iterable_that_is_empty_the_second_time():
    batches = parts(X, LABELS)

    class Once:
        def __iter__(self):
            while batches:
                yield batches.pop(0)

    with pytest.warns(UserWarning, match="^x yielded 5 mini-batches"):
        history = fit(make_net(), Once(), epochs=3)
    assert len(history["loss"]) == 1


# ---- generators that do as they like


def test_a_generator_may_use_its_buffers_again():
    x, y, weights = np.empty((BATCH, 3)), np.empty(BATCH, int), np.empty(BATCH)

    def reusing(dtype):
        rows, labels = x.astype(dtype), y.astype(np.int64)
        for part in parts(X[:20], LABELS[:20], WEIGHTS[:20]):
            rows[:], labels[:], weights[:] = part
            yield rows, labels, weights
            rows[:], labels[:], weights[:] = np.nan, -1, -1

    for dtype in ("float32", "float64"):
        net, twin = make_net(dtype=dtype), make_net(dtype=dtype)
        metrics = {"metrics": [OutputOfTarget(), "accuracy"]}
        history = fit(net, reusing(dtype), **metrics)
        assert_same(net, history, twin, fit(twin, parts(X[:20], LABELS[:20], WEIGHTS[:20]), **metrics))


def test_a_generator_may_use_the_network():
    """Its parameters are those after the last step."""
    net, twin, seen = make_net(), make_net(), []

    def choosing():
        for x, y in parts(X, LABELS):
            seen.append(net.predict(X))
            net.loss(X, LABELS)
            net.copy().train_step(X, LABELS)
            with pytest.raises(RuntimeError, match="busy") if len(seen) > 1 else pytest.raises(ZeroDivisionError):
                net.train_step(X, LABELS) if len(seen) > 1 else 1 / 0
            yield x, y

    fit(net, choosing())
    fit(twin, parts(X, LABELS))
    assert state(net)[:2] == state(twin)[:2]
    assert len({outputs.tobytes() for outputs in seen}) == 5


class Mine(Exception):
    """Of no other origin."""


@pytest.mark.parametrize("error", [Mine, KeyboardInterrupt, MemoryError, ValueError])
@pytest.mark.parametrize("after", [1, 4, 5])
def test_an_error_in_a_generator_passes(error, after):
    """The network is as the last step has left it, and can be trained."""
    closed = []

    class Close(Callback):
        def close(self, net, history):
            closed.append(len(history.step_loss))

    def failing():
        yield from parts(X, LABELS)[:after]
        raise error("mine")

    net, twin = make_net(), make_net()
    with pytest.raises(error, match="^mine$"):
        fit(net, failing(), steps=4, epochs=3, callbacks=[Close()])
    twin.fit(X, LABELS, steps=after, batch_size=BATCH, shuffle=False, verbose=0)
    assert closed == [after]
    assert len(net.history.step_loss) == after
    assert len(net.history["loss"]) == after // 4
    assert state_of_steps(net) == state_of_steps(twin)
    fit(net, parts(X, LABELS))
    assert len(net.history["loss"]) == 1


def test_an_error_before_the_first_batch_changes_nothing():
    def failing():
        raise Mine
        yield

    for net in (make_net(), make_net(input_shape=None)):
        with unchanged(net), pytest.raises(Mine):
            fit(net, failing())


def test_callbacks_of_each_step():
    seen = []

    class Steps(Callback):
        def on_step_end(self, net, history):
            seen.append((len(history["loss"]), history.step_loss[-1]))
            if len(seen) == 7:
                net.stop()

    history = fit(make_net(), parts(X, LABELS), epochs=9, callbacks=[Steps()])
    assert [epoch for epoch, _ in seen] == [0] * 5 + [1] * 2
    assert [loss for _, loss in seen] == history.step_loss.tolist()
    assert len(history["loss"]) == 2


def test_a_training_on_batches_leaves_an_unfinished_epoch():
    """It is not continued afterwards."""
    net = make_net()
    net.fit(X, LABELS, steps=3, batch_size=BATCH, verbose=0)
    fit(net, parts(X, LABELS)[:2])
    assert net.epochs_trained == 1
    history = net.fit(X, LABELS, batch_size=BATCH, verbose=0)
    assert len(history.step_loss) == 5
    assert net.epochs_trained == 2


def test_class_weights_multiply_those_of_rows():
    table = {0: 2.0, 2: 0.0}
    each = np.array([table.get(label, 1.0) for label in LABELS])
    net, twin = make_net(), make_net()
    history = fit(net, parts(X, LABELS, WEIGHTS), class_weight=table)
    assert_same(net, history, twin, fit(twin, parts(X, LABELS, each * WEIGHTS)))
    net, twin = make_net(), make_net()
    assert_same(net, fit(net, parts(X, LABELS), class_weight=table), twin, fit(twin, parts(X, LABELS, each)))


@pytest.mark.parametrize("arguments", [{}, {"metrics": [SmallestOutput()]}], ids=["none", "own metric"])
def test_a_batch_without_weight(arguments):
    """Its loss is zero, and it does not count."""
    net = make_net()
    batches = [(X[:5], LABELS[:5], np.zeros(5)), (X[5:], LABELS[5:], WEIGHTS[5:])]
    history = fit(net, batches, **arguments)
    assert history["loss"] == [history.step_loss[1]]


# ---- errors


def assert_refused(error, message, batches, **arguments):
    for net in (make_net(), make_net(input_shape=None)):
        with unchanged(net), pytest.raises(error, match=message):
            fit(net, batches() if callable(batches) else batches, **arguments)


@pytest.mark.parametrize("x", [X, 5, None, 1.5, print])
def test_without_y_x_must_be_an_iterable_of_batches(x):
    assert_refused(TypeError, r"^y is missing; without it, x must be an iterator of mini-batches \(x, y\), got", x)


@pytest.mark.parametrize(
    "item", [X, (X,), (X, LABELS, WEIGHTS, 1), 5, None, "ab", {"x": X, "y": LABELS}, {1, 2}, (a for a in (X, LABELS))]
)
def test_items_are_pairs_or_triples(item):
    message = r"^batch 1: a mini-batch must be \(x, y\) or \(x, y, sample_weight\), got"
    assert_refused(TypeError, message, [item])


WRONG = {
    "rows": ((X, LABELS[:-1]), ValueError, "y must have as many rows as x"),
    "labels": ((X, LABELS + 1), ValueError, "y holds labels up to 4"),
    "no rows": ((X[:0], LABELS[:0]), ValueError, "x must have at least one row"),
    "nan": ((X * np.nan, LABELS), ValueError, "x must be finite"),
    "text": ((X.astype(str), LABELS), TypeError, "x must hold real numbers"),
    "ragged": (([[1, 2, 3], [1, 2]], [0, 1]), ValueError, "x must be a rectangular array"),
    "weights": ((X, LABELS, WEIGHTS[:-1]), ValueError, "sample_weight must have shape"),
    "negative weights": ((X, LABELS, -WEIGHTS), ValueError, "sample_weight must not be negative"),
    "one row": ((X[:1], LABELS[:1]), ValueError, "BatchNorm needs at least two rows"),
    "one axis": ((X[0], LABELS), ValueError, "x must have shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_first_batch_is_checked_before_anything_changes(name):
    item, error, message = WRONG[name]
    assert_refused(error, f"^batch 1: {message}", [item])


@pytest.mark.parametrize("name", [*WRONG, "columns", "item"])
def test_a_later_batch_is_named(name):
    other = {
        "columns": ((X[:, :2], LABELS), ValueError, r"x must have shape \(n, 3\), got \(23, 2\)"),
        "item": (5, TypeError, "a mini-batch must be"),
    }
    item, error, message = (WRONG | other)[name]
    net, twin = make_net(), make_net()
    with pytest.raises(error, match=f"^batch 3: {message}"):
        fit(net, [*parts(X, LABELS)[:2], item])
    twin.fit(X, LABELS, steps=2, batch_size=BATCH, shuffle=False, verbose=0)
    assert state_of_steps(net) == state_of_steps(twin), "as the last step has left it"
    assert len(net.history.step_loss) == 2


def worst(targets, outputs):
    return np.abs(outputs).max()


def test_later_batches_fit_the_metrics_that_are_asked_for():
    soft = np.full((3, 2), 0.5)
    layers = [nf.Dense(2, "sigmoid")]
    net = nf.Sequential(layers, input_shape=3, loss="mean_squared_error", seed=0)
    with pytest.raises(ValueError, match="^batch 2: metric 'f1' needs targets of 0 and 1"):
        fit(net, [(X[:3], soft > 1), (X[:3], soft)], metrics=["f1"])
    with pytest.raises(ValueError, match="^batch 2: metric 'worst' cannot weight rows, but they have weights"):
        fit(net, [(X[:3], soft), (X[:3], soft, [1, 2, 3])], metrics=[worst])
    assert len(net.history.step_loss) == 1
    assert len(fit(net, [(X[:3], soft > 1), (X[:3], soft)]).step_loss) == 2, "nobody has asked for the accuracy"


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 5}, {"shuffle": False}, {"replacement": True}, {"drop_last": True}, {"sample_weight": WEIGHTS},
        {"validation_split": 0.2}, {"gradient": "numerical"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)  # fmt: skip
def test_options_that_do_not_apply(arguments):
    name = next(iter(arguments))
    assert_refused(
        ValueError, f"^{name} must be left out if x is an iterator of mini-batches", parts(X, LABELS), **arguments
    )


def test_more_options_that_do_not_apply():
    assert_refused(ValueError, "^LBFGS uses all data at once", parts(X, LABELS), optimizer="lbfgs")
    assert_refused(ValueError, "^class_weight='balanced' needs the targets", parts(X, LABELS), class_weight="balanced")
    assert_refused(ValueError, "^an iterator can be read only once", lambda: iter(parts(X, LABELS)), epochs=2)
    assert_refused(
        ValueError, "^an iterator can be read only once", lambda: iter(parts(X, LABELS)), epochs=None, max_seconds=1.0
    )
    assert_refused(ValueError, "^epochs=None trains until", parts(X, LABELS), epochs=None)
    assert_refused(ValueError, "^x must yield at least one mini-batch, got none", [])
    assert_refused(ValueError, "^x must yield at least one mini-batch, got none", lambda: iter([]))
    for name in ("epochs", "steps"):
        assert_refused(ValueError, f"^{name} must be at least 1, got 0", parts(X, LABELS), **{name: 0})
        assert_refused(TypeError, f"^{name} must be an integer, got", parts(X, LABELS), **{name: 1.5})
    assert_refused(ValueError, "^batch 1: class_weight must have classes from 0 to 3, got 4", parts(X, LABELS),
                   class_weight={4: 1.0})  # fmt: skip


def test_validation_data_are_checked_before_a_batch_is_used():
    assert_refused(
        ValueError, "^validation_data: y must have as many rows", parts(X, LABELS), validation_data=(X, LABELS[:-1])
    )


def test_arrays_with_y_are_no_batches():
    net, twin = make_net(), make_net()
    net.fit(X.tolist(), LABELS.tolist(), verbose=0)
    twin.fit(X, LABELS, verbose=0)
    assert state(net)[:2] == state(twin)[:2]
