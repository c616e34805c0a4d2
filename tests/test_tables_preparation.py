"""The preparation of tables for networks."""

from __future__ import annotations

import copy
import datetime
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnfast.tables import Column, Preparation, as_frame
from nnfast.tables import plan as plans
from nnfast.tables.dates import PARTS, parts_of
from nnfast.tables.edges import mass_edges
from nnfast.tables.scaling import LIMIT, scale_of

TABLE = {
    "age": [30, 50, None, 20, 40, 20],
    "income": [0.0, 0.0, 0.0, 0.0, 0.0, 8.0],
    "job": ["cook", "pilot", "cook", None, "cook", "judge"],
    "member": [True, False, True, True, False, False],
    "since": ["2019-01-01", "2021-07-01", "2020-01-01", None, "2020-01-01", "2020-01-01"],
    "country": ["CH"] * 6,
}


def prepared(values, given=None, **parameters):
    """The matrix of one column, fitted on `values`."""
    preparation = Preparation(**parameters).fit({"x": values})
    return preparation.transform({"x": values if given is None else given}).T.tolist()


def restored(preparation):
    """The same preparation from its state, by way of JSON."""
    return Preparation.from_state(json.loads(json.dumps(preparation.config(), allow_nan=False)), preparation.arrays())


# ---- numbers


def test_numbers_are_less_the_median_and_divided_by_the_quartile_range():
    assert prepared([0, 1, 2, 3, 8]) == [[-1, -0.5, 0, 0.5, 3]]
    assert prepared([0, 1, 2, 3, 8], [5, 100]) == [[1.5, 49]]


def test_half_of_the_range_takes_the_place_of_a_quartile_range_of_0():
    assert prepared([0, 0, 0, 0, 8]) == [[0, 0, 0, 0, 2]]


def test_missing_numbers_are_0_with_a_flag():
    # with the median, 2, for the missing one, the quartiles are 1 and 3
    assert prepared([0, 1, np.nan, 3, 8], [None, 8]) == [[0, 3], [1, 0]]


def test_missing_numbers_that_did_not_occur_have_no_flag():
    assert prepared([0, 1, 2, 3, 8], [np.nan, 3]) == [[0, 0.5]]


def test_a_number_that_is_constant_or_missing_leaves_its_flag():
    preparation = Preparation().fit({"x": [7, None, 7], "y": [1, 2, 3]})
    assert preparation.raw_names == ["y", "x: missing"]
    assert preparation.columns[0].becomes == "a flag for missing"
    assert preparation.transform({"x": [None, 9], "y": [2, 2]}).tolist() == [[0, 1], [0, 0]]


def test_text_in_which_all_numbers_are_missing():
    preparation = Preparation(kinds={"x": "number"}).fit({"x": ["?", "NA"], "y": [1, 2]})
    assert preparation.columns[0] == Column("x", "constant", "all values are equal or missing", 2, "left out")


def test_infinite_numbers_are_beyond_all_others():
    assert prepared([0, 1, 2, 3, 8], [np.inf, -np.inf, 1e300]) == [[LIMIT, -LIMIT, LIMIT]]
    # in training, an infinite value counts as the largest finite one: the quartiles are 1 and 3
    assert prepared([0, 1, 2, 3, np.inf], [3]) == [[0.5]]
    assert prepared([np.inf, 1, 1]) == [[LIMIT, 0, 0]]
    assert prepared([np.inf, -np.inf, np.nan], [0.5, np.inf]) == [[0.5, LIMIT], [0, 0]]


@pytest.mark.filterwarnings("error")
def test_extreme_numbers():
    tiny = 5e-324
    assert prepared([0, tiny, 2 * tiny], [0, tiny, 2 * tiny, 1]) == [[-1, 0, 1, LIMIT]]
    huge = np.finfo(np.float64).max
    found = np.array(prepared([-huge, -1e300, 1e300, huge], [-huge, 0, huge, np.inf])[0])
    assert (np.diff(found) > 0).all()
    assert np.isfinite(found).all()
    assert np.isfinite(prepared([-huge, *[0] * 7, huge])[0]).all()
    assert prepared(np.uint64([0, 2**63, 2**64 - 2048])) == [[-1, 0, pytest.approx(1, abs=1e-6)]]
    assert prepared([-(10**400), 0, 1, 2, 10**400], [1, 2, 10**400]) == [[0, 0.5, LIMIT]]


def test_a_small_difference_of_large_numbers_is_kept():
    """In float32 they would all be equal."""
    assert prepared([1e9, 1e9 + 1, 1e9 + 2], [1e9 + 1.5]) == [[0.5]]


@given(st.lists(st.floats(allow_infinity=True) | st.none(), min_size=2, max_size=30))
def test_scales_are_finite_and_positive(values):
    column = np.array([np.nan if v is None else v for v in values])
    scale = scale_of(column)
    if scale is None:
        known = column[~np.isnan(column)]
        assert not known.size or (known == known[0]).all()
    else:
        assert np.isfinite(scale.center)
        assert 0 < scale.width < np.inf
        preparation = Preparation().fit(np.column_stack([column, np.arange(len(column))]))
        raw = preparation.transform(np.column_stack([column, np.arange(len(column))]))
        assert np.isfinite(raw).all()


