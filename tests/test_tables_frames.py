"""Tables of any library as columns of arrays."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from nnfast.tables import as_frame
from nnfast.tables.frames import is_missing, kind_of

UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=2))


def check(column, expected):
    """Compare a column with values of Python, dtype included; missing values are equal."""
    expected = np.asarray(expected)
    assert column.dtype == expected.dtype
    if column.dtype == object:
        assert [None if is_missing(v) else v for v in column] == expected.tolist()
    else:
        np.testing.assert_array_equal(column, expected)


def objects(*values):
    return np.fromiter(values, dtype=object, count=len(values))


# ---- containers


def test_a_matrix():
    frame = as_frame(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32))
    assert frame.names is None
    assert frame.n_rows == 3
    assert frame.declared == frozenset()
    check(frame.columns[1], np.float32([2, 4, 6]))


def test_a_dict():
    frame = as_frame({"a": [1, 2], "b": ("x", None), "c": np.array([0.5, np.nan]), "d": range(2)})
    assert frame.names == ["a", "b", "c", "d"]
    for column, expected in zip(frame.columns, ([1, 2], objects("x", None), [0.5, np.nan], [0, 1]), strict=True):
        check(column, expected)


@pytest.mark.parametrize(
    "rows",
    [
        [[1, "x", None], [2, "y", True]],
        ((1, "x", None), (2, "y", True)),
        [objects(1, "x", None), objects(2, "y", True)],
        np.array([[1, "x", None], [2, "y", True]], dtype=object),
    ],
)
def test_rows_of_several_types(rows):
    """NumPy alone would make text of the numbers, too."""
    frame = as_frame(rows)
    assert frame.names is None
    for column, expected in zip(frame.columns, ([1, 2], objects("x", "y"), objects(None, True)), strict=True):
        check(column, expected)


def test_names_for_data_without_names():
    assert as_frame([[1, 2]], names=("a", "b")).names == ["a", "b"]
    with pytest.raises(ValueError, match="names is for data without names of columns"):
        as_frame({"a": [1]}, names=["b"])
    with pytest.raises(ValueError, match="names must have one name for each of 2 columns, got 1"):
        as_frame([[1, 2]], names=["a"])
    with pytest.raises(ValueError, match="more than one is named 'a'"):
        as_frame([[1, 2]], names=["a", "a"])
    for names in ("ab", [1, 2]):
        with pytest.raises(TypeError, match="names must be a sequence of str"):
            as_frame([[1, 2]], names=names)


def test_a_structured_array():
    frame = as_frame(np.array([(1, "x"), (2, "y")], dtype=[("n", "i4"), ("s", "U3")]))
    assert frame.names == ["n", "s"]
    check(frame.columns[0], np.int32([1, 2]))
    check(frame.columns[1], objects("x", "y"))


def test_arrays_of_other_libraries():
    class Foreign:
        def __array__(self, dtype=None, copy=None):
            return np.array([[1.0, 2.0]])

    assert [column.tolist() for column in as_frame(Foreign()).columns] == [[1.0], [2.0]]
    assert [column.tolist() for column in as_frame(np.ma.array([[1.0, 2.0]])).columns] == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), r"got shape \(3,\): use X.reshape\(-1, 1\) for one column"),
        (np.zeros((2, 2, 2)), r"X must have 2 dimensions, rows and columns, got shape \(2, 2, 2\)$"),
        ([1, 2], r"its first element is 1 \(int\): use \[X\] for one row"),
        (["ab", "cd"], "its first element is 'ab'"),
        ([{"a": 1}], "use a dict of columns"),
        ([[1, 2], [3]], "row 0 has 2 values, row 1 has 1"),
        ([[1, 2], 3], "row 0 has 2 values, row 1 is not a list of values"),
        ([], "at least one row"),
        ({"a": []}, "at least one row"),
        (np.zeros((0, 2)), "at least one row"),
        ([[], []], "at least one column"),
        ({}, "at least one column"),
        (np.zeros((2, 0)), r"at least one column, got an array of shape \(2, 0\)"),
        ({"a": [1], "b": [1, 2]}, "columns of equal length: column 'a' has 1, column 'b' has 2"),
        ({"a": 1}, r"column 'a' is 1 \(int\): for one row, use lists of one value"),
        ({"a": "x"}, "column 'a' is 'x'"),
        ({"a": np.zeros((2, 2))}, r"columns of one dimension, but column 'a' has shape \(2, 2\)"),
        (np.ma.array([[1.0]], mask=[[True]]), "masked values"),
        ({"a": np.ma.array([1.0], mask=[True])}, "masked values, but column 'a' has"),
        (np.zeros(2, dtype=[("x", float, (2,))]), r"column 'x' has shape \(2, 2\)"),
        (np.zeros((2, 1), dtype=[("x", float)]), r"one dimension if it is a structured array, got shape \(2, 1\)"),
    ],
)
def test_tables_of_wrong_shapes(X, message):
    with pytest.raises(ValueError, match=message):
        as_frame(X)


class Sparse:
    """What SciPy's sparse arrays have."""

    shape = (2, 2)

    def toarray(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (Sparse(), r"X must be a dense array, got Sparse: use X.toarray\(\)"),
        ("table.csv", "X must be a table, such as a data frame or a 2-D array, got 'table.csv'"),
        (None, "got None"),
        (3, "got 3"),
        ({1, 2}, "X must be a table"),
        (np.zeros((1, 2), complex), "column 0 has complex128: use its real and imaginary parts as two columns"),
        ({"a": np.zeros(2, "V4")}, "column 'a' has |V4"),
    ],
)
def test_what_is_not_a_table(X, message):
    with pytest.raises(TypeError, match=message):
        as_frame(X)


