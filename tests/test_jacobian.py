"""`net.jacobian`: the derivatives of the outputs with respect to the input."""

from __future__ import annotations

import os
import re
import signal
import threading
from time import perf_counter

import numpy as np
import pytest
from gradient_cases import ACTIVATIONS, LAYER_CASES, PLACES, LayerCase, inputs
from numpy.random import default_rng
from numpy_network import NumpyNetwork, away_from_kinks, unchanged
from tolerances import assert_close

import nnfast as nf

DTYPES = ("float32", "float64")
CASES = [case for case in LAYER_CASES if not case.training]
CASES += [LayerCase(name, place, training=False, weighted=False) for name in ACTIVATIONS for place in PLACES]


def numpy_jacobian(net: nf.Sequential, x: np.ndarray) -> np.ndarray:
    """The same in NumPy, with the activations as they are."""
    twin = NumpyNetwork(net)
    twin.activations = [stage.layer.activation for stage in twin.stages]
    chain = twin.forward(x)
    ones = np.eye(chain[-1].shape[1])
    return np.stack([twin.backward(chain, np.tile(one, (len(x), 1)))[1] for one in ones], axis=1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer(case: LayerCase) -> None:
    """Against NumPy, and against differences of `predict`."""
    net = case.network()
    x = inputs(11, default_rng(2)) + 0.01
    x = x[away_from_kinks(net, x, 1e-3)]
    assert len(x) > 1
    with unchanged(net):
        found = net.jacobian(x)
    scale = max(1.0, float(np.abs(found).max()))
    assert found.shape == (len(x), *net.output_shape, *net.input_shape)
    assert_close(found, numpy_jacobian(net, x), scale=50 * scale)
    for row, derivatives in zip(x, found, strict=True):
        numerical = nf.numerical_jacobian(net.predict, np.tile(row, (1, 1)), 1e-5)[0, :, 0]
        assert_close(derivatives, numerical, scale=scale, kind="rough difference")


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_by_hand(dtype: str) -> None:
    layers = [
        nf.Dense(2, "relu", initializer=[[1, -1], [2, 1]], bias_initializer=[0, 1]),
        nf.Residual([nf.Dense(2, initializer=[[1, 2], [3, 4]])]),
    ]
    net = nf.Sequential(layers, input_shape=2, dtype=dtype)
    # W (I + V), where relu lets it pass: the first unit at the first row, both at the second, none at the third
    expected = [[[2, 4], [2, 4]], [[2 - 3, 4 + 3], [2 - 5, 4 + 5]], [[0, 0], [0, 0]]]
    found = net.jacobian(np.array([[2, 0], [0, 1], [-1, -3]], dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_of_probabilities_not_of_what_the_loss_is_computed_from() -> None:
    net = nf.Sequential([nf.Dense(2, "softmax", initializer=[[1.0, 3.0]])], input_shape=1, dtype="float64")
    p = net.predict([[0.5]])[0]
    assert_close(net.jacobian([[0.5]])[0, :, 0], [-2 * p[0] * p[1], 2 * p[0] * p[1]], scale=1.0)
    net = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[2.0]])], input_shape=1, dtype="float64")
    assert_close(net.jacobian([[0.0]]), [[[0.5]]], scale=1.0)