# ---- edges


def slow_edges(values, bins):
    """The rule of `mass_edges` with one value after another."""
    counts = {v: values.count(v) for v in sorted(set(values))}
    if len(counts) <= bins + 1:
        return sorted(counts)
    heavy = set()
    while True:
        left, mass = bins - len(heavy), sum(n for v, n in counts.items() if v not in heavy)
        more = {v for v, n in counts.items() if v not in heavy and n * left > mass}
        if not more:
            break
        heavy |= more
    others = [v for v in counts if v not in heavy]
    mass, edges, seen, k = sum(counts[v] for v in others), {min(counts), max(counts)} | heavy, 0, 1
    n = max(bins - len(heavy), 1)
    for v in others:
        seen += counts[v]
        while k < n and seen * n >= k * mass:  # the k-th quantile
            edges.add(v)
            k += 1
    return sorted(edges)


@given(st.lists(st.integers(0, 12) | st.sampled_from([0, 0, 5]), min_size=1, max_size=80), st.integers(2, 9))
def test_edges_follow_the_rule(values, bins):
    found = mass_edges(np.float32(values), bins)
    assert found.dtype == np.float32
    assert found.tolist() == slow_edges(values, bins)
    assert len(found) <= bins + 1


@pytest.mark.parametrize(
    ("values", "bins", "edges"),
    [
        ([3, 1, 2, 2], 4, [1, 2, 3]),  # few values
        (range(9), 4, [0, 2, 4, 6, 8]),  # quantiles of 9 values: at least 1/4, 2/4 and 3/4 of them
        ([0] * 60 + list(range(1, 41)), 4, [0, 14, 27, 40]),  # 0 fills more than a bin; the others share three
        # 0 fills a bin of 4; of the rest, 9 then fills one of 3
        ([0] * 60 + [9] * 20 + list(range(10, 30)), 4, [0, 9, 19, 29]),
        ([0] * 60 + [9] * 12 + list(range(10, 38)), 4, [0, 11, 24, 37]),  # 9 has less than a third of the rest
    ],
)
def test_edges_by_hand(values, bins, edges):
    values = list(values)
    assert mass_edges(np.float32(values), bins).tolist() == edges == slow_edges(values, bins)


def test_edges_of_many_values_are_quantiles():
    values = np.random.default_rng(0).normal(size=4001).astype(np.float32)
    found = mass_edges(values, 16)
    assert len(found) == 17
    inside = np.histogram(values, found)[0]
    assert (np.abs(inside - 4001 / 16) <= 1).all()


def test_edges_differ_by_enough_for_float32():
    values = np.concatenate(
        [np.float32([0, 1e-40, 1e-38, 2.0**-75]), np.nextafter(np.float32(2.0**-75), np.float32(1))[None]]
    )
    found = mass_edges(values, 16)
    assert found.tolist() == [0, 2.0**-75, np.nextafter(np.float32(2.0**-75), np.float32(1))]
    assert np.isfinite(1 / np.diff(found)).all()
    assert (np.diff(found) >= np.float32(1e-30)).all()


def test_numbers_of_few_values_have_no_edges():
    preparation = Preparation().fit({"a": [1, 2, 3, 3], "b": [1, 2, 3, 4], "c": [0.5, 0.5, 0.5, 1]})
    (_, a), (_, b), (_, c) = preparation.encoding_columns()
    assert a is None
    assert c is None
    assert b.tolist() == np.float32([-1, -1 / 3, 1 / 3, 1]).tolist()
    assert preparation.encoding_columns(bins=False) == [("number", None)] * 3
    # 0 takes one bin of two, so that there is only one left
    assert Preparation(bins=2).fit({"x": [*[0] * 60, 1, 2, 3, 4]}).encoding_columns() == [("number", None)]


def test_edges_are_in_units_of_the_matrix():
    x = np.random.default_rng(0).exponential(size=(1000, 1))
    preparation = Preparation(bins=8).fit(x)
    ((kind, edges),) = preparation.encoding_columns()
    raw = preparation.transform(x)
    assert kind == "number"
    assert len(edges) == 9
    assert np.isin(edges, raw).all()
    assert (edges[0], edges[-1]) == (raw.min(), raw.max())
    edges[:] = 0  # a copy
    assert preparation.encoding_columns()[0][1].any()


def test_a_missing_number_counts_as_the_median_in_the_edges():
    """As it is encoded."""
    x = np.r_[np.arange(100.0), [np.nan] * 100]
    edges = Preparation(bins=4).fit({"x": x}).encoding_columns()[0][1]
    assert 0 in edges


def test_infinite_numbers_stretch_no_bin():
    x = np.r_[np.arange(99.0), np.inf]
    edges = Preparation(bins=4).fit({"x": x}).encoding_columns()[0][1]
    assert edges.tolist() == Preparation(bins=4).fit({"x": np.minimum(x, 98)}).encoding_columns()[0][1].tolist()
    ((_, edges),) = Preparation().fit({"x": [np.inf, -np.inf, 0.0, 1, 2, 3]}).encoding_columns()
    assert np.abs(edges).max() < 2


