"""Losses of one's own: Python functions of mini-batches, and compiled functions of rows."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import types

import numpy as np
import pytest
from tolerances import assert_close, tolerance

import nnfast as nf
from nnfast.engine.program import Differences
from nnfast.losses import Custom

N, FEATURES = 150, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, FEATURES))
Y3 = RNG.standard_normal((N, 3))
Y1 = RNG.standard_normal(N)
LABELS = RNG.integers(0, 3, N)
WEIGHTS = RNG.integers(0, 4, N).astype(float)


# ---- twins of nnfast's losses


def mean_over_rows(losses, gradients, sample_weight):
    weights = np.ones(len(losses)) if sample_weight is None else sample_weight
    by_row = weights.reshape(-1, *[1] * (gradients.ndim - 1))
    return (weights * losses).sum() / weights.sum(), (by_row * gradients) / weights.sum()


def squared(outputs, targets, sample_weight=None):
    error = outputs - targets
    axes = tuple(range(1, error.ndim))
    return mean_over_rows(0.5 * (error**2).sum(axis=axes), error, sample_weight)


def of_labels(outputs, targets, sample_weight=None):
    """The cross entropy of probabilities."""
    rows = np.arange(len(outputs))
    own = outputs[rows, targets]
    slopes = np.zeros_like(outputs)
    slopes[rows, targets] = -1 / own
    return mean_over_rows(-np.log(own), slopes, sample_weight)


def of_logarithms(outputs, targets, sample_weight=None):
    rows = np.arange(len(outputs))
    slopes = np.zeros_like(outputs)
    slopes[rows, targets] = -1
    return mean_over_rows(-outputs[rows, targets], slopes, sample_weight)


def binary(outputs, targets, sample_weight=None):
    losses = -(targets * np.log(outputs) + (1 - targets) * np.log(1 - outputs)).mean(axis=1)
    slopes = (outputs - targets) / (outputs * (1 - outputs)) / outputs.shape[1]
    return mean_over_rows(losses, slopes, sample_weight)


TWINS = {  # name: function, nnfast's loss, activation, targets
    "squared": (squared, "sum_squared_error", "identity", Y3),
    "one output": (squared, "sum_squared_error", "identity", Y1),
    "labels": (of_labels, "cross_entropy", "softmax", LABELS),
    "logarithms": (of_logarithms, "cross_entropy", "log_softmax", LABELS),
    "binary": (binary, "binary_cross_entropy", "sigmoid", (Y3 > 0).astype(float)),
}


def network(loss, activation="identity", units=3, dtype="float64", layers=(), **options):
    return nf.Sequential(
        [nf.Dense(6, "tanh"), *layers, nf.Dense(units, activation)],
        input_shape=FEATURES, loss=loss, dtype=dtype, seed=0, **options,
    )  # fmt: skip


def pair(name, **options):
    f, loss, activation, y = TWINS[name]
    units = 1 if y is Y1 else 3
    return network(f, activation, units, **options), network(loss, activation, units, **options), y


def close(actual, expected, dtype="float64", kind=None):
    kind = kind or ("trajectory" if dtype == "float64" else "saved")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance(dtype, kind))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TWINS)
def test_trains_like_the_twin(name, dtype, weights):
    layers = (nf.BatchNorm(), nf.Dropout(0.2))
    own, built_in, y = pair(name, dtype=dtype, layers=layers)
    options = {"sample_weight": weights, "validation_data": (X[:50], y[:50]), "verbose": 0}
    found = [net.fit(X, y, epochs=4, batch_size=40, **options) for net in (own, built_in)]
    close(own.flat_params, built_in.flat_params, dtype)
    assert list(found[0]) == list(found[1])
    for key in found[0]:
        close(found[0][key], found[1][key], dtype)
    assert not np.allclose(own.params["W1"], pair(name, dtype=dtype, layers=layers)[0].params["W1"], atol=1e-3)
    close(own.train_step(X, y, sample_weight=weights), built_in.train_step(X, y, sample_weight=weights), dtype)
    close(own.flat_params, built_in.flat_params, dtype)


@pytest.mark.parametrize("name", TWINS)
def test_same_bits_on_any_number_of_threads(name):
    found = set()
    for threads in (1, 2, 3):
        net = pair(name, layers=(nf.BatchNorm(), nf.Dropout(0.2)))[0]
        with nf.num_threads(threads):
            net.fit(X, TWINS[name][3], steps=9, batch_size=100, verbose=0, sample_weight=WEIGHTS)
            gradient = net.gradient(X, TWINS[name][3])
        found.add((net.flat_params.tobytes(), *(array.tobytes() for array in gradient.values())))
    assert len(found) == 1


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_wide_layers_with_threads(clip_norm):
    """Each thread does its share of a step that is large enough for several."""
    own, built_in = (
        nf.Sequential([nf.Dense(300, "relu"), nf.Dense(3)], input_shape=200, loss=loss, seed=0, dtype="float64")
        for loss in (squared, "sum_squared_error")
    )
    x, y = RNG.standard_normal((512, 200)), RNG.standard_normal((512, 3))
    options = {} if clip_norm is None else {"clip_norm": clip_norm}
    with nf.num_threads(2):
        for net in (own, built_in):
            net.fit(x, y, steps=4, batch_size=256, optimizer=nf.SGD(0.01, **options), verbose=0)
    close(own.flat_params, built_in.flat_params)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", TWINS)
def test_gradients(name, training):
    own, built_in, y = pair(name, layers=(nf.BatchNorm(),))
    options = {"wrt": ["x", "W1", "gamma1", "b2"], "sample_weight": WEIGHTS[:20], "training": training}
    data = X[:20], y[:20]
    found, expected = (net.gradient(*data, **options) for net in (own, built_in))
    numerical, reference = (net.numerical_gradient(*data, **options, verbose=0) for net in (own, built_in))
    for array in found:
        close(found[array], expected[array])
        close(numerical[array], reference[array], kind="difference")
    assert own.check_gradient(*data, verbose=0, **options)
    close(own.loss(*data, training=training), built_in.loss(*data, training=training))


def test_a_float32_network_is_checked_in_float64():
    dtypes = set()

    def noted(outputs, targets):
        dtypes.add((outputs.dtype.name, targets.dtype.name))
        return squared(outputs, targets)

    net = network(noted, dtype="float32")
    net.loss(X, Y3)
    assert dtypes == {("float32", "float32")}
    assert net.check_gradient(X[:9], Y3[:9], verbose=0)
    assert dtypes == {("float32", "float32"), ("float64", "float64")}


def test_a_function_that_computes_in_float32():
    def single(outputs, targets):
        loss, slopes = squared(outputs.astype(np.float32), targets.astype(np.float32))
        return np.float32(loss), slopes

    net = network(single)
    net.fit(X, Y3, verbose=0)
    for call in (net.check_gradient, net.numerical_gradient):
        with pytest.warns(
            UserWarning, match=r"loss 'single' returned .* looks like float32, whose rounding hides the sl"
        ):
            call(X[:9], Y3[:9])


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        (lambda slopes: -slopes, "has the wrong sign"),
        (lambda slopes: slopes * len(slopes), "is 9 times the numerical one: a factor is wrong"),
        (lambda slopes: 0 * slopes, "is zero: a term is missing"),
        (lambda slopes: slopes * [1, 1, 2], "differs only in column 2"),
    ],
)
def test_check_gradient_finds_a_mistake(mistake, why):
    def wrong(outputs, targets):
        loss, slopes = squared(outputs, targets)
        return loss, mistake(slopes)

    report = network(wrong).check_gradient(X[:9], Y3[:9], verbose=0)
    assert not report
    assert report["W2"].why == why


def test_penalties_and_the_input_are_part_of_numerical_gradients():
    nets = [
        nf.Sequential([nf.Dense(3, l1=0.1, l2=0.2)], input_shape=FEATURES, loss=loss, dtype="float64", seed=0)
        for loss in (squared, "sum_squared_error")
    ]
    found = [net.numerical_gradient(X[:9], Y3[:9], wrt=["W1", "x"], verbose=0) for net in nets]
    for name in ("W1", "x"):
        close(found[0][name], found[1][name], kind="difference")
    close(nets[0].loss(X, Y3), nets[1].loss(X, Y3))
    assert nets[0].check_gradient(X[:9], Y3[:9], verbose=0)


def test_fit_with_numerical_gradients():
    own, built_in, y = pair("labels", layers=(nf.BatchNorm(), nf.Dropout(0.2)))
    for net in (own, built_in):
        net.fit(X, y, steps=4, batch_size=30, gradient="numerical", optimizer="sgd", verbose=0)
    close(own.flat_params, built_in.flat_params, kind="rough difference")
    close(own.statistics["mean1"], built_in.statistics["mean1"], kind="rough difference")


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_lbfgs(gradient):
    own, built_in, y = pair("squared")
    rows = slice(None) if gradient == "backpropagation" else slice(20)
    for net in (own, built_in):
        with pytest.warns(RuntimeWarning, match="L-BFGS did not converge in 5 iterations"):
            net.fit(X[rows], y[rows], epochs=5, optimizer="lbfgs", gradient=gradient, verbose=0)
    close(own.history.step_loss, built_in.history.step_loss, kind="rough difference")
    assert own.history.step_loss[-1] < own.history.step_loss[0]


def test_fit_many_gives_the_bits_of_fit():
    def fresh():
        return [network(squared), network("sum_squared_error"), network(squared, layers=(nf.Dropout(0.1),))]

    alone, together = fresh(), fresh()
    options = {"epochs": 3, "batch_size": 32, "verbose": 0}
    for net in alone:
        net.fit(X, Y3, validation_data=(X[:9], Y3[:9]), **options)
    histories = nf.fit_many(together, X, Y3, validation_data=(X[:9], Y3[:9]), **options)
    for one, other, history in zip(alone, together, histories, strict=True):
        np.testing.assert_array_equal(one.flat_params, other.flat_params)
        assert dict(one.history) == dict(history)


# ---- what the function gets


def noting(calls, f=squared):
    def noted(outputs, targets, **weights):
        calls.append((outputs, targets, weights.get("sample_weight")))
        return f(outputs, targets, **weights)

    return noted


def test_a_loss_is_that_of_the_predictions():
    calls = []
    net = network(noting(calls), layers=(nf.BatchNorm(),))
    net.fit(X, Y3, epochs=1, verbose=0)
    calls.clear()
    for loss in (net.loss(X, Y3), net.evaluate(X, Y3)["loss"]):
        assert loss == squared(net.predict(X), Y3)[0]
    assert len(calls) == 2
    np.testing.assert_array_equal(calls[0][0], net.predict(X))
    np.testing.assert_array_equal(calls[0][1], Y3)


def test_is_called_once_for_each_mini_batch_in_the_calling_thread():
    calls, threads = [], set()

    def noted(outputs, targets):
        threads.add(threading.get_ident())
        return noting(calls)(outputs, targets)

    with nf.num_threads(3):
        network(noted).fit(X, Y3, epochs=2, batch_size=40, shuffle=False, verbose=0)
    assert [len(outputs) for outputs, _, _ in calls] == [40, 40, 40, 30] * 2
    np.testing.assert_array_equal(np.concatenate([targets for _, targets, _ in calls[:4]]), Y3)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_read_only_and_stay_as_they_are(dtype):
    calls, copies = [], []

    def noted(outputs, targets, sample_weight):
        calls.append((outputs, targets, sample_weight))
        copies.append([array.copy() for array in calls[-1]])
        return squared(outputs, targets, sample_weight)

    network(noted, dtype=dtype).fit(X, Y3, epochs=2, batch_size=40, sample_weight=WEIGHTS + 1, verbose=0)
    for arrays, before in zip(calls, copies, strict=True):
        assert [array.flags.writeable for array in arrays] == [False] * 3
        assert [array.dtype for array in arrays] == [dtype, dtype, "float64"]
        for array, same in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, same)
    rows = {row.tobytes() for row in Y3.astype(dtype)}
    assert {row.tobytes() for _, targets, _ in calls[:4] for row in targets} == rows, "each row once an epoch"


def test_shuffled_rows_keep_their_targets_and_weights():
    calls = []
    y = np.arange(N)
    net = network(noting(calls, lambda outputs, targets, sample_weight: (0.0, 0 * outputs)))
    net.fit(X, y, epochs=1, batch_size=40, sample_weight=y + 1.0, verbose=0)
    for outputs, targets, weights in calls:
        assert targets.dtype == np.int64
        np.testing.assert_array_equal(targets + 1, weights)
        np.testing.assert_array_equal(outputs, net.predict(X[targets]))


@pytest.mark.parametrize(
    ("y", "units", "shape", "dtype"),
    [
        (LABELS, 3, (), "int64"),
        (LABELS - 100, 3, (), "int64"),
        (LABELS.astype("uint8"), 3, (), "int64"),
        (LABELS > 1, 3, (), "int64"),
        (LABELS, 1, (1,), "float32"),
        (Y1, 1, (1,), "float32"),
        (Y3[:, :2], 3, (2,), "float32"),
        (Y3, 1, (3,), "float32"),
        (np.repeat(Y3[:, :, None], 7, axis=2), 3, (3, 7), "float32"),
        (LABELS[:, None], 3, (1,), "float32"),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_targets_of_any_shape(y, units, shape, dtype, shuffle):
    calls = []
    net = network(
        noting(calls, lambda outputs, targets: ((outputs**2).sum(), 2 * outputs)), units=units, dtype="float32"
    )
    net.fit(X, y, batch_size=40, shuffle=shuffle, verbose=0)
    net.loss(X, y)
    net.gradient(X, y)
    nf.fit_many([net], X, y, rows=[np.arange(9)], validation_rows=[np.arange(9, N)], verbose=0)
    net.check_gradient(X[:5], y[:5], verbose=0)
    for outputs, targets, _ in calls:
        assert targets.shape == (len(outputs), *shape)
        assert targets.dtype == (dtype if outputs.dtype == np.float32 or dtype == "int64" else "float64")
    expected = np.asarray(y).reshape(N, *shape).astype(dtype)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([t for _, t, _ in calls[:4]]), axis=0), np.sort(expected, axis=0)
    )
    np.testing.assert_array_equal(calls[4][1], expected)


def test_wider_targets_after_narrower_ones():
    """The memory for mini-batches grows with the targets."""
    calls = []
    net = network(noting(calls, lambda outputs, targets: (targets.sum(), 0 * outputs)))
    for width in (1, 50, 3, 200):
        y = np.arange(N)[:, None] * np.ones(width)
        net.fit(X, y, batch_size=64, verbose=0)
        seen = np.concatenate([targets for _, targets, _ in calls])
        np.testing.assert_array_equal(np.sort(seen, axis=0), y)
        calls.clear()


def test_outputs_with_several_axes():
    layers = [nf.Dense(6), nf.Reshape((2, 3))]
    own, built_in = (
        nf.Sequential(layers, input_shape=FEATURES, loss=loss, seed=0, dtype="float64")
        for loss in (squared, "sum_squared_error")
    )
    y = RNG.standard_normal((N, 2, 3))
    for net in (own, built_in):
        net.fit(X, y, steps=5, verbose=0)
    close(own.flat_params, built_in.flat_params)
    assert own.check_gradient(X[:4], y[:4], verbose=0)
    single = nf.Sequential([nf.Dense(1), nf.Reshape((1, 1))], input_shape=FEATURES, loss=squared, seed=0)
    assert np.isfinite(single.loss(X, Y1))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (Y1, ValueError, r"y must hold integer labels, of shape \(150,\), or rows .* \(150, ...\), .*use y\[:, None\]"),
        (np.ones((N, 0)), ValueError, "y must hold integer labels"),
        (Y3[:9], ValueError, "y must have as many rows as x: 150, got shape"),
        (np.full((N, 3), "a"), TypeError, "y must hold real numbers"),
        (np.full((N, 3), np.nan), ValueError, "y must be finite"),
        (np.full(N, 2**63, np.uint64), ValueError, "y must hold labels that fit into int64, got 9223372036854775808"),
    ],
)
def test_targets_that_do_not_fit(y, error, message):
    net = network(squared)
    with pytest.raises(error, match=message):
        net.fit(X, y, verbose=0)
    assert net.history is None


def first_column(outputs, targets, sample_weight=None):
    """The mean square of the difference to the first number of each target, of any shape."""
    weights = np.ones(len(outputs)) if sample_weight is None else sample_weight
    error = outputs - targets.reshape(len(outputs), -1)[:, :1]
    scaled = weights[:, None] / weights.sum()
    return (scaled * error**2).sum(), 2 * scaled * error


DEEP = np.repeat(Y3[:, :, None], 2, axis=2)
NO_CLASSES = {
    "deep": (DEEP, r"targets of the shape of the outputs, got shape \(150, 3, 2\)"),
    "narrow": (Y3[:, :2], r"targets of the shape of the outputs, got shape \(150, 2\)"),
    "negative": (LABELS - 5, "labels from 0 to 2, got -5 to -3"),
    "huge": (LABELS + 2**40, "labels from 0 to 2, got 1099511627776 to 1099511627778"),
}


@pytest.mark.parametrize("name", NO_CLASSES)
def test_targets_that_are_no_classes(name):
    """They have no classes to weight, and are divided without any."""
    y, message = NO_CLASSES[name]
    for class_weight in ("balanced", {0: 2.0}):
        net = network(first_column, activation="softmax")
        with pytest.raises(ValueError, match=f"^class_weight needs {message}$"):
            net.fit(X, y, class_weight=class_weight, verbose=0)
        assert net.history is None
        with pytest.raises(ValueError, match=f"^batch 1: class_weight needs {message}$"):
            net.fit([(X, y)], class_weight={0: 2.0}, verbose=0)
    history = net.fit(X, y, validation_split=0.2, verbose=0, batch_size=60)
    assert len(history.step_loss) == 2
    assert len(history["val_loss"]) == 1


def test_rows_of_one_class_each_with_several_axes():
    y = np.eye(3)[LABELS][:, :, None]
    deep, flat = (network(first_column, activation="softmax") for _ in range(2))
    for net, targets in ((deep, y), (flat, y[:, :, 0])):
        net.fit(X, targets, class_weight={0: 3.0}, validation_split=0.3, verbose=0)
    assert deep.flat_params.tobytes() == flat.flat_params.tobytes()
    assert dict(deep.history) == dict(flat.history)


def worst(targets, outputs):
    return np.abs(outputs).max()


OTHER_TARGETS = {
    "narrow": (None, Y3[40:, :1], r"metric 'accuracy' needs targets of the shape of the outputs, got shape \(110, 1\)"),
    "labels": (None, LABELS[40:] + 7, "metric 'accuracy' needs labels from 0 to 2, got 7 to 9"),
    "by name": (["f1_macro"], LABELS[40:] - 7, "metric 'f1_macro' needs labels from 0 to 2, got -7 to -5"),
    "own metric": ([worst], Y3[40:, :1], r"y must have rows of the same shape.*got shape \(110, 1\) after \(40, 3\)"),
}


@pytest.mark.parametrize("name", OTHER_TARGETS)
def test_targets_of_later_batches_fit_the_metrics(name):
    """The engine would read past the end of targets that are narrower than those of the first batch."""
    metrics, other, message = OTHER_TARGETS[name]
    net, twin = (network(first_column, activation="softmax") for _ in range(2))
    with pytest.raises(ValueError, match=f"^batch 2: {message}"):
        net.fit([(X[:40], Y3[:40]), (X[40:], other)], metrics=metrics, verbose=0)
    twin.fit([(X[:40], Y3[:40])], metrics=metrics, verbose=0)
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()
    history = twin.fit([(X[:40], Y3[:40]), (X[40:], other)], metrics=[], verbose=0)
    assert len(history.step_loss) == 2


# ---- what it returns


def returns(value):
    return lambda outputs, targets: value(outputs)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (lambda o: 1.0, TypeError, r"loss 'custom' must return \(loss, gradient\), got 1.0 \(float\)"),
        (lambda o: None, TypeError, r"loss 'custom' must return \(loss, gradient\), got None"),
        (lambda o: (1.0, o, o), TypeError, r"must return \(loss, gradient\)"),
        (lambda o: o, TypeError, r"must return \(loss, gradient\), got an array of shape \(50, 3\)"),
        (lambda o: (o, o), TypeError, r"loss 'custom' must return one real number, got an array of shape \(50, 3\)"),
        (lambda o: (1j, o), TypeError, "must return one real number"),
        (lambda o: ("1", o), TypeError, "must return one real number"),
        (lambda o: (1.0, o[:9]), ValueError, r"the gradient of loss 'custom' must have shape \(50, 3\), got \(9, 3\)"),
        (lambda o: (1.0, o[0]), ValueError, r"must have shape \(50, 3\), got \(3,\)"),
        (lambda o: (1.0, 0.0), ValueError, r"must have shape \(50, 3\), got \(\)"),
        (lambda o: (1.0, o + 1j), TypeError, "the gradient of loss 'custom' must hold real numbers"),
        (lambda o: (1.0, None), TypeError, "the gradient of loss 'custom' must hold real numbers"),
        (lambda o: (1.0, np.full(o.shape, 1e300)), ValueError, "the gradient of loss 'custom' must fit into float32"),
    ],
)
def test_wrong_results(value, error, message):
    net = network(returns(value), dtype="float32")
    before = net.flat_params.copy()
    for call in (net.fit, net.train_step, net.loss, net.evaluate, net.gradient):
        options = {"batch_size": 50, "verbose": 0} if call == net.fit else {}
        with pytest.raises(error, match=message):
            call(X[:50], Y3[:50], **options)
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize(
    "value",
    [
        lambda loss, slopes: (np.float32(loss), slopes.astype(np.float32)),
        lambda loss, slopes: [np.array([loss]), slopes.tolist()],
        lambda loss, slopes: (np.array(loss), np.asfortranarray(slopes)),
        lambda loss, slopes: (loss, slopes[::-1][::-1]),
    ],
)
def test_results_of_other_types(value):
    own, built_in, y = pair("squared")
    own = network(lambda outputs, targets: value(*squared(outputs, targets)))
    for net in (own, built_in):
        net.fit(X, y, steps=3, optimizer="sgd", verbose=0)
    close(own.flat_params, built_in.flat_params, "float32")


def test_an_array_that_is_returned_again_and_again():
    memory = np.empty((50, 3))

    def reuses(outputs, targets):
        loss, memory[...] = squared(outputs, targets)
        return loss, memory

    own, built_in, y = pair("squared")
    own = network(reuses)
    for net in (own, built_in):
        net.fit(X, y, epochs=3, batch_size=50, verbose=0)
    close(own.flat_params, built_in.flat_params)
    assert own.check_gradient(X[:50], y[:50], verbose=0)


def test_changing_an_argument_is_an_error():
    def changes(outputs, targets):
        outputs -= targets
        return (outputs**2).sum(), 2 * outputs

    with pytest.raises(ValueError, match="read-only"):
        network(changes).fit(X, Y3, verbose=0)


def test_a_loss_that_is_not_finite():
    net = network(lambda outputs, targets: (np.nan, np.zeros_like(outputs)))
    with pytest.warns(RuntimeWarning, match="the training diverged: loss is nan in epoch 1, step 1"):
        net.fit(X, Y3, verbose=0)
    with pytest.raises(ValueError, match="the loss must be finite"):
        net.check_gradient(X, Y3)


# ---- weights


def test_a_function_without_weights():
    net = network(lambda outputs, targets: squared(outputs, targets))
    before = net.flat_params.copy()
    calls = {
        "fit": lambda: net.fit(X, Y3, sample_weight=WEIGHTS, verbose=0),
        "validation": lambda: net.fit(X, Y3, validation_data=(X, Y3, WEIGHTS), verbose=0),
        "fit_many": lambda: nf.fit_many([net], X, Y3, sample_weight=WEIGHTS, verbose=0),
        "train_step": lambda: net.train_step(X, Y3, sample_weight=WEIGHTS),
        "loss": lambda: net.loss(X, Y3, sample_weight=WEIGHTS),
        "evaluate": lambda: net.evaluate(X, Y3, sample_weight=WEIGHTS),
        "gradient": lambda: net.gradient(X, Y3, sample_weight=WEIGHTS),
        "numerical": lambda: net.numerical_gradient(X, Y3, sample_weight=WEIGHTS, verbose=0),
    }
    for call in calls.values():
        with pytest.raises(TypeError, match=r"loss 'custom' must accept weights .* no argument sample_weight"):
            call()
    assert net.history is None
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize(
    "f",
    [
        lambda outputs, targets, sample_weight: squared(outputs, targets, sample_weight),
        lambda outputs, targets, *, sample_weight=None: squared(outputs, targets, sample_weight),
        lambda outputs, targets, **options: squared(outputs, targets, **options),
    ],
)
def test_functions_with_weights(f):
    net = network(f)
    assert net.loss(X, Y3, sample_weight=WEIGHTS) == squared(net.predict(X), Y3, WEIGHTS)[0]


def test_a_mini_batch_without_weight_is_not_given_to_the_function():
    calls = []
    weights = np.r_[np.ones(50), np.zeros(50), np.ones(50)]
    own, built_in, y = pair("squared")
    own = network(noting(calls))
    for net in (own, built_in):
        net.fit(X, y, epochs=2, batch_size=50, sample_weight=weights, shuffle=False, verbose=0)
    assert len(calls) == 4
    close(own.flat_params, built_in.flat_params)
    close(own.history.step_loss, built_in.history.step_loss)
    assert own.history.step_loss[1] == 0


# ---- exceptions


class Mine(BaseException):
    pass


def failing(at, error):
    def f(outputs, targets):
        f.calls += 1
        if f.calls == at:
            raise error
        return squared(outputs, targets)

    f.calls = 0
    return f


@pytest.mark.parametrize("error", [ValueError("mine"), Mine(), StopIteration(), KeyboardInterrupt()])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}])
def test_an_exception_ends_fit_after_the_last_finished_step(error, threads, options):
    reference = network(squared)
    reference.fit(X, Y3, steps=5, batch_size=64, optimizer=nf.Adam(**options), verbose=0)
    net = network(failing(6, error))
    with nf.num_threads(threads), pytest.raises(type(error)) as caught:
        net.fit(X, Y3, epochs=9, batch_size=64, optimizer=nf.Adam(**options), verbose=0)
    assert caught.value is error
    assert caught.traceback[-1].name == "f", "its own traceback"
    np.testing.assert_array_equal(net.flat_params, reference.flat_params)
    assert len(net.history.step_loss) == 5
    assert len(net.history["loss"]) == 1
    net.fit(X, Y3, epochs=1, verbose=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_a_long_step(threads):
    """Such a step looks for Ctrl-C while it computes the gradients."""
    net = nf.Sequential([nf.Dense(2000, "relu"), nf.Dense(3)], input_shape=1500, loss=failing(1, Mine()), seed=0)
    before = net.flat_params.copy()
    with nf.num_threads(threads), pytest.raises(Mine):
        net.train_step(np.ones((300, 1500)), np.ones((300, 3)))
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize("layers", [(), (nf.BatchNorm(), nf.Dropout(0.2))])
def test_an_exception_in_single_calls(layers):
    for call in ("train_step", "loss", "evaluate", "gradient", "numerical_gradient"):
        f = failing(1, Mine())
        net, twin = (network(loss, layers=layers) for loss in (f, squared))
        with pytest.raises(Mine):
            getattr(net, call)(X, Y3)
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
        assert net.train_step(X, Y3) == twin.train_step(X, Y3), "dropout and statistics are those of the first step"
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_an_exception_in_other_trainings():
    net = network(failing(4, Mine()))
    with pytest.raises(Mine):
        net.fit(X, Y3, optimizer="lbfgs", verbose=0)
    assert np.isfinite(net.flat_params).all()
    net = network(failing(40, Mine()))
    with pytest.raises(Mine):
        net.fit(X[:9], Y3[:9], gradient="numerical", verbose=0)
    nets = [network("sum_squared_error"), network(failing(3, Mine()))]
    with pytest.raises(Mine):
        nf.fit_many(nets, X, Y3, epochs=5, batch_size=32, verbose=0)
    assert len(nets[1].history.step_loss) == 2
    for net in nets:
        net.fit(X, Y3, verbose=0)


@pytest.mark.measures
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("many", [False, True])
def test_ctrl_c(many):
    def slow(outputs, targets):
        time.sleep(0.001)
        return squared(outputs, targets)

    net, main = network(slow), threading.get_ident()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        if many:
            nf.fit_many([net], X, Y3, epochs=10_000, verbose=0)
        else:
            net.fit(X, Y3, epochs=10_000, verbose=0)
    assert time.monotonic() - begin < 5
    timer.join()
    steps = len(net.history.step_loss)
    assert steps > 0
    twin = network(squared)
    twin.fit(X, Y3, steps=steps, verbose=0)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_the_function_may_use_the_network():
    copies, nets = [], []

    def looks(outputs, targets):
        copies.append(nets[0].copy())
        np.testing.assert_array_equal(nets[0].params["W1"], copies[-1].params["W1"])
        with pytest.raises(RuntimeError, match="the network is busy"):
            nets[0].train_step(X, Y3)
        return squared(outputs, targets)

    nets.append(network(looks))
    nets[0].fit(X, Y3, steps=3, shuffle=False, batch_size=50, verbose=0)
    twin = network(squared)
    for i, after in enumerate(copies):
        np.testing.assert_array_equal(after.flat_params, twin.flat_params)
        twin.train_step(X[50 * i : 50 * i + 50], Y3[50 * i : 50 * i + 50])


# ---- metrics


@pytest.mark.parametrize(
    ("activation", "y", "names"),
    [
        ("softmax", LABELS, ["loss", "accuracy"]),
        ("log_softmax", LABELS, ["loss", "accuracy"]),
        ("softmax", np.eye(3)[LABELS], ["loss", "accuracy"]),
        ("sigmoid", np.eye(3)[LABELS], ["loss", "accuracy"]),
        ("softmax", LABELS + 1, ["loss"]),  # not classes
        ("softmax", LABELS - 1, ["loss"]),
        ("softmax", Y3[:, :2], ["loss"]),
        ("sigmoid", LABELS, ["loss"]),
        ("sigmoid", Y3, ["loss"]),
        ("identity", LABELS, ["loss"]),
        ("identity", Y3, ["loss"]),
    ],
)
@pytest.mark.filterwarnings("ignore:y has exactly one 1")
def test_accuracy_where_outputs_are_answers(activation, y, names):
    net = network(lambda outputs, targets: (0.0, np.zeros_like(outputs)), activation)
    net.fit(X, y, validation_data=(X, y), verbose=0)
    assert list(net.history) == [*names, *(f"val_{name}" for name in names)]
    assert list(net.evaluate(X, y)) == names
    if "accuracy" in names:
        labels = y if y.ndim == 1 else y.argmax(axis=1)
        right = (net.predict(X) > 0.5) == (y > 0.5) if activation == "sigmoid" else net.predict_class(X) == labels
        assert net.accuracy(X, y) == net.evaluate(X, y)["accuracy"] == right.mean()
        assert net.history["val_accuracy"][0] == right.mean()
    else:
        with pytest.raises(ValueError, match="metric 'accuracy' needs"):
            net.accuracy(X, y)


def test_other_metrics():
    class Largest(nf.metrics.Metric):
        name, direction = "largest", "lower"

        def compute(self, outputs, targets, sample_weight):
            assert outputs.shape == (N, 3)
            assert targets.shape == (N, 2)
            return targets.max()

    net = network(lambda outputs, targets: (0.0, np.zeros_like(outputs)))
    assert net.evaluate(X, Y3[:, :2], metrics=[Largest()])["largest"] == Y3[:, :2].max()
    with pytest.raises(ValueError, match=r"'mean_absolute_error' needs targets of the shape of the outputs, got shape"):
        net.evaluate(X, Y3[:, :2], metrics=["mean_absolute_error"])
    found = net.evaluate(X, Y3, metrics=["mean_absolute_error"], sample_weight=None)
    assert_close(found["mean_absolute_error"], np.abs(net.predict(X) - Y3).mean(), scale=np.abs(Y3).mean())


# ---- description, copies and files


class Slope:
    """A loss with a parameter, which can be pickled."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, outputs, targets, sample_weight=None):
        loss, slopes = squared(outputs, targets, sample_weight)
        return self.factor * loss, self.factor * slopes


