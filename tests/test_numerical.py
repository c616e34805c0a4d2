"""Numerical gradients of whole networks, and training with them: odd shapes, threads, Ctrl-C, memory, progress.

Their values for every layer, activation and loss are tested in test_gradient_cases.py.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from gradient_cases import LAYERS, LayerCase
from numpy_network import NumpyNetwork, book_gradient, state, unchanged
from test_threads import in_threads
from test_training import PROMISE, TRIES, Terminal, in_terminal
from tolerances import assert_close

import nnfast as nf
from nnfast import _progress
from nnfast.engine.program import Differences
from nnfast.gradients import network as numerical

SEED = 7
H = 1e-4


def make_net(*units, features=3, hidden="tanh", output="softmax", dtype="float64", kind=nf.Sequential, loss=None):
    layers = [nf.Dense(n, hidden) for n in units[:-1]] + [nf.Dense(units[-1], output)]
    return kind(layers, input_shape=features, loss=loss, dtype=dtype, seed=SEED)


def make_data(n, features=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *np.atleast_1d(features)))
    return x, rng.integers(0, classes, n)


def bits(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


def assert_is_the_books(net, x, y, names=None):
    """Compare the numerical gradient with the loop over every number, in the engine and in NumPy."""
    names = [*net.params, "x"] if names is None else names
    twin, one_hot = NumpyNetwork(net), np.eye(net.layers[-1].units)[y]
    rows = x.reshape(len(x), -1)
    found = net.numerical_gradient(x, y, wrt=names)
    for name in names:
        array, own = (x, rows) if name == "x" else (net.params[name], twin.parameters[name])
        scale = (1 + net.loss(x, y)) / H
        assert found[name].dtype == np.float64
        assert_close(found[name], book_gradient(lambda: net.loss(x, y), array, H), scale=scale)
        expected = book_gradient(lambda: twin.loss_of(rows, one_hot), own, H).reshape(array.shape)
        assert_close(found[name], expected, scale=scale)
    return found


# ---- odd shapes and values


@pytest.mark.parametrize("hidden", ["relu", "softmax"])
@pytest.mark.parametrize("units", [(7, 4), (8, 9, 4), (17, 2, 4), (2, 67, 4), (128, 4), (4,)], ids=str)
@pytest.mark.parametrize("n", [1, 13])
def test_widths_beside_those_of_vectors(n, units, hidden):
    """Arrays of 128 and more columns are padded, so that columns fall into more cache sets."""
    assert_is_the_books(make_net(*units, hidden=hidden), *make_data(n))


@pytest.mark.parametrize("features", [1, 65, (2, 3), (2, 1, 3)], ids=str)
def test_samples_of_any_shape(features):
    x, y = make_data(3, features)
    net = make_net(5, 4, features=features)
    found = assert_is_the_books(net, x, y)
    assert found["x"].shape == x.shape
    assert net.gradient(x, y, wrt="x")["x"].shape == x.shape


@pytest.mark.parametrize("n", [240, 241, 500, 2049, 4500])
def test_more_rows_than_a_block_and_than_a_piece(n):
    """240 rows are a tile for narrow layers, 4096 changed rows a piece of work."""
    x, y = make_data(n, 2)
    net = make_net(2, 3, features=2)
    assert_is_the_books(net, x, y % 3, list(net.params))
    row = assert_is_the_books(net, x[-1:], y[-1:] % 3, ["x"])["x"]
    every = net.numerical_gradient(x, y % 3, wrt="x")["x"]
    assert every.shape == x.shape
    assert_close(every[-1] * n, row[0], scale=(1 + net.loss(x, y % 3)) / H)


@pytest.mark.parametrize("n", [1, 500])
def test_slopes_to_either_side(n):
    """A gradient check uses them to find kinks."""
    x, y = make_data(n, 2)
    net = make_net(3, 3, features=2, hidden="relu")
    y %= 3
    twin, here = NumpyNetwork(net), NumpyNetwork(net).loss_of(x, y)
    sides = numerical.slopes(net._network, x, y, None, ["W1", "b2"], H)
    for name, (right, left) in sides.items():
        array = twin.parameters[name]
        for index in np.ndindex(array.shape):
            value = array[index]
            for side, slope in ((H, right), (-H, left)):
                array[index] = value + side
                assert_close(slope[index], (twin.loss_of(x, y) - here) / side, scale=(1 + here) / H)
            array[index] = value


@pytest.mark.parametrize("hidden", ["tanh", "relu", "step"])
def test_inputs_that_are_zero(hidden):
    """In all rows, in whole rows and columns; negative zero counts as zero."""
    x, y = make_data(9, 5)
    net = make_net(6, 4, features=5, hidden=hidden)
    x[2] = x[:, 1] = 0
    x[3, 4] = -0.0
    assert not assert_is_the_books(net, x, y)["W1"][1].any()
    x[:] = 0
    found = assert_is_the_books(net, x, y)
    assert not found["W1"].any()
    assert found["b2"].any()


def test_dead_units():
    x, y = make_data(9, 5)
    net = make_net(6, 4, features=5, hidden="relu")
    net.params["b1"][:3] = -100
    found = assert_is_the_books(net, x, y)
    assert not found["W1"][:, :3].any()
    assert not found["W2"][:3].any()
    assert found["W1"][:, 3:].any()
    net.params["b1"] = np.full(6, -100.0)
    found = assert_is_the_books(net, x, y)
    assert [name for name, array in found.items() if array.any()] == ["b2"]


def test_units_exactly_at_the_kink():
    """Half the slope on one side plus half the slope on the other, as in the book's loop."""
    net = make_net(2, 3, features=2, hidden="relu")
    net.params["W1"] = [[1, 1], [-1, 1]]
    x, y = np.array([[1.0, 1.0]]), np.array([1])
    found, right = assert_is_the_books(net, x, y, ["b1"])["b1"], net.gradient(x, y)["b1"]
    assert right[0] == 0
    assert found[0] != 0


