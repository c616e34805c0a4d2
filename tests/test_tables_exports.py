"""Table models as ONNX and as C: what runs elsewhere computes what the model predicts."""

from __future__ import annotations

import ctypes
import json
import subprocess

import numpy as np
import pytest
from test_c import COMPILERS, STRICT, library, needs_compiler

import nnfast as nf
from nnfast.tables import Recipe, fit_table
from nnfast.tables.c import DATES, PART
from nnfast.tables.dates import PARTS, parts_of
from nnfast.tables.onnx import part_formula

N = 90
RANDOM = np.random.default_rng(3)
QUICK = Recipe(hidden=(8,), epochs=6, learning_rate=0.02)
EPOCH = np.datetime64("1970-01-01", "s")
X = RANDOM.normal([0, 1e7, 5, 0], [1, 3, 1e-3, 1e6], size=(N, 4))
NUMBER = X[:, 0] + (X[:, 1] - 1e7) ** 2 / 9
CODES = np.digitize(NUMBER, [0.2, 1.5])
DAYS = np.datetime64("1583-01-01T00:00:00") + RANDOM.integers(0, 2**34, N).astype("timedelta64[s]")
TABLE = {
    "size": [None if i % 7 == 0 else float(x) for i, x in enumerate(X[:, 0])],
    "colour*/": [None if i % 11 == 0 else ["red", 'a "quoted" one', "grün??/"][i % 3] for i in range(N)],
    "street": [f"street {i % 40}" for i in range(N)],
    "since": [None if i % 13 == 0 else day for i, day in enumerate(DAYS)],
    "built": DAYS[::-1].astype("datetime64[D]"),
    "sold": [i % 4 == 0 for i in range(N)],
    "width": X[:, 3],
    "country": ["CH"] * N,
}
UNSEEN = {
    "size": [np.nan, np.inf, -np.inf, 1e300, 0.5],
    "colour*/": ["mauve", None, "Red", "red", "grün??/"],
    "street": [None, "street 1", "street 39", "street", "street 7"],
    "since": [None, "0001-01-01", "9999-12-31", "2024-02-29", "1969-12-31"],
    "built": ["2000-02-29", "1900-03-01", "2100-02-28", "1600-12-31", "2024-01-01"],
    "sold": [True, False, None, True, False],
    "width": [0.0, np.nan, -1e9, 1e9, 3.0],
}
TARGETS = {
    "whole labels": (CODES * 7 - 7, {}),
    "text": (np.array(["no", "perhaps", "yes"])[CODES], {}),
    "bools": (CODES > 0, {}),
    "reals as labels": (CODES * 0.5, {"task": "classification"}),
    "small unsigned": (CODES.astype(np.uint8), {}),
    "objects": (np.array(["no", "perhaps", "yes"], object)[CODES], {}),
    "a number": (1e9 + 1e5 * NUMBER, {}),
    "quantiles": (NUMBER, {"quantiles": [0.9, 0.5, 0.05]}),
}


def model_for(x, name, n_members, recipe=QUICK):
    y, options = TARGETS[name]
    return fit_table(x, y, n_members=n_members, recipe=recipe, seed=0, verbose=0, **options)


def seconds(values):
    """Return dates as seconds since 1970."""
    dates = np.array([np.datetime64("NaT") if value is None else np.datetime64(value) for value in values])
    dates = dates.astype("datetime64[s]")
    return np.where(np.isnat(dates), np.nan, (dates - EPOCH).astype(float))


def floats(values):
    return np.array([np.nan if value is None else value for value in values], float)


def texts(values):
    return ["" if value is None else str(value) for value in values]


HOW = {
    "size": floats, "colour*/": texts, "street": texts, "since": seconds, "built": seconds, "sold": texts,
    "width": floats,
}  # fmt: skip


# ---- ONNX


