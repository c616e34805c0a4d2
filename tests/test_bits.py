"""The same bits: for a row in any batch, for any number of threads, for two runs, a copy, a file.

Networks here are compared with ``==`` on whole arrays, never with a tolerance, except where two ways of computing
round differently by design.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_network import NumpyNetwork, state, state_of_steps
from optimizer_cases import OPTIMIZERS
from tolerances import assert_close

import nnfast as nf

DTYPES = ("float32", "float64")
ACTIVATIONS = ("identity", "step", "sigmoid", "tanh", "relu", "softmax")

# Widths around a vector, a register tile and a whole image. The last has work for six threads with 32 rows.
SHAPES = {
    "one": (1, [1]),
    "small": (4, [64, 64, 2]),
    "odd": (13, [31, 17, 5]),
    "wide": (100, [130, 10]),
    "image": (784, [50, 10]),
    "threads": (256, [200, 60, 10]),
}


def make_net(shape="small", *, hidden="tanh", output="softmax", dtype="float32", seed=7, loss=None):
    n_in, units = SHAPES[shape]
    if output == "softmax" and units[-1] == 1:
        output = "sigmoid"
    layers = [*(nf.Dense(n, hidden, bias_initializer=0.05) for n in units[:-1]), nf.Dense(units[-1], output)]
    return nf.Sequential(layers, input_shape=n_in, dtype=dtype, seed=seed, loss=loss)


def make_data(net, n, seed=1):
    """Return rows, and labels or targets that fit the last layer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *net.input_shape)).astype(net.dtype)
    units, activation = net.layers[-1].units, net.layers[-1].activation
    if activation == "softmax":
        return x, rng.integers(0, units, n)
    if activation == "sigmoid":
        return x, rng.integers(0, 2, (n, units)).astype(net.dtype)
    return x, rng.normal(size=(n, units)).astype(net.dtype)


def equal_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same_networks(a, b):
    """Compare parameters, optimizer and random streams; not the history, a separate object."""
    assert state(a)[:2] == state(b)[:2]


# ---- rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_alone_has_the_bits_it_has_in_any_batch(shape, dtype):
    net = make_net(shape, dtype=dtype)
    x, _ = make_data(net, 300)
    together = net.predict(x)
    assert equal_bits(np.stack([net.predict_one(row) for row in x]), together)
    out = np.empty(together.shape[1], dtype)
    assert all(equal_bits(net.predict_one(row, out=out), t) for row, t in zip(x, together, strict=True))
    sizes = range(1, 301) if shape in ("small", "odd") else (1, 2, 3, 5, 8, 11, 12, 13, 24, 25, 47, 97, 240, 241, 299)
    for size in sizes:
        first = (7 * size) % (301 - size)  # anywhere, not only from the start
        assert equal_bits(net.predict(x[first : first + size]), together[first : first + size]), size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_gives_a_row_the_same_bits(activation, dtype):
    net = make_net("odd", hidden=activation, output=activation, dtype=dtype)
    x, _ = make_data(net, 100)
    together = net.predict(x)
    for size in (1, 2, 5, 7, 12, 13, 50):
        assert equal_bits(np.concatenate([net.predict(x[i : i + size]) for i in range(0, 100, size)]), together)
    assert equal_bits(net.forward(x, training=True), together)
    assert equal_bits(net.forward(x[:1], training=True), together[:1])


@given(
    st.integers(1, 40),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 60),
    st.sampled_from(DTYPES),
)
@settings(max_examples=40)
def test_a_row_alone_has_the_same_bits_at_any_widths(n_in, units, n, dtype):
    net = nf.Sequential([nf.Dense(k, "sigmoid") for k in units], input_shape=n_in, dtype=dtype, seed=0)
    x, _ = make_data(net, n)
    together = net.predict(x)
    assert equal_bits(np.stack([net.predict_one(row) for row in x]), together)
    assert equal_bits(net.forward(x, training=True), together)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_of_a_row_do_not_depend_on_how_it_lies_in_memory(dtype):
    net = make_net("odd", dtype=dtype)
    x, y = make_data(net, 37)
    together = net.predict(x)
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (
        x.T.copy().T,
        np.repeat(x, 2, axis=1)[:, ::2],
        x.astype(x.dtype.newbyteorder()),
        misaligned,
        read_only,
    ):
        assert equal_bits(net.predict(other), together)
        assert equal_bits(net.predict_one(other[3]), together[3])
        assert net.loss(other, y) == net.loss(x, y)


# ---- threads


@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_do_not_depend_on_threads(dtype):
    net = make_net("threads", dtype=dtype)
    x, y = make_data(net, 1000)
    results = []
    for threads in (1, 2, 3, 4):
        with nf.num_threads(threads):
            results.append((net.predict(x).tobytes(), net.loss(x, y), net.accuracy(x, y)))
            results[-1] += (net.forward(x, training=True).tobytes(),)
    assert results[1:] == results[:1] * 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 31, 32, 100])
