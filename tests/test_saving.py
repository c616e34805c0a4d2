"""Networks as files: their contents, writing that is all or nothing, and rejection of everything else.

What is special about safetensors files is in `test_safetensors`.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import random
import threading
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
import pytest
from gradient_cases import LAYERS
from numpy_network import state, unchanged

import nnfast as nf
from nnfast import layers as layers_module
from nnfast.files import writing

X = np.random.default_rng(0).normal(size=(20, 3))
ENDINGS = (".npz", ".safetensors")
LABELS = np.random.default_rng(1).integers(0, 4, 20)


def make_net(*, dtype="float32", optimizer="adam"):
    """3 - 5 - 4, trained for two epochs."""
    layers = [nf.Dense(5, "tanh"), nf.Dense(4, "softmax")]
    net = nf.Sequential(layers, input_shape=3, dtype=dtype, seed=0)
    if optimizer is not None:
        net.fit(X, LABELS, epochs=2, batch_size=8, optimizer=optimizer, verbose=0)
    return net


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a saved network."""
    path = tmp_path_factory.mktemp("saved") / "net.npz"
    make_net().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module", params=ENDINGS)
def either(request, tmp_path_factory):
    """The bytes of the same network in either format."""
    path = tmp_path_factory.mktemp("saved") / f"net{request.param}"
    make_net().save(path)
    return path.read_bytes()


def load_bytes(content, tmp_path):
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    return nf.load(path)


# ---- round trips


