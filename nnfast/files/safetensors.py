"""Networks as safetensors files, whose arrays other programs read without nnfast.

The format (https://huggingface.co/docs/safetensors#format) is a length N of 8 bytes, little-endian; N bytes of JSON,
which may end in spaces; and the arrays, in C order and little-endian, with nothing between them. The JSON is an object
with a member for each array: its ``dtype``, its ``shape``, and ``data_offsets``, where it begins and ends, counted
from the end of the JSON. The member ``__metadata__`` maps text to text:

- ``nnfast``: the description of the network, see `nnfast.files.state`;
- ``crc32``: eight hexadecimal digits, the checksum of the description's UTF-8 followed by the bytes of the arrays in
  the order of their sorted names. A program that changes the arrays must omit it or update it.

The package safetensors is not used. It writes to a name or into memory, not into an open file, which atomic replacement
needs; it reads by mapping the file into memory, so that a file that is truncated in the meantime ends the process; and
whether the sizes are those of a network must be checked here in any case. This is shorter, and one dependency less.
"""

from __future__ import annotations

import zlib
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import shown
from nnfast.files.bytes import little_endian
from nnfast.files.parsing import Pieces, twice
from nnfast.files.state import MAX_DESCRIPTION, Foreign, expected_arrays, read_description

if TYPE_CHECKING:
    from io import BufferedReader

    from nnfast.layers import Layer

ENDING = ".safetensors"
LENGTH = 8  # bytes that hold the length of the header
MARK = b"{"  # with which the header begins
METADATA, DESCRIPTION, CHECKSUM = "__metadata__", "nnfast", "crc32"
DTYPES = {"float32": "F32", "float64": "F64"}
MEMBERS = {"dtype", "shape", "data_offsets"}
MAX_HEADER = 2**26  # bytes; the longest of a network that can be described has half of it
MAX_ENTRY = 2**12  # characters of what the header says of an array; shapes of the most axes take a quarter of it


