"""The bundled digits, MNIST from its original files, and the IDX format."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfast
from nnfast import datasets
from nnfast.datasets import _mnist, load_digits, load_mnist, read_idx

# --- The bundled digits


def test_digits_are_those_of_uci():
    """The arrays, written in the format of UCI's optdigits.tes, have the checksum of that file."""
    x, y = load_digits(normalize=False)
    rows = "".join(",".join(map(str, [*pixels, digit])) + "\n" for pixels, digit in zip(x, y, strict=True))
    assert hashlib.sha256(rows.encode()).hexdigest() == (
        "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    )


def test_digits_class_counts():
    """The counts that optdigits.names states for the test set."""
    _, y = load_digits()
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_default_form():
    x, y = load_digits()
    assert x.shape == (1797, 64) and x.dtype == np.float32 and x.flags.c_contiguous and x.flags.writeable
    assert y.shape == (1797,) and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    assert np.array_equal(x * 16, load_digits(normalize=False)[0])  # a power of two: exact


def test_digits_other_forms():
    x, y = load_digits()
    images, rows = load_digits(normalize=False, flatten=False, one_hot=True)
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8 and images.max() == 16
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert np.array_equal(load_digits(flatten=False)[0].reshape(1797, 64), x)
    assert_one_hot(rows, y)


@pytest.mark.parametrize("option", ["normalize", "flatten", "one_hot"])
@pytest.mark.parametrize("load", [load_digits, load_mnist])
def test_options_are_true_or_false(load, option):
    for wrong in ("False", 1, None):
        with pytest.raises(TypeError, match=rf"^{option} must be True or False, got {wrong!r} \("):
            load(**{option: wrong})


def test_digits_calls_share_nothing():
    x, y = load_digits()
    x[:], y[:] = 7, 7
    again, labels = load_digits()
    assert again.max() == 1 and labels.max() == 9


def test_digits_file_is_compact():
    assert Path(datasets.__file__).with_name("digits.npz").stat().st_size < 50_000


def assert_one_hot(rows, labels):
    assert rows.shape == (len(labels), 10) and rows.dtype == np.float32
    assert np.array_equal(rows.argmax(axis=1), labels)
    assert np.array_equal(np.sort(rows, axis=1), np.tile(np.float32([0] * 9 + [1]), (len(labels), 1)))


# --- IDX

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code, *shape):
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape)


def idx(array):
    array = np.asarray(array)
    return header(CODES[array.dtype.str[1:]], *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(params=["raw", "gzip"])
def write(request, tmp_path):
    """Write contents to a file, compressed or not."""

    def write(content):
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(content) if request.param == "gzip" else content)
        return path

    return write


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (2, 3, 4), (0,), (3, 0, 2), (1,) * 64])
def test_read_idx_types_and_shapes(write, dtype, shape):
    low, high = (-1e30, 1e30) if dtype[0] == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.linspace(low, high, int(np.prod(shape))).astype(dtype).reshape(shape)
    read = read_idx(write(idx(array)))
    assert read.dtype == np.dtype(dtype) and read.dtype.isnative
    assert read.shape == shape and np.array_equal(read, array)
    assert read.flags.writeable and read.flags.c_contiguous and read.flags.aligned


def test_read_idx_known_bytes(write):
    read = read_idx(write(bytes.fromhex("00000b02 00000002 00000001 0102 fffe")))
    assert read.tolist() == [[258], [-2]]


def test_read_idx_longer_than_a_chunk(write):
    array = np.arange(3 * 2**20 + 5).astype(np.uint8)
    assert np.array_equal(read_idx(write(idx(array))), array)