def test_results_are_computed_for_what_is_asked():
    x, y = make_data(9, 5)
    net = make_net(6, 4, features=5)
    every = net.numerical_gradient(x, y, wrt=[*net.params, "x"])
    for names in (["x"], ["b2", "W1"], ["x", "W2"]):
        assert bits(net.numerical_gradient(x, y, wrt=names)) == {name: every[name].tobytes() for name in names}
    assert bits(net.numerical_gradient(x, y)) == {name: every[name].tobytes() for name in net.params}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_has_no_slopes(value):
    """Not even with respect to weights whose input is zero in that row."""
    x, y = make_data(5, 4)
    net = make_net(6, 4, features=4, hidden="identity")
    x[2] = 0, value, 1, 1
    with np.errstate(invalid="raise"):
        found = net.numerical_gradient(x, y, wrt=[*net.params, "x"])
    for name in net.params:
        assert np.isnan(found[name]).all()
    assert np.isnan(found["x"][2]).all()
    assert np.isfinite(np.delete(found["x"], 2, axis=0)).all(), "the other rows have their own loss"


@pytest.mark.parametrize("h", [1e-310, 1e-300, 1e-30])
def test_h_too_small_to_change_anything(h):
    net = make_net(4, 3, features=2, hidden="sigmoid")
    net.params["b1"] = np.ones(4)
    with np.errstate(all="raise"):
        found = net.numerical_gradient([[1.0, 2.0]], [0], h=h, wrt=["b1", "W1"])
    assert not any(array.any() for array in found.values())


@pytest.mark.parametrize("h", [1e100, 1e300, 1e308])
def test_h_of_any_size(h):
    net = make_net(4, 3, features=2, hidden="sigmoid")
    x, y = np.array([[1.0, 0.5]]), [0]
    with np.errstate(all="raise", under="ignore"):
        found = net.numerical_gradient(x, y, h=h, wrt=["W1", "b1"])
    for name, array in found.items():
        assert_close(array, book_gradient(lambda: net.loss(x, y), net.params[name], h / 2) / 2, scale=1 / h)


