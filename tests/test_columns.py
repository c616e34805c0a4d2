"""`ColumnEncoding`: values computed by hand and by PyTorch, unknown codes, bits, files and errors.

tests/gradient_cases.py has the rest, with columns that have one output each.
"""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from column_cases import mixed, samples
from numpy.random import default_rng
from numpy_network import NumpyNetwork, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast import reference
from nnfast.columns import MAX_CODES, Column, Embedding, Flag, Number, OneHot
from nnfast.layers.columns import MAX_COLUMNS

DTYPES = ("float32", "float64")
UNKNOWN = [-1.0, 3.0, 0.5, 2.0000002, -0.5, 1e30, -1e30, 2.0**24, 2.0**31, 2.0**63, np.nan, np.inf, -np.inf]
TABLE = np.arange(1.0, 7.0)  # of three codes with two units


def encoding(columns, dtype="float64", **arguments):
    return nf.Sequential([nf.ColumnEncoding(columns, **arguments)], input_shape=len(columns), dtype=dtype, seed=0)


def network(columns, dtype="float64", hidden=6, **arguments):
    layers = [nf.ColumnEncoding(columns, **arguments), nf.Dense(hidden, "tanh"), nf.Dense(2)]
    return nf.Sequential(layers, input_shape=len(columns), dtype=dtype, seed=1)


# ---- values


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_by_hand(dtype):
    net = encoding([Number([-1.0, 0.0, 4.0], clip=3.0, scale=0.25), Number(clip=2.0)], dtype)
    x = [[0.0, 0.0], [4.0, 1.5], [-0.5, -1.5], [1.0, np.inf], [-7.0, -np.inf]]
    expected = [
        [0, 0.25, 0, 0],
        [4 / (5 / 3), 0.25, 0.25, 1.2],  # 1 + 16/9 = (5/3)**2; 1 + 9/16 = (5/4)**2
        [-0.5 / np.sqrt(1 + 1 / 36), 0.125, 0, -1.2],
        [1 / np.sqrt(1 + 1 / 9), 0.25, 0.0625, 2],
        [-7 / np.sqrt(1 + 49 / 9), 0, 0, -2],
    ]
    assert_close(net.predict(np.array(x, dtype)), np.array(expected), scale=1.0)


