"""ONNX files as graphs of nodes. Every file is treated as hostile: nothing is allocated that it does not hold."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from nnfast._validation import MAX_AXES
from nnfast.files.bytes import read_at_most
from nnfast.files.onnx import schema
from nnfast.files.onnx.schema import Attribute, Entry, Graph, Model, Opset, Tensor, Value
from nnfast.files.protobuf import as_bytes, as_float, as_int, as_integers, as_text, fields

MAX_NODES = 30_000
MAX_ENTRIES = 30_000  # arrays, inputs, outputs and other lists of a graph, each
MAX_NAMES = 100_000  # of the inputs and outputs of all nodes
MAX_ATTRIBUTES = 50  # of a node
MAX_SHOWN = 200  # characters of a name in a message
OPSETS = range(7, 29)
STANDARD = ("", "ai.onnx")
NUMPY = {Tensor.FLOAT: "<f4", Tensor.DOUBLE: "<f8", Tensor.INT64: "<i8"}


def shown(name: str) -> str:
    """Return a name for messages."""
    return repr(name[:MAX_SHOWN])


class Node(NamedTuple):
    """A node of a graph.

    Attributes
    ----------
    place : int
        Its position in the file.
    name, operator : str
    inputs, outputs : tuple of str
        Names of tensors; an empty one is an optional input that is left out.
    content : memoryview
        The message, which still holds the attributes; for a node that no file holds, the attributes themselves.
    """

    place: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    content: Any

    def __str__(self) -> str:
        return f"node {shown(self.name or self.outputs[0])} ({self.operator})"


@contextmanager
def naming(node: Node) -> Iterator[None]:
    """Put the node before the message of a ValueError in the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{node}: {error}") from None


class Tensors:
    """The arrays of a graph, each read when it is asked for.

    Parameters
    ----------
    folder : str
        The folder of the model, in which its external files must be.

    Attributes
    ----------
    external : int
        How many bytes were read from external files.
    """

    def __init__(self, folder: str) -> None:
        self._messages: dict[str, memoryview] = {}
        self._folder = folder
        self._left: dict[str, int] = {}  # bytes of each external file that no array has been read from
        self.external = 0

    def add(self, name: str, message: memoryview) -> None:
        """Add an array; ValueError if there are too many, or there is one of this name."""
        if len(self._messages) == MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES:,} arrays")
        if name in self._messages:
            raise ValueError(f"two arrays have the name {shown(name)}")
        self._messages[name] = message

    def __contains__(self, name: str) -> bool:
        return name in self._messages

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self.array(self._messages[name])
        except ValueError as error:
            raise ValueError(f"the array {shown(name)}: {error}") from None

    def array(self, message: memoryview) -> np.ndarray:
        """Return the array that a message describes.

        Raises
        ------
        ValueError
            If it does not describe an array, or the type of the numbers is not supported.
        """
        shape: list[int] = []
        kind, outside = Tensor.FLOAT, False
        raw: memoryview | None = None
        numbers, integers = bytearray(), list[int]()
        entries: dict[str, str] = {}
        for number, value in fields(message):
            if number == Tensor.DIMS:
                shape += as_integers(value, MAX_AXES)
                if len(shape) > MAX_AXES:
                    raise ValueError(f"it has more than {MAX_AXES} axes")
            elif number == Tensor.TYPE:
                kind = as_int(value)
            elif number == Tensor.RAW:
                raw = as_bytes(value)
            elif number in (Tensor.FLOATS, Tensor.DOUBLES):
                numbers += as_bytes(value)
            elif number == Tensor.INTS:
                integers += as_integers(value, MAX_AXES)
                if len(integers) > MAX_AXES:
                    raise ValueError(f"a list of integers has more than {MAX_AXES}")
            elif number == Tensor.EXTERNAL and len(entries) < 10:
                key, content = entry(as_bytes(value))
                entries[key] = content
            elif number == Tensor.LOCATION:
                outside = as_int(value) == 1
        if kind not in NUMPY:
            raise ValueError(
                f"it is of type {schema.TYPE_NAMES.get(kind, kind)}, and FLOAT, DOUBLE and INT64 are supported"
            )
        if any(size < 0 for size in shape):
            raise ValueError(f"no array has shape {tuple(shape)}")
        dtype = np.dtype(NUMPY[kind])
        size = prod(shape) * dtype.itemsize
        data: Any
        if outside:
            data = self._read(entries, size)
        elif raw is not None:
            data = raw
        else:
            data = np.array(integers, dtype) if kind == Tensor.INT64 else numbers
        found = memoryview(data).nbytes
        if found != size:
            raise ValueError(f"an array of shape {tuple(shape)} and {dtype.name} has {size} bytes, not {found}")
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)

    def _read(self, entries: dict[str, str], size: int) -> bytearray:
        """Return the bytes of an array that is in an external file."""
        name = entries.get("location", "")
        if not name or name in (os.curdir, os.pardir) or "\0" in name or name != os.path.basename(name):
            raise ValueError(f"its file must be in the folder of the model, got {shown(name)}")
        start, length = (_count(entries.get(key, default)) for key, default in (("offset", "0"), ("length", str(size))))
        if length != size:
            raise ValueError(f"it has {length} bytes in {name}, where its shape has {size}")
        with open(_opened(os.path.join(self._folder, name)), "rb") as stream:
            held = os.fstat(stream.fileno()).st_size
            left = self._left.setdefault(name, held)
            if start + size > held or size > left:
                raise ValueError(f"{name} has {held} bytes: fewer than the arrays in it")
            self._left[name] -= size
            self.external += size
            stream.seek(start)
            return read_at_most(stream, size)


