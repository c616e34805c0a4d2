"""SciPy's CSR matrices as data: they give the bits of the float array, and no dense copy of the whole exists."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy_network import state, unchanged
from optimizer_cases import OPTIMIZERS
from scipy import sparse

import nnfast as nf
from nnfast.engine.program import Source

DTYPES = ("float32", "float64")
CLASSES = 3


def make_rows(n, features, density=0.08, seed=0):
    """A CSR matrix with empty rows, and some zeros that are stored."""
    rng = np.random.default_rng(seed)
    stored = (rng.random((n, features)) < density) & (rng.random((n, 1)) < 0.9)
    x = sparse.csr_array(np.where(stored, rng.normal(size=(n, features)), 0))
    x.data[::11] = 0
    return x


def make_labels(n, classes=CLASSES):
    return np.random.default_rng(1).integers(0, classes, n)


def make_net(units=(7, CLASSES), dtype="float32", activation="tanh", **options):
    hidden = [nf.Dense(n, activation, **options) for n in units[:-1]]
    last = nf.Dense(units[-1], "softmax") if units[-1] > 1 else nf.Dense(1, **options)
    return nf.Sequential([*hidden, last], seed=0, dtype=dtype)


def both(x, dtype="float32"):
    """The same numbers as a matrix and as CSR."""
    return x.toarray().astype(dtype), x.astype(dtype)


def assert_same_training(make, x, y, **options):
    """`fit` of a network that `make` returns gives the same bits from a matrix and from CSR."""
    results = []
    for given in (x.toarray(), x):
        net = make()
        history = net.fit(given, y, verbose=0, **options)
        results.append((state(net)[:2], dict(history), history.step_loss.tobytes()))
    assert results[0] == results[1]


# ---- the bits of the float array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(1,), (3,), (7, 3), (8, 3), (16, 3), (33, 3), (64, 5), (100, 3), (9, 8, 3)], ids=str)
@pytest.mark.parametrize("features", [1, 5, 40, 300])
def test_layers_of_any_shape(features, units, dtype):
    x = make_rows(250, features)
    y = make_labels(250, units[-1]) if units[-1] > 1 else np.random.default_rng(2).normal(size=(250, 1))
    for batch in (1, 30, 250):
        n = 40 if batch == 1 else 250
        options = {"batch_size": batch, "optimizer": nf.SGD(0.3), "epochs": 2}
        assert_same_training(lambda: make_net(units, dtype), x[:n], y[:n], **options)
    net = make_net(units, dtype)
    net.build(features)
    matrix, rows = both(x, dtype)
    for n in (1, 2, 17, 250):
        np.testing.assert_array_equal(net.predict(rows[:n]), net.predict(matrix[:n]))


@pytest.mark.parametrize("batch", [1, 2, 16, 17, 95, 96, 128, 511, 512, 600])
@pytest.mark.parametrize("optimizer", [nf.SGD, nf.Adam])
def test_mini_batches_of_any_size(optimizer, batch):
    """Gradients are summed in one, two or four chunks of rows."""
    n = min(1200, 20 * batch)
    x = make_rows(n, 60)
    for units in ((5, 3), (70, 3)):
        assert_same_training(lambda: make_net(units), x, make_labels(n), batch_size=batch, optimizer=optimizer(0.01))  # noqa: B023


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, dtype):
    x, y = make_rows(230, 90), make_labels(230)
    for batch in (10, 115):
        options = {"epochs": 2, "batch_size": batch, "optimizer": OPTIMIZERS[name].make()}
        assert_same_training(lambda: make_net((20, CLASSES), dtype), x, y, **options)


OPTIONS = {
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "weight decay": {"weight_decay": 0.01},
    "clipped values": {"clip_value": 0.01},
    "clipped norm": {"clip_norm": 0.1},
    "average": {"average_decay": 0.9},
    "schedule": {"learning_rate": nf.schedules.Exponential(0.5, gamma=0.9)},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_options_of_sgd(dtype, option):
    optimizer = nf.SGD(**{"learning_rate": 0.3, **OPTIONS[option]})
    for batch in (12, 110):
        assert_same_training(
            lambda: make_net((20, CLASSES), dtype), make_rows(230, 90), make_labels(230), batch_size=batch,
            optimizer=optimizer, epochs=2,
        )  # fmt: skip


@pytest.mark.parametrize("layer", [{"l1": 0.01}, {"l2": 0.01}, {"use_bias": False}, {"trainable": False}], ids=str)
@pytest.mark.parametrize("activation", ["gelu", "relu", "softmax", "leaky_relu"])
def test_options_of_the_first_layer(activation, layer):
    def make():
        return nf.Sequential([nf.Dense(20, activation, **layer), nf.Dense(CLASSES, "softmax")], seed=0)

    for optimizer in (nf.SGD(0.3), nf.Adam()):
        assert_same_training(make, make_rows(130, 50), make_labels(130), optimizer=optimizer)


def test_a_row_of_weights_wider_than_a_piece_of_the_gradient():
    for optimizer in (nf.SGD(0.1), nf.Adam()):
        assert_same_training(lambda: make_net((1100, CLASSES)), make_rows(40, 30), make_labels(40), optimizer=optimizer)


FIRST = {
    "rescaling": lambda: nf.Rescaling(2.0, 0.5),
    "batch norm": lambda: nf.BatchNorm(),
    "layer norm": lambda: nf.LayerNorm(),
    "activation": lambda: nf.Activation("tanh"),
    "dropout": lambda: nf.Dropout(0.3),
    "residual": lambda: nf.Residual([nf.Dense(30, "tanh")]),
    "flatten": lambda: nf.Flatten(),
}


@pytest.mark.parametrize("name", FIRST)
def test_other_first_layers_get_rows_with_their_zeros(name):
    x, y = make_rows(150, 30), make_labels(150)

    def make():
        return nf.Sequential([FIRST[name](), nf.Dense(9, "relu"), nf.Dense(CLASSES, "softmax")], seed=0)

    assert_same_training(make, x, y, epochs=2, validation_data=(x.toarray(), y))
    net = make()
    net.build(30)
    matrix, rows = both(x)
    np.testing.assert_array_equal(net.predict(rows), net.predict(matrix))
    assert net.evaluate(rows, y) == net.evaluate(matrix, y)
    for wrt in (None, "x"):
        for name, array in net.gradient(matrix, y, wrt=wrt).items():
            np.testing.assert_array_equal(net.gradient(rows, y, wrt=wrt)[name], array)


def test_rows_without_any_stored_element():
    x = sparse.csr_array((40, 12))
    for optimizer in (nf.SGD(0.3), nf.Adam()):
        assert_same_training(make_net, x, make_labels(40), batch_size=7, optimizer=optimizer)
    half = sparse.vstack([x, make_rows(40, 12)]).tocsr()
    assert_same_training(make_net, half, make_labels(80), batch_size=20, shuffle=False)


def test_weights_metrics_validation_and_order():
    x, y = make_rows(150, 40), make_labels(150)
    weights = np.random.default_rng(3).random(150)
    for shuffle in (False, True):
        results = []
        for given in both(x):
            net = make_net()
            history = net.fit(
                given, y, epochs=3, sample_weight=weights, metrics=["accuracy", nf.metrics.TopKAccuracy(2)],
                shuffle=shuffle, validation_data=(given[:50], y[:50], weights[:50]), verbose=0,
            )  # fmt: skip
            results.append((state(net)[:2], dict(history)))
        assert results[0] == results[1]


def test_all_that_takes_samples():
    x, y = make_rows(300, 40), make_labels(300)
    weights = np.random.default_rng(3).random(300)
    matrix, rows = both(x)
    net = make_net()
    net.build(40)
    for call in (
        lambda given: net.predict(given),
        lambda given: net.predict_class(given),
        lambda given: net.forward(given),
        lambda given: net.gradient(given, y, sample_weight=weights)["W1"],
        lambda given: net.gradient(given, y, wrt="x")["x"],
        lambda given: net.gradient(given, y, training=True)["b1"],
        lambda given: net.numerical_gradient(given[:4], y[:4], wrt="W2", verbose=0)["W2"],
    ):
        np.testing.assert_array_equal(call(rows), call(matrix))
    for call in (
        lambda given: net.evaluate(given, y, sample_weight=weights),
        lambda given: net.loss(given, y),
        lambda given: net.loss(given, y, training=True),
        lambda given: net.accuracy(given, y),
    ):
        assert call(rows) == call(matrix)
    with np.errstate(all="ignore"):
        assert net.check_gradient(rows[:4], y[:4], verbose=0)
    losses = []
    for given in (matrix, rows):
        net = make_net()
        net.build(40)
        losses.append([net.train_step(given[i : i + 50], y[i : i + 50], nf.SGD(0.3)) for i in range(0, 300, 50)])
        losses[-1].append(net.flat_params.tobytes())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_other_ways_to_train(gradient):
    x, y = make_rows(40, 8, 0.3), make_labels(40)
    options = {"steps": 2} if gradient == "numerical" else {"epochs": 3}
    assert_same_training(lambda: make_net((3, CLASSES)), x, y, gradient=gradient, **options)
    assert_same_training(lambda: make_net((3, CLASSES)), x, y, gradient=gradient, optimizer=nf.LBFGS(), epochs=500)


def test_many_networks():
    """Each with rows of its own, some of them several times."""
    x, y = make_rows(200, 40), make_labels(200)
    rng = np.random.default_rng(4)
    rows = [rng.integers(0, 200, 90), np.full(50, np.diff(x.indptr).argmax()), np.arange(200), None]
    found = []
    for given in both(x):
        nets = [make_net() for _ in rows]
        nf.fit_many(nets, given, y, rows=rows, validation_rows=[np.arange(70)] * 4, epochs=2, verbose=0)
        found.append([(state(net)[:2], dict(net.history)) for net in nets])
    assert found[0] == found[1]


@pytest.mark.parametrize("units", [(5, CLASSES), (64, CLASSES)], ids=str)
def test_any_number_of_threads(units):
    x, y = make_rows(600, 120), make_labels(600)
    for batch in (9, 96, 600):
        for optimizer in (nf.SGD(0.3), nf.Adam(), nf.SGD(0.3, clip_norm=0.1)):
            found = []
            for given, count in ((x.toarray(), 1), (x, 1), (x, 2), (x, 3)):
                net = make_net(units)
                with nf.num_threads(count, fixed=True):
                    net.fit(given, y, batch_size=batch, optimizer=optimizer, epochs=2, verbose=0)
                    gradient = net.gradient(given, y)["W1"].tobytes()
                    found.append((state(net)[:2], gradient, net.evaluate(given, y), net.predict(given).tobytes()))
            assert found[1:] == found[:1] * 3


@pytest.mark.parametrize("number", ["bool", "int8", "uint8", "int16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_numbers_and_indices_of_any_dtype(index, number):
    x = make_rows(120, 40)
    x.data = np.round(3 * x.data).astype(number)
    x.indices, x.indptr = x.indices.astype(index), x.indptr.astype(index)
    assert (x.indices.dtype, x.data.dtype) == (index, number)
    for dtype in DTYPES:
        assert_same_training(lambda: make_net(dtype=dtype), x, make_labels(120), epochs=2)  # noqa: B023


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix])
def test_both_classes(kind):
    assert_same_training(make_net, kind(make_rows(60, 20)), make_labels(60))


def test_features_that_do_not_occur_keep_their_weights():
    x = sparse.csr_array(make_rows(50, 200, 0.01))
    net = make_net()
    net.build(200)
    before = net.params["W1"].copy()
    net.fit(x, make_labels(50), optimizer=nf.SGD(0.5), verbose=0)
    changed = np.flatnonzero((net.params["W1"] != before).any(axis=1))
    assert set(changed) == set(x.indices[x.data != 0])
    assert 0 < len(changed) < 200


def test_the_data_are_not_changed():
    x, y = make_rows(60, 20), make_labels(60)
    copy = x.copy()
    net = make_net()
    net.fit(x, y, verbose=0)
    net.predict(x)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(x, name), getattr(copy, name))


def test_indices_that_change_in_training_stay_within_the_weights():
    """The result is wrong then, but nothing else happens."""
    x, y = make_rows(60, 20), make_labels(60)

    def spoil(net, history):
        x.indices[::2] = 2**31 - 1
        x.indices[1::2] = -5
        x.indptr[1:] = 2**31 - 1

    make_net().fit(x, y, epochs=5, callbacks=[spoil], verbose=0)


# ---- errors


def with_part(name, value):
    """A CSR matrix one of whose arrays has been replaced, without SciPy's checks."""
    x = sparse.csr_array(np.array([[0.0, 1, 2], [3, 0, 4]]))
    object.__setattr__(x, name, np.asarray(value))
    return x


