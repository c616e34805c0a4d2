"""Modules of PyTorch, traced by torch.fx, as graphs of nodes with the operators of ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from nnfast._validation import describe
from nnfast.files.onnx.graph import Kind, Node, Nodes, Tensors
from nnfast.files.onnx.recognizing import BATCH
from nnfast.files.onnx.schema import Tensor
from nnfast.files.pytorch.calls import FUNCTIONS, MODULES, SHOWN, Call, Unsupported
from nnfast.files.pytorch.modules import ColumnEncoding

INPUT = "input"
SIZE = object()  # in place of the size of a tensor that is computed from the input


@contextmanager
def mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Set the mode of all modules within, and restore it afterwards."""
    before = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in before:
            part.training = training
        yield
    finally:
        for part, was in before:
            part.training = was


class _Tracer(fx.Tracer):
    """Keeps the modules that are known, and PyTorch's own, as single nodes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module becomes one node: not if it is a subclass of a known one with a forward of its own."""
        if isinstance(m, ColumnEncoding):  # not known, and the message about it should not be about its parts
            return True
        kind: Any = type(m)
        known = isinstance(m, tuple(MODULES)) and kind.forward in FORWARDS
        return known or super().is_leaf_module(m, module_qualified_name)


FORWARDS = {kind.forward for kind in MODULES}


class Source(NamedTuple):
    """A tensor that an array is a view of, and its name."""

    name: str
    tensor: torch.Tensor


class Constants(Tensors):
    """The constant arrays of a graph: views of tensors.

    Attributes
    ----------
    sources : dict
        The tensors by the place and the size of their memory.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__("")
        self._dtype = dtype
        self._arrays: dict[str, np.ndarray] = {}
        self.sources: dict[tuple[int, int], Source] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def keep(self, value: Any, name: str) -> str:
        """Add a constant, and return its name in the graph."""
        key = f"{len(self._arrays)} {name}"
        self._arrays[key] = self.view(value, name)
        return key

    def view(self, value: Any, name: str) -> np.ndarray:
        """Return a tensor as an array that shares its memory, or a number as an array."""
        if not isinstance(value, torch.Tensor):
            with np.errstate(over="ignore"):  # layers check that it is finite
                return np.array(value, self._dtype)
        if value.device.type != "cpu":
            raise ValueError(f"{name} is on device {value.device.type}: move the module to the CPU, module.cpu()")
        if value.is_floating_point() and value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} has dtype {value.dtype}: convert the module with module.float()")
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise ValueError(f"{name} must be a dense tensor of real numbers, got {value.layout} of {value.dtype}")
        array: np.ndarray = value.detach().numpy()
        self.sources[memory(array)] = Source(name, value)
        return array


def memory(array: np.ndarray) -> tuple[int, int]:
    """Return where the memory of an array is, and its size."""
    place: int = array.__array_interface__["data"][0]
    return place, array.nbytes


class _Call(Node):
    """A node; its name is that of the module, or says which function it calls."""

    def __str__(self) -> str:
        return self.name


class _Name(str):
    """The name of a tensor that is computed from the input."""


class Translator:
    """Makes nodes of ONNX of those of torch.fx."""

    def __init__(self, module: nn.Module) -> None:
        self._root = nn.Sequential(module)  # so that it may be a single layer itself
        self._names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        dtypes = [p.dtype for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
        self._double = (dtypes or [torch.get_default_dtype()])[0] == torch.float64
        self.constants = Constants("float64" if self._double else "float32")
        self._nodes = Nodes(self.constants)
        self._values: dict[fx.Node, Any] = {}  # names of tensors, `SIZE`, `BATCH`, and what is constant

    def graph(self, shape: tuple[int, ...] | None) -> Nodes:
        """Return the graph of the module, as it is in training; `shape` is that of a sample if it is known."""
        with mode(self._root, True):
            try:
                traced = _Tracer().trace(self._root)
            except Exception as error:
                raise ValueError(f"torch.fx cannot trace its forward: {error}") from error
        *nodes, end = traced.nodes
        result = end.args[0]
        if not isinstance(result, fx.Node):
            raise ValueError(f"it must return one tensor, got {describe(result)}")
        needed = _needed(result)
        with mode(self._root, False):  # parametrizations change themselves in training
            for node in nodes:
                if node in needed:
                    self._values[node] = self._value(node)
        name = self._values[result]
        if not isinstance(name, _Name):
            raise ValueError("what it returns is not computed from its input")
        self._nodes.inputs.append(
            (INPUT, Kind(Tensor.DOUBLE if self._double else Tensor.FLOAT, None if shape is None else (0, *shape)))
        )
        self._nodes.outputs.append((name, Kind()))
        return self._nodes

    def _value(self, node: fx.Node) -> Any:
        """Return what a node of torch.fx is."""
        if node.op == "placeholder":
            return _Name(INPUT)
        if node.op == "get_attr":
            return _attribute(self._root, str(node.target))
        args, kwargs = self._given(node.args), self._given(node.kwargs)
        before = [self._values[argument] for argument in node.all_input_nodes]
        try:
            if not any(value is SIZE or value is BATCH or isinstance(value, _Name) for value in before):
                return _evaluated(self._root, node, args, kwargs)
            if SIZE in before or _named(node) in ("size", "getattr"):
                return _size(node, args)
            call = self._call(node, args, kwargs)
        except Unsupported as error:
            raise ValueError(f"{_shown(node, self._root)} is not supported: {error}") from None
        name = self._add(node, call)
        if _in_place(node, self._root):  # from now on, the tensor that it is called with is its result
            self._values[node.all_input_nodes[0]] = name
        return name

    def _given(self, arguments: Any) -> Any:
        return fx.node.map_arg(arguments, self._values.__getitem__)

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Call:
        """Return what a module or function is."""
        if node.op == "call_module":
            module = self._root.get_submodule(str(node.target))
            make = next((make for kind, make in MODULES.items() if isinstance(module, kind)), None)
            if make is None:
                raise Unsupported(f"supported are {', '.join(SHOWN)}, and functions such as torch.relu")
            args = (module, *args)
        else:
            known = node.op == "call_method" or _module_of(node.target).startswith(("torch", "_operator"))
            make = FUNCTIONS.get(_named(node)) if known else None
            if make is None:
                raise Unsupported(f"supported are functions and methods of tensors {', '.join(sorted(FUNCTIONS))}")
        try:
            return make(*args, **kwargs)
        except TypeError as error:
            raise Unsupported(f"its arguments: {error}") from None

    def _add(self, node: fx.Node, call: Call) -> _Name:
        """Add a node of ONNX, and return the name of its output."""
        shown = _shown(node, self._root)
        operator, inputs, attributes = _without_division(call)
        names = [value if isinstance(value, _Name) else self._keep(value, shown) for value in inputs]
        if "values" in attributes:
            values = {
                role: self.constants.view(value, self._label(value, shown))
                if isinstance(value, torch.Tensor)
                else value
                for role, value in attributes["values"].items()
            }
            attributes = attributes | {"values": values}
        name = _Name(f"{len(self._nodes.producers)} {node.name}")
        place = len(self._nodes.producers)
        self._nodes.producers[name] = _Call(place, shown, operator, tuple(names), (name,), attributes)
        return name

    def _keep(self, value: Any, shown: str) -> str:
        if not isinstance(value, (torch.Tensor, int, float)):
            raise ValueError(f"{shown} is not supported: its input must be a tensor or a number, got {describe(value)}")
        return self.constants.keep(value, self._label(value, shown))

    def _label(self, value: Any, shown: str) -> str:
        return self._names.get(id(value), f"a constant of {shown}")


def _needed(result: fx.Node) -> set[fx.Node]:
    """Return the nodes that a node is computed from, and itself."""
    needed, left = {result}, [result]
    while left:
        for node in left.pop().all_input_nodes:
            if node not in needed:
                needed.add(node)
                left.append(node)
    return needed


def _attribute(root: nn.Module, path: str) -> Any:
    value: Any = root
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _evaluated(root: nn.Module, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Return the result of a call that does not depend on the input."""
    try:
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        target: Any = node.target if node.op == "call_function" else root.get_submodule(str(node.target))
        return target(*args, **kwargs)
    except Exception as error:
        raise Unsupported(str(error)) from None