# ---- dates


def test_parts_of_dates_by_hand():
    dates = np.array(["1960-02-29T18:00", "2023-12-31", "NaT"], "M8[s]")  # a Monday and a Sunday
    found = dict(zip(PARTS, parts_of(dates, PARTS), strict=True))
    assert found["days"].tolist()[:2] == [-3594 + 0.75, 19722]
    assert found["year"].tolist()[:2] == [1960, 2023]
    assert found["day"].tolist()[:2] == [29, 31]
    third = math.sqrt(3) / 2
    for part, values in (
        ("month sine", [0.5, -0.5]), ("month cosine", [third, third]), ("hour sine", [-1, 0]), ("hour cosine", [0, 1]),
        ("weekday sine", [0, math.sin(12 / 7 * math.pi)]), ("weekday cosine", [1, math.cos(12 / 7 * math.pi)]),
    ):  # fmt: skip
        assert found[part].tolist()[:2] == pytest.approx(values, abs=1e-11)
    assert all(np.isnan(values[2]) for values in found.values())


@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)))
def test_parts_of_any_date(date):
    parts = parts_of(np.array([date], "M8[us]"), ("days", "year", "day", "weekday cosine", "month sine", "hour sine"))
    days, year, day, weekday, month, hour = (float(part[0]) for part in parts)
    assert days == pytest.approx((date - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1), abs=1e-9)
    assert (year, day) == (date.year, date.day)
    assert weekday == pytest.approx(math.cos(2 * math.pi * date.weekday() / 7), abs=1e-11)
    assert month == pytest.approx(math.sin(2 * math.pi * (date.month - 1) / 12), abs=1e-11)
    time = (date - datetime.datetime.combine(date, datetime.time())) / datetime.timedelta(days=1)
    assert hour == pytest.approx(math.sin(2 * math.pi * time), abs=1e-11)


def test_parts_that_do_not_vary_are_left_out():
    preparation = Preparation().fit({"x": ["2020-01-05", "2020-01-12", "2020-01-19", None]})
    assert preparation.raw_names == ["x: days", "x: day", "x: missing"]
    assert preparation.columns == [Column("x", "date", "its text holds dates", 1, "2 numbers, a flag for missing")]
    # the day is scaled by quartiles 10.25 and 13.75
    assert preparation.transform({"x": ["2020-01-12", "2031-08-08", None]}).tolist()[::2] == [[0, 0, 0], [0, 0, 1]]


def test_dates_of_any_form_give_the_same_numbers():
    train = {"x": ["1969-12-31 23:00", "2020-06-01 12:30", "2021-02-03"]}
    preparation = Preparation().fit(train)
    expected = preparation.transform(train)
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    stamps = [datetime.datetime.fromisoformat(text) for text in train["x"]]
    for dates in (
        np.array(train["x"], "M8[ns]"),
        np.array(train["x"], "M8[m]"),
        stamps,
        [stamp.replace(tzinfo=datetime.UTC).astimezone(zone) for stamp in stamps],
        ["1969-12-31T20:00-03:00", "2020-06-01T12:30:00Z", datetime.date(2021, 2, 3)],
    ):
        np.testing.assert_array_equal(preparation.transform({"x": dates}), expected)


def test_what_is_not_a_date():
    preparation = Preparation().fit({"x": ["2020-01-05", "2020-01-12"]})
    with pytest.raises(ValueError, match="column 'x' of X must hold dates, but row 1 has 'soon': give dates, or text"):
        preparation.transform({"x": ["2020-01-01", "soon"]})
    with pytest.raises(ValueError, match="column 'x' of X must hold dates, but row 0 has 2020"):
        preparation.transform({"x": [2020]})
    with pytest.raises(ValueError, match="column 0 of X must hold dates, but row 0 has 7.0"):
        preparation.transform(np.full((1, 1), 7.0))
    with pytest.raises(ValueError, match="column 'x' of X must hold dates, but row 0 has 1"):
        Preparation(kinds={"x": "date"}).fit({"x": [1, 2]})
    assert np.isfinite(preparation.transform({"x": [None]})).all()


# ---- categories


def test_codes_of_categories():
    assert prepared(["b", "a", "c", "a"], ["a", "b", "c", "d", None, ""]) == [[0, 1, 2, -1, -1, -1]]
    assert prepared(["b", "a", None], ["a", "b", "c", None, np.nan]) == [[0, 1, -1, 2, 2]]
    assert prepared([True, False], [False, True, 1, 0.0, None, "True", "x"]) == [[0, 1, 1, 0, -1, 1, -1]]
    assert prepared([True, None, False], [None, True]) == [[2, 1]]