VALID = sparse.csr_array(np.array([[0.0, 1, 2], [3, 0, 4]]))
INVALID = [
    (VALID.tocsc(), TypeError, "x must be an array or a CSR matrix, got csc_array: use x.tocsr()"),
    (VALID.tocoo(), TypeError, "x must be an array or a CSR matrix, got coo_array: use x.tocsr()"),
    (VALID.astype(complex), TypeError, "x must hold real numbers, got an array of shape (4,) and dtype complex128"),
    (VALID[:, :2], ValueError, "x must have shape (n, 3), got (2, 2)"),
    (
        with_part("indices", [2, 1, 0, 2]),
        ValueError,
        "x must have sorted indices without duplicates in each row, but row 0 does not: call "
        "x.sum_duplicates() first, which also sorts them",
    ),
    (
        with_part("indices", [1, 2, 2, 2]),
        ValueError,
        "x must have sorted indices without duplicates in each row, but row 1 does not: call "
        "x.sum_duplicates() first, which also sorts them",
    ),
    (
        with_part("indices", [1, 2, 0, 3]),
        ValueError,
        "x is not a valid CSR matrix: its columns are 0 to 2, got index 3 in row 1",
    ),
    (
        with_part("indices", [-1, 2, 0, 2]),
        ValueError,
        "x is not a valid CSR matrix: its columns are 0 to 2, got index -1 in row 0",
    ),
    (
        with_part("indptr", [0, 2]),
        ValueError,
        "x is not a valid CSR matrix: indptr must be 3 ascending integers, starting with 0",
    ),
    (
        with_part("indptr", [0, 3, 2]),
        ValueError,
        "x is not a valid CSR matrix: indptr must be 3 ascending integers, starting with 0",
    ),
    (
        with_part("indptr", [0, 2, 5]),
        ValueError,
        "x is not a valid CSR matrix: indptr ends with 5, but there are 4 data and 4 indices",
    ),
]