def networks(dtype: str) -> list[nf.Sequential]:
    narrow = [nf.Dense(64, "relu"), nf.Dense(64, "tanh"), nf.Dense(2)]
    block = nf.Residual([nf.LayerNorm(), nf.Dense(30, "silu")])
    deep = [nf.Dense(30, "gelu"), block, nf.BatchNorm(), nf.Dense(7, "softmax")]
    wide = [nf.Dense(150, "mish"), nf.Dense(100, "log_softmax")]
    return [nf.Sequential(layers, input_shape=5, dtype=dtype, seed=1) for layers in (narrow, deep, wide)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_alone_in_any_batch_and_on_any_number_of_threads(dtype: str) -> None:
    x = default_rng(4).normal(size=(333, 5)).astype(dtype)
    for net in networks(dtype):
        alone = np.concatenate([net.jacobian(row[None]) for row in x])
        for rows in (slice(0, 2), slice(1, 48), slice(3, 52), slice(0, 97), slice(None)):
            for threads in (1, 2, 3):
                with nf.num_threads(threads, fixed=True):
                    assert net.jacobian(x[rows]).tobytes() == alone[rows].tobytes()


def test_in_float32_as_in_float64() -> None:
    x = default_rng(5).normal(size=(40, 5)).astype(np.float32)
    for single, double in zip(networks("float32"), networks("float64"), strict=True):
        double.flat_params[:] = single.flat_params
        assert_close(single.jacobian(x), double.jacobian(x), scale=50.0)


def test_shapes() -> None:
    net = nf.Sequential([nf.Dense(6, "tanh"), nf.Reshape((3, 2))], input_shape=(2, 2, 1), seed=0)
    x = default_rng(0).normal(size=(4, 2, 2, 1))
    found = net.jacobian(x)
    assert found.shape == (4, 3, 2, 2, 2, 1)
    flat = nf.Sequential([nf.Dense(6, "tanh")], input_shape=4, seed=0)
    np.testing.assert_array_equal(found.reshape(4, 6, 4), flat.jacobian(x.reshape(4, 4)))
    assert net.jacobian(x[:0]).shape == (0, 3, 2, 2, 2, 1)
    only = nf.Sequential([nf.Reshape((2, 2))], input_shape=4)
    np.testing.assert_array_equal(only.jacobian(np.ones((3, 4))).reshape(3, 4, 4), [np.eye(4)] * 3)


def test_a_forward_pass_still_awaits_its_backward_pass() -> None:
    x = default_rng(0).normal(size=(8, 5)).astype(np.float32)
    gradients = []
    for between in (False, True):
        net = networks("float32")[1]
        out = net.forward(x, training=True)
        if between:
            net.jacobian(x + 1)
            net.activations(x + 1, 0)
        net.backward(np.ones_like(out))
        gradients.append(net.flat_grads.tobytes())
    assert gradients[0] == gradients[1]


def test_the_gradient_of_a_loss_that_contains_the_derivative() -> None:
    """As in examples/derivative_loss.py: `forward` and `backward` at two points close to each other."""
    layers = [nf.Dense(7, "tanh"), nf.Dense(5, "gelu"), nf.Dense(1)]
    net = nf.Sequential(layers, input_shape=1, dtype="float64", seed=0)
    x, h = np.linspace(-1, 1, 9)[:, None], 1e-5

    def loss(parameters: np.ndarray) -> float:
        net.flat_params[:] = parameters
        return float(np.mean((net.jacobian(x)[:, :, 0] + 2 * x * net.predict(x)) ** 2))

    left, right, u = np.split(net.forward(np.concatenate([x - h, x + h, x]), training=True), 3)
    slope = 2 * ((right - left) / (2 * h) + 2 * x * u) / len(x)
    net.backward(np.concatenate([-slope / (2 * h), slope / (2 * h), 2 * x * slope]))
    found = net.flat_grads.copy()
    expected = nf.numerical_gradient(loss, net.flat_params.copy(), 1e-5)
    assert np.abs(expected).max() > 0.1
    assert_close(found, expected, scale=np.abs(expected).max(), kind="rough difference")


def test_ctrl_c(listening: None) -> None:
    net = nf.Sequential([nf.Dense(512, "tanh"), nf.Dense(512, "tanh"), nf.Dense(500)], input_shape=2, seed=0)
    x = np.zeros((10_000, 2), np.float32)  # half a minute
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = perf_counter()
    with pytest.raises(KeyboardInterrupt):
        net.jacobian(x)
    timer.join()
    assert perf_counter() - start < 10
    assert net.jacobian(x[:2]).shape == (2, 500, 2)


def test_errors() -> None:
    net = nf.Sequential([nf.Dense(2)], input_shape=3)
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(2)]).jacobian(np.ones((2, 3)))
    with pytest.raises(ValueError, match=re.escape("x must have shape (n, 3), got (2, 4)")):
        net.jacobian(np.ones((2, 4)))
    with pytest.raises(TypeError, match="x must "):
        net.jacobian([["a", "b", "c"]])
    large = nf.Sequential([nf.Rescaling(1.0)], input_shape=2**20)
    with pytest.raises(MemoryError):  # 256 TB of derivatives
        large.jacobian(np.zeros((64, 2**20), np.float32))
