"""The state of a network: a description, which JSON can hold, and arrays by path. Nothing in it is ever executed.

Copies and pickles consist of it, and files of every format, which `npz` and `safetensors` write and read.

**The arrays** are those that a network learns (``0.W``, ``0.b``, ``2.0.gamma``: the path of the layer, and the name of
the array in it), its running statistics (``1.mean``, ``1.variance``), and the vectors of the optimizer
(``optimizer.0``, ..., ``optimizer.average``), each with as many values as the network has parameters, in their order.
All have the dtype of the network.

**The description** is an object with these members:

==============  ======================================================================================================
format          ``"nnfast"``
version         1, or 2 if the file has no training state. A reader rejects versions that it does not know.
layers          a list of objects: ``kind``, as ``"dense"``, and the fields of the layer that differ from the defaults.
                ``"residual"`` has ``layers`` of its own. An activation is its name, or a list of name and parameters.
input_shape     a list of integers: the shape of a sample
loss            its name, or an object of ``name`` and parameters. Of a user's own function, only the name is stored.
dtype           ``"float32"`` or ``"float64"``
streams         the states of NumPy's PCG64, as NumPy describes them, that draw initial values and the order of rows;
                null in version 2
noise           ``seed`` and ``steps``, which determine the next dropout and noise; null in version 2
optimizer       null if there is no state of an optimizer; else ``kind``, ``steps`` taken, ``product`` of the momenta
                (NAdam), ``moments`` (which of the vectors ``optimizer.0``, ... there are), ``averaged`` (whether there
                is ``optimizer.average``), and where needed ``epochs`` and ``plateau``, the state of a schedule
place           left out before any training; else ``epochs`` completed and, within an epoch, ``drawing``, ``rows``,
                ``n``, ``batch``, ``position``, ``seed``, ``names`` and ``sums``
==============  ======================================================================================================

Numbers that are not finite, which only ``plateau`` and ``sums`` may hold, are written as ``NaN``, ``Infinity`` and
``-Infinity``.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._network import Network
from nnfast._validation import MAX_AXES, MAX_SIZE
from nnfast.layers import MAX_LAYERS, Compiler, Layer, layers_from
from nnfast.losses import Loss, loss_from
from nnfast.optimizers import OPTIMIZERS
from nnfast.schedules import check_plateau

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnfast.engine.program import Slot

FORMAT = "nnfast"
TABLE_FORMAT = "nnfast table"  # of table models, in nnfast.tables.saving
VERSION = 2
DRAWINGS = ("in_order", "shuffled", "replaced")
MAX_DESCRIPTION = 2**22  # characters
NAME_OF_KIND = '"kind"'  # there is one in each layer's object
PER_LAYER = 1536  # bytes of memory that parsing the object of a layer may take beyond what its length justifies
NOTHING: dict[str, Any] = {}  # in place of a stage


def to_state(network: Network) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the complete state of a network: a JSON-serializable description, and copies of its arrays by path.

    While another thread trains the network, it is the state after one of its steps.
    """
    with network.guard.whole:
        description, arrays = live_state(network)
        return description, {path: array.copy() for path, array in arrays.items()}


def live_state(network: Network, *, training: bool = True) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the same as `to_state`, with the network's own arrays instead of copies; the caller holds the guard.

    With `training`, it includes what training continues from, not only what predictions need.
    """
    program = network.program
    if program is not None:
        program.settle()
    description = {
        "format": FORMAT,
        "version": 1 if training else 2,
        "layers": [layer.config() for layer in network.layers],
        "input_shape": network.input_shape,
        "loss": network.output_loss.loss.config(),
        "dtype": str(network.dtype),
        "streams": None,
        "noise": None,
        "optimizer": None,
    }
    arrays = {} if program is None else arrays_of(network)
    if training:
        description["streams"] = network.stream_states
        description["noise"] = {"seed": network.noise_seed, "steps": 0 if program is None else program.noise_steps}
    if training and program is not None:
        slot, vectors = _slot_state(program.slot)
        description["optimizer"] = slot
        place = program.place.state()
        if place is not None:
            description["place"] = place
        arrays |= vectors
    return description, arrays


def _slot_state(slot: Slot) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """Return the state of an optimizer's slot as a description, None if it is empty, and its vectors by path."""
    if slot.kind is None:
        return None, {}
    kept = {i: moment for i, moment in enumerate(slot.moments) if moment is not None}
    state: dict[str, Any] = {
        "kind": slot.kind,
        "steps": slot.steps,
        "product": slot.product,
        "moments": list(kept),
        "averaged": slot.averaged,
    }
    if slot.epochs:
        state["epochs"] = slot.epochs
    if slot.plateau is not None:
        state["plateau"] = slot.plateau
    vectors = {"optimizer.average": slot.average} if slot.average is not None and slot.averaged else {}
    return state, vectors | {f"optimizer.{i}": moment for i, moment in kept.items()}


