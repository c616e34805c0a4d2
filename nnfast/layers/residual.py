"""Residual blocks, and chains of layers in general."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from math import prod
from typing import Any

from nnfast._description import Field
from nnfast._validation import as_tuple, describe
from nnfast.layers.base import Compiler, Layer
from nnfast.layers.elementwise import Activation

MAX_DEPTH = 100  # of residual layers, which Python walks one within the other
MAX_LAYERS = 10_000  # of a network, those within residual layers included


def check_layers(layers: Any, name: str = "layers") -> tuple[Layer, ...]:
    """Return the chain that `layers` is.

    Raises
    ------
    TypeError, ValueError
        If it is not a chain, is empty, or has more than `MAX_LAYERS`.
    """
    chain = as_tuple(name, layers, "layers")
    for i, layer in enumerate(chain):
        if not isinstance(layer, Layer):
            raise TypeError(f"{name}[{i}] must be a layer such as Dense, got {describe(layer)}")
    if not chain:
        raise ValueError(f"{name} must have at least one layer, got none")
    check_number(sum(layer.size for layer in chain))
    return chain


def check_number(layers: int) -> None:
    """Raise ValueError for more layers than a network can have."""
    if layers > MAX_LAYERS:
        raise ValueError(
            f"a network can have at most {MAX_LAYERS:,} layers, those within residual layers included, got {layers:,}"
        )


def check_depth(depth: int) -> None:
    """Raise ValueError for residual layers that are nested too deep."""
    if depth > MAX_DEPTH:
        raise ValueError(f"residual layers must be at most {MAX_DEPTH} deep within each other, got {depth}")


class Residual(Layer, name="residual"):
    """The sum of the output of a chain of layers and its input.

    Parameters
    ----------
    layers : sequence of Layer
        In order; their output must have the shape of their input. They may be residual, too, up to 100 within each
        other.

    Raises
    ------
    TypeError, ValueError
        If `layers` is empty, contains a non-layer, or there are too many.

    Notes
    -----
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016).

    Examples
    --------
    >>> import nnfast as nf
    >>> block = nf.Residual([nf.LayerNorm(), nf.Dense(8, "gelu"), nf.Dense(4)])
    >>> nf.Sequential([nf.Dense(4), block, nf.Dense(1)], input_shape=2, seed=0).params["1.1.W"].shape
    (4, 8)
    """

    layers: Sequence[Layer] = Field(lambda name, value: check_layers(value, name))

    def settle(self) -> None:
        depth = 1 + max(layer.depth for layer in self.layers)
        check_depth(depth)
        vars(self).update(depth=depth, size=1 + sum(layer.size for layer in self.layers))

    def add_stages(self, to: Compiler, path: str) -> None:
        other, shape = len(to.stages) - 1, to.shape
        to.add_layers(self.layers, f"{path}.")
        if len(to.stages) == other + 1:  # nothing was computed: the sum needs a stage before it
            Activation("identity").add_stages(to, path)
        if prod(to.shape) != prod(shape):
            raise ValueError(
                f"the layers of a Residual must have as many outputs as inputs: {prod(shape)} go in at layer {path}, "
                f"and {prod(to.shape)} come out"
            )
        if to.shape != shape:
            raise ValueError(
                f"the layers of a Residual must keep the shape of their input: {shape} goes in at layer {path}, and "
                f"{to.shape} comes out"
            )
        to.add_stage(self, path, "add", other=other)

    def count(self, shape: tuple[int, ...]) -> int:
        total = 0
        for layer in self.layers:
            total += layer.count(shape)
            shape = layer.output_shape(shape)
        return total

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "layers": [layer.config() for layer in self.layers]}

    @classmethod
    def decoded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"layers": [Layer.from_config(inner) for inner in arguments["layers"]]}

    def shown(self) -> dict[str, Any]:
        return {"layers": list(self.layers)}

    @property
    def label(self) -> str:
        """What a table of layers calls it."""
        return "Residual"


def walk(layers: Sequence[Layer], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Iterate over layers and those within them, each with its path."""
    for i, layer in enumerate(layers):
        yield f"{path}{i}", layer
        yield from walk(layer.layers, f"{path}{i}.")


def with_trainable(
    layers: Sequence[Layer], chosen: Container[str], trainable: bool, path: str = ""
) -> tuple[Layer, ...]:
    """Return a chain in which the layers with the paths in `chosen` are trainable, or frozen."""
    chain = []
    for i, layer in enumerate(layers):
        here = f"{path}{i}"
        if layer.layers:
            layer = layer.replaced(layers=with_trainable(layer.layers, chosen, trainable, f"{here}."))
        chain.append(layer.replaced(trainable=trainable) if here in chosen else layer)
    return tuple(chain)


def layers_from(configs: list[dict[str, Any]]) -> list[Layer]:
    """Return the layers of a file; too many of them raise an error before one is made.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are not described correctly.
    """
    number, chains = 0, [(0, configs)]
    while chains:
        depth, chain = chains.pop()
        if not isinstance(chain, list) or not all(isinstance(config, dict) for config in chain):
            raise TypeError(f"layers must be a list of descriptions, got {describe(chain)}")
        number += len(chain)
        check_number(number)
        check_depth(depth)
        chains += [(depth + 1, config["layers"]) for config in chain if "layers" in config]
    return [Layer.from_config(config) for config in configs]


def output_shape(layers: Sequence[Layer], shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the shape of a sample's output, as far as it is known from that of the sample, which may be None."""
    for layer in layers:
        shape = layer.fixed_shape or (None if shape is None else layer.output_shape(shape))
    return shape


def output_activation(layers: Sequence[Layer]) -> str:
    """Return the name of the activation that a chain ends in."""
    return next((layer.activation for layer in reversed(layers) if not layer.reshapes), "identity")
