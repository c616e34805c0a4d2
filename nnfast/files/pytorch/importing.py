"""Modules of PyTorch as networks: traced by torch.fx, and then read as ONNX graphs are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from nnfast._network import Network, checked_shape
from nnfast._validation import describe
from nnfast.files.errors import short
from nnfast.files.onnx.graph import Kind, Node, Nodes, Tensors
from nnfast.files.onnx.importing import Builder
from nnfast.files.onnx.recognizing import BATCH, OPERATORS, Part, Read, Recognizer
from nnfast.files.onnx.schema import Tensor
from nnfast.files.pytorch import optimizers
from nnfast.files.pytorch.calls import FUNCTIONS, MODULES, PART, SHOWN, Call, Unsupported
from nnfast.files.pytorch.optimizers import Learned
from nnfast.layers import walk, with_trainable
from nnfast.losses import resolve_loss

INPUT = "input"
ROWS = 5  # of the samples on which network and module are compared
CLOSE = {"float32": 1e-3, "float64": 1e-8}  # their outputs, relative to the largest: far above rounding
STATISTICS = ("mean", "variance")
SIZE = object()  # in place of the size of a tensor that is computed from the input


def from_torch(module: Any, input_shape: Any = None, optimizer: Any = None, loss: Any = None, seed: Any = None) -> Any:
    """Implement `nnfast.from_torch`: return the network, and an optimizer or None."""
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {describe(module)}")
    shape = None if input_shape is None else checked_shape(input_shape)
    loss = None if loss is None else resolve_loss(loss)
    if optimizer is not None:
        optimizers.check_optimizer(optimizer)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            return _converted(module, shape, optimizer, loss, seed)
    except ValueError as error:
        raise ValueError(f"module {type(module).__name__} cannot become a network: {short(error)}") from error.__cause__


def _converted(module: nn.Module, shape: tuple[int, ...] | None, optimizer: Any, loss: Any, seed: Any) -> Any:
    _check_module(module)
    translator = _Translator(module)
    builder = _Builder(translator.graph(shape), translator.constants)
    builder.build(None)
    builder.freeze()
    network = builder.network(loss, seed)
    _compare(module, network, builder.sources())
    if optimizer is None:
        return network, None
    learned = builder.learned(module, network)
    ours = optimizers.from_torch(optimizer, learned)
    optimizers.restore_state(network, optimizer, ours, learned)
    return network, ours


def _check_module(module: nn.Module) -> None:
    """Raise ValueError if something is not as a graph would tell."""
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("it was compiled by torch.jit: give the module from which it was compiled")
    for path, part in module.named_modules():
        name = f"{path or 'it'} ({type(part).__name__})"
        if any(is_lazy(parameter) for parameter in part.parameters(recurse=False)):
            raise ValueError(f"{name} has no shape yet: call the module once with a batch")
        if vars(part).get("_forward_hooks") or vars(part).get("_forward_pre_hooks"):
            raise ValueError(
                f"{name} has forward hooks, which a network has not: remove them (those of torch.nn.utils with "
                "remove_weight_norm, remove_spectral_norm and prune.remove)"
            )


@contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Set the mode of all modules within, and restore it afterwards."""
    before = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in before:
            part.training = training
        yield
    finally:
        for part, mode in before:
            part.training = mode


