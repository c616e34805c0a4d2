"""Networks as safetensors files: what other programs see, what they may change, and what is rejected.

What both formats have in common is in `test_saving`.
"""

from __future__ import annotations

import functools
import io
import json
import pickle
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from numpy_network import state

import nnfast as nf
from nnfast.files import parsing
from nnfast.files.safetensors import MAX_HEADER

X = np.random.default_rng(0).normal(size=(20, 3))
LABELS = np.random.default_rng(1).integers(0, 4, 20)
NAN = float("nan")
VECTORS = ["optimizer.0", "optimizer.1"]
ARRAYS = ["0.W", "0.b", "1.beta", "1.gamma", "1.mean", "1.variance", "2.W", "2.b"]


def make_net(dtype="float32"):
    layers = [nf.Dense(5, "tanh"), nf.BatchNorm(), nf.Dense(4, "softmax")]
    net = nf.Sequential(layers, input_shape=3, dtype=dtype, seed=0)
    net.fit(X, LABELS, epochs=2, batch_size=8, verbose=0)
    return net


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a saved network."""
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    make_net().save(path)
    return path.read_bytes()


def parts_of(content):
    """The header and the data of a file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def load_bytes(content, tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    return nf.load(path)


def check_rejected(content, tmp_path, message, kind="is damaged: "):
    """Expect a LoadError with exactly this message, and that little more memory is taken than the file has bytes."""
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(nf.LoadError) as caught:
            nf.load(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + 2_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value) == f"{path} {kind}{message}"
    assert (caught.value.path, caught.value.reason) == (str(path), kind + message)


# ---- the format


@pytest.mark.parametrize(("dtype", "name"), [("float32", "F32"), ("float64", "F64")])
def test_files_are_a_header_and_the_arrays(dtype, name, tmp_path):
    """As the documentation of the format says, read without nnfast."""
    net = make_net(dtype)
    net.save(tmp_path / "net.safetensors")
    net.save(tmp_path / "net.npz")
    raw = (tmp_path / "net.safetensors").read_bytes()
    header, data = parts_of(raw)
    assert (len(raw) - len(data)) % 8 == 0
    metadata = header.pop("__metadata__")
    assert sorted(header) == sorted(ARRAYS + VECTORS)
    end, contents = 0, {}
    for path, entry in header.items():
        assert entry["data_offsets"][0] == end
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == name
        array = np.frombuffer(data[begin:end], f"<f{np.dtype(dtype).itemsize}").reshape(entry["shape"])
        with np.load(tmp_path / "net.npz") as archive:
            np.testing.assert_array_equal(array, archive[path])
        contents[path] = data[begin:end]
    assert end == len(data)
    with np.load(tmp_path / "net.npz") as archive:
        assert json.loads(metadata["nnfast"]) == json.loads(str(archive["description"]))
    everything = metadata["nnfast"].encode() + b"".join(contents[path] for path in sorted(contents))
    assert metadata == {"nnfast": metadata["nnfast"], "crc32": f"{zlib.crc32(everything):08x}"}


def test_the_name_decides_when_saving_and_the_contents_when_loading(tmp_path):
    net = make_net()
    for name, archive in (("a.SafeTensors", False), ("safetensors", True), ("a.safetensors.npz", True)):
        net.save(tmp_path / name)
        assert zipfile.is_zipfile(tmp_path / name) == archive
        (tmp_path / name).rename(tmp_path / "other")
        assert state(nf.load(tmp_path / "other"))[:2] == state(net)[:2]


def test_a_loss_of_a_users_own_is_a_name(tmp_path):
    def squares(outputs, targets):
        return float(((outputs - targets) ** 2).mean()), (outputs - targets) / len(outputs)

    net = nf.Sequential([nf.Dense(2)], input_shape=3, loss=squares, seed=0)
    net.save(tmp_path / "net.safetensors")
    with pytest.raises(RuntimeError, match="squares"):
        nf.load(tmp_path / "net.safetensors").loss(X, X[:, :2])
    again = nf.load(tmp_path / "net.safetensors", loss=squares)
    assert again.loss(X, X[:, :2]) == net.loss(X, X[:, :2])


# ---- without the state of a training


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_without_the_state_of_a_training(dtype, ending, tmp_path):
    """It has what predictions need, statistics included; training begins as that of a new network."""
    layers = [nf.Dense(5, "tanh"), nf.BatchNorm(), nf.Dropout(0.3), nf.Dense(4, "softmax")]
    net = nf.Sequential(layers, input_shape=3, dtype=dtype, seed=5)
    new = nf.Sequential(layers, input_shape=3, dtype=dtype, seed=0)
    net.fit(X, LABELS, steps=4, batch_size=8, verbose=0)
    net.save(tmp_path / f"net{ending}", training_state=False)
    again = nf.load(tmp_path / f"net{ending}")
    assert again.predict(X).tobytes() == net.predict(X).tobytes()
    assert again.epochs_trained == 0
    description, arrays, _ = state(again)
    assert json.loads(description)["optimizer"] is None
    assert not [path for path in arrays if path.startswith("optimizer")]
    new.flat_params[:] = net.flat_params
    for name, values in net.statistics.items():
        new.statistics[name][:] = values
    for either in (again, new):
        either.fit(X, LABELS, epochs=2, batch_size=8, verbose=0)
    assert again.flat_params.tobytes() == new.flat_params.tobytes()


def test_what_it_leaves_out(tmp_path):
    make_net().save(tmp_path / "net.safetensors", training_state=False)
    header, _ = parts_of((tmp_path / "net.safetensors").read_bytes())
    description = json.loads(header.pop("__metadata__")["nnfast"])
    assert sorted(header) == ARRAYS
    assert description["version"] == 2
    assert [description[name] for name in ("streams", "noise", "optimizer")] == [None] * 3
    assert "place" not in description


@pytest.mark.parametrize("value", [None, 1, "no"])
def test_whether_to_write_it_is_a_bool(value, tmp_path):
    with pytest.raises(TypeError, match="^training_state must be"):
        make_net().save(tmp_path / "net.safetensors", training_state=value)
    assert not list(tmp_path.iterdir())


# ---- other programs


def test_the_package_reads_what_nnfast_writes(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    for dtype in ("float32", "float64"):
        net, path = make_net(dtype), tmp_path / "net.safetensors"
        net.save(path)
        with safetensors.safe_open(path, "numpy") as file:
            assert sorted(file.keys()) == sorted(ARRAYS + VECTORS)
            for name in net.params.paths:
                assert file.get_tensor(name).tobytes() == net.params[name].tobytes()
            assert json.loads(file.metadata()["nnfast"])["format"] == "nnfast"


def test_nnfast_reads_what_the_package_writes(content, tmp_path):
    """In an order of its own; with changed arrays, only if the checksum is left out."""
    numpy = pytest.importorskip("safetensors.numpy")
    header, _ = parts_of(content)
    metadata, arrays = header["__metadata__"], numpy.load(content)
    path = tmp_path / "some.safetensors"
    numpy.save_file(dict(reversed(arrays.items())), path, metadata)
    assert parts_of(path.read_bytes())[0].keys() == header.keys()
    assert state(nf.load(path))[:2] == state(make_net())[:2]
    arrays["0.b"] = arrays["0.b"] + 1
    numpy.save_file(arrays, path, metadata)
    with pytest.raises(nf.LoadError, match="its contents have changed since they were saved: crc32 does not match"):
        nf.load(path)
    numpy.save_file(arrays, path, {"nnfast": metadata["nnfast"]})
    np.testing.assert_array_equal(nf.load(path).params["0.b"], arrays["0.b"])


def test_the_package_rejects_the_same_layouts(content, tmp_path):
    """Or a file could be one network to nnfast and another to the programs that use it."""
    safetensors = pytest.importorskip("safetensors")
    for name in ("overlap", "gap", "beyond the end", "data after the arrays", "a name twice"):
        file = BROKEN[name][0](*parts_of(content))
        if name != "a name twice":  # of which it reads the last
            with pytest.raises(safetensors.SafetensorError):
                safetensors.deserialize(file)
        with pytest.raises(nf.LoadError):
            load_bytes(file, tmp_path)


def test_arrays_in_any_order_and_spaces_in_the_header(content, tmp_path):
    header, data = parts_of(content)
    del header["__metadata__"]["crc32"]
    text = json.dumps(dict(reversed(header.items())), indent=3).encode() + b" \n "
    assert state(load_bytes(joined(text, data), tmp_path))[:2] == state(make_net())[:2]


# ---- files that are rejected


def entry(path, **changes):
    """A file in which the entry of an array is changed."""

    def change(header, data):
        for name, value in changes.items():
            header[path][name] = value
        return joined(header, data)

    return change


def moved(path, begin, end):
    """A file in which the offsets of an array are moved by numbers of bytes."""

    def change(header, data):
        offsets = header[path]["data_offsets"]
        header[path]["data_offsets"] = [offsets[0] + begin, offsets[1] + end]
        return joined(header, data)

    return change


def changed(header, **members):
    return {**header, **members}


def of_length(length):
    return lambda header, data: length.to_bytes(8, "little") + joined(header, data)[8:]


def text_of(header, data, old, new):
    text = json.dumps(header).encode()
    assert old in text
    return joined(text.replace(old, new, 1), data)


def description(header, data, **changes):
    """A file with another description, and without the checksum, which would be enough to reject it."""
    metadata = header["__metadata__"]
    del metadata["crc32"]
    metadata["nnfast"] = json.dumps({**json.loads(metadata["nnfast"]), **changes})
    return joined(header, data)


TOO_LONG = "its header has a value of more than 4096 characters, or one that is not valid JSON, at character 5"
NOTHING_ELSE = "the array 0.W must have data_offsets, dtype, shape and nothing else"
CHANGED = "its contents have changed since they were saved: crc32 does not match them"
# For each, a function of the header and the data that returns a file, and the message; None if Python words it.
BROKEN = {
    "a length beyond the file": (of_length(2**40), "its header cannot have 1099511627776 bytes: the file has {size}"),
    "the largest length": (of_length(2**64 - 1), f"its header cannot have {2**64 - 1} bytes: the file has {{size}}"),
    "a length of nothing": (of_length(0), "its header is not valid JSON: expected '{' at character 0"),
    "a header that is no text": (
        lambda h, d: joined(b'{"\xff":1}', d),
        "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte",
    ),
    "a header that is cut off": (
        lambda h, d: joined(b'{"a":{', d),
        "its header is not valid JSON: Expecting property name enclosed in double quotes at character 6",
    ),
    "two headers": (
        lambda h, d: joined(b"{}{}", d),
        "its header is not valid JSON: expected nothing more at character 2",
    ),
    "a deep header": (lambda h, d: joined(b'{"a":' + b"[" * 4095 + b"1", d), TOO_LONG),
    "a deep entry": (
        lambda h, d: joined(b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", d),
        "its header is nested too deeply",
    ),
    "a header of empty lists": (
        lambda h, d: joined(b'{"a":[' + b"[]," * 400_000 + b"[]]}", d),
        TOO_LONG,
    ),
    "a header of names": (
        lambda h, d: joined(json.dumps(h).encode()[:-1] + b"".join(b',"%x":1' % i for i in range(100_000)) + b"}", d),
        "the array '0' is not in its description",
    ),
    "a name twice": (
        lambda h, d: joined(json.dumps(h).encode()[:-1] + b',"0.b":' + json.dumps(h["0.b"]).encode() + b"}", d),
        "there are two members named '0.b'",
    ),
    "an integer of many digits": (
        lambda h, d: text_of(h, d, b'"shape": [3, 5]', b'"shape": [' + b"9" * 5000 + b"]"),
        None,
    ),
    "an entry that is a list": (lambda h, d: joined(changed(h, **{"0.W": [1]}), d), NOTHING_ELSE),
    "an entry of more": (entry("0.W", more=1), NOTHING_ELSE),
    "another dtype": (entry("0.W", dtype="F64"), "the array 0.W has dtype 'F64', not 'F32'"),
    "a dtype of integers": (entry("0.W", dtype="I32"), "the array 0.W has dtype 'I32', not 'F32'"),
    "a dtype that is a number": (entry("0.W", dtype=4), "the array 0.W has dtype 4, not 'F32'"),
    "another shape": (entry("0.W", shape=[5, 3]), "the array 0.W must have shape (3, 5), got [5, 3]"),
    "a flat shape": (entry("0.W", shape=[15]), "the array 0.W must have shape (3, 5), got [15]"),
    "a shape whose product overflows": (
        entry("0.W", shape=[2**32, 2**32]),
        "the array 0.W must have shape (3, 5), got [4294967296, 4294967296]",
    ),
    "a shape of fractions": (entry("0.W", shape=[3.0, 5]), "the array 0.W must have shape (3, 5), got [3.0, 5]"),
    "a shape that is NaN": (entry("0.W", shape=[NAN, 5]), "the array 0.W must have shape (3, 5), got [nan, 5]"),
    "a shape of truths": (entry("0.b", shape=[True]), "the array 0.b must have shape (5,), got [True]"),
    "no shape": (entry("0.W", shape=None), "the array 0.W must have shape (3, 5), got None"),
    "three offsets": (
        entry("0.W", data_offsets=[0, 30, 60]),
        "the offsets of the array 0.W must be two from 0 to {data}, got [0, 30, 60]",
    ),
    "offsets that are negative": (
        moved("0.W", -60, -60),
        "the offsets of the array 0.W must be two from 0 to {data}, got [-60, 0]",
    ),
    "offsets in reverse": (
        entry("0.W", data_offsets=[60, 0]),
        "the offsets of the array 0.W must be two from 0 to {data}, got [60, 0]",
    ),
    "offsets of fractions": (
        entry("0.W", data_offsets=[0.0, 60]),
        "the offsets of the array 0.W must be two from 0 to {data}, got [0.0, 60]",
    ),
    "beyond the end": (
        entry("0.W", data_offsets=[2**63, 2**63 + 60]),
        f"the offsets of the array 0.W must be two from 0 to {{data}}, got [{2**63}, {2**63 + 60}]",
    ),
    "too few bytes": (moved("0.W", 0, -4), "the array 0.W has 56 bytes, not 60"),
    "overlap": (moved("0.b", -4, -4), "the array 0.b overlaps the array before it: at 56, not 60"),
    "gap": (
        lambda h, d: joined({**h, "0.W": {**h["0.W"], "data_offsets": [4, 64]}}, d),
        "the array 0.W does not begin where the array before it ends: at 4, not 0",
    ),
    "the same place": (entry("0.b", data_offsets=[0, 20]), "the array 0.W overlaps the array before it: at 0, not 20"),
    "data after the arrays": (
        lambda h, d: joined(h, d + b"more"),
        "its arrays have {data} bytes, but {longer} follow the header",
    ),
    "data that is cut off": (lambda h, d: joined(h, d[:-1]), None),
    "a missing array": (
        lambda h, d: joined({name: e for name, e in h.items() if name != "2.b"}, d),
        "the array 2.b is missing",
    ),
    "another array": (
        lambda h, d: joined(changed(h, more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), d),
        "the array 'more' is not in its description",
    ),
    "metadata that is a list": (
        lambda h, d: joined(changed(h, __metadata__=[1]), d),
        "its __metadata__ must be an object of texts",
    ),
    "metadata of numbers": (
        lambda h, d: joined(changed(h, __metadata__={**h["__metadata__"], "x": 1}), d),
        "its __metadata__ must be an object of texts",
    ),
    "a description that is no JSON": (
        lambda h, d: joined(changed(h, __metadata__={"nnfast": "[1"}), d),
        "its description is not valid JSON: Expecting ',' delimiter: line 1 column 3 (char 2)",
    ),
    "a deep description": (
        lambda h, d: joined(changed(h, __metadata__={"nnfast": "[" * 5000}), d),
        "its description is nested too deeply",
    ),
    "a dtype in the description": (
        lambda h, d: description(h, d, dtype="float64"),
        "the array 0.W has dtype 'F32', not 'F64'",
    ),
    "streams but no noise": (lambda h, d: description(h, d, noise=None), None),
    "steps that are NaN": (lambda h, d: description(h, d, noise={"seed": 1, "steps": NAN}), None),
    "a scale that is NaN": (lambda h, d: description(h, d, layers=[{"kind": "rescaling", "scale": NAN}]), None),
    "a layer of absurd size": (
        lambda h, d: description(h, d, layers=[{"kind": "dense", "units": 2**31 - 1, "activation": "relu"}] * 2),
        "the array 0.W must have shape (3, 2147483647), got [3, 5]",
    ),
    "a long text among quantiles": (  # of which NumPy would make an array of 4 GB
        lambda h, d: description(h, d, loss={"name": "quantile", "quantiles": [0.5] * 9999 + ["x" * 100_000]}),
        "quantiles must hold real numbers, got 'xxxxxxxxxxxx...xxxxxxxxxxxxx' (str)",
    ),
    "a changed weight": (
        lambda h, d: joined(h, d[:3] + bytes([d[3] ^ 1]) + d[4:]),
        CHANGED,
    ),
    "a changed description": (
        lambda h, d: text_of(h, d, b"tanh", b"relu"),
        CHANGED,
    ),
    "an empty checksum": (
        lambda h, d: joined(changed(h, __metadata__={**h["__metadata__"], "crc32": ""}), d),
        CHANGED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_rejected(name, content, tmp_path):
    header, data = parts_of(content)
    make, message = BROKEN[name]
    file = make(header, data)
    assert file != content
    if message is None:
        with pytest.raises(nf.LoadError, match=r"some\.safetensors is damaged: "):
            load_bytes(file, tmp_path)
        return
    length = int.from_bytes(file[:8], "little")
    for field, value in {"size": len(file), "header": length, "data": len(data), "longer": len(data) + 4}.items():
        message = message.replace(f"{{{field}}}", str(value))
    check_rejected(file, tmp_path, message)


FOREIGN = {
    "nothing": (b"", "it is neither a NumPy archive (.npz) nor a safetensors file"),
    "a length alone": (bytes(8), "it is neither a NumPy archive (.npz) nor a safetensors file"),
    "arrays of others": (
        joined({"x": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)),
        "it has no description",
    ),
    "metadata of others": (joined({"__metadata__": {"format": "pt"}}, b""), "it has no description"),
    "a description of others": (
        joined({"__metadata__": {"nnfast": "{}"}}, b""),
        "its description was not written by nnfast",
    ),
    "a newer version": (
        joined({"__metadata__": {"nnfast": '{"format": "nnfast", "version": 3}'}}, b""),
        "it has version 3 of the format, and this nnfast reads up to 2: install a newer one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_rejected(name, tmp_path):
    file, message = FOREIGN[name]
    check_rejected(file, tmp_path, message, "is not a network saved by nnfast: ")


COSTLY = {
    "stages": {"layers": [{"kind": "batch_norm"}] * 10_000},
    "parameters of a loss": {"loss": {"name": "huber", **{f"a{i}": 1 for i in range(200_000)}}},
    "quantiles": {"loss": {"name": "quantile", "quantiles": [[0.5]] * 300_000}},
    "fields of a layer": {"layers": [{"kind": "flatten", **{f"a{i}": 1 for i in range(200_000)}}]},
    "parameters of an activation": {"layers": [{"kind": "activation", "function": ["elu"] + [0.1] * 500_000}]},
    "moments": {
        "optimizer": {"kind": "adam", "steps": 1, "product": 1.0, "averaged": False, "moments": [*range(300_000)]}
    },
    "deep layers": {
        "layers": functools.reduce(lambda inner, _: [{"kind": "residual", "layers": inner}], range(100), [])
    },
}


@pytest.mark.parametrize("name", COSTLY)
def test_descriptions_that_ask_for_much_memory_get_little(name, content, tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(description(*parts_of(content), **COSTLY[name]))
    tracemalloc.start()
    try:
        with pytest.raises(nf.LoadError, match="is damaged: "):
            nf.load(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * path.stat().st_size + 16e6  # as SECURITY.md promises
    finally:
        tracemalloc.stop()


def test_a_header_that_is_too_long_is_not_read(tmp_path):
    """The file is as long as it says, but holds nothing: it takes no room on most disks."""
    path = tmp_path / "some.safetensors"
    with open(path, "wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little") + b"{")
        file.truncate(8 + MAX_HEADER + 1)
    tracemalloc.start()
    try:
        with pytest.raises(nf.LoadError, match=f"its header has {MAX_HEADER + 1} bytes, more than {MAX_HEADER}$"):
            nf.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_is_cut_off_while_it_is_read_is_rejected(tmp_path, monkeypatch):
    from nnfast.files import safetensors

    path, check = tmp_path / "some.safetensors", safetensors._in_file
    nf.Sequential([nf.Dense(1000)], input_shape=10).save(path)  # more than a buffer

    def cut(*args):
        order = check(*args)
        path.write_bytes(path.read_bytes()[:-100])
        return order

    monkeypatch.setattr(safetensors, "_in_file", cut)
    with pytest.raises(nf.LoadError, match=r"is damaged: it ends within the array 0\.b$"):
        nf.load(path)


@pytest.mark.once
@pytest.mark.parametrize(
    "text",
    [
        "[" + "[]," * 300_000 + "[]]",
        "[" + "{}," * 300_000 + "{}]",
        "[" + '{"":0},' * 300_000 + "{}]",
        "{" + ",".join(f'"{i:x}":1' for i in range(200_000)) + "}",
        "[" + "1.5," * 600_000 + "1]",
        "[" + '"ab",' * 500_000 + "1]",
    ],
    ids=lambda text: text[:12],
)
def test_parsing_takes_no_more_memory_than_estimated(text):
    """Whether the text is rejected or parsed."""
    limit = parsing.RATIO * len(text) + parsing.ALLOWANCE
    tracemalloc.start()
    try:
        try:
            parsing.parse("it", text)
        except ValueError as error:
            assert str(error) == f"it has too many values for its length of {len(text)}"
        assert tracemalloc.get_traced_memory()[1] <= limit
        tracemalloc.reset_peak()
        estimate = sum(cost * text.count(character) for character, cost in parsing.COSTS.items())
        json.loads(text, object_pairs_hook=dict)
        assert tracemalloc.get_traced_memory()[1] <= estimate + 2 * len(text)
    finally:
        tracemalloc.stop()


# ---- the error


def test_the_error_of_loading():
    error = nf.LoadError("net.npz", "is damaged")
    assert isinstance(error, ValueError)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.path, twin.reason) == ("net.npz is damaged", "net.npz", "is damaged")


def test_both_loaders_raise_it(content, tmp_path):
    archive = io.BytesIO()
    np.savez(archive, x=X)
    for file in (archive.getvalue(), archive.getvalue()[:100], content[:100], b"text"):
        with pytest.raises(nf.LoadError):
            load_bytes(file, tmp_path)
    with pytest.raises(FileNotFoundError):
        nf.load(tmp_path / "missing.safetensors")
