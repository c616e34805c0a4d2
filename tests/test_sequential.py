"""`Sequential`, except training (test_training.py), files (test_saving.py) and equal bits (test_bits.py)."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy_network import NumpyNetwork, state, state_of_steps, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast import reference
from nnfast.files import state as states

X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
LABELS = np.array([0, 1, 3, 2, 1, 0, 3, 3, 2])


def make_net(*, dtype="float32", seed=0, loss=None, output="softmax", units=4):
    """3 - 5 - 4, float32."""
    layers = [nf.Dense(5, "tanh"), nf.Dense(units, output)]
    return nf.Sequential(layers, input_shape=3, dtype=dtype, seed=seed, loss=loss)


def equal(a, b):
    """The same bits."""
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ---- layers


@pytest.mark.parametrize("layers", [None, 3, nf.Dense(2), nf.Dense])
def test_layers_are_a_sequence(layers):
    with pytest.raises(TypeError, match="^layers must be a sequence of layers, got"):
        nf.Sequential(layers)


def test_layers_are_layers():
    with pytest.raises(TypeError, match=r"^layers\[1\] must be a layer such as Dense, got 5 \(int\)"):
        nf.Sequential([nf.Dense(2), 5])
    with pytest.raises(ValueError, match="^layers must have at least one layer, got none"):
        nf.Sequential([])


def test_layers_may_come_from_an_iterator_and_appear_twice():
    layer = nf.Dense(3)
    net = nf.Sequential((layer for _ in range(2)), input_shape=3)
    assert net.layers == (layer, layer)
    assert not np.may_share_memory(net.params["W1"], net.params["W2"])


def test_all_but_layers_is_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        nf.Sequential([nf.Dense(2)], 3)


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.float64, np.dtype("f8"), float])
def test_dtypes(dtype):
    net = nf.Sequential([nf.Dense(2)], input_shape=3, dtype=dtype)
    assert net.dtype == np.dtype(dtype)
    assert net.flat_params.dtype == net.flat_grads.dtype == net.predict(X).dtype == net.dtype
    assert net.predict_one(X[0]).dtype == net.gradient(X, X[:, :2])["W1"].dtype == net.dtype


def test_the_default_dtype_is_float32():
    assert nf.Sequential([nf.Dense(2)]).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "int64", np.int32, "f", "single", complex])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="^dtype must be one of 'float32', 'float64', got"):
        nf.Sequential([nf.Dense(2)], dtype=dtype)


@pytest.mark.parametrize("dtype", [None, object(), 64])
def test_invalid_dtypes(dtype):
    with pytest.raises(TypeError, match="^dtype must be one of 'float32', 'float64', got"):
        nf.Sequential([nf.Dense(2)], dtype=dtype)


def test_the_shape_of_a_sample_is_an_int_or_a_tuple():
    for shape, kept in (
        (6, (6,)),
        ((6,), (6,)),
        ((2, 3), (2, 3)),
        ([1, 2, 3], (1, 2, 3)),
        (np.int64(6), (6,)),
        (np.array([2, 3]), (2, 3)),
    ):
        net = nf.Sequential([nf.Dense(2)], input_shape=shape, seed=0)
        assert net.input_shape == kept
        assert net.params["W1"].shape == (6, 2)
        x = np.arange(24, dtype=np.float32)
        assert_close(net.predict(x.reshape(4, *kept)), x.reshape(4, 6) @ net.params["W1"], scale=6 * 24)


@pytest.mark.parametrize("shape", [0, -1, (2, 0), ()])
def test_shapes_are_positive(shape):
    with pytest.raises(ValueError, match="^input_shape must"):
        nf.Sequential([nf.Dense(2)], input_shape=shape)


@pytest.mark.parametrize("shape", [2.0, True, "12", (2, 1.5), (2, None), [[2, 3]]])
def test_shapes_are_integers(shape):
    with pytest.raises(TypeError, match="^input_shape must be an integer, got"):
        nf.Sequential([nf.Dense(2)], input_shape=shape)


# ---- building


def test_the_input_shape_may_be_left_to_the_first_fit():
    early = make_net(seed=4)
    late = nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], seed=4)
    assert late.input_shape is None
    for net in (early, late):
        net.fit(X, LABELS, epochs=2, verbose=0)
    assert late.input_shape == (3,)
    assert equal(early.flat_params, late.flat_params)
    images = nf.Sequential([nf.Dense(4, "softmax")])
    images.fit(np.zeros((9, 2, 5)), LABELS, verbose=0)
    assert images.input_shape == (2, 5)


def test_a_network_is_built_once():
    net = nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], seed=0)
    net.build(3)
    assert equal(net.flat_params, make_net(seed=0).flat_params)
    with unchanged(net), pytest.raises(RuntimeError, match=r"^the network is already built, for input_shape \(3,\)"):
        net.build(3)


@pytest.mark.parametrize(
    "use",
    [
        lambda net: net.predict(X),
        lambda net: net.predict_one(X[0]),
        lambda net: net.predict_one(X[0], out=np.empty(4, np.float32)),
        lambda net: net.predict_class(X),
        lambda net: net.loss(X, LABELS),
        lambda net: net.accuracy(X, LABELS),
        lambda net: net.gradient(X, LABELS),
        lambda net: net.train_step(X, LABELS),
        lambda net: net.forward(X, training=True),
        lambda net: net.forward(X),
        lambda net: net.backward(X),
        lambda net: net.update(),
        lambda net: net.reset_optimizer(),
        lambda net: net.params,
        lambda net: net.flat_params,
        lambda net: net.grads,
        lambda net: net.flat_grads,
        lambda net: net.n_parameters,
        lambda net: net.save("net.npz"),
    ],
)
def test_an_unbuilt_network_says_what_is_missing(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = nf.Sequential([nf.Dense(4, "softmax")])
    with (
        unchanged(net),
        pytest.raises(RuntimeError, match="input shape of the network is not known yet: give input_shape, or call"),
    ):
        use(net)
    assert not list(Path().iterdir())


def test_an_initial_array_that_does_not_fit_changes_nothing():
    """Not even the random stream of initial values, from which the first layer has drawn."""
    layers = [nf.Dense(4), nf.Dense(2, initializer=np.ones((5, 2)))]
    net = nf.Sequential(layers, seed=3)
    with unchanged(net), pytest.raises(ValueError, match=r"initializer must have shape \(4, 2\), got \(5, 2\)"):
        net.build(3)
    net._network.layers = layers = (layers[0], nf.Dense(2, initializer=np.ones((4, 2))))
    net.build(3)
    assert equal(net.flat_params, nf.Sequential(layers, input_shape=3, seed=3).flat_params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initializer": [[1e39, 0], [0, 0]]}, r"^initializer of layers\[1\] .* got 1e\+39 at index \(0, 0\)"),
        ({"initializer": 1e39}, r"^initializer of layers\[1\] must fit into float32, got .* at index"),
        ({"bias_initializer": 1e39}, r"^bias_initializer of layers\[1\] .* got 1e\+39$"),
        ({"bias_initializer": [0, -1e39]}, r"^bias_initializer of layers\[1\] .* got -1e\+39 at index 1"),
    ],
)  # fmt: skip
def test_initial_values_beyond_the_dtype_change_nothing(arguments, message):
    layers = [nf.Dense(2), nf.Dense(2, **arguments)]
    net = nf.Sequential(layers, seed=3)
    with unchanged(net), pytest.raises(ValueError, match=message):
        net.build(3)
    assert nf.Sequential(layers, input_shape=3, dtype="float64", seed=3).n_parameters == 14


def test_values_beyond_the_dtype_are_refused():
    net = make_net()
    with unchanged(net):
        with pytest.raises(ValueError, match=r"^b1 must fit into float32, got 1e\+39 at index 0$"):
            net.params["b1"] = np.full(len(net.params["b1"]), 1e39)
        for call in (net.predict, lambda x: net.loss(x, LABELS), lambda x: net.fit(x, LABELS, verbose=0)):
            with pytest.raises(ValueError, match=r"^x must fit into float32, got 1e\+39 at index \(0, 0\)"):
                call(np.full(X.shape, 1e39))


def test_what_a_network_is_made_of_is_fixed():
    net = make_net()
    fixed = (("dtype", "float64"), ("layers", [nf.Dense(1)]), ("input_shape", (3,)), ("history", None))
    for name, value in fixed:
        with unchanged(net), pytest.raises(AttributeError, match=name):
            setattr(net, name, value)


def test_an_input_shape_may_be_an_array():
    for shape in (np.array(3), np.array([3]), np.int64(3)):
        assert nf.Sequential([nf.Dense(1)], input_shape=shape, seed=0).input_shape == (3,)
    assert nf.Sequential([nf.Dense(1)], input_shape=np.array([2, 3]), seed=0).input_shape == (2, 3)


# ---- seeds


@pytest.mark.parametrize("seed", [0, 7, 2**80, np.int64(7), np.uint8(7)])
def test_one_seed_is_one_network(seed):
    assert equal(make_net(seed=seed).flat_params, make_net(seed=seed).flat_params)
    assert equal(make_net(seed=int(seed)).flat_params, make_net(seed=seed).flat_params)
    assert not equal(make_net(seed=seed).flat_params, make_net(seed=int(seed) + 1).flat_params)


def test_no_seed_is_fresh_entropy():
    assert not equal(make_net(seed=None).flat_params, make_net(seed=None).flat_params)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_a_generator_as_seed(kind):
    a, b = (np.random.Generator(kind(5)) for _ in range(2))
    first, same, second = make_net(seed=a), make_net(seed=b), make_net(seed=a)
    assert equal(first.flat_params, same.flat_params)
    assert not equal(first.flat_params, second.flat_params), "it goes on"
    for net in (first, same):
        net.fit(X, LABELS, epochs=3, batch_size=2, verbose=0)
    assert equal(first.flat_params, same.flat_params)


@pytest.mark.parametrize("seed", [True, "7", 1.5, [1, 2], np.random.RandomState(0), np.bool_(True)])
def test_other_seeds_are_refused(seed):
    with pytest.raises(TypeError, match=r"^seed must be a non-negative int, a numpy.random.Generator or None, got"):
        make_net(seed=seed)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="^seed must be a non-negative int, .* got -1"):
        make_net(seed=-1)


# ---- parameters


def test_parameters_are_views_of_one_vector_without_gaps():
    net = nf.Sequential([nf.Dense(5), nf.Dense(7), nf.Dense(1)], input_shape=3, seed=0)
    for arrays, vector in ((net.params, net.flat_params), (net.grads, net.flat_grads)):
        assert list(arrays) == ["W1", "b1", "W2", "b2", "W3", "b3"]
        assert [a.shape for a in arrays.values()] == [(3, 5), (5,), (5, 7), (7,), (7, 1), (1,)]
        assert len(arrays) == 6
        assert vector.shape == (net.n_parameters,) == (3 * 5 + 5 + 5 * 7 + 7 + 7 + 1,)
        assert vector.flags.c_contiguous
        vector[:] = np.arange(net.n_parameters)
        np.testing.assert_array_equal(np.concatenate([a.ravel() for a in arrays.values()]), vector)
        for a in arrays.values():
            assert a.flags.c_contiguous
            assert a.flags.writeable
            assert np.shares_memory(a, vector)
    assert not np.shares_memory(net.flat_params, net.flat_grads)
    assert np.shares_memory(net.flat_params, net.flat_params)


def test_parameters_outlive_their_network():
    net = make_net()
    vector, view = net.flat_params, net.params["W2"]
    expected = vector.copy()
    del net
    assert equal(vector, expected)
    assert equal(view, expected[20:40])


def test_writing_to_a_view_is_writing_to_the_network():
    net = nf.Sequential([nf.Dense(2)], input_shape=3, seed=0)
    net.params["W1"][:] = [[1, 2], [3, 4], [5, 6]]
    net.params["b1"][1] = 10
    assert net.predict_one(np.ones(3)).tolist() == [9, 22]
    net.flat_params[-1] = 20
    assert net.predict_one(np.ones(3)).tolist() == [9, 32]
    net.params["b1"] -= 1
    assert net.predict([[1, 1, 1]]).tolist() == [[8, 31]]


def test_assignment_copies_into_the_view():
    net = make_net()
    view, values = net.params["W1"], np.arange(15.0).reshape(3, 5)
    net.params["W1"] = values
    assert net.params["W1"] is not values
    assert np.shares_memory(net.params["W1"], view)
    np.testing.assert_array_equal(view, values)
    values[:] = -1
    np.testing.assert_array_equal(view, np.arange(15.0).reshape(3, 5))
    net.params["b2"] = [1, 2, 3, 4]
    np.testing.assert_array_equal(net.flat_params[-4:], [1, 2, 3, 4])


def test_assignment_from_the_view_itself():
    net = nf.Sequential([nf.Dense(3)], input_shape=3, seed=0)
    expected = net.params["W1"].T.copy()
    net.params["W1"] = net.params["W1"].T
    np.testing.assert_array_equal(net.params["W1"], expected)


@pytest.mark.parametrize("value", [np.zeros((5, 3)), np.zeros((1, 5)), np.zeros(5), 0.0, np.zeros((3, 5, 1)), []])
def test_assignment_checks_the_shape(value):
    net = make_net()
    with (
        unchanged(net),
        pytest.raises(ValueError, match=rf"^W1 must have shape \(3, 5\), got {re.escape(str(np.shape(value)))}"),
    ):
        net.params["W1"] = value


def test_assignment_checks_the_dtype():
    net = make_net()
    with unchanged(net), pytest.raises(TypeError, match="^b2 must hold real numbers, got"):
        net.params["b2"] = ["1", "2", "3", "4"]
    with unchanged(net), pytest.raises(TypeError, match="^b2 must hold real numbers, got"):
        net.params["b2"] = [1j, 2, 3, 4]


def test_arrays_have_paths():
    net = make_net()
    for path, name in (("0.W", "W1"), ("0.b", "b1"), ("1.W", "W2"), ("1.b", "b2")):
        assert equal(net.params[path], net.params[name])
        assert np.shares_memory(net.params[path], net.params[name])
        assert path in net.params
    net.params["1.b"] = [1, 2, 3, 4]
    assert net.params["b2"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["W3", "w1", "2.W", "", 0, None])
def test_unknown_names_of_arrays(name):
    net = make_net()
    message = re.escape(f"no array {name!r}: there are W1, b1, W2, b2")
    for arrays in (net.params, net.grads, net.gradient(X, LABELS)):
        assert name not in arrays
        with pytest.raises(KeyError, match=message):
            arrays[name]
    with unchanged(net), pytest.raises(KeyError, match=message):
        net.params[name] = 0


def test_the_mappings_show_shapes():
    assert repr(make_net().params) == "{'W1': (3, 5), 'b1': (5,), 'W2': (5, 4), 'b2': (4,)}"


# ---- prediction


def test_data_are_positional_only():
    net = make_net()
    calls = {
        "predict": {"x": X}, "predict_one": {"row": X[0]}, "predict_class": {"x": X}, "loss": {"x": X, "y": LABELS},
        "accuracy": {"x": X, "y": LABELS}, "gradient": {"x": X, "y": LABELS}, "fit": {"x": X, "y": LABELS},
        "train_step": {"x": X, "y": LABELS}, "forward": {"x": X}, "backward": {"gradient": X},
    }  # fmt: skip
    for name, arguments in calls.items():
        with unchanged(net), pytest.raises(TypeError, match="positional"):
            getattr(net, name)(**arguments)


def test_the_rest_is_keyword_only():
    net = make_net()
    for call in (
        lambda: net.predict(X, np.empty((9, 4), np.float32)),
        lambda: net.predict_one(X[0], np.empty(4, np.float32)),
        lambda: net.fit(X, LABELS, 3),
        lambda: net.forward(X, True),
        lambda: net.backward(X, False),
    ):
        with unchanged(net), pytest.raises(TypeError, match="positional"):
            call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_of_any_kind_are_taken_as_the_dtype_of_the_network(dtype):
    net = make_net(dtype=dtype)
    whole = np.arange(-12, 15).reshape(9, 3)
    expected = net.predict(whole.astype(dtype))
    for kind in (np.float64, np.float32, np.float16, np.int64, np.int8, ">f8", ">i4"):
        assert equal(net.predict(whole.astype(kind)), expected)
    assert equal(net.predict(whole.tolist()), expected)
    assert equal(net.predict([tuple(row) for row in whole.tolist()]), expected)
    assert equal(net.predict((whole > 0).tolist()), net.predict((whole > 0).astype(dtype)))
    fine = X.astype(np.float64) + 1e-12
    assert equal(net.predict(fine), net.predict(fine.astype(dtype)))


def test_arguments_are_left_alone():
    net = make_net()
    x, y = X.copy(), np.eye(4, dtype=np.float32)[LABELS]
    x.flags.writeable = y.flags.writeable = False
    net.predict(x)
    net.loss(x, y)
    net.gradient(x, y)
    net.train_step(x, y)
    net.fit(x, y, validation_data=(x, y), verbose=0)
    net.forward(x, training=True)
    net.backward(y)
    assert equal(x, X)
    assert equal(y, np.eye(4, dtype=np.float32)[LABELS])


def test_predictions_of_no_rows():
    net = make_net()
    assert net.predict(np.zeros((0, 3))).shape == (0, 4)
    assert net.predict_class(np.zeros((0, 3))).shape == (0,)
    for method in (net.loss, net.accuracy, net.gradient, net.train_step, net.fit):
        with unchanged(net), pytest.raises(ValueError, match=r"^x must have at least one row, got shape \(0, 3\)"):
            method(np.zeros((0, 3)), np.zeros(0, int))


METHODS_OF_ROWS = ("predict", "predict_class", "forward", "loss", "accuracy", "gradient", "train_step", "fit")


def call_with_rows(net, name, x):
    """Call a method with rows, and with labels if it needs them."""
    if name in ("predict", "predict_class"):
        return getattr(net, name)(x)
    if name == "forward":
        return net.forward(x, training=True)
    return getattr(net, name)(x, LABELS)


@pytest.mark.parametrize("method", METHODS_OF_ROWS)
def test_rows_of_a_wrong_shape(method):
    net = make_net()
    for shape in ((9,), (9, 1), (1, 9), (9, 4), (3, 9), (9, 3, 1), (9, 1, 3), ()):
        with (
            unchanged(net),
            pytest.raises(ValueError, match=rf"^x must have shape \(n, 3\), got {re.escape(str(shape))}$"),
        ):
            call_with_rows(net, method, np.zeros(shape))
    with unchanged(net), pytest.raises(ValueError, match=r"got \(3,\): for one sample, predict_one\(x\) or x\[None\]$"):
        call_with_rows(net, method, np.zeros(3))


@pytest.mark.parametrize("method", METHODS_OF_ROWS)
def test_rows_of_a_wrong_dtype(method):
    net = make_net()
    for wrong in (X.astype(complex), X.astype(str), X.astype(str).astype(object), None, "x", np.zeros((9, 3), "M8[s]")):
        with unchanged(net), pytest.raises(TypeError, match="^x must hold real numbers, got"):
            call_with_rows(net, method, wrong)
    with unchanged(net), pytest.raises(ValueError, match="^x must be a rectangular array of numbers"):
        call_with_rows(net, method, [[1, 2, 3], [1, 2]])


def test_rows_of_images():
    net = nf.Sequential([nf.Dense(2)], input_shape=(2, 3), seed=0)
    x = np.arange(24.0).reshape(4, 2, 3)
    assert equal(net.predict_one(x[1]), net.predict(x)[1])
    for wrong in (x.reshape(4, 6), x.reshape(4, 3, 2), x[0]):
        with pytest.raises(ValueError, match=r"^x must have shape \(n, 2, 3\), got"):
            net.predict(wrong)


def test_one_row_has_the_input_shape():
    net = nf.Sequential([nf.Dense(2)], input_shape=(2, 3), seed=0)
    for out in (None, np.empty(2, np.float32)):
        for wrong in (np.zeros((1, 2, 3), np.float32), np.zeros((3, 2), np.float32), np.zeros(6, np.float32)):
            with pytest.raises(ValueError, match=r"^row must have shape \(2, 3\), got"):
                net.predict_one(wrong, out=out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_into_an_array(dtype):
    net = make_net(dtype=dtype)
    expected = net.predict(X)
    out = np.full((9, 4), np.nan, dtype)
    assert net.predict(X, out=out) is out
    assert equal(out, expected)
    one = np.full(4, np.nan, dtype)
    for row in (X[2], X[2].astype(dtype), X[2].tolist(), X[:, ::-1][2][::-1]):
        one[:] = np.nan
        assert net.predict_one(row, out=one) is one
        assert equal(one, expected[2])


def test_predictions_into_a_subclass_of_array(tmp_path):
    net = make_net()
    expected = net.predict(X)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(9, 4))
    assert net.predict(X, out=out) is out
    assert equal(out, expected)
    one = np.memmap(tmp_path / "one", np.float32, "w+", shape=(4,))
    assert net.predict_one(X[2], out=one) is one
    assert equal(one, expected[2])


def wrong_outs(shape):
    """Values of `out` that do not fit predictions of a shape, and the error messages."""
    read_only = np.empty(shape, np.float32)
    read_only.flags.writeable = False
    longer = (*shape[:-1], shape[-1] + 1)
    wanted = re.escape(str(shape))
    yield np.empty(shape), TypeError, "must have dtype float32, got float64"
    yield np.empty(shape, ">f4"), TypeError, "must have dtype float32, got >f4"
    yield np.empty(longer, np.float32), ValueError, rf"must have shape {wanted}, got {re.escape(str(longer))}"
    yield np.empty((1, *shape), np.float32), ValueError, f"must have shape {wanted}, got"
    yield np.empty((*shape, 2), np.float32)[..., 0], ValueError, "must be C-contiguous and aligned"
    yield read_only, ValueError, "must be writable, got a read-only array"
    yield np.empty(shape).tolist(), TypeError, "must be a numpy array"


def test_predictions_into_a_wrong_array():
    net = make_net()
    for out, error, message in wrong_outs((9, 4)):
        with pytest.raises(error, match=f"^out {message}"):
            net.predict(X, out=out)
    for out, error, message in wrong_outs((4,)):
        with pytest.raises(error, match=f"^out {message}"):
            net.predict_one(X[0], out=out)


def test_predictions_over_their_own_input_are_refused():
    square = nf.Sequential([nf.Dense(3)], input_shape=3, seed=0)
    x = X.copy()
    with pytest.raises(ValueError, match="^out must not overlap x"):
        square.predict(x, out=x)
    with pytest.raises(ValueError, match="^out must not overlap"):
        square.predict_one(x[0], out=x[0])
    flat = x.reshape(-1)
    with pytest.raises(ValueError, match="^out must not overlap"):
        square.predict_one(flat[0:3], out=flat[2:5])
    assert equal(x, X)
    assert equal(square.predict_one(flat[0:3], out=flat[3:6]), square.predict(X)[0])


def test_predictions_over_the_parameters_are_refused():
    net = make_net()
    message = "^out must not overlap the network's parameters$"
    with unchanged(net):
        with pytest.raises(ValueError, match=message):
            net.predict(X, out=net.flat_params[:36].reshape(9, 4))
        for one in (X[0], X[0].tolist()):  # by the fast path and the general one
            for out in (net.params["b1"][:4], net.flat_params[-4:]):
                with pytest.raises(ValueError, match=message):
                    net.predict_one(one, out=out)
    gradients = net.flat_grads[:4]
    assert equal(net.predict_one(X[0], out=gradients), net.predict(X)[0])


def test_predict_one_into_an_array_allocates_nothing():
    net = make_net()
    row, out = X[0].copy(), np.empty(4, np.float32)
    net.predict_one(row, out=out)
    tracemalloc.start()
    try:
        for _ in range(3):  # by the third time, the loop has allocated what it needs
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(1000):
                net.predict_one(row, out=out)
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < out.nbytes + 200  # less than one array


# ---- classes and accuracy


def test_the_class_of_softmax_is_the_largest_output():
    net = make_net()
    classes = net.predict_class(X)
    assert classes.dtype == np.int64
    np.testing.assert_array_equal(classes, net.predict(X).argmax(axis=1))
    assert net.accuracy(X, LABELS) == np.mean(classes == LABELS)
    assert net.accuracy(X, np.eye(4)[LABELS]) == np.mean(classes == LABELS)
    assert net.accuracy(X, classes) == 1


@pytest.mark.parametrize("output", ["sigmoid", "step"])
def test_the_class_of_one_output_is_whether_it_is_above_one_half(output):
    net = make_net(output=output, units=1)
    classes = net.predict_class(X)
    assert classes.shape == (9,)
    assert classes.dtype == np.int64
    np.testing.assert_array_equal(classes, net.predict(X)[:, 0] > 0.5)
    assert 0 < classes.sum() < 9
    y = LABELS % 2
    assert net.accuracy(X, y) == net.accuracy(X, y[:, None]) == np.mean(classes == y)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error"])
def test_several_sigmoids_are_separate_labels(loss):
    net = make_net(output="sigmoid", units=3, loss=loss)
    classes = net.predict_class(X)
    np.testing.assert_array_equal(classes, net.predict(X) > 0.5)
    y = np.random.default_rng(1).integers(0, 2, (9, 3))
    assert net.accuracy(X, y) == np.mean(classes == y), "of elements"


@pytest.mark.parametrize("loss", [None, "mean_squared_error"])
@pytest.mark.parametrize(("output", "units"), [("softmax", 5), ("sigmoid", 1), ("sigmoid", 3)])
def test_accuracy_counts_the_classes_of_predict_class(output, units, loss):
    """Also if the logits differ by less than the rounding of the outputs; if they are NaN, both raise an error."""
    net = nf.Sequential([nf.Dense(units, output, initializer=0.0)], input_shape=1, loss=loss, seed=0)
    near = np.float32([0, 1e-9, -1e-9, 2e-8, 1e-7, 1, 1 + 1.2e-7, 100, np.inf, np.nan])
    rng = np.random.default_rng(0)
    for _ in range(200):
        net.flat_params[-units:] = rng.choice(near, units)
        net._network.built.predict(
            np.zeros((1, 1), np.float32), outputs := np.empty((1, units), np.float32), 1, False, fused=True
        )
        if np.isnan(outputs).any():
            with pytest.raises(ValueError, match=NO_ANSWER):
                net.predict_class([[0.0]])
            with pytest.raises(ValueError, match=NO_ANSWER):
                net.accuracy([[0.0]], [0] if units == 1 or output == "softmax" else [[0] * units])
            continue
        classes = net.predict_class([[0.0]])
        assert net.accuracy([[0.0]], classes) == 1


NO_ANSWER = "^outputs must be numbers to determine a class, got NaN in 1 of 1 rows \\(0\\): the parameters are not"


@pytest.mark.parametrize(
    ("output", "loss", "y"),
    [
        ("softmax", None, [0] * 9),
        ("softmax", "kl_divergence", [[1, 0, 0]] * 9),
        ("log_softmax", "cross_entropy", [0] * 9),
        ("sigmoid", None, [[0, 0, 1], [1, 0, 1], [0, 0, 0]] * 3),
        ("sigmoid", "mean_squared_error", [[0, 0, 1], [1, 0, 1], [0, 0, 0]] * 3),
        ("step", None, [[0, 0, 1], [1, 0, 1], [0, 0, 0]] * 3),
        ("identity", "hinge", [[-1, 1, -1], [1, 1, -1], [1, -1, -1]] * 3),
    ],
)
def test_nan_is_no_answer(output, loss, y):
    net = nf.Sequential([nf.Dense(3, output)], input_shape=2, loss=loss, seed=0)
    x = np.ones((9, 2))
    x[2:9] = np.nan
    told = r"got NaN in 7 of 9 rows \(2, 3, 4, 5, 6, \.\.\.\): x is not finite there"
    with pytest.raises(ValueError, match=told):
        net.predict_class(x)
    with pytest.raises(ValueError, match=told):
        net.accuracy(x, y)
    x[3:9] = 1
    with pytest.raises(ValueError, match=r"NaN in 1 of 9 rows \(2\)"):
        net.accuracy(x, y, sample_weight=[1] * 9)
    assert net.evaluate(x, y)["accuracy"] <= 8 / 9  # NaN is never right


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("output", "loss", "low"), [("sigmoid", None, 0), ("sigmoid", "mean_squared_error", 0), ("identity", "hinge", -1)]
)
def test_classes_that_exclude_each_other_are_not_separate_labels(output, loss, low):
    net = nf.Sequential([nf.Dense(5, output)], input_shape=2, loss=loss, seed=0)
    x, y = np.random.default_rng(0).normal(size=(300, 2)), np.full((300, 5), low)
    y[np.arange(300), np.arange(300) % 5] = 1
    told = "^y has exactly one 1 in each row.*5 outputs.*right in 80%.*activation='softmax'.*'cross_entropy'"
    with pytest.warns(UserWarning, match=told) as warned:
        net.accuracy(x, y)
        net.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    assert [w.filename for w in warned] == [__file__] * 2
    y[250, :] = 1
    net.accuracy(x, y)
    net.fit(x, y, verbose=0)


@pytest.mark.parametrize("output", ["identity", "tanh", "relu"])
def test_other_outputs_are_no_classes(output):
    net = make_net(output=output)
    with pytest.raises(ValueError, match=rf"^predict_class needs .* or 'step', or loss 'hinge', got '{output}'"):
        net.predict_class(X)
    with pytest.raises(ValueError, match=rf"^metric 'accuracy' needs .* 'hinge', got activation '{output}'"):
        net.accuracy(X, X[:, [0, 1, 2, 0]])


def test_accuracy_of_targets_that_are_no_classes():
    net = make_net(output="sigmoid", units=1, loss="mean_squared_error")
    with pytest.raises(ValueError, match="^metric 'accuracy' needs targets of 0 and 1 with loss 'mean_squ"):
        net.accuracy(X, np.linspace(0, 1, 9))


# ---- targets: nothing is broadcast

METHODS_OF_TARGETS = ("loss", "accuracy", "gradient", "train_step", "fit")


@pytest.mark.parametrize("method", METHODS_OF_TARGETS)
@pytest.mark.parametrize(
    ("output", "units", "shape", "message"),
    [
        ("identity", 1, (9, 2), r"y must have shape \(9, 1\), got \(9, 2\)"),
        ("identity", 1, (9, 1, 1), r"y must have 1 or 2 dimension\(s\), got shape \(9, 1, 1\)"),
        ("identity", 1, (1, 9), r"y must have as many rows as x: 9, got shape \(1, 9\)"),
        ("identity", 1, (1,), r"y must have as many rows as x: 9, got shape \(1,\)"),
        ("identity", 1, (), r"y must have as many rows as x: 9, got shape \(\)"),
        ("identity", 9, (9,), r"y must have shape \(9, 9\), got \(9,\)"),
        ("identity", 3, (9,), r"y must have shape \(9, 3\), got \(9,\)"),
        ("identity", 3, (9, 1), r"y must have shape \(9, 3\), got \(9, 1\)"),
        ("identity", 3, (3, 9), r"y must have as many rows as x: 9, got shape \(3, 9\)"),
        ("tanh", 2, (9,), r"y must have shape \(9, 2\), got \(9,\)"),
        ("relu", 2, (9,), r"y must have shape \(9, 2\), got \(9,\)"),
        ("sigmoid", 1, (9, 2), r"y must have shape \(9, 1\), got \(9, 2\)"),
        ("sigmoid", 2, (9, 1), r"y must have shape \(9, 2\), got \(9, 1\)"),
        (
            "softmax",
            3,
            (9, 1),
            r"y must have shape \(9,\) of labels or \(9, 3\), got \(9, 1\): for labels, use np\.ravel\(y\)",
        ),
        ("softmax", 3, (9, 2), r"y must have shape \(9, 3\), got \(9, 2\)"),
        ("softmax", 3, (8,), r"y must have as many rows as x: 9, got shape \(8,\)"),
        ("softmax", 3, (10,), r"y must have as many rows as x: 9, got shape \(10,\)"),
    ],
)
def test_targets_of_a_wrong_shape(method, output, units, shape, message):
    net = make_net(output=output, units=units)
    with unchanged(net), pytest.raises(ValueError, match=f"^{message}$"):
        getattr(net, method)(X, np.zeros(shape))


@pytest.mark.parametrize("method", METHODS_OF_TARGETS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_labels_of_a_wrong_kind(method, loss):
    net = make_net(loss=loss)
    call = getattr(net, method)
    for wrong in (LABELS.astype(np.float32), LABELS.astype(str), LABELS.astype(str).astype(object)):
        with (
            unchanged(net),
            pytest.raises(TypeError, match="^y must hold one integer label per row, got dtype"),
        ):
            call(X, wrong)
    with unchanged(net), pytest.raises(ValueError, match="^y holds labels and must not be negative, got -1"):
        call(X, LABELS - 1)
    message = "^y holds labels up to 4, which need at least 5 outputs, but there are 4"
    with unchanged(net), pytest.raises(ValueError, match=message):
        call(X, LABELS + 1)
    for kind in (np.int8, np.uint8, np.uint64):
        top = np.iinfo(kind).max
        message = f"^y holds labels up to {top}, which need at least {top + 1} outputs, but there are 4"
        with unchanged(net), pytest.raises(ValueError, match=message):
            call(X, np.full(9, top, kind))


@pytest.mark.parametrize("method", METHODS_OF_TARGETS)
def test_targets_that_are_no_probabilities(method):
    net = make_net()
    rows = np.eye(4)[LABELS]
    with unchanged(net), pytest.raises(ValueError, match=r"^y must lie in \[0, 1\] for loss 'cross_entropy', got"):
        getattr(net, method)(X, 2 * rows)
    with (
        unchanged(net),
        pytest.raises(ValueError, match=r"^each row of y must sum to 1 for loss 'cross_entropy', got 0.5 in row 0"),
    ):
        getattr(net, method)(X, rows / 2)
    binary = make_net(output="sigmoid", units=1)
    message = r"^y must lie in \[0, 1\] for loss 'binary_cross_entropy', got values from 0.0 to 3.0"
    with unchanged(binary), pytest.raises(ValueError, match=message):
        getattr(binary, method)(X, LABELS)


@pytest.mark.parametrize("method", METHODS_OF_TARGETS)
def test_targets_that_are_no_numbers(method):
    net = make_net(output="identity")
    for wrong in (np.full((9, 4), "1"), np.full((9, 4), 1j)):
        with unchanged(net), pytest.raises(TypeError, match="^y must hold real numbers, got"):
            getattr(net, method)(X, wrong)
    for net in (make_net(output="identity"), make_net()):
        with unchanged(net), pytest.raises(ValueError, match="^y must be a rectangular array of numbers"):
            getattr(net, method)(X, [[1, 2, 3, 4]] * 8 + [[1]])


def test_targets_of_any_kind_of_integer():
    net = make_net()
    expected = net.loss(X, LABELS)
    for kind in (np.int8, np.uint8, np.int32, np.uint64, ">i2"):
        assert net.loss(X, LABELS.astype(kind)) == expected
    assert net.loss(X, LABELS.tolist()) == expected
    assert net.loss(X, np.repeat(LABELS, 2)[::2]) == expected
    assert net.loss(X, LABELS > 1) == net.loss(X, (LABELS > 1).astype(int))


def test_targets_of_one_output_may_be_a_vector():
    net = make_net(output="identity", units=1)
    y = np.linspace(-1, 1, 9)
    assert net.loss(X, y) == net.loss(X, y[:, None]) == net.loss(X, y.tolist())
    residual = net.predict(X)[:, 0] - y.astype(np.float32)
    assert_close(np.float32(net.loss(X, y)), np.mean(residual**2), scale=1.0)
    for name, gradient in net.gradient(X, y).items():
        assert equal(gradient, net.gradient(X, y[:, None])[name])


# ---- gradients


def test_gradient_returns_new_arrays():
    net = make_net()
    net.flat_grads[:] = 5
    before = state(net)
    first = net.gradient(X, LABELS)
    again = net.gradient(X, LABELS)
    assert list(first) == ["W1", "b1", "W2", "b2"]
    assert (net.flat_grads == 5).all(), "the arena of gradients is not touched"
    assert state(net) == before
    for name in first:
        assert equal(first[name], again[name])
        assert not np.shares_memory(first[name], again[name])
        assert not np.shares_memory(first[name], net.flat_grads)
        assert first[name].shape == net.params[name].shape
    kept = first["W1"].copy()
    net.train_step(X, LABELS)
    assert equal(first["W1"], kept)


# ---- forward, backward, update

GOUT = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)
NO_FORWARD = (
    r"^backward needs a forward\(x, training=True\) before it: call forward again after each backward or update"
)
NO_GRADIENTS = "^update needs gradients: call backward first"


def test_forward_and_backward_are_those_of_the_twin():
    net = make_net(dtype="float64")
    twin = NumpyNetwork(net)
    twin.activations = ["tanh", "softmax"]
    chain = twin.forward(X.astype(np.float64))
    gradients, gx = twin.backward(chain, GOUT.astype(np.float64))
    out = net.forward(X, training=True)
    assert equal(out, net.predict(X))
    assert equal(out, net.forward(X))
    assert_close(out, chain[-1], scale=1.0)
    assert_close(net.backward(GOUT), gx, scale=1.0)
    for name in net.grads:
        assert_close(net.grads[name], gradients[name], scale=9.0)


def test_backward_gives_the_gradient_of_the_input_in_its_shape():
    net = nf.Sequential([nf.Dense(2)], input_shape=(2, 3), seed=0)
    net.forward(np.ones((4, 2, 3)), training=True)
    gx = net.backward(np.ones((4, 2)))
    assert gx.shape == (4, 2, 3)
    assert_close(gx, np.broadcast_to(net.params["W1"].sum(axis=1).reshape(2, 3), (4, 2, 3)), scale=1.0)


def test_backward_needs_a_forward_that_was_for_training():
    net = make_net()
    with unchanged(net), pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)
    net.forward(X)
    with pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)
    net.forward(X, training=False)
    with pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)


def test_backward_refuses_to_run_twice():
    net = make_net()
    net.forward(X, training=True)
    net.backward(GOUT)
    kept = net.flat_grads.copy()
    with pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)
    assert equal(net.flat_grads, kept)
    net.forward(X, training=True)
    net.backward(GOUT, parameters=False)
    with pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)


@pytest.mark.parametrize(
    "train",
    [
        lambda net: net.train_step(X, LABELS),
        lambda net: net.fit(X, LABELS, verbose=0),
        lambda net: net.update(),
    ],
    ids=["train_step", "fit", "update"],
)
def test_backward_refuses_to_run_after_an_update(train):
    net = make_net()
    net.forward(X, training=True)
    net.backward(GOUT)
    net.forward(X, training=True)
    train(net)
    with pytest.raises(RuntimeError, match=NO_FORWARD):
        net.backward(GOUT)
    with unchanged(net), pytest.raises(RuntimeError, match=NO_GRADIENTS):
        net.update()


def test_a_later_forward_replaces_an_earlier_one():
    net = make_net()
    net.forward(X, training=True)
    net.forward(X[:4] + 1, training=True)
    with pytest.raises(ValueError, match=r"^gradient must have shape \(4, 4\), got \(9, 4\)"):
        net.backward(GOUT)
    gx = net.backward(GOUT[:4])
    net.forward(X[:4] + 1, training=True)
    assert equal(net.backward(GOUT[:4]), gx)


@pytest.mark.parametrize("shape", [(9,), (9, 1), (1, 4), (4,), (4, 9), (9, 4, 1), (8, 4), ()])
def test_backward_checks_its_gradient_and_can_be_called_again(shape):
    net = make_net()
    net.forward(X, training=True)
    with unchanged(net), pytest.raises(ValueError, match=r"^gradient must have shape \(9, 4\), got"):
        net.backward(np.zeros(shape))
    with unchanged(net), pytest.raises(TypeError, match="^gradient must hold real numbers"):
        net.backward(GOUT.astype(complex))
    net.backward(GOUT.tolist())


def test_nothing_that_only_reads_disturbs_a_saved_forward():
    net, calm = make_net(), make_net()
    x = X.copy()
    net.forward(x, training=True)
    calm.forward(X, training=True)
    x[:] = 0  # the caller may change it without affecting the network
    many = np.concatenate([X] * 100)
    net.predict(many)
    net.predict_one(many[5] + 1)
    net.predict_class(many)
    net.loss(many, np.tile(LABELS, 100))
    net.accuracy(many, np.tile(LABELS, 100))
    net.gradient(many, np.tile(LABELS, 100))
    net.forward(many)
    net.copy()
    with pytest.raises(ValueError, match="^x must"):
        net.train_step(many[:, :2], LABELS)
    assert equal(net.backward(GOUT), calm.backward(GOUT))
    assert equal(net.flat_grads, calm.flat_grads)


def test_backward_without_the_parameters():
    net, full = make_net(), make_net()
    for each in (net, full):
        each.forward(X, training=True)
    net.flat_grads[:] = 7
    expected = full.backward(GOUT)
    assert equal(net.backward(GOUT, parameters=False), expected)
    assert (net.flat_grads == 7).all()
    with unchanged(net), pytest.raises(RuntimeError, match=NO_GRADIENTS):
        net.update()


def test_backward_overwrites_or_accumulates():
    net = make_net(dtype="float64")
    parts, gradients = (slice(0, 5), slice(5, 9)), []
    for part in parts:
        net.forward(X[part], training=True)
        net.backward(GOUT[part])
        gradients.append(net.flat_grads.copy())
    for i, part in enumerate(parts):
        net.forward(X[part], training=True)
        net.backward(GOUT[part], accumulate=i > 0)
    assert_close(net.flat_grads, gradients[0] + gradients[1], scale=9.0)
    assert not equal(net.flat_grads, gradients[1])
    with pytest.raises(ValueError, match="^accumulate=True needs parameters=True"):
        net.backward(GOUT, accumulate=True, parameters=False)


@pytest.mark.parametrize("train", ["update", "train_step", "fit"])
def test_accumulation_begins_anew_after_an_update(train):
    """Gradients that were used, or that training left behind, are not part of the next sum."""
    net, plain = make_net(), make_net()
    for each in (net, plain):
        each.forward(X, training=True)
        each.backward(GOUT)
        if train == "update":
            each.update("sgd")
        else:
            getattr(each, train)(X, LABELS, **({"verbose": 0} if train == "fit" else {}))
        each.forward(X, training=True)
    net.backward(GOUT, accumulate=True)
    plain.backward(GOUT)
    assert equal(net.flat_grads, plain.flat_grads)
    net.forward(X, training=True)
    net.backward(GOUT, accumulate=True)
    assert_close(net.flat_grads, 2 * plain.flat_grads, scale=18.0)


def test_grads_are_valid_after_backward():
    net = make_net()
    net.forward(X, training=True)
    grads = net.grads
    net.backward(GOUT)
    assert equal(grads["b2"], net.flat_grads[-4:])
    kept = net.flat_grads.copy()
    net.predict(X)
    net.loss(X, LABELS)
    net.gradient(X, LABELS)
    net.forward(X, training=True)
    assert equal(net.flat_grads, kept)


def test_update_takes_a_step_down():
    net = make_net()
    begin = net.flat_params.copy()
    net.forward(X, training=True)
    net.backward(GOUT)
    gradient = net.flat_grads.copy()
    net.update(nf.SGD(0.5))
    reference.sgd(begin, gradient, 0.5)
    assert_close(net.flat_params, begin, scale=1.0)


def test_gradients_may_be_changed_before_update():
    net = make_net()
    net.forward(X, training=True)
    net.backward(GOUT)
    net.grads["W1"] = np.zeros((3, 5))
    kept = net.params["W1"].copy()
    others = net.params["W2"].copy()
    net.update(nf.SGD(0.5))
    assert equal(net.params["W1"], kept)
    assert not equal(net.params["W2"], others)


def test_update_needs_gradients_that_no_update_has_used():
    net = make_net()
    with unchanged(net), pytest.raises(RuntimeError, match=NO_GRADIENTS):
        net.update()
    net.forward(X, training=True)
    with unchanged(net), pytest.raises(RuntimeError, match=NO_GRADIENTS):
        net.update()
    net.backward(GOUT)
    net.update()
    with unchanged(net), pytest.raises(RuntimeError, match=NO_GRADIENTS):
        net.update()


def test_forward_and_backward_of_no_rows():
    net = make_net()
    assert net.forward(np.zeros((0, 3)), training=True).shape == (0, 4)
    net.flat_grads[:] = 1
    assert net.backward(np.zeros((0, 4))).shape == (0, 3)
    assert not net.flat_grads.any()


def test_the_workspace_serves_batches_of_any_size_in_turn():
    net = make_net()
    for rows in (2, 9, 1, 5, 9, 3):
        fresh = net.copy()
        assert net.train_step(X[:rows], LABELS[:rows], "adam") == fresh.train_step(X[:rows], LABELS[:rows], "adam")
        for each in (net, fresh):
            each.forward(X[:rows], training=True)
        assert equal(net.backward(GOUT[:rows]), fresh.backward(GOUT[:rows]))
        assert equal(net.flat_grads, fresh.flat_grads)
        assert equal(net.flat_params, fresh.flat_params)


# ---- the optimizer's state


def steps(net, optimizer, count=3):
    for _ in range(count):
        net.train_step(X, LABELS, optimizer)
    return net


def without_state(net):
    """An untrained network with the same parameters."""
    fresh = make_net()
    fresh.flat_params[:] = net.flat_params
    return fresh


def test_an_optimizer_of_the_same_kind_goes_on():
    net, twin = make_net(dtype="float64"), NumpyNetwork(make_net(dtype="float64"))
    for rate in (1e-2, 1e-3, 1e-2):  # a new object each time, with other hyperparameters
        steps(net, nf.Adam(rate, beta1=0.8), 2)
        for _ in range(2):
            twin.train_step(X.astype(np.float64), LABELS, nf.Adam(rate, beta1=0.8))
    for name, parameters in twin.parameters.items():
        assert_close(net.params[name], parameters, scale=1.0, kind="trajectory")
    afresh = steps(without_state(steps(make_net(), nf.Adam(1e-2))), nf.Adam(1e-2))
    assert not equal(steps(make_net(), nf.Adam(1e-2), 6).flat_params, afresh.flat_params)


def test_the_same_state_serves_every_way_of_training():
    by_step, by_fit, by_update = make_net(), make_net(), make_net()
    for _ in range(4):
        by_step.train_step(X, LABELS, "adam")
        by_fit.fit(X, LABELS, shuffle=False, optimizer="adam", verbose=0)
        gradient = np.concatenate([g.ravel() for g in by_update.gradient(X, LABELS).values()])
        by_update.forward(X, training=True)
        by_update.backward(GOUT)
        by_update.flat_grads[:] = gradient
        by_update.update("adam")
    assert state_of_steps(by_step) == state_of_steps(by_fit) == state_of_steps(by_update)


def test_another_kind_starts_afresh_and_so_does_coming_back():
    net = steps(make_net(), nf.Adam(1e-2))
    steps(net, nf.SGD(0.1), 1)
    fresh = without_state(net)
    assert equal(steps(net, nf.Adam(1e-2)).flat_params, steps(fresh, nf.Adam(1e-2)).flat_params)


SWITCHES = {
    "momentum": (nf.SGD(0.1), nf.SGD(0.1, momentum=0.9, dampening=0.5)),
    "amsgrad": (nf.Adam(0.01), nf.Adam(0.01, amsgrad=True)),
    "centered": (nf.RMSprop(0.01), nf.RMSprop(0.01, centered=True)),
    "momentum of rmsprop": (nf.RMSprop(0.01), nf.RMSprop(0.01, momentum=0.5)),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_options_may_be_turned_on_and_off(switch):
    """State needed with and without an option continues; state needed only for it begins when it is turned on."""
    plain, option = SWITCHES[switch]
    net = steps(make_net(dtype="float64"), option, 2)
    begun = [moment is not None for moment in net._network.program.slot.moments]
    steps(net, plain, 2)
    kept = [moment is not None for moment in net._network.program.slot.moments]
    assert sum(begun) == sum(kept) + 1
    assert net._network.program.slot.steps == 4
    twin = net.copy()
    steps(net, option, 1)
    assert net._network.program.slot.steps == 5
    new = next(i for i in range(3) if begun[i] and not kept[i])
    steps(twin, plain, 1)
    for i in range(3):
        if kept[i]:
            np.testing.assert_array_equal(net._network.program.slot.moments[i], twin._network.program.slot.moments[i])
    assert net._network.program.slot.moments[new].any()
    if isinstance(plain, nf.SGD):  # its first momentum is the whole gradient, here too
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
        steps(net, option, 1)
        steps(twin, plain, 1)
        assert not equal(net.flat_params, twin.flat_params)


def test_kinds_of_the_same_state_do_not_share_it():
    net = steps(make_net(), nf.Adam(0.01), 2)
    net.train_step(X, LABELS, nf.NAdam(0.01))
    assert (net._network.program.slot.kind, net._network.program.slot.steps) == ("nadam", 1)
    fresh = without_state(steps(make_net(), nf.Adam(0.01), 2))
    assert equal(net.flat_params, steps(fresh, nf.NAdam(0.01), 1).flat_params)
    steps(net, nf.NAdam(0.01), 2)
    assert 0 < net._network.program.slot.product < 1
    steps(net, nf.Adam(0.01), 1)
    assert net._network.program.slot.product == 1


def test_reset_optimizer_starts_afresh():
    net = steps(make_net(), nf.Adam(1e-2))
    kept = net.flat_params.copy()
    fresh = without_state(net)
    net.reset_optimizer()
    assert equal(net.flat_params, kept)
    assert equal(steps(net, nf.Adam(1e-2)).flat_params, steps(fresh, nf.Adam(1e-2)).flat_params)


def test_one_optimizer_serves_many_networks():
    adam = nf.Adam(1e-2)
    nets = [make_net(seed=0), make_net(seed=1)]
    for _ in range(5):
        for net in nets:
            net.train_step(X, LABELS, adam)
    for seed, net in enumerate(nets):
        assert equal(net.flat_params, steps(make_net(seed=seed), nf.Adam(1e-2), 5).flat_params)


def test_hyperparameters_are_read_at_each_call():
    sgd = nf.SGD(0.1)
    net, other = make_net(), make_net()
    net.train_step(X, LABELS, sgd)
    sgd.learning_rate = 0.5
    net.train_step(X, LABELS, sgd)
    other.train_step(X, LABELS, nf.SGD(0.1))
    other.train_step(X, LABELS, nf.SGD(0.5))
    assert equal(net.flat_params, other.flat_params)


@pytest.mark.parametrize("method", ["train_step", "fit", "update"])
def test_hyperparameters_are_checked_at_each_call(method):
    net = make_net()
    net.forward(X, training=True)
    net.backward(GOUT)
    adam = nf.Adam()
    arguments = () if method == "update" else (X, LABELS)
    for name, value, error in (
        ("learning_rate", -1.0, ValueError),
        ("beta2", 1.0, ValueError),
        ("epsilon", "x", TypeError),
    ):
        kept = getattr(adam, name)
        setattr(adam, name, value)
        with unchanged(net), pytest.raises(error, match=f"^{name} must be"):
            getattr(net, method)(*arguments, optimizer=adam)
        setattr(adam, name, kept)


def test_train_step_returns_the_loss_before_the_update():
    net = make_net()
    before = net.loss(X, LABELS)
    assert net.train_step(X, LABELS, nf.SGD(0.5)) == before
    assert net.loss(X, LABELS) < before


# ---- the activation `step`


@pytest.mark.parametrize("method", ["fit", "train_step"])
def test_training_through_step_warns_that_it_teaches_nothing(method):
    net = nf.Sequential([nf.Dense(4), nf.Dense(4, "step"), nf.Dense(4, "softmax")], input_shape=3, seed=0)
    before = {name: net.params[name].copy() for name in net.params}
    message = r"^layers\[1\] has activation 'step', whose gradient is zero: neither it nor any layer before it learns$"
    with pytest.warns(UserWarning, match=message) as caught:
        getattr(net, method)(X, LABELS, **({"verbose": 0} if method == "fit" else {}))
    assert len(caught) == 1
    assert caught[0].filename == __file__, "it points at the call"
    for name in ("W1", "b1", "W2", "b2"):
        assert equal(net.params[name], before[name])
    assert not equal(net.params["W3"], before["W3"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(X)
        net.loss(X, LABELS)
        net.gradient(X, LABELS)


def test_backward_through_step_warns_too():
    net = nf.Sequential([nf.Dense(4, "step")], input_shape=3, seed=0)
    net.forward(X, training=True)
    with pytest.warns(UserWarning, match=r"^layers\[0\] has activation 'step', whose gradient is zero") as caught:
        assert not net.backward(np.ones((9, 4))).any()
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("method", ["fit", "train_step"])
def test_a_warning_that_is_an_error_comes_before_anything_changes(method):
    net = nf.Sequential([nf.Dense(4, "step")], input_shape=3, seed=0)
    with unchanged(net), warnings.catch_warnings(), pytest.raises(UserWarning, match="'step'"):
        warnings.simplefilter("error")
        getattr(net, method)(X, np.eye(4)[LABELS])


@pytest.mark.parametrize("activation", ["sigmoid", "step"])
def test_labels_need_outputs_that_exclude_each_other(activation):
    net = nf.Sequential([nf.Dense(4, activation)], input_shape=3, loss="mean_squared_error", seed=0)
    with pytest.raises(ValueError, match=r"^y must have shape \(9, 4\), got \(9,\): labels need an output layer with"):
        net.loss(X, LABELS)
    assert net.loss(X, np.eye(4)[LABELS]) > 0


# ---- as an object: copies, pickles, subclasses


def test_summary(capsys):
    net = nf.Sequential([nf.Dense(50, "relu"), nf.Dense(10, "softmax")], input_shape=784)
    assert net.summary() is None
    assert capsys.readouterr().out == (
        "input (n, 784), loss cross_entropy, float32, 39,760 parameters\n"
        "layer      activation  output   parameters\n"
        "---------  ----------  -------  ----------\n"
        "Dense(50)  relu        (n, 50)  39,250\n"
        "Dense(10)  softmax     (n, 10)  510\n"
    )
    nf.Sequential([nf.Dense(50, "relu"), nf.Dense(10, "softmax")], dtype="float64").summary()
    assert capsys.readouterr().out == (
        "input not known yet, loss cross_entropy, float64\n"
        "layer      activation  output   parameters\n"
        "---------  ----------  -------  ----------\n"
        "Dense(50)  relu        (n, 50)  ?\n"
        "Dense(10)  softmax     (n, 10)  510\n"
    )


def test_repr():
    assert repr(nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(1)], input_shape=(2, 3))) == (
        "Sequential([Dense(5, activation='tanh'), Dense(1)], input_shape=(2, 3), loss='mean_squared_error', "
        "dtype='float32')"
    )
    assert "input_shape=None" in repr(nf.Sequential([nf.Dense(1)]))


def test_a_copy_is_independent():
    net = steps(make_net(), "adam")
    twin = net.copy()
    assert state(twin)[:2] == state(net)[:2]
    assert (twin.input_shape, twin.loss_name, twin.dtype, twin.layers) == (
        net.input_shape,
        net.loss_name,
        net.dtype,
        net.layers,
    )
    assert not np.shares_memory(twin.flat_params, net.flat_params)
    assert not np.shares_memory(twin.flat_grads, net.flat_grads)
    with unchanged(net):
        steps(twin, "adam")
        twin.fit(X, LABELS, epochs=2, verbose=0)
        twin.reset_optimizer()


COPIERS = {
    "method": lambda net: net.copy(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("way", COPIERS)
def test_every_way_of_copying_copies_all(way):
    net = steps(make_net(dtype="float64"), "adam")
    twin = COPIERS[way](net)
    assert state(twin)[:2] == state(net)[:2]
    assert repr(twin.layers) == repr(net.layers)
    assert not np.shares_memory(twin.flat_params, net.flat_params)
    for each in (net, twin):
        each.fit(X, LABELS, epochs=2, optimizer="adam", verbose=0)
    assert state(twin)[:2] == state(net)[:2]


@pytest.mark.parametrize("way", COPIERS)
def test_a_copy_of_an_unbuilt_network(way):
    net = nf.Sequential([nf.Dense(4, "softmax", initializer=0.5, bias_initializer=[1, 2, 3, 4])], seed=6)
    twin = COPIERS[way](net)
    assert twin.input_shape is None
    for each in (net, twin):
        each.fit(X, LABELS, epochs=2, verbose=0)
    assert state(twin)[:2] == state(net)[:2]


class Named(nf.Sequential):
    """A user-defined subclass with another constructor."""

    def __init__(self, name):
        super().__init__([nf.Dense(4, "softmax")], input_shape=3, seed=0)
        self.names = [name]


@pytest.mark.parametrize("way", COPIERS)
def test_a_copy_is_of_the_same_class(way):
    net = steps(Named("one"), "adam")
    twin = COPIERS[way](net)
    assert type(twin) is Named
    assert twin.names == ["one"]
    assert state(twin)[:2] == state(net)[:2]
    for each in (net, twin):
        each.fit(X, LABELS, epochs=2, optimizer="adam", verbose=0)
    assert state(twin)[:2] == state(net)[:2]


# ---- sizes beyond memory


@pytest.mark.parametrize(
    ("n_in", "units"), [(3, 2**31), (2**31, 3), (10**9, 10**9), (2**62, 2), (2, 2**70), ((2**40, 2**40), 2)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_beyond_memory(n_in, units, dtype):
    with pytest.raises(MemoryError):
        nf.Sequential([nf.Dense(units)], input_shape=n_in, dtype=dtype)
    net = nf.Sequential([nf.Dense(units)], dtype=dtype, seed=1)
    with unchanged(net), pytest.raises(MemoryError):
        net.build(n_in)
    assert net.input_shape is None


def test_batches_beyond_memory():
    """A network whose activations need more bytes than a process has addresses, 2**47."""
    n = units = 2**22
    wide = [nf.Dense(units, initializer=np.zeros((1, units))), nf.Dense(1, initializer=np.zeros((units, 1)))]
    net = nf.Sequential(wide, input_shape=1, seed=0)
    x, y = np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32)
    net.forward([[1.0]], training=True)
    for call in (
        lambda: net.fit(x, y, batch_size=n, optimizer="adam", verbose=0),
        lambda: net.fit(x, y, batch_size=n, optimizer="adam", gradient="numerical", verbose=0),
        lambda: net.numerical_gradient(x, y, wrt="b2"),
        lambda: net.train_step(x, y, "adam"),
        lambda: net.gradient(x, y),
        lambda: net.forward(x, training=True),
    ):
        with pytest.raises(MemoryError, match=f"^no memory for the activations of {n} rows"):
            call()
        assert net.history is None
        assert states.to_state(net._network)[0]["optimizer"] is None
    assert not net.flat_params.any()
    late = nf.Sequential(wide, seed=0)
    for gradient in ("backpropagation", "numerical"):
        with unchanged(late), pytest.raises(MemoryError, match=f"^no memory for the activations of {n} rows"):
            late.fit(x, y, batch_size=n, gradient=gradient, verbose=0)
        assert late.input_shape is None
    net.backward([[1.0]])  # the forward pass from before
    assert net.grads["b2"] == 1
    net.update()


# ---- processors


def test_subnormal_numbers_are_what_they_were_after_every_call():
    """The engine flushes them to zero during a call, in its own threads, and restores the mode."""
    net = make_net()
    half = np.float32(2**-126) * np.array([0.5], np.float32)
    seen = []
    for call in (
        lambda: net.predict(X),
        lambda: net.predict_one(X[0], out=np.empty(4, np.float32)),
        lambda: net.loss(X, LABELS),
        lambda: net.gradient(X, LABELS),
        lambda: net.train_step(X, LABELS),
        lambda: net.fit(X, LABELS, epochs=2, verbose=0, callbacks=[lambda net, history: seen.append(half * 1)]),
    ):
        call()
        assert (half * np.float32(1))[0] > 0
    assert len(seen) == 2
    assert all(value[0] > 0 for value in seen)


# ---- subclasses


class Doubled(nf.Sequential):
    """A subclass whose gradient is wrong."""

    def gradient(self, *arguments, **options):
        return {name: 2 * array for name, array in super().gradient(*arguments, **options).items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_methods_of_a_subclass_are_what_is_checked(dtype):
    net = Doubled([nf.Dense(3, "tanh"), nf.Dense(2, "softmax")], input_shape=2, dtype=dtype, seed=0)
    report = net.check_gradient([[1.0, 2.0], [0.5, -1.0]], [0, 1])
    assert not report
    assert report["W1"].why == "is 2 times the numerical one: a factor is wrong"


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_callbacks_get_the_network_that_is_trained(optimizer, gradient):
    net, seen = Doubled([nf.Dense(2, "softmax")], input_shape=2, seed=0), []
    net.label = ["kept"]
    x, y = [[1.0, 2.0], [0.5, -1.0]], [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # L-BFGS has not converged
        history = net.fit(
            x,
            y,
            epochs=2,
            optimizer=optimizer,
            gradient=gradient,
            verbose=0,
            callbacks=[lambda *both: seen.append(both)],
        )
    assert [(one is net, record is history is net.history) for one, record in seen] == [(True, True)] * 2
    for twin in (net.copy(), copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin) is Doubled
        assert twin.label == net.label
        assert twin.history is None
        assert state(twin)[:2] == state(net)[:2]


# ---- arrays that need no conversion take a short way, with the same results and errors


def pairs_of_data():
    """Data as the engine takes it, and the same as it must be converted."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 3)).astype(np.float32)
    labels, one_hot = np.array([0, 1, 2, 3, 2, 1, 0]), np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 2, 1, 0]]
    for loss, y in ((None, labels), (None, one_hot), ("mean_squared_error", one_hot), ("mean_squared_error", labels)):
        for rows in (x, x.astype(np.float64), x.tolist(), x[::-1][::-1], np.asfortranarray(x)):
            for targets in (y, y.tolist(), y.astype(np.int32 if y.ndim == 1 else np.float64), y[::-1][::-1]):
                yield loss, (x, y), (rows, targets)