def _compare(module: nn.Module, network: Network, learned: Sequence[_Source]) -> None:
    """Raise ValueError unless network and module compute the same on random samples, and learn the same."""
    shape = (ROWS, *network.built_shape)
    x = np.random.default_rng(0).normal(size=shape).astype(network.dtype)
    outputs = np.empty((ROWS, network.units), network.dtype)
    network.built.predict(x.reshape(ROWS, -1), outputs, 1, False)
    with _mode(module, False), torch.enable_grad():
        try:
            expected = module(torch.from_numpy(x))
        except Exception as failure:
            raise ValueError(f"it fails for samples of shape {shape}: {short(failure)}") from failure
    if not isinstance(expected, torch.Tensor):
        raise ValueError(f"it must return one tensor, got {describe(expected)}")
    kind = str(expected.dtype).removeprefix("torch.")
    if expected.numel() != outputs.size or kind != network.dtype.name:
        raise ValueError(
            f"for samples of shape {shape} its layers compute {outputs.size} numbers of {network.dtype}, and it "
            f"returns {expected.numel()} of {kind}"
        )
    if not any(layer.function.flat for _, layer in walk(network.layers)):
        _check_gradients(module, learned, expected)
    theirs = expected.detach().numpy().reshape(outputs.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        same = (outputs == theirs) | (np.isnan(outputs) & np.isnan(theirs))
        error = np.where(same, 0.0, np.abs(outputs - theirs)).max() / (np.abs(theirs).max() or 1.0)
    if not (same.all() or error <= CLOSE[network.dtype.name]):
        raise ValueError(
            f"its outputs are not those of its layers, but {error:.2g} of the largest off: tensors may be changed in "
            "place, or forward may be random, or depend on values or on whether it is in training"
        )


def _check_gradients(module: nn.Module, learned: Sequence[_Source], outputs: torch.Tensor) -> None:
    """Raise ValueError if the outputs have no gradient with respect to a tensor that the network learns."""
    own = {id(parameter) for parameter in module.parameters()}
    sources = [source for source in learned if id(source.tensor) in own]
    if not sources:
        return
    tensors = [source.tensor for source in sources]
    try:
        gradients = torch.autograd.grad(outputs.sum(), tensors, allow_unused=True) if outputs.requires_grad else ()
    except RuntimeError as error:
        raise ValueError(
            "PyTorch cannot compute its gradients, so it cannot be trained there: freeze it with requires_grad_(False)"
        ) from error
    for source, gradient in zip_longest(sources, gradients):
        if gradient is None:
            raise ValueError(
                f"{source.name} requires a gradient, but gets none, as in torch.no_grad(): freeze it with "
                "requires_grad_(False)"
            )


# ---- tracing


class _Tracer(fx.Tracer):
    """Keeps the modules that are known, and PyTorch's own, as single nodes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module becomes one node: not if it is a subclass of a known one with a forward of its own."""
        kind: Any = type(m)
        known = isinstance(m, tuple(MODULES)) and kind.forward in FORWARDS
        return known or super().is_leaf_module(m, module_qualified_name)


FORWARDS = {kind.forward for kind in MODULES}


class _Source(NamedTuple):
    """A tensor that an array is a view of, and its name."""

    name: str
    tensor: torch.Tensor


class _Constants(Tensors):
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
        self.sources: dict[tuple[int, int], _Source] = {}

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
        self.sources[_memory(array)] = _Source(name, value)
        return array


def _memory(array: np.ndarray) -> tuple[int, int]:
    """Return where the memory of an array is, and its size."""
    place: int = array.__array_interface__["data"][0]
    return place, array.nbytes


class _Call(Node):
    """A node; its name is that of the module, or says which function it calls."""

    def __str__(self) -> str:
        return self.name


class _Name(str):
    """The name of a tensor that is computed from the input."""


class _Translator:
    """Makes nodes of ONNX of those of torch.fx."""

    def __init__(self, module: nn.Module) -> None:
        self._root = nn.Sequential(module)  # so that it may be a single layer itself
        self._names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        dtypes = [p.dtype for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
        self._double = (dtypes or [torch.get_default_dtype()])[0] == torch.float64
        self.constants = _Constants("float64" if self._double else "float32")
        self._nodes = Nodes(self.constants)
        self._values: dict[fx.Node, Any] = {}  # names of tensors, `SIZE`, `BATCH`, and what is constant

    def graph(self, shape: tuple[int, ...] | None) -> Nodes:
        """Return the graph of the module, as it is in training; `shape` is that of a sample if it is known."""
        with _mode(self._root, True):
            try:
                traced = _Tracer().trace(self._root)
            except Exception as error:
                raise ValueError(f"torch.fx cannot trace its forward: {error}") from error
        *nodes, end = traced.nodes
        result = end.args[0]
        if not isinstance(result, fx.Node):
            raise ValueError(f"it must return one tensor, got {describe(result)}")
        needed = _needed(result)
        with _mode(self._root, False):  # parametrizations change themselves in training
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


# ---- layers


def _ready(recognizer: Recognizer, node: Node) -> Read:
    """Return the part that a node holds."""
    content = recognizer.attributes(node)
    return [Part(content["kind"], node, content["values"])], node.inputs[0]


class _Recognizer(Recognizer):
    def __init__(self, model: Nodes) -> None:
        super().__init__(model)
        self.operators = OPERATORS | {PART: _ready}

    def supported(self) -> list[str]:
        """Return the modules that can be read, for messages."""
        return [*SHOWN, "and functions of tensors that compute the same"]

    def attributes(self, node: Node) -> dict[str, Any]:
        """Return what a node holds in place of a message."""
        content: Any = node.content
        return content


class _Builder(Builder):
    """Makes layers, which are trainable as the module's tensors are."""

    give_shape = "give input_shape"
    choose_other = ""

    def __init__(self, model: Nodes, constants: _Constants) -> None:
        super().__init__(model, _Recognizer(model))
        self._sources = constants.sources

    def freeze(self) -> None:
        """Make layers trainable or frozen as their tensors are.

        Raises
        ------
        ValueError
            If only some tensors of a layer are frozen, two layers learn the same one, or one is learned by none.
        """
        users: dict[tuple[int, int], str] = {}
        modes: dict[bool, list[str]] = {True: [], False: []}
        for path, _ in walk(self.layers):
            arrays = self.arrays.get(path, {})
            for role, array in arrays.items():
                key = _memory(array)
                source = self._sources.get(key)
                if source is None or not (source.tensor.requires_grad or role in STATISTICS):
                    continue
                if key in users:
                    raise ValueError(
                        f"{source.name} is used twice, in the layers {users[key]} and {path} of the network, which "
                        "would learn apart: freeze it with requires_grad_(False), or give each its own"
                    )
                users[key] = path
            own = [self._sources.get(_memory(array)) for role, array in arrays.items() if role not in STATISTICS]
            found = [source for source in own if source is not None]
            if len({source.tensor.requires_grad for source in found}) > 1:
                raise ValueError(
                    f"of {' and '.join(source.name for source in found)}, which are one layer, only some are frozen: "
                    "call requires_grad_ with the same value for all of them"
                )
            if found:
                modes[found[0].tensor.requires_grad].append(path)
        for key, source in self._sources.items():
            if source.tensor.requires_grad and key not in users:
                raise ValueError(
                    f"{source.name} is learned, and no layer of a network learns such an array: freeze it with "
                    "requires_grad_(False)"
                )
        for trainable, paths in modes.items():
            self.layers = [*with_trainable(self.layers, paths, trainable)]

    def sources(self) -> list[_Source]:
        """Return the tensors that require a gradient."""
        return [source for source in self._sources.values() if source.tensor.requires_grad]

    def learned(self, module: nn.Module, network: Network) -> dict[str, Learned]:
        """Return the trainable arrays of the network by path.

        Raises
        ------
        ValueError
            If one of them is not a parameter of the module.
        """
        parameters = {
            _memory(parameter.detach().numpy()): (name, parameter) for name, parameter in module.named_parameters()
        }
        layers, found = dict(walk(self.layers)), {}
        for path in network.params.paths:
            layer, _, role = path.rpartition(".")
            if not layers[layer].trainable:
                continue
            array = self.arrays[layer][role]
            name, parameter = parameters.get(_memory(array), ("", None))
            if parameter is None or not parameter.is_contiguous():
                raise ValueError(
                    f"the array {path} of the network is not a parameter of the module, but computed from some, or "
                    "new: the state of the optimizer cannot be carried over"
                )
            found[path] = Learned(name, parameter, array, optimizers.decays(network, path))
        return found