# ---- columns


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, np.nan]),
        ([1, 2], np.int64([1, 2])),
        ([np.int8(1), 2], np.int64([1, 2])),
        ([2**63, 1], np.uint64([2**63, 1])),
        ([-(2**63), 2**63 - 1], np.int64([-(2**63), 2**63 - 1])),
        ([-1, 2**63], [-1.0, 2.0**63]),
        ([2**64, 1], [2.0**64, 1.0]),
        ([10**400, -(10**400), 1], [np.inf, -np.inf, 1.0]),
        ([None, 2**70], [np.nan, 2.0**70]),
        ([Decimal("1.5"), Fraction(1, 4), Decimal("NaN"), Decimal("sNaN")], [1.5, 0.25, np.nan, np.nan]),
        ([np.float32(0.1), 1], [float(np.float32(0.1)), 1.0]),
        ([None, None], [np.nan, np.nan]),
        ([True, False], [True, False]),
        ([True, np.bool_(False), None, float("nan")], objects(True, False, None, None)),
        ([True, 1], objects(True, 1)),
        (["x", float("nan")], objects("x", None)),
        ([1, "1", 1.5], objects(1, "1", 1.5)),
        ([datetime.date(1960, 5, 1), None], np.array(["1960-05-01", "NaT"], "M8[us]")),
        ([datetime.date(1960, 5, 1), float("nan")], np.array(["1960-05-01", "NaT"], "M8[us]")),
        ([datetime.datetime(1960, 5, 1, 3, tzinfo=EAST)], np.array(["1960-05-01T01:00"], "M8[us]")),
        ([np.datetime64("2020-01", "M"), np.datetime64("NaT")], np.array(["2020-01-01", "NaT"], "M8[us]")),
        ([datetime.timedelta(hours=1), None], [3600.0, np.nan]),
        (np.array([90, "NaT"], "m8[m]"), [5400.0, np.nan]),
        (np.array(["2020-01-01T00:00:00.000000999"], "M8[ns]"), np.array(["2020-01-01"], "M8[us]")),
        (np.array(["1969-12-31T23:59:59.999999999"], "M8[ns]"), np.array(["1969-12-31T23:59:59.999999"], "M8[us]")),
        (np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-01"], "M8[D]")),
        (np.array([1, 2], ">i4"), np.int32([1, 2])),
        (np.array([1, 2], np.float16), np.float32([1, 2])),
        (np.array([1, 2], np.longdouble), [1.0, 2.0]),
        (np.array(["x", "yy"]), objects("x", "yy")),
        (np.array(["x", None], dtype=np.dtypes.StringDType(na_object=None)), objects("x", None)),
        (np.array([b"x", b"y"]), objects(b"x", b"y")),
        (np.arange(6)[::-2], [5, 3, 1]),
    ],
)
def test_columns_of_any_type(given, expected):
    check(as_frame({"a": given}).columns[0], expected)