def session(model, folder):
    ort = pytest.importorskip("onnxruntime", reason="ONNX files are run by onnxruntime")
    model.to_onnx(folder / "model.onnx")
    return ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def assert_runs(run, model, inputs, x):
    outputs = dict(zip([output.name for output in run.get_outputs()], run.run(None, inputs), strict=True))
    if model.classes is not None:
        np.testing.assert_array_equal(outputs["label"], model.predict(x))
        assert outputs["probabilities"].dtype == np.float32
        np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(x), atol=2e-6)
        return
    scale = np.abs(model.predict(x)).max()
    np.testing.assert_allclose(outputs["prediction"], model.predict(x), atol=2e-6 * scale)
    assert ("quantiles" in outputs) is bool(model.target.quantiles)
    if model.target.quantiles:
        np.testing.assert_allclose(outputs["quantiles"], model.predict_quantiles(x), atol=2e-6 * scale)
        assert (np.diff(outputs["quantiles"]) >= 0).all()


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("target", TARGETS)
def test_a_graph_computes_what_a_model_of_a_mixed_table_predicts(target, n_members, tmp_path):
    model = model_for(TABLE, target, n_members)
    assert model.linear is not None or target == "a number"
    run = session(model, tmp_path)
    assert [given.name for given in run.get_inputs()] == list(HOW)
    for x in (TABLE, UNSEEN):
        inputs = {
            name: np.array(how(x[name]), dtype=object if how is texts else float)[:, None] for name, how in HOW.items()
        }
        assert_runs(run, model, inputs, x)


@pytest.mark.parametrize("target", ["text", "quantiles"])
def test_a_graph_without_a_linear_model(target, tmp_path):
    model = model_for(X, target, 2, QUICK._replace(linear=False))
    assert model.linear is None
    assert_runs(session(model, tmp_path), model, {"input": X}, X)


@pytest.mark.parametrize("n_members", [1, 2])
def test_numbers_are_one_input(n_members, tmp_path):
    x = X.copy()
    x[::5, 2] = np.nan
    x = np.insert(x, 1, 3.0, axis=1)  # a constant column
    model = model_for(x, "a number", n_members)
    run = session(model, tmp_path)
    (given,) = run.get_inputs()
    assert (given.name, given.shape, given.type) == ("input", ["batch", 5], "tensor(double)")
    x[0] = [np.nan, 3, np.inf, 7, -np.inf]
    assert_runs(run, model, {"input": x}, x)
    named = {"a": x[:, 0], "constant": x[:, 1], "b": x[:, 2]}
    model = model_for(named, "text", n_members)
    run = session(model, tmp_path)
    assert run.get_inputs()[0].shape == ["batch", 2]  # what is left out is not asked for
    assert json.loads(run.get_modelmeta().custom_metadata_map["nnfast.columns"]) == ["a", "b"]
    assert_runs(run, model, {"input": x[:, [0, 2]]}, named)


def test_columns_without_names_and_those_that_have_names_of_outputs(tmp_path):
    columns = np.array([TABLE["size"], TABLE["street"]], dtype=object).T
    run = session(model_for(columns, "text", 1), tmp_path)
    assert [given.name for given in run.get_inputs()] == ["0", "1"]
    named = {"label": TABLE["street"], "probabilities": X[:, 0], "preparation.Cast": X[:, 1]}
    model = model_for(named, "text", 2)
    run = session(model, tmp_path)
    outputs = run.run(
        None, {name: np.array(values, object if name == "label" else float)[:, None] for name, values in named.items()}
    )
    np.testing.assert_array_equal(outputs[0], model.predict(named))


@pytest.mark.parametrize("categories", [["", "b"], ["", "b", None]])
def test_empty_text_is_a_missing_value_unless_it_is_a_category(categories, tmp_path):
    table = {"a": [categories[i % len(categories)] for i in range(N)], "b": X[:, 0]}
    model = model_for(table, "text", 1)
    run = session(model, tmp_path)
    _, found = run.run(None, {"a": np.array([[""]], object), "b": np.array([[0.5]])})
    np.testing.assert_allclose(found, model.predict_proba({"a": [""], "b": [0.5]}), atol=2e-6)