def test_numbers_as_categories():
    kinds = {"x": "category"}
    assert prepared([30, 10, 20], [10, 20.0, "30", "30.0", 15, True], kinds=kinds) == [[0, 1, 2, -1, -1, -1]]
    assert prepared(["1", "2"], [1, 2.0, np.uint8(2), "1"], kinds=kinds) == [[0, 1, 1, 0]]
    assert prepared([0.5, np.inf, np.nan], [np.inf, 0.5, None, "inf"], kinds=kinds) == [[1, 0, 2, 1]]
    assert prepared([10**5000, "a"], [10**5000, 10**5001, "a"]) == [[0, -1, 1]]  # too many digits to print
    dates = np.array(["2020-01-01", "2021-01-01"], "M8[D]")
    assert prepared(dates, [datetime.date(2021, 1, 1), None], kinds=kinds) == [[1, -1]]
    assert prepared(dates, dates.astype("M8[ns]"), kinds=kinds) == [[0, 1]]


def test_values_of_several_types_are_sorted():
    preparation = Preparation().fit({"x": ["b", 2, 1.5, "a", True, None, b"c"]})
    assert preparation.config()["columns"][0]["categories"] == [True, 1.5, 2, "a", "b", "c"]
    assert preparation.transform({"x": ["a", None, "c", b"c", 2, "2"]}).ravel().tolist() == [3, 6, 5, 5, 2, 2]


def test_the_rarest_categories_are_unknown():
    values = list("aaabbcdd")
    assert prepared(values, list("abcd"), max_categories=3) == [[0, 1, -1, 2]]
    assert prepared(values, list("abcd"), max_categories=2) == [[0, 1, -1, -1]]  # of b and d, the first
    assert prepared([*values, None], ["a", "d", None], max_categories=2) == [[0, -1, 2]]


def test_values_that_are_no_category_in_transform():
    preparation = Preparation().fit({"x": ["a", "b"]})
    with pytest.raises(TypeError, match=r"column 'x' of X has a list, \['a'\]"):
        preparation.transform({"x": ["a", ["a"]]})


def test_subclasses_of_str_are_text():
    class Loud(str):
        def __str__(self):
            return self.upper()

    assert prepared([Loud("red"), "blue", np.str_("red")], ["red", Loud("red"), "RED"]) == [[1, 1, -1]]


