"""Data as users have it: tables, text, labels, times; what is accepted, and errors that say what to do instead."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy_network import unchanged
from scipy import sparse

import nnfast as nf
from nnfast._validation import as_array, as_labels, check_float, check_int, describe, lost_in_float32, to_array

NUMBERS = "x must hold real numbers,"


def refuses(error, message):
    """Expect an error with exactly this message."""
    return pytest.raises(error, match=f"^{re.escape(message)}$")


class Frame:
    """What validation sees of a data frame: column names, a shape and, for NumPy, an object array."""

    def __init__(self, **columns):
        self.columns = list(columns)
        self.values = np.empty((len(next(iter(columns.values()))), len(columns)), object)
        for i, column in enumerate(columns.values()):
            self.values[:, i] = column
        self.shape = self.values.shape

    def __array__(self, dtype=None, copy=None):
        return self.values

    def to_numpy(self, dtype=None):
        return self.values.astype(dtype)


class NAType:
    def __repr__(self):
        return "<NA>"


# ---- numbers in object arrays


@pytest.mark.parametrize(
    ("objects", "dtype"),
    [
        ([0.5, True, 3], np.float64),
        ([1, 2, True], np.int64),
        ([np.float32(0.5), np.int8(2), np.True_], np.float64),
        ([Fraction(1, 2), Decimal("0.25"), 1], np.float64),
        ([2**63, 1, 2], np.float64),
        ([float("nan"), float("inf"), 0], np.float64),
    ],
)
def test_objects_that_are_numbers_become_numbers(objects, dtype):
    array = to_array("x", np.array(objects, object))
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, [float(value) for value in objects])
    assert as_array("x", np.array(objects, object)).dtype == np.float64


def test_objects_without_elements():
    assert as_array("x", np.empty((0, 3), object)).shape == (0, 3)


@pytest.mark.parametrize("number", [10**400, -(10**400), Decimal("1e400"), Decimal("sNaN")])
def test_objects_beyond_float64(number):
    """Never infinity in silence."""
    with pytest.raises(ValueError, match="^x must fit into float64, got "):
        as_array("x", [number, 0.5])


def test_a_frame_of_numbers_and_booleans_is_taken():
    x = np.arange(8.0)
    frame = Frame(a=x, b=[True, False] * 4, c=range(8))
    net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=3, seed=0)
    np.testing.assert_array_equal(net.predict(frame), net.predict(frame.to_numpy(float)))
    labels = np.array([0, 1] * 4, object)  # a column of a table
    assert net.loss(frame, labels) == net.loss(frame.to_numpy(float), [0, 1] * 4)


def test_columns_that_do_not_fit_are_named():
    frame = Frame(a=[1.0, 2.0], city=["Rome", "Oslo"], n=[NAType(), 3])
    with refuses(
        TypeError,
        f"{NUMBERS} but column 'city' has 'Rome', 'n' has <NA>: drop such columns or convert them to "
        "numbers, as pandas.get_dummies does for text and categories; x.to_numpy(dtype=float) turns missing values "
        "into NaN",
    ):
        as_array("x", frame)
    for net in (nf.Sequential([nf.Dense(2)], input_shape=3, seed=0), nf.Sequential([nf.Dense(2)], seed=0)):
        for method in ("fit", "loss") if net.input_shape else ("fit",):
            with pytest.raises(
                TypeError, match="^x must hold real numbers, but column 'city' has 'Rome', 'n' has <NA>: "
            ):
                getattr(net, method)(frame, np.zeros((2, 2)))
            with pytest.raises(
                TypeError, match="^y must hold real numbers, but column 'city' has 'Rome', 'n' has <NA>: "
            ):
                getattr(net, method)(np.zeros((2, 3)), frame)
    many = Frame(**{f"c{i}": ["a", "b"] for i in range(8)})
    with pytest.raises(TypeError, match=r"but column 'c0' has 'a', .* 'c4' has 'a' and 3 more: "):
        as_array("x", many)
    assert describe(frame) == "a Frame of shape (2, 3)"


def test_frames_of_pandas():
    pd = pytest.importorskip("pandas")
    numbers = {"a": np.arange(4.0), "b": [True, False] * 2}
    net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=3, seed=0)
    for third in (pd.array([1, 2, 3, 4], dtype="Int64"), pd.Categorical([1, 2, 1, 2]), np.arange(4, dtype="u1")):
        frame = pd.DataFrame({**numbers, "c": third})
        np.testing.assert_array_equal(net.predict(frame), net.predict(frame.to_numpy(dtype=float)))
    for third in (
        ["a", "b", "c", "d"],
        pd.Categorical(["a", "b", "c", "d"]),
        pd.array(["a", "b", "c", None], dtype="string"),
        pd.to_datetime(["2020", "2021", "2022", "2023"]),
        pd.array([1, None, 2, 3], dtype="Int64"),
        pd.array([True, None, True, False], dtype="boolean"),
        [object()] * 4,
    ):
        with pytest.raises(TypeError, match=r"^x must hold real numbers, but column 'c' has .* x\.to_numpy"):
            net.predict(pd.DataFrame({**numbers, "c": third}))
    labels = pd.Series([0, 1, 1, 0])
    for y in (labels, labels.astype("Int64"), labels.astype("category"), labels.astype(object), labels.astype(bool)):
        assert net.loss(np.zeros((4, 3)), y) == net.loss(np.zeros((4, 3)), labels.to_numpy())
    with pytest.raises(ValueError, match=r"for labels, use np\.ravel\(y\)$"):
        net.loss(np.zeros((4, 3)), labels.to_frame())


# ---- data that is not an array of numbers


class Tensor:
    """Like a PyTorch tensor that requires a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.array([["a", "b"]]), TypeError, f"{NUMBERS} got an array of shape (1, 2) and dtype <U1: encode "
         "such a feature as a column of 0 and 1 for each of its values"),
        ([["1", "2.5"]], TypeError, f"{NUMBERS} got [['1', '2.5']] (list): these are numbers written as "
         "text, which np.asarray(x).astype(float) converts"),
        (np.array(["1", "2"], object), TypeError, f"{NUMBERS} got an array of shape (2,) and dtype object: "
         "these are numbers written as text, which np.asarray(x).astype(float) converts"),
        (np.zeros(2, "M8[s]"), TypeError, f"{NUMBERS} got an array of shape (2,) and dtype datetime64[s]: "
         "convert them to numbers first, such as (x - x.min()) / np.timedelta64(1, 's')"),
        ([1.0, None], TypeError, f"{NUMBERS} got [1.0, None] (list), with None at index 1: drop the rows "
         "with missing values"),
        (np.array([[1, [2]]], object), TypeError, f"{NUMBERS} got an array of shape (1, 2) and dtype object, "
         "with [2] at index (0, 1)"),
        (sparse.csr_array(np.eye(2)), TypeError, "x must be a dense array, got csr_array: use x.toarray()"),
        (Tensor(), TypeError, "x cannot be read as an array of numbers, got Tensor: Can't call numpy() on Tensor that "
         "requires grad. Use tensor.detach().numpy() instead."),
        ([[1, 2], [3]], ValueError, "x must be a rectangular array of numbers: row 0 has length 2 and "
         "row 1 has length 1"),
        ([[1, 2], 3], ValueError, "x must be a rectangular array of numbers: row 0 has length 2 and row 1 has no "
         "length"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), ValueError, "x must not have masked values: fill them first, as "
         "x.filled(0) does"),
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers(value, error, message):
    with refuses(error, message):
        as_array("x", value)