def _opened(path: str) -> int:
    """Return a descriptor of a file, which must not be a link, a folder or a device.

    Raises
    ------
    ValueError
        If it is, or cannot be opened.
    """
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")]
    try:
        file = os.open(path, os.O_RDONLY | sum(flags))
    except OSError as error:
        raise ValueError(f"{os.path.basename(path)}, beside the model, cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError(f"{os.path.basename(path)}, beside the model, is not a file")
    return file


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"a position in its file must be a number, got {shown(text)}")
    return int(text)


class Nodes:
    """A graph.

    Attributes
    ----------
    size : int
        The bytes of the file, which limits the memory that reading it may use; without limit if it is no file.
    tensors : Tensors
    producers : dict
        The node that makes each tensor.
    inputs, outputs : list
        The inputs without arrays of their own, and the outputs, in order: pairs of a name and a `Kind`.
    metadata : dict
    """

    def __init__(self, tensors: Tensors, size: int = sys.maxsize) -> None:
        self.size = size
        self.tensors = tensors
        self.producers: dict[str, Node] = {}
        self.inputs: list[tuple[str, Kind]] = []
        self.outputs: list[tuple[str, Kind]] = []
        self.metadata: dict[str, str] = {}


class Opened(Nodes):
    """A model, read from a file.

    Attributes
    ----------
    opset : int
        The version of the operators.
    """

    def __init__(self, data: bytes | bytearray, folder: str) -> None:
        super().__init__(Tensors(folder), len(data))
        self.opset = 0
        graph: memoryview | None = None
        for number, value in fields(memoryview(data)):
            if number == Model.GRAPH:
                graph = as_bytes(value)
            elif number == Model.OPSET_IMPORT:
                domain, version = _opset(as_bytes(value))
                self.opset = version if domain in STANDARD else self.opset
            elif number == Model.METADATA and len(self.metadata) < MAX_ATTRIBUTES:
                key, content = entry(as_bytes(value))
                self.metadata[key] = content
        if graph is None or not self.opset:
            raise ValueError("it has no graph, or no version of the operators")
        if self.opset not in OPSETS:
            raise ValueError(
                f"it uses version {self.opset} of ONNX's operators; {OPSETS[0]} to {OPSETS[-1]} are supported"
            )
        self._read(graph)

    def _read(self, graph: memoryview) -> None:
        names, nodes = 0, 0
        for number, value in fields(graph):
            if number == Graph.NODE:
                node = _node(nodes, as_bytes(value))
                nodes += 1
                names += len(node.inputs) + len(node.outputs)
                if nodes > MAX_NODES or names > MAX_NAMES:
                    raise ValueError(f"it has more than {MAX_NODES:,} nodes, or {MAX_NAMES:,} inputs of nodes")
                for name in filter(None, node.outputs):
                    if name in self.producers:
                        raise ValueError(f"two nodes make the tensor {shown(name)}")
                    self.producers[name] = node
            elif number == Graph.INITIALIZER:
                message = as_bytes(value)
                self.tensors.add(_name(message, Tensor.NAME), message)
            elif number in (Graph.INPUT, Graph.OUTPUT):
                values = self.inputs if number == Graph.INPUT else self.outputs
                if len(values) == MAX_ENTRIES:
                    raise ValueError(f"it has more than {MAX_ENTRIES:,} inputs or outputs")
                values.append(_value(as_bytes(value)))
        self.inputs = [(name, kind) for name, kind in self.inputs if name not in self.tensors]
        for node in self.producers.values():
            for name in node.inputs:
                if name in self.producers and self.producers[name].place >= node.place:
                    raise ValueError(f"{node} comes before the node that makes its input {shown(name)}")


