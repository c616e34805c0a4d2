"""One harness for all loaders of files: what damages a file, and what is watched while it is loaded.

`PYTHONPATH=tests python tests/fuzz/loaders.py LOADER SECONDS [SEED]` damages files for so many seconds of this
process's time, with ever new seeds, and prints what it found. LOADER is npz, safetensors, onnx or idx.

A file is loaded or rejected with the documented error. Anything else counts against the loader: another exception
(among them MemoryError: something was to be allocated that the file does not hold), more than `seconds_for` it, or more
memory than `Loader.bound`, as SECURITY.md promises. If the process itself ends, the file is left where it was printed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import random
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import (
    CORPUS,
    LENGTH,
    archive_of,
    changed_description,
    changed_idx,
    changed_members,
    changed_message,
    changed_safetensors,
    iterate_fields,
    members_of,
    mutated,
    npy,
)
from numpy_network import state

import nnfast as nf
from nnfast.datasets import read_idx
from nnfast.files.onnx.graph import MAX_NAMES, MAX_NODES
from nnfast.files.onnx.schema import Model, Node
from nnfast.layers import MAX_LAYERS

MODELS = Path(__file__).parent.parent / "onnx_models"
BASE = 2**20  # bytes that any file may take in addition
PER_LAYER = 3072  # bytes for each layer that a file names
PER_ENTRY, PER_NAME = 4096, 128  # bytes for each node or array of an ONNX graph, and for each input or output of one
PROGRESS = 30.0  # seconds
STUCK = 600.0  # seconds after which the stack is printed, and the process ends; other programs may keep it waiting


# ---- what is allowed


def seconds_for(content: bytes) -> float:
    """Return the most time that a file may take: 10 seconds for each megabyte beyond the first second."""
    return 1 + 10 * len(content) / 1e6


def bound_of_network(content: bytes) -> float:
    layers = content.count(b"kind") + content.count("kind".encode("utf-32-le"))
    return 8 * len(content) + BASE + PER_LAYER * min(layers, MAX_LAYERS)


def bound_of_onnx(content: bytes) -> float:
    entries = names = 0
    with contextlib.suppress(IndexError, ValueError):  # it is counted as far as it can be read
        for number, kind, graph in iterate_fields(content):
            if (number, kind) == (Model.GRAPH, LENGTH):
                for _, kind, entry in iterate_fields(graph):
                    if kind == LENGTH:
                        entries += 1
                        with contextlib.suppress(IndexError, ValueError):
                            names += sum(field in (Node.INPUT, Node.OUTPUT) for field, _, _ in iterate_fields(entry))
    return 8 * len(content) + BASE + PER_ENTRY * min(entries, 2 * MAX_NODES) + PER_NAME * min(names, MAX_NAMES)


def bound_of_idx(content: bytes) -> float:
    size = _unpacked(content) if content.startswith(b"\x1f\x8b") else len(content)
    return 1.2 * size + 2 * BASE


def _unpacked(content: bytes) -> int:
    """Return how many bytes gzip data holds, as far as it is not damaged."""
    size = 0
    while content:
        stream = zlib.decompressobj(31)
        try:
            size += len(stream.decompress(content))
        except zlib.error:
            return size + 1032 * len(content)
        content = stream.unused_data.lstrip(b"\0")
    return size


# ---- what is done with a network that was loaded


def check_network(net: nf.Sequential, path: Path) -> None:
    """Check that it predicts, and can be saved and loaded in both formats."""
    assert net.input_shape is not None
    if float(np.prod([float(size) for size in net.input_shape])) < 10_000:
        with np.errstate(all="ignore"):
            net.predict(np.zeros((2, *net.input_shape)))
        repr(net), net._summary()
    for ending in (".npz", ".safetensors"):
        net.save(path.with_suffix(ending))
        assert state(nf.load(path.with_suffix(ending)))[:2] == state(net)[:2]


def check_array(array: np.ndarray, path: Path) -> None:
    assert array.dtype.isnative
    assert array.flags.writeable


# ---- kinds of changes


def corpus(*endings: str) -> list[bytes]:
    return [content for name, content in CORPUS.items() if name.endswith(endings)]


NPZ, SAFETENSORS = corpus(".npz"), corpus(".safetensors")
ONNX = [*corpus(".onnx"), *(path.read_bytes() for path in sorted(MODELS.glob("*.onnx")))]
IDX = corpus(".idx", ".gz")
OTHERS = [*CORPUS.values()]  # of which pieces get into a file


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    return mutated(content, rng, OTHERS)


def description_of_npz(content: bytes, rng: random.Random) -> bytes:
    members = members_of(content)
    description = json.loads(str(np.load(io.BytesIO(members["description.npy"]))))
    text = json.dumps(changed_description(description, rng))
    if rng.random() < 0.05:
        text = mutated(text.encode(), rng, [text.encode()]).decode("utf-8", "replace").replace("\0", "")
    members["description.npy"] = npy(np.array(text))
    return archive_of([*members.items()], rng, whole=True)


def members_of_npz(content: bytes, rng: random.Random) -> bytes:
    return archive_of(changed_members(members_of(content), rng), rng)


def fields_of_onnx(content: bytes, rng: random.Random) -> bytes:
    return changed_message(content, rng, ONNX)


def header_of_idx(content: bytes, rng: random.Random) -> bytes:
    return changed_idx(content, rng, IDX)


# ---- loaders


class Loader(NamedTuple):
    """A function that reads files, and all that is known of it."""

    seeds: list[bytes]
    kinds: tuple[Callable[[bytes, random.Random], bytes], ...]
    load: Callable[[Path], Any]
    check: Callable[[Any, Path], None]
    bound: Callable[[bytes], float]
    error: type[ValueError] = nf.LoadError


LOADERS = {
    "npz": Loader(NPZ, (changed_bytes, description_of_npz, members_of_npz), nf.load, check_network, bound_of_network),
    "safetensors": Loader(SAFETENSORS, (changed_bytes, changed_safetensors), nf.load, check_network, bound_of_network),
    "onnx": Loader(ONNX, (changed_bytes, fields_of_onnx), nf.from_onnx, check_network, bound_of_onnx),
    "idx": Loader(IDX, (changed_bytes, header_of_idx), read_idx, check_array, bound_of_idx, ValueError),
}


def damaged(loader: Loader, kind: Callable[[bytes, random.Random], bytes], seed: int) -> bytes:
    """Return a file that is damaged in one of the ways of a loader."""
    rng = random.Random(seed)
    return kind(rng.choice(loader.seeds), rng)


def loaded(loader: Loader, path: Path) -> Any:
    """Return what is in a file; None if it is rejected."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loader.load(path)
    except loader.error as error:
        assert type(error) in (nf.LoadError, ValueError)
        assert len(str(error)) < 3000
        assert str(error).startswith(str(path))
        return None


