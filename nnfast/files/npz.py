"""Networks as NumPy archives: the arrays of their state, and its description as an array of one text."""

from __future__ import annotations

from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nnfast.files.archives import Archive, write_archive
from nnfast.files.kinds import of_members
from nnfast.files.state import MAX_DESCRIPTION, Foreign, expected_arrays, read_description

if TYPE_CHECKING:
    from nnfast.layers import Layer

MARK = b"PK"  # with which archives begin
DESCRIPTION = "description"  # the member that holds the JSON text
MAX_HEADER = 1024  # bytes of a .npy header


def write(file: IO[bytes], text: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the state of a network, whose description is `text`."""
    write_archive(file, {DESCRIPTION: np.array(text), **arrays})


def read(file: IO[bytes]) -> tuple[dict[str, Any], list[Layer], dict[str, np.ndarray]]:
    """Return the description, the layers that it describes, and the arrays of a network.

    Raises
    ------
    Foreign
        If the file was not saved by nnfast, or is of a newer version.
    BadZipFile
        If it is not an archive, or is damaged.
    Exception
        If it is damaged: the readers of zip and npy files raise many kinds of errors.
    """
    with Archive(file) as archive:
        description = read_description(description_text(archive))
        layers, shapes = expected_arrays(description)
        check_sizes(archive, shapes, np.dtype(description["dtype"]))
        arrays = {name: archive.read_array(name) for name in shapes}
    for name, array in arrays.items():
        if array.dtype != description["dtype"]:
            raise ValueError(f"the array {name} has dtype {array.dtype}, not {description['dtype']}")
    return description, layers, arrays


def description_text(archive: Archive) -> str:
    """Return the text of the description; Foreign if there is none."""
    member = f"{DESCRIPTION}.npy"
    info = archive.getinfo(member) if member in archive.namelist() else None
    size = np.dtype("U1").itemsize * MAX_DESCRIPTION
    if info is None or info.compress_type or info.file_size > size + MAX_HEADER:
        raise Foreign(of_members(archive.namelist()) or "it has no description")
    return str(archive.read_array(DESCRIPTION))


def check_sizes(archive: Archive, shapes: dict[str, tuple[int, ...]], dtype: np.dtype) -> None:
    """Raise ValueError if an array cannot be in the file, before memory is allocated for it."""
    names = set(archive.namelist())
    for path, shape in shapes.items():
        if f"{path}.npy" not in names:
            raise ValueError(f"the array {path} is missing")
        info = archive.getinfo(f"{path}.npy")
        if info.compress_type:  # a small file could expand to a large array
            raise ValueError(f"the array {path} is compressed, which nnfast does not do")
        expected = prod(shape) * dtype.itemsize
        if not expected < info.file_size <= expected + MAX_HEADER:
            raise ValueError(f"the array {path} has {info.file_size} bytes, not some {expected}")