def test_names_that_others_would_have(tmp_path):
    """Inputs keep their names, whatever those of arrays, nodes and outputs would be."""
    onnx = pytest.importorskip("onnx")
    names = ("float64 0.0", "float64 1000000000.0", "float32 0.25", "preparation.LabelEncoder", "prediction", "center")
    for name in names:
        model = model_for({"k": TABLE["street"], name: X[:, 0], "z": X[:, 1]}, "a number", 1)
        run = session(model, tmp_path)
        onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
        assert [given.name for given in run.get_inputs()] == ["k", name, "z"]
        assert run.get_outputs()[0].name == ("prediction_2" if name == "prediction" else "prediction")
    model = model_for({"0": TABLE["street"], "": X[:, 0], "1": X[:, 1]}, "a number", 1)
    assert [given.name for given in session(model, tmp_path).get_inputs()] == ["0", "column 1", "1"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3, 2.5, 7], {"3": 3, "3.0": 3, "2.5": 2.5, "7.0": 7}),
        ([True, 5, "x"], {"True": True, "1": True, "1.0": True, "5": 5, "x": "x"}),
        ([1, 5, "x"], {"True": 1, "1": 1}),
        ([0, 5, "False"], {"False": "False", "0": 0}),
        (["3", 3, None], {"3": "3", "3.0": 3, "": None}),
    ],
)
def test_the_text_of_categories_that_are_none(values, text, tmp_path):
    column = np.array([values[i % len(values)] for i in range(N)], object)
    model = fit_table({"a": column, "b": X[:, 0]}, NUMBER, kinds={"a": "category"}, recipe=QUICK, seed=0, verbose=0)
    run = session(model, tmp_path)
    for given, value in text.items():
        (found,) = run.run(None, {"a": np.array([[given]], object), "b": np.array([[0.5]])})
        one = np.empty(1, object)
        one[0] = value
        np.testing.assert_allclose(found, model.predict({"a": one, "b": [0.5]}), rtol=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([b"a", b"b"], "a model with classes of dtype"),
        ([1, 2.5], "classes must be all text, all bools, all integers of 64 bits or all floats to be written as ONNX"),
        ([1, 2**64], "classes must be all text, all bools, all integers of 64 bits or all floats"),
        (["a", "\ud800"], "text must be valid in UTF-8, got "),
    ],
)
def test_classes_that_onnx_cannot_hold(labels, message, tmp_path):
    y = np.empty(N, object)
    y[:] = [labels[i % 2] for i in range(N)]
    model = fit_table(X, y, task="classification", recipe=QUICK, seed=0, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [[-1, 2**63 - 1], [1, 2**63, 2**64 - 1], ["a", "a\0", "b"], [0.5, -1e300]])
def test_labels_as_they_are(labels, tmp_path):
    y = np.empty(N, object)
    y[:] = [labels[i % len(labels)] for i in range(N)]
    model = fit_table(X, y, task="classification", recipe=QUICK, seed=0, verbose=0)
    found = session(model, tmp_path).run(None, {"input": X})[0].tolist()
    if "a\0" not in labels:  # which the runtime cuts when it returns text
        assert found == model.predict(X).tolist()
    assert isinstance(labels[0], float | int) or b"a\0" in (tmp_path / "model.onnx").read_bytes()


@pytest.mark.parametrize("size", [1e-60, 1e-46, 1e60])
def test_targets_of_any_size(size, tmp_path):
    """ONNX Runtime leaves out the addition of a number that is 0 in single precision."""
    model = fit_table(X, (5 + NUMBER) * size, recipe=QUICK, seed=0, verbose=0)
    (found,) = session(model, tmp_path).run(None, {"input": X})
    np.testing.assert_allclose(found / size, model.predict(X) / size, atol=2e-5)


def test_times_that_hardly_vary(tmp_path):
    """Sines and cosines are rounded as in training, which shows where they are scaled by their tiny width."""
    parts = RANDOM.integers(0, 1000, N)
    at = np.datetime64("2020-01-01T12:00:00.000") + parts.astype("timedelta64[ms]")
    table = {"at": at, "b": TABLE["street"]}
    recipe = QUICK._replace(epochs=30)
    model = fit_table(table, parts / 500, recipe=recipe, seed=0, verbose=0)
    given = (at - np.datetime64("1970-01-01", "ms")).astype(float) / 1000
    (found,) = session(model, tmp_path).run(None, {"at": given[:, None], "b": np.array(table["b"], object)[:, None]})
    np.testing.assert_allclose(found, model.predict(table), atol=1e-5)


def test_the_graph_is_valid(tmp_path):
    onnx = pytest.importorskip("onnx")
    for target, n_members in (("quantiles", 2), ("bools", 1)):
        model_for(TABLE, target, n_members).to_onnx(tmp_path / "model.onnx")
        onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)


def test_what_reads_networks_says_what_the_file_is(tmp_path):
    model_for(TABLE, "text", 1).to_onnx(tmp_path / "model.onnx")
    with pytest.raises(nf.LoadError, match="it is a model for tables, with its preparation: nnfast.tables.load reads"):
        nf.from_onnx(tmp_path / "model.onnx")


