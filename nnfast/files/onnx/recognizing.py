"""The graph of a model as a chain of parts: dense layers, activations, norms, sums with what came before.

The graph is followed from the output back to the input. At each node, formulas of several nodes are tried first, such
as those of gelu; then what its operator means by itself. Nodes that do not lead to the output play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isclose
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nnfast._validation import MAX_AXES
from nnfast.activations import Activation, activation_from, resolve_activation
from nnfast.files.onnx.formulas import (
    ALPHA,
    BETA,
    DOUBLE,
    DTYPE,
    EPSILON,
    GAMMA,
    LOOSE,
    NORMS,
    OTHERS,
    SELU_ALPHA,
    SELU_SCALE,
    SINGLE,
    Formula,
    X,
)
from nnfast.files.onnx.graph import Node, Nodes, attributes, naming, shown
from nnfast.files.onnx.schema import Tensor
from nnfast.layers import MAX_DEPTH

NORM = "layer_norm"
FOLDED = ("Identity", "CastLike", "Transpose", "Cast", "Reshape", "Unsqueeze", "Squeeze")  # of a constant
NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}  # constants with which they change nothing
COMMUTATIVE = ("Add", "Mul", "Max", "Min")
DEFAULTS: dict[str, dict[str, object]] = {
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "Gelu": {"approximate": "none"},
}
SHAPE = "shape"  # that of a sample, in the values of a part that determines it
UNBIASED = "unbiased"  # in the values of a norm to which nothing is to be added: whether it learns gamma alone
BATCH = None  # the size of the axis of the batch, where it is computed
CLOSE = 1e-6  # relative: numbers in formulas are rounded to single precision, sqrt(2 / pi) to fewer digits
CONSTANT_DEPTH = 20  # of nodes that compute a shape, or an array
Number = TypeVar("Number", int, float)
Found = dict[str, Any]  # what X and the names of a formula stand for


def by_root() -> dict[str, list[tuple[str, Formula]]]:
    """Return the formulas by their last operator, each with the name of its activation, or `NORM`."""
    table: dict[str, list[tuple[str, Formula]]] = {}
    for name, formula in (*SINGLE.items(), *DOUBLE.items(), *OTHERS, *((NORM, norm) for norm in NORMS)):
        if formula != X and (name, formula) not in table.setdefault(formula[0], []):
            table[formula[0]].append((name, formula))
    return table


class Part(NamedTuple):
    """A part of a chain.

    Attributes
    ----------
    kind : str
        ``"linear"``, ``"scale"``, ``"rescaling"``, ``"activation"``, ``"layer_norm"``, ``"batch_norm"``, ``"reshape"``,
        ``"squeeze"``, ``"flatten"``, ``"dropout"``, ``"gaussian_noise"`` or ``"residual"``.
    node : Node
        Its last node, for messages.
    values : dict
        Arrays and numbers by name; None for one that is left out.
    """

    kind: str
    node: Node
    values: dict[str, Any]


class Recognizer:
    """Makes parts of nodes.

    Attributes
    ----------
    casts : list
        The nodes that change the type of the numbers, each with the code of the type.
    operators : dict
        What makes parts of a node that begins no formula, by its operator.
    """

    def __init__(self, model: Nodes) -> None:
        self.model = model
        self.operators = OPERATORS
        self.casts: list[tuple[Node, int]] = []
        self._formulas = by_root()
        self._constants: dict[str, np.ndarray | None] = {}
        self._last: Node | None = None  # the last one whose attributes were read: those of all take too much memory
        self._last_attributes: dict[str, Any] = {}

    # ---- chains

    def chain(self, name: str, start: str, depth: int = 0) -> list[Part]:
        """Return the parts from the tensor `start` to the tensor `name`, in order.

        Raises
        ------
        ValueError
            If something cannot be a layer; the message names the node.
        """
        if depth > MAX_DEPTH:
            raise ValueError(f"its sums are more than {MAX_DEPTH} deep within each other")
        parts: list[Part] = []
        name, start = self.source(name), self.source(start)
        while name != start:
            node = self.model.producers.get(name)
            if node is None or node.place < self.place(start):
                raise _Elsewhere(f"the tensor {shown(name)} is not computed from {shown(start)}")
            found, name = self._parts(node, depth)
            parts += found[::-1]
            name = self.source(name)
        return merged(parts[::-1])

    def place(self, name: str) -> int:
        """Return the position of the node that makes a tensor, -1 for an input."""
        node = self.model.producers.get(name)
        return -1 if node is None else node.place

    def source(self, name: str) -> str:
        """Return the tensor that a tensor is a copy of, itself if it is not a copy."""
        while (node := self.model.producers.get(name)) is not None and node.operator == "Identity" and node.inputs:
            name = node.inputs[0]
        return name

    def _parts(self, node: Node, depth: int) -> Read:
        """Return what a node is, with those before it that belong to it, and the tensor that it is computed from."""
        if not node.inputs or not node.inputs[0]:
            raise ValueError(f"{node} has no input")
        for name, formula in self._formulas.get(node.operator, ()):
            for found in self.matches(node.outputs[0], formula, {}):
                return [self._of_formula(node, name, found)], found[X]
        if node.operator not in self.operators:
            if node.operator in self._formulas:
                raise ValueError(f"{node}: with its inputs and attributes, it is not an activation or a norm of nnfast")
            raise ValueError(f"{node}: this operator is not supported; supported are {', '.join(self.supported())}")
        if node.operator == "Add" and not any(self.constant(name) is not None for name in node.inputs):
            return self._sum(node, depth)
        return self.operators[node.operator](self, node)

    def supported(self) -> list[str]:
        """Return the operators that can be read, alone or in formulas."""
        return sorted({*self.operators, *self._formulas, "Constant", "Identity"})

    def _of_formula(self, node: Node, name: str, found: Found) -> Part:
        if name == NORM:
            names = {role: found.get(role) for role in (GAMMA, BETA)}
            values = {role: self.constant(tensor) if tensor else None for role, tensor in names.items()}
            return Part(NORM, node, {EPSILON: found[EPSILON], **values})
        return Part("activation", node, {"function": self._function(node, name, found)})

    def _function(self, node: Node, name: str, found: Found) -> Activation:
        with naming(node):
            return activation_from([name, found[ALPHA]]) if ALPHA in found else resolve_activation(name)

    # ---- formulas

    def matches(self, name: str, formula: Formula, found: Found) -> Iterator[Found]:
        """Iterate over the ways in which a tensor is what a formula says, given what is found already."""
        name = self.source(name)
        if isinstance(formula, float) or (isinstance(formula, str) and formula != X):
            yield from self._match_constant(name, formula, found)
        elif formula == X:
            if found.get(X, name) == name and self.constant(name) is None:
                yield found | {X: name}
        else:
            node = self.model.producers.get(name)
            if node is None or node.operator != formula[0]:
                return
            _, *arguments = formula
            wanted = arguments.pop() if isinstance(arguments[-1], dict) else {}
            after = self._match_attributes(node, wanted, found)
            inputs = self._inputs(node)
            if after is None or len(inputs) != len(arguments):
                return
            yield from self._match_all(inputs, arguments, after)
            if node.operator in COMMUTATIVE:
                yield from self._match_all(inputs[::-1], arguments, after)

    def _match_all(self, inputs: list[str], formulas: list[Formula], found: Found) -> Iterator[Found]:
        if not inputs:
            yield found
            return
        for first in self.matches(inputs[0], formulas[0], found):
            yield from self._match_all(inputs[1:], formulas[1:], first)

    def _match_constant(self, name: str, formula: float | str, found: Found) -> Iterator[Found]:
        array = self.constant(name)
        if array is None:
            return
        if formula in (GAMMA, BETA):
            if found.get(str(formula), name) == name:
                yield found | {str(formula): name}
        elif array.size == 1 and array.ndim <= 2:  # it adds no axis to samples
            number = as_number(array)
            if isinstance(formula, float):
                if isclose(number, formula, rel_tol=CLOSE):
                    yield found
            elif formula in LOOSE:
                if LOOSE[formula](number):
                    yield found
            elif found.get(formula, number) == number:
                yield found | {formula: number}

    def _match_attributes(self, node: Node, wanted: dict[str, Any], found: Found) -> Found | None:
        """Return what is found if the attributes are as a formula says, else None."""
        given: dict[str, Any] = DEFAULTS.get(node.operator, {}) | self.attributes(node)
        if node.operator in ("Softmax", "LogSoftmax"):  # rows have one axis
            return found if self.attribute(node, "axis", -1) in (-1, 1) else None
        if node.operator == "ReduceMean":
            return found if self.attribute(node, "keepdims", 1) == 1 and self._axes(node) in ([1], [-1]) else None
        if node.operator == "Selu":
            alpha, gamma = self.attribute(node, "alpha", SELU_ALPHA), self.attribute(node, "gamma", SELU_SCALE)
            close = isclose(alpha, SELU_ALPHA, rel_tol=CLOSE) and isclose(gamma, SELU_SCALE, rel_tol=CLOSE)
            return found if close else None
        for name, value in wanted.items():
            if value == ALPHA and isinstance(given.get(name), float):
                found = found | {ALPHA: given[name]}
            elif not (
                given.get(name) == value or (value == DTYPE and given.get(name) in (Tensor.FLOAT, Tensor.DOUBLE))
            ):
                return None
        return found

    def _inputs(self, node: Node) -> list[str]:
        return [*node.inputs[:1]] if node.operator == "ReduceMean" else [*node.inputs]

    def _axes(self, node: Node) -> list[int] | None:
        """Return the axes of a node, which are an attribute in older versions, and an input in newer ones."""
        axes = self.attributes(node).get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = self.constant(node.inputs[1])
        return [int(axis) for axis in axes.ravel()] if isinstance(axes, np.ndarray) else None

    # ---- constants

    def attributes(self, node: Node) -> dict[str, Any]:
        """Return the attributes of a node."""
        if node is not self._last:
            with naming(node):
                self._last_attributes = attributes(node, self.model.tensors)
            self._last = node
        return self._last_attributes

    def attribute(self, node: Node, name: str, default: Number) -> Number:
        """Return an attribute that is a number, of the type of its default value."""
        value = self.attributes(node).get(name, default)
        if type(value) is not type(default):
            raise ValueError(f"{node}: its attribute {name} must be of type {type(default).__name__}")
        return value

    def constant(self, name: str, depth: int = 0) -> np.ndarray | None:
        """Return the array that a tensor always is, None for one that is computed from the input."""
        if name not in self._constants:
            self._constants[name] = self._constant(name, depth)
        return self._constants[name]

    def _constant(self, name: str, depth: int) -> np.ndarray | None:
        if name in self.model.tensors:
            return self.model.tensors[name]
        node = self.model.producers.get(name)
        if node is None or depth > CONSTANT_DEPTH:
            return None
        if node.operator == "Constant":
            return self._value(node)
        if node.operator not in FOLDED or not node.inputs:
            return None
        array = self.constant(node.inputs[0], depth + 1)
        if array is None:
            return None
        try:
            if node.operator == "Transpose":
                axes = self.attributes(node).get("perm")
                return array.transpose() if axes is None else array.transpose([int(axis) for axis in axes])
            if node.operator == "Cast":
                kinds = {Tensor.FLOAT: np.float32, Tensor.DOUBLE: np.float64, Tensor.INT64: np.int64}
                with np.errstate(all="ignore"):
                    return array.astype(kinds[self.attribute(node, "to", 0)])
            if node.operator == "Reshape":
                shape = self.constant(node.inputs[1], depth + 1)
                return None if shape is None else array.reshape([int(size) for size in shape])
            if node.operator in ("Unsqueeze", "Squeeze"):
                axes = tuple(self._axes(node) or ())
                return np.expand_dims(array, axes) if node.operator == "Unsqueeze" else array.squeeze(axes or None)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{node} of a constant is not possible: {error}") from None
        return array

    def _value(self, node: Node) -> np.ndarray:
        for name, value in self.attributes(node).items():
            if name == "value" and isinstance(value, np.ndarray):
                return value
            if name in ("value_float", "value_floats"):
                return np.array(value, np.float32)
            if name in ("value_int", "value_ints"):
                return np.array(value, np.int64)
        raise ValueError(f"{node} has no numbers: only numbers are supported")

    def _array(self, node: Node, i: int) -> np.ndarray | None:
        """Return the constant array that an input of a node is, None if it is left out."""
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        array = self.constant(node.inputs[i])
        if array is None:
            raise ValueError(f"{node}: its input {shown(node.inputs[i])} must be constant, and is computed")
        return array

    def _needed(self, node: Node, i: int) -> np.ndarray:
        array = self._array(node, i)
        if array is None:
            raise ValueError(f"{node} has no input {i}")
        return array

    # ---- operators: each returns parts, and the tensor that they are computed from

    def _sum(self, node: Node, depth: int) -> Read:
        """Return a residual block: a sum of a tensor and one that is computed from it."""
        first, second = (self.source(name) for name in self._two(node))
        if self.place(first) > self.place(second):
            first, second = second, first
        try:
            inner = self.chain(second, first, depth + 1)
        except _Elsewhere:
            raise ValueError(
                f"{node}: it adds two results of which neither is computed from the other; a sum must be a residual "
                "block, x + f(x)"
            ) from None
        return [Part("residual", node, {"parts": inner})], first

    def gemm(self, node: Node) -> Read:
        """Return what a Gemm is: a linear part, and biases."""
        weights, biases = self._needed(node, 1), self._array(node, 2)
        if self.attribute(node, "transA", 0):
            raise ValueError(f"{node}: transA=1, which mixes samples, is not supported")
        transposed = self.attribute(node, "transB", 0)
        parts = [linear(node, weights.T if transposed else weights, self.attribute(node, "alpha", 1.0))]
        if biases is not None:
            parts.append(Part("scale", node, {GAMMA: None, BETA: scaled(biases, self.attribute(node, "beta", 1.0))}))
        return parts, node.inputs[0]

    def matmul(self, node: Node) -> Read:
        """Return what a MatMul is: a linear part."""
        return [linear(node, self._needed(node, 1))], node.inputs[0]

    def arithmetic(self, node: Node) -> Read:
        """Return what Add, Sub, Mul or Div with a constant is."""
        left, right = self._two(node)
        constant, name = self.constant(right), left
        swapped = constant is None
        if constant is None:
            constant, name = self.constant(left), right
        if constant is None:
            raise ValueError(
                f"{node}: both of its inputs are computed; one must be constant, if the operator is not Add in a "
                "residual block or part of an activation such as silu"
            )
        if constant.dtype.kind != "f":
            raise ValueError(f"{node}: its constant is of integers, which are not supported")
        swaps = node.operator in COMMUTATIVE
        if constant.shape == () and constant.item() == NEUTRAL[node.operator] and (swaps or not swapped):
            return [], name
        gamma, beta = None, None
        with np.errstate(all="ignore"):
            if node.operator == "Mul":
                gamma = constant
            elif node.operator == "Add":
                beta = constant
            elif node.operator == "Sub":
                gamma, beta = (constant.dtype.type(-1), constant) if swapped else (None, -constant)
            elif swapped:
                raise ValueError(f"{node}: a constant divided by what is computed is not supported")
            else:
                gamma = 1 / constant
        return [Part("scale", node, {GAMMA: gamma, BETA: beta})], name

    def _two(self, node: Node) -> tuple[str, str]:
        if len(node.inputs) != 2:
            raise ValueError(f"{node} must have two inputs, and has {len(node.inputs)}")
        return node.inputs[0], node.inputs[1]

    def scaler(self, node: Node) -> Read:
        """Return what scikit-learn's StandardScaler is: ``(x - offset) * scale``."""
        given, parts = self.attributes(node), []
        for name, role in (("offset", BETA), ("scale", GAMMA)):
            array = given.get(name)
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                parts.append(Part("scale", node, {GAMMA: None, BETA: None, role: -array if role == BETA else array}))
        return parts, node.inputs[0]

    def batch_norm(self, node: Node) -> Read:
        """Return what a BatchNormalization is."""
        if self.attribute(node, "training_mode", 0):
            raise ValueError(f"{node}: the model was exported in training mode; export it for inference")
        names = (GAMMA, BETA, "mean", "variance")
        values: dict[str, Any] = {name: self._needed(node, i) for i, name in enumerate(names, 1)}
        epsilon = self.attribute(node, EPSILON, 1e-5)  # as it was before it was rounded to single precision
        if values["variance"].dtype == np.float64:
            values["variance"] = values["variance"] + (float(np.float32(epsilon)) - epsilon)
        values |= {EPSILON: epsilon, "momentum": round(1 - self.attribute(node, "momentum", 0.9), 9)}
        return [Part("batch_norm", node, values)], node.inputs[0]

    def layer_norm(self, node: Node) -> Read:
        """Return what a LayerNormalization is; without affine if its gamma is 1 and it has no beta."""
        axis = self.attribute(node, "axis", -1)
        if axis not in (-1, 1):
            raise ValueError(f"{node}: axis={axis} is not supported, only that of the features, 1 or -1")
        gamma, beta = self._needed(node, 1), self._array(node, 2)
        values = {
            EPSILON: self.attribute(node, EPSILON, 1e-5),
            GAMMA: None if beta is None and (gamma == 1).all() else gamma,
            BETA: beta,
        }
        return [Part(NORM, node, values)], node.inputs[0]

    def hard_sigmoid(self, node: Node) -> Read:
        """Return a hard sigmoid of any slope, as Keras 2 has one: ``max(0, min(1, alpha * x + beta))``."""
        alpha, beta = self.attribute(node, "alpha", 0.2), self.attribute(node, "beta", 0.5)
        parts = [Part("activation", node, {"function": resolve_activation("hard_sigmoid")})]
        if not (isclose(alpha, 1 / 6, rel_tol=CLOSE) and beta == 0.5):
            parts.insert(0, Part("rescaling", node, {"scale": 6 * alpha, "offset": 6 * beta - 3}))
        return parts, node.inputs[0]

    def dropout(self, node: Node) -> Read:
        """Return what a Dropout is, whose rate is an attribute or, in newer versions, an input."""
        rate = self.attribute(node, "ratio", 0.5)
        array = self._array(node, 1)
        if array is not None:
            rate = as_number(array) if array.size == 1 else float("nan")
        return [Part("dropout", node, {"rate": rate})] if rate else [], node.inputs[0]

    def cast(self, node: Node) -> Read:
        """Return nothing for a Cast, and note it."""
        to = self.attribute(node, "to", 0)
        if to not in (Tensor.FLOAT, Tensor.DOUBLE):
            raise ValueError(f"{node}: only casts to FLOAT and DOUBLE are supported")
        self.casts.append((node, to))
        return [], node.inputs[0]

    def flatten(self, node: Node) -> Read:
        """Return what a Flatten is."""
        return [Part("flatten", node, {"axis": self.attribute(node, "axis", 1)})], node.inputs[0]

    def reshape(self, node: Node) -> Read:
        """Return what a Reshape is, whose shape may be computed from that of the batch."""
        sizes = self._sizes(node.inputs[1], 0) if len(node.inputs) > 1 else None
        if sizes is None:
            raise ValueError(f"{node}: its shape must be constant, but for the size of the batch")
        values = {"sizes": sizes, "zeros": self.attribute(node, "allowzero", 0)}
        return [Part("reshape", node, values)], node.inputs[0]

    def squeeze(self, node: Node) -> Read:
        """Return what a Squeeze is."""
        return [Part("squeeze", node, {"axes": self._axes(node)})], node.inputs[0]

    def _sizes(self, name: str, depth: int) -> list[int | None] | None:
        """Return a shape that nodes compute, as far as it is constant but for `BATCH`; None if it is not."""
        array = self.constant(name)
        if array is not None:
            return [int(size) for size in array.ravel()] if array.dtype == np.int64 and array.size <= MAX_AXES else None
        node = self.model.producers.get(name)
        if node is None or depth > CONSTANT_DEPTH or not node.inputs:
            return None
        if node.operator == "Concat":
            pieces = [self._sizes(piece, depth + 1) for piece in node.inputs[:MAX_AXES]]
            return None if None in pieces else [size for piece in pieces for size in piece or ()]
        if node.operator in ("Unsqueeze", "Squeeze", "Reshape", "Cast", "Identity"):
            return self._sizes(node.inputs[0], depth + 1)
        part = self._part_of_shape(node)
        return [BATCH] if part == (0, 1) else [] if part == (0, 0) else None

    def _part_of_shape(self, node: Node) -> tuple[int, int]:
        """Return where the part of a shape that a node returns starts, and where it ends; -1 if this is not known."""
        shape = node if node.operator == "Shape" else self.model.producers.get(node.inputs[0])
        if shape is None or shape.operator != "Shape" or not shape.inputs or self.constant(shape.inputs[0]) is not None:
            return -1, -1
        if shape is node:
            return self.attribute(node, "start", 0), self.attribute(node, "end", -1)
        if node.operator not in ("Gather", "Slice") or self.attributes(shape):
            return -1, -1
        arrays = [self.constant(name) for name in node.inputs[1:3]]
        places = [-1 if array is None or array.size != 1 else int(array.ravel()[0]) for array in arrays]
        if node.operator == "Gather":
            return (places[0], places[0] + 1) if len(places) == 1 else (-1, -1)
        return (places[0], places[1]) if len(places) == 2 else (-1, -1)


