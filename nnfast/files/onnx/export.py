"""Networks as ONNX files: a graph with one node or a few for each stage of the program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._version import __version__
from nnfast.activations import resolve_activation
from nnfast.files.bytes import little_endian
from nnfast.files.onnx.columns import Encoder
from nnfast.files.onnx.formulas import ALPHA, DOUBLE, DTYPE, EPSILON, NORM, SINGLE, Formula, X
from nnfast.files.onnx.schema import DTYPES, LOSS, Attribute, Entry, Graph, Model, Node, Opset, Tensor, Value
from nnfast.files.protobuf import Message
from nnfast.files.state import arrays_of
from nnfast.files.writing import replacing
from nnfast.layers import Compiler

OPSET = 17  # of June 2022, with ONNX 1.12 and ONNX Runtime 1.12: the first with LayerNormalization
IR_VERSION = 8  # of the same release
INPUT, OUTPUT, BATCH = "input", "output", "batch"
MAX_EPSILON = 1e30  # single precision holds it
Stage = dict[str, Any]


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Implement `Sequential.to_onnx`."""
    program = network.built
    with network.guard.whole:  # training waits in the meantime, so that no copies are needed
        program.settle()
        message = _model(network)
        with replacing(path) as file:
            message.write(file)


def _model(network: Network) -> Message:
    opset, entry, message = Message(), Message(), Message()
    opset.content(Opset.DOMAIN, "")
    opset.integer(Opset.VERSION, OPSET)
    entry.content(Entry.KEY, LOSS)
    entry.content(Entry.VALUE, json.dumps(network.output_loss.loss.config()))
    message.integer(Model.IR_VERSION, IR_VERSION)
    message.content(Model.PRODUCER_NAME, "nnfast")
    message.content(Model.PRODUCER_VERSION, __version__)
    message.content(Model.GRAPH, _graph(network))
    message.content(Model.OPSET_IMPORT, opset)
    message.content(Model.METADATA, entry)
    return message


def _graph(network: Network) -> Message:
    shape = network.built_shape
    compiler = Compiler(shape)
    compiler.add_layers(network.layers)
    writer = _Writer(network, shape)
    for stage in compiler.stages:
        writer.add(stage)
    writer.reshape(network.output_shape, f"{OUTPUT}.shape")
    return writer.graph()


