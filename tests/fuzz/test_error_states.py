"""NumPy's error state, as `np.seterr` sets it, and warnings as errors: nothing depends on them or changes them."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import warnings
from copy import deepcopy

import numpy as np
import pytest
from calls import CALLS, LABELS, X, network
from rounds import seeds

import nnfast as nf

# Numbers at which float32 or float64 overflow, underflow, or lose all digits.
EDGES = np.array([1e-50, 1e-39, 1e-300, 5e-324, -1e-45, 0.0, 1.0, -1.0, 1e30, -3e38, 1e150, 1e300, -1.7e308])


def bits(value):
    """The result of a call, for comparison to the bit."""
    if isinstance(value, (np.ndarray, np.generic, float)):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes() if array.dtype.kind in "fiub" else None
    if isinstance(value, nf.Sequential):
        return bits(value.flat_params) if value._network.program else None
    if isinstance(value, nf.History):
        return bits(value.step_loss), {name: bits(np.array(values)) for name, values in value.items()}
    if hasattr(value, "items"):
        return {name: bits(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [bits(part) for part in value]
    if isinstance(value, nf.Perceptron):
        return bits(value.weights), value.bias
    return str(value)


def outcome(call, values):
    """The outcome of a call: its result or its error, and the object it belongs to afterwards."""
    function, owner = call.make()
    state = np.geterr()
    try:
        result = bits(call.run(function, values))
    except (TypeError, ValueError, RuntimeError, OverflowError, AssertionError) as error:
        assert not isinstance(error, RuntimeWarning)
        result = type(error), str(error)
    assert np.geterr() == state
    return result, bits(owner)


def edged(value, rng):
    """The value, with some numbers replaced by extreme ones."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
        return value
    array = value.astype(np.float64)
    chosen = rng.random(array.shape) < rng.choice([0.05, 0.5])
    array[chosen] = rng.choice(EDGES[: rng.integers(1, len(EDGES) + 1)], chosen.sum())
    return array


@pytest.mark.filterwarnings("ignore::UserWarning")  # about diverging training and others
@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_the_same_bits_whatever_the_state(call):
    for seed in seeds(4):
        values = {}
        for name, good in call.arguments.items():
            rng = np.random.default_rng([seed, *name.encode()])
            value = good[rng.integers(len(good))]
            values[name] = value if call.calls_the_user else edged(value, rng)  # the user's own arithmetic may raise
        outcomes = []
        for state in ("ignore", "warn", "raise"):
            with np.errstate(all=state), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                outcomes.append(outcome(call, deepcopy(values)))
        assert outcomes[0] == outcomes[1] == outcomes[2]


STATE = {"divide": "raise", "over": "print", "under": "raise", "invalid": "log"}


@pytest.fixture
def states():
    """The error states that user functions have seen."""
    seen = []
    with np.errstate(**STATE):
        yield seen
        assert seen
        assert all(state == STATE for state in seen)
        assert np.geterr() == STATE


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", nf.SGD(nf.schedules.ReduceOnPlateau(0.1, monitor="loss"))])
@pytest.mark.filterwarnings("ignore:L-BFGS did not converge:RuntimeWarning")
def test_callbacks_see_the_state_of_the_user(states, optimizer):
    net = network()
    data = (X, LABELS)
    net.fit(X, LABELS, epochs=2, optimizer=optimizer, validation_data=data, verbose=0,
            callbacks=[lambda net, history: states.append(np.geterr())])  # fmt: skip


def test_functions_that_are_drawn_see_the_state_of_the_user(states):
    figure = pytest.importorskip("matplotlib.figure").Figure
    from nnfast import plotting

    def f(x):
        states.append(np.geterr())
        return float(x[0] ** 2 + x[1] ** 2)

    def classes(points):
        states.append(np.geterr())
        return np.zeros(len(points))

    descent = nf.gradient_descent(lambda x: float(x[0] ** 2 + x[1] ** 2), [1.0, 2.0], steps=3)
    plotting.plot_descent(f, descent, resolution=5, ax=figure().subplots())
    plotting.plot_decision_boundary(classes, [[0, 1e-320], [1, 2]], [0, 1], resolution=5, ax=figure().subplots())


def test_pictures_under_any_state():
    figure = pytest.importorskip("matplotlib.figure").Figure
    from nnfast import plotting

    net = network()
    report = net.check_gradient(X, LABELS, verbose=0)
    with np.errstate(all="raise"):
        plotting.plot_activations(axes=figure().subplots(1, 4))
        plotting.plot_history(net.history, axes=figure().subplots(1, 3))
        plotting.plot_gradient_report(report, axes=figure().subplots(1, len(report)))
        plotting.plot_schedule(nf.schedules.Exponential(1e-3, gamma=1e-3), 300, axes=[figure().subplots()])
        neuron = nf.Perceptron([1e-300, 1e-10])
        points = [[1e-100, 2.0], [1.0, -2.0]]
        plotting.plot_decision_boundary(neuron, points, [0, 1], resolution=5, ax=figure().subplots())


def test_flags_that_kernels_leave_are_not_seen_by_numpy():
    """The processor records overflow and the like: NumPy must not attribute it to its next computation."""
    net = network(dtype="float64")
    extreme = np.array([[1e308, -1e308, 1e-320]])
    net.params["W1"] = np.full((3, 4), 1e200)
    with np.errstate(all="raise"):
        for compute in (net.predict, net.predict_class, nf.functions.softmax, nf.functions.sigmoid, nf.functions.elu):
            with contextlib.suppress(ValueError):  # some SIMD levels give NaN there, which has no class
                compute(extreme)
            ones = np.ones(8)
            assert (ones + ones).sum() == 16
            assert ones.astype(np.float32)[0] * np.float64(0.5) == 0.5
            assert (ones @ ones, np.sqrt(ones)[0], np.float64(1) / 2, ones.mean()) == (8, 1, 0.5, 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is looked up by its name on Linux")
def test_the_processor_does_not_trap():
    """Nothing unmasks exceptions of the processor, which would end the process at an overflow."""
    before = ctypes.CDLL("libm.so.6").fegetexcept()
    network().fit(X, LABELS, verbose=0)
    assert ctypes.CDLL("libm.so.6").fegetexcept() == before == 0
