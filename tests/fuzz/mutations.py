"""Changes to files, their descriptions and their members, as damage or an attacker would make them."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gradient_cases import LAYERS

FOLDER = Path(__file__).with_name("corpus")
CORPUS = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix != ".py"}


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


# ---- safetensors


def parts_of(content: bytes) -> tuple[dict, bytes]:
    """The header of a safetensors file, and what follows it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors_of(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def changed_safetensors(content: bytes, rng: random.Random) -> bytes:
    """The file with a changed header, description, length or order of its arrays; the checksum is often left out."""
    header, data = parts_of(content)
    metadata = header["__metadata__"]
    if rng.random() < 0.7:
        del metadata["crc32"]
    kind = rng.randrange(7)
    names = [name for name in header if name != "__metadata__"]
    if kind <= 1:
        metadata["nnfast"] = json.dumps(changed_description(json.loads(metadata["nnfast"]), rng))
    elif kind == 2:
        header = changed_description(header, rng)
    elif kind == 3:
        offsets = header[rng.choice(names)]["data_offsets"]
        offsets[rng.randrange(2)] = rng.choice([*NUMBERS, rng.randrange(len(data) + 9), -4, 2**63, 2**64, 4.0])
    elif kind == 4:
        one, other = rng.choice(names), rng.choice(names)
        part = rng.choice(["data_offsets", "shape", "dtype"])
        header[one][part], header[other][part] = header[other][part], header[one][part]
    elif kind == 5:
        text = bytearray(json.dumps(header).encode())
        i = rng.randrange(len(text))
        text[i : i + rng.choice([0, 1, 20])] = rng.choice(TEXTS) * rng.choice([1, 1, 2000])
        return safetensors_of(bytes(text), data)
    else:
        length = rng.choice([*NUMBERS, 2**63, 2**64 - 1, len(content) - 8, rng.randrange(len(content))])
        return length.to_bytes(8, "little") + content[8:]
    return safetensors_of(header, data)


TEXTS = [
    b"[", b"]", b"{", b"}", b'{"a":', b"[[],", b'"', b"\\", b",", b":", b"NaN", b"-Infinity", b"1e999", b"9" * 5000,
    b"-", b"null", b"\x00", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b" ", b'"0.W":{},',
]  # fmt: skip


# ---- protocol buffers

VARINT, LENGTH = 0, 2
SIZES = {1: 8, 5: 4}  # bytes of the kinds of fields that have a fixed size
INTEGERS = [0, 1, 2, 7, 11, 16, 127, 128, 30_001, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
OPERATORS = [b"Gemm", b"MatMul", b"Add", b"Mul", b"Relu", b"Identity", b"Reshape", b"Concat", b"Constant",
             b"Cast", b"BatchNormalization", b"LayerNormalization", b"Softmax", b"Dropout", b"Transpose",
             b"Unsqueeze"]  # fmt: skip
Field = tuple[int, int, bytes]  # the number, the kind, and the encoded value without its length


def iterate_fields(data: bytes) -> Iterator[Field]:
    """The fields of a message; IndexError or ValueError at the first that is none."""
    at = 0
    while at < len(data):
        start = at
        while data[at] >= 128:
            at += 1
        at += 1
        key = sum((byte & 127) << 7 * i for i, byte in enumerate(data[start:at]))
        number, kind = key >> 3, key & 7
        size = SIZES.get(kind, 0)
        if kind in (VARINT, LENGTH):
            start = at
            while data[at] >= 128:
                at += 1
            at += 1
            if kind == LENGTH:
                size = sum((byte & 127) << 7 * i for i, byte in enumerate(data[start:at]))
            else:
                size, at = at - start, start
        elif not size:
            raise ValueError("an unknown kind")
        if not number or at + size > len(data):
            raise ValueError("no message")
        yield number, kind, data[at : at + size]
        at += size


def fields_of(data: bytes) -> list[Field]:
    return [*iterate_fields(data)]


def varint(value: int) -> bytes:
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    return bytes(coded) + bytes([value])


def message_of(fields: list[Field]) -> bytes:
    parts = []
    for number, kind, value in fields:
        parts += [varint(number << 3 | kind), varint(len(value)) if kind == LENGTH else b"", value]
    return b"".join(parts)


def changed_message(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """A message with a few changed fields, at any depth; all lengths around them are right."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        data = _changed_within(data, rng, others)
    return data


def _changed_within(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    try:
        fields = fields_of(data)
    except (IndexError, ValueError):
        return mutated(data, rng, others)
    if not fields:
        return data
    weights = [len(value) + 8 if kind == LENGTH else 8 for _, kind, value in fields]
    i = rng.choices(range(len(fields)), weights)[0]
    number, kind, value = fields[i]
    if kind == LENGTH and value and rng.random() < 0.8:
        fields[i] = number, kind, _changed_within(value, rng, others)
        return message_of(fields)
    what = rng.randrange(8)
    if what == 0:
        del fields[i]
    elif what == 1:
        copies = min(rng.choice([1, 10, 1000, 40_000]), 2**20 // (len(value) + 4))
        fields[i:i] = [fields[i]] * copies
    elif what == 2:
        j = rng.randrange(len(fields))
        fields[i], fields[j] = fields[j], fields[i]
    elif what == 3:
        fields[i] = rng.choice([number + 1, rng.randrange(1, 21), 2**28]), kind, value
    elif what == 4:
        fields[i] = number, VARINT, varint(rng.choice(INTEGERS))
    elif what == 5:
        fields[i] = number, LENGTH, rng.choice([*OPERATORS, b"", b"x", b"\xff", b"x" * 70_000, value * 2])
    elif what == 6:
        fields[i] = number, kind, fields[rng.randrange(len(fields))][2]
    else:
        fields[i] = number, LENGTH, b"".join(varint(rng.choice(INTEGERS)) for _ in range(rng.choice([1, 5, 70, 5000])))
    return message_of(fields)


# ---- IDX


def changed_idx(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """An IDX file with a changed header or another amount of data; compressed if it was, and then damaged at times."""
    packed = content.startswith(b"\x1f\x8b")
    data = bytearray(gzip.decompress(content) if packed else content)
    axes = data[3]
    for _ in range(rng.choice([1, 1, 2])):
        kind = rng.randrange(7)
        if kind == 0:
            data[2] = rng.choice([0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255])
        elif kind == 1:
            data[3] = rng.choice([0, 1, 2, 3, 4, 32, 64, 65, 255])
        elif kind == 2:
            at = 4 + 4 * rng.randrange(axes)
            data[at : at + 4] = struct.pack(">I", rng.choice(NUMBERS) % 2**32)
        elif kind == 3:
            del data[rng.randrange(len(data)) :]
        elif kind == 4:
            data += bytes(rng.choice([1, 7, 10**5, 10**6]))
        elif kind == 5:
            data[4:4] = struct.pack(">I", rng.choice(NUMBERS) % 2**32)
            data[3] = min(data[3] + 1, 255)
        else:
            data = bytearray(mutated(bytes(data), rng, others)) or bytearray(4)
        data += bytes(max(0, 4 - len(data)))
    if not packed:
        return bytes(data)
    return _changed_gzip(bytes(data), rng, others)


def _changed_gzip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The data compressed, in several members at times, or with a damaged header, checksum or stream."""
    kind = rng.randrange(5)
    if kind == 0:
        at = rng.randrange(len(data) + 1)
        return gzip.compress(data[:at], 1, mtime=0) + gzip.compress(data[at:], 9, mtime=0)
    packed = bytearray(gzip.compress(data, rng.choice([0, 1, 9]), mtime=0))
    if kind == 1:
        packed[3] = rng.randrange(256)  # which optional fields follow
    elif kind == 2:
        packed[-8 + rng.randrange(8)] ^= 1 << rng.randrange(8)
    elif kind == 3:
        return mutated(bytes(packed), rng, others)
    return bytes(packed) + rng.choice([b"", b"", bytes(100), b"\x1f\x8b", b"x"])