def write(file: IO[bytes], text: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the state of a network, whose description is `text`, without copying the arrays."""
    import json

    header: dict[str, Any] = {METADATA: {DESCRIPTION: text, CHECKSUM: _checksum(text, arrays)}}
    end = 0
    for path, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[path] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
    raw = json.dumps(header, separators=(",", ":")).encode("ascii")
    raw += b" " * (-len(raw) % LENGTH)  # so that the arrays are aligned if the file is mapped into memory
    file.write(len(raw).to_bytes(LENGTH, "little"))
    file.write(raw)
    for array in arrays.values():
        file.write(little_endian(array))


def read(file: BufferedReader) -> tuple[dict[str, Any], list[Layer], dict[str, np.ndarray]]:
    """Return the description, the layers that it describes, and the arrays of a network.

    The header is read twice, member by member: first for the description, then, when it is known which arrays there
    should be, for these. So it never becomes more objects than a network justifies.

    Raises
    ------
    Foreign
        If the file was not saved by nnfast, or is of a newer version.
    KeyError, TypeError, ValueError
        If it is damaged.
    """
    size = file.seek(0, 2)
    file.seek(0)
    header, data = _read_header(file, size)
    text, checksum = _metadata(header)
    if text is None or len(text) > MAX_DESCRIPTION:
        raise Foreign("it has no description")
    if not text.isascii():
        raise ValueError("its description has characters that are not ASCII, instead of JSON's escapes")
    description = read_description(text)
    layers, shapes = expected_arrays(description)
    order = _in_file(header, shapes, np.dtype(description["dtype"]), data)
    del header
    arrays = {path: _read_array(file, path, shapes[path], description["dtype"]) for path in order}
    if checksum is not None and checksum != _checksum(text, arrays):
        raise ValueError(f"its contents have changed since they were saved: {CHECKSUM} does not match them")
    return description, layers, arrays


def _read_header(file: BufferedReader, size: int) -> tuple[Pieces, int]:
    """Return the header of a file of `size` bytes, and how many bytes follow it."""
    length = int.from_bytes(file.read(LENGTH), "little")
    rest = size - LENGTH - length
    if rest < 0:
        raise ValueError(f"its header cannot have {length} bytes: the file has {size}")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {MAX_HEADER}")
    raw = file.read(length)
    raw.decode("utf-8")  # raises ValueError
    # What is read of it is ASCII. As UTF-8, one character elsewhere could make each of the others take four bytes.
    return Pieces("its header", raw.decode("latin-1")), rest


def _metadata(header: Pieces) -> tuple[str | None, str | None]:
    """Return the description and the checksum in a header, None for one that is missing."""
    found: dict[str, str] = {}

    def of_metadata(name: str, at: int) -> int:
        if not header.text.startswith('"', at):
            raise ValueError(f"its {METADATA} must be an object of texts")
        value, at = header.string(at)
        if name in found:
            raise twice(name)
        if name in (DESCRIPTION, CHECKSUM):
            found[name] = value
        return at

    def of_header(name: str, at: int) -> int:
        if name != METADATA:
            return header.value(at, MAX_ENTRY)[1]
        if not header.text.startswith("{", at):
            raise ValueError(f"its {METADATA} must be an object of texts")
        return header.members(at, of_metadata)

    header.end(header.members(0, of_header))
    return found.get(DESCRIPTION), found.get(CHECKSUM)


def _in_file(header: Pieces, shapes: dict[str, tuple[int, ...]], dtype: np.dtype, data: int) -> list[str]:
    """Return the names of the arrays in the order in which they lie in the file.

    Raises
    ------
    ValueError
        Unless exactly the expected arrays fill the `data` bytes; no memory has been allocated for them yet.
    """
    places: dict[str, tuple[int, int]] = {}

    def keep(path: str, at: int) -> int:
        if path == METADATA:
            return header.members(at, lambda _, at: header.string(at)[1])
        entry, at = header.value(at, MAX_ENTRY)
        if path in places:
            raise twice(path)
        if path not in shapes:
            raise ValueError(f"the array {path[:100]!r} is not in its description")
        places[path] = _checked_place(path, entry, shapes[path], dtype, data)
        return at

    header.members(0, keep)
    for path in shapes:
        if path not in places:
            raise ValueError(f"the array {path} is missing")
    order, end = sorted(places, key=places.__getitem__), 0
    for path in order:
        begin, following = places[path]
        if begin != end:
            what = "overlaps the array before it" if begin < end else "does not begin where the array before it ends"
            raise ValueError(f"the array {path} {what}: at {begin}, not {end}")
        end = following
    if end != data:
        raise ValueError(f"its arrays have {end} bytes, but {data} follow the header")
    return order


def _checked_place(path: str, entry: Any, shape: tuple[int, ...], dtype: np.dtype, data: int) -> tuple[int, int]:
    """Return where an array begins and ends; ValueError unless its entry is as expected."""
    if type(entry) is not dict or entry.keys() != MEMBERS:
        raise ValueError(f"the array {path} must have {', '.join(sorted(MEMBERS))} and nothing else")
    if entry["dtype"] != DTYPES[dtype.name]:
        raise ValueError(f"the array {path} has dtype {shown(entry['dtype'])}, not {DTYPES[dtype.name]!r}")
    if not _integers(entry["shape"]) or tuple(entry["shape"]) != shape:
        raise ValueError(f"the array {path} must have shape {shape}, got {shown(entry['shape'])}")
    offsets = entry["data_offsets"]
    if not _integers(offsets) or len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1] <= data:
        raise ValueError(f"the offsets of the array {path} must be two from 0 to {data}, got {shown(offsets)}")
    expected = prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != expected:
        raise ValueError(f"the array {path} has {offsets[1] - offsets[0]} bytes, not {expected}")
    return offsets[0], offsets[1]


def _integers(values: Any) -> bool:
    return type(values) is list and all(type(value) is int for value in values)


def _read_array(file: BufferedReader, path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    array = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    if file.readinto(little_endian(array)) != array.nbytes:
        raise ValueError(f"it ends within the array {path}")
    return array.astype(dtype, copy=False)


def _checksum(text: str, arrays: dict[str, np.ndarray]) -> str:
    sum_ = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    for path in sorted(arrays):
        sum_ = zlib.crc32(little_endian(arrays[path]), sum_)
    return f"{sum_:08x}"