def test_encodings_of_categories():
    n = 40
    table = {"few": [i % 3 for i in range(n)], "many": [f"v{i % 33}" for i in range(n)], "none": [None, 1] * (n // 2)}
    kinds = dict.fromkeys(table, "category")
    assert Preparation(kinds=kinds).fit(table).encoding_columns() == [
        ("one_hot", 3),
        ("embedding", 33, 11),
        ("one_hot", 2),
    ]
    few = Preparation(kinds=kinds, one_hot=2).fit(table)
    assert few.encoding_columns() == [("embedding", 3, 3), ("embedding", 33, 11), ("one_hot", 2)]
    assert few.columns[1].becomes == "33 categories, embedded in 11 numbers"
    assert few.columns[2].becomes == "1 category and missing, one-hot"
    many = {"x": [str(i // 2) + "x" for i in range(20_000)]}
    assert Preparation().fit(many).encoding_columns() == [("embedding", 10_000, 50)]


# ---- the whole


def test_a_table():
    preparation = Preparation().fit(TABLE)
    assert preparation.raw_names == [
        "age", "income", "since: days", "since: year", "since: month cosine", "since: weekday sine",
        "since: weekday cosine", "age: missing", "since: missing", "job", "member",
    ]  # fmt: skip
    raw = preparation.transform(TABLE)
    assert raw.dtype == np.float32
    assert raw.shape == (6, preparation.n_raw) == (6, 11)
    assert raw.flags.c_contiguous
    assert raw[:, [1, 7, 8, 9, 10]].T.tolist() == [
        [0, 0, 0, 0, 0, 2], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 2, 0, 3, 0, 1], [1, 0, 1, 1, 0, 0],
    ]  # fmt: skip
    assert preparation.feature_names_in == list(TABLE)
    assert [column.kind for column in preparation.columns] == [
        "number", "number", "category", "category", "date", "constant",
    ]  # fmt: skip
    encodings = preparation.encoding_columns(bins=False)
    assert encodings == [*[("number", None)] * 7, *[("flag",)] * 2, ("one_hot", 4), ("one_hot", 2)]


def test_columns_are_matched_by_name():
    preparation = Preparation().fit(TABLE)
    raw = preparation.transform(TABLE)
    shuffled = {name: TABLE[name] for name in reversed(TABLE) if name != "country"} | {"other": [[]] * 6}
    np.testing.assert_array_equal(preparation.transform(shuffled), raw)
    with pytest.raises(ValueError, match="X must have the columns of fit, but lacks 'age', 'since'$"):
        preparation.transform({name: TABLE[name] for name in ("income", "job", "member")})
    many = Preparation().fit({f"c{i}": [0, 1] for i in range(9)})
    with pytest.raises(ValueError, match="lacks 'c0', 'c1', 'c2', 'c3', 'c4' and 4 more"):
        many.transform({"x": [1]})


def test_columns_without_names_are_matched_by_position():
    preparation = Preparation().fit(TABLE)
    rows = [list(row) for row in zip(*TABLE.values(), strict=True)]
    np.testing.assert_array_equal(preparation.transform(rows), preparation.transform(TABLE))
    unnamed = Preparation().fit(rows)
    assert unnamed.feature_names_in is None
    assert unnamed.raw_names[0] == "0"
    np.testing.assert_array_equal(unnamed.transform(TABLE), preparation.transform(TABLE))
    for X in (np.ones((1, 2)), [[1, 2]]):
        with pytest.raises(ValueError, match="X must have 6 columns, as in fit, got 2"):
            unnamed.transform(X)


def test_names_of_a_frame_that_is_given():
    frame = as_frame(np.arange(6.0).reshape(3, 2), names=["a", "b"])
    preparation = Preparation().fit(frame)
    assert preparation.feature_names_in == ["a", "b"]
    np.testing.assert_array_equal(preparation.transform(frame), preparation.transform({"b": [1, 3, 5], "a": [0, 2, 4]}))


def test_text_in_a_column_of_numbers():
    preparation = Preparation().fit({"a": [1, 2, 3], "b": [1, 2, 3]})
    with pytest.raises(ValueError, match="column 'b' of X must hold numbers, but row 1 has 'x'$"):
        preparation.transform({"a": [1, 2], "b": [1, "x"]})
    with pytest.raises(ValueError, match="column 1 of X must hold numbers, but row 0 has 'x'$"):
        preparation.transform([[1, "x"]])
    assert preparation.transform({"a": [" 1.5 "], "b": ["NA"]}).tolist() == [[-0.5, 0]]
    assert preparation.transform({"a": [True], "b": [2]}).tolist() == [[-1, 0]]
    with pytest.raises(ValueError, match=r"row 1 has datetime.date\(2020, 1, 1\)"):
        preparation.transform({"a": [1, datetime.date(2020, 1, 1)], "b": [1, 2]})
    with pytest.raises(ValueError, match=r"row 0 has datetime.date\(2020, 1, 1\)"):
        preparation.transform({"a": np.array(["2020-01-01"], "M8[D]"), "b": [1]})


def test_a_matrix_of_numbers_is_prepared_as_its_columns_are():
    """It has a shorter way."""
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 6))
    x[::5, 1] = np.nan
    x[:, 3] = 1
    preparation = Preparation().fit(x)
    names = [str(i) for i in range(6)]
    x[3, 2], x[4, 2] = np.inf, np.nan
    for X in (
        x,
        x.astype(np.float32),
        np.asfortranarray(x),
        x[:, ::-1],
        (100 * x[6:8] * [1, 0, 1, 1, 1, 1]).astype(int),
    ):
        frame = as_frame(dict(zip(names, X.T, strict=True)))
        raw = preparation.transform(X)
        assert raw.flags.c_contiguous
        np.testing.assert_array_equal(raw, preparation.transform(frame))


def test_many_rows_are_prepared_in_parts(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[::7, 1] = np.nan
    preparation = Preparation().fit(x)
    whole = preparation.transform(x)
    monkeypatch.setattr(plans, "ROWS", 8)
    np.testing.assert_array_equal(preparation.transform(x), whole)


def test_one_row_is_prepared_as_in_a_batch():
    preparation = Preparation().fit(TABLE)
    whole = preparation.transform(TABLE)
    for i in range(6):
        row = {name: [values[i]] for name, values in TABLE.items()}
        np.testing.assert_array_equal(preparation.transform(row), whole[i : i + 1])


def test_data_frames():
    pd = pytest.importorskip("pandas", reason="tests its data frames")
    preparation = Preparation().fit(TABLE)
    whole = preparation.transform(TABLE)
    table = pd.DataFrame(TABLE)
    np.testing.assert_array_equal(preparation.transform(table), whole)
    np.testing.assert_array_equal(preparation.transform(table.convert_dtypes()), whole)
    np.testing.assert_array_equal(
        preparation.transform(table.astype({"job": "category", "since": "datetime64[ns]"})), whole
    )
    for i in range(6):
        np.testing.assert_array_equal(preparation.transform(table.iloc[i : i + 1]), whole[i : i + 1])
    np.testing.assert_array_equal(Preparation().fit(table).transform(TABLE), whole)


def test_data_frames_of_numbers():
    pd = pytest.importorskip("pandas", reason="tests its data frames")
    table = pd.DataFrame({"a": np.float32([1, 2, np.nan]), "b": [1, 2, 4], "c": [0.1, 0.2, 5]})
    preparation = Preparation().fit(table)
    whole = preparation.transform({name: table[name].to_numpy() for name in table})
    for form in (table, table.to_numpy(), table[["c", "a", "b"]], table.astype("Float64"), table.astype(object)):
        np.testing.assert_array_equal(preparation.transform(form), whole)
    np.testing.assert_array_equal(preparation.transform(table.iloc[1:2]), whole[1:2])
    with pytest.raises(ValueError, match="lacks 'b'"):
        preparation.transform(table[["a", "c"]])


def test_polars():
    pl = pytest.importorskip("polars", reason="tests its data frames")
    preparation = Preparation().fit(TABLE)
    whole = preparation.transform(TABLE)
    np.testing.assert_array_equal(preparation.transform(pl.DataFrame(TABLE)), whole)
    np.testing.assert_array_equal(preparation.transform(pl.DataFrame(TABLE).to_arrow()), whole)


def test_many_columns():
    x = np.random.default_rng(0).normal(size=(12, 5000))
    preparation = Preparation().fit(x)
    assert preparation.transform(x[:2]).shape == (2, 5000)
    assert str(preparation).count("\n") == 61
    assert "... 4,940 more columns" in str(preparation)


# ---- arguments and errors


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"bins": 1}, ValueError, "bins must be at least 2, got 1"),
        ({"bins": 1001}, ValueError, "bins must be at most 1000"),
        ({"bins": 2.5}, TypeError, "bins must be an integer"),
        ({"one_hot": -1}, ValueError, "one_hot must be at least 0"),
        ({"max_categories": 1}, ValueError, "max_categories must be at least 2"),
        ({"max_categories": 2**24}, ValueError, "max_categories must be at most 16777215"),
        ({"kinds": ["number"]}, TypeError, "kinds must be a dict"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        Preparation(**parameters)


def test_tables_that_cannot_be_learned_from():
    with pytest.raises(ValueError, match="X must have at least 2 rows to fit a preparation, got 1 sample"):
        Preparation().fit({"a": [1]})
    with pytest.raises(
        ValueError, match=r"all are left out: column 'a' \(all values are 1\), column 'b' \(kinds says so\)"
    ):
        Preparation(kinds={"b": "drop"}).fit({"a": [1, 1], "b": [1, 2]})


def test_an_error_leaves_everything_as_it_was():
    preparation = Preparation().fit(TABLE)
    before = preparation.config()
    with pytest.raises(ValueError, match="left out"):
        preparation.fit({"a": [1, 1]})
    assert preparation.config() == before
    kinds = {"a": "category"}
    preparation = Preparation(kinds=kinds)
    kinds["a"] = "drop"
    assert preparation.fit({"a": [1, 2]}).columns[0].kind == "category"


@pytest.mark.parametrize("call", ["columns", "raw_names", "n_raw", "feature_names_in"])
def test_what_is_not_fitted(call):
    preparation = Preparation()
    with pytest.raises(ValueError, match="the preparation is not fitted: call fit first"):
        getattr(preparation, call)
    for method in (preparation.config, preparation.arrays, preparation.encoding_columns, preparation.report):
        with pytest.raises(ValueError, match="not fitted"):
            method()
    with pytest.raises(ValueError, match="not fitted"):
        preparation.transform([[1]])


# ---- what is shown


def test_the_report():
    preparation = Preparation().fit(TABLE)
    lines = str(preparation).splitlines()
    assert lines == preparation.report().splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "becomes", "because"]
    assert lines[1].split("  ")[0] == "age"
    assert "  1 number with 3 bins, a flag for missing  " in lines[1]
    assert "  5 numbers, a flag for missing  " in lines[5]
    assert lines[6].endswith("all values are 'CH'")
    short = preparation.report(max_rows=3).splitlines()
    assert len(short) == 5
    assert [line.split()[0] for line in short[1:3]] == ["age", "income"]
    assert short[3] == "... 3 more columns"
    assert short[4].startswith("country")
    with pytest.raises(ValueError, match="max_rows must be at least 2"):
        preparation.report(max_rows=1)


def test_long_names_are_shortened():
    preparation = Preparation().fit({"x" * 100: [1, 2], "a\nb": [1, 2]})
    assert f"{'x' * 37}... " in str(preparation)
    assert "a b " in str(preparation)


def test_repr_and_html():
    assert repr(Preparation()) == str(Preparation()) == "Preparation(bins=16, one_hot=32, max_categories=10000)"
    assert "kinds={'a': 'drop'}" in repr(Preparation(kinds={"a": "drop"}))
    assert Preparation()._repr_html_() is None
    html = Preparation().fit({"<b>": [1, 2]})._repr_html_()
    assert "&lt;b&gt;" in html
    assert html.startswith("<div><table>")
    html = Preparation().fit({"id": [1, 2], "a": [1, 2]})._repr_html_()
    assert "kinds={&#x27;id&#x27;: &#x27;category&#x27;}" in html


def test_the_report_says_how_to_use_an_identifier():
    advice = "To use a column that is left out, say what it is, as with kinds={%r: 'category'}."
    names = [f"name {i}" for i in range(20)]
    assert str(Preparation().fit({"a": range(20), "id": range(20)})).endswith(f"\n{advice % 'id'}")
    assert str(Preparation().fit([*zip(range(20), names, strict=True)])).endswith(f"\n{advice % 1}")
    assert "To use" not in str(Preparation().fit({"a": [1, 2], "b": [7, 7]}))


# ---- files

VALUES = {
    "number": st.floats() | st.none(),
    "integer": st.integers(-(2**70), 2**70),
    "text": st.text(max_size=3) | st.none(),
    "boolean": st.booleans() | st.none(),
    "date": st.datetimes() | st.none(),
    "mixed": st.sampled_from(["1", 1, 2.5, True, None, "a", float("nan"), b"a", float("inf")]),
}


@st.composite
def tables(draw):
    n = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    return {f"{kind} {i}": draw(st.lists(VALUES[kind], min_size=n, max_size=n)) for i, kind in enumerate(kinds)}


@given(tables(), st.integers(2, 5), st.integers(0, 5))
def test_the_state_is_all_there_is(table, bins, one_hot):
    preparation = Preparation(bins=bins, one_hot=one_hot, max_categories=5)
    try:
        raw = preparation.fit(table).transform(table)
    except ValueError as error:
        assert "all are left out" in str(error)
        return
    assert np.isfinite(raw).all()
    assert raw.shape == (len(next(iter(table.values()))), len(preparation.encoding_columns()))
    for again in (restored(preparation), pickle.loads(pickle.dumps(preparation)), copy.deepcopy(preparation)):
        np.testing.assert_array_equal(again.transform(table), raw)
        assert again.config() == preparation.config()
        assert again.columns == preparation.columns
        assert repr(again) == repr(preparation)
        for name, array in preparation.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], array)
        for mine, other in zip(again.encoding_columns(), preparation.encoding_columns(), strict=True):
            np.testing.assert_equal(mine, other)
    for i in range(len(raw)):
        row = {name: values[i : i + 1] for name, values in table.items()}
        np.testing.assert_array_equal(preparation.transform(row), raw[i : i + 1])


