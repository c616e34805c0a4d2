"""Data as it lies: any dtype, any strides, memory maps and data frames give the bits of a float array.

All data here are treated as large: `WHOLE` is the number of elements up to which they are converted as a whole.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from numpy_network import state, unchanged

import nnfast as nf
from nnfast import _samples, reference
from nnfast.engine.program import Source
from nnfast.kernels import arrays

ROWS, COLUMNS, CLASSES = 307, 36, 5
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 120, (ROWS, COLUMNS))  # all dtypes but bool hold them exactly
SIGNS = rng.random((ROWS, COLUMNS)) < 0.5
REALS = rng.normal(size=(ROWS, COLUMNS))
LABELS = rng.integers(0, CLASSES, ROWS)
WEIGHTS = rng.random(ROWS)


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setattr(_samples, "WHOLE", 0)


class OnlyInterface:
    """An array of another library, known by its address alone."""

    def __init__(self, array):
        self._array, self.__array_interface__ = array, array.__array_interface__


class OnlyDLPack:
    """An array of another library that exchanges memory by DLPack alone."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **how):
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def strided(array):
    """Every second row and third column of a larger array, both backwards."""
    large = np.full((2 * len(array), 3 * array.shape[1]), 77, array.dtype)
    large[::-2, ::-3] = array
    return large[::-2, ::-3]


def misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def frame_of_pandas(array):
    """Columns of several dtypes, some of them in one piece of memory, some alone."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.ascontiguousarray(array[:, :20]))
    for i in range(20, array.shape[1]):
        frame.insert(i, i, array[:, i].astype([np.float64, np.float32, np.int16, np.uint64][i % 4]))
    return frame


def frame_of_polars(array):
    pl = pytest.importorskip("polars")
    kinds = [np.float64, np.float32, np.int16, np.uint64]
    return pl.DataFrame({f"c{i}": column.astype(kinds[i % 4]) for i, column in enumerate(array.T)})


# How data may lie: a function of an array, and the arrays it is applied to.
LAYOUTS = {
    "as it is": (lambda array: array, None),
    "Fortran": (np.asfortranarray, None),
    "strided": (strided, None),
    "read-only": (read_only, None),
    "misaligned": (misaligned, None),
    "only an interface": (OnlyInterface, None),
    "only DLPack": (OnlyDLPack, None),
    "memoryview": (memoryview, None),
    "pandas": (frame_of_pandas, "pixels"),
    "polars": (frame_of_polars, "pixels"),
}
DTYPES = ["bool", *(name for name in arrays.NUMBERS if name != "bool")]
assert set(DTYPES) == set(arrays.NUMBERS)


def values(dtype):
    kind = np.dtype(dtype).kind
    return (SIGNS if kind == "b" else REALS if kind == "f" else PIXELS).astype(dtype)


def make_net(dtype="float32", seed=3, **options):
    layers = [nf.Rescaling(1 / 100), nf.Dense(20, "relu"), nf.Dense(CLASSES, "softmax")]
    return nf.Sequential(layers, input_shape=COLUMNS, dtype=dtype, seed=seed, **options)


def all_of(net, x, y, weights, shuffle=True):
    """Everything that a network computes from data: a training, and what it predicts and evaluates afterwards."""
    history = net.fit(
        x, y, epochs=2, batch_size=50, shuffle=shuffle, sample_weight=weights, validation_data=(x, y, weights),
        metrics=["accuracy", "mean_absolute_error"], verbose=0,
    )  # fmt: skip
    return [
        net.flat_params.tobytes(),
        {name: history[name] for name in history},
        history.step_loss.tolist(),
        net.predict(x).tobytes(),
        net.forward(x).tobytes(),
        net.predict_class(x).tolist(),
        net.evaluate(x, y, sample_weight=weights, metrics=["top_2_accuracy"]),
        net.loss(x, y),
        net.loss(x, y, training=True),
        net.accuracy(x, y, sample_weight=weights),
    ]


# ---- the same bits


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_layout_gives_the_bits_of_a_float_array(layout, dtype, shuffle):
    lay, _ = LAYOUTS[layout]
    given = PIXELS.astype(np.float32 if layout in ("pandas", "polars") else np.uint8)
    expected = all_of(make_net(dtype), PIXELS.astype(dtype), LABELS, WEIGHTS, shuffle)
    x = lay(given)
    assert isinstance(make_net(dtype)._network.rows_in_place(x), Source)
    assert all_of(make_net(dtype), x, LABELS, WEIGHTS, shuffle) == expected


@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["as it is", "Fortran", "strided", "misaligned"])
def test_any_dtype_gives_the_bits_of_a_float_array(given, dtype, layout):
    x = LAYOUTS[layout][0](values(given))
    plain = values(given).astype(dtype)
    assert all_of(make_net(dtype), x, LABELS, None) == all_of(make_net(dtype), plain, LABELS, None)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_number_of_threads_gives_the_same_bits(threads, shuffle):
    expected = all_of(make_net(), PIXELS.astype(np.float32), LABELS, WEIGHTS, shuffle)
    for x in (PIXELS.astype(np.uint8), np.asfortranarray(REALS * 0 + PIXELS)):
        with nf.num_threads(threads):
            assert all_of(make_net(), x, LABELS, WEIGHTS, shuffle) == expected


def test_dtypes_that_the_engine_cannot_read_are_converted_as_a_whole():
    expected = all_of(make_net(), REALS.astype(np.float32), LABELS, None)
    for x in (REALS.astype(">f8"), REALS.astype(np.longdouble)):
        assert type(make_net()._network.rows_in_place(x)) is np.ndarray
        assert all_of(make_net(), x, LABELS, None) == expected
    for x in (REALS.astype(object), REALS.tolist()):  # of which NumPy makes float64
        assert all_of(make_net(), x, LABELS, None) == expected


def test_a_memory_map(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, PIXELS.astype(np.uint8))
    x = np.load(path, mmap_mode="r")
    assert all_of(make_net(), x, LABELS, None) == all_of(make_net(), PIXELS.astype(np.float32), LABELS, None)
    odd = np.memmap(path, np.uint8, "r", offset=path.stat().st_size - PIXELS.size, shape=PIXELS.shape)
    np.testing.assert_array_equal(make_net().predict(odd), make_net().predict(PIXELS))


def test_one_row_for_all():
    """An array whose rows share their memory."""
    x = np.broadcast_to(PIXELS[0].astype(np.int16), PIXELS.shape)
    assert all_of(make_net(), x, LABELS, None) == all_of(make_net(), x.astype(np.float32), LABELS, None)


@pytest.mark.parametrize("dtype", ["uint8", "float64", "float32"])
@pytest.mark.parametrize(
    ("axes", "blocks"),
    [((0, 1, 2, 3), 1), ((0, 2, 3, 1), 12), ((0, 3, 1, 2), 3), ((0, 3, 2, 1), 12), ((3, 1, 2, 0), 12)],
)
def test_samples_with_several_axes(dtype, axes, blocks):
    """Images with channels first as images with channels last, and others: as many blocks as they need."""
    shape = (64, 3, 4, 3) if axes[0] == 3 else (ROWS, 3, 4, 3)
    images = np.resize(PIXELS, (*shape[:3], ROWS) if axes[0] == 3 else shape).astype(dtype).transpose(axes)
    plain = np.ascontiguousarray(images, np.float32)
    n = len(images)

    def make():
        layers = [nf.Flatten(), nf.Rescaling(0.01), nf.Dense(CLASSES, "softmax")]
        return nf.Sequential(layers, input_shape=images.shape[1:], seed=0)

    rows = make()._network.rows_in_place(images)
    if isinstance(rows, Source):
        np.testing.assert_array_equal(rows[:], plain.reshape(n, -1))
        assert rows.blocks <= blocks
    assert all_of(make(), images, LABELS[:n], None) == all_of(make(), plain, LABELS[:n], None)


@pytest.mark.parametrize("what", ["noise", "norm", "narrow", "wide"])
def test_other_networks(what):
    """Whose batches meet at a batch norm, draw noise, go through the network by columns, or are shared by weights."""
    layers = {
        "noise": [nf.Dropout(0.3), nf.Dense(9, "tanh"), nf.GaussianNoise(0.1), nf.Dense(CLASSES, "softmax")],
        "norm": [nf.BatchNorm(), nf.Dense(9, "relu"), nf.BatchNorm(), nf.Dense(CLASSES, "softmax")],
        "narrow": [nf.Dense(8, "relu"), nf.Dense(CLASSES, "softmax")],
        "wide": [nf.Dense(600, "relu"), nf.Dense(CLASSES, "softmax")],
    }[what]
    plain = PIXELS.astype(np.float32)
    expected = all_of(nf.Sequential(layers, seed=0), plain, LABELS, WEIGHTS)
    for x in (PIXELS.astype(np.uint8), np.asfortranarray(PIXELS)):
        assert all_of(nf.Sequential(layers, seed=0), x, LABELS, WEIGHTS) == expected


@pytest.mark.filterwarnings("ignore:L-BFGS did not converge")
@pytest.mark.parametrize(
    "options",
    [
        {"gradient": "numerical", "steps": 3, "batch_size": 9},
        {"optimizer": "lbfgs"},
        {"optimizer": "lbfgs", "gradient": "numerical", "epochs": 2},
    ],
    ids=str,
)
def test_numerical_gradients_and_lbfgs(options):
    layers = [nf.Dense(3, "tanh"), nf.Dense(CLASSES, "softmax")]
    plain = values("float64").astype(np.float32)
    nets = []
    for x in (plain, plain.astype(np.float64), np.asfortranarray(plain)):
        nets.append(nf.Sequential(layers, seed=0))
        nets[-1].fit(x, LABELS, verbose=0, **options)
    for net in nets[1:]:
        assert state(net)[:2] == state(nets[0])[:2]
        assert net.history["loss"] == nets[0].history["loss"]


def test_calls_on_one_batch():
    x, plain = OnlyDLPack(np.asfortranarray(PIXELS[:40].astype(np.uint8))), PIXELS[:40].astype(np.float32)
    a, b = make_net(), make_net()
    assert a.train_step(x, LABELS[:40]) == b.train_step(plain, LABELS[:40])
    np.testing.assert_array_equal(a.forward(x, training=True), b.forward(plain, training=True))
    np.testing.assert_array_equal(
        a.gradient(x, LABELS[:40], wrt="x")["x"], b.gradient(plain, LABELS[:40], wrt="x")["x"]
    )
    assert a.check_gradient(x, LABELS[:40], wrt="b2", verbose=0)
    row = OnlyDLPack(PIXELS[0].astype(np.uint8))
    np.testing.assert_array_equal(a.predict_one(row), b.predict(plain[:1])[0])


def test_many_networks_share_a_source():
    x, plain = np.asfortranarray(PIXELS.astype(np.uint8)), PIXELS.astype(np.float32)
    folds = [np.arange(ROWS) % 3 != i for i in range(3)]
    others = [np.random.default_rng(i).integers(0, ROWS, 900) for i in range(3)]  # several tiles
    found = []
    for data in (x, plain):
        nets = [make_net("float64" if i == 2 else "float32", seed=i) for i in range(3)]
        histories = nf.fit_many(
            nets, data, LABELS, epochs=3, rows=folds, validation_rows=others,
            sample_weight=WEIGHTS, verbose=0,
        )  # fmt: skip
        found.append(
            [(net.flat_params.tobytes(), history["val_loss"]) for net, history in zip(nets, histories, strict=True)]
        )
    assert found[0] == found[1]


def test_a_metric_of_ones_own_sees_the_outputs():
    class Spread(nf.metrics.Metric):
        name = "spread"

        def compute(self, outputs, targets, sample_weight):
            return float(outputs.std() + targets.sum())

    found = []
    for x in (np.asfortranarray(PIXELS.astype(np.uint8)), PIXELS.astype(np.float32)):
        net = make_net()
        history, rows = nf.fit_many(
            [net], x, LABELS, rows=[np.arange(100)], validation_rows=[np.arange(50, 300)], metrics=[Spread()], verbose=0
        )[0], np.arange(50, 300)  # fmt: skip
        assert history["val_spread"] == [net.evaluate(x[rows], LABELS[rows], metrics=[Spread()])["spread"]]
        found.append(history["val_spread"])
    assert found[0] == found[1]


# ---- rounding


def numbers_of(name):
    """Numbers at the limits of a dtype, and everywhere between."""
    if name == "float16":
        return np.arange(2**16, dtype=np.uint16).view(np.float16)
    if name == "bool":
        return np.arange(256, dtype=np.uint8).view(bool)  # NumPy takes any byte but zero for True
    if np.dtype(name).kind in "iu":
        info = np.iinfo(name)
        near = [2**k + d for k in range(8, 64) for d in (-(2 ** max(k - 24, 0)), -1, 0, 1, 2 ** max(k - 24, 0))]
        many = rng.integers(info.min, info.max, 5000, name, endpoint=True)
        some = [v for v in (*near, *(-v for v in near), info.min, info.max) if info.min <= v <= info.max]
        return np.concatenate([many, np.array(some, name)])
    tiny, info = np.finfo(np.float32), np.finfo(name)
    some = [0.0, -0.0, tiny.smallest_subnormal, tiny.tiny, tiny.tiny / 3, info.smallest_subnormal, 1 / 3, -1e-40]
    return np.concatenate([rng.normal(size=500), np.exp(rng.uniform(-110, 80, 500)), some]).astype(name)


@pytest.mark.parametrize("name", arrays.NUMBERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_number_is_rounded_once(name, dtype):
    """Also subnormal ones, which the engine's threads flush elsewhere: a network that only copies shows them."""
    x = numbers_of(name)
    x = np.resize(x, (-(-len(x) // 7), 7))
    expected = x.astype(dtype)
    for view, wanted in ((x, expected), (x[:, ::2], expected[:, ::2]), (np.asfortranarray(x), expected)):
        np.testing.assert_array_equal(arrays.convert(view, dtype), wanted)
        np.testing.assert_array_equal(Source(dtype, [view])[:], wanted)
        if np.isfinite(wanted).all():
            net = nf.Sequential([nf.Flatten()], input_shape=view.shape[1], dtype=dtype)
            assert net.predict(view).tobytes() == np.ascontiguousarray(wanted).tobytes()


def test_an_integer_is_not_rounded_to_float64_first():
    n = (
        2**54 + 2**30 + 1
    )  # a little above the middle between two numbers of float32, but float64 rounds it to the middle
    assert np.float32(np.float64(n)) != np.float32(np.int64(n))
    for dtype in ("int64", "uint64"):
        assert arrays.convert(np.array([[n]], dtype), "float32")[0, 0] == 2**54 + 2**31


# ---- sources


def test_neighbouring_columns_become_one_block():
    x = PIXELS.astype(np.uint8)
    for array in (x, np.asfortranarray(x), strided(x)):
        whole = Source("float32", [array])
        assert whole.blocks == 1
        columns = Source("float32", [array[:, i : i + 1] for i in range(COLUMNS)])
        assert columns.blocks == 1
        parts = Source("float32", [array[:, :7], array[:, 7:8], array[:, 8:]])
        assert parts.blocks == 1
        swapped = Source("float32", [array[:, 8:], array[:, :8]])
        assert swapped.blocks == 2
        np.testing.assert_array_equal(swapped[:], np.roll(array, -8, axis=1))
        for source in (whole, columns, parts):
            assert source.shape == x.shape
            np.testing.assert_array_equal(source[5:60], x[5:60])
            np.testing.assert_array_equal(source[60:5:-3], x[60:5:-3])
            np.testing.assert_array_equal(source[np.array([3, 3, 306, 0])], x[[3, 3, 306, 0]])
            with pytest.raises(IndexError, match="^expected row numbers from 0 to 306$"):
                source[np.array([3, 307])]
    apart = Source("float32", [x[:, :2], x[:, 3:5]])
    assert apart.blocks == 2
    mixed = Source("float64", [x[:, :4], REALS[:, :2], SIGNS[:, :1]])
    assert mixed.blocks == 3
    np.testing.assert_array_equal(mixed[:], np.column_stack([x[:, :4], REALS[:, :2], SIGNS[:, :1]]))


def test_what_a_source_cannot_read():
    for wrong in ([PIXELS[0]], [PIXELS, PIXELS[1:]], [PIXELS.astype(">i4")], [PIXELS.tolist()]):
        with pytest.raises((TypeError, AttributeError)):
            Source("float32", wrong)
    with pytest.raises(KeyError):
        Source("float32", [REALS.astype(complex)])


def test_columns_of_a_frame_stay_where_they_are():
    pd = pytest.importorskip("pandas")
    x = PIXELS.astype(np.float32)
    rows = make_net()._network.rows_in_place(pd.DataFrame(x, copy=False))
    assert rows.blocks == 1
    assert all(np.shares_memory(array, x) for array in rows.arrays)


def test_small_data_are_converted_as_a_whole(monkeypatch):
    monkeypatch.setattr(_samples, "WHOLE", PIXELS.size)
    network = make_net()._network
    assert type(network.rows_in_place(PIXELS)) is np.ndarray
    assert type(network.rows_in_place(np.vstack([PIXELS, PIXELS[:1]]))) is Source


def test_plain_data_are_used_as_they_are():
    x = PIXELS.astype(np.float32)
    rows = make_net()._network.rows_in_place(x)
    assert np.shares_memory(rows, x)


def test_data_are_used_in_place():
    """As documented: a callback that changes them changes what is trained on."""
    x = np.asfortranarray(PIXELS.astype(np.uint8))
    net = make_net()
    net.fit(x, LABELS, epochs=2, batch_size=ROWS, shuffle=False, verbose=0, callbacks=[lambda net, history: x.fill(0)])
    twin = make_net()
    twin.fit(PIXELS, LABELS, batch_size=ROWS, shuffle=False, verbose=0)
    twin.fit(np.zeros(PIXELS.shape), LABELS, batch_size=ROWS, shuffle=False, verbose=0)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_out_must_not_overlap_a_source():
    x = np.zeros((ROWS, 2 * COLUMNS), np.float32)
    net = nf.Sequential([nf.Dense(COLUMNS)], input_shape=COLUMNS, seed=0)
    out = x.reshape(-1)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    with pytest.raises(ValueError, match="^out must not overlap x$"):
        net.predict(x[:, ::2], out=out)


# ---- errors


def refuses(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def spoilt(value, row, column, dtype=np.float64):
    x = PIXELS.astype(dtype)
    x[row, column] = value
    return x


@pytest.mark.parametrize("looked_at", [COLUMNS, 65536])
def test_numbers_that_are_not_finite(looked_at):
    net = make_net()
    for dtype in (np.float16, np.float64):
        for value in (np.nan, np.inf, -np.inf):
            x = np.asfortranarray(spoilt(value, 300, 4, dtype))
            x[301, 2] = np.nan
            with unchanged(net), refuses(ValueError, "x must be finite, got NaN or infinity at index (300, 4)"):
                net.fit(x, LABELS, verbose=0)
            message = "validation_data: x must be finite, got NaN or infinity at index (300, 4)"
            with unchanged(net), refuses(ValueError, message):
                net.fit(PIXELS, LABELS, validation_data=(x, LABELS), verbose=0)
            assert np.isnan(net.predict(x)[301]).all()
    net = nf.Sequential([nf.Flatten(), nf.Dense(CLASSES, "softmax")], seed=0)
    with refuses(ValueError, "x must be finite, got NaN or infinity at index (300, 4)"):
        net.fit(spoilt(np.nan, 300, 4).reshape(ROWS, 6, 6), LABELS, verbose=0)


def test_numbers_out_of_range():
    net = make_net()
    x = spoilt(-1e39, 300, 4)
    x[3, 3], x[301, 0] = np.nan, 1e300
    message = "x must fit into float32, got -1e+39 at index (300, 4)"
    for call in (net.predict, lambda x: net.loss(x, LABELS), lambda x: net.fit(x, LABELS, verbose=0)):
        with unchanged(net), refuses(ValueError, message):
            call(x)
    net = nf.Sequential([nf.Flatten(), nf.Dense(CLASSES)], input_shape=(6, 6), seed=0)
    with refuses(ValueError, "x must fit into float32, got -1e+39 at index (300, 0, 4)"):
        net.predict(x.reshape(ROWS, 6, 6))
    make_net("float64").fit(spoilt(-1e39, 300, 4), LABELS, optimizer=nf.SGD(1e-300), verbose=0)
    assert np.isfinite(make_net().predict(spoilt(3.4028235e38, 300, 4))).any()


def test_a_column_of_a_frame_out_of_range():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(spoilt(1e39, 300, 4)).astype({0: np.int16})
    with refuses(ValueError, "x must fit into float32, got 1e+39 at index (300, 4)"):
        make_net().predict(frame)
    frame.iloc[300, 4], frame.iloc[12, 7] = 0, np.nan
    with refuses(ValueError, "x must be finite, got NaN or infinity at index (12, 7)"):
        make_net().fit(frame, LABELS, verbose=0)


def test_frames_with_anything_but_numbers():
    pd = pytest.importorskip("pandas")
    frame = frame_of_pandas(PIXELS.astype(np.float32))
    for column, shown in ((["a"] * ROWS, "'a'"), (pd.array([None] + [1] * (ROWS - 1), dtype="Int64"), "<NA>")):
        other = frame.assign(**{"city": column})
        net = nf.Sequential([nf.Dense(CLASSES, "softmax")], seed=0)
        with pytest.raises(TypeError, match=f"^x must hold real numbers, but column 'city' has {shown}: drop such"):
            net.fit(other, LABELS, verbose=0)


def test_frames_of_nullable_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PIXELS).astype({0: "Int64", 1: "category", 2: "Float64", 3: object})
    np.testing.assert_array_equal(make_net().predict(frame), make_net().predict(PIXELS))


def test_frames_with_missing_values():
    pl = pytest.importorskip("polars")
    frame = frame_of_polars(PIXELS).with_columns(pl.lit(None, pl.Int16).alias("c5"))
    with refuses(ValueError, "x must be finite, got NaN or infinity at index (0, 5)"):
        make_net().fit(frame, LABELS, verbose=0)
    chunks = pl.concat([frame_of_polars(PIXELS[:100]), frame_of_polars(PIXELS[100:])], rechunk=False)
    np.testing.assert_array_equal(make_net().predict(chunks), make_net().predict(PIXELS))


def test_shapes_that_do_not_fit():
    net = make_net()
    for call in (net.predict, lambda x: net.fit(x, LABELS, verbose=0)):
        for x in (PIXELS[:, 1:], np.asfortranarray(PIXELS)[:, 1:]):
            with unchanged(net), refuses(ValueError, f"x must have shape (n, {COLUMNS}), got ({ROWS}, {COLUMNS - 1})"):
                call(x)
    with refuses(ValueError, f"x must have shape (n, {COLUMNS}), got ({COLUMNS},): for one sample, predict_one(x) or "
                 "x[None]"):  # fmt: skip
        net.predict(PIXELS[0])
    with refuses(ValueError, f"y must have as many rows as x: {ROWS}, got shape (3,)"):
        net.fit(PIXELS, LABELS[:3], verbose=0)
    with refuses(ValueError, f"x must have shape (n, features), got ({ROWS},)"):
        nf.Sequential([nf.Dense(2)], seed=0).fit(PIXELS[:, 0], REALS[:, :2], verbose=0)
    frame = frame_of_pandas(PIXELS)
    with refuses(ValueError, f"x must have shape (n, {COLUMNS}), got ({ROWS}, {COLUMNS - 1})"):
        net.predict(frame.iloc[:, 1:])


def test_dlpack_that_cannot_be_read():
    class Elsewhere(OnlyDLPack):
        def __dlpack__(self, **how):
            raise BufferError("it lies on a GPU")

    with refuses(TypeError, "x cannot be read as an array of numbers, got Elsewhere: it lies on a GPU"):
        make_net().predict(Elsewhere(PIXELS))


def test_values_that_float32_joins_are_found_in_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(REALS)
    frame["time"] = 1.7e9 + np.arange(0, 10.0 * ROWS, 10)
    net = nf.Sequential([nf.Dense(CLASSES, "softmax")], seed=0)
    with pytest.warns(UserWarning, match=f"^x holds values that float32 cannot tell apart.* in column {COLUMNS}, "):
        net.fit(frame, LABELS, optimizer=nf.SGD(1e-12), verbose=0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends signals")
def test_ctrl_c_while_data_are_looked_at():
    """Which takes seconds; the handler is called in the middle."""

    class Called(Exception):
        pass

    def handle(number, frame):
        raise Called

    before = signal.signal(signal.SIGALRM, handle)
    source = Source("float32", [np.broadcast_to(REALS[0], (2**27, COLUMNS))])
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Called):
            source.not_finite(0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_no_rows():
    assert make_net().predict(np.zeros((0, COLUMNS), np.uint8)).shape == (0, CLASSES)
    with refuses(ValueError, f"x must have at least one row, got shape (0, {COLUMNS})"):
        make_net().fit(np.zeros((0, COLUMNS), np.uint8), [], verbose=0)


# ---- memory


@pytest.mark.measures
@pytest.mark.parametrize("call", ["fit", "predict", "evaluate"])
@pytest.mark.parametrize("layout", ["as it is", "Fortran", "pandas"])
def test_no_copy_of_the_whole_in_python(call, layout):
    x = LAYOUTS[layout][0](np.resize(PIXELS, (50_000, COLUMNS)).astype(np.uint8))
    if layout == "pandas":
        x = x.astype(np.uint8)
    y = np.resize(LABELS, len(x))
    net = make_net()
    calls = {
        "fit": lambda: net.fit(x, y, batch_size=100, verbose=0),
        "predict": lambda: net.predict(x),
        "evaluate": lambda: net.evaluate(x, y),
    }
    net.predict(x[:1000])
    calls[call]()
    tracemalloc.start()
    try:
        calls[call]()
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    by_row = {"fit": 60, "predict": 4 * CLASSES, "evaluate": 16}[call]  # order, labels, losses; outputs
    assert taken < by_row * len(y) + 2**20 < 4 * x.size  # a copy in float32 would take 4 bytes for each number


PEAK = """
    import sys
    import numpy as np, nnfast as nf

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

    x = np.memmap(sys.argv[1], np.uint8, "r", shape=(100_000, 784))
    y = np.arange(len(x)) % 10
    net = nf.Sequential([nf.Rescaling(1 / 255), nf.Dense(16, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=0)
    nf.set_num_threads(2)
    net.fit(x[:1000], y[:1000], batch_size=100, verbose=0)
    before, most = anonymous(), []
    look = lambda net, history: most.append(anonymous())
    net.fit(x, y, batch_size=100, verbose=0, validation_data=(x, y), callbacks=[look])
    net.predict(x)
    most.append(anonymous())
    print(max(most) - before)
"""


@pytest.mark.measures
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_the_memory_of_a_process_that_trains_from_a_memory_map(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(100_000 * 784)
    run = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(PEAK), str(path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 30  # megabytes, where the data have 78, and 314 in float32


def test_the_reference_is_numpy():
    """Which the parity test of kernels compares with."""
    x = numbers_of("int64")[:, None]
    np.testing.assert_array_equal(reference.convert(x, np.float32, np.array([2, 1])), x[[2, 1]].astype(np.float32))
