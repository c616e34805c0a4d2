"""Networks from layers, arrays and moments that another library holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast.files.state import arrays_of
from nnfast.layers import Layer

Arrays = dict[str, np.ndarray]  # by path


class Moments(NamedTuple):
    """The state of an optimizer.

    Attributes
    ----------
    kind : str
        Its name in `nnfast.optimizers.OPTIMIZERS`.
    steps : int
        The updates made so far.
    vectors : list of (dict or None)
        For each moment its arrays, by the paths of the parameters; arrays that are left out are zero. None for a moment
        that is not kept.
    product : float
        As in `nnfast.engine.program.Slot`.
    """

    kind: str
    steps: int
    vectors: Sequence[Arrays | None]
    product: float = 1.0


def assembled(
    layers: Sequence[Layer],
    arrays: Arrays,
    input_shape: tuple[int, ...],
    dtype: np.dtype,
    loss: Any,
    seed: Any,
    moments: Moments | None = None,
) -> Network:
    """Return a network with these arrays, which trains on from the moments if there are any."""
    network = Network(layers, input_shape, loss, dtype, seed, initialize=False)
    for path, view in arrays_of(network).items():
        view[...] = arrays[path]
    if moments is not None:
        program = network.built
        vectors = [None if given is None else _vector(network, given) for given in moments.vectors]
        missing = [None] * (len(program.slot.moments) - len(vectors))
        program.slot.restore(moments.kind, moments.steps, 0, moments.product, [*vectors, *missing], None, None)
    return network


def _vector(network: Network, given: Arrays) -> np.ndarray:
    """Return arrays as one vector like the network's parameters."""
    vector = np.zeros_like(network.built.parameters)
    views = network.named(vector)
    for path, array in given.items():
        views[path][...] = array
    return vector