@pytest.mark.parametrize(("x", "error", "message"), INVALID, ids=lambda value: getattr(value, "format", ""))
def test_matrices_that_do_not_fit(x, error, message):
    y = [0, 1]
    net = make_net()
    net.build(3)
    for call in (
        lambda: net.fit(x, y),
        lambda: net.predict(x),
        lambda: net.predict_class(x),
        lambda: net.evaluate(x, y),
        lambda: net.train_step(x, y),
        lambda: net.gradient(x, y),
        lambda: net.forward(x),
    ):
        with unchanged(net), pytest.raises(error) as raised:
            call()
        assert str(raised.value).startswith(message)
    with unchanged(net), pytest.raises(error) as raised:
        net.fit(VALID, y, validation_data=(x, y))
    assert str(raised.value).startswith(f"validation_data: {message}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_stored_elements_that_are_not_finite(value):
    x, net = make_rows(9, 5, 0.5), make_net()
    x.data[7] = value
    row = np.searchsorted(x.indptr, 7, "right") - 1
    with pytest.raises(ValueError) as raised:
        net.fit(x, make_labels(9))
    assert str(raised.value) == f"x must be finite, got NaN or infinity at index ({row}, {x.indices[7]})"
    net.build(5)
    assert np.isnan(net.predict(x)[row]).any() or np.isinf(value)


def test_stored_elements_out_of_range():
    x, net = make_rows(9, 5, 0.5), make_net()
    x.data[3], x.data[7] = np.nan, -1e300
    row = np.searchsorted(x.indptr, 7, "right") - 1
    net.build(5)
    for call in (lambda: net.fit(x, make_labels(9)), lambda: net.predict(x)):
        with pytest.raises(ValueError) as raised:
            call()
        assert str(raised.value) == f"x must fit into float32, got -1e+300 at index ({row}, {x.indices[7]})"


def test_no_rows_or_columns():
    with pytest.raises(ValueError, match=r"^x must have at least one row, got shape \(0, 5\)$"):
        make_net().fit(sparse.csr_array((0, 5)), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"^x must have shape \(n, features\), got \(4, 0\)$"):
        make_net().fit(sparse.csr_array((4, 0)), make_labels(4))
    net = make_net()
    net.build(5)
    assert net.predict(sparse.csr_array((0, 5))).shape == (0, CLASSES)


def test_targets_cannot_be_sparse():
    with pytest.raises(TypeError, match=r"^y must be a dense array, got csr_array: use y.toarray\(\)$"):
        make_net((4, 3)).fit(VALID, VALID)


@pytest.mark.parametrize("rows", [slice(3, 20), slice(20, 3, -4), np.array([5, 5, 0, 59])], ids=str)
def test_rows_of_a_source(rows):
    x = make_rows(60, 20)
    source = Source("float64", (x.data, x.indices, x.indptr.astype(np.int64)), 20)
    assert source.is_sparse
    assert source.shape == (60, 20)
    np.testing.assert_array_equal(source[rows], x.toarray()[rows])


def test_the_largest_number_of_stored_elements():
    x = make_rows(60, 20)
    counts = np.diff(x.indptr)
    source = Source("float64", (x.data, x.indices, x.indptr.astype(np.int64)), 20)
    assert source.most_stored(7) == np.sort(counts)[-7:].sum()
    assert source.most_stored(60) == source.most_stored(99) == x.nnz
    order = np.array([3, 3, counts.argmax(), 8])
    assert source.most_stored(2, order) == np.sort(counts[order])[-2:].sum()
    assert source.most_stored(9, order) == counts[order].sum()


# ---- memory and imports

PEAK = """
    import numpy as np, nnfast as nf
    from scipy import sparse

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

    n, features = 20_000, 20_000  # 1.6 GB in float32
    rng = np.random.default_rng(0)
    indices = np.sort(rng.integers(0, features // 50, (n, 50)) + np.arange(50) * (features // 50)).astype(np.int32)
    x = sparse.csr_array((np.ones(indices.size), indices.ravel(), np.arange(n + 1) * 50), (n, features))
    y = np.arange(n) % 10
    net = nf.Sequential([nf.Dense(16, "relu"), nf.Dense(10, "softmax")], input_shape=features, seed=0)
    nf.set_num_threads(2)
    net.fit(x[:1000], y[:1000], batch_size=100, verbose=0)
    before, most = anonymous(), []
    look = lambda net, history: most.append(anonymous())
    net.fit(x, y, batch_size=100, verbose=0, validation_data=(x, y), callbacks=[look])
    for call in (net.predict, net.predict_class, lambda x: net.evaluate(x, y), lambda x: net.train_step(x, y)):
        call(x)
        most.append(anonymous())
    print(max(most) - before)
"""


@pytest.mark.measures
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_no_dense_copy_in_memory():
    run = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(PEAK)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 60  # megabytes; the stored elements take 12


def test_importing_nnfast_leaves_scipy_out():
    code = "import sys, nnfast; print([name for name in sys.modules if name.startswith('scipy')])"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