def test_read_idx_accepts_str_and_home(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(idx(np.uint8([1, 2])))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_idx(str(tmp_path / "f")).tolist() == [1, 2]
    assert read_idx("~/f").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"\0\0\x08", "not an IDX file: it begins with 00 00 08"),
        (b"\x89PNG\r\n", "not an IDX file: it begins with 89 50 4e 47"),
        (b"\0\1\x08\1\0\0\0\0", "not an IDX file: it begins with 00 01 08 01"),
        (b"\0\0\x0a\1\0\0\0\0", r"not an IDX file: .* a type \(08, 09, 0b, 0c, 0d, 0e\)"),
        (b"\0\0\x08\0", "not an IDX file: it begins with 00 00 08 00"),
        (header(8, *[1] * 65), r"not an IDX file: .* a number of axes \(01 to 40\)"),
        (b"\0\0\x08\3\0\0\0\1\0\0", "truncated: the file ends within the header, which states 3 axes"),
        (header(8, 10), r"truncated: 0 bytes follow a header that states 10 \(uint8 of shape \(10,\)\)"),
        (idx(np.arange(3, dtype="i4"))[:-1], r"truncated: 11 bytes .* states 12 \(int32 of shape \(3,\)\)"),
        (idx(np.uint8([1, 2, 3])) + b"\0", r"trailing data: more bytes follow a header that states 3"),
        (header(8, 0) + b"\0", r"trailing data: more bytes follow a header that states 0"),
        (header(8, 2**32 - 1, 2**32 - 1), r"impossible dimensions: no array can have shape \(4294967295, 4294967295\)"),
        (header(8, *[2**32 - 1] * 64), "impossible dimensions"),
        (header(0x0E, 2**31, 2**31), "impossible dimensions"),  # the elements can be counted, the bytes cannot
        (header(8, 0, *[2**32 - 1] * 3), "impossible dimensions"),  # no element, yet no array of this shape
    ],
)
def test_read_idx_refuses(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_read_idx_refuses_damaged_gzip(tmp_path):
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8)))
    damage = {
        "cut": whole[: len(whole) // 2],
        "cut in the checksum": whole[:-6],
        "wrong checksum": whole[:-8] + b"\0\0\0\0" + whole[-4:],
        "broken stream": whole[:10] + b"\xff" * 20 + whole[30:],
        "bad method": b"\x1f\x8b\x07" + whole[3:],
        "junk after the end": whole + b"junk",
        "only the start": b"\x1f\x8b",
    }
    for kind, content in damage.items():
        path = tmp_path / kind
        path.write_bytes(content)
        with pytest.raises(ValueError, match="gzip file is damaged or truncated"):
            read_idx(path)


def test_read_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("path", [3, None, b"bytes"])
def test_read_idx_refuses_what_is_no_path(path):
    with pytest.raises(TypeError, match=r"path must be a path, got .* \((int|NoneType|bytes)\)"):
        read_idx(path)


@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**20, 2**20)])
def test_a_lying_header_takes_no_memory(write, shape):
    path = write(header(0x0E, *shape) + bytes(1000))
    assert peak_memory_of_refusal(path, "truncated: 1000 bytes") < 2**22


def test_a_gzip_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx(np.uint8([1, 2, 3])) + bytes(2**26), compresslevel=1))
    assert peak_memory_of_refusal(path, "trailing data") < 2**22


