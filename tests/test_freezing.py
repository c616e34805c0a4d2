"""`freeze` and `unfreeze`: layers of a trained network that training leaves as they are, and may change again."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from numpy_network import state, unchanged

import nnfast as nf
from nnfast.files import state as states
from nnfast.layers import walk, with_trainable

DTYPES = ("float32", "float64")
FEATURES, CLASSES = 5, 3


def make_net(dtype: str = "float32", seed: int = 0) -> nf.Sequential:
    block = nf.Residual([nf.LayerNorm(), nf.Dense(8, "silu"), nf.BatchNorm(), nf.Scale(gamma_initializer=0.5)])
    layers = [nf.Dense(8, "tanh"), nf.BatchNorm(), nf.Dropout(0.2), block, nf.Dense(CLASSES, "softmax")]
    return nf.Sequential(layers, input_shape=FEATURES, dtype=dtype, seed=seed)


def make_data(rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = default_rng(7)
    x = rng.normal(size=(rows, FEATURES))
    return x, (x @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)


def trained(dtype: str = "float32", optimizer: object = "adam") -> nf.Sequential:
    net = make_net(dtype)
    net.fit(*make_data(), epochs=2, batch_size=20, optimizer=optimizer, verbose=0)
    return net


def built_frozen(net: nf.Sequential, paths: set[str], trainable: bool = False) -> nf.Sequential:
    """A network with the state of another one, whose layers were frozen when it was built."""
    layers = with_trainable(net.layers, paths, trainable)
    twin = net.copy()
    twin._network = states.from_state(*states.to_state(net._network), layers)
    return twin


def frozen_paths(net: nf.Sequential) -> set[str]:
    return {path for path, layer in walk(net.layers) if not layer.trainable}


ALL = {"0", "1", "3.0", "3.1", "3.2", "3.3", "4"}
CHOICES = {
    "the first": ((0,), {"0"}),
    "the first three": ((0, 1, "3"), {"0", "1", "3.0", "3.1", "3.2", "3.3"}),
    "within": (("3.1", "3.2"), {"3.1", "3.2"}),
    "the last": ((-1,), {"4"}),
    "batch norms": (("1", "3.2"), {"1", "3.2"}),
    "twice": ((1, "1", -4), {"1"}),
}
by_choice = pytest.mark.parametrize(("chosen", "paths"), CHOICES.values(), ids=CHOICES)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@by_choice
def test_trains_with_the_bits_of_a_network_built_so(
    chosen: tuple[int | str, ...], paths: set[str], dtype: str, threads: int
) -> None:
    optimizer = nf.Adam(0.01, average_decay=0.9)
    net, (x, y) = trained(dtype, optimizer), make_data()
    twin = built_frozen(net, paths)
    before = {path: net.params[path].copy() for path in net.params.paths}
    before |= {path: net.statistics[path].copy() for path in net.statistics.paths}
    net.freeze(*chosen)
    assert frozen_paths(net) == paths
    assert state(net)[:2] == state(twin)[:2]
    with nf.num_threads(threads, fixed=True):
        for one in (net, twin):
            one.fit(x, y, epochs=2, batch_size=20, optimizer=optimizer, verbose=0)
            one.train_step(x, y, optimizer)
            out = one.forward(x, training=True)
            one.backward(out - np.eye(CLASSES)[y])
            one.update(optimizer)
    assert state(net)[:2] == state(twin)[:2]
    after = {path: net.params[path] for path in net.params.paths}
    after |= {path: net.statistics[path] for path in net.statistics.paths}
    for path, array in after.items():
        assert (before[path] == array).all() == (path.rpartition(".")[0] in paths), path


@by_choice
def test_unfrozen_again_it_trains_as_if_never_frozen(chosen: tuple[int | str, ...], paths: set[str]) -> None:
    net, (x, y) = trained(), make_data()
    twin = net.copy()
    with unchanged(net):
        net.freeze(*chosen)
        net.unfreeze(*chosen)
    for one in (net, twin):
        one.fit(x, y, epochs=2, optimizer="adam", verbose=0)
    assert state(net)[:2] == state(twin)[:2]


def test_unfreezing_in_the_course_of_training() -> None:
    """As a network that was built with these layers frozen and is continued without."""
    net, (x, y) = trained(), make_data()
    net.freeze()
    net.unfreeze(-1)
    assert frozen_paths(net) == ALL - {"4"}
    net.fit(x, y, epochs=2, verbose=0)
    twin = built_frozen(net, ALL, trainable=True)
    net.unfreeze()
    assert not frozen_paths(net)
    for one in (net, twin):
        one.fit(x, y, epochs=2, verbose=0)
    assert state(net)[:2] == state(twin)[:2]


@pytest.mark.filterwarnings("ignore:L-BFGS did not converge")
def test_with_lbfgs_and_numerical_gradients() -> None:
    layers = [nf.Dense(4, "tanh"), nf.Dense(CLASSES, "softmax")]
    x, y = make_data(30)
    for arguments in ({"optimizer": "lbfgs", "epochs": 5}, {"gradient": "numerical", "steps": 3}):
        net = nf.Sequential(layers, input_shape=FEATURES, dtype="float64", seed=0)
        W1, W2 = net.params["W1"].copy(), net.params["W2"].copy()
        net.freeze(0)
        net.fit(x, y, verbose=0, **arguments)
        assert (net.params["W1"] == W1).all()
        assert (net.params["W2"] != W2).any()


def test_everything_frozen_leaves_nothing_to_train() -> None:
    net, (x, y) = trained(), make_data()
    net.freeze()
    assert frozen_paths(net) == ALL
    for use in (lambda: net.fit(x, y, verbose=0), lambda: net.train_step(x, y)):
        with unchanged(net), pytest.raises(ValueError, match="^there is nothing to train: no layer has trainable"):
            use()
    net.unfreeze("3.3")
    net.fit(x, y, verbose=0)


def test_a_frozen_batch_norm_uses_its_running_statistics_in_training_too() -> None:
    layers = [nf.Dense(4, "tanh"), nf.BatchNorm(), nf.Dense(2)]
    net = nf.Sequential(layers, input_shape=FEATURES, dtype="float64", seed=0)
    x = make_data()[0]
    assert not np.array_equal(net.forward(x, training=True), net.predict(x))
    net.freeze(1)
    np.testing.assert_array_equal(net.forward(x, training=True), net.predict(x))
    net.forward(x[:1], training=True)  # one row has no variance, and needs none


def test_a_batch_norm_without_parameters_has_statistics_to_freeze() -> None:
    net = nf.Sequential([nf.BatchNorm(affine=False), nf.Dense(2)], input_shape=FEATURES, seed=0)
    net.freeze(0)
    net.forward(make_data()[0], training=True)
    assert not net.statistics["mean1"].any()


def test_views_and_the_optimizer_stay() -> None:
    net, (x, y) = trained(), make_data()
    W, flat, statistics, grads = net.params["W2"], net.flat_params, net.statistics["mean1"], net.flat_grads
    steps = net._network.built.slot.steps
    net.freeze(0)
    for view, now in (
        (W, net.params["W2"]),
        (flat, net.flat_params),
        (statistics, net.statistics["mean1"]),
        (grads, net.flat_grads),
    ):
        assert np.shares_memory(view, now)
    net.train_step(x, y)
    assert net._network.built.slot.steps == steps + 1
    W[:] = 0.0
    flat[-CLASSES:] = [1.0, 2.0, 3.0]
    np.testing.assert_allclose(net.predict_one(x[0]), np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=0.5)
    np.testing.assert_array_equal(net.predict_one(x[0].astype(np.float32)), net.predict(x[:1])[0])


def test_files_copies_and_pickles_keep_it(tmp_path: Path) -> None:
    net, (x, y) = trained(), make_data()
    net.freeze("3.1", 0)
    net.save(tmp_path / "net.npz")
    for twin in (nf.load(tmp_path / "net.npz"), net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert frozen_paths(twin) == {"0", "3.1"}
        again = net.copy()
        for one in (again, twin):
            one.fit(x, y, verbose=0)
        assert state(again)[1] == state(twin)[1]


def test_a_network_that_is_not_built() -> None:
    x, y = make_data()
    layers = [nf.Dense(4, "tanh"), nf.Dense(CLASSES, "softmax")]
    net = nf.Sequential(layers, seed=0)
    net.freeze(0)
    net.fit(x, y, verbose=0)
    twin = nf.Sequential([nf.Dense(4, "tanh", trainable=False), layers[1]], seed=0)
    twin.fit(x, y, verbose=0)
    assert state(net)[:2] == state(twin)[:2]


def test_layers_that_are_one_object_are_frozen_one_by_one() -> None:
    layer = nf.Dense(3, "tanh")
    net = nf.Sequential([layer, layer, nf.Residual([layer])], input_shape=3, seed=0)
    net.freeze(1)
    assert frozen_paths(net) == {"1"}
    assert layer.trainable
    assert net.layers[0] is layer


def test_a_saved_forward_pass_is_discarded() -> None:
    net, (x, _) = trained(), make_data()
    out = net.forward(x, training=True)
    net.freeze(1)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        net.backward(out)
    net.backward(net.forward(x, training=True))
    net.unfreeze(1)
    with pytest.raises(RuntimeError, match="update needs gradients"):
        net.update()


ERRORS: dict[str, tuple[tuple[object, ...], type[Exception], str]] = {
    "too large": ((0, 5), ValueError, "layer must be at most 4, got 5"),
    "too small": ((0, -6), ValueError, "layer must be at least -5, got -6"),
    "no such path": ((0, "3.4"), ValueError, "path of a layer, one of 0, 1, 2, 3, 3.0, 3.1, 3.2, 3.3, 4, got '3.4'"),
    "a list": (([0, 1],), TypeError, "layer must be an index such as -1, or a path such as '2.0', got [0, 1] (list)"),
    "a layer": ((nf.Dense(2),), TypeError, "layer must be an index such as -1, or a path such as '2.0', got Dense(2)"),
    "nothing there": ((0, 2), ValueError, "layers[2] has no parameters: there is nothing to {} in Dropout(0.2)"),
}


@pytest.mark.parametrize("verb", ["freeze", "unfreeze"])
@pytest.mark.parametrize(("chosen", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(chosen: tuple[object, ...], error: type[Exception], message: str, verb: str) -> None:
    net = trained()
    if verb == "unfreeze":
        net.freeze()
    with unchanged(net), pytest.raises(error, match=re.escape(message.format(verb))):
        getattr(net, verb)(*chosen)


def test_networks_and_layers_without_parameters() -> None:
    net = nf.Sequential([nf.Rescaling(2.0)], input_shape=2)
    with pytest.raises(ValueError, match="^no layer has parameters: there is nothing to freeze$"):
        net.freeze()
    net = nf.Sequential([nf.Residual([nf.LayerNorm(affine=False)]), nf.Dense(1)], input_shape=2)
    with pytest.raises(ValueError, match=r"layers\[0\.0\] has no parameters: there is nothing to freeze in LayerNorm"):
        net.freeze("0.0")
    with pytest.raises(ValueError, match=r"layers\[0\] has no parameters: there is nothing to freeze in Residual"):
        net.freeze(0)


def test_not_while_it_is_trained() -> None:
    net, (x, y) = trained(), make_data()
    refused = []

    def attempt() -> None:
        for verb in (net.freeze, net.unfreeze):
            with pytest.raises(RuntimeError, match="the network is busy"):
                verb(0)
            refused.append(verb)

    def callback(net: nf.Sequential, history: nf.History) -> None:
        attempt()
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    net.fit(x, y, verbose=0, callbacks=[callback])
    assert len(refused) == 4
    assert not frozen_paths(net)


def test_calls_in_other_threads_finish_as_they_began() -> None:
    """A call whose threads took a batch norm for frozen and for not frozen would never end."""
    layers = [nf.Dense(64, "tanh"), nf.BatchNorm(), nf.Dense(64, "tanh"), nf.BatchNorm(), nf.Dense(2)]
    net = nf.Sequential(layers, input_shape=16, seed=0)
    x, y = default_rng(0).normal(size=(256, 16)).astype(np.float32), np.zeros((256, 2), np.float32)
    frozen = net.copy()
    frozen.freeze(1, 3)
    expected = {one.loss(x, y, training=True) for one in (net, frozen)}
    found, done = set(), threading.Event()

    def compute() -> None:
        with nf.num_threads(2, fixed=True):
            while not done.is_set():
                found.add(net.loss(x, y, training=True))
                net.gradient(x, y, training=True)

    thread = threading.Thread(target=compute)
    thread.start()
    for _ in range(300):
        net.freeze(1, 3)
        net.unfreeze(1, 3)
    done.set()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert found <= expected


def test_the_summary_shows_what_is_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    net = make_net()
    net.freeze(0, "3.2", -1)
    net.summary()
    shown = {line.split("  ")[0] or line.strip().split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    frozen = {line for line in shown if "trainable=False" in line}
    assert frozen == {"Dense(8, trainable=False)", "BatchNorm(trainable=False)", "Dense(3, trainable=False)"}
    assert "Dense(8, trainable=False)" in net._repr_html_()
    net.unfreeze()
    assert "trainable" not in net._repr_html_()