# ---- which bits


@pytest.mark.parametrize("n", [1, 7, 300, 2100])
def test_the_same_bits_on_any_number_of_threads(n):
    """In few large pieces and in many small ones: from 2048 rows on, each unit of each input is one."""
    x, y = make_data(n, 6)
    x[::2, 1] = 0
    net = make_net(33, 12, 4, features=6, hidden="relu")
    names = [*net.params, "x"]
    with nf.num_threads(1):
        expected = bits(net.numerical_gradient(x, y, wrt=names))
    for threads in (1, 2, 3, 4):
        with nf.num_threads(threads):
            for _ in range(2):
                assert bits(net.numerical_gradient(x, y, wrt=names)) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_has_the_same_bits_on_any_number_of_threads(dtype):
    x, y = make_data(50, 6)
    states = []
    for threads in (1, 2, 4):
        net = make_net(33, 4, features=6, dtype=dtype)
        with nf.num_threads(threads):
            net.fit(x, y, batch_size=20, epochs=2, optimizer="adam", gradient="numerical", verbose=0)
        states.append(state(net)[:2])
    assert states[1:] == states[:1] * 2


def test_gradients_from_several_threads_at_once():
    nets = [make_net(20, 4, dtype=dtype) for dtype in ("float32", "float64")]
    x, y = make_data(40)
    expected = [bits(net.numerical_gradient(x, y, wrt=[*net.params, "x"])) for net in nets]

    def work(i):
        with nf.num_threads(1 + i % 3):
            net = nets[i % 2]
            return [bits(net.numerical_gradient(x, y, wrt=[*net.params, "x"])) for _ in range(5)]

    assert in_threads(6, work) == [[expected[i % 2]] * 5 for i in range(6)]


# ---- the network stays unchanged


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_network_stays_as_it_is(dtype):
    """Its parameters, optimizer and streams; a forward pass that waits for its `backward`; gradients."""
    net = make_net(5, 4, dtype=dtype)
    x, y = make_data(6)
    net.fit(x, y, epochs=2, optimizer="adam", verbose=0)
    twin = net.copy()
    for one in (net, twin):
        one.forward(x, training=True)
        one.backward(np.ones((6, 4)))
        one.forward(x[:3], training=True)
    grads = net.flat_grads.tobytes()
    with unchanged(net):
        found = net.numerical_gradient(x, y, wrt=[*net.params, "x"])
        assert net.check_gradient(x, y)
        net.gradient(x, y, wrt=["x", "b1"])
    assert net.flat_grads.tobytes() == grads
    for name in ("W1", "b2"):
        found[name][...] = 99  # a separate array
    for one in (net, twin):
        one.backward(np.ones((3, 4)), accumulate=True)
        one.update("adam")
        one.fit(x, y, epochs=2, optimizer="adam", verbose=0)
    assert state(net)[:2] == state(twin)[:2]


def test_a_float32_network_is_computed_in_float64():
    net, wide = make_net(5, 4, dtype="float32"), make_net(5, 4)
    wide.flat_params[:] = net.flat_params
    x, y = make_data(6)
    assert bits(net.numerical_gradient(x, y)) == bits(wide.numerical_gradient(x, y))
    assert bits(net.numerical_gradient(x, y, wrt="x")) == bits(wide.numerical_gradient(x, y, wrt="x"))