# ---- dates

OPERATORS = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Floor": np.floor, "Sin": np.sin,
    "Round": np.rint,
}  # fmt: skip


def value_of(formula, x):
    if isinstance(formula, tuple):
        operator, *arguments = formula
        return OPERATORS[operator](*(value_of(argument, x) for argument in arguments))
    return x if formula == "x" else formula


def all_kinds_of_dates():
    """Each day of 800 years about 1970, and times of days from the year 1 to 9999."""
    days = np.datetime64("1600-01-01") + np.arange(800 * 365)
    times = np.datetime64("0001-01-01T00:00:00") + RANDOM.integers(0, 9998 * 31556952, 50_000).astype("timedelta64[s]")
    return np.concatenate([days.astype("datetime64[s]"), times])


@pytest.mark.parametrize("part", PARTS)
def test_the_formula_of_each_part_of_a_date(part):
    dates = all_kinds_of_dates()
    (expected,) = parts_of(dates, [part])
    actual = value_of(part_formula(part), (dates - EPOCH).astype(float))
    if " " in part or part in ("days", "hour"):
        np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=1e-9)
    else:
        np.testing.assert_array_equal(actual, expected)


@needs_compiler
def test_each_part_of_a_date_in_c(tmp_path):
    own = "double f(double x, int part)"
    (tmp_path / "dates.c").write_text(f"#include <math.h>\n{own};\n{DATES}\n{own} {{ return part_of(x, part); }}\n")
    subprocess.run(
        [COMPILERS[0], *STRICT, "-O2", "-shared", "-fPIC", "dates.c", "-o", "dates.so", "-lm"], cwd=tmp_path, check=True
    )
    function = ctypes.CDLL(str(tmp_path / "dates.so")).f
    function.argtypes, function.restype = [ctypes.c_double, ctypes.c_int], ctypes.c_double
    dates = all_kinds_of_dates()[::53]
    since = (dates - EPOCH).astype(float)
    for part, expected in zip(PARTS, parts_of(dates, PARTS), strict=True):
        actual = [function(x, PART[part]) for x in since.tolist()]
        np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=1e-9)
    assert function(12.5, PART["value"]) == 12.5


# ---- C