def from_state(
    description: dict[str, Any],
    arrays: dict[str, np.ndarray],
    layers: Sequence[Layer] | None = None,
    loss: Loss | None = None,
) -> Network:
    """Return the network that `to_state` describes.

    Without `layers`, the layers' initial values are unknown; without `loss`, so is a function of the user's.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the parts do not fit together.
    """
    if layers is None:
        layers = layers_from(description["layers"])
    loss = loss_from(description["loss"]) if loss is None else loss
    network = Network(layers, description["input_shape"], loss, description["dtype"], 0, initialize=False)
    streams, noise = description["streams"], description["noise"]
    if (streams, noise) != (None, None):  # else they stay those of a new network with seed 0
        network.restore_streams(streams, noise["seed"], noise["steps"])
    if network.program is not None:
        for path, view in arrays_of(network).items():
            if arrays[path].shape != view.shape:
                raise ValueError(f"the array {path} must have shape {view.shape}, got {arrays[path].shape}")
            view[...] = arrays[path]
        if description["optimizer"] is not None:
            _restore_optimizer(network, description["optimizer"], arrays)
        if "place" in description:
            network.program.place.restore(_checked_place(description["place"]))
    return network


def arrays_of(network: Network) -> dict[str, np.ndarray]:
    """Return views of the parameters and of the running statistics of a built network, by path."""
    found: dict[str, np.ndarray] = {}
    for views in (network.params, network.statistics):
        found |= {path: views[path] for path in views.paths}
    return found


def _restore_optimizer(network: Network, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    program = network.built
    vectors = [arrays[f"optimizer.{name}"] for name in _vectors(state)]
    for vector in vectors:
        shape = program.parameters.shape
        if vector.shape != shape or vector.dtype != network.dtype:
            raise ValueError(f"the optimizer's state must have shape {shape} and dtype {network.dtype}")
    moments: list[np.ndarray | None] = [None] * len(program.slot.moments)
    for i in _moments(state):
        moments[i] = arrays[f"optimizer.{i}"]
    epochs = state.get("epochs", 0)
    for name, count in (("steps", state["steps"]), ("epochs", epochs)):
        if type(count) is not int or count < 0:
            raise ValueError(f"the optimizer's {name} must be a count, got {count!r}")
    product = state["product"]
    if type(product) is not float or not 0 <= product <= 1:
        raise ValueError(f"the product of the optimizer's momenta must be from 0 to 1, got {product!r}")
    plateau = state.get("plateau")
    if plateau is not None:
        check_plateau(plateau)
    average = arrays.get("optimizer.average")
    program.slot.restore(state["kind"], state["steps"], epochs, product, moments, average, plateau)


def _checked_place(place: Any) -> dict[str, Any]:
    """Return the place in an epoch; ValueError if it is not one."""
    counts = {"epochs": 2**62}
    if "drawing" in place:
        counts |= {"rows": MAX_SIZE, "n": 2**62, "batch": MAX_SIZE, "position": 2**62, "seed": 2**64 - 1}
        if place["drawing"] not in DRAWINGS:
            raise ValueError(f"the drawing of an epoch must be one of {', '.join(DRAWINGS)}, got {place['drawing']!r}")
        names, sums = place["names"], place["sums"]
        lists = type(names) is list and type(sums) is list
        if not lists or not all(type(name) is str for name in names) or len(sums) != len(names) + 2:
            raise ValueError("the sums of an epoch must be a number for each of its names")
        if not all(type(value) is float for value in sums):
            raise ValueError(f"the sums of an epoch must be numbers, got {sums!r}")
    for name, most in counts.items():
        if type(place[name]) is not int or not 0 <= place[name] <= most:
            raise ValueError(f"the {name} of the place in an epoch must be from 0 to {most}, got {place[name]!r}")
    if "drawing" in place:
        position, n, batch = place["position"], place["n"], place["batch"]
        if not (place["rows"] and batch and position < n and position % batch == 0):
            raise ValueError(
                f"the position in an epoch of {n} rows must be after some batches of {batch}, got {position}"
            )
    found: dict[str, Any] = place
    return found


def _vectors(state: dict[str, Any]) -> list[str]:
    """Return the names of the vectors in an optimizer's state."""
    averaged = state["averaged"]
    if type(averaged) is not bool:
        raise ValueError(f"averaged must be true or false, got {averaged!r}")
    return [*map(str, _moments(state)), *(["average"] if averaged else [])]


def _moments(state: dict[str, Any]) -> list[int]:
    """Return the indices of the moments in an optimizer's state: all that its kind requires, and optional ones."""
    initial = OPTIMIZERS[state["kind"]]().values().moments
    always = [i for i, value in enumerate(initial) if value is not None]
    moments, possible = state["moments"], range(len(initial))
    if type(moments) is not list or any(type(i) is not int or i not in possible for i in moments):
        raise ValueError(f"the optimizer's moments must be some of {[*possible]}, got {moments!r}")
    if len(set(moments)) < len(moments):
        raise ValueError(f"the optimizer's moments must be there once each, got {moments}")
    if not set(always) <= set(moments):
        raise ValueError(f"the optimizer's moments {always} must be there, got {moments}")
    return moments


class Foreign(Exception):
    """The file is intact, but was not saved by nnfast or is of a newer version."""


def read_description(text: str) -> dict[str, Any]:
    """Return the description in a file.

    Raises
    ------
    Foreign
        If nnfast did not write it, or a newer version did.
    ValueError
        If it is damaged.
    """
    from nnfast.files.parsing import parse

    description = parse("its description", text, allowance(text))
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        table = isinstance(description, dict) and description.get("format") == TABLE_FORMAT
        known = "it is a table model, which nnfast.tables.load reads"
        raise Foreign(known if table else "its description was not written by nnfast")
    version = description.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"the version in its description must be an integer from 1, got {version!r}")
    if version > VERSION:
        raise Foreign(
            f"it has version {version!r} of the format, and this nnfast reads up to {VERSION}: install a newer one"
        )
    return description


