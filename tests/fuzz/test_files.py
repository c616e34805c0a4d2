"""Damaged and hostile data and arguments of the command line: each is read or refused, and takes little memory."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys

import numpy as np
import pytest
from mutations import CORPUS, archive_of, at_most, changed_members, members_of, mutated
from rounds import seeds

from nnfast.cli import main

X = np.random.default_rng(0).normal(size=(12, 3))

pytestmark = pytest.mark.filterwarnings("ignore")  # only the result of reading a file matters


# ---- the command line


def run(args: list[str]) -> tuple[int, str]:
    """Return the exit code and the standard error; any exception other than argparse's is a failure."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(args)
        except SystemExit as error:
            code = error.code
    assert code in (0, 1, 2), (args, code)
    assert code == 0 or "error: " in err.getvalue(), args
    assert "Traceback" not in err.getvalue()
    return code, err.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.npz").write_bytes(CORPUS["classes.npz"])
    np.savez("data.npz", x=X, y=np.arange(12) % 3)
    np.savez_compressed("packed.npz", x=np.zeros((12, 3)), y=X[:, :2])
    np.save("x.npy", np.asfortranarray(X))
    np.savetxt("x.csv", X, delimiter=",", header="a,b,c", comments="")
    return tmp_path


DATA = ["data.npz", "packed.npz", "x.npy", "x.csv"]
TEXTS = [
    b",",
    b";",
    b"\n",
    b"\r",
    b"\xff",
    b"\xef\xbb\xbf",
    b"nan",
    b"1e999",
    b"1" * 400,
    b"\0",
    b'"',
    b"#",
    "\u2028".encode(),
]


@pytest.mark.parametrize("seed", seeds(60))
def test_data_of_the_command_line(seed, folder):
    rng = random.Random(seed)
    name = rng.choice(DATA)
    content = (folder / name).read_bytes()
    kind = rng.random()
    if name == "x.csv" and kind < 0.7:
        data = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            i = rng.randrange(len(data))
            data[i : i + rng.choice([0, 1, 3])] = rng.choice(TEXTS) * rng.choice([1, 1, 1000])
        content = bytes(data)
    elif name.endswith("z") and kind < 0.5:
        content = archive_of(changed_members(members_of(content), rng), rng)
    else:
        content = mutated(content, rng, [(folder / other).read_bytes() for other in DATA])
    changed = f"changed{os.path.splitext(name)[1]}"
    (folder / changed).write_bytes(content)
    args = ["predict", "net.npz", changed]
    if name.endswith("z") and rng.random() < 0.5:
        args = ["train", changed, "--epochs", "1", "--layers", "2", "--quiet"]
    with at_most(1200 * len(content) + 20e6 if name == "packed.npz" else 100 * len(content) + 20e6):
        _, err = run(args)
    assert len(err) < 3000


VALUES = [
    "", " ", "0", "1", "-1", "1.5", "nan", "inf", "1e-320", "1e308", "9" * 30, "9" * 5000, "\N{SNOWMAN}", "x",
    "n" * 300, "no/x.npz", ".", "net.npz", "data.npz", "x.npy", "new.npz", "new.png", "new.svg", "\udcff.npz",
    "/dev/null", "--", "-", "relu", "adam", "0.5", "\0", "a\nb",
]  # fmt: skip
OPTIONS = {
    "train": ["--layers", "--activation", "--dropout", "--epochs", "--batch-size", "--optimizer", "--learning-rate",
              "--validation", "--seed", "--threads", "--data-home", "--plot", "--save", "--quiet", "--help", "--more"],
    "predict": ["--outputs", "--output", "--threads", "--quiet", "--help"],
    "info": ["--help", "--more"],
}  # fmt: skip


@pytest.mark.parametrize("seed", seeds(50))
def test_arguments_of_the_command_line(seed, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # nothing is downloaded
    monkeypatch.setenv("NNFAST_DATA_HOME", str(folder))
    rng = random.Random(seed)
    command = rng.choice(["train", "train", "train", "predict", "info"])
    first = {"train": ["digits", "data.npz", "mnist"], "predict": ["net.npz"], "info": ["net.npz"]}[command]
    args = [command, rng.choice([*first * 5, *VALUES])]
    if command == "predict":
        args.append(rng.choice([*DATA * 5, *VALUES]))
    for _ in range(rng.randrange(4)):
        args.append(rng.choice(OPTIONS[command]))
        args += [rng.choice(VALUES) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    if command == "train":  # the last option counts: nothing takes long
        args += ["--epochs", "1", "--batch-size", "1000"]
    run(args)