OPTIMIZERS = [
    None,
    *nf.optimizers.OPTIMIZERS,
    nf.SGD(momentum=0.9, dampening=0.5),
    nf.Adam(amsgrad=True),
    nf.AdamW(corrected_epsilon=True),
    nf.RMSprop(momentum=0.5),
    nf.RMSprop(centered=True),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_loaded_network_is_the_saved_one(ending, dtype, optimizer, tmp_path):
    net, path = make_net(dtype=dtype, optimizer=optimizer), tmp_path / f"net{ending}"
    with unchanged(net):
        assert net.save(path) is None
    again = nf.load(path)
    assert state(again)[:2] == state(net)[:2], "parameters, optimizer, streams"
    assert (again.input_shape, again.loss_name, again.dtype) == (net.input_shape, net.loss_name, net.dtype)
    assert repr(again) == repr(net)
    assert again.history is None
    if optimizer is not None:
        assert again.train_step(X, LABELS, optimizer) == net.train_step(X, LABELS, optimizer)
        assert state(again)[:2] == state(net)[:2], "it goes on"
    assert [(layer.units, layer.activation) for layer in again.layers] == [(5, "tanh"), (4, "softmax")]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_layer_goes_on_with_the_same_bits(ending, dtype, layer, tmp_path):
    net = nf.Sequential([LAYERS[layer](3), nf.Dense(4, "softmax")], input_shape=3, dtype=dtype, seed=0)
    length = {"batch_size": 8, "optimizer": nf.AdamW(), "verbose": 0}
    net.fit(X, LABELS, steps=4, **length)  # ends within an epoch
    net.save(tmp_path / f"net{ending}")
    again = nf.load(tmp_path / f"net{ending}")
    assert state(again)[:2] == state(net)[:2]
    assert again.predict(X).tobytes() == net.predict(X).tobytes()
    for either in (net, again):
        either.fit(X, LABELS, epochs=2, **length)
    assert state(again)[:2] == state(net)[:2]


@pytest.mark.parametrize("activation", ["identity", "step", "sigmoid", "tanh", "relu", "softmax"])
@pytest.mark.parametrize("loss", ["mean_squared_error", "sum_squared_error"])
def test_every_activation_and_loss_is_kept(activation, loss, tmp_path):
    net = nf.Sequential([nf.Dense(3, activation), nf.Dense(2, activation)], input_shape=(2, 4), loss=loss)
    net.save(tmp_path / "net.npz")
    again = nf.load(tmp_path / "net.npz")
    assert repr(again) == repr(net)
    x = np.ones((5, 2, 4))
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    assert again.loss(x, np.ones((5, 2))) == net.loss(x, np.ones((5, 2)))


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_that_are_no_numbers_are_kept(ending, tmp_path):
    net = make_net()
    net.flat_params[:3] = [np.nan, np.inf, -0.0]
    net.save(tmp_path / f"net{ending}")
    assert state(nf.load(tmp_path / f"net{ending}"))[:2] == state(net)[:2]


@pytest.mark.parametrize("name", ["net.npz", "net", "net.model", "n e t.npz", "nétwörk.npz", "net.safetensors"])
@pytest.mark.parametrize("kind", [Path, str])
def test_no_ending_is_added(name, kind, tmp_path):
    net = make_net()
    net.save(kind(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert state(nf.load(kind(tmp_path / name)))[:2] == state(net)[:2]


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_net().save("net.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]
    nf.load("net.npz")


def test_saving_replaces(tmp_path):
    first, second = make_net(optimizer="sgd"), make_net()
    for net in (first, second):
        net.save(tmp_path / "net.npz")
        assert state(nf.load(tmp_path / "net.npz"))[:2] == state(net)[:2]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_a_link(tmp_path):
    try:
        (tmp_path / "link.npz").symlink_to(tmp_path / "net.npz")
    except OSError:
        pytest.skip("links cannot be made here")
    net = make_net()
    net.save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert state(nf.load(tmp_path / "net.npz"))[:2] == state(net)[:2]


def test_files_are_plain_arrays_and_a_description(content):
    """Any program can read them; files of version 1 stay readable."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        net = make_net()
        assert set(stored.files) == {"description", "0.W", "0.b", "1.W", "1.b", "optimizer.0", "optimizer.1"}
        for path in ("0.W", "0.b", "1.W", "1.b"):
            np.testing.assert_array_equal(stored[path], net.params[path])
            assert stored[path].dtype == np.float32
        assert stored["optimizer.0"].shape == stored["optimizer.1"].shape == (net.n_parameters,)
        assert stored["optimizer.1"].any()
        description = json.loads(str(stored["description"]))
    streams, noise = description.pop("streams"), description.pop("noise")
    assert set(noise) == {"seed", "steps"}
    assert noise["steps"] == 6
    assert [stream["bit_generator"] for stream in streams] == ["PCG64", "PCG64"]
    assert description == {
        "format": "nnfast",
        "version": 1,
        "layers": [
            {"kind": "dense", "units": 5, "activation": "tanh"},
            {"kind": "dense", "units": 4, "activation": "softmax"},
        ],
        "input_shape": [3],
        "loss": "cross_entropy",
        "dtype": "float32",
        "optimizer": {"kind": "adam", "steps": 6, "product": 1.0, "moments": [0, 1], "averaged": False},
        "place": {"epochs": 2},
    }


# ---- all or nothing


def test_an_unbuilt_network_has_nothing_to_save(tmp_path):
    with pytest.raises(RuntimeError, match="input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(2)]).save(tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt(), MemoryError()], ids=type)
@pytest.mark.parametrize("failing", ["replace", "fsync", "open", "write"])
@pytest.mark.parametrize("older", [True, False], ids=["older file", "new file"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failure_leaves_the_older_file_and_no_rest(ending, failing, error, older, tmp_path, monkeypatch):
    path = tmp_path / f"net{ending}"
    if older:
        make_net(optimizer=None).save(path)
    before = path.read_bytes() if older else None

    def fail(*arguments, **keywords):
        raise error

    class Full(io.FileIO):
        """A disk that is full after a number of bytes."""

        def write(self, data):
            super().write(bytes(data[:100]))
            raise error

    if failing == "open":
        monkeypatch.setattr(writing, "open", fail, raising=False)
    elif failing == "write":
        monkeypatch.setattr(writing, "open", lambda path, mode: Full(path, mode.replace("b", "")), raising=False)
    else:
        monkeypatch.setattr(os, failing, fail)
    net = make_net()
    with unchanged(net), pytest.raises(type(error)):
        net.save(path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if older else [])
    if older:
        assert path.read_bytes() == before
    net.save(path)
    assert state(nf.load(path))[:2] == state(net)[:2]


@pytest.mark.skipif(os.name == "nt", reason="a file that is being read cannot be replaced there")
def test_threads_may_save_to_one_file_and_read_it_at_once(tmp_path):
    """The file always contains one whole network."""
    nets = [make_net(optimizer=optimizer) for optimizer in ("sgd", "adam")]
    states = [state(net)[:2] for net in nets]
    path = tmp_path / "net.npz"
    nets[0].save(path)
    errors = []

    def run(work):
        try:
            for _ in range(40):
                work()
        except Exception as error:
            errors.append(error)

    def read():
        if state(nf.load(path))[:2] not in states:
            raise AssertionError("neither the one nor the other")

    works = [read, *(lambda net=net: net.save(path) for net in nets * 2)]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


def test_places_that_cannot_be_written(tmp_path):
    net = make_net()
    with pytest.raises(FileNotFoundError):
        net.save(tmp_path / "nowhere" / "net.npz")
    with pytest.raises(OSError, match="folder"):
        net.save(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        net.save(tmp_path / "file" / "net.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob("*.part"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no folder is closed to this user")
def test_a_folder_that_is_closed(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            make_net().save(tmp_path / "net.npz")
    finally:
        tmp_path.chmod(0o700)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 3, io.BytesIO()])
def test_paths_are_paths(path):
    with pytest.raises(TypeError):
        make_net().save(path)
    with pytest.raises(TypeError):
        nf.load(path)


# ---- damaged files


def assert_refused_or_the_same(content, tmp_path, expected):
    """Expect a LoadError that names the file; or, if the damage is in unused bytes, the same network."""
    try:
        net = load_bytes(content, tmp_path)
    except nf.LoadError as error:
        assert error.path == str(tmp_path / "some.npz")
        return False
    assert state(net)[:2] == expected
    return True


def test_a_file_that_was_cut_off_is_refused(either, tmp_path):
    for length in {*range(0, len(either), 13), *range(len(either) - 100, len(either))}:
        with pytest.raises(nf.LoadError, match=r"some\.npz (is not a network saved by nnfast|is damaged)"):
            load_bytes(either[:length], tmp_path)


def test_a_flipped_bit_never_passes_unseen(either, tmp_path):
    """One bit in various places. Dates and the like may differ; the network may not."""
    expected = state(make_net())[:2]
    bits = random.Random(0)
    places = range(0, len(either), 5)
    harmless = 0
    for i in places:
        damaged = bytearray(either)
        damaged[i] ^= 1 << bits.randrange(8)
        harmless += assert_refused_or_the_same(bytes(damaged), tmp_path, expected)
    assert harmless < len(places) / 4


@pytest.mark.once
def test_every_bit_flipped_of_the_headers_of_an_array(content, tmp_path):
    """In its two entries in the archive and in its own header."""
    expected = state(make_net())[:2]
    name = b"0.b.npy"
    local, central = content.index(name), content.rindex(name)
    places = [*range(local - 30, content.index(b"\n", local) + 1), *range(central - 46, central + len(name))]
    for i in places:
        for bit in range(8):
            damaged = bytearray(content)
            damaged[i] ^= 1 << bit
            assert_refused_or_the_same(bytes(damaged), tmp_path, expected)


def test_a_block_of_rubbish_is_refused(either, tmp_path):
    expected = state(make_net())[:2]
    bits = random.Random(1)
    for _ in range(200):
        i, n = bits.randrange(len(either)), bits.randrange(1, 200)
        damaged = either[:i] + bits.randbytes(min(n, len(either) - i)) + either[i + n :]
        assert_refused_or_the_same(damaged, tmp_path, expected)
        assert_refused_or_the_same(either[:i] + either[i + n :], tmp_path, expected)


# ---- files from other sources


def write_archive(members, compression=zipfile.ZIP_STORED, *, packed=None):
    """Write an archive with these members, arrays or raw bytes, of which all or one are compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, member in members.items():
            if not isinstance(member, bytes):
                array = io.BytesIO()
                np.save(array, member, allow_pickle=True)
                member = array.getvalue()
            archive.writestr(f"{name}.npy", member, zipfile.ZIP_DEFLATED if name == packed else None)
    return buffer.getvalue()


def members_of(content):
    with np.load(io.BytesIO(content)) as stored:
        return {name: stored[name] for name in stored.files}


def with_description(content, change):
    """The file with its description changed, and otherwise intact."""
    members = members_of(content)
    description = json.loads(str(members["description"]))
    change(description)
    return write_archive(members | {"description": np.array(json.dumps(description))})


def test_an_archive_written_anew_is_the_network(content, tmp_path):
    """So that the files in the tests below are rejected only because of what they change."""
    assert state(load_bytes(write_archive(members_of(content)), tmp_path))[:2] == state(make_net())[:2]
    assert state(load_bytes(with_description(content, lambda d: None), tmp_path))[:2] == state(make_net())[:2]


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\n",
        b"a text\n" * 100,
        bytes(range(256)) * 20,
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY\x01\x00",
        pickle.dumps({"format": "nnfast"}),
        write_archive({"x": np.arange(3), "y": np.arange(3)}),
        write_archive({"description": np.array("{}")}),
        write_archive({"description": np.array('{"format": "other", "version": 1}')}),
        write_archive({"description": np.array("[1, 2]")}),
        write_archive({"description": np.array("null")}),
    ],
)
def test_files_of_others_are_refused(foreign, tmp_path):
    with pytest.raises(ValueError, match=r"some\.npz is not a network saved by nnfast"):
        load_bytes(foreign, tmp_path)


def test_an_array_is_not_a_network(tmp_path):
    np.save(tmp_path / "array.npy", np.arange(5))
    with pytest.raises(ValueError, match=r"array\.npy is not a network saved by nnfast"):
        nf.load(tmp_path / "array.npy")
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("description", "text")
        archive.writestr("readme.txt", "text")
    with pytest.raises(ValueError, match=r"texts\.zip"):
        nf.load(tmp_path / "texts.zip")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nf.load(tmp_path / "net.npz")
    with pytest.raises(OSError, match=str(tmp_path.name)):
        nf.load(tmp_path)


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5, True])
def test_what_is_no_version_is_damage(version, content, tmp_path):
    def change(description):
        description["version"] = version

    message = rf"some\.npz is damaged: the version in its description must be an integer from 1, got {version!r}$"
    with pytest.raises(ValueError, match=message):
        load_bytes(with_description(content, change), tmp_path)
    with pytest.raises(ValueError, match=r"the version in its description must be .*, got None$"):
        load_bytes(with_description(content, lambda d: d.pop("version")), tmp_path)