def test_the_state_keeps_parameters_and_types():
    preparation = Preparation(kinds={np.int64(0): "category", "b": "drop"}, bins=5, one_hot=1, max_categories=7)
    preparation.fit({"a": [True, 2, "\ud800", 0.5], "b": [1, 2, 3, 4]})
    again = restored(preparation)
    assert again.kinds == {0: "category", "b": "drop"}
    assert (again.bins, again.one_hot, again.max_categories) == (5, 1, 7)
    categories = again.config()["columns"][0]["categories"]
    assert list(map(type, categories)) == [float, bool, int, str]


def test_the_state_is_a_copy():
    preparation = Preparation().fit(np.arange(10.0)[:, None])
    raw = preparation.transform([[3.0]])
    arrays = preparation.arrays()
    again = Preparation.from_state(preparation.config(), arrays)
    for array in arrays.values():
        array[:] = 0
    np.testing.assert_array_equal(preparation.transform([[3.0]]), raw)
    np.testing.assert_array_equal(again.transform([[3.0]]), raw)
    np.testing.assert_array_equal(again.encoding_columns()[0][1], preparation.encoding_columns()[0][1])


def changed(state, path, value):
    """A copy of a state with another value at a path."""
    state = copy.deepcopy(state)
    *parents, last = path
    place = state
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return state


