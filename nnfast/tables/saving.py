"""Table models in files: NumPy archives with a description of preparation, target and networks. Nothing is executed.

The description is a JSON text, an object with these members:

===========  ==========================================================================================================
format       ``"nnfast table"``
version      1
preparation  see `Preparation.config`; its arrays begin with ``preparation.``
target       ``task``, and ``classes`` and ``kind`` (of their dtype), or ``mean``, ``scale``, ``low``, ``high`` and
             ``quantiles``
networks     a list of descriptions as in `nnfast.files.state`, of version 2, without the first layer, which follows
             from the preparation; the arrays of the second network begin with ``1.``
factors      for each network, the factor of the inputs of its softmax
target_name  the name of the column that is predicted, or null; it may be absent
===========  ==========================================================================================================
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
from nnfast.files.state import TABLE_FORMAT, Foreign, expected_arrays, from_state, live_state
from nnfast.files.writing import replacing
from nnfast.sequential import Sequential, network_of, sequential_of
from nnfast.tables.encoding import encoding_of
from nnfast.tables.preparation import Preparation
from nnfast.tables.targets import Target, target_from

FORMAT, VERSION = TABLE_FORMAT, 1
PREPARATION = "preparation."  # with which the names of its arrays begin
MAX_NETWORKS = 1000


def save(
    path: str | os.PathLike[str],
    preparation: Preparation,
    target: Target,
    networks: Sequence[tuple[Sequential, float]],
    target_name: str | None,
) -> None:
    """Implement `TableModel.save`."""
    description: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "preparation": preparation.config(),
        "target": target.config(),
        "networks": [],
        "factors": [factor for _, factor in networks],
        "target_name": target_name,
    }
    arrays = {PREPARATION + name: array for name, array in preparation.arrays().items()}
    for i, (net, _) in enumerate(networks):
        network, own = live_state(network_of(net), training=False)
        network["layers"] = network["layers"][1:]
        description["networks"].append(network)
        arrays |= {f"{i}.{name}": array for name, array in own.items()}
    text = json.dumps(description)
    with replacing(path) as file:
        write_archive(file, {npz.DESCRIPTION: np.array(text), **arrays})


def load(path: str | os.PathLike[str]) -> tuple[Preparation, Target, list[tuple[Sequential, float]], str | None]:
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
            description = parse("its description", npz.description_text(archive))
    except MemoryError:
        raise
    except Exception:  # whoever reads it then says why
        return False
    return isinstance(description, dict) and description.get("format") == FORMAT


def _parts(archive: Archive) -> tuple[Preparation, Target, list[tuple[Sequential, float]], str | None]:
    """Return the model in an archive."""
    description = parse("its description", npz.description_text(archive))
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise Foreign("its description is not that of a table model; nnfast.load reads networks")
    if description["version"] != VERSION:
        raise Foreign(f"it has version {short(description['version'])} of the format, and this nnfast reads {VERSION}")
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
        net = _network(archive, network, f"{i}.", first.config())
        if net.output_shape != (target.units,):
            raise ValueError(f"network {i} must have {target.units} outputs, got {net.output_shape}")
        members.append((net, factor))
    target_name = description.get("target_name")
    if not isinstance(target_name, str | None):
        raise ValueError("its target_name must be a text or null")
    return preparation, target, members, target_name


def _network(archive: Archive, description: dict[str, Any], prefix: str, first: dict[str, Any]) -> Sequential:
    """Return the network whose arrays begin with `prefix`."""
    description = description | {"layers": [first, *description["layers"]], "optimizer": None}
    description.pop("place", None)
    layers, shapes = expected_arrays(description)
    npz.check_sizes(archive, {prefix + name: shape for name, shape in shapes.items()}, np.dtype(description["dtype"]))
    arrays = {name: archive.read_array(prefix + name) for name in shapes}
    return sequential_of(from_state(description, arrays, layers))