def test_a_short_way_has_the_same_results():
    for loss, ready, converted in pairs_of_data():
        found = []
        for x, y in (ready, converted):
            net = make_net(loss=loss)
            net.fit(x, y, epochs=2, batch_size=3, verbose=0)
            out = net.forward(x, training=True)
            values = [net.train_step(x, y), net.loss(x, y), *(g.tobytes() for g in net.gradient(x, y).values())]
            found.append((out.tobytes(), *values, net.predict(x).tobytes(), net.predict_one(x[1]).tobytes()))
        assert found[0] == found[1]


@pytest.mark.parametrize("label", [-1, 4, 2**62, -(2**62)])
@pytest.mark.parametrize("method", ["loss", "train_step", "gradient", "accuracy"])
def test_a_short_way_sees_labels_out_of_range(method, label):
    net, x, y = make_net(), np.ones((3, 3), np.float32), np.array([0, label, 3])
    with pytest.raises(ValueError, match=r"^y holds labels (and must not be negative|up to)"):
        getattr(net, method)(x, y)


def test_a_view_of_parameters_may_be_reshaped():
    net = make_net()
    view = net.params["W1"]
    view.shape = (-1,)
    assert net.params["W1"].ndim == 2
    view[0] = 7
    assert net.params["W1"].flat[0] == 7
