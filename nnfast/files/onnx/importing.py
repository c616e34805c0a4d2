"""ONNX files as networks: the parts of a graph as layers, with their shapes and arrays checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._validation import MAX_SIZE, describe
from nnfast.files.bytes import read_at_most
from nnfast.files.errors import LoadError, short
from nnfast.files.onnx.formulas import BETA, BOTH, EPSILON, GAMMA, X
from nnfast.files.onnx.graph import Node, Nodes, Opened, naming, shown
from nnfast.files.onnx.recognizing import BATCH, SHAPE, UNBIASED, Part, Recognizer, as_number
from nnfast.files.onnx.schema import COLUMNS, LOSS, TYPE_NAMES, Tensor
from nnfast.files.parsing import parse
from nnfast.files.protobuf import MAX_MESSAGE
from nnfast.files.state import arrays_of
from nnfast.layers import (
    Activation,
    BatchNorm,
    Compiler,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Layer,
    LayerNorm,
    Rescaling,
    Reshape,
    Residual,
    Scale,
)
from nnfast.losses import Custom, Loss, loss_from, resolve_loss

MAX_COPIES = 8  # of a file's bytes, in arrays that several layers share
SLACK = 2**20  # bytes
MAX_SHOWN = 10  # names in a message
MAX_LOSS = 2**20  # characters of its description, which takes some 20 times as much memory
Arrays = dict[str, np.ndarray]


def load(path: str | os.PathLike[str], output: str | None = None, loss: Any = None, seed: Any = None) -> Network:
    """Implement `nnfast.from_onnx`."""
    if output is not None and not isinstance(output, str):
        raise TypeError(f"output must be the name of a tensor, got {describe(output)}")
    loss = None if loss is None else resolve_loss(loss)
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        data = read_at_most(file, MAX_MESSAGE + 1)
    try:
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"it has more than {MAX_MESSAGE:,} bytes")
        model = Opened(data, os.path.dirname(path))
    except ValueError as error:
        raise LoadError(path, f"is not an ONNX file, or is damaged: {short(error)}") from None
    try:
        builder = Builder(model, Recognizer(model))
        builder.build(output)
        return builder.network(loss, seed)
    except ValueError as error:
        raise LoadError(path, f"cannot become a network: {error}") from None


class Builder:
    """Makes layers of parts.

    Parameters
    ----------
    model : Nodes
        The graph.
    recognizer : Recognizer
        Makes parts of it.

    Attributes
    ----------
    shape : tuple of int or None
        Of a sample after the last layer; None before it is known.
    arrays : dict
        The arrays of each layer, by its path and their roles.
    """

    give_shape = "export the model with it; only the batch may vary"  # what to do if that of a sample is unknown
    choose_other = "; if it is not needed, choose {} with output="  # what to do if a tensor cannot be computed

    def __init__(self, model: Nodes, recognizer: Recognizer) -> None:
        self.model = model
        self.recognizer = recognizer
        self.layers: list[Layer] = []
        self.arrays: dict[str, Arrays] = {}
        self.shape: tuple[int, ...] | None = None
        self._input_shape: tuple[int, ...] | None = None
        self._batch = 0  # its size, 0 if it may vary
        self._dtype: np.dtype | None = None
        self._left = MAX_COPIES * model.size + SLACK  # bytes of arrays
        self._learned = False  # whether there has been a Dense layer

    # ---- the whole network

    def build(self, output: str | None) -> None:
        """Make the layers that lead from the input to an output."""
        if COLUMNS in self.model.metadata:
            raise ValueError(
                "it is a model for tables, with its preparation: nnfast.tables.load reads the file that its save wrote"
            )
        if len(self.model.inputs) != 1:
            raise ValueError(f"it must have one input, and has {len(self.model.inputs)}: {_names(self.model.inputs)}")
        name, kind = self.model.inputs[0]
        if kind.shape is not None:
            if len(kind.shape) < 2:
                raise ValueError(
                    f"its input {shown(name)} must have the axis of the batch and another, got shape {kind.shape}"
                )
            self._batch, *sizes = kind.shape
            if all(sizes):
                self._first_shape(tuple(sizes))
        end, joined = self._output(output)
        self.layers = self._chain(self.recognizer.chain(end, name), "") or [Activation("identity")]
        if self.shape is None:
            raise ValueError(f"the shape of a sample is not known: {self.give_shape}")
        if joined is not None and self.shape != (1,):
            raise ValueError(
                f"{joined}: it joins 1 - p and p, which is supported for one probability p; got samples of shape "
                f"{self.shape}; choose {shown(end)} with output="
            )
        self._dtype = self._dtype or np.dtype(np.float64 if kind.element == Tensor.DOUBLE else np.float32)
        for node, to in self.recognizer.casts:
            if to != (Tensor.DOUBLE if self._dtype == np.float64 else Tensor.FLOAT):
                raise ValueError(f"{node} to {TYPE_NAMES[to]} is not supported: the network has {self._dtype.name}")

    def network(self, loss: Any, seed: Any) -> Network:
        """Return the network, with the values of its arrays."""
        try:
            Compiler(self._input_shape or ()).add_layers(self.layers)
        except MemoryError as error:  # such layers cannot have been exported
            raise ValueError(str(error)) from None
        network = Network(self.layers, self._input_shape, loss or self._loss(), self._dtype, seed, initialize=False)
        for path, view in arrays_of(network).items():
            layer, _, role = path.rpartition(".")
            view[...] = self.arrays[layer][role]
        return network

    def _loss(self) -> Loss | None:
        """Return the loss in the metadata, None if there is none or it is a function of a user's."""
        text = self.model.metadata.get(LOSS)
        if text is None:
            return None
        try:
            if len(text) > MAX_LOSS:
                raise ValueError(f"it has {len(text):,} characters, more than {MAX_LOSS:,}")
            loss = loss_from(parse("it", text))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its loss is not described correctly, {short(error)}: give one with loss=") from None
        return None if isinstance(loss, Custom) else loss

    def _output(self, wanted: str | None) -> tuple[str, Node | None]:
        """Return the tensor that the network ends in, and the node that joins it with 1 minus it, if there is one."""
        model = self.model
        if wanted is None:
            values = [(name, kind) for name, kind in model.outputs if kind.element in (0, Tensor.FLOAT, Tensor.DOUBLE)]
            if len(values) != 1:
                raise ValueError(
                    f"it has {len(values)} outputs of floating-point numbers: choose one with output=, "
                    f"{_names(model.outputs)}"
                )
            wanted = values[0][0]
        elif wanted not in model.producers:
            raise ValueError(
                f"output must be the name of a tensor that it computes, such as {_names(model.outputs)}, got {wanted!r}"
            )
        name = self.recognizer.source(wanted)
        node = model.producers.get(name)
        if node is not None and node.operator == "ai.onnx.ml.ZipMap" and node.inputs:
            name = self.recognizer.source(node.inputs[0])
        for found in self.recognizer.matches(name, BOTH, {}):
            return found[X], model.producers[name]
        return name, None

    # ---- chains

    def _chain(self, parts: Sequence[Part], path: str) -> list[Layer]:
        """Return the layers of a chain; `path` is that of the chain, with a dot at its end."""
        layers: list[Layer] = []
        for part in parts:
            if self.shape is None and SHAPE in part.values:
                self._first_shape(part.values[SHAPE])
            for layer, arrays in PARTS[part.kind](self, part, f"{path}{len(layers)}."):
                last = layers[-1] if layers else None
                if isinstance(layer, Activation) and isinstance(last, Dense) and last.activation == "identity":
                    layers[-1] = Dense(last.units, layer.function, use_bias=last.use_bias)
                    continue
                self.arrays[f"{path}{len(layers)}"] = arrays
                layers.append(layer)
        return layers

    def linear(self, part: Part, path: str) -> Made:
        """Return a Dense layer."""
        W, b = part.values["W"], part.values["b"]
        n_in, n_out = W.shape
        if self.shape is None:
            self._first_shape((n_in,))
        if self.shape != (n_in,):
            raise ValueError(
                f"{part.node}: its weights are for {n_in} features, and samples have shape {self.shape}; layers on the "
                "last of several axes are not supported"
            )
        self._learned = True
        self.shape = (n_out,)
        arrays = {"W": self._floats(part.node, W)}
        if b is not None:
            arrays["b"] = np.broadcast_to(self._row(part.node, b), n_out)
        return [(Dense(n_out, use_bias=b is not None), arrays)]

    def scale(self, part: Part, path: str) -> Made:
        """Return a Scale, or a Rescaling if factor and offset are single numbers."""
        given = part.values[GAMMA], part.values[BETA]
        gamma, beta = (None if array is None else self._row(part.node, array) for array in given)
        axes = max(array.ndim for array in given if array is not None)
        if all(array is None or array.size == 1 for array in given) and (self.shape != (1,) or axes == 0):
            numbers = {
                "scale": 1.0 if gamma is None else as_number(gamma),
                "offset": 0.0 if beta is None else as_number(beta),
            }
            return self.rescaling(Part("rescaling", part.node, numbers), path)
        width = prod(self._known(part.node))
        arrays = {"gamma": np.ones(1) if gamma is None else gamma.reshape(-1)}
        if beta is not None:
            arrays["beta"] = beta.reshape(-1)
        arrays = {role: np.broadcast_to(array, width) for role, array in arrays.items()}
        return [(Scale(use_bias=beta is not None, trainable=self._learned), arrays)]

    def rescaling(self, part: Part, path: str) -> Made:
        """Return a Rescaling."""
        with naming(part.node):
            return [(Rescaling(**part.values), {})]

    def activation(self, part: Part, path: str) -> Made:
        """Return an Activation."""
        function = part.values["function"]
        if function.mixes and len(self._known(part.node)) != 1:
            raise ValueError(f"{part.node}: samples must have one axis, got shape {self.shape}")
        return [(Activation(function), {})]

    def layer_norm(self, part: Part, path: str) -> Made:
        """Return a LayerNorm; if it learns gamma alone, one without arrays and a Scale."""
        values, width = part.values, self._features(part.node)
        if values.get(UNBIASED):
            gamma = {GAMMA: self._row(part.node, values[GAMMA])}
            return [(self._norm(LayerNorm, part, affine=False), {}), (Scale(use_bias=False), gamma)]
        affine = values[GAMMA] is not None or values[BETA] is not None
        arrays = {}
        for role, default in ((GAMMA, 1.0), (BETA, 0.0)) if affine else ():
            array = values[role]
            arrays[role] = np.broadcast_to(default if array is None else self._row(part.node, array), width)
        return [(self._norm(LayerNorm, part, affine=affine), arrays)]

    def batch_norm(self, part: Part, path: str) -> Made:
        """Return a BatchNorm."""
        values = part.values
        if self.shape is None and values["mean"].ndim == 1:
            self._first_shape(values["mean"].shape)
        width = self._features(part.node)
        affine = values[GAMMA] is not None
        arrays = {}
        for role in (*((GAMMA, BETA) if affine else ()), "mean", "variance"):
            if values[role].shape != (width,):
                raise ValueError(f"{part.node}: its {role} must have shape ({width},), got {values[role].shape}")
            arrays[role] = self._floats(part.node, values[role])
        options = {"momentum": values["momentum"], "affine": affine, "trainable": values.get("trainable", True)}
        return [(self._norm(BatchNorm, part, **options), arrays)]

    def _norm(self, kind: type[Layer], part: Part, **more: Any) -> Layer:
        with naming(part.node):
            return kind(epsilon=part.values[EPSILON], **more)

    def dropout(self, part: Part, path: str) -> Made:
        """Return a Dropout."""
        with naming(part.node):
            return [(Dropout(part.values["rate"]), {})]

    def gaussian_noise(self, part: Part, path: str) -> Made:
        """Return a GaussianNoise."""
        return [(GaussianNoise(part.values["stddev"]), {})]

    def residual(self, part: Part, path: str) -> Made:
        """Return a Residual."""
        before = self.shape
        layers = self._chain(part.values["parts"], path) or [Activation("identity")]
        if before is not None and self.shape != before:
            raise ValueError(f"{part.node}: it adds samples of shapes {before} and {self.shape}, which must be equal")
        return [(Residual(layers), {})]

    # ---- shapes

    def flatten(self, part: Part, path: str) -> Made:
        """Return a Flatten, or nothing if the shape stays."""
        shape, axis = self._known(part.node), part.values["axis"]
        if axis not in (1, -len(shape)):
            raise ValueError(f"{part.node}: axis={axis} mixes samples, or leaves two axes: only 1 is supported")
        return self._reshaped((prod(shape),))

    def reshape(self, part: Part, path: str) -> Made:
        """Return a Reshape or Flatten, or nothing if the shape stays."""
        node, zeros = part.node, part.values["zeros"]
        first, *rest = part.values["sizes"] or [1]
        shape = self.shape
        if shape is None and rest and all(size is not BATCH and size > 0 for size in rest):
            shape = tuple(rest)
        shape = self._known(node) if shape is None else shape
        sizes = [shape[i] if size == 0 and not zeros and i < len(shape) else size for i, size in enumerate(rest)]
        known = [size for size in sizes if size is not BATCH and size > 0]
        kept = first is BATCH or (first == 0 and not zeros) or (first == self._batch != 0)
        left, remainder = divmod(prod(shape), prod(known))
        if len(known) < len(sizes) and kept and sizes.count(-1) == 1 and len(known) == len(sizes) - 1 and not remainder:
            sizes[sizes.index(-1)] = left
        elif not ((kept or first == -1) and len(known) == len(sizes) and prod(known) == prod(shape)):
            raise ValueError(
                f"{node}: its shape {['batch' if size is BATCH else size for size in (first, *rest)]} does not keep "
                f"samples of shape {shape} apart{self.choose_other.format(shown(node.inputs[0]))}"
            )
        if self.shape is None:
            self._first_shape(shape)
        return self._reshaped(tuple(size for size in sizes if size is not BATCH))

    def squeeze(self, part: Part, path: str) -> Made:
        """Return what `reshape` returns."""
        shape, axes = self._known(part.node), part.values["axes"]
        axes = [i + 1 for i, size in enumerate(shape) if size == 1] if axes is None else axes
        chosen = {axis % (len(shape) + 1) for axis in axes}
        if 0 in chosen or any(shape[axis - 1] != 1 for axis in chosen):
            raise ValueError(f"{part.node}: axes {axes} cannot be removed from samples of shape {shape}")
        return self._reshaped(tuple(size for i, size in enumerate(shape, 1) if i not in chosen))

    def _reshaped(self, shape: tuple[int, ...]) -> Made:
        shape = shape or (1,)  # a sample of nnfast has at least one axis
        if shape == self.shape:
            return []
        self.shape = shape
        return [(Flatten() if len(shape) == 1 else Reshape(shape), {})]

    def _first_shape(self, shape: tuple[int, ...]) -> None:
        """Set the shape of a sample."""
        if prod(shape) > MAX_SIZE:
            raise ValueError(f"a sample has {prod(shape):,} numbers, more than {MAX_SIZE:,}")
        self.shape = self._input_shape = shape

    def _known(self, node: Node) -> tuple[int, ...]:
        if self.shape is None:
            raise ValueError(f"{node}: the shape of a sample is not known here: {self.give_shape}")
        return self.shape

    def _features(self, node: Node) -> int:
        """Return the number of features of a sample; ValueError if it has several axes."""
        shape = self._known(node)
        if len(shape) != 1:
            raise ValueError(f"{node}: samples must have one axis, got shape {shape}")
        return shape[0]

    # ---- arrays

    def _row(self, node: Node, array: np.ndarray) -> np.ndarray:
        """Return an array that is one number, or has the shape of a sample."""
        array = self._floats(node, array)
        shape = _trimmed(array.shape)
        if self.shape is None and shape:
            self._first_shape(shape)
        known = self._known(node) if shape else ()
        if (shape and shape != _trimmed(known)) or array.ndim > 1 + len(known or self._known(node)):
            raise ValueError(
                f"{node}: a constant must be one number, or one for each number of a sample, which has shape "
                f"{self.shape}; got shape {array.shape}"
            )
        return array.reshape(known) if shape else array.reshape(1)

    def _floats(self, node: Node, array: np.ndarray) -> np.ndarray:
        """Return an array, which must be of the same dtype as the others."""
        if array.dtype.kind != "f":
            raise ValueError(f"{node}: an array of integers is not supported here")
        self._dtype = self._dtype or array.dtype
        if array.dtype != self._dtype:
            raise ValueError(f"{node}: it has an array of {array.dtype.name}, and others are of {self._dtype.name}")
        self._left -= array.nbytes
        if self._left + MAX_COPIES * self.model.tensors.external < 0:
            raise ValueError("the nodes share arrays that together are much larger than the file")
        return array


Made = list[tuple[Layer, Arrays]]
PARTS: dict[str, Callable[[Builder, Part, str], Made]] = {
    "linear": Builder.linear,
    "scale": Builder.scale,
    "rescaling": Builder.rescaling,
    "activation": Builder.activation,
    "layer_norm": Builder.layer_norm,
    "batch_norm": Builder.batch_norm,
    "dropout": Builder.dropout,
    "gaussian_noise": Builder.gaussian_noise,
    "residual": Builder.residual,
    "flatten": Builder.flatten,
    "reshape": Builder.reshape,
    "squeeze": Builder.squeeze,
}


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of size 1 at its start."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _names(values: Sequence[tuple[str, Any]]) -> str:
    """Return the names of inputs or outputs for messages."""
    return ", ".join(shown(name) for name, _ in values[:MAX_SHOWN]) + (", ..." if len(values) > MAX_SHOWN else "")