def test_description():
    assert network(squared).loss_name == "squared"
    assert network(Custom(squared, name="mine")).loss_name == "mine"
    assert network(lambda o, t: (0.0, o)).loss_name == "custom"
    assert network(Slope(2)).loss_name == "custom"
    assert repr(Custom(squared)) == "Custom(squared)"
    assert repr(Custom(squared, name="mine")) == "Custom(squared, name='mine')"
    assert Custom(squared) == Custom(squared) != Custom(of_labels)
    assert len({Custom(squared), Custom(squared), Custom(squared, name="mine")}) == 2
    assert "loss=Custom(squared)" in repr(network(squared))
    with pytest.raises(AttributeError, match="does not change"):
        Custom(squared).name = "other"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, r"function must be a function of \(outputs, targets\), or a compiled one, got 3"),
        ((nf.losses.Huber,), TypeError, "function must be a function"),
        ((nf.losses.Huber(),), TypeError, "function must be a function"),
        ((), TypeError, "function"),
        ((squared, "mine"), TypeError, "takes"),
    ],
)
def test_wrong_functions(arguments, error, message):
    if arguments == (squared, "mine"):
        message = "too many positional arguments"
    with pytest.raises(error, match=message):
        Custom(*arguments)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (3, TypeError, "name must be a string, got 3"),
        ("", ValueError, "name must not be empty or the name of one of nnfast's losses, got ''"),
        ("huber", ValueError, "got 'huber'"),
    ],
)
def test_wrong_names(name, error, message):
    with pytest.raises(error, match=message):
        Custom(squared, name=name)


