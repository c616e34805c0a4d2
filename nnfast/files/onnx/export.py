"""Networks as ONNX files: a graph with one node or a few for each stage of the program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast.activations import resolve_activation
from nnfast.files.onnx.columns import Encoder
from nnfast.files.onnx.formulas import ALPHA, DOUBLE, EPSILON, NORM, SINGLE, Formula
from nnfast.files.onnx.schema import DTYPES, LOSS
from nnfast.files.onnx.writer import Writer
from nnfast.files.protobuf import Message
from nnfast.files.state import arrays_of
from nnfast.files.writing import replacing
from nnfast.layers import Compiler
from nnfast.layers.base import NamedArray

INPUT, OUTPUT = "input", "output"
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
    writer = Writer(network.dtype)
    element = DTYPES[network.dtype.name]
    x, y = writer.input(INPUT, element, network.built_shape), writer.free(OUTPUT)
    writer.output(write_network(writer, network, x), y, element, network.output_shape)
    return writer.model({LOSS: json.dumps(network.output_loss.loss.config())})


def write_network(writer: Writer, network: Network, x: str, prefix: str = "") -> str:
    """Add the nodes of a network for the samples in a tensor, and return its output; names begin with `prefix`."""
    compiler = Compiler(network.built_shape)
    compiler.add_layers(network.layers)
    stages = _Stages(writer, network, x, prefix)
    for stage in compiler.stages:
        stages.add(stage)
    stages.reshape(network.output_shape, f"{OUTPUT}.shape")
    return stages.tensor


class _Stages:
    """Writes the nodes and arrays of a network, one stage after another.

    Attributes
    ----------
    tensor : str
        What the last stage made.
    shape : tuple of int
        Of a sample of it.
    """

    def __init__(self, writer: Writer, network: Network, x: str, prefix: str) -> None:
        self.values = arrays_of(network)
        self.tensor, self.shape = x, network.built_shape
        self.dtype = network.dtype
        self.path = ""
        self._writer, self._prefix = writer, prefix
        self._first = self.tensor, self.shape
        self._ends: list[tuple[str, tuple[int, ...]]] = []  # the output of each stage

    # ---- stages

    def add(self, stage: Stage) -> None:
        """Add a stage."""
        kind, self.path = stage["kind"], self._prefix + stage["path"]
        self._writer.path = self.path
        if kind in FLAT or (kind == "activation" and resolve_activation(stage["function"]).mixes):
            self.reshape((prod(stage["input_shape"]),), "")
        elif kind != "add":
            self.reshape(stage["input_shape"], f"{self.path}.shape")
        WRITERS[kind](self, stage)
        self._ends.append((self.tensor, self.shape))

    def dense(self, stage: Stage) -> None:
        names = [self.values_of(array) for array in stage["arrays"]]
        self.node("Gemm", self.tensor, *names)
        self.shape = stage["output_shape"]
        self.activation(stage)

    def activation(self, stage: Stage) -> None:
        table = DOUBLE if self.dtype == np.float64 else SINGLE
        self.formula(table[stage["function"]], {ALPHA: stage["alpha"]})

    def rescaling(self, stage: Stage) -> None:
        numbers = stage["numbers"]
        self.node("Mul", self.tensor, self.number(numbers["scale"]))
        if numbers["offset"]:
            self.node("Add", self.tensor, self.number(numbers["offset"]))

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
            self.tensor,
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
            self.node("LayerNormalization", self.tensor, *names, axis=-1, epsilon=epsilon)
            return
        self.formula(NORM, {EPSILON: epsilon})
        if stage["arrays"]:
            self.scale(stage)

    def affine(self, stage: Stage) -> tuple[str, str]:
        """Return the names of gamma, which may be all ones, and beta, empty if there is none."""
        if not stage["arrays"]:
            return self.array(f"{self.path}.gamma", np.ones(self.shape, self.dtype)), ""
        gamma, beta = (self.values_of(array) for array in stage["arrays"])
        return gamma, beta

    def scale(self, stage: Stage) -> None:
        for operator, array in zip(("Mul", "Add"), stage["arrays"], strict=False):
            self.node(operator, self.tensor, self.values_of(array))

    def encoding(self, stage: Stage) -> None:
        table = self.values[stage["arrays"][0].path] if stage["arrays"] else None
        self.tensor = Encoder(self._writer, self.tensor, self.path, table).write(stage["columns"])
        self.shape = stage["output_shape"]

    def sum(self, stage: Stage) -> None:
        """Write a sum, in the shape that its other summand has."""
        other, shape = self._ends[stage["other"]] if stage["other"] >= 0 else self._first
        self.reshape(shape, f"{self.path}.shape")
        self.node("Add", other, self.tensor)

    # ---- nodes

    def reshape(self, shape: tuple[int, ...], name: str) -> None:
        """Add a node that changes the shape of a sample, unless it has this shape already."""
        if shape == self.shape:
            return
        if len(shape) == 1:
            self.node("Flatten", self.tensor)
        else:
            self.node("Reshape", self.tensor, self.array(name, np.array([0, *shape], np.int64)))  # 0: as before
        self.shape = shape

    def node(self, operator: str, *inputs: str, **attributes: Any) -> None:
        """Add a node, from whose output the next stage goes on."""
        self.tensor = self._writer.node(operator, *inputs, **attributes)

    def array(self, name: str, values: np.ndarray) -> str:
        """Add an array, and return its name."""
        return self._writer.array(name, values)

    def values_of(self, array: NamedArray) -> str:
        """Add an array of the network, and return its name."""
        return self.array(self._prefix + array.path, self.values[array.path])

    def number(self, value: float) -> str:
        """Return the name of a number."""
        return self._writer.number(value)

    def formula(self, formula: Formula, numbers: dict[str, float]) -> None:
        """Add the nodes of a formula."""
        self.tensor = self._writer.formula(formula, self.tensor, numbers)


WRITERS: dict[str, Callable[[_Stages, Stage], None]] = {
    "dense": _Stages.dense,
    "activation": _Stages.activation,
    "rescaling": _Stages.rescaling,
    "dropout": _Stages.nothing,
    "gaussian_noise": _Stages.nothing,
    "batch_norm": _Stages.batch_norm,
    "layer_norm": _Stages.layer_norm,
    "scale": _Stages.scale,
    "add": _Stages.sum,
    "encoding": _Stages.encoding,
}
FLAT = {"dense", "batch_norm", "layer_norm", "scale"}  # stages whose nodes need samples with one axis