def test_gradients_do_not_depend_on_threads(n, dtype):
    net = make_net("threads", dtype=dtype)
    x, y = make_data(net, n)
    gout = np.random.default_rng(2).normal(size=(n, 10))
    results = []
    for threads in (1, 2, 3, 4):
        with nf.num_threads(threads):
            net.forward(x, training=True)
            gx = net.backward(gout)
            gradient = np.concatenate([g.ravel() for g in net.gradient(x, y).values()])
            results.append((gradient.tobytes(), gx.tobytes(), net.flat_grads.tobytes()))
    assert results[1:] == results[:1] * 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
def test_training_does_not_depend_on_threads(output, dtype, optimizer):
    nets, histories = [], []
    for threads in (1, 2, 3, 4):
        nets.append(make_net("threads", output=output, dtype=dtype))
        x, y = make_data(nets[-1], 107)
        with nf.num_threads(threads):
            history = nets[-1].fit(x, y, epochs=3, batch_size=32, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
            loss = nets[-1].train_step(x, y, OPTIMIZERS[optimizer].make())
        histories.append((dict(history), history.step_loss.tobytes(), loss))
    assert histories[1:] == histories[:1] * 3
    for net in nets[1:]:
        assert_same_networks(net, nets[0])


@given(st.integers(1, 64), st.lists(st.integers(1, 64), min_size=1, max_size=3), st.integers(1, 70), st.integers(2, 9))
@settings(max_examples=15)
def test_training_at_any_widths_does_not_depend_on_threads(n_in, units, n, threads):
    """With enough layers of 256 units in between to give many threads work."""
    nets = []
    for count in (1, threads):
        layers = [nf.Dense(k, "relu") for k in (*units, 256, 256)]
        nets.append(nf.Sequential([*layers, nf.Dense(3, "tanh")], input_shape=n_in, seed=5))
        x, y = make_data(nets[-1], n)
        with nf.num_threads(count):
            nets[-1].fit(x, y, epochs=2, batch_size=64, verbose=0)
    assert_same_networks(*nets)


# ---- two runs, a copy, a file


def test_long_steps_are_steps():
    """A step split into pieces, to check for Ctrl-C in between, agrees with the formulas on any number of threads."""
    net = nf.Sequential(
        [nf.Dense(300, "tanh"), nf.Dense(7, "softmax")], input_shape=500, dtype="float64", seed=0
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 500)), np.arange(2000) % 7
    loss, expected = NumpyNetwork(net).loss_and_gradient(x, np.eye(7)[y])
    gradients, stepped = [], []
    for threads in (1, 2, 3):
        with nf.num_threads(threads):
            gradients.append(net.gradient(x, y))
            other = net.copy()
            assert_close(np.float64(other.train_step(x, y, nf.SGD(0.1))), loss, scale=10.0)
            stepped.append(other.flat_params.copy())
    for name, gradient in gradients[0].items():
        assert_close(gradient, expected[name], scale=1.0)
        assert all((other[name] == gradient).all() for other in gradients)
    assert all((other == stepped[0]).all() for other in stepped)
    flat = np.concatenate([gradient.ravel() for gradient in gradients[0].values()])
    assert_close(stepped[0], net.flat_params - 0.1 * flat, scale=1.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_fits_with_one_seed_are_one(dtype, optimizer):
    nets = [make_net("odd", dtype=dtype, seed=3) for _ in range(2)]
    x, y = make_data(nets[0], 100)
    histories = [net.fit(x, y, epochs=4, optimizer=OPTIMIZERS[optimizer].make(), verbose=0) for net in nets]
    assert_same_networks(*nets)
    assert equal_bits(histories[0].step_loss, histories[1].step_loss)
    assert dict(histories[0]) == dict(histories[1])
    other = make_net("odd", dtype=dtype, seed=4)
    other.flat_params[:] = make_net("odd", dtype=dtype, seed=3).flat_params
    other.fit(x, y, epochs=4, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    assert not equal_bits(other.flat_params, nets[0].flat_params), "the seed must also tell the order of samples"


@pytest.mark.parametrize("by", ["copy", "file"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_and_a_loaded_net_go_on_with_the_same_bits(by, optimizer, dtype, tmp_path):
    net = make_net("odd", dtype=dtype)
    x, y = make_data(net, 100)
    net.fit(x, y, epochs=2, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    if by == "copy":
        twin = net.copy()
    else:
        net.save(tmp_path / "net.npz")
        twin = nf.load(tmp_path / "net.npz")
    assert_same_networks(net, twin)
    assert not np.may_share_memory(net.flat_params, twin.flat_params)
    assert equal_bits(net.predict(x), twin.predict(x))

    before = state(net)
    twin.fit(x, y, epochs=2, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    assert state(net) == before
    net.fit(x, y, epochs=2, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    assert_same_networks(net, twin)
    assert net.train_step(x, y, OPTIMIZERS[optimizer].make()) == twin.train_step(x, y, OPTIMIZERS[optimizer].make())
    assert_same_networks(net, twin)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fits_one_after_another_are_one_fit(optimizer):
    """Without shuffling, where the order of samples is the same from the start."""
    once, twice = make_net("odd"), make_net("odd")
    x, y = make_data(once, 100)
    once.fit(x, y, epochs=5, shuffle=False, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    twice.fit(x, y, epochs=2, shuffle=False, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    twice.fit(x, y, epochs=3, shuffle=False, optimizer=OPTIMIZERS[optimizer].make(), verbose=0)
    assert_same_networks(once, twice)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_callbacks_validation_and_the_progress_bar_change_no_bits(optimizer, capsys):
    """In the network and in the history: with them epochs are recorded one by one, without them many at a time."""
    plain, watched = make_net("odd", dtype="float64"), make_net("odd", dtype="float64")
    x, y = make_data(plain, 100)
    arguments = {"epochs": 30, "batch_size": 7, "optimizer": OPTIMIZERS[optimizer].make()}
    alone = plain.fit(x, y, verbose=0, **arguments)
    seen = watched.fit(x, y, validation_data=(x, y), callbacks=[lambda net, history: net.predict(x)], **arguments)
    assert_same_networks(plain, watched)
    assert alone.step_loss.tolist() == seen.step_loss.tolist()
    for name in alone:
        assert alone[name] == seen[name]


# ---- fused and separate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_train_step_is_a_step_of_fit(optimizer, dtype):
    fitted, stepped = make_net("odd", dtype=dtype), make_net("odd", dtype=dtype)
    x, y = make_data(fitted, 50)
    history = fitted.fit(
        x, y, epochs=3, batch_size=16, shuffle=False, optimizer=OPTIMIZERS[optimizer].make(), verbose=0
    )
    chosen = OPTIMIZERS[optimizer].make()
    losses = [stepped.train_step(x[i : i + 16], y[i : i + 16], chosen) for _ in range(3) for i in range(0, 50, 16)]
    assert state_of_steps(fitted) == state_of_steps(stepped)
    assert history.step_loss.tolist() == losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_train_step_is_gradient_and_update(dtype, optimizer):
    """An update may be fused with the gradient before it: the bits are the same as with the two apart."""
    together, apart = make_net("odd", dtype=dtype), make_net("odd", dtype=dtype)
    x, y = make_data(together, 50)
    for _ in range(3):
        gradient = np.concatenate([g.ravel() for g in apart.gradient(x, y).values()])
        together.train_step(x, y, OPTIMIZERS[optimizer].make())
        apart.forward(x, training=True)
        apart.backward(np.zeros((50, 5)))
        apart.flat_grads[:] = gradient
        apart.update(OPTIMIZERS[optimizer].make())
        assert_same_networks(together, apart)


@pytest.mark.parametrize("dtype", DTYPES)
def test_train_step_is_gradient_and_a_step_down_by_hand(dtype):
    by_step, by_hand = make_net("odd", dtype=dtype), make_net("odd", dtype=dtype)
    x, y = make_data(by_step, 50)
    gradient = by_hand.gradient(x, y)
    by_step.train_step(x, y, nf.SGD(0.1))
    for name in by_hand.params:
        by_hand.params[name] -= 0.1 * gradient[name]
        assert_close(by_step.params[name], by_hand.params[name], scale=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("tanh", "mean_squared_error"),
        ("identity", "sum_squared_error"),
    ],
)
def test_train_step_is_forward_backward_update(output, loss, optimizer, dtype):
    """With the gradient of the loss with respect to the outputs; from the logits it only rounds differently."""
    fused, separate = (make_net("odd", output=output, loss=loss, dtype=dtype) for _ in range(2))
    x, y = make_data(fused, 50)
    if output == "softmax":
        y = np.eye(5, dtype=dtype)[y]
    fused_loss = fused.train_step(x, y, OPTIMIZERS[optimizer].make())
    out = separate.forward(x, training=True)
    separate.backward(getattr(nf.functions, f"{loss}_backward")(out, y))
    gradient = separate.flat_grads.copy()
    separate.update(OPTIMIZERS[optimizer].make())

    assert_close(np.dtype(dtype).type(fused_loss), getattr(nf.functions, loss)(out, y), scale=1 + fused_loss)
    flat = np.concatenate(
        [g.ravel() for g in make_net("odd", output=output, loss=loss, dtype=dtype).gradient(x, y).values()]
    )
    assert_close(gradient, flat, scale=1.0)
    if optimizer == "sgd":  # Adam's first step is the sign of the gradient, however small: rounding would not show
        assert_close(separate.flat_params, fused.flat_params, scale=1.0)
        assert not equal_bits(separate.flat_params, make_net("odd", output=output, loss=loss, dtype=dtype).flat_params)