def test_a_class_is_no_loss():
    with pytest.raises(TypeError, match="an object of nf.losses or a function, got <class"):
        network(nf.losses.Huber)


@pytest.mark.parametrize("how", [lambda n: n.copy(), copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
@pytest.mark.parametrize("loss", [squared, Slope(2.0), Custom(squared, name="mine")])
def test_copies_train_alike(loss, how):
    net = network(loss)
    net.fit(X, Y3, steps=3, verbose=0)
    twin = how(net)
    assert twin.loss_name == net.loss_name
    for one in (net, twin):
        one.fit(X, Y3, steps=3, verbose=0)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_a_function_that_cannot_be_pickled():
    net = network(lambda outputs, targets: squared(outputs, targets))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(net)
    assert net.copy().loss(X, Y3) == net.loss(X, Y3)


def test_files(tmp_path):
    path = tmp_path / "net.npz"
    net = network(Custom(squared, name="mine"))
    net.fit(X, Y3, steps=3, verbose=0)
    net.save(path)
    with np.load(path) as archive:
        assert json.loads(str(archive["description"]))["loss"] == {"name": "mine", "custom": True}
    for loss in (squared, Custom(squared, name="other")):
        twin, expected = nf.load(path, loss=loss), net.copy()
        assert twin.loss_name == ("mine" if loss is squared else "other")
        for one in (expected, twin):
            one.fit(X, Y3, steps=3, verbose=0)
        np.testing.assert_array_equal(expected.flat_params, twin.flat_params)


def test_files_without_the_function(tmp_path):
    path = tmp_path / "net.npz"
    net = network(squared)
    net.save(path)
    found = nf.load(path)
    assert found.loss_name == "squared"
    np.testing.assert_array_equal(found.predict(X), net.predict(X))
    before = found.flat_params.copy()
    calls = {
        "loss": lambda: found.loss(X, Y3),
        "fit": lambda: found.fit(X, Y3, verbose=0),
        "train_step": lambda: found.train_step(X, Y3),
        "evaluate": lambda: found.evaluate(X, Y3),
        "check_gradient": lambda: found.check_gradient(X, Y3),
    }
    for call in calls.values():
        with pytest.raises(
            RuntimeError, match=r"loss of the user's own, 'squared', .*: use load\(path, loss=squared\)"
        ):
            call()
    assert found.history is None
    np.testing.assert_array_equal(found.flat_params, before)
    again = tmp_path / "again.npz"
    found.copy().save(again)
    assert nf.load(again, loss=squared).loss(X, Y3) == net.loss(X, Y3)


def test_a_function_for_a_file_that_needs_none(tmp_path):
    path = tmp_path / "net.npz"
    network("huber").save(path)
    with pytest.raises(ValueError, match=r"loss must be left out: .*net.npz was saved with loss 'huber'"):
        nf.load(path, loss=squared)
    for loss in ("huber", nf.losses.Huber()):
        with pytest.raises(TypeError, match="loss must be a function or an object of nf.losses.Custom, got"):
            nf.load(path, loss=loss)


# ---- compiled functions

SOURCE = """
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdint.h>
#include <time.h>

static void sleep_a_millisecond(void) {
    struct timespec t = {0, 1000000};
    nanosleep(&t, 0);
}
double squared(int n, double *outputs, double *targets, double *gradient, void *user_data) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        gradient[i] = outputs[i] - targets[i];
        sum += 0.5*gradient[i]*gradient[i];
    }
    return sum;
}
double scaled(int n, double *outputs, double *targets, double *gradient, void *user_data) {
    double factor = *(double *)user_data, loss = squared(n, outputs, targets, gradient, 0);
    for (int i = 0; i < n; i++) gradient[i] *= factor;
    return factor*loss;
}
double of_label(int n, double *outputs, int64_t label, double *gradient, void *user_data) {
    gradient[label] = -1/outputs[label]; /* the others are zero already */
    return -log(outputs[label]);
}
double wrong(int n, double *outputs, double *targets, double *gradient, void *user_data) {
    double loss = squared(n, outputs, targets, gradient, 0);
    gradient[n - 1] *= 2;
    return loss;
}
double patient(int n, double *outputs, double *targets, double *gradient, void *user_data) {
    for (int i = 0; i < 20000; i++) { /* waits until somebody sets a flag */
        if (*(volatile int *)user_data) return 1;
        sleep_a_millisecond();
    }
    return NAN;
}
double tiny(int n, double *outputs, double *targets, double *gradient, void *user_data) {
    volatile double least = 1e-310; /* a subnormal number, if they are kept */
    return least*1.0 > 0;
}
float single(int n, float *outputs, float *targets, float *gradient, void *user_data) { return 0; }
"""

DOUBLES = ctypes.POINTER(ctypes.c_double)
OF_VALUES = (ctypes.c_int, DOUBLES, DOUBLES, DOUBLES, ctypes.c_void_p)
OF_LABEL = (ctypes.c_int, DOUBLES, ctypes.c_int64, DOUBLES, ctypes.c_void_p)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if os.name == "nt" or shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no C compiler {compiler[0]!r}")
    folder = tmp_path_factory.mktemp("losses")
    (folder / "losses.c").write_text(SOURCE)
    command = [*compiler, "-O2", "-ffp-contract=off", "-fPIC", "-shared", "losses.c", "-o", "losses.so", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    found = ctypes.CDLL(str(folder / "losses.so"))
    for name in ("squared", "scaled", "wrong", "patient", "tiny", "of_label"):
        declared(getattr(found, name), OF_LABEL if name == "of_label" else OF_VALUES)
    return found


def declared(f, argtypes):
    f.restype, f.argtypes = ctypes.c_double, argtypes
    return f


@pytest.fixture
def low_level():
    return pytest.importorskip("scipy").LowLevelCallable


def pointer_to(data):
    return ctypes.cast(ctypes.byref(data), ctypes.c_void_p)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_compiled_gives_the_bits_of_the_twin(library, threads, weights):
    """The gradient is computed by the same operations in double precision."""
    own, built_in = (
        network(loss, layers=(nf.BatchNorm(), nf.Dropout(0.2))) for loss in (library.squared, "sum_squared_error")
    )
    with nf.num_threads(threads):
        for net in (own, built_in):
            net.fit(X, Y3, epochs=4, batch_size=110, sample_weight=weights, verbose=0)
    np.testing.assert_array_equal(own.flat_params, built_in.flat_params)
    close(own.history.step_loss, built_in.history.step_loss)
    close(own.loss(X, Y3, sample_weight=weights), built_in.loss(X, Y3, sample_weight=weights))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_of_labels(library, dtype, weights):
    own, built_in = (network(loss, "softmax", dtype=dtype) for loss in (library.of_label, "cross_entropy"))
    options = {"validation_data": (X[:50], LABELS[:50]), "sample_weight": weights, "verbose": 0}
    found = [net.fit(X, LABELS, epochs=4, batch_size=40, **options) for net in (own, built_in)]
    close(own.flat_params, built_in.flat_params, dtype)
    assert list(found[0]) == list(found[1]) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    for key in found[0]:
        close(found[0][key], found[1][key], dtype)


def test_compiled_in_float32(library):
    own, built_in = (network(loss, dtype="float32") for loss in (library.squared, "sum_squared_error"))
    for net in (own, built_in):
        net.fit(X, Y3, epochs=4, verbose=0)
    close(own.flat_params, built_in.flat_params, "float32")
    close(own.loss(X, Y3), built_in.loss(X, Y3), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [False, True])
def test_compiled_gradients_are_checked(library, dtype, training):
    options = {"training": training, "verbose": 0}
    for loss, y in ((library.squared, Y3), (library.of_label, LABELS)):
        net = network(loss, "softmax", layers=(nf.BatchNorm(),), dtype=dtype)
        assert net.check_gradient(X[:20], y[:20], wrt=[*net.params, "x"], sample_weight=WEIGHTS[:20], **options)
    report = network(library.wrong, dtype=dtype).check_gradient(X[:20], Y3[:20], **options)
    assert report["W2"].why == "differs only in column 2"


def test_compiled_in_every_training(library):
    def nets():
        return [network(loss) for loss in (library.squared, "sum_squared_error")]

    own, built_in = nets()
    for net in (own, built_in):
        net.fit(X, Y3, steps=3, gradient="numerical", optimizer="sgd", verbose=0)
    close(own.flat_params, built_in.flat_params, kind="difference")
    alone, together = nets(), nets()
    for net in alone:
        net.fit(X, Y3, epochs=3, verbose=0)
    nf.fit_many(together, X, Y3, epochs=3, verbose=0)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.flat_params, other.flat_params)
    np.testing.assert_array_equal(alone[0].flat_params, alone[1].flat_params)


def test_low_level_callables(library, low_level):
    factor = ctypes.c_double(2.0)
    for f in (
        low_level(library.scaled, pointer_to(factor)),
        low_level(library.scaled, pointer_to(factor), "double (int, const double *, double const *, double *, void *)"),
    ):
        net = network(f)
        close(net.loss(X, Y3), 2 * squared(net.predict(X), Y3)[0])
        assert net.loss_name == "custom"
        assert net.copy().loss(X, Y3) == net.loss(X, Y3) == copy.deepcopy(net).loss(X, Y3)
        with pytest.raises((TypeError, ValueError), match="pickle"):
            pickle.dumps(net)
    net = network(Custom(low_level(library.of_label), name="likelihood"), "softmax")
    assert net.loss_name == "likelihood"
    assert np.isfinite(net.loss(X, LABELS))


def test_numba():
    numba = pytest.importorskip("numba")
    kinds = numba.types
    doubles = kinds.CPointer(kinds.double)

    @numba.cfunc(kinds.double(kinds.intc, doubles, doubles, doubles, kinds.voidptr))
    def quartic(n, outputs, targets, gradient, user_data):
        loss = 0.0
        for i in range(n):
            error = outputs[i] - targets[i]
            loss += error**4
            gradient[i] = 4 * error**3
        return loss

    @numba.cfunc(kinds.double(kinds.intc, doubles, kinds.int64, doubles, kinds.voidptr))
    def margin(n, outputs, label, gradient, user_data):
        gradient[label] = 2 * (outputs[label] - 1)
        return (outputs[label] - 1) ** 2

    for loss, y in ((quartic, Y3), (margin, LABELS)):
        net = network(loss)
        assert net.loss_name == loss.__name__
        history = net.fit(X, y, epochs=5, verbose=0)
        assert history["loss"][-1] < history["loss"][0]
        assert net.check_gradient(X[:9], y[:9], verbose=0)


def test_a_callback_of_python_code():
    @ctypes.CFUNCTYPE(ctypes.c_double, *OF_VALUES)
    def by_row(n, outputs, targets, gradient, user_data):
        total = 0.0
        for i in range(n):
            gradient[i] = outputs[i] - targets[i]
            total += 0.5 * gradient[i] ** 2
        return total

    own, built_in = network(by_row), network("sum_squared_error")
    with nf.num_threads(2):
        for net in (own, built_in):
            net.fit(X, Y3, steps=3, verbose=0)
    np.testing.assert_array_equal(own.flat_params, built_in.flat_params)


def test_compiled_runs_without_the_gil(library, low_level):
    flag = ctypes.c_int(0)
    net = network(low_level(library.patient, pointer_to(flag)))
    timer = threading.Timer(0.05, lambda: setattr(flag, "value", 1))
    timer.start()
    assert net.train_step(X, Y3) == 1.0
    timer.join()


def test_compiled_keeps_subnormal_numbers(library):
    net = network(library.tiny)
    assert net.loss(X, Y3) == net.train_step(X, Y3) == 1.0


def test_a_row_of_weight_zero_is_left_out(library):
    net = network(library.of_label, "softmax")
    weights = np.r_[1.0, np.zeros(N - 1)]
    assert net.loss(X, LABELS, sample_weight=weights) == net.loss(X[:1], LABELS[:1])


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("of_label", Y3, r"y must hold integer labels, of shape \(150,\), for loss 'of_label', whose function takes a"),
        ("of_label", LABELS.astype(float), "y must hold integer labels"),
        ("of_label", LABELS + 1, "y holds labels up to 3, which need at least 4 outputs, but there are 3"),
        ("of_label", LABELS - 1, "y holds labels and must not be negative, got -1"),
        ("squared", LABELS, r"y must have shape \(150, 3\), got \(150,\)"),
        ("squared", Y3[:, :2], r"y must have shape \(150, 3\), got \(150, 2\)"),
        ("squared", np.full((N, 3), np.inf), "y must be finite"),
    ],
)
def test_targets_that_do_not_fit_a_compiled_function(library, name, y, message):
    net = network(getattr(library, name))
    with pytest.raises(ValueError, match=message):
        net.fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("restype", "argtypes"),
    [
        (ctypes.c_int, OF_VALUES),
        (ctypes.c_double, None),
        (ctypes.c_double, OF_VALUES[:-1]),
        (ctypes.c_double, (ctypes.c_int, DOUBLES, ctypes.c_int32, DOUBLES, ctypes.c_void_p)),
        (ctypes.c_double, (ctypes.c_int, DOUBLES, DOUBLES, ctypes.POINTER(ctypes.c_float), ctypes.c_void_p)),
        (ctypes.c_double, (ctypes.c_int, DOUBLES, ctypes.c_void_p)),
    ],
)
def test_other_signatures(library, restype, argtypes):
    f = ctypes.CDLL(library._name).single
    f.restype, f.argtypes = restype, argtypes
    message = (
        r"must have the signature double \(int, double \*, double \*, double \*, void \*\) or double \(int, double \*, "
        r"int64_t, double \*, void \*\), got restype .*: set them to c_double and \(c_int, POINTER\(c_double\), "
    )
    with pytest.raises(TypeError, match=f"loss {message}"):
        network(f)
    with pytest.raises(TypeError, match=f"function {message}"):
        Custom(f)