def peak_memory_of_refusal(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


@given(st.binary(max_size=40), st.sampled_from([b"", b"\0\0", b"\0\0\x08\1", b"\0\0\x0b\2\0\0\0", b"\x1f\x8b\x08\0"]))
def test_any_bytes_are_read_or_refused(scratch_file, tail, start):
    scratch_file.write_bytes(start + tail)
    try:
        array = read_idx(scratch_file)
    except ValueError as error:
        assert str(error).startswith(f"{scratch_file}: ")
    else:
        assert idx(array) == start + tail


# --- MNIST: small files under its names, so that nothing is downloaded


class Mnist:
    """Four small files with the names of MNIST's: their arrays, and their contents by name."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.arrays = [
            rng.integers(0, 256, (5, 28, 28), dtype=np.uint8),
            np.uint8([3, 1, 4, 1, 9]),
            rng.integers(0, 256, (3, 28, 28), dtype=np.uint8),
            np.uint8([0, 9, 2]),
        ]
        self.arrays[0][0, 0, :2] = 0, 255
        names = [file.name for file in _mnist.FILES]
        self.content = {name: idx(array) for name, array in zip(names, self.arrays, strict=True)}
        self.files = tuple(
            _mnist.File(name, array.shape, hashlib.sha256(self.content[name]).hexdigest())
            for name, array in zip(names, self.arrays, strict=True)
        )

    def write(self, data_home, compressed=True):
        folder = data_home / "mnist"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def mnist(monkeypatch):
    small = Mnist()
    monkeypatch.setattr(_mnist, "FILES", small.files)
    monkeypatch.setattr(_mnist, "MIRRORS", ())
    return small


@pytest.mark.parametrize("compressed", [True, False])
def test_mnist_default_form(mnist, tmp_path, compressed):
    mnist.write(tmp_path, compressed)
    for (x, y), images, labels in zip(load_mnist(tmp_path), mnist.arrays[::2], mnist.arrays[1::2], strict=True):
        assert x.shape == (len(images), 784) and x.dtype == np.float32 and x.flags.c_contiguous and x.flags.writeable
        assert np.array_equal(x, (images / 255).astype(np.float32).reshape(len(images), 784))
        assert x.min() >= 0 and x.max() <= 1
        assert y.dtype == np.int64 and np.array_equal(y, labels)


def test_mnist_other_forms(mnist, tmp_path):
    mnist.write(tmp_path)
    (x, y), (x_test, y_test) = load_mnist(str(tmp_path), normalize=False, flatten=False, one_hot=True)
    for got, images in ((x, mnist.arrays[0]), (x_test, mnist.arrays[2])):
        assert got.dtype == np.uint8 and got.flags.writeable and np.array_equal(got, images)
    assert_one_hot(y, mnist.arrays[1])
    assert_one_hot(y_test, mnist.arrays[3])
    (x, _), _ = load_mnist(tmp_path, normalize=False)
    assert x.dtype == np.uint8 and np.array_equal(x, mnist.arrays[0].reshape(5, 784))
    (x, _), _ = load_mnist(tmp_path, flatten=False)
    assert x.shape == (5, 28, 28) and x[0, 0, 0] == 0 and x[0, 0, 1] == 1


def test_mnist_home_from_the_environment(mnist, tmp_path, monkeypatch):
    mnist.write(tmp_path / "env")
    monkeypatch.setenv("NNFAST_DATA_HOME", str(tmp_path / "env"))
    assert load_mnist()[0][1].tolist() == [3, 1, 4, 1, 9]
    with pytest.raises(FileNotFoundError):  # the argument takes precedence
        load_mnist(tmp_path / "other")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "~/.cache/nnfast"),
        ("linux", {"NNFAST_DATA_HOME": ""}, "~/.cache/nnfast"),
        ("linux", {"NNFAST_DATA_HOME": "~/data"}, "~/data"),
        ("linux", {"XDG_CACHE_HOME": os.path.abspath("/c")}, os.path.abspath("/c/nnfast")),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "~/.cache/nnfast"),
        ("darwin", {}, "~/Library/Caches/nnfast"),
        ("win32", {"LOCALAPPDATA": os.path.abspath("/l")}, os.path.abspath("/l/nnfast")),
        ("win32", {}, "~/AppData/Local/nnfast"),
        ("win32", {"NNFAST_DATA_HOME": os.path.abspath("/d")}, os.path.abspath("/d")),
    ],
)
def test_default_data_home(monkeypatch, platform, environment, expected):
    for name in ("NNFAST_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert Path(_mnist.default_data_home()) == Path(expected).expanduser()


@pytest.mark.parametrize("data_home", [3, b"bytes", ["a"]])
def test_mnist_refuses_what_is_no_path(data_home):
    with pytest.raises(TypeError, match="data_home must be a path, got "):
        load_mnist(data_home)


def flip_last_byte(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_last_byte, "damaged, or another data set: the SHA-256 of its contents is [0-9a-f]{64}, that of MNIST"),
        (lambda content: content[:-1], "truncated: 2351 bytes follow a header that states 2352"),
        (lambda content: content + b"\0", "trailing data"),
        (lambda content: b"<html>" + content, "not an IDX file"),
        (
            lambda content: idx(np.zeros((4, 28, 28), np.uint8)),
            r"not MNIST's: uint8 of shape \(4, 28, 28\) instead of uint8 of shape \(3, 28, 28\)",
        ),
        (lambda content: idx(np.zeros((3, 28, 28), np.int8)), "not MNIST's: int8 of shape"),
        (lambda content: header(8, 2**30, 28, 28), "not MNIST's"),
    ],
)
def test_mnist_damaged_on_disk(mnist, tmp_path, damage, message, compressed):
    name = mnist.files[2].name
    mnist.content[name] = damage(mnist.content[name])
    path = mnist.write(tmp_path, compressed) / (f"{name}.gz" if compressed else name)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        load_mnist(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "Otherwise remove it, and load_mnist will download the original." in str(caught.value)
    assert path.read_bytes() == before


def test_fashion_mnist_under_mnists_names_gets_a_helpful_error(mnist, tmp_path):
    """The same names and sizes with other contents, as Fashion-MNIST and KMNIST were published."""
    for name, content in mnist.content.items():
        mnist.content[name] = flip_last_byte(content)
    path = mnist.write(tmp_path) / mnist.files[0].name
    with pytest.raises(ValueError, match="SHA-256") as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert "If it is Fashion-MNIST or another data set that was published under MNIST's file names" in message
    code = re.search(r"read it with (nnfast\.datasets\.read_idx\(.*?\))\. ", message)[1]
    assert eval(code, {"nnfast": nnfast}).shape == mnist.files[0].shape
    assert str(path) in code


@pytest.mark.parametrize(("code", "size"), [(0x08, 1), (0x0B, 2), (0x0E, 8)])
def test_an_idx_file_takes_little_more_memory_than_its_size(code, size, tmp_path):
    path = tmp_path / "large-idx"
    path.write_bytes(header(code, 10_000_000 // size) + bytes(10_000_000 // size * size))
    tracemalloc.start()
    try:
        array = read_idx(path)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.dtype.isnative and array.flags.writeable
    assert taken < 1.2 * path.stat().st_size + 2_000_000


# --- MNIST from mirrors, on 127.0.0.1


class Mirror:
    """A web server on 127.0.0.1; `pages` maps a path to (status, headers, body), `asked` lists the requests."""

    def __init__(self):
        self.pages, self.asked = {}, []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                status, headers, body = mirror.pages.get(self.path, (404, {}, b"not here"))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/{name}/"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror(mnist, monkeypatch):
    """Two mirrors: /bad/ has nothing yet, /good/ has all four files."""
    pytest.importorskip("pooch", reason="fetching needs the extra `data`")
    server = Mirror()
    for name, content in mnist.content.items():
        server.pages[f"/good/{name}.gz"] = (200, {}, gzip.compress(content))
    monkeypatch.setattr(_mnist, "MIRRORS", (server.url("bad"), server.url("good")))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield server
    server.close()


def assert_fetched(mnist, data_home):
    (x, y), (x_test, y_test) = load_mnist(data_home, normalize=False, flatten=False)
    for got, expected in zip((x, y, x_test, y_test), mnist.arrays, strict=True):
        assert np.array_equal(got, expected)
    assert sorted(os.listdir(data_home / "mnist")) == sorted(f"{name}.gz" for name in mnist.content)


def test_mnist_is_fetched_once(mnist, mirror, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(_mnist, "MIRRORS", (mirror.url("good"), mirror.url("bad")))
    home = tmp_path / "new" / "folder"
    assert_fetched(mnist, home)
    assert mirror.asked == [f"/good/{name}.gz" for name in mnist.content]
    assert_fetched(mnist, home)
    assert len(mirror.asked) == 4
    assert capfd.readouterr() == ("", "")


def test_mnist_fetches_only_what_is_missing(mnist, mirror, tmp_path):
    absent = f"{mnist.files[1].name}.gz"
    (mnist.write(tmp_path) / absent).unlink()
    assert_fetched(mnist, tmp_path)
    assert mirror.asked == [f"/bad/{absent}", f"/good/{absent}"]


def garbage(content):
    return 200, {}, b"<html>log in first</html>"


def cut(content):
    return 200, {}, gzip.compress(content)[:-20]


def broken_off(content):
    whole = gzip.compress(content)
    return 200, {"Content-Length": str(len(whole))}, whole[:-20]


def other_data(content):
    return 200, {}, gzip.compress(flip_last_byte(content))


def other_shape(content):
    return 200, {}, gzip.compress(idx(np.zeros((7, 28, 28), np.uint8)))


def bomb(content):
    return 200, {}, gzip.compress(content + bytes(2**24), compresslevel=1)


def server_error(content):
    return 500, {}, gzip.compress(content)


BAD = [garbage, cut, broken_off, other_data, other_shape, bomb, server_error]


@pytest.mark.parametrize("bad", BAD)
def test_mnist_second_mirror_helps_out(mnist, mirror, tmp_path, bad):
    for name, content in mnist.content.items():
        mirror.pages[f"/bad/{name}.gz"] = bad(content)
    assert_fetched(mnist, tmp_path)
    assert mirror.asked == [f"/{mirror_name}/{name}.gz" for name in mnist.content for mirror_name in ("bad", "good")]


@pytest.mark.parametrize("bad", BAD)
def test_mnist_failed_download_leaves_nothing(mnist, mirror, tmp_path, bad):
    mirror.pages = {f"/{m}/{name}.gz": bad(c) for name, c in mnist.content.items() for m in ("bad", "good")}
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path)
    assert os.listdir(tmp_path / "mnist") == []


def test_mnist_mirrors_may_compress_differently(mnist, mirror, tmp_path):
    for level, (name, content) in enumerate(mnist.content.items()):
        mirror.pages[f"/bad/{name}.gz"] = (200, {}, gzip.compress(content, compresslevel=level, mtime=level))
    assert_fetched(mnist, tmp_path)
    assert all(path.startswith("/bad/") for path in mirror.asked)


def test_mnist_mirror_that_unpacks_on_the_way(mnist, mirror, tmp_path):
    """With Content-Encoding the client decompresses the file, which then is not a gzip file despite its name."""
    for name, content in mnist.content.items():
        mirror.pages[f"/bad/{name}.gz"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(content))
    assert_fetched(mnist, tmp_path)
    assert_fetched(mnist, tmp_path)
    assert all(path.startswith("/bad/") for path in mirror.asked)


def test_mnist_no_mirror_delivers(mnist, mirror, tmp_path):
    name = mnist.files[0].name
    mirror.pages = {f"/good/{name}.gz": other_data(mnist.content[name])}
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    folder = tmp_path / "mnist"
    assert message.startswith(f"MNIST's {name} is not in {folder}, and no mirror provided it:\n")
    assert f"{mirror.url('bad')}{name}.gz: 404" in message
    assert f"{mirror.url('good')}{name}.gz: damaged, or another data set" in message
    assert_says_what_to_put_where(message, mnist, folder)


def test_mnist_no_mirror_answers(mnist, mirror, tmp_path):
    mirror.server.shutdown()
    mirror.server.server_close()
    with pytest.raises(FileNotFoundError, match="no mirror provided it") as caught:
        load_mnist(tmp_path)
    assert_says_what_to_put_where(str(caught.value), mnist, tmp_path / "mnist")


def test_mnist_without_pooch(mnist, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pooch is needed for this: pip install 'nnfast\[data\]'") as caught:
        load_mnist(tmp_path)
    assert_says_what_to_put_where(str(caught.value), mnist, tmp_path / "mnist")
    assert not (tmp_path / "mnist").exists()
    mnist.write(tmp_path)
    assert load_mnist(tmp_path)[1][1].tolist() == [0, 9, 2]  # files on disk need no pooch


def assert_says_what_to_put_where(message, mnist, folder):
    names = ", ".join(mnist.content)
    assert f"Or put these files, uncompressed or as .gz, into {folder}: {names}." in message
    assert message.endswith(f"They are available at {' and '.join(_mnist.MIRRORS)}")


def test_mnist_home_that_cannot_be_written(mnist, mirror, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be stored there: .*Choose another data_home\.") as caught:
        load_mnist(tmp_path / "file")
    assert str(tmp_path / "file" / "mnist") in str(caught.value)
    assert mirror.asked == []


def test_mnist_interrupted_download_leaves_nothing(mnist, mirror, tmp_path, monkeypatch):
    def interrupt(path, file):
        folder = tmp_path / "mnist"
        assert os.path.exists(path) and not (folder / f"{file.name}.gz").exists()
        assert folder in Path(path).parents  # the same file system, or the move into place would not be atomic
        raise KeyboardInterrupt

    monkeypatch.setattr(_mnist, "read", interrupt)
    mirror.pages |= {path.replace("good", "bad"): page for path, page in mirror.pages.items()}
    with pytest.raises(KeyboardInterrupt):
        load_mnist(tmp_path)
    assert os.listdir(tmp_path / "mnist") == []


@pytest.mark.parametrize(
    ("terminal", "tqdm", "shown"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_mnist_progress_bar(mnist, mirror, tmp_path, monkeypatch, capsys, terminal, tqdm, shown):
    pytest.importorskip("tqdm", reason="the progress bar needs tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert_fetched(mnist, tmp_path)
    assert ("100%" in capsys.readouterr().err) == shown


def test_mnist_without_stderr(mnist, mirror, tmp_path, monkeypatch):
    """Like in a Windows program without a console."""
    monkeypatch.setattr(sys, "stderr", None)
    assert_fetched(mnist, tmp_path)


# --- The real MNIST, and the module


@pytest.mark.usefixtures("needs_mnist")
def test_real_mnist():
    (x, y), (x_test, y_test) = load_mnist(normalize=False)
    assert x.shape == (60_000, 784) and x_test.shape == (10_000, 784)
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert y[:5].tolist() == [5, 0, 4, 1, 9] and y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert round(float(x.mean() / 255), 4) == 0.1307  # the mean that is subtracted everywhere


def test_the_four_files_of_mnist():
    assert [(file.name, file.shape) for file in _mnist.FILES] == [
        ("train-images-idx3-ubyte", (60_000, 28, 28)),
        ("train-labels-idx1-ubyte", (60_000,)),
        ("t10k-images-idx3-ubyte", (10_000, 28, 28)),
        ("t10k-labels-idx1-ubyte", (10_000,)),
    ]


def test_public_names():
    assert datasets.__all__ == ["load_digits", "load_mnist", "read_idx"]
    assert all(callable(getattr(datasets, name)) for name in datasets.__all__)


def test_import_is_cheap():
    code = "import sys, nnfast.datasets; print(*sys.modules.keys() & {'pooch', 'requests', 'tqdm'})"
    out = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == ""