class Kind(NamedTuple):
    """The type of a tensor.

    Attributes
    ----------
    element : int
        The code of its numbers; 0 if it is not a tensor, or not known.
    shape : tuple of int, or None
        The size of each axis, 0 for one that is not known; None if the number of axes is not known.
    """

    element: int = 0
    shape: tuple[int, ...] | None = None


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in fields(message):
        if number == Opset.DOMAIN:
            domain = as_text(value)
        elif number == Opset.VERSION:
            version = as_int(value)
    return domain, version


def entry(message: memoryview) -> tuple[str, str]:
    """Return the key and the value of an entry of metadata."""
    texts = {number: as_text(value) for number, value in fields(message) if number in (Entry.KEY, Entry.VALUE)}
    return texts.get(Entry.KEY, ""), texts.get(Entry.VALUE, "")


def _name(message: memoryview, field: int) -> str:
    return next((as_text(value) for number, value in fields(message) if number == field), "")


def _value(message: memoryview) -> tuple[str, Kind]:
    """Return the name and the type of an input or output."""
    name, kind = "", Kind()
    for number, value in fields(message):
        if number == Value.NAME:
            name = as_text(value)
        elif number == Value.TYPE:
            tensors, kind = 0, Kind()
            for field, content in fields(as_bytes(value)):  # of which there may be very many
                if field == Value.TENSOR:
                    tensors += 1
                    kind = _kind(as_bytes(content)) if tensors == 1 else Kind()
    return name, kind


def _kind(message: memoryview) -> Kind:
    element, shape = 0, None
    for number, value in fields(message):
        if number == Value.ELEMENT:
            element = as_int(value)
        elif number == Value.SHAPE:
            sizes = []
            for field, axis in fields(as_bytes(value)):
                if field == Value.DIM:
                    sizes.append(_size(as_bytes(axis)))
                if len(sizes) > MAX_AXES:
                    raise ValueError(f"an input or output has more than {MAX_AXES} axes")
            shape = tuple(sizes)
    return Kind(element, shape)


def _size(axis: memoryview) -> int:
    """Return the size of an axis, 0 if it is not known."""
    return max(0, max((as_int(value) for number, value in fields(axis) if number == Value.DIM_VALUE), default=0))


def _node(place: int, message: memoryview) -> Node:
    inputs, outputs = list[str](), list[str]()
    name = operator = domain = ""
    for number, value in fields(message):
        if number in (schema.Node.INPUT, schema.Node.OUTPUT):
            names = inputs if number == schema.Node.INPUT else outputs
            names.append(as_text(value))
            if len(names) > MAX_NAMES:
                raise ValueError(f"a node has more than {MAX_NAMES:,} inputs or outputs")
        elif number == schema.Node.NAME:
            name = as_text(value)
        elif number == schema.Node.OPERATOR:
            operator = as_text(value)
        elif number == schema.Node.DOMAIN:
            domain = as_text(value)
    if not any(outputs):
        raise ValueError(f"node {shown(name)} ({operator}) has no output")
    operator = operator if domain in STANDARD else f"{domain}.{operator}"
    return Node(place, name, operator, tuple(inputs), tuple(outputs), message)


def attributes(node: Node, tensors: Tensors) -> dict[str, object]:
    """Return the attributes of a node: int, float, str or ndarray each; None for one of another type."""
    found: dict[str, object] = {}
    for number, value in fields(node.content):
        if number == schema.Node.ATTRIBUTE:
            if len(found) == MAX_ATTRIBUTES:
                raise ValueError(f"it has more than {MAX_ATTRIBUTES} attributes")
            name, content = _attribute(as_bytes(value), tensors)
            found[name] = content
    return found


def _attribute(message: memoryview, tensors: Tensors) -> tuple[str, object]:
    content: Any = None
    name = ""
    floats, ints = bytearray(), list[int]()
    for number, value in fields(message):
        if number == Attribute.NAME:
            name = as_text(value)
        elif number == Attribute.FLOAT:
            content = as_float(value)
        elif number == Attribute.INT:
            content = as_int(value)
        elif number == Attribute.STRING:
            content = as_text(value)
        elif number == Attribute.TENSOR:
            content = tensors.array(as_bytes(value))
        elif number == Attribute.FLOATS:
            floats += as_bytes(value)
        elif number == Attribute.INTS:
            ints += as_integers(value, MAX_AXES)
            if len(ints) > MAX_AXES:
                raise ValueError(f"an attribute has more than {MAX_AXES} integers")
    if floats:
        if len(floats) % 4:
            raise ValueError("an attribute has numbers that do not end")
        content = np.frombuffer(floats, "<f4")
    elif ints:
        content = np.array(ints)
    return name, content