def test_a_large_double_is_infinite_without_a_warning():
    assert as_frame(np.array([[np.finfo(np.longdouble).max]])).columns[0].dtype == np.float64


def test_kinds_of_objects():
    assert [kind_of(v) for v in (None, "x", b"x", True, 1, 1j, datetime.time(1), [])] == [
        "missing", "text", "text", "bool", "number", "other", "other", "other",
    ]  # fmt: skip
    assert is_missing(np.timedelta64("NaT"))
    assert not is_missing([float("nan")])


# ---- pandas


@pytest.fixture
def pd():
    return pytest.importorskip("pandas", reason="tests data frames of pandas")


def test_a_data_frame_of_pandas(pd):
    frame = as_frame(
        pd.DataFrame(
            {
                "float": np.float32([1, np.nan]),
                "text": ["x", None],
                "Int": pd.array([2**60, None], dtype="Int64"),
                "Int full": pd.array([2**60 + 1, 2], dtype="Int64"),
                "boolean": pd.array([True, None], dtype="boolean"),
                "category": pd.Categorical([1, None]),
                "zone": pd.to_datetime(["1960-01-01 00:00", None]).tz_localize("Europe/Berlin"),
                "period": pd.period_range("2020-02", periods=2, freq="M"),
                "delta": pd.to_timedelta([1, None], unit="h"),
                "sparse": pd.arrays.SparseArray([0, 3]),
            }
        )
    )
    expected = [
        np.float32([1, np.nan]), objects("x", None), [2.0**60, np.nan], np.int64([2**60 + 1, 2]), objects(True, None),
        objects(1.0, None), np.array(["1959-12-31T23:00", "NaT"], "M8[us]"), np.array(["2020-02", "2020-03"], "M8[us]"),
        [3600.0, np.nan], np.int64([0, 3]),
    ]  # fmt: skip
    assert len(frame.columns) == len(expected)
    for column, values in zip(frame.columns, expected, strict=True):
        check(column, values)
    assert frame.declared == {5}


