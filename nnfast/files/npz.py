"""Networks as files: a NumPy archive of plain arrays and a JSON description. Nothing in a file is ever executed."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._network import Network
from nnfast._validation import MAX_AXES, MAX_SIZE, describe
from nnfast.files.writing import replacing
from nnfast.layers import Compiler, Layer, layers_from
from nnfast.losses import Custom, Loss, loss_from, resolve_loss
from nnfast.optimizers import OPTIMIZERS
from nnfast.schedules import check_plateau

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnfast.engine.program import Slot
    from nnfast.files.archives import Archive

FORMAT = "nnfast"
VERSION = 1
DESCRIPTION = "description"  # the archive's member that holds the JSON text
MAX_HEADER = 1024  # bytes of a .npy header
DRAWINGS = ("in_order", "shuffled", "replaced")
MAX_DESCRIPTION = 2**24  # bytes


def to_state(network: Network) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the complete state of a network: a JSON-serializable description, and copies of its arrays by path.

    While another thread trains the network, it is the state after one of its steps.
    """
    with network.guard.whole:
        description, arrays = _live_state(network)
        return description, {path: array.copy() for path, array in arrays.items()}


def _live_state(network: Network) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the same as `to_state`, with the network's own arrays instead of copies."""
    program = network.program
    if program is not None:
        program.settle()
    description = {
        "format": FORMAT,
        "version": VERSION,
        "layers": [layer.config() for layer in network.layers],
        "input_shape": network.input_shape,
        "loss": network.output_loss.loss.config(),
        "dtype": str(network.dtype),
        "streams": network.stream_states,
        "noise": {"seed": network.noise_seed, "steps": 0 if program is None else program.noise_steps},
        "optimizer": None,
    }
    arrays: dict[str, np.ndarray] = {}
    if program is not None:
        slot, vectors = _slot_state(program.slot)
        description["optimizer"] = slot
        place = program.place.state()
        if place is not None:
            description["place"] = place
        arrays = _arrays(network) | vectors
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
    network = Network(layers, description["input_shape"], loss, description["dtype"], 0)
    noise = description["noise"]
    network.restore_streams(description["streams"], noise["seed"], noise["steps"])
    if network.program is not None:
        for path, view in _arrays(network).items():
            if arrays[path].shape != view.shape:
                raise ValueError(f"the array {path} must have shape {view.shape}, got {arrays[path].shape}")
            view[...] = arrays[path]
        if description["optimizer"] is not None:
            _restore_optimizer(network, description["optimizer"], arrays)
        if "place" in description:
            network.program.place.restore(_checked_place(description["place"]))
    return network


def _arrays(network: Network) -> dict[str, np.ndarray]:
    """Return views of the parameters and of the running statistics, by path."""
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


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Implement `Sequential.save`."""
    network.built  # noqa: B018  raises RuntimeError if there is nothing to save
    import json

    from nnfast.files.archives import write_archive

    with network.guard.whole:  # training waits in the meantime, so that no copies are needed
        description, arrays = _live_state(network)
        text = np.array(json.dumps(description))
        try:
            if text.nbytes > MAX_DESCRIPTION:
                raise ValueError(f"its description has {text.nbytes} bytes, more than {MAX_DESCRIPTION}")
            _expected_arrays(description)
        except ValueError as error:
            raise ValueError(f"this network cannot be saved, because load would reject it: {error}") from error
        with replacing(path) as file:
            write_archive(file, {DESCRIPTION: text, **arrays})


def load(path: str | os.PathLike[str], loss: Any = None) -> Network:
    """Implement `nnfast.load`."""
    given = None if loss is None else resolve_loss(loss)
    if given is not None and not isinstance(given, Custom):
        raise TypeError(f"loss must be a function or an object of nf.losses.Custom, got {describe(loss)}")
    network = _read(path, given, rename=given is not loss)
    if given is not None and not isinstance(network.output_loss.loss, Custom):
        raise ValueError(
            f"loss must be left out: {os.fsdecode(path)} was saved with loss {network.output_loss.name!r}, which is "
            "not a user's own function"
        )
    return network


def _read(path: str | os.PathLike[str], loss: Custom | None, *, rename: bool) -> Network:
    """Read a network; `loss` is its loss if that is of the user's, and gets the name in the file if `rename`."""
    import zipfile

    from nnfast.files.archives import Archive, short

    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with Archive(file) as archive:
                description = _read_description(archive)
                layers, counts = _expected_arrays(description)
                _check_sizes(archive, counts, np.dtype(description["dtype"]))
                arrays = {name: archive.read_array(name) for name in counts}
            for name, array in arrays.items():
                if array.dtype != description["dtype"]:
                    raise ValueError(f"the array {name} has dtype {array.dtype}, not {description['dtype']}")
            described = loss_from(description["loss"])
            if loss is not None and isinstance(described, Custom):
                described = Custom(loss.function, name=described.name) if rename else loss
            return from_state(description, arrays, layers, described)
        except _Foreign as error:
            raise ValueError(f"{path} is not a network saved by nnfast: {short(error)}") from None
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is not a network saved by nnfast, or is damaged: {short(error)}") from None
        except MemoryError:
            raise
        except KeyError as error:
            raise ValueError(f"{path} is damaged: its description has no {short(error)}") from error
        except Exception as error:  # the readers of zip and npy files raise many kinds of errors on damage
            raise ValueError(f"{path} is damaged: {short(error)}") from error


