"""Damaged and hostile files of networks: each is loaded or raises LoadError, quickly and in little memory.

`PYTHONPATH=tests python tests/fuzz/test_saved.py 300` does it for 300 seconds with ever new seeds, and prints what it
found; a second argument is the first seed. A seed that takes too long or too much memory is printed.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from mutations import (
    CORPUS,
    archive_of,
    at_most,
    changed_description,
    changed_members,
    changed_safetensors,
    members_of,
    mutated,
    npy,
)
from numpy_network import state
from rounds import seeds

import nnfast as nf
from nnfast import layers as layers_module

ARCHIVES = {name: content for name, content in CORPUS.items() if name.endswith(".npz")}
SAFETENSORS = {name: content for name, content in CORPUS.items() if name.endswith(".safetensors")}
ALL = [*CORPUS.values()]

pytestmark = pytest.mark.filterwarnings("ignore")  # only the result of reading a file matters


# ---- kinds of changes


def of_changed_bytes(rng: random.Random) -> bytes:
    return mutated(rng.choice(ALL), rng, ALL)


def of_changed_descriptions(rng: random.Random) -> bytes:
    members = members_of(rng.choice([*ARCHIVES.values()]))
    description = json.loads(str(np.load(io.BytesIO(members["description.npy"]))))
    text = json.dumps(changed_description(description, rng))
    if rng.random() < 0.05:
        text = mutated(text.encode(), rng, [text.encode()]).decode("utf-8", "replace").replace("\0", "")
    members["description.npy"] = npy(np.array(text))
    return archive_of([*members.items()], rng, whole=True)


def of_changed_members(rng: random.Random) -> bytes:
    return archive_of(changed_members(members_of(rng.choice([*ARCHIVES.values()])), rng), rng)


def of_changed_headers(rng: random.Random) -> bytes:
    return changed_safetensors(rng.choice([*SAFETENSORS.values()]), rng)


KINDS = (of_changed_bytes, of_changed_descriptions, of_changed_members, of_changed_headers)


# ---- checks


def load(path: Path) -> nf.Sequential | None:
    """The network in a file; None if it is rejected."""
    try:
        return nf.load(path)
    except nf.LoadError as error:
        assert len(str(error)) < 1000
        assert error.path == str(path)
        return None


def check_works(net: nf.Sequential, path: Path) -> None:
    """Check that it predicts, and can be saved and loaded in both formats."""
    assert net.input_shape is not None
    if float(np.prod([float(size) for size in net.input_shape])) < 10_000:
        net.predict(np.zeros((2, *net.input_shape)))
        repr(net), net._summary()
    for ending in (".npz", ".safetensors"):
        net.save(path.with_suffix(ending))
        assert state(nf.load(path.with_suffix(ending)))[:2] == state(net)[:2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(80))
def test_changed_files(seed, kind, tmp_path, monkeypatch):
    """And no more stages are made than layers are allowed."""
    made: list[int] = []
    add_stage = layers_module.Compiler.add_stage

    def counted(self, *args, **options):
        made.append(0)
        return add_stage(self, *args, **options)

    content = kind(random.Random(seed))
    monkeypatch.setattr(layers_module.Compiler, "add_stage", counted)
    path = tmp_path / "some.file"
    path.write_bytes(content)
    with at_most(16 * len(content) + 16e6):  # as SECURITY.md promises
        net = load(path)
    assert len(made) <= 2 * layers_module.MAX_LAYERS
    if net is not None:
        check_works(net, path)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus_is_loaded(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(CORPUS[name])
    net = load(path)
    assert net is not None
    check_works(net, path)


def test_every_kind_of_change_is_loaded_and_rejected(tmp_path):
    """Or the changes would be so small, or so large, that they test nothing."""
    path = tmp_path / "some.file"
    for kind in KINDS:
        loaded = set()
        for seed in range(40):
            path.write_bytes(kind(random.Random(seed)))
            loaded.add(load(path) is not None)
        assert loaded == {True, False}, kind.__name__


# ---- a long run

SLOW = 1.0  # seconds
FLOOR = 2**24  # bytes beyond 8 times the size that a file may take, however small: thousands of layers, parsed JSON


def measured(path: Path) -> tuple[nf.Sequential | None, float, int]:
    """The network, the seconds and the bytes that loading has taken; bytes are counted in a second, slower loading."""
    start = time.process_time()  # other programs may keep this one waiting
    net = load(path)
    seconds = time.process_time() - start
    del net
    tracemalloc.start()
    try:
        net = load(path)
        return net, seconds, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main(length: float, seed: int = 0) -> int:
    """Run for some seconds, print what was found, and return how many files took too long or too much memory."""
    warnings.simplefilter("ignore")
    end, loaded, first, bad = time.monotonic() + length, 0, seed, 0
    slowest, largest = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.file"
        for content in ALL:  # imports and caches, which the first loading fills
            path.write_bytes(content)
            measured(path)
        while time.monotonic() < end:
            for kind in KINDS:
                content = kind(random.Random(seed))
                path.write_bytes(content)
                net, seconds, memory = measured(path)
                over = memory - 8 * len(content)
                slowest, largest = max(slowest, seconds), max(largest, over)
                if seconds > SLOW or over > FLOOR:
                    bad += 1
                    print(f"seed {seed}, {kind.__name__}: {seconds:.2f} s, {memory:,} for {len(content):,} bytes")
                if net is not None:
                    loaded += 1
                    check_works(net, path)
            seed += 1
            if seed % 500 == 0:
                print(f"{seed - first:,} seeds", file=sys.stderr, flush=True)
    print(f"{len(KINDS) * (seed - first):,} files from seed {first}: {loaded:,} loaded, the others rejected")
    print(f"slowest {slowest:.3f} s; most memory beyond 8 times the size: {largest:,} bytes; too slow or large: {bad}")
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(float(sys.argv[1]), *map(int, sys.argv[2:3]))))