def test_a_column_and_a_vector_say_how_to_become_each_other():
    with refuses(ValueError, "y must have shape (3,), got (3, 1): use np.ravel(y)"):
        as_array("y", np.zeros((3, 1)), shape=(3,))
    with refuses(ValueError, "x must have shape (n, 1), got (3,): use np.reshape(x, (-1, 1))"):
        as_array("x", np.zeros(3), shape=(None, 1))


# ---- labels

RENUMBER = "classes, y = np.unique(y, return_inverse=True)"


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["cat", "dog"] * 4, TypeError, f"one integer label per row, got dtype <U3: use {RENUMBER}"),
        (np.array(["cat", "dog"] * 4, object), TypeError, f"label per row, got dtype object: use {RENUMBER}"),
        (np.arange(8)[:, None], ValueError, "(8,) of labels or (8, 4), got (8, 1): for labels, use np.ravel(y)"),
        ([0.0, 1.0] * 4, TypeError, "got dtype float64: use y.astype(int), or one-hot rows"),
        ([0.0, np.nan] * 4, ValueError, "got dtype float64 with NaN or infinity in 4 of 8, the first at index 1: drop "
         "these rows, and use y.astype(int)"),
        ([0.0, 0.5] * 4, TypeError, "dtype float64 with 0.5 at index 1: targets that are not classes need an output "
         "layer without softmax, such as Dense(1)"),
        ([0, None] * 4, TypeError, "got dtype object, with None at index 1: drop the rows with missing values"),
        ([-1, 1] * 4, ValueError, f"labels and must not be negative, got -1: use {RENUMBER} to number them from 0"),
        ([1, 2, 3, 4] * 2, ValueError, "at least 5 outputs, but there are 4: if the labels start at 1, use y - 1"),
        ([0, 1, 2, 4] * 2, ValueError, "y holds labels up to 4, which need at least 5 outputs, but there are 4"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(labels, error, message):
    net = nf.Sequential([nf.Dense(4, "softmax")], input_shape=3, seed=0)
    with unchanged(net), pytest.raises(error, match=f"{re.escape(message)}$"):
        net.fit(np.zeros((8, 3)), labels, verbose=0)


def test_labels_as_they_are():
    labels = as_labels("y", np.array([[0, 1], [2, 0]], "u1"), 3)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [[0, 1], [2, 0]])
    assert as_labels("y", np.zeros(0, int), 3).shape == (0,)