class _Elsewhere(ValueError):
    """A tensor is not computed from the one that was looked for."""


Read = tuple[list[Part], str]
OPERATORS: dict[str, Callable[[Recognizer, Node], Read]] = {
    "Gemm": Recognizer.gemm,
    "MatMul": Recognizer.matmul,
    "Add": Recognizer.arithmetic,
    "Sub": Recognizer.arithmetic,
    "Mul": Recognizer.arithmetic,
    "Div": Recognizer.arithmetic,
    "ai.onnx.ml.Scaler": Recognizer.scaler,
    "BatchNormalization": Recognizer.batch_norm,
    "LayerNormalization": Recognizer.layer_norm,
    "HardSigmoid": Recognizer.hard_sigmoid,
    "Dropout": Recognizer.dropout,
    "Cast": Recognizer.cast,
    "Flatten": Recognizer.flatten,
    "Reshape": Recognizer.reshape,
    "Squeeze": Recognizer.squeeze,
}


def as_number(array: np.ndarray) -> float:
    """Return the only number of an array, as the shortest decimal that rounds to it."""
    return float(str(array.reshape(-1)[0]))


def scaled(array: np.ndarray, factor: float) -> np.ndarray:
    """Return an array times a factor of a Gemm."""
    return array if factor == 1 else array * array.dtype.type(factor)