# columns of `TABLE` by position: 0 age and 1 income are numbers, 2 job a category, 4 a date, 5 a constant
HOSTILE = [
    (("version",), 2, "version must be 1, got 2"),
    (("version",), True, "version must be 1, got True"),
    (("version",), ..., "config must have exactly version, bins"),
    (("more",), 1, "config must have exactly version, bins"),
    (("bins",), 1, "bins must be an integer from 2 to 1000, got 1"),
    (("bins",), 2.0, "bins must be an integer from 2 to 1000, got 2.0"),
    (("bins",), 10**9, "bins must be an integer from 2 to 1000"),
    (("bins",), 2, "edge_counts must be 0 or from 3 to 3"),
    (("one_hot",), None, "one_hot must be an integer"),
    (("max_categories",), 2, r"columns\[2\] must have 1 to 2 categories, got 3"),
    (("kinds",), {"age": "number"}, "kinds must be null or a list of pairs"),
    (("kinds",), [["age", "nominal"]], "kinds must be null or a list of pairs"),
    (("kinds",), [[None, "number"]], "kinds must be null or a list of pairs"),
    (("kinds",), [["age", ["number"]]], "kinds must be null or a list of pairs"),
    (("columns",), [], "columns must be a list of at least one column"),
    (("columns",), {}, "columns must be a list of at least one column"),
    (("columns", 0), None, r"columns\[0\] must have exactly name, kind"),
    (("columns", 0, "name"), 1, r"columns\[0\] has name 1"),
    (("columns", 0, "name"), None, "either all columns must have a name, or none"),
    (("columns", 0, "name"), "job", "columns must have different names"),
    (("columns", 0, "kind"), "Number", r"columns\[0\] has an unknown kind, 'Number'"),
    (("columns", 0, "kind"), "category", r"columns\[0\] has parts that a column of kind 'category' does not have"),
    (("columns", 2, "kind"), "text", "must have categories if it is of kind 'category', and only then"),
    (("columns", 0, "reason"), None, r"columns\[0\] has reason None"),
    (("columns", 0, "n_missing"), -1, "negative number of missing values"),
    (("columns", 0, "n_missing"), True, r"columns\[0\] has n_missing True"),
    (("columns", 0, "parts"), ["days"], "has parts that a column of kind 'number' does not have"),
    (("columns", 0, "parts"), [[]], "has parts that a column of kind 'number' does not have"),
    (("columns", 4, "parts"), ["year", "days"], "has parts that a column of kind 'date' does not have"),
    (("columns", 4, "parts"), ["days", "days"], "has parts that a column of kind 'date' does not have"),
    (("columns", 4, "parts"), ["days"], "the array center must have 3 elements, got 7"),
    (("columns", 5, "parts"), ["value"], "has parts that a column of kind 'constant' does not have"),
    (("columns", 2, "flagged"), True, r"columns\[2\] is flagged, but of kind 'category'"),
    (("columns", 0, "flagged"), 1, r"columns\[0\] has flagged 1"),
    (("columns", 2, "categories"), None, "must have categories"),
    (("columns", 2, "categories"), [], r"columns\[2\] must have 1 to 10000 categories, got 0"),
    (("columns", 2, "categories"), ["a", None], r"columns\[2\] has None as a category"),
    (("columns", 2, "categories"), ["a", ["b"]], r"columns\[2\] has \['b'\] as a category"),
    (("columns", 2, "categories"), ["a", float("nan")], r"columns\[2\] has nan as a category"),
    (("columns", 2, "categories"), ["a", 2**65], r"columns\[2\] has 36893488147419103232 as a category"),
    (("columns", 2, "categories"), [1, True], r"columns\[2\] has equal categories"),
    (("columns", 3, "categories"), [True], r"columns\[3\] must have at least 2 codes, got 1"),
    (("columns", 0, "missing_category"), True, "must have categories"),
]


