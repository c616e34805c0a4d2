"""Table models in files: NumPy archives with a description of preparation, target and networks. Nothing is executed.

The description is a JSON text, an object with these members:

============ ==========================================================================================================
format       ``"nnfast table"``
version      2, or 1 without a linear model
preparation  see `Preparation.config`; its arrays begin with ``preparation.``
target       ``task``, and ``classes`` and ``kind`` (of their dtype), or ``mean``, ``scale``, ``low``, ``high`` and
             ``quantiles``
networks     a list of descriptions as in `nnfast.files.state`, of version 2, without the first layer, which follows
             from the preparation; the arrays of the second network begin with ``1.``
factors      for each network, the factor of the inputs of its softmax
linear       a description as those of `networks`, of the linear model, whose arrays begin with ``linear.``, or absent
linear_share its share, a number from 0 to 1, if there is one
target_name  the name of the column that is predicted, or null; it may be absent
============ ==========================================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast.files import npz
from nnfast.files.archives import Archive, write_archive
from nnfast.files.errors import LoadError, short
from nnfast.files.parsing import parse
from nnfast.files.state import TABLE_FORMAT, Foreign, allowance, expected_arrays, from_state, live_state
from nnfast.files.writing import replacing
from nnfast.sequential import Sequential, network_of, sequential_of
from nnfast.tables.encoding import encoding_of
from nnfast.tables.preparation import Preparation
from nnfast.tables.targets import Target, target_from

FORMAT, VERSION = TABLE_FORMAT, 2
UNMIXED = 1  # the version of files without a linear model, which older releases read, too
LINEAR = "linear."  # with which the names of its arrays begin
PREPARATION = "preparation."  # with which the names of its arrays begin
MAX_NETWORKS = 1000


def save(
    path: str | os.PathLike[str],
    preparation: Preparation,
    target: Target,
    networks: Sequence[tuple[Sequential, float]],
    linear: tuple[Sequential, float] | None,
    target_name: str | None,
) -> None:
    """Implement `TableModel.save`."""
    description: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION if linear else UNMIXED,
        "preparation": preparation.config(),
        "target": target.config(),
        "networks": [],
        "factors": [factor for _, factor in networks],
        "target_name": target_name,
    }
    arrays = {PREPARATION + name: array for name, array in preparation.arrays().items()}
    for i, (net, _) in enumerate(networks):
        network, own = _state(net, f"{i}.")
        description["networks"].append(network)
        arrays |= own
    if linear:
        description["linear"], own = _state(linear[0], LINEAR)
        description["linear_share"] = linear[1]
        arrays |= own
    text = json.dumps(description)
    with replacing(path) as file:
        write_archive(file, {npz.DESCRIPTION: np.array(text), **arrays})


def _state(net: Sequential, prefix: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the description of a network without its first layer, and its arrays, whose names begin with `prefix`."""
    network, arrays = live_state(network_of(net), training=False)
    network["layers"] = network["layers"][1:]
    return network, {prefix + name: array for name, array in arrays.items()}


Parts = tuple[Preparation, Target, list[tuple[Sequential, float]], tuple[Sequential, float] | None, str | None]


def load(path: str | os.PathLike[str]) -> Parts:
    """Implement `nnfast.tables.load`: return the parts that `save` was given."""
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with Archive(file) as archive:
                return _parts(archive)
        except Foreign as error:
            raise LoadError(path, f"is not a table model saved by nnfast: {short(error)}") from None
        except MemoryError:
            raise
        except KeyError as error:
            raise LoadError(path, f"is damaged: its description has no {short(error)}") from error
        except Exception as error:  # the readers of zip and npy files raise many kinds of errors on damage
            raise LoadError(path, f"is not a table model saved by nnfast, or is damaged: {short(error)}") from error


def is_table_model(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a table model by its description; it may still be damaged."""
    try:
        with open(path, "rb") as file, Archive(file) as archive:
            description = _description(archive)
    except MemoryError:
        raise
    except Exception:  # whoever reads it then says why
        return False
    return description is not None


def _description(archive: Archive) -> dict[str, Any] | None:
    """Return the description in an archive, None if it is not that of a table model."""
    text = npz.description_text(archive)
    description = parse("its description", text, allowance(text))
    return description if isinstance(description, dict) and description.get("format") == FORMAT else None


def _parts(archive: Archive) -> Parts:
    """Return the model in an archive."""
    description = _description(archive)
    if description is None:
        raise Foreign("its description is not that of a table model; nnfast.load reads networks")
    if description["version"] not in (UNMIXED, VERSION):
        found, read = short(description["version"]), f"{UNMIXED} and {VERSION}"
        raise Foreign(f"it has version {found} of the format, and this nnfast reads {read}")
    arrays = {
        name.removesuffix(".npy").removeprefix(PREPARATION): archive.read_array(name.removesuffix(".npy"))
        for name in archive.namelist()
        if name.startswith(PREPARATION)
    }
    preparation = Preparation.from_state(description["preparation"], arrays)
    target = target_from(description["target"])
    networks, factors = description["networks"], description["factors"]
    if type(networks) is not list or type(factors) is not list or not 0 < len(networks) <= MAX_NETWORKS:
        raise ValueError(f"it must have from 1 to {MAX_NETWORKS} networks")
    first = encoding_of(preparation)
    members = []
    for i, (network, factor) in enumerate(zip(networks, factors, strict=True)):
        if type(network) is not dict or type(factor) is not float:
            raise ValueError(f"the description of network {i} is not an object")
        members.append((_network(archive, network, f"{i}.", first.config(), target), factor))
    linear = None
    if description["version"] == VERSION:
        network, share = description["linear"], description["linear_share"]
        if type(network) is not dict or type(share) is not float or not 0 <= share <= 1:
            raise ValueError("its linear model must be an object, with a share from 0 to 1")
        linear = _network(archive, network, LINEAR, first.config(), target), share
    target_name = description.get("target_name")
    if not isinstance(target_name, str | None):
        raise ValueError("its target_name must be a text or null")
    return preparation, target, members, linear, target_name


def _network(
    archive: Archive, description: dict[str, Any], prefix: str, first: dict[str, Any], target: Target
) -> Sequential:
    """Return the network whose arrays begin with `prefix`."""
    description = description | {"layers": [first, *description["layers"]], "optimizer": None}
    description.pop("place", None)
    layers, shapes = expected_arrays(description)
    npz.check_sizes(archive, {prefix + name: shape for name, shape in shapes.items()}, np.dtype(description["dtype"]))
    arrays = {name: archive.read_array(prefix + name) for name in shapes}
    net = sequential_of(from_state(description, arrays, layers))
    if net.output_shape != (target.units,):
        what = f"network {prefix.removesuffix('.')}" if prefix != LINEAR else "the linear model"
        raise ValueError(f"{what} must have {target.units} outputs, got {net.output_shape}")
    return net
