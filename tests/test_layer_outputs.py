"""`net.activations`: the outputs of one layer, with the bits that `predict` computes on its way."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gradient_cases import FEATURES, LAYER_CASES, LayerCase, inputs
from numpy.random import default_rng
from numpy_network import NumpyNetwork
from tolerances import assert_close

import nnfast as nf
from nnfast.layers import walk

DTYPES = ("float32", "float64")
CASES = [case for case in LAYER_CASES if not case.training]


def network_up_to(net: nf.Sequential, path: str) -> nf.Sequential | None:
    """A network of its own of the layers up to one, those around it excluded; None if that one is within a layer."""
    if "." in path:
        return None
    short = nf.Sequential(net.layers[: int(path) + 1], input_shape=net.input_shape, dtype=net.dtype, seed=0)
    short.flat_params[:] = net.flat_params[: short.n_parameters]
    for name in short.statistics:
        short.statistics[name] = net.statistics[name]
    return short


def residual_network(dtype: str) -> nf.Sequential:
    inner = nf.Residual([nf.Dropout(0.5), nf.Dense(4, "relu"), nf.LayerNorm()])
    layers = [nf.Dense(4, "tanh"), nf.Residual([nf.Dense(6, "gelu"), nf.Dense(4), inner]), nf.Dense(2)]
    return nf.Sequential(layers, input_shape=3, dtype=dtype, seed=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_has_the_bits_of_a_network_that_ends_there(case: LayerCase, dtype: str) -> None:
    net = case.network(dtype)
    x = inputs(21, default_rng(1))
    for path, _ in walk(net.layers):
        found = net.activations(x, path)
        for rows in (slice(0, 1), slice(3, 6), slice(1, 18)):
            assert net.activations(x[rows], path).tobytes() == found[rows].tobytes()
        short = network_up_to(net, path)
        if short is not None:
            expected = short.predict(x)
            assert found.tobytes() == expected.tobytes()
            assert found.shape == expected.shape
            assert net.activations(x, int(path)).tobytes() == expected.tobytes()
            assert net.activations(x, int(path) - len(net.layers)).tobytes() == expected.tobytes()
    assert net.activations(x, -1).tobytes() == net.predict(x).tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_has_the_values_of_numpy(case: LayerCase) -> None:
    net = case.network()
    x = inputs(7, default_rng(2))
    twin = NumpyNetwork(net)
    twin.activations = [stage.layer.activation for stage in twin.stages]  # the last one is not fused with the loss
    chain = iter(twin.forward(x))
    out = next(chain)
    scale = 10 * max(1.0, *(np.abs(values).max() for values in twin.forward(x)))

    def follow(layers: object, path: str) -> None:
        nonlocal out
        for i, layer in enumerate(layers):
            follow(layer.layers, f"{path}{i}.")
            if not layer.reshapes:
                out = next(chain)
            found = net.activations(x, f"{path}{i}")
            assert_close(found.reshape(out.shape), out, scale=scale)

    follow(net.layers, "")


def test_values_by_hand() -> None:
    layers = [
        nf.Dense(2, "relu", initializer=[[1, -1]], bias_initializer=[0, 1]),
        nf.Residual([nf.Dense(2, initializer=[[1, 2], [3, 4]], bias_initializer=-1.0), nf.Activation("relu")]),
        nf.Dense(1, initializer=[[1], [10]]),
    ]
    net = nf.Sequential(layers, input_shape=1)
    x = [[2.0], [-3.0]]
    expected = {
        "0": [[2, 0], [0, 4]],
        "1.0": [[1, 3], [11, 15]],
        "1.1": [[1, 3], [11, 15]],
        "1": [[3, 3], [11, 19]],
        "2": [[33], [201]],
    }
    for path, values in expected.items():
        np.testing.assert_array_equal(net.activations(x, path), values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_and_threads(threads: int, dtype: str) -> None:
    rng = default_rng(3)
    wide = nf.Sequential([nf.Dense(200, "tanh"), nf.Dense(90, "relu"), nf.Dense(3)], input_shape=5, dtype=dtype, seed=2)
    for net in (wide, residual_network(dtype)):
        x = rng.normal(size=(2000, *net.input_shape)).astype(dtype)
        for path, _ in walk(net.layers):
            one = net.activations(x[1234:1235], path)
            with nf.num_threads(threads, fixed=True):
                many = net.activations(x, path)
            assert many[1234:1235].tobytes() == one.tobytes()
            assert many.dtype == dtype


def test_layers_that_reshape() -> None:
    layers = [nf.Reshape((2, 3)), nf.Flatten(), nf.Dense(6), nf.Reshape((3, 2)), nf.Residual([nf.Reshape((3, 2))])]
    net = nf.Sequential(layers, input_shape=(6,), seed=0)
    x = default_rng(0).normal(size=(4, 6)).astype(np.float32)
    shapes = [(2, 3), (6,), (6,), (3, 2), (3, 2)]
    for i, shape in enumerate(shapes):
        assert net.activations(x, i).shape == (4, *shape)
    np.testing.assert_array_equal(net.activations(x, 0).reshape(4, 6), x)
    np.testing.assert_array_equal(net.activations(x, 3).reshape(4, 6), net.activations(x, 2))
    np.testing.assert_array_equal(net.activations(x, 4), 2 * net.activations(x, 3))
    assert not np.shares_memory(net.activations(x, 0), x)
    only = nf.Sequential([nf.Reshape((3, 2))], input_shape=6)
    np.testing.assert_array_equal(only.activations(x, 0), x.reshape(4, 3, 2))


def test_nothing_changes_and_no_rows_are_no_outputs() -> None:
    net = residual_network("float32")
    x = default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before, state = net.predict(x), net.flat_params.copy()
    kept = net.activations(x, "1.2.1")
    first = kept.copy()
    net.activations(x + 1, "1.2.1")
    np.testing.assert_array_equal(kept, first)
    np.testing.assert_array_equal(net.predict(x), before)
    np.testing.assert_array_equal(net.flat_params, state)
    assert net.activations(np.empty((0, 3)), "1.0").shape == (0, 6)


def test_an_index_may_be_of_numpy() -> None:
    net = residual_network("float32")
    x = np.ones((2, 3))
    np.testing.assert_array_equal(net.activations(x, np.int64(-3)), net.activations(x, "0"))


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (3, ValueError, "layer must be at most 2, got 3"),
        (-4, ValueError, "layer must be at least -3, got -4"),
        ("3", ValueError, "path of a layer, one of 0, 1, 1.0, 1.1, 1.2, 1.2.0, 1.2.1, 1.2.2, 2, got '3'"),
        ("", ValueError, "layer must be the path of a layer, one of 0, 1, 1.0, "),
        ("-1", ValueError, "layer must be the path of a layer, one of 0, 1, 1.0, "),
        (1.0, TypeError, "layer must be an index such as -1, or a path such as '2.0', got 1.0 (float)"),
        (True, TypeError, "layer must be an index such as -1, or a path such as '2.0', got True (bool)"),
        (None, TypeError, "layer must be an index such as -1, or a path such as '2.0', got None (NoneType)"),
    ],
)
def test_layers_that_do_not_exist(layer: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        residual_network("float32").activations(np.ones((2, 3)), layer)


def test_other_errors() -> None:
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(2)]).activations(np.ones((2, 3)), 0)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\), got \(2, 4\)"):
        residual_network("float32").activations(np.ones((2, FEATURES)), 0)
