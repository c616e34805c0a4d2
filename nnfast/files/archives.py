"""NumPy archives from untrusted sources: the sizes they state are checked before any memory is allocated."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from math import prod
from typing import IO, cast

import numpy as np

from nnfast.files.bytes import in_c_order, read_at_most

MAX_DIRECTORY = 2**24  # bytes of the list of members
DIRECTORY_PART, DIRECTORY_SLACK = 0.4, 2**14  # of the file's size, and bytes: each member has a .npy header beside it
MAX_HEADER = 2**14  # bytes of a .npy header
MAX_RATIO = 1032  # bytes to which one byte of deflate data can expand


class Archive(zipfile.ZipFile):
    """A NumPy archive, open for reading.

    Parameters
    ----------
    file : file
        A seekable file, open for reading bytes.

    Raises
    ------
    BadZipFile
        If it is not an archive, two members have the same name, or members overlap, which could hide a huge size.
    """

    def __init__(self, file: IO[bytes]) -> None:
        size = file.seek(0, os.SEEK_END)
        limited = _Limited(file, min(MAX_DIRECTORY, int(DIRECTORY_PART * size) + DIRECTORY_SLACK))
        super().__init__(cast(IO[bytes], limited))
        limited.most = sys.maxsize
        if len(self.NameToInfo) < len(self.filelist):
            names = set()
            for info in self.filelist:
                if info.filename in names:
                    raise zipfile.BadZipFile(f"there are two members named {info.filename[:100]!r}")
                names.add(info.filename)
        total = sum(info.compress_size for info in self.infolist())
        if total > size:
            raise zipfile.BadZipFile(f"its members overlap: together they have {total} bytes, but the file has {size}")

    def read_array(self, name: str) -> np.ndarray:
        """Return an array, which takes no more memory than its member actually holds."""
        info = self.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"the array {name} is compressed in a way that NumPy does not use")
        ratio = MAX_RATIO if info.compress_type else 1
        if info.file_size > ratio * info.compress_size:
            raise ValueError(f"the array {name} cannot have {info.file_size} bytes: there are {info.compress_size}")
        with self.open(info) as member:
            return array_from(read_at_most(member, info.file_size))


class _Limited:
    """A file that returns at most `most` bytes at once: `zipfile` first reads as many as the file states."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise zipfile.BadZipFile(f"its list of members has {size} bytes, more than {self.most}")
        return self.file.read(size)


def read_npy(file: IO[bytes]) -> np.ndarray:
    """Return the array in a .npy file, reading little more than its header states."""
    start = file.read(MAX_HEADER)
    shape, _, dtype, offset = read_header(io.BytesIO(start))
    return array_from(read_at_most(file, offset + prod(shape) * dtype.itemsize + 1, start))


def array_from(raw: bytearray) -> np.ndarray:
    """Return the array in the bytes of a .npy file; numpy.load would trust the header and allocate memory for it."""
    shape, fortran, dtype, start = read_header(io.BytesIO(raw[:MAX_HEADER]))
    if prod(shape) * dtype.itemsize != len(raw) - start:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} does not fit {len(raw)} bytes")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return the shape, whether the first axis is the fastest, and the dtype in a header, and the header's length.

    Raises
    ------
    ValueError
        If it is not a header, or the array holds Python objects, which are not read.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown version {version} of the .npy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (MemoryError, RecursionError):  # raised by Python's parser for deeply nested brackets
        raise ValueError("its header does not describe an array") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if any(size < 0 for size in shape):
        raise ValueError(f"no array has shape {shape}")
    return shape, fortran, dtype, file.tell()


def write_archive(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Write what `numpy.savez` writes, without copying the arrays: there may be little memory left."""
    archive = zipfile.ZipFile(file, "w")
    try:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
                member.write(in_c_order(array))
    except BaseException:
        archive.fp = None  # do not complete the archive: a failed one is not kept
        raise
    archive.close()
