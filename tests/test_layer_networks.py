"""The guarantees for every network, tested on networks that mix all layers; and the errors of these layers.

Their numbers are tested in test_gradient_cases.py and test_torch_layers.py.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from gradient_cases import LAYERS, PLACES
from numpy_network import state, state_of_steps, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast.layers import walk

D, A, BN, LN, R = nf.Dense, nf.Activation, nf.BatchNorm, nf.LayerNorm, nf.Residual
FEATURES, CLASSES = 20, 5


def everything(width: int = 24, *, l2: float = 1e-3) -> list[nf.layers.Layer]:
    """All layers, nested, frozen and penalised."""
    return [
        nf.Dropout(0.1),
        R([LN(), nf.GaussianNoise(0.1), D(FEATURES, "tanh")]),
        D(width, use_bias=False, l1=l2 / 2, l2=l2),
        BN(momentum=0.2, l2=l2),
        A("gelu"),
        R([D(width + 3, "silu"), BN(trainable=False), D(width), R([nf.Dropout(0.2), BN()])]),
        nf.Rescaling(0.9, 0.1),
        D(width, "relu", trainable=False),
        LN(trainable=False),
        BN(affine=False),
        D(CLASSES),
        A("softmax"),
    ]


def every_layer(width: int) -> list[nf.layers.Layer]:
    """Each row of gradient_cases.py."""
    return [*(make(width) for make in LAYERS.values()), D(CLASSES, "softmax")]


def every_layer_that_fuses(width: int) -> list[nf.layers.Layer]:
    """Without batch norms and penalised weights: in small batches each layer is updated in its backward pass."""
    return [
        layer
        for layer in every_layer(width)
        if not any(isinstance(part, BN) or (isinstance(part, D) and part.l2) for _, part in walk([layer]))
    ]


CHAINS = {
    "every layer": lambda: every_layer(FEATURES),
    "every layer that fuses": lambda: every_layer_that_fuses(FEATURES),
    "everything": everything,
    "no batch norm": lambda: [
        nf.Dropout(0.3), R([LN(), D(FEATURES, "gelu")]), D(9, "relu"), LN(), D(CLASSES, "softmax"),
    ],
    "no penalties": lambda: everything(l2=0.0),
    "no dense layer": lambda: [BN(), R([LN(), nf.Dropout(0.2)]), A("tanh"), LN()],
    "no dense layer nor batch norm": lambda: [R([LN(), nf.Dropout(0.2)]), A("tanh"), LN()],
    "a batch norm last": lambda: [D(9, "tanh"), nf.Dropout(0.2), D(CLASSES), BN()],
    "a dropout last": lambda: [D(9, "tanh"), BN(), D(CLASSES, "softplus"), nf.Dropout(0.2)],
    "a residual sum last": lambda: [D(CLASSES), R([BN(), D(CLASSES, "tanh")])],
}  # fmt: skip


def make_net(chain: str = "everything", dtype: str = "float32", **arguments) -> nf.Sequential:
    return nf.Sequential(CHAINS[chain](), input_shape=FEATURES, dtype=dtype, seed=3, **arguments)


def make_data(net: nf.Sequential, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, FEATURES))
    y = rng.integers(0, CLASSES, n) if net.loss_name == "cross_entropy" else rng.normal(size=(n, net._network.units))
    return x.astype(net.dtype), y if y.ndim == 1 else y.astype(net.dtype)


def adam(**arguments) -> nf.AdamW:
    return nf.AdamW(0.01, weight_decay=0.1, decay_biases=False, average_decay=0.9, **arguments)


def bits(arrays) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


by_chain = pytest.mark.parametrize("chain", CHAINS)
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


# ---- the same bits


@by_dtype
@pytest.mark.parametrize("rows", [3, 64, 302])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: everything(200),
        lambda: [D(200), *every_layer(200)],
        lambda: [D(200), *every_layer_that_fuses(200)],
    ],
    ids=["everything", "every layer", "every layer that fuses"],
)
def test_any_number_of_threads_gives_the_same_bits(layers, rows, dtype):
    """Wide layers: there is work for several threads."""
    net = nf.Sequential(layers(), input_shape=FEATURES, dtype=dtype, seed=3)
    x, y = make_data(net, rows)
    weights = np.random.default_rng(0).random(rows)
    seen = []
    for threads in (1, 2, 3, 4):
        twin = net.copy()
        with nf.num_threads(threads):
            history = twin.fit(x, y, epochs=3, batch_size=150, optimizer=adam(clip_norm=0.3), verbose=0)
            twin.fit(x, y, batch_size=200, optimizer=adam(), sample_weight=weights, verbose=0)
            losses = [twin.train_step(x, y, adam()), twin.loss(x, y), twin.loss(x, y, training=True)]
            gradient = bits(twin.gradient(x, y, wrt=[*twin.params, "x"], training=True))
            plain = bits(twin.gradient(x, y, wrt=[*twin.params, "x"]))
            out = twin.forward(x, training=True)
            gx = twin.backward(out)
            numerical = bits(twin.numerical_gradient(x[:4], y[:4], wrt=["b1", "gamma2"], training=True))
        seen.append((
            history.step_loss.tobytes(), losses, gradient, plain, numerical, out.tobytes(), gx.tobytes(),
            bits(twin.grads), twin.predict(x).tobytes(), state(twin)[:2],
        ))  # fmt: skip
    assert all(one == seen[0] for one in seen[1:])


@by_dtype
@by_chain
def test_a_row_has_the_same_bits_alone_and_in_any_batch(chain, dtype):
    net = make_net(chain, dtype)
    x, y = make_data(net, 500)
    net.fit(x[:50], y[:50], batch_size=10, optimizer="adam", verbose=0)
    whole = net.predict(x)
    for first, last in ((0, 1), (3, 4), (5, 250), (249, 500), (17, 48)):
        np.testing.assert_array_equal(net.predict(x[first:last]), whole[first:last])
    for row in (0, 7, 499):
        np.testing.assert_array_equal(net.predict_one(x[row]), whole[row])


def a_step(net, x, y, optimizer):
    """One training step, in parts, with the fused gradient of the loss."""
    gradient = net.gradient(x, y, training=True)
    net.forward(x, training=True)
    net.backward(np.zeros((len(x), net._network.units)))
    for name, value in gradient.items():
        net.grads[name] = value
    net.update(optimizer)


@by_dtype
@pytest.mark.parametrize("rows", [2, 7, 16, 17, 50])
@by_chain
def test_a_step_is_its_parts(chain, rows, dtype):
    """Gradients, a forward pass that updates statistics and noise, and an update: for small batches all are one."""
    net = make_net(chain, dtype)
    x, y = make_data(net, rows)
    twin, clipped = net.copy(), net.copy()
    for _ in range(3):
        assert net.loss(x, y, training=True) == net.train_step(x, y, adam())
        a_step(twin, x, y, adam())
        clipped.train_step(x, y, adam(clip_norm=1e30))
    assert state(net)[:2] == state(twin)[:2] == state(clipped)[:2]


def is_penalised(chain):
    return any(layer.l1 or layer.l2 for _, layer in walk(CHAINS[chain]()))


@pytest.mark.parametrize("chain", [name for name in CHAINS if not is_penalised(name)])
def test_a_loop_of_ones_own_is_training(chain):
    """With the sum of squared errors, whose gradient is one subtraction."""
    layers = CHAINS[chain]()
    if layers[-1].activation == "softmax":
        layers[-1] = D(CLASSES)
    net = nf.Sequential(layers, input_shape=FEATURES, loss="sum_squared_error", dtype="float64", seed=3)
    twin, (x, y) = net.copy(), make_data(net, 32)
    for _ in range(3):
        out = net.forward(x, training=True)
        net.backward((out - y) / 32)
        net.update(adam())
        twin.train_step(x, y, adam())
    assert state(net)[:2] == state(twin)[:2]


def loaded(net, tmp_path):
    net.save(tmp_path / "net.npz")
    return nf.load(tmp_path / "net.npz")


WAYS = {
    "copy": lambda net, tmp_path: net.copy(),
    "file": loaded,
    "pickle": lambda net, tmp_path: pickle.loads(pickle.dumps(net)),
    "deepcopy": lambda net, tmp_path: copy.deepcopy(net),
}


@by_dtype
@pytest.mark.parametrize("way", WAYS)
@by_chain
def test_training_goes_on_from_a_copy(chain, way, dtype, tmp_path):
    """Noise, running statistics, averages and moments; in two calls of `fit`, and in single steps."""
    net = make_net(chain, dtype)
    x, y = make_data(net, 50)
    parts, single = net.copy(), net.copy()
    arguments = {"batch_size": 13, "shuffle": False, "verbose": 0}
    net.fit(x, y, steps=8, optimizer=adam(), **arguments)
    parts.fit(x, y, steps=4, optimizer=adam(), **arguments)
    parts = WAYS[way](parts, tmp_path)
    parts.fit(x, y, steps=4, optimizer=adam(), **arguments)
    for step in range(8):
        if step == 3:
            single = WAYS[way](single, tmp_path)
        first = 13 * (step % 4)
        single.train_step(x[first : first + 13], y[first : first + 13], adam())
    assert state(net)[:2] == state(parts)[:2]
    assert state_of_steps(net) == state_of_steps(single)
    assert net.averaged().flat_params.tobytes() == parts.averaged().flat_params.tobytes()
    assert bits(net.averaged().statistics) == bits(net.statistics)


# ---- what leaves a network unchanged


@by_chain
def test_reading_changes_nothing_and_no_forward_pass_that_waits(chain):
    net = make_net(chain, "float64")
    x, y = make_data(net, 12)
    net.train_step(x, y, "adam")
    twin = net.copy()
    gout = np.random.default_rng(2).normal(size=(12, net._network.units))
    net.forward(x, training=True)
    twin.forward(x, training=True)
    with unchanged(net):
        for training in (False, True):
            net.loss(x, y, training=training)
            net.gradient(x, y, training=training)
            net.numerical_gradient(x, y, training=training, wrt="x")
            net.check_gradient(x, y, training=training)
        net.predict(x)
        net.predict_one(x[0])
        net.copy()
    np.testing.assert_array_equal(net.backward(gout), twin.backward(gout))
    assert bits(net.grads) == bits(twin.grads)


@by_chain
def test_gradients_accumulate_or_are_left_out(chain):
    net = make_net(chain, "float64")
    x, _ = make_data(net, 12)
    gout = np.random.default_rng(2).normal(size=(2, 12, net._network.units))
    twin, found, gx = net.copy(), [], []
    for one in gout:
        twin.forward(x, training=True)
        gx.append(twin.backward(one))
        found.append({name: view.copy() for name, view in twin.grads.items()})
    net.forward(x, training=True)
    net.backward(gout[0])
    net.forward(x, training=True)
    np.testing.assert_array_equal(net.backward(gout[1], accumulate=True), gx[1])
    for name, view in net.grads.items():
        first, second = (one[name] for one in found)
        assert_close(view, first + second, scale=1 + np.abs(first) + np.abs(second), kind="peer")
    begin = make_net(chain, "float64")
    begin.forward(x, training=True)
    np.testing.assert_array_equal(begin.backward(gout[0], parameters=False), gx[0])
    assert not begin.flat_grads.any()


@by_chain
def test_frozen_layers_stay_and_have_a_gradient(chain):
    net = make_net(chain)
    x, y = make_data(net)
    net.forward(x, training=True)
    frozen = [path for path, layer in walk(net.layers) if not layer.trainable]
    before = {path: net.params[path].copy() for path in net.params.paths}
    statistics = {path: net.statistics[path].copy() for path in net.statistics.paths}
    net.fit(x, y, epochs=3, batch_size=25, optimizer=adam(), verbose=0)
    for views, old in ((net.params, before), (net.statistics, statistics)):
        for path, array in old.items():
            stays = path.rsplit(".", 1)[0] in frozen
            assert (views[path] == array).all() == stays, path
    gradient = net.gradient(x, y)
    assert all(gradient[path].any() for path in net.params.paths if path.rsplit(".", 1)[0] in frozen)
    assert set(gradient) == set(net.params)


@by_dtype
def test_nothing_is_updated_where_nobody_asks(dtype):
    """The gradients are large enough to show in any parameter that they reach."""
    net = nf.Sequential([LN()], input_shape=3, loss="sum_squared_error", dtype=dtype, seed=0)
    x, y = np.array([[1.0, 2.0, 4.0]] * 4), np.full((4, 3), np.finfo(dtype).max / 2)
    with unchanged(net):
        for training in (False, True):
            net.gradient(x, np.full((4, 3), np.finfo(dtype).max), training=training)
            net.loss(x, y, training=training)
            net.numerical_gradient(x, y, training=training)
        net.predict(x)
    begin = net.flat_params.copy()
    net.forward(x, training=True)
    net.backward(y)
    assert not np.isfinite(net.flat_grads).all()
    np.testing.assert_array_equal(net.flat_params, begin)


@by_dtype
@pytest.mark.parametrize("rows", [2, 50])
@by_chain
def test_clipping_by_norm_bounds_a_step(chain, rows, dtype):
    net = make_net(chain, dtype)
    x, y = make_data(net, rows)
    before = net.flat_params.astype(np.float64)
    net.train_step(x, y, nf.SGD(1.0, clip_norm=1e-2))
    step = np.linalg.norm(net.flat_params - before)
    assert_close(step.astype(dtype), 1e-2, scale=1.0, kind="forward difference")


# ---- other ways of training


@by_dtype
def test_a_fit_by_differences_goes_on_with_noise_and_statistics(dtype):
    layers = [nf.Dropout(0.2), D(6, "tanh"), BN(momentum=0.3), nf.GaussianNoise(0.1), D(CLASSES, "softmax")]
    net = nf.Sequential(layers, input_shape=FEATURES, dtype=dtype, seed=3)
    x, y = make_data(net, 32)
    twin = net.copy()
    arguments = {"batch_size": 16, "optimizer": nf.SGD(0.05), "verbose": 0}
    for _ in range(2):
        net.fit(x, y, epochs=2, gradient="numerical", **arguments)
        twin.fit(x, y, epochs=2, **arguments)
    assert_close(net.flat_params, twin.flat_params, scale=1.0, kind="forward difference")
    for name, view in net.statistics.items():
        assert_close(view, twin.statistics[name], scale=1.0, kind="forward difference")
    assert net._network.built.noise_steps == twin._network.built.noise_steps == 8


def test_statistics_that_a_callback_sets_are_gone_on_with():
    def clear(net, history):
        net.statistics["mean1"] = 0.0 * net.statistics["mean1"]

    nets = {}
    for gradient in ("backpropagation", "numerical"):
        net = nf.Sequential([BN(), D(CLASSES, "softmax")], input_shape=FEATURES, seed=3)
        x, y = make_data(net, 32)
        net.fit(x, y, epochs=3, gradient=gradient, callbacks=[clear], verbose=0)
        net.train_step(x, y)
        nets[gradient] = net
    found, expected = (net.statistics["mean1"] for net in nets.values())
    assert_close(found, expected, scale=1.0, kind="best difference")


@by_dtype
def test_lbfgs_with_norms_penalties_and_frozen_layers(dtype):
    layers = [D(8, "tanh", l2=1e-3), BN(l1=1e-4), R([LN(), D(8, "tanh", trainable=False)]), D(CLASSES, "softmax")]
    net = nf.Sequential(layers, input_shape=FEATURES, dtype=dtype, seed=3)
    x, y = make_data(net, 60)
    frozen = net.params["2.1.W"].copy()
    before = net.loss(x, y, training=True)
    with pytest.warns(RuntimeWarning, match="^L-BFGS did not converge in 30 iterations"):
        history = net.fit(x, y, epochs=30, optimizer="lbfgs", verbose=0)
    assert net.loss(x, y, training=True) == history["loss"][-1] < before / 2
    np.testing.assert_array_equal(net.params["2.1.W"], frozen)
    assert net._network.built.noise_steps == len(history["loss"]), "each iteration leaves running statistics behind"
    assert net.statistics["mean1"].all()


@pytest.mark.parametrize("layer", [nf.Dropout(0.1), nf.GaussianNoise(0.1)])
def test_lbfgs_refuses_what_is_random(layer):
    net = nf.Sequential([R([layer]), D(CLASSES, "softmax")], input_shape=FEATURES, seed=3)
    x, y = make_data(net, 10)
    with unchanged(net), pytest.raises(ValueError, match=re.escape(f"layers[0.0] is random in training: {layer!r}")):
        net.fit(x, y, optimizer="lbfgs", verbose=0)


# ---- Ctrl-C, and memory


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("method", ["fit", "train_step", "gradient", "forward"])
def test_ctrl_c_within_a_long_step_with_batch_norms(method, threads):
    """All threads wait for each other where the whole batch is needed, and all stop."""
    layers = [BN(), D(400, "relu"), BN(), R([D(400, "tanh"), BN()]), D(5, "softmax")]
    net = nf.Sequential(layers, input_shape=300, seed=0)
    x, y = np.random.default_rng(0).random((20_000, 300), np.float32), np.arange(20_000) % 5
    run = {
        "fit": lambda: net.fit(x, y, batch_size=len(x), epochs=1000, verbose=0),
        "train_step": lambda: [net.train_step(x, y, "adam") for _ in range(1000)],
        "gradient": lambda: [net.gradient(x, y, training=True) for _ in range(1000)],
        "forward": lambda: [net.forward(x, training=True) for _ in range(1000)],
    }[method]
    for delay in (0.15, 0.33):
        before = state(net)[:2]
        timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with nf.num_threads(threads), pytest.raises(KeyboardInterrupt):
            run()
        timer.join()
        if method == "gradient":
            assert state(net)[:2] == before
    assert np.isfinite(net.flat_params).all()
    assert all(np.isfinite(view).all() for view in net.statistics.values())
    assert np.isfinite(net.train_step(x[:100], y[:100], "adam"))


def test_a_batch_without_memory_changes_nothing():
    net = make_net("no penalties")
    x, y = make_data(net)
    net.train_step(x, y, "adam")
    many = np.broadcast_to(np.float32(0), (1, FEATURES))
    rows = np.lib.stride_tricks.as_strided(many, (2**45, FEATURES), (0, 0))
    with unchanged(net), pytest.raises((MemoryError, ValueError)):
        net.forward(rows, training=True)


@pytest.mark.measures
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc/self/statm")
@pytest.mark.parametrize("name", ["train_step", "fit", "backward", "predict", "gradient"])
def test_steps_keep_no_memory(name):
    """For a network of all layers, with everything that an optimizer may store."""
    code = """if True:
        import gc, os, sys, tracemalloc
        import numpy as np
        sys.path.append("tests")
        import nnfast as nf
        from test_layer_networks import adam, everything

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

        net = nf.Sequential(everything(), input_shape=20, seed=0)
        x, y = np.ones((32, 20), np.float32), np.arange(32) % 5
        optimizer, gout = adam(clip_norm=0.1, amsgrad=True), np.ones((32, 5), np.float32)

        def backward():
            net.forward(x, training=True)
            net.backward(gout)
            net.update(optimizer)

        step = {
            "train_step": lambda: net.train_step(x, y, optimizer),
            "fit": lambda: net.fit(x, y, batch_size=10, epochs=2, optimizer=optimizer, verbose=0),
            "backward": backward,
            "predict": lambda: net.predict(x),
            "gradient": lambda: net.gradient(x, y, training=True),
        }[sys.argv[1]]
        for _ in range(200):
            step()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(500):
            step()
        gc.collect()
        python = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        before = resident()
        for _ in range(1500):
            step()
        print(python / 500, (resident() - before) / 1500)
    """
    here = os.path.dirname(os.path.abspath(__file__))
    run = subprocess.check_output([sys.executable, "-c", code, name], text=True, cwd=os.path.dirname(here))
    python, process = map(float, run.split())
    assert python < 40
    assert process < 200


# ---- bad input


ONE_ROW = "BatchNorm needs at least two rows in each training mini-batch, since one row has no variance; got"
X1, Y1 = np.ones((1, FEATURES), np.float32), np.zeros(1, int)


@pytest.mark.parametrize(
    ("use", "got"),
    [
        (lambda net: net.fit(X1, Y1, verbose=0), "1: give it more rows$"),
        (
            lambda net: net.fit(np.tile(X1, (5, 1)), np.tile(Y1, 5), batch_size=1, verbose=0),
            "1: use batch_size=3$",
        ),
        (
            lambda net: net.fit(np.tile(X1, (5, 1)), np.tile(Y1, 5), batch_size=4, verbose=0),
            "1 in the last of each epoch, of 5 rows in mini-batches of 4: use batch_size=3$",
        ),
        (
            lambda net: net.fit(np.tile(X1, (5, 1)), np.tile(Y1, 5), batch_size=2, steps=3, verbose=0),
            "1 in the last .* batch_size=3$",
        ),
        (lambda net: net.fit(X1, Y1, optimizer="lbfgs", verbose=0), "1: give it more rows$"),
        (lambda net: net.train_step(X1, Y1), "1: give it more rows$"),
        (lambda net: net.forward(X1, training=True), "1: give it more rows$"),
        (lambda net: net.forward(X1[:0], training=True), "0: give it more rows$"),
        (lambda net: net.loss(X1, Y1, training=True), "1: give it more rows$"),
        (lambda net: net.gradient(X1, Y1, training=True), "1: give it more rows$"),
        (lambda net: net.numerical_gradient(X1, Y1, training=True), "1: give it more rows$"),
        (lambda net: net.check_gradient(X1, Y1, training=True), "1: give it more rows$"),
    ],
)
def test_a_batch_norm_cannot_be_trained_on_one_row(use, got):
    net = nf.Sequential([R([BN()]), D(CLASSES, "softmax")], input_shape=FEATURES, seed=0)
    with unchanged(net), pytest.raises(ValueError, match=f"^{ONE_ROW} {got}"):
        use(net)
    frozen = nf.Sequential([R([BN(trainable=False)]), D(CLASSES, "softmax")], input_shape=FEATURES, seed=0)
    if "optimizer" not in use.__code__.co_names and not got.startswith("0"):
        use(frozen)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 9, 13, 33, 60001, 25])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6, 8, 32])
def test_the_batch_size_that_is_named_for_a_batch_norm_works(n, batch):
    net = nf.Sequential([BN(), D(CLASSES, "softmax")], input_shape=FEATURES, seed=0)
    x, y = np.ones((n, FEATURES), np.float32), np.zeros(n, int)
    try:
        net.fit(x, y, batch_size=batch, steps=-(-n // batch), verbose=0)
    except ValueError as error:
        assert min(batch, n) == 1 or n % batch == 1
        named = int(re.search(r"use batch_size=(\d+)$", str(error))[1])
        nearer = range(max(2, batch - abs(named - batch) + 1), min(n, batch + abs(named - batch) - 1) + 1)
        assert all(n % size == 1 for size in nearer)
        net.fit(x, y, batch_size=named, verbose=0)
    else:
        assert batch > 1
        assert n % batch != 1


def test_one_row_may_be_left_over_where_no_step_takes_it():
    net = nf.Sequential([BN(), D(CLASSES, "softmax")], input_shape=FEATURES, seed=0)
    net.fit(np.tile(X1, (5, 1)), np.tile(Y1, 5), batch_size=2, steps=2, shuffle=False, verbose=0)
    net.predict(X1)
    net.loss(X1, Y1)
    net.gradient(X1, Y1)


NOTHING = [
    [nf.Dropout(0.1)],
    [BN(affine=False)],
    [D(FEATURES, trainable=False), A("relu")],
    [R([D(FEATURES, trainable=False)])],
    [R([LN(affine=False), R([BN(trainable=False)])]), nf.Rescaling(2.0)],
]


@pytest.mark.parametrize("layers", NOTHING, ids=str)
def test_a_network_of_nothing_trainable_is_refused(layers):
    net = nf.Sequential(layers, input_shape=FEATURES, dtype="float64", seed=0)
    x, y = make_data(net, 10)
    for use in (lambda: net.fit(x, y, verbose=0), lambda: net.train_step(x, y)):
        with unchanged(net), pytest.raises(ValueError, match="^there is nothing to train: no layer has trainable"):
            use()
    names = [*net.params, "x"]
    found, expected = net.gradient(x, y, wrt=names), net.numerical_gradient(x, y, wrt=names)
    for name in names:
        assert_close(found[name], expected[name], scale=1 + np.abs(expected[name]), kind="forward difference")


MIX = "softmax on one unit is always 1"
REFUSED = {
    "a rate of 1": (lambda: nf.Dropout(1.0), ValueError, "^rate must be below 1, for dropout of all"),
    "a rate above 1": (lambda: nf.Dropout(1.5), ValueError, r"^rate must be a finite number in \[0.0, 1.0\], got 1.5"),
    "a negative rate": (lambda: nf.Dropout(-0.1), ValueError, r"^rate must be a finite number in \[0.0, 1.0\], got -0"),
    "a rate of NaN": (lambda: nf.Dropout(np.nan), ValueError, "^rate must be a finite number"),
    "a rate as text": (lambda: nf.Dropout("0.5"), TypeError, "^rate must be a number, got '0.5'"),
    "a negative deviation": (lambda: nf.GaussianNoise(-1), ValueError, "^stddev must be a finite number in .*got -1"),
    "an infinite deviation": (lambda: nf.GaussianNoise(np.inf), ValueError, "^stddev must be a finite number"),
    "an infinite scale": (lambda: nf.Rescaling(np.inf), ValueError, "^scale must be a finite number"),
    "an offset as text": (lambda: nf.Rescaling(1, "a"), TypeError, "^offset must be a number, got 'a'"),
    "a momentum above 1": (lambda: BN(momentum=2), ValueError, r"^momentum must be a finite number in \[0.0, 1.0\]"),
    "an epsilon of 0": (lambda: BN(epsilon=0), ValueError, "^epsilon must be a finite number in .*got 0.0"),
    "a negative epsilon": (lambda: LN(epsilon=-1), ValueError, "^epsilon must be a finite number in .*got -1.0"),
    "affine as a number": (lambda: LN(affine=1), TypeError, "^affine must be True or False, got 1"),
    "a penalty on no gamma": (lambda: BN(affine=False, l2=0.1), ValueError, "^l1 and l2 need affine=True"),
    "trainable as a number": (lambda: BN(trainable=0), TypeError, "^trainable must be True or False, got 0"),
    "a negative l1": (lambda: D(2, l1=-1), ValueError, "^l1 must be a finite number in .*got -1.0"),
    "an infinite l2": (lambda: D(2, l2=np.inf), ValueError, "^l2 must be a finite number in .*got inf"),
    "l2 as text": (lambda: LN(l2="a"), TypeError, "^l2 must be a number, got 'a'"),
    "use_bias as a text": (lambda: D(2, use_bias="no"), TypeError, "^use_bias must be True or False, got 'no'"),
    "a bias that is not there": (
        lambda: D(2, use_bias=False, bias_initializer=1.0), ValueError,
        "^bias_initializer has no effect with use_bias=False",
    ),
    "an unknown function": (lambda: A("ReLU"), ValueError, "^function must be one of .* got 'ReLU'"),
    "a residual sum of nothing": (lambda: R([]), ValueError, "^layers must have at least one layer, got none"),
    "a residual sum of a layer": (lambda: R(D(2)), TypeError, "^layers must be a sequence of layers, got Dense"),
    "a residual sum of numbers": (lambda: R([3]), TypeError, r"^layers\[0\] must be a layer such as Dense, got 3"),
    "a residual sum of two widths": (
        lambda: nf.Sequential([D(4), R([D(3)])], input_shape=2), ValueError,
        "^the layers of a Residual must have as many outputs as inputs: 4 go in at layer 1, and 3 come out",
    ),
    "an inner residual sum of two widths": (
        lambda: nf.Sequential([R([R([D(3)])])], input_shape=2), ValueError, "2 go in at layer 0.0, and 3 come out",
    ),
    "softmax of one unit": (
        lambda: nf.Sequential([D(1), A("softmax")], input_shape=2), ValueError, f"^{MIX}: it needs two inputs",
    ),
    "no width": (lambda: nf.Sequential([nf.Dropout(0.1)]), ValueError, "^a network without a Dense layer outside"),
    "a width beyond any array": (
        lambda: nf.Sequential([nf.Dropout(0.1)], input_shape=2**40), MemoryError, "^no layer can have more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_layers_refuse(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("layer", [make(3) for make in LAYERS.values()], ids=repr)
def test_layers_do_not_change(layer):
    for name in layer.fields:
        with pytest.raises(AttributeError, match=f"make a new {type(layer).__name__} with another {name}$"):
            setattr(layer, name, getattr(layer, name))


# ---- repr and files

GIVEN = [
    *(make(3) for make in LAYERS.values()),
    D(3, nf.activations.LeakyReLU(0.2), use_bias=False, l1=0.1, l2=0.2, trainable=False),
    D(3, "log_softmax"),
    D(3, initializer=0.5),
    A("gelu"),
    A(nf.activations.Softplus(2.0)),
    nf.Rescaling(2.0),
    nf.Reshape((1, -1)),
    BN(),
    BN(momentum=0.2, epsilon=0.1, l1=0.1, l2=0.2, trainable=False),
    LN(),
    LN(epsilon=0.1, l1=0.1, l2=0.2, trainable=False),
    R([LN(), R([D(3, "tanh", l2=0.1), BN(momentum=0.5)]), nf.Dropout(0.25)]),
]
NAMES = vars(nf.activations) | vars(nf.columns) | {name: getattr(nf, name) for name in nf.__all__}


@pytest.mark.parametrize("layer", GIVEN, ids=repr)
def test_a_layer_is_shown_as_it_is_made(layer):
    again = eval(repr(layer), NAMES)
    assert repr(again) == repr(layer)
    assert again.config() == layer.config()


@pytest.mark.parametrize("layer", GIVEN, ids=repr)
def test_a_layer_is_kept_in_a_file(layer, tmp_path):
    assert nf.layers.Layer.from_config(json.loads(json.dumps(layer.config()))).config() == layer.config()
    net = nf.Sequential([layer], input_shape=3, seed=0, loss="mean_squared_error")
    again = loaded(net, tmp_path)
    assert again.layers[0].config() == layer.config()
    assert state(again)[:2] == state(net)[:2]
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    np.testing.assert_array_equal(again.forward(x, training=True), net.forward(x, training=True))


def test_summary_and_names(capsys):
    net = nf.Sequential(
        [D(4, use_bias=False), BN(), A("gelu"), R([LN(), D(4, "relu", l2=0.5), R([BN()])]), D(2)], input_shape=3, seed=0
    )
    net.summary()
    assert capsys.readouterr().out.splitlines() == [
        "input (n, 3), loss mean_squared_error, float32, 66 parameters",
        "layer               activation  output  parameters",
        "------------------  ----------  ------  ----------",
        "Dense(4)            identity    (n, 4)  12",
        "BatchNorm()                     (n, 4)  8",
        "Activation('gelu')              (n, 4)  0",
        "Residual                        (n, 4)  36",
        "  LayerNorm()                   (n, 4)  8",
        "  Dense(4)          relu        (n, 4)  20",
        "  Residual                      (n, 4)  8",
        "    BatchNorm()                 (n, 4)  8",
        "Dense(2)            identity    (n, 2)  10",
    ]
    assert list(net.params) == [
        "W1", "gamma1", "beta1", "gamma2", "beta2", "W2", "b2", "gamma3", "beta3", "W3", "b3",
    ]  # fmt: skip
    assert list(net.statistics) == ["mean1", "variance1", "mean3", "variance3"]
    assert net.params["3.2.0.gamma"] is not None
    assert net.statistics["1.mean"].tolist() == [0.0] * 4
    assert net.statistics["3.2.0.variance"].tolist() == [1.0] * 4


def test_statistics_are_views_that_may_be_set():
    net = nf.Sequential([BN(epsilon=1.0)], input_shape=2, dtype="float64")
    net.statistics["mean1"] = [1.0, 2.0]
    net.statistics["variance1"] = [3.0, 8.0]
    np.testing.assert_array_equal(net.predict([[3.0, 8.0]]), [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^mean1 must have shape \(2,\), got \(3,\)"):
        net.statistics["mean1"] = [1.0, 2.0, 3.0]


def test_outside_of_training_noise_does_nothing():
    layers = [nf.Dropout(0.5), D(4, "tanh"), nf.GaussianNoise(1.0), R([nf.Dropout(0.9)]), D(2)]
    plain = [D(4, "tanh"), R([nf.Rescaling(1.0)]), D(2)]
    net, without = (nf.Sequential(chain, input_shape=3, seed=0) for chain in (layers, plain))
    without.flat_params[:] = net.flat_params
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(net.predict(x), without.predict(x))
    assert net.loss(x, np.zeros((5, 2))) == without.loss(x, np.zeros((5, 2)))
    outputs = [net.forward(x, training=True) for _ in range(2)]
    assert (outputs[0] != outputs[1]).any()


def test_dropout_and_noise_of_zero():
    net = nf.Sequential([nf.Dropout(0.0), nf.GaussianNoise(0.0)], input_shape=3)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(net.forward(x, training=True), x)


@by_dtype
def test_a_softmax_of_its_own_is_that_of_a_dense_layer(dtype):
    """Also fused with the loss: for probabilities of zero, the loss is computed from the logits."""
    nets = [
        nf.Sequential(layers, input_shape=FEATURES, dtype=dtype, seed=0)
        for layers in ([D(CLASSES), A("softmax")], [D(CLASSES, "softmax")])
    ]
    x, y = make_data(nets[0])
    for net in nets:
        assert net.loss_name == "cross_entropy"
        net.fit(1000 * x, y, epochs=3, optimizer=nf.SGD(1.0), verbose=0)
    assert nets[0].flat_params.tobytes() == nets[1].flat_params.tobytes()
    assert nets[0].loss(x, y) == nets[1].loss(x, y)
    np.testing.assert_array_equal(nets[0].predict(x), nets[1].predict(x))
    np.testing.assert_array_equal(nets[0].predict_class(x), nets[1].predict_class(x))


# ---- damaged files


def changed_file(net, tmp_path, change=lambda description: None, arrays=None, deep=0):
    """The file of a network with another description or other arrays; "deep" becomes many residual layers."""
    net.save(tmp_path / "whole.npz")
    with zipfile.ZipFile(tmp_path / "whole.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(str(np.load(io.BytesIO(members["description.npy"]))))
    change(description)
    text = json.dumps(description).replace('"deep"', '{"kind": "residual", "layers": [' * deep + "1" + "]}" * deep)
    for name, array in ({"description": np.array(text)} | (arrays or {})).items():
        if array is None:
            del members[f"{name}.npy"]
            continue
        buffer = io.BytesIO()
        np.save(buffer, array)
        members[f"{name}.npy"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "some.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return tmp_path / "some.npz"


def layer(i, **values):
    return lambda description: description["layers"][i].update(values)


DAMAGE = {
    "an unknown kind": layer(1, kind="conv"),
    "a kind that is a list": layer(1, kind=[]),
    "another kind": layer(1, kind="dense"),
    "an argument too many": layer(1, color=1),
    "a momentum out of range": layer(1, momentum=7.0),
    "an epsilon that is a text": layer(1, epsilon="a"),
    "affine as a number": layer(1, affine=1),
    "no gamma": layer(1, affine=False),
    "units beyond any array": layer(0, units=2**31),
    "an absurd number of units": layer(0, units=2**70),
    "many units": layer(0, units=2**30),
    "a rate of 1": layer(2, rate=1.0),
    "a rate that is null": layer(2, rate=None),
    "no rate": lambda d: d["layers"][2].pop("rate"),
    "a residual sum without layers": lambda d: d["layers"][3].pop("layers"),
    "a residual sum of nothing": layer(3, layers=[]),
    "a residual sum of null": layer(3, layers=None),
    "a residual sum of numbers": layer(3, layers=[1]),
    "a residual sum of another width": layer(3, layers=[{"kind": "dense", "units": 9, "activation": "relu"}]),
    "another shape": lambda d: d.update(input_shape=[7]),
    "a shape beyond any array": lambda d: d.update(input_shape=[2**31 - 1, 2**31 - 1]),
    "no noise": lambda d: d.pop("noise"),
    "noise that is a list": lambda d: d.update(noise=[]),
    "a negative seed of noise": lambda d: d["noise"].update(seed=-1),
    "an absurd seed of noise": lambda d: d["noise"].update(seed=2**80),
    "noise of a fraction of steps": lambda d: d["noise"].update(steps=1.5),
    "an absurd number of steps of noise": lambda d: d["noise"].update(steps=2**80),
    "no average": lambda d: d["optimizer"].pop("averaged"),
    "an average that is a number": lambda d: d["optimizer"].update(averaged=1),
}
ARRAYS = {
    "no running mean": {"1.mean": None},
    "a running variance of another width": {"1.variance": np.ones(5, np.float32)},
    "a running mean of another dtype": {"1.mean": np.zeros(6)},
    "a gamma of another shape": {"1.gamma": np.ones((6, 1), np.float32)},
    "no average": {"optimizer.average": None},
    "a short average": {"optimizer.average": np.ones(3, np.float32)},
}


@pytest.fixture
def saved_net():
    layers = [D(6), BN(), nf.Dropout(0.2), R([LN(), D(6, "tanh")]), D(CLASSES, "softmax")]
    net = nf.Sequential(layers, input_shape=FEATURES, seed=0)
    net.train_step(*make_data(net, 10), adam())
    return net


@pytest.mark.parametrize("name", DAMAGE)
def test_descriptions_of_layers_that_do_not_fit_are_refused(name, saved_net, tmp_path):
    path = changed_file(saved_net, tmp_path, DAMAGE[name])
    with pytest.raises(ValueError, match=r"some\.npz is damaged"):
        nf.load(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_layers_that_do_not_fit_are_refused(name, saved_net, tmp_path):
    path = changed_file(saved_net, tmp_path, arrays=ARRAYS[name])
    with pytest.raises(ValueError, match=r"some\.npz is damaged"):
        nf.load(path)


@pytest.mark.parametrize("depth", [1, 100, 300, 1000, 100_000])
def test_residual_sums_that_are_too_deep_are_refused(depth, saved_net, tmp_path):
    path = changed_file(saved_net, tmp_path, lambda d: d["layers"].append("deep"), deep=depth)
    with pytest.raises(ValueError, match=r"some\.npz is damaged"):
        nf.load(path)


def test_a_file_with_nothing_changed_is_the_network(saved_net, tmp_path):
    assert state(nf.load(changed_file(saved_net, tmp_path)))[:2] == state(saved_net)[:2]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_kept_in_every_place(name, place, tmp_path):
    net = nf.Sequential(PLACES[place](LAYERS[name]), input_shape=4, seed=0)
    assert state(loaded(net, tmp_path))[:2] == state(net)[:2] == state(net.copy())[:2]


def test_a_check_in_training_asks_for_nothing_of_inference():
    """Not even the loss: here the running statistics are useless."""
    net = nf.Sequential([nf.BatchNorm(), nf.Dense(1)], input_shape=2, dtype="float64", seed=0)
    net.statistics["mean1"] = [np.nan, np.nan]
    x = np.random.default_rng(0).normal(size=(8, 2))
    assert net.check_gradient(x, x[:, 0], training=True, verbose=0)
    with pytest.raises(ValueError, match="the loss must be finite, got nan"):
        net.check_gradient(x, x[:, 0], verbose=0)