def allowance(text: str) -> int:
    """Return how many bytes of memory a description may take because of its layers and columns, each of which is short.

    They are counted by their kinds.
    """
    return PER_LAYER * min(text.count(NAME_OF_KIND), MAX_LAYERS)


def expected_arrays(description: dict[str, Any]) -> tuple[list[Layer], dict[str, tuple[int, ...]]]:
    """Return the described layers, and the shape of each array by path."""
    if description["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {description['dtype']!r}")
    if len(description["input_shape"]) > MAX_AXES:
        raise ValueError(f"input_shape must have at most {MAX_AXES} axes, got {len(description['input_shape'])}")
    shape = tuple(_size("input_shape", size) for size in description["input_shape"])
    layers, compiler = layers_from(description["layers"]), _OfArrays(shape)
    try:
        compiler.add_layers(layers)
    except MemoryError as error:  # such a layer cannot have been saved
        raise ValueError(str(error)) from None
    shapes = compiler.shapes
    if description["optimizer"]:
        kind = description["optimizer"]["kind"]
        if kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {kind!r}")
        shapes |= {f"optimizer.{name}": (compiler.learned,) for name in _vectors(description["optimizer"])}
    return layers, shapes


class _OfArrays(Compiler):
    """Keeps the shapes of arrays instead of the stages: 10,000 of them would take much more memory than their text.

    Attributes
    ----------
    shapes : dict
        By path.
    learned : int
        The number of learned values.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.learned = 0

    def add_stage(self, layer: Layer, path: str, kind: str, **more: Any) -> None:
        """Add the shapes of a stage."""
        super().add_stage(layer, path, kind, **more)
        stage, self.stages[-1] = self.stages[-1], NOTHING
        self.shapes |= {array.path: array.shape for array in (*stage["arrays"], *stage["statistics"])}
        self.learned += sum(prod(array.shape) for array in stage["arrays"])


def described(description: dict[str, Any]) -> str:
    """Return the JSON text of a description for a file; ValueError if no file with it could be loaded."""
    import json

    text = json.dumps(description)
    with checked_before_saving():
        if len(text) > MAX_DESCRIPTION:
            raise ValueError(f"its description has {len(text)} characters, more than {MAX_DESCRIPTION}")
        expected_arrays(read_description(text))
    return text


@contextmanager
def checked_before_saving() -> Iterator[None]:
    """Say of a ValueError in the block that the network cannot be saved for this reason."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"this network cannot be saved, because load would reject it: {error}") from error


def _size(name: str, value: Any) -> int:
    """Return `value` if it is a size: multiplying a text or a list could make a very long one."""
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{name} must be of integers from 1 to {MAX_SIZE}, got {value!r}")
    return value