class _Foreign(Exception):
    """The file is intact, but was not saved by nnfast or is of a newer version."""


def _read_description(archive: Archive) -> dict[str, Any]:
    import json

    member = f"{DESCRIPTION}.npy"
    info = archive.getinfo(member) if member in archive.namelist() else None
    if info is None or info.compress_type or info.file_size > MAX_DESCRIPTION + MAX_HEADER:
        raise _Foreign("it has no description")
    try:
        description = json.loads(str(archive.read_array(DESCRIPTION)))
    except json.JSONDecodeError as error:
        raise ValueError(f"its description is not valid JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise _Foreign("its description is another's")
    version = description.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"its description has no version, which is a number from 1, but {version!r}")
    if version > VERSION:
        raise _Foreign(
            f"it has version {version!r} of the format, and this nnfast reads up to {VERSION}: install a newer one"
        )
    return description


def _expected_arrays(description: dict[str, Any]) -> tuple[list[Layer], dict[str, int]]:
    """Return the described layers, and the size of each array by path."""
    if description["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {description['dtype']!r}")
    if len(description["input_shape"]) > MAX_AXES:
        raise ValueError(f"input_shape must have at most {MAX_AXES} axes, got {len(description['input_shape'])}")
    shape = tuple(_size("input_shape", size) for size in description["input_shape"])
    layers, compiler = layers_from(description["layers"]), Compiler(shape)
    try:
        compiler.add_layers(layers)
    except MemoryError as error:  # such a layer cannot have been saved
        raise ValueError(str(error)) from None
    counts: dict[str, int] = {}
    total = 0
    for stage in compiler.stages:
        learned = {array.path: prod(array.shape) for array in stage["arrays"]}
        total += sum(learned.values())
        counts |= learned | {array.path: prod(array.shape) for array in stage["statistics"]}
    if description["optimizer"]:
        kind = description["optimizer"]["kind"]
        if kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {kind!r}")
        counts |= {f"optimizer.{name}": total for name in _vectors(description["optimizer"])}
    return layers, counts


def _size(name: str, value: Any) -> int:
    """Return `value` if it is a size: multiplying a text or a list could make a very long one."""
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{name} must be of integers from 1 to {MAX_SIZE}, got {value!r}")
    return value


def _check_sizes(archive: Archive, counts: dict[str, int], dtype: np.dtype) -> None:
    """Raise ValueError if an array cannot be in the file, before memory is allocated for it."""
    names = set(archive.namelist())
    for path, count in counts.items():
        if f"{path}.npy" not in names:
            raise ValueError(f"the array {path} is missing")
        info = archive.getinfo(f"{path}.npy")
        if info.compress_type:  # a small file could expand to a large array
            raise ValueError(f"the array {path} is compressed, which nnfast does not do")
        expected = count * dtype.itemsize
        if not expected < info.file_size <= expected + MAX_HEADER:
            raise ValueError(f"the array {path} has {info.file_size} bytes, not some {expected}")