def _size(node: fx.Node, args: Any) -> Any:
    """Return what a call for a size is: `SIZE`, or `BATCH` for the axis of the batch."""
    name, asked = _named(node), [*args[1:]]
    if (name, asked) in (("size", []), ("getattr", ["shape"])):
        return SIZE
    if name in ("size", "getitem") and asked == [0]:
        return BATCH
    raise Unsupported("of a size, only that of the batch, x.shape[0], may be used")


def _without_division(call: Call) -> Call:
    """Return a node with Add and Mul in place of Sub and Div of a tensor, so that the tensor can be traced."""
    if call.operator not in ("Sub", "Div") or not isinstance(call.inputs[1], torch.Tensor):
        return call
    x, constant = call.inputs
    return Call("Add", (x, -constant), {}) if call.operator == "Sub" else Call("Mul", (x, 1 / constant), {})


def _named(node: fx.Node) -> str:
    """Return the name of a function or method, of one that works in place without its underscore."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name if name.startswith("__") else name.rstrip("_")


def _module_of(target: Any) -> str:
    return getattr(target, "__module__", None) or "torch"


def _in_place(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return (name.endswith("_") and not name.startswith("__")) or bool(node.kwargs.get("inplace"))


def _shown(node: fx.Node, root: nn.Module) -> str:
    """Return what messages call a node."""
    if node.op == "call_module":
        path = str(node.target)
        return f"{path.partition('.')[2] or 'it'} ({type(root.get_submodule(path)).__name__})"
    return f"{node.name} ({_named(node)})"