def test_arrow_in_pandas(pd):
    pa = pytest.importorskip("pyarrow", reason="pandas keeps such columns in Arrow's arrays")
    frame = as_frame(
        pd.DataFrame(
            {
                "int": pd.array([1, None], dtype="int64[pyarrow]"),
                "bool": pd.array([True, None], dtype="bool[pyarrow]"),
                "text": pd.array(["x", None], dtype="string[pyarrow]"),
                "date": pd.array([datetime.date(2020, 1, 1), None], dtype="date32[pyarrow]"),
                "decimal": pd.array([Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
                "category": pd.array(["x", None], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
            }
        )
    )
    expected = [
        [1.0, np.nan], objects(True, None), objects("x", None), np.array(["2020-01-01", "NaT"], "M8[us]"),
        [1.5, np.nan], objects("x", None),
    ]  # fmt: skip
    for column, values in zip(frame.columns, expected, strict=True):
        check(column, values)
    assert frame.declared == {5}


def test_one_row_of_pandas_is_read_as_in_a_frame(pd):
    whole = pd.DataFrame(
        {
            "float32": np.float32([0.1, 1]), "int": [2**62 + 1, 2], "text": ["x", "y"], "flag": [True, False],
            "category": pd.Categorical([3, 4]), "when": np.array(["2020-01-01T10:00:00.000000999", "1950"], "M8[ns]"),
            "zone": pd.to_datetime(["2020-01-01", "1950-06-01"]).tz_localize("Asia/Tokyo"),
            "period": pd.period_range("2020-02", periods=2, freq="M"), "lasts": pd.to_timedelta([1, 2], unit="s"),
            "Int": pd.array([2, 3], dtype="Int64"), "object": objects(1, "1"),
        }
    )  # fmt: skip
    frame = as_frame(whole)
    for i in range(2):
        one = as_frame(whole.iloc[i : i + 1])
        assert one.declared == frame.declared == {4}
        for column, expected in zip(one.columns, frame.columns, strict=True):
            assert column.tolist() == expected[i : i + 1].tolist()
    numbers = pd.DataFrame({"a": [2**62 + 1], "b": [0.5]})  # which pandas would convert to one dtype
    for table in (numbers, numbers.convert_dtypes(), numbers.assign(c="x"), numbers.convert_dtypes().assign(c="x")):
        assert as_frame(table).columns[0].tolist() == [2**62 + 1]


def test_names_in_pandas(pd):
    assert as_frame(pd.DataFrame([[1, 2]])).names == ["0", "1"]
    assert as_frame(pd.DataFrame([[1, 2]], columns=[2001, "x"])).names == ["2001", "x"]
    for columns, message in (
        (["a", "a"], "more than one is named 'a'"),
        (["1", 1], "more than one is named '1'"),
        (pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), "got columns with 2 levels: join them first"),
    ):
        with pytest.raises(ValueError, match=message):
            as_frame(pd.DataFrame([[1, 2]], columns=columns))
    with pytest.raises(ValueError, match=r"got a Series: use X.to_frame\(\) for one column"):
        as_frame(pd.Series([1, 2]))
    with pytest.raises(ValueError, match="at least one column, got a DataFrame of shape"):
        as_frame(pd.DataFrame())
    with pytest.raises(ValueError, match="at least one row"):
        as_frame(pd.DataFrame({"a": []}))


def test_a_dict_of_series(pd):
    frame = as_frame({"a": pd.Series([1, 2]), "b": pd.Series(["x", "y"], dtype="category")})
    check(frame.columns[0], [1, 2])
    check(frame.columns[1], objects("x", "y"))
    assert frame.declared == {1}


# ---- polars and pyarrow


def test_a_data_frame_of_polars():
    pl = pytest.importorskip("polars", reason="tests data frames of polars")
    table = pl.DataFrame(
        {
            "int": [1, None], "float": pl.Series([0.5, 1], dtype=pl.Float32), "bool": [True, None], "text": ["x", None],
            "none": [None, None], "date": [datetime.date(1960, 1, 1), None], "lasts": [datetime.timedelta(1), None],
            "category": pl.Series(["a", None], dtype=pl.Categorical),
            "enum": pl.Series(["a", None], dtype=pl.Enum(["a"])),
        }
    )  # fmt: skip
    table = table.with_columns(
        pl.Series("zone", [datetime.datetime(2020, 1, 1), None]).dt.replace_time_zone("Europe/Berlin"),
        pl.Series("decimal", ["1.5", None]).cast(pl.Decimal(10, 2)),
    )
    frame = as_frame(table)
    expected = [
        [1.0, np.nan], np.float32([0.5, 1]), objects(True, None), objects("x", None), np.float32([np.nan, np.nan]),
        np.array(["1960-01-01", "NaT"], "M8[D]"), [86400.0, np.nan], objects("a", None), objects("a", None),
        np.array(["2019-12-31T23:00", "NaT"], "M8[us]"), [1.5, np.nan],
    ]  # fmt: skip
    assert frame.names == table.columns
    for column, values in zip(frame.columns, expected, strict=True):
        check(column, values)
    assert frame.declared == {7, 8}
    with pytest.raises(TypeError, match=r"got a LazyFrame: use X.collect\(\)"):
        as_frame(table.lazy())
    with pytest.raises(ValueError, match=r"column 's' has shape \(2, 1\)"):
        as_frame(pl.DataFrame({"s": [{"a": 1}, {"a": 2}]}))


@pytest.mark.parametrize("batch", [False, True])
def test_a_table_of_arrow(batch):
    pa = pytest.importorskip("pyarrow", reason="tests tables of pyarrow")
    columns = {
        "int": pa.array([1, None]), "text": pa.array(["x", None]), "bool": pa.array([True, None]),
        "category": pa.array(["a", None]).dictionary_encode(), "date": pa.array([datetime.date(2020, 1, 1), None]),
    }  # fmt: skip
    table = pa.table(columns)
    frame = as_frame(table.to_batches()[0] if batch else table)
    expected = [
        [1.0, np.nan], objects("x", None), objects(True, None), objects("a", None),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
    ]  # fmt: skip
    assert frame.names == list(columns)
    for column, values in zip(frame.columns, expected, strict=True):
        check(column, values)
    assert frame.declared == {3}


# ---- imports


def test_neither_pandas_nor_scikit_learn_is_imported():
    code = (
        "import sys; from nnfast.tables import Preparation\n"
        "p = Preparation().fit({'a': [1, 2], 'b': ['x', 'y'], 'c': ['2020-01-01', '2021-05-05']})\n"
        "str(p), p.transform({'a': [1], 'b': ['x'], 'c': ['2020-01-01']})\n"
        "print(*{'pandas', 'polars', 'pyarrow', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True).strip() == ""