def linear(node: Node, weights: np.ndarray, factor: float = 1.0) -> Part:
    """Return a part that multiplies by weights."""
    if weights.ndim != 2:
        raise ValueError(f"{node}: its weights must have two axes, got shape {weights.shape}")
    return Part("linear", node, {"W": scaled(weights, factor), "b": None})


def scalar(part: Part) -> bool:
    """Whether the factor and the offset of a part are single numbers."""
    return all(part.values[role] is None or part.values[role].size == 1 for role in (GAMMA, BETA))


def merged(parts: list[Part]) -> list[Part]:
    """Return a chain in which offsets are the biases of a linear part, and factors and offsets those of a norm."""
    chain: list[Part] = []
    for part in parts:
        last = chain[-1] if chain else None
        gamma, beta = (part.values[GAMMA], part.values[BETA]) if part.kind == "scale" else (None, None)
        changed: dict[str, Any] | None = None
        if last is not None and part.kind == "scale":
            own = last.values
            if last.kind == "linear" and gamma is None and own["b"] is None:
                changed = {"b": beta}
            elif last.kind == "scale" and gamma is None and own[GAMMA] is not None and own[BETA] is None:
                changed = {BETA: beta}
            elif (
                last.kind == NORM
                and UNBIASED not in own
                and own[BETA] is None
                and (gamma is None or own[GAMMA] is None)
                and not scalar(part)
            ):
                changed = {GAMMA: own[GAMMA] if gamma is None else gamma, BETA: beta}
        if last is not None and changed is not None:
            chain[-1] = Part(last.kind, part.node, last.values | changed)
        else:
            chain.append(part)
    return chain
