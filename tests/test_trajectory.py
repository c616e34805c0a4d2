"""Whole networks against a NumPy program: trajectories of training, and gradients against central differences."""

from __future__ import annotations

import kernel_calls as kernels
import numpy as np
import pytest
from numpy_network import NumpyNetwork, away_from_kinks, book_gradient
from optimizer_cases import OPTIMIZERS, begun, noisy_gradient, update
from tolerances import assert_close

import nnfast as nf
from nnfast import reference

SEED = 3
STEPS = 200
ROWS, FEATURES, BATCH = 53, 6, 8  # seven mini-batches an epoch, the last of 5 rows; the 200th step is inside an epoch
ACTIVATIONS = ("identity", "step", "sigmoid", "tanh", "relu", "softmax")

# Each output layer with each loss that it supports.
PAIRS = [(activation, loss) for activation in ACTIVATIONS for loss in ("mean_squared_error", "sum_squared_error")] + [
    ("softmax", "cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
]


def data(n_out, loss, *, rows=ROWS, labels=False):
    """Rows and targets from which a network with `n_out` outputs can learn."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(rows, FEATURES))
    score = np.tanh(x @ rng.normal(size=(FEATURES, n_out)))
    if loss == "cross_entropy":
        return x, score.argmax(axis=1) if labels else np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    if loss == "binary_cross_entropy":
        return x, (score > 0).astype(np.float64)
    return x, score


# hidden activation, output activation, outputs, loss, labels rather than rows of targets
NETWORKS = {
    "labels": ("sigmoid", "softmax", 4, "cross_entropy", True),
    "soft targets": ("relu", "softmax", 3, "cross_entropy", False),
    "binary": ("tanh", "sigmoid", 1, "binary_cross_entropy", False),
    "many binary": ("relu", "sigmoid", 5, "binary_cross_entropy", False),
    "tanh": ("sigmoid", "tanh", 3, "mean_squared_error", False),
    "regression": ("relu", "identity", 2, "sum_squared_error", False),
    "squares of softmax": ("softmax", "softmax", 3, "mean_squared_error", False),
}


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_trajectory_is_that_of_a_numpy_program(network, optimizer, shuffle):
    hidden, output, n_out, loss, labels = NETWORKS[network]
    net = nf.Sequential(
        [nf.Dense(13, hidden), nf.Dense(7, hidden), nf.Dense(n_out, output)],
        input_shape=FEATURES, loss=loss, dtype="float64", seed=SEED,
    )  # fmt: skip
    x, y = data(n_out, loss, labels=labels)
    twin = NumpyNetwork(net, SEED if shuffle else None)
    begin = net.flat_params.copy()
    history = net.fit(
        x, y, steps=STEPS, batch_size=BATCH, optimizer=OPTIMIZERS[optimizer].make(), shuffle=shuffle, verbose=0
    )
    losses = twin.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=OPTIMIZERS[optimizer].make())

    assert_close(history.step_loss, losses, scale=1.0, kind="trajectory")
    for name, parameters in twin.parameters.items():
        assert_close(net.params[name], parameters, scale=1.0, kind="trajectory")
    assert np.abs(net.flat_params - begin).max() > 0.01, "it hardly moved: the comparison says nothing"


def test_a_second_fit_goes_on_with_the_stream_of_shuffles():
    net = nf.Sequential([nf.Dense(1, "tanh")], input_shape=FEATURES, dtype="float64", seed=SEED)
    x, y = data(1, net.loss_name)
    twin = NumpyNetwork(net, SEED)
    for steps in (14, 21):  # whole epochs: one that ends early has drawn the order of the next
        history = net.fit(x, y, steps=steps, batch_size=BATCH, optimizer=nf.SGD(0.1), verbose=0)
        losses = twin.fit(x, y, steps=steps, batch_size=BATCH, optimizer=nf.SGD(0.1))
        assert_close(history.step_loss, losses, scale=1.0, kind="trajectory")
    assert_close(net.params["W1"], twin.parameters["W1"], scale=1.0, kind="trajectory")


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", [nf.Adam, nf.AdamW])
def test_adam_with_corrected_epsilon(kind, amsgrad):
    """In each step of a training, and it matters."""
    net = nf.Sequential([nf.Dense(7, "tanh"), nf.Dense(4, "softmax")], input_shape=FEATURES, dtype="float64", seed=SEED)
    x, y = data(4, "cross_entropy", labels=True)
    chosen = kind(0.02, beta2=0.95, epsilon=0.1, amsgrad=amsgrad, corrected_epsilon=True)
    twin, other = NumpyNetwork(net, SEED), net.copy()
    losses = net.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=chosen, verbose=0).step_loss
    assert_close(losses, twin.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=chosen), scale=1.0, kind="trajectory")
    chosen.corrected_epsilon = False
    assert not np.allclose(
        other.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=chosen, verbose=0).step_loss, losses
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_all_optimizers_have(optimizer):
    """Clipping, decay of weights alone, an average, and a schedule that cycles the momentum or beta1."""
    net = nf.Sequential([nf.Dense(7, "tanh"), nf.Dense(4, "softmax")], input_shape=FEATURES, dtype="float64", seed=SEED)
    x, y = data(4, "cross_entropy", labels=True)
    chosen = OPTIMIZERS[optimizer].make()
    cycled = "beta1" in chosen.fields or getattr(chosen, "momentum", 0) > 0
    chosen.learning_rate = nf.schedules.OneCycle(2 * chosen.learning_rate, steps=STEPS, cycle_momentum=cycled)
    chosen.weight_decay, chosen.decay_biases = 0.3, False
    chosen.clip_norm, chosen.clip_value, chosen.average_decay = 0.1, 0.02, 0.9
    twin = NumpyNetwork(net, SEED)
    begin = net.flat_params.copy()
    losses = net.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=chosen, verbose=0).step_loss
    assert_close(losses, twin.fit(x, y, steps=STEPS, batch_size=BATCH, optimizer=chosen), scale=1.0, kind="trajectory")
    for found, expected in ((net, twin.parameters), (net.averaged(), twin.averages)):
        for name, parameters in expected.items():
            assert_close(found.params[name], parameters, scale=1.0, kind="trajectory")
    assert np.abs(net.flat_params - begin).max() > 0.01, "it hardly moved: the comparison says nothing"


PROGRAMS = {name: row for name, row in OPTIMIZERS.items() if row.program}


@pytest.mark.parametrize("module", [kernels, reference], ids=lambda module: module.__name__)
@pytest.mark.parametrize("name", PROGRAMS)
def test_steps_are_those_of_the_source(name, module):
    rng = np.random.default_rng(3)
    begin, noise = rng.normal(size=19), 0.1 * rng.normal(size=(STEPS + 1, 19))
    optimizer, p, product = PROGRAMS[name].make(), begin.copy(), 1.0
    moments = begun(optimizer.values(), p)
    for step in range(1, STEPS + 1):
        product = update(module, optimizer.values(), p, noisy_gradient(p, noise[step]), moments, step, product)
    expected = PROGRAMS[name].program(optimizer, begin, lambda p, step: noisy_gradient(p, noise[step]), STEPS)
    assert_close(p, expected, scale=np.maximum(1, np.abs(expected)), kind="trajectory")
    assert np.abs(expected - begin).max() > 0.01, "it hardly moved: the comparison says nothing"


# ---- gradients

H = 1e-5  # of a central difference: its square, and the rounding of the loss divided by it, are both about 1e-10


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_gradients_from_labels_are_those_from_one_hot_rows(loss):
    net = nf.Sequential(
        [nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], input_shape=FEATURES, loss=loss, dtype="float64", seed=SEED
    )
    x, y = data(4, "cross_entropy", labels=True)
    labels, rows = net.gradient(x, y), net.gradient(x, np.eye(4)[y])
    for name in net.params:
        assert_close(labels[name], rows[name], scale=1.0)


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore:.* has activation 'step'")
def test_backward_is_the_derivative_of_forward(output):
    """For a custom loss, sum(c * outputs), with respect to the parameters and to the input."""
    net = nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(3, output)], input_shape=FEATURES, dtype="float64", seed=SEED)
    x = data(3, "mean_squared_error", rows=9)[0]
    x = x[away_from_kinks(net, x, 1000 * H)]
    c = np.random.default_rng(4).normal(size=(len(x), 3))
    out = net.forward(x, training=True)
    gx = net.backward(c)
    scale = np.abs(c * out).sum()

    for found, array in ((net.flat_grads, net.flat_params), (gx, x)):
        numerical = book_gradient(lambda: np.sum(c * net.predict(x)), array, H)
        assert_close(found, numerical, scale=scale + np.abs(numerical), kind="difference")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_outputs_loss_and_gradient_are_those_of_the_numpy_twin(output, loss, dtype):
    """At widths that are not multiples of a vector, in both dtypes, with the error bound of sums of this length."""
    net = nf.Sequential(
        [nf.Dense(37, "tanh"), nf.Dense(19, "sigmoid"), nf.Dense(5, output)],
        input_shape=FEATURES, loss=loss, dtype=dtype, seed=SEED,
    )  # fmt: skip
    x, y = (array.astype(dtype) for array in data(5, loss))
    twin = NumpyNetwork(net)
    twin.parameters = {name: array.astype(np.float64) for name, array in twin.parameters.items()}
    value, gradients = twin.loss_and_gradient(x.astype(np.float64), y.astype(np.float64))
    dtype = np.dtype(dtype).type
    assert_close(dtype(net.loss(x, y)), value, scale=1 + value)
    for name, gradient in net.gradient(x, y).items():
        assert_close(gradient, gradients[name], scale=1.0)
