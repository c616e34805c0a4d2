"""Narrow networks in batches, which go through the layers stored by columns: the bits are those of a row alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnfast as nf
from nnfast.kernels import dispatch

RUNNABLE = [level for level in dispatch.supported_levels() if level in dispatch.built_levels()]
DTYPES = ("float32", "float64")
WIDEST = 64  # of a network that is computed by columns
HIDDEN = ("identity", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "softplus")
BATCHES = (2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 130, 255, 256, 257, 520)


def random_net(rng, dtype, n_in, units, activation=None, hidden=None):
    """Return a network with weights and biases of all signs, and zeros of both signs among them."""
    layers = [nf.Dense(n, hidden or HIDDEN[rng.integers(len(HIDDEN))]) for n in units[:-1]]
    last = activation or ("sigmoid", "identity", "softmax", "log_softmax")[rng.integers(2 if units[-1] == 1 else 4)]
    layers.append(nf.Dense(units[-1], last, use_bias=bool(rng.integers(2))))
    net = nf.Sequential(layers, input_shape=n_in, dtype=dtype, loss="mean_squared_error", seed=0)
    for name in net.params:
        values = rng.standard_normal(net.params[name].shape)
        net.params[name] = np.where(rng.uniform(size=values.shape) < 0.05, -0.0, values)
    return net


def random_rows(rng, net, m):
    x = rng.standard_normal((m, *net.input_shape))
    return np.where(rng.uniform(size=x.shape) < 0.05, -0.0, x).astype(net.dtype)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def wrong_batches(net, x, batches=BATCHES):
    """The sizes of batches in which a row has other bits than alone, whatever stands before and behind it."""
    alone = np.stack([net.predict_one(row) for row in x])
    return [
        m for m in batches
        if not (same_bits(net.predict(x[:m]), alone[:m]) and same_bits(net.predict(x[-m:]), alone[-m:]))
    ]  # fmt: skip


def wrong_training(net, x, batches):
    """The sizes of batches in which training, which stores rows by rows, computes other outputs than `predict`."""
    return [m for m in batches if not same_bits(net.forward(x[:m]), net.predict(x[:m]))]


def failures():
    """Single layers of up to 20 outputs, and networks of several layers: those with wrong bits."""
    rng = np.random.default_rng(12)
    found = []
    for dtype in DTYPES:
        shapes = [(n_in, [n_out]) for n_out in range(1, 21) for n_in in (1, 2, 3, 7, 15, 16, 17, 33, 40)]
        shapes += [(64, [n_out]) for n_out in (1, 2, 3, 4, 5, 6, 8, 17, 22, 64)]  # some columns are dot products
        shapes += [(int(rng.integers(1, WIDEST + 1)), rng.integers(1, WIDEST + 1, 3).tolist()) for _ in range(30)]
        shapes += [(3, [8, 2]), (13, [37, 29, 3]), (4, [64, 64, 2]), (WIDEST, [WIDEST, 33])]
        for n_in, units in shapes:
            net = random_net(rng, dtype, n_in, units)
            batches = rng.choice(BATCHES, 4)
            x = random_rows(rng, net, int(batches.max()))
            if wrong := wrong_batches(net, x, batches) + wrong_training(net, x, batches):
                found.append((dtype, n_in, units, [layer.activation for layer in net.layers], wrong))
    return found


@pytest.mark.once
@pytest.mark.parametrize("level", RUNNABLE)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(level):
    script = "import test_narrow; assert not (found := test_narrow.failures()), found"
    environment = os.environ | {"NNFAST_SIMD": level}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", sorted(nf.activations.NAMES))
def test_every_activation(activation, dtype):
    rng = np.random.default_rng(3)
    for units in ([5], [20, 30]):
        net = random_net(rng, dtype, 6, units, activation, None if activation.endswith("softmax") else activation)
        assert not wrong_batches(net, random_rows(rng, net, 300), (5, 70, 300))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_that_do_nothing_or_have_no_weights(dtype):
    layers = [
        nf.Dropout(0.5), nf.Dense(7), nf.Activation("tanh"), nf.GaussianNoise(1.0), nf.Dense(3),
        nf.Activation("softmax"), nf.Dropout(0.5),
    ]  # fmt: skip
    net = nf.Sequential(layers, input_shape=5, dtype=dtype, loss="mean_squared_error", seed=1)
    assert not wrong_batches(net, random_rows(np.random.default_rng(0), net, 300))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [[8, 33], [65, 2], [WIDEST, WIDEST]], ids=str)
def test_around_the_limits(units, dtype):
    """More classes or wider layers than go by columns."""
    rng = np.random.default_rng(4)
    for n_in in (1, WIDEST, WIDEST + 1):
        net = random_net(rng, dtype, n_in, units, "softmax" if units[-1] < WIDEST else "tanh")
        assert not wrong_batches(net, random_rows(rng, net, 300), (5, 70, 300))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [[2], [8, 2], [37, 29, 3]], ids=str)
def test_evaluate_and_training_compute_what_predict_computes(units, dtype):
    rng = np.random.default_rng(5)
    net = random_net(rng, dtype, 4, units, "softmax")
    net = nf.Sequential(net.layers, input_shape=4, dtype=dtype, loss="cross_entropy", seed=2)
    x, y = random_rows(rng, net, 300), rng.integers(0, units[-1], 300)
    p = net.predict(x)
    assert not wrong_training(net, x, BATCHES)
    assert net.evaluate(x, y)["accuracy"] == np.mean(p.argmax(axis=1) == y)
    np.testing.assert_allclose(net.loss(x, y), -np.log(p[np.arange(300), y].astype(np.float64)).mean(), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_row_of_nan_or_infinity_stays_in_its_row(value, dtype):
    rng = np.random.default_rng(6)
    net = random_net(rng, dtype, 5, [9, 3], "softmax", "relu")
    x = random_rows(rng, net, 70)
    expected = net.predict(x)
    x[33, 2] = value
    y = net.predict(x)
    np.testing.assert_array_equal(np.delete(y, 33, axis=0), np.delete(expected, 33, axis=0))
    np.testing.assert_array_equal(y[33], net.predict_one(x[33]))
    if not np.isfinite(value):
        assert np.isnan(y[33]).all()
