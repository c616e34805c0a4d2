"""Flatten and Reshape, and samples of any shape: what goes in, and what comes out, keeps its axes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

import nnfast as nf

IMAGES = default_rng(3).normal(size=(20, 4, 5, 2))


def test_shapes_of_layers():
    assert nf.Flatten().output_shape((4, 5, 2)) == (40,)
    assert nf.Reshape((8, -1)).output_shape((4, 5, 2)) == (8, 5)
    assert nf.Reshape([-1]).output_shape((4, 5, 2)) == (40,)
    assert nf.Reshape(np.array([2, 20])).output_shape((4, 5, 2)) == (2, 20)
    assert nf.Dense(3).output_shape((4, 5, 2)) == (3,)
    assert nf.BatchNorm().output_shape((4, 5, 2)) == (4, 5, 2)
    assert [array.shape for array in nf.Dense(3).arrays((4, 5, 2))] == [(40, 3), (3,)]


def test_a_network_with_flatten_has_the_bits_of_one_without():
    y = np.arange(20) % 3
    with_it, without = (
        nf.Sequential([*first, nf.Dense(7, "tanh"), nf.Dense(3, "softmax")], input_shape=(4, 5, 2), seed=0)
        for first in ([nf.Flatten()], [])
    )
    for net in (with_it, without):
        net.fit(IMAGES, y, epochs=3, verbose=0)
    assert with_it.predict(IMAGES).tobytes() == without.predict(IMAGES).tobytes()
    assert with_it.params["1.W"].shape == (40, 7)


def test_outputs_keep_their_axes():
    """An autoencoder of images, from data to data."""
    net = nf.Sequential(
        [nf.Flatten(), nf.Dense(9, "tanh"), nf.Dense(40), nf.Reshape((4, 5, 2))], input_shape=(4, 5, 2), seed=0
    )
    assert net.output_shape == (4, 5, 2)
    first = net.loss(IMAGES, IMAGES)
    net.fit(IMAGES, IMAGES, epochs=50, validation_data=(IMAGES, IMAGES), verbose=0)
    assert net.loss(IMAGES, IMAGES) < 0.9 * first
    out = net.predict(IMAGES)
    assert out.shape == IMAGES.shape
    np.testing.assert_allclose(net.loss(IMAGES, IMAGES), ((out - IMAGES) ** 2).mean(), rtol=1e-5)
    assert net.predict_one(IMAGES[3]).tobytes() == out[3].tobytes()
    for buffer in (np.empty((4, 5, 2), np.float32), np.empty((20, 4, 5, 2), np.float32)):
        given = net.predict_one(IMAGES[3], out=buffer) if buffer.ndim == 3 else net.predict(IMAGES, out=buffer)
        assert given is buffer
        assert buffer.tobytes() == (out[3] if buffer.ndim == 3 else out).tobytes()
    forward = net.forward(IMAGES, training=True)
    assert forward.tobytes() == out.tobytes() and forward.shape == out.shape
    assert net.backward(np.ones_like(out)).shape == IMAGES.shape
    assert net.check_gradient(IMAGES[:4], IMAGES[:4], wrt=["b2", "x"], verbose=0)


def test_answers_of_outputs_with_several_axes():
    net = nf.Sequential([nf.Dense(6, "sigmoid"), nf.Reshape((2, 3))], input_shape=(4, 5, 2), seed=0)
    y = (default_rng(0).random((20, 2, 3)) > 0.5).astype(float)
    net.fit(IMAGES, y, epochs=2, verbose=0)
    answers = net.predict_class(IMAGES)
    assert answers.shape == y.shape
    assert net.loss_name == "binary_cross_entropy"
    assert net.accuracy(IMAGES, y) == (answers == y).mean()


def test_labels_of_a_softmax_with_several_axes():
    net = nf.Sequential([nf.Dense(6, "softmax"), nf.Reshape((2, 3))], input_shape=(4, 5, 2), seed=0)
    labels = np.arange(20) % 6
    history = net.fit(IMAGES, labels, epochs=2, verbose=0)
    assert len(history["accuracy"]) == 2
    one_hot = np.eye(6)[labels].reshape(20, 2, 3)
    np.testing.assert_allclose(net.loss(IMAGES, labels), net.loss(IMAGES, one_hot), rtol=1e-6)


def test_layers_that_only_reshape():
    net = nf.Sequential([nf.Reshape((5, 8)), nf.Flatten()], input_shape=(4, 5, 2))
    assert net.predict(IMAGES).tobytes() == IMAGES.astype(np.float32).tobytes()
    assert net.n_parameters == 0
    assert net.predict_one(IMAGES[0]).shape == (40,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_and_copies(dtype, tmp_path):
    layers = [nf.Reshape((2, -1)), nf.Flatten(), nf.Dense(6, "relu"), nf.Reshape((3, 2))]
    net = nf.Sequential(layers, input_shape=(4, 5, 2), dtype=dtype, seed=0)
    net.save(tmp_path / "net.npz")
    again = nf.load(tmp_path / "net.npz")
    assert again.layers == net.layers and repr(again.layers) == repr(tuple(layers))
    for other in (again, net.copy()):
        assert other.predict(IMAGES).tobytes() == net.predict(IMAGES).tobytes()


def test_summary(capsys):
    nf.Sequential([nf.Flatten(), nf.Dense(6), nf.Reshape((3, 2))], input_shape=(4, 5, 2)).summary()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[3:]] == ["Flatten()", "Dense(6)", "Reshape((3, 2))"]
    assert "(n, 40)" in lines[3] and "(n, 3, 2)" in lines[5]


def test_a_network_whose_input_comes_with_fit():
    net = nf.Sequential([nf.Flatten(), nf.Dense(6), nf.Reshape((3, 2))], seed=0)
    assert net.output_shape == (3, 2)
    net.fit(IMAGES, np.zeros((20, 3, 2)), verbose=0)
    assert net.predict(IMAGES).shape == (20, 3, 2)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (3, TypeError, "shape must be a sequence of integers, got 3"),
        ((), ValueError, "shape must have from 1 to 64 axes, got 0"),
        ((2, 0), ValueError, r"shape must hold positive integers, or -1 once for the size that is left, got \(2, 0\)"),
        ((-1, -1), ValueError, "or -1 once"),
        ((2.5,), TypeError, "shape must be an integer"),
        ((-2,), ValueError, "shape must be at least -1, got -2"),
    ],
)
def test_shapes_that_cannot_be(shape, error, message):
    with pytest.raises(error, match=message):
        nf.Reshape(shape)


@pytest.mark.parametrize("shape", [(3, 13), (41,), (7, -1)])
def test_samples_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"Reshape to .* does not fit samples of shape \(4, 5, 2\), which have 40 num"):
        nf.Sequential([nf.Reshape(shape), nf.Dense(2)], input_shape=(4, 5, 2))


def test_targets_and_gradients_of_another_shape():
    net = nf.Sequential([nf.Dense(6), nf.Reshape((3, 2))], input_shape=(4, 5, 2), seed=0)
    with pytest.raises(ValueError, match=r"y must have shape \(n, 3, 2\), got \(20, 6\)"):
        net.loss(IMAGES, np.zeros((20, 6)))
    net.forward(IMAGES, training=True)
    with pytest.raises(ValueError, match=r"gradient must have shape \(20, 3, 2\), got \(20, 6\)"):
        net.backward(np.zeros((20, 6)))


def test_a_residual_block_keeps_the_shape():
    with pytest.raises(ValueError, match=r"must keep the shape of their input: \(4, 5, 2\) goes in at layer 0, and"):
        nf.Sequential([nf.Residual([nf.Flatten()])], input_shape=(4, 5, 2))


def test_gradients_are_checked_with_several_axes():
    """Entry by entry, as for small networks and for entries that are in doubt."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 8, 8))
    small = nf.Sequential([nf.Flatten(), nf.Dense(2)], input_shape=(2, 3), seed=0)
    assert small.check_gradient(x[:, :2, :3], rng.normal(size=(4, 2)), verbose=0)
    net = nf.Sequential([nf.Flatten(), nf.Dense(50, "tanh"), nf.Dense(3, "softmax")], input_shape=(8, 8), seed=0)
    gradient = dict(net.gradient(x, [0, 1, 2, 0]))
    gradient["W1"][3, 4] += 0.5
    report = net.check_gradient(x, [0, 1, 2, 0], gradient=gradient, verbose=0)
    assert not report
    assert np.argwhere(report["W1"].wrong).tolist() == [[3, 4]]
