"""Damaged and hostile files of every loader, briefly; `loaders.py` runs them for longer, and says what is checked."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from loaders import LOADERS, NPZ, SAFETENSORS, check_file, damaged, loaded, seconds_for
from mutations import CORPUS, archive_of, fields_of, members_of, message_of, npy, parts_of, safetensors_of
from rounds import seeds

import nnfast as nf
from nnfast import layers as layers_module

KINDS = [(name, kind) for name, loader in LOADERS.items() for kind in loader.kinds]
NAMES = [f"{name}-{kind.__name__}" for name, kind in KINDS]

pytestmark = pytest.mark.filterwarnings("ignore")  # only the result of reading a file matters


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=NAMES)
@pytest.mark.parametrize("seed", seeds(25))
def test_changed_files(seed, name, kind, tmp_path, monkeypatch):
    """And no more stages are made than layers are allowed."""
    made: list[int] = []
    add_stage = layers_module.Compiler.add_stage

    def counted(self, *args, **options):
        made.append(0)
        return add_stage(self, *args, **options)

    content = damaged(LOADERS[name], kind, seed)
    monkeypatch.setattr(layers_module.Compiler, "add_stage", counted)
    path = tmp_path / "some.file"
    path.write_bytes(content)
    loaded(LOADERS[name], path)
    assert len(made) <= 2 * layers_module.MAX_LAYERS
    monkeypatch.undo()
    check_file(LOADERS[name], content, path)


@pytest.mark.parametrize("name", LOADERS)
def test_the_corpus_is_loaded(name, tmp_path):
    for content in LOADERS[name].seeds:
        if content in CORPUS.values():  # some models of other programs are rejected, rightly
            assert check_file(LOADERS[name], content, tmp_path / "some.file").result is not None


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=NAMES)
def test_every_kind_of_change_is_loaded_and_rejected(name, kind, tmp_path):
    """Or the changes would be so small, or so large, that they test nothing."""
    path, results = tmp_path / "some.file", set()
    for seed in range(100):
        path.write_bytes(damaged(LOADERS[name], kind, seed))
        results.add(loaded(LOADERS[name], path) is not None)
    assert results == {True, False}


@pytest.mark.parametrize("name", LOADERS)
def test_what_the_harness_must_find(name, tmp_path, monkeypatch):
    """A loader that takes too much memory or time, or raises another error."""

    def greedy(path):
        return bytearray(int(loader.bound(content)) + 1)

    def wrong(path):
        raise MemoryError

    loader, path = LOADERS[name], tmp_path / "some.file"
    content = loader.seeds[0]
    with pytest.raises(AssertionError, match="bytes of memory for"):
        check_file(loader._replace(load=greedy, check=lambda *_: None), content, path)
    with pytest.raises(MemoryError):
        check_file(loader._replace(load=wrong), content, path)
    times = iter([0.0, seconds_for(content) + 0.1])
    monkeypatch.setattr("time.process_time", lambda: next(times))
    with pytest.raises(AssertionError, match="s for"):
        check_file(loader, content, path)


def test_messages_are_taken_apart_and_put_together():
    for content in LOADERS["onnx"].seeds:
        assert message_of(fields_of(content)) == content


# ---- descriptions that would take much more memory than they have characters

LONG = "\x7f" * 1_000_000  # each of which `repr` shows as four
HOSTILE = {
    "a kind": {"layers": [{"kind": LONG}]},
    "a field": {"layers": [{"kind": "dense", LONG: 1}]},
    "a list in lists": {"layers": [[[LONG]]]},
    "a dtype": {"dtype": LONG},
    "an optimizer": {"optimizer": {"kind": LONG}},
    "one wide character": {"loss": {"custom": True, "name": "a" * 1_000_000 + "\N{GRINNING FACE}"}},
    "kinds alone": {"layers": ["kind"] * 10_000 + [[]] * 40_000},
    "lists": {"layers": [[]] * 150_000},
    "names": {"loss": {f"{i:x}": 1 for i in range(2000)}},
}


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions(name, escaped, tmp_path):
    header, data = parts_of(SAFETENSORS[0])
    description = json.loads(header["__metadata__"]["nnfast"])
    text = json.dumps({**description, **HOSTILE[name]}, ensure_ascii=escaped)
    header["__metadata__"] = {"nnfast": text}
    contents = {
        "safetensors": safetensors_of(json.dumps(header, ensure_ascii=False).encode(), data),
        "npz": archive_of(
            [*(members_of(NPZ[0]) | {"description.npy": npy(np.array(text))}).items()], random.Random(0), whole=True
        ),
    }
    for form, content in contents.items():
        assert check_file(LOADERS[form], content, tmp_path / "some.file").result is None


def test_hostile_headers(tmp_path):
    def entries(shape: str, number: int) -> bytes:
        return b",".join(
            b'"%x":{"dtype":"F32","shape":%s,"data_offsets":[0,0]}' % (i, shape.encode()) for i in range(number)
        )

    metadata = b'{"__metadata__":{%s}}' % b",".join(b'"%x":""' % i for i in range(30_000))
    for header in (
        metadata,
        b"{" + entries("[]", 10_000) + b"}",
        b"{" + b" " * 1_000_000,
        b"{" + b",".join(b'"a"  :  %s  0' % (b" " * 3000) for _ in range(300)) + b"}",
        b'{"' + b'\\"' * 1_000_000,
        b'{"a":"' + b"\\\\" * 1_000_000,
        b'{"a":' + b"[]," * 100_000,
        '{"__metadata__":{"a":"\N{GRINNING FACE}"},'.encode() + entries("[1]", 10_000) + b"}",
    ):
        content = safetensors_of(header, b"")
        assert check_file(LOADERS["safetensors"], content, tmp_path / "some.file").result is None


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize(
    "layer", [nf.Dense(1, l1=0.1), nf.BatchNorm(), nf.Scale(), nf.Residual([nf.Flatten()]), nf.Flatten()], ids=repr
)
def test_many_layers(layer, ending, tmp_path):
    """They are what takes most memory for its bytes."""
    path = tmp_path / f"net.{ending}"
    nf.Sequential([layer] * 800, input_shape=1, seed=0).save(path, training_state=False)
    loader = LOADERS[ending]._replace(check=lambda net, path: None)
    assert check_file(loader, path.read_bytes(), path).result is not None