def test_other_signatures_of_low_level_callables(library, low_level):
    f = ctypes.CDLL(library._name).single
    f.restype, f.argtypes = ctypes.c_double, (ctypes.c_int, DOUBLES, ctypes.c_void_p)
    with pytest.raises(
        TypeError, match=r"loss must have the signature double .*, got double \(int, double \*, void \*\)"
    ):
        network(low_level(f))


def test_a_null_pointer_and_the_gil(library):
    with pytest.raises(ValueError, match="function must point to a function, got a null pointer"):
        Custom(ctypes.CFUNCTYPE(ctypes.c_double, *OF_VALUES)(0))
    f = declared(ctypes.PyDLL(library._name).squared, OF_VALUES)
    with pytest.raises(TypeError, match="function must run without the GIL"):
        Custom(f)


@pytest.mark.measures
@pytest.mark.usefixtures("listening")
def test_ctrl_c_with_a_compiled_function(library):
    net, main = network(library.squared), threading.get_ident()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        net.fit(X, Y3, epochs=1_000_000, verbose=0)
    timer.join()
    assert len(net.history.step_loss) > 0


def test_the_engine_looks_at_its_arguments(library):
    """`nnfast.losses` has raised better messages before."""
    x, vector = np.ascontiguousarray(X), np.zeros(51)
    for loss, y in ((library.of_label, Y3), (library.squared, LABELS)):
        with pytest.raises(TypeError, match="the compiled loss takes other targets"):
            network(loss)._network.built.gradient(x, y, None, vector, None, 1, True)
    with pytest.raises(TypeError, match="not a sum over rows"):
        Differences(network(squared)._network.built, x, Y3, None, [], 1e-4, 1)


def test_while_another_thread_imports_scipy(monkeypatch):
    """Its module exists by then, without its contents."""
    monkeypatch.setitem(sys.modules, "scipy", types.ModuleType("scipy"))
    assert np.isfinite(network(squared).loss(X, Y3))
    close(nf.numerical_gradient(lambda x: (x**2).sum(), [1.0, 2.0]), [2.0, 4.0], kind="difference")