# ---- hyperparameters


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3]], np.array(True), np.array("0.5"), np.timedelta64(3), np.ma.masked, np.array(1j), bytearray(b"1"),
     Frame(a=[1])],
    ids=lambda value: type(value).__name__ if isinstance(value, Frame) else repr(value),
)  # fmt: skip
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=f"^rate must be a number, got {re.escape(describe(value))}$"):
        check_float("rate", value)
    with pytest.raises(TypeError, match=f"^rate must be an integer, got {re.escape(describe(value))}$"):
        check_int("rate", value, 0)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, Decimal("sNaN"), np.longdouble("1e4000")], ids=type)
def test_numbers_without_end(value):
    with pytest.raises(ValueError, match=r"^rate must be a finite number in \[-inf, inf\], got "):
        check_float("rate", value)


def test_integers_without_end():
    with pytest.raises(ValueError, match=r"^n must be at most \d+, got an integer of 16610 bits$"):
        check_int("n", 10**5000, 0)
    with pytest.raises(ValueError, match=r"^n must be at least 0, got an integer of 16610 bits$"):
        check_int("n", -(10**5000), 0)
    with pytest.raises(MemoryError, match="^no layer can have more than "):
        nf.Sequential([nf.Dense(1)], input_shape=(2**100,) * 1000)


def test_what_cannot_be_shown():
    class Odd:
        def __repr__(self):
            raise ZeroDivisionError

    assert re.fullmatch(r"<Odd instance at \w+> \(Odd\)", describe(Odd()))
    assert describe(10**5000) == "an integer of 16610 bits (int)"


# ---- rows that float32 cannot distinguish

SECONDS = 1.7e9 + np.arange(0, 600, 10.0)


def shuffled(array):
    return np.random.default_rng(0).permutation(array)