def test_numbers_that_are_missing_stay_missing():
    out = encoding([Number([0.0, 1.0]), Flag()]).predict([[np.nan, np.nan], [1e300, -0.0]])
    assert np.isnan(out[0]).all()
    np.testing.assert_array_equal(out[1], [3.0, 0.25, 0.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_by_hand(dtype):
    net = encoding([OneHot(3), Flag(), OneHot(2), Embedding(3, 2)], dtype, initializer=TABLE)
    expected = [[1, 0, 0, 7, -1, 5, 6], [0, 0, 1, -2, 1, 1, 2], [0, 1, 0, 0, 1, 3, 4]]
    np.testing.assert_array_equal(net.predict([[0, 7, 0, 2], [2, -2, 1, -0.0], [1, 0, 1, 1]]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unknown_codes_give_zeros(dtype):
    net = encoding([OneHot(3), OneHot(2), Embedding(3, 2)], dtype, initializer=TABLE)
    x = np.repeat(np.array(UNKNOWN)[:, np.newaxis], 3, axis=1)
    x[:, 1][x[:, 1] == 1] = -1
    np.testing.assert_array_equal(net.predict(x[np.abs(x[:, 0] - 2) > 1e-6]), 0)
    if dtype == "float64":  # float32 has no number between 2 and this one
        np.testing.assert_array_equal(net.predict(x), 0)


def test_codes_of_large_tables():
    """Codes up to the last one that float32 can count to."""
    net = encoding([Embedding(MAX_CODES, 1)], "float32", initializer=np.arange(MAX_CODES))
    x = np.array([[0.0], [MAX_CODES - 1], [MAX_CODES - 2], [MAX_CODES], [MAX_CODES + 2]])
    np.testing.assert_array_equal(net.predict(x)[:, 0], [0, MAX_CODES - 1, MAX_CODES - 2, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 40, 300])
def test_predictions_are_those_of_the_reference(dtype, rows):
    rng = default_rng(rows)
    columns = mixed(rng)
    net, x = encoding(columns, dtype), samples(columns, rng, rows, dtype)
    expected = reference.encode(x, [column.encoding() for column in columns], net.params["E1"])
    found = net.predict(x)
    assert_close(found, expected, scale=100.0)
    alone = np.array([net.predict_one(row) for row in x])
    np.testing.assert_array_equal(alone, found)
    np.testing.assert_array_equal(net.forward(x, training=True), found)


# ---- gradients


def test_gradients_by_hand():
    net = encoding([Number([-1.0, 0.0, 4.0], clip=3.0, scale=0.25), Flag(), Embedding(3, 2)], initializer=TABLE)
    x = np.array([[4.0, 1.0, 2], [-0.5, 1.0, 0], [0.0, 2.0, 2], [5.0, 2.0, 9]])
    gradient = np.arange(1.0, 25.0).reshape(4, 6)
    net.forward(x, training=True)
    found = net.backward(gradient)
    slope = [1 / (5 / 3) ** 3, 1 / np.sqrt(1 + 1 / 36) ** 3, 1, 1 / np.sqrt(1 + 25 / 9) ** 3]
    # at the edges 4 and 0 the piece below counts, above the last one none does
    numbers = [slope[0] + 0.25 * 3 / 4, 7 * slope[1] + 0.25 * 8, 13 + 0.25 * 14, 19 * slope[3]]
    assert_close(found, np.column_stack([numbers, gradient[:, 3], np.zeros(4)]), scale=20.0)
    assert net.grads["E1"].tolist() == [11, 12, 0, 0, 5 + 17, 6 + 18]


def test_gradients_are_numerical_ones():
    rng = default_rng(3)
    columns = mixed(rng, 10)
    net = network(columns)
    x, y = samples(columns, rng, 12), rng.normal(size=(12, 2))
    names = [*net.params, "x"]
    found, expected = net.gradient(x, y, wrt=names), net.numerical_gradient(x, y, h=1e-5, wrt=names)
    for name in names:
        assert found[name].any()
        assert_close(found[name], expected[name], scale=1.0, kind="difference")
    assert net.check_gradient(x, y, wrt=names)
    wrong = {name: gradient + 0.01 for name, gradient in net.gradient(x, y).items()}
    report = net.check_gradient(x, y, gradient=wrong)
    assert not any(report[name] for name in net.params)


def test_an_edge_is_a_kink():
    net = network([Number([-1.0, 0.0, 1.0]), Flag()])
    report = net.check_gradient([[0.0, 1.0], [0.5, 1.0]], [[3.0, -1.0], [0.0, 1.0]], wrt=["x"])
    assert report
    assert report["x"].kinks.tolist() == [[True, False], [False, False]]


def test_the_gradient_of_the_input_is_not_computed_in_training():
    """A gradient of the first stage's input would be infinite here, and reach nothing."""
    net = network([Number(), Embedding(3, 2)])
    before = net.params["E1"].copy()
    assert np.isfinite(net.train_step([[np.inf, 1.0]], [[1.0, 2.0]], nf.SGD(0.1)))
    changed = (net.params["E1"] != before).reshape(3, 2)
    assert changed.tolist() == [[False] * 2, [True] * 2, [False] * 2]


# ---- training


@pytest.mark.parametrize("optimizer", [nf.SGD(0.1), nf.Adam(0.02), nf.AdamW(0.02, weight_decay=0.1)], ids=repr)
def test_training_is_that_of_pytorch(optimizer):
    torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
    rng = default_rng(1)
    x = np.column_stack([rng.integers(-1, 8, 40), rng.normal(size=40), rng.integers(0, 5, 40)])
    y = rng.normal(size=(40, 2))
    net = network([Embedding(7, 3), Flag(), Embedding(5, 2)])
    start = net.params["E1"]
    tables = [torch.nn.Embedding.from_pretrained(torch.tensor(rows), freeze=False) for rows in (
        np.vstack([start[:21].reshape(7, 3), np.zeros(3)]), start[21:].reshape(5, 2).copy(),
    )]  # fmt: skip
    others = {name: torch.tensor(array, requires_grad=True) for name, array in net.params.items() if name != "E1"}
    kinds = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
    decay = {"weight_decay": 0.1} if isinstance(optimizer, nf.AdamW) else {}
    theirs = kinds[type(optimizer).__name__](
        [*(table.weight for table in tables), *others.values()], lr=optimizer.learning_rate, **decay
    )

    def forward(z):
        codes = torch.tensor(z).long()
        known = torch.where((codes[:, 0] < 0) | (codes[:, 0] > 6), 7, codes[:, 0])
        h = torch.cat([tables[0](known), torch.tensor(z[:, 1:2]), tables[1](codes[:, 2])], dim=1)
        return torch.tanh(h @ others["W1"] + others["b1"]) @ others["W2"] + others["b2"]

    losses = []
    for step in range(30):
        rows = slice(8 * (step % 5), 8 * (step % 5) + 8)
        loss = ((forward(x[rows]) - torch.tensor(y[rows])) ** 2).mean()
        theirs.zero_grad()
        loss.backward()
        tables[0].weight.grad[7] = 0  # the row of unknown codes is not learned
        theirs.step()
        losses.append(loss.item())
    history = net.fit(x, y, steps=30, batch_size=8, optimizer=optimizer, shuffle=False, verbose=0)
    assert_close(history.step_loss, losses, scale=1 + np.abs(losses), kind="PyTorch")
    learned = np.concatenate([tables[0].weight.detach().numpy()[:7].ravel(), tables[1].weight.detach().numpy().ravel()])
    assert_close(net.params["E1"], learned, scale=1.0, kind="PyTorch")


@pytest.mark.parametrize("rows", [5, 100, 300, 1100])
def test_training_is_that_of_a_numpy_program(rows):
    """Batches of one, two, and more chunks."""
    rng = default_rng(rows)
    columns = mixed(rng)
    net = network(columns, l2=0.01)
    x, y = samples(columns, rng, rows), rng.normal(size=(rows, 2))
    twin = NumpyNetwork(net)
    losses = [twin.train_step(x, y, nf.Adam(0.01)) for _ in range(4)]
    found = [net.train_step(x, y, nf.Adam(0.01)) for _ in range(4)]
    assert_close(found, losses, scale=1 + np.abs(losses), kind="trajectory")
    assert_close(net.params["E1"], twin.parameters["E1"], scale=1.0, kind="trajectory")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7, 100, 130, 300, 520, 1100])
@pytest.mark.parametrize("hidden", [3, 300])
def test_the_bits_do_not_depend_on_threads(dtype, batch, hidden):
    rng = default_rng(batch)
    columns = [*mixed(rng), Embedding(900, 5)]
    x, y = samples(columns, rng, 1500, dtype), rng.normal(size=(1500, 2))
    vectors = []
    for threads in (1, 2, 4):
        net = network(columns, dtype, hidden)
        with nf.num_threads(threads):
            net.fit(x, y, steps=12, batch_size=batch, optimizer=nf.Adam(0.01), verbose=0)
        vectors.append(net.flat_params.tobytes())
    assert len(set(vectors)) == 1


def test_gradients_can_be_accumulated():
    rng = default_rng(0)
    columns = mixed(rng)
    net = network(columns)
    x = samples(columns, rng, 300)
    total = 0
    for i in range(2):
        net.forward(x[i * 150 : i * 150 + 150], training=True)
        net.backward(np.ones((150, 2)), accumulate=i > 0)
        fresh = network(columns)
        fresh.forward(x[i * 150 : i * 150 + 150], training=True)
        fresh.backward(np.ones((150, 2)))
        total = total + fresh.grads["E1"]
    assert_close(net.grads["E1"], total, scale=100.0)


def test_weight_decay_applies_as_to_weights():
    for decays in (True, False):
        net = encoding([Embedding(3, 2), Flag()], initializer=TABLE)
        net.forward([[0, 0]], training=True)
        net.backward([[0.0, 0.0, 0.0]])
        net.update(nf.SGD(0.1, weight_decay=1.0, decay_biases=decays))
        assert_close(net.params["E1"], 0.9 * TABLE, scale=6.0)


def test_frozen_embeddings_stay():
    net = network([Embedding(3, 2), Flag()], trainable=False)
    before = net.params["E1"].copy()
    net.fit([[0, 1.0], [2, 0.0]], [[1.0, 0.0], [0.0, 1.0]], epochs=3, verbose=0)
    np.testing.assert_array_equal(net.params["E1"], before)
    net.unfreeze()
    net.fit([[0, 1.0], [2, 0.0]], [[1.0, 0.0], [0.0, 1.0]], epochs=3, verbose=0)
    assert (net.params["E1"] != before).reshape(3, 2).all(axis=1).tolist() == [True, False, True]


def test_initial_values():
    def drawn(**arguments):
        return encoding([Flag(), Embedding(20000, 4), Embedding(20000, 1)], **arguments).params["E1"]

    assert abs(drawn()[:80000].std() - 0.5) < 0.01 and abs(drawn()[80000:].std() - 1) < 0.03
    assert abs(drawn(initializer=0.1).std() - 0.1) < 0.003
    assert not drawn(initializer=0).any()
    np.testing.assert_array_equal(drawn(), drawn())
    values = default_rng(0).normal(size=100000)
    np.testing.assert_array_equal(drawn(initializer=values), values)


# ---- data of other kinds


def test_data_of_any_kind():
    sparse = pytest.importorskip("scipy.sparse")
    columns = [Flag(), Embedding(9, 2), OneHot(3), Number([0.0, 1.0, 2.0])]
    net = network(columns, "float32")
    x = default_rng(0).integers(0, 3, (50, 4))
    expected = net.predict(x.astype("f4"))
    for given in (x, x.astype("f2"), x.astype("u1"), x.tolist(), np.asfortranarray(x), sparse.csr_matrix(x)):
        np.testing.assert_array_equal(net.predict(given), expected)
    histories = []
    for given in (x.astype("f4"), x.astype("f2"), sparse.csr_matrix(x)):
        again = network(columns, "float32")
        histories.append(again.fit(given, np.zeros((50, 2)), epochs=2, batch_size=16, verbose=0).step_loss.tobytes())
    assert len(set(histories)) == 1


def test_a_wide_table():
    columns = [Number(np.linspace(-2, 2, 17)), Embedding(50, 3)] * 1000
    net = network(columns, "float32")
    x = samples(columns, default_rng(0), 4, "float32")
    expected = reference.encode(x, [column.encoding() for column in columns], net.params["E1"])
    assert_close(net.activations(x, 0), expected, scale=20.0)
    assert np.isfinite(net.train_step(x, np.zeros((4, 2)), nf.Adam()))


def test_it_may_stand_within_a_network():
    layers = [nf.Dense(3, "tanh"), nf.ColumnEncoding([Number([-1, 0, 1])] * 3), nf.Dense(1)]
    net = nf.Sequential(layers, input_shape=2, dtype="float64", seed=0)
    rng = default_rng(0)
    assert net.check_gradient(rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), wrt=[*net.params, "x"])
    with pytest.raises(ValueError, match=r"ColumnEncoding of 2 columns needs samples of shape \(2,\), got \(3,\)"):
        nf.Sequential([nf.Dense(3), nf.ColumnEncoding([Flag()] * 2)], input_shape=2)


# ---- copies and files


def copies(net, folder):
    yield "copy", net.copy()
    yield "deepcopy", copy.deepcopy(net)
    yield "pickle", pickle.loads(pickle.dumps(net))
    for name in ("net.npz", "net.safetensors"):
        net.save(folder / name)
        yield name, nf.load(folder / name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_go_on_with_the_same_bits(dtype, tmp_path):
    rng = default_rng(0)
    columns = mixed(rng)
    net = network(columns, dtype, l1=0.01)
    x, y = samples(columns, rng, 200, dtype), rng.normal(size=(200, 2))
    net.fit(x, y, epochs=2, optimizer=nf.Adam(0.01), verbose=0)
    others = dict(copies(net, tmp_path))
    net.fit(x, y, epochs=2, optimizer=nf.Adam(0.01), verbose=0)
    expected = net.predict(x)
    del net  # what it owned is not theirs
    for name, other in others.items():
        assert other.layers[0].columns == tuple(columns), name
        other.fit(x, y, epochs=2, optimizer=nf.Adam(0.01), verbose=0)
        np.testing.assert_array_equal(other.predict(x), expected, err_msg=name)


def test_edges_are_rounded_to_float32_and_stay_as_they_are():
    edges = np.cumsum(default_rng(0).uniform(1e-6, 1.0, 100)) - 30
    column = Number(edges)
    np.testing.assert_array_equal(np.float32(column.edges), np.float32(edges))
    assert Number(column.edges) == column
    again = Column.from_config(json.loads(json.dumps(column.config())))
    assert again.edges == column.edges
    assert Number([0.1, 0.7]).config() == {"kind": "number", "edges": (0.1, 0.7)}


def test_the_description():
    layer = nf.ColumnEncoding([Number([0.0, 1.0], clip=2), Flag(), OneHot(3), Embedding(4, 2)], l2=0.5)
    assert json.loads(json.dumps(layer.config())) == {
        "kind": "column_encoding",
        "columns": [
            {"kind": "number", "edges": [0.0, 1.0], "clip": 2.0},
            {"kind": "flag"},
            {"kind": "one_hot", "n": 3},
            {"kind": "embedding", "n": 4, "units": 2},
        ],
        "l2": 0.5,
    }
    assert nf.layers.Layer.from_config(layer.config() | {"columns": [c.config() for c in layer.columns]}) == layer


HOSTILE = {
    "no list": {"columns": {"kind": "flag"}},
    "a text": {"columns": "flag"},
    "no columns": {"columns": []},
    "too many": {"columns": [{"kind": "flag"}] * (MAX_COLUMNS + 1)},
    "a number": {"columns": [1]},
    "no kind": {"columns": [{}]},
    "another kind": {"columns": [{"kind": "dense"}]},
    "a list as kind": {"columns": [{"kind": []}]},
    "another field": {"columns": [{"kind": "flag", "n": 3}]},
    "no n": {"columns": [{"kind": "embedding", "units": 3}]},
    "a huge table": {"columns": [{"kind": "embedding", "n": 2**24, "units": 2**31 - 1}]},
    "huge tables": {"columns": [{"kind": "embedding", "n": 2**24, "units": 100}] * 2},
    "too many codes": {"columns": [{"kind": "one_hot", "n": 2**24 + 1}]},
    "many outputs": {"columns": [{"kind": "one_hot", "n": 2**24}] * 200},
    "a fraction": {"columns": [{"kind": "one_hot", "n": 2.5}]},
    "a text as n": {"columns": [{"kind": "one_hot", "n": "9" * 1000}]},
    "a bool": {"columns": [{"kind": "one_hot", "n": True}]},
    "NaN": {"columns": [{"kind": "number", "edges": [0.0, float("nan")]}]},
    "nested edges": {"columns": [{"kind": "number", "edges": [[0.0, 1.0]]}]},
    "falling edges": {"columns": [{"kind": "number", "edges": [1.0, 0.0]}]},
    "edges of text": {"columns": [{"kind": "number", "edges": ["0", "1"]}]},
    "edges as a text": {"columns": [{"kind": "number", "edges": "01"}]},
    "null": {"columns": [{"kind": "number", "edges": None}]},
    "a clip of zero": {"columns": [{"kind": "number", "clip": 0.0}]},
    "a large clip": {"columns": [{"kind": "number", "clip": 1e300}]},
    "an initializer": {"columns": [{"kind": "embedding", "n": 2, "units": 2}], "initializer": 1.0},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_descriptions_are_refused(what):
    with pytest.raises((KeyError, TypeError, ValueError)):
        nf.layers.Layer.from_config({"kind": "column_encoding", **HOSTILE[what]})


def test_the_summary_shows_it(capsys):
    net = network([Number(), Number([0, 1]), OneHot(4), Embedding(10, 3)], "float32", trainable=False)
    net.summary()
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("ColumnEncoding"))
    assert row.split("  ")[0] == "ColumnEncoding(2 Number, 1 OneHot, 1 Embedding, trainable=False)"
    assert row.split()[-3:] == ["(n,", "10)", "30"]
    assert repr(net.layers[0]) == (
        "ColumnEncoding([Number(), Number(edges=(0.0, 1.0)), OneHot(4), Embedding(10, 3)], trainable=False)"
    )


# ---- errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Number([1.0]), ValueError, "^edges must be empty or have two numbers at least, got "),
        (lambda: Number([0.0, 0.0]), ValueError, "^edges must increase, and differ in float32, but 0.0 follows 0.0"),
        (lambda: Number([0, 2, 1]), ValueError, "^edges must increase, and differ in float32, but 1.0 follows 2.0"),
        (lambda: Number([1, 1 + 1e-9]), ValueError, "^edges must increase, and differ in float32, but 1.000000001 f"),
        (lambda: Number([0, 1e-40]), ValueError, "^edges must increase, and differ in float32, but 1e-40 follows 0.0"),
        (lambda: Number([0, 1e31]), ValueError, r"^edges must be from -1e\+30 to 1e\+30, got \[0, 1e\+31\]"),
        (lambda: Number([0, np.inf]), ValueError, "^edges must be finite"),
        (lambda: Number(3.0), ValueError, "^edges must have 1 dimension"),
        (lambda: Number("ab"), TypeError, "^edges must hold real numbers"),
        (lambda: Number(clip=0), ValueError, "^clip must be a finite number in "),
        (lambda: Number(scale=-1), ValueError, "^scale must be a finite number in "),
        (lambda: Number(clip="3"), TypeError, "^clip must be a number, got '3'"),
        (lambda: OneHot(1), ValueError, "^n must be at least 2, got 1"),
        (lambda: OneHot(2**24 + 1), ValueError, "^n must be at most 16777216, got 16777217"),
        (lambda: OneHot(2.0), TypeError, r"^n must be an integer, got 2.0 \(float\)"),
        (lambda: Embedding(5, 0), ValueError, "^units must be at least 1, got 0"),
        (lambda: Embedding(5), TypeError, "^Embedding.. missing a required argument: 'units'"),
        (lambda: nf.ColumnEncoding([]), ValueError, "^columns must be 1 to 65536, got 0"),
        (lambda: nf.ColumnEncoding([Flag()] * 65537), ValueError, "^columns must be 1 to 65536, got 65537"),
        (lambda: nf.ColumnEncoding(3), TypeError, "^columns must be a sequence of columns, got 3"),
        (
            lambda: nf.ColumnEncoding([Flag(), "x"]),
            TypeError,
            r"^columns\[1\] must be a column such as nnfast.columns.N",
        ),
        (lambda: nf.ColumnEncoding([Flag]), TypeError, r"^columns\[0\] must be a column"),
        (
            lambda: nf.ColumnEncoding([Embedding(2**24, 100)] * 2),
            ValueError,
            "^columns must have at most 2147483647 numbers to learn together, got 3355443200",
        ),
        (lambda: nf.ColumnEncoding([Flag()], initializer=1.0), ValueError, "^initializer has no effect without an Emb"),
        (lambda: nf.ColumnEncoding([Flag()], l2=1.0), ValueError, "^l1 and l2 need an Embedding"),
        (
            lambda: nf.ColumnEncoding([Embedding(2, 2)], initializer=[1.0]),
            ValueError,
            r"^initializer must have shape \(4,\), got \(1,\)",
        ),
        (
            lambda: nf.ColumnEncoding([Embedding(2, 2)], initializer=-1),
            ValueError,
            "^initializer is a standard deviation and must not be negative, got -1",
        ),
        (
            lambda: nf.ColumnEncoding([Embedding(2, 2)], initializer="he_normal"),
            TypeError,
            "^initializer must hold real numbers",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_samples_must_have_a_number_for_each_column():
    with pytest.raises(ValueError, match=r"ColumnEncoding of 2 columns needs samples of shape \(2,\), got \(3,\)"):
        nf.Sequential([nf.ColumnEncoding([Flag()] * 2)], input_shape=3)
    net = nf.Sequential([nf.ColumnEncoding([Flag()] * 2), nf.Dense(1)])
    with unchanged(net), pytest.raises(ValueError, match=r"needs samples of shape \(2,\), got \(3,\)"):
        net.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    net.build(2)
    assert net.predict([[1.0, 2.0]]).shape == (1, 1)


# ---- exports


def exported(dtype):
    rng = default_rng(5)
    columns = mixed(rng)
    x = samples(columns, rng, 60, dtype)
    x[:2, 0] = np.nan, np.inf  # codes
    return network(columns, dtype), x


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_runtime_computes_the_same(dtype, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    net, x = exported(dtype)
    net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for rows in (x[:1], x):
        (outputs,) = session.run(None, {"input": rows})
        assert_close(outputs, net.predict(rows), scale=100.0)


@pytest.mark.parametrize("kinds", [[Flag()], [Number()], [OneHot(2)], [Embedding(3, 2)], [OneHot(3), Number([0, 1])]])
def test_onnx_of_few_columns(kinds, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net = encoding(kinds, "float32")
    net.to_onnx(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    x = np.repeat(np.float32([[0], [1], [2], [-1], [0.5]]), len(kinds), axis=1)
    assert_close(session.run(None, {"input": x})[0], net.predict(x), scale=1.0)