class _Writer:
    """Writes the nodes and arrays of a graph, one stage after another.

    Attributes
    ----------
    shape : tuple of int
        Of a sample of the tensor that the last node made.
    """

    def __init__(self, network: Network, shape: tuple[int, ...]) -> None:
        self.values = arrays_of(network)
        self.input_shape = self.shape = shape
        self.dtype = network.dtype
        self.path = ""
        self._tensor = INPUT
        self._ends: list[tuple[str, tuple[int, ...]]] = []  # the output of each stage
        self._nodes: list[dict[str, Any]] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._names = {INPUT, OUTPUT}

    # ---- stages

    def add(self, stage: Stage) -> None:
        """Add a stage."""
        kind, self.path = stage["kind"], stage["path"]
        if kind in FLAT or (kind == "activation" and resolve_activation(stage["function"]).mixes):
            self.reshape((prod(stage["input_shape"]),), "")
        elif kind != "add":
            self.reshape(stage["input_shape"], f"{self.path}.shape")
        WRITERS[kind](self, stage)
        self._ends.append((self._tensor, self.shape))

    def dense(self, stage: Stage) -> None:
        names = [self.array(array.path, self.values[array.path]) for array in stage["arrays"]]
        self.node("Gemm", self._tensor, *names)
        self.shape = stage["output_shape"]
        self.activation(stage)

    def activation(self, stage: Stage) -> None:
        table = DOUBLE if self.dtype == np.float64 else SINGLE
        self.formula(table[stage["function"]], {ALPHA: stage["alpha"]})

    def rescaling(self, stage: Stage) -> None:
        numbers = stage["numbers"]
        self.node("Mul", self._tensor, self.number(numbers["scale"]))
        if numbers["offset"]:
            self.node("Add", self._tensor, self.number(numbers["offset"]))

    def nothing(self, stage: Stage) -> None:
        """Write what is random in training and does nothing afterwards."""

    def batch_norm(self, stage: Stage) -> None:
        """Write a BatchNormalization. Its epsilon is in single precision: the variance makes up for the rest."""
        numbers = stage["numbers"]
        epsilon = min(numbers["epsilon"], MAX_EPSILON)
        mean, variance = (self.values[array.path] for array in stage["statistics"])
        if self.dtype == np.float64:
            variance = variance + (numbers["epsilon"] - float(np.float32(epsilon)))
        gamma, beta = self.affine(stage)
        self.node(
            "BatchNormalization",
            self._tensor,
            gamma,
            beta or self.array(f"{self.path}.beta", np.zeros_like(mean)),
            self.array(f"{self.path}.mean", mean),
            self.array(f"{self.path}.variance", variance),
            epsilon=epsilon,
            momentum=1 - numbers["momentum"],
        )

    def layer_norm(self, stage: Stage) -> None:
        epsilon = stage["numbers"]["epsilon"]
        if self.dtype == np.float32:
            names = [name for name in self.affine(stage) if name]
            self.node("LayerNormalization", self._tensor, *names, axis=-1, epsilon=epsilon)
            return
        self.formula(NORM, {EPSILON: epsilon})
        if stage["arrays"]:
            self.scale(stage)

    def affine(self, stage: Stage) -> tuple[str, str]:
        """Return the names of gamma, which may be all ones, and beta, empty if there is none."""
        if not stage["arrays"]:
            return self.array(f"{self.path}.gamma", np.ones(self.shape, self.dtype)), ""
        gamma, beta = (self.array(array.path, self.values[array.path]) for array in stage["arrays"])
        return gamma, beta

    def scale(self, stage: Stage) -> None:
        for operator, array in zip(("Mul", "Add"), stage["arrays"], strict=False):
            self.node(operator, self._tensor, self.array(array.path, self.values[array.path]))

    def encoding(self, stage: Stage) -> None:
        table = self.values[stage["arrays"][0].path] if stage["arrays"] else None
        Encoder(self, self._tensor, self.path, table).write(stage["columns"])
        self.shape = stage["output_shape"]

    def sum(self, stage: Stage) -> None:
        """Write a sum, in the shape that its other summand has."""
        other, shape = self._ends[stage["other"]] if stage["other"] >= 0 else (INPUT, self.input_shape)
        self.reshape(shape, f"{self.path}.shape")
        self.node("Add", other, self._tensor)

    # ---- nodes

    def reshape(self, shape: tuple[int, ...], name: str) -> None:
        """Add a node that changes the shape of a sample, unless it has this shape already."""
        if shape == self.shape:
            return
        if len(shape) == 1:
            self.node("Flatten", self._tensor)
        else:
            self.node("Reshape", self._tensor, self.array(name, np.array([0, *shape], np.int64)))  # 0: as before
        self.shape = shape

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output, from which the next stage goes on."""
        self._tensor = self.free(f"{self.path}.{operator}")
        self._nodes.append({"operator": operator, "inputs": inputs, "output": self._tensor, "attributes": attributes})
        return self._tensor

    def free(self, name: str) -> str:
        """Return a name that is not taken yet."""
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
        name = f"number {self.dtype.type(value)!s}"
        self._names.add(name)
        self._arrays[name] = np.array(value, self.dtype)
        return name

    def formula(self, formula: Formula, numbers: dict[str, float]) -> None:
        """Add the nodes of a formula of the last tensor; what occurs in it more than once is computed once."""
        made = {repr(X): self._tensor}
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
                values = {
                    name: codes.get(value, value) if isinstance(value, str) else value
                    for name, value in attributes.items()
                }
                made[key] = self.node(operator, *inputs, **values)
            return made[key]

        name_of(formula)

    # ---- the graph

    def graph(self) -> Message:
        """Return the whole graph."""
        if not self._nodes:
            self.node("Identity", self._tensor)
        self._nodes[-1]["output"] = OUTPUT
        message = Message()
        message.content(Graph.NODE, *(_node(**node) for node in self._nodes))
        message.content(Graph.NAME, "network")
        message.content(Graph.INITIALIZER, *(_tensor(name, values) for name, values in self._arrays.items()))
        message.content(Graph.INPUT, _value(INPUT, self.dtype, self.input_shape))
        message.content(Graph.OUTPUT, _value(OUTPUT, self.dtype, self.shape))
        return message


WRITERS: dict[str, Callable[[_Writer, Stage], None]] = {
    "dense": _Writer.dense,
    "activation": _Writer.activation,
    "rescaling": _Writer.rescaling,
    "dropout": _Writer.nothing,
    "gaussian_noise": _Writer.nothing,
    "batch_norm": _Writer.batch_norm,
    "layer_norm": _Writer.layer_norm,
    "scale": _Writer.scale,
    "add": _Writer.sum,
    "encoding": _Writer.encoding,
}
FLAT = {"dense", "batch_norm", "layer_norm", "scale"}  # stages whose nodes need samples with one axis


def _node(operator: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Any]) -> Message:
    message = Message()
    message.content(Node.INPUT, *inputs)
    message.content(Node.OUTPUT, output)
    message.content(Node.NAME, f"node {output}")
    message.content(Node.OPERATOR, operator)
    message.content(Node.ATTRIBUTE, *(_attribute(name, value) for name, value in attributes.items()))
    return message


def _attribute(name: str, value: Any) -> Message:
    message = Message()
    message.content(Attribute.NAME, name)
    if isinstance(value, list):
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
    message.integer(Tensor.TYPE, Tensor.INT64 if values.dtype == np.int64 else DTYPES[values.dtype.name])
    message.content(Tensor.NAME, name)
    message.content(Tensor.RAW, little_endian(values))
    return message


def _value(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Message:
    value, kind, tensor, axes = Message(), Message(), Message(), Message()
    batch, *sizes = (Message() for _ in range(1 + len(shape)))
    batch.content(Value.DIM_NAME, BATCH)
    for message, size in zip(sizes, shape, strict=True):
        message.integer(Value.DIM_VALUE, size)
    axes.content(Value.DIM, batch, *sizes)
    tensor.integer(Value.ELEMENT, DTYPES[dtype.name])
    tensor.content(Value.SHAPE, axes)
    kind.content(Value.TENSOR, tensor)
    value.content(Value.NAME, name)
    value.content(Value.TYPE, kind)
    return value