class Penalized(nf.Sequential):
    """A subclass with an attribute that `loss` needs, and another constructor."""

    def __init__(self, layers, penalty, **options):
        self.penalty = penalty
        super().__init__(layers, **options)

    def loss(self, x, y, /):
        return super().loss(x, y) + self.penalty


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_subclass(dtype):
    net = Penalized([nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], 0.5, input_shape=3, dtype=dtype, seed=SEED)
    plain = make_net(5, 4, dtype=dtype)
    x, y = make_data(6)
    assert bits(net.numerical_gradient(x, y)) == bits(plain.numerical_gradient(x, y))
    assert net.check_gradient(x, y)
    histories = [one.fit(x, y, epochs=2, gradient="numerical", verbose=0) for one in (net, plain)]
    assert histories[0].step_loss.tolist() == histories[1].step_loss.tolist()


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_a_callback(dtype, gradient):
    x, y = make_data(10)
    seen = []

    def look(net, history):
        seen.append((bits(net.numerical_gradient(x, y)), bool(net.check_gradient(x, y)), net.copy()))

    net, calm = make_net(5, 4, dtype=dtype), make_net(5, 4, dtype=dtype)
    net.fit(x, y, epochs=3, batch_size=4, gradient=gradient, callbacks=[look], verbose=0)
    calm.fit(x, y, epochs=3, batch_size=4, gradient=gradient, verbose=0)
    assert [(found, right) for found, right, _ in seen] == [(bits(c.numerical_gradient(x, y)), True) for *_, c in seen]
    assert len({found["W1"] for found, *_ in seen}) == 3
    assert net.flat_params.tobytes() == calm.flat_params.tobytes()


# ---- arguments


@pytest.mark.parametrize("method", ["gradient", "numerical_gradient"])
@pytest.mark.parametrize(
    ("wrt", "names"),
    [
        (None, ["W1", "b1", "W2", "b2"]),
        ("W2", ["W2"]),
        ("0.W", ["W1"]),
        ("x", ["x"]),
        (["x", "1.b", "W1"], ["x", "b2", "W1"]),
        (("W1", "0.W", "W1"), ["W1"]),
    ],
)
def test_names_and_paths(method, wrt, names):
    x, y = make_data(6)
    net = make_net(5, 4)
    found = getattr(net, method)(x, y, wrt=wrt)
    assert list(found) == names
    for name in names:
        assert found[name].shape == (x.shape if name == "x" else net.params[name].shape)
    if wrt == "0.W":
        np.testing.assert_array_equal(found["0.W"], found["W1"])
    with pytest.raises(KeyError, match="no array 'W3': there are"):
        found["W3"]


THERE_ARE = "W1, b1, W2, b2, x"


@pytest.mark.parametrize("method", ["gradient", "numerical_gradient", "check_gradient"])
@pytest.mark.parametrize(
    ("wrt", "error", "message"),
    [
        ("W3", ValueError, f"wrt must hold names among {THERE_ARE}, got 'W3'"),
        ("", ValueError, f"wrt must hold names among {THERE_ARE}, got ''"),
        (["W1", "2.W"], ValueError, f"wrt must hold names among {THERE_ARE}, got '2.W'"),
        ([], ValueError, f"wrt must hold at least one of {THERE_ARE}, got none"),
        (b"W1", TypeError, r"wrt must be a name or a sequence of names, got b'W1' \(bytes\)"),
        ({"W1"}, TypeError, "wrt must be a name or a sequence of names, got"),
        (3, TypeError, r"wrt must be a name or a sequence of names, got 3 \(int\)"),
        (["W1", 3], TypeError, r"wrt must be a name or a sequence of names, got \['W1', 3\] \(list\)"),
        (np.array(["W1"]), TypeError, "wrt must be a name or a sequence of names, got an array of shape"),
    ],
)
def test_unknown_names_are_refused(method, wrt, error, message):
    with pytest.raises(error, match=f"^{message}"):
        getattr(make_net(5, 4), method)(*make_data(6), wrt=wrt)


