"""Transfer learning: freezing layers of a trained network, and replacing its last layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from nnfast._network import Network
from nnfast._validation import check_bool, check_int
from nnfast.layers import Layer, check_layers, walk, with_trainable

if TYPE_CHECKING:
    from numpy.random import Generator

    from nnfast.losses import Loss


def set_trainable(network: Network, layers: Sequence[int | str], trainable: bool) -> None:
    """Implement `Sequential.freeze` and `unfreeze`."""
    verb = "unfreeze" if trainable else "freeze"
    chosen = _learning(network.layers)
    if layers:
        chosen = {path for layer in layers for path in _within(network, layer, chosen, verb)}
    elif not chosen:
        raise ValueError(f"no layer has parameters: there is nothing to {verb}")
    with network.guard:
        network.describe_again(with_trainable(network.layers, chosen, trainable))


def _learning(layers: Sequence[Layer]) -> set[str]:
    """Return the paths of the layers that training changes unless they are frozen."""
    return {path for path, layer in walk(layers) if layer.arrays((1,)) or layer.statistics((1,))}


def _within(network: Network, layer: int | str, learning: set[str], verb: str) -> set[str]:
    """Return the paths in `learning` that an argument selects: that of the layer, or those within it."""
    path = network.path_of("layer", layer)
    found = {one for one in learning if one == path or one.startswith(f"{path}.")}
    if not found:
        described = dict(walk(network.layers))[path]
        raise ValueError(f"layers[{path}] has no parameters: there is nothing to {verb} in {described!r}")
    return found


def with_last(
    network: Network,
    layers: Sequence[Layer],
    drop: int,
    freeze: bool,
    loss: str | Loss | Callable[..., Any] | None,
    seed: int | Generator | None,
) -> Network:
    """Implement `Sequential.with_last`."""
    program, added = network.built, check_layers(layers)
    drop = check_int("drop", drop, 0, len(network.layers) - 1)
    kept = network.layers[: len(network.layers) - drop]
    if check_bool("freeze", freeze):
        kept = with_trainable(kept, _learning(kept), False)
    new = Network([*kept, *added], network.input_shape, loss, network.dtype, seed)
    n_parameters, n_statistics = _sizes(new, len(kept))
    with network.guard.whole:  # both begin with the arrays of the layers that are kept
        new.built.parameters[:n_parameters] = program.parameters[:n_parameters]
        new.built.statistics[:n_statistics] = program.statistics[:n_statistics]
    return new


def _sizes(network: Network, n_layers: int) -> tuple[int, int]:
    """Return how many parameters and running statistics the first layers of a network have."""

    def size(layout: list[tuple[str, str, int, tuple[int, ...]]]) -> int:
        return sum(prod(shape) for _, path, _, shape in layout if int(path.partition(".")[0]) < n_layers)

    return size(network.built.layout), size(network.built.statistics_layout)
