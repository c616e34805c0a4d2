"""`with_last`: the first layers of a trained network, with new last layers."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from numpy_network import state, unchanged

import nnfast as nf
from nnfast.layers import walk

DTYPES = ("float32", "float64")
FEATURES = 5
X = default_rng(7).normal(size=(90, FEATURES))
CLASSES = (X @ default_rng(8).normal(size=(FEATURES, 3))).argmax(axis=1)
BASE = [
    nf.Dense(8, "tanh"),
    nf.BatchNorm(),
    nf.Dropout(0.2),
    nf.Residual([nf.LayerNorm(), nf.Dense(8, "silu", trainable=False), nf.BatchNorm()]),
]


def trained(dtype: str = "float32") -> nf.Sequential:
    net = nf.Sequential([*BASE, nf.Dense(3, "softmax")], input_shape=FEATURES, dtype=dtype, seed=0)
    net.fit(X, CLASSES, epochs=2, batch_size=20, verbose=0)
    return net


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("drop", range(5))
def test_the_first_layers_are_those_of_the_trained_network(drop: int, dtype: str, freeze: bool) -> None:
    net = trained(dtype)
    kept = len(net.layers) - drop
    with unchanged(net):
        new = net.with_last([nf.Dense(4, "relu"), nf.Dense(2)], drop=drop, freeze=freeze, seed=3)
    assert new.dtype == dtype
    assert new.output_shape == (2,)
    assert [type(layer) for layer in new.layers] == [type(layer) for layer in net.layers[:kept]] + [nf.Dense] * 2
    assert new.activations(X, kept - 1).tobytes() == net.activations(X, kept - 1).tobytes()
    for views, old in ((new.params, net.params), (new.statistics, net.statistics)):
        for path in old.paths:
            if int(path.split(".")[0]) < kept:
                assert views[path].tobytes() == old[path].tobytes()
                assert not np.shares_memory(views[path], old[path])
    frozen = {path for path, layer in walk(new.layers) if not layer.trainable}
    all_kept = {"0", "1", "3.0", "3.1", "3.2", "4"} if freeze else {"3.1"}
    assert frozen == {path for path in all_kept if int(path.split(".")[0]) < kept}


def test_the_last_layers_have_the_initial_values_of_their_seed() -> None:
    net, last = trained(), [nf.Dense(4), nf.BatchNorm(), nf.Dense(2)]
    first, again, other = (net.with_last(last, seed=seed) for seed in (1, 1, 2))
    assert state(first)[:2] == state(again)[:2]
    for path in ("4.W", "6.W"):
        assert (first.params[path] != other.params[path]).all()
        assert first.params[path].std() > 0
    assert not first.params["4.b"].any()
    assert (first.statistics["5.variance"] == 1).all()
    given = net.with_last([nf.Dense(2, initializer=np.ones((8, 2)), bias_initializer=3.0)])
    assert (given.params["4.W"] == 1).all()
    assert (given.params["4.b"] == 3).all()


def test_fresh_entropy_and_generators() -> None:
    net, last = trained(), [nf.Dense(2)]
    assert (net.with_last(last).params["4.W"] != net.with_last(last).params["4.W"]).all()
    drawn = [net.with_last(last, seed=default_rng(5)).params["4.W"].tobytes() for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_the_optimizer_begins_anew_and_training_works() -> None:
    net = trained()
    new = net.with_last([nf.Dense(2, "softmax")], freeze=True, seed=0)
    assert new.history is None
    assert new._network.built.slot.kind is None
    before = {path: new.params[path].copy() for path in new.params.paths}
    new.fit(X, X[:, 0] > 0, epochs=30, optimizer=nf.Adam(0.05), verbose=0)
    for path, array in before.items():
        assert (new.params[path] == array).all() == (path[0] != "4"), path
    assert new.accuracy(X, X[:, 0] > 0) > 0.7
    new.unfreeze()
    new.fit(X, X[:, 0] > 0, verbose=0)
    assert (new.params["0.W"] != before["0.W"]).any()


def squares(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    return float(((outputs - targets) ** 2).sum()), 2 * (outputs - targets)


def test_the_loss_is_that_of_the_new_last_layer_or_the_one_given() -> None:
    net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(3, "softmax")], input_shape=2, seed=0)
    assert net.with_last([nf.Dense(2)]).loss_name == "mean_squared_error"
    assert net.with_last([nf.Dense(2, "sigmoid")]).loss_name == "binary_cross_entropy"
    assert net.with_last([nf.Dense(2)], loss=nf.losses.Huber(0.5)).loss_function == nf.losses.Huber(0.5)
    assert net.with_last([nf.Dense(2)], loss=squares).loss_function == nf.losses.Custom(squares)
    with pytest.raises(ValueError, match="cross_entropy"):
        net.with_last([nf.Dense(2)], loss="cross_entropy")


def test_other_shapes_and_a_network_from_a_file(tmp_path: Path) -> None:
    layers = [nf.Reshape((4,)), nf.Dense(6, initializer=np.full((4, 6), 0.5)), nf.Reshape((2, 3)), nf.Dense(2)]
    net = nf.Sequential(layers, input_shape=(2, 2), seed=0)
    net.params["W1"] = default_rng(0).normal(size=(4, 6))
    net.save(tmp_path / "net.npz")
    x = default_rng(1).normal(size=(3, 2, 2))
    for base in (net, nf.load(tmp_path / "net.npz")):
        new = base.with_last([nf.Flatten()], drop=1)
        assert new.output_shape == (6,)
        np.testing.assert_array_equal(new.predict(x), net.activations(x, 1))
        only = base.with_last([nf.Dense(5)], drop=3, freeze=True, seed=0)
        assert only.n_parameters == 4 * 5 + 5
        only.freeze()


def test_a_subclass_stays_what_it_is() -> None:
    class Named(nf.Sequential):
        names: list[str]

    net = Named([nf.Dense(2), nf.Dense(2)], input_shape=2)
    net.names = ["a", "b"]
    new = net.with_last([nf.Dense(3)])
    assert type(new) is Named
    assert new.names == ["a", "b"]
    assert new.names is not net.names


def test_it_waits_for_the_step_that_is_running() -> None:
    """All parameters are of one step: a step adds the same to each."""
    net = nf.Sequential([nf.Scale(gamma_initializer=0.0)] * 40 + [nf.Dense(1)], input_shape=400, seed=0)
    x = np.zeros((2, 400), np.float32)
    net.flat_params[:] = 0.0
    done = threading.Event()

    def train() -> None:
        net.forward(x, training=True)
        while not done.is_set():
            net.backward(np.zeros((2, 1), np.float32))
            net.flat_grads[:] = -1.0
            net.update(nf.SGD(learning_rate=1.0))
            net.forward(x, training=True)

    thread = threading.Thread(target=train)
    thread.start()
    torn = 0
    for _ in range(100):
        new = net.with_last([nf.Dense(1)], seed=0)
        torn += len(np.unique(new.flat_params[: 40 * 800])) > 1
    done.set()
    thread.join()
    assert torn == 0


ERRORS: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "no layers": ({"layers": []}, ValueError, "layers must have at least one layer, got none"),
    "a layer": ({"layers": nf.Dense(2)}, TypeError, "layers must be a sequence of layers, got Dense(2)"),
    "a number": ({"layers": [3]}, TypeError, "layers[0] must be a layer such as Dense, got 3 (int)"),
    "all dropped": ({"drop": 5}, ValueError, "drop must be at most 4, got 5"),
    "a negative drop": ({"drop": -1}, ValueError, "drop must be at least 0, got -1"),
    "a drop of another type": ({"drop": 1.0}, TypeError, "drop must be an integer, got 1.0 (float)"),
    "freeze as a number": ({"freeze": 1}, TypeError, "freeze must be True or False, got 1"),
    "an unknown loss": ({"loss": "mse"}, ValueError, "loss must be one of"),
    "a bad seed": ({"seed": -1}, ValueError, "seed must be a non-negative int"),
    "a shape": ({"layers": [nf.Reshape((3, 3))]}, ValueError, "Reshape to (3, 3) does not fit samples of shape (8,)"),
    "initial values": ({"layers": [nf.Dense(2, initializer=np.ones((3, 2)))]}, ValueError, "must have shape (8, 2)"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    net = trained()
    with unchanged(net), pytest.raises(error, match=re.escape(message)):
        net.with_last(**({"layers": [nf.Dense(2)]} | arguments))


def test_a_network_that_is_not_built() -> None:
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(2), nf.Dense(2)]).with_last([nf.Dense(2)])