@pytest.mark.parametrize(
    "column",
    [
        SECONDS,
        shuffled(SECONDS),
        1.7e9 + np.arange(0, 86400, 10.0),
        shuffled(1.7e9 + np.arange(0, 86400, 10.0)),
        np.arange(2**30, 2**30 + 1000),
        1e-50 * np.random.default_rng(0).random(100),
        np.array([1.7e9, 1.7e9 + 1] * 5),
        np.where(np.arange(2000) % 50, 1.7e9 + np.arange(2000.0), 0),  # with 0 for missing values
    ],
    ids=range(8),
)
def test_values_that_float32_joins(column):
    assert "float32 cannot tell apart" in lost_in_float32("x", column)
    assert lost_in_float32("x", column.astype(np.float32)) is None


rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    "array",
    [
        rng.normal(size=(100_000, 2)),
        rng.random(100_000),
        rng.random((50, 4, 4)),
        rng.lognormal(sigma=100, size=2000),
        np.exp(-500 * rng.random(1000)),  # tiny and large values
        290 + 10 * rng.normal(size=10_000),
        101_325 + 500 * rng.normal(size=10_000),
        48.85 + 0.05 * rng.random(100_000),
        np.arange(1900.0, 2024.0),
        1.7e9 + 86_400.0 * np.arange(1000),
        np.linspace(1, 2, 1_000_000),
        np.array([0.1, 0.3 - 0.2] * 20),  # equal except for rounding
        rng.normal(size=(100, 3)) / 3 * 3 - rng.normal(size=(100, 3)) * 1e-17,
        np.ones(10),
        np.zeros((10, 3)),
        np.zeros((1, 3)),
        np.arange(256, dtype="u1"),
        rng.integers(0, 256, (100, 64)),
        nf.datasets.load_digits()[0].astype(float),
        np.array([np.inf, 1.0, np.nan]),
    ],
    ids=range(20),
)
def test_ordinary_data_raise_no_alarm(array):
    assert lost_in_float32("x", array) is None


def make_net(dtype="float32"):
    return nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(1)], input_shape=2, dtype=dtype, seed=0)


X = np.column_stack([rng.normal(size=60), SECONDS])
REMEDY = r"Subtract the mean and divide by the standard deviation, \({0} - {0}\.mean\(0\)\) / {0}\.std\(0\), or give"


def test_fit_warns_of_inputs_that_float32_joins():
    message = (
        r"^x holds values that float32 cannot tell apart, though float64 can: in column 1, 60 values from 1\.7e\+09 "
        r"to 1\.70000059e\+09 become 6\. " + REMEDY.format("x") + ' the network dtype="float64"$'
    )
    with pytest.warns(UserWarning, match=message) as seen:
        make_net().fit(X, np.zeros(60), verbose=0)
    assert [w.filename for w in seen] == [__file__]
    with pytest.warns(UserWarning, match="column 1, 60 values"):
        make_net().fit(X.tolist(), np.zeros(60), verbose=0)
    with pytest.warns(UserWarning, match=r"\(and in 1 other columns\)"):
        make_net().fit(X[:, [1, 1]], np.zeros(60), verbose=0)


def test_fit_warns_of_targets_that_float32_joins():
    with pytest.warns(UserWarning, match="^y holds values .* can: 60 values.*" + REMEDY.format("y")):
        make_net().fit(np.zeros((60, 2)), SECONDS, optimizer=nf.SGD(1e-12), verbose=0)


def test_no_warning_where_nothing_is_lost():
    make_net("float64").fit(X, np.zeros(60), optimizer=nf.SGD(1e-30), verbose=0)
    make_net().fit((X - X.mean(0)) / X.std(0), np.zeros(60), verbose=0)
    make_net().fit(X.astype(np.float32), np.zeros(60), optimizer=nf.SGD(1e-30), verbose=0)
    net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=2, seed=0)
    net.fit(np.zeros((60, 2)), [0, 1] * 30, verbose=0)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_warning_that_is_an_error_changes_nothing():
    net = make_net()
    with unchanged(net), pytest.raises(UserWarning, match="float32 cannot tell apart"):
        net.fit(X, np.zeros(60), verbose=0)
