"""Read IDX files, the format of MNIST and its relatives.

An IDX file is a header (two zero bytes, a byte for the type of the elements, a byte for the number of axes, and the
length of each axis as a big-endian unsigned integer of 32 bits), then the elements, big-endian, the last axis fastest.
The whole file is often compressed with gzip.

A header is not trusted. Memory is allocated for bytes that were read, never for bytes that were announced, and reading
stops one byte after the announced size: a damaged or malicious file costs no more than it actually contains.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np

from nnfast._validation import MAX_AXES, describe
from nnfast.files.bytes import read_at_most

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array in an IDX file, compressed with gzip or not.

    Parameters
    ----------
    path : str or path-like
        The file; its contents, not its name, determine whether it is compressed. ``~`` stands for the home folder.

    Returns
    -------
    numpy.ndarray
        A writable array in the byte order of this machine: uint8, int8, int16, int32, float32 or float64, with the
        shape that the file states.

    Raises
    ------
    TypeError
        If `path` is not a path.
    OSError
        If the file is missing or cannot be read.
    ValueError
        If it is not an IDX file, is damaged, or holds fewer or more elements than its header states.

    Notes
    -----
    The format is described at the end of Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten
    digits". No more is read than the header states, and no memory is allocated for what is not in the file: at most
    1.2 times the size of the file and 2 MB; or, if it is compressed, at most 1,200 times its size, since one compressed
    byte can expand to 1,032.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from nnfast.datasets import read_idx
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = as_path("path", path)
    try:
        with open_idx(path) as stream:
            return read_data(stream, *read_header(stream))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def as_path(name: str, value: Any) -> str:
    """Return `value` as a path, with ``~`` expanded; TypeError unless it is one."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(path := os.fspath(value), str):
        raise TypeError(f"{name} must be a path, got {describe(value)}")
    return os.path.expanduser(path)


@contextmanager
def open_idx(path: str) -> Iterator[BinaryIO]:
    """Open a file to read its uncompressed contents; ValueError if the compressed data is damaged."""
    import gzip  # imported here to keep `import nnfast` fast
    import zlib

    try:
        with open(path, "rb") as file:
            compressed = file.peek(2)[:2] == b"\x1f\x8b"  # IDX itself begins with two zeros
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"the gzip file is damaged or truncated: {error}") from error


def read_header(stream: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return what the header states: the dtype in the file's byte order, and the shape."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= MAX_AXES:
        raise ValueError(
            f"not an IDX file: it begins with {magic.hex(' ') or 'nothing'}, instead of 00 00, "
            f"a type ({', '.join(f'{code:02x}' for code in DTYPES)}) and a number of axes (01 to {MAX_AXES:02x})"
        )
    dtype, ndim = np.dtype(DTYPES[magic[2]]), magic[3]
    lengths = stream.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise ValueError(f"truncated: the file ends within the header, which states {ndim} axes")
    shape = struct.unpack(f">{ndim}I", lengths)
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"impossible dimensions: no array can have shape {shape}")
    return dtype, shape


def read_data(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return the elements that follow a header, in native byte order; nothing may come after them."""
    size = math.prod(shape) * dtype.itemsize
    data = read_at_most(stream, size + 1)
    if len(data) != size:
        came = f"truncated: {len(data)}" if len(data) < size else "trailing data: more"
        raise ValueError(f"{came} bytes follow a header that states {size} ({dtype.name} of shape {shape})")
    array = np.frombuffer(data, dtype).reshape(shape)
    if dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(dtype.newbyteorder("="))  # a copy would double the memory