@pytest.mark.parametrize(("path", "value", "message"), HOSTILE)
def test_descriptions_that_are_wrong(path, value, message):
    preparation = Preparation().fit(TABLE)
    config = changed(preparation.config(), path, value)
    with pytest.raises(ValueError, match=f"^not a preparation: .*{message}"):
        Preparation.from_state(config, preparation.arrays())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("center", lambda a: a.astype(np.float32), "the array center must be a vector of float64"),
        ("center", lambda a: a.tolist(), "the array center must be a vector of float64"),
        ("center", lambda a: a[:-1], "the array center must have 7 elements, got 6"),
        ("center", lambda a: a[None], "the array center must be a vector"),
        ("center", lambda a: a + np.inf, "the array center must be finite"),
        ("width", lambda a: 0 * a, "the array width must be finite and positive"),
        ("width", lambda a: -a, "the array width must be finite and positive"),
        ("width", lambda a: a * np.nan, "the array width must be finite and positive"),
        ("edges", lambda a: a[:-1], "their sum 3, the number of edges"),
        ("edges", lambda a: a[::-1], "the edges of each number must be ascending"),
        ("edges", lambda a: 0 * a, "the edges of each number must be ascending"),
        ("edges", lambda a: a * np.float32(np.nan), "the array edges must be from -1e"),
        ("edges", lambda a: a * np.float32(1e10), "the array edges must be from -1e"),
        ("edge_counts", lambda a: -a, "edge_counts must be 0 or from 3 to 17"),
        ("edge_counts", lambda a: a // 2, "edge_counts must be 0 or from 3 to 17"),
        ("edge_counts", lambda a: a * 0 + 2**62, "edge_counts must be 0 or from 3 to 17"),
        ("edge_counts", lambda a: np.roll(a, 1) * 0, "and their sum 4"),
    ],
)
def test_arrays_that_are_wrong(name, change, message):
    preparation = Preparation().fit(TABLE)
    arrays = preparation.arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=f"^not a preparation: .*{message}"):
        Preparation.from_state(preparation.config(), arrays)
    with pytest.raises(
        ValueError, match="^not a preparation: arrays must have exactly center, width, edges, edge_counts"
    ):
        Preparation.from_state(preparation.config(), {})


def test_a_state_that_uses_no_column():
    preparation = Preparation().fit({"a": [1, 2], "b": [7, 7]})
    config = preparation.config()
    config["columns"] = config["columns"][1:]
    with pytest.raises(ValueError, match="at least one column must be used"):
        Preparation.from_state(config, {name: array[:0] for name, array in preparation.arrays().items()})


def leaves(value, path=()):
    """The paths of all values in a description."""
    yield path
    if isinstance(value, (list, dict)):
        for key, own in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(own, (*path, key))


STATE = Preparation().fit(TABLE).config()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["date", "value", "days"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(list(leaves(STATE))[1:]), JSON)
def test_any_description_gives_an_error_or_a_preparation(path, value):
    try:
        preparation = Preparation.from_state(changed(STATE, path, value), Preparation().fit(TABLE).arrays())
    except ValueError as error:
        assert str(error).startswith("not a preparation: ")
    else:
        str(preparation)
        assert len(preparation.encoding_columns()) == len(preparation.raw_names) == preparation.n_raw
        assert np.isfinite(preparation.transform(list(zip(*TABLE.values(), strict=True)))).all()
