"""The command line for tables: training with its report, prediction, description, export, and each error."""

from __future__ import annotations

import csv
import gzip
import re
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

import nnfast
import nnfast.tables
from nnfast import _cli_frames, _cli_models, _cli_scores, _cli_tables
from nnfast._cli_files import UsageError
from nnfast.cli import main
from nnfast.tables.targets import Classes, Numbers
from nnfast.tables.training import Best

TOWNS = {"Basel": 200, "Bern": 100, "Chur": 0}
COLUMNS = ["id", "size", "town", "rooms", "built", "country", "garden", "price"]
COLUMN_LIST = ", ".join(map(repr, COLUMNS))


def flats(n=160):
    """Rows of a mixed table: an identifier, numbers, categories, missing values, dates, a constant, and a target."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(n):
        size, town = round(random.uniform(20, 200), 1), random.choice(list(TOWNS))
        rooms = int(random.integers(1, 7)) if i % 9 else ""
        built = f"{random.integers(1950, 2020)}-{random.integers(1, 13):02}-07"
        price = round(3 * size + TOWNS[town] + random.normal(0, 10), 1)
        rows.append([1000 + i, size, town if i % 20 else "", rooms, built, "CH", size > 100, price])
    return rows


def write_table(path, rows, names=COLUMNS):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


needs_pandas = pytest.mark.usefixtures("pandas")


@pytest.fixture(scope="module")
def pandas():
    return pytest.importorskip("pandas", reason="tables in files need the extra `tables`")


@pytest.fixture
def table():
    write_table("flats.csv", flats())


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, pandas):
    """A model that the command line trained on a mixed table."""
    folder = tmp_path_factory.mktemp("model")
    write_table(folder / "flats.csv", flats())
    args = ["--target", "price", "--members", "1", "--quiet", "--save", str(folder / "flats.npz")]
    assert main(["train", str(folder / "flats.csv"), *args]) == 0
    return str(folder / "flats.npz")


@pytest.fixture
def untrainable(monkeypatch):
    """Make training fail: errors must be found before it begins."""

    def fit(*args, **kwargs):
        raise AssertionError("the training has begun")

    monkeypatch.setattr(_cli_tables, "fit_table", fit)


def run(command):
    """Run a command and return its exit code."""
    return main(command.split())


def refused(capsys, *args):
    """Run a command that must be a usage error, and return its message."""
    capsys.readouterr()
    try:
        code = main(list(args))
    except SystemExit as error:  # raised by argparse
        code = error.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    return printed.err.rstrip("\n").split("\n")[-1]


# ---- from start to end


@needs_pandas
def test_a_whole_run_on_a_mixed_table(table, capsys):
    pytest.importorskip("matplotlib")
    rows = flats()
    rows += [rows[3], rows[3]]
    rows[7][-1] = ""
    write_table("flats.csv", rows)
    assert run("train flats.csv --target price --save m.npz --plot r.png --members 2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flats.csv: 162 rows, 7 columns besides the target"
    assert lines[1].startswith("target price: numbers from ")
    assert lines[2:4] == [
        "1 row without a target: left out",
        "2 repeated rows: equal rows are never both trained on and tested with",
    ]
    trained, held = map(
        int, re.match(r"(\d+) rows to train on, (\d+) held back for the test; seed 0", lines[4]).groups()
    )
    assert trained + held == 161
    assert 0.15 < held / 161 < 0.25
    model = nnfast.tables.load("m.npz")
    assert model.preparation.report() in "\n".join(lines)
    assert [column.kind for column in model.preparation.columns][1:] == [
        "number", "category", "number", "date", "constant", "category",
    ]  # fmt: skip
    assert model.target_name == "price"
    assert f"{held} test rows" in "\n".join(lines)
    rmse, trivial = re.search(r"^RMSE +([\d.]+) ± [\d.]+ +([\d.]+)$", "\n".join(lines), re.MULTILINE).groups()
    assert float(rmse) < float(trivial) / 3
    assert lines[-2:] == ["model saved as m.npz", "plot saved as r.png"]
    assert Path("r.png").read_bytes().startswith(b"\x89PNG")
    at = next(i for i, line in enumerate(lines) if line.startswith("column") and line.endswith("importance"))
    assert lines[at + 1].startswith("size ")

    assert main(["info", "m.npz"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"m.npz: table model, {Path('m.npz').stat().st_size:,} bytes\ntarget price: a number from "
    )
    assert model.preparation.report() in printed
    assert "2 networks, each:" in printed
    assert "Dense(256)" in printed

    write_table("new.csv", [row[:-1] for row in rows], COLUMNS[:-1])
    assert run("predict m.npz new.csv --output p.csv") == 0
    assert capsys.readouterr().err == ""
    (name,), *predicted = read_rows("p.csv")
    assert name == "prediction"
    frame = _cli_frames.read_frame("new.csv")
    np.testing.assert_array_equal(np.array(predicted, float)[:, 0], model.predict(frame))


@needs_pandas
def test_classes_have_probabilities_and_a_matrix(table, capsys):
    assert run("train flats.csv --target town --save m.npz --seed 3 --members 1") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^target town: 3 classes: Basel \(\d+\), Bern \(\d+\), Chur \(\d+\)$", printed, re.MULTILINE)
    n = int(re.search(r"^(\d+) test rows +model +most frequent class$", printed, re.MULTILINE)[1])
    matrix = np.array(re.findall(r"^(?:Basel|Bern|Chur) +(\d+) +(\d+) +(\d+)$", printed, re.MULTILINE), int)
    assert matrix.sum() == n
    accuracy = float(re.search(r"^accuracy +([\d.]+) ±", printed, re.MULTILINE)[1])
    assert accuracy == pytest.approx(np.trace(matrix) / n, abs=1e-4)
    assert "ROC AUC" not in printed  # which is for two classes
    assert "8 rows without a target: left out" in printed

    assert run("predict m.npz flats.csv") == 0
    out, err = capsys.readouterr()
    header, *rows = csv.reader(out.splitlines())
    assert header == ["prediction", "probability_Basel", "probability_Bern", "probability_Chur"]
    assert len(rows) == 160
    probabilities = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [row[0] for row in rows] == [["Basel", "Bern", "Chur"][i] for i in probabilities.argmax(axis=1)]
    towns = [row[2] for row in flats()]
    share = np.mean([row[0] == town for row, town in zip(rows, towns, strict=True) if town])
    assert float(re.search(r"^accuracy +([\d.]+) ±", err, re.MULTILINE)[1]) == pytest.approx(share, abs=1e-4)
    assert "flats.csv: 8 rows without a target that the model knows: left out of the scores" in err


@needs_pandas
def test_two_classes_have_an_area_under_the_curve(table, capsys):
    assert run("train flats.csv --target garden --quiet --members 1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == [lines[0].split("  ")[0], "accuracy", "log loss", "ROC AUC"]
    assert lines[3].split()[-1] == "0.5000"
    assert float(lines[3].split()[2]) > 0.95
    assert not any(line.startswith("column") for line in lines)  # because of --quiet


@needs_pandas
def test_the_seed_fixes_the_model_and_threads_do_not_matter(table, capsys):
    for name, more in (("a", "--threads 1"), ("b", "--threads 2"), ("c", "--seed 1")):
        command = f"train flats.csv --target price --quiet --members 2 --save {name}.npz {more}"
        assert run(command) == 0
        assert run(f"predict {name}.npz flats.csv --output {name}.csv") == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes() != Path("c.csv").read_bytes()


@needs_pandas
def test_without_a_test_the_rows_held_back_in_training_are_scored(table, capsys):
    assert run("train flats.csv --target price --test-fraction 0 --members 2") == 0
    printed = capsys.readouterr().out
    assert "160 rows to train on, none held back for a test" in printed
    assert re.search(
        r"^rows held back in training +score\nroot mean squared error +[\d.]+ ± [\d.]+$", printed, re.MULTILINE
    )
    assert "test rows" not in printed


@needs_pandas
def test_options_reach_the_training(table, monkeypatch, capsys):
    seen = {}

    def fit(x, y, **options):
        seen.update(options, rows=len(x))
        raise ValueError("enough")

    monkeypatch.setattr(_cli_tables, "fit_table", fit)
    more = "--members 3 --kinds rooms=category size=number --max-seconds 2.5 --seed 7 --test-fraction 0.5 --quiet"
    assert refused(capsys, *f"train flats.csv --target price --task regress {more}".split()).endswith(
        "flats.csv: enough"
    )
    assert seen == {
        "task": "regression", "n_members": 3, "kinds": {"rooms": "category", "size": "number"}, "max_seconds": 2.5,
        "seed": 7, "verbose": 0, "rows": 80,
    }  # fmt: skip


@needs_pandas
def test_a_target_of_integers_or_whole_numbers_is_doubtful(table, capsys, monkeypatch):
    def fit(*args, **options):
        raise ValueError("enough")

    monkeypatch.setattr(_cli_tables, "fit_table", fit)
    write_table("t.csv", [[i, i % 5, f"{i % 5}.0", i % 2] for i in range(30)], ["x", "whole", "point", "two"])
    for args, advice in (
        ("whole", "5 classes: 0 (6), 1 (6), 2 (6), 3 (6), 4 (6); if they are amounts, use --task regress"),
        ("whole --task classify", "5 classes: 0 (6), 1 (6), 2 (6), 3 (6), 4 (6)"),
        ("point", "numbers from 0 to 4.000, mean 2.000; if they are classes, use --task classify"),
        ("point --task regress", "numbers from 0 to 4.000, mean 2.000"),
        ("two", "2 classes: 0 (15), 1 (15)"),
    ):
        assert run(f"train t.csv --target {args}") == 2
        assert capsys.readouterr().out.splitlines()[1] == f"target {args.split()[0]}: {advice}"


@needs_pandas
def test_kinds_are_what_was_said(table, capsys):
    assert run("train flats.csv --target price --members 1 --kinds rooms=category size=drop") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^rooms +category .* kinds says so$", printed, re.MULTILINE)
    assert re.search(r"^size +drop .* left out +kinds says so$", printed, re.MULTILINE)


# ---- the target, and the rows to test with


@needs_pandas
@pytest.mark.parametrize(
    ("values", "expected", "kind"),
    [
        (["3", "1", "2"], [3, 1, 2], "i"),
        (["3", "", "2"], [3, 2], "i"),  # pandas makes floats of them
        (["3", "?", "2"], [3, 2], "i"),
        (["0.5", "n/a", "2"], [0.5, 2], "f"),
        (["a", "", "b"], ["a", "b"], "U"),
        (["a", "1", "b"], ["a", "1", "b"], "U"),
        (["True", "", "False"], [True, False], "b"),
        (["1.0", "2.0", "3.0"], [1, 2, 3], "f"),
        (["?", "?", "-"], ["?", "?", "-"], "U"),
    ],
)
def test_targets_in_a_column(values, expected, kind):
    write_table("t.csv", [[i, value] for i, value in enumerate(values)], ["x", "y"])
    targets, known = _cli_frames.targets_in(_cli_frames.read_frame("t.csv"), "y")
    assert targets.tolist() == expected
    assert targets.dtype.kind == kind
    assert known.sum() == len(expected)


def options(**more):
    return Namespace(**{"test_fraction": 0.25, "seed": 0, "data": "t.csv"} | more)


@needs_pandas
def test_each_class_has_its_share_of_the_test_and_is_trained_on():
    classes = np.array([0] * 400 + [1] * 40 + [2] * 8 + [3])
    test = _cli_tables._held_back(np.arange(449), classes, options())
    assert np.bincount(classes[test], minlength=4).tolist() == pytest.approx([100, 10, 2, 0], abs=1)
    for fraction in (0.1, 0.6, 0.95):
        test = _cli_tables._held_back(np.arange(449), classes, options(test_fraction=fraction))
        assert set(classes[~test]) == {0, 1, 2, 3}
        assert test.sum() == pytest.approx(449 * fraction, abs=5)
    other = _cli_tables._held_back(np.arange(449), classes, options(test_fraction=0.95, seed=1))
    assert (other != test).any()


@needs_pandas
def test_equal_rows_stay_together():
    same = np.random.default_rng(0).integers(0, 60, 300)
    test = _cli_tables._held_back(same, None, options())
    assert 0 < test.sum() < 150
    assert not set(same[test]) & set(same[~test])


# ---- scores


def test_scores_of_classes():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    truth = np.array([0, 1, 0, 1])
    scores = _cli_scores.scores_of(Classes(np.array(["a", "b"])), p, truth, np.array([0.75, 0.25]))
    values = {score.name: score.value for score in scores}
    assert values["accuracy"] == 0.5
    assert values["log loss"] == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.3]).mean())
    assert values["ROC AUC"] == 0.5  # of the pairs (0.6, 0.1), (0.6, 0.8), (0.3, 0.1), (0.3, 0.8)
    trivial = {score.name: score.trivial for score in scores}
    assert trivial == {"accuracy": 0.5, "log loss": pytest.approx(-np.log([0.75, 0.25]).mean()), "ROC AUC": 0.5}


def test_the_spread_is_the_standard_error():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 400)
    right = random.random(400) < 0.8
    p = np.where((truth == 1) == right, 0.9, 0.1)
    accuracy, *_ = _cli_scores.scores_of(Classes(np.array([0, 1])), np.stack([1 - p, p], axis=1), truth, None)
    assert accuracy.value == right.mean()
    assert accuracy.spread == pytest.approx(np.sqrt(0.8 * 0.2 / 400), rel=0.2)
    assert accuracy.trivial is None


def test_scores_of_numbers():
    y, predicted = np.array([1.0, 2.0, 4.0]), np.array([[1.0], [3.0], [2.0]])
    scores = _cli_scores.scores_of(Numbers(0.0, 1.0, 0.0, 9.0), predicted, y, np.array([2.0]))
    rmse, mae, r2 = scores
    assert (rmse.value, mae.value) == (pytest.approx(np.sqrt(5 / 3)), 1.0)
    assert r2.value == pytest.approx(1 - 5 / ((y - y.mean()) ** 2).sum())
    assert (rmse.trivial, mae.trivial) == (pytest.approx(np.sqrt(5 / 3)), 1.0)


def test_numbers_have_a_few_digits():
    written = [_cli_scores.number(x) for x in (0, 1, 0.98765, 23456.7, 1.5e12, 1e-9, -0.00123456, np.nan)]
    assert written == ["0", "1.000", "0.9877", "23,457", "1.5e+12", "1e-09", "-0.001235", "nan"]


def test_a_matrix_of_many_or_long_classes_is_not_printed():
    few = _cli_scores.matrix_lines(Classes(np.array(["a", "bb"])), np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert few == ["true \\ predicted  a  bb", "a                 1   1", "bb                0   1"]
    for labels in (np.arange(13), np.array(["a", "b" * 17])):
        assert _cli_scores.matrix_lines(Classes(labels), np.array([0]), np.array([0])) == []


# ---- files


@needs_pandas
def test_each_kind_of_file_holds_the_same_table(table, pandas, capsys):
    frame = pandas.read_csv("flats.csv")
    text = Path("flats.csv").read_text()
    Path("a.tsv").write_text(text.replace(",", "\t"))
    Path("b.CSV").write_text(text, encoding="utf-8-sig")
    for name, content in (("c.csv.gz", text), ("d.tsv.gz", text.replace(",", "\t"))):
        Path(name).write_bytes(gzip.compress(content.encode()))
    names = ["a.tsv", "b.CSV", "c.csv.gz", "d.tsv.gz"]
    Path("e.csv").write_text(text.replace(",", ";").replace(".", ","))
    Path("f.csv").write_text(text.replace(",", ";"))
    for name in (*names, "e.csv", "f.csv"):
        assert _cli_frames.read_frame(name).equals(frame), name
    assert capsys.readouterr().err == "".join(
        f"nnfast: warning: {name}: columns are taken to be separated by semicolons, "
        f"and the decimal mark to be {mark!r}\n"
        for name, mark in (("e.csv", ","), ("f.csv", "."))
    )


@needs_pandas
def test_parquet_files_are_tables(table, pandas, capsys):
    pytest.importorskip("pyarrow", reason="Parquet files need PyArrow")
    frame = pandas.read_csv("flats.csv", parse_dates=["built"])
    frame["town"] = frame["town"].astype("category")
    frame.set_index("id").to_parquet("flats.parquet")
    assert _cli_frames.read_frame("flats.parquet").columns.tolist() == COLUMNS
    assert run("train flats.parquet --target price --members 1 --save m.npz") == 0
    assert re.search(r"^built +date +0 ", capsys.readouterr().out, re.MULTILINE)
    assert run("predict m.npz flats.parquet --output a.csv") == 0
    assert run("predict m.npz flats.csv --output b.csv") == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@needs_pandas
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"1,2\n3,4\n", "t.csv: its first line must hold the names of the columns, got '1,2'"),
        ("t.csv", b"a,b\n", "t.csv: there are no rows below the names of the columns"),
        ("t.csv", b"", "t.csv is not a table with a line of names above its rows, or is damaged: "),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "t.csv is not a table with a line of names above its rows, or is damaged: "),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "t.csv is not a table with a line of names above its rows, or is damaged: "),
        ("t.csv", "a,b\nä,2\n".encode("latin-1"), "t.csv is not text in UTF-8: save it again as CSV in UTF-8"),
        ("t.csv.gz", b"a,b\n1,2\n", "t.csv.gz is not a table with a line of names above its rows, or is damaged: "),
        ("t.parquet", b"a,b\n1,2\n", "t.parquet is not a Parquet file, or is damaged: "),
        ("t.csv", b"a,b\n,1\n,2\n", "t.csv: the target 'a' is missing in all rows"),
        ("t.csv", b"a\n1\n2\n", "t.csv has no column besides the target"),
        ("t.csv", b"a,b\n1,1\n1,2\n", "t.csv: y must have at least two classes, got 1 class: [1]"),
    ],
)
def test_files_that_are_no_tables(name, content, message, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="Parquet files need PyArrow")
    Path(name).write_bytes(content)
    told = refused_after_report(capsys, "train", name, "--target", "a", "--test-fraction", "0", "--quiet")
    assert told.startswith(f"nnfast train: error: {message}")


def refused_after_report(capsys, *args):
    capsys.readouterr()
    assert main(list(args)) == 2
    return capsys.readouterr().err.rstrip("\n").split("\n")[-1]


# ---- errors


@needs_pandas
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", f"a table needs --target COLUMN, the column to predict: its columns are {COLUMN_LIST}"),
        ("--target Price", f"--target: flats.csv has no column 'Price', did you mean 'price'? {{}} {COLUMN_LIST}"),
        ("--target zzz", f"--target: flats.csv has no column 'zzz': {{}} {COLUMN_LIST}"),
        ("--target price --layers 3", "--layers is for digits, mnist and .npz files, got 'flats.csv'"),
        ("--target price --batch-size 3", "--batch-size is for digits, mnist and .npz files, got 'flats.csv'"),
        ("--target price --validation 0", "--validation is for digits, mnist and .npz files, got 'flats.csv'"),
        ("--target price --task clasify", "argument --task: invalid choice: 'clasify'"),
        (
            "--target price --kinds size",
            "argument --kinds: must be COLUMN=KIND, got 'size': put DATA before the options",
        ),
        (
            "--target price --kinds size=text",
            "argument --kinds: must be COLUMN=KIND with number, category, date, drop, ",
        ),
        (
            "--target price --kinds price=number",
            "--kinds: 'price' is the target: --task says whether it holds classes ",
        ),
        ("--target price --test-fraction 1", "argument --test-fraction: must be a fraction: at least 0 and below 1"),
        (
            "--target price --test-fraction 0.001",
            "--test-fraction 0.001 of 160 row(s) leaves none to test with: for no ",
        ),
        ("--target price --max-seconds 0", "argument --max-seconds: must be a number above 0, got '0'"),
        ("--target price --members 0", "argument --members: must be at least 1, got 0"),
        ("--target town --task regress", "flats.csv: --task regress needs numbers, but 'town' holds text"),
        ("--target price --save m.safetensors", "--save: a table model is a .npz file, got 'm.safetensors'"),
        ("--target price --save flats.csv", "--save: flats.csv would overwrite flats.csv"),
        ("--target price --save no/m.npz", "--save: cannot write no/m.npz: there is no folder no"),
        ("--target price --plot r.txt", "--plot: r.txt must end in .png, .svg, .pdf, .jpg"),
    ],
)
def test_usage_errors_of_train(table, untrainable, capsys, args, message):
    told = refused(capsys, "train", "flats.csv", *args.split())
    assert re.sub(r"^nnfast train: error: ", "", told).startswith(message.format("its columns are"))
    assert Path("flats.csv").read_text().startswith("id,size")


@needs_pandas
def test_targets_that_cannot_be_predicted(pandas, untrainable, capsys):
    write_table("t.csv", [[i, f"name {i}"] for i in range(30)], ["x", "y"])
    told = refused(capsys, "train", "t.csv", "--target", "y")
    assert told == "nnfast train: error: t.csv: the target 'y' has another text in each row: there are no classes"
    pytest.importorskip("pyarrow", reason="Parquet files need PyArrow")
    frame = pandas.DataFrame({"x": range(30), "y": pandas.date_range("2020-01-01", periods=30)})
    frame["lists"] = [[i] for i in range(30)]
    frame.to_parquet("t.parquet")
    told = refused(capsys, "train", "t.parquet", "--target", "y")
    assert told == "nnfast train: error: t.parquet: the target 'y' holds dates: make numbers or classes of them"
    told = refused(capsys, "train", "t.parquet", "--target", "lists")
    assert told.startswith("nnfast train: error: t.parquet: ")


@needs_pandas
def test_kinds_of_columns_that_are_not_there(table, capsys):
    told = refused_after_report(capsys, "train", "flats.csv", "--target", "price", "--quiet", "--kinds", "sise=number")
    assert told == "nnfast train: error: --kinds: kinds has 'sise', which is not a column of X: did you mean 'size'?"


@pytest.mark.parametrize(
    "option", ["--target a", "--task classify", "--members 1", "--kinds a=drop", "--max-seconds 1"]
)
@pytest.mark.parametrize("data", ["digits", "x.npz"])
def test_options_of_tables_are_for_tables(untrainable, capsys, data, option):
    told = refused(capsys, "train", data, *option.split())
    name = option.split()[0]
    assert told == f"nnfast train: error: {name} is for tables (.csv, .csv.gz, .tsv, .tsv.gz, .parquet), got {data!r}"


def test_missing_pandas_is_named(table, monkeypatch, capsys):
    x = np.arange(40.0).reshape(20, 2)
    nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0).save("m.npz")
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = "flats.csv: pandas is needed for this: pip install 'nnfast[tables]'"
    assert refused(capsys, "train", "flats.csv", "--target", "price") == f"nnfast train: error: {message}"
    assert refused(capsys, "predict", "m.npz", "flats.csv") == f"nnfast predict: error: {message}"


@needs_pandas
def test_missing_pyarrow_is_named(monkeypatch, capsys):
    Path("t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = "t.parquet: pyarrow is needed for this: pip install 'nnfast[tables]'"
    assert refused(capsys, "train", "t.parquet", "--target", "price") == f"nnfast train: error: {message}"


@needs_pandas
def test_ctrl_c_leaves_an_older_file(table, monkeypatch, capsys):
    def fit(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli_tables, "fit_table", fit)
    Path("m.npz").write_bytes(b"older")
    assert run("train flats.csv --target price --save m.npz") == 130
    assert capsys.readouterr().err == "nnfast train: interrupted\n"
    assert Path("m.npz").read_bytes() == b"older"


@needs_pandas
def test_ctrl_c_keeps_what_was_learned(table, monkeypatch, capsys):
    look, looks = Best.look, []

    def interrupted(best, net):
        look(best, net)
        looks.append(net)
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Best, "look", interrupted)
    assert run("train flats.csv --target price --members 1 --save m.npz") == 130
    printed = capsys.readouterr()
    assert re.search(r"\nnnfast train: interrupted after \d epochs\n$", "\n" + printed.err)
    assert "trained for" in printed.out
    assert "model saved as m.npz" in printed.out
    assert nnfast.tables.load("m.npz").target_name == "price"


@needs_pandas
def test_a_model_is_saved_before_the_report_and_elsewhere_if_need_be(table, monkeypatch, capsys):
    save = nnfast.tables.TableModel.save

    def fail(model, path):
        if path == "m.npz":
            raise OSError(28, "No space left on device")
        save(model, path)

    monkeypatch.setattr(nnfast.tables.TableModel, "save", fail)
    assert run("train flats.csv --target price --save m.npz --members 1 --quiet") == 1
    printed = capsys.readouterr()
    place = re.search(r"model saved as (m-\w+\.npz)", printed.out)[1]
    assert f"it was written to {place} instead" in printed.err
    assert nnfast.tables.load(place).target_name == "price"


@needs_pandas
def test_a_training_that_diverged_replaces_nothing(table, monkeypatch, capsys):
    fit = nnfast.tables.fit_table

    def spoiled(*args, **options):
        model = fit(*args, **options)
        model.members[0].net.flat_params[0] = np.nan
        return model

    monkeypatch.setattr(_cli_tables, "fit_table", spoiled)
    assert run("train flats.csv --target price --save m.npz --members 1 --quiet") == 1
    assert "error: the training diverged, and m.npz is unchanged" in capsys.readouterr().err
    assert not Path("m.npz").exists()


# ---- predict


def test_arrays_need_neither_pandas_nor_scikit_learn(monkeypatch, capsys):
    x = np.random.default_rng(0).normal(size=(80, 3))
    x[::7, 1] = np.nan
    y = x[:, 0] > 0
    model = nnfast.tables.fit_table(x, y, seed=0, verbose=0)
    model.save("m.npz")
    for name in ("pandas", "pyarrow", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
    np.save("x.npy", x)
    np.savez("xy.npz", x=x, y=y)
    assert main(["predict", "m.npz", "x.npy"]) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    header, *rows = csv.reader(plain.out.splitlines())
    assert header == ["prediction", "probability_False", "probability_True"]
    assert [row[0] for row in rows] == [str(label) for label in model.predict(x)]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], float), model.predict_proba(x))
    assert main(["predict", "m.npz", "xy.npz"]) == 0
    scored = capsys.readouterr()
    assert scored.out == plain.out
    accuracy = float(re.search(r"^accuracy +([\d.]+) ±", scored.err, re.MULTILINE)[1])
    assert accuracy == pytest.approx((model.predict(x) == y).mean(), abs=1e-4)


def test_quantiles_are_columns(capsys):
    x = np.random.default_rng(0).normal(size=(60, 2))
    model = nnfast.tables.fit_table(x, x[:, 0], quantiles=[0.1, 0.5, 0.9], seed=0, verbose=0)
    model.save("m.npz")
    np.save("x.npy", x)
    assert main(["predict", "m.npz", "x.npy", "--output", "p.csv"]) == 0
    header, *rows = read_rows("p.csv")
    assert header == ["prediction", "quantile_0.1", "quantile_0.5", "quantile_0.9"]
    np.testing.assert_array_equal(np.array(rows, float)[:, 1:], model.predict_quantiles(x))
    np.testing.assert_array_equal(np.array(rows, float)[:, 0], model.predict(x))
    assert main(["info", "m.npz"]) == 0
    assert "target: quantiles 0.1, 0.5, 0.9 of a number from " in capsys.readouterr().out


@needs_pandas
def test_columns_may_be_in_any_order_and_those_left_out_may_be_absent(model_file, capsys):
    rows = flats(20)
    write_table("new.csv", rows)
    assert main(["predict", model_file, "new.csv", "--output", "a.csv"]) == 0
    assert re.search(r"^20 rows +model$", capsys.readouterr().err, re.MULTILINE)
    order = [4, 3, 2, 1, 6, 0]
    write_table("new.csv", [[*(row[i] for i in order), "?"] for row in rows], [*(COLUMNS[i] for i in order), "note"])
    assert main(["predict", model_file, "new.csv", "--output", "b.csv"]) == 0
    assert capsys.readouterr().err == ""  # without a target there are no scores
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@needs_pandas
def test_targets_that_are_no_numbers_have_no_score(model_file, capsys):
    write_table("new.csv", [[*row[:-1], "cheap"] for row in flats(5)])
    assert main(["predict", model_file, "new.csv", "--output", "a.csv"]) == 0
    assert capsys.readouterr().err == "new.csv: no score: its targets are not numbers\n"


@needs_pandas
def test_usage_errors_of_predict(model_file, capsys):
    write_table("new.csv", flats(5))
    write_table("few.csv", [row[3:] for row in flats(5)], COLUMNS[3:])
    write_table("text.csv", [[*row[:1], "wide", *row[2:]] for row in flats(5)])
    np.savez("x.npz", x=np.zeros((3, 2)))
    np.savez("y.npz", x=np.zeros((3, 7)), y=np.zeros(2))
    for args, message in (
        ("no.csv", "cannot read no.csv: No such file or directory"),
        ("few.csv", "few.csv: X must have the columns of fit, but lacks 'size', 'town'"),
        ("text.csv", "text.csv: column 'size' of X must hold numbers, but row 0 has 'wide'"),
        ("x.npz", "x.npz: X must have 7 columns, as in fit, got 2"),
        ("y.npz", "y.npz: y must have shape (3,), one target for each row of x, got (2,)"),
        ("x.txt", "FILE must end in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .npz or .npy, got 'x.txt'"),
        ("new.csv --outputs", "--outputs is for networks: the predictions of a table model come with their"),
        ("new.csv --output p.parquet", "--output: predictions are written as .csv, got 'p.parquet'"),
        ("new.csv --output new.csv", "--output: new.csv would overwrite new.csv"),
    ):
        told = refused(capsys, "predict", model_file, *args.split())
        assert told.startswith(f"nnfast predict: error: {message}"), told


def test_predictions_that_cannot_be_written(capsys, monkeypatch):
    x = np.arange(40.0).reshape(20, 2)
    nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0).save("m.npz")
    np.save("x.npy", x)

    def fail(path, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cli_models, "write_text", fail)
    assert main(["predict", "m.npz", "x.npy", "--output", "p.csv"]) == 1
    assert capsys.readouterr().err == "nnfast: error: cannot write p.csv: No space left on device\n"


# ---- model files


def test_each_loader_names_the_other():
    x = np.arange(40.0).reshape(20, 2)
    nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0).save("table.npz")
    nnfast.Sequential([nnfast.Dense(1)], input_shape=2).save("net.npz")
    with pytest.raises(nnfast.LoadError, match=r"it is a table model, which nnfast\.tables\.load reads"):
        nnfast.load("table.npz")
    with pytest.raises(nnfast.LoadError, match=r"nnfast\.load reads networks"):
        nnfast.tables.load("net.npz")


@pytest.mark.parametrize("name", [None, "price", "größe"])
def test_the_name_of_the_target_is_saved(name):
    x = np.arange(40.0).reshape(20, 2)
    model = nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0)
    model.target_name = name
    model.save("m.npz")
    assert nnfast.tables.load("m.npz").target_name == name


def test_a_name_of_another_type_is_damage():
    x = np.arange(40.0).reshape(20, 2)
    model = nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0)
    model.target_name = 3
    model.save("m.npz")
    with pytest.raises(nnfast.LoadError, match="its target_name must be a text or null"):
        nnfast.tables.load("m.npz")


def test_damaged_models_are_usage_errors(capsys):
    x = np.arange(40.0).reshape(20, 2)
    model = nnfast.tables.fit_table(x, x[:, 0], seed=0, verbose=0)
    model.target_name = 3
    model.save("m.npz")
    np.save("x.npy", x)
    for args in (["info", "m.npz"], ["predict", "m.npz", "x.npy"], ["export", "m.npz", "--to", "c"]):
        assert "its target_name must be a text or null" in refused(capsys, *args)


# ---- export


def numbers_model(path, classes, **how):
    random = np.random.default_rng(0)
    x = random.normal([0, 50, -3], [1, 20, 0.1], size=(120, 3))
    y = x[:, 0] + (x[:, 1] - 50) / 20
    table = {"a": x[:, 0], "b": x[:, 1], "constant": np.ones(120), "c": x[:, 2]}
    model = nnfast.tables.fit_table(table, y > 0 if classes else y, seed=0, verbose=0, **how)
    model.save(path)
    return model, x


@pytest.mark.parametrize("classes", [False, True])
def test_a_model_for_numbers_is_exported_with_its_scaling(classes, capsys):
    model, x = numbers_model("m.npz", classes)
    assert run("export m.npz --to safetensors --output net.safetensors") == 0
    told = capsys.readouterr().err
    assert told.startswith("inputs, in this order: a, b, c\n")
    assert ("limited to the range" in told) is not classes
    raw = model.prepared({"a": x[:, 0], "b": x[:, 1], "constant": x[:, 0], "c": x[:, 2]})
    expected = model.to_network().predict(raw)
    net = nnfast.load("net.safetensors")
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-3, atol=1e-4)


def test_whole_models_are_exported_as_onnx_and_c(capsys):
    towns = [["Bern", "Chur", None][i % 3] for i in range(120)]
    x = np.random.default_rng(0).normal(size=120)
    table = {"x": [None if i % 5 == 0 else float(v) for i, v in enumerate(x)], "town": towns}
    model = nnfast.tables.fit_table(table, x > 0, n_members=2, seed=0, verbose=0)
    model.save("m.npz")
    Path("rows.csv").write_text("x,town\n1.5,Bern\n,Chur\n-2,\n", encoding="utf-8")
    assert run("export m.npz --to c") == 0
    assert re.fullmatch(
        r"m_predict in m\.c and m\.h: [\d,]+ bytes of constants, [\d,]+ bytes of stack\n", capsys.readouterr().out
    )
    assert "x[1] town: a category, m_code(1, its text)" in Path("m.h").read_text(encoding="utf-8")
    pytest.importorskip("pandas", reason="tables are read by pandas")
    assert run("export m.npz --to c --output small.c --calibration rows.csv") == 0
    assert "int8: outputs differ by at most" in capsys.readouterr().out
    assert Path("small.c").stat().st_size < Path("m.c").stat().st_size
    Path("wrong.csv").write_text("x\n1\n", encoding="utf-8")
    told = refused(capsys, "export", "m.npz", "--to", "c", "--calibration", "wrong.csv")
    assert "X must have the columns of fit, but lacks 'town'" in told
    assert run("export m.npz --to onnx") == 0
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run by onnxruntime")
    inputs = {"x": np.array([[1.5], [np.nan]]), "town": np.array([["Chur"], [""]], object)}
    _, outputs = runtime.InferenceSession("m.onnx").run(None, inputs)
    expected = model.predict_proba({"x": [1.5, None], "town": ["Chur", None]})
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_numbers_that_float32_would_round_are_warned_of(capsys):
    x = np.random.default_rng(0).normal(size=(60, 2)) + np.array([1e7, 0])
    nnfast.tables.fit_table(x, x[:, 1], seed=0, verbose=0).save("m.npz")
    assert run("export m.npz --to safetensors --output net.safetensors") == 0
    assert "nnfast: warning: some numbers differ little for their size" in capsys.readouterr().err


def test_models_that_cannot_be_exported_say_why(capsys):
    numbers_model("two.npz", False, n_members=2)
    x = np.random.default_rng(0).normal(size=(60, 2))
    gaps = np.where(x[:, :1] > 1, np.nan, x)
    towns = [["Bern", "Chur"][i % 2] for i in range(60)]
    for name, table in (("gaps", {"a": gaps[:, 0], "b": x[:, 1]}), ("town", {"a": x[:, 0], "town": towns})):
        nnfast.tables.fit_table(table, x[:, 1], seed=0, verbose=0).save(f"{name}.npz")
    for name, message in (
        (
            "two",
            "the model has 2 networks, where one is needed: train with n_members=1 (on the command line, "
            "--members 1), or use --to onnx or --to c",
        ),
        ("gaps", "an exported network can take numbers only, without missing values, but the column 'a' has missing "),
        (
            "town",
            "an exported network can take numbers only, without missing values, but the column 'town' is a category: "
            "use --to onnx or --to c, which hold the preparation",
        ),
    ):
        for to in ("safetensors", "torch"):
            told = refused(capsys, "export", f"{name}.npz", "--to", to)
            assert told.startswith(f"nnfast export: error: {name}.npz: {message}"), told


def test_errors_carry_the_file_name():
    with pytest.raises(UsageError, match=r"^cannot read no\.npz: No such file"):
        _cli_models.read_model("no.npz")