def test_arrays_are_named_once_while_loading(monkeypatch, tmp_path):
    """Not once for each array: the time is linear in the number of layers."""
    from nnfast import _network

    calls, views = [], _network.views
    monkeypatch.setattr(_network, "views", lambda *args: calls.append(0) or views(*args))
    for layers in (2, 30):
        net = nf.Sequential([nf.Dense(2)] * layers, input_shape=2, seed=0)
        calls.clear()
        net.save(tmp_path / "net.npz")
        nf.load(tmp_path / "net.npz")
        assert len(calls) <= 4


@pytest.mark.parametrize("version", [3, 99])
def test_other_versions_are_refused(version, content, tmp_path):
    def change(description):
        description["version"] = version

    message = f"version {version!r} of the format, and this nnfast reads up to 2: install a newer one"
    with pytest.raises(ValueError, match=message):
        load_bytes(with_description(content, change), tmp_path)


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("trap"),)


@pytest.mark.parametrize("place", ["description", "0.W", "optimizer.0", "more"])
def test_nothing_in_a_file_is_run(place, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trapped = write_archive(members_of(content) | {place: np.array([Trap()], object)})
    if place == "more":  # an unknown member
        try:
            load_bytes(trapped, tmp_path)
        except ValueError as error:
            assert "some.npz" in str(error)
    else:
        with pytest.raises(ValueError, match=r"some\.npz"):
            load_bytes(trapped, tmp_path)
    assert not Path("trap").exists()


def changed(**values):
    return lambda description: description.update(values)


def slot(**values):
    """Another state of the optimizer."""
    return lambda description: description["optimizer"].update(values)


def layer(**values):
    return lambda description: description["layers"][0].update(values)


CHANGES = {
    "units that are a list": layer(units=[0]),
    "units that are a truth": layer(units=True),
    "units beyond any array": layer(units=2**31),
    "a shape of texts": changed(input_shape=["A"]),
    "a shape of too many axes": changed(input_shape=[2**31 - 1] * 10**5),
    "steps that are a truth": lambda d: d["optimizer"].update(steps=True),
    "no layers": changed(layers=[]),
    "layers of another kind": layer(kind="conv"),
    "layers without a kind": lambda d: d["layers"][0].pop("kind"),
    "layers that are no list": changed(layers=7),
    "layers that are null": changed(layers=None),
    "a layer that is no object": changed(layers=[1, 2]),
    "fewer layers": lambda d: d["layers"].pop(),
    "more layers": lambda d: d["layers"].append(d["layers"][0]),
    "other units": layer(units=6),
    "no units": layer(units=0),
    "negative units": layer(units=-5),
    "units that are a fraction": layer(units=5.5),
    "units that are a text": layer(units="A"),
    "an absurd number of units": layer(units=2**70),
    "an unknown activation": layer(activation="swish"),
    "an activation that is null": layer(activation=None),
    "another shape": changed(input_shape=[4]),
    "no shape": changed(input_shape=None),
    "an empty shape": changed(input_shape=[]),
    "an absurd shape": changed(input_shape=[10**30]),
    "a shape that is a text": changed(input_shape="abc"),
    "an unknown loss": changed(loss="hinge"),
    "a loss that does not fit": changed(loss="binary_cross_entropy"),
    "another dtype": changed(dtype="float64"),
    "an unknown dtype": changed(dtype="float16"),
    "no dtype": changed(dtype="nothing"),
    "a dtype of objects": changed(dtype="O"),
    "a structure as dtype": changed(dtype="f4,f4"),
    "no streams": changed(streams=[]),
    "streams of nothing": changed(streams=[None, None]),
    "streams of another kind": changed(streams=[{"bit_generator": "MT19937"}] * 2),
    "more streams": lambda d: d["streams"].append(d["streams"][0]),
    "an absurd state of a stream": lambda d: d["streams"][0]["state"].update(state=2**200),
    "a negative state of a stream": lambda d: d["streams"][0]["state"].update(state=-1),
    "an unknown optimizer": slot(kind="lamb"),
    "an optimizer without steps": lambda d: d["optimizer"].pop("steps"),
    "an optimizer of negative steps": slot(steps=-1),
    "an optimizer of an absurd number of steps": slot(steps=2**70),
    "an optimizer of a fraction of steps": slot(steps=1.5),
    "an optimizer without moments": lambda d: d["optimizer"].pop("moments"),
    "an optimizer of moments that there are not": slot(moments=[0, 1, 3]),
    "an optimizer of a moment too few": slot(moments=[0]),
    "an optimizer of moments that are a text": slot(moments="01"),
    "an optimizer of a moment that is a text": slot(moments=[0, "1"]),
    "an optimizer without a product": lambda d: d["optimizer"].pop("product"),
    "an optimizer of an impossible product": slot(product=1.5),
    "an optimizer of a product that is a text": slot(product="1"),
    "an optimizer that is a text": changed(optimizer="adam"),
    "an optimizer that is a list": changed(optimizer=[1]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_descriptions_that_do_not_fit_are_refused(name, content, tmp_path):
    with pytest.raises(ValueError, match=r"some\.npz is damaged"):
        load_bytes(with_description(content, CHANGES[name]), tmp_path)


@pytest.mark.parametrize("key", ["layers", "input_shape", "loss", "dtype", "streams", "optimizer"])
def test_descriptions_that_lack_something_are_refused(key, content, tmp_path):
    with pytest.raises(ValueError, match=rf"some\.npz is damaged: its description has no '{key}'$"):
        load_bytes(with_description(content, lambda d: d.pop(key)), tmp_path)


@pytest.mark.parametrize("key", ["kind", "units", "activation"])
def test_layers_that_lack_something_are_refused(key, content, tmp_path):
    with pytest.raises(ValueError, match=rf"some\.npz is damaged: its description has no '{key}'$"):
        load_bytes(with_description(content, lambda d: d["layers"][0].pop(key)), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": "nnfast", "version": 1, ', "nnfast", "[" * 200_000, '{"a":' * 100_000]
)
def test_descriptions_that_are_no_json_are_refused(text, content, tmp_path):
    members = members_of(content) | {"description": np.array(text)}
    with pytest.raises(ValueError, match=r"some\.npz"):
        load_bytes(write_archive(members), tmp_path)


@pytest.mark.parametrize("description", [np.zeros(3), np.array(["a", "b"]), np.array(b"{}"), np.array(1.5), b"nothing"])
def test_descriptions_that_are_no_text_are_refused(description, content, tmp_path):
    with pytest.raises(ValueError, match=r"some\.npz"):
        load_bytes(write_archive(members_of(content) | {"description": description}), tmp_path)


@pytest.mark.parametrize("path", ["0.W", "1.b", "optimizer.1"])
def test_arrays_that_do_not_fit_are_refused(path, content, tmp_path):
    members = members_of(content)
    array = members[path]
    without = {name: member for name, member in members.items() if name != path}
    with pytest.raises(ValueError, match=rf"some\.npz is damaged: the array {path} is missing"):
        load_bytes(write_archive(without), tmp_path)
    for wrong in (
        array.ravel()[:-1], array[None], array.astype(np.float64), array.astype(np.complex64), array.astype("S4"),
        array.view(np.int32), array.view("V4"), array.view("M8[s]") if array.nbytes % 8 == 0 else array[:0], b"rubbish",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"some\.npz is damaged"):
            load_bytes(write_archive(members | {path: wrong}), tmp_path)


def header(shape, dtype="<f4", text=None):
    """The beginning of a .npy file with this header."""
    text = text or f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "start",
    [
        header((2**40, 4)),
        header((2**62, 2**62)),
        header((2**40,), "V1000000"),
        header((-1, 4)),
        header((5, 4), "O"),
        header((5, 4), text="{'descr': '<f4', 'shape': (5, 4)"),
        header((5, 4), text="__import__('os').abort()"),
        header((5, 4), text="(" * 100),
    ],
)
def test_headers_that_lie_are_refused_before_room_is_made(start, content, tmp_path):
    """`numpy` allocates what a header declares before it reads the data."""
    members = members_of(content)
    lying = write_archive(members | {"1.W": start + bytes(80)})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"some\.npz"):
            load_bytes(lying, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", ["0.W", "description", "more", "layers"])
def test_a_small_file_takes_little_memory(packed, content, tmp_path):
    """Not the size it unpacks to: it contains many compressed zeros."""
    members = members_of(content)
    if packed == "layers":  # the network would be as large
        units = 3_000_000
        members["0.W"], members["0.b"] = np.zeros((3, units), np.float32), np.zeros(1, np.float32)
        description = json.loads(str(members["description"]))
        description["layers"][0]["units"], description["optimizer"] = units, None
        members["description"] = np.array(json.dumps(description))
        file = write_archive(members, packed="0.W")
    else:
        members[packed] = np.zeros(30_000_000, np.uint8)
        file = write_archive(members, packed=packed)
    assert len(file) < 1_000_000
    tracemalloc.start()
    try:
        assert_refused_or_the_same(file, tmp_path, state(make_net())[:2])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_packed_arrays_are_refused_before_they_are_unpacked(content, tmp_path):
    with pytest.raises(ValueError, match=r"some\.npz is damaged: the array 1\.W is compressed"):
        load_bytes(write_archive(members_of(content), packed="1.W"), tmp_path)


def test_a_packed_description_that_lies_about_its_size_is_not_unpacked(content, tmp_path):
    """`zipfile` unpacks everything before it cuts it to the size in the list of members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, zipfile.ZipFile(io.BytesIO(content)) as original:
        for info in original.infolist():
            if info.filename == "description.npy":
                member = original.read(info) + bytes(30_000_000)
                archive.writestr(info.filename, member, zipfile.ZIP_DEFLATED)
            else:
                archive.writestr(info.filename, original.read(info))
    lying = bytearray(packed.getvalue())
    entry = lying.rindex(b"description.npy") - 46
    lying[entry + 24 : entry + 28] = (5000).to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"some\.npz"):
            load_bytes(bytes(lying), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_ways_of_packing_that_this_format_does_not_use_are_refused_or_read(content, tmp_path):
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = bytearray(write_archive(members_of(content), compression))
        assert_refused_or_the_same(bytes(packed), tmp_path, state(make_net())[:2])
        for i in range(40, len(packed) // 2, 29):
            packed[i] ^= 0xFF
            assert_refused_or_the_same(bytes(packed), tmp_path, state(make_net())[:2])
            packed[i] ^= 0xFF


# ---- small files that need much memory


def nested(matrices):
    """The beginning of an archive whose members contain each other, and their entries with offsets."""
    entries, region = [], b""
    for name, shape in reversed(matrices):
        content = header(shape) + bytes(4 * prod(shape) - len(region)) + region
        local = zipfile.ZipInfo(f"{name}.npy")
        local.file_size = local.compress_size = len(content)
        local.CRC = zlib.crc32(content)
        region = local.FileHeader() + content
        entries.append((local, len(region)))
    return region, [(local, len(region) - rest) for local, rest in entries]


def test_members_that_overlap_are_refused_before_room_is_made(tmp_path):
    """Each is nearly as long as the whole file, which is otherwise intact."""
    sizes = range(200, 160, -1)
    net = nf.Sequential([nf.Dense(n, use_bias=False) for n in sizes[1:]], input_shape=sizes[0], seed=0)
    net.save(tmp_path / "net.npz")
    description = members_of((tmp_path / "net.npz").read_bytes())["description"]
    region, entries = nested([(f"{i}.W", shape) for i, shape in enumerate(itertools.pairwise(sizes))])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.fp.write(region)
        archive.start_dir = archive.fp.tell()
        for info, at in entries:
            info.header_offset = at
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
        array = io.BytesIO()
        np.save(array, description)
        archive.writestr("description.npy", array.getvalue())
    content = buffer.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sum(info.file_size for info in archive.infolist()) > 25 * len(content)
    with peak() as memory, pytest.raises(ValueError, match="its members overlap: together they have"):
        load_bytes(content, tmp_path)
    assert memory() < 2 * len(content)


@contextmanager
def peak():
    """Yield a function that returns the peak memory of the block in bytes."""
    tracemalloc.start()
    try:
        seen = []
        yield lambda: seen[0]
        seen.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_two_members_of_one_name_are_refused(content, tmp_path):
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("0.W.npy", b"another")
    with pytest.raises(ValueError, match=r"or is damaged: there are two members named '0\.W\.npy'"):
        load_bytes(buffer.getvalue(), tmp_path)


def test_a_long_list_of_members_is_refused_before_it_is_read(content, tmp_path):
    """`zipfile` makes an object of about 800 bytes from each entry of 46."""
    entry = b"PK\x01\x02" + bytes(42)
    n = 2**24 // len(entry) + 1
    file = content + entry * n
    file += b"PK\x05\x06" + bytes(8) + (len(entry) * n).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    path = tmp_path / "some.npz"
    path.write_bytes(file + bytes(2))
    with peak() as memory, pytest.raises(ValueError, match=r"its list of members has \d+ bytes, more than \d+$"):
        nf.load(path)
    assert memory() < 1_000_000


WIDE = {
    "quantiles": ([nf.Activation("relu")], nf.losses.Quantile([0.1, 0.9])),
    "noise": ([nf.Dropout(0.5), nf.GaussianNoise(0.1)], None),
    "sums": ([nf.Residual([nf.Activation("tanh"), nf.Residual([nf.Rescaling(2.0)])])] * 3, None),
    "norms": ([nf.LayerNorm(affine=False)], None),
    "classes": ([nf.Activation("softmax")], "cross_entropy"),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_wide_network_without_weights_takes_no_memory(ending, name, tmp_path):
    layers, loss = WIDE[name]
    with peak() as memory:
        net = nf.Sequential(layers, input_shape=2**28, loss=loss)
        net.save(tmp_path / f"net{ending}")
        assert nf.load(tmp_path / f"net{ending}").input_shape == (2**28,)
    assert (tmp_path / f"net{ending}").stat().st_size < 10_000
    assert memory() < 1_000_000


def test_more_outputs_than_the_engine_counts_are_refused(content, tmp_path):
    def change(description):
        description.update(layers=[{"kind": "rescaling", "scale": 1.0}] * 257, input_shape=[2**31 - 1], loss="huber")

    with pytest.raises(ValueError, match=r"is damaged: the layers of a network can have at most \d+ outputs together"):
        load_bytes(with_description(content, change), tmp_path)


def deep(depth, width):
    """Nested residual layers, with other layers before each."""
    chain = [{"kind": "layer_norm"}] * width
    for _ in range(depth):
        chain = [*chain[:width], {"kind": "residual", "layers": chain}]
    return chain


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"kind": "layer_norm"}] * 11_000, "at most 10,000 layers, those within residual layers included, got 11"),
        ([{"kind": "layer_norm"}] * 100_000, "has too many values for its length"),
        (deep(50, 220), "at most 10,000 layers"),
        (deep(101, 2), "residual layers must be at most 100 deep within each other, got 101"),
        ([7], "layers must be a list of descriptions"),
    ],
)
def test_too_many_layers_are_refused_before_one_is_made(layers, message, content, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(nf.LayerNorm, "__init__", lambda layer: made.append(layer))
    with pytest.raises(ValueError, match=message):
        load_bytes(with_description(content, changed(layers=layers)), tmp_path)
    assert made == []


def test_each_layer_is_made_and_checked_once(content, tmp_path, monkeypatch):
    """Not once for each level above it: the time is linear."""
    made = []
    settle = nf.LayerNorm.settle
    monkeypatch.setattr(nf.LayerNorm, "settle", lambda *args: made.append(0) or settle(*args))
    monkeypatch.setattr(layers_module.residual, "walk", lambda *args: pytest.fail("walked"))
    layers_module.layers_from(deep(100, 5))
    assert len(made) == 505


@pytest.mark.once
@pytest.mark.parametrize("ending", ENDINGS)
def test_as_many_layers_as_there_may_be_are_kept(ending, tmp_path):
    path = tmp_path / f"net{ending}"
    net = nf.Sequential([nf.Rescaling(1.0)] * layers_module.MAX_LAYERS, input_shape=2)
    net.save(path)
    with peak() as memory:
        assert len(nf.load(path).layers) == layers_module.MAX_LAYERS
    assert memory() < 16 * path.stat().st_size + 16e6
    with pytest.raises(ValueError, match="a network can have at most 10,000 layers, .*, got 10,001"):
        nf.Sequential([nf.Rescaling(1.0)] * (layers_module.MAX_LAYERS + 1), input_shape=2)


def test_layers_that_double_are_counted_not_walked():
    chain = [nf.Rescaling(1.0)]
    with pytest.raises(ValueError, match="at most 10,000 layers"):
        for _ in range(100):
            chain = [nf.Residual(chain), nf.Residual(chain)]


def test_messages_do_not_repeat_the_file(content, tmp_path):
    for change in (
        changed(loss="x" * 100_000), changed(dtype="x" * 100_000), layer(kind="x" * 100_000),
        layer(units="9" * 100_000), changed(input_shape=["x" * 100_000]), slot(kind="x" * 100_000),
        changed(version="x" * 100_000),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"some\.npz is damaged") as caught:
            load_bytes(with_description(content, change), tmp_path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("number", ["1" * 5000, "1e400", "-1", "NaN", "1" * 4000])
def test_absurd_numbers_are_refused(number, content, tmp_path):
    members = members_of(content)
    text = str(members["description"]).replace('"units": 5', f'"units": {number}')
    with pytest.raises(ValueError, match=r"some\.npz is damaged"):
        load_bytes(write_archive(members | {"description": np.array(text)}), tmp_path)


@pytest.mark.parametrize("text", ["-" * 9000 + "1", "(" * 9000, "[" * 150 + "]" * 150, "{'descr': " * 900])
def test_headers_that_overwhelm_the_parser_are_refused(text, content, tmp_path):
    """Python raises MemoryError for some; load raises it only if memory runs out."""
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    raw = (start + bytes(10_000))[: 80 + 1000]
    for member in (raw, start):
        with pytest.raises(ValueError, match=r"some\.npz is"):
            load_bytes(write_archive(members_of(content) | {"1.W": member}), tmp_path)
        with pytest.raises(ValueError, match=r"some\.npz is"):
            load_bytes(write_archive(members_of(content) | {"description": member}), tmp_path)


def test_an_unknown_version_of_an_array_is_refused(content, tmp_path):
    raw = bytearray(header((5, 4)) + bytes(80))
    raw[6] = 9
    with pytest.raises(ValueError, match=r"unknown version \(9, 0\) of the \.npy format"):
        load_bytes(write_archive(members_of(content) | {"1.W": bytes(raw)}), tmp_path)


# ---- what can be saved, and how


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError(28, "No space left on device")], ids=type)
def test_an_error_within_the_archive_is_itself(error, tmp_path, monkeypatch):
    """And not the error at the end of the archive, "I/O operation on closed file"."""

    def fail(file, header):
        file.write(b"half")
        raise error

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", fail)
    with pytest.raises(type(error), match=str(error.args[-1])):
        make_net().save(tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_saving_takes_no_memory_for_the_file(ending, tmp_path):
    """And loading takes little more than three times its size: arrays that are read, the network's, its gradients."""
    net, path = nf.Sequential([nf.Dense(4000)], input_shape=2000, seed=0), tmp_path / f"net{ending}"
    with peak() as memory:
        net.save(path)
    size = path.stat().st_size
    assert size > 32_000_000
    assert memory() < 1_000_000
    with peak() as memory:
        nf.load(path)
    assert memory() < 4 * size


def test_files_are_those_of_numpy(content):
    """Equal to the byte, except for dates."""
    members = members_of(content)
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    expected = zipfile.ZipFile(buffer)
    with expected, zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == expected.namelist()
        for name in archive.namelist():
            assert archive.read(name) == expected.read(name)


def test_what_load_would_refuse_is_not_saved(tmp_path):
    class Mine(nf.Rescaling):
        kind = "mine"

    for net, message in (
        (nf.Sequential([nf.Dense(1)], input_shape=(1,) * 65), "input_shape must have at most 64 axes, got 65"),
        (nf.Sequential([Mine(1.0)], input_shape=1), "unknown kind of layer 'mine'"),
    ):
        with pytest.raises(ValueError, match=f"this network cannot be saved, because load would reject it: {message}"):
            net.save(tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.once
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_longest_description_that_there_can_be_is_read(ending, tmp_path):
    layers = [nf.Dense(1, nf.activations.LeakyReLU(1 / 3), l1=1 / 3, l2=1 / 7, use_bias=False, trainable=False)]
    loss = nf.losses.Quantile(np.linspace(0, 1, 10_002)[1:-1].tolist())
    net = nf.Sequential([*layers * 9998, nf.Dense(10_000)], input_shape=1, loss=loss, seed=0)
    net.save(tmp_path / f"net{ending}")
    assert repr(nf.load(tmp_path / f"net{ending}").loss_function) == repr(loss)
