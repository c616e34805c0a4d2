"""Damaged and hostile files: each is read or raises a documented error, and takes little memory.

Networks, IDX files, and the data and arguments of the command line.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import random
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from gradient_cases import LAYERS
from numpy_network import state
from rounds import seeds

import nnfast as nf
from nnfast import layers as layers_module
from nnfast.cli import main
from nnfast.datasets import read_idx

X = np.random.default_rng(0).normal(size=(12, 4))


@contextlib.contextmanager
def at_most(limit: float) -> Iterator[None]:
    """Fail if the peak memory of the block exceeds this many bytes."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken <= limit, f"{taken} bytes, more than {limit}"


@pytest.fixture(autouse=True)
def silent():
    """Warnings are not errors here: only the result of reading a file matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---- networks


def saved(net: nf.Sequential, folder) -> bytes:
    net.save(folder / "net.npz")
    return (folder / "net.npz").read_bytes()


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[bytes]:
    """Files of networks that together contain every feature."""
    folder = tmp_path_factory.mktemp("networks")
    classes = np.arange(12) % 3
    block = [nf.LayerNorm(), nf.Dense(4, nf.activations.LeakyReLU(0.3), l1=0.1), nf.Residual([nf.Dropout(0.2)])]
    first = [nf.BatchNorm(), nf.Residual(block), nf.GaussianNoise(0.1), nf.Dense(3, "softmax", use_bias=False)]
    second = [nf.Rescaling(2.0, 1.0), nf.Dense(6, "elu"), nf.Activation("tanh"), nf.Dense(4)]
    made = []
    for layers, y, loss, dtype, optimizer in (
        (first, classes, None, "float32", nf.Adam(amsgrad=True, average_decay=0.9)),
        (second, X[:, :2], nf.losses.Quantile([0.2, 0.7]), "float64", "sgd"),
        ([nf.Dense(2)], X[:, :2], nf.losses.Huber(2.0), "float32", "lbfgs"),
    ):
        net = nf.Sequential(layers, input_shape=4, loss=loss, dtype=dtype, seed=0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "L-BFGS did not converge", RuntimeWarning)
            length = {"epochs": 2} if optimizer == "lbfgs" else {"steps": 5, "batch_size": 5}  # ends within an epoch
            net.fit(X, y, **length, optimizer=optimizer, verbose=0)
        made.append(saved(net, folder))
    return made


def load_or_refuse(content: bytes, path) -> nf.Sequential | None:
    path.write_bytes(content)
    try:
        with at_most(16 * len(content) + 16e6):  # as SECURITY.md promises
            return nf.load(path)
    except (ValueError, OSError) as error:
        assert len(str(error)) < 1000
        return None


def check(content: bytes, path) -> None:
    """Check that the result is a working network."""
    net = load_or_refuse(content, path)
    if net is None:
        return
    assert net.input_shape is not None
    width = int(np.prod([float(size) for size in net.input_shape]))
    if width < 10_000:
        net.predict(np.zeros((2, *net.input_shape)))
        repr(net), net._summary()
    again = load_or_refuse(saved(net, path.parent), path)
    assert again is not None
    assert state(again)[:2] == state(net)[:2]


NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**20, 2**28, 2**32]


def mutated(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The bytes with a few changes of many kinds."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not data:
            break
        i, n = rng.randrange(len(data)), rng.choice([1, 2, 4, 8, 50, 500])
        kind = rng.randrange(9)
        if kind == 0:
            data[i] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[i : i + n] = rng.randbytes(n)
        elif kind == 2:
            data[i : i + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(NUMBERS) % 2**32)
        elif kind == 3:
            del data[i:]
        elif kind == 4:
            del data[i : i + n]
        elif kind == 5:
            data[i:i] = data[rng.randrange(len(data)) :][:n]
        elif kind == 6:
            other = rng.choice(others)
            data[i:] = other[rng.randrange(len(other)) :]
        elif kind == 7:
            data[i : i + n] = bytes(min(n, len(data) - i))
        else:  # one of the numbers in the list of members
            at = data.rfind(b"PK\x01\x02", 0, max(i, 4))
            if at >= 0:
                field = rng.choice([8, 10, 20, 24, 28, 30, 42])
                value = rng.choice([*NUMBERS, rng.randrange(len(data))]) % 2**32
                data[at + field : at + field + (2 if field in (8, 10, 28, 30) else 4)] = (
                    struct.pack("<H", value % 2**16) if field in (8, 10, 28, 30) else struct.pack("<I", value)
                )
    return bytes(data)


@pytest.mark.parametrize("seed", seeds(80))
def test_networks_of_changed_bytes(seed, networks, tmp_path):
    rng = random.Random(seed)
    check(mutated(rng.choice(networks), rng, networks), tmp_path / "some.npz")


HOSTILE = [
    None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), 2**28, 2**31 - 1, 2**31,
    2**63, 2**64, 10**400, 10**4000, "", "x", "dense", "residual", "relu", "float32", "O", "\0", "\N{SNOWMAN}",
    "x" * 5000, [], {}, [[]], [None], [0.5], [2**28], [1] * 70, ["leaky_relu", 0.1], ["softmax", 1],
    {"kind": "residual"},
    {"kind": "dense", "units": 2**28, "activation": "relu"}, {"name": "quantile", "quantiles": [0.5]},
    {"name": "quantile", "quantiles": [i / 20_001 for i in range(1, 20_001)]},
    *(make(4).config() for make in LAYERS.values()),
]  # fmt: skip


def places(node, found=None):
    """All positions in a description: the container, and the key or index."""
    found = [] if found is None else found
    for key in node if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], (dict, list)):
            places(node[key], found)
    return found


def changed_description(description, rng: random.Random):
    """The description with a few values replaced, removed, repeated, swapped, or put within each other."""
    description = copy.deepcopy(description)
    for _ in range(rng.choice([1, 1, 2, 4])):
        all_places = places(description)
        if not all_places:
            break
        node, key = rng.choice(all_places)
        kind = rng.randrange(10)
        if kind <= 4:
            node[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif kind == 5:
            del node[key]
        elif kind == 6:
            other, name = rng.choice(all_places)
            with contextlib.suppress(KeyError, IndexError):
                node[key] = copy.deepcopy(other[name])
        elif kind == 7 and isinstance(node, list):
            node[key:key] = [node[key]] * rng.choice([1, 100, 10_000])
            break  # inserting into each of them would be too much for the fuzzer itself
        elif kind == 8:
            for _ in range(rng.choice([1, 50, 150])):
                node[key] = {"kind": "residual", "layers": [node[key]]}
        elif isinstance(node, dict):
            node[rng.choice(["kind", "layers", "activation", "function", "units", "more", "l1"])] = node[key]
    return description


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: list[tuple[str, bytes]], rng: random.Random, *, whole: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            packed = not whole and rng.random() < 0.05
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
    return buffer.getvalue()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("seed", seeds(80))
def test_networks_of_changed_descriptions(seed, networks, tmp_path, monkeypatch):
    """And no more layers are created than allowed."""
    made: list[int] = []
    add_stage = layers_module.Compiler.add_stage

    def counted(self, *args, **options):
        made.append(0)
        return add_stage(self, *args, **options)

    rng = random.Random(seed)
    members = members_of(rng.choice(networks))
    description = json.loads(str(np.load(io.BytesIO(members["description.npy"]))))
    text = json.dumps(changed_description(description, rng))
    if rng.random() < 0.05:
        text = mutated(text.encode(), rng, [text.encode()]).decode("utf-8", "replace").replace("\0", "")
    members["description.npy"] = npy(np.array(text))
    content = archive_of([*members.items()], rng, whole=True)
    monkeypatch.setattr(layers_module.Compiler, "add_stage", counted)
    load_or_refuse(content, tmp_path / "some.npz")
    assert len(made) <= 2 * layers_module.MAX_LAYERS
    check(content, tmp_path / "some.npz")


HEADERS = [
    "{'descr': '<f4', 'fortran_order': %s, 'shape': %s, }", "{'descr': '%s', 'fortran_order': False, 'shape': %s}",
    "%s%s", "{'descr': [('a', '%s')], 'fortran_order': False, 'shape': %s}",
]  # fmt: skip
PARTS = [
    "True",
    "False",
    "(2**40,)",
    "(4, 4)",
    "(1099511627776,)",
    "(-1,)",
    "()",
    "'<f4'",
    "|O",
    "<U100000000",
    "V0",
    "(",
]


def changed_members(members: dict[str, bytes], rng: random.Random) -> list[tuple[str, bytes]]:
    """The members with one missing, duplicated, renamed, swapped, truncated, or with a false header."""
    listed = [*members.items()]
    i = rng.randrange(len(listed))
    name, content = listed[i]
    kind = rng.randrange(8)
    if kind == 0:
        del listed[i]
    elif kind == 1:
        listed.append((name, rng.choice(listed)[1]))
    elif kind == 2:
        listed[i] = (rng.choice(["x" * 60_000, "../" + name, name.upper(), "\N{SNOWMAN}.npy"]), content)
    elif kind == 3:
        listed[i] = (name, rng.choice(listed)[1])
    elif kind == 4:
        listed[i] = (name, content[: rng.randrange(len(content))])
    elif kind == 5:
        listed += [(f"{k}.npy", b"") for k in range(rng.choice([10, 1000]))]
    elif kind == 6:
        rng.shuffle(listed)
    else:
        text = (rng.choice(HEADERS) % (rng.choice(PARTS), rng.choice(PARTS))).encode() + b"\n"
        start = content[:6] + bytes(rng.choice([(1, 0), (2, 0), (3, 0), (9, 9)]))
        size = len(text).to_bytes(2 if start[6] == 1 else 4, "little")
        listed[i] = (name, start + size + text + content[128:])
    return listed


@pytest.mark.parametrize("seed", seeds(50))
def test_networks_of_changed_members(seed, networks, tmp_path):
    rng = random.Random(seed)
    check(archive_of(changed_members(members_of(rng.choice(networks)), rng), rng), tmp_path / "some.npz")


# ---- IDX files


@pytest.mark.parametrize("seed", seeds(60))
def test_idx_files(seed, tmp_path):
    rng = random.Random(seed)
    code, size = rng.choice([(0x08, 1), (0x09, 1), (0x0B, 2), (0x0C, 4), (0x0D, 4), (0x0E, 8)])
    shape = [rng.randrange(1, 6) for _ in range(rng.randrange(1, 4))]
    content = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    content += rng.randbytes(int(np.prod(shape)) * size)
    packed = rng.random() < 0.5
    if packed and rng.random() < 0.3:
        content += bytes(10**6)
    others = [content, b"\x1f\x8b", bytes(100)]
    if rng.random() < 0.8:
        content = mutated(content, rng, others)
    if packed:
        content = gzip.compress(content, 1)
        if rng.random() < 0.5:
            content = mutated(content, rng, others)
    path = tmp_path / "some-idx"
    path.write_bytes(content)
    with contextlib.suppress(ValueError, OSError), at_most((1200 if packed else 1.2) * len(content) + 2e6):
        array = read_idx(path)
        assert array.dtype.isnative
        assert array.flags.writeable


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
def folder(networks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.npz").write_bytes(networks[0])
    np.savez("data.npz", x=X, y=np.arange(12) % 3)
    np.savez_compressed("packed.npz", x=np.zeros((12, 4)), y=X[:, :2])
    np.save("x.npy", np.asfortranarray(X))
    np.savetxt("x.csv", X, delimiter=",", header="a,b,c,d", comments="")
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
