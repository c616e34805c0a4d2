"""ONNX files that are being written: the nodes and arrays of a graph, and the model around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._version import __version__
from nnfast.files.bytes import little_endian
from nnfast.files.onnx.formulas import DTYPE, Formula, X
from nnfast.files.onnx.schema import DTYPES, Attribute, Entry, Graph, Model, Node, Opset, Tensor, Value
from nnfast.files.protobuf import Message

OPSET = 17  # of June 2022, with ONNX 1.12 and ONNX Runtime 1.12: the first with LayerNormalization
ML, ML_OPSET = "ai.onnx.ml", 2  # the operators for tables, of the same release
IR_VERSION = 8  # of the same release
BATCH = "batch"
ELEMENTS = {**DTYPES, "int64": Tensor.INT64, "uint64": Tensor.UINT64, "bool": Tensor.BOOL}  # the codes of dtypes


class Writer:
    """Collects the nodes and arrays of a graph, and writes the model.

    Parameters
    ----------
    dtype : dtype
        Of the numbers in formulas.

    Attributes
    ----------
    dtype : dtype
    path : str
        The start of the names of nodes.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.path = ""
        self._nodes: list[dict[str, Any]] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._inputs: list[Message] = []
        self._outputs: list[Message] = []
        self._domains = {"": OPSET}
        self._names = set[str]()
        self._numbers: dict[str, str] = {}  # the names of arrays without axes

    def input(self, name: str, element: int, shape: tuple[int, ...], text: str = "") -> str:
        """Add an input of a type and the shape of a sample, with a text that says what it is; return its name."""
        name = self.free(name)
        self._inputs.append(_value(name, element, shape, text))
        return name

    def output(self, tensor: str, name: str, element: int, shape: tuple[int, ...]) -> None:
        """Make a tensor an output, with a name that is free, from `free`."""
        if not any(tensor in node["outputs"] for node in self._nodes):
            tensor = self.node("Identity", tensor)
        for node in self._nodes:
            for side in ("inputs", "outputs"):
                node[side] = tuple(name if each == tensor else each for each in node[side])
        self._outputs.append(_value(name, element, shape))

    def node(self, operator: str, *inputs: str, domain: str = "", n_outputs: int = 1, **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        if domain:
            self._domains[domain] = ML_OPSET
        outputs = tuple(self.free(f"{self.path}.{operator}") for _ in range(n_outputs))
        self._nodes.append(
            {"operator": operator, "inputs": inputs, "outputs": outputs, "domain": domain, "attributes": attributes}
        )
        return outputs[0]

    def free(self, name: str) -> str:
        """Return a name that is not taken yet, and take it."""
        chosen, i = name, 2
        while chosen in self._names:
            chosen, i = f"{name}_{i}", i + 1
        self._names.add(chosen)
        return chosen

    def array(self, name: str, values: np.ndarray) -> str:
        """Add an array, and return its name."""
        name = self.free(name)
        self._arrays[name] = values
        return name

    def number(self, value: float) -> str:
        """Return the name of an array without axes; equal ones are the same."""
        key = f"{self.dtype} {self.dtype.type(value)!s}"
        if key not in self._numbers:
            self._numbers[key] = self.array(key, np.array(value, self.dtype))
        return self._numbers[key]

    def formula(self, formula: Formula, x: str, numbers: dict[str, float]) -> str:
        """Add the nodes of a formula of a tensor, and return its value; what occurs more than once is computed once."""
        made = {repr(X): x}
        codes = {DTYPE: DTYPES[self.dtype.name], **numbers}

        def name_of(part: Any) -> str:
            if not isinstance(part, tuple) and part != X:
                return self.number(numbers[part] if isinstance(part, str) else part)
            key = repr(part)
            if key not in made:
                operator, *arguments = part
                attributes = arguments.pop() if isinstance(arguments[-1], dict) else {}
                if operator == "ReduceMean":
                    attributes = {"axes": [-1]}
                inputs = [name_of(argument) for argument in arguments]
                values: dict[str, Any] = {
                    name: codes.get(value, value) if isinstance(value, str) else value
                    for name, value in attributes.items()
                }
                made[key] = self.node(operator, *inputs, **values)
            return made[key]

        return name_of(formula)

    def model(self, metadata: dict[str, str]) -> Message:
        """Return the whole model."""
        graph, message = Message(), Message()
        graph.content(Graph.NODE, *(_node(**node) for node in self._nodes))
        graph.content(Graph.NAME, "network")
        graph.content(Graph.INITIALIZER, *(_tensor(name, values) for name, values in self._arrays.items()))
        graph.content(Graph.INPUT, *self._inputs)
        graph.content(Graph.OUTPUT, *self._outputs)
        message.integer(Model.IR_VERSION, IR_VERSION)
        message.content(Model.PRODUCER_NAME, "nnfast")
        message.content(Model.PRODUCER_VERSION, __version__)
        message.content(Model.GRAPH, graph)
        message.content(Model.OPSET_IMPORT, *(_opset(*each) for each in self._domains.items()))
        message.content(Model.METADATA, *(_entry(*each) for each in metadata.items()))
        return message


def _opset(domain: str, version: int) -> Message:
    message = Message()
    message.content(Opset.DOMAIN, domain)
    message.integer(Opset.VERSION, version)
    return message


def _entry(key: str, value: str) -> Message:
    message = Message()
    message.content(Entry.KEY, key)
    message.content(Entry.VALUE, value)
    return message


def _node(
    operator: str, inputs: tuple[str, ...], outputs: tuple[str, ...], domain: str, attributes: dict[str, Any]
) -> Message:
    message = Message()
    message.content(Node.INPUT, *inputs)
    message.content(Node.OUTPUT, *outputs)
    message.content(Node.NAME, f"node {outputs[0]}")
    message.content(Node.OPERATOR, operator)
    message.content(Node.ATTRIBUTE, *(_attribute(name, value) for name, value in attributes.items()))
    if domain:
        message.content(Node.DOMAIN, domain)
    return message


def _attribute(name: str, value: Any) -> Message:
    message = Message()
    message.content(Attribute.NAME, name)
    if isinstance(value, list):
        first = value[0]
        if isinstance(first, str):
            message.content(Attribute.STRINGS, *value)
            kind = Attribute.OF_STRINGS
        elif isinstance(first, float):
            message.real(Attribute.FLOATS, *value)
            kind = Attribute.OF_FLOATS
        else:
            message.integer(Attribute.INTS, *value)
            kind = Attribute.OF_INTS
    elif isinstance(value, float):
        message.real(Attribute.FLOAT, value)
        kind = Attribute.OF_FLOAT
    else:
        message.integer(Attribute.INT, value)
        kind = Attribute.OF_INT
    message.integer(Attribute.TYPE, kind)
    return message


def _tensor(name: str, values: np.ndarray) -> Message:
    message = Message()
    message.integer(Tensor.DIMS, *values.shape)
    message.content(Tensor.NAME, name)
    if values.dtype.kind == "O":  # of text
        message.integer(Tensor.TYPE, Tensor.STRING)
        message.content(Tensor.STRINGS, *values.ravel().tolist())
    else:
        message.integer(Tensor.TYPE, ELEMENTS[values.dtype.name])
        message.content(Tensor.RAW, little_endian(values))
    return message


def _value(name: str, element: int, shape: tuple[int, ...], text: str = "") -> Message:
    value, kind, tensor, axes = Message(), Message(), Message(), Message()
    batch, *sizes = (Message() for _ in range(1 + len(shape)))
    batch.content(Value.DIM_NAME, BATCH)
    for message, size in zip(sizes, shape, strict=True):
        message.integer(Value.DIM_VALUE, size)
    axes.content(Value.DIM, batch, *sizes)
    tensor.integer(Value.ELEMENT, element)
    tensor.content(Value.SHAPE, axes)
    kind.content(Value.TENSOR, tensor)
    value.content(Value.NAME, name)
    value.content(Value.TYPE, kind)
    if text:
        value.content(Value.TEXT, text)
    return value
