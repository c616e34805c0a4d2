"""Modules of PyTorch as networks: traced by torch.fx, and then read as ONNX graphs are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nnfast._network import Network, checked_shape
from nnfast._validation import describe
from nnfast.files.errors import short
from nnfast.files.onnx.graph import Node, Nodes
from nnfast.files.onnx.importing import Builder
from nnfast.files.onnx.recognizing import OPERATORS, Part, Read, Recognizer
from nnfast.files.pytorch import optimizers
from nnfast.files.pytorch.calls import PART, SHOWN
from nnfast.files.pytorch.optimizers import Learned
from nnfast.files.pytorch.tracing import Constants, Source, Translator, memory, mode
from nnfast.layers import walk, with_trainable
from nnfast.losses import resolve_loss

ROWS = 5  # of the samples on which network and module are compared
CLOSE = {"float32": 1e-3, "float64": 1e-8}  # their outputs, relative to the largest: far above rounding
STATISTICS = ("mean", "variance")


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
            builder, network = _converted(module, shape, loss, seed)
    except ValueError as error:
        raise ValueError(f"module {type(module).__name__} cannot become a network: {short(error)}") from error.__cause__
    if optimizer is None:
        return network, None
    learned = builder.learned(module, network)
    ours = optimizers.from_torch(optimizer, learned)
    optimizers.restore_state(network, optimizer, ours, learned)
    return network, ours


def _converted(module: nn.Module, shape: tuple[int, ...] | None, loss: Any, seed: Any) -> tuple[_Builder, Network]:
    """Return the network, and what made it."""
    _check_module(module)
    translator = Translator(module)
    builder = _Builder(translator.graph(shape), translator.constants)
    builder.build(None)
    builder.freeze()
    network = builder.network(loss, seed)
    _compare(module, network, builder.sources())
    return builder, network


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


def _compare(module: nn.Module, network: Network, learned: Sequence[Source]) -> None:
    """Raise ValueError unless network and module compute the same on random samples, and learn the same."""
    shape = (ROWS, *network.built_shape)
    x = np.random.default_rng(0).normal(size=shape).astype(network.dtype)
    outputs = np.empty((ROWS, network.units), network.dtype)
    network.built.predict(x.reshape(ROWS, -1), outputs, 1, False)
    with mode(module, False), torch.enable_grad():
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


def _check_gradients(module: nn.Module, learned: Sequence[Source], outputs: torch.Tensor) -> None:
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

    def __init__(self, model: Nodes, constants: Constants) -> None:
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
            self._note(path, arrays, users)
            found = [self._sources.get(memory(array)) for role, array in arrays.items() if role not in STATISTICS]
            sources = [source for source in found if source is not None]
            if len({source.tensor.requires_grad for source in sources}) > 1:
                raise ValueError(
                    f"of {' and '.join(source.name for source in sources)}, which are one layer, only some are "
                    "frozen: call requires_grad_ with the same value for all of them"
                )
            if sources:
                modes[sources[0].tensor.requires_grad].append(path)
        for key, source in self._sources.items():
            if source.tensor.requires_grad and key not in users:
                raise ValueError(
                    f"{source.name} is learned, and no layer of a network learns such an array: freeze it with "
                    "requires_grad_(False)"
                )
        for trainable, paths in modes.items():
            self.layers = [*with_trainable(self.layers, {*paths}, trainable)]

    def _note(self, path: str, arrays: dict[str, np.ndarray], users: dict[tuple[int, int], str]) -> None:
        """Note the layer that changes each tensor; ValueError if there is another."""
        for role, array in arrays.items():
            key = memory(array)
            source = self._sources.get(key)
            if source is None or not (source.tensor.requires_grad or role in STATISTICS):
                continue
            if key in users:
                raise ValueError(
                    f"{source.name} is used twice, in the layers {users[key]} and {path} of the network, which "
                    "would learn apart: freeze it with requires_grad_(False), or give each its own"
                )
            users[key] = path

    def sources(self) -> list[Source]:
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
            memory(parameter.detach().numpy()): (name, parameter) for name, parameter in module.named_parameters()
        }
        layers, weights, found = dict(walk(self.layers)), optimizers.decaying(network), {}
        for path in network.params.paths:
            layer, _, role = path.rpartition(".")
            if not layers[layer].trainable:
                continue
            array = self.arrays[layer][role]
            name, parameter = parameters.get(memory(array), ("", None))
            if parameter is None or not parameter.is_contiguous():
                raise ValueError(
                    f"optimizer: the array {path} of the network is not a parameter of the module, but computed from "
                    "some, or new, and has no state"
                )
            found[path] = Learned(name, parameter, array, path in weights)
        return found
