"""What kind of values columns hold."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from nnfast.tables import as_frame
from nnfast.tables.kinds import kinds_of
from nnfast.tables.values import date_in, number_in

N = 30


def told(values, name="x", kinds=None, **others):
    """The kind of one column among others."""
    return kinds_of(as_frame({name: values, **others}), kinds)[0]


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ([1.5, 2.5, np.nan], "number", "it holds numbers"),
        ([1, 2, 1], "number", "it holds whole numbers"),
        (np.uint64([2**63, 1]), "number", "it holds whole numbers"),
        ([0, 1, 0, 1], "number", "it holds whole numbers"),
        ([np.inf, 1.5], "number", "it holds numbers"),
        ([1, 1, None], "number", "it holds whole numbers"),
        ([True, False], "category", "it holds booleans"),
        ([True, None], "category", "it holds booleans"),
        (["a", "b"], "category", "it holds text"),
        (["a", None, "a"], "category", "it holds text"),
        ([1, "a"], "category", "it holds values of several types"),
        ([True, 2.5], "category", "it holds values of several types"),
        ([b"a", b"b"], "category", "it holds text"),
        ([" 1 ", "-2.5e3", None, "?", "N/A", ""], "number", "its text holds numbers"),
        (["1", "inf"], "number", "its text holds numbers"),
        (["1", "2", "x"], "category", "it holds text"),
        (["1_000", "2"], "category", "it holds text"),
        (["01", "02", "11"], "category", "its text holds digits with zeros in front, as codes have"),
        (["0", "10"], "number", "its text holds numbers"),
        (["0.5", "10"], "number", "its text holds numbers"),
        (["?", "NA"], "category", "it holds text"),
        (["2020-01-31", "1931-12-01", None, "NaT"], "date", "its text holds dates"),
        (["2020-01-31T10:00Z", "2020-01-31 10:00:59.5+02:00"], "date", "its text holds dates"),
        (["2020-02-30", "2020-02-01"], "category", "it holds text"),
        (["20200131", "20200201"], "number", "its text holds numbers"),
        (np.array(["2020", "2021"], "M8[Y]"), "date", "it holds dates"),
        ([datetime.date(2020, 1, 1), datetime.datetime(2021, 1, 1)], "date", "it holds dates"),
        ([None, None], "constant", "all values are missing"),
        ([np.nan, np.nan], "constant", "all values are missing"),
        (np.array(["NaT"], "M8[D]"), "constant", "all values are missing"),
        ([7, 7], "constant", "all values are 7"),
        (["a", "a"], "constant", "all values are 'a'"),
        ([True, True], "constant", "all values are True"),
        ([0.0, -0.0], "constant", "all values are 0.0"),
        ([np.inf, np.inf], "constant", "all values are inf"),
        (np.array(["2020", "2020"], "M8[Y]"), "constant", "all values are datetime.date(2020, 1, 1)"),
        ([f"number {i}" for i in range(N)], "identifier", "30 of 30 values differ"),
        ([f"number {min(i, 26)}" for i in range(N)], "identifier", "27 of 30 values differ"),
        ([f"number {min(i, 25)}" for i in range(N)], "category", "it holds text"),
        ([f"number {i}" for i in range(19)], "category", "it holds text"),
        (
            [f"The {i}th of many sentences that all differ." for i in range(N)],
            "text",
            "it holds text: 30 of 30 values differ, 43 characters long",
        ),
    ],
)
def test_kinds_are_told_from_values(values, kind, reason):
    found = told(values)
    assert (found.kind, found.reason) == (kind, reason)


@pytest.mark.parametrize(
    "name",
    ["id", "ID", "customer_id", "customerId", "customer id", "customerID", "uuid", "index", "row", "Unnamed: 0", "",
     "rownames", "level_0", "row_number", "order.id"],
)  # fmt: skip
def test_whole_numbers_with_the_name_of_an_identifier(name):
    reason = "its name is that of an identifier, and its whole numbers all differ"
    for values in ([3, 1, 2], [3.0, 1.0, None], ["3", "1", None]):
        found = told(values, name)
        assert (found.kind, found.reason) == ("identifier", reason)
    assert told([3, 1, 1], name).kind == "number"
    assert told([3.5, 1, 2], name).kind == "number"
    assert told(["3", "1", "1"], name).kind == "number"
    assert told([3, 1, 2], name, {name: "number"}).kind == "number"


@pytest.mark.parametrize("name", ["grid", "paid", "mass_index", "humidity", "idle", "rows", "x"])
def test_whole_numbers_with_another_name(name):
    assert told([3, 1, 2], name).kind == "number"


def test_a_type_of_categories_says_so():
    pd = pytest.importorskip("pandas", reason="tests its categories")
    frame = as_frame(pd.DataFrame({"a": pd.Categorical([1, 2]), "b": pd.Categorical(["1", None]), "c": [1, 2]}))
    found = kinds_of(frame)
    assert [column.kind for column in found] == ["category", "category", "number"]
    assert found[0].reason == found[1].reason == "its type says so"


def test_missing_values_are_counted():
    assert told([1, None, np.nan]).n_missing == 2
    assert told(["a", None, float("nan")]).n_missing == 2
    assert told([None, None]).n_missing == 2


# ---- what the user says


def test_kinds_that_are_given():
    frame = as_frame({"zip": [1, 2, 3], "code": ["1", "2", "3"], "note": ["a", "b", "c"], "z": [0.5, 1, 2]})
    found = kinds_of(frame, {"zip": "category", 1: "category", np.int64(2): "drop"})
    assert [column.kind for column in found] == ["category", "category", "drop", "number"]
    assert [column.reason for column in found[:3]] == ["kinds says so"] * 3
    assert told([f"number {i}" for i in range(N)], kinds={"x": "category"}).kind == "category"
    assert told([7, 7], kinds={"x": "category"}).kind == "constant"
    assert kinds_of(as_frame([[1, 2], [3, 4]]), {1: "category"})[1].kind == "category"


@pytest.mark.parametrize(
    ("kinds", "error", "message"),
    [
        ({"agee": "number"}, KeyError, "kinds has 'agee', which is not a column of X: did you mean 'age'?"),
        ({"q": "number"}, KeyError, "kinds has 'q', which is not a column of X, which has 'age', 'job'"),
        ({2: "number"}, KeyError, "kinds has column 2, but X has columns 0 to 1"),
        ({-1: "number"}, KeyError, "kinds has column -1"),
        ({None: "number"}, TypeError, "kinds must have names or positions of columns, got None"),
        ({True: "number"}, TypeError, "got True"),
        ({"age": "nominal"}, ValueError, r"kinds\['age'\] must be one of 'number', 'category', 'date', 'drop', got"),
        ({"age": 3}, TypeError, r"kinds\['age'\] must be one of"),
        ({"age": "number", 0: "date"}, ValueError, "one kind for each column, got two for column 'age'"),
        (["number"], TypeError, r"kinds must be a dict of columns and their kinds, got \['number'\]"),
    ],
)
def test_kinds_that_are_none(kinds, error, message):
    with pytest.raises(error, match=message):
        kinds_of(as_frame({"age": [1, 2], "job": ["a", "b"]}), kinds)


def test_names_in_kinds_need_names_in_the_table():
    with pytest.raises(KeyError, match="X has no names of columns: use positions, 0 to 1"):
        kinds_of(as_frame([[1, 2]]), {"age": "number"})


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, 1j, np.zeros(2)])
def test_values_of_no_kind(value):
    column = np.fromiter([value, None], dtype=object)
    with pytest.raises(TypeError, match=f"column 'x' of X has a {type(value).__name__}, .* by 'drop' in kinds"):
        told(column)
    assert told(column, kinds={"x": "drop"}).kind == "drop"


def test_other_objects_are_categories_by_their_text():
    assert told([(1, 2), (3, 4), (1, 2)]).counted.counts == {"(1, 2)": 2, "(3, 4)": 1}
    assert told([datetime.time(1), datetime.time(2)]).counted.counts == {"01:00:00": 1, "02:00:00": 1}


# ---- text


def test_numbers_in_text():
    assert [number_in(text) for text in ("1", " 1.5 ", "-.5", "+2.", "1e3", "-inf", "Infinity")] == [
        1, 1.5, -0.5, 2, 1000, -np.inf, np.inf,
    ]  # fmt: skip
    assert all(np.isnan(number_in(text)) for text in ("", " ", "?", "NaN", "null", "None", "n/a", "-"))
    assert all(number_in(text) is None for text in ("x", "1_0", "0x10", "1,5", "1 2", "e5", "\u0661", "--1", "infinit"))


def test_dates_in_text():
    day = np.datetime64("1960-02-29", "us")
    assert date_in("1960-02-29") == date_in(" 1960-02-29 00:00 ") == date_in("1960-02-28T22:00:00-02:00") == day
    assert date_in("1960-02-29T00:00:00.123456789Z") == day + np.timedelta64(123456, "us")
    assert date_in("1960-02-29 02:00 +0200") == day
    assert np.isnat(date_in("NaT"))
    for text in ("1961-02-29", "1960-2-9", "19600229", "29.02.1960", "1960-02", "1960-W01-1", "1960-02-29T", "x"):
        assert date_in(text) is None
    assert date_in("0001-01-01T00:00+23:00") is None  # before year 1 in UTC