class Measured(NamedTuple):
    result: Any
    seconds: float
    memory: int


def measured(loader: Loader, path: Path) -> Measured:
    """Load a file twice: once for the time, and once for the memory, which makes it slower."""
    start = time.process_time()  # other programs may keep this one waiting
    result = loaded(loader, path)
    seconds = time.process_time() - start
    del result
    tracemalloc.start()
    try:
        result = loaded(loader, path)
        return Measured(result, seconds, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def check_file(loader: Loader, content: bytes, path: Path) -> Measured:
    """Load a file and check everything about it; AssertionError if it takes too long or too much memory."""
    path.write_bytes(content)
    found = measured(loader, path)
    if found.result is not None:
        loader.check(found.result, path)
    assert found.seconds <= seconds_for(content), f"{found.seconds:.2f} s for {len(content):,} bytes"
    assert found.memory <= loader.bound(content), f"{found.memory:,} bytes of memory for {len(content):,}"
    return found


# ---- a long run


def warm_up(loader: Loader, path: Path) -> None:
    """Load the corpus: imports and caches, which the first loading fills, are not counted."""
    for content in loader.seeds:
        path.write_bytes(content)
        measured(loader, path)


def main(name: str, length: float, seed: int = 0) -> int:
    """Run for some seconds of the process's time, print what was found, and return how many files were bad."""
    warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
    loader, first, good, bad, slowest, largest = LOADERS[name], seed, 0, 0, 0.0, -sys.maxsize
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    path = folder / "some.file"
    print(f"{path} is the file being loaded", file=sys.stderr, flush=True)
    warm_up(loader, path)
    start = shown = time.process_time()
    while (now := time.process_time()) < start + length:
        if now > shown + PROGRESS:
            shown = now
            print(f"{now - start:.0f} s, {seed - first:,} seeds, {bad} bad", file=sys.stderr, flush=True)
        for kind in loader.kinds:
            content = damaged(loader, kind, seed)
            faulthandler.dump_traceback_later(STUCK, exit=True)
            try:
                found = check_file(loader, content, path)
                good += found.result is not None
                slowest = max(slowest, found.seconds)
                largest = max(largest, found.memory - 8 * len(content))
            except Exception as error:
                bad += 1
                (folder / f"{kind.__name__}-{seed}").write_bytes(content)
                print(f"{kind.__name__}, seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            finally:
                faulthandler.cancel_dump_traceback_later()
        seed += 1
    print(f"{name}: {len(loader.kinds) * (seed - first):,} files from seed {first}: {good:,} loaded, {bad} bad")
    print(f"slowest {slowest:.3f} s; most memory beyond 8 times the size: {largest:,} bytes", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:4]))))
