"""The wire format of protocol buffers, in which ONNX files are written, as far as they need it.

A message is a sequence of fields, each a number and a value: an integer of variable length, four or eight bytes, or a
length and as many bytes, which are text, numbers one after another, or another message. Messages are read in place:
nothing is copied before it is used, so that a file cannot claim more memory than it has bytes.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
LONGEST = 10  # bytes of an integer
MAX_MESSAGE = 2**31 - 1  # bytes: what other readers accept


class Message:
    """A message that is being written, in parts: large ones are not copied.

    Attributes
    ----------
    parts : list
        The bytes, in pieces.
    size : int
        Their number.
    """

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        self.size = 0

    def _append(self, part: bytes | memoryview) -> None:
        self.parts.append(part)
        self.size += len(part)

    def integer(self, number: int, *values: int) -> None:
        """Add integers, each as a field; negative ones in two's complement."""
        for value in values:
            self._append(encoded(number << 3 | VARINT) + encoded(value))

    def real(self, number: int, *values: float) -> None:
        """Add numbers in single precision, each as a field."""
        for value in values:
            self._append(encoded(number << 3 | FOUR_BYTES) + struct.pack("<f", value))

    def content(self, number: int, *values: str | bytes | memoryview | Message) -> None:
        """Add texts, bytes or messages, each as a field."""
        for value in values:
            if isinstance(value, str):
                value = value.encode()
            self._append(encoded(number << 3 | LENGTH))
            if isinstance(value, Message):
                self._append(encoded(value.size))
                self.parts += value.parts
                self.size += value.size
            else:
                self._append(encoded(len(value)))
                self._append(value)

    def write(self, file: IO[bytes]) -> None:
        """Write the message to a file.

        Raises
        ------
        ValueError
            If it is too large for other programs to read.
        """
        if self.size > MAX_MESSAGE:
            raise ValueError(
                f"the file would have {self.size:,} bytes, and no protocol buffer may have more than {MAX_MESSAGE:,}"
            )
        for part in self.parts:
            file.write(part)


def encoded(value: int) -> bytes:
    """Return an integer as the wire format has it: seven bits in each byte, the lowest first."""
    value &= 2**64 - 1
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def decoded(data: memoryview, at: int) -> tuple[int, int]:
    """Return the integer that begins at a position, which is not negative, and the position after it.

    Raises
    ------
    ValueError
        If it does not end, or has more than 64 bits.
    """
    if at < len(data) and data[at] < 128:  # most are that short
        return data[at], at + 1
    value = 0
    for i, byte in enumerate(data[at : at + LONGEST]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if value >= 2**64:
                break
            return value, at + i + 1
    raise ValueError("an integer in it does not end")


def signed(value: int) -> int:
    """Return the integer of 64 bits whose two's complement is `value`."""
    return value - 2**64 if value >= 2**63 else value


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Iterate over the fields of a message: the number, and an integer or the bytes.

    Raises
    ------
    ValueError
        If it is not a message.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = decoded(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = decoded(data, at)
            yield key >> 3, value
            continue
        if kind == LENGTH:
            size, at = decoded(data, at)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field in it is of an unknown kind, {kind}")
        if size > end - at:
            raise ValueError(f"a field in it has {size} bytes, but only {end - at} are left")
        yield key >> 3, data[at : at + size]
        at += size


def as_int(value: int | memoryview) -> int:
    """Return an integer of 64 bits; ValueError for bytes."""
    if not isinstance(value, int):
        raise ValueError("a field in it should be an integer and is not")
    return signed(value)


def as_bytes(value: int | memoryview) -> memoryview:
    """Return bytes; ValueError for an integer."""
    if isinstance(value, int):
        raise ValueError("a field in it should have a length and is an integer")
    return value


def as_text(value: int | memoryview) -> str:
    """Return a text; ValueError for an integer, and bytes that are not UTF-8."""
    return str(as_bytes(value), "utf-8")


def as_float(value: int | memoryview) -> float:
    """Return a number in single precision as the shortest decimal that rounds to it: 0.1, not 0.10000000149."""
    data = as_bytes(value)
    if len(data) != 4:
        raise ValueError(f"a number in it should have four bytes, and has {len(data)}")
    return float(str(np.frombuffer(data, "<f4")[0]))


def as_integers(value: int | memoryview, most: int) -> Sequence[int]:
    """Return the integers of a field that may hold one, or several one after another.

    Raises
    ------
    ValueError
        If there are more than `most`, or the bytes are not integers.
    """
    if isinstance(value, int):
        return (signed(value),)
    found: list[int] = []
    at = 0
    while at < len(value):
        if len(found) == most:
            raise ValueError(f"a list of integers in it has more than {most}")
        one, at = decoded(value, at)
        found.append(signed(one))
    return found
