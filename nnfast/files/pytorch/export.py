"""Networks as modules of PyTorch: a module of its own, or one of `modules`, for each layer."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from nnfast._network import Network
from nnfast.activations import Activation
from nnfast.files.pytorch import modules
from nnfast.files.pytorch.optimizers import to_torch as optimizer_to_torch
from nnfast.files.state import arrays_of
from nnfast.files.writing import replacing
from nnfast.layers import Layer
from nnfast.optimizers import resolve_optimizer

THRESHOLD = 40.0  # of softplus, above which PyTorch returns its input: with its default the difference can be seen
ROLES = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "E": "weight",
    "mean": "running_mean",
    "variance": "running_var",
}


def to_torch(network: Network, optimizer: Any = None) -> Any:
    """Implement `Sequential.to_torch`."""
    chosen = None if optimizer is None else resolve_optimizer(optimizer)
    program = network.built
    with network.guard.whole, torch.device("cpu"):
        program.settle()
        maker = _Maker(network)
        module = nn.Sequential(maker.chain(network.layers, ""))
        if chosen is None:
            return module.eval()
        made = optimizer_to_torch(network, chosen, maker.parameters)
    return module.eval(), made


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network as a program of `torch.export`."""
    module = to_torch(network)
    example = torch.from_numpy(np.zeros((2, *network.built_shape), network.dtype))
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with replacing(path) as file:
        torch.export.save(program, file)


class _Maker:
    """Makes modules of layers.

    Attributes
    ----------
    shape : tuple of int
        Of a sample after the last module.
    parameters : dict
        The learned parameters by path.
    """

    def __init__(self, network: Network) -> None:
        self.shape = network.built_shape
        self.dtype = getattr(torch, network.dtype.name)
        self.parameters: dict[str, nn.Parameter] = {}
        self._values = arrays_of(network)
        self._numbers: dict[str, int] = {}

    def chain(self, layers: Sequence[Layer], path: str) -> OrderedDict[str, nn.Module]:
        """Return the modules of a chain by name; `path` is that of the chain, with a dot at its end."""
        chain: OrderedDict[str, nn.Module] = OrderedDict()
        for i, layer in enumerate(layers):
            for name, module in MAKERS[layer.kind](self, layer, f"{path}{i}"):
                self._numbers[name] = self._numbers.get(name, 0) + 1
                chain[f"{name}{self._numbers[name]}"] = module
            self.shape = layer.output_shape(self.shape)
        return chain

    def dense(self, layer: Any, path: str) -> Made:
        made: Made = [] if len(self.shape) == 1 else [("flatten", nn.Flatten())]
        inputs = prod(self.shape)
        linear = nn.utils.skip_init(nn.Linear, inputs, layer.units, bias=layer.use_bias, dtype=self.dtype)
        made.append(("dense", self._filled(linear, layer, path)))
        return made if layer.activation == "identity" else [*made, *_function(layer.function)]

    def activation(self, layer: Any, path: str) -> Made:
        made = _function(layer.function)
        return self._in_rows(*made[0]) if layer.function.mixes else made

    def rescaling(self, layer: Any, path: str) -> Made:
        return [("rescaling", modules.Rescaling(layer.scale, layer.offset))]

    def dropout(self, layer: Any, path: str) -> Made:
        return [("dropout", nn.Dropout(layer.rate))]

    def gaussian_noise(self, layer: Any, path: str) -> Made:
        return [("gaussian_noise", modules.GaussianNoise(layer.stddev))]

    def batch_norm(self, layer: Any, path: str) -> Made:
        kind = nn.BatchNorm1d if layer.trainable else modules.FrozenBatchNorm1d
        norm = kind(prod(self.shape), layer.epsilon, layer.momentum, layer.affine, dtype=self.dtype)
        return self._in_rows("batch_norm", self._filled(norm, layer, path))

    def layer_norm(self, layer: Any, path: str) -> Made:
        norm = nn.LayerNorm(prod(self.shape), layer.epsilon, layer.affine, dtype=self.dtype)
        return self._in_rows("layer_norm", self._filled(norm, layer, path))

    def scale(self, layer: Any, path: str) -> Made:
        scale = modules.Scale(prod(self.shape), layer.use_bias, self.dtype)
        return self._in_rows("scale", self._filled(scale, layer, path))

    def column_encoding(self, layer: Any, path: str) -> Made:
        encoding = modules.ColumnEncoding([column.encoding() for column in layer.columns], self.dtype)
        return [("column_encoding", self._filled(encoding, layer, path))]

    def flatten(self, layer: Any, path: str) -> Made:
        return [("flatten", nn.Flatten())]

    def reshape(self, layer: Any, path: str) -> Made:
        flat: Made = [] if len(self.shape) == 1 else [("flatten", nn.Flatten())]
        return [*flat, ("reshape", nn.Unflatten(1, layer.output_shape(self.shape)))]

    def residual(self, layer: Any, path: str) -> Made:
        return [("residual", modules.Residual(self.chain(layer.layers, f"{path}.")))]

    def _in_rows(self, name: str, module: nn.Module) -> Made:
        """Return a module that takes samples with one axis, and those around it that give it such samples."""
        made: Made = [(name, module)]
        if len(self.shape) == 1:
            return made
        return [("flatten", nn.Flatten()), *made, ("reshape", nn.Unflatten(1, self.shape))]

    def _filled(self, module: nn.Module, layer: Layer, path: str) -> nn.Module:
        """Return a module with the values of a layer; its parameters are frozen if the layer is."""
        with torch.no_grad():
            for array in (*layer.arrays(self.shape), *layer.statistics(self.shape)):
                tensor = getattr(module, ROLES[array.role])
                tensor.copy_(torch.from_numpy(np.array(self._values[f"{path}.{array.role}"].T)))
                if isinstance(tensor, nn.Parameter):
                    tensor.requires_grad_(layer.trainable)
                    self.parameters[f"{path}.{array.role}"] = tensor
        return module


Made = list[tuple[str, nn.Module]]
MAKERS: dict[str, Callable[[_Maker, Any, str], Made]] = {
    "dense": _Maker.dense,
    "activation": _Maker.activation,
    "rescaling": _Maker.rescaling,
    "dropout": _Maker.dropout,
    "gaussian_noise": _Maker.gaussian_noise,
    "batch_norm": _Maker.batch_norm,
    "layer_norm": _Maker.layer_norm,
    "scale": _Maker.scale,
    "column_encoding": _Maker.column_encoding,
    "flatten": _Maker.flatten,
    "reshape": _Maker.reshape,
    "residual": _Maker.residual,
}
FUNCTIONS: dict[str, Callable[[float], nn.Module]] = {
    "identity": lambda alpha: nn.Identity(),
    "step": lambda alpha: modules.Step(),
    "sigmoid": lambda alpha: nn.Sigmoid(),
    "tanh": lambda alpha: nn.Tanh(),
    "relu": lambda alpha: nn.ReLU(),
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": lambda alpha: nn.SELU(),
    "gelu": lambda alpha: nn.GELU(),
    "gelu_tanh": lambda alpha: nn.GELU("tanh"),
    "silu": lambda alpha: nn.SiLU(),
    "softplus": lambda beta: nn.Softplus(beta, THRESHOLD),
    "mish": lambda alpha: nn.Mish(),
    "hard_sigmoid": lambda alpha: nn.Hardsigmoid(),
    "softmax": lambda alpha: nn.Softmax(dim=1),
    "log_softmax": lambda alpha: nn.LogSoftmax(dim=1),
}


def _function(function: Activation) -> Made:
    return [(function.name, FUNCTIONS[function.name](function.alpha))]