def compiled(model, folder, *flags, **options):
    """Return the function of a model in C for rows of numbers, and the one for categories if there is one."""
    written = model.to_c(folder / "model.c", **options)
    built = library([written], folder, *flags)
    predict = built.model_predict
    pointer = ctypes.POINTER(ctypes.c_double)
    predict.argtypes, predict.restype = [pointer, pointer], None

    def outputs(x):
        x = np.ascontiguousarray(x, float)
        y = np.full((len(x), model.target.units), np.nan)
        for row, out in zip(x, y, strict=True):
            predict(row.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        return y

    code = getattr(built, "model_code", None)
    if code is not None:
        code.argtypes, code.restype = [ctypes.c_int, ctypes.c_char_p], ctypes.c_double
    return outputs, code, written


def rows_for(code, x):
    """Return the rows of a mixed table as C takes them."""
    columns = []
    for place, (name, how) in enumerate(HOW.items()):
        values = how(x[name])
        columns.append([code(place, text.encode()) if text else np.nan for text in values] if how is texts else values)
    return np.array(columns, float).T


def assert_same(actual, model, x, tolerance=2e-6):
    expected = model.response(model.prepared(x))
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


@needs_compiler
@pytest.mark.parametrize(("n_members", "flags"), [(1, ("-O3", "-march=native")), (3, ("-O1",))])
@pytest.mark.parametrize("target", ["text", "a number", "quantiles"])
def test_c_computes_what_a_model_of_a_mixed_table_predicts(target, n_members, flags, tmp_path):
    model = model_for(TABLE, target, n_members)
    outputs, code, _ = compiled(model, tmp_path, *flags)
    for x in (TABLE, UNSEEN):
        assert_same(outputs(rows_for(code, x)), model, x)
    assert code(1, "grün??/".encode()) == 1
    assert [code(place, b"red") for place in (0, 1, 2, 99)] == [-1, 2, -1, -1]


@needs_compiler
@pytest.mark.parametrize("target", ["text", "quantiles"])
def test_c_without_a_linear_model(target, tmp_path):
    model = model_for(X, target, 2, QUICK._replace(linear=False))
    outputs, _, _ = compiled(model, tmp_path, "-O2")
    assert_same(outputs(X), model, X)


@needs_compiler
def test_numbers_in_c_and_the_sizes_that_it_reports(tmp_path):
    x = X.copy()
    x[::5, 2] = np.nan
    x = np.insert(x, 1, 3.0, axis=1)
    model = model_for(x, "a number", 2)
    for dtype, item in (("float32", 4), ("float64", 8)):
        folder = tmp_path / dtype
        folder.mkdir()
        outputs, code, written = compiled(model, folder, "-O2", dtype=dtype)
        assert code is None
        assert_same(outputs(x), model, x)
        text = (folder / "model.h").read_text()
        assert "#define MODEL_INPUTS 5" in text
        assert f"its arrays take {written.stack_bytes} bytes of the stack" in text
        parameters = sum(member.net.flat_params.size for member in model.members)
        assert written.constant_bytes >= item * parameters
        assert written.difference is None


@needs_compiler
def test_int8_is_calibrated_by_rows_of_the_table(tmp_path):
    model = model_for(TABLE, "text", 2)
    outputs, code, written = compiled(model, tmp_path, "-O2", dtype="int8", calibration=TABLE)
    actual = outputs(rows_for(code, TABLE))
    assert np.abs(actual - model.predict_proba(TABLE)).max() <= written.difference.largest + 1e-6
    assert 0 < written.difference.mean < written.difference.largest < 0.05
    assert 0.9 < written.difference.agreement <= 1
    floats32 = model.to_c(tmp_path / "other.c")
    assert written.constant_bytes < floats32.constant_bytes


def test_comments_hold_no_name_that_ends_them(tmp_path):
    model = model_for({"a*/b\n": X[:, 0], "line\\": X[:, 1], "w" * 90: X[:, 2]}, "text", 1)
    model.to_c(tmp_path / "model.c")
    text = (tmp_path / "model.h").read_text()
    assert " * x[0] ax/b : a number\n" in text
    assert " * x[1] line|: a number\n" in text
    assert f" * x[2] {'w' * 60}...: a number\n" in text
    assert " * y[0] the probability of 'no'\n * y[1] the probability of 'perhaps'\n" in text


@needs_compiler
@pytest.mark.parametrize("name", ["*\\ int evil; /*", "\\*", "*\\/", "/\\*", "**/", "//*", "??/", "a\\"])
def test_no_name_ends_a_comment(name, tmp_path):
    y = np.array([name, "other"])[(CODES > 0).astype(int)]
    model = fit_table({name: X[:, 0], "k": TABLE["street"]}, y, recipe=QUICK, seed=0, verbose=0)
    written = model.to_c(tmp_path / "model.c")
    library([written], tmp_path, "-Wshadow", "-Wcomment")
    header = (tmp_path / "model.h").read_text()
    assert header.count("*/") == header.count("/*") == 3


def test_the_size_of_constants_includes_names(tmp_path):
    few, many = (model_for({"a": [f"{i % n}".zfill(500) for i in range(N)], "b": X[:, 0]}, "text", 1) for n in (2, 30))
    sizes = [model.to_c(tmp_path / "model.c").constant_bytes for model in (few, many)]
    assert sizes[1] - sizes[0] > 28 * 500


def test_what_c_refuses(tmp_path):
    model = model_for({"a": ["b\0c" if i % 2 else "d" for i in range(N)]}, "text", 1)
    with pytest.raises(ValueError, match="^a category with a zero byte cannot be written as C: 'b\\\\x00c'$"):
        model.to_c(tmp_path / "model.c")
    assert not list(tmp_path.iterdir())
    model = model_for(X, "text", 1)
    for options, message in (
        ({"dtype": "int8"}, "dtype='int8' needs calibration=x"),
        ({"calibration": X}, "calibration is only for dtype='int8', got dtype 'float32'"),
        ({"dtype": "int8", "calibration": X[:, :2]}, "^calibration: X must have 4 columns"),
        ({"prefix": "2x"}, "prefix must be a name in C"),
        ({"dtype": "float16"}, "dtype must be one of 'float32'"),
    ):
        with pytest.raises(ValueError, match=message):
            model.to_c(tmp_path / "model.c", **options)
    assert not list(tmp_path.iterdir())