@pytest.mark.parametrize(
    ("h", "error", "message"),
    [
        ("a", TypeError, r"h must be a number, got 'a' \(str\)"),
        (None, TypeError, r"h must be a number, got None \(NoneType\)"),
        (True, TypeError, r"h must be a number, got True \(bool\)"),
        ([1e-4], TypeError, r"h must be a number, got \[0.0001\] \(list\)"),
        (1e-4j, TypeError, "h must be a number, got"),
        (0, ValueError, r"h must be a finite number in \(0.0, inf\), got 0.0"),
        (-1e-4, ValueError, r"h must be a finite number in \(0.0, inf\), got -0.0001"),
        (np.nan, ValueError, r"h must be a finite number in \(0.0, inf\), got nan"),
        (np.inf, ValueError, r"h must be a finite number in \(0.0, inf\), got inf"),
    ],
)
def test_h_is_a_positive_number(h, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make_net(5, 4).numerical_gradient(*make_data(6), h=h)


@pytest.mark.parametrize("method", ["numerical_gradient", "check_gradient"])
@pytest.mark.parametrize("verbose", [2, -1, "yes", None, 1.0])
def test_verbose_is_0_or_1(method, verbose):
    with pytest.raises(ValueError, match="^verbose must be 0 or 1, got"):
        getattr(make_net(5, 4), method)(*make_data(6), verbose=verbose)


@pytest.mark.parametrize("method", ["gradient", "numerical_gradient", "check_gradient"])
def test_a_network_that_is_not_built(method):
    net = nf.Sequential([nf.Dense(4, "softmax")])
    for wrt in (None, "x"):
        with pytest.raises(RuntimeError, match="^the input shape of the network is not known yet"):
            getattr(net, method)(*make_data(6), wrt=wrt)


@pytest.mark.parametrize("method", ["gradient", "numerical_gradient", "check_gradient"])
def test_data_are_checked(method):
    x, y = make_data(6)
    call = getattr(make_net(5, 4), method)
    for data, error, message in (
        ((x[:, :2], y), ValueError, r"x must have shape \(n, 3\), got \(6, 2\)"),
        ((x[0], y), ValueError, r"x must have shape \(n, 3\), got \(3,\)"),
        ((x[:0], y[:0]), ValueError, "x must have at least one row"),
        ((x, y[:5]), ValueError, "y must have as many rows as x: 6"),
        ((x, y + 4), ValueError, "y holds labels up to"),
        ((x.astype(str), y), TypeError, "x must hold real numbers"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call(*data)


# ---- training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_history_is_that_of_backpropagation(dtype):
    x, y = make_data(23)
    histories, nets = [], []
    for gradient in ("numerical", "backpropagation"):
        net = make_net(6, 4, dtype=dtype)
        history = net.fit(
            x, y, epochs=3, batch_size=5, optimizer=nf.SGD(0.5), gradient=gradient, validation_data=(x[:7], y[:7]),
            verbose=0,
        )  # fmt: skip
        assert net.history is history
        histories.append(history)
        nets.append(net)
    mine, theirs = histories
    assert list(mine) == list(theirs) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert mine.steps_per_epoch == theirs.steps_per_epoch == 5
    kind = {"float32": "sum", "float64": "difference"}[dtype]
    for one, other in (
        (mine.step_loss, theirs.step_loss),
        *((mine[name], theirs[name]) for name in ("loss", "val_loss")),
    ):
        one, other = np.array(one, dtype), np.array(other)
        assert one.shape == other.shape
        assert_close(one, other, scale=1 + other, kind=kind)
    assert mine["accuracy"] == theirs["accuracy"]
    assert mine["val_accuracy"] == theirs["val_accuracy"]
    assert_close(nets[0].flat_params, nets[1].flat_params, scale=1.0, kind=kind)
    assert nets[0].dtype == dtype


def test_steps_end_within_an_epoch_and_at_stop():
    x, y = make_data(23)
    for arguments, steps in (({"steps": 7}, 7), ({"epochs": 9, "callbacks": [lambda net, history: net.stop()]}, 5)):
        pair = [
            make_net(6, 4).fit(x, y, batch_size=5, gradient=gradient, verbose=0, **arguments)
            for gradient in ("numerical", "backpropagation")
        ]
        assert [len(history.step_loss) for history in pair] == [steps, steps]
        assert pair[0]["loss"] == pytest.approx(pair[1]["loss"])
        assert pair[0]["accuracy"] == pair[1]["accuracy"]


def test_training_goes_on_where_backpropagation_was():
    """Both share the optimizer's state and the random stream for shuffling."""
    x, y = make_data(23)
    nets = [make_net(6, 4), make_net(6, 4)]
    adam = nf.Adam(0.01, epsilon=1e-2)
    for gradients in (("backpropagation", "numerical"), ("numerical", "backpropagation")):
        for net, gradient in zip(nets, gradients, strict=True):
            net.fit(x, y, epochs=2, batch_size=5, optimizer=adam, gradient=gradient, verbose=0)
    assert_close(nets[0].flat_params, nets[1].flat_params, scale=1.0, kind="difference")
    assert nets[0]._network.built.slot.steps == nets[1]._network.built.slot.steps == 20


def test_after_training_there_is_no_forward_and_there_are_no_gradients():
    net, (x, y) = make_net(6, 4), make_data(6)
    net.forward(x, training=True)
    net.backward(np.ones((6, 4)))
    net.forward(x, training=True)
    net.fit(x, y, gradient="numerical", verbose=0)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        net.backward(np.ones((6, 4)))
    with pytest.raises(RuntimeError, match="update needs gradients"):
        net.update()


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        ("Numerical", ValueError, "gradient must be one of 'backpropagation', 'numerical', got 'Numerical'"),
        ("", ValueError, "gradient must be one of 'backpropagation', 'numerical', got ''"),
        (None, TypeError, "gradient must be one of 'backpropagation', 'numerical', got None"),
        (True, TypeError, "gradient must be one of 'backpropagation', 'numerical', got True"),
    ],
)
def test_other_gradients_are_refused(gradient, error, message):
    net = make_net(6, 4)
    with unchanged(net), pytest.raises(error, match=f"^{message}"):
        net.fit(*make_data(6), gradient=gradient, verbose=0)


@pytest.mark.usefixtures("needs_mnist")
def test_a_long_training_as_in_the_book_learns_digits():
    """Chapter 4.5: 784-50-10, sigmoid, weights of standard deviation 0.01, the gradient of each batch numerical."""
    (x, y), _ = nf.datasets.load_mnist()
    x, y = x[:200], y[:200]
    layers = [nf.Dense(50, "sigmoid", initializer=0.01), nf.Dense(10, "softmax", initializer=0.01)]
    nets = [nf.Sequential(layers, input_shape=784, dtype="float64", seed=SEED) for _ in range(2)]
    histories = [
        net.fit(x, y, steps=30, batch_size=20, optimizer=nf.Adam(0.02), gradient=gradient, verbose=0)
        for net, gradient in zip(nets, ("numerical", "backpropagation"), strict=True)
    ]
    assert histories[0].step_loss == pytest.approx(histories[1].step_loss, rel=1e-3)
    assert nets[0].accuracy(x, y) > 0.5, "most of ten digits"


# ---- Ctrl-C


def interrupted(run, wait=0.3):
    """Return how long Ctrl-C takes to end a call that would take long."""
    times = []

    def interrupt():
        times.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(wait, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run()
    delay = time.perf_counter() - times[0]
    timer.join()
    return delay


no_ctrl_c = pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")


@pytest.mark.measures
@no_ctrl_c
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("n", "units", "wrt"),
    [
        (2000, (300, 300), None),
        (60_000, (1000, 1000), "b3"),  # the first forward pass alone takes seconds
        (2000, (300, 300), "x"),
    ],
    ids=["many pieces", "first pass", "input"],
)
def test_ctrl_c_is_obeyed(n, units, wrt, threads):
    net = make_net(*units, 4, features=100, dtype="float64")
    x, y = make_data(n, 100)
    with unchanged(net), nf.num_threads(threads):
        for _ in range(TRIES):
            delay = interrupted(lambda: net.numerical_gradient(x, y, wrt=wrt, verbose=0))
            if delay <= PROMISE:
                break
    assert delay <= PROMISE
    assert np.isfinite(net.train_step(x[:4], y[:4]))


@pytest.mark.measures
@no_ctrl_c
@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_obeyed_within_a_long_piece_of_work():
    """Also by a thread that only waits for another."""
    net = make_net(1, 1000, 1000, 4, features=1)
    x, y = make_data(8000, 1)
    for _ in range(TRIES):
        differences = Differences(
            net._network.built, x, y, None, [7, 1], H, 2
        )  # short pieces, then a long one: b4 and b1
        delay = interrupted(differences.run)
        if delay <= PROMISE:
            break
    assert delay <= PROMISE


@pytest.mark.measures
@no_ctrl_c
@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_not_forgotten_while_another_thread_finishes_its_piece():
    """A piece of the whole batch takes longer than the time between two looks for signals."""
    layers = [nf.Dense(1500), nf.BatchNorm(), nf.Dense(1500, "tanh"), nf.Dense(1)]
    net = nf.Sequential(layers, input_shape=3, dtype="float64", seed=0)
    x, y = np.random.default_rng(0).normal(size=(6000, 3)), np.zeros(6000)
    with nf.num_threads(2):
        for _ in range(2):
            interrupted(lambda: net.numerical_gradient(x, y, wrt="W1", training=True, verbose=0), wait=1.5)


@pytest.mark.measures
@no_ctrl_c
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ctrl_c_leaves_whole_steps(dtype):
    x, y = make_data(40, 30)
    for _ in range(TRIES):
        net = make_net(40, 4, features=30, dtype=dtype)
        arguments = {"batch_size": 7, "optimizer": "adam", "gradient": "numerical", "verbose": 0}
        delay = interrupted(lambda: net.fit(x, y, epochs=10**6, **arguments))  # noqa: B023
        steps = len(net.history.step_loss)
        assert steps > 0
        assert len(net.history["loss"]) == steps // 6
        assert net._network.built.slot.steps == steps
        twin = make_net(40, 4, features=30, dtype=dtype)
        history = twin.fit(x, y, steps=steps, **arguments)
        assert net.flat_params.tobytes() == twin.flat_params.tobytes()
        assert net.history.step_loss.tolist() == history.step_loss.tolist()
        if delay <= PROMISE:
            break
    assert delay <= PROMISE
    assert np.isfinite(net.fit(x, y, gradient="numerical", verbose=0)["loss"]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", ["slopes", "take"])
def test_ctrl_c_between_two_lines_of_a_step(name, place, dtype, monkeypatch):
    """A step is recorded if and only if it was taken."""
    where = numerical if name == "slopes" else numerical.NumericalTraining
    own, calls = getattr(where, name), []

    def run(*arguments, **options):
        calls.append(1)
        if place == "before" and len(calls) == 3:
            raise KeyboardInterrupt
        result = own(*arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return result

    net, twin, (x, y) = make_net(6, 4, dtype=dtype), make_net(6, 4, dtype=dtype), make_data(23)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, name, run)
        net.fit(x, y, epochs=2, batch_size=5, gradient="numerical", verbose=0)
    steps = 3 if (name, place) == ("take", "after") else 2
    twin.fit(x, y, steps=steps, batch_size=5, gradient="numerical", verbose=0)
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()
    assert net.history.step_loss.tolist() == twin.history.step_loss.tolist()
    assert net._network.built.slot.steps == steps


# ---- memory


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_memory_a_network_is_not_built(dtype, monkeypatch):
    net = nf.Sequential([nf.Dense(6, "tanh"), nf.Dense(4, "softmax")], dtype=dtype, seed=SEED)
    x, y = make_data(6)

    def no_memory(*arguments, **options):
        raise MemoryError

    with unchanged(net), monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(numerical, "Differences", no_memory)
        net.fit(x, y, gradient="numerical", verbose=0)
    assert net.input_shape is None
    net.fit(x, y, gradient="numerical", verbose=0)
    twin = make_net(6, 4, dtype=dtype)
    twin.fit(x, y, gradient="numerical", verbose=0)
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()


# ---- progress


class Sliced(Differences):
    """Use slices of a hundredth of the usual time, so that little work counts as long."""

    def run(self):
        Sliced.count += 1
        return super().run(0.001)


@pytest.fixture
def long_work(capsys, monkeypatch):
    """A call that takes many slices of time, and that reports its progress from the first one."""
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(numerical, "Differences", Sliced)
    net = make_net(30, 30, 4, features=30)
    x, y = make_data(100, 30)

    def run(verbose=1):
        Sliced.count = 0
        with nf.num_threads(1):
            net.numerical_gradient(x, y, verbose=verbose)
        assert Sliced.count > 3

    return run


def test_a_terminal_shows_a_bar(long_work, capsys, monkeypatch):
    terminal = in_terminal(monkeypatch)
    long_work()
    shown = terminal.getvalue()
    assert "\rnumerical gradient" in shown
    assert "%|" in shown
    assert shown.split("\r")[-1].strip() == "", "it is wiped away at the end"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("watched", [True, False], ids=["without tqdm", "in a file"])
def test_elsewhere_there_are_lines(watched, long_work, capsys, monkeypatch):
    clock = itertools.count(step=3.0)
    monkeypatch.setattr(_progress, "monotonic", lambda: next(clock))
    terminal = Terminal()
    if watched:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    long_work()
    lines = terminal.getvalue().splitlines() if watched else capsys.readouterr().err.splitlines()
    assert lines
    shares = [int(line.removeprefix("numerical gradient: ").removesuffix("%")) for line in lines]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 100
    assert shares[-1] > 0


def test_lines_come_at_most_once_in_five_seconds(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(_progress, "monotonic", lambda: now)
    with _progress.share_of_work("work", 1) as show:
        for i in range(121):
            now = i / 10
            show(i / 120)
    assert capsys.readouterr().err.splitlines() == ["work: 9%", "work: 52%", "work: 94%"]


@pytest.mark.parametrize("watched", [True, False])
def test_short_work_shows_nothing(watched, capsys, monkeypatch):
    terminal = in_terminal(monkeypatch) if watched else None
    net, (x, y) = make_net(5, 4), make_data(6)
    net.numerical_gradient(x, y)
    assert net.check_gradient(x, y)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert terminal is None or terminal.getvalue() == ""


def test_nothing_is_shown_when_asked_for(long_work, capsys, monkeypatch):
    terminal = in_terminal(monkeypatch)
    long_work(verbose=0)
    assert terminal.getvalue() == capsys.readouterr().out == ""


@pytest.mark.parametrize("closed", [False, True])
def test_progress_without_a_place_to_show_it(closed, long_work, monkeypatch):
    nowhere = Terminal()
    nowhere.close()
    monkeypatch.setattr(sys, "stderr", nowhere if closed else None)
    long_work()


def test_training_shows_one_bar(long_work, monkeypatch):
    """There is no additional bar for each gradient."""
    terminal = in_terminal(monkeypatch)
    net, (x, y) = make_net(5, 4), make_data(6)
    net.fit(x, y, epochs=3, gradient="numerical", verbose=1)
    assert "epoch 3/3" in terminal.getvalue()
    assert "numerical gradient" not in terminal.getvalue()


# ---- the generic path


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_generic_path_gives_what_the_structured_one_gives(layer, training):
    """A stage without a structured path is run again for each number of its parameters: so can any other be."""
    case = LayerCase(layer, "in the middle", training=training, weighted=True)
    net = case.network()
    x, y = case.data()
    rows, targets = net._network.data(x, y)
    arrays = list(range(len(net.params)))
    both = [
        Differences(net._network.built, rows, targets, case.weights(), arrays, 1e-4, 2, training, structured)
        for structured in (True, False)
    ]
    for differences in both:
        while not differences.run():
            pass
    structured, generic = (differences.slopes for differences in both)
    assert np.abs(structured).max() > 0
    np.testing.assert_allclose(generic, structured, rtol=0, atol=1e-9)
